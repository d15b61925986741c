/*
 * later.c - every way to answer later.
 *
 *     later address [option=value ...]    an application that defers
 *     later take address [option=value]   no application: threads take
 *     later serve address [option=value]  the same in each worker of gw_serve
 *     later orphan                        a handle outlives its server
 *
 * A request is answered by one of four threads, as its path says; `/counts`
 * tells what happened.
 */
#define _GNU_SOURCE
#include <gateway.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static atomic_ulong taken, given_up, aborted, watched, dropped, released, closed,
    wrong;

static const gw_pair     text_plain = { GW_LIT("Content-Type"),
                                        GW_LIT("text/plain") };
static const gw_response ok = { .status = 200, .headers = &text_plain,
                                .header_count = 1 };

static void
expect(int holds, const char *what)
{
    if (!holds) {
        atomic_fetch_add(&wrong, 1);
        fprintf(stderr, "wrong: %s\n", what);
    }
}

/* -- a request in the hands of a thread; what its events wake -- */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t  changed;
    int             readable, writable, aborted;
    int             users;              /* the thread, the events */
} waiter;

static void
waiter_done(waiter *w)
{
    int left;

    pthread_mutex_lock(&w->lock);
    left = --w->users;
    pthread_mutex_unlock(&w->lock);
    if (left == 0) {
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
        free(w);
    }
}

