//! Application threads of a host: a request goes to one whole, and comes back when it is over, when the
//! host must take something first, or when somebody else is to answer it.

use std::sync::Arc;

use crate::base::error::Result;
use crate::gateway::exchange::{Phase, Progress};
use crate::run::pool::{Pool, Work};
use crate::sys::clock;

use super::link::{Context, Wire};
use super::slot::{Slot, bury};

/// A request on its way to a thread, and back.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: u64,
    /// None once it was taken out.
    slot: Option<Box<Slot>>,
    context: Arc<Context>,
}

impl Job {
    pub(super) fn new(key: u64, slot: Box<Slot>, context: &Arc<Context>) -> Self {
        Job { key, slot: Some(slot), context: Arc::clone(context) }
    }

    pub(super) fn into_slot(mut self) -> Option<Box<Slot>> {
        self.slot.take()
    }
}

impl Drop for Job {
    /// Nobody took it back: its host is gone.
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            bury(slot, &self.context);
        }
    }
}

pub(super) fn hire(threads: usize, context: &Context) -> Result<Pool<Job>> {
    let limit = context.setup.settings.queue_limit as usize;
    Pool::new(threads, limit, |_| -> Work<Job> {
        Box::new(|job| {
            if let Some(slot) = &job.slot {
                work(slot, &job.context);
            }
        })
    })
}

fn work(slot: &Slot, context: &Context) {
    let (x, way) = (&slot.exchange, &slot.way);
    let wire = Wire { slot, context, is_thread: true };
    way.release_spent();
    if x.phase() == Phase::Reading && !way.is_gone() {
        let now = clock::monotonic_ns();
        slot.called.set(now);
        way.took((now - slot.queued.get()).max(1));
        let limit = context.setup.settings.queue_timeout;
        if !limit.is_zero() && u128::from(now - slot.queued.get()) > limit.as_nanos() {
            x.shed(&wire);
        } else {
            way.with_fed(false, |fed, _| fed.move_to(x));
            x.run(&wire);
        }
    }
    loop {
        if !slot.send() && way.is_gone() {
            return leave(slot, context);
        }
        way.release_spent();
        // The rest of an answer that comes later is the host's thread's.
        if x.is_later() || !way.has_room(slot.ends()) || x.advance(&wire) != Progress::Flush {
            break;
        }
    }
    if !slot.send() && way.is_gone() {
        leave(slot, context);
    }
}

/// Nobody waits for it.
fn leave(slot: &Slot, context: &Context) {
    let x = &slot.exchange;
    if slot.way.is_expired() && !x.is_committed() {
        x.expire();
    }
    // What somebody still has must be given up first: the host sees to that.
    if !x.must_stay() && !slot.way.holds() {
        slot.abort(context, true);
    }
}
