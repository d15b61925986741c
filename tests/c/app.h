/*
 * app.h - what applications under test have in common: numbers of the query
 * string, a short answer, an error that ends the program.
 */
#ifndef APP_H
#define APP_H

#include <gateway.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const gw_pair     text_plain = { GW_LIT("Content-Type"),
                                        GW_LIT("text/plain") };
static const gw_response ok = { .status = 200, .headers = &text_plain,
                                .header_count = 1 };

/* A parameter of the query string. */
static inline long long
number(gw_environ *env, const char *name, long long preset)
{
    gw_str value;

    if (gw_environ_query(env, name, strlen(name), &value) < 0) {
        return preset;
    }
    return strtoll(gw_environ_cstr(env, value), NULL, 10);
}

static inline gw_pair
pair(const char *name, const char *value)
{
    gw_pair p = { { name, strlen(name) }, { value, strlen(value) } };

    return p;
}

/* A short text as the whole answer. */
static inline gw_result
reply_text(gw_environ *env, gw_start_response_fn start, void *sr, gw_body *body,
    const char *text)
{
    gw_result rc = start(sr, &ok, NULL);

    return rc < 0 ? rc : gw_body_copy(env, body, text, strlen(text));
}

/* The program ends where the library fails. */
static inline void
need(gw_result rc, const gw_error *err)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", gw_result_name(rc), err->message);
        exit(err->exit_status);
    }
}

#endif
