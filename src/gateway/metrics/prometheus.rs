//! The page for Prometheus: its text format, version 0.0.4.

use super::{Queue, SERIES, Series, Snapshot};
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
    fn numbers<'a>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        values: impl IntoIterator<Item = (&'a str, &'a str, u64)>,
    ) {
        self.family(name, kind, help);
        for (label, which, value) in values {
            let labels =
                if label.is_empty() { String::new() } else { format!("{label}=\"{which}\"") };
            self.sample(name, &labels, value);
        }
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
    fn histogram(&mut self, name: &str, phase: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let mut all = 0;
        for (us, count) in histogram.cumulative() {
            all = count;
            let mut digit = us;
            while digit >= 10 {
                digit /= 10;
            }
            if matches!(digit, 1 | 2 | 5) {
                let labels = format!("phase=\"{phase}\",le=\"{}\"", text(us * 1000));
                self.sample(&bucket, &labels, count);
            }
        }
        debug_assert!(all <= histogram.count());
        self.sample(&bucket, &format!("phase=\"{phase}\",le=\"+Inf\""), histogram.count());
        let labels = format!("{{phase=\"{phase}\"}} ");
        self.line(&[name, "_sum", &labels, &text(histogram.sum)]);
        self.sample(&format!("{name}_count"), &format!("phase=\"{phase}\""), histogram.count());
    }
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
        if let Some(timings) = self.timings() {
            let name = "gateway_request_phase_seconds";
            let help = "How long requests that reached the application took, phase by phase.";
            page.family(name, "histogram", help);
            for (phase, histogram) in Phases::NAMES.iter().zip(&timings) {
                page.histogram(name, phase, histogram);
            }
        }
        (page.0, TYPE)
    }

    /// What only grows.
    fn counted(&self, page: &mut Page) {
        let mut before = "";
        for (nth, Series { family, help, labels, .. }) in SERIES.iter().enumerate() {
            if *family != before {
                page.family(family, "counter", help);
                before = family;
            }
            let sum = self.places.iter().map(|place| place.count(nth)).sum();
            page.sample(family, labels, sum);
        }
    }

    /// What is now.
    fn present(&self, page: &mut Page) {
        let connections = self.workers().map(|place| place.connections).sum();
        let in_flight = self.workers().map(|place| place.in_flight).sum();
        let gauge = |name, help| (name, "gauge", help);
        page.numbers(gauge("gateway_connections", "Connections now."), [("", "", connections)]);
        page.numbers(gauge("gateway_requests_in_flight", "Requests now."), [("", "", in_flight)]);
        let states = STATES.map(|state| {
            let workers = self.workers().filter(|place| place.state == Some(state)).count();
            ("state", state, workers as u64)
        });
        page.numbers(gauge("gateway_workers", "Workers now, by how far they have come."), states);
        let resident = self.workers().map(|place| place.resident).sum();
        let queues = |of: fn(&Queue) -> u64| {
            self.queues.iter().map(move |queue| (escaped(&queue.listener), of(queue)))
        };
        for (name, help, values) in [
            (
                "gateway_listen_queue_connections",
                "Connections that wait to be accepted.",
                queues(|queue| queue.waiting),
            ),
            (
                "gateway_listen_queue_limit_connections",
                "Connections that may wait to be accepted.",
                queues(|queue| queue.most),
            ),
        ] {
            let values: Vec<_> = values.collect();
            let values = values.iter().map(|(at, value)| ("listener", at.as_str(), *value));
            page.numbers(gauge(name, help), values);
        }
        let help = "Memory that workers have resident, shared pages of each included.";
        page.numbers(gauge("gateway_workers_resident_bytes", help), [("", "", resident)]);
    }

    /// What the arbiter counts.
    fn supervised(&self, page: &mut Page) {
        if self.ends.is_empty() {
            return;
        }
        let counter = |name, help| (name, "counter", help);
        let starts = counter("gateway_worker_starts_total", "Workers started.");
        page.numbers(starts, [("", "", self.starts)]);
        let ends = counter("gateway_worker_exits_total", "Workers that have ended, by the cause.");
        page.numbers(ends, self.ends.iter().map(|(cause, count)| ("cause", *cause, *count)));
        let reloads = counter("gateway_reloads_total", "Reloads, by how they ended.");
        let values = [("result", "ok", self.reloads), ("result", "failed", self.reloads_failed)];
        page.numbers(reloads, values);
    }
}
