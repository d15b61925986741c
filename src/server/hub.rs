//! The requests of a FastCGI connection that it does not answer itself: each is a connection of its
//! own of the engine, so that it has all that a request has, at the other end of a pair of sockets.
//!
//! ```text
//! web server ── connection ──┬── its own request
//!                            └── hub ── pair ── connection of a request apart
//! ```
//!
//! The hub passes the records of each id on, and whole records of its answer back.  A request that
//! ends without END_REQUEST gets one from here.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::conn::Kin;
use super::engine::{Birth, Core};
use crate::base::log::log;
use crate::sys::send;
use crate::sys::sock;
use crate::wire::fastcgi::{self, CUT, End, HEAD, Head, KEEP_CONN, Kind, end_request};

/// Octets that may wait for requests to take them before nothing is read from the web server any more,
/// whatever they wait for: FastCGI cannot tell it to go on with others only.
const PENDING_MAX: usize = 256 * 1024;

/// Octets that one read asks for.
const READ_MAX: usize = 64 * 1024;

/// Storage that is kept while nothing waits.
const KEEP: usize = 16 * 1024;

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Hub {
    ways: Vec<Way>,
    /// Whose turn it is.
    next: usize,
    /// A request was to be the last of the connection.
    ends: bool,
    /// The last answer is not whole.
    cut: bool,
    /// Records on their way, in either direction; reused.
    records: Vec<u8>,
}

/// One request.
#[derive(Debug)]
struct Way {
    id: u16,
    end: OwnedFd,
    /// Of the events at our end.
    token: u64,
    /// Records for it, of which the first `sent` octets are with it.
    to: Vec<u8>,
    sent: usize,
    /// Nothing follows them.
    closes: bool,
    closed: bool,
    wants_write: bool,
    /// The beginning of a record of its answer.
    from: Vec<u8>,
    /// There may be something to read.
    ready: bool,
    /// What its answer came to.
    over: Option<Over>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// It has its END_REQUEST.
    Ended,
    /// The same, and is not whole.
    Cut,
    /// It ended without.
    Lost,
}

impl Hub {
    /// Whether no request is answered apart.
    pub(super) fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }

    /// Whether too much waits for requests that do not take it.
    pub(super) fn is_full(&self) -> bool {
        self.ways.iter().map(|way| way.to.len() - way.sent).sum::<usize>() >= PENDING_MAX
    }

    /// Whether the connection is to end with the last request.
    pub(super) fn ends(&self) -> bool {
        self.ends
    }

    /// Whether the last answer is not whole: see `Outcome::Told`.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Something happened at an end of ours.
    pub(super) fn noticed(&mut self, token: u64) {
        if let Some(way) = self.ways.iter_mut().find(|way| way.token == token) {
            way.ready = true;
        }
    }

    /// Whether an answer waits to be read.
    pub(super) fn is_ready(&self) -> bool {
        self.ways.iter().any(|way| way.ready)
    }

    /// Pass on what was put aside.  What cannot begin is answered in `out`.
    pub(super) fn pass(
        &mut self,
        decoder: &mut fastcgi::Serial,
        out: &mut Vec<u8>,
        of: (u64, &Kin),
        core: &mut Core,
    ) {
        let mut records = std::mem::take(&mut self.records);
        decoder.take_aside(&mut records);
        let mut rest = &records[..];
        while let Some(head) = Head::read(rest) {
            let (record, after) = rest.split_at(head.size());
            rest = after;
            let way = self.ways.iter_mut().find(|way| way.id == head.id);
            match (Kind::of(head.kind), way) {
                (Some(Kind::BeginRequest), _) => match begin(head.id, of, core) {
                    Some(mut way) => {
                        self.ends |= record[HEAD + 2] & KEEP_CONN == 0;
                        way.to.extend_from_slice(record);
                        // Its connection ends with it.
                        way.to[HEAD + 2] &= !KEEP_CONN;
                        self.ways.push(way);
                    }
                    None => {
                        end_request(out, head.id, 0, End::Overloaded);
                        decoder.finish_apart(head.id);
                    }
                },
                (Some(Kind::AbortRequest), Some(way)) => way.abort(),
                (Some(_), Some(way)) if !way.closes => way.to.extend_from_slice(record),
                _ => {}
            }
        }
        records.clear();
        self.records = records;
        for way in &mut self.ways {
            way.send(core);
        }
    }

    /// Send what waits for the requests.
    pub(super) fn send(&mut self, core: &mut Core) {
        for way in self.ways.iter_mut().filter(|way| way.sent < way.to.len()) {
            way.send(core);
        }
    }

    /// The web server sends nothing more: those who still wait for something hear that.
    pub(super) fn hang_up(&mut self, core: &mut Core) {
        for way in &mut self.ways {
            way.closes = true;
            way.send(core);
        }
    }

    /// Append what there is of the answers to `out`, until it has `most` octets; true: something came.
    pub(super) fn relay(
        &mut self,
        decoder: &mut fastcgi::Serial,
        out: &mut Vec<u8>,
        most: usize,
        core: &mut Core,
    ) -> bool {
        let mut came = false;
        let mut records = std::mem::take(&mut self.records);
        while out.len() < most {
            let count = self.ways.len();
            let turn = (0..count).map(|at| (self.next + at) % count);
            let Some(at) = turn.into_iter().find(|at| self.ways[*at].ready) else { break };
            self.next = at + 1;
            came = true;
            let way = &mut self.ways[at];
            way.read(&mut records, out);
            if let Some(over) = way.over {
                if over == Over::Lost {
                    end_request(out, way.id, CUT, End::Complete);
                }
                self.cut = over != Over::Ended && !way.closes;
                decoder.finish_apart(way.id);
                let way = self.ways.swap_remove(at);
                core.end_way(way.token);
            }
        }
        records.clear();
        records.shrink_to(if self.ways.is_empty() { 0 } else { 2 * READ_MAX });
        self.records = records;
        came
    }

    /// The connection ends, and with it whatever is left.
    pub(super) fn close(self, core: &mut Core) {
        self.ways.iter().for_each(|way| core.end_way(way.token));
    }
}

