//! The answer of an exchange: its head is committed, its body framed, its end told, and what goes
//! wrong becomes a clean error, or a visible cut.

use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::{OwnedChunk, Pair};
use crate::gateway::abi::{BodyFrame, Response};
use crate::gateway::app;
use crate::wire::front::Speech;
use crate::wire::{Asked, BodyMode, Encoder, Framed, http1};

use super::{COPY, COPY_BORROWED, Exchange, Link, Outcome, Phase};

impl Exchange {
    /// The front's.
    #[inline]
    pub(super) fn encoder(&self) -> Speech {
        self.speech.get()
    }

    /// Commit the head: from here on the status is the client's.
    #[inline(always)]
    pub(super) fn commit(&self, link: &dyn Link, known: Option<u64>) -> Result<Framed> {
        match self.framed.get() {
            Some(framed) => Ok(framed),
            None => self.commit_head(link, known),
        }
    }

    fn commit_head(&self, link: &dyn Link, known: Option<u64>) -> Result<Framed> {
        let mut head = self.head.borrow_mut();
        if !head.is_started() {
            return Err(Error::new(Kind::State, "a body without start_response"));
        }
        let mut asked = self.asked.get();
        if let (Some(promised), Some(known)) = (head.content_length(), known)
            && promised > known
            && !asked.is_head
            && !matches!(head.status(), 204 | 304)
        {
            return Err(short(promised, known));
        }
        if self.service.asks && !self.expired.get() && !link.may_commit() {
            self.expired.set(true);
            return Err(Error::new(Kind::Closed, "the answer comes too late: request_timeout"));
        }
        // A client that was not told to go on may send the body, or the next request: nobody knows.
        asked.keep_alive = asked.keep_alive && !self.expects.get() && link.keep_alive(self);
        asked.keep_alive = asked.keep_alive && !head.closes();
        if known.is_some() && self.service.streaming && link.is_behind() {
            // The application is done, and nobody reads the rest.
            asked.keep_alive = false;
        }
        let mut out = self.out.borrow_mut();
        let framed = head.encode(self.encoder(), out.buffer(), asked, known, link.date());
        self.framed.set(Some(framed));
        Ok(framed)
    }

    /// A piece of the answer's body.  `is_all`: there is no other.
    pub(super) fn emit(&self, link: &dyn Link, mut chunk: OwnedChunk, is_all: bool) -> Result<()> {
        if !chunk.is_sound() {
            return Err(unsound());
        }
        if chunk.is_empty() && !is_all {
            return Ok(());
        }
        let framed = self.commit(link, is_all.then(|| chunk.len()))?;
        let mode = framed.body;
        let len = self.fit(mode, chunk.len());
        chunk.truncate(len);
        if mode != BodyMode::Absent && len > 0 {
            self.queued.set(self.queued.get() + len);
            match self.encoder() {
                // Known at compile time.
                Speech::Http => self.queue(&http1::Encoder, mode, chunk),
                other => self.queue_other(&other, mode, chunk)?,
            }
        }
        if is_all {
            self.complete(link, framed);
        }
        Ok(())
    }

    /// Queue what may be more than can be announced at once.
    #[inline(never)]
    fn queue_other(&self, encoder: &Speech, mode: BodyMode, chunk: OwnedChunk) -> Result<()> {
        let piece = encoder.piece();
        let in_pieces = self.lags.get() || chunk.len() > piece || chunk.is_file();
        if piece != u64::MAX && in_pieces {
            return self.put_off(chunk);
        }
        self.queue(encoder, mode, chunk);
        Ok(())
    }

    /// Queue a piece of body that is announced as a whole.
    #[inline(always)]
    pub(super) fn queue(&self, encoder: &impl Encoder, mode: BodyMode, chunk: OwnedChunk) {
        let len = chunk.len();
        let limit = if chunk.has_release() { COPY } else { COPY_BORROWED };
        let mut out = self.out.borrow_mut();
        encoder.before(out.buffer(), mode, len);
        if len <= limit && !chunk.is_file() {
            out.buffer().extend_from_slice(chunk.octets());
            encoder.after(out.buffer(), mode);
            drop(out);
            drop(chunk);
        } else {
            out.push(chunk);
            encoder.after(out.buffer(), mode);
        }
    }

    /// A small piece of the answer's body, copied.
    pub(super) fn emit_text(&self, link: &dyn Link, text: &[u8]) -> Result<()> {
        let mode = self.commit(link, None)?.body;
        let len = self.fit(mode, text.len() as u64);
        if mode != BodyMode::Absent && len > 0 {
            self.queued.set(self.queued.get() + len);
            if self.lags.get() {
                let text = text[..len as usize].to_vec();
                return self.put_off(OwnedChunk::from_vec(text));
            }
            let (encoder, mut out) = (self.encoder(), self.out.borrow_mut());
            let most = usize::try_from(encoder.piece()).unwrap_or(usize::MAX);
            for text in text[..len as usize].chunks(most) {
                encoder.before(out.buffer(), mode, text.len() as u64);
                out.buffer().extend_from_slice(text);
                encoder.after(out.buffer(), mode);
            }
        }
        Ok(())
    }

