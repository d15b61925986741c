/*
 * mounts.c - several applications in one server, by path and by host, and a
 * middleware around one of them.
 *
 *     cc -o mounts mounts.c -lgateway
 *     ./mounts [address [module.so]]                     (127.0.0.1:8000)
 *
 *     curl http://127.0.0.1:8000/about          site, at "" /about
 *     curl http://127.0.0.1:8000/shop/cart      shop, at "/shop" /cart
 *     curl -u any:one http://127.0.0.1:8000/admin/users
 *     curl http://127.0.0.1:8000/admin/users    401
 *     curl -H 'Host: docs.localhost' http://127.0.0.1:8000/shop
 *
 * A module that is named is mounted at /module: module.c, for one.  Take the
 * first mount away, and /about is answered with 404.
 */
#include <gateway.h>

#include <stdio.h>
#include <string.h>

static const gw_pair text[] = {
    { GW_LIT("Content-Type"), GW_LIT("text/plain") },
};

/* Says its name, and where it is mounted: links to itself begin there. */

static gw_result
place(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    gw_response head = { .status = 200, .headers = text, .header_count = 1 };
    gw_result   rc = start_response(sr, &head, NULL);
    char        line[256];
    int         n;

    n = snprintf(line, sizeof line, "%s, at \"%.*s\" %.*s\n",
                 (const char *) ctx,
                 (int) env->script_name.len, env->script_name.data,
                 (int) (env->path_info.len > 100 ? 100 : env->path_info.len),
                 env->path_info.data);
    return rc < 0 ? rc : gw_body_copy(env, body, line, (size_t) n);
}

/* Lets nobody through who does not say who it is; `ctx` is the application
   behind it. */

static gw_result
asks(void *ctx, gw_environ *env, gw_start_response_fn start_response,
     void *sr, gw_body *body)
{
    static const gw_pair who[] = {
        { GW_LIT("WWW-Authenticate"), GW_LIT("Basic realm=\"any\"") },
    };
    static const char name[] = "HTTP_AUTHORIZATION";
    gw_response head = { .status = 401, .headers = who, .header_count = 1 };
    gw_str      said;

    if (gw_environ_get(env, name, strlen(name), &said) == GW_OK) {
        return gw_app_call(ctx, env, start_response, sr, body);
    }
    return gw_reply(start_response, sr, body, &head, NULL);
}

static gw_result
guard(void *ctx, const gw_app *inner, gw_app *outer, gw_error *err)
{
    (void) ctx, (void) err;
    outer->call = asks;
    outer->ctx = (void *) inner;
    return GW_OK;
}

static gw_result
mount(gw_config *cfg, const char *where, char *name, gw_error *err)
{
    gw_app app = GW_INIT(gw_app);

    app.call = place;
    app.ctx = name;
    app.name = name;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    return gw_config_mount(cfg, where, &app, err);
}

int
main(int argc, char **argv)
{
    static char site[] = "site", shop[] = "shop", admin[] = "admin",
                docs[] = "docs";
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();

    if (mount(cfg, "/", site, &err) < 0
        || mount(cfg, "/shop", shop, &err) < 0
        || mount(cfg, "/admin", admin, &err) < 0
        || gw_config_use_at(cfg, "/admin", guard, NULL, NULL, &err) < 0
        || mount(cfg, "docs.localhost/", docs, &err) < 0
        || (argc > 2
            && gw_config_module(cfg, "/module", argv[2], NULL, &err) < 0)
        || gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000",
                         &err) < 0
        || gw_serve(cfg, &err) < 0)         /* takes cfg, whatever it returns */
    {
        fprintf(stderr, "mounts: %s\n", err.message);
        return err.exit_status;
    }

    return 0;
}
