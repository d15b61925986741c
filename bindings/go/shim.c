/* The crossing (shim.h). */
#include "shim.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "_cgo_export.h"

#define FIELDS 64                       /* of a head, without more memory */

/* ---- what is lent ---- */

/* Memory of Go's that the library has. */
typedef struct gwgo_loan {
    struct gwgo_loan *next;
    gwgo_batch       *batch;
    uint64_t          ticket;
} gwgo_loan;

static void
give_back(void *arg)
{
    gwgo_loan *loan = arg, *top = atomic_load(&loan->batch->loans);

    do {
        loan->next = top;
    } while (!atomic_compare_exchange_weak(&loan->batch->loans, &top, loan));
}

static void
close_file(void *arg)
{
    close((int) (intptr_t) arg);
}

/* Those that came back, as far as there is room. */
static void
collect(gwgo_batch *out)
{
    gwgo_loan *loan = atomic_exchange(&out->loans, NULL), *next;

    out->more = 0;
    for (; loan != NULL; loan = next) {
        next = loan->next;
        if (out->released_n == GWGO_RELEASED) {
            out->more = 1;
            give_back(loan);
            continue;
        }
        out->released[out->released_n++] = loan->ticket;
        free(loan);
    }
}

/* ---- what is asked for ---- */

/* "Name: value\r\n" lines as pairs; NULL: there is no memory. */
static gw_pair *
fields_of(const char *text, size_t len, gw_pair *few, size_t *count)
{
    const char *end = text + len, *at, *colon, *line;
    gw_pair    *fields = few;
    size_t      n = 0;

    for (at = text; (at = memchr(at, '\n', (size_t) (end - at))) != NULL; at++) {
        n++;
    }
    if (n > FIELDS && (fields = malloc(n * sizeof *fields)) == NULL) {
        return NULL;
    }
    *count = 0;
    while (text < end && (line = memchr(text, '\n', (size_t) (end - text))) != NULL) {
        colon = memchr(text, ':', (size_t) (line - text));
        if (colon != NULL) {
            fields[(*count)++] = (gw_pair) {
                { text, (size_t) (colon - text) },
                { colon + 2, (size_t) (line - 1 - (colon + 2)) },
            };
        }
        text = line + 1;
    }
    return fields;
}

/* The head of an answer, and, unless it is NULL, the whole of its body. */
static gw_result
begin(const gwgo_op *op, const char *text, const gw_chunk *body)
{
    gw_pair     few[FIELDS];
    gw_response head = { .status = (uint16_t) op->status, .flags = op->flags };
    gw_pair    *fields = fields_of(text + op->head, op->head_len, few, &head.header_count);
    gw_result   rc;

    if (fields == NULL) {
        if (body != NULL) {
            (void) gw_deferred_end((gw_deferred *) op->d, GW_ERR_MEMORY);   /* d is given up in any case */
        }
        return GW_ERR_MEMORY;
    }
    head.headers = fields;
    rc = body == NULL ? gw_deferred_start((gw_deferred *) op->d, &head)
                      : gw_deferred_reply((gw_deferred *) op->d, &head, body, 1);
    if (fields != few) {
        free(fields);
    }
    return rc;
}

static gw_result
lend(const gwgo_op *op, gwgo_batch *out)
{
    gwgo_loan *loan = malloc(sizeof *loan);
    gw_chunk   chunk = { .data = (const void *) (uintptr_t) op->body, .len = op->body_len,
                         .release = give_back, .arg = loan };
    gw_result  rc;

    if (loan == NULL) {
        return GW_ERR_MEMORY;
    }
    *loan = (gwgo_loan) { .batch = out, .ticket = op->ticket };
    rc = gw_deferred_write((gw_deferred *) op->d, &chunk);
    if (rc == GW_AGAIN) {               /* ours again, and not released */
        free(loan);
    }
    return rc;
}