static void
signalled(waiter *w, int *what)
{
    pthread_mutex_lock(&w->lock);
    *what = 1;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void
on_readable(void *ctx, gw_deferred *d)
{
    waiter *w = ctx;

    (void) d;
    signalled(w, &w->readable);
}

static void
on_writable(void *ctx, gw_deferred *d)
{
    waiter *w = ctx;

    (void) d;
    signalled(w, &w->writable);
}

static void
on_aborted(void *ctx, gw_deferred *d)
{
    waiter *w = ctx;

    (void) d;
    atomic_fetch_add(&aborted, 1);
    signalled(w, &w->aborted);
}

static void
on_drop(void *ctx)
{
    atomic_fetch_add(&dropped, 1);
    waiter_done(ctx);
}

/* 0: the client has left */
static int
wait_for(waiter *w, int *what)
{
    int is_there;

    pthread_mutex_lock(&w->lock);
    while (!*what && !w->aborted) {
        pthread_cond_wait(&w->changed, &w->lock);
    }
    is_there = *what;
    *what = 0;
    pthread_mutex_unlock(&w->lock);
    return is_there;
}

static gw_deferred_events
watch(waiter **out)
{
    waiter *w = calloc(1, sizeof *w);

    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->users = 2;
    atomic_fetch_add(&watched, 1);
    *out = w;
    return (gw_deferred_events) {
        .size = sizeof(gw_deferred_events), .readable = on_readable,
        .writable = on_writable, .aborted = on_aborted, .drop = on_drop,
        .ctx = w,
    };
}

/* -- the ways to answer -- */
static void
release(void *arg)
{
    atomic_fetch_add(&released, 1);
    free(arg);
}

static int
write_all(gw_deferred *d, waiter *w, gw_chunk chunk)
{
    gw_result rc;

    while ((rc = gw_deferred_write(d, &chunk)) == GW_AGAIN) {
        if (!wait_for(w, &w->writable)) {
            if (chunk.release != NULL) {
                chunk.release(chunk.arg);       /* it came back */
            }
            return 0;
        }
    }
    return rc == GW_OK;
}

static long
number(const char *query, const char *name, long preset)
{
    const char *at = strstr(query, name);

    return at == NULL ? preset : strtol(at + strlen(name), NULL, 10);
}

static gw_result
stream(gw_deferred *d, waiter *w, const char *query)
{
    long n = number(query, "n=", 3), size = number(query, "size=", 10);

    for (long i = 0; i < n; i++) {
        char *text = malloc((size_t) size + 1);

        memset(text, 'a' + (int) (i % 26), (size_t) size);
        if (!write_all(d, w, (gw_chunk) { .data = text, .len = (uint64_t) size,
                                          .release = release, .arg = text }))
        {
            return GW_ERR_CLOSED;
        }
    }
    return GW_OK;
}

static gw_result
echo(gw_deferred *d, waiter *w)
{
    char      buf[3000];
    size_t    n;
    gw_result rc;

    for ( ;; ) {
        rc = gw_deferred_read(d, buf, sizeof buf, &n);
        if (rc == GW_EOF) {
            return GW_OK;
        }
        if (rc == GW_AGAIN) {
            if (!wait_for(w, &w->readable)) {
                return GW_ERR_CLOSED;
            }
            continue;
        }
        if (rc < 0) {
            return rc;
        }
        if (!write_all(d, w, (gw_chunk) { .data = buf, .len = n })) {
            return GW_ERR_CLOSED;
        }
    }
}

static void
answer(gw_deferred *d, waiter *w)
{
    const gw_environ *env = gw_deferred_environ(d);
    char              path[64], query[128], text[256];
    gw_result         rc;

    snprintf(path, sizeof path, "%.*s", (int) env->path_info.len,
             env->path_info.data);
    snprintf(query, sizeof query, "%.*s", (int) env->query_string.len,
             env->query_string.data);
    atomic_fetch_add(&given_up, 1);
    if (strcmp(path, "/counts") == 0) {
        int len = snprintf(text, sizeof text,
                           "taken %lu given_up %lu aborted %lu watched %lu dropped "
                           "%lu released %lu closed %lu wrong %lu",
                           taken, given_up, aborted, watched, dropped, released,
                           closed, wrong);

        rc = gw_deferred_reply_flat(d, 200, "Content-Type: text/plain\r\n", 26,
                                    text, (size_t) len);
        expect(rc == GW_OK, "reply_flat");
        return;
    }
    if (strcmp(path, "/reply") == 0) {
        char     *copy = strdup(query);
        gw_chunk  chunks[3] = {
            { .data = "[", .len = 1 },
            { .data = copy, .len = strlen(copy), .release = release, .arg = copy },
            { .data = "]", .len = 1, .flags = GW_CHUNK_LAST },
        };

        rc = gw_deferred_reply(d, &ok, chunks, 3);
        expect(rc == GW_OK || rc == GW_ERR_CLOSED, "reply");
        return;
    }
    if (strcmp(path, "/bad") == 0) {
        rc = gw_deferred_reply_flat(d, 200, "no colon\r\n", 10, "x", 1);
        expect(rc == GW_ERR_PROTOCOL, "a bad header");
        return;
    }
    if (strcmp(path, "/fail") == 0) {
        expect(gw_deferred_end(d, GW_ERR_APP) == GW_OK, "end");
        return;
    }
    rc = gw_deferred_start(d, &ok);
    expect(rc == GW_OK, "start");
    if (rc == GW_OK) {
        rc = strcmp(path, "/echo") == 0 ? echo(d, w) : stream(d, w, query);
    }
    expect(gw_deferred_end(d, rc) == GW_OK, "end");
}

/* -- what the threads are given -- */
typedef struct job {
    struct job  *next;
    gw_deferred *d;
    waiter      *w;
} job;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  is_job = PTHREAD_COND_INITIALIZER;
static job            *first, **last = &first;
static int             is_end;

static void *
work(void *arg)
{
    for ( ;; ) {
        job *j;

        pthread_mutex_lock(&lock);
        while (first == NULL && !is_end) {
            pthread_cond_wait(&is_job, &lock);
        }
        j = first;
        if (j != NULL) {
            first = j->next;
            last = first == NULL ? &first : last;
        }
        pthread_mutex_unlock(&lock);
        if (j == NULL) {
            return arg;
        }
        answer(j->d, j->w);
        waiter_done(j->w);
        free(j);
    }
}

/* -- an iterator that is resumed by a timer, and by itself -- */
typedef struct { gw_deferred *d; long left, waits; } ticker;

static gw_result
tick(void *ctx, gw_chunk *out)
{
    ticker *t = ctx;

    if (t->left == 0) {
        return GW_EOF;
    }
    t->waits = !t->waits;
    if (t->waits) {
        if (t->left % 2) {
            gw_deferred_resume(t->d);
        } else {
            gw_deferred_resume_after(t->d, 1);
        }
        return GW_AGAIN;
    }
    t->left--;
    out->data = "tick ";
    out->len = 5;
    return GW_OK;
}

static void
tick_close(void *ctx)
{
    ticker *t = ctx;

    atomic_fetch_add(&closed, 1);
    expect(gw_deferred_environ(t->d) == NULL, "no environ beside a body");
    expect(gw_deferred_end(t->d, GW_OK) == GW_OK, "end beside a body");
    free(t);
}

static gw_result
ticks(gw_environ *env, gw_start_response_fn start_response, void *sr, gw_body *body)
{
    ticker *t = calloc(1, sizeof *t);
    gw_str  n = { "5", 1 };

    gw_environ_query(env, "n", 1, &n);
    t->left = strtol(gw_environ_cstr(env, n), NULL, 10);
    expect(gw_defer(env, NULL, &t->d) == GW_OK, "defer for a body");
    body->next = tick;
    body->close = tick_close;
    body->ctx = t;
    return start_response(sr, &ok, NULL);
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start_response, void *sr,
    gw_body *body)
{
    gw_deferred_events  events;
    gw_deferred        *d, *other;
    job                *j;

    (void) ctx;
    expect((env->flags & GW_ENV_MAY_DEFER) != 0, "MAY_DEFER");
    if (env->path_info.len == 6 && memcmp(env->path_info.data, "/ticks", 6) == 0) {
        return ticks(env, start_response, sr, body);
    }
    j = calloc(1, sizeof *j);
    events = watch(&j->w);
    if (gw_defer(env, &events, &d) < 0) {
        expect(0, "defer");
        waiter_done(j->w);
        free(j);
        return GW_ERR_APP;
    }
    expect(gw_defer(env, NULL, &other) == GW_ERR_STATE, "one handle");
    atomic_fetch_add(&taken, 1);
    j->d = d;
    pthread_mutex_lock(&lock);
    *last = j;
    last = &j->next;
    pthread_mutex_unlock(&lock);
    pthread_cond_signal(&is_job);
    return GW_DEFERRED;
}

/* -- taking -- */
static gw_server *server;

static void *
take(void *arg)
{
    gw_server   *server = arg;
    gw_deferred *d[8];
    gw_result    rc;
    size_t       n;

    while ((rc = gw_server_take(server, d, 8, 1000, &n)) != GW_EOF) {
        expect(rc == GW_OK ? n > 0 : rc == GW_AGAIN && n == 0, "take");
        for (size_t i = 0; i < n; i++) {
            gw_deferred_events events;
            waiter            *w;

            atomic_fetch_add(&taken, 1);
            events = watch(&w);
            expect(gw_deferred_watch(d[i], &events) == GW_OK, "watch");
            answer(d[i], w);
            waiter_done(w);
        }
    }
    return arg;
}

/* -- taking in the workers of gw_serve -- */
#define WORKERS 8
static pthread_t takers[WORKERS][4];

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    int64_t wait_ms;

    (void) ctx;
    expect(w->server != NULL && w->slot < WORKERS, "a worker's server");
    expect(gw_server_turn(w->server, &wait_ms) == GW_ERR_STATE, "turn in a worker");
    gw_server_free(w->server);              /* is not ours: does nothing */
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&takers[w->slot][i], NULL, take, w->server) != 0) {
            return GW_ERR_APP;
        }
    }
    return GW_OK;
}

