//! What a web server in front says of a request: CGI variables (RFC 3875 section 4.1), whichever
//! protocol carried them.
//!
//! A codec lists the variables with [`Params::push`]; [`Params::settle`] finds those that mean
//! something, and refuses what would make two readers see two requests.

use super::http1::{decimal, is_field_value, is_token, is_variable_name};
use super::{Field, Limit, Limits, Reject, Span};

/// The variables of one request.  All spans are of the octets that they came in.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// The header fields: `HTTP_*` without those five octets, in order.
    pub headers: Vec<Field>,
    /// What has no member here.
    pub others: Vec<Field>,
    /// REQUEST_METHOD, a token.
    pub method: Span,
    /// SCRIPT_NAME; empty for the root, also where "/" was said.
    pub script_name: Span,
    /// PATH_INFO, decoded by the front.
    pub path_info: Option<Span>,
    /// QUERY_STRING.
    pub query: Span,
    /// REQUEST_URI, as the client sent it.
    pub uri: Option<Span>,
    /// CONTENT_TYPE, unless it is empty.
    pub content_type: Option<Span>,
    /// CONTENT_LENGTH, unless it is empty.
    pub content_length: Option<u64>,
    /// SERVER_NAME, unless it is empty; so the next three.
    pub server_name: Option<Span>,
    /// SERVER_PORT.
    pub server_port: Option<Span>,
    /// SERVER_PROTOCOL.
    pub protocol: Option<Span>,
    /// REMOTE_ADDR.
    pub remote_addr: Option<Span>,
    /// REMOTE_PORT.
    pub remote_port: Option<Span>,
    /// The client speaks TLS: HTTPS, REQUEST_SCHEME or UWSGI_SCHEME.
    pub is_https: bool,
    /// Whether the method is HEAD.
    pub is_head: bool,
    /// PATH_INFO begins with SCRIPT_NAME, which is to be taken from it.
    pub strips_script_name: bool,
}

/// Whether a variable may be said twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// The last one counts, as with the variables of a process.
    LastWins,
    /// Never (SCGI).
    Refused,
}

impl Params {
    /// Forget all of them; the memory stays.
    pub fn clear(&mut self) {
        let (mut headers, mut others) =
            (std::mem::take(&mut self.headers), std::mem::take(&mut self.others));
        headers.clear();
        others.clear();
        *self = Params { headers, others, ..Params::default() };
    }

    /// One more variable.
    #[inline]
    pub fn push(&mut self, name: Span, value: Span) {
        self.others.push(Field { name, value });
    }

    /// All variables are there: find out what they mean.  `octets` are those that they came in.
    pub fn settle(
        &mut self,
        octets: &[u8],
        limits: &Limits,
        repeats: Repeats,
    ) -> Result<(), Reject> {
        if repeats == Repeats::Refused {
            self.refuse_repeats(octets)?;
        }
        let (mut length, mut lengths) = (None, 0_u32);
        let mut schemes = (false, false);
        let mut kept = 0;
        for at in 0..self.others.len() {
            let field = self.others[at];
            let (name, value) = (field.name.of(octets), field.value.of(octets));
            if !is_variable_name(name) {
                return Err(bad("a variable's name is not one"));
            }
            let some = (!value.is_empty()).then_some(field.value);
            if name.starts_with(b"HTTP_") && name.len() > 5 {
                // Their values are those of CONTENT_TYPE and CONTENT_LENGTH.
                if !matches!(&name[5..], b"CONTENT_TYPE" | b"CONTENT_LENGTH") {
                    self.header(field, octets, limits)?;
                }
                continue;
            }
            match name {
                b"REQUEST_METHOD" => self.method = field.value,
                b"SCRIPT_NAME" => self.script_name = field.value,
                b"PATH_INFO" => self.path_info = Some(field.value),
                b"QUERY_STRING" => self.query = field.value,
                b"REQUEST_URI" => self.uri = some,
                b"CONTENT_TYPE" => self.content_type = some,
                b"CONTENT_LENGTH" => {
                    let before = length.replace(value);
                    lengths += 1;
                    if lengths > 1 && before != Some(value) {
                        return Err(bad("two different CONTENT_LENGTH"));
                    }
                }
                b"SERVER_NAME" => self.server_name = some,
                b"SERVER_PORT" => self.server_port = some,
                b"SERVER_PROTOCOL" => self.protocol = some,
                b"REMOTE_ADDR" => self.remote_addr = some,
                b"REMOTE_PORT" => self.remote_port = some,
                b"HTTPS" => schemes.0 = is_on(value),
                b"REQUEST_SCHEME" | b"UWSGI_SCHEME" => {
                    schemes.1 |= value.eq_ignore_ascii_case(b"https");
                }
                _ => {
                    self.others[kept] = field;
                    kept += 1;
                }
            }
        }
        self.others.truncate(kept);
        self.is_https = schemes.0 || schemes.1;
        self.content_length = match length {
            None | Some(b"") => None,
            Some(digits) => {
                Some(decimal(digits).ok_or_else(|| bad("CONTENT_LENGTH is not a number"))?)
            }
        };
        self.check(octets, limits)
    }

