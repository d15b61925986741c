//! What is done with the requests of a host in its thread: from a body that is there to the end of the
//! answer, and whatever comes in between.

use std::sync::Arc;

use crate::base::error::Kind;
use crate::base::log::Level;
use crate::base::slab::index_of;
use crate::conf::show_duration;
use crate::gateway::deferred::Mailbox as _;
use crate::gateway::exchange::{Phase, Progress, TIMED_OUT};
use crate::sys::clock;
use crate::wire::front::Speech;
use crate::wire::{Asked, http1};

use super::crew::Job;
use super::link::Wire;
use super::requests::{FEED, Host, PARKED, PULL, TOKEN_CREW, TOKEN_TIMER};
use super::slot::Slot;

/// Steps that one request may go in one go while others wait.
const BUDGET: u32 = 64;

/// What becomes of a request that went as far as it could.
enum Fate {
    /// It waits for the host, or for its handle.
    Wait(Box<Slot>),
    /// It could go on; others come first.
    Again(Box<Slot>),
    /// A thread has it.
    Away,
}

impl<T> Host<T> {
    /// Go as far as possible.
    pub(super) fn drive(&mut self, key: u64) {
        let Some(place) = self.places.get_mut(key) else { return };
        let Some(slot) = place.slot.take() else { return };
        if !place.called {
            place.slot = Some(slot);
            return;
        }
        let refusal = place.refusal;
        let fate = self.go(slot, refusal);
        let Some(place) = self.places.get_mut(key) else { return };
        place.slot = match fate {
            Fate::Wait(slot) => Some(slot),
            Fate::Again(slot) => {
                self.context.inbox.post(key);
                Some(slot)
            }
            Fate::Away => None,
        };
        self.schedule(key);
    }

