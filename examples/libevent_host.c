/*
 * libevent_host.c - an application inside of somebody else's server, libevent's.
 *
 *     cc -o libevent_host libevent_host.c -lgateway -levent
 *     ./libevent_host 127.0.0.1 8000 ./hi.so [option=value ...]
 *     curl http://127.0.0.1:8000/
 *
 * libevent speaks HTTP with the clients.  Each request goes in as an environ and a body; the answer
 * comes out as a head and pieces, which are released when they were sent.  hi.so is made of module.c.
 */
#define _DEFAULT_SOURCE
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <gateway.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

typedef struct {
    gw_exchange              *x;
    struct evhttp_request    *req;
    struct evhttp_connection *conn;
    struct evbuffer          *piece;
    struct event             *closed;
    int                       has_head;
} job;

static gw_host *host;
static int      stops;

static gw_str
str(const char *text)
{
    return (gw_str) { text, text != NULL ? strlen(text) : 0 };
}

/* Of the exchange; at any moment. */
static void
end(job *j)
{
    evhttp_connection_set_closecb(j->conn, NULL, NULL);
    gw_exchange_free(j->x);
    event_free(j->closed);
    evbuffer_free(j->piece);
    free(j);
}

static void
client_left(struct evhttp_connection *conn, void *arg)
{
    struct evhttp_request *req = ((job *) arg)->req;

    (void) conn;
    end(arg);
    if (!stops) {
        evhttp_request_free(req);                       /* libevent has left it to us */
    }
}

static void
cut(job *j)                                             /* the client sees that something is missing */
{
    struct evhttp_connection *conn = j->conn;

    end(j);
    bufferevent_disable(evhttp_connection_get_bufferevent(conn), EV_READ | EV_WRITE);
    evhttp_connection_free(conn);
}

static void
on_closed(evutil_socket_t fd, short what, void *j)      /* libevent does not look while it answers */
{
    (void) fd, (void) what;
    cut(j);
}

static void
sent(const void *data, size_t len, void *arg)           /* perhaps long after end() */
{
    gw_chunk *chunk = arg;

    (void) data, (void) len;
    chunk->release(chunk->arg);
    free(chunk);
}

static void
send_head(job *j, const gw_response *head)
{
    struct evkeyvalq *fields = evhttp_request_get_output_headers(j->req);
    char              text[2][8192];

    for (size_t i = 0; i < head->header_count; i++) {
        const gw_pair *h = &head->headers[i];

        snprintf(text[0], sizeof text[0], "%.*s", (int) h->name.len, h->name.data);
        snprintf(text[1], sizeof text[1], "%.*s", (int) h->value.len, h->value.data);
        evhttp_add_header(fields, text[0], text[1]);
    }
    snprintf(text[0], sizeof text[0], "%.*s", (int) head->reason.len, head->reason.data);
    evhttp_send_reply_start(j->req, head->status, head->reason.len > 0 ? text[0] : NULL);
    j->has_head = 1;
}

static void
send_chunk(job *j, const gw_chunk *chunk)
{
    gw_chunk *kept = malloc(sizeof *kept);

    *kept = *chunk;
    if (chunk->flags & GW_CHUNK_FILE) {
        evbuffer_add_file(j->piece, dup(chunk->fd), chunk->offset, (off_t) chunk->len);
        sent(NULL, 0, kept);
    } else {
        evbuffer_add_reference(j->piece, chunk->data, chunk->len, sent, kept);
    }
    evhttp_send_reply_chunk(j->req, j->piece);
}

/* Pull what is there.  How much that is at once is the library's business (output_buffer): it goes
   on when pieces were released. */
