//! The way between the host and a request: pieces of the answer one way, pieces of the body the other.
//!
//! The host's thread and the thread that drives the request meet here and nowhere else, under one lock,
//! in which no foreign code runs.  Pieces that the host has still belong to the way: it counts them, and
//! the request waits for those that lie in the application's memory.  A way outlives its request, and
//! its host, as long as there are any.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::base::buf::{HandedOver, OutQueue};
use crate::base::error::Kind;
use crate::base::octets::{CHUNK_LAST, OwnedChunk, lend};
use crate::gateway::deferred::Mailbox as _;
use crate::wire::hosted::Record;

use super::fed::Fed;
use super::inbox::Inbox;
use super::link::Context;
use super::loan::Lending;
use super::slot::Slot;

/// Texts and loans that are kept for the next pieces.
const SPARE_MAX: usize = 4;

/// A piece of the answer.
#[derive(Debug)]
pub(super) enum Piece {
    /// Octets, from this one on.
    Text(Vec<u8>, usize),
    /// Somebody else's memory, or a range of a file.
    Reference(OwnedChunk),
}

/// How an answer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is whole.
    Whole,
    /// It is not.
    Cut(Kind),
}

/// Storage of a record, which keeps the last one: applications repeat themselves.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) octets: Vec<u8>,
    /// Another number for all octets that this, or any other storage of the host, ever had.
    pub(super) version: u64,
}

impl Kept {
    fn keep(&mut self, record: &[u8], last_version: &mut u64) {
        if self.octets == record {
            return;
        }
        *last_version += 1;
        self.version = *last_version;
        self.octets.clear();
        self.octets.extend_from_slice(record);
    }
}

/// The head that was taken last.
#[derive(Debug, Default)]
pub(super) struct TakenHead {
    /// Itself, as a [`Record`].
    pub(super) record: Kept,
    /// It is that of a page of ours about an error.
    pub(super) excuses: bool,
    /// The body, where that is one piece and was there already.
    pub(super) body: Option<OwnedChunk>,
}

/// What is there of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headed {
    /// One was taken.
    Taken,
    /// None so far.
    Awaited,
    /// The last was taken before.
    Over,
    /// There was none, and will be none, for this reason.
    Failed(Kind),
}

/// What pulling came to.
#[derive(Debug)]
pub(super) enum Pulled {
    /// A piece.
    Piece(OwnedChunk),
    /// None so far.
    Awaited,
    /// A head, which is to be taken first.
    Head,
    /// That was all.
    End,
    /// That was all, and is not whole.
    Failed(Kind),
}

/// The way; see the module.
#[derive(Debug)]
pub(super) struct Way {
    state: Mutex<State>,
    /// Something changed that a thread waits for.
    changed: Condvar,
    inbox: Arc<Inbox>,
    /// Octets that the host has, or could have, before the application is to wait.
    limit: u64,
    /// What the host gives back is released where the application runs, and not where that is.
    keeps_spent: bool,
    /// Nanoseconds in the queue of the threads.
    waited: AtomicU64,
    /// There were chunks by reference.
    refers: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// Of the request at the host.
    key: u64,
    /// Nobody wants the answer any more.
    gone: bool,
    /// That is since it came too late.
    expired: bool,
    /// When the head was committed, in milliseconds of the monotonic clock; 0: it was not.
    committed: u64,
    /// The head is a page of ours about an error.
    excuses: bool,
    /// The last head was taken.
    headed: bool,
    queue: VecDeque<Piece>,
    end: Option<End>,
    /// Octets of the pieces here and of those that the host has.
    waiting: u64,
    /// Of these pieces those that are chunks by reference, and of those the ones without a release.
    by_reference: usize,
    borrowed: usize,
    /// The host was told to wait for something to pull, or to feed.
    awaits_pull: bool,
    awaits_room: bool,
    /// The request waits for room.
    blocked: bool,
    spent: Vec<OwnedChunk>,
    fed: Fed,
    #[allow(clippy::vec_box, reason = "their boxes go to the host and come back")]
    spare: Vec<Box<Lending>>,
    /// The request, once its host is gone: it ends with the last piece that is lent of it.
    orphan: Option<(Box<Slot>, Arc<Context>)>,
}