/// A request begins: none, if there are too many.
fn begin(id: u16, of: (u64, &Kin), core: &mut Core) -> Option<Way> {
    let (key, kin) = of;
    if core.apart >= core.context.setup.settings.worker_connections as usize {
        core.context.service.counters().requests_full.up();
        return None;
    }
    let begun = sock::pair().and_then(|(end, theirs)| {
        let token = core.begin_way(key, end.as_raw_fd())?;
        Ok((end, theirs, token))
    });
    match begun {
        Ok((end, theirs, token)) => {
            core.bear(Birth { fd: theirs, kin: kin.clone() });
            Some(Way {
                id,
                end,
                token,
                to: Vec::new(),
                sent: 0,
                closes: false,
                closed: false,
                wants_write: false,
                from: Vec::new(),
                ready: false,
                over: None,
            })
        }
        Err(error) => {
            core.context.service.counters().requests_full.up();
            let log = &core.context.service.log;
            log!(log, Error, "fastcgi", "begin a request beside others: {error}; it is refused");
            None
        }
    }
}

impl Way {
    /// Nobody waits for its answer: its client is gone, whatever it has not read yet.
    fn abort(&mut self) {
        if !self.to.is_empty() || sock::has_unread(self.end.as_raw_fd()) {
            // It may never read as far as the end, and hears only that there is no other side.
            let _ = sock::shutdown(self.end.as_raw_fd());
            (self.closed, self.ready) = (true, true);
        }
        self.to.clear();
        self.sent = 0;
        self.closes = true;
    }

    fn send(&mut self, core: &mut Core) {
        while self.sent < self.to.len() {
            match send::send(self.end.as_raw_fd(), &self.to[self.sent..], false) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // It may never be quite empty.
                    self.to.drain(..std::mem::take(&mut self.sent));
                    return self.want_write(true, core);
                }
                // It wants no more of it; its answer is there, or its end.
                Err(_) => {
                    self.ready = true;
                    break;
                }
            }
        }
        self.to.clear();
        self.to.shrink_to(KEEP);
        self.sent = 0;
        self.want_write(false, core);
        if self.closes && !std::mem::replace(&mut self.closed, true) {
            let _ = sock::shutdown_write(self.end.as_raw_fd());
        }
    }

    fn want_write(&mut self, on: bool, core: &mut Core) {
        if std::mem::replace(&mut self.wants_write, on) != on {
            core.want_way(self.end.as_raw_fd(), self.token, on);
        }
    }

    /// Read once, into `records`, which is scratch; whole ones go to `out`.
    fn read(&mut self, records: &mut Vec<u8>, out: &mut Vec<u8>) {
        records.clear();
        records.append(&mut self.from);
        match sock::recv_spare(self.end.as_raw_fd(), records, READ_MAX) {
            Ok(0) => self.over = Some(Over::Lost),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
            Err(_) => self.over = Some(Over::Lost),
        }
        let mut at = 0;
        while let Some(head) = Head::read(&records[at..])
            && records.len() - at >= head.size()
        {
            let status = records.get(at + HEAD..at + HEAD + 4);
            at += head.size();
            if head.kind == Kind::EndRequest as u8 {
                let is_whole = status == Some(&[0; 4]);
                self.over = Some(if is_whole { Over::Ended } else { Over::Cut });
                break;
            }
        }
        out.extend_from_slice(&records[..at]);
        self.from.extend_from_slice(&records[at..]);
    }
}
