/*
 * lint.c - applications and middleware, each of which breaks one sentence of
 * the calling convention, with lint around the application.
 *
 *     lint NAME [fatal] [option=value ...]
 *     lint --list
 *
 * NAME is that of the sentence, as lint says it: docs/lint.md.  `good` breaks
 * none.  The tests ask each one twice.
 */
#include <gateway.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN gw_environ *env, gw_start_response_fn start, void *sr, \
              gw_body *body
#define ARGUMENTS void *ctx, BEGIN

static const gw_pair plain[] = {
    { GW_LIT("Content-Type"), GW_LIT("text/plain") },
};

static const gw_response ok = { .status = 200, .headers = plain,
                                .header_count = 1 };

static gw_chunk
text(const char *words)
{
    gw_chunk chunk = { .data = words, .len = strlen(words) };

    return chunk;
}

/* -- what breaks nothing -- */

static gw_result
good_next(void *ctx, gw_chunk *out)
{
    int *left = ctx;

    if (*left == 0) {
        return GW_EOF;
    }
    (*left)--;
    *out = text("good\n");
    return GW_OK;
}

static void
good_close(void *ctx)
{
    (void) ctx;
}

static gw_result
good(ARGUMENTS)
{
    int       *left = gw_environ_alloc(env, sizeof *left);
    gw_writer  writer;
    gw_chunk   chunk = text("written\n");
    char       buf[64];
    size_t     n;
    gw_result  rc;

    (void) ctx;
    if (left == NULL) {
        return GW_ERR_MEMORY;
    }
    do {
        rc = gw_read(env, buf, sizeof buf, 0, &n);
    } while (rc == GW_OK);
    rc = start(sr, &ok, &writer);
    if (rc < 0) {
        return rc;
    }
    rc = writer.write(writer.ctx, &chunk);
    if (rc < 0) {
        return rc;
    }
    *left = 2;
    body->next = good_next;
    body->close = good_close;
    body->ctx = left;
    return GW_OK;
}

static gw_result
say(gw_start_response_fn start, void *sr, gw_body *body, const char *words)
{
    gw_chunk chunk = text(words);

    return gw_reply(start, sr, body, &ok, &chunk);
}

/* -- start_response -- */

static gw_result
body_before_start(ARGUMENTS)
{
    (void) ctx, (void) env, (void) start, (void) sr;
    return gw_body_bytes(body, "x", 1, NULL, NULL);
}

static gw_result
no_start(ARGUMENTS)
{
    (void) ctx, (void) env, (void) start, (void) sr, (void) body;
    return GW_OK;
}

static gw_result
start_null(ARGUMENTS)
{
    (void) ctx, (void) env;
    start(sr, NULL, NULL);
    return say(start, sr, body, "x");
}

static gw_result
start_twice(ARGUMENTS)
{
    (void) ctx, (void) env;
    start(sr, &ok, NULL);
    start(sr, &ok, NULL);
    body->first = text("x");
    return GW_OK;
}

static gw_result
error_swallowed(ARGUMENTS)
{
    gw_response sorry = ok;
    gw_chunk    chunk = text("x");
    gw_writer   writer;

    (void) ctx, (void) env;
    sorry.status = 500;
    sorry.flags = GW_RESPONSE_REPLACE;
    start(sr, &ok, &writer);
    writer.write(writer.ctx, &chunk);
    start(sr, &sorry, NULL);                /* is refused: it is sent */
    body->first = text("y");
    return GW_OK;
}

typedef struct { gw_start_response_fn start; void *sr; } said;

static void
release_starts(void *arg)
{
    said *s = arg;

    s->start(s->sr, &ok, NULL);
}

static gw_result
called_outside(ARGUMENTS)
{
    said *s = gw_environ_alloc(env, sizeof *s);

    (void) ctx;
    s->start = start;
    s->sr = sr;
    start(sr, &ok, NULL);
    body->first = text("x");
    body->first.release = release_starts;
    body->first.arg = s;
    return GW_OK;
}

static gw_result
called_after_end(ARGUMENTS)
{
    static said last;

    (void) ctx, (void) env;
    if (last.start != NULL) {
        release_starts(&last);
    }
    last.start = start;
    last.sr = sr;
    return say(start, sr, body, "x");
}

