//! Who else works in the arbiter's loop: somebody with a descriptor of his own, who is called when that
//! is readable, or when he wanted to be.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::arbiter::{Arbiter, TOKEN_ATTENDANT};
use super::board::Board;
use super::control::Handle;
use crate::sys::clock::monotonic_ms;

/// Works in the arbiter's thread, and never waits there.
pub trait Attendant: Send + Sync {
    /// Readable when there is something to do; `None`: there is nothing yet.  Once there is one it
    /// stays the same.
    fn fd(&self) -> Option<RawFd>;

    /// Does what there is to do.  When to be called at the latest, in milliseconds of the monotonic
    /// clock.
    fn turn(&self, arbiter: &Handle, board: &Board) -> Option<u64>;

    /// In a forked child: closes what it has.
    fn leave(&self);
}

/// The one that there is, and when he is called.
#[derive(Default)]
pub(super) struct Attended {
    attendant: Option<Arc<dyn Attendant>>,
    is_watched: bool,
    due_ms: Option<u64>,
}

impl Attended {
    /// When he is called at the latest.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    pub(super) fn leave(&mut self) {
        if let Some(attendant) = std::mem::take(self).attendant {
            attendant.leave();
        }
    }
}

impl Arbiter {
    /// Calls `attendant` from now on.
    pub fn attend_with(&mut self, attendant: Arc<dyn Attendant>) {
        self.attended = Attended { attendant: Some(attendant), ..Attended::default() };
    }

    /// What he asks for is heard in the same turn.
    pub(super) fn attend(&mut self) {
        let Attended { attendant: Some(attendant), is_watched, due_ms } = &mut self.attended else {
            return;
        };
        let poller = self.poller.get_mut();
        let is_called = poller.events().any(|event| event.token == TOKEN_ATTENDANT);
        let is_due = due_ms.is_some_and(|due| monotonic_ms() >= due);
        let is_new = match attendant.fd() {
            Some(fd) if !*is_watched => poller.add(fd, TOKEN_ATTENDANT).is_ok(),
            _ => false,
        };
        if is_new || is_called || is_due {
            *is_watched |= is_new;
            *due_ms = attendant.turn(&self.handle, &self.board);
        }
    }
}
