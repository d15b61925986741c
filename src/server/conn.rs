//! One connection: octets between a socket and an exchange, and the deadlines of both sides.
//!
//! The whole machine is [`Conn::drive`]: it is called when something may have changed, goes as far
//! as it can without waiting, and says what to wait for.

mod answering;
mod mux;
mod opening;
mod overdue;
mod reading;
mod timing;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::gateway::exchange::Phase;
use crate::gateway::flight;
use crate::sys::sock::{self, Peer};
use crate::sys::{clock, listen::Listening};
use crate::wire::front::Speech;

use super::crew::{Job, Task};
use super::engine::Core;
use super::hub::Hub;
use super::link::Wire;
use super::slot::{self, Sent, Slot};
use super::terms::Terms;
use answering::note_phase;
use mux::has_aside;
use opening::Opening;
use overdue::Limits;
use timing::Waiting;

/// Steps that one connection may go in one go while others wait: a request whose body and answer
/// are there takes one.
const BUDGET: u32 = 64;

/// Octets of a body that nobody read which are read for the sake of the next request.
pub(super) const DISCARD_MAX: u64 = 1024 * 1024;

/// After a final answer, what the client still sends is thrown away, so that a reset does not
/// destroy the answer on its way: for this long, and up to this many octets.  A web server in front
/// sends its whole request before it looks at the answer, and so do many clients.
const LINGER_MS: u64 = 2_000;
const LINGER_MAX: u64 = 2 * DISCARD_MAX;

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
        if core.context.may_block && !core.is_for_crew(&slot) {
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
        if core.is_for_crew(&slot) && (slot.exchange.needs_app() || slot.exchange.is_hung_on()) {
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
            Speech::Http | Speech::Uwsgi | Speech::Scgi | Speech::Hosted => {
                self.drive_slot(slot, core)
            }
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
            out.defer_releases(core.is_for_crew(slot) && !slot.exchange.is_later());
            out.len()
        };
        let sent = slot::flush(self.fd(), &slot.exchange, core.context.sigpipe_ignored)?;
        self.progress |= slot.exchange.out().len() < before;
        Ok(sent)
    }
}
