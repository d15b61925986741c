/*
 * linted.c - loaded before a program (LD_PRELOAD), it puts lint around every
 * application that the program makes a server or an arbiter of, and leaves the
 * file that LINTED names to say so.
 */
#define _GNU_SOURCE
#include <gateway.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void
use_lint(gw_config *cfg)
{
    static char  lint[] = "lint";
    gw_error     err = GW_INIT(gw_error);
    const char  *path = getenv("LINTED");
    FILE        *file;

    if (gw_config_use(cfg, gw_middleware_builtin, lint, NULL, &err) < 0) {
        fprintf(stderr, "linted: %s\n", err.message);
        abort();
    }
    file = path == NULL ? NULL : fopen(path, "w");
    if (file != NULL) {
        fclose(file);
    }
}

/* The library's own functions. */

gw_result
gw_serve(gw_config *cfg, gw_error *err)
{
    gw_result (*real)(gw_config *, gw_error *);

    *(void **) &real = dlsym(RTLD_NEXT, "gw_serve");
    use_lint(cfg);
    return real(cfg, err);
}

gw_result
gw_server_new(gw_config *cfg, gw_server **out, gw_error *err)
{
    gw_result (*real)(gw_config *, gw_server **, gw_error *);

    *(void **) &real = dlsym(RTLD_NEXT, "gw_server_new");
    use_lint(cfg);
    return real(cfg, out, err);
}

gw_result
gw_arbiter_new(gw_config *cfg, gw_arbiter **out, gw_error *err)
{
    gw_result (*real)(gw_config *, gw_arbiter **, gw_error *);

    *(void **) &real = dlsym(RTLD_NEXT, "gw_arbiter_new");
    use_lint(cfg);
    return real(cfg, out, err);
}
