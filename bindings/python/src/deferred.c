/*
 * deferred.c - requests that are answered later, by what runs in a loop of Python's.
 *
 * A Deferred is what the library is given as application: it hands each request to a callable,
 * inside Server.turn(), which only schedules something - a task, a greenlet.  That answers by the
 * Request: piece by piece (ASGI), or as a WSGI application that may wait for its greenlet (wsgi).
 *
 * A Request that nobody has any more is given up: its client is never left without an answer.
 */
#include "wsgi.h"

#include <fcntl.h>
#include <strings.h>
#include <unistd.h>

typedef struct {
    PyObject_HEAD
    PyObject *spawn;            /* called with each Request */
} deferred;

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

typedef struct {
    PyObject_HEAD
    request  *of;               /* NULL: it is over */
    PyObject *rest;             /* what was written and not ended: lines are whole; or NULL */
} errors;

#define READABLE GW_EVENT_READABLE
#define WRITABLE GW_EVENT_WRITABLE
#define ABORTED  GW_EVENT_ABORTED
#define FLUSH    0

static PyTypeObject *deferred_type, *request_type, *errors_type;

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

static request *
open_request(PyObject *object)
{
    request *self = (request *) object;

    if (self->d == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this request was answered");
        return NULL;
    }
    wsgi_here();
    return self;
}

static void errors_end(errors *self);

static void
give_up(request *self, gw_result outcome)
{
    gw_deferred *d = self->d;
    PyObject    *type, *value, *trace;

    if (d != NULL) {
        PyErr_Fetch(&type, &value, &trace);             /* what runs there is not to meet it */
        wsgi_here();
        if (self->errors != NULL) {
            errors_end((errors *) self->errors);
        }
        self->d = NULL;
        (void) gw_deferred_end(d, outcome);
        Py_CLEAR(self->events);
        Py_CLEAR(self->wait);
        PyErr_Restore(type, value, trace);
    }
}

/* ---- what the library tells, inside Server.turn() ---- */

static void
tell(ear *e, int what)
{
    int       entered = wsgi_enter();
    request  *self = e->of;
    PyObject *told, *done;

    if (self != NULL) {
        Py_INCREF((PyObject *) self);
        self->gone |= what == ABORTED;
        told = Py_XNewRef(self->events);
        if (told != NULL) {
            done = PyObject_CallFunction(told, "i", what);
            if (done == NULL) {
                wsgi_log_exception(self->d != NULL ? self->env : NULL, "an exception of an event");
            }
            Py_XDECREF(done);
            Py_DECREF(told);
        }
        Py_DECREF(self);
    }
    wsgi_leave(entered);
}

static void
on_readable(void *ctx, gw_deferred *d)
{
    (void) d;
    tell(ctx, READABLE);
}

static void
on_writable(void *ctx, gw_deferred *d)
{
    (void) d;
    tell(ctx, WRITABLE);
}

static void
on_aborted(void *ctx, gw_deferred *d)
{
    (void) d;
    tell(ctx, ABORTED);
}

static void
on_drop(void *ctx)
{
    ear *e = ctx;
    int  entered = wsgi_enter();

    if (e->of != NULL) {
        e->of->ear = NULL;
    }
    PyMem_Free(e);
    wsgi_leave(entered);
}

