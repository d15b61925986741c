/*
 * arbiter.c - a host with an arbiter, that is put under load, signalled and
 * told things on its standard input.
 *
 *     arbiter state-file [option=value ...]
 *
 * The file holds the numbers below: all processes of the host map it, and so
 * can whoever drives this program look at them at any time.
 *
 * Options of its own: app=loop, an application that promises not to block;
 * app=none, where loops of the host take the requests; boot=fails; module=PATH:ARGS instead of the application; host=reaps, which
 * waits for all children and tells the arbiter; host=threads, which has a
 * thread of its own before it makes the arbiter; host=loops, whose workers
 * have loops of their own; host=elsewhere, which has them in other threads;
 * host=frugal, whose threads share one heap;
 * host=late, whose workers take their time to begin.
 *
 * A line is one of
 *
 *     reload              gw_arbiter_reload, the same configuration
 *     scale N             gw_arbiter_scale
 *     signal N TIMES      gw_arbiter_signal, in this thread
 *     threads N TIMES     the same, each of four threads so many times, while
 *                         the arbiter is mine (unless it forks)
 *     boot well|fails     what workers do that are started from now on
 *     children            system, popen, and a child that is waited for
 *     trim                gives memory that is not used back to the system, as
 *                         GET /trim does in a worker
 *     open                lets go who waits in /hang or spins in /spin
 *     stop                gw_arbiter_stop
 *
 * At the end it says what is different from before the arbiter was made.
 */
#define _GNU_SOURCE
#include "app.h"
#include "commands.h"

#include "process.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* In this order they are in the file. */
struct state {
    atomic_int  boot, open;             /* what was told */
    atomic_int  obeyed;                 /* lines */
    atomic_int  reloads, failures;
    atomic_int  spawned, readies, exits;
    atomic_int  workers, most;          /* now; the most there were at once */
    atomic_int  ready;                  /* as the arbiter knows */
    atomic_int  serving, least;         /* ready, and not at their end: as the
                                           workers know themselves */
    atomic_int  target;                 /* of nworkers_changed */
    atomic_int  inside;                 /* /hang and /spin */
    atomic_int  ints, reaped, wrong;
    atomic_int  threads;                /* still at work */
    atomic_int  turns;                  /* of loops that are not the library's */
};

static struct state  *shared;
static gw_arbiter    *arbiter;
static pid_t          master;
static int            forks = 1, is_late, has_loop, is_elsewhere, is_deep, has_no_app;

/* Of this thread, while its loop is not the library's. */
static _Thread_local gw_server  *mine;
static _Thread_local int         leaves;

static void
say(const char *text)
{
    char  line[600];
    int   n = snprintf(line, sizeof line, "%s\n", text);

    if (write(1, line, (size_t) n) != n) {
        atomic_fetch_add(&shared->wrong, 1);
    }
}

/* What must be so. */
static void
check(int is_so, const char *what)
{
    if (!is_so) {
        say(what);
        atomic_fetch_add(&shared->wrong, 1);
    }
}

/* ---- the application ---- */

#define BIG 16384

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
       gw_body *body)
{
    const char  *path = gw_environ_cstr(env, env->path_info);
    const char  *query = gw_environ_cstr(env, env->query_string);
    gw_response  ok = { .status = 200 };
    gw_str       all = GW_STR("");
    char        *text;
    size_t       n, more = 0;
    gw_result    rc;

    (void) ctx;
    if (mine != NULL) {
        int64_t  wait_ms;

        check(gw_server_turn(mine, &wait_ms) == GW_ERR_STATE, "a turn in a turn");
    }
    if (strcmp(path, "/leave") == 0) {
        leaves = 1;

    } else if (strcmp(path, "/hang") == 0) {
        atomic_fetch_add(&shared->inside, 1);
        while (!shared->open) {
            usleep(5000);
        }

    } else if (strcmp(path, "/spin") == 0) {
        atomic_fetch_add(&shared->inside, 1);
        while (!shared->open) { }

    } else if (strcmp(path, "/slow") == 0) {
        usleep(20000);

    } else if (strcmp(path, "/trim") == 0) {
        malloc_trim(0);

    } else if (strcmp(path, "/big") == 0) {
        more = BIG;

    } else if (strcmp(path, "/echo") == 0) {
        rc = gw_read_all(env, SIZE_MAX, &all);
        if (rc < 0) {
            return rc;
        }
        more = all.len;
    }
    rc = start(sr, &ok, NULL);
    if (rc < 0) {
        return rc;
    }
    text = gw_environ_alloc(env, 100 + strlen(query) + more);
    if (text == NULL) {
        return GW_ERR_MEMORY;
    }
    n = (size_t) sprintf(text, "arbiter %d %s\n", (int) getpid(), query);
    if (all.len > 0) {
        memcpy(text + n, all.data, all.len);

    } else {
        memset(text + n, 'x', more);
    }
    return gw_body_bytes(body, text, n + more, NULL, NULL);
}

