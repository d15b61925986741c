//! What other threads have to say about requests: the keys of those that there is news of.

use std::sync::Arc;

use parking_lot::Mutex;

use super::engine::Control;
use crate::gateway::deferred::Mailbox;

/// The mailbox of an engine.  It is emptied in every turn, and wakes the loop when it is no longer
/// empty, unless the loop itself writes.
#[derive(Debug)]
pub(super) struct Inbox {
    keys: Mutex<Vec<u64>>,
    control: Arc<Control>,
}

impl Inbox {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Inbox { keys: Mutex::default(), control }
    }

    /// Move everything to `into`, which is empty.
    pub(super) fn take(&self, into: &mut Vec<u64>) {
        std::mem::swap(&mut *self.keys.lock(), into);
    }

    /// Whether there is something.
    pub(super) fn has_news(&self) -> bool {
        !self.keys.lock().is_empty()
    }
}

impl Mailbox for Inbox {
    fn post(&self, key: u64) {
        let mut keys = self.keys.lock();
        keys.push(key);
        let is_first = keys.len() == 1;
        drop(keys);
        if is_first && !self.control.is_inside() {
            self.control.wake();
        }
    }
}
