//! What an arbiter does with its options, hooks and logs; with workers that are forked, that are this
//! program started again, and that are threads, under load.  What it promises in every model:
//! tests/arbiter.rs.

mod harness;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::again::lives;
use harness::life::tell;
use harness::load::{Load, answer, connect};
use harness::{
    Ended, PATIENCE, SIGINT, SIGKILL, SIGTERM, Server, Under, kill, program, under, until,
};

const SIGHUP: i32 = 1;
const SIGUSR1: i32 = 10;
const SIGWINCH: i32 = 28;

/// What a worker is.
const MODELS: [&str; 3] = ["worker_model=fork", "worker_model=exec", "worker_model=threads"];
/// One that is a process.
const PROCESSES: [&str; 2] = ["worker_model=fork", "worker_model=exec"];

fn master() -> PathBuf {
    program(&["tests/c/master.c"])
}

/// It listens before it catches signals: a worker that answers was started after both.
fn start(options: &[&str]) -> Server {
    let server = Server::start(&master(), &[&["{}", "signals=1", "errorlog=-"], options].concat());
    server.get("/");
    server
}

/// One of the numbers of `/state`.
fn state(server: &Server, name: &str) -> u64 {
    let text = server.get("/state");
    number(&text, name).unwrap_or_else(|| panic!("{name}: {text}"))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let mut words = text.split(' ').skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok())
}

/// The same, where the worker that takes the request may be killed before it answers.
fn state_of_survivors(server: &Server, name: &str) -> Option<u64> {
    let mut client = connect(server.address()).ok()?;
    write!(client, "GET /state HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    answer(&mut client).ok().and_then(|(text, _)| number(&text, name))
}

fn stop(server: Server) -> Ended {
    assert_eq!(state(&server, "wrong"), 0);
    server.stop()
}

/// How often a line of its standard output begins so.
fn said(ended: &Ended, line: &str) -> usize {
    ended.stdout.lines().filter(|said| said.starts_with(line)).count()
}

#[test]
fn several_at_once_come_and_go_when_that_is_allowed() {
    for model in MODELS {
        let server = start(&[model, "workers=3", "reload_parallel=3"]);
        let load = Load::during(server.address(), |_| {
            server.signal(SIGHUP);
            until("it has reloaded", || state(&server, "reloads") == 1);
        });
        load.assert_no_failure();
        assert!((4..=6).contains(&state(&server, "most")));
        stop(server);
    }
}

#[test]
fn a_new_generation_that_does_not_boot_goes_back() {
    for (how, failure) in [("boot fails", "GW_ERR_APP 3"), ("boot hangs", "GW_ERR_TIMEOUT 3")] {
        for model in MODELS {
            // Those that are well take their time, too.
            let limit = if under() == Under::Valgrind { "10s" } else { "3s" };
            let limit = format!("boot_timeout={limit}");
            let mut server = start(&[model, "workers=2", &limit]);
            // A first worker that does not boot would be the end of it.
            until("both are ready", || state(&server, "readies") == 2);
            tell(&mut server, how);
            let load = Load::during(server.address(), |_| {
                server.signal(SIGHUP);
                until("it has failed", || state(&server, "failures") == 1);
            });
            load.assert_no_failure();
            assert!(server.get("/").starts_with("first "));
            // And the next one is well.
            tell(&mut server, "boot well");
            let tried = || state(&server, "reloads") + state(&server, "failures");
            until("it has reloaded", || {
                let before = tried();
                server.signal(SIGHUP);
                until("it has tried", || tried() > before);
                state(&server, "reloads") > 0
            });
            let ended = stop(server);
            let line = ended.stdout.lines().find(|line| line.starts_with("reloaded: "));
            assert!(line.is_some_and(|line| line.contains(failure)), "{model} {how}: {ended:?}");
        }
    }
}

#[test]
fn a_new_configuration_has_its_application_options_and_listeners() {
    for model in ["worker_model=fork", "worker_model=threads"] {
        let mut server = start(&[model, "workers=2"]);
        let address = server.address().to_owned();
        let other = address.replace(":8000", ":8001");
        let ask = |address: &str| {
            let mut stream = connect(address)?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").map_err(|e| e.to_string())?;
            answer(&mut stream).map(|(body, _)| body)
        };
        // The old listener stays beside the new one.
        let line = format!("reload name=second workers=3 bind={address},{other}\n");
        let load = Load::during(&address, |_| {
            server.stdin(&line);
            until("it has reloaded", || state(&server, "reloads") == 1);
        });
        load.assert_no_failure();
        for address in [&address, &other] {
            assert!(ask(address).unwrap().starts_with("second "), "{model}");
        }
        // And then the first one is gone: also from workers that know the second alone.
        server.stdin(&format!("reload name=third workers=3 bind={other}\n"));
        until("the first one is gone", || connect(&address).is_err());
        until("all are new", || ask(&other).unwrap().starts_with("third "));
        // One that cannot be had changes nothing.
        server.stdin("reload name=fourth bind=192.0.2.1:1\n");
        server.stdin("reload worker_model=inline\n");
        server.signal(SIGTERM);
        let ended = server.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert_eq!(said(&ended, "nworkers_changed 3 2"), 1, "{ended:?}");
    }
}

/// They make their configuration in the program.
#[test]
fn workers_that_are_started_again_take_no_configuration() {
    let mut server = start(&["worker_model=exec", "workers=1"]);
    server.stdin("reload name=second\nreload\n");
    until("it has reloaded without one", || state(&server, "reloads") == 1);
    let ended = stop(server);
    assert_eq!((said(&ended, "GW_ERR_UNSUPPORTED"), said(&ended, "GW_OK")), (1, 2), "{ended:?}");
}

#[test]
fn what_cannot_be_asked_for_changes_nothing() {
    for model in MODELS {
        let mut server = start(&[model, "workers=1"]);
        server.stdin("scale 0\nscale 1025\nsignal 99\nsignal 28\n");
        server.signal(SIGWINCH);
        server.stdin("scale 2\n");
        until("two", || state(&server, "readies") == 2);
        let ended = stop(server);
        assert_eq!(said(&ended, "GW_ERR_INVALID"), 2, "{ended:?}");
        assert_eq!(said(&ended, "GW_ERR_UNSUPPORTED"), 1);
        assert_eq!(said(&ended, "nworkers_changed"), 1);
        for hook in ["on_starting", "when_ready", "on_exit"] {
            assert_eq!(said(&ended, hook), 1, "{hook}: {ended:?}");
        }
    }
}

#[test]
fn a_worker_leaves_after_max_requests_exactly() {
    for model in MODELS {
        let server = start(&[model, "workers=1", "threads=1", "max_requests=6"]);
        // It was asked once already.
        let mut stream = connect(server.address()).unwrap();
        for request in 1..=5 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let (_, is_kept) = answer(&mut stream).unwrap();
            assert_eq!(is_kept, request < 5, "{model}: request {request}");
        }
        until("it is replaced", || state(&server, "readies") >= 2);
        stop(server);
    }
}

