/*
 * server.c - gateway.Server: a server in this process, for a loop of the caller's or one of its own.
 *
 * It handles no signal: Python's handlers run between turns, as in any loop of Python's.
 */
#include "wsgi.h"

#include <sys/types.h>
#include <unistd.h>

typedef struct {
    PyObject_HEAD
    gw_server         *server;          /* NULL: closed */
    PyObject          *app;
    wsgi_program      *program;         /* what the library holds of Python's; NULL: not this one's, or closed */
    PyThread_type_lock forever;         /* held by the thread that is in serve_forever */
    unsigned long      by;              /* which is this one; 0: none */
    int                is_workers;      /* the library's to close */
    pid_t              owner;
    int                turning;         /* turns that are under way */
    int                closing;         /* server_close() was called in one */
} server;

static PyTypeObject *server_type;

static gw_server *
open_server(PyObject *self)
{
    gw_server *s = ((server *) self)->server;

    if (s == NULL) {
        PyErr_SetString(PyExc_ValueError, "this server is closed");
    }
    return s;
}

static server *
new_server(PyObject *app)
{
    server *self = PyObject_GC_New(server, server_type);

    if (self == NULL) {
        return NULL;
    }
    self->server = NULL;
    self->app = Py_NewRef(app);
    self->program = NULL;
    self->by = 0;
    self->owner = getpid();
    self->turning = self->closing = 0;
    self->is_workers = 0;
    self->forever = PyThread_allocate_lock();
    if (self->forever == NULL) {
        Py_DECREF(self);
        PyErr_NoMemory();
        return NULL;
    }
    PyObject_GC_Track(self);
    return self;
}

PyObject *
wsgi_server(gw_config *cfg, PyObject *app, wsgi_program *program)
{
    gw_error  err = GW_INIT(gw_error);
    server   *self = new_server(app);

    if (self == NULL) {
        gw_config_free(cfg);
        wsgi_program_drop(program);
        return NULL;
    }
    self->program = program;
    if (gw_server_new(cfg, &self->server, &err) < 0) {
        self->server = NULL;
        Py_DECREF(self);
        PyErr_SetString(err.code == GW_ERR_IO ? PyExc_OSError : PyExc_ValueError, err.message);
        return NULL;
    }
    return (PyObject *) self;
}

PyObject *
wsgi_server_of(gw_server *s, PyObject *app)
{
    server *self = new_server(app);

    if (self != NULL) {
        self->server = s;
        self->is_workers = 1;
    }
    return (PyObject *) self;
}

void
wsgi_server_end(PyObject *self)
{
    ((server *) self)->server = NULL;
    Py_DECREF(self);
}

static PyObject *server_close(PyObject *self, PyObject *unused);

/* Milliseconds until the next turn is due; -1: only the descriptor matters; -2: it has stopped; -3: an
   exception. */
static int64_t
turn(PyObject *self)
{
    gw_server *s = open_server(self);
    gw_result  rc;
    int64_t    wait = -1;
    int        outer = wsgi_interruptible;

    if (s == NULL) {
        return -3;
    }
    wsgi_interruptible = 1;
    ((server *) self)->turning++;
    wsgi_away();
    rc = gw_server_turn(s, &wait);
    wsgi_back();
    ((server *) self)->turning--;
    wsgi_interruptible = outer;
    if (((server *) self)->closing && ((server *) self)->turning == 0) {
        Py_XDECREF(server_close(self, NULL));
        rc = GW_EOF;
    }
    if (wsgi_interrupt != NULL) {
        /* Control-C while an application ran, which was answered with 500. */
        PyObject *interrupt = wsgi_interrupt;

        wsgi_interrupt = NULL;
        PyErr_SetObject((PyObject *) Py_TYPE(interrupt), interrupt);
        Py_DECREF(interrupt);
        return -3;
    }
    if (rc < 0) {
        PyErr_Format(PyExc_RuntimeError, "the server has failed: %s", gw_result_text(rc));
        return -3;
    }
    return rc == GW_EOF ? -2 : wait;
}

static PyObject *
server_turn(PyObject *self, PyObject *unused)
{
    int64_t wait = turn(self);

    (void) unused;
    return wait == -3 ? NULL
         : wait == -2 ? Py_NewRef(Py_None)
         : PyFloat_FromDouble(wait < 0 ? -1.0 : (double) wait / 1000.0);
}

static PyObject *
server_fileno(PyObject *self, PyObject *unused)
{
    gw_server *s = open_server(self);

    (void) unused;
    return s != NULL ? PyLong_FromLong(gw_server_fd(s)) : NULL;
}

