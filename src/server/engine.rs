//! The event loop of one worker: listeners, connections, timers, and the end.
//!
//! An engine belongs to one thread at a time and owns none.  Whoever owns the thread calls
//! [`Engine::turn`]; a foreign loop watches [`Engine::fd`] and turns when it is readable.

mod accept;
mod admission;
mod core;
mod notices;
mod share;
mod stop;

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::base::error::{Error, Kind, Result};
use crate::base::slab::Slab;
use crate::conf::listener::Protocol;
use crate::gateway::counters::Counters;
use crate::gateway::flight::Recorder;
use crate::gateway::metrics::{Queue, Snapshot};
use crate::run::pool::Pool;
use crate::sys::listen::Listening;
use crate::sys::poll::Poller;
use crate::sys::sock::{self, Peer};
use crate::sys::{clock, send};

pub(super) use admission::Verdict;
use core::PARKED;
pub(super) use core::{Birth, Core};
use notices::{Notices, What};
pub use share::Peers;
use share::Share;
use stop::this_thread;
pub use stop::{Control, Stop};

use super::conn::{Conn, Fate, Local};
use super::crew::{Job, Task};
use super::inbox::Inbox;
use super::pulled::Pulled;
use super::setup::Setup;
use super::slot::Context;
use super::terms::Terms;

/// The kinds of event tokens; a connection's is its key in the slab, below all of these.
const TOKEN_LISTENER: u64 = 1 << 56;
const TOKEN_WAKER: u64 = 2 << 56;
const TOKEN_HOST: u64 = 3 << 56;
const TOKEN_CREW: u64 = 4 << 56;
const TOKEN_HUB: u64 = 8 << 56;
/// The key of the timer that ends a rest of the listeners.
const TIMER_ACCEPT: u64 = 1 << 56;
/// The key of the timer that ends a graceful stop.
const TIMER_STOP: u64 = 2 << 56;

/// The key of the timer that tells of what happened many times.
const TIMER_NOTICE: u64 = 3 << 56;

/// The key of the timer that looks after sockets whose worker is gone.
const TIMER_SEATS: u64 = 4 << 56;
/// The key of the timer that ends the time for which a stop was put off.
const TIMER_LAME: u64 = 6 << 56;

/// What may be done to an engine from outside, while a thread turns it.
#[derive(Clone)]
pub struct Remote {
    /// Stops it, and wakes it.
    pub control: Arc<Control>,
    /// Its requests, if there is no application.
    pub pulled: Option<Arc<Pulled>>,
    /// What it counts.
    pub counters: Arc<dyn AsRef<Counters> + Send + Sync>,
    /// See [`Engine::fd`].
    pub fd: RawFd,
    /// Where it listens.
    pub listeners: Arc<[Weak<Listening>]>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// The event loop of one worker.
#[derive(Debug)]
pub struct Engine {
    core: Core,
    conns: Slab<Conn>,
    listeners: Vec<Arc<Listening>>,
    /// What holds on each of them; `None`: the usual.
    terms: Vec<Option<Arc<Terms>>>,
    /// Those of them that are watched now.
    watched: Vec<bool>,
    /// They are watched, but for those of other workers.
    accepting: bool,
    /// Whoever is in the queue is accepted, however many there are.
    drains: bool,
    /// A connection has become idle while nobody was accepted.
    has_idle: bool,
    share: Share,
    /// When accepting goes on after a failure.
    rests_until: u64,
    /// Why it rested last.
    rested_for: String,
    notices: Notices,
    control: Arc<Control>,
    stopping: Option<Stop>,
    stop_at: u64,
    /// When a stop begins that was put off.
    lame_until: u64,
    /// The host's own descriptor has something.
    noticed: bool,
    /// Connections that were interrupted for the sake of the others.
    again: Vec<u64>,
    inbox: Arc<Inbox>,
    /// Scratch.
    due: Vec<u64>,
    news: Vec<u64>,
    ready: Vec<crate::sys::poll::Ready>,
    jobs: Vec<Job>,
}

impl Engine {
    /// An engine that serves `listeners`; made in the process and after the fork where it runs.
    pub fn new(
        setup: Arc<Setup>,
        listeners: Vec<Arc<Listening>>,
        counters: Arc<dyn AsRef<Counters> + Send + Sync>,
    ) -> Result<Self> {
        let recorder = Recorder::alone(clock::monotonic_ns());
        let recorder = recorder.map_err(|source| Error::os("make records", &source))?;
        Engine::recorded(setup, listeners, counters, recorder)
    }

