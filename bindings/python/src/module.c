/*
 * module.c - the extension module gateway._gateway.
 */
#include "wsgi.h"

static void
drop_app(void *app)
{
    int entered = wsgi_enter();

    Py_DECREF((PyObject *) app);
    wsgi_leave(entered);
}

/* A configuration of keyword arguments: str, int, bool, and lists of them. */
static int
set_option(gw_config *cfg, PyObject *key, PyObject *value)
{
    gw_error    err = GW_INIT(gw_error);
    PyObject   *text;
    const char *name = PyUnicode_AsUTF8(key), *utf8;
    int         rc;

    if (name == NULL) {
        return -1;
    }
    if (PyList_Check(value) || PyTuple_Check(value)) {
        for (Py_ssize_t i = 0; i < PySequence_Size(value); i++) {
            PyObject *one = PySequence_GetItem(value, i);

            rc = one != NULL ? set_option(cfg, key, one) : -1;
            Py_XDECREF(one);
            if (rc < 0) {
                return -1;
            }
        }
        return 0;
    }
    text = PyBool_Check(value) ? PyUnicode_FromString(value == Py_True ? "1" : "0") : PyObject_Str(value);
    utf8 = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    if (utf8 == NULL) {
        Py_XDECREF(text);
        return -1;
    }
    rc = gw_config_set(cfg, name, utf8, &err);
    Py_DECREF(text);
    if (rc < 0) {
        PyErr_SetString(rc == GW_ERR_UNKNOWN ? PyExc_TypeError : PyExc_ValueError, err.message);
        return -1;
    }
    return 0;
}

static gw_config *
configure(PyObject *app, PyObject *options)
{
    gw_error    err = GW_INIT(gw_error);
    gw_app      self = GW_INIT(gw_app);
    gw_config  *cfg = gw_config_new();
    PyObject   *key, *value;
    Py_ssize_t  at = 0;
    int         threads = 0;

    if (cfg == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (!PyCallable_Check(app) && !wsgi_is_deferred(app)) {
        PyErr_Format(PyExc_TypeError, "%R is not callable: it is no WSGI application", app);
        goto failed;
    }
    while (options != NULL && PyDict_Next(options, &at, &key, &value)) {
        if (set_option(cfg, key, value) < 0) {
            goto failed;
        }
        threads |= PyUnicode_CompareWithASCIIString(key, "threads") == 0;
    }
    self.call = wsgi_is_deferred(app) ? wsgi_deferred_call : wsgi_call;
    self.ctx = Py_NewRef(app);
    self.drop = drop_app;
    self.name = "python";
    self.flags = wsgi_is_deferred(app) ? GW_APP_NONBLOCKING : threads ? GW_APP_THREADSAFE : GW_APP_SERIAL;
    if (gw_config_app(cfg, &self, &err) < 0 || wsgi_hooks(cfg, &err) < 0) {
        PyErr_SetString(PyExc_ValueError, err.message);
        goto failed;
    }
    return cfg;

failed:
    gw_config_free(cfg);
    return NULL;
}

static PyObject *
serve(PyObject *module, PyObject *args, PyObject *options)
{
    gw_error   err = GW_INIT(gw_error);
    gw_config *cfg;
    PyObject  *app;
    gw_result  rc;

    (void) module;
    if (!PyArg_ParseTuple(args, "O:serve", &app) || (cfg = configure(app, options)) == NULL) {
        return NULL;
    }
    wsgi_away();
    rc = gw_serve(cfg, &err);
    wsgi_back();
    if (rc < 0) {
        PyErr_SetString(PyExc_RuntimeError, err.message);
        return NULL;
    }
    return Py_NewRef(Py_None);
}

static PyObject *
server_of(PyObject *module, PyObject *args, PyObject *options)
{
    gw_config *cfg;
    PyObject  *app;

    (void) module;
    if (!PyArg_ParseTuple(args, "O:server", &app) || (cfg = configure(app, options)) == NULL) {
        return NULL;
    }
    return wsgi_server(cfg, app);
}

static PyMethodDef methods[] = {
    { "server", (PyCFunction) (void (*)(void)) server_of, METH_VARARGS | METH_KEYWORDS,
      "server(app, **options) -> Server\n\nOne that is turned by the caller, in this process." },
    { "serve", (PyCFunction) (void (*)(void)) serve, METH_VARARGS | METH_KEYWORDS,
      "serve(app, **options)\n\nServe a WSGI application until a signal ends it; every option of the "
      "library is a keyword." },
    { NULL, NULL, 0, NULL },
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_gateway", "WSGI over libgateway.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__gateway(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module == NULL || wsgi_input_init() < 0 || wsgi_answer_init(module) < 0 || wsgi_environ_init() < 0 || wsgi_server_init(module) < 0
        || wsgi_deferred_init(module) < 0
        || PyModule_AddStringConstant(module, "__version__", gw_version()) < 0) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
