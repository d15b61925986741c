//! Requests for whoever asks for them instead of being called, and what happens to them meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::deferred::{Deferred, Events, Shared};
use crate::run::pull::{Pull, Taken};

/// What happened to a request that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum What {
    /// More of its body can be read, or it has ended.
    Readable = 1,
    /// There is room for more of its answer.
    Writable = 2,
    /// Its client has left.
    Aborted = 3,
}

/// It happened to this request, whose handle was not given up when this was taken.
#[derive(Debug)]
pub struct Event {
    /// The request.
    pub request: Arc<Shared>,
    /// What happened.
    pub what: What,
}

/// The requests of a server that nobody has taken yet, and the events of those that were.
#[derive(Debug)]
pub struct Pulled {
    requests: Pull<Deferred>,
    events: Arc<EventQueue>,
}

impl Pulled {
    pub(super) fn new(limit: usize) -> Self {
        Pulled { requests: Pull::new(limit), events: Arc::new(EventQueue(Pull::new(usize::MAX))) }
    }

    /// Put a request behind the others; it comes back when there are too many.
    pub(super) fn offer(&self, request: Deferred) -> std::result::Result<(), Deferred> {
        self.requests.push(request)
    }

    /// The request, if nobody has taken it.
    pub(super) fn withdraw(&self, request: &Arc<Shared>) -> Option<Deferred> {
        self.requests.withdraw(|queued| queued.shared().is_ok_and(|it| Arc::ptr_eq(it, request)))
    }

    /// The server has stopped.
    pub(super) fn close(&self) {
        self.requests.close();
        self.events.0.close();
    }

    /// Append up to `max` requests to `into`; waits for one, up to `timeout`.
    pub fn take(&self, into: &mut Vec<Deferred>, max: usize, timeout: Option<Duration>) -> Taken {
        let before = into.len();
        let outcome = self.requests.take(into, max, timeout);
        // What nobody has taken has no events: who should know its handle?
        for request in &into[before..] {
            let _ = request.watch(Arc::clone(&self.events) as Arc<_>);
        }
        outcome
    }

    /// Append up to `max` events to `into`; waits for one, up to `timeout`.
    pub fn events(&self, into: &mut Vec<Event>, max: usize, timeout: Option<Duration>) -> Taken {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let before = into.len();
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let outcome = self.events.0.take(into, max, left);
            // Of several threads one may have given a handle up just before its event came.
            let fetched = into.split_off(before);
            into.extend(fetched.into_iter().filter(|event| self.events.is_told_of(&event.request)));
            if outcome != Taken::Some || into.len() > before {
                return outcome;
            }
        }
    }
}

#[derive(Debug)]
struct EventQueue(Pull<Event>);

impl EventQueue {
    fn push(&self, request: &Arc<Shared>, what: What) {
        // Closed: nobody asks any more.
        let _ = self.0.push(Event { request: Arc::clone(request), what });
        if !self.is_told_of(request) {
            // Forgotten meanwhile, which found nothing.
            self.forget(request);
        }
    }

    fn is_told_of(&self, request: &Shared) -> bool {
        request.tells(std::ptr::from_ref(self).cast())
    }
}

impl Events for EventQueue {
    fn readable(&self, d: &Arc<Shared>) {
        self.push(d, What::Readable);
    }

    fn writable(&self, d: &Arc<Shared>) {
        self.push(d, What::Writable);
    }

    fn aborted(&self, d: &Arc<Shared>) {
        self.push(d, What::Aborted);
    }

    fn forget(&self, d: &Shared) {
        while let Some(event) = self.0.withdraw(|event| std::ptr::eq(&raw const *event.request, d))
        {
            drop(event);
        }
    }
}
