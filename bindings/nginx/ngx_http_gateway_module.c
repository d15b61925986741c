/*
 * ngx_http_gateway_module - applications of libgateway inside of nginx's workers.
 *
 *     location /shop {
 *         gateway_module  modules/shop.so  currency=EUR;
 *     }
 *
 * The substance is in libgateway: here a request of nginx's becomes a gw_exchange, and its answer goes
 * to nginx's output filters.  Three things wake a request: the client's body (feed), the host's one
 * descriptor (ready), and room towards the client (write).  All of them end in pump, which pulls what
 * there is.  A chunk is released when nginx's busy chain says that it was sent; libgateway does not ask
 * the application for more than output_buffer before that, and so a slow client slows it down.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <ngx_channel.h>
#include <gateway.h>


/* an application; locations that say the same of it share one */
typedef struct {
    ngx_str_t                   module;
    ngx_str_t                   args;
    ngx_array_t                *options;    /* of ngx_keyval_t */
    gw_host                    *host;       /* in a worker */
    time_t                      tried;      /* when it was to be made last */
} ngx_http_gateway_app_t;


typedef struct {
    ngx_array_t                 apps;       /* of ngx_http_gateway_app_t * */
    ngx_uint_t                  timed;      /* $gateway_app_time is used */
} ngx_http_gateway_main_conf_t;


typedef struct {
    gw_str                      name;
    off_t                       field;      /* of gw_environ; -1: a variable */
    ngx_uint_t                  if_not_empty;
    ngx_http_complex_value_t    value;
} ngx_http_gateway_param_t;


typedef struct {
    ngx_flag_t                  off;
    ngx_str_t                   module;
    ngx_str_t                   args;
    ngx_str_t                   prefix;     /* SCRIPT_NAME */
    u_char                     *file;       /* where it was said */
    ngx_uint_t                  line;

    ngx_array_t                *options;    /* of ngx_keyval_t */
    ngx_array_t                *params;     /* of ngx_http_gateway_param_t */
    ngx_flag_t                  request_buffering;
    ngx_flag_t                  pass_request_body;
    ngx_flag_t                  intercept_errors;
    ngx_flag_t                  ignore_client_abort;
    ngx_flag_t                  force_ranges;
    ngx_msec_t                  read_timeout;

    ngx_http_gateway_app_t     *app;
} ngx_http_gateway_loc_conf_t;


/* a chunk on its way to the client */
typedef struct ngx_http_gateway_piece_s  ngx_http_gateway_piece_t;

struct ngx_http_gateway_piece_s {
    ngx_http_gateway_piece_t   *next;       /* filters have the link's */
    ngx_chain_t                 link;
    ngx_buf_t                   buf;
    ngx_file_t                  file;
    gw_chunk                    chunk;
};


typedef struct {
    ngx_http_request_t         *request;
    gw_exchange                *exchange;   /* NULL: it was dropped */
    ngx_http_gateway_loc_conf_t  *conf;

    ngx_chain_t                *rest;       /* of the body, to be fed */
    ngx_http_gateway_piece_t   *busy;       /* what nginx has, in order */
    ngx_http_gateway_piece_t  **last;
    ngx_http_gateway_piece_t   *free;

    ngx_event_t                 timer;      /* gateway_read_timeout */
    struct timespec             began;
    ngx_msec_t                  app_time;
    ngx_msec_t                  queue_time;
    ngx_uint_t                  status;

    unsigned                    timed:1;
    unsigned                    body_read:1;
    unsigned                    watches:1;
    unsigned                    full:1;     /* the body waits for room */
    unsigned                    again:1;    /* others come first */
    unsigned                    head_sent:1;
    unsigned                    flushed:1;
    unsigned                    ended:1;    /* nothing is left to pull */
} ngx_http_gateway_ctx_t;


static void ngx_http_gateway_log(void *data, const gw_log_record *record);
static void ngx_http_gateway_leave_threads(void);
static gw_config *ngx_http_gateway_config(ngx_http_gateway_app_t *app,
    ngx_log_t *log, gw_error *err);
static ngx_int_t ngx_http_gateway_start(ngx_http_gateway_app_t *app,
    ngx_cycle_t *cycle);
static ngx_http_gateway_main_conf_t *ngx_http_gateway_apps(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_gateway_init_process(ngx_cycle_t *cycle);
static void ngx_http_gateway_exit_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_gateway_handler(ngx_http_request_t *r);
static void ngx_http_gateway_begin(ngx_http_request_t *r);
static ngx_int_t ngx_http_gateway_environ(ngx_http_request_t *r,
    ngx_http_gateway_loc_conf_t *glcf, gw_environ *env);
static gw_str ngx_http_gateway_port(u_char *p, struct sockaddr *sa);
static ngx_int_t ngx_http_gateway_params(ngx_http_request_t *r,
    ngx_http_gateway_loc_conf_t *glcf, gw_environ *env);
static void ngx_http_gateway_read(ngx_http_request_t *r);
static ngx_int_t ngx_http_gateway_feed(ngx_http_request_t *r,
    ngx_http_gateway_ctx_t *ctx);
static void ngx_http_gateway_not_reading(ngx_http_request_t *r);
static void ngx_http_gateway_refuse(ngx_http_request_t *r,
    ngx_http_gateway_ctx_t *ctx, ngx_int_t rc);
static void ngx_http_gateway_ready(ngx_event_t *ev);
static void ngx_http_gateway_write(ngx_http_request_t *r);
static void ngx_http_gateway_late(ngx_event_t *ev);
static void ngx_http_gateway_pump(ngx_http_request_t *r,
    ngx_http_gateway_ctx_t *ctx);
static gw_result ngx_http_gateway_pull(ngx_http_request_t *r,
    ngx_http_gateway_ctx_t *ctx, ngx_chain_t **out);
static ngx_int_t ngx_http_gateway_output(ngx_http_request_t *r,
    ngx_http_gateway_ctx_t *ctx, ngx_chain_t *out);
static void ngx_http_gateway_wait(ngx_http_request_t *r,
    ngx_http_gateway_ctx_t *ctx);
static void ngx_http_gateway_watch(ngx_http_request_t *r,
    ngx_http_gateway_ctx_t *ctx);
static void ngx_http_gateway_end(ngx_http_gateway_ctx_t *ctx);
static ngx_msec_t ngx_http_gateway_elapsed(ngx_http_gateway_ctx_t *ctx);
static ngx_uint_t ngx_http_gateway_is_current(ngx_http_gateway_ctx_t *ctx);
static void ngx_http_gateway_drop(ngx_http_gateway_ctx_t *ctx);
static void ngx_http_gateway_cleanup(void *data);
static ngx_int_t ngx_http_gateway_head(ngx_http_request_t *r,
    ngx_http_gateway_ctx_t *ctx);
static ngx_uint_t ngx_http_gateway_is(const gw_str *name, const char *lowcase);
static ngx_int_t ngx_http_gateway_keep(ngx_http_request_t *r,
    const gw_response *head, const char *const *names);
static ngx_uint_t ngx_http_gateway_has_error_page(ngx_http_request_t *r,
    ngx_int_t status);
static void ngx_http_gateway_redirect(ngx_http_request_t *r, ngx_str_t *uri);
#if (nginx_version >= 1029000)
static ngx_int_t ngx_http_gateway_early_hints(ngx_http_request_t *r,
    const gw_response *head);
#endif
static ngx_int_t ngx_http_gateway_header(ngx_http_request_t *r,
    const gw_pair *pair);
static void ngx_http_gateway_content_type(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_http_gateway_ctx_t *ngx_http_gateway_ctx(ngx_http_request_t *r);
static ngx_int_t ngx_http_gateway_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gateway_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gateway_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_gateway_init(ngx_conf_t *cf);
static void *ngx_http_gateway_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_gateway_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gateway_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_array_t *ngx_http_gateway_merge_options(ngx_conf_t *cf,
    ngx_array_t *outer, ngx_array_t *inner);
static ngx_uint_t ngx_http_gateway_same(ngx_http_gateway_app_t *a,
    ngx_http_gateway_app_t *b);
static char *ngx_http_gateway_app(ngx_conf_t *cf,
    ngx_http_gateway_loc_conf_t *conf);
static char *ngx_http_gateway_module_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_gateway_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gateway_param(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#define NGX_HTTP_GATEWAY_CONF  NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF          \
                               |NGX_HTTP_LOC_CONF

static ngx_command_t  ngx_http_gateway_commands[] = {

    { ngx_string("gateway_module"),
      NGX_HTTP_GATEWAY_CONF|NGX_HTTP_LIF_CONF|NGX_HTTP_LMT_CONF
                           |NGX_CONF_1MORE,
      ngx_http_gateway_module_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gateway_threads"),
      NGX_HTTP_GATEWAY_CONF|NGX_CONF_TAKE1,
      ngx_http_gateway_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gateway_set"),
      NGX_HTTP_GATEWAY_CONF|NGX_CONF_TAKE2,
      ngx_http_gateway_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gateway_param"),
      NGX_HTTP_GATEWAY_CONF|NGX_CONF_TAKE23,
      ngx_http_gateway_param,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gateway_request_buffering"),
      NGX_HTTP_GATEWAY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gateway_loc_conf_t, request_buffering),
      NULL },

    { ngx_string("gateway_pass_request_body"),
      NGX_HTTP_GATEWAY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gateway_loc_conf_t, pass_request_body),
      NULL },

    { ngx_string("gateway_intercept_errors"),
      NGX_HTTP_GATEWAY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gateway_loc_conf_t, intercept_errors),
      NULL },

    { ngx_string("gateway_ignore_client_abort"),
      NGX_HTTP_GATEWAY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gateway_loc_conf_t, ignore_client_abort),
      NULL },

    { ngx_string("gateway_force_ranges"),
      NGX_HTTP_GATEWAY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gateway_loc_conf_t, force_ranges),
      NULL },

    { ngx_string("gateway_read_timeout"),
      NGX_HTTP_GATEWAY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gateway_loc_conf_t, read_timeout),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gateway_module_ctx = {
    ngx_http_gateway_add_variables,        /* preconfiguration */
    ngx_http_gateway_init,                 /* postconfiguration */

    ngx_http_gateway_create_main_conf,     /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gateway_create_loc_conf,      /* create location configuration */
    ngx_http_gateway_merge_loc_conf        /* merge location configuration */
};


