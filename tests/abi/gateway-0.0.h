/*
 * The header as it was when modules came (commit 5e3612a), for
 * tests/abi_guard.rs: a module that was compiled against this one runs on the
 * library of today.  gw_hooks had 56 octets then (today 168), gw_worker 24
 * (today 32), and gw_stats 184; gw_module and gw_module_args were as they are.
 * It stays as it is, but for this comment.  Structs that begin with `size` may
 * have grown since, at their ends; had one of those below changed otherwise, a
 * module from then would be refused by another GW_ABI, or would break.
 */
/*
 * gateway.h - libgateway, an embeddable application server.   (C11; C++11 too)
 *
 * Generated from the Rust sources: change those, then run
 * GATEWAY_HEADER=update cargo check
 *
 * Rules that hold for every declaration below.
 *
 *   Results    gw_result: 0 done, > 0 a normal outcome that is not "done",
 *              < 0 an error.  Outputs come last, through pointers, and are
 *              written only when the result is >= 0 (gw_error: when < 0).
 *   Text       pointer + length, octets, not NUL-terminated.  Only names that
 *              come from a command line (config keys, values, addresses,
 *              paths) are NUL-terminated C strings.
 *   Growth     A struct whose first member is `size` may grow at its end.
 *              Whoever allocates it sets `size` (GW_INIT); members past
 *              `size` read as zero.  A struct without `size` is frozen.
 *   Ownership  Arguments are borrowed for the call.  One that comes with a
 *              `drop` or `release` function is taken, whatever the call
 *              returns (GW_AGAIN alone gives it back), and dropped exactly
 *              once.  gw_x_free(NULL) does nothing.
 *   Threads    [any] any thread, concurrently.    [one] any thread, one call
 *              at a time per object.  [req] inside the application call only.
 *              [sig] also from a signal handler.
 *   Fork       Nothing here survives a fork() it did not make itself, except
 *              gw_config: create servers and arbiters after forking.
 *   Callbacks  Take their context first.  They must not unwind through us:
 *              no C++ exception, no longjmp.  No lock of ours is held.
 *   Panics     never leave the library; the call returns GW_ERR_PANIC.
 *   Zeroed     Structs that we hand out to be filled (gw_body, the gw_chunk of
 *              next) arrive zeroed, `size` set.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- 1. versions ------------------------------------------------------- */

#define GW_VERSION_MAJOR 0
#define GW_VERSION_MINOR 1
#define GW_VERSION_PATCH 0
#define GW_VERSION_NUMBER \
    ((GW_VERSION_MAJOR << 16) | (GW_VERSION_MINOR << 8) | GW_VERSION_PATCH)
#define GW_ABI 0                    /* the N of libgateway.so.N */

#define GW_FEATURE_FORK     (1u << 0)   /* workers are forked */
#define GW_FEATURE_SENDFILE (1u << 2)   /* files go out by sendfile */
#define GW_FEATURE_MODULES  (1u << 3)   /* modules can be loaded */

const char *gw_version(void);       /* [sig] static: "0.1.0" */
uint32_t gw_version_number(void);   /* [sig] of the library that is loaded */
uint32_t gw_abi(void);              /* [sig] compare with GW_ABI */
uint64_t gw_features(void);         /* [sig] GW_FEATURE_* bits */

/* ---- 2. results -------------------------------------------------------- */

/* 0 done, > 0 a normal outcome, < 0 an error */
typedef int32_t gw_result;

#define GW_OK       0               /* done */
#define GW_AGAIN    1               /* not now; you will be told when */
#define GW_EOF      2               /* there is no more */
#define GW_DEFERRED 3               /* an application will answer later */

#define GW_ERR_INVALID     (-1)     /* NULL, out of range, wrong size */
#define GW_ERR_STATE       (-2)     /* right call, wrong moment */
#define GW_ERR_MEMORY      (-3)     /* there is none */
#define GW_ERR_IO          (-4)     /* see gw_error.os_errno */
#define GW_ERR_PANIC       (-5)     /* a bug of ours; the object is dead */
#define GW_ERR_UNSUPPORTED (-6)     /* not on this platform, or mode */
#define GW_ERR_UNKNOWN     (-7)     /* no such option, symbol, protocol */
#define GW_ERR_NOT_FOUND   (-8)     /* no such variable */
#define GW_ERR_LIMIT       (-9)     /* a configured limit was reached */
#define GW_ERR_PROTOCOL    (-10)    /* malformed request, or response head */
#define GW_ERR_CLOSED      (-11)    /* the peer is gone */
#define GW_ERR_TIMEOUT     (-12)    /* it took too long */
#define GW_ERR_BUSY        (-13)    /* would block a thread that must not */
#define GW_ERR_ABI         (-14)    /* module or caller is too new */
#define GW_ERR_APP         (-15)    /* for applications to return: a 500 */