#[test]
fn a_worker_is_replaced_after_its_lifetime() {
    for model in MODELS {
        let server = start(&[model, "workers=2", "max_lifetime=300ms"]);
        let load = Load::during(server.address(), |_| {
            until("both are replaced twice", || state(&server, "exits") >= 4);
        });
        load.assert_no_failure();
        stop(server);
    }
}

#[test]
fn a_silent_worker_is_aborted_and_replaced() {
    for model in PROCESSES {
        let mut server =
            start(&[model, "workers=2", "app=loop", "aborts=1", "heartbeat_timeout=2s"]);
        let mut hangs = connect(server.address()).unwrap();
        hangs.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(answer(&mut hangs).is_err(), "it was killed");
        until("another one is ready", || state(&server, "readies") == 3);
        assert_eq!((state(&server, "inside"), state(&server, "aborts")), (1, 1));
        // Those that wait for nothing are well all the time.
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(state(&server, "exits"), 1);
        // Nor is anybody blamed when all of them were stopped.
        server.stdin("");
        let ended = stop(server);
        assert!(ended.stderr.contains("gave no sign of life for"), "{ended:?}");
        assert!(ended.stderr.contains("was sent SIGABRT! By the arbiter: it gave no"), "{ended:?}");
    }
}

/// A thread cannot be killed: others serve on, it is told to stop, and goes when it comes back.
#[test]
fn a_silent_thread_is_told_to_stop() {
    let server = start(&["worker_model=threads", "workers=2", "app=loop", "heartbeat_timeout=1s"]);
    let mut hangs = connect(server.address()).unwrap();
    hangs.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Whom the silent one has accepted waits for nothing.
    let number_of = |name: &str| {
        let mut stream = connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.write_all(b"GET /state HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        answer(&mut stream).ok().and_then(|(body, _)| number(&body, name)).unwrap_or(0)
    };
    until("it is inside", || number_of("inside") == 1);
    // And another one takes its place.
    until("there are two again", || number_of("spawned") >= 3);
    // The second one that it hears is urgent; two that come together are one.  Each has a line in a log that
    // nobody reads before the end.
    until("it ends", || {
        kill(server.pid(), SIGINT);
        std::thread::sleep(Duration::from_millis(300));
        !lives(server.pid())
    });
    let ended = server.end();
    assert!(ended.stderr.contains("is a thread, which cannot be killed"), "{ended:?}");
}

#[test]
fn logs_are_opened_again_and_lose_nothing() {
    for model in MODELS {
        let dir = harness::support::scratch_dir();
        let name = |what: &str| dir.join(format!("{what}-{}-{}", &model[13..], std::process::id()));
        let (access, error) = (name("access"), name("error"));
        let [to_access, to_error] = [("accesslog", &access), ("errorlog", &error)]
            .map(|(option, path)| format!("{option}={}", path.display()));
        let server = Server::start(
            &master(),
            &["{}", "signals=1", model, "workers=2", &to_access, &to_error],
        );
        server.get("/state");
        let mut moved = Vec::new();
        let load = Load::during(server.address(), |load| {
            for round in 0..5 {
                let enough = load.answers() + 50;
                until("some requests", || load.answers() > enough);
                for path in [&access, &error] {
                    let to = path.with_extension(round.to_string());
                    std::fs::rename(path, &to).unwrap();
                    moved.push(to);
                }
                server.signal(SIGUSR1);
                until("there are new ones", || access.exists() && error.exists());
            }
        });
        load.assert_no_failure();
        stop(server);
        moved.extend([access, error]);
        let text: String =
            moved.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let lines = text.lines().filter(|line| {
            line.contains(" HTTP/1.1\" 200")
                && (line.contains("\"GET /?") || line.contains("\"GET /slow?"))
        });
        assert_eq!(lines.count() as u64, load.answers(), "{model}");
        assert!(text.contains("Handling signal: usr1"));
        moved.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }
}

#[test]
fn int_is_told_to_the_workers() {
    for model in MODELS {
        let server = start(&[model, "workers=1"]);
        until("it is ready", || state(&server, "readies") == 1);
        server.signal(SIGINT);
        let ended = server.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert_eq!(said(&ended, "on_exit"), 1);
    }
}

/// A worker that cannot boot is tried again ever later, the others serve, and it can be seen.
#[test]
fn a_crash_loop_is_slow_and_can_be_seen() {
    for model in PROCESSES {
        let mut server = start(&[model, "workers=2"]);
        until("both are ready", || state(&server, "readies") == 2);
        tell(&mut server, "boot fails");
        let address = server.address().to_owned();
        let victim = server.workers()[0];
        kill(victim, SIGKILL);
        until("it was tried several times", || state(&server, "spawned") >= 5);
        // Nobody else is in danger.
        let load = Load::during(&address, |load| {
            until("some requests", || load.answers() > 50);
        });
        load.assert_no_failure();
        server.stdin("stats\nboot well\n");
        until("it is there again", || state(&server, "readies") == 3);
        server.stdin("stats\n");
        let ended = stop(server);
        let delays: Vec<u64> = ended
            .stderr
            .lines()
            .filter_map(|line| line.split_once("the next attempt is in "))
            .filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok())
            .collect();
        assert!(delays.len() >= 3 && delays.is_sorted() && delays[0] >= 100, "{delays:?}");
        let stats: Vec<_> =
            ended.stdout.lines().filter(|line| line.starts_with("stats: ")).collect();
        let [before, after] = stats[..] else { panic!("{ended:?}") };
        assert!(
            before.ends_with("failing 1") || before.starts_with("stats: workers 2"),
            "{before}"
        );
        assert!(after.starts_with("stats: workers 2 ") && after.ends_with("failing 0"), "{after}");
    }
}

