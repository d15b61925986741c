//! A number that is counted in one place and read in any.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number.  What is counted for every request is only written by the worker's loop (`plus`,
/// `down`); what is rare may be counted by any of its threads (`up`).
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more, from any thread.
    pub fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// `n` more, from any thread.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// `n` more, from the loop: a load and a store, for there is no other writer.
    #[inline]
    pub fn plus(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Relaxed);
    }

    /// One less, from the loop: for those that say how many there are now.
    #[inline]
    pub fn down(&self) {
        self.plus(u64::MAX);
    }

    /// How many.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
