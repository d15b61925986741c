//! Protocols: octets to heads and bodies, and back.  No socket, no clock, no allocation that a
//! connection cannot reuse.
//!
//! A [`Decoder`] looks at the unread octets of a connection and says what comes next; an
//! [`Encoder`] appends octets to a buffer.  A listener's protocol is a choice of two constructors.
//! Beside them is what reads the value of a single field: `conditions`, `forwarded`, `ranges`, `trace`.

pub mod cgi;
pub mod conditions;
pub mod fastcgi;
pub mod forwarded;
pub mod front;
pub mod hosted;
pub mod http1;
pub mod opening;
pub mod packet;
pub mod params;
pub mod percent;
pub mod proxy;
pub mod ranges;
pub mod scgi;
pub mod script;
pub mod trace;
pub mod uwsgi;
pub mod variables;

pub use params::Params;

use std::ops::Range;

/// A piece of the buffer that a decoder was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first octet.
    pub start: u32,
    /// Number of octets.
    pub len: u32,
}

impl Span {
    /// As a range to index the buffer with.
    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    /// The octets, out of the buffer that the decoder saw.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.range()]
    }
}

/// How large the parts of a request may be.  Each breach is a [`Reject`] that names its [`Limit`].
/// Everywhere 0 means that there is no such limit; `line`, `fields` and `field_size` are then still
/// bounded by `head`, and `head` by 1 GiB.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of the request line, without its CRLF (`limit_request_line`): 414.
    pub line: usize,
    /// Number of header fields (`limit_request_fields`): 431.
    pub fields: usize,
    /// Octets of one header line, without its CRLF (`limit_request_field_size`): 431.
    pub field_size: usize,
    /// Octets of the whole head, its blank line included (`limit_request_head`): 431, or 414 when
    /// the request line alone fills it.
    pub head: usize,
    /// Octets of the body (`max_body`): 413, before reading when the length is declared, else at
    /// the octet.
    pub body: u64,
}

/// Which limit was breached; the index of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Limit {
    /// `limit_request_line`.
    Line,
    /// `limit_request_fields`.
    Fields,
    /// `limit_request_field_size`.
    FieldSize,
    /// `limit_request_head`.
    Head,
    /// `max_body`.
    Body,
    /// A chunk-size line or a trailer section that is too long.
    ChunkOverhead,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The status that the client gets.
    pub status: u16,
    /// What was wrong, in a few words of our own (never the client's octets).
    pub reason: &'static str,
    /// The limit that was breached, if it was one.
    pub limit: Option<Limit>,
}

/// HTTP versions that reach an application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1 (and 1.2 to 1.9, which are read as 1.1: RFC 9110 section 2.5).
    #[default]
    Http11,
}

/// The forms of a request target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    #[default]
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, for CONNECT.
    Authority,
    /// `*`, for OPTIONS.
    Asterisk,
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// `Content-Length` octets.
    Length(u64),
    /// Chunks (RFC 9112 section 7.1).
    Chunked,
}

/// A header field, as received.
#[derive(Clone, Copy, Debug, Default)]
pub struct Field {
    /// The name, in the client's spelling.
    pub name: Span,
    /// The value, without the white space around it.
    pub value: Span,
}

/// The head of a request: spans of the buffer in which it was found.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The method, a token.
    pub method: Span,
    /// The target as it came.
    pub target: Span,
    /// Which form the target has.
    pub form: TargetForm,
    /// The path of the target, still percent-encoded; empty for `host:port` and for an absolute
    /// target without one ("/" is meant), `*` for an asterisk.
    pub path: Span,
    /// Whether the path has nothing percent-encoded.
    pub path_is_plain: bool,
    /// The query, without its question mark; empty when there is none.
    pub query: Span,
    /// The authority of an absolute or authority target: it wins over Host (RFC 9112 3.2.2).
    pub authority: Option<Span>,
    /// The version.
    pub version: Version,
    /// The header fields, in order.
    pub fields: Vec<Field>,
    /// The value of Host, if there is one.
    pub host: Option<Span>,
    /// The value of Content-Type, if there is one.
    pub content_type: Option<Span>,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the client allows another request on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// Whether there is a field of those in [`forwarded`].
    pub has_forwarded: bool,
    /// Whether the method is CONNECT (the connection is never reused) or HEAD (no body goes out).
    pub is_connect: bool,
    /// See `is_connect`.
    pub is_head: bool,
}

impl Head {
    /// What the encoder must know of this request.
    #[inline]
    pub fn asked(&self) -> Asked {
        Asked {
            version: self.version,
            is_head: self.is_head,
            is_connect: self.is_connect,
            keep_alive: self.keep_alive,
        }
    }
}

