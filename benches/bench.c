/*
 * bench.c - what is measured: the same answers as limit.c, from libgateway.
 *
 *     bench address [option=value]...      /       hello
 *                                          /post   the same, after the body
 *                                          /big    100 KiB
 *
 * Linked as a shared object it is the same application as a module, for nginx.
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
    if (env->path_info.len == 4) {
        return gw_body_bytes(body, big_body, BIG_SIZE, NULL, NULL);
    }
    return gw_body_bytes(body, "hello, world\n", 13, NULL, NULL);
}

static gw_app app = GW_INIT(gw_app);

static void
make_app(void)
{
    memset(big_body, 'x', sizeof big_body);
    app.call = bench;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
}

GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    (void) args, (void) err;
    make_app();
    out->abi = GW_ABI;
    out->name = "bench";
    out->version = "1.0";
    out->app = &app;
    return GW_OK;
}

/* "name=value" */
static gw_result
set_option(gw_config *cfg, const char *option, gw_error *err)
{
    char        name[64];
    const char *equals = strchr(option, '=');

    if (equals == NULL || (size_t) (equals - option) >= sizeof name) {
        snprintf(err->message, sizeof err->message, "not an option: %s", option);
        return GW_ERR_INVALID;
    }
    memcpy(name, option, (size_t) (equals - option));
    name[equals - option] = '\0';

    return gw_config_set(cfg, name, equals + 1, err);
}

int
main(int argc, char **argv)
{
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    int         i;

    make_app();

    if (gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000",
                      &err) < 0
        || gw_config_set(cfg, "errorlog", "", &err) < 0
        || gw_config_set(cfg, "workers", "1", &err) < 0
        || gw_config_app(cfg, &app, &err) < 0)
    {
        goto failed;
    }
    for (i = 2; i < argc; i++) {
        if (set_option(cfg, argv[i], &err) < 0) {
            goto failed;
        }
    }
    if (gw_serve(cfg, &err) < 0) {
        goto failed;
    }

    return 0;

failed:
    fprintf(stderr, "bench: %s\n", err.message);
    return 1;
}
