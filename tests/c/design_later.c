/* /count streams from an iterator; /later is answered by a thread */
#include <gateway.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const gw_pair text[] = {
    { GW_LIT("Content-Type"), GW_LIT("text/plain") },
};
static const gw_response text_200 = {
    .status = 200, .headers = text, .header_count = 1,
};

/* -- a body that is asked for its chunks -- */

typedef struct { int left; char line[16]; } countdown;

static gw_result
countdown_next(void *ctx, gw_chunk *out)
{
    countdown *c = ctx;

    if (c->left == 0) {
        return GW_EOF;
    }
    out->data = c->line;                /* valid until we are asked again */
    out->len = (uint64_t) snprintf(c->line, sizeof c->line, "%d\n", c->left--);
    out->flags = GW_CHUNK_FLUSH;
    return GW_OK;
}

static gw_result
count(gw_environ *env, gw_start_response_fn start_response, void *sr,
      gw_body *body)
{
    countdown  *c = gw_environ_alloc(env, sizeof *c);
    gw_result   rc;

    if (c == NULL) {
        return GW_ERR_MEMORY;
    }
    rc = start_response(sr, &text_200, NULL);
    if (rc < 0) {
        return rc;
    }
    c->left = 10;
    body->next = countdown_next;
    body->ctx = c;
    return GW_OK;
}

/* -- an answer that comes from another thread -- */

static void *
slow(void *arg)
{
    gw_deferred *d = arg;
    gw_chunk     chunk = { "at last\n", 8, 0, 0, GW_CHUNK_LAST, NULL, NULL };

    sleep(1);
    gw_deferred_reply(d, &text_200, &chunk, 1);     /* frees d in any case */
    return NULL;
}

static gw_result
later(gw_environ *env)
{
    gw_deferred *d;
    pthread_t    t;
    gw_result    rc = gw_defer(env, NULL, &d);

    if (rc < 0) {
        return rc;
    }
    if (pthread_create(&t, NULL, slow, d) != 0) {
        gw_deferred_end(d, GW_ERR_APP);
        return GW_DEFERRED;
    }
    pthread_detach(t);
    return GW_DEFERRED;
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start_response, void *sr,
    gw_body *body)
{
    (void) ctx;

    if (env->path_info.len == 6
        && memcmp(env->path_info.data, "/later", 6) == 0)
    {
        return later(env);
    }
    return count(env, start_response, sr, body);
}

/* The same file is a module: gateway --module ./later.so */
GW_EXPORT gw_result gw_module_init(const gw_module_args *args, gw_module *out,
                                   gw_error *err);
gw_result
gw_module_init(const gw_module_args *args, gw_module *out, gw_error *err)
{
    static gw_app self = { .size = sizeof self, .call = app,
                           .flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING,
                           .name = "later" };
    (void) args, (void) err;

    out->abi = GW_ABI;
    out->name = "later";
    out->app = &self;
    return GW_OK;
}
