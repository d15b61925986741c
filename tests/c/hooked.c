/*
 * A module that may be mounted at several places: each has hooks, an argument
 * and something to drop of its own, and says whose hook runs where.
 *
 * NAME is what it calls itself.  It is compiled against headers of before, too,
 * and against some to come: tests/abi_guard.rs.
 */
#include <gateway.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef NAME
# define NAME "hooked"
#endif

typedef struct { char args[64]; gw_app app; gw_hooks hooks; } place;

static place places[8];
static int   used;

static void
tell(void *ctx, const char *what)
{
    char line[128];
    int  n = snprintf(line, sizeof line, "%d %s %s %s\n", (int) getpid(), NAME,
                      ((place *) ctx)->args, what);

    /* In one piece: there are other processes. */
    if (write(2, line, (size_t) n) != n) {
        _exit(9);
    }
}

static gw_result
answer(void *ctx, gw_environ *env, gw_start_response_fn start_response,
       void *sr, gw_body *body)
{
    gw_response head = { .status = 200 };
    char        line[128];
    int         n = snprintf(line, sizeof line, "%s %s %d", NAME,
                             ((place *) ctx)->args, (int) getpid());
    gw_result   rc = start_response(sr, &head, NULL);

    return rc < 0 ? rc : gw_body_copy(env, body, line, (size_t) n);
}

static gw_result
worker_init(void *ctx, const gw_worker *w)
{
    (void) w;
    tell(ctx, "init");
    return GW_OK;
}

#ifdef GW_CAUSE_OWN                     /* the header is not of before */
static gw_result
post_fork(void *ctx, const gw_worker *w)
{
    (void) w;
    tell(ctx, "post_fork");
    return GW_OK;
}
#endif

static void
worker_exit(void *ctx, const gw_worker *w)
{
    (void) w;
    tell(ctx, "exit");
}

static void
pre_request(void *ctx, gw_environ *env)
{
    (void) env;
    tell(ctx, "request");
}

static void
on_access(void *ctx, const gw_access *a)
{
    (void) a;
    tell(ctx, "access");
}

static void
app_dropped(void *ctx)
{
    tell(ctx, "app dropped");
}

static void
hooks_dropped(void *ctx)
{
    tell(ctx, "hooks dropped");
}

GW_MODULE_DECLARE;
gw_result
gw_module_init(const gw_module_args *told, gw_module *out, gw_error *err)
{
    place *p = &places[used++];

    (void) err;
    snprintf(p->args, sizeof p->args, "%s", told->args);
    p->app = (gw_app) { .size = sizeof p->app, .call = answer, .ctx = p,
                        .drop = app_dropped, .flags = GW_APP_THREADSAFE };
    p->hooks = (gw_hooks) { .size = sizeof p->hooks, .ctx = p,
                            .drop = hooks_dropped, .pre_request = pre_request,
                            .access = on_access, .worker_init = worker_init,
                            .worker_exit = worker_exit };
#ifdef GW_CAUSE_OWN
    p->hooks.post_fork = post_fork;
#endif
#ifdef LATER                            /* a member of a header to come */
    p->hooks.later = LATER;
#endif
    out->abi = GW_ABI;
    out->name = NAME;
    out->app = &p->app;
    out->hooks = &p->hooks;
    return GW_OK;
}
