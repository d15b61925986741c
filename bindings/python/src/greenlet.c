/*
 * greenlet.c - WSGI, in something that can wait without its thread: a greenlet.
 *
 * The application runs inside Request.wsgi(), whose caller says how to wait.  Several requests are
 * under way in a thread, so what an environ has is the request's, not the thread's.
 */
#include "request.h"

#include <strings.h>

static PyObject *errors_key, *multithread_key, *hints_key;

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
wsgi_greenlet_wait(PyObject *object)
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
wsgi_greenlet_start(void *sr, const gw_response *head, gw_writer *writer)
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
            rc = wsgi_request_file(self, chunk->fd, chunk->offset, chunk->len);
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

PyObject *
wsgi_request_wsgi(PyObject *object, PyObject *args)
{
    request    *self = wsgi_request_open(object);
    gw_environ *env;
    gw_body     body = GW_INIT(gw_body);
    PyObject   *app, *wait, *type, *value, *trace;
    gw_result   rc;

    if (self == NULL || !PyArg_ParseTuple(args, "OO:wsgi", &app, &wait)) {
        return NULL;
    }
    if (gw_environ_derive(self->env, &env) < 0) {
        wsgi_request_end(self, GW_ERR_MEMORY);
        return PyErr_NoMemory();
    }
    self->input = self->env->input;
    env->input = (gw_input) { .read = read_input, .ctx = self };
    Py_XSETREF(self->wait, Py_NewRef(wait));
    Py_INCREF((PyObject *) self);
    self->running = 1;
    rc = wsgi_call(app, env, wsgi_greenlet_start, self, &body);
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
    wsgi_request_end(self, PyErr_Occurred() ? GW_ERR_CLOSED : self->cut ? GW_ERR_APP : rc < 0 ? rc : GW_OK);
    Py_DECREF(self);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* environ['wsgi.early_hints'](headers): a 103, as start_response.c has it. */
static PyObject *
hint(PyObject *object, PyObject *headers)
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
        done = wsgi_request_start(object, args);
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

static PyMethodDef hint_method = { "early_hints", hint, METH_O, "early_hints(headers): a 103" };

/* What differs where several requests are under way in a thread: wsgi.errors, and that it is so. */
int
wsgi_greenlet_environ(void *sr, PyObject *dict)
{
    request  *self = sr;
    PyObject *hint;
    int       rc;

    if (self->errors == NULL && (self->errors = wsgi_errors_of(self->env)) == NULL) {
        return -1;
    }
    hint = PyCFunction_New(&hint_method, (PyObject *) self);
    rc = hint == NULL || PyDict_SetItem(dict, hints_key, hint) < 0
              || PyDict_SetItem(dict, multithread_key, Py_True) < 0
              || PyDict_SetItem(dict, errors_key, self->errors) < 0
       ? -1
       : 0;
    Py_XDECREF(hint);
    return rc;
}

int
wsgi_greenlet_init(void)
{
    errors_key = PyUnicode_InternFromString("wsgi.errors");
    multithread_key = PyUnicode_InternFromString("wsgi.multithread");
    hints_key = PyUnicode_InternFromString("wsgi.early_hints");
    return errors_key != NULL && multithread_key != NULL && hints_key != NULL ? 0 : -1;
}
