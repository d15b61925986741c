/*
 * module.c - an application in a file of its own: built alone, named when a
 * server starts, and replaced while it runs.
 *
 *     cc -shared -fPIC -o hi.so module.c -lgateway
 *     cc -o host host.c -lgateway && ./host ./hi.so [address [args]]
 *     curl http://127.0.0.1:8000/
 *
 * New code: build it under another name, and `mv` that over hi.so (never write
 * into a file that is loaded).  Workers that start then run it.
 */
#include <gateway.h>

#include <stdio.h>

static char greeting[64] = "hello";         /* the args, if there are some */

static gw_result
greet(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response head = { .status = 200, .headers = headers,
                         .header_count = 1 };
    char        text[128];
    int         len = snprintf(text, sizeof text, "%s from %s\n",
                               (const char *) ctx, gw_version());
    gw_result   rc = start_response(sr, &head, NULL);

    return rc < 0 ? rc : gw_body_copy(env, body, text, (size_t) len);
}

GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static gw_app app = GW_INIT(gw_app);

    if (args->args[0] != 0
        && snprintf(greeting, sizeof greeting, "%s", args->args)
               >= (int) sizeof greeting)
    {
        snprintf(err->message, sizeof err->message,
                 "a greeting has at most %zu octets", sizeof greeting - 1);
        return GW_ERR_INVALID;              /* nothing is served, and it says why */
    }
    app.call = greet;
    app.ctx = greeting;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    out->abi = GW_ABI;                      /* what it was compiled for */
    out->name = "greeter";
    out->version = "1.0";
    out->app = &app;
    return GW_OK;
}
