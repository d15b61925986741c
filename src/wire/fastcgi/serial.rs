//! The request that a FastCGI connection answers itself: one after another, as web servers make them
//! that have a connection for each request they are waiting for.
//!
//! What comes of other requests meanwhile is checked, and put aside in whole records, for whoever
//! answers those *apart* from this one.

use super::decode::{Decoder as Records, Event as Record, Stream};
use super::encode::{CUT, End, end_request};
use super::record::{HEAD, Head, KEEP_CONN, Kind, RESPONDER};
use crate::wire::packet::{self, Form};
use crate::wire::params::bad;
use crate::wire::{Event, Framing, Limits, Params, Reject, Span, Step};

/// Requests that a connection may have at once; another is told that there are too many.
const REQUESTS_MAX: usize = 128;

/// Octets of what the protocol answers by itself that may wait: more than a reading of ours can cause.
const REPLIES_MAX: usize = 256 * 1024;

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
    /// What comes of its body is of no use any more.
    dropped: bool,
    /// Nobody waits for its answer, and whether that is still to be told.
    aborted: bool,
    has_news: bool,
    /// Requests of a connection that is kept are all answered apart.
    apart: bool,
    /// Whole records of the requests that are.
    aside: Vec<u8>,
}

impl Serial {
    /// At the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Serial {
            records: Records::new(REQUESTS_MAX),
            packet: packet::Decoder::new(Form::Params, limits),
            octets: Vec::new(),
            replies: Vec::new(),
            id: 0,
            keeps: false,
            busy: false,
            bodiless: false,
            dropped: false,
            aborted: false,
            has_news: false,
            apart: false,
            aside: Vec::new(),
        }
    }

    /// Start again for another connection, with the memory of this one.
    pub fn reset(&mut self) {
        self.records = Records::new(REQUESTS_MAX);
        self.replies.clear();
        self.aside.clear();
        self.octets.clear();
        self.packet.reset();
        (self.busy, self.apart) = (false, false);
        self.forget();
    }

    /// Nothing is known of a request.
    fn forget(&mut self) {
        (self.bodiless, self.dropped, self.aborted, self.has_news) = (false, false, false, false);
    }

    /// See [`super::super::front::Decoders::multiplex`].
    pub fn multiplex(&mut self, everywhere: u32, apart: bool) {
        self.records.set_everywhere(everywhere);
        self.apart = apart;
    }

    /// From now on no request begins any more.
    pub fn close(&mut self) {
        self.records.set_most(0);
    }

    /// Whether nothing can be read from the connection any more.
    pub fn is_broken(&self) -> bool {
        self.records.is_broken()
    }

    /// Whether there is a request that has no answer yet.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether more of the request may come, if only the record that ends its body.
    pub fn is_open(&self) -> bool {
        self.busy && self.records.is_open(self.id)
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_aborted(&self) -> bool {
        self.busy && self.aborted
    }

    /// The same, once.
    pub fn take_abort(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// The request was refused, and answered: whether others may follow all the same.
    pub fn recover(&mut self) -> bool {
        let may = self.may_recover();
        if may {
            self.finish();
        }
        may
    }

    /// Whether others may follow the request if it is refused: the rest of it can be told from them.
    pub fn may_recover(&self) -> bool {
        self.busy && self.keeps && !self.is_broken()
    }

    /// Whether something was put aside.
    #[inline]
    pub fn has_aside(&self) -> bool {
        !self.aside.is_empty()
    }

    /// Whole records of requests that are answered apart, as they came but for padding and for where
    /// content is cut; `into` is empty.  Each of these ids is theirs until [`Self::finish_apart`].
    pub fn take_aside(&mut self, into: &mut Vec<u8>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut self.aside, into);
    }

    /// A request that was put aside has its answer.
    pub fn finish_apart(&mut self, id: u16) {
        self.records.finish(id);
    }

    /// Whether there is something that the protocol answers by itself.
    pub fn has_replies(&self) -> bool {
        !self.replies.is_empty()
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

    /// What the protocol answers by itself, to be sent before whatever comes next.  Says how many
    /// requests it refuses because there are too many.
    pub fn take_replies(&mut self, out: &mut Vec<u8>) -> u64 {
        out.append(&mut self.replies);
        self.records.take_refused()
    }

    /// The request has its answer: what still comes of it is ignored.
    pub fn finish(&mut self) {
        if std::mem::take(&mut self.busy) {
            self.records.finish(self.id);
            if self.apart {
                self.records.set_most(REQUESTS_MAX);
            }
            self.packet.reset();
            self.forget();
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
                    self.begin(id, keep_alive);
                    None
                }
                // Of a request that is answered apart.
                Record::Data(id, stream, span) if !self.is_mine(id) => {
                    self.put_aside(kind_of(stream), id, span.of(&unread[at..]));
                    None
                }
                Record::End(id, stream) if !self.is_mine(id) => {
                    self.put_aside(kind_of(stream), id, b"");
                    None
                }
                Record::Abort(id) if !self.is_mine(id) => {
                    self.put_aside(Kind::AbortRequest, id, b"");
                    None
                }
                Record::Data(_, Stream::Stdin, _) | Record::End(_, Stream::Stdin)
                    if self.dropped =>
                {
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
                        reject @ Event::Reject(_) => {
                            self.dropped = true;
                            Some(reject)
                        }
                        // More octets than CONTENT_LENGTH says: nobody asked for them.
                        _ => None,
                    }
                }
                Record::End(_, Stream::Stdin) if !self.packet.close_body(0) => {
                    self.dropped = true;
                    Some(Event::Reject(bad("the body is shorter than CONTENT_LENGTH")))
                }
                Record::End(_, Stream::Stdin) => {
                    let event = self.packet.decode(b"").event;
                    (event == Event::End).then_some(event)
                }
                Record::Abort(id) if self.packet.is_in_head() => {
                    // Nobody knows of it yet.
                    end_request(&mut self.replies, id, CUT, End::Complete);
                    self.finish();
                    None
                }
                Record::Abort(_) => {
                    (self.dropped, self.aborted, self.has_news) = (true, true, true);
                    Some(Event::More)
                }
                Record::Broken(reject) => Some(self.broken(reject)),
            };
            if self.replies.len() > REPLIES_MAX {
                let reject = self.records.give_up("a FastCGI client that asks and does not listen");
                return Step { consumed, event: self.broken(reject) };
            }
            if let Some(event) = event {
                return Step { consumed, event };
            }
        }
    }

    fn is_mine(&self, id: u16) -> bool {
        self.busy && id == self.id
    }

    /// A request begins.
    fn begin(&mut self, id: u16, keep_alive: bool) {
        let alone = self.records.count() == 1;
        if self.busy || self.apart && (keep_alive || !alone) {
            let flags = if keep_alive { KEEP_CONN } else { 0 };
            let [high, low] = RESPONDER.to_be_bytes();
            return self.put_aside(Kind::BeginRequest, id, &[high, low, flags, 0, 0, 0, 0, 0]);
        }
        (self.id, self.keeps, self.busy) = (id, keep_alive, true);
        self.octets.clear();
        self.packet.reset();
        self.forget();
        if self.apart {
            // Nobody looks at others while a thread has this one.
            self.records.set_most(1);
        }
    }

    fn put_aside(&mut self, kind: Kind, id: u16, content: &[u8]) {
        for piece in content.chunks(usize::from(u16::MAX)) {
            self.aside.extend_from_slice(&Head::octets(kind, id, piece.len()));
            self.aside.extend_from_slice(piece);
        }
        if content.is_empty() {
            self.aside.extend_from_slice(&Head::octets(kind, id, 0));
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

fn kind_of(stream: Stream) -> Kind {
    match stream {
        Stream::Params => Kind::Params,
        Stream::Stdin => Kind::Stdin,
    }
}
