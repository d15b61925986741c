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
#define GW_ENV_HOSTED       (1u << 5)   /* a foreign server is in front
                                           (gw_host) */
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
#define GW_RESPONSE_EXCUSE  (1u << 1)   /* from gw_exchange_head: the
                                           library's own page about an
                                           error, for which the host may
                                           send another */
#define GW_RESPONSE_CLOSE   (1u << 2)   /* the connection is closed behind
                                           the answer, and a client of
                                           HTTP/1.1 is told so */

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

/* [any] A ready-made application by its name, made as `args` say
   ("key=value ...", may be NULL), for gw_config_app or any other use:
   whoever has it calls its `drop` once. "static": the files of a directory,
   root=/srv/www (a path without white space); "cgi": its CGI scripts,
   root=/srv/scripts; "redirect": to=https://example.org keep=path,query;
   "health": 200, or 503 when the server stops; "forward": HTTP to others,
   to=http://127.0.0.1:9001,http://127.0.0.1:9002, for development and
   tests. */
gw_result gw_app_builtin(const char *name, const char *args, gw_app *out,
                         gw_error *err);

/* [any] Ready-made middleware, a gw_middleware_fn: `ctx` is a string, its
   name and "key=value ...", for gw_config_use(cfg, gw_middleware_builtin,
   "access allow=10.0.0.0/8", NULL, err). "access": allow= and deny= by
   network; "request_id": X-Request-ID; "sendfile": X-Sendfile and
   X-Accel-Redirect, root=/srv/files; "lint": each breach of this convention
   in the error log, by its name, and with fatal=1 as a 500. */
gw_result gw_middleware_builtin(void *ctx, const gw_app *inner, gw_app *outer,
                                gw_error *err);

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
   loop's.  An empty one with GW_CHUNK_FLUSH sends the head alone.  GW_AGAIN:
   not taken, wait for `writable`.  GW_ERR_CLOSED: the client is gone. */
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

/* [one] app->drop runs when the last user of it is gone.  It is for
   everything that nothing else is mounted for, and replaces what was given
   for that before. */
gw_result gw_config_app(gw_config *cfg, const gw_app *app, gw_error *err);

/* [one] An application for the requests whose host and path match `where`:
   "/prefix", "host/prefix", or "*.host/prefix" for the hosts below one.  A
   host is written without a port, "/" at its end is all of it, and it
   counts before a path; a prefix matches whole segments of PATH_INFO.  The
   longest match wins, and its prefix becomes the end of SCRIPT_NAME; what
   matches nothing is answered with 404.  NULL or "": as gw_config_app.
   GW_ERR_INVALID: where is malformed, or another is mounted there. */
gw_result gw_config_mount(gw_config *cfg, const char *where,
                          const gw_app *app, gw_error *err);

/* [one] An application that is a module's, mounted as by gw_config_mount;
   NULL or "": instead of gw_config_app.  There may be several, also of one
   file: each is asked for its own.  A file is loaded when a server or an
   arbiter is made of the configuration, by forked workers after the fork
   unless the option `preload` is set. `path` as dlopen has it; one with a
   slash is meant from where the process is now. `args` may be NULL. */
gw_result gw_config_module(gw_config *cfg, const char *where,
                           const char *path, const char *args, gw_error *err);

/* [one] Middleware around each application; the first one used is the
   outermost.  It is called once for each, when a server or an arbiter is
   made of the configuration; `drop` when all that it made is gone.  Its
   requests are those of the application: with SCRIPT_NAME, and no 404 of
   ours. */
gw_result gw_config_use(gw_config *cfg, gw_middleware_fn middleware,
                        void *ctx, void (*drop)(void *ctx), gw_error *err);

/* [one] Middleware around the application that is mounted at `where`
   already, and around no other; it is within those of gw_config_use, and
   the first one used is the outermost.  NULL or "" is what gw_config_app
   has set.  GW_ERR_NOT_FOUND: nothing is mounted there. */
