use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::sys::sock::Peer;

fn entry<'a>(id: u64, target: &'a [u8], peer: &'a Peer) -> Entry<'a> {
    Entry { id, began_ns: id * 1000, method: b"GET", target, peer }
}

fn all(flights: &Flights, slot: usize, which: Which, now_ns: u64) -> Vec<Info> {
    let mut all = Vec::new();
    flights.each(slot, which, now_ns, |info| all.push(*info));
    all
}

fn ids(flights: &Flights, slot: usize, which: Which) -> Vec<u64> {
    all(flights, slot, which, u64::MAX).iter().map(|info| info.id).collect()
}

#[test]
fn a_request_is_seen_as_it_is() {
    let flights = Arc::new(Flights::new(3, false).unwrap());
    let mut recorder = Recorder::new(Arc::clone(&flights), 2, 7, 0);
    let (seat, thread) = (recorder.seat(0), recorder.seat(2));
    let peer = Peer::v6(Ipv6Addr::LOCALHOST, 65_000);
    let long = vec![b'x'; 1000];
    let mut look = |method: &[u8], target: &[u8]| {
        let request =
            recorder.begin(&Entry { id: 9, began_ns: 5_000_000, method, target, peer: &peer });
        (request, seat.look(request, 12_000_000).unwrap())
    };
    let short = b"/2345678901234567890";
    for target in (0..short.len()).map(|n| &short[..n]).chain([&long[..255], &long]) {
        let (_, info) = look(b"GET", target);
        assert_eq!(info.target(), &target[..target.len().min(255)]);
        assert_eq!(info.method(), b"GET");
    }
    let (request, info) = look(b"PROPPATCH-AND-MORE", b"/a\n%ff");
    assert_eq!(info.method(), b"PROPPATCH-AND-M");
    assert_eq!((info.slot, info.pid, info.generation), (2, std::process::id(), 7));
    assert_eq!(
        (info.phase, info.status, info.age_ns, info.took_ns),
        (Phase::Read, 0, 7_000_000, 0)
    );
    assert_eq!((info.address(), info.port()), (&b"::1"[..], &b"65000"[..]));
    let text = info.to_string();
    assert_eq!(
        text,
        "PROPPATCH-AND-M /a\\n%ff (id 0000000000000009) from [::1]:65000, 7 ms: its body is awaited"
    );

    // In a thread, since two moments of which the first does not count any more.
    thread.enter(request, 7);
    seat.set_phase(request, Phase::App);
    assert_eq!(seat.look(request, 0).unwrap().thread, 2);
    thread.stay(9);
    assert_eq!(flights.inside_since(2), Some(9));
    assert_eq!(flights.inside(2, 9, true), [(9, request)]);
    assert_eq!(flights.inside(2, 8, true), []);
    assert_eq!(flights.culprit(2, 0).unwrap().id, 9);
    assert_eq!((flights.culprit(0, 0).map(|it| it.id), flights.inside_since(0)), (None, None));
    thread.leave();
    assert!(flights.culprit(2, 0).is_none());

    // And on the loop, which is not one of the threads.
    seat.enter(request, 3);
    assert_eq!((flights.inside_since(2), flights.unanswered_since(2)), (None, Some(3)));
    seat.set_phase(request, Phase::Write);
    assert_eq!(flights.unanswered_since(2), None);
    seat.leave();

    seat.finish(request, 404, 6_000_000);
    let info = seat.look(request, 50_000_000).unwrap();
    assert_eq!((info.phase, info.status, info.took_ns), (Phase::Ended, 404, 1_000_000));
    assert_eq!(all(&flights, 2, Which::InFlight, 0).len(), 22);
    assert_eq!(all(&flights, 2, Which::Recent, 0).len(), 23);
}

#[test]
fn the_last_are_kept_and_no_more_memory_is_touched_than_needed() {
    let flights = Arc::new(Flights::new(1, false).unwrap());
    let mut recorder = Recorder::new(Arc::clone(&flights), 0, 0, 0);
    let seat = recorder.seat(0);
    let peer = Peer::v4(Ipv4Addr::LOCALHOST, 1);
    for id in 1..=1000 {
        let request = recorder.begin(&entry(id, b"/", &peer));
        seat.finish(request, 200, id * 1000);
        recorder.give_back(request);
    }
    // One more than are kept.
    assert_eq!(recorder.used, KEPT + 1);
    let all = ids(&flights, 0, Which::Recent);
    assert_eq!(all, (1000 - KEPT as u64 + 1..=1000).collect::<Vec<_>>());
    assert!(ids(&flights, 0, Which::InFlight).is_empty());
}

