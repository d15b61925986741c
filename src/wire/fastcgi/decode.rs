//! Records to requests.  The content of PARAMS is collected, that of STDIN is handed on where it
//! lies; what the protocol itself answers (values, roles, overload) goes to `replies`.

use super::encode::{End, end_request};
use super::record::{HEAD, Head, Kind, VERSION};
use crate::wire::params::{Repeats, bad, over};
use crate::wire::{Limit, Limits, Params, Reject, Span};

/// The role that is ours.
const RESPONDER: u16 = 1;
/// The connection stays open after the request.
const KEEP_CONN: u8 = 1;
/// Octets of a list of names that somebody asks the values of: there are three.
const VALUES_MAX: usize = 4096;
/// Octets of all PARAMS where no limit is set.
const PARAMS_MAX: usize = 1 << 30;

/// What a decoder found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// More octets are needed.
    More,
    /// All variables of a request are there: [`Decoder::request`].
    Head(u16),
    /// Octets of its body: this piece of the buffer just given.
    Data(u16, Span),
    /// Its body is complete.
    End(u16),
    /// Nobody waits for its answer any more.
    Abort(u16),
    /// The request is refused; nothing more of it comes, and it is to be answered or ended.
    Refused(u16, Reject),
    /// Nothing can be read from this connection any more.
    Broken(Reject),
}

/// One step of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many octets at the front of the buffer are done with, once the event is dealt with.
    pub consumed: usize,
    /// What they were.
    pub event: Event,
}

/// One request of a connection, from BEGIN_REQUEST to [`Decoder::finish`].
#[derive(Debug)]
pub struct Request {
    id: u16,
    /// The connection is to stay open after it.
    pub keep_alive: bool,
    /// PARAMS, one record behind the other; what the spans of `params` are of.
    pub octets: Vec<u8>,
    /// Its variables, once they are all there.
    pub params: Params,
    /// Octets of STDIN so far.
    received: u64,
    at: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Params,
    Stdin,
    /// All of it is there, or the rest is of no use.
    Over,
}

/// Octets of a connection to its requests.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// How many there may be at once.
    most: usize,
    state: State,
    requests: Vec<Request>,
    /// Requests that are over, for their memory.
    spare: Vec<Request>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before a record.
    Record,
    /// So many octets of a request's STDIN are to come, and of padding.
    Stdin {
        id: u16,
        left: usize,
        padding: usize,
    },
    /// The same of PARAMS.
    Params {
        id: u16,
        left: usize,
        padding: usize,
    },
    /// So many octets mean nothing.
    Skip(usize),
    Broken(Reject),
}

impl Decoder {
    /// At the start of a connection, which may have `most` requests at once.
    pub fn new(limits: Limits, most: usize) -> Self {
        Decoder { limits, most, state: State::Record, requests: Vec::new(), spare: Vec::new() }
    }

