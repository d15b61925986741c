//! What a connection needs only while it has a request: buffers, a decoder, an exchange.  An idle
//! connection gives its slot back to the worker's pool.  And the way out that the exchange finds.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, Write as _};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use httpdate::HttpDate;

use crate::base::buf::{Front, OutQueue, ReadBuf};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::gateway::deferred::{Deferred, Mailbox};
use crate::gateway::exchange::{Exchange, Link, Phase};
use crate::gateway::flight::{self, Number, Seat};
use crate::gateway::service::Service;
use crate::sys::{clock, send, sock};
use crate::wire::front::Decoders;
use crate::wire::{Event, Limits};

use super::engine::Control;
use super::gate::Gate;
use super::inbox::Inbox;
use super::pulled::Pulled;
use super::record;
use super::setup::Setup;
use super::terms::Terms;

/// Octets that one connection may send at a stretch, however fast its client takes them.
const SEND_MAX: u64 = 8 * 1024 * 1024;

/// A body up to this size is awaited in the read buffer, and reaches the application as a view.
pub(super) const VIEW_MAX: u64 = 16 * 1024;

/// Octets that one read asks for.
const READ_MAX: usize = 64 * 1024;

/// Octets that a small read asks for: room that every read buffer has.
const READ_ROOM: usize = 4 * 1024;

/// How long a thread that waits for a client may not notice that the server stops, in milliseconds.
const STOP_MS: i64 = 100;

/// Everything about the request of a connection.
#[derive(Debug)]
pub(super) struct Slot {
    /// Its connection's key, or that of its place among the parked.
    pub(super) key: Cell<u64>,
    pub(super) buf: RefCell<ReadBuf>,
    pub(super) decoder: RefCell<Decoders>,
    /// Of its connection's listener, where they are not the usual ones.
    pub(super) terms: OnceCell<Arc<Terms>>,
    pub(super) exchange: Exchange,
    /// Nanoseconds of the monotonic clock: when the head was there, when the request was queued for
    /// a thread, when the application was called.
    pub(super) began: Cell<u64>,
    pub(super) queued: Cell<u64>,
    pub(super) called: Cell<u64>,
    /// Since when, in milliseconds, whoever does not wait for the body has found nothing of it, and
    /// how much there was; 0: nobody has.
    pub(super) starved: Cell<(u64, u64)>,
    /// Its record in the flight recorder.
    pub(super) flight: Cell<Number>,
    /// Who answers it, where its time is limited.
    pub(super) gate: Arc<Gate>,
    /// The peer will send no more.
    pub(super) eof: Cell<bool>,
    /// There is nothing to read until the next event.
    pub(super) drained: Cell<bool>,
    /// The peer's end is in the socket, perhaps behind octets.
    pub(super) ended: Cell<bool>,
}

impl Slot {
    pub(super) fn new(service: &Arc<Service>, limits: Limits) -> Box<Self> {
        Box::new(Slot {
            key: Cell::new(0),
            buf: RefCell::default(),
            decoder: RefCell::new(Decoders::new(limits)),
            terms: OnceCell::new(),
            exchange: Exchange::new(Arc::clone(service)),
            began: Cell::new(0),
            queued: Cell::new(0),
            called: Cell::new(0),
            starved: Cell::new((0, 0)),
            flight: Cell::new(0),
            gate: Arc::default(),
            eof: Cell::new(false),
            drained: Cell::new(false),
            ended: Cell::new(false),
        })
    }

    /// Fit for another connection.
    pub(super) fn clear(&mut self) {
        if self.exchange.phase() != Phase::Idle {
            self.exchange.reset();
        }
        self.buf.get_mut().clear();
        self.decoder.get_mut().reset();
        if self.terms.get().is_some() {
            self.undress();
        }
        let mut out = self.exchange.out();
        out.defer_releases(false);
        out.clear();
        out.shrink();
        drop(out);
        self.eof.set(false);
        self.drained.set(false);
        self.ended.set(false);
    }

