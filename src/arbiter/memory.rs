//! How much memory a worker may have: beyond `memory_soft` it is replaced when what is in flight is
//! done, beyond `memory_hard` it is killed.  The arbiter looks; workers know nothing of it.

use super::arbiter::{Arbiter, Worker};
use super::settings::{Settings, TARGET, Way};
use super::watch::Verdict;
use crate::base::log::log;
use crate::sys::clock::monotonic_ms;
use crate::sys::memory::resident;
use crate::sys::signal::SIGKILL;

/// How often to look.
const PERIOD_MS: u64 = 1000;

impl Settings {
    /// Whether there is a limit that can be kept: threads have no memory of their own.
    fn limits_memory(&self) -> bool {
        self.way != Way::Thread && (self.memory_soft > 0 || self.memory_hard > 0)
    }
}

impl Worker {
    fn is_limited(&self) -> bool {
        self.generation.settings.limits_memory()
    }
}

impl Arbiter {
    /// Before the first worker: says what will not happen.
    pub(super) fn warn_of_memory(&self) {
        let is_limited = |it: &Settings| it.memory_soft > 0 || it.memory_hard > 0;
        if self.settings.way == Way::Thread
            && self.pools.iter().any(|pool| is_limited(&pool.goal.settings))
        {
            log!(
                self.log,
                Warn,
                TARGET,
                "memory_soft and memory_hard are without effect: workers that are threads have the \
                 memory of their process"
            );
        }
    }

    /// When to look next, if a limit asks for it.
    pub(super) fn next_weighing(&self) -> Option<u64> {
        let mut workers = self.places.iter().filter_map(|place| place.worker.as_ref());
        workers.any(Worker::is_limited).then_some(self.weigh_at_ms)
    }

    /// Looks, when it is time to.
    pub(super) fn weigh(&mut self) {
        let now = monotonic_ms();
        if now < self.weigh_at_ms {
            return;
        }
        self.weigh_at_ms = now + PERIOD_MS;
        for slot in 0..self.places.len() {
            let Some(worker) = &mut self.places[slot].worker else { continue };
            if !worker.is_limited() || worker.verdict.is_some() {
                continue;
            }
            let &Settings { memory_soft, memory_hard, max_recycling, .. } =
                &worker.generation.settings;
            let Some(octets) = resident(worker.body.pid()) else { continue };
            let (who, is_over) = (&worker.body, |limit| limit > 0 && octets > limit);
            if is_over(memory_hard) {
                log!(
                    self.log,
                    Error,
                    TARGET,
                    "Worker ({who}) has {octets} octets of memory: memory_hard = {memory_hard}"
                );
                worker.verdict = Some(Verdict::Memory);
                worker.body.signal(SIGKILL);
            } else if is_over(memory_soft) && worker.ready && worker.told.is_none() {
                let may = self.board.has_ticket(slot, worker.age)
                    || self.board.take_ticket(slot, worker.age, max_recycling);
                if may {
                    log!(
                        self.log,
                        Warn,
                        TARGET,
                        "Worker ({who}) has {octets} octets of memory: memory_soft = {memory_soft}"
                    );
                    self.dismiss(slot);
                }
            }
        }
    }
}
