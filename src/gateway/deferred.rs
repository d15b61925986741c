//! Answering later: the half of a request that any thread may use.
//!
//! A [`Shared`] belongs to two: to the exchange of its request, in the thread that drives it, and to
//! a handle, wherever that goes.  What the handle says is checked and queued here; the exchange is
//! told by a line in its mailbox, takes the queue, and does in its own thread what was asked for
//! (`exchange/later.rs`).  No lock is held while foreign code runs.
//!
//! The request's memory stays until the handle is given up, whatever happens to the client.

mod batch;
mod handle;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{CHUNK_FLUSH, OwnedChunk};
use crate::sys::clock;

pub(super) use batch::{Batch, Op};
pub use handle::{Deferred, Resumer};

use super::abi::{Environ, EnvironPtr, Response};
use super::exchange::Written;
use super::head::Head;
use super::input::{Read, RequestBody};
use super::watcher::{Misuse, Watcher};

/// A chunk up to this size is copied behind the others rather than put into memory of its own.
const COPY: u64 = 4 * 1024;

/// Where a driver hears that there is something to do for one of its requests.
pub trait Mailbox: Send + Sync {
    /// `key` names the request as [`super::exchange::Link::mailbox`] did.  From any thread.
    fn post(&self, key: u64);
}

/// What the owner of a handle wants to be told.  Called in the thread that drives the request, with
/// nothing locked; `d` may be used as a handle there.  Dropped when nothing more will come.
pub trait Events: Send + Sync {
    /// More of the request's body can be read, or it has ended: after a read that found nothing.
    fn readable(&self, d: &Arc<Shared>);
    /// There is room again: after a write that was refused.
    fn writable(&self, d: &Arc<Shared>);
    /// The client has left, or will send no more.  The handle is still to be given up.
    fn aborted(&self, d: &Arc<Shared>);
    /// The handle was given up, or another is told from now on; in the thread that did it.
    fn forget(&self, _d: &Shared) {}
}

/// What is done by whoever gives the handle up after its server has gone.
pub type Orphan = Box<dyn FnOnce() + Send>;

/// What the application returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    /// Nothing so far.
    Calling = 0,
    /// GW_DEFERRED: the answer comes through the handle.
    Later = 1,
    /// Something else: the handle only resumes an iterator.
    Iterating = 2,
}

/// Whether somebody is to be told of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// Nobody waits for it.
    Unwanted,
    /// When it happens.
    Owed,
    /// It was told, and nobody has acted upon it.
    Told,
}

impl Notice {
    /// It happens: whether to tell of it now.
    fn is_due(&mut self) -> bool {
        let due = *self == Notice::Owed;
        if due {
            *self = Notice::Told;
        }
        due
    }

    /// Somebody else listens from now on; whether that one has missed it.
    fn renew(&mut self) -> bool {
        let missed = *self == Notice::Told;
        if missed {
            *self = Notice::Owed;
        }
        missed
    }
}

struct State {
    /// Of the request at its driver.
    key: u64,
    batch: Batch,
    /// There is a head, of this handle or of start_response.
    started: bool,
    /// Octets of the body were taken: the head cannot be replaced.
    committed: bool,
    /// Octets that the exchange took and could not send yet.
    unsent: u64,
    /// Of room, after a write that was refused.
    writable: Notice,
    /// The handle waits for more of the request's body, or has made room for it.
    wants_input: bool,
    /// Of more to read, after a read that found nothing.
    readable: Notice,
    /// The mailbox has a line about this request that was not answered yet.
    posted: bool,
    /// An iterator is to be asked again.
    resumed: bool,
    /// Or at this time, in milliseconds of the monotonic clock.
    resume_at: Option<u64>,
    /// The handle was given up.
    ended: bool,
    /// Nothing reaches the client any more.
    gone: bool,
    /// That the client has left.
    aborted: Notice,
    orphan: Option<Orphan>,
}

