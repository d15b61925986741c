//! What the arbiter sees of the requests of its workers.

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use crate::arbiter::{Started, Tell, Witness};
use crate::base::error::Result;
use crate::gateway::counters::Counters;
use crate::gateway::flight::{Flights, Given, Which};
use crate::sys::clock;
use crate::sys::shm::{Mapped, Mapping, Record, Shared};

/// What workers that are programs of their own share with their arbiter, beside its board.
pub(super) fn shared(
    counters: &Arc<Shared<Counters>>,
    flights: &Arc<Flights>,
) -> Vec<Arc<dyn Mapped>> {
    let part = |n| Arc::new(Part(Arc::clone(flights), n)) as Arc<dyn Mapped>;
    let mut all: Vec<Arc<dyn Mapped>> = vec![Arc::clone(counters) as _];
    all.extend((0..flights.mappings().len()).map(part));
    all
}

/// One of the arrays of a flight recorder.
struct Part(Arc<Flights>, usize);

impl Mapped for Part {
    fn mapping(&self) -> Option<Mapping> {
        self.0.mappings()[self.1]
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Part").field(&self.mapping()).finish()
    }
}

/// What such a worker was handed.
pub(super) struct Handed<'a>(pub(super) &'a Started);

impl Given for Handed<'_> {
    fn array<T: Record>(&self, name: &'static CStr) -> Result<Shared<T>> {
        self.0.shared(name)
    }
}

/// The flight recorder, as the arbiter looks into it.
pub(super) struct Watcher(pub(super) Arc<Flights>);

impl Witness for Watcher {
    fn inside_since(&self, slot: usize) -> Option<u64> {
        self.0.inside_since(slot)
    }

    fn unanswered_since(&self, slot: usize) -> Option<u64> {
        self.0.unanswered_since(slot)
    }

    fn runs_on_loop(&self, slot: usize) -> bool {
        self.0.threads(slot) == 0
    }

    fn culprits(&self, slot: usize, until_ms: u64, tell: Tell<'_>) {
        let now = clock::monotonic_ns();
        for (since, number) in self.0.inside(slot, until_ms, true) {
            match self.0.look(slot, number, now) {
                Some(info) => tell(&info),
                None => {
                    let ms = (now / 1_000_000).saturating_sub(since);
                    tell(&format_args!("a request without a record, for {ms} ms"));
                }
            }
        }
    }

    fn in_flight(&self, slot: usize, tell: Tell<'_>) {
        self.0.each(slot, Which::InFlight, clock::monotonic_ns(), |info| tell(info));
    }

    fn served(&self, slot: usize, tell: Tell<'_>) {
        self.0.each(slot, Which::Recent, clock::monotonic_ns(), |info| {
            if !info.phase.is_in_flight() {
                tell(info);
            }
        });
    }

    fn bury(&self, slot: usize) {
        self.0.bury(slot, clock::monotonic_ns());
    }
}
