//! Requests of a foreign server in this process: fed in, run, and pulled out, without a socket of ours.
//!
//! What a connection is to `server`, a `way` is here: the one place where the host's thread and the
//! thread that drives a request meet.  Everything else is as there: the same exchange, the same
//! threads, the same handles.

mod crew;
mod drive;
mod fed;
mod inbox;
mod link;
mod loan;
mod requests;
mod slot;
mod way;

pub use requests::{FEED, Host, PULL, Pull};
pub use way::Headed;

use crate::base::error::Result;
use crate::gateway::config::Config;
use crate::module;

/// Whether a host could be made of it: tried in a process that is thrown away.
pub fn check(config: Config) -> Result<()> {
    module::try_in_child(move || Host::<()>::new(config, Default::default()).map(drop))
}

#[cfg(test)]
mod tests;
