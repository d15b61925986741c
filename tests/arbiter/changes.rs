//! More workers, fewer, and others: what is asked for happens, and no request is lost by it.

use std::process::Command;

use super::*;
use crate::harness::client::Client;
use crate::harness::load::Load;
use crate::harness::scaled;

/// By HUP and by gw_arbiter_reload in turn.
pub(crate) fn reloads_lose_no_request(model: Model) {
    let mut host = Host::start(model, 2, &["threads=2"]);
    let reloads = scaled(20).max(2) as i32;
    let address = host.server.address().to_owned();
    let load = Load::during(&address, |_| {
        for reload in 1..=reloads {
            match reload % 2 {
                0 => host.server.signal(SIGHUP),
                _ => host.tell("reload"),
            }
            host.until("reloads", reload);
        }
    });
    load.assert_no_failure();
    if model.is_process {
        // Who answered: other processes each time.
        assert!(load.answered().len() as i32 > reloads, "{:?}", load.answered());
    }
    // One more than usual, at most.
    assert_eq!((host.number("most"), host.number("failures")), (3, 0));
    assert_eq!(host.number("spawned"), 2 * (reloads + 1));
    host.stop();
}

/// `worker_run`: a turn does all that a worker of the library's does by itself.
pub(crate) fn loops_of_the_host_serve(model: Model) {
    loops_serve(model, "host=loops");
    // The same in a thread of the host's.
    loops_serve(model, "host=elsewhere");
}

/// The kernel lets a file be watched by so many epolls behind epolls: 50 of the fourth kind.
pub(crate) fn many_workers_may_have_deep_loops(model: Model) {
    if !model.is_process {
        return;
    }
    let host = Host::start(model, 60, &["host=deep", "app=loop", "heartbeat_timeout=60s"]);
    assert_eq!(host.number("failures"), 0, "{}", host.log());
    host.stop();
}

fn loops_serve(model: Model, whose: &str) {
    let options = [whose, "app=loop", "heartbeat_timeout=2s"];
    let mut host = Host::start(model, 2, &options);
    let address = host.server.address().to_owned();
    let load = Load::during(&address, |load| {
        for reload in 1..=3 {
            let before = load.answers();
            until("requests are answered", || load.answers() > before + 50);
            host.tell("reload");
            host.until("reloads", reload);
        }
    });
    load.assert_no_failure();
    // Nobody asks for anything, and the arbiter hears of them all the same.
    let turns = host.number("turns");
    assert!(turns > 0);
    until("signs of life", || host.number("turns") > turns + 8);
    assert_eq!((host.number("exits"), host.number("failures")), (6, 0), "{}", host.log());

    // One that leaves before its end is replaced.
    assert_eq!(Client::connect(&address).get("/leave").status, 200);
    host.until("exits", 7);
    host.until("ready", 2);
    let early = "worker_run returned before gw_server_turn said GW_EOF";
    assert!(host.log().contains(early), "{}", host.log());
    host.stop();
}

/// Without an application, and without another hook.
pub(crate) fn loops_of_the_host_take_the_requests(model: Model) {
    let mut host = Host::start(model, 2, &["host=loops", "app=none"]);
    let address = host.server.address().to_owned();
    for reload in 1..=2 {
        let mut client = Client::connect(&address);
        for _ in 0..10 {
            assert_eq!(client.get("/").text(), "taken");
        }
        drop(client);
        host.tell("reload");
        host.until("reloads", reload);
    }
    host.stop();
}

/// By signals and by calls; never none.
pub(crate) fn workers_are_added_and_the_oldest_go_first(model: Model) {
    let mut host = Host::start(model, 1, &[]);
    let address = host.server.address().to_owned();
    let load = Load::during(&address, |_| {
        host.server.signal(SIGTTIN);
        host.until("ready", 2);
        host.tell("scale 4");
        host.until("ready", 4);
        host.server.signal(SIGTTOU);
        host.until("exits", 1);
        host.tell(&format!("signal {SIGTTOU} 1"));
        host.until("exits", 2);
        host.tell("scale 1");
        host.until("exits", 3);
        host.server.signal(SIGTTOU);
        host.tell(&format!("signal {SIGTTOU} 3"));
        host.server.signal(SIGTTIN);
        host.until("ready", 2);
    });
    load.assert_no_failure();
    assert_eq!((host.number("most"), host.number("workers")), (4, 2));
    let ended = host.stop();
    let changes = ["2 1", "4 2", "3 4", "2 3", "1 2", "2 1"];
    assert_eq!(said(&ended, "nworkers_changed "), changes, "{ended:?}");
    // Each of the first three that went was the oldest; the fourth served on.
    let went = said(&ended, "exited ");
    let slots: Vec<_> = went.iter().filter_map(|line| line.split(' ').next()).collect();
    let came = said(&ended, "spawned ");
    assert_eq!(slots[..3], came[..3], "{ended:?}");
}

