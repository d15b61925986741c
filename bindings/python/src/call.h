/*
 * call.h - what start_response.c and answer.c share: a request while an application has it.
 *
 * One object is a request: it is the start_response that the application is given, and what the
 * library's callbacks have as their context.  Objects, with what they hold, are used again.
 */
#ifndef GATEWAY_PYTHON_CALL_H
#define GATEWAY_PYTHON_CALL_H

#include "wsgi.h"

typedef struct writer writer;

typedef struct call {
    PyObject_HEAD
    vectorcallfunc       vectorcall;
    struct call         *next_free;
    gw_environ          *env;           /* NULL: the request is over */
    gw_start_response_fn start;
    void                *sr;
    gw_writer            writer;
    PyObject            *input;
    writer              *write;
    PyObject            *iterable;      /* what the application returned */
    PyObject            *iterator;
    int                  started;
    Py_ssize_t           taken;         /* chunks that it has given */
    gw_pair             *pairs;         /* room for a head */
    size_t               room;
    PyObject            *keep;          /* what the octets of a head are in; see compat.h */
} call;

struct writer {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    call          *of;                  /* NULL: the request is over */
};

/* ---- start_response.c ---- */

/* A new one; what belongs to a request is not there yet. */
call *wsgi_call_new(void);

/* ---- answer.c ---- */

/* The request whose application code this thread is in, or NULL; see wsgi_current. */
call *wsgi_current_call(void);

#endif
