/*
 * hosted_module.c - the application of hosted_app.h as a module; with `counts`, what it has counted.
 */
#define _GNU_SOURCE
#include "hosted_app.h"

static gw_result
counting(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char text[200];

    if (!is(env, "/counts")) {
        return app(ctx, env, start, sr, body);
    }
    snprintf(text, sizeof text, "opened %llu closed %llu made %llu released %llu early %llu aborted %llu calls %llu\n",
             (unsigned long long) opened, (unsigned long long) closed, (unsigned long long) made,
             (unsigned long long) released, (unsigned long long) early_close,
             (unsigned long long) aborted, (unsigned long long) calls);
    gw_body_copy(env, body, text, strlen(text));
    return start(sr, &ok, NULL);
}

GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static gw_app application = GW_INIT(gw_app);

    (void) args, (void) err;
    main_thread = pthread_self();
    application.call = counting;
    application.flags = GW_APP_THREADSAFE;
    out->abi = GW_ABI;
    out->name = "hosted";
    out->version = "1.0";
    out->app = &application;
    return GW_OK;
}
