/*
 * suite.c - the application behind every front: it tells what it was asked, so
 * that answers can be compared octet by octet.
 *
 *     suite bind=address[,address ...] [option=value ...]
 *
 * The first part of PATH_INFO says what is wanted, numbers come from the query
 * string; see `handlers` at the end.  Started by a web server (CGI) it answers
 * one request.  tests/fronts/requests.toml has the requests.
 */
#define _POSIX_C_SOURCE 200809L
#include "app.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef gw_result handler(gw_environ *env, gw_start_response_fn start, void *sr,
                          gw_body *body);

static atomic_ullong opened, closed, later, given_up;

/* ---- small helpers ---- */

/* A parameter of the query string, or "". */
static const char *
word(gw_environ *env, const char *name)
{
    gw_str value;

    if (gw_environ_query(env, name, strlen(name), &value) < 0) {
        return "";
    }
    return gw_environ_cstr(env, value);
}

/* A short text as the whole answer. */
static gw_result
say(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body,
    const gw_response *head, const char *text)
{
    gw_result rc = start(sr, head, NULL);

    return rc < 0 ? rc : gw_body_copy(env, body, text, strlen(text));
}

/* FNV-1a, a step at a time. */
static unsigned
digest(unsigned sum, const unsigned char *octets, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        sum = (sum ^ octets[i]) * 16777619u;
    }
    return sum;
}

/* ---- what was asked, as text ---- */

typedef struct {
    char   text[65536];
    size_t len;
} report;

static void
put(report *r, const char *octets, size_t n)
{
    size_t room = sizeof r->text - r->len;

    n = n < room ? n : room;
    memcpy(r->text + r->len, octets, n);
    r->len += n;
}

/* `name: "value"`, what is no visible ASCII as \xNN; `name: none` if missing. */
static void
put_line(report *r, gw_str name, gw_str value)
{
    char    hex[5];
    size_t  i;

    put(r, name.data, name.len);
    put(r, ": ", 2);
    if (value.data == NULL) {
        put(r, "none\n", 5);
        return;
    }
    put(r, "\"", 1);
    for (i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char) value.data[i];

        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {
            snprintf(hex, sizeof hex, "\\x%02x", c);
            put(r, hex, 4);
        } else {
            put(r, value.data + i, 1);
        }
    }
    put(r, "\"\n", 2);
}

static void
put_text(report *r, const char *name, gw_str value)
{
    gw_str key = { name, strlen(name) };

    put_line(r, key, value);
}

static int
starts(gw_str text, const char *with)
{
    return text.len >= strlen(with) && memcmp(text.data, with, strlen(with)) == 0;
}

/* Headers of the request itself: not those that a front adds about it. */
static int
is_told(gw_str name)
{
    static const char *const told[] = {
        "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "HTTP_ACCEPT_LANGUAGE",
        "HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_HOST", "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_NONE_MATCH", "HTTP_ORIGIN", "HTTP_PRAGMA", "HTTP_PROXY",
        "HTTP_RANGE", "HTTP_REFERER", "HTTP_USER_AGENT",
    };
    size_t i;

    if (starts(name, "HTTP_X_")) {
        return !starts(name, "HTTP_X_FORWARDED") && !starts(name, "HTTP_X_REAL")
               && !starts(name, "HTTP_X_HOST");
    }
    for (i = 0; i < sizeof told / sizeof told[0]; i++) {
        if (name.len == strlen(told[i]) && starts(name, told[i])) {
            return 1;
        }
    }
    return 0;
}

static int
by_name(const void *a, const void *b)
{
    const gw_pair *p = a, *q = b;
    size_t         n = p->name.len < q->name.len ? p->name.len : q->name.len;
    int            order = memcmp(p->name.data, q->name.data, n);

    return order != 0 ? order : (p->name.len > q->name.len) - (p->name.len < q->name.len);
}

