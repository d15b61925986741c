/*
 * What a program can do wrong: each mistake gets its code and changes nothing.
 */
#define _GNU_SOURCE
#include <gateway.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures;

#define EXPECT(what) \
    do { \
        if (!(what)) { \
            printf("line %d: %s\n", __LINE__, #what); \
            failures++; \
        } \
    } while (0)

static gw_server *server;
static int        calls, dropped;

static void
drop(void *ctx)
{
    *(int *) ctx += 1;
}

/* Everything that a request can be asked wrongly, from inside one. */

static gw_result
wrongly(void *ctx, gw_environ *env, gw_start_response_fn start_response,
        void *sr, gw_body *body)
{
    static const gw_pair  bad[] = { { GW_LIT("A:b"), GW_LIT("c") } };
    gw_response           head = { 200, 0, 0, { NULL, 0 }, NULL, 0, NULL };
    gw_environ           *derived;
    gw_chunk              chunk = { "x", 1, 0, 0, 0, drop, &dropped };
    gw_pair               pair;
    gw_str                text = { "as it was", 9 };
    uint64_t              cursor = 0;
    int64_t               wait_ms = 77;
    size_t                n = 77;
    char                  buf[4];

    (void) ctx;
    calls++;

    /* Re-entrance: the server is in a call. */
    EXPECT(gw_server_turn(server, &wait_ms) == GW_ERR_STATE);
    EXPECT(gw_server_adopt(server, 0, GW_PROTO_HTTP) == GW_ERR_STATE);
    EXPECT(wait_ms == 77);
    gw_server_free(server);
    EXPECT(gw_server_fd(server) >= 0);

    EXPECT(gw_environ_get(NULL, "A", 1, &text) == GW_ERR_INVALID);
    EXPECT(gw_environ_get(env, NULL, 1, &text) == GW_ERR_INVALID);
    EXPECT(gw_environ_get(env, "HTTP_HOST", 9, NULL) == GW_ERR_INVALID);
    EXPECT(gw_environ_get(env, "HTTP_NO", 7, &text) == GW_ERR_NOT_FOUND);
    EXPECT(gw_environ_get(env, NULL, 0, &text) == GW_ERR_NOT_FOUND);
    EXPECT(gw_environ_query(env, "no", 2, &text) == GW_ERR_NOT_FOUND);
    EXPECT(text.len == 9);
    EXPECT(gw_environ_next(env, NULL, &pair) == GW_ERR_INVALID);
    EXPECT(gw_environ_next(env, &cursor, NULL) == GW_ERR_INVALID);
    EXPECT(cursor == 0);
    cursor = UINT64_MAX;
    EXPECT(gw_environ_next(env, &cursor, &pair) == GW_EOF);
    EXPECT(gw_environ_vars(env, NULL, &n) == GW_ERR_INVALID);
    EXPECT(gw_environ_derive(env, NULL) == GW_ERR_INVALID);
    EXPECT(gw_environ_derive(env, &derived) == GW_OK);
    EXPECT(gw_environ_set(derived, "", 0, "a", 1) == GW_ERR_INVALID);
    EXPECT(gw_environ_set(derived, "A", 1, NULL, 1) == GW_ERR_INVALID);
    EXPECT(gw_environ_set(derived, "CONTENT_LENGTH", 14, "many", 4)
           == GW_ERR_INVALID);
    EXPECT(gw_environ_put(env, NULL, &dropped, drop) == GW_ERR_INVALID);
    EXPECT(dropped == 1);
    EXPECT(gw_environ_put(NULL, env, &dropped, drop) == GW_ERR_INVALID);
    EXPECT(dropped == 2);
    EXPECT(gw_environ_at(env, &dropped) == NULL);
    EXPECT(gw_environ_alloc(env, SIZE_MAX) == NULL);
    EXPECT(gw_environ_alloc(NULL, 1) == NULL);
    EXPECT(gw_environ_cstr(NULL, text) == NULL);
    EXPECT(gw_environ_gone(NULL) == 0);

    EXPECT(gw_read(env, NULL, 4, 0, &n) == GW_ERR_INVALID);
    EXPECT(gw_read(env, buf, 0, 0, &n) == GW_ERR_INVALID);
    EXPECT(gw_read(env, buf, 4, 0, NULL) == GW_ERR_INVALID);
    EXPECT(gw_read(env, buf, 4, 1u << 31, &n) == GW_ERR_INVALID);
    EXPECT(gw_read_line(NULL, buf, 4, 0, &n) == GW_ERR_INVALID);
    EXPECT(gw_read_all(env, 4, NULL) == GW_ERR_INVALID);
    EXPECT(n == 77);
    EXPECT(gw_read(env, buf, 4, 0, &n) == GW_EOF && n == 0);

    EXPECT(gw_body_bytes(NULL, "a", 1, drop, &dropped) == GW_ERR_INVALID);
    EXPECT(dropped == 3);
    EXPECT(gw_body_bytes(body, NULL, 1, drop, &dropped) == GW_ERR_INVALID);
    EXPECT(dropped == 4);
    EXPECT(gw_body_copy(env, NULL, "a", 1) == GW_ERR_INVALID);
    EXPECT(gw_body_copy(env, body, NULL, 1) == GW_ERR_INVALID);
    EXPECT(gw_body_file(body, -1, 0, 1, GW_FILE_CLOSE, drop, &dropped)
           == GW_ERR_INVALID);
    EXPECT(dropped == 5);
    EXPECT(gw_body_file(body, dup(0), -1, 1, GW_FILE_CLOSE, drop, &dropped)
           == GW_ERR_INVALID);
    EXPECT(dropped == 6);
    EXPECT(gw_body_file(body, 0, 0, 1, 2, drop, &dropped) == GW_ERR_INVALID);
    EXPECT(dropped == 7);
    EXPECT(body->first.len == 0 && body->first.release == NULL);

    /* The second takes the place of the first, which is released. */
    EXPECT(gw_body_bytes(body, "a", 1, drop, &dropped) == GW_OK);
    EXPECT(gw_body_bytes(body, "b", 1, drop, &dropped) == GW_OK);
    EXPECT(dropped == 8);

    EXPECT(gw_reply(NULL, sr, body, &head, &chunk) == GW_ERR_INVALID);
    EXPECT(dropped == 9);
    EXPECT(gw_reply(start_response, sr, body, NULL, &chunk)
           == GW_ERR_INVALID);
    EXPECT(dropped == 10);
    EXPECT(start_response(sr, NULL, NULL) == GW_ERR_INVALID);
    head.status = 99;
    EXPECT(start_response(sr, &head, NULL) == GW_ERR_PROTOCOL);
    head.status = 1000;
    EXPECT(start_response(sr, &head, NULL) == GW_ERR_PROTOCOL);
    head.status = 200;
    head.headers = bad;
    head.header_count = 1;
    EXPECT(start_response(sr, &head, NULL) == GW_ERR_PROTOCOL);
    head.header_count = 0;
    EXPECT(start_response(sr, &head, NULL) == GW_OK);
    EXPECT(start_response(sr, &head, NULL) == GW_ERR_STATE);
    EXPECT(gw_app_call(NULL, env, start_response, sr, body)
           == GW_ERR_INVALID);
    EXPECT(gw_fail(NULL, "a", 1) == GW_ERR_INVALID);
    EXPECT(dropped == 10);
    return GW_OK;
}

static gw_result
through(void *ctx, gw_environ *env, gw_start_response_fn start_response,
        void *sr, gw_body *body)
{
    return gw_app_call(ctx, env, start_response, sr, body);
}

static gw_result
wrap(void *ctx, const gw_app *inner, gw_app *outer, gw_error *err)
{
    EXPECT(*(int *) ctx == 7 && err->size == sizeof *err);
    EXPECT(strcmp(inner->name, "named") == 0 && outer->name != NULL);
    outer->call = through;
    outer->ctx = (void *) inner;
    return GW_OK;
}

/* The name is borrowed for the call, the context is taken. */

static gw_config *
config(gw_error *err)
{
    gw_config *cfg = gw_config_new();
    gw_app     app = GW_INIT(gw_app);
    char      *name = strdup("named");
    int       *ctx = malloc(sizeof *ctx);

    *ctx = 7;
    app.name = name;
    app.call = wrongly;
    app.flags = GW_APP_NONBLOCKING;
    EXPECT(gw_config_app(cfg, &app, err) == GW_OK);
    free(name);
    EXPECT(gw_config_use(cfg, wrap, ctx, free, err) == GW_OK);
    return cfg;
}

/* An application with a context of its own, which drop frees. */

static const gw_app *
taken(void)
{
    static gw_app app = GW_INIT(gw_app);

    app.call = wrongly;
    app.ctx = malloc(4);
    app.drop = free;
    return &app;
}

/* Through a socket pair, to the end of the connection. */

static void
request(void)
{
    static const char  get[] = "GET /?a=b HTTP/1.1\r\nHost: h\r\n"
                               "Connection: close\r\n\r\n";
    int                s[2];
    char               buf[1024];
    ssize_t            n = 0, got;
    int64_t            wait_ms;

    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    EXPECT(gw_server_adopt(server, s[0], 99) == GW_ERR_UNKNOWN);
    EXPECT(gw_server_adopt(server, -1, GW_PROTO_HTTP) == GW_ERR_INVALID);
    EXPECT(gw_server_adopt(server, s[0], GW_PROTO_HTTP) == GW_OK);
    EXPECT(write(s[1], get, sizeof get - 1) == (ssize_t) sizeof get - 1);
    for (;;) {
        EXPECT(gw_server_turn(server, &wait_ms) == GW_OK);
        got = recv(s[1], buf + n, sizeof buf - 1 - (size_t) n, MSG_DONTWAIT);
        if (got == 0) {
            break;
        }
        n += got > 0 ? got : 0;
    }
    buf[n] = '\0';
    close(s[1]);
    EXPECT(strncmp(buf, "HTTP/1.1 200 OK\r\n", 17) == 0);
    EXPECT(n > 1 && buf[n - 1] == 'b');
    EXPECT(calls == 1);
    EXPECT(dropped == 11);
}

static void
after_a_fork(void)
{
    gw_stats  stats = GW_INIT(gw_stats);
    int64_t   wait_ms;
    int       status;
    pid_t     pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        failures = 0;
        EXPECT(gw_server_turn(server, &wait_ms) == GW_ERR_STATE);
        EXPECT(gw_server_stats(server, &stats) == GW_ERR_STATE);
        EXPECT(gw_server_fd(server) == -1);
        gw_server_free(server);
        fflush(stdout);
        _exit(failures != 0);
    }
    EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
    EXPECT(gw_server_stats(server, &stats) == GW_OK);
    EXPECT(stats.requests == 1 && stats.in_flight == 0);
    EXPECT(stats.accepted == 1 && stats.connections == 0);
    EXPECT(stats.status[2] == 1 && stats.sent == 1);
}

