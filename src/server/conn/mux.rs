//! A FastCGI connection, which has other requests beside its own: see [`crate::server::hub`].  While
//! its own request waits for something, it goes on reading for theirs, and for the news that nobody
//! waits for its answer any more.

use std::sync::Arc;

use crate::base::error::Kind;
use crate::gateway::exchange::Phase;
use crate::server::engine::Core;
use crate::server::record;
use crate::server::slot::{Fed, Slot};
use crate::sys::sock;
use crate::wire::Reject;

use super::{BUDGET, Conn, Fate, Kin, Waiting};

impl Conn {
    /// Whether requests are answered apart from its own.
    #[inline]
    pub(super) fn has_others(&self) -> bool {
        self.hub.as_ref().is_some_and(|hub| !hub.is_empty())
    }

    /// Whether nothing may be read, for want of room for what would come.
    #[inline]
    pub(super) fn is_stuffed(&self) -> bool {
        self.hub.as_ref().is_some_and(|hub| hub.is_full())
    }

    /// Something happened at the hub.
    pub(in crate::server) fn way_noticed(&mut self, token: u64) {
        if let Some(hub) = &mut self.hub {
            hub.noticed(token);
        }
    }

    /// Go as far as possible, with all requests of the connection.
    pub(super) fn drive_fastcgi(
        &mut self,
        key: u64,
        slot: &mut Box<Slot>,
        core: &mut Core,
    ) -> Fate {
        for _ in 0..BUDGET {
            if core.context.stopping {
                self.admit_no_more(slot);
            }
            self.tend(key, slot, core);
            let fate = self.drive_slot(slot, core);
            let goes_on = match fate {
                Fate::Again => has_aside(slot),
                Fate::Wait => self.read_on(slot, core) || self.may_tend(slot, core),
                Fate::Away | Fate::Close | Fate::Reset => false,
            };
            if !goes_on {
                return match fate {
                    Fate::Wait if self.is_forsaken(slot) => Fate::Reset,
                    fate => fate,
                };
            }
        }
        Fate::Again
    }

    /// Whether nobody is there any more to take an answer, behind what there is no room to read.
    fn is_forsaken(&self, slot: &Slot) -> bool {
        self.ended && !slot.drained.get() && !slot.eof.get() && sock::is_cut(self.fd())
    }

    /// The server stops: what is there is answered, and is to be all.
    fn admit_no_more(&self, slot: &mut Slot) {
        let others = self.has_others();
        if let Some(serial) = slot.decoder.get_mut().serial()
            && (others || serial.is_busy())
        {
            serial.close();
        }
    }

    /// Pass on what came for the others, and what came of them.
    fn tend(&mut self, key: u64, slot: &mut Slot, core: &mut Core) {
        let Slot { decoder, exchange, .. } = slot;
        let Some(serial) = decoder.get_mut().serial() else { return };
        if serial.has_aside() {
            // Whatever it waits for from now on is not its first request.
            self.requests += 1;
            let hub = self.hub.get_or_insert_default();
            let kin = Kin {
                peer: self.peer,
                local: self.local.clone(),
                terms: Arc::clone(&self.terms),
                opening: self.opening.clone(),
            };
            hub.pass(serial, exchange.out().buffer(), (key, &kin), core);
        }
        let Some(hub) = &mut self.hub else { return };
        hub.send(core);
        let mut out = exchange.out();
        let most = core.context.service.output_buffer.max(1);
        // What lies there by reference counts, too.
        let room = usize::try_from(most.saturating_sub(out.len())).unwrap_or(usize::MAX);
        let most = if room == 0 { 0 } else { out.buffer().len().saturating_add(room) };
        let came = hub.relay(serial, out.buffer(), most, core);
        if came && hub.is_empty() {
            // As HTTP's connections end with an answer that was given meanwhile.
            let stops = core.context.control.is_stopping() && !core.context.retiring;
            let is_cut = hub.is_cut() && exchange.phase() == Phase::Idle;
            self.closing |= hub.ends() || is_cut || stops || self.terms.keepalive.is_zero();
        }
    }

