//! What a worker counts.  Any number of readers, also in other processes: the counters may lie in
//! shared memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::wire::Limit;

/// A number.  What is counted for every request is only written by the worker's loop (`plus`,
/// `down`); what is rare may be counted by any of its threads (`up`).
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more, from any thread.
    pub fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// `n` more, from the loop: a load and a store, for there is no other writer.
    #[inline]
    pub fn plus(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Relaxed);
    }

    /// One less, from the loop: for those that say how many there are now.
    #[inline]
    pub fn down(&self) {
        self.plus(u64::MAX);
    }

    /// How many.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of one worker.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections ever accepted or adopted.
    pub accepted: Counter,
    /// Connections now.
    pub connections: Counter,
    /// Requests ever begun.
    pub requests: Counter,
    /// Requests now.
    pub in_flight: Counter,
    /// Responses by the first digit of their status; `[0]` is unused.
    pub status: [Counter; 6],
    /// Octets of response bodies.
    pub sent: Counter,
    /// Octets of request bodies.
    pub received: Counter,
    /// Requests whose application failed.
    pub app_errors: Counter,
    /// Requests whose client left before the end, or whose answer had to be cut.
    pub aborted: Counter,
    /// Heads that took longer than `header_timeout`.
    pub header_timeouts: Counter,
    /// Bodies that stalled for `body_timeout`.
    pub body_timeouts: Counter,
    /// Clients that took nothing for `write_timeout`.
    pub write_timeouts: Counter,
    /// Idle connections closed after `keepalive`.
    pub idle_closed: Counter,
    /// Times that accepting stopped at `worker_connections`.
    pub connections_full: Counter,
    /// Requests that were answered with 503 since too many waited for a thread, or too long.
    pub shed: Counter,
    /// Requests refused as malformed.
    pub rejected: Counter,
    /// Breaches by [`Limit`].
    pub limits: [Counter; 6],
}

impl AsRef<Counters> for Counters {
    fn as_ref(&self) -> &Counters {
        self
    }
}

impl Counters {
    /// A response with this status went out.
    pub fn count_status(&self, status: u16) {
        if let Some(class) = self.status.get(usize::from(status / 100)) {
            class.plus(1);
        }
    }

    /// The counter of a limit.
    pub fn limit(&self, limit: Limit) -> &Counter {
        &self.limits[limit as usize]
    }
}
