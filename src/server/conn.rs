//! One connection: octets between a socket and an exchange, and the deadlines of both sides.
//!
//! The whole machine is [`Conn::drive`]: it is called when something may have changed, goes as far
//! as it can without waiting, and says what to wait for.

mod mux;
mod opening;
mod overdue;
mod timing;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::base::error::Kind;
use crate::gateway::environ::Origin;
use crate::gateway::exchange::{Outcome, Phase, Progress};
use crate::gateway::flight;
use crate::sys::sock::{self, Peer};
use crate::sys::{clock, listen::Listening};
use crate::wire::front::Speech;
use crate::wire::{Asked, BodyMode, Encoder as _, Event, Framing, Reject, Step, http1, uwsgi};

use super::crew::{Job, Task};
use super::engine::{Core, Verdict};
use super::hub::Hub;
use super::record;
use mux::has_aside;
use opening::{Opened, Opening};
use overdue::Limits;
use timing::Waiting;

use super::slot::{self, Fed, Sent, Slot, VIEW_MAX, Wire};
use super::terms::Terms;

/// Steps that one connection may go in one go while others wait: a request whose body and answer
/// are there takes one.
const BUDGET: u32 = 64;

/// Octets of a body that nobody read which are read for the sake of the next request.
const DISCARD_MAX: u64 = 1024 * 1024;

/// After a final answer, what the client still sends is thrown away, so that a reset does not
/// destroy the answer on its way: for this long, and up to this many octets.  A web server in front
/// sends its whole request before it looks at the answer.
const LINGER_MS: u64 = 2_000;
const LINGER_MAX: u64 = DISCARD_MAX;

/// What the engine does with a connection that was driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Wait for its next event, or its deadline.
    Wait,
    /// Come back in this turn's end: others come first.
    Again,
    /// A thread is to run the application.
    Away,
    /// Close it.
    Close,
    /// Close it so that the client sees that something is missing.
    Reset,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    fd: OwnedFd,
    peer: Peer,
    local: Local,
    /// What its listener allows.
    terms: Arc<Terms>,
    opening: Opening,
    /// What is spoken, once that is known.
    speech: Speech,
    slot: Option<Box<Slot>>,
    waiting: Waiting,
    /// There was progress: what is waited for has its whole time again.
    progress: bool,
    /// When waiting has taken too long, in milliseconds of the monotonic clock.
    limit: u64,
    /// When there is something to do, at the latest: then, or earlier for an iterator.
    pub(super) deadline: u64,
    /// The earliest entry of the timer wheel that belongs to this connection.
    pub(super) armed: u64,
    pub(super) registered: bool,
    /// The engine is about to drive it again.
    pub(super) queued: bool,
    wants_write: bool,
    /// The slot was given back; what it knew of the socket.
    eof: bool,
    drained: bool,
    /// A thread has the slot.
    away: bool,
    /// The application was not called yet.
    uncalled: bool,
    /// What happens when it comes back.
    doom: Option<Fate>,
    /// Something arrived meanwhile.
    missed: bool,
    /// When its request takes too long.
    limits: Limits,
    /// Nobody has taken the request; after this time of the loop nobody may.
    take_until: u64,
    /// The peer's end is in the socket, perhaps behind octets.
    ended: bool,
    /// No other request is read.
    closing: bool,
    /// What is closed may still have octets of the client in its buffer.
    lingers: bool,
    /// It is closed unless its next request is there.
    gives_way: bool,
    /// Octets thrown away since the last request.
    discarded: u64,
    /// The request's count, for identities.
    requests: u64,
    /// Requests of FastCGI that are answered apart from its own.
    hub: Option<Box<Hub>>,
    /// It is such a request.
    is_apart: bool,
    /// Nothing more is read for them.
    deaf: bool,
}

/// Which socket a connection came in on.
#[derive(Clone, Debug)]
pub(super) enum Local {
    /// A listener of ours.
    Listener(Arc<Listening>),
    /// It was handed to us connected.
    Adopted(Peer),
}

/// What the requests of a connection have in common that are answered apart.
#[derive(Clone, Debug)]
pub(super) struct Kin {
    peer: Peer,
    local: Local,
    terms: Arc<Terms>,
    opening: Opening,
}