    fn header(&mut self, field: Field, octets: &[u8], limits: &Limits) -> Result<(), Reject> {
        if limits.fields > 0 && self.headers.len() >= limits.fields {
            return Err(over(431, "too many header fields", Limit::Fields));
        }
        let size = field.name.len as usize - 5 + field.value.len as usize;
        if limits.field_size > 0 && size > limits.field_size {
            return Err(over(431, "a header field is too long", Limit::FieldSize));
        }
        if !is_field_value(field.value.of(octets)) {
            return Err(bad("a control character in a header field"));
        }
        let name = Span { start: field.name.start + 5, len: field.name.len - 5 };
        self.headers.push(Field { name, value: field.value });
        Ok(())
    }

    fn check(&mut self, octets: &[u8], limits: &Limits) -> Result<(), Reject> {
        let method = self.method.of(octets);
        if method.is_empty() {
            return Err(bad("no REQUEST_METHOD"));
        }
        if !is_token(method) {
            return Err(bad("REQUEST_METHOD is no token"));
        }
        self.is_head = method == b"HEAD";
        let uri = self.uri.map_or(0, |uri| uri.len as usize);
        if limits.line > 0 && uri.max(self.query.len as usize) > limits.line {
            return Err(over(414, "the request's target is too long", Limit::Line));
        }
        let is_text = |span: Option<Span>| span.is_none_or(|span| is_field_value(span.of(octets)));
        let texts = [
            self.uri,
            self.content_type,
            self.server_name,
            self.server_port,
            self.protocol,
            self.remote_addr,
            self.remote_port,
            Some(self.query),
        ];
        if !texts.into_iter().all(is_text) {
            return Err(bad("a control character in a variable"));
        }
        if self.script_name.of(octets) == b"/" {
            self.script_name.len = 0;
        }
        if limits.body > 0 && self.content_length.is_some_and(|length| length > limits.body) {
            return Err(over(413, "the body is too large", Limit::Body));
        }
        Ok(())
    }

    /// A header that a client has said twice is passed on twice by nginx, and is no other than in
    /// HTTP; but for those of which HTTP allows one.
    fn refuse_repeats(&self, octets: &[u8]) -> Result<(), Reject> {
        let twice = || bad("a header was said twice");
        let name_of = |field: &Field| field.name.of(octets);
        let (mut seen, mut alike) = ([0_u64; 4], 0);
        let counts = |field: &&Field| !may_repeat(name_of(field));
        for (at, field) in self.others.iter().enumerate() {
            let name = name_of(field);
            if may_repeat(name) {
                continue;
            }
            let bit = mark(name);
            let (word, bit) = (&mut seen[usize::from(bit >> 6)], 1 << (bit & 63));
            if *word & bit == 0 {
                *word |= bit;
                continue;
            }
            // Others may look like it: few, unless somebody has taken pains.
            alike += 1;
            if alike > ALIKE_MAX {
                let mut all: Vec<_> = self.others.iter().filter(counts).map(name_of).collect();
                all.sort_unstable();
                return if all.windows(2).any(|it| it[0] == it[1]) { Err(twice()) } else { Ok(()) };
            }
            if self.others[..at].iter().any(|before| name_of(before) == name) {
                return Err(twice());
            }
        }
        Ok(())
    }
}

