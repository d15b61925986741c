/*
 * host.c - a foreign server without sockets: requests go in, answers come out.
 *
 *     host SCENARIO [option=value ...]     see `scenarios` at the end
 *
 * `threads=N` among the options: the application blocks, and runs on threads.  Ends with 0 if everything was as it
 * should be.
 */
#define _GNU_SOURCE
#include "hosted_app.h"

#include <poll.h>

static int blocks;

/* ---- the foreign server ---- */

typedef struct {
    gw_exchange *x;
    int          status, hints, files, done;
    unsigned     flags;
    long long    length;                /* Content-Length, -1 */
    gw_result    end;
    char        *body;
    size_t       len;
    gw_chunk     kept[64];              /* where they are not released at once */
    int          keeps, kept_count;
} answer;

static gw_host *host;

static void
take_chunk(answer *a, gw_chunk *chunk)
{
    a->body = realloc(a->body, a->len + chunk->len + 1);
    if (chunk->flags & GW_CHUNK_FILE) {
        a->files++;
        check(pread(chunk->fd, a->body + a->len, chunk->len, chunk->offset) == (ssize_t) chunk->len);
    } else {
        memcpy(a->body + a->len, chunk->data, chunk->len);
    }
    a->len += chunk->len;
    a->body[a->len] = '\0';
    if (a->keeps && a->kept_count < 64) {
        a->kept[a->kept_count++] = *chunk;
    } else if (chunk->release != NULL) {
        chunk->release(chunk->arg);
    }
}

static void
release_kept(answer *a, int backwards)
{
    for (int i = 0; i < a->kept_count; i++) {
        gw_chunk *chunk = &a->kept[backwards ? a->kept_count - 1 - i : i];

        chunk->release(chunk->arg);
    }
    a->kept_count = 0;
}

/* As far as possible; 1: it is over. */
static int
pump(answer *a)
{
    gw_response head;
    gw_chunk    chunk;
    gw_result   rc = GW_OK;

    while (!a->done && a->status == 0) {
        rc = gw_exchange_head(a->x, &head);
        if (rc == GW_AGAIN) {
            rc = gw_exchange_pull(a->x, &chunk);    /* it may have come meanwhile */
            check(rc == GW_AGAIN || rc == GW_ERR_STATE || rc == GW_ERR_APP);
            if (rc != GW_AGAIN) {
                continue;
            }
            return 0;
        }
        if (rc < 0) {
            a->end = rc;
            a->done = 1;
        } else if (rc == GW_EOF) {
            a->status = -1;             /* who frees at random has seen it */
        } else if (head.status < 200) {
            check(head.header_count == 1 && strncmp(head.headers->value.data, "</a.css>", 8) == 0);
            a->hints++;
        } else {
            a->status = head.status;
            a->flags = head.flags;
            a->length = -1;
            for (size_t i = 0; i < head.header_count; i++) {
                if (head.headers[i].name.len == 14) {
                    a->length = strtoll(head.headers[i].value.data, NULL, 10);
                }
            }
            check(gw_exchange_head(a->x, &head) == GW_EOF);
        }
    }
    while (!a->done) {
        rc = gw_exchange_pull(a->x, &chunk);
        if (rc == GW_AGAIN) {
            return 0;
        }
        if (rc == GW_OK) {
            take_chunk(a, &chunk);
        }
        if (rc != GW_OK || chunk.flags & GW_CHUNK_LAST) {
            a->end = rc;
            a->done = 1;
        }
    }
    return 1;
}

/* Wait for readiness, and pump what is ready; 0: nothing was for 20 s. */
static int
turn(int ms)
{
    struct pollfd  fd = { .fd = gw_host_fd(host), .events = POLLIN };
    gw_exchange   *x;
    uint32_t       what;
    int            n = 0;

    if (poll(&fd, 1, ms) <= 0) {
        return 0;
    }
    while (gw_host_next(host, &x, &what) == GW_OK) {
        check(what != 0 && (what & ~(GW_HOST_FEED | GW_HOST_PULL)) == 0);
        if (what & GW_HOST_PULL) {
            pump(gw_exchange_user(x));
        }
        n++;
    }
    return 1 + n;
}

