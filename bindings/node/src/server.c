/*
 * server.c - a server in Node's loop.  After each turn all requests that have
 * come, and all that happened to others, go to JavaScript at once; what is
 * answered meanwhile leaves in the turn that follows.
 */
#include "addon.h"

/* A request of a batch as JavaScript has it in numbers; its text has the
   header fields (name, value, name, value ...), and then PLACES more lines. */
#define NUMBERS 3                   /* handle, length of the body or -1, flags */
#define PLACES  6                   /* method, target, protocol, address and port
                                       of the client, scheme */
#define TURNS   16                  /* before others in Node's loop have theirs */

typedef struct server {
    watch      w;
    gw_server *s;
    void     (*ended)(void *arg);   /* of a worker's: it has seen GW_EOF; NULL:
                                       the server is our own */
    void      *arg;
    napi_ref   self;                /* while it is watched */
    napi_ref   on_batch;
    napi_ref   numbers_of;
    double    *numbers;             /* BATCH * NUMBERS, and BATCH * 2 for events */
    char      *text;                /* of one request; grows */
    size_t     cap;
} server;

/* ---- the text of a request ---- */

/* A line; an octet that would be the end of another is a space. */
static char *
line(char *to, gw_str value)
{
    if (value.len > 0) {
        memcpy(to, value.data, value.len);
        for (char *at = to; (at = memchr(at, '\n', value.len - (size_t) (at - to))) != NULL; ) {
            *at = ' ';
        }
    }
    to[value.len] = '\n';
    return to + value.len + 1;
}

static napi_value
text_of(server *self, const gw_environ *env)
{
    const gw_str places[PLACES] = {
        env->request_method, env->request_uri, env->server_protocol, env->remote_addr,
        env->remote_port, env->url_scheme,
    };
    napi_value   it = NULL;
    size_t       i, len = 0;
    char        *to;

    for (i = 0; i < env->header_count; i++) {
        len += env->headers[i].name.len + env->headers[i].value.len + 2;
    }
    for (i = 0; i < PLACES; i++) {
        len += places[i].len + 1;
    }
    if (len > self->cap) {
        free(self->text);
        self->text = malloc(len);
        self->cap = self->text != NULL ? len : 0;
        if (self->text == NULL) {
            return NULL;
        }
    }
    to = self->text;
    for (i = 0; i < env->header_count; i++) {
        to = line(line(to, env->headers[i].name), env->headers[i].value);
    }
    for (i = 0; i < PLACES; i++) {
        to = line(to, places[i]);
    }
    napi_create_string_latin1(self->w.env, self->text, (size_t) (to - self->text) - 1, &it);
    return it;
}

/* ---- turns ---- */

/* (requests, their texts, events): what else there is to know is in numbers. */
static void
hand_over(server *self, gw_deferred **d, size_t requests, const gw_event *happened, size_t events)
{
    napi_env          env = self->w.env;
    napi_value        fn, argv[3];
    napi_handle_scope scope;
    double           *at = self->numbers;

    if (napi_open_handle_scope(env, &scope) != napi_ok) {
        return;
    }
    napi_create_array_with_length(env, requests, &argv[1]);
    for (size_t i = 0; i < requests; i++) {
        const gw_environ *environ = gw_deferred_environ(d[i]);

        *at++ = (double) (uintptr_t) d[i];
        *at++ = (double) environ->content_length;
        *at++ = environ->flags & GW_ENV_HAS_BODY ? 1 : 0;
        napi_set_element(env, argv[1], (uint32_t) i, text_of(self, environ));
    }
    at = self->numbers + BATCH * NUMBERS;
    for (size_t i = 0; i < events; i++) {
        *at++ = (double) (uintptr_t) happened[i].d;
        *at++ = happened[i].what;
    }
    argv[0] = number(env, (double) requests);
    argv[2] = number(env, (double) events);
    napi_get_reference_value(env, self->on_batch, &fn);
    call_back(env, self->w.async, fn, 3, argv);
    napi_close_handle_scope(env, scope);
}

static gw_result
turn(watch *w, int64_t *wait_ms)
{
    server *self = (server *) w;

    for (int i = 0; i < TURNS; i++) {
        gw_deferred *d[BATCH];
        gw_event     happened[BATCH];
        size_t       requests = 0, events = 0;
        gw_result    rc = gw_server_turn(self->s, wait_ms);

        if (rc != GW_OK) {
            return rc;
        }
        gw_server_take(self->s, d, BATCH, 0, &requests);
        gw_server_events(self->s, happened, BATCH, 0, &events);
        if (requests + events == 0) {
            return GW_OK;
        }
        gw_server_cork(self->s);            /* answers need not wake us */
        hand_over(self, d, requests, happened, events);
    }
    *wait_ms = 0;
    return GW_OK;
}

/* ---- its life ---- */

