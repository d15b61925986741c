/*
 * program.h - what program.c, hooks.c and worker.c share: all that serve() was given besides options.
 */
#ifndef GATEWAY_PYTHON_PROGRAM_H
#define GATEWAY_PYTHON_PROGRAM_H

#include "wsgi.h"

#include <pthread.h>

/* Between these two a hook has the interpreter; its thread stays there when that ends meanwhile. */
#define ENTER(ctx, enter)                       \
    wsgi_program *self = (ctx);                 \
    pthread_cleanup_push(wsgi_stay, NULL);      \
    int entered = (enter)

#define LEAVE                                   \
    wsgi_leave(entered);                        \
    pthread_cleanup_pop(0)

enum {
    ON_STARTING, WHEN_READY, PRE_FORK, SPAWNED, WORKER_READY, CHILD_EXIT, NWORKERS_CHANGED, ON_RELOAD,
    RELOADED, ON_EXIT, PRE_EXEC,                /* from here on in workers */
    POST_FORK, WORKER_INIT, WORKER_INT, WORKER_EXIT, PRE_REQUEST, ACCESS, HOOKS,
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

/* ---- program.c ---- */

/* A worker as a hook is told of it: (pid, slot, generation). */
PyObject *wsgi_of_worker(const gw_worker *w);
/* Calls the hook, if there is one; takes args.  An exception is the arbiter's end, or a line. */
void wsgi_tell(wsgi_program *self, int which, PyObject *args);

/* ---- worker.c: gw_hooks, whose context is the program ---- */

gw_result wsgi_post_fork(void *program, const gw_worker *w);
gw_result wsgi_worker_init(void *program, const gw_worker *w);
/* Where the program has a kind of worker that has a loop of its own. */
gw_result wsgi_worker_run(void *program, const gw_worker *w);
int wsgi_worker_drives(const wsgi_program *program);

#endif
