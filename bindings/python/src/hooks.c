/*
 * hooks.c - the library's hooks and its log, as calls of Python's.
 *
 * The hooks here are the library's, with numbers for arguments; gateway/hooks.py makes gunicorn's of
 * them.  Those that are not given are not there for the library either, but for the ones that forks
 * need.
 */
#include "program.h"

#define nothing Py_None                 /* an input for those who only look */

/* ---- of the arbiter ---- */

static void
on_starting(void *ctx, gw_arbiter *a)
{
    ENTER(ctx, wsgi_enter());

    wsgi_catch_hup();
    if (self->run != NULL) {
        self->run->arbiter = a;
    }
    wsgi_tell(self, ON_STARTING, PyTuple_New(0));
    LEAVE;
}

#define OF_ARBITER(name, which)                     \
    static void                                     \
    name(void *ctx, gw_arbiter *a)                  \
    {                                               \
        ENTER(ctx, wsgi_enter());                   \
        (void) a;                                   \
        wsgi_tell(self, which, PyTuple_New(0));     \
        LEAVE;                                      \
    }

#define OF_WORKER(name, which)                      \
    static void                                     \
    name(void *ctx, const gw_worker *w)             \
    {                                               \
        ENTER(ctx, wsgi_enter());                   \
        wsgi_tell(self, which, wsgi_of_worker(w));  \
        LEAVE;                                      \
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
    ENTER(ctx, wsgi_enter());

    (void) a;
    wsgi_tell(self, RELOADED, Py_BuildValue("(z)", failure != NULL ? failure->message : NULL));
    LEAVE;
}

static void
nworkers_changed(void *ctx, uint32_t now, uint32_t before)
{
    ENTER(ctx, wsgi_enter());

    wsgi_tell(self, NWORKERS_CHANGED, Py_BuildValue("(II)", (unsigned) now, (unsigned) before));
    LEAVE;
}

static void
child_exit(void *ctx, const gw_worker *w)
{
    ENTER(ctx, wsgi_enter());

    wsgi_tell(self, CHILD_EXIT, Py_BuildValue("(iIIiI)", (int) w->pid, (unsigned) w->slot, (unsigned) w->generation,
                                         (int) w->exit_status, (unsigned) w->cause));
    LEAVE;
}

static void
pre_fork(void *ctx, const gw_worker *w)
{
    ENTER(ctx, wsgi_enter());

    wsgi_tell(self, PRE_FORK, Py_BuildValue("(II)", (unsigned) w->slot, (unsigned) w->generation));
    wsgi_before_fork();
    entered = 0;                                /* the interpreter stays with us, on both sides */
    LEAVE;
}

static void
spawned(void *ctx, const gw_worker *w)
{
    ENTER(ctx, wsgi_forked() ? 1 : wsgi_enter());

    wsgi_tell(self, SPAWNED, wsgi_of_worker(w));
    LEAVE;
}

/* ---- requests: in whichever thread turns, or in one of the pool's ---- */

typedef struct {
    wsgi_program *program;
    const void   *of;
} event;

static void
tell_request(void *arg)
{
    event      *e = arg;
    gw_environ *env = (gw_environ *) e->of;
    PyObject   *environ;

    wsgi_hooked(env);
    environ = wsgi_environ(env, nothing);
    wsgi_tell(e->program, PRE_REQUEST, environ != NULL ? Py_BuildValue("(N)", environ) : NULL);
    wsgi_hooked(NULL);
}

static void
pre_request(void *ctx, gw_environ *env)
{
    wsgi_program_here(ctx);
    wsgi_within(tell_request, &(event) { ctx, env });
}

static PyObject *
latin(gw_str text)
{
    return PyUnicode_DecodeLatin1(text.data != NULL ? text.data : "", (Py_ssize_t) text.len, NULL);
}

/* (environ, status, headers, sent, received, start, took): times are seconds. */
static void
tell_access(void *arg)
{
    event           *e = arg;
    const gw_access *a = e->of;
    PyObject        *environ = wsgi_environ((gw_environ *) a->env, nothing);
    PyObject        *headers = PyList_New(0), *args = NULL;

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
    wsgi_tell(e->program, ACCESS, args);
    Py_XDECREF(environ);
    Py_XDECREF(headers);
}

static void
access_(void *ctx, const gw_access *a)
{
    wsgi_within(tell_access, &(event) { ctx, a });
}

/* ---- the log ---- */

static void
tell_record(void *arg)
{
    event               *e = arg;
    const gw_log_record *record = e->of;
    PyObject            *log = e->program->log, *done, *args, *type, *value, *trace;

    PyErr_Fetch(&type, &value, &trace);
    args = Py_BuildValue("(is#s#s#)", (int) record->level, record->target.data, (Py_ssize_t) record->target.len,
                         record->message.data, (Py_ssize_t) record->message.len,
                         record->id.data != NULL ? record->id.data : "", (Py_ssize_t) record->id.len);
    done = args != NULL ? PyObject_Call(log, args, NULL) : NULL;
    if (done == NULL) {
        PyErr_WriteUnraisable(log);
    }
    Py_XDECREF(args);
    Py_XDECREF(done);
    PyErr_Restore(type, value, trace);
}

static void
log_record(void *ctx, const gw_log_record *record)
{
    static _Thread_local int inside;        /* what logs about logging */

    if (inside) {
        return;
    }
    inside = 1;
    (void) wsgi_forked();                   /* a worker's first words come before its hooks */
    wsgi_within(tell_record, &(event) { ctx, record });
    inside = 0;
}

/* ---- all of it ---- */

int
wsgi_hooks(gw_config *cfg, wsgi_program *program, int level)
{
    gw_error err = GW_INIT(gw_error);
    gw_hooks hooks = GW_INIT(gw_hooks);

    hooks.ctx = wsgi_program_keep(program);
    hooks.drop = wsgi_program_drop;
    hooks.pre_fork = pre_fork;
    hooks.spawned = spawned;
    hooks.post_fork = wsgi_post_fork;
    hooks.on_starting = on_starting;
#define IF(which, member, function)             \
    if (program->hooks[which] != NULL) {            \
        hooks.member = function;                    \
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
        hooks.worker_init = wsgi_worker_init;
    }
    if (wsgi_worker_drives(program)) {
        hooks.worker_run = wsgi_worker_run;
    }
    if (gw_config_hooks(cfg, &hooks, &err) < 0) {
        PyErr_SetString(PyExc_ValueError, err.message);
        return -1;
    }
    if (program->log != NULL) {
        if (gw_config_log(cfg, level, log_record, wsgi_program_keep(program), wsgi_program_drop) < 0) {
            PyErr_SetString(PyExc_ValueError, "log: refused");
            return -1;
        }
    }
    return 0;
}
