//! What a worker counts.  Any number of readers, also in other processes: the counters may lie in
//! shared memory.

use std::sync::Arc;

use crate::base::counter::Counter;
use crate::sys::shm::{Shared, shared_record};
use crate::wire::Limit;

shared_record! {
    /// The counters of one worker.
    #[derive(Default)]
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
        /// Times that accepting rested, since the system had no descriptor or no memory for another
        /// connection.
        pub accept_errors: Counter,
        /// Request bodies that could not be stored in `spool_dir`.
        pub spool_errors: Counter,
        /// Requests that were answered with 503 since too many waited for a thread, or to be taken, or
        /// too long.
        pub shed: Counter,
        /// Requests refused as malformed.
        pub rejected: Counter,
        /// Breaches by [`Limit`].
        pub limits: [Counter; 6],
        /// Answers that took longer than `request_timeout` or `stream_timeout`.
        pub request_timeouts: Counter,
        /// Requests that the flight recorder had no room for.
        pub unrecorded: Counter,
        /// Requests that the application has, if `worker_requests` limits them, now.
        pub running: Counter,
        /// Requests that were answered with 503 since it had `worker_requests` of them.
        pub requests_full: Counter,
        /// Connections refused since they spoke for others, or as a front does, and are not trusted.
        pub untrusted: Counter,
        /// Requests that were answered with 404 since no application is mounted for them.
        pub unmounted: Counter,
        /// Requests that those had begun who were in this place before the worker.
        pub before: Counter,
    }
}

impl AsRef<Counters> for Counters {
    fn as_ref(&self) -> &Counters {
        self
    }
}

/// The counters of one of several workers, in memory that all of them and the arbiter have.
#[derive(Clone, Debug)]
pub struct OneOf(pub Arc<Shared<Counters>>, pub usize);

impl AsRef<Counters> for OneOf {
    fn as_ref(&self) -> &Counters {
        &self.0[self.1]
    }
}

impl Counters {
    /// For a worker that counts on where another has ended: nothing of what is "now" is its own.
    pub fn begin(&self) {
        for now in [&self.connections, &self.in_flight, &self.running] {
            now.plus(now.get().wrapping_neg());
        }
        self.before.plus(self.requests.get().wrapping_sub(self.before.get()));
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_counts_on_and_has_nothing_of_the_one_before_it() {
        let all = Arc::new(Shared::<Counters>::new(2).unwrap());
        let one = OneOf(Arc::clone(&all), 1);
        for counter in [&all[1].requests, &all[1].in_flight, &all[1].connections] {
            counter.plus(3);
        }
        one.as_ref().begin();
        let now = |counters: &Counters| {
            [&counters.requests, &counters.in_flight, &counters.connections].map(Counter::get)
        };
        assert_eq!((now(&all[0]), now(&all[1])), ([0, 0, 0], [3, 0, 0]));
        assert_eq!((all[0].before.get(), all[1].before.get()), (0, 3));
        one.as_ref().connections.plus(1);
        one.as_ref().connections.down();
        assert_eq!(now(one.as_ref()), [3, 0, 0]);
    }
}
