/*
 * threads.c - who has the interpreter.
 *
 * The library runs without it: it waits for sockets most of the time.  Each thread that calls the
 * application keeps a thread state of its own, and takes it up for the length of a call.
 */
#include "wsgi.h"

#include <sys/types.h>
#include <unistd.h>

static _Thread_local PyThreadState *mine;       /* while the interpreter is not ours */
static _Thread_local int            inside;     /* it is ours: nested calls need nothing */

int
wsgi_enter(void)
{
    if (inside) {
        return 0;
    }
    if (mine != NULL) {
        PyEval_RestoreThread(mine);
    } else {
        (void) PyGILState_Ensure();             /* the first time in this thread: never given back */
        mine = PyThreadState_Get();
    }
    inside = 1;
    return 1;
}

void
wsgi_leave(int entered)
{
    if (entered) {
        inside = 0;
        mine = PyEval_SaveThread();
    }
}

void
wsgi_here(void)
{
    inside = 1;
}

/* What was ours before the library is called goes on to be ours behind that, in whichever state. */
void
wsgi_away(void)
{
    inside = 0;
    mine = PyEval_SaveThread();
}

void
wsgi_back(void)
{
    if (inside) {
        (void) wsgi_forked();                   /* there was no fork after all */
        return;
    }
    PyEval_RestoreThread(mine);
    inside = 1;
}

void
wsgi_drop(void *object)
{
    int entered = wsgi_enter();

    Py_DECREF((PyObject *) object);
    wsgi_leave(entered);
}

/* ---- forks: what os.fork() does ---- */

static pid_t forking;                           /* who is about to fork, or has */

void
wsgi_before_fork(void)
{
    if (forking == getpid()) {
        PyOS_AfterFork_Parent();                /* the last one has failed */
    }
    forking = getpid();
    PyOS_BeforeFork();
}

int
wsgi_forked(void)
{
    if (forking == 0) {
        return 0;
    }
    if (forking == getpid()) {
        forking = 0;
        PyOS_AfterFork_Parent();
    } else {
        forking = 0;
        PyOS_AfterFork_Child();
    }
    return 1;
}
