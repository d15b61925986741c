//! What a connection needs only while it has a request: buffers, a decoder, an exchange.  An idle
//! connection gives its slot back to the worker's pool.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::base::buf::{Front, OutQueue, ReadBuf};
use crate::base::error::{Error, Kind};
use crate::base::log::Level;
use crate::gateway::exchange::{Exchange, Phase};
use crate::gateway::flight::Number;
use crate::gateway::service::Service;
use crate::sys::{send, sock};
use crate::wire::front::Decoders;
use crate::wire::{Event, Limits};

use super::gate::Gate;
use super::terms::Terms;

/// Octets that one connection may send at a stretch, however fast its client takes them.
const SEND_MAX: u64 = 8 * 1024 * 1024;

/// A body up to this size is awaited in the read buffer, and reaches the application as a view.
pub(super) const VIEW_MAX: u64 = 16 * 1024;

/// Octets that one read asks for.
const READ_MAX: usize = 64 * 1024;

/// Octets that a small read asks for: room that every read buffer has.
const READ_ROOM: usize = 4 * 1024;

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
    /// When the answer began, where phases are told apart.
    pub(super) answered: Cell<u64>,
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
            answered: Cell::new(0),
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
