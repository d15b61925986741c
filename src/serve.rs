//! A server as a call: a configuration becomes an arbiter whose workers run an engine each.

mod check;
mod entry;
pub(crate) use cgi::is_one_request;
pub(crate) use plan::plan;
pub(crate) use spawned::heed;
mod cgi;
mod control;
mod inline;
mod plan;
mod presence;
mod report;
mod spawned;
mod watcher;

use std::any::Any;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::arbiter::{
    self, Arbiter, Board, MAIN_POOL, Predecessor, Started, State, StopMode, Way, WorkerContext,
    WorkerSlot,
};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Logger, log};
use crate::conf::pool::{Name, within};
use crate::conf::settings::WorkerModel;
use crate::gateway::config::Config;
use crate::gateway::counters::{Counters, OneOf};
use crate::gateway::flight::{Flights, Recorder};
use crate::gateway::service::{Hooks, Worker};
use crate::server::engine::{Engine, Peers, Stop};
use crate::server::setup::{Draft, Setup};
use crate::sys::clock;
use crate::sys::listen::Listening;
use crate::sys::pid::pid;
use crate::sys::shm::Shared;
use crate::sys::signal;
use entry::Entry;
use presence::Presence;
use watcher::Watcher;

/// What a worker returns that could not prepare itself: gunicorn's.
const BOOT_ERROR: i32 = 3;

/// What a worker that is started knows the counters by.
const COUNTERS: &CStr = c"counters";

/// What a worker returns whose engine failed while it served.
const SERVE_ERROR: i32 = 255;

/// Serve until told to stop.  Catches TERM, INT and QUIT, logs to standard error and listens on
/// 127.0.0.1:8000, unless the configuration says otherwise.
///
/// A program that a web server has started serves that: FastCGI where descriptor 0 is a socket that
/// listens, and else, where its environment is that of a CGI program, one request.
///
/// Forked workers live and end inside: only the caller's process returns.  In a process that an
/// arbiter with [`WorkerModel::Exec`] has started this is the worker, and returns when that has ended.
///
/// # Errors
/// Everything that is wrong with the configuration; an address that cannot be bound; workers that
/// do not start ([`Error::exit_status`] 3); a module that cannot be loaded (4); `Kind::Timeout`: it
/// has stopped, but for threads in which an application does not return.
pub fn serve(mut config: Config) -> Result<()> {
    heed(&mut config);
    if let Some(worker) = Started::take()? {
        return serve_as_worker(config, worker);
    }
    config.serve_presets();
    if is_one_request() {
        return cgi::serve_once(config);
    }
    match config.settings().worker_model {
        WorkerModel::Inline => inline::serve_inline(config),
        WorkerModel::Threads | WorkerModel::Fork | WorkerModel::Exec => {
            supervised(config, Process::Server)?.0.run()
        }
    }
}

/// Every problem that [`serve`] would find with this configuration.  Nothing is started, bound or
/// written.
pub fn check(config: &mut Config) -> Vec<Error> {
    let before = config.settings().clone();
    heed(config);
    config.serve_presets();
    let settings = std::mem::replace(config.settings_mut(), before);
    check::problems(&settings, config, check::Scope::Whole, &Presence::new(Predecessor::is_there()))
}

/// An arbiter with its sockets bound and nothing started.
///
/// # Errors
/// As [`serve`]; and a configuration that listens nowhere.
pub fn prefork(config: Config) -> Result<Arbiter> {
    supervised(config, Process::Host).map(|(arbiter, _)| arbiter)
}

/// What the process is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// To serve: options may change it.
    Server,
    /// For something of its own.
    Host,
}

/// What all generations of an arbiter's workers have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// What its workers are.
    pub(crate) way: Way,
    /// Before the first fork, so that they are everybody's.
    pub(crate) counters: Arc<Shared<Counters>>,
    /// As these.
    pub(crate) flights: Arc<Flights>,
    /// What hooks are told that the arbiter is called.
    pub(crate) token: Arc<AtomicUsize>,
    /// What they show of themselves.
    presence: Arc<Presence>,
    process: Process,
    /// What the process has become, where workers are threads of it.
    entered: Arc<Mutex<Option<Entry>>>,
    /// The sockets of the arbiter whose place the first generation takes.
    there: Vec<Arc<Listening>>,
}

