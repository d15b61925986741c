/*
 * meet.c - requests that need each other: they are answered when all of them
 * are there, and say whether their client has left.
 *
 *     meet address later|threads [option=value ...]
 *
 * later: answered through handles; threads: each waits in a thread of the
 * server's.
 *
 *     /meet?n=8   answered when n of them are there
 *     /hold       answered when its client has left
 *     /chunk?n=9  one chunk of so many octets, which are spoilt when released
 *     /counts     how many are held, and have heard that their clients left
 */
#define _GNU_SOURCE
#include "app.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  changed = PTHREAD_COND_INITIALIZER;
static long            there, rounds, held, left;
static gw_deferred    *waiting[MOST];
static int             later;

/* In a thread of the server's: until the others are there, too. */
static gw_result
meet(long n)
{
    gw_result        rc = GW_OK;
    struct timespec  until;
    long             round;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 100;
    pthread_mutex_lock(&lock);
    round = rounds;
    if (++there == n) {
        there = 0;
        rounds++;
        pthread_cond_broadcast(&changed);
    }
    while (round == rounds && rc == GW_OK) {
        if (pthread_cond_timedwait(&changed, &lock, &until) != 0) {
            rc = GW_ERR_TIMEOUT;
        }
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* On the loop: the last of them answers all, the last first. */
static gw_result
meet_later(gw_environ *env, long n)
{
    gw_result rc = gw_defer(env, NULL, &waiting[there]);

    if (rc < 0) {
        return rc;
    }
    if (++there == n) {
        while (there > 0) {
            gw_deferred_reply_flat(waiting[--there], 200, "", 0, "met", 3);
        }
    }
    return GW_DEFERRED;
}

static gw_result
hold(gw_environ *env)
{
    struct timespec moment = { 0, 5000000 };
    int             i;

    pthread_mutex_lock(&lock);
    held++;
    pthread_mutex_unlock(&lock);
    for (i = 0; i < 20000 && !gw_environ_gone(env); i++) {
        nanosleep(&moment, NULL);
    }
    pthread_mutex_lock(&lock);
    left += gw_environ_gone(env) != 0;
    pthread_mutex_unlock(&lock);
    return GW_OK;
}

static void
on_left(void *ctx, gw_deferred *d)
{
    (void) ctx;
    left++;
    gw_deferred_reply_flat(d, 200, "", 0, "left", 4);
}

static gw_result
hold_later(gw_environ *env)
{
    gw_deferred_events  events = { .size = sizeof events, .aborted = on_left };
    gw_deferred        *d;
    gw_result           rc = gw_defer(env, &events, &d);

    held++;
    return rc < 0 ? rc : GW_DEFERRED;
}

typedef struct { size_t len; unsigned char data[]; } block;

static void
spoil(void *arg)
{
    block *b = arg;

    memset(b->data, '!', b->len);
    free(b);
}

static gw_result
chunk(gw_start_response_fn start, void *sr, gw_body *body, size_t n)
{
    block     *b = malloc(sizeof *b + n);
    gw_result  rc = start(sr, &ok, NULL);
    size_t     i;

    b->len = n;
    for (i = 0; i < n; i++) {
        b->data[i] = (unsigned char) ('a' + i % 26);
    }
    return rc < 0 ? rc : gw_body_bytes(body, b->data, n, spoil, b);
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
    gw_body *body)
{
    gw_str     n = { "1", 1 };
    gw_result  rc;
    char       text[80];

    (void) ctx;
    gw_environ_query(env, "n", 1, &n);
    if (memmem(env->path_info.data, env->path_info.len, "/meet", 5) != NULL) {
        long count = strtol(gw_environ_cstr(env, n), NULL, 10);

        if (later) {
            return count > MOST ? GW_ERR_LIMIT : meet_later(env, count);
        }
        rc = meet(count);
        return rc < 0 ? rc : reply_text(env, start, sr, body, "met");
    }
    if (memmem(env->path_info.data, env->path_info.len, "/hold", 5) != NULL) {
        if (later) {
            return hold_later(env);
        }
        rc = hold(env);
        return rc < 0 ? rc : reply_text(env, start, sr, body, "left");
    }
    if (memmem(env->path_info.data, env->path_info.len, "/chunk", 6) != NULL) {
        return chunk(start, sr, body,
                     strtoul(gw_environ_cstr(env, n), NULL, 10));
    }
    pthread_mutex_lock(&lock);
    snprintf(text, sizeof text, "held %ld left %ld", held, left);
    pthread_mutex_unlock(&lock);
    return reply_text(env, start, sr, body, text);
}

int
main(int argc, char **argv)
{
    gw_app      self = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_result   rc = gw_config_set(cfg, "bind", argv[1], &err);
    int         i;

    later = strcmp(argv[2], "later") == 0;
    self.call = app;
    self.flags = GW_APP_THREADSAFE | (later ? GW_APP_NONBLOCKING : 0);
    for (i = 3; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');

        *value++ = '\0';
        rc = gw_config_set(cfg, argv[i], value, &err);
    }
    if (rc < 0 || (rc = gw_config_app(cfg, &self, &err)) < 0) {
        gw_config_free(cfg);
    } else {
        rc = gw_serve(cfg, &err);
    }
    if (rc < 0) {
        fprintf(stderr, "meet: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
