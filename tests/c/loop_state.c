/*
 * loop_state.c - what a process is before it uses the library, and after: the
 * same, as far as a process can see itself.
 *
 *     loop_state scenario address directory
 *
 * The scenarios are servers and arbiters that serve requests and are freed, and
 * some that fail; and `spoil-X`, which change one thing themselves, so that it
 * is known to be looked at.  Prints `same`, or the lines that differ.
 */
#define _GNU_SOURCE
#include "loop_client.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

extern char **environ;

/* ---- what is called at the end of the process, or at a fork ---- */

/* These take the place of libc's for the library, too (-rdynamic), and count.
   Destructors of a thread's variables are not among them: the standard library
   of Rust leaves some, which is why the library is never unloaded. */
static int at_exit, at_fork;

int __cxa_atexit(void (*function)(void *), void *arg, void *dso);
int on_exit(void (*function)(int, void *), void *arg);
int __register_atfork(void (*prepare)(void), void (*parent)(void),
                      void (*child)(void), void *dso);

int
__cxa_atexit(void (*function)(void *), void *arg, void *dso)
{
    int (*real)(void (*)(void *), void *, void *);

    *(void **) &real = dlsym(RTLD_NEXT, "__cxa_atexit");
    at_exit++;
    return real(function, arg, dso);
}

int
on_exit(void (*function)(int, void *), void *arg)
{
    int (*real)(void (*)(int, void *), void *);

    *(void **) &real = dlsym(RTLD_NEXT, "on_exit");
    at_exit++;
    return real(function, arg);
}

int
__register_atfork(void (*prepare)(void), void (*parent)(void),
                  void (*child)(void), void *dso)
{
    int (*real)(void (*)(void), void (*)(void), void (*)(void), void *);

    *(void **) &real = dlsym(RTLD_NEXT, "__register_atfork");
    at_fork++;
    return real(prepare, parent, child, dso);
}

/* ---- a process as text, a fact a line ---- */

typedef struct { char *text; size_t used; } facts;

static void
fact(facts *f, const char *format, ...)
{
    static const size_t  cap = 1 << 20;
    va_list              args;
    int                  n;

    if (f->text == NULL && (f->text = malloc(cap)) == NULL) {
        die("malloc");
    }
    va_start(args, format);
    n = vsnprintf(f->text + f->used, cap - f->used - 1, format, args);
    va_end(args);
    if (n < 0 || f->used + (size_t) n + 2 > cap) {
        fprintf(stderr, "too many facts\n");
        exit(2);
    }
    f->used += (size_t) n;
    f->text[f->used++] = '\n';
    f->text[f->used] = '\0';
}

/* The lines of a file that begin with one of the words, or contain one; all of
   them, without words. */
static void
file(facts *f, const char *path, const char *const *words)
{
    char   line[4096];
    FILE  *in = fopen(path, "re");

    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        const char *const *word = words;

        line[strcspn(line, "\n")] = '\0';
        while (word != NULL && *word != NULL && strstr(line, *word) == NULL) {
            word++;
        }
        if (word == NULL || *word != NULL) {
            fact(f, "%s %s", path, line);
        }
    }
    if (in != NULL) {
        fclose(in);
    }
}

static void
signals(facts *f)
{
    /* The kernel's: libc's sigaction hides two signals. */
    struct { unsigned long handler, flags, restorer, mask; } now;
    stack_t  stack;
    int      i;

    for (i = 1; i <= 64; i++) {
        if (syscall(SYS_rt_sigaction, i, NULL, &now, 8) == 0) {
            /* libc adds SA_RESTORER to whatever it sets, also to what was
               there before: it says nothing of what the signal does. */
            fact(f, "signal %d: %#lx %#lx %#lx", i, now.handler,
                 now.flags & ~0x04000000ul, now.mask);
        }
    }
    sigaltstack(NULL, &stack);
    fact(f, "sigaltstack %p %zu %d", stack.ss_sp, stack.ss_size, stack.ss_flags);
}

