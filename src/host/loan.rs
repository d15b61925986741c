//! Octets of an answer that the host has and has not released.

use std::sync::Arc;

use crate::base::octets::{Lent, Loan, OwnedChunk};

use super::way::{Piece, Way};

/// Storage of a text that is kept for the next.
const KEEP: usize = 64 * 1024;

/// One piece.  Kept, with its text's storage, for others.
#[derive(Debug, Default)]
pub(super) struct Lending {
    /// Where it comes back; none while it is kept.
    way: Option<Arc<Way>>,
    text: Vec<u8>,
    start: usize,
    chunk: Option<OwnedChunk>,
}

impl Lending {
    pub(super) fn begin(&mut self, way: Arc<Way>, piece: Piece) {
        self.way = Some(way);
        match piece {
            Piece::Text(text, start) => (self.text, self.start) = (text, start),
            Piece::Reference(chunk) => self.chunk = Some(chunk),
        }
    }

    /// Storage for the next text.
    pub(super) fn keep_text(&mut self, text: Vec<u8>) {
        self.text = text;
    }

    /// An empty vector with storage.
    pub(super) fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }
}

impl Loan for Lending {
    fn lent(&self) -> Lent<'_> {
        match &self.chunk {
            Some(chunk) => Lent::Other(chunk),
            None => Lent::Octets(&self.text[self.start..]),
        }
    }

    fn back(mut self: Box<Self>) {
        let Some(way) = self.way.take() else { return };
        let len = match self.lent() {
            Lent::Octets(octets) => octets.len() as u64,
            Lent::Other(chunk) => chunk.len(),
        };
        let chunk = self.chunk.take();
        self.text.clear();
        self.text.shrink_to(KEEP);
        way.returned(len, chunk, self);
    }
}
