//! Workers that die, hang, or cannot begin: what is lost by it, and who comes after them.

use super::*;
use crate::harness::load::{Load, STEADY};
use crate::harness::{SIGKILL, SIGSTOP, Under, kill, under};

/// A thread cannot be killed alone: a signal that ends one ends the process, as the manual says.
pub(crate) fn a_killed_worker_loses_its_own_requests_alone(model: Model) {
    let host = Host::start(model, 3, &["threads=2"]);
    if !model.is_process {
        let tasks = fs::read_dir(format!("/proc/{}/task", host.server.pid())).unwrap();
        let tasks = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
        let worker = tasks.map(|tid| tid.parse().unwrap()).max().unwrap();
        kill(worker, SIGKILL);
        assert_eq!(host.server.end().signal, Some(SIGKILL));
        return;
    }
    let mut victims = Vec::new();
    let load = Load::during(host.server.address(), |load| {
        for round in 1..=5 {
            let answers = load.answers();
            until("all are at work", || load.answers() > answers + 50);
            let victim = host.server.workers()[round as usize % 3];
            victims.push(victim);
            kill(victim, SIGKILL);
            host.until("exits", round);
            host.until("readies", 3 + round);
        }
        until("all replacements serve", || {
            let answered = load.answered();
            let mut workers = host.server.workers().into_iter();
            workers.all(|pid| answered.contains_key(&format!("arbiter {pid}")))
        });
    });
    // Who had been answered by another one was not disturbed; each client had one request in flight.
    let failures = load.failures();
    assert!(failures.len() <= victims.len() * STEADY.len(), "{failures:?}");
    for failure in failures {
        assert!(failure.of.is_none_or(|worker| victims.contains(&worker)), "{failure:?}");
        assert!(!failure.text.starts_with("connect: "), "{failure:?}");
    }
    let ended = host.stop();
    for victim in victims {
        let status = format!("pid {victim} status 9 cause 0");
        assert_eq!(ended.stdout.matches(&status).count(), 1, "{status}: {ended:?}");
    }
}

/// A thread is told to stop, and another one takes its place; nobody can stop one from outside.
pub(crate) fn workers_that_stop_or_spin_are_replaced(model: Model) {
    // Those that are well take their time, too.
    let timeout = if under() == Under::Valgrind { "10s" } else { "3s" };
    let timeout = format!("heartbeat_timeout={timeout}");
    let host = Host::start(model, 3, &["app=loop", &timeout, "graceful_timeout=1s"]);
    let mut silent = 1;
    let mut spins = host.server.connect();
    spins.send("GET /spin HTTP/1.1\r\nHost: x\r\n\r\n");
    host.until("inside", 1);
    if model.is_process {
        let ticks = || host.server.workers().into_iter().map(|pid| (cpu_ticks(pid), pid));
        until("it spins", || ticks().max().unwrap().0 > ticks().min().unwrap().0 + 10);
        kill(ticks().min().unwrap().1, SIGSTOP);
        silent = 2;
    }
    host.until("readies", 3 + silent);
    Load::during(host.server.address(), |load| {
        until("they serve", || load.answers() > 100);
    })
    .assert_no_failure();
    let log = host.log();
    assert_eq!(log.matches(" ms: heartbeat_timeout").count() as i32, silent, "{log}");
    if model.is_process {
        assert!(spins.try_response("GET").is_err(), "it was killed");
        assert_eq!(host.number("exits"), silent);
        for signal in ["SIGABRT", "SIGKILL"] {
            let line = format!("was sent {signal}! By the arbiter: it gave no sign of life");
            assert!(log.contains(&line), "{line}: {log}");
        }
        host.stop();
    } else {
        assert!(log.contains("is a thread, which cannot be killed"), "{log}");
        assert!(log.contains("does not end; another takes its place"), "{log}");
        // When it comes back it goes: as told, it answers nobody any more.
        let mut host = host;
        host.tell("open");
        host.until("exits", 1);
        host.stop();
    }
}

/// What a process has used of the processor.
fn cpu_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// In a reload, and where a worker died: the others serve, and when it can be it is there again.
pub(crate) fn a_later_failure_to_boot_disturbs_nobody(model: Model) {
    let mut host = Host::start(model, 2, &[]);
    let address = host.server.address().to_owned();
    host.tell("boot fails");
    Load::during(&address, |_| {
        host.server.signal(SIGHUP);
        host.until("failures", 1);
    })
    .assert_no_failure();
    assert_eq!((host.number("ready"), host.number("reloads")), (2, 0));
    if model.is_process {
        let victim = host.server.workers()[0];
        kill(victim, SIGKILL);
        until("it was tried several times", || host.number("spawned") >= 6);
        Load::during(&address, |load| until("some", || load.answers() > 50)).assert_no_failure();
    }
    host.tell("boot well");
    let readies = if model.is_process { 3 } else { 2 };
    host.until("readies", readies);
    host.server.signal(SIGHUP);
    host.until("reloads", 1);
    host.stop();
}
