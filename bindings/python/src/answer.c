/*
 * answer.c - a request from the call of the application to the close of its iterable.
 *
 * One object is a request: it is the start_response that the application is given, and what the
 * library's callbacks have as their context.  Objects, with what they hold, are used again.
 */
#include "wsgi.h"

typedef struct call {
    PyObject_HEAD
    vectorcallfunc       vectorcall;
    struct call         *next_free;
    gw_environ          *env;           /* NULL: the request is over */
    gw_start_response_fn start;
    void                *sr;
    gw_writer            writer;
    PyObject            *input;
    PyObject            *iterable;      /* what the application returned */
    PyObject            *iterator;
    int                  started;
    gw_pair             *pairs;         /* room for a head */
    size_t               room;
} call;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    call          *of;
} writer;

static PyTypeObject *call_type, *write_type, *file_type;
static PyObject     *name_close, *name_traceback, *name_format;

#define FREE_MAX 64
static _Thread_local call *free_calls;
static _Thread_local int   free_count;

static PyObject *
refused(gw_result rc, const char *what)
{
    if (PyErr_Occurred()) {
        return NULL;                    /* of what it waited by */
    }
    switch (rc) {
    case GW_ERR_STATE:
        PyErr_Format(PyExc_AssertionError, "%s: not here, or called before (a second time needs exc_info)",
                     what);
        break;
    case GW_ERR_PROTOCOL:
    case GW_ERR_INVALID:
        PyErr_Format(PyExc_ValueError, "%s: a status, or a header, that HTTP does not allow", what);
        break;
    case GW_ERR_MEMORY:
        PyErr_NoMemory();
        break;
    case GW_ERR_CLOSED:
        PyErr_Format(PyExc_ConnectionResetError, "%s: the client has left", what);
        break;
    default:
        PyErr_Format(PyExc_OSError, "%s: %s", what, gw_result_text(rc));
    }
    return NULL;
}

void
wsgi_log_exception(const gw_environ *env, const char *where)
{
    PyObject   *type, *value, *trace, *module, *lines = NULL, *text = NULL;
    const char *utf8 = NULL;
    Py_ssize_t  len = 0;

    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    module = PyImport_Import(name_traceback);
    if (module != NULL) {
        lines = PyObject_CallMethodObjArgs(module, name_format, type, value != NULL ? value : Py_None,
                                           trace != NULL ? trace : Py_None, NULL);
    }
    if (lines != NULL) {
        PyObject *empty = PyUnicode_FromString("");

        text = empty != NULL ? PyUnicode_Join(empty, lines) : NULL;
        Py_XDECREF(empty);
    }
    if (text != NULL) {
        utf8 = PyUnicode_AsUTF8AndSize(text, &len);
    }
    wsgi_log(env, utf8 != NULL ? utf8 : where, utf8 != NULL ? (size_t) len : strlen(where));
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(lines);
    Py_XDECREF(module);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

/* ---- start_response ---- */

/* The octets of a str that is latin-1, as PEP 3333 has it. */
static int
octets_of(PyObject *text, const char *what, gw_str *out)
{
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "%s must be str, not %.100s", what, Py_TYPE(text)->tp_name);
        return -1;
    }
    if (PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND) {
        PyErr_Format(PyExc_ValueError, "%s %R has characters that are not latin-1", what, text);
        return -1;
    }
    out->data = (const char *) PyUnicode_1BYTE_DATA(text);
    out->len = (size_t) PyUnicode_GET_LENGTH(text);
    return 0;
}

static int
head_of(call *self, PyObject *status, PyObject *headers, gw_response *head)
{
    gw_str     text;
    Py_ssize_t count;

    if (octets_of(status, "the status", &text) < 0) {
        return -1;
    }
    if (text.len < 3 || (text.len > 3 && text.data[3] != ' ') || text.data[0] < '1' || text.data[0] > '9'
        || text.data[1] < '0' || text.data[1] > '9' || text.data[2] < '0' || text.data[2] > '9') {
        PyErr_Format(PyExc_ValueError, "the status %R is not \"200 OK\" or the like", status);
        return -1;
    }
    head->status = (uint16_t) ((text.data[0] - '0') * 100 + (text.data[1] - '0') * 10 + text.data[2] - '0');
    if (text.len > 4) {
        head->reason = (gw_str) { text.data + 4, text.len - 4 };
    }
    if (!PyList_Check(headers)) {
        PyErr_Format(PyExc_TypeError, "the headers must be a list, not %.100s", Py_TYPE(headers)->tp_name);
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
        if (octets_of(PyTuple_GET_ITEM(pair, 0), "the name of a header", &self->pairs[i].name) < 0
            || octets_of(PyTuple_GET_ITEM(pair, 1), "the value of a header", &self->pairs[i].value) < 0) {
            return -1;
        }
    }
    head->headers = self->pairs;
    head->header_count = (size_t) count;
    return 0;
}

