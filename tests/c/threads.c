/*
 * threads.c - workers that are threads of this process.
 *
 *     threads address [option=value ...]      serve until stopped
 *     threads cycle n                         make and free arbiters, n times
 *
 * Options of its own: app=blocking, unsafe, serial, serial-unsafe, nonblocking;
 * init=refuse; how=serve, run, turn (how the arbiter is driven).
 *
 * At the end it prints what that came to, and what is left: at once, and when
 * the gate is open that /gate waits for.
 */
#define _GNU_SOURCE
#include "loop_client.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static atomic_int       inits, exits, drops, inside, bad_workers;
static gw_arbiter      *arbiter;

static pthread_mutex_t  gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t   opened = PTHREAD_COND_INITIALIZER;
static int              is_open;

static int
entries(const char *path)
{
    DIR  *dir = opendir(path);
    int   n = -2;                       /* . and .. */

    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

static void
open_gate(void)
{
    pthread_mutex_lock(&gate);
    is_open = 1;
    pthread_cond_broadcast(&opened);
    pthread_mutex_unlock(&gate);
}

static void
pass_gate(void)
{
    pthread_mutex_lock(&gate);
    while (!is_open) {
        pthread_cond_wait(&opened, &gate);
    }
    pthread_mutex_unlock(&gate);
}

/* ---- the application ---- */

static void
stats(char *text, size_t room)
{
    gw_stats s = GW_INIT(gw_stats);

    if (gw_arbiter_stats(arbiter, &s) != GW_OK) {
        snprintf(text, room, "no stats");
        return;
    }
    snprintf(text, room,
             "workers %u accepted %llu connections %llu requests %llu "
             "in_flight %llu 2xx %llu received %llu",
             s.workers, (unsigned long long) s.accepted,
             (unsigned long long) s.connections,
             (unsigned long long) s.requests,
             (unsigned long long) s.in_flight,
             (unsigned long long) s.status[2],
             (unsigned long long) s.received);
}

/* The signals that a thread of the library has not blocked. */
static void
unblocked(char *text)
{
    sigset_t  set;
    int       i;

    pthread_sigmask(SIG_BLOCK, NULL, &set);
    for (i = 1; i < 32; i++) {
        if (i != SIGKILL && i != SIGSTOP && !sigismember(&set, i)) {
            text += sprintf(text, " %d", i);
        }
    }
}

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
       gw_body *body)
{
    const char  *path = gw_environ_cstr(env, env->path_info);
    gw_response  ok = { .status = 200 };
    char         text[300] = "hello\n";
    gw_str       all = GW_STR("");
    gw_result    rc;

    (void) ctx;
    if (strcmp(path, "/stats") == 0) {
        stats(text, sizeof text);

    } else if (strcmp(path, "/where") == 0) {
        snprintf(text, sizeof text,
                 "main %d is_worker %d multithread %d multiprocess %d",
                 syscall(SYS_gettid) == getpid(), gw_is_worker(),
                 (env->flags & GW_ENV_MULTITHREAD) != 0,
                 (env->flags & GW_ENV_MULTIPROCESS) != 0);

    } else if (strcmp(path, "/signals") == 0) {
        text[0] = '\0';
        unblocked(text);

    } else if (strcmp(path, "/gate") == 0) {
        atomic_fetch_add(&inside, 1);
        pass_gate();

    } else if (strcmp(path, "/inside") == 0) {
        snprintf(text, sizeof text, "%d", atomic_load(&inside));

    } else if (strcmp(path, "/open") == 0) {
        open_gate();

    } else if (strcmp(path, "/kill") == 0) {
        gw_arbiter_stop(arbiter, GW_STOP_KILL);

    } else if (strcmp(path, "/quick") == 0) {
        gw_arbiter_stop(arbiter, GW_STOP_QUICK);

    } else if (strcmp(path, "/late") == 0) {
        gw_arbiter_stop(arbiter, GW_STOP_QUICK);
        usleep(300000);
        open_gate();

    } else if (strcmp(path, "/echo") == 0) {
        rc = gw_read_all(env, SIZE_MAX, &all);
        if (rc < 0) {
            return rc;
        }
    }
    rc = start(sr, &ok, NULL);
    if (rc < 0) {
        return rc;
    }
    return all.len > 0 ? gw_body_copy(env, body, all.data, all.len)
                       : gw_body_copy(env, body, text, strlen(text));
}

