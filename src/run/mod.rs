//! How an application call is executed when it is not executed where it was decided.

pub mod pool;
pub mod pull;

/// What the queue waits with; tests put something in its place that tries all orders.
mod sync {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
}
