//! Statistics as JSON, with the keys of uWSGI's stats server that mean something here, so that its
//! tools (uwsgitop) can read them; times are in microseconds, as there.

use super::{Place, Snapshot};
use crate::base::json::Members;
use crate::gateway::environ::SERVER_SOFTWARE;
use crate::gateway::flight::{Info, Phase};
use crate::gateway::timing::{Histogram, Phases};

/// The media type of the page.
const TYPE: &[u8] = b"application/json";

impl Snapshot {
    /// The page, and its media type.
    pub fn stats(&self) -> (Vec<u8>, &'static [u8]) {
        let mut page = Vec::with_capacity(4 * 1024);
        self.show(&mut Members::object(&mut page));
        page.push(b'\n');
        (page, TYPE)
    }

    /// The members of the page.
    pub fn show(&self, all: &mut Members<'_>) {
        all.text("version", SERVER_SOFTWARE.as_bytes());
        all.number("pid", self.pid.into());
        // How many workers have something to do.
        all.number("load", self.workers().filter(|it| it.in_flight > 0).count() as u64);
        all.number("listen_queue", self.queues.iter().map(|it| it.waiting).sum());
        let listen_queue_errors =
            self.places.iter().map(|it| it.total("gateway_accept_errors_total"));
        all.number("listen_queue_errors", listen_queue_errors.sum());
        all.number("spawned", self.starts);
        all.number("reloads", self.reloads);
        all.number("reloads_failed", self.reloads_failed);
        let mut exits = Members::object(all.member("exits"));
        self.ends.iter().for_each(|(cause, count)| exits.number(cause, *count));
        drop(exits);
        let mut sockets = Members::array(all.member("sockets"));
        for queue in &self.queues {
            let mut socket = Members::object(sockets.element());
            socket.text("name", queue.listener.as_bytes());
            socket.number("queue", queue.waiting);
            socket.number("max_queue", queue.most);
        }
        drop(sockets);
        let mut workers = Members::array(all.member("workers"));
        self.places.iter().for_each(|place| place.show(workers.element()));
    }

    /// The requests in flight of all workers, as elements of an array; the oldest first.
    pub fn show_requests(&self, all: &mut Members<'_>) {
        let of = |place: &'_ Place| (place.slot, place.pid);
        let workers = self.workers().map(|place| (of(place), &place.requests));
        let mut requests: Vec<_> =
            workers.flat_map(|(of, requests)| requests.iter().map(move |it| (of, it))).collect();
        requests.sort_by_key(|(_, info)| std::cmp::Reverse(info.age_ns));
        for ((slot, pid), info) in requests {
            let mut it = Members::object(all.element());
            it.number("worker", slot as u64 + 1);
            it.number("pid", pid.into());
            it.text("id", format!("{:016x}", info.id).as_bytes());
            describe(&mut it, info);
            it.text("client", info.address());
        }
    }
}

impl Place {
    fn show(&self, out: &mut Vec<u8>) {
        let requests = self.total("gateway_requests_total");
        let is_there = !self.is_empty();
        let now = |n: u64| if is_there { n } else { 0 };
        let mut it = Members::object(out);
        it.number("id", self.slot as u64 + 1);
        it.number("pid", now(self.pid.into()));
        if !self.pool.is_empty() {
            it.text("pool", self.pool.as_bytes());
        }
        it.number("accepting", u64::from(is_there && self.accepts));
        it.number("requests", requests);
        it.number("delta_requests", requests.saturating_sub(self.before));
        it.number("exceptions", self.total("gateway_application_errors_total"));
        it.number("harakiri_count", self.kills);
        it.text(
            "status",
            match (self.state, self.in_flight) {
                (None, _) => b"cheap",
                (Some("ready"), 0) => b"idle",
                (Some("ready"), _) => b"busy",
                (Some(state), _) => state.as_bytes(),
            },
        );
        it.number("rss", now(self.resident));
        it.number("generation", self.generation.into());
        it.number("connections", now(self.connections));
        it.number("in_flight", now(self.in_flight));
        let (sum, measured) = self.app_time();
        it.number("running_time", sum / 1000);
        it.number("last_spawn", self.spawned);
        it.number("respawn_count", self.spawns);
        it.number("tx", self.total("gateway_response_body_bytes_total"));
        it.number("rx", self.total("gateway_request_body_bytes_total"));
        it.number("avg_rt", sum.checked_div(measured).unwrap_or(0) / 1000);
        let mut cores = Members::array(it.member("cores"));
        for (id, info) in self.requests.iter().enumerate().filter(|_| is_there) {
            show_request(cores.element(), id, info);
        }
    }

    /// Nanoseconds that the application has had, and the answers until they were written, and in
    /// how many requests.
    fn app_time(&self) -> (u64, u64) {
        let Some(timings) = &self.timings else { return (0, 0) };
        let app = Phases::NAMES.iter().zip(timings.iter());
        let app = app.filter(|(name, _)| matches!(**name, "app" | "write"));
        app.fold((0, 0), |(sum, _), (_, it): (_, &Histogram)| (sum + it.sum, it.count()))
    }
}

fn show_request(out: &mut Vec<u8>, id: usize, info: &Info) {
    let mut it = Members::object(out);
    it.number("id", id as u64);
    it.number("in_request", 1);
    describe(&mut it, info);
    let mut vars = Members::array(it.member("vars"));
    for (name, value) in [
        (&b"REQUEST_METHOD="[..], info.method()),
        (b"REQUEST_URI=", info.target()),
        (b"REMOTE_ADDR=", info.address()),
    ] {
        crate::base::json::string(vars.element(), &[name, value].concat());
    }
}

/// What it is, where it is, and since when.
fn describe(it: &mut Members<'_>, info: &Info) {
    it.text("method", info.method());
    it.text("target", info.target());
    it.text(
        "phase",
        match info.phase {
            Phase::Read => b"read",
            Phase::Queue => b"queue",
            Phase::App => b"app",
            Phase::Write => b"write",
            Phase::Later => b"later",
            Phase::Ended | Phase::Lost => b"ended",
        },
    );
    it.number("age", info.age_ns / 1000);
}
