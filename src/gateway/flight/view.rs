//! Reading the flight recorder: from any thread, in any process, also of workers that are dead.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::{Flights, KEPT, NUMBER_BITS, Number, Phase, Record};

/// How often a record is read that is being written; then it is left out.
const TRIES: usize = 100;

/// A request, as it was when it was read.
#[derive(Clone, Copy)]
pub struct Info {
    /// The place of its worker.
    pub slot: usize,
    /// The worker's process.
    pub pid: u32,
    /// Which configuration it runs: counts reloads.
    pub generation: u32,
    /// Which of its threads is in the application with it, from 1; 0: none, or its loop.
    pub thread: u32,
    /// Where it is.
    pub phase: Phase,
    /// Of the answer: once it has ended, or the client has it.
    pub status: u16,
    /// Since it began.
    pub age_ns: u64,
    /// Once it has ended: how long that took.
    pub took_ns: u64,
    /// What names it in log lines.
    pub id: u64,
    method: [u8; 16],
    target: [u8; 256],
    address: [u8; 48],
    port: [u8; 8],
}

/// Which requests are to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those in flight.
    InFlight,
    /// And the last that have ended, [`KEPT`] of each worker.
    Recent,
}

impl Flights {
    /// The requests of one worker, the oldest first.
    pub fn each(&self, slot: usize, which: Which, now_ns: u64, mut see: impl FnMut(&Info)) {
        let Some(desk) = self.desks.get(slot) else { return };
        let (mut found, mut ended) = (Vec::new(), Vec::new());
        for number in self.numbers(desk) {
            let Some(record) = self.record(number) else { continue };
            match Phase::from_bits(record.state.load(Ordering::Relaxed)) {
                Some(phase) if phase.is_in_flight() => found.push(number),
                Some(_) if which == Which::Recent => ended.push((record.ended_ns(), number)),
                _ => {}
            }
        }
        if ended.len() > KEPT {
            let older = ended.len() - KEPT;
            ended.select_nth_unstable(older);
            ended.drain(..older);
        }
        found.extend(ended.iter().map(|(_, number)| *number));
        let began = |number: &Number| {
            self.record(*number).map_or(0, |record| record.began_ns.load(Ordering::Relaxed))
        };
        found.sort_by_cached_key(began);
        for number in found {
            // It may have ended meanwhile.
            if let Some(info) = self.look(slot, number, now_ns)
                && (which == Which::Recent || info.phase.is_in_flight())
            {
                see(&info);
            }
        }
    }

    /// A request of the worker in this place, if there was one in this record, and it can be read.
    pub fn look(&self, slot: usize, number: Number, now_ns: u64) -> Option<Info> {
        let mut info = self.record(number)?.read(now_ns)?;
        info.slot = slot;
        let has_it = |seat: &AtomicU64| seat_of(seat).is_some_and(|(_, its)| its == number);
        if let Some(seat) = self.seats(slot).iter().position(has_it) {
            info.thread = seat as u32;
            // Whoever has entered wrote down no more than that.
            if matches!(info.phase, Phase::Read | Phase::Queue) {
                info.phase = Phase::App;
            }
        }
        Some(info)
    }

    /// How many threads of a worker run the application; 0: its loop does.
    pub fn threads(&self, slot: usize) -> usize {
        self.seats(slot).len().saturating_sub(1)
    }

    /// The threads of a worker that are in the application since this moment (of the monotonic
    /// clock, in milliseconds) or an earlier one, the first first: since when, and with which request.
    /// With its loop, or without.
    pub fn inside(&self, slot: usize, until_ms: u64, with_loop: bool) -> Vec<(u64, Number)> {
        let since = self.seated(slot, with_loop).filter(|(since, _)| *since <= until_ms);
        let mut inside: Vec<_> = since.collect();
        inside.sort_unstable();
        inside
    }

    /// Since when a thread is in the application without a break, the first of them; milliseconds of
    /// the monotonic clock.  Allocates nothing.
    pub fn inside_since(&self, slot: usize) -> Option<u64> {
        self.seated(slot, false).map(|(since, _)| since).min()
    }

    /// Since when the loop is in the application with a request that has no answer yet.
    pub fn unanswered_since(&self, slot: usize) -> Option<u64> {
        let (since, number) = self.seats(slot).first().and_then(seat_of)?;
        let state = self.record(number)?.state.load(Ordering::Relaxed);
        let phase = Phase::from_bits(state)?;
        matches!(phase, Phase::Read | Phase::App | Phase::Later).then_some(since)
    }