/* ---- the hooks ---- */

static void
reloaded(void *ctx, gw_arbiter *a, const gw_error *failure)
{
    (void) ctx;
    check(getpid() == master && a == arbiter, "reloaded: elsewhere");
    atomic_fetch_add(failure == NULL ? &shared->reloads : &shared->failures, 1);
}

static void
when_ready(void *ctx, gw_arbiter *a)
{
    (void) ctx;
    check(getpid() == master && a == arbiter, "when_ready: elsewhere");
    shared->least = shared->serving;
    say("when_ready");
}

static void
spawned(void *ctx, const gw_worker *w)
{
    char  text[100];
    int   now;

    (void) ctx;
    check(getpid() == master, "spawned: elsewhere");
    atomic_fetch_add(&shared->spawned, 1);
    now = atomic_fetch_add(&shared->workers, 1) + 1;
    if (now > shared->most) {
        shared->most = now;
    }
    snprintf(text, sizeof text, "spawned %u", w->slot);
    say(text);
}

#define SLOTS 4096
static char  is_ready[SLOTS];

static void
worker_ready(void *ctx, const gw_worker *w)
{
    (void) ctx;
    check(getpid() == master, "worker_ready: elsewhere");
    check(w->slot < SLOTS && !is_ready[w->slot], "worker_ready: again");
    is_ready[w->slot] = 1;
    atomic_fetch_add(&shared->ready, 1);
    atomic_fetch_add(&shared->serving, 1);
    atomic_fetch_add(&shared->readies, 1);
}

static void
child_exit(void *ctx, const gw_worker *w)
{
    char  text[100];

    (void) ctx;
    check(getpid() == master, "child_exit: elsewhere");
    atomic_fetch_sub(&shared->workers, 1);
    atomic_fetch_sub(&shared->ready, is_ready[w->slot]);
    is_ready[w->slot] = 0;
    snprintf(text, sizeof text, "exited %u pid %d status %d cause %u",
             w->slot, w->pid, w->exit_status, w->cause);
    say(text);
    atomic_fetch_add(&shared->exits, 1);
}

static void
nworkers_changed(void *ctx, uint32_t now, uint32_t before)
{
    char  text[100];

    (void) ctx;
    shared->target = (int) now;
    snprintf(text, sizeof text, "nworkers_changed %u %u", now, before);
    say(text);
}

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    int64_t  wait_ms;

    (void) ctx;
    check(gw_server_turn(w->server, &wait_ms) == GW_ERR_STATE, "a turn before the loop");
    usleep(is_late ? 200000 : 0);
    return shared->boot == 0 ? GW_OK : GW_ERR_APP;
}

/* There is no application. */
static void
answer_all(void)
{
    static const gw_response  head = { .status = 200 };
    static const gw_chunk     text = { .data = "taken", .len = 5 };
    gw_deferred              *d;
    size_t                    n;

    while (gw_server_take(mine, &d, 1, 0, &n) == GW_OK) {
        check(gw_deferred_reply(d, &head, &text, 1) == GW_OK, "an answer");
    }
}

/* An epoll that watches fd. */
static int
watching(int fd)
{
    struct epoll_event  readable = { .events = EPOLLIN };
    int                 epoll = epoll_create1(EPOLL_CLOEXEC);

    check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &readable) == 0, "an epoll of epolls");
    return epoll;
}

static gw_result
turn_until_end(gw_server *server)
{
    struct pollfd  fd = { .fd = gw_server_fd(server), .events = POLLIN };
    int64_t        wait_ms;
    gw_result      rc;

    if (is_deep) {
        fd.fd = watching(watching(fd.fd));
    }
    mine = server;
    while ((rc = gw_server_turn(mine, &wait_ms)) == GW_OK && !leaves) {
        atomic_fetch_add(&shared->turns, 1);
        if (has_no_app) {
            answer_all();
        }
        (void) poll(&fd, 1, (int) wait_ms);
    }
    check(leaves || rc == GW_EOF, "the end of a loop");
    check(gw_server_turn(mine, &wait_ms) == (leaves ? GW_OK : GW_EOF), "a turn after the end");
    mine = NULL;
    leaves = 0;
    return rc < 0 ? rc : GW_OK;
}

static void *
turn_elsewhere(void *arg)
{
    gw_server  *server = *(gw_server **) arg;

    *(gw_result *) arg = turn_until_end(server);
    return NULL;
}