static void *
other_thread(void *arg)
{
    release_starts(arg);
    return NULL;
}

static gw_result
wrong_thread(ARGUMENTS)
{
    said      s = { start, sr };
    pthread_t thread;

    (void) ctx, (void) env;
    if (pthread_create(&thread, NULL, other_thread, &s) == 0) {
        pthread_join(thread, NULL);
    }
    return say(start, sr, body, "x");
}

/* -- heads: the whole is in the context -- */

static gw_result
head_only(ARGUMENTS)
{
    (void) env, (void) body;
    return start(sr, ctx, NULL);
}

#define HEAD(ident, status_is, ...) \
    static const gw_pair ident##_fields[] = { __VA_ARGS__ }; \
    static gw_response ident = { .status = status_is, \
                                 .headers = ident##_fields, .header_count = \
                                 sizeof ident##_fields / sizeof(gw_pair) };

#define FIELD(name, value) { GW_LIT(name), GW_LIT(value) }

HEAD(status_range, 99, FIELD("X", "y"))
HEAD(status_switching, 101, FIELD("X", "y"))
HEAD(name_empty, 200, FIELD("", "y"))
HEAD(name_colon, 200, FIELD("X:", "y"))
HEAD(name_control, 200, FIELD("X\n", "y"))
HEAD(name_token, 200, FIELD("X(1)", "y"))
HEAD(name_underscore, 200, FIELD("X_Y", "y"))
HEAD(name_punctuation, 200, FIELD("X-", "y"))
HEAD(value_control, 200, FIELD("X", "y\r\nZ: a"))
HEAD(hop_by_hop, 200, FIELD("Connection", "close"))
HEAD(header_status, 200, FIELD("Status", "200 OK"))
HEAD(type_unwanted, 304, FIELD("Content-Type", "text/plain"))
HEAD(length_invalid, 200, FIELD("Content-Length", "0x10"))
HEAD(length_unwanted, 204, FIELD("Content-Length", "0"))
HEAD(length_short, 200, FIELD("Content-Length", "10"))
HEAD(length_long, 200, FIELD("Content-Length", "2"))
HEAD(no_content, 204, FIELD("X", "y"))

static gw_response reason_control = { .status = 200, .reason = GW_LIT("OK\r\n") };
static gw_response reserved = { .status = 200, .reserved = 1 };
static gw_response headers_null = { .status = 200, .header_count = 1 };
static gw_response text_null = { .status = 200, .reason = { NULL, 3 } };

static gw_result
head_and_body(ARGUMENTS)
{
    (void) env;
    body->first = text("12345");
    return start(sr, ctx, NULL);
}

static gw_result
head_too_large(ARGUMENTS)
{
    enum { LARGE = 300 * 1024 };
    char        *value = gw_environ_alloc(env, LARGE);
    gw_pair      field = FIELD("X", "");
    gw_response  head = { .status = 200, .headers = &field, .header_count = 1 };

    (void) ctx, (void) body;
    memset(value, 'x', LARGE);
    field.value.data = value;
    field.value.len = LARGE;
    return start(sr, &head, NULL);
}

static gw_result
hint_after_body(ARGUMENTS)
{
    gw_response hint = { .status = 103 };
    gw_chunk    chunk = text("x");
    gw_writer   writer;

    (void) ctx, (void) env, (void) body;
    start(sr, &ok, &writer);
    writer.write(writer.ctx, &chunk);
    start(sr, &hint, NULL);
    return GW_OK;
}

/* -- chunks: in the context -- */

static gw_result
chunk_only(ARGUMENTS)
{
    (void) env;
    start(sr, &ok, NULL);
    body->first = *(const gw_chunk *) ctx;
    return GW_OK;
}

static gw_chunk chunk_null = { .len = 5 };
static gw_chunk chunk_too_long = { .data = "x", .len = UINT64_MAX };
static gw_chunk chunk_file = { .fd = -1, .len = 5, .flags = GW_CHUNK_FILE };
static gw_chunk chunk_flags = { .data = "x", .len = 1, .flags = 1u << 9 };
static gw_chunk write_file = { .fd = 0, .len = 1, .flags = GW_CHUNK_FILE };

static gw_result
write_only(ARGUMENTS)
{
    gw_writer writer;

    (void) env, (void) body;
    start(sr, &ok, &writer);
    writer.write(writer.ctx, ctx);
    return GW_OK;
}

typedef struct { gw_writer writer; int times; } writing;

static gw_result
next_writes(void *ctx, gw_chunk *out)
{
    writing  *w = ctx;
    gw_chunk  chunk = text("x");

    (void) out;
    return w->times++ == 0 ? w->writer.write(w->writer.ctx, &chunk) : GW_EOF;
}

static gw_result
write_in_next(ARGUMENTS)
{
    writing *w = gw_environ_alloc(env, sizeof *w);

    (void) ctx;
    w->times = 0;
    body->next = next_writes;
    body->ctx = w;
    return start(sr, &ok, &w->writer);
}

/* -- what is returned -- */

static gw_result
result_unknown(ARGUMENTS)
{
    (void) ctx, (void) env, (void) start, (void) sr, (void) body;
    return GW_EOF;
}

static gw_result
body_reserved(ARGUMENTS)
{
    (void) ctx, (void) env;
    body->flags = 1;
    return say(start, sr, body, "x");
}

static gw_result
body_beside_result(ARGUMENTS)
{
    (void) ctx, (void) env;
    say(start, sr, body, "x");
    return GW_ERR_APP;
}

static gw_result
deferred_without_handle(ARGUMENTS)
{
    (void) ctx, (void) env, (void) start, (void) sr, (void) body;
    return GW_DEFERRED;
}

static gw_result
next_is(void *ctx, gw_chunk *out)
{
    (void) out;
    return *(int *) ctx;
}

static gw_result
next_only(ARGUMENTS)
{
    (void) env;
    body->next = next_is;
    body->ctx = ctx;
    return start(sr, &ok, NULL);
}

static int is_deferred = GW_DEFERRED, is_again = GW_AGAIN;

/* -- handles -- */

static gw_result
defer_twice(ARGUMENTS)
{
    gw_deferred *d, *second;
    gw_chunk     chunk = text("x");

    (void) ctx, (void) start, (void) sr, (void) body;
    if (gw_defer(env, NULL, &d) < 0) {
        return GW_ERR_APP;
    }
    gw_defer(env, NULL, &second);
    gw_deferred_reply(d, &ok, &chunk, 1);
    return GW_DEFERRED;
}

HEAD(by_handle, 200, FIELD("X_Y", "z"), FIELD("Content-Length", "10"))

/* What a handle says is seen, too: two breaches. */
static gw_result
handle_breaks(ARGUMENTS)
{
    gw_deferred *d;
    gw_chunk     chunk = text("x");

    (void) ctx, (void) start, (void) sr, (void) body;
    if (gw_defer(env, NULL, &d) < 0) {
        return GW_ERR_APP;
    }
    gw_deferred_start(d, &by_handle);
    gw_deferred_write(d, &chunk);
    gw_deferred_end(d, GW_OK);
    return GW_DEFERRED;
}

static gw_result
end_result(ARGUMENTS)
{
    gw_deferred *d;

    (void) ctx, (void) start, (void) sr, (void) body;
    if (gw_defer(env, NULL, &d) < 0) {
        return GW_ERR_APP;
    }
    gw_deferred_end(d, GW_DEFERRED);
    return GW_DEFERRED;
}

static gw_result
next_by_handle(void *ctx, gw_chunk *out)
{
    gw_deferred **d = ctx;

    (void) out;
    gw_deferred_start(*d, &ok);
    gw_deferred_end(*d, GW_OK);
    return GW_EOF;
}

static gw_result
handle_after_body(ARGUMENTS)
{
    gw_deferred **d = gw_environ_alloc(env, sizeof *d);

    (void) ctx;
    if (gw_defer(env, NULL, d) < 0) {
        return GW_ERR_APP;
    }
    body->next = next_by_handle;
    body->ctx = d;
    return start(sr, &ok, NULL);
}

/* Within an event a handle that was given up is still one. */
static void
ends_and_writes(void *ctx, gw_deferred *d)
{
    gw_chunk chunk = text("x");

    (void) ctx;
    if (gw_deferred_end(d, GW_OK) >= 0) {
        gw_deferred_write(d, &chunk);
    }
}

static gw_result
handle_after_end(ARGUMENTS)
{
    static char         much[64 * 1024];
    gw_deferred_events  events = GW_INIT(gw_deferred_events);
    gw_chunk            chunk = { .data = much, .len = sizeof much };
    gw_deferred        *d;

    (void) ctx, (void) start, (void) sr, (void) body;
    events.writable = ends_and_writes;
    if (gw_defer(env, &events, &d) < 0) {
        return GW_ERR_APP;
    }
    gw_deferred_start(d, &ok);
    while (gw_deferred_write(d, &chunk) == GW_OK) {
    }
    return GW_DEFERRED;
}

/* -- the request -- */

static gw_result
environ_changed(ARGUMENTS)
{
    (void) ctx;
    gw_environ_set(env, "PATH_INFO", 9, "/elsewhere", 10);
    env->path_info = GW_STR("/elsewhere");
    return say(start, sr, body, "x");
}

static gw_result
read_arguments(ARGUMENTS)
{
    char   buf[8];
    size_t n;

    (void) ctx;
    gw_read(env, buf, 0, 0, &n);
    return say(start, sr, body, "x");
}

static gw_result
read_after_end(ARGUMENTS)
{
    char   buf[8];
    size_t n;
    int    i;

    (void) ctx;
    for (i = 0; i < 9; i++) {
        gw_read(env, buf, sizeof buf, 0, &n);
    }
    return say(start, sr, body, "x");
}

static gw_result
read_would_block(ARGUMENTS)
{
    char   buf[8];
    size_t n;

    (void) ctx;
    gw_read(env, buf, sizeof buf, 0, &n);
    return say(start, sr, body, "x");
}

/* -- middleware, around an application that is good: ctx is that -- */

static gw_result
start_response_null(ARGUMENTS)
{
    (void) start, (void) sr;
    return gw_app_call(ctx, env, NULL, NULL, body);
}

static gw_result
without_writer(void *sr, const gw_response *head, gw_writer *writer)
{
    said *s = sr;

    if (writer != NULL) {
        *writer = (gw_writer) { NULL, NULL };
    }
    return s->start(s->sr, head, NULL);
}

static gw_result
writes_if_it_can(ARGUMENTS)
{
    gw_chunk  chunk = text("x");
    gw_writer writer = { NULL, NULL };
    gw_result rc = start(sr, &ok, &writer);

    (void) ctx, (void) env, (void) body;
    return rc == GW_OK && writer.write ? writer.write(writer.ctx, &chunk) : rc;
}

static gw_result
writer_missing(ARGUMENTS)
{
    said *s = gw_environ_alloc(env, sizeof *s);

    s->start = start;
    s->sr = sr;
    return gw_app_call(ctx, env, without_writer, s, body);
}

static gw_result
body_not_closed(ARGUMENTS)
{
    gw_body   mine = GW_INIT(gw_body);
    gw_result rc = gw_app_call(ctx, env, start, sr, &mine);

    (void) body;
    return rc;
}

static gw_result
body_closed_twice(ARGUMENTS)
{
    gw_result rc = gw_app_call(ctx, env, start, sr, body);

    body->close(body->ctx);
    body->next = NULL;
    return rc;
}

static gw_result
next_after_close(ARGUMENTS)
{
    gw_body   mine = GW_INIT(gw_body);
    gw_result rc = gw_app_call(ctx, env, start, sr, &mine);
    gw_chunk  chunk = { .len = 0 };

    (void) body;
    mine.close(mine.ctx);
    mine.next(mine.ctx, &chunk);
    return rc;
}

static gw_result
next_after_end(ARGUMENTS)
{
    gw_body   mine = GW_INIT(gw_body);
    gw_result rc = gw_app_call(ctx, env, start, sr, &mine);
    gw_chunk  chunk = { .len = 0 };

    (void) body;
    while (mine.next(mine.ctx, &chunk) == GW_OK) {
    }
    mine.next(mine.ctx, &chunk);
    mine.close(mine.ctx);
    return rc;
}

static gw_result
environ_copied(ARGUMENTS)
{
    gw_environ *mine = gw_environ_alloc(env, sizeof *mine);

    *mine = *env;
    mine->size = 8;
    return gw_app_call(ctx, mine, start, sr, body);
}

static const struct { const char *sentence, *name, *value; } set[] = {
    { "environ-missing", "SERVER_NAME", "" },
    { "environ-script-name", "SCRIPT_NAME", "/" },
    { "environ-path-info", "PATH_INFO", "x" },
    { "environ-scheme", "wsgi.url_scheme", "gopher" },
    { "environ-content", "HTTP_CONTENT_TYPE", "text/plain" },
};

static const char *sentence;

static gw_result
environ_set(ARGUMENTS)
{
    gw_environ *mine;
    size_t      i;

    if (gw_environ_derive(env, &mine) < 0) {
        return GW_ERR_APP;
    }
    for (i = 0; i < sizeof set / sizeof *set; i++) {
        if (strcmp(set[i].sentence, sentence) == 0
            && gw_environ_set(mine, set[i].name, strlen(set[i].name),
                              set[i].value, strlen(set[i].value)) < 0)
        {
            return GW_ERR_APP;
        }
    }
    return gw_app_call(ctx, mine, start, sr, body);
}

static gw_result
environ_input(ARGUMENTS)
{
    gw_environ *mine;

    if (gw_environ_derive(env, &mine) < 0) {
        return GW_ERR_APP;
    }
    mine->input.read = NULL;
    return gw_app_call(ctx, mine, start, sr, body);
}

/* -- all of them, in the order of docs/lint.md -- */

static const struct {
    const char *name;
    gw_app_fn   app;
    void       *ctx;
    gw_app_fn   around;                 /* a middleware that is broken */
} broken[] = {
    { "body-before-start", body_before_start, NULL, NULL },
    { "no-start", no_start, NULL, NULL },
    { "start-null", start_null, NULL, NULL },
    { "start-twice", start_twice, NULL, NULL },
    { "error-swallowed", error_swallowed, NULL, NULL },
    { "called-outside", called_outside, NULL, NULL },
    { "called-after-end", called_after_end, NULL, NULL },
    { "wrong-thread", wrong_thread, NULL, NULL },
    { "status-range", head_only, &status_range, NULL },
    { "status-switching", head_only, &status_switching, NULL },
    { "hint-after-body", hint_after_body, NULL, NULL },
    { "reason-control", head_only, &reason_control, NULL },
    { "response-reserved", head_only, &reserved, NULL },
    { "headers-null", head_only, &headers_null, NULL },
    { "text-null", head_only, &text_null, NULL },
    { "header-name-empty", head_only, &name_empty, NULL },
    { "header-name-colon", head_only, &name_colon, NULL },
    { "header-name-control", head_only, &name_control, NULL },
    { "header-name-token", head_only, &name_token, NULL },
    { "header-name-underscore", head_only, &name_underscore, NULL },
    { "header-name-punctuation", head_only, &name_punctuation, NULL },
    { "header-value-control", head_only, &value_control, NULL },
    { "hop-by-hop", head_only, &hop_by_hop, NULL },
    { "header-status", head_only, &header_status, NULL },
    { "content-type-unwanted", head_only, &type_unwanted, NULL },
    { "content-length-invalid", head_only, &length_invalid, NULL },
    { "content-length-unwanted", head_only, &length_unwanted, NULL },
    { "head-too-large", head_too_large, NULL, NULL },
    { "content-length-short", head_and_body, &length_short, NULL },
    { "content-length-long", head_and_body, &length_long, NULL },
    { "body-unwanted", head_and_body, &no_content, NULL },
    { "chunk-null", chunk_only, &chunk_null, NULL },
    { "chunk-too-long", chunk_only, &chunk_too_long, NULL },
    { "chunk-file", chunk_only, &chunk_file, NULL },
    { "chunk-flags", chunk_only, &chunk_flags, NULL },
    { "write-file", write_only, &write_file, NULL },
    { "write-null", write_only, NULL, NULL },
    { "write-in-next", write_in_next, NULL, NULL },
    { "result-unknown", result_unknown, NULL, NULL },
    { "body-reserved", body_reserved, NULL, NULL },
    { "body-beside-result", body_beside_result, NULL, NULL },
    { "deferred-without-handle", deferred_without_handle, NULL, NULL },
    { "next-result", next_only, &is_deferred, NULL },
    { "next-waits-for-nothing", next_only, &is_again, NULL },
    { "defer-twice", defer_twice, NULL, NULL },
    { "handle-after-body", handle_after_body, NULL, NULL },
    { "handle-after-end", handle_after_end, NULL, NULL },
    { "end-result", end_result, NULL, NULL },
    { "environ-changed", environ_changed, NULL, NULL },
    { "read-arguments", read_arguments, NULL, NULL },
    { "read-after-end", read_after_end, NULL, NULL },
    { "read-would-block", read_would_block, NULL, NULL },
    { "start-response-null", good, NULL, start_response_null },
    { "writer-missing", writes_if_it_can, NULL, writer_missing },
    { "body-not-closed", good, NULL, body_not_closed },
    { "body-closed-twice", good, NULL, body_closed_twice },
    { "next-after-close", good, NULL, next_after_close },
    { "next-after-end", good, NULL, next_after_end },
    { "environ-copied", good, NULL, environ_copied },
    { "environ-missing", good, NULL, environ_set },
    { "environ-script-name", good, NULL, environ_set },
    { "environ-path-info", good, NULL, environ_set },
    { "environ-scheme", good, NULL, environ_set },
    { "environ-content", good, NULL, environ_set },
    { "environ-input", good, NULL, environ_input },
    /* These are no sentences. */
    { "by-handle", handle_breaks, NULL, NULL },
    { "good", good, NULL, NULL },
};

static gw_result
around(void *ctx, const gw_app *inner, gw_app *outer, gw_error *err)
{
    size_t i = *(size_t *) ctx;

    (void) err;
    outer->call = broken[i].around;
    outer->ctx = (void *) inner;
    return GW_OK;
}

int
main(int argc, char **argv)
{
    static char  lint[] = "lint", fatal[] = "lint fatal=1";
    gw_app       app = { .size = sizeof app, .flags = GW_APP_THREADSAFE
                                                      | GW_APP_NONBLOCKING };
    gw_error     err = GW_INIT(gw_error);
    gw_config   *cfg = gw_config_new();
    gw_result    rc = GW_OK;
    static size_t which;
    int          i, is_fatal = argc > 2 && strcmp(argv[2], "fatal") == 0;
    size_t       n = sizeof broken / sizeof *broken;

    sentence = argc > 1 ? argv[1] : "";
    if (strcmp(sentence, "--list") == 0) {
        for (; which + 2 < n; which++) {
            puts(broken[which].name);
        }
        gw_config_free(cfg);
        return 0;
    }
    while (which < n && strcmp(broken[which].name, sentence) != 0) {
        which++;
    }
    if (which == n) {
        fprintf(stderr, "lint: no such sentence: %s\n", sentence);
        gw_config_free(cfg);
        return 2;
    }
    app.call = broken[which].app;
    app.ctx = broken[which].ctx;
    for (i = 2 + is_fatal; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');

        *value++ = '\0';
        rc = gw_config_set(cfg, argv[i], value, &err);
    }
    if (rc >= 0 && broken[which].around != NULL) {
        rc = gw_config_use(cfg, around, &which, NULL, &err);
    }
    if (rc >= 0) {
        rc = gw_config_use(cfg, gw_middleware_builtin, is_fatal ? fatal : lint,
                           NULL, &err);
    }
    if (rc >= 0) {
        rc = gw_config_app(cfg, &app, &err);                /* takes app */
    }
    if (rc < 0) {
        gw_config_free(cfg);
    } else {
        rc = gw_serve(cfg, &err);                           /* takes cfg */
    }
    if (rc < 0) {
        fprintf(stderr, "%s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