typedef struct gw_error {           /* filled by the slow-path calls */
    uint32_t  size;                 /* of the caller's struct */
    gw_result code;                 /* what the call returned */
    int32_t   os_errno;             /* 0 when none was involved */
    int32_t   exit_status;          /* what main should return: 1, 3, 4 ... */
    char      message[240];         /* NUL-terminated, truncated if need be */
} gw_error;

/* [sig] "GW_ERR_IO"; a number that is none of ours has a name, too. */
const char *gw_result_name(gw_result rc);

const char *gw_result_text(gw_result rc); /* [sig] "input/output error" */

/* ---- 3. octets, pairs, chunks (frozen) --------------------------------- */

/* Octets, not NUL-terminated.  A value that is missing has no `data`; an
   empty one has. */
typedef struct gw_str {
    const char *data;
    size_t      len;
} gw_str;

typedef struct gw_pair {            /* a header, or a variable */
    gw_str name;
    gw_str value;
} gw_pair;

typedef struct gw_chunk {           /* a piece of a body */
    const void *data;               /* memory; NULL for a file range */
    uint64_t    len;                /* octets of either */
    int64_t     offset;             /* of a file range */
    int32_t     fd;                 /* of a file range; unused otherwise */
    uint32_t    flags;              /* GW_CHUNK_* */
    void      (*release)(void *arg); /* NULL: see the call that uses it */
    void       *arg;                /* of `release` */
} gw_chunk;

#define GW_CHUNK_FILE  (1u << 0)    /* fd + offset + len, not data + len */
#define GW_CHUNK_FLUSH (1u << 1)    /* do not wait for company */
#define GW_CHUNK_LAST  (1u << 2)    /* nothing follows */

/* ---- 4. the calling convention ----------------------------------------- */

typedef struct gw_input {           /* wsgi.input (frozen) */
    /* see gw_read */
    gw_result (*read)(void *ctx, void *buf, size_t cap, uint32_t flags,
                      size_t *n);
    void       *ctx;                /* of `read` */
} gw_input;

#define GW_NOWAIT (1u << 0)         /* GW_AGAIN instead of blocking */

/* A request.  All of it lives as long as the request does; `size` and
   `impl` are the library's. */
typedef struct gw_environ {
    uint32_t       size;            /* of this struct */
    uint32_t       flags;           /* GW_ENV_* */
    gw_str         request_method;  /* a token, as the client spells it */
    gw_str         script_name;     /* the part of the path that led here;
                                       never "/" */
    gw_str         path_info;       /* percent-decoded octets */
    gw_str         query_string;    /* as it came, without "?" */
    gw_str         request_uri;     /* as it came */
    gw_str         content_type;    /* missing when there is none */
    gw_str         server_name;     /* never empty */
    gw_str         server_port;     /* never empty */
    gw_str         server_protocol; /* "HTTP/1.1" */
    gw_str         remote_addr;     /* "unix:" for a peer on a unix socket */
    gw_str         remote_port;     /* empty for a peer on a unix socket */
    gw_str         url_scheme;      /* "http", "https" */
    int64_t        content_length;  /* -1: absent, or a chunked body */
    const gw_pair *headers;         /* as received, in order */
    size_t         header_count;
    const gw_pair *vars;            /* further variables: uwsgi_param, SSL_* */
    size_t         var_count;
    gw_input       input;           /* replaced by a middleware that changes
                                       the body, in an environ it derived */
    void          *impl;            /* the library's; do not touch */
} gw_environ;

#define GW_ENV_MULTITHREAD  (1u << 0)   /* wsgi.multithread */
#define GW_ENV_MULTIPROCESS (1u << 1)   /* wsgi.multiprocess */
#define GW_ENV_RUN_ONCE     (1u << 2)   /* wsgi.run_once */
#define GW_ENV_MAY_BLOCK    (1u << 3)   /* this thread is yours to block */
#define GW_ENV_MAY_DEFER    (1u << 4)   /* gw_defer() will work */
#define GW_ENV_HAS_BODY     (1u << 6)   /* also when content_length is -1 */

typedef struct gw_response {        /* frozen: middleware copies it */
    uint16_t       status;          /* 1xx: sent at once, not the head */
    uint16_t       flags;           /* GW_RESPONSE_* */
    uint32_t       reserved;        /* 0 */
    gw_str         reason;          /* empty: the standard phrase */
    const gw_pair *headers;         /* copied before start_response returns */
    size_t         header_count;
    const void    *more;            /* NULL */
} gw_response;

#define GW_RESPONSE_REPLACE (1u << 0)   /* WSGI's exc_info: a second head,
                                           allowed until the first is sent */

typedef struct gw_writer {          /* what WSGI's write() is (frozen) */
    /* Blocks while the client is slow where GW_ENV_MAY_BLOCK, else takes
       all or nothing (GW_AGAIN). */
    gw_result (*write)(void *ctx, const gw_chunk *chunk);
    void       *ctx;                /* of `write` */
} gw_writer;

/* `writer` may be NULL.  What is written leaves before the body's chunks.
   [req]: in the application call and in next(); `sr` lives until close() is
   called.  Everything in `head` is copied.  A refused call changes nothing.
   The head is committed when a non-empty chunk is accepted. */
