/*
 * Serves a module: module_host ADDRESS MODULE ARGS [name=value ...]
 *
 *   hooks    the host has hooks, too, which say their names
 *   wrap     a middleware adds a header
 *   away     the process leaves its directory before it loads anything
 *   server   no gw_serve: a gw_server is made, and freed
 *   twice    the same, by two servers at once
 *   arbiter  a gw_arbiter is made and run
 */
#include <gateway.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    (void) ctx, (void) w;
    fprintf(stderr, "host init\n");
    return GW_OK;
}

static void
worker_exit(void *ctx, const gw_worker *w)
{
    (void) ctx, (void) w;
    fprintf(stderr, "host exit\n");
}

static void
pre_request(void *ctx, gw_environ *env)
{
    (void) ctx, (void) env;
    fprintf(stderr, "host request\n");
}

static void
on_access(void *ctx, const gw_access *a)
{
    (void) ctx;
    fprintf(stderr, "host access %d\n", a->status);
}

static void
dropped(void *ctx)
{
    fprintf(stderr, "%s dropped\n", (const char *) ctx);
}

static char host_name[] = "host", wrap_name[] = "wrap";

typedef struct { gw_start_response_fn fn; void *sr; } next_sr;

static gw_result
with_header(void *ctx, const gw_response *head, gw_writer *writer)
{
    static const gw_pair marked[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
        { GW_LIT("X-Wrapped"), GW_LIT("yes") },
    };
    next_sr    *n = ctx;
    gw_response mine = *head;

    mine.headers = marked;
    mine.header_count = 2;
    return n->fn(n->sr, &mine, writer);
}

static gw_result
wrapped(void *ctx, gw_environ *env, gw_start_response_fn start_response,
        void *sr, gw_body *body)
{
    next_sr *n = gw_environ_alloc(env, sizeof *n);

    if (n == NULL) {
        return GW_ERR_MEMORY;
    }
    n->fn = start_response;
    n->sr = sr;
    return gw_app_call(ctx, env, with_header, n, body);
}

static gw_result
wrap(void *ctx, const gw_app *inner, gw_app *outer, gw_error *err)
{
    (void) ctx, (void) err;
    outer->call = wrapped;
    outer->ctx = (void *) inner;
    return GW_OK;
}

static gw_config *
configure(int argc, char **argv, gw_error *err)
{
    gw_config *cfg = gw_config_new();
    gw_result  rc = gw_config_module(cfg, "/", argv[2], argv[3], err);
    int        i;

    for (i = 4; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');

        if (value != NULL) {
            *value = 0;
            rc = gw_config_set(cfg, argv[i], value + 1, err);
            *value = '=';
        } else if (strcmp(argv[i], "hooks") == 0) {
            gw_hooks hooks = GW_INIT(gw_hooks);

            hooks.ctx = host_name;
            hooks.drop = dropped;
            hooks.worker_init = worker_init;
            hooks.worker_exit = worker_exit;
            hooks.pre_request = pre_request;
            hooks.access = on_access;
            rc = gw_config_hooks(cfg, &hooks, err);
        } else if (strcmp(argv[i], "wrap") == 0) {
            rc = gw_config_use(cfg, wrap, wrap_name, dropped, err);
        }
    }
    if (rc < 0) {
        gw_config_free(cfg);
        return NULL;
    }
    return cfg;
}

static int
has(int argc, char **argv, const char *word)
{
    int i;

    for (i = 4; i < argc; i++) {
        if (strcmp(argv[i], word) == 0) {
            return 1;
        }
    }
    return 0;
}

static gw_result
serve(int argc, char **argv, gw_config *cfg, gw_error *err)
{
    gw_server  *servers[2] = { NULL, NULL };
    gw_arbiter *arbiter;
    gw_result   rc;

    if (has(argc, argv, "server") || has(argc, argv, "twice")) {
        rc = gw_server_new(cfg, &servers[0], err);
        if (rc >= 0 && has(argc, argv, "twice")) {
            cfg = configure(argc, argv, err);
            rc = gw_server_new(cfg, &servers[1], err);
        }
        gw_server_free(servers[0]);
        gw_server_free(servers[1]);
        return rc;
    }
    rc = gw_config_set(cfg, "bind", argv[1], err);
    if (rc < 0) {
        gw_config_free(cfg);
        return rc;
    }
    if (!has(argc, argv, "arbiter")) {
        return gw_serve(cfg, err);
    }
    rc = gw_arbiter_new(cfg, &arbiter, err);
    if (rc >= 0) {
        rc = gw_arbiter_run(arbiter, err);
        gw_arbiter_free(arbiter);
    }
    return rc;
}

int
main(int argc, char **argv)
{
    gw_error   err = GW_INIT(gw_error);
    gw_config *cfg = argc > 3 ? configure(argc, argv, &err) : NULL;
    gw_result  rc;

    if (has(argc, argv, "away") && chdir("/") != 0) {
        return 99;
    }
    rc = cfg == NULL ? err.code : serve(argc, argv, cfg, &err);
    if (rc < 0) {
        printf("%s %d: %s\n", gw_result_name(rc), (int) err.os_errno,
               err.message);
        return err.exit_status;
    }
    puts("ended");
    return 0;
}