static void
objects(void)
{
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg;
    gw_server  *none = NULL;
    int64_t     wait_ms;
    void       *fake[8] = { NULL };

    /* What is taken is freed also when the call fails: valgrind looks. */
    EXPECT(gw_server_new(NULL, &none, &err) == GW_ERR_INVALID);
    EXPECT(strcmp(err.message, "this is not a gw_config") == 0);
    EXPECT(gw_server_new(config(&err), NULL, &err) == GW_ERR_INVALID);
    cfg = config(&err);
    EXPECT(gw_config_set(cfg, "bind", "unix:/nowhere/at/all", &err) == GW_OK);
    EXPECT(gw_server_new(cfg, &none, &err) == GW_ERR_IO);
    EXPECT(strstr(err.message, "/nowhere/at/all") != NULL);
    EXPECT(err.os_errno != 0 && err.exit_status == 1);
    EXPECT(none == NULL);

    /* Another object, or none. */
    EXPECT(gw_server_turn((gw_server *) fake, &wait_ms) == GW_ERR_INVALID);
    EXPECT(gw_server_turn(NULL, &wait_ms) == GW_ERR_INVALID);
    EXPECT(gw_server_wake(NULL) == GW_ERR_INVALID);
    EXPECT(gw_server_stop(NULL, GW_STOP_QUICK) == GW_ERR_INVALID);
    EXPECT(gw_server_fd(NULL) == -1);

    /* Modules: wrong words; the file is not looked at yet. */
    cfg = gw_config_new();
    EXPECT(gw_config_module(NULL, NULL, "./a.so", NULL, &err)
           == GW_ERR_INVALID);
    EXPECT(gw_config_module(cfg, NULL, NULL, NULL, &err) == GW_ERR_INVALID);
    EXPECT(strcmp(err.message, "path is NULL") == 0);
    EXPECT(gw_config_module(cfg, NULL, "", NULL, &err) == GW_ERR_INVALID);
    EXPECT(gw_config_module(cfg, NULL, "\xff.so", NULL, &err)
           == GW_ERR_INVALID);
    EXPECT(gw_config_module(cfg, "api", "./a.so", NULL, &err)
           == GW_ERR_INVALID);
    EXPECT(gw_config_module(cfg, "\xff/", "./a.so", NULL, &err)
           == GW_ERR_INVALID);
    EXPECT(gw_config_module(cfg, "", "./a.so", "args", NULL) == GW_OK);
    EXPECT(gw_config_module(cfg, NULL, "./b.so", NULL, NULL) == GW_OK);
    EXPECT(gw_config_module(cfg, "/", "./b.so", NULL, NULL)
           == GW_ERR_INVALID);
    EXPECT(gw_config_module(cfg, "/api", "./a.so", NULL, &err) == GW_OK);

    /* Mounts: an application is taken, and a context, whatever comes of it. */
    EXPECT(gw_config_mount(NULL, "/a", taken(), &err) == GW_ERR_INVALID);
    EXPECT(gw_config_mount(cfg, "/a", NULL, &err) == GW_ERR_INVALID);
    EXPECT(gw_config_mount(cfg, "a", taken(), &err) == GW_ERR_INVALID);
    EXPECT(gw_config_mount(cfg, "\xff/", taken(), NULL) == GW_ERR_INVALID);
    EXPECT(gw_config_mount(cfg, "/api/", taken(), &err) == GW_ERR_INVALID);
    EXPECT(strstr(err.message, "a module") != NULL);
    EXPECT(gw_config_mount(cfg, "h/a", taken(), NULL) == GW_OK);
    EXPECT(gw_config_use_at(cfg, "/b", wrap, malloc(4), free, &err)
           == GW_ERR_NOT_FOUND);
    EXPECT(gw_config_use_at(cfg, "h/a", NULL, malloc(4), free, &err)
           == GW_ERR_INVALID);
    EXPECT(gw_config_use_at(NULL, "h/a", wrap, malloc(4), free, &err)
           == GW_ERR_INVALID);
    EXPECT(gw_config_use_at(cfg, "H/a/", wrap, malloc(4), free, NULL) == GW_OK);
    EXPECT(gw_config_use_at(cfg, NULL, wrap, malloc(4), free, NULL) == GW_OK);
    gw_config_free(cfg);

    EXPECT(gw_config_set((gw_config *) fake, "a", "b", &err)
           == GW_ERR_INVALID);
    gw_server_free(NULL);
    gw_server_free((gw_server *) fake);
    gw_config_free(NULL);
}

