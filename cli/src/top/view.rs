//! What `gateway top` shows, as lines of plain text: the totals, the workers, the requests in flight.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::link::plain;

/// Room for lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Size {
    /// For what is no screen.
    pub(crate) const UNLIMITED: Size = Size { width: usize::MAX, height: usize::MAX };
}

/// An earlier answer, and how long ago it came.
pub(crate) type Before<'a> = (&'a Value, Duration);

const WORKERS: &str =
    "WORKER      PID STATE      GEN   REQUESTS   RATE/S RUNNING  CONNS     RSS      AGE RESTARTS";
const REQUESTS: &str = "WORKER      PID      AGE PHASE METHOD  TARGET";

/// Lines that are not a worker's or a request's: totals, heads, and what stands between.
const OTHERS: usize = 6;

/// No more lines than there is room for, and none wider.
pub(crate) fn frame(status: &Value, before: Option<Before<'_>>, size: Size) -> Vec<String> {
    let workers: Vec<_> = rows(status, "workers").filter(|it| it["status"] != "cheap").collect();
    let mut requests: Vec<(&Value, &Value)> = workers
        .iter()
        .flat_map(|worker| rows(worker, "cores").map(move |core| (*worker, core)))
        .collect();
    requests.sort_by_key(|(_, core)| std::cmp::Reverse(number(core, "age")));
    let room = size.height.saturating_sub(OTHERS);
    // Requests have a third at least, if there are so many.
    let of_workers = workers.len().min(room - requests.len().min(room.div_ceil(3)));
    let of_requests = requests.len().min(room - of_workers);

    let mut lines = totals(status, &workers, requests.len(), before);
    lines.push(String::new());
    lines.push(WORKERS.into());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let shown = workers.iter().take(of_workers);
    lines.extend(shown.map(|worker| worker_row(worker, now, before)));
    // In its own line only where it is no more than that: the heads tell how many there are.
    lines.push(String::new());
    lines.push(REQUESTS.into());
    lines.extend(requests.iter().take(of_requests).map(|(worker, core)| request_row(worker, core)));
    for line in &mut lines {
        // All of it is ASCII.
        line.truncate(size.width);
    }
    lines.truncate(size.height);
    lines
}

fn totals(
    status: &Value,
    workers: &[&Value],
    in_flight: usize,
    before: Option<Before<'_>>,
) -> Vec<String> {
    let sum = |name: &str| workers.iter().map(|it| number(it, name)).sum::<u64>();
    // Those of all places: what is empty now has counted, too.
    let all = |status: &Value, name: &str| rows(status, "workers").map(|it| number(it, name)).sum();
    let since =
        |name: &str| rate(before.map(|(before, ago)| (all(before, name), ago)), all(status, name));
    let octets_since = |name: &str| match before {
        Some((before, ago)) => {
            octets(per_second(all(before, name), all(status, name), ago) as u64) + "/s"
        }
        None => "-".into(),
    };
    let left_off = match number(status, "requests_left_off") {
        0 => String::new(),
        n => format!(" (+{n} not shown)"),
    };
    let failure = match status["reload_error"].as_str() {
        Some(why) => format!("; the last reload failed: {}", plain(why)),
        None => String::new(),
    };
    let requests: u64 = all(status, "requests");
    vec![
        format!(
            "{} pid {}: {}, {} of {} workers, {} started, {} reloads{failure}",
            plain(text(status, "version")),
            number(status, "pid"),
            plain(text(status, "state")),
            workers.len(),
            number(status, "target"),
            number(status, "spawned"),
            number(status, "reloads"),
        ),
        format!(
            "requests {requests}, {}/s; in flight {in_flight}{left_off}; connections {}, waiting {}; in {}, out {}; \
             failed {}",
            since("requests"),
            sum("connections"),
            number(status, "listen_queue"),
            octets_since("rx"),
            octets_since("tx"),
            all(status, "exceptions"),
        ),
    ]
}

fn worker_row(worker: &Value, now: u64, before: Option<Before<'_>>) -> String {
    let requests = number(worker, "requests");
    let earlier = before.and_then(|(before, ago)| {
        let same = rows(before, "workers").find(|it| it["id"] == worker["id"])?;
        Some((number(same, "requests"), ago))
    });
    let age = match number(worker, "last_spawn") {
        0 => "-".into(),
        spawned => age(now.saturating_sub(spawned)),
    };
    format!(
        "{:>6} {:>8} {:<9} {:>4} {:>10} {:>8} {:>7} {:>6} {:>7} {:>8} {:>8}",
        number(worker, "id"),
        number(worker, "pid"),
        plain(text(worker, "status")),
        number(worker, "generation"),
        requests,
        rate(earlier, requests),
        number(worker, "in_flight"),
        number(worker, "connections"),
        octets(number(worker, "rss")),
        age,
        number(worker, "respawn_count").saturating_sub(1),
    )
}

fn request_row(worker: &Value, core: &Value) -> String {
    let us = number(core, "age");
    let age = match us {
        0..10_000_000 => format!("{:.2}s", us as f64 / 1e6),
        _ => age(us / 1_000_000),
    };
    format!(
        "{:>6} {:>8} {:>8} {:<5} {:<7} {}",
        number(worker, "id"),
        number(worker, "pid"),
        age,
        plain(text(core, "phase")),
        plain(text(core, "method")),
        plain(text(core, "target")),
    )
}

