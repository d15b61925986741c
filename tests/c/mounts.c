/*
 * Serves several applications: mounts ADDRESS [WORD ...]
 *
 *   app=WHERE=NAME[=KIND]    gw_config_mount; WHERE "-" is NULL.  KIND: block
 *                            (preset), safe (it may be entered by several
 *                            threads), loop, serial
 *   root=NAME                gw_config_app
 *   module=WHERE=PATH=ARGS   gw_config_module
 *   use=NAME                 gw_config_use: NAME is added to X-Through
 *   use=NAME=WHERE           gw_config_use_at
 *   fails=WHERE              the same, and the middleware fails
 *   file=PATH                more words, in lines
 *   NAME=VALUE               an option
 *
 *   check    gw_config_check: a line for each problem
 *   arbiter  a gw_arbiter; on stdin "reload WORD ..." gives it another
 *            configuration, and "end" stops it
 *
 * An application says its name, what it was told of its place, and where it
 * runs.  Behind it, /read reads without asking whether it may wait, and
 * /counts says what was counted.
 */
#define _GNU_SOURCE
#include "words.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct {
    char          name[32];
    const gw_app *inner;
} named;

static gw_server *server;
static const char *address;

static named *
name_of(const char *name)
{
    named *n = calloc(1, sizeof *n);

    if (n == NULL) {
        abort();
    }
    snprintf(n->name, sizeof n->name, "%s", name);
    return n;
}

static void
dropped(void *ctx)
{
    fprintf(stderr, "%s dropped\n", ((named *) ctx)->name);
    free(ctx);
}

/* ---- an application ---- */

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start_response,
       void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain") },
    };
    const named *n = ctx;
    gw_response  head = { .status = 200, .headers = headers, .header_count = 1 };
    char         line[1024], octets[16];
    size_t       got = 0;
    gw_result    rc;

    if (is(env->path_info, "/read")) {
        rc = gw_read(env, octets, sizeof octets, 0, &got);
        snprintf(line, sizeof line, "%s", gw_result_name(rc));

    } else if (is(env->path_info, "/counts")) {
        gw_stats s = GW_INIT(gw_stats);

        gw_server_stats(server, &s);
        snprintf(line, sizeof line, "unmounted %d requests %d 404 %d",
                 (int) s.unmounted, (int) s.requests, (int) s.status[4]);

    } else {
        snprintf(line, sizeof line, "%s [%.*s] [%.*s] %.*s %s%s", n->name,
                 (int) env->script_name.len, env->script_name.data,
                 (int) env->path_info.len, env->path_info.data,
                 (int) env->request_uri.len, env->request_uri.data,
                 syscall(SYS_gettid) == getpid() ? "loop" : "thread",
                 env->flags & GW_ENV_MAY_BLOCK ? "" : " nonblocking");
    }
    rc = start_response(sr, &head, NULL);
    return rc < 0 ? rc : gw_body_copy(env, body, line, strlen(line));
}

/* ---- middleware ---- */

typedef struct {
    gw_start_response_fn  fn;
    void                 *sr;
    const named          *by;
} next_sr;

static gw_result
with_header(void *ctx, const gw_response *head, gw_writer *writer)
{
    next_sr    *n = ctx;
    gw_response mine = *head;
    gw_pair     all[16];

    if (head->header_count >= 16) {
        return GW_ERR_LIMIT;
    }
    memcpy(all, head->headers, head->header_count * sizeof all[0]);
    all[head->header_count].name = GW_STR("X-Through");
    all[head->header_count].value.data = n->by->name;
    all[head->header_count].value.len = strlen(n->by->name);
    mine.headers = all;
    mine.header_count++;
    return n->fn(n->sr, &mine, writer);
}

static gw_result
through(void *ctx, gw_environ *env, gw_start_response_fn start_response,
        void *sr, gw_body *body)
{
    const named *mine = ctx;
    next_sr     *n = gw_environ_alloc(env, sizeof *n);

    if (n == NULL) {
        return GW_ERR_MEMORY;
    }
    n->fn = start_response;
    n->sr = sr;
    n->by = mine;
    return gw_app_call(mine->inner, env, with_header, n, body);
}

/* Called once for each application: each gets a context of its own. */
static gw_result
layer(void *ctx, const gw_app *inner, gw_app *outer, gw_error *err)
{
    named *mine = name_of(((named *) ctx)->name);

    (void) err;
    mine->inner = inner;
    outer->call = through;
    outer->ctx = mine;
    outer->drop = free;
    return GW_OK;
}

static gw_result
broken(void *ctx, const gw_app *inner, gw_app *outer, gw_error *err)
{
    (void) ctx, (void) inner, (void) outer;
    snprintf(err->message, sizeof err->message, "no key");
    return GW_ERR_IO;
}

/* ---- a configuration ---- */

