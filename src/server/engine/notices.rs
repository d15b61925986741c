//! What may happen a thousand times a second is told once, and then every ten seconds with a count:
//! whoever presses a server must not fill its disk as well.

use crate::base::counter::Counter;
use crate::base::log::{Level, Logger};
use crate::gateway::counters::Counters;

/// Milliseconds between two lines about the same.
const EVERY_MS: u64 = 10_000;

/// All of it, and how often it has happened.
const KINDS: [Kind; 4] = [
    Kind { what: What::Full, counter: |all| &all.connections_full, level: Level::Warn },
    Kind { what: What::Rest, counter: |all| &all.accept_errors, level: Level::Error },
    Kind { what: What::Shed, counter: |all| &all.shed, level: Level::Warn },
    Kind { what: What::Busy, counter: |all| &all.requests_full, level: Level::Warn },
];

/// What is told that way.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// `worker_connections` was reached.
    Full,
    /// Accepting rests: the system has no more to give.
    Rest,
    /// A request was answered with 503.
    Shed,
    /// The same, at `worker_requests`.
    Busy,
}

struct Kind {
    what: What,
    counter: fn(&Counters) -> &Counter,
    level: Level,
}

/// What was told of each kind.
#[derive(Debug, Default)]
pub(super) struct Notices {
    told: [Told; KINDS.len()],
}

#[derive(Debug, Default)]
struct Told {
    /// The counter's value.
    count: u64,
    /// When it may be told again, in milliseconds of the monotonic clock.
    again_at: u64,
    /// There was a line, and there may have to be another.
    waits: bool,
}

impl Notices {
    /// For counters on which another worker may have counted before.
    pub(super) fn new(counters: &Counters) -> Self {
        let mut notices = Notices::default();
        for (told, kind) in notices.told.iter_mut().zip(&KINDS) {
            told.count = (kind.counter)(counters).get();
        }
        notices
    }

    /// Tell what is new at `now` and may be told.  `text` says what a kind is, in a few words.
    /// Returns when to come back, if there is something that has to wait.
    pub(super) fn tell(
        &mut self,
        counters: &Counters,
        log: &Logger,
        now: u64,
        text: impl Fn(What) -> String,
    ) -> Option<u64> {
        let mut back_at = None;
        for (told, kind) in self.told.iter_mut().zip(&KINDS) {
            let count = (kind.counter)(counters).get();
            if count == told.count {
                continue;
            }
            if now < told.again_at {
                if !std::mem::replace(&mut told.waits, true) {
                    back_at = Some(back_at.map_or(told.again_at, |at: u64| at.min(told.again_at)));
                }
                continue;
            }
            let times = count.wrapping_sub(told.count);
            *told = Told { count, again_at: now + EVERY_MS, waits: false };
            if log.enabled(kind.level) {
                let text = text(kind.what);
                match times {
                    1 => log.write(kind.level, "server", "", format_args!("{text}")),
                    _ => {
                        log.write(kind.level, "server", "", format_args!("{text} ({times} times)"))
                    }
                }
            }
        }
        back_at
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::base::log::Sink;
    use crate::base::time::LocalTime;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_every_ten_seconds() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let sink =
            Sink::Callback(Box::new(move |r| kept.lock().unwrap().push(r.message.to_owned())));
        let log = Logger::new(Level::Warn, || LocalTime::utc(0), sink);
        let counters = Counters::default();
        counters.shed.up();
        let mut notices = Notices::new(&counters);
        let mut at = |now| notices.tell(&counters, &log, now, |kind| format!("{kind:?}"));

        assert_eq!(at(5), None, "another worker's");
        counters.shed.up();
        assert_eq!(at(10), None);
        for now in 11..1000 {
            counters.shed.up();
            // Once: there is one timer.
            assert_eq!(at(now), (now == 11).then_some(10_010));
        }
        assert_eq!(*lines.lock().unwrap(), ["Shed"]);
        counters.accept_errors.up();
        assert_eq!(at(1000), None);
        assert_eq!(at(10_010), None);
        assert_eq!(at(30_000), None);
        counters.shed.up();
        assert_eq!(at(30_001), None);
        let expected = ["Shed", "Rest", "Shed (989 times)", "Shed"];
        assert_eq!(*lines.lock().unwrap(), expected);
    }
}
