//! One turn of an engine: what happened is handled, connections go on, and those whose time is over
//! end.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::error::{Error, Result};
use crate::server::conn::{Conn, Fate, Local};
use crate::server::crew::{Job, Task};
use crate::server::terms::Terms;
use crate::sys::poll::{self, Ready};
use crate::sys::sock::Peer;

use super::core::PARKED;
use super::notices::What;
use super::stop::this_thread;
use super::{
    Birth, Engine, Stop, TIMER_ACCEPT, TIMER_LAME, TIMER_NOTICE, TIMER_SEATS, TIMER_STOP,
    TOKEN_CREW, TOKEN_HOST, TOKEN_HUB, TOKEN_LISTENER, TOKEN_WAKER,
};

impl Engine {
    /// Wait up to `wait_ms` for something to do (0: not at all, -1: for ever) and do it.  Says how
    /// long the next turn may wait; `None` when the engine has stopped.
    pub fn turn(&mut self, wait_ms: i64) -> Result<Option<i64>> {
        if self.has_ended() {
            // A cork goes with the turn that it announced.
            self.control.turning.store(0, Ordering::Relaxed);
            return Ok(None);
        }
        self.control.turning.store(this_thread(), Ordering::Relaxed);
        let next = self.turn_inside(wait_ms);
        self.control.turning.store(0, Ordering::Relaxed);
        if let Ok(None) = next {
            self.tell(u64::MAX / 2);
            if let Some(pulled) = &self.core.context.pulled {
                pulled.close();
            }
        }
        next
    }