ngx_module_t  ngx_http_gateway_module = {
    NGX_MODULE_V1,
    &ngx_http_gateway_module_ctx,          /* module context */
    ngx_http_gateway_commands,             /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_gateway_init_process,         /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_gateway_exit_process,         /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_variable_t  ngx_http_gateway_vars[] = {

    { ngx_string("gateway_status"), NULL,
      ngx_http_gateway_status_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gateway_app_time"), NULL,
      ngx_http_gateway_time_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gateway_queue_time"), NULL,
      ngx_http_gateway_time_variable, 1,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


/* parameters that are no variables of the application, but its environ */

static struct {
    gw_str  name;
    off_t   field;
} ngx_http_gateway_fields[] = {
    { GW_LIT("REQUEST_METHOD"), offsetof(gw_environ, request_method) },
    { GW_LIT("SCRIPT_NAME"), offsetof(gw_environ, script_name) },
    { GW_LIT("PATH_INFO"), offsetof(gw_environ, path_info) },
    { GW_LIT("QUERY_STRING"), offsetof(gw_environ, query_string) },
    { GW_LIT("REQUEST_URI"), offsetof(gw_environ, request_uri) },
    { GW_LIT("CONTENT_TYPE"), offsetof(gw_environ, content_type) },
    { GW_LIT("SERVER_NAME"), offsetof(gw_environ, server_name) },
    { GW_LIT("SERVER_PORT"), offsetof(gw_environ, server_port) },
    { GW_LIT("SERVER_PROTOCOL"), offsetof(gw_environ, server_protocol) },
    { GW_LIT("REMOTE_ADDR"), offsetof(gw_environ, remote_addr) },
    { GW_LIT("REMOTE_PORT"), offsetof(gw_environ, remote_port) },
    { GW_LIT("REQUEST_SCHEME"), offsetof(gw_environ, url_scheme) },
};


/* threads that write to nginx's log, and whether that is over */

static ngx_atomic_t         ngx_http_gateway_logging;
static volatile ngx_uint_t  ngx_http_gateway_exits;


/* with X-Accel-Redirect, and of a 401 that error_page takes */

static const char *const  ngx_http_gateway_redirected[] = {
    "content-type", "set-cookie", "content-disposition", "cache-control",
    "expires", "accept-ranges", NULL
};

static const char *const  ngx_http_gateway_intercepted[] = {
    "www-authenticate", NULL
};


/* gateway_request_buffering off */

static ngx_keyval_t  ngx_http_gateway_streaming_option = {
    ngx_string("request_buffering"), ngx_string("0")
};

static ngx_array_t  ngx_http_gateway_streaming = {
    &ngx_http_gateway_streaming_option, 1, sizeof(ngx_keyval_t), 1, NULL
};


/* what is done for one request, or for requests of one host, before others */

#define NGX_HTTP_GATEWAY_ROUNDS  16


#define ngx_http_gateway_str(s)  (gw_str) { (char *) (s).data, (s).len }
#define ngx_http_gateway_field(env, at)  ((gw_str *) ((u_char *) (env) + (at)))


/* ---- applications of a process ---- */


static void
ngx_http_gateway_log(void *data, const gw_log_record *record)
{
    ngx_log_t *log = data;

    ngx_uint_t  level;

    level = record->level == GW_LOG_ERROR ? NGX_LOG_ERR
          : record->level == GW_LOG_WARN ? NGX_LOG_WARN
          : record->level == GW_LOG_INFO ? NGX_LOG_INFO
          : NGX_LOG_DEBUG;

    (void) ngx_atomic_fetch_add(&ngx_http_gateway_logging, 1);

    if (!ngx_http_gateway_exits) {
        ngx_log_error(level, log, 0, "gateway: %*s%s%*s",
                      record->id.len, record->id.data,
                      record->id.len ? ": " : "",
                      record->message.len, record->message.data);
    }

    (void) ngx_atomic_fetch_add(&ngx_http_gateway_logging, -1);
}


/*
 * Threads that a worker does not wait for go on until the process has ended.
 * By then nginx has freed its log, and unmapped this module.
 */

static void
ngx_http_gateway_leave_threads(void)
{
#if (NGX_HAVE_DLOPEN)
    Dl_info  self;

    if (dladdr(&ngx_http_gateway_module, &self)) {
        (void) dlopen(self.dli_fname, RTLD_NOW|RTLD_NOLOAD);
    }
#endif

    ngx_http_gateway_exits = 1;
    ngx_memory_barrier();

    while (ngx_http_gateway_logging) {
        ngx_sched_yield();
    }
}


static gw_config *
ngx_http_gateway_config(ngx_http_gateway_app_t *app, ngx_log_t *log,
    gw_error *err)
{
    int32_t       level;
    gw_config    *cfg;
    ngx_uint_t    i;
    ngx_keyval_t *option;

    cfg = gw_config_new();
    if (cfg == NULL) {
        ngx_memcpy(err->message, "no memory", sizeof("no memory"));
        return NULL;
    }

    level = log->log_level & NGX_LOG_DEBUG_HTTP ? GW_LOG_DEBUG
          : log->log_level >= NGX_LOG_INFO ? GW_LOG_INFO
          : log->log_level >= NGX_LOG_WARN ? GW_LOG_WARN
          : GW_LOG_ERROR;

    if (gw_config_log(cfg, level, ngx_http_gateway_log, log, NULL) < 0
        || gw_config_module(cfg, NULL, (char *) app->module.data,
                            (char *) app->args.data, err)
           < 0)
    {
        goto failed;
    }

    /* client_max_body_size has been there before */

    if (gw_config_set_int(cfg, GW_OPT_MAX_BODY, 0, err) < 0) {
        goto failed;
    }

    option = app->options->elts;

    for (i = 0; i < app->options->nelts; i++) {

        if (gw_config_set(cfg, (char *) option[i].key.data,
                          (char *) option[i].value.data, err)
            < 0)
        {
            goto failed;
        }
    }

    return cfg;

failed:

    gw_config_free(cfg);
    return NULL;
}


/* the first time in a worker, and when nginx has only one process */

static ngx_int_t
ngx_http_gateway_start(ngx_http_gateway_app_t *app, ngx_cycle_t *cycle)
{
    gw_error           err = GW_INIT(gw_error);
    gw_config         *cfg;
    ngx_event_t       *rev;
    ngx_connection_t  *c;

    app->tried = ngx_time();

    cfg = ngx_http_gateway_config(app, cycle->log, &err);

    if (cfg == NULL || gw_host_new(cfg, &app->host, &err) < 0) {
        app->host = NULL;
        ngx_log_error(NGX_LOG_EMERG, cycle->log, err.os_errno,
                      "gateway_module \"%V\": %s", &app->module, err.message);
        return NGX_ERROR;
    }

    c = ngx_get_connection(gw_host_fd(app->host), cycle->log);
    if (c == NULL) {
        goto failed;
    }

    /* as a channel: it is nobody's connection, and may be open at the end */

    c->data = app;
    c->pool = cycle->pool;
    c->write->log = cycle->log;
    c->write->channel = 1;

    rev = c->read;
    rev->log = cycle->log;
    rev->channel = 1;
    rev->handler = ngx_http_gateway_ready;

    if (ngx_add_event(rev, NGX_READ_EVENT, 0) != NGX_OK) {
        ngx_free_connection(c);
        goto failed;
    }

    return NGX_OK;

failed:

    gw_host_free(app->host);
    app->host = NULL;

    return NGX_ERROR;
}


static ngx_http_gateway_main_conf_t *
ngx_http_gateway_apps(ngx_cycle_t *cycle)
{
    return ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gateway_module);
}


/* after the fork, so that threads and descriptors are the worker's own */

static ngx_int_t
ngx_http_gateway_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                     i;
    ngx_http_gateway_app_t       **app;
    ngx_http_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_gateway_apps(cycle);

    if (gmcf == NULL
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    app = gmcf->apps.elts;

    for (i = 0; i < gmcf->apps.nelts; i++) {

        /* others go on without it: its requests are a 503, and try again */

        (void) ngx_http_gateway_start(app[i], cycle);
    }

    return NGX_OK;
}


static void
ngx_http_gateway_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                     i;
    ngx_http_gateway_app_t       **app;
    ngx_http_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_gateway_apps(cycle);

    if (gmcf == NULL) {
        return;
    }

    app = gmcf->apps.elts;

    /* a fast shutdown waits for no thread */

    for (i = 0; i < gmcf->apps.nelts && !ngx_terminate; i++) {
        if (app[i]->host != NULL) {
            gw_host_free(app[i]->host);
            app[i]->host = NULL;
        }
    }

    ngx_http_gateway_leave_threads();
}


/* ---- a request ---- */


static ngx_int_t
ngx_http_gateway_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_gateway_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gateway_module);

    /* an "if" says off */

    if (glcf->app == NULL) {
        return NGX_DECLINED;
    }

    if (glcf->app->host == NULL
        && (glcf->app->tried == ngx_time()
            || ngx_http_gateway_start(glcf->app, (ngx_cycle_t *) ngx_cycle)
               != NGX_OK))
    {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    if (!glcf->pass_request_body) {
        rc = ngx_http_discard_request_body(r);

        if (rc != NGX_OK) {
            return rc;
        }

        r->main->count++;
        ngx_http_gateway_begin(r);

        return NGX_DONE;
    }

    /* HTTP/1 says before it that there is a body */

    if (r->headers_in.content_length_n < 0
        && !r->headers_in.chunked
        && r->http_version < NGX_HTTP_VERSION_20
        && r->request_body == NULL
        && r == r->main)
    {
        r->main->count++;
        ngx_http_gateway_begin(r);

        return NGX_DONE;
    }

    if (!glcf->request_buffering) {
        r->request_body_no_buffering = 1;
    }

    rc = ngx_http_read_client_request_body(r, ngx_http_gateway_begin);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static void
ngx_http_gateway_begin(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    gw_result                     grc;
    gw_environ                    env = GW_INIT(gw_environ);
    ngx_pool_cleanup_t           *cln;
    ngx_http_gateway_ctx_t       *ctx;
    ngx_http_gateway_loc_conf_t  *glcf;
    ngx_http_gateway_main_conf_t *gmcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gateway_module);

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gateway_ctx_t));
    if (cln == NULL) {
        goto failed;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_gateway_ctx_t));

    ctx->request = r;
    ctx->conf = glcf;
    ctx->last = &ctx->busy;
    ctx->timer.handler = ngx_http_gateway_late;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;

    if (ngx_http_gateway_environ(r, glcf, &env) != NGX_OK) {
        goto failed;
    }

    grc = gw_exchange_new(glcf->app->host, &env, ctx, &ctx->exchange);

    if (grc < 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "gateway_module \"%V\" takes no request: %s",
                      &glcf->app->module, gw_result_text(grc));
        goto failed;
    }

    cln->handler = ngx_http_gateway_cleanup;

    ngx_http_set_ctx(r, ctx, ngx_http_gateway_module);

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gateway_module);

    if (gmcf->timed) {
        ctx->timed = 1;
        clock_gettime(CLOCK_MONOTONIC, &ctx->began);
    }

    r->write_event_handler = ngx_http_gateway_write;

    if (!(env.flags & GW_ENV_HAS_BODY) && env.content_length <= 0) {
        ctx->body_read = 1;

    } else {
        ctx->rest = r->request_body->bufs;
        rc = ngx_http_gateway_feed(r, ctx);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_gateway_refuse(r, ctx, rc);
            return;
        }
    }

    grc = gw_exchange_run(ctx->exchange);

    if (grc < 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "gateway_module \"%V\" runs no request: %s",
                      &glcf->app->module, gw_result_text(grc));
        ngx_http_gateway_drop(ctx);
        goto failed;
    }

    ngx_http_gateway_pump(r, ctx);
    return;

