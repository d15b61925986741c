//! Whether two outcomes are the same, but for what is named.

use std::fmt::Write;

use crate::ask::{Answer, Outcome};
use crate::cases::{Case, Difference};

/// What is wrong with the answer that nothing was in front of.
pub fn check(case: &Case, outcome: &Outcome) -> Result<(), String> {
    let answer = match outcome {
        Outcome::Left => return Ok(()),
        Outcome::Cut(_) if case.cut => return Ok(()),
        Outcome::Cut(problem) => return Err(problem.clone()),
        Outcome::Answer(_) if case.cut => return Err("it is whole".to_owned()),
        Outcome::Answer(answer) => answer,
    };
    let mut wrong = String::new();
    if answer.status != case.status {
        let _ = write!(wrong, "status {}, not {}; ", answer.status, case.status);
    }
    if case.reason.as_ref().is_some_and(|reason| *reason != answer.reason) {
        let _ = write!(wrong, "reason {:?}; ", answer.reason);
    }
    let headers: Vec<_> = answer.headers.iter().map(|it| format!("{}: {}", it.0, it.1)).collect();
    for missing in case.has.iter().filter(|it| !headers.contains(it)) {
        let _ = write!(wrong, "no {missing:?} in {headers:?}; ");
    }
    let body = String::from_utf8_lossy(&answer.body);
    for missing in case.lines.iter().filter(|line| !body.lines().any(|it| it == **line)) {
        let _ = write!(wrong, "no line {missing:?} in {body:?}; ");
    }
    if case.count.is_some_and(|count| count != answer.body.len()) {
        let _ = write!(wrong, "a body of {} octets; ", answer.body.len());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// How `there` differs from `here`, where nothing is in front, apart from `differences`.
pub fn compare(
    case: &Case,
    here: &Outcome,
    there: &Outcome,
    differences: &[&Difference],
) -> Result<(), String> {
    let refused = |status| differences.iter().any(|it| it.status.contains(&status));
    match (here, there) {
        (Outcome::Left, Outcome::Left) => Ok(()),
        (_, Outcome::Answer(answer)) if refused(answer.status) => Ok(()),
        (Outcome::Cut(_), Outcome::Cut(_)) => Ok(()),
        // Who has told nothing yet can still say it with a status.
        (Outcome::Cut(_), Outcome::Answer(answer)) if case.cut && answer.status >= 500 => Ok(()),
        (Outcome::Cut(_), Outcome::Answer(answer)) => {
            let whole = differences.iter().any(|it| it.whole);
            let end = if whole { Ok(()) } else { Err("it looks whole".to_owned()) };
            end.map_err(|text: String| format!("{text}: {}", shown(answer)))
        }
        (Outcome::Answer(here), Outcome::Answer(there)) => answers(case, here, there, differences),
        (Outcome::Answer(_), Outcome::Cut(_)) if differences.iter().any(|it| it.none) => Ok(()),
        (here, there) => Err(format!("{here:?} became {there:?}")),
    }
}

fn answers(
    case: &Case,
    here: &Answer,
    there: &Answer,
    differences: &[&Difference],
) -> Result<(), String> {
    let (mut here, mut there) = (here.clone(), there.clone());
    let is_told = here.body.starts_with(b"method: ");
    let has_body = case.method != "HEAD" && here.status != 304;
    let length = |it: &Answer| length(it).map(str::to_owned);
    let framing = match (length(&here), length(&there)) {
        (Some(_), None) => true,
        (None, Some(_)) => has_body,
        // What is told has another length with other words.
        (Some(_), Some(_)) => is_told,
        (None, None) => false,
    };
    if framing && differences.iter().any(|it| it.framing) {
        here.headers.retain(|it| !it.0.eq_ignore_ascii_case("content-length"));
        there.headers.retain(|it| !it.0.eq_ignore_ascii_case("content-length"));
    }
    if is_told && differences.iter().any(|it| it.length) {
        with_length(&mut here);
        with_length(&mut there);
    }
    let (here, there) = (&here, &there);
    let mut wrong = String::new();
    if here.status != there.status {
        let _ = write!(wrong, "status {} became {} ", here.status, shown(there));
        return Err(wrong);
    }
    if here.reason != there.reason && !differences.iter().any(|it| it.reason) {
        let _ = write!(wrong, "reason {:?} became {:?}; ", here.reason, there.reason);
    }
    let (these, those) = (headers(here, differences), headers(there, differences));
    let lack = these.iter().filter(|it| !those.contains(it));
    let more = those.iter().filter(|it| !these.contains(it));
    let (lack, more): (Vec<_>, Vec<_>) = (lack.collect(), more.collect());
    if these != those {
        let _ = write!(wrong, "headers -{lack:?} +{more:?}; ");
    }
    if is_told {
        let (these, those) = (lines(here, differences), lines(there, differences));
        for line in these.iter().filter(|it| !those.contains(it)) {
            let _ = write!(wrong, "\n        - {line}");
        }
        for line in those.iter().filter(|it| !these.contains(it)) {
            let _ = write!(wrong, "\n        + {line}");
        }
    } else if here.body != there.body && !differences.iter().any(|it| it.body) {
        let _ = write!(wrong, "another body: {}", shown(there));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn length(answer: &Answer) -> Option<&str> {
    let mut headers = answer.headers.iter();
    headers.find(|it| it.0.eq_ignore_ascii_case("content-length")).map(|it| it.1.as_str())
}

/// A length that was not told is that of the body.
fn with_length(answer: &mut Answer) {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let count = text.rsplit_once("body: ").and_then(|(_, rest)| rest.split(' ').next());
    let told = format!("content_length: {:?}", count.unwrap_or_default());
    answer.body = text.replace("content_length: none", &told).into();
}

/// Sorted by name, which says nothing; those of one name stay in their order, which does.
fn headers(answer: &Answer, differences: &[&Difference]) -> Vec<(String, String)> {
    let is_left_out = |name: &str| {
        let mut names = differences.iter().flat_map(|it| &it.headers);
        names.any(|it| it.eq_ignore_ascii_case(name))
    };
    let lower = differences.iter().any(|it| it.lower);
    let joined = differences.iter().any(|it| it.joined);
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in answer.headers.iter().filter(|it| !is_left_out(&it.0)) {
        let name = if lower || joined { name.to_lowercase() } else { name.clone() };
        let before = all.iter_mut().find(|it| it.0 == name && name != "set-cookie");
        match before.filter(|_| joined) {
            Some((_, before)) => *before += &format!(", {value}"),
            None => all.push((name, value.clone())),
        }
    }
    all.sort_by_key(|(name, _)| name.to_lowercase());
    all
}

fn lines(answer: &Answer, differences: &[&Difference]) -> Vec<String> {
    let is_left_out = |line: &str| {
        let mut names = differences.iter().flat_map(|it| &it.lines);
        names.any(|it| line.split_once(':').is_some_and(|(name, _)| name == it))
    };
    let text = String::from_utf8_lossy(&answer.body);
    text.lines().filter(|line| !is_left_out(line)).map(str::to_owned).collect()
}

pub fn shown(answer: &Answer) -> String {
    let body = &answer.body[..answer.body.len().min(200)];
    let (len, body) = (answer.body.len(), String::from_utf8_lossy(body));
    format!("{} {} {:?} {len} octets {body:?}", answer.status, answer.reason, answer.headers)
}
