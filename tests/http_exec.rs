//! Workers that are the program started again: what is different from workers that are forked.
//! `http_master` has what is not.

mod harness;

use std::path::Path;
use std::time::Duration;

use harness::again::{again, dir, lives, processes_of, put, release};
use harness::{SIGKILL, SIGSTOP, Server, Under, kill, support, under, until};

const SIGHUP: i32 = 1;
const SIGUSR1: i32 = 10;

const EXEC: [&str; 4] = ["{}", "worker_model=exec", "errorlog=-", "runtime=1"];

fn start(program: &Path, options: &[&str]) -> Server {
    let server = Server::start(program, &[&EXEC[..], options].concat());
    server.get("/");
    server
}

#[test]
fn threads_are_no_hindrance_and_the_arbiter_needs_no_application() {
    let place = dir("threads");
    for serve in ["serve=main", "serve=thread"] {
        let ready = place.join(serve);
        let to_ready = format!("ready={}", ready.display());
        let server = start(&again(), &["workers=2", "app=workers", serve, &to_ready]);
        let answer = server.get("/");
        let mut words = answer.split(' ');
        assert_eq!(words.next(), Some("release-1"));
        let pids: Vec<i32> = words.map(|pid| pid.parse().unwrap()).collect();
        assert!(pids[0] != server.pid() && pids[1] == server.pid(), "{answer}");
        until("all are ready", || ready.exists());
        let ended = server.stop();
        // The hooks of a worker run in it, and its program ends after them.
        assert_eq!(ended.stderr.matches("worker_exit ").count(), 2, "{ended:?}");
        assert_eq!(ended.stderr.matches("Booting worker with pid: ").count(), 2, "{ended:?}");
    }
    std::fs::remove_dir_all(place).unwrap();
}

#[test]
fn a_worker_is_marked_for_itself_alone_and_until_it_begins() {
    let server = start(&again(), &["workers=1"]);
    assert_eq!(server.get("/env"), "marked 1 now 0 child 0 worker 1");
    // What the host has left open for all, and nothing of ours: not for the children of the
    // application.
    let mut fds: Vec<_> = server.get("/fds").split_whitespace().map(str::to_owned).collect();
    fds.sort();
    // Valgrind has some of its own.
    let there = inheritable(server.pid());
    assert!(fds == there || under() == Under::Valgrind, "{fds:?} {there:?}");
    assert!(fds.len() >= 3);
    server.stop();
}

/// The descriptors of a process that are not close-on-exec.
fn inheritable(pid: i32) -> Vec<String> {
    const CLOEXEC: u32 = 0o2_000_000;
    let all = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten();
    let stays = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|it| u32::from_str_radix(it.trim(), 8).unwrap() & CLOEXEC == 0)
    };
    let all = all.filter(|entry| stays(&entry.path()));
    let mut names: Vec<_> = all.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn options_of_the_arbiter_come_before_those_of_a_worker() {
    let others = ["worker:limit_request_fields=1", "worker:worker_model=fork", "worker:workers=7"];
    let server = start(&again(), &[&["workers=1"], &others[..]].concat());
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nX-Two: 2\r\n\r\n");
    assert_eq!(client.response("GET").status, 200);
    server.stop();
}

#[test]
fn workers_end_with_their_arbiter_also_those_that_are_stopped() {
    for serve in ["serve=main", "serve=thread"] {
        let server = start(&again(), &["workers=2", serve]);
        until("there are two", || processes_of(server.pid()).len() == 2);
        let workers = processes_of(server.pid());
        if serve == "serve=main" {
            kill(workers[0], SIGSTOP);
        }
        kill(server.pid(), SIGKILL);
        until("all are gone", || !workers.iter().any(|pid| lives(*pid)));
        server.end();
    }
}

#[test]
fn a_worker_that_cannot_boot_says_so_whatever_its_program_returns() {
    let text = "GW_ERR_APP: Worker failed to boot.";
    for (options, status, said) in [
        (&["boot=fails"][..], 3, text),
        (&["boot=fails", "status=own"], 7, text),
        (&["module=/nowhere/module.so"], 4, "GW_ERR_APP: App failed to load."),
    ] {
        let args = [&EXEC[..], &["workers=2"], options].concat();
        let ended = Server::launch(&again(), &args).end();
        assert_eq!(ended.status, Some(status), "{options:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{options:?}: {ended:?}");
    }
}

