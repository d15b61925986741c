//! The body of a request on its way to the application: a view of the read buffer, memory, or, past
//! a limit, an unlinked temporary file.  In streaming mode, a window that the application empties.

use std::cell::RefMut;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use parking_lot::MutexGuard;

use crate::base::error::{Error, Kind, Result};
use crate::base::octets::Octets;
use crate::sys::file::TempFile;

/// Storage that a request keeps for the next one on its connection.
const KEEP: usize = 64 * 1024;

/// Octets of a stream that may wait for the application, at least.
const WINDOW_MIN: usize = 1024;

/// How far the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// More is to come.
    Open,
    /// All of it is here.
    Complete,
    /// It was cut short, and every read says so.
    Failed(Kind),
}

/// The outcome of a read that never waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// This many octets.
    Data(usize),
    /// The end.
    End,
    /// Nothing yet.
    Empty,
}

/// The body of one request.
#[derive(Debug)]
pub struct RequestBody {
    state: State,
    /// The application reads while the body arrives.
    streaming: bool,
    /// Octets that may stay in memory.
    room: usize,
    /// The body is to stay in the read buffer; this many octets.
    viewed: Option<u64>,
    /// The whole body, where it is in the read buffer.
    view: Octets<'static>,
    /// The body, the window of a stream, or what is not yet in the file.
    memory: Vec<u8>,
    file: Option<TempFile>,
    /// Octets that the application has read; in a stream, of the window.
    taken: u64,
    received: u64,
}

impl Default for RequestBody {
    fn default() -> Self {
        RequestBody {
            state: State::Complete,
            streaming: false,
            room: 0,
            viewed: None,
            view: Octets::MISSING,
            memory: Vec::new(),
            file: None,
            taken: 0,
            received: 0,
        }
    }
}

impl RequestBody {
    /// A body is to come.  `room`: octets that stay in memory (buffered), or that wait for the
    /// application at a time (streaming).
    pub fn open(&mut self, streaming: bool, room: usize) {
        self.state = State::Open;
        self.streaming = streaming;
        // A window that nothing fits into would never move.
        self.room = if streaming { room.max(WINDOW_MIN) } else { room };
    }

    /// The body, of `len` octets, will be whole in the read buffer.
    pub fn expect_view(&mut self, len: u64) {
        self.viewed = Some(len);
    }

    /// Whether the body is to stay in the read buffer, and is not all there yet.
    pub fn is_view(&self) -> bool {
        self.viewed.is_some()
    }

    /// Whether `unread` octets of the read buffer hold the whole body.
    pub fn is_view_ready(&self, unread: usize) -> bool {
        self.viewed.is_some_and(|len| unread as u64 >= len)
    }

    /// Forget the body.
    pub fn clear(&mut self) {
        self.state = State::Complete;
        self.viewed = None;
        self.view = Octets::MISSING;
        self.memory.clear();
        self.memory.shrink_to(KEEP);
        self.file = None;
        (self.taken, self.received) = (0, 0);
    }

    /// The application reads no more: what is still to come is not kept.
    pub fn abandon(&mut self) {
        self.view = Octets::MISSING;
        self.memory.clear();
        self.file = None;
    }

    /// Whether the application is to be called before the body is complete.
    pub fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Whether more is to come.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Octets that came so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the window of a stream is full: the client must wait.
    pub fn is_full(&self) -> bool {
        self.streaming && self.memory.len() as u64 - self.taken >= self.room as u64
    }

    /// Whether more can arrive before the application reads.
    pub fn may_grow(&self) -> bool {
        self.is_open() && !self.is_full()
    }

    /// All of the body at once, pinned in the read buffer.
    pub fn set_view(&mut self, body: Octets<'static>) {
        self.viewed = None;
        self.view = body;
        self.received = body.as_slice().len() as u64;
    }

