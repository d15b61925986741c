/*
 * pool.c - an application that blocks, on the threads of a server.
 *
 *     pool address [option=value ...]     serve it
 *     pool cycle n                        make and free n servers
 *     pool inside                         free a server from its own thread
 *
 * `/counts` tells what was called, and how much of it in the main thread, which
 * is the loop: nothing may be.
 */
#define _GNU_SOURCE
#include "app.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_ulong called, closed, made, released, in_main;

static void
note(atomic_ulong *count)
{
    atomic_fetch_add(count, 1);
    if (syscall(SYS_gettid) == getpid()) {
        atomic_fetch_add(&in_main, 1);
    }
}

static void
millisleep(long ms)
{
    struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

/* ---- a body whose chunks are memory of their own ---- */

typedef struct {
    long   n;
    size_t size;
    int    c;
} generator;

static void
release(void *data)
{
    note(&released);
    free(data);
}

static gw_result
generate(void *ctx, gw_chunk *out)
{
    generator *g = ctx;
    char      *data;

    if (g->n-- == 0) {
        return GW_EOF;
    }
    note(&made);
    data = malloc(g->size);
    memset(data, 'a' + g->c++ % 26, g->size);
    out->data = data;
    out->len = g->size;
    out->release = release;
    out->arg = data;
    return GW_OK;
}

static void
end_generator(void *ctx)
{
    note(&closed);
    free(ctx);
}

static gw_result
stream(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    generator *g = calloc(1, sizeof *g);

    g->n = number(env, "n", 3);
    g->size = (size_t) number(env, "size", 10);
    body->next = generate;
    body->close = end_generator;
    body->ctx = g;
    return start(sr, &ok, NULL);
}

/* write(), piece by piece; what it returned at last is in the log. */
static gw_result
writing(gw_environ *env, gw_start_response_fn start, void *sr)
{
    static char piece[100000];
    gw_chunk    chunk = { .data = piece, .len = sizeof piece };
    gw_writer   writer;
    gw_result   rc = start(sr, &ok, &writer);
    long        n = number(env, "n", 3);

    while (rc == GW_OK && n-- > 0) {
        rc = writer.write(writer.ctx, &chunk);
    }
    gw_log(env, GW_LOG_INFO, gw_result_name(rc), strlen(gw_result_name(rc)));
    return rc;
}

/* How many octets the body has. */
static gw_result
sum(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body)
{
    char      buf[1000], text[32];
    size_t    n, all = 0;
    gw_result rc;

    while ((rc = gw_read(env, buf, sizeof buf, 0, &n)) == GW_OK) {
        all += n;
    }
    if (rc < 0 || (rc = start(sr, &ok, NULL)) < 0) {
        return rc;
    }
    snprintf(text, sizeof text, "%zu", all);
    return gw_body_copy(env, body, text, strlen(text));
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
    gw_body *body)
{
    const char *path = gw_environ_cstr(env, env->path_info);
    char        text[200];
    gw_result   rc;

    (void) ctx;
    note(&called);
    if (strcmp(path, "/stream") == 0) {
        return stream(env, start, sr, body);
    }
    if (strcmp(path, "/write") == 0) {
        return writing(env, start, sr);
    }
    if (strcmp(path, "/sum") == 0) {
        return sum(env, start, sr, body);
    }
    if (strcmp(path, "/forever") == 0) {
        for (;;) {
            millisleep(1000000);
        }
    }
    millisleep(number(env, "ms", 0));
    snprintf(text, sizeof text,
             "called %lu closed %lu made %lu released %lu in_main %lu",
             atomic_load(&called), atomic_load(&closed), atomic_load(&made),
             atomic_load(&released), atomic_load(&in_main));
    rc = start(sr, &ok, NULL);
    return rc < 0 ? rc : gw_body_copy(env, body, text, strlen(text));
}

static gw_config *
configured(gw_app_fn call, void *ctx, int options, char **option)
{
    gw_app     self = GW_INIT(gw_app);
    gw_error   err = GW_INIT(gw_error);
    gw_config *cfg = gw_config_new();
    int        i;

    self.call = call;
    self.ctx = ctx;
    self.flags = GW_APP_THREADSAFE;
    self.name = "pool";
    gw_result rc = gw_config_app(cfg, &self, &err);
    for (i = 0; i < options && rc == GW_OK; i++) {
        char *value = strchr(option[i], '=');

        if (value != NULL) {
            *value++ = '\0';
            rc = gw_config_set(cfg, option[i], value, &err);
        } else {
            rc = gw_config_set(cfg, "bind", option[i], &err);
        }
    }
    if (rc < 0) {
        fprintf(stderr, "pool: %s\n", err.message);
        exit(1);
    }
    return cfg;
}

/* ---- made and freed ---- */

static int
entries(const char *path)
{
    DIR *dir = opendir(path);
    int  n = 0;

    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

static gw_server *
server(gw_app_fn call, void *ctx)
{
    gw_error   err = GW_INIT(gw_error);
    gw_server *s;
    char       threads[] = "threads=2";
    char      *options[] = { threads };

    if (gw_server_new(configured(call, ctx, 1, options), &s, &err) < 0) {
        fprintf(stderr, "pool: %s\n", err.message);
        exit(1);
    }
    return s;
}

/* One request on a connection of its own. */
static void
ask(gw_server *s, const char *path)
{
    char    request[200], answer[4096];
    int     pair[2];
    int64_t wait_ms = 0;
    ssize_t n = 0;

    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0
        || gw_server_adopt(s, pair[1], GW_PROTO_HTTP) < 0
        || write(pair[0], request, strlen(request)) < 0)
    {
        abort();
    }
    while (n <= 0) {
        struct pollfd fd = { .fd = gw_server_fd(s), .events = POLLIN };

        poll(&fd, 1, wait_ms < 0 || wait_ms > 100 ? 100 : (int) wait_ms);
        gw_server_turn(s, &wait_ms);
        n = recv(pair[0], answer, sizeof answer, MSG_DONTWAIT);
    }
    if (n < 12 || memcmp(answer, "HTTP/1.1 200", 12) != 0) {
        abort();
    }
    close(pair[0]);
}

static int
cycle(int n)
{
    int i, threads = 0, fds = 0;

    for (i = 0; i < n; i++) {
        gw_server *s = server(app, NULL);

        if (i % 4 > 0) {
            ask(s, "/hello");
        }
        if (i % 4 > 1) {
            gw_server_stop(s, i % 4 == 2 ? GW_STOP_GRACEFUL : GW_STOP_QUICK);
        }
        gw_server_free(s);
        if (i == 0) {
            threads = entries("/proc/self/task");
            fds = entries("/proc/self/fd");
        }
    }
    /* A thread that was joined may linger there for a moment. */
    for (i = 0; i < 1000 && entries("/proc/self/task") > threads; i++) {
        millisleep(10);
    }
    printf("threads %+d descriptors %+d\n",
           entries("/proc/self/task") - threads, entries("/proc/self/fd") - fds);
    return 0;
}

/* ---- freed by its own application ---- */

static gw_result
suicide(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
        gw_body *body)
{
    gw_server_free(*(gw_server **) ctx);
    return app(NULL, env, start, sr, body);
}

static int
inside(void)
{
    static gw_server *s;

    s = server(suicide, &s);
    ask(s, "/hello");
    gw_server_free(s);
    puts("alive");
    return 0;
}

int
main(int argc, char **argv)
{
    gw_error err = GW_INIT(gw_error);

    if (argc == 3 && strcmp(argv[1], "cycle") == 0) {
        return cycle(atoi(argv[2]));
    }
    if (argc == 2 && strcmp(argv[1], "inside") == 0) {
        return inside();
    }
    if (gw_serve(configured(app, NULL, argc - 1, argv + 1), &err) < 0) {
        fprintf(stderr, "pool: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
