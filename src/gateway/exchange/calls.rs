//! The application's side of an exchange: start_response, write(), reading the body, what hangs on a
//! request, and its lines in the log.

use std::ffi::c_void;

use crate::base::arena::Arena;
use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::{Octets, OwnedChunk};
use crate::gateway::abi::{AGAIN, EOF, NOWAIT, OK, Response};
use crate::gateway::deferred::Mode;
use crate::gateway::head::Head;
use crate::gateway::input::{Read, RequestBody};
use crate::wire;

use super::{Attachment, COPY, Exchange, Link, Outcome, Phase, Written};

impl Exchange {
    /// start_response.
    pub(in crate::gateway) fn start_response(&self, head: &Response<'_>) -> Result<()> {
        self.must_run()?;
        let mut mine = self.head.try_borrow_mut().map_err(|_| busy())?;
        if !(100..200).contains(&head.status) {
            mine.set(head, self.framed.get().is_some())?;
            drop(mine);
            self.tell_begun();
            return Ok(());
        }
        drop(mine);
        self.early(head)
    }

    /// An early hint, or another 1xx: out at once, on 1.1 and before the head.
    pub(super) fn early(&self, head: &Response<'_>) -> Result<()> {
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
        self.interim(out.buffer(), &interim.as_wire());
        drop(out);
        self.push(self.link()?, u64::MAX)
    }

    /// WSGI's write().
    pub(in crate::gateway) fn write(&self, chunk: OwnedChunk) -> Result<Written> {
        self.must_run()?;
        if self.outcome.get() == Outcome::Cut {
            return Err(Error::from(Kind::Closed));
        }
        let link = self.link()?;
        let unsent = self.out.try_borrow_mut().map_err(|_| busy())?.len();
        if unsent >= self.service.output_buffer || self.lags.get() {
            if !link.may_block() {
                self.refused.set(true);
                return Ok(Written::Refused(chunk));
            }
            self.push(link, 0)?;
        }
        self.refused.set(false);
        if !chunk.has_release() && chunk.is_sound() && (chunk.is_file() || chunk.len() > COPY) {
            // Only ours until we return.
            self.emit_copy(link, &chunk)?;
        } else {
            self.emit(link, chunk, false)?;
        }
        self.tell_begun();
        self.push(link, if link.may_block() { 0 } else { u64::MAX })?;
        Ok(Written::Taken)
    }

    /// Send.  What failed once is never told as whole, also when the application goes on.
    fn push(&self, link: &dyn Link, left: u64) -> Result<()> {
        loop {
            link.flush(self, left).inspect_err(|_| self.outcome.set(Outcome::Cut))?;
            if !self.lags.get() || !link.may_block() {
                return Ok(());
            }
            self.queue_pieces().inspect_err(|_| self.outcome.set(Outcome::Cut))?;
        }
    }

    pub(super) fn emit_copy(&self, link: &dyn Link, chunk: &OwnedChunk) -> Result<()> {
        if chunk.is_file() {
            return Err(Error::new(Kind::Invalid, "write: a file range needs a release function"));
        }
        self.emit(link, OwnedChunk::from_vec(chunk.octets().to_vec()), false)
    }

    /// wsgi.input.read: `None` is "not now", 0 the end.
    pub(in crate::gateway) fn read(&self, buf: &mut [u8], flags: u32) -> Result<Option<usize>> {
        self.read_by(flags, |input| input.read(buf))
    }

    /// wsgi.input.readline.
    pub(crate) fn read_line(&self, buf: &mut [u8], flags: u32) -> Result<Option<usize>> {
        self.read_by(flags, |input| input.read_line(buf))
    }

    #[inline]
    pub(super) fn read_by(
        &self,
        flags: u32,
        take: impl FnMut(&mut RequestBody) -> Result<Read>,
    ) -> Result<Option<usize>> {
        let got = self.take_input(flags, take);
        if self.watcher.borrow().is_some() {
            self.tell_read(&got);
        }
        got
    }

    #[cold]
    fn tell_read(&self, got: &Result<Option<usize>>) {
        let code = match got {
            Ok(None) => AGAIN,
            Ok(Some(0)) => EOF,
            Ok(Some(_)) => OK,
            Err(error) => error.kind() as i32,
        };
        let watcher = self.watcher.borrow().clone();
        if let Some(watcher) = watcher {
            watcher.reads(code);
        }
    }

    fn take_input(
        &self,
        flags: u32,
        mut take: impl FnMut(&mut RequestBody) -> Result<Read>,
    ) -> Result<Option<usize>> {
        let handed = self.deferred.get();
        if let Some(shared) = handed.filter(|shared| shared.mode() != Mode::Iterating) {
            return match shared.read_by(take)? {
                None if flags & NOWAIT == 0 => Err(must_not_wait()),
                got => Ok(got),
            };
        }
        loop {
            let read = match handed {
                Some(shared) => take(&mut shared.input()),
                None => take(&mut *self.input.try_borrow_mut().map_err(|_| busy())?),
            };
            match read? {
                Read::Data(n) => return Ok(Some(n)),
                Read::End => return Ok(Some(0)),
                Read::Empty => self.starved.set(true),
            }
            let link = self.link()?;
            if self.expects.get() {
                self.send_continue();
                self.push(link, u64::MAX)?;
            }
            if flags & NOWAIT != 0 {
                // On the loop whoever comes back has been fed; elsewhere nobody else looks.
                if link.may_block() && link.try_input(self)? {
                    continue;
                }
                return Ok(None);
            }
            if !link.may_block() {
                return Err(must_not_wait());
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
        if let Some(shared) = self.deferred.get()
            && (shared.is_gone() || shared.mode() != Mode::Iterating)
        {
            // Perhaps asked in another thread.
            return shared.is_gone();
        }
        self.outcome.get() == Outcome::Cut || self.link().is_ok_and(|link| link.is_gone())
    }

    /// Whether the server is neither stopping nor about to; one that is not asked is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.link().map_or(true, |link| link.is_ready())
    }

    /// Whether whoever sent the request is believed to speak of others.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted.get()
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
    pub(in crate::gateway) fn complain(&self, error: &Error) {
        // That a client leaves is nobody's fault.
        let level = if error.kind() == Kind::Closed { Level::Debug } else { Level::Error };
        self.log(level, error.message().as_bytes());
    }

    pub(super) fn must_run(&self) -> Result<()> {
        match self.phase.get() {
            Phase::Running => Ok(()),
            _ => Err(Error::new(Kind::State, "the request is over, or not begun")),
        }
    }
}

fn must_not_wait() -> Error {
    let text = "gw_read: nothing has arrived and this thread must not wait: GW_NOWAIT";
    Error::new(Kind::Busy, text)
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
