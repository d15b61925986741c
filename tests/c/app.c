/*
 * app.c - the application that the integration tests ask: each path does one
 * thing that the calling convention allows, or forbids.
 *
 *     app address [option=value ...] [file=path] [blocking=1]
 *
 * Numbers come from the query string.  `/counts` tells how many bodies were
 * opened and closed, how many values were hung on requests and dropped, and how
 * many octets the iterators have produced.
 */
#define _POSIX_C_SOURCE 200809L
#include "app.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef gw_result handler(gw_environ *env, gw_start_response_fn start, void *sr,
                          gw_body *body);

static unsigned long long opened, closed, hung, dropped, released, produced;
static const char        *file_path;

/* ---- small helpers ---- */

static void
count_release(void *arg)
{
    (void) arg;
    released++;
}

/* ---- a body that is asked for its chunks ---- */

typedef struct {
    long long n, size;              /* so many chunks of so many octets */
    gw_result end;                  /* what comes after the last */
    long long empty;                /* so many empty chunks before the first */
    char     *data;
    int       c;                    /* the octet of the next chunk */
} generator;

static gw_result
generate(void *ctx, gw_chunk *out)
{
    generator *g = ctx;

    if (g->empty > 0) {
        g->empty--;
        return GW_OK;
    }
    if (g->n == 0) {
        return g->end;
    }
    if (g->n > 0) {
        g->n--;
    }
    memset(g->data, 'a' + g->c++ % 26, (size_t) g->size);
    produced += (unsigned long long) g->size;
    out->data = g->data;
    out->len = (uint64_t) g->size;
    return GW_OK;
}

static void
end_generator(void *ctx)
{
    generator *g = ctx;

    closed++;
    free(g->data);
    free(g);
}

/* n (-1: without end), size, empty */
static generator *
generator_body(gw_environ *env, gw_body *body)
{
    generator *g = calloc(1, sizeof *g);

    g->n = number(env, "n", 1);
    g->size = number(env, "size", 10);
    g->empty = number(env, "empty", 0);
    g->end = GW_EOF;
    g->data = malloc((size_t) g->size + 1);
    opened++;
    body->next = generate;
    body->close = end_generator;
    body->ctx = g;
    return g;
}

/* ---- the handlers ---- */

static gw_result
hello(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    (void) env;
    gw_result rc = start(sr, &ok, NULL);

    return rc < 0 ? rc : gw_body_bytes(body, "hello, world\n", 13,
                                       count_release, NULL);
}

/* The query string, given back. */
static gw_result
query(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_result rc = start(sr, &ok, NULL);

    return rc < 0 ? rc : gw_body_copy(env, body, env->query_string.data,
                                      env->query_string.len);
}

static gw_result
chunks(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    generator_body(env, body);
    gw_result rc = start(sr, &ok, NULL);

    if (rc < 0) {
        end_generator(body->ctx);
    }
    return rc;
}

/* Chunks, and then a failure. */
static gw_result
failing(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    generator_body(env, body)->end = GW_ERR_APP;
    return start(sr, &ok, NULL);
}

/* claim: Content-Length; what is sent is n * size. */
static gw_result
claim(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char         length[32];
    gw_pair      headers[2] = { text_plain };
    gw_response  head = { .status = 200, .headers = headers, .header_count = 2 };

    snprintf(length, sizeof length, "%lld", number(env, "claim", 0));
    headers[1] = pair("content-length", length);
    generator_body(env, body);
    return start(sr, &head, NULL);
}

/* code; with a body, which some statuses must not have. */
static gw_result
status(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_response head = ok;

    head.status = (uint16_t) number(env, "code", 200);
    gw_result rc = start(sr, &head, NULL);

    if (rc < 0) {
        return reply_text(env, start, sr, body, gw_result_name(rc));
    }
    return gw_body_bytes(body, "a body\n", 7, NULL, NULL);
}