static gw_result
perform(const gwgo_op *op, const char *text, gwgo_batch *out)
{
    gw_deferred *d = (gw_deferred *) op->d;
    gw_chunk     chunk = { 0 };
    gw_result    rc;

    switch (op->kind) {

    case GWGO_REPLY:
        if (op->flags != 0) {
            chunk = (gw_chunk) { .data = text + op->body, .len = op->body_len };
            return begin(op, text, &chunk);
        }
        return gw_deferred_reply_flat(d, (uint32_t) op->status, text + op->head, op->head_len,
                                      text + op->body, op->body_len);

    case GWGO_HEAD:
        return begin(op, text, NULL);

    case GWGO_WRITE:
        chunk = (gw_chunk) { .data = text + op->body, .len = op->body_len, .flags = GW_CHUNK_FLUSH };
        return gw_deferred_write(d, &chunk);

    case GWGO_LEND:
        return lend(op, out);

    case GWGO_FILE:
        chunk = (gw_chunk) { .len = op->body_len, .offset = (int64_t) op->body, .fd = op->fd,
                             .flags = GW_CHUNK_FILE, .release = close_file,
                             .arg = (void *) (intptr_t) op->fd };
        return gw_deferred_write(d, &chunk);

    case GWGO_LAST:
        chunk = (gw_chunk) { .data = text + op->body, .len = op->body_len };
        rc = gw_deferred_write(d, &chunk);
        if (rc == GW_OK) {
            (void) gw_deferred_end(d, GW_OK);   /* d is given up in any case */
        }
        return rc;

    case GWGO_END:
        return gw_deferred_end(d, op->status);

    default:
        return GW_ERR_INVALID;
    }
}

/* ---- what is new ---- */

/* Whether the client waits for a word of ours before it sends the body. */
static int
expects(const gw_environ *env)
{
    for (size_t i = 0; i < env->header_count; i++) {
        if (env->headers[i].name.len == 6
            && strncasecmp(env->headers[i].name.data, "expect", 6) == 0)
        {
            return 1;
        }
    }
    return 0;
}

/* A request, and what is there of a small body. */
static void
describe(gwgo_request *taken, gw_deferred *d, char *bodies, size_t *used)
{
    const gw_environ *env = gw_deferred_environ(d);
    size_t            n = 0;

    *taken = (gwgo_request) { .d = d, .env = env, .body_rc = GW_AGAIN };
    if (env == NULL || !(env->flags & GW_ENV_HAS_BODY) || env->content_length < 0
        || env->content_length > GWGO_BODY
        || *used + (size_t) env->content_length > GWGO_BODIES || expects(env))
    {
        return;
    }
    taken->body = bodies + *used;
    while (taken->body_len < env->content_length) {
        taken->body_rc = gw_deferred_read(d, bodies + *used,
                                          (size_t) env->content_length - taken->body_len, &n);
        if (taken->body_rc != GW_OK) {
            return;
        }
        taken->body_len += (uint32_t) n;
        *used += n;
    }
    taken->body_rc = GW_EOF;
}

gwgo_batch *
gwgo_batch_new(void)
{
    return calloc(1, sizeof(gwgo_batch));
}

gw_result
gwgo_turn(gw_server *s, gwgo_op *ops, size_t count, const char *text, gwgo_batch *out)
{
    gw_deferred *taken[GWGO_TAKEN];
    size_t       used = 0, most = GWGO_TAKEN;
    gw_result    rc = GW_EOF;

    if (s != NULL && count > 0) {
        gw_server_cork(s);
    }
    for (size_t i = 0; i < count; i++) {
        ops[i].rc = perform(&ops[i], text, out);
        if (ops[i].kind == GWGO_LEND || ops[i].kind == GWGO_FILE) {
            most = GWGO_FEW;
        }
    }
    out->taken_n = out->events_n = out->released_n = 0;
    out->wait_ms = -1;
    if (s != NULL) {
        rc = gw_server_turn(s, &out->wait_ms);
        if (gw_server_take(s, taken, most, 0, &out->taken_n) != GW_OK) {
            out->taken_n = 0;
        }
        if (gw_server_events(s, out->events, GWGO_EVENTS, 0, &out->events_n) != GW_OK) {
            out->events_n = 0;
        }
        for (size_t i = 0; i < out->taken_n; i++) {
            describe(&out->taken[i], taken[i], out->bodies, &used);
        }
        if (out->taken_n == most || out->events_n == GWGO_EVENTS) {
            out->wait_ms = 0;
        }
    }
    collect(out);
    return rc;
}

gw_result
gwgo_read(uintptr_t d, char *buf, size_t cap, size_t *n)
{
    return gw_deferred_read((gw_deferred *) d, buf, cap, n);
}

