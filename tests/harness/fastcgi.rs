//! A FastCGI client that has any number of requests on a connection, and is as strict as the server
//! should be.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::PATIENCE;

pub const BEGIN: u8 = 1;
pub const ABORT: u8 = 2;
pub const END: u8 = 3;
pub const PARAMS: u8 = 4;
pub const STDIN: u8 = 5;
pub const STDOUT: u8 = 6;
pub const STDERR: u8 = 7;
pub const GET_VALUES: u8 = 9;
pub const GET_VALUES_RESULT: u8 = 10;
pub const UNKNOWN_TYPE: u8 = 11;

/// A record, padded to eight octets.
pub fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let (id, len) = (id.to_be_bytes(), (content.len() as u16).to_be_bytes());
    let padding = content.len().wrapping_neg() % 8;
    let mut octets = vec![1, kind, id[0], id[1], len[0], len[1], padding as u8, 0];
    octets.extend(content);
    octets.extend(vec![0xff; padding]);
    octets
}

pub fn begin(id: u16, keeps: bool) -> Vec<u8> {
    record(BEGIN, id, &[0, 1, u8::from(keeps), 0, 0, 0, 0, 0])
}

/// Names and values; lengths in one octet where they fit, or in four.
pub fn pairs(pairs: &[(&str, &str)], long: bool) -> Vec<u8> {
    let mut octets = Vec::new();
    for (name, value) in pairs {
        for len in [name.len(), value.len()] {
            match len {
                0..128 if !long => octets.push(len as u8),
                _ => octets.extend((len as u32 | 1 << 31).to_be_bytes()),
            }
        }
        octets.extend([name.as_bytes(), value.as_bytes()].concat());
    }
    octets
}

/// The variables of a request for `target`, with a body of that length.
pub fn vars(target: &str, length: Option<usize>) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let length = length.map_or(String::new(), |length| length.to_string());
    let method = if length.is_empty() { "GET" } else { "POST" };
    let all = [
        ("REQUEST_METHOD", method),
        ("REQUEST_URI", target),
        ("PATH_INFO", path),
        ("QUERY_STRING", query),
        ("CONTENT_LENGTH", &length),
        ("HTTP_HOST", "h"),
    ];
    pairs(&all, false)
}

/// A request up to the end of its variables.
pub fn opening(id: u16, keeps: bool, target: &str, length: Option<usize>) -> Vec<u8> {
    let params = vars(target, length);
    [begin(id, keeps), record(PARAMS, id, &params), record(PARAMS, id, b"")].concat()
}

/// A whole request.
pub fn request(id: u16, keeps: bool, target: &str, body: &[u8]) -> Vec<u8> {
    let length = (!body.is_empty()).then_some(body.len());
    let mut octets = opening(id, keeps, target, length);
    body.chunks(60_000).for_each(|piece| octets.extend(record(STDIN, id, piece)));
    octets.extend(record(STDIN, id, b""));
    octets
}

/// What came for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The status of the application, and that of the protocol.
    pub end: Option<(u32, u8)>,
    /// Whether the streams were closed.
    stdout_closed: bool,
    stderr_closed: bool,
}

impl Answer {
    pub fn status(&self) -> u16 {
        let text = String::from_utf8_lossy(&self.stdout);
        let status = text.strip_prefix("Status: ").and_then(|rest| rest.get(..3));
        status.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{self:?}"))
    }

    pub fn body(&self) -> &[u8] {
        let end = self.stdout.windows(4).position(|it| it == b"\r\n\r\n");
        &self.stdout[end.unwrap_or_else(|| panic!("no head: {self:?}")) + 4..]
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body().to_vec()).expect("the body is text")
    }

    pub fn told(&self) -> String {
        String::from_utf8(self.stderr.clone()).expect("STDERR is text")
    }
}

/// A connection.
pub struct Fcgi {
    stream: UnixStream,
    ahead: Vec<u8>,
    answers: BTreeMap<u16, Answer>,
    /// Records of no request: type and content.
    pub management: Vec<(u8, Vec<u8>)>,
}