impl Local {
    fn name(&self) -> &Peer {
        match self {
            Local::Listener(listening) => listening.server(),
            Local::Adopted(name) => name,
        }
    }
}

impl Conn {
    pub(super) fn new(
        fd: OwnedFd,
        (peer, ip): (Peer, Option<IpAddr>),
        local: Local,
        terms: Arc<Terms>,
    ) -> Self {
        Conn {
            fd,
            peer,
            local,
            opening: Opening::new(&terms, ip),
            speech: terms.speech.unwrap_or_default(),
            terms,
            slot: None,
            waiting: Waiting::First,
            progress: false,
            limit: u64::MAX,
            deadline: u64::MAX,
            armed: u64::MAX,
            registered: false,
            queued: false,
            wants_write: false,
            eof: false,
            drained: false,
            away: false,
            uncalled: false,
            doom: None,
            missed: false,
            limits: Limits::default(),
            take_until: u64::MAX,
            ended: false,
            closing: false,
            lingers: false,
            gives_way: false,
            discarded: 0,
            requests: 0,
            hub: None,
            is_apart: false,
            deaf: false,
        }
    }

    /// For a FastCGI request that is answered apart from others of its connection.
    pub(super) fn apart(fd: OwnedFd, kin: Kin) -> Self {
        let Kin { peer, local, terms, opening } = kin;
        let conn = Conn::new(fd, (peer, None), local, terms);
        Conn { is_apart: true, opening, speech: Speech::FastCgi(0), ..conn }
    }

    /// Whether it is that.
    pub(super) fn is_apart(&self) -> bool {
        self.is_apart
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether a thread has its request, and its socket.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// Whether it is to be removed when its request comes back.
    pub(super) fn is_doomed(&self) -> bool {
        self.doom.is_some()
    }

    /// It is to be removed when its request comes back.
    pub(super) fn doom(&mut self, fate: Fate) {
        self.doom = Some(fate);
        self.deadline = u64::MAX;
    }

    /// Its request came back from a thread; says whether that was all.
    pub(super) fn returned(&mut self, job: Job) -> Option<Fate> {
        self.away = false;
        self.limit = u64::MAX;
        if std::mem::take(&mut self.missed) {
            job.slot.drained.set(false);
        }
        self.slot = Some(job.slot);
        self.noticed();
        self.doom.or(job.broken.then_some(Fate::Reset))
    }

    /// There is news of its request.
    pub(super) fn noticed(&self) {
        if let Some(slot) = &self.slot
            && let Some(shared) = slot.exchange.deferred()
        {
            shared.noticed();
        }
    }

    /// Whether nothing of a request is there.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.waiting, Waiting::Idle | Waiting::First)
    }

    /// Whether it waits for another request.
    pub(super) fn is_kept(&self) -> bool {
        self.waiting == Waiting::Idle
    }

    /// Another connection needs its place.
    pub(super) fn give_way(&mut self) {
        self.gives_way = true;
    }

    /// Something arrived, or the peer's end did (`ended`), perhaps behind it.
    pub(super) fn readable(&mut self, ended: bool) {
        self.drained = false;
        self.missed = self.away;
        self.ended |= ended;
        if let Some(slot) = &self.slot {
            slot.drained.set(false);
        }
    }

    /// Go as far as possible.
    pub(super) fn drive(&mut self, key: u64, core: &mut Core) -> Fate {
        let mut slot = match self.slot.take() {
            Some(slot) => slot,
            None => {
                let mut slot = core.take_slot();
                if !Arc::ptr_eq(&self.terms, &core.context.terms) {
                    self.dress(&mut slot, core);
                }
                slot.eof.set(self.eof);
                slot.drained.set(self.drained);
                slot
            }
        };
        slot.ended.set(self.ended);
        slot.key.set(key);
        let before = self.waiting;
        let mut fate = self.drive_any(key, &mut slot, core);
        while fate == Fate::Away {
            match self.send_away(key, slot, core) {
                Ok(()) => {
                    self.waiting = Waiting::App;
                    self.schedule(key, before, core);
                    return Fate::Wait;
                }
                Err(refused) => slot = refused,
            }
            let wire = Wire { fd: self.fd(), slot: &slot, context: &core.context };
            slot.exchange.shed(&wire);
            fate = self.drive_any(key, &mut slot, core);
        }
        if core.context.may_block && !core.has_crew() {
            // The clients have not waited for as long as the application took.
            core.context.tell_time();
        }
        match fate {
            Fate::Close | Fate::Reset => {
                self.abandon(key, slot, core);
                return fate;
            }
            Fate::Wait if self.is_idle() => {
                self.eof = slot.eof.get();
                self.drained = slot.drained.get();
                core.give_slot(slot);
            }
            Fate::Wait | Fate::Again | Fate::Away => {
                note_phase(&slot, core);
                self.slot = Some(slot);
            }
        }
        self.schedule(key, before, core);
        fate
    }

