//! What a connection waits for, for how long, and what happens when that was too long.

use std::time::Duration;

use crate::base::error::Kind;
use crate::gateway::exchange::Phase;
use crate::server::engine::Core;
use crate::server::link::Wire;
use crate::server::record;
use crate::wire::Reject;

use super::{Conn, Fate, LINGER_MS};

/// How long a connection that never asked for anything may still do so when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// How long a connection that is kept may ask for something when the server stops: gunicorn's time.
/// Its client may have done so already, and cannot know that nobody would answer.
const KEPT_PATIENCE: Duration = Duration::from_secs(2);

/// What a connection waits for, and so which deadline is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The first octet of its first request.
    First,
    /// The rest of a head; counts from the head's first octet.
    Head,
    /// Another request.
    Idle,
    /// More of a body; counts from the last octet.
    Body,
    /// That the client takes what we send; counts from the last octet taken.
    Write,
    /// The application.
    App,
    /// The client's end, after ours.
    Linger,
}

impl Conn {
    /// The server stops: time for another request begins anew, and is short.
    pub(in crate::server) fn hurry(&mut self) {
        self.progress |= matches!(self.waiting, Waiting::First | Waiting::Idle);
    }

    pub(super) fn wait(&mut self, what: Waiting) -> Option<Fate> {
        self.waiting = what;
        Some(Fate::Wait)
    }

    /// Set the deadline of what is waited for, and watch the socket for it.
    pub(super) fn schedule(&mut self, key: u64, before: Waiting, core: &mut Core) {
        // An event that brought nothing of what is waited for does not give it more time.
        let goes_on = self.waiting == before
            && self.waiting != Waiting::App
            && self.limit != u64::MAX
            && !self.progress;
        self.progress = false;
        if !goes_on {
            let terms = &*self.terms;
            let timeout = match self.waiting {
                // Who has just come was promised an answer, and must ask for it now.
                Waiting::First if core.context.stopping => match terms.header_timeout {
                    Duration::ZERO => STOP_PATIENCE,
                    timeout => timeout.min(STOP_PATIENCE),
                },
                Waiting::First | Waiting::Head => terms.header_timeout,
                Waiting::Idle if core.context.stopping => terms.keepalive.min(KEPT_PATIENCE),
                Waiting::Idle => terms.keepalive,
                Waiting::Body => terms.body_timeout,
                Waiting::Write => terms.write_timeout,
                Waiting::Linger => Duration::from_millis(LINGER_MS),
                // What waits for a thread has a deadline, see `expire`; and what waits to be taken.
                Waiting::App if self.away && self.uncalled => {
                    core.context.setup.settings.queue_timeout
                }
                Waiting::App => Duration::ZERO,
            };
            self.limit = match timeout.as_millis() as u64 {
                0 if self.waiting == Waiting::App && !self.away => self.take_until,
                0 => u64::MAX,
                ms => core.context.now + ms,
            };
        }
        self.deadline = self.limit.min(self.resume_at());
        if core.context.limited {
            self.deadline = self.deadline.min(self.overdue_at(core));
        }
        core.arm(key, self);
        core.watch(key, self, self.waiting == Waiting::Write);
    }

    /// When an iterator wants to be asked again, should it have nothing else to wait for but input.
    fn resume_at(&self) -> u64 {
        let resume_at = match (self.waiting, &self.slot) {
            (Waiting::App | Waiting::Body, Some(slot)) => slot.exchange.resume_at(),
            _ => None,
        };
        resume_at.unwrap_or(u64::MAX)
    }

    /// Watch for room to write; whether that is new.
    pub(in crate::server) fn want_write(&mut self, on: bool) -> bool {
        std::mem::replace(&mut self.wants_write, on) != on
    }

    /// The deadline has passed.
    pub(in crate::server) fn expire(&mut self, key: u64, core: &mut Core) -> Fate {
        if core.context.limited
            && let Some(fate) = self.check_limits(key, core)
        {
            return fate;
        }
        if self.limit > core.context.now {
            // Only an iterator's time has come.
            return self.expire_handle(key, core);
        }
        let counters = core.context.service.counters();
        match self.waiting {
            Waiting::First => {
                counters.header_timeouts.up();
                Fate::Close
            }
            Waiting::Idle => {
                counters.idle_closed.up();
                Fate::Close
            }
            Waiting::Linger => Fate::Close,
            Waiting::Write => {
                counters.write_timeouts.up();
                record::too_slow(
                    &core.context,
                    self.peer.address(),
                    "took nothing",
                    ("write_timeout", self.terms.write_timeout),
                );
                Fate::Reset
            }
            Waiting::App if self.away => match core.withdraw(key) {
                Some(job) => {
                    self.returned(job);
                    self.overdue(key, core)
                }
                None => {
                    // A thread has it: only its own time is left.
                    self.limit = u64::MAX;
                    if core.context.limited {
                        self.look_again(key, core, 0);
                    }
                    Fate::Wait
                }
            },
            Waiting::App => self.expire_handle(key, core),
            Waiting::Head => {
                counters.header_timeouts.up();
                self.timed_out(key, core, "the request head took too long")
            }
            Waiting::Body => {
                counters.body_timeouts.up();
                record::too_slow(
                    &core.context,
                    self.peer.address(),
                    "sent nothing",
                    ("body_timeout", self.terms.body_timeout),
                );
                self.timed_out(key, core, "the request body took too long")
            }
        }
    }

    /// Nobody has taken the request in time, or an iterator is to be resumed.
    fn expire_handle(&mut self, key: u64, core: &mut Core) -> Fate {
        let now = core.context.now;
        let overdue = self.take_until <= now;
        if overdue {
            self.take_until = u64::MAX;
        }
        if let Some(slot) = &self.slot
            && let Some(shared) = slot.exchange.deferred()
        {
            shared.tick(now);
            if overdue
                && let Some(pulled) = &core.context.pulled
                && let Some(request) = pulled.withdraw(shared)
            {
                request.shed();
            }
        }
        self.drive(key, core)
    }

    /// No thread had time for the request.
    pub(super) fn overdue(&mut self, key: u64, core: &mut Core) -> Fate {
        if let Some(slot) = &self.slot {
            let wire = Wire { fd: self.fd(), slot, context: &core.context };
            slot.exchange.shed(&wire);
        }
        self.drive(key, core)
    }

    fn timed_out(&mut self, key: u64, core: &mut Core, reason: &'static str) -> Fate {
        let Some(mut slot) = self.slot.take() else {
            return Fate::Close;
        };
        match slot.exchange.phase() {
            Phase::Idle => {
                let reject = Reject { status: 408, reason, limit: None };
                if slot.decoder.borrow().is_in_head() {
                    let is_head = slot.buf.borrow().unread().starts_with(b"HEAD ");
                    self.refuse(&mut slot, core, reject, is_head);
                } else {
                    // The rest of a body whose request has its answer.
                    self.give_up(&mut slot, core, reject);
                }
            }
            Phase::Reading => {
                let wire = Wire { fd: self.fd(), slot: &slot, context: &core.context };
                let last = !slot.decoder.borrow_mut().may_recover();
                self.lingers |= last;
                slot.exchange.refuse(&wire, 408, reason, last);
            }
            Phase::Running | Phase::Draining | Phase::Done => {
                slot.exchange.input().fail(Kind::Timeout);
            }
        }
        self.waiting = Waiting::App;
        self.slot = Some(slot);
        self.drive(key, core)
    }
}