/* write() twice, then a body. */
static gw_result
writing(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_writer  writer;
    gw_chunk   one = { .data = "one,", .len = 4, .release = count_release };
    gw_chunk   two = { .data = "two,", .len = 4, .release = count_release };
    gw_result  rc = start(sr, &ok, &writer);

    (void) env;
    if (rc < 0 || (rc = writer.write(writer.ctx, &one)) != GW_OK
        || (rc = writer.write(writer.ctx, &two)) != GW_OK)
    {
        return rc == GW_AGAIN ? GW_ERR_BUSY : rc;
    }
    return gw_body_bytes(body, "three", 5, NULL, NULL);
}

/* A second head is refused without replace, and takes effect with it. */
static gw_result
twice(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_response  second = { .status = 404, .headers = &text_plain,
                            .header_count = 1 };
    gw_result    rc = start(sr, &ok, NULL);

    if (rc < 0) {
        return rc;
    }
    rc = start(sr, &second, NULL);
    if (number(env, "replace", 0)) {
        second.flags = GW_RESPONSE_REPLACE;
        rc = start(sr, &second, NULL);
    }
    return gw_body_copy(env, body, gw_result_name(rc),
                        strlen(gw_result_name(rc)));
}

/* A replacing head after the first chunk was accepted is refused. */
static gw_result
too_late(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_writer    writer;
    gw_response  second = { .status = 500, .flags = GW_RESPONSE_REPLACE };
    gw_chunk     one = { .data = "written, ", .len = 9 };

    if (start(sr, &ok, &writer) < 0
        || writer.write(writer.ctx, &one) != GW_OK)
    {
        return GW_ERR_APP;
    }
    gw_result rc = start(sr, &second, NULL);

    return gw_body_copy(env, body, gw_result_name(rc),
                        strlen(gw_result_name(rc)));
}

/* Heads that must be refused; `which` counts them.  Says what the call said. */
static gw_result
refused(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const gw_pair  bad[] = {
        { GW_LIT("X-A"), GW_LIT("a\r\nX-Injected: 1") },
        { GW_LIT("X-A"), GW_LIT("a\nb") },
        { GW_LIT("X-A"), GW_LIT("a\rb") },
        { GW_LIT("X-A"), GW_LIT("a\0b") },
        { GW_LIT("X A"), GW_LIT("name with a space") },
        { GW_LIT("X-A:"), GW_LIT("name with a colon") },
        { GW_LIT(""), GW_LIT("no name") },
        { GW_LIT("X-\xc3\xa4"), GW_LIT("name beyond ASCII") },
        { GW_LIT("Connection"), GW_LIT("close") },
        { GW_LIT("Keep-Alive"), GW_LIT("timeout=5") },
        { GW_LIT("Transfer-Encoding"), GW_LIT("chunked") },
        { GW_LIT("Upgrade"), GW_LIT("h2c") },
        { GW_LIT("TE"), GW_LIT("trailers") },
        { GW_LIT("Trailer"), GW_LIT("X-A") },
        { GW_LIT("Proxy-Authenticate"), GW_LIT("Basic") },
        { GW_LIT("Content-Length"), GW_LIT("12x") },
        { GW_LIT("Content-Length"), GW_LIT("-1") },
        { GW_LIT("Content-Length"), GW_LIT("5, 5") },
    };
    size_t       which = (size_t) number(env, "which", 0);
    gw_response  head = ok;

    if (which >= sizeof bad / sizeof bad[0]) {
        return reply_text(env, start, sr, body, "no more");
    }
    head.headers = &bad[which];
    gw_result rc = start(sr, &head, NULL);

    if (number(env, "return", 0) && rc < 0) {
        return rc;
    }
    return rc < 0 ? reply_text(env, start, sr, body, gw_result_name(rc)) : GW_OK;
}

static gw_result
early(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_pair      link = pair("Link", "</style.css>; rel=preload");
    gw_response  hints = { .status = 103, .headers = &link, .header_count = 1 };
    gw_result    rc = start(sr, &hints, NULL);

    return rc < 0 ? rc : reply_text(env, start, sr, body, "after the hints\n");
}

/* ---- reading ---- */