    /// For a listener whose terms are the usual ones.
    #[cold]
    fn undress(&mut self) {
        self.terms.take();
        self.decoder.get_mut().unlimit();
    }

    /// Queue what the protocol answers by itself; whether there was anything.
    #[inline(always)]
    pub(super) fn take_replies(&self) -> bool {
        self.decoder.borrow().has_replies() && {
            let mut out = self.exchange.out();
            let refused = self.decoder.borrow_mut().take_replies(out.buffer());
            self.exchange.service().counters().requests_full.plus(refused);
            true
        }
    }

    /// Read once from the socket into wherever the octets belong.  False: there was nothing.
    pub(super) fn fill(&self, fd: RawFd) -> io::Result<bool> {
        let mut decoder = self.decoder.borrow_mut();
        let mut buf = self.buf.borrow_mut();
        let direct = match decoder.remaining() {
            Some(left) if left > 0 && buf.unread().is_empty() && self.takes_direct() => left,
            _ => 0,
        };
        let (asked, got) = if direct > 0 {
            let mut input = self.exchange.input();
            let asked = direct.min(READ_MAX as u64) as usize;
            let got = sock::recv_spare(fd, input.space(), asked);
            if let Ok(n) = got {
                decoder.skip(n as u64);
                if let Err(error) = input.pushed(n, &self.exchange.service().spool_dir) {
                    drop(input);
                    self.spool_failed(&error);
                }
            }
            (asked, got)
        } else {
            let room = buf.fill(READ_ROOM);
            let asked = room.capacity() - room.len();
            (asked, sock::recv_spare(fd, room, asked))
        };
        match got {
            Ok(0) if asked > 0 => {
                self.eof.set(true);
                Ok(true)
            }
            Ok(n) => {
                // A short read has emptied the socket, unless the peer's end is behind it: an event
                // that told of both is not repeated.
                self.drained.set(n < asked && !self.ended.get());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.drained.set(true);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether body octets go past the decoder, straight to the request.
    fn takes_direct(&self) -> bool {
        let input = self.exchange.input();
        input.is_open() && !input.is_view()
    }

    pub(super) fn spool_failed(&self, error: &Error) {
        let x = &self.exchange;
        if x.input().failure().is_none() {
            x.service().counters().spool_errors.up();
            x.log(Level::Error, error.message().as_bytes());
        }
        x.input().fail(Kind::Io);
    }

    /// Feed the request's body with what is in the read buffer.
    #[inline(always)]
    pub(super) fn feed(&self) -> Fed {
        if self.decoder.borrow_mut().end() {
            let mut input = self.exchange.input();
            input.complete();
            // The last of it may have been what could not be stored.
            let is_stored = input.failure() != Some(Kind::Io);
            return if is_stored { Fed::End } else { Fed::More(false) };
        }
        self.feed_more()
    }

    fn feed_more(&self) -> Fed {
        let mut progress = false;
        loop {
            if self.exchange.input().is_full() {
                return Fed::Full;
            }
            if self.exchange.input().failure() == Some(Kind::Io) {
                // What follows could not be stored, either.
                return Fed::More(false);
            }
            let mut decoder = self.decoder.borrow_mut();
            let mut buf = self.buf.borrow_mut();
            let mut input = self.exchange.input();
            if input.is_view() && !input.is_view_ready(buf.unread().len()) {
                return Fed::More(progress);
            }
            let step = decoder.decode(buf.unread());
            match step.event {
                Event::Data(span) => {
                    self.exchange.body_arrived();
                    progress = true;
                    if input.is_view() {
                        buf.pin_more(span.len as usize);
                        input.set_view(buf.view_last(span.len as usize));
                    } else {
                        let data = span.of(buf.unread());
                        let pushed = input.push(data, &self.exchange.service().spool_dir);
                        if let Err(error) = pushed {
                            drop(input);
                            self.spool_failed(&error);
                        }
                    }
                    buf.consume(step.consumed);
                }
                Event::End => {
                    buf.consume(step.consumed);
                    input.complete();
                    return Fed::End;
                }
                Event::Reject(reject) => {
                    if !decoder.is_head_here() {
                        // What follows may be of another request.
                        buf.consume(step.consumed);
                    }
                    return Fed::Rejected(reject);
                }
                Event::More | Event::Head | Event::Pong => {
                    buf.consume(step.consumed);
                    if decoder.is_aborted() {
                        input.fail(Kind::Closed);
                    }
                    return Fed::More(progress);
                }
            }
        }
    }
}

/// What feeding a body came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fed {
    /// More must be read; whether anything was fed.
    More(bool),
    /// The application must read first.
    Full,
    /// The body is complete.
    End,
    /// The body is malformed or too large.
    Rejected(crate::wire::Reject),
}

/// What sending came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it.
    All,
    /// The client takes no more for now.
    Blocked,
    /// Much; others want to be served as well.
    Enough,
}

/// Send what waits, as far as the socket takes it.
pub(super) fn flush(fd: RawFd, x: &Exchange, sigpipe_ignored: bool) -> io::Result<Sent> {
    let sent = send(fd, &mut x.out(), sigpipe_ignored);
    if let Err(error) = &sent {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            x.log(Level::Error, error.to_string().as_bytes());
        }
        // Nothing more can follow what is missing.
        x.out().clear();
    }
    sent
}

