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

const char *gw_version(void);       /* [sig] static: "0.1.0" */
uint32_t gw_version_number(void);   /* [sig] of the library that is loaded */
uint32_t gw_abi(void);              /* [sig] compare with GW_ABI */
uint64_t gw_features(void);         /* [sig] GW_FEATURE_* bits */

/* ---- 2. results -------------------------------------------------------- */

/* 0 done, > 0 a normal outcome, < 0 an error */
typedef int32_t gw_result;

#define GW_OK       0               /* Done. */
#define GW_AGAIN    1               /* Not now; you will be told when. */
#define GW_EOF      2               /* There is no more. */
#define GW_DEFERRED 3               /* An application will answer later. */

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

#define GW_NOWAIT (1u << 0)         /* Do not block: `AGAIN` instead. */

#define GW_ENV_MULTITHREAD  (1u << 0)   /* wsgi.multithread: other threads
                                           of this process may run the
                                           application now. */
#define GW_ENV_MULTIPROCESS (1u << 1)   /* wsgi.multiprocess: other
                                           processes may run the application
                                           now. */
#define GW_ENV_RUN_ONCE     (1u << 2)   /* wsgi.run_once: this process
                                           serves one request only. */
#define GW_ENV_MAY_BLOCK    (1u << 3)   /* This thread is yours to block. */
#define GW_ENV_HAS_BODY     (1u << 6)   /* The request has a body, also when
                                           content_length is -1. */

#define GW_RESPONSE_REPLACE (1u << 0)   /* A second head, allowed until the
                                           first is sent: WSGI's exc_info. */

#define GW_APP_THREADSAFE  (1u << 0)    /* The application may be entered by
                                           many threads at once. */
#define GW_APP_NONBLOCKING (1u << 1)    /* The application never blocks: it
                                           runs on the loop. */
#define GW_APP_SERIAL      (1u << 2)    /* The application may block, and
                                           runs on the loop all the same,
                                           one request at a time: gunicorn's
                                           sync worker. */

/* wsgi.input: where the body of a request is read from.  Frozen. */
typedef struct gw_input {
    /* Reads 1 to `cap` octets; see `gw_read`. */
    int32_t (*read)(void *ctx, void *buf, size_t cap, uint32_t flags,
                    size_t *n);
    void     *ctx;                  /* Handed to `read`. */
} gw_input;

/* A request: the CGI variables that are needed often, its headers, and its
   body.
   All strings live as long as the request. */
typedef struct gw_environ {
    uint32_t       size;            /* Of this struct. */
    uint32_t       flags;           /* `ENV_*`. */
    gw_str         request_method;  /* A token, in the client's spelling. */
    gw_str         script_name;     /* The part of the path that led to this
                                       application; may be empty, never "/". */
    gw_str         path_info;       /* The rest of the path: percent-decoded
                                       octets. */
    gw_str         query_string;    /* Behind the question mark, as it came;
                                       may be empty. */
    gw_str         request_uri;     /* The request target as it came. */
    gw_str         content_type;    /* Missing when the request has none. */
    gw_str         server_name;     /* Never empty. */
    gw_str         server_port;     /* Never empty. */
    gw_str         server_protocol; /* "HTTP/1.1". */
    gw_str         remote_addr;     /* "unix:" for a peer on a unix socket. */
    gw_str         remote_port;     /* Empty for a peer on a unix socket. */
    gw_str         url_scheme;      /* "http" or "https". */
    int64_t        content_length;  /* -1: absent, or a chunked body. */
    const gw_pair *headers;
    size_t         header_count;
    const gw_pair *vars;
    size_t         var_count;
    gw_input       input;           /* Where the body is read from; a
                                       middleware replaces it in a derived
                                       environ. */
    void          *impl;
} gw_environ;

/* The head of a response.  Frozen: middleware copies it. */
typedef struct gw_response {
    uint16_t       status;          /* 1xx: sent at once, and not the head. */
    uint16_t       flags;           /* `RESPONSE_*`. */
    uint32_t       reserved;        /* 0. */
    gw_str         reason;          /* Empty: the standard phrase. */
    const gw_pair *headers;
    size_t         header_count;
    const void    *more;            /* NULL. */
} gw_response;

/* WSGI's write(): what is written leaves before the chunks of the body.
   Frozen. */
typedef struct gw_writer {
    /* Blocks while the client is slow where `ENV_MAY_BLOCK`, else takes all
       or nothing (`AGAIN`). */
    int32_t (*write)(void *ctx, const gw_chunk *chunk);
    void     *ctx;                  /* Handed to `write`. */
} gw_writer;

/* start_response, as C calls it. */
typedef int32_t (*gw_start_response_fn)(void *sr, const gw_response *head,
                                        gw_writer *writer);

/* What an application returns: a first chunk, then whatever `next` gives. */
typedef struct gw_body {
    uint32_t  size;                 /* Set by the library. */
    uint32_t  flags;                /* 0. */
    gw_chunk  first;                /* Leaves together with the head. */
    /* Unless NULL: OK and a chunk, EOF, AGAIN, or an error. */
    int32_t (*next)(void *ctx, gw_chunk *out);
    void    (*close)(void *ctx);    /* Called exactly once, whatever
                                       happened. */
    void     *ctx;                  /* Handed to `next` and `close`. */
} gw_body;

/* application(environ, start_response) -> iterable, as C writes it. */
typedef int32_t (*gw_app_fn)(void *ctx, gw_environ *env,
                             gw_start_response_fn start_response, void *sr,
                             gw_body *body);

/* An application: a function and its context. */
typedef struct gw_app {
    uint32_t    size;               /* Of this struct. */
    uint32_t    flags;              /* `APP_*`. */
    gw_app_fn   call;               /* The application. */
    void       *ctx;                /* Handed to `call`. */
    void      (*drop)(void *ctx);   /* Called with `ctx` when the last user
                                       is gone; may be NULL. */
    const char *name;               /* For log lines; may be NULL. */
} gw_app;

/* ---- 5. macros --------------------------------------------------------- */

#ifdef __cplusplus
# define GW_INIT(T) gw_init<T>()    /* the template below extern "C" */
#else
# define GW_INIT(T) { .size = (uint32_t)sizeof(T) }
#endif
#define GW_LIT(s) { (s), sizeof(s) - 1 }    /* initializer, of a literal */
#if !defined(__cplusplus)
# define GW_STR(s) ((gw_str) GW_LIT(s))     /* expression, of a literal */
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
