/*
 * static_files.c - a server for the files of a directory, all of it ready-made.
 *
 *     cc -o static_files static_files.c -lgateway
 *     ./static_files "root=/srv/www max_age=1h" [address [networks]]
 *
 *     curl http://127.0.0.1:8000/
 *     curl -r 0-99 http://127.0.0.1:8000/index.html
 *
 * Each answer has an X-Request-ID; with networks ("10.0.0.0/8,127.0.0.1") only
 * these may ask.  gw_app(3) has all of the arguments.
 */
#include <gateway.h>

#include <stdio.h>

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    char        request_id[] = "request_id", access[4096];

    if (argc > 3) {
        snprintf(access, sizeof access, "access allow=%s", argv[3]);
    }
    if (gw_app_builtin("static", argc > 1 ? argv[1] : "root=.", &app, &err) < 0
        || gw_config_app(cfg, &app, &err) < 0                /* takes app */
        || (argc > 2 && gw_config_set(cfg, "bind", argv[2], &err) < 0)
        || gw_config_set(cfg, "threads", "4", &err) < 0
        || gw_config_use(cfg, gw_middleware_builtin, request_id, NULL, &err) < 0
        || (argc > 3 && gw_config_use(cfg, gw_middleware_builtin, access, NULL,
                                      &err) < 0))
    {
        gw_config_free(cfg);
    } else if (gw_serve(cfg, &err) == GW_OK) {               /* takes cfg */
        return 0;
    }
    fprintf(stderr, "static_files: %s\n", err.message);
    return err.exit_status;
}
