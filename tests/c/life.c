/*
 * life.c - a server that says who it is: pid files, systemd, users.
 *
 *     life [option=value ...] [as=serve|arbiter|server|check]
 *          [module=path] [app=none|loop|unsafe] [middleware=1] [subreaper=1]
 *          [run=command]
 *
 * as: gw_serve, which is the preset; gw_arbiter_new and gw_arbiter_run;
 * gw_server_new; or gw_config_check, whose problems go to standard output.
 *
 * GET /who is who the process is, /env the environment that matters here,
 * /hang does not answer, /run runs the command in a shell.
 *
 * With -DMODULE it is a module, and knows which user has loaded it.
 */
#define _GNU_SOURCE
#include "app.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *command = "exit 1";
static int         loaded_by = -1;

static void
who(char *text, size_t room)
{
    gid_t   groups[64];
    int     n = getgroups(64, groups), i, signal = 0;
    mode_t  mask = umask(0);
    size_t  len;

    umask(mask);
    prctl(PR_GET_PDEATHSIG, &signal);
    len = (size_t) snprintf(text, room,
                            "pid %d ppid %d uid %d euid %d gid %d egid %d "
                            "umask %03o pdeathsig %d root %d loaded_by %d groups",
                            (int) getpid(), (int) getppid(), (int) getuid(),
                            (int) geteuid(), (int) getgid(), (int) getegid(),
                            (unsigned) mask, signal,
                            getuid() != 0 && (setuid(0) == 0 || setgid(0) == 0),
                            loaded_by);
    for (i = 0; i < n && len < room; i++) {
        len += (size_t) snprintf(text + len, room - len, " %d", (int) groups[i]);
    }
}

static void
environment(char *text, size_t room)
{
    static const char *const names[] = {
        "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID",
        "LISTEN_FDS", "LISTEN_FDNAMES",
    };
    size_t  i, len = 0;

    text[0] = '\0';
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (getenv(names[i]) != NULL) {
            len += (size_t) snprintf(text + len, room - len, "%s=%s\n", names[i],
                                     getenv(names[i]));
        }
    }
}

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
       gw_body *body)
{
    const char  *path = gw_environ_cstr(env, env->path_info);
    gw_response  ok = { .status = 200 };
    char         text[2000] = "hello";
    gw_result    rc;

    (void) ctx;
    if (strcmp(path, "/who") == 0) {
        who(text, sizeof text);

    } else if (strcmp(path, "/env") == 0) {
        environment(text, sizeof text);

    } else if (strcmp(path, "/run") == 0) {
        snprintf(text, sizeof text, "%d", system(command));

    } else if (strcmp(path, "/hang") == 0) {
        for (;;) {
            pause();
        }
    }
    rc = start(sr, &ok, NULL);
    return rc < 0 ? rc : gw_body_copy(env, body, text, strlen(text));
}

#ifdef MODULE

GW_MODULE_DECLARE;
gw_result
gw_module_init(const gw_module_args *told, gw_module *out, gw_error *err)
{
    static gw_app app = GW_INIT(gw_app);

    (void) told, (void) err;
    loaded_by = (int) geteuid();
    app.call = answer;
    app.flags = GW_APP_THREADSAFE;
    out->abi = GW_ABI;
    out->name = "life";
    out->app = &app;
    return GW_OK;
}

#else

static gw_result
outer(void *ctx, const gw_app *inner, gw_app *made, gw_error *err)
{
    (void) ctx, (void) err;
    *made = *inner;
    return GW_OK;
}

static gw_result
run(gw_config *cfg, gw_error *err)
{
    gw_arbiter *arbiter;
    gw_result   rc = gw_arbiter_new(cfg, &arbiter, err);

    if (rc == GW_OK) {
        rc = gw_arbiter_run(arbiter, err);
        gw_arbiter_free(arbiter);
    }
    return rc;
}

static void
report(void *ctx, const gw_error *problem)
{
    ++*(int *) ctx;
    printf("%s: %s\n", gw_result_name(problem->code), problem->message);
}

/* Twice: nothing of the first time is left. */
static gw_result
check(gw_config *cfg, gw_error *err)
{
    int        first = 0, second = 0;
    gw_result  rc = gw_config_check(cfg, report, &first);

    if (gw_config_check(cfg, report, &second) != rc || first != second
        || gw_config_check(cfg, NULL, NULL) != rc
        || (rc == GW_OK) != (first == 0))
    {
        printf("gw_config_check does not agree with itself\n");
    }
    gw_config_free(cfg);
    snprintf(err->message, sizeof err->message, "%d problems", first);
    err->exit_status = 1;
    return rc;
}

static gw_result
embed(gw_config *cfg, gw_error *err)
{
    gw_server  *server;
    gw_result   rc = gw_server_new(cfg, &server, err);

    if (rc == GW_OK) {
        gw_server_free(server);
    }
    return rc;
}

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    const char *as = "serve", *with = "", *module = NULL;
    gw_result   rc;
    int         i, wrapped = 0;
    static char *volatile names[64];

    app.call = answer;
    app.name = "life";
    app.flags = GW_APP_THREADSAFE;
    for (i = 1; i < argc; i++) {
        /* What the process was started with stays: it may be started again. */
        char  *name = names[i % 64] = strdup(argv[i]);
        char  *value = strchr(name, '=');

        if (value == NULL || i >= 64) {
            fprintf(stderr, "%s: no value, or too many\n", name);
            return 2;
        }
        *value++ = '\0';
        if (strcmp(name, "as") == 0) {
            as = value;

        } else if (strcmp(name, "app") == 0) {
            with = value;

        } else if (strcmp(name, "module") == 0) {
            module = value;

        } else if (strcmp(name, "run") == 0) {
            command = value;

        } else if (strcmp(name, "subreaper") == 0) {
            prctl(PR_SET_CHILD_SUBREAPER, 1);

        } else if (strcmp(name, "middleware") == 0) {
            wrapped = 1;

        } else {
            need(gw_config_set(cfg, name, value, &err), &err);
        }
    }
    if (strcmp(with, "loop") == 0) {
        app.flags |= GW_APP_NONBLOCKING;

    } else if (strcmp(with, "unsafe") == 0) {
        app.flags = 0;
    }
    if (module != NULL) {
        need(gw_config_module(cfg, NULL, module, NULL, &err), &err);

    } else if (strcmp(with, "none") != 0) {
        need(gw_config_app(cfg, &app, &err), &err);
    }
    if (wrapped) {
        need(gw_config_use(cfg, outer, NULL, NULL, &err), &err);
    }
    if (strcmp(as, "arbiter") == 0) {
        rc = run(cfg, &err);

    } else if (strcmp(as, "check") == 0) {
        rc = check(cfg, &err);

    } else if (strcmp(as, "server") == 0) {
        rc = embed(cfg, &err);

    } else {
        rc = gw_serve(cfg, &err);
    }
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", gw_result_name(rc), err.message);
        return err.exit_status;
    }
    return 0;
}

#endif
