//! A connection's protocol, as values: which decoder, which encoder.  Everything that differs between
//! the fronts of an application is behind these two.

use super::packet::{self, Form};
use super::{
    Asked, BodyMode, Decoder as _, Encoder, Event, Framed, Framing, Head, Limits, Params,
    ResponseHead, Step, Version, cgi, fastcgi, hosted, http1,
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
    /// Nothing: the server of the connection is a foreign one, in this process.
    Hosted,
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
    is_http: bool,
    http: http1::Decoder,
    other: Other,
    /// The limits of most connections, while this one has others.
    usual: Option<Limits>,
}

/// HTTP's, inline in the callers, or the others' behind a call.
macro_rules! either {
    ($self:ident, $http:ident => $found:expr, $call:ident($($argument:expr),*)) => {
        if $self.is_http {
            let $http = &$self.http;
            $found
        } else {
            $self.other.$call($($argument),*)
        }
    };
}

impl Decoders {
    /// For HTTP, until [`Self::speak`] says otherwise.
    pub fn new(limits: Limits) -> Self {
        Decoders {
            is_http: true,
            http: http1::Decoder::new(limits),
            other: Other { limits, used: Used::Packet(Form::Uwsgi), packet: None, serial: None },
            usual: None,
        }
    }

    /// From now on this is spoken; at the start of a connection.
    pub fn speak(&mut self, speech: Speech) {
        self.is_http = speech == Speech::Http;
        self.other.speak(speech);
    }

    /// Start again for another connection, with HTTP.
    pub fn reset(&mut self) {
        self.http.reset();
        self.is_http = true;
    }

    /// The limits of most connections again.
    pub fn unlimit(&mut self) {
        if let Some(usual) = self.usual.take() {
            self.set_limits(usual);
        }
    }

    /// Other limits for this connection, until [`Self::unlimit`].
    pub fn limit(&mut self, limits: Limits) {
        self.usual.get_or_insert(self.other.limits);
        self.set_limits(limits);
    }

    /// Whether the head of a request has fields of those in [`super::forwarded`] that count.  What
    /// fronts with variables forward says nothing: they have variables for it.
    #[inline(always)]
    pub fn has_forwarded(&self) -> bool {
        self.is_http && self.http.head().has_forwarded
    }

    /// Other limits, from the next octet on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.http.set_limits(limits);
        self.other.set_limits(limits);
    }

    /// Look at the unread octets.
    #[inline(always)]
    pub fn decode(&mut self, unread: &[u8]) -> Step {
        if self.is_http { self.http.decode(unread) } else { self.other.decode(unread) }
    }

    /// The end of a body that has all its octets; false if this is not where we are.
    #[inline(always)]
    pub fn end(&mut self) -> bool {
        if self.is_http { self.http.end() } else { self.other.end() }
    }

    /// `n` octets of a body with a known length went past the decoder.
    pub fn skip(&mut self, n: u64) {
        if self.is_http { self.http.skip(n) } else { self.other.skip(n) }
    }

    /// The request is over.
    #[inline(always)]
    pub fn finish(&mut self) {
        if !self.is_http {
            self.other.finish();
        }
    }

    /// Whether the protocol answers something by itself.
    #[inline(always)]
    pub fn has_replies(&self) -> bool {
        !self.is_http && self.other.has_replies()
    }

    /// What that is, to be sent before whatever comes next.  Says how many requests it refuses because
    /// there are too many.
    pub fn take_replies(&mut self, out: &mut Vec<u8>) -> u64 {
        if self.is_http { 0 } else { self.other.take_replies(out) }
    }

    /// What is spoken.
    #[inline(always)]
    pub fn speech(&self) -> Speech {
        if self.is_http { Speech::Http } else { self.other.speech() }
    }

    /// The head that the last `Head` event announced; after a `Reject` in its place, what is known.
    pub fn head(&self) -> AnyHead<'_> {
        either!(self, it => AnyHead::Http(it.head()), head())
    }

    /// The same where it is HTTP's.
    #[inline(always)]
    pub fn http_head(&self) -> Option<&Head> {
        self.is_http.then(|| self.http.head())
    }

    /// How the body of the request is delimited.
    #[inline(always)]
    pub fn framing(&self) -> Framing {
        either!(self, it => it.head().framing, framing())
    }

    /// What an encoder must know of the request.
    #[inline(always)]
    pub fn asked(&self) -> Asked {
        either!(self, it => it.head().asked(), asked())
    }

    /// Whether nothing of a request has been seen yet.
    #[inline(always)]
    pub fn is_idle(&self) -> bool {
        either!(self, it => it.is_idle(), is_idle())
    }

    /// Whether what is awaited belongs to a head.
    #[inline(always)]
    pub fn is_in_head(&self) -> bool {
        either!(self, it => it.is_in_head(), is_in_head())
    }

    /// Octets of the body that are still to come as they are, when that is known.
    #[inline(always)]
    pub fn remaining(&self) -> Option<u64> {
        either!(self, it => it.remaining(), remaining())
    }

    /// Whether the octets of a body with a length follow each other as they are.
    #[inline(always)]
    pub fn body_is_plain(&self) -> bool {
        self.is_http || self.other.used != Used::Serial
    }

    /// Whether the spans of the head are of the octets that were read.
    #[inline(always)]
    pub fn is_head_here(&self) -> bool {
        self.body_is_plain()
    }

    /// At the start of a FastCGI connection: how many requests the whole server may have at once, and
    /// whether requests of a connection that is kept are all answered [`apart`](fastcgi::Serial).
    pub fn multiplex(&mut self, everywhere: u32, apart: bool) {
        if let Some(serial) = self.serial() {
            serial.multiplex(everywhere, apart);
        }
    }

    /// The FastCGI decoder, if it is in use.
    #[inline(always)]
    pub fn serial(&mut self) -> Option<&mut fastcgi::Serial> {
        if self.is_http { None } else { self.other.serial() }
    }

    /// Whether the web server has taken the request back (FastCGI's ABORT_REQUEST).
    #[inline(always)]
    pub fn is_aborted(&self) -> bool {
        !self.is_http && self.other.is_aborted()
    }

    /// Whether more of the request may come although its body is all there: a record that says so.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        !self.is_http && self.other.is_open()
    }

    /// Whether what was refused belongs to a request that can be answered.
    pub fn has_request(&self) -> bool {
        self.is_http || self.other.has_request()
    }

    /// Whether others may follow a request that was refused: the rest of it can be told from them.
    pub fn may_recover(&mut self) -> bool {
        self.serial().is_some_and(|it| it.may_recover())
    }

    /// The request was refused, and answered: whether others may follow all the same.
    pub fn recover(&mut self) -> bool {
        self.serial().is_some_and(fastcgi::Serial::recover)
    }
}

