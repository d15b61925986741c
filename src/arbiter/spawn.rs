//! Getting a worker by fork, and whether forking is safe.

use std::os::fd::AsRawFd;
use std::time::Duration;

use super::arbiter::{Arbiter, TOKEN_WORKER, Worker};
use super::settings::TARGET;
use super::worker::{self, Parent};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::log;
use crate::sys::clock::monotonic_ms;
use crate::sys::proc;

/// How long a thread that was joined may linger in /proc.
const LINGER: Duration = Duration::from_millis(100);

impl Arbiter {
    /// Before the first fork: refuses a process that has threads.
    pub(super) fn preflight(&self) -> Result<()> {
        match proc::thread_count(LINGER) {
            Some(0 | 1) => Ok(()),
            Some(threads) => Err(Error::new(
                Kind::State,
                format!(
                    "fork workers: this process has {threads} threads, and a lock that one of them \
                     holds would stay locked in the workers; start the arbiter before any thread"
                ),
            )),
            None => {
                log!(
                    self.log,
                    Warn,
                    TARGET,
                    "Cannot tell whether this process has threads: no /proc"
                );
                Ok(())
            }
        }
    }

    /// Starts a worker in the empty place `slot`.
    pub(super) fn spawn(&mut self, slot: usize) -> Result<()> {
        if self.started && !self.warned_of_threads {
            // A host that starts threads after its arbiter gets its workers all the same: not to
            // replace the dead would be worse.
            if let Some(threads @ 2..) = proc::thread_count(Duration::ZERO) {
                self.warned_of_threads = true;
                log!(
                    self.log,
                    Warn,
                    TARGET,
                    "Forking although this process has {threads} threads by now: a worker may \
                         hang at its start"
                );
            }
        }
        let spawned_ms = monotonic_ms();
        let age = self.spawned;
        let parent = Parent { pid: proc::pid(), on_main_thread: proc::is_main_thread() };
        self.board[slot].assign(self.generation);
        let pid = match proc::fork_with(|mask| worker::live(self, slot, age, parent, mask)) {
            Ok(pid) => pid,
            Err(error) => {
                self.board[slot].vacate();
                return Err(Error::os("fork a worker", &error));
            }
        };
        self.board[slot].set_pid(pid);
        self.spawned += 1;
        // Without it (before Linux 5.3, or out of descriptors) the arbiter looks every now and then.
        let pidfd = proc::pidfd(pid).ok().filter(|fd| {
            self.poller.get_mut().add(fd.as_raw_fd(), TOKEN_WORKER + slot as u64).is_ok()
        });
        let place = &mut self.places[slot];
        let first = !place.had_worker;
        place.had_worker = true;
        place.worker = Some(Worker { pid, pidfd, spawned_ms, first, told: None });
        Ok(())
    }
}
