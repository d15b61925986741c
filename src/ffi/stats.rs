//! What was counted, by one server or by all workers of an arbiter.

use std::time::Instant;

use super::guard::Growing;
use crate::gateway::counters::Counters;

/// what was counted
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct gw_stats {
    pub size: u32,
    /// now
    pub workers: u32,
    pub uptime_ms: u64,
    /// connections, ever
    pub accepted: u64,
    /// now
    pub connections: u64,
    /// ever
    pub requests: u64,
    /// now
    pub in_flight: u64,
    /// [2] counts the 2xx
    pub status: [u64; 6],
    /// octets of the bodies
    pub sent: u64,
    pub received: u64,
    /// answered with a 500, or cut
    pub app_errors: u64,
    /// whose client left
    pub aborted: u64,
    /// whose client was too slow
    pub timeouts: u64,
    /// that were malformed, or over a limit
    pub rejected: u64,
    /// of these, over a limit
    pub limited: u64,
    /// answered with 503, for want of a thread, or of a taker
    pub shed: u64,
    /// times that worker_connections was reached
    pub full: u64,
    /// times that no connection was accepted for 100 ms, for want of descriptors or memory
    pub accept_errors: u64,
    /// request bodies that spool_dir had no room for, answered with 507
    pub spool_errors: u64,
    /// workers that were started; here and below: of an arbiter
    pub spawned: u64,
    /// and have ended
    pub exited: u64,
    /// of these, by the arbiter's KILL or ABRT
    pub killed: u64,
    /// that ended well
    pub reloads: u64,
    /// after which the old workers served on
    pub reloads_failed: u64,
    /// places whose worker fails to boot, and is tried again later; now
    pub failing: u64,
    /// answers that took longer than request_timeout or stream_timeout; here and below: of all
    pub request_timeouts: u64,
    /// requests that were not written down for gw_arbiter_requests, for want of room
    pub unrecorded: u64,
    /// answered with 503, or with OVERLOADED in FastCGI: the application had worker_requests of them, or the connection as many as it may
    pub requests_full: u64,
    /// 1: it serves, and was not told to stop; 0: tell whoever sends requests to send no more
    pub ready: u64,
    /// connections refused: the PROXY protocol, or what only web servers speak, from others than
    /// proxy_allow_ips and forwarded_allow_ips have
    pub untrusted: u64,
}

// SAFETY: repr(C), `size` first, numbers.
unsafe impl Growing for gw_stats {
    const FIRST: usize = 144;
}

/// The sum over workers: the counters of each, and whether it is there.  What one has "now" went
/// with it.
pub(super) fn stats_of<'a>(
    workers: impl IntoIterator<Item = (&'a Counters, bool)>,
    since: Instant,
) -> gw_stats {
    let mut sum = gw_stats { uptime_ms: since.elapsed().as_millis() as u64, ..gw_stats::default() };
    for (counters, is_there) in workers {
        if is_there {
            sum.workers += 1;
            sum.connections += counters.connections.get();
            sum.in_flight += counters.in_flight.get();
        }
        sum.accepted += counters.accepted.get();
        sum.requests += counters.requests.get();
        for (sum, class) in sum.status.iter_mut().zip(&counters.status) {
            *sum += class.get();
        }
        sum.sent += counters.sent.get();
        sum.received += counters.received.get();
        sum.app_errors += counters.app_errors.get();
        sum.aborted += counters.aborted.get();
        for timeouts in
            [&counters.header_timeouts, &counters.body_timeouts, &counters.write_timeouts]
        {
            sum.timeouts += timeouts.get();
        }
        sum.rejected += counters.rejected.get();
        sum.limited += counters.limits.iter().map(|limit| limit.get()).sum::<u64>();
        sum.shed += counters.shed.get();
        sum.full += counters.connections_full.get();
        sum.accept_errors += counters.accept_errors.get();
        sum.requests_full += counters.requests_full.get();
        sum.untrusted += counters.untrusted.get();
        sum.spool_errors += counters.spool_errors.get();
        sum.request_timeouts += counters.request_timeouts.get();
        sum.unrecorded += counters.unrecorded.get();
    }
    sum
}
