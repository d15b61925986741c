/*
 * A module that says what it was told, or does what its args say: in
 * gw_module_init wrong things, at requests nothing but answer.
 *
 * ANSWER is what / answers.  It is C, and C++.
 */
#include <gateway.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef ANSWER
# define ANSWER "module"
#endif

static char path[512], args[128];
static int  init_pid, inits, worker_at_init;

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start_response,
       void *sr, gw_body *body)
{
    static const gw_pair text[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response head;
    char        line[1024] = ANSWER;
    gw_result   rc;

    (void) ctx;
    memset(&head, 0, sizeof head);
    head.status = 200;
    head.headers = text;
    head.header_count = 1;
    if (env->path_info.len == 5 && !memcmp(env->path_info.data, "/told", 5)) {
        snprintf(line, sizeof line, "%s (%s)", path, args);
    } else if (env->path_info.len == 4
               && !memcmp(env->path_info.data, "/pid", 4)) {
        snprintf(line, sizeof line, "pid %d init %d inits %d worker %d",
                 (int) getpid(), init_pid, inits, worker_at_init);
    }
    rc = start_response(sr, &head, NULL);
    if (rc < 0) {
        return rc;
    }
    return gw_body_copy(env, body, line, strlen(line));
}

/* -- hooks: each says its name, for the order -- */

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    (void) w;
    fprintf(stderr, "%s init\n", (const char *) ctx);
    return strcmp(args, "refuse") == 0 ? GW_ERR_APP : GW_OK;
}

static void
worker_exit(void *ctx, const gw_worker *w)
{
    (void) w;
    fprintf(stderr, "%s exit\n", (const char *) ctx);
}

static void
pre_request(void *ctx, gw_environ *env)
{
    (void) env;
    fprintf(stderr, "%s request\n", (const char *) ctx);
}

static void
on_access(void *ctx, const gw_access *a)
{
    fprintf(stderr, "%s access %d\n", (const char *) ctx, a->status);
}

static void
dropped(void *ctx)
{
    fprintf(stderr, "%s dropped\n", (const char *) ctx);
}

static char     hooks_name[] = "module's hooks", app_name[] = "module's app";
static gw_app   app = GW_INIT(gw_app);
static gw_hooks hooks = GW_INIT(gw_hooks);

static int
is(const char *what)
{
    return strcmp(args, what) == 0;
}

GW_MODULE_DECLARE;
gw_result
gw_module_init(const gw_module_args *told, gw_module *out, gw_error *err)
{
    snprintf(path, sizeof path, "%s", told->path);
    snprintf(args, sizeof args, "%s", told->args);
    init_pid = (int) getpid();
    inits++;
    worker_at_init = gw_is_worker();

    if (told->size != sizeof *told || out->size != sizeof *out
        || err->size != sizeof *err || out->app != NULL)
    {
        return GW_ERR_INVALID;
    }
    if (told->abi != GW_ABI || is("older loader")) {
        snprintf(err->message, sizeof err->message, "too new for this loader");
        return GW_ERR_ABI;
    }
    if (is("fail") || (is("fail in a worker") && gw_is_worker())) {
        snprintf(err->message, sizeof err->message, "no database");
        return GW_ERR_IO;
    }
    if (is("fail silently")) {
        return GW_ERR_APP;
    }
    if (is("later")) {
        return GW_DEFERRED;
    }
    if (is("die")) {
        raise(SIGKILL);
    }
    if (is("leave")) {
        _exit(0);
    }
    out->abi = is("newer") ? GW_ABI + 7 : GW_ABI;
    out->name = "tested";
    out->version = "1.2";
    app.flags = is("no flags") ? 0 : GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    app.call = is("no call") ? NULL : answer;
    app.ctx = app_name;
    if (is("hooks") || is("refuse")) {
        app.drop = dropped;
        hooks.ctx = hooks_name;
        hooks.drop = dropped;
        hooks.worker_init = worker_init;
        hooks.worker_exit = worker_exit;
        hooks.pre_request = pre_request;
        hooks.access = on_access;
        out->hooks = &hooks;
    }
    if (!is("nothing")) {
        out->app = &app;
    }
    return GW_OK;
}