gw_result
wsgi_deferred_call(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_deferred_events events = GW_INIT(gw_deferred_events);
    int                entered = wsgi_enter();
    request           *self = PyObject_GC_New(request, request_type);
    ear               *e = PyMem_Calloc(1, sizeof *e);
    PyObject          *done;
    gw_result          rc = GW_ERR_MEMORY;

    (void) start, (void) sr, (void) body;
    if (self == NULL || e == NULL) {
        PyErr_Clear();
        PyMem_Free(e);
        if (self != NULL) {
            PyObject_GC_Del(self);
        }
        wsgi_leave(entered);
        return rc;
    }
    self->d = NULL;
    self->env = env;
    self->ear = e;
    self->events = self->wait = self->errors = NULL;
    self->gone = self->streams = self->running = self->cut = 0;
    self->left = -1;
    e->of = self;
    PyObject_GC_Track(self);
    events.readable = on_readable;
    events.writable = on_writable;
    events.aborted = on_aborted;
    events.drop = on_drop;
    events.ctx = e;
    rc = gw_defer(env, &events, &self->d);
    if (rc < 0) {
        self->d = NULL;
        gw_log(env, GW_LOG_ERROR, "this request cannot be answered later", 37);
    } else {
        done = PyObject_CallOneArg(((deferred *) ctx)->spawn, (PyObject *) self);
        if (done == NULL) {
            wsgi_log_exception(env, "an exception of what takes requests");
            give_up(self, GW_ERR_APP);
        }
        Py_XDECREF(done);
        rc = GW_DEFERRED;
    }
    Py_DECREF(self);
    wsgi_leave(entered);
    return rc;
}

/* ---- reading ---- */