    /// The same; others see its requests in what `recorder` writes down.
    pub fn recorded(
        setup: Arc<Setup>,
        listeners: Vec<Arc<Listening>>,
        counters: Arc<dyn AsRef<Counters> + Send + Sync>,
        recorder: Recorder,
    ) -> Result<Self> {
        let made = |source| Error::os("make an event loop", &source);
        let poller = Poller::new().map_err(made)?;
        let control = Arc::new(Control::new()?);
        poller.add(control.waker.fd(), TOKEN_WAKER).map_err(made)?;
        let now = clock::monotonic_ms();
        let service = Arc::new(setup.service(counters));
        let inbox = Arc::new(Inbox::new(Arc::clone(&control)));
        let queue_limit = setup.settings.queue_limit as usize;
        let context = Context {
            now,
            date: [b' '; 29],
            stopping: false,
            retiring: false,
            control: Arc::clone(&control),
            inbox: Arc::clone(&inbox),
            pulled: setup.stack.pulled.then(|| Arc::new(Pulled::new(queue_limit))),
            may_block: setup.may_block(),
            sigpipe_ignored: send::sigpipe_is_ignored(),
            timed: setup.access.is_some()
                || setup.stack.hooks.access.is_some()
                || setup.has_phases(),
            phased: setup.has_phases(),
            measures: setup.settings.measures(),
            limited: setup.settings.limits_requests(),
            seat: recorder.seat(0),
            service,
            terms: Arc::new(setup.usual_terms(Protocol::Http)),
            setup,
        };
        let terms = context.setup.terms_on(&listeners);
        let terms = terms.into_iter().map(|it| it.map(Arc::new)).collect();
        let core = Core::new(context, poller, recorder)?;
        if let Some(crew) = &core.crew {
            core.poller.add(crew.waker().fd(), TOKEN_CREW).map_err(made)?;
        }
        let notices = Notices::new(core.context.service.counters());
        let mut engine = Engine {
            core,
            conns: Slab::with_capacity(0),
            watched: vec![false; listeners.len()],
            terms,
            listeners,
            accepting: false,
            drains: false,
            has_idle: false,
            share: Share::default(),
            rests_until: 0,
            rested_for: String::new(),
            notices,
            control,
            stopping: None,
            stop_at: u64::MAX,
            lame_until: u64::MAX,
            noticed: false,
            again: Vec::new(),
            inbox,
            due: Vec::new(),
            news: Vec::new(),
            ready: Vec::new(),
            jobs: Vec::new(),
        };
        let has_patience = !engine.core.context.setup.settings.lame_duck.is_zero();
        engine.control.has_patience.store(has_patience, Ordering::SeqCst);
        let control = Arc::clone(&engine.control);
        if let Some(admission) = &mut engine.core.admission {
            admission.is_lame = Some(Box::new(move || control.is_lame()));
            admission.listeners = engine.listeners.iter().map(Arc::downgrade).collect();
        }
        engine.core.context.tell_time();
        engine.resume_accepting();
        Ok(engine)
    }

    /// Readable when there is something to do.
    pub fn fd(&self) -> RawFd {
        self.core.poller.fd()
    }

    /// For other threads and signal handlers.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        self.core.context.service.counters()
    }

    /// For other threads: what does not need the engine itself.
    pub fn remote(&self) -> Remote {
        Remote {
            control: Arc::clone(&self.control),
            pulled: self.core.context.pulled.clone(),
            counters: Arc::clone(&self.core.context.service.counters),
            fd: self.fd(),
            listeners: self.listeners.iter().map(Arc::downgrade).collect(),
        }
    }

    /// Requests for whoever asks, if the configuration has no application.
    pub fn pulled(&self) -> Option<&Arc<Pulled>> {
        self.core.context.pulled.as_ref()
    }

    /// Where it listens.
    pub fn listeners(&self) -> &[Arc<Listening>] {
        &self.listeners
    }

    /// Let [`Self::turn`] end also when `fd` becomes readable; [`Self::take_notice`] tells.
    pub fn watch(&self, fd: RawFd) -> Result<()> {
        let watched = self.core.poller.add(fd, TOKEN_HOST);
        watched.map_err(|source| Error::os("watch a descriptor", &source))
    }

    /// Whether the watched descriptor became readable since the last call.
    pub fn take_notice(&mut self) -> bool {
        std::mem::take(&mut self.noticed)
    }

    /// After so many requests, and at each one from there on until it says so, `may_retire` decides
    /// whether the engine retires: that request is answered and no other is accepted.
    pub fn retire_after(&mut self, requests: u64, may_retire: impl Fn() -> bool + Send + 'static) {
        self.core.limit_requests(requests, Box::new(may_retire));
    }

    /// Pages about the server show what `report` says, instead of this engine alone.
    pub fn report_with(&mut self, report: impl Fn() -> Snapshot + Send + 'static) {
        if let Some(admission) = &mut self.core.admission {
            admission.report = Some(Box::new(report));
        }
    }

