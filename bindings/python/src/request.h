/*
 * request.h - what the files of gateway.Request share.
 *
 *   request.c   the type: reads, and answers piece by piece
 *   greenlet.c  a Request that a WSGI application answers, which may wait in its greenlet
 *   deferred.c  where Requests come from, and what they are told
 */
#ifndef GATEWAY_PYTHON_REQUEST_H
#define GATEWAY_PYTHON_REQUEST_H

#include "wsgi.h"

#define READABLE GW_EVENT_READABLE
#define WRITABLE GW_EVENT_WRITABLE
#define ABORTED  GW_EVENT_ABORTED
#define FLUSH    0

struct request;

/* What the library's events are told to; it outlives the Request, if need be. */
typedef struct {
    struct request *of;         /* NULL: there is none any more */
} ear;

typedef struct request {
    PyObject_HEAD
    gw_deferred *d;             /* NULL: it was given up */
    gw_environ  *env;
    ear         *ear;
    PyObject    *events;        /* called with READABLE, WRITABLE, ABORTED; or NULL */
    PyObject    *wait;          /* called with the same, returns when it may have happened; or NULL */
    PyObject    *errors;        /* wsgi.errors */
    gw_input     input;         /* the environ's own, behind the one that waits */
    int64_t      left;          /* of the Content-Length of a WSGI application; -1: it gave none */
    int          gone;
    int          running;       /* wsgi() is under way, and uses the environ */
    int          cut;           /* end() or abort() was called meanwhile */
    int          streams;       /* something was written that is not the last */
} request;

/* ---- request.c ---- */

/* A new one, which is told by `e`; its `d` is not there yet. */
request *wsgi_request_new(gw_environ *env, ear *e);
/* One that is not answered yet; or NULL with an exception. */
request *wsgi_request_open(PyObject *object);
/* It is over, whatever has happened: GW_OK where it was answered. */
void wsgi_request_end(request *self, gw_result outcome);
/* request.start(status, headers). */
PyObject *wsgi_request_start(PyObject *object, PyObject *args);
/* A piece of the body, of a file. */
gw_result wsgi_request_file(request *self, int fd, int64_t offset, uint64_t len);

/* ---- greenlet.c ---- */

/* request.wsgi(app, wait). */
PyObject *wsgi_request_wsgi(PyObject *object, PyObject *args);

#endif
