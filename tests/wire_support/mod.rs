//! Drives the HTTP/1 decoder over octets that arrive in pieces, and says what came out.

#![allow(dead_code, reason = "each test program uses its part")]

use gateway::wire::http1::Decoder;
use gateway::wire::{
    Decoder as _, Event, Framing, Head, Limits, Reject, Span, TargetForm, Version,
};

/// gunicorn's limits, and no limit of the body.
pub(crate) const LIMITS: Limits =
    Limits { line: 4094, fields: 100, field_size: 8190, head: 65536, body: 0 };

/// A request that came out of the decoder, with its octets copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) form: TargetForm,
    pub(crate) path: Vec<u8>,
    pub(crate) query: Vec<u8>,
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) version: Version,
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) host: Option<Vec<u8>>,
    pub(crate) content_type: Option<Vec<u8>>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    pub(crate) is_connect: bool,
    pub(crate) is_head: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) complete: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Between two requests.
    Idle,
    /// In the middle of one.
    Waiting,
    /// Refused.
    Refused(Reject),
}

/// All that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) requests: Vec<Request>,
    pub(crate) ending: Ending,
}

impl Outcome {
    /// The status of the refusal, if there is one.
    pub(crate) fn status(&self) -> Option<u16> {
        match self.ending {
            Ending::Refused(reject) => Some(reject.status),
            _ => None,
        }
    }
}

/// How the octets are cut: the length of the next piece.
pub(crate) type Cut<'a> = &'a mut dyn FnMut() -> usize;

/// Feed `octets` in pieces, and collect what comes out.  What the contract promises is asserted on
/// the way.
pub(crate) fn drive(limits: Limits, octets: &[u8], cut: Cut<'_>) -> Outcome {
    drive_with(&mut Decoder::new(limits), octets, cut)
}

/// The same with a decoder that may have been used before.
pub(crate) fn drive_with(decoder: &mut Decoder, octets: &[u8], cut: Cut<'_>) -> Outcome {
    let mut requests: Vec<Request> = Vec::new();
    let mut unread: Vec<u8> = Vec::new();
    let mut rest = octets;
    loop {
        let (consumed, event) = {
            let step = decoder.decode(&unread);
            (step.consumed, step.event)
        };
        assert!(consumed <= unread.len(), "no more consumed than there is");
        match event {
            Event::More => {
                unread.drain(..consumed);
                if rest.is_empty() {
                    break;
                }
                let len = cut().clamp(1, rest.len());
                unread.extend_from_slice(&rest[..len]);
                rest = &rest[len..];
                continue;
            }
            Event::Pong => panic!("HTTP has no ping"),
            Event::Head => {
                assert!(consumed > 0);
                let request = copy(decoder.head(), &unread);
                assert_eq!(
                    decoder.remaining(),
                    match request.framing {
                        Framing::None => Some(0),
                        Framing::Length(len) => Some(len),
                        Framing::Chunked => None,
                    }
                );
                requests.push(request);
            }
            Event::Data(span) => {
                assert!(span.len > 0, "no empty pieces");
                assert_eq!(span.range().end, consumed, "data is the last that is consumed");
                let request = requests.last_mut().expect("data follows a head");
                assert!(!request.complete);
                request.body.extend_from_slice(span.of(&unread));
            }
            Event::End => {
                let request = requests.last_mut().expect("an end follows a head");
                assert!(!request.complete, "one end for one head");
                request.complete = true;
                assert!(decoder.is_idle());
            }
            Event::Reject(reject) => {
                assert!(!decoder.head().keep_alive);
                let again = decoder.decode(&unread);
                assert_eq!(again.event, Event::Reject(reject), "nothing follows a refusal");
                return Outcome { requests, ending: Ending::Refused(reject) };
            }
        }
        unread.drain(..consumed);
    }
    let ending = if decoder.is_idle() { Ending::Idle } else { Ending::Waiting };
    Outcome { requests, ending }
}

fn copy(head: &Head, buf: &[u8]) -> Request {
    let octets = |span: Span| span.of(buf).to_vec();
    Request {
        method: octets(head.method),
        target: octets(head.target),
        form: head.form,
        path: octets(head.path),
        query: octets(head.query),
        authority: head.authority.map(octets),
        version: head.version,
        fields: head.fields.iter().map(|field| (octets(field.name), octets(field.value))).collect(),
        host: head.host.map(octets),
        content_type: head.content_type.map(octets),
        framing: head.framing,
        keep_alive: head.keep_alive,
        expect_continue: head.expect_continue,
        is_connect: head.is_connect,
        is_head: head.is_head,
        body: Vec::new(),
        complete: false,
    }
}

/// One line about each request and the ending, for tables: `GET /path?query 1.1 keep`, then what is
/// out of the ordinary.
pub(crate) fn summary(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = outcome.requests.iter().map(describe).collect();
    lines.push(match outcome.ending {
        Ending::Idle => return lines.join(" | "),
        Ending::Waiting => "waiting".into(),
        Ending::Refused(reject) => match reject.limit {
            Some(limit) => format!("{} {limit:?}", reject.status),
            None => reject.status.to_string(),
        },
    });
    lines.join(" | ")
}

fn describe(request: &Request) -> String {
    let text = |octets: &[u8]| octets.escape_ascii().to_string();
    let mut line = format!("{} ", text(&request.method));
    match request.form {
        TargetForm::Origin | TargetForm::Asterisk => {}
        TargetForm::Absolute => line += "absolute ",
        TargetForm::Authority => line += "authority ",
    }
    if let Some(authority) = &request.authority {
        line += &format!("//{} ", text(authority));
    }
    line += &text(&request.path);
    if !request.query.is_empty() {
        line += &format!("?{}", text(&request.query));
    }
    line += match request.version {
        Version::Http10 => " 1.0",
        Version::Http11 => " 1.1",
    };
    line += if request.keep_alive { " keep" } else { " close" };
    match request.framing {
        Framing::None => {}
        Framing::Length(len) => line += &format!(" length={len}"),
        Framing::Chunked => line += " chunked",
    }
    if request.expect_continue {
        line += " expect";
    }
    if !request.body.is_empty() {
        line += &format!(" body={}", text(&request.body));
    }
    if !request.complete {
        line += " unfinished";
    }
    line.trim_start().to_string()
}

/// A small generator (xorshift64*), so that a failing cut can be had again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }
}
