/*
 * again.c - a program that an arbiter starts again, with gw_serve alone.
 *
 *     again address [option=value ...]
 *
 * Options of its own:
 *
 *     runtime=1            threads run from the first line on, and signals come
 *     serve=thread         gw_serve is called in a thread
 *     serve=deaf           the same, and the thread has all signals blocked
 *     check=1              gw_config_check comes before gw_serve
 *     worker:option=value  is set in workers alone
 *     module=path          the application, instead of its own
 *     app=workers          the arbiter has no application
 *     boot=fails           worker_init refuses
 *     status=own           main returns 7 after an error
 *     lingers=file         main does not return while it is there
 *     binds=file           further addresses, which stand there
 *     ready=file           where an arbiter writes its process when it is ready
 *     upgrade=file         gw_arbiter_upgrade when it is ready, if that can be
 *                          removed
 *
 * GET / says which release it is, its process and that of its arbiter; /env
 * what a worker sees of its mark; /fds its descriptors that an exec would leave
 * open; /slow takes a moment.  `again whoami` says gw_is_worker.
 */
#define _GNU_SOURCE
#include "app.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tests write another number over this one. */
static const char  release[] = "release-1";

static char        *args[64];
static int          count, own_status, checks;
static int          was_marked, child_was_worker = -1;
static const char  *boot = "well", *upgrade, *ready, *lingers;

/* ---- a runtime ---- */

static atomic_int  preempted;

static void
preempt(int signo)
{
    (void) signo;
    atomic_fetch_add(&preempted, 1);
}

static void *
schedule(void *self)
{
    for ( ;; ) {
        usleep(1000);
        pthread_kill(*(pthread_t *) self, SIGURG);
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
    sigaltstack(&stack, NULL);
    sigaction(SIGURG, &act, NULL);
    if (pthread_create(&thread, NULL, schedule, &self) == 0) {
        pthread_setname_np(thread, "scheduler");
    }
}

/* ---- the application ---- */

static void
list_fds(char *text, size_t room)
{
    DIR            *dir = opendir("/proc/self/fd");
    struct dirent  *entry;
    size_t          len = 0;

    text[0] = '\0';
    while (dir != NULL && (entry = readdir(dir)) != NULL && len < room) {
        int  fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && !(fcntl(fd, F_GETFD) & FD_CLOEXEC)) {
            len += (size_t) snprintf(text + len, room - len, "%d ", fd);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
       gw_body *body)
{
    const char  *path = gw_environ_cstr(env, env->path_info);
    const char  *query = gw_environ_cstr(env, env->query_string);
    gw_response  ok = { .status = 200 };
    char         text[500];
    gw_result    rc;

    (void) ctx;
    if (strcmp(path, "/env") == 0) {
        snprintf(text, sizeof text, "marked %d now %d child %d worker %d",
                 was_marked, getenv("GATEWAY_WORKER") != NULL,
                 child_was_worker, gw_is_worker());

    } else if (strcmp(path, "/fds") == 0) {
        list_fds(text, sizeof text);

    } else {
        if (strcmp(path, "/slow") == 0) {
            usleep(20000);
        }
        snprintf(text, sizeof text, query[0] == '\0' ? "%s %d %d" : "%s %d %d %s\n",
                 release, (int) getpid(),
                 (int) (gw_is_worker() ? getppid() : getpid()), query);
    }
    rc = start(sr, &ok, NULL);
    return rc < 0 ? rc : gw_body_copy(env, body, text, strlen(text));
}

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    (void) ctx, (void) w;
    return strcmp(boot, "fails") == 0 ? GW_ERR_APP : GW_OK;
}

static void
worker_exit(void *ctx, const gw_worker *w)
{
    (void) ctx, (void) w;
    fprintf(stderr, "worker_exit %d\n", (int) getpid());
}

static void
pre_exec(void *ctx, gw_arbiter *a)
{
    (void) ctx;
    fprintf(stderr, "pre_exec %d\n", a != NULL);
}

static void
when_ready(void *ctx, gw_arbiter *a)
{
    char  line[30];
    int   fd, n;

    (void) ctx;
    if (ready != NULL) {
        n = snprintf(line, sizeof line, "%d\n", (int) getpid());
        fd = open(ready, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, line, (size_t) n) != n) {
            fprintf(stderr, "%s: cannot write\n", ready);
        }
        close(fd);
    }
    if (upgrade != NULL && unlink(upgrade) == 0) {
        fprintf(stderr, "upgrade %s\n", gw_result_name(gw_arbiter_upgrade(a)));
    }
}

/* ---- the configuration ---- */

static void
report(void *err, const gw_error *problem)
{
    *(gw_error *) err = *problem;
}

static void
set(gw_config *cfg, const char *option)
{
    char        name[40] = "";
    gw_error    err = GW_INIT(gw_error);
    const char *value = strchr(option, '=');

    if (value == NULL || value - option >= (long) sizeof name) {
        fprintf(stderr, "%s: what?\n", option);
        exit(2);
    }
    memcpy(name, option, (size_t) (value - option));
    need(gw_config_set(cfg, name, value + 1, &err), &err);
}

