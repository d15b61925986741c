//! What the death of a worker means: what is said of it, when another may come, and whether all is
//! to end.

use std::sync::atomic::Ordering;

use super::arbiter::{Arbiter, Phase, Worker};
use super::control::StopMode;
use super::settings::{Cause, Event, TARGET};
use super::stop::GRACE_MS;
use super::watch::Verdict;
use super::worker::{APP_ERROR, BOOT_ERROR};
use crate::base::error::{Error, Kind};
use crate::base::log::log;
use crate::conf::pool::within;
use crate::sys::cgroup;
use crate::sys::clock::monotonic_ms;
use crate::sys::proc::{self, Exit};
use crate::sys::signal::{self, SIGABRT, SIGKILL, SIGQUIT, SIGTERM};

/// A place gets no two workers within this time: a worker that dies at its first request must not
/// make the arbiter spin, and a replacement is to be there within 100 ms.
const SPACING_MS: u64 = 100;
/// The delays after failures to boot: doubled from the first to the last.
const BACKOFF_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
/// What a worker must have served for its place's failures to be forgotten.
const HEALTHY_MS: u64 = 60_000;
/// One that dies sooner after it was ready is no better than one that fails to boot, from the second
/// time on.
const CRASH_MS: u64 = 1000;
/// How often to look for children that are nobody's, also where SIGCHLD tells of them.
const ORPHANS_MS: u64 = 1000;
/// When a worker that has ended stands before them.
const BEHIND_MS: u64 = 50;

impl Arbiter {
    /// Takes note of the workers that have ended.
    pub(super) fn reap(&mut self) {
        let reaped = self.handle.take_reaped();
        for slot in 0..self.places.len() {
            let Some(worker) = &self.places[slot].worker else { continue };
            let Some(exit) = worker.body.ended(&reaped) else { continue };
            if let Some(worker) = self.places[slot].worker.take() {
                self.bury(slot, &worker, exit);
            }
        }
        self.hear_of_upgrade(&reaped);
    }

    /// Waits for what the host has said is nobody's.  Such a child has nothing to do with workers, and
    /// its end means nothing.
    pub(super) fn reap_orphans(&mut self) {
        let now = monotonic_ms();
        if !self.settings.reap_orphans || now < self.orphans_ms {
            return;
        }
        let workers = || self.places.iter().filter_map(|place| place.worker.as_ref());
        let is_worker = |pid| workers().any(|worker| worker.body.pid() == pid);
        let is_next = |pid| self.successor.as_ref().is_some_and(|it| it.pid == pid);
        let (reaped, is_all) = proc::reap_orphans(|pid| is_worker(pid) || is_next(pid));
        if reaped > 0 {
            log!(self.log, Debug, TARGET, "Waited for {reaped} orphans");
        }
        self.orphans_ms = now + if is_all { ORPHANS_MS } else { BEHIND_MS };
    }

