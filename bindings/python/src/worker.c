/*
 * worker.c - a worker from its fork on: the hooks, its application, a loop of Python's that it may run in.
 */
#include "program.h"

#include <unistd.h>

/* What a worker that cannot load its application ends with. */
#define LOAD_ERROR 4

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
    PyObject *args = wsgi_of_worker(w), *done = NULL;

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

gw_result
wsgi_post_fork(void *ctx, const gw_worker *w)
{
    gw_result rc;
    ENTER(ctx, wsgi_forked() ? 1 : wsgi_enter());

    self->run = NULL;
    rc = first(self, POST_FORK, w);
    LEAVE;
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

gw_result
wsgi_worker_init(void *ctx, const gw_worker *w)
{
    gw_result rc;
    ENTER(ctx, wsgi_enter());

    rc = first(self, WORKER_INIT, w);
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
    LEAVE;
    return rc;
}

/* An event loop of Python's, in the place of the library's. */
gw_result
wsgi_worker_run(void *ctx, const gw_worker *w)
{
    gw_result rc = GW_OK;
    ENTER(ctx, wsgi_enter());
    PyObject *server = wsgi_server_of(w->server, self->app), *done = NULL;

    if (server != NULL) {
        done = PyObject_CallMethod(self->worker, "run", "O", server);
        wsgi_server_end(server);
    }
    if (done == NULL) {
        wsgi_log_exception(NULL, "an exception of a worker's loop");
        rc = GW_ERR_APP;
    }
    Py_XDECREF(done);
    LEAVE;
    return rc;
}

int
wsgi_worker_drives(const wsgi_program *program)
{
    PyObject *run = program->worker != NULL ? PyObject_GetAttrString(program->worker, "run") : NULL;
    int       is_own = run != NULL && run != Py_None;

    PyErr_Clear();
    Py_XDECREF(run);
    return is_own;
}
