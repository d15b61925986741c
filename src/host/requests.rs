//! A host: what a foreign server does with requests, by their keys.
//!
//! All of it is called in one thread at a time.  `T` is whatever the foreign server keeps with a request.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Level, log};
use crate::base::octets::{CHUNK_LAST, OwnedChunk};
use crate::base::slab::Slab;
use crate::base::wheel::Wheel;
use crate::conf::show_size;
use crate::gateway::abi::{APP_SERIAL, ENV_HOSTED, ENV_MAY_BLOCK, ENV_MULTIPROCESS, Environ};
use crate::gateway::config::Config;
use crate::gateway::counters::Counters;
use crate::gateway::exchange::Phase;
use crate::gateway::service::Service;
use crate::run::pool::Pool;
use crate::server::setup::Setup;
use crate::sys::dup::duplicate;
use crate::sys::file::TempFile;
use crate::sys::poll::Poller;
use crate::sys::timer::Timer;
use crate::sys::{clock, sock};
use crate::wire::Limit;
use crate::wire::hosted::Record;

use super::crew::Job;
use super::fed::Range;
use super::inbox::Inbox;
use super::link::Context;
use super::slot::{Slot, bury};
use super::way::{Headed, Kept, Pulled, TakenHead, Way};

/// There is room again for the request's body.
pub const FEED: u32 = 1;
/// There is something to pull: a head, a piece, the end.
pub const PULL: u32 = 2;

/// Slots, and storage for heads, that are kept for the next requests.
const SPARE_MAX: usize = 256;
/// Octets of such storage.
const HEAD_MAX: usize = 4096;

pub(super) const TOKEN_INBOX: u64 = 1;
pub(super) const TOKEN_CREW: u64 = 2;
pub(super) const TOKEN_TIMER: u64 = 3;

/// In the key of a parked request, beside its key in the slab.
pub(super) const PARKED: u64 = 1 << 56;

/// What pulling came to.
#[derive(Debug)]
pub enum Pull {
    /// A piece; [`CHUNK_LAST`]: the last.
    Piece(OwnedChunk),
    /// None so far.
    Awaited,
    /// That was all.
    End,
}