    fn go(&mut self, mut slot: Box<Slot>, refusal: Option<(u16, &'static str)>) -> Fate {
        for _ in 0..BUDGET {
            let context = &*self.context;
            let x = &slot.exchange;
            let wire = Wire { slot: &slot, context, is_thread: false };
            match x.phase() {
                Phase::Reading => {
                    if let Some((status, reason)) = refusal {
                        x.refuse(&wire, status, reason, false);
                        continue;
                    }
                    let why = x.input().failure();
                    if let Some(why) = why {
                        let (status, reason) = match why {
                            Kind::Limit => (413, "the body is too large"),
                            Kind::Io => (507, "the body could not be stored"),
                            _ => (400, "the body is not as long as its Content-Length"),
                        };
                        x.refuse(&wire, status, reason, false);
                        continue;
                    }
                    if x.has_body() {
                        slot.way.with_fed(false, |fed, _| fed.move_to(x));
                        let waits = {
                            let input = x.input();
                            input.is_open() && !input.is_streaming()
                        };
                        if waits {
                            return Fate::Wait(slot);
                        }
                    }
                    let most = u64::from(context.setup.settings.worker_requests);
                    if most > 0 && context.service.counters().running.get() >= most {
                        x.turn_away(&wire);
                        continue;
                    }
                    if most > 0 {
                        x.admit();
                    }
                    let key = slot.key.get();
                    self.limit(key);
                    if self.context.is_for_crew(&slot) {
                        slot = match self.submit(key, slot, false) {
                            Ok(()) => return Fate::Away,
                            Err(refused) => refused,
                        };
                        let wire = Wire { slot: &slot, context: &self.context, is_thread: false };
                        slot.exchange.shed(&wire);
                        continue;
                    }
                    if self.context.timed {
                        slot.called.set(clock::monotonic_ns());
                    }
                    let wire = Wire { slot: &slot, context: &self.context, is_thread: false };
                    slot.exchange.run(&wire);
                    slot.send();
                    if slot.exchange.phase() == Phase::Done {
                        return Fate::Wait(slot);
                    }
                }
                Phase::Running | Phase::Draining => {
                    if let Some(shared) = x.deferred() {
                        shared.noticed();
                    }
                    slot.way.with_fed(false, |fed, _| fed.move_to(x));
                    slot.send();
                    if !slot.way.has_room_or_blocks(slot.ends()) {
                        return Fate::Wait(slot);
                    }
                    let away = context.is_for_crew(&slot) && slot.needs_app();
                    let progress = match away {
                        true => x.idles().unwrap_or(Progress::Flush),
                        false => {
                            slot.way.release_spent();
                            x.advance(&wire)
                        }
                    };
                    slot.send();
                    match progress {
                        Progress::Flush if away => {
                            let key = slot.key.get();
                            return match self.submit(key, slot, true) {
                                Ok(()) => Fate::Away,
                                Err(slot) => Fate::Wait(slot),
                            };
                        }
                        Progress::Flush | Progress::Done => {}
                        Progress::Wait => return Fate::Wait(slot),
                        Progress::Input => {
                            if !slot.way.with_fed(false, |fed, _| fed.move_to(x)) {
                                return Fate::Wait(slot);
                            }
                        }
                    }
                }
                Phase::Done | Phase::Idle => {
                    slot.send();
                    return Fate::Wait(slot);
                }
            }
        }
        Fate::Again(slot)
    }

    /// A thread takes the request further; a full queue gives it back.
    fn submit(&mut self, key: u64, slot: Box<Slot>, must: bool) -> Result<(), Box<Slot>> {
        if self.context.timed || slot.exchange.phase() == Phase::Reading {
            slot.queued.set(clock::monotonic_ns());
        }
        let context = Arc::clone(&self.context);
        let Some(crew) = self.crew() else { return Err(slot) };
        if let Err(job) = crew.submit(Job::new(key, slot, &context), must) {
            return match job.into_slot() {
                Some(slot) => Err(slot),
                None => Ok(()),
            };
        }
        self.away += 1;
        Ok(())
    }

    /// Other threads, or our own, had something to say.
    pub(super) fn look(&mut self) {
        if self.poller.wait(0).is_err() {
            return;
        }
        let (mut has_jobs, mut is_time) = (false, false);
        for event in self.poller.events() {
            has_jobs |= event.token == TOKEN_CREW;
            is_time |= event.token == TOKEN_TIMER;
        }
        if has_jobs {
            self.take_back();
        }
        let mut news = std::mem::take(&mut self.news);
        self.context.inbox.take(&mut news);
        for key in news.drain(..) {
            if key & PARKED != 0 {
                self.unpark(key);
            } else {
                self.drive(key);
                self.tell(key);
            }
        }
        self.news = news;
        if is_time {
            self.timer_is_over();
            self.expire();
            self.set_timer();
        }
    }

    /// What the threads are done with.
    pub(super) fn take_back(&mut self) {
        let mut jobs = std::mem::take(&mut self.jobs);
        if let Some(crew) = &self.crew {
            crew.take_done(&mut jobs);
        }
        self.away -= jobs.len();
        for job in jobs.drain(..) {
            let key = job.key;
            let Some(slot) = job.into_slot() else { continue };
            match self.places.get_mut(key) {
                Some(place) if Arc::ptr_eq(&place.way, &slot.way) => {
                    place.slot = Some(slot);
                    self.drive(key);
                    self.tell(key);
                }
                _ => self.abandon(slot),
            }
        }
        self.jobs = jobs;
    }

    /// Tell the foreign server what it waits for.
    fn tell(&mut self, key: u64) {
        let Some(place) = self.places.get(key) else { return };
        let mut what = 0;
        if place.way.owes_pull() {
            what |= PULL;
        }
        if place.way.owes_room() {
            what |= FEED;
        }
        if what != 0 {
            self.ready.push_back((key, what));
        }
    }

    /// Nobody wants the answer: its way says so already.
    pub(super) fn abandon(&mut self, slot: Box<Slot>) {
        let x = &slot.exchange;
        if x.phase() == Phase::Done || x.phase() == Phase::Idle {
            return self.give_slot(slot);
        }
        if x.must_stay() || slot.way.holds() {
            return self.park(slot);
        }
        self.end(slot);
    }

    /// The same when nobody else has anything of it.
    fn end(&mut self, mut slot: Box<Slot>) {
        let x = &slot.exchange;
        if self.context.is_for_crew(&slot) && (slot.needs_app() || x.is_hung_on()) {
            let key = slot.key.get();
            slot = match self.submit(key, slot, true) {
                Ok(()) => return,
                Err(slot) => slot,
            };
        }
        slot.abort(&self.context, false);
        self.give_slot(slot);
    }

    /// Keep a request until its handle is given up, and everything released.
    fn park(&mut self, slot: Box<Slot>) {
        let key = self.parked.next_key() | PARKED;
        slot.key.set(key);
        // Before it is told, so that nothing is said under the old name behind that.
        slot.way.rename(key);
        if let Some(shared) = slot.exchange.deferred() {
            shared.rename(key);
        }
        slot.exchange.forsake();
        self.parked.insert(slot);
        // It may be the last word that was said meanwhile.
        self.unpark(key);
    }

    fn unpark(&mut self, key: u64) {
        let key = key & !PARKED;
        let Some(slot) = self.parked.get(key) else { return };
        let x = &slot.exchange;
        if let Some(shared) = x.deferred() {
            shared.noticed();
        }
        // Somebody else may want to be told of it now.
        x.client_left();
        if x.must_stay() || !slot.way.has_room_or_blocks(true) {
            return;
        }
        if let Some(slot) = self.parked.remove(key) {
            self.end(slot);
        }
    }

    // ---- time ----

    /// The application is about to be called.
    fn limit(&mut self, key: u64) {
        if !self.context.limited {
            return;
        }
        let timeout = self.context.setup.settings.request_timeout.as_millis() as u64;
        if let Some(place) = self.places.get_mut(key) {
            let by = clock::monotonic_ms().saturating_add(timeout);
            place.respond_by = if timeout > 0 { by } else { u64::MAX };
        }
    }

    /// See that the host looks at it in time.
    fn schedule(&mut self, key: u64) {
        let settings = &self.context.setup.settings;
        let stream = settings.stream_timeout.as_millis() as u64;
        let Some(place) = self.places.get_mut(key) else { return };
        let resume_at = place.slot.as_ref().and_then(|slot| slot.exchange.resume_at());
        let mut at = resume_at.unwrap_or(u64::MAX);
        let is_over = place.slot.as_ref().is_some_and(|it| it.exchange.phase() == Phase::Done);
        if self.context.limited && place.called && !is_over {
            at = at.min(match place.way.committed() {
                Some(begun) if stream > 0 => begun.saturating_add(stream),
                Some(_) => u64::MAX,
                // A thread may commit it meanwhile.
                None if stream > 0 => place.respond_by.min(clock::monotonic_ms() + stream),
                None => place.respond_by,
            });
        }
        place.deadline = at;
        if at < u64::MAX {
            let index = index_of(key);
            if self.armed.len() <= index {
                self.armed.resize(index + 1, u64::MAX);
            }
            if at < self.armed[index] {
                self.armed[index] = at;
                self.wheel.insert(index as u64, at);
                self.set_timer();
            }
        }
    }

    fn expire(&mut self) {
        let now = clock::monotonic_ms();
        self.wheel.advance(now);
        while let Some(index) = self.wheel.take_due() {
            let index = index as usize;
            if self.armed[index] > now {
                // Overtaken by an earlier one, which is still to come.
                continue;
            }
            self.armed[index] = u64::MAX;
            let Some(key) = self.places.key_at(index) else { continue };
            let Some(place) = self.places.get(key) else { continue };
            if place.deadline <= now {
                self.come(key, now);
            } else {
                self.schedule(key);
            }
        }
    }

    /// Its time has come.
    fn come(&mut self, key: u64, now: u64) {
        let stream = self.context.setup.settings.stream_timeout.as_millis() as u64;
        let Some(place) = self.places.get_mut(key) else { return };
        let committed = place.way.committed();
        if place.respond_by <= now && committed.is_none() && place.way.leave_uncommitted() {
            return self.answer_instead(key);
        }
        if let Some(at) = committed
            && stream > 0
            && at.saturating_add(stream) <= now
        {
            return self.cut(key);
        }
        if let Some(slot) = &place.slot
            && let Some(shared) = slot.exchange.deferred()
        {
            shared.tick(now);
        }
        self.drive(key);
        self.schedule(key);
        self.tell(key);
    }

    /// There was no answer in time: whatever comes goes nowhere.
    fn answer_instead(&mut self, key: u64) {
        // The request itself may never come back to be counted.
        self.context.service.counters().count_status(TIMED_OUT);
        let timeout = self.context.setup.settings.request_timeout;
        let text = format!("no answer for {}: request_timeout; it got 504", show_duration(timeout));
        let slot = self.detach(key, &text);
        if let Some(slot) = &slot {
            slot.exchange.expire();
        }
        let is_head = self.places.get(key).is_some_and(|place| place.is_head);
        let (asked, mut answer) = (Asked { is_head, ..Asked::default() }, Vec::new());
        let (speech, why) = (Speech::Hosted, "request_timeout");
        http1::error_response(&speech, &mut answer, &asked, TIMED_OUT, why, None, &[b' '; 29]);
        if let Some(place) = self.places.get_mut(key) {
            place.way = self.context.new_way(key);
            place.way.answer(answer);
        }
        self.ready.push_back((key, PULL));
        if let Some(slot) = slot {
            self.abandon(slot);
        }
    }

    /// It has begun in time, and does not end.
    fn cut(&mut self, key: u64) {
        let timeout = self.context.setup.settings.stream_timeout;
        let text = format!("no end after {}: stream_timeout; cut", show_duration(timeout));
        let slot = self.detach(key, &text);
        if let Some(place) = self.places.get_mut(key) {
            let headed = place.way.is_headed();
            place.way.leave();
            place.way = self.context.new_way(key);
            place.way.cut(Kind::Timeout, headed);
        }
        self.ready.push_back((key, PULL));
        if let Some(slot) = slot {
            self.abandon(slot);
        }
    }

    /// The host has another answer; the request itself, unless a thread is in it.
    fn detach(&mut self, key: u64, text: &str) -> Option<Box<Slot>> {
        self.context.service.counters().request_timeouts.up();
        let place = self.places.get_mut(key)?;
        (place.respond_by, place.deadline) = (u64::MAX, u64::MAX);
        let slot = place.slot.take().or_else(|| self.withdraw(key));
        match &slot {
            Some(slot) => slot.exchange.log(Level::Info, text.as_bytes()),
            None => self.context.service.log.write(
                Level::Error,
                "host",
                "",
                format_args!("a thread is lost until the application returns: {text}"),
            ),
        }
        slot
    }
}
