/*
 * start_response.c - start_response, the write() that it returns, and wsgi.early_hints.
 */
#include "call.h"

static PyObject *write_octets(PyObject *callable, PyObject *const *args, size_t nargs, PyObject *names);

static PyTypeObject *call_type, *write_type;
static PyObject     *early_hints;

/* ---- the head ---- */

/* The octets of a str that is latin-1, as PEP 3333 has it; `keep` as in compat.h. */
static int
octets_of(PyObject *text, gw_str *out, PyObject **keep)
{
    Py_ssize_t len;

    if (!PyUnicode_Check(text) || (out->data = wsgi_latin1(text, &len, keep)) == NULL) {
        return -1;
    }
    out->len = (size_t) len;
    return 0;
}

/* The exception for what octets_of has refused. */
static int
not_latin1(PyObject *text, const char *what)
{
    if (PyUnicode_Check(text)) {
        PyErr_Format(PyExc_ValueError, "%s has characters that are not latin-1: %R", what, text);
    } else {
        PyErr_Format(PyExc_TypeError, "%s must be str, not %.100s: %R", what,
                     wsgi_type_name(Py_TYPE(text)), text);
    }
    return -1;
}

/* The same for a part of a header: which one it is; a value is not shown, it may be a secret. */
static int
bad_header(PyObject *pair, Py_ssize_t at, int is_value)
{
    PyObject   *part = PyTuple_GET_ITEM(pair, is_value);
    const char *what = is_value ? "the value" : "the name";

    if (PyUnicode_Check(part)) {
        PyErr_Format(PyExc_ValueError, "header %zd, %R: %s has characters that are not latin-1", at,
                     PyTuple_GET_ITEM(pair, 0), what);
    } else {
        PyErr_Format(PyExc_TypeError, "header %zd, %R: %s must be str, not %.100s", at,
                     PyTuple_GET_ITEM(pair, 0), what, wsgi_type_name(Py_TYPE(part)));
    }
    return -1;
}

/* The list of headers as the library has it. */
static int
fields_of(call *self, PyObject *headers, gw_response *head)
{
    Py_ssize_t count;

    if (!PyList_Check(headers)) {
        PyErr_Format(PyExc_TypeError, "the headers must be a list, not %.100s",
                     wsgi_type_name(Py_TYPE(headers)));
        return -1;
    }
    count = PyList_GET_SIZE(headers);
    if ((size_t) count > self->room) {
        gw_pair *more = PyMem_Realloc(self->pairs, (size_t) count * sizeof *more);

        if (more == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        self->pairs = more;
        self->room = (size_t) count;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyList_GET_ITEM(headers, i);

        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_Format(PyExc_TypeError, "header %zd must be a tuple (name, value), not %R", i, pair);
            return -1;
        }
        if (octets_of(PyTuple_GET_ITEM(pair, 0), &self->pairs[i].name, &self->keep) < 0) {
            return bad_header(pair, i, 0);
        }
        if (octets_of(PyTuple_GET_ITEM(pair, 1), &self->pairs[i].value, &self->keep) < 0) {
            return bad_header(pair, i, 1);
        }
    }
    head->headers = self->pairs;
    head->header_count = (size_t) count;
    return 0;
}

static int
head_of(call *self, PyObject *status, PyObject *headers, gw_response *head)
{
    gw_str text;

    if (octets_of(status, &text, &self->keep) < 0) {
        return not_latin1(status, "the status");
    }
    if (text.len < 3 || (text.len > 3 && text.data[3] != ' ') || text.data[0] < '1' || text.data[0] > '9'
        || text.data[1] < '0' || text.data[1] > '9' || text.data[2] < '0' || text.data[2] > '9') {
        PyErr_Format(PyExc_ValueError, "the status %R is not \"200 OK\" or the like", status);
        return -1;
    }
    if (text.data[0] == '1') {
        PyErr_Format(PyExc_ValueError, "the status %R ends no request: see environ['wsgi.early_hints']",
                     status);
        return -1;
    }
    head->status = (uint16_t) ((text.data[0] - '0') * 100 + (text.data[1] - '0') * 10 + text.data[2] - '0');
    if (text.len > 4) {
        head->reason = (gw_str) { text.data + 4, text.len - 4 };
    }
    return fields_of(self, headers, head);
}

