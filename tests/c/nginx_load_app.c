/*
 * nginx_load_app.c - what nginx hosts while it is under load: answers that wait
 * for a file, and streams of which every chunk is counted.  "blocks": it runs
 * on threads, and waits in them.  The first part of PATH_INFO says what is
 * wanted; see `app` at the end.
 */
#define _GNU_SOURCE
#include "app.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* A module that is built again says something else. */
#ifndef GREETING
#define GREETING "first"
#endif

static atomic_ullong calls, holding;

static void
nap(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

    (void) nanosleep(&t, NULL);
}

static const char *
word(gw_environ *env, const char *name)
{
    gw_str value;

    if (gw_environ_query(env, name, strlen(name), &value) < 0) {
        return "";
    }
    return gw_environ_cstr(env, value);
}

/* What tests/harness/load.rs asks for: who answers what, and `more` octets. */
static gw_result
greet(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body,
      int more)
{
    char       *text = gw_environ_alloc(env, 100 + (size_t) more);
    int         n = snprintf(text, 100, GREETING " %ld %.*s\n", (long) getpid(),
                             (int) env->query_string.len, env->query_string.data);
    gw_result   rc = start(sr, &ok, NULL);

    memset(text + n, 'x', (size_t) more);
    return rc < 0 ? rc : gw_body_copy(env, body, text, (size_t) (n + more));
}

/* ---- answers that wait ---- */

typedef struct {
    gw_deferred  *handle;
    char          file[256];
    atomic_int    aborted;
} wait;

static void
told_aborted(void *ctx, gw_deferred *d)
{
    (void) d;
    atomic_store(&((wait *) ctx)->aborted, 1);
}

static void
drop(void *ctx)
{
    free(ctx);
}

static void *
wait_for_file(void *arg)
{
    wait        *w = arg;
    char         text[64];
    gw_chunk     chunk = { .data = text };

    while (access(w->file, F_OK) != 0 && !atomic_load(&w->aborted)) {
        nap(2);
    }
    chunk.len = (uint64_t) snprintf(text, sizeof text, GREETING " %ld held\n",
                                    (long) getpid());
    atomic_fetch_sub(&holding, 1);
    (void) gw_deferred_reply(w->handle, &ok, &chunk, 1);
    return NULL;
}

/* until: a file; none: for ever */
static gw_result
hold(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_deferred_events  events = GW_INIT(gw_deferred_events);
    const char         *file = word(env, "until");
    wait               *w;
    pthread_t           thread;
    char                text[64];

    atomic_fetch_add(&holding, 1);
    if (env->flags & GW_ENV_MAY_BLOCK) {
        while (access(file, F_OK) != 0 && !gw_environ_gone(env)) {
            nap(2);
        }
        atomic_fetch_sub(&holding, 1);
        snprintf(text, sizeof text, GREETING " %ld held\n", (long) getpid());
        return reply_text(env, start, sr, body, text);
    }
    w = calloc(1, sizeof *w);
    snprintf(w->file, sizeof w->file, "%s", file);
    events.ctx = w;
    events.aborted = told_aborted;
    events.drop = drop;
    if (gw_defer(env, &events, &w->handle) < 0
        || pthread_create(&thread, NULL, wait_for_file, w) != 0)
    {
        return GW_ERR_APP;
    }
    (void) pthread_detach(thread);
    return GW_DEFERRED;
}

/* ---- streams ---- */

/* What there was of a stream with a name: a letter. */
typedef struct {
    atomic_ullong  opened, closed, made, released, twice;
} count;

static count counts[128];

typedef struct {
    count      *of;
    long long   at, n, size, rest;
    gw_deferred *handle;
    char        id;
} flow;

/* A chunk in memory of its own. */
typedef struct {
    count     *of;
    uint64_t   magic;
    char       data[];
} piece;

#define THERE  0x7468657265ull
#define GONE   0x676f6e65ull

static void
release(void *arg)
{
    piece *p = arg;

    if (p->magic != THERE) {
        atomic_fetch_add(&p->of->twice, 1);
        return;
    }
    /* One that comes too late sees that it is gone, or valgrind does. */
    p->magic = GONE;
    atomic_fetch_add(&p->of->released, 1);
    free(p);
}

/* `id`, its number, and `id` until it is full. */
static gw_result
next_of_flow(void *ctx, gw_chunk *out)
{
    flow   *f = ctx;
    piece  *p;
    char    head[16];

    if (f->at == f->n) {
        return GW_EOF;
    }
    if (f->handle != NULL && f->rest) {
        f->rest = 0;
        (void) gw_deferred_resume_after(f->handle, 1);
        return GW_AGAIN;
    }
    f->rest = 1;
    p = malloc(sizeof *p + (size_t) f->size);
    p->of = f->of;
    p->magic = THERE;
    memset(p->data, f->id, (size_t) f->size);
    snprintf(head, sizeof head, "%c%07lld", f->id, f->at++);
    memcpy(p->data, head, 8);
    atomic_fetch_add(&f->of->made, 1);
    *out = (gw_chunk) { .data = p->data, .len = (uint64_t) f->size,
                        .release = release, .arg = p };
    return GW_OK;
}