gw_result gw_config_use_at(gw_config *cfg, const char *where,
                           gw_middleware_fn middleware, void *ctx,
                           void (*drop)(void *ctx), gw_error *err);

typedef struct gw_listener {        /* where connections come from */
    uint32_t    size;
    uint32_t    protocol;           /* GW_PROTO_*, where the address does
                                       not say */
    const char *address;            /* "host:port", "[::1]:port",
                                       "unix:/path", "unix:@name", or with
                                       its protocol, "uwsgi+unix:/path";
                                       NULL */
    int32_t     fd;                 /* an inherited socket, when no address */
    int32_t     backlog;            /* 0: the option */
    uint32_t    flags;              /* 0 */
    uint32_t    mode;               /* of a unix socket, 0: umask decides */
    const char *options;            /* "key=value ...": backlog, nodelay,
                                       defer_accept, fastopen, rcvbuf,
                                       sndbuf, reuse_port, mode, owner,
                                       trust, proxy_protocol, limits; NULL */
} gw_listener;

#define GW_PROTO_HTTP 0             /* HTTP/1.0 and 1.1 */

#define GW_PROTO_UWSGI   1          /* the uwsgi protocol */
#define GW_PROTO_FASTCGI 2          /* FastCGI, as a responder */
#define GW_PROTO_SCGI    3          /* SCGI */
#define GW_PROTO_AUTO    4          /* told by the first octets of each
                                       connection */

/* [one] One more place to listen on; the option `bind` adds to the same
   list. */
gw_result gw_config_listen(gw_config *cfg, const gw_listener *listener,
                           gw_error *err);

/* [one] Workers of their own for `pool`, watched by the same arbiter: with
   their applications, middleware, listeners, hooks, and options.  Takes
   pool.  An option that it does not set is as cfg has it when an arbiter is
   made; the log, too.  Options and hooks of the whole process, and pools of
   its own, are a problem that gw_config_check tells.  What cfg has itself
   is the pool "main"; with pools it may have no application, and then has
   no workers.  GW_ERR_INVALID: another pool is called so, or a name is not
   1 to 32 letters, digits, '_', '-' or '.'. */
gw_result gw_config_pool(gw_config *cfg, const char *name, gw_config *pool,
                         gw_error *err);

/* [one] Every problem that gw_serve would find with this configuration,
   with its presets: a report for each, which is the call's.  Nothing is
   started and nothing stays: a module is tried, and middleware called, in a
   process of their own, unless this one has threads; an address is bound
   and closed again.  GW_OK: there is none; GW_ERR_INVALID: there is. report
   may be NULL. */
gw_result gw_config_check(const gw_config *cfg,
                          void (*report)(void *ctx, const gw_error *problem),
                          void *ctx);

#define GW_OPT_WORKERS                  1   /* processes, or threads */
#define GW_OPT_WORKER_MODEL             2   /* GW_MODEL_* */
#define GW_OPT_THREADS                  3   /* of a worker; auto by name
                                               only */
#define GW_OPT_HEARTBEAT_TIMEOUT        4   /* ms */
#define GW_OPT_GRACEFUL_TIMEOUT         5   /* ms */
#define GW_OPT_KEEPALIVE                6   /* ms */
#define GW_OPT_MAX_REQUESTS             7   /* of a worker */
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
#define GW_OPT_BOOT_TIMEOUT             31  /* ms */
#define GW_OPT_RELOAD_PARALLEL          32  /* workers */
#define GW_OPT_MAX_REQUESTS_JITTER      33  /* requests */
#define GW_OPT_MAX_RECYCLING            34  /* workers */
#define GW_OPT_MAX_LIFETIME             35  /* ms */
#define GW_OPT_REQUEST_TIMEOUT          36  /* ms */
#define GW_OPT_STREAM_TIMEOUT           37  /* ms */
#define GW_OPT_FORK_UNSAFE              38  /* 0 or 1 */
#define GW_OPT_PIDFILE                  39  /* by name only */
#define GW_OPT_USER                     40  /* by name only */
#define GW_OPT_GROUP                    41  /* by name only */
#define GW_OPT_UMASK                    42  /* 022, say; auto by name only */
#define GW_OPT_SYSTEMD                  43  /* 1 in gw_serve, else 0, unless
                                               set */