    /// A slot is to serve under the terms of this listener.
    #[inline(never)]
    fn dress(&self, slot: &mut Slot, core: &Core) {
        if self.terms.has_own_limits {
            slot.decoder.get_mut().limit(self.terms.limits);
        }
        self.speak(slot, core);
        let _ = slot.terms.set(Arc::clone(&self.terms));
    }

    /// It is known what is spoken.
    fn speak(&self, slot: &mut Slot, core: &Core) {
        if self.speech != Speech::Http {
            let decoder = slot.decoder.get_mut();
            decoder.speak(self.speech);
            decoder.multiplex(core.context.setup.settings.worker_connections, core.has_crew());
        }
    }

    /// A thread takes the request further; a full queue gives it back.
    fn send_away(&mut self, key: u64, slot: Box<Slot>, core: &mut Core) -> Result<(), Box<Slot>> {
        let begun = slot.exchange.phase() != Phase::Reading;
        if !begun {
            slot.queued.set(clock::monotonic_ns());
            core.context.seat.set_phase(slot.flight.get(), flight::Phase::Queue);
        }
        if core.context.limited {
            self.leave_to_thread(&slot, core);
        }
        let job = Job::new(key, self.fd(), slot, Task::Go);
        core.submit(job, begun).map_err(|job| job.slot)?;
        self.away = true;
        self.uncalled = !begun;
        Ok(())
    }

    /// The engine has no more use for the connection.
    pub(super) fn end(&mut self, key: u64, core: &mut Core) {
        if let Some(hub) = self.hub.take() {
            hub.close(core);
        }
        if let Some(slot) = self.slot.take() {
            let x = &slot.exchange;
            let waits = !x.out().is_empty();
            let goes_on = x.needs_app() || x.phase() == Phase::Running;
            let cut = goes_on && x.is_committed();
            self.abandon(key, slot, core);
            if waits || cut {
                // A body may end with the connection, and must not seem to be whole.
                self.reset();
            }
        }
    }

    /// Nothing of the request can reach the client any more.
    fn abandon(&self, key: u64, slot: Box<Slot>, core: &mut Core) {
        if slot.exchange.must_stay() {
            return core.park(slot);
        }
        if core.has_crew() && (slot.exchange.needs_app() || slot.exchange.is_hung_on()) {
            slot.eof.set(true);
            let job = Job::new(key, -1, slot, Task::Abort);
            if let Err(job) = core.submit(job, true) {
                core.give_slot(job.slot);
            }
            return;
        }
        let wire = Wire { fd: self.fd(), slot: &slot, context: &core.context };
        slot.exchange.abort(&wire);
        core.give_slot(slot);
    }

    /// Close with a reset.
    pub(super) fn reset(&self) {
        // A socket that cannot linger (unix) is closed all the same.
        let _ = sock::set_linger_reset(self.fd());
    }

    /// Close it after a panic: see [`super::engine::Engine::wreck`].
    pub(super) fn wreck(self) {
        self.reset();
        std::mem::forget(self.slot);
    }

    #[inline(always)]
    fn drive_any(&mut self, key: u64, slot: &mut Box<Slot>, core: &mut Core) -> Fate {
        match self.speech {
            Speech::FastCgi(_) => self.drive_fastcgi(key, slot, core),
            Speech::Http | Speech::Uwsgi | Speech::Scgi => self.drive_slot(slot, core),
        }
    }

