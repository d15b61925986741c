//! Time limits of a request: `request_timeout`, from the call of the application to the head of the
//! answer, and `stream_timeout`, from there to its end.

use std::sync::Arc;

use crate::base::log::{Level, log};
use crate::gateway::exchange::{Phase, TIMED_OUT};
use crate::server::engine::Core;
use crate::server::gate::{Gate, Taken};
use crate::server::link::{Context, Wire};
use crate::server::slot::Slot;
use crate::sys::{clock, send, sock};
use crate::wire::front::Speech;
use crate::wire::{Asked, http1};

use super::{Conn, Fate};

/// When to look again whether a thread is done with sending an early hint.
const BUSY_MS: u64 = 10;

/// How long a thread may take to come back when the client has its 504; then it counts as lost.
const BACK_MS: u64 = 1000;

/// Of one request.
#[derive(Debug)]
pub(super) struct Limits {
    /// When its answer is to begin, at the latest.
    respond_by: u64,
    /// While a thread has it: who may answer, and its record.
    away: Option<(Arc<Gate>, u32)>,
    /// What is known of it then.
    asked: Asked,
    speech: Speech,
    id: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits::of(Asked::default(), Speech::Http, 0)
    }
}

impl Limits {
    pub(super) fn of(asked: Asked, speech: Speech, id: u64) -> Self {
        let asked = Asked { keep_alive: false, ..asked };
        Limits { respond_by: u64::MAX, away: None, asked, speech, id }
    }

    /// The application is about to be called.
    pub(super) fn begin(&mut self, context: &Context) {
        let timeout = context.setup.settings.request_timeout.as_millis() as u64;
        self.respond_by = if timeout > 0 { context.now + timeout } else { u64::MAX };
    }

    /// The application has returned on the loop, which could do nothing meanwhile.
    pub(super) fn look_back(&self, slot: &Slot, core: &Core) {
        let (now, x) = (clock::monotonic_ms(), &slot.exchange);
        // What has not begun to answer gets its 504.
        if now < self.respond_by || !x.is_committed() {
            return;
        }
        count(core);
        let took = now - self.respond_by + timeout_ms(&core.context);
        let text = format!("the application took {took} ms, on the loop: request_timeout");
        x.log(Level::Error, text.as_bytes());
    }
}

fn timeout_ms(context: &Context) -> u64 {
    context.setup.settings.request_timeout.as_millis() as u64
}

impl Conn {
    /// A thread is about to get the request.
    pub(super) fn leave_to_thread(&mut self, slot: &Slot, core: &Core) {
        let is_early = slot.gate.committed().is_none();
        if is_early && !slot.exchange.out().is_empty() {
            // An answer to the request before: the loop could not say anything behind it.
            let _ = slot.gate.begin();
            let sent = self.send(slot, core);
            slot.gate.end(sent.is_ok() && slot.exchange.out().is_empty());
        }
        self.limits.away = Some((Arc::clone(&slot.gate), slot.flight.get()));
    }

    /// When the request takes too long, or when to look whether it does.
    pub(super) fn overdue_at(&self, core: &Core) -> u64 {
        let stream = core.context.setup.settings.stream_timeout.as_millis() as u64;
        let (gate, is_there) = match (&self.slot, &self.limits.away) {
            (Some(slot), _) => {
                let runs = matches!(slot.exchange.phase(), Phase::Running | Phase::Draining);
                (&slot.gate, runs)
            }
            (None, Some((gate, _))) if self.away => (gate, false),
            _ => return u64::MAX,
        };
        match gate.committed() {
            Some(at) if stream > 0 && (is_there || self.away) => at + stream,
            Some(_) => u64::MAX,
            None if self.away && stream > 0 => {
                self.limits.respond_by.min(core.context.now + stream)
            }
            None if is_there || self.away => self.limits.respond_by,
            None => u64::MAX,
        }
    }

    /// The deadline has passed, perhaps that of a limit: what becomes of the connection then.
    pub(super) fn check_limits(&mut self, key: u64, core: &mut Core) -> Option<Fate> {
        if self.away && self.is_doomed() {
            return self.check_lost(core);
        }
        if self.away {
            return self.check_away(key, core);
        }
        if self.overdue_at(core) > core.context.now {
            return None;
        }
        let slot = self.slot.take()?;
        if slot.exchange.is_committed() {
            self.tell_cut(core);
            let alone = !self.has_others() && !slot.decoder.borrow_mut().may_recover();
            let wire = Wire { fd: self.fd(), slot: &slot, context: &core.context };
            if alone || core.is_for_crew(&slot) || !slot.exchange.overrun(&wire) {
                self.slot = Some(slot);
                return Some(Fate::Reset);
            }
            // Its client has as long again to take what there is of it.
            slot.gate.open();
            slot.gate.commit(core.context.now);
            self.slot = Some(slot);
            return Some(self.drive(key, core));
        }
        Some(self.answer_instead(key, slot, core))
    }