/// A request, as the host knows it.
#[derive(Debug)]
pub(super) struct Place<T> {
    /// None: a thread has it, or it is over for the host.
    pub(super) slot: Option<Box<Slot>>,
    pub(super) way: Arc<Way>,
    tag: T,
    head: TakenHead,
    /// It was to be run.
    pub(super) called: bool,
    /// The last piece of its answer was taken.
    is_pulled: bool,
    /// It is answered like this, and not by its application.
    pub(super) refusal: Option<(u16, &'static str)>,
    /// More of its body is to come.
    open: bool,
    /// It asks for a head alone.
    pub(super) is_head: bool,
    /// Whether the application is called before that is complete.
    streams: bool,
    /// What its length is to be, and was so far.
    length: Option<u64>,
    fed: u64,
    /// When its answer is to begin, and when there is something to do, at the latest.
    pub(super) respond_by: u64,
    pub(super) deadline: u64,
}

/// Requests of a foreign server.
#[derive(Debug)]
pub struct Host<T> {
    pub(super) context: Arc<Context>,
    pub(super) poller: Poller,
    timer: Timer,
    /// When it is set for.
    timer_at: u64,
    pub(super) wheel: Wheel,
    /// The earliest entry of the wheel, for each index of a place.
    pub(super) armed: Vec<u64>,
    pub(super) places: Slab<Place<T>>,
    /// Requests that nobody wants the answers of, while somebody has their memory.
    pub(super) parked: Slab<Box<Slot>>,
    #[allow(clippy::vec_box, reason = "the environ points into its slot, which must not move")]
    spare: Vec<Box<Slot>>,
    spare_heads: Vec<Kept>,
    /// Of the record that was last another one than its storage had.
    head_version: u64,
    threads: usize,
    pub(super) crew: Option<Pool<Job>>,
    /// Jobs that were given to the threads and have not come back.
    pub(super) away: usize,
    /// Of the last request.
    id: u64,
    /// What the foreign server is to be told.
    pub(super) ready: VecDeque<(u64, u32)>,
    /// Scratch.
    pub(super) news: Vec<u64>,
    pub(super) jobs: Vec<Job>,
}

impl<T> Host<T> {
    /// Made in the process and after the fork where it is used; it starts no thread.
    pub fn new(config: Config, counters: Arc<Counters>) -> Result<Self> {
        let settings = config.settings();
        let unsupported = |text: String| Err(Error::new(Kind::Unsupported, text));
        if let Some(name) = settings.of_a_process() {
            return unsupported(format!("{name}: the process is its host's"));
        }
        if let Some(listener) = settings.listeners.first() {
            return unsupported(format!("bind: {}: the sockets are the host's", listener.address));
        }
        let setup = Arc::new(Setup::new(config)?);
        if setup.stack.pulled {
            return unsupported(
                "there is no application, and nobody takes requests of a host".into(),
            );
        }
        let made = |source| Error::os("make a host", &source);
        let inbox = Arc::new(Inbox::new().map_err(made)?);
        let (poller, timer) = (Poller::new().map_err(made)?, Timer::new().map_err(made)?);
        poller.add(inbox.waker().fd(), TOKEN_INBOX).map_err(made)?;
        poller.add(timer.fd(), TOKEN_TIMER).map_err(made)?;
        let is_serial = |flags| flags & APP_SERIAL != 0;
        let has_serial = setup.stack.apps.all().iter().any(|(_, app)| is_serial(app.flags()));
        let threads = setup.threads()?.max(usize::from(has_serial));
        let mut service = setup.service(counters);
        service.env_flags = service.env_flags & !ENV_MULTIPROCESS | ENV_HOSTED;
        if threads == 0 {
            service.env_flags &= !ENV_MAY_BLOCK;
        }
        let phased = setup.has_phases();
        let context = Arc::new(Context {
            timed: setup.access.is_some() || setup.stack.hooks.access.is_some() || phased,
            phased,
            limited: setup.settings.limits_requests(),
            has_threads: threads > 0,
            service: Arc::new(service),
            setup,
            inbox,
            is_gone: false.into(),
        });
        Ok(Host {
            context,
            poller,
            timer,
            timer_at: u64::MAX,
            wheel: Wheel::new(clock::monotonic_ms()),
            armed: Vec::new(),
            places: Slab::new(),
            parked: Slab::new(),
            spare: Vec::new(),
            spare_heads: Vec::new(),
            head_version: 0,
            threads,
            crew: None,
            away: 0,
            id: seed(),
            ready: VecDeque::new(),
            news: Vec::new(),
            jobs: Vec::new(),
        })
    }

    /// Readable when [`Self::next_ready`] has something.
    pub fn fd(&self) -> RawFd {
        self.poller.fd()
    }

    /// Requests that were begun, and not freed.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Begin a request that `given` describes: all of it is copied.  Says its key.
    pub fn begin(&mut self, given: &Environ, tag: T) -> Result<u64> {
        let mut slot = self.spare.pop().unwrap_or_else(|| Slot::new(&self.context));
        let key = self.places.next_key();
        slot.dress(key, &self.context);
        self.id = self.id.wrapping_add(0x9e37_79b9_7f4a_7c15);
        if let Err(error) = slot.exchange.begin_hosted(given, self.id) {
            self.give_slot(slot);
            return Err(error);
        }
        let (context, x) = (&*self.context, &slot.exchange);
        if context.timed {
            let now = clock::monotonic_ns();
            slot.began.set(now);
            slot.queued.set(0);
            slot.called.set(0);
            slot.answered.set(0);
        }
        if context.has_threads && !context.is_for_crew(&slot) {
            x.forbid_blocking();
        }
        let open = x.has_body();
        let streams = open && x.expect_body();
        let length = u64::try_from(x.environ().borrow().content_length()).ok();
        let is_head = x.environ().borrow().request_method() == b"HEAD";
        let way = Arc::clone(&slot.way);
        let mut place = Place {
            slot: Some(slot),
            way,
            tag,
            head: TakenHead {
                record: self.spare_heads.pop().unwrap_or_default(),
                ..TakenHead::default()
            },
            called: false,
            is_pulled: false,
            refusal: None,
            open,
            is_head,
            streams,
            length,
            fed: 0,
            respond_by: u64::MAX,
            deadline: u64::MAX,
        };
        if let Some(length) = length {
            if length > context.setup.settings.body_limit() {
                refuse_body(&mut place, context);
            } else if length == 0 {
                place.open = false;
                if let Some(slot) = &place.slot {
                    slot.exchange.input().complete();
                }
            }
        }
        self.places.insert(place);
        Ok(key)
    }

