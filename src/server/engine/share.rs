//! Which worker takes the next connection.
//!
//! Workers that wait at one socket stand in a queue in the kernel, and the first of them that is idle
//! is woken.  Left alone it stays the first: so whoever has taken a few goes to the end of the queue.
//! And whoever holds more connections than the others, by an eighth, rests for a moment: a burst would
//! be his alone before the others are awake.

use std::fmt;

use crate::sys::listen::Listening;

use super::{Engine, TIMER_SEATS};

/// Connections that a worker accepts before it goes to the end of the queue: two system calls.
const TURN: u32 = 8;

/// A worker may have so many more than the mean, however small that is; and after a rest so many
/// more than it had: the others may be stuck.
const SLACK: usize = 4;

/// How long a worker rests that has more than the others.
const REST_MS: u64 = 1;

/// How often a worker looks after sockets whose worker is gone.
const SEATS_MS: u64 = 100;

/// The workers that accept from the same sockets, as one of them sees them.
pub trait Peers: Send + fmt::Debug {
    /// How many workers serve, this one included, and how many connections they have.
    fn load(&self) -> (usize, u64);

    /// Whether another one that serves accepts, too.  Together with [`Peers::set_resting`] it is
    /// sequentially consistent: of two that want to rest, and nobody else, one sees the other.
    fn others_accept(&self) -> bool;

    /// This worker rests, or does not.
    fn set_resting(&self, rests: bool);

    /// Whether this worker accepts from the socket of a seat: it is its own, or nobody's who serves.
    fn serves(&self, seat: u32) -> bool;
}

/// What an engine knows of its share.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// None: it is alone.
    peers: Option<Box<dyn Peers>>,
    /// It has no more than its share while it has no more than this.
    limit: usize,
    /// Connections since it went to the end of the queue.
    taken: u32,
    /// It rests for the sake of the others.
    pub(super) rests: bool,
}

impl Engine {
    /// Share the connections with others that accept from the same sockets.
    pub fn share_with(&mut self, peers: Box<dyn Peers>) {
        self.share = Share { peers: Some(peers), ..Share::default() };
        self.take_seats();
    }

    /// Watch what is this worker's to watch: sockets of its own, and those of workers that are gone.
    pub(super) fn take_seats(&mut self) {
        if self.listeners.iter().all(|listener| listener.seat().is_none()) {
            return;
        }
        if self.accepting {
            self.watch_listeners();
        }
        self.core.wheel.insert(TIMER_SEATS, self.core.context.now + SEATS_MS);
    }

    /// Nobody waits there any more: its own worker may have come.  Not earlier: whoever was woken
    /// for a connection is the only one who was.
    pub(super) fn give_seat_back(&mut self, listener: &Listening) {
        if self.accepting && !self.serves(listener) {
            self.watch_listeners();
        }
    }

    /// Whether it accepts from that listener.
    pub(super) fn serves(&self, listener: &Listening) -> bool {
        match (&self.share.peers, listener.seat()) {
            (Some(peers), Some(seat)) => peers.serves(seat),
            _ => true,
        }
    }

    /// A connection was accepted: perhaps it is somebody else's turn.
    #[inline]
    pub(super) fn take_turn(&mut self) {
        if self.share.peers.is_none() || !self.accepting {
            return;
        }
        self.share.taken += 1;
        if self.held() > self.share.limit || self.share.taken >= TURN {
            self.let_others();
        }
    }

    fn let_others(&mut self) {
        let Some(peers) = &self.share.peers else { return };
        let (workers, connections) = peers.load();
        let mean = (connections / workers.max(1) as u64) as usize;
        self.share.limit = mean + SLACK.max(mean / 8);
        if workers < 2 {
            self.share.taken = 0;
            return;
        }
        if self.held() > self.share.limit {
            peers.set_resting(true);
            if peers.others_accept() {
                self.share.rests = true;
                self.rest_for(REST_MS);
                return;
            }
            peers.set_resting(false);
        }
        if self.share.taken >= TURN {
            self.pause_accepting();
            self.resume_accepting();
        }
    }

    /// It accepts again, from the end of the queue.
    pub(super) fn end_rest(&mut self) {
        self.share.taken = 0;
        if std::mem::take(&mut self.share.rests) {
            self.share.limit = self.held() + SLACK;
            if let Some(peers) = &self.share.peers {
                peers.set_resting(false);
            }
        }
    }

    /// It stops: who is in the queue is its own.
    pub(super) fn stop_sharing(&mut self) {
        self.end_rest();
        self.share.peers = None;
    }
}
