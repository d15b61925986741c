//! Requests that end otherwise than by what the application answers: those that it does not get, that
//! take too long, and that nobody waits for any more.

use crate::base::error::Kind;

use super::{Exchange, Link, Phase, TIMED_OUT};

impl Exchange {
    /// The application cannot be called now.
    pub fn shed(&self, link: &dyn Link) {
        self.service.counters().shed.up();
        self.answer_error(link, 503, "too busy");
    }

    /// The application has enough requests.
    pub fn turn_away(&self, link: &dyn Link) {
        self.service.counters().requests_full.up();
        self.answer_error(link, 503, "too busy");
    }

    /// There is no application for it.
    #[cold]
    pub fn miss(&self, link: &dyn Link) {
        self.service.counters().unmounted.up();
        self.answer_error(link, 404, "no application is mounted here");
    }

    /// The client asked whether to send more.
    pub fn say_lame(&self, link: &dyn Link) {
        self.answer_error(link, 503, "about to stop");
    }

    /// The application was not called in time, and is not.
    pub fn time_out(&self, link: &dyn Link) {
        self.answer_error(link, TIMED_OUT, "request_timeout");
    }

    /// It was not done in time: the client has its 504, and whatever comes goes nowhere.
    pub fn expire(&self) {
        self.expired.set(true);
    }

    /// The client is gone: nothing more can reach it.
    pub fn abort(&self, link: &dyn Link) {
        match self.phase.get() {
            Phase::Idle | Phase::Done => return,
            Phase::Reading | Phase::Running | Phase::Draining => {}
        }
        if !self.expired.get() {
            self.service.counters().aborted.up();
        }
        self.input().fail(Kind::Closed);
        if let Some(shared) = self.deferred.get() {
            shared.cut_off();
        }
        self.break_off(link);
        match link.holds() {
            true => self.phase.set(Phase::Draining),
            false => self.finish(link),
        }
    }

    /// The web server has taken the request back before the application was called, but can be
    /// answered: this is the end.
    pub fn cut_short(&self, link: &dyn Link) {
        debug_assert_eq!(self.phase.get(), Phase::Reading);
        self.phase.set(Phase::Running);
        self.service.counters().aborted.up();
        self.input().fail(Kind::Closed);
        self.cut(link, "");
    }

    /// Its answer has taken too long, and the client can be told where it ends; false: it was over.
    pub fn overrun(&self, link: &dyn Link) -> bool {
        let runs = self.phase.get() == Phase::Running;
        if runs {
            self.service.counters().aborted.up();
            self.input().fail(Kind::Timeout);
            if let Some(shared) = self.deferred.get() {
                shared.cut_off();
            }
            self.cut(link, "stream_timeout");
        }
        runs
    }

    /// The body of the request went wrong before the application was called.  `last`: what it was
    /// meant to be cannot be told from the next request.
    pub fn refuse(&self, link: &dyn Link, status: u16, reason: &str, last: bool) {
        if last {
            self.close_after();
        }
        self.answer_error(link, status, reason);
    }
}
