//! Pools: groups of workers, each of a configuration of its own, that one arbiter watches.  Without
//! any there is one.
//!
//! A pool is known by its name, from one generation to the next.  Its places stay its own, so that
//! what was counted in them is its own, too.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::arbiter::{Arbiter, Place};
use super::board::Board;
use super::roll::Generation;
use super::settings::{Event, MAIN_POOL, TARGET, WORKERS_MAX, Who};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::log;
use crate::conf::pool::{Name, within};
use crate::sys::listen::Listening;
use crate::sys::proc::Pid;

/// What a pool is to be.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    /// What its workers are to run.
    pub(super) goal: Arc<Generation>,
    /// How many there are to be.
    pub(super) target: usize,
}

impl Pool {
    pub(super) fn name(&self) -> &Arc<str> {
        self.goal.pool()
    }
}

impl Generation {
    /// Whose it is.
    pub(super) fn pool(&self) -> &Arc<str> {
        &self.settings.pool
    }

    /// A worker of it.
    pub(super) fn who(&self, pid: Pid, slot: usize) -> Who {
        Who { pid, slot, generation: self.number, pool: Name::of(self.pool()) }
    }
}

impl Place {
    /// Whether a worker of this pool is to be here.
    pub(super) fn is_wanted_by(&self, pool: &str) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| **wanted.pool() == *pool)
    }
}

/// What follows the name of a worker, or of a socket, in a line of the log, unless its pool is the one
/// that needs no name.
pub(super) struct OfPool<'a>(pub(super) &'a str);

impl fmt::Display for OfPool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            MAIN_POOL => Ok(()),
            name => write!(f, ", pool {name}"),
        }
    }
}

impl Arbiter {
    /// What it listens on, for all pools.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Arc<Listening>> {
        self.pools.iter().flat_map(|pool| &pool.goal.listeners)
    }

    /// Tells those who ask from elsewhere what there is.
    pub(super) fn show(&self) {
        let listeners: Vec<_> = self.listeners().cloned().collect();
        self.handle.set_listeners(&listeners);
        self.handle.set_pools(self.pools.iter().map(|pool| Arc::clone(pool.name())).collect());
        self.show_target();
    }

    /// Whether some pool listens there.
    pub(super) fn listens_on(&self, listening: &Arc<Listening>) -> bool {
        self.listeners().any(|it| Arc::ptr_eq(it, listening))
    }

    fn show_target(&self) {
        let tally = self.handle.tally();
        tally.target.store(self.target() as u64, Ordering::Relaxed);
        let first = self.pools.first().map_or(0, |pool| pool.target);
        tally.first_target.store(first as u64, Ordering::Relaxed);
    }

    /// How many workers there are to be, in all pools.
    pub(super) fn target(&self) -> usize {
        self.pools.iter().map(|pool| pool.target).sum()
    }

    /// How long a stop may take, in milliseconds: as long as the slowest pool may.
    pub(super) fn graceful_ms(&self) -> u64 {
        let all = self.pools.iter().map(|pool| pool.goal.settings.graceful_timeout);
        all.max().unwrap_or_default().as_millis() as u64
    }

    /// What a pool has as a number: the same as long as this arbiter lives.
    pub(super) fn number_of(&mut self, name: &Arc<str>) -> u32 {
        let at = self.pool_names.iter().position(|known| known == name);
        let at = at.unwrap_or_else(|| {
            self.pool_names.push(Arc::clone(name));
            self.pool_names.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// A place that nobody has, of this pool from now on.  One that was another's is taken only when
    /// no other is left, and that pool is gone.
    pub(super) fn free_place(&mut self, name: &Arc<str>) -> Option<usize> {
        let number = self.number_of(name);
        let is_free = |(_, it): &(usize, &Place)| it.wanted.is_none() && it.worker.is_none();
        let is_own = |slot: usize| self.board[slot].pool() == number;
        let mut free = self.places.iter().enumerate().filter(is_free);
        if let Some((slot, _)) = free.find(|(slot, _)| is_own(*slot)) {
            return Some(slot);
        }
        if self.places.len() < Board::PLACES {
            self.places.push(Place::default());
            let slot = self.places.len() - 1;
            self.board.give(slot, number, name);
            return Some(slot);
        }
        let is_gone = |slot: usize| {
            let number = self.board[slot].pool() as usize;
            let name = self.pool_names.get(number);
            !self.pools.iter().any(|pool| Some(pool.name()) == name)
        };
        let mut free = self.places.iter().enumerate().filter(is_free);
        let (slot, _) = free.find(|(slot, _)| is_gone(*slot))?;
        self.board.give(slot, number, name);
        Some(slot)
    }

    /// From now on there are to be so many workers in one of the pools.
    pub(super) fn set_target(&mut self, pool: usize, workers: usize) {
        let before = self.target();
        let others = before - self.pools[pool].target;
        self.pools[pool].target = workers.clamp(1, WORKERS_MAX.saturating_sub(others).max(1));
        self.tell_count(before);
    }

    /// Tells how many workers there are to be, if that is another number than before.
    pub(super) fn tell_count(&self, before: usize) {
        self.show_target();
        let now = self.target();
        if now != before {
            log!(self.log, Info, TARGET, "{now} workers instead of {before}");
            self.tell(Event::Count { now, before });
        }
    }
}

/// What pools must be together.
pub(super) fn check<'a>(pools: impl Iterator<Item = (&'a str, usize)>) -> Result<()> {
    let wrong = |text: String| Err(Error::new(Kind::Invalid, text));
    let (mut names, mut sum) = (Vec::new(), 0usize);
    for (name, workers) in pools {
        if workers == 0 {
            let text = format!("workers = {workers}: an arbiter needs at least 1");
            return Err(within(name, Error::new(Kind::Invalid, text)));
        }
        if names.contains(&name) {
            return wrong(format!("pool {name} twice"));
        }
        names.push(name);
        sum = sum.saturating_add(workers);
    }
    if names.is_empty() {
        return wrong("there is no pool of workers".into());
    }
    if sum > WORKERS_MAX {
        let of = if names.len() > 1 { " in all pools" } else { "" };
        return wrong(format!("workers = {sum}{of}: an arbiter has at most {WORKERS_MAX}"));
    }
    Ok(())
}
