/*
 * Serves what several pools have: pools WORD ...
 *
 *   pool=NAME    from here on words are about this pool; "pool=" is the
 *                instance again
 *   app=NAME     gw_config_app
 *   init=fails   its worker_init refuses the worker
 *   hook=exits   a hook of the arbiter
 *   ready=PATH   the arbiter's process goes there, in a line, when it is
 *                ready
 *   inner=NAME   gw_config_pool
 *   file=PATH    more words, in lines
 *   NAME=VALUE   an option
 *
 *   check    gw_config_check: a line for each problem
 *   server   gw_server_new
 *   arbiter  a gw_arbiter; on stdin "reload WORD ..." gives it another
 *            configuration, "scale POOL NUMBER" so many workers, and "end"
 *            stops it
 *
 * An application says its name, its process, its user, whether there are
 * several of it, and the query.  Behind it, /hang never returns, and /grow takes 128
 * megabytes.
 */
#define _GNU_SOURCE
#include "app.h"
#include "words.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOLS 8

typedef struct {
    gw_config *cfg;
    char       name[40];
} pool;

/* What a configuration is made of, until it is one. */
typedef struct {
    pool       pools[POOLS];
    int        count;
    gw_config *cfg;
    gw_config *at;
} plan;

/* Written to, so that it is taken. */
static char *volatile grown;

/* ---- an application ---- */

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start_response,
       void *sr, gw_body *body)
{
    char line[256];

    if (is(env->path_info, "/hang")) {
        for (;;) {
            pause();
        }
    }
    if (is(env->path_info, "/grow")) {
        grown = malloc(128 << 20);
        if (grown == NULL) {
            return GW_ERR_MEMORY;
        }
        memset(grown, 1, 128 << 20);
    }
    snprintf(line, sizeof line, "%s %d %d %s %.*s\n", (const char *) ctx, (int) getpid(),
             (int) getuid(),
             env->flags & GW_ENV_MULTIPROCESS ? "several" : "one",
             (int) env->query_string.len, env->query_string.data);
    return reply_text(env, start_response, sr, body, line);
}

/* ---- a configuration ---- */

static gw_result
refuses(void *ctx, const gw_worker *w)
{
    (void) ctx;
    printf("a worker of %s is refused\n", w->pool);
    return GW_ERR_APP;
}

static void
exits(void *ctx, const gw_worker *w)
{
    (void) ctx;
    printf("a worker of %s has ended\n", w->pool);
}

static void
ready(void *ctx, gw_arbiter *a)
{
    FILE *file = fopen(ctx, "a");

    (void) a;
    if (file == NULL) {
        abort();
    }
    fprintf(file, "%d\n", (int) getpid());
    fclose(file);
}

static gw_result read_file(plan *p, const char *path, gw_error *err);

static gw_result
obey(plan *p, const char *word, gw_error *err)
{
    gw_app      app = GW_INIT(gw_app);
    gw_hooks    hooks = GW_INIT(gw_hooks);
    const char *equals = strchr(word, '='), *value;
    char        key[40];
    size_t      len;

    if (equals == NULL) {
        return GW_OK;
    }
    len = (size_t) (equals - word);
    if (len >= sizeof key) {
        abort();
    }
    memcpy(key, word, len);
    key[len] = '\0';
    value = equals + 1;
    if (strcmp(key, "pool") == 0) {
        p->at = p->cfg;
        if (*value != '\0') {
            pool *its = &p->pools[p->count++];

            if (p->count > POOLS) {
                abort();
            }
            snprintf(its->name, sizeof its->name, "%s", value);
            its->cfg = p->at = gw_config_new();
        }
        return GW_OK;
    }
    if (strcmp(key, "app") == 0) {
        app.call = answer;
        app.ctx = strdup(value);
        app.drop = free;
        app.name = app.ctx;
        app.flags = GW_APP_THREADSAFE;
        return gw_config_app(p->at, &app, err);
    }
    if (strcmp(key, "init") == 0) {
        hooks.worker_init = refuses;
        return gw_config_hooks(p->at, &hooks, err);
    }
    if (strcmp(key, "hook") == 0) {
        hooks.child_exit = exits;
        return gw_config_hooks(p->at, &hooks, err);
    }
    if (strcmp(key, "ready") == 0) {
        hooks.when_ready = ready;
        hooks.ctx = strdup(value);
        hooks.drop = free;
        return gw_config_hooks(p->at, &hooks, err);
    }
    if (strcmp(key, "inner") == 0) {
        return gw_config_pool(p->at, value, gw_config_new(), err);
    }
    if (strcmp(key, "file") == 0) {
        return read_file(p, value, err);
    }
    return gw_config_set(p->at, key, value, err);
}

