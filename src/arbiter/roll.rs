//! How many workers there are, and of which generation: a reload, and a change of their number, are
//! steps of one rule, taken at each turn until all is as it should be.
//!
//! A new worker comes first, and the oldest one goes when that is ready.  A reload whose worker does
//! not boot goes back in the same way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::arbiter::{Arbiter, Phase, Place, Worker};
use super::control::StopMode;
use super::pool::{OfPool, Pool, check};
use super::settings::{Event, Observer, Plan, PoolPlan, Settings, TARGET, Way};
use super::worker::WorkerContext;
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Logger, log};
use crate::sys::clock::monotonic_ms;
use crate::sys::listen::Listening;
use crate::sys::proc::Exit;
use crate::sys::signal::SIGUSR1;

/// One configuration of a pool.
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) settings: Settings,
    pub(super) listeners: Vec<Arc<Listening>>,
    pub(super) main: Arc<dyn Fn(&WorkerContext<'_>) -> i32 + Send + Sync>,
    pub(super) log: Logger,
    /// Takes what the arbiter says while this is the goal.
    arbiters_log: Logger,
}

impl Pool {
    pub(super) fn of(
        number: u32,
        plan: PoolPlan,
        listeners: Vec<Arc<Listening>>,
        arbiters_log: &Logger,
    ) -> Pool {
        let PoolPlan { settings, main, log } = plan;
        let (target, main, arbiters_log) = (settings.workers, main.into(), arbiters_log.clone());
        let goal = Generation { number, settings, listeners, main, log, arbiters_log };
        Pool { goal: Arc::new(goal), target }
    }

    /// The same, once more.
    fn again(&self, number: u32) -> Pool {
        let Generation { settings, listeners, main, log, arbiters_log, .. } = &*self.goal;
        let goal = Generation {
            number,
            settings: settings.clone(),
            listeners: listeners.clone(),
            main: Arc::clone(main),
            log: log.clone(),
            arbiters_log: arbiters_log.clone(),
        };
        Pool { goal: Arc::new(goal), target: self.target }
    }
}

