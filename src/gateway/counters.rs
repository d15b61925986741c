//! What a worker counts.  One writer, any number of readers, also in other processes: the counters
//! may lie in shared memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::wire::Limit;

/// A number that only its worker writes.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    #[inline]
    pub fn up(&self) {
        self.add(1);
    }

    /// One less: for those that say how many there are now.
    #[inline]
    pub fn down(&self) {
        self.0.store(self.get().wrapping_sub(1), Relaxed);
    }

    /// `n` more.  A load and a store: there is only one writer.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Relaxed);
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
            class.up();
        }
    }

    /// The counter of a limit.
    pub fn limit(&self, limit: Limit) -> &Counter {
        &self.limits[limit as usize]
    }
}
