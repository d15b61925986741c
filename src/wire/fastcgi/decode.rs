//! Records to streams: the variables and the body of each request, told apart by its id.  What the
//! protocol itself answers (values, roles, overload) goes to `replies`.
//!
//! What the streams of one request mean is the business of [`crate::wire::packet`].

use super::encode::{End, end_request};
use super::record::{HEAD, Head, KEEP_CONN, Kind, RESPONDER, VERSION};
use crate::wire::params::bad;
use crate::wire::{Params, Reject, Span};

/// Octets of a list of names that somebody asks the values of: there are three.
const VALUES_MAX: usize = 4096;

/// What a decoder found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// More octets are needed.
    More,
    /// A request begins.
    Begin {
        /// Its id: not 0, and of no other request that has not been [finished](Decoder::finish).
        id: u16,
        /// Whether the connection is to stay open after it.
        keep_alive: bool,
    },
    /// Octets of one of its streams: this piece of the buffer just given.
    Data(u16, Stream, Span),
    /// That stream has ended; no other octets of it come.
    End(u16, Stream),
    /// Nobody waits for its answer any more.
    Abort(u16),
    /// Nothing can be read from this connection any more.
    Broken(Reject),
}

/// The streams of a request, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Its variables, for [`super::variables`].
    Params,
    /// Its body.
    Stdin,
}

/// One step of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many octets at the front of the buffer are done with, once the event is dealt with.
    pub consumed: usize,
    /// What they were.
    pub event: Event,
}

/// Octets of a connection to streams.
#[derive(Debug)]
pub struct Decoder {
    /// How many requests there may be at once.
    most: usize,
    /// How many connections, and requests on all of them, there may be: what is told to whoever asks.
    everywhere: u32,
    state: State,
    /// Requests that are not finished, and which stream of theirs is open.
    requests: Vec<(u16, Option<Stream>)>,
    /// Others that were told that there are too many.
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before a record.
    Record,
    /// So many octets of a stream are to come, and of padding.
    Content {
        id: u16,
        stream: Stream,
        left: usize,
        padding: usize,
    },
    /// So many octets mean nothing.
    Skip(usize),
    Broken(Reject),
}

impl Decoder {
    /// At the start of a connection, which may have `most` requests at once.
    pub fn new(most: usize) -> Self {
        let everywhere = u32::try_from(most).unwrap_or(u32::MAX);
        Decoder { most, everywhere, state: State::Record, requests: Vec::new(), refused: 0 }
    }

    /// From now on it may have `most` requests at once; none: each new one is told that there are too
    /// many.
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// The server may have so many connections, and so many requests.
    pub fn set_everywhere(&mut self, most: u32) {
        self.everywhere = most;
    }

    /// How many requests were told that there are too many, since this was asked.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// How many requests are not finished.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// Whether more of a request may come: one of its streams is open.
    pub fn is_open(&self, id: u16) -> bool {
        self.requests.iter().any(|(its, stream)| *its == id && stream.is_some())
    }

