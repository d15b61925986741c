//! What was counted and measured, at one moment: plain data, as pages show it (`prometheus`, `stats`).
//!
//! Numbers that only grow are those of places, not of workers: who replaces a worker counts on where
//! it has ended, however it has, so that no page ever shows less than one before it.

mod prometheus;
mod stats;

use super::counters::Counters;
use super::flight::{Flights, Info, Which};
use super::timing::{Histogram, Phases};
use crate::sys::listen::Listening;
use crate::wire::Limit;

/// A server, as it is counted.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The process that supervises, or serves alone.
    pub pid: u32,
    /// The places of its workers, also those that are empty now.
    pub places: Vec<Place>,
    /// Workers that were started.
    pub starts: u64,
    /// Why workers have ended, and how many did; empty: nobody supervises them.
    pub ends: Vec<(&'static str, u64)>,
    /// Reloads that ended well.
    pub reloads: u64,
    /// Reloads after which the workers of before served on.
    pub reloads_failed: u64,
    /// Where connections wait to be accepted, each address once.
    pub queues: Vec<Queue>,
}

/// The queue of a socket that listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Where it listens.
    pub listener: String,
    /// Connections that wait.
    pub waiting: u64,
    /// How many may.
    pub most: u64,
}

impl Queue {
    /// The queue of this socket, if the system tells of it.
    pub fn of(listening: &Listening) -> Option<Queue> {
        let info = listening.info().ok().filter(|info| info.backlog > 0)?;
        let (waiting, most) = (info.waiting.into(), info.backlog.into());
        Some(Queue { listener: listening.local().to_owned(), waiting, most })
    }
}

/// One worker, and what those before it in its place have counted.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// From 0.
    pub slot: usize,
    /// The pool whose place it is; empty: there is one, and it needs no name.
    pub pool: String,
    /// The worker's process; 0: it is a thread, or not there.
    pub pid: u32,
    /// How far the worker has come: `booting`, `ready`, `stopping`; none: there is none.
    pub state: Option<&'static str>,
    /// Which configuration it runs: counts reloads.
    pub generation: u32,
    /// When it was started, in seconds since the epoch.
    pub spawned: u64,
    /// Workers that were started in this place.
    pub spawns: u64,
    /// Of these, how many the arbiter has killed.
    pub kills: u64,
    /// Why workers have ended here, and how many did.
    pub ends: Vec<(&'static str, u64)>,
    /// Octets of memory that are resident; of a process.
    pub resident: u64,
    /// Whether it accepts connections.
    pub accepts: bool,
    /// Those of [`SERIES`], in that order.
    pub(crate) counts: Vec<u64>,
    /// Requests that its predecessors had begun.
    pub(crate) before: u64,
    /// Connections now.
    pub connections: u64,
    /// Requests now.
    pub in_flight: u64,
    /// How long the requests took, if that is measured.
    pub timings: Option<Box<[Histogram; Phases::COUNT]>>,
    /// The requests that it has.
    pub requests: Vec<Info>,
}

/// A number that only grows.
struct Series {
    family: &'static str,
    help: &'static str,
    /// As they stand between braces; empty: there are none.
    labels: &'static str,
    get: fn(&Counters) -> u64,
}

const fn series(
    family: &'static str,
    help: &'static str,
    labels: &'static str,
    get: fn(&Counters) -> u64,
) -> Series {
    Series { family, help, labels, get }
}

const RESPONSES: &str = "gateway_responses_total";
const RESPONSES_HELP: &str = "Responses, by the class of their status.";
const LIMITS: &str = "gateway_limits_hit_total";
const LIMITS_HELP: &str = "Times that a limit was hit, by the option that sets it.";
const TIMEOUTS: &str = "gateway_timeouts_total";
const TIMEOUTS_HELP: &str = "Times that something took too long, by the option that says so.";