/* Too late for another head: PEP 3333 has the exception raised again. */
static PyObject *
raise_again(PyObject *info)
{
    PyObject *type = PyTuple_GET_ITEM(info, 0), *value = PyTuple_GET_ITEM(info, 1),
             *trace = PyTuple_GET_ITEM(info, 2);

    if (!PyExceptionClass_Check(type)) {
        return wsgi_refused(GW_ERR_STATE, "start_response", NULL);
    }
    PyErr_Restore(Py_NewRef(type), value == Py_None ? NULL : Py_NewRef(value),
                  PyTraceBack_Check(trace) ? Py_NewRef(trace) : NULL);
    return NULL;
}

static PyObject *
start_response(PyObject *callable, PyObject *const *args, size_t nargs, PyObject *names)
{
    call       *self = (call *) callable;
    gw_response head = { 0 };
    Py_ssize_t  n = PyVectorcall_NARGS(nargs);
    PyObject   *given[3] = { NULL, NULL, NULL };
    gw_result   rc;

    wsgi_here();
    if (self->env == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "start_response after the request");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n && i < 3; i++) {
        given[i] = args[i];
    }
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        const char *name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, i));
        int         at = name == NULL                                                      ? -1
                         : strcmp(name, "status") == 0                                     ? 0
                         : strcmp(name, "headers") == 0 || strcmp(name, "response_headers") == 0 ? 1
                         : strcmp(name, "exc_info") == 0                                   ? 2
                                                                                           : -1;

        if (at < 0 || given[at] != NULL) {
            n = 4;
            break;
        }
        given[at] = args[n + i];
    }
    if (n > 3 || given[0] == NULL || given[1] == NULL) {
        PyErr_SetString(PyExc_TypeError, "start_response(status, headers, exc_info=None)");
        return NULL;
    }
    if (given[2] != NULL && given[2] != Py_None
        && (!PyTuple_Check(given[2]) || PyTuple_GET_SIZE(given[2]) != 3)) {
        PyErr_Format(PyExc_TypeError, "exc_info must be the tuple of sys.exc_info(), not %R", given[2]);
        return NULL;
    }
    if (head_of(self, given[0], given[1], &head) < 0) {
        Py_CLEAR(self->keep);
        return NULL;
    }
    if (given[2] != NULL && given[2] != Py_None) {
        head.flags = GW_RESPONSE_REPLACE;
    }
    rc = self->start(self->sr, &head, &self->writer);
    Py_CLEAR(self->keep);
    if (rc < 0) {
        return head.flags & GW_RESPONSE_REPLACE && rc == GW_ERR_STATE
             ? raise_again(given[2])
             : wsgi_refused(rc, "start_response", &head);
    }
    self->started = 1;
    if (self->write == NULL) {
        self->write = PyObject_New(writer, write_type);
        if (self->write == NULL) {
            return NULL;
        }
        self->write->vectorcall = write_octets;
        self->write->of = self;
    }
    return Py_NewRef((PyObject *) self->write);
}

/* environ['wsgi.early_hints'](headers): a 103, as gunicorn has it; nothing on HTTP/1.0, and nothing
   once the head is sent. */
static PyObject *
hint(PyObject *module, PyObject *headers)
{
    gw_response head = { .status = 103 };
    PyObject   *list, *done = NULL;
    call       *self;
    gw_result   rc;

    (void) module;
    wsgi_here();
    list = PySequence_List(headers);                    /* it may run anything */
    if (list == NULL) {
        return NULL;
    }
    self = wsgi_current_call();
    if (self == NULL || self->env == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "early_hints: only in the thread of a request, and during it");
        Py_DECREF(list);
        return NULL;
    }
    Py_INCREF((PyObject *) self);
    if (fields_of(self, list, &head) == 0) {
        rc = self->start(self->sr, &head, NULL);
        done = rc == GW_OK ? Py_NewRef(Py_None) : wsgi_refused(rc, "early_hints", &head);
    }
    Py_CLEAR(self->keep);
    Py_DECREF((PyObject *) self);
    Py_DECREF(list);
    return done;
}

