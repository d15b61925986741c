/*
 * answer.c - a request from the call of the application to the close of its iterable.
 */
#include "call.h"

#include <pthread.h>

static gw_result next(void *ctx, gw_chunk *out);
static void      end(void *ctx);

static PyObject *name_close;

/* The request that this thread is in: only while application code of it runs. */
static _Thread_local call             *current;
static _Thread_local const gw_environ *hooked;

const gw_environ *
wsgi_current(void)
{
    return current != NULL ? current->env : hooked;
}

call *
wsgi_current_call(void)
{
    return current;
}

void
wsgi_hooked(const gw_environ *env)
{
    hooked = env;
}

#define FREE_MAX 64
#define SMALL    4096           /* octets that are rather copied than kept */
static _Thread_local call *free_calls;
static _Thread_local int   free_count;

/* ---- the iterable ---- */

/* A piece of the answer; takes the reference. */
static gw_result
give(call *self, PyObject *octets, gw_chunk *out)
{
    if (!PyBytes_Check(octets)) {
        PyErr_Format(PyExc_TypeError, "chunk %zd of the answer must be bytes, not %.100s: %.200R",
                     self->taken, wsgi_type_name(Py_TYPE(octets)), octets);
        Py_DECREF(octets);
        wsgi_log_exception(self->env, "wrong type of a chunk");
        return GW_ERR_APP;
    }
    self->taken++;
    out->data = PyBytes_AS_STRING(octets);
    out->len = (uint64_t) PyBytes_GET_SIZE(octets);
    out->release = wsgi_drop;
    out->arg = octets;
    return GW_OK;
}

static gw_result
next_chunk(void *ctx, gw_chunk *out)
{
    call     *self = ctx, *outer;
    int       entered = wsgi_enter();
    PyObject *octets;
    gw_result rc;

    outer = current;
    current = self->start != wsgi_greenlet_start ? self : NULL;
    octets = WSGI_SLOT(Py_TYPE(self->iterator), tp_iternext, iternextfunc)(self->iterator);

    if (octets != NULL) {
        rc = give(self, octets, out);
    } else if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_StopIteration)) {
        wsgi_log_exception(self->env, "an exception of the iterable");
        rc = GW_ERR_APP;
    } else {
        PyErr_Clear();
        rc = GW_EOF;
    }
    current = outer;
    wsgi_leave(entered);
    return rc;
}

/* Everything that the request held goes; the object stays for another if nobody else has it. */
static void
over(call *self)
{
    wsgi_errors_flush();
    self->env = NULL;
    if (self->input != NULL) {
        wsgi_input_end(self->input);
        if (!wsgi_is_alone(self->input)) {
            Py_CLEAR(self->input);
        }
    }
    if (self->write != NULL && !wsgi_is_alone((PyObject *) self->write)) {
        self->write->of = NULL;
        Py_CLEAR(self->write);
    }
    Py_CLEAR(self->iterator);
    Py_CLEAR(self->iterable);
    if (wsgi_is_alone((PyObject *) self) && free_count < FREE_MAX) {
        self->next_free = free_calls;
        free_calls = self;
        free_count++;
    } else {
        Py_DECREF(self);
    }
}

static void
close_iterable(call *self)
{
    PyObject *method, *done;

    if (self->iterable == NULL || PyList_CheckExact(self->iterable) || PyTuple_CheckExact(self->iterable)) {
        return;
    }
    method = PyObject_GetAttr(self->iterable, name_close);
    if (method == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        } else {
            wsgi_log_exception(self->env, "an exception of close");
        }
        return;
    }
    done = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    if (done == NULL) {
        wsgi_log_exception(self->env, "an exception of close()");
    }
    Py_XDECREF(done);
}

static void
close_call(void *ctx)
{
    call *self = ctx, *outer;
    int   entered = wsgi_enter();

    outer = current;
    current = self->start != wsgi_greenlet_start ? self : NULL;
    close_iterable(self);
    over(self);
    current = outer;
    wsgi_leave(entered);
}

/* ---- the call ---- */

