//! Reloads, upgrades and stops while requests are under way.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::read_to_string;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::harness::again::{lives, processes_of, put};
use crate::harness::client::Client;
use crate::harness::load::{Failure, Load, STEADY};
use crate::harness::nginx::Nginx;
use crate::harness::{SIGQUIT, SIGTERM, kill, support, until};
use crate::{Gate, PORT, count, server};

const SIGHUP: i32 = 1;
const SIGUSR2: i32 = 12;
const SIGWINCH: i32 = 28;

/// Zero failed requests.  A worker of nginx's that is to exit closes connections that are idle, and does
/// not look whether a request is on its way on one: the client has to ask again.  Whoever did is not
/// counted; but nginx has then not seen the request: all that its log has were answered.
fn assert_all_were_answered(load: &Load, log: &str) {
    let was_idle = |failure: &Failure| {
        let texts =
            ["the connection ended after \"\"", "read: Connection reset", "the request was"];
        failure.of.is_some() && texts.iter().any(|text| failure.text.starts_with(text))
    };
    let wrong: Vec<_> = load.failures().into_iter().filter(|it| !was_idle(it)).collect();
    assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), load.answers(), wrong.first());
    let asked = log.lines().filter(|line| !line.contains("/counts") && !line.contains("/hold"));
    let (good, bad): (Vec<_>, Vec<_>) = asked.partition(|line| line.starts_with("200 200 "));
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(good.len() as u64, load.answers());
}

fn reloaded(workers: usize, listen: &str) {
    let main = format!("worker_processes {workers};");
    let http = server("").replace(&format!(":{PORT};"), &format!(":{PORT} {listen};"));
    let nginx = Nginx::launch(&main, &http).listening();
    let mut seen = BTreeSet::new();
    let load = Load::of(&nginx.address(PORT), &STEADY, |load| {
        for _ in 0..20 {
            nginx.reload();
            let now: BTreeSet<_> = nginx.workers().into_iter().collect();
            assert_eq!(now.len(), workers);
            let before = load.answers();
            until("they answer", || load.answers() >= before + 30);
            seen.extend(now);
        }
    });
    assert_eq!(seen.len(), 20 * workers, "none of them crashed and was replaced");
    stopped(nginx, &load);
}

/// Its log is complete when it has ended.
fn stopped(nginx: Nginx, load: &Load) {
    let log = File::open(nginx.path().join("access.log")).expect("the log");
    nginx.stop();
    assert_all_were_answered(load, &read_to_string(log).expect("the log"));
}

#[test]
fn twenty_reloads() {
    reloaded(2, "");
}

#[test]
fn twenty_reloads_with_a_socket_for_each_worker() {
    reloaded(3, "reuseport");
}

/// All workers of a server answer, also where each has a socket of its own.
#[test]
fn several_workers_answer() {
    let http = server("").replace(&format!(":{PORT};"), &format!(":{PORT} reuseport;"));
    let nginx = Nginx::launch("worker_processes 3;", &http).listening();
    let address = nginx.address(PORT);
    let mut all = BTreeSet::new();
    until("each has answered", || {
        let text = Client::connect(&address).get("/?1").text();
        all.insert(text.split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("a pid"));
        all.len() == 3
    });
    assert_eq!(all, nginx.workers().into_iter().collect());
    nginx.stop();
}

#[test]
fn a_module_that_is_built_again_is_deployed_by_a_reload() {
    let made = |greeting: &str| {
        let out = support::scratch_dir().join(format!("{greeting}-{}.so", std::process::id()));
        let define = format!("-DGREETING=\"{greeting}\"");
        let source = support::root().join("tests/c/nginx_load_app.c");
        support::compile_c(&source, &out, &["-shared", "-fPIC", &define]);
        let octets = std::fs::read(&out).expect("read the module");
        std::fs::remove_file(out).expect("remove a copy");
        octets
    };
    let place = support::scratch_dir().join(format!("deployed-{}.so", std::process::id()));
    put(&place, &made("old"));
    let place_in = place.display();
    let nginx = Nginx::start(&format!(
        "server {{ listen ${{IP}}:{PORT};
            location / {{ gateway_module {place_in}; }}
            location /blocks {{ gateway_module {place_in} blocks; gateway_threads 2; }}
        }}"
    ));
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    let old = nginx.workers();
    let mut held = ["", "/blocks", ""].map(|prefix| gate.hold(&address, prefix));
    until("they run", || count(&address, "holding", "") == 3);

    put(&place, &made("new"));
    nginx.signal(SIGHUP);
    let says = |word: &str| Client::connect(&address).get("/?1").text().starts_with(word);
    until("the new one answers", || says("new "));
    assert!(nginx.workers().contains(&old[0]), "it has requests");

    // One that is none is not deployed, and whoever runs goes on.
    put(&place, b"no module");
    let lines = nginx.errors().len();
    nginx.signal(SIGHUP);
    until("nginx says why not", || nginx.errors().len() > lines);
    assert!(says("new "));

    gate.open();
    for client in &mut held {
        assert_eq!(client.response("GET").text(), format!("old {} held\n", old[0]));
    }
    drop(held);
    until("the old worker has ended", || !nginx.workers().contains(&old[0]));
    let of_it = place.display().to_string();
    nginx.stop_with(|line| line.contains("[emerg]") && line.contains(&of_it));
    let _ = std::fs::remove_file(place);
}