#define GW_OPT_REAP_ORPHANS             44  /* 0 or 1 */
#define GW_OPT_LAME_DUCK                50  /* ms */
#define GW_OPT_ACCEPT_MODE              51  /* GW_ACCEPT_* */
#define GW_OPT_WORKER_REQUESTS          52  /* of one worker */
#define GW_OPT_HEALTH_PATH              53  /* by name only */
#define GW_OPT_MEMORY_SOFT              60  /* octets */
#define GW_OPT_MEMORY_HARD              61  /* octets */
#define GW_OPT_FORWARDED_ALLOW_IPS      70  /* by name only */
#define GW_OPT_PROXY_PROTOCOL           71  /* GW_PROXY_* */
#define GW_OPT_PROXY_ALLOW_IPS          72  /* by name only */
#define GW_OPT_FORWARDED_FOR            73  /* truth */
#define GW_OPT_TIMINGS                  80  /* truth; auto by name only */
#define GW_OPT_METRICS_PATH             81  /* by name only */
#define GW_OPT_STATS_PATH               82  /* by name only */
#define GW_OPT_STATS_ONLY               83  /* truth */
#define GW_OPT_SLOW_REQUEST             84  /* ms */
#define GW_OPT_CONTROL_SOCKET           90  /* by name only */

#define GW_MODEL_INLINE  0          /* this thread, this process */
#define GW_MODEL_THREADS 1          /* loops in threads of this process */
#define GW_MODEL_FORK    2          /* processes are forked */
#define GW_MODEL_EXEC    3          /* processes are this program, started
                                       again: in those gw_serve is the
                                       worker */

#define GW_ACCEPT_SHARED    0       /* all workers from one socket for each
                                       address */
#define GW_ACCEPT_REUSEPORT 1       /* each from one of its own
                                       (SO_REUSEPORT) */

#define GW_PROXY_OFF  0             /* connections begin without the PROXY
                                       protocol */
#define GW_PROXY_AUTO 1             /* with a header of either version */
#define GW_PROXY_V1   2             /* of version 1 */
#define GW_PROXY_V2   3             /* of version 2 */

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

typedef struct gw_arbiter gw_arbiter; /* workers, and who watches them */

/* a request, as its worker has written it down */
typedef struct gw_request_info {
    uint32_t size;
    uint32_t worker;                /* its worker's place, from 0 */
    int32_t  pid;                   /* its worker's process */
    uint32_t generation;            /* counts reloads */
    uint32_t thread;                /* of the worker, from 1, that is in the
                                       application with it; 0: none, or the
                                       loop */
    uint32_t phase;                 /* GW_PHASE_* */
    uint32_t status;                /* of the answer, when it has ended; 504
                                       also while its application still
                                       runs; else 0 */
    uint32_t reserved;              /* 0 */
    uint64_t age_ns;                /* since its head was there */
    uint64_t took_ns;               /* from then to its end; 0: it has not
                                       ended */
    char     method[16];            /* these are cut to what there is room
                                       for, and end in a NUL */
    char     target[256];
    char     id[40];                /* what names it in log lines:
                                       gateway.request_id */
    char     peer[64];              /* address:port; [address]:port; unix: */
} gw_request_info;

#define GW_PHASE_READ  1            /* its body is awaited */
#define GW_PHASE_QUEUE 2            /* it waits for a thread */
#define GW_PHASE_APP   3            /* its application was called, and has
                                       not begun to answer */
#define GW_PHASE_WRITE 4            /* the answer has begun */
#define GW_PHASE_LATER 5            /* whoever has its gw_deferred is to
                                       answer, or to take it */
