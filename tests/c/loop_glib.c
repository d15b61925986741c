/*
 * loop_glib.c - a server inside GLib's main loop: a GSource with the server's
 * descriptor, and with a ready time for the time that it asks for.  TERM stops,
 * by a signalfd (g_unix_signal_add would start a thread).
 */
#define _GNU_SOURCE
#include "loop_app.h"

#include <glib-unix.h>
#include <glib.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

typedef struct {
    GSource     source;
    gw_server  *server;
} server_source;

static gboolean
dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    server_source  *s = (server_source *) source;
    int64_t         wait_ms;

    (void) callback;
    if (loop_turn(s->server, &wait_ms) == GW_EOF) {
        g_main_loop_quit(data);
        return G_SOURCE_REMOVE;
    }
    g_source_set_ready_time(source, wait_ms < 0 ? -1
                            : g_get_monotonic_time() + wait_ms * 1000);
    return G_SOURCE_CONTINUE;
}

static gboolean
on_term(gint fd, GIOCondition condition, gpointer data)
{
    struct signalfd_siginfo info;

    (void) condition;
    if (read(fd, &info, sizeof info) == sizeof info) {
        gw_server_stop(data, GW_STOP_GRACEFUL);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean
ignore(gpointer data)
{
    (void) data;
    return G_SOURCE_CONTINUE;
}

int
main(int argc, char **argv)
{
    /* Without prepare and check, GLib looks at the descriptor and the time. */
    static GSourceFuncs  funcs = { NULL, NULL, dispatch, NULL, NULL, NULL };
    GMainLoop           *loop;
    GSource             *source;
    server_source       *s;
    sigset_t             term;
    guint                stopper;
    int                  stop;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    stop = signalfd(-1, &term, SFD_CLOEXEC);

    loop = g_main_loop_new(NULL, FALSE);
    source = g_source_new(&funcs, sizeof *s);
    s = (server_source *) source;
    s->server = loop_server(argc, argv);
    g_source_add_unix_fd(source, gw_server_fd(s->server), G_IO_IN);
    g_source_set_ready_time(source, 0);     /* the first turn */
    g_source_set_callback(source, ignore, loop, NULL);
    g_source_attach(source, NULL);
    stopper = g_unix_fd_add(stop, G_IO_IN, on_term, s->server);

    g_main_loop_run(loop);

    g_source_remove(stopper);
    gw_server_free(s->server);
    g_source_unref(source);
    g_main_loop_unref(loop);
    close(stop);
    puts("stopped");
    return 0;
}
