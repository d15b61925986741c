use super::*;
use crate::gateway::timing::Moments;
use crate::sys::shm::Shared;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The counters and records of so many places.
struct World {
    counters: Shared<Counters>,
    flights: Flights,
}

impl World {
    fn new(places: usize) -> World {
        World {
            counters: Shared::new(places).unwrap(),
            flights: Flights::new(places, false).unwrap(),
        }
    }

    fn snapshot(&self, states: &[Option<&'static str>], timed: bool) -> Snapshot {
        let place = |(slot, state): (usize, &Option<&'static str>)| Place {
            state: *state,
            pid: 100 + slot as u32,
            ..Place::read(slot, &self.counters[slot], &self.flights, timed, 0)
        };
        Snapshot {
            pid: 1,
            places: states.iter().enumerate().map(place).collect(),
            starts: 3,
            ends: vec![("told", 1), ("out_of_memory", 0)],
            reloads: 2,
            reloads_failed: 1,
            queues: Vec::new(),
        }
    }

    fn note(&self, slot: usize, us: u64) {
        let ended = 4 * us * 1000;
        let [queued, called, answered] = [1, 2, 3].map(|n| n * us * 1000);
        let moments = Moments { began: 0, queued, called, answered, ended };
        self.flights.timings(slot).unwrap().note(&moments.phases());
    }
}

fn text(snapshot: &Snapshot) -> String {
    let (page, media_type) = snapshot.prometheus();
    assert_eq!(media_type, b"text/plain; version=0.0.4; charset=utf-8");
    String::from_utf8(page).unwrap()
}

/// The samples of a page by name and labels; what the format says of its lines is checked.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let (mut found, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut helped, mut family, mut kind) = (String::new(), String::new(), String::new());
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help text");
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, its) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "HELP comes first");
            assert!(families.insert(name.to_owned()), "{name} twice");
            assert!(name.starts_with("gateway_"), "{name}");
            assert_eq!(its == "counter", name.ends_with("_total"), "{name}");
            (family, kind) = (name.to_owned(), its.to_owned());
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let bare = name.split('{').next().unwrap();
            let is_own = match kind.as_str() {
                "histogram" => {
                    ["_bucket", "_sum", "_count"].iter().any(|end| bare == family.clone() + end)
                }
                _ => bare == family,
            };
            assert!(is_own, "{line} in {family}");
            let value: f64 = value.parse().expect("a number");
            assert!(found.insert(name.to_owned(), value).is_none(), "{name} twice");
        }
    }
    found
}

#[test]
fn families_stand_together() {
    let mut families: Vec<_> = SERIES.iter().map(|series| series.family).collect();
    families.dedup();
    let unique: BTreeSet<_> = families.iter().collect();
    assert_eq!(unique.len(), families.len());
}

#[test]
fn a_page_has_what_all_workers_count() {
    let world = World::new(3);
    world.counters[0].requests.plus(5);
    world.counters[1].requests.plus(7);
    world.counters[1].count_status(204);
    world.counters[2].count_status(503);
    world.counters[2].limit(Limit::Body).up();
    for counters in world.counters.iter() {
        counters.connections.plus(2);
        counters.in_flight.plus(1);
    }
    let page = samples(&text(&world.snapshot(&[Some("ready"), None, Some("booting")], false)));
    for (name, value) in [
        ("gateway_requests_total", 12.0),
        ("gateway_responses_total{class=\"2xx\"}", 1.0),
        ("gateway_responses_total{class=\"5xx\"}", 1.0),
        ("gateway_responses_total{class=\"4xx\"}", 0.0),
        ("gateway_limits_hit_total{limit=\"max_body\"}", 1.0),
        // The second worker is gone, and its connections with it.
        ("gateway_connections", 4.0),
        ("gateway_requests_in_flight", 2.0),
        ("gateway_workers{state=\"ready\"}", 1.0),
        ("gateway_workers{state=\"booting\"}", 1.0),
        ("gateway_workers{state=\"stopping\"}", 0.0),
        ("gateway_worker_starts_total", 3.0),
        ("gateway_worker_exits_total{cause=\"told\"}", 1.0),
        ("gateway_worker_exits_total{cause=\"out_of_memory\"}", 0.0),
        ("gateway_reloads_total{result=\"ok\"}", 2.0),
        ("gateway_reloads_total{result=\"failed\"}", 1.0),
    ] {
        assert_eq!(page.get(name), Some(&value), "{name}");
    }
    assert!(!page.keys().any(|name| name.contains("phase")), "not measured");
    // Without an arbiter there is nobody who counts these.
    let alone = Snapshot { ends: Vec::new(), ..world.snapshot(&[Some("ready")], false) };
    assert!(!text(&alone).contains("gateway_worker_starts_total"));
}

