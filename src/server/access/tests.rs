use super::*;

#[test]
fn a_format_is_compiled_once() {
    let segments = |text| Format::parse(text).unwrap().segments;
    assert_eq!(segments(""), []);
    assert_eq!(segments("a%%b"), [Segment::Literal("a%b".into())]);
    assert_eq!(
        segments("%(h)s \"%(D)d%%\"%({X-Y}i)s%({Remote_Addr}e)s%({GateWay.Id}E)s%({a(b)}o)s."),
        [
            Segment::Atom(Atom::RemoteAddr),
            Segment::Literal(" \"".into()),
            Segment::Atom(Atom::Micros),
            Segment::Literal("%\"".into()),
            Segment::RequestHeader("x-y".into()),
            Segment::Environ("REMOTE_ADDR".into()),
            Segment::Environ("gateway.id".into()),
            Segment::ResponseHeader("a(b)".into()),
            Segment::Literal(".".into()),
        ]
    );
}

#[test]
fn a_bad_format_names_the_atom() {
    let known = "; there are h l u t r m U q H s B b f a T D M L p, and {name}i, {name}o, {name}e";
    for (text, message) in [
        ("%(x)s", format!("no atom %(x)s{known} (at octet 0)")),
        ("%(h)s %(hh)s", format!("no atom %(hh)s{known} (at octet 6)")),
        ("%()s", format!("no atom %()s{known} (at octet 0)")),
        ("%({x}z)s", format!("no atom %({{x}}z)s{known} (at octet 0)")),
        ("%({}i)s", format!("no atom %({{}}i)s{known} (at octet 0)")),
        ("%({x)s", format!("no atom %({{x)s{known} (at octet 0)")),
        ("%(h", "no ')' after %(h (at octet 0)".into()),
        ("%(h)", "after %(h) comes 's' (at octet 0)".into()),
        ("%(h)d", "after %(h) comes 's' (at octet 0)".into()),
        ("%(s)5s", "after %(s) comes 's' (at octet 0)".into()),
        ("100%", "'%' begins an atom, %(name)s; a percent sign is written %% (at octet 3)".into()),
        ("%h", "'%' begins an atom, %(name)s; a percent sign is written %% (at octet 0)".into()),
        ("%(h)s\n%(h)s", "a line cannot contain '\\n'".into()),
        ("%(h)s\0", "a line cannot contain '\\0'".into()),
    ] {
        let error = Format::parse(text).expect_err(text);
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(error.message(), format!("access_log_format: {message}"));
    }
}

#[test]
fn escapes_can_be_read_back() {
    let all: Vec<u8> = (0..=255).collect();
    let mut out = Vec::new();
    escape(&mut out, &all);
    assert!(out.iter().all(|b| matches!(b, b' '..=b'~')));
    let mut quote_is_escaped = true;
    for (i, b) in out.iter().enumerate() {
        quote_is_escaped &= *b != b'"' || out[i - 1] == b'\\';
    }
    assert!(quote_is_escaped);
    let mut back = Vec::new();
    let mut rest = &out[..];
    while let Some((&b, after)) = rest.split_first() {
        rest = match (b, after) {
            (b'\\', [b'x', hi, lo, after @ ..]) => {
                let hex = [*hi, *lo];
                let hex = std::str::from_utf8(&hex).unwrap();
                back.push(u8::from_str_radix(hex, 16).unwrap());
                after
            }
            (b'\\', [c, after @ ..]) => {
                back.push(match c {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    c => *c,
                });
                after
            }
            _ => {
                back.push(b);
                after
            }
        };
    }
    assert_eq!(back, all);
}

