//! An answer that comes through a handle: what the handle asked for is done here, in the thread that
//! drives the exchange, and its owner is told what it waits for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::base::error::{Error, Kind, Result};
use crate::gateway::abi::{Environ, EnvironPtr};
use crate::gateway::app;
use crate::gateway::deferred::{Beginning, Deferred, Events, Mode, Op, Shared};
use crate::gateway::watcher::{Misuse, Watcher};
use crate::wire::Version;

use super::{Exchange, Head, Link, Phase, Progress};

impl Environ {
    /// A handle to the request that any thread may use; one for each request.  Return
    /// [`Body::later`](crate::gateway::body::Body::later) and answer through it, or a body, and use
    /// it only to resume an iterator.  `events`: whoever wants to be told.
    pub fn defer(&self, events: Option<Arc<dyn Events>>) -> Result<Deferred> {
        self.exchange()?.defer(self, events)
    }
}

impl Exchange {
    /// gw_defer.
    fn defer(&self, env: &Environ, events: Option<Arc<dyn Events>>) -> Result<Deferred> {
        self.must_run()?;
        let link = self.link()?;
        if self.deferred.get().is_some() {
            self.misused(Misuse::DeferTwice);
            return Err(Error::new(Kind::State, "defer: this request has its handle already"));
        }
        let (mailbox, key) = link.mailbox();
        let begin = Beginning {
            mailbox,
            key,
            env: EnvironPtr::new(env),
            input: std::mem::take(&mut *self.input.borrow_mut()),
            limit: self.service.output_buffer.max(1),
            started: self.head.borrow().is_started(),
            committed: self.framed.get().is_some(),
            watcher: self.watcher.borrow().clone(),
        };
        let shared = Arc::new(Shared::new(begin, events));
        if self.body.borrow().next.is_some() || self.called.get() {
            shared.returned(Mode::Iterating);
        }
        let handle = Deferred::new(Arc::clone(&shared));
        self.deferred.get_or_init(|| shared);
        Ok(handle)
    }

    /// From here on, and for this request.
    pub(crate) fn watch(&self, watcher: Arc<dyn Watcher>) {
        self.watcher.replace(Some(watcher));
    }

    /// A call was refused.
    #[cold]
    pub(crate) fn misused(&self, misuse: Misuse) {
        let watcher = self.watcher.borrow().clone();
        if let Some(watcher) = watcher {
            watcher.misuses(misuse);
        }
    }

    /// Whether something will wake an iterator that has nothing to give.
    pub(crate) fn wakes(&self) -> bool {
        let may_grow = self.input().may_grow();
        let waits = self.refused.get() || !self.out.borrow().is_empty();
        waits || self.is_held() || may_grow || self.is_asked_again()
    }

    /// Whether an iterator is asked once more although nobody holds a handle: who gave it up, or resumed
    /// before, may have done so since it was asked.
    pub(super) fn is_asked_again(&self) -> bool {
        self.deferred.get().is_some_and(|shared| shared.may_resume())
    }

    /// The application has returned.
    pub(super) fn returned(&self, mode: Mode) {
        self.called.set(true);
        if let Some(shared) = self.deferred.get() {
            shared.returned(mode);
        }
    }

    /// The handle, if there is one, is to know what start_response and write() did.
    pub(super) fn tell_begun(&self) {
        if let Some(shared) = self.deferred.get() {
            shared.begun(self.framed.get().is_some());
        }
    }

    /// Whether the answer comes through the handle.
    pub fn is_later(&self) -> bool {
        self.deferred.get().is_some_and(|shared| shared.mode() == Mode::Later)
    }

    /// Whether there is a handle that was not given up.
    pub(super) fn is_held(&self) -> bool {
        self.deferred.get().is_some_and(|shared| shared.is_held())
    }

    /// Whether the memory of the request is the handle's as well.
    pub fn must_stay(&self) -> bool {
        self.is_later() && self.is_held()
    }

    /// The handle, if the request has one.
    pub fn deferred(&self) -> Option<&Arc<Shared>> {
        self.deferred.get()
    }

    /// Whether an iterator that had nothing was resumed.
    pub(super) fn may_resume(&self) -> bool {
        self.deferred.get().is_some_and(|shared| shared.may_resume())
    }

    /// When an iterator wants to be asked again, in milliseconds of the monotonic clock.
    pub fn resume_at(&self) -> Option<u64> {
        self.deferred.get()?.resume_at()
    }

