//! One request from its head to the last octet of its answer, without a socket.
//!
//! The driver (a connection; later a foreign server) feeds the request in, calls [`Exchange::run`],
//! then [`Exchange::advance`] whenever the queue of octets to send has room, and sends what is in
//! the queue.  The application reaches the exchange through its environ and start_response; whatever
//! it does there, the state below decides what is legal.
//!
//! All methods take `&self`: the application calls back in while the driver's call is still on the
//! stack.  No cell stays borrowed while foreign code runs.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::ffi::c_void;
use std::sync::Arc;

use crate::base::arena::Arena;
use crate::base::buf::{OutQueue, ReadBuf};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::{CHUNK_FLUSH, CHUNK_LAST, Octets, OwnedChunk, Pair};
use crate::wire::{self, Asked, BodyMode, Encoder, Framed, http1};

use super::abi::{BodyFrame, Environ, Handle, NOWAIT, Response};
use super::environ::{self, Origin};
use super::head::Head;
use super::input::{Read, RequestBody};
use super::service::Service;

/// A chunk up to this size is copied behind the head: cheaper than another slice of a send.
const COPY: u64 = 4 * 1024;

/// A chunk without release must be sent before the iterator is asked again, so more of it is
/// copied: a producer of small pieces then fills whole packets.
const COPY_BORROWED: u64 = 16 * 1024;

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
    /// Whether the client has left.
    fn is_gone(&self) -> bool;
    /// Wait until more of the request body was fed, or will never be.
    fn wait_input(&self, x: &Exchange) -> Result<()>;
    /// Send; where the thread may block, until at most `left` octets wait.
    fn flush(&self, x: &Exchange, left: u64) -> Result<()>;
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
    asked: Cell<Asked>,
    /// The client waits for a 100 before it sends its body.
    expects: Cell<bool>,
    input: RefCell<RequestBody>,
    head: RefCell<Head>,
    framed: Cell<Option<Framed>>,
    body: RefCell<BodyFrame>,
    /// Octets of body that were queued.
    queued: Cell<u64>,
    warned: Cell<bool>,
    out: RefCell<OutQueue>,
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
            asked: Cell::default(),
            expects: Cell::new(false),
            input: RefCell::default(),
            head: RefCell::default(),
            framed: Cell::new(None),
            body: RefCell::new(BodyFrame::EMPTY),
            queued: Cell::new(0),
            warned: Cell::new(false),
            out: RefCell::default(),
        }
    }

    // ---- what the driver sees -------------------------------------------------------------

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
    pub fn input(&self) -> RefMut<'_, RequestBody> {
        self.input.borrow_mut()
    }

    /// What the client asked for, as far as it concerns the framing of the answer.
    pub fn asked(&self) -> Asked {
        self.asked.get()
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

    /// Begin a request whose head is pinned in `buf`.  `id` names it in log lines.
    pub fn begin(&self, head: &wire::Head, buf: &ReadBuf, origin: &Origin<'_>, id: u64) {
        debug_assert_eq!(self.phase.get(), Phase::Idle);
        let service = &*self.service;
        let mut env = self.env.borrow_mut();
        *env = Environ::EMPTY;
        env.flags = service.env_flags;
        let (mut headers, mut vars) = (self.headers.borrow_mut(), self.vars.borrow_mut());
        environ::build(&mut env, head, buf, origin, &self.arena, &mut headers, &mut vars);
        env.bind(&self.handle, self);
        self.request_id.set(id);
        self.asked.set(Asked {
            version: head.version,
            is_head: head.is_head,
            is_connect: head.is_connect,
            keep_alive: head.keep_alive,
        });
        self.expects.set(head.expect_continue);
        self.outcome.set(Outcome::Close);
        self.phase.set(Phase::Reading);
        service.counters().requests.plus(1);
        service.counters().in_flight.plus(1);
    }

    /// A body is to come.  Says whether the application is to be called before it is complete.
    pub fn expect_body(&self, may_block: bool) -> bool {
        // Who waits for a 100 gets it when the application reads first: it has to run.
        let streaming = self.service.streaming || self.expects.get() && may_block;
        self.input().open(streaming, self.service.body_buffer);
        streaming
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
            self.encoder().interim(self.out().buffer(), &head);
        }
    }

    /// Call the application.
    pub fn run(&self, link: &dyn Link) {
        debug_assert_eq!(self.phase.get(), Phase::Reading);
        self.phase.set(Phase::Running);
        if let Some(hook) = &self.service.hooks.pre_request {
            self.enter(link, || hook(&self.env.borrow()));
        }
        match self.call_app(&self.service.app, link) {
            Ok(mut body) => {
                let first = body.take_first();
                let is_all = body.next.is_none() && self.queued.get() == 0;
                *self.body.borrow_mut() = body;
                if let Err(error) = self.emit(link, first, is_all) {
                    self.fail(link, &error);
                }
            }
            Err(code) => self.app_refused(link, code),
        }
    }

    /// Ask the application for more until there is enough to send, or it is done.
    pub fn advance(&self, link: &dyn Link) -> Progress {
        let mut fruitless = 0;
        loop {
            match self.phase.get() {
                Phase::Running => {}
                Phase::Draining if self.out.borrow().holds_chunks() => return Progress::Flush,
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

    /// One call of next().
    fn ask(&self, link: &dyn Link) -> Option<Progress> {
        let body = std::mem::replace(&mut *self.body.borrow_mut(), BodyFrame::EMPTY);
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
            // It may wait for room: a write() was refused.
            Err(None) if !self.out.borrow().is_empty() => Some(Progress::Flush),
            Err(None) if self.input.borrow().may_grow() => Some(Progress::Input),
            Err(None) => {
                let error = Error::new(Kind::State, "next() waits, but nothing will wake it");
                self.fail(link, &error);
                None
            }
            Err(Some(error)) => {
                self.app_refused(link, error.kind() as i32);
                None
            }
        }
    }

    /// Whether the head is out and no body goes with it.
    fn is_silent(&self) -> bool {
        self.framed.get().is_some_and(|framed| framed.body == BodyMode::Absent)
    }

    /// Whether only the application can take the request further; it has to run where it runs.
    pub fn needs_app(&self) -> bool {
        match self.phase.get() {
            Phase::Running => true,
            Phase::Draining => self.body.borrow().close.is_some(),
            Phase::Idle | Phase::Reading | Phase::Done => false,
        }
    }

    /// The application cannot be called now.
    pub fn shed(&self, link: &dyn Link) {
        self.service.counters().shed.up();
        self.answer_error(link, 503, "too busy");
    }

    /// The client is gone: nothing more can reach it.
    pub fn abort(&self, link: &dyn Link) {
        match self.phase.get() {
            Phase::Idle | Phase::Done => return,
            Phase::Reading | Phase::Running | Phase::Draining => {}
        }
        self.service.counters().aborted.up();
        self.input().fail(Kind::Closed);
        self.cut(link);
    }

    /// The body of the request went wrong before the application was called.
    pub fn refuse(&self, link: &dyn Link, status: u16, reason: &str) {
        self.close_after();
        self.answer_error(link, status, reason);
    }

    /// Ready for the next request, and this one counted.  The octets to send stay.
    pub fn reset(&mut self) {
        if self.phase.get() == Phase::Done {
            let counters = self.service.counters();
            if self.framed.get().is_some() {
                counters.count_status(self.head.get_mut().status());
            }
            counters.sent.plus(self.queued.get());
            counters.received.plus(self.input.get_mut().received());
            counters.in_flight.down();
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
        self.phase.set(Phase::Idle);
    }

    // ---- what the application does --------------------------------------------------------

    /// start_response.
    pub(super) fn start_response(&self, head: &Response<'_>) -> Result<()> {
        self.must_run()?;
        let mut mine = self.head.try_borrow_mut().map_err(|_| busy())?;
        if !(100..200).contains(&head.status) {
            return mine.set(head, self.framed.get().is_some());
        }
        drop(mine);
        self.early(head)
    }

    /// An early hint, or another 1xx: out at once, on 1.1 and before the head.
    fn early(&self, head: &Response<'_>) -> Result<()> {
        if head.status == 101 {
            return Err(Error::new(
                Kind::Unsupported,
                "start_response: 101 needs a connection that can be handed over",
            ));
        }
        let mut interim = Head::default();
        interim.set_interim(head)?;
        if self.framed.get().is_some() || self.asked.get().version < wire::Version::Http11 {
            return Ok(());
        }
        if head.status == 100 {
            self.expects.set(false);
        }
        let mut out = self.out.try_borrow_mut().map_err(|_| busy())?;
        self.encoder().interim(out.buffer(), &interim.as_wire());
        drop(out);
        self.link()?.flush(self, u64::MAX)
    }

    /// WSGI's write().
    pub(super) fn write(&self, chunk: OwnedChunk) -> Result<Written> {
        self.must_run()?;
        if self.outcome.get() == Outcome::Cut {
            return Err(Error::from(Kind::Closed));
        }
        let link = self.link()?;
        if self.out.try_borrow_mut().map_err(|_| busy())?.len() >= self.service.output_buffer {
            if !link.may_block() {
                return Ok(Written::Refused(chunk));
            }
            link.flush(self, 0)?;
        }
        if !chunk.has_release() && chunk.is_sound() && (chunk.is_file() || chunk.len() > COPY) {
            // Only ours until we return.
            self.emit_copy(link, &chunk)?;
        } else {
            self.emit(link, chunk, false)?;
        }
        link.flush(self, if link.may_block() { 0 } else { u64::MAX })?;
        Ok(Written::Taken)
    }

    fn emit_copy(&self, link: &dyn Link, chunk: &OwnedChunk) -> Result<()> {
        if chunk.is_file() {
            return Err(Error::new(Kind::Invalid, "write: a file range needs a release function"));
        }
        self.emit(link, OwnedChunk::from_vec(chunk.octets().to_vec()), false)
    }

    /// wsgi.input.read: `None` is "not now", 0 the end.
    pub(super) fn read(&self, buf: &mut [u8], flags: u32) -> Result<Option<usize>> {
        self.read_by(flags, |input| input.read(buf))
    }

    /// wsgi.input.readline.
    pub(crate) fn read_line(&self, buf: &mut [u8], flags: u32) -> Result<Option<usize>> {
        self.read_by(flags, |input| input.read_line(buf))
    }

    fn read_by(
        &self,
        flags: u32,
        mut take: impl FnMut(&mut RequestBody) -> Result<Read>,
    ) -> Result<Option<usize>> {
        loop {
            match take(&mut *self.input.try_borrow_mut().map_err(|_| busy())?)? {
                Read::Data(n) => return Ok(Some(n)),
                Read::End => return Ok(Some(0)),
                Read::Empty => {}
            }
            let link = self.link()?;
            if self.expects.get() {
                self.send_continue();
                link.flush(self, u64::MAX)?;
            }
            if flags & NOWAIT != 0 {
                return Ok(None);
            }
            if !link.may_block() {
                return Err(Error::new(
                    Kind::Busy,
                    "gw_read: nothing has arrived and this thread must not wait: GW_NOWAIT",
                ));
            }
            link.wait_input(self)?;
        }
    }

    /// Hang something on the request; `drop` runs when it is over, last hung first.
    pub(crate) fn put(
        &self,
        key: *const c_void,
        value: *mut c_void,
        drop: Option<unsafe extern "C" fn(value: *mut c_void)>,
    ) -> Result<()> {
        let mut attached = self.attached.try_borrow_mut().map_err(|_| busy())?;
        attached.push(Attachment { key, value, drop });
        Ok(())
    }

    /// What was hung on the request last under this key; NULL when nothing was.
    pub(crate) fn at(&self, key: *const c_void) -> *mut c_void {
        let attached = self.attached.borrow();
        let found = attached.iter().rev().find(|attachment| attachment.key == key);
        found.map_or(std::ptr::null_mut(), |attachment| attachment.value)
    }

    /// Memory of the request.
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Whether the client has left.
    pub(crate) fn is_gone(&self) -> bool {
        self.outcome.get() == Outcome::Cut || self.link().is_ok_and(|link| link.is_gone())
    }

    /// What names the request in log lines.
    pub fn request_id(&self) -> Octets<'static> {
        let mut digits = [0; 16];
        hex(self.request_id.get(), &mut digits);
        self.arena.copy(&digits)
    }

    /// A line in the log about this request.
    pub fn log(&self, level: Level, text: &[u8]) {
        if self.service.log.enabled(level) {
            let mut digits = [0; 16];
            hex(self.request_id.get(), &mut digits);
            let id = std::str::from_utf8(&digits).unwrap_or("");
            self.service.log.write_octets(level, "app", id, text);
        }
    }

    /// An error of the application, in the log.
    pub(super) fn complain(&self, error: &Error) {
        // That a client leaves is nobody's fault.
        let level = if error.kind() == Kind::Closed { Level::Debug } else { Level::Error };
        self.log(level, error.message().as_bytes());
    }

    fn must_run(&self) -> Result<()> {
        match self.phase.get() {
            Phase::Running => Ok(()),
            _ => Err(Error::new(Kind::State, "the request is over, or not begun")),
        }
    }

    // ---- the answer -----------------------------------------------------------------------

    fn encoder(&self) -> &'static dyn Encoder {
        &http1::Encoder
    }

    /// Commit the head: from here on the status is the client's.
    fn commit(&self, link: &dyn Link, known: Option<u64>) -> Result<Framed> {
        if let Some(framed) = self.framed.get() {
            return Ok(framed);
        }
        let head = self.head.borrow();
        if !head.is_started() {
            return Err(Error::new(Kind::State, "a body without start_response"));
        }
        let mut asked = self.asked.get();
        if let (Some(promised), Some(known)) = (head.content_length(), known)
            && promised > known
            && !asked.is_head
            && !matches!(head.status(), 204 | 304)
        {
            return Err(Error::new(
                Kind::App,
                format!("Content-Length is {promised}, the body has {known} octets"),
            ));
        }
        // A client that was not told to go on may send the body, or the next request: nobody knows.
        asked.keep_alive = asked.keep_alive && !self.expects.get() && link.keep_alive(self);
        let mut out = self.out.borrow_mut();
        let framed = self.encoder().head(out.buffer(), &asked, &head.as_wire(), known, link.date());
        self.framed.set(Some(framed));
        Ok(framed)
    }

    /// A piece of the answer's body.  `is_all`: there is no other.
    fn emit(&self, link: &dyn Link, mut chunk: OwnedChunk, is_all: bool) -> Result<()> {
        if !chunk.is_sound() {
            return Err(Error::new(
                Kind::Invalid,
                "a chunk without data, longer than memory, or of no possible range of a file",
            ));
        }
        if is_all {
            self.commit(link, Some(chunk.len()))?;
        }
        if chunk.is_empty() {
            if is_all {
                self.end(link);
            }
            return Ok(());
        }
        let framed = self.commit(link, None)?;
        self.fit(framed.body, &mut chunk);
        let (len, mode) = (chunk.len(), framed.body);
        if mode != BodyMode::Absent && len > 0 {
            self.queued.set(self.queued.get() + len);
            let limit = if chunk.has_release() { COPY } else { COPY_BORROWED };
            let mut out = self.out.borrow_mut();
            self.encoder().before(out.buffer(), mode, len);
            if len <= limit && !chunk.is_file() {
                out.buffer().extend_from_slice(chunk.octets());
                self.encoder().after(out.buffer(), mode);
                drop(out);
                drop(chunk);
            } else {
                out.push(chunk);
                self.encoder().after(out.buffer(), mode);
            }
        }
        if is_all {
            self.end(link);
        }
        Ok(())
    }

    /// Never more than was promised.
    fn fit(&self, mode: BodyMode, chunk: &mut OwnedChunk) {
        let room = match mode {
            BodyMode::Length(promised) => promised - self.queued.get(),
            BodyMode::Absent if self.asked.get().is_head => return,
            BodyMode::Absent => 0,
            BodyMode::Chunked | BodyMode::Close => return,
        };
        if chunk.len() > room {
            if !self.warned.replace(true) {
                let status = self.head.borrow().status();
                self.log(
                    Level::Warn,
                    format!("the body of this {status} is longer than {room} more octets: cut off")
                        .as_bytes(),
                );
            }
            chunk.truncate(room);
        }
    }

    /// The application has nothing more to say.
    fn end(&self, link: &dyn Link) {
        let framed = match self.commit(link, Some(0)) {
            Ok(framed) => framed,
            Err(error) => return self.fail(link, &error),
        };
        if let BodyMode::Length(promised) = framed.body
            && promised > self.queued.get()
        {
            let error = Error::new(
                Kind::App,
                format!("Content-Length is {promised}, the body had {} octets", self.queued.get()),
            );
            return self.fail(link, &error);
        }
        self.encoder().end(self.out().buffer(), framed.body);
        let keep = if framed.keep_alive { Outcome::KeepAlive } else { Outcome::Close };
        self.outcome.set(keep);
        self.phase.set(Phase::Draining);
    }

    /// The application returned an error, and said why in the log if it wanted to.
    fn app_refused(&self, link: &dyn Link, code: i32) {
        let kind = Kind::from_code(code).unwrap_or(Kind::App);
        let failure = self.input.borrow().failure();
        if failure.is_some() {
            self.close_after();
        }
        match failure {
            // Its request was cut short, and that is what it reports.
            Some(Kind::Closed) => self.abort(link),
            Some(Kind::Timeout) => self.answer_or_cut(link, 408, "the body took too long"),
            Some(Kind::Limit) => self.answer_or_cut(link, 413, "the body is too large"),
            Some(Kind::Protocol) => self.answer_or_cut(link, 400, "malformed body"),
            None if kind == Kind::Closed && link.is_gone() => self.abort(link),
            _ => self.fail(link, &Error::new(kind, format!("application: {}", kind.text()))),
        }
    }

    /// The application broke its word, or gave up: a 500 while that is possible.
    fn fail(&self, link: &dyn Link, error: &Error) {
        if self.phase.get() == Phase::Done {
            return;
        }
        self.service.counters().app_errors.up();
        self.complain(error);
        self.answer_or_cut(link, 500, "");
    }

    /// No other request on this connection.
    fn close_after(&self) {
        self.asked.set(Asked { keep_alive: false, ..self.asked.get() });
    }

    fn answer_or_cut(&self, link: &dyn Link, status: u16, reason: &str) {
        if self.framed.get().is_some() {
            self.service.counters().aborted.up();
            return self.cut(link);
        }
        self.answer_error(link, status, reason);
    }

    /// An answer of our own.
    fn answer_error(&self, link: &dyn Link, status: u16, reason: &str) {
        let separator = if reason.is_empty() { "" } else { ": " };
        let phrase = http1::reason_phrase(status);
        let text = format!("{status} {phrase}{separator}{reason}\n");
        let fields = [
            Pair::new(b"Content-Type", b"text/plain; charset=utf-8"),
            Pair::new(b"Retry-After", b"1"),
        ];
        let fields = if status == 503 { &fields[..] } else { &fields[..1] };
        let response = Response::new(status, fields).replacing();
        let known = Some(text.len() as u64);
        let set = self.head.borrow_mut().set(&response, false);
        let committed = set.and_then(|()| self.commit(link, known));
        if let Ok(framed) = committed {
            if framed.body != BodyMode::Absent {
                self.queued.set(text.len() as u64);
                self.out().buffer().extend_from_slice(text.as_bytes());
            }
            let keep = if framed.keep_alive { Outcome::KeepAlive } else { Outcome::Close };
            self.outcome.set(keep);
        }
        self.finish(link);
    }

    /// The head is out and the rest will not come: the client must see it.
    fn cut(&self, link: &dyn Link) {
        self.outcome.set(Outcome::Cut);
        // What was queued before is the client's, as far as it takes it now.  The rest is released
        // before close(), like all chunks.
        let _ = link.flush(self, u64::MAX);
        self.out().clear();
        self.finish(link);
    }

    /// The end of a request, in the order that everybody may rely on: chunks were released, then
    /// close(), then what hangs on the environ.
    fn finish(&self, link: &dyn Link) {
        if self.phase.replace(Phase::Done) == Phase::Done {
            return;
        }
        let mut body = std::mem::replace(&mut *self.body.borrow_mut(), BodyFrame::EMPTY);
        self.enter(link, || body.finish());
        link.finished(self);
        loop {
            // Not borrowed while the destructor runs, which may look at what is still there.
            let last = self.attached.borrow_mut().pop();
            let Some(attachment) = last else { break };
            if let Some(drop) = attachment.drop {
                super::app::call_drop(drop, attachment.value);
            }
        }
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

fn busy() -> Error {
    Error::new(Kind::State, "called from inside a release function of the same request")
}

/// 16 hexadecimal digits.
fn hex(mut number: u64, digits: &mut [u8; 16]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}
