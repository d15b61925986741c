/*
 * shim.h - the crossing: what Go asks of the library and hears from it, many
 * requests at a time.
 *
 * Go memory goes in for the length of a call, and holds numbers only; what
 * comes out is C memory.
 */
#ifndef GWGO_SHIM_H
#define GWGO_SHIM_H

#include <gateway.h>

/* Requests of a turn: what is known of them is to be in the processor's caches
   still when they are answered.  What large writes leave there is less. */
#define GWGO_TAKEN   32
#define GWGO_FEW     8
#define GWGO_EVENTS  128
#define GWGO_RELEASED 128
#define GWGO_BODY    4096           /* a body up to this size comes along */
#define GWGO_BODIES  (64 * 1024)    /* and all of a turn's */

enum {
    GWGO_REPLY = 1,                 /* all of an answer */
    GWGO_HEAD,                      /* its head, or a status of 1xx */
    GWGO_WRITE,                     /* octets of `text` */
    GWGO_LEND,                      /* octets at an address, until released */
    GWGO_FILE,                      /* a range of a file; fd is taken */
    GWGO_LAST,                      /* octets of `text`, and the end once they are taken */
    GWGO_END,                       /* of an answer; `status` is a gw_result */
};

/* Something to be done with a request. */
typedef struct gwgo_op {
    uintptr_t d;                    /* its gw_deferred */
    uint16_t  kind;
    uint16_t  flags;                /* GW_RESPONSE_*, of GWGO_REPLY and GWGO_HEAD */
    int32_t   status;
    uint64_t  head, head_len;       /* "Name: value\r\n" lines, in `text` */
    uint64_t  body, body_len;       /* in `text`, in a file, or an address */
    uint64_t  ticket;               /* what is lent goes by this number */
    int32_t   fd;
    int32_t   rc;                   /* what came of it */
} gwgo_op;

/* A request that was taken. */
typedef struct gwgo_request {
    gw_deferred      *d;
    const gw_environ *env;
    const char       *body;         /* what is there of a small one */
    uint32_t          body_len;
    int32_t           body_rc;      /* GW_OK: there is more; GW_EOF: that is
                                       all; GW_AGAIN: not asked for */
} gwgo_request;

/* What a turn brings; see gwgo_batch_new. */
typedef struct gwgo_batch {
    gwgo_request   taken[GWGO_TAKEN];
    gw_event       events[GWGO_EVENTS];
    uint64_t       released[GWGO_RELEASED];
    size_t         taken_n, events_n, released_n;
    int            more;            /* was released than there is room for */
    int64_t        wait_ms;
    struct gwgo_loan *_Atomic loans; /* that were released */
    char           bodies[GWGO_BODIES];
} gwgo_batch;

gwgo_batch *gwgo_batch_new(void);

/* Do all of `ops`, then, unless `s` is NULL, turn the server, and write down
   what is new.  What gw_server_turn returned; GW_EOF without a server. */
gw_result gwgo_turn(gw_server *s, gwgo_op *ops, size_t count,
                    const char *text, gwgo_batch *out);

/* gw_deferred_read. */
gw_result gwgo_read(uintptr_t d, char *buf, size_t cap, size_t *n);

/* gw_environ_get. */
gw_result gwgo_variable(uintptr_t d, const char *name, size_t name_len,
                        const char **value, size_t *value_len);

/* gw_log about this request. */
void gwgo_log(uintptr_t d, int32_t level, const char *text, size_t len);

enum {
    GWGO_ON_STARTING = 1, GWGO_WHEN_READY, GWGO_ON_RELOAD, GWGO_RELOADED, GWGO_PRE_EXEC, GWGO_ON_EXIT,
    GWGO_SPAWNED, GWGO_WORKER_READY, GWGO_WORKER_EXIT, GWGO_CHILD_EXIT,
};

/* The hooks of a configuration, whose context is `handle`, a number. */
gw_result gwgo_config_hooks(gw_config *cfg, uintptr_t handle, gw_error *err);

/* Records go to Go, and `handle` until there are no more. */
gw_result gwgo_config_log(gw_config *cfg, int32_t level, uintptr_t handle);

#endif