static gw_result
worker_run(void *ctx, const gw_worker *w)
{
    union { gw_server *server; gw_result rc; } arg = { .server = w->server };
    pthread_t  thread;

    (void) ctx;
    if (!is_elsewhere) {
        return turn_until_end(w->server);
    }
    if (pthread_create(&thread, NULL, turn_elsewhere, &arg) != 0) {
        return GW_ERR_APP;
    }
    pthread_join(thread, NULL);
    return arg.rc;
}

/* It serves no more. */
static void
worker_exit(void *ctx, const gw_worker *w)
{
    int  now = atomic_fetch_sub(&shared->serving, 1) - 1;
    int  least = shared->least;

    (void) ctx;
    (void) w;
    while (now < least
           && !atomic_compare_exchange_weak(&shared->least, &least, now)) { }
}

static void
worker_int(void *ctx, const gw_worker *w)
{
    (void) ctx;
    (void) w;
    atomic_fetch_add(&shared->ints, 1);
}

/* ---- the configuration ---- */

static int  reaps, has_thread;

static gw_config *
configured(int n, char **options)
{
    gw_app      app = GW_INIT(gw_app);
    gw_hooks    hooks = GW_INIT(gw_hooks);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    const char *module = NULL;
    char        path[4096];
    int         i;

    app.call = answer;
    app.flags = GW_APP_THREADSAFE;
    for (i = 0; i < n; i++) {
        char  *key = strdup(options[i]), *value = strchr(key, '=');

        *value++ = '\0';
        if (strcmp(key, "app") == 0) {
            app.flags |= GW_APP_NONBLOCKING;
            has_no_app |= strcmp(value, "none") == 0;

        } else if (strcmp(key, "boot") == 0) {
            shared->boot = 1;

        } else if (strcmp(key, "module") == 0) {
            module = strchr(options[i], '=') + 1;

        } else if (strcmp(key, "host") == 0) {
            reaps |= strcmp(value, "reaps") == 0;
            has_thread |= strcmp(value, "threads") == 0;
            is_late |= strcmp(value, "late") == 0;
            is_elsewhere |= strcmp(value, "elsewhere") == 0;
            is_deep |= strcmp(value, "deep") == 0;
            has_loop |= is_elsewhere || is_deep || strcmp(value, "loops") == 0;
            if (strcmp(value, "frugal") == 0) {
                mallopt(M_ARENA_MAX, 1);
            }

        } else {
            if (strcmp(key, "worker_model") == 0) {
                forks = strcmp(value, "fork") == 0;
            }
            need(gw_config_set(cfg, key, value, &err), &err);
        }
        free(key);
    }
    hooks.when_ready = when_ready;
    hooks.reloaded = reloaded;
    hooks.spawned = spawned;
    hooks.worker_ready = worker_ready;
    hooks.child_exit = child_exit;
    hooks.nworkers_changed = nworkers_changed;
    hooks.worker_init = has_no_app ? NULL : worker_init;
    hooks.worker_exit = worker_exit;
    hooks.worker_int = worker_int;
    hooks.worker_run = has_loop ? worker_run : NULL;
    if (module != NULL) {
        snprintf(path, sizeof path, "%.*s", (int) strcspn(module, ":"), module);
        need(gw_config_module(cfg, "/", path, strchr(module, ':') + 1, &err), &err);

    } else if (!has_no_app) {
        need(gw_config_app(cfg, &app, &err), &err);
    }
    need(gw_config_hooks(cfg, &hooks, &err), &err);
    return cfg;
}

/* ---- what it is told ---- */

/* A host has children of its own. */
static void
children(void)
{
    char   text[20] = "";
    FILE  *pipe;
    pid_t  pid;
    int    status;

    status = system("exit 7");
    check(WIFEXITED(status) && WEXITSTATUS(status) == 7, "system: another status");
    pipe = popen("echo words; exit 5", "r");
    check(pipe != NULL && fgets(text, sizeof text, pipe) != NULL
          && strcmp(text, "words\n") == 0, "popen: another text");
    status = pclose(pipe);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 5, "pclose: another status");
    pid = fork();
    if (pid == 0) {
        raise(SIGKILL);
    }
    check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status)
          && WTERMSIG(status) == SIGKILL, "waitpid: another status");
}

/* A host that owns its children tells the arbiter of all of them. */
static void
reap(void)
{
    int    status;
    pid_t  pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        gw_arbiter_reaped(arbiter, pid, status);
        atomic_fetch_add(&shared->reaped, 1);
    }
}

static int  signo, times, had_threads;

