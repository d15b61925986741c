/*
 * answer.c - one request that was taken: its body, its answer.  What gives the
 * handle up is answer_reply, answer_end and answer_fail; lib/ forgets it then.
 */
#include "addon.h"

#define SMALL   (16 * 1024)         /* octets that are rather copied than kept */
#define SCRATCH (64 * 1024)

static char scratch[SCRATCH];       /* of one call */

static int
handle(napi_env env, napi_value value, gw_deferred **d)
{
    double it;

    if (napi_get_value_double(env, value, &it) != napi_ok || it == 0) {
        fail(env, GW_ERR_STATE, "this request was answered");
        return 0;
    }
    *d = (gw_deferred *) (uintptr_t) it;
    return 1;
}

/* (handle, Uint8Array): how many octets; 0 at the end, -1 for not yet, or the
   name of an error. */
napi_value
request_read(napi_env env, napi_callback_info info)
{
    napi_value   argv[2];
    gw_deferred *d;
    void        *into;
    size_t       cap, n = 0;
    gw_result    rc;

    if (!args(env, info, 2, argv) || !handle(env, argv[0], &d)) {
        return NULL;
    }
    TRY(napi_get_typedarray_info(env, argv[1], NULL, &cap, &into, NULL, NULL));
    rc = gw_deferred_read(d, into, cap, &n);
    return rc < 0 ? text(env, gw_result_name(rc)) : number(env, rc == GW_AGAIN ? -1 : (double) n);
}

/* (handle): [name, value, name ...] as CGI has them. */
napi_value
request_variables(napi_env env, napi_callback_info info)
{
    const gw_pair *vars;
    gw_deferred   *d;
    napi_value     argv[1], all, one;
    size_t         count;
    uint32_t       n = 0;
    gw_result      rc;

    if (!args(env, info, 1, argv) || !handle(env, argv[0], &d)) {
        return NULL;
    }
    rc = gw_environ_vars(gw_deferred_environ(d), &vars, &count);
    if (rc < 0) {
        return fail(env, rc, NULL);
    }
    TRY(napi_create_array_with_length(env, count * 2, &all));
    for (size_t i = 0; i < count; i++) {
        napi_create_string_latin1(env, vars[i].name.data, vars[i].name.len, &one);
        napi_set_element(env, all, n++, one);
        napi_create_string_latin1(env, vars[i].value.data, vars[i].value.len, &one);
        napi_set_element(env, all, n++, one);
    }
    return all;
}

/* ---- memory of JavaScript's that the library keeps for a while ---- */

typedef struct kept {
    napi_env    env;
    napi_ref    buffer;
    uv_thread_t thread;             /* of the loop */
} kept;

/* In the thread of the loop; or in that of a worker's gw_serve, which cuts what
   has not been sent when it ends: then the process does as well. */
static void
let_go(void *arg)
{
    kept       *it = arg;
    uv_thread_t here = uv_thread_self();

    if (uv_thread_equal(&here, &it->thread)) {
        napi_delete_reference(it->env, it->buffer);
        free(it);
    }
}

/* A chunk of a string, in UTF-8, or of a Uint8Array; nothing else is a chunk of
   nothing. `used`: octets of `scratch` that are taken. */
static int
chunk_of(napi_env env, napi_value value, size_t used, gw_chunk *chunk)
{
    napi_valuetype type;
    size_t         len;

    *chunk = (gw_chunk) { 0 };
    if (napi_typeof(env, value, &type) != napi_ok) {
        return 0;
    }
    if (type == napi_string) {
        char *to = scratch + used;

        /* What fills the room exactly may be longer. */
        if (napi_get_value_string_utf8(env, value, to, SCRATCH - used, &len) != napi_ok) {
            return 0;
        }
        if (len + 4 >= SCRATCH - used) {
            napi_get_value_string_utf8(env, value, NULL, 0, &len);
            if ((to = malloc(len + 1)) == NULL) {
                return 0;
            }
            napi_get_value_string_utf8(env, value, to, len + 1, &len);
            chunk->release = free;
            chunk->arg = to;
        }
        chunk->data = to;
        chunk->len = len;
    } else if (type == napi_object) {
        void *data;

        if (napi_get_typedarray_info(env, value, NULL, &len, &data, NULL, NULL) != napi_ok) {
            return 0;
        }
        chunk->data = data;
        chunk->len = len;
        if (len > SMALL) {
            kept *it = malloc(sizeof *it);

            if (it == NULL || napi_create_reference(env, value, 1, &it->buffer) != napi_ok) {
                free(it);
                return 0;
            }
            it->env = env;
            it->thread = uv_thread_self();
            chunk->release = let_go;
            chunk->arg = it;
        }
    }
    return 1;
}

/* ---- heads ---- */

typedef struct head {
    gw_response response;
    gw_pair    *pairs;              /* these, or more that are to be freed */
    gw_pair     few[48];
    size_t      used;               /* of `scratch` */
    char       *text;               /* there, or to be freed */
} head;

static void
forget(head *h)
{
    if (h->pairs != h->few) {
        free(h->pairs);
    }
    if (h->text != scratch) {
        free(h->text);
    }
}

/* Of a status, GW_RESPONSE_*, a reason that is empty where it is the standard
   one, and "Name: value\r\n" lines, in ISO-8859-1. */