    /// Give the request to whoever asks for requests.
    pub(in crate::gateway) fn offer(&self, request: Deferred) -> Result<()> {
        if let Err(request) = self.link()?.offer(request) {
            request.shed();
        }
        Ok(())
    }

    /// The client has left, or will send no more: whoever has the handle is told, once.
    pub fn client_left(&self) {
        if let Some(shared) = self.deferred.get() {
            shared.leave();
            self.tell(shared, self.out.borrow().len());
        }
    }

    /// The connection is gone, and the handle is not.  It goes on when the handle is given up.
    pub fn forsake(&self) {
        if let Some(shared) = self.deferred.get() {
            shared.cut_off();
            self.out().clear();
            self.client_left();
        }
    }

    /// Do what the handle asked for.  None: something has changed.
    pub(super) fn advance_later(&self, shared: &Arc<Shared>, link: &dyn Link) -> Option<Progress> {
        let unsent = self.out.borrow().len();
        self.tell(shared, unsent);
        if unsent >= self.service.output_buffer {
            return Some(Progress::Flush);
        }
        if self.apply(shared, link, unsent) {
            return None;
        }
        if unsent > 0 {
            return Some(Progress::Flush);
        }
        if shared.wants_input() {
            self.send_continue();
            return Some(Progress::Input);
        }
        Some(Progress::Wait)
    }

    /// Take what the handle has queued, and do it.  False: there was nothing.
    fn apply(&self, shared: &Shared, link: &dyn Link, unsent: u64) -> bool {
        // Not borrowed while it is applied: release functions and the end run foreign code.
        let mut batch = self.batch.take();
        if !shared.take(&mut batch, unsent) {
            self.batch.replace(batch);
            return false;
        }
        // Unless octets of the application have committed another meanwhile.
        if let Some(head) = batch.head.take().filter(|_| self.framed.get().is_none()) {
            self.head.replace(head);
        }
        // An answer that is whole has its head committed at once; a 1xx comes before that.
        let is_before = |op: &&Op| matches!(op, Op::Interim(_) | Op::Complaint(_));
        let first = batch.ops.iter().take_while(is_before).count();
        for op in batch.ops.drain(..first) {
            match op {
                Op::Interim(head) => self.say_first(&head),
                Op::Complaint(error) => self.complain(&error),
                _ => {}
            }
        }
        let known = (batch.is_whole() && self.framed.get().is_none()).then_some(batch.octets);
        let mut done = match known {
            Some(_) => self.commit(link, known).map(drop),
            None => Ok(()),
        };
        let mut at = 0;
        for op in batch.ops.drain(..) {
            match op {
                Op::Interim(head) => self.say_first(&head),
                Op::Complaint(error) => self.complain(&error),
                Op::Text(len) => {
                    let text = &batch.text[at..at + len];
                    at += len;
                    done = done.and_then(|()| self.emit_text(link, text));
                }
                Op::Chunk(chunk) => done = done.and_then(|()| self.emit(link, chunk, false)),
                Op::End(code) => match (&done, code) {
                    (Err(error), _) => self.fail(link, error),
                    (Ok(()), 0) => self.end(link),
                    (Ok(()), code) => self.app_refused(link, code),
                },
                Op::Fail(error) => self.fail(link, &error),
                Op::Shed => self.shed(link),
            }
        }
        // Only a head that promises more than the whole answer has is refused here, and a file that is
        // shorter: looking for more of it will find that again.
        debug_assert!(done.is_ok() || self.phase.get() != Phase::Running || self.lags.get());
        batch.clear();
        self.batch.replace(batch);
        true
    }

    /// A 1xx, where it may still be said.
    fn say_first(&self, head: &Head) {
        if self.framed.get().is_none() && self.asked.get().version >= Version::Http11 {
            if head.as_wire().status == 100 {
                self.expects.set(false);
            }
            self.interim(self.out().buffer(), &head.as_wire());
        }
    }

    /// Tell whoever has the handle what it waits for; `unsent` octets wait for the client.
    pub(super) fn tell(&self, shared: &Arc<Shared>, unsent: u64) {
        shared.tell(unsent, |event| self.contain(event));
    }

    /// Run what the application has written; a panic stays there, and is logged.
    pub(super) fn contain(&self, callback: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(callback)) {
            self.complain(&app::panicked(panic.as_ref()));
        }
    }
}