static void
put_request(report *r, gw_environ *env)
{
    char      text[32];
    gw_str    length = { NULL, 0 };
    gw_pair   headers[300];
    size_t    i, n = 0;
    uint64_t  cursor = 0;

    put_text(r, "method", env->request_method);
    put_text(r, "script_name", env->script_name);
    put_text(r, "path_info", env->path_info);
    put_text(r, "query_string", env->query_string);
    put_text(r, "request_uri", env->request_uri);
    put_text(r, "content_type", env->content_type);
    if (env->content_length >= 0) {
        snprintf(text, sizeof text, "%lld", (long long) env->content_length);
        length.data = text;
        length.len = strlen(text);
    }
    put_text(r, "content_length", length);
    put_text(r, "protocol", env->server_protocol);
    put_text(r, "scheme", env->url_scheme);
    while (n < sizeof headers / sizeof headers[0]
           && gw_environ_next(env, &cursor, &headers[n]) == GW_OK)
    {
        n += (size_t) is_told(headers[n].name);
    }
    qsort(headers, n, sizeof headers[0], by_name);
    for (i = 0; i < n; i++) {
        put_line(r, headers[i].name, headers[i].value);
    }
}

/* ---- bodies that are asked for their chunks ---- */

typedef struct {
    gw_environ   *env;
    gw_deferred  *handle;           /* to be asked again after a pause */
    long long     n, size, pause;   /* chunks, octets of each, milliseconds */
    int           rests;            /* the next time it pauses */
    gw_result     end;              /* what comes after the last */
    int           c;                /* the octet of the next chunk */
    char         *data;
    report       *tells;            /* the request's body is counted instead */
    unsigned      sum;
    unsigned long long count;
} stream;

static stream *
new_stream(gw_environ *env, gw_body *body,
           gw_result (*next)(void *ctx, gw_chunk *out), void (*end)(void *ctx))
{
    stream *s = calloc(1, sizeof *s);

    s->env = env;
    s->end = GW_EOF;
    body->next = next;
    body->close = end;
    body->ctx = s;
    atomic_fetch_add(&opened, 1);
    return s;
}

static void
end_stream(void *ctx)
{
    stream *s = ctx;

    if (s->handle != NULL) {
        (void) gw_deferred_end(s->handle, GW_OK);
    }
    free(s->tells);
    free(s->data);
    free(s);
    atomic_fetch_add(&closed, 1);
}

static gw_result
next_chunk(void *ctx, gw_chunk *out)
{
    stream *s = ctx;

    if (s->n == 0) {
        return s->end;
    }
    if (s->handle != NULL && s->rests) {
        s->rests = 0;
        (void) gw_deferred_resume_after(s->handle, (uint32_t) s->pause);
        return GW_AGAIN;
    }
    s->rests = 1;
    s->n--;
    memset(s->data, 'a' + s->c++ % 26, (size_t) s->size);
    out->data = s->data;
    out->len = (uint64_t) s->size;
    return GW_OK;
}

/* n, size, pause: chunks with milliseconds between them; length=1: their sum
   is announced, with `more` octets that do not come */
static gw_result
answer_stream(gw_environ *env, gw_start_response_fn start, void *sr,
              gw_body *body, gw_result end)
{
    stream      *s = new_stream(env, body, next_chunk, end_stream);
    char         length[32];
    gw_pair      headers[2] = { text_plain };
    gw_response  head = { .status = 200, .headers = headers, .header_count = 1 };

    s->n = number(env, "n", 1);
    s->size = number(env, "size", 10);
    s->pause = number(env, "pause", 0);
    s->end = end;
    s->data = malloc((size_t) s->size + 1);
    if (s->pause > 0 && gw_defer(env, NULL, &s->handle) < 0) {
        s->handle = NULL;
    }
    if (number(env, "length", 0)) {
        snprintf(length, sizeof length, "%lld",
                 s->n * s->size + number(env, "more", 0));
        headers[1] = pair("Content-Length", length);
        head.header_count = 2;
    }
    return start(sr, &head, NULL);
}

static gw_result
streamed(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    return answer_stream(env, start, sr, body, GW_EOF);
}

/* The same, and then it fails. */
static gw_result
fails_late(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    return answer_stream(env, start, sr, body, GW_ERR_APP);
}

/* ---- bodies of requests ---- */

