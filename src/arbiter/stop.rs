//! Stopping: gracefully, quickly, at once; and the deadlines that make it end.

use std::sync::atomic::Ordering;

use super::arbiter::{Arbiter, Phase};
use super::control::{Requests, StopMode};
use super::settings::{Event, TARGET, Way};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::log;
use crate::sys::clock::monotonic_ms;
use crate::sys::proc;
use crate::sys::signal::{
    self, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGWINCH,
};

/// A worker that cuts what is in flight at `graceful_timeout` itself needs a moment to end.
pub(super) const GRACE_MS: u64 = 500;
/// What is left of a stop after the second INT or QUIT (gunicorn's 2 s).
const URGENT_MS: u64 = 2000;
/// How long to wait for processes that were killed, one of which may hang in the kernel for ever, and
/// for threads, which cannot be.
pub(super) const AFTER_KILL_MS: u64 = 5000;
impl Arbiter {
    pub(super) fn hear_signals(&mut self) {
        let Some(signals) = &self.signals else { return };
        let taken: Vec<_> = signals.take().map(|signal| (signal, signals.times(signal))).collect();
        let (mut more, mut fewer) = (0, 0);
        for (signal, times) in taken {
            if signal == SIGCHLD {
                self.orphans_ms = 0;
                continue;
            }
            let name = signal::name(signal).trim_start_matches("SIG").to_lowercase();
            log!(self.log, Info, TARGET, "Handling signal: {name}");
            match signal {
                // More than two are no more urgent than two; none: it was counted with the one before.
                SIGTERM => (0..times.min(2)).for_each(|_| self.stop(StopMode::Graceful)),
                SIGINT | SIGQUIT => (0..times.min(2)).for_each(|_| self.stop(StopMode::Quick)),
                SIGHUP => {
                    self.wake_up();
                    self.reload_asked = true;
                }
                SIGUSR1 => self.reopen(),
                SIGTTIN => more = times,
                SIGTTOU => fewer = times,
                SIGWINCH => self.ask_for_rest(),
                _ => self.upgrade_asked = true,
            }
        }
        self.change_target(more, fewer);
    }

    /// Of the first pool.  Which of them came first is not known: what is asked for must not be lost at
    /// the floor.
    fn change_target(&mut self, more: u32, fewer: u32) {
        if matches!(self.phase, Phase::Running) {
            if more > 0 {
                self.wake_up();
            }
            let left = self.pools[0].target.saturating_sub(fewer as usize).max(1);
            self.set_target(0, left.saturating_add(more as usize));
        }
    }

    /// Opens logs again: here, then in the workers that are processes.  One that boots hears of it
    /// when it is ready: until then the signal may have its default effect, and it may have opened
    /// what is moved now.
    fn reopen(&mut self) {
        self.tell(Event::Reopen);
        self.tell_new(Event::Reopen);
        for worker in self.places.iter_mut().filter_map(|place| place.worker.as_mut()) {
            if worker.ready {
                worker.body.signal(SIGUSR1);
            } else {
                worker.reopens = true;
            }
        }
    }

    pub(super) fn hear_requests(&mut self) {
        let Requests { graceful, quick, kill, reload, reopen, upgrade, rest, workers, more, fewer } =
            self.handle.take();
        if reload && !self.reload_asked {
            self.wake_up();
            self.reload_asked = true;
        }
        self.upgrade_asked |= upgrade;
        if rest {
            self.ask_for_rest();
        }
        if reopen {
            self.reopen();
        }
        if workers > 0 && matches!(self.phase, Phase::Running) {
            self.wake_up();
            self.set_target(0, workers as usize);
        }
        for (name, workers) in self.handle.take_scales() {
            let pool = self.pools.iter().position(|pool| *pool.name() == name);
            if let Some(pool) = pool.filter(|_| matches!(self.phase, Phase::Running)) {
                self.wake_up();
                self.set_target(pool, workers as usize);
            }
        }
        self.change_target(more, fewer);
        // More than two are no more urgent than two.
        for _ in 0..graceful.min(2) {
            self.stop(StopMode::Graceful);
        }
        for _ in 0..quick.min(2) {
            self.stop(StopMode::Quick);
        }
        if kill {
            self.stop(StopMode::Kill);
        }
    }

