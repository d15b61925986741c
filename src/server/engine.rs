//! The event loop of one worker: listeners, connections, timers, and the end.
//!
//! An engine belongs to one thread at a time and owns none.  Whoever owns the thread calls
//! [`Engine::turn`]; a foreign loop watches [`Engine::fd`] and turns when it is readable.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::error::{Error, Kind, Result};
use crate::base::log::log;
use crate::base::slab::Slab;
use crate::base::wheel::Wheel;
use crate::gateway::counters::Counters;
use crate::run::pool::Pool;
use crate::sys::listen::Listening;
use crate::sys::poll::Poller;
use crate::sys::sock::{self, AcceptFailure, Peer};
use crate::sys::waker::Waker;
use crate::sys::{clock, send};

use super::conn::{Conn, Fate, Local};
use super::crew::{self, Job, Task};
use super::setup::Setup;
use super::slot::{Context, Slot};

/// Connections that are accepted in one go, before those that are there get their turn.
const ACCEPT_BATCH: usize = 64;

/// How long accepting rests when the system has no descriptors or memory for another connection.
const ACCEPT_REST_MS: u64 = 100;

/// Slots that a worker keeps for its next requests.
const SPARE_MAX: usize = 64;

/// The kinds of event tokens; a connection's is its key in the slab, below all of these.
const TOKEN_LISTENER: u64 = 1 << 56;
const TOKEN_WAKER: u64 = 2 << 56;
const TOKEN_HOST: u64 = 3 << 56;
const TOKEN_CREW: u64 = 4 << 56;
/// The key of the timer that ends a rest of the listeners.
const TIMER_ACCEPT: u64 = 1 << 56;
/// The key of the timer that ends a graceful stop.
const TIMER_STOP: u64 = 2 << 56;

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stop {
    /// Requests that are there are answered, `graceful_timeout` at most.
    Graceful = 0,
    /// At once: connections are closed where they stand.
    Quick = 1,
}

/// What other threads, and signal handlers, may do to an engine.
#[derive(Debug)]
pub struct Control {
    waker: Waker,
    /// 0, or 1 more than a [`Stop`].
    stop: AtomicU32,
}

impl Control {
    fn new() -> Result<Self> {
        let waker =
            Waker::new().map_err(|source| Error::os("make an event descriptor", &source))?;
        Ok(Control { waker, stop: AtomicU32::new(0) })
    }

    /// Whether the engine stops, or is about to.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    /// Whether it stops at once.
    pub fn is_quick(&self) -> bool {
        self.stop.load(Ordering::Relaxed) > Stop::Quick as u32
    }

    /// Let the loop turn.  Async-signal-safe.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Ask the engine to stop; a later call may only hurry it.  Async-signal-safe.
    pub fn stop(&self, how: Stop) {
        self.stop.fetch_max(how as u32 + 1, Ordering::SeqCst);
        self.waker.wake();
    }
}

/// Everything of an engine but its connections.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) context: Context,
    poller: Poller,
    wheel: Wheel,
    #[allow(clippy::vec_box, reason = "the environ points into its slot, which must not move")]
    spare: Vec<Box<Slot>>,
    /// The threads that run the application, unless it runs on the loop.
    crew: Option<Pool<Job>>,
    /// Jobs that were given to the threads and have not come back.
    away: usize,
    /// Of the last request.
    id: u64,
}