    /// The same while a thread has the request, or will have.
    fn check_away(&mut self, key: u64, core: &mut Core) -> Option<Fate> {
        let (gate, request) = self.limits.away.clone()?;
        let now = core.context.now;
        let stream = core.context.setup.settings.stream_timeout.as_millis() as u64;
        let is_over = match gate.committed() {
            Some(at) => stream > 0 && at + stream <= now,
            None => self.limits.respond_by <= now,
        };
        if !is_over {
            // That of waiting for a thread may be.
            if self.limit > now {
                self.look_again(key, core, 0);
                return Some(Fate::Wait);
            }
            return None;
        }
        if let Some(job) = core.withdraw(key) {
            self.returned(job);
            let slot = self.slot.take()?;
            if slot.exchange.phase() != Phase::Reading {
                self.slot = Some(slot);
                return self.check_limits(key, core);
            }
            // No thread has begun with it.
            count(core);
            let wire = Wire { fd: self.fd(), slot: &slot, context: &core.context };
            slot.exchange.time_out(&wire);
            self.tell_late(&slot, core);
            self.slot = Some(slot);
            return Some(self.drive(key, core));
        }
        let is_sent = match gate.take() {
            Taken::Busy => {
                self.look_again(key, core, BUSY_MS);
                return Some(Fate::Wait);
            }
            Taken::Committed(at) if stream == 0 || at + stream > now => {
                self.look_again(key, core, 0);
                return Some(Fate::Wait);
            }
            Taken::Committed(_) => {
                self.tell_cut(core);
                gate.close();
                // The thread may not come back soon.
                let _ = sock::cut(self.fd());
                self.doom(Fate::Reset);
                return Some(Fate::Wait);
            }
            Taken::Clean => {
                let answer = self.late_answer(core);
                send::send(self.fd(), &answer, false).is_ok_and(|sent| sent == answer.len())
            }
            Taken::Dirty => false,
        };
        if is_sent {
            // The thread may still read there.
            let _ = sock::shutdown_write(self.fd());
            count_504(core);
            core.context.seat.set_status(request, TIMED_OUT);
            self.tell_of_thread("No answer within request_timeout, it got 504", core);
        } else {
            let _ = sock::shutdown(self.fd());
            count(core);
            self.tell_of_thread("No answer within request_timeout, it was cut", core);
        }
        self.doom(Fate::Close);
        self.deadline = core.context.now + BACK_MS;
        core.arm(key, self);
        Some(Fate::Wait)
    }

    /// The client has its 504, and the thread is still in the application.
    fn check_lost(&mut self, core: &mut Core) -> Option<Fate> {
        self.deadline = u64::MAX;
        self.tell_of_thread("A thread is lost until the application returns", core);
        core.stuck = true;
        Some(Fate::Wait)
    }

    pub(super) fn look_again(&mut self, key: u64, core: &mut Core, after: u64) {
        let at = self.overdue_at(core).max(core.context.now + after);
        self.deadline = self.limit.min(at);
        core.arm(key, self);
    }

    /// The application was called, and whoever is to answer has not begun to.
    fn answer_instead(&mut self, key: u64, slot: Box<Slot>, core: &mut Core) -> Fate {
        count_504(core);
        self.tell_late(&slot, core);
        // A handle may keep it for long.
        core.context.seat.set_status(slot.flight.get(), TIMED_OUT);
        let other = core.take_slot();
        for (to, from) in
            [(&other.eof, &slot.eof), (&other.drained, &slot.drained), (&other.ended, &slot.ended)]
        {
            to.set(from.get());
        }
        // Answers to requests before this one.
        std::mem::swap(&mut *other.exchange.out(), &mut *slot.exchange.out());
        let answer = self.late_answer(core);
        other.exchange.out().buffer().extend_from_slice(&answer);
        slot.exchange.expire();
        if !slot.decoder.borrow().is_head_here() {
            // Other requests of the connection go on, and what came of them.
            std::mem::swap(&mut *other.decoder.borrow_mut(), &mut *slot.decoder.borrow_mut());
            std::mem::swap(&mut *other.buf.borrow_mut(), &mut *slot.buf.borrow_mut());
        }
        self.abandon(key, slot, core);
        other.key.set(key);
        self.limits = Limits::default();
        if !other.decoder.borrow_mut().recover() {
            other.decoder.borrow_mut().finish();
            (self.closing, self.lingers) = (true, true);
        }
        self.waiting = super::Waiting::App;
        self.slot = Some(other);
        self.drive(key, core)
    }

    fn late_answer(&self, core: &Core) -> Vec<u8> {
        let mut answer = Vec::new();
        let (asked, speech) = (&self.limits.asked, &self.limits.speech);
        let (why, date) = ("request_timeout", &core.context.date);
        http1::error_response(speech, &mut answer, asked, TIMED_OUT, why, None, date);
        answer
    }

    fn tell_late(&self, slot: &Slot, core: &Core) {
        let ms = timeout_ms(&core.context);
        let peer = self.peer.address().escape_ascii();
        let text = format!("{peer} had no answer after {ms} ms: request_timeout; it got 504");
        slot.exchange.log(Level::Info, text.as_bytes());
    }

    fn tell_of_thread(&self, what: &str, core: &Core) {
        let Context { service, seat, .. } = &core.context;
        let (id, away) = (self.limits.id, self.limits.away.as_ref());
        let info = away.and_then(|(_, request)| seat.look(*request, clock::monotonic_ns()));
        match info.filter(|info| info.id == id) {
            Some(info) => log!(service.log, Error, "server", "{what}: {info}"),
            None => log!(service.log, Error, "server", "{what}: id {id:016x}"),
        }
    }

    fn tell_cut(&self, core: &Core) {
        count(core);
        let ms = core.context.setup.settings.stream_timeout.as_millis();
        let (peer, id) = (self.peer.address().escape_ascii(), self.limits.id);
        log!(
            core.context.service.log,
            Info,
            "server",
            "The answer to {peer} (id {id:016x}) did not end within {ms} ms, and was cut: stream_timeout"
        );
    }
}

fn count(core: &Core) {
    core.context.service.counters().request_timeouts.up();
}

/// The request itself may never come back to be counted.
fn count_504(core: &Core) {
    count(core);
    core.context.service.counters().count_status(TIMED_OUT);
}