    /// Begins to stop, or stops faster than before.
    fn stop(&mut self, how: StopMode) {
        let now = monotonic_ms();
        let graceful_ms = self.graceful_ms();
        let is_running = matches!(self.phase, Phase::Running);
        if is_running && how == StopMode::Graceful && self.put_off(now) {
            return;
        }
        match &mut self.phase {
            Phase::Idle | Phase::Stopped => return,
            Phase::Running => self.begin_to_stop(how, now + graceful_ms + GRACE_MS, None),
            Phase::Stopping { how: before, deadline_ms, .. } => {
                if how == StopMode::Graceful || *before == StopMode::Kill {
                    return;
                }
                *before = how;
                *deadline_ms = (*deadline_ms).min(now + URGENT_MS);
            }
        }
        match how {
            StopMode::Kill => self.kill_by(now + AFTER_KILL_MS),
            how => self.tell_all(how),
        }
    }

    /// The first graceful stop may begin later: those who send requests are to hear of it before.
    fn put_off(&mut self, now: u64) -> bool {
        let ms = self.settings.lame_duck.as_millis() as u64;
        if ms == 0 || self.lame_until_ms.is_some() {
            return false;
        }
        log!(self.log, Info, TARGET, "Shutting down in {ms} ms (lame_duck); serving until then");
        self.lame_until_ms = Some(now.saturating_add(ms));
        self.board.set_lame();
        self.handle.tally().ready.store(0, Ordering::Relaxed);
        true
    }

    pub(super) fn end_lame_duck(&mut self) {
        let is_over = self.lame_until_ms.is_some_and(|until| monotonic_ms() >= until);
        if is_over && matches!(self.phase, Phase::Running) {
            self.stop(StopMode::Graceful);
        }
    }

    pub(super) fn begin_to_stop(
        &mut self,
        how: StopMode,
        deadline_ms: u64,
        failure: Option<Error>,
    ) {
        log!(self.log, Info, TARGET, "Shutting down: Master");
        if let Some(failure) = &failure {
            log!(self.log, Info, TARGET, "Reason: {failure}");
        }
        self.phase = Phase::Stopping { how, deadline_ms, failure };
        if let Some(successor) = self.successor.as_ref().filter(|it| it.is_ready) {
            self.tell(Event::HandsOver(successor.pid));
        }
        self.handle.tally().ready.store(0, Ordering::Relaxed);
        self.tell(Event::Stopping);
        self.abandon_reload();
        // Clients are to be refused as soon as the last worker has closed its copy, and not to wait
        // in a queue that nobody will look at.  Files of unix sockets go here, too.
        self.close_listeners();
    }

    pub(super) fn close_listeners(&mut self) {
        self.listeners().for_each(|listening| listening.close());
    }

    pub(super) fn tell_all(&mut self, how: StopMode) {
        let others_serve = self.successor.is_some() || self.predecessor.is_some();
        for (place, slot) in self.places.iter_mut().zip(self.board.iter()) {
            let Some(worker) = &mut place.worker else { continue };
            if others_serve {
                slot.set_retires();
            }
            worker.body.tell(how);
            worker.told = Some(how);
        }
    }

    fn kill_by(&mut self, deadline: u64) {
        if let Phase::Stopping { how, deadline_ms, .. } = &mut self.phase {
            *how = StopMode::Kill;
            *deadline_ms = deadline;
        }
        self.tell_all(StopMode::Kill);
    }

