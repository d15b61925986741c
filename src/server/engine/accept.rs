//! Accepting: in batches, up to `worker_connections`, with a rest when the system has no more to give.

use std::io;
use std::sync::Arc;

use crate::base::log::log;
use crate::server::conn::Local;
use crate::sys::sock::{self, AcceptFailure};

use super::{Engine, TIMER_ACCEPT, TOKEN_LISTENER};

/// Connections that are accepted in one go, before those that are there get their turn.
const ACCEPT_BATCH: usize = 64;

/// Connections that may wait where the kernel does not say how many: the most that `backlog` allows.
const QUEUE_MAX: usize = 65_535;

/// Idle connections that give way at once.
const ROOM_MAX: usize = 1024;

/// How long accepting rests when the system has no descriptors or memory for another connection.
const ACCEPT_REST_MS: u64 = 100;

impl Engine {
    /// Accept from a listener; whether more may wait there.
    pub(super) fn accept(&mut self, index: usize) -> bool {
        let Some(listener) = self.listeners.get(index).cloned() else {
            return false;
        };
        for _ in 0..ACCEPT_BATCH {
            if !self.accepting {
                return false;
            }
            match sock::accept(listener.fd()) {
                Ok((_, peer, ip)) if !self.core.context.setup.permits(ip, &listener) => {
                    let peer = String::from_utf8_lossy(peer.address());
                    log!(
                        self.core.context.service.log,
                        Warn,
                        "server",
                        "closed a connection from {peer}: not one of FCGI_WEB_SERVER_ADDRS"
                    );
                }
                Ok((fd, peer, ip)) => {
                    self.begin(
                        fd,
                        (peer, ip),
                        Local::Listener(Arc::clone(&listener)),
                        self.terms[index].clone(),
                    );
                    self.check_room();
                    if listener.seat().is_none() {
                        self.take_turn();
                    }
                }
                Err(error) => match sock::accept_failure(&error) {
                    AcceptFailure::Empty => {
                        self.give_seat_back(&listener);
                        return false;
                    }
                    AcceptFailure::Lost => {}
                    AcceptFailure::Exhausted | AcceptFailure::Broken => {
                        self.rest(&error);
                        return false;
                    }
                },
            }
        }
        true
    }

    /// Accept whoever waits without this worker having been told: the one that was may have died of
    /// something else before it came to that.
    pub fn look_around(&mut self) {
        if self.accepting && self.stopping.is_none() {
            for index in 0..self.listeners.len() {
                self.accept(index);
            }
        }
    }

    /// At a stop: accept whoever is in the queue, and no more than can have been there when it came.
    /// Otherwise clients that come again as soon as they have their answer would put it off for ever.
    pub(super) fn drain(&mut self, index: usize) {
        let room = self.listeners[index].info().map_or(0, |info| info.backlog as usize);
        let room = if room == 0 { QUEUE_MAX } else { room };
        for _ in 0..=room / ACCEPT_BATCH {
            let is_late = self.core.context.now >= self.stop_at || self.control.is_quick();
            if is_late || !self.accept(index) {
                return;
            }
            self.core.context.tell_time();
        }
    }

    /// At `worker_connections`, others wait in the listeners' queues.
    pub(super) fn check_room(&mut self) {
        let most = self.core.context.setup.settings.worker_connections as usize;
        if self.held() >= most && !self.drains {
            self.counters().connections_full.up();
            self.make_room();
        }
        if self.held() >= most && !self.drains {
            self.pause_accepting();
        }
    }

    /// The same for those that have become idle since nobody is accepted.
    pub(super) fn make_room_late(&mut self) {
        let most = self.core.context.setup.settings.worker_connections as usize;
        if self.stopping.is_none() && self.held() >= most {
            self.make_room();
        }
    }

    /// For the sake of probes, connections that have been idle for longest give way.
    fn make_room(&mut self) {
        if !self.core.admission.as_ref().is_some_and(|it| it.has_probes()) {
            return;
        }
        let idle = self.conns.iter().filter(|(_, conn)| conn.is_kept());
        let mut idle: Vec<_> = idle.map(|(key, conn)| (conn.deadline, key)).collect();
        // As many as make the next look worth while.
        let most = (self.held() / 8).clamp(1, ROOM_MAX).min(idle.len());
        if most > 0 {
            idle.select_nth_unstable(most - 1);
        }
        for (_, key) in idle.drain(..most) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.give_way();
                self.drive(key);
            }
        }
    }

    /// No descriptors, no memory: what is there goes on, and room may come.
    pub(super) fn rest(&mut self, error: &io::Error) {
        self.counters().accept_errors.up();
        self.rested_for = error.to_string();
        self.rest_for(ACCEPT_REST_MS);
    }

    pub(super) fn rest_for(&mut self, ms: u64) {
        self.pause_accepting();
        self.rests_until = self.core.context.now + ms;
        self.core.wheel.insert(TIMER_ACCEPT, self.rests_until);
    }

    pub(super) fn pause_accepting(&mut self) {
        if std::mem::take(&mut self.accepting) {
            self.unwatch_listeners();
        }
    }

    pub(super) fn resume_accepting(&mut self) {
        let most = self.core.context.setup.settings.worker_connections as usize;
        self.end_rest();
        if self.accepting || self.held() >= most {
            return;
        }
        self.accepting = true;
        self.watch_listeners();
    }

    pub(super) fn unwatch_listeners(&mut self) {
        for (listener, watched) in self.listeners.iter().zip(&mut self.watched) {
            if std::mem::take(watched) {
                let _ = self.core.poller.remove(listener.fd());
            }
        }
    }

    /// Those that are its own; others no more.
    pub(super) fn watch_listeners(&mut self) {
        for (index, listener) in self.listeners.iter().enumerate() {
            let serves = self.serves(listener);
            if std::mem::replace(&mut self.watched[index], serves) == serves {
                continue;
            }
            if !serves {
                let _ = self.core.poller.remove(listener.fd());
                continue;
            }
            let token = TOKEN_LISTENER | index as u64;
            if let Err(error) = self.core.poller.add_listener(listener.fd(), token) {
                let local = listener.local();
                log!(self.core.context.service.log, Error, "server", "watch {local}: {error}");
            }
        }
    }
}
