/*
 * What a program of somebody else's does with an installed library, in C11 and
 * C++11 alike: it makes a server, asks it over a socket, and prints the answer
 * and the version of the library that is loaded.  One process, one thread.
 */
#include <gateway.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static gw_result
hello(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response  head;
    gw_result    rc;

    (void) ctx, (void) env;
    memset(&head, 0, sizeof head);
    head.status = 200;
    head.headers = headers;
    head.header_count = 1;
    rc = start_response(sr, &head, NULL);
    return rc < 0 ? rc : gw_body_bytes(body, "installed\n", 10, NULL, NULL);
}

int
main(void)
{
    static const char  request[] = "GET / HTTP/1.1\r\nHost: x\r\n"
                                   "Connection: close\r\n\r\n";
    gw_app             app = GW_INIT(gw_app);
    gw_error           err = GW_INIT(gw_error);
    gw_config         *cfg = gw_config_new();
    gw_server         *server = NULL;
    gw_result          rc;
    struct pollfd      fds[2];
    int                pair[2];
    char               answer[4096];
    size_t             used = 0;
    int64_t            wait_ms = 0;
    ssize_t            n;

    app.call = hello;
    app.flags = GW_APP_NONBLOCKING;
    if (gw_config_app(cfg, &app, &err) < 0
        || gw_server_new(cfg, &server, &err) < 0)
    {
        fprintf(stderr, "client: %s\n", err.message);
        return 1;
    }

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0
        || gw_server_adopt(server, pair[1], GW_PROTO_HTTP) != GW_OK
        || write(pair[0], request, sizeof request - 1) < 0)
    {
        return 1;
    }

    fds[0].fd = pair[0];
    fds[1].fd = gw_server_fd(server);
    fds[0].events = fds[1].events = POLLIN;
    for (;;) {
        rc = gw_server_turn(server, &wait_ms);
        if (rc != GW_OK || poll(fds, 2, (int) wait_ms) < 0) {
            return 1;
        }
        if (fds[0].revents == 0) {
            continue;
        }
        n = read(pair[0], answer + used, sizeof answer - 1 - used);
        if (n <= 0) {
            break;
        }
        used += (size_t) n;
    }

    answer[used] = '\0';
    gw_server_free(server);
    close(pair[0]);
    printf("%.15s, %s%s\n", answer,
           strstr(answer, "\r\n\r\n") == NULL ? "cut" : strstr(answer, "\r\n\r\n") + 4,
           gw_version());
    return 0;
}
