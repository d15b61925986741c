//! An application that leaves its handles to the test, and a record of what they were told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gateway::base::error::Result;
use gateway::gateway::abi::{Environ, StartResponse};
use gateway::gateway::body::Body;
use gateway::gateway::deferred::Shared;
use gateway::{Deferred, Events};

use super::harness::*;

/// Handles that the application was given, the oldest first.
#[derive(Clone, Default)]
pub struct Desk {
    handles: Arc<Mutex<VecDeque<Deferred>>>,
    pub told: Told,
}

impl Desk {
    /// Answers through a handle that the test takes.
    pub fn app(
        &self,
    ) -> impl Fn(&Environ, &StartResponse<'_>) -> Result<Body> + Send + Sync + use<> {
        let desk = self.clone();
        move |env, _| {
            desk.keep(env)?;
            Ok(Body::later())
        }
    }

    pub fn keep(&self, env: &Environ) -> Result<()> {
        let handle = env.defer(Some(Arc::new(Ear::new(&self.told))))?;
        self.handles.lock().unwrap().push_back(handle);
        Ok(())
    }

    pub fn put(&self, handle: Deferred) {
        self.handles.lock().unwrap().push_front(handle);
    }

    pub fn take(&self) -> Deferred {
        self.handles.lock().unwrap().pop_front().expect("a request that was deferred")
    }

    pub fn len(&self) -> usize {
        self.handles.lock().unwrap().len()
    }
}

/// What was told of handles, in order.
#[derive(Clone, Default)]
pub struct Told {
    journal: Journal,
    ears: Arc<AtomicUsize>,
}

impl Told {
    pub fn take(&self) -> Vec<String> {
        self.journal.take()
    }

    /// Handles whose events were not dropped yet.
    pub fn alive(&self) -> usize {
        self.ears.load(Ordering::SeqCst)
    }
}

/// Of one handle.
pub struct Ear(Told);

impl Ear {
    pub fn new(told: &Told) -> Self {
        told.ears.fetch_add(1, Ordering::SeqCst);
        Ear(told.clone())
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.0.ears.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Events for Ear {
    fn readable(&self, _: &Arc<Shared>) {
        self.0.journal.add("readable");
    }

    fn writable(&self, _: &Arc<Shared>) {
        self.0.journal.add("writable");
    }

    fn aborted(&self, _: &Arc<Shared>) {
        self.0.journal.add("aborted");
    }
}

/// A server with an application that defers, a client that has asked, and the handle.
pub fn asked(request: &str) -> (Server, Client, Desk, Deferred) {
    asked_with(|_| {}, request)
}

pub fn asked_with(
    configure: impl FnOnce(&mut gateway::Config),
    request: &str,
) -> (Server, Client, Desk, Deferred) {
    let desk = Desk::default();
    let mut server = Server::new(configure, desk.app());
    let mut client = server.connect();
    client.send(request);
    server.settle();
    client.pull();
    let handle = desk.take();
    (server, client, desk, handle)
}

/// No request is left, and nobody will be told anything.
pub fn nothing_left(server: &mut Server, desk: &Desk) {
    server.settle();
    assert_eq!(desk.told.alive(), 0, "events that were not dropped");
    assert_eq!(server.counters.in_flight.get(), 0, "requests in flight");
}

/// Run `test` where it cannot hang the others.
pub fn within_patience(test: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = sender.send(());
    });
    if receiver.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("it hangs");
    }
    thread.join().unwrap();
}

/// An application that leaves its handles to the test, as C has them.
pub fn c_app(
    handles: &Arc<Mutex<Vec<super::chandle::CHandle>>>,
) -> gateway::gateway::app::Application {
    let handles = Arc::clone(handles);
    capp::application(move |env, _, _| {
        handles.lock().unwrap().push(super::chandle::CHandle::new(env));
        super::chandle::DEFERRED
    })
}
