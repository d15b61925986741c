//! The scoreboard: what arbiter and workers share, in memory that outlives either.
//!
//! One record per place, in cache lines of its own, so that a worker's writing disturbs no other.
//! The worker writes, the arbiter reads (and cleans the record before it gives it to the next
//! worker); every field stands for itself, so there is nothing to lock.

use std::ffi::CStr;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::exec::Memory;
use super::settings::{Cause, WORKERS_MAX};
use crate::base::error::Result;
use crate::sys::clock::monotonic_ms;
use crate::sys::proc::{Exit, Pid, pid};
use crate::sys::shm::{Mapped, Mapping, Shared, shared_record};

/// What a worker that was started knows the two parts by.
const SLOTS: &CStr = c"slots";
const COMMON: &CStr = c"common";

/// How many pools count for themselves who is away; the next one counts with the first.
const LANES: usize = 32;
/// What a pool's name takes: 32 octets.
const NAME_WORDS: usize = 4;

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// There is no worker in this place.
    Empty = 0,
    /// It was started, and prepares itself.
    Booting = 1,
    /// It serves.
    Ready = 2,
    /// It was told to stop.
    Stopping = 3,
}

shared_record! {
    /// What is known of one worker.
    pub struct WorkerSlot {
        pid: AtomicI32,
        state: AtomicU32,
        generation: AtomicU32,
        spawned_ms: AtomicU64,
        ready_ms: AtomicU64,
        heartbeat_ms: AtomicU64,
        held_up: AtomicU32,
        retires: AtomicU32,
        lacks: AtomicU32,
        /// 0, or 1 more than the status that it says it ends with.
        said: AtomicU32,
        rests: AtomicU32,
        seat: AtomicU32,
        /// Workers that were ever started here, and those of them that were killed.
        spawns: AtomicU32,
        kills: AtomicU32,
        /// Whose place it is: the number of the pool, and its name.
        pool: AtomicU32,
        name: [AtomicU64; NAME_WORDS],
        /// Workers that have ended here, by their cause.
        ends: [AtomicU64; Cause::ALL.len()],
    }
}

shared_record! {
    /// What is not one worker's.
    struct Common {
        /// How many places were ever used.
        used: AtomicU32,
        /// The arbiter was told to stop, and has not begun.
        lame: AtomicU32,
        /// Who may be away since it has lived long enough: 0, or 1 more than the age of a worker.  Each
        /// pool has a lane of its own.
        holders: [AtomicU64; LANES * WORKERS_MAX],
        /// Workers that were started.
        starts: AtomicU64,
        /// Those that have ended, by their cause.
        ends: [AtomicU64; Cause::ALL.len()],
        /// Reloads that ended well, and others.
        reloads: AtomicU64,
        reloads_failed: AtomicU64,
        /// The arbiter's process.
        arbiter: AtomicI32,
    }
}

/// Records for more workers than there will ever be: memory that nobody touched costs nothing.  Seen
/// as a slice it ends behind the last place that was ever used.
#[derive(Debug)]
pub struct Board {
    slots: Shared<WorkerSlot>,
    common: Shared<Common>,
}

impl Board {
    /// How many places there are.
    pub const PLACES: usize = 2 * WORKERS_MAX;

    pub(super) fn new(used: usize) -> io::Result<Self> {
        let board = Board { slots: Shared::new(Self::PLACES)?, common: Shared::new(1)? };
        board.common[0].used.store(used as u32, Ordering::Release);
        Ok(board)
    }

    /// For workers that are started, and not forked.
    pub(super) fn with_files(used: usize) -> io::Result<Self> {
        let slots = Shared::with_file(SLOTS, Self::PLACES)?;
        let common: Shared<Common> = Shared::with_file(COMMON, 1)?;
        common[0].used.store(used as u32, Ordering::Release);
        Ok(Board { slots, common })
    }

    /// In such a worker.
    pub(super) fn of_arbiter(take: &Memory) -> Result<Self> {
        Ok(Board { slots: take.shared(SLOTS)?, common: take.shared(COMMON)? })
    }

    /// What such a worker is to map.
    pub(super) fn mappings(&self) -> impl Iterator<Item = Mapping> {
        [self.slots.mapping(), self.common.mapping()].into_iter().flatten()
    }

    /// In the arbiter: the place is used from now on, by this pool.  Of a long name the beginning is kept.
    pub(super) fn give(&self, slot: usize, pool: u32, name: &str) {
        let mut words = [0; NAME_WORDS];
        for (word, octets) in words.iter_mut().zip(name.as_bytes().chunks(8)) {
            let mut whole = [0; 8];
            whole[..octets.len()].copy_from_slice(octets);
            *word = u64::from_le_bytes(whole);
        }
        let record = &self.slots[slot];
        record.name.iter().zip(words).for_each(|(to, word)| to.store(word, Ordering::Relaxed));
        record.pool.store(pool, Ordering::Release);
        self.common[0].used.fetch_max(slot as u32 + 1, Ordering::AcqRel);
    }

