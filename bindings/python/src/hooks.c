/*
 * hooks.c - what serve() was given besides options: an application or how to load one, hooks, a log.
 *
 * The hooks here are the library's, with numbers for arguments; gateway/hooks.py makes gunicorn's of
 * them.  Those that are not given are not there for the library either, but for the ones that forks
 * need.
 */
#include "wsgi.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What a worker that cannot load its application ends with. */
#define LOAD_ERROR 4

enum {
    ON_STARTING, WHEN_READY, PRE_FORK, SPAWNED, WORKER_READY, CHILD_EXIT, NWORKERS_CHANGED, ON_RELOAD,
    RELOADED, ON_EXIT, PRE_EXEC,                /* from here on in workers */
    POST_FORK, WORKER_INIT, WORKER_INT, WORKER_EXIT, PRE_REQUEST, ACCESS, HOOKS,
};

static const char *const names[HOOKS] = {
    "on_starting", "when_ready", "pre_fork", "spawned", "worker_ready", "child_exit", "nworkers_changed",
    "on_reload", "reloaded", "on_exit", "pre_exec",
    "post_fork", "worker_init", "worker_int", "worker_exit", "pre_request", "access",
};

/* A configuration's, for all that the library keeps of it. */
struct wsgi_program {
    _Atomic int references;             /* dropped in any thread */
    wsgi_run   *run;                    /* NULL: nobody waits for an exception of the arbiter's hooks */
    PyObject   *app;                    /* NULL: not loaded yet */
    PyObject   *load;
    PyObject   *log;
    PyObject   *worker;                 /* of gateway.workers; NULL: the library's loop */
    PyObject   *hooks[HOOKS];
};

#define nothing Py_None                 /* an input for those who only look */

/* ---- a program ---- */