    /// How many of `len` more octets may be sent: never more than was promised.
    fn fit(&self, mode: BodyMode, len: u64) -> u64 {
        let room = match mode {
            BodyMode::Length(promised) => promised - self.queued.get(),
            BodyMode::Absent if self.asked.get().is_head => return len,
            BodyMode::Absent => 0,
            BodyMode::Chunked | BodyMode::Close => return len,
        };
        if len > room {
            self.warn_of_cut(room);
        }
        len.min(room)
    }

    #[cold]
    fn warn_of_cut(&self, room: u64) {
        if !self.warned.replace(true) {
            let status = self.head.borrow().status();
            let text =
                format!("the body of this {status} is longer than {room} more octets: cut off");
            self.log(Level::Warn, text.as_bytes());
        }
    }

    /// The application has nothing more to say.
    pub(super) fn end(&self, link: &dyn Link) {
        match self.commit(link, Some(0)) {
            Ok(framed) => self.complete(link, framed),
            Err(error) => self.fail(link, &error),
        }
    }

    /// All that follows the head was queued.
    #[inline(always)]
    pub(super) fn complete(&self, link: &dyn Link, framed: Framed) {
        if self.outcome.get() == Outcome::Cut {
            // A write() has failed, whatever the application made of that.
            self.service.counters().aborted.up();
            return self.cut(link, "");
        }
        if let BodyMode::Length(promised) = framed.body
            && promised > self.queued.get()
        {
            return self.fail(link, &short(promised, self.queued.get()));
        }
        if self.lags.get() {
            return self.put_end_off(framed);
        }
        self.encoder().end(self.out().buffer(), framed.body);
        let keep = if framed.keep_alive { Outcome::KeepAlive } else { Outcome::Close };
        self.outcome.set(keep);
        self.phase.set(Phase::Draining);
    }

    /// The application returned an error, and said why in the log if it wanted to.
    pub(super) fn app_refused(&self, link: &dyn Link, code: i32) {
        let kind = Kind::from_code(code).unwrap_or(Kind::App);
        let failure = self.input().failure();
        if failure.is_some() && !self.encoder().ends_bodies() {
            self.close_after();
        }
        match failure {
            // Its request was cut short, and that is what it reports.
            Some(Kind::Closed) if self.encoder().ends_bodies() => {
                self.service.counters().aborted.up();
                self.cut(link, "");
            }
            Some(Kind::Closed) => self.abort(link),
            Some(Kind::Timeout) => self.answer_or_cut(link, 408, "the body took too long"),
            Some(Kind::Limit) => self.answer_or_cut(link, 413, "the body is too large"),
            Some(Kind::Protocol) => self.answer_or_cut(link, 400, "malformed body"),
            None if kind == Kind::Closed && link.is_gone() => self.abort(link),
            // It reports what its write() said.
            None if self.outcome.get() == Outcome::Cut
                && matches!(kind, Kind::Closed | Kind::Timeout) =>
            {
                self.abort(link);
            }
            _ => self.fail(link, &Error::new(kind, format!("application: {}", kind.text()))),
        }
    }

    /// The application broke its word, or gave up: a 500 while that is possible.
    pub(super) fn fail(&self, link: &dyn Link, error: &Error) {
        if self.phase.get() == Phase::Done {
            return;
        }
        if self.expired.get() {
            return self.abort(link);
        }
        self.service.counters().app_errors.up();
        self.complain(error);
        if self.framed.get().is_some() {
            self.service.counters().aborted.up();
            return self.cut(link, error.message());
        }
        self.answer_told(link, 500, "", error.message());
    }

    /// No other request on this connection.
    pub(super) fn close_after(&self) {
        self.asked.set(Asked { keep_alive: false, ..self.asked.get() });
    }

    pub(super) fn answer_or_cut(&self, link: &dyn Link, status: u16, reason: &str) {
        if self.framed.get().is_some() {
            self.service.counters().aborted.up();
            return self.cut(link, reason);
        }
        self.answer_error(link, status, reason);
    }

    /// An answer of our own.
    pub fn answer_error(&self, link: &dyn Link, status: u16, reason: &str) {
        self.answer_told(link, status, reason, reason);
    }

    /// The same; `told` is for the web server's log, if it has one for us.
    fn answer_told(&self, link: &dyn Link, status: u16, reason: &str, told: &str) {
        self.excuses.set(true);
        let separator = if reason.is_empty() { "" } else { ": " };
        let phrase = http1::reason_phrase(status);
        let text = format!("{status} {phrase}{separator}{reason}\n");
        let fields = [
            Pair::new(b"Content-Type", b"text/plain; charset=utf-8"),
            Pair::new(b"Retry-After", b"1"),
        ];
        let fields = if status == 503 { &fields[..] } else { &fields[..1] };
        self.answer_whole(link, &Response::new(status, fields).replacing(), text.as_bytes(), told);
    }