static gw_result
next_of_tell(void *ctx, gw_chunk *out)
{
    stream         *s = ctx;
    unsigned char   buf[16384];
    char            text[64];
    size_t          n;
    gw_result       rc;

    if (s->tells->len == 0) {
        return GW_EOF;
    }
    while ((rc = gw_read(s->env, buf, sizeof buf, GW_NOWAIT, &n)) == GW_OK) {
        s->sum = digest(s->sum, buf, n);
        s->count += n;
    }
    if (rc != GW_EOF) {
        return rc;
    }
    snprintf(text, sizeof text, "body: %llu %08x\n", s->count, s->sum);
    put(s->tells, text, strlen(text));
    s->data = malloc(s->tells->len);
    memcpy(s->data, s->tells->text, s->tells->len);
    out->data = s->data;
    out->len = s->tells->len;
    s->tells->len = 0;
    return GW_OK;
}

/* What was asked, and the length and digest of the body. */
static gw_result
tell(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    report *r = calloc(1, sizeof *r);

    put_request(r, env);
    if ((env->flags & GW_ENV_HAS_BODY) && env->content_length != 0) {
        stream *s = new_stream(env, body, next_of_tell, end_stream);

        s->tells = r;
        s->sum = 2166136261u;
        return start(sr, &ok, NULL);
    }
    put(r, "body: 0 811c9dc5\n", 17);
    gw_result rc = start(sr, &ok, NULL);

    if (rc == GW_OK) {
        rc = gw_body_copy(env, body, r->text, r->len);
    }
    free(r);
    return rc;
}

static gw_result
next_of_relay(void *ctx, gw_chunk *out)
{
    stream     *s = ctx;
    size_t      n;
    gw_result   rc = gw_read(s->env, s->data, 16384, GW_NOWAIT, &n);

    if (rc == GW_OK) {
        out->data = s->data;
        out->len = n;
    }
    return rc;
}

static gw_result
next_of_echo(void *ctx, gw_chunk *out)
{
    stream     *s = ctx;
    size_t      n;
    gw_result   rc;

    if (s->data == NULL) {
        return GW_EOF;
    }
    while ((rc = gw_read(s->env, s->data + s->count, (size_t) s->size - s->count,
                         GW_NOWAIT, &n)) == GW_OK)
    {
        s->count += n;
        if (s->count == (unsigned long long) s->size) {
            s->size *= 2;
            s->data = realloc(s->data, (size_t) s->size);
        }
    }
    if (rc != GW_EOF || s->count == 0) {
        return rc;
    }
    out->data = s->data;
    out->len = s->count;
    out->release = free;
    out->arg = s->data;
    s->data = NULL;
    return GW_OK;
}

static const gw_pair  octets = { GW_LIT("Content-Type"),
                                 GW_LIT("application/octet-stream") };

/* The body as it came, once it is complete. */
static gw_result
echo(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_response  head = { .status = 200, .headers = &octets, .header_count = 1 };
    stream      *s = new_stream(env, body, next_of_echo, end_stream);

    s->size = 65536;
    s->data = malloc((size_t) s->size);
    return start(sr, &head, NULL);
}

/* The body, piece by piece as it comes. */
static gw_result
relay(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_response  head = { .status = 200, .headers = &octets, .header_count = 1 };

    new_stream(env, body, next_of_relay, end_stream)->data = malloc(16384);
    return start(sr, &head, NULL);
}

/* Answers, and has read nothing. */
static gw_result
early(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    return say(env, start, sr, body, &ok, "no need to read that\n");
}

/* ---- heads ---- */

/* code, reason; with a body where the status may have one */
static gw_result
status(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_response  head = ok;
    const char  *reason = word(env, "reason");

    head.status = (uint16_t) number(env, "code", 200);
    head.reason.data = reason;
    head.reason.len = strlen(reason);
    if (head.status == 204 || head.status == 304) {
        head.header_count = 0;
        return start(sr, &head, NULL);
    }
    return say(env, start, sr, body, &head, "a body\n");
}

