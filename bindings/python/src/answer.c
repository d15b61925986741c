/*
 * answer.c - a request from the call of the application to the close of its iterable.
 *
 * One object is a request: it is the start_response that the application is given, and what the
 * library's callbacks have as their context.  Objects, with what they hold, are used again.
 */
#include "wsgi.h"

#include <pthread.h>
#include <unistd.h>

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

static PyObject *write_octets(PyObject *callable, PyObject *const *args, size_t nargs, PyObject *names);
static gw_result next(void *ctx, gw_chunk *out);
static void      end(void *ctx);

static PyTypeObject *call_type, *write_type;
static PyObject     *name_close, *early_hints;

/* The request that this thread is in: only while application code of it runs. */
static _Thread_local call             *current;
static _Thread_local const gw_environ *hooked;

const gw_environ *
wsgi_current(void)
{
    return current != NULL ? current->env : hooked;
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

/* ---- start_response ---- */

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
    if (current == NULL || current->env == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "early_hints: only in the thread of a request, and during it");
        Py_DECREF(list);
        return NULL;
    }
    self = (call *) Py_NewRef((PyObject *) current);
    if (fields_of(self, list, &head) == 0) {
        rc = self->start(self->sr, &head, NULL);
        done = rc == GW_OK ? Py_NewRef(Py_None) : wsgi_refused(rc, "early_hints", &head);
    }
    Py_CLEAR(self->keep);
    Py_DECREF((PyObject *) self);
    Py_DECREF(list);
    return done;
}

static void
drop_octets(void *octets)
{
    int entered = wsgi_enter();

    Py_DECREF((PyObject *) octets);
    wsgi_leave(entered);
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
    chunk.release = drop_octets;
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
    out->release = drop_octets;
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
    current = self->start != wsgi_deferred_start ? self : NULL;
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
    current = self->start != wsgi_deferred_start ? self : NULL;
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
        self = PyObject_New(call, call_type);
        if (self == NULL) {
            return NULL;
        }
        self->vectorcall = start_response;
        self->input = self->iterable = self->iterator = self->keep = NULL;
        self->write = NULL;
        self->pairs = NULL;
        self->room = 0;
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

    current = start != wsgi_deferred_start ? self : NULL;
    if (self == NULL || (self->input = wsgi_input(self->input, env)) == NULL
        || (environ = wsgi_environ(env, self->input)) == NULL
        || (start == wsgi_deferred_start && wsgi_deferred_environ(sr, environ) < 0)) {
        goto failed;
    }
    if (start == wsgi_deferred_start) {
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

/* CPython before 3.14 ends a thread that wants the interpreter when that is about to end: by unwinding it, which
   the library's frames below do not take.  It stays where it is, as in 3.14. */
static void
stay(void *unused)
{
    (void) unused;
    for (;;) {
        pause();
    }
}

gw_result
wsgi_call(void *app, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_result rc;

    pthread_cleanup_push(stay, NULL);
    rc = call_app(app, env, start, sr, body);
    pthread_cleanup_pop(0);
    return rc;
}

static gw_result
next(void *ctx, gw_chunk *out)
{
    gw_result rc;

    pthread_cleanup_push(stay, NULL);
    rc = next_chunk(ctx, out);
    pthread_cleanup_pop(0);
    return rc;
}

static void
end(void *ctx)
{
    pthread_cleanup_push(stay, NULL);
    close_call(ctx);
    pthread_cleanup_pop(0);
}

/* ---- types ---- */

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
wsgi_answer_init(void)
{
    name_close = PyUnicode_InternFromString("close");
    call_type = (PyTypeObject *) PyType_FromSpec(&call_spec);
    write_type = (PyTypeObject *) PyType_FromSpec(&write_spec);
    early_hints = PyCFunction_New(&hint_method, NULL);
    return name_close != NULL && call_type != NULL && write_type != NULL && early_hints != NULL ? 0 : -1;
}
