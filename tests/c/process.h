/*
 * process.h - what is the process's own: its signals, mask, descriptors, directory,
 * environment, umask, threads and children.  Looked at before and after.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of the program: what must be so. */
static void  check(int is_so, const char *what);

struct process {
    unsigned long  action[65][4];       /* as the kernel has them */
    char           mask[65];
    char           fds[4096], cwd[4096], env[65536];
    mode_t         umask;
    int            threads;
};

static int
entries(const char *path, char *names, size_t room)
{
    DIR            *dir = opendir(path);
    struct dirent  *entry;
    int             n = 0;

    names[0] = '\0';
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir)) {
            n++;
            if (strlen(names) + strlen(entry->d_name) + 2 < room) {
                strcat(strcat(names, entry->d_name), " ");
            }
        }
    }
    closedir(dir);
    return n;
}

static void
look(struct process *p)
{
    char      names[4096];
    sigset_t  mask;
    size_t    n;
    int       i;

    memset(p, 0, sizeof *p);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (i = 1; i <= 64; i++) {
        syscall(SYS_rt_sigaction, i, NULL, p->action[i], 8);
        /* Not what the C library adds: SA_RESTORER, and where that leads. */
        p->action[i][1] &= ~0x04000000ul;
        p->action[i][2] = 0;
        p->mask[i] = (char) sigismember(&mask, i);
    }
    entries("/proc/self/fd", p->fds, sizeof p->fds);
    check(getcwd(p->cwd, sizeof p->cwd) != NULL, "getcwd");
    for (i = 0, n = 0; environ[i] != NULL && n < sizeof p->env; i++) {
        n += (size_t) snprintf(p->env + n, sizeof p->env - n, "%s\n", environ[i]);
    }
    p->umask = umask(0);
    umask(p->umask);
    p->threads = entries("/proc/self/task", names, sizeof names);
}

/* How the process differs from what it was.  With had_threads: it has made its
   first thread since. */
static void
compare(const struct process *was, int had_threads)
{
    static struct process  is;
    char                   text[100];
    int                    i, status;
    pid_t                  pid;

    look(&is);
    /* A thread that has ended may linger there for a moment. */
    for (i = 0; i < 1000 && is.threads != was->threads; i++) {
        usleep(10000);
        look(&is);
    }
    for (i = 1; i <= 64; i++) {
        /* Those that the C library catches when a first thread is made. */
        if (had_threads && (i == 32 || i == 33)) {
            continue;
        }
        snprintf(text, sizeof text, "changed: signal %d", i);
        check(memcmp(was->action[i], is.action[i], sizeof is.action[i]) == 0
              && was->mask[i] == is.mask[i], text);
    }
    check(strcmp(was->fds, is.fds) == 0, "changed: descriptors");
    check(strcmp(was->cwd, is.cwd) == 0, "changed: directory");
    check(strcmp(was->env, is.env) == 0, "changed: environment");
    check(was->umask == is.umask, "changed: umask");
    check(was->threads == is.threads, "changed: threads");
    pid = waitpid(-1, &status, WNOHANG | __WALL);
    check(pid < 0, "changed: a child is left");
}

#endif
