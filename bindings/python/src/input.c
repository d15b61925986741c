/*
 * input.c - wsgi.input.
 *
 * A read waits for the client without the interpreter, where the thread may wait at all.
 */
#include "wsgi.h"

#define PIECE 65536

typedef struct {
    PyObject_HEAD
    gw_environ        *env;     /* NULL: the request is over */
    PyObject          *waiter;  /* a Request, whose greenlet waits; or NULL */
    PyThread_type_lock reading; /* while a thread is in the library without the interpreter; or NULL */
} input;

static PyTypeObject *input_type;

static PyObject *
failed(gw_result rc)
{
    if (PyErr_Occurred()) {
        return NULL;                    /* of what it waited by */
    }
    switch (rc) {
    case GW_ERR_CLOSED:
        PyErr_SetString(wsgi_gone(), "the client left before its request body was whole");
        break;
    case GW_ERR_TIMEOUT:
        PyErr_SetString(PyExc_TimeoutError, "the request body took too long");
        break;
    case GW_ERR_MEMORY:
        PyErr_NoMemory();
        break;
    default:
        PyErr_Format(PyExc_OSError, "read a request body: %s", gw_result_text(rc));
    }
    return NULL;
}

/* The library is about to wait for the client: the request must not end before that returns. */
static int
begin_reading(input *self)
{
    if (self->reading == NULL && (self->reading = PyThread_allocate_lock()) == NULL) {
        PyErr_NoMemory();
        return 0;
    }
    if (PyThread_acquire_lock(self->reading, NOWAIT_LOCK) == 0) {
        PyErr_SetString(PyExc_RuntimeError, "another thread reads this wsgi.input");
        return 0;
    }
    return 1;
}

/* Up to `size` octets, or a line of them; all there are where it is negative. */
static PyObject *
take(input *self, Py_ssize_t size, gw_result (*from)(gw_environ *, void *, size_t, uint32_t, size_t *),
     int is_line)
{
    PyObject  *out;
    Py_ssize_t cap = size < 0 ? (is_line ? 256 : PIECE) : size, len = 0;
    gw_result  rc = GW_OK;
    size_t     n;

    wsgi_here();
    if (self->env == NULL) {
        PyErr_SetString(PyExc_ValueError, "read of wsgi.input after the request");
        return NULL;
    }
    if (size < 0 && !is_line && self->env->content_length > 0 && self->env->content_length < 1 << 20) {
        cap = (Py_ssize_t) self->env->content_length + 1;       /* one more: the end is seen there */
    } else if (cap > PIECE) {
        cap = PIECE;
    }
    out = PyBytes_FromStringAndSize(NULL, cap);
    while (out != NULL && (size < 0 || len < size)) {
        char *octets;

        if (len == cap) {
            cap = size >= 0 && size < 2 * cap ? size : 2 * cap;
            if (_PyBytes_Resize(&out, cap) < 0) {
                return NULL;
            }
        }
        octets = PyBytes_AS_STRING(out);
        n = 0;
        rc = from(self->env, octets + len, (size_t) (cap - len), GW_NOWAIT, &n);
        if (rc == GW_AGAIN && self->waiter != NULL) {
            PyObject *waiter = Py_NewRef(self->waiter);

            /* No frame of the library's is below: the request may end meanwhile. */
            rc = wsgi_greenlet_wait(waiter);
            Py_DECREF(waiter);
            n = 0;
        } else if (rc == GW_AGAIN) {
            if (!begin_reading(self)) {
                Py_DECREF(out);
                return NULL;
            }
            wsgi_away();
            rc = from(self->env, octets + len, (size_t) (cap - len), 0, &n);
            wsgi_back();
            PyThread_release_lock(self->reading);
        }
        if (self->env == NULL && !PyErr_Occurred()) {
            Py_DECREF(out);
            PyErr_SetString(PyExc_ValueError, "the request ended while wsgi.input was read");
            return NULL;
        }
        if (rc != GW_OK) {
            break;
        }
        len += (Py_ssize_t) n;
        if (is_line && n > 0 && octets[len - 1] == '\n') {
            break;
        }
    }
    if (rc < 0) {
        Py_XDECREF(out);
        return failed(rc);
    }
    if (out != NULL && len != cap) {
        (void) _PyBytes_Resize(&out, len);
    }
    return out;
}

