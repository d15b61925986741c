//! The access log against gunicorn's own: `access_log/gunicorn.txt` is what gunicorn wrote (see
//! `record.py` beside it), and, where ours is meant to differ, what we write instead.

use std::borrow::Cow;
use std::collections::HashMap;

use gateway::base::time::LocalTime;
use gateway::server::access::{AccessSource, Format};

/// A request that was logged.
#[derive(Default)]
struct Case {
    name: String,
    format: String,
    time: (u64, i16),
    numbers: HashMap<String, u64>,
    environ: HashMap<String, Vec<u8>>,
    request: Vec<(String, Vec<u8>)>,
    response: Vec<(String, Vec<u8>)>,
    gunicorn: Vec<u8>,
    gateway: Option<Vec<u8>>,
}

impl Case {
    fn variable(&self, name: &str) -> &[u8] {
        self.environ.get(name).map_or(b"", Vec::as_slice)
    }
}

fn last<'a>(fields: &'a [(String, Vec<u8>)], name: &str) -> Option<Cow<'a, [u8]>> {
    assert_eq!(name, name.to_ascii_lowercase());
    let field = fields.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name));
    field.map(|(_, value)| Cow::Borrowed(value.as_slice()))
}

impl AccessSource for Case {
    fn time(&self) -> LocalTime {
        // `LocalTime` has no time zones: the shifted moment, under its own offset.
        let (seconds, offset) = self.time;
        let shifted = seconds.saturating_add_signed(i64::from(offset) * 60);
        LocalTime { offset, ..LocalTime::utc(shifted * 1_000_000_000) }
    }
    fn pid(&self) -> u32 {
        self.numbers["pid"] as u32
    }
    fn took_ns(&self) -> u64 {
        self.numbers["took_us"] * 1000 + 999
    }
    fn status(&self) -> u16 {
        self.numbers["status"] as u16
    }
    fn sent(&self) -> u64 {
        self.numbers["sent"]
    }
    fn remote_addr(&self) -> &[u8] {
        self.variable("REMOTE_ADDR")
    }
    fn method(&self) -> &[u8] {
        self.variable("REQUEST_METHOD")
    }
    fn target(&self) -> &[u8] {
        self.variable("RAW_URI")
    }
    fn protocol(&self) -> &[u8] {
        self.variable("SERVER_PROTOCOL")
    }
    fn path(&self) -> &[u8] {
        self.variable("PATH_INFO")
    }
    fn query(&self) -> &[u8] {
        self.variable("QUERY_STRING")
    }
    fn environ(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.environ.get(name).map(|value| Cow::Borrowed(value.as_slice()))
    }
    fn request_header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        last(&self.request, name)
    }
    fn response_header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        last(&self.response, name)
    }
}

/// `\xhh` to octets.
fn octets(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut out = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        out.push(u8::from_str_radix(&part[..2], 16).unwrap());
        out.extend_from_slice(&part.as_bytes()[2..]);
    }
    out
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for line in include_str!("access_log/gunicorn.txt").lines() {
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        if key == "case" {
            cases.push(Case { name: rest.into(), ..Case::default() });
        }
        let Some(case) = cases.last_mut() else { continue };
        let pair = || {
            let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
            (name.to_owned(), octets(value))
        };
        match key {
            "case" | "" => {}
            "format" => case.format = String::from_utf8(octets(rest)).unwrap(),
            "time" => {
                let (seconds, offset) = rest.split_once(' ').unwrap();
                case.time = (seconds.parse().unwrap(), offset.parse().unwrap());
            }
            "env" => case.environ.extend([pair()]),
            "in" => case.request.push(pair()),
            "out" => case.response.push(pair()),
            "gunicorn" => case.gunicorn = octets(rest),
            "gateway" => case.gateway = Some(octets(rest)),
            number => drop(case.numbers.insert(number.into(), rest.parse().unwrap())),
        }
    }
    cases
}

fn render(case: &Case) -> Vec<u8> {
    let mut line = Vec::new();
    Format::parse(&case.format).unwrap().render(&mut line, case);
    line
}

#[test]
fn the_text_is_gunicorns() {
    let cases = cases();
    assert!(cases.len() >= 30);
    for case in &cases {
        let expected = case.gateway.as_ref().unwrap_or(&case.gunicorn);
        let (ours, expected) = (render(case).escape_ascii().to_string(), expected.escape_ascii());
        assert_eq!(ours, expected.to_string(), "{}", case.name);
    }
}

#[test]
fn where_ours_differs_gunicorns_is_not_plain_text() {
    for case in cases().iter().filter(|case| case.gateway.is_some()) {
        let line = &case.gunicorn;
        let has_backslash = line.windows(2).any(|two| two[0] == b'\\' && two[1] != b'"');
        assert!(has_backslash || !line.iter().all(|b| matches!(b, b' '..=b'~')), "{}", case.name);
    }
}

#[test]
fn a_request_that_was_never_read_is_dashes() {
    let mut case = Case {
        format: r#"%(h)s "%(r)s" %(m)s %(H)s [%(U)s%(q)s] %(s)s %(f)s %({host}i)s"#.into(),
        ..Case::default()
    };
    case.numbers = HashMap::from([("status".into(), 400)]);
    let line = String::from_utf8(render(&case)).unwrap();
    assert_eq!(line, r#"- "- - -" - - [] 400 - -"#);
}

#[test]
fn whatever_a_client_sends_is_one_line_of_ascii() {
    let all: Vec<u8> = (0..=255).collect();
    for mut case in cases().into_iter().filter(|case| case.format.is_ascii()) {
        for value in case.environ.values_mut() {
            value.clone_from(&all);
        }
        for (_, value) in case.request.iter_mut().chain(&mut case.response) {
            value.clone_from(&all);
        }
        let line = render(&case);
        assert!(line.iter().all(|b| matches!(b, b' '..=b'~')), "{}", case.name);
    }
}
