//! The way out that an exchange finds: its connection, while the application runs, and what all
//! connections of a worker look up.

use std::io::{self, Write as _};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use httpdate::HttpDate;

use crate::base::error::{Error, Kind, Result};
use crate::gateway::deferred::{Deferred, Mailbox};
use crate::gateway::exchange::{Exchange, Link};
use crate::gateway::flight::{self, Seat};
use crate::gateway::service::Service;
use crate::sys::{clock, sock};

use super::conn::DISCARD_MAX;
use super::engine::Control;
use super::inbox::Inbox;
use super::pulled::Pulled;
use super::record;
use super::setup::Setup;
use super::slot::{Fed, Sent, Slot, flush};
use super::terms::Terms;

/// How long a thread that waits for a client may not notice that the server stops, in milliseconds.
const STOP_MS: i64 = 100;

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
    /// And in which phases.
    pub(super) phased: bool,
    /// For histograms.
    pub(super) measures: bool,
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
        if self.may_block() {
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
        self.context.may_block && !self.slot.exchange.must_not_block()
    }

    fn keep_alive(&self, _x: &Exchange) -> bool {
        !self.context.control.is_stopping()
            && !self.terms().keepalive.is_zero()
            && !self.slot.eof.get()
    }

    fn is_behind(&self) -> bool {
        self.slot.decoder.borrow().remaining().is_some_and(|left| left > DISCARD_MAX)
    }

    fn is_ready(&self) -> bool {
        !self.context.control.is_lame()
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
            if self.may_block() {
                self.context.seat.stay(clock::monotonic_ms());
            }
            match sent {
                Ok(Sent::All) => return Ok(()),
                Ok(Sent::Blocked | Sent::Enough) if !self.may_block() || x.out().len() <= left => {
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
        if self.context.phased {
            self.slot.answered.set(clock::monotonic_ns());
        }
        !self.context.limited || self.slot.gate.commit(clock::monotonic_ms())
    }

    fn finished(&self, x: &Exchange) {
        if self.context.timed {
            record::finished(self, x);
        }
    }
}