    fn may_tend(&self, slot: &Slot, core: &Core) -> bool {
        let Some(hub) = &self.hub else { return false };
        hub.is_ready() && slot.exchange.out().len() < core.context.service.output_buffer.max(1)
    }

    /// Read while the connection's own request waits; whether there is something to do.
    fn read_on(&mut self, slot: &mut Slot, core: &mut Core) -> bool {
        if has_aside(slot) {
            return true;
        }
        if !matches!(slot.exchange.phase(), Phase::Running | Phase::Draining)
            || self.deaf
            || self.is_stuffed()
            || slot.exchange.out().len() >= core.context.service.output_buffer.max(1)
        {
            return false;
        }
        loop {
            let received = slot.exchange.input().received();
            match slot.feed() {
                Fed::Full => return has_aside(slot),
                Fed::End => return true,
                Fed::More(_) if slot.exchange.input().failure() == Some(Kind::Io) => return false,
                Fed::More(_) => {}
                Fed::Rejected(reject) => {
                    record::body_refused(&core.context, &self.terms, &slot.exchange, &reject);
                    let kind = if reject.limit.is_some() { Kind::Limit } else { Kind::Protocol };
                    slot.exchange.input().fail(kind);
                    self.listen_no_more_if_broken(slot, core);
                    return true;
                }
            }
            if self.is_taken_back(slot) || slot.take_replies() || has_aside(slot) {
                return true;
            }
            if slot.exchange.input().received() > received {
                self.progress = true;
                return true;
            }
            if slot.eof.get() {
                self.hang_up(core);
                return false;
            }
            if slot.drained.get() {
                return false;
            }
            match slot.fill(self.fd()) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(_) => slot.eof.set(true),
            }
        }
    }

    /// The web server has taken the request back: whoever works for it hears of that, once.
    fn is_taken_back(&self, slot: &mut Slot) -> bool {
        let serial = slot.decoder.get_mut().serial();
        let is_new = serial.is_some_and(|serial| serial.take_abort());
        if is_new {
            slot.exchange.input().fail(Kind::Closed);
            slot.exchange.client_left();
        }
        is_new
    }

    /// It is to end, and has others: whether it still reads for them.
    pub(super) fn reads_for_others(&mut self, slot: &mut Slot, core: &mut Core) -> bool {
        if !self.has_others() {
            return false;
        }
        if slot.eof.get() {
            self.hang_up(core);
        }
        if let Some(serial) = slot.decoder.get_mut().serial() {
            serial.close();
        }
        !self.deaf
    }

    /// Nothing more comes from the web server.
    pub(super) fn hang_up(&mut self, core: &mut Core) {
        if !std::mem::replace(&mut self.deaf, true)
            && let Some(hub) = &mut self.hub
        {
            hub.hang_up(core);
        }
    }

    /// Records that make no sense are the end of all that comes; what is asked already is answered.
    pub(super) fn listen_no_more_if_broken(&mut self, slot: &mut Slot, core: &mut Core) {
        if slot.decoder.get_mut().serial().is_some_and(|serial| serial.is_broken()) {
            slot.buf.borrow_mut().discard();
            (self.closing, self.lingers) = (true, true);
            self.hang_up(core);
        }
    }

    /// What is no part of a request makes no sense: said in the log only.
    pub(super) fn refuse_connection(&mut self, slot: &mut Slot, core: &mut Core, reject: Reject) {
        let counters = core.context.service.counters();
        counters.requests.plus(1);
        counters.count_status(reject.status);
        record::no_request(&core.context, slot, &self.peer, reject.status, 0);
        self.give_up(slot, core, reject);
        self.hang_up(core);
    }

    /// What there is to wait for while only others have requests.
    pub(super) fn wait_for_others(&mut self) -> Option<Fate> {
        self.wait(Waiting::App)
    }
}

pub(super) fn has_aside(slot: &mut Slot) -> bool {
    slot.decoder.get_mut().serial().is_some_and(|serial| serial.has_aside())
}