    /// Where the pool of this place counts who is away.
    fn lane(&self, slot: usize) -> &[AtomicU64] {
        let lane = self.slots[slot].pool() as usize % LANES;
        &self.common[0].holders[lane * WORKERS_MAX..][..WORKERS_MAX]
    }

    /// In the arbiter: a worker was started there.
    pub(super) fn count_start(&self, slot: usize) {
        self.common[0].starts.fetch_add(1, Ordering::Relaxed);
        self.slots[slot].spawns.fetch_add(1, Ordering::Relaxed);
        self.common[0].arbiter.store(pid(), Ordering::Relaxed);
    }

    /// In the arbiter: the worker there has ended; `killed`: by the arbiter.
    pub(super) fn count_end(&self, slot: usize, cause: Cause, killed: bool) {
        self.common[0].ends[cause as usize].fetch_add(1, Ordering::Relaxed);
        self.slots[slot].ends[cause as usize].fetch_add(1, Ordering::Relaxed);
        self.slots[slot].kills.fetch_add(killed.into(), Ordering::Relaxed);
    }

    /// In the arbiter: a reload has ended.
    pub(super) fn count_reload(&self, well: bool) {
        let Common { reloads, reloads_failed, .. } = &self.common[0];
        if well { reloads } else { reloads_failed }.fetch_add(1, Ordering::Relaxed);
    }

    /// What the arbiter has counted, as every worker sees it.
    pub fn tally(&self) -> Counted {
        let Common { starts, ends, reloads, reloads_failed, arbiter, .. } = &self.common[0];
        Counted {
            arbiter: arbiter.load(Ordering::Relaxed),
            starts: starts.load(Ordering::Relaxed),
            ends: Cause::ALL.map(|it| (it.name(), ends[it as usize].load(Ordering::Relaxed))),
            reloads: reloads.load(Ordering::Relaxed),
            reloads_failed: reloads_failed.load(Ordering::Relaxed),
        }
    }

    /// Whether all of them are about to stop, and serve until then.
    pub fn is_lame(&self) -> bool {
        self.common[0].lame.load(Ordering::Acquire) != 0
    }

    /// In the arbiter.
    pub(super) fn set_lame(&self) {
        self.common[0].lame.store(1, Ordering::Release);
    }

