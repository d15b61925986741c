//! What a request needs from its beginning until nothing of it is left: kept for others.

use std::cell::Cell;
use std::sync::Arc;

use crate::gateway::exchange::{Exchange, Outcome, Phase};

use super::link::{Context, Wire};
use super::way::Way;

/// Everything about a request but what only its host knows.
#[derive(Debug)]
pub(super) struct Slot {
    /// Its key at the host, or that of its place among the parked.
    pub(super) key: Cell<u64>,
    pub(super) exchange: Exchange,
    pub(super) way: Arc<Way>,
    /// Nanoseconds of the monotonic clock: when it began, was queued for a thread, when the application
    /// was called and the answer began.
    pub(super) began: Cell<u64>,
    pub(super) queued: Cell<u64>,
    pub(super) called: Cell<u64>,
    pub(super) answered: Cell<u64>,
}

impl Slot {
    pub(super) fn new(context: &Context) -> Box<Self> {
        Box::new(Slot {
            key: Cell::new(0),
            exchange: Exchange::new(Arc::clone(&context.service)),
            way: context.new_way(0),
            began: Cell::new(0),
            queued: Cell::new(0),
            called: Cell::new(0),
            answered: Cell::new(0),
        })
    }

    /// For another request.
    pub(super) fn dress(&mut self, key: u64, context: &Context) {
        self.key.set(key);
        match Arc::get_mut(&mut self.way) {
            Some(way) => way.renew(key),
            // The host still has pieces of the answer before.
            None => self.way = context.new_way(key),
        }
    }

    /// Fit for another request; counts the one that it had.
    pub(super) fn clear(&mut self) {
        self.way.release_spent();
        if self.exchange.phase() != Phase::Idle {
            self.exchange.reset();
        }
        let mut out = self.exchange.out();
        out.clear();
        out.shrink();
    }

    /// Let the host have what there is.  False: it does not want it.
    pub(super) fn send(&self) -> bool {
        let x = &self.exchange;
        let has_ended = matches!(x.phase(), Phase::Draining | Phase::Done);
        let end = has_ended.then(|| x.outcome() != Outcome::Cut);
        self.way.send(&mut x.out(), x.excuses(), end)
    }

    /// Whether only the end is left.
    pub(super) fn ends(&self) -> bool {
        self.exchange.phase() == Phase::Draining
    }

    /// Whether there is something that has to be done where the application runs.
    pub(super) fn needs_app(&self) -> bool {
        let x = &self.exchange;
        x.needs_app() || !x.is_later() && self.way.owes_release()
    }

    /// End the request, whatever it is doing: nobody wants its answer, and nothing of it is lent.
    pub(super) fn abort(&self, context: &Context, is_thread: bool) {
        self.way.release_spent();
        self.exchange.abort(&Wire { slot: self, context, is_thread });
    }
}

/// The host is gone: whoever has the last of the request ends it.
pub(super) fn bury(slot: Box<Slot>, context: &Arc<Context>) {
    if slot.exchange.must_stay()
        && let Some(shared) = slot.exchange.deferred().cloned()
    {
        let context = Arc::clone(context);
        return shared.orphan(Box::new(move || bury_unheld(slot, &context)));
    }
    bury_unheld(slot, context);
}

fn bury_unheld(slot: Box<Slot>, context: &Arc<Context>) {
    let way = Arc::clone(&slot.way);
    if let Some(mut slot) = way.adopt(slot, context) {
        slot.abort(context, false);
        slot.clear();
    }
}
