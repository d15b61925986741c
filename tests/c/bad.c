/*
 * bad.c - what nobody wishes an application: it never answers, it ignores what
 * write() says, and the system has no more to give.
 *
 *     bad address [option=value ...] [mode=...] [nofile=n] [fsize=octets]
 *
 * mode: `loop`, `serial`, `threads` (an application there), or `take` (threads
 * that take the requests, from the first line of standard input on).  nofile
 * and fsize are limits of the process.  A worker that ends says what it
 * counted.
 */
#define _GNU_SOURCE
#include "app.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static atomic_ulong opened, closed, aborted;
static char         block[256 * 1024];

/* ---- the application ---- */

static gw_result
endless(void *ctx, gw_chunk *out)
{
    (void) ctx;
    out->data = block;
    out->len = sizeof block;
    return GW_OK;
}

static void
end_endless(void *ctx)
{
    (void) ctx;
    atomic_fetch_add(&closed, 1);
}

static void
left(void *ctx, gw_deferred *d)
{
    (void) ctx, (void) d;
    atomic_fetch_add(&aborted, 1);
}

/* Never answers: on a thread it stays, elsewhere nobody uses the handle. */
static gw_result
hang(gw_environ *env)
{
    gw_deferred_events  events = { .size = sizeof events, .aborted = left };
    static gw_deferred *held[16];
    gw_result           rc;
    size_t              n = atomic_fetch_add(&opened, 1) % 16;

    if (env->flags & GW_ENV_MAY_BLOCK) {
        for (;;) {
            pause();
        }
    }
    rc = gw_defer(env, &events, &held[n]);
    return rc < 0 ? rc : GW_DEFERRED;
}

/* Writes 5 MiB, and does not care. */
static gw_result
ignore(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_chunk    piece = { .data = block, .len = sizeof block };
    gw_writer   writer;
    gw_result   rc = start(sr, &ok, &writer);
    int         i;

    (void) env;
    for (i = 0; i < 20 && rc >= 0; i++) {
        (void) writer.write(writer.ctx, &piece);
    }
    atomic_fetch_add(&closed, 1);
    return rc < 0 ? rc : gw_body_bytes(body, "the end", 7, NULL, NULL);
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
    gw_body *body)
{
    char       path[32], text[100];
    gw_str     all;
    gw_result  rc;

    (void) ctx;
    snprintf(path, sizeof path, "%.*s", (int) env->path_info.len,
             env->path_info.data);
    if (strcmp(path, "/hang") == 0) {
        return hang(env);
    }
    if (strcmp(path, "/ignore") == 0) {
        return ignore(env, start, sr, body);
    }
    if (strcmp(path, "/endless") == 0) {
        body->next = endless;
        body->close = end_endless;
        return start(sr, &ok, NULL);
    }
    if (strcmp(path, "/length") == 0) {
        if ((rc = gw_read_all(env, SIZE_MAX, &all)) < 0) {
            return rc;
        }
        snprintf(text, sizeof text, "%zu", all.len);
        return reply_text(env, start, sr, body, text);
    }
    if (strcmp(path, "/counts") == 0) {
        snprintf(text, sizeof text, "opened %lu closed %lu aborted %lu",
                 atomic_load(&opened), atomic_load(&closed),
                 atomic_load(&aborted));
        return reply_text(env, start, sr, body, text);
    }
    return reply_text(env, start, sr, body, "hello");
}

/* ---- workers ---- */

static void *
take(void *arg)
{
    gw_deferred *d;
    size_t       n;

    if (getchar() == EOF) {
        return NULL;
    }
    while (gw_server_take(arg, &d, 1, -1, &n) == GW_OK) {
        gw_chunk text = { .data = "taken", .len = 5 };

        gw_deferred_reply(d, &ok, &text, 1);
    }
    return NULL;
}

static gw_result
begin(void *ctx, const gw_worker *w)
{
    pthread_t taker;

    if (*(int *) ctx && pthread_create(&taker, NULL, take, w->server) != 0) {
        return GW_ERR_IO;
    }
    return *(int *) ctx && pthread_detach(taker) != 0 ? GW_ERR_IO : GW_OK;
}

static void
end(void *ctx, const gw_worker *w)
{
    gw_stats s = GW_INIT(gw_stats);

    (void) ctx;
    if (gw_server_stats(w->server, &s) == GW_OK) {
        printf("accepted %" PRIu64 " requests %" PRIu64 " aborted %" PRIu64
               " timeouts %" PRIu64 " rejected %" PRIu64 " shed %" PRIu64
               " full %" PRIu64 " accept_errors %" PRIu64
               " spool_errors %" PRIu64 " app_errors %" PRIu64
               " limited %" PRIu64 "\n",
               s.accepted, s.requests, s.aborted, s.timeouts, s.rejected,
               s.shed, s.full, s.accept_errors, s.spool_errors, s.app_errors,
               s.limited);
        fflush(stdout);
    }
}

static int
limit(int resource, const char *value)
{
    struct rlimit most;

    if (getrlimit(resource, &most) < 0) {
        return -1;
    }
    most.rlim_cur = (rlim_t) atol(value);
    return setrlimit(resource, &most);
}

int
main(int argc, char **argv)
{
    static int  takes;
    gw_app      self = { .size = sizeof self, .call = app, .name = "bad",
                         .flags = GW_APP_THREADSAFE };
    gw_hooks    hooks = { .size = sizeof hooks, .ctx = &takes,
                          .worker_init = begin, .worker_exit = end };
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_result   rc = gw_config_set(cfg, "bind", argv[1], &err);
    int         i;

    /* A file that is too large is an error of write(2), not the end. */
    signal(SIGXFSZ, SIG_IGN);
    for (i = 2; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');

        *value++ = '\0';
        if (strcmp(argv[i], "mode") == 0) {
            takes = strcmp(value, "take") == 0;
            self.flags |= strcmp(value, "loop") == 0     ? GW_APP_NONBLOCKING
                          : strcmp(value, "serial") == 0 ? GW_APP_SERIAL
                                                         : 0;
        } else if (strcmp(argv[i], "nofile") == 0) {
            rc = limit(RLIMIT_NOFILE, value) < 0 ? GW_ERR_IO : rc;
        } else if (strcmp(argv[i], "fsize") == 0) {
            rc = limit(RLIMIT_FSIZE, value) < 0 ? GW_ERR_IO : rc;
        } else {
            rc = gw_config_set(cfg, argv[i], value, &err);
        }
    }
    if (rc >= 0 && !takes) {
        rc = gw_config_app(cfg, &self, &err);
    }
    if (rc < 0 || (rc = gw_config_hooks(cfg, &hooks, &err)) < 0) {
        gw_config_free(cfg);
    } else {
        rc = gw_serve(cfg, &err);
    }
    if (rc < 0) {
        fprintf(stderr, "bad: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
