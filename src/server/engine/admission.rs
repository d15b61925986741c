//! Which requests reach an application: those that one is mounted for, `worker_requests` of them at
//! once, and one for `health_path` beside them; none for the pages about the server, which are answered
//! here.

use std::fmt;
use std::sync::Weak;

use crate::conf::settings::Settings;
use crate::gateway::exchange::Exchange;
use crate::gateway::metrics::{Place, Queue, Snapshot};
use crate::gateway::mounts::Apps;
use crate::gateway::service::Service;
use crate::server::link::{Context, Wire};
use crate::server::terms::{At, Terms};
use crate::sys::clock;
use crate::sys::listen::Listening;
use crate::sys::memory::resident;

/// Stands before the application, if there is anything to guard.
pub(in crate::server) struct Admission {
    /// How many requests the application may have; 0: any number.
    most: u64,
    /// Where a load balancer asks whether it should send more; empty: nowhere.
    health: Box<[u8]>,
    /// Whether there are requests that no application is for.
    misses: bool,
    /// Whether the server is about to stop.
    pub(super) is_lame: Option<Box<dyn Fn() -> bool + Send>>,
    /// What pages about the server show.
    pub(super) report: Option<Box<dyn Fn() -> Snapshot + Send>>,
    /// Whose queues they show.
    pub(super) listeners: Vec<Weak<Listening>>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Verdict {
    /// The application is called.
    Enter,
    /// It has enough to do.
    Full,
    /// Whoever asks whether to send more is told not to.
    Lame,
    /// There is none for it.
    Nowhere,
}

impl Admission {
    /// None: there is nothing to guard, and nothing to count.
    pub(super) fn new(settings: &Settings, apps: &Apps) -> Option<Box<Admission>> {
        let most = u64::from(settings.worker_requests);
        let health: Box<[u8]> = settings.health_path.as_bytes().into();
        let misses = !apps.has_root();
        let guards = most > 0 || !health.is_empty() || misses || settings.has_pages();
        guards.then(|| {
            Box::new(Admission {
                most,
                health,
                misses,
                is_lame: None,
                report: None,
                listeners: Vec::new(),
            })
        })
    }

    /// Whether connections are kept free for whoever asks for the server's health.
    pub(super) fn has_probes(&self) -> bool {
        !self.health.is_empty()
    }

    /// What becomes of this request, while the application has `running`.
    pub(in crate::server) fn verdict(&self, x: &Exchange, service: &Service) -> Verdict {
        let is_probe = self.has_probes() && x.path_is(&self.health);
        if is_probe && self.is_lame.as_ref().is_some_and(|is_lame| is_lame()) {
            return Verdict::Lame;
        }
        if self.misses && !x.is_mounted() {
            return Verdict::Nowhere;
        }
        let running = service.counters().running.get();
        if self.most > 0 && running >= self.most + u64::from(is_probe) {
            return Verdict::Full;
        }
        Verdict::Enter
    }
}

impl Admission {
    /// Answer a request for a page about the server.  False: it is for the application.
    pub(in crate::server) fn show(&self, wire: &Wire<'_>, terms: &Terms) -> bool {
        let x = &wire.slot.exchange;
        let at = x.with_path(|prefix, path| terms.pages.at(prefix, path));
        if at == At::App {
            return false;
        }
        if at == At::Nowhere {
            x.answer_error(wire, 404, "");
        } else if !x.is_read_only() {
            x.answer_error(wire, 405, "GET or HEAD");
        } else {
            let mut snapshot = match &self.report {
                Some(report) => report(),
                None => alone(wire.context),
            };
            self.queues().for_each(|queue| snapshot.add_queue(queue));
            let (page, media_type) =
                if at == At::Metrics { snapshot.prometheus() } else { snapshot.stats() };
            x.answer_page(wire, media_type, &page);
        }
        true
    }
}

impl Admission {
    /// Of sockets whose queues the system tells.
    fn queues(&self) -> impl Iterator<Item = Queue> {
        self.listeners.iter().filter_map(|listening| Queue::of(&*listening.upgrade()?))
    }
}

/// Of a server without an arbiter.
pub(super) fn alone(context: &Context) -> Snapshot {
    let pid = std::process::id();
    let timed = context.measures;
    let (counters, flights) = (context.service.counters(), context.seat.flights());
    let place = Place::read(0, counters, flights, timed, clock::monotonic_ns());
    let place = Place {
        pid,
        state: Some(if context.stopping { "stopping" } else { "ready" }),
        spawns: 1,
        resident: resident(pid as i32).unwrap_or(0),
        accepts: !context.stopping,
        ..place
    };
    Snapshot { pid, places: vec![place], ..Snapshot::default() }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("most", &self.most).finish_non_exhaustive()
    }
}