#[test]
fn first_workers_that_are_not_ready_in_time_stop_everything() {
    for model in MODELS {
        let options = ["{}", "signals=1", "errorlog=-", model, "workers=2", "boot=hangs"];
        let limits = ["boot_timeout=300ms", "graceful_timeout=100ms"];
        let ended = Server::launch(&master(), &[&options[..], &limits].concat()).end();
        assert_eq!(ended.status, Some(3), "{model}: {ended:?}");
        assert!(ended.stderr.contains("boot_timeout"), "{ended:?}");
        assert!(ended.stdout.contains("GW_ERR_APP: Worker failed to boot."), "{ended:?}");
    }
}

#[test]
fn a_stop_ends_a_reload() {
    for (signal, model) in
        [(SIGTERM, PROCESSES[0]), (SIGINT, PROCESSES[0]), (SIGTERM, PROCESSES[1])]
    {
        let mut server = start(&[model, "workers=2", "graceful_timeout=300ms"]);
        until("both are ready", || state(&server, "readies") == 2);
        tell(&mut server, "boot hangs");
        server.signal(SIGHUP);
        until("it has begun", || state(&server, "spawned") == 3);
        server.signal(signal);
        let ended = server.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert_eq!(said(&ended, "reloaded: GW_ERR_STATE"), 1, "{ended:?}");
        assert_eq!(said(&ended, "child_exit"), 3, "{ended:?}");
    }
}

