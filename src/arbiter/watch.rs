//! Deadlines of single workers: to be ready, to give signs of life, to end, to grow old.

use std::sync::Arc;

use super::arbiter::{Arbiter, Worker};
use super::board::State;
use super::control::StopMode;
use super::roll::Generation;
use super::settings::{Event, TARGET};
use super::stop::{AFTER_KILL_MS, GRACE_MS};
use crate::base::log::log;
use crate::sys::clock::monotonic_ms;
use crate::sys::proc::Exit;
use crate::sys::signal::{SIGABRT, SIGKILL};

/// From ABRT to KILL: what is silent is gone within a second.
const ABORT_MS: u64 = 900;
/// How late the arbiter's own loop may be before its word against others counts for nothing.
const LATE_MS: u64 = 1000;
/// How often to try whether one that has grown old may leave.
const RETRY_MS: u64 = 1000;

/// What the arbiter holds against a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not ready within `boot_timeout`.
    Boot,
    /// It gave no sign of life for `heartbeat_timeout`.
    Silent,
    /// A thread of it was in the application for `heartbeat_timeout`.
    Stuck,
    /// Its loop was in a request for `request_timeout`.
    Overdue,
    /// It had more than `memory_hard`.
    Memory,
    /// It did not end within `graceful_timeout`.
    Late,
    /// And not even when it was killed.
    Lost,
}

impl Verdict {
    pub(super) fn hint(self) -> &'static str {
        match self {
            Verdict::Boot => " By the arbiter: it was not ready within boot_timeout.",
            Verdict::Silent => " By the arbiter: it gave no sign of life for heartbeat_timeout.",
            Verdict::Stuck => " By the arbiter: a thread was stuck for heartbeat_timeout.",
            Verdict::Overdue => " By the arbiter: its loop was in a request for request_timeout.",
            Verdict::Memory => " By the arbiter: it had more than memory_hard.",
            Verdict::Late | Verdict::Lost => " It did not stop in time.",
        }
    }
}

impl Worker {
    /// It does not end, and is not waited for any more.
    pub(super) fn is_lost(&self) -> bool {
        match self.verdict {
            Some(Verdict::Lost) => true,
            // It serves nobody, and may never end.
            Some(Verdict::Boot) => self.body.is_thread(),
            _ => false,
        }
    }

    /// It has begun to stop without being told.
    fn leaves_by_itself(&self, state: State) -> bool {
        state == State::Stopping
            && self.told.is_none()
            && self.verdict.is_none()
            && self.kill_at_ms == u64::MAX
    }

    /// How long it may take to stop.
    pub(super) fn grace_ms(&self) -> u64 {
        self.generation.settings.graceful_timeout.as_millis() as u64 + GRACE_MS
    }

    fn is_silent_for(&self, beat_ms: u64, now: u64) -> Option<u64> {
        let timeout = self.generation.settings.heartbeat_timeout.as_millis() as u64;
        let silent = now.saturating_sub(beat_ms);
        (timeout > 0 && silent > timeout).then_some(silent)
    }
}

impl Arbiter {
    /// An arbiter that was stopped itself, with its workers, or was not turned by its host, has not
    /// seen what they did meanwhile.
    pub(super) fn notice_lateness(&mut self) {
        let now = monotonic_ms();
        if now > self.due_ms.saturating_add(LATE_MS) {
            self.overslept_ms = now;
        }
        self.due_ms = u64::MAX;
    }

    /// Tells of the time when it has come.
    pub(super) fn tick(&mut self) {
        let (now, tick_ms) = (monotonic_ms(), self.settings.tick.as_millis() as u64);
        if tick_ms == 0 || now < self.tick_ms {
            return;
        }
        self.tick_ms = now + tick_ms;
        // Of processes that hang others take the place; threads stay, and may be all that there is.
        let hangs = |worker: &Worker| {
            let hung = [Verdict::Silent, Verdict::Overdue, Verdict::Lost, Verdict::Boot];
            worker.verdict.is_some_and(|verdict| hung.contains(&verdict))
        };
        let mut workers = self.places.iter().filter_map(|place| place.worker.as_ref()).peekable();
        let is_well = workers.peek().is_none() || !workers.all(hangs);
        self.tell(Event::Tick { is_well });
    }

