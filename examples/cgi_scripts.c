/*
 * cgi_scripts.c - a server for the CGI scripts of a directory.
 *
 *     cc -o cgi_scripts cgi_scripts.c -lgateway
 *     ./cgi_scripts root=/srv/cgi-bin [timeout=60s] [option=value ...]
 *
 *     curl http://127.0.0.1:8000/hello.sh/more?a=b
 *
 * A script is any executable file; `threads` scripts run at once in a worker.
 */
#include <gateway.h>

#include <stdio.h>
#include <string.h>

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_result   rc = gw_config_set(cfg, "threads", "4", &err);
    char        args[4096] = "";
    int         i;

    for (i = 1; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');

        if (value == NULL) {
            fprintf(stderr, "cgi_scripts: %s: not option=value\n", argv[i]);
            return 1;
        }
        if (strncmp(argv[i], "root=", 5) == 0
            || strncmp(argv[i], "timeout=", 8) == 0)
        {
            snprintf(args + strlen(args), sizeof args - strlen(args), " %s",
                     argv[i]);
            continue;
        }
        *value++ = '\0';
        rc = gw_config_set(cfg, argv[i], value, &err);
    }

    if (rc >= 0) {
        rc = gw_app_builtin("cgi", args, &app, &err);
    }
    if (rc < 0) {
        gw_config_free(cfg);
    } else if ((rc = gw_config_app(cfg, &app, &err)) < 0) {  /* takes app */
        gw_config_free(cfg);
    } else {
        rc = gw_serve(cfg, &err);                            /* takes cfg */
    }
    if (rc < 0) {
        fprintf(stderr, "cgi_scripts: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