typedef gw_result (*gw_start_response_fn)(void *sr, const gw_response *head,
                                          gw_writer *writer);

/* What the application returns; looked at only when it returned GW_OK. */
typedef struct gw_body {
    uint32_t    size;               /* set by the library */
    uint32_t    flags;              /* 0 */
    gw_chunk    first;              /* leaves together with the head */
    /* Then, unless NULL: GW_OK and a chunk; GW_EOF; GW_AGAIN to be asked
       again after gw_deferred_resume(), or when more of a streamed request
       body is there; or an error.  Without `release`, a chunk must stay
       valid until the following next() or close().  An empty chunk is legal
       and never commits the head.  NULL: `first` is all, and the length is
       known. */
    gw_result (*next)(void *ctx, gw_chunk *out);
    void      (*close)(void *ctx);  /* exactly once, whatever happened */
    void       *ctx;                /* of `next` and `close` */
} gw_body;

/* application(environ, start_response) -> iterable.  Returns GW_OK,
   GW_DEFERRED (see gw_defer), or an error, which becomes a 500. */
typedef gw_result (*gw_app_fn)(void *ctx, gw_environ *env,
                               gw_start_response_fn start_response, void *sr,
                               gw_body *body);

typedef struct gw_app {             /* a function and its context */
    uint32_t    size;               /* of this struct */
    uint32_t    flags;              /* GW_APP_* */
    gw_app_fn   call;               /* must not be NULL */
    void       *ctx;                /* of `call` and `drop` */
    void      (*drop)(void *ctx);   /* may be NULL */
    const char *name;               /* for log lines; may be NULL */
} gw_app;

#define GW_APP_THREADSAFE  (1u << 0)    /* may be entered by many threads */
#define GW_APP_NONBLOCKING (1u << 1)    /* never blocks: runs on the loop */
#define GW_APP_SERIAL      (1u << 2)    /* may block, and runs on the loop
                                           all the same, one request at a
                                           time for each worker: gunicorn's
                                           sync worker */

/* An application that wraps an application: fill `outer` from `inner`,
   which lives until outer->drop. `outer` arrives with inner's flags. */
typedef gw_result (*gw_middleware_fn)(void *ctx, const gw_app *inner,
                                      gw_app *outer, gw_error *err);

/* [req] Call `app` as the library would: what a middleware does with its
   inner application. */
gw_result gw_app_call(const gw_app *app, gw_environ *env,
                      gw_start_response_fn start_response, void *sr,
                      gw_body *body);

/* [req] A whole answer in one call: the head, and `chunk` (may be NULL). */
gw_result gw_reply(gw_start_response_fn start_response, void *sr,
                   gw_body *body, const gw_response *head,
                   const gw_chunk *chunk);

/* [req] Logs why, and returns GW_ERR_APP for the application to return. */
gw_result gw_fail(const gw_environ *env, const char *text, size_t len);

/* ---- 5. environ -------------------------------------------------------- */

/* All [req], or [one] on a gw_deferred_environ(); what they return lives as
   long as the request. */

/* A variable by its CGI or WSGI name: "HTTP_HOST", "REMOTE_ADDR",
   "wsgi.url_scheme".  GW_ERR_NOT_FOUND: the request has none. */
gw_result gw_environ_get(const gw_environ *env, const char *name,
                         size_t name_len, gw_str *value);

/* One variable at a time: unique CGI names, HTTP_* with duplicates joined;
   no wsgi.*.  Start with *cursor = 0; GW_EOF at the end. */
gw_result gw_environ_next(const gw_environ *env, uint64_t *cursor,
                          gw_pair *out);

/* All of them at once: one crossing for a language binding. */
gw_result gw_environ_vars(const gw_environ *env, const gw_pair **vars,
                          size_t *count);

/* A copy a middleware may change (WSGI's dict(environ)). */
gw_result gw_environ_derive(const gw_environ *env, gw_environ **out);

/* Replace or add a variable; `value` NULL takes it away. */
gw_result gw_environ_set(gw_environ *derived, const char *name,
                         size_t name_len, const char *value,
                         size_t value_len);

/* Anything else a middleware hangs on a request, keyed by address. */
gw_result gw_environ_put(gw_environ *env, const void *key, void *value,
                         void (*drop)(void *value));

/* What was put under `key`, or NULL. */
void *gw_environ_at(const gw_environ *env, const void *key);

/* Memory that goes away with the request, aligned for anything, not zeroed;
   NULL when there is none. */
void *gw_environ_alloc(gw_environ *env, size_t size);

/* The same text with a NUL added; NULL when there is no memory. */
const char *gw_environ_cstr(gw_environ *env, gw_str text);

/* One parameter of the query string, decoded; GW_ERR_NOT_FOUND. */
gw_result gw_environ_query(gw_environ *env, const char *name, size_t name_len,
                           gw_str *value);