    fn bury(&mut self, slot: usize, worker: &Worker, exit: Exit) {
        let exit = self.board[slot].said(exit);
        let was_ready = self.board[slot].was_ready();
        let served_ms = monotonic_ms().saturating_sub(self.board[slot].ready_ms());
        self.board[slot].vacate();
        let tally = self.handle.tally();
        tally.exited.fetch_add(1, Ordering::Relaxed);
        let forced = worker.verdict.is_some() || worker.told == Some(StopMode::Kill);
        let killed = forced && matches!(exit, Exit::Signal(SIGKILL | SIGABRT));
        if killed {
            tally.killed.fetch_add(1, Ordering::Relaxed);
        }
        if was_ready {
            self.return_ticket(slot);
        }
        if self.board.has_ticket(slot, worker.age) {
            self.places[slot].ticket = Some(worker.age);
        }
        let cause = self.cause_of(worker, exit);
        self.board.count_end(slot, cause, killed);
        let who = &worker.body;
        match exit {
            Exit::Code(0) => {}
            // A program that was started, and had not come to catch what it was told.
            Exit::Signal(SIGTERM | SIGQUIT) if worker.told.is_some() && !was_ready => {}
            Exit::Code(code) => {
                log!(self.log, Error, TARGET, "Worker ({who}) exited with code {code}");
            }
            Exit::Signal(signal) => {
                let hint = match (cause, worker.verdict) {
                    (_, Some(verdict)) => verdict.hint(),
                    (Cause::Late, _) => " It did not stop in time.",
                    (Cause::OutOfMemory, _) => {
                        " By the system: its control group was out of memory."
                    }
                    _ if signal != SIGKILL => "",
                    _ if self.oom_kills.is_some() => " Not by the arbiter.",
                    _ => " Perhaps out of memory?",
                };
                let name = signal::name(signal);
                log!(self.log, Error, TARGET, "Worker ({who}) was sent {name}!{hint}");
            }
            Exit::Unknown => {
                log!(
                    self.log,
                    Warn,
                    TARGET,
                    "Worker ({who}) has ended; somebody else waited for it"
                );
            }
        }
        self.name_lost(slot, worker, exit);
        let who = self.who(slot, worker);
        self.tell(Event::Exited(who, exit, cause));
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        if self.places[slot].wanted.is_none() {
            return self.vacate(slot);
        }
        let now = monotonic_ms();
        let failed = !was_ready && worker.told.is_none();
        let has_served = self.places[slot].has_served || was_ready;
        let says_so = is_boot_failure(exit) || worker.verdict == Some(Verdict::Boot);
        if failed && !has_served && says_so {
            self.fail_to_start(worker.generation.pool(), exit, now);
            return;
        }
        if failed && self.roll_back(slot, worker, Some(exit)) {
            return;
        }
        let crashed = was_ready && worker.told.is_none() && served_ms < CRASH_MS;
        let failed = failed || (crashed && exit != Exit::Code(0));
        let delay = match self.places[slot].failures {
            0 if crashed => 0,
            _ if failed => self.backoff(slot),
            _ => 0,
        };
        let place = &mut self.places[slot];
        place.has_served = has_served;
        if failed {
            place.failures = place.failures.saturating_add(1);
        } else if served_ms >= HEALTHY_MS {
            place.failures = 0;
        }
        place.not_before_ms = (worker.spawned_ms + SPACING_MS).max(now + delay);
        if delay > 0 {
            log!(
                self.log,
                Warn,
                TARGET,
                "Worker failed to boot; the next attempt is in {delay} ms"
            );
        }
    }

    fn cause_of(&mut self, worker: &Worker, exit: Exit) -> Cause {
        let killed = exit == Exit::Signal(SIGKILL);
        // Asked for each of them, so that it is not held against the next.
        let out_of_memory = killed && self.system_killed();
        match (worker.verdict, worker.told) {
            (Some(Verdict::Boot), _) => Cause::Boot,
            (Some(Verdict::Silent | Verdict::Stuck), _) => Cause::Silent,
            (Some(Verdict::Overdue), _) => Cause::Overdue,
            (Some(Verdict::Memory), _) => Cause::Memory,
            (Some(Verdict::Late | Verdict::Lost), _) => Cause::Late,
            (None, Some(StopMode::Kill)) if killed => Cause::Late,
            (None, _) if out_of_memory => Cause::OutOfMemory,
            (None, Some(_)) => Cause::Told,
            (None, None) => Cause::Own,
        }
    }

    /// Whether the system has killed a process of our control group since this was last asked.
    fn system_killed(&mut self) -> bool {
        let before = std::mem::replace(&mut self.oom_kills, cgroup::oom_kills());
        before.zip(self.oom_kills).is_some_and(|(before, now)| now > before)
    }

    /// A worker of the first generation could not boot: so will none, and the host is to hear it.
    pub(super) fn fail_to_start(&mut self, pool: &str, exit: Exit, now: u64) {
        let (status, message) = match exit {
            Exit::Code(APP_ERROR) => (APP_ERROR, "App failed to load."),
            _ => (BOOT_ERROR, "Worker failed to boot."),
        };
        let failure = within(pool, Error::new(Kind::App, message)).with_exit_status(status);
        let graceful_ms = self.graceful_ms();
        self.begin_to_stop(StopMode::Graceful, now + graceful_ms + GRACE_MS, Some(failure));
        self.tell_all(StopMode::Graceful);
    }

    /// How long to wait after one more failure: doubled each time, and spread by a fifth so that
    /// places do not fail in step.
    pub(super) fn backoff(&mut self, slot: usize) -> u64 {
        let failures = self.places[slot].failures.min(20);
        let base = (BACKOFF_MS.start() << failures).min(*BACKOFF_MS.end());
        base + self.random() % (base / 5)
    }
}

/// Whether a worker that ended so before it was ready said that it cannot boot, which another could
/// not either; a panic says that, too.  One that was killed, or left in another way, said nothing of
/// the next.  gunicorn's rule.
fn is_boot_failure(exit: Exit) -> bool {
    matches!(exit, Exit::Code(BOOT_ERROR | APP_ERROR | proc::PANIC_STATUS))
}
