/*
 * embed.c - gateway-python.so: a module of libgateway with CPython inside, for the `gateway` command,
 * for nginx, and for whatever else loads modules.
 *
 *     gateway gateway-python.so path=. myapp:app
 *     gateway_module  gateway-python.so  venv=/srv/shop/venv  myproject.wsgi:application;
 *
 * The extension is built in: `import gateway` is the same library.  There is one interpreter, which is
 * never finalized: threads of the library's may be on their way in, and the process ends anyway.
 * Signals, the locale and the environment stay as they are.
 */
#include "../src/wsgi.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>

/* Its path at build time: CPython finds its own files from there. */
#ifndef PYTHON
# error "-DPYTHON=\"/usr/bin/python3\""
#endif

PyMODINIT_FUNC PyInit__gateway(void);

/* What the arguments say; all texts are in `words`. */
typedef struct {
    char       *words;
    const char *venv;           /* NULL: none */
    const char *run;
    const char *target;         /* module:expression */
} options;

static int  started;            /* the interpreter is there */
static char venv_of_all[PATH_MAX];  /* its venv; empty: none */

static gw_result
fail(gw_error *err, gw_result rc, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(err->message, sizeof err->message, format, ap);
    va_end(ap);
    return rc;
}

/* ---- arguments ---- */

static const char usage[] = "[venv=DIRECTORY] [path=DIRECTORY]... [run=threads|serial|loop] MODULE:APPLICATION";

/* Each directory of a path= is given to `add`; -1 with an exception. */
static gw_result
parse(const char *args, options *out, int (*add)(const char *directory), gw_error *err)
{
    char *at, *word;

    *out = (options) { .words = strdup(args), .run = "threads" };
    if (out->words == NULL) {
        return fail(err, GW_ERR_MEMORY, "no memory");
    }
    for (word = strtok_r(out->words, " \t\n", &at); word != NULL; word = strtok_r(NULL, " \t\n", &at)) {
        if (strncmp(word, "venv=", 5) == 0) {
            out->venv = word + 5;
        } else if (strncmp(word, "path=", 5) == 0) {
            if (add != NULL && add(word + 5) < 0) {
                return fail(err, GW_ERR_INVALID, "path=%s: not a directory that can be added", word + 5);
            }
        } else if (strncmp(word, "run=", 4) == 0) {
            out->run = word + 4;
        } else if (out->target == NULL && word[0] != ':' && strspn(word, "=") == 0) {
            out->target = word;
        } else {
            return fail(err, GW_ERR_INVALID, "\"%s\": one application is enough; the arguments are %s", word, usage);
        }
    }
    if (out->target == NULL) {
        return fail(err, GW_ERR_INVALID, "no application is named; the arguments are %s", usage);
    }
    return GW_OK;
}

static gw_result
flags_of(const options *o, uint32_t *flags, gw_error *err)
{
    if (strcmp(o->run, "threads") == 0) {
        *flags = GW_APP_THREADSAFE;
    } else if (strcmp(o->run, "serial") == 0) {
        *flags = GW_APP_SERIAL;
    } else if (strcmp(o->run, "loop") == 0) {
        *flags = GW_APP_NONBLOCKING;
    } else {
        return fail(err, GW_ERR_INVALID, "run=%s: it is threads, serial or loop", o->run);
    }
    return GW_OK;
}

/* ---- the interpreter ---- */

/* Whoever loads this keeps its symbols, and libpython's, to itself; Python's extension modules look for
   those of libpython among everybody's. */
static gw_result
offer_python(gw_error *err)
{
    Dl_info where;

    if (dladdr((void *) (uintptr_t) Py_IsInitialized, &where) == 0 || where.dli_fname == NULL
        || dlopen(where.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD) == NULL) {
        return fail(err, GW_ERR_IO, "offer libpython to extension modules: %s", dlerror());
    }
    return GW_OK;
}

/* A venv's program, or this Python's own: both tell where everything is. */
static gw_result
program(const options *o, char *out, size_t size, gw_error *err)
{
    struct stat st;
    char        path[PATH_MAX];

    if (o->venv == NULL) {
        snprintf(out, size, "%s", PYTHON);
        return GW_OK;
    }
    snprintf(path, sizeof path, "%s/pyvenv.cfg", o->venv);
    if (stat(path, &st) < 0) {
        return fail(err, GW_ERR_IO, "venv=%s: it has no pyvenv.cfg: python3 -m venv makes one", o->venv);
    }
    snprintf(path, sizeof path, "%s/lib/python%d.%d/site-packages", o->venv, PY_MAJOR_VERSION, PY_MINOR_VERSION);
    if (stat(path, &st) < 0) {
        return fail(err, GW_ERR_INVALID, "venv=%s: not one of Python %d.%d, which this module was built with (%s)",
                    o->venv, PY_MAJOR_VERSION, PY_MINOR_VERSION, PYTHON);
    }
    if (realpath(o->venv, path) == NULL) {
        return fail(err, GW_ERR_IO, "venv=%s: %s", o->venv, strerror(errno));
    }
    snprintf(out, size, "%s/bin/python", path);
    return GW_OK;
}