static call *
begin(gw_environ *env, gw_start_response_fn start, void *sr)
{
    call *self = free_calls;

    if (self != NULL) {
        free_calls = self->next_free;
        free_count--;
    } else {
        self = wsgi_call_new();
        if (self == NULL) {
            return NULL;
        }
    }
    self->env = env;
    self->start = start;
    self->sr = sr;
    self->started = 0;
    self->taken = 0;
    return self;
}

static gw_result
call_app(void *app, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    int       entered = wsgi_enter();
    call     *self = begin(env, start, sr), *outer = current;
    PyObject *environ = NULL, *result = NULL, *args[3];
    gw_result rc = GW_ERR_APP;

    current = start != wsgi_greenlet_start ? self : NULL;
    if (self == NULL || (self->input = wsgi_input(self->input, env)) == NULL
        || (environ = wsgi_environ(env, self->input)) == NULL
        || (start == wsgi_greenlet_start && wsgi_greenlet_environ(sr, environ) < 0)) {
        goto failed;
    }
    if (start == wsgi_greenlet_start) {
        wsgi_input_waits(self->input, sr);
    }
    args[0] = NULL;
    args[1] = environ;
    args[2] = (PyObject *) self;
    result = PyObject_Vectorcall(app, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(environ);
    if (result == NULL) {
        goto failed;
    }
    self->iterable = result;
    if ((PyList_CheckExact(result) && PyList_GET_SIZE(result) == 1 && self->started)
        || (PyTuple_CheckExact(result) && PyTuple_GET_SIZE(result) == 1 && self->started)) {
        PyObject *only = PyList_CheckExact(result) ? PyList_GET_ITEM(result, 0) : PyTuple_GET_ITEM(result, 0);

        /* Nothing is called any more.  What is copied need not be dropped, which would take the interpreter
           once more. */
        if (PyBytes_Check(only) && PyBytes_GET_SIZE(only) <= SMALL) {
            rc = gw_body_copy(env, body, PyBytes_AS_STRING(only), (size_t) PyBytes_GET_SIZE(only));
        } else {
            rc = give(self, Py_NewRef(only), &body->first);
        }
        over(self);
        current = outer;
        wsgi_leave(entered);
        return rc;
    }
    if (wsgi_file_body(result, body)) {
        body->close = end;
        body->ctx = self;
        current = outer;
        wsgi_leave(entered);
        return GW_OK;
    }
    if (PyBytes_Check(result) || PyUnicode_Check(result)) {
        PyErr_Format(PyExc_TypeError, "the application must return an iterable of bytes, not %.100s: [...]",
                     wsgi_type_name(Py_TYPE(result)));
        goto failed;
    }
    self->iterator = PyObject_GetIter(result);
    if (self->iterator == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)
            && WSGI_SLOT(Py_TYPE(result), tp_iter, getiterfunc) == NULL) {
            PyErr_Format(PyExc_TypeError, "the application must return an iterable of bytes, not %.100s",
                         wsgi_type_name(Py_TYPE(result)));
        }
        goto failed;
    }
    body->next = next;
    body->close = end;
    body->ctx = self;
    current = outer;
    wsgi_leave(entered);
    return GW_OK;

failed:
    wsgi_log_exception(env, "an exception of the application");
    if (self != NULL) {
        close_iterable(self);
        over(self);
    }
    current = outer;
    wsgi_leave(entered);
    return rc;
}

gw_result
wsgi_call(void *app, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_result rc;

    pthread_cleanup_push(wsgi_stay, NULL);
    rc = call_app(app, env, start, sr, body);
    pthread_cleanup_pop(0);
    return rc;
}

static gw_result
next(void *ctx, gw_chunk *out)
{
    gw_result rc;

    pthread_cleanup_push(wsgi_stay, NULL);
    rc = next_chunk(ctx, out);
    pthread_cleanup_pop(0);
    return rc;
}

static void
end(void *ctx)
{
    pthread_cleanup_push(wsgi_stay, NULL);
    close_call(ctx);
    pthread_cleanup_pop(0);
}

void
wsgi_answer_end(void)
{
    while (free_calls != NULL) {
        call *self = free_calls;

        free_calls = self->next_free;
        free_count--;
        Py_DECREF((PyObject *) self);
    }
}

int
wsgi_answer_init(void)
{
    name_close = PyUnicode_InternFromString("close");
    return name_close != NULL ? 0 : -1;
}
