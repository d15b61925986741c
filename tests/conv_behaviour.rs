//! The calling convention and the connection machine, through the crate's own API.
//!
//! An inline engine is turned by the test itself, in the test's thread, and speaks to sockets that
//! the test holds the other end of: what happens, happens in a known order.  Over TCP where it
//! matters (resets, accepting).

#[path = "conv/harness/mod.rs"]
mod harness;

#[path = "conv/answers.rs"]
mod answers;
#[path = "conv/connections.rs"]
mod connections;
#[path = "conv/endings.rs"]
mod endings;
#[path = "conv/environ.rs"]
mod environ;
#[path = "conv/expect.rs"]
mod expect;
#[path = "conv/files.rs"]
mod files;
#[path = "conv/heads.rs"]
mod heads;
#[path = "conv/limits.rs"]
mod limits;
#[path = "conv/logs.rs"]
mod logs;
#[path = "conv/mounts.rs"]
mod mounts;
#[path = "conv/pressure.rs"]
mod pressure;
#[path = "conv/request_bodies.rs"]
mod request_bodies;
#[path = "conv/stop.rs"]
mod stop;
#[path = "conv/streaming.rs"]
mod streaming;
#[path = "conv/timeouts.rs"]
mod timeouts;