failed:

    ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
}


static ngx_int_t
ngx_http_gateway_environ(ngx_http_request_t *r,
    ngx_http_gateway_loc_conf_t *glcf, gw_environ *env)
{
    u_char                     *p;
    size_t                      n, len;
    ngx_uint_t                  i;
    ngx_str_t                  *name;
    gw_pair                    *headers;
    ngx_chain_t                *cl;
    ngx_list_part_t            *part;
    ngx_table_elt_t            *h;
    ngx_core_conf_t            *ccf;
    ngx_connection_t           *c;
    ngx_http_core_srv_conf_t   *cscf;

    c = r->connection;

    env->request_method = ngx_http_gateway_str(r->method_name);
    env->query_string = ngx_http_gateway_str(r->args);
    env->request_uri = ngx_http_gateway_str(r->unparsed_uri);
    env->server_protocol = ngx_http_gateway_str(r->http_protocol);
    env->remote_addr = ngx_http_gateway_str(c->addr_text);
    env->url_scheme = GW_STR("http");

#if (NGX_HTTP_SSL || NGX_COMPAT)
    if (c->ssl) {
        env->url_scheme = GW_STR("https");
    }
#endif

    /* the location's prefix, where that ends with a segment of the path */

    len = glcf->prefix.len;

    if (len
        && r->uri.len >= len
        && (r->uri.len == len || r->uri.data[len] == '/')
        && ngx_memcmp(r->uri.data, glcf->prefix.data, len) == 0)
    {
        env->script_name = ngx_http_gateway_str(glcf->prefix);

    } else {
        len = 0;
    }

    env->path_info.data = (char *) r->uri.data + len;
    env->path_info.len = r->uri.len - len;

    if (r->headers_in.content_type) {
        env->content_type =
                     ngx_http_gateway_str(r->headers_in.content_type->value);
    }

    cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);

    name = cscf->server_name.len ? &cscf->server_name : &r->headers_in.server;
    env->server_name = ngx_http_gateway_str(*name);

    /* the listening socket's port is the connection's */

    p = ngx_pnalloc(r->pool, 2 * (sizeof("65535") - 1));
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (c->listening) {
        env->server_port = ngx_http_gateway_port(p, c->listening->sockaddr);
    }

    env->remote_port = ngx_http_gateway_port(p + sizeof("65535") - 1,
                                             c->sockaddr);

    /*
     * The body: what was read of it, or what is announced.  After error_page
     * there may be one that was read for another application, in part or all.
     */

    env->content_length = -1;

    if (glcf->pass_request_body
        && r->request_body
        && !(r->reading_body && !r->request_body_no_buffering))
    {
        n = 0;

        for (cl = r->request_body->bufs; cl; cl = cl->next) {
            n += ngx_buf_size(cl->buf);
        }

        if (r == r->main && r->headers_in.chunked) {
            env->flags |= GW_ENV_HAS_BODY;

        } else if (r == r->main && r->reading_body
                   && r->request_body_no_buffering)
        {
            env->content_length = r->headers_in.content_length_n;

            if (env->content_length < 0) {
                env->flags |= GW_ENV_HAS_BODY;
            }

        } else if (n || (r == r->main && r->headers_in.content_length_n == 0)) {
            env->content_length = n;
        }
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);
    if (ccf->worker_processes > 1 && ccf->master) {
        env->flags |= GW_ENV_MULTIPROCESS;
    }

    n = 0;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        n += part->nelts;
    }

    headers = ngx_palloc(r->pool, n * sizeof(gw_pair));
    if (headers == NULL) {
        return NGX_ERROR;
    }

    env->headers = headers;
    env->header_count = n;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++, headers++) {
            headers->name = ngx_http_gateway_str(h[i].key);
            headers->value = ngx_http_gateway_str(h[i].value);
        }
    }

    return glcf->params ? ngx_http_gateway_params(r, glcf, env) : NGX_OK;
}


