/*
 * host.c - serves the application of any module, such as that of module.c.
 *
 *     cc -o host host.c -lgateway
 *     ./host ./hi.so [address [args]]       (127.0.0.1:8000, no args)
 *
 *     curl http://127.0.0.1:8000/
 *
 * Each worker loads the file by itself; with the option preload=1 the first
 * process does, and workers share its memory.
 */
#include <gateway.h>

#include <stdio.h>

int
main(int argc, char **argv)
{
    gw_error   err = GW_INIT(gw_error);
    gw_config *cfg = gw_config_new();

    if (argc < 2) {
        fprintf(stderr, "usage: host MODULE [address [args]]\n");
        return 2;
    }
    if (gw_config_module(cfg, NULL, argv[1], argc > 3 ? argv[3] : NULL, &err) < 0
        || gw_config_set(cfg, "bind", argc > 2 ? argv[2] : "127.0.0.1:8000",
                         &err) < 0
        || gw_serve(cfg, &err) < 0)         /* takes cfg */
    {
        fprintf(stderr, "host: %s\n", err.message);
        return err.exit_status;             /* 4: the module is not loaded */
    }
    return 0;
}