static void
pump(job *j)
{
    struct evhttp_request *req = j->req;
    gw_response            head;
    gw_chunk               chunk;
    gw_result              rc = GW_OK;

    while (rc == GW_OK && !j->has_head) {
        rc = gw_exchange_head(j->x, &head);
        if (rc == GW_OK && head.status >= 200) {        /* libevent cannot say the others */
            send_head(j, &head);
        }
    }
    while (rc == GW_OK && (rc = gw_exchange_pull(j->x, &chunk)) == GW_OK) {
        send_chunk(j, &chunk);
    }
    if (rc == GW_EOF) {
        end(j);
        evhttp_send_reply_end(req);                     /* may free the connection */
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

/* A request is there, with its body. */
static void
on_request(struct evhttp_request *req, void *base)
{
    static const char *const methods[] = { "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS" };
    struct evhttp_connection *conn = evhttp_request_get_connection(req);
    const struct evhttp_uri  *uri = evhttp_request_get_evhttp_uri(req);
    struct evbuffer          *body = evhttp_request_get_input_buffer(req);
    gw_chunk                  chunk = { .len = evbuffer_get_length(body) };
    gw_environ                env = GW_INIT(gw_environ);
    job                      *j = calloc(1, sizeof *j);
    gw_pair                   headers[128];
    char                     *path, *peer;
    struct evkeyval          *h;
    ev_uint16_t               port;

    for (int i = 0; i < 6; i++) {
        env.request_method = (int) evhttp_request_get_command(req) == 1 << i ? str(methods[i])
                                                                             : env.request_method;
    }
    TAILQ_FOREACH(h, evhttp_request_get_input_headers(req), next) {
        if (env.header_count < sizeof headers / sizeof *headers) {
            headers[env.header_count++] = (gw_pair) { str(h->key), str(h->value) };
        }
    }
    path = evhttp_uridecode(evhttp_uri_get_path(uri), 0, &env.path_info.len);
    evhttp_connection_get_peer(conn, &peer, &port);
    env.headers = headers;
    env.path_info.data = path;
    env.query_string = str(evhttp_uri_get_query(uri));
    env.request_uri = str(evhttp_request_get_uri(req));
    env.server_protocol = str(req->minor == 0 ? "HTTP/1.0" : "HTTP/1.1");
    env.remote_addr = str(peer);
    env.content_length = chunk.len > 0 ? (int64_t) chunk.len : -1;
    if (gw_exchange_new(host, &env, j, &j->x) < 0) {
        evhttp_send_error(req, 400, NULL);
        free(j);
        free(path);
        return;
    }
    free(path);                                         /* the exchange has copies */
    j->req = req;
    j->conn = conn;
    j->piece = evbuffer_new();
    j->closed = event_new(base, bufferevent_getfd(evhttp_connection_get_bufferevent(conn)),
                          EV_CLOSED, on_closed, j);
    event_add(j->closed, NULL);
    evhttp_connection_set_closecb(conn, client_left, j);
    chunk.data = evbuffer_pullup(body, -1);
    if (chunk.len > 0) {
        gw_exchange_feed(j->x, &chunk);                 /* too much of it is a 413 */
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

int main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    struct evhttp     *server = evhttp_new(base);
    struct event      *events[2];
    gw_config         *cfg = gw_config_new();
    gw_error           err = { .size = sizeof err, .message = "usage: address port module.so" };
    gw_result          rc = argc > 3 ? GW_OK : GW_ERR_INVALID;

    signal(SIGPIPE, SIG_IGN);                           /* libevent writes to whoever has left */
    for (int i = 4; rc >= 0 && i < argc; i++) {
        char *value = strchr(argv[i], '=');

        if (value != NULL) {
            *value++ = '\0';
        }
        rc = gw_config_set(cfg, argv[i], value != NULL ? value : "", &err);
    }
    if (rc < 0 || gw_config_module(cfg, "/", argv[3], "", &err) < 0
        || gw_host_new(cfg, &host, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    events[0] = event_new(base, gw_host_fd(host), EV_READ | EV_PERSIST, on_ready, NULL);
    events[1] = evsignal_new(base, SIGTERM, on_signal, base);
    evhttp_set_gencb(server, on_request, base);
    if (event_add(events[0], NULL) < 0 || event_add(events[1], NULL) < 0
        || evhttp_bind_socket(server, argv[1], (ev_uint16_t) atoi(argv[2])) < 0) {
        perror(argv[1]);
        return 1;
    }
    event_base_dispatch(base);
    stops = 1;
    evhttp_free(server);                                /* its clients leave */
    gw_host_free(host);
    event_free(events[0]);
    event_free(events[1]);
    event_base_free(base);
    return 0;
}
