/*
 * loop_epoll.c - a server inside a plain epoll loop: one descriptor among the
 * program's own (here a signalfd: TERM stops), and the time it asks for.
 */
#define _GNU_SOURCE
#include "loop_app.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void
watch(int ep, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

int
main(int argc, char **argv)
{
    struct signalfd_siginfo  info;
    struct epoll_event       events[4];
    gw_server               *server;
    sigset_t                 term;
    int64_t                  wait_ms = 0;
    int                      ep, stop, i, n;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    stop = signalfd(-1, &term, SFD_CLOEXEC);
    ep = epoll_create1(EPOLL_CLOEXEC);

    server = loop_server(argc, argv);
    watch(ep, stop);
    watch(ep, gw_server_fd(server));

    while (loop_turn(server, &wait_ms) != GW_EOF) {
        n = epoll_wait(ep, events, 4, wait_ms > INT_MAX ? INT_MAX : (int) wait_ms);
        if (n < 0 && errno != EINTR) {
            perror("epoll_wait");
            return 1;
        }
        for (i = 0; i < n; i++) {
            if (events[i].data.fd == stop
                && read(stop, &info, sizeof info) == sizeof info)
            {
                gw_server_stop(server, GW_STOP_GRACEFUL);
            }
        }
    }

    gw_server_free(server);
    close(stop);
    close(ep);
    puts("stopped");
    return 0;
}
