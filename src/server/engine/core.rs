//! What the connections of an engine share: the poller, timers, spare slots, threads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::TOKEN_HUB;
use super::admission::Admission;
use crate::base::error::Result;
use crate::base::log::log;
use crate::base::slab::Slab;
use crate::base::wheel::Wheel;
use crate::gateway::flight::{Entry, Recorder};
use crate::run::pool::Pool;
use crate::server::conn::{Conn, Kin};
use crate::server::crew::{self, Job, Task};
use crate::server::link::{Context, Wire};
use crate::server::record::CLIENT_LEFT;
use crate::server::slot::Slot;
use crate::sys::poll::Poller;
use crate::sys::sock::Peer;
use crate::sys::{clock, sock};

/// In the key of a parked request, beside its key in the slab.
pub(super) const PARKED: u64 = 5 << 56;

/// Slots that a worker keeps for its next requests.
const SPARE_MAX: usize = 64;

/// Everything of an engine but its connections.
#[derive(Debug)]
pub(in crate::server) struct Core {
    pub(in crate::server) context: Context,
    pub(super) poller: Poller,
    pub(super) wheel: Wheel,
    #[allow(clippy::vec_box, reason = "the environ points into its slot, which must not move")]
    spare: Vec<Box<Slot>>,
    /// The threads that run applications, unless all run on the loop.
    pub(super) crew: Option<Pool<Job>>,
    /// Jobs that were given to the threads and have not come back.
    pub(super) away: usize,
    /// Requests whose clients are gone, while somebody still has a handle to their memory.
    pub(super) parked: Slab<Box<Slot>>,
    /// Of the last request.
    id: u64,
    /// The records of the requests.
    recorder: Recorder,
    /// A thread does not come back from a request whose time is over.
    pub(in crate::server) stuck: bool,
    /// How many requests may still begin before the engine is to retire.
    left: u64,
    may_retire: Option<MayRetire>,
    pub(in crate::server) admission: Option<Box<Admission>>,
    /// Requests that are answered apart from others of their connection: connections without a client
    /// of their own.
    pub(in crate::server) apart: usize,
    /// Those of them that are to begin.
    pub(super) births: VecDeque<Birth>,
    /// Whose ends the events of hubs are at.
    pub(super) ways: Slab<u64>,
}

/// A connection for a request that is answered apart.
#[derive(Debug)]
pub(in crate::server) struct Birth {
    pub(in crate::server) fd: OwnedFd,
    /// What it has of the connection that it came on.
    pub(in crate::server) kin: Kin,
}

/// Says whether an engine that has served as many requests as it should may retire.
struct MayRetire(Box<dyn Fn() -> bool + Send>);

impl std::fmt::Debug for MayRetire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MayRetire(..)")
    }
}

impl Core {
    /// Made in the process and after the fork where it is used: it may start threads.
    pub(super) fn new(context: Context, poller: Poller, recorder: Recorder) -> Result<Self> {
        let threads = context.setup.threads()?;
        let crew = if threads > 0 { Some(crew::hire(threads, &context, &recorder)?) } else { None };
        let wheel = Wheel::new(context.now);
        let admission = Admission::new(&context.setup.settings, &context.setup.stack.apps);
        Ok(Core {
            context,
            poller,
            wheel,
            spare: Vec::new(),
            crew,
            away: 0,
            parked: Slab::new(),
            id: seed(),
            recorder,
            stuck: false,
            left: u64::MAX,
            may_retire: None,
            admission,
            apart: 0,
            births: VecDeque::new(),
            ways: Slab::with_capacity(0),
        })
    }

    pub(super) fn limit_requests(&mut self, requests: u64, may: Box<dyn Fn() -> bool + Send>) {
        (self.left, self.may_retire) = (requests, Some(MayRetire(may)));
    }

