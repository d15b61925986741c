/*
 * watch.c - a descriptor of the library's in Node's own loop: uv_poll_t says
 * that there is something to do, a timer that it is time to.
 */
#include "addon.h"

static void
closed(uv_handle_t *handle)
{
    watch *w = handle->data;

    if (--w->open > 0) {
        return;
    }
    napi_async_destroy(w->env, w->async);
    napi_delete_reference(w->env, w->on_end);
    w->ended(w);
}

/* `ended` follows, in a later turn of Node's loop. */
void
watch_close(watch *w)
{
    if (watch_is_open(w)) {
        uv_close((uv_handle_t *) &w->poll, closed);
        uv_close((uv_handle_t *) &w->timer, closed);
    }
}

int
watch_is_open(const watch *w)
{
    return w->open > 0 && !uv_is_closing((const uv_handle_t *) &w->poll);
}

void
watch_ref(watch *w, int keeps)
{
    if (keeps) {
        uv_ref((uv_handle_t *) &w->poll);
        uv_ref((uv_handle_t *) &w->timer);
    } else {
        uv_unref((uv_handle_t *) &w->poll);
        uv_unref((uv_handle_t *) &w->timer);
    }
}

/* From the loop into JavaScript; then what nextTick and promises wait for. */
void
call_back(napi_env env, napi_async_context async, napi_value fn, size_t argc, napi_value *argv)
{
    napi_value global, exception;
    bool       is_pending;

    napi_get_global(env, &global);
    if (napi_make_callback(env, async, global, fn, argc, argv, NULL) != napi_ok
        && napi_is_exception_pending(env, &is_pending) == napi_ok && is_pending
        && napi_get_and_clear_last_exception(env, &exception) == napi_ok)
    {
        napi_fatal_exception(env, exception);
    }
}

static void
end(watch *w, gw_result rc)
{
    napi_value fn, why;

    watch_close(w);
    if (rc < 0) {
        why = text(w->env, gw_result_name(rc));
    } else {
        napi_get_undefined(w->env, &why);
    }
    napi_get_reference_value(w->env, w->on_end, &fn);
    call_back(w->env, w->async, fn, 1, &why);
}

static void on_timer(uv_timer_t *timer);

static void
turn(watch *w)
{
    napi_handle_scope scope;
    int64_t           wait_ms = -1;
    gw_result         rc;

    if (!watch_is_open(w) || napi_open_handle_scope(w->env, &scope) != napi_ok) {
        return;
    }
    rc = w->turn(w, &wait_ms);
    if (rc != GW_OK) {
        end(w, rc);
    } else if (wait_ms >= 0) {
        uv_timer_start(&w->timer, on_timer, (uint64_t) wait_ms, 0);
    } else {
        uv_timer_stop(&w->timer);
    }
    napi_close_handle_scope(w->env, scope);
}

static void
on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    (void) status;
    (void) events;
    turn(poll->data);
}

/* What `turn` and `ended` are is the caller's.  0: it has thrown. */
int
watch_open(watch *w, napi_env env, int fd, napi_value on_end)
{
    uv_loop_t *loop;
    napi_value name = text(env, "libgateway");

    if (napi_get_uv_event_loop(env, &loop) != napi_ok
        || napi_create_reference(env, on_end, 1, &w->on_end) != napi_ok
        || napi_async_init(env, NULL, name, &w->async) != napi_ok)
    {
        return 0;
    }
    w->env = env;
    w->poll.data = w->timer.data = w;
    if (uv_poll_init(loop, &w->poll, fd) != 0 || uv_timer_init(loop, &w->timer) != 0) {
        fail(env, GW_ERR_IO, "the descriptor cannot be watched");
        return 0;
    }
    w->open = 2;
    uv_poll_start(&w->poll, UV_READABLE, on_poll);
    uv_timer_start(&w->timer, on_timer, 0, 0);      /* there may be something already */
    return 1;
}