/// How many names are held against all before them, one by one.
const ALIKE_MAX: u32 = 16;

/// Of 256 marks the one of a name, by its end, in which names differ.
fn mark(name: &[u8]) -> u8 {
    let end = match name.last_chunk::<4>() {
        Some(end) => u32::from_le_bytes(*end),
        None => name.iter().fold(0, |end, octet| end << 8 | u32::from(*octet)),
    };
    ((end ^ (name.len() as u32) << 5).wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// The values of HTTPS that mean yes: nginx says "on", others "1".
fn is_on(value: &[u8]) -> bool {
    [&b"on"[..], b"1", b"yes", b"true", b"https"].iter().any(|on| value.eq_ignore_ascii_case(on))
}

/// Whether a variable of a client's may come twice where others may not.
fn may_repeat(name: &[u8]) -> bool {
    const ONCE: [&[u8]; 3] = [b"HTTP_HOST", b"HTTP_CONTENT_LENGTH", b"HTTP_CONTENT_TYPE"];
    name.starts_with(b"HTTP_") && !ONCE.contains(&name)
}

pub(super) fn bad(reason: &'static str) -> Reject {
    Reject { status: 400, reason, limit: None }
}

pub(super) fn over(status: u16, reason: &'static str, limit: Limit) -> Reject {
    Reject { status, reason, limit: Some(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNLIMITED: Limits = Limits { line: 0, fields: 0, field_size: 0, head: 0, body: 0 };

    fn settled(
        vars: &[(&str, &str)],
        limits: &Limits,
        repeats: Repeats,
    ) -> Result<(Params, Vec<u8>), Reject> {
        let (mut params, mut octets) = (Params::default(), Vec::new());
        let mut add = |text: &str| {
            let start = octets.len() as u32;
            octets.extend_from_slice(text.as_bytes());
            Span { start, len: text.len() as u32 }
        };
        for (name, value) in vars {
            let (name, value) = (add(name), add(value));
            params.push(name, value);
        }
        params.settle(&octets, limits, repeats)?;
        Ok((params, octets))
    }

    fn verdict(vars: &[(&str, &str)]) -> Result<(), u16> {
        let all = [&[("REQUEST_METHOD", "GET")], vars].concat();
        settled(&all, &UNLIMITED, Repeats::LastWins).map(drop).map_err(|reject| reject.status)
    }

    #[test]
    fn what_nginx_says_is_understood() {
        let (params, octets) = settled(
            &[
                ("QUERY_STRING", "a=1"),
                ("REQUEST_METHOD", "POST"),
                ("CONTENT_TYPE", ""),
                ("CONTENT_LENGTH", "12"),
                ("REQUEST_URI", "/a%20b?a=1"),
                ("PATH_INFO", "/a b"),
                ("DOCUMENT_ROOT", "/usr/share/nginx/html"),
                ("SERVER_PROTOCOL", "HTTP/1.1"),
                ("REQUEST_SCHEME", "http"),
                ("HTTPS", "on"),
                ("REMOTE_ADDR", "127.0.0.1"),
                ("SERVER_NAME", ""),
                ("HTTP_HOST", "h"),
                ("HTTP_CONTENT_LENGTH", "99"),
                ("HTTP_COOKIE", "a=b"),
                ("HTTP_", "odd"),
            ],
            &UNLIMITED,
            Repeats::Refused,
        )
        .unwrap();
        let text = |span: Span| std::str::from_utf8(span.of(&octets)).unwrap();
        assert_eq!(text(params.method), "POST");
        assert_eq!(params.content_length, Some(12));
        assert_eq!((params.content_type, params.server_name), (None, None));
        assert_eq!(params.path_info.map(text), Some("/a b"));
        assert!(params.is_https && !params.is_head);
        let of = |fields: &[Field]| -> Vec<_> { fields.iter().map(|f| text(f.name)).collect() };
        assert_eq!(of(&params.headers), ["HOST", "COOKIE"]);
        assert_eq!(of(&params.others), ["DOCUMENT_ROOT", "HTTP_"]);
    }

    #[test]
    fn what_two_readers_could_see_differently_is_refused() {
        assert_eq!(verdict(&[]), Ok(()));
        for (name, value, status) in [
            ("REQUEST_METHOD", "", 400),
            ("REQUEST_METHOD", "G ET", 400),
            ("", "x", 400),
            ("A=B", "x", 400),
            ("A\0B", "x", 400),
            ("CONTENT_LENGTH", "-1", 400),
            ("CONTENT_LENGTH", "+1", 400),
            ("CONTENT_LENGTH", "1 ", 400),
            ("CONTENT_LENGTH", "18446744073709551616", 400),
            ("HTTP_X", "a\r\nb", 400),
            ("QUERY_STRING", "a\nb", 400),
            ("REQUEST_URI", "/\0", 400),
        ] {
            assert_eq!(verdict(&[(name, value)]), Err(status), "{name}={value:?}");
        }
        assert_eq!(verdict(&[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "2")]), Err(400));
        assert_eq!(verdict(&[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "1")]), Ok(()));
        // What a front decoded may be any octets.
        assert_eq!(verdict(&[("PATH_INFO", "/a\nb")]), Ok(()));
        let twice = [("REQUEST_METHOD", "GET"), ("A", "1"), ("A", "1")];
        assert!(settled(&twice, &UNLIMITED, Repeats::Refused).is_err());
        assert!(settled(&twice, &UNLIMITED, Repeats::LastWins).is_ok());
        // A header may be said twice, as in HTTP, and the host may not.
        let header = |name| [("REQUEST_METHOD", "GET"), (name, "1"), (name, "2")];
        let (params, _) = settled(&header("HTTP_X"), &UNLIMITED, Repeats::Refused).unwrap();
        assert_eq!(params.headers.len(), 2);
        assert!(settled(&header("HTTP_HOST"), &UNLIMITED, Repeats::Refused).is_err());
    }

    #[test]
    fn names_that_look_alike_are_told_apart() {
        // More than there are marks, and more alike than are looked at one by one.
        let names: Vec<_> = (0..600).map(|n| format!("A_{n:03}_SAME")).collect();
        let mut vars: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        vars.push(("REQUEST_METHOD", "GET"));
        assert!(settled(&vars, &UNLIMITED, Repeats::Refused).is_ok());
        for at in [0, 5, 300, 599] {
            let twice = [&vars[..], &[(names[at].as_str(), "1")]].concat();
            assert!(settled(&twice, &UNLIMITED, Repeats::Refused).is_err(), "{at}");
            let early = [&[(names[at].as_str(), "1")], &vars[..at + 1]].concat();
            assert!(settled(&early, &UNLIMITED, Repeats::Refused).is_err(), "{at}");
        }
    }

    #[test]
    fn the_limits_are_those_of_http() {
        let limits = Limits { line: 5, fields: 2, field_size: 6, head: 0, body: 9 };
        for (vars, status) in [
            (&[("REQUEST_URI", "/12345")][..], 414),
            (&[("HTTP_A", "1"), ("HTTP_B", "1"), ("HTTP_C", "1")], 431),
            (&[("HTTP_ABC", "1234")], 431),
            (&[("CONTENT_LENGTH", "10")], 413),
        ] {
            let all = [&[("REQUEST_METHOD", "GET")], vars].concat();
            let reject = settled(&all, &limits, Repeats::LastWins).unwrap_err();
            assert_eq!(reject.status, status);
            assert!(reject.limit.is_some());
        }
        let fits = [
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/1234"),
            ("HTTP_ABC", "123"),
            ("HTTP_D", ""),
            ("CONTENT_LENGTH", "9"),
        ];
        assert!(settled(&fits, &limits, Repeats::LastWins).is_ok());
    }

    #[test]
    fn the_memory_of_one_request_serves_the_next() {
        let (mut params, _) =
            settled(&[("REQUEST_METHOD", "HEAD"), ("HTTP_A", "")], &UNLIMITED, Repeats::Refused)
                .unwrap();
        assert!(params.is_head);
        params.clear();
        assert!(params.headers.is_empty() && params.others.is_empty() && !params.is_head);
        assert_eq!(params.settle(b"", &UNLIMITED, Repeats::Refused).unwrap_err().status, 400);
    }
}
