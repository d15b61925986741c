//! From a request that is there to the end of its answer: the call of the application, what it
//! produces, and what the connection is good for afterwards.

use crate::base::error::Kind;
use crate::gateway::exchange::{Outcome, Phase, Progress};
use crate::gateway::flight;
use crate::server::engine::{Core, Verdict};
use crate::server::link::Wire;
use crate::server::record;
use crate::server::slot::{Fed, Sent, Slot};
use crate::sys::{clock, sock};

use super::timing::Waiting;
use super::{Conn, Fate};

impl Conn {
    #[inline(always)]
    pub(super) fn call(&mut self, slot: &mut Slot, core: &mut Core) -> Option<Fate> {
        if core.admission.is_some() && !self.is_admitted(slot, core) {
            return None;
        }
        if core.context.limited {
            // What ran before it in this turn took time of its own.
            core.context.tell_time();
            self.limits.begin(&core.context);
        }
        if core.is_for_crew(slot) {
            return Some(Fate::Away);
        }
        if core.context.timed {
            slot.called.set(clock::monotonic_ns());
        }
        if core.context.pulled.is_some() {
            let patience = core.context.setup.settings.queue_timeout.as_millis() as u64;
            self.take_until = if patience > 0 { core.context.now + patience } else { u64::MAX };
        }
        let wire = Wire { fd: self.fd(), slot, context: &core.context };
        let (seat, request) = (&core.context.seat, slot.flight.get());
        seat.enter(request, core.context.now);
        slot.exchange.run(&wire);
        seat.leave();
        if core.context.limited {
            self.limits.look_back(slot, core);
        }
        match slot.exchange.phase() {
            Phase::Done => self.complete(slot, core),
            _ => None,
        }
    }

    /// Whether the request reaches the application.
    #[inline(never)]
    fn is_admitted(&mut self, slot: &Slot, core: &Core) -> bool {
        let Some(admission) = &core.admission else { return true };
        let x = &slot.exchange;
        let wire = Wire { fd: self.fd(), slot, context: &core.context };
        if admission.show(&wire, &self.terms) {
            return false;
        }
        match admission.verdict(x, &core.context.service) {
            Verdict::Enter => x.admit(),
            Verdict::Full => x.turn_away(&wire),
            Verdict::Lame => x.say_lame(&wire),
            Verdict::Nowhere => x.miss(&wire),
        }
        x.phase() == Phase::Reading
    }

    /// The application has been called: take from it what the client takes from us.
    pub(super) fn produce(&mut self, slot: &mut Slot, core: &mut Core) -> Option<Fate> {
        let away = core.is_for_crew(slot) && slot.exchange.needs_app();
        if core.context.limited {
            core.context.tell_time();
        }
        let wire = Wire { fd: self.fd(), slot, context: &core.context };
        let progress = match away {
            true => slot.exchange.idles().unwrap_or(Progress::Flush),
            false => {
                let seat = &core.context.seat;
                seat.enter(slot.flight.get(), core.context.now);
                let progress = slot.exchange.advance(&wire);
                seat.leave();
                progress
            }
        };
        if progress == Progress::Done {
            return None;
        }
        match self.send(slot, core) {
            Ok(Sent::All) => {}
            Ok(Sent::Blocked) => return self.wait(Waiting::Write),
            Ok(Sent::Enough) => return Some(Fate::Again),
            Err(_) => return Some(Fate::Reset),
        }
        if core.context.limited {
            // The arbiter sees that the answer has begun.
            note_phase(slot, core);
        }
        match progress {
            Progress::Flush => return away.then_some(Fate::Away),
            Progress::Wait => return self.wait_for_handle(slot),
            Progress::Input | Progress::Done => {}
        }
        // It asked for more of the body.
        match slot.feed() {
            Fed::More(true) | Fed::Full | Fed::End => return None,
            Fed::More(false) => {}
            Fed::Rejected(reject) => {
                record::body_refused(&core.context, &self.terms, &slot.exchange, &reject);
                let kind = if reject.limit.is_some() { Kind::Limit } else { Kind::Protocol };
                slot.exchange.input().fail(kind);
                return None;
            }
        }
        if slot.eof.get() {
            slot.exchange.input().fail(Kind::Closed);
            return None;
        }
        let nobody_waits = slot.exchange.is_later() && slot.exchange.input().rest() > 0;
        self.read_more(slot, if nobody_waits { Waiting::App } else { Waiting::Body })
    }

    /// Nothing happens until whoever has the handle says so.
    fn wait_for_handle(&mut self, slot: &Slot) -> Option<Fate> {
        if self.ended && sock::peer_gone(self.fd()) {
            slot.exchange.client_left();
        }
        self.wait(Waiting::App)
    }

    /// A request is over.
    #[inline(always)]
    pub(super) fn complete(&mut self, slot: &mut Slot, core: &mut Core) -> Option<Fate> {
        core.forget(slot);
        let outcome = slot.exchange.outcome();
        let unread = {
            let input = slot.exchange.input();
            input.is_open() || input.failure().is_some() || slot.decoder.get_mut().is_open()
        };
        slot.buf.get_mut().unpin();
        slot.decoder.get_mut().finish();
        slot.exchange.reset();
        self.waiting = Waiting::App;
        match outcome {
            Outcome::KeepAlive => None,
            Outcome::Told if self.has_others() => None,
            Outcome::Told | Outcome::Close => {
                self.closing = true;
                // Whoever did not ask for the end may have sent more already (RFC 9112 9.6).
                self.lingers |= unread
                    || slot.decoder.borrow().asked().keep_alive
                    || !slot.buf.borrow().unread().is_empty();
                None
            }
            Outcome::Cut => Some(Fate::Reset),
        }
    }
}

/// What waits is seen to wait for the right thing.
pub(super) fn note_phase(slot: &Slot, core: &Core) {
    let x = &slot.exchange;
    let phase = match x.phase() {
        Phase::Idle | Phase::Reading | Phase::Done => return,
        Phase::Running | Phase::Draining if x.is_committed() => flight::Phase::Write,
        Phase::Running | Phase::Draining if x.is_later() => flight::Phase::Later,
        Phase::Running | Phase::Draining => flight::Phase::App,
    };
    core.context.seat.set_phase(slot.flight.get(), phase);
}