fn send(fd: RawFd, out: &mut OutQueue, sigpipe_ignored: bool) -> io::Result<Sent> {
    let most = out.len().saturating_sub(SEND_MAX);
    loop {
        if out.len() < most {
            return Ok(Sent::Enough);
        }
        let sent = match out.front() {
            Front::Empty => return Ok(Sent::All),
            Front::One(octets) => send::send(fd, octets, false),
            Front::Many(slices, count) => send::send_vectored(fd, &slices[..count], out.has_file()),
            Front::File(chunk) => {
                let raw = chunk.as_raw();
                send::send_file(fd, raw.fd, raw.offset as u64, raw.len, sigpipe_ignored)
            }
        };
        match sent {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "a file is shorter than the range of it that was to be sent: cut",
                ));
            }
            Ok(n) => {
                out.advance(n as u64);
                if out.is_empty() {
                    return Ok(Sent::All);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                out.compact();
                return Ok(Sent::Blocked);
            }
            Err(error) => return Err(error),
        }
    }
}

/// What the connections of a worker look up; it changes between turns only.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) setup: Arc<Setup>,
    /// Of HTTP listeners that say nothing for themselves.
    pub(super) terms: Arc<Terms>,
    pub(super) service: Arc<Service>,
    /// Milliseconds of the monotonic clock at the start of the turn.
    pub(super) now: u64,
    /// The time of the turn as an IMF-fixdate.
    pub(super) date: [u8; 29],
    /// No connection is kept any more.
    pub(super) stopping: bool,
    /// And others serve on: see `Control::retire`.
    pub(super) retiring: bool,
    pub(super) control: Arc<Control>,
    pub(super) inbox: Arc<Inbox>,
    /// Requests are taken by whoever asks.
    pub(super) pulled: Option<Arc<Pulled>>,
    pub(super) may_block: bool,
    pub(super) sigpipe_ignored: bool,
    /// Whether somebody wants to know how long requests take.
    pub(super) timed: bool,
    /// Whether there is a limit to it.
    pub(super) limited: bool,
    /// Where this thread says what it does.
    pub(super) seat: Seat,
}

impl Context {
    /// Look at the clock.
    pub(super) fn tell_time(&mut self) {
        let before = self.now / 1000;
        self.now = clock::monotonic_ms();
        if self.date[0] == b' ' || self.now / 1000 != before {
            let since_epoch = Duration::from_secs(clock::realtime().as_secs());
            let date = HttpDate::from(SystemTime::UNIX_EPOCH + since_epoch);
            // It fits: 29 octets.
            let _ = write!(&mut self.date[..], "{date}");
        }
    }
}

