/*
 * loop_churn.c - several servers and arbiters in one process, made, used and
 * freed again and again.
 *
 *     loop_churn address directory rounds
 *
 * Prints what the process holds after the 100th round and after the last:
 * resident memory in KiB, and open descriptors.
 */
#define _GNU_SOURCE
#include "loop_client.h"

#include <dirent.h>
#include <sys/wait.h>

static const char  *address;
static char         socket_a[100], socket_b[100], socket_c[100];

static gw_server *
make_server(const char *bind)
{
    const char *const  options[] = { bind == NULL ? NULL : "bind", bind, NULL };
    gw_error           err = GW_INIT(gw_error);
    gw_server         *server = NULL;

    need(gw_server_new(configured(options), &server, &err), &err);
    return server;
}

static gw_arbiter *
make_arbiter(const char *bind, const char *model, const char *workers)
{
    const char *const  options[] = { "bind", bind, "workers", workers,
                                     "worker_model", model, "loglevel",
                                     "error", NULL };
    gw_error           err = GW_INIT(gw_error);
    gw_arbiter        *arbiter = NULL;

    need(gw_arbiter_new(configured(options), &arbiter, &err), &err);
    return arbiter;
}

/* Its client leaves meanwhile: an idle one is waited for. */
static void
stop_server(gw_server *server, int client)
{
    struct pollfd  fd = { gw_server_fd(server), POLLIN, 0 };
    int64_t        wait_ms;

    gw_server_stop(server, GW_STOP_GRACEFUL);
    if (gw_server_turn(server, &wait_ms) != GW_OK) {
        die("a client is there");
    }
    close(client);
    while (gw_server_turn(server, &wait_ms) == GW_OK) {
        poll(&fd, 1, (int) wait_ms);
    }
}

static void
stop_arbiter(gw_arbiter *arbiter)
{
    struct pollfd  fd = { gw_arbiter_fd(arbiter), POLLIN, 0 };
    int64_t        wait_ms;

    gw_arbiter_stop(arbiter, GW_STOP_GRACEFUL);
    while (gw_arbiter_turn(arbiter, &wait_ms) == GW_OK) {
        poll(&fd, 1, (int) wait_ms);
    }
}

static void
one_round(int number)
{
    gw_server   *bound = make_server(address), *adopting = make_server(NULL);
    gw_server   *refused = NULL;
    gw_arbiter  *started = make_arbiter(socket_a, "fork", "1");
    gw_arbiter  *idle = make_arbiter(socket_b, "fork", "1");
    gw_arbiter  *threads = make_arbiter(socket_c, "threads", "2");
    gw_error     err = GW_INIT(gw_error);
    int          pair[2], fd;

    /* An address that is taken: an error, and nothing that stays. */
    const char *const  options[] = { "bind", address, NULL };
    if (gw_server_new(configured(options), &refused, &err) >= 0) {
        fprintf(stderr, "one address, two servers\n");
        exit(2);
    }

    need(gw_arbiter_start(started, &err), &err);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        die("socketpair");
    }
    need(gw_server_adopt(adopting, pair[1], GW_PROTO_HTTP), &err);
    ask(pair[0], adopting);

    fd = connect_to(address);
    ask(fd, bound);
    ask(pair[0], adopting);
    ask(fd, bound);

    /* Some servers are stopped first, others freed with their connections; and
       so are arbiters, with their workers. */
    if (number % 2 == 0) {
        stop_server(bound, fd);

    } else {
        close(fd);
    }
    fd = connect_at_last(socket_a);
    ask(fd, NULL);
    close(fd);

    /* After the fork: one that has threads would be refused. */
    need(gw_arbiter_start(threads, &err), &err);
    fd = connect_at_last(socket_c);
    ask(fd, NULL);
    close(fd);
    if (number % 3 != 0) {
        stop_arbiter(threads);
    }
    gw_arbiter_free(threads);
    if (number % 4 != 0) {
        stop_arbiter(started);
    }
    gw_server_free(adopting);
    gw_arbiter_free(started);
    gw_arbiter_free(idle);
    gw_server_free(bound);
    close(pair[0]);

    if (waitpid(-1, NULL, WNOHANG) != -1) {
        fprintf(stderr, "a worker is left over\n");
        exit(2);
    }
}

static void
report(int number)
{
    char   line[256];
    long   kib = -1;
    int    fds = 0;
    FILE  *rollup = fopen("/proc/self/smaps_rollup", "re");

    while (rollup != NULL && fgets(line, sizeof line, rollup) != NULL) {
        sscanf(line, "Rss: %ld kB", &kib);
    }
    if (rollup != NULL) {
        fclose(rollup);
    }

    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL) {
        fds++;
    }
    closedir(dir);
    printf("%d %ld %d\n", number, kib, fds);
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    int i, rounds;

    if (argc != 4) {
        fprintf(stderr, "usage: loop_churn address directory rounds\n");
        return 2;
    }
    address = argv[1];
    snprintf(socket_a, sizeof socket_a, "unix:%s/a", argv[2]);
    snprintf(socket_b, sizeof socket_b, "unix:%s/b", argv[2]);
    snprintf(socket_c, sizeof socket_c, "unix:%s/c", argv[2]);
    rounds = atoi(argv[3]);

    for (i = 1; i <= rounds; i++) {
        one_round(i);
        if (i == 100 || i == rounds) {
            report(i);
        }
    }
    return 0;
}
