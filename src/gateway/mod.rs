//! The calling convention: one request from head to answer, without a socket.

pub mod abi;
pub mod app;
pub mod body;
pub mod config;
pub mod counters;
pub mod deferred;
pub mod environ;
pub mod exchange;
pub mod flight;
pub mod head;
pub mod input;
pub mod metrics;
pub mod mounts;
mod read;
pub mod service;
pub mod timing;
pub(crate) mod watcher;
