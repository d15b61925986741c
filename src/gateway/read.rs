//! Reading the body of a request through its environ, so that a middleware may have replaced it.

use crate::base::error::{Error, Kind, Result};
use crate::base::octets::Octets;

use super::abi::{Environ, NOWAIT};
use super::app::is_own;
use super::exchange::Exchange;
use super::input::{Read, RequestBody};

/// Octets that are asked for at once when the whole body is wanted.
const PIECE: usize = 16 * 1024;

impl Environ {
    /// Reads 1 to `buf.len()` octets of the body; 0 is its end.  Waits for the client where the
    /// thread may block; elsewhere `Kind::Busy` (never for a buffered body).  A body that was cut
    /// short is `Kind::Closed`, and not an end.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        Ok(self.input.call(buf, 0)?.unwrap_or(0))
    }

    /// The same without waiting: `None` when nothing has arrived.
    pub fn try_read(&self, buf: &mut [u8]) -> Result<Option<usize>> {
        self.input.call(buf, NOWAIT)
    }

    /// Reads a line with its newline, or as much of one as fits; 0 is the end of the body.
    pub fn read_line(&self, buf: &mut [u8]) -> Result<usize> {
        Ok(self.read_line_with(buf, 0)?.unwrap_or(0))
    }

    /// `flags` is NOWAIT or nothing; `None` is "not now".
    pub(crate) fn read_line_with(&self, buf: &mut [u8], flags: u32) -> Result<Option<usize>> {
        if let Ok(x) = self.exchange()
            && is_own(&self.input, x)
        {
            return x.read_line(buf, flags);
        }
        // What replaced the input only reads: what it gives cannot be put back, so by the octet.
        let mut n = 0;
        while n < buf.len() {
            match self.input.call(&mut buf[n..=n], flags) {
                Ok(Some(0)) => break,
                Ok(Some(_)) => n += 1,
                Ok(None) if n == 0 => return Ok(None),
                // A piece of a line; what stopped it comes up again at the next call.
                Ok(None) | Err(_) if n > 0 => break,
                Ok(None) => return Ok(None),
                Err(error) => return Err(error),
            }
            if buf[n - 1] == b'\n' {
                break;
            }
        }
        Ok(Some(n))
    }

    /// The rest of the body, in the request's memory.  `Kind::Limit` when it has more than `limit`
    /// octets; `max_body` holds in any case.
    pub fn read_all(&self, limit: usize) -> Result<Octets<'_>> {
        let x = self.exchange()?;
        if is_own(&self.input, x) {
            let mut input = x.input();
            if !input.is_open() && input.rest() > limit as u64 {
                return Err(too_long(limit));
            }
            if let Some(rest) = input.take_rest() {
                return Ok(rest);
            }
            if !input.is_open() && input.failure().is_none() {
                return read_rest(&mut input, x);
            }
        }
        let known = usize::try_from(self.content_length).unwrap_or(0).min(limit);
        let mut all = Vec::with_capacity(known.min(64 * PIECE));
        loop {
            let filled = all.len();
            all.resize(filled + PIECE, 0);
            let n = self.read(&mut all[filled..])?;
            all.truncate(filled + n);
            if n == 0 {
                return Ok(x.arena().copy(&all));
            }
            if all.len() > limit {
                return Err(too_long(limit));
            }
        }
    }

    /// Whether it is read from the request itself, and no middleware stands in between.
    pub(crate) fn reads_the_request(&self) -> bool {
        self.exchange().is_ok_and(|x| is_own(&self.input, x))
    }

    /// How many octets of the body are left to read, where all of it has come.
    pub(crate) fn left_to_read(&self) -> Option<u64> {
        let x = self.exchange().ok().filter(|x| is_own(&self.input, x))?;
        let input = x.input();
        (!input.is_open() && input.failure().is_none()).then(|| input.rest())
    }
}

/// The rest of a body that has come, each octet once.
fn read_rest<'a>(input: &mut RequestBody, x: &'a Exchange) -> Result<Octets<'a>> {
    let mut outcome = Ok(());
    let all = x.arena().build(input.rest() as usize, |room| {
        let mut filled = 0;
        while outcome.is_ok() && filled < room.len() {
            match input.read(&mut room[filled..]) {
                Ok(Read::Data(n)) => filled += n,
                Ok(Read::End | Read::Empty) => break,
                Err(error) => outcome = Err(error),
            }
        }
        filled
    });
    outcome.map(|()| all)
}

fn too_long(limit: usize) -> Error {
    Error::new(Kind::Limit, format!("the request body has more than {limit} octets"))
}
