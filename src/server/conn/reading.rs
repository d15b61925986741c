//! From octets to a request that can be answered: the next head, its body, and what becomes of octets
//! that are neither.

use crate::base::error::Kind;
use crate::gateway::environ::Origin;
use crate::server::engine::Core;
use crate::server::link::Wire;
use crate::server::record;
use crate::server::slot::{Fed, Sent, Slot, VIEW_MAX};
use crate::sys::clock;
use crate::wire::{Asked, BodyMode, Encoder as _, Event, Framing, Reject, Step, http1, uwsgi};

use super::opening::Opened;
use super::overdue::Limits;
use super::timing::Waiting;
use super::{Conn, DISCARD_MAX, Fate};

impl Conn {
    /// No request: send what is left of the last answer, then find the next head.
    pub(super) fn between(&mut self, slot: &mut Box<Slot>, core: &mut Core) -> Option<Fate> {
        if self.waiting == Waiting::Linger {
            return self.linger(slot);
        }
        if self.closing && !self.reads_for_others(slot, core) {
            return match self.send(slot, core) {
                Ok(Sent::All) if self.has_others() => self.wait_for_others(),
                Ok(Sent::All) if self.lingers && !slot.eof.get() => self.begin_linger(slot),
                Ok(Sent::All) => Some(Fate::Close),
                Ok(Sent::Blocked) => self.wait(Waiting::Write),
                Ok(Sent::Enough) => Some(Fate::Again),
                Err(_) => Some(Fate::Reset),
            };
        }
        if slot.exchange.out().len() >= core.context.service.output_buffer {
            // Pipelined requests wait until the client has taken the answers to others.
            match self.send(slot, core) {
                Ok(Sent::All) => {}
                Ok(Sent::Blocked) => return self.wait(Waiting::Write),
                Ok(Sent::Enough) => return Some(Fate::Again),
                Err(_) => return Some(Fate::Reset),
            }
        }
        let opened = match self.opening.is_before() {
            true => self.open(slot, core),
            false => Opened::Over,
        };
        let (in_head, step) = match opened {
            Opened::Over => {
                let Slot { buf, decoder, .. } = &mut **slot;
                let decoder = decoder.get_mut();
                let found = (decoder.is_in_head(), decoder.decode(buf.get_mut().unread()));
                slot.take_replies();
                found
            }
            Opened::More => (true, Step { consumed: 0, event: Event::More }),
            Opened::Refused => return None,
        };
        match step.event {
            Event::Head => {
                let may_say = self.opening.trusted && slot.decoder.get_mut().has_forwarded();
                if (may_say || self.opening.said.is_some()) && !self.heed(slot, core) {
                    return None;
                }
                self.begin(slot, core, step.consumed);
                self.read_body(slot, core)
            }
            // What is left of a body that nobody read.
            Event::Data(span) => {
                slot.buf.borrow_mut().consume(step.consumed);
                self.progress = true;
                self.discarded += u64::from(span.len);
                if self.discarded > DISCARD_MAX {
                    self.closing = true;
                    self.lingers = true;
                }
                None
            }
            Event::End => {
                slot.buf.borrow_mut().consume(step.consumed);
                self.discarded = 0;
                None
            }
            Event::Pong => {
                slot.buf.borrow_mut().consume(step.consumed);
                slot.exchange.out().buffer().extend_from_slice(&uwsgi::PONG);
                self.closing = true;
                None
            }
            Event::Reject(reject) if in_head => {
                let is_head = slot.decoder.borrow().asked().is_head;
                if !slot.decoder.borrow().is_head_here() {
                    // What follows may be another request.
                    slot.buf.borrow_mut().consume(step.consumed);
                }
                self.refuse(slot, core, reject, is_head);
                None
            }
            // The rest of a body whose request has its answer.
            Event::Reject(reject) => {
                self.give_up(slot, core, reject);
                None
            }
            Event::More => {
                slot.buf.borrow_mut().consume(step.consumed);
                self.more_between(slot, core)
            }
        }
    }