    fn drive_slot(&mut self, slot: &mut Box<Slot>, core: &mut Core) -> Fate {
        for _ in 0..BUDGET {
            let step = match slot.exchange.phase() {
                Phase::Idle => self.between(slot, core),
                Phase::Reading => self.read_body(slot, core),
                Phase::Running | Phase::Draining => self.produce(slot, core),
                Phase::Done => self.complete(slot, core),
            };
            if let Some(fate) = step {
                return fate;
            }
            if self.speech != Speech::Http && has_aside(slot) {
                break;
            }
        }
        Fate::Again
    }

    /// No request: send what is left of the last answer, then find the next head.
    fn between(&mut self, slot: &mut Box<Slot>, core: &mut Core) -> Option<Fate> {
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
    fn read_body(&mut self, slot: &mut Slot, core: &mut Core) -> Option<Fate> {
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

    fn read_more(&mut self, slot: &Slot, otherwise: Waiting) -> Option<Fate> {
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

    #[inline(always)]
    fn call(&mut self, slot: &mut Slot, core: &mut Core) -> Option<Fate> {
        if core.admission.is_some() && !self.is_admitted(slot, core) {
            return None;
        }
        if core.context.limited {
            // What ran before it in this turn took time of its own.
            core.context.tell_time();
            self.limits.begin(&core.context);
        }
        if core.has_crew() {
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
        match admission.verdict(x, &core.context.service) {
            Verdict::Enter => x.admit(),
            Verdict::Full => x.turn_away(&wire),
            Verdict::Lame => x.say_lame(&wire),
        }
        x.phase() == Phase::Reading
    }

    /// The application has been called: take from it what the client takes from us.
    fn produce(&mut self, slot: &mut Slot, core: &mut Core) -> Option<Fate> {
        let away = core.has_crew() && slot.exchange.needs_app();
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
    fn complete(&mut self, slot: &mut Slot, core: &mut Core) -> Option<Fate> {
        core.forget(slot);
        let outcome = slot.exchange.outcome();
        let unread = {
            let input = slot.exchange.input();
            input.is_open() || input.failure().is_some()
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

    /// An answer to what is not a request.
    #[cold]
    fn refuse(&mut self, slot: &mut Slot, core: &mut Core, reject: Reject, is_head: bool) {
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
    fn give_up(&mut self, slot: &mut Slot, core: &Core, reject: Reject) {
        record::refused(&core.context, &self.terms, self.peer.address(), &reject);
        if !self.has_others() {
            slot.buf.borrow_mut().discard();
        }
        self.closing = true;
        self.lingers = true;
    }

    fn begin_linger(&mut self, slot: &Slot) -> Option<Fate> {
        if sock::shutdown_write(self.fd()).is_err() {
            return Some(Fate::Close);
        }
        self.discarded = 0;
        self.waiting = Waiting::Linger;
        self.linger(slot)
    }

    // Its buffer is not to be on the stack of others.
    #[inline(never)]
    fn linger(&mut self, slot: &Slot) -> Option<Fate> {
        let mut trash = [0; 16 * 1024];
        while self.discarded < LINGER_MAX {
            match sock::recv(self.fd(), &mut trash) {
                Ok(0) => break,
                Ok(n) => self.discarded += n as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    slot.drained.set(true);
                    return Some(Fate::Wait);
                }
                Err(_) => break,
            }
        }
        Some(Fate::Close)
    }

    fn send(&mut self, slot: &Slot, core: &Core) -> io::Result<Sent> {
        let before = {
            let mut out = slot.exchange.out();
            // What comes through a handle may be released in any thread.
            out.defer_releases(core.has_crew() && !slot.exchange.is_later());
            out.len()
        };
        let sent = slot::flush(self.fd(), &slot.exchange, core.context.sigpipe_ignored)?;
        self.progress |= slot.exchange.out().len() < before;
        Ok(sent)
    }
}

/// What waits is seen to wait for the right thing.
fn note_phase(slot: &Slot, core: &Core) {
    let x = &slot.exchange;
    let phase = match x.phase() {
        Phase::Idle | Phase::Reading | Phase::Done => return,
        Phase::Running | Phase::Draining if x.is_committed() => flight::Phase::Write,
        Phase::Running | Phase::Draining if x.is_later() => flight::Phase::Later,
        Phase::Running | Phase::Draining => flight::Phase::App,
    };
    core.context.seat.set_phase(slot.flight.get(), phase);
}
