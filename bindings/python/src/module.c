/*
 * module.c - the extension module gateway._gateway.
 */
#include "wsgi.h"

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

            if (one != NULL && (PyList_Check(one) || PyTuple_Check(one))) {
                PyErr_Format(PyExc_TypeError, "%U: a list in a list", key);
                Py_CLEAR(one);
            }
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

/* What is no option of the library; the rest of the keywords is. */
static const char *const words[] = { "app", "load", "hooks", "log", "worker", NULL };

enum { APP, LOAD, HOOKS, LOG, WORKER, WORDS };

static int
word(PyObject *key)
{
    for (int i = 0; i < WORDS; i++) {
        if (PyUnicode_CompareWithASCIIString(key, words[i]) == 0) {
            return i;
        }
    }
    return -1;
}

/* `kept`, which may be NULL, is given a reference to the program. */
static gw_config *
configure_for(PyObject *given, wsgi_run *run, wsgi_program **kept)
{
    gw_error      err = GW_INIT(gw_error);
    gw_app        self = GW_INIT(gw_app);
    gw_config    *cfg = gw_config_new();
    wsgi_program *program = NULL;
    PyObject     *key, *value, *what[WORDS] = { Py_None, Py_None, Py_None, Py_None, Py_None };
    Py_ssize_t    at = 0;
    int           threads = 0, level = GW_LOG_INFO;
    char          name[16];
    size_t        len;

    if (cfg == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (!PyDict_Check(given)) {
        PyErr_Format(PyExc_TypeError, "a configuration is a dict, not %.100s", wsgi_type_name(Py_TYPE(given)));
        goto failed;
    }
    while (PyDict_Next(given, &at, &key, &value)) {
        int i = PyUnicode_Check(key) ? word(key) : -1;

        if (i >= 0) {
            what[i] = value;
            continue;
        }
        if (set_option(cfg, key, value) < 0) {
            goto failed;
        }
        threads |= PyUnicode_CompareWithASCIIString(key, "threads") == 0;
    }
    program = wsgi_program_new(what[APP], what[LOAD], what[HOOKS], what[LOG], what[WORKER], run);
    if (program == NULL) {
        goto failed;
    }
    self.call = wsgi_call_program;
    self.ctx = program;
    self.drop = wsgi_program_drop;
    self.name = "python";
    self.flags = threads ? GW_APP_THREADSAFE : GW_APP_SERIAL;
    if (gw_config_app(cfg, &self, &err) < 0) {
        PyErr_SetString(PyExc_ValueError, err.message);
        goto failed;
    }
    if (gw_config_get(cfg, "loglevel", name, sizeof name, &len) >= 0) {
        level = name[0] == 'e' ? GW_LOG_ERROR : name[0] == 'w' ? GW_LOG_WARN : name[0] == 'd' ? GW_LOG_DEBUG
                                                                                            : GW_LOG_INFO;
    }
    if (wsgi_hooks(cfg, program, level) < 0) {
        goto failed;
    }
    if (kept != NULL) {
        *kept = wsgi_program_keep(program);
    }
    return cfg;

failed:
    gw_config_free(cfg);
    return NULL;
}

static gw_config *
configure(PyObject *given, wsgi_run *run)
{
    return configure_for(given, run, NULL);
}

/* The keywords, with the application: a new dict. */
static PyObject *
given_of(PyObject *args, PyObject *names, const char *format, PyObject **app)
{
    PyObject *given = names != NULL ? PyDict_Copy(names) : PyDict_New();

    wsgi_here();
    *app = Py_None;
    if (given == NULL || !PyArg_ParseTuple(args, format, app)
        || (*app != Py_None && PyDict_SetItemString(given, "app", *app) < 0)) {
        Py_XDECREF(given);
        return NULL;
    }
    return given;
}

/* gateway.Failure(message, exit_status) */
static PyObject *failure_type;

static void
failed(const gw_error *err, gw_result rc)
{
    PyObject *args = Py_BuildValue("(si)", err->message[0] != 0 ? err->message : gw_result_text(rc),
                                   (int) (err->exit_status != 0 ? err->exit_status : 1));

    if (args != NULL) {
        PyErr_SetObject(failure_type, args);
        Py_DECREF(args);
    }
}

static PyObject *
serve(PyObject *module, PyObject *args, PyObject *names)
{
    gw_error   err = GW_INIT(gw_error);
    wsgi_run   run = { 0 };
    gw_config *cfg;
    PyObject  *app, *given = given_of(args, names, "|O:serve", &app), *reload = NULL;
    gw_result  rc;

    (void) module;
    if (given == NULL) {
        return NULL;
    }
    reload = PyDict_GetItemString(given, "reload");
    if (reload != NULL) {
        Py_INCREF(reload);
        (void) PyDict_DelItemString(given, "reload");
    }
    cfg = configure(given, &run);
    Py_DECREF(given);
    if (cfg == NULL) {
        Py_XDECREF(reload);
        return NULL;
    }
    if (reload != NULL && reload != Py_None) {
        rc = wsgi_supervise(cfg, &run, reload, configure, &err);
    } else {
        wsgi_away();
        rc = gw_serve(cfg, &err);
        wsgi_back();
    }
    Py_XDECREF(reload);
    if (run.failure[0] != NULL) {
        PyErr_Restore(run.failure[0], run.failure[1], run.failure[2]);
        return NULL;
    }
    if (rc < 0) {
        failed(&err, rc);
        return NULL;
    }
    return Py_NewRef(Py_None);
}

static PyObject *
server_of(PyObject *module, PyObject *args, PyObject *names)
{
    PyObject     *app, *given = given_of(args, names, "O:server", &app), *server = NULL;
    wsgi_program *program;
    gw_config    *cfg = NULL;

    (void) module;
    if (given != NULL && app == Py_None) {
        PyErr_SetString(PyExc_TypeError, "server(app): there is no application");
    } else if (given != NULL) {
        cfg = configure_for(given, NULL, &program);
    }
    if (cfg != NULL) {
        if (PyDict_GetItemString(given, "workers") == NULL) {
            (void) gw_config_set(cfg, "workers", "1", NULL);    /* wsgi.multiprocess: there are no others */
        }
        server = wsgi_server(cfg, app, program);
    }
    Py_XDECREF(given);
    return server;
}

static void
problem(void *list, const gw_error *err)
{
    PyObject *text = PyUnicode_FromString(err->message);

    if (text == NULL || PyList_Append(list, text) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(text);
}

static PyObject *
check(PyObject *module, PyObject *args, PyObject *names)
{
    PyObject  *app, *given = given_of(args, names, "|O:check", &app), *problems = NULL;
    gw_config *cfg = given != NULL ? configure(given, NULL) : NULL;

    (void) module;
    if (cfg != NULL && (problems = PyList_New(0)) != NULL) {
        (void) gw_config_check(cfg, problem, problems);
    }
    gw_config_free(cfg);
    Py_XDECREF(given);
    return problems;
}

static PyObject *
options(PyObject *module, PyObject *unused)
{
    PyObject *all = PyList_New(0);
    uint32_t  cursor = 0;
    gw_option option = GW_INIT(gw_option);

    (void) module, (void) unused;
    while (all != NULL && gw_option_next(&cursor, &option) == GW_OK) {
        PyObject *one = Py_BuildValue("(ssss)", option.name, option.kind, option.preset, option.help);

        if (one == NULL || PyList_Append(all, one) < 0) {
            Py_CLEAR(all);
        }
        Py_XDECREF(one);
    }
    return all;
}

static PyMethodDef methods[] = {
    { "client_gone", wsgi_client_gone, METH_O,
      "client_gone(environ) -> bool\n\nWhether the client has left, or has said that it will send no more: "
      "an answer that takes long may be for nobody.  True also when the request is over." },
    { "server", (PyCFunction) (void (*)(void)) server_of, METH_VARARGS | METH_KEYWORDS,
      "server(app, **options) -> Server\n\nOne that is turned by the caller, in this process." },
    { "serve", (PyCFunction) (void (*)(void)) serve, METH_VARARGS | METH_KEYWORDS,
      "serve(app, **options)\n\nServe a WSGI application until a signal ends it; every option of the "
      "library is a keyword." },
    { "check", (PyCFunction) (void (*)(void)) check, METH_VARARGS | METH_KEYWORDS,
      "check(app, **options) -> list of problems\n\nWhat serve() would not start with; nothing is started." },
    { "options", options, METH_NOARGS,
      "options() -> list of (name, kind, preset, help)\n\nThe options of the library." },
    { NULL, NULL, 0, NULL },
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_gateway", "WSGI over libgateway.", -1, methods, NULL, NULL, NULL, NULL,
};

#ifdef Py_GIL_DISABLED
/* Whether the lock was refused for good, whatever modules ask for. */
static int
has_no_lock(void)
{
    PyObject *flags = PySys_GetObject("flags");
    PyObject *gil = flags != NULL ? PyObject_GetAttrString(flags, "gil") : NULL;
    int       is_off = gil != NULL && PyLong_Check(gil) && PyLong_AsLong(gil) == 0;

    PyErr_Clear();
    Py_XDECREF(gil);
    return is_off;
}
#endif

PyMODINIT_FUNC
PyInit__gateway(void)
{
    PyObject *module = PyModule_Create(&definition);

#ifdef Py_GIL_DISABLED
    /* What requests share is guarded by nothing else: the interpreter says that it takes the lock up again. */
    if (module != NULL && has_no_lock()) {
        PyErr_SetString(PyExc_ImportError, "gateway needs Python's lock (GIL): start Python without PYTHON_GIL=0 "
                                           "and -X gil=0, and the import takes it up");
        Py_CLEAR(module);
    }
    if (module != NULL && PyUnstable_Module_SetGIL(module, Py_MOD_GIL_USED) < 0) {
        Py_CLEAR(module);
    }
#endif
    if (module == NULL || wsgi_failure_init(module) < 0 || wsgi_input_init() < 0 || wsgi_errors_init() < 0
        || wsgi_file_init() < 0 || wsgi_start_response_init() < 0 || wsgi_answer_init() < 0
        || wsgi_environ_init() < 0 || wsgi_server_init(module) < 0 || wsgi_deferred_init(module) < 0
        || wsgi_request_init(module) < 0 || wsgi_scope_init() < 0 || wsgi_greenlet_init() < 0
        || (failure_type = PyErr_NewExceptionWithDoc("gateway.Failure",
                "The server did not start, or failed.  args: the message, and what the program should exit "
                "with.", PyExc_RuntimeError, NULL)) == NULL
        || PyModule_AddObjectRef(module, "Failure", failure_type) < 0
        || PyModule_AddStringConstant(module, "__version__", gw_version()) < 0) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
