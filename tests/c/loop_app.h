/*
 * loop_app.h - what the programs that drive a server inside a foreign loop have
 * in common: the application, the options of the command line, and the counts.
 *
 *     loop_x address [option=value ...]
 *
 * `/` says hello, `/echo` gives the body back, `/state` tells how many threads
 * the process has and how often the server was turned.
 */
#ifndef LOOP_APP_H
#define LOOP_APP_H

#include <gateway.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long turns;

static int
threads(void)
{
    DIR            *dir = opendir("/proc/self/task");
    struct dirent  *entry;
    int             n = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        n += entry->d_name[0] != '.';
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

static gw_result
loop_app(void *ctx, gw_environ *env, gw_start_response_fn start_response,
         void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    gw_response  head = { .status = 200, .headers = headers,
                          .header_count = 1 };
    gw_str       all = GW_LIT("hello, loop\n");
    gw_result    rc = GW_OK;
    char         text[64];

    (void) ctx;
    if (env->path_info.len == 5) {
        rc = gw_read_all(env, SIZE_MAX, &all);

    } else if (env->path_info.len == 6) {
        snprintf(text, sizeof text, "threads %d turns %lu", threads(), turns);
        all = (gw_str) { text, strlen(text) };
    }

    if (rc < 0 || (rc = start_response(sr, &head, NULL)) < 0) {
        return rc;
    }
    return gw_body_copy(env, body, all.data, all.len);
}

/* A server as the command line says, or the end. */
static gw_server *
loop_server(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_server  *server = NULL;
    gw_result   rc;
    int         i;

    app.call = loop_app;
    app.flags = GW_APP_NONBLOCKING;
    rc = gw_config_app(cfg, &app, &err);
    if (rc == GW_OK && argc > 1) {
        rc = gw_config_set(cfg, "bind", argv[1], &err);
    }
    for (i = 2; rc == GW_OK && i < argc; i++) {
        char *value = strchr(argv[i], '=');

        if (value == NULL) {
            fprintf(stderr, "%s: not option=value\n", argv[i]);
            exit(2);
        }
        *value++ = '\0';
        rc = gw_config_set(cfg, argv[i], value, &err);
    }
    if (rc != GW_OK) {
        gw_config_free(cfg);

    } else {
        rc = gw_server_new(cfg, &server, &err);
    }
    if (rc != GW_OK) {
        fprintf(stderr, "%s: %s\n", argv[0], err.message);
        exit(err.exit_status);
    }
    return server;
}

/* One turn, counted. */
static gw_result
loop_turn(gw_server *server, int64_t *wait_ms)
{
    gw_result rc = gw_server_turn(server, wait_ms);

    turns++;
    if (rc < 0) {
        fprintf(stderr, "gw_server_turn: %s\n", gw_result_name(rc));
        exit(1);
    }
    return rc;
}

#endif