static void
descriptors(facts *f)
{
    struct dirent  *entry;
    char            path[64], link[PATH_MAX];
    DIR            *dir = opendir("/proc/self/fd");
    ssize_t         n;
    int             fd;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == dirfd(dir)) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        n = readlink(path, link, sizeof link - 1);
        link[n < 0 ? 0 : n] = '\0';
        fact(f, "descriptor %d: %s %#x %#x", fd, link, fcntl(fd, F_GETFD),
             fcntl(fd, F_GETFL));
    }
    closedir(dir);
}

static void
threads_and_children(facts *f)
{
    struct dirent  *entry;
    char            path[300];
    DIR            *dir = opendir("/proc/self/task");
    pid_t           child;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            fact(f, "thread %s", entry->d_name);
            snprintf(path, sizeof path, "/proc/self/task/%s/children",
                     entry->d_name);
            file(f, path, NULL);
        }
    }
    closedir(dir);
    child = waitpid(-1, NULL, WNOHANG);
    fact(f, "waitpid %d %s", (int) child, child < 0 ? strerror(errno) : "");
}

static facts
look(void)
{
    static const char *const  status[] = {
        "Name:", "Umask:", "Uid:", "Gid:", "Groups:", "Threads:", "SigPnd:",
        "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:", "Cap", "NoNewPrivs:",
        "Seccomp:", "Cpus_allowed:", "NStgid:", NULL
    };
    static const char *const  shared[] = { " rw-s", " r--s", NULL };
    struct itimerval          timer;
    struct rlimit             limit;
    facts                     f = { NULL, 0 };
    char                      path[PATH_MAX];
    int                       i, value;

    signals(&f);
    file(&f, "/proc/self/status", status);
    file(&f, "/proc/self/oom_score_adj", NULL);
    file(&f, "/proc/self/maps", shared);
    descriptors(&f);
    threads_and_children(&f);

    fact(&f, "cwd %s", getcwd(path, sizeof path));
    fact(&f, "locale %s", setlocale(LC_ALL, NULL));
    fact(&f, "environ %p", (void *) environ);
    for (i = 0; environ[i] != NULL; i++) {
        fact(&f, "environ %p %s", (void *) environ[i], environ[i]);
    }
    for (i = 0; i < RLIM_NLIMITS; i++) {
        getrlimit(i, &limit);
        fact(&f, "limit %d: %llu %llu", i, (unsigned long long) limit.rlim_cur,
             (unsigned long long) limit.rlim_max);
    }
    for (i = 0; i < 3; i++) {
        getitimer(i, &timer);
        fact(&f, "timer %d: %ld %ld", i, (long) timer.it_interval.tv_usec,
             (long) timer.it_value.tv_sec);
    }
    value = 0;
    prctl(PR_GET_PDEATHSIG, &value);
    fact(&f, "signal at the parent's death %d", value);
    value = 0;
    prctl(PR_GET_CHILD_SUBREAPER, &value);
    fact(&f, "subreaper %d, dumpable %d, keepcaps %d, slack %d", value,
         prctl(PR_GET_DUMPABLE), prctl(PR_GET_KEEPCAPS),
         prctl(PR_GET_TIMERSLACK));
    fact(&f, "personality %#x, nice %d, scheduler %d",
         (unsigned) personality(0xffffffff), getpriority(PRIO_PROCESS, 0),
         sched_getscheduler(0));
    fact(&f, "group %d, session %d", (int) getpgrp(), (int) getsid(0));
    fact(&f, "at exit %d, at fork %d", at_exit, at_fork);
    return f;
}

/* The lines that are in `a` alone. */
static int
print_missing(const char *sign, facts a, facts b)
{
    char  *line, *rest, *copy = strdup(a.text);
    int    n = 0;

    for (line = strtok_r(copy, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest))
    {
        size_t       len = strlen(line);
        const char  *at = b.text;

        while ((at = strstr(at, line)) != NULL
               && ((at != b.text && at[-1] != '\n') || at[len] != '\n'))
        {
            at++;
        }
        if (at == NULL) {
            printf("%s %s\n", sign, line);
            n++;
        }
    }
    free(copy);
    return n;
}