/// A connection, as its exchange sees it while the application runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire<'a> {
    pub(super) fd: RawFd,
    pub(super) slot: &'a Slot,
    pub(super) context: &'a Context,
}

/// What waiting for a client came to.
enum Waited {
    /// It did something.
    Ready,
    /// Time is up.
    Expired,
    /// The server stops, quickly.
    Stopped,
}

impl Wire<'_> {
    /// Whether the loop has answered meanwhile.
    pub(super) fn is_taken(&self) -> bool {
        self.context.limited && self.slot.gate.is_taken()
    }

    /// Send what waits, unless the client has another answer.
    pub(super) fn send(&self) -> io::Result<Sent> {
        let (x, gate) = (&self.slot.exchange, &self.slot.gate);
        if !self.context.limited {
            return flush(self.fd, x, self.context.sigpipe_ignored);
        }
        let is_early = gate.committed().is_none();
        if gate.is_taken() || (is_early && !gate.begin()) {
            x.out().clear();
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "answered meanwhile"));
        }
        let sent = flush(self.fd, x, self.context.sigpipe_ignored);
        if is_early {
            gate.end(x.out().is_empty());
        }
        sent
    }

    /// Block this thread until `ready` says that the client did something, `timeout` at most; zero
    /// is any time.
    fn wait(&self, ready: fn(RawFd, i64) -> io::Result<bool>, timeout: Duration) -> Result<Waited> {
        let mut left = match timeout.as_millis() as i64 {
            0 => i64::MAX,
            ms => ms,
        };
        while left > 0 {
            if self.context.control.is_quick() || self.is_taken() {
                return Ok(Waited::Stopped);
            }
            // That a client is slow is not the application's fault.
            self.context.seat.stay(clock::monotonic_ms());
            let slice = left.min(STOP_MS);
            let is_ready = ready(self.fd, slice);
            if is_ready.map_err(|source| Error::os("wait for the client", &source))? {
                return Ok(Waited::Ready);
            }
            left -= slice;
        }
        Ok(Waited::Expired)
    }

    /// More of the request's body, if there is any; `waits`: until there is, or never will be.
    fn input(&self, x: &Exchange, waits: bool) -> Result<bool> {
        let timeout = self.terms().body_timeout;
        if self.context.may_block {
            self.context.seat.stay(clock::monotonic_ms());
        }
        loop {
            match self.slot.feed() {
                Fed::More(false) => {}
                Fed::More(true) | Fed::Full | Fed::End => return Ok(true),
                Fed::Rejected(reject) => {
                    record::body_refused(self.context, self.terms(), x, &reject);
                    x.input().fail(if reject.limit.is_some() {
                        Kind::Limit
                    } else {
                        Kind::Protocol
                    });
                    return Ok(true);
                }
            }
            if x.input().failure().is_some() {
                return Ok(true);
            }
            if self.slot.eof.get() {
                x.input().fail(Kind::Closed);
                return Ok(true);
            }
            let before = x.input().received();
            match self.slot.fill(self.fd) {
                // It may have gone past the decoder, straight to the request.
                Ok(true) if x.input().received() > before => return Ok(true),
                Ok(true) => {
                    self.slot.starved.set((0, 0));
                    continue;
                }
                Ok(false) if !waits && !self.starves(before, timeout) => return Ok(false),
                Ok(false) if !waits => return Ok(self.sent_nothing(x, timeout)),
                Ok(false) => {}
                Err(_) => {
                    x.input().fail(Kind::Closed);
                    return Ok(true);
                }
            }
            match self.wait(sock::wait_readable, timeout)? {
                Waited::Ready => {}
                Waited::Expired => return Ok(self.sent_nothing(x, timeout)),
                Waited::Stopped => {
                    x.input().fail(Kind::Closed);
                    return Ok(true);
                }
            }
        }
    }

    /// Whether whoever asks without waiting has done so for as long as a client may send nothing.
    fn starves(&self, received: u64, timeout: Duration) -> bool {
        let now = clock::monotonic_ms();
        let (since, before) = self.slot.starved.get();
        if since == 0 || received != before {
            self.slot.starved.set((now, received));
            return false;
        }
        !timeout.is_zero() && u128::from(now - since) >= timeout.as_millis()
    }

    /// The body does not come: whoever reads it is told.
    fn sent_nothing(&self, x: &Exchange, timeout: Duration) -> bool {
        x.service().counters().body_timeouts.up();
        let env = x.environ().borrow();
        let peer = env.remote_addr.as_slice();
        record::too_slow(self.context, peer, "sent nothing", ("body_timeout", timeout));
        x.input().fail(Kind::Timeout);
        true
    }

    /// Those of the connection's listener.
    fn terms(&self) -> &Terms {
        self.slot.terms.get().unwrap_or(&self.context.terms)
    }
}

