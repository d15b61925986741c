//! What all workers of an arbiter have counted, seen from any of them.

use crate::arbiter::{Board, MAIN_POOL, State, WorkerSlot};
use crate::gateway::counters::Counters;
use crate::gateway::flight::Flights;
use crate::gateway::metrics::{Place, Snapshot};
use crate::sys::clock;
use crate::sys::memory::resident;
use crate::sys::shm::Shared;

/// At this moment, from the memory that they share: nobody is asked.  `timed`: it is measured how long
/// requests take.
pub(super) fn snapshot(
    board: &Board,
    counters: &Shared<Counters>,
    flights: &Flights,
    timed: bool,
) -> Snapshot {
    let now = clock::monotonic_ns();
    let places = board.iter().zip(counters.iter()).enumerate();
    let places = places.map(|(n, (slot, counters))| {
        place(slot, Place::read(n, counters, flights, timed, now), now / 1_000_000)
    });
    let mut places: Vec<Place> = places.collect();
    if places.iter().all(|place| place.pool == MAIN_POOL) {
        // There is nothing to tell apart.
        places.iter_mut().for_each(|place| place.pool.clear());
    }
    let counted = board.tally();
    Snapshot {
        pid: counted.arbiter as u32,
        places,
        starts: counted.starts,
        ends: counted.ends.to_vec(),
        reloads: counted.reloads,
        reloads_failed: counted.reloads_failed,
        queues: Vec::new(),
    }
}

fn place(slot: &WorkerSlot, counted: Place, now_ms: u64) -> Place {
    let state = match slot.state() {
        State::Empty => None,
        State::Booting => Some("booting"),
        State::Ready => Some("ready"),
        State::Stopping => Some("stopping"),
    };
    let (pid, (spawns, kills)) = (slot.pid(), slot.lives());
    let age = now_ms.saturating_sub(slot.spawned_ms()) / 1000;
    Place {
        pid: pid as u32,
        state,
        generation: slot.generation(),
        spawned: if spawns > 0 { clock::realtime().as_secs().saturating_sub(age) } else { 0 },
        spawns: spawns.into(),
        kills: kills.into(),
        resident: if state.is_some() && pid > 0 { resident(pid).unwrap_or(0) } else { 0 },
        pool: slot.pool_name(),
        ends: slot.ends().to_vec(),
        accepts: state == Some("ready") && !slot.rests(),
        ..counted
    }
}
