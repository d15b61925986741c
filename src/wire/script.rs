//! What a CGI script answers (RFC 3875 section 6), and a script that speaks HTTP itself (section 5).

use memchr::memchr;

use super::http1::{decimal, is_field_value, is_token};
use super::{Field, Span};

/// Octets of a head; more are none.
pub const HEAD_MAX: usize = 64 * 1024;

/// The head of a script's answer; spans of the octets that it was found in.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How many octets it has, its blank line included.
    pub len: usize,
    /// 200 to 999: a script has one answer, and its last.
    pub status: u16,
    /// What was said with the status; may be empty.
    pub reason: Span,
    /// The header fields, without Status, and without those that concern a connection.
    pub fields: Vec<Field>,
    /// A path of this server (with a query), to be answered instead (section 6.2.2).
    pub redirect: Option<Span>,
}

/// Fields that concern one connection (RFC 9110 section 7.6.1).
const OF_A_CONNECTION: [&[u8]; 7] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// The head at the front of `octets`, with a line of status first where the script speaks HTTP
/// (`is_nph`); `None`: there is more to come.
pub fn answer(octets: &[u8], is_nph: bool) -> Result<Option<Answer>, &'static str> {
    let mut answer =
        Answer { len: 0, status: 0, reason: Span::default(), fields: Vec::new(), redirect: None };
    let mut has_type = false;
    let mut location = None;
    loop {
        let start = answer.len;
        let rest = &octets[start..];
        let Some(end) = memchr(b'\n', rest) else {
            let too_long = octets.len() >= HEAD_MAX;
            return if too_long { Err("its head is too long") } else { Ok(None) };
        };
        answer.len += end + 1;
        if answer.len > HEAD_MAX {
            return Err("its head is too long");
        }
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        if is_nph && start == 0 {
            let text = line.strip_prefix(b"HTTP/").ok_or("an nph script without a status line")?;
            let space = memchr(b' ', text).ok_or("an nph script without a status line")?;
            answer.set_status(octets, start + 5 + space + 1, start + line.len())?;
            continue;
        }
        if line.is_empty() {
            break;
        }
        let colon = memchr(b':', line).ok_or("a line of its head has no colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) || !is_field_value(value) {
            return Err("a malformed header field");
        }
        let at = start + colon + 1 + leading(&line[colon + 1..]);
        let span = |start: usize, len: usize| Span { start: start as u32, len: len as u32 };
        let field = Field { name: span(start, name.len()), value: span(at, value.len()) };
        if name.eq_ignore_ascii_case(b"status") && !is_nph {
            answer.set_status(octets, at, at + value.len())?;
        } else if !OF_A_CONNECTION.iter().any(|it| name.eq_ignore_ascii_case(it)) {
            has_type |= name.eq_ignore_ascii_case(b"content-type");
            if name.eq_ignore_ascii_case(b"location") {
                location = Some(field.value);
            }
            answer.fields.push(field);
        }
    }
    if answer.status == 0 {
        answer.status = match location {
            Some(url) if url.of(octets).starts_with(b"/") && !has_type => {
                answer.redirect = Some(url);
                200
            }
            Some(_) => 302,
            None if has_type => 200,
            None => return Err("neither Content-Type nor Location nor Status"),
        };
    }
    Ok(Some(answer))
}

impl Answer {
    /// Three digits, and perhaps a space and a reason: the octets from `start` to `end`.
    fn set_status(&mut self, octets: &[u8], start: usize, end: usize) -> Result<(), &'static str> {
        let text = &octets[start..end];
        let (digits, reason) = text.split_at(text.len().min(3));
        let status = decimal(digits).filter(|status| (200..1000).contains(status));
        self.status = status.ok_or("a status that is none")? as u16;
        if !reason.is_empty() && reason[0] != b' ' || !is_field_value(reason) {
            return Err("a status that is none");
        }
        let skipped = leading(reason);
        let len = reason.trim_ascii().len() as u32;
        self.reason = Span { start: (start + digits.len() + skipped) as u32, len };
        Ok(())
    }
}

/// Octets of white space at the front.
fn leading(text: &[u8]) -> usize {
    text.len() - text.trim_ascii_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, is_nph: bool) -> Result<Option<String>, &'static str> {
        let octets = text.as_bytes();
        let Some(answer) = answer(octets, is_nph)? else { return Ok(None) };
        let show = |span: Span| String::from_utf8_lossy(span.of(octets)).into_owned();
        let fields: Vec<_> = answer
            .fields
            .iter()
            .map(|it| format!("{}={}", show(it.name), show(it.value)))
            .collect();
        let redirect = answer.redirect.map_or_else(String::new, |it| format!(" -> {}", show(it)));
        let body = String::from_utf8_lossy(&octets[answer.len..]).into_owned();
        let (status, reason) = (answer.status, show(answer.reason));
        Ok(Some(format!("{status} {reason}|{}|{body}{redirect}", fields.join(","))))
    }

    #[test]
    fn heads() {
        for (text, expected) in [
            ("Content-Type: text/plain\n\nhi", "200 |Content-Type=text/plain|hi"),
            ("Content-type:text/plain\r\n\r\nhi", "200 |Content-type=text/plain|hi"),
            ("Status: 404 Not  Here \nA: b\n\n", "404 Not  Here|A=b|"),
            ("Status:204\n\n", "204 ||"),
            ("Location: http://h/\n\n", "302 |Location=http://h/|"),
            ("Location: /a?b\n\n", "200 |Location=/a?b| -> /a?b"),
            ("Status: 301 Moved\nLocation: /a\n\n", "301 Moved|Location=/a|"),
            ("Location: /a\nContent-Type: x/y\n\n", "302 |Location=/a,Content-Type=x/y|"),
            ("Status: 200\nConnection: close\nTransfer-Encoding: chunked\n\n", "200 ||"),
            ("Content-Type: a/b\nX:\n\n", "200 |Content-Type=a/b,X=|"),
        ] {
            assert_eq!(told(text, false), Ok(Some(expected.to_owned())), "{text:?}");
            let head = text.find("\n\n").map_or(text.len() - 2, |at| at + 2);
            for cut in 0..head.min(text.len()) {
                if !text[..cut].ends_with("\r\n\r\n") && !text[..cut].ends_with("\n\n") {
                    assert_eq!(told(&text[..cut], false), Ok(None), "{text:?} {cut}");
                }
            }
        }
        let nph = "HTTP/1.0 299 So\r\nA: b\r\n\r\nbody";
        assert_eq!(told(nph, true), Ok(Some("299 So|A=b|body".to_owned())));
    }

    #[test]
    fn what_is_no_head() {
        for text in [
            "\n",
            "hello\n\n",
            "A: b\n\n",
            "Status: 99\n\n",
            "Status: 100\n\n",
            "Status: 199\n\n",
            "Status: 20\n\n",
            "Status: 2000\n\n",
            "Status: abc\n\n",
            "A b: c\n\n",
            ": c\n\n",
            "A: b\0\nStatus: 200\n\n",
            "A: b\rc\nStatus: 200\n\n",
        ] {
            assert!(told(text, false).is_err(), "{text:?}");
        }
        assert!(told("Content-Type: a/b\n\n", true).is_err());
        assert!(told("HTTP/1.1\n\n", true).is_err());
        assert!(answer(&vec![b'a'; HEAD_MAX], false).is_err());
    }
}
