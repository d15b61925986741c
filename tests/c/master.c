/*
 * master.c - an arbiter that is told things on its standard input.
 *
 *     master address [option=value ...]
 *
 * A line is one of
 *
 *     reload [option=value ...]   gw_arbiter_reload, with a new configuration
 *                                 if there is an option
 *     scale N                     gw_arbiter_scale
 *     signal N                    gw_arbiter_signal
 *     boot well|fails|hangs       what workers do that are started from now on
 *     stats                       gw_arbiter_stats
 *     limits                      what was refused, of the same
 *     listeners                   gw_arbiter_listeners
 *     release                     let those go that hang in the application
 *
 * What it answers, and what the hooks of the arbiter hear, is said on standard
 * output; GET /state says what was counted.  The arbiter is turned beside the
 * input.  No thread is made, but for worker_model=exec: there one runs from the
 * first line on and sends signals to all, as the runtime of a language does.
 */
#define _GNU_SOURCE
#include "app.h"
#include "commands.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WELL, FAILS, HANGS };

/* What all processes share. */
struct state {
    atomic_int  boot, master;
    atomic_int  reloads, failures, readies, spawned, exits, forked;
    atomic_int  workers, most, least, silenced, ints, aborts, inside, obeyed, wrong;
};

static struct state  *shared;
static gw_arbiter    *arbiter;
static const char    *address;
static pid_t          master;
static char *volatile kept;              /* what was eaten last */
static int            execs;            /* the workers are started again */

/* ---- a runtime ---- */

static atomic_int  preempted;

static void
preempt(int signo)
{
    (void) signo;
    atomic_fetch_add(&preempted, 1);
}

static void *
schedule(void *main_thread)
{
    for ( ;; ) {
        usleep(1000);
        pthread_kill(*(pthread_t *) main_thread, SIGURG);
    }
    return NULL;
}

static void
start_runtime(void)
{
    static char       room[65536];
    static pthread_t  self;
    stack_t           stack = { .ss_sp = room, .ss_size = sizeof room };
    struct sigaction  act = { .sa_handler = preempt,
                              .sa_flags = SA_ONSTACK | SA_RESTART };
    pthread_t         thread;

    self = pthread_self();
    if (sigaltstack(&stack, NULL) != 0 || sigaction(SIGURG, &act, NULL) != 0
        || pthread_create(&thread, NULL, schedule, &self) != 0)
    {
        exit(2);
    }
}

/* A descriptor of the host's own, which is not closed by an exec. */
static void
share(void)
{
    char         text[20];
    const char  *known = getenv("MASTER_STATE");
    int          fd;

    fd = known != NULL ? atoi(known) : memfd_create("state", 0);
    if (known == NULL && ftruncate(fd, sizeof *shared) != 0) {
        exit(2);
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        exit(2);
    }
    if (known == NULL) {
        snprintf(text, sizeof text, "%d", fd);
        setenv("MASTER_STATE", text, 1);
        shared->master = getpid();
    }
    master = shared->master;
}

/* ---- the application ---- */

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
       gw_body *body)
{
    const char  *path = gw_environ_cstr(env, env->path_info);
    const char  *query = gw_environ_cstr(env, env->query_string);
    gw_response  ok = { .status = 200 };
    char         text[500];
    gw_result    rc;

    snprintf(text, sizeof text, query[0] == '\0' ? "%s %d" : "%s %d %s\n",
             (char *) ctx, (int) getpid(), query);
    if (strcmp(path, "/state") == 0) {
        snprintf(text, sizeof text,
                 "reloads %d failures %d readies %d spawned %d exits %d "
                 "forked %d most %d least %d ints %d aborts %d inside %d "
                 "obeyed %d wrong %d",
                 shared->reloads, shared->failures, shared->readies,
                 shared->spawned, shared->exits, shared->forked, shared->most,
                 shared->least, shared->ints, shared->aborts, shared->inside,
                 shared->obeyed, shared->wrong);

    } else if (strcmp(path, "/who") == 0) {
        /* With a thread for the application: the worker, whatever it is. */
        snprintf(text, sizeof text, "%d", (int) gettid());

    } else if (strcmp(path, "/hang") == 0) {
        atomic_fetch_add(&shared->inside, 1);
        while (shared->silenced == 0) {
            usleep(10000);
        }

    } else if (strncmp(path, "/eat/", 5) == 0) {
        size_t  size = (size_t) atoi(path + 5) << 20;
        char   *food = malloc(size);

        for (size_t i = 0; food != NULL && i < size; i += 4096) {
            food[i] = 1;
        }
        kept = food;

    } else if (strcmp(path, "/slow") == 0) {
        usleep(20000);
    }
    rc = start(sr, &ok, NULL);
    return rc < 0 ? rc : gw_body_copy(env, body, text, strlen(text));
}