/// The decoders of what is not HTTP.  None of it is inline: HTTP is not to pay for it.
#[derive(Debug)]
struct Other {
    limits: Limits,
    used: Used,
    packet: Option<Box<packet::Decoder>>,
    serial: Option<Box<fastcgi::Serial>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    Packet(Form),
    Serial,
}

/// The decoder in use, by `$it`.
macro_rules! used {
    ($self:ident.$as:ident, packet $packet:ident => $a:expr, serial $serial:ident => $b:expr) => {
        match ($self.used, $self.packet.$as(), $self.serial.$as()) {
            (Used::Packet(_), Some($packet), _) => $a,
            (Used::Serial, _, Some($serial)) => $b,
            _ => unreachable!("made with `speak`"),
        }
    };
}

impl Other {
    fn speak(&mut self, speech: Speech) {
        let form = match speech {
            Speech::Http | Speech::Hosted => return,
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

    fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        if let Some(packet) = &mut self.packet {
            packet.set_limits(limits);
        }
        if let Some(serial) = &mut self.serial {
            serial.set_limits(limits);
        }
    }

    #[inline(never)]
    fn decode(&mut self, unread: &[u8]) -> Step {
        used!(self.as_deref_mut, packet it => it.decode(unread), serial it => it.decode(unread))
    }

    #[inline(never)]
    fn end(&mut self) -> bool {
        used!(self.as_deref_mut,
            packet it => it.remaining() == Some(0) && it.decode(b"").event == Event::End,
            serial it => it.end())
    }

    fn skip(&mut self, n: u64) {
        used!(self.as_deref_mut, packet it => it.skip(n), serial _it => {});
    }

    #[inline(never)]
    fn finish(&mut self) {
        if let (Used::Serial, Some(serial)) = (self.used, &mut self.serial) {
            serial.finish();
        }
    }

    #[inline(never)]
    fn is_open(&self) -> bool {
        used!(self.as_deref, packet _it => false, serial it => it.is_open())
    }

    #[inline(never)]
    fn has_replies(&self) -> bool {
        used!(self.as_deref, packet _it => false, serial it => it.has_replies())
    }

    fn take_replies(&mut self, out: &mut Vec<u8>) -> u64 {
        used!(self.as_deref_mut, packet _it => 0, serial it => it.take_replies(out))
    }

    #[inline(never)]
    fn speech(&self) -> Speech {
        match (self.used, &self.serial) {
            (Used::Packet(Form::Scgi), _) => Speech::Scgi,
            (Used::Packet(_), _) => Speech::Uwsgi,
            (Used::Serial, serial) => Speech::FastCgi(serial.as_ref().map_or(0, |it| it.id())),
        }
    }

    #[inline(never)]
    fn head(&self) -> AnyHead<'_> {
        used!(self.as_deref, packet it => AnyHead::Params(it.params()),
            serial it => { let (params, octets) = it.params(); AnyHead::Elsewhere(params, octets) })
    }

