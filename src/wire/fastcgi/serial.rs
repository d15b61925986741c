//! One request after another on a connection, as web servers make them that have a connection for each
//! request they are waiting for: a second one at the same time is told that it cannot be.

use super::decode::{Decoder as Records, Event as Record, Stream};
use super::record::{HEAD, Head, Kind};
use crate::wire::packet::{self, Form};
use crate::wire::params::bad;
use crate::wire::{Event, Framing, Limits, Params, Reject, Span, Step};

/// Octets of a connection to its requests.
#[derive(Debug)]
pub struct Serial {
    records: Records,
    packet: packet::Decoder,
    /// The variables as they came, what the spans of [`Serial::params`] are of.
    octets: Vec<u8>,
    replies: Vec<u8>,
    id: u16,
    keeps: bool,
    /// There is a request that has no answer yet.
    busy: bool,
    /// It has no body: its end came with its variables.
    bodiless: bool,
}

impl Serial {
    /// At the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Serial {
            records: Records::new(1),
            packet: packet::Decoder::new(Form::Params, limits),
            octets: Vec::new(),
            replies: Vec::new(),
            id: 0,
            keeps: false,
            busy: false,
            bodiless: false,
        }
    }

    /// Start again for another connection, with the memory of this one.
    pub fn reset(&mut self) {
        self.records = Records::new(1);
        self.replies.clear();
        self.octets.clear();
        self.packet.reset();
        (self.busy, self.bodiless) = (false, false);
    }

    /// Other limits, from the next octet on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.packet.set_limits(limits);
    }

    /// The request's id.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Whether the connection stays open after it.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// What the last `Head` announced, and what its spans are of.
    pub fn params(&self) -> (&Params, &[u8]) {
        (self.packet.params(), &self.octets)
    }

    /// How its body is delimited.
    pub fn framing(&self) -> Framing {
        if self.bodiless { Framing::None } else { self.packet.framing() }
    }

    /// Whether nothing of a request has been seen yet.
    pub fn is_idle(&self) -> bool {
        !self.busy && self.records.is_idle()
    }

    /// Whether what is awaited belongs to a head.
    pub fn is_in_head(&self) -> bool {
        self.packet.is_in_head()
    }

    /// Whether the protocol answers something by itself.
    pub fn has_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    /// What the protocol answers by itself, to be sent before whatever comes next.
    pub fn take_replies(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.replies);
    }

    /// The request has its answer: what still comes of it is ignored.
    pub fn finish(&mut self) {
        if std::mem::take(&mut self.busy) {
            self.records.finish(self.id);
            self.packet.reset();
        }
    }

    /// The end of a body that has all its octets; false if this is not where we are.
    pub fn end(&mut self) -> bool {
        let is_all = self.bodiless || self.packet.remaining() == Some(0);
        is_all && !self.packet.is_in_head() && {
            self.bodiless = false;
            self.packet.close_body(0);
            self.packet.decode(b"").event == Event::End
        }
    }

    /// Look at the unread octets.
    pub fn decode(&mut self, unread: &[u8]) -> Step {
        let mut consumed = 0;
        loop {
            let at = consumed;
            let step = self.records.decode(&unread[at..], &mut self.replies);
            consumed += step.consumed;
            let event = match step.event {
                Record::More => Some(Event::More),
                Record::Begin { id, keep_alive } => {
                    (self.id, self.keeps, self.busy) = (id, keep_alive, true);
                    self.octets.clear();
                    self.packet.reset();
                    None
                }
                Record::Data(_, Stream::Params, span) => {
                    self.octets.extend_from_slice(span.of(&unread[at..]));
                    // More of them than there may be are refused before the last.
                    self.refused()
                }
                Record::End(_, Stream::Params) => {
                    self.packet.close_head(self.octets.len());
                    let event = self.packet.decode(&self.octets).event;
                    self.bodiless = self.packet.framing() == Framing::Chunked
                        && self.ends_here(&unread[consumed..]);
                    if self.bodiless {
                        // Nothing of the request is left to be read.
                        let rest = &unread[consumed..];
                        consumed += self.records.decode(rest, &mut self.replies).consumed;
                    }
                    Some(event)
                }
                Record::Data(_, Stream::Stdin, span) => {
                    match self.packet.decode(span.of(&unread[at..])).event {
                        Event::Data(piece) => Some(Event::Data(Span {
                            start: at as u32 + span.start + piece.start,
                            ..piece
                        })),
                        reject @ Event::Reject(_) => Some(reject),
                        // More octets than CONTENT_LENGTH says: nobody asked for them.
                        _ => None,
                    }
                }
                Record::End(_, Stream::Stdin) if !self.packet.close_body(0) => {
                    Some(self.broken(bad("the body is shorter than CONTENT_LENGTH")))
                }
                Record::End(_, Stream::Stdin) => {
                    let event = self.packet.decode(b"").event;
                    (event == Event::End).then_some(event)
                }
                Record::Abort(_) => {
                    Some(self.broken(bad("the web server has aborted the request")))
                }
                Record::Broken(reject) => Some(self.broken(reject)),
            };
            if let Some(event) = event {
                return Step { consumed, event };
            }
        }
    }

    /// Whether an empty STDIN record of this request is the next.
    fn ends_here(&self, rest: &[u8]) -> bool {
        let head = rest.get(..HEAD).filter(|_| self.records.is_between()).and_then(Head::read);
        head.is_some_and(|it| it.kind == Kind::Stdin as u8 && it.id == self.id && it.len == 0)
    }

    fn refused(&mut self) -> Option<Event> {
        match self.packet.decode(&self.octets).event {
            reject @ Event::Reject(_) => Some(reject),
            _ => None,
        }
    }

    fn broken(&mut self, reject: Reject) -> Event {
        self.keeps = false;
        Event::Reject(reject)
    }
}