static void
drop(void *ctx)
{
    free(ctx);
}

/* ---- the hooks ---- */

static void
say(const char *text)
{
    char  line[600];
    int   n = snprintf(line, sizeof line, "%s\n", text);

    if (write(1, line, (size_t) n) != n) {
        atomic_fetch_add(&shared->wrong, 1);
    }
}

/* All but those of a worker run here, where calls on the arbiter are possible. */
static void
is_arbiter(gw_arbiter *a)
{
    gw_stats  s = GW_INIT(gw_stats);

    if (getpid() != master || a == NULL || a != arbiter
        || gw_arbiter_stats(a, &s) != GW_OK)
    {
        atomic_fetch_add(&shared->wrong, 1);
    }
}

static void
on_starting(void *ctx, gw_arbiter *a)
{
    (void) ctx;
    is_arbiter(a);
    say("on_starting");
}

static void
when_ready(void *ctx, gw_arbiter *a)
{
    (void) ctx;
    is_arbiter(a);
    shared->least = shared->workers;
    say("when_ready");
}

static void
on_reload(void *ctx, gw_arbiter *a)
{
    (void) ctx;
    is_arbiter(a);
    say("on_reload");
}

static void
reloaded(void *ctx, gw_arbiter *a, const gw_error *failure)
{
    char  text[400];

    (void) ctx;
    is_arbiter(a);
    if (failure == NULL) {
        say("reloaded");
        atomic_fetch_add(&shared->reloads, 1);
        return;
    }
    snprintf(text, sizeof text, "reloaded: %s %d %s",
             gw_result_name(failure->code), failure->exit_status,
             failure->message);
    say(text);
    atomic_fetch_add(&shared->failures, 1);
}

static void
on_exit_(void *ctx, gw_arbiter *a)
{
    (void) ctx;
    is_arbiter(a);
    say("on_exit");
}

static void
pre_fork(void *ctx, const gw_worker *w)
{
    (void) ctx;
    atomic_fetch_add(&shared->wrong, getpid() != master || w->pid != 0);
    atomic_fetch_add(&shared->forked, 1);
}

static void
spawned(void *ctx, const gw_worker *w)
{
    int  now;

    (void) ctx;
    atomic_fetch_add(&shared->wrong, getpid() != master || w->server != NULL);
    atomic_fetch_add(&shared->spawned, 1);
    now = atomic_fetch_add(&shared->workers, 1) + 1;
    if (now > shared->most) {
        shared->most = now;
    }
}

static void
worker_ready(void *ctx, const gw_worker *w)
{
    (void) ctx;
    (void) w;
    atomic_fetch_add(&shared->wrong, getpid() != master);
    atomic_fetch_add(&shared->readies, 1);
}

static void
child_exit(void *ctx, const gw_worker *w)
{
    char  text[100];
    int   now;

    (void) ctx;
    atomic_fetch_add(&shared->wrong, getpid() != master);
    snprintf(text, sizeof text, "child_exit %d status %d generation %u cause %u",
             w->pid, w->exit_status, w->generation, w->cause);
    say(text);
    atomic_fetch_add(&shared->exits, 1);
    now = atomic_fetch_sub(&shared->workers, 1) - 1;
    if (now < shared->least) {
        shared->least = now;
    }
}

static void
nworkers_changed(void *ctx, uint32_t now, uint32_t before)
{
    char  text[100];

    (void) ctx;
    snprintf(text, sizeof text, "nworkers_changed %u %u", now, before);
    say(text);
}

