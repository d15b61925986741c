//! libgateway, the application server that you link.
//!
//! An application is called with an environ and start_response, and returns a body: PEP 3333 in
//! Rust.  [`serve`] answers HTTP with it from pre-forked workers.
//!
//! ```no_run
//! use gateway::{Application, Body, Config, Environ, Pair, Response, Result, StartResponse};
//!
//! fn hello(_env: &Environ, start_response: &StartResponse<'_>) -> Result<Body> {
//!     let headers = [Pair::new(b"Content-Type", b"text/plain")];
//!     start_response.respond(&Response::new(200, &headers))?;
//!     Ok(Body::from_static(b"hello, world\n"))
//! }
//!
//! let mut config = Config::new();
//! config.application(Application::new(hello).nonblocking());
//! config.set("bind", "127.0.0.1:8000")?.set("workers", "4")?;
//! gateway::serve(config)?;
//! # Ok::<(), gateway::Error>(())
//! ```
//!
//! For a loop of your own there are [`Setup`] and [`Engine`].  The C API is `include/gateway.h`.
//!
//! The layers, each of which uses only those below it (`tests/layers.rs` enforces it):
//!
//! ```text
//! ffi        C entry points: translation, no logic
//! serve      both together: a server as a call
//! arbiter    processes and threads: start, watch, stop workers
//! apps       ready-made applications
//! host       requests of a foreign server in this process, without sockets
//! server     sockets and the event loop of one worker
//! module     a module is tried in a process that is thrown away
//! run        how an application call is executed
//! gateway    the calling convention: one request, no I/O
//! wire       protocols: octets <-> heads and bodies, no I/O
//! conf       options, listeners, limits: plain data
//! sys        the operating system
//! base       errors, buffers, arena, slab, time, log
//! ```

#![warn(unreachable_pub)]

#[doc(hidden)]
pub mod apps;
#[doc(hidden)]
pub mod arbiter;
#[doc(hidden)]
pub mod base;
#[doc(hidden)]
pub mod conf;
mod ffi;
#[doc(hidden)]
pub mod gateway;
#[doc(hidden)]
pub mod host;
mod module;
#[doc(hidden)]
pub mod run;
mod serve;
#[doc(hidden)]
pub mod server;
#[doc(hidden)]
pub mod sys;
#[doc(hidden)]
pub mod wire;

pub use crate::base::error::{Error, Kind, Result};
pub use crate::base::log::{Level, Record};
pub use crate::base::octets::{Octets, Pair};
pub use crate::conf::settings::Settings;
pub use crate::gateway::abi::{BodyWriter, Environ, Response, StartResponse};
pub use crate::gateway::app::{App, Application};
pub use crate::gateway::body::Body;
pub use crate::gateway::config::{Config, Middleware};
pub use crate::gateway::deferred::{Deferred, Events, Resumer};
pub use crate::gateway::service::{Access, Worker};
pub use crate::serve::{check, is_worker, prefork, serve};
pub use crate::server::engine::{Engine, Stop};
pub use crate::server::setup::Setup;