    /// In a worker, or for it: whether it may leave, so that no more than `most` of its pool are away at
    /// once.  It is one word of memory, so that nobody can die in the middle of it.
    pub(super) fn take_ticket(&self, slot: usize, age: u64, most: usize) -> bool {
        let holders = self.lane(slot);
        holders[..most.min(WORKERS_MAX)].iter().any(|holder| {
            holder.compare_exchange(0, age + 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
        })
    }

    /// Whether the worker has one.
    pub(super) fn has_ticket(&self, slot: usize, age: u64) -> bool {
        self.lane(slot).iter().any(|holder| holder.load(Ordering::Acquire) == age + 1)
    }

    /// In the arbiter, when there is somebody in that worker's place.
    pub(super) fn return_ticket(&self, slot: usize, age: u64) {
        for holder in self.lane(slot) {
            let _ = holder.compare_exchange(age + 1, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

/// What an arbiter has counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Its process.
    pub arbiter: Pid,
    /// Workers that were started.
    pub starts: u64,
    /// Why workers have ended, and how many did.
    pub ends: [(&'static str, u64); Cause::ALL.len()],
    /// Reloads that ended well.
    pub reloads: u64,
    /// Reloads that did not.
    pub reloads_failed: u64,
}

impl Deref for Board {
    type Target = [WorkerSlot];

    fn deref(&self) -> &[WorkerSlot] {
        let used = self.common[0].used.load(Ordering::Acquire) as usize;
        &self.slots[..used.min(Self::PLACES)]
    }
}

impl WorkerSlot {
    /// The worker's process; 0 when there is none, when it has not begun yet, and for a thread.
    pub fn pid(&self) -> Pid {
        self.pid.load(Ordering::Acquire)
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            1 => State::Booting,
            2 => State::Ready,
            3 => State::Stopping,
            _ => State::Empty,
        }
    }

    /// Which configuration it runs: counts reloads.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// When it was started, on the monotonic clock in milliseconds.
    pub fn spawned_ms(&self) -> u64 {
        self.spawned_ms.load(Ordering::Acquire)
    }

    /// Whether it ever was ready.
    pub fn was_ready(&self) -> bool {
        self.ready_ms.load(Ordering::Acquire) != 0
    }

    /// When it was ready, on the same clock; 0: it was not.
    pub fn ready_ms(&self) -> u64 {
        self.ready_ms.load(Ordering::Acquire)
    }

    /// When it last gave a sign of life, on the monotonic clock in milliseconds.
    pub fn heartbeat_ms(&self) -> u64 {
        self.heartbeat_ms.load(Ordering::Acquire)
    }

    /// How many of its threads run something that it cannot stop, and keep it from ending.
    pub fn held_up(&self) -> u32 {
        self.held_up.load(Ordering::Acquire)
    }

    /// In the worker: see [`WorkerSlot::held_up`].
    pub fn set_held_up(&self, threads: usize) {
        self.held_up.store(u32::try_from(threads).unwrap_or(u32::MAX), Ordering::Release);
    }

    /// A sign of life.
    pub fn beat(&self) {
        self.heartbeat_ms.store(monotonic_ms(), Ordering::Release);
    }

    /// In the arbiter, before the start.  The heartbeat starts here, so that a worker that never
    /// gives a sign of life has an age, too.
    pub(super) fn assign(&self, generation: u32) {
        let now = monotonic_ms();
        self.pid.store(0, Ordering::Release);
        self.generation.store(generation, Ordering::Release);
        self.spawned_ms.store(now, Ordering::Release);
        self.ready_ms.store(0, Ordering::Release);
        self.heartbeat_ms.store(now, Ordering::Release);
        self.held_up.store(0, Ordering::Release);
        self.retires.store(0, Ordering::Release);
        self.lacks.store(0, Ordering::Release);
        self.said.store(0, Ordering::Release);
        self.rests.store(0, Ordering::SeqCst);
        self.state.store(State::Booting as u32, Ordering::Release);
    }

    /// Whether others serve on while it stops.
    pub fn retires(&self) -> bool {
        self.retires.load(Ordering::Acquire) != 0
    }

    /// How many workers were ever started in this place, and how many of them the arbiter has killed.
    pub fn lives(&self) -> (u32, u32) {
        (self.spawns.load(Ordering::Relaxed), self.kills.load(Ordering::Relaxed))
    }

    /// The number of the pool whose place it is.
    pub fn pool(&self) -> u32 {
        self.pool.load(Ordering::Acquire)
    }

    /// The name of that pool.
    pub fn pool_name(&self) -> String {
        let words = self.name.each_ref().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let octets = words.as_flattened();
        let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
        String::from_utf8_lossy(&octets[..end]).into_owned()
    }

    /// Why workers have ended in this place, and how many did.
    pub fn ends(&self) -> [(&'static str, u64); Cause::ALL.len()] {
        Cause::ALL.map(|it| (it.name(), self.ends[it as usize].load(Ordering::Relaxed)))
    }

    /// Which of several sockets at one address is its own.
    pub fn seat(&self) -> u32 {
        self.seat.load(Ordering::Acquire)
    }

    /// In the arbiter, before the start.
    pub(super) fn set_seat(&self, seat: u32) {
        self.seat.store(seat, Ordering::Release);
    }

    /// Whether it accepts nothing for a moment, for others have less to do.
    pub fn rests(&self) -> bool {
        self.rests.load(Ordering::SeqCst) != 0
    }

    /// In the worker.
    pub fn set_rests(&self, rests: bool) {
        self.rests.store(u32::from(rests), Ordering::SeqCst);
    }

    /// In the arbiter, before it tells the worker to stop.
    pub(super) fn set_retires(&self) {
        self.retires.store(1, Ordering::Release);
    }

    /// Whether it lacks a thread that does not come back, and wants to be replaced.
    pub fn lacks_thread(&self) -> bool {
        self.lacks.load(Ordering::Acquire) != 0
    }

    /// In the worker.
    pub(super) fn set_lacks_thread(&self) {
        self.lacks.store(1, Ordering::Release);
    }

    /// In the arbiter and in the worker: which of them comes first after the fork is chance.
    pub(super) fn set_pid(&self, pid: Pid) {
        self.pid.store(pid, Ordering::Release);
    }

    /// In the worker.  The first time counts.
    pub(super) fn set_ready(&self) {
        let now = monotonic_ms().max(1);
        let _ = self.ready_ms.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
        let (from, to) = (State::Booting as u32, State::Ready as u32);
        let _ = self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        self.beat();
    }

    /// In a worker that was started: how it ends.  What the status of its process is, is decided by
    /// a program that need not know of ours.
    pub(super) fn say(&self, status: i32) {
        self.said.store((status & 0xff) as u32 + 1, Ordering::Release);
    }

    /// In the arbiter: how a worker that has ended so has ended.
    pub(super) fn said(&self, exit: Exit) -> Exit {
        match (self.said.load(Ordering::Acquire), exit) {
            (0, _) | (_, Exit::Signal(_)) => exit,
            (said, _) => Exit::Code(said as i32 - 1),
        }
    }

    /// In the worker.
    pub(super) fn set_stopping(&self) {
        self.state.store(State::Stopping as u32, Ordering::Release);
    }

    /// In the arbiter, when the worker was waited for.
    pub(super) fn vacate(&self) {
        self.pid.store(0, Ordering::Release);
        self.state.store(State::Empty as u32, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_may_leave_than_have_a_ticket() {
        let board = Board::new(0).unwrap();
        board.give(0, 0, "main");
        board.give(1, 1, "other");
        assert!(board.take_ticket(0, 0, 2) && board.take_ticket(0, 7, 2));
        assert!(!board.take_ticket(0, 8, 2));
        assert!(board.has_ticket(0, 0) && board.has_ticket(0, 7) && !board.has_ticket(0, 8));
        assert!(board.take_ticket(1, 8, 1), "its pool counts for itself");
        assert!(!board.take_ticket(1, 9, 1) && !board.has_ticket(0, 8));
        board.return_ticket(0, 7);
        board.return_ticket(0, 8);
        assert!(!board.has_ticket(0, 7) && board.has_ticket(1, 8));
        assert!(board.take_ticket(0, 9, 2));
        assert!(board.take_ticket(0, 10, 3), "a new configuration allows more");
        assert!(!board.take_ticket(0, 11, 0));
    }

    #[test]
    fn what_the_arbiter_counts_is_seen_by_all() {
        let board = Board::new(2).unwrap();
        board.count_start(1);
        board.count_start(1);
        board.count_end(1, Cause::Silent, true);
        board.count_end(0, Cause::Own, false);
        board.count_reload(true);
        board.count_reload(false);
        board.count_reload(false);
        let all = board.tally();
        assert_eq!((all.arbiter, all.starts, all.reloads, all.reloads_failed), (pid(), 2, 1, 2));
        let some: Vec<_> = all.ends.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(some, [("own", 1), ("silent", 1)]);
        assert_eq!((board[0].lives(), board[1].lives()), ((0, 0), (2, 1)));
        assert_eq!((board[0].ends()[0], board[1].ends()[3]), (("own", 1), ("silent", 1)));
        board[1].assign(7);
        assert_eq!(board[1].lives(), (2, 1), "of all that were there");
        assert!(Cause::ALL.iter().enumerate().all(|(n, cause)| n == *cause as usize));
    }

    #[test]
    fn the_board_grows_with_its_places() {
        let board = Board::new(2).unwrap();
        board.give(0, 0, "main");
        assert_eq!(board.len(), 2);
        board.give(4, 3, "a name of thirty-two octets: this");
        assert_eq!(board.len(), 5);
        assert_eq!((board[0].pool(), board[0].pool_name()), (0, "main".into()));
        let long = "a name of thirty-two octets: thi";
        assert_eq!((board[4].pool(), board[4].pool_name()), (3, long.into()));
        assert_eq!((board[1].pool(), board[1].pool_name()), (0, String::new()));
        assert!(board.iter().all(|slot| slot.state() == State::Empty));
    }

    #[test]
    fn a_place_follows_its_worker() {
        let board = Shared::<WorkerSlot>::new(2).unwrap();
        let slot = &board[1];
        assert_eq!(slot.state(), State::Empty);
        slot.assign(3);
        assert_eq!((slot.state(), slot.generation(), slot.was_ready()), (State::Booting, 3, false));
        assert!(slot.heartbeat_ms() >= slot.spawned_ms() && slot.spawned_ms() > 0);
        slot.set_pid(42);
        slot.set_ready();
        assert_eq!((slot.state(), slot.pid(), slot.was_ready()), (State::Ready, 42, true));
        slot.set_stopping();
        slot.set_ready();
        assert_eq!(slot.state(), State::Stopping, "ready comes too late");
        slot.vacate();
        assert_eq!((slot.state(), slot.pid()), (State::Empty, 0));
        assert!(slot.was_ready(), "until the place is given away");
        slot.say(4);
        let how = [Exit::Code(1), Exit::Unknown, Exit::Signal(9)].map(|exit| slot.said(exit));
        assert_eq!(how, [Exit::Code(4), Exit::Code(4), Exit::Signal(9)]);
        slot.assign(4);
        assert!(!slot.was_ready() && slot.said(Exit::Code(1)) == Exit::Code(1));
        assert_eq!(board[0].state(), State::Empty);
    }
}
