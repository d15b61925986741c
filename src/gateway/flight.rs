//! The flight recorder: a record of each request of each worker, in memory that the arbiter and
//! whoever watches can read while the worker writes, and when it is dead.
//!
//! A worker takes a record at the head of a request and gives it back at its end; what is given back
//! stays readable until it is taken again, the oldest first, and the last [`KEPT`] are never taken.
//! So memory that no crowd of requests ever needed is never touched.  A number in each record
//! is odd while it is written: a reader sees whether what it read belongs together, and never waits
//! for a writer, who may be dead (`view`).
//!
//! Each thread of a worker has a seat, where it says since when it is in the application, and with
//! which request.

mod recorder;
mod view;

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::timing::Timings;
use crate::base::error::Result;
use crate::sys::shm::{self, Mapped as _, Mapping, Shared, shared_record};

pub use recorder::{Entry, Recorder};
pub use view::{Info, Which};

/// Requests of one worker that are recorded at a time; others run unrecorded, and are counted.
const IN_FLIGHT_MAX: usize = 1024;

/// Requests that have ended and stay readable, at least.
pub const KEPT: usize = 64;

/// Records are handed out to workers in blocks, which stay theirs, and their successors'.
const BLOCK: usize = 64;

/// Blocks of a worker.
const BLOCKS: usize = (IN_FLIGHT_MAX + KEPT) / BLOCK;

/// Blocks of all workers: two for each of the most that there can be, or more for fewer.
const BLOCKS_MAX: usize = 2048;

/// Places of a worker that say who is in the application: its loop, and the most threads that it
/// can have, in cache lines of its own.
const SEATS: usize = (1_usize + 1024).next_multiple_of(8);

/// Bits of a seat that name a record; the rest are milliseconds.
const NUMBER_BITS: u32 = 20;

const _: () = assert!(BLOCKS_MAX * BLOCK < 1 << NUMBER_BITS);

/// Where a request is.  The C constants `GW_PHASE_*` are these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// Its body is awaited.
    Read = 1,
    /// It waits for a thread.
    Queue = 2,
    /// The application was called, and has not begun to answer.
    App = 3,
    /// The answer has begun.
    Write = 4,
    /// Whoever has its handle is to answer, or to take it.
    Later = 5,
    /// It has ended.
    Ended = 6,
    /// Its worker has ended before it.
    Lost = 7,
}

impl Phase {
    const ALL: [Phase; 7] = [
        Phase::Read,
        Phase::Queue,
        Phase::App,
        Phase::Write,
        Phase::Later,
        Phase::Ended,
        Phase::Lost,
    ];

    fn from_bits(bits: u32) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| *phase as u32 == bits & PHASE)
    }

    /// Whether the request has not ended.
    pub fn is_in_flight(self) -> bool {
        !matches!(self, Phase::Ended | Phase::Lost)
    }
}

/// The bits of a state that are its phase; the status is above them.
const PHASE: u32 = 0xffff;

/// A record, by its number, from 1; 0 is none.
pub type Number = u32;

shared_record! {
    /// A request.
    struct Record {
        /// Odd while it is written.
        turn: AtomicU32,
        /// Its phase, and its status once there is one; 0: there never was a request here.
        state: AtomicU32,
        id: AtomicU64,
        began_ns: AtomicU64,
        ended_ns: AtomicU64,
        /// The worker's process, and its generation above that.
        worker: AtomicU64,
        /// Texts end in a zero.
        method: [AtomicU64; 2],
        target: [AtomicU64; 32],
        address: [AtomicU64; 6],
        port: AtomicU64,
    }
}

shared_record! {
    /// What belongs to one worker, or its successors in the same place.
    struct Desk {
        /// Records that were ever taken.
        used: AtomicU32,
        /// Its threads, and its loop.
        seated: AtomicU32,
        /// Blocks, by 1 more than their numbers.
        blocks: [AtomicU32; BLOCKS],
    }
}

shared_record! {
    /// What all of them share.
    struct Stock {
        /// Blocks that were handed out.
        blocks: AtomicU32,
    }
}

/// The records of all workers of an arbiter, or of one server.
#[derive(Debug)]
pub struct Flights {
    desks: Shared<Desk>,
    records: Shared<Record>,
    stock: Shared<Stock>,
    /// Who is in the application: see [`Seat::enter`].
    seats: Shared<AtomicU64>,
    /// How long requests took, where that is measured.
    timings: Shared<Timings>,
}

/// What the arrays are called that make it up.
const NAMES: [&CStr; 5] = [c"desks", c"requests", c"stock", c"seats", c"timings"];

/// Where a process has arrays from that another has made.
pub trait Given {
    /// One of them; once.
    fn array<T: shm::Record>(&self, name: &'static CStr) -> Result<Shared<T>>;
}

impl Flights {
    /// For so many places; before the first fork.  `files`: workers are started, and map it.
    pub fn new(places: usize, files: bool) -> io::Result<Self> {
        fn array<T: shm::Record>(
            name: &'static CStr,
            len: usize,
            file: bool,
        ) -> io::Result<Shared<T>> {
            if file { Shared::with_file(name, len) } else { Shared::new(len) }
        }
        let blocks = (places * BLOCKS).min(BLOCKS_MAX);
        let [desks, records, stock, seats, timings] = NAMES;
        Ok(Flights {
            desks: array(desks, places, files)?,
            records: array(records, blocks * BLOCK, files)?,
            stock: array(stock, 1, files)?,
            seats: array(seats, places * SEATS, files)?,
            timings: array(timings, places, files)?,
        })
    }

