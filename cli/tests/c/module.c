/*
 * A module that answers "NAME PID ARGS DIRECTORY VALUE QUERY\n", or ends badly in
 * gw_module_init: args say how, and "in a worker" there alone.
 */
#include <gateway.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char           told[128];
static void *volatile nowhere;

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start_response,
       void *sr, gw_body *body)
{
    static const gw_pair text[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response head = { .status = 200, .headers = text, .header_count = 1 };
    gw_result   rc = start_response(sr, &head, NULL);
    const char *value = getenv("GATEWAY_TEST");
    char        line[2048], here[1024];

    (void) ctx;
    if (rc < 0 || getcwd(here, sizeof here) == NULL) {
        return rc < 0 ? rc : GW_ERR_APP;
    }
    snprintf(line, sizeof line, "module %d (%s) %s %s %.*s\n", (int) getpid(),
             told, here, value != NULL ? value : "-",
             (int) (env->query_string.len > 100 ? 100 : env->query_string.len),
             env->query_string.data);
    return gw_body_copy(env, body, line, strlen(line));
}

GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static gw_app app = GW_INIT(gw_app);
    const char   *how = args->args;

    snprintf(told, sizeof told, "%s", how);
    if (strncmp(how, "worker ", 7) == 0) {
        how = gw_is_worker() ? how + 7 : "";
    }
    if (strcmp(how, "segfault") == 0) {
        *(volatile int *) nowhere = 1;
    } else if (strcmp(how, "abort") == 0) {
        abort();
    } else if (strcmp(how, "exit") == 0) {
        exit(7);
    } else if (strcmp(how, "fail") == 0) {
        snprintf(err->message, sizeof err->message, "no database");
        return GW_ERR_IO;
    }
    app.call = answer;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    out->abi = GW_ABI;
    out->name = "tested";
    out->app = &app;
    return GW_OK;
}
