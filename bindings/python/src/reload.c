/*
 * reload.c - an arbiter that reads its configuration again: HUP asks Python what to serve from now on.
 */
#include "wsgi.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int hup_fd = -1;                         /* of an arbiter that reads its configuration again */

static void
hup(int signo)
{
    uint64_t one = 1;
    ssize_t  n = write(hup_fd, &one, sizeof one);

    (void) signo, (void) n;
}

void
wsgi_catch_hup(void)
{
    struct sigaction action = { .sa_handler = hup, .sa_flags = SA_RESTART | SA_ONSTACK };

    if (hup_fd >= 0) {
        sigfillset(&action.sa_mask);
        (void) sigaction(SIGHUP, &action, NULL);
    }
}

/* HUP has come: what `reload` returns is the configuration from now on. */
static void
reload_now(wsgi_run *run, PyObject *reload, gw_config *(*configure)(PyObject *given, wsgi_run *run))
{
    PyObject  *given = PyObject_CallNoArgs(reload);
    gw_config *cfg = given != NULL ? configure(given, run) : NULL;

    Py_XDECREF(given);
    if (cfg == NULL) {
        if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
            PyErr_Clear();                      /* it has said why */
            return;
        }
        PyErr_Print();
        return;
    }
    wsgi_away();
    (void) gw_arbiter_reload(run->arbiter, cfg);
    wsgi_back();
}

gw_result
wsgi_supervise(gw_config *cfg, wsgi_run *run, PyObject *reload,
               gw_config *(*configure)(PyObject *given, wsgi_run *run), gw_error *err)
{
    struct sigaction before;
    gw_arbiter      *a = NULL;
    gw_result        rc;
    int64_t          wait = 0;
    struct pollfd    fds[2];

    (void) sigaction(SIGHUP, NULL, &before);
    hup_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    wsgi_away();
    rc = hup_fd < 0 ? GW_ERR_IO : gw_arbiter_new(cfg, &a, err);
    run->arbiter = a;
    if (rc >= 0) {
        rc = gw_arbiter_start(a, err);
    }
    fds[0] = (struct pollfd) { .fd = gw_arbiter_fd(a), .events = POLLIN };
    fds[1] = (struct pollfd) { .fd = hup_fd, .events = POLLIN };
    while (rc >= 0) {
        uint64_t count;

        rc = gw_arbiter_turn(a, &wait);
        wsgi_back();                            /* also when a fork has failed */
        wsgi_away();
        if (rc != GW_OK) {
            break;
        }
        if (wait != 0) {
            (void) poll(fds, 2, wait < 0 || wait > 1 << 30 ? -1 : (int) wait);
        }
        if (read(hup_fd, &count, sizeof count) == sizeof count) {
            wsgi_back();
            reload_now(run, reload, configure);
            wsgi_away();
        }
    }
    if (rc == GW_EOF) {
        rc = gw_arbiter_run(a, err);            /* how it ended, with what main should return */
    }
    gw_arbiter_free(a);
    (void) sigaction(SIGHUP, &before, NULL);
    wsgi_back();
    run->arbiter = NULL;
    if (hup_fd >= 0) {
        close(hup_fd);
        hup_fd = -1;
    }
    return rc;
}
