/*
 * libevent_host.c - applications inside of somebody else's server: libevent's.
 *
 *     cc -o libevent_host libevent_host.c -lgateway -levent
 *     ./libevent_host 127.0.0.1 8000 ./hi.so [option=value ...]
 *
 * libevent speaks HTTP with the clients; each request goes in as an environ and
 * a body, and its answer comes out as a head and pieces, which are released
 * when libevent has sent them.  module.c is a module to try it with.
 */
#define _DEFAULT_SOURCE
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <gateway.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

typedef struct {
    gw_exchange           *x;
    struct evhttp_request *req;
    struct evbuffer       *piece;
    struct event          *closed;
    int                    has_head;
} job;

static gw_host *host;

static gw_str
str(const char *text)
{
    gw_str s = { text, text != NULL ? strlen(text) : 0 };

    return s;
}

static void
end(job *j)
{
    gw_exchange_free(j->x);
    event_free(j->closed);
    evbuffer_free(j->piece);
    free(j);
}

static void
client_left(struct evhttp_connection *conn, void *arg)
{
    (void) conn;
    end(arg);                           /* whatever its application is doing */
}

/* libevent does not look while it answers. */
static void
on_closed(evutil_socket_t fd, short what, void *conn)
{
    (void) fd, (void) what;
    evhttp_connection_free(conn);       /* calls client_left */
}

/* Nothing more than this, and no end: the client sees that something is missing. */
static void
cut(job *j)
{
    struct evhttp_connection *conn = evhttp_request_get_connection(j->req);

    evhttp_connection_set_closecb(conn, NULL, NULL);
    end(j);
    evhttp_connection_free(conn);
}

static void
finish(job *j)
{
    evhttp_connection_set_closecb(evhttp_request_get_connection(j->req), NULL, NULL);
    evhttp_send_reply_end(j->req);
    end(j);
}

static void
sent(const void *data, size_t len, void *arg)
{
    gw_chunk *chunk = arg;

    (void) data, (void) len;
    chunk->release(chunk->arg);         /* also when the exchange was freed before */
    free(chunk);
}

static int
send_chunk(job *j, const gw_chunk *chunk)
{
    gw_chunk *kept;
    int       rc;

    if (chunk->flags & GW_CHUNK_FILE) {
        rc = evbuffer_add_file(j->piece, dup(chunk->fd), chunk->offset, (off_t) chunk->len);
        chunk->release(chunk->arg);
    } else {
        kept = malloc(sizeof *kept);
        *kept = *chunk;
        rc = evbuffer_add_reference(j->piece, chunk->data, chunk->len, sent, kept);
    }
    if (rc == 0) {
        evhttp_send_reply_chunk(j->req, j->piece);
    }
    return rc;
}

static void
send_head(job *j, const gw_response *head)
{
    char   name[256], value[4096], reason[256];
    size_t i;

    for (i = 0; i < head->header_count; i++) {
        const gw_pair *h = &head->headers[i];

        snprintf(name, sizeof name, "%.*s", (int) h->name.len, h->name.data);
        snprintf(value, sizeof value, "%.*s", (int) h->value.len, h->value.data);
        evhttp_add_header(evhttp_request_get_output_headers(j->req), name, value);
    }
    snprintf(reason, sizeof reason, "%.*s", (int) head->reason.len, head->reason.data);
    evhttp_send_reply_start(j->req, head->status, reason[0] ? reason : NULL);
    j->has_head = 1;
}

/* Pull what is there.  How much that is at once is the library's business (output_buffer): it goes on when pieces
   were released. */
static void
pump(job *j)
{
    gw_response head;
    gw_chunk    chunk;
    gw_result   rc;

    while (!j->has_head) {
        if ((rc = gw_exchange_head(j->x, &head)) == GW_AGAIN) {
            return;
        }
        if (rc < 0) {
            cut(j);
            return;
        }
        if (head.status >= 200) {           /* libevent has no way to say the others */
            send_head(j, &head);
        }
    }
    while ((rc = gw_exchange_pull(j->x, &chunk)) == GW_OK) {
        if (send_chunk(j, &chunk) < 0) {
            rc = GW_ERR_IO;
            break;
        }
        if (chunk.flags & GW_CHUNK_LAST) {
            rc = GW_EOF;
            break;
        }
    }
    if (rc == GW_EOF) {
        finish(j);
    } else if (rc < 0) {
        cut(j);
    }
}

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
    gw_exchange *x;
    uint32_t     is;

    (void) fd, (void) what, (void) arg;
    while (gw_host_next(host, &x, &is) == GW_OK) {
        pump(gw_exchange_user(x));
    }
}

