//! The end of an engine: who may ask for it, when it begins, what is done about those who are there.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::base::error::{Error, Result};
use crate::base::log::log;
use crate::server::conn::{Conn, Fate};
use crate::sys::sock;
use crate::sys::waker::Waker;

use super::{Engine, TIMER_LAME, TIMER_STOP};

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stop {
    /// Requests that are there are answered, `graceful_timeout` at most.
    Graceful = 0,
    /// At once: connections are closed where they stand.
    Quick = 1,
}

/// What other threads, and signal handlers, may do to an engine.
#[derive(Debug)]
pub struct Control {
    pub(super) waker: Waker,
    /// 0, or 1 more than a [`Stop`].
    pub(super) stop: AtomicU32,
    /// Whether others serve on while this one stops: see [`Control::retire`].
    retires: AtomicBool,
    /// The first graceful stop is put off, for a while.
    pub(super) has_patience: AtomicBool,
    /// It was.
    lame: AtomicBool,
    /// The thread that is in a turn; 0: none.
    pub(super) turning: AtomicUsize,
    /// Who else knows whether the server is about to stop.
    others: OnceLock<Others>,
}

/// Says whether all of the server is about to stop.
struct Others(Box<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Others(..)")
    }
}

impl Control {
    pub(super) fn new() -> Result<Self> {
        let waker =
            Waker::new().map_err(|source| Error::os("make an event descriptor", &source))?;
        Ok(Control {
            waker,
            stop: AtomicU32::new(0),
            retires: AtomicBool::new(false),
            has_patience: AtomicBool::new(false),
            lame: AtomicBool::new(false),
            turning: AtomicUsize::new(0),
            others: OnceLock::new(),
        })
    }

    /// Whether the engine stops, or is about to.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    /// Whether it serves, and no stop was asked for.
    pub fn is_ready(&self) -> bool {
        !self.is_stopping() && !self.lame.load(Ordering::Relaxed)
    }

    /// Whether the server stops, or is about to: not this engine alone, in favour of another.
    pub(in crate::server) fn is_lame(&self) -> bool {
        match self.others.get() {
            Some(Others(are_lame)) if !self.is_stopping() => are_lame(),
            Some(Others(are_lame)) => are_lame() || !self.retires.load(Ordering::Relaxed),
            None => !self.is_ready(),
        }
    }

    /// Whether it stops at once.
    pub fn is_quick(&self) -> bool {
        self.stop.load(Ordering::Relaxed) > Stop::Quick as u32
    }

    /// Whether the calling thread is in a turn of the engine.
    pub fn is_inside(&self) -> bool {
        self.turning.load(Ordering::Relaxed) == this_thread()
    }

    /// The calling thread will turn the engine, and is as good as in it until then.
    pub fn cork(&self) {
        self.turning.store(this_thread(), Ordering::Relaxed);
    }

    /// Let the loop turn.  Async-signal-safe.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Ask the engine to stop gracefully, in favour of another that listens at the same place:
    /// connections that are kept may still ask for something, for a moment, and then come back there.
    /// A client of an engine that stops for good would gain nothing by it.
    pub fn retire(&self) {
        self.retires.store(true, Ordering::SeqCst);
        self.begin_stop(Stop::Graceful);
    }

    /// Ask the engine to stop; a later call may only hurry it.  With `lame_duck` the first graceful stop
    /// begins after that time, or with the second call.  Async-signal-safe.
    pub fn stop(&self, how: Stop) {
        if how == Stop::Graceful
            && self.has_patience.load(Ordering::SeqCst)
            && !self.is_stopping()
            && !self.lame.swap(true, Ordering::SeqCst)
        {
            return self.waker.wake();
        }
        self.begin_stop(how);
    }

    fn begin_stop(&self, how: Stop) {
        self.stop.fetch_max(how as u32 + 1, Ordering::SeqCst);
        self.waker.wake();
    }
}

/// A number that no other living thread has.
pub(super) fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

impl Engine {
    /// Others know whether it is about to stop, and put stops off themselves.
    pub fn lame_when(&mut self, is_lame: impl Fn() -> bool + Send + Sync + 'static) {
        self.control.has_patience.store(false, Ordering::SeqCst);
        let _ = self.control.others.set(Others(Box::new(is_lame)));
    }

