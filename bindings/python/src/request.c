/*
 * request.c - gateway.Request: a request that is read, and answered, in pieces.
 *
 * One that nobody has any more is given up: its client is never left without an answer.
 */
#include "request.h"

#include <fcntl.h>
#include <unistd.h>

static PyTypeObject *request_type;

/* As wsgi_refused, in the words of requests that are read and answered in pieces. */
static PyObject *
failed(gw_result rc, const char *what, const gw_response *head)
{
    if (rc == GW_ERR_TIMEOUT) {
        PyErr_Format(PyExc_TimeoutError, "%s: the client took too long", what);
        return NULL;
    }
    if (rc == GW_ERR_STATE) {
        PyErr_Format(PyExc_RuntimeError, "%s: not here, or twice", what);
        return NULL;
    }
    return wsgi_refused(rc, what, head);
}

request *
wsgi_request_open(PyObject *object)
{
    request *self = (request *) object;

    if (self->d == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this request was answered");
        return NULL;
    }
    wsgi_here();
    return self;
}

void
wsgi_request_end(request *self, gw_result outcome)
{
    gw_deferred *d = self->d;
    PyObject    *type, *value, *trace;

    if (d != NULL) {
        PyErr_Fetch(&type, &value, &trace);             /* what runs there is not to meet it */
        wsgi_here();
        if (self->errors != NULL) {
            wsgi_errors_over(self->errors);
        }
        self->d = NULL;
        (void) gw_deferred_end(d, outcome);
        Py_CLEAR(self->events);
        Py_CLEAR(self->wait);
        PyErr_Restore(type, value, trace);
    }
}

/* ---- reading ---- */

static PyObject *
request_read(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    request   *self = wsgi_request_open(object);
    Py_ssize_t cap = 65536;
    PyObject  *out;
    gw_result  rc;
    size_t     n = 0;

    if (self == NULL) {
        return NULL;
    }
    if (nargs > 0) {
        cap = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
        if (cap < 1) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "read(n): n is 1 at least");
            }
            return NULL;
        }
    }
    if (self->env->content_length >= 0 && self->env->content_length < cap) {
        cap = self->env->content_length > 0 ? (Py_ssize_t) self->env->content_length : 1;
    }
    out = PyBytes_FromStringAndSize(NULL, cap);
    if (out == NULL) {
        return NULL;
    }
    rc = gw_deferred_read(self->d, PyBytes_AS_STRING(out), (size_t) cap, &n);
    if (rc < 0 || rc == GW_AGAIN) {
        Py_DECREF(out);
        return rc < 0 ? failed(rc, "read", NULL) : Py_NewRef(Py_None);
    }
    if ((Py_ssize_t) n != cap) {
        (void) _PyBytes_Resize(&out, (Py_ssize_t) n);
    }
    return out;
}

/* ---- answering ---- */

static int
octets_of(PyObject *value, const char *what, Py_ssize_t at, gw_str *out)
{
    if (!PyBytes_Check(value)) {
        PyErr_Format(PyExc_TypeError, "header %zd: the %s must be bytes, not %.100s", at, what,
                     wsgi_type_name(Py_TYPE(value)));
        return -1;
    }
    out->data = PyBytes_AS_STRING(value);
    out->len = (size_t) PyBytes_GET_SIZE(value);
    return 0;
}