/* Whether the client has left, or has said that it will send no more (a
   client that only closed its half of the connection still gets its
   answer). */
int gw_environ_gone(const gw_environ *env);

/* ---- 6. request body --------------------------------------------------- */

/* [req] GW_OK with 1..cap octets, GW_EOF (*n = 0), GW_AGAIN (GW_NOWAIT
   only), or an error, which stays: a body cut short is GW_ERR_CLOSED, never
   GW_EOF.  Without GW_NOWAIT on a thread that must not block: GW_ERR_BUSY.
   Goes through env->input, so that a middleware can replace it. */
gw_result gw_read(gw_environ *env, void *buf, size_t cap, uint32_t flags,
                  size_t *n);

/* [req] With its newline; a line longer than cap comes in pieces. */
gw_result gw_read_line(gw_environ *env, void *buf, size_t cap, uint32_t flags,
                       size_t *n);

/* [req] The rest of the body, in the request's memory; SIZE_MAX: max_body
   alone limits it. */
gw_result gw_read_all(gw_environ *env, size_t limit, gw_str *out);

/* ---- 7. response bodies ------------------------------------------------ */

/* These set `first` only; next, close and ctx stay the application's. */

/* [req] Borrowed until released; release may be NULL for static data. */
gw_result gw_body_bytes(gw_body *body, const void *data, size_t len,
                        void (*release)(void *arg), void *arg);

/* [req] The octets are copied into the request's memory. */
gw_result gw_body_copy(gw_environ *env, gw_body *body, const void *data,
                       size_t len);

/* [req] wsgi.file_wrapper: sendfile where it can, read/write where not.
   UINT64_MAX: to the end of the file.  A file that shrinks is a shortfall. */
gw_result gw_body_file(gw_body *body, int32_t fd, int64_t offset,
                       uint64_t len, uint32_t flags,
                       void (*release)(void *arg), void *arg);

#define GW_FILE_CLOSE (1u << 0)     /* fd is taken, and closed in any case */

/* ---- 8. answering later, from any thread ------------------------------- */

/* the half of a request that any thread may use */
typedef struct gw_deferred gw_deferred;

/* Called on the loop's thread, any may be NULL. `d` is a valid handle until
   `drop`, which comes last; after gw_deferred_end it only answers
   GW_ERR_STATE. */
typedef struct gw_deferred_events {
    uint32_t size;
    uint32_t reserved;              /* 0 */
    /* after gw_deferred_read said GW_AGAIN */
    void   (*readable)(void *ctx, gw_deferred *d);
    /* after gw_deferred_write said GW_AGAIN: there is room, or the client
       is gone */
    void   (*writable)(void *ctx, gw_deferred *d);
    /* The client has left, or will send no more: an answer may not reach
       it.  Still call gw_deferred_end. */
    void   (*aborted)(void *ctx, gw_deferred *d);
    void   (*drop)(void *ctx);      /* on any thread */
    void    *ctx;                   /* of all of them */
} gw_deferred_events;

/* [req] A handle to the request that any thread may use; one for each
   request.  Return GW_DEFERRED and answer through it; or return GW_OK and a
   body, and use it only to resume an iterator that said GW_AGAIN.  It must
   be given up (_end, _reply) in either case, also when the client or the
   server is gone. `events` may be NULL. */
gw_result gw_defer(gw_environ *env, const gw_deferred_events *events,
                   gw_deferred **out);

/* [one] Be told by `events`, for a handle that came from gw_server_take,
   whose events gw_server_events has until then.  Of what was told before,
   `aborted` alone is told again. */
gw_result gw_deferred_watch(gw_deferred *d, const gw_deferred_events *events);

/* [any] The environ, until the handle is given up.  NULL once the
   application has returned anything but GW_DEFERRED. */
gw_environ *gw_deferred_environ(gw_deferred *d);

/* [one] The request's body, never waiting: GW_AGAIN until `readable`.
   Otherwise as gw_read. */
gw_result gw_deferred_read(gw_deferred *d, void *buf, size_t cap, size_t *n);

/* [one] start_response. */
gw_result gw_deferred_start(gw_deferred *d, const gw_response *head);

/* [one] A piece of the body.  Memory without release is copied; a file
   range needs a release, which may be called in any thread, also the
   loop's.  GW_AGAIN: not taken, wait for `writable`.  GW_ERR_CLOSED: the
   client is gone. */
gw_result gw_deferred_write(gw_deferred *d, const gw_chunk *chunk);

/* [any] Ask the iterator again that said GW_AGAIN.  Too many of these do no
   harm. */
gw_result gw_deferred_resume(gw_deferred *d);

/* [any] The same in `ms` milliseconds; of several such wishes the soonest
   counts. */
gw_result gw_deferred_resume_after(gw_deferred *d, uint32_t ms);

/* [one] The answer is complete (GW_OK), or has failed: a 500, or a cut when
   it had begun.  Gives `d` up, whatever it returns, also inside an event. */