/* as text, behind p; empty for a unix socket */

static gw_str
ngx_http_gateway_port(u_char *p, struct sockaddr *sa)
{
    gw_str      text;
    ngx_uint_t  port;

    port = ngx_inet_get_port(sa);
    text.len = 0;
    p += sizeof("65535") - 1;

    while (port) {
        *--p = (u_char) ('0' + port % 10);
        port /= 10;
        text.len++;
    }

    text.data = (char *) p;

    return text;
}


/* gateway_param */

static ngx_int_t
ngx_http_gateway_params(ngx_http_request_t *r,
    ngx_http_gateway_loc_conf_t *glcf, gw_environ *env)
{
    size_t                     len;
    gw_pair                   *vars;
    ngx_str_t                  value;
    ngx_uint_t                 i, has_path;
    ngx_http_gateway_param_t  *param;

    param = glcf->params->elts;
    has_path = 0;

    vars = ngx_palloc(r->pool, glcf->params->nelts * sizeof(gw_pair));
    if (vars == NULL) {
        return NGX_ERROR;
    }

    env->vars = vars;

    for (i = 0; i < glcf->params->nelts; i++) {

        if (ngx_http_complex_value(r, &param[i].value, &value) != NGX_OK) {
            return NGX_ERROR;
        }

        if (value.len == 0) {
            if (param[i].if_not_empty) {
                continue;
            }

            value.data = (u_char *) "";
        }

        if (param[i].field < 0) {
            vars->name = param[i].name;
            vars->value = ngx_http_gateway_str(value);
            vars++;
            continue;
        }

        *ngx_http_gateway_field(env, param[i].field) =
                                                ngx_http_gateway_str(value);

        if (param[i].field == offsetof(gw_environ, path_info)) {
            has_path = 1;

        } else if (param[i].field == offsetof(gw_environ, script_name)
                   && !has_path)
        {
            len = value.len;

            if (r->uri.len < len
                || (r->uri.len > len && r->uri.data[len] != '/')
                || ngx_memcmp(r->uri.data, value.data, len) != 0)
            {
                len = 0;
            }

            env->path_info.data = (char *) r->uri.data + len;
            env->path_info.len = r->uri.len - len;
        }
    }

    env->var_count = vars - env->vars;

    return NGX_OK;
}


/* ---- the body of the request ---- */


/* more of it has come from the client, with gateway_request_buffering off */

static void
ngx_http_gateway_read(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    ngx_http_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gateway_module);

    if (r->connection->read->timedout) {
        r->connection->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    rc = ngx_http_gateway_feed(r, ctx);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_gateway_refuse(r, ctx, rc);
        return;
    }

    ngx_http_gateway_pump(r, ctx);
}


/* NGX_AGAIN: the client, or the application, has to do something first */

static ngx_int_t
ngx_http_gateway_feed(ngx_http_request_t *r, ngx_http_gateway_ctx_t *ctx)
{
    gw_chunk    chunk;
    gw_result   grc;
    ngx_int_t   rc;
    ngx_buf_t  *b;

    ctx->full = 0;

    for ( ;; ) {

        for ( /* void */ ; ctx->rest; ctx->rest = ctx->rest->next) {
            b = ctx->rest->buf;

            if (ngx_buf_size(b) == 0) {
                continue;
            }

            ngx_memzero(&chunk, sizeof(gw_chunk));
            chunk.len = ngx_buf_size(b);

            if (ngx_buf_in_memory(b)) {
                chunk.data = b->pos;

            } else {
                chunk.flags |= GW_CHUNK_FILE;
                chunk.fd = b->file->fd;
                chunk.offset = b->file_pos;
            }

            if (ctx->rest->next == NULL && !r->reading_body) {
                chunk.flags |= GW_CHUNK_LAST;
            }

            grc = gw_exchange_feed(ctx->exchange, &chunk);

            if (grc == GW_AGAIN) {
                ctx->full = 1;
                ngx_http_gateway_not_reading(r);
                return NGX_AGAIN;
            }

            if (grc < 0) {

                /* its answer says what is wrong, or it wants no more */

                ctx->body_read = 1;
                ngx_http_gateway_not_reading(r);
                r->read_event_handler = ngx_http_block_reading;
                return NGX_OK;
            }

            /* a subrequest leaves the body to others */

            if (r->request_body_no_buffering) {
                if (ngx_buf_in_memory(b)) {
                    b->pos = b->last;
                } else {
                    b->file_pos = b->file_last;
                }
            }
        }

        /* after error_page it is no longer ours to read */

        if (!r->reading_body || !r->request_body_no_buffering) {
            break;
        }

        r->request_body->bufs = NULL;
        r->read_event_handler = ngx_http_gateway_read;

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            return rc;
        }

        ctx->rest = r->request_body->bufs;

        if (rc == NGX_AGAIN && ctx->rest == NULL) {
            return NGX_AGAIN;
        }
    }

    if (!ctx->body_read) {
        ngx_memzero(&chunk, sizeof(gw_chunk));
        chunk.data = "";
        chunk.flags = GW_CHUNK_LAST;

        /* GW_ERR_STATE where its length has said so before */

        if (gw_exchange_feed(ctx->exchange, &chunk) == GW_AGAIN) {
            ctx->full = 1;
            return NGX_AGAIN;
        }

        ctx->body_read = 1;
    }

    r->read_event_handler = ngx_http_block_reading;

    return NGX_OK;
}


/* the body is wrong: that is the answer, and the application's is not wanted */

static void
ngx_http_gateway_refuse(ngx_http_request_t *r, ngx_http_gateway_ctx_t *ctx,
    ngx_int_t rc)
{
    if (ctx->head_sent) {
        ngx_http_gateway_end(ctx);
        rc = NGX_ERROR;

    } else {
        ngx_http_gateway_drop(ctx);
    }

    ngx_http_finalize_request(r, rc);
}


/* client_body_timeout is for a client that is waited for */

static void
ngx_http_gateway_not_reading(ngx_http_request_t *r)
{
    ngx_event_t  *rev;

    rev = r->connection->read;

    if (r->reading_body && rev->timer_set) {
        ngx_del_timer(rev);
    }
}


/* ---- the answer ---- */


/* the descriptor of a host is readable */

static void
ngx_http_gateway_ready(ngx_event_t *ev)
{
    uint32_t                 what;
    gw_result                grc;
    ngx_int_t                rc;
    ngx_uint_t               n;
    gw_exchange             *x;
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_http_gateway_app_t  *app;
    ngx_http_gateway_ctx_t  *ctx;

    c = ev->data;
    app = c->data;
    n = 0;

    while ((grc = gw_host_next(app->host, &x, &what)) == GW_OK) {
        ctx = gw_exchange_user(x);
        r = ctx->request;
        c = r->connection;

        if (!ngx_http_gateway_is_current(ctx)) {
            continue;
        }

        ngx_http_set_log_request(c->log, r);

        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                       "gateway ready: %uD \"%V\"", what, &r->uri);

        rc = NGX_OK;

        if ((what & GW_HOST_FEED) && ctx->full && !ctx->ended) {
            rc = ngx_http_gateway_feed(r, ctx);
        }

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_gateway_refuse(r, ctx, rc);

        } else if (!ctx->again) {
            ngx_http_gateway_pump(r, ctx);
        }

        ngx_http_run_posted_requests(c);

        if (++n == NGX_HTTP_GATEWAY_ROUNDS) {

            /* threads may go on to say that there is more */

            ngx_post_event(ev, &ngx_posted_next_events);
            return;
        }
    }

    if (grc < 0) {

        /* it is broken, and left as it is; the next request makes another */

        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "gateway_module \"%V\" is broken: %s",
                      &app->module, gw_result_text(grc));

        app->host = NULL;
        (void) ngx_del_event(ev, NGX_READ_EVENT, 0);
    }
}


/* the client can take more, or it is this subrequest's turn */

static void
ngx_http_gateway_write(ngx_http_request_t *r)
{
    ngx_event_t             *wev;
    ngx_connection_t        *c;
    ngx_http_gateway_ctx_t  *ctx;

    c = r->connection;
    wev = c->write;
    ctx = ngx_http_get_module_ctx(r, ngx_http_gateway_module);

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    ngx_http_gateway_pump(r, ctx);
}


/* gateway_read_timeout */

