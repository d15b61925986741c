/*
 * hosted_app.h - an application that a foreign server hosts: every way to answer, as the path says, and what
 * it has counted.
 */
#ifndef HOSTED_APP_H
#define HOSTED_APP_H

#include <gateway.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_ullong opened, closed, made, released, early_close, later, given_up,
    aborted, dropped, calls, in_main;
static pthread_t main_thread;

#define check(holds)                                                          \
    do {                                                                      \
        if (!(holds)) {                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #holds); \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

static void
nap(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

static const gw_pair     text_plain = { GW_LIT("Content-Type"), GW_LIT("text/plain") };
static const gw_response ok = { .status = 200, .headers = &text_plain, .header_count = 1 };

static long
number(gw_environ *env, const char *name, long preset)
{
    gw_str value;

    if (gw_environ_query(env, name, strlen(name), &value) < 0) {
        return preset;
    }
    return strtol(gw_environ_cstr(env, value), NULL, 10);
}

/* An iterator, whose pieces lie in memory of its own until the next one is asked for. */
typedef struct {
    char  *piece;
    size_t size;
    long   left, fail_at;
    char   next;
    int    owned;
} stream;

static void
stream_close(void *ctx)
{
    stream *s = ctx;

    if (atomic_load(&made) != atomic_load(&released)) {
        atomic_fetch_add(&early_close, 1);
    }
    if (s->piece != NULL) {
        memset(s->piece, '?', s->size);
        free(s->piece);
    }
    free(s);
    atomic_fetch_add(&closed, 1);
}

static void
piece_release(void *arg)
{
    memset(arg, '?', 8);
    free(arg);
    atomic_fetch_add(&released, 1);
}

static gw_result
stream_next(void *ctx, gw_chunk *out)
{
    stream *s = ctx;

    if (s->left == 0) {
        return s->fail_at ? GW_ERR_APP : GW_EOF;
    }
    s->left--;
    *out = (gw_chunk) { .len = s->size };
    if (s->owned) {
        out->data = out->arg = malloc(s->size);
        memset(out->arg, s->next, s->size);
        out->release = piece_release;
        atomic_fetch_add(&made, 1);
    } else {
        memset(s->piece, s->next, s->size);
        out->data = s->piece;
    }
    s->next = s->next == 'z' ? 'a' : (char) (s->next + 1);
    return GW_OK;
}

static gw_result
to_stream(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    stream *s = calloc(1, sizeof *s);

    s->size = (size_t) number(env, "size", 1000);
    s->left = number(env, "n", 3);
    s->fail_at = number(env, "fail", 0);
    s->owned = (int) number(env, "owned", 0);
    s->next = 'a';
    s->piece = s->owned ? NULL : malloc(s->size);
    atomic_fetch_add(&opened, 1);
    body->next = stream_next;
    body->close = stream_close;
    body->ctx = s;
    return start(sr, &ok, NULL);
}

static gw_result
to_write(gw_environ *env, gw_start_response_fn start, void *sr)
{
    static char page[100000];
    gw_chunk    chunk = { .data = page, .len = sizeof page };
    gw_writer   writer;
    gw_result   rc = start(sr, &ok, &writer);
    long        n;

    memset(page, 'w', sizeof page);
    for (n = number(env, "n", 3); rc == GW_OK && n > 0; n--) {
        rc = writer.write(writer.ctx, &chunk);
    }
    if (rc < 0) {
        atomic_fetch_add(&aborted, 1);
    }
    return rc;
}

static gw_result
to_sum(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static char  buf[7000];
    char        *mine = gw_environ_alloc(env, sizeof buf);
    size_t       n, total = 0;
    unsigned     sum = 0;
    gw_result    rc;
    char         text[64];

    while ((rc = gw_read(env, mine, sizeof buf, 0, &n)) == GW_OK) {
        for (size_t i = 0; i < n; i++) {
            sum = sum * 31 + (unsigned char) mine[i];
        }
        total += n;
    }
    if (rc != GW_EOF) {
        return rc;
    }
    snprintf(text, sizeof text, "%zu %u", total, sum);
    gw_body_copy(env, body, text, strlen(text));
    return start(sr, &ok, NULL);
}

/* -- a handle that a thread has -- */
typedef struct {
    gw_deferred *d;
    long         ms;
} waiting;

static void
on_aborted(void *ctx, gw_deferred *d)
{
    (void) ctx, (void) d;
    atomic_fetch_add(&aborted, 1);
}

static void
on_drop(void *ctx)
{
    (void) ctx;
    atomic_fetch_add(&dropped, 1);
}

static void *
answer_later(void *arg)
{
    waiting  *w = arg;
    gw_chunk  chunk = { .data = "later\n", .len = 6 };

    nap(w->ms);
    gw_deferred_reply(w->d, &ok, &chunk, 1);
    atomic_fetch_add(&given_up, 1);
    free(w);
    return NULL;
}

static gw_result
to_later(gw_environ *env)
{
    gw_deferred_events events = GW_INIT(gw_deferred_events);
    waiting           *w = malloc(sizeof *w);
    pthread_attr_t     attr;
    pthread_t          thread;

    events.aborted = on_aborted;
    events.drop = on_drop;
    w->ms = number(env, "ms", 1);
    check(gw_defer(env, &events, &w->d) == GW_OK);
    atomic_fetch_add(&later, 1);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    check(pthread_create(&thread, &attr, answer_later, w) == 0);
    pthread_attr_destroy(&attr);
    return GW_DEFERRED;
}

static void
put(char *to, size_t room, gw_environ *env, const char *name)
{
    gw_str value;

    if (gw_environ_get(env, name, strlen(name), &value) < 0) {
        value = GW_STR("-");
    }
    snprintf(to + strlen(to), room - strlen(to), "%s=%.*s\n", name, (int) value.len, value.data);
}

static gw_result
to_environ(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const char *const names[] = {
        "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "CONTENT_TYPE",
        "CONTENT_LENGTH", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "REMOTE_ADDR", "REMOTE_PORT",
        "wsgi.url_scheme", "HTTP_X_ONE", "HTTP_COOKIE", "FASTER", "gateway.forged",
    };
    char text[2000] = "";

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        put(text, sizeof text, env, names[i]);
    }
    snprintf(text + strlen(text), sizeof text - strlen(text), "hosted %d block %d\n",
             (env->flags & GW_ENV_HOSTED) != 0, (env->flags & GW_ENV_MAY_BLOCK) != 0);
    gw_body_copy(env, body, text, strlen(text));
    return start(sr, &ok, NULL);
}

static gw_result
to_file(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);

    check(fd >= 0 && ftruncate(fd, 50000) == 0 && pwrite(fd, "file", 4, 49996) == 4);
    (void) env;
    check(gw_body_file(body, fd, 20000, UINT64_MAX, GW_FILE_CLOSE, NULL, NULL) == GW_OK);
    return start(sr, &ok, NULL);
}

static int
is(gw_environ *env, const char *path)
{
    return env->path_info.len == strlen(path) && memcmp(env->path_info.data, path, strlen(path)) == 0;
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const gw_pair ten = { GW_LIT("Content-Length"), GW_LIT("10") };
    static const gw_pair link = { GW_LIT("Link"), GW_LIT("</a.css>") };
    gw_response          head = ok;
    gw_chunk             hello = { .data = "hello\n", .len = 6 };

    (void) ctx;
    atomic_fetch_add(&calls, 1);
    atomic_fetch_add(&in_main, (unsigned long long) pthread_equal(pthread_self(), main_thread));
    if (is(env, "/stream")) {
        return to_stream(env, start, sr, body);
    } else if (is(env, "/write")) {
        return to_write(env, start, sr);
    } else if (is(env, "/sum")) {
        return to_sum(env, start, sr, body);
    } else if (is(env, "/later")) {
        return to_later(env);
    } else if (is(env, "/environ")) {
        return to_environ(env, start, sr, body);
    } else if (is(env, "/file")) {
        return to_file(env, start, sr, body);
    } else if (is(env, "/fail")) {
        return gw_fail(env, "on purpose", 10);
    } else if (is(env, "/short")) {
        head.headers = &ten;
        return gw_reply(start, sr, body, &head, &hello);
    } else if (is(env, "/early")) {
        gw_response hint = { .status = 103, .headers = &link, .header_count = 1 };

        for (int n = 0; n < 2; n++) {
            gw_result rc = start(sr, &hint, NULL);

            check(rc == GW_OK || (rc == GW_ERR_CLOSED && gw_environ_gone(env)));
        }
    } else if (is(env, "/status")) {
        head.status = (uint16_t) number(env, "code", 204);
    } else if (is(env, "/sleep")) {
        nap(number(env, "ms", 20));
    } else if (is(env, "/hang")) {
        while (!gw_environ_gone(env)) {
            nap(1);
        }
        atomic_fetch_add(&aborted, 1);
    }
    return gw_reply(start, sr, body, &head, &hello);
}

#endif
