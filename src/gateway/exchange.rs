//! One request from its head to the last octet of its answer, without a socket.
//!
//! The driver (a connection; later a foreign server) feeds the request in, calls [`Exchange::run`],
//! then [`Exchange::advance`] whenever the queue of octets to send has room, and sends what is in
//! the queue.  The application reaches the exchange through its environ and start_response; whatever
//! it does there, the state below decides what is legal.
//!
//! All methods take `&self`: the application calls back in while the driver's call is still on the
//! stack.  No cell stays borrowed while foreign code runs.

mod answer;
mod calls;
mod hosted;
mod later;
mod mounted;
mod pieces;
mod refusal;

use std::cell::{Cell, OnceCell, Ref, RefCell, RefMut};
use std::ffi::c_void;
use std::sync::Arc;

use crate::base::arena::Arena;
use crate::base::buf::{OutQueue, ReadBuf};
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{CHUNK_FLUSH, CHUNK_LAST, Octets, OwnedChunk, Pair};
use crate::wire::front::{AnyHead, Decoders, Speech};
use crate::wire::{self, Asked, BodyMode, Encoder as _, Framed, Span};

use super::abi::{BodyFrame, Environ, Handle};
use super::app::Called;
use super::deferred::{Batch, Deferred, Mailbox, Mode, Shared};
use super::environ::{self, Origin, Variable};
use super::head::Head;
use super::input::{InputRef, RequestBody};
use super::mounts::{Apps, Found};
use super::service::Service;
use super::watcher::Watcher;
use pieces::Rest;

/// A chunk up to this size is copied behind the head: cheaper than another slice of a send.
const COPY: u64 = 4 * 1024;

/// A chunk without release must be sent before the iterator is asked again, so more of it is
/// copied: a producer of small pieces then fills whole packets.
const COPY_BORROWED: u64 = 16 * 1024;

/// The status of an answer that took longer than it may.
pub const TIMED_OUT: u16 = 504;

/// Empty chunks that an iterator may give before the driver gets a word in.
const FRUITLESS_MAX: u32 = 64;

/// The way out of an exchange: what its driver does for it while the application runs.
pub trait Link {
    /// Now, as an IMF-fixdate.
    fn date(&self) -> &[u8; 29];
    /// Whether the thread may wait.
    fn may_block(&self) -> bool;
    /// Whether the server wants to keep the connection after this request.
    fn keep_alive(&self, x: &Exchange) -> bool;
    /// Whether more of the request's body is to come than is read for the sake of another request.
    fn is_behind(&self) -> bool {
        false
    }
    /// Whether the client has left.
    fn is_gone(&self) -> bool;
    /// Wait until more of the request body was fed, or will never be.
    fn wait_input(&self, x: &Exchange) -> Result<()>;
    /// The same without waiting, where the thread may: whether there is something, or never will be.
    fn try_input(&self, x: &Exchange) -> Result<bool>;
    /// Send; where the thread may block, until at most `left` octets wait.
    fn flush(&self, x: &Exchange, left: u64) -> Result<()>;
    /// Where a handle to the request says that there is something to do, and the request's name
    /// there.
    fn mailbox(&self) -> (Arc<dyn Mailbox>, u64);
    /// Give the request to whoever asks for requests; it comes back when too many wait already.
    fn offer(&self, request: Deferred) -> std::result::Result<(), Deferred>;
    /// The head is about to be committed; false: its time is over, and the client has another answer.
    /// Asked where the service is `limited`, or its answers are timed.
    fn may_commit(&self) -> bool {
        true
    }
    /// Whether octets by reference are with somebody who will release them later: the end of the request
    /// comes after that.
    fn holds(&self) -> bool {
        false
    }
    /// Whether the server serves, and is not about to stop.
    fn is_ready(&self) -> bool {
        true
    }
    /// The request is over, and everything about it can still be read.
    fn finished(&self, x: &Exchange);
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Idle,
    /// Its body is awaited.
    Reading,
    /// Its application was called, and may have more to say.
    Running,
    /// Everything is queued; chunks by reference must be sent first: they may lie in the memory of
    /// the request, and are released before close().
    Draining,
    /// It is over.
    Done,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Another request may follow.
    KeepAlive,
    /// It is closed when everything is sent.
    Close,
    /// The answer is not whole, and says so.  Web servers do not heed that: one that waits for octets which
    /// were announced sees at least the end of the connection, if nobody else is answered on it.
    Told,
    /// The answer is not whole, and the client must see that: no last chunk, and a reset.
    Cut,
}