    /// What the foreign server keeps with it.
    pub fn tag(&self, key: u64) -> Option<&T> {
        self.places.get(key).map(|place| &place.tag)
    }

    /// How long it has waited for a thread, in nanoseconds.
    pub fn queued(&self, key: u64) -> u64 {
        self.places.get(key).map_or(0, |place| place.way.waited())
    }

    /// More of the body of a request; [`CHUNK_LAST`]: the rest of it.  Copied, or a descriptor of our own
    /// is made.  The chunk comes back when there is no room for it.
    pub fn feed(&mut self, key: u64, chunk: OwnedChunk) -> Result<Option<OwnedChunk>> {
        let context = Arc::clone(&self.context);
        let place = self.places.get_mut(key).ok_or_else(unknown)?;
        if !chunk.is_sound() {
            let text = "feed: a chunk without data, or of no possible range of a file";
            return Err(Error::new(Kind::Invalid, text));
        }
        if place.refusal.is_some() {
            return Err(Error::from(Kind::Limit));
        }
        if !place.open {
            return Err(Error::new(Kind::State, "feed: there is no body, or it was complete"));
        }
        let total = place.fed.saturating_add(chunk.len());
        let is_last = chunk.as_raw().flags & CHUNK_LAST != 0 || place.length == Some(total);
        let is_too_long = total > context.setup.settings.body_limit();
        let is_wrong = place.length.is_some_and(|length| match is_last {
            true => total != length,
            false => total > length,
        });
        let end = match (is_too_long, is_wrong) {
            (true, _) => Some(Err(Kind::Limit)),
            (false, true) => Some(Err(Kind::Protocol)),
            (false, false) => is_last.then_some(Ok(())),
        };
        let takes = !matches!(end, Some(Err(_)));
        let range = match chunk.is_file() && takes && !chunk.is_empty() {
            true => {
                let raw = chunk.as_raw();
                let file = duplicate(raw.fd).map_err(|source| Error::os("feed a file", &source))?;
                Some(Range { file, offset: raw.offset as u64, left: raw.len })
            }
            false => None,
        };
        let whole = place.slot.as_ref().filter(|_| !place.streams);
        if let Some(slot) = whole.filter(|slot| slot.exchange.phase() == Phase::Reading) {
            // Nobody reads before it is complete.
            spool(slot, chunk.octets(), range, end);
        } else {
            let is_fed = place.way.feed(|fed| {
                if let Some(range) = range {
                    fed.push_range(range);
                } else if takes {
                    fed.push(chunk.octets());
                }
                if let Some(end) = end {
                    fed.end(end);
                }
            });
            if !is_fed {
                return Ok(Some(chunk));
            }
        }
        place.fed = total;
        place.open = end.is_none();
        if is_too_long {
            count_body(place, &context);
        }
        if place.called {
            self.inside(|host| host.drive(key));
        }
        match is_too_long {
            true => Err(Error::from(Kind::Limit)),
            false => Ok(None),
        }
    }

    /// Call the application, or let a thread do that; at once, or when the body is there.  Says whether
    /// there is something to pull.
    pub fn run(&mut self, key: u64) -> Result<bool> {
        let place = self.places.get_mut(key).ok_or_else(unknown)?;
        if std::mem::replace(&mut place.called, true) {
            return Err(Error::new(Kind::State, "run: it was run before"));
        }
        self.inside(|host| host.drive(key));
        let place = self.places.get(key);
        Ok(place.is_some_and(|place| place.is_done() || !place.way.await_pull()))
    }

    /// The next head: those of interim answers come first.
    pub fn head(&mut self, key: u64) -> Result<Headed> {
        let mut headed = self.take_head(key)?;
        if headed == Headed::Awaited {
            self.inside(|host| host.drive(key));
            headed = self.take_head(key)?;
        }
        Ok(headed)
    }

    fn take_head(&mut self, key: u64) -> Result<Headed> {
        let place = self.places.get_mut(key).ok_or_else(unknown)?;
        Ok(place.way.take_head(&mut place.head, &mut self.head_version))
    }