static gw_result
echo(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_str     all;
    gw_result  rc = gw_read_all(env, SIZE_MAX, &all);

    if (rc < 0) {
        return rc;
    }
    rc = start(sr, &ok, NULL);
    return rc < 0 ? rc : gw_body_bytes(body, all.data, all.len, NULL, NULL);
}

/* How many octets came, and their sum; read by pieces of `cap`. */
static gw_result
sum(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    unsigned char       buf[4096];
    size_t              i, n, cap = (size_t) number(env, "cap", sizeof buf);
    unsigned long long  count = 0, total = 0;
    char                text[80];
    gw_result           rc;

    while ((rc = gw_read(env, buf, cap, 0, &n)) == GW_OK) {
        if (n == 0 || n > cap) {
            return gw_fail(env, "gw_read broke its promise", 25);
        }
        for (i = 0; i < n; i++) {
            total += buf[i];
        }
        count += n;
    }
    if (rc != GW_EOF || n != 0) {
        return rc < 0 ? rc : GW_ERR_APP;
    }
    /* The end stays the end. */
    rc = gw_read(env, buf, cap, 0, &n);
    snprintf(text, sizeof text, "%llu octets, sum %llu, then %d\n", count, total,
             (int) rc);
    return reply_text(env, start, sr, body, text);
}

/* The lines of the body in brackets. */
static gw_result
lines(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char       line[16], *text = gw_environ_alloc(env, 4096);
    size_t     n, used = 0;
    gw_result  rc;

    while ((rc = gw_read_line(env, line, sizeof line, 0, &n)) == GW_OK) {
        used += (size_t) snprintf(text + used, 4096 - used, "[%.*s]", (int) n,
                                  line);
    }
    text[used] = '\0';
    return rc == GW_EOF ? reply_text(env, start, sr, body, text) : rc;
}

/* Each piece that is read is written at once: needs a thread that may block. */
static gw_result
relay(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char       *buf = gw_environ_alloc(env, 65536);
    gw_chunk    piece = { .data = buf };
    gw_writer   writer;
    size_t      n;
    gw_result   rc = start(sr, &ok, &writer);

    (void) body;
    while (rc == GW_OK && (rc = gw_read(env, buf, 65536, 0, &n)) == GW_OK) {
        piece.len = n;
        rc = writer.write(writer.ctx, &piece);
    }
    return rc == GW_EOF ? GW_OK : rc;
}

/* Reads one octet, answers, and leaves the rest. */
static gw_result
one(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char       text[] = "?\n";
    size_t     n;
    gw_result  rc = gw_read(env, text, 1, 0, &n);

    return rc < 0 ? rc : reply_text(env, start, sr, body, text);
}

/* ---- files ---- */

/* offset, len (preset: to the end) of the file of the command line */
static gw_result
file(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    int        fd = open(file_path, O_RDONLY | O_CLOEXEC);
    gw_result  rc = start(sr, &ok, NULL);

    if (fd < 0 || rc < 0) {
        return GW_ERR_APP;
    }
    return gw_body_file(body, fd, number(env, "offset", 0),
                        (uint64_t) number(env, "len", -1), GW_FILE_CLOSE,
                        count_release, NULL);
}

/* ---- the environ ---- */

/* name: one variable */
static gw_result
variable(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_str     name, value;
    gw_result  rc = gw_environ_query(env, "name", 4, &name);

    if (rc < 0) {
        return rc;
    }
    rc = gw_environ_get(env, name.data, name.len, &value);
    if (rc < 0) {
        return reply_text(env, start, sr, body, gw_result_name(rc));
    }
    rc = start(sr, &ok, NULL);
    return rc < 0 ? rc : gw_body_copy(env, body, value.data, value.len);
}

static void
drop_value(void *value)
{
    dropped++;
    free(value);
}