/* What a cache is told: 304 for the ETag that is "1", else 200. */
static gw_result
cached(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const gw_pair  headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
        { GW_LIT("ETag"), GW_LIT("\"1\"") },
        { GW_LIT("Cache-Control"), GW_LIT("max-age=60") },
        { GW_LIT("Vary"), GW_LIT("Accept") },
        { GW_LIT("Last-Modified"), GW_LIT("Sun, 06 Nov 1994 08:49:37 GMT") },
    };
    gw_response           head = { .status = 200, .headers = headers,
                                   .header_count = 5 };
    gw_str                tag;

    if (gw_environ_get(env, "HTTP_IF_NONE_MATCH", 18, &tag) == GW_OK
        && tag.len == 3 && starts(tag, "\"1\""))
    {
        head.status = 304;
        head.headers++;
        head.header_count--;
        return start(sr, &head, NULL);
    }
    return say(env, start, sr, body, &head, "cached\n");
}

static gw_result
headers(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const gw_pair  all[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain; charset=utf-8") },
        { GW_LIT("Set-Cookie"), GW_LIT("a=1; Path=/; HttpOnly") },
        { GW_LIT("Set-Cookie"), GW_LIT("b=2; Expires=Wed, 09 Jun 2031 10:18:14 GMT") },
        { GW_LIT("set-cookie"), GW_LIT("c=\"3, 4\"") },
        { GW_LIT("x-lower"), GW_LIT("lower") },
        { GW_LIT("X-UPPER"), GW_LIT("UPPER") },
        { GW_LIT("X-Under_Score"), GW_LIT("kept") },
        { GW_LIT("X-Punct"), GW_LIT("a;b=\"c\", (d) <e> {f} [g] @h :i /j ?k =l") },
        { GW_LIT("X-Empty"), GW_LIT("") },
        { GW_LIT("X-Last"), GW_LIT("last") },
    };
    gw_response           head = { .status = 200, .headers = all,
                                   .header_count = sizeof all / sizeof all[0] };

    return say(env, start, sr, body, &head, "headers\n");
}

/* The same name several times. */
static gw_result
twice(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const gw_pair  all[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
        { GW_LIT("X-Dup"), GW_LIT("one") },
        { GW_LIT("X-Dup"), GW_LIT("two") },
        { GW_LIT("Link"), GW_LIT("</a>; rel=next") },
        { GW_LIT("Link"), GW_LIT("</b>; rel=prev") },
        { GW_LIT("WWW-Authenticate"), GW_LIT("Basic realm=\"a, b\"") },
        { GW_LIT("WWW-Authenticate"), GW_LIT("Bearer") },
    };
    gw_response           head = { .status = 401, .headers = all,
                                   .header_count = sizeof all / sizeof all[0] };

    return say(env, start, sr, body, &head, "twice\n");
}

/* n headers of `size` octets */
static gw_result
many(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    size_t       i, n = (size_t) number(env, "n", 10);
    size_t       size = (size_t) number(env, "size", 10);
    gw_pair     *all = gw_environ_alloc(env, (n + 1) * sizeof *all);
    char        *value = gw_environ_alloc(env, size + 1);
    gw_response  head = { .status = 200, .headers = all, .header_count = n + 1 };

    memset(value, 'v', size);
    value[size] = '\0';
    all[0] = text_plain;
    for (i = 1; i <= n; i++) {
        char *name = gw_environ_alloc(env, 32);

        snprintf(name, 32, "X-Many-%zu", i);
        all[i] = pair(name, value);
    }
    return say(env, start, sr, body, &head, "many\n");
}

/* code, to: the Location */
static gw_result
redirect(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_pair      all[2] = { text_plain, pair("Location", word(env, "to")) };
    gw_response  head = { .status = (uint16_t) number(env, "code", 302),
                          .headers = all, .header_count = 2 };

    return say(env, start, sr, body, &head, "over there\n");
}

/* A part, for whoever asks for one; the whole else. */
static gw_result
range(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const gw_pair  all[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
        { GW_LIT("Accept-Ranges"), GW_LIT("bytes") },
        { GW_LIT("Content-Range"), GW_LIT("bytes 2-5/10") },
    };
    gw_response           head = { .status = 200, .headers = all,
                                   .header_count = 2 };
    gw_str                asked;

    if (gw_environ_get(env, "HTTP_RANGE", 10, &asked) == GW_OK
        && asked.len == 9 && starts(asked, "bytes=2-5"))
    {
        head.status = 206;
        head.header_count = 3;
        return say(env, start, sr, body, &head, "2345");
    }
    return say(env, start, sr, body, &head, "0123456789");
}

