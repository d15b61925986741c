/*
 * serve.c - a server whose operator decides: every option of the library is an
 * argument.
 *
 *     cc -o serve serve.c -lgateway
 *     ./serve workers=4 accesslog=- graceful_timeout=10s
 *
 *     curl http://127.0.0.1:8000/
 *
 * docs/options.md has the options; docs/operations.md and examples/deploy/ run
 * this program under systemd and supervisord.
 */
#include <gateway.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static gw_result
who(void *ctx, gw_environ *env, gw_start_response_fn start_response, void *sr,
    gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response head = { .status = 200, .headers = headers, .header_count = 1 };
    char        text[40];
    int         n = snprintf(text, sizeof text, "worker %d\n", (int) getpid());
    gw_result   rc = start_response(sr, &head, NULL);

    (void) ctx;
    return rc < 0 ? rc : gw_body_copy(env, body, text, (size_t) n);
}

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    char        key[64];
    int         i;
    gw_result   rc;

    app.call = who;
    app.name = "serve";
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    rc = gw_config_app(cfg, &app, &err);

    for (i = 1; i < argc && rc >= 0; i++) {
        size_t len = strcspn(argv[i], "=");

        if (argv[i][len] != '=' || len >= sizeof key) {
            fprintf(stderr, "serve: %s: not option=value\n", argv[i]);
            return 1;
        }
        snprintf(key, sizeof key, "%.*s", (int) len, argv[i]);
        rc = gw_config_set(cfg, key, argv[i] + len + 1, &err);
    }

    if (rc >= 0) {
        rc = gw_serve(cfg, &err);               /* takes cfg */
    }
    if (rc < 0) {
        fprintf(stderr, "serve: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
