/*
 * loop_client.h - a process that asks its own server: the client of the programs
 * that make servers and arbiters and look at what these leave behind.
 */
#ifndef LOOP_CLIENT_H
#define LOOP_CLIENT_H

#include <gateway.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void
die(const char *what)
{
    perror(what);
    exit(2);
}

/* "a.b.c.d:port" or "unix:/path"; -1 when nobody listens. */
static int
connect_to(const char *address)
{
    union {
        struct sockaddr     any;
        struct sockaddr_in  in;
        struct sockaddr_un  un;
    } to;
    char        host[64];
    socklen_t   len;
    int         fd, port;

    memset(&to, 0, sizeof to);
    if (strncmp(address, "unix:", 5) == 0) {
        to.un.sun_family = AF_UNIX;
        snprintf(to.un.sun_path, sizeof to.un.sun_path, "%s", address + 5);
        len = sizeof to.un;

    } else if (sscanf(address, "%63[^:]:%d", host, &port) == 2) {
        to.in.sin_family = AF_INET;
        to.in.sin_addr.s_addr = inet_addr(host);
        to.in.sin_port = htons((uint16_t) port);
        len = sizeof to.in;

    } else {
        fprintf(stderr, "%s: not an address\n", address);
        exit(2);
    }
    fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket");
    }
    if (connect(fd, &to.any, len) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* As often as it takes until the server listens. */
static int
connect_at_last(const char *address)
{
    struct timespec  moment = { 0, 5000000 };
    int              i, fd;

    for (i = 0; i < 12000; i++) {
        fd = connect_to(address);
        if (fd >= 0) {
            return fd;
        }
        nanosleep(&moment, NULL);
    }
    fprintf(stderr, "%s: nobody listens\n", address);
    exit(2);
}

/* A request on `fd`, and its answer, which must be a hello.  With a server, that
   server is turned meanwhile. */
static void
ask(int fd, gw_server *server)
{
    static const char  request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct pollfd      fds[2] = { { fd, POLLIN, 0 },
                                  { server == NULL ? -1 : gw_server_fd(server),
                                    POLLIN, 0 } };
    char               answer[1024];
    size_t             used = 0;
    int64_t            wait_ms = -1;
    ssize_t            n;

    if (write(fd, request, sizeof request - 1) != sizeof request - 1) {
        die("write");
    }
    do {
        if (server != NULL && gw_server_turn(server, &wait_ms) != GW_OK) {
            fprintf(stderr, "the server does not turn\n");
            exit(2);
        }
        if (poll(fds, 2, (int) wait_ms) < 0) {
            die("poll");
        }
        if (fds[0].revents == 0) {
            continue;
        }
        n = read(fd, answer + used, sizeof answer - 1 - used);
        if (n <= 0) {
            fprintf(stderr, "the connection ended\n");
            exit(2);
        }
        used += (size_t) n;
        answer[used] = '\0';
    } while (used == 0 || strstr(answer, "\r\n\r\nhello\n") == NULL);

    if (strncmp(answer, "HTTP/1.1 200 OK\r\n", 17) != 0) {
        fprintf(stderr, "not the answer: %s\n", answer);
        exit(2);
    }
}

static gw_result
say_hello(void *ctx, gw_environ *env, gw_start_response_fn start_response,
          void *sr, gw_body *body)
{
    gw_response  head = { .status = 200 };
    gw_result    rc = start_response(sr, &head, NULL);

    (void) ctx, (void) env;
    return rc < 0 ? rc : gw_body_bytes(body, "hello\n", 6, NULL, NULL);
}

/* A configuration with that application and a list of options and values, which
   NULL ends. */
static gw_config *
configured(const char *const *options)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_result   rc;

    app.call = say_hello;
    app.flags = GW_APP_NONBLOCKING | GW_APP_THREADSAFE;
    rc = gw_config_app(cfg, &app, &err);
    for (; rc == GW_OK && options[0] != NULL; options += 2) {
        rc = gw_config_set(cfg, options[0], options[1], &err);
    }
    if (rc != GW_OK) {
        fprintf(stderr, "configure: %s\n", err.message);
        exit(2);
    }
    return cfg;
}

/* Whether making something succeeded; says why not. */
static void
need(gw_result rc, const gw_error *err)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", gw_result_name(rc), err->message);
        exit(2);
    }
}

#endif