    /// While it stops: kills at the deadline, ends when nobody is left.
    pub(super) fn finish(&mut self) {
        let Phase::Stopping { how, deadline_ms, failure } = &self.phase else { return };
        let (how, deadline_ms) = (*how, *deadline_ms);
        let now = monotonic_ms();
        if self.places.iter().all(|place| place.worker.is_none()) {
            let result = failure.clone().map_or(Ok(()), Err);
            self.end(result);
        } else if now >= deadline_ms && how != StopMode::Kill {
            if self.settings.way == Way::Thread {
                log!(
                    self.log,
                    Warn,
                    TARGET,
                    "Workers did not stop in time; threads are not killed"
                );
            }
            self.kill_by(now + AFTER_KILL_MS);
        } else if now >= deadline_ms {
            let failure = failure.clone();
            let left = self.leave_behind();
            self.end(failure.map_or(left, Err));
        }
    }

    /// What does not end has to be left behind.  A thread goes on in the host's process, which must
    /// hear of it.
    fn leave_behind(&mut self) -> Result<()> {
        let mut threads = 0;
        for (place, slot) in self.places.iter_mut().zip(self.board.iter()) {
            let Some(worker) = &place.worker else { continue };
            if worker.body.is_thread() {
                // One that says nothing of others is held up itself.
                threads += slot.held_up().max(1);
                log!(self.log, Error, TARGET, "Worker ({}) does not end", worker.body);
                place.worker = None;
            } else {
                let who = &worker.body;
                log!(self.log, Error, TARGET, "Worker ({who}) was killed and does not end");
            }
        }
        if threads == 0 {
            return Ok(());
        }
        let threads = if threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
        Err(Error::new(
            Kind::Timeout,
            format!(
                "stop the workers: {threads} did not end in time, and cannot be killed: each ends \
                 when the application returns that it runs"
            ),
        ))
    }

    /// After a panic in it, whatever it did then: closes what clients would wait at, and lets the
    /// workers hear that it is gone.  No process is killed or waited for by what it believes.
    pub fn wreck(&mut self) {
        if proc::pid() != self.creator {
            return;
        }
        self.close_listeners();
        // Processes hear it by their end of it; they are waited for by nobody.
        self.lifeline = None;
        self.successor = None;
        self.predecessor = None;
        for place in &self.places {
            if let Some(worker) = place.worker.as_ref().filter(|worker| worker.body.is_thread()) {
                worker.body.tell(StopMode::Quick);
            }
        }
    }

    pub(super) fn end(&mut self, result: Result<()>) {
        let was_idle = matches!(self.phase, Phase::Idle);
        self.phase = Phase::Stopped;
        self.abandon_reload();
        self.close_listeners();
        // The host's handlers are back from here on.
        self.signals = None;
        self.lifeline = None;
        if !was_idle {
            self.tell(Event::Ended);
        }
        // The other one hears it by this, when nothing is left of what is this one's.
        self.successor = None;
        self.predecessor = None;
        self.handle.set_ended(result);
    }

    /// Kills the workers, and waits for them.
    pub(super) fn kill_all(&mut self) {
        self.tell_all(StopMode::Kill);
        let deadline = monotonic_ms() + AFTER_KILL_MS;
        while self.places.iter().any(|place| place.worker.is_some()) && monotonic_ms() < deadline {
            let reaped = self.handle.take_reaped();
            for (place, slot) in self.places.iter_mut().zip(self.board.iter()) {
                if place.worker.as_ref().is_some_and(|worker| worker.body.ended(&reaped).is_some())
                {
                    place.worker = None;
                    slot.vacate();
                }
            }
            let _ = self.poller.get_mut().wait(1);
        }
        if let Err(error) = self.leave_behind() {
            log!(self.log, Error, TARGET, "{error}");
        }
    }
}

impl Arbiter {
    /// Kills the workers that are left, and ends.
    pub fn shut_down(&mut self) {
        if self.places.iter().any(|place| place.worker.is_some()) {
            self.kill_all();
        }
        if !matches!(self.phase, Phase::Stopped) {
            self.end(Ok(()));
        }
    }
}

impl Drop for Arbiter {
    fn drop(&mut self) {
        if proc::pid() != self.creator {
            if self.settings.way == Way::Thread {
                // They are not in this copy, and their handles lead nowhere.
                std::mem::forget(std::mem::take(&mut self.places));
            }
            return;
        }
        self.shut_down();
    }
}
