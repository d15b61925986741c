/*
 * limit.c - what is possible: the least HTTP/1.1 server that gives the same
 * answers as bench.c.  One thread, one edge-triggered epoll, one read and one
 * write per turn of a connection.  It believes its client: it has no limits, no
 * timeouts, no validation.  It is a ruler, not a server.
 *
 *     limit [port]        /       hello
 *                         /post   the same, after the body
 *                         /big    100 KiB
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define IN_SIZE  16384
#define OUT_SIZE 32768
#define BIG_SIZE 102400

typedef struct conn {
    struct conn *next;                      /* of those that are free */
    int     fd;
    int     closing;                        /* after what is in `out` */
    size_t  have;                           /* octets in `in` */
    size_t  skip;                           /* octets of a body still to come */
    size_t  from, to;                       /* what is unsent of `out` */
    size_t  big;                            /* unsent octets of the big body */
    char    in[IN_SIZE];
    char    out[OUT_SIZE];
} conn;

static char   hello[256], big[256];         /* whole answer; head alone */
static size_t hello_len, big_len;
static char   big_body[BIG_SIZE];
static time_t answers_for;                  /* the second in their Date */
static conn  *spare;

/* The answers carry the date, and so are made once a second. */
static void
make_answers(void)
{
    struct timespec now;
    struct tm       tm;
    char            date[40];

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == answers_for) {
        return;
    }
    answers_for = now.tv_sec;
    gmtime_r(&now.tv_sec, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    hello_len = (size_t) snprintf(hello, sizeof hello,
        "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/plain\r\n"
        "Content-Length: 13\r\n\r\nhello, world\n", date);
    big_len = (size_t) snprintf(big, sizeof big,
        "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/plain\r\n"
        "Content-Length: %d\r\n\r\n", date, BIG_SIZE);
}

static void
drop(conn *c)
{
    close(c->fd);
    c->next = spare;
    spare = c;
}

/* 1: all is sent, 0: the socket is full, -1: the connection is over. */
static int
flush(conn *c)
{
    while (c->from < c->to || c->big > 0) {
        struct iovec v[2] = {
            { c->out + c->from, c->to - c->from },
            { big_body + BIG_SIZE - c->big, c->big },
        };
        struct msghdr both = { .msg_iov = v, .msg_iovlen = 2 };
        ssize_t n = c->big > 0
            ? sendmsg(c->fd, &both, MSG_NOSIGNAL)
            : send(c->fd, v[0].iov_base, v[0].iov_len, MSG_NOSIGNAL);

        if (n < 0) {
            return errno == EAGAIN ? 0 : -1;
        }
        if ((size_t) n < v[0].iov_len) {
            c->from += (size_t) n;
        } else {
            c->big -= (size_t) n - v[0].iov_len;
            c->from = c->to = 0;
        }
    }
    return c->closing ? -1 : 1;
}

/* Answer the request whose head ends at `end`; its body may not be here yet. */
static void
answer(conn *c, const char *head, const char *end)
{
    const char *line = memchr(head, '\n', (size_t) (end - head));

    for (line++; line < end; line = (char *) memchr(line, '\n',
                                        (size_t) (end - line)) + 1)
    {
        if ((line[0] | 32) != 'c') {
            continue;
        }
        if (strncasecmp(line, "content-length:", 15) == 0) {
            c->skip = strtoul(line + 15, NULL, 10);
        } else if (strncasecmp(line, "connection: close", 17) == 0) {
            c->closing = 1;
        }
    }

    if (memmem(head, 12, "/big", 4) != NULL) {
        memcpy(c->out + c->to, big, big_len);
        c->to += big_len;
        c->big = BIG_SIZE;
    } else {
        memcpy(c->out + c->to, hello, hello_len);
        c->to += hello_len;
    }
}

/* Answer all that is in the buffer; 0 when more must be sent first. */
static int
answer_all(conn *c)
{
    char *at = c->in, *stop = c->in + c->have;
    int   room = 1;

    while (at < stop && !c->closing) {
        size_t  n = (size_t) (stop - at) < c->skip ? (size_t) (stop - at)
                                                   : c->skip;
        char   *end;

        at += n;
        c->skip -= n;
        if (at == stop) {
            break;
        }
        end = memmem(at, (size_t) (stop - at), "\r\n\r\n", 4);
        if (end == NULL) {
            break;
        }
        if (c->big > 0 || c->to + sizeof hello > OUT_SIZE) {
            room = 0;
            break;
        }
        answer(c, at, end + 2);
        at = end + 4;
    }

    c->have = (size_t) (stop - at);
    memmove(c->in, at, c->have);
    return room;
}

/* Everything that a connection can do now; -1 when it is over. */
static int
serve(conn *c)
{
    int drained = 0, room, sent;

    for (;;) {
        size_t  space;
        ssize_t n;

        do {
            room = answer_all(c);
            sent = flush(c);
            if (sent <= 0) {
                return sent;
            }
        } while (!room);

        if (drained) {
            return 0;
        }
        space = IN_SIZE - c->have;
        n = recv(c->fd, c->in + c->have, space, 0);
        if (n <= 0) {
            return n < 0 && errno == EAGAIN ? 0 : -1;
        }
        c->have += (size_t) n;
        drained = (size_t) n < space;       /* a short read: nothing is left */
    }
}

static void
accept_all(int epoll, int listener)
{
    for (;;) {
        int                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
        conn              *c;

        if (fd < 0) {
            return;
        }
        c = spare != NULL ? spare : malloc(sizeof *c);
        if (c == NULL) {
            close(fd);
            return;
        }
        spare = c == spare ? c->next : spare;
        memset(c, 0, offsetof(conn, in));
        c->fd = fd;
        if (serve(c) < 0) {
            drop(c);
            continue;
        }
        ev.data.ptr = c;
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
    }
}

int
main(int argc, char **argv)
{
    struct sockaddr_in  at = { .sin_family = AF_INET };
    struct epoll_event  events[256], ev = { .events = EPOLLIN };
    int                 one = 1, i, n;
    int                 listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int                 epoll = epoll_create1(0);

    memset(big_body, 'x', sizeof big_body);
    at.sin_port = htons((uint16_t) (argc > 1 ? atoi(argv[1]) : 8000));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *) &at, sizeof at) < 0
        || listen(listener, 2048) < 0
        || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev) < 0)
    {
        perror("limit");
        return 1;
    }

    for (;;) {
        n = epoll_wait(epoll, events, 256, -1);
        make_answers();
        for (i = 0; i < n; i++) {
            conn *c = events[i].data.ptr;

            if (c == NULL) {
                accept_all(epoll, listener);
            } else if (serve(c) < 0) {
                drop(c);
            }
        }
    }
}