static gw_result
start_python(const options *o, gw_error *err)
{
    char        path[PATH_MAX + 16];
    PyPreConfig pre;
    PyConfig    config;
    PyStatus    status;
    gw_result   rc;

    if (Py_IsInitialized()) {
        return fail(err, GW_ERR_STATE, "this process has an interpreter of somebody else's already");
    }
    if ((rc = program(o, path, sizeof path, err)) < 0 || (rc = offer_python(err)) < 0) {
        return rc;
    }
    PyPreConfig_InitPythonConfig(&pre);
    pre.parse_argv = 0;
    pre.configure_locale = 0;
    pre.coerce_c_locale = 0;
    pre.utf8_mode = 1;
    status = Py_PreInitialize(&pre);
    if (PyStatus_Exception(status)) {
        return fail(err, GW_ERR_APP, "start Python: %s", status.err_msg);
    }
    if (PyImport_AppendInittab("gateway._gateway", PyInit__gateway) < 0) {
        return fail(err, GW_ERR_MEMORY, "no memory");
    }
    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0;
    config.install_signal_handlers = 0;
    status = PyConfig_SetBytesString(&config, &config.program_name, path);
    if (!PyStatus_Exception(status)) {
        status = PyConfig_SetBytesString(&config, &config.executable, path);
    }
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        return fail(err, GW_ERR_APP, "start Python: %s", status.err_msg != NULL ? status.err_msg : "it exits");
    }
    return GW_OK;
}

/* ---- sys.path, the application ---- */

/* First in sys.path, unless it is there. */
static int
add_path(const char *directory)
{
    char      path[PATH_MAX];
    PyObject *list = PySys_GetObject("path"), *text;
    int       rc;

    if (realpath(directory, path) == NULL || list == NULL) {
        return -1;
    }
    text = PyUnicode_DecodeFSDefault(path);
    rc = text != NULL ? PySequence_Contains(list, text) : -1;
    if (rc == 0) {
        rc = PyList_Insert(list, 0, text);
    }
    Py_XDECREF(text);
    PyErr_Clear();
    return rc;
}

/* The exception that is set: its traceback in the process's error output, a line in err. */
static gw_result
refuse(const char *what, gw_error *err)
{
    PyObject   *type, *value, *trace, *text;
    const char *said = NULL;

    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace != NULL) {
        PyException_SetTraceback(value, trace);
    }
    PyErr_Display(type, value, trace);
    PyErr_Clear();
    text = value != NULL ? PyObject_Str(value) : NULL;
    said = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    PyErr_Clear();
    fail(err, GW_ERR_APP, "%s: %s: %s", what, type != NULL ? ((PyTypeObject *) type)->tp_name : "?",
         said != NULL ? said : "");
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return GW_ERR_APP;
}

/* The package that goes with the extension in here is beside this file. */
static gw_result
add_package(gw_error *err)
{
    static const char extension[] =
        "import importlib.util, sys\n"
        "from importlib.machinery import BuiltinImporter, ModuleSpec\n"
        "spec = ModuleSpec('gateway._gateway', BuiltinImporter, origin='built-in')\n"
        "module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)\n"
        "BuiltinImporter.exec_module(module)\n";
    PyObject *names, *done;
    char    path[PATH_MAX];
    Dl_info where;
    char   *slash;

    if (dladdr((void *) (uintptr_t) add_package, &where) != 0 && realpath(where.dli_fname, path) != NULL
        && (slash = strrchr(path, '/')) != NULL && (size_t) (slash - path) + sizeof "/gateway-python" <= sizeof path) {
        strcpy(slash, "/gateway-python");
        (void) add_path(path);
    }
    /* Never the one that is compiled for the interpreter, wherever it lies. */
    names = PyDict_New();
    done = names != NULL ? PyRun_String(extension, Py_file_input, names, names) : NULL;
    Py_XDECREF(names);
    Py_XDECREF(done);
    return done != NULL ? GW_OK : refuse("start gateway", err);
}