static void
ngx_http_gateway_late(ngx_event_t *ev)
{
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_http_gateway_ctx_t  *ctx;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    if (!ngx_http_gateway_is_current(ctx)) {
        return;
    }

    ngx_http_set_log_request(c->log, r);

    ngx_log_error(NGX_LOG_ERR, c->log, NGX_ETIMEDOUT,
                  "gateway application timed out");

    if (ctx->head_sent) {
        ngx_http_gateway_end(ctx);
        ngx_http_finalize_request(r, NGX_ERROR);

    } else {
        ctx->status = NGX_HTTP_GATEWAY_TIME_OUT;
        ngx_http_gateway_drop(ctx);
        ngx_http_finalize_request(r, NGX_HTTP_GATEWAY_TIME_OUT);
    }

    ngx_http_run_posted_requests(c);
}


/* take what there is to the client, until one of both has to wait */

static void
ngx_http_gateway_pump(ngx_http_request_t *r, ngx_http_gateway_ctx_t *ctx)
{
    gw_result     grc;
    ngx_int_t     rc;
    ngx_uint_t    n;
    ngx_chain_t  *out;

    if (ctx->ended) {
        return;
    }

    ctx->again = 0;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (!ctx->head_sent) {
        rc = ngx_http_gateway_head(r, ctx);

        if (rc == NGX_AGAIN) {
            ngx_http_gateway_wait(r, ctx);
            return;
        }

        if (rc == NGX_DONE) {
            return;
        }

        if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
            ngx_http_gateway_end(ctx);
            ngx_http_finalize_request(r, rc);
            return;
        }
    }

    n = 0;

    do {
        grc = ngx_http_gateway_pull(r, ctx, &out);

        if (grc == GW_EOF) {
            ngx_http_gateway_end(ctx);
        }

        rc = ngx_http_gateway_output(r, ctx, out);

        if (grc == GW_EOF || rc == NGX_ERROR) {
            ngx_http_gateway_end(ctx);
            ngx_http_finalize_request(r, rc);
            return;
        }

        if (grc < 0) {

            /* the head has left: what is missing can only be seen */

            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "gateway application did not end its answer (%s)",
                          gw_result_text(grc));

            ngx_http_gateway_end(ctx);
            ngx_http_finalize_request(r, NGX_ERROR);
            return;
        }

        if (++n >= NGX_HTTP_GATEWAY_ROUNDS
            && out
            && ctx->busy == NULL
            && r == r->connection->data)
        {
            /* a client may be as fast as an application that never ends */

            ngx_post_event(r->connection->write, &ngx_posted_next_events);
            ctx->again = 1;
            break;
        }

        /* what was sent at once may be what it waited for */

    } while (out && ctx->busy == NULL);

    ngx_http_gateway_wait(r, ctx);
}


/* all that can be pulled, as a chain */

static gw_result
ngx_http_gateway_pull(ngx_http_request_t *r, ngx_http_gateway_ctx_t *ctx,
    ngx_chain_t **out)
{
    gw_chunk                    chunk;
    gw_result                   grc;
    ngx_buf_t                  *b;
    ngx_chain_t               **last;
    ngx_http_gateway_piece_t   *piece;

    b = NULL;
    last = out;

    do {
        grc = gw_exchange_pull(ctx->exchange, &chunk);

        if (grc != GW_OK) {
            break;
        }

        if (chunk.flags & GW_CHUNK_LAST) {
            grc = GW_EOF;
        }

        if (chunk.len == 0) {
            chunk.release(chunk.arg);
            continue;
        }

        if (ctx->free) {
            piece = ctx->free;
            ctx->free = piece->next;

        } else {
            piece = ngx_palloc(r->pool, sizeof(ngx_http_gateway_piece_t));

            if (piece == NULL) {
                chunk.release(chunk.arg);
                grc = GW_ERR_MEMORY;
                break;
            }
        }

        piece->chunk = chunk;
        piece->link.buf = &piece->buf;

        piece->next = NULL;
        *ctx->last = piece;
        ctx->last = &piece->next;

        *last = &piece->link;
        last = &piece->link.next;

        b = &piece->buf;
        ngx_memzero(b, sizeof(ngx_buf_t));
        b->tag = (ngx_buf_tag_t) &ngx_http_gateway_module;

        if (chunk.flags & GW_CHUNK_FILE) {
            ngx_memzero(&piece->file, sizeof(ngx_file_t));
            ngx_str_set(&piece->file.name, "of a gateway application");
            piece->file.fd = chunk.fd;
            piece->file.log = r->connection->log;

            b->file = &piece->file;
            b->file_pos = chunk.offset;
            b->file_last = chunk.offset + (off_t) chunk.len;
            b->in_file = 1;

        } else {
            b->start = (u_char *) chunk.data;
            b->pos = b->start;
            b->last = b->pos + chunk.len;
            b->end = b->last;
            b->memory = 1;
        }

    } while (grc == GW_OK);

    *last = NULL;

    if (b == NULL) {
        return grc;
    }

    if (grc == GW_EOF) {
        b->last_buf = (r == r->main);
        b->last_in_chain = 1;

    } else {

        /* its memory may be what the application waits for */

        b->flush = 1;
        ctx->flushed = 1;
    }

    return grc;
}


static ngx_int_t
ngx_http_gateway_output(ngx_http_request_t *r, ngx_http_gateway_ctx_t *ctx,
    ngx_chain_t *out)
{
    ngx_int_t                  rc;
    ngx_uint_t                 cut;
    ngx_http_gateway_piece_t  *piece;

    if (out || ctx->busy || r->buffered || r->connection->buffered) {
        rc = ngx_http_output_filter(r, out);

    } else {
        rc = NGX_OK;
    }

    /* a range ends within it: nobody wants the rest of the chain */

    cut = 0;

    for (piece = out ? ctx->busy : NULL; piece; piece = piece->next) {

        if (cut) {
            piece->buf.pos = piece->buf.last;
            piece->buf.file_pos = piece->buf.file_last;

        } else if (piece->next && piece->link.next == NULL
                   && piece->buf.last_in_chain)
        {
            cut = 1;
        }
    }

    while (ctx->busy && ngx_buf_size(&ctx->busy->buf) == 0) {
        piece = ctx->busy;
        ctx->busy = piece->next;

        piece->next = ctx->free;
        ctx->free = piece;

        piece->chunk.release(piece->chunk.arg);
    }

    if (ctx->busy == NULL) {
        ctx->last = &ctx->busy;
    }

    if (rc == NGX_ERROR || out) {
        return rc;
    }

    if (ctx->ended) {
        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    if (!ctx->flushed) {
        ctx->flushed = 1;
        return ngx_http_send_special(r, NGX_HTTP_FLUSH);
    }

    return rc;
}


/* for the application, or for the client */

static void
ngx_http_gateway_wait(ngx_http_request_t *r, ngx_http_gateway_ctx_t *ctx)
{
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    wev = c->write;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (ctx->body_read && !ctx->watches) {
        ctx->watches = 1;
        ngx_http_gateway_watch(r, ctx);
    }

    /* this is also what keeps a worker that is to exit */

    if (ctx->busy == NULL && (ctx->body_read || ctx->full)) {
        ngx_add_timer(&ctx->timer, ctx->conf->read_timeout);
    }

    /* with subrequests the client is that of one of them, in its turn */

    if (c->data != r) {
        return;
    }

    if (!wev->delayed) {
        if (r->buffered || c->buffered) {
            ngx_add_timer(wev, clcf->send_timeout);

        } else if (wev->timer_set) {
            ngx_del_timer(wev);
        }
    }

    if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}


/* see a client that leaves; what is discarded of its body is read by nginx */

static void
ngx_http_gateway_watch(ngx_http_request_t *r, ngx_http_gateway_ctx_t *ctx)
{
    ngx_event_t  *rev;

    if (ctx->conf->ignore_client_abort || r->discard_body || r->post_action) {
        return;
    }

    r->read_event_handler = ngx_http_test_reading;

    /* it may have come with the request, and then it is not told again */

    rev = r->connection->read;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);

    } else {
        (void) ngx_handle_read_event(rev, 0);
    }
}


/* there is no more to be pulled */

static void
ngx_http_gateway_end(ngx_http_gateway_ctx_t *ctx)
{
    if (ctx->ended) {
        return;
    }

    ctx->ended = 1;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->timed) {
        ctx->app_time = ngx_http_gateway_elapsed(ctx);
    }
}


static ngx_msec_t
ngx_http_gateway_elapsed(ngx_http_gateway_ctx_t *ctx)
{
    struct timespec  now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (now.tv_sec - ctx->began.tv_sec) * 1000
           + (now.tv_nsec - ctx->began.tv_nsec) / 1000000;
}


/* not after error_page, or post_action, which nginx may go to by itself */