/// The event loop of one worker.
#[derive(Debug)]
pub struct Engine {
    core: Core,
    conns: Slab<Conn>,
    listeners: Vec<Arc<Listening>>,
    /// The listeners are watched.
    accepting: bool,
    /// When accepting goes on after a failure.
    rests_until: u64,
    control: Arc<Control>,
    stopping: Option<Stop>,
    stop_at: u64,
    /// The host's own descriptor has something.
    noticed: bool,
    /// Connections that were interrupted for the sake of the others.
    again: Vec<u64>,
    /// Scratch.
    due: Vec<u64>,
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
        let made = |source| Error::os("make an event loop", &source);
        let poller = Poller::new().map_err(made)?;
        let control = Arc::new(Control::new()?);
        poller.add(control.waker.fd(), TOKEN_WAKER).map_err(made)?;
        let now = clock::monotonic_ms();
        let service = Arc::new(setup.service(counters));
        let context = Context {
            now,
            date: [b' '; 29],
            stopping: false,
            control: Arc::clone(&control),
            may_block: setup.may_block(),
            sigpipe_ignored: send::sigpipe_is_ignored(),
            timed: setup.access.is_some() || setup.hooks.access.is_some(),
            service,
            setup,
        };
        let threads = context.setup.threads()?;
        let crew = if threads > 0 { Some(crew::hire(threads, &context)?) } else { None };
        if let Some(crew) = &crew {
            poller.add(crew.waker().fd(), TOKEN_CREW).map_err(made)?;
        }
        let wheel = Wheel::new(now);
        let core = Core { context, poller, wheel, spare: Vec::new(), crew, away: 0, id: seed() };
        let mut engine = Engine {
            core,
            conns: Slab::with_capacity(0),
            listeners,
            accepting: false,
            rests_until: 0,
            control,
            stopping: None,
            stop_at: u64::MAX,
            noticed: false,
            again: Vec::new(),
            due: Vec::new(),
            ready: Vec::new(),
            jobs: Vec::new(),
        };
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

    /// Whether an application still runs on a thread, which dropping the engine would wait for.
    pub fn is_running(&self) -> bool {
        self.core.away > 0
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
        self.obey();
        // What a thread still runs cannot be cut: who is in a hurry does not wait for it.
        if self.stopping == Some(Stop::Quick) || self.has_ended() {
            return Ok(None);
        }
        if !self.again.is_empty() {
            return Ok(Some(0));
        }
        let now = self.core.context.now;
        Ok(Some(match self.core.wheel.next_deadline(now) {
            Some(deadline) => deadline.saturating_sub(now) as i64,
            None => -1,
        }))
    }

    fn has_ended(&self) -> bool {
        self.stopping.is_some() && self.conns.is_empty() && self.core.away == 0
    }

