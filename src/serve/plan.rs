//! What an arbiter is to be, or to change to: the pools of a configuration, their sockets, and who is
//! told of what happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::Entry;
use super::presence::Status;
use super::{Common, Source, check, watcher, way_of, work};
use crate::arbiter::{self, Event, MAIN_POOL, Observer, Plan, PoolPlan, Way, Who, WorkerContext};
use crate::base::error::{Error, Kind, Result};
use crate::conf::pool::within;
use crate::conf::settings::Settings;
use crate::gateway::config::Config;
use crate::gateway::counters::{Counters, OneOf};
use crate::gateway::service::{ArbiterHooks, OnArbiter, OnWorker, Supervisor, Worker};
use crate::server::setup::Draft;
use crate::sys::listen::Listening;
use crate::sys::shm::Shared;

/// What an arbiter is to change to, checked as far as that can be done before it listens.
pub(crate) fn plan(mut config: Config, common: &Common) -> Result<Plan> {
    config.activate();
    let scope = match common.process {
        _ if common.presence.has_begun() => check::Scope::Reload,
        process => check::Scope::Start { process, is_second: !common.there.is_empty() },
    };
    let settings = config.settings().clone();
    Error::all(check::problems(&settings, &mut config, scope, &common.presence))?;
    let hooks = std::mem::take(&mut config.hooks_mut().arbiter);
    let serves = !config.has_only_pools();
    let pools = config.take_pools();
    let instance = Draft::draft(config)?;
    let (log, observers_log) = (instance.log.clone(), instance.log.clone());
    let mut drafts = vec![(Arc::from(MAIN_POOL), instance)];
    for (name, pool) in pools {
        let draft = Draft::draft(pool).map_err(|error| within(&name, error))?;
        drafts.push((name, draft));
    }
    common.presence.prepare(&settings)?;
    let entry = Entry::of(&settings)?;
    let bound = match way_of(settings.worker_model) {
        Way::Thread => common.enter(&drafts[usize::from(!serves)..], &settings, &entry)?,
        Way::Fork | Way::Exec => None,
    };
    let (mut pools, mut sources) = (Vec::new(), Vec::new());
    let mut drafts = drafts.into_iter();
    // Without an application its logs are all that there is of it.
    let silent = if serves { None } else { drafts.next() };
    let silent = silent.map(|(_, draft)| Arc::new(Source::of_worker(draft)));
    for (name, draft) in drafts {
        let made = plan_pool(&name, draft, common);
        let (pool, source) = made.map_err(|error| within(&name, error))?;
        pools.push(pool);
        sources.push((name, source));
    }
    let mut with_logs: Vec<_> = sources.iter().map(|(_, source)| Arc::clone(source)).collect();
    with_logs.extend(silent);
    let Common { counters, token, presence, .. } = common.clone();
    let observer: Observer = Arc::new(move |handle, event| {
        let token = token.load(Ordering::Relaxed);
        if matches!(event, Event::Reopen) {
            with_logs.iter().for_each(|source| source.reopen_logs());
        }
        observe(&hooks, || Supervisor { handle: Box::new(handle.clone()), token }, event);
        presence.tell(event, || status_of(handle, &counters), &observers_log);
    });
    let presence = Arc::clone(&common.presence);
    Ok(Plan {
        pools,
        bind: Box::new(move |there| {
            if let Some(bound) = bound {
                return Ok(bound);
            }
            let bind = |name: &Arc<str>, source: &Arc<Source>, there: &[_]| {
                source.bind_beside(there).map_err(|error| within(name, error))
            };
            let bound = bind_all(sources.iter().map(|(name, source)| (name, source)), there, bind)?;
            presence.bound(&settings)?;
            Ok(bound)
        }),
        log,
        observer: Some(observer),
    })
}

/// What one pool of workers is to be, and where they get their setup from.
fn plan_pool(name: &Arc<str>, draft: Draft, common: &Common) -> Result<(PoolPlan, Arc<Source>)> {
    let (settings, log) = (draft.settings.clone(), draft.log.clone());
    let entry = Entry::of(&settings)?;
    let source = Arc::new(Source::new(draft)?);
    let of_arbiter = arbiter::Settings {
        pool: Arc::clone(name),
        way: way_of(settings.worker_model),
        workers: settings.worker_count() as usize,
        graceful_timeout: settings.graceful_timeout,
        signals: settings.signals.unwrap_or(false),
        boot_timeout: settings.boot_timeout,
        heartbeat_timeout: settings.heartbeat_timeout,
        max_lifetime: settings.max_lifetime,
        memory_soft: settings.memory_soft,
        memory_hard: settings.memory_hard,
        max_recycling: settings.max_recycling as usize,
        reload_parallel: settings.reload_parallel as usize,
        lame_duck: settings.lame_duck,
        request_timeout: settings.request_timeout,
        tick: common.presence.tick(),
        reap_orphans: settings.reap_orphans,
        fork_unsafe: settings.fork_unsafe,
        forgets: entry.forgets,
        told: settings.scalars(),
        shared: watcher::shared(&common.counters, &common.flights),
    };
    let (all, workers_log) = (Arc::clone(&common.counters), log.clone());
    let (flights, its) = (Arc::clone(&common.flights), Arc::clone(&source));
    let main = Box::new(move |context: &WorkerContext<'_>| {
        let one = OneOf(Arc::clone(&all), context.slot());
        one.as_ref().begin();
        work(&its, &entry, &workers_log, Arc::new(one), &flights, context)
    });
    Ok((PoolPlan { settings: of_arbiter, main, log }, source))
}