/// What a decoder found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// More octets are needed.
    More,
    /// A whole head: it is in [`Decoder::head`], as spans of the buffer just given.
    Head,
    /// Octets of the body: this piece of the buffer just given.
    Data(Span),
    /// The request is complete; the next octet belongs to another one.
    End,
    /// Somebody asks whether anybody is there (uwsgi): the answer is all that follows.
    Pong,
    /// The request is refused and nothing more can be read from this connection.
    Reject(Reject),
}

/// One step of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many octets at the front of the buffer are done with, once the event is dealt with.  Not
    /// only a `Data` has some: `More` has, too, when chunk framing was read.
    pub consumed: usize,
    /// What they were.
    pub event: Event,
}

/// Octets of a connection to requests.  The caller keeps the octets, hands in all that are unread
/// from the front, drops `consumed` of them, and asks again until it is told `More`.
///
/// After `Head` come any number of `Data`, then `End` (at once when there is no body).  The verdict
/// does not depend on how the octets were cut.
pub trait Decoder {
    /// Look at the unread octets.
    fn decode(&mut self, unread: &[u8]) -> Step;

    /// The head that the last `Head` event announced; valid until the next request's first octet
    /// is decoded.
    ///
    /// After a `Reject` in place of a `Head`, what is known of the refused request: the request
    /// line if it was well formed (else those spans are empty), no fields, `is_head` as the octets
    /// say.  After any `Reject`, `keep_alive` is false.
    fn head(&self) -> &Head;

    /// Whether nothing of a request has been seen yet: the connection is idle.
    fn is_idle(&self) -> bool;

    /// Octets of the body that are still to come, when that is known.
    fn remaining(&self) -> Option<u64>;

    /// `n` octets of a body with a known length went past the decoder, straight to where they
    /// belong.
    fn skip(&mut self, n: u64);
}

/// The head of a response, ready to be put on the wire.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// 100 to 999.
    pub status: u16,
    /// Empty: the standard phrase.
    pub reason: &'a [u8],
    /// Lines of `Name: value` CRLF, already checked; no framing and no hop-by-hop field.
    pub fields: &'a [u8],
    /// The application's own Content-Length (not among `fields`).
    pub content_length: Option<u64>,
    /// Whether `fields` has a Date.
    pub has_date: bool,
}

/// What the encoder must know of the request to frame its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The request's version.
    pub version: Version,
    /// HEAD: no body goes out.
    pub is_head: bool,
    /// CONNECT: a 2xx answer has no framing.
    pub is_connect: bool,
    /// Whether the connection may be used again, for all that client and server know before the
    /// answer is framed.
    pub keep_alive: bool,
}

/// How the body of a response goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyMode {
    /// There is none on the wire: HEAD, 204, 205, 304.
    Absent,
    /// Exactly this many octets.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the connection closes.
    Close,
}

/// How a response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed {
    /// How its body goes out.
    pub body: BodyMode,
    /// Whether another request may follow on this connection.
    pub keep_alive: bool,
}

/// Responses to octets, appended to `out`.
pub trait Encoder {
    /// A 1xx response.  The caller knows that the client understands one.
    fn interim(&self, out: &mut Vec<u8>, head: &ResponseHead<'_>);

    /// The head.  `known` is the length of the body when it is all there (an application's own
    /// Content-Length wins); `date` is an IMF-fixdate.
    fn head(
        &self,
        out: &mut Vec<u8>,
        asked: &Asked,
        head: &ResponseHead<'_>,
        known: Option<u64>,
        date: &[u8; 29],
    ) -> Framed;

    /// What stands before `len` octets of body.  `len` is not 0: an empty chunk would end the body.
    #[inline]
    fn before(&self, _out: &mut Vec<u8>, _mode: BodyMode, _len: u64) {}

    /// What stands after them.
    #[inline]
    fn after(&self, _out: &mut Vec<u8>, _mode: BodyMode) {}

    /// What ends a body that is complete.
    #[inline]
    fn end(&self, _out: &mut Vec<u8>, _mode: BodyMode) {}

    /// The same for an answer that says only that there are too many requests.
    fn end_busy(&self, out: &mut Vec<u8>, mode: BodyMode) {
        self.end(out, mode);
    }

    /// What went wrong with the request, for the log of a web server that wants to know; before the end.
    fn complain(&self, _out: &mut Vec<u8>, _text: &[u8]) {}

    /// Whether there is a word for the end of a body that is not whole; otherwise only the end of the
    /// connection says it.
    fn ends_bodies(&self) -> bool {
        false
    }

    /// That word.
    fn cut(&self, _out: &mut Vec<u8>) {}

    /// The most octets of body that [`Encoder::before`] can announce at once.
    #[inline]
    fn piece(&self) -> u64 {
        u64::MAX
    }
}