    /// What it has counted, and its requests: as pages show them where there is no arbiter.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = admission::alone(&self.core.context);
        let queues = self.listeners.iter().filter_map(|listening| Queue::of(listening));
        queues.for_each(|queue| snapshot.add_queue(queue));
        snapshot
    }

    /// Whether a thread did not come back from a request whose time was over, since the last call: the
    /// worker lacks it.
    pub fn take_stuck(&mut self) -> bool {
        std::mem::take(&mut self.core.stuck)
    }

    /// Whether an application still runs on a thread, which dropping the engine would wait for.
    pub fn is_running(&self) -> bool {
        self.running() > 0
    }

    /// On how many.
    pub fn running(&self) -> usize {
        self.core.away
    }

    /// Whether the caller is a thread that runs the application, for which dropping the engine
    /// would wait.
    pub fn is_inside(&self) -> bool {
        self.core.crew.as_ref().is_some_and(Pool::is_inside)
    }

    /// Serve in this thread until stopped.
    pub fn run(&mut self) -> Result<()> {
        let mut wait = 0;
        while let Some(next) = self.turn(wait)? {
            wait = next;
        }
        Ok(())
    }

    /// Wait up to `wait_ms` for something to do (0: not at all, -1: for ever) and do it.  Says how
    /// long the next turn may wait; `None` when the engine has stopped.
    pub fn turn(&mut self, wait_ms: i64) -> Result<Option<i64>> {
        if self.has_ended() {
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
        if !self.again.is_empty() || has_births || self.has_idle || self.inbox.has_news() {
            return Ok(Some(0));
        }
        let now = self.core.context.now;
        Ok(Some(match self.core.wheel.next_deadline(now) {
            Some(deadline) => deadline.saturating_sub(now) as i64,
            None => -1,
        }))
    }

    /// Tell the log what may happen too often for a line each time.
    fn tell(&mut self, now: u64) {
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

    /// Whether there is a connection, or somebody who still works for one.
    pub fn has_connections(&self) -> bool {
        !self.conns.is_empty() || self.core.away > 0 || !self.core.parked.is_empty()
    }

    /// Serve a connection that somebody else accepted, and on which HTTP is spoken.  On failure the
    /// descriptor stays the caller's.
    pub fn adopt(&mut self, fd: RawFd) -> Result<()> {
        self.adopt_as(fd, Protocol::Http)
    }

    /// The same with another protocol.
    pub fn adopt_as(&mut self, fd: RawFd, protocol: Protocol) -> Result<()> {
        if self.stopping.is_some() {
            return Err(Error::new(Kind::State, "adopt: the server is stopping"));
        }
        let refused = |source| Error::os("adopt a connection", &source);
        let local = sock::local_name(fd).map_err(refused)?;
        let (fd, peer) = sock::adopt(fd).map_err(refused)?;
        self.core.context.tell_time();
        let terms = match protocol {
            Protocol::Http => None,
            _ => Some(Arc::new(self.core.context.setup.usual_terms(protocol))),
        };
        self.begin(fd, (peer, peer.ip()), Local::Adopted(local), terms);
        // A foreign loop may sleep, and knows nothing of this connection's deadline, nor of what is
        // left to do for it: the next turn says.
        self.control.wake();
        Ok(())
    }

    fn handle(&mut self, event: crate::sys::poll::Ready) {
        match event.token {
            TOKEN_WAKER => {
                self.control.waker.clear();
            }
            TOKEN_HOST => self.noticed = true,
            TOKEN_CREW => self.take_back(),
            token if token & TOKEN_LISTENER != 0 => {
                self.accept((token & !TOKEN_LISTENER) as usize);
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

    fn drive(&mut self, key: u64) {
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
    fn take_back(&mut self) {
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

    fn remove(&mut self, key: u64, fate: Fate) {
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

    fn begin(
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
    fn held(&self) -> usize {
        self.conns.len() - (self.core.apart - self.core.births.len())
    }

    fn expire(&mut self) {
        let now = self.core.context.now;
        let mut due = std::mem::take(&mut self.due);
        self.core.wheel.advance(now, &mut due);
        for key in due.drain(..) {
            match key {
                TIMER_ACCEPT if self.stopping.is_none() => self.resume_accepting(),
                TIMER_SEATS if self.stopping.is_none() => self.take_seats(),
                TIMER_SEATS | TIMER_ACCEPT | TIMER_STOP | TIMER_LAME | TIMER_NOTICE => {}
                key => self.expire_conn(key, now),
            }
        }
        self.due = due;
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

    fn keys(&self) -> Vec<u64> {
        self.conns.keys().collect()
    }
}

#[cfg(test)]
mod tests;