    #[inline(never)]
    fn framing(&self) -> Framing {
        used!(self.as_deref, packet it => it.framing(), serial it => it.framing())
    }

    #[inline(never)]
    fn asked(&self) -> Asked {
        // What HTTP/1.1 has more (chunks, interim answers) has no place in a CGI response.
        let asked = |is_head, keep_alive| Asked {
            version: Version::Http10,
            is_head,
            is_connect: false,
            keep_alive,
        };
        used!(self.as_deref, packet it => asked(it.params().is_head, false),
            serial it => asked(it.params().0.is_head, it.keeps()))
    }

    #[inline(never)]
    fn is_idle(&self) -> bool {
        used!(self.as_deref, packet it => it.is_in_head(), serial it => it.is_idle())
    }

    #[inline(never)]
    fn is_in_head(&self) -> bool {
        used!(self.as_deref, packet it => it.is_in_head(), serial it => it.is_in_head())
    }

    #[inline(never)]
    fn remaining(&self) -> Option<u64> {
        used!(self.as_deref, packet it => it.remaining(), serial _it => None)
    }

    fn serial(&mut self) -> Option<&mut fastcgi::Serial> {
        match self.used {
            Used::Serial => self.serial.as_deref_mut(),
            Used::Packet(_) => None,
        }
    }

    #[inline(never)]
    fn is_aborted(&self) -> bool {
        used!(self.as_deref, packet _it => false, serial it => it.is_aborted())
    }

    fn has_request(&self) -> bool {
        used!(self.as_deref, packet _it => true, serial it => it.is_busy())
    }
}

/// The encoder of the answer.  HTTP's is inline in the callers, the others are behind a call.
impl Encoder for Speech {
    fn interim(&self, out: &mut Vec<u8>, head: &ResponseHead<'_>) {
        match self {
            Speech::Http => http1::Encoder.interim(out, head),
            Speech::Hosted => hosted::Encoder.interim(out, head),
            // There is no way to say it.
            Speech::Uwsgi | Speech::Scgi | Speech::FastCgi(_) => {}
        }
    }

    #[inline(always)]
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
            Speech::Hosted => hosted::Encoder.head(out, asked, head, known, date),
        }
    }

    #[inline(always)]
    fn before(&self, out: &mut Vec<u8>, mode: BodyMode, len: u64) {
        match *self {
            Speech::Http => http1::Encoder.before(out, mode, len),
            Speech::Uwsgi | Speech::Scgi | Speech::Hosted => {}
            Speech::FastCgi(id) => fastcgi::Encoder { id }.before(out, mode, len),
        }
    }

    #[inline(always)]
    fn after(&self, out: &mut Vec<u8>, mode: BodyMode) {
        if *self == Speech::Http {
            http1::Encoder.after(out, mode);
        }
    }

    #[inline(always)]
    fn end(&self, out: &mut Vec<u8>, mode: BodyMode) {
        match *self {
            Speech::Http => http1::Encoder.end(out, mode),
            Speech::Uwsgi | Speech::Scgi | Speech::Hosted => {}
            Speech::FastCgi(id) => fastcgi::Encoder { id }.end(out, mode),
        }
    }

    fn end_busy(&self, out: &mut Vec<u8>, mode: BodyMode) {
        match *self {
            Speech::FastCgi(id) => fastcgi::Encoder { id }.end_busy(out, mode),
            Speech::Http | Speech::Uwsgi | Speech::Scgi | Speech::Hosted => self.end(out, mode),
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

    #[inline(always)]
    fn piece(&self) -> u64 {
        match *self {
            Speech::FastCgi(id) => fastcgi::Encoder { id }.piece(),
            Speech::Http | Speech::Uwsgi | Speech::Scgi | Speech::Hosted => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_connection_was_to_be_told_is_not_for_the_next() {
        let mut decoders =
            Decoders::new(Limits { line: 0, fields: 0, field_size: 0, head: 0, body: 0 });
        decoders.speak(Speech::FastCgi(0));
        // GET_VALUES without a name.
        decoders.decode(&[1, 9, 0, 0, 0, 0, 0, 0]);
        assert!(decoders.has_replies());
        decoders.reset();
        let mut out = Vec::new();
        assert!(!decoders.has_replies());
        assert_eq!((decoders.take_replies(&mut out), out), (0, Vec::new()));
        decoders.speak(Speech::FastCgi(0));
        assert!(!decoders.has_replies());
    }
}
