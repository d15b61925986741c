//! libgateway, the application server that you link.
//!
//! The layers, each of which uses only those below it (`tests/layers.rs` enforces it):
//!
//! ```text
//! ffi        C entry points: translation, no logic
//! arbiter    processes: start, watch, stop workers
//! server     sockets and the event loop of one worker
//! gateway    the calling convention: one request, no I/O
//! wire       protocols: octets <-> heads and bodies, no I/O
//! conf       options, listeners, limits: plain data
//! sys        the operating system
//! base       errors, buffers, arena, slab, time, log
//! ```

pub mod base;
pub mod conf;
mod ffi;
pub mod gateway;
pub mod server;
pub mod sys;
pub mod wire;
