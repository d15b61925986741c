//! A server without an arbiter: the calling thread is the only worker, and does itself what an arbiter
//! would do for it.

use std::cell::Cell;
use std::sync::Arc;

use super::check::{self, Scope};
use super::control::Steered;
use super::entry::Entry;
use super::presence::{Presence, Status};
use super::{Process, hooked, turn_until_end};
use crate::arbiter::{Event, Predecessor, StopMode};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::log;
use crate::gateway::config::Config;
use crate::gateway::counters::Counters;
use crate::gateway::metrics::Snapshot;
use crate::gateway::service::Worker;
use crate::server::engine::{Engine, Stop};
use crate::server::setup::{Draft, Setup};
use crate::sys::clock;
use crate::sys::proc;
use crate::sys::signal::{SIGCHLD, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, Signals};

/// The calling thread is the only worker.
pub(super) fn serve_inline(mut config: Config) -> Result<()> {
    if Predecessor::is_there() {
        return Err(Error::new(
            Kind::Unsupported,
            "upgrade: worker_model = inline has no arbiter that could take the old one's place; stop the \
             old server and start this one",
        ));
    }
    let (settings, presence) = (config.settings().clone(), Presence::default());
    let scope = Scope::Start { process: Process::Server, is_second: false };
    Error::all(check::problems(&settings, &mut config, scope, &presence))?;
    let draft = Draft::draft(config)?;
    presence.prepare(&draft.settings)?;
    let entry = Entry::of(&draft.settings)?;
    let listeners = draft.bind()?;
    presence.bound(&draft.settings)?;
    entry.enter_process()?;
    let setup = Arc::new(draft.load()?);
    let signals = match setup.settings.signals {
        // A log that nobody reads any more must not end the server.
        Some(true) => {
            let mut caught = vec![SIGTERM, SIGINT, SIGQUIT, SIGUSR1];
            caught.extend(setup.settings.reap_orphans.then_some(SIGCHLD));
            Some(Signals::install(&caught)?.ignoring(SIGPIPE)?)
        }
        _ => None,
    };
    let counters = Arc::new(Counters::default());
    let engine = Engine::new(Arc::clone(&setup), listeners, Arc::clone(&counters) as _)?;
    let worker = Worker { server: Some(Arc::new(engine.remote())), ..Worker::default() };
    let tell = |event: Event<'_>| {
        let requests = || counters.requests.get();
        let status = || Status { workers: 1, reloads: 0, requests: requests() };
        presence.tell(event, status, &setup.log);
    };
    let serve = || turn_here(&setup, engine, &worker, signals, &presence, &tell);
    let served = hooked(&setup.stack.hooks, &worker, serve);
    tell(Event::Ended);
    served?
}

/// Tells of what happens as an arbiter would.
fn turn_here(
    setup: &Setup,
    mut engine: Engine,
    worker: &Worker,
    signals: Option<Signals>,
    presence: &Presence,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    if let Some(signals) = &signals {
        engine.watch(signals.fd())?;
    }
    if let Some(fd) = presence.control().fd() {
        engine.watch(fd)?;
    }
    for listener in engine.listeners() {
        log!(setup.log, Info, "server", "Listening at: {}", listener.local());
    }
    tell(Event::Ready);
    let stop = |engine: &Engine, how| {
        tell(Event::Stopping);
        engine.control().stop(how);
    };
    let mut tick = Timer::every(presence.tick().as_millis() as i64);
    let reaps = setup.settings.reap_orphans;
    let mut orphans = Timer::every(if reaps { ORPHANS_MS } else { 0 });
    // What came before it was watched is there.
    let mut control_ms = Some(0);
    turn_until_end(&setup.stack.hooks, worker, |wait| {
        let Some(mut wait) = engine.turn(wait)? else { return Ok(None) };
        if tick.is_due(&mut wait) {
            tell(Event::Tick { is_well: true });
        }
        if orphans.is_due(&mut wait) {
            proc::reap_orphans(|_| false);
        }
        let is_noticed = engine.take_notice();
        if is_noticed || control_ms.is_some_and(|due| clock::monotonic_ms() >= due) {
            let here = Here { setup, engine: &engine, told: Cell::default() };
            control_ms = presence.control().turn(&here);
            if let Some(how) = here.told.take() {
                stop(&engine, how);
                wait = 0;
            }
        }
        if let Some(due) = control_ms {
            let left = due.saturating_sub(clock::monotonic_ms()) as i64;
            wait = if wait < 0 { left } else { left.min(wait) };
        }
        for signal in signals.iter().filter(|_| is_noticed).flat_map(Signals::take) {
            match signal {
                SIGUSR1 => setup.reopen_logs(),
                SIGCHLD => drop(proc::reap_orphans(|_| false)),
                SIGTERM => stop(&engine, Stop::Graceful),
                _ => stop(&engine, Stop::Quick),
            }
            wait = 0;
        }
        Ok(Some(wait))
    })
}

/// What the control socket asks of it.
struct Here<'a> {
    setup: &'a Setup,
    engine: &'a Engine,
    /// To be done when the socket is done with.
    told: Cell<Option<Stop>>,
}

impl Steered for Here<'_> {
    fn snapshot(&self) -> Snapshot {
        self.engine.snapshot()
    }

    fn workers(&self) -> u64 {
        1
    }

    fn scaled(&self) -> u64 {
        1
    }

    fn reload(&self) -> Result<()> {
        Err(lacking("reload"))
    }

    fn stop(&self, how: StopMode) {
        let quick = how != StopMode::Graceful;
        self.told.set(Some(if quick { Stop::Quick } else { Stop::Graceful }));
    }

    fn scale(&self, _: i64, _: bool) -> Result<u32> {
        Err(lacking("scale"))
    }

    fn reopen(&self) {
        self.setup.reopen_logs();
    }
}

fn lacking(what: &str) -> Error {
    let text =
        format!("{what}: worker_model = inline has one worker, and no arbiter to start others");
    Error::new(Kind::Unsupported, text)
}

/// How often to look for children that are nobody's, also where SIGCHLD tells of them.
const ORPHANS_MS: i64 = 1000;

/// Something that is done now and then by a loop.
struct Timer {
    /// 0: never.
    every_ms: i64,
    due_ms: i64,
}

impl Timer {
    fn every(every_ms: i64) -> Timer {
        Timer { every_ms, due_ms: clock::monotonic_ms() as i64 + every_ms }
    }

    /// Whether it is to be done; the loop is to wait no longer than until the next time.
    fn is_due(&mut self, wait_ms: &mut i64) -> bool {
        if self.every_ms <= 0 {
            return false;
        }
        let now = clock::monotonic_ms() as i64;
        let is_due = now >= self.due_ms;
        if is_due {
            self.due_ms = now + self.every_ms;
        }
        let left = self.due_ms - now;
        *wait_ms = if *wait_ms < 0 { left } else { left.min(*wait_ms) };
        is_due
    }
}