gw_result gw_deferred_end(gw_deferred *d, gw_result outcome);

/* [one] A whole answer: the head, the chunks, the end.  Gives `d` up and
   releases the chunks, whatever it returns, also inside an event. */
gw_result gw_deferred_reply(gw_deferred *d, const gw_response *head,
                            const gw_chunk *chunks, size_t count);

/* [one] The same for callers that must not pass structs of pointers (cgo):
   the header block is "Name: value\r\n" lines; everything is copied. */
gw_result gw_deferred_reply_flat(gw_deferred *d, uint32_t status,
                                 const char *headers, size_t headers_len,
                                 const void *body, size_t body_len);

/* ---- 9. configuration -------------------------------------------------- */

/* what a server or an arbiter is made of */
typedef struct gw_config gw_config;

/* [any] All options as they are preset; NULL when there is no memory. */
gw_config *gw_config_new(void);

/* [one] For one that nothing was made of: what takes a configuration frees
   it. */
void gw_config_free(gw_config *cfg);

/* [one] An option by its name: ("workers", "4").  A list grows. */
gw_result gw_config_set(gw_config *cfg, const char *key, const char *value,
                        gw_error *err);

/* [one] The value of an option, as gw_config_set takes it.  As much as fits
   is written, and ends with a NUL; *len is the length of all of it, without
   the NUL. */
gw_result gw_config_get(const gw_config *cfg, const char *key, char *buf,
                        size_t cap, size_t *len);

/* [one] An option by its number: truth as 0 or 1, durations in
   milliseconds, sizes in octets. */
gw_result gw_config_set_int(gw_config *cfg, uint32_t option, int64_t value,
                            gw_error *err);

/* [one] app->drop runs when the last user of it is gone. */
gw_result gw_config_app(gw_config *cfg, const gw_app *app, gw_error *err);

/* [one] The application is a module's, instead of gw_config_app.  Its file
   is loaded when a server or an arbiter is made of the configuration, by
   forked workers after the fork unless the option `preload` is set. `path`
   as dlopen has it; one with a slash is meant from where the process is
   now. `where` is NULL, "" or "/". `args` may be NULL. */
gw_result gw_config_module(gw_config *cfg, const char *where,
                           const char *path, const char *args, gw_error *err);

/* [one] Middleware around the application; the first one used is the
   outermost.  It is called when a server or an arbiter is made of the
   configuration; `drop` when what it made is gone. */
gw_result gw_config_use(gw_config *cfg, gw_middleware_fn middleware,
                        void *ctx, void (*drop)(void *ctx), gw_error *err);

typedef struct gw_listener {        /* where connections come from */
    uint32_t    size;
    uint32_t    protocol;           /* GW_PROTO_* */
    const char *address;            /* "host:port", "[::1]:port",
                                       "unix:/path"; NULL */
    int32_t     fd;                 /* an inherited socket, when no address */
    int32_t     backlog;            /* 0: the option */
    uint32_t    flags;              /* 0 */
    uint32_t    mode;               /* of a unix socket, 0: umask decides */
} gw_listener;

#define GW_PROTO_HTTP 0             /* HTTP/1.0 and 1.1 */

/* [one] One more place to listen on; the option `bind` adds to the same
   list. */
gw_result gw_config_listen(gw_config *cfg, const gw_listener *listener,
                           gw_error *err);

#define GW_OPT_WORKERS                  1   /* processes, or threads */
#define GW_OPT_WORKER_MODEL             2   /* GW_MODEL_* */
#define GW_OPT_THREADS                  3   /* of a worker; auto by name
                                               only */
#define GW_OPT_GRACEFUL_TIMEOUT         5   /* ms */
#define GW_OPT_KEEPALIVE                6   /* ms */
#define GW_OPT_MAX_BODY                 8   /* octets */
#define GW_OPT_SIGNALS                  9   /* 1 in gw_serve, else 0, unless
                                               set */
#define GW_OPT_BIND                     10  /* by name only */
#define GW_OPT_BACKLOG                  11  /* connections that wait */
#define GW_OPT_WORKER_CONNECTIONS       12  /* of one worker */
#define GW_OPT_LIMIT_REQUEST_LINE       13  /* octets */
#define GW_OPT_LIMIT_REQUEST_FIELDS     14  /* number */
#define GW_OPT_LIMIT_REQUEST_FIELD_SIZE 15  /* octets */
#define GW_OPT_LIMIT_REQUEST_HEAD       16  /* octets */
#define GW_OPT_HEADER_TIMEOUT           17  /* ms */
#define GW_OPT_BODY_TIMEOUT             18  /* ms */
#define GW_OPT_WRITE_TIMEOUT            19  /* ms */
#define GW_OPT_REQUEST_BUFFERING        20  /* 0: bodies stream */
#define GW_OPT_BODY_BUFFER              21  /* octets */
#define GW_OPT_SPOOL_DIR                22  /* by name only */
#define GW_OPT_ACCESSLOG                23  /* by name only */
#define GW_OPT_ERRORLOG                 24  /* by name only */
#define GW_OPT_LOGLEVEL                 25  /* GW_LOG_* */
#define GW_OPT_ACCESS_LOG_FORMAT        26  /* by name only */
#define GW_OPT_OUTPUT_BUFFER            27  /* octets */
#define GW_OPT_QUEUE_LIMIT              28  /* requests that wait */
#define GW_OPT_QUEUE_TIMEOUT            29  /* ms */
#define GW_OPT_PRELOAD                  30  /* 0 or 1 */