static void *
signals(void *unused)
{
    int  i;

    (void) unused;
    for (i = 0; i < times; i++) {
        check(gw_arbiter_signal(arbiter, signo) == GW_OK, "gw_arbiter_signal");
        usleep(100);
    }
    atomic_fetch_sub(&shared->threads, 1);
    return NULL;
}

static void
from_threads(void)
{
    pthread_t  thread[4];
    int64_t    wait_ms;
    int        i;

    shared->threads = 4;
    had_threads = 1;
    for (i = 0; i < 4; i++) {
        check(pthread_create(&thread[i], NULL, signals, NULL) == 0, "no thread");
    }
    while (!forks && shared->threads > 0) {
        check(gw_arbiter_turn(arbiter, &wait_ms) == GW_OK, "gw_arbiter_turn");
    }
    for (i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
    }
}

static void
obey(char *line)
{
    int  i, n = 0;

    signo = times = 0;
    if (strcmp(line, "reload") == 0) {
        check(gw_arbiter_reload(arbiter, NULL) == GW_OK, "gw_arbiter_reload");

    } else if (sscanf(line, "scale %d", &n) == 1) {
        check(gw_arbiter_scale(arbiter, (uint32_t) n) == GW_OK, "gw_arbiter_scale");

    } else if (sscanf(line, "signal %d %d", &signo, &times) == 2) {
        for (i = 0; i < times; i++) {
            check(gw_arbiter_signal(arbiter, signo) == GW_OK, "gw_arbiter_signal");
        }

    } else if (sscanf(line, "threads %d %d", &signo, &times) == 2) {
        from_threads();

    } else if (strncmp(line, "boot ", 5) == 0) {
        shared->boot = line[5] == 'f';

    } else if (strcmp(line, "children") == 0) {
        children();

    } else if (strcmp(line, "trim") == 0) {
        malloc_trim(0);

    } else if (strcmp(line, "open") == 0) {
        shared->open = 1;

    } else if (strcmp(line, "stop") == 0) {
        gw_arbiter_stop(arbiter, GW_STOP_GRACEFUL);

    } else {
        check(0, line);
    }
    atomic_fetch_add(&shared->obeyed, 1);
}

/* ---- the end ---- */

/* What a host with a runtime has. */
static void *
runtime(void *unused)
{
    for (;;) {
        free(malloc(1000));
        usleep(1000);
    }
    return unused;
}

static gw_result
turned(gw_error *err)
{
    gw_result  rc = gw_arbiter_start(arbiter, err);
    int64_t    wait_ms = 0;
    nfds_t     n = 2;

    while (rc == GW_OK) {
        struct pollfd fds[2] = { { gw_arbiter_fd(arbiter), POLLIN, 0 },
                                 { 0, POLLIN, 0 } };

        poll(fds, n, wait_ms < 0 || (reaps && wait_ms > 50)
                     ? (reaps ? 50 : -1) : (int) wait_ms);
        if (reaps) {
            reap();
        }
        if (n == 2 && (fds[1].revents & POLLIN)) {
            listen_to(0);

        } else if (fds[1].revents) {
            n = 1;
        }
        rc = gw_arbiter_turn(arbiter, &wait_ms);
    }
    /* What it ended with. */
    return rc == GW_EOF ? gw_arbiter_run(arbiter, err) : rc;
}

int
main(int argc, char **argv)
{
    static struct process  was;
    gw_error               err = GW_INIT(gw_error);
    gw_config             *cfg;
    pthread_t              thread;
    gw_result              rc;
    int                    fd = open(argv[1], O_RDWR | O_CLOEXEC);
    int                    is_successor;

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || shared == MAP_FAILED) {
        perror(argv[1]);
        return 2;
    }
    close(fd);
    cfg = configured(argc - 2, argv + 2);
    if (has_thread) {
        check(pthread_create(&thread, NULL, runtime, NULL) == 0, "no thread");
    }
    if (gw_is_worker()) {
        usleep(is_late ? 200000 : 0);
        rc = gw_serve(cfg, &err);
        return rc < 0 ? err.exit_status : 0;
    }
    master = getpid();
    /* In an upgrade it is given things that it had not at the start. */
    is_successor = getenv("GATEWAY_UPGRADE") != NULL;
    look(&was);
    rc = gw_arbiter_new(cfg, &arbiter, &err);
    if (rc == GW_OK) {
        rc = turned(&err);
        gw_arbiter_free(arbiter);
    }
    if (!is_successor) {
        compare(&was, had_threads);
    }
    printf("%s: %s\n", gw_result_name(rc), rc < 0 ? err.message : "");
    return rc < 0 ? err.exit_status : 0;
}