/* Handles that are none, and taking where there is nothing to take. */

static void
later(void)
{
    gw_error            err = GW_INIT(gw_error);
    gw_deferred_events  events = GW_INIT(gw_deferred_events);
    gw_response         head = { .status = 200 };
    gw_chunk            chunk = { .data = "x", .len = 1 };
    gw_server          *server = NULL;
    gw_deferred        *d = NULL, *fake;
    gw_event            event;
    void               *memory[8] = { NULL };
    char                octet;
    size_t              n = 7;

    fake = (gw_deferred *) memory;
    EXPECT(gw_defer(NULL, NULL, &d) == GW_ERR_INVALID);
    EXPECT(gw_defer(NULL, &events, &d) == GW_ERR_INVALID);
    EXPECT(gw_deferred_environ(NULL) == NULL);
    EXPECT(gw_deferred_environ(fake) == NULL);
    EXPECT(gw_deferred_read(fake, &octet, 1, &n) == GW_ERR_INVALID);
    EXPECT(gw_deferred_start(fake, &head) == GW_ERR_INVALID);
    EXPECT(gw_deferred_write(fake, &chunk) == GW_ERR_INVALID);
    EXPECT(gw_deferred_write(fake, NULL) == GW_ERR_INVALID);
    EXPECT(gw_deferred_resume(NULL) == GW_ERR_INVALID);
    EXPECT(gw_deferred_resume_after(fake, 1) == GW_ERR_INVALID);
    EXPECT(gw_deferred_watch(fake, &events) == GW_ERR_INVALID);
    EXPECT(gw_deferred_end(fake, GW_OK) == GW_ERR_INVALID);
    EXPECT(gw_deferred_reply(fake, &head, &chunk, 1) == GW_ERR_INVALID);
    EXPECT(gw_deferred_reply(NULL, NULL, NULL, 0) == GW_ERR_INVALID);
    EXPECT(gw_deferred_reply_flat(fake, 200, NULL, 0, NULL, 0)
           == GW_ERR_INVALID);

    EXPECT(gw_server_new(config(&err), &server, &err) == GW_OK);
    EXPECT(gw_server_take(server, &d, 1, 0, &n) == GW_ERR_STATE);
    gw_server_free(server);
    EXPECT(gw_server_new(gw_config_new(), &server, &err) == GW_OK);
    EXPECT(gw_server_take(server, &d, 0, 0, &n) == GW_ERR_INVALID);
    EXPECT(gw_server_take(server, &d, 1, -2, &n) == GW_ERR_INVALID);
    EXPECT(gw_server_take(server, NULL, 1, 0, &n) == GW_ERR_INVALID);
    EXPECT(gw_server_take(NULL, &d, 1, 0, &n) == GW_ERR_INVALID);
    EXPECT(n == 7);
    EXPECT(gw_server_take(server, &d, 1, 0, &n) == GW_AGAIN && n == 0);
    EXPECT(gw_server_take(server, &d, 1, 1, &n) == GW_AGAIN);
    EXPECT(gw_server_events(server, &event, 1, 0, &n) == GW_AGAIN);
    EXPECT(gw_server_events(server, NULL, 1, 0, &n) == GW_ERR_INVALID);
    gw_server_free(server);
}

