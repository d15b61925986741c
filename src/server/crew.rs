//! Application threads: what is given to them, what they do with it, what comes back.
//!
//! A request goes to a thread whole: the slot with its buffers and its exchange, and the use of the
//! socket.  Until it comes back the loop keeps its hands off the connection.  It comes back when the
//! request is over, or when the client must take something before the application can go on: a
//! thread never waits for a slow client, except inside write() and read(), which say so.

use std::os::fd::RawFd;

use crate::base::error::Result;
use crate::gateway::exchange::{Phase, Progress};
use crate::run::pool::{Pool, Work};
use crate::sys::clock;

use super::slot::{self, Context, Sent, Slot, Wire};

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
pub(super) fn hire(threads: usize, context: &Context) -> Result<Pool<Job>> {
    let limit = context.setup.settings.queue_limit as usize;
    Pool::new(threads, limit, || -> Work<Job> {
        let mut context = context.clone();
        Box::new(move |job| {
            context.tell_time();
            // Stays so after a panic.
            job.broken = true;
            job.broken = work(job, &context);
        })
    })
}

/// Says whether the connection is broken.
fn work(job: &mut Job, context: &Context) -> bool {
    let slot = &*job.slot;
    let x = &slot.exchange;
    let wire = Wire { fd: job.fd, slot, context };
    {
        let mut out = x.out();
        out.defer_releases(false);
        out.release_spent();
    }
    if job.task == Task::Abort || context.control.is_quick() {
        x.abort(&wire);
        return false;
    }
    if x.phase() == Phase::Reading {
        let now = clock::monotonic_ns();
        slot.called.set(now);
        let limit = context.setup.settings.queue_timeout;
        if !limit.is_zero() && u128::from(now - slot.queued.get()) > limit.as_nanos() {
            x.shed(&wire);
            return false;
        }
        x.run(&wire);
        if x.is_later() {
            // The rest is the loop's.
            return false;
        }
    }
    loop {
        if context.control.is_quick() {
            x.abort(&wire);
            return false;
        }
        if x.advance(&wire) != Progress::Flush {
            break;
        }
        match slot::flush(wire.fd, x, context.sigpipe_ignored) {
            Ok(Sent::All) => {}
            // The loop waits for the client.
            Ok(Sent::Blocked | Sent::Enough) => return false,
            Err(_) => {
                x.abort(&wire);
                return true;
            }
        }
    }
    // What is left goes out from here: it need not wait for the loop.
    slot::flush(wire.fd, x, context.sigpipe_ignored).is_err()
}
