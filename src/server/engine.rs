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
mod turn;

use std::fmt;
use std::os::fd::RawFd;
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
use crate::sys::sock;
use crate::sys::{clock, send};

pub(super) use admission::Verdict;
pub(super) use core::{Birth, Core};
use notices::Notices;
pub use share::Peers;
use share::Share;
pub use stop::{Control, Stop};

use super::conn::{Conn, Local};
use super::crew::Job;
use super::inbox::Inbox;
use super::link::Context;
use super::pulled::Pulled;
use super::setup::Setup;
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
    /// The turn has left something to the next.
    more: bool,
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
            more: false,
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

    fn keys(&self) -> Vec<u64> {
        self.conns.keys().collect()
    }
}

#[cfg(test)]
mod tests;
