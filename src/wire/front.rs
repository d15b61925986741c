//! A connection's protocol, as values: which decoder, which encoder.  Everything that differs between
//! the fronts of an application is behind these two.

use super::packet::{self, Form};
use super::{
    Asked, BodyMode, Decoder as _, Encoder, Event, Framed, Framing, Head, Limits, Params,
    ResponseHead, Step, Version, cgi, fastcgi, http1,
};

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.0 and 1.1.
    #[default]
    Http,
    /// The uwsgi protocol.
    Uwsgi,
    /// SCGI.
    Scgi,
    /// One request of a FastCGI connection, by its id.
    FastCgi(u16),
}

/// The head of a request, as its protocol has it.
#[derive(Clone, Copy, Debug)]
pub enum AnyHead<'a> {
    /// HTTP's.
    Http(&'a Head),
    /// Variables, in the octets that were read.
    Params(&'a Params),
    /// Variables in these octets.
    Elsewhere(&'a Params, &'a [u8]),
}

/// The decoders of a connection, of which one is in use.  Kept from one connection to the next, with
/// their memory.
#[derive(Debug)]
pub struct Decoders {
    limits: Limits,
    used: Used,
    http: http1::Decoder,
    packet: Option<Box<packet::Decoder>>,
    serial: Option<Box<fastcgi::Serial>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    Http,
    Packet(Form),
    Serial,
}

/// The decoder in use, by `$it`.
macro_rules! used {
    ($self:ident.$as:ident, http $http:ident => $a:expr, packet $packet:ident => $b:expr, serial $serial:ident => $c:expr) => {
        match $self.used {
            Used::Http => { let $http = used!(@ $as $self.http); $a }
            Used::Packet(_) => match $self.packet.$as() { Some($packet) => $b, None => unreachable!("made with `speak`") },
            Used::Serial => match $self.serial.$as() { Some($serial) => $c, None => unreachable!("made with `speak`") },
        }
    };
    (@ as_deref $http:expr) => { &$http };
    (@ as_deref_mut $http:expr) => { &mut $http };
}

impl Decoders {
    /// For HTTP, until [`Self::speak`] says otherwise.
    pub fn new(limits: Limits) -> Self {
        let http = http1::Decoder::new(limits);
        Decoders { limits, used: Used::Http, http, packet: None, serial: None }
    }

    /// What is spoken.
    #[inline]
    pub fn speech(&self) -> Speech {
        match (self.used, &self.serial) {
            (Used::Http, _) => Speech::Http,
            (Used::Packet(Form::Scgi), _) => Speech::Scgi,
            (Used::Packet(_), _) => Speech::Uwsgi,
            (Used::Serial, serial) => Speech::FastCgi(serial.as_ref().map_or(0, |it| it.id())),
        }
    }

    /// From now on this is spoken; at the start of a connection.
    pub fn speak(&mut self, speech: Speech) {
        let form = match speech {
            Speech::Http => return self.used = Used::Http,
            Speech::Uwsgi => Form::Uwsgi,
            Speech::Scgi => Form::Scgi,
            Speech::FastCgi(_) => {
                self.used = Used::Serial;
                let limits = self.limits;
                return self
                    .serial
                    .get_or_insert_with(|| Box::new(fastcgi::Serial::new(limits)))
                    .reset();
            }
        };
        self.used = Used::Packet(form);
        match &mut self.packet {
            Some(packet) => packet.restart(form),
            None => self.packet = Some(Box::new(packet::Decoder::new(form, self.limits))),
        }
    }

    /// Other limits, from the next octet on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.http.set_limits(limits);
        if let Some(packet) = &mut self.packet {
            packet.set_limits(limits);
        }
        if let Some(serial) = &mut self.serial {
            serial.set_limits(limits);
        }
    }

    /// Look at the unread octets.
    #[inline]
    pub fn decode(&mut self, unread: &[u8]) -> Step {
        used!(self.as_deref_mut, http it => it.decode(unread), packet it => it.decode(unread), serial it => it.decode(unread))
    }

    /// The end of a body that has all its octets; false if this is not where we are.
    #[inline]
    pub fn end(&mut self) -> bool {
        used!(self.as_deref_mut, http it => it.end(),
            packet it => it.remaining() == Some(0) && it.decode(b"").event == Event::End,
            serial it => it.end())
    }

    /// The head that the last `Head` event announced; after a `Reject` in its place, what is known.
    #[inline]
    pub fn head(&self) -> AnyHead<'_> {
        used!(self.as_deref, http it => AnyHead::Http(it.head()),
            packet it => AnyHead::Params(it.params()),
            serial it => { let (params, octets) = it.params(); AnyHead::Elsewhere(params, octets) })
    }

    /// How the body of the request is delimited.
    #[inline]
    pub fn framing(&self) -> Framing {
        used!(self.as_deref, http it => it.head().framing, packet it => it.framing(), serial it => it.framing())
    }

    /// What an encoder must know of the request.
    #[inline]
    pub fn asked(&self) -> Asked {
        // What HTTP/1.1 has more (chunks, interim answers) has no place in a CGI response.
        let asked = |is_head, keep_alive| Asked {
            version: Version::Http10,
            is_head,
            is_connect: false,
            keep_alive,
        };
        used!(self.as_deref, http it => it.head().asked(),
            packet it => asked(it.params().is_head, false),
            serial it => asked(it.params().0.is_head, it.keeps()))
    }

    /// Whether nothing of a request has been seen yet.
    pub fn is_idle(&self) -> bool {
        used!(self.as_deref, http it => it.is_idle(), packet it => it.is_in_head(), serial it => it.is_idle())
    }

    /// Whether what is awaited belongs to a head.
    #[inline]
    pub fn is_in_head(&self) -> bool {
        used!(self.as_deref, http it => it.is_in_head(), packet it => it.is_in_head(), serial it => it.is_in_head())
    }

    /// Whether the spans of the head are of the octets that were read.
    #[inline]
    pub fn is_head_here(&self) -> bool {
        self.used != Used::Serial
    }

    /// Whether the octets of a body with a length follow each other as they are.
    #[inline]
    pub fn body_is_plain(&self) -> bool {
        self.used != Used::Serial
    }

    /// Octets of the body that are still to come as they are, when that is known.
    #[inline]
    pub fn remaining(&self) -> Option<u64> {
        used!(self.as_deref, http it => it.remaining(), packet it => it.remaining(), serial _it => None)
    }

    /// `n` octets of a body with a known length went past the decoder.
    pub fn skip(&mut self, n: u64) {
        used!(self.as_deref_mut, http it => it.skip(n), packet it => it.skip(n), serial _it => {})
    }

    /// The request is over.
    #[inline]
    pub fn finish(&mut self) {
        if let (Used::Serial, Some(serial)) = (self.used, &mut self.serial) {
            serial.finish();
        }
    }

    /// At the start of a FastCGI connection: how many requests the whole server may have at once, and
    /// whether requests of a connection that is kept are all answered [`apart`](fastcgi::Serial).
    pub fn multiplex(&mut self, everywhere: u32, apart: bool) {
        if let Some(serial) = &mut self.serial {
            serial.multiplex(everywhere, apart);
        }
    }

    /// The FastCGI decoder, if it is in use.
    pub fn serial(&mut self) -> Option<&mut fastcgi::Serial> {
        match self.used {
            Used::Serial => self.serial.as_deref_mut(),
            Used::Http | Used::Packet(_) => None,
        }
    }

    /// Whether the web server has taken the request back (FastCGI's ABORT_REQUEST).
    pub fn is_aborted(&self) -> bool {
        self.used == Used::Serial && self.serial.as_ref().is_some_and(|it| it.is_aborted())
    }

    /// Whether what was refused belongs to a request that can be answered.
    pub fn has_request(&self) -> bool {
        self.used != Used::Serial || self.serial.as_ref().is_some_and(|it| it.is_busy())
    }

    /// Whether others may follow a request that was refused: the rest of it can be told from them.
    pub fn may_recover(&mut self) -> bool {
        self.serial().is_some_and(|it| it.may_recover())
    }

    /// The request was refused, and answered: whether others may follow all the same.
    pub fn recover(&mut self) -> bool {
        self.serial().is_some_and(fastcgi::Serial::recover)
    }

    /// What the protocol answers by itself, to be sent before whatever comes next.
    #[inline]
    pub fn take_replies(&mut self, out: &mut Vec<u8>) {
        if let (Used::Serial, Some(serial)) = (self.used, &mut self.serial) {
            serial.take_replies(out);
        }
    }

    /// Start again for another connection, with HTTP.
    pub fn reset(&mut self) {
        self.http.reset();
        self.used = Used::Http;
    }
}