/// Why [`Exchange::advance`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send what is queued, then come back.
    Flush,
    /// The application waits for more of the request body.
    Input,
    /// It waits for something else: its mailbox or its time will say when to come back.
    Wait,
    /// The request is over.
    Done,
}

/// What became of a chunk given to write().
#[derive(Debug)]
pub enum Written {
    /// It is on its way.
    Taken,
    /// The client is slow: the chunk is the caller's again.
    Refused(OwnedChunk),
}

/// Something a middleware hung on a request.
#[derive(Debug)]
struct Attachment {
    key: *const c_void,
    value: *mut c_void,
    drop: Option<unsafe extern "C" fn(value: *mut c_void)>,
}

/// One request.  Reused for all requests of a connection.
#[derive(Debug)]
pub struct Exchange {
    service: Arc<Service>,
    handle: Handle,
    pub(super) link: Cell<Option<*const (dyn Link + 'static)>>,
    phase: Cell<Phase>,
    outcome: Cell<Outcome>,
    env: RefCell<Environ>,
    headers: RefCell<Vec<Pair<'static>>>,
    vars: RefCell<Vec<Pair<'static>>>,
    arena: Arena,
    attached: RefCell<Vec<Attachment>>,
    request_id: Cell<u64>,
    /// Which application it is for, where several are mounted, and what that is allowed.
    mount: Cell<Option<Found>>,
    runs_on_loop: Cell<bool>,
    must_not_block: Cell<bool>,
    /// Whoever sent it is believed to speak of others.
    trusted: Cell<bool>,
    asked: Cell<Asked>,
    speech: Cell<Speech>,
    /// The client waits for a 100 before it sends its body.
    expects: Cell<bool>,
    /// It is counted among those that the application has.
    admitted: Cell<bool>,
    input: RefCell<RequestBody>,
    head: RefCell<Head>,
    framed: Cell<Option<Framed>>,
    body: RefCell<BodyFrame>,
    /// Octets of body that were queued.
    queued: Cell<u64>,
    warned: Cell<bool>,
    out: RefCell<OutQueue>,
    /// Some of the body is announced later: it is in `rest`.
    lags: Cell<bool>,
    rest: RefCell<Rest>,
    /// The request has a handle that any thread may use.
    deferred: OnceCell<Arc<Shared>>,
    /// The iterator had nothing, and is asked again when its handle says so, or there is more input.
    idle: Cell<bool>,
    /// A read found nothing since the iterator was asked last.
    starved: Cell<bool>,
    /// A write() found no room, and the iterator was not asked again for that.
    refused: Cell<bool>,
    /// It waits for more input than this, octets that came so far.
    hungry: Cell<Option<u64>>,
    /// The application has returned.
    called: Cell<bool>,
    /// Its time is over: the client has another answer.
    expired: Cell<bool>,
    /// The answer is our page about an error.
    excuses: Cell<bool>,
    /// Who is told how the application keeps the convention.
    watcher: RefCell<Option<Arc<dyn Watcher>>>,
    /// Scratch.
    batch: RefCell<Batch>,
}

impl Exchange {
    /// An exchange for the requests of one connection after another.
    pub fn new(service: Arc<Service>) -> Self {
        Exchange {
            service,
            handle: Handle::new(),
            link: Cell::new(None),
            phase: Cell::new(Phase::Idle),
            outcome: Cell::new(Outcome::KeepAlive),
            env: RefCell::new(Environ::EMPTY),
            headers: RefCell::default(),
            vars: RefCell::default(),
            arena: Arena::new(),
            attached: RefCell::default(),
            request_id: Cell::new(0),
            mount: Cell::new(None),
            runs_on_loop: Cell::new(false),
            must_not_block: Cell::new(false),
            trusted: Cell::new(false),
            asked: Cell::default(),
            speech: Cell::default(),
            expects: Cell::new(false),
            admitted: Cell::new(false),
            input: RefCell::default(),
            head: RefCell::default(),
            framed: Cell::new(None),
            body: RefCell::new(BodyFrame::EMPTY),
            queued: Cell::new(0),
            warned: Cell::new(false),
            out: RefCell::default(),
            lags: Cell::new(false),
            rest: RefCell::default(),
            deferred: OnceCell::new(),
            idle: Cell::new(false),
            starved: Cell::new(false),
            refused: Cell::new(false),
            hungry: Cell::new(None),
            called: Cell::new(false),
            expired: Cell::new(false),
            excuses: Cell::new(false),
            watcher: RefCell::default(),
            batch: RefCell::default(),
        }
    }

