//! Application threads: what runs where, what waits for what, and how everything ends.
//!
//! The test turns the engine in its own thread, which so is the loop; the application runs on the
//! engine's threads, and waits at gates that the test opens.  Nothing depends on how long something
//! takes.

#[path = "conv/harness/mod.rs"]
mod harness;
#[path = "pool/tools.rs"]
mod tools;

#[path = "pool/bodies.rs"]
mod bodies;
#[path = "pool/connections.rs"]
mod connections;
#[path = "pool/endings.rs"]
mod endings;
#[path = "pool/load.rs"]
mod load;
#[path = "pool/mounts.rs"]
mod mounts;
#[path = "pool/presets.rs"]
mod presets;
#[path = "pool/slow_clients.rs"]
mod slow_clients;
#[path = "pool/stop.rs"]
mod stop;
#[path = "pool/storm.rs"]
mod storm;
#[path = "pool/threads.rs"]
mod threads;