fn rows<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[name].as_array().into_iter().flatten()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("-")
}

fn per_second(before: u64, now: u64, ago: Duration) -> f64 {
    now.saturating_sub(before) as f64 / ago.as_secs_f64().max(1e-3)
}

fn rate(before: Option<(u64, Duration)>, now: u64) -> String {
    before.map_or("-".into(), |(before, ago)| format!("{:.1}", per_second(before, now, ago)))
}

/// In four digits or less.
pub(crate) fn octets(n: u64) -> String {
    let units = ["", "K", "M", "G", "T"];
    let (mut n, mut unit) = (n as f64, 0);
    while n >= 1024.0 && unit + 1 < units.len() {
        (n, unit) = (n / 1024.0, unit + 1);
    }
    if unit > 0 && n < 10.0 {
        format!("{n:.1}{}", units[unit])
    } else {
        format!("{n:.0}{}", units[unit])
    }
}

fn age(s: u64) -> String {
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(requests: u64) -> Value {
        json!({
            "ok": true, "state": "ready", "target": 2, "version": "libgateway/1", "pid": 77,
            "listen_queue": 1, "spawned": 5, "reloads": 2, "requests_left_off": 3,
            "reload_error": "\u{1b}[2J",
            "workers": [
                { "id": 1, "pid": 100, "status": "busy", "generation": 2, "requests": requests,
                  "in_flight": 2, "connections": 3, "rss": 5_000_000, "last_spawn": 1, "respawn_count": 4,
                  "tx": 4096, "rx": 0, "exceptions": 1, "cores": [
                    { "phase": "app", "age": 1_500_000, "method": "GET", "target": "/young" },
                    { "phase": "app", "age": 75_000_000, "method": "POST",
                      "target": "/\u{1b}]0;x\u{7}\u{9b}\u{202e}\n" } ] },
                { "id": 2, "pid": 0, "status": "cheap", "requests": 10, "tx": 0, "exceptions": 1 },
                { "id": 3, "pid": 102, "status": "booting", "requests": 0 },
            ],
        })
    }

    #[test]
    fn a_frame_has_totals_workers_and_requests() {
        let (before, now) = (status(100), status(150));
        let second = Duration::from_secs(2);
        let lines = frame(&now, Some((&before, second)), Size::UNLIMITED);
        assert_eq!(
            lines[0],
            "libgateway/1 pid 77: ready, 2 of 2 workers, 5 started, 2 reloads; the last \
                              reload failed: \\u{1b}[2J"
        );
        assert_eq!(
            lines[1],
            "requests 160, 25.0/s; in flight 2 (+3 not shown); connections 3, waiting 1; \
                              in 0/s, out 0/s; failed 2"
        );
        assert_eq!((&*lines[2], &*lines[3]), ("", WORKERS));
        assert!(lines[4].starts_with(
            "     1      100 busy         2        150     25.0       2      3    4.8M"
        ));
        assert!(lines[4].ends_with(" 3"), "three restarts: {}", lines[4]);
        assert!(lines[5].starts_with("     3      102 booting      0          0      0.0"));
        assert_eq!((&*lines[6], &*lines[7]), ("", REQUESTS));
        assert_eq!(
            lines[8],
            "     1      100    1m15s app   POST    /\\u{1b}]0;x\\u{7}\\u{9b}\\u{202e}\\n"
        );
        assert_eq!(lines[9], "     1      100    1.50s app   GET     /young");
        assert_eq!(lines.len(), 10);
        assert!(lines.iter().all(|line| line.bytes().all(|octet| (b' '..=b'~').contains(&octet))));
        assert!(frame(&now, None, Size::UNLIMITED)[1].contains("requests 160, -/s"));
    }

    #[test]
    fn a_frame_fits_whatever_the_size_and_whatever_is_said() {
        let mut many = status(1);
        let core = json!({ "phase": "app", "age": 1, "method": "GET", "target": "/" });
        many["workers"][0]["cores"] = vec![core; 50].into();
        let worker = json!({ "id": 9, "pid": 9, "status": "idle" });
        many["workers"].as_array_mut().unwrap().extend(vec![worker; 50]);
        for (width, height) in
            [(0, 0), (1, 1), (10, 3), (80, 7), (80, 8), (80, 24), (200, 60), (80, 500)]
        {
            let lines = frame(&many, None, Size { width, height });
            assert!(lines.len() <= height && lines.iter().all(|line| line.len() <= width));
            if height == 24 {
                assert_eq!(lines.len(), 24);
                assert_eq!(lines.iter().filter(|line| line.contains(" app ")).count(), 6);
            }
        }
        for odd in [json!(null), json!([1]), json!({"workers": 3}), json!({"workers": [1, null]})] {
            frame(&odd, Some((&odd, Duration::ZERO)), Size { width: 80, height: 24 });
        }
    }

    #[test]
    fn numbers_are_short() {
        let all = [0, 1023, 1024, 10_000, 5_000_000, 1 << 40].map(octets);
        assert_eq!(all, ["0", "1023", "1.0K", "9.8K", "4.8M", "1.0T"]);
        assert_eq!(
            [59, 60, 3_599, 3_600, 90_000].map(age),
            ["59s", "1m00s", "59m59s", "1h00m", "1d01h"]
        );
    }
}
