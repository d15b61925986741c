/*
 * flight.c - an arbiter whose workers have requests that take long, or do not
 * end; it is told things on its standard input.
 *
 *     flight address [option=value ...]       app=threads|loop|serial|taken
 *
 * A line is one of
 *
 *     requests 0|1 FILE   gw_arbiter_requests, into FILE
 *     cap N FILE          the same with room for N
 *     release             what hangs may go on
 *     stats               gw_arbiter_stats, on standard output
 */
#define _GNU_SOURCE
#include "app.h"
#include "commands.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What all processes share. */
struct state {
    atomic_int  inside, released, aborted, ended, closed, refused, wrong;
    atomic_int  aborts, exits;
    char        culprit[400], culprit_id[40];
};

static struct state  *shared;
static gw_arbiter    *arbiter;

/* ---- the application ---- */

static void
hang(void)
{
    atomic_fetch_add(&shared->inside, 1);
    while (shared->released == 0) {
        usleep(2000);
    }
}

static void
aborted(void *ctx, gw_deferred *d)
{
    (void) ctx;
    atomic_fetch_add(&shared->aborted, 1);
    if (gw_deferred_end(d, GW_ERR_CLOSED) != GW_OK) {
        atomic_fetch_add(&shared->wrong, 1);
    }
}

/* A body whose octets come for ever, or not at all. */
static gw_result
drip(void *ctx, gw_chunk *out)
{
    (void) ctx;
    usleep(5000);
    out->data = "drip\n";
    out->len = 5;
    return GW_OK;
}

/* The same, slowly. */
static gw_result
trickle(void *ctx, gw_chunk *out)
{
    usleep(45000);
    return drip(ctx, out);
}

static gw_result
never(void *ctx, gw_chunk *out)
{
    (void) ctx;
    (void) out;
    hang();
    return GW_EOF;
}

static void
close_body(void *ctx)
{
    (void) ctx;
    atomic_fetch_add(&shared->closed, 1);
}

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
       gw_body *body)
{
    static const gw_pair  link[] = { { GW_LIT("Link"), GW_LIT("</x>") } };
    const gw_response     hint = { .status = 103, .headers = link,
                                   .header_count = 1 };
    const gw_response     ok = { .status = 200 };
    const char           *path = gw_environ_cstr(env, env->path_info);
    char                  text[600];
    gw_writer             writer;
    gw_result             rc;

    (void) ctx;
    snprintf(text, sizeof text, "%d", (int) getpid());
    if (strcmp(path, "/state") == 0) {
        snprintf(text, sizeof text,
                 "inside %d aborted %d ended %d closed %d refused %d aborts %d "
                 "exits %d wrong %d culprit %s id %s",
                 shared->inside, shared->aborted, shared->ended, shared->closed,
                 shared->refused, shared->aborts, shared->exits, shared->wrong,
                 shared->culprit, shared->culprit_id);

    } else if (strcmp(path, "/hang") == 0) {
        hang();

    } else if (strcmp(path, "/hint") == 0) {
        start(sr, &hint, NULL);
        hang();

    } else if (strcmp(path, "/write") == 0) {
        /* It answers, too late: nobody hears it. */
        hang();
        rc = start(sr, &ok, &writer);
        if (rc == GW_OK) {
            gw_chunk  chunk = { .data = "late", .len = 4 };

            rc = writer.write(writer.ctx, &chunk);
        }
        atomic_fetch_add(&shared->refused, rc == GW_ERR_CLOSED);
        atomic_fetch_add(&shared->ended, 1);
        return rc;

    } else if (strcmp(path, "/early") == 0) {
        /* It has begun to answer, and hangs then. */
        rc = start(sr, &ok, &writer);
        if (rc == GW_OK) {
            gw_chunk  chunk = { .data = "early", .len = 5 };

            rc = writer.write(writer.ctx, &chunk);
        }
        hang();
        return rc;

    } else if (strcmp(path, "/read") == 0) {
        char    octet;
        size_t  n;

        atomic_fetch_add(&shared->inside, 1);
        rc = gw_read(env, &octet, 1, 0, &n);
        atomic_fetch_add(&shared->refused, rc < 0);
        atomic_fetch_add(&shared->ended, 1);
        return rc < 0 ? rc : GW_ERR_APP;

    } else if (strcmp(path, "/slow") == 0) {
        usleep(30000);

    } else if (strcmp(path, "/later") == 0 || strcmp(path, "/late") == 0) {
        static const gw_deferred_events  events = {
            .size = sizeof events, .aborted = aborted,
        };
        gw_deferred                     *d;

        atomic_fetch_add(&shared->inside, 1);
        rc = gw_defer(env, &events, &d);
        if (strcmp(path, "/late") == 0) {
            hang();
        }
        return rc < 0 ? rc : GW_DEFERRED;

    } else if (strcmp(path, "/held") == 0) {
        /* Its handle is not given up, and not lost either. */
        static gw_deferred  *held;

        rc = gw_defer(env, NULL, &held);
        return rc < 0 ? rc : GW_DEFERRED;

    } else if (strcmp(path, "/trickle") == 0) {
        body->next = trickle;
        return start(sr, &ok, NULL);

    } else if (strcmp(path, "/drip") == 0 || strcmp(path, "/never") == 0) {
        body->next = path[1] == 'd' ? drip : never;
        body->close = close_body;
        return start(sr, &ok, NULL);
    }
    rc = start(sr, &ok, NULL);
    return rc < 0 ? rc : gw_body_copy(env, body, text, strlen(text));
}