#[test]
fn a_label_cannot_end_before_its_end() {
    let mut snapshot = World::new(1).snapshot(&[Some("ready")], false);
    let listener = "a\"b\\c\nd".to_owned();
    snapshot.add_queue(Queue { listener, waiting: 1, most: 2 });
    let page = samples(&text(&snapshot));
    assert_eq!(page[r#"gateway_listen_queue_connections{listener="a\"b\\c\nd"}"#], 1.0);
}

#[test]
fn a_page_has_the_phases_of_all_workers() {
    let world = World::new(2);
    world.note(0, 2);
    world.note(1, 3);
    world.note(1, 1_000_000_000);
    let page = samples(&text(&world.snapshot(&[Some("ready"), None], true)));
    let name = "gateway_request_phase_seconds";
    for phase in Phases::NAMES {
        let bucket = |le: &str| page[&format!("{name}_bucket{{phase=\"{phase}\",le=\"{le}\"}}")];
        let all = ["0.000001", "0.000002", "0.000005", "0.00001", "100", "+Inf"].map(bucket);
        assert_eq!(all, [0.0, 1.0, 2.0, 2.0, 2.0, 3.0], "{phase}");
        assert_eq!(page[&format!("{name}_count{{phase=\"{phase}\"}}")], 3.0);
        assert_eq!(page[&format!("{name}_sum{{phase=\"{phase}\"}}")], 1_000.000_005);
    }
}

#[test]
fn statistics_have_the_keys_of_uwsgi() {
    let world = World::new(2);
    world.counters[0].requests.plus(4);
    world.counters[0].begin();
    world.counters[0].requests.plus(3);
    world.counters[0].sent.plus(10);
    world.counters[0].in_flight.plus(1);
    world.note(0, 2000);
    let mut snapshot = world.snapshot(&[Some("ready"), None], true);
    for (waiting, most) in [(1, 100), (2, 200)] {
        snapshot.add_queue(Queue { listener: "[::1]:80".into(), waiting, most });
    }
    let (page, media_type) = snapshot.stats();
    assert_eq!(media_type, b"application/json");
    let page = String::from_utf8(page).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        concat!(
            r#"{{"version":"libgateway/{}","pid":1,"load":1,"listen_queue":3,"#,
            r#""listen_queue_errors":0,"#,
            r#""spawned":3,"reloads":2,"reloads_failed":1,"exits":{{"told":1,"out_of_memory":0}},"#,
            r#""sockets":[{{"name":"[::1]:80","queue":3,"max_queue":300}}],"#,
            r#""workers":[{{"id":1,"pid":100,"accepting":0,"requests":7,"delta_requests":3,"#,
            r#""exceptions":0,"harakiri_count":0,"status":"busy","rss":0,"generation":0,"#,
            r#""connections":0,"in_flight":1,"running_time":4000,"last_spawn":0,"#,
            r#""respawn_count":0,"tx":10,"rx":0,"avg_rt":4000,"cores":[]}},"#,
            r#"{{"id":2,"pid":0,"accepting":0,"requests":0,"delta_requests":0,"exceptions":0,"#,
            r#""harakiri_count":0,"status":"cheap","rss":0,"generation":0,"connections":0,"#,
            r#""in_flight":0,"running_time":0,"last_spawn":0,"respawn_count":0,"tx":0,"rx":0,"#,
            r#""avg_rt":0,"cores":[]}}]}}"#,
            "\n"
        ),
        version
    );
    assert_eq!(page, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is counted, by whomever, and whoever dies: what only grows never falls.
    #[test]
    fn nothing_goes_backwards(steps in proptest::collection::vec((0_usize..3, 0_u8..8, 0_u64..1 << 40), 1..60)) {
        let world = World::new(3);
        let mut states = [Some("ready"); 3];
        let mut before = samples(&text(&world.snapshot(&states, true)));
        for (slot, what, n) in steps {
            let counters = &world.counters[slot];
            match what {
                0 => counters.requests.plus(n),
                1 => counters.count_status((n % 700) as u16),
                2 => counters.connections.plus(n),
                3 => counters.received.plus(n),
                4 => world.note(slot, n % 1_000_000),
                5 => counters.limit(Limit::Head).up(),
                6 => states[slot] = None,
                _ => {
                    counters.begin();
                    states[slot] = Some("booting");
                }
            }
            let now = samples(&text(&world.snapshot(&states, true)));
            prop_assert_eq!(now.len(), before.len());
            for (name, value) in &before {
                let grows = name.contains("_total") || name.contains("_seconds");
                prop_assert!(!grows || now[name] >= *value, "{}", name);
            }
            before = now;
        }
    }
}
