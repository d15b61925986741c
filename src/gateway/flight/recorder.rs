//! Writing records: what the loop of a worker does for each request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::sys::pid::pid;
use crate::sys::sock::Peer;

use super::{BLOCK, BLOCKS, Flights, KEPT, Number, Phase, Record, SEATS, Seat};

/// What is written down at the head of a request.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What names it in log lines.
    pub id: u64,
    /// When that was, in nanoseconds of the monotonic clock.
    pub began_ns: u64,
    /// Cut to 15 octets.
    pub method: &'a [u8],
    /// Cut to 255.
    pub target: &'a [u8],
    /// Who sent it.
    pub peer: &'a Peer,
}

/// The records of one worker, as its loop has them: it takes them and gets them back.
#[derive(Debug)]
pub struct Recorder {
    flights: Arc<Flights>,
    slot: usize,
    worker: u64,
    pub(super) used: usize,
    ended: Ring,
}

/// The records of requests that have ended, the oldest first.
#[derive(Debug)]
struct Ring {
    numbers: Box<[Number; RING]>,
    first: usize,
    len: usize,
}

/// Room for all of a worker's.
const RING: usize = (BLOCKS * BLOCK).next_power_of_two();

impl Ring {
    #[inline]
    fn push(&mut self, number: Number) {
        self.numbers[(self.first + self.len) % RING] = number;
        self.len += 1;
    }

    /// The oldest; there must be one.
    #[inline]
    fn pop(&mut self) -> Number {
        let number = self.numbers[self.first];
        self.first = (self.first + 1) % RING;
        self.len -= 1;
        number
    }
}

impl Recorder {
    /// For the worker in this place, in its own process.  What its predecessor has left counts as
    /// ended.
    pub fn new(flights: Arc<Flights>, slot: usize, generation: u32, now_ns: u64) -> Self {
        flights.bury(slot, now_ns);
        let desk = &flights.desks[slot];
        desk.seated.store(0, Ordering::Relaxed);
        let mut left: Vec<_> = flights.numbers(desk).collect();
        left.sort_by_key(|number| flights.record(*number).map(Record::ended_ns));
        let mut ended = Ring { numbers: Box::new([0; RING]), first: 0, len: 0 };
        left.iter().for_each(|number| ended.push(*number));
        let worker = u64::from(pid()) | u64::from(generation) << 32;
        let used = ended.len;
        Recorder { slot, worker, used, ended, flights }
    }

    /// For a server without an arbiter.
    pub fn alone(now_ns: u64) -> io::Result<Self> {
        Ok(Recorder::new(Arc::new(Flights::new(1, false)?), 0, 0, now_ns))
    }

    /// The place of the loop, or of one of so many threads (from 1).
    pub fn seat(&self, number: usize) -> Seat {
        let seated = u32::try_from(number + 1).unwrap_or(u32::MAX);
        self.flights.desks[self.slot].seated.fetch_max(seated, Ordering::Relaxed);
        let index = self.slot * SEATS + number.min(SEATS - 1);
        Seat { flights: Arc::clone(&self.flights), slot: self.slot, index }
    }

    /// A request begins; 0: it goes unrecorded.
    #[inline]
    pub fn begin(&mut self, entry: &Entry<'_>) -> Number {
        let number = match self.ended.len > KEPT {
            true => self.ended.pop(),
            false => self.another(),
        };
        if let Some(record) = self.flights.record(number) {
            let turn = record.turn.load(Ordering::Relaxed);
            record.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
            // Nothing of what follows is seen before this.
            fence(Ordering::Release);
            record.state.store(Phase::Read as u32, Ordering::Relaxed);
            record.id.store(entry.id, Ordering::Relaxed);
            record.began_ns.store(entry.began_ns, Ordering::Relaxed);
            record.worker.store(self.worker, Ordering::Relaxed);
            put(&record.method, entry.method);
            put(&record.target, entry.target);
            let ([first, second], others) = entry.peer.address_words();
            record.address[0].store(first, Ordering::Relaxed);
            record.address[1].store(second, Ordering::Relaxed);
            // Without a zero at its end, it goes on.
            if second >> 56 != 0 {
                for (word, octets) in record.address[2..].iter().zip(others) {
                    word.store(octets, Ordering::Relaxed);
                }
            }
            record.port.store(entry.peer.port_word(), Ordering::Relaxed);
            record.turn.store(turn.wrapping_add(2), Ordering::Release);
        }
        number
    }

    /// A record that was never used; 0: there is none left.
    #[cold]
    fn another(&mut self) -> Number {
        let desk = &self.flights.desks[self.slot];
        if let Some(block) = desk.blocks.get(self.used / BLOCK)
            && block.load(Ordering::Relaxed) == 0
        {
            let most = (self.flights.records.len() / BLOCK) as u32;
            let more = |handed: u32| (handed < most).then_some(handed + 1);
            let stock = &self.flights.stock[0].blocks;
            match stock.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
                Ok(before) => block.store(before + 1, Ordering::Relaxed),
                Err(_) => return 0,
            }
        }
        match self.flights.number(desk, self.used) {
            Some(number) => {
                self.used += 1;
                desk.used.store(self.used as u32, Ordering::Release);
                number
            }
            None => 0,
        }
    }

    /// The request has ended, and everybody who wrote down something about it is done.
    #[inline]
    pub fn give_back(&mut self, number: Number) {
        self.ended.push(number);
    }
}

/// A text, cut to what there is room for, and a zero behind it.
#[inline]
fn put<const N: usize>(words: &[AtomicU64; N], text: &[u8]) {
    if text.len() < 8 {
        words[0].store(word(text), Ordering::Relaxed);
    } else {
        put_long(words, text);
    }
}

fn put_long(words: &[AtomicU64], text: &[u8]) {
    let text = &text[..text.len().min(words.len() * 8 - 1)];
    let (whole, rest) = text.as_chunks::<8>();
    for (word, octets) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*octets), Ordering::Relaxed);
    }
    words[whole.len()].store(word(rest), Ordering::Relaxed);
}

/// Up to seven octets, and zeros.
#[inline]
fn word(octets: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (octets.first_chunk::<4>(), octets.last_chunk::<4>()) {
        // They overlap.
        let behind = (octets.len() - 4) * 8;
        u64::from(u32::from_le_bytes(*last)) << behind | u64::from(u32::from_le_bytes(*first))
    } else if let (Some(first), Some(last)) = (octets.first(), octets.last()) {
        // Of one, two or three: so do these.
        let (middle, behind) = (octets.len() / 2, (octets.len() - 1) * 8);
        u64::from(*last) << behind | u64::from(octets[middle]) << (middle * 8) | u64::from(*first)
    } else {
        0
    }
}