    /// Serve a connection that somebody else accepted.  On failure the descriptor stays the
    /// caller's.
    pub fn adopt(&mut self, fd: RawFd) -> Result<()> {
        if self.stopping.is_some() {
            return Err(Error::new(Kind::State, "adopt: the server is stopping"));
        }
        let refused = |source| Error::os("adopt a connection", &source);
        let local = sock::local_name(fd).map_err(refused)?;
        let (fd, peer) = sock::adopt(fd).map_err(refused)?;
        self.core.context.tell_time();
        self.begin(fd, peer, Local::Adopted(local));
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
        self.settle(key, fate);
    }

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
        drop(conn);
        self.counters().connections.down();
        if !self.accepting && self.stopping.is_none() && self.core.context.now >= self.rests_until {
            self.resume_accepting();
        }
    }

    fn begin(&mut self, fd: OwnedFd, peer: Peer, local: Local) {
        let counters = self.counters();
        counters.accepted.plus(1);
        counters.connections.plus(1);
        let key = self.conns.insert(Conn::new(fd, peer, local));
        self.drive(key);
    }

    // ---- listeners ------------------------------------------------------------------------

    /// Accept from a listener; whether more may wait there.
    fn accept(&mut self, index: usize) -> bool {
        let Some(listener) = self.listeners.get(index).cloned() else {
            return false;
        };
        for _ in 0..ACCEPT_BATCH {
            if !self.accepting {
                return false;
            }
            match sock::accept(listener.fd()) {
                Ok((fd, peer)) => {
                    self.begin(fd, peer, Local::Listener(Arc::clone(&listener)));
                    self.check_room();
                }
                Err(error) => match sock::accept_failure(&error) {
                    AcceptFailure::Empty => return false,
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

    /// At `worker_connections`, others wait in the listeners' queues.
    fn check_room(&mut self) {
        let most = self.core.context.setup.settings.worker_connections as usize;
        if self.conns.len() >= most {
            self.pause_accepting();
            self.counters().connections_full.up();
            log!(
                self.core.context.service.log,
                Warn,
                "server",
                "worker_connections = {most} reached: new connections wait"
            );
        }
    }

    /// No descriptors, no memory: what is there goes on, and room may come.
    fn rest(&mut self, error: &io::Error) {
        log!(
            self.core.context.service.log,
            Error,
            "server",
            "accept: {error}; new connections wait {ACCEPT_REST_MS} ms"
        );
        self.pause_accepting();
        self.rests_until = self.core.context.now + ACCEPT_REST_MS;
        self.core.wheel.insert(TIMER_ACCEPT, self.rests_until);
    }

    fn pause_accepting(&mut self) {
        if std::mem::take(&mut self.accepting) {
            for listener in &self.listeners {
                let _ = self.core.poller.remove(listener.fd());
            }
        }
    }

    fn resume_accepting(&mut self) {
        let most = self.core.context.setup.settings.worker_connections as usize;
        if self.accepting || self.conns.len() >= most {
            return;
        }
        self.accepting = true;
        for (index, listener) in self.listeners.iter().enumerate() {
            let token = TOKEN_LISTENER | index as u64;
            if let Err(error) = self.core.poller.add_listener(listener.fd(), token) {
                let local = listener.local();
                log!(self.core.context.service.log, Error, "server", "watch {local}: {error}");
            }
        }
    }

    // ---- time -----------------------------------------------------------------------------

    fn expire(&mut self) {
        let now = self.core.context.now;
        let mut due = std::mem::take(&mut self.due);
        self.core.wheel.advance(now, &mut due);
        for key in due.drain(..) {
            match key {
                TIMER_ACCEPT if self.stopping.is_none() => self.resume_accepting(),
                TIMER_ACCEPT | TIMER_STOP => {}
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

    // ---- the end --------------------------------------------------------------------------

    /// Do what [`Control::stop`] asked for.
    fn obey(&mut self) {
        let asked = match self.control.stop.load(Ordering::SeqCst) {
            0 => return,
            1 => Stop::Graceful,
            _ => Stop::Quick,
        };
        if self.stopping.is_none() {
            self.begin_stop(asked);
        }
        if asked == Stop::Quick || self.core.context.now >= self.stop_at {
            self.stopping = Some(Stop::Quick);
            // The threads are to know, too.
            self.control.stop.fetch_max(Stop::Quick as u32 + 1, Ordering::SeqCst);
            for key in self.keys() {
                self.remove(key, Fate::Close);
            }
        }
    }

    fn begin_stop(&mut self, how: Stop) {
        let now = self.core.context.now;
        let grace = self.core.context.setup.settings.graceful_timeout;
        self.stop_at = now + grace.as_millis() as u64;
        self.core.wheel.insert(TIMER_STOP, self.stop_at);
        // Who is in the queue already was promised an answer.
        for index in 0..self.listeners.len() {
            while how == Stop::Graceful
                && self.core.context.now < self.stop_at
                && self.accept(index)
            {}
        }
        self.stopping = Some(Stop::Graceful);
        self.core.context.stopping = true;
        self.pause_accepting();
        for listener in self.listeners.drain(..) {
            // Also for the connections that know it: nobody may wait in a queue without a server.
            listener.close();
        }
        if how == Stop::Graceful {
            self.conns.values_mut().for_each(Conn::hurry);
            for key in self.keys() {
                self.drive(key);
            }
        }
    }

    fn keys(&self) -> Vec<u64> {
        self.conns.keys().collect()
    }
}

impl Drop for Engine {
    /// Waits for applications that are running on threads.
    fn drop(&mut self) {
        self.control.stop(Stop::Quick);
        for key in self.keys() {
            self.remove(key, Fate::Close);
        }
        // What comes back may have to go once more, to be closed.
        while self.core.away > 0 && self.core.wait_for_crew() {
            self.take_back();
        }
        if let Some(crew) = &mut self.core.crew {
            crew.close();
        }
    }
}

impl Core {
    pub(super) fn take_slot(&mut self) -> Box<Slot> {
        self.spare
            .pop()
            .unwrap_or_else(|| Slot::new(&self.context.service, self.context.setup.limits))
    }

    /// Whether the application runs on threads.
    pub(super) fn has_crew(&self) -> bool {
        self.crew.is_some()
    }

    /// Give a request to a thread; it comes back at once when the queue is full, unless it `must`.
    pub(super) fn submit(&mut self, job: Job, must: bool) -> std::result::Result<(), Job> {
        match &self.crew {
            Some(crew) => crew.submit(job, must)?,
            None => return Err(job),
        }
        self.away += 1;
        Ok(())
    }

    /// Take a connection's request back, if no thread has begun with it.
    pub(super) fn withdraw(&mut self, key: u64) -> Option<Job> {
        let job = self.crew.as_ref()?.withdraw(|job| job.key == key)?;
        self.away -= 1;
        Some(job)
    }

    /// Wait until a job has come back; false: that cannot be.
    fn wait_for_crew(&self) -> bool {
        let fd = self.crew.as_ref().map(|crew| crew.waker().fd());
        fd.is_some_and(|fd| sock::wait_readable(fd, -1).unwrap_or(false))
    }

    pub(super) fn give_slot(&mut self, mut slot: Box<Slot>) {
        // Counts the request that it had.
        slot.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(slot);
        }
    }

    /// Another identity for a request, unlike those of other workers.
    pub(super) fn next_id(&mut self) -> u64 {
        self.id = self.id.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.id
    }

    /// See that the wheel wakes the connection at its deadline.
    pub(super) fn arm(&mut self, key: u64, conn: &mut Conn) {
        if conn.deadline < conn.armed {
            conn.armed = conn.deadline;
            self.wheel.insert(key, conn.deadline);
        }
    }

    /// See that the connection gets its events.
    pub(super) fn watch(&mut self, key: u64, conn: &mut Conn, write: bool) {
        let fd = conn.fd();
        let mut result = Ok(());
        if !conn.registered {
            conn.registered = true;
            result = self.poller.add(fd, key);
        }
        if conn.want_write(write) {
            result = result.and_then(|()| self.poller.want_write(fd, key, write));
        }
        if let Err(error) = result {
            log!(self.context.service.log, Error, "server", "watch a connection: {error}");
        }
    }
}

/// Where the identities of a worker's requests begin.
fn seed() -> u64 {
    let now = clock::realtime().as_nanos() as u64;
    (now ^ u64::from(std::process::id()) << 40).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::gateway::abi::{Environ, StartResponse};
    use crate::gateway::app::Application;
    use crate::gateway::body::Body;
    use crate::gateway::config::Config;

    #[test]
    fn a_connection_has_few_timers_however_its_deadline_moves() {
        let mut config = Config::new();
        let app = |_: &Environ, _: &StartResponse<'_>| Ok(Body::empty());
        let app = Application::new(app).nonblocking();
        config.application(app);
        let setup = Arc::new(Setup::new(config).unwrap());
        let mut engine = Engine::new(setup, Vec::new(), Arc::new(Counters::default())).unwrap();
        let (_client, theirs) = UnixStream::pair().unwrap();
        engine.adopt(theirs.into_raw_fd()).unwrap();
        let key = engine.keys()[0];
        let mut most = 0;
        for _ in 0..1000 {
            // A long wait, and then a short one: both come out too early.
            for after in [30_000, 5_000, 35_000] {
                let conn = engine.conns.get_mut(key).unwrap();
                conn.deadline = engine.core.context.now + after;
                engine.core.arm(key, conn);
            }
            engine.core.context.now += 10_000;
            engine.expire();
            most = most.max(engine.core.wheel.len());
        }
        assert!(most <= 8, "{most} timers");
    }
}
