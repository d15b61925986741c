/*
 * embed.c - a server inside somebody else's loop.  The program owns the poll()
 * and its other descriptors (here: stdin); the server is one descriptor more.
 * No child, no thread, no signal handler.
 *
 *     cc -o embed embed.c -lgateway && ./embed [address]
 *
 *     curl http://127.0.0.1:8000/
 *
 * A line on stdin is counted; its end (Ctrl-D) stops the server gracefully.
 */
#include <gateway.h>

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static unsigned long lines;                 /* the program's own state */

static gw_result
count(void *ctx, gw_environ *env, gw_start_response_fn start_response,
      void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response  head = { .status = 200, .headers = headers,
                          .header_count = 1 };
    char         text[64];
    int          n = snprintf(text, sizeof text, "%lu lines on stdin, pid %d\n",
                              lines, (int) getpid());
    gw_result    rc = start_response(sr, &head, NULL);

    (void) ctx;
    return rc < 0 ? rc : gw_body_copy(env, body, text, (size_t) n);
}

static void
from_stdin(struct pollfd *in, gw_server *server)
{
    char     buf[4096];
    ssize_t  i, n = read(in->fd, buf, sizeof buf);

    for (i = 0; i < n; i++) {
        lines += buf[i] == '\n';
    }
    if (n <= 0) {
        in->fd = -1;                        /* poll() ignores it from now on */
        gw_server_stop(server, GW_STOP_GRACEFUL);
    }
}

int
main(int argc, char **argv)
{
    gw_app         app = GW_INIT(gw_app);
    gw_error       err = GW_INIT(gw_error);
    gw_config     *cfg = gw_config_new();
    gw_server     *server;
    gw_result      rc;
    int64_t        wait_ms;
    struct pollfd  fds[2];

    app.call = count;
    app.flags = GW_APP_NONBLOCKING;

    if (gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000",
                      &err) < 0
        || gw_config_app(cfg, &app, &err) < 0
        || gw_server_new(cfg, &server, &err) < 0)
    {
        fprintf(stderr, "embed: %s\n", err.message);
        return err.exit_status;
    }

    fds[0] = (struct pollfd) { STDIN_FILENO, POLLIN, 0 };
    fds[1] = (struct pollfd) { gw_server_fd(server), POLLIN, 0 };

    while ((rc = gw_server_turn(server, &wait_ms)) >= 0 && rc != GW_EOF) {
        if (poll(fds, 2, (int) wait_ms) > 0 && fds[0].revents != 0) {
            from_stdin(&fds[0], server);
        }
    }

    gw_server_free(server);
    return rc == GW_EOF ? 0 : 1;
}
