//! HTTP/1.0 and 1.1 (RFC 9112), as an origin server reads and writes it.
//!
//! [`Decoder`] is a small state machine over `head` and `body`; [`Encoder`] frames responses.
//! There is no leniency: what RFC 9112 lets a server guess about is refused, since two servers that
//! guess differently are how requests are smuggled.

pub(super) mod body;
mod encode;
mod fields;
mod grammar;
mod head;
mod request_line;
mod status;

pub use encode::{Encoder, error_response};
pub(crate) use encode::{framing, put_status};
pub(crate) use grammar::{decimal, is_field_value, is_token, is_variable_name};
pub use status::reason_phrase;

use super::{Decoder as Decode, Event, Framing, Head, Limits, Reject, Step};
use body::{Chunked, Fixed};

/// The head limit where none is set: spans are 32 bits wide.
const HEAD_MAX: usize = 1 << 30;

/// Octets of a connection to HTTP/1 requests.  One per connection; nothing is freed or allocated
/// between requests.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    state: State,
    head: Head,
}

/// Where in the octets of a connection it is.
#[derive(Debug)]
enum State {
    /// Before or in a head.
    Head(head::Reader),
    /// In a body with a length, or (0 to come) where its end is still to be told.
    Fixed(Fixed),
    /// In a chunked body.
    Chunked(Chunked),
    /// Nothing can be read any more.
    Rejected(Reject),
}

impl State {
    const START: State = State::Head(head::Reader::START);
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Decoder { limits: effective(limits), state: State::START, head: Head::default() }
    }

    /// Other limits, from the next octet on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = effective(limits);
    }

    /// Whether what is awaited belongs to a head.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Start again for another connection, with the memory of this one.
    pub fn reset(&mut self) {
        self.state = State::START;
    }

    /// The end of a body that has all its octets; false if this is not where we are.  What `decode`
    /// would find next.
    #[inline]
    pub fn end(&mut self) -> bool {
        let at_end = matches!(&self.state, State::Fixed(fixed) if fixed.remaining() == 0);
        if at_end {
            self.state = State::START;
        }
        at_end
    }

    fn decode_head(&mut self, unread: &[u8]) -> Step {
        let State::Head(reader) = &mut self.state else { unreachable!("called in a head") };
        match reader.read(unread, &self.limits, &mut self.head) {
            Ok(None) => Step { consumed: 0, event: Event::More },
            Ok(Some(consumed)) => {
                self.state = match self.head.framing {
                    Framing::None => State::Fixed(Fixed::new(0)),
                    Framing::Length(len) => State::Fixed(Fixed::new(len)),
                    Framing::Chunked => State::Chunked(Chunked::new()),
                };
                Step { consumed, event: Event::Head }
            }
            Err(reject) => {
                reader.forget(unread, &mut self.head);
                self.refuse(reject)
            }
        }
    }

    fn decode_chunked(&mut self, unread: &[u8]) -> Step {
        let State::Chunked(chunked) = &mut self.state else { unreachable!("called in a chunk") };
        let step = chunked.read(unread, self.limits.body);
        match step.event {
            Event::End => self.state = State::START,
            Event::Reject(reject) => return self.refuse(reject),
            _ => {}
        }
        step
    }

    /// Refuse this request and all that would follow.
    #[cold]
    fn refuse(&mut self, reject: Reject) -> Step {
        self.head.keep_alive = false;
        self.state = State::Rejected(reject);
        Step { consumed: 0, event: Event::Reject(reject) }
    }
}

impl Decode for Decoder {
    #[inline]
    fn decode(&mut self, unread: &[u8]) -> Step {
        match &mut self.state {
            State::Head(_) if unread.is_empty() => Step { consumed: 0, event: Event::More },
            State::Head(_) => self.decode_head(unread),
            State::Fixed(fixed) => {
                let step = fixed.read(unread);
                if step.event == Event::End {
                    self.state = State::START;
                }
                step
            }
            State::Chunked(_) => self.decode_chunked(unread),
            State::Rejected(reject) => Step { consumed: 0, event: Event::Reject(*reject) },
        }
    }

    #[inline]
    fn head(&self) -> &Head {
        &self.head
    }

    fn is_idle(&self) -> bool {
        matches!(&self.state, State::Head(reader) if reader.is_idle())
    }

    fn remaining(&self) -> Option<u64> {
        match &self.state {
            State::Fixed(fixed) => Some(fixed.remaining()),
            _ => None,
        }
    }

    fn skip(&mut self, n: u64) {
        match &mut self.state {
            State::Fixed(fixed) => fixed.skip(n),
            _ => debug_assert!(n == 0, "only a body with a known length can be skipped"),
        }
    }
}

/// The limits with "none" spelt as a number that nothing reaches.
fn effective(limits: Limits) -> Limits {
    let or_max = |n: usize| if n == 0 { usize::MAX } else { n };
    Limits {
        line: or_max(limits.line),
        fields: or_max(limits.fields),
        field_size: or_max(limits.field_size),
        head: or_max(limits.head).min(HEAD_MAX),
        body: if limits.body == 0 { u64::MAX } else { limits.body },
    }
}

/// A 400 that names what was wrong.
const fn bad(reason: &'static str) -> Reject {
    Reject { status: 400, reason, limit: None }
}