/// What a worker counts, those of one family together.
const SERIES: [Series; 31] = [
    series("gateway_connections_accepted_total", "Connections accepted or adopted.", "", |it| {
        it.accepted.get()
    }),
    series("gateway_requests_total", "Requests begun.", "", |it| it.requests.get()),
    series(RESPONSES, RESPONSES_HELP, r#"class="1xx""#, |it| it.status[1].get()),
    series(RESPONSES, RESPONSES_HELP, r#"class="2xx""#, |it| it.status[2].get()),
    series(RESPONSES, RESPONSES_HELP, r#"class="3xx""#, |it| it.status[3].get()),
    series(RESPONSES, RESPONSES_HELP, r#"class="4xx""#, |it| it.status[4].get()),
    series(RESPONSES, RESPONSES_HELP, r#"class="5xx""#, |it| it.status[5].get()),
    series("gateway_request_body_bytes_total", "Octets of request bodies.", "", |it| {
        it.received.get()
    }),
    series("gateway_response_body_bytes_total", "Octets of response bodies.", "", |it| {
        it.sent.get()
    }),
    series("gateway_application_errors_total", "Requests whose application failed.", "", |it| {
        it.app_errors.get()
    }),
    series(
        "gateway_requests_aborted_total",
        "Requests whose client left before the end, or whose answer had to be cut.",
        "",
        |it| it.aborted.get(),
    ),
    series(
        "gateway_requests_rejected_total",
        "Requests refused as malformed, or over a limit.",
        "",
        |it| it.rejected.get(),
    ),
    series(
        "gateway_requests_shed_total",
        "Requests answered with 503 since no thread, or nobody else, took them in time.",
        "",
        |it| it.shed.get(),
    ),
    series(
        "gateway_requests_unmounted_total",
        "Requests answered with 404 since no application is mounted for them.",
        "",
        |it| it.unmounted.get(),
    ),
    series(LIMITS, LIMITS_HELP, r#"limit="limit_request_line""#, |it| limit(it, Limit::Line)),
    series(LIMITS, LIMITS_HELP, r#"limit="limit_request_fields""#, |it| limit(it, Limit::Fields)),
    series(LIMITS, LIMITS_HELP, r#"limit="limit_request_field_size""#, |it| {
        limit(it, Limit::FieldSize)
    }),
    series(LIMITS, LIMITS_HELP, r#"limit="limit_request_head""#, |it| limit(it, Limit::Head)),
    series(LIMITS, LIMITS_HELP, r#"limit="max_body""#, |it| limit(it, Limit::Body)),
    series(LIMITS, LIMITS_HELP, r#"limit="chunk_overhead""#, |it| limit(it, Limit::ChunkOverhead)),
    series(LIMITS, LIMITS_HELP, r#"limit="worker_connections""#, |it| it.connections_full.get()),
    series(LIMITS, LIMITS_HELP, r#"limit="worker_requests""#, |it| it.requests_full.get()),
    series(TIMEOUTS, TIMEOUTS_HELP, r#"timeout="header_timeout""#, |it| it.header_timeouts.get()),
    series(TIMEOUTS, TIMEOUTS_HELP, r#"timeout="body_timeout""#, |it| it.body_timeouts.get()),
    series(TIMEOUTS, TIMEOUTS_HELP, r#"timeout="write_timeout""#, |it| it.write_timeouts.get()),
    series(TIMEOUTS, TIMEOUTS_HELP, r#"timeout="request_timeout""#, |it| it.request_timeouts.get()),
    series(TIMEOUTS, TIMEOUTS_HELP, r#"timeout="keepalive""#, |it| it.idle_closed.get()),
    series(
        "gateway_accept_errors_total",
        "Times that accepting rested for want of descriptors or memory.",
        "",
        |it| it.accept_errors.get(),
    ),
    series(
        "gateway_spool_errors_total",
        "Request bodies that could not be stored in spool_dir.",
        "",
        |it| it.spool_errors.get(),
    ),
    series(
        "gateway_connections_untrusted_total",
        "Connections refused since they spoke for others and are not trusted to.",
        "",
        |it| it.untrusted.get(),
    ),
    series(
        "gateway_requests_unrecorded_total",
        "Requests that the flight recorder had no room for.",
        "",
        |it| it.unrecorded.get(),
    ),
];

fn limit(counters: &Counters, limit: Limit) -> u64 {
    counters.limit(limit).get()
}

impl Place {
    /// What is known of a place by its counters and its records.  `timed`: how long requests take is
    /// measured.
    pub fn read(
        slot: usize,
        counters: &Counters,
        flights: &Flights,
        timed: bool,
        now_ns: u64,
    ) -> Place {
        let timings = flights.timings(slot).filter(|_| timed);
        let mut requests = Vec::new();
        flights.each(slot, Which::InFlight, now_ns, |info| requests.push(*info));
        Place {
            slot,
            counts: SERIES.iter().map(|series| (series.get)(counters)).collect(),
            before: counters.before.get(),
            connections: counters.connections.get(),
            in_flight: counters.in_flight.get(),
            timings: timings.map(|timings| Box::new(timings.read())),
            requests,
            ..Place::default()
        }
    }

    /// There is no worker: what one has "now" went with it.
    pub fn is_empty(&self) -> bool {
        self.state.is_none()
    }

    fn count(&self, nth: usize) -> u64 {
        self.counts.get(nth).copied().unwrap_or(0)
    }

    /// The first number of a family.
    fn total(&self, family: &str) -> u64 {
        let nth = SERIES.iter().position(|series| series.family == family);
        nth.map_or(0, |nth| self.count(nth))
    }
}

impl Snapshot {
    /// One socket more; of several at one address the queues are one.
    pub fn add_queue(&mut self, queue: Queue) {
        match self.queues.iter_mut().find(|it| it.listener == queue.listener) {
            Some(same) => {
                same.waiting += queue.waiting;
                same.most += queue.most;
            }
            None => self.queues.push(queue),
        }
    }

    /// Forgets all but so many requests, which are the oldest; says how many those are that it forgets.
    pub fn keep_oldest(&mut self, most: usize) -> usize {
        let all = self.places.iter().flat_map(|place| &place.requests);
        let mut ages: Vec<u64> = all.map(|info| info.age_ns).collect();
        let Some(beyond) = ages.len().checked_sub(most + 1) else { return 0 };
        let (_, youngest, _) = ages.select_nth_unstable(beyond);
        let limit = *youngest;
        let kept = |place: &mut Place| {
            place.requests.retain(|info| info.age_ns > limit);
            place.requests.len()
        };
        beyond + 1 + most - self.places.iter_mut().map(kept).sum::<usize>()
    }

    /// The workers that there are.
    fn workers(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| !place.is_empty())
    }

    /// The pools by name, each with its places.
    fn pools(&self) -> Vec<Pool<'_>> {
        let mut pools: Vec<Pool<'_>> = Vec::new();
        for place in &self.places {
            match pools.iter_mut().find(|pool| pool.name == place.pool) {
                Some(pool) => pool.places.push(place),
                None => pools.push(Pool { name: &place.pool, places: vec![place] }),
            }
        }
        pools
    }
}

/// The places of one pool.
struct Pool<'a> {
    /// Empty: it is the only one.
    name: &'a str,
    places: Vec<&'a Place>,
}

impl Pool<'_> {
    fn workers(&self) -> impl Iterator<Item = &&Place> {
        self.places.iter().filter(|place| !place.is_empty())
    }

    /// All of them.
    fn timings(&self) -> Option<[Histogram; Phases::COUNT]> {
        let mut measured = self.places.iter().filter_map(|place| place.timings.as_deref());
        let mut sum = measured.next()?.clone();
        for more in measured {
            sum.iter_mut().zip(more).for_each(|(sum, more)| sum.add(more));
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests;
