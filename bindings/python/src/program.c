/*
 * program.c - what serve() was given besides options: an application or how to load one, hooks, a log.
 */
#include "program.h"

static const char *const names[HOOKS] = {
    "on_starting", "when_ready", "pre_fork", "spawned", "worker_ready", "child_exit", "nworkers_changed",
    "on_reload", "reloaded", "on_exit", "pre_exec",
    "post_fork", "worker_init", "worker_int", "worker_exit", "pre_request", "access",
};

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

wsgi_program *
wsgi_program_keep(wsgi_program *self)
{
    self->references++;
    return self;
}

int
wsgi_program_traverse(wsgi_program *self, visitproc visit, void *arg)
{
    Py_VISIT(self->app);
    Py_VISIT(self->load);
    Py_VISIT(self->log);
    Py_VISIT(self->worker);
    for (int i = 0; i < HOOKS; i++) {
        Py_VISIT(self->hooks[i]);
    }
    return 0;
}

static void
drop(void *program)
{
    wsgi_program *self = program;

    Py_XDECREF(self->app);
    Py_XDECREF(self->load);
    Py_XDECREF(self->log);
    Py_XDECREF(self->worker);
    for (int i = 0; i < HOOKS; i++) {
        Py_XDECREF(self->hooks[i]);
    }
    PyMem_RawFree(self);
}

void
wsgi_program_drop(void *program)
{
    if (--((wsgi_program *) program)->references == 0) {
        wsgi_within(drop, program);
    }
}

static _Thread_local wsgi_program *here;

void
wsgi_program_here(wsgi_program *program)
{
    here = program;
}

int
wsgi_program_is_here(const wsgi_program *program)
{
    return program != NULL && here == program && wsgi_is_librarys();
}

gw_result
wsgi_call_program(void *program, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    PyObject *app = ((wsgi_program *) program)->app;

    here = program;
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

void
wsgi_tell(wsgi_program *self, int which, PyObject *args)
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

PyObject *
wsgi_of_worker(const gw_worker *w)
{
    return Py_BuildValue("(iII)", (int) w->pid, (unsigned) w->slot, (unsigned) w->generation);
}
