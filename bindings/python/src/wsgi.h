/*
 * wsgi.h - what the files of the extension share.
 *
 *   compat.h          every CPython from 3.10 on, and the stable ABI
 *   module.c          the module: serve(), and what it is made of
 *   threads.c         who has the interpreter: thread states, forks
 *   failure.c         errors as exceptions, exceptions as lines of the log
 *
 *   answer.c          a request from the call of the application to the close of its iterable
 *   start_response.c  start_response, write, wsgi.early_hints
 *   environ.c         a gw_environ as a dict
 *   input.c           wsgi.input
 *   errors.c          wsgi.errors
 *   file.c            wsgi.file_wrapper
 *
 *   deferred.c        requests that a loop of Python's answers later
 *   request.c         such a request, piece by piece
 *   scope.c           ASGI's scope of it
 *   greenlet.c        WSGI in it, which may wait
 *
 *   program.c         what serve() was given besides options
 *   hooks.c           the hooks and the log of that
 *   worker.c          how a worker loads the application, and what it runs in
 *   reload.c          an arbiter that reads its configuration again
 *   server.c          gateway.Server
 *   wakeup.c          how it waits, also for signals
 */
#ifndef GATEWAY_PYTHON_WSGI_H
#define GATEWAY_PYTHON_WSGI_H

#include "compat.h"
#include <gateway.h>

/* ---- threads.c ---- */

/* The interpreter for this thread, until wsgi_leave: a number that belongs to that. */
int wsgi_enter(void);
void wsgi_leave(int entered);

/* Called by Python: callbacks of the library, in what is called from here, have the interpreter. */
void wsgi_here(void);

/* Around a call of the library's that runs for long, with the interpreter. */
void wsgi_away(void);
void wsgi_back(void);

/* CPython before 3.14 ends a thread that wants the interpreter when that is about to end: by unwinding it, which
   the library's frames below do not take.  With this pushed as its cleanup it stays where it is, as in 3.14.  What is
   pushed has to be a matter of the frame, not a list of the thread's: greenlets of one end in any order. */
void wsgi_stay(void *unused);
#ifndef __EXCEPTIONS
# error "-fexceptions is missing"
#endif

/* A callback of the library's: with the interpreter, and it stays so. */
void wsgi_within(void (*call)(void *arg), void *arg);

/* Whether this thread is none of Python's: one of the library's, for one server. */
int wsgi_is_librarys(void);

/* Whether the interpreter ends: the other threads that want it are never given it again. */
int wsgi_ends(void);

/* Drops a reference, in any thread: a release of the library's. */
void wsgi_drop(void *object);

/* Before a fork, with the interpreter; on both sides of it wsgi_forked() follows, once, before anything
   of Python's: whether there was one. */
void wsgi_before_fork(void);
int wsgi_forked(void);

/* ---- environ.c ---- */

int wsgi_environ_init(void);
/* A new dict, or NULL with an exception. */
PyObject *wsgi_environ(gw_environ *env, PyObject *input);

/* ---- input.c ---- */

int wsgi_input_init(void);
/* For this request; `again`, which may be NULL, is used once more. */
PyObject *wsgi_input(PyObject *again, gw_environ *env);
/* Reads that would wait do so by this Request, in its greenlet. */
void wsgi_input_waits(PyObject *input, PyObject *waiter);
/* The request is over: reads fail from now on. */
void wsgi_input_end(PyObject *input);
/* gateway.client_gone(environ). */
PyObject *wsgi_client_gone(PyObject *module, PyObject *environ);

/* ---- errors.c ---- */

int wsgi_errors_init(void);
/* The object that is wsgi.errors; borrowed. */
PyObject *wsgi_errors(void);
/* The line of it that this thread has not ended. */
void wsgi_errors_flush(void);
/* One of this request alone, until it is over. */
PyObject *wsgi_errors_of(const gw_environ *env);
void wsgi_errors_over(PyObject *errors);
/* Lines of the error log about a request; NULL: the one that this thread is in, else sys.stderr. */
void wsgi_log(const gw_environ *env, const char *text, size_t len);

/* ---- answer.c ---- */

int wsgi_answer_init(void);
/* The thread ends: what it has kept for further requests goes. */
void wsgi_answer_end(void);
/* A gw_app_fn, whose context is the callable. */
gw_result wsgi_call(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body);
/* The request that this thread is in, while application code runs; else NULL. */
const gw_environ *wsgi_current(void);
/* The same in a hook; NULL at its end. */
void wsgi_hooked(const gw_environ *env);

/* ---- start_response.c ---- */

int wsgi_start_response_init(void);
/* wsgi.early_hints; borrowed. */
PyObject *wsgi_early_hints(void);

/* ---- file.c ---- */

