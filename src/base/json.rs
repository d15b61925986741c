//! Writing JSON (RFC 8259): strings of any octets, and the commas between members.

use std::io::Write as _;

/// Append a string.  Its text is that of `octets`, which may be anything: what is not UTF-8 appears as
/// `\xhh` for each octet, as in the text of other logs (in JSON, whose backslash is `\\`: `\\xhh`).
/// Control characters, those of ISO 6429 (C1) included, are escaped, so that no line ends within and
/// no terminal is reached.
pub fn string(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(b'"');
    for piece in octets.utf8_chunks() {
        text(out, piece.valid());
        for octet in piece.invalid() {
            let digits = [octet >> 4, octet & 15].map(hex);
            out.extend_from_slice(br"\\x");
            out.extend_from_slice(&digits);
        }
    }
    out.push(b'"');
}

fn text(out: &mut Vec<u8>, mut text: &str) {
    let is_special = |c: char| c.is_control() || matches!(c, '"' | '\\');
    while let Some(at) = text.find(is_special) {
        out.extend_from_slice(&text.as_bytes()[..at]);
        let mut rest = text[at..].chars();
        match rest.next() {
            Some(c @ ('"' | '\\')) => out.extend_from_slice(&[b'\\', c as u8]),
            Some('\n') => out.extend_from_slice(br"\n"),
            Some('\r') => out.extend_from_slice(br"\r"),
            Some('\t') => out.extend_from_slice(br"\t"),
            // The control characters of Unicode are up to U+009F.
            Some(c) => {
                let c = c as u8;
                out.extend_from_slice(br"\u00");
                out.extend_from_slice(&[hex(c >> 4), hex(c & 15)]);
            }
            None => {}
        }
        text = rest.as_str();
    }
    out.extend_from_slice(text.as_bytes());
}

fn hex(digit: u8) -> u8 {
    b"0123456789abcdef"[usize::from(digit & 15)]
}

/// An object or an array that is being written.
#[derive(Debug)]
pub struct Members<'a> {
    out: &'a mut Vec<u8>,
    end: u8,
    is_first: bool,
}

impl<'a> Members<'a> {
    /// An object; it ends where this is dropped.
    pub fn object(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Members { out, end: b'}', is_first: true }
    }

    /// An array.
    pub fn array(out: &'a mut Vec<u8>) -> Self {
        out.push(b'[');
        Members { out, end: b']', is_first: true }
    }

    /// The next element of an array, to be appended.
    pub fn element(&mut self) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        self.out
    }

    /// The value of the next member of an object, to be appended.  The name is plain ASCII.
    pub fn member(&mut self, name: &str) -> &mut Vec<u8> {
        let out = self.element();
        string(out, name.as_bytes());
        out.push(b':');
        out
    }

    /// A member that is a string of any octets.
    pub fn text(&mut self, name: &str, value: &[u8]) {
        string(self.member(name), value);
    }

    /// A member that is a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.member(name).extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A member that is a duration, in seconds with all their digits.
    pub fn seconds(&mut self, name: &str, ns: u64) {
        seconds(self.member(name), ns);
    }
}

impl Drop for Members<'_> {
    fn drop(&mut self) {
        self.out.push(self.end);
    }
}

/// Nanoseconds as seconds: exactly, without an exponent, and without zeros that say nothing.
pub fn seconds(out: &mut Vec<u8>, ns: u64) {
    let (whole, fraction) = (ns / 1_000_000_000, ns % 1_000_000_000);
    // Into memory, which takes everything.
    let _ = write!(out, "{whole}.{fraction:09}");
    while out.pop_if(|last| *last == b'0').is_some() {}
    out.pop_if(|last| *last == b'.');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(octets: &[u8]) -> String {
        let mut out = Vec::new();
        string(&mut out, octets);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn strings_keep_the_rules_whatever_is_in_them() {
        for (octets, json) in [
            (&b""[..], r#""""#),
            (b"plain /", r#""plain /""#),
            (br#"a"b\c"#, r#""a\"b\\c""#),
            (b"\n\r\t\0\x1b\x7f", r#""\n\r\t\u0000\u001b\u007f""#),
            ("\u{9b}é€\u{10348}".as_bytes(), "\"\\u009bé€\u{10348}\""),
            (b"\xff\xc3", r#""\\xff\\xc3""#),
            // Overlong, a surrogate, beyond Unicode: none of them is UTF-8.
            (b"\xc0\x80", r#""\\xc0\\x80""#),
            (b"\xed\xa0\x80", r#""\\xed\\xa0\\x80""#),
            (b"\xf4\x90\x80\x80", r#""\\xf4\\x90\\x80\\x80""#),
            (b"a\xe2\x82b", r#""a\\xe2\\x82b""#),
        ] {
            assert_eq!(written(octets), json);
        }
    }

    #[test]
    fn members_have_commas_between_them() {
        let mut out = Vec::new();
        let mut object = Members::object(&mut out);
        object.number("n", u64::MAX);
        object.text("t", b"\"");
        let mut array = Members::array(object.member("a"));
        drop(Members::object(array.element()));
        array.element().push(b'1');
        drop(array);
        object.seconds("s", 1_020_000_000);
        drop(object);
        let json = r#"{"n":18446744073709551615,"t":"\"","a":[{},1],"s":1.02}"#;
        assert_eq!(String::from_utf8(out).unwrap(), json);
    }

    #[test]
    fn seconds_are_exact() {
        let text = |ns| {
            let mut out = Vec::new();
            seconds(&mut out, ns);
            String::from_utf8(out).unwrap()
        };
        let all = [0, 1, 1_000, 999_999_999, 1_000_000_000, 10_000_000_000, 1_500_000_000];
        let shown = all.map(text);
        assert_eq!(shown, ["0", "0.000000001", "0.000001", "0.999999999", "1", "10", "1.5"]);
    }

    /// What RFC 8259 section 7 reads it as; `None`: it is none.
    fn read(json: &str) -> Option<String> {
        let mut text = String::new();
        let mut rest = json.strip_prefix('"')?.strip_suffix('"')?.chars();
        while let Some(c) = rest.next() {
            match c {
                '"' | '\0'..='\x1f' => return None,
                '\\' => text.push(match rest.next()? {
                    c @ ('"' | '\\' | '/') => c,
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let digits: String = rest.by_ref().take(4).collect();
                        char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                    }
                    _ => return None,
                }),
                c => text.push(c),
            }
        }
        Some(text)
    }

    proptest! {
        #[test]
        fn any_octets_are_a_string_on_one_line(octets: Vec<u8>) {
            let json = written(&octets);
            prop_assert!(!json.chars().any(char::is_control));
            let back = read(&json).expect("a string");
            match std::str::from_utf8(&octets) {
                Ok(text) => prop_assert_eq!(back, text),
                Err(_) => prop_assert!(back.contains("\\x")),
            }
        }
    }
}