/// A request that may be answered from any thread.
#[repr(C)]
pub struct Shared {
    /// [`Shared::MAGIC`], where C finds it.
    magic: u32,
    mode: AtomicU8,
    /// The client has left, or said that it will send no more.
    left: AtomicBool,
    state: Mutex<State>,
    /// The body of the request, as long as the handle may read it.
    input: Mutex<RequestBody>,
    events: Mutex<Option<Arc<dyn Events>>>,
    mailbox: Arc<dyn Mailbox>,
    env: EnvironPtr,
    /// Octets that wait for the client before a writer is refused.
    limit: u64,
    watcher: Option<Arc<dyn Watcher>>,
}

/// What a new handle begins with.
pub(super) struct Beginning {
    pub(super) mailbox: Arc<dyn Mailbox>,
    pub(super) key: u64,
    pub(super) env: EnvironPtr,
    pub(super) input: RequestBody,
    pub(super) limit: u64,
    /// start_response was called, and octets were written behind it.
    pub(super) started: bool,
    pub(super) committed: bool,
    pub(super) watcher: Option<Arc<dyn Watcher>>,
}

impl Shared {
    /// What it begins with.
    pub const MAGIC: u32 = u32::from_ne_bytes(*b"defr");

    pub(super) fn new(begin: Beginning, events: Option<Arc<dyn Events>>) -> Self {
        let state = State {
            key: begin.key,
            batch: Batch::default(),
            started: begin.started,
            committed: begin.committed,
            unsent: 0,
            writable: Notice::Unwanted,
            wants_input: false,
            readable: Notice::Unwanted,
            posted: false,
            resumed: false,
            resume_at: None,
            ended: false,
            gone: false,
            aborted: Notice::Owed,
            orphan: None,
        };
        Shared {
            magic: Shared::MAGIC,
            mode: AtomicU8::new(Mode::Calling as u8),
            left: AtomicBool::new(false),
            state: Mutex::new(state),
            input: Mutex::new(begin.input),
            events: Mutex::new(events),
            mailbox: begin.mailbox,
            env: begin.env,
            limit: begin.limit,
            watcher: begin.watcher,
        }
    }

    // ---- the handle's side: any thread ----

    /// The request, as long as the handle is not given up; none when the application has returned
    /// a body or an error, and not GW_DEFERRED.
    pub fn environ(&self) -> Option<*const Environ> {
        let usable = self.mode() != Mode::Iterating && !self.state.lock().ended;
        usable.then(|| self.env.get())
    }

