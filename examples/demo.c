/*
 * demo.c - a little of everything.  Each binding has this program in its
 * language, and tests/demo.py compares what the two answer, octet by octet.
 *
 *     cc -o demo demo.c -lgateway -pthread && ./demo 127.0.0.1:8000 demo.c
 *
 *     curl -i http://127.0.0.1:8000/            (environ, echo, count, later,
 *                                                headers, file, fail)
 */
#define _POSIX_C_SOURCE 200809L
#include <gateway.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const gw_pair plain[] = {
    { GW_LIT("Content-Type"), GW_LIT("text/plain") },
};

static int
is(gw_str s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* A line for each: NAME=value, and nothing behind the = of one that is missing. */
static gw_result
variables(gw_environ *env, gw_body *body)
{
    static const char *const names[] = {
        "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING",
        "CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_PROTOCOL", "REMOTE_ADDR",
        "HTTP_HOST", "HTTP_X_DEMO",
    };
    gw_str  value;
    char   *text;
    size_t  i, len;
    FILE   *out = open_memstream(&text, &len);

    if (out == NULL) {
        return GW_ERR_MEMORY;
    }
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        fprintf(out, "%s=", names[i]);
        if (gw_environ_get(env, names[i], strlen(names[i]), &value) == GW_OK) {
            fwrite(value.data, 1, value.len, out);
        }
        fputc('\n', out);
    }
    fclose(out);
    return gw_body_bytes(body, text, len, free, text);
}

static gw_result
countdown(void *ctx, gw_chunk *out)
{
    char *line = ctx;                       /* of the previous number */
    int   left = atoi(line);

    if (left == 1) {
        return GW_EOF;
    }
    out->data = line;
    out->len = (uint64_t) snprintf(line, 4, "%d\n", left - 1);
    return GW_OK;
}

static void *
later(void *d)
{
    gw_response head = { .status = 200, .headers = plain, .header_count = 1 };
    gw_chunk    chunk = { .data = "at last\n", .len = 8 };

    nanosleep(&(struct timespec) { .tv_nsec = 10 * 1000 * 1000 }, NULL);
    gw_deferred_reply(d, &head, &chunk, 1);
    return NULL;
}

static gw_result
defer(gw_environ *env)
{
    gw_deferred *d;
    pthread_t    thread;
    gw_result    rc = gw_defer(env, NULL, &d);

    if (rc < 0) {
        return rc;
    }
    if (pthread_create(&thread, NULL, later, d) == 0) {
        pthread_detach(thread);
    } else {
        gw_deferred_end(d, GW_ERR_APP);
    }
    return GW_DEFERRED;
}

/* What came, with the type that it came with. */
static gw_result
echo(gw_environ *env, gw_start_response_fn start_response, void *sr, gw_body *body)
{
    gw_pair     type = { GW_LIT("Content-Type"), GW_LIT("application/octet-stream") };
    gw_response head = { .status = 200, .headers = &type, .header_count = 1 };
    gw_str      came;
    gw_result   rc = gw_read_all(env, SIZE_MAX, &came);

    if (env->content_type.data != NULL) {
        type.value = env->content_type;
    }
    if (rc < 0 || (rc = start_response(sr, &head, NULL)) < 0) {
        return rc;
    }
    return gw_body_bytes(body, came.data, came.len, NULL, NULL);
}

static gw_result
file(gw_environ *env, const char *path, gw_start_response_fn start_response,
     void *sr, gw_body *body)
{
    char        length[24];
    struct stat st;
    gw_result   rc;
    int         fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return gw_fail(env, path, strlen(path));
    }
    fstat(fd, &st);

    const gw_pair headers[] = {
        { GW_LIT("Content-Length"),
          { length, (size_t) sprintf(length, "%lld", (long long) st.st_size) } },
        { GW_LIT("Content-Type"), GW_LIT("application/octet-stream") },
    };
    gw_response head = { .status = 200, .headers = headers, .header_count = 2 };

    rc = start_response(sr, &head, NULL);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return gw_body_file(body, fd, 0, (uint64_t) st.st_size, GW_FILE_CLOSE, NULL, NULL);
}

static gw_result
demo(void *ctx, gw_environ *env, gw_start_response_fn start_response, void *sr, gw_body *body)
{
    static const gw_pair several[] = {
        { GW_LIT("Set-Cookie"), GW_LIT("a=1; Path=/") },
        { GW_LIT("Set-Cookie"), GW_LIT("b=2; Path=/") },
        { GW_LIT("X-Demo"), GW_LIT("yes") },
    };
    static const gw_chunk hello = { .data = "hello, world\n", .len = 13 };
    static const gw_chunk not_found = { .data = "not found\n", .len = 10 };
    gw_response           head = { .status = 200, .headers = plain, .header_count = 1 };
    gw_str                path = env->path_info;
    gw_result             rc;

    if (is(path, "/")) {
        return gw_reply(start_response, sr, body, &head, &hello);
    }
    if (is(path, "/echo")) {
        return echo(env, start_response, sr, body);
    }
    if (is(path, "/environ")) {
        rc = start_response(sr, &head, NULL);
        return rc < 0 ? rc : variables(env, body);
    }
    if (is(path, "/count")) {
        char *line = gw_environ_alloc(env, 4);

        if (line == NULL) {
            return GW_ERR_MEMORY;
        }
        body->ctx = strcpy(line, "11");
        body->next = countdown;
        return start_response(sr, &head, NULL);
    }
    if (is(path, "/later")) {
        return defer(env);
    }
    if (is(path, "/headers")) {
        head = (gw_response) { .status = 204, .headers = several, .header_count = 3 };
        return gw_reply(start_response, sr, body, &head, NULL);
    }
    if (is(path, "/file")) {
        return file(env, ctx, start_response, sr, body);
    }
    if (is(path, "/fail")) {
        return gw_fail(env, "as it was asked to", 18);
    }
    head.status = 404;
    return gw_reply(start_response, sr, body, &head, &not_found);
}

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();

    if (argc != 3) {
        fprintf(stderr, "usage: demo address file\n");
        return 2;
    }
    app.call = demo;
    app.ctx = argv[2];
    app.name = "demo";
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;

    if (gw_config_set(cfg, "bind", argv[1], &err) < 0
        || gw_config_set(cfg, "workers", "2", &err) < 0
        || gw_config_app(cfg, &app, &err) < 0
        || gw_serve(cfg, &err) < 0)
    {
        fprintf(stderr, "demo: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