/* Two values and a derived environ, seen from both sides. */
static gw_result
values(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const char  key, other;
    gw_environ        *mine;
    gw_str             changed, before;
    char               text[128];

    hung += 2;
    if (gw_environ_put(env, &key, strdup("first"), drop_value) < 0
        || gw_environ_put(env, &other, strdup("second"), drop_value) < 0
        || gw_environ_derive(env, &mine) < 0
        || gw_environ_set(mine, "REMOTE_USER", 11, "ada", 3) < 0
        || gw_environ_get(mine, "REMOTE_USER", 11, &changed) < 0)
    {
        return GW_ERR_APP;
    }
    snprintf(text, sizeof text, "%s %s %.*s %d %s",
             (char *) gw_environ_at(mine, &key),
             (char *) gw_environ_at(env, &other), (int) changed.len,
             changed.data, (int) gw_environ_get(env, "REMOTE_USER", 11, &before),
             gw_environ_at(env, text) == NULL ? "none" : "some");
    return reply_text(env, start, sr, body, text);
}

static gw_result
counts(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char text[200];

    snprintf(text, sizeof text,
             "opened %llu closed %llu hung %llu dropped %llu released %llu "
             "produced %llu", opened, closed, hung, dropped, released, produced);
    return reply_text(env, start, sr, body, text);
}

/* What is said of the worker. */
static gw_result
flags(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char text[80];

    snprintf(text, sizeof text, "once %d processes %d threads %d\n",
             (env->flags & GW_ENV_RUN_ONCE) != 0,
             (env->flags & GW_ENV_MULTIPROCESS) != 0,
             (env->flags & GW_ENV_MULTITHREAD) != 0);
    return reply_text(env, start, sr, body, text);
}

/* ---- failures ---- */

static gw_result
fail(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    (void) start, (void) sr, (void) body;
    return gw_fail(env, "the application fails on purpose", 32);
}

static gw_result
no_head(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    (void) env, (void) start, (void) sr;
    return gw_body_bytes(body, "no head", 7, count_release, NULL);
}

static const struct { const char *path; handler *call; } handlers[] = {
    { "/", hello }, { "/query", query }, { "/chunks", chunks },
    { "/failing", failing }, { "/claim", claim }, { "/status", status },
    { "/writing", writing }, { "/twice", twice }, { "/too-late", too_late },
    { "/refused", refused }, { "/early", early }, { "/echo", echo },
    { "/sum", sum }, { "/lines", lines }, { "/one", one }, { "/relay", relay }, { "/file", file },
    { "/variable", variable }, { "/values", values }, { "/counts", counts },
    { "/fail", fail }, { "/no-head", no_head }, { "/flags", flags },
};

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
    gw_body *body)
{
    gw_response  missing = { .status = 404 };
    size_t       i;

    (void) ctx;
    for (i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        if (strlen(handlers[i].path) == env->path_info.len
            && memcmp(handlers[i].path, env->path_info.data,
                      env->path_info.len) == 0)
        {
            return handlers[i].call(env, start, sr, body);
        }
    }
    return gw_reply(start, sr, body, &missing, NULL);
}

/* valgrind (3.19) cannot grow the stack for a signal that arrives in a system
   call at its very end: it is grown here. */
static void
grow_stack(void)
{
    volatile char page[256 * 1024];
    size_t        i;

    for (i = 0; i < sizeof page; i += 1024) {
        page[i] = 1;
    }
    (void) page[0];
}

int
main(int argc, char **argv)
{
    gw_app      self = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_result   rc = gw_config_set(cfg, "bind", argv[1], &err);
    int         i;

    grow_stack();
    self.call = app;
    self.name = "app";
    self.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    for (i = 2; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');

        *value++ = '\0';
        if (strcmp(argv[i], "file") == 0) {
            file_path = value;
        } else if (strcmp(argv[i], "blocking") == 0) {
            self.flags = GW_APP_SERIAL;
        } else {
            rc = gw_config_set(cfg, argv[i], value, &err);
        }
    }

    if (rc < 0) {
        gw_config_free(cfg);
    } else if ((rc = gw_config_app(cfg, &self, &err)) < 0) {
        gw_config_free(cfg);
    } else {
        rc = gw_serve(cfg, &err);
    }
    if (rc < 0) {
        fprintf(stderr, "app: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
