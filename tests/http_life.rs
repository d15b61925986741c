//! The life of a server on its host: pid files, children that are nobody's, and what is wrong before
//! it begins.

mod harness;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use harness::life::{
    SIGHUP, WAYS, are_processes, launch, life, master, named_by, own_directory, refused, start,
    unique,
};
use harness::{SIGKILL, SIGTERM, Server, Under, kill, under, until};

// ---- pid files ----

#[test]
fn the_pid_file_is_there_from_the_bind_to_the_end() {
    for way in WAYS {
        let path = unique("pid");
        let server = start(&[&way[..], &[&format!("pidfile={path}")]].concat());
        assert_eq!(named_by(&path), Some(server.pid()), "{way:?}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        // The end of a worker is not the end.
        if let Some(worker) = server.workers().first() {
            kill(*worker, SIGTERM);
            until("it is replaced", || server.workers().first().is_some_and(|new| new != worker));
            server.get("/");
            assert_eq!(named_by(&path), Some(server.pid()));
        }
        server.stop();
        assert!(!Path::new(&path).exists(), "{way:?}");
    }
}

#[test]
fn a_server_that_runs_keeps_its_pid_file_and_the_next_one_does_not_start() {
    for way in WAYS {
        let (path, socket) = (unique("pid"), unique("sock"));
        let pidfile = format!("pidfile={path}");
        let first = start(&["worker_model=fork", &pidfile]);
        let bind = format!("bind=unix:{socket}");
        let ended = refused(&[&way[..], &[&pidfile, &bind]].concat());
        let said = format!("already running: pid {} ({path})", first.pid());
        assert!(ended.stderr.contains(&said), "{ended:?}");
        assert!(!Path::new(&socket).exists(), "nothing was bound");
        assert_eq!(named_by(&path), Some(first.pid()));
        first.stop();
        assert!(!Path::new(&path).exists());
    }
}

#[test]
fn a_stale_pid_file_is_replaced() {
    let path = unique("pid");
    let pidfile = format!("pidfile={path}");
    let first = start(&["worker_model=fork", &pidfile]);
    let pid = first.pid();
    kill(pid, SIGKILL);
    first.end();
    assert_eq!(named_by(&path), Some(pid), "nobody could remove it");
    let second = start(&["worker_model=fork", &pidfile]);
    assert_eq!(named_by(&path), Some(second.pid()));
    second.stop();
    assert!(!Path::new(&path).exists());
}

#[test]
fn what_is_no_pid_file_is_an_error_and_stays() {
    for way in WAYS {
        let path = unique("pid");
        fs::write(&path, "important").unwrap();
        let ended = refused(&[&way[..], &[&format!("pidfile={path}")]].concat());
        assert!(ended.stderr.contains("is not the id of a process"), "{ended:?}");
        assert!(ended.stderr.contains(&path), "{ended:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "important");
        fs::remove_file(&path).unwrap();
        let ended = refused(&[&way[..], &["pidfile=/nonexistent/app.pid"]].concat());
        assert!(ended.stderr.contains("pidfile = /nonexistent/app.pid: No such"), "{ended:?}");
    }
}

#[test]
fn a_pid_file_that_became_somebody_elses_stays() {
    let path = unique("pid");
    let server = start(&["worker_model=fork", &format!("pidfile={path}")]);
    fs::write(&path, "1\n").unwrap();
    server.stop();
    assert_eq!(named_by(&path), Some(1));
    fs::remove_file(&path).unwrap();
}

#[test]
fn an_address_that_cannot_be_bound_leaves_no_pid_file() {
    let path = unique("pid");
    let pidfile = format!("pidfile={path}");
    let first = start(&["worker_model=fork"]);
    for way in WAYS {
        let bind = format!("bind={}", first.address());
        let ended = Server::launch(&life(), &[&way[..], &[&bind, &pidfile]].concat()).end();
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("Address already in use"), "{ended:?}");
        assert!(!Path::new(&path).exists(), "{way:?}");
    }
    // Nor do first workers that do not boot.
    let limits = ["boot=hangs", "boot_timeout=300ms", "graceful_timeout=100ms"];
    let options = ["{}", "signals=1", "workers=1", &pidfile];
    let ended = Server::launch(&master(), &[&options[..], &limits].concat()).end();
    assert_eq!(ended.status, Some(3), "{ended:?}");
    assert!(!Path::new(&path).exists());
    first.stop();
}

#[test]
fn a_reload_moves_the_pid_file_and_writes_it_again() {
    for model in ["worker_model=fork", "worker_model=threads"] {
        let (first, second) = (unique("pid"), unique("pid"));
        let pidfile = format!("pidfile={first}");
        let mut server = Server::start(&master(), &["{}", "signals=1", model, &pidfile]);
        server.get("/");
        assert_eq!(named_by(&first), Some(server.pid()));
        let reloaded = |server: &Server, n: usize| {
            until("it has reloaded", || server.get("/state").starts_with(&format!("reloads {n} ")));
        };
        // Somebody has tidied up.
        fs::remove_file(&first).unwrap();
        server.signal(SIGHUP);
        reloaded(&server, 1);
        until("it is written again", || named_by(&first) == Some(server.pid()));
        server.stdin(&format!("reload pidfile={second}\n"));
        reloaded(&server, 2);
        until("it has moved", || named_by(&second) == Some(server.pid()));
        until("it has moved", || !Path::new(&first).exists());
        // One that cannot be had is an error at once, and changes nothing.
        server.stdin("reload pidfile=/nonexistent/x\n");
        server.stdin("reload pidfile=\n");
        reloaded(&server, 3);
        until("it is gone", || !Path::new(&second).exists());
        let ended = server.stop();
        assert_eq!(ended.stdout.matches("GW_ERR_IO").count(), 1, "{ended:?}");
        assert!(!Path::new(&first).exists() && !Path::new(&second).exists());
    }
}

// ---- children that are nobody's ----

/// The children of a process, with those that nobody has waited for.
fn children(pid: i32) -> usize {
    let path = format!("/proc/{pid}/task/{pid}/children");
    fs::read_to_string(path).unwrap_or_default().split_whitespace().count()
}

/// A server that has children when it starts, as one that a script has executed.
fn parent(options: &[&str]) -> Server {
    let program = life().display().to_string();
    let script = "sleep 0.1 & sleep 0.2 & sleep 0.3 & exec \"$0\" \"$@\"";
    let common = ["-c", script, &program, "bind={}", "workers=1", "errorlog=-", "loglevel=debug"];
    let is_inline = options.contains(&"worker_model=inline");
    let common = if is_inline { [&common[..4], &common[5..]].concat() } else { common.to_vec() };
    Server::launch(Path::new("sh"), &[&common[..], options].concat()).listening()
}

#[test]
fn orphans_are_waited_for_when_the_host_says_so() {
    if under() == Under::Valgrind {
        eprintln!("NOT UNDER VALGRIND: it would check the shell");
        return;
    }
    for way in WAYS {
        let forks = usize::from(are_processes(way));
        for signals in ["signals=1", "signals=0"] {
            let server = parent(&[&way[..], &[signals, "reap_orphans=1"]].concat());
            server.get("/");
            until("they are gone", || children(server.pid()) == forks);
            if signals == "signals=1" {
                let ended = server.stop();
                assert!(!ended.stderr.contains("Worker (pid:"), "{ended:?}");
                assert!(!ended.stderr.contains("chld"), "{ended:?}");
            } else {
                server.workers().iter().for_each(|worker| kill(*worker, SIGKILL));
                kill(server.pid(), SIGKILL);
                server.end();
            }
        }
        // And are left to the host when it does not.
        let server = parent(&[&way[..], &["signals=1"]].concat());
        server.get("/");
        let zombies = || {
            let stats = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid()));
            let stats = stats.unwrap_or_default();
            let is_zombie = |pid: &&str| {
                fs::read_to_string(format!("/proc/{pid}/status"))
                    .is_ok_and(|s| s.contains("zombie"))
            };
            stats.split_whitespace().filter(is_zombie).count()
        };
        until("they have ended", || zombies() == 3);
        (0..20).for_each(|_| drop(server.get("/")));
        assert_eq!((zombies(), children(server.pid())), (3, 3 + forks));
        server.stop();
    }
}

