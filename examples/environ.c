/*
 * environ.c - what an application is told: the twin of Python's
 * wsgiref.simple_server.demo_app.  "Hello world!", then every variable of the
 * environ, sorted, its value written as Python writes a string.
 *
 *     cc -o environ environ.c -lgateway && ./environ [address]
 *
 *     curl 'http://127.0.0.1:8000/a%20path?and=a+query'
 *     curl -H 'X-Twice: 1' -H 'X-Twice: 2' http://127.0.0.1:8000/
 */
#define _POSIX_C_SOURCE 200809L
#include <gateway.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
by_name(const void *a, const void *b)
{
    gw_str  x = ((const gw_pair *) a)->name, y = ((const gw_pair *) b)->name;
    int     d = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);

    return d != 0 ? d : (x.len > y.len) - (x.len < y.len);
}

/* The octets as Python's repr() of the same text, decoded as latin-1. */
static void
repr(FILE *out, gw_str s)
{
    char    quote = '\'';
    size_t  i;

    if (s.len > 0 && memchr(s.data, '\'', s.len) != NULL
        && memchr(s.data, '"', s.len) == NULL)
    {
        quote = '"';
    }

    fputc(quote, out);
    for (i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char) s.data[i];

        if (c == (unsigned char) quote || c == '\\') {
            fprintf(out, "\\%c", c);
        } else if (c == '\t' || c == '\n' || c == '\r') {
            fprintf(out, "\\%c", c == '\t' ? 't' : c == '\n' ? 'n' : 'r');
        } else if (c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad) {
            fprintf(out, "\\x%02x", c);
        } else if (c < 0x80) {
            fputc(c, out);
        } else {
            fprintf(out, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
        }
    }
    fputs(quote == '"' ? "\"\n" : "'\n", out);
}

static gw_result
demo(void *ctx, gw_environ *env, gw_start_response_fn start_response,
     void *sr, gw_body *body)
{
    static const gw_pair headers[] = {
        { GW_LIT("Content-Type"), GW_LIT("text/plain; charset=utf-8") },
    };
    gw_response     head = { .status = 200, .headers = headers,
                             .header_count = 1 };
    const gw_pair  *vars;
    gw_pair        *sorted;
    char           *text;
    size_t          n, i, len;
    FILE           *out;
    gw_result       rc = gw_environ_vars(env, &vars, &n);

    (void) ctx;
    if (rc < 0) {
        return rc;
    }

    sorted = gw_environ_alloc(env, n * sizeof *sorted);
    out = open_memstream(&text, &len);
    if (sorted == NULL || out == NULL) {
        return GW_ERR_MEMORY;
    }
    memcpy(sorted, vars, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_name);

    fputs("Hello world!\n\n", out);
    for (i = 0; i < n; i++) {
        fprintf(out, "%.*s = ", (int) sorted[i].name.len, sorted[i].name.data);
        repr(out, sorted[i].value);
    }
    fclose(out);
    rc = start_response(sr, &head, NULL);
    if (rc < 0) {
        free(text);
        return rc;
    }
    return gw_body_bytes(body, text, len, free, text);
}

int
main(int argc, char **argv)
{
    gw_app      app = GW_INIT(gw_app);
    gw_error    err = GW_INIT(gw_error);
    gw_config  *cfg = gw_config_new();

    app.call = demo;
    app.flags = GW_APP_THREADSAFE | GW_APP_NONBLOCKING;

    if (gw_config_set(cfg, "bind", argc > 1 ? argv[1] : "127.0.0.1:8000", &err)
        < 0 || gw_config_app(cfg, &app, &err) < 0 || gw_serve(cfg, &err) < 0)
    {
        fprintf(stderr, "environ: %s\n", err.message);
        return err.exit_status;
    }
    return 0;
}
