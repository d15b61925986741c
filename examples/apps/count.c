/*
 * count.c - a module that counts, one line after the other, for apps.toml.
 *
 *     cc -shared -fPIC -o count.so count.c -lgateway
 */
#include <gateway.h>

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    unsigned at, end;
    char     line[16];
} counter;

static gw_result
next(void *ctx, gw_chunk *out)
{
    counter *c = ctx;

    if (c->at == c->end) {
        return GW_EOF;
    }
    out->data = c->line;                /* valid until we are asked again */
    out->len = (uint64_t) snprintf(c->line, sizeof c->line, "%u\n", ++c->at);
    out->flags = GW_CHUNK_FLUSH;
    return GW_OK;
}

static gw_result
count(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response head = { .status = 200, .headers = headers,
                         .header_count = 1 };
    counter    *c = gw_environ_alloc(env, sizeof *c);
    const char *query = gw_environ_cstr(env, env->query_string);
    gw_result   rc;

    (void) ctx;
    if (c == NULL || query == NULL) {
        return GW_ERR_MEMORY;
    }
    rc = start_response(sr, &head, NULL);
    if (rc < 0) {
        return rc;
    }
    c->at = 0;
    c->end = (unsigned) strtoul(query, NULL, 10);
    c->end = c->end > 1000 ? 1000 : c->end;
    body->next = next;
    body->ctx = c;
    return GW_OK;
}

GW_MODULE_DECLARE;

gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static gw_app app = GW_INIT(gw_app);

    (void) args, (void) err;
    app.call = count;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    out->abi = GW_ABI;
    out->name = "count";
    out->app = &app;
    return GW_OK;
}