static gw_result
post_fork(void *ctx, const gw_worker *w)
{
    (void) ctx;
    return w->pid == getpid() && getpid() != master && !execs ? GW_OK
                                                              : GW_ERR_STATE;
}

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    (void) ctx;
    (void) w;
    if (shared->boot == WELL) {
        return GW_OK;
    }
    while (shared->boot == HANGS) {
        usleep(10000);
    }
    return shared->boot == WELL ? GW_OK : GW_ERR_APP;
}

static void
worker_int(void *ctx, const gw_worker *w)
{
    (void) ctx;
    (void) w;
    atomic_fetch_add(&shared->ints, 1);
}

static void
worker_abort(void *ctx, const gw_worker *w, const gw_request_info *culprit)
{
    (void) ctx;
    atomic_fetch_add(&shared->wrong, w->server != NULL || w->pid != getpid()
                                     || culprit == NULL
                                     || strcmp(culprit->target, "/hang") != 0);
    atomic_fetch_add(&shared->aborts, 1);
}

/* ---- the configuration ---- */

/* Options of its own: name=TEXT, what it answers; app=loop; aborts=1. */
static gw_config *
configured(int n, char *const *options)
{
    gw_app      app = GW_INIT(gw_app);
    gw_hooks    hooks = GW_INIT(gw_hooks);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    const char *name = "first";
    int         i, binds = 0;

    app.call = answer;
    app.drop = drop;
    app.flags = GW_APP_THREADSAFE;
    hooks.on_starting = on_starting;
    hooks.when_ready = when_ready;
    hooks.on_reload = on_reload;
    hooks.reloaded = reloaded;
    hooks.on_exit = on_exit_;
    hooks.pre_fork = pre_fork;
    hooks.spawned = spawned;
    hooks.worker_ready = worker_ready;
    hooks.child_exit = child_exit;
    hooks.nworkers_changed = nworkers_changed;
    hooks.post_fork = post_fork;
    hooks.worker_init = worker_init;
    hooks.worker_int = worker_int;
    for (i = 0; i < n; i++) {
        char      *copy = strdup(options[i]), *value = strchr(copy, '=');
        gw_result  rc = GW_OK;

        if (value == NULL) {
            fprintf(stderr, "%s: no value\n", copy);
            exit(2);
        }
        *value++ = '\0';
        if (strcmp(copy, "name") == 0) {
            name = strchr(options[i], '=') + 1;

        } else if (strcmp(copy, "app") == 0) {
            app.flags |= GW_APP_NONBLOCKING;

        } else if (strcmp(copy, "aborts") == 0) {
            hooks.worker_abort = worker_abort;

        } else {
            binds |= strcmp(copy, "bind") == 0;
            rc = gw_config_set(cfg, copy, value, &err);
        }
        free(copy);
        need(rc, &err);
    }
    if (!binds) {
        need(gw_config_set(cfg, "bind", address, &err), &err);
    }
    app.ctx = strdup(name);
    need(gw_config_app(cfg, &app, &err), &err);
    need(gw_config_hooks(cfg, &hooks, &err), &err);
    return cfg;
}

/* ---- what it is told ---- */

static char   *first[32];               /* the options it was started with */
static int     firsts;

static void
reload(char *options)
{
    char  *all[64], *word;
    int    n = firsts;

    memcpy(all, first, sizeof first);
    for (word = strtok(options, " "); word; word = strtok(NULL, " ")) {
        all[n++] = word;
    }
    say(gw_result_name(gw_arbiter_reload(arbiter, n == firsts ? NULL
                                                      : configured(n, all))));
}

static void
stats(void)
{
    char      text[200];
    gw_stats  s = GW_INIT(gw_stats);

    gw_arbiter_stats(arbiter, &s);
    snprintf(text, sizeof text,
             "stats: workers %u spawned %d exited %d killed %d reloads %d "
             "failed %d failing %d",
             s.workers, (int) s.spawned, (int) s.exited, (int) s.killed,
             (int) s.reloads, (int) s.reloads_failed, (int) s.failing);
    say(text);
}