    /// Whether the connection has no request, and is not in the middle of a record.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Record) && self.requests.is_empty()
    }

    /// The request with this id.
    pub fn request(&self, id: u16) -> Option<&Request> {
        self.requests.iter().find(|request| request.id == id)
    }

    /// The request has its answer: what still comes for it is ignored, and its id is free.
    pub fn finish(&mut self, id: u16) {
        if let Some(at) = self.requests.iter().position(|request| request.id == id) {
            let mut request = self.requests.swap_remove(at);
            request.octets.clear();
            request.octets.shrink_to(64 * 1024);
            self.spare.push(request);
        }
    }

    /// Look at the unread octets.
    pub fn decode(&mut self, unread: &[u8], replies: &mut Vec<u8>) -> Step {
        let mut consumed = 0;
        loop {
            let rest = &unread[consumed..];
            let (used, event) = match self.state {
                State::Record => self.record(rest, replies),
                State::Stdin { id, left, padding } => self.stdin(rest, id, left, padding),
                State::Params { id, left, padding } => self.params(rest, id, left, padding),
                State::Skip(left) => self.skip(rest.len(), left),
                State::Broken(reject) => (0, Some(Event::Broken(reject))),
            };
            match event {
                Some(Event::Data(id, span)) => {
                    let span = Span { start: span.start + consumed as u32, ..span };
                    return Step { consumed: consumed + used, event: Event::Data(id, span) };
                }
                Some(event) => return Step { consumed: consumed + used, event },
                None => consumed += used,
            }
        }
    }

    /// A record begins.
    fn record(&mut self, rest: &[u8], replies: &mut Vec<u8>) -> (usize, Option<Event>) {
        if let Some(first) = rest.first()
            && *first != VERSION
        {
            let reason = match first {
                b'A'..=b'Z' => "HTTP was spoken to a FastCGI listener",
                _ => "a FastCGI record of another version",
            };
            return (0, Some(self.broken(bad(reason))));
        }
        let Some(head) = Head::read(rest) else {
            return (0, Some(Event::More));
        };
        let (left, padding) = (usize::from(head.len), usize::from(head.padding));
        let content = rest.get(HEAD..HEAD + left);
        match head.kind {
            kind if kind == Kind::BeginRequest as u8 => match content {
                None if left == 8 => (0, Some(Event::More)),
                Some(content) if left == 8 => {
                    let event = self.begin(head.id, content, replies);
                    if !matches!(event, Some(Event::Broken(_))) {
                        self.state = State::Skip(padding);
                    }
                    (HEAD + left, event)
                }
                _ => (0, Some(self.broken(bad("a BEGIN_REQUEST record that is none")))),
            },
            kind if kind == Kind::AbortRequest as u8 => {
                self.state = State::Skip(left + padding);
                let event = self.request(head.id).map(|_| Event::Abort(head.id));
                (HEAD, event)
            }
            kind if kind == Kind::Params as u8 => {
                self.state = State::Params { id: head.id, left, padding };
                if left == 0 { (HEAD, self.end_params(head.id, padding)) } else { (HEAD, None) }
            }
            kind if kind == Kind::Stdin as u8 => {
                self.state = State::Stdin { id: head.id, left, padding };
                if left == 0 { (HEAD, self.end_stdin(head.id, padding)) } else { (HEAD, None) }
            }
            kind if kind == Kind::GetValues as u8 && head.id == 0 => match content {
                None if left <= VALUES_MAX => (0, Some(Event::More)),
                Some(content) if left <= VALUES_MAX => {
                    self.values(content, replies);
                    self.state = State::Skip(padding);
                    (HEAD + left, None)
                }
                _ => (0, Some(self.broken(bad("a GET_VALUES record that is too long")))),
            },
            // DATA is for filters, and what else there is has no request that it belongs to.
            kind => {
                if head.id == 0 {
                    replies.extend_from_slice(&Head::octets(Kind::UnknownType, 0, 8));
                    replies.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
                }
                self.state = State::Skip(left + padding);
                (HEAD, None)
            }
        }
    }

    fn begin(&mut self, id: u16, content: &[u8], replies: &mut Vec<u8>) -> Option<Event> {
        let role = u16::from_be_bytes([content[0], content[1]]);
        let keep_alive = content[2] & KEEP_CONN != 0;
        if id == 0 || self.request(id).is_some() {
            return Some(self.broken(bad("BEGIN_REQUEST with an id that is in use")));
        }
        if role != RESPONDER {
            end_request(replies, id, 0, End::UnknownRole);
            return None;
        }
        if self.requests.len() >= self.most {
            let why = if self.most == 1 { End::CannotMultiplex } else { End::Overloaded };
            end_request(replies, id, 0, why);
            return None;
        }
        let spare = self.spare.pop();
        let (octets, params) = spare.map(|it| (it.octets, it.params)).unwrap_or_default();
        let at = Stage::Params;
        self.requests.push(Request { id, keep_alive, octets, params, received: 0, at });
        None
    }

    fn params(
        &mut self,
        rest: &[u8],
        id: u16,
        left: usize,
        padding: usize,
    ) -> (usize, Option<Event>) {
        if rest.is_empty() {
            return (0, Some(Event::More));
        }
        let len = left.min(rest.len());
        self.state = match left - len {
            0 => State::Skip(padding),
            left => State::Params { id, left, padding },
        };
        let limit = if self.limits.head > 0 { self.limits.head } else { PARAMS_MAX };
        let Some(request) = self.in_stage(id, Stage::Params) else {
            return (len, None);
        };
        if request.octets.len() + len > limit {
            request.at = Stage::Over;
            let reject = over(431, "the FastCGI params are too long", Limit::Head);
            return (len, Some(Event::Refused(id, reject)));
        }
        request.octets.extend_from_slice(&rest[..len]);
        (len, None)
    }

    fn end_params(&mut self, id: u16, padding: usize) -> Option<Event> {
        self.state = State::Skip(padding);
        let limits = self.limits;
        let request = self.in_stage(id, Stage::Params)?;
        request.params.clear();
        let listed = pairs(&request.octets, &mut request.params);
        let settled = listed
            .and_then(|()| request.params.settle(&request.octets, &limits, Repeats::LastWins));
        request.at = if settled.is_ok() { Stage::Stdin } else { Stage::Over };
        Some(match settled {
            Ok(()) => Event::Head(id),
            Err(reject) => Event::Refused(id, reject),
        })
    }

    fn stdin(
        &mut self,
        rest: &[u8],
        id: u16,
        left: usize,
        padding: usize,
    ) -> (usize, Option<Event>) {
        if rest.is_empty() {
            return (0, Some(Event::More));
        }
        let len = left.min(rest.len());
        self.state = match left - len {
            0 => State::Skip(padding),
            left => State::Stdin { id, left, padding },
        };
        let most = self.limits.body;
        let Some(request) = self.in_stage(id, Stage::Stdin) else {
            return (len, None);
        };
        request.received += len as u64;
        let promised = request.params.content_length;
        let reject = if promised.is_some_and(|promised| request.received > promised) {
            bad("more octets of body than CONTENT_LENGTH")
        } else if most > 0 && request.received > most {
            over(413, "the body is too large", Limit::Body)
        } else {
            return (len, Some(Event::Data(id, Span { start: 0, len: len as u32 })));
        };
        request.at = Stage::Over;
        (len, Some(Event::Refused(id, reject)))
    }

    fn end_stdin(&mut self, id: u16, padding: usize) -> Option<Event> {
        self.state = State::Skip(padding);
        let request = self.in_stage(id, Stage::Stdin)?;
        request.at = Stage::Over;
        let promised = request.params.content_length.unwrap_or(request.received);
        // Fewer than were promised: whoever sent them has left.
        Some(if request.received < promised { Event::Abort(id) } else { Event::End(id) })
    }

    fn skip(&mut self, there: usize, left: usize) -> (usize, Option<Event>) {
        let len = left.min(there);
        self.state = if len == left { State::Record } else { State::Skip(left - len) };
        (len, (len < left).then_some(Event::More))
    }

    fn in_stage(&mut self, id: u16, stage: Stage) -> Option<&mut Request> {
        self.requests.iter_mut().find(|request| request.id == id && request.at == stage)
    }

    /// The values that somebody asked for, of those that we know.
    fn values(&self, asked: &[u8], replies: &mut Vec<u8>) {
        let mut names = Params::default();
        if pairs(asked, &mut names).is_err() {
            names.clear();
        }
        let most = self.most.to_string();
        let multiplexes = if self.most > 1 { "1" } else { "0" };
        let known = [
            (&b"FCGI_MAX_CONNS"[..], most.as_str()),
            (b"FCGI_MAX_REQS", &most),
            (b"FCGI_MPXS_CONNS", multiplexes),
        ];
        let mut content = Vec::new();
        for (name, value) in known {
            if names.others.iter().any(|field| field.name.of(asked) == name) {
                content.extend_from_slice(&[name.len() as u8, value.len() as u8]);
                content.extend_from_slice(name);
                content.extend_from_slice(value.as_bytes());
            }
        }
        replies.extend_from_slice(&Head::octets(Kind::GetValuesResult, 0, content.len()));
        replies.extend_from_slice(&content);
    }

    #[cold]
    fn broken(&mut self, reject: Reject) -> Event {
        self.state = State::Broken(reject);
        Event::Broken(reject)
    }
}

/// Lists names and values with their lengths in one octet or four.
fn pairs(octets: &[u8], into: &mut Params) -> Result<(), Reject> {
    let mut at = 0;
    while at < octets.len() {
        let name = length(octets, &mut at)?;
        let value = length(octets, &mut at)?;
        let end = at.saturating_add(name).saturating_add(value);
        if end > octets.len() {
            return Err(bad("FastCGI params whose lengths do not fit"));
        }
        let start = at as u32;
        let name = Span { start, len: name as u32 };
        into.push(name, Span { start: start + name.len, len: value as u32 });
        at = end;
    }
    Ok(())
}

fn length(octets: &[u8], at: &mut usize) -> Result<usize, Reject> {
    let rest = &octets[*at..];
    let (len, used) = match rest.first() {
        Some(short) if *short < 128 => (usize::from(*short), 1),
        _ => {
            let long = rest.first_chunk::<4>();
            let long = long.ok_or_else(|| bad("FastCGI params whose lengths do not fit"))?;
            ((u32::from_be_bytes(*long) & 0x7fff_ffff) as usize, 4)
        }
    };
    *at += used;
    Ok(len)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
