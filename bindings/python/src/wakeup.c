/*
 * wakeup.c - a wait that ends when a signal has come.
 *
 * Python runs its handlers in the main thread, between two steps of that: a signal that has come just before a wait,
 * or to another thread, interrupts none.  But each is written to a descriptor, signal.set_wakeup_fd(): while we wait
 * that is a pipe of ours, and what was written there goes on to whose it is.
 */
#include "wsgi.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

/* What was there before; -2: an exception.  What somebody else had does not warn when it is full: whether it did
   cannot be asked. */
static int
exchange(wsgi_wakeup *w, int fd)
{
    PyObject *args[] = { NULL, PyLong_FromLong(fd), Py_False }, *before = NULL;
    int       was;

    if (args[1] != NULL) {
        before = PyObject_Vectorcall(w->set, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                     fd >= 0 && fd != w->ours[1] ? w->quiet : NULL);
    }
    was = before != NULL ? (int) PyLong_AsLong(before) : -2;
    Py_XDECREF(args[1]);
    Py_XDECREF(before);
    return was;
}

static int
begin(wsgi_wakeup *w)
{
    if (w->set == NULL) {
        PyObject *module = PyImport_ImportModule("_signal");

        w->set = module != NULL ? PyObject_GetAttrString(module, "set_wakeup_fd") : NULL;
        w->quiet = Py_BuildValue("(s)", "warn_on_full_buffer");
        w->ours[0] = w->ours[1] = -1;
        Py_XDECREF(module);
        if (w->set == NULL || w->quiet == NULL) {
            return -1;
        }
        if (pipe2(w->ours, O_CLOEXEC | O_NONBLOCK) < 0) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
    }
    if (w->ours[0] < 0) {
        return 0;
    }
    w->theirs = exchange(w, w->ours[1]);
    if (w->theirs == -2) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
            return -1;
        }
        PyErr_Clear();                          /* not the main thread: no handler runs here */
        (void) close(w->ours[0]);
        (void) close(w->ours[1]);
        w->ours[0] = w->ours[1] = -1;
    }
    return 0;
}

static void
end(wsgi_wakeup *w, int signalled)
{
    PyObject *type, *value, *trace;
    char      signals[64];
    ssize_t   n;
    int       now;

    if (w->ours[0] < 0) {
        return;
    }
    PyErr_Fetch(&type, &value, &trace);
    now = exchange(w, w->theirs);
    if (now == -2) {
        now = exchange(w, -1);                  /* it was closed meanwhile */
    } else if (now != w->ours[1]) {
        (void) exchange(w, now);                /* a handler has said another */
    }
    PyErr_Clear();
    while ((signalled || w->theirs >= 0) && (n = read(w->ours[0], signals, sizeof signals)) > 0) {
        if (w->theirs >= 0) {
            ssize_t done = write(w->theirs, signals, (size_t) n);

            (void) done;
        }
    }
    PyErr_Restore(type, value, trace);
}

int
wsgi_wait(wsgi_wakeup *w, gw_server *const *s, int ms)
{
    int rc, signalled = 1;

    /* First those of before, while they are written where their handlers have it; from begin() on they are in the pipe. */
    if (PyErr_CheckSignals() < 0 || begin(w) < 0) {
        return -1;
    }
    rc = PyErr_CheckSignals();                  /* of between */
    if (rc == 0 && *s != NULL) {
        struct pollfd fds[2] = {
            { .fd = gw_server_fd(*s), .events = POLLIN },
            { .fd = w->ours[0], .events = POLLIN },     /* -1: none */
        };

        wsgi_away();
        (void) poll(fds, 2, ms);
        wsgi_back();
        signalled = fds[1].revents != 0;
    }
    end(w, signalled);
    return rc == 0 ? PyErr_CheckSignals() : -1;
}

void
wsgi_wakeup_close(wsgi_wakeup *w)
{
    if (w->set != NULL && w->ours[0] >= 0) {
        (void) close(w->ours[0]);
        (void) close(w->ours[1]);
    }
    Py_CLEAR(w->set);
    Py_CLEAR(w->quiet);
}
