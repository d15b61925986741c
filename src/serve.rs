//! A server as a call: a configuration becomes an arbiter whose workers run an engine each.

use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::arbiter::{self, Arbiter, StopMode, Way, WorkerContext};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Logger, log};
use crate::conf::settings::WorkerModel;
use crate::gateway::config::Config;
use crate::gateway::counters::{Counters, OneOf};
use crate::gateway::service::{Hooks, Worker};
use crate::module;
use crate::server::engine::{Engine, Stop};
use crate::server::setup::{Draft, Setup};
use crate::sys::listen::Listening;
use crate::sys::pid::pid;
use crate::sys::shm::Shared;
use crate::sys::signal::{SIGINT, SIGPIPE, SIGQUIT, SIGTERM, Signals};

/// What a worker returns that could not prepare itself: gunicorn's.
const BOOT_ERROR: i32 = 3;

/// What a worker returns whose engine failed while it served.
const SERVE_ERROR: i32 = 255;

/// Serve until told to stop.  Catches TERM, INT and QUIT, logs to standard error and listens on
/// 127.0.0.1:8000, unless the configuration says otherwise.
///
/// Forked workers live and end inside: only the caller's process returns.
///
/// # Errors
/// Everything that is wrong with the configuration; an address that cannot be bound; workers that
/// do not start ([`Error::exit_status`] 3); a module that cannot be loaded (4); `Kind::Timeout`: it has stopped, but for threads in
/// which an application does not return.
pub fn serve(mut config: Config) -> Result<()> {
    config.settings_mut().serve_presets();
    match config.settings().worker_model {
        WorkerModel::Inline => serve_inline(config),
        WorkerModel::Threads | WorkerModel::Fork => prefork(config)?.run(),
    }
}

/// An arbiter with its sockets bound and nothing started.
///
/// # Errors
/// As [`serve`]; and a configuration that listens nowhere.
pub fn prefork(config: Config) -> Result<Arbiter> {
    counted(config).map(|(arbiter, _)| arbiter)
}

/// The same, and what its workers count.
pub(crate) fn counted(config: Config) -> Result<(Arbiter, Arc<Shared<Counters>>)> {
    let draft = Draft::draft(config)?;
    let (settings, log) = (draft.settings.clone(), draft.log.clone());
    if settings.listeners.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            "there is nothing to listen on: set bind, or add a listener",
        ));
    }
    let way = match settings.worker_model {
        WorkerModel::Threads => Way::Thread,
        WorkerModel::Fork => Way::Fork,
        WorkerModel::Inline => {
            return Err(Error::new(
                Kind::Invalid,
                "worker_model = inline has no arbiter: use a server, or gw_serve",
            ));
        }
    };
    let source = Source::new(draft)?;
    let of_arbiter = arbiter::Settings {
        way,
        workers: settings.worker_count() as usize,
        graceful_timeout: settings.graceful_timeout,
        signals: settings.signals.unwrap_or(false),
    };
    // Before the fork, so that it is everybody's.
    let counters = Shared::new(of_arbiter.workers);
    let counters = Arc::new(counters.map_err(|error| Error::os("make counters", &error))?);
    let listeners = source.bind()?;
    let (all, workers_log) = (Arc::clone(&counters), log.clone());
    let main = Box::new(move |context: &WorkerContext<'_>| {
        let one = OneOf(Arc::clone(&all), context.slot());
        one.as_ref().begin();
        work(&source, &workers_log, Arc::new(one), context)
    });
    Ok((Arbiter::new(of_arbiter, listeners, main, log)?, counters))
}

/// Where a worker gets its setup from.
struct Source {
    made: OnceLock<Arc<Setup>>,
    /// Until then.  Each process has a copy of its own, to load a module by itself, and keeps what
    /// comes of it: what is the host's is dropped by nobody but the process that started all.
    draft: Mutex<Option<Draft>>,
}

impl Source {
    fn new(draft: Draft) -> Result<Self> {
        let (made, for_workers) = (OnceLock::new(), draft.is_for_workers());
        let source = Source { made, draft: Mutex::new(Some(draft)) };
        if for_workers {
            module::try_in_child(|| source.setup().map(drop))?;
        } else {
            must_have_app(&*source.setup()?)?;
        }
        Ok(source)
    }