wsgi_program *
wsgi_program_new(PyObject *app, PyObject *load, PyObject *hooks, PyObject *log, PyObject *worker,
                 wsgi_run *run)
{
    wsgi_program *self;
    PyObject     *key, *value;
    Py_ssize_t    at = 0;

    if (app == Py_None ? !PyCallable_Check(load) : load != Py_None) {
        PyErr_SetString(PyExc_TypeError, "serve() needs an application, or load=, a function that returns one");
        return NULL;
    }
    if (app != Py_None && !PyCallable_Check(app) && !wsgi_is_deferred(app)) {
        PyErr_Format(PyExc_TypeError, "%.200s object is not a WSGI application: it must be callable",
                     wsgi_type_name(Py_TYPE(app)));
        return NULL;
    }
    if (hooks != Py_None && !PyDict_Check(hooks)) {
        PyErr_Format(PyExc_TypeError, "hooks must be a dict, not %.100s", wsgi_type_name(Py_TYPE(hooks)));
        return NULL;
    }
    if (log != Py_None && !PyCallable_Check(log)) {
        PyErr_Format(PyExc_TypeError, "log must be callable, not %.100s", wsgi_type_name(Py_TYPE(log)));
        return NULL;
    }
    self = PyMem_RawCalloc(1, sizeof *self);
    if (self == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    self->references = 1;
    self->run = run;
    self->app = app != Py_None ? Py_NewRef(app) : NULL;
    self->load = load != Py_None ? Py_NewRef(load) : NULL;
    self->log = log != Py_None ? Py_NewRef(log) : NULL;
    self->worker = worker != Py_None ? Py_NewRef(worker) : NULL;
    while (hooks != Py_None && PyDict_Next(hooks, &at, &key, &value)) {
        int i;

        for (i = 0; i < HOOKS; i++) {
            if (PyUnicode_Check(key) && PyUnicode_CompareWithASCIIString(key, names[i]) == 0) {
                break;
            }
        }
        if (i == HOOKS || !PyCallable_Check(value)) {
            PyErr_Format(PyExc_TypeError, i == HOOKS ? "there is no hook %R" : "the hook %R is not callable", key);
            wsgi_program_drop(self);
            return NULL;
        }
        self->hooks[i] = Py_NewRef(value);
    }
    return self;
}

void
wsgi_program_drop(void *program)
{
    wsgi_program *self = program;
    int           entered = wsgi_enter();

    if (--self->references == 0) {
        Py_XDECREF(self->app);
        Py_XDECREF(self->load);
        Py_XDECREF(self->log);
        Py_XDECREF(self->worker);
        for (int i = 0; i < HOOKS; i++) {
            Py_XDECREF(self->hooks[i]);
        }
        PyMem_RawFree(self);
    }
    wsgi_leave(entered);
}

gw_result
wsgi_call_program(void *program, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    PyObject *app = ((wsgi_program *) program)->app;

    return (wsgi_is_deferred(app) ? wsgi_deferred_call : wsgi_call)(app, env, start, sr, body);
}

/* ---- calls of hooks ---- */

/* The exception ends the server, and is raised where that was started. */
static void
fail(wsgi_program *self)
{
    wsgi_run *run = self->run;

    if (run == NULL || run->failure[0] != NULL) {
        PyErr_WriteUnraisable(NULL);
        return;
    }
    PyErr_Fetch(&run->failure[0], &run->failure[1], &run->failure[2]);
    if (run->arbiter != NULL) {
        (void) gw_arbiter_stop(run->arbiter, GW_STOP_GRACEFUL);
    }
}

/* A hook of the arbiter, or of none; takes args. */
static void
tell(wsgi_program *self, int which, PyObject *args)
{
    PyObject *done = NULL;

    if (args != NULL && self->hooks[which] != NULL) {
        done = PyObject_Call(self->hooks[which], args, NULL);
    }
    Py_XDECREF(args);
    Py_XDECREF(done);
    if (PyErr_Occurred()) {
        if (which < POST_FORK) {
            fail(self);
        } else {
            PyErr_WriteUnraisable(self->hooks[which]);
        }
    }
}

static PyObject *
of_worker(const gw_worker *w)
{
    return Py_BuildValue("(iII)", (int) w->pid, (unsigned) w->slot, (unsigned) w->generation);
}

#define ENTERED(ctx)                        \
    wsgi_program *self = (ctx);             \
    int           entered = wsgi_enter()

static int hup_fd = -1;                         /* of an arbiter that reads its configuration again */

static void
hup(int signo)
{
    uint64_t one = 1;
    ssize_t  n = write(hup_fd, &one, sizeof one);

    (void) signo, (void) n;
}

static void
on_starting(void *ctx, gw_arbiter *a)
{
    ENTERED(ctx);

    /* The library has its own handler by now, and no worker answers yet. */
    if (hup_fd >= 0) {
        struct sigaction action = { .sa_handler = hup, .sa_flags = SA_RESTART | SA_ONSTACK };

        sigfillset(&action.sa_mask);
        (void) sigaction(SIGHUP, &action, NULL);
    }
    if (self->run != NULL) {
        self->run->arbiter = a;
    }
    tell(self, ON_STARTING, PyTuple_New(0));
    wsgi_leave(entered);
}

#define OF_ARBITER(name, which)             \
    static void                             \
    name(void *ctx, gw_arbiter *a)          \
    {                                       \
        ENTERED(ctx);                       \
        (void) a;                           \
        tell(self, which, PyTuple_New(0));  \
        wsgi_leave(entered);                \
    }

#define OF_WORKER(name, which)              \
    static void                             \
    name(void *ctx, const gw_worker *w)     \
    {                                       \
        ENTERED(ctx);                       \
        tell(self, which, of_worker(w));    \
        wsgi_leave(entered);                \
    }

OF_ARBITER(when_ready, WHEN_READY)
OF_ARBITER(on_reload, ON_RELOAD)
OF_ARBITER(on_exit_, ON_EXIT)
OF_ARBITER(pre_exec, PRE_EXEC)
OF_WORKER(worker_ready, WORKER_READY)
OF_WORKER(worker_int, WORKER_INT)
OF_WORKER(worker_exit, WORKER_EXIT)

static void
reloaded(void *ctx, gw_arbiter *a, const gw_error *failure)
{
    ENTERED(ctx);

    (void) a;
    tell(self, RELOADED, Py_BuildValue("(z)", failure != NULL ? failure->message : NULL));
    wsgi_leave(entered);
}

static void
nworkers_changed(void *ctx, uint32_t now, uint32_t before)
{
    ENTERED(ctx);

    tell(self, NWORKERS_CHANGED, Py_BuildValue("(II)", (unsigned) now, (unsigned) before));
    wsgi_leave(entered);
}

static void
child_exit(void *ctx, const gw_worker *w)
{
    ENTERED(ctx);

    tell(self, CHILD_EXIT, Py_BuildValue("(iIIiI)", (int) w->pid, (unsigned) w->slot, (unsigned) w->generation,
                                         (int) w->exit_status, (unsigned) w->cause));
    wsgi_leave(entered);
}

/* ---- forks ---- */

static void
pre_fork(void *ctx, const gw_worker *w)
{
    wsgi_program *self = ctx;

    (void) wsgi_enter();
    tell(self, PRE_FORK, Py_BuildValue("(II)", (unsigned) w->slot, (unsigned) w->generation));
    wsgi_before_fork();                         /* the interpreter stays with us, on both sides */
}

static void
spawned(void *ctx, const gw_worker *w)
{
    wsgi_program *self = ctx;
    int           entered = wsgi_forked() ? 1 : wsgi_enter();

    tell(self, SPAWNED, of_worker(w));
    wsgi_leave(entered);
}

static void
leave_process(int status)
{
    PyObject *sys = PyImport_ImportModule("sys");
    static const char *const outputs[] = { "stdout", "stderr" };

    for (int i = 0; sys != NULL && i < 2; i++) {
        PyObject *output = PyObject_GetAttrString(sys, outputs[i]);
        PyObject *done = output != NULL ? PyObject_CallMethod(output, "flush", NULL) : NULL;

        PyErr_Clear();
        Py_XDECREF(done);
        Py_XDECREF(output);
    }
    _exit(status);
}

/* A worker that is not to be; its process ends at once where there is a status to end with. */
static gw_result
refuse(const gw_worker *w, int status)
{
    PyObject *type, *value, *trace, *code;

    if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
        PyErr_Fetch(&type, &value, &trace);
        PyErr_NormalizeException(&type, &value, &trace);
        code = value != NULL ? PyObject_GetAttrString(value, "code") : NULL;
        if (code != NULL && PyLong_Check(code)) {
            status = (int) PyLong_AsLong(code);
        } else if (code != NULL && code != Py_None) {
            PySys_FormatStderr("%S\n", code);
        }
        PyErr_Clear();
    } else {
        PyErr_Fetch(&type, &value, &trace);
        if (type != NULL && PyObject_HasAttrString(type, "exit_status")) {
            PyErr_NormalizeException(&type, &value, &trace);
            PySys_FormatStderr("%S\n", value);          /* gateway.workers.Refused: that says it all */
        } else {
            PyErr_Restore(type, value, trace);
            PyErr_Print();
        }
    }
    if (status != 0 && w->pid != 0) {
        leave_process(status);
    }
    return GW_ERR_APP;
}