#define GW_MODEL_INLINE  0          /* this thread, this process */
#define GW_MODEL_THREADS 1          /* loops in threads of this process */
#define GW_MODEL_FORK    2          /* processes are forked */

typedef struct gw_option {          /* what the options are, for tools */
    uint32_t    size;
    uint32_t    id;                 /* GW_OPT_* */
    const char *name;               /* of gw_config_set */
    const char *kind;               /* "int", "bool", "ms", "size", "enum",
                                       "text", "path", "list" */
    const char *preset;             /* as gw_config_set takes it */
    const char *help;               /* a sentence or two */
} gw_option;

/* [any] One option at a time, in the order of their numbers: start with
   *cursor = 0; GW_EOF at the end.  The texts are static. */
gw_result gw_option_next(uint32_t *cursor, gw_option *out);

/* ---- 10. hooks, log ---------------------------------------------------- */

typedef struct gw_server gw_server; /* one worker's loop */

typedef struct gw_access {          /* one finished request */
    uint32_t          size;
    uint16_t          status;       /* of the response; 499: there was none,
                                       since the client left before (or
                                       GW_STOP_QUICK came) */
    uint16_t          reserved;     /* 0 */
    uint64_t          sent;         /* octets of the response's body */
    uint64_t          received;     /* octets of the request's body */
    uint64_t          start_ns;     /* since the epoch, when the head was
                                       there */
    uint64_t          took_ns;      /* from then to the end */
    uint64_t          read_ns;      /* until the body was there */
    uint64_t          app_ns;       /* until the application was done */
    gw_str            id;           /* what names it in log lines */
    const gw_environ *env;          /* the request */
    const gw_pair    *headers;      /* of the response */
    size_t            header_count;
} gw_access;

/* what worker_init and worker_exit are told */
typedef struct gw_worker {
    uint32_t   size;
    int32_t    pid;                 /* 0 for a thread, and when inline */
    uint32_t   slot;                /* 0 .. workers-1, reused */
    uint32_t   generation;          /* counts reloads */
    gw_server *server;              /* For gw_server_take, _events, _stop,
                                       _wake, _stats, until worker_exit has
                                       returned (in a forked worker: until
                                       its process ends). */
} gw_worker;

typedef struct gw_hooks {           /* Gunicorn's names; any may be NULL. */
    uint32_t    size;
    uint32_t    reserved;           /* 0 */
    void       *ctx;                /* of all of them */
    void      (*drop)(void *ctx);   /* may be NULL */
    /* before the application, where it runs: with `threads` many at once */
    void      (*pre_request)(void *ctx, gw_environ *env);
    /* after the request, there or on the loop's thread: with `threads` many
       at once.  What was refused before it was a request (400, 408, 414,
       431 ...) is in the access log only */
    void      (*access)(void *ctx, const gw_access *a);
    /* first in a worker of gw_serve or an arbiter, in the thread of its
       loop: with GW_MODEL_THREADS many at once.  An error refuses the
       worker */
    gw_result (*worker_init)(void *ctx, const gw_worker *w);
    /* last in a worker that was not refused, in the same thread */
    void      (*worker_exit)(void *ctx, const gw_worker *w);
} gw_hooks;

/* [one] A hook takes the place of the one that was set before; NULL leaves
   that one. */
gw_result gw_config_hooks(gw_config *cfg, const gw_hooks *hooks,
                          gw_error *err);

typedef struct gw_log_record {      /* valid during the call */
    uint32_t size;
    int32_t  level;                 /* GW_LOG_* */
    uint64_t time_ns;               /* since the epoch */
    gw_str   target;                /* "arbiter", "http", "app" */
    gw_str   message;               /* one line, no newline */
    gw_str   id;                    /* of the request that it is about, or
                                       empty */
} gw_log_record;

#define GW_LOG_ERROR 1
#define GW_LOG_WARN  2
#define GW_LOG_INFO  3
#define GW_LOG_DEBUG 4

/* Takes a record, on any thread, and not after drop has been called. */
typedef void (*gw_log_fn)(void *ctx, const gw_log_record *record);

/* [one] Records up to `level` go to `fn`, and not to the option `errorlog`. */
gw_result gw_config_log(gw_config *cfg, int32_t level, gw_log_fn fn,
                        void *ctx, void (*drop)(void *ctx));

/* [req] A line in the log about this request: wsgi.errors. */
void gw_log(const gw_environ *env, int32_t level, const char *text,
            size_t len);

