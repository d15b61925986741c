/*
 * bench.c - what is measured: the same answers as limit.c, from libgateway.
 *
 *     bench address [workers]        /      hello       (also to a POST)
 *                                    /big   100 KiB
 */
#include <gateway.h>

#include <stdio.h>
#include <string.h>

#define BIG_SIZE 102400

static char big_body[BIG_SIZE];

static gw_result
bench(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    static const gw_response head = { .status = 200, .headers = headers,
                                      .header_count = 1 };
    gw_str     text;
    gw_result  rc;

    (void) ctx;
    if (env->flags & GW_ENV_HAS_BODY) {
        rc = gw_read_all(env, SIZE_MAX, &text);
        if (rc < 0) {
            return rc;
        }
    }
    rc = start_response(sr, &head, NULL);
    if (rc < 0) {
        return rc;
    }
    if (env->path_info.len > 1) {
        return gw_body_bytes(body, big_body, BIG_SIZE, NULL, NULL);
    }
    return gw_body_bytes(body, "hello, world\n", 13, NULL, NULL);
}

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();

    memset(big_body, 'x', sizeof big_body);
    app.call = bench;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;

    if (gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000",
                      &err) < 0
        || gw_config_set(cfg, "errorlog", "", &err) < 0
        || gw_config_set(cfg, "workers", argc > 2 ? argv[2] : "1", &err) < 0
        || gw_config_app(cfg, &app, &err) < 0
        || gw_serve(cfg, &err) < 0)
    {
        fprintf(stderr, "bench: %s\n", err.message);
        return err.exit_status;
    }

    return 0;
}