    /// Another process's.
    pub fn given(from: &impl Given) -> Result<Self> {
        let [desks, records, stock, seats, timings] = NAMES;
        Ok(Flights {
            desks: from.array(desks)?,
            records: from.array(records)?,
            stock: from.array(stock)?,
            seats: from.array(seats)?,
            timings: from.array(timings)?,
        })
    }

    /// How to map each of its arrays, where that can be done.
    pub fn mappings(&self) -> [Option<Mapping>; 5] {
        let Flights { desks, records, stock, seats, timings } = self;
        [desks.mapping(), records.mapping(), stock.mapping(), seats.mapping(), timings.mapping()]
    }

    /// How long the requests took of the workers in this place.
    pub fn timings(&self, slot: usize) -> Option<&Timings> {
        self.timings.get(slot)
    }

    fn record(&self, number: Number) -> Option<&Record> {
        self.records.get((number as usize).wrapping_sub(1))
    }

    /// The number of the n-th record of a desk.
    fn number(&self, desk: &Desk, n: usize) -> Option<Number> {
        let block = desk.blocks.get(n / BLOCK)?.load(Ordering::Relaxed).checked_sub(1)?;
        let number = block * BLOCK as u32 + (n % BLOCK) as u32 + 1;
        (number as usize <= self.records.len()).then_some(number)
    }

    /// The numbers of all records that a desk has used.
    fn numbers<'a>(&'a self, desk: &'a Desk) -> impl Iterator<Item = Number> + 'a {
        let used = desk.used.load(Ordering::Acquire) as usize;
        (0..used.min(BLOCKS * BLOCK)).filter_map(|n| self.number(desk, n))
    }

    /// The worker in this place is gone: what it had in flight is lost.
    pub fn bury(&self, slot: usize, now_ns: u64) {
        let Some(desk) = self.desks.get(slot) else { return };
        for number in self.numbers(desk) {
            if let Some(record) = self.record(number) {
                record.bury(now_ns);
            }
        }
        self.seats(slot).iter().for_each(|seat| seat.store(0, Ordering::Relaxed));
    }

    /// Of the worker in this place: its loop's, and its threads'.
    fn seats(&self, slot: usize) -> &[AtomicU64] {
        let seated = self.desks.get(slot).map_or(0, Desk::seated);
        let first = slot * SEATS;
        self.seats.get(first..first + seated).unwrap_or_default()
    }
}

impl Desk {
    fn seated(&self) -> usize {
        (self.seated.load(Ordering::Relaxed) as usize).min(SEATS)
    }
}

impl Record {
    /// By whoever takes over: what was written half is nothing, what was in flight is lost.
    fn bury(&self, now_ns: u64) {
        let turn = self.turn.load(Ordering::Relaxed);
        if turn & 1 == 1 {
            self.state.store(0, Ordering::Relaxed);
            self.turn.store(turn.wrapping_add(1), Ordering::Release);
            return;
        }
        let state = self.state.load(Ordering::Relaxed);
        if Phase::from_bits(state).is_some_and(Phase::is_in_flight) {
            self.end(state & !PHASE | Phase::Lost as u32, now_ns);
        }
    }

    #[inline]
    fn end(&self, state: u32, now_ns: u64) {
        self.ended_ns.store(now_ns, Ordering::Relaxed);
        self.state.store(state, Ordering::Release);
    }
}

/// Where a thread says what it does.  Each has its own.
#[derive(Clone, Debug)]
pub struct Seat {
    flights: Arc<Flights>,
    slot: usize,
    index: usize,
}

impl Seat {
    #[inline]
    fn word(&self) -> &AtomicU64 {
        &self.flights.seats[self.index]
    }

    /// From `now_ms` on, of the monotonic clock, the thread is in the application with this request.
    #[inline]
    pub fn enter(&self, request: Number, now_ms: u64) {
        self.word().store(now_ms << NUMBER_BITS | u64::from(request), Ordering::Relaxed);
    }

    /// It was outside, and is inside again with the same.
    #[inline]
    pub fn stay(&self, now_ms: u64) {
        let request = self.word().load(Ordering::Relaxed) & ((1 << NUMBER_BITS) - 1);
        self.word().store(now_ms << NUMBER_BITS | request, Ordering::Relaxed);
    }

    /// It is outside.
    #[inline]
    pub fn leave(&self) {
        self.word().store(0, Ordering::Relaxed);
    }

    /// This is where the request is now.
    #[inline]
    pub fn set_phase(&self, request: Number, phase: Phase) {
        if let Some(record) = self.flights.record(request) {
            record.state.store(phase as u32, Ordering::Relaxed);
        }
    }

    /// The client has this answer, and the application still runs.
    pub fn set_status(&self, request: Number, status: u16) {
        if let Some(record) = self.flights.record(request) {
            record.state.fetch_or(u32::from(status) << 16, Ordering::Relaxed);
        }
    }

    /// The request has ended with this status.
    #[inline]
    pub fn finish(&self, request: Number, status: u16, now_ns: u64) {
        if let Some(record) = self.flights.record(request) {
            record.end(u32::from(status) << 16 | Phase::Ended as u32, now_ns);
        }
    }

    /// The worker goes, and somebody else ends the request.
    pub fn abandon(&self, request: Number, now_ns: u64) {
        if let Some(record) = self.flights.record(request) {
            record.end(Phase::Lost as u32, now_ns);
        }
    }

    /// How long the requests of its worker took.
    pub fn timings(&self) -> &Timings {
        &self.flights.timings[self.slot]
    }

    /// All records of all workers.
    pub fn flights(&self) -> &Arc<Flights> {
        &self.flights
    }

    /// What is known of a request in flight.
    pub fn look(&self, request: Number, now_ns: u64) -> Option<Info> {
        self.flights.look(self.slot, request, now_ns)
    }
}

#[cfg(test)]
mod tests;
