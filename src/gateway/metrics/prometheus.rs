//! The page for Prometheus: its text format, version 0.0.4.

use super::{Place, Pool, Queue, SERIES, Series, Snapshot};
use crate::base::json::seconds;
use crate::gateway::timing::{Histogram, Phases};

/// The media type of the page.
const TYPE: &[u8] = b"text/plain; version=0.0.4; charset=utf-8";

/// What workers can be.
const STATES: [&str; 3] = ["booting", "ready", "stopping"];

/// The page, as it grows.
struct Page(Vec<u8>);

impl Page {
    /// A family begins.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(&["# HELP ", name, " ", help]);
        self.line(&["# TYPE ", name, " ", kind]);
    }

    /// A family of one number, or of one for each of these labels.
    fn numbers<L: AsRef<str>>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        values: impl IntoIterator<Item = (L, u64)>,
    ) {
        self.family(name, kind, help);
        values.into_iter().for_each(|(labels, value)| self.sample(name, labels.as_ref(), value));
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        self.line(&[name, open, labels, close, " ", itoa::Buffer::new().format(value)]);
    }

    fn line(&mut self, pieces: &[&str]) {
        pieces.iter().for_each(|piece| self.0.extend_from_slice(piece.as_bytes()));
        self.0.push(b'\n');
    }

    /// One phase.  Of the bounds that there are, 1, 2 and 5 of each decade are enough to see.
    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let mut all = 0;
        for (us, count) in histogram.cumulative() {
            all = count;
            let mut digit = us;
            while digit >= 10 {
                digit /= 10;
            }
            if matches!(digit, 1 | 2 | 5) {
                let labels = format!("{labels},le=\"{}\"", text(us * 1000));
                self.sample(&bucket, &labels, count);
            }
        }
        debug_assert!(all <= histogram.count());
        self.sample(&bucket, &format!("{labels},le=\"+Inf\""), histogram.count());
        self.line(&[name, "_sum{", labels, "} ", &text(histogram.sum)]);
        self.sample(&format!("{name}_count"), labels, histogram.count());
    }
}

impl Pool<'_> {
    /// These labels, and before them the pool's, if it has a name.
    fn labels(&self, others: &str) -> String {
        match (self.name, others) {
            ("", others) => others.to_owned(),
            (name, "") => label("pool", name),
            (name, others) => format!("{},{others}", label("pool", name)),
        }
    }
}

fn label(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", escaped(value))
}

/// The value of a label: what would end it is escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

/// Nanoseconds as seconds.
fn text(ns: u64) -> String {
    let mut out = Vec::new();
    seconds(&mut out, ns);
    String::from_utf8(out).unwrap_or_default()
}

impl Snapshot {
    /// The page, and its media type.
    pub fn prometheus(&self) -> (Vec<u8>, &'static [u8]) {
        let mut page = Page(Vec::with_capacity(16 * 1024));
        page.family("gateway_build_info", "gauge", "What serves.");
        page.sample(
            "gateway_build_info",
            concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
            1,
        );
        self.counted(&mut page);
        self.present(&mut page);
        self.supervised(&mut page);
        let pools = self.pools();
        let measured: Vec<_> =
            pools.iter().filter_map(|pool| Some((pool, pool.timings()?))).collect();
        if !measured.is_empty() {
            let name = "gateway_request_phase_seconds";
            let help = "How long requests that reached the application took, phase by phase.";
            page.family(name, "histogram", help);
            for (pool, timings) in &measured {
                for (phase, histogram) in Phases::NAMES.iter().zip(timings) {
                    page.histogram(name, &pool.labels(&label("phase", phase)), histogram);
                }
            }
        }
        (page.0, TYPE)
    }

    /// What only grows.
    fn counted(&self, page: &mut Page) {
        let pools = self.pools();
        let mut before = "";
        for (nth, Series { family, help, labels, .. }) in SERIES.iter().enumerate() {
            if *family != before {
                page.family(family, "counter", help);
                before = family;
            }
            for pool in &pools {
                let sum = pool.places.iter().map(|place| place.count(nth)).sum();
                page.sample(family, &pool.labels(labels), sum);
            }
        }
    }

    /// What is now.
    fn present(&self, page: &mut Page) {
        let pools = self.pools();
        let sums = |of: fn(&Place) -> u64| {
            let sum = move |pool: &Pool<'_>| pool.workers().map(|place| of(place)).sum();
            pools.iter().map(move |pool| (pool.labels(""), sum(pool)))
        };
        let gauge = |name, help| (name, "gauge", help);
        let connections = sums(|place| place.connections);
        page.numbers(gauge("gateway_connections", "Connections now."), connections);
        let in_flight = sums(|place| place.in_flight);
        page.numbers(gauge("gateway_requests_in_flight", "Requests now."), in_flight);
        let states = pools.iter().flat_map(|pool| {
            STATES.map(|state| {
                let workers = pool.workers().filter(|place| place.state == Some(state)).count();
                (pool.labels(&label("state", state)), workers as u64)
            })
        });
        page.numbers(gauge("gateway_workers", "Workers now, by how far they have come."), states);
        let queues = |of: fn(&Queue) -> u64| {
            self.queues.iter().map(move |queue| (label("listener", &queue.listener), of(queue)))
        };
        let help = "Connections that wait to be accepted.";
        let waiting = queues(|queue| queue.waiting);
        page.numbers(gauge("gateway_listen_queue_connections", help), waiting);
        let help = "Connections that may wait to be accepted.";
        let most = queues(|queue| queue.most);
        page.numbers(gauge("gateway_listen_queue_limit_connections", help), most);
        let help = "Memory that workers have resident, shared pages of each included.";
        let resident = sums(|place| place.resident);
        page.numbers(gauge("gateway_workers_resident_bytes", help), resident);
    }

    /// What the arbiter counts.
    fn supervised(&self, page: &mut Page) {
        if self.ends.is_empty() {
            return;
        }
        let pools = self.pools();
        let counter = |name, help| (name, "counter", help);
        let is_one = pools.iter().all(|pool| pool.name.is_empty());
        let starts = pools.iter().map(|pool| match is_one {
            true => self.starts,
            false => pool.places.iter().map(|place| place.spawns).sum(),
        });
        let starts = pools.iter().zip(starts).map(|(pool, starts)| (pool.labels(""), starts));
        page.numbers(counter("gateway_worker_starts_total", "Workers started."), starts);
        let ends = pools.iter().flat_map(|pool| {
            self.ends.iter().enumerate().map(move |(nth, (cause, all))| {
                let ends = pool.places.iter().filter_map(|place| place.ends.get(nth));
                let ends = if is_one { *all } else { ends.map(|(_, count)| count).sum() };
                (pool.labels(&label("cause", cause)), ends)
            })
        });
        let help = "Workers that have ended, by the cause.";
        page.numbers(counter("gateway_worker_exits_total", help), ends);
        let reloads = counter("gateway_reloads_total", "Reloads, by how they ended.");
        let values = [("ok", self.reloads), ("failed", self.reloads_failed)];
        page.numbers(reloads, values.map(|(result, count)| (label("result", result), count)));
    }
}