static void
drop(void *ctx)
{
    (void) ctx;
    atomic_fetch_add(&drops, 1);
}

/* ---- the hooks ---- */

static char   *address;
static int     refuses;
static int     forks;                   /* worker_model=fork */
static int     workers_at_most;

static int
is_strange(const gw_worker *w)
{
    int is_process = w->pid == getpid() && gw_is_worker();

    return w->size < sizeof *w || w->slot >= (uint32_t) workers_at_most
           || w->generation != 0 || (forks ? !is_process : w->pid != 0)
           || (!forks && syscall(SYS_gettid) == getpid());
}

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    (void) ctx;
    atomic_fetch_add(&inits, 1);
    if (is_strange(w)) {
        atomic_fetch_add(&bad_workers, 1);
    }
    /* The others shall have time to begin. */
    if (refuses) {
        usleep(w->slot == 0 ? 0 : 50000);
        return w->slot == 0 ? GW_ERR_APP : GW_OK;
    }
    return bad_workers > 0 ? GW_ERR_INVALID : GW_OK;
}

static void
worker_exit(void *ctx, const gw_worker *w)
{
    (void) ctx;
    atomic_fetch_add(&exits, 1);
    if (is_strange(w)) {
        atomic_fetch_add(&bad_workers, 1);
    }
}

static gw_config *
with_options(int n, char **option, const char **how)
{
    gw_app      app = GW_INIT(gw_app);
    gw_hooks    hooks = GW_INIT(gw_hooks);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_result   rc = gw_config_set(cfg, "worker_model", "threads", &err);
    int         i;

    app.call = answer;
    app.drop = drop;
    app.flags = GW_APP_THREADSAFE;
    app.name = "threads";
    workers_at_most = 1000;
    for (i = 0; i < n && rc == GW_OK; i++) {
        char *value = strchr(option[i], '=');

        if (value == NULL) {
            address = option[i];
            rc = gw_config_set(cfg, "bind", address, &err);
            continue;
        }
        *value++ = '\0';
        if (strcmp(option[i], "app") == 0) {
            app.flags = strcmp(value, "unsafe") == 0 ? 0
                : strcmp(value, "serial-unsafe") == 0 ? GW_APP_SERIAL
                : strcmp(value, "serial") == 0
                    ? GW_APP_SERIAL | GW_APP_THREADSAFE
                : strcmp(value, "nonblocking") == 0
                    ? GW_APP_NONBLOCKING | GW_APP_THREADSAFE
                : GW_APP_THREADSAFE;

        } else if (strcmp(option[i], "init") == 0) {
            refuses = 1;

        } else if (strcmp(option[i], "how") == 0) {
            *how = value;

        } else {
            forks |= strcmp(value, "fork") == 0;
            if (strcmp(option[i], "workers") == 0 && atoi(value) > 0) {
                workers_at_most = atoi(value);
            }
            rc = gw_config_set(cfg, option[i], value, &err);
        }
    }
    hooks.worker_init = worker_init;
    hooks.worker_exit = worker_exit;
    if (rc < 0 || (rc = gw_config_app(cfg, &app, &err)) < 0
        || (rc = gw_config_hooks(cfg, &hooks, &err)) < 0)
    {
        need(rc, &err);
    }
    return cfg;
}

/* ---- the ends ---- */