static void
until_done(answer *a)
{
    while (!a->done) {
        check(turn(20000));
    }
}

static gw_environ
request(const char *method, const char *path, const char *query)
{
    gw_environ env = GW_INIT(gw_environ);

    env.request_method = (gw_str) { method, strlen(method) };
    env.path_info = (gw_str) { path, strlen(path) };
    env.query_string = (gw_str) { query, strlen(query) };
    env.content_length = -1;
    return env;
}

static answer *
begin(const gw_environ *env)
{
    answer *a = calloc(1, sizeof *a);

    check(gw_exchange_new(host, env, a, &a->x) == GW_OK);
    check(gw_exchange_user(a->x) == a);
    return a;
}

static void
run(answer *a)
{
    gw_result rc = gw_exchange_run(a->x);

    check(rc == GW_OK || rc == GW_AGAIN);
    if (rc == GW_OK) {
        pump(a);
    }
}

static answer *
ask(const char *method, const char *path, const char *query)
{
    gw_environ  env = request(method, path, query);
    answer     *a = begin(&env);

    run(a);
    until_done(a);
    return a;
}

static void
end(answer *a)
{
    gw_exchange_free(a->x);
    release_kept(a, 0);
    free(a->body);
    free(a);
}

static void
expect(answer *a, int status, const char *body)
{
    if (a->status != status || (body != NULL && (a->body == NULL || strcmp(a->body, body) != 0))) {
        fprintf(stderr, "got %d %s, not %d %s\n", a->status, a->body, status, body);
        exit(1);
    }
    end(a);
}

static void
wait_until(atomic_ullong *what, unsigned long long n)
{
    for (int i = 0; i < 20000 && atomic_load(what) < n; i++) {
        turn(1);
    }
    if (atomic_load(what) != n) {
        fprintf(stderr, "%llu, not %llu\n", (unsigned long long) atomic_load(what), n);
        exit(1);
    }
}

/* A thread brings a request back behind the last piece of its answer. */
static void
all_over(gw_stats *stats)
{
    for (int i = 0; i < 20000; i++) {
        check(gw_host_stats(host, stats) == GW_OK);
        if (stats->in_flight == 0) {
            return;
        }
        turn(1);
    }
    check(!"all are over");
}

static gw_result
feed(answer *a, const char *data, size_t len, uint32_t flags)
{
    gw_chunk chunk = { .data = data, .len = len, .flags = flags };

    return gw_exchange_feed(a->x, &chunk);
}