/* ---- hooks ---- */

static void
worker_abort(void *ctx, const gw_worker *w, const gw_request_info *culprit)
{
    (void) ctx;
    atomic_fetch_add(&shared->aborts, 1);
    if (culprit == NULL) {
        strcpy(shared->culprit, "none");
        return;
    }
    atomic_fetch_add(&shared->wrong, culprit->size != sizeof *culprit
                                     || culprit->pid != w->pid
                                     || culprit->worker != w->slot);
    strcpy(shared->culprit, culprit->target);
    strcpy(shared->culprit_id, culprit->id);
}

static void
child_exit(void *ctx, const gw_worker *w)
{
    (void) ctx;
    (void) w;
    atomic_fetch_add(&shared->exits, 1);
}

/* ---- the arbiter ---- */

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    (void) ctx;
    (void) w;
    return GW_OK;
}

static gw_config *
configured(const char *address, int n, char **options)
{
    gw_app      app = GW_INIT(gw_app);
    gw_hooks    hooks = GW_INIT(gw_hooks);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    int         i, taken = 0;

    app.call = answer;
    app.flags = GW_APP_THREADSAFE;
    hooks.worker_abort = worker_abort;
    hooks.child_exit = child_exit;
    hooks.worker_init = worker_init;
    for (i = 0; i < n; i++) {
        /* A worker that is started again has the same arguments. */
        char      *name = strdup(options[i]), *value = strchr(name, '=');
        gw_result  rc = GW_OK;

        *value++ = '\0';
        if (strcmp(name, "app") != 0) {
            rc = gw_config_set(cfg, name, value, &err);

        } else if (value[0] == 'l') {
            app.flags |= GW_APP_NONBLOCKING;

        } else if (value[0] == 's') {
            app.flags |= GW_APP_SERIAL;

        } else {
            taken = value[1] == 'a';
        }
        free(name);
        need(rc, &err);
    }
    need(gw_config_set(cfg, "bind", address, &err), &err);
    if (!taken) {
        need(gw_config_app(cfg, &app, &err), &err);
    }
    need(gw_config_hooks(cfg, &hooks, &err), &err);
    return cfg;
}

static void
requests(uint32_t recorder, size_t cap, const char *path)
{
    static gw_request_info  all[4000];
    char                    fresh[600];
    size_t                  i, n = 12345;
    gw_result               rc;
    FILE                   *out;

    all[0].size = sizeof all[0];
    rc = gw_arbiter_requests(arbiter, recorder, all, cap, &n);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    out = fopen(fresh, "w");
    fprintf(out, "%s %zu\n", gw_result_name(rc), n);
    for (i = 0; rc >= 0 && i < n; i++) {
        gw_request_info  *r = &all[i];

        fprintf(out, "worker %u pid %d generation %u thread %u phase %u "
                     "status %u ms %u took %u %s %s id %s peer %s\n",
                r->worker, r->pid, r->generation, r->thread, r->phase, r->status,
                (unsigned) (r->age_ns / 1000000), r->took_ns > 0,
                r->method, r->target, r->id, r->peer);
    }
    fclose(out);
    rename(fresh, path);
}

static void
obey(char *line)
{
    gw_stats  s = GW_INIT(gw_stats);

    if (strncmp(line, "requests ", 9) == 0) {
        requests((uint32_t) atoi(line + 9), 4000, line + 11);

    } else if (strncmp(line, "cap ", 4) == 0) {
        requests(0, (size_t) atoi(line + 4), line + 6);

    } else if (strcmp(line, "release") == 0) {
        shared->released = 1;

    } else if (strcmp(line, "stats") == 0) {
        gw_arbiter_stats(arbiter, &s);
        printf("timeouts %d unrecorded %d spawned %d killed %d errors %d 5xx %d\n",
               (int) s.request_timeouts, (int) s.unrecorded, (int) s.spawned,
               (int) s.killed, (int) s.app_errors, (int) s.status[5]);
        fflush(stdout);
    }
}

int
main(int argc, char **argv)
{
    gw_error   err = GW_INIT(gw_error);
    int64_t    wait_ms = 0;
    gw_result  rc;

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (gw_is_worker()) {
        /* Started again (worker_model=exec): what is shared is its own. */
        rc = gw_serve(configured(argv[1], argc - 2, argv + 2), &err);
        return rc < 0 ? err.exit_status : 0;
    }
    need(gw_arbiter_new(configured(argv[1], argc - 2, argv + 2), &arbiter, &err),
         &err);
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