    /// When a worker of this generation that starts now is to be replaced.
    pub(super) fn lifetime_from(&mut self, now: u64, generation: &Generation) -> u64 {
        match generation.settings.max_lifetime.as_millis() as u64 {
            0 => u64::MAX,
            lifetime => now + lifetime + self.random() % (lifetime / 10 + 1),
        }
    }

    pub(super) fn watch(&mut self) {
        let now = monotonic_ms();
        for slot in 0..self.places.len() {
            let Some(worker) = &self.places[slot].worker else { continue };
            if now >= worker.kill_at_ms {
                self.end_by_force(slot, now);
            } else if worker.leaves_by_itself(self.board[slot].state()) {
                if let Some(worker) = &mut self.places[slot].worker {
                    worker.kill_at_ms = now + worker.grace_ms();
                }
            } else if worker.told.is_some() || worker.verdict.is_some() {
            } else if !worker.ready {
                let boot_ms = worker.generation.settings.boot_timeout.as_millis() as u64;
                if boot_ms > 0 && now.saturating_sub(worker.spawned_ms) > boot_ms {
                    self.boots_too_long(slot, now);
                }
            } else {
                let beat_ms = self.board[slot].heartbeat_ms().max(self.overslept_ms);
                if let Some(silent) = worker.is_silent_for(beat_ms, now) {
                    self.is_silent(slot, silent, now);
                } else if let Some((verdict, since)) = self.hangs(slot, worker, now) {
                    self.is_stuck(slot, verdict, since, now);
                } else if self.board[slot].lacks_thread() {
                    self.lacks_thread(slot);
                } else if now >= worker.expires_ms {
                    self.is_old(slot);
                }
            }
        }
    }