static void
worker_exit(void *ctx, const gw_worker *w)
{
    (void) ctx;
    for (int i = 0; i < 4; i++) {
        pthread_join(takers[w->slot][i], NULL);
    }
    expect(watched == dropped || w->pid == 0, "every drop was called");
}

static int
serve(gw_config *cfg, gw_error *err)
{
    gw_hooks hooks = GW_INIT(gw_hooks);

    hooks.worker_init = worker_init;
    hooks.worker_exit = worker_exit;
    if (gw_config_hooks(cfg, &hooks, err) < 0 || gw_serve(cfg, err) < 0) {
        fprintf(stderr, "later: %s\n", err->message);
        return err->exit_status;
    }
    return wrong != 0 || (!gw_is_worker() && watched != dropped) ? 2 : 0;
}

static void
on_signal(int signo)
{
    gw_server_stop(server, signo == SIGTERM ? GW_STOP_GRACEFUL : GW_STOP_QUICK);
}

static int
turn_until_stopped(void)
{
    gw_result rc;
    int64_t   wait_ms;

    while ((rc = gw_server_turn(server, &wait_ms)) == GW_OK) {
        struct pollfd fd = { gw_server_fd(server), POLLIN, 0 };

        poll(&fd, 1, (int) wait_ms);
    }
    return rc == GW_EOF ? 0 : 1;
}