    /// More of the body, copied.
    pub fn push(&mut self, data: &[u8], dir: &Path) -> Result<()> {
        self.before_push();
        self.memory.extend_from_slice(data);
        self.received += data.len() as u64;
        self.spill(dir)
    }

    /// All of the body, as a file: it is read where it is.
    pub fn adopt(&mut self, file: TempFile) {
        debug_assert!(self.memory.is_empty() && self.file.is_none());
        self.received += file.len();
        self.file = Some(file);
    }

    /// Where to read more of the body into, at the end; then [`Self::pushed`].
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.before_push();
        &mut self.memory
    }

    /// `n` octets were appended to [`Self::space`].
    pub fn pushed(&mut self, n: usize, dir: &Path) -> Result<()> {
        self.received += n as u64;
        self.spill(dir)
    }

    fn before_push(&mut self) {
        if self.streaming && self.taken > 0 {
            self.memory.drain(..self.taken as usize);
            self.taken = 0;
        }
    }

    fn spill(&mut self, dir: &Path) -> Result<()> {
        if self.streaming || self.memory.len() <= self.room {
            return Ok(());
        }
        let spool_failed =
            |source| Error::os(format_args!("spool a request body in {}", dir.display()), &source);
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(TempFile::new(dir).map_err(spool_failed)?),
        };
        file.append(&self.memory).map_err(spool_failed)?;
        self.memory.clear();
        Ok(())
    }

    /// Nothing more is to come.
    pub fn complete(&mut self) {
        if self.state == State::Open {
            self.state = State::Complete;
        }
    }

    /// Nothing more will come although it should.
    pub fn fail(&mut self, why: Kind) {
        if self.state == State::Open {
            self.state = State::Failed(why);
        }
    }

    /// Why the body was cut short, if it was.
    pub fn failure(&self) -> Option<Kind> {
        match self.state {
            State::Failed(why) => Some(why),
            State::Open | State::Complete => None,
        }
    }

    /// Octets in the file.
    fn filed(&self) -> u64 {
        self.file.as_ref().map_or(0, TempFile::len)
    }

    /// Octets that can be read without waiting.
    fn available(&self) -> u64 {
        let whole = self.view.as_slice().len() as u64 + self.filed() + self.memory.len() as u64;
        whole - self.taken
    }

    /// Copy what is there into `buf`, without taking it.
    fn peek(&self, buf: &mut [u8]) -> Result<usize> {
        let resident = if self.view.is_missing() { &self.memory } else { self.view.as_slice() };
        if self.taken < self.filed() {
            let Some(file) = &self.file else {
                return Ok(0);
            };
            return file
                .read_at(buf, self.taken)
                .map_err(|source| Error::os("read a spooled request body", &source));
        }
        let rest = &resident[(self.taken - self.filed()) as usize..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    /// Up to `buf.len()` octets.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<Read> {
        if self.available() > 0 {
            let n = self.peek(buf)?;
            self.taken += n as u64;
            return Ok(Read::Data(n));
        }
        self.nothing()
    }

    /// A line with its newline, or as much of one as fits.
    pub fn read_line(&mut self, buf: &mut [u8]) -> Result<Read> {
        let mut n = 0;
        while n < buf.len() && (n as u64) < self.available() {
            self.taken += n as u64;
            let more = self.peek(&mut buf[n..]);
            self.taken -= n as u64;
            let more = more?;
            if let Some(end) = memchr::memchr(b'\n', &buf[n..n + more]) {
                self.taken += (n + end + 1) as u64;
                return Ok(Read::Data(n + end + 1));
            }
            n += more;
        }
        let whole = n == buf.len() || !self.is_open() || self.is_full();
        if n > 0 && whole {
            self.taken += n as u64;
            return Ok(Read::Data(n));
        }
        self.nothing()
    }

    /// What is left, if it lies in one piece in memory that stays until the request is over.
    pub fn take_rest(&mut self) -> Option<Octets<'static>> {
        if self.is_open() || self.streaming || self.file.is_some() || self.view.is_missing() {
            return None;
        }
        let rest = Octets::new(&self.view.as_slice()[self.taken as usize..]);
        self.taken = self.view.as_slice().len() as u64;
        Some(rest)
    }

    /// Octets that are left to read of a body that is complete.
    pub fn rest(&self) -> u64 {
        self.available()
    }

    fn nothing(&self) -> Result<Read> {
        match self.state {
            State::Open => Ok(Read::Empty),
            State::Complete => Ok(Read::End),
            State::Failed(why) => Err(Error::from(why)),
        }
    }
}