impl Fcgi {
    pub fn connect(path: &Path) -> Fcgi {
        let stream = UnixStream::connect(path).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set an option");
        stream.set_write_timeout(Some(PATIENCE)).expect("set an option");
        let (ahead, answers, management) = Default::default();
        Fcgi { stream, ahead, answers, management }
    }

    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).expect("send to the server");
    }

    /// Another way to send, while this one receives.
    pub fn sender(&self) -> UnixStream {
        self.stream.try_clone().expect("another descriptor")
    }

    /// Nothing more comes from here.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shut down");
    }

    /// Read one record; false at the end, which must be between two.
    pub fn read(&mut self) -> bool {
        while let Some(missing) = self.missing() {
            let mut octets = [0; 64 * 1024];
            match self.stream.read(&mut octets) {
                Ok(0) => {
                    assert!(self.ahead.is_empty(), "a record is cut short");
                    return false;
                }
                Ok(n) => self.ahead.extend(&octets[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{missing} octets are missing: {error}"),
            }
        }
        self.take();
        true
    }

    fn missing(&self) -> Option<usize> {
        let Some(head) = self.ahead.get(..8) else { return Some(8 - self.ahead.len()) };
        let size = 8 + usize::from(u16::from_be_bytes([head[4], head[5]])) + usize::from(head[6]);
        size.checked_sub(self.ahead.len()).filter(|missing| *missing > 0)
    }

    /// The record that is there.
    fn take(&mut self) {
        let head: [u8; 8] = self.ahead[..8].try_into().expect("a head");
        let (id, len) = (u16::from_be_bytes([head[2], head[3]]), [head[4], head[5]]);
        let len = usize::from(u16::from_be_bytes(len));
        let content = self.ahead[8..8 + len].to_vec();
        self.ahead.drain(..8 + len + usize::from(head[6]));
        assert_eq!((head[0], head[7]), (1, 0), "version, reserved");
        if id == 0 {
            return self.management.push((head[1], content));
        }
        let answer = self.answers.entry(id).or_default();
        assert_eq!(answer.end, None, "record {} of {id} behind its end", head[1]);
        let (stream, closed) = match head[1] {
            STDOUT => (&mut answer.stdout, &mut answer.stdout_closed),
            STDERR => (&mut answer.stderr, &mut answer.stderr_closed),
            END => {
                let [a, b, c, d, protocol, 0, 0, 0] = content[..] else { panic!("{content:?}") };
                let status = u32::from_be_bytes([a, b, c, d]);
                if status == 0 && protocol == 0 {
                    assert!(answer.stdout_closed, "STDOUT of {id} is open");
                }
                assert!(answer.stderr.is_empty() || answer.stderr_closed, "STDERR of {id} is open");
                return answer.end = Some((status, protocol));
            }
            other => panic!("type {other} from a server"),
        };
        assert!(!*closed, "more of a stream that was closed");
        *closed = len == 0;
        stream.extend(content);
    }

    /// The whole answer to a request; its id is free then.
    pub fn answer(&mut self, id: u16) -> Answer {
        while self.answers.get(&id).is_none_or(|answer| answer.end.is_none()) {
            assert!(self.read(), "the connection ended, and {id} has {:?}", self.answers.get(&id));
        }
        self.answers.remove(&id).expect("it is there")
    }

    /// What came for it so far.
    pub fn so_far(&self, id: u16) -> Answer {
        self.answers.get(&id).cloned().unwrap_or_default()
    }

    /// The next of a kind that belongs to no request.
    pub fn reply(&mut self) -> (u8, Vec<u8>) {
        while self.management.is_empty() {
            assert!(self.read(), "the connection ended");
        }
        self.management.remove(0)
    }

    /// A request, and its answer.
    pub fn ask(&mut self, id: u16, target: &str, body: &[u8]) -> Answer {
        self.send(request(id, true, target, body));
        self.answer(id)
    }

    /// What is left until the server ends the connection.
    pub fn rest(mut self) -> BTreeMap<u16, Answer> {
        while self.read() {}
        self.answers
    }
}