static uint32_t
flags_of(const char *kind)
{
    if (strcmp(kind, "loop") == 0) {
        return GW_APP_NONBLOCKING | GW_APP_THREADSAFE;
    }
    return strcmp(kind, "serial") == 0 ? GW_APP_SERIAL
           : strcmp(kind, "safe") == 0 ? GW_APP_THREADSAFE
                                       : 0;
}

static gw_result read_file(gw_config *cfg, const char *path, gw_error *err);

static gw_result
obey(gw_config *cfg, const char *word, gw_error *err)
{
    char     *parts[4] = { NULL, NULL, NULL, NULL }, *rest = strdup(word);
    char     *text = rest;
    gw_app    app = GW_INIT(gw_app);
    gw_result rc = GW_OK;
    size_t    i;

    for (i = 0; i < 4 && rest != NULL; i++) {
        parts[i] = i < 3 ? strsep(&rest, "=") : rest;
    }
    if (parts[1] == NULL) {
        free(text);
        return GW_OK;
    }
    if (strcmp(parts[0], "app") == 0 && parts[2] != NULL) {
        app.call = answer;
        app.ctx = name_of(parts[2]);
        app.drop = dropped;
        app.name = parts[2];
        app.flags = flags_of(parts[3] != NULL ? parts[3] : "");
        rc = gw_config_mount(cfg, strcmp(parts[1], "-") == 0 ? NULL : parts[1],
                             &app, err);

    } else if (strcmp(parts[0], "root") == 0) {
        app.call = answer;
        app.ctx = name_of(parts[1]);
        app.drop = dropped;
        app.name = parts[1];
        rc = gw_config_app(cfg, &app, err);

    } else if (strcmp(parts[0], "module") == 0) {
        rc = gw_config_module(cfg, parts[1], parts[2], parts[3], err);

    } else if (strcmp(parts[0], "use") == 0 && parts[2] != NULL) {
        rc = gw_config_use_at(cfg, parts[2], layer, name_of(parts[1]), dropped, err);

    } else if (strcmp(parts[0], "use") == 0) {
        rc = gw_config_use(cfg, layer, name_of(parts[1]), dropped, err);

    } else if (strcmp(parts[0], "fails") == 0) {
        rc = gw_config_use_at(cfg, parts[1], broken, NULL, NULL, err);

    } else if (strcmp(parts[0], "file") == 0) {
        rc = read_file(cfg, parts[1], err);

    } else {
        rc = gw_config_set(cfg, parts[0], strchr(word, '=') + 1, err);
    }
    free(text);
    return rc;
}

static gw_result
read_file(gw_config *cfg, const char *path, gw_error *err)
{
    FILE     *file = fopen(path, "r");
    char      line[512];
    gw_result rc = GW_OK;

    if (file == NULL) {
        return GW_ERR_IO;
    }
    while (rc >= 0 && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        rc = obey(cfg, line, err);
    }
    fclose(file);
    return rc;
}

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    (void) ctx;
    server = w->server;
    return GW_OK;
}

static gw_config *
configured(int count, char **words)
{
    gw_config *cfg = gw_config_new();
    gw_hooks   hooks = GW_INIT(gw_hooks);
    gw_error   err = GW_INIT(gw_error);
    gw_result  rc;
    int        i;

    hooks.worker_init = worker_init;
    rc = gw_config_hooks(cfg, &hooks, &err);
    if (rc >= 0) {
        rc = gw_config_set(cfg, "bind", address, &err);
    }
    for (i = 0; rc >= 0 && i < count; i++) {
        rc = obey(cfg, words[i], &err);
    }
    if (rc < 0) {
        gw_config_free(cfg);
        fatal(&err);
    }
    return cfg;
}

/* ---- what is done with it ---- */

static void
told(gw_arbiter *a, char *line)
{
    char *words[32], *word;
    int   count = 0;

    if (strcmp(line, "end") == 0) {
        gw_arbiter_stop(a, GW_STOP_GRACEFUL);
        return;
    }
    strsep(&line, " ");
    while (count < 32 && (word = strsep(&line, " ")) != NULL) {
        words[count++] = word;
    }
    if (gw_arbiter_reload(a, configured(count, words)) != GW_OK) {
        printf("the reload is refused\n");
    }
}

int
main(int argc, char **argv)
{
    gw_error   err = GW_INIT(gw_error);
    gw_config *cfg;

    setvbuf(stdout, NULL, _IOLBF, 0);
    address = argv[1];
    cfg = configured(argc - 2, argv + 2);
    if (has(argc - 2, argv + 2, "check")) {
        printf("%s\n", gw_result_name(gw_config_check(cfg, report, NULL)));
        gw_config_free(cfg);
        return 0;
    }
    if (has(argc - 2, argv + 2, "arbiter")) {
        return arbitrate(cfg);
    }
    if (gw_serve(cfg, &err) < 0) {
        fatal(&err);
    }
    return 0;
}