#[test]
fn base64_is_read_as_python_reads_it() {
    for (text, octets) in [
        ("", Some("")),
        ("Zg==", Some("f")),
        ("Zm8=", Some("fo")),
        ("Zm9v", Some("foo")),
        ("Zm9vYmFy", Some("foobar")),
        (" Zm 9v\n", Some("foo")),
        ("Zm9v====", Some("foo")),
        ("Zg==Zm9v", Some("f")),
        ("=Zg==", Some("f")),
        ("Zm9v!Zg==", Some("foof")),
        ("Z=g==", Some("f")),
        ("Zg=v", None),
        ("Zg=", None),
        ("Zg", None),
        ("Zm8", None),
        ("Z", None),
        ("Z===", None),
    ] {
        assert_eq!(base64(text.as_bytes()).as_deref(), octets.map(str::as_bytes), "{text:?}");
    }
    assert_eq!(base64(b"+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
}

#[test]
fn the_user_is_what_stands_before_the_colon() {
    for (authorization, user) in [
        ("Basic dXNlcjpwdw==", Some("user")),
        ("bAsIc dXNlcjpwdw==", Some("user")),
        ("Basic   dXNlcjpwdw==  ", Some("user")),
        ("Basic dXNlcg==", Some("user")),
        ("Basic OnB3", Some("")),
        ("Basic /w==", None),
        ("Basic", None),
        ("Basic dXNlcg", None),
        ("Bearer dXNlcjpwdw==", None),
        ("", None),
    ] {
        let found = basic_user(authorization.as_bytes());
        assert_eq!(found.as_deref(), user.map(str::as_bytes), "{authorization}");
    }
}

/// A request whose every octet is its client's.
struct Hostile<'a>(&'a [u8]);

impl AccessSource for Hostile<'_> {
    fn time(&self) -> LocalTime {
        LocalTime::utc(1_795_250_076_012_345_678)
    }

    fn pid(&self) -> u32 {
        7
    }

    fn took_ns(&self) -> u64 {
        1_500_000
    }

    fn phases(&self) -> Option<Phases> {
        Some(Phases { read: 1_000, queue: 0, app: 1_000_000, write: 499_000 })
    }

    fn status(&self) -> u16 {
        200
    }

    fn sent(&self) -> u64 {
        12
    }

    fn remote_addr(&self) -> &[u8] {
        b"127.0.0.1"
    }

    fn method(&self) -> &[u8] {
        self.0
    }

    fn target(&self) -> &[u8] {
        self.0
    }

    fn protocol(&self) -> &[u8] {
        b"HTTP/1.1"
    }

    fn path(&self) -> &[u8] {
        self.0
    }

    fn query(&self) -> &[u8] {
        self.0
    }

    fn environ(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name != "gateway.parent_id").then(|| self.0.into())
    }

    fn request_header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn response_header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

fn as_json(octets: &[u8]) -> String {
    let format = Format::parse("json").unwrap();
    assert!(format.has_phases());
    let mut line = Vec::new();
    format.render(&mut line, &Hostile(octets));
    String::from_utf8(line).expect("JSON is UTF-8")
}

#[test]
fn a_line_may_be_an_object() {
    let line = as_json(b"/a\"\n\xff");
    let text = r#""/a\"\n\\xff""#;
    let expected = format!(
        concat!(
            r#"{{"time":"2026-11-21T08:34:36.012345+00:00","pid":7,"remote_addr":"127.0.0.1","#,
            r#""method":{},"target":{},"protocol":"HTTP/1.1","status":200,"bytes_sent":12,"#,
            r#""duration":0.0015,"read":0.000001,"queue":0,"app":0.001,"write":0.000499,"#,
            r#""request_id":{},"trace_id":{},"referer":{},"user_agent":{}}}"#
        ),
        text, text, text, text, text, text
    );
    assert_eq!(line, expected);
}

#[test]
fn an_object_stays_on_its_line_whatever_is_in_it() {
    let all: Vec<u8> = (0..=255).collect();
    for octets in [&all[..], b"\xe2\x80\xa8\xc2\x85", b"\xf0\x9f", b"\"}{\"", b"\\"] {
        let line = as_json(octets);
        assert!(!line.chars().any(char::is_control));
        // Quotes that are not escaped come in pairs, two for each text.
        let mut quotes = 0;
        let mut rest = line.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => drop(rest.next()),
                '"' => quotes += 1,
                _ => {}
            }
        }
        // 17 names, 9 of them with texts.
        assert_eq!(quotes, 2 * (17 + 9), "{line}");
    }
}