impl Link for Wire<'_> {
    fn date(&self) -> &[u8; 29] {
        &self.context.date
    }

    fn may_block(&self) -> bool {
        self.context.may_block
    }

    fn keep_alive(&self, _x: &Exchange) -> bool {
        !self.context.control.is_stopping()
            && !self.terms().keepalive.is_zero()
            && !self.slot.eof.get()
    }

    fn is_gone(&self) -> bool {
        self.slot.eof.get()
            || self.is_taken()
            || self.slot.decoder.borrow().is_aborted()
            || sock::peer_gone(self.fd)
            // Behind octets that nobody has asked for.
            || sock::is_cut(self.fd)
    }

    fn wait_input(&self, x: &Exchange) -> Result<()> {
        self.input(x, true).map(drop)
    }

    fn try_input(&self, x: &Exchange) -> Result<bool> {
        self.input(x, false)
    }

    fn flush(&self, x: &Exchange, left: u64) -> Result<()> {
        let timeout = self.terms().write_timeout;
        loop {
            let sent = self.send();
            if x.is_committed() {
                self.context.seat.set_phase(self.slot.flight.get(), flight::Phase::Write);
            }
            if self.context.may_block {
                self.context.seat.stay(clock::monotonic_ms());
            }
            match sent {
                Ok(Sent::All) => return Ok(()),
                Ok(Sent::Blocked | Sent::Enough)
                    if !self.context.may_block || x.out().len() <= left =>
                {
                    return Ok(());
                }
                Ok(Sent::Enough) => continue,
                Ok(Sent::Blocked) => {}
                Err(error) => return Err(Error::new(Kind::Closed, error.to_string())),
            }
            match self.wait(sock::wait_writable, timeout)? {
                Waited::Ready => {}
                Waited::Expired => {
                    x.service().counters().write_timeouts.up();
                    let env = x.environ().borrow();
                    let peer = env.remote_addr.as_slice();
                    record::too_slow(
                        self.context,
                        peer,
                        "took nothing",
                        ("write_timeout", timeout),
                    );
                    return Err(Error::from(Kind::Timeout));
                }
                Waited::Stopped => return Err(Error::new(Kind::Closed, "the server stops")),
            }
        }
    }

    fn mailbox(&self) -> (Arc<dyn Mailbox>, u64) {
        (Arc::clone(&self.context.inbox) as Arc<_>, self.slot.key.get())
    }

    fn offer(&self, request: Deferred) -> std::result::Result<(), Deferred> {
        match &self.context.pulled {
            Some(pulled) => pulled.offer(request),
            None => Err(request),
        }
    }

    fn may_commit(&self) -> bool {
        self.slot.gate.commit(clock::monotonic_ms())
    }

    fn finished(&self, x: &Exchange) {
        if self.context.timed {
            record::finished(self, x, clock::monotonic_ns());
        }
    }
}