/* ---- the scenarios ---- */

static const char *address, *directory;

/* A child that asks three times on each of three connections, and then tells
   this process to end; made before whatever it asks. */
static pid_t
client(int signum)
{
    pid_t  parent = getpid(), pid = fork();
    int    i, k, fd;

    if (pid != 0) {
        return pid;
    }
    for (i = 0; i < 3; i++) {
        fd = connect_at_last(address);
        for (k = 0; k < 3; k++) {
            ask(fd, NULL);
        }
        close(fd);
    }
    kill(parent, signum);
    _exit(0);
}

/* It is ours to wait for: nobody may have done it. */
static void
client_is_ours(pid_t pid)
{
    int status = -1;

    if (waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "the client ended with %#x, %s\n", status,
                strerror(errno));
        exit(2);
    }
}

static void
server(void)
{
    const char *const  options[] = { "bind", address, "keepalive", "1h", NULL };
    gw_error           err = GW_INIT(gw_error);
    gw_server         *s = NULL;
    struct pollfd      fd;
    int64_t            wait_ms;
    int                i, k, fds[3], pair[2];

    need(gw_server_new(configured(options), &s, &err), &err);
    for (i = 0; i < 3; i++) {
        fds[i] = connect_to(address);
        for (k = 0; k < 20; k++) {
            ask(fds[i], s);
        }
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        die("socketpair");
    }
    need(gw_server_adopt(s, pair[1], GW_PROTO_HTTP), &err);
    ask(pair[0], s);

    gw_server_stop(s, GW_STOP_GRACEFUL);
    fd = (struct pollfd) { gw_server_fd(s), POLLIN, 0 };
    while (gw_server_turn(s, &wait_ms) == GW_OK) {
        poll(&fd, 1, (int) wait_ms);
    }
    gw_server_free(s);
    for (i = 0; i < 3; i++) {
        close(fds[i]);
    }
    close(pair[0]);
}

/* Freed as it stands, with a connection and half a request. */
static void
server_cut(void)
{
    const char *const  options[] = { "bind", address, NULL };
    gw_error           err = GW_INIT(gw_error);
    gw_server         *s = NULL;
    int64_t            wait_ms;
    int                fd;

    need(gw_server_new(configured(options), &s, &err), &err);
    fd = connect_to(address);
    ask(fd, s);
    if (write(fd, "GET / HT", 8) != 8) {
        die("write");
    }
    gw_server_turn(s, &wait_ms);
    gw_server_free(s);
    close(fd);
}

/* gw_serve in this process, which logs, until the client's signal. */
static void
serve_inline(void)
{
    char               access[PATH_MAX], error[PATH_MAX];
    const char *const  options[] = { "bind", address, "worker_model", "inline",
                                     "accesslog", access, "errorlog", error,
                                     NULL };
    gw_error           err = GW_INIT(gw_error);
    pid_t              pid;

    snprintf(access, sizeof access, "%s/access.log", directory);
    snprintf(error, sizeof error, "%s/error.log", directory);
    pid = client(SIGTERM);
    need(gw_serve(configured(options), &err), &err);
    client_is_ours(pid);
}

static const char *model = "fork";

static void
arbiter(int signum, uint32_t how)
{
    const char *const  options[] = { "bind", address, "workers", "2", "signals",
                                     "1", "loglevel", "error", "worker_model",
                                     model, NULL };
    gw_error           err = GW_INIT(gw_error);
    gw_arbiter        *a = NULL;
    struct pollfd      fd;
    int64_t            wait_ms;
    pid_t              pid = client(signum);

    need(gw_arbiter_new(configured(options), &a, &err), &err);
    if (signum != SIGUSR1) {
        need(gw_arbiter_run(a, &err), &err);

    } else {
        /* The host's own signal and loop, and its way to stop. */
        need(gw_arbiter_start(a, &err), &err);
        client_is_ours(pid);
        gw_arbiter_stop(a, how);
        fd = (struct pollfd) { gw_arbiter_fd(a), POLLIN, 0 };
        while (gw_arbiter_turn(a, &wait_ms) == GW_OK) {
            poll(&fd, 1, (int) wait_ms);
        }
    }
    gw_arbiter_free(a);
    if (signum != SIGUSR1) {
        client_is_ours(pid);
    }
}

