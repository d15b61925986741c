/* taken.c ADDRESS: one thread that turns the server, takes its requests, and answers them. */
#include <gateway.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>

static gw_server *server;

static void
stop(int signo)
{
    (void) signo;
    gw_server_stop(server, GW_STOP_GRACEFUL);
}

int
main(int argc, char **argv)
{
    static const char headers[] = "Content-Length: 13\r\n";
    gw_error          err = GW_INIT(gw_error);
    gw_config        *cfg = gw_config_new();
    gw_deferred      *taken[64];
    size_t            n;
    int64_t           wait_ms;

    if (argc != 2 || gw_config_set(cfg, "bind", argv[1], &err) < 0
        || gw_server_new(cfg, &server, &err) < 0)
    {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    while (gw_server_turn(server, &wait_ms) == GW_OK) {
        struct pollfd fd = { gw_server_fd(server), POLLIN, 0 };

        if (gw_server_take(server, taken, 64, 0, &n) != GW_OK) {
            poll(&fd, 1, (int) wait_ms);
            continue;
        }
        gw_server_cork(server);
        for (size_t i = 0; i < n; i++) {
            gw_deferred_reply_flat(taken[i], 200, headers, sizeof headers - 1, "hello, world\n", 13);
        }
    }
    gw_server_free(server);
    return 0;
}
