//! Workers, which are processes or threads: start them, watch them, stop them.  Knows nothing of what
//! a worker does.
//!
//! ```text
//! settings  what it is made from
//! arbiter   the loop: start, watch, replace
//! burial    what the death of a worker means
//! pool      groups of workers, and which place is whose
//! roll      how many workers, of which configuration: reload and scale
//! watch     deadlines of single workers: to boot, to give signs of life, to end
//! culprit   which requests a worker hangs in, or has died with
//! memory    how much of it a worker may have
//! stop      signals, requests, deadlines, the end
//! control   what other threads and signal handlers may ask of it
//! attend    who else works in its loop, and asks the same
//! spawn     what differs: a worker by fork, a worker as a thread
//! exec      and one that is this program, started again: from both sides
//! upgrade   another arbiter that takes the place of this one: from both sides
//! handover  what a process is given that is started
//! worker    a worker's life, seen from inside
//! board     what arbiter and workers share
//! ```

#[allow(clippy::module_inception, reason = "the arbiter itself is one part of the layer")]
mod arbiter;
mod attend;
mod board;
mod burial;
mod control;
mod culprit;
mod exec;
mod handover;
mod memory;
mod pool;
mod roll;
mod settings;
mod spawn;
mod stop;
mod upgrade;
mod watch;
mod worker;

pub use arbiter::Arbiter;
pub use attend::Attendant;
pub use board::{Board, State, WorkerSlot};
pub use control::{Handle, StopMode, Tally};
pub use culprit::{Tell, Witness};
pub use exec::{Started, is_started};
pub use settings::{
    Bind, Cause, Event, MAIN_POOL, Main, Observer, Plan, PoolPlan, Settings, Turn, WORKERS_MAX,
    Way, Who,
};
pub use upgrade::Predecessor;
pub use worker::WorkerContext;
