/*
 * nginx_app.c - an application, as a module, for what tests/c/suite.c has not: requests that wait until
 * /release, answers that know how far their client is, and the two ways to read a body while it comes.
 *
 * Its arguments: `blocks`, it runs on threads; `serial`, GW_APP_SERIAL; a path, of a file that must not be
 * there; anything else only makes it another.
 */
#define _POSIX_C_SOURCE 200809L
#include "app.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static atomic_ullong called, waiting, gone, aborted, dropped, opened, closed, made, octets;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static int             is_open;
static int             blocks;

static int
is(gw_environ *env, const char *path)
{
    size_t n = strlen(path);

    return env->path_info.len == n && memcmp(env->path_info.data, path, n) == 0;
}

static int
released(void)
{
    int it;

    pthread_mutex_lock(&gate);
    it = is_open;
    pthread_mutex_unlock(&gate);
    return it;
}

static void
moment(void)
{
    struct timespec t = { 0, 1000 * 1000 };

    (void) nanosleep(&t, NULL);
}

/* Until /release, or until the client has left. */
static void
wait_here(gw_environ *env)
{
    atomic_fetch_add(&waiting, 1);
    while (!released()) {
        if (gw_environ_gone(env)) {
            atomic_fetch_add(&gone, 1);
            break;
        }
        moment();
    }
    atomic_fetch_sub(&waiting, 1);
}

/* ---- the same without a thread: another one answers, or wakes the iterator ---- */

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

static const gw_deferred_events events = {
    .size = sizeof events, .aborted = on_aborted, .drop = on_drop,
};

static void *
answer_when_released(void *arg)
{
    gw_chunk chunk = { .data = "released\n", .len = 9 };

    while (!released()) {
        moment();
    }
    atomic_fetch_sub(&waiting, 1);
    (void) gw_deferred_reply(arg, &ok, &chunk, 1);
    return NULL;
}

static gw_result
later(gw_environ *env)
{
    pthread_t     thread;
    gw_deferred  *d;
    gw_result     rc = gw_defer(env, &events, &d);

    if (rc < 0) {
        return rc;
    }
    atomic_fetch_add(&waiting, 1);
    if (pthread_create(&thread, NULL, answer_when_released, d) != 0) {
        return GW_ERR_MEMORY;
    }
    (void) pthread_detach(thread);
    return GW_DEFERRED;
}

/* ---- streams ---- */

typedef struct {
    gw_environ   *env;
    gw_deferred  *handle;
    long long     n, size, pause_at, spins;
    char          c;
    char         *data;
    unsigned long long count;
} stream;

static void
end_stream(void *ctx)
{
    stream *s = ctx;

    if (s->handle != NULL) {
        (void) gw_deferred_end(s->handle, GW_OK);
    }
    free(s->data);
    free(s);
    atomic_fetch_add(&closed, 1);
}

static stream *
new_stream(gw_environ *env, gw_body *body, gw_result (*next)(void *, gw_chunk *), long long size)
{
    stream *s = calloc(1, sizeof *s);

    s->env = env;
    s->size = size;
    s->c = 'a';
    s->data = malloc((size_t) size);
    s->pause_at = -1;
    body->next = next;
    body->close = end_stream;
    body->ctx = s;
    atomic_fetch_add(&opened, 1);
    return s;
}

static gw_result
next_chunk(void *ctx, gw_chunk *out)
{
    stream *s = ctx;

    if (s->n == 0) {
        return GW_EOF;
    }
    if (s->n == s->pause_at && !released()) {
        if (blocks) {
            wait_here(s->env);
        } else {
            (void) (s->spins ? gw_deferred_resume(s->handle)
                             : gw_deferred_resume_after(s->handle, 2));
            return GW_AGAIN;
        }
    }
    s->n--;
    memset(s->data, s->c, (size_t) s->size);
    s->c = s->c == 'z' ? 'a' : (char) (s->c + 1);
    out->data = s->data;
    out->len = (uint64_t) s->size;
    atomic_fetch_add(&made, 1);
    return GW_OK;
}

/* n chunks of `size`; before the last `after` it waits for /release, with spin=1 without any rest */
static gw_result
chunks(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    stream *s = new_stream(env, body, next_chunk, number(env, "size", 10));

    s->n = number(env, "n", 10);
    s->pause_at = number(env, "after", -1);
    s->spins = number(env, "spin", 0);
    if (s->pause_at >= 0 && !blocks && gw_defer(env, &events, &s->handle) < 0) {
        return GW_ERR_MEMORY;
    }
    return start(sr, &ok, NULL);
}