/* ---- 11. the arbiter --------------------------------------------------- */

typedef struct gw_stats {           /* what was counted */
    uint32_t size;
    uint32_t workers;               /* now */
    uint64_t uptime_ms;
    uint64_t accepted;              /* connections, ever */
    uint64_t connections;           /* now */
    uint64_t requests;              /* ever */
    uint64_t in_flight;             /* now */
    uint64_t status[6];             /* [2] counts the 2xx */
    uint64_t sent;                  /* octets of the bodies */
    uint64_t received;
    uint64_t app_errors;            /* answered with a 500, or cut */
    uint64_t aborted;               /* whose client left */
    uint64_t timeouts;              /* whose client was too slow */
    uint64_t rejected;              /* that were malformed, or over a limit */
    uint64_t limited;               /* of these, over a limit */
    uint64_t shed;                  /* answered with 503, for want of a
                                       thread, or of a taker */
    uint64_t full;                  /* times that worker_connections was
                                       reached */
    uint64_t accept_errors;         /* times that no connection was accepted
                                       for 100 ms, for want of descriptors
                                       or memory */
    uint64_t spool_errors;          /* request bodies that spool_dir had no
                                       room for, answered with 507 */
} gw_stats;

/* [one] Serve until told to stop; takes cfg.  By default it handles TERM
   (graceful), INT and QUIT (quick), logs errors to standard error, listens
   on 127.0.0.1:8000 and forks a worker per CPU: the options `signals`,
   `errorlog`, `bind`, `workers` and `worker_model` say otherwise.
   Forked workers live and end inside: only the caller's process returns,
   GW_OK after a stop.  GW_ERR_TIMEOUT: it has stopped, and left threads
   behind in which an application does not return (GW_MODEL_THREADS).
   err->exit_status is what main should return. */
gw_result gw_serve(gw_config *cfg, gw_error *err);

/* [any] Whether this process is a worker that an arbiter started; one whose
   threads are workers is not. */
int32_t gw_is_worker(void);

typedef struct gw_arbiter gw_arbiter; /* workers, and who watches them */

/* [one] Takes cfg.  Binds its listeners, of which there must be one; starts
   nothing. */
gw_result gw_arbiter_new(gw_config *cfg, gw_arbiter **out, gw_error *err);

/* [one] Start the workers.  With GW_MODEL_FORK GW_ERR_STATE in a process
   that has threads: a fork would leave them behind with whatever they hold. */
gw_result gw_arbiter_start(gw_arbiter *a, gw_error *err);

/* [one] Watch the workers until stopped; starts them if that was not done.
   GW_ERR_TIMEOUT as gw_serve. */
gw_result gw_arbiter_run(gw_arbiter *a, gw_error *err);

/* [any] Readable when gw_arbiter_turn has something to do; -1: no arbiter. */
int32_t gw_arbiter_fd(const gw_arbiter *a);

/* [one] What gw_arbiter_run does, step by step, after gw_arbiter_start: for
   a host with a loop of its own, as gw_server_turn. */
gw_result gw_arbiter_turn(gw_arbiter *a, int64_t *wait_ms);

/* [sig] Let gw_arbiter_run end: `how` is GW_STOP_*.  A second GW_STOP_QUICK
   hurries the first. */
gw_result gw_arbiter_stop(gw_arbiter *a, uint32_t how);

#define GW_STOP_GRACEFUL 0          /* requests that are there are answered,
                                       within graceful_timeout */
#define GW_STOP_QUICK    1          /* connections are closed where they
                                       stand */
#define GW_STOP_KILL     2          /* and workers killed, but for threads */

/* [any] The counters of all workers, those that have ended included. */
gw_result gw_arbiter_stats(const gw_arbiter *a, gw_stats *out);

/* [any] Wait up to timeout_ms (-1: for ever) until gw_arbiter_run, in
   another thread, has ended.  What it returned; GW_AGAIN when time is up. */
gw_result gw_arbiter_wait(gw_arbiter *a, int64_t timeout_ms);

/* [one] Kills the workers that are left.  A thread cannot be killed: its
   connections are closed, and one that does not end within 5 seconds, since
   an application does not return, is left to itself; what it uses lives
   until then.  After GW_ERR_PANIC it closes the listeners and lets the
   workers end, and leaves the memory to the process. */
void gw_arbiter_free(gw_arbiter *a);

/* ---- 12. one worker, inside a foreign event loop ----------------------- */

/* [one] Takes cfg.  Binds what is to be listened on; none at all is fine,
   for sockets that are adopted. */
gw_result gw_server_new(gw_config *cfg, gw_server **out, gw_error *err);

/* [any] Readable when gw_server_turn has something to do; -1: no server. */
int32_t gw_server_fd(const gw_server *s);

/* [one] Do what can be done without blocking; *wait_ms is how long the host
   may sleep on the fd: 0 not at all, -1 for ever.  GW_EOF: stopped. */
gw_result gw_server_turn(gw_server *s, int64_t *wait_ms);

