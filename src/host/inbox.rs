//! What is said about requests while the host is not looking: the keys of those that there is news of.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::gateway::deferred::Mailbox;
use crate::sys::waker::Waker;

/// The mailbox of a host.  It wakes the host when it is no longer empty; what the host's own thread
/// says inside a call waits for the end of the call.
#[derive(Debug)]
pub(super) struct Inbox {
    keys: Mutex<Vec<u64>>,
    waker: Waker,
    /// The thread that is inside a call of the host; 0: none.
    inside: AtomicUsize,
    /// That thread has said something.
    said: AtomicBool,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Inbox {
            keys: Mutex::default(),
            waker: Waker::new()?,
            inside: AtomicUsize::new(0),
            said: AtomicBool::new(false),
        })
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// A call of the host begins, in this thread.
    pub(super) fn enter(&self) {
        self.inside.store(this_thread(), Ordering::Relaxed);
    }

    /// It ends: the host is to come for what was said in it.
    pub(super) fn leave(&self) {
        self.inside.store(0, Ordering::Relaxed);
        if self.said.load(Ordering::Relaxed) {
            self.said.store(false, Ordering::Relaxed);
            self.waker.wake();
        }
    }

    /// Move everything to `into`, which is empty.
    pub(super) fn take(&self, into: &mut Vec<u64>) {
        std::mem::swap(&mut *self.keys.lock(), into);
    }
}

impl Mailbox for Inbox {
    fn post(&self, key: u64) {
        let mut keys = self.keys.lock();
        // An iterator that resumes itself says the same again and again.
        if keys.last() == Some(&key) {
            return;
        }
        keys.push(key);
        let is_first = keys.len() == 1;
        drop(keys);
        if self.inside.load(Ordering::Relaxed) == this_thread() {
            self.said.store(true, Ordering::Relaxed);
        } else if is_first {
            self.waker.wake();
        }
    }
}

/// A number that no other living thread has.
fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}
