/*
 * loop_uv.c - a server inside libuv: a uv_poll_t on its descriptor, and a
 * uv_timer_t for the time that it asks for.  TERM stops, by a uv_signal_t.
 */
#define _GNU_SOURCE
#include "loop_app.h"

#include <uv.h>

static gw_server    *server;
static uv_poll_t     readable;
static uv_timer_t    timer;
static uv_signal_t   term;

static void on_timer(uv_timer_t *t);

static void
turn(void)
{
    int64_t wait_ms;

    if (loop_turn(server, &wait_ms) == GW_EOF) {
        /* Nothing is left to wait for: uv_run returns. */
        uv_close((uv_handle_t *) &readable, NULL);
        uv_close((uv_handle_t *) &timer, NULL);
        uv_close((uv_handle_t *) &term, NULL);

    } else if (wait_ms < 0) {
        uv_timer_stop(&timer);

    } else {
        uv_update_time(timer.loop);     /* the turn took time, too */
        uv_timer_start(&timer, on_timer, (uint64_t) wait_ms, 0);
    }
}

static void
on_timer(uv_timer_t *t)
{
    (void) t;
    turn();
}

static void
on_readable(uv_poll_t *p, int status, int events)
{
    (void) p, (void) events;
    if (status < 0) {
        fprintf(stderr, "uv_poll: %s\n", uv_strerror(status));
        exit(1);
    }
    turn();
}

static void
on_term(uv_signal_t *s, int signum)
{
    (void) s, (void) signum;
    gw_server_stop(server, GW_STOP_GRACEFUL);
}

int
main(int argc, char **argv)
{
    uv_loop_t loop;

    server = loop_server(argc, argv);
    if (uv_loop_init(&loop) != 0
        || uv_timer_init(&loop, &timer) != 0
        || uv_poll_init(&loop, &readable, gw_server_fd(server)) != 0
        || uv_poll_start(&readable, UV_READABLE, on_readable) != 0
        || uv_signal_init(&loop, &term) != 0
        || uv_signal_start(&term, on_term, SIGTERM) != 0)
    {
        fprintf(stderr, "libuv does not start\n");
        return 1;
    }

    turn();
    uv_run(&loop, UV_RUN_DEFAULT);

    gw_server_free(server);
    if (uv_loop_close(&loop) != 0) {
        fprintf(stderr, "the loop is not empty\n");
        return 1;
    }
    puts("stopped");
    return 0;
}
