//! A bounded queue that any thread takes from, in batches.  Knows nothing of what is in it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::sync::{Condvar, Mutex};

/// What taking came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Something, at least one.
    Some,
    /// Nothing came in time.
    TimedOut,
    /// There is nothing, and nothing will come.
    Closed,
}

/// The queue.
#[derive(Debug)]
pub struct Pull<T> {
    queue: Mutex<Queue<T>>,
    ready: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<T>,
    limit: usize,
    closed: bool,
    /// Threads that wait for an item: to wake nobody costs a system call, too.
    waiting: usize,
}

impl<T> Pull<T> {
    /// An empty queue for up to `limit` items.
    pub fn new(limit: usize) -> Self {
        let queue = Queue { items: VecDeque::new(), limit, closed: false, waiting: 0 };
        Pull { queue: Mutex::new(queue), ready: Condvar::new() }
    }

    /// Append an item; it comes back when the queue is full or closed.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut queue = lock(&self.queue);
        if queue.closed || queue.items.len() >= queue.limit {
            return Err(item);
        }
        queue.items.push_back(item);
        let waiting = queue.waiting;
        drop(queue);
        if waiting > 0 {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Append up to `max` items to `into`, the oldest first.  Waits for one, `timeout` at most;
    /// `None` is for ever.
    pub fn take(&self, into: &mut Vec<T>, max: usize, timeout: Option<Duration>) -> Taken {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut queue = lock(&self.queue);
        while queue.items.is_empty() {
            if queue.closed {
                return Taken::Closed;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Taken::TimedOut;
            }
            queue.waiting += 1;
            queue = match left {
                None => self.ready.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(left) => {
                    let waited = self.ready.wait_timeout(queue, left);
                    waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
                }
            };
            queue.waiting -= 1;
        }
        let count = max.min(queue.items.len());
        into.extend(queue.items.drain(..count));
        Taken::Some
    }

    /// Take an item that nobody has taken.
    pub fn withdraw(&self, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let mut queue = lock(&self.queue);
        let index = queue.items.iter().position(is_it)?;
        queue.items.remove(index)
    }

    /// Nothing more will come; what is there can still be taken.
    pub fn close(&self) {
        lock(&self.queue).closed = true;
        self.ready.notify_all();
    }
}

/// No lock is held while foreign code runs, so that a panic cannot leave a queue half changed.
fn lock<T>(queue: &Mutex<Queue<T>>) -> super::sync::MutexGuard<'_, Queue<T>> {
    queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