/// The sockets of each pool.  Of those that are `there` none is taken twice.
fn bind_all<'a, T: 'a>(
    pools: impl Iterator<Item = (&'a Arc<str>, &'a T)>,
    there: &[Arc<Listening>],
    bind: impl Fn(&Arc<str>, &T, &[Arc<Listening>]) -> Result<Vec<Arc<Listening>>>,
) -> Result<Vec<Vec<Arc<Listening>>>> {
    let mut there = there.to_vec();
    let of_one = |(name, pool)| {
        let bound = bind(name, pool, &there)?;
        there.retain(|it| !bound.iter().any(|one| Arc::ptr_eq(one, it)));
        Ok(bound)
    };
    pools.map(of_one).collect()
}

/// Events of the arbiter become hooks.
fn observe(hooks: &ArbiterHooks, arbiter: impl Fn() -> Supervisor, event: Event<'_>) {
    let worker = |hook: &Option<OnWorker>, who: Who, exit_status, cause| {
        if let Some(hook) = hook {
            let (pid, slot) = (who.pid, who.slot as u32);
            let (generation, pool) = (who.generation, who.pool);
            hook(&Worker { pid, slot, generation, exit_status, cause, pool, ..Worker::default() });
        }
    };
    let whole = |hook: &Option<OnArbiter>| {
        if let Some(hook) = hook {
            hook(&arbiter());
        }
    };
    match event {
        Event::Starting => whole(&hooks.on_starting),
        Event::Ready => whole(&hooks.when_ready),
        Event::Reloading => whole(&hooks.on_reload),
        Event::Ended => whole(&hooks.on_exit),
        Event::PreExec => whole(&hooks.pre_exec),
        Event::PreFork(who) => worker(&hooks.pre_fork, who, 0, 0),
        Event::Spawned(who) => worker(&hooks.spawned, who, 0, 0),
        Event::WorkerReady(who) => worker(&hooks.worker_ready, who, 0, 0),
        Event::Exited(who, exit, cause) => {
            worker(&hooks.child_exit, who, exit.raw(), cause as u32);
        }
        Event::Count { now, before } => {
            if let Some(hook) = &hooks.nworkers_changed {
                hook(now as u32, before as u32);
            }
        }
        Event::Reloaded(failure) => {
            if let Some(hook) = &hooks.reloaded {
                hook(&arbiter(), failure);
            }
        }
        Event::Reopen
        | Event::Stopping
        | Event::Tick { .. }
        | Event::HandsOver(_)
        | Event::Promoted { .. } => {}
    }
}

fn status_of(handle: &arbiter::Handle, counters: &Shared<Counters>) -> Status {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let tally = handle.tally();
    Status {
        workers: of(&tally.spawned).saturating_sub(of(&tally.exited)),
        reloads: of(&tally.reloads),
        requests: counters.iter().map(|counters| counters.requests.get()).sum(),
    }
}

impl Common {
    /// What forked workers do each, the process does here whose threads are workers: once, after the
    /// sockets of all pools are bound, which are returned then.
    fn enter(
        &self,
        drafts: &[(Arc<str>, Draft)],
        settings: &Settings,
        entry: &Entry,
    ) -> Result<Option<Vec<Vec<Arc<Listening>>>>> {
        let mut entered = self.entered.lock();
        if let Some(before) = &*entered {
            if before.is_same(entry) {
                return Ok(None);
            }
            let text = "user, group and umask of a process with threads cannot change by a reload";
            return Err(Error::new(Kind::Unsupported, text));
        }
        let mut bound = None;
        if entry.changes() {
            let bind = |name: &Arc<str>, draft: &Draft, there: &[_]| {
                draft.bind_beside(there).map_err(|error| within(name, error))
            };
            let drafts = drafts.iter().map(|(name, draft)| (name, draft));
            let listeners = bind_all(drafts, &self.there, bind)?;
            self.presence.bound(settings)?;
            entry.enter_process()?;
            bound = Some(listeners);
        }
        *entered = Some(entry.clone());
        Ok(bound)
    }
}
