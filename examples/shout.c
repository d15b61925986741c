/*
 * shout.c - a middleware that transforms the body: capitals, and "!!!" at the
 * end, with the application's Content-Length mended.  Used by middleware.c.
 */
#define _POSIX_C_SOURCE 200809L
#include <gateway.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const gw_chunk none, bang = { .data = "!!!", .len = 3 };

typedef struct {
    gw_start_response_fn start_response;    /* of whoever called us */
    void     *sr;
    gw_body   inner;                        /* first: what is left of a chunk */
    int       ended;                        /* inner has said GW_EOF */
    char      buf[4096];
} shouting;

static gw_result
start(void *ctx, const gw_response *head, gw_writer *writer)
{
    shouting    *s = ctx;
    gw_response  mine = *head;
    gw_pair      headers[64];
    char         text[24];
    size_t       i;

    if (head->header_count > 64 || writer != NULL) {
        return GW_ERR_UNSUPPORTED;          /* what is written goes past us */
    }
    for (i = 0; i < head->header_count; i++) {
        gw_str *name = &headers[i].name, *value = &headers[i].value;

        headers[i] = head->headers[i];
        if (name->len == 14 && !strncasecmp(name->data, "Content-Length", 14)) {
            snprintf(text, sizeof text, "%.*s", (int) value->len, value->data);
            value->len = (size_t) sprintf(text, "%llu",
                                          strtoull(text, NULL, 10) + bang.len);
            value->data = text;
        }
    }
    mine.headers = headers;
    return s->start_response(s->sr, &mine, NULL);
}

static void
drop(gw_chunk *chunk)
{
    if (chunk->release != NULL) {
        chunk->release(chunk->arg);
    }
    *chunk = none;
}

static gw_result
next(void *ctx, gw_chunk *out)
{
    shouting   *s = ctx;
    gw_chunk   *in = &s->inner.first;
    gw_result   rc = GW_EOF;

    if (in->len == 0) {
        drop(in);
        if (s->inner.next != NULL && !s->ended) {
            rc = s->inner.next(s->inner.ctx, in);
        }
        if (rc == GW_EOF && !s->ended++) {
            *out = bang;
            return GW_OK;
        }
        if (rc != GW_OK) {
            return rc;
        }
    }
    if (in->flags & GW_CHUNK_FILE) {
        return GW_ERR_UNSUPPORTED;          /* it would have to be read */
    }

    out->data = s->buf;                     /* valid until the next call */
    while (in->len > 0 && out->len < sizeof s->buf) {
        s->buf[out->len++] = (char) toupper(*(const unsigned char *) in->data);
        in->data = (const char *) in->data + 1;
        in->len--;
    }
    return GW_OK;
}

static void
end(void *ctx)
{
    shouting *s = ctx;

    drop(&s->inner.first);
    if (s->inner.close != NULL) {
        s->inner.close(s->inner.ctx);
    }
}

gw_result
shout(void *app, gw_environ *env, gw_start_response_fn start_response, void *sr,
      gw_body *body)
{
    shouting *s = gw_environ_alloc(env, sizeof *s);

    if (s == NULL) {
        return GW_ERR_MEMORY;
    }
    *s = (shouting) { .start_response = start_response, .sr = sr,
                      .inner = GW_INIT(gw_body) };
    body->next = next;                      /* unless the call below fails */
    body->close = end;
    body->ctx = s;
    return gw_app_call(app, env, start, s, &s->inner);
}
