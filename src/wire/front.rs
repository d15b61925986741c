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
    /// Variables.
    Params(&'a Params),
}

/// The decoders of a connection, of which one is in use.  Kept from one connection to the next, with
/// their memory.
#[derive(Debug)]
pub struct Decoders {
    speech: Speech,
    http: http1::Decoder,
    packet: Option<Box<packet::Decoder>>,
    limits: Limits,
    /// The web server wants to use the connection again (FastCGI).
    keeps: bool,
}

impl Decoders {
    /// For HTTP, until [`Self::speak`] says otherwise.
    pub fn new(limits: Limits) -> Self {
        let http = http1::Decoder::new(limits);
        Decoders { speech: Speech::Http, http, packet: None, limits, keeps: false }
    }

    /// What is spoken.
    pub fn speech(&self) -> Speech {
        self.speech
    }

    /// From now on this is spoken; at the start of a connection.  `keeps`: the connection stays open
    /// after a request, where the protocol leaves that to the web server.
    pub fn speak(&mut self, speech: Speech, keeps: bool) {
        self.speech = speech;
        self.keeps = keeps;
        let form = match speech {
            Speech::Http => return,
            Speech::Uwsgi => Form::Uwsgi,
            Speech::Scgi => Form::Scgi,
            Speech::FastCgi(_) => Form::Params,
        };
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
    }

    #[inline]
    fn of_packet(&self) -> Option<&packet::Decoder> {
        if self.speech == Speech::Http { None } else { self.packet.as_deref() }
    }

    /// The decoder of everything that is not HTTP.
    #[inline]
    pub fn packet(&mut self) -> Option<&mut packet::Decoder> {
        if self.speech == Speech::Http { None } else { self.packet.as_deref_mut() }
    }

    /// Look at the unread octets.
    #[inline]
    pub fn decode(&mut self, unread: &[u8]) -> Step {
        match self.packet() {
            None => self.http.decode(unread),
            Some(packet) => packet.decode(unread),
        }
    }

    /// The end of a body that has all its octets; false if this is not where we are.
    #[inline]
    pub fn end(&mut self) -> bool {
        match self.packet() {
            None => self.http.end(),
            Some(packet) => packet.remaining() == Some(0) && packet.decode(b"").event == Event::End,
        }
    }

    /// The head that the last `Head` event announced; after a `Reject` in its place, what is known.
    #[inline]
    pub fn head(&self) -> AnyHead<'_> {
        match self.of_packet() {
            None => AnyHead::Http(self.http.head()),
            Some(packet) => AnyHead::Params(packet.params()),
        }
    }

    /// How the body of the request is delimited.
    #[inline]
    pub fn framing(&self) -> Framing {
        match self.of_packet() {
            None => self.http.head().framing,
            Some(packet) => packet.framing(),
        }
    }

    /// What an encoder must know of the request.
    #[inline]
    pub fn asked(&self) -> Asked {
        match self.of_packet() {
            None => self.http.head().asked(),
            Some(packet) => Asked {
                // What HTTP/1.1 has more (chunks, interim answers) has no place in a CGI response.
                version: Version::Http10,
                is_head: packet.params().is_head,
                is_connect: false,
                keep_alive: self.keeps,
            },
        }
    }

    /// Whether nothing of a request has been seen yet.
    pub fn is_idle(&self) -> bool {
        match self.of_packet() {
            None => self.http.is_idle(),
            Some(packet) => packet.is_in_head(),
        }
    }

    /// Whether what is awaited belongs to a head.
    #[inline]
    pub fn is_in_head(&self) -> bool {
        match self.of_packet() {
            None => self.http.is_in_head(),
            Some(packet) => packet.is_in_head(),
        }
    }

    /// Octets of the body that are still to come, when that is known.
    #[inline]
    pub fn remaining(&self) -> Option<u64> {
        match self.of_packet() {
            None => self.http.remaining(),
            Some(packet) => packet.remaining(),
        }
    }

    /// `n` octets of a body with a known length went past the decoder.
    pub fn skip(&mut self, n: u64) {
        match self.packet() {
            None => self.http.skip(n),
            Some(packet) => packet.skip(n),
        }
    }

    /// Start again for another connection, with HTTP.
    pub fn reset(&mut self) {
        self.http.reset();
        self.speech = Speech::Http;
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

    #[inline]
    fn piece(&self) -> u64 {
        match *self {
            Speech::FastCgi(id) => fastcgi::Encoder { id }.piece(),
            Speech::Http | Speech::Uwsgi | Speech::Scgi => u64::MAX,
        }
    }
}
