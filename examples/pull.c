/*
 * pull.c - threads of your own that take requests, instead of being called:
 * how a runtime that does not like callbacks from foreign threads serves.
 *
 *     cc -o pull pull.c -lgateway -pthread && ./pull [address]
 *     curl http://127.0.0.1:8000/some/path
 */
#include <gateway.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

static gw_server *server;

/* -- the whole of a serving thread -- */
static void *
serve(void *arg)
{
    static const char headers[] = "Content-Type: text/plain\r\n";
    gw_deferred      *d[32];
    char              text[256];
    size_t            i, n;

    while (gw_server_take(server, d, 32, -1, &n) == GW_OK) {
        for (i = 0; i < n; i++) {
            const gw_environ *env = gw_deferred_environ(d[i]);
            int len = snprintf(text, sizeof text, "%.*s, %.*s\n",
                               (int) env->request_method.len,
                               env->request_method.data,
                               (int) (env->path_info.len < 200
                                      ? env->path_info.len : 200),
                               env->path_info.data);

            gw_deferred_reply_flat(d[i], 200, headers, sizeof headers - 1,
                                   text, (size_t) len);
        }
    }
    return arg;                             /* GW_EOF: the server has stopped */
}

static void
stop(int signo)
{
    (void) signo;
    gw_server_stop(server, GW_STOP_GRACEFUL);
}

int
main(int argc, char **argv)
{
    gw_error   err = GW_INIT(gw_error);
    gw_config *cfg = gw_config_new();       /* without an application */
    pthread_t  thread[4];
    int64_t    wait_ms;
    gw_result  rc;

    if (gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000", &err) < 0
        || gw_server_new(cfg, &server, &err) < 0)
    {
        fprintf(stderr, "%s\n", err.message);
        return err.exit_status;
    }
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&thread[i], NULL, serve, NULL) != 0) {
            return 1;
        }
    }
    /* The event loop is this thread's; any loop that can watch a descriptor. */
    while ((rc = gw_server_turn(server, &wait_ms)) == GW_OK) {
        struct pollfd fd = { gw_server_fd(server), POLLIN, 0 };

        poll(&fd, 1, (int) wait_ms);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
    }
    gw_server_free(server);
    return rc == GW_EOF ? 0 : 1;
}