    /// Whether the client has left, or has said that it will send no more.
    pub fn is_gone(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// start_response.  A status of 1xx is sent at once and is not the head.
    pub fn start(&self, head: &Response<'_>) -> Result<()> {
        if let Some(watcher) = &self.watcher {
            drop(self.answers()?);
            watcher.starts(head);
        }
        let mut state = self.answers()?;
        let is_interim = (100..200).contains(&head.status);
        let started = if is_interim { state.hint(head) } else { state.start(head) };
        if let Err(error) = &started {
            // Its line in the log is written where the request is known.
            state.batch.ops.push_back(Op::Complaint(error.clone()));
        }
        if is_interim || started.is_err() {
            self.post(state);
        }
        started
    }

    /// A piece of the answer's body.  Memory without release is copied; a release function may run
    /// in any thread.
    pub fn write(&self, chunk: OwnedChunk) -> Result<Written> {
        let Some(watcher) = &self.watcher else { return self.take_chunk(chunk) };
        drop(self.answers()?);
        watcher.writes(chunk.as_raw());
        let len = chunk.len();
        self.take_chunk(chunk).inspect(|written| {
            if matches!(written, Written::Taken) {
                watcher.wrote(len);
            }
        })
    }

    fn take_chunk(&self, chunk: OwnedChunk) -> Result<Written> {
        // Wherever this returns, the chunk goes after the lock: a release function may come back here.
        let mut state = self.answers()?;
        check(&chunk)?;
        if !state.started {
            return Err(Error::new(Kind::State, "write: before start"));
        }
        if state.gone {
            return Err(Error::from(Kind::Closed));
        }
        if state.waiting() >= self.limit {
            state.writable = Notice::Owed;
            return Ok(Written::Refused(chunk));
        }
        state.writable = Notice::Unwanted;
        let spent = state.push(chunk);
        self.post(state);
        drop(spent);
        Ok(Written::Taken)
    }

    /// Up to `buf.len()` octets of the request's body: `None` when nothing is there, 0 at the end.
    pub fn read(&self, buf: &mut [u8]) -> Result<Option<usize>> {
        drop(self.answers()?);
        self.read_by(|input| input.read(buf))
    }

    pub(super) fn read_by(
        &self,
        mut take: impl FnMut(&mut RequestBody) -> Result<Read>,
    ) -> Result<Option<usize>> {
        // Under both locks: what comes just behind a read that finds nothing is told of.
        let mut state = self.state.lock();
        let mut input = self.input.lock();
        let was_full = input.is_full();
        let got = take(&mut input)?;
        let has_room = was_full && !input.is_full();
        drop(input);
        state.readable = if got == Read::Empty { Notice::Owed } else { Notice::Unwanted };
        if got == Read::Empty || has_room {
            state.wants_input = true;
            self.post(state);
        }
        Ok(match got {
            Read::Data(n) => Some(n),
            Read::End => Some(0),
            Read::Empty => None,
        })
    }

    /// Ask the iterator again that had nothing to give.
    pub fn resume(&self) -> Result<()> {
        let mut state = self.open()?;
        state.resumed = true;
        self.post(state);
        Ok(())
    }

    /// The same in `ms` milliseconds; of several such wishes the soonest counts.
    pub fn resume_after(&self, ms: u32) -> Result<()> {
        let at = clock::monotonic_ms() + u64::from(ms);
        let mut state = self.open()?;
        state.resume_at = Some(state.resume_at.map_or(at, |other| other.min(at)));
        self.post(state);
        Ok(())
    }

    /// The answer is complete (0), or failed (a code of an error).  Gives the handle up.
    pub(crate) fn end(&self, mut outcome: i32) -> Result<GivenUp> {
        if let Some(watcher) = &self.watcher {
            drop(self.open()?);
            if self.mode() != Mode::Iterating {
                outcome = watcher.ends(outcome);
            }
        }
        let state = self.open()?;
        if outcome > 0 {
            let text = format!("end: {outcome} is neither 0 nor an error");
            return Ok(self.fail(state, Error::new(Kind::Invalid, text)));
        }
        self.give_up(state, Op::End(outcome));
        Ok(GivenUp(Ok(())))
    }

    /// The answer failed for this reason, which is logged.  Gives the handle up.
    pub(crate) fn refuse(&self, error: Error) -> Result<GivenUp> {
        Ok(self.fail(self.open()?, error))
    }

    fn fail(&self, state: MutexGuard<'_, State>, error: Error) -> GivenUp {
        self.give_up(state, Op::Fail(error.clone()));
        GivenUp(Err(error))
    }

    /// A whole answer: the head, the chunks, the end.  Gives the handle up, and releases the chunks,
    /// also when it returns an error, which the client sees as a 500 (or as a cut).
    pub(crate) fn reply(&self, head: &Response<'_>, chunks: Vec<OwnedChunk>) -> Result<GivenUp> {
        if let Some(watcher) = &self.watcher
            && self.answers().map(drop).is_ok()
        {
            watcher.starts(head);
            for chunk in &chunks {
                watcher.writes(chunk.as_raw());
                watcher.wrote(chunk.len());
            }
            if watcher.ends(0) != 0 {
                return self.refuse(Error::new(Kind::App, "reply: refused by lint"));
            }
        }
        let mut state = self.open()?;
        let sound = self.is_answer().and_then(|()| chunks.iter().try_for_each(check));
        if let Err(error) = sound.and_then(|()| ends(head)).and_then(|()| state.start(head)) {
            return Ok(self.fail(state, error));
        }
        if state.gone {
            self.give_up(state, Op::End(0));
            return Ok(GivenUp(Err(Error::from(Kind::Closed))));
        }
        // Released behind the lock.
        let spent: Vec<_> = chunks.into_iter().filter_map(|chunk| state.push(chunk)).collect();
        self.give_up(state, Op::End(0));
        drop(spent);
        Ok(GivenUp(Ok(())))
    }

    /// Whoever was to be told so far is not told any more; `events` is, also of what was told before
    /// and not acted upon.  Once the server has gone, that is told in the calling thread.
    pub fn watch(self: &Arc<Self>, events: Arc<dyn Events>) -> Result<()> {
        drop(self.open()?);
        let before = self.events.lock().replace(events);
        if let Some(before) = before {
            before.forget(self);
        }
        let mut state = self.state.lock();
        let State { readable, writable, aborted, .. } = &mut *state;
        let missed = [readable, writable, aborted].map(Notice::renew).contains(&true);
        if state.orphan.is_some() {
            drop(state);
            self.tell_here();
        } else if missed || self.is_gone() {
            self.post(state);
        }
        Ok(())
    }

    /// Nobody took the request.
    pub(super) fn shed(&self) {
        if let Ok(state) = self.open() {
            self.give_up(state, Op::Shed);
        }
    }

    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.ended {
            drop(state);
            self.misused(Misuse::HandleAfterEnd);
            return Err(Error::new(Kind::State, "this handle was given up"));
        }
        Ok(state)
    }