static PyObject *
start_response(PyObject *callable, PyObject *const *args, size_t nargs, PyObject *names)
{
    call       *self = (call *) callable;
    gw_response head = { 0 };
    Py_ssize_t  n = PyVectorcall_NARGS(nargs);
    PyObject   *given[3] = { NULL, NULL, NULL };
    gw_result   rc;
    writer     *write;

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
    if (head_of(self, given[0], given[1], &head) < 0) {
        return NULL;
    }
    if (given[2] != NULL && given[2] != Py_None) {
        head.flags = GW_RESPONSE_REPLACE;
    }
    rc = self->start(self->sr, &head, &self->writer);
    if (rc < 0) {
        if (head.flags & GW_RESPONSE_REPLACE && rc == GW_ERR_STATE && PyTuple_Check(given[2])
            && PyTuple_GET_SIZE(given[2]) == 3) {
            /* Too late for another head: PEP 3333 has the exception raised again. */
            PyObject *type = PyTuple_GET_ITEM(given[2], 0), *value = PyTuple_GET_ITEM(given[2], 1),
                     *trace = PyTuple_GET_ITEM(given[2], 2);

            PyErr_Restore(Py_NewRef(type), Py_NewRef(value), trace == Py_None ? NULL : Py_NewRef(trace));
            return NULL;
        }
        return refused(rc, "start_response");
    }
    self->started = 1;
    write = PyObject_New(writer, write_type);
    if (write != NULL) {
        extern PyObject *wsgi_write(PyObject *, PyObject *const *, size_t, PyObject *);

        write->vectorcall = wsgi_write;
        write->of = (call *) Py_NewRef(callable);
    }
    return (PyObject *) write;
}

PyObject *
wsgi_write(PyObject *callable, PyObject *const *args, size_t nargs, PyObject *names)
{
    call     *self = ((writer *) callable)->of;
    gw_chunk  chunk = { 0 };
    gw_result rc;

    if (PyVectorcall_NARGS(nargs) != 1 || (names != NULL && PyTuple_GET_SIZE(names) > 0)
        || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "write(data): one argument, bytes");
        return NULL;
    }
    if (self->env == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "write after the request");
        return NULL;
    }
    chunk.data = PyBytes_AS_STRING(args[0]);
    chunk.len = (uint64_t) PyBytes_GET_SIZE(args[0]);
    if (chunk.len == 0) {
        return Py_NewRef(Py_None);
    }
    wsgi_away();                                        /* it may wait for a slow client */
    rc = self->writer.write(self->writer.ctx, &chunk);
    wsgi_back();
    return rc < 0 || rc == GW_AGAIN ? refused(rc < 0 ? rc : GW_ERR_BUSY, "write") : Py_NewRef(Py_None);
}

/* ---- the iterable ---- */

static void
drop_octets(void *octets)
{
    int entered = wsgi_enter();

    Py_DECREF((PyObject *) octets);
    wsgi_leave(entered);
}

/* A piece of the answer; takes the reference. */
static gw_result
give(call *self, PyObject *octets, gw_chunk *out)
{
    if (!PyBytes_Check(octets)) {
        PyErr_Format(PyExc_TypeError, "the application must return bytes, not %.100s",
                     Py_TYPE(octets)->tp_name);
        Py_DECREF(octets);
        wsgi_log_exception(self->env, "wrong type of a chunk");
        return GW_ERR_APP;
    }
    out->data = PyBytes_AS_STRING(octets);
    out->len = (uint64_t) PyBytes_GET_SIZE(octets);
    out->release = drop_octets;
    out->arg = octets;
    return GW_OK;
}

static gw_result
next(void *ctx, gw_chunk *out)
{
    call     *self = ctx;
    int       entered = wsgi_enter();
    PyObject *octets;
    gw_result rc;

    wsgi_current = self->start != wsgi_deferred_start ? self->env : NULL;
    octets = Py_TYPE(self->iterator)->tp_iternext(self->iterator);

    if (octets != NULL) {
        rc = give(self, octets, out);
    } else if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_StopIteration)) {
        wsgi_log_exception(self->env, "an exception of the iterable");
        rc = GW_ERR_APP;
    } else {
        PyErr_Clear();
        rc = GW_EOF;
    }
    wsgi_leave(entered);
    return rc;
}