    /// A page of our own, which no application has made.
    pub fn answer_page(&self, link: &dyn Link, media_type: &[u8], page: &[u8]) {
        let fields = [
            Pair::new(b"Content-Type", media_type),
            // What it says is true now.
            Pair::new(b"Cache-Control", b"no-store"),
        ];
        self.answer_whole(link, &Response::new(200, &fields).replacing(), page, "");
    }

    fn answer_whole(&self, link: &dyn Link, response: &Response<'_>, body: &[u8], told: &str) {
        let status = response.status;
        let known = Some(body.len() as u64);
        let set = self.head.borrow_mut().set(response, false);
        let committed = set.and_then(|()| self.commit(link, known));
        if let Ok(framed) = committed {
            self.encoder().complain(self.out().buffer(), told.as_bytes());
            if framed.body != BodyMode::Absent {
                self.queued.set(body.len() as u64);
                let (encoder, mut out) = (self.encoder(), self.out.borrow_mut());
                let most = usize::try_from(encoder.piece()).unwrap_or(usize::MAX);
                for piece in body.chunks(most) {
                    encoder.before(out.buffer(), framed.body, piece.len() as u64);
                    out.buffer().extend_from_slice(piece);
                    encoder.after(out.buffer(), framed.body);
                }
            }
            if status == 503 {
                self.encoder().end_busy(self.out().buffer(), framed.body);
            } else {
                self.encoder().end(self.out().buffer(), framed.body);
            }
            let keep = if framed.keep_alive { Outcome::KeepAlive } else { Outcome::Close };
            self.outcome.set(keep);
        }
        self.conclude(link);
    }

    /// The head is out and the rest will not come: the client must see it, and is told why if it has
    /// a log for that.
    pub(super) fn cut(&self, link: &dyn Link, why: &str) {
        if !self.say_cut(link, why) {
            self.break_off(link);
            self.conclude(link);
        }
    }

    /// Say that the answer is not whole, if there is a way.  What is queued goes out before that.
    fn say_cut(&self, link: &dyn Link, why: &str) -> bool {
        let encoder = self.encoder();
        if !encoder.ends_bodies() || self.outcome.get() == Outcome::Cut {
            return false;
        }
        let mut out = self.out();
        self.drop_rest(&mut out);
        encoder.complain(out.buffer(), why.as_bytes());
        encoder.cut(out.buffer());
        drop(out);
        let keeps = self.asked.get().keep_alive && link.keep_alive(self);
        self.outcome.set(match keeps {
            false => Outcome::Close,
            // It has cut its own request.
            true if why.is_empty() => Outcome::KeepAlive,
            true => Outcome::Told,
        });
        self.phase.set(Phase::Draining);
        true
    }

    /// Nothing more of it reaches the client.
    pub(super) fn break_off(&self, link: &dyn Link) {
        self.outcome.set(Outcome::Cut);
        // What was queued before is the client's, as far as it takes it now.  The rest is released
        // before close(), like all chunks.
        let _ = link.flush(self, u64::MAX);
        let mut out = self.out();
        out.clear();
        self.drop_rest(&mut out);
    }

    /// Nothing more is to be said.  What is left may be the business of another thread.
    fn conclude(&self, link: &dyn Link) {
        if self.is_later() && self.is_hung_on() || link.holds() {
            self.phase.set(Phase::Draining);
        } else {
            self.finish(link);
        }
    }

    /// The end of a request, in the order that everybody may rely on: chunks were released, then
    /// close(), then what hangs on the environ.
    pub(super) fn finish(&self, link: &dyn Link) {
        if self.phase.replace(Phase::Done) == Phase::Done {
            return;
        }
        if self.body.borrow().is_open() {
            let mut body = std::mem::replace(&mut *self.body.borrow_mut(), BodyFrame::EMPTY);
            self.enter(link, || body.finish());
        }
        link.finished(self);
        loop {
            // Not borrowed while the destructor runs, which may look at what is still there.
            let last = self.attached.borrow_mut().pop();
            let Some(attachment) = last else { break };
            if let Some(drop) = attachment.drop {
                app::call_drop(drop, attachment.value);
            }
        }
    }
}

/// Fewer octets than the head said.
#[cold]
fn short(promised: u64, there: u64) -> Error {
    Error::new(Kind::App, format!("Content-Length is {promised}, the body has {there} octets"))
}

#[cold]
fn unsound() -> Error {
    let text = "a chunk without data, longer than memory, or of no possible range of a file";
    Error::new(Kind::Invalid, text)
}