#define GW_PHASE_ENDED 6            /* it has ended */
#define GW_PHASE_LOST  7            /* its worker has ended, and it had not */

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

typedef struct gw_worker {          /* what hooks are told of a worker */
    uint32_t    size;
    int32_t     pid;                /* 0 for a thread, and when inline */
    uint32_t    slot;               /* its place, from 0; reused */
    uint32_t    generation;         /* counts reloads */
    gw_server  *server;             /* For gw_server_take, _events, _stop,
                                       _wake, _stats, until worker_exit has
                                       returned (in a forked worker: until
                                       its process ends).  NULL in the
                                       arbiter, post_fork and worker_abort. */
    int32_t     exit_status;        /* in child_exit, as from waitpid; -1:
                                       somebody else has waited for it */
    uint32_t    cause;              /* in child_exit: GW_CAUSE_* */
    const char *pool;               /* "main", or its name as gw_config_pool
                                       has it; valid as the whole is */
} gw_worker;

#define GW_CAUSE_OWN           0    /* for reasons of its own, or somebody
                                       else's: exit_status says which */
#define GW_CAUSE_TOLD          1    /* it was told to stop */
#define GW_CAUSE_BOOT          2    /* boot_timeout */
#define GW_CAUSE_SILENT        3    /* heartbeat_timeout */
#define GW_CAUSE_LATE          4    /* graceful_timeout */
#define GW_CAUSE_MEMORY        5    /* memory_hard */
#define GW_CAUSE_OUT_OF_MEMORY 6    /* killed by the system: its control
                                       group had no memory left */
#define GW_CAUSE_OVERDUE       7    /* request_timeout, while its loop was
                                       in a request */

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
    /* from here to on_exit in the arbiter, in the thread that turns it,
       where [any] and [sig] calls on it are possible: it listens, and
       starts its first worker */
    void      (*on_starting)(void *ctx, gw_arbiter *a);
    /* the first workers are all ready */
    void      (*when_ready)(void *ctx, gw_arbiter *a);
    /* before each worker that is forked or started; w->pid is 0 */
    void      (*pre_fork)(void *ctx, const gw_worker *w);
    /* a worker was started */
    void      (*spawned)(void *ctx, const gw_worker *w);
    /* a worker serves */
    void      (*worker_ready)(void *ctx, const gw_worker *w);
    /* a worker has ended */
    void      (*child_exit)(void *ctx, const gw_worker *w);
    /* there are to be `now` workers */
    void      (*nworkers_changed)(void *ctx, uint32_t now, uint32_t before);
    void      (*on_reload)(void *ctx, gw_arbiter *a); /* a reload begins */
    /* it has ended: failure is NULL, or says why the old workers serve on.
       The hook of the old configuration */
    void      (*reloaded)(void *ctx, gw_arbiter *a, const gw_error *failure);
    /* last; no worker is left */
    void      (*on_exit)(void *ctx, gw_arbiter *a);
    /* first in a worker that was forked; an error refuses it */
    gw_result (*post_fork)(void *ctx, const gw_worker *w);
    /* in a worker that is to stop quickly, in the thread of its loop */
    void      (*worker_int)(void *ctx, const gw_worker *w);
    /* in a forked worker that was sent ABRT, since it is silent: in the
       signal handler, on any of its threads; then the process ends.
       culprit: the request that its application is in for the longest time;
       NULL when it is in none */
    void      (*worker_abort)(void *ctx, const gw_worker *w,
                              const gw_request_info *culprit);
    /* in the arbiter, as on_starting: the program is about to be started
       again, for an upgrade */
    void      (*pre_exec)(void *ctx, gw_arbiter *a);
    /* between worker_init and worker_exit, in the place of the loop: for
       event loops of the host's.  It watches gw_server_fd(w->server), calls
       gw_server_turn for it as for a server of its own, in any thread, and
       returns after GW_EOF; an error ends the worker.  Of several, the
       host's before a module's */
    gw_result (*worker_run)(void *ctx, const gw_worker *w);
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
    uint64_t spawned;               /* workers that were started; here and
                                       below: of an arbiter */
    uint64_t exited;                /* and have ended */
    uint64_t killed;                /* of these, by the arbiter's KILL or
                                       ABRT */
    uint64_t reloads;               /* that ended well */
    uint64_t reloads_failed;        /* after which the old workers served on */
    uint64_t failing;               /* places whose worker fails to boot,
                                       and is tried again later; now */
    uint64_t request_timeouts;      /* answers that took longer than
                                       request_timeout or stream_timeout;
                                       here and below: of all */
    uint64_t unrecorded;            /* requests that were not written down
                                       for gw_arbiter_requests, for want of
                                       room */
    uint64_t requests_full;         /* answered with 503, or with OVERLOADED
                                       in FastCGI: the application had
                                       worker_requests of them, or the
                                       connection as many as it may */
    uint64_t ready;                 /* 1: it serves, and was not told to
                                       stop; 0: tell whoever sends requests
                                       to send no more */
    uint64_t untrusted;             /* connections refused: the PROXY
                                       protocol, or what only web servers
                                       speak, from others than
                                       proxy_allow_ips and
                                       forwarded_allow_ips have */
    uint64_t unmounted;             /* answered with 404, since no
                                       application is mounted there */
} gw_stats;

