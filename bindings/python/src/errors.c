/*
 * errors.c - wsgi.errors: lines of the error log.
 *
 * One object is for whichever request its caller's thread is in.  Where several are under way in a
 * thread, each has one of its own.
 */
#include "wsgi.h"

typedef struct {
    PyObject_HEAD
    const gw_environ *env;      /* NULL: the request is over */
    PyObject         *rest;     /* what was written and not ended; or NULL */
} own;

static PyTypeObject *errors_type, *own_type;
static PyObject     *errors;

/* ---- the lines ---- */

/* There is no request in this thread: it may have left its environ to another. */
static void
to_stderr(const char *text, size_t len)
{
    PyObject *type, *value, *trace, *file, *str;

    PyErr_Fetch(&type, &value, &trace);
    file = Py_XNewRef(PySys_GetObject("stderr"));       /* another may take its place meanwhile */
    str = PyUnicode_DecodeUTF8(text, (Py_ssize_t) len, "replace");
    if (file == NULL || file == Py_None || str == NULL || PyFile_WriteObject(str, file, Py_PRINT_RAW) < 0
        || PyFile_WriteString("\n", file) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(file);
    Py_XDECREF(str);
    PyErr_Restore(type, value, trace);
}

void
wsgi_log(const gw_environ *env, const char *text, size_t len)
{
    const char *end = text + len;

    wsgi_here();                                        /* also in a thread of the application's */
    env = env != NULL ? env : wsgi_current();
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t) (end - text));
        const char *stop = newline != NULL ? newline : end;

        if (stop > text) {
            if (env != NULL) {
                gw_log(env, GW_LOG_ERROR, text, (size_t) (stop - text));
            } else {
                to_stderr(text, (size_t) (stop - text));
            }
        }
        text = stop + 1;
    }
}

static PyObject *
write_all(PyObject *self, PyObject *lines, PyObject *(*write)(PyObject *self, PyObject *text))
{
    PyObject *each = PyObject_GetIter(lines), *line, *done;

    while (each != NULL && (line = PyIter_Next(each)) != NULL) {
        done = write(self, line);
        Py_DECREF(line);
        if (done == NULL) {
            break;
        }
        Py_DECREF(done);
    }
    Py_XDECREF(each);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* ---- of the request that a thread is in ---- */

/* What was written and not ended: "lines are whole" also where print() writes in pieces. */
static _Thread_local struct {
    size_t len;
    char   text[4096];
} line;

void
wsgi_errors_flush(void)
{
    size_t len = line.len;

    if (len > 0) {
        line.len = 0;
        wsgi_log(NULL, line.text, len);
    }
}

static PyObject *
errors_write(PyObject *self, PyObject *text)
{
    PyObject   *utf8;
    const char *octets;
    size_t      len, whole;

    (void) self;
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "wsgi.errors.write(text): str, not %.100s",
                     wsgi_type_name(Py_TYPE(text)));
        return NULL;
    }
    utf8 = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    if (utf8 == NULL) {
        return NULL;
    }
    octets = PyBytes_AS_STRING(utf8);
    len = (size_t) PyBytes_GET_SIZE(utf8);
    for (whole = len; whole > 0 && octets[whole - 1] != '\n'; whole--) { }
    if (whole > 0 && line.len > 0) {
        /* The end of the line before. */
        const char *newline = memchr(octets, '\n', len);
        size_t      n = (size_t) (newline - octets);

        if (n <= sizeof line.text - line.len) {
            memcpy(line.text + line.len, octets, n);
            line.len += n;
            octets += n + 1;
            len -= n + 1;
            whole -= n + 1;
        }
        wsgi_errors_flush();
    }
    if (whole > 0) {
        wsgi_log(NULL, octets, whole);
        octets += whole;
        len -= whole;
    }
    if (len > sizeof line.text - line.len) {
        wsgi_errors_flush();
    }
    if (len > sizeof line.text) {
        wsgi_log(NULL, octets, len);
    } else {
        memcpy(line.text + line.len, octets, len);
        line.len += len;
    }
    Py_DECREF(utf8);
    return PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

