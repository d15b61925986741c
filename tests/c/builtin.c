/*
 * builtin.c - a server with a ready-made application or an application that
 * says what it is told, in ready-made middleware.
 *
 *     builtin [app="name key=value ..."] [use="name key=value ..."]...
 *             [wrap="name key=value ..."]... [option=value ...]
 *
 * wrap= puts middleware around the application here, and not in the library.
 *
 * Without app=, the answer's status and fields are those of the request's fields
 * "Say": "404" or "Name: value".  The body is the variable that the query
 * names.  The path says how it is answered: /next from next(), /write by
 * write(), /again with a second head that replaces the first, which is a 500's.
 */
#include <gateway.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
is(gw_str text, const char *other)
{
    return text.len == strlen(other) && memcmp(text.data, other, text.len) == 0;
}

/* An answer that is said by next(). */
typedef struct {
    gw_environ           *env;
    gw_start_response_fn  start_response;
    void                 *sr;
    gw_str                text;
    int                   is_said;
} late;

static gw_result
say(gw_environ *env, gw_start_response_fn start_response, void *sr,
    gw_writer *writer, uint16_t flags)
{
    gw_pair      fields[40];
    gw_response  head = { .status = 200, .flags = flags, .headers = fields };
    size_t       i;

    for (i = 0; i < env->header_count && head.header_count < 40; i++) {
        gw_str       value = env->headers[i].value;
        const char  *colon = memchr(value.data, ':', value.len);
        gw_pair     *field = &fields[head.header_count];

        if (!is(env->headers[i].name, "Say")) {
            continue;
        }
        if (colon == NULL) {
            head.status = (uint16_t) atoi(gw_environ_cstr(env, value));
            continue;
        }
        field->name.data = value.data;
        field->name.len = (size_t) (colon - value.data);
        field->value.data = colon + 2;
        field->value.len = value.len - field->name.len - 2;
        head.header_count++;
    }
    return start_response(sr, &head, writer);
}

static gw_result
next(void *ctx, gw_chunk *out)
{
    late       *l = ctx;
    gw_result   rc;

    if (l->is_said) {
        return GW_EOF;
    }
    l->is_said = 1;
    rc = say(l->env, l->start_response, l->sr, NULL, 0);
    if (rc < 0) {
        return rc;
    }
    out->data = l->text.data;
    out->len = l->text.len;
    return GW_OK;
}

static int closed;

static void
on_close(void *ctx)
{
    (void) ctx;
    closed++;
}

static gw_result
echo(void *ctx, gw_environ *env, gw_start_response_fn start_response, void *sr,
     gw_body *body)
{
    gw_response  first = { .status = 500 };
    gw_str       name = env->query_string, path = env->path_info, text;
    gw_chunk     chunk = { .flags = 0 };
    gw_writer    writer;
    gw_result    rc;

    (void) ctx;
    if (gw_environ_get(env, name.data, name.len, &text) < 0) {
        text = GW_STR("none");
    }
    if (is(path, "/closed")) {
        char digits[16];

        rc = gw_body_copy(env, body, digits,
                          (size_t) snprintf(digits, sizeof digits, "%d", closed));
        return rc < 0 ? rc : say(env, start_response, sr, NULL, 0);
    }
    body->close = on_close;
    if (is(path, "/next")) {
        late *l = gw_environ_alloc(env, sizeof *l);

        if (l == NULL) {
            return GW_ERR_MEMORY;
        }
        *l = (late) { env, start_response, sr, text, 0 };
        body->ctx = l;
        body->next = next;
        return GW_OK;
    }
    if (is(path, "/write")) {
        rc = say(env, start_response, sr, &writer, 0);
        chunk.data = text.data;
        chunk.len = text.len;
        return rc < 0 ? rc : writer.write(writer.ctx, &chunk);
    }
    if (is(path, "/again")) {
        rc = start_response(sr, &first, NULL);
        rc = rc < 0 ? rc : say(env, start_response, sr, NULL,
                               GW_RESPONSE_REPLACE);
    } else if (is(path, "/sorry")) {
        first.flags = GW_RESPONSE_REPLACE;
        rc = say(env, start_response, sr, NULL, 0);
        rc = rc < 0 ? rc : start_response(sr, &first, NULL);
    } else {
        rc = say(env, start_response, sr, NULL, 0);
    }
    return rc < 0 ? rc : gw_body_copy(env, body, text.data, text.len);
}

int
main(int argc, char **argv)
{
    gw_app      app = { .size = sizeof app, .call = echo,
                        .flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING };
    gw_app      wrapped[8], outer = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();
    gw_result   rc = GW_OK;
    int         i, wraps = 0;

    for (i = 1; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '='), *args;

        if (value == NULL) {
            fprintf(stderr, "builtin: %s: not option=value\n", argv[i]);
            return 1;
        }
        *value++ = '\0';
        if (strcmp(argv[i], "app") == 0) {
            args = strchr(value, ' ');
            if (args != NULL) {
                *args++ = '\0';
            }
            rc = gw_app_builtin(value, args, &app, &err);
        } else if (strcmp(argv[i], "wrap") == 0 && wraps < 8) {
            wrapped[wraps] = app;
            rc = gw_middleware_builtin(value, &wrapped[wraps++], &outer, &err);
            app = rc < 0 ? app : outer;
        } else if (strcmp(argv[i], "use") == 0) {
            rc = gw_config_use(cfg, gw_middleware_builtin, value, NULL, &err);
        } else {
            rc = gw_config_set(cfg, argv[i], value, &err);
        }
    }
    if (rc >= 0) {
        rc = gw_config_app(cfg, &app, &err);                /* takes app */
    }
    if (rc < 0) {
        gw_config_free(cfg);
    } else {
        rc = gw_serve(cfg, &err);                           /* takes cfg */
    }
    while (wraps-- > 0) {                                   /* which took app, and not what is in it */
        if (wrapped[wraps].drop != NULL) {
            wrapped[wraps].drop(wrapped[wraps].ctx);
        }
    }
    if (rc < 0) {
        fprintf(stderr, "builtin: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