gw_result
gwgo_variable(uintptr_t d, const char *name, size_t name_len, const char **value,
              size_t *value_len)
{
    gw_environ *env = gw_deferred_environ((gw_deferred *) d);
    gw_str      found = { 0 };
    gw_result   rc = env == NULL ? GW_ERR_STATE : gw_environ_get(env, name, name_len, &found);

    *value = found.data;
    *value_len = found.len;
    return rc;
}

void
gwgo_log(uintptr_t d, int32_t level, const char *text, size_t len)
{
    gw_log(gw_deferred_environ((gw_deferred *) d), level, text, len);
}

/* ---- hooks and the log: into Go ---- */

static gw_result
worker_run(void *ctx, const gw_worker *w)
{
    return gwgoWorkerRun((uintptr_t) ctx, (gw_worker *) w);
}

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    return gwgoWorkerInit((uintptr_t) ctx, (gw_worker *) w);
}

static void
worker_exit(void *ctx, const gw_worker *w)
{
    gwgoOnWorker((uintptr_t) ctx, GWGO_WORKER_EXIT, (gw_worker *) w);
}

static void
on_starting(void *ctx, gw_arbiter *a)
{
    gwgoOnArbiter((uintptr_t) ctx, GWGO_ON_STARTING, a, NULL);
}

static void
when_ready(void *ctx, gw_arbiter *a)
{
    gwgoOnArbiter((uintptr_t) ctx, GWGO_WHEN_READY, a, NULL);
}

static void
on_reload(void *ctx, gw_arbiter *a)
{
    gwgoOnArbiter((uintptr_t) ctx, GWGO_ON_RELOAD, a, NULL);
}

static void
reloaded(void *ctx, gw_arbiter *a, const gw_error *failure)
{
    gwgoOnArbiter((uintptr_t) ctx, GWGO_RELOADED, a, (gw_error *) failure);
}

static void
pre_exec(void *ctx, gw_arbiter *a)
{
    gwgoOnArbiter((uintptr_t) ctx, GWGO_PRE_EXEC, a, NULL);
}

static void
on_exit_(void *ctx, gw_arbiter *a)
{
    gwgoOnArbiter((uintptr_t) ctx, GWGO_ON_EXIT, a, NULL);
}

static void
spawned(void *ctx, const gw_worker *w)
{
    gwgoOnWorker((uintptr_t) ctx, GWGO_SPAWNED, (gw_worker *) w);
}

static void
worker_ready(void *ctx, const gw_worker *w)
{
    gwgoOnWorker((uintptr_t) ctx, GWGO_WORKER_READY, (gw_worker *) w);
}

static void
child_exit(void *ctx, const gw_worker *w)
{
    gwgoOnWorker((uintptr_t) ctx, GWGO_CHILD_EXIT, (gw_worker *) w);
}

static void
nworkers_changed(void *ctx, uint32_t now, uint32_t before)
{
    gwgoOnScale((uintptr_t) ctx, now, before);
}

gw_result
gwgo_config_hooks(gw_config *cfg, uintptr_t handle, gw_error *err)
{
    gw_hooks hooks = GW_INIT(gw_hooks);

    hooks.ctx = (void *) handle;
    hooks.worker_init = worker_init;
    hooks.worker_run = worker_run;
    hooks.worker_exit = worker_exit;
    hooks.on_starting = on_starting;
    hooks.when_ready = when_ready;
    hooks.on_reload = on_reload;
    hooks.reloaded = reloaded;
    hooks.pre_exec = pre_exec;
    hooks.on_exit = on_exit_;
    hooks.spawned = spawned;
    hooks.worker_ready = worker_ready;
    hooks.child_exit = child_exit;
    hooks.nworkers_changed = nworkers_changed;
    return gw_config_hooks(cfg, &hooks, err);
}

static void
take_record(void *ctx, const gw_log_record *record)
{
    gwgoLog((uintptr_t) ctx, (gw_log_record *) record);
}

static void
drop_logger(void *ctx)
{
    gwgoLogDrop((uintptr_t) ctx);
}

gw_result
gwgo_config_log(gw_config *cfg, int32_t level, uintptr_t handle)
{
    return gw_config_log(cfg, level, take_record, (void *) handle, drop_logger);
}