    fn more_between(&mut self, slot: &mut Box<Slot>, core: &mut Core) -> Option<Fate> {
        if !slot.exchange.out().is_empty() {
            match self.send(slot, core) {
                Ok(Sent::All) => {}
                Ok(Sent::Blocked) => return self.wait(Waiting::Write),
                Ok(Sent::Enough) => return Some(Fate::Again),
                Err(_) => return Some(Fate::Reset),
            }
        }
        let idle = slot.decoder.borrow().is_idle() && slot.buf.borrow().unread().is_empty();
        if slot.eof.get() && self.has_others() {
            self.hang_up(core);
            return self.wait_for_others();
        }
        if slot.eof.get() {
            if !idle && slot.decoder.borrow().remaining().is_none() {
                core.context.service.counters().aborted.up();
                if slot.decoder.borrow().is_in_head() {
                    record::no_request(&core.context, slot, &self.peer, record::CLIENT_LEFT, 0);
                }
            }
            return Some(Fate::Close);
        }
        if std::mem::take(&mut self.gives_way) && idle {
            // Unless a request has come that nobody has looked at: it is there, and answered.
            return match slot.fill(self.fd()) {
                Ok(true) => None,
                Ok(false) | Err(_) => Some(Fate::Close),
            };
        }
        let stops = core.context.stopping && !core.context.retiring;
        if stops && self.requests > 0 && !idle && !slot.decoder.borrow().is_in_head() {
            // A body that nobody reads, for the sake of a request that nobody would answer.
            return self.begin_linger(slot);
        }
        if !slot.drained.get() && !self.is_stuffed() {
            return match slot.fill(self.fd()) {
                Ok(_) => None,
                Err(_) => Some(Fate::Close),
            };
        }
        if self.has_others() && !slot.decoder.borrow().has_request() {
            return self.wait_for_others();
        }
        self.wait(match idle {
            true if self.requests == 0 => Waiting::First,
            true => Waiting::Idle,
            false if slot.decoder.borrow().is_in_head() => Waiting::Head,
            false => Waiting::Body,
        })
    }

    /// A head is complete: the first `head_len` unread octets.
    fn begin(&mut self, slot: &mut Slot, core: &mut Core, head_len: usize) {
        let Slot { decoder, buf, exchange: x, began, starved, .. } = slot;
        let (front, buf) = (&*decoder.get_mut(), buf.get_mut());
        let framing = front.framing();
        let room = match framing {
            Framing::None => 0,
            Framing::Length(len) if len <= VIEW_MAX => len as usize,
            Framing::Length(_) | Framing::Chunked => VIEW_MAX as usize,
        };
        if front.is_head_here() {
            buf.pin(head_len, room);
        }
        self.requests += 1;
        self.gives_way = false;
        self.progress = true;
        core.count_request();
        let (remote, scheme) = match &self.opening.said {
            None => (&self.peer, &b"http"[..]),
            Some(said) => (&said.client, said.scheme),
        };
        let (local, is_trusted) = (self.local.name(), self.opening.trusted);
        let id = core.next_id();
        x.begin(front, buf, &Origin { remote, local, scheme, is_trusted }, id);
        if let Some(said) = &self.opening.said {
            x.add_vars(&said.told);
        }
        buf.consume(head_len);
        let mut now = core.context.now * 1_000_000;
        if core.context.timed {
            now = clock::monotonic_ns();
            began.set(now);
        }
        if framing != Framing::None {
            starved.set((0, 0));
            let streams = x.expect_body();
            if let Framing::Length(len) = framing
                && len <= VIEW_MAX
                && !streams
                && front.body_is_plain()
            {
                x.input().expect_view(len);
            }
        }
        if core.context.limited {
            self.limits = Limits::of(front.asked(), front.speech(), id);
            slot.gate.open();
        }
        core.record(slot, id, now, remote);
    }