    /// Do what [`Control::stop`] asked for.
    pub(super) fn obey(&mut self) {
        if self.control.lame.load(Ordering::SeqCst) && self.stopping.is_none() {
            self.put_off();
        }
        let asked = match self.control.stop.load(Ordering::SeqCst) {
            0 => return,
            1 => Stop::Graceful,
            _ => Stop::Quick,
        };
        if self.stopping.is_none() {
            self.begin_stop(asked);
        }
        if asked == Stop::Quick || self.core.context.now >= self.stop_at {
            self.stopping = Some(Stop::Quick);
            // The threads are to know, too.
            self.control.stop.fetch_max(Stop::Quick as u32 + 1, Ordering::SeqCst);
            for key in self.keys() {
                self.remove(key, Fate::Close);
            }
        }
    }

    /// The stop was asked for, and begins later.
    fn put_off(&mut self) {
        let (now, settings) = (self.core.context.now, &self.core.context.setup.settings);
        if self.lame_until == u64::MAX {
            let ms = settings.lame_duck.as_millis() as u64;
            self.lame_until = now.saturating_add(ms);
            self.core.wheel.insert(TIMER_LAME, self.lame_until);
            let log = &self.core.context.service.log;
            log!(log, Info, "server", "Stops in {ms} ms (lame_duck); serves until then");
        }
        if now >= self.lame_until {
            self.control.begin_stop(Stop::Graceful);
        }
    }

    fn begin_stop(&mut self, how: Stop) {
        let now = self.core.context.now;
        let grace = self.core.context.setup.settings.graceful_timeout;
        self.stop_at = now + grace.as_millis() as u64;
        self.core.wheel.insert(TIMER_STOP, self.stop_at);
        // A connection that comes from here on wakes another worker, if there is one.
        let accepted = std::mem::take(&mut self.accepting);
        self.unwatch_listeners();
        // Who is in the queue already was promised an answer.  Others have room, if there are any.
        self.drains = !self.control.retires.load(Ordering::SeqCst);
        self.accepting = accepted || self.drains;
        let own: Vec<bool> =
            self.listeners.iter().map(|it| self.drains || self.serves(it)).collect();
        self.stop_sharing();
        for (index, _) in own.into_iter().enumerate().filter(|(_, own)| *own) {
            if how == Stop::Graceful {
                self.drain(index);
            }
        }
        self.stopping = Some(Stop::Graceful);
        self.core.context.stopping = true;
        self.core.context.retiring = self.control.retires.load(Ordering::SeqCst);
        self.accepting = false;
        for listener in self.listeners.drain(..) {
            // Also for the connections that know it: nobody may wait in a queue without a server.
            listener.close();
        }
        if how == Stop::Graceful {
            self.conns.values_mut().for_each(Conn::hurry);
            for key in self.keys() {
                self.drive(key);
            }
        }
    }

    /// After a panic in it, whatever it did then: closes what clients would wait at.  The application
    /// is not called, and threads that still run it keep what they use: all that is theirs, or a
    /// request's, is left where it is for ever.
    pub fn wreck(&mut self) {
        self.control.stop(Stop::Quick);
        for listener in &self.listeners {
            listener.close();
        }
        if let Some(pulled) = &self.core.context.pulled {
            pulled.close();
        }
        for key in self.keys() {
            match self.conns.get(key) {
                Some(conn) if conn.is_away() => {
                    // Its descriptor is a thread's, too: not closed, lest it name another socket.
                    let _ = sock::shutdown(conn.fd());
                }
                _ => self.conns.remove(key).into_iter().for_each(Conn::wreck),
            }
        }
    }
}

impl Drop for Engine {
    /// Waits for applications that are running on threads.
    fn drop(&mut self) {
        self.control.stop(Stop::Quick);
        for key in self.keys() {
            self.remove(key, Fate::Close);
        }
        // What comes back may have to go once more, to be closed.
        while self.core.away > 0 && self.core.wait_for_crew() {
            self.take_back();
        }
        if let Some(crew) = &mut self.core.crew {
            crew.close();
        }
        if let Some(pulled) = &self.core.context.pulled {
            pulled.close();
        }
        self.core.leave_parked();
        self.tell(u64::MAX / 2);
    }
}
