//! Requests as web servers in front send them: all variables first, then a body.  uwsgi and SCGI are
//! that, on a connection of its own for each request; so are the streams of one FastCGI request, once
//! they are told apart from others.

use super::http1::body::Fixed;
use super::params::{Repeats, over};
use super::{Event, Framing, Limit, Limits, Params, Reject, Span, Step, fastcgi, scgi, uwsgi};

/// The form of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The uwsgi protocol's.
    Uwsgi,
    /// SCGI's.
    Scgi,
    /// The PARAMS stream of FastCGI.
    Params,
}

/// Octets of a connection to its request.
#[derive(Debug)]
pub struct Decoder {
    form: Form,
    limits: Limits,
    state: State,
    params: Params,
    /// How many octets the variables have, where the octets themselves do not say.
    head_len: Option<usize>,
    /// No other octets of the body will come.
    closed: bool,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Fixed),
    /// A body until it is closed; so many octets were there.
    Stream(u64),
    /// The request is over: this protocol has no other on the connection.
    Over,
    Rejected(Reject),
}

impl Decoder {
    /// At the start of a connection.
    pub fn new(form: Form, limits: Limits) -> Self {
        let (state, params) = (State::Head, Params::default());
        Decoder { form, limits, state, params, head_len: None, closed: false }
    }

    /// Start again for another connection, with the memory of this one.
    pub fn reset(&mut self) {
        self.restart(self.form);
    }

    /// The same, with another form.
    pub fn restart(&mut self, form: Form) {
        self.form = form;
        self.params.clear();
        self.state = State::Head;
        self.head_len = None;
        self.closed = false;
    }

    /// The variables are in the first `len` unread octets ([`Form::Params`]).
    pub fn close_head(&mut self, len: usize) {
        self.head_len = Some(len);
    }

    /// No other octets of the body will come than are there ([`Form::Params`]).  Says whether those
    /// can be all: `unread` octets are not decoded yet.
    pub fn close_body(&mut self, unread: usize) -> bool {
        self.closed = true;
        self.remaining().is_none_or(|left| left <= unread as u64)
    }

    /// What the last `Head` announced; after a `Reject` in its place, what is known.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Other limits, from the next octet on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// How the body is delimited.  Without a length: by whoever closes it ([`Form::Params`]).
    pub fn framing(&self) -> Framing {
        match (self.form, self.params.content_length) {
            (_, Some(length)) => Framing::Length(length),
            (Form::Params, None) => Framing::Chunked,
            (Form::Uwsgi | Form::Scgi, None) => Framing::None,
        }
    }

    /// Whether what is awaited belongs to a head.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Octets of the body that are still to come.
    pub fn remaining(&self) -> Option<u64> {
        match &self.state {
            State::Body(body) => Some(body.remaining()),
            _ => None,
        }
    }

    /// `n` octets of the body went past the decoder.
    pub fn skip(&mut self, n: u64) {
        if let State::Body(body) = &mut self.state {
            body.skip(n);
        }
    }

    /// Look at the unread octets.  [`Event::Pong`] has no body and no end.
    pub fn decode(&mut self, unread: &[u8]) -> Step {
        match &mut self.state {
            State::Head => self.decode_head(unread),
            State::Body(body) => {
                let step = body.read(unread);
                if step.event == Event::End {
                    self.state = State::Over;
                }
                step
            }
            State::Stream(received) => {
                let there = unread.len() as u64;
                *received += there;
                if self.limits.body > 0 && *received > self.limits.body {
                    return self.refuse(over(413, "the body is too large", Limit::Body));
                }
                let event = match there {
                    0 if self.closed => {
                        self.state = State::Over;
                        Event::End
                    }
                    0 => Event::More,
                    len => Event::Data(Span { start: 0, len: len as u32 }),
                };
                Step { consumed: unread.len(), event }
            }
            // What comes behind a request is nobody's.
            State::Over => Step { consumed: unread.len(), event: Event::More },
            State::Rejected(reject) => Step { consumed: 0, event: Event::Reject(*reject) },
        }
    }

    fn decode_head(&mut self, unread: &[u8]) -> Step {
        let limit = self.limits.head;
        let (found, repeats) = match self.form {
            Form::Params => (self.variables(unread), Repeats::LastWins),
            Form::Scgi => (scgi::head(unread, limit, &mut self.params), Repeats::Refused),
            Form::Uwsgi => match uwsgi::packet(unread, limit, &mut self.params) {
                Ok(Some(uwsgi::Packet::Ping)) => {
                    self.state = State::Over;
                    return Step { consumed: 4, event: Event::Pong };
                }
                Ok(Some(uwsgi::Packet::Request(len))) => (Ok(Some(len)), Repeats::LastWins),
                Ok(None) => (Ok(None), Repeats::LastWins),
                Err(reject) => (Err(reject), Repeats::LastWins),
            },
        };
        let settled = found.and_then(|len| match len {
            Some(len) => self.params.settle(unread, &self.limits, repeats).map(|()| Some(len)),
            None => Ok(None),
        });
        match settled {
            Ok(None) => Step { consumed: 0, event: Event::More },
            Ok(Some(consumed)) => {
                self.state = match self.framing() {
                    Framing::Chunked => State::Stream(0),
                    Framing::Length(length) => State::Body(Fixed::new(length)),
                    Framing::None => State::Body(Fixed::new(0)),
                };
                Step { consumed, event: Event::Head }
            }
            Err(reject) => self.refuse(reject),
        }
    }

