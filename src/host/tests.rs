//! What a host makes of its options: mounts, limits, logs, hooks; and what it does with time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::base::error::{Kind, Result};
use crate::base::octets::{Octets, OwnedChunk};
use crate::gateway::abi::{Environ, Response, StartResponse};
use crate::gateway::app::Application;
use crate::gateway::body::Body;
use crate::gateway::config::Config;
use crate::gateway::counters::Counters;
use crate::sys::sock::wait_readable;

const PATIENCE: Duration = Duration::from_secs(60);

fn request(method: &'static str, path: &'static str) -> Environ {
    let mut env = Environ::EMPTY;
    env.request_method = Octets::new(method.as_bytes());
    env.path_info = Octets::new(path.as_bytes());
    env
}

/// Says where it is.
fn place(env: &Environ, start: &StartResponse<'_>) -> Result<Body> {
    start.respond(&Response::new(200, &[]))?;
    let [script, path] = [env.script_name(), env.path_info()].map(String::from_utf8_lossy);
    Ok(Body::from_vec(format!("{script}|{path}").into_bytes()))
}

/// It answers when it may.
fn gated(may: &Arc<AtomicBool>) -> Application {
    let may = Arc::clone(may);
    Application::new(move |env: &Environ, start: &StartResponse<'_>| {
        while !may.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        place(env, start)
    })
}

fn host(set: impl FnOnce(&mut Config)) -> (Host<()>, Arc<Counters>) {
    let mut config = Config::new();
    set(&mut config);
    let counters = Arc::new(Counters::default());
    (Host::new(config, Arc::clone(&counters)).unwrap(), counters)
}

fn wait(host: &mut Host<()>, since: Instant) {
    assert!(since.elapsed() < PATIENCE, "it never answers");
    wait_readable(host.fd(), 1000).unwrap();
    while host.next_ready().is_some() {}
}

/// Status, whether the page is ours, and the body.
fn answer(host: &mut Host<()>, key: u64) -> (u16, bool, String) {
    let since = Instant::now();
    loop {
        match host.head(key).unwrap() {
            Headed::Taken => break,
            Headed::Awaited => wait(host, since),
            other => panic!("{other:?}"),
        }
    }
    let (record, _, excuses, ()) = host.taken(key).unwrap();
    let (status, mut body) = (record.status, Vec::new());
    loop {
        match host.pull(key).unwrap() {
            Pull::Awaited => wait(host, since),
            Pull::End => break,
            Pull::Piece(chunk) => body.extend_from_slice(chunk.octets()),
        }
    }
    host.free(key);
    (status, excuses, String::from_utf8(body).unwrap())
}

fn ask(host: &mut Host<()>, env: &Environ) -> (u16, bool, String) {
    let key = host.begin(env, ()).unwrap();
    host.run(key).unwrap();
    answer(host, key)
}

#[test]
fn mounts_stand_behind_the_host_s_own() {
    let (mut host, counters) = host(|config| {
        config.mount("/shop", Application::new(place).nonblocking()).unwrap();
        config.mount("/shop/old", Application::new(place)).unwrap();
    });
    let mut env = request("GET", "/shop/a");
    env.script_name = Octets::new(b"/front");
    assert_eq!(ask(&mut host, &env), (200, false, "/front/shop|/a".into()));
    // That one may block: it runs on a thread.
    assert_eq!(ask(&mut host, &request("GET", "/shop/old/")), (200, false, "/shop/old|/".into()));
    let (status, excuses, _) = ask(&mut host, &request("GET", "/other"));
    assert_eq!((status, excuses, counters.unmounted.get()), (404, true, 1));
}

#[test]
fn who_does_not_fit_in_is_told_so() {
    let go = Arc::new(AtomicBool::new(false));
    let (mut host, counters) = host(|config| {
        config.application(gated(&go));
        config.set("worker_requests", "1").unwrap();
    });
    let first = host.begin(&request("GET", "/1"), ()).unwrap();
    assert!(!host.run(first).unwrap());
    let (status, excuses, _) = ask(&mut host, &request("GET", "/2"));
    assert_eq!((status, excuses, counters.requests_full.get()), (503, true, 1));
    go.store(true, Ordering::Release);
    assert_eq!(answer(&mut host, first), (200, false, "|/1".into()));
}

