/*
 * where.c - a module that says where it is mounted, for apps.toml.
 *
 *     cc -shared -fPIC -o where.so where.c -lgateway
 */
#include <gateway.h>

#include <stdio.h>
#include <unistd.h>

/* As much as there is room for. */

static int
shown(gw_str text)
{
    return text.len > 300 ? 300 : (int) text.len;
}

static gw_result
where(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response head = { .status = 200, .headers = headers,
                         .header_count = 1 };
    gw_result   rc = start_response(sr, &head, NULL);
    char        text[1024];
    int         len;

    (void) ctx;
    len = snprintf(text, sizeof text,
                   "where %d SCRIPT_NAME \"%.*s\" PATH_INFO \"%.*s\" "
                   "QUERY_STRING %.*s\n",
                   (int) getpid(), shown(env->script_name),
                   env->script_name.data,
                   shown(env->path_info), env->path_info.data,
                   shown(env->query_string), env->query_string.data);
    if (rc < 0 || len < 0 || len >= (int) sizeof text) {
        return rc < 0 ? rc : GW_ERR_APP;
    }
    return gw_body_copy(env, body, text, (size_t) len);
}

GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static gw_app app = GW_INIT(gw_app);

    (void) args, (void) err;
    app.call = where;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    out->abi = GW_ABI;
    out->name = "where";
    out->app = &app;
    return GW_OK;
}