/* "gzip\n", as gzip -n has it: nobody may touch it. */
static gw_result
gzip(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    static const char     octets[] =
        "\x1f\x8b\x08\0\0\0\0\0\x02\xff\x4b\xaf\xca\x2c\xe0\x02\0\xff\x7c\x5e"
        "\x61\x05\0\0";
    static const gw_pair  all[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
        { GW_LIT("Content-Encoding"), GW_LIT("gzip") },
        { GW_LIT("Vary"), GW_LIT("Accept-Encoding") },
    };
    gw_response           head = { .status = 200, .headers = all,
                                   .header_count = 3 };
    gw_result             rc = start(sr, &head, NULL);

    (void) env;
    return rc < 0 ? rc : gw_body_bytes(body, octets, sizeof octets, NULL, NULL);
}

/* ---- other ways to answer ---- */

static gw_result
hello(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    return say(env, start, sr, body, &ok, "hello, world\n");
}

static gw_result
empty(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    (void) env, (void) body;
    return start(sr, &ok, NULL);
}

/* write() twice, then a body. */
static gw_result
writing(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_writer  writer;
    gw_chunk   one = { .data = "one,", .len = 4 };
    gw_chunk   two = { .data = "two,", .len = 4 };
    gw_result  rc = start(sr, &ok, &writer);

    (void) env;
    if (rc < 0 || (rc = writer.write(writer.ctx, &one)) != GW_OK
        || (rc = writer.write(writer.ctx, &two)) != GW_OK)
    {
        return rc == GW_AGAIN ? GW_ERR_BUSY : rc;
    }
    return gw_body_bytes(body, "three\n", 6, NULL, NULL);
}

static gw_result
hints(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    gw_pair      link = pair("Link", "</style.css>; rel=preload");
    gw_response  early_hints = { .status = 103, .headers = &link,
                                 .header_count = 1 };
    gw_result    rc = start(sr, &early_hints, NULL);

    return rc < 0 ? rc : say(env, start, sr, body, &ok, "after the hints\n");
}

/* size: so many octets of a file, from offset on */
static gw_result
file(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char       path[] = "/tmp/gateway-suite-XXXXXX";
    char       line[64];
    long long  at, size = number(env, "size", 1000);
    int        fd = mkstemp(path);
    FILE      *out = fd < 0 ? NULL : fdopen(dup(fd), "w");

    if (out == NULL) {
        return gw_fail(env, "no temporary file", 17);
    }
    (void) unlink(path);
    for (at = 0; at < size; at += (long long) strlen(line)) {
        snprintf(line, sizeof line, "line at %lld\n", at);
        (void) fwrite(line, 1, strlen(line), out);
    }
    if (fclose(out) != 0 || start(sr, &ok, NULL) < 0) {
        (void) close(fd);
        return GW_ERR_APP;
    }
    return gw_body_file(body, fd, number(env, "offset", 0), (uint64_t) size,
                        GW_FILE_CLOSE, NULL, NULL);
}

static void *
answer_later(void *arg)
{
    struct timespec  moment = { 0, 20 * 1000 * 1000 };
    gw_chunk         chunk = { .data = "later\n", .len = 6 };
    gw_deferred     *d = arg;

    (void) nanosleep(&moment, NULL);
    (void) gw_deferred_reply(d, &ok, &chunk, 1);
    atomic_fetch_add(&given_up, 1);
    return NULL;
}

/* Another thread answers, after a moment. */
static gw_result
defer(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    pthread_t     thread;
    gw_deferred  *d;
    gw_result     rc = gw_defer(env, NULL, &d);

    (void) start, (void) sr, (void) body;
    if (rc < 0) {
        return rc;
    }
    atomic_fetch_add(&later, 1);
    if (pthread_create(&thread, NULL, answer_later, d) != 0) {
        (void) answer_later(d);
    } else {
        (void) pthread_detach(thread);
    }
    return GW_DEFERRED;
}

static gw_result
fail(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    (void) start, (void) sr, (void) body;
    return gw_fail(env, "the application fails on purpose", 32);
}

/* ---- who is asking, and how much is under way ---- */