/* a socket that listens, as the kernel has it now */
typedef struct gw_listener_info {
    uint32_t size;
    uint32_t protocol;              /* GW_PROTO_* */
    char     address[120];          /* "127.0.0.1:8000", "unix:/path",
                                       "unix:@name", with the port that the
                                       system chose */
    uint32_t port;                  /* 0: a unix socket */
    uint32_t seat;                  /* which of several sockets at this
                                       address, from 0:
                                       accept_mode=reuseport */
    uint32_t backlog;               /* how many connections may wait; 0: a
                                       unix socket, the kernel does not tell */
    uint32_t waiting;               /* how many do */
    uint32_t nodelay;               /* TCP_NODELAY */
    uint32_t defer_accept;          /* TCP_DEFER_ACCEPT, in seconds */
    uint32_t fastopen;              /* TCP_FASTOPEN */
    uint32_t reuse_port;            /* SO_REUSEPORT */
    uint32_t rcvbuf;                /* SO_RCVBUF: the kernel doubles what is
                                       asked for */
    uint32_t sndbuf;                /* SO_SNDBUF */
    uint32_t mode;                  /* of the file of a unix socket; here
                                       and below */
    uint32_t uid;                   /* its owner */
    uint32_t gid;
} gw_listener_info;

/* [one] Serve until told to stop; takes cfg.  By default it handles TERM
   (graceful), INT and QUIT (quick), tells systemd of itself if that has
   started it, logs errors to standard error, listens on 127.0.0.1:8000 or
   what systemd has bound, and forks a worker per CPU: the options
   `signals`, `systemd`, `errorlog`, `bind`, `workers` and `worker_model`
   say otherwise.
   Forked workers live and end inside: only the caller's process returns,
   GW_OK after a stop.  With GW_MODEL_EXEC workers are this program, started
   again: in those this call is the worker, with the options of the arbiter
   and the callbacks of the program, and returns when the worker has ended.
   GW_ERR_TIMEOUT: it has stopped, and left threads behind in which an
   application does not return (GW_MODEL_THREADS). err->exit_status is what
   main should return. */
gw_result gw_serve(gw_config *cfg, gw_error *err);

/* [any] Whether this process is a worker that an arbiter started; one whose
   threads are workers is not.  With GW_MODEL_EXEC it is from the start of
   the program. */
int32_t gw_is_worker(void);

/* [one] Takes cfg.  Binds its listeners, of which there must be one; starts
   nothing.  GW_ERR_STATE in a worker of GW_MODEL_EXEC: where gw_is_worker
   says so, a program calls gw_serve instead. */
