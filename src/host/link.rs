//! The way out that an exchange finds here, and what all requests of a host look up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::error::{Error, Kind, Result};
use crate::gateway::deferred::{Deferred, Mailbox};
use crate::gateway::exchange::{Exchange, Link};
use crate::gateway::service::Service;
use crate::gateway::timing::Moments;
use crate::server::record;
use crate::server::setup::Setup;
use crate::sys::clock;

use super::inbox::Inbox;
use super::slot::Slot;
use super::way::Way;

/// The foreign server says what time it is.
const NO_DATE: &[u8; 29] = &[b' '; 29];

/// What all requests look up.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) setup: Arc<Setup>,
    pub(super) service: Arc<Service>,
    pub(super) inbox: Arc<Inbox>,
    /// Whether somebody wants to know how long requests take, and in which phases.
    pub(super) timed: bool,
    pub(super) phased: bool,
    /// Whether there is a limit to it.
    pub(super) limited: bool,
    /// Applications run on threads, unless they say that they never block.
    pub(super) has_threads: bool,
    /// Nobody asks any more.
    pub(super) is_gone: AtomicBool,
}

impl Context {
    pub(super) fn new_way(&self, key: u64) -> Arc<Way> {
        let Service { output_buffer, body_buffer, .. } = *self.service;
        let inbox = Arc::clone(&self.inbox);
        Arc::new(Way::new(key, inbox, output_buffer, body_buffer, self.has_threads))
    }

    /// Whether the application of this request runs on threads.
    pub(super) fn is_for_crew(&self, slot: &Slot) -> bool {
        // One that is serial would stop the host's loop: here it has a thread.
        let x = &slot.exchange;
        self.has_threads && !(x.runs_on_loop() && x.must_not_block())
    }
}

/// A request, as its exchange sees whoever it is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire<'a> {
    pub(super) slot: &'a Slot,
    pub(super) context: &'a Context,
    /// It is driven by a thread of ours, and not by the host's.
    pub(super) is_thread: bool,
}

impl Wire<'_> {
    fn input(&self, x: &Exchange, waits: bool) -> bool {
        let (moved, is_gone) =
            self.slot.way.with_fed(waits, |fed, is_gone| (fed.move_to(x), is_gone));
        if is_gone {
            x.input().fail(Kind::Closed);
        }
        moved || is_gone
    }
}

impl Link for Wire<'_> {
    fn date(&self) -> &[u8; 29] {
        NO_DATE
    }

    fn may_block(&self) -> bool {
        self.is_thread && !self.slot.exchange.must_not_block()
    }

    fn keep_alive(&self, _x: &Exchange) -> bool {
        false
    }

    fn is_gone(&self) -> bool {
        self.slot.way.is_gone()
    }

    fn is_ready(&self) -> bool {
        !self.context.is_gone.load(Ordering::Relaxed)
    }

    fn wait_input(&self, x: &Exchange) -> Result<()> {
        self.input(x, true);
        Ok(())
    }

    fn try_input(&self, x: &Exchange) -> Result<bool> {
        Ok(self.input(x, false))
    }

    fn flush(&self, _x: &Exchange, left: u64) -> Result<()> {
        let way = &self.slot.way;
        way.release_spent();
        let wanted = self.slot.send() && (!self.may_block() || way.wait_for_room(left));
        match wanted {
            true => Ok(()),
            false => Err(Error::new(Kind::Closed, "the client has left")),
        }
    }

    fn mailbox(&self) -> (Arc<dyn Mailbox>, u64) {
        (Arc::clone(&self.context.inbox) as Arc<_>, self.slot.key.get())
    }

    fn offer(&self, request: Deferred) -> std::result::Result<(), Deferred> {
        Err(request)
    }

    fn may_commit(&self) -> bool {
        if self.context.phased {
            self.slot.answered.set(clock::monotonic_ns());
        }
        !self.context.limited || self.slot.way.commit(clock::monotonic_ms())
    }

    fn holds(&self) -> bool {
        self.slot.way.holds()
    }

    fn finished(&self, x: &Exchange) {
        if self.context.timed {
            let Slot { began, queued, called, answered, .. } = self.slot;
            let moments = Moments {
                began: began.get(),
                queued: queued.get(),
                called: called.get(),
                answered: answered.get(),
                ended: clock::monotonic_ns(),
            };
            record::told(x, &self.context.setup, &moments, self.context.phased, None);
        }
    }
}