/* A thread that was joined may linger there for a moment. */
static void
threads_settle(void)
{
    struct timespec  moment = { 0, 1000000 };
    struct stat      tasks;
    int              i;

    for (i = 0; i < 10000; i++) {
        if (stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink == 3) {
            return;
        }
        nanosleep(&moment, NULL);
    }
}

static void arbiter_term(void) { arbiter(SIGTERM, 0); }
static void arbiter_int(void) { arbiter(SIGINT, 0); }
static void arbiter_host(void) { arbiter(SIGUSR1, GW_STOP_GRACEFUL); }
static void arbiter_kill(void) { arbiter(SIGUSR1, GW_STOP_KILL); }

/* Freed while its workers serve. */
static void
arbiter_cut(void)
{
    const char *const  options[] = { "bind", address, "workers", "2", "signals",
                                     "1", "loglevel", "error", "worker_model",
                                     model, NULL };
    gw_error           err = GW_INIT(gw_error);
    gw_arbiter        *a = NULL;
    int                fd;

    need(gw_arbiter_new(configured(options), &a, &err), &err);
    need(gw_arbiter_start(a, &err), &err);
    fd = connect_at_last(address);
    ask(fd, NULL);
    gw_arbiter_free(a);
    close(fd);
}

static void
with_threads(void (*run)(void))
{
    model = "threads";
    run();
    threads_settle();
}

static void threads_term(void) { with_threads(arbiter_term); }
static void threads_int(void) { with_threads(arbiter_int); }
static void threads_host(void) { with_threads(arbiter_host); }
static void threads_kill(void) { with_threads(arbiter_kill); }
static void threads_cut(void) { with_threads(arbiter_cut); }

/* What is refused: an option's value, a log that cannot be opened, an address
   that is taken. */
static void
failures(void)
{
    const char *const  options[] = { "bind", address, NULL };
    const char *const  catching[] = { "bind", address, "signals", "1",
                                      "loglevel", "error", NULL };
    gw_error           err = GW_INIT(gw_error);
    gw_config         *cfg = configured(options);
    gw_server         *s = NULL, *none = NULL;
    gw_arbiter        *a = NULL;

    if (gw_config_set(cfg, "workers", "many", &err) >= 0
        || gw_config_set(cfg, "errorlog", "/nonexistent/log", &err) < 0
        || gw_server_new(cfg, &none, &err) >= 0)
    {
        fprintf(stderr, "a wrong option, or log, is accepted\n");
        exit(2);
    }
    need(gw_server_new(configured(options), &s, &err), &err);
    if (gw_server_new(configured(options), &none, &err) >= 0
        || gw_arbiter_new(configured(catching), &a, &err) >= 0
        || gw_serve(configured(catching), &err) >= 0)
    {
        fprintf(stderr, "an address is given twice\n");
        exit(2);
    }
    gw_server_free(s);
}

static void nothing(void) { }
static void no_handler(int signum) { (void) signum; }
static void *no_thread(void *arg) { pause(); return arg; }
static void *a_thread(void *arg) { return arg; }

static void spoil_action(void) { signal(SIGPIPE, SIG_IGN); }
static void spoil_umask(void) { umask(0); }
static void spoil_environ(void) { setenv("SPOILT", "1", 1); }
static void spoil_fd(void) { if (dup(0) < 0) die("dup"); }
static void spoil_fd_flags(void) { fcntl(0, F_SETFD, FD_CLOEXEC); }
static void spoil_nonblock(void) { fcntl(2, F_SETFL, O_NONBLOCK | O_RDWR); }
static void spoil_atexit(void) { atexit(nothing); }
static void spoil_name(void) { prctl(PR_SET_NAME, "spoilt"); }
static void spoil_cwd(void) { if (chdir("/") != 0) die("chdir"); }