static ngx_uint_t
ngx_http_gateway_is_current(ngx_http_gateway_ctx_t *ctx)
{
    if (ngx_http_get_module_ctx(ctx->request, ngx_http_gateway_module)
        == ctx)
    {
        return 1;
    }

    ngx_http_gateway_end(ctx);

    return 0;
}


/* the answer is another: nothing of this one was sent */

static void
ngx_http_gateway_drop(ngx_http_gateway_ctx_t *ctx)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    ngx_http_gateway_end(ctx);

    ctx->queue_time = gw_exchange_queued(ctx->exchange) / 1000000;
    gw_exchange_free(ctx->exchange);
    ctx->exchange = NULL;

    r->read_event_handler = ngx_http_block_reading;

    /* what was taken of the body as it came is nobody else's */

    if (r->request_body && r->request_body_no_buffering) {
        ngx_http_gateway_not_reading(r);
        r->request_body->bufs = NULL;
    }
}


static void
ngx_http_gateway_cleanup(void *data)
{
    ngx_http_gateway_ctx_t    *ctx = data;
    ngx_http_gateway_piece_t  *piece;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    while (ctx->busy) {
        piece = ctx->busy;
        ctx->busy = piece->next;
        piece->chunk.release(piece->chunk.arg);
    }

    if (ctx->exchange) {
        gw_exchange_free(ctx->exchange);
    }
}


/* ---- the head of the answer ---- */


