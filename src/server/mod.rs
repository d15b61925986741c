//! One worker: sockets, connections and the event loop that turns them.  Knows nothing of processes.

pub mod access;
mod conn;
mod crew;
pub mod engine;
mod gate;
mod hub;
mod inbox;
mod link;
pub mod pulled;
mod record;
pub mod setup;
mod slot;
mod terms;