gw_result gw_arbiter_new(gw_config *cfg, gw_arbiter **out, gw_error *err);

/* [one] Start the workers.  With GW_MODEL_FORK GW_ERR_STATE in a process
   that has threads: a fork would leave them behind with whatever they hold
   (GW_OPT_FORK_UNSAFE). */
gw_result gw_arbiter_start(gw_arbiter *a, gw_error *err);

/* [one] Watch the workers until stopped; starts them if that was not done.
   GW_ERR_TIMEOUT as gw_serve. */
gw_result gw_arbiter_run(gw_arbiter *a, gw_error *err);

/* [any] Readable when gw_arbiter_turn has something to do; -1: no arbiter. */
int32_t gw_arbiter_fd(const gw_arbiter *a);

/* [one] What gw_arbiter_run does, step by step, after gw_arbiter_start: for
   a host with a loop of its own, as gw_server_turn.  GW_EOF: it has ended,
   well or not; gw_arbiter_run then says how, at once, with the exit_status
   for main. */
gw_result gw_arbiter_turn(gw_arbiter *a, int64_t *wait_ms);

/* [sig] Let gw_arbiter_run end: `how` is GW_STOP_*.  A second
   GW_STOP_GRACEFUL ends lame_duck, a second GW_STOP_QUICK hurries the
   first. */
gw_result gw_arbiter_stop(gw_arbiter *a, uint32_t how);

#define GW_STOP_GRACEFUL 0          /* requests that are there are answered,
                                       within graceful_timeout */
#define GW_STOP_QUICK    1          /* connections are closed where they
                                       stand */
#define GW_STOP_KILL     2          /* and workers killed, but for threads */

/* [any] Begin a reload: new workers one after the other, each in the place
   of an old one as soon as it is ready, with no request lost.  The hook
   on_reload is told when it begins, reloaded how it ended; when a new
   worker does not boot the old ones serve on.  One that is asked for during
   another comes after it; of several that wait, the last.
   Takes cfg: the application, hooks, log and options of the new workers;
   what it does not listen on any more is closed when the old ones are gone.
   worker_model and signals stay.  NULL: the same configuration, in new
   processes or threads; [sig] then.  With GW_MODEL_EXEC it must be NULL
   (GW_ERR_UNSUPPORTED): the program is started again as it is by then.  An
   error: there is something wrong with cfg, and nothing begins. */
gw_result gw_arbiter_reload(gw_arbiter *a, gw_config *cfg);

/* [sig] From now on there are to be so many workers, 1 to 1024: the oldest
   go first.  The hook nworkers_changed is told. */
gw_result gw_arbiter_scale(gw_arbiter *a, uint32_t workers);

/* [any] The same for one pool; gw_arbiter_scale, TTIN and TTOU are about
   the first: "main", or the first of gw_config_pool.  All pools together
   have 1024 workers at most, and what is more is not started.
   GW_ERR_NOT_FOUND: there is no such pool. */
gw_result gw_arbiter_scale_pool(gw_arbiter *a, const char *pool,
                                uint32_t workers);

/* [sig] What the signal does to an arbiter with the option `signals`: TERM
   a graceful stop, INT and QUIT a quick one, HUP a reload, TTIN one worker
   more, TTOU one less, USR1 opens the logs again, here and in the workers,
   USR2 an upgrade.  WINCH during an upgrade lets the workers go as soon as
   the other arbiter is ready, until HUP or the other's end; else nothing.
   GW_ERR_UNSUPPORTED: any other. */
gw_result gw_arbiter_signal(gw_arbiter *a, int32_t signo);

/* [sig] Begin an upgrade: the program is started again, as it was called,
   and whatever it and the library are by now; its arbiter takes the
   listeners over, and both serve.  Stop this one to commit; stop the other
   to go back.  What comes of it is in the log; one that is asked for while
   another is on its way is ignored.
   The other is in the process that calls gw_serve or gw_arbiter_new first,
   without forking before. */