static PyObject *
request_read(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    request   *self = open_request(object);
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

static PyObject *
request_start(PyObject *object, PyObject *args)
{
    request    *self = open_request(object);
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

static void
drop_octets(void *octets)
{
    int entered = wsgi_enter();

    Py_DECREF((PyObject *) octets);
    wsgi_leave(entered);
}

static PyObject *
request_write(PyObject *object, PyObject *data)
{
    request  *self = open_request(object);
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
    chunk.release = drop_octets;
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
static gw_result
write_file(request *self, int fd, int64_t offset, uint64_t len)
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
    request  *self = open_request(object);
    long long offset = 0, count = -1;
    gw_result rc;
    int       fd;

    if (self == NULL || !PyArg_ParseTuple(args, "i|LL:sendfile", &fd, &offset, &count)) {
        return NULL;
    }
    rc = write_file(self, fd, offset, count < 0 ? UINT64_MAX : (uint64_t) count);
    return rc < 0 ? failed(rc, "sendfile", NULL) : Py_NewRef(rc == GW_AGAIN ? Py_False : Py_True);
}

static PyObject *
request_end(PyObject *object, PyObject *unused)
{
    request *self = open_request(object);

    (void) unused;
    if (self == NULL) {
        return NULL;
    }
    if (self->running) {
        self->cut = 1;
    } else {
        give_up(self, GW_OK);
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
        give_up(self, GW_ERR_APP);
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

/* ---- what was asked: ASGI's scope ---- */

static PyObject *key_type, *key_asgi, *key_version, *key_method, *key_scheme, *key_path, *key_raw, *key_query,
    *key_root, *key_headers, *key_client, *key_server, *type_http, *asgi_versions, *wsgi_errors_key,
    *wsgi_multithread_key, *wsgi_hints_key;

static PyObject *
octets(gw_str text)
{
    return PyBytes_FromStringAndSize(text.len > 0 ? text.data : "", (Py_ssize_t) text.len);
}

static PyObject *
utf8(gw_str a, gw_str b)
{
    PyObject *left, *right, *both;

    if (a.len == 0) {
        return PyUnicode_DecodeUTF8(b.len > 0 ? b.data : "", (Py_ssize_t) b.len, "replace");
    }
    left = PyUnicode_DecodeUTF8(a.data, (Py_ssize_t) a.len, "replace");
    right = PyUnicode_DecodeUTF8(b.len > 0 ? b.data : "", (Py_ssize_t) b.len, "replace");
    both = left != NULL && right != NULL ? PyUnicode_Concat(left, right) : NULL;
    Py_XDECREF(left);
    Py_XDECREF(right);
    return both;
}

/* The path of a target, without its query; of a whole URI, what is behind the authority. */
static gw_str
path_of(gw_str uri)
{
    const char *mark = uri.len > 0 ? memchr(uri.data, '?', uri.len) : NULL;
    const char *at;

    if (mark != NULL) {
        uri.len = (size_t) (mark - uri.data);
    }
    if (uri.len > 0 && uri.data[0] != '/' && (at = memmem(uri.data, uri.len, "://", 3)) != NULL) {
        const char *end = uri.data + uri.len;
        const char *slash = memchr(at + 3, '/', (size_t) (end - at - 3));

        uri = slash != NULL ? (gw_str) { slash, (size_t) (end - slash) } : GW_STR("/");
    }
    return uri;
}

static PyObject *
headers_of(const gw_environ *env)
{
    PyObject *list = PyList_New((Py_ssize_t) env->header_count);

    for (size_t i = 0; list != NULL && i < env->header_count; i++) {
        PyObject *name = octets(env->headers[i].name), *value = octets(env->headers[i].value), *pair = NULL;

        if (name != NULL && value != NULL) {
            char *text = PyBytes_AS_STRING(name);

            if (env->headers[i].name.len == 1) {        /* those are shared: a copy of our own */
                char c = text[0];

                Py_DECREF(name);
                c = c >= 'A' && c <= 'Z' ? (char) (c + 32) : c;
                name = PyBytes_FromStringAndSize(&c, 1);
            } else {
                for (size_t n = 0; n < env->headers[i].name.len; n++) {
                    text[n] = text[n] >= 'A' && text[n] <= 'Z' ? (char) (text[n] + 32) : text[n];
                }
            }
            pair = name != NULL ? PyTuple_Pack(2, name, value) : NULL;
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (pair == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t) i, pair);
        }
    }
    return list;
}

static PyObject *
address(gw_str host, gw_str port)
{
    PyObject *number, *pair;
    char      text[8];

    if (port.len == 0 || port.len >= sizeof text || host.len == 0) {
        return Py_NewRef(Py_None);
    }
    memcpy(text, port.data, port.len);
    text[port.len] = '\0';
    number = PyLong_FromString(text, NULL, 10);
    pair = number != NULL ? Py_BuildValue("(s#N)", host.data, (Py_ssize_t) host.len, number) : NULL;
    return pair;
}

/* Takes the value. */
static int
add(PyObject *dict, PyObject *key, PyObject *value)
{
    int rc = value != NULL ? PyDict_SetItem(dict, key, value) : -1;

    Py_XDECREF(value);
    return rc;
}

static PyObject *
request_scope(PyObject *object, PyObject *unused)
{
    request    *self = open_request(object);
    gw_environ *env;
    PyObject   *dict;
    gw_str      version;

    (void) unused;
    if (self == NULL || (dict = PyDict_New()) == NULL) {
        return NULL;
    }
    env = self->env;
    version = env->server_protocol;
    if (version.len > 5 && memcmp(version.data, "HTTP/", 5) == 0) {
        version = (gw_str) { version.data + 5, version.len - 5 };
    }
    if (add(dict, key_type, Py_NewRef(type_http)) < 0
        || add(dict, key_asgi, PyDict_Copy(asgi_versions)) < 0
        || add(dict, key_version, PyUnicode_DecodeLatin1(version.data, (Py_ssize_t) version.len, NULL)) < 0
        || add(dict, key_server, address(env->server_name, env->server_port)) < 0
        || add(dict, key_client, address(env->remote_addr, env->remote_port)) < 0
        || add(dict, key_scheme, utf8((gw_str) { NULL, 0 }, env->url_scheme)) < 0
        || add(dict, key_method, utf8((gw_str) { NULL, 0 }, env->request_method)) < 0
        || add(dict, key_root, utf8((gw_str) { NULL, 0 }, env->script_name)) < 0
        || add(dict, key_path, utf8(env->script_name, env->path_info)) < 0
        || add(dict, key_raw, octets(path_of(env->request_uri))) < 0
        || add(dict, key_query, octets(env->query_string)) < 0
        || add(dict, key_headers, headers_of(env)) < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

/* ---- WSGI, in something that can wait without its thread: a greenlet ---- */

/* Returns when `what` may have happened.  GW_ERR_APP: an exception, which stays set. */
static gw_result
wait_for(request *self, int what)
{
    int       entered = wsgi_enter();
    PyObject *wait = Py_XNewRef(self->wait), *done;
    gw_result rc = GW_ERR_BUSY;

    if (wait != NULL) {
        Py_INCREF((PyObject *) self);
        done = PyObject_CallFunction(wait, "i", what);
        rc = done == NULL ? GW_ERR_APP : self->d == NULL || self->cut ? GW_ERR_CLOSED : GW_OK;
        Py_XDECREF(done);
        Py_DECREF(wait);
        Py_DECREF((PyObject *) self);
    }
    wsgi_leave(entered);
    return rc;
}

gw_result
wsgi_deferred_wait(PyObject *object)
{
    return wait_for((request *) object, READABLE);
}

/* A gw_input that waits, for whoever is not wsgi.input.  Called with the interpreter, or without. */
static gw_result
read_input(void *ctx, void *buf, size_t cap, uint32_t flags, size_t *n)
{
    request  *self = ctx;
    gw_result rc;

    while ((rc = self->input.read(self->input.ctx, buf, cap, GW_NOWAIT, n)) == GW_AGAIN
           && !(flags & GW_NOWAIT)) {
        rc = wait_for(self, READABLE);
        if (rc < 0) {
            break;
        }
    }
    return rc;
}

/* A gw_writer that waits.  The chunk's release is called in any case. */
static gw_result
put(void *ctx, const gw_chunk *chunk)
{
    request  *self = ctx;
    gw_result rc;

    self->left -= self->left > (int64_t) chunk->len ? (int64_t) chunk->len : self->left > 0 ? self->left : 0;
    while ((rc = self->d != NULL && !self->cut ? gw_deferred_write(self->d, chunk) : GW_AGAIN) == GW_AGAIN) {
        rc = self->d != NULL && !self->cut ? wait_for(self, WRITABLE) : GW_ERR_CLOSED;
        if (rc < 0) {
            if (chunk->release != NULL) {
                chunk->release(chunk->arg);
            }
            break;
        }
    }
    return rc;
}

gw_result
wsgi_deferred_start(void *sr, const gw_response *head, gw_writer *writer)
{
    request *self = sr;

    if (writer != NULL) {
        *writer = (gw_writer) { .write = put, .ctx = self };
    }
    self->left = -1;
    for (size_t i = 0; i < head->header_count; i++) {
        if (head->headers[i].name.len == 14 && strncasecmp(head->headers[i].name.data, "content-length", 14) == 0
            && head->headers[i].value.len > 0 && head->headers[i].value.len < 18) {
            char digits[18] = "";

            memcpy(digits, head->headers[i].value.data, head->headers[i].value.len);
            self->left = strtoll(digits, NULL, 10);
        }
    }
    return self->d != NULL && !self->cut ? gw_deferred_start(self->d, head) : GW_ERR_CLOSED;
}

/* A piece that the iterable gave; its release is called in any case, as put does. */
static gw_result
piece(request *self, gw_chunk *chunk)
{
    gw_result rc;

    if (chunk->flags & GW_CHUNK_FILE) {
        do {
            rc = write_file(self, chunk->fd, chunk->offset, chunk->len);
        } while (rc == GW_AGAIN && (rc = wait_for(self, WRITABLE)) == GW_OK);
        if (chunk->release != NULL) {
            chunk->release(chunk->arg);
        }
        return rc;
    }
    if (chunk->len > 0) {
        return put(self, chunk);
    }
    if (chunk->release != NULL) {
        chunk->release(chunk->arg);
    }
    return GW_OK;
}

/* All of the iterable: whatever was given leaves before more is asked for. */
static gw_result
pieces(request *self, gw_body *body)
{
    gw_result rc = body->first.len > 0 || body->first.release != NULL ? piece(self, &body->first) : GW_OK;

    while (rc == GW_OK && body->next != NULL) {
        gw_chunk chunk = { 0 };

        if (self->streams && self->left != 0 && (rc = wait_for(self, FLUSH)) < 0) {
            break;
        }
        rc = body->next(body->ctx, &chunk);
        if (rc == GW_EOF) {
            return GW_OK;
        }
        if (rc == GW_OK) {
            self->streams |= chunk.len > 0;
            rc = piece(self, &chunk);
        }
    }
    return rc;
}

static PyObject *
request_wsgi(PyObject *object, PyObject *args)
{
    request    *self = open_request(object);
    gw_environ *env;
    gw_body     body = GW_INIT(gw_body);
    PyObject   *app, *wait, *type, *value, *trace;
    gw_result   rc;

    if (self == NULL || !PyArg_ParseTuple(args, "OO:wsgi", &app, &wait)) {
        return NULL;
    }
    if (gw_environ_derive(self->env, &env) < 0) {
        give_up(self, GW_ERR_MEMORY);
        return PyErr_NoMemory();
    }
    self->input = self->env->input;
    env->input = (gw_input) { .read = read_input, .ctx = self };
    Py_XSETREF(self->wait, Py_NewRef(wait));
    Py_INCREF((PyObject *) self);
    self->running = 1;
    rc = wsgi_call(app, env, wsgi_deferred_start, self, &body);
    wsgi_here();
    if (rc == GW_OK) {
        rc = pieces(self, &body);
        if (rc == GW_ERR_STATE) {
            wsgi_log(self->env, "the application gave a body, and had not called start_response", 62);
            rc = GW_ERR_APP;
        }
        PyErr_Fetch(&type, &value, &trace);             /* it was interrupted while it waited */
        if (body.close != NULL) {
            body.close(body.ctx);
        }
        PyErr_Restore(type, value, trace);
    }
    self->running = 0;
    give_up(self, PyErr_Occurred() ? GW_ERR_CLOSED : self->cut ? GW_ERR_APP : rc < 0 ? rc : GW_OK);
    Py_DECREF(self);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* environ['wsgi.early_hints'](headers): a 103, as answer.c has it. */
static PyObject *
request_hint(PyObject *object, PyObject *headers)
{
    PyObject *list = PySequence_List(headers), *args = NULL, *done = NULL, *pairs = PyList_New(0);

    for (Py_ssize_t i = 0; list != NULL && pairs != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *name, *value, *pair;

        if (!PyTuple_Check(PyList_GET_ITEM(list, i)) || PyTuple_GET_SIZE(PyList_GET_ITEM(list, i)) != 2) {
            PyErr_Format(PyExc_TypeError, "early_hints: header %zd must be a tuple (name, value)", i);
            Py_CLEAR(pairs);
            break;
        }
        if (!PyArg_Parse(PyList_GET_ITEM(list, i), "(UU):early_hints", &name, &value)) {
            Py_CLEAR(pairs);
            break;
        }
        name = PyUnicode_AsLatin1String(name);
        value = PyUnicode_AsLatin1String(value);
        pair = name != NULL && value != NULL ? PyTuple_Pack(2, name, value) : NULL;
        if (pair == NULL || PyList_Append(pairs, pair) < 0) {
            Py_CLEAR(pairs);
        }
        Py_XDECREF(pair);
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    if (list != NULL && pairs != NULL && (args = Py_BuildValue("(iO)", 103, pairs)) != NULL) {
        done = request_start(object, args);
        /* What goes out together with the answer is no hint. */
        if (done != NULL && ((request *) object)->wait != NULL
            && wait_for((request *) object, FLUSH) == GW_ERR_APP) {
            Py_CLEAR(done);
        }
    }
    Py_XDECREF(args);
    Py_XDECREF(pairs);
    Py_XDECREF(list);
    return done;
}

static PyMethodDef hint_method = { "early_hints", request_hint, METH_O, "early_hints(headers): a 103" };

/* What differs where several requests are under way in a thread: wsgi.errors, and that it is so. */
int
wsgi_deferred_environ(void *sr, PyObject *dict)
{
    request  *self = sr;
    PyObject *hint;
    int       rc;

    if (self->errors == NULL) {
        errors *e = PyObject_New(errors, errors_type);

        if (e == NULL) {
            return -1;
        }
        e->of = self;
        e->rest = NULL;
        self->errors = (PyObject *) e;
    }
    hint = PyCFunction_New(&hint_method, (PyObject *) self);
    rc = hint == NULL || PyDict_SetItem(dict, wsgi_hints_key, hint) < 0
              || PyDict_SetItem(dict, wsgi_multithread_key, Py_True) < 0
              || PyDict_SetItem(dict, wsgi_errors_key, self->errors) < 0
       ? -1
       : 0;
    Py_XDECREF(hint);
    return rc;
}

/* ---- wsgi.errors of it ---- */

/* Up to `end` of what was not ended yet. */
static int
errors_out(errors *self, Py_ssize_t end)
{
    Py_ssize_t len = PyUnicode_GET_LENGTH(self->rest);
    PyObject  *head = PyUnicode_Substring(self->rest, 0, end), *utf8 = NULL;

    Py_XSETREF(self->rest, end < len ? PyUnicode_Substring(self->rest, end, len) : NULL);
    if (head != NULL && (utf8 = PyUnicode_AsEncodedString(head, "utf-8", "backslashreplace")) != NULL) {
        wsgi_log(self->of != NULL && self->of->d != NULL ? self->of->env : NULL, PyBytes_AS_STRING(utf8),
                 (size_t) PyBytes_GET_SIZE(utf8));
    }
    Py_XDECREF(head);
    Py_XDECREF(utf8);
    return PyErr_Occurred() ? -1 : 0;
}

static void
errors_end(errors *self)
{
    PyObject *type, *value, *trace;

    if (self->rest != NULL) {
        PyErr_Fetch(&type, &value, &trace);
        (void) errors_out(self, PyUnicode_GET_LENGTH(self->rest));
        PyErr_Restore(type, value, trace);
    }
}

static PyObject *
errors_write(PyObject *object, PyObject *text)
{
    errors    *self = (errors *) object;
    PyObject  *all;
    Py_ssize_t newline;

    if (!PyUnicode_Check(text)) {
        return PyErr_Format(PyExc_TypeError, "wsgi.errors.write(text): str, not %.100s",
                            wsgi_type_name(Py_TYPE(text)));
    }
    all = self->rest != NULL ? PyUnicode_Concat(self->rest, text) : Py_NewRef(text);
    if (all == NULL) {
        return NULL;
    }
    Py_XSETREF(self->rest, all);
    newline = PyUnicode_FindChar(all, '\n', 0, PyUnicode_GET_LENGTH(all), -1);
    if (newline == -1 && PyUnicode_GET_LENGTH(all) > 4096) {
        newline = PyUnicode_GET_LENGTH(all) - 1;
    }
    return newline >= 0 && errors_out(self, newline + 1) < 0 ? NULL
         : PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

static PyObject *
errors_writelines(PyObject *object, PyObject *lines)
{
    PyObject *each = PyObject_GetIter(lines), *line, *done;

    while (each != NULL && (line = PyIter_Next(each)) != NULL) {
        done = errors_write(object, line);
        Py_DECREF(line);
        if (done == NULL) {
            break;
        }
        Py_DECREF(done);
    }
    Py_XDECREF(each);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *
errors_flush(PyObject *object, PyObject *unused)
{
    (void) unused;
    errors_end((errors *) object);
    return Py_NewRef(Py_None);
}

static void
errors_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    Py_XDECREF(((errors *) object)->rest);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* ---- types ---- */

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
    give_up(self, GW_ERR_APP);
    if (self->errors != NULL) {
        ((errors *) self->errors)->of = NULL;
    }
    (void) request_clear(object);
    Py_XDECREF(self->errors);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyObject *
deferred_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    static char *keywords[] = { "spawn", NULL };
    PyObject    *spawn;
    deferred    *self;

    if (!PyArg_ParseTupleAndKeywords(args, names, "O:Deferred", keywords, &spawn)) {
        return NULL;
    }
    if (!PyCallable_Check(spawn)) {
        return PyErr_Format(PyExc_TypeError, "%R is not callable: it is to be called with each Request", spawn);
    }
    self = (deferred *) WSGI_SLOT(type, tp_alloc, allocfunc)(type, 0);
    if (self != NULL) {
        self->spawn = Py_NewRef(spawn);
    }
    return (PyObject *) self;
}

static int
deferred_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((deferred *) object)->spawn);
    return 0;
}

static int
deferred_clear(PyObject *object)
{
    Py_CLEAR(((deferred *) object)->spawn);
    return 0;
}

static void
deferred_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    (void) deferred_clear(object);
    WSGI_SLOT(type, tp_free, freefunc)(object);
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
    { "start", request_start, METH_VARARGS,
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
    { "wsgi", request_wsgi, METH_VARARGS,
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

static PyMethodDef errors_methods[] = {
    { "write", errors_write, METH_O, "write(text)\n\nA line of the error log." },
    { "writelines", errors_writelines, METH_O, "writelines(lines)" },
    { "flush", errors_flush, METH_NOARGS, "flush()" },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot deferred_slots[] = {
    { Py_tp_new, deferred_new },
    { Py_tp_dealloc, deferred_dealloc },
    { Py_tp_traverse, deferred_traverse },
    { Py_tp_clear, deferred_clear },
    { Py_tp_doc, "Deferred(spawn)\n\nIn the place of an application: spawn(request) is called inside turn(), and is to "
                 "schedule what answers the Request." },
    { 0, NULL },
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

static PyType_Slot errors_slots[] = {
    { Py_tp_dealloc, errors_dealloc },
    { Py_tp_methods, errors_methods },
    { Py_tp_doc, "The error log of a request: wsgi.errors." },
    { 0, NULL },
};

static PyType_Spec deferred_spec = {
    "gateway.Deferred", sizeof(deferred), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, deferred_slots,
};

static PyType_Spec request_spec = {
    "gateway.Request", sizeof(request), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, request_slots,
};

static PyType_Spec errors_spec = {
    "gateway.RequestErrors", sizeof(errors), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    errors_slots,
};

int
wsgi_is_deferred(PyObject *app)
{
    return Py_IS_TYPE(app, deferred_type);
}

int
wsgi_deferred_init(PyObject *module)
{
    static const struct {
        PyObject  **key;
        const char *text;
    } keys[] = {
        { &key_type, "type" },       { &key_asgi, "asgi" },     { &key_version, "http_version" },
        { &key_method, "method" },   { &key_scheme, "scheme" }, { &key_path, "path" },
        { &key_raw, "raw_path" },    { &key_query, "query_string" }, { &key_root, "root_path" },
        { &key_headers, "headers" }, { &key_client, "client" }, { &key_server, "server" },
        { &type_http, "http" },      { &wsgi_errors_key, "wsgi.errors" },
        { &wsgi_multithread_key, "wsgi.multithread" },
        { &wsgi_hints_key, "wsgi.early_hints" },
    };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        *keys[i].key = PyUnicode_InternFromString(keys[i].text);
        if (*keys[i].key == NULL) {
            return -1;
        }
    }
    asgi_versions = Py_BuildValue("{ssss}", "version", "3.0", "spec_version", "2.4");
    deferred_type = (PyTypeObject *) PyType_FromSpec(&deferred_spec);
    request_type = (PyTypeObject *) PyType_FromSpec(&request_spec);
    errors_type = (PyTypeObject *) PyType_FromSpec(&errors_spec);
    return asgi_versions != NULL && deferred_type != NULL && request_type != NULL && errors_type != NULL
                   && PyModule_AddObjectRef(module, "Deferred", (PyObject *) deferred_type) == 0
                   && PyModule_AddObjectRef(module, "Request", (PyObject *) request_type) == 0
                   && PyModule_AddIntConstant(module, "READABLE", READABLE) == 0
                   && PyModule_AddIntConstant(module, "WRITABLE", WRITABLE) == 0
                   && PyModule_AddIntConstant(module, "ABORTED", ABORTED) == 0
                   && PyModule_AddIntConstant(module, "FLUSH", FLUSH) == 0
               ? 0
               : -1;
}