/// The encoder of the answer.
impl Encoder for Speech {
    fn interim(&self, out: &mut Vec<u8>, head: &ResponseHead<'_>) {
        match self {
            Speech::Http => http1::Encoder.interim(out, head),
            // There is no way to say it.
            Speech::Uwsgi | Speech::Scgi | Speech::FastCgi(_) => {}
        }
    }

    #[inline]
    fn head(
        &self,
        out: &mut Vec<u8>,
        asked: &Asked,
        head: &ResponseHead<'_>,
        known: Option<u64>,
        date: &[u8; 29],
    ) -> Framed {
        match *self {
            Speech::Http => http1::Encoder.head(out, asked, head, known, date),
            Speech::Uwsgi => cgi::Encoder::Line.head(out, asked, head, known, date),
            Speech::Scgi => cgi::Encoder::Field.head(out, asked, head, known, date),
            Speech::FastCgi(id) => fastcgi::Encoder { id }.head(out, asked, head, known, date),
        }
    }

    #[inline]
    fn before(&self, out: &mut Vec<u8>, mode: BodyMode, len: u64) {
        match *self {
            Speech::Http => http1::Encoder.before(out, mode, len),
            Speech::Uwsgi | Speech::Scgi => {}
            Speech::FastCgi(id) => fastcgi::Encoder { id }.before(out, mode, len),
        }
    }