static gw_result
read_file(plan *p, const char *path, gw_error *err)
{
    FILE     *file = fopen(path, "r");
    char      line[512];
    gw_result rc = GW_OK;

    if (file == NULL) {
        snprintf(err->message, sizeof err->message, "%s: not there", path);
        return GW_ERR_IO;
    }
    while (rc >= 0 && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        rc = obey(p, line, err);
    }
    fclose(file);
    return rc;
}

static gw_config *
configured(int count, char **words)
{
    plan      p = { .count = 0 };
    gw_error  err = GW_INIT(gw_error);
    gw_result rc = GW_OK;
    int       i;

    p.cfg = p.at = gw_config_new();
    for (i = 0; rc >= 0 && i < count; i++) {
        rc = obey(&p, words[i], &err);
    }
    for (i = 0; i < p.count; i++) {
        gw_error  own = GW_INIT(gw_error);
        /* Taken, whatever comes of it. */
        gw_result its = gw_config_pool(p.cfg, p.pools[i].name, p.pools[i].cfg, &own);

        if (rc >= 0 && its < 0) {
            rc = its;
            err = own;
        }
    }
    if (rc < 0) {
        gw_config_free(p.cfg);
        fatal(&err);
    }
    return p.cfg;
}

/* ---- what is done with it ---- */

static void
told(gw_arbiter *a, char *line)
{
    char *words[32], *verb = strsep(&line, " "), *word;
    int   count = 0;

    while (count < 32 && (word = strsep(&line, " ")) != NULL) {
        words[count++] = word;
    }
    if (strcmp(verb, "end") == 0) {
        gw_arbiter_stop(a, GW_STOP_GRACEFUL);

    } else if (strcmp(verb, "scale") == 0 && count == 2) {
        gw_result rc = gw_arbiter_scale_pool(a, words[0],
                                             (uint32_t) atoi(words[1]));

        printf("scale %s: %s\n", words[0], gw_result_name(rc));

    } else if (strcmp(verb, "reload") == 0) {
        gw_result rc = gw_arbiter_reload(a, configured(count, words));

        printf("reload: %s\n", gw_result_name(rc));
    }
}

int
main(int argc, char **argv)
{
    gw_error   err = GW_INIT(gw_error);
    gw_config *cfg;
    gw_server *server = NULL;

    setvbuf(stdout, NULL, _IOLBF, 0);
    cfg = configured(argc - 1, argv + 1);
    if (has(argc - 1, argv + 1, "check")) {
        printf("%s\n", gw_result_name(gw_config_check(cfg, report, NULL)));
        gw_config_free(cfg);
        return 0;
    }
    if (has(argc - 1, argv + 1, "server")) {
        if (gw_server_new(cfg, &server, &err) < 0) {
            fatal(&err);
        }
        gw_server_free(server);
        return 0;
    }
    if (has(argc - 1, argv + 1, "arbiter")) {
        return arbitrate(cfg);
    }
    if (gw_serve(cfg, &err) < 0) {
        fatal(&err);
    }
    return 0;
}
