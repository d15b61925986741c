/*
 * hooked_host.c - serves modules at several places.
 *
 *     hooked_host ["mount=WHERE FILE ARGUMENT"]... [option=value]...
 *                 [next "mount=WHERE FILE ARGUMENT"... option=value...]
 *
 * With `next`, once the first workers are ready, a reload makes it serve those
 * behind it, and says "reloaded"; then the file that RELOADED names is there.
 */
#include <gateway.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gw_config *next;
static int        is_begun;

static void
when_ready(void *ctx, gw_arbiter *a)
{
    (void) ctx;
    if (next != NULL && !is_begun++ && gw_arbiter_reload(a, next) < 0) {
        abort();
    }
}

static void
reloaded(void *ctx, gw_arbiter *a, const gw_error *failure)
{
    const char *told = getenv("RELOADED");
    FILE       *file = told ? fopen(told, "w") : NULL;

    (void) ctx, (void) a;
    fprintf(stderr, "host reloaded %s\n", failure ? failure->message : "well");
    if (file != NULL) {
        fclose(file);
    }
}

static gw_result
read_into(gw_config *cfg, char *arg, gw_error *err)
{
    char *value = strchr(arg, '='), *file, *args;

    *value++ = '\0';
    if (strcmp(arg, "mount") != 0) {
        return gw_config_set(cfg, arg, value, err);
    }
    file = strchr(value, ' ');
    *file++ = '\0';
    args = strchr(file, ' ');
    *args++ = '\0';
    return gw_config_module(cfg, value, file, args, err);
}

int
main(int argc, char **argv)
{
    gw_hooks    hooks = { .size = sizeof hooks, .when_ready = when_ready,
                          .reloaded = reloaded };
    gw_error    err = GW_INIT(gw_error);
    gw_config  *first = gw_config_new(), *cfg = first;
    gw_result   rc = gw_config_hooks(cfg, &hooks, &err);
    int         i;

    for (i = 1; i < argc && rc >= 0; i++) {
        if (strcmp(argv[i], "next") == 0) {
            cfg = next = gw_config_new();
        } else {
            rc = read_into(cfg, argv[i], &err);
        }
    }
    if (rc >= 0) {
        rc = gw_serve(first, &err);                         /* takes it */
    }
    if (rc < 0) {
        fprintf(stderr, "hooked_host: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
