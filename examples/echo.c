/*
 * echo.c - the body of a request, given back piece by piece, with the
 * Content-Type that it came with.
 *
 *     cc -o echo echo.c -lgateway && ./echo [address]
 *
 *     curl -d 'some text' http://127.0.0.1:8000/
 *     curl -T echo.c -H 'Transfer-Encoding: chunked' http://127.0.0.1:8000/
 */
#include <gateway.h>

#include <stdio.h>
#include <string.h>

#define PIECE 16384

typedef struct {
    gw_environ *env;
    char        buf[PIECE];
} echo_body;

/* The library asks when the client can take more: memory stays one piece. */
static gw_result
echo_next(void *ctx, gw_chunk *out)
{
    echo_body *echo = ctx;
    size_t     n = 0;
    gw_result  rc = gw_read(echo->env, echo->buf, PIECE, 0, &n);

    out->data = echo->buf;
    out->len = n;
    return rc;                              /* GW_EOF, too, means the same */
}

static int
is(gw_str s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static gw_result
echo(void *ctx, gw_environ *env, gw_start_response_fn start_response,
     void *sr, gw_body *body)
{
    static const gw_pair allow[] = { { GW_LIT("Allow"), GW_LIT("POST, PUT") } };
    gw_response  head = { .status = 200 };
    gw_pair      headers[2];
    char         length[24];
    echo_body   *echo;
    gw_result    rc;

    (void) ctx;
    if (!is(env->request_method, "POST") && !is(env->request_method, "PUT")) {
        head.status = 405;
        head.headers = allow;
        head.header_count = 1;
        return gw_reply(start_response, sr, body, &head, NULL);
    }

    echo = gw_environ_alloc(env, sizeof *echo);
    if (echo == NULL) {
        return GW_ERR_MEMORY;
    }
    echo->env = env;

    head.headers = headers;
    if (env->content_type.data != NULL) {
        headers[head.header_count++] =
            (gw_pair) { GW_LIT("Content-Type"), env->content_type };
    }
    if (env->content_length >= 0) {         /* else it goes out in chunks */
        int n = snprintf(length, sizeof length, "%lld",
                         (long long) env->content_length);

        headers[head.header_count++] =
            (gw_pair) { GW_LIT("Content-Length"), { length, (size_t) n } };
    }

    rc = start_response(sr, &head, NULL);
    if (rc < 0) {
        return rc;
    }
    body->next = echo_next;
    body->ctx = echo;
    return GW_OK;
}

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();

    app.call = echo;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;

    if (gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000",
                      &err) < 0
        || gw_config_app(cfg, &app, &err) < 0
        || gw_serve(cfg, &err) < 0)
    {
        fprintf(stderr, "echo: %s\n", err.message);
        return err.exit_status;
    }

    return 0;
}