PyObject *
wsgi_request_start(PyObject *object, PyObject *args)
{
    request    *self = wsgi_request_open(object);
    gw_pair     few[32], *pairs = few;
    gw_response head = { 0 };
    PyObject   *headers = NULL, *list = NULL;
    Py_ssize_t  count = 0;
    gw_result   rc;
    int         status, ok = 0;

    if (self == NULL || !PyArg_ParseTuple(args, "i|O:start", &status, &headers)) {
        return NULL;
    }
    if (status < 100 || status > 999) {
        return PyErr_Format(PyExc_ValueError, "the status %d is not one of HTTP", status);
    }
    list = headers != NULL ? PySequence_Fast(headers, "the headers must be iterable") : PyTuple_New(0);
    if (list == NULL) {
        return NULL;
    }
    count = PySequence_Fast_GET_SIZE(list);
    if ((size_t) count > sizeof few / sizeof *few) {
        pairs = PyMem_Calloc((size_t) count, sizeof *pairs);
    }
    ok = pairs != NULL;
    for (Py_ssize_t i = 0; ok && i < count; i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(list, i);

        if (!(PyTuple_Check(pair) || PyList_Check(pair)) || PySequence_Fast_GET_SIZE(pair) != 2) {
            PyErr_Format(PyExc_TypeError, "header %zd must be a pair (name, value), not %R", i, pair);
            ok = 0;
            break;
        }
        ok = octets_of(PySequence_Fast_GET_ITEM(pair, 0), "name", i, &pairs[i].name) == 0
          && octets_of(PySequence_Fast_GET_ITEM(pair, 1), "value", i, &pairs[i].value) == 0;
    }
    if (ok) {
        head.status = (uint16_t) status;
        head.headers = pairs;
        head.header_count = (size_t) count;
        rc = gw_deferred_start(self->d, &head);
        ok = rc >= 0;
        if (!ok) {
            (void) failed(rc, "start", &head);
        }
    } else if (!PyErr_Occurred()) {
        PyErr_NoMemory();
    }
    if (pairs != few) {
        PyMem_Free(pairs);
    }
    Py_DECREF(list);
    return ok ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
request_write(PyObject *object, PyObject *data)
{
    request  *self = wsgi_request_open(object);
    gw_chunk  chunk = { 0 };
    PyObject *octets;
    gw_result rc;

    if (self == NULL) {
        return NULL;
    }
    octets = PyBytes_Check(data) ? Py_NewRef(data)
           : PyObject_CheckBuffer(data) ? PyBytes_FromObject(data)
                                        : PyErr_Format(PyExc_TypeError, "write(data): bytes, not %.100s",
                                                       wsgi_type_name(Py_TYPE(data)));
    if (octets == NULL) {
        return NULL;
    }
    if (PyBytes_GET_SIZE(octets) == 0) {
        Py_DECREF(octets);
        return Py_NewRef(Py_True);
    }
    chunk.data = PyBytes_AS_STRING(octets);
    chunk.len = (uint64_t) PyBytes_GET_SIZE(octets);
    chunk.release = wsgi_drop;
    chunk.arg = octets;
    rc = gw_deferred_write(self->d, &chunk);
    if (rc == GW_AGAIN) {
        Py_DECREF(octets);
        return Py_NewRef(Py_False);
    }
    return rc < 0 ? failed(rc, "write", NULL) : Py_NewRef(Py_True);
}

static void
close_fd(void *arg)
{
    (void) close((int) (intptr_t) arg);
}

/* A descriptor of the library's own: the application may close its own before all is sent. */
gw_result
wsgi_request_file(request *self, int fd, int64_t offset, uint64_t len)
{
    gw_body   body = GW_INIT(gw_body);
    int       own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    gw_result rc;

    if (own < 0) {
        return GW_ERR_IO;
    }
    rc = gw_body_file(&body, own, offset, len, 0, close_fd, (void *) (intptr_t) own);
    if (rc == GW_OK) {
        rc = gw_deferred_write(self->d, &body.first);
        if (rc == GW_AGAIN) {
            (void) close(own);
        }
    }
    return rc;
}

static PyObject *
request_sendfile(PyObject *object, PyObject *args)
{
    request  *self = wsgi_request_open(object);
    long long offset = 0, count = -1;
    gw_result rc;
    int       fd;

    if (self == NULL || !PyArg_ParseTuple(args, "i|LL:sendfile", &fd, &offset, &count)) {
        return NULL;
    }
    rc = wsgi_request_file(self, fd, offset, count < 0 ? UINT64_MAX : (uint64_t) count);
    return rc < 0 ? failed(rc, "sendfile", NULL) : Py_NewRef(rc == GW_AGAIN ? Py_False : Py_True);
}

static PyObject *
request_end(PyObject *object, PyObject *unused)
{
    request *self = wsgi_request_open(object);

    (void) unused;
    if (self == NULL) {
        return NULL;
    }
    if (self->running) {
        self->cut = 1;
    } else {
        wsgi_request_end(self, GW_OK);
    }
    return Py_NewRef(Py_None);
}

static PyObject *
request_abort(PyObject *object, PyObject *unused)
{
    request *self = (request *) object;

    (void) unused;
    if (self->running) {
        self->cut = 1;
    } else {
        wsgi_request_end(self, GW_ERR_APP);
    }
    return Py_NewRef(Py_None);
}

static PyObject *
request_log(PyObject *object, PyObject *text)
{
    request    *self = (request *) object;
    Py_ssize_t  len;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &len);

    if (utf8 == NULL) {
        return NULL;
    }
    if (self->d != NULL) {
        wsgi_log(self->env, utf8, (size_t) len);
    }
    return Py_NewRef(self->d != NULL ? Py_True : Py_False);
}

static PyObject *
request_scope(PyObject *object, PyObject *unused)
{
    request *self = wsgi_request_open(object);

    (void) unused;
    return self != NULL ? wsgi_scope(self->env) : NULL;
}

/* ---- the type ---- */

