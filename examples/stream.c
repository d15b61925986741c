/*
 * stream.c - a body that is produced while it is sent: a countdown.
 *
 *     cc -o stream stream.c -lgateway && ./stream [address]
 *
 *     curl -N http://127.0.0.1:8000/                (from 10)
 *     curl -N 'http://127.0.0.1:8000/?from=1000000' | tail -1
 *
 * The length is not known, so HTTP/1.1 clients get chunks and HTTP/1.0 clients
 * get the end of the connection.  A slow client slows the producer down: no
 * more is asked for than can be sent.
 */
#include <gateway.h>

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    long left;
    char line[24];
} countdown;

static gw_result
countdown_next(void *ctx, gw_chunk *out)
{
    countdown *c = ctx;

    if (c->left < 0) {
        return GW_EOF;
    }

    out->data = c->line;                    /* valid until we are asked again */
    if (c->left == 0) {
        out->len = (uint64_t) snprintf(c->line, sizeof c->line, "lift-off\n");
    } else {
        out->len = (uint64_t) snprintf(c->line, sizeof c->line, "%ld\n",
                                       c->left);
    }
    c->left--;
    return GW_OK;
}

static void
countdown_close(void *ctx)                  /* once, also if the client left */
{
    free(ctx);
}

static gw_result
stream(void *ctx, gw_environ *env, gw_start_response_fn start_response,
       void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response  head = { .status = 200, .headers = headers,
                          .header_count = 1 };
    gw_str       from;
    countdown   *c;
    gw_result    rc = start_response(sr, &head, NULL);

    (void) ctx;
    if (rc < 0) {
        return rc;
    }

    c = malloc(sizeof *c);
    if (c == NULL) {
        return GW_ERR_MEMORY;
    }

    c->left = 10;
    if (gw_environ_query(env, "from", 4, &from) == GW_OK) {
        const char *text = gw_environ_cstr(env, from);

        c->left = text != NULL ? strtol(text, NULL, 10) : 0;
    }

    body->next = countdown_next;
    body->close = countdown_close;
    body->ctx = c;
    return GW_OK;
}

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();

    app.call = stream;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;

    if (gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000",
                      &err) < 0
        || gw_config_app(cfg, &app, &err) < 0
        || gw_serve(cfg, &err) < 0)
    {
        fprintf(stderr, "stream: %s\n", err.message);
        return err.exit_status;
    }

    return 0;
}