    fn bind(&self) -> Result<Vec<Arc<Listening>>> {
        match (self.made.get(), &*self.draft.lock()) {
            (Some(setup), _) => bind(setup),
            (None, Some(draft)) => bind(draft),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// The setup of this process.
    fn setup(&self) -> Result<Arc<Setup>> {
        let mut draft = self.draft.lock();
        let stack = match draft.as_mut() {
            Some(draft) => Some(draft.stack.stack(&draft.log)?),
            None => None,
        };
        if let (Some(draft), Some(stack)) = (draft.take(), stack) {
            let _ = self.made.set(Arc::new(draft.with(stack)));
        }
        let made = self.made.get().ok_or_else(|| Error::from(Kind::State))?;
        made.check()?;
        Ok(Arc::clone(made))
    }
}

fn must_have_app(setup: &Setup) -> Result<()> {
    if setup.stack.pulled && setup.stack.hooks.worker_init.is_none() {
        return Err(Error::new(
            Kind::Invalid,
            "there is no application: gw_config_app comes first, or a hook worker_init that starts \
             threads which take the requests",
        ));
    }
    Ok(())
}

fn bind<S>(setup: &Setup<S>) -> Result<Vec<Arc<Listening>>> {
    Ok(setup.bind()?.into_iter().map(Arc::new).collect())
}

/// The process that is a worker, if this one or an ancestor is.
static WORKER: AtomicU32 = AtomicU32::new(0);

/// Whether this process is a worker that an arbiter started.  One whose threads are workers is not.
pub fn is_worker() -> bool {
    WORKER.load(Ordering::Relaxed) == pid()
}

/// What a worker leaves to threads that use it up to the end of the process.
static LEFT: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

/// A worker's life.
fn work(source: &Source, log: &Logger, counters: Arc<OneOf>, context: &WorkerContext<'_>) -> i32 {
    let is_process = context.pid() != 0;
    if is_process {
        WORKER.store(pid(), Ordering::Relaxed);
    }
    let made = source.setup().and_then(|setup| {
        let engine = Engine::new(Arc::clone(&setup), context.listeners().to_vec(), counters)?;
        engine.watch(context.stop_fd())?;
        Ok((setup, engine))
    });
    let (setup, engine) = match made {
        Ok(made) => made,
        Err(error) => {
            log!(log, Error, "worker", "{error}");
            return error.exit_status().max(BOOT_ERROR);
        }
    };
    let worker = Worker {
        pid: context.pid(),
        slot: context.slot() as u32,
        generation: context.generation(),
        server: Some(Arc::new(engine.remote())),
        ..Worker::default()
    };
    let served = hooked(&setup.stack.hooks, &worker, || turn(&setup, engine, context));
    if is_process {
        // Threads of the host may use what the hooks were given until the process ends.
        LEFT.lock().push(Box::new(worker));
    }
    served.unwrap_or_else(|error| {
        log!(log, Error, "worker", "{error}");
        error.exit_status()
    })
}

/// `serve`, between the hooks of a worker.
fn hooked<T>(hooks: &Hooks, worker: &Worker, serve: impl FnOnce() -> T) -> Result<T> {
    if let Some(init) = &hooks.worker_init {
        init(worker).map_err(|error| error.with_exit_status(BOOT_ERROR))?;
    }
    let served = serve();
    if let Some(exit) = &hooks.worker_exit {
        exit(worker);
    }
    Ok(served)
}

/// The loop of a worker; its exit status.
fn turn(setup: &Setup, mut engine: Engine, context: &WorkerContext<'_>) -> i32 {
    context.ready();
    let mut wait = 0;
    loop {
        context.board().beat();
        match engine.turn(wait) {
            Ok(Some(next)) => wait = next,
            Ok(None) if engine.is_running() && context.pid() == 0 => {
                // Applications that do not return yet: a thread waits for them.
                context.board().set_held_up(engine.running());
                wait = -1;
            }
            Ok(None) => {
                if engine.is_running() {
                    // The same: a process ends without them.
                    LEFT.lock().push(Box::new(engine));
                }
                return 0;
            }
            Err(error) => {
                log!(setup.log, Error, "worker", "{error}");
                return SERVE_ERROR;
            }
        }
        if engine.take_notice() {
            match context.stop_mode() {
                Some(StopMode::Graceful) => engine.control().stop(Stop::Graceful),
                Some(StopMode::Quick | StopMode::Kill) => engine.control().stop(Stop::Quick),
                None => {}
            }
            wait = 0;
        }
    }
}

/// The calling thread is the only worker.
fn serve_inline(config: Config) -> Result<()> {
    let setup = Arc::new(Setup::new(config)?);
    must_have_app(&setup)?;
    let signals = match setup.settings.signals {
        // A log that nobody reads any more must not end the server.
        Some(true) => Some(Signals::install(&[SIGTERM, SIGINT, SIGQUIT])?.ignoring(SIGPIPE)?),
        _ => None,
    };
    let counters = Arc::new(Counters::default());
    let engine = Engine::new(Arc::clone(&setup), bind(&setup)?, counters)?;
    let worker = Worker { server: Some(Arc::new(engine.remote())), ..Worker::default() };
    hooked(&setup.stack.hooks, &worker, || turn_here(&setup, engine, signals))?
}

fn turn_here(setup: &Setup, mut engine: Engine, signals: Option<Signals>) -> Result<()> {
    if let Some(signals) = &signals {
        engine.watch(signals.fd())?;
    }
    for listener in engine.listeners() {
        log!(setup.log, Info, "server", "Listening at: {}", listener.local());
    }
    let mut wait = 0;
    while let Some(next) = engine.turn(wait)? {
        wait = next;
        if !engine.take_notice() {
            continue;
        }
        for signal in signals.iter().flat_map(Signals::take) {
            let how = if signal == SIGTERM { Stop::Graceful } else { Stop::Quick };
            engine.control().stop(how);
            wait = 0;
        }
    }
    Ok(())
}