#[test]
fn beyond_the_bound_requests_go_unrecorded() {
    let flights = Arc::new(Flights::new(1, false).unwrap());
    let mut recorder = Recorder::new(Arc::clone(&flights), 0, 0, 0);
    let seat = recorder.seat(0);
    let peer = Peer::unix();
    let all: Vec<_> = (1..=2000).map(|id| recorder.begin(&entry(id, b"/", &peer))).collect();
    let there = all.iter().filter(|number| **number != 0).count();
    assert_eq!(there, BLOCKS * BLOCK);
    assert_eq!(ids(&flights, 0, Which::InFlight).len(), there);
    // What has no record can be written about, too.
    seat.enter(0, 5);
    seat.set_phase(0, Phase::App);
    seat.finish(0, 200, 9);
    assert!(flights.culprit(0, 9).is_none() && flights.inside_since(0).is_none());
    for number in all {
        seat.finish(number, 200, 1);
        recorder.give_back(number);
    }
    assert!((0..100).all(|id| recorder.begin(&entry(id, b"/", &peer)) != 0));
    // Blocks that another has are not to be had.
    let flights = Arc::new(Flights::new(200, false).unwrap());
    let peer = Peer::unix();
    let mut taken = 0;
    for slot in 0..200 {
        let mut recorder = Recorder::new(Arc::clone(&flights), slot, 0, 0);
        let numbers = (0..1088).map(|id| recorder.begin(&entry(id, b"/", &peer)));
        taken += numbers.filter(|number| *number != 0).count();
    }
    assert_eq!(taken, BLOCKS_MAX * BLOCK);
    assert!(ids(&flights, 199, Which::Recent).is_empty());
}

#[test]
fn a_successor_keeps_what_the_dead_have_left() {
    let flights = Arc::new(Flights::new(2, false).unwrap());
    let peer = Peer::v4(Ipv4Addr::LOCALHOST, 1);
    let mut first = Recorder::new(Arc::clone(&flights), 1, 0, 0);
    let seat = first.seat(3);
    for id in 1..=100 {
        let request = first.begin(&entry(id, b"/old", &peer));
        if id <= 80 {
            seat.finish(request, 200, id * 1000 + 5);
            first.give_back(request);
        }
    }
    seat.enter(1, 5);
    // It is killed in the middle of a record.
    let half = first.begin(&entry(101, b"/half", &peer));
    flights.record(half).unwrap().turn.fetch_add(1, Ordering::Relaxed);
    assert!(seat.look(half, 0).is_none(), "and nobody waits for it");
    assert_eq!(ids(&flights, 1, Which::InFlight), (81..=100).collect::<Vec<_>>());
    drop(first);

    let used = flights.desks[1].used.load(Ordering::Relaxed) as usize;
    let mut second = Recorder::new(Arc::clone(&flights), 1, 1, 200_000);
    assert!(flights.inside_since(1).is_none());
    let seat = second.seat(0);
    assert!(ids(&flights, 1, Which::InFlight).is_empty());
    let lost = all(&flights, 1, Which::Recent, 0);
    assert_eq!(lost.iter().filter(|info| info.phase == Phase::Lost).count(), 20);
    for id in 201..=230 {
        let request = second.begin(&entry(id, b"/new", &peer));
        seat.finish(request, 200, id * 1000);
        second.give_back(request);
    }
    // The newest 64 of both, and no more memory.
    assert_eq!(flights.desks[1].used.load(Ordering::Relaxed) as usize, used);
    let all = ids(&flights, 1, Which::Recent);
    assert_eq!(all.len(), KEPT);
    for id in (81..=100).chain(201..=230) {
        assert!(all.contains(&id), "{id}: {all:?}");
    }
}

/// It may end while it is read.
#[test]
fn what_is_seen_in_flight_has_not_ended() {
    let flights = Arc::new(Flights::new(1, false).unwrap());
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut recorder = Recorder::new(Arc::clone(&flights), 0, 0, 0);
            let (seat, peer) = (recorder.seat(0), Peer::unix());
            while !ends.load(Ordering::Relaxed) {
                let all: [_; 50] = std::array::from_fn(|_| recorder.begin(&entry(1, b"/", &peer)));
                for request in all {
                    seat.finish(request, 200, 1);
                    recorder.give_back(request);
                }
            }
        });
        let (mut seen, mut ended) = (0, 0);
        while seen < 20_000 {
            let all = all(&flights, 0, Which::InFlight, 0);
            seen += all.len();
            ended += all.iter().filter(|info| !info.phase.is_in_flight()).count();
        }
        ends.store(true, Ordering::Relaxed);
        assert_eq!(ended, 0);
    });
}

/// Whoever reads while it is written sees one request or another, and never a mixture.
#[test]
fn what_is_read_belongs_together() {
    let flights = Arc::new(Flights::new(1, false).unwrap());
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut recorder = Recorder::new(Arc::clone(&flights), 0, 0, 0);
            let seat = recorder.seat(0);
            let mut id = 0;
            while !ends.load(Ordering::Relaxed) {
                id += 1;
                let target = vec![b'a' + (id % 26) as u8; 1 + id as usize % 250];
                let peer = Peer::v4(Ipv4Addr::LOCALHOST, id as u16);
                let request = recorder.begin(&entry(id, &target, &peer));
                seat.finish(request, (id % 500) as u16, id * 2000);
                recorder.give_back(request);
            }
        });
        let mut seen = 0;
        while seen < 20_000 {
            for info in all(&flights, 0, Which::Recent, u64::MAX) {
                let id = info.id;
                let expected = vec![b'a' + (id % 26) as u8; 1 + id as usize % 250];
                assert_eq!(info.target(), expected, "{info:?}");
                assert_eq!(info.port(), (id as u16).to_string().as_bytes());
                assert_eq!(info.age_ns, u64::MAX - id * 1000);
                if info.phase == Phase::Ended {
                    assert_eq!((info.status, info.took_ns), ((id % 500) as u16, id * 1000));
                }
                seen += 1;
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
}