request *
wsgi_request_new(gw_environ *env, ear *e)
{
    request *self = PyObject_GC_New(request, request_type);

    if (self != NULL) {
        self->d = NULL;
        self->env = env;
        self->ear = e;
        self->events = self->wait = self->errors = NULL;
        self->gone = self->streams = self->running = self->cut = 0;
        self->left = -1;
        PyObject_GC_Track(self);
    }
    return self;
}

static int
request_traverse(PyObject *object, visitproc visit, void *arg)
{
    request *self = (request *) object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->events);
    Py_VISIT(self->wait);
    return 0;
}

static int
request_clear(PyObject *object)
{
    request *self = (request *) object;

    Py_CLEAR(self->events);
    Py_CLEAR(self->wait);
    return 0;
}

static void
request_dealloc(PyObject *object)
{
    request      *self = (request *) object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    if (self->ear != NULL) {
        self->ear->of = NULL;
    }
    wsgi_request_end(self, GW_ERR_APP);
    (void) request_clear(object);
    Py_XDECREF(self->errors);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyObject *
get_gone(PyObject *object, void *unused)
{
    (void) unused;
    return PyBool_FromLong(((request *) object)->gone);
}

static PyObject *
get_answered(PyObject *object, void *unused)
{
    (void) unused;
    return PyBool_FromLong(((request *) object)->d == NULL);
}

static PyObject *
get_events(PyObject *object, void *unused)
{
    PyObject *events = ((request *) object)->events;

    (void) unused;
    return Py_NewRef(events != NULL ? events : Py_None);
}

static int
set_events(PyObject *object, PyObject *events, void *unused)
{
    (void) unused;
    if (((request *) object)->d == NULL) {
        return 0;                                       /* nothing will be told */
    }
    Py_XSETREF(((request *) object)->events, events == Py_None ? NULL : Py_XNewRef(events));
    return 0;
}

static PyMethodDef request_methods[] = {
    { "read", (PyCFunction) (void (*)(void)) request_read, METH_FASTCALL,
      "read(n=65536) -> bytes, or None\n\nUp to n octets of the body, b'' at its end; None: nothing is there, and "
      "READABLE will be told." },
    { "start", wsgi_request_start, METH_VARARGS,
      "start(status, headers=())\n\nThe head of the answer: an int, and pairs of bytes. 1xx is sent at once." },
    { "write", request_write, METH_O,
      "write(data) -> bool\n\nA piece of the body. False: it was not taken, and WRITABLE will be told." },
    { "sendfile", request_sendfile, METH_VARARGS,
      "sendfile(fd, offset=0, count=-1) -> bool\n\nA piece of the body from a file; as write()." },
    { "end", request_end, METH_NOARGS, "end()\n\nThe answer is complete." },
    { "abort", request_abort, METH_NOARGS,
      "abort()\n\nThe answer has failed: a 500, or a cut when it had begun. Nothing where it was answered." },
    { "log", request_log, METH_O, "log(text) -> bool\n\nLines of the error log; False: it was answered." },
    { "scope", request_scope, METH_NOARGS, "scope() -> dict\n\nASGI's scope of type http." },
    { "wsgi", wsgi_request_wsgi, METH_VARARGS,
      "wsgi(app, wait)\n\nAnswer by a WSGI application. Where it has to wait it calls wait(what) with READABLE or "
      "WRITABLE, which returns when that was told, or ABORTED; or with FLUSH, for what was written to leave." },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef request_getters[] = {
    { "gone", get_gone, NULL, "the client has left, or will send no more", NULL },
    { "answered", get_answered, NULL, "end() or abort() was called", NULL },
    { "events", get_events, set_events, "what is called with READABLE, WRITABLE and ABORTED, inside turn()", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot request_slots[] = {
    { Py_tp_dealloc, request_dealloc },
    { Py_tp_traverse, request_traverse },
    { Py_tp_clear, request_clear },
    { Py_tp_methods, request_methods },
    { Py_tp_getset, request_getters },
    { Py_tp_doc, "A request that is answered later, in the thread of its loop." },
    { 0, NULL },
};

static PyType_Spec request_spec = {
    "gateway.Request", sizeof(request), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, request_slots,
};

int
wsgi_request_init(PyObject *module)
{
    request_type = (PyTypeObject *) PyType_FromSpec(&request_spec);
    return request_type != NULL && PyModule_AddObjectRef(module, "Request", (PyObject *) request_type) == 0
                   && PyModule_AddIntConstant(module, "READABLE", READABLE) == 0
                   && PyModule_AddIntConstant(module, "WRITABLE", WRITABLE) == 0
                   && PyModule_AddIntConstant(module, "ABORTED", ABORTED) == 0
                   && PyModule_AddIntConstant(module, "FLUSH", FLUSH) == 0
               ? 0
               : -1;
}