    /// Whether nothing can be read any more.
    pub fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken(_))
    }

    /// Whether the connection has no request, and is not in the middle of a record.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Record) && self.requests.is_empty()
    }

    /// Whether the next octet is the first of a record.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Record)
    }

    /// The request has its answer: what still comes for it is ignored, and its id is free.
    pub fn finish(&mut self, id: u16) {
        self.requests.retain(|request| request.0 != id);
    }

    /// Look at the unread octets.
    pub fn decode(&mut self, unread: &[u8], replies: &mut Vec<u8>) -> Step {
        let mut consumed = 0;
        loop {
            let rest = &unread[consumed..];
            let (used, event) = match self.state {
                State::Record => self.record(rest, replies),
                State::Content { .. } => self.content(rest),
                State::Skip(left) => self.skip(rest.len(), left),
                State::Broken(reject) => (0, Some(Event::Broken(reject))),
            };
            match event {
                Some(Event::Data(id, stream, span)) => {
                    let span = Span { start: span.start + consumed as u32, ..span };
                    return Step {
                        consumed: consumed + used,
                        event: Event::Data(id, stream, span),
                    };
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
            return (
                0,
                Some(self.broken(bad(match first {
                    b'A'..=b'Z' => "HTTP was spoken to a FastCGI listener",
                    _ => "a FastCGI record of another version",
                }))),
            );
        }
        let Some(head) = Head::read(rest) else {
            return (0, Some(Event::More));
        };
        let (id, left, padding) = (head.id, usize::from(head.len), usize::from(head.padding));
        let content = rest.get(HEAD..HEAD + left);
        match Kind::of(head.kind) {
            Some(Kind::BeginRequest) => match content {
                None if left == 8 => (0, Some(Event::More)),
                Some(content) if left == 8 => {
                    self.state = State::Skip(padding);
                    (HEAD + left, self.begin(id, content, replies))
                }
                _ => (0, Some(self.broken(bad("a BEGIN_REQUEST record that is none")))),
            },
            Some(Kind::AbortRequest) => {
                self.state = State::Skip(left + padding);
                let known = self.requests.iter().any(|request| request.0 == id);
                (HEAD, known.then_some(Event::Abort(id)))
            }
            Some(Kind::Params) => (HEAD, self.stream(id, Stream::Params, left, padding)),
            Some(Kind::Stdin) => (HEAD, self.stream(id, Stream::Stdin, left, padding)),
            Some(Kind::GetValues) if id == 0 => match content {
                None if left <= VALUES_MAX => (0, Some(Event::More)),
                Some(content) if left <= VALUES_MAX => {
                    self.values(content, replies);
                    self.state = State::Skip(padding);
                    (HEAD + left, None)
                }
                _ => (0, Some(self.broken(bad("a GET_VALUES record that is too long")))),
            },
            // DATA is for filters, and what else there is has no request that it belongs to.
            _ => {
                if id == 0 {
                    replies.extend_from_slice(&Head::octets(Kind::UnknownType, 0, 8));
                    replies.extend_from_slice(&[head.kind, 0, 0, 0, 0, 0, 0, 0]);
                }
                self.state = State::Skip(left + padding);
                (HEAD, None)
            }
        }
    }

    fn begin(&mut self, id: u16, content: &[u8], replies: &mut Vec<u8>) -> Option<Event> {
        let role = u16::from_be_bytes([content[0], content[1]]);
        if id == 0 || self.requests.iter().any(|request| request.0 == id) {
            return Some(self.broken(bad("BEGIN_REQUEST with an id that is in use")));
        }
        if role != RESPONDER {
            end_request(replies, id, 0, End::UnknownRole);
            return None;
        }
        if self.requests.len() >= self.most {
            let why = if self.most == 1 { End::CannotMultiplex } else { End::Overloaded };
            end_request(replies, id, 0, why);
            self.refused += 1;
            return None;
        }
        self.requests.push((id, Some(Stream::Params)));
        Some(Event::Begin { id, keep_alive: content[2] & KEEP_CONN != 0 })
    }

    /// A record of a stream begins; an empty one ends it.  One that nobody waits for is skipped.
    fn stream(&mut self, id: u16, stream: Stream, left: usize, padding: usize) -> Option<Event> {
        self.state = State::Skip(left + padding);
        let open = self.requests.iter_mut().find(|request| **request == (id, Some(stream)))?;
        if left > 0 {
            self.state = State::Content { id, stream, left, padding };
            return None;
        }
        open.1 = match stream {
            Stream::Params => Some(Stream::Stdin),
            Stream::Stdin => None,
        };
        Some(Event::End(id, stream))
    }

    fn content(&mut self, rest: &[u8]) -> (usize, Option<Event>) {
        let State::Content { id, stream, left, padding } = self.state else {
            unreachable!("called in a record's content")
        };
        if rest.is_empty() {
            return (0, Some(Event::More));
        }
        let len = left.min(rest.len());
        self.state = match left - len {
            0 => State::Skip(padding),
            left => State::Content { id, stream, left, padding },
        };
        // It may have been finished meanwhile.
        let is_open = self.requests.contains(&(id, Some(stream)));
        let span = Span { start: 0, len: len as u32 };
        (len, is_open.then_some(Event::Data(id, stream, span)))
    }

    fn skip(&mut self, there: usize, left: usize) -> (usize, Option<Event>) {
        let len = left.min(there);
        self.state = if len == left { State::Record } else { State::Skip(left - len) };
        (len, (len < left).then_some(Event::More))
    }

    /// The values that somebody asked for, of those that we know.
    fn values(&self, asked: &[u8], replies: &mut Vec<u8>) {
        let mut names = Params::default();
        if variables(asked, &mut names).is_err() {
            names.clear();
        }
        let most = self.everywhere.to_string();
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

    /// Nothing more is to be read, for this reason.
    pub(super) fn give_up(&mut self, reason: &'static str) -> Reject {
        self.broken(bad(reason));
        bad(reason)
    }

    #[cold]
    fn broken(&mut self, reject: Reject) -> Event {
        self.state = State::Broken(reject);
        Event::Broken(reject)
    }
}

/// Lists the names and values of a whole PARAMS stream; their lengths are in one octet or four.
pub fn variables(octets: &[u8], into: &mut Params) -> Result<(), Reject> {
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