static int
head_of(napi_env env, const napi_value *argv, head *h)
{
    uint32_t status, flags;
    size_t   len, reason_len, count = 0, cap = sizeof h->few / sizeof *h->few;
    char    *at, *end;

    h->pairs = h->few;
    h->text = scratch;
    if (napi_get_value_uint32(env, argv[0], &status) != napi_ok
        || napi_get_value_uint32(env, argv[1], &flags) != napi_ok
        || napi_get_value_string_latin1(env, argv[3], scratch, SCRATCH / 2, &len) != napi_ok)
    {
        return 0;
    }
    h->used = len;
    if (len + 1 >= SCRATCH / 2) {
        napi_get_value_string_latin1(env, argv[3], NULL, 0, &len);
        h->used = 0;
        if ((h->text = malloc(len + 1)) == NULL) {
            return 0;
        }
        napi_get_value_string_latin1(env, argv[3], h->text, len + 1, &len);
    }
    for (at = h->text, end = at + len; at < end; ) {
        char *stop = memchr(at, '\r', (size_t) (end - at));
        char *colon = memchr(at, ':', (size_t) ((stop != NULL ? stop : end) - at));

        if (stop == NULL || colon == NULL) {
            break;                          /* lib/ has checked names and values */
        }
        if (count == cap) {
            gw_pair *more = malloc(cap * 2 * sizeof *more);

            if (more == NULL) {
                forget(h);
                return 0;
            }
            memcpy(more, h->pairs, count * sizeof *more);
            if (h->pairs != h->few) {
                free(h->pairs);
            }
            h->pairs = more;
            cap *= 2;
        }
        h->pairs[count++] = (gw_pair) {
            { at, (size_t) (colon - at) },
            { colon + 2, (size_t) (stop - colon - 2) },
        };
        at = stop + 2;
    }
    h->response = (gw_response) {
        .status = (uint16_t) status, .flags = (uint16_t) flags, .headers = h->pairs, .header_count = count,
    };
    if (napi_get_value_string_latin1(env, argv[2], NULL, 0, &reason_len) == napi_ok
        && reason_len > 0 && reason_len < 512)
    {
        char *reason = scratch + h->used;

        napi_get_value_string_latin1(env, argv[2], reason, reason_len + 1, &reason_len);
        h->response.reason = (gw_str) { reason, reason_len };
        h->used += reason_len;
    }
    return 1;
}

/* ---- answers ---- */

/* (handle, status, flags, reason, fields, body): the whole of it; what the library says */
napi_value
answer_reply(napi_env env, napi_callback_info info)
{
    napi_value   argv[6];
    gw_deferred *d;
    gw_chunk     chunk;
    gw_result    rc;
    head         h;

    if (!args(env, info, 6, argv) || !handle(env, argv[0], &d)) {
        return NULL;
    }
    if (!head_of(env, argv + 1, &h)) {
        gw_deferred_end(d, GW_ERR_MEMORY);
        return number(env, GW_ERR_MEMORY);
    }
    if (chunk_of(env, argv[5], h.used, &chunk)) {
        rc = gw_deferred_reply(d, &h.response, &chunk, 1);
    } else {
        rc = GW_ERR_MEMORY;
        gw_deferred_end(d, rc);
    }
    forget(&h);
    return number(env, rc);
}

/* (handle, status, flags, reason, fields) */
napi_value
answer_start(napi_env env, napi_callback_info info)
{
    napi_value   argv[5];
    gw_deferred *d;
    gw_result    rc = GW_ERR_MEMORY;
    head         h;

    if (!args(env, info, 5, argv) || !handle(env, argv[0], &d)) {
        return NULL;
    }
    if (head_of(env, argv + 1, &h)) {
        rc = gw_deferred_start(d, &h.response);
        forget(&h);
    }
    return number(env, rc);
}

/* (handle, piece): GW_AGAIN where it was not taken */
napi_value
answer_write(napi_env env, napi_callback_info info)
{
    napi_value   argv[2];
    gw_deferred *d;
    gw_chunk     chunk;
    gw_result    rc = GW_ERR_MEMORY;

    if (!args(env, info, 2, argv) || !handle(env, argv[0], &d)) {
        return NULL;
    }
    if (chunk_of(env, argv[1], 0, &chunk)) {
        chunk.flags = GW_CHUNK_FLUSH;
        rc = gw_deferred_write(d, &chunk);
        if (rc == GW_AGAIN && chunk.release != NULL) {
            chunk.release(chunk.arg);
        }
    }
    return number(env, rc);
}

/* (handle, outcome) */
napi_value
answer_end(napi_env env, napi_callback_info info)
{
    napi_value   argv[2];
    gw_deferred *d;
    int32_t      outcome;

    if (!args(env, info, 2, argv) || !handle(env, argv[0], &d)) {
        return NULL;
    }
    TRY(napi_get_value_int32(env, argv[1], &outcome));
    return number(env, gw_deferred_end(d, outcome));
}

/* (handle, text): the application has failed: lines in the log, and a 500 where
   the answer has not begun. */
napi_value
answer_fail(napi_env env, napi_callback_info info)
{
    napi_value   argv[2];
    gw_deferred *d;
    gw_environ  *environ;
    size_t       len = 0;

    if (!args(env, info, 2, argv) || !handle(env, argv[0], &d)) {
        return NULL;
    }
    environ = gw_deferred_environ(d);
    napi_get_value_string_utf8(env, argv[1], scratch, SCRATCH, &len);
    for (char *at = scratch, *end = at + len; at < end; ) {
        char *stop = memchr(at, '\n', (size_t) (end - at));

        stop = stop != NULL ? stop : end;
        gw_log(environ, GW_LOG_ERROR, at, (size_t) (stop - at));
        at = stop + 1;
    }
    return number(env, gw_deferred_end(d, GW_ERR_APP));
}