static PyObject *
errors_writelines(PyObject *self, PyObject *lines)
{
    return write_all(self, lines, errors_write);
}

static PyObject *
errors_flush(PyObject *self, PyObject *unused)
{
    (void) self, (void) unused;
    wsgi_errors_flush();
    return Py_NewRef(Py_None);
}

PyObject *
wsgi_errors(void)
{
    return errors;
}

/* ---- of one request ---- */

PyObject *
wsgi_errors_of(const gw_environ *env)
{
    own *self = PyObject_New(own, own_type);

    if (self != NULL) {
        self->env = env;
        self->rest = NULL;
    }
    return (PyObject *) self;
}

/* Up to `end` of what was not ended yet. */
static int
own_out(own *self, Py_ssize_t end)
{
    Py_ssize_t len = PyUnicode_GET_LENGTH(self->rest);
    PyObject  *head = PyUnicode_Substring(self->rest, 0, end), *utf8 = NULL;

    Py_XSETREF(self->rest, end < len ? PyUnicode_Substring(self->rest, end, len) : NULL);
    if (head != NULL && (utf8 = PyUnicode_AsEncodedString(head, "utf-8", "backslashreplace")) != NULL) {
        wsgi_log(self->env, PyBytes_AS_STRING(utf8), (size_t) PyBytes_GET_SIZE(utf8));
    }
    Py_XDECREF(head);
    Py_XDECREF(utf8);
    return PyErr_Occurred() ? -1 : 0;
}

static void
own_end(own *self)
{
    PyObject *type, *value, *trace;

    if (self->rest != NULL) {
        PyErr_Fetch(&type, &value, &trace);
        (void) own_out(self, PyUnicode_GET_LENGTH(self->rest));
        PyErr_Restore(type, value, trace);
    }
}

void
wsgi_errors_over(PyObject *object)
{
    own_end((own *) object);
    ((own *) object)->env = NULL;
}

static PyObject *
own_write(PyObject *object, PyObject *text)
{
    own       *self = (own *) object;
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
    return newline >= 0 && own_out(self, newline + 1) < 0 ? NULL
         : PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

static PyObject *
own_writelines(PyObject *self, PyObject *lines)
{
    return write_all(self, lines, own_write);
}

static PyObject *
own_flush(PyObject *object, PyObject *unused)
{
    (void) unused;
    own_end((own *) object);
    return Py_NewRef(Py_None);
}

static void
own_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    Py_XDECREF(((own *) object)->rest);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* ---- types ---- */

static PyMethodDef errors_methods[] = {
    { "write", errors_write, METH_O, "write(text)\n\nA line of the error log." },
    { "writelines", errors_writelines, METH_O, "writelines(lines)" },
    { "flush", errors_flush, METH_NOARGS, "flush()" },
    { NULL, NULL, 0, NULL },
};

static PyMethodDef own_methods[] = {
    { "write", own_write, METH_O, "write(text)\n\nA line of the error log." },
    { "writelines", own_writelines, METH_O, "writelines(lines)" },
    { "flush", own_flush, METH_NOARGS, "flush()" },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot errors_slots[] = {
    { Py_tp_methods, errors_methods },
    { Py_tp_doc, "The error log: wsgi.errors." },
    { 0, NULL },
};

static PyType_Slot own_slots[] = {
    { Py_tp_dealloc, own_dealloc },
    { Py_tp_methods, own_methods },
    { Py_tp_doc, "The error log of a request: wsgi.errors." },
    { 0, NULL },
};

static PyType_Spec errors_spec = {
    "gateway.Errors", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    errors_slots,
};

static PyType_Spec own_spec = {
    "gateway.RequestErrors", sizeof(own), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    own_slots,
};

int
wsgi_errors_init(void)
{
    errors_type = (PyTypeObject *) PyType_FromSpec(&errors_spec);
    own_type = (PyTypeObject *) PyType_FromSpec(&own_spec);
    if (errors_type == NULL || own_type == NULL) {
        return -1;
    }
    errors = PyObject_New(PyObject, errors_type);
    return errors != NULL ? 0 : -1;
}
