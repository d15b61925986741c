/*
 * addon.c - errors, options, and the list of what JavaScript has.  lib/ is
 * what calls it; nothing here is meant for applications.
 */
#include "addon.h"

/* Throws an Error whose `code` is the name of the result. */
napi_value
fail(napi_env env, gw_result rc, const char *why)
{
    napi_throw_error(env, gw_result_name(rc), why != NULL ? why : gw_result_text(rc));
    return NULL;
}

int
args(napi_env env, napi_callback_info info, size_t count, napi_value *argv)
{
    size_t given = count;

    return napi_get_cb_info(env, info, &given, argv, NULL, NULL) == napi_ok;
}

void *
unwrap(napi_env env, napi_value external)
{
    void *it = NULL;

    if (napi_get_value_external(env, external, &it) != napi_ok || it == NULL) {
        fail(env, GW_ERR_INVALID, NULL);
    }
    return it;
}

napi_value
number(napi_env env, double value)
{
    napi_value it = NULL;

    napi_create_double(env, value, &it);
    return it;
}

napi_value
text(napi_env env, const char *data)
{
    napi_value it = NULL;

    napi_create_string_utf8(env, data, NAPI_AUTO_LENGTH, &it);
    return it;
}

/* A string of JavaScript's with a NUL; free() it. */
static char *
c_string(napi_env env, napi_value value)
{
    size_t len;
    char  *it;

    if (napi_get_value_string_utf8(env, value, NULL, 0, &len) != napi_ok
        || (it = malloc(len + 1)) == NULL)
    {
        return NULL;
    }
    napi_get_value_string_utf8(env, value, it, len + 1, &len);
    if (strlen(it) != len) {                /* an option ends at a NUL */
        free(it);
        return NULL;
    }
    return it;
}

/* Of [name, value, name, value ...].  NULL: it has thrown. */
gw_config *
configured(napi_env env, napi_value pairs)
{
    gw_error   err = GW_INIT(gw_error);
    gw_config *cfg = gw_config_new();
    uint32_t   i, n = 0;

    napi_get_array_length(env, pairs, &n);
    for (i = 0; cfg != NULL && i + 1 < n; i += 2) {
        napi_value name, value;
        char      *key, *to;

        napi_get_element(env, pairs, i, &name);
        napi_get_element(env, pairs, i + 1, &value);
        key = c_string(env, name);
        to = c_string(env, value);
        if (key == NULL || to == NULL) {
            err.code = GW_ERR_INVALID;
            strcpy(err.message, "an option is not text");
        } else {
            gw_config_set(cfg, key, to, &err);
        }
        free(key);
        free(to);
        if (err.code < 0) {
            gw_config_free(cfg);
            fail(env, err.code, err.message);
            return NULL;
        }
    }
    if (cfg == NULL) {
        fail(env, GW_ERR_MEMORY, NULL);
    }
    return cfg;
}

/* { name: { kind, preset, help } } */
static napi_value
options(napi_env env, napi_callback_info info)
{
    gw_option  option = GW_INIT(gw_option);
    uint32_t   cursor = 0;
    napi_value all;

    (void) info;
    TRY(napi_create_object(env, &all));
    while (gw_option_next(&cursor, &option) == GW_OK) {
        napi_value one;

        TRY(napi_create_object(env, &one));
        napi_set_named_property(env, one, "kind", text(env, option.kind));
        napi_set_named_property(env, one, "preset", text(env, option.preset));
        napi_set_named_property(env, one, "help", text(env, option.help));
        napi_set_named_property(env, all, option.name, one);
    }
    return all;
}

napi_value
stats_of(napi_env env, const gw_stats *stats)
{
#define STAT(name) { #name, offsetof(gw_stats, name) }
    static const struct { const char *name; size_t at; } all[] = {
        STAT(uptime_ms), STAT(accepted), STAT(connections), STAT(requests), STAT(in_flight),
        STAT(sent), STAT(received), STAT(app_errors), STAT(aborted), STAT(timeouts),
        STAT(rejected), STAT(limited), STAT(shed), STAT(full), STAT(accept_errors),
        STAT(spool_errors), STAT(spawned), STAT(exited), STAT(killed), STAT(reloads),
        STAT(reloads_failed), STAT(failing), STAT(request_timeouts), STAT(unrecorded),
        STAT(requests_full), STAT(ready), STAT(untrusted), STAT(unmounted),
    };
    napi_value it, status;
    size_t     i;

    TRY(napi_create_object(env, &it));
    napi_set_named_property(env, it, "workers", number(env, stats->workers));
    for (i = 0; i < sizeof all / sizeof *all; i++) {
        uint64_t value;

        memcpy(&value, (const char *) stats + all[i].at, sizeof value);
        napi_set_named_property(env, it, all[i].name, number(env, (double) value));
    }
    TRY(napi_create_array_with_length(env, 6, &status));
    for (i = 0; i < 6; i++) {
        napi_set_element(env, status, (uint32_t) i, number(env, (double) stats->status[i]));
    }
    napi_set_named_property(env, it, "status", status);
    return it;
}

static napi_value
init(napi_env env, napi_value exports)
{
#define FUNCTION(name) { #name, NULL, name, NULL, NULL, NULL, napi_default, NULL }
    const napi_property_descriptor all[] = {
        FUNCTION(options),
        FUNCTION(server_new), FUNCTION(server_poll), FUNCTION(server_ref), FUNCTION(server_stop),
        FUNCTION(server_stats), FUNCTION(server_listeners),
        FUNCTION(request_read), FUNCTION(request_variables),
        FUNCTION(answer_reply), FUNCTION(answer_start), FUNCTION(answer_write),
        FUNCTION(answer_end), FUNCTION(answer_fail),
        FUNCTION(arbiter_new), FUNCTION(arbiter_start), FUNCTION(arbiter_signal),
        FUNCTION(arbiter_stop), FUNCTION(arbiter_scale), FUNCTION(arbiter_stats),
        FUNCTION(arbiter_listeners),
        FUNCTION(work), FUNCTION(work_begin),
    };
    napi_value is_worker;

    if (gw_abi() != GW_ABI) {
        return fail(env, GW_ERR_ABI, "libgateway is of another version than this addon");
    }
    TRY(napi_define_properties(env, exports, sizeof all / sizeof *all, all));
    napi_set_named_property(env, exports, "version", text(env, gw_version()));
    TRY(napi_get_boolean(env, gw_is_worker() != 0, &is_worker));
    napi_set_named_property(env, exports, "is_worker", is_worker);
    return exports;
}

NAPI_MODULE(gateway, init)