static ngx_int_t
ngx_http_gateway_head(ngx_http_request_t *r, ngx_http_gateway_ctx_t *ctx)
{
    size_t        i;
    gw_result     grc;
    ngx_str_t     uri;
    gw_response   head;

    for ( ;; ) {
        grc = gw_exchange_head(ctx->exchange, &head);

        if (grc == GW_AGAIN) {
            return NGX_AGAIN;
        }

        if (grc != GW_OK) {
            ngx_http_gateway_drop(ctx);
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
            return NGX_DONE;
        }

        if (head.status >= 200) {
            break;
        }

#if (nginx_version >= 1029000)
        if (head.status == NGX_HTTP_EARLY_HINTS
            && ngx_http_gateway_early_hints(r, &head) != NGX_OK)
        {
            return NGX_ERROR;
        }
#endif
    }

    ctx->status = head.status;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "gateway head: %ui, %uz fields",
                   ctx->status, head.header_count);

    if (((head.flags & GW_RESPONSE_EXCUSE)
         || (ctx->conf->intercept_errors && head.status >= 300))
        && ngx_http_gateway_has_error_page(r, head.status))
    {
        if (head.status == NGX_HTTP_UNAUTHORIZED
            && ngx_http_gateway_keep(r, &head, ngx_http_gateway_intercepted)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        ngx_http_gateway_drop(ctx);
        ngx_http_finalize_request(r, head.status);
        return NGX_DONE;
    }

    for (i = 0; i < head.header_count; i++) {

        if (head.headers[i].name.len == sizeof("x-accel-redirect") - 1
            && ngx_http_gateway_is(&head.headers[i].name, "x-accel-redirect"))
        {
            uri.len = head.headers[i].value.len;
            uri.data = ngx_pnalloc(r->pool, uri.len);

            if (uri.data == NULL) {
                return NGX_ERROR;
            }

            ngx_memcpy(uri.data, head.headers[i].value.data, uri.len);

            if (ngx_http_gateway_keep(r, &head, ngx_http_gateway_redirected)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            ngx_http_gateway_drop(ctx);
            ngx_http_gateway_redirect(r, &uri);
            return NGX_DONE;
        }
    }

    r->headers_out.status = head.status;

    /* nginx has other phrases than RFC 9110 for some of them */

    if (head.reason.len
        && (head.status != 200 || head.reason.len != 2
            || ngx_memcmp(head.reason.data, "OK", 2) != 0))
    {
        r->headers_out.status_line.data = ngx_pnalloc(r->pool,
                                                      4 + head.reason.len);
        if (r->headers_out.status_line.data == NULL) {
            return NGX_ERROR;
        }

        r->headers_out.status_line.len =
            ngx_sprintf(r->headers_out.status_line.data, "%ui %*s",
                        ctx->status, head.reason.len, head.reason.data)
            - r->headers_out.status_line.data;
    }

    for (i = 0; i < head.header_count; i++) {
        if (ngx_http_gateway_header(r, &head.headers[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    ctx->head_sent = 1;

    /* conditions are the application's, and so are ranges */

    r->disable_not_modified = 1;
    if (ctx->conf->force_ranges) {
        r->allow_ranges = 1;
        r->single_range = 1;
    }

    return ngx_http_send_header(r);
}


static ngx_uint_t
ngx_http_gateway_is(const gw_str *name, const char *lowcase)
{
    size_t  len;

    len = ngx_strlen(lowcase);

    return name->len == len
           && ngx_strncasecmp((u_char *) name->data, (u_char *) lowcase, len)
              == 0;
}


/* fields that outlive an answer that is dropped; proxies keep the same */

static ngx_int_t
ngx_http_gateway_keep(ngx_http_request_t *r, const gw_response *head,
    const char *const *names)
{
    size_t              i;
    u_char             *p;
    gw_pair             pair;
    const char *const  *name;

    for (i = 0; i < head->header_count; i++) {
        pair = head->headers[i];

        for (name = names; *name; name++) {

            if (!ngx_http_gateway_is(&pair.name, *name)) {
                continue;
            }

            p = ngx_pnalloc(r->pool, pair.name.len + pair.value.len);
            if (p == NULL) {
                return NGX_ERROR;
            }

            ngx_memcpy(p, pair.name.data, pair.name.len);
            pair.name.data = (char *) p;
            p += pair.name.len;

            ngx_memcpy(p, pair.value.data, pair.value.len);
            pair.value.data = (char *) p;

            if (ngx_http_gateway_header(r, &pair) != NGX_OK) {
                return NGX_ERROR;
            }

            break;
        }
    }

    return NGX_OK;
}


/* as error_page has it: without one the application's page is sent */

static ngx_uint_t
ngx_http_gateway_has_error_page(ngx_http_request_t *r, ngx_int_t status)
{
    ngx_uint_t                 i;
    ngx_http_err_page_t       *page;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->error_pages == NULL
        || (r->error_page && !clcf->recursive_error_pages)
        || r != r->main)
    {
        return 0;
    }

    page = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {
        if (page[i].status == status) {
            return 1;
        }
    }

    return 0;
}


/* X-Accel-Redirect */

static void
ngx_http_gateway_redirect(ngx_http_request_t *r, ngx_str_t *uri)
{
    ngx_str_t   args;
    ngx_uint_t  flags;

    if (uri->len && uri->data[0] == '@') {
        ngx_http_named_location(r, uri);
        ngx_http_finalize_request(r, NGX_DONE);
        return;
    }

    ngx_str_null(&args);
    flags = NGX_HTTP_LOG_UNSAFE;

    if (ngx_http_parse_unsafe_uri(r, uri, &args, &flags) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_NOT_FOUND);
        return;
    }

    /* what follows has no body of a request */

    if (r->method != NGX_HTTP_HEAD) {
        r->method = NGX_HTTP_GET;
        r->method_name = ngx_http_core_get_method;
    }

    ngx_http_internal_redirect(r, uri, &args);
    ngx_http_finalize_request(r, NGX_DONE);
}


#if (nginx_version >= 1029000)

static ngx_int_t
ngx_http_gateway_early_hints(ngx_http_request_t *r, const gw_response *head)
{
    size_t            i;
    ngx_int_t         rc;
    ngx_table_elt_t  *h;

    if (r != r->main) {
        return NGX_OK;
    }

    for (i = 0; i < head->header_count; i++) {
        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->hash = 1;
        h->key.len = head->headers[i].name.len;
        h->key.data = (u_char *) head->headers[i].name.data;
        h->value.len = head->headers[i].value.len;
        h->value.data = (u_char *) head->headers[i].value.data;
        h->next = NULL;
    }

    r->headers_out.status = NGX_HTTP_EARLY_HINTS;

    /* where the directive early_hints allows it */

    rc = ngx_http_send_early_hints(r);

    ngx_http_clean_header(r);

    return rc == NGX_ERROR ? NGX_ERROR : NGX_OK;
}

#endif


/*
 * The values stay where they are: the exchange lives as long as the request's
 * pool, and so longer than the log needs them.
 */

static ngx_int_t
ngx_http_gateway_header(ngx_http_request_t *r, const gw_pair *pair)
{
    ngx_int_t            rate;
    ngx_str_t            value;
    ngx_table_elt_t     *h, **known;
#if (nginx_version < 1023000)
    ngx_table_elt_t    **cache;
#endif

    known = NULL;
    value.len = pair->value.len;
    value.data = (u_char *) pair->value.data;

    /* most write it as it is here */

#define is(text)                                                              \
    (pair->name.len == sizeof(text) - 1                                       \
     && (ngx_memcmp(pair->name.data, text, sizeof(text) - 1) == 0             \
         || ngx_strncasecmp((u_char *) pair->name.data, (u_char *) text,      \
                            sizeof(text) - 1)                                 \
            == 0))

    switch (pair->name.len) {

    case 4:
        known = is("Date") ? &r->headers_out.date
              : is("ETag") ? &r->headers_out.etag : NULL;
        break;

    case 6:
        known = is("Server") ? &r->headers_out.server : NULL;
        break;

    case 7:
        known = is("Expires") ? &r->headers_out.expires
              : is("Refresh") ? &r->headers_out.refresh : NULL;
        break;

    case 10:
        if (is("Connection")) {
            if (value.len == 5
                && ngx_strncasecmp(value.data, (u_char *) "close", 5) == 0)
            {
                r->keepalive = 0;
            }

            return NGX_OK;
        }

        if (is("Keep-Alive")) {
            return NGX_OK;
        }

        break;

    case 12:
        if (is("Content-Type")) {
            ngx_http_gateway_content_type(r, &value);
            return NGX_OK;
        }

        break;

    case 13:
        known = is("Last-Modified") ? &r->headers_out.last_modified
              : is("Content-Range") ? &r->headers_out.content_range
              : is("Accept-Ranges") ? &r->headers_out.accept_ranges : NULL;

        if (known == &r->headers_out.last_modified) {
            r->headers_out.last_modified_time =
                                   ngx_parse_http_time(value.data, value.len);
        }

#if (nginx_version >= 1023000)
        if (is("Cache-Control")) {
            known = &r->headers_out.cache_control;
        }
#endif

        break;

    case 14:
        if (is("Content-Length")) {
            r->headers_out.content_length_n = ngx_atoof(value.data,
                                                        value.len);
            return NGX_OK;
        }

        break;

    case 15:
        if (is("X-Accel-Charset")) {
            r->headers_out.override_charset = ngx_palloc(r->pool,
                                                         sizeof(ngx_str_t));
            if (r->headers_out.override_charset == NULL) {
                return NGX_ERROR;
            }

            *r->headers_out.override_charset = value;
            return NGX_OK;
        }

        if (is("X-Accel-Expires")) {
            return NGX_OK;
        }

        break;

    case 16:
        known = is("Content-Encoding") ? &r->headers_out.content_encoding
              : is("WWW-Authenticate") ? &r->headers_out.www_authenticate
              : NULL;
        break;

    case 17:
        if (is("Transfer-Encoding") || is("X-Accel-Buffering")) {
            return NGX_OK;
        }

        break;

    case 18:
        if (is("X-Accel-Limit-Rate")) {
            rate = ngx_atoi(value.data, value.len);

            if (rate != NGX_ERROR) {
                r->limit_rate = (size_t) rate;
                r->limit_rate_set = 1;
            }

            return NGX_OK;
        }
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.len = pair->name.len;
    h->key.data = (u_char *) pair->name.data;
    h->value = value;

#if (nginx_version >= 1023000)

    h->next = NULL;

    while (known && *known) {
        known = &(*known)->next;
    }

#else

    /* for "expires" and "add_header Cache-Control" */

    if (is("Cache-Control")) {

        if (r->headers_out.cache_control.elts == NULL
            && ngx_array_init(&r->headers_out.cache_control, r->pool, 2,
                              sizeof(ngx_table_elt_t *))
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        cache = ngx_array_push(&r->headers_out.cache_control);
        if (cache == NULL) {
            return NGX_ERROR;
        }

        *cache = h;
    }

#endif

#undef is

    if (known) {
        *known = h;
    }

    return NGX_OK;
}


/* with a charset that filters can see */

static void
ngx_http_gateway_content_type(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char  *p, *semicolon, *end;

    r->headers_out.content_type = *value;
    r->headers_out.content_type_len = value->len;
    r->headers_out.content_type_lowcase = NULL;

    end = value->data + value->len;

    for (p = value->data; p < end; /* void */) {

        p = memchr(p, ';', end - p);

        if (p == NULL) {
            return;
        }

        semicolon = p++;

        while (p < end && *p == ' ') {
            p++;
        }

        if (end - p <= 8
            || ngx_strncasecmp(p, (u_char *) "charset=", 8) != 0)
        {
            continue;
        }

        p += 8;

        if (*p == '"') {
            p++;
        }

        if (end > p && end[-1] == '"') {
            end--;
        }

        r->headers_out.content_type_len = semicolon - value->data;
        r->headers_out.charset.data = p;
        r->headers_out.charset.len = end - p;
        return;
    }
}


/* ---- variables ---- */


/* also after error_page, which takes the context away */

static ngx_http_gateway_ctx_t *
ngx_http_gateway_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gateway_module);

    if (ctx || !(r->internal || r->filter_finalize)) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_gateway_cleanup) {
            ctx = cln->data;

            if (ctx->request == r) {
                return ctx;
            }
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_gateway_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gateway_ctx_t  *ctx;

    ctx = ngx_http_gateway_ctx(r);

    if (ctx == NULL || ctx->status == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(v->data, "%03ui", ctx->status) - v->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/* seconds with a resolution of milliseconds, as $request_time */

static ngx_int_t
ngx_http_gateway_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_msec_t               ms;
    ngx_http_gateway_ctx_t  *ctx;

    ctx = ngx_http_gateway_ctx(r);

    if (ctx == NULL || (!data && !ctx->timed)) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (data) {
        ms = ctx->exchange ? gw_exchange_queued(ctx->exchange) / 1000000
                           : ctx->queue_time;

    } else {

        ms = ctx->ended ? ctx->app_time : ngx_http_gateway_elapsed(ctx);
    }

    v->data = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(v->data, "%T.%03M", (time_t) ms / 1000, ms % 1000)
             - v->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/* ---- configuration ---- */


static ngx_int_t
ngx_http_gateway_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_gateway_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gateway_init(ngx_conf_t *cf)
{
    ngx_uint_t                     i;
    ngx_http_variable_t           *v;
    ngx_http_core_main_conf_t     *cmcf;
    ngx_http_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gateway_module);
    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    /* a clock that nobody looks at is not read */

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        if (v[i].name.len == sizeof("gateway_app_time") - 1
            && ngx_strncmp(v[i].name.data, "gateway_app_time", v[i].name.len)
               == 0)
        {
            gmcf->timed = 1;
        }
    }

    return NGX_OK;
}


static void *
ngx_http_gateway_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gateway_main_conf_t  *gmcf;

    gmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gateway_main_conf_t));
    if (gmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&gmcf->apps, cf->pool, 4,
                       sizeof(ngx_http_gateway_app_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return gmcf;
}


static void *
ngx_http_gateway_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gateway_loc_conf_t  *glcf;

    glcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gateway_loc_conf_t));
    if (glcf == NULL) {
        return NULL;
    }

    glcf->off = NGX_CONF_UNSET;
    glcf->params = NGX_CONF_UNSET_PTR;
    glcf->request_buffering = NGX_CONF_UNSET;
    glcf->pass_request_body = NGX_CONF_UNSET;
    glcf->intercept_errors = NGX_CONF_UNSET;
    glcf->ignore_client_abort = NGX_CONF_UNSET;
    glcf->force_ranges = NGX_CONF_UNSET;
    glcf->read_timeout = NGX_CONF_UNSET_MSEC;

    return glcf;
}


static char *
ngx_http_gateway_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_gateway_loc_conf_t *prev = parent;
    ngx_http_gateway_loc_conf_t *conf = child;

    ngx_uint_t                 inherited;
    ngx_http_core_loc_conf_t  *clcf;

    inherited = (conf->off == NGX_CONF_UNSET);

    if (inherited) {
        conf->off = prev->off;
        conf->module = prev->module;
        conf->args = prev->args;
        conf->prefix = prev->prefix;
        conf->file = prev->file;
        conf->line = prev->line;
    }

    ngx_conf_merge_ptr_value(conf->params, prev->params, NULL);
    ngx_conf_merge_value(conf->request_buffering, prev->request_buffering, 1);
    ngx_conf_merge_value(conf->pass_request_body, prev->pass_request_body, 1);
    ngx_conf_merge_value(conf->intercept_errors, prev->intercept_errors, 0);
    ngx_conf_merge_value(conf->ignore_client_abort, prev->ignore_client_abort,
                         0);
    ngx_conf_merge_value(conf->force_ranges, prev->force_ranges, 0);
    ngx_conf_merge_msec_value(conf->read_timeout, prev->read_timeout, 60000);

    conf->options = ngx_http_gateway_merge_options(cf, prev->options,
                                                   conf->options);
    if (conf->options == NULL) {
        return NGX_CONF_ERROR;
    }

    if (conf->off != 0) {
        return NGX_CONF_OK;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler != NULL && clcf->handler != ngx_http_gateway_handler) {

        /* not where something else answers already */

        if (inherited) {
            return NGX_CONF_OK;
        }

        if (!clcf->noname) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"gateway_module\" is beside another handler "
                          "of the same location in %s:%ui",
                          conf->file, conf->line);
            return NGX_CONF_ERROR;
        }
    }

    /* an "if" and a limit_except are at the place that they are in */

    if (!inherited && clcf->noname) {
        conf->prefix = prev->prefix;
    }

    /* nor in an "if" or a limit_except of that */

    if (inherited && clcf->noname && prev->app == NULL) {
        return NGX_CONF_OK;
    }

    clcf->handler = ngx_http_gateway_handler;

    return ngx_http_gateway_app(cf, conf);
}