static gw_result
first(wsgi_program *self, int which, const gw_worker *w)
{
    PyObject *args = of_worker(w), *done = NULL;

    if (self->hooks[which] == NULL) {
        Py_XDECREF(args);
        return GW_OK;
    }
    done = args != NULL ? PyObject_Call(self->hooks[which], args, NULL) : NULL;
    Py_XDECREF(args);
    if (done == NULL) {
        return refuse(w, 0);
    }
    Py_DECREF(done);
    return GW_OK;
}

static gw_result
post_fork(void *ctx, const gw_worker *w)
{
    wsgi_program *self = ctx;
    int           entered = wsgi_forked() ? 1 : wsgi_enter();
    gw_result     rc;

    self->run = NULL;
    rc = first(self, POST_FORK, w);
    wsgi_leave(entered);
    return rc;
}

static gw_result
of_kind(wsgi_program *self, const gw_worker *w, const char *method)
{
    PyObject *done = PyObject_CallMethod(self->worker, method, NULL);

    if (done == NULL) {
        return refuse(w, 0);
    }
    Py_DECREF(done);
    return GW_OK;
}

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    wsgi_program *self = ctx;
    int           entered = wsgi_enter();
    gw_result     rc = first(self, WORKER_INIT, w);

    if (rc == GW_OK && self->worker != NULL) {
        rc = of_kind(self, w, "setup");
    }
    if (rc == GW_OK && self->app == NULL) {
        self->app = PyObject_CallNoArgs(self->load);
        if (self->app != NULL && !PyCallable_Check(self->app)) {
            PyErr_Format(PyExc_TypeError, "load() returned %.200s, which is not a WSGI application: it must be "
                         "callable", wsgi_type_name(Py_TYPE(self->app)));
            Py_CLEAR(self->app);
        }
        if (self->app == NULL) {
            rc = refuse(w, LOAD_ERROR);
        }
    }
    if (rc == GW_OK && self->worker != NULL) {
        PyObject *app = PyObject_CallMethod(self->worker, "application", "O", self->app);

        rc = app != NULL ? GW_OK : refuse(w, LOAD_ERROR);
        if (app != NULL) {
            Py_SETREF(self->app, app);
            rc = of_kind(self, w, "start");
        }
    }
    wsgi_leave(entered);
    return rc;
}

