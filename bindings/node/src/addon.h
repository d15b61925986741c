/*
 * addon.h - what the files of the addon share.
 *
 *     addon.c    errors, options, and the list of what JavaScript has
 *     watch.c    a descriptor of the library's in Node's own loop
 *     server.c   a server: requests and events, in batches
 *     answer.c   one request: its body, its answer
 *     serve.c    the arbiter, and a worker that it has started
 *
 * All of it runs in the thread of Node's loop, but for the thread in which a
 * worker's gw_serve waits (serve.c).  A handle of a request is a number for
 * JavaScript: the address, which fits a double.
 */
#ifndef ADDON_H
#define ADDON_H

#include <gateway.h>
#define NAPI_VERSION 8
#include <node_api.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BATCH 64                    /* requests, and events, of one crossing */

/* Where N-API says no there is an exception already, or the process is ending. */
#define TRY(call) do { if ((call) != napi_ok) return NULL; } while (0)

/* -- addon.c -- */
napi_value fail(napi_env env, gw_result rc, const char *text);
int args(napi_env env, napi_callback_info info, size_t count, napi_value *argv);
void *unwrap(napi_env env, napi_value external);
gw_config *configured(napi_env env, napi_value pairs);
napi_value stats_of(napi_env env, const gw_stats *stats);
napi_value number(napi_env env, double value);
napi_value text(napi_env env, const char *data);

/* -- watch.c -- */
typedef struct watch {
    napi_env           env;
    napi_async_context async;
    napi_ref           on_end;      /* (name of the result or undefined) */
    uv_poll_t          poll;
    uv_timer_t         timer;
    int                open;        /* of these two */
    gw_result        (*turn)(struct watch *w, int64_t *wait_ms);
    void             (*ended)(struct watch *w); /* it is not used any more */
} watch;

int watch_open(watch *w, napi_env env, int fd, napi_value on_end);
void watch_close(watch *w);
int watch_is_open(const watch *w);
void watch_ref(watch *w, int keeps);
void call_back(napi_env env, napi_async_context async, napi_value fn, size_t argc, napi_value *argv);

/* -- server.c -- */
napi_value server_of(napi_env env, gw_server *s, void (*ended)(void *arg), void *arg);
napi_value server_new(napi_env env, napi_callback_info info);
napi_value server_poll(napi_env env, napi_callback_info info);
napi_value server_ref(napi_env env, napi_callback_info info);
napi_value server_stop(napi_env env, napi_callback_info info);
napi_value server_stats(napi_env env, napi_callback_info info);
napi_value server_listeners(napi_env env, napi_callback_info info);

/* -- answer.c -- */
napi_value request_read(napi_env env, napi_callback_info info);
napi_value request_variables(napi_env env, napi_callback_info info);
napi_value answer_reply(napi_env env, napi_callback_info info);
napi_value answer_start(napi_env env, napi_callback_info info);
napi_value answer_write(napi_env env, napi_callback_info info);
napi_value answer_end(napi_env env, napi_callback_info info);
napi_value answer_fail(napi_env env, napi_callback_info info);

/* -- serve.c -- */
napi_value arbiter_new(napi_env env, napi_callback_info info);
napi_value arbiter_start(napi_env env, napi_callback_info info);
napi_value arbiter_signal(napi_env env, napi_callback_info info);
napi_value arbiter_stop(napi_env env, napi_callback_info info);
napi_value arbiter_scale(napi_env env, napi_callback_info info);
napi_value arbiter_stats(napi_env env, napi_callback_info info);
napi_value arbiter_listeners(napi_env env, napi_callback_info info);
napi_value work(napi_env env, napi_callback_info info);
napi_value work_begin(napi_env env, napi_callback_info info);

#endif