static void
close_flow(void *ctx)
{
    flow *f = ctx;

    if (f->handle != NULL) {
        (void) gw_deferred_end(f->handle, GW_OK);
    }
    atomic_fetch_add(&f->of->closed, 1);
    free(f);
}

/* id: a letter; n chunks of `size` octets; rest=1: it pauses between them */
static gw_result
to_flow(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    flow *f = calloc(1, sizeof *f);

    f->id = word(env, "id")[0] & 127;
    f->of = &counts[(int) f->id];
    f->n = number(env, "n", 1);
    f->size = number(env, "size", 1000);
    if (number(env, "rest", 0) && gw_defer(env, NULL, &f->handle) < 0) {
        f->handle = NULL;
    }
    atomic_fetch_add(&f->of->opened, 1);
    body->next = next_of_flow;
    body->close = close_flow;
    body->ctx = f;
    return start(sr, &ok, NULL);
}

/* ---- others ---- */

/* text: a page */
static gw_result
say(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const gw_pair  html = { GW_LIT("Content-Type"), GW_LIT("text/html") };
    gw_response           head = { .status = 200, .headers = &html,
                                   .header_count = 1 };
    const char           *text = word(env, "text");
    gw_result             rc = start(sr, &head, NULL);

    return rc < 0 ? rc : gw_body_copy(env, body, text, strlen(text));
}

typedef struct {
    gw_environ   *env;
    gw_deferred  *handle;
    const char   *file;
    size_t        count;
    char          text[32];
} sum;

static gw_result
next_of_sum(void *ctx, gw_chunk *out)
{
    char       buf[4096];
    sum       *s = ctx;
    size_t     n;
    gw_result  rc;

    if (s->text[0] != '\0') {
        return GW_EOF;
    }
    if (s->file[0] != '\0' && access(s->file, F_OK) != 0) {
        (void) gw_deferred_resume_after(s->handle, 2);
        return GW_AGAIN;
    }
    while ((rc = gw_read(s->env, buf, sizeof buf, GW_NOWAIT, &n)) == GW_OK) {
        s->count += n;
    }
    if (rc != GW_EOF) {
        return rc;
    }
    out->len = (uint64_t) snprintf(s->text, sizeof s->text, "%zu octets\n", s->count);
    out->data = s->text;
    return GW_OK;
}

static void
close_sum(void *ctx)
{
    sum *s = ctx;

    (void) gw_deferred_end(s->handle, GW_OK);
    atomic_fetch_sub(&holding, 1);
    free(s);
}

/* How long the body is; until: a file before which none of it is read. */
static gw_result
to_sum(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    sum *s = calloc(1, sizeof *s);

    s->env = env;
    s->file = word(env, "until");
    if (gw_defer(env, NULL, &s->handle) < 0) {
        free(s);
        return GW_ERR_APP;
    }
    atomic_fetch_add(&holding, 1);
    body->next = next_of_sum;
    body->close = close_sum;
    body->ctx = s;
    return start(sr, &ok, NULL);
}

/* id: of which stream */
static gw_result
to_counts(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    count *c = &counts[word(env, "id")[0] & 127];
    char   text[200];

    snprintf(text, sizeof text,
             "calls %llu holding %llu opened %llu closed %llu made %llu "
             "released %llu twice %llu ",
             atomic_load(&calls), atomic_load(&holding), atomic_load(&c->opened),
             atomic_load(&c->closed), atomic_load(&c->made),
             atomic_load(&c->released), atomic_load(&c->twice));
    return reply_text(env, start, sr, body, text);
}

static int
is(gw_environ *env, const char *path)
{
    return env->path_info.len == strlen(path)
           && memcmp(env->path_info.data, path, strlen(path)) == 0;
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
    gw_body *body)
{
    (void) ctx;
    atomic_fetch_add(&calls, 1);
    if (is(env, "/hold")) {
        return hold(env, start, sr, body);
    } else if (is(env, "/flow")) {
        return to_flow(env, start, sr, body);
    } else if (is(env, "/say")) {
        return say(env, start, sr, body);
    } else if (is(env, "/sum")) {
        return to_sum(env, start, sr, body);
    } else if (is(env, "/counts")) {
        return to_counts(env, start, sr, body);
    } else if (is(env, "/slow") && (env->flags & GW_ENV_MAY_BLOCK)) {
        nap(10);
    }
    return greet(env, start, sr, body, is(env, "/big") ? 16384 : 0);
}

GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static gw_app  apps[2];
    gw_app        *self = &apps[strcmp(args->args, "blocks") == 0];

    (void) err;
    self->size = sizeof *self;
    self->call = app;
    self->name = "load";
    self->flags = GW_APP_THREADSAFE | (self == &apps[0] ? GW_APP_NONBLOCKING : 0);
    out->abi = GW_ABI;
    out->name = "load";
    out->version = "1.0";
    out->app = self;
    return GW_OK;
}