static gw_result
who(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    report     *r = calloc(1, sizeof *r);
    gw_str      host = { NULL, 0 };
    gw_result   rc = start(sr, &ok, NULL);

    (void) gw_environ_get(env, "HTTP_HOST", 9, &host);
    put_text(r, "remote_addr", env->remote_addr);
    put_text(r, "remote_port", env->remote_port);
    put_text(r, "server_name", env->server_name);
    put_text(r, "server_port", env->server_port);
    put_text(r, "scheme", env->url_scheme);
    put_text(r, "host", host);
    put_text(r, "run_once", env->flags & GW_ENV_RUN_ONCE ? GW_STR("yes") : GW_STR("no"));
    if (rc == GW_OK) {
        rc = gw_body_copy(env, body, r->text, r->len);
    }
    free(r);
    return rc;
}

static gw_result
counts(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char text[120];

    snprintf(text, sizeof text, "open %llu later %llu opened %llu",
             atomic_load(&opened) - atomic_load(&closed),
             atomic_load(&later) - atomic_load(&given_up), atomic_load(&opened));
    return say(env, start, sr, body, &ok, text);
}

/* What tests/harness/load.rs asks for. */
static gw_result
load(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char text[64];

    snprintf(text, sizeof text, "suite %ld %.*s\n", (long) getpid(),
             (int) env->query_string.len, env->query_string.data);
    return say(env, start, sr, body, &ok, text);
}

static const struct { const char *path; handler *call; } handlers[] = {
    { "cached", cached }, { "counts", counts }, { "defer", defer },
    { "early", early }, { "echo", echo }, { "empty", empty }, { "fail", fail },
    { "fails-late", fails_late }, { "file", file }, { "gzip", gzip },
    { "headers", headers }, { "hello", hello }, { "hints", hints },
    { "load", load }, { "many", many }, { "range", range },
    { "redirect", redirect }, { "relay", relay }, { "status", status }, { "stream", streamed },
    { "tell", tell }, { "twice", twice }, { "who", who }, { "write", writing },
};

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
    gw_body *body)
{
    static const gw_response  missing = { .status = 404, .headers = &text_plain,
                                          .header_count = 1 };
    gw_str                    path = env->path_info;
    size_t                    i;

    (void) ctx;
    for (i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        size_t n = strlen(handlers[i].path);

        if (path.len > n && path.data[0] == '/'
            && memcmp(path.data + 1, handlers[i].path, n) == 0
            && (path.len == n + 1 || path.data[n + 1] == '/'))
        {
            return handlers[i].call(env, start, sr, body);
        }
    }
    {
        report    *r = calloc(1, sizeof *r);
        gw_result  rc = start(sr, &missing, NULL);

        put_text(r, "nothing at", path);
        rc = rc < 0 ? rc : gw_body_copy(env, body, r->text, r->len);
        free(r);
        return rc;
    }
}

/* The same as a module; "blocks": it is to run on threads. */
GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static gw_app apps[2];
    gw_app       *self = &apps[strcmp(args->args, "blocks") == 0];

    (void) err;
    self->size = sizeof *self;
    self->call = app;
    self->name = "suite";
    self->flags = GW_APP_THREADSAFE | (self == &apps[0] ? GW_APP_NONBLOCKING : 0);
    out->abi = GW_ABI;
    out->name = "suite";
    out->version = "1.0";
    out->app = self;
    return GW_OK;
}

int
main(int argc, char **argv)
{
    gw_app      self = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_result   rc = GW_OK;
    int         i;

    self.call = app;
    self.name = "suite";
    self.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    /* A web server makes arguments of a query string without "=". */
    if (getenv("GATEWAY_INTERFACE") != NULL) {
        argc = 1;
    }
    for (i = 1; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');

        if (value == NULL) {
            fprintf(stderr, "usage: suite bind=address [option=value ...]\n");
            gw_config_free(cfg);
            return 2;
        }
        *value++ = '\0';
        rc = gw_config_set(cfg, argv[i], value, &err);
    }

    if (rc < 0) {
        gw_config_free(cfg);
    } else if ((rc = gw_config_app(cfg, &self, &err)) < 0) {
        gw_config_free(cfg);
    } else {
        rc = gw_serve(cfg, &err);
    }
    if (rc < 0) {
        fprintf(stderr, "suite: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