#[test]
fn what_workers_leave_is_waited_for_and_is_no_worker() {
    // The shell ends at once; what it has started is taken in by the arbiter.
    let run = "run=sleep 0.05 & sleep 0.1 & exit 0";
    let options = ["worker_model=fork", "subreaper=1", "reap_orphans=1", run];
    let server = start(&options);
    let mut killed = 0;
    for round in 0..5 {
        assert_eq!(server.get("/run"), "0", "what a worker waits for is its own");
        // A worker ends among them.
        let worker = server.workers()[0];
        if round == 2 {
            kill(worker, SIGKILL);
            killed = worker;
        }
        until("they are gone", || {
            let workers = server.workers();
            workers.len() == 1 && (round != 2 || workers[0] != worker)
        });
        server.get("/");
    }
    let ended = server.stop();
    let mut said = ended.stderr.lines().filter(|line| line.contains("Worker (pid:"));
    assert!(said.all(|line| line.contains(&format!("(pid:{killed})"))), "{ended:?}");
    assert_eq!(ended.stderr.matches("was sent SIGKILL!").count(), 1, "{ended:?}");
}

// ---- what is wrong with a configuration ----

/// One that is asked what is wrong: the problems, which it tells twice.
fn problems(options: &[&str]) -> Vec<String> {
    let server = launch(&[&["as=check"], options].concat(), &[]);
    let ended = server.end();
    let lines: Vec<_> = ended.stdout.lines().map(str::to_owned).collect();
    let (first, second) = lines.split_at(lines.len() / 2);
    assert_eq!(first, second, "{ended:?}");
    assert_eq!(ended.status, Some(i32::from(!lines.is_empty())), "{ended:?}");
    if !lines.is_empty() {
        let said = format!("GW_ERR_INVALID: {} problems", first.len());
        assert!(ended.stderr.contains(&said), "{ended:?}");
    }
    first.to_vec()
}