    /// Where the request is.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// What becomes of the connection, once the request is done.
    pub fn outcome(&self) -> Outcome {
        self.outcome.get()
    }

    /// Whether the client was told a status.
    pub fn is_committed(&self) -> bool {
        self.framed.get().is_some()
    }

    /// The octets to send.
    pub fn out(&self) -> RefMut<'_, OutQueue> {
        self.out.borrow_mut()
    }

    /// The body of the request, to feed it.
    #[inline(always)]
    pub fn input(&self) -> InputRef<'_> {
        match self.deferred.get() {
            Some(shared) => InputRef::Shared(shared.input()),
            None => InputRef::Own(self.input.borrow_mut()),
        }
    }

    /// The environ.
    pub fn environ(&self) -> &RefCell<Environ> {
        &self.env
    }

    /// The head of the response.
    pub fn head(&self) -> Ref<'_, Head> {
        self.head.borrow()
    }

    /// Octets of the response's body so far.
    pub fn body_sent(&self) -> u64 {
        self.queued.get()
    }

    /// What all requests of the worker share.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The environ of a request that a web server in front describes.
    #[inline(never)]
    fn describe(
        &self,
        env: &mut Environ,
        front: &Decoders,
        buf: &ReadBuf,
        origin: &Origin<'_>,
        headers: &mut Vec<Pair<'static>>,
        vars: &mut Vec<Pair<'static>>,
    ) {
        let (framing, arena) = (front.framing(), &self.arena);
        match front.head() {
            AnyHead::Http(_) => {}
            AnyHead::Params(params) => {
                let view = |span: Span| buf.view(span.start as usize, span.len as usize);
                environ::params::build(env, (params, framing), view, origin, arena, headers, vars);
            }
            AnyHead::Elsewhere(params, octets) => {
                let all = arena.copy(octets).as_slice();
                let view = |span: Span| Octets::new(span.of(all));
                environ::params::build(env, (params, framing), view, origin, arena, headers, vars);
            }
        }
    }

    /// Begin a request whose head is pinned in `buf`.  `id` names it in log lines.
    #[inline]
    pub fn begin(&self, front: &Decoders, buf: &ReadBuf, origin: &Origin<'_>, id: u64) {
        debug_assert_eq!(self.phase.get(), Phase::Idle);
        let service = &*self.service;
        let mut env = self.env.borrow_mut();
        env.flags = service.env_flags;
        let (mut headers, mut vars) = (self.headers.borrow_mut(), self.vars.borrow_mut());
        let (headers, vars) = (&mut *headers, &mut *vars);
        if let Some(head) = front.http_head() {
            environ::build(&mut env, head, buf, origin, &self.arena, headers, vars);
            self.asked.set(head.asked());
            self.speech.set(Speech::Http);
            self.expects.set(head.expect_continue);
        } else {
            self.describe(&mut env, front, buf, origin, headers, vars);
            self.asked.set(front.asked());
            self.speech.set(front.speech());
            self.expects.set(false);
        }
        env.bind(&self.handle, self);
        if let Apps::Mounted(mounts) = &service.apps {
            self.route(&mut env, mounts);
        }
        self.request_id.set(id);
        self.trusted.set(origin.is_trusted);
        self.outcome.set(Outcome::Close);
        self.phase.set(Phase::Reading);
        let counters = service.counters();
        counters.requests.plus(1);
        counters.in_flight.plus(1);
    }

    /// Further variables of the request that has just begun.
    #[cold]
    pub fn add_vars(&self, told: &[Variable]) {
        let mut vars = self.vars.borrow_mut();
        vars.extend(told.iter().map(|(name, value)| Pair {
            name: Octets::new(name.as_bytes()),
            value: self.arena.copy(value),
        }));
        self.env.borrow_mut().set_vars(vars.as_slice());
    }

    /// A body is to come.  Says whether the application is to be called before it is complete.
    pub fn expect_body(&self) -> bool {
        // Also for a client that waits for a 100: it is told to go on by whoever reads first, which
        // is the library where it completes the body.  An application that were called to find out
        // whether it reads would wait for a client that says nothing.
        self.input().open(self.service.streaming, self.service.body_buffer);
        self.service.streaming
    }

    /// Whether the client still waits for a 100.
    pub fn expects_continue(&self) -> bool {
        self.expects.get()
    }

    /// The client need not be told to send its body: it does.
    pub fn body_arrived(&self) {
        self.expects.set(false);
    }

    /// Queue the 100 that the client waits for.
    pub fn send_continue(&self) {
        if self.expects.replace(false) {
            let head = wire::ResponseHead {
                status: 100,
                reason: b"",
                fields: b"",
                content_length: None,
                has_date: false,
            };
            self.interim(self.out().buffer(), &head);
        }
    }

    /// One that comes before the answer, and counts beside it: not every front has a way to say it.
    fn interim(&self, out: &mut Vec<u8>, head: &wire::ResponseHead<'_>) {
        let before = out.len();
        self.encoder().interim(out, head);
        if out.len() > before {
            self.service.counters().count_status(head.status);
        }
    }

    /// Call the application.
    pub fn run(&self, link: &dyn Link) {
        debug_assert_eq!(self.phase.get(), Phase::Reading);
        let Some(app) = self.app() else { return self.miss(link) };
        self.phase.set(Phase::Running);
        if let Some(hook) = &self.service.hooks.pre_request {
            self.enter(link, || hook(&self.env.borrow()));
        }
        let mut body = BodyFrame::EMPTY;
        match self.call_app(app, link, &mut body) {
            Called::Body => {
                self.returned(Mode::Iterating);
                let first = body.take_first();
                let is_all = body.next.is_none() && self.queued.get() == 0;
                if body.is_open() {
                    *self.body.borrow_mut() = body;
                }
                if let Err(error) = self.emit(link, first, is_all) {
                    self.fail(link, &error);
                } else if self.phase.get() == Phase::Draining && !self.is_lent(link) {
                    self.finish(link);
                }
            }
            Called::Later if self.deferred.get().is_some() => self.returned(Mode::Later),
            Called::Later => {
                let error = Error::new(Kind::State, "GW_DEFERRED without gw_defer()");
                self.fail(link, &error);
            }
            Called::Refused(code) => {
                self.returned(Mode::Iterating);
                self.app_refused(link, code);
            }
        }
    }

    /// Ask the application for more until there is enough to send, or it is done.
    pub fn advance(&self, link: &dyn Link) -> Progress {
        let mut fruitless = 0;
        loop {
            match self.phase.get() {
                Phase::Running => {
                    if self.lags.get() {
                        match self.catch_up(link) {
                            Some(progress) => return progress,
                            None => continue,
                        }
                    }
                    if let Some(shared) = self.deferred.get().filter(|_| self.is_later()) {
                        match self.advance_later(shared, link) {
                            Some(progress) => return progress,
                            // Not for this thread, perhaps: the driver looks.
                            None if self.needs_app() => return Progress::Flush,
                            None => continue,
                        }
                    }
                    if self.outcome.get() == Outcome::Cut {
                        // A write() has failed: nothing more of it reaches the client.
                        self.abort(link);
                        return Progress::Done;
                    }
                    if let Some(progress) = self.idles() {
                        return progress;
                    }
                    if self.idle.replace(false)
                        && let Some(shared) = self.deferred.get()
                    {
                        shared.resuming();
                    }
                }
                Phase::Draining if self.is_lent(link) => return Progress::Flush,
                Phase::Draining => {
                    self.finish(link);
                    return Progress::Done;
                }
                Phase::Done | Phase::Idle | Phase::Reading => return Progress::Done,
            }
            if self.is_silent() {
                // Nothing more of it would reach the wire.
                self.end(link);
                continue;
            }
            let before = {
                let out = self.out.borrow();
                if out.holds_borrowed() || out.len() >= self.service.output_buffer {
                    return Progress::Flush;
                }
                out.len()
            };
            if let Some(progress) = self.ask(link) {
                return progress;
            }
            if self.out.borrow().len() == before {
                fruitless += 1;
                if fruitless >= FRUITLESS_MAX {
                    return Progress::Flush;
                }
            }
        }
    }

    /// Whether octets by reference are still to be sent.
    #[inline(always)]
    fn is_lent(&self, link: &dyn Link) -> bool {
        // Others have sent what they took.
        self.out.borrow().holds_chunks() || self.speech.get() == Speech::Hosted && link.holds()
    }

    /// One call of next().
    fn ask(&self, link: &dyn Link) -> Option<Progress> {
        let body = std::mem::replace(&mut *self.body.borrow_mut(), BodyFrame::EMPTY);
        self.starved.set(false);
        let asked = self.enter(link, || body.call_next());
        *self.body.borrow_mut() = body;
        match asked {
            Ok(Some(chunk)) => {
                let flags = chunk.as_raw().flags;
                if let Err(error) = self.emit(link, chunk, false) {
                    self.fail(link, &error);
                } else if flags & CHUNK_LAST != 0 {
                    self.end(link);
                } else if flags & CHUNK_FLUSH != 0 || link.may_block() {
                    return Some(Progress::Flush);
                }
                None
            }
            Ok(None) => {
                self.end(link);
                None
            }
            Err(None) => {
                if self.refused.take() {
                    // It waits for room.
                    return Some(Progress::Flush);
                }
                if self.may_wait() {
                    self.idle.set(true);
                } else if !self.out.borrow().is_empty() {
                    return Some(Progress::Flush);
                } else {
                    let error = Error::new(Kind::State, "next() waits, but nothing will wake it");
                    self.fail(link, &error);
                }
                None
            }
            Err(Some(error)) => {
                self.app_refused(link, error.kind() as i32);
                None
            }
        }
    }

    /// The iterator has nothing: whether it may have something later, and for what it waits.
    fn may_wait(&self) -> bool {
        let is_held = self.is_held();
        let input = self.input();
        let hungry = input.may_grow() && (self.starved.get() || !is_held);
        self.hungry.set(hungry.then(|| input.received()));
        hungry || is_held || self.is_asked_again()
    }

    /// What an iterator waits for that had nothing to give; none when it may be asked.
    pub fn idles(&self) -> Option<Progress> {
        if self.phase.get() != Phase::Running || !self.idle.get() || self.may_resume() {
            return None;
        }
        let Some(before) = self.hungry.get() else {
            return Some(Progress::Wait);
        };
        let input = self.input();
        (input.is_open() && input.received() == before).then_some(Progress::Input)
    }

    /// Whether the head is out and no body goes with it.
    fn is_silent(&self) -> bool {
        self.framed.get().is_some_and(|framed| framed.body == BodyMode::Absent)
    }

    /// Whether only the application can take the request further; it has to run where it runs.
    pub fn needs_app(&self) -> bool {
        match self.phase.get() {
            Phase::Running => !self.is_later(),
            Phase::Draining => {
                self.body.borrow().close.is_some()
                    || self.is_hung_on()
                    || self.out.borrow().owes_release() && !self.is_later()
            }
            Phase::Idle | Phase::Reading | Phase::Done => false,
        }
    }

    /// Whether something hangs on the request, which is let go of where the application runs.
    pub fn is_hung_on(&self) -> bool {
        !self.attached.borrow().is_empty()
    }

    /// It is one of those that the application has.
    pub fn admit(&self) {
        self.admitted.set(true);
        self.service.counters().running.plus(1);
    }

    /// The status that the client was told; none when it was told nothing.
    pub fn status(&self) -> Option<u16> {
        match self.expired.get() {
            true => Some(TIMED_OUT),
            false => self.is_committed().then(|| self.head.borrow().status()),
        }
    }

    /// Ready for the next request, and this one counted.  The octets to send stay.
    pub fn reset(&mut self) {
        if let Some(shared) = self.deferred.take() {
            *self.input.get_mut() = std::mem::take(&mut *shared.input());
            if shared.is_held() {
                // Whoever waits for something hears that it will not come.
                shared.cut_off();
                self.tell(&shared, 0);
            }
            // Its events may go with it.
            self.contain(|| drop(shared));
        }
        if self.phase.get() == Phase::Done {
            let counters = self.service.counters();
            // The answer that came instead was counted when it went out.
            if self.framed.get().is_some() && !self.expired.get() {
                counters.count_status(self.head.get_mut().status());
            }
            counters.sent.plus(self.queued.get());
            counters.received.plus(self.input.get_mut().received());
            counters.in_flight.down();
        }
        if self.admitted.take() {
            self.service.counters().running.down();
        }
        debug_assert!(matches!(self.phase.get(), Phase::Done | Phase::Idle));
        self.env.get_mut().unbind();
        self.headers.get_mut().clear();
        self.vars.get_mut().clear();
        self.arena.reset();
        self.input.get_mut().clear();
        self.head.get_mut().clear();
        self.framed.set(None);
        self.queued.set(0);
        self.warned.set(false);
        self.expects.set(false);
        self.called.set(false);
        self.expired.set(false);
        self.excuses.set(false);
        self.idle.set(false);
        self.refused.set(false);
        *self.watcher.get_mut() = None;
        self.phase.set(Phase::Idle);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        debug_assert!(
            std::thread::panicking() || matches!(self.phase.get(), Phase::Idle | Phase::Done),
            "a request was dropped without an end"
        );
    }
}
