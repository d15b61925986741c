//! Application threads: what is given to them, what they do with it, what comes back.
//!
//! A request goes to a thread whole: the slot with its buffers and its exchange, and the use of the
//! socket.  Until it comes back the loop keeps its hands off the connection.  It comes back when the
//! request is over, or when the client must take something before the application can go on: a
//! thread never waits for a slow client, except inside write() and read(), which say so.

use std::os::fd::RawFd;

use crate::base::error::Result;
use crate::gateway::exchange::{Phase, Progress};
use crate::gateway::flight::{self, Recorder, Seat};
use crate::run::pool::{Pool, Work};
use crate::sys::clock;

use super::link::{Context, Wire};
use super::slot::{Sent, Slot};

/// What a thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Take the request further.
    Go,
    /// End it: its client is gone, and so is the socket.
    Abort,
}

/// A request on its way to a thread, and back.
#[derive(Debug)]
pub(super) struct Job {
    /// The connection's key.
    pub(super) key: u64,
    pub(super) fd: RawFd,
    pub(super) slot: Box<Slot>,
    pub(super) task: Task,
    /// Something could not be sent, or was not done: nothing can follow it.
    pub(super) broken: bool,
}

impl Job {
    pub(super) fn new(key: u64, fd: RawFd, slot: Box<Slot>, task: Task) -> Self {
        Job { key, fd, slot, task, broken: false }
    }
}

/// The threads of a worker.
pub(super) fn hire(threads: usize, context: &Context, recorder: &Recorder) -> Result<Pool<Job>> {
    let limit = context.setup.settings.queue_limit as usize;
    Pool::new(threads, limit, |index| -> Work<Job> {
        let mut context = Context { seat: recorder.seat(1 + index), ..context.clone() };
        Box::new(move |job| {
            context.tell_time();
            context.seat.enter(job.slot.flight.get(), context.now);
            let _inside = Inside(&context.seat);
            // Stays so after a panic.
            job.broken = true;
            job.broken = work(job, &context);
        })
    })
}

/// In the application, also if that panics.
struct Inside<'a>(&'a Seat);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Says whether the connection is broken.
fn work(job: &mut Job, context: &Context) -> bool {
    let wire = Wire { fd: job.fd, slot: &job.slot, context };
    let broken = do_it(job.task, &wire);
    if !wire.is_taken() {
        return broken;
    }
    // Nobody waits for what has come of it.
    let x = &job.slot.exchange;
    if !x.is_committed() {
        x.expire();
    }
    // A handle that is still out has to be given up first: the loop sees to that.
    if !x.must_stay() {
        x.abort(&wire);
    }
    x.out().clear();
    true
}

fn do_it(task: Task, wire: &Wire<'_>) -> bool {
    let Wire { slot, context, .. } = *wire;
    let x = &slot.exchange;
    {
        let mut out = x.out();
        out.defer_releases(false);
        out.release_spent();
    }
    if task == Task::Abort || context.control.is_quick() {
        x.abort(wire);
        return false;
    }
    if x.phase() == Phase::Reading {
        let now = clock::monotonic_ns();
        let limit = context.setup.settings.queue_timeout;
        if !limit.is_zero() && u128::from(now - slot.queued.get()) > limit.as_nanos() {
            x.shed(wire);
            return false;
        }
        slot.called.set(now);
        x.run(wire);
        if x.is_later() {
            // The rest is the loop's.
            return false;
        }
    }
    loop {
        if context.control.is_quick() {
            x.abort(wire);
            return false;
        }
        if x.advance(wire) != Progress::Flush {
            break;
        }
        let sent = wire.send();
        if x.is_committed() {
            context.seat.set_phase(slot.flight.get(), flight::Phase::Write);
        }
        context.seat.stay(clock::monotonic_ms());
        match sent {
            Ok(Sent::All) => {}
            // The loop waits for the client.
            Ok(Sent::Blocked | Sent::Enough) => return false,
            Err(_) => {
                x.abort(wire);
                return true;
            }
        }
    }
    context.seat.set_phase(slot.flight.get(), flight::Phase::Write);
    // What is left goes out from here: it need not wait for the loop.
    wire.send().is_err()
}
