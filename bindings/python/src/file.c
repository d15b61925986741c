/*
 * file.c - wsgi.file_wrapper: a file by sendfile where that gives the same, by read() where not.
 */
#include "wsgi.h"

static PyTypeObject *file_type, *raw_type, *reader_type, *random_type;
static PyObject     *name_close;

typedef struct {
    PyObject_HEAD
    PyObject  *of;
    Py_ssize_t size;
} file;

/* Whether read() of this object gives what the descriptor has from its tell() on.  A descriptor alone
   does not say so: a GzipFile has that of the compressed file. */
static int
is_plain(PyObject *of)
{
    PyTypeObject *type = Py_TYPE(of);
    PyObject     *raw;
    int           plain;

    if (type == raw_type) {
        return 1;
    }
    if (type != reader_type && type != random_type) {
        return 0;
    }
    raw = PyObject_GetAttrString(of, "raw");
    plain = raw != NULL && Py_TYPE(raw) == raw_type;
    Py_XDECREF(raw);
    return plain;
}

int
wsgi_file_body(PyObject *result, gw_body *body)
{
    PyObject *of, *at = NULL;
    int64_t   offset = -1;
    int       fd = -1;

    if (Py_TYPE(result) != file_type) {
        return 0;                                       /* a subclass may iterate otherwise */
    }
    of = Py_NewRef(((file *) result)->of);
    if (strcmp(wsgi_type_name(Py_TYPE(of)), "_TemporaryFileWrapper") == 0) {
        PyObject *inner = PyObject_GetAttrString(of, "file");

        Py_DECREF(of);
        of = inner;
    }
    if (of != NULL && is_plain(of) && (fd = PyObject_AsFileDescriptor(of)) >= 0
        && (at = PyObject_CallMethod(of, "tell", NULL)) != NULL) {
        offset = PyLong_AsLongLong(at);
    }
    Py_XDECREF(at);
    Py_XDECREF(of);
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
    self = (file *) WSGI_SLOT(type, tp_alloc, allocfunc)(type, 0);
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

    if (octets != NULL && PyObject_Size(octets) <= 0) {
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
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return NULL;
        }
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
    WSGI_SLOT(type, tp_free, freefunc)(self);
    Py_DECREF(type);
}

static PyMemberDef file_members[] = {
    { "filelike", T_OBJECT_EX, offsetof(file, of), READONLY, "what is wrapped" },
    { "blksize", T_PYSSIZET, offsetof(file, size), READONLY, "octets of a read" },
    { NULL, 0, 0, 0, NULL },
};

static PyMethodDef file_methods[] = {
    { "close", file_close, METH_NOARGS, "close()" },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot file_slots[] = {
    { Py_tp_members, file_members },
    { Py_tp_new, file_new },
    { Py_tp_dealloc, file_dealloc },
    { Py_tp_methods, file_methods },
    { Py_tp_iter, PyObject_SelfIter },
    { Py_tp_iternext, file_next },
    { Py_tp_doc, "file_wrapper(filelike, blksize=65536): wsgi.file_wrapper" },
    { 0, NULL },
};

static PyType_Spec file_spec = {
    "gateway.FileWrapper", sizeof(file), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, file_slots,
};

PyObject *
wsgi_file_wrapper(void)
{
    return (PyObject *) file_type;
}

int
wsgi_file_init(void)
{
    PyObject *io = PyImport_ImportModule("io");

    if (io == NULL) {
        return -1;
    }
    raw_type = (PyTypeObject *) PyObject_GetAttrString(io, "FileIO");
    reader_type = (PyTypeObject *) PyObject_GetAttrString(io, "BufferedReader");
    random_type = (PyTypeObject *) PyObject_GetAttrString(io, "BufferedRandom");
    Py_DECREF(io);
    name_close = PyUnicode_InternFromString("close");
    file_type = (PyTypeObject *) PyType_FromSpec(&file_spec);
    return raw_type != NULL && reader_type != NULL && random_type != NULL && name_close != NULL
                && file_type != NULL
         ? 0
         : -1;
}