    /// The head that was taken last, and whether it is our own page about an error, beside what the
    /// foreign server keeps.  While the number is the same, so are the head and where it lies.
    pub fn taken(&mut self, key: u64) -> Option<(Record<'_>, u64, bool, &mut T)> {
        let place = self.places.get_mut(key)?;
        let (record, _) = Record::read(&place.head.record.octets)?;
        Some((record, place.head.record.version, place.head.excuses, &mut place.tag))
    }

    /// The next piece of the body.  What is lent is released when it is dropped, in any order.
    pub fn pull(&mut self, key: u64) -> Result<Pull> {
        let place = self.place(key)?;
        let mut pulled = match place.head.body.take() {
            Some(chunk) => Pulled::Piece(chunk),
            None => place.way.pull(),
        };
        if let Pulled::Awaited = pulled {
            self.inside(|host| host.drive(key));
            pulled = self.place(key)?.way.pull();
        }
        match pulled {
            Pulled::Piece(chunk) => {
                if chunk.as_raw().flags & CHUNK_LAST != 0 {
                    self.place(key)?.is_pulled = true;
                }
                Ok(Pull::Piece(chunk))
            }
            Pulled::Awaited => Ok(Pull::Awaited),
            Pulled::End => Ok(Pull::End),
            Pulled::Head => Err(Error::new(Kind::State, "pull: the head comes first")),
            Pulled::Failed(why) => Err(Error::from(why)),
        }
    }

    /// What is ready, and for what: [`FEED`], [`PULL`] or both.
    pub fn next_ready(&mut self) -> Option<(u64, u32)> {
        if let Some(first) = self.known_ready() {
            return Some(first);
        }
        self.inside(Self::look);
        self.known_ready()
    }

    fn known_ready(&mut self) -> Option<(u64, u32)> {
        loop {
            let (key, what) = self.ready.pop_front()?;
            if self.places.contains(key) {
                return Some((key, what));
            }
        }
    }

    /// Nobody wants the answer any more, or there is none: whatever the request is doing.
    pub fn free(&mut self, key: u64) -> Option<T> {
        let place = self.places.remove(key)?;
        if !(place.is_pulled && place.is_done()) {
            place.way.leave();
        }
        let Place { slot, way, tag, head: TakenHead { record, body, .. }, .. } = place;
        drop((way, body));
        if self.spare_heads.len() < SPARE_MAX && record.octets.capacity() <= HEAD_MAX {
            self.spare_heads.push(record);
        }
        let slot = slot.or_else(|| self.withdraw(key));
        if let Some(slot) = slot {
            self.inside(|host| host.abandon(slot));
        }
        Some(tag)
    }

    fn place(&mut self, key: u64) -> Result<&mut Place<T>> {
        self.places.get_mut(key).ok_or_else(unknown)
    }

    /// What is said meanwhile in this thread waits for the end.
    fn inside<R>(&mut self, call: impl FnOnce(&mut Self) -> R) -> R {
        // After a panic nobody comes in any more.
        self.context.inbox.enter();
        let done = call(self);
        self.context.inbox.leave();
        done
    }

    /// See that the host looks here at this time.
    pub(super) fn set_timer(&mut self) {
        let Some(at) = self.wheel.next_deadline(0).filter(|at| *at < self.timer_at) else { return };
        self.timer_at = at;
        if let Err(error) = self.timer.set(at) {
            log!(self.context.service.log, Error, "host", "set a timer: {error}");
        }
    }

    pub(super) fn timer_is_over(&mut self) {
        self.timer_at = u64::MAX;
    }

    /// The threads, which are hired for the first request that needs one.
    pub(super) fn crew(&mut self) -> Option<&Pool<Job>> {
        if self.crew.is_none() {
            let hired = super::crew::hire(self.threads, &self.context).and_then(|crew| {
                let watched = self.poller.add(crew.waker().fd(), TOKEN_CREW);
                watched.map_err(|source| Error::os("watch a thread pool", &source))?;
                Ok(crew)
            });
            match hired {
                Ok(crew) => self.crew = Some(crew),
                Err(error) => log!(self.context.service.log, Error, "host", "{error}"),
            }
        }
        self.crew.as_ref()
    }

