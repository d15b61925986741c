/*
 * serve.c - the arbiter in Node's loop, and the worker that it has started.
 *
 * A worker is this program, started again.  Its gw_serve must not block Node's
 * loop, and so a thread of its own is in it; the hook worker_init waits until
 * JavaScript's is done, also with what it promised, and worker_run hands the server to the loop
 * and waits until that has seen GW_EOF.
 */
#include "addon.h"

#include <fcntl.h>

/* ---- the arbiter: there is one at most, and it lives as long as the process ---- */

static struct {
    watch       w;
    gw_arbiter *a;
    napi_env    env;
    napi_ref    on_hook;
} the;

static gw_result
turn(watch *w, int64_t *wait_ms)
{
    napi_callback_scope scope;
    gw_result           rc;

    /* Hooks are called in it; when it closes, what they left to nextTick and promises. */
    if (napi_open_callback_scope(w->env, NULL, w->async, &scope) != napi_ok) {
        return gw_arbiter_turn(the.a, wait_ms);
    }
    rc = gw_arbiter_turn(the.a, wait_ms);
    napi_close_callback_scope(w->env, scope);
    return rc;
}

/* From here on there may be another. */
static void
forget(void)
{
    if (the.a != NULL) {
        gw_arbiter_free(the.a);             /* which may still call hooks */
        the.a = NULL;
    }
    if (the.on_hook != NULL) {
        napi_delete_reference(the.env, the.on_hook);
        the.on_hook = NULL;
    }
}

static void
ended(watch *w)
{
    (void) w;
    forget();
}

/* (name, details): in a turn of the arbiter, and so in the thread of the loop. */
static void
tell(const char *name, napi_value details)
{
    napi_value fn, exception, argv[2] = { text(the.env, name), details };

    napi_get_reference_value(the.env, the.on_hook, &fn);
    if (napi_call_function(the.env, argv[0], fn, 2, argv, NULL) == napi_pending_exception
        && napi_get_and_clear_last_exception(the.env, &exception) == napi_ok)
    {
        napi_fatal_exception(the.env, exception);
    }
}

static void
told(const char *name, const gw_worker *w, const gw_error *failure, uint32_t now, uint32_t before)
{
    napi_handle_scope scope;
    napi_value        it;

    if (napi_open_handle_scope(the.env, &scope) != napi_ok) {
        return;
    }
    napi_create_object(the.env, &it);
    if (w != NULL) {
        napi_set_named_property(the.env, it, "pid", number(the.env, w->pid));
        napi_set_named_property(the.env, it, "slot", number(the.env, w->slot));
        napi_set_named_property(the.env, it, "generation", number(the.env, w->generation));
        napi_set_named_property(the.env, it, "exit_status", number(the.env, w->exit_status));
        napi_set_named_property(the.env, it, "cause", number(the.env, w->cause));
        napi_set_named_property(the.env, it, "pool", text(the.env, w->pool != NULL ? w->pool : ""));
    }
    if (failure != NULL) {
        napi_set_named_property(the.env, it, "failure", text(the.env, failure->message));
    }
    if (now > 0) {
        napi_set_named_property(the.env, it, "now", number(the.env, now));
        napi_set_named_property(the.env, it, "before", number(the.env, before));
    }
    tell(name, it);
    napi_close_handle_scope(the.env, scope);
}

