/*
 * file.c - one file, sent by the kernel: its octets never enter this program.
 *
 *     cc -o file file.c -lgateway && ./file path [address]
 *
 *     curl -o copy http://127.0.0.1:8000/ && cmp path copy
 *     curl -I http://127.0.0.1:8000/
 *     curl -i -z path http://127.0.0.1:8000/        (304: it has not changed)
 */
#define _POSIX_C_SOURCE 200809L
#include <gateway.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Unchanged since the date that we gave ourselves: compared as text. */
static int
fresh(const gw_environ *env, const char *modified, size_t len)
{
    static const char  name[] = "HTTP_IF_MODIFIED_SINCE";
    gw_str             since;

    return gw_environ_get(env, name, sizeof name - 1, &since) == GW_OK
           && since.len == len && memcmp(since.data, modified, len) == 0;
}

static gw_result
send_file(void *ctx, gw_environ *env, gw_start_response_fn start_response,
          void *sr, gw_body *body)
{
    const char  *path = ctx;
    char         length[24], modified[40];
    size_t       length_len, modified_len;
    gw_response  head = { .status = 200 };
    struct stat  st;
    struct tm    tm;
    gw_result    rc;
    int          fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0) {
            close(fd);
        }
        head.status = 404;
        return gw_reply(start_response, sr, body, &head, NULL);
    }

    gmtime_r(&st.st_mtime, &tm);
    modified_len = strftime(modified, sizeof modified,
                            "%a, %d %b %Y %H:%M:%S GMT", &tm);
    length_len = (size_t) snprintf(length, sizeof length, "%lld",
                                   (long long) st.st_size);

    const gw_pair headers[] = {
        { GW_LIT("Last-Modified"), { modified, modified_len } },
        { GW_LIT("Content-Type"), GW_LIT("application/octet-stream") },
        { GW_LIT("Content-Length"), { length, length_len } },
    };

    head.headers = headers;
    head.header_count = 3;

    if (fresh(env, modified, modified_len)) {
        close(fd);
        head.status = 304;
        head.header_count = 1;
        return gw_reply(start_response, sr, body, &head, NULL);
    }

    rc = start_response(sr, &head, NULL);
    if (rc < 0) {
        close(fd);
        return rc;
    }

    /* The descriptor is the library's from here on, also if this fails. */
    return gw_body_file(body, fd, 0, (uint64_t) st.st_size, GW_FILE_CLOSE,
                        NULL, NULL);
}

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg;

    if (argc < 2) {
        fprintf(stderr, "usage: file path [address]\n");
        return 2;
    }

    cfg = gw_config_new();
    app.call = send_file;
    app.ctx = argv[1];
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;

    if (gw_config_set(cfg, "bind", argc > 2 ? argv[2] : "127.0.0.1:8000",
                      &err) < 0
        || gw_config_app(cfg, &app, &err) < 0
        || gw_serve(cfg, &err) < 0)
    {
        fprintf(stderr, "file: %s\n", err.message);
        return err.exit_status;
    }

    return 0;
}
