/*
 * threads.c - who has the interpreter.
 *
 * The library runs without it: it waits for sockets most of the time.  Each thread that calls the
 * application keeps a thread state of its own, and takes it up for the length of a call.
 */
#include "wsgi.h"

#include <pthread.h>

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
    PyEval_RestoreThread(mine);
    inside = 1;
}

/* ---- forks: what os.fork() does ---- */

/* Between pre_fork and spawned: a worker that is a thread has the latter only. */
static int forking;

static void
pre_fork(void *ctx, const gw_worker *w)
{
    (void) ctx, (void) w;
    if (forking) {
        PyOS_AfterFork_Parent();                /* the last one has failed */
    }
    (void) wsgi_enter();
    forking = 1;
    PyOS_BeforeFork();
}

static void
spawned(void *ctx, const gw_worker *w)
{
    (void) ctx, (void) w;
    if (forking) {
        forking = 0;
        PyOS_AfterFork_Parent();
        wsgi_leave(1);
    }
}

static gw_result
post_fork(void *ctx, const gw_worker *w)
{
    (void) ctx, (void) w;
    forking = 0;
    PyOS_AfterFork_Child();
    wsgi_leave(1);
    return GW_OK;
}

gw_result
wsgi_hooks(gw_config *cfg, gw_error *err)
{
    gw_hooks hooks = GW_INIT(gw_hooks);

    hooks.pre_fork = pre_fork;
    hooks.spawned = spawned;
    hooks.post_fork = post_fork;
    return gw_config_hooks(cfg, &hooks, err);
}