#define OF_ARBITER(name) \
    static void tell_##name(void *ctx, gw_arbiter *a) \
    { (void) ctx; (void) a; told(#name, NULL, NULL, 0, 0); }
#define OF_WORKER(name) \
    static void tell_##name(void *ctx, const gw_worker *w) \
    { (void) ctx; told(#name, w, NULL, 0, 0); }

OF_ARBITER(on_starting)
OF_ARBITER(when_ready)
OF_ARBITER(on_reload)
OF_ARBITER(on_exit)
OF_ARBITER(pre_exec)
OF_WORKER(pre_fork)
OF_WORKER(spawned)
OF_WORKER(worker_ready)
OF_WORKER(child_exit)

static void
tell_reloaded(void *ctx, gw_arbiter *a, const gw_error *failure)
{
    (void) ctx;
    (void) a;
    told("reloaded", NULL, failure, 0, 0);
}

static void
tell_nworkers_changed(void *ctx, uint32_t now, uint32_t before)
{
    (void) ctx;
    told("nworkers_changed", NULL, NULL, now, before);
}

/* (pairs, on_hook): binds, starts nothing */
napi_value
arbiter_new(napi_env env, napi_callback_info info)
{
    gw_error   err = GW_INIT(gw_error);
    gw_hooks   hooks = GW_INIT(gw_hooks);
    gw_config *cfg;
    napi_value argv[2];
    gw_result  rc;

    if (!args(env, info, 2, argv)) {
        return NULL;
    }
    if (the.a != NULL) {
        return fail(env, GW_ERR_STATE, "serve: this process has an arbiter");
    }
    if ((cfg = configured(env, argv[0])) == NULL) {
        return NULL;
    }
    hooks.on_starting = tell_on_starting;
    hooks.when_ready = tell_when_ready;
    hooks.pre_fork = tell_pre_fork;
    hooks.spawned = tell_spawned;
    hooks.worker_ready = tell_worker_ready;
    hooks.child_exit = tell_child_exit;
    hooks.nworkers_changed = tell_nworkers_changed;
    hooks.on_reload = tell_on_reload;
    hooks.reloaded = tell_reloaded;
    hooks.on_exit = tell_on_exit;
    hooks.pre_exec = tell_pre_exec;
    rc = gw_config_hooks(cfg, &hooks, &err);
    if (rc < 0) {
        gw_config_free(cfg);
        return fail(env, rc, err.message);
    }
    the.env = env;
    TRY(napi_create_reference(env, argv[1], 1, &the.on_hook));
    rc = gw_arbiter_new(cfg, &the.a, &err);
    if (rc < 0) {
        the.a = NULL;
        forget();
        return fail(env, rc, err.message);
    }
    return NULL;
}

/* (on_end): the workers */
napi_value
arbiter_start(napi_env env, napi_callback_info info)
{
    gw_error   err = GW_INIT(gw_error);
    napi_value argv[1];
    gw_result  rc;

    if (!args(env, info, 1, argv)) {
        return NULL;
    }
    /* Node has marked the standard streams close-on-exec: workers want them. */
    for (int fd = 0; fd < 3; fd++) {
        fcntl(fd, F_SETFD, 0);
    }
    rc = gw_arbiter_start(the.a, &err);
    if (rc < 0) {
        forget();
        return fail(env, rc, err.message);
    }
    the.w.turn = turn;
    the.w.ended = ended;
    if (!watch_open(&the.w, env, gw_arbiter_fd(the.a), argv[0])) {
        forget();
    }
    return NULL;
}

/* One number: what the call says. */
static napi_value
told_by(napi_env env, napi_callback_info info, gw_result (*call)(gw_arbiter *a, uint32_t n))
{
    napi_value argv[1];
    uint32_t   n;
    gw_result  rc;

    if (!args(env, info, 1, argv)) {
        return NULL;
    }
    TRY(napi_get_value_uint32(env, argv[0], &n));
    rc = call(the.a, n);
    return rc < 0 ? fail(env, rc, NULL) : NULL;
}

static gw_result
signalled(gw_arbiter *a, uint32_t signo)
{
    return gw_arbiter_signal(a, (int32_t) signo);
}

napi_value
arbiter_signal(napi_env env, napi_callback_info info)
{
    return told_by(env, info, signalled);
}

napi_value
arbiter_stop(napi_env env, napi_callback_info info)
{
    return told_by(env, info, gw_arbiter_stop);
}

napi_value
arbiter_scale(napi_env env, napi_callback_info info)
{
    return told_by(env, info, gw_arbiter_scale);
}

napi_value
arbiter_stats(napi_env env, napi_callback_info info)
{
    gw_stats  stats = GW_INIT(gw_stats);
    gw_result rc = gw_arbiter_stats(the.a, &stats);

    (void) info;
    return rc < 0 ? fail(env, rc, NULL) : stats_of(env, &stats);
}

napi_value
arbiter_listeners(napi_env env, napi_callback_info info)
{
    gw_listener_info about = GW_INIT(gw_listener_info);
    uint32_t         cursor = 0, n = 0;
    napi_value       it;

    (void) info;
    TRY(napi_create_array(env, &it));
    while (gw_arbiter_listeners(the.a, &cursor, &about) == GW_OK) {
        napi_set_element(env, it, n++, text(env, about.address));
        napi_set_element(env, it, n++, number(env, about.port));
        napi_set_element(env, it, n++, number(env, about.protocol));
    }
    return it;
}

/* ---- a worker ---- */

static struct {
    napi_env           env;
    napi_async_context async;
    napi_ref           on_init, on_run, on_end;
    uv_thread_t        thread;
    uv_async_t         news;
    uv_mutex_t         lock;
    uv_cond_t          change;
    gw_config         *cfg;
    gw_worker          about;       /* while a hook runs */
    enum { BOOTS, INITS, RUNS, IN_LOOP, DONE, ENDED } state;
    gw_result          refused;     /* by JavaScript's own hook */
    gw_error           err;         /* of gw_serve */
} self;

/* In the thread: the loop is to do it. */
static gw_result
ask_loop(int what, const gw_worker *w)
{
    uv_mutex_lock(&self.lock);
    self.about = *w;
    self.state = what;
    uv_async_send(&self.news);
    while (self.state != DONE) {
        uv_cond_wait(&self.change, &self.lock);
    }
    uv_mutex_unlock(&self.lock);
    return self.refused;
}

/* Without this hook a worker that has no application is refused. */
static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    (void) ctx;
    return ask_loop(INITS, w);
}

static gw_result
worker_run(void *ctx, const gw_worker *w)
{
    (void) ctx;
    return ask_loop(RUNS, w);
}

static void
serve(void *arg)
{
    (void) arg;
    gw_serve(self.cfg, &self.err);
    uv_mutex_lock(&self.lock);
    self.state = ENDED;
    uv_async_send(&self.news);
    uv_mutex_unlock(&self.lock);
}

/* In the loop: the hook may return. */
static void
done(void *arg)
{
    (void) arg;
    uv_mutex_lock(&self.lock);
    self.state = DONE;
    uv_cond_signal(&self.change);
    uv_mutex_unlock(&self.lock);
}

static void
on_news(uv_async_t *news)
{
    napi_handle_scope scope;
    napi_value        fn, argv[2];
    int               state;

    uv_mutex_lock(&self.lock);
    state = self.state;
    if (state == INITS || state == RUNS) {
        self.state = IN_LOOP;
    }
    uv_mutex_unlock(&self.lock);
    if ((state != INITS && state != RUNS && state != ENDED) || napi_open_handle_scope(self.env, &scope) != napi_ok) {
        return;
    }
    if (state == INITS) {
        napi_get_reference_value(self.env, self.on_init, &fn);
        argv[0] = number(self.env, self.about.slot);
        argv[1] = number(self.env, self.about.generation);
        call_back(self.env, self.async, fn, 2, argv);
    } else if (state == RUNS) {
        napi_get_reference_value(self.env, self.on_run, &fn);
        argv[0] = server_of(self.env, self.about.server, done, NULL);
        call_back(self.env, self.async, fn, 1, argv);
    } else {
        uv_thread_join(&self.thread);
        uv_close((uv_handle_t *) news, NULL);
        napi_get_reference_value(self.env, self.on_end, &fn);
        argv[0] = number(self.env, self.err.code < 0 ? self.err.exit_status : 0);
        argv[1] = text(self.env, self.err.code < 0 ? self.err.message : "");
        call_back(self.env, self.async, fn, 2, argv);
    }
    napi_close_handle_scope(self.env, scope);
}

/* (pairs, on_init(slot, generation), on_run(server), on_end(exit status, text)):
   this process serves as the worker that it was started to be */
napi_value
work(napi_env env, napi_callback_info info)
{
    gw_error   err = GW_INIT(gw_error);
    gw_hooks   hooks = GW_INIT(gw_hooks);
    napi_value argv[4];
    uv_loop_t *loop;
    gw_result  rc;

    if (!args(env, info, 4, argv)) {
        return NULL;
    }
    if (self.cfg != NULL) {
        return fail(env, GW_ERR_STATE, "serve: this process is a worker already");
    }
    if ((self.cfg = configured(env, argv[0])) == NULL) {
        return NULL;
    }
    hooks.worker_init = worker_init;
    hooks.worker_run = worker_run;
    rc = gw_config_hooks(self.cfg, &hooks, &err);
    if (rc < 0) {
        return fail(env, rc, err.message);
    }
    self.env = env;
    self.err = err;
    TRY(napi_get_uv_event_loop(env, &loop));
    TRY(napi_create_reference(env, argv[1], 1, &self.on_init));
    TRY(napi_create_reference(env, argv[2], 1, &self.on_run));
    TRY(napi_create_reference(env, argv[3], 1, &self.on_end));
    TRY(napi_async_init(env, NULL, text(env, "libgateway"), &self.async));
    uv_mutex_init(&self.lock);
    uv_cond_init(&self.change);
    uv_async_init(loop, &self.news, on_news);
    if (uv_thread_create(&self.thread, serve, NULL) != 0) {
        return fail(env, GW_ERR_MEMORY, "serve: no thread");
    }
    return NULL;
}

/* (whether the worker may serve): once after on_init, which the thread waits for */
napi_value
work_begin(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    bool       serves;

    if (!args(env, info, 1, argv)) {
        return NULL;
    }
    TRY(napi_get_value_bool(env, argv[0], &serves));
    self.refused = serves ? GW_OK : GW_ERR_APP;
    done(NULL);
    return NULL;
}