static void
drop(napi_env env, void *data, void *hint)
{
    server *self = data;

    (void) env;
    (void) hint;
    if (self->w.open > 0) {
        return;                             /* the process ends, and Node's loop has it still */
    }
    if (self->ended == NULL) {
        gw_server_free(self->s);
    }
    free(self->text);
    free(self);
}

static void
ended(watch *w)
{
    server *self = (server *) w;
    napi_ref it = self->self;

    napi_delete_reference(w->env, self->on_batch);
    napi_delete_reference(w->env, self->numbers_of);
    if (self->ended == NULL) {
        gw_server_free(self->s);
    } else {
        self->ended(self->arg);
    }
    self->s = NULL;
    napi_delete_reference(w->env, it);      /* from here on it may be collected */
}

/* A server, for JavaScript to hold. `ended` is called when it has been watched
   to its end, and the library frees it; NULL: it is ours. */
napi_value
server_of(napi_env env, gw_server *s, void (*at_end)(void *arg), void *arg)
{
    napi_value it = NULL;
    server    *self = calloc(1, sizeof *self);

    if (self == NULL) {
        return fail(env, GW_ERR_MEMORY, NULL);
    }
    self->s = s;
    self->ended = at_end;
    self->arg = arg;
    napi_create_external(env, self, drop, NULL, &it);
    return it;
}

/* (pairs): an external */
napi_value
server_new(napi_env env, napi_callback_info info)
{
    gw_error   err = GW_INIT(gw_error);
    gw_server *s;
    gw_config *cfg;
    napi_value argv[1];
    gw_result  rc;

    if (!args(env, info, 1, argv) || (cfg = configured(env, argv[0])) == NULL) {
        return NULL;
    }
    rc = gw_server_new(cfg, &s, &err);
    return rc < 0 ? fail(env, rc, err.message) : server_of(env, s, NULL, NULL);
}

/* (server, Float64Array, on_batch, on_end) */
napi_value
server_poll(napi_env env, napi_callback_info info)
{
    napi_value argv[4];
    size_t     length;
    void      *numbers;
    server    *self;

    if (!args(env, info, 4, argv) || (self = unwrap(env, argv[0])) == NULL) {
        return NULL;
    }
    TRY(napi_get_typedarray_info(env, argv[1], NULL, &length, &numbers, NULL, NULL));
    if (length < BATCH * (NUMBERS + 2) || self->w.open > 0) {
        return fail(env, GW_ERR_STATE, NULL);
    }
    self->numbers = numbers;
    TRY(napi_create_reference(env, argv[1], 1, &self->numbers_of));
    TRY(napi_create_reference(env, argv[2], 1, &self->on_batch));
    TRY(napi_create_reference(env, argv[0], 1, &self->self));
    self->w.turn = turn;
    self->w.ended = ended;
    watch_open(&self->w, env, gw_server_fd(self->s), argv[3]);
    return NULL;
}

/* (server, keeps the process alive) */
napi_value
server_ref(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    server    *self;
    bool       keeps;

    if (!args(env, info, 2, argv) || (self = unwrap(env, argv[0])) == NULL) {
        return NULL;
    }
    TRY(napi_get_value_bool(env, argv[1], &keeps));
    if (watch_is_open(&self->w)) {
        watch_ref(&self->w, keeps);
    }
    return NULL;
}

/* (server, GW_STOP_*) */
napi_value
server_stop(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    server    *self;
    uint32_t   how;

    if (!args(env, info, 2, argv) || (self = unwrap(env, argv[0])) == NULL) {
        return NULL;
    }
    TRY(napi_get_value_uint32(env, argv[1], &how));
    gw_server_stop(self->s, how);
    return NULL;
}

napi_value
server_stats(napi_env env, napi_callback_info info)
{
    gw_stats   stats = GW_INIT(gw_stats);
    napi_value argv[1];
    server    *self;
    gw_result  rc;

    if (!args(env, info, 1, argv) || (self = unwrap(env, argv[0])) == NULL) {
        return NULL;
    }
    rc = gw_server_stats(self->s, &stats);
    return rc < 0 ? fail(env, rc, NULL) : stats_of(env, &stats);
}

/* [address, port, protocol, address ...] */
napi_value
server_listeners(napi_env env, napi_callback_info info)
{
    gw_listener_info about = GW_INIT(gw_listener_info);
    uint32_t         cursor = 0, n = 0;
    napi_value       argv[1], it;
    server          *self;

    if (!args(env, info, 1, argv) || (self = unwrap(env, argv[0])) == NULL) {
        return NULL;
    }
    TRY(napi_create_array(env, &it));
    while (gw_server_listeners(self->s, &cursor, &about) == GW_OK) {
        napi_set_element(env, it, n++, text(env, about.address));
        napi_set_element(env, it, n++, number(env, about.port));
        napi_set_element(env, it, n++, number(env, about.protocol));
    }
    return it;
}