/* [one] Serve a connected socket that somebody else accepted.  It is taken
   when the result is GW_OK. */
gw_result gw_server_adopt(gw_server *s, int32_t fd, uint32_t protocol);

gw_result gw_server_wake(gw_server *s); /* [sig] Makes the fd readable. */

/* [sig] Begin to stop: `how` is GW_STOP_*, and a second call may only hurry
   it.  It goes on in gw_server_turn, up to GW_EOF. */
gw_result gw_server_stop(gw_server *s, uint32_t how);

/* [one] Closes what is still open; handles to requests stay good.  Inside
   one of the server's own callbacks it does nothing.  After GW_ERR_PANIC it
   closes sockets, and leaves the memory to the process. */
void gw_server_free(gw_server *s);

/* [any] Requests for whoever asks instead of a callback: up to `cap`, the
   oldest first.  Waits `timeout_ms` for one, -1 for ever: GW_AGAIN when
   there was none.  GW_ERR_BUSY: it would wait inside gw_server_turn.
   GW_EOF: the server has stopped; gw_server_free comes after all of these
   calls.  For a configuration without an application.  Each handle is to be
   answered, in any thread. */
gw_result gw_server_take(gw_server *s, gw_deferred **out, size_t cap,
                         int64_t timeout_ms, size_t *n);

/* what happened to a request that was taken (frozen) */
typedef struct gw_event {
    gw_deferred *d;                 /* Not given up when this was fetched;
                                       perhaps since, by another thread. */
    uint32_t     what;              /* GW_EVENT_* */
    uint32_t     reserved;          /* 0 */
} gw_event;

#define GW_EVENT_READABLE 1         /* after gw_deferred_read said GW_AGAIN */
#define GW_EVENT_WRITABLE 2         /* after gw_deferred_write said GW_AGAIN */
#define GW_EVENT_ABORTED  3         /* the client has left, or will send no
                                       more */

/* [any] Events of taken requests for whoever asks instead of a callback
   (gw_deferred_watch): up to `cap`.  Waits, and ends, as gw_server_take. */
gw_result gw_server_events(gw_server *s, gw_event *out, size_t cap,
                           int64_t timeout_ms, size_t *n);

/* [any] The counters of this server. */
gw_result gw_server_stats(const gw_server *s, gw_stats *out);

/* ---- 13. application modules ------------------------------------------- */

typedef struct gw_module_args {     /* what a module is told */
    uint32_t    size;
    uint32_t    abi;                /* GW_ABI of the loader */
    const char *path;               /* the file; absolute, if a slash was in
                                       it */
    const char *args;               /* the text given with the module; not
                                       NULL */
} gw_module_args;

/* what a module says of itself; zeroed, `size` set */
typedef struct gw_module {
    uint32_t        size;
    uint32_t        abi;            /* set to GW_ABI */
    const char     *name;           /* for log lines; may be NULL */
    const char     *version;        /* the same */
    const gw_app   *app;
    const gw_hooks *hooks;          /* called beside the host's; may be NULL */
} gw_module;

/* GW_MODULE_SYMBOL.  Called once for each configuration that names the
   module, in each process that loads it; `err` is never NULL.  What `out`
   points to lives as long as the process.  GW_ERR_ABI if the module does
   not go with args->abi. */
typedef gw_result (*gw_module_init_fn)(const gw_module_args *args,
                                       gw_module *out, gw_error *err);

/* ---- 14. macros -------------------------------------------------------- */

#ifdef __cplusplus
# define GW_INIT(T) gw_init<T>()    /* the template below extern "C" */
#else
# define GW_INIT(T) { .size = (uint32_t)sizeof(T) }
#endif
#define GW_LIT(s) { (s), sizeof(s) - 1 }    /* initializer, of a literal */
#if !defined(__cplusplus)
# define GW_STR(s) ((gw_str) GW_LIT(s))     /* expression, of a literal */
#endif
/* What a module exports, a gw_module_init_fn. */
#define GW_MODULE_SYMBOL "gw_module_init"
/* In a module, before its definition of gw_module_init. */
#ifdef __cplusplus
# define GW_MODULE_DECLARE \
    extern "C" GW_EXPORT gw_result gw_module_init(const gw_module_args *args, \
                                                  gw_module *out, \
                                                  gw_error *err)
#else
# define GW_MODULE_DECLARE \
    GW_EXPORT gw_result gw_module_init(const gw_module_args *args, \
                                       gw_module *out, gw_error *err)
#endif
/* May a member that appeared in a later version be used? */
#define GW_HAS(T, p, member) \
    ((p)->size >= offsetof(T, member) + sizeof((p)->member))
#if defined(__GNUC__)
# define GW_EXPORT __attribute__((visibility("default")))
#else
# define GW_EXPORT
#endif

#ifdef __cplusplus
}
template <typename T> static inline T gw_init() {
    T t = T();
    t.size = static_cast<uint32_t>(sizeof(T));
    return t;
}
#endif
#endif /* GATEWAY_H */