/// The same, and what its generations have in common.
pub(crate) fn supervised(config: Config, process: Process) -> Result<(Arbiter, Common)> {
    if arbiter::is_started() {
        return Err(Error::new(
            Kind::State,
            "make an arbiter: this process is a worker of one (worker_model = exec), which begins \
             where it calls gw_serve",
        ));
    }
    let way = way_of(config.settings().worker_model);
    let counters = match way {
        Way::Exec => Shared::with_file(COUNTERS, Board::PLACES),
        Way::Fork | Way::Thread => Shared::new(Board::PLACES),
    };
    let counters = Arc::new(counters.map_err(|error| Error::os("make counters", &error))?);
    let flights = Flights::new(Board::PLACES, way == Way::Exec);
    let flights = flights.map_err(|error| Error::os("make records", &error))?;
    let before = Predecessor::take()?;
    let common = Common {
        way,
        counters,
        flights: Arc::new(flights),
        token: Arc::default(),
        presence: Arc::new(Presence::new(before.is_some())),
        process,
        entered: Arc::default(),
        there: before.as_ref().map_or_else(Vec::new, |before| before.listeners().to_vec()),
    };
    let plan = plan(config, &common)?;
    let listeners = (plan.bind)(&common.there)?;
    let pools = plan.pools.into_iter().zip(listeners).collect();
    let mut arbiter = Arbiter::of_pools(pools, plan.log)?;
    if let Some(before) = before {
        arbiter.succeed(before)?;
    }
    if let Some(observer) = plan.observer {
        arbiter.observe(observer);
    }
    arbiter.watch_with(Box::new(Watcher(Arc::clone(&common.flights))));
    arbiter.attend_with(Arc::new(control::Front {
        presence: Arc::clone(&common.presence),
        counters: Arc::clone(&common.counters),
        flights: Arc::clone(&common.flights),
    }));
    Ok((arbiter, common))
}