    /// The request with which a thread of the worker, its loop included, is in the application for the
    /// longest time.  Async-signal-safe.
    pub fn culprit(&self, slot: usize, now_ns: u64) -> Option<Info> {
        let inside = self.seated(slot, true);
        let (_, number) = inside.filter(|(_, number)| *number != 0).min()?;
        self.look(slot, number, now_ns)
    }

    fn seated(&self, slot: usize, with_loop: bool) -> impl Iterator<Item = (u64, Number)> + '_ {
        self.seats(slot).iter().skip(usize::from(!with_loop)).filter_map(seat_of)
    }
}

/// Since when, and with which request, somebody sits there.
fn seat_of(seat: &AtomicU64) -> Option<(u64, Number)> {
    match seat.load(Ordering::Relaxed) {
        0 => None,
        word => Some((word >> NUMBER_BITS, (word & ((1 << NUMBER_BITS) - 1)) as Number)),
    }
}

impl Record {
    /// When it ended, if it has.
    pub(super) fn ended_ns(&self) -> u64 {
        self.ended_ns.load(Ordering::Relaxed)
    }

    fn read(&self, now_ns: u64) -> Option<Info> {
        (0..TRIES).find_map(|_| self.try_read(now_ns))?
    }

    /// Outer `None`: somebody writes it.
    fn try_read(&self, now_ns: u64) -> Option<Option<Info>> {
        let turn = self.turn.load(Ordering::Acquire);
        if turn & 1 == 1 {
            return None;
        }
        // Before what belongs to it.
        let state = self.state.load(Ordering::Acquire);
        let Some(phase) = Phase::from_bits(state) else { return Some(None) };
        let (began_ns, worker) =
            (self.began_ns.load(Ordering::Relaxed), self.worker.load(Ordering::Relaxed));
        let info = Info {
            slot: 0,
            pid: worker as u32,
            generation: (worker >> 32) as u32,
            thread: 0,
            phase,
            status: (state >> 16) as u16,
            age_ns: now_ns.saturating_sub(began_ns),
            took_ns: match phase.is_in_flight() {
                true => 0,
                false => self.ended_ns().saturating_sub(began_ns),
            },
            id: self.id.load(Ordering::Relaxed),
            method: octets(&self.method),
            target: octets(&self.target),
            address: octets(&self.address),
            port: self.port.load(Ordering::Relaxed).to_le_bytes(),
        };
        fence(Ordering::Acquire);
        (self.turn.load(Ordering::Relaxed) == turn).then_some(Some(info))
    }
}

fn octets<const N: usize>(words: &[AtomicU64]) -> [u8; N] {
    let mut text = [0; N];
    for (to, word) in text.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    text
}

/// What is in front of the zero.
fn text(octets: &[u8]) -> &[u8] {
    &octets[..memchr::memchr(0, octets).unwrap_or(octets.len())]
}

impl Info {
    /// The method, cut to 15 octets.
    pub fn method(&self) -> &[u8] {
        text(&self.method)
    }

    /// The target, cut to 255 octets.
    pub fn target(&self) -> &[u8] {
        text(&self.target)
    }

    /// The client's address: `192.0.2.1`, `2001:db8::1`, or `unix:`.
    pub fn address(&self) -> &[u8] {
        text(&self.address)
    }

    /// Its port, in decimal; empty for a unix socket.
    pub fn port(&self) -> &[u8] {
        text(&self.port)
    }
}

/// As the log names it.
impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, target) = (self.method().escape_ascii(), self.target().escape_ascii());
        let address = self.address().escape_ascii();
        write!(f, "{method} {target} (id {:016x}) from ", self.id)?;
        match std::str::from_utf8(self.port()).unwrap_or("") {
            "" => write!(f, "{address}")?,
            port if self.address().contains(&b':') => write!(f, "[{address}]:{port}")?,
            port => write!(f, "{address}:{port}")?,
        }
        let ms = if self.phase.is_in_flight() { self.age_ns } else { self.took_ns } / 1_000_000;
        write!(f, ", {ms} ms: ")?;
        f.write_str(match self.phase {
            Phase::Read => "its body is awaited",
            Phase::Queue => "it waits for a thread",
            Phase::App => "in the application",
            Phase::Write => "it is being answered",
            Phase::Later => "it is answered later",
            Phase::Ended => return write!(f, "it was answered with {}", self.status),
            Phase::Lost => "it was lost",
        })
    }
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Info({self})")
    }
}
