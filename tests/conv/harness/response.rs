//! A parser of responses that takes nothing but what RFC 9112 has: malformed octets fail the test.

use super::client::End;

/// How the body of a response was delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// HEAD, 204, 304.
    Absent,
    Length(usize),
    Chunked,
    Close,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub framing: Framing,
    pub body: Vec<u8>,
    /// The sizes of its chunks.
    pub chunks: Vec<usize>,
    /// The 1xx responses before it: status and headers.
    pub interim: Vec<(u16, Vec<(String, String)>)>,
}

impl Response {
    /// The value of a header that must be there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} came twice: {:?}", self.headers);
        value
    }

    /// Whether it says that the connection is closed.
    pub fn says_close(&self) -> bool {
        self.header("Connection") == Some("close")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The statuses of the 1xx responses before it.
    pub fn interims(&self) -> Vec<u16> {
        self.interim.iter().map(|(status, _)| *status).collect()
    }
}

/// What octets came to.
#[derive(Debug)]
pub enum Parse {
    /// A response, and how many octets it took.
    Whole(Response, usize),
    /// The front of one; its head and some of its body if the head is whole.
    Partial(Option<Response>),
}

/// Parse the response at the front of `octets`.  `end` is set when no more will come.
pub fn parse(octets: &[u8], to_head: bool, end: Option<End>) -> Parse {
    let mut at = 0;
    let mut interim = Vec::new();
    loop {
        let Some(len) = octets[at..].windows(4).position(|w| w == b"\r\n\r\n") else {
            return Parse::Partial(None);
        };
        let (status, reason, headers) = head(&octets[at..at + len]);
        at += len + 4;
        if status < 200 {
            assert_ne!(status, 101, "nobody asked for an upgrade");
            for name in ["content-length", "transfer-encoding"] {
                assert!(all(&headers, name).is_empty(), "{name} in a {status}");
            }
            interim.push((status, headers));
            continue;
        }
        let framing = framing(status, to_head, &headers);
        let response = Response {
            status,
            reason,
            headers,
            framing,
            body: Vec::new(),
            chunks: Vec::new(),
            interim,
        };
        return body(response, octets, at, end);
    }
}

fn head(text: &[u8]) -> (u16, String, Vec<(String, String)>) {
    let text = std::str::from_utf8(text).expect("a head is ASCII here");
    assert!(!text.contains('\0'));
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap();
    let rest = line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("status line {line:?}"));
    let (status, reason) = rest.split_once(' ').unwrap_or_else(|| panic!("status line {line:?}"));
    assert!(status.len() == 3 && status.bytes().all(|c| c.is_ascii_digit()), "{line:?}");
    let status: u16 = status.parse().unwrap();
    let headers: Vec<_> = lines
        .map(|line| {
            assert!(!line.contains(['\r', '\n']), "bare CR or LF in {line:?}");
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("header {line:?}"));
            assert!(
                !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-'),
                "header {line:?}"
            );
            (name.to_owned(), value.trim_matches(' ').to_owned())
        })
        .collect();
    if status >= 200 {
        assert_eq!(all(&headers, "date").len(), 1, "one Date: {headers:?}");
    }
    (status, reason.to_owned(), headers)
}

fn all<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let same = headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    same.map(|(_, value)| value.as_str()).collect()
}

fn framing(status: u16, to_head: bool, headers: &[(String, String)]) -> Framing {
    let lengths = all(headers, "content-length");
    let codings = all(headers, "transfer-encoding");
    assert!(lengths.len() + codings.len() <= 1, "ambiguous framing: {headers:?}");
    assert!(codings.iter().all(|coding| *coding == "chunked"), "{headers:?}");
    if status == 204 {
        assert!(lengths.is_empty() && codings.is_empty(), "framing of a 204: {headers:?}");
    }
    if to_head || matches!(status, 204 | 304) {
        return Framing::Absent;
    }
    if let Some(length) = lengths.first() {
        assert!(length.bytes().all(|c| c.is_ascii_digit()), "Content-Length {length:?}");
        return Framing::Length(length.parse().unwrap());
    }
    if !codings.is_empty() {
        return Framing::Chunked;
    }
    assert_eq!(all(headers, "connection"), ["close"], "delimited by its end: {headers:?}");
    Framing::Close
}

fn body(mut response: Response, octets: &[u8], mut at: usize, end: Option<End>) -> Parse {
    match response.framing {
        Framing::Absent => Parse::Whole(response, at),
        Framing::Length(length) => {
            let there = (octets.len() - at).min(length);
            response.body = octets[at..at + there].to_vec();
            if there < length {
                return Parse::Partial(Some(response));
            }
            Parse::Whole(response, at + length)
        }
        Framing::Close => {
            response.body = octets[at..].to_vec();
            match end {
                Some(End::Clean) => Parse::Whole(response, octets.len()),
                Some(End::Reset) | None => Parse::Partial(Some(response)),
            }
        }
        Framing::Chunked => loop {
            let Some(len) = octets[at..].windows(2).position(|w| w == b"\r\n") else {
                return Parse::Partial(Some(response));
            };
            let line = std::str::from_utf8(&octets[at..at + len]).expect("a chunk size");
            assert!(!line.is_empty() && line.bytes().all(|c| c.is_ascii_hexdigit()), "{line:?}");
            let size = usize::from_str_radix(line, 16).unwrap();
            at += len + 2;
            let there = (octets.len() - at).min(size);
            response.body.extend_from_slice(&octets[at..at + there]);
            let Some(rest) = octets[at..].get(size..).filter(|rest| rest.len() >= 2) else {
                return Parse::Partial(Some(response));
            };
            assert_eq!(&rest[..2], b"\r\n", "behind a chunk");
            at += size + 2;
            if size == 0 {
                return Parse::Whole(response, at);
            }
            response.chunks.push(size);
        },
    }
}
