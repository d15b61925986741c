//! Answers that come later: through a handle that any thread may use, or from whoever takes requests.
//!
//! The test turns the engine in its own thread; handles are used there too, between turns, unless a
//! test is about other threads.

#[path = "later/chandle.rs"]
mod chandle;
#[path = "conv/harness/mod.rs"]
mod harness;
#[path = "later/tools.rs"]
mod tools;

#[path = "later/answers.rs"]
mod answers;
#[path = "later/bodies.rs"]
mod bodies;
#[path = "later/clients.rs"]
mod clients;
#[path = "later/iterators.rs"]
mod iterators;
#[path = "later/pulled.rs"]
mod pulled;
#[path = "later/releases.rs"]
mod releases;
#[path = "later/threads.rs"]
mod threads;