impl Way {
    pub(super) fn new(
        key: u64,
        inbox: Arc<Inbox>,
        limit: u64,
        room: usize,
        keeps_spent: bool,
    ) -> Self {
        let state = State {
            key,
            gone: false,
            expired: false,
            committed: 0,
            excuses: false,
            headed: false,
            queue: VecDeque::new(),
            end: None,
            waiting: 0,
            by_reference: 0,
            borrowed: 0,
            awaits_pull: false,
            awaits_room: false,
            blocked: false,
            spent: Vec::new(),
            fed: Fed::new(room),
            spare: Vec::new(),
            orphan: None,
        };
        let limit = limit.max(1);
        Way {
            state: Mutex::new(state),
            changed: Condvar::new(),
            inbox,
            limit,
            keeps_spent,
            waited: AtomicU64::new(0),
            refers: AtomicBool::new(false),
        }
    }

    /// For another request; nobody else may have it, and nothing be lent.
    pub(super) fn renew(&mut self, key: u64) {
        *self.waited.get_mut() = 0;
        *self.refers.get_mut() = false;
        let state = self.state.get_mut();
        debug_assert!(state.waiting == 0 && state.queue.is_empty() && state.spent.is_empty());
        state.key = key;
        (state.gone, state.expired) = (false, false);
        state.committed = 0;
        state.excuses = false;
        state.headed = false;
        state.end = None;
        (state.awaits_pull, state.awaits_room, state.blocked) = (false, false, false);
        state.fed.clear();
    }

    // ---- the side of whoever drives the request ----

    /// Give everything that is queued to the host, and its end, if it has one: whether the answer is whole.
    /// At once, so that the last piece is known to be that.  False: nobody wants it.
    pub(super) fn send(&self, out: &mut OutQueue, excuses: bool, end: Option<bool>) -> bool {
        let has_octets = !out.is_empty() || out.holds_chunks();
        let mut state = self.state.lock();
        if state.gone {
            drop(state);
            out.clear();
            return false;
        }
        let has_end = end.is_some() && state.end.is_none();
        if !has_octets && !has_end {
            return true;
        }
        let State { queue, spare, waiting, by_reference, borrowed, .. } = &mut *state;
        let empty = || spare.last_mut().map(|loan| loan.take_text()).unwrap_or_default();
        out.hand_over(empty, |piece| {
            queue.push_back(match piece {
                HandedOver::Text(text) => {
                    *waiting += text.len() as u64;
                    Piece::Text(text, 0)
                }
                HandedOver::Reference(chunk) => {
                    *waiting += chunk.len();
                    *by_reference += 1;
                    self.refers.store(true, Ordering::Relaxed);
                    *borrowed += usize::from(!chunk.has_release());
                    Piece::Reference(chunk)
                }
            });
        });
        if has_octets {
            state.excuses = excuses;
        }
        if has_end {
            let whole = end == Some(true);
            state.end = Some(if whole { End::Whole } else { End::Cut(Kind::App) });
        }
        self.call_host(state);
        true
    }

    /// The head is about to be committed; false: that comes too late.
    pub(super) fn commit(&self, now_ms: u64) -> bool {
        let mut state = self.state.lock();
        if !state.gone && state.committed == 0 {
            state.committed = now_ms.max(1);
        }
        !state.gone
    }

    /// A thread has taken the request from the queue.
    pub(super) fn took(&self, waited_ns: u64) {
        self.waited.store(waited_ns, Ordering::Relaxed);
    }

