/*
 * deferred.c - requests that are answered later, by what runs in a loop of Python's.
 *
 * A Deferred is what the library is given as application: it hands each request to a callable,
 * inside Server.turn(), which only schedules something - a task, a greenlet.  That answers by the
 * Request: piece by piece (ASGI), or as a WSGI application that may wait for its greenlet (wsgi).
 */
#include "request.h"

typedef struct {
    PyObject_HEAD
    PyObject *spawn;            /* called with each Request */
} deferred;

static PyTypeObject *deferred_type;

/* ---- what the library tells, inside Server.turn() ---- */

typedef struct {
    ear *e;
    int  what;
} event;

static void
tell_event(void *arg)
{
    event    *event = arg;
    request  *self = event->e->of;
    PyObject *told, *done;

    if (self != NULL) {
        Py_INCREF((PyObject *) self);
        self->gone |= event->what == ABORTED;
        told = Py_XNewRef(self->events);
        if (told != NULL) {
            done = PyObject_CallFunction(told, "i", event->what);
            if (done == NULL) {
                wsgi_log_exception(self->d != NULL ? self->env : NULL, "an exception of an event");
            }
            Py_XDECREF(done);
            Py_DECREF(told);
        }
        Py_DECREF(self);
    }
}

static void
tell(ear *e, int what)
{
    wsgi_within(tell_event, &(event) { e, what });
}

static void
on_readable(void *ctx, gw_deferred *d)
{
    (void) d;
    tell(ctx, READABLE);
}

static void
on_writable(void *ctx, gw_deferred *d)
{
    (void) d;
    tell(ctx, WRITABLE);
}

static void
on_aborted(void *ctx, gw_deferred *d)
{
    (void) d;
    tell(ctx, ABORTED);
}

static void
drop_ear(void *ctx)
{
    ear *e = ctx;

    if (e->of != NULL) {
        e->of->ear = NULL;
    }
    PyMem_Free(e);
}

static void
on_drop(void *ctx)
{
    wsgi_within(drop_ear, ctx);
}

typedef struct {
    deferred   *to;
    gw_environ *env;
    gw_result   rc;
} handing;

static void
hand(void *arg)
{
    gw_deferred_events events = GW_INIT(gw_deferred_events);
    handing           *h = arg;
    ear               *e = PyMem_Calloc(1, sizeof *e);
    request           *self = e != NULL ? wsgi_request_new(h->env, e) : NULL;
    PyObject          *done;

    if (self == NULL) {
        PyErr_Clear();
        PyMem_Free(e);
        h->rc = GW_ERR_MEMORY;
        return;
    }
    e->of = self;
    events.readable = on_readable;
    events.writable = on_writable;
    events.aborted = on_aborted;
    events.drop = on_drop;
    events.ctx = e;
    h->rc = gw_defer(h->env, &events, &self->d);
    if (h->rc < 0) {
        self->d = NULL;
        gw_log(h->env, GW_LOG_ERROR, "this request cannot be answered later", 37);
    } else {
        done = PyObject_CallOneArg(h->to->spawn, (PyObject *) self);
        if (done == NULL) {
            wsgi_log_exception(h->env, "an exception of what takes requests");
            wsgi_request_end(self, GW_ERR_APP);
        }
        Py_XDECREF(done);
        h->rc = GW_DEFERRED;
    }
    Py_DECREF(self);
}

gw_result
wsgi_deferred_call(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    handing h = { ctx, env, GW_OK };

    (void) start, (void) sr, (void) body;
    wsgi_within(hand, &h);
    return h.rc;
}

/* ---- the type ---- */

static PyObject *
deferred_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    static char *keywords[] = { "spawn", NULL };
    PyObject    *spawn;
    deferred    *self;

    if (!PyArg_ParseTupleAndKeywords(args, names, "O:Deferred", keywords, &spawn)) {
        return NULL;
    }
    if (!PyCallable_Check(spawn)) {
        return PyErr_Format(PyExc_TypeError, "%R is not callable: it is to be called with each Request", spawn);
    }
    self = (deferred *) WSGI_SLOT(type, tp_alloc, allocfunc)(type, 0);
    if (self != NULL) {
        self->spawn = Py_NewRef(spawn);
    }
    return (PyObject *) self;
}

static int
deferred_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((deferred *) object)->spawn);
    return 0;
}

static int
deferred_clear(PyObject *object)
{
    Py_CLEAR(((deferred *) object)->spawn);
    return 0;
}

static void
deferred_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    (void) deferred_clear(object);
    WSGI_SLOT(type, tp_free, freefunc)(object);
    Py_DECREF(type);
}

static PyType_Slot deferred_slots[] = {
    { Py_tp_new, deferred_new },
    { Py_tp_dealloc, deferred_dealloc },
    { Py_tp_traverse, deferred_traverse },
    { Py_tp_clear, deferred_clear },
    { Py_tp_doc, "Deferred(spawn)\n\nIn the place of an application: spawn(request) is called inside turn(), and is to "
                 "schedule what answers the Request." },
    { 0, NULL },
};

static PyType_Spec deferred_spec = {
    "gateway.Deferred", sizeof(deferred), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, deferred_slots,
};

int
wsgi_is_deferred(PyObject *app)
{
    return Py_IS_TYPE(app, deferred_type);
}

int
wsgi_deferred_init(PyObject *module)
{
    deferred_type = (PyTypeObject *) PyType_FromSpec(&deferred_spec);
    return deferred_type != NULL ? PyModule_AddObjectRef(module, "Deferred", (PyObject *) deferred_type) : -1;
}