    #[inline]
    fn after(&self, out: &mut Vec<u8>, mode: BodyMode) {
        if *self == Speech::Http {
            http1::Encoder.after(out, mode);
        }
    }

    #[inline]
    fn end(&self, out: &mut Vec<u8>, mode: BodyMode) {
        match *self {
            Speech::Http => http1::Encoder.end(out, mode),
            Speech::Uwsgi | Speech::Scgi => {}
            Speech::FastCgi(id) => fastcgi::Encoder { id }.end(out, mode),
        }
    }

    fn end_busy(&self, out: &mut Vec<u8>, mode: BodyMode) {
        match *self {
            Speech::FastCgi(id) => fastcgi::Encoder { id }.end_busy(out, mode),
            Speech::Http | Speech::Uwsgi | Speech::Scgi => self.end(out, mode),
        }
    }

    fn complain(&self, out: &mut Vec<u8>, text: &[u8]) {
        if let Speech::FastCgi(id) = *self {
            fastcgi::Encoder { id }.complain(out, text);
        }
    }

    fn ends_bodies(&self) -> bool {
        matches!(self, Speech::FastCgi(_))
    }

    fn cut(&self, out: &mut Vec<u8>) {
        if let Speech::FastCgi(id) = *self {
            fastcgi::Encoder { id }.cut(out);
        }
    }

    #[inline]
    fn piece(&self) -> u64 {
        match *self {
            Speech::FastCgi(id) => fastcgi::Encoder { id }.piece(),
            Speech::Http | Speech::Uwsgi | Speech::Scgi => u64::MAX,
        }
    }
}