/* An event loop of Python's, in the place of the library's. */
static gw_result
worker_run(void *ctx, const gw_worker *w)
{
    ENTERED(ctx);
    PyObject *server = wsgi_server_of(w->server, self->app), *done = NULL;
    gw_result rc = GW_OK;

    if (server != NULL) {
        done = PyObject_CallMethod(self->worker, "run", "O", server);
        wsgi_server_end(server);
    }
    if (done == NULL) {
        wsgi_log_exception(NULL, "an exception of a worker's loop");
        rc = GW_ERR_APP;
    }
    Py_XDECREF(done);
    wsgi_leave(entered);
    return rc;
}

/* ---- requests ---- */

static void
pre_request(void *ctx, gw_environ *env)
{
    ENTERED(ctx);
    PyObject *environ;

    wsgi_hooked(env);
    environ = wsgi_environ(env, nothing);
    tell(self, PRE_REQUEST, environ != NULL ? Py_BuildValue("(N)", environ) : NULL);
    wsgi_hooked(NULL);
    wsgi_leave(entered);
}

static PyObject *
latin(gw_str text)
{
    return PyUnicode_DecodeLatin1(text.data != NULL ? text.data : "", (Py_ssize_t) text.len, NULL);
}

/* (environ, status, headers, sent, received, start, took): times are seconds. */
static void
access_(void *ctx, const gw_access *a)
{
    ENTERED(ctx);
    PyObject *environ = wsgi_environ((gw_environ *) a->env, nothing);
    PyObject *headers = PyList_New(0), *args = NULL;

    for (size_t i = 0; headers != NULL && i < a->header_count; i++) {
        PyObject *pair = Py_BuildValue("(NN)", latin(a->headers[i].name), latin(a->headers[i].value));

        if (pair == NULL || PyList_Append(headers, pair) < 0) {
            Py_CLEAR(headers);
        }
        Py_XDECREF(pair);
    }
    if (environ != NULL && headers != NULL) {
        args = Py_BuildValue("(OiOKKdd)", environ, (int) a->status, headers, (unsigned long long) a->sent,
                             (unsigned long long) a->received, (double) a->start_ns / 1e9,
                             (double) a->took_ns / 1e9);
    }
    tell(self, ACCESS, args);
    Py_XDECREF(environ);
    Py_XDECREF(headers);
    wsgi_leave(entered);
}

/* ---- the log ---- */

static void
log_record(void *ctx, const gw_log_record *record)
{
    static _Thread_local int inside;        /* what logs about logging */
    wsgi_program *self = ctx;
    int           entered;
    PyObject     *done, *args;

    if (inside) {
        return;
    }
    inside = 1;
    (void) wsgi_forked();                   /* a worker's first words come before its hooks */
    entered = wsgi_enter();
    PyObject *type, *value, *trace;

    PyErr_Fetch(&type, &value, &trace);
    args = Py_BuildValue("(is#s#s#)", (int) record->level, record->target.data, (Py_ssize_t) record->target.len,
                         record->message.data, (Py_ssize_t) record->message.len,
                         record->id.data != NULL ? record->id.data : "", (Py_ssize_t) record->id.len);
    done = args != NULL ? PyObject_Call(self->log, args, NULL) : NULL;
    if (done == NULL) {
        PyErr_WriteUnraisable(self->log);
    }
    Py_XDECREF(args);
    Py_XDECREF(done);
    PyErr_Restore(type, value, trace);
    wsgi_leave(entered);
    inside = 0;
}

/* ---- all of it ---- */

/* Whether a kind of worker has a loop of its own. */
static int
drives(PyObject *worker)
{
    PyObject *run = PyObject_GetAttrString(worker, "run");
    int       is_own = run != NULL && run != Py_None;

    PyErr_Clear();
    Py_XDECREF(run);
    return is_own;
}

