/* The foreign loop, in full, with the least main around it.  Stops at the
   tenth request, gracefully, from inside the application. */
#include <gateway.h>
#include <poll.h>
#include <stdio.h>

static gw_server *s;

static gw_result
hello(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    int         *count = ctx;
    gw_response  head = { .status = 200 };
    gw_chunk     chunk = { .data = "hello, loop\n", .len = 12 };

    (void) env;
    if (++*count == 10) {
        gw_server_stop(s, GW_STOP_GRACEFUL);
    }
    return gw_reply(start_response, sr, body, &head, &chunk);
}

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_result   rc;
    int64_t     wait_ms;
    int         count = 0;

    app.call = hello;
    app.ctx = &count;
    app.flags = GW_APP_NONBLOCKING;

    if (gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000",
                      &err) < 0
        || gw_config_app(cfg, &app, &err) < 0
        || gw_server_new(cfg, &s, &err) < 0)
    {
        fprintf(stderr, "design_loop: %s\n", err.message);
        return 1;
    }

    while ((rc = gw_server_turn(s, &wait_ms)) >= 0 && rc != GW_EOF)
        poll(&(struct pollfd){ gw_server_fd(s), POLLIN, 0 }, 1, (int) wait_ms);

    gw_server_free(s);
    printf("%d requests\n", count);
    return rc == GW_EOF ? 0 : 1;
}
