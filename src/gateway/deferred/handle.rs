//! The handle as Rust programs have it: given up once, by a call or when it is dropped.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::base::error::{Error, Kind, Result};
use crate::base::octets::OwnedChunk;
use crate::gateway::abi::{Environ, Response};
use crate::gateway::exchange::Written;

use super::{Events, Shared};

/// The right to answer a request later, from whichever thread has it.  Dropped, it answers 500.
#[derive(Debug)]
pub struct Deferred {
    /// None once it was given up.
    shared: Option<Arc<Shared>>,
    one_thread: PhantomData<Cell<()>>,
}

impl Deferred {
    pub(in crate::gateway) fn new(shared: Arc<Shared>) -> Self {
        Deferred { shared: Some(shared), one_thread: PhantomData }
    }

    /// As C has it: whoever takes it gives it up.
    pub(crate) fn into_shared(mut self) -> Option<Arc<Shared>> {
        self.shared.take()
    }

    /// What it stands for.
    pub(crate) fn shared(&self) -> Result<&Arc<Shared>> {
        self.shared.as_ref().ok_or(Error::from(Kind::State))
    }

    /// The request; none when the application has returned a body or an error.
    pub fn environ(&self) -> Option<&Environ> {
        let shared = self.shared().ok()?;
        shared.environ().map(|_| shared.env.of(self))
    }

    /// start_response, in WSGI's words.  A status of 1xx is sent at once and is not the head.
    pub fn start(&self, head: &Response<'_>) -> Result<()> {
        self.shared()?.start(head)
    }

    /// A piece of the body, which is copied.  False: the client is slow, nothing was taken.
    pub fn write(&self, text: &[u8]) -> Result<bool> {
        let chunk = OwnedChunk::from_vec(text.to_vec());
        Ok(matches!(self.shared()?.write(chunk)?, Written::Taken))
    }

    /// Up to `buf.len()` octets of the request's body: `None` when nothing is there, 0 at the end.
    pub fn read(&self, buf: &mut [u8]) -> Result<Option<usize>> {
        self.shared()?.read(buf)
    }

    /// Whether the client has left, or has said that it will send no more.
    pub fn is_gone(&self) -> bool {
        self.shared().is_ok_and(|shared| shared.is_gone())
    }

    /// Be told by `events` from now on, for a handle that was taken.
    pub fn watch(&self, events: Arc<dyn Events>) -> Result<()> {
        self.shared()?.watch(events)
    }

    /// Something that any thread may resume an iterator with that had nothing to give.
    pub fn resumer(&self) -> Result<Resumer> {
        Ok(Resumer(Arc::clone(self.shared()?)))
    }

    /// The answer is complete, or failed.
    pub fn end(self, outcome: Result<()>) -> Result<()> {
        let code = outcome.map_or_else(|error| error.kind() as i32, |()| 0);
        self.into_shared().map_or(Ok(()), |shared| shared.end(code)?.0)
    }

    /// Nobody took the request: 503.
    pub(crate) fn shed(self) {
        if let Some(shared) = self.into_shared() {
            shared.shed();
        }
    }

    /// A whole answer.
    pub fn reply(self, head: &Response<'_>, body: Vec<u8>) -> Result<()> {
        let chunks = vec![OwnedChunk::from_vec(body)];
        self.into_shared().map_or(Ok(()), |shared| shared.reply(head, chunks)?.0)
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            // Into 500: the application forgot it.
            let _ = shared.end(Kind::App as i32);
        }
    }
}

/// Resumes an iterator, from any thread; see [`Deferred::resumer`].
#[derive(Clone, Debug)]
pub struct Resumer(Arc<Shared>);

impl Resumer {
    /// Ask the iterator again.
    pub fn resume(&self) -> Result<()> {
        self.0.resume()
    }

    /// The same in `ms` milliseconds; of several such wishes the soonest counts.
    pub fn resume_after(&self, ms: u32) -> Result<()> {
        self.0.resume_after(ms)
    }
}
