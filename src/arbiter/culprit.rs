//! Which requests a worker hangs in: asked of somebody who knows what workers do, told to the log
//! before the worker is ended, and when it has died.

use std::fmt;

use super::arbiter::{Arbiter, Worker};
use super::settings::TARGET;
use super::watch::Verdict;
use crate::base::log::{Level, log};
use crate::sys::clock::monotonic_ms;
use crate::sys::proc::Exit;

/// Lines about the requests of one worker; the rest is counted.
const LINES_MAX: usize = 16;

/// Is told of a request, as the log is to name it.
pub type Tell<'a> = &'a mut dyn FnMut(&dyn fmt::Display);

/// Sees what workers do.  Times are milliseconds of the monotonic clock.
pub trait Witness: Send + Sync {
    /// Since when a thread of the worker in this place (and not its loop) is in the application; of
    /// several the first.
    fn inside_since(&self, slot: usize) -> Option<u64>;
    /// Since when its loop is in the application with a request that has no answer yet.
    fn unanswered_since(&self, slot: usize) -> Option<u64>;
    /// Whether the application runs on its loop.
    fn runs_on_loop(&self, slot: usize) -> bool;
    /// What its threads, and its loop, are in since this moment or an earlier one.
    fn culprits(&self, slot: usize, until_ms: u64, tell: Tell<'_>);
    /// All that it has in flight.
    fn in_flight(&self, slot: usize, tell: Tell<'_>);
    /// The last that it has answered.
    fn served(&self, slot: usize, tell: Tell<'_>);
    /// It is dead, and has nothing in flight any more.
    fn bury(&self, slot: usize);
}

impl Arbiter {
    /// Sees what workers do from now on.
    pub fn watch_with(&mut self, witness: Box<dyn Witness>) {
        self.witness = Some(witness);
    }

    /// Names what a worker has been in for `ms`, before something is done about it.
    pub(super) fn name_culprits(&self, slot: usize, until_ms: u64) {
        let (Some(witness), Some(worker)) = (&self.witness, &self.places[slot].worker) else {
            return;
        };
        self.list(worker, "is in", |tell| witness.culprits(slot, until_ms, tell));
    }

    /// A worker has ended: what dies with it is named if it did not end by itself.
    pub(super) fn name_lost(&self, slot: usize, worker: &Worker, exit: Exit) {
        let Some(witness) = &self.witness else { return };
        if matches!(exit, Exit::Signal(_)) {
            self.list(worker, "had in flight", |tell| witness.in_flight(slot, tell));
            if self.log.enabled(Level::Debug) {
                let who = &worker.body;
                witness.served(slot, &mut |request| {
                    log!(self.log, Debug, TARGET, "Worker ({who}) had served: {request}");
                });
            }
        }
        witness.bury(slot);
    }

    fn list(&self, worker: &Worker, what: &str, tell_all: impl FnOnce(Tell<'_>)) {
        let (who, mut count) = (&worker.body, 0);
        tell_all(&mut |request| {
            count += 1;
            if count <= LINES_MAX {
                log!(self.log, Error, TARGET, "Worker ({who}) {what}: {request}");
            }
        });
        if count > LINES_MAX {
            let more = count - LINES_MAX;
            log!(self.log, Error, TARGET, "Worker ({who}) {what}: and {more} more");
        }
    }

    /// A thread of the worker does not come back, or its loop, since this moment: why that is too long.
    pub(super) fn hangs(&self, slot: usize, worker: &Worker, now: u64) -> Option<(Verdict, u64)> {
        let witness = self.witness.as_ref()?;
        let settings = &worker.generation.settings;
        let since = |since: u64| since.max(self.overslept_ms);
        let over = |since: u64, timeout: u64| timeout > 0 && now.saturating_sub(since) > timeout;
        let heartbeat_ms = settings.heartbeat_timeout.as_millis() as u64;
        if !self.knows_of(slot, worker)
            && let Some(at) = witness.inside_since(slot).map(since)
            && over(at, heartbeat_ms)
        {
            return Some((Verdict::Stuck, at));
        }
        let request_ms = settings.request_timeout.as_millis() as u64;
        if request_ms > 0
            && let Some(at) = witness.unanswered_since(slot).map(since)
            && over(at, request_ms)
        {
            return Some((Verdict::Overdue, at));
        }
        None
    }

    /// It lacks a thread, and no more can be done about it than that.
    fn knows_of(&self, slot: usize, worker: &Worker) -> bool {
        worker.body.is_thread() && self.board[slot].lacks_thread()
    }

    /// When [`Arbiter::hangs`] may find something.
    pub(super) fn hangs_at(&self, slot: usize, worker: &Worker) -> u64 {
        let Some(witness) = &self.witness else { return u64::MAX };
        let settings = &worker.generation.settings;
        let at = |since: Option<u64>, timeout: std::time::Duration| match since {
            Some(since) if !timeout.is_zero() => {
                since.max(self.overslept_ms) + timeout.as_millis() as u64 + 1
            }
            _ => u64::MAX,
        };
        let inside = if self.knows_of(slot, worker) { None } else { witness.inside_since(slot) };
        let unanswered = at(witness.unanswered_since(slot), settings.request_timeout);
        // A loop that hangs wakes nobody.
        let look = match settings.request_timeout.as_millis() as u64 {
            ms @ 1.. if witness.runs_on_loop(slot) => monotonic_ms() + ms.div_ceil(2),
            _ => u64::MAX,
        };
        at(inside, settings.heartbeat_timeout).min(unanswered.min(look))
    }
}
