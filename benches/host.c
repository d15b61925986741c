/*
 * host.c - bench.c without the library: the same data, one fork, and nothing
 * to do.  What an arbiter and a worker use is measured above this.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIG_SIZE 102400

static volatile char big_body[BIG_SIZE];

int
main(void)
{
    pid_t child;

    memset((char *) big_body, 'x', sizeof big_body);
    child = fork();
    if (child < 0) {
        perror("host");
        return 1;
    }
    if (child > 0) {
        /* Ended by a signal, this leaves the child to whoever measures. */
        return waitpid(child, NULL, 0) < 0;
    }

    pause();
    return 0;
}
