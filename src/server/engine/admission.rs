//! Which requests reach an application: those that one is mounted for, `worker_requests` of them at
//! once, and one for `health_path` beside them.

use std::fmt;

use crate::conf::settings::Settings;
use crate::gateway::exchange::Exchange;
use crate::gateway::mounts::Apps;
use crate::gateway::service::Service;

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
        let (most, health) = (u64::from(settings.worker_requests), &settings.health_path);
        let health = health.as_bytes().into();
        let misses = !apps.has_root();
        (most > 0 || !settings.health_path.is_empty() || misses)
            .then(|| Box::new(Admission { most, health, misses, is_lame: None }))
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

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("most", &self.most).finish_non_exhaustive()
    }
}
