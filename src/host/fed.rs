//! Pieces of a request's body that the host has fed and the request has not taken.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::base::error::{Error, Kind, Result};
use crate::gateway::exchange::Exchange;
use crate::sys::file::pread;

/// Octets that are read from a file at once.
const PIECE: usize = 64 * 1024;

/// The queue.
#[derive(Debug)]
pub(super) struct Fed {
    pieces: VecDeque<Piece>,
    octets: u64,
    /// Octets of memory before the host is to wait.
    room: u64,
    end: Option<std::result::Result<(), Kind>>,
    is_told: bool,
}

#[derive(Debug)]
enum Piece {
    Text(Vec<u8>),
    Range(Range),
}

/// A part of a file, by a descriptor of our own.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) file: OwnedFd,
    pub(super) offset: u64,
    pub(super) left: u64,
}

impl Range {
    /// Up to a piece of it, at the end of `into`; an error for a file that is shorter.
    pub(super) fn read(&mut self, into: &mut Vec<u8>) -> Result<()> {
        let most = self.left.min(PIECE as u64) as usize;
        let before = into.len();
        into.resize(before + most, 0);
        let got = pread(self.file.as_raw_fd(), &mut into[before..], self.offset);
        let n = got.as_ref().map_or(0, |n| *n);
        into.truncate(before + n);
        match got {
            Err(source) => Err(Error::os("read a request body of the host", &source)),
            Ok(0) if most > 0 => {
                Err(Error::new(Kind::Io, "a file is shorter than the range of it that was fed"))
            }
            Ok(n) => {
                self.offset += n as u64;
                self.left -= n as u64;
                Ok(())
            }
        }
    }
}

impl Fed {
    pub(super) fn new(room: usize) -> Self {
        let room = room.max(1) as u64;
        Fed { pieces: VecDeque::new(), octets: 0, room, end: None, is_told: false }
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        (self.octets, self.end, self.is_told) = (0, None, false);
    }

    pub(super) fn is_full(&self) -> bool {
        self.octets >= self.room
    }

    /// Whether there is something that the request does not know.
    pub(super) fn has_news(&self) -> bool {
        !self.pieces.is_empty() || self.end.is_some() && !self.is_told
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        self.octets += text.len() as u64;
        match self.pieces.back_mut() {
            Some(Piece::Text(last)) => last.extend_from_slice(text),
            _ => self.pieces.push_back(Piece::Text(text.to_vec())),
        }
    }

    pub(super) fn push_range(&mut self, range: Range) {
        self.octets += range.left;
        self.pieces.push_back(Piece::Range(range));
    }

    /// Nothing follows.
    pub(super) fn end(&mut self, how: std::result::Result<(), Kind>) {
        self.end.get_or_insert(how);
    }

    /// Move what there is room for to the request.  Says whether that changed anything.
    pub(super) fn move_to(&mut self, x: &Exchange) -> bool {
        let mut moved = false;
        let mut input = x.input();
        while input.may_grow() {
            let Some(piece) = self.pieces.front_mut() else { break };
            moved = true;
            let dir = &x.service().spool_dir;
            let (pushed, octets, is_done) = match piece {
                Piece::Text(text) => (input.push(text, dir), text.len() as u64, true),
                Piece::Range(range) => {
                    let before = input.space().len();
                    let read = range.read(input.space());
                    let n = input.space().len() - before;
                    (read.and(input.pushed(n, dir)), n as u64, range.left == 0)
                }
            };
            self.octets -= octets;
            if is_done {
                self.pieces.pop_front();
            }
            if pushed.is_err() {
                x.service().counters().spool_errors.up();
                input.fail(Kind::Io);
                self.pieces.clear();
                self.octets = 0;
            }
        }
        if !input.is_open() && !self.pieces.is_empty() {
            // Nobody will read it.
            self.pieces.clear();
            self.octets = 0;
        }
        if self.pieces.is_empty()
            && let Some(end) = self.end
            && !self.is_told
        {
            self.is_told = true;
            moved = true;
            match end {
                Ok(()) => input.complete(),
                Err(why) => input.fail(why),
            }
        }
        moved
    }
}
