/*
 * commands.h - lines that somebody sends to the program, as they come.
 */
#ifndef COMMANDS_H
#define COMMANDS_H

#include <string.h>
#include <unistd.h>

/* Of the program: do what one line says. */
static void  obey(char *line);

/* What can be read there now; nothing waits. */
static void
listen_to(int fd)
{
    static char    text[4096];
    static size_t  len;
    char          *end;
    ssize_t        n = read(fd, text + len, sizeof text - len - 1);

    len += n > 0 ? (size_t) n : 0;
    text[len] = '\0';
    while ((end = strchr(text, '\n')) != NULL) {
        *end = '\0';
        obey(text);
        len -= (size_t) (end + 1 - text);
        memmove(text, end + 1, len + 1);
    }
}

#endif