    fn variables(&mut self, unread: &[u8]) -> Result<Option<usize>, Reject> {
        let there = self.head_len.unwrap_or(unread.len());
        if self.limits.head > 0 && there > self.limits.head {
            return Err(over(431, "the FastCGI params are too long", Limit::Head));
        }
        let Some(octets) = self.head_len.and_then(|len| unread.get(..len)) else {
            return Ok(None);
        };
        self.params.clear();
        fastcgi::variables(octets, &mut self.params)?;
        Ok(self.head_len)
    }

    #[cold]
    fn refuse(&mut self, reject: Reject) -> Step {
        self.state = State::Rejected(reject);
        Step { consumed: 0, event: Event::Reject(reject) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { line: 99, fields: 9, field_size: 99, head: 999, body: 20 };

    /// All events, when the octets come in pieces of `size`.
    fn events(form: Form, octets: &[u8], size: usize) -> (Vec<Event>, Vec<u8>) {
        let mut decoder = Decoder::new(form, LIMITS);
        let (mut start, mut end, mut events, mut body) = (0, 0, Vec::new(), Vec::new());
        loop {
            let step = decoder.decode(&octets[start..end]);
            if let Event::Data(span) = step.event {
                body.extend_from_slice(span.of(&octets[start..end]));
            }
            start += step.consumed;
            match step.event {
                Event::More if end == octets.len() => return (events, body),
                Event::More => end = octets.len().min(end + size),
                Event::Data(_) => {}
                Event::Reject(_) => {
                    events.push(step.event);
                    return (events, body);
                }
                event => events.push(event),
            }
        }
    }

    #[test]
    fn a_request_is_the_same_however_it_is_cut() {
        let head = "CONTENT_LENGTH\x005\0SCGI\x001\0REQUEST_METHOD\0PUT\0HTTP_A\0\0";
        let scgi = format!("{}:{head},12345and more", head.len()).into_bytes();
        let mut uwsgi = vec![0, 0, 0, 0];
        for text in ["REQUEST_METHOD", "PUT", "CONTENT_LENGTH", "5"] {
            uwsgi.extend((text.len() as u16).to_le_bytes());
            uwsgi.extend(text.as_bytes());
        }
        uwsgi[1] = (uwsgi.len() - 4) as u8;
        uwsgi.extend(b"12345and more");
        for (form, octets) in [(Form::Scgi, &scgi), (Form::Uwsgi, &uwsgi)] {
            for size in 1..=octets.len() {
                let (events, body) = events(form, octets, size);
                assert_eq!(events, [Event::Head, Event::End], "{form:?} {size}");
                assert_eq!(body, b"12345");
            }
        }
    }

    #[test]
    fn a_ping_is_all_of_its_connection() {
        let (events, body) = events(Form::Uwsgi, &[100, 0, 0, 0, 0, 0, 0, 0], 3);
        assert_eq!((events, body), (vec![Event::Pong], vec![]));
    }

    #[test]
    fn streams_are_closed_by_somebody_else() {
        let vars = |vars: &[&str]| {
            vars.iter().fold(Vec::new(), |mut octets, pair| {
                let (name, value) = pair.split_once('=').unwrap();
                octets.extend([name.len() as u8, value.len() as u8]);
                octets.extend([name, value].concat().into_bytes());
                octets
            })
        };
        let head = vars(&["REQUEST_METHOD=PUT"]);
        let mut decoder = Decoder::new(Form::Params, LIMITS);
        assert_eq!(decoder.decode(&head).event, Event::More);
        decoder.close_head(head.len());
        let step = Step { consumed: head.len(), event: Event::Head };
        assert_eq!(decoder.decode(&head), step);
        assert_eq!(decoder.remaining(), None);
        let data = Event::Data(Span { start: 0, len: 3 });
        assert_eq!(decoder.decode(b"abc"), Step { consumed: 3, event: data });
        assert_eq!(decoder.decode(b"").event, Event::More);
        assert!(decoder.close_body(0));
        assert_eq!(decoder.decode(b"").event, Event::End);
        assert_eq!(decoder.decode(b"more"), Step { consumed: 4, event: Event::More });

        decoder.reset();
        let head = vars(&["REQUEST_METHOD=PUT", "CONTENT_LENGTH=5"]);
        decoder.close_head(head.len());
        assert_eq!(decoder.decode(&head).event, Event::Head);
        assert!(decoder.close_body(5) && !decoder.close_body(4), "it was cut short");

        decoder.reset();
        decoder.close_head(0);
        assert!(matches!(decoder.decode(b"").event, Event::Reject(Reject { status: 400, .. })));
        decoder.reset();
        assert!(matches!(
            decoder.decode(&[b'x'; 1000]).event,
            Event::Reject(Reject { status: 431, .. })
        ));
        decoder.reset();
        let head = vars(&["REQUEST_METHOD=PUT"]);
        decoder.close_head(head.len());
        decoder.decode(&head);
        assert!(matches!(
            decoder.decode(&[b'x'; 21]).event,
            Event::Reject(Reject { status: 413, .. })
        ));
    }

    #[test]
    fn what_is_refused_stays_refused() {
        let head = "CONTENT_LENGTH\x0021\0SCGI\x001\0REQUEST_METHOD\0PUT\0";
        let octets = format!("{}:{head},", head.len()).into_bytes();
        let mut decoder = Decoder::new(Form::Scgi, LIMITS);
        for _ in 0..2 {
            let Event::Reject(reject) = decoder.decode(&octets).event else { panic!() };
            assert_eq!(reject.status, 413, "{}", reject.reason);
        }
        decoder.reset();
        assert!(decoder.is_in_head());
    }
}