gw_result gw_arbiter_upgrade(gw_arbiter *a);

/* [any] The host has waited for a process of which it does not know whether
   it was a worker: status is waitpid's.  Without this word the arbiter
   knows that a worker has ended, and not how. */
gw_result gw_arbiter_reaped(gw_arbiter *a, int32_t pid, int32_t status);

/* [any] The counters of all workers, those that have ended included. */
gw_result gw_arbiter_stats(const gw_arbiter *a, gw_stats *out);

/* [any] The requests of all workers, up to `cap`, the oldest of each worker
   first: those in flight (recorder 0); or also the last 64 of each that
   have ended (1), also those of a worker that was killed, until its
   successor has served as many. out[0].size is the size of each.  GW_AGAIN:
   there are more.  It asks no worker, and waits for none. */
gw_result gw_arbiter_requests(const gw_arbiter *a, uint32_t recorder,
                              gw_request_info *out, size_t cap, size_t *n);

/* [any] One of its sockets at a time, as the kernel has it: start with
   *cursor = 0; GW_EOF at the end.  One that is closed is left out. */
gw_result gw_arbiter_listeners(const gw_arbiter *a, uint32_t *cursor,
                               gw_listener_info *out);

/* [any] Wait up to timeout_ms (-1: for ever) until the arbiter, which
   another thread runs or turns, has ended.  What gw_arbiter_run returns of
   that; GW_AGAIN when time is up. */
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
   may sleep on the fd: 0 not at all, -1 for ever.  GW_EOF: stopped.  On a
   worker's server: while its hook worker_run runs. */
gw_result gw_server_turn(gw_server *s, int64_t *wait_ms);

/* [one] Serve a connected socket that somebody else accepted.  It is taken
   when the result is GW_OK. */
gw_result gw_server_adopt(gw_server *s, int32_t fd, uint32_t protocol);

gw_result gw_server_wake(gw_server *s); /* [sig] Makes the fd readable. */

/* [one] What this thread says of requests from now on, by gw_deferred_reply
   and the like, does not make the fd readable: the next [one] call for this
   server is gw_server_turn, in the same thread, and sees to it. */
gw_result gw_server_cork(gw_server *s);

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

/* [any] One of its sockets at a time, as gw_arbiter_listeners; what an
   arbiter's worker accepts from, too. */
gw_result gw_server_listeners(const gw_server *s, uint32_t *cursor,
                              gw_listener_info *out);

/* ---- 13. hosted: the front is somebody else's -------------------------- */

/* requests of a foreign server in this process */
typedef struct gw_host gw_host;

typedef struct gw_exchange gw_exchange; /* one of them */

/* [one] Takes cfg.  One host for a process and its loop, made after the
   last fork; threads are started when the first request needs one.  An
   application that blocks, also a GW_APP_SERIAL one, runs on threads.
   Listeners, and options that are about a process, are GW_ERR_UNSUPPORTED. */
gw_result gw_host_new(gw_config *cfg, gw_host **out, gw_error *err);

/* [one] Takes cfg.  Whether gw_host_new could make a host of it: that is
   tried in a process of its own, unless this one has threads, and nothing
   of it stays.  For servers that check their configuration before they
   fork. */
gw_result gw_host_check(gw_config *cfg, gw_error *err);

/* [any] Readable when gw_host_next has something; -1: no host. */
int32_t gw_host_fd(const gw_host *h);

#define GW_HOST_FEED 1              /* there is room for the body again,
                                       after gw_exchange_feed said GW_AGAIN */
#define GW_HOST_PULL 2              /* there is something to pull, after
                                       GW_AGAIN, or the time for it is over */

/* [one] What is ready, one exchange at a time; call it until GW_AGAIN,
   which says that there is none. *what: GW_HOST_FEED, GW_HOST_PULL, or
   both. */
gw_result gw_host_next(gw_host *h, gw_exchange **ready, uint32_t *what);