/// The body of a request, of an exchange or of a handle.
#[derive(Debug)]
pub enum InputRef<'a> {
    /// The exchange has it to itself.
    Own(RefMut<'a, RequestBody>),
    /// A handle may read it.
    Shared(MutexGuard<'a, RequestBody>),
}

impl Deref for InputRef<'_> {
    type Target = RequestBody;

    fn deref(&self) -> &RequestBody {
        match self {
            InputRef::Own(input) => input,
            InputRef::Shared(input) => input,
        }
    }
}

impl DerefMut for InputRef<'_> {
    fn deref_mut(&mut self) -> &mut RequestBody {
        match self {
            InputRef::Own(input) => input,
            InputRef::Shared(input) => input,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(body: &mut RequestBody, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buf = vec![0; step];
        while let Read::Data(n) = body.read(&mut buf).unwrap() {
            all.extend_from_slice(&buf[..n]);
        }
        all
    }

    #[test]
    fn a_body_past_the_limit_is_spooled_and_read_back_whole() {
        let dir = std::env::temp_dir();
        let content: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
        for room in [0, 1, 1000, 65_536, 200_000] {
            let mut body = RequestBody::default();
            body.open(false, room);
            for piece in content.chunks(777) {
                body.push(piece, &dir).unwrap();
            }
            assert_eq!(body.file.is_some(), room < content.len());
            body.complete();
            assert_eq!(drain(&mut body, 4096), content, "room {room}");
            assert_eq!(body.read(&mut [0; 8]).unwrap(), Read::End);
        }
    }

    #[test]
    fn lines_end_at_newlines_at_the_cap_and_at_the_end() {
        let dir = std::env::temp_dir();
        for room in [2, 100] {
            let mut body = RequestBody::default();
            body.open(false, room);
            body.push(b"one\ntwo-is-long\n\nlast", &dir).unwrap();
            body.complete();
            let mut buf = [0; 6];
            let mut lines = Vec::new();
            while let Read::Data(n) = body.read_line(&mut buf).unwrap() {
                lines.push(String::from_utf8(buf[..n].to_vec()).unwrap());
            }
            assert_eq!(lines, ["one\n", "two-is", "-long\n", "\n", "last"], "room {room}");
        }
    }

    #[test]
    fn a_stream_is_a_window_and_waits_for_whole_lines() {
        let dir = std::env::temp_dir();
        let mut body = RequestBody::default();
        body.open(true, WINDOW_MIN);
        let mut buf = [0; 2 * WINDOW_MIN];
        assert_eq!(body.read(&mut buf).unwrap(), Read::Empty);
        body.push(b"12345", &dir).unwrap();
        assert_eq!(body.read_line(&mut buf).unwrap(), Read::Empty);
        assert!(!body.is_full());
        body.push(&[b'6'; WINDOW_MIN - 5], &dir).unwrap();
        assert!(body.is_full());
        assert_eq!(body.read_line(&mut buf).unwrap(), Read::Data(WINDOW_MIN));
        assert!(!body.is_full());
        body.push(b"9\n", &dir).unwrap();
        assert_eq!(body.read_line(&mut buf).unwrap(), Read::Data(2));
        body.fail(Kind::Closed);
        for _ in 0..2 {
            assert_eq!(body.read(&mut buf).unwrap_err().kind(), Kind::Closed);
        }
    }
}
