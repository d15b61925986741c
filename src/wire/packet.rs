//! Requests of which each has a connection: a head in one piece, then a body as long as that says.
//! uwsgi and SCGI are that, and differ in the form of the head.

use super::http1::body::Fixed;
use super::params::Repeats;
use super::{Event, Limits, Params, Reject, Step, scgi, uwsgi};

/// The form of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The uwsgi protocol's.
    Uwsgi,
    /// SCGI's.
    Scgi,
}

/// Octets of a connection to its request.
#[derive(Debug)]
pub struct Decoder {
    form: Form,
    limits: Limits,
    state: State,
    params: Params,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Fixed),
    /// The request is over: this protocol has no other on the connection.
    Over,
    Rejected(Reject),
}

impl Decoder {
    /// At the start of a connection.
    pub fn new(form: Form, limits: Limits) -> Self {
        Decoder { form, limits, state: State::Head, params: Params::default() }
    }

    /// Start again for another connection, with the memory of this one.
    pub fn reset(&mut self) {
        self.state = State::Head;
    }

    /// What the last `Head` announced; after a `Reject` in its place, what is known.
    pub fn params(&self) -> &Params {
        &self.params
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
            // What comes behind a request is nobody's.
            State::Over => Step { consumed: unread.len(), event: Event::More },
            State::Rejected(reject) => Step { consumed: 0, event: Event::Reject(*reject) },
        }
    }

    fn decode_head(&mut self, unread: &[u8]) -> Step {
        let (limit, params) = (self.limits.head, &mut self.params);
        let (found, repeats) = match self.form {
            Form::Scgi => (scgi::head(unread, limit, params), Repeats::Refused),
            Form::Uwsgi => match uwsgi::packet(unread, limit, params) {
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
            Some(len) => params.settle(unread, &self.limits, repeats).map(|()| Some(len)),
            None => Ok(None),
        });
        match settled {
            Ok(None) => Step { consumed: 0, event: Event::More },
            Ok(Some(consumed)) => {
                self.state = State::Body(Fixed::new(self.params.content_length.unwrap_or(0)));
                Step { consumed, event: Event::Head }
            }
            Err(reject) => {
                self.state = State::Rejected(reject);
                Step { consumed: 0, event: Event::Reject(reject) }
            }
        }
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