    /// The same for what only a handle may do that the answer comes through.
    fn answers(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.open()?;
        if let Err(error) = self.is_answer() {
            drop(state);
            self.misused(Misuse::HandleAfterBody);
            return Err(error);
        }
        Ok(state)
    }

    #[cold]
    fn misused(&self, misuse: Misuse) {
        if let Some(watcher) = &self.watcher {
            watcher.misuses(misuse);
        }
    }

    fn is_answer(&self) -> Result<()> {
        if self.mode() == Mode::Iterating {
            let text = "the application has returned an answer: this handle only resumes it";
            return Err(Error::new(Kind::State, text));
        }
        Ok(())
    }

    fn give_up(&self, mut state: MutexGuard<'_, State>, last: Op) {
        state.ended = true;
        // An iterator is asked once more: nobody else will wake it.
        state.resumed = true;
        state.batch.ops.push_back(last);
        match state.orphan.take() {
            Some(orphan) => {
                drop(state);
                orphan();
            }
            None => self.post(state),
        }
        let events = self.events.lock().clone();
        if let Some(events) = events {
            events.forget(self);
        }
    }

    /// See that the exchange looks here.
    fn post(&self, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.posted, true) {
            let key = state.key;
            drop(state);
            self.mailbox.post(key);
        }
    }

    // ---- the exchange's side: the thread that drives it ----

    pub(super) fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Acquire) {
            0 => Mode::Calling,
            1 => Mode::Later,
            _ => Mode::Iterating,
        }
    }

    /// The application has returned.
    pub(super) fn returned(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Release);
    }

    /// The application has called start_response, and perhaps written behind it.
    pub(super) fn begun(&self, committed: bool) {
        let mut state = self.state.lock();
        state.started = true;
        state.committed |= committed;
    }

    pub(super) fn input(&self) -> MutexGuard<'_, RequestBody> {
        self.input.lock()
    }

    /// The handle was not given up.
    pub(super) fn is_held(&self) -> bool {
        !self.state.lock().ended
    }

    /// Move what waits to `into`, which is empty; `unsent` octets are still to be sent of what was
    /// taken before.  False: nothing waits.
    pub(super) fn take(&self, into: &mut Batch, unsent: u64) -> bool {
        let mut state = self.state.lock();
        state.unsent = unsent;
        if state.batch.is_empty() {
            return false;
        }
        std::mem::swap(&mut state.batch, into);
        state.unsent += into.octets;
        true
    }

    /// Tell whoever has the handle what it waits for; `unsent` octets wait for the client.  `contain`
    /// runs what the application has written.
    pub(super) fn tell(self: &Arc<Self>, unsent: u64, contain: impl Fn(&dyn Fn())) {
        // Looked up behind the decision: one that took the place of another meanwhile, or comes
        // later, asks what was told before.
        let tell = |event: &dyn Fn(&dyn Events)| {
            contain(&|| {
                if let Some(events) = self.events() {
                    event(&*events);
                }
            });
        };
        if self.has_input() {
            tell(&|events| events.readable(self));
        }
        if self.has_room(unsent) {
            tell(&|events| events.writable(self));
        }
        if self.owes_aborted() {
            tell(&|events| events.aborted(self));
        }
    }

    /// The same where there is no loop any more.
    fn tell_here(self: &Arc<Self>) {
        // A panic was reported by its hook, and is nobody else's business.
        self.tell(0, |event| drop(catch_unwind(AssertUnwindSafe(event))));
    }

    /// Whether a writer that was refused is to be told of room.
    fn has_room(&self, unsent: u64) -> bool {
        let mut state = self.state.lock();
        state.unsent = unsent;
        let room = state.gone || state.waiting() <= self.limit / 2;
        room && !state.ended && state.writable.is_due()
    }

    /// Whether more of the request's body is to be read, as far as there is room for it.
    pub(super) fn wants_input(&self) -> bool {
        // Under both locks: a reader that makes room meanwhile must not be forgotten.
        let mut state = self.state.lock();
        state.wants_input &= self.input.lock().may_grow();
        state.wants_input
    }

    /// Whether a reader that found nothing is to be told of something.
    fn has_input(&self) -> bool {
        let mut state = self.state.lock();
        let is_there = {
            let input = self.input.lock();
            input.rest() > 0 || !input.is_open()
        };
        is_there && !state.ended && state.readable.is_due()
    }

    /// What the mailbox said of this request is being looked after.
    pub(crate) fn noticed(&self) {
        self.state.lock().posted = false;
    }

    /// Whether an iterator that had nothing may have something now.
    pub(super) fn may_resume(&self) -> bool {
        self.state.lock().resumed
    }

    /// The iterator is about to be asked: what is said from now on counts for the next time.
    pub(super) fn resuming(&self) {
        self.state.lock().resumed = false;
    }

    /// When an iterator wants to be asked again.
    pub(super) fn resume_at(&self) -> Option<u64> {
        self.state.lock().resume_at
    }

    /// It is `now`: an iterator that waits for this time is to be asked.
    pub(crate) fn tick(&self, now: u64) {
        let mut state = self.state.lock();
        if state.resume_at.is_some_and(|at| at <= now) {
            state.resume_at = None;
            state.resumed = true;
        }
    }

    /// The client has left, or will send no more.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Whether somebody is to be told that the client has left.
    fn owes_aborted(&self) -> bool {
        let mut state = self.state.lock();
        self.is_gone() && !state.ended && state.aborted.is_due()
    }

    /// Nothing reaches the client any more: whoever waits to write may try now.
    pub(super) fn cut_off(&self) {
        let mut dropped = Batch::default();
        {
            let mut state = self.state.lock();
            state.gone = true;
            std::mem::swap(&mut state.batch, &mut dropped);
            // The end is still to be seen; everything else is released behind the lock.
            if dropped.ops.back().is_some_and(Op::is_last) {
                state.batch.ops.extend(dropped.ops.pop_back());
            }
        }
        self.input.lock().fail(Kind::Closed);
    }

    /// From now on the request has this name; says whether its handle was given up before.  What was
    /// said under the old one, and not looked after, is to be looked after now.
    pub(crate) fn rename(&self, key: u64) -> bool {
        let mut state = self.state.lock();
        state.key = key;
        state.posted = false;
        state.ended
    }

    /// The server goes, and the handle does not: whoever gives it up does the rest.
    pub(crate) fn orphan(self: &Arc<Self>, rest: Orphan) {
        let mut state = self.state.lock();
        if !state.ended {
            state.orphan = Some(rest);
            drop(state);
            // What was said to a loop that does not turn any more.
            return self.tell_here();
        }
        drop(state);
        rest();
    }

    fn events(&self) -> Option<Arc<dyn Events>> {
        self.events.lock().clone()
    }

    /// Whether `who` is to be told of this request, now.
    pub(crate) fn tells(&self, who: *const ()) -> bool {
        let listens = |events: &Arc<dyn Events>| std::ptr::addr_eq(Arc::as_ptr(events), who);
        self.is_held() && self.events.lock().as_ref().is_some_and(listens)
    }
}

