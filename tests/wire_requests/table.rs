//! A table of octets and verdicts, and the ways to feed each case.

use gateway::wire::Limits;

use crate::wire_support::{Ending, LIMITS, Outcome, Random, drive, summary};

/// Octets and what comes out, as [`summary`] says it.
struct Case {
    rule: String,
    octets: Vec<u8>,
    want: String,
    limits: Limits,
}

#[derive(Default)]
pub(crate) struct Table(Vec<Case>);

impl Table {
    pub(crate) fn add(&mut self, rule: &str, octets: impl AsRef<[u8]>, want: &str) {
        self.limited(LIMITS, rule, octets, want);
    }

    pub(crate) fn limited(
        &mut self,
        limits: Limits,
        rule: &str,
        octets: impl AsRef<[u8]>,
        want: &str,
    ) {
        self.0.push(Case {
            rule: rule.into(),
            octets: octets.as_ref().to_vec(),
            want: want.into(),
            limits,
        });
    }

    /// A GET with these fields beside Host.
    pub(crate) fn get(&mut self, rule: &str, fields: impl AsRef<[u8]>, want: &str) {
        self.add(rule, with_fields("GET / HTTP/1.1\r\nHost: h\r\n", fields.as_ref()), want);
    }

    /// A GET of HTTP/1.1 with this line in the place of Host.
    pub(crate) fn host(&mut self, rule: &str, line: &str, want: &str) {
        self.add(rule, with_fields("GET / HTTP/1.1\r\n", line.as_bytes()), want);
    }

    /// A request line in front of a good Host.
    pub(crate) fn line(&mut self, rule: &str, line: impl AsRef<[u8]>, want: &str) {
        let mut octets = line.as_ref().to_vec();
        octets.extend_from_slice(b"\r\nHost: h\r\n\r\n");
        self.add(rule, octets, want);
    }

    /// A chunked POST with this behind its head.
    pub(crate) fn chunks(&mut self, rule: &str, body: impl AsRef<[u8]>, want: &str) {
        self.add(rule, chunked(body.as_ref()), want);
    }

    pub(crate) fn run(&self) {
        let mut failures = Vec::new();
        for case in &self.0 {
            if let Err(failure) = check(case) {
                failures.push(format!(
                    "{}\n  octets {}\n  {failure}",
                    case.rule,
                    case.octets.escape_ascii()
                ));
            }
        }
        assert!(
            failures.is_empty(),
            "{} of {} cases\n{}",
            failures.len(),
            self.0.len(),
            failures.join("\n")
        );
    }
}

fn with_fields(start: &str, fields: &[u8]) -> Vec<u8> {
    let mut octets = start.as_bytes().to_vec();
    octets.extend_from_slice(fields);
    if !fields.is_empty() && !fields.ends_with(b"\n") {
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(b"\r\n");
    octets
}

pub(crate) fn chunked(body: &[u8]) -> Vec<u8> {
    let mut octets = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    octets.extend_from_slice(body);
    octets
}

fn check(case: &Case) -> Result<(), String> {
    let whole = drive(case.limits, &case.octets, &mut || usize::MAX);
    if summary(&whole) != case.want {
        let reason = match whole.ending {
            Ending::Refused(reject) => reject.reason,
            _ => "",
        };
        return Err(format!("want {}\n  got  {} ({reason})", case.want, summary(&whole)));
    }
    let same = |how: &str, got: &Outcome, want: &Outcome| {
        if got == want {
            return Ok(());
        }
        Err(format!("{how}\n  got  {got:?}\n  want {want:?}"))
    };
    same("one octet at a time", &drive(case.limits, &case.octets, &mut || 1), &whole)?;
    for seed in 1..=12 {
        let mut random = Random(seed);
        let got = drive(case.limits, &case.octets, &mut || 1 + random.below(40));
        same(&format!("cut at random, seed {seed}"), &got, &whole)?;
    }
    for first in 1..case.octets.len().min(600) {
        let mut lens = [first].into_iter();
        let got = drive(case.limits, &case.octets, &mut || lens.next().unwrap_or(usize::MAX));
        same(&format!("cut once, behind {first} octets"), &got, &whole)?;
    }

    let good = b"PUT /first HTTP/1.1\r\nHost: first\r\nContent-Length: 3\r\n\r\nabc";
    let mut behind = whole.clone();
    let first = drive(LIMITS, good, &mut || usize::MAX);
    behind.requests.insert(0, first.requests[0].clone());
    let octets = [&good[..], &case.octets].concat();
    // The first request must not meet the limits of the case.
    if drive(case.limits, good, &mut || usize::MAX) == first {
        same("pipelined", &drive(case.limits, &octets, &mut || usize::MAX), &behind)?;
        same("pipelined, octet by octet", &drive(case.limits, &octets, &mut || 1), &behind)?;
    }
    Ok(())
}
