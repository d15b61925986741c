//! What a handle has asked for and its exchange has not done yet.

use std::collections::VecDeque;

use crate::base::error::Error;
use crate::base::octets::OwnedChunk;
use crate::gateway::head::Head;

/// Storage that a request keeps for the next one.
const KEEP: usize = 64 * 1024;

/// What the exchange is to do, in order.
#[derive(Debug)]
pub(in crate::gateway) enum Op {
    Interim(Head),
    /// A head was refused, for this reason.
    Complaint(Error),
    /// So many octets of [`Batch::text`].
    Text(usize),
    Chunk(OwnedChunk),
    /// The handle was given up, with this result of the application.
    End(i32),
    /// The handle was given up, for this reason.
    Fail(Error),
    /// Nobody took the request in time.
    Shed,
}

/// What waits for the exchange.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Batch {
    pub(in crate::gateway) head: Option<Head>,
    pub(in crate::gateway) ops: VecDeque<Op>,
    pub(in crate::gateway) text: Vec<u8>,
    /// Octets of `text` and of chunks.
    pub(in crate::gateway) octets: u64,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Whether it has everything up to an end that is well.
    pub(in crate::gateway) fn is_whole(&self) -> bool {
        matches!(self.ops.back(), Some(Op::End(0)))
    }

    /// Fit to be filled again.
    pub(in crate::gateway) fn clear(&mut self) {
        self.head = None;
        self.ops.clear();
        self.ops.shrink_to(KEEP / size_of::<Op>());
        self.text.clear();
        self.text.shrink_to(KEEP);
        self.octets = 0;
    }
}

impl Op {
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Op::End(_) | Op::Fail(_) | Op::Shed)
    }
}