    /// The request waits for its body, if it has one.
    #[inline(always)]
    pub(super) fn read_body(&mut self, slot: &mut Slot, core: &mut Core) -> Option<Fate> {
        match slot.feed() {
            Fed::End | Fed::Full => self.call(slot, core),
            fed => self.await_body(slot, core, fed),
        }
    }

    fn await_body(&mut self, slot: &mut Slot, core: &mut Core, fed: Fed) -> Option<Fate> {
        let x = &slot.exchange;
        let wire = Wire { fd: self.fd(), slot, context: &core.context };
        if let Fed::Rejected(reject) = fed {
            record::body_refused(&core.context, &self.terms, x, &reject);
            let last = !slot.decoder.borrow_mut().may_recover();
            self.lingers |= last;
            x.refuse(&wire, reject.status, reject.reason, last);
            if last && self.has_others() {
                self.listen_no_more_if_broken(slot, core);
            }
            return None;
        }
        if slot.decoder.borrow().is_aborted() {
            x.cut_short(&wire);
            return None;
        }
        if x.input().failure() == Some(Kind::Io) {
            let last = !slot.decoder.borrow_mut().may_recover();
            self.lingers |= last;
            x.refuse(&wire, 507, "the body could not be stored", last);
            return None;
        }
        if x.input().is_streaming() {
            return self.call(slot, core);
        }
        if slot.eof.get() && self.has_others() {
            // Nor does it keep the answers to others back.
            x.cut_short(&wire);
            return None;
        }
        if slot.eof.get() {
            // A body that is cut short never reaches the application.
            x.abort(&wire);
            return Some(Fate::Close);
        }
        if x.expects_continue() {
            x.send_continue();
        }
        slot.take_replies();
        match self.send(slot, core) {
            Ok(Sent::All) => {}
            Ok(Sent::Blocked) => return self.wait(Waiting::Write),
            Ok(Sent::Enough) => return Some(Fate::Again),
            Err(_) => return Some(Fate::Reset),
        }
        self.read_more(slot, Waiting::Body)
    }

    pub(super) fn read_more(&mut self, slot: &Slot, otherwise: Waiting) -> Option<Fate> {
        if slot.drained.get() || self.is_stuffed() {
            return self.wait(otherwise);
        }
        match slot.fill(self.fd()) {
            Ok(true) => {
                self.progress = true;
                None
            }
            Ok(false) => self.wait(otherwise),
            Err(_) => Some(Fate::Reset),
        }
    }

    /// An answer to what is not a request.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        slot: &mut Slot,
        core: &mut Core,
        reject: Reject,
        is_head: bool,
    ) {
        if self.opening.is_before() {
            return self.give_up(slot, core, reject);
        }
        if !slot.decoder.borrow().has_request() {
            return self.refuse_connection(slot, core, reject);
        }
        let counters = core.context.service.counters();
        counters.requests.plus(1);
        counters.count_status(reject.status);
        let asked = Asked { keep_alive: false, is_head, ..Asked::default() };
        let speech = slot.decoder.borrow().speech();
        speech.complain(slot.exchange.out().buffer(), reject.reason.as_bytes());
        let framed = http1::error_response(
            &speech,
            slot.exchange.out().buffer(),
            &asked,
            reject.status,
            reject.reason,
            None,
            &core.context.date,
        );
        let sent = if let BodyMode::Length(len) = framed.body { len } else { 0 };
        record::no_request(&core.context, slot, &self.peer, reject.status, sent);
        if slot.decoder.get_mut().recover() {
            return record::refused(&core.context, &self.terms, self.peer.address(), &reject);
        }
        slot.decoder.get_mut().finish();
        self.give_up(slot, core, reject);
        self.listen_no_more_if_broken(slot, core);
    }

    /// Nothing more can be read from this client, which is not told why.
    #[cold]
    pub(super) fn give_up(&mut self, slot: &mut Slot, core: &Core, reject: Reject) {
        record::refused(&core.context, &self.terms, self.peer.address(), &reject);
        if !self.has_others() {
            slot.buf.borrow_mut().discard();
        }
        self.closing = true;
        self.lingers = true;
    }
}