    fn turn_inside(&mut self, wait_ms: i64) -> Result<Option<i64>> {
        self.core.poller.wait(wait_ms).map_err(|source| Error::os("wait for events", &source))?;
        self.core.context.tell_time();
        self.obey();
        let mut ready = std::mem::take(&mut self.ready);
        ready.extend(self.core.poller.events());
        // An edge-triggered watcher of the descriptor is not told of what is left.
        self.more = ready.len() >= poll::EVENTS;
        for event in ready.drain(..) {
            self.handle(event);
        }
        self.ready = ready;
        self.expire();
        let mut again = std::mem::take(&mut self.again);
        for key in again.drain(..) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.queued = false;
            }
            self.drive(key);
        }
        if self.again.is_empty() {
            self.again = again;
        }
        self.read_mail();
        if !self.core.births.is_empty() {
            self.bear();
        }
        if std::mem::take(&mut self.has_idle) {
            self.make_room_late();
        }
        self.obey();
        self.tell(self.core.context.now);
        // What a thread still runs cannot be cut: who is in a hurry does not wait for it.
        if self.stopping == Some(Stop::Quick) || self.has_ended() {
            return Ok(None);
        }
        let has_births = !self.core.births.is_empty();
        if self.more
            || !self.again.is_empty()
            || has_births
            || self.has_idle
            || self.inbox.has_news()
        {
            return Ok(Some(0));
        }
        let now = self.core.context.now;
        Ok(Some(match self.core.wheel.next_deadline(now) {
            Some(deadline) => deadline.saturating_sub(now) as i64,
            None => -1,
        }))
    }

    /// Tell the log what may happen too often for a line each time.
    pub(super) fn tell(&mut self, now: u64) {
        let settings = &self.core.context.setup.settings;
        let (most, rested_for) = (settings.worker_connections, &self.rested_for);
        let text = |what| match what {
            What::Full => format!("worker_connections = {most} reached: new connections wait"),
            What::Busy => format!(
                "worker_requests = {} reached: a request was answered with 503",
                settings.worker_requests
            ),
            What::Rest => format!("accept: {rested_for}; new connections wait"),
            What::Shed => format!(
                "answered with 503: a request found no thread or taker in time (queue_limit = {}, queue_timeout = {} ms)",
                settings.queue_limit,
                settings.queue_timeout.as_millis()
            ),
        };
        let service = &self.core.context.service;
        if let Some(at) = self.notices.tell(service.counters(), &service.log, now, text) {
            self.core.wheel.insert(TIMER_NOTICE, at);
        }
    }

    fn has_ended(&self) -> bool {
        let is_empty = self.conns.is_empty() && self.core.away == 0 && self.core.parked.is_empty();
        self.stopping.is_some() && is_empty
    }

    fn handle(&mut self, event: Ready) {
        match event.token {
            TOKEN_WAKER => {
                self.control.waker.clear();
            }
            TOKEN_HOST => self.noticed = true,
            TOKEN_CREW => self.take_back(),
            token if token & TOKEN_LISTENER != 0 => {
                self.more |= self.accept((token & !TOKEN_LISTENER) as usize);
            }
            token if token & TOKEN_HUB != 0 => {
                if let Some(&key) = self.core.ways.get(token & !TOKEN_HUB)
                    && let Some(conn) = self.conns.get_mut(key)
                {
                    conn.way_noticed(token);
                    self.drive(key);
                }
            }
            key => {
                let Some(conn) = self.conns.get_mut(key) else {
                    return;
                };
                if event.readable || event.read_closed || event.error {
                    conn.readable(event.read_closed);
                }
                if event.error {
                    return self.remove(key, Fate::Close);
                }
                // A peer that is gone may have left a request (unix sockets): reading finds that,
                // and then the end; sending finds that nobody takes it.
                self.drive(key);
            }
        }
    }

    pub(super) fn drive(&mut self, key: u64) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.is_away()) else {
            return;
        };
        let fate = conn.drive(key, &mut self.core);
        self.has_idle |= !self.accepting && fate == Fate::Wait && conn.is_kept();
        self.settle(key, fate);
    }

    #[inline]
    fn settle(&mut self, key: u64, fate: Fate) {
        match fate {
            Fate::Wait | Fate::Away => {}
            Fate::Again => {
                // Once, however often events drove it meanwhile.
                if let Some(conn) = self.conns.get_mut(key)
                    && !std::mem::replace(&mut conn.queued, true)
                {
                    self.again.push(key);
                }
            }
            Fate::Close | Fate::Reset => self.remove(key, fate),
        }
    }

    /// Other threads, or our own, had something to say about requests.
    fn read_mail(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        self.inbox.take(&mut news);
        for key in news.drain(..) {
            if key & PARKED != 0 {
                self.core.unpark(key);
            } else if let Some(conn) = self.conns.get_mut(key) {
                conn.noticed();
                self.drive(key);
            }
        }
        self.news = news;
    }

    /// What the threads are done with.
    pub(super) fn take_back(&mut self) {
        let mut jobs = std::mem::take(&mut self.jobs);
        if let Some(crew) = &self.core.crew {
            crew.take_done(&mut jobs);
        }
        self.core.away -= jobs.len();
        for job in jobs.drain(..) {
            self.welcome(job);
        }
        self.jobs = jobs;
    }

    fn welcome(&mut self, job: Job) {
        match self.conns.get_mut(job.key) {
            Some(conn) if job.task == Task::Go => {
                let key = job.key;
                match conn.returned(job) {
                    Some(fate) => self.remove_now(key, fate),
                    None => self.drive(key),
                }
            }
            _ => self.core.give_slot(job.slot),
        }
    }

    pub(super) fn remove(&mut self, key: u64, fate: Fate) {
        match self.conns.get_mut(key) {
            Some(conn) if conn.is_doomed() => return,
            Some(conn) if conn.is_away() => match self.core.withdraw(key) {
                Some(job) => {
                    conn.returned(job);
                }
                // A thread uses its socket.
                None => return conn.doom(fate),
            },
            _ => {}
        }
        self.remove_now(key, fate);
    }

    fn remove_now(&mut self, key: u64, fate: Fate) {
        let Some(mut conn) = self.conns.remove(key) else {
            return;
        };
        conn.end(key, &mut self.core);
        if fate == Fate::Reset {
            conn.reset();
        }
        let is_apart = conn.is_apart();
        drop(conn);
        if is_apart {
            self.core.apart -= 1;
            return;
        }
        self.counters().connections.down();
        if !self.accepting && self.stopping.is_none() && self.core.context.now >= self.rests_until {
            self.resume_accepting();
        }
    }

    pub(super) fn begin(
        &mut self,
        fd: OwnedFd,
        peer: (Peer, Option<IpAddr>),
        local: Local,
        terms: Option<Arc<Terms>>,
    ) {
        let counters = self.counters();
        counters.accepted.plus(1);
        counters.connections.plus(1);
        let terms = terms.unwrap_or_else(|| Arc::clone(&self.core.context.terms));
        let key = self.conns.insert(Conn::new(fd, peer, local, terms));
        self.drive(key);
    }

    /// Begin the requests that are answered apart from others of their connection: they are no
    /// connections for the counters, nor for `worker_connections`, which limits them by themselves.
    #[cold]
    fn bear(&mut self) {
        while let Some(Birth { fd, kin }) = self.core.births.pop_front() {
            let key = self.conns.insert(Conn::apart(fd, kin));
            self.drive(key);
        }
    }

    /// How many connections there are.
    pub(super) fn held(&self) -> usize {
        self.conns.len() - (self.core.apart - self.core.births.len())
    }

    pub(super) fn expire(&mut self) {
        let now = self.core.context.now;
        self.core.wheel.advance(now);
        while let Some(key) = self.core.wheel.take_due() {
            match key {
                TIMER_ACCEPT if self.stopping.is_none() => self.resume_accepting(),
                TIMER_SEATS if self.stopping.is_none() => self.take_seats(),
                TIMER_SEATS | TIMER_ACCEPT | TIMER_STOP | TIMER_LAME | TIMER_NOTICE => {}
                key => self.expire_conn(key, now),
            }
        }
    }

    fn expire_conn(&mut self, key: u64, now: u64) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if conn.armed > now {
            // Overtaken by an earlier one, which is still to come.
            return;
        }
        conn.armed = u64::MAX;
        if conn.deadline > now {
            self.core.arm(key, conn);
            return;
        }
        let fate = conn.expire(key, &mut self.core);
        self.settle(key, fate);
    }
}