    /// A request that no thread has begun with.
    pub(super) fn withdraw(&mut self, key: u64) -> Option<Box<Slot>> {
        let job = self.crew.as_ref()?.withdraw(|job| job.key == key)?;
        self.away -= 1;
        job.into_slot()
    }

    pub(super) fn give_slot(&mut self, mut slot: Box<Slot>) {
        slot.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(slot);
        }
    }

    /// Wait for threads that still have requests, as long as a stop may take; then leave them.
    fn close(&mut self) {
        let keys: Vec<u64> = self.places.keys().collect();
        for key in keys {
            self.free(key);
        }
        let patience = self.context.setup.settings.graceful_timeout.as_millis() as u64;
        let until = clock::monotonic_ms().saturating_add(patience);
        while self.away > 0 {
            let left = until.saturating_sub(clock::monotonic_ms());
            let fd = self.crew.as_ref().map(|crew| crew.waker().fd());
            let Some(fd) = fd.filter(|_| left > 0) else { break };
            if !sock::wait_readable(fd, left as i64).unwrap_or(false) {
                break;
            }
            self.inside(Self::take_back);
        }
        // Now: what comes back from here on is buried by whoever has it.
        self.context.is_gone.store(true, Ordering::Relaxed);
        if let Some(crew) = self.crew.take() {
            match self.away {
                0 => drop(crew),
                away => {
                    let text = format!("{away} requests still run, and are left to their threads");
                    log!(self.context.service.log, Warn, "host", "{text}: graceful_timeout");
                    crew.leave();
                }
            }
        }
        let keys: Vec<u64> = self.parked.keys().collect();
        for slot in keys.into_iter().filter_map(|key| self.parked.remove(key)).collect::<Vec<_>>() {
            bury(slot, &self.context);
        }
    }
}

impl<T> Drop for Host<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close();
        }
    }
}

impl<T> Place<T> {
    /// The application has done all that it does, and no thread has the request.
    fn is_done(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.exchange.phase() == Phase::Done)
    }
}

/// Put a piece of a body down that is awaited.
fn spool(
    slot: &Slot,
    text: &[u8],
    mut range: Option<Range>,
    end: Option<std::result::Result<(), Kind>>,
) {
    let x = &slot.exchange;
    let (dir, mut input) = (&x.service().spool_dir, x.input());
    if let Some(Err(why)) = end {
        return input.fail(why);
    }
    if let Some(range) = range.take_if(|_| end.is_some() && input.received() == 0) {
        input.adopt(TempFile::of(range.file, range.offset, range.left));
        return input.complete();
    }
    if range.is_none() && end.is_some() && input.received() == 0 && !text.is_empty() {
        drop(input);
        return x.take_body(text);
    }
    let mut pushed = input.push(text, dir);
    if let Some(mut range) = range {
        while pushed.is_ok() && range.left > 0 {
            let before = input.space().len();
            pushed = range.read(input.space());
            let n = input.space().len() - before;
            pushed = pushed.and(input.pushed(n, dir));
        }
    }
    if let Err(error) = pushed {
        x.service().counters().spool_errors.up();
        x.log(Level::Error, error.message().as_bytes());
        return input.fail(Kind::Io);
    }
    if end.is_some() {
        input.complete();
    }
}

/// The body is longer than any may be, says its length.
fn refuse_body<T>(place: &mut Place<T>, context: &Context) {
    place.refusal = Some((413, "the body is too large"));
    count_body(place, context);
}

fn count_body<T>(place: &Place<T>, context: &Context) {
    let Service { log, .. } = &*context.service;
    let counters = context.service.counters();
    counters.rejected.up();
    counters.limit(Limit::Body).up();
    if let Some(slot) = &place.slot
        && log.enabled(Level::Warn)
    {
        let peer = slot.exchange.environ().borrow().remote_addr;
        let (peer, most) = (peer.as_slice().escape_ascii(), context.setup.settings.max_body);
        let text =
            format!("413 from {peer}: the body is too large (max_body = {})", show_size(most));
        slot.exchange.log(Level::Warn, text.as_bytes());
    }
}

fn unknown() -> Error {
    Error::new(Kind::State, "this exchange was freed")
}

/// Where the identities of a host's requests begin; of several in a process none begins as another.
fn seed() -> u64 {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let now = clock::realtime().as_nanos() as u64;
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    (now ^ u64::from(std::process::id()) << 40 ^ made << 24).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}
