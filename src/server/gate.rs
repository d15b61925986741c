//! Who answers a request whose time is limited: the application, in its thread, or the loop, which
//! says 504.  One word decides, so that the client never gets both.

use std::sync::atomic::{AtomicU64, Ordering};

/// Nothing of this request's answer was sent.
const OPEN: u64 = 0;
/// A thread sends something that comes before the head.
const BUSY: u64 = 1;
/// Not all of what comes before the head is sent.
const DIRTY: u64 = 2;
/// The loop has answered, or will cut.
const TAKEN: u64 = 3;

/// The way to the client.  Beyond the above it is when the head was committed, in milliseconds of the
/// monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU64);

/// What became of the loop's attempt to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing was sent: it may answer.
    Clean,
    /// What was sent must be cut.
    Dirty,
    /// In a moment, perhaps.
    Busy,
    /// The application has begun to answer, then.
    Committed(u64),
}

impl Gate {
    /// Another request.
    pub(super) fn open(&self) {
        self.0.store(OPEN, Ordering::Relaxed);
    }

    /// The head is committed: whether it may be.
    pub(super) fn commit(&self, now_ms: u64) -> bool {
        let commit = |state| match state {
            OPEN | DIRTY => Some(now_ms.max(TAKEN + 1)),
            _ => None,
        };
        let done = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, commit);
        // Octets behind the head may replace it, and commit it once more.
        done.is_ok() || !self.is_taken()
    }

    /// When the head was committed.
    pub(super) fn committed(&self) -> Option<u64> {
        let state = self.0.load(Ordering::Acquire);
        (state > TAKEN).then_some(state)
    }

    /// Something is sent that comes before the head; whether it may be.
    pub(super) fn begin(&self) -> bool {
        let begin = |state| matches!(state, OPEN | DIRTY).then_some(BUSY);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin).is_ok()
    }

    /// It was sent, all of it or a part.
    pub(super) fn end(&self, all: bool) {
        self.0.store(if all { OPEN } else { DIRTY }, Ordering::Release);
    }

    /// The loop wants to answer.
    pub(super) fn take(&self) -> Taken {
        let take = |state| matches!(state, OPEN | DIRTY).then_some(TAKEN);
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(OPEN) => Taken::Clean,
            Ok(_) | Err(TAKEN) => Taken::Dirty,
            Err(BUSY) => Taken::Busy,
            Err(at) => Taken::Committed(at),
        }
    }

    /// What the application says goes nowhere.
    pub(super) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire) == TAKEN
    }

    /// The loop cuts an answer that has begun.
    pub(super) fn close(&self) {
        self.0.store(TAKEN, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_them_answers() {
        for _ in 0..200 {
            let gate = Gate::default();
            let (committed, taken) = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    let sent = gate.begin();
                    if sent {
                        gate.end(true);
                    }
                    sent && gate.commit(77)
                });
                let taken = loop {
                    match gate.take() {
                        Taken::Busy => std::thread::yield_now(),
                        taken => break taken,
                    }
                };
                (thread.join().unwrap(), taken)
            });
            match committed {
                true => assert_eq!(taken, Taken::Committed(77)),
                false => assert_eq!(taken, Taken::Clean),
            }
        }
    }

    #[test]
    fn what_was_sent_in_part_can_only_be_cut() {
        let gate = Gate::default();
        assert!(gate.begin());
        assert_eq!(gate.take(), Taken::Busy);
        gate.end(false);
        assert!(gate.begin(), "the rest of it");
        gate.end(false);
        assert_eq!(gate.take(), Taken::Dirty);
        assert!(gate.is_taken() && !gate.begin() && !gate.commit(9));
        assert_eq!(gate.committed(), None);
        gate.open();
        assert!(gate.commit(0) && gate.commit(0));
        assert_eq!(gate.committed(), Some(TAKEN + 1));
    }
}
