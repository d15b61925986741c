/*
 * trust.c - an application that says what it was told of its client.
 *
 *     trust [option=value ...]
 *
 * Every answer is one line for each variable of the list below, and one for each
 * header; `/counts` and `/listeners` tell of the server instead.
 */
#define _POSIX_C_SOURCE 200809L
#include <gateway.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    "REQUEST_METHOD", "PATH_INFO", "REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME",
    "SERVER_PORT", "HTTPS", "wsgi.url_scheme", "REMOTE_USER", "PROXY_PROTOCOL",
    "PROXY_ADDR", "PROXY_PORT", "PROXY_AUTHORITY", "PROXY_UNIQUE_ID",
    "SSL_PROTOCOL", "SSL_CIPHER", "SSL_CLIENT_S_DN_CN", "SSL_CLIENT_VERIFY",
    "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_A_B",
};

static gw_server *server;

static size_t
counts(char *text, size_t cap)
{
    gw_stats s = GW_INIT(gw_stats);

    gw_server_stats(server, &s);
    return (size_t) snprintf(text, cap,
                             "untrusted %d rejected %d limited %d timeouts %d "
                             "requests %d connections %d",
                             (int) s.untrusted, (int) s.rejected,
                             (int) s.limited, (int) s.timeouts,
                             (int) s.requests, (int) s.connections);
}

static size_t
listeners(char *text, size_t cap)
{
    gw_listener_info  at = GW_INIT(gw_listener_info);
    uint32_t          cursor = 0;
    size_t            used = 0;

    while (gw_server_listeners(server, &cursor, &at) == GW_OK) {
        used += (size_t) snprintf(text + used, cap - used, "%s %u\n",
                                  at.address, at.protocol);
    }
    return used;
}

static size_t
variables(gw_environ *env, char *text, size_t cap)
{
    size_t  i, used = 0;
    gw_str  value;

    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (gw_environ_get(env, names[i], strlen(names[i]), &value) < 0) {
            continue;
        }
        used += (size_t) snprintf(text + used, cap - used, "%s=%.*s\n", names[i],
                                  (int) value.len, value.data);
    }
    return used;
}

static gw_result
app(void *ctx, gw_environ *env, gw_start_response_fn start, void *sr,
    gw_body *body)
{
    gw_response  ok = { .status = 200 };
    char         text[4096];
    size_t       len;
    gw_result    rc = start(sr, &ok, NULL);

    (void) ctx;
    if (rc < 0) {
        return rc;
    }
    if (strcmp(gw_environ_cstr(env, env->path_info), "/counts") == 0) {
        len = counts(text, sizeof text);
    } else if (strcmp(gw_environ_cstr(env, env->path_info), "/listeners") == 0) {
        len = listeners(text, sizeof text);
    } else {
        len = variables(env, text, sizeof text);
    }
    return gw_body_copy(env, body, text, len);
}

static void
stop(int signo)
{
    (void) signo;
    gw_server_stop(server, GW_STOP_GRACEFUL);
}

int
main(int argc, char **argv)
{
    gw_app            self = GW_INIT(gw_app);
    gw_error          err = GW_INIT(gw_error);
    gw_config        *cfg = gw_config_new();
    struct sigaction  act = { .sa_handler = stop };
    gw_result         rc;
    int64_t           wait_ms = 0;
    int               i;

    self.call = app;
    self.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;
    rc = gw_config_app(cfg, &self, &err);
    for (i = 1; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');

        *value++ = '\0';
        if (strcmp(argv[i], "listen") == 0) {
            /* address and options of a listener of its own, after a space */
            gw_listener  one = GW_INIT(gw_listener);
            char        *options = strchr(value, ' ');

            if (options != NULL) {
                *options++ = '\0';
            }
            one.address = value;
            one.options = options;
            one.protocol = GW_PROTO_AUTO;
            rc = gw_config_listen(cfg, &one, &err);
        } else {
            rc = gw_config_set(cfg, argv[i], value, &err);
        }
    }
    if (rc < 0) {
        gw_config_free(cfg);
    } else {
        rc = gw_server_new(cfg, &server, &err);
    }
    if (rc < 0) {
        fprintf(stderr, "trust: %s\n", err.message);
        return 1;
    }
    sigaction(SIGTERM, &act, NULL);
    while ((rc = gw_server_turn(server, &wait_ms)) == GW_OK) {
        poll(&(struct pollfd){ gw_server_fd(server), POLLIN, 0 }, 1, (int) wait_ms);
    }
    gw_server_free(server);
    return rc == GW_EOF ? 0 : 1;
}
