//! The data: `requests.toml`, and `differences.toml`.

use serde::Deserialize;

/// A request, and what is known of its answer; `requests.toml` says what the fields mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(default = "get")]
    pub method: String,
    pub target: String,
    #[serde(default = "one_one")]
    pub version: String,
    #[serde(default)]
    pub headers: Vec<String>,
    body: Option<usize>,
    text: Option<String>,
    #[serde(default)]
    pub chunked: bool,
    pub piece: Option<usize>,
    #[serde(default)]
    pub pause: u64,
    #[serde(default)]
    pub slow: u64,
    #[serde(default)]
    pub expect: bool,
    pub leaves: Option<String>,
    #[serde(default)]
    pub mounted: bool,
    #[serde(default)]
    pub cut: bool,
    #[serde(default = "ok")]
    pub status: u16,
    pub reason: Option<String>,
    #[serde(default)]
    pub has: Vec<String>,
    #[serde(default)]
    pub lines: Vec<String>,
    pub count: Option<usize>,
}

fn get() -> String {
    "GET".to_owned()
}

fn one_one() -> String {
    "1.1".to_owned()
}

fn ok() -> u16 {
    200
}

impl Case {
    /// The target's octets.
    pub fn target(&self) -> Vec<u8> {
        octets(&expanded(&self.target)[0])
    }

    /// The headers' lines.
    pub fn headers(&self) -> Vec<Vec<u8>> {
        self.headers.iter().flat_map(|line| expanded(line)).map(|line| octets(&line)).collect()
    }

    /// The body, if there is one.
    pub fn body(&self) -> Option<Vec<u8>> {
        // All octets, in no simple order.
        let pattern = |n: usize| (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 15) as u8);
        match (&self.text, self.body) {
            (Some(text), _) => Some(octets(text)),
            (None, Some(n)) => Some(pattern(n).collect()),
            (None, None) => None,
        }
    }
}

/// `{x*3}` is `xxx`; of a text that is nothing but `{a#*3}`, the texts `a1`, `a2` and `a3`.
fn expanded(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
    let Some((inner, after)) = rest.split_once('}') else { return vec![text.to_owned()] };
    let Some((what, times)) = inner.rsplit_once('*') else { return vec![text.to_owned()] };
    let Ok(times) = times.parse::<usize>() else { return vec![text.to_owned()] };
    if what.contains('#') {
        return (1..=times).map(|i| what.replace('#', &i.to_string())).collect();
    }
    vec![format!("{before}{}{after}", what.repeat(times))]
}

/// `\xNN` is an octet.
fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        octets.extend(before.as_bytes());
        let (digits, left) = after.split_at(2);
        octets.push(u8::from_str_radix(digits, 16).expect("two digits after \\x"));
        rest = left;
    }
    octets.extend(rest.as_bytes());
    octets
}

/// What may differ, and why; `differences.toml` says what the fields mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    pub why: String,
    pub fronts: Vec<String>,
    #[serde(default)]
    pub cases: Vec<String>,
    #[serde(default)]
    pub headers: Vec<String>,
    #[serde(default)]
    pub lines: Vec<String>,
    #[serde(default)]
    pub status: Vec<u16>,
    #[serde(default)]
    pub reason: bool,
    #[serde(default)]
    pub lower: bool,
    #[serde(default)]
    pub joined: bool,
    #[serde(default)]
    pub whole: bool,
    #[serde(default)]
    pub framing: bool,
    #[serde(default)]
    pub length: bool,
    #[serde(default)]
    pub none: bool,
    #[serde(default)]
    pub body: bool,
}

impl Difference {
    /// Whether it is about this case, asked by this way.
    pub fn is_of(&self, front: &str, case: &Case) -> bool {
        let is = |pattern: &String| match pattern.split_once('*') {
            Some((before, after)) => front.starts_with(before) && front.ends_with(after),
            None => front == pattern,
        };
        self.fronts.iter().any(is) && (self.cases.is_empty() || self.cases.contains(&case.name))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Differences {
    difference: Vec<Difference>,
}

pub fn cases() -> Vec<Case> {
    let read = toml::from_str::<Requests>(include_str!("requests.toml"));
    read.unwrap_or_else(|error| panic!("requests.toml: {error}")).case
}

pub fn differences() -> Vec<Difference> {
    let read = toml::from_str::<Differences>(include_str!("differences.toml"));
    read.unwrap_or_else(|error| panic!("differences.toml: {error}")).difference
}