#[test]
fn a_full_queue_is_a_503() {
    let go = Arc::new(AtomicBool::new(false));
    let (mut host, counters) = host(|config| {
        config.application(gated(&go));
        config.set("queue_limit", "1").unwrap();
    });
    let all: Vec<u64> = (0..6)
        .map(|_| {
            let key = host.begin(&request("GET", "/"), ()).unwrap();
            host.run(key).unwrap();
            key
        })
        .collect();
    assert!((4..6).contains(&counters.shed.get()), "{}", counters.shed.get());
    go.store(true, Ordering::Release);
    let statuses: Vec<u16> = all.into_iter().map(|key| answer(&mut host, key).0).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 503).count() as u64,
        counters.shed.get()
    );
    assert!(statuses.contains(&200));
}

#[test]
fn every_request_is_told_of_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&told);
    let (mut host, counters) = host(|config| {
        config.application(Application::new(place).nonblocking());
        config.on_access(move |access| {
            let path = String::from_utf8_lossy(access.env.path_info()).into_owned();
            kept.lock().unwrap().push((path, access.status, access.sent, access.received));
        });
    });
    ask(&mut host, &request("GET", "/a"));
    let mut env = request("POST", "/b");
    env.content_length = 3;
    let key = host.begin(&env, ()).unwrap();
    assert!(host.feed(key, OwnedChunk::from_static(b"abc")).unwrap().is_none());
    assert!(host.run(key).unwrap());
    answer(&mut host, key);
    // One that is never run, and one that nobody pulls.
    let key = host.begin(&request("GET", "/c"), ()).unwrap();
    host.free(key);
    let key = host.begin(&request("GET", "/d"), ()).unwrap();
    host.run(key).unwrap();
    host.free(key);
    let expected = [("/a", 200, 3, 0), ("/b", 200, 3, 3), ("/c", 499, 0, 0), ("/d", 200, 3, 0)];
    assert_eq!(*told.lock().unwrap(), expected.map(|(path, s, o, i)| (path.to_owned(), s, o, i)));
    assert_eq!((counters.requests.get(), counters.in_flight.get()), (4, 0));
    assert_eq!((counters.sent.get(), counters.received.get(), counters.aborted.get()), (9, 3, 1));
}

#[test]
fn what_belongs_to_a_process_or_a_socket_is_refused() {
    for (option, value, named) in [("bind", "127.0.0.1:0", "bind"), ("pidfile", "/x", "pidfile")] {
        let mut config = Config::new();
        config.application(Application::new(place).nonblocking());
        config.set(option, value).unwrap();
        let refused = Host::<()>::new(config, Arc::default()).unwrap_err();
        assert_eq!(refused.kind(), Kind::Unsupported);
        assert!(refused.message().contains(named), "{}", refused.message());
    }
    let refused = Host::<()>::new(Config::new(), Arc::default()).unwrap_err();
    assert!(refused.message().contains("application"), "{}", refused.message());
}

#[test]
fn keys_that_are_over_are_errors() {
    let (mut host, _) = host(|config| {
        config.application(Application::new(place).nonblocking());
    });
    let key = host.begin(&request("GET", "/"), ()).unwrap();
    assert_eq!(host.len(), 1);
    assert!(host.free(key).is_some());
    assert!(host.is_empty() && host.free(key).is_none());
    assert_eq!(host.run(key).unwrap_err().kind(), Kind::State);
    assert_eq!(host.pull(key).unwrap_err().kind(), Kind::State);
    assert_eq!(host.head(key).unwrap_err().kind(), Kind::State);
    assert_eq!(host.feed(key, OwnedChunk::from_static(b"x")).unwrap_err().kind(), Kind::State);
}

#[test]
fn an_answer_that_is_there_is_not_timed() {
    let (mut host, counters) = host(|config| {
        config.application(Application::new(place).nonblocking());
        config.set("request_timeout", "20ms").unwrap();
        config.set("stream_timeout", "20ms").unwrap();
    });
    let key = host.begin(&request("GET", "/"), ()).unwrap();
    assert!(host.run(key).unwrap());
    let (mut woken, since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(150) {
        woken += u32::from(wait_readable(host.fd(), 50).unwrap());
        assert!(host.next_ready().is_none());
    }
    assert!(woken < 4, "{woken} times for nothing");
    assert_eq!(answer(&mut host, key), (200, false, "|/".into()));
    assert_eq!(counters.request_timeouts.get(), 0);
}

#[test]
fn what_one_request_had_is_used_by_the_next() {
    let (mut host, _) = host(|config| {
        config.application(Application::new(place).nonblocking());
    });
    for _ in 0..1000 {
        assert_eq!(ask(&mut host, &request("GET", "/x")), (200, false, "|/x".into()));
    }
    assert_eq!(host.armed.len(), 0, "nothing is timed");
}