/* -- a handle that outlives its server -- */
static gw_deferred *kept;

static gw_result
keep(void *ctx, gw_environ *env, gw_start_response_fn start_response, void *sr,
     gw_body *body)
{
    (void) ctx, (void) start_response, (void) sr, (void) body;
    return gw_defer(env, NULL, &kept) < 0 ? GW_ERR_APP : GW_DEFERRED;
}

static int
orphan(void)
{
    gw_app     self = { .size = sizeof self, .call = keep,
                        .flags = GW_APP_NONBLOCKING | GW_APP_THREADSAFE };
    gw_config *cfg = gw_config_new();
    int        pair[2];
    int64_t    wait_ms;

    if (gw_config_app(cfg, &self, NULL) < 0 || gw_server_new(cfg, &server, NULL) < 0
        || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0
        || gw_server_adopt(server, pair[0], GW_PROTO_HTTP) < 0
        || write(pair[1], "GET /kept HTTP/1.0\r\n\r\n", 22) != 22)
    {
        return 1;
    }
    while (kept == NULL && gw_server_turn(server, &wait_ms) == GW_OK) {
    }
    gw_server_free(server);
    close(pair[1]);
    expect(memcmp(gw_deferred_environ(kept)->path_info.data, "/kept", 5) == 0,
           "the environ of an orphan");
    expect(gw_deferred_start(kept, &ok) == GW_OK, "start of an orphan");
    expect(gw_deferred_write(kept, &(gw_chunk) { .data = "x", .len = 1 })
           == GW_ERR_CLOSED, "write of an orphan");
    expect(gw_deferred_end(kept, GW_OK) == GW_OK, "end of an orphan");
    return wrong != 0;
}

int
main(int argc, char **argv)
{
    int          serves = argc > 2 && strcmp(argv[1], "serve") == 0;
    int          takes = serves || (argc > 2 && strcmp(argv[1], "take") == 0);
    gw_app       self = { .size = sizeof self, .call = app,
                          .flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING };
    gw_error     err = GW_INIT(gw_error);
    gw_config   *cfg;
    pthread_t    thread[4];
    int          status;

    if (argc == 2 && strcmp(argv[1], "orphan") == 0) {
        return orphan();
    }
    cfg = gw_config_new();
    if ((!takes && gw_config_app(cfg, &self, &err) < 0)
        || gw_config_set(cfg, "bind", argv[1 + takes], &err) < 0)
    {
        goto failed;
    }
    for (int i = 2 + takes; i < argc; i++) {
        char *value = strchr(argv[i], '=');

        *value++ = '\0';
        if (gw_config_set(cfg, argv[i], value, &err) < 0) {
            goto failed;
        }
    }
    if (serves) {
        return serve(cfg, &err);
    }
    if (gw_server_new(cfg, &server, &err) < 0) {
        goto failed;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    for (int i = 0; i < 4; i++) {
        pthread_create(&thread[i], NULL, takes ? take : work, server);
    }
    status = turn_until_stopped();
    pthread_mutex_lock(&lock);
    is_end = 1;
    pthread_cond_broadcast(&is_job);
    pthread_mutex_unlock(&lock);
    if (takes) {
        for (int i = 0; i < 4; i++) {
            pthread_join(thread[i], NULL);
        }
    }
    gw_server_free(server);
    if (!takes) {
        for (int i = 0; i < 4; i++) {
            pthread_join(thread[i], NULL);
        }
    }
    expect(watched == dropped, "every drop was called");
    return wrong != 0 ? 2 : status;
failed:
    fprintf(stderr, "later: %s\n", err.message);
    return err.exit_status;
}