/* A worker comes and goes, turned by us. */

static void
arbiter(void)
{
    gw_error       err = GW_INIT(gw_error);
    gw_config     *cfg = config(&err);
    gw_arbiter    *a = NULL;
    gw_result      rc;
    int64_t        wait_ms;
    struct pollfd  fd;
    gw_stats       stats = GW_INIT(gw_stats);

    EXPECT(gw_arbiter_new(cfg, &a, &err) == GW_ERR_INVALID);
    EXPECT(strstr(err.message, "listen") != NULL);
    cfg = config(&err);
    EXPECT(gw_config_set(cfg, "bind", "127.0.0.1:0", &err) == GW_OK);
    EXPECT(gw_config_set(cfg, "worker_model", "inline", &err) == GW_OK);
    EXPECT(gw_arbiter_new(cfg, &a, &err) == GW_ERR_INVALID);
    EXPECT(gw_serve(NULL, &err) == GW_ERR_INVALID);
    EXPECT(gw_serve(gw_config_new(), &err) == GW_ERR_INVALID);
    EXPECT(strstr(err.message, "no application") != NULL);
    EXPECT(a == NULL);

    cfg = config(&err);
    EXPECT(gw_config_set(cfg, "bind", "127.0.0.1:0", &err) == GW_OK);
    EXPECT(gw_config_set_int(cfg, GW_OPT_WORKERS, 1, &err) == GW_OK);
    EXPECT(gw_arbiter_new(cfg, &a, &err) == GW_OK);
    if (a == NULL) {
        return;
    }
    EXPECT(gw_arbiter_turn(a, &wait_ms) == GW_ERR_STATE);
    EXPECT(gw_arbiter_wait(a, 0) == GW_AGAIN);
    EXPECT(gw_arbiter_stop(a, 3) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_stop((gw_arbiter *) server, 0) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_scale(a, 0) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_scale(a, 1025) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_signal(a, 0) == GW_ERR_UNSUPPORTED);
    EXPECT(gw_arbiter_signal(a, -1) == GW_ERR_UNSUPPORTED);
    EXPECT(gw_arbiter_reload(a, (gw_config *) server) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_reload(a, config(&err)) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_reaped(a, -1, 0) == GW_OK);
    EXPECT(gw_arbiter_reaped(a, 1, 0x137f) == GW_OK);
    EXPECT(gw_arbiter_stats(a, NULL) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_stats((gw_arbiter *) server, &stats) == GW_ERR_INVALID);
    stats.size = 3;
    EXPECT(gw_arbiter_stats(a, &stats) == GW_ERR_INVALID);
    stats.size = sizeof stats;
    EXPECT(gw_arbiter_stats(a, &stats) == GW_OK);
    EXPECT(stats.workers == 0 && stats.requests == 0);
    EXPECT(gw_arbiter_start(a, &err) == GW_OK);
    EXPECT(gw_arbiter_stats(a, &stats) == GW_OK);
    EXPECT(stats.workers > 0 && stats.spawned == 1 && stats.failing == 0);
    EXPECT(gw_arbiter_start(a, &err) == GW_ERR_STATE);
    EXPECT(gw_is_worker() == 0);
    EXPECT(gw_arbiter_stop(a, GW_STOP_GRACEFUL) == GW_OK);
    fd.fd = gw_arbiter_fd(a);
    fd.events = POLLIN;
    while ((rc = gw_arbiter_turn(a, &wait_ms)) == GW_OK) {
        (void) poll(&fd, 1, (int) wait_ms);
    }
    EXPECT(rc == GW_EOF);
    EXPECT(gw_arbiter_wait(a, -1) == GW_OK);
    gw_arbiter_free(a);
    EXPECT(gw_arbiter_stop(NULL, 0) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_reload(NULL, config(&err)) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_scale(NULL, 1) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_signal(NULL, 1) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_reaped(NULL, 1, 0) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_stats(NULL, &stats) == GW_ERR_INVALID);
    EXPECT(gw_arbiter_fd(NULL) == -1);
    gw_arbiter_free(NULL);
}

