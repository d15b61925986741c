/*
 * middleware.c - applications around an application: a session, a URL router,
 * and shout.c, which transforms the body.
 *
 *     cc -o middleware middleware.c shout.c -lgateway && ./middleware [address]
 *     curl -b name=Ada http://127.0.0.1:8000/some/path
 *     curl -b name=Ada http://127.0.0.1:8000/loud/some/path     (in capitals)
 */
#include <gateway.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

gw_result shout(void *app, gw_environ *env, gw_start_response_fn start_response,
                void *sr, gw_body *body);

/* -- the session: a value on the environ, freed when the request is over -- */
static const char session_key;              /* its address is the key */

static gw_result
session_call(void *inner, gw_environ *env, gw_start_response_fn start_response,
             void *sr, gw_body *body)
{
    char   *name = calloc(1, 64);
    gw_str  cookie;

    if (gw_environ_put(env, &session_key, name, free) < 0 || name == NULL) {
        return GW_ERR_MEMORY;               /* put() has taken the name */
    }
    if (gw_environ_get(env, "HTTP_COOKIE", 11, &cookie) < 0
        || sscanf(gw_environ_cstr(env, cookie), "name=%63[A-Za-z]", name) != 1)
    {
        strcpy(name, "stranger");
    }
    return gw_app_call(inner, env, start_response, sr, body);
}

static gw_result
session(void *ctx, const gw_app *inner, gw_app *outer, gw_error *err)
{
    (void) ctx, (void) err;
    outer->call = session_call;
    outer->ctx = (void *) inner;            /* lives until outer is dropped */
    return GW_OK;
}

/* -- the router: a prefix moves from PATH_INFO to SCRIPT_NAME -- */
typedef struct { const char *prefix; const gw_app *app; } route;

static gw_result
router(void *ctx, gw_environ *env, gw_start_response_fn start_response,
       void *sr, gw_body *body)
{
    const route *r = ctx;                   /* the last one's prefix is "" */
    gw_str       script = env->script_name, path = env->path_info;
    size_t       n = strlen(r->prefix);
    gw_environ  *inner;
    char        *mount;

    while (n > 0 && (path.len < n || memcmp(path.data, r->prefix, n) != 0
                     || (path.len > n && path.data[n] != '/')))
    {
        n = strlen((++r)->prefix);
    }
    mount = gw_environ_alloc(env, script.len + n + 1);
    if (mount == NULL || gw_environ_derive(env, &inner) < 0) {
        return GW_ERR_MEMORY;
    }
    sprintf(mount, "%.*s%s", (int) script.len, script.data, r->prefix);
    gw_environ_set(inner, "SCRIPT_NAME", 11, mount, script.len + n);
    gw_environ_set(inner, "PATH_INFO", 9, path.data + n, path.len - n);
    return gw_app_call(r->app, inner, start_response, sr, body);
}

/* -- the application in the middle -- */
static gw_result
greet(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    char         text[256], length[8];
    gw_pair      headers[] = { { GW_LIT("Content-Type"), GW_LIT("text/plain") },
                               { GW_LIT("Content-Length"), { length, 0 } } };
    gw_response  head = { .status = 200, .headers = headers,
                          .header_count = 2 };
    gw_str       script = env->script_name, path = env->path_info;
    int          n = snprintf(text, sizeof text, "hello, %s, at %.*s|%.*s\n",
                              (char *) gw_environ_at(env, &session_key),
                              (int) script.len, script.data,
                              path.len < 99 ? (int) path.len : 99, path.data);
    gw_result    rc = gw_body_copy(env, body, text, (size_t) n);

    (void) ctx;
    headers[1].value.len = (size_t) sprintf(length, "%d", n);
    return rc < 0 ? rc : start_response(sr, &head, NULL);
}

int
main(int argc, char **argv)
{
    gw_app      plain = { .size = sizeof plain, .call = greet };
    gw_app      loud = { .size = sizeof loud, .call = shout, .ctx = &plain };
    route       routes[] = { { "/loud", &loud }, { "", &plain } };
    gw_app      app = { .size = sizeof app, .call = router, .ctx = routes,
                        .flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING };
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();

    if ((argc > 1 && gw_config_set(cfg, "bind", argv[1], &err) < 0)
        || gw_config_app(cfg, &app, &err) < 0
        || gw_config_use(cfg, session, NULL, NULL, &err) < 0
        || gw_serve(cfg, &err) < 0)
    {
        fprintf(stderr, "middleware: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
