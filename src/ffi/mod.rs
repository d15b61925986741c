//! C entry points: translation, no logic.
//!
//! One file per section of `include/gateway.h`, which is generated from them (`build/`): the order
//! here is the order there, and a documentation comment is the header's, in C's words.  The tags
//! `[any] [one] [req] [sig]` say which threads may call; the safety contract of every function is
//! the header's rules page (`prologue.h`).

#![allow(non_camel_case_types)] // C's names.
#![allow(unreachable_pub)] // The header is made of what is `pub`; Rust programs have the crate's API.
#![allow(clippy::missing_safety_doc)] // The rules page says it once.

mod app;
mod arbiter;
mod body;
mod config;
mod context;
mod deferred;
mod environ;
mod exports;
mod guard;
mod hooks;
mod host;
mod input;
mod layer;
mod lint;
mod listener;
mod module;
mod object;
mod options;
mod requests;
mod result;
mod server;
mod stats;
mod version;
