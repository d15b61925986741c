/*
 * threads.c - who has the interpreter.
 *
 * The library runs without it: it waits for sockets most of the time.  Each thread that calls the
 * application keeps a thread state of its own, and takes it up for the length of a call.
 */
#include "wsgi.h"

#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>

static _Thread_local PyThreadState *mine;       /* while the interpreter is not ours */
static _Thread_local int            inside;     /* it is ours: nested calls need nothing */
static _Thread_local int            is_librarys;

void
wsgi_stay(void *unused)
{
    (void) unused;
    for (;;) {
        pause();
    }
}

/* What C++ ends its thread_local objects with.  A destructor of pthread_key_create's is too late: CPython finds a
   thread's state by such a key, and that may be gone by then.  musl has none, and keeps the states. */
extern int   __cxa_thread_atexit_impl(void (*end)(void *), void *state, void *library) __attribute__((weak));
extern void *__dso_handle;

/* A thread ends that Python knows from here: its state goes, with what the application has kept in it. */
static void
end_thread(void *state)
{
    if (!Py_IsInitialized()) {
        return;                                 /* it went with the interpreter */
    }
    pthread_cleanup_push(wsgi_stay, NULL);
    PyEval_RestoreThread(state);
    inside = 1;
    wsgi_answer_end();
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    inside = 0;
    mine = NULL;
    pthread_cleanup_pop(0);
}

int
wsgi_enter(void)
{
    if (inside) {
        return 0;
    }
    pthread_cleanup_push(wsgi_stay, NULL);
    if (mine != NULL) {
        PyEval_RestoreThread(mine);
    } else {
        int is_known = PyGILState_GetThisThreadState() != NULL;

        (void) PyGILState_Ensure();             /* the first time in this thread: until that ends */
        mine = PyThreadState_Get();
        is_librarys = !is_known;
        if (!is_known && __cxa_thread_atexit_impl != NULL) {
            (void) __cxa_thread_atexit_impl(end_thread, mine, &__dso_handle);
        }
    }
    pthread_cleanup_pop(0);
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
wsgi_within(void (*call)(void *arg), void *arg)
{
    pthread_cleanup_push(wsgi_stay, NULL);
    int entered = wsgi_enter();

    call(arg);
    wsgi_leave(entered);
    pthread_cleanup_pop(0);
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

int
wsgi_is_librarys(void)
{
    return is_librarys;
}

int
wsgi_ends(void)
{
    PyObject *ask = PySys_GetObject("is_finalizing");       /* by this name in every release, and in abi3 */
    PyObject *type, *value, *trace, *ends;
    int       is;

    if (ask == NULL) {
        return 1;                               /* sys is the last to go */
    }
    PyErr_Fetch(&type, &value, &trace);
    ends = PyObject_CallNoArgs(ask);
    is = ends == Py_True;
    Py_XDECREF(ends);
    PyErr_Restore(type, value, trace);
    return is;
}

static void
drop(void *object)
{
    Py_DECREF((PyObject *) object);
}

void
wsgi_drop(void *object)
{
    wsgi_within(drop, object);
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