/* Everything that the request held goes; the object stays for another if nobody else has it. */
static void
over(call *self)
{
    self->env = NULL;
    if (self->input != NULL) {
        wsgi_input_end(self->input);
        Py_CLEAR(self->input);
    }
    Py_CLEAR(self->iterator);
    Py_CLEAR(self->iterable);
    if (Py_REFCNT(self) == 1 && free_count < FREE_MAX) {
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
        PyErr_Clear();
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
end(void *ctx)
{
    call *self = ctx;
    int   entered = wsgi_enter();

    wsgi_current = self->start != wsgi_deferred_start ? self->env : NULL;
    close_iterable(self);
    wsgi_current = NULL;
    over(self);
    wsgi_leave(entered);
}

/* ---- wsgi.file_wrapper ---- */

typedef struct {
    PyObject_HEAD
    PyObject  *of;
    Py_ssize_t size;
} file;

/* By sendfile, where it is a file that nobody has read from by other means. */
static int
file_of(file *self, gw_body *body)
{
    int       fd = PyObject_AsFileDescriptor(self->of);
    PyObject *at = fd >= 0 ? PyObject_CallMethod(self->of, "tell", NULL) : NULL;
    int64_t   offset = at != NULL ? PyLong_AsLongLong(at) : -1;

    Py_XDECREF(at);
    PyErr_Clear();
    return offset >= 0 && gw_body_file(body, fd, offset, UINT64_MAX, 0, NULL, NULL) == GW_OK;
}

static PyObject *
file_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    static char *keywords[] = { "filelike", "blksize", NULL };
    PyObject    *of;
    Py_ssize_t   size = 65536;
    file        *self;

    if (!PyArg_ParseTupleAndKeywords(args, names, "O|n:file_wrapper", keywords, &of, &size)) {
        return NULL;
    }
    self = (file *) type->tp_alloc(type, 0);
    if (self != NULL) {
        self->of = Py_NewRef(of);
        self->size = size > 0 ? size : 65536;
    }
    return (PyObject *) self;
}

static PyObject *
file_next(PyObject *self)
{
    PyObject *octets = PyObject_CallMethod(((file *) self)->of, "read", "n", ((file *) self)->size);

    if (octets != NULL && PyObject_Size(octets) == 0) {
        Py_CLEAR(octets);
    }
    return octets;
}

static PyObject *
file_close(PyObject *self, PyObject *unused)
{
    PyObject *method = PyObject_GetAttr(((file *) self)->of, name_close), *done;

    (void) unused;
    if (method == NULL) {
        PyErr_Clear();
        return Py_NewRef(Py_None);
    }
    done = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    return done;
}

static void
file_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(((file *) self)->of);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *
wsgi_file_wrapper(void)
{
    return (PyObject *) file_type;
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
        self = PyObject_New(call, call_type);
        if (self == NULL) {
            return NULL;
        }
        self->vectorcall = start_response;
        self->input = self->iterable = self->iterator = NULL;
        self->pairs = NULL;
        self->room = 0;
    }
    self->env = env;
    self->start = start;
    self->sr = sr;
    self->started = 0;
    return self;
}

gw_result
wsgi_call(void *app, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    int       entered = wsgi_enter();
    call     *self = begin(env, start, sr);
    PyObject *environ = NULL, *result = NULL, *args[3];
    gw_result rc = GW_ERR_APP;

    wsgi_current = start != wsgi_deferred_start ? env : NULL;

    if (self == NULL || (self->input = wsgi_input(env)) == NULL
        || (environ = wsgi_environ(env, self->input)) == NULL
        || (start == wsgi_deferred_start && wsgi_deferred_environ(sr, environ) < 0)) {
        goto failed;
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

        /* Nothing is called any more, and the octets have a reference of their own. */
        rc = give(self, Py_NewRef(only), &body->first);
        over(self);
        wsgi_leave(entered);
        return rc;
    }
    if (Py_TYPE(result) == file_type && file_of((file *) result, body)) {
        body->close = end;
        body->ctx = self;
        wsgi_leave(entered);
        return GW_OK;
    }
    if (PyBytes_Check(result) || PyUnicode_Check(result)) {
        PyErr_Format(PyExc_TypeError, "the application must return an iterable of bytes, not %.100s: [...]",
                     Py_TYPE(result)->tp_name);
        goto failed;
    }
    self->iterator = PyObject_GetIter(result);
    if (self->iterator == NULL) {
        goto failed;
    }
    body->next = next;
    body->close = end;
    body->ctx = self;
    wsgi_leave(entered);
    return GW_OK;

failed:
    wsgi_log_exception(env, "an exception of the application");
    if (self != NULL) {
        close_iterable(self);
        over(self);
    }
    wsgi_leave(entered);
    return rc;
}

/* ---- types ---- */

static void
call_dealloc(PyObject *object)
{
    call         *self = (call *) object;
    PyTypeObject *type = Py_TYPE(object);

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

    Py_DECREF(((writer *) object)->of);
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

static PyMethodDef file_methods[] = {
    { "close", file_close, METH_NOARGS, "close()" },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot file_slots[] = {
    { Py_tp_new, file_new },
    { Py_tp_dealloc, file_dealloc },
    { Py_tp_methods, file_methods },
    { Py_tp_iter, PyObject_SelfIter },
    { Py_tp_iternext, file_next },
    { Py_tp_doc, "file_wrapper(filelike, blksize=65536): wsgi.file_wrapper" },
    { 0, NULL },
};

static PyType_Spec file_spec = { "gateway.FileWrapper", sizeof(file), 0, Py_TPFLAGS_DEFAULT, file_slots };

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

int
wsgi_answer_init(PyObject *module)
{
    (void) module;
    name_close = PyUnicode_InternFromString("close");
    name_traceback = PyUnicode_InternFromString("traceback");
    name_format = PyUnicode_InternFromString("format_exception");
    call_type = (PyTypeObject *) PyType_FromSpec(&call_spec);
    write_type = (PyTypeObject *) PyType_FromSpec(&write_spec);
    file_type = (PyTypeObject *) PyType_FromSpec(&file_spec);
    return file_type != NULL && call_type != NULL && write_type != NULL && name_format != NULL ? 0 : -1;
}