/* Whether a request was answered since there were so many, and none is under way. */
static int
has_answered(const gw_server *s, uint64_t before)
{
    gw_stats stats = GW_INIT(gw_stats);

    return gw_server_stats(s, &stats) == GW_OK && stats.requests > before && stats.in_flight == 0;
}

/* Until it has stopped; or until a request more was answered. */
static PyObject *
run(PyObject *self, int is_for_one)
{
    server     *me = (server *) self;
    gw_stats    stats = GW_INIT(gw_stats);
    wsgi_wakeup wakeup = { 0 };
    int64_t     wait = -3;

    if (open_server(self) == NULL) {
        return NULL;
    }
    (void) gw_server_stats(me->server, &stats);
    if (PyThread_acquire_lock(me->forever, NOWAIT_LOCK) == 0) {
        PyErr_SetString(PyExc_RuntimeError, "serve_forever: it runs already");
        return NULL;
    }
    me->by = PyThread_get_thread_ident();
    while ((wait = turn(self)) >= -1) {
        if (is_for_one && has_answered(me->server, stats.requests)) {
            wait = -2;
            break;
        }
        if (wait == 0 ? PyErr_CheckSignals() < 0
                      : wsgi_wait(&wakeup, &me->server, wait < 0 || wait > 1 << 30 ? -1 : (int) wait) < 0) {
            wait = -3;
            break;
        }
    }
    wsgi_wakeup_close(&wakeup);
    me->by = 0;
    PyThread_release_lock(me->forever);
    return wait == -2 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
server_forever(PyObject *self, PyObject *unused)
{
    (void) unused;
    return run(self, 0);
}

static PyObject *
server_request(PyObject *self, PyObject *unused)
{
    (void) unused;
    return run(self, 1);
}

/* Until no other thread is in serve_forever; a request would wait for itself. */
static void
wait_for(server *me)
{
    if (me->owner == getpid() && me->by != 0 && me->by != PyThread_get_thread_ident() && wsgi_current() == NULL
        && !wsgi_program_is_here(me->program)) {
        wsgi_away();
        PyThread_acquire_lock(me->forever, WAIT_LOCK);
        PyThread_release_lock(me->forever);
        wsgi_back();
    }
}

static PyObject *
server_shutdown(PyObject *self, PyObject *unused)
{
    gw_server *s = open_server(self);

    (void) unused;
    if (s == NULL) {
        return NULL;
    }
    (void) gw_server_stop(s, GW_STOP_GRACEFUL);
    wait_for((server *) self);
    return Py_NewRef(Py_None);
}

static void
drop_program(server *me)
{
    wsgi_program *program = me->program;

    if (program != NULL) {
        wsgi_here();
        me->program = NULL;
        wsgi_program_drop(program);
    }
}

static PyObject *
server_close(PyObject *self, PyObject *unused)
{
    server *me = (server *) self;

    (void) unused;
    if (me->server != NULL && me->is_workers) {
        PyErr_SetString(PyExc_ValueError, "the server of a worker is closed by its end: see shutdown()");
        return NULL;
    }
    if (me->server != NULL && me->owner != getpid()) {
        me->server = NULL;                              /* nothing of it has survived the fork */
    }
    if (me->server != NULL && wsgi_ends()) {
        (void) gw_server_stop(me->server, GW_STOP_QUICK);
        me->server = NULL;                              /* its threads, which may wait for ever, go with the process */
    }
    if (me->server != NULL) {
        (void) gw_server_stop(me->server, GW_STOP_QUICK);
        wait_for(me);
        if (me->turning > 0 || (me->by != 0 && wsgi_current() != NULL) || wsgi_program_is_here(me->program)) {
            me->closing = 1;                            /* at the end of the turn that this is in, or of the next */
            return Py_NewRef(Py_None);
        }
    }
    if (me->server != NULL) {
        gw_server *s = me->server;

        me->server = NULL;
        wsgi_away();
        gw_server_free(s);
        wsgi_back();
    }
    drop_program(me);
    return Py_NewRef(Py_None);
}

/* ("127.0.0.1", 8000), or the path of a unix socket. */
static PyObject *
server_address(PyObject *self, void *unused)
{
    gw_server       *s = open_server(self);
    gw_listener_info info = GW_INIT(gw_listener_info);
    uint32_t         cursor = 0;
    const char      *colon;

    (void) unused;
    if (s == NULL) {
        return NULL;
    }
    if (gw_server_listeners(s, &cursor, &info) != GW_OK) {
        return Py_NewRef(Py_None);
    }
    colon = strrchr(info.address, ':');
    if (info.port == 0 || colon == NULL) {
        return PyUnicode_DecodeFSDefault(info.address);
    }
    return Py_BuildValue("(s#I)", info.address, (Py_ssize_t) (colon - info.address), info.port);
}

static PyObject *
server_port(PyObject *self, void *unused)
{
    gw_server       *s = open_server(self);
    gw_listener_info info = GW_INIT(gw_listener_info);
    uint32_t         cursor = 0;

    (void) unused;
    if (s == NULL) {
        return NULL;
    }
    (void) gw_server_listeners(s, &cursor, &info);
    return PyLong_FromUnsignedLong(info.port);
}

static PyObject *
server_app(PyObject *self, void *unused)
{
    (void) unused;
    return Py_NewRef(((server *) self)->app);
}

static PyObject *
server_exit(PyObject *self, PyObject *unused)
{
    return server_close(self, unused);
}

static PyObject *
server_enter(PyObject *self, PyObject *unused)
{
    (void) unused;
    return Py_NewRef(self);
}

/* Nobody has it any more: it closes before what it calls goes. */
static void
server_finalize(PyObject *self)
{
    PyObject *type, *value, *trace;

    PyErr_Fetch(&type, &value, &trace);
    Py_XDECREF(server_close(self, NULL));
    PyErr_Restore(type, value, trace);
}

static int
server_traverse(PyObject *self, visitproc visit, void *arg)
{
    server *me = (server *) self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(me->app);
    return me->program != NULL ? wsgi_program_traverse(me->program, visit, arg) : 0;
}

static int
server_clear(PyObject *self)
{
    Py_CLEAR(((server *) self)->app);
    if (((server *) self)->server == NULL) {
        drop_program((server *) self);
    }
    return 0;
}

static int
free_later(void *s)
{
    wsgi_away();
    gw_server_free(s);
    wsgi_back();
    return 0;
}

static void
server_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    server_finalize(self);
    if (((server *) self)->server != NULL && !((server *) self)->is_workers) {
        /* A request of its own had it last, and there will be no turn: the main thread closes it. */
        (void) Py_AddPendingCall(free_later, ((server *) self)->server);
        ((server *) self)->server = NULL;
    }
    (void) server_clear(self);
    if (((server *) self)->forever != NULL) {
        PyThread_free_lock(((server *) self)->forever);
    }
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    { "turn", server_turn, METH_NOARGS,
      "turn() -> seconds until the next one is due, -1.0: when fileno() is readable; None: stopped\n\n"
      "Do what can be done without waiting." },
    { "fileno", server_fileno, METH_NOARGS, "fileno() -> the descriptor to watch for reading" },
    { "serve_forever", server_forever, METH_NOARGS,
      "serve_forever()\n\nTurn until shutdown() is called, or a signal handler raises." },
    { "handle_request", server_request, METH_NOARGS,
      "handle_request()\n\nTurn until a request was answered, as wsgiref's server has it." },
    { "shutdown", server_shutdown, METH_NOARGS,
      "shutdown()\n\nLet serve_forever end when what is under way was answered, and wait for that where it "
      "runs in another thread." },
    { "server_close", server_close, METH_NOARGS,
      "server_close()\n\nClose everything now; a serve_forever in another thread ends before." },
    { "__enter__", server_enter, METH_NOARGS, NULL },
    { "__exit__", server_exit, METH_VARARGS, NULL },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef getters[] = {
    { "server_address", server_address, NULL, "(host, port), or the path of a unix socket", NULL },
    { "server_port", server_port, NULL, "the port, 0 for a unix socket", NULL },
    { "application", server_app, NULL, "what is served", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot slots[] = {
    { Py_tp_methods, methods },
    { Py_tp_getset, getters },
    { Py_tp_dealloc, server_dealloc },
    { Py_tp_finalize, server_finalize },
    { Py_tp_traverse, server_traverse },
    { Py_tp_clear, server_clear },
    { Py_tp_doc, "A server in this process; make_server() makes one." },
    { 0, NULL },
};

static PyType_Spec spec = {
    "gateway.Server", sizeof(server), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots,
};

int
wsgi_server_init(PyObject *module)
{
    server_type = (PyTypeObject *) PyType_FromSpec(&spec);
    return server_type != NULL ? PyModule_AddObjectRef(module, "Server", (PyObject *) server_type) : -1;
}
