//! What an arbiter is made from, and what it says.

use std::time::Duration;

use super::worker::WorkerContext;

/// Who speaks, in the log.
pub(super) const TARGET: &str = "arbiter";

/// What a worker does: runs in it, returns its exit status.
pub type Main = Box<dyn Fn(&WorkerContext<'_>) -> i32 + Send + Sync>;

/// What a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A process that is forked.
    Fork,
    /// A thread of this process: it can be told to stop, and not be killed.
    Thread,
}

/// What an arbiter has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What they are.
    pub way: Way,
    /// How many workers; at least 1.
    pub workers: usize,
    /// How long a worker may take to finish what is in flight after a graceful stop began.
    pub graceful_timeout: Duration,
    /// Whether the arbiter catches TERM, INT and QUIT while it lives.
    pub signals: bool,
}

/// What a turn of the loop came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The next turn is due when the descriptor is readable, and after so many milliseconds (-1: no
    /// matter how late).
    Wait(i64),
    /// It has ended.
    Stopped,
}