/* options of the outer blocks come first, and so an inner one wins */

static ngx_array_t *
ngx_http_gateway_merge_options(ngx_conf_t *cf, ngx_array_t *outer,
    ngx_array_t *inner)
{
    ngx_uint_t     n;
    ngx_array_t   *all;
    ngx_keyval_t  *option;

    if (outer && inner == NULL) {
        return outer;
    }

    n = (outer ? outer->nelts : 0) + (inner ? inner->nelts : 0);

    all = ngx_array_create(cf->pool, n + 1, sizeof(ngx_keyval_t));
    if (all == NULL) {
        return NULL;
    }

    option = ngx_array_push_n(all, n);

    if (outer) {
        ngx_memcpy(option, outer->elts, outer->nelts * sizeof(ngx_keyval_t));
        option += outer->nelts;
    }

    if (inner) {
        ngx_memcpy(option, inner->elts, inner->nelts * sizeof(ngx_keyval_t));
    }

    return all;
}


static ngx_uint_t
ngx_http_gateway_same(ngx_http_gateway_app_t *a, ngx_http_gateway_app_t *b)
{
    ngx_uint_t     i;
    ngx_keyval_t  *x, *y;

#define same(s, t)                                                            \
    ((s).len == (t).len && ngx_memcmp((s).data, (t).data, (s).len) == 0)

    if (a->options->nelts != b->options->nelts
        || !same(a->module, b->module)
        || !same(a->args, b->args))
    {
        return 0;
    }

    x = a->options->elts;
    y = b->options->elts;

    for (i = 0; i < a->options->nelts; i++) {
        if (!same(x[i].key, y[i].key) || !same(x[i].value, y[i].value)) {
            return 0;
        }
    }

#undef same

    return 1;
}


/* the application of a location; one that is new is tried */

static char *
ngx_http_gateway_app(ngx_conf_t *cf, ngx_http_gateway_loc_conf_t *conf)
{
    gw_error                        err = GW_INIT(gw_error);
    gw_config                      *cfg;
    ngx_uint_t                      i;
    ngx_http_gateway_app_t         *app, **known;
    ngx_http_gateway_main_conf_t   *gmcf;

    app = ngx_pcalloc(cf->pool, sizeof(ngx_http_gateway_app_t));
    if (app == NULL) {
        return NGX_CONF_ERROR;
    }

    app->module = conf->module;
    app->args = conf->args;
    app->options = conf->options;

    if (!conf->request_buffering) {
        app->options = ngx_http_gateway_merge_options(cf, conf->options,
                                                 &ngx_http_gateway_streaming);
        if (app->options == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gateway_module);
    known = gmcf->apps.elts;

    for (i = 0; i < gmcf->apps.nelts; i++) {
        if (ngx_http_gateway_same(known[i], app)) {
            conf->app = known[i];
            return NGX_CONF_OK;
        }
    }

    known = ngx_array_push(&gmcf->apps);
    if (known == NULL) {
        return NGX_CONF_ERROR;
    }

    *known = app;
    conf->app = app;

    if (ngx_process == NGX_PROCESS_SIGNALLER) {
        return NGX_CONF_OK;
    }

    cfg = ngx_http_gateway_config(app, cf->log, &err);

    if (cfg == NULL || gw_host_check(cfg, &err) < 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "gateway_module \"%V\": %s in %s:%ui",
                      &app->module, err.message, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* gateway_module path [args]; gateway_module off */

static char *
ngx_http_gateway_module_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_gateway_loc_conf_t *glcf = conf;

    u_char                    *p;
    size_t                     len;
    ngx_str_t                 *value;
    ngx_uint_t                 i;
    ngx_http_core_loc_conf_t  *clcf;

    if (glcf->off != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            return "has arguments after \"off\"";
        }

        glcf->off = 1;
        return NGX_CONF_OK;
    }

    glcf->off = 0;
    glcf->module = value[1];
    glcf->file = cf->conf_file->file.name.data;
    glcf->line = cf->conf_file->line;

    if (ngx_conf_full_name(cf->cycle, &glcf->module, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    len = 1;

    for (i = 2; i < cf->args->nelts; i++) {
        len += value[i].len + 1;
    }

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    glcf->args.data = p;

    for (i = 2; i < cf->args->nelts; i++) {
        p = ngx_sprintf(p, "%s%V", i > 2 ? " " : "", &value[i]);
    }

    *p = '\0';
    glcf->args.len = p - glcf->args.data;

    /* a prefix is SCRIPT_NAME; an expression, or one address, is none */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if ((cf->cmd_type & NGX_HTTP_LOC_CONF)
        && !clcf->named && !clcf->exact_match
#if (NGX_PCRE)
        && clcf->regex == NULL
#endif
        )
    {
        glcf->prefix = clcf->name;

        while (glcf->prefix.len
               && glcf->prefix.data[glcf->prefix.len - 1] == '/')
        {
            glcf->prefix.len--;
        }
    }

    return NGX_CONF_OK;
}


/* gateway_set key value; gateway_threads number */

static char *
ngx_http_gateway_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gateway_loc_conf_t *glcf = conf;

    gw_error       err = GW_INIT(gw_error);
    gw_config     *cfg;
    gw_result      grc;
    ngx_str_t     *value;
    ngx_keyval_t  *option;

    value = cf->args->elts;

    if (glcf->options == NULL) {
        glcf->options = ngx_array_create(cf->pool, 4, sizeof(ngx_keyval_t));
        if (glcf->options == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    option = ngx_array_push(glcf->options);
    if (option == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2) {
        ngx_str_set(&option->key, "threads");
        option->value = value[1];

    } else {
        option->key = value[1];
        option->value = value[2];
    }

    if (ngx_strcmp(option->key.data, "request_buffering") == 0) {
        return "cannot say this: use \"gateway_request_buffering\"";
    }

    cfg = gw_config_new();
    if (cfg == NULL) {
        return NGX_CONF_ERROR;
    }

    grc = gw_config_set(cfg, (char *) option->key.data,
                        (char *) option->value.data, &err);
    gw_config_free(cfg);

    if (grc < 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s", err.message);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* gateway_param NAME value [if_not_empty] */

static char *
ngx_http_gateway_param(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gateway_loc_conf_t *glcf = conf;

    size_t                             i, n;
    gw_str                            *field;
    ngx_str_t                         *value;
    ngx_http_gateway_param_t          *param;
    ngx_http_compile_complex_value_t   ccv;

    if (glcf->params == NGX_CONF_UNSET_PTR) {
        glcf->params = ngx_array_create(cf->pool, 4,
                                        sizeof(ngx_http_gateway_param_t));
        if (glcf->params == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    param = ngx_array_push(glcf->params);
    if (param == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    ngx_memzero(param, sizeof(ngx_http_gateway_param_t));
    param->name = ngx_http_gateway_str(value[1]);
    param->field = -1;

    if (cf->args->nelts == 4) {
        if (ngx_strcmp(value[3].data, "if_not_empty") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[3]);
            return NGX_CONF_ERROR;
        }

        param->if_not_empty = 1;
    }

    n = sizeof(ngx_http_gateway_fields) / sizeof(ngx_http_gateway_fields[0]);

    for (i = 0; i < n; i++) {
        field = &ngx_http_gateway_fields[i].name;

        if (field->len == value[1].len
            && ngx_memcmp(field->data, value[1].data, field->len) == 0)
        {
            param->field = ngx_http_gateway_fields[i].field;
        }
    }

    if (ngx_strcmp(value[1].data, "CONTENT_LENGTH") == 0) {
        return "cannot set CONTENT_LENGTH: it is that of the body";
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));
    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = &param->value;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