/// Numbers of MiB below and above which a worker is too large: a checker makes all of them larger.
fn sizes() -> (u64, u64) {
    if under() == Under::Nothing { (64, 128) } else { (1024, 1536) }
}

#[test]
fn a_worker_that_has_grown_is_replaced_when_it_has_answered() {
    let (limit, food) = sizes();
    let soft = format!("memory_soft={limit}m");
    let server = start(&["worker_model=fork", "workers=2", "max_recycling=1", &soft]);
    let mut client = connect(server.address()).unwrap();
    write!(client, "GET /eat/{food} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (body, _) = answer(&mut client).unwrap();
    let pid: i32 = body.split(' ').next_back().unwrap().parse().unwrap();
    until("another one is ready", || state(&server, "readies") == 3);
    until("it has gone", || state(&server, "exits") == 1);
    let ended = stop(server);
    assert!(ended.stderr.contains(&format!("memory_soft = {}", limit << 20)), "{ended:?}");
    let line = format!("child_exit {pid} status 0 generation 0 cause 1");
    assert_eq!(said(&ended, &line), 1, "{ended:?}");
}

#[test]
fn a_worker_that_is_too_large_is_killed() {
    let (limit, food) = sizes();
    let hard = format!("memory_hard={limit}m");
    let server = start(&["worker_model=fork", "workers=1", &hard]);
    let mut client = connect(server.address()).unwrap();
    write!(client, "GET /eat/{food} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let _ = answer(&mut client);
    until("another one is ready", || state_of_survivors(&server, "readies") == Some(2));
    let ended = stop(server);
    assert!(ended.stderr.contains("was sent SIGKILL! By the arbiter: it had more"), "{ended:?}");
    let line = ended.stdout.lines().find(|line| line.starts_with("child_exit")).unwrap();
    assert!(line.ends_with("status 9 generation 0 cause 5"), "{line}");
}

#[test]
fn memory_limits_of_threads_are_said_to_be_without_effect() {
    let server = start(&["worker_model=threads", "workers=1", "memory_hard=1"]);
    until("it serves on", || state(&server, "readies") == 1);
    let ended = stop(server);
    assert!(ended.stderr.contains("memory_hard are without effect"), "{ended:?}");
    assert_eq!(said(&ended, "child_exit"), 1, "{ended:?}");
}

/// A control group of its own, for what is started by [`Group::start`].
struct Group(PathBuf, &'static str);

impl Group {
    /// With so many MiB.  `None`: this user may not make any.
    fn new(limit: u64) -> Option<Group> {
        let name = format!("gateway-test-{}", std::process::id());
        let [one, two] =
            ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(|root| format!("{root}/{name}"));
        let (path, limits): (_, &[&str]) =
            if PathBuf::from("/sys/fs/cgroup/memory/memory.oom_control").exists() {
                (one, &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
            } else {
                (two, &["memory.max", "memory.swap.max"])
            };
        let group = Group(PathBuf::from(path), limits[0]);
        std::fs::create_dir(&group.0).ok()?;
        for (file, octets) in limits.iter().zip([limit << 20, limit << 20]) {
            // Without swap there is no limit to it.
            let set = std::fs::write(group.0.join(file), octets.to_string());
            if *file == group.1 {
                set.ok()?;
            }
        }
        Some(group)
    }

    fn start(&self, options: &[&str]) -> Server {
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        let (procs, program) = (self.0.join("cgroup.procs"), master());
        let (procs, program) = (procs.to_str().unwrap(), program.to_str().unwrap());
        let args = ["-c", script, procs, program, "{}", "signals=1", "errorlog=-"];
        Server::start(std::path::Path::new("/bin/sh"), &[&args, options].concat())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let since = Instant::now();
        while std::fs::remove_dir(&self.0).is_err() && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_worker_that_the_system_kills_for_want_of_memory_is_said_to_be() {
    if under() != Under::Nothing {
        // A checker has more memory than its program.
        return;
    }
    let Some(group) = Group::new(64) else {
        eprintln!("NOT TESTED: out of memory, since this user cannot make a control group");
        return;
    };
    let server = group.start(&["worker_model=fork", "workers=1"]);
    let mut client = connect(server.address()).unwrap();
    write!(client, "GET /eat/200 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(answer(&mut client).is_err(), "it was killed");
    until("another one is ready", || state_of_survivors(&server, "readies") == Some(2));
    let ended = stop(server);
    assert!(
        ended.stderr.contains("By the system: its control group was out of memory"),
        "{ended:?}"
    );
    let line = ended.stdout.lines().find(|line| line.starts_with("child_exit")).unwrap();
    assert!(line.ends_with("status 9 generation 0 cause 6"), "{line}");
}