    /// A request begins.
    #[inline]
    pub(in crate::server) fn count_request(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.ask_to_retire();
        }
    }

    #[cold]
    fn ask_to_retire(&mut self) {
        let control = &self.context.control;
        if !control.is_stopping() && self.may_retire.as_ref().is_some_and(|may| (may.0)()) {
            // The answer to this very request says that the connection ends.
            control.retire();
        }
    }

    #[inline]
    pub(in crate::server) fn take_slot(&mut self) -> Box<Slot> {
        match self.spare.pop() {
            Some(slot) => slot,
            None => self.new_slot(),
        }
    }

    #[cold]
    fn new_slot(&self) -> Box<Slot> {
        Slot::new(&self.context.service, self.context.terms.limits)
    }

    /// Whether an application runs on threads.
    pub(in crate::server) fn has_crew(&self) -> bool {
        self.crew.is_some()
    }

    /// Whether that of this request does.
    #[inline]
    pub(in crate::server) fn is_for_crew(&self, slot: &Slot) -> bool {
        self.has_crew() && !slot.exchange.runs_on_loop()
    }

    /// Give a request to a thread; it comes back at once when the queue is full, unless it `must`.
    pub(in crate::server) fn submit(
        &mut self,
        job: Job,
        must: bool,
    ) -> std::result::Result<(), Job> {
        match &self.crew {
            Some(crew) => crew.submit(job, must)?,
            None => return Err(job),
        }
        self.away += 1;
        Ok(())
    }

    /// Take a connection's request back, if no thread has begun with it.
    pub(in crate::server) fn withdraw(&mut self, key: u64) -> Option<Job> {
        let job = self.crew.as_ref()?.withdraw(|job| job.key == key)?;
        self.away -= 1;
        Some(job)
    }

    /// Keep a request whose client is gone until its handle is given up.
    pub(in crate::server) fn park(&mut self, slot: Box<Slot>) {
        slot.eof.set(true);
        if let (Some(pulled), Some(shared)) = (&self.context.pulled, slot.exchange.deferred()) {
            // Nobody has it: given up when it is dropped.
            drop(pulled.withdraw(shared));
        }
        let key = self.parked.next_key() | PARKED;
        slot.key.set(key);
        // Before it is told, so that nothing is said under the old name behind that.
        let ended = slot.exchange.deferred().is_none_or(|shared| shared.rename(key));
        slot.exchange.forsake();
        self.parked.insert(slot);
        if ended {
            self.unpark(key);
        }
    }

    /// The handle of a parked request may have been given up.
    pub(super) fn unpark(&mut self, key: u64) {
        let key = key & !PARKED;
        let Some(slot) = self.parked.get(key) else {
            return;
        };
        if let Some(shared) = slot.exchange.deferred() {
            shared.noticed();
        }
        // Somebody else may want to be told of it now.
        slot.exchange.client_left();
        if slot.exchange.must_stay() {
            return;
        }
        let Some(slot) = self.parked.remove(key) else {
            return;
        };
        if self.is_for_crew(&slot) && slot.exchange.is_hung_on() {
            let job = Job::new(key | PARKED, -1, slot, Task::Abort);
            if let Err(job) = self.submit(job, true) {
                self.give_slot(job.slot);
            }
            return;
        }
        slot.exchange.abort(&Wire { fd: -1, slot: &slot, context: &self.context });
        self.give_slot(slot);
    }

    /// The engine goes: whoever has a handle still has the request's memory, and ends it.
    pub(super) fn leave_parked(&mut self) {
        let keys: Vec<u64> = self.parked.keys().collect();
        for slot in keys.into_iter().filter_map(|key| self.parked.remove(key)) {
            let Some(shared) = slot.exchange.deferred().cloned() else {
                continue;
            };
            self.context.seat.abandon(slot.flight.take(), clock::monotonic_ns());
            let context = self.context.clone();
            shared.orphan(Box::new(move || {
                let mut slot = slot;
                slot.exchange.abort(&Wire { fd: -1, slot: &slot, context: &context });
                slot.clear();
            }));
        }
    }

    /// A connection of its own for a request, in this turn.
    pub(in crate::server) fn bear(&mut self, birth: Birth) {
        self.apart += 1;
        self.births.push_back(birth);
    }

    /// Tell the connection of this key what happens at one end of a pair, by the token that this returns.
    pub(in crate::server) fn begin_way(&mut self, key: u64, fd: RawFd) -> io::Result<u64> {
        let token = self.ways.insert(key) | TOKEN_HUB;
        let watched = self.poller.add(fd, token);
        if watched.is_err() {
            self.end_way(token);
        }
        watched.map(|()| token)
    }

    /// The end is no longer watched, for it is closed.
    pub(in crate::server) fn end_way(&mut self, token: u64) {
        self.ways.remove(token & !TOKEN_HUB);
    }

    /// Watch it for room to write, too, or no longer.
    pub(in crate::server) fn want_way(&self, fd: RawFd, token: u64, on: bool) {
        if let Err(error) = self.poller.want_write(fd, token, on) {
            log!(self.context.service.log, Error, "server", "watch a request: {error}");
        }
    }

    /// Wait until a job has come back; false: that cannot be.
    pub(super) fn wait_for_crew(&self) -> bool {
        let fd = self.crew.as_ref().map(|crew| crew.waker().fd());
        fd.is_some_and(|fd| sock::wait_readable(fd, -1).unwrap_or(false))
    }

    /// The request in this slot has begun at `now_ns`, and gets a record.
    // Its registers are not to be taken from others.
    #[inline(never)]
    pub(in crate::server) fn record(&mut self, slot: &Slot, id: u64, now_ns: u64, peer: &Peer) {
        let env = slot.exchange.environ().borrow();
        let (method, target) = (env.request_method.as_slice(), env.request_uri.as_slice());
        let number = self.recorder.begin(&Entry { id, began_ns: now_ns, method, target, peer });
        if number == 0 {
            self.context.service.counters().unrecorded.plus(1);
        }
        slot.flight.set(number);
    }

    /// The request in this slot is over, or there was none.
    #[inline]
    pub(in crate::server) fn forget(&mut self, slot: &Slot) {
        let number = slot.flight.take();
        if number == 0 {
            return;
        }
        // The loop's time will do where nothing can have taken long.
        let now = match self.context.may_block {
            true => clock::monotonic_ns(),
            false => self.context.now * 1_000_000,
        };
        let status = slot.exchange.status().unwrap_or(CLIENT_LEFT);
        self.context.seat.finish(number, status, now);
        self.recorder.give_back(number);
    }

    pub(in crate::server) fn give_slot(&mut self, mut slot: Box<Slot>) {
        self.forget(&slot);
        // Counts the request that it had.
        slot.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(slot);
        }
    }

    /// Another identity for a request, unlike those of other workers.
    pub(in crate::server) fn next_id(&mut self) -> u64 {
        self.id = self.id.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.id
    }

    /// See that the wheel wakes the connection at its deadline.
    pub(in crate::server) fn arm(&mut self, key: u64, conn: &mut Conn) {
        if conn.deadline < conn.armed {
            conn.armed = conn.deadline;
            self.wheel.insert(key, conn.deadline);
        }
    }

    /// See that the connection gets its events.
    pub(in crate::server) fn watch(&mut self, key: u64, conn: &mut Conn, write: bool) {
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

/// Where the identities of a worker's requests begin; of several in a process none begins as another.
fn seed() -> u64 {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let now = clock::realtime().as_nanos() as u64;
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    (now ^ u64::from(std::process::id()) << 40 ^ made << 24).wrapping_mul(0xff51_afd7_ed55_8ccd)
}
