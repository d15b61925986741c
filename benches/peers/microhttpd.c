/*
 * microhttpd.c - the answers of bench.c from GNU libmicrohttpd: one thread of
 * its own with epoll.
 *
 *     microhttpd port
 */
#include <microhttpd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BIG_SIZE 102400

static char                big_body[BIG_SIZE];
static struct MHD_Response *hello, *big;

static enum MHD_Result
answer(void *ctx, struct MHD_Connection *connection, const char *url,
       const char *method, const char *version, const char *data, size_t *size,
       void **state)
{
    (void) ctx; (void) method; (void) version; (void) data;

    /* Called with the head, then with each piece of a body, then without. */
    if (*state == NULL) {
        *state = connection;
        return MHD_YES;
    }
    if (*size > 0) {
        *size = 0;
        return MHD_YES;
    }
    return MHD_queue_response(connection, MHD_HTTP_OK, strcmp(url, "/big") == 0 ? big : hello);
}

static struct MHD_Response *
text(char *body, size_t len)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, body, MHD_RESPMEM_PERSISTENT);

    if (r == NULL
        || MHD_add_response_header(r, "Content-Type", "text/plain") != MHD_YES)
    {
        fprintf(stderr, "microhttpd: no memory\n");
        exit(1);
    }
    return r;
}

int
main(int argc, char **argv)
{
    static char        hello_body[] = "hello, world\n";
    struct MHD_Daemon *daemon;

    if (argc < 2 || strcmp(argv[1], "--version") == 0) {
        printf("%s\n", MHD_get_version());
        return 0;
    }

    memset(big_body, 'x', sizeof big_body);
    hello = text(hello_body, sizeof hello_body - 1);
    big = text(big_body, sizeof big_body);
    daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD,
                              (uint16_t) atoi(argv[1]), NULL, NULL, answer, NULL,
                              MHD_OPTION_CONNECTION_LIMIT, 20000u,
                              MHD_OPTION_LISTEN_BACKLOG_SIZE, 2048u,
                              MHD_OPTION_END);
    if (daemon == NULL) {
        perror("microhttpd");
        return 1;
    }

    for (;;) {
        pause();
    }
}
