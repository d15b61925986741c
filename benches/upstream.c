/*
 * upstream.c - what is possible behind a web server: the least program that
 * answers uwsgi, SCGI or FastCGI on a unix socket.  One thread, one epoll; it
 * finds the end of a request and looks at nothing else.  It believes its web
 * server.  It is a ruler, not a server.
 *
 *     upstream uwsgi|scgi|fastcgi path
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n"
#define BODY "hello, world\n"

typedef struct {
    size_t  have;
    char    in[16384];
} conn;

static char    answer[512];
static size_t  answer_len;
static conn   *conns[65536];
static char    protocol;

/* Octets of the request at the front; 0: it is not whole.  *keeps: of FastCGI. */
static size_t
whole(const unsigned char *at, size_t have, int *keeps)
{
    size_t  n = 0;
    char   *end;

    *keeps = 0;
    switch (protocol) {
    case 'u':
        n = have < 4 ? 5 : 4 + (size_t) (at[1] | at[2] << 8);
        return n <= have ? n : 0;
    case 's':
        if (have == 0 || memchr(at, ':', have) == NULL) {
            return 0;
        }
        n = strtoul((const char *) at, &end, 10);
        n += (size_t) (end - (const char *) at) + 2;
        return n <= have ? n : 0;
    default:
        for (;;) {
            size_t len;
            int    kind;

            if (have - n < 8) {
                return 0;
            }
            len = (size_t) (at[n + 4] << 8 | at[n + 5]);
            if (have - n < 8 + len + at[n + 6]) {
                return 0;
            }
            kind = at[n + 1];
            if (kind == 1) {
                *keeps = at[n + 10] & 1;
            }
            n += 8 + len + at[n + 6];
            if (kind == 5 && len == 0) {
                return n;
            }
        }
    }
}

/* Whether the connection stays. */
static int
serve(int fd)
{
    conn *c = conns[fd];

    for (;;) {
        ssize_t n = recv(fd, c->in + c->have, sizeof c->in - c->have, 0);
        size_t  len;
        int     keeps;

        if (n <= 0) {
            return n < 0 && errno == EAGAIN;
        }
        c->have += (size_t) n;
        len = whole((unsigned char *) c->in, c->have, &keeps);
        if (len == 0) {
            continue;
        }
        c->have = 0;
        if (send(fd, answer, answer_len, MSG_NOSIGNAL) < 0 || !keeps) {
            return 0;
        }
        return 1;
    }
}

static void
make_answer(void)
{
    char text[256];
    int  n = snprintf(text, sizeof text, "%s" HEAD BODY,
                      protocol == 'u' ? "HTTP/1.1 200 OK\r\n" : "Status: 200 OK\r\n");

    if (protocol != 'f') {
        memcpy(answer, text, answer_len = (size_t) n);
        return;
    }
    char out[] = { 1, 6, 0, 1, 0, (char) n, 0, 0 };
    char end[] = { 1, 6, 0, 1, 0, 0, 0, 0, 1, 3, 0, 1, 0, 8, 0, 0,
                   0, 0, 0, 0, 0, 0, 0, 0 };
    memcpy(answer, out, 8);
    memcpy(answer + 8, text, (size_t) n);
    memcpy(answer + 8 + n, end, sizeof end);
    answer_len = 8 + (size_t) n + sizeof end;
}

int
main(int argc, char **argv)
{
    struct sockaddr_un  name = { .sun_family = AF_UNIX };
    struct epoll_event  events[256], event = { .events = EPOLLIN };
    int                 listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int                 epoll = epoll_create1(0), i, n;

    if (argc < 3) {
        return 2;
    }
    protocol = argv[1][0];
    make_answer();
    snprintf(name.sun_path, sizeof name.sun_path, "%s", argv[2]);
    if (bind(listener, (struct sockaddr *) &name, sizeof name) < 0
        || listen(listener, 2048) < 0)
    {
        perror("upstream");
        return 1;
    }
    event.data.fd = listener;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        n = epoll_wait(epoll, events, 256, -1);
        for (i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd != listener) {
                if (!serve(fd)) {
                    close(fd);
                }
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (conns[fd] == NULL) {
                    conns[fd] = malloc(sizeof *conns[fd]);
                }
                conns[fd]->have = 0;
                /* What it asks is there already, mostly. */
                if (!serve(fd)) {
                    close(fd);
                    continue;
                }
                event.events = EPOLLIN | EPOLLET;
                event.data.fd = fd;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
