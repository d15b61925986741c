/*
 * words.h - programs whose words are a configuration, and who may turn an
 * arbiter by hand, told by lines on standard input.
 */
#ifndef WORDS_H
#define WORDS_H

#include <gateway.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the program: do what one line says. */
static void  told(gw_arbiter *a, char *line);

static void
fatal(const gw_error *err)
{
    printf("%s: %s\n", gw_result_name(err->code), err->message);
    exit(err->exit_status);
}

static int
is(gw_str text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

static int
has(int count, char **words, const char *word)
{
    while (count-- > 0) {
        if (strcmp(words[count], word) == 0) {
            return 1;
        }
    }
    return 0;
}

static void
report(void *ctx, const gw_error *problem)
{
    (void) ctx;
    printf("%s: %s\n", gw_result_name(problem->code), problem->message);
}

static int
arbitrate(gw_config *cfg)
{
    gw_error    err = GW_INIT(gw_error);
    gw_arbiter *a = NULL;
    int64_t     wait_ms = 0;
    char        line[4096];
    gw_result   rc = gw_arbiter_new(cfg, &a, &err);

    if (rc >= 0) {
        rc = gw_arbiter_start(a, &err);
    }
    if (rc < 0) {
        fatal(&err);
    }
    setvbuf(stdin, NULL, _IONBF, 0);
    while (rc == GW_OK) {
        struct pollfd fds[2] = { { gw_arbiter_fd(a), POLLIN, 0 },
                                 { 0, POLLIN, 0 } };

        poll(fds, 2, wait_ms < 0 || wait_ms > 1000 ? 1000 : (int) wait_ms);
        if (fds[1].revents & POLLIN && fgets(line, sizeof line, stdin) != NULL) {
            line[strcspn(line, "\n")] = '\0';
            told(a, line);
        }
        rc = gw_arbiter_turn(a, &wait_ms);
    }
    gw_arbiter_free(a);
    return rc < 0;
}

#endif