static const char *
method_of(struct evhttp_request *req)
{
    switch (evhttp_request_get_command(req)) {
    case EVHTTP_REQ_HEAD:    return "HEAD";
    case EVHTTP_REQ_POST:    return "POST";
    case EVHTTP_REQ_PUT:     return "PUT";
    case EVHTTP_REQ_DELETE:  return "DELETE";
    case EVHTTP_REQ_OPTIONS: return "OPTIONS";
    case EVHTTP_REQ_PATCH:   return "PATCH";
    default:                 return "GET";
    }
}

/* A request is there, with its body. */
static void
on_request(struct evhttp_request *req, void *arg)
{
    struct evhttp_connection *conn = evhttp_request_get_connection(req);
    const struct evhttp_uri  *uri = evhttp_request_get_evhttp_uri(req);
    struct evbuffer          *body = evhttp_request_get_input_buffer(req);
    struct evkeyval          *h;
    gw_pair                   headers[128];
    gw_environ                env = GW_INIT(gw_environ);
    gw_chunk                  chunk = { 0 };
    job                      *j = calloc(1, sizeof *j);
    size_t                    len = 0;
    char                     *path, *peer, port[8];
    ev_uint16_t               peer_port;

    (void) arg;
    path = evhttp_uridecode(evhttp_uri_get_path(uri), 0, &len);
    evhttp_connection_get_peer(conn, &peer, &peer_port);
    snprintf(port, sizeof port, "%u", peer_port);
    TAILQ_FOREACH(h, evhttp_request_get_input_headers(req), next) {
        if (env.header_count < sizeof headers / sizeof *headers) {
            headers[env.header_count++] = (gw_pair) { str(h->key), str(h->value) };
        }
    }
    env.headers = headers;
    env.request_method = str(method_of(req));
    env.request_uri = str(evhttp_request_get_uri(req));
    env.path_info = (gw_str) { path, len };
    env.query_string = str(evhttp_uri_get_query(uri));
    env.server_protocol = str(req->minor == 0 ? "HTTP/1.0" : "HTTP/1.1");
    env.remote_addr = str(peer);
    env.remote_port = str(port);
    chunk.len = evbuffer_get_length(body);
    env.content_length = chunk.len > 0 ? (int64_t) chunk.len : -1;

    if (path == NULL || gw_exchange_new(host, &env, j, &j->x) < 0) {
        free(path);
        free(j);
        evhttp_send_error(req, 400, NULL);
        return;
    }
    free(path);                         /* the exchange has a copy of everything */
    j->req = req;
    j->piece = evbuffer_new();
    j->closed = event_new(evhttp_connection_get_base(conn),
                          bufferevent_getfd(evhttp_connection_get_bufferevent(conn)), EV_CLOSED,
                          on_closed, conn);
    event_add(j->closed, NULL);
    evhttp_connection_set_closecb(conn, client_left, j);
    if (chunk.len > 0) {
        chunk.data = evbuffer_pullup(body, -1);
        gw_exchange_feed(j->x, &chunk);     /* too much of it is a 413 */
    }
    if (gw_exchange_run(j->x) == GW_OK) {
        pump(j);
    }
}

static void
on_signal(evutil_socket_t number, short what, void *base)
{
    (void) number, (void) what;
    event_base_loopexit(base, NULL);
}

int
main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    struct evhttp     *server = evhttp_new(base);
    struct event      *ready, *stop;
    gw_config         *cfg = gw_config_new();
    gw_error           err = GW_INIT(gw_error);
    gw_result          rc = argc > 3 ? GW_OK : GW_ERR_INVALID;
    int                i;

    for (i = 4; rc >= 0 && i < argc; i++) {
        char *value = strchr(argv[i], '=');

        if (value != NULL) {
            *value++ = '\0';
        }
        rc = gw_config_set(cfg, argv[i], value != NULL ? value : "", &err);
    }
    if (rc < 0 || gw_config_module(cfg, "/", argv[3], "", &err) < 0
        || gw_host_new(cfg, &host, &err) < 0)
    {
        fprintf(stderr, "%s\n", argc > 3 ? err.message : "usage: libevent_host address port module");
        return 1;
    }
    ready = event_new(base, gw_host_fd(host), EV_READ | EV_PERSIST, on_ready, NULL);
    stop = evsignal_new(base, 15, on_signal, base);
    event_add(ready, NULL);
    event_add(stop, NULL);
    evhttp_set_gencb(server, on_request, NULL);
    if (evhttp_bind_socket(server, argv[1], (ev_uint16_t) atoi(argv[2])) < 0) {
        fprintf(stderr, "%s:%s: cannot listen\n", argv[1], argv[2]);
        return 1;
    }
    event_base_dispatch(base);

    evhttp_free(server);                /* its clients leave */
    gw_host_free(host);
    event_free(ready);
    event_free(stop);
    event_base_free(base);
    return 0;
}