impl Generation {
    /// Closes what `other` does not listen on.
    pub(super) fn close_but(&self, other: &Generation) {
        let stays = |one: &&Arc<Listening>| other.listeners.iter().any(|it| Arc::ptr_eq(it, one));
        self.listeners.iter().filter(|one| !stays(one)).for_each(|one| one.close());
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("number", &self.number)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// A reload that has begun.
pub(super) struct Roll {
    /// With how many workers there were to be.
    pub(super) from: Vec<Pool>,
    pub(super) to: Vec<Pool>,
    observer: Option<Observer>,
    /// Why it goes back.
    failure: Option<Error>,
}

impl Arbiter {
    /// Takes note of workers that have become ready.
    pub(super) fn welcome(&mut self) {
        for slot in 0..self.places.len() {
            let Some(worker) = &mut self.places[slot].worker else { continue };
            if worker.ready || !self.board[slot].was_ready() {
                continue;
            }
            worker.ready = true;
            if std::mem::take(&mut worker.reopens) {
                worker.body.signal(SIGUSR1);
            }
            if let Some(worker) = &self.places[slot].worker {
                self.tell(Event::WorkerReady(self.who(slot, worker)));
            }
            self.return_ticket(slot);
        }
        let is_full = |pool: &Pool| {
            let own = self.places.iter().filter(|place| place.is_wanted_by(pool.name()));
            own.filter(|place| place.is_ready()).count() >= pool.target
        };
        if !self.was_ready && self.pools.iter().all(is_full) {
            self.was_ready = true;
            let ready = u64::from(self.lame_until_ms.is_none());
            self.handle.tally().ready.store(ready, Ordering::Relaxed);
            self.tell(Event::Ready);
            self.tell_predecessor();
        }
    }

    /// One of those that were away is there again.
    pub(super) fn return_ticket(&mut self, slot: usize) {
        if let Some(age) = self.places[slot].ticket.take() {
            self.board.return_ticket(slot, age);
        }
    }

    /// Takes the steps that are possible towards the workers that there are to be, of the generations
    /// that are the goal.
    pub(super) fn level(&mut self) {
        self.begin_reload();
        let settled =
            (0..self.pools.len()).map(|pool| self.level_pool(pool)).filter(|it| *it).count();
        // Pools that are no more go last, when it is sure that they are not to come back.
        if settled == self.pools.len() && self.roll.is_some() && self.retire_gone() {
            self.end_reload();
        }
    }

    /// Those of one pool; whether there is nothing left to do.
    fn level_pool(&mut self, pool: usize) -> bool {
        let Pool { goal, target } = self.pools[pool].clone();
        let target = if self.rests { 0 } else { target };
        let is_goal =
            |place: &Place| place.wanted.as_ref().is_some_and(|wanted| Arc::ptr_eq(wanted, &goal));
        let slots = 0..self.places.len();
        let (mut new, mut old): (Vec<usize>, Vec<usize>) = slots
            .filter(|slot| self.places[*slot].is_wanted_by(goal.pool()))
            .partition(|slot| is_goal(&self.places[*slot]));
        // Those that are not there go first, then the oldest.
        let age = |slot: &usize| self.places[*slot].worker.as_ref().map(|worker| worker.age);
        new.sort_by_key(age);
        old.sort_by_key(age);
        let ready = new.iter().filter(|slot| self.places[**slot].is_ready()).count();
        let too_many = (ready + old.len()).saturating_sub(target).min(old.len());
        let leaving: Vec<usize> = old.drain(..too_many).collect();
        let too_many = new.len().saturating_sub(target);
        let leaving = leaving.into_iter().chain(new.drain(..too_many)).collect::<Vec<_>>();
        leaving.into_iter().for_each(|slot| self.retire(slot));

        let others = |arbiter: &Arbiter| {
            let mut workers = arbiter.places.iter().filter_map(|place| place.worker.as_ref());
            workers.any(|it| {
                let generation = &it.generation;
                !it.is_lost() && generation.pool() == goal.pool() && !Arc::ptr_eq(generation, &goal)
            })
        };
        let rolls = self.roll.is_some() && (!old.is_empty() || others(self));
        for _ in new.len()..target {
            let there = self.places.iter().filter(|place| place.is_taken_by(goal.pool())).count();
            if rolls && there >= target + goal.settings.reload_parallel {
                break;
            }
            let Some(slot) = self.free_place(goal.pool()) else { break };
            self.places[slot].wanted = Some(Arc::clone(&goal));
            // A failure here is no failure to start.
            self.places[slot].has_served = true;
            new.push(slot);
        }
        let is_back = self.roll.as_ref().is_some_and(|roll| roll.failure.is_some());
        !rolls && (is_back || (new.len() == target && ready == target))
    }

    /// Workers of pools that are no more are to go; whether they have.
    fn retire_gone(&mut self) -> bool {
        let names: Vec<_> = self.pools.iter().map(|pool| Arc::clone(pool.name())).collect();
        let mut gone = true;
        for slot in 0..self.places.len() {
            let place = &self.places[slot];
            if place.wanted.as_ref().is_some_and(|wanted| !names.contains(wanted.pool())) {
                self.retire(slot);
            }
            let worker = self.places[slot].worker.as_ref().filter(|it| !it.is_lost());
            gone &= worker.is_none_or(|it| names.contains(it.generation.pool()));
        }
        gone
    }

    /// The socket of its own for the next worker, if each has one: nobody's, or that of the worker
    /// that is the next to go.
    pub(super) fn free_seat(&self, generation: &Generation) -> u32 {
        let seats = generation.listeners.iter().filter_map(|it| Some(it.seat()? + 1)).max();
        let users = |seat: u32| {
            let workers = self.places.iter().zip(self.board.iter());
            let there = workers.filter_map(|(place, slot)| Some((place.worker.as_ref()?, slot)));
            let own = there.filter(|(it, _)| it.generation.pool() == generation.pool());
            let users = own.filter(|(it, slot)| it.told.is_none() && slot.seat() == seat);
            users.fold((0, 0), |(n, oldest): (u32, u64), (it, _)| match n {
                0 => (1, it.age),
                n => (n + 1, oldest.min(it.age)),
            })
        };
        (0..seats.unwrap_or(0)).min_by_key(|seat| users(*seat)).unwrap_or(0)
    }

    /// Whoever is in the place is to go when what is in flight is done; nobody comes after.
    pub(super) fn retire(&mut self, slot: usize) {
        self.places[slot].wanted = None;
        if self.places[slot].worker.is_none() {
            return self.vacate(slot);
        }
        self.dismiss(slot);
    }

    /// Whoever is in the place is to go when what is in flight is done.
    pub(super) fn dismiss(&mut self, slot: usize) {
        let Some(worker) = &mut self.places[slot].worker else { return };
        if worker.told.is_some() {
            return;
        }
        self.board[slot].set_retires();
        worker.body.tell(StopMode::Graceful);
        worker.told = Some(StopMode::Graceful);
        worker.kill_at_ms = worker.kill_at_ms.min(monotonic_ms() + worker.grace_ms());
    }

    /// The place is free for another use.
    pub(super) fn vacate(&mut self, slot: usize) {
        self.return_ticket(slot);
        self.places[slot] = Place::default();
    }

    /// Begins the reload that was asked for, if it is time for one.
    fn begin_reload(&mut self) {
        if self.roll.is_some() || !self.was_ready || !self.reload_asked {
            return;
        }
        self.reload_asked = false;
        let plan = self.handle.take_reload();
        if self.lame_until_ms.is_some() {
            let text = "reload: the arbiter was told to stop";
            return self.tell_reloaded(Some(Error::new(Kind::State, text)));
        }
        log!(self.log, Info, TARGET, "Hang up: Master");
        self.tell(Event::Reloading);
        let (number, from) = (self.generations + 1, self.pools.clone());
        let made = match plan {
            None => {
                let again = from.iter().map(|pool| pool.again(number)).collect();
                Ok((again, self.observer.clone()))
            }
            Some(plan) => self.planned(number, plan),
        };
        match made {
            Err(failure) => self.tell_reloaded(Some(failure)),
            Ok((to, observer)) => {
                for pool in &to {
                    let of = OfPool(pool.name());
                    let listeners = pool.goal.listeners.iter();
                    let first = listeners.filter(|it| it.seat().unwrap_or(0) == 0);
                    for listening in first.filter(|it| !self.listens_on(it)) {
                        log!(self.log, Info, TARGET, "Listening at: {}{of}", listening.local());
                    }
                }
                self.generations = number;
                self.roll = Some(Roll { from, to: to.clone(), observer, failure: None });
                self.aim_at(to);
            }
        }
    }

    /// The pools of a plan, and who is to be told of them.
    fn planned(&self, number: u32, plan: Plan) -> Result<(Vec<Pool>, Option<Observer>)> {
        self.fits(&plan.pools)?;
        let there: Vec<_> = self.listeners().cloned().collect();
        let listeners = (plan.bind)(&there)?;
        let pools = plan.pools.into_iter().zip(listeners);
        let to = pools.map(|(pool, listeners)| Pool::of(number, pool, listeners, &plan.log));
        Ok((to.collect(), plan.observer))
    }

    /// Tells those of the generation that is on its way, too, if they are others.
    pub(super) fn tell_new(&self, event: Event<'_>) {
        let Some(new) = self.roll.as_ref().and_then(|roll| roll.observer.as_ref()) else { return };
        if !self.observer.as_ref().is_some_and(|observer| Arc::ptr_eq(observer, new)) {
            new(&self.handle, event);
        }
    }

    fn aim_at(&mut self, pools: Vec<Pool>) {
        let before = self.target();
        self.settings = pools[0].goal.settings.clone();
        self.log = pools[0].goal.arbiters_log.clone();
        self.pools = pools;
        self.show();
        self.tell_count(before);
    }

    fn fits(&self, pools: &[PoolPlan]) -> Result<()> {
        check(pools.iter().map(|pool| (&*pool.settings.pool, pool.settings.workers)))?;
        if pools.iter().any(|pool| pool.settings.way != self.settings.way) {
            let text = "worker_model cannot change by a reload";
            return Err(Error::new(Kind::Unsupported, text));
        }
        if self.settings.way == Way::Exec {
            let text = "worker_model = exec: workers have their configuration from the program";
            return Err(Error::new(Kind::Unsupported, text));
        }
        Ok(())
    }

    /// A worker did not boot: during a reload that is the reload's end, and the workers of before
    /// serve on.
    pub(super) fn roll_back(&mut self, slot: usize, worker: &Worker, exit: Option<Exit>) -> bool {
        let is_new = self.roll.as_ref().is_some_and(|roll| {
            let is_to = |pool: &Pool| Arc::ptr_eq(&worker.generation, &pool.goal);
            roll.failure.is_none() && roll.to.iter().any(is_to)
        });
        if !is_new {
            return false;
        }
        let (who, verdict) = (&worker.body, worker.verdict);
        let (kind, how, status) = match (exit, verdict) {
            (_, Some(_)) | (None, _) => {
                let ms = worker.generation.settings.boot_timeout.as_millis();
                (Kind::Timeout, format!("was not ready within {ms} ms"), 3)
            }
            (Some(Exit::Code(4)), _) => (Kind::App, "could not load the application".to_owned(), 4),
            (Some(Exit::Code(code)), _) => (Kind::App, format!("exited with code {code}"), 3),
            (Some(Exit::Signal(signal)), _) => {
                let name = crate::sys::signal::name(signal);
                (Kind::App, format!("was ended by {name} before it was ready"), 3)
            }
            (Some(Exit::Unknown), _) => (Kind::App, "ended before it was ready".to_owned(), 3),
        };
        let failure = Error::new(kind, format!("reload: worker ({who}) {how}"));
        self.revert(failure.with_exit_status(status));
        if exit.is_some() {
            self.vacate(slot);
        }
        true
    }

    fn revert(&mut self, failure: Error) {
        let Some(roll) = &mut self.roll else { return };
        let (from, to) = (roll.from.clone(), roll.to.clone());
        roll.failure = Some(failure);
        self.aim_at(from);
        // Those that are ready serve until others have come back for them.
        for slot in 0..self.places.len() {
            let place = &self.places[slot];
            let is_new = place
                .wanted
                .as_ref()
                .is_some_and(|wanted| to.iter().any(|pool| Arc::ptr_eq(wanted, &pool.goal)));
            if is_new && !place.is_ready() {
                self.retire(slot);
            }
        }
    }

    fn end_reload(&mut self) {
        let Some(roll) = self.roll.take() else { return };
        // Nobody listens there any more.
        let gone = if roll.failure.is_none() { &roll.from } else { &roll.to };
        let gone = gone.iter().flat_map(|pool| &pool.goal.listeners);
        gone.filter(|one| !self.listens_on(one)).for_each(|one| one.close());
        let ended_well = roll.failure.is_none();
        self.tell_reloaded(roll.failure);
        if ended_well {
            self.observer = roll.observer;
        }
    }

    /// The arbiter stops: so does the reload, if there is one.
    pub(super) fn abandon_reload(&mut self) {
        let Some(roll) = self.roll.take() else { return };
        for pool in roll.from.iter().chain(&roll.to) {
            pool.goal.listeners.iter().for_each(|listening| listening.close());
        }
        let text = "reload: the arbiter was told to stop";
        let failure = roll.failure.unwrap_or_else(|| Error::new(Kind::State, text));
        self.tell_reloaded(Some(failure));
    }

    fn tell_reloaded(&self, failure: Option<Error>) {
        let tally = self.handle.tally();
        self.board.count_reload(failure.is_none());
        match &failure {
            None => {
                tally.reloads.fetch_add(1, Ordering::Relaxed);
                let number = self.generations;
                log!(self.log, Info, TARGET, "Reloaded: all workers are of generation {number}");
            }
            Some(failure) => {
                tally.reloads_failed.fetch_add(1, Ordering::Relaxed);
                log!(self.log, Error, TARGET, "{failure}");
                if matches!(self.phase, Phase::Running) {
                    log!(self.log, Error, TARGET, "Reload failed: what was there serves on");
                }
            }
        }
        self.tell(Event::Reloaded(failure.as_ref()));
    }
}

impl Place {
    fn is_ready(&self) -> bool {
        self.wanted.is_some() && self.worker.as_ref().is_some_and(|worker| worker.ready)
    }

    /// Somebody is here, or is to come.
    fn is_taken(&self) -> bool {
        match &self.worker {
            Some(worker) => !worker.is_lost(),
            None => self.wanted.is_some(),
        }
    }

    /// The same, of a pool.
    fn is_taken_by(&self, pool: &str) -> bool {
        let worker = self.worker.as_ref().map(|worker| worker.generation.pool());
        let whose = worker.or_else(|| self.wanted.as_ref().map(|wanted| wanted.pool()));
        self.is_taken() && whose.is_some_and(|whose| **whose == *pool)
    }
}