/* "package.module:app", "package.module" (whose application is `application`), "module:make_app('x')". */
static gw_result
load(const char *target, PyObject **app, gw_error *err)
{
    const char *colon = strchr(target, ':'), *expression = colon != NULL ? colon + 1 : "application";
    char        name[256], what[300];
    PyObject   *module, *names;

    if (snprintf(name, sizeof name, "%.*s", colon != NULL ? (int) (colon - target) : (int) strlen(target), target)
        >= (int) sizeof name) {
        return fail(err, GW_ERR_INVALID, "%.100s...: the name is too long", target);
    }
    module = PyImport_ImportModule(name);
    if (module == NULL) {
        snprintf(what, sizeof what, "import %s", name);
        return refuse(what, err);
    }
    names = PyModule_GetDict(module);
    *app = PyRun_String(expression, Py_eval_input, names, names);
    Py_DECREF(module);
    if (*app == NULL) {
        snprintf(what, sizeof what, "%s:%.40s", name, expression);
        return refuse(what, err);
    }
    if (!PyCallable_Check(*app)) {
        PyObject *is = PyObject_Repr(*app);

        fail(err, GW_ERR_APP, "%s:%.40s is %.60s, which is not callable: it is no WSGI application", name,
             expression, is != NULL ? PyUnicode_AsUTF8(is) : "something");
        PyErr_Clear();
        Py_XDECREF(is);
        Py_CLEAR(*app);
        return GW_ERR_APP;
    }
    return GW_OK;
}

/* ---- forks, where it was loaded before them: once for all places that name this module ---- */

static int forking;

static void
pre_fork(void *ctx, const gw_worker *w)
{
    (void) ctx, (void) w;
    if (!forking) {
        forking = 1;
        (void) wsgi_enter();
        wsgi_before_fork();
    }
}

static void
spawned(void *ctx, const gw_worker *w)
{
    (void) ctx, (void) w;
    if (forking) {
        forking = 0;
        (void) wsgi_forked();
        wsgi_leave(1);
    }
}

static gw_result
post_fork(void *ctx, const gw_worker *w)
{
    spawned(ctx, w);
    return GW_OK;
}

/* What Python would do at its end, but for the end: functions of atexit, open outputs. */
static void
worker_exit(void *ctx, const gw_worker *w)
{
    static int done;
    int        entered;

    (void) ctx;
    if (w->pid == 0 || done) {
        return;
    }
    done = 1;
    entered = wsgi_enter();
    if (PyRun_SimpleString("import atexit, sys\n"
                           "atexit._run_exitfuncs()\n"
                           "for output in (sys.stdout, sys.stderr):\n"
                           "    output and output.flush()\n") < 0) {
        PyErr_Clear();
    }
    wsgi_leave(entered);
}

/* ---- the module ---- */

GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static gw_hooks hooks = GW_INIT(gw_hooks);
    options         o;
    gw_app         *app = calloc(1, sizeof *app);       /* stays */
    PyObject       *callable = NULL;
    uint32_t        flags = 0;
    int             entered;
    gw_result       rc = app != NULL ? parse(args->args, &o, NULL, err) : fail(err, GW_ERR_MEMORY, "no memory");

    if (rc < 0 || (rc = flags_of(&o, &flags, err)) < 0) {
        goto done;
    }
    if (!started) {
        rc = start_python(&o, err);
    } else if (o.venv != NULL && strcmp(o.venv, venv_of_all) != 0) {
        rc = fail(err, GW_ERR_INVALID, "venv=%s: this process has one interpreter, and it has %s%s", o.venv,
                  venv_of_all[0] != 0 ? "venv=" : "no venv", venv_of_all);
    }
    if (rc < 0) {
        goto done;
    }
    entered = wsgi_enter();
    if (!started && (rc = add_package(err)) >= 0) {
        snprintf(venv_of_all, sizeof venv_of_all, "%s", o.venv != NULL ? o.venv : "");
        started = 1;
    }
    free(o.words);
    o.words = NULL;
    if (rc >= 0 && (rc = parse(args->args, &o, add_path, err)) >= 0) {
        rc = load(o.target, &callable, err);
    }
    wsgi_leave(entered);
    if (rc < 0) {
        goto done;
    }
    *app = (gw_app) GW_INIT(gw_app);
    app->flags = flags;
    app->call = wsgi_call;
    app->ctx = callable;
    app->drop = wsgi_drop;
    app->name = "python";
    hooks.pre_fork = pre_fork;
    hooks.spawned = spawned;
    hooks.post_fork = post_fork;
    hooks.worker_exit = worker_exit;
    out->abi = GW_ABI;
    out->name = "python";
    out->version = PY_VERSION;
    out->app = app;
    out->hooks = &hooks;
    app = NULL;

done:
    if (rc < 0) {
        free(app);
    }
    free(o.words);
    return rc;
}