/// The call gave the handle up, whatever else came of it.
#[derive(Debug)]
pub(crate) struct GivenUp(pub(crate) Result<()>);

impl State {
    fn hint(&mut self, head: &Response<'_>) -> Result<()> {
        if head.status == 101 {
            let text = "start: 101 needs a connection that can be handed over";
            return Err(Error::new(Kind::Unsupported, text));
        }
        let mut interim = Head::default();
        interim.set_interim(head)?;
        self.batch.ops.push_back(Op::Interim(interim));
        Ok(())
    }

    fn start(&mut self, head: &Response<'_>) -> Result<()> {
        let mut mine = self.batch.head.take().unwrap_or_default();
        // A head of start_response is not here, and replaced all the same.
        let replaces = head.flags & super::abi::RESPONSE_REPLACE != 0;
        let set = if self.started && !replaces && !mine.is_started() {
            Err(Error::new(Kind::State, "start: start_response was called before"))
        } else {
            mine.set(head, self.committed)
        };
        if mine.is_started() {
            self.batch.head = Some(mine);
        }
        set?;
        self.started = true;
        Ok(())
    }

    /// Octets that wait for the client, here and in the exchange.
    fn waiting(&self) -> u64 {
        self.batch.octets.saturating_add(self.unsent)
    }