/// It turns between one line and the next: then it has heard whatever was sent before.
fn hear_all(host: &mut Host) {
    for _ in 0..2 {
        host.tell(&format!("signal {SIGWINCH} 1"));
    }
}

/// Standard signals coalesce.  What must hold: it lives, loses no request, and obeys the next one.
pub(crate) fn a_burst_of_signals_leaves_it_in_order(model: Model) {
    let mut host = Host::start(model, 1, &["loglevel=error"]);
    let address = host.server.address().to_owned();
    let (pid, rounds) = (host.server.pid(), scaled(2000));
    // Down to the floor again and again.
    let burst = format!(
        "i=0; while [ $i -lt {rounds} ]; do i=$((i+1)); kill -HUP {pid}; kill -USR1 {pid}; \
         kill -WINCH {pid}; [ $((i % 500)) -gt 0 ] || kill -TTIN {pid}; \
         kill -TTOU {pid}; kill -TTOU {pid}; done"
    );
    let load = Load::during(&address, |_| {
        let status = Command::new("sh").arg("-c").arg(burst).status();
        assert!(status.unwrap().success());
        // Else a TTIN of the burst may yet come to the floor.
        hear_all(&mut host);
        until("the floor", || {
            host.server.signal(SIGTTOU);
            host.number("target") < 2
        });
        hear_all(&mut host);
        host.server.signal(SIGTTIN);
        host.until("target", 2);
        let reloads = host.number("reloads");
        host.server.signal(SIGHUP);
        until("it reloads", || host.number("reloads") > reloads);
        until("two serve", || host.number("ready") == 2 && host.number("workers") == 2);
    });
    load.assert_no_failure();
    assert_eq!(host.number("failures"), 0);
    host.stop();
}

/// A worker that cannot hear of it yet is not harmed by it, and logs where the others do.
pub(crate) fn logs_are_opened_again_while_a_worker_boots(model: Model) {
    let host = Host::start(model, 1, &["host=late"]);
    let readies = host.number("readies");
    host.server.signal(SIGTTIN);
    host.until("spawned", 2);
    while host.number("readies") == readies {
        let moved = host.log.with_extension("1");
        fs::rename(&host.log, &moved).unwrap();
        host.server.signal(SIGUSR1);
        until("logs are opened again", || host.log.exists());
        fs::remove_file(moved).unwrap();
        assert_eq!(host.number("exits"), 0, "{}", host.log());
    }
    host.server.signal(SIGTTOU);
    host.until("exits", 1);
    assert_eq!((host.number("spawned"), host.number("ready")), (2, 1));
    host.stop();
}

/// Unlike signals, calls are counted: from several threads, beside many others.
pub(crate) fn what_is_asked_for_by_calls_adds_up(model: Model) {
    let mut host = Host::start(model, 1, &["loglevel=error"]);
    let address = host.server.address().to_owned();
    let many = scaled(2500);
    let load = Load::during(&address, |_| {
        host.tell(&format!("signal {SIGUSR1} {many}"));
        host.tell(&format!("signal {SIGWINCH} {many}"));
        host.tell(&format!("threads {SIGTTIN} 3"));
        host.until("target", 13);
        host.tell(&format!("threads {SIGTTOU} 2"));
        host.until("target", 5);
        host.tell(&format!("signal {SIGHUP} {many}"));
        host.tell(&format!("threads {SIGHUP} {many}"));
        host.tell(&format!("signal {SIGTTIN} 2"));
        host.until("target", 7);
        host.tell("scale 3");
        host.tell(&format!("signal {SIGTTOU} 1"));
        host.until("target", 2);
        until("two serve", || host.number("ready") == 2 && host.number("workers") == 2);
        until("it reloads", || host.number("reloads") > 0);
    });
    load.assert_no_failure();
    assert_eq!((host.number("most"), host.number("failures")), (13, 0));
    host.stop();
}

/// Also if all reach max_requests at once.
pub(crate) fn no_more_than_max_recycling_are_away(model: Model) {
    let host = Host::start(model, 3, &["max_requests=20", "max_requests_jitter=5"]);
    let load = Load::during(host.server.address(), |load| {
        let enough = scaled(2000).max(400) as u64;
        until("many", || load.answers() > enough && host.number("exits") > 3);
    });
    load.assert_no_failure();
    // Each one that was away serves again before the next one leaves.
    assert_eq!((host.number("least"), host.number("most")), (2, 3));
    host.stop();
}