static gw_result
turned(gw_error *err)
{
    gw_result  rc = gw_arbiter_start(arbiter, err);
    int64_t    wait_ms = 0;

    while (rc == GW_OK) {
        struct pollfd fd = { gw_arbiter_fd(arbiter), POLLIN, 0 };

        poll(&fd, 1, (int) wait_ms);
        rc = gw_arbiter_turn(arbiter, &wait_ms);
    }
    /* What it ended with. */
    return rc == GW_EOF ? gw_arbiter_run(arbiter, err) : rc;
}

static gw_result
work(gw_config *cfg, const char *how, gw_error *err)
{
    char       text[300];
    gw_result  rc;

    if (strcmp(how, "serve") == 0) {
        return gw_serve(cfg, err);
    }
    rc = gw_arbiter_new(cfg, &arbiter, err);
    if (rc == GW_OK) {
        rc = strcmp(how, "turn") == 0 ? turned(err)
                                      : gw_arbiter_run(arbiter, err);
        stats(text, sizeof text);
        printf("stats: %s\n", text);
        gw_arbiter_free(arbiter);
    }
    return rc;
}

/* A thread that has ended may linger there for a moment. */
static int
threads_settle(int want)
{
    int i, n = 0;

    for (i = 0; i < 1000 && (n = entries("/proc/self/task")) > want; i++) {
        usleep(10000);
    }
    return n;
}

static void
report(const char *when, int fds)
{
    int fd = connect_to(address);

    if (fd >= 0) {
        printf("listens: somebody does\n");
        close(fd);
    }
    printf("%s: threads %d descriptors %+d inits %d exits %d drops %d bad %d\n",
           when, entries("/proc/self/task"), entries("/proc/self/fd") - fds,
           inits, exits, drops, bad_workers);
}

static int
serve(int argc, char **argv)
{
    const char  *how = "run";
    int          fds = entries("/proc/self/fd");
    gw_error     err = GW_INIT(gw_error);
    gw_config   *cfg = with_options(argc, argv, &how);
    gw_result    rc = work(cfg, how, &err);

    /* Who waits at the gate stays; the others were joined. */
    printf("%s: %s\n", gw_result_name(rc), rc < 0 ? err.message : "");
    threads_settle(1 + atomic_load(&inside) * 2);
    report("then", fds);
    open_gate();
    threads_settle(1);
    report("last", fds);
    return rc < 0 ? err.exit_status : 0;
}

/* Two at once, on one socket each, used and freed in different states. */
static int
cycle(int n)
{
    char      path[2][100];
    int       i, k, fd, threads = 0, fds = 0;
    gw_error  err = GW_INIT(gw_error);

    for (k = 0; k < 2; k++) {
        snprintf(path[k], sizeof path[k], "unix:/tmp/gw-threads-%d-%d",
                 (int) getpid(), k);
    }
    for (i = 0; i < n; i++) {
        gw_arbiter *a[2];

        for (k = 0; k < 2; k++) {
            const char *const  options[] = { "bind", path[k], "workers", "2",
                                             "worker_model", "threads", NULL };
            need(gw_arbiter_new(configured(options), &a[k], &err), &err);
        }
        for (k = 0; k < 2 && i % 5 > 0; k++) {
            need(gw_arbiter_start(a[k], &err), &err);
            fd = connect_at_last(path[k]);
            ask(fd, NULL);
            close(fd);
        }
        for (k = 0; k < 2 && i % 5 > 1; k++) {
            gw_arbiter_stop(a[k], (uint32_t) i % 5 - 2);
            if (gw_arbiter_run(a[k], &err) != GW_OK) {
                need(-1, &err);
            }
        }
        gw_arbiter_free(a[1]);
        gw_arbiter_free(a[0]);
        if (i == 0) {
            threads = entries("/proc/self/task");
            fds = entries("/proc/self/fd");
        }
    }
    printf("threads %+d descriptors %+d\n", threads_settle(threads) - threads,
           entries("/proc/self/fd") - fds);
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "cycle") == 0) {
        return cycle(atoi(argv[2]));
    }
    return serve(argc - 1, argv + 1);
}