    /// Queue a chunk.  One that need not be kept is given back, to be released outside the lock.
    fn push(&mut self, given: OwnedChunk) -> Option<OwnedChunk> {
        if given.is_empty() {
            // One that is not to wait for company sends the head.
            if given.as_raw().flags & CHUNK_FLUSH != 0 && !self.committed {
                self.committed = true;
                self.batch.ops.push_back(Op::Text(0));
            }
            return Some(given);
        }
        self.committed = true;
        self.batch.octets = self.batch.octets.saturating_add(given.len());
        if given.len() <= COPY && !given.is_file() {
            self.batch.text.extend_from_slice(given.octets());
            self.batch.ops.push_back(Op::Text(given.octets().len()));
            return Some(given);
        }
        let (kept, spent) = if given.has_release() {
            (given, None)
        } else {
            (OwnedChunk::from_vec(given.octets().to_vec()), Some(given))
        };
        self.batch.ops.push_back(Op::Chunk(kept));
        spent
    }
}

/// A client waits for another head behind one of 1xx, and takes the next answer for it.
fn ends(head: &Response<'_>) -> Result<()> {
    match head.status {
        status @ 100..200 => {
            let text = format!("reply: {status} is not the status of a whole answer");
            Err(Error::new(Kind::Protocol, text))
        }
        _ => Ok(()),
    }
}

fn check(chunk: &OwnedChunk) -> Result<()> {
    if !chunk.is_sound() {
        let text = "a chunk without data, longer than memory, or of no possible range of a file";
        return Err(Error::new(Kind::Invalid, text));
    }
    if chunk.is_file() && !chunk.has_release() {
        return Err(Error::new(Kind::Invalid, "a file range needs a release function"));
    }
    Ok(())
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("mode", &self.mode()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