static PyObject *
write_octets(PyObject *callable, PyObject *const *args, size_t nargs, PyObject *names)
{
    call     *self = ((writer *) callable)->of;
    gw_chunk  chunk = { 0 };
    gw_result rc;

    if (PyVectorcall_NARGS(nargs) != 1 || (names != NULL && PyTuple_GET_SIZE(names) > 0)) {
        PyErr_SetString(PyExc_TypeError, "write(data): one argument, bytes");
        return NULL;
    }
    if (!PyBytes_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "write(data): bytes, not %.100s: %.200R",
                     wsgi_type_name(Py_TYPE(args[0])), args[0]);
        return NULL;
    }
    if (self == NULL || self->env == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "write after the request");
        return NULL;
    }
    chunk.data = PyBytes_AS_STRING(args[0]);
    chunk.len = (uint64_t) PyBytes_GET_SIZE(args[0]);
    if (chunk.len == 0) {
        return Py_NewRef(Py_None);
    }
    chunk.release = wsgi_drop;
    chunk.arg = Py_NewRef(args[0]);
    wsgi_away();                                        /* it may wait for a slow client */
    rc = self->writer.write(self->writer.ctx, &chunk);
    wsgi_back();
    if (rc == GW_AGAIN) {
        Py_DECREF(args[0]);                             /* given back */
        rc = GW_ERR_BUSY;
    }
    return rc < 0 ? wsgi_refused(rc, "write", NULL) : Py_NewRef(Py_None);
}

/* ---- types ---- */

call *
wsgi_call_new(void)
{
    call *self = PyObject_New(call, call_type);

    if (self != NULL) {
        self->vectorcall = start_response;
        self->input = self->iterable = self->iterator = self->keep = NULL;
        self->write = NULL;
        self->pairs = NULL;
        self->room = 0;
    }
    return self;
}

static void
call_dealloc(PyObject *object)
{
    call         *self = (call *) object;
    PyTypeObject *type = Py_TYPE(object);

    if (self->write != NULL) {
        self->write->of = NULL;
        Py_DECREF(self->write);
    }
    Py_XDECREF(self->input);
    Py_XDECREF(self->iterator);
    Py_XDECREF(self->iterable);
    PyMem_Free(self->pairs);
    PyObject_Free(object);
    Py_DECREF(type);
}

static void
write_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_Free(object);
    Py_DECREF(type);
}

static PyMemberDef call_members[] = {
    { "__vectorcalloffset__", T_PYSSIZET, offsetof(call, vectorcall), READONLY, NULL },
    { NULL, 0, 0, 0, NULL },
};

static PyMemberDef write_members[] = {
    { "__vectorcalloffset__", T_PYSSIZET, offsetof(writer, vectorcall), READONLY, NULL },
    { NULL, 0, 0, 0, NULL },
};

static PyMethodDef hint_method = {
    "early_hints", hint, METH_O,
    "early_hints(headers)\n\nSend a 103 with these headers, before the head of the answer; a client of "
    "HTTP/1.0 gets none.",
};

static PyType_Slot call_slots[] = {
    { Py_tp_call, PyVectorcall_Call },
    { Py_tp_dealloc, call_dealloc },
    { Py_tp_members, call_members },
    { Py_tp_doc, "start_response(status, headers, exc_info=None) -> write" },
    { 0, NULL },
};

static PyType_Slot write_slots[] = {
    { Py_tp_call, PyVectorcall_Call },
    { Py_tp_dealloc, write_dealloc },
    { Py_tp_members, write_members },
    { Py_tp_doc, "write(data: bytes)" },
    { 0, NULL },
};

#define FLAGS Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION

static PyType_Spec call_spec = { "gateway.StartResponse", sizeof(call), 0, FLAGS, call_slots };
static PyType_Spec write_spec = { "gateway.Write", sizeof(writer), 0, FLAGS, write_slots };

PyObject *
wsgi_early_hints(void)
{
    return early_hints;
}

int
wsgi_start_response_init(void)
{
    call_type = (PyTypeObject *) PyType_FromSpec(&call_spec);
    write_type = (PyTypeObject *) PyType_FromSpec(&write_spec);
    early_hints = PyCFunction_New(&hint_method, NULL);
    return call_type != NULL && write_type != NULL && early_hints != NULL ? 0 : -1;
}