/* One optional argument that may be None. */
static int
size_of(PyObject *const *args, Py_ssize_t n, Py_ssize_t *size)
{
    *size = -1;
    if (n > 1) {
        PyErr_SetString(PyExc_TypeError, "at most one argument, the size");
        return -1;
    }
    if (n == 1 && args[0] != Py_None) {
        *size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
        if (*size == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}

static PyObject *
input_read(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    Py_ssize_t size;

    return size_of(args, n, &size) < 0 ? NULL : take((input *) self, size, gw_read, 0);
}

static PyObject *
input_readline(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    Py_ssize_t size;

    return size_of(args, n, &size) < 0 ? NULL : take((input *) self, size, gw_read_line, 1);
}

static PyObject *
input_next(PyObject *self)
{
    PyObject *line = take((input *) self, -1, gw_read_line, 1);

    if (line != NULL && PyBytes_GET_SIZE(line) == 0) {
        Py_CLEAR(line);
    }
    return line;
}

/* As many whole lines as come to `hint` octets; all where there is none. */
static PyObject *
input_readlines(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    PyObject  *lines, *line;
    Py_ssize_t hint, sum = 0;

    if (size_of(args, n, &hint) < 0 || (lines = PyList_New(0)) == NULL) {
        return NULL;
    }
    while ((hint <= 0 || sum < hint) && (line = input_next(self)) != NULL) {
        int rc = PyList_Append(lines, line);

        sum += PyBytes_GET_SIZE(line);
        Py_DECREF(line);
        if (rc < 0) {
            break;
        }
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(lines);
    }
    return lines;
}

PyObject *
wsgi_input(PyObject *again, gw_environ *env)
{
    input *self = (input *) again;

    if (self == NULL && (self = PyObject_New(input, input_type)) != NULL) {
        self->waiter = NULL;
        self->reading = NULL;
    }
    if (self != NULL) {
        self->env = env;
    }
    return (PyObject *) self;
}

void
wsgi_input_end(PyObject *object)
{
    input *self = (input *) object;

    self->env = NULL;
    Py_CLEAR(self->waiter);
    if (self->reading == NULL) {
        return;
    }
    if (PyThread_acquire_lock(self->reading, NOWAIT_LOCK) == 0) {
        wsgi_away();
        PyThread_acquire_lock(self->reading, WAIT_LOCK);
        wsgi_back();
    }
    PyThread_release_lock(self->reading);
}

void
wsgi_input_waits(PyObject *self, PyObject *waiter)
{
    ((input *) self)->waiter = Py_NewRef(waiter);
}

static void
input_dealloc(PyObject *object)
{
    input        *self = (input *) object;
    PyTypeObject *type = Py_TYPE(object);

    Py_XDECREF(self->waiter);
    if (self->reading != NULL) {
        PyThread_free_lock(self->reading);
    }
    PyObject_Free(object);
    Py_DECREF(type);
}

/* By wsgi.input, which every environ has; where a middleware has replaced it, the thread knows. */
PyObject *
wsgi_client_gone(PyObject *module, PyObject *environ)
{
    PyObject         *of;
    const gw_environ *env;

    (void) module;
    wsgi_here();
    if (!PyDict_Check(environ)) {
        PyErr_Format(PyExc_TypeError, "client_gone(environ): the dict, not %.100s",
                     wsgi_type_name(Py_TYPE(environ)));
        return NULL;
    }
    of = PyDict_GetItemString(environ, "wsgi.input");
    if (of != NULL && Py_TYPE(of) == input_type) {
        env = ((input *) of)->env;
        return PyBool_FromLong(env == NULL || gw_environ_gone(env));
    }
    env = wsgi_current();
    if (env == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "client_gone: this is no environ of a request that is under way");
        return NULL;
    }
    return PyBool_FromLong(gw_environ_gone(env));
}

static PyMethodDef input_methods[] = {
    { "read", (PyCFunction) (void (*)(void)) input_read, METH_FASTCALL,
      "read(size=-1) -> bytes\n\nUp to size octets of the request body; fewer at its end only." },
    { "readline", (PyCFunction) (void (*)(void)) input_readline, METH_FASTCALL,
      "readline(size=-1) -> bytes\n\nA line with its newline, or size octets of one." },
    { "readlines", (PyCFunction) (void (*)(void)) input_readlines, METH_FASTCALL,
      "readlines(hint=-1) -> list of bytes" },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot input_slots[] = {
    { Py_tp_dealloc, input_dealloc },
    { Py_tp_methods, input_methods },
    { Py_tp_iter, PyObject_SelfIter },
    { Py_tp_iternext, input_next },
    { Py_tp_doc, "The body of a request: wsgi.input." },
    { 0, NULL },
};

static PyType_Spec input_spec = {
    "gateway.Input", sizeof(input), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    input_slots,
};

int
wsgi_input_init(void)
{
    input_type = (PyTypeObject *) PyType_FromSpec(&input_spec);
    return input_type != NULL ? 0 : -1;
}