int
wsgi_hooks(gw_config *cfg, wsgi_program *program, int level)
{
    gw_error err = GW_INIT(gw_error);
    gw_hooks hooks = GW_INIT(gw_hooks);

    hooks.ctx = program;
    hooks.drop = wsgi_program_drop;
    hooks.pre_fork = pre_fork;
    hooks.spawned = spawned;
    hooks.post_fork = post_fork;
    hooks.on_starting = on_starting;
#define IF(which, member, function)             \
    if (program->hooks[which] != NULL) {        \
        hooks.member = function;                \
    }
    if (program->worker != NULL && drives(program->worker)) {
        hooks.worker_run = worker_run;
    }
    IF(WHEN_READY, when_ready, when_ready)
    IF(WORKER_READY, worker_ready, worker_ready)
    IF(CHILD_EXIT, child_exit, child_exit)
    IF(NWORKERS_CHANGED, nworkers_changed, nworkers_changed)
    IF(ON_RELOAD, on_reload, on_reload)
    IF(RELOADED, reloaded, reloaded)
    IF(ON_EXIT, on_exit, on_exit_)
    IF(PRE_EXEC, pre_exec, pre_exec)
    IF(WORKER_INT, worker_int, worker_int)
    IF(WORKER_EXIT, worker_exit, worker_exit)
    IF(PRE_REQUEST, pre_request, pre_request)
    IF(ACCESS, access, access_)
#undef IF
    if (program->hooks[WORKER_INIT] != NULL || program->load != NULL || program->worker != NULL) {
        hooks.worker_init = worker_init;
    }
    program->references++;
    if (gw_config_hooks(cfg, &hooks, &err) < 0) {
        PyErr_SetString(PyExc_ValueError, err.message);
        return -1;
    }
    if (program->log != NULL) {
        program->references++;
        if (gw_config_log(cfg, level, log_record, program, wsgi_program_drop) < 0) {
            PyErr_SetString(PyExc_ValueError, "log: refused");
            return -1;
        }
    }
    return 0;
}

/* ---- an arbiter that reads its configuration again ---- */

/* HUP has come: what `reload` returns is the configuration from now on. */
static void
reload_now(wsgi_run *run, PyObject *reload, gw_config *(*configure)(PyObject *given, wsgi_run *run))
{
    PyObject  *given = PyObject_CallNoArgs(reload);
    gw_config *cfg = given != NULL ? configure(given, run) : NULL;

    Py_XDECREF(given);
    if (cfg == NULL) {
        if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
            PyErr_Clear();                      /* it has said why */
            return;
        }
        PyErr_Print();
        return;
    }
    wsgi_away();
    (void) gw_arbiter_reload(run->arbiter, cfg);
    wsgi_back();
}

gw_result
wsgi_supervise(gw_config *cfg, wsgi_run *run, PyObject *reload,
               gw_config *(*configure)(PyObject *given, wsgi_run *run), gw_error *err)
{
    struct sigaction before;
    gw_arbiter      *a = NULL;
    gw_result        rc;
    int64_t          wait = 0;
    struct pollfd    fds[2];

    (void) sigaction(SIGHUP, NULL, &before);
    hup_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    wsgi_away();
    rc = hup_fd < 0 ? GW_ERR_IO : gw_arbiter_new(cfg, &a, err);
    run->arbiter = a;
    if (rc >= 0) {
        rc = gw_arbiter_start(a, err);
    }
    fds[0] = (struct pollfd) { .fd = gw_arbiter_fd(a), .events = POLLIN };
    fds[1] = (struct pollfd) { .fd = hup_fd, .events = POLLIN };
    while (rc >= 0) {
        uint64_t count;

        rc = gw_arbiter_turn(a, &wait);
        wsgi_back();                            /* also when a fork has failed */
        wsgi_away();
        if (rc != GW_OK) {
            break;
        }
        if (wait != 0) {
            (void) poll(fds, 2, wait < 0 || wait > 1 << 30 ? -1 : (int) wait);
        }
        if (read(hup_fd, &count, sizeof count) == sizeof count) {
            wsgi_back();
            reload_now(run, reload, configure);
            wsgi_away();
        }
    }
    if (rc == GW_EOF) {
        rc = gw_arbiter_run(a, err);            /* how it ended, with what main should return */
    }
    gw_arbiter_free(a);
    (void) sigaction(SIGHUP, &before, NULL);
    wsgi_back();
    run->arbiter = NULL;
    if (hup_fd >= 0) {
        close(hup_fd);
        hup_fd = -1;
    }
    return rc;
}
