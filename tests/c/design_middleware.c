#include <gateway.h>
#include <stdlib.h>
#include <string.h>

typedef struct { gw_start_response_fn fn; void *sr; } next_sr;

static gw_result
with_header(void *ctx, const gw_response *head, gw_writer *writer)
{
    next_sr    *n = ctx;
    gw_response mine = *head;
    gw_pair     h[64];
    static const gw_pair extra = { GW_LIT("X-Frame-Options"), GW_LIT("DENY") };

    if (head->header_count >= 64) {
        return n->fn(n->sr, head, writer);
    }
    memcpy(h, head->headers, head->header_count * sizeof h[0]);
    h[head->header_count] = extra;
    mine.headers = h;
    mine.header_count = head->header_count + 1;
    return n->fn(n->sr, &mine, writer);
}

static gw_result
call(void *ctx, gw_environ *env, gw_start_response_fn start_response, void *sr,
     gw_body *body)
{
    next_sr *n = gw_environ_alloc(env, sizeof *n);

    if (n == NULL) {
        return GW_ERR_MEMORY;
    }
    n->fn = start_response;
    n->sr = sr;
    return gw_app_call(ctx, env, with_header, n, body);
}

gw_result
frame_deny(void *ctx, const gw_app *inner, gw_app *outer, gw_error *err)
{
    (void) ctx, (void) err;
    outer->call = call;
    outer->ctx = (void *) inner;
    outer->flags = inner->flags;
    return GW_OK;
}


/* -- what serves it: the above must compile and run as it stands -- */

#include <stdio.h>

gw_result frame_deny(void *ctx, const gw_app *inner, gw_app *outer,
                     gw_error *err);

static gw_result
hello(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response head = { .status = 200, .headers = headers,
                         .header_count = 1 };
    gw_chunk    chunk = { .data = "hello, frame\n", .len = 13 };

    (void) ctx, (void) env;
    return gw_reply(start_response, sr, body, &head, &chunk);
}

int
main(int argc, char **argv)
{
    gw_app       app = GW_INIT(gw_app);
    gw_error     err = GW_INIT(gw_error);
    gw_config   *cfg = gw_config_new();

    app.call = hello;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;

    if (gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000",
                      &err) < 0
        || gw_config_set(cfg, "workers", "1", &err) < 0
        || gw_config_app(cfg, &app, &err) < 0
        || gw_config_use(cfg, frame_deny, NULL, NULL, &err) < 0
        || gw_serve(cfg, &err) < 0)
    {
        fprintf(stderr, "design_middleware: %s\n", err.message);
        return 1;
    }

    return 0;
}