static void
bind_too(gw_config *cfg, const char *path)
{
    char      text[200] = "";
    FILE     *file = fopen(path, "r");
    gw_error  err = GW_INIT(gw_error);

    if (file != NULL && fgets(text, sizeof text, file) != NULL) {
        text[strcspn(text, "\n")] = '\0';
        need(gw_config_set(cfg, "bind", text, &err), &err);
    }
    if (file != NULL) {
        fclose(file);
    }
}

static gw_config *
configured(void)
{
    gw_app       app = GW_INIT(gw_app);
    gw_hooks     hooks = GW_INIT(gw_hooks);
    gw_error     err = GW_INIT(gw_error);
    gw_config   *cfg = gw_config_new();
    int          i, module = 0, everywhere = 1;

    hooks.worker_init = worker_init;
    hooks.worker_exit = worker_exit;
    hooks.pre_exec = pre_exec;
    hooks.when_ready = when_ready;
    need(gw_config_hooks(cfg, &hooks, &err), &err);
    for (i = 2; i < count; i++) {
        const char  *it = args[i];

        if (strncmp(it, "worker:", 7) == 0) {
            if (gw_is_worker()) {
                set(cfg, it + 7);
            }

        } else if (strncmp(it, "module=", 7) == 0) {
            module = 1;
            need(gw_config_module(cfg, "/", it + 7, NULL, &err), &err);

        } else if (strncmp(it, "binds=", 6) == 0) {
            bind_too(cfg, it + 6);

        } else if (strncmp(it, "upgrade=", 8) == 0) {
            upgrade = it + 8;

        } else if (strncmp(it, "ready=", 6) == 0) {
            ready = it + 6;

        } else if (strncmp(it, "lingers=", 8) == 0) {
            lingers = it + 8;

        } else if (strncmp(it, "boot=", 5) == 0) {
            boot = it + 5;

        } else if (strcmp(it, "app=workers") == 0) {
            everywhere = 0;

        } else if (strcmp(it, "check=1") == 0) {
            checks = 1;

        } else if (strcmp(it, "status=own") == 0) {
            own_status = 1;

        } else if (strncmp(it, "runtime=", 8) != 0
                   && strncmp(it, "serve=", 6) != 0)
        {
            set(cfg, it);
        }
    }
    need(gw_config_set(cfg, "bind", args[1], &err), &err);
    if (!module && (everywhere || gw_is_worker())) {
        app.call = answer;
        app.flags = GW_APP_THREADSAFE;
        need(gw_config_app(cfg, &app, &err), &err);
    }
    if (checks) {
        need(gw_config_check(cfg, report, &err), &err);
    }
    return cfg;
}

static void *
serve(void *status)
{
    gw_error   err = GW_INIT(gw_error);
    gw_result  rc = gw_serve(configured(), &err);

    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", gw_result_name(rc), err.message);
        *(int *) status = own_status ? 7 : err.exit_status;
    }
    return NULL;
}

static int
ask_child(const char *program)
{
    char   command[600], said[10] = "";
    FILE  *child;

    snprintf(command, sizeof command, "'%s' whoami", program);
    child = popen(command, "r");
    if (child == NULL || fgets(said, sizeof said, child) == NULL) {
        said[0] = '\0';
    }
    if (child != NULL) {
        pclose(child);
    }
    return said[0] == '0' ? 0 : said[0] == '1' ? 1 : -1;
}

int
main(int argc, char **argv)
{
    int        i, status = 0, in_thread = 0, started;
    sigset_t   all, before;
    pthread_t  thread;

    /* As those do that hide what stands there. */
    for (i = 0; i < argc && i < 64; i++) {
        args[i] = strdup(argv[i]);
        count = i + 1;
        if (i > 0) {
            memset(argv[i], 'x', strlen(argv[i]));
        }
    }
    if (count > 1 && strcmp(args[1], "whoami") == 0) {
        printf("%d\n", gw_is_worker());
        return 0;
    }
    for (i = 2; i < count; i++) {
        if (strcmp(args[i], "runtime=1") == 0) {
            start_runtime();
        }
        in_thread |= strcmp(args[i], "serve=thread") == 0;
        in_thread |= 2 * (strcmp(args[i], "serve=deaf") == 0);
    }
    was_marked = getenv("GATEWAY_WORKER") != NULL;
    if (gw_is_worker()) {
        child_was_worker = ask_child(args[0]);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, in_thread == 2 ? &all : NULL, &before);
    started = in_thread && pthread_create(&thread, NULL, serve, &status) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) {
        pthread_join(thread, NULL);

    } else {
        serve(&status);
    }
    while (lingers != NULL && access(lingers, F_OK) == 0) {
        usleep(5000);
    }
    return status;
}