    /// How long it was there, in nanoseconds; 0: it was not, or is.
    pub(super) fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state.lock().gone
    }

    pub(super) fn is_expired(&self) -> bool {
        self.state.lock().expired
    }

    /// Whether pieces that lie in the application's memory are on the way.
    pub(super) fn holds(&self) -> bool {
        self.refers.load(Ordering::Relaxed) && self.state.lock().by_reference > 0
    }

    /// Whether the application may be asked for more; `ends`: to clean up.
    pub(super) fn has_room(&self, ends: bool) -> bool {
        self.state.lock().has_room(self.limit, ends)
    }

    /// The same; false: the host is told when it may.
    pub(super) fn has_room_or_blocks(&self, ends: bool) -> bool {
        let mut state = self.state.lock();
        state.blocked = !state.has_room(self.limit, ends);
        !state.blocked
    }

    /// Wait until no more than `left` octets, or those of a whole buffer, are on the way.  False: nobody
    /// wants the answer any more.
    pub(super) fn wait_for_room(&self, left: u64) -> bool {
        let left = left.max(self.limit - 1);
        let mut state = self.state.lock();
        while !state.gone && state.waiting > left {
            self.changed.wait(&mut state);
        }
        !state.gone
    }

    /// Release what the host gave back, here.
    pub(super) fn release_spent(&self) {
        if !self.keeps_spent {
            return;
        }
        let mut state = self.state.lock();
        if !state.spent.is_empty() {
            let spent = std::mem::take(&mut state.spent);
            drop(state);
            drop(spent);
        }
    }

    pub(super) fn owes_release(&self) -> bool {
        self.keeps_spent && !self.state.lock().spent.is_empty()
    }

    /// What the host has fed, under the lock; `waits`: until there is something, or never will be.
    pub(super) fn with_fed<T>(&self, waits: bool, take: impl FnOnce(&mut Fed, bool) -> T) -> T {
        let mut state = self.state.lock();
        while waits && !state.gone && !state.fed.has_news() {
            self.changed.wait(&mut state);
        }
        let State { fed, gone, .. } = &mut *state;
        let taken = take(fed, *gone);
        if state.awaits_room && !state.fed.is_full() {
            self.tell_host(&state);
        }
        taken
    }

    /// The host is gone: keep the request until the last piece is back that is lent of it; it comes back
    /// when there is none.
    pub(super) fn adopt(&self, slot: Box<Slot>, context: &Arc<Context>) -> Option<Box<Slot>> {
        let mut state = self.state.lock();
        if state.by_reference == 0 {
            return Some(slot);
        }
        state.orphan = Some((slot, Arc::clone(context)));
        None
    }

    fn call_host(&self, state: MutexGuard<'_, State>) {
        if state.awaits_pull {
            self.tell_host(&state);
        }
    }

    fn tell_host(&self, state: &State) {
        self.inbox.post(state.key);
    }

    // ---- the host's side ----

    /// From now on the request has this name.
    pub(super) fn rename(&self, key: u64) {
        let mut state = self.state.lock();
        state.key = key;
        state.blocked = true;
        state.awaits_pull = true;
    }

    /// Nobody wants the answer any more; what was not pulled is released.
    pub(super) fn leave(&self) {
        let mut state = self.state.lock();
        let spent = state.leave(self.keeps_spent);
        drop(state);
        self.changed.notify_all();
        drop(spent);
    }

    /// The same unless the head was committed; says whether it was not.
    pub(super) fn leave_uncommitted(&self) -> bool {
        let mut state = self.state.lock();
        if state.committed > 0 || state.end.is_some() {
            return false;
        }
        state.expired = true;
        let spent = state.leave(self.keeps_spent);
        drop(state);
        self.changed.notify_all();
        drop(spent);
        true
    }

    /// When the head was committed; never, as far as time is concerned, once the answer is complete.
    pub(super) fn committed(&self) -> Option<u64> {
        let state = self.state.lock();
        match state.end {
            Some(_) => Some(u64::MAX),
            None => (state.committed > 0).then_some(state.committed),
        }
    }

    /// The answer is this, of nobody else: nothing was sent.
    pub(super) fn answer(&self, head_and_body: Vec<u8>) {
        let mut state = self.state.lock();
        state.waiting += head_and_body.len() as u64;
        state.queue.push_back(Piece::Text(head_and_body, 0));
        state.excuses = true;
        state.end = Some(End::Whole);
    }

    /// There is no more of an answer, which has not ended.
    pub(super) fn cut(&self, why: Kind, headed: bool) {
        let mut state = self.state.lock();
        state.headed = headed;
        state.end = Some(End::Cut(why));
    }

    /// Whether the last head was taken.
    pub(super) fn is_headed(&self) -> bool {
        self.state.lock().headed
    }

    /// The next head, if there is one.
    pub(super) fn take_head(
        self: &Arc<Self>,
        taken: &mut TakenHead,
        last_version: &mut u64,
    ) -> Headed {
        let mut state = self.state.lock();
        if state.headed {
            return Headed::Over;
        }
        let state = &mut *state;
        let Some(Piece::Text(text, start)) = state.queue.front_mut() else {
            return match state.end {
                Some(End::Cut(why)) => Headed::Failed(why),
                Some(End::Whole) => Headed::Failed(Kind::App),
                None => {
                    state.awaits_pull = true;
                    Headed::Awaited
                }
            };
        };
        let Some((record, len)) = Record::read(&text[*start..]) else {
            return Headed::Failed(Kind::App);
        };
        state.headed = !record.is_interim;
        taken.excuses = state.excuses;
        taken.record.keep(&text[*start..*start + len], last_version);
        *start += len;
        state.waiting -= len as u64;
        if *start == text.len()
            && let Some(Piece::Text(mut text, _)) = state.queue.pop_front()
        {
            text.clear();
            state.keep_text(text);
        }
        if state.headed && state.end == Some(End::Whole) && state.queue.len() == 1 {
            // Nothing else is to come: what would lock this again soon is done now.
            if let Some(piece) = state.queue.pop_front() {
                let loan = state.spare.pop().unwrap_or_default();
                taken.body = Some(self.lend(loan, piece, true));
            }
        }
        Headed::Taken
    }

    /// The next piece.
    pub(super) fn pull(self: &Arc<Self>) -> Pulled {
        let mut state = self.state.lock();
        if !state.headed {
            return match (state.queue.is_empty(), state.end) {
                (true, Some(End::Cut(why))) => Pulled::Failed(why),
                (true, None) => {
                    state.awaits_pull = true;
                    Pulled::Awaited
                }
                _ => Pulled::Head,
            };
        }
        let Some(piece) = state.queue.pop_front() else {
            return match state.end {
                Some(End::Whole) => Pulled::End,
                Some(End::Cut(why)) => Pulled::Failed(why),
                None => {
                    state.awaits_pull = true;
                    Pulled::Awaited
                }
            };
        };
        let is_last = state.queue.is_empty() && state.end == Some(End::Whole);
        let loan = state.spare.pop().unwrap_or_default();
        drop(state);
        Pulled::Piece(self.lend(loan, piece, is_last))
    }

    fn lend(self: &Arc<Self>, mut loan: Box<Lending>, piece: Piece, is_last: bool) -> OwnedChunk {
        loan.begin(Arc::clone(self), piece);
        lend(loan, if is_last { CHUNK_LAST } else { 0 })
    }

    /// Whether the host waited for something to pull, and it is there; it waits no longer.
    pub(super) fn owes_pull(&self) -> bool {
        let mut state = self.state.lock();
        let owes = state.awaits_pull && state.has_news();
        state.awaits_pull &= !owes;
        owes
    }

    /// The same for room for the body.
    pub(super) fn owes_room(&self) -> bool {
        let mut state = self.state.lock();
        let owes = state.awaits_room && !state.fed.is_full();
        state.awaits_room &= !owes;
        owes
    }

    /// Nothing was there: the host waits to be told.
    pub(super) fn await_pull(&self) -> bool {
        let mut state = self.state.lock();
        state.awaits_pull = !state.has_news();
        state.awaits_pull
    }

    /// Feed; false: it is full, and the host is told when it is not.
    pub(super) fn feed(&self, feed: impl FnOnce(&mut Fed)) -> bool {
        let mut state = self.state.lock();
        if state.fed.is_full() {
            state.awaits_room = true;
            return false;
        }
        feed(&mut state.fed);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// The host has released a piece of so many octets.
    pub(super) fn returned(&self, len: u64, chunk: Option<OwnedChunk>, loan: Box<Lending>) {
        let mut state = self.state.lock();
        state.waiting -= len;
        let mut spent = None;
        if let Some(chunk) = chunk {
            state.by_reference -= 1;
            state.borrowed -= usize::from(!chunk.has_release());
            if self.keeps_spent && chunk.has_release() {
                state.spent.push(chunk);
            } else {
                spent = Some(chunk);
            }
        }
        if state.spare.len() < SPARE_MAX {
            state.spare.push(loan);
        }
        let has_room = state.has_room(self.limit, true) || state.has_room(self.limit, false);
        let is_due = state.blocked && has_room && state.awaits_pull;
        if is_due {
            state.blocked = false;
        }
        // Before the request hears that the piece is back.
        let key = state.key;
        let orphan = if state.by_reference == 0 { state.orphan.take() } else { None };
        drop(state);
        drop(spent);
        if let Some((mut slot, context)) = orphan {
            slot.abort(&context, false);
            slot.clear();
        }
        if is_due {
            self.inbox.post(key);
        }
        self.changed.notify_all();
    }
}

impl State {
    fn has_news(&self) -> bool {
        !self.queue.is_empty() || self.end.is_some()
    }

    fn has_room(&self, limit: u64, ends: bool) -> bool {
        self.by_reference == 0 && (ends || self.waiting < limit)
            || !ends && self.borrowed == 0 && self.waiting < limit
    }

    fn leave(&mut self, keeps_spent: bool) -> Vec<OwnedChunk> {
        self.gone = true;
        let mut spent = Vec::new();
        for piece in self.queue.drain(..) {
            match piece {
                Piece::Text(text, start) => self.waiting -= (text.len() - start) as u64,
                Piece::Reference(chunk) => {
                    self.waiting -= chunk.len();
                    self.by_reference -= 1;
                    self.borrowed -= usize::from(!chunk.has_release());
                    if keeps_spent && chunk.has_release() {
                        self.spent.push(chunk);
                    } else {
                        spent.push(chunk);
                    }
                }
            }
        }
        spent
    }

    fn keep_text(&mut self, text: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            let mut loan = Box::<Lending>::default();
            loan.keep_text(text);
            self.spare.push(loan);
        }
    }
}