static void
ready_made(void)
{
    gw_app    app = GW_INIT(gw_app);
    gw_app    outer = GW_INIT(gw_app);
    gw_error  err = GW_INIT(gw_error);
    char      rules[] = "access deny=*", nothing[] = "nothing access";

    EXPECT(gw_app_builtin(NULL, NULL, &app, NULL) == GW_ERR_INVALID);
    EXPECT(gw_app_builtin("cgi", "root=/", NULL, &err) == GW_ERR_INVALID);
    EXPECT(gw_app_builtin("cgi", NULL, &app, &err) == GW_ERR_INVALID);
    EXPECT(strstr(err.message, "root is missing") != NULL);
    EXPECT(gw_app_builtin("nothing", "", &app, &err) == GW_ERR_UNKNOWN);
    EXPECT(gw_app_builtin("forward", "", &app, &err) == GW_ERR_INVALID);
    EXPECT(gw_app_builtin("static", "", &app, &err) == GW_ERR_INVALID);
    app.size = 8;
    EXPECT(gw_app_builtin("cgi", "root=/", &app, NULL) == GW_ERR_INVALID);
    app.size = sizeof app;
    EXPECT(app.call == NULL && app.drop == NULL);
    EXPECT(gw_app_builtin("cgi", "root=/", &app, &err) == GW_OK);
    EXPECT(strcmp(app.name, "cgi") == 0 && app.flags == GW_APP_THREADSAFE);

    EXPECT(gw_middleware_builtin(NULL, &app, &outer, &err) == GW_ERR_INVALID);
    EXPECT(gw_middleware_builtin(rules, NULL, &outer, NULL) == GW_ERR_INVALID);
    EXPECT(gw_middleware_builtin(rules, &app, NULL, &err) == GW_ERR_INVALID);
    EXPECT(gw_middleware_builtin(nothing, &app, &outer, &err)
           == GW_ERR_UNKNOWN);
    EXPECT(gw_middleware_builtin(nothing + 8, &app, &outer, &err)
           == GW_ERR_INVALID);
    EXPECT(strstr(err.message, "access: allow or deny is missing") != NULL);
    outer.size = 8;
    EXPECT(gw_middleware_builtin(rules, &app, &outer, &err) == GW_ERR_INVALID);
    outer.size = sizeof outer;
    EXPECT(outer.call == NULL && outer.drop == NULL);
    EXPECT(gw_middleware_builtin(rules, &app, &outer, &err) == GW_OK);
    EXPECT(outer.flags == app.flags && strcmp(outer.name, "cgi") == 0);
    outer.drop(outer.ctx);
    app.drop(app.ctx);
}

int
main(void)
{
    gw_error  err = GW_INIT(gw_error);
    gw_stats  stats = GW_INIT(gw_stats);
    int64_t   wait_ms;

    objects();
    later();
    ready_made();
    EXPECT(gw_server_new(config(&err), &server, &err) == GW_OK);
    EXPECT(gw_server_turn(server, NULL) == GW_ERR_INVALID);
    EXPECT(gw_server_stop(server, 3) == GW_ERR_INVALID);
    EXPECT(gw_server_stats(server, NULL) == GW_ERR_INVALID);
    stats.size = 8;
    EXPECT(gw_server_stats(server, &stats) == GW_ERR_INVALID);

    request();
    after_a_fork();

    arbiter();

    EXPECT(gw_server_stop(server, GW_STOP_GRACEFUL) == GW_OK);
    EXPECT(gw_server_turn(server, &wait_ms) == GW_EOF);
    EXPECT(gw_server_turn(server, &wait_ms) == GW_EOF);
    EXPECT(gw_server_adopt(server, 0, GW_PROTO_HTTP) == GW_ERR_STATE);
    gw_server_free(server);

    if (failures == 0) {
        puts("ok");
    }
    return failures != 0;
}