static void
configure(int argc, char **argv)
{
    gw_app     application = { .size = sizeof application, .call = app, .flags = GW_APP_THREADSAFE };
    gw_config *cfg = gw_config_new();
    gw_error   err = GW_INIT(gw_error);

    for (int i = 2; i < argc; i++) {
        char *value = strchr(argv[i], '=');

        check(value != NULL);
        blocks |= strncmp(argv[i], "threads", 7) == 0;
        check(gw_config_set(cfg, strndupa(argv[i], (size_t) (value - argv[i])), value + 1, &err) == GW_OK);
    }
    if (!blocks) {
        application.flags |= GW_APP_NONBLOCKING;
    }
    check(gw_config_app(cfg, &application, &err) == GW_OK);
    if (gw_host_new(cfg, &host, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    main_thread = pthread_self();
}

/* ---- scenarios ---- */

static void
answers(void)
{
    answer *a;

    for (int round = 0; round < 3; round++) {
        a = ask("GET", "/", "");
        check(a->length == 6 && a->flags == 0 && a->end == GW_OK);
        expect(a, 200, "hello\n");
        a = ask("HEAD", "/", "");
        check(a->length == 6 && a->len == 0 && a->end == GW_EOF);
        expect(a, 200, NULL);
        a = ask("GET", "/stream", "n=3&size=5");
        check(a->length == -1);
        expect(a, 200, "aaaaabbbbbccccc");
        a = ask("GET", "/stream", "n=20&size=30000");
        check(a->len == 600000 && a->body[599999] == 't');
        expect(a, 200, NULL);
        a = ask("GET", "/stream", "n=20&size=30000&owned=1");
        check(a->len == 600000 && a->body[599999] == 't');
        expect(a, 200, NULL);
        wait_until(&released, atomic_load(&made));
        for (int code = 204; code <= 304; code += 100) {
            char query[32];

            snprintf(query, sizeof query, "code=%d", code);
            a = ask("GET", "/status", query);
            check(a->len == 0 && a->length == -1 && a->end == GW_EOF);
            expect(a, code, NULL);
        }
        a = ask("GET", "/early", "");
        check(a->hints == 2);
        expect(a, 200, "hello\n");
        a = ask("GET", "/file", "");
        check(a->files > 0 && a->len == 30000 && memcmp(a->body + 29996, "file", 4) == 0);
        expect(a, 200, NULL);
        a = ask("GET", "/later", "ms=3");
        expect(a, 200, "later\n");
        a = ask("POST", "/sum", "");
        expect(a, 200, "0 0");
        a = ask("GET", "/write", blocks ? "n=5" : "n=1");
        check(a->len == (blocks ? 500000 : 100000));
        expect(a, 200, NULL);
    }
    wait_until(&closed, atomic_load(&opened));
    check(atomic_load(&early_close) == 0);
    check(blocks ? atomic_load(&in_main) == 0 : atomic_load(&in_main) == atomic_load(&calls));

}

static void
environs(void)
{
    static const gw_pair headers[] = {
        { GW_LIT("X-One"), GW_LIT("1") }, { GW_LIT("x-one"), GW_LIT("2") },
        { GW_LIT("Cookie"), GW_LIT("a=b") }, { GW_LIT("cookie"), GW_LIT("c=d") },
        { GW_LIT("Host"), GW_LIT("example.org:8080") }, { GW_LIT("Content-Type"), GW_LIT("text/x") },
    };
    static const gw_pair vars[] = {
        { GW_LIT("FASTER"), GW_LIT("yes") }, { GW_LIT("gateway.forged"), GW_LIT("yes") },
    };
    gw_environ   env = request("PUT", "/environ", "q=%20");
    gw_exchange *x;
    answer      *a;

    env.headers = headers;
    env.header_count = 6;
    env.vars = vars;
    env.var_count = 2;
    env.script_name = GW_STR("/front");
    env.url_scheme = GW_STR("https");
    env.remote_addr = GW_STR("192.0.2.7");
    env.remote_port = GW_STR("999");
    env.content_length = 0;
    a = begin(&env);
    run(a);
    until_done(a);
    expect(a, 200, blocks
        ? "REQUEST_METHOD=PUT\nSCRIPT_NAME=/front\nPATH_INFO=/environ\nQUERY_STRING=q=%20\n"
          "REQUEST_URI=/front/environ?q=%20\nCONTENT_TYPE=text/x\nCONTENT_LENGTH=0\n"
          "SERVER_NAME=example.org\nSERVER_PORT=8080\nSERVER_PROTOCOL=HTTP/1.1\nREMOTE_ADDR=192.0.2.7\n"
          "REMOTE_PORT=999\nwsgi.url_scheme=https\nHTTP_X_ONE=1,2\nHTTP_COOKIE=a=b; c=d\nFASTER=yes\n"
          "gateway.forged=-\nhosted 1 block 1\n"
        : "REQUEST_METHOD=PUT\nSCRIPT_NAME=/front\nPATH_INFO=/environ\nQUERY_STRING=q=%20\n"
          "REQUEST_URI=/front/environ?q=%20\nCONTENT_TYPE=text/x\nCONTENT_LENGTH=0\n"
          "SERVER_NAME=example.org\nSERVER_PORT=8080\nSERVER_PROTOCOL=HTTP/1.1\nREMOTE_ADDR=192.0.2.7\n"
          "REMOTE_PORT=999\nwsgi.url_scheme=https\nHTTP_X_ONE=1,2\nHTTP_COOKIE=a=b; c=d\nFASTER=yes\n"
          "gateway.forged=-\nhosted 1 block 0\n");

    env = request("GE T", "/", "");
    check(gw_exchange_new(host, &env, NULL, &x) == GW_ERR_INVALID);
    env = request("GET", "/", "");
    env.size = 8;
    check(gw_exchange_new(host, &env, NULL, &x) == GW_ERR_INVALID);
}

/* What goes wrong before the head is a page that the host may replace, behind it a cut. */
static void
errors(void)
{
    answer      *a = ask("GET", "/fail", "");
    gw_exchange *x;
    gw_environ   env;
    gw_chunk     chunk;
    gw_stats     stats = GW_INIT(gw_stats);

    check(a->flags == GW_RESPONSE_EXCUSE && strstr(a->body, "500") != NULL);
    expect(a, 500, NULL);
    a = ask("GET", "/short", "");
    check(a->flags == GW_RESPONSE_EXCUSE);
    expect(a, 500, NULL);
    a = ask("GET", "/stream", "n=4&size=3&fail=1");
    check(a->end == GW_ERR_APP && a->flags == 0);
    expect(a, 200, "aaabbbcccddd");
    all_over(&stats);
    check(stats.requests == 3 && stats.app_errors == 3);

    env = request("GET", "/", "");
    check(gw_exchange_new(host, &env, NULL, &x) == GW_OK);
    check(gw_exchange_pull(x, &chunk) == GW_AGAIN);
    chunk = (gw_chunk) { .data = "x", .len = 1 };
    check(gw_exchange_feed(x, &chunk) == GW_ERR_STATE);
    check(gw_exchange_run(x) >= 0);
    check(gw_exchange_run(x) == GW_ERR_STATE);
    gw_exchange_free(x);
    check(gw_exchange_run(x) == GW_ERR_STATE);
    check(gw_exchange_user(x) == NULL);
    check(gw_exchange_run(NULL) == GW_ERR_INVALID);
}

static char     pattern[1 << 20];
static unsigned pattern_sum;

static void
make_pattern(size_t len)
{
    pattern_sum = 0;
    for (size_t i = 0; i < len; i++) {
        pattern[i] = (char) (i * 7 + i / 1000);
        pattern_sum = pattern_sum * 31 + (unsigned char) pattern[i];
    }
}

/* max_body=1m, body_buffer=64k: what is complete before it is read. */
static void
bodies(void)
{
    static const size_t sizes[] = { 1, 1000, 65536, 65537, 1 << 20 };
    char                expected[64], template[] = "/tmp/gw-host-XXXXXX";
    int                 fd = mkstemp(template);
    gw_environ          env;
    answer             *a;

    check(fd >= 0 && unlink(template) == 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t len = sizes[i];

        make_pattern(len);
        check(pwrite(fd, pattern, len, 100) == (ssize_t) len);
        snprintf(expected, sizeof expected, "%zu %u", len, pattern_sum);
        for (int way = 0; way < 6; way++) {
            size_t   half = len / 2;
            gw_chunk file = { .fd = fd, .offset = 100, .len = len, .flags = GW_CHUNK_FILE };

            env = request("POST", "/sum", "");
            /* A length that is known, or not; before it is run, or after it; memory, files, both. */
            env.content_length = way % 2 == 0 ? (int64_t) len : -1;
            env.flags = way % 2 == 0 ? 0 : GW_ENV_HAS_BODY;
            a = begin(&env);
            if (way / 2 == 1) {
                check(gw_exchange_run(a->x) == GW_AGAIN);
            }
            if (way / 2 == 2) {
                check(gw_exchange_feed(a->x, &file) == GW_OK);
            } else {
                check(feed(a, pattern, half, 0) == GW_OK);
                file.len = len - half;
                file.offset += (int64_t) half;
                check((half % 2 ? gw_exchange_feed(a->x, &file)
                                : feed(a, pattern + half, len - half, 0)) == GW_OK);
            }
            if (way % 2) {
                check(feed(a, NULL, 0, GW_CHUNK_LAST) == GW_OK);
            }
            check(feed(a, "x", 1, 0) == GW_ERR_STATE);
            if (way / 2 == 1) {
                pump(a);
            } else {
                run(a);
            }
            until_done(a);
            expect(a, 200, expected);
        }
    }
    /* Too long, by its own word or in fact; another length than its Content-Length. */
    env = request("POST", "/sum", "");
    env.content_length = (1 << 20) + 1;
    a = begin(&env);
    check(feed(a, "x", 1, 0) == GW_ERR_LIMIT);
    run(a);
    until_done(a);
    check(a->flags == GW_RESPONSE_EXCUSE);
    expect(a, 413, NULL);
    env.content_length = -1;
    env.flags = GW_ENV_HAS_BODY;
    a = begin(&env);
    check(feed(a, pattern, 1 << 20, 0) == GW_OK);
    check(feed(a, pattern, 1, 0) == GW_ERR_LIMIT);
    run(a);
    until_done(a);
    expect(a, 413, NULL);
    for (int way = 0; way < 2; way++) {
        env.content_length = 10;
        a = begin(&env);
        check(feed(a, pattern, way ? 11 : 9, way ? 0 : GW_CHUNK_LAST) == GW_OK);
        run(a);
        until_done(a);
        expect(a, 400, NULL);
    }
    close(fd);
}

/* request_buffering=0 body_buffer=64k threads=N: the application reads while the host feeds. */
static void
streams(void)
{
    char expected[64];

    make_pattern(sizeof pattern);
    snprintf(expected, sizeof expected, "%zu %u", sizeof pattern, pattern_sum);
    for (int round = 0; round < 10; round++) {
        gw_environ  env = request("POST", "/sum", "");
        answer     *a;
        size_t      at = 0, step = 1000 + (size_t) round * 9000;
        int         refused = 0;

        env.content_length = sizeof pattern;
        a = begin(&env);
        run(a);
        while (at < sizeof pattern) {
            size_t    len = sizeof pattern - at < step ? sizeof pattern - at : step;
            gw_result rc = feed(a, pattern + at, len, 0);

            check(rc == GW_OK || rc == GW_AGAIN);
            if (rc == GW_AGAIN) {
                refused++;
                check(turn(20000));
            } else {
                at += len;
            }
        }
        until_done(a);
        expect(a, 200, expected);
        (void) refused;
    }
    /* One that leaves in the middle of its body. */
    for (int round = 0; round < 10; round++) {
        gw_environ  env = request("POST", "/sum", "");
        answer     *a;

        env.content_length = sizeof pattern;
        a = begin(&env);
        run(a);
        check(feed(a, pattern, 1000, 0) == GW_OK);
        if (round % 2) {
            nap(1);
        }
        end(a);
    }
}

/* output_buffer=64k: nobody gets far ahead of what was released, in whatever order that is. */
static void
pressure(void)
{
    gw_environ env = request("GET", "/stream", "n=60&size=20000&owned=1");

    for (int backwards = 0; backwards < 2; backwards++) {
        answer *a = begin(&env);

        a->keeps = 1;
        run(a);
        while (!a->done) {
            if (a->kept_count == 0) {
                check(turn(20000));
            }
            pump(a);
            /* A thread that makes pieces releases those before them in its own time. */
            for (int ms = 0; atomic_load(&made) - atomic_load(&released) > 5; ms++) {
                check(ms < 20000);
                turn(1);
            }
            release_kept(a, backwards);
            pump(a);
        }
        check(a->len == 1200000);
        release_kept(a, backwards);
        expect(a, 200, NULL);
    }
    if (blocks) {
        answer *a;

        env = request("GET", "/write", "n=20");
        a = begin(&env);
        a->keeps = 1;
        run(a);
        while (a->kept_count == 0) {
            check(turn(20000));
        }
        /* It waits in its second write() until the first is released. */
        nap(30);
        pump(a);
        check(a->kept_count <= 2);
        a->keeps = 0;
        release_kept(a, 0);
        pump(a);
        until_done(a);
        check(a->len == 2000000);
        expect(a, 200, NULL);
    }
    wait_until(&released, atomic_load(&made));
    wait_until(&closed, atomic_load(&opened));
    check(atomic_load(&early_close) == 0);
}

/* Freed at every moment, with pieces that are released before it, behind it, or much later. */
static void
frees(void)
{
    static const char *const targets[][2] = {
        { "/", "" }, { "/stream", "n=30&size=20000" }, { "/stream", "n=30&size=20000&owned=1" },
        { "/stream", "n=3&size=10" }, { "/later", "ms=2" }, { "/later", "ms=0" }, { "/file", "" },
        { "/fail", "" }, { "/early", "" }, { "/write", "n=8" }, { "/sleep", "ms=1" }, { "/hang", "" },
    };
    int       count = blocks ? 12 : 9;
    unsigned  late = 0;
    answer   *waits[16] = { NULL };

    for (int moment = 0; moment < 14; moment++) {
        for (int which = 0; which < count; which++) {
            for (int how = 0; how < 3; how++) {
                gw_environ  env = request("GET", targets[which][0], targets[which][1]);
                answer     *a = begin(&env);

                a->keeps = how > 0;
                if (moment > 0) {
                    gw_result rc = gw_exchange_run(a->x);

                    check(rc == GW_OK || rc == GW_AGAIN);
                }
                if (moment > 1) {
                    gw_response head;

                    check(gw_exchange_head(a->x, &head) <= GW_EOF);
                }
                for (int turns = 2; turns < moment; turns++) {
                    turn(turns % 4 == 0);
                    if (strcmp(targets[which][0], "/early") != 0) {
                        gw_chunk chunk;

                        if (gw_exchange_pull(a->x, &chunk) == GW_OK) {
                            take_chunk(a, &chunk);
                        }
                    }
                }
                gw_exchange_free(a->x);
                if (how == 1) {
                    release_kept(a, 1);
                } else if (how == 2) {
                    answer **place = &waits[late++ % 16];

                    if (*place != NULL) {
                        release_kept(*place, 1);
                        free((*place)->body);
                        free(*place);
                    }
                    *place = a;
                    continue;
                }
                free(a->body);
                free(a);
            }
        }
    }
    for (int i = 0; i < 16; i++) {
        if (waits[i] != NULL) {
            release_kept(waits[i], 0);
            free(waits[i]->body);
            free(waits[i]);
        }
    }
    wait_until(&given_up, atomic_load(&later));
    wait_until(&dropped, atomic_load(&later));
    wait_until(&released, atomic_load(&made));
    wait_until(&closed, atomic_load(&opened));
    check(atomic_load(&aborted) > 0);
    expect(ask("GET", "/", ""), 200, "hello\n");
}

/* As many as a server has in a while, many of them at once. */
static void
many(void)
{
    static const char *const targets[] = { "/", "/stream", "/later", "/sleep", "/file" };
    answer                  *all[100] = { NULL };
    gw_stats                 stats = GW_INIT(gw_stats);

    for (int n = 0; n < 10000; n++) {
        answer     **place = &all[(n * 37) % 100];
        const char  *path = targets[n % (n % 20 == 0 ? 5 : 2)];
        gw_environ   env = request("GET", path, "ms=1");

        if (*place != NULL) {
            if (n % 7 != 0) {
                until_done(*place);
                check((*place)->status == 200);
            }
            end(*place);
        }
        *place = begin(&env);
        run(*place);
    }
    for (int i = 0; i < 100; i++) {
        end(all[i]);
    }
    wait_until(&given_up, atomic_load(&later));
    wait_until(&closed, atomic_load(&opened));
    all_over(&stats);
    check(stats.requests == 10000);
}

/* threads=2 and more: who sleeps keeps nobody waiting. */
static void
beside(void)
{
    gw_environ  env = request("GET", "/hang", "");
    answer     *slow = begin(&env);

    run(slow);
    for (int n = 0; n < 300; n++) {
        expect(ask("GET", "/", ""), 200, "hello\n");
    }
    check(!slow->done && atomic_load(&aborted) == 0);
    end(slow);
    wait_until(&aborted, 1);
}

/* request_timeout=500ms stream_timeout=700ms */
static void
timeouts(void)
{
    gw_environ  env = request("GET", "/stream", "n=1000&size=20000&owned=1");
    answer     *a = ask("GET", "/later", "ms=1500");
    gw_stats    stats = GW_INIT(gw_stats);
    gw_chunk    chunk;
    gw_result   rc;

    check(a->flags == GW_RESPONSE_EXCUSE && strstr(a->body, "request_timeout") != NULL);
    expect(a, 504, NULL);
    check(atomic_load(&aborted) == 1 && atomic_load(&given_up) == 0);
    if (blocks) {
        a = ask("GET", "/hang", "");
        expect(a, 504, NULL);
        wait_until(&aborted, 2);
        a = ask("HEAD", "/sleep", "ms=1500");
        check(a->len == 0 && a->length > 0);
        expect(a, 504, NULL);
    }
    /* One that begins in time and does not end, for nobody pulls. */
    a = begin(&env);
    a->keeps = 1;
    run(a);
    while (!a->done && a->end == GW_OK) {
        pump(a);
        check(turn(20000));
    }
    rc = gw_exchange_pull(a->x, &chunk);
    check(rc == GW_ERR_TIMEOUT && a->status == 200);
    end(a);
    wait_until(&given_up, 1);
    wait_until(&closed, 1);
    check(gw_host_stats(host, &stats) == GW_OK);
    check(stats.request_timeouts == (blocks ? 4 : 2));
    check(stats.status[5] == (blocks ? 3 : 1));
}

/* graceful_timeout=100ms: the host goes, and something of requests stays. */
static void
leaves(void)
{
    answer *kept[6];
    int     count = blocks ? 6 : 5;

    for (int i = 0; i < count; i++) {
        static const char *const targets[][2] = {
            { "/stream", "n=30&size=20000" }, { "/stream", "n=30&size=20000&owned=1" },
            { "/later", "ms=300" }, { "/file", "" }, { "/", "" }, { "/sleep", "ms=500" },
        };
        gw_environ env = request("GET", targets[i][0], targets[i][1]);

        kept[i] = begin(&env);
        kept[i]->keeps = 1;
        run(kept[i]);
        for (int turns = 0; turns < 5 && i != 2 && i != 5; turns++) {
            turn(10);
            pump(kept[i]);
        }
    }
    gw_host_free(host);
    host = NULL;
    for (int i = 0; i < count; i++) {
        check(gw_exchange_run(kept[i]->x) == GW_ERR_STATE);
        for (int n = 0; n < kept[i]->kept_count; n++) {
            /* It is there: a checker would say so. */
            check(kept[i]->kept[n].flags & GW_CHUNK_FILE || *(const char *) kept[i]->kept[n].data != '?');
        }
        end(kept[i]);
    }
    for (int i = 0; i < 20000; i++) {
        if (atomic_load(&given_up) == 1 && atomic_load(&dropped) == 1
            && atomic_load(&closed) == atomic_load(&opened)
            && atomic_load(&made) == atomic_load(&released)) {
            /* A thread may be on its last instructions. */
            nap(blocks ? 600 : 50);
            return;
        }
        nap(1);
    }
    check(!"everything was given back");
}

static const struct {
    const char *name;
    void      (*run)(void);
} scenarios[] = {
    { "answers", answers }, { "environs", environs }, { "errors", errors }, { "bodies", bodies },
    { "streams", streams }, { "pressure", pressure }, { "frees", frees }, { "many", many },
    { "beside", beside }, { "timeouts", timeouts }, { "leaves", leaves },
};

int
main(int argc, char **argv)
{
    check(argc > 1);
    configure(argc, argv);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(scenarios[i].name, argv[1]) == 0) {
            scenarios[i].run();
            gw_host_free(host);
            puts("well");
            return 0;
        }
    }
    check(!"a scenario of this name");
    return 1;
}
