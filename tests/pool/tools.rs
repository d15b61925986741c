//! Gates that an application waits at, and a record of what ran in which thread.

use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{APP_THREADSAFE, Environ};
use gateway::gateway::app::Application;
use gateway::gateway::config::Config;

use super::harness::capp::{CBody, Start};
use super::harness::*;

/// Lets through as many as it has permits for; the others wait.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<Inside>, Condvar)>);

#[derive(Default)]
struct Inside {
    permits: usize,
    waiting: usize,
}

impl Gate {
    /// Wait for a permit, and not for ever: a test that has failed must end.
    pub fn pass(&self) {
        let (inside, changed) = &*self.0;
        let mut inside = inside.lock().unwrap();
        inside.waiting += 1;
        let (mut inside, timeout) =
            changed.wait_timeout_while(inside, 2 * PATIENCE, |inside| inside.permits == 0).unwrap();
        inside.waiting -= 1;
        if !timeout.timed_out() {
            inside.permits -= 1;
        }
    }

    pub fn open(&self, permits: usize) {
        self.0.0.lock().unwrap().permits += permits;
        self.0.1.notify_all();
    }

    /// From now on nobody waits.
    pub fn open_for_ever(&self) {
        self.open(usize::MAX / 2);
    }

    pub fn waiting(&self) -> usize {
        self.0.0.lock().unwrap().waiting
    }
}

/// What was called, in order, and in which thread.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<(String, ThreadId)>>>);

impl Seen {
    pub fn note(&self, what: &str) {
        self.0.lock().unwrap().push((what.to_owned(), std::thread::current().id()));
    }

    /// What was noted; none of it may have been in this thread, which is the loop.
    pub fn elsewhere(&self) -> Vec<String> {
        let seen = self.0.lock().unwrap().clone();
        let here = std::thread::current().id();
        assert!(seen.iter().all(|(_, thread)| *thread != here), "on the loop: {seen:?}");
        seen.into_iter().map(|(what, _)| what).collect()
    }

    pub fn threads(&self) -> std::collections::HashSet<ThreadId> {
        self.0.lock().unwrap().iter().map(|(_, thread)| *thread).collect()
    }

    pub fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(seen, _)| seen == what).count()
    }
}

struct Note(Seen, #[allow(dead_code)] Vec<u8>);

unsafe extern "C" fn release(arg: *mut c_void) {
    // SAFETY: the box made below; the library calls this once.
    let note = unsafe { Box::from_raw(arg.cast::<Note>()) };
    note.0.note("release");
}

/// A chunk by reference that notes its release.
pub fn owned(seen: &Seen, text: Vec<u8>) -> Chunk {
    let (data, len) = (text.as_ptr().cast(), text.len() as u64);
    let arg = Box::into_raw(Box::new(Note(seen.clone(), text))).cast();
    Chunk { data, len, release: Some(release), arg, ..Chunk::EMPTY }
}

/// A range of a file that notes its release.
pub fn file(seen: &Seen, fd: i32, len: u64) -> Chunk {
    let arg = Box::into_raw(Box::new(Note(seen.clone(), Vec::new()))).cast();
    let flags = gateway::base::octets::CHUNK_FILE;
    Chunk { fd, len, flags, release: Some(release), arg, ..Chunk::EMPTY }
}

/// An application in C that may block, and be called in many threads at once.
pub fn blocking(
    app: impl Fn(&Environ, &Start, &mut CBody) -> i32 + Send + Sync + 'static,
) -> Application {
    capp::with_flags(APP_THREADSAFE, app)
}

/// Options as text: "threads=2 queue_limit=3".
pub fn options(text: &str) -> impl FnOnce(&mut Config) + use<> {
    let text = text.to_owned();
    move |config| {
        for option in text.split_whitespace() {
            let (name, value) = option.split_once('=').unwrap();
            config.set(name, value).unwrap();
        }
    }
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// `/gate` waits at the gate and says "through"; everything else says "at once".
pub fn gated(gate: &Gate, seen: &Seen) -> Application {
    let (gate, seen) = (gate.clone(), seen.clone());
    Application::new(move |env: &Environ, start: &gateway::gateway::abi::StartResponse<'_>| {
        use gateway::gateway::{abi::Response as Head, body::Body};
        seen.note(std::str::from_utf8(env.path_info()).unwrap());
        let waits = env.path_info() == b"/gate";
        if waits {
            gate.pass();
        }
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_static(if waits { b"through" } else { b"at once" }))
    })
}
