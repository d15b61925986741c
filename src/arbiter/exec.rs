//! Workers that are this program, started again: the arbiter's side, and the worker's.
//!
//! Nothing is copied from the arbiter's memory, so that it may have threads.  A worker has its
//! sockets, the board, the life-line and its options from what was handed over to it, and all else
//! from the program.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;

use super::arbiter::Arbiter;
use super::board::Board;
use super::handover::{For, Handover, inherited, replaced};
use super::pool::OfPool;
use super::roll::Generation;
use super::settings::{MAIN_POOL, TARGET};
use super::spawn::Body;
use super::worker::{BOOT_ERROR, Surroundings, Ticket, WorkerContext, prepare};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Logger, log};
use crate::sys::exec::{self, Start};
use crate::sys::listen::Listening;
use crate::sys::notify;
use crate::sys::poll::Poller;
use crate::sys::proc::{self, SignalMask};
use crate::sys::shm::{Record, Shared};
use crate::sys::signal::{
    SIGABRT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2,
    SIGWINCH, Signals,
};
use crate::sys::waker::Waker;

/// What a worker is told that it need not hear before it serves, and must not die of until then.
const UNHEARD: [i32; 6] = [SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGWINCH];

impl Arbiter {
    /// Starts the program, which becomes a worker in the place `slot` when it serves.
    pub(super) fn exec(&mut self, slot: usize, generation: &Generation) -> Result<Body> {
        let program = self.program.clone()?;
        let mut handover = Handover::default();
        handover.put("arbiter", proc::pid());
        handover.put("pool", generation.pool());
        handover.put("slot", slot);
        handover.put("age", self.spawned);
        handover.put("max_recycling", generation.settings.max_recycling);
        let gone = || Error::new(Kind::State, "start a worker: the arbiter has ended");
        let (lifeline, _) = self.lifeline.as_ref().ok_or_else(gone)?;
        handover.put_fd("lifeline", lifeline.as_raw_fd());
        handover.put_fd("news", self.news.fd());
        let shared = generation.settings.shared.iter().filter_map(|it| it.mapping());
        for map in self.board.mappings().chain(shared) {
            let name = map.name.to_string_lossy();
            let words = format_args!("{} {} {name}", map.record, map.count);
            handover.put_fd_with("memory", map.fd, words);
        }
        generation.listeners.iter().for_each(|listening| handover.put_listening(listening));
        generation.settings.told.iter().for_each(|option| handover.put("option", option));
        let word = handover.write(For::Worker)?;
        let pid = program.start(&Start {
            marker: For::Worker.marker(),
            word: word.as_raw_fd(),
            fds: handover.fds(),
            bound: proc::is_main_thread(),
            defaults: self.ignored(),
            ignored: &UNHEARD,
            without: if generation.settings.forgets { &notify::VARIABLES } else { &[] },
            passed: &[],
        });
        let pid = pid.map_err(|error| {
            let path = program.path().display();
            Error::os(format_args!("start a worker: {path}"), &error)
        })?;
        Ok(self.process(slot, pid, generation))
    }

    /// Signals that this process ignores for the arbiter's sake, and that a new program should not.
    pub(super) fn ignored(&self) -> &'static [i32] {
        match &self.signals {
            Some(signals) if signals.has(SIGPIPE) => &[SIGPIPE],
            _ => &[],
        }
    }
}

/// The process that has become a worker of this kind, if this one has.
static BECAME: AtomicI32 = AtomicI32::new(0);

/// Whether this process was started to be a worker.
pub fn is_started() -> bool {
    BECAME.load(Ordering::Acquire) == proc::pid() || exec::marked(For::Worker.marker()).is_some()
}

/// What catches the signals of a worker that has ended: its program has not.
static CATCHERS: Mutex<Vec<Signals>> = Mutex::new(Vec::new());

/// A process that was started to be a worker, and has not begun.
#[derive(Debug)]
pub struct Started {
    handover: Handover,
    memory: Memory,
    ticket: Ticket,
    lifeline: OwnedFd,
    news: Waker,
    listeners: Vec<Arc<Listening>>,
}

impl Started {
    /// What this process was handed over; `None`: nobody has started it to be a worker.
    ///
    /// # Errors
    /// With the exit status 3: it was started by another version of the library, or has closed what
    /// it was given.  `Kind::State`: it was a worker already.
    pub fn take() -> Result<Option<Started>> {
        if BECAME.load(Ordering::Acquire) == proc::pid() {
            return Err(Error::new(
                Kind::State,
                "serve: this process was a worker, which has ended",
            ));
        }
        let Some(handover) = Handover::take(For::Worker)? else { return Ok(None) };
        BECAME.store(proc::pid(), Ordering::Release);
        let memory = Memory::of(&handover)?;
        let ticket = Ticket {
            board: Arc::new(Board::of_arbiter(&memory)?),
            slot: handover.get("slot")?,
            age: handover.get("age")?,
            most: handover.get("max_recycling")?,
        };
        if ticket.slot >= ticket.board.len() {
            return Err(replaced("it has another number of places"));
        }
        Ok(Some(Started {
            ticket,
            memory,
            lifeline: handover.fd("lifeline")?,
            news: Waker::of(handover.fd("news")?),
            listeners: handover.listeners(For::Worker)?.into_iter().map(Arc::new).collect(),
            handover,
        }))
    }