/* [any] The counters of this host. */
gw_result gw_host_stats(const gw_host *h, gw_stats *out);

/* [one] Frees what exchanges do, which are still to be freed.  Waits
   graceful_timeout for applications that run on threads, then leaves them
   to those.  Handles to requests, and chunks that were pulled, stay good.
   Inside one of its own callbacks it does nothing. */
void gw_host_free(gw_host *h);

/* [one] A request that `env` describes: all of it is copied, `input` and
   `impl` are ignored. `request_method` must be a token; what else is
   missing is made up or empty.  PATH_INFO is what mounts look at;
   SCRIPT_NAME stands before theirs.  A body is announced by
   `content_length`, or by GW_ENV_HAS_BODY where its length is not known
   (-1).  Then gw_exchange_feed, gw_exchange_run, gw_exchange_head,
   gw_exchange_pull; at any moment gw_exchange_free. */
gw_result gw_exchange_new(gw_host *h, const gw_environ *env, void *user,
                          gw_exchange **out);

/* [any] What gw_exchange_new was given. */
void *gw_exchange_user(const gw_exchange *x);

/* [one] More of the request's body, GW_CHUNK_LAST with the end of it (not
   needed where content_length says it).  Copied before it returns; of a
   file range the descriptor is duplicated.  Before the application is
   called it is kept in memory, and past body_buffer in a file.  One chunk
   that is the whole body stays what it is: in memory, or read from the file
   that it is in.  Where the body is streamed (request_buffering=0) GW_AGAIN
   says that it is full and nothing was taken: wait for GW_HOST_FEED.
   GW_ERR_LIMIT: more than max_body; the answer is a 413. */
gw_result gw_exchange_feed(gw_exchange *x, const gw_chunk *chunk);

/* [one] Calls the application, or lets a thread do that, when the body is
   complete, or at once where it is streamed.  GW_OK: there is something to
   pull; GW_AGAIN: gw_host_next will say when. */
gw_result gw_exchange_run(gw_exchange *x);

/* [one] How long it has waited for a thread, in nanoseconds; 0 where it did
   not, or does still. */
uint64_t gw_exchange_queued(const gw_exchange *x);

/* [one] The head of the answer, with a Content-Length and a reason where
   there is one; it is valid until the next call, and gw_exchange_free.  A
   status of 1xx is an early hint: call again.  With GW_RESPONSE_EXCUSE it
   begins a page of the library's about an error (a 500, 503, 504 ...).
   GW_AGAIN: wait for GW_HOST_PULL.  GW_EOF: it was given. */
gw_result gw_exchange_head(gw_exchange *x, gw_response *out);

/* [one] The next piece of the answer's body: memory, or with GW_CHUNK_FILE
   a range of a file, valid until its `release` is called, which the host
   owes it, in any order, from any thread and also after gw_exchange_free.
   GW_CHUNK_LAST: it is the last.  GW_EOF: there is no more.  GW_AGAIN: wait
   for GW_HOST_PULL; the application is not asked for more than
   output_buffer ahead of what was released.  An error: the answer is not
   whole, and the client must see that. */
gw_result gw_exchange_pull(gw_exchange *x, gw_chunk *out);

/* [one] The exchange is over for the host: at any moment, also while the
   application runs on a thread or somebody has a handle to the request:
   they hear that the client is gone, and what they answer is thrown away.
   Not inside one of the host's own callbacks. */
void gw_exchange_free(gw_exchange *x);

/* ---- 14. application modules ------------------------------------------- */

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

/* GW_MODULE_SYMBOL.  Called once for each place that a configuration names
   the module for, in each process that loads it; `err` is never NULL.  What
   `out` points to lives as long as the process.  GW_ERR_ABI if the module
   does not go with args->abi. */
typedef gw_result (*gw_module_init_fn)(const gw_module_args *args,
                                       gw_module *out, gw_error *err);

/* ---- 15. macros -------------------------------------------------------- */

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
