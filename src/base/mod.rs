//! What every layer stands on: octets, memory, time, errors, log lines.  Knows nothing of sockets,
//! protocols or processes.

pub mod arena;
pub mod buf;
pub mod counter;
pub mod error;
pub mod json;
pub mod log;
pub mod octets;
pub mod slab;
pub mod time;
pub mod wheel;