/* The handler stays: only what is blocked while it runs is another. */
static void
spoil_flags(void)
{
    struct sigaction action;

    sigaction(SIGTERM, NULL, &action);
    sigaddset(&action.sa_mask, SIGALRM);
    sigaction(SIGTERM, &action, NULL);
}

static void
spoil_mask(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void
spoil_limit(void)
{
    struct rlimit limit = { 0, 0 };

    setrlimit(RLIMIT_CORE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur--;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void
spoil_child(void)
{
    int   line[2];
    char  octet;

    if (pipe(line) != 0) {
        die("pipe");
    }
    if (fork() == 0) {
        close(line[1]);
        _exit(read(line[0], &octet, 1) > 0);    /* until this process ends */
    }
}

static void
spoil_thread(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, no_thread, NULL);
}

static const struct { const char *name; void (*run)(void); } scenarios[] = {
    { "server", server }, { "server-cut", server_cut },
    { "serve-inline", serve_inline }, { "arbiter-term", arbiter_term },
    { "arbiter-int", arbiter_int }, { "arbiter-host", arbiter_host },
    { "arbiter-kill", arbiter_kill }, { "arbiter-cut", arbiter_cut },
    { "threads-term", threads_term }, { "threads-int", threads_int },
    { "threads-host", threads_host }, { "threads-kill", threads_kill },
    { "threads-cut", threads_cut }, { "failures", failures },
    { "spoil-action", spoil_action }, { "spoil-flags", spoil_flags },
    { "spoil-umask", spoil_umask }, { "spoil-environ", spoil_environ },
    { "spoil-fd", spoil_fd }, { "spoil-fd-flags", spoil_fd_flags },
    { "spoil-nonblock", spoil_nonblock }, { "spoil-atexit", spoil_atexit },
    { "spoil-name", spoil_name }, { "spoil-cwd", spoil_cwd },
    { "spoil-mask", spoil_mask }, { "spoil-limit", spoil_limit },
    { "spoil-child", spoil_child }, { "spoil-thread", spoil_thread },
};

/* A host with ways of its own, so that it shows if something is set back to what
   is usual. */
static void
be_somebody(void)
{
    static char       stack[1 << 16];
    struct sigaction  action = { .sa_handler = no_handler,
                                 .sa_flags = SA_RESTART | SA_ONSTACK };
    stack_t           alternative = { .ss_sp = stack, .ss_size = sizeof stack };
    sigset_t          set;
    pthread_t         thread;

    /* libc catches a signal of its own from the first thread on. */
    if (pthread_create(&thread, NULL, a_thread, NULL) != 0
        || pthread_join(thread, NULL) != 0)
    {
        die("pthread_create");
    }
    threads_settle();
    sigaltstack(&alternative, NULL);
    sigaddset(&action.sa_mask, SIGHUP);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    umask(027);
    if (chdir(directory) != 0) {
        die("chdir");
    }
    setlocale(LC_ALL, "C");
    at_exit = at_fork = 0;
}

int
main(int argc, char **argv)
{
    facts   before, after;
    size_t  i;
    int     n;

    if (argc != 4) {
        fprintf(stderr, "usage: loop_state scenario address directory\n");
        return 2;
    }
    address = argv[2];
    directory = argv[3];
    for (i = 0; strcmp(scenarios[i].name, argv[1]) != 0;) {
        if (++i == sizeof scenarios / sizeof scenarios[0]) {
            fprintf(stderr, "%s: no such scenario\n", argv[1]);
            return 2;
        }
    }
    be_somebody();
    free(look().text);                  /* so that it changes nothing itself */
    before = look();
    scenarios[i].run();
    after = look();

    n = print_missing("-", before, after) + print_missing("+", after, before);
    if (n == 0) {
        puts("same");
    }
    fflush(stdout);
    _exit(n != 0);
}
