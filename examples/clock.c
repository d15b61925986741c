/*
 * clock.c - a body that has nothing to say most of the time: a line each 100 ms,
 * on the event loop, without a thread.
 *
 *     cc -o clock clock.c -lgateway && ./clock [address]
 *     curl -N http://127.0.0.1:8000/
 */
#include <gateway.h>

#include <stdio.h>

static const gw_pair text[] = {
    { GW_LIT("Content-Type"), GW_LIT("text/plain") },
};
static const gw_response text_200 = {
    .status = 200, .headers = text, .header_count = 1,
};

typedef struct {
    gw_deferred *d;                         /* to be asked again */
    int          ticks, waits;
    char         line[16];
} ticker;

static gw_result
ticker_next(void *ctx, gw_chunk *out)
{
    ticker *t = ctx;

    if (t->ticks == 10) {
        return GW_EOF;
    }
    t->waits = !t->waits;
    if (t->waits) {
        gw_deferred_resume_after(t->d, 100);
        return GW_AGAIN;
    }
    out->data = t->line;                    /* valid until we are asked again */
    out->len = (uint64_t) snprintf(t->line, sizeof t->line, "%d\n", ++t->ticks);
    return GW_OK;
}

static void
ticker_close(void *ctx)
{
    ticker *t = ctx;

    gw_deferred_end(t->d, GW_OK);           /* a handle is always given up */
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start_response, void *sr,
    gw_body *body)
{
    ticker    *t = gw_environ_alloc(env, sizeof *t);
    gw_result  rc = start_response(sr, &text_200, NULL);

    (void) ctx;
    if (t == NULL) {
        return GW_ERR_MEMORY;
    }
    *t = (ticker) { .ticks = 0 };
    if (rc < 0 || (rc = gw_defer(env, NULL, &t->d)) < 0) {
        return rc;
    }
    body->next = ticker_next;
    body->close = ticker_close;
    body->ctx = t;
    return GW_OK;
}

int
main(int argc, char **argv)
{
    gw_app     self = { .size = sizeof self, .call = app,
                        .flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING };
    gw_error   err = GW_INIT(gw_error);
    gw_config *cfg = gw_config_new();

    if (gw_config_app(cfg, &self, &err) < 0
        || (argc > 1 && gw_config_set(cfg, "bind", argv[1], &err) < 0)
        || gw_serve(cfg, &err) < 0)
    {
        fprintf(stderr, "%s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
