/*
 * later.c - an answer that comes later, from another thread.  The application
 * runs on the event loop, which serves others meanwhile.
 *
 *     cc -o later later.c -lgateway -pthread && ./later [address]
 *     curl http://127.0.0.1:8000/               (after a second)
 */
#include <gateway.h>

#include <pthread.h>
#include <stdio.h>
#include <time.h>

static const gw_pair text[] = {
    { GW_LIT("Content-Type"), GW_LIT("text/plain") },
};
static const gw_response text_200 = {
    .status = 200, .headers = text, .header_count = 1,
};

static void *
slow(void *arg)
{
    gw_deferred *d = arg;
    gw_chunk     chunk = { .data = "at last\n", .len = 8 };

    nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
    gw_deferred_reply(d, &text_200, &chunk, 1);     /* d is gone in any case */
    return NULL;
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start_response, void *sr,
    gw_body *body)
{
    gw_deferred *d;
    pthread_t    thread;
    gw_result    rc = gw_defer(env, NULL, &d);

    (void) ctx, (void) start_response, (void) sr, (void) body;
    if (rc < 0) {
        return rc;
    }
    if (pthread_create(&thread, NULL, slow, d) == 0) {
        pthread_detach(thread);
    } else {
        gw_deferred_end(d, GW_ERR_APP);
    }
    return GW_DEFERRED;
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