    /// The next moment at which [`Arbiter::watch`] may find something.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let now = monotonic_ms();
        let of_worker = |(slot, worker): (usize, &Worker)| {
            let mut next = worker.kill_at_ms;
            if worker.told.is_none() && worker.verdict.is_none() {
                let settings = &worker.generation.settings;
                let (from, timeout) = match worker.ready {
                    false => (worker.spawned_ms, settings.boot_timeout),
                    true => {
                        let beat_ms = self.board[slot].heartbeat_ms().max(self.overslept_ms);
                        (beat_ms, settings.heartbeat_timeout)
                    }
                };
                if !timeout.is_zero() {
                    next = next.min(from + timeout.as_millis() as u64 + 1);
                }
                if worker.ready {
                    next = next.min(self.hangs_at(slot, worker));
                    if self.board[slot].lacks_thread() {
                        next = next.min(now + RETRY_MS);
                    }
                }
                if worker.ready && worker.expires_ms != u64::MAX {
                    let retry = if worker.expires_ms <= now { RETRY_MS } else { 0 };
                    next = next.min(worker.expires_ms.max(now + retry));
                }
            }
            next
        };
        let workers = self.places.iter().enumerate();
        let workers = workers.filter_map(|(slot, place)| Some((slot, place.worker.as_ref()?)));
        let own = workers.map(of_worker).chain(self.next_weighing());
        own.min().filter(|next| *next != u64::MAX)
    }

    /// It had its time: to end, after ABRT, or even after KILL.
    fn end_by_force(&mut self, slot: usize, now: u64) {
        self.name_culprits(slot, now);
        let Some(worker) = &mut self.places[slot].worker else { return };
        let who = &worker.body;
        let was_killed = worker.told == Some(StopMode::Kill);
        worker.kill_at_ms = u64::MAX;
        if was_killed || (worker.body.is_thread() && worker.told == Some(StopMode::Quick)) {
            log!(self.log, Error, TARGET, "Worker ({who}) does not end; another takes its place");
            worker.verdict = Some(Verdict::Lost);
            self.board.return_ticket(slot, worker.age);
            // What is wanted here is wanted elsewhere from now on.
            self.places[slot].wanted = None;
            return;
        }
        let how = if worker.body.is_thread() {
            log!(
                self.log,
                Warn,
                TARGET,
                "Worker ({who}) did not stop in time; threads are not killed"
            );
            StopMode::Quick
        } else {
            StopMode::Kill
        };
        worker.verdict.get_or_insert(Verdict::Late);
        worker.body.tell(how);
        worker.told = Some(how);
        worker.kill_at_ms = now + AFTER_KILL_MS;
    }

    fn boots_too_long(&mut self, slot: usize, now: u64) {
        let Some(worker) = &mut self.places[slot].worker else { return };
        let (who, ms) = (&worker.body, now.saturating_sub(worker.spawned_ms));
        log!(self.log, Error, TARGET, "Worker ({who}) is not ready after {ms} ms: boot_timeout");
        worker.verdict = Some(Verdict::Boot);
        if !worker.body.is_thread() {
            // The rest when it was waited for.
            worker.body.signal(SIGKILL);
            return;
        }
        log!(self.log, Error, TARGET, "Worker ({who}) is a thread, which cannot be killed");
        let Some(worker) = self.places[slot].worker.take() else { return };
        let first = !self.places[slot].has_served;
        let pool = Arc::clone(worker.generation.pool());
        let rolled_back = self.roll_back(slot, &worker, None);
        self.places[slot].worker = Some(worker);
        if first {
            self.fail_to_start(&pool, Exit::Unknown, now);
        } else {
            if rolled_back {
                self.places[slot].wanted = None;
            }
            self.dismiss(slot);
        }
    }

    fn is_silent(&mut self, slot: usize, silent_ms: u64, now: u64) {
        let Some(worker) = &self.places[slot].worker else { return };
        let who = &worker.body;
        log!(
            self.log,
            Error,
            TARGET,
            "Worker ({who}) gave no sign of life for {silent_ms} ms: heartbeat_timeout"
        );
        self.name_culprits(slot, now);
        self.abort(slot, Verdict::Silent, now);
    }

    /// A thread of it, or its loop, does not come back from the application.
    fn is_stuck(&mut self, slot: usize, verdict: Verdict, since: u64, now: u64) {
        let Some(worker) = &self.places[slot].worker else { return };
        let (who, ms) = (&worker.body, now.saturating_sub(since));
        let what = match verdict {
            Verdict::Overdue => "loop has been in a request for",
            _ => "threads: one has been in the application for",
        };
        let settings = &worker.generation.settings;
        let (option, timeout) = match verdict {
            Verdict::Overdue => ("request", settings.request_timeout),
            _ => ("heartbeat", settings.heartbeat_timeout),
        };
        // And others that are no better.
        let until = since.max(now.saturating_sub(timeout.as_millis() as u64 + 1));
        log!(self.log, Error, TARGET, "Worker ({who}), its {what} {ms} ms: {option}_timeout");
        if verdict == Verdict::Stuck && worker.body.is_thread() {
            // Its loop turns: what the other threads do need not end with it.
            self.board[slot].set_lacks_thread();
            return self.lacks_thread(slot);
        }
        self.name_culprits(slot, until);
        self.abort(slot, verdict, now);
    }

    /// ABRT, and KILL a second later.
    fn abort(&mut self, slot: usize, verdict: Verdict, now: u64) {
        let Some(worker) = &mut self.places[slot].worker else { return };
        let who = &worker.body;
        worker.verdict = Some(verdict);
        if worker.body.is_thread() {
            log!(
                self.log,
                Error,
                TARGET,
                "Worker ({who}) is a thread, which cannot be killed: it is to stop as soon as its \
                 loop turns"
            );
            worker.body.tell(StopMode::Quick);
            worker.told = Some(StopMode::Quick);
            worker.kill_at_ms = now + AFTER_KILL_MS;
            return;
        }
        worker.body.signal(SIGABRT);
        worker.kill_at_ms = now + ABORT_MS;
    }

    /// It serves on with the threads that are left, until another may take its place: no more than
    /// `max_recycling` are on their way out at once.
    fn lacks_thread(&mut self, slot: usize) {
        let Some(worker) = &self.places[slot].worker else { return };
        let most = worker.generation.settings.max_recycling;
        let board = &self.board;
        if !board.has_ticket(slot, worker.age) && !board.take_ticket(slot, worker.age, most) {
            return;
        }
        let who = &worker.body;
        log!(
            self.log,
            Error,
            TARGET,
            "Worker ({who}) lacks a thread that does not come back: another takes its place"
        );
        self.name_culprits(slot, monotonic_ms());
        self.retire(slot);
    }

    fn is_old(&mut self, slot: usize) {
        let Some(worker) = &self.places[slot].worker else { return };
        let most = worker.generation.settings.max_recycling;
        let board = &self.board;
        if !board.has_ticket(slot, worker.age) && !board.take_ticket(slot, worker.age, most) {
            return;
        }
        log!(self.log, Info, TARGET, "Worker ({}) has reached max_lifetime", worker.body);
        self.dismiss(slot);
    }
}