#[test]
fn a_reload_runs_the_program_that_is_there_by_then() {
    let dir = dir("deploy");
    let program = dir.join("again");
    release(1, &program);
    let log = dir.join("log");
    let server = start(&program, &["workers=2", &format!("errorlog={}", log.display())]);
    assert!(server.get("/").starts_with("release-1 "));
    // By way of another file of the same name, and of a link to a directory.
    until("there are two", || processes_of(server.pid()).len() == 2);
    let before = processes_of(server.pid());
    release(2, &program);
    server.signal(SIGHUP);
    until("both are others", || {
        let now = processes_of(server.pid());
        now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
    });
    assert!(server.get("/").starts_with("release-2 "));
    // A program that is not there keeps those that are.
    std::fs::remove_file(&program).unwrap();
    server.signal(SIGHUP);
    // Valgrind makes another thing of the start, and then the status of the process says it.
    let text = match under() {
        Under::Valgrind => "exited with code 127".into(),
        _ => format!("start a worker: {}: No such file", program.display()),
    };
    let said = || std::fs::read_to_string(&log).unwrap();
    until("the arbiter has tried", || said().contains(&text));
    assert!(server.get("/").starts_with("release-2 "));
    release(3, &program);
    until("it is deployed", || {
        server.signal(SIGHUP);
        std::thread::sleep(Duration::from_millis(50));
        server.get("/").starts_with("release-3 ")
    });
    server.stop();
    std::fs::remove_dir_all(dir).unwrap();
}

/// The directory that a link leads to decides, not the one that it led to at the start.
#[test]
fn a_link_is_followed_anew() {
    if under() == Under::Valgrind {
        eprintln!("NOT UNDER VALGRIND: it is not the program that the system knows");
        return;
    }
    let dir = dir("link");
    for number in [1, 2] {
        let to = dir.join(format!("r{number}"));
        std::fs::create_dir_all(&to).unwrap();
        release(number, &to.join("again"));
    }
    let link = dir.join("current");
    std::os::unix::fs::symlink("r1", &link).unwrap();
    let server = start(&link.join("again"), &["workers=1"]);
    std::os::unix::fs::symlink("r2", dir.join("next")).unwrap();
    std::fs::rename(dir.join("next"), &link).unwrap();
    server.signal(SIGHUP);
    until("it is deployed", || server.get("/").starts_with("release-2 "));
    server.stop();
    std::fs::remove_dir_all(dir).unwrap();
}

/// Records in shared memory have the meaning that one library gives them.
#[test]
fn a_worker_of_another_library_does_not_begin() {
    let dir = dir("library");
    let library = dir.join(support::SONAME);
    let mut octets = std::fs::read(support::library()).unwrap();
    put(&library, &octets);
    let path = format!("LD_LIBRARY_PATH={}", dir.display());
    let program = again();
    let args = [&path, program.to_str().unwrap()];
    let log = dir.join("log");
    let to_log = format!("errorlog={}", log.display());
    let args = [&args[..], &EXEC[..], &["workers=1", &to_log]].concat();
    let server = Server::start(Path::new("/usr/bin/env"), &args);
    server.get("/");
    // What a worker compares has the version in it.
    assert!(other_version(&mut octets) > 0, "the library does not say its version");
    put(&library, &octets);
    kill(processes_of(server.pid())[0], SIGKILL);
    let refused = "exited with code 3";
    until("one is refused", || std::fs::read_to_string(&log).is_ok_and(|it| it.contains(refused)));
    put(&library, &std::fs::read(support::library()).unwrap());
    server.get("/");
    let ended = server.stop();
    let text = "the library was replaced: upgrade with USR2";
    assert!(ended.stderr.contains(text), "{ended:?}");
    std::fs::remove_dir_all(dir).unwrap();
}

/// Makes the library say another version, of the same length; how often it stood there.
fn other_version(octets: &mut [u8]) -> usize {
    let text = format!("libgateway {}", env!("CARGO_PKG_VERSION")).into_bytes();
    let mut found = 0;
    for at in 0..octets.len().saturating_sub(text.len()) {
        if octets[at..].starts_with(&text) {
            octets[at + text.len() - 1] ^= 1;
            found += 1;
        }
    }
    found
}

#[test]
fn a_fork_is_refused_by_the_names_of_the_threads_unless_it_is_forced() {
    let fork = ["{}", "worker_model=fork", "errorlog=-", "runtime=1", "workers=2"];
    let ended = Server::launch(&again(), &fork).end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    for text in [
        "GW_ERR_STATE: fork workers: this process has 2 threads (scheduler), ",
        "start before any thread, or set worker_model = exec, or",
        "fork_unsafe = 1",
    ] {
        assert!(ended.stderr.contains(text), "{text}: {ended:?}");
    }
    let server = Server::start(&again(), &[&fork[..], &["fork_unsafe=1"]].concat());
    server.get("/");
    let ended = server.stop();
    assert!(ended.stderr.contains("(scheduler), and a lock"), "{ended:?}");
    assert!(ended.stderr.contains("stay locked in the workers: fork_unsafe allows it"));
}

#[test]
fn logs_are_opened_again_by_each_worker() {
    let dir = dir("logs");
    let log = dir.join("access");
    let to_log = format!("accesslog={}", log.display());
    let server = start(&again(), &["workers=1", &to_log]);
    until("it is written", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("GET")));
    std::fs::rename(&log, dir.join("old")).unwrap();
    server.signal(SIGUSR1);
    until("there is a new one", || {
        server.get("/new");
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("GET /new"))
    });
    server.stop();
    std::fs::remove_dir_all(dir).unwrap();
}