int wsgi_file_init(void);
/* wsgi.file_wrapper; borrowed. */
PyObject *wsgi_file_wrapper(void);
/* Whether this is a wrapper whose file can go by its descriptor, which it then does. */
int wsgi_file_body(PyObject *result, gw_body *body);

/* ---- failure.c ---- */

int wsgi_failure_init(PyObject *module);
/* gateway.ClientGone; borrowed. */
PyObject *wsgi_gone(void);
/* NULL, with an exception for what the library said; `head`, which may be NULL, is what it said that
   about. */
PyObject *wsgi_refused(gw_result rc, const char *what, const gw_response *head);
/* The exception that is set, with its traceback, in the log; it is cleared. */
void wsgi_log_exception(const gw_environ *env, const char *where);
/* A KeyboardInterrupt of an application, where wsgi_interruptible is set: for the one who turns. */
extern _Thread_local PyObject *wsgi_interrupt;
extern _Thread_local int       wsgi_interruptible;

/* ---- deferred.c ---- */

int wsgi_deferred_init(PyObject *module);
/* Whether this is a gateway.Deferred: what is to be called with it as its context, then. */
int wsgi_is_deferred(PyObject *app);
gw_result wsgi_deferred_call(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body);

/* ---- request.c ---- */

int wsgi_request_init(PyObject *module);

/* ---- scope.c ---- */

int wsgi_scope_init(void);
/* A new dict, or NULL with an exception. */
PyObject *wsgi_scope(const gw_environ *env);

/* ---- greenlet.c ---- */

int wsgi_greenlet_init(void);
/* The start_response of requests that wait in their greenlet: several are under way in a thread. */
gw_result wsgi_greenlet_start(void *sr, const gw_response *head, gw_writer *writer);
int wsgi_greenlet_environ(void *sr, PyObject *dict);
/* Until there may be more of its body. */
gw_result wsgi_greenlet_wait(PyObject *request);

/* ---- program.c ---- */

/* What serve() was given besides options; a gw_app's context. */
typedef struct wsgi_program wsgi_program;

/* One call of serve(). */
typedef struct {
    gw_arbiter *arbiter;                        /* while there is one */
    PyObject   *failure[3];                     /* what a hook of the arbiter has raised */
} wsgi_run;

/* app, or load: the other is None, and so are hooks, log and worker (gateway/workers) where there are none. */
wsgi_program *wsgi_program_new(PyObject *app, PyObject *load, PyObject *hooks, PyObject *log, PyObject *worker,
                               wsgi_run *run);
wsgi_program *wsgi_program_keep(wsgi_program *program);
void wsgi_program_drop(void *program);
/* What this thread calls from now on; whether it is a thread of that one's server. */
void wsgi_program_here(wsgi_program *program);
int wsgi_program_is_here(const wsgi_program *program);
/* For the one that is collected with it. */
int wsgi_program_traverse(wsgi_program *program, visitproc visit, void *arg);
/* A gw_app_fn, whose context is the program. */
gw_result wsgi_call_program(void *program, gw_environ *env, gw_start_response_fn start, void *sr,
                            gw_body *body);

/* ---- hooks.c ---- */

/* The hooks and the log of a program, and what keeps the interpreter right across forks; 0, or -1 with an
   exception. */
int wsgi_hooks(gw_config *cfg, wsgi_program *program, int level);

/* ---- reload.c ---- */

/* gw_serve, with forked workers, where HUP asks `reload` what to serve from now on; takes cfg. */
gw_result wsgi_supervise(gw_config *cfg, wsgi_run *run, PyObject *reload,
                         gw_config *(*configure)(PyObject *given, wsgi_run *run), gw_error *err);
/* The arbiter has its handlers, and starts: HUP is ours where wsgi_supervise runs. */
void wsgi_catch_hup(void);

/* ---- wakeup.c ---- */

/* What a thread needs to wait; { 0 } at first. */
typedef struct {
    PyObject *set, *quiet;              /* signal.set_wakeup_fd, and the name of what keeps it from warnings */
    int       ours[2];                  /* a pipe; -1: not in this thread */
    int       theirs;                   /* where signals are written while nobody waits; -1: nowhere */
} wsgi_wakeup;

/* Until the server's next turn, for so many milliseconds (-1: for ever), or until a signal has come, whose handler has
   run then, and may have closed that; -1: an exception. */
int wsgi_wait(wsgi_wakeup *w, gw_server *const *s, int ms);
void wsgi_wakeup_close(wsgi_wakeup *w);

/* ---- server.c ---- */

int wsgi_server_init(PyObject *module);
/* A gateway.Server; takes cfg, and a reference to the program that is in it. */
PyObject *wsgi_server(gw_config *cfg, PyObject *app, wsgi_program *program);
/* One of a worker's, which is not closed; until wsgi_server_end. */
PyObject *wsgi_server_of(gw_server *s, PyObject *app);
void wsgi_server_end(PyObject *server);

#endif