static void
limits(void)
{
    char      text[100];
    gw_stats  s = GW_INIT(gw_stats);

    gw_arbiter_stats(arbiter, &s);
    snprintf(text, sizeof text, "limits: requests %d connections %d ready %d",
             (int) s.requests_full, (int) s.full, (int) s.ready);
    say(text);
}

static void
listeners(void)
{
    char              text[300];
    gw_listener_info  at = GW_INIT(gw_listener_info);
    uint32_t          cursor = 0;

    while (gw_arbiter_listeners(arbiter, &cursor, &at) == GW_OK) {
        snprintf(text, sizeof text,
                 "listener: %s port %u seat %u backlog %u nodelay %u "
                 "defer_accept %u fastopen %u reuse_port %u rcvbuf %u "
                 "sndbuf %u mode %o",
                 at.address, at.port, at.seat, at.backlog, at.nodelay,
                 at.defer_accept != 0, at.fastopen, at.reuse_port, at.rcvbuf,
                 at.sndbuf, at.mode);
        say(text);
    }
    say("listeners: all");
}

static void
obey(char *line)
{
    char  *rest = strchr(line, ' ');

    rest = rest == NULL ? line + strlen(line) : rest + 1;
    if (strncmp(line, "reload", 6) == 0) {
        reload(rest);

    } else if (strncmp(line, "scale", 5) == 0) {
        say(gw_result_name(gw_arbiter_scale(arbiter, (uint32_t) atoi(rest))));

    } else if (strncmp(line, "signal", 6) == 0) {
        say(gw_result_name(gw_arbiter_signal(arbiter, atoi(rest))));

    } else if (strncmp(line, "boot", 4) == 0) {
        shared->boot = rest[0] == 'w' ? WELL : rest[0] == 'f' ? FAILS : HANGS;

    } else if (strcmp(line, "stats") == 0) {
        stats();

    } else if (strcmp(line, "limits") == 0) {
        limits();

    } else if (strcmp(line, "listeners") == 0) {
        listeners();

    } else if (strcmp(line, "release") == 0) {
        shared->silenced = 1;

    } else {
        fprintf(stderr, "%s: what?\n", line);
        exit(2);
    }
    atomic_fetch_add(&shared->obeyed, 1);
}

int
main(int argc, char **argv)
{
    gw_error   err = GW_INIT(gw_error);
    int64_t    wait_ms = 0;
    int        i, boot = WELL;
    gw_result  rc;

    for (i = 2; i < argc; i++) {
        execs |= strcmp(argv[i], "worker_model=exec") == 0;
    }
    if (execs) {
        start_runtime();
    }
    share();
    address = argv[1];
    for (i = 2; i < argc && firsts < 30; i++) {
        if (strcmp(argv[i], "boot=hangs") == 0) {
            boot = HANGS;

        } else {
            first[firsts++] = argv[i];
        }
    }
    if (gw_is_worker()) {
        /* It knows nothing of statuses: the arbiter is told all the same. */
        if (gw_arbiter_new(configured(firsts, first), &arbiter, NULL)
            != GW_ERR_STATE)
        {
            atomic_fetch_add(&shared->wrong, 1);
        }
        return gw_serve(configured(firsts, first), &err) < 0;
    }
    shared->boot = boot;
    need(gw_arbiter_new(configured(firsts, first), &arbiter, &err), &err);
    rc = gw_arbiter_start(arbiter, &err);
    while (rc == GW_OK) {
        struct pollfd fds[2] = { { gw_arbiter_fd(arbiter), POLLIN, 0 },
                                 { 0, POLLIN, 0 } };

        poll(fds, 2, wait_ms < 0 || wait_ms > 1000 ? 1000 : (int) wait_ms);
        if (fds[1].revents & POLLIN) {
            listen_to(0);
        }
        rc = gw_arbiter_turn(arbiter, &wait_ms);
    }
    if (rc == GW_EOF) {
        rc = gw_arbiter_run(arbiter, &err);
    }
    printf("%s: %s\n", gw_result_name(rc), rc < 0 ? err.message : "");
    gw_arbiter_free(arbiter);
    return rc < 0 ? err.exit_status : 0;
}
