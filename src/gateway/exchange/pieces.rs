//! Large chunks behind a front that announces a body piece by piece (FastCGI): a piece is queued when
//! there is room for it, so that a file of any size is a few heads of records at a time, and the
//! pieces of other requests on the connection find their place between them.

use std::collections::VecDeque;

use crate::base::buf::OutQueue;
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::OwnedChunk;
use crate::sys::file::file_len;
use crate::wire::{BodyMode, Encoder as _, Framed};

use super::{Exchange, Link, Phase, Progress};

/// What is announced later.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// In their order.
    chunks: VecDeque<OwnedChunk>,
    /// A piece of the first was queued, which is only valid while the rest of it is.
    is_split: bool,
    /// The answer is complete behind them.
    ends: Option<Framed>,
}

impl Exchange {
    /// Queue a chunk that is announced as its pieces leave.
    #[cold]
    pub(super) fn put_off(&self, chunk: OwnedChunk) -> Result<()> {
        self.rest.borrow_mut().chunks.push_back(chunk);
        match self.lags.replace(true) {
            true => Ok(()),
            // A small one is gone at once.
            false => self.queue_pieces().map(drop),
        }
    }

    /// The answer ends behind what is announced later.
    #[cold]
    pub(super) fn put_end_off(&self, framed: Framed) {
        self.rest.borrow_mut().ends = Some(framed);
    }

    /// Queue pieces while there is room.  None: there are no more of them.
    pub(super) fn catch_up(&self, link: &dyn Link) -> Option<Progress> {
        debug_assert_eq!(self.phase.get(), Phase::Running);
        match self.queue_pieces() {
            Ok(false) => return Some(Progress::Flush),
            Ok(true) => {
                let ends = self.rest.borrow_mut().ends.take();
                if let Some(framed) = ends {
                    self.complete(link, framed);
                }
            }
            Err(error) => self.fail(link, &error),
        }
        None
    }

    /// Whether all of them are queued.
    pub(super) fn queue_pieces(&self) -> Result<bool> {
        while self.out.borrow().len() < self.service.output_buffer.max(1) {
            if !self.queue_piece()? {
                self.lags.set(false);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// False: there is none.
    fn queue_piece(&self) -> Result<bool> {
        let mut rest = self.rest.borrow_mut();
        let Some(first) = rest.chunks.front_mut() else { return Ok(false) };
        let (encoder, mode) = (self.encoder(), BodyMode::Close);
        let len = first.len().min(encoder.piece());
        if first.is_file() {
            // What a head has announced must follow.
            let there = is_there(first, len);
            if there < len {
                let missing = first.len() - there;
                let mut out = self.out.borrow_mut();
                if there > 0 {
                    encoder.before(out.buffer(), mode, there);
                    out.push(first.split(there));
                    encoder.after(out.buffer(), mode);
                    rest.is_split = true;
                }
                self.queued.set(self.queued.get() - missing);
                let text = "a file is shorter than the range of it that was to be sent: cut";
                return Err(Error::new(Kind::App, text));
            }
        }
        if len < first.len() {
            let mut out = self.out.borrow_mut();
            encoder.before(out.buffer(), mode, len);
            out.push(first.split(len));
            encoder.after(out.buffer(), mode);
            rest.is_split = true;
            return Ok(true);
        }
        let was_split = std::mem::take(&mut rest.is_split);
        let Some(last) = rest.chunks.pop_front() else { return Ok(false) };
        drop(rest);
        if was_split {
            // Copied and released it would take its other pieces with it.
            let mut out = self.out.borrow_mut();
            encoder.before(out.buffer(), mode, len);
            out.push(last);
            encoder.after(out.buffer(), mode);
        } else {
            self.queue(&encoder, mode, last);
        }
        Ok(true)
    }

    /// Nothing of what was put off is announced any more.  It is released, behind its pieces in `out`.
    pub(super) fn drop_rest(&self, out: &mut OutQueue) {
        if !self.lags.replace(false) {
            return;
        }
        let mut rest = self.rest.take();
        if rest.is_split
            && out.holds_chunks()
            && let Some(mut first) = rest.chunks.pop_front()
        {
            first.truncate(0);
            out.push(first);
        }
        // Release functions run foreign code, and nothing is borrowed here but the queue.
        drop(rest);
    }
}

/// How many of the first `len` octets of a range the file has, as far as that can be known.
fn is_there(chunk: &OwnedChunk, len: u64) -> u64 {
    let raw = chunk.as_raw();
    file_len(raw.fd).map_or(len, |size| size.saturating_sub(raw.offset as u64).min(len))
}
