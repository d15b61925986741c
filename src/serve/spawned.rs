//! The program was started to serve FastCGI by a web server or by spawn-fcgi: its descriptor 0 is a
//! socket that listens (FastCGI 1.0 section 2.2, `FCGI_LISTENSOCK_FILENO`).

use std::io;
use std::os::fd::AsFd;

use crate::conf::listener::{Address, Listener, Protocol};
use crate::conf::settings::WorkerModel;
use crate::gateway::config::Config;
use crate::sys::{notify, relay};

/// Whether it was.  The specification asks whether getpeername says ENOTCONN, to tell such a program
/// from a CGI program; a socket that listens is one of those, and one can be asked whether it does.
pub(crate) fn is_spawned() -> bool {
    relay::listens(io::stdin().as_fd())
}

/// Listen there, unless something else was said.  Whoever starts such programs starts as many as are
/// wanted, and stops them by their numbers: so the process serves by itself, unless it is told how
/// many workers to have.
pub(crate) fn heed(config: &mut Config) {
    if config.has_only_pools() {
        return;
    }
    let settings = config.settings_mut();
    let has_passed = settings.systemd != Some(false) && notify::has_passed();
    if !settings.listeners.is_empty() || has_passed || !is_spawned() {
        return;
    }
    let mut listener = Listener::new(Address::Fd(0));
    listener.protocol = Protocol::FastCgi;
    settings.listeners.push(listener);
    if settings.workers == 0 && settings.worker_model == WorkerModel::Fork {
        settings.worker_model = WorkerModel::Inline;
        settings.workers = 1;
    }
}