#[test]
fn another_nginx_takes_over() {
    let blocks = format!("location /blocks {{ gateway_module {} blocks; }}", crate::app());
    let nginx = Nginx::daemon("worker_processes 2;", &server(&blocks));
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    let (old, old_workers) = (nginx.pid(), nginx.workers());
    let mut held: Vec<_> = (0..8).map(|n| gate.hold(&address, ["", "/blocks"][n % 2])).collect();
    let load = Load::of(&address, &STEADY, |load| {
        until("requests are answered", || load.answers() > 50);
        nginx.signal(SIGUSR2);
        until("there are two masters", || {
            nginx.pid_in("nginx.pid.oldbin") == Some(old)
                && nginx.pid_in("nginx.pid").is_some_and(|new| processes_of(new).len() == 2)
        });
        kill(old, SIGWINCH);
        load.forget_who_answered();
        until("the new one answers", || {
            let by_old = |who: &str| old_workers.iter().any(|pid| who.ends_with(&pid.to_string()));
            let answered = load.answered();
            load.forget_who_answered();
            !answered.is_empty() && !answered.keys().any(|who| by_old(who))
        });
        gate.open();
        for client in &mut held {
            let text = client.response("GET").text();
            let pid = text.split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("a pid");
            assert!(old_workers.contains(&pid), "{text}");
        }
        held.clear();
        // The new master is a child of the old one.
        until("the old workers have ended", || old_workers.iter().all(|pid| !lives(*pid)));
        kill(old, SIGQUIT);
        until("the old master has ended", || !lives(old));
        let before = load.answers();
        until("the new one goes on", || load.answers() > before + 50);
    });
    assert_ne!(nginx.pid(), old);
    stopped(nginx, &load);
}

#[test]
fn a_stop_waits_for_applications() {
    let more = format!("location /blocks {{ gateway_module {} blocks; }}", crate::app());
    let nginx = Nginx::start(&server(&more));
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    let workers = nginx.workers();
    let mut held = ["", "/blocks"].map(|prefix| gate.hold(&address, prefix));
    until("they run", || count(&address, "holding", "") == 2);
    nginx.signal(SIGQUIT);
    until("nobody is let in", || Client::try_connect(&address).is_err());
    until("the worker knows", || nginx.log().contains("gracefully shutting down"));
    assert_eq!(nginx.workers(), workers);
    gate.open();
    for client in &mut held {
        assert_eq!(client.response("GET").text(), format!("first {} held\n", workers[0]));
    }
    nginx.stop();
}

#[test]
fn what_never_ends_is_ended_with_the_worker() {
    let more = format!(
        "location /blocks {{ gateway_module {} blocks; gateway_set graceful_timeout 1s; }}",
        crate::app()
    );
    let nginx = Nginx::launch("worker_shutdown_timeout 1s;", &server(&more)).listening();
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    let mut held = ["", "/blocks"].map(|prefix| gate.hold(&address, prefix));
    until("they run", || count(&address, "holding", "") == 2);
    nginx.reload();
    for client in &mut held {
        assert_eq!(client.drain(), 0, "they are not answered");
    }
    assert_eq!(Client::connect(&address).get("/?1").status, 200);
    nginx.stop();
}

#[test]
fn a_fast_stop_waits_for_nobody() {
    let more = format!(
        "location /blocks {{ gateway_module {} blocks; gateway_threads 4; }}",
        crate::app()
    );
    let nginx = Nginx::start(&server(&more));
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    let held: Vec<_> = (0..12).map(|n| gate.hold(&address, ["", "/blocks"][n % 2])).collect();
    until("they run", || count(&address, "holding", "") == 6 + 4);
    // A worker that takes its time would be ended by a signal, which the log would say.
    nginx.end_with(SIGTERM, |_| false);
    for mut client in held {
        assert_eq!(client.drain(), 0);
    }
}

/// Threads go on, and have something to say, while nginx gives back all that it has.
#[test]
fn a_fast_stop_while_threads_are_busy() {
    for _ in 0..6 {
        let nginx = Nginx::launch(
            "worker_processes 2;",
            &format!(
                "server {{ listen ${{IP}}:{PORT};
                    gateway_module ${{SUITE}} blocks; gateway_threads 4; location / {{ }}
                }}"
            ),
        )
        .listening();
        let address = nginx.address(PORT);
        let failed = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Ok(mut client) = Client::try_connect(&address) {
                        client.try_send("GET /fail HTTP/1.1\r\nHost: x\r\n\r\n");
                        let status = client.try_response("GET").map(|response| response.status);
                        assert!(status.is_err() || status == Ok(500), "{status:?}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            until("many have failed", || failed.load(Ordering::Relaxed) > 200);
            nginx.end_with(SIGTERM, |line| {
                ["fails on purpose", "application failed"].iter().any(|it| line.contains(it))
            });
        });
    }
}