/// What is in a directory.
fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_problem_is_found_before_anything_is_started() {
    let dir = own_directory();
    let path = |name: &str| format!("{dir}/{name}");
    fs::write(path("file"), "garbage").unwrap();
    fs::write(path("broken.so"), "garbage").unwrap();
    fs::create_dir(path("directory")).unwrap();
    // A stale socket is no problem, and not for a check to remove.
    drop(std::os::unix::net::UnixListener::bind(path("stale")).unwrap());
    let taken = start(&["worker_model=fork", &format!("bind=unix:{}", path("taken"))]);
    let running = path("running");
    fs::write(&running, format!("{}\n", taken.pid())).unwrap();
    let before = names(&dir);

    let in_use = format!("bind={}", taken.address());
    let list = [
        (vec!["worker_model=inline", "workers=2"], "workers = 2: worker_model = inline has one"),
        (vec!["limit_request_line=1m"], "limit_request_line = 1048576: more than the whole head"),
        (vec!["spool_dir=/nonexistent"], "spool_dir = /nonexistent: there is no such directory"),
        (vec!["accesslog=/nonexistent/x"], "accesslog = /nonexistent/x: No such file or directory"),
        (vec!["errorlog=/nonexistent/x"], "errorlog = /nonexistent/x: No such file or directory"),
        (vec!["accesslog=@/directory"], "accesslog = @/directory: is a directory"),
        (vec!["accesslog=fd:77"], "accesslog = fd:77: Bad file descriptor"),
        (vec!["accesslog=@/log", "access_log_format=%(x"], "access_log_format: "),
        (vec!["pidfile=@/file"], "pidfile = @/file: what is in it is not the id of a process"),
        (vec!["pidfile=@/directory"], "pidfile = @/directory: this is not a regular file"),
        (vec!["pidfile=@/running"], "pidfile: already running: pid "),
        (vec!["pidfile=/nonexistent/x"], "pidfile = /nonexistent/x: No such file or directory"),
        (vec!["user=no-such-user"], "user = no-such-user: there is no such user"),
        (vec!["group=no-such-group"], "group = no-such-group: there is no such group"),
        (vec![&in_use], "Address already in use"),
        (vec!["bind=192.0.2.1:8000"], "bind 192.0.2.1:8000: Cannot assign requested address"),
        (vec!["bind=name.invalid:80"], "bind name.invalid:80: look up name.invalid: "),
        (vec!["bind=unix:@/file"], "bind unix:@/file: exists and is not a socket"),
        (vec!["bind=unix:@/taken"], "bind unix:@/taken: Address already in use"),
        (vec!["bind=unix:/nonexistent/s"], "bind unix:/nonexistent/s: No such file or directory"),
        (vec!["bind=fd://77"], "bind fd://77: listen on inherited descriptor 77: Bad file descr"),
        (vec!["bind=systemd:web"], "bind systemd:web: no such socket"),
        (vec!["bind=unix:@/s", "bind=unix:@/s"], "bind: unix:@/s twice"),
        (vec!["threads=2", "app=unsafe"], "threads = 2: application \"life\" is not"),
        (vec!["threads=0", "app=unsafe", "middleware=1"], "threads = 0: application \"life\" may"),
        (
            vec!["worker_model=threads", "workers=2", "app=unsafe"],
            "workers = 2: worker_model = thr",
        ),
        (vec!["app=none"], "there is no application: gw_config_app comes first"),
        (vec!["module=/nonexistent.so"], "/nonexistent.so"),
        (vec!["module=@/broken.so"], "@/broken.so"),
    ];
    for (options, said) in &list {
        let said = said.replace('@', &dir);
        let options: Vec<String> = options.iter().map(|it| it.replace('@', &dir)).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let found = problems(&options);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&said), "{found:?} {said}");
        // And it does not start with it, nor leave anything.
        for way in ["as=serve", "as=arbiter"] {
            let server = launch(&[&[way], &options[..]].concat(), &[]);
            let address = server.address().to_owned();
            let ended = server.end();
            let is_module = said.contains(".so");
            assert_eq!(ended.status, Some(if is_module { 4 } else { 1 }), "{ended:?}");
            let has_other =
                way == "as=arbiter" && said.starts_with("workers = 2: worker_model = i");
            assert!(ended.stderr.contains(&said) || has_other, "{way} {ended:?} {said}");
            assert!(TcpStream::connect(&address).is_err());
        }
        assert_eq!(names(&dir), before, "{options:?}");
    }

    // All at once: one report for each, and one message.
    let several = [&in_use, "pidfile=/nonexistent/x", "user=no-such-user", "limit_request_line=1m"];
    let found = problems(&several);
    assert_eq!(found.len(), several.len(), "{found:?}");
    let ended = refused(&several);
    for problem in &found {
        let (_, text) = problem.split_once(": ").unwrap();
        // As much as a message has room for.
        let begins = &text[..text.len().min(20)];
        assert!(ended.stderr.contains(begins) || ended.stderr.len() > 240, "{ended:?} {text}");
    }
    assert!(ended.stderr.matches("; ").count() >= 2, "{ended:?}");
    // And none.
    let socket = format!("bind=unix:{}", path("stale"));
    let (pidfile, log) = (format!("pidfile={}", path("pid")), format!("accesslog={}", path("log")));
    let is = fs::metadata("/proc/self").unwrap();
    let (user, group) = (format!("user={}", is.uid()), format!("group={}", is.gid()));
    assert!(problems(&[&socket, &pidfile, &log, &user, &group, "middleware=1"]).is_empty());
    assert_eq!(names(&dir), before);
    taken.stop();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_address_in_use_is_free_when_its_server_has_ended() {
    let first = start(&["worker_model=fork"]);
    let found = problems(&[&format!("bind={}", first.address())]);
    let said = format!("GW_ERR_IO: bind {}: Address already in use", first.address());
    assert!(found[0].starts_with(&said), "{found:?}");
    first.stop();
    assert!(problems(&[]).is_empty());
}