fn way_of(model: WorkerModel) -> Way {
    match model {
        WorkerModel::Threads => Way::Thread,
        WorkerModel::Exec => Way::Exec,
        // Inline is refused where an arbiter is asked for.
        WorkerModel::Inline | WorkerModel::Fork => Way::Fork,
    }
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
        let for_workers = draft.is_for_workers();
        let is_elsewhere = draft.settings.worker_model == WorkerModel::Exec;
        let source = Source::of_worker(draft);
        // The program makes it in each worker that is started again, and it need not be here.
        if !for_workers && !is_elsewhere {
            source.setup()?;
        }
        Ok(source)
    }

    /// Whose setup is made where it is used.
    fn of_worker(draft: Draft) -> Self {
        Source { made: OnceLock::new(), draft: Mutex::new(Some(draft)) }
    }

    fn bind_beside(&self, there: &[Arc<Listening>]) -> Result<Vec<Arc<Listening>>> {
        match (self.made.get(), &*self.draft.lock()) {
            (Some(setup), _) => setup.bind_beside(there),
            (None, Some(draft)) => draft.bind_beside(there),
            (None, None) => Ok(Vec::new()),
        }
    }

    fn reopen_logs(&self) {
        match (self.made.get(), &*self.draft.lock()) {
            (Some(setup), _) => setup.reopen_logs(),
            (None, Some(draft)) => draft.reopen_logs(),
            (None, None) => {}
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

/// The process that is a worker, if this one or an ancestor is.
static WORKER: AtomicU32 = AtomicU32::new(0);

/// Whether this process is a worker that an arbiter started.  One whose threads are workers is not.
pub fn is_worker() -> bool {
    WORKER.load(Ordering::Relaxed) == pid() || arbiter::is_started()
}

/// What a worker leaves to threads that use it up to the end of the process.
static LEFT: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

/// This process, which an arbiter has started, is a worker: until it has ended.
fn serve_as_worker(config: Config, worker: Started) -> Result<()> {
    let mut config = match of_pool(config, worker.pool()) {
        Ok(config) => config,
        Err(error) => {
            let status = worker.give_up(&error);
            return Err(error.with_exit_status(status));
        }
    };
    // The arbiter's options come before those of the program, so that all workers agree with it.
    let told =
        worker.options().try_for_each(|(name, value)| config.settings_mut().set(name, value));
    let counters = told.and_then(|()| worker.shared(COUNTERS)).map(Arc::new);
    let made = counters.and_then(|it| {
        let flights = Arc::new(Flights::given(&watcher::Handed(&worker))?);
        let draft = Draft::draft(config)?;
        Ok((Entry::of(&draft.settings)?, draft, it, flights))
    });
    let (entry, draft, counters, flights) = match made {
        Ok(made) => made,
        Err(error) => {
            let status = worker.give_up(&error);
            return Err(error.with_exit_status(status));
        }
    };
    let log = draft.log.clone();
    let source = Source::of_worker(draft);
    let status = worker.live(&log, |context| {
        let one = OneOf(counters, context.slot());
        one.as_ref().begin();
        work(&source, &entry, &log, Arc::new(one), &flights, context)
    });
    if status == 0 {
        return Ok(());
    }
    let text = format!("serve: this worker ended with status {status}; its log says why");
    Err(Error::new(Kind::App, text).with_exit_status(status))
}

/// What the program has for the pool that this worker is of.
fn of_pool(mut config: Config, name: &str) -> Result<Config> {
    let pools = config.take_pools();
    if name == MAIN_POOL {
        return Ok(config);
    }
    let pool = pools.into_iter().find(|(other, _)| **other == *name);
    pool.map(|(_, pool)| pool).ok_or_else(|| {
        let text = format!("pool {name}: this worker is to be of it, and the program has none");
        Error::new(Kind::State, text)
    })
}

/// A worker's life.
fn work(
    source: &Source,
    entry: &Entry,
    log: &Logger,
    counters: Arc<OneOf>,
    flights: &Arc<Flights>,
    context: &WorkerContext<'_>,
) -> i32 {
    let is_process = context.pid() != 0;
    let shared = Arc::clone(&counters);
    if is_process {
        WORKER.store(pid(), Ordering::Relaxed);
    }
    let entered = if is_process { entry.enter() } else { Ok(()) };
    let made = entered.and_then(|()| source.setup()).and_then(|setup| {
        if setup.stack.pulled && !setup.stack.hooks.may_take() {
            return Err(check::no_application());
        }
        if is_process {
            begin_process(&setup, flights, context)?;
        }
        let (slot, generation) = (context.slot(), context.generation());
        let recorder = Recorder::new(Arc::clone(flights), slot, generation, clock::monotonic_ns());
        let listeners = context.listeners().to_vec();
        let engine = Engine::recorded(Arc::clone(&setup), listeners, shared, recorder)?;
        engine.watch(context.stop_fd())?;
        Ok((setup, engine))
    });
    let (setup, mut engine) = match made {
        Ok(made) => made,
        Err(error) => {
            let error = within(&context.board().pool_name(), error);
            log!(log, Error, "worker", "{error}");
            return error.exit_status().max(BOOT_ERROR);
        }
    };
    engine.share_with(Box::new(Crowd {
        board: Arc::clone(context.all()),
        counters: Arc::clone(&counters.0),
        slot: context.slot(),
    }));
    let board = Arc::clone(context.all());
    engine.lame_when(move || board.is_lame());
    let (board, all, flights) =
        (Arc::clone(context.all()), Arc::clone(&counters.0), Arc::clone(flights));
    let timed = setup.settings.measures();
    engine.report_with(move || report::snapshot(&board, &all, &flights, timed));
    if setup.settings.max_requests > 0 {
        engine.retire_after(requests_of_a_worker(&setup), context.leave_permit());
    }
    let worker = Worker { server: Some(Arc::new(engine.remote())), ..worker_of(context) };
    let served = hooked(&setup.stack.hooks, &worker, || turn(&setup, engine, context, &worker));
    if is_process {
        // Threads of the host may use what the hooks were given until the process ends.
        LEFT.lock().push(Box::new(worker));
    }
    served.unwrap_or_else(|error| {
        log!(log, Error, "worker", "{error}");
        error.exit_status()
    })
}

/// The workers of a pool, for one of them.
#[derive(Debug)]
struct Crowd {
    board: Arc<Board>,
    counters: Arc<Shared<Counters>>,
    slot: usize,
}

impl Crowd {
    /// Those of other pools listen elsewhere, and serve something else.
    fn is_peer(&self, slot: &WorkerSlot) -> bool {
        slot.pool() == self.board[self.slot].pool()
    }
}

impl Peers for Crowd {
    /// Of one that boots, stops or is gone the numbers mean nothing.
    fn load(&self) -> (usize, u64) {
        let serving = self.board.iter().zip(self.counters.iter());
        let serving =
            serving.filter(|(slot, _)| self.is_peer(slot) && slot.state() == State::Ready);
        serving.fold((0, 0), |(n, sum), (_, it)| (n + 1, sum + it.connections.get()))
    }

    fn others_accept(&self) -> bool {
        let mut others = self.board.iter().enumerate().filter(|(slot, _)| *slot != self.slot);
        others.any(|(_, it)| self.is_peer(it) && it.state() == State::Ready && !it.rests())
    }

    /// Those of another configuration may listen elsewhere.
    fn serves(&self, seat: u32) -> bool {
        let own = &self.board[self.slot];
        let one_of = |slot: &WorkerSlot| {
            self.is_peer(slot)
                && slot.state() == State::Ready
                && slot.seat() == seat
                && slot.generation() == own.generation()
        };
        own.seat() == seat || !self.board.iter().any(one_of)
    }

    fn set_resting(&self, rests: bool) {
        self.board[self.slot].set_rests(rests);
    }
}

fn worker_of(context: &WorkerContext<'_>) -> Worker {
    Worker {
        pid: context.pid(),
        slot: context.slot() as u32,
        generation: context.generation(),
        pool: Name::of(&context.board().pool_name()),
        ..Worker::default()
    }
}

/// First in a worker that is a process.
fn begin_process(
    setup: &Arc<Setup>,
    flights: &Arc<Flights>,
    context: &WorkerContext<'_>,
) -> Result<()> {
    if let Some(post_fork) = &setup.stack.hooks.post_fork
        && context.was_forked()
    {
        post_fork(&worker_of(context)).map_err(|error| error.with_exit_status(BOOT_ERROR))?;
    }
    if setup.stack.hooks.worker_abort.is_none() {
        return Ok(());
    }
    let (setup, flights) = (Arc::clone(setup), Arc::clone(flights));
    let Worker { pid, slot, generation, pool, .. } = worker_of(context);
    let aborts = move || {
        if let Some(worker_abort) = &setup.stack.hooks.worker_abort {
            let culprit = flights.culprit(slot as usize, clock::monotonic_ns());
            let worker = Worker { pid, slot, generation, pool, ..Worker::default() };
            worker_abort(&worker, culprit.as_ref());
        }
    };
    signal::on_abort(Box::new(aborts)).map_err(|error| Error::os("catch ABRT", &error))
}

/// `max_requests` with its jitter, which is drawn for each worker.
fn requests_of_a_worker(setup: &Setup) -> u64 {
    let jitter = u64::from(setup.settings.max_requests_jitter) + 1;
    // splitmix64's last step: workers that start together differ.
    let mut random = clock::monotonic_ns() ^ u64::from(std::process::id()) << 32;
    random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u64::from(setup.settings.max_requests) + (random ^ (random >> 31)) % jitter
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
fn turn(setup: &Setup, engine: Engine, context: &WorkerContext<'_>, worker: &Worker) -> i32 {
    context.ready();
    let mut turns = Turns::new(setup, engine, context, worker);
    let looped = turn_until_end(&setup.stack.hooks, worker, |wait| turns.turn(wait));
    looped.map_or_else(
        |error| {
            log!(setup.log, Error, "worker", "{error}");
            SERVE_ERROR
        },
        |()| 0,
    )
}

/// `turn`, which waits for so many milliseconds at most and says how long it may wait the next time,
/// until that says None: here, or in a loop of the host's.
fn turn_until_end(
    hooks: &Hooks,
    worker: &Worker,
    mut turn: impl FnMut(i64) -> Result<Option<i64>> + Send,
) -> Result<()> {
    let Some(run) = &hooks.worker_run else {
        let mut wait = 0;
        while let Some(next) = turn(wait)? {
            wait = next;
        }
        return Ok(());
    };
    let mut ended = None;
    let ran = run(worker, &mut || match &ended {
        Some(Ok(())) => Ok(None),
        Some(Err(error)) => Err(Error::clone(error)),
        None => {
            let turned = turn(0);
            ended = match &turned {
                Ok(Some(_)) => None,
                Ok(None) => Some(Ok(())),
                Err(error) => Some(Err(error.clone())),
            };
            turned
        }
    });
    // How the server ended comes before what the host says of that.
    ended.unwrap_or_else(|| {
        let early = "worker_run returned before gw_server_turn said GW_EOF";
        ran.and(Err(Error::new(Kind::State, early)))
    })
}

/// What a worker does in each turn of its loop.
struct Turns<'a> {
    setup: &'a Setup,
    /// None: it has ended.
    engine: Option<Engine>,
    context: &'a WorkerContext<'a>,
    worker: &'a Worker,
    /// How long it may wait for nothing without a sign of life.
    beat_ms: i64,
    looked_ms: u64,
    is_quick: bool,
}

impl<'a> Turns<'a> {
    fn new(
        setup: &'a Setup,
        engine: Engine,
        context: &'a WorkerContext<'a>,
        worker: &'a Worker,
    ) -> Self {
        let beat_ms = match setup.settings.heartbeat_timeout.as_millis() as i64 / 2 {
            0 if setup.settings.heartbeat_timeout.is_zero() => i64::MAX,
            half => half.max(1),
        };
        let looked_ms = clock::monotonic_ms();
        let engine = Some(engine);
        Turns { setup, engine, context, worker, beat_ms, looked_ms, is_quick: false }
    }

    /// Waits for `wait` milliseconds at most, and does what there is to do.
    fn turn(&mut self, wait: i64) -> Result<Option<i64>> {
        let (setup, context) = (self.setup, self.context);
        let Some(engine) = &mut self.engine else { return Ok(None) };
        context.board().beat();
        let now = context.board().heartbeat_ms();
        if now.saturating_sub(self.looked_ms) as i64 >= self.beat_ms {
            self.looked_ms = now;
            engine.look_around();
        }
        let mut wait = match engine.turn(wait)? {
            Some(next) => next,
            None if engine.is_running() && context.pid() == 0 => {
                // Applications that do not return yet: a thread waits for them.
                context.board().set_held_up(engine.running());
                -1
            }
            None => {
                let engine = self.engine.take().filter(Engine::is_running);
                // The same: a process ends without them.
                engine.into_iter().for_each(|engine| LEFT.lock().push(Box::new(engine)));
                return Ok(None);
            }
        };
        if engine.take_stuck() {
            context.lacks_thread();
        }
        if engine.take_notice() {
            match context.stop_mode() {
                Some(StopMode::Graceful) if context.board().retires() => engine.control().retire(),
                Some(StopMode::Graceful) => engine.control().stop(Stop::Graceful),
                Some(StopMode::Quick | StopMode::Kill) => {
                    if let Some(worker_int) = &setup.stack.hooks.worker_int
                        && !std::mem::replace(&mut self.is_quick, true)
                    {
                        worker_int(self.worker);
                    }
                    engine.control().stop(Stop::Quick);
                }
                None => {}
            }
            if context.take_reopen() {
                setup.reopen_logs();
            }
            wait = 0;
        }
        // Whoever waits for nothing gives a sign of life all the same.
        let forever = if self.beat_ms < i64::MAX { self.beat_ms } else { -1 };
        Ok(Some(if wait < 0 { forever } else { wait.min(self.beat_ms) }))
    }
}