    /// The options that it is told, as names and values.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.handover.texts("option").filter_map(|option| option.split_once('='))
    }

    /// The pool that it is of.
    pub fn pool(&self) -> &str {
        self.handover.texts("pool").next().unwrap_or(MAIN_POOL)
    }

    /// An array that it shares with its arbiter.
    pub fn shared<T: Record>(&self, name: &'static CStr) -> Result<Shared<T>> {
        self.memory.shared(name)
    }

    /// Its life: returns the status that `main` does, or with which it could not begin.  The
    /// arbiter is told, whatever the program makes of it.
    ///
    /// Signals that come afterwards, while the program ends, do not hurry it.
    pub fn live(self, log: &Logger, main: impl FnOnce(&WorkerContext<'_>) -> i32) -> i32 {
        let board = Arc::clone(&self.ticket.board);
        let slot = self.ticket.slot;
        let status = self.live_until_its_end(log, main);
        board[slot].say(status);
        status
    }

    /// It does not even begin.
    pub fn give_up(self, failure: &Error) -> i32 {
        let status = failure.exit_status().max(BOOT_ERROR);
        self.ticket.board[self.ticket.slot].say(status);
        status
    }

    fn live_until_its_end(self, log: &Logger, main: impl FnOnce(&WorkerContext<'_>) -> i32) -> i32 {
        let of = OfPool(self.pool()).to_string();
        let poller = match Poller::new() {
            Ok(poller) => Mutex::new(poller),
            Err(error) => {
                log!(log, Error, TARGET, "Worker failed to boot: {error}");
                return BOOT_ERROR;
            }
        };
        let board = Arc::clone(&self.ticket.board);
        let around = Surroundings {
            board: &board,
            news: &self.news,
            listeners: &self.listeners,
            poller: &poller,
            was_forked: false,
        };
        let context = match prepare(&around, self.ticket, self.lifeline) {
            Ok(context) => context,
            Err(error) => {
                log!(log, Error, TARGET, "Worker failed to boot: {error}");
                return BOOT_ERROR;
            }
        };
        // The program's mask, but not against the signals that a worker lives by.
        let mask = SignalMask::block_all();
        mask.without(&[SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGABRT]).restore();
        log!(log, Info, TARGET, "Booting worker with pid: {}{of}", context.pid());
        let status = main(&context);
        log!(log, Info, TARGET, "Worker exiting (pid: {}{of})", context.pid());
        let kept = context.into_signals();
        CATCHERS.lock().extend(kept);
        status
    }
}

/// The arrays that a worker was handed, until it maps them.
#[derive(Debug)]
pub(super) struct Memory(Mutex<Vec<(RawFd, usize, usize, String)>>);

impl Memory {
    fn of(handover: &Handover) -> Result<Memory> {
        let read = |text: &str| {
            let mut words = text.splitn(4, ' ');
            let mut number = || words.next()?.parse::<usize>().ok();
            let (fd, record, count) = (number()?, number()?, number()?);
            Some((RawFd::try_from(fd).ok()?, record, count, words.next()?.to_owned()))
        };
        let all: Option<Vec<_>> = handover.texts("memory").map(read).collect();
        all.map(|all| Memory(Mutex::new(all))).ok_or_else(|| replaced("its memory is another"))
    }

    /// One of them; once.
    pub(super) fn shared<T: Record>(&self, name: &'static CStr) -> Result<Shared<T>> {
        let mut all = self.0.lock();
        let shown = name.to_string_lossy();
        let at = all.iter().position(|it| it.3 == shown);
        let (fd, record, count, _) = match at {
            Some(at) => all.swap_remove(at),
            None => return Err(replaced(&format!("there is no {shown}"))),
        };
        let size = size_of::<T>();
        if record != size {
            return Err(replaced(&format!("a record of {shown} has {record} octets, not {size}")));
        }
        Shared::of_file(inherited(fd, &shown)?, name, count)
            .map_err(|error| Error::os(format_args!("map {shown}"), &error).with_exit_status(3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_another_size_is_another_librarys() {
        let board = Board::with_files(1).unwrap();
        let mut handover = Handover::default();
        for map in board.mappings() {
            let name = map.name.to_str().unwrap();
            // A descriptor that nobody has: what follows must not come so far.
            handover
                .put("memory", format_args!("1000000 {} {} {name}", map.record + 64, map.count));
        }
        let memory = Memory::of(&handover).unwrap();
        let error = Board::of_arbiter(&memory).unwrap_err();
        assert_eq!((error.kind(), error.exit_status()), (Kind::Abi, 3));
        assert!(error.message().contains("a record of slots has"), "{error}");
        let error = memory.shared::<super::super::board::WorkerSlot>(c"none").unwrap_err();
        assert!(error.message().contains("there is no none"), "{error}");
        handover.put("memory", "1 2");
        assert!(Memory::of(&handover).is_err());
    }

    #[test]
    fn this_process_is_no_worker() {
        assert!(!is_started());
        assert!(Started::take().unwrap().is_none());
    }
}