static gw_result
next_of_upload(void *ctx, gw_chunk *out)
{
    stream     *s = ctx;
    size_t      n;
    gw_result   rc = GW_EOF;

    if (s->n == 0) {
        return GW_EOF;
    }
    if (s->handle != NULL && !released()) {
        (void) gw_deferred_resume_after(s->handle, 2);
        return GW_AGAIN;
    }
    while ((rc = gw_read(s->env, s->data, 1000, blocks ? 0 : GW_NOWAIT, &n)) == GW_OK) {
        s->count += n;
        atomic_fetch_add(&octets, n);
    }
    if (rc != GW_EOF) {
        return rc;
    }
    s->n = 0;
    out->data = s->data;
    out->len = (uint64_t) snprintf(s->data, 1000, "read %llu\n", s->count);
    return GW_OK;
}

/* Reads the body as it comes; hold=1: from /release on. */
static gw_result
upload(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    stream *s = new_stream(env, body, next_of_upload, 1000);

    s->n = 1;
    if (number(env, "hold", 0)) {
        if (blocks) {
            wait_here(env);
        } else if (gw_defer(env, &events, &s->handle) < 0) {
            return GW_ERR_MEMORY;
        }
    }
    return start(sr, &ok, NULL);
}

/* ---- heads ---- */

/* code, and `name` with `value` as one more header; the rest is as files have it */
static gw_result
head(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_str       name, value;
    gw_pair      headers[5] = {
        pair("Content-Type", "text/html"), pair("Set-Cookie", "a=1"),
        pair("Content-Disposition", "attachment; filename=\"it\""), pair("X-Own", "yes"),
    };
    gw_response  it = { .status = (uint16_t) number(env, "code", 200), .headers = headers,
                        .header_count = 4 };
    gw_chunk     page = { .data = "of the application\n", .len = 19 };

    if (gw_environ_query(env, "name", 4, &name) == GW_OK
        && gw_environ_query(env, "value", 5, &value) == GW_OK)
    {
        headers[4].name = name;
        headers[4].value = value;
        it.header_count = 5;
    }
    return gw_reply(start, sr, body, &it, &page);
}

/* The variables that it is asked for: q=A,B,C */
static gw_result
vars(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char    text[4000] = "", names[500], *at, *name;
    gw_str  value;

    if (gw_environ_query(env, "q", 1, &value) < 0) {
        return GW_ERR_APP;
    }
    snprintf(names, sizeof names, "%.*s", (int) value.len, value.data);
    for (name = strtok_r(names, ",", &at); name != NULL; name = strtok_r(NULL, ",", &at)) {
        size_t n = strlen(text);

        if (gw_environ_get(env, name, strlen(name), &value) < 0) {
            snprintf(text + n, sizeof text - n, "%s-\n", name);
        } else {
            snprintf(text + n, sizeof text - n, "%s=%.*s\n", name, (int) value.len, value.data);
        }
    }
    return reply_text(env, start, sr, body, text);
}

static gw_result
counts(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body, long instance)
{
    char text[400];

    snprintf(text, sizeof text,
             "called %llu waiting %llu gone %llu aborted %llu dropped %llu open %llu made %llu "
             "octets %llu instance %ld ",
             atomic_load(&called), atomic_load(&waiting), atomic_load(&gone),
             atomic_load(&aborted), atomic_load(&dropped),
             atomic_load(&opened) - atomic_load(&closed), atomic_load(&made),
             atomic_load(&octets), instance);
    return reply_text(env, start, sr, body, text);
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    if (is(env, "/counts")) {
        return counts(env, start, sr, body, (long) (size_t) ctx);
    }
    if (is(env, "/vars")) {
        return vars(env, start, sr, body);
    }
    if (is(env, "/release")) {
        pthread_mutex_lock(&gate);
        is_open = 1;
        pthread_mutex_unlock(&gate);
        return reply_text(env, start, sr, body, "open\n");
    }
    atomic_fetch_add(&called, 1);
    if (is(env, "/wait")) {
        if (!blocks) {
            return later(env);
        }
        wait_here(env);
        return reply_text(env, start, sr, body, "released\n");
    }
    if (is(env, "/chunks")) {
        return chunks(env, start, sr, body);
    }
    if (is(env, "/upload")) {
        return upload(env, start, sr, body);
    }
    if (is(env, "/head")) {
        return head(env, start, sr, body);
    }
    if (is(env, "/fail")) {
        return gw_fail(env, "on purpose", 10);
    }
    return reply_text(env, start, sr, body, "hello\n");
}

GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static size_t  instances;
    gw_app        *self = calloc(1, sizeof *self);

    if (args->args[0] == '/' && access(args->args, F_OK) == 0) {
        snprintf(err->message, sizeof err->message, "%s is in the way", args->args);
        free(self);
        return GW_ERR_APP;
    }
    blocks = strstr(args->args, "blocks") != NULL;
    self->size = sizeof *self;
    self->call = app;
    self->ctx = (void *) ++instances;
    self->name = "nginx_app";
    self->flags = strstr(args->args, "serial") != NULL ? GW_APP_SERIAL
                  : blocks ? GW_APP_THREADSAFE : GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    out->abi = GW_ABI;
    out->name = "nginx_app";
    out->version = "1.0";
    out->app = self;
    return GW_OK;
}
