/*
 * hello.c - the smallest server: one application, pre-forked workers.
 *
 *     cc -o hello hello.c -lgateway
 *     ./hello [address [workers]]           (127.0.0.1:8000, 2 workers)
 *
 *     curl -i http://127.0.0.1:8000/
 *
 * Ctrl-C or TERM stops it; requests under way are finished first on TERM.
 */
#include <gateway.h>

#include <stdio.h>

static gw_result
hello(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response head = { .status = 200, .headers = headers,
                         .header_count = 1 };
    gw_result   rc = start_response(sr, &head, NULL);

    (void) ctx, (void) env;
    if (rc < 0) {
        return rc;
    }

    return gw_body_bytes(body, "hello, world\n", 13, NULL, NULL);
}

int
main(int argc, char **argv)
{
    gw_app       app = GW_INIT(gw_app);
    gw_error     err = GW_INIT(gw_error);
    gw_config   *cfg = gw_config_new();
    gw_listener  on = GW_INIT(gw_listener);

    app.call = hello;
    app.name = "hello";
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    on.address = argc > 1 ? argv[1] : "127.0.0.1:8000";

    if (gw_config_app(cfg, &app, &err) < 0
        || gw_config_listen(cfg, &on, &err) < 0
        || gw_config_set(cfg, "workers", argc > 2 ? argv[2] : "2", &err) < 0
        || gw_serve(cfg, &err) < 0)         /* takes cfg, whatever it returns */
    {
        fprintf(stderr, "hello: %s\n", err.message);
        return err.exit_status;
    }

    return 0;
}
