//! How many workers there are, and of which generation: a reload, and a change of their number, are
//! steps of one rule, taken at each turn until all is as it should be.
//!
//! A new worker comes first, and the oldest one goes when that is ready.  A reload whose worker does
//! not boot goes back in the same way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::arbiter::{Arbiter, Phase, Place, Worker, check};
use super::board::Board;
use super::control::StopMode;
use super::settings::{Event, Observer, Settings, TARGET, WORKERS_MAX, Way};
use super::worker::WorkerContext;
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Logger, log};
use crate::sys::clock::monotonic_ms;
use crate::sys::listen::Listening;
use crate::sys::proc::Exit;
use crate::sys::signal::SIGUSR1;

/// One configuration.
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) settings: Settings,
    pub(super) listeners: Vec<Arc<Listening>>,
    pub(super) main: Arc<dyn Fn(&WorkerContext<'_>) -> i32 + Send + Sync>,
    pub(super) log: Logger,
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
    pub(super) from: Arc<Generation>,
    pub(super) to: Arc<Generation>,
    /// How many workers there were to be.
    target: usize,
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
        let ready = self.places.iter().filter(|place| place.is_ready()).count();
        if !self.was_ready && ready >= self.target {
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
            self.board.return_ticket(age);
        }
    }

    /// From now on there are to be so many workers.
    pub(super) fn set_target(&mut self, workers: usize) {
        let (now, before) = (workers.clamp(1, WORKERS_MAX), self.target);
        if now != before {
            log!(self.log, Info, TARGET, "{now} workers instead of {before}");
            self.target = now;
            self.handle.tally().target.store(now as u64, Ordering::Relaxed);
            self.tell(Event::Count { now, before });
        }
    }

    /// Takes the steps that are possible towards `target` workers of the generation `goal`.
    pub(super) fn level(&mut self) {
        self.begin_reload();
        let target = if self.rests { 0 } else { self.target };
        let is_goal = |place: &Place| {
            place.wanted.as_ref().is_some_and(|wanted| Arc::ptr_eq(wanted, &self.goal))
        };
        let slots = 0..self.places.len();
        let (mut new, mut old): (Vec<usize>, Vec<usize>) = slots
            .filter(|slot| self.places[*slot].wanted.is_some())
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
            workers.any(|it| !it.is_lost() && !Arc::ptr_eq(&it.generation, &arbiter.goal))
        };
        let rolls = self.roll.is_some() && (!old.is_empty() || others(self));
        for _ in new.len()..target {
            let there = self.places.iter().filter(|place| place.is_taken()).count();
            if rolls && there >= target + self.settings.reload_parallel {
                break;
            }
            let Some(slot) = self.free_place() else { break };
            self.places[slot].wanted = Some(Arc::clone(&self.goal));
            // A failure here is no failure to start.
            self.places[slot].has_served = true;
            new.push(slot);
        }
        let is_back = self.roll.as_ref().is_some_and(|roll| roll.failure.is_some());
        if !rolls && (is_back || (new.len() == target && ready == target)) {
            self.end_reload();
        }
    }

    /// The first place that nobody has.
    fn free_place(&mut self) -> Option<usize> {
        let free = self.places.iter().position(|it| it.wanted.is_none() && it.worker.is_none());
        if free.is_none() && self.places.len() < Board::PLACES {
            self.places.push(Place::default());
            return Some(self.places.len() - 1);
        }
        free
    }

    /// The socket of its own for the next worker, if each has one: nobody's, or that of the worker
    /// that is the next to go.
    pub(super) fn free_seat(&self, generation: &Generation) -> u32 {
        let seats = generation.listeners.iter().filter_map(|it| Some(it.seat()? + 1)).max();
        let users = |seat: u32| {
            let workers = self.places.iter().zip(self.board.iter());
            let there = workers.filter_map(|(place, slot)| Some((place.worker.as_ref()?, slot)));
            let users = there.filter(|(it, slot)| it.told.is_none() && slot.seat() == seat);
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
        let (number, from) = (self.generations + 1, Arc::clone(&self.goal));
        let made = match plan {
            None => {
                let (settings, listeners) = (from.settings.clone(), from.listeners.clone());
                let (main, log) = (Arc::clone(&from.main), from.log.clone());
                let to = Generation { number, settings, listeners, main, log };
                Ok((to, self.observer.clone(), self.target))
            }
            Some(plan) => self.fits(&plan.settings).and_then(|()| {
                let listeners = (plan.bind)(&from.listeners)?;
                let target = plan.settings.workers;
                let main = plan.main.into();
                let to =
                    Generation { number, settings: plan.settings, listeners, main, log: plan.log };
                Ok((to, plan.observer, target))
            }),
        };
        match made {
            Err(failure) => self.tell_reloaded(Some(failure)),
            Ok((to, observer, target)) => {
                for listening in &to.listeners {
                    if listening.seat().unwrap_or(0) == 0
                        && !from.listeners.iter().any(|it| Arc::ptr_eq(it, listening))
                    {
                        log!(self.log, Info, TARGET, "Listening at: {}", listening.local());
                    }
                }
                self.generations = number;
                let to = Arc::new(to);
                let before = self.target;
                self.aim_at(&to);
                self.roll = Some(Roll { from, to, target: before, observer, failure: None });
                self.set_target(target);
            }
        }
    }

    /// Tells those of the generation that is on its way, too, if they are others.
    pub(super) fn tell_new(&self, event: Event<'_>) {
        let Some(new) = self.roll.as_ref().and_then(|roll| roll.observer.as_ref()) else { return };
        if !self.observer.as_ref().is_some_and(|observer| Arc::ptr_eq(observer, new)) {
            new(&self.handle, event);
        }
    }

    fn aim_at(&mut self, goal: &Arc<Generation>) {
        self.goal = Arc::clone(goal);
        self.handle.set_listeners(&goal.listeners);
        self.settings = goal.settings.clone();
        self.log = goal.log.clone();
    }

    fn fits(&self, settings: &Settings) -> Result<()> {
        check(settings)?;
        if settings.way != self.settings.way {
            let text = "worker_model cannot change by a reload";
            return Err(Error::new(Kind::Unsupported, text));
        }
        if settings.way == Way::Exec {
            let text = "worker_model = exec: workers have their configuration from the program";
            return Err(Error::new(Kind::Unsupported, text));
        }
        Ok(())
    }

    /// A worker did not boot: during a reload that is the reload's end, and the workers of before
    /// serve on.
    pub(super) fn roll_back(&mut self, slot: usize, worker: &Worker, exit: Option<Exit>) -> bool {
        let is_new = self.roll.as_ref().is_some_and(|roll| {
            roll.failure.is_none() && Arc::ptr_eq(&worker.generation, &roll.to)
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
        let (from, to) = (Arc::clone(&roll.from), Arc::clone(&roll.to));
        let target = roll.target;
        roll.failure = Some(failure);
        self.aim_at(&from);
        self.set_target(target);
        // Those that are ready serve until others have come back for them.
        for slot in 0..self.places.len() {
            let place = &self.places[slot];
            let is_new = place.wanted.as_ref().is_some_and(|wanted| Arc::ptr_eq(wanted, &to));
            if is_new && !place.is_ready() {
                self.retire(slot);
            }
        }
    }

    fn end_reload(&mut self) {
        let Some(roll) = self.roll.take() else { return };
        // Nobody listens there any more.
        let gone = if roll.failure.is_none() { &roll.from } else { &roll.to };
        gone.close_but(&self.goal);
        let ended_well = roll.failure.is_none();
        self.tell_reloaded(roll.failure);
        if ended_well {
            self.observer = roll.observer;
        }
    }

    /// The arbiter stops: so does the reload, if there is one.
    pub(super) fn abandon_reload(&mut self) {
        let Some(roll) = self.roll.take() else { return };
        for generation in [&roll.from, &roll.to] {
            generation.listeners.iter().for_each(|listening| listening.close());
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
                let number = self.goal.number;
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
}
