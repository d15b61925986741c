//! What all requests of one worker share.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::log::Logger;

use super::abi::Environ;
use super::app::Application;
use super::counters::Counters;

/// What all requests of a worker share.
#[derive(Debug)]
pub struct Service {
    /// Answers the requests.
    pub app: Arc<Application>,
    /// What every environ of this worker says: `ENV_*`.
    pub env_flags: u32,
    /// The application is called at the head and reads while the body arrives.
    pub streaming: bool,
    /// Octets of a request body that stay in memory.
    pub body_buffer: usize,
    /// Where longer ones are spooled.
    pub spool_dir: PathBuf,
    /// Octets that wait for a slow client before a producer is paused.
    pub output_buffer: u64,
    /// Takes records.
    pub log: Logger,
    /// Counts.
    pub counters: Arc<Counters>,
    /// What the host wants to be called for.
    pub hooks: Hooks,
}

/// A function that sees the environ before the application does.
pub type PreRequest = Box<dyn Fn(&Environ) + Send + Sync>;

/// What the host wants to be called for in a worker, per request.
#[derive(Default)]
pub struct Hooks {
    /// Before the application.
    pub pre_request: Option<PreRequest>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("pre_request", &self.pre_request.is_some()).finish()
    }
}
