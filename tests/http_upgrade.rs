//! An upgrade under load: the program is replaced, started again beside itself, and one of the two
//! goes.

mod harness;

use std::path::{Path, PathBuf};

use harness::again::{dir, lives, processes_of, put, release};
use harness::load::{Load, connect};
use harness::{PATIENCE, SIGKILL, SIGSTOP, SIGTERM, Server, kill, support, until};

const SIGHUP: i32 = 1;
const SIGUSR2: i32 = 12;
const SIGCONT: i32 = 18;
const SIGTTIN: i32 = 21;
const SIGWINCH: i32 = 28;

const MODELS: [&str; 3] = ["worker_model=fork", "worker_model=exec", "worker_model=threads"];

/// A server whose program can be replaced.
struct Site {
    dir: PathBuf,
    server: Server,
}

impl Site {
    fn start(name: &str, options: &[&str]) -> Site {
        let dir = dir(&format!("upgrade-{name}"));
        release(1, &dir.join("again"));
        let ready = format!("ready={}", dir.join("ready").display());
        let args = [&["{}", "errorlog=-", "workers=2", &ready], options].concat();
        let server = Server::start(&dir.join("again"), &args);
        let site = Site { dir, server };
        site.nth_arbiter(0);
        site
    }

    /// The process of the arbiter that was the nth to be ready.
    fn nth_arbiter(&self, n: usize) -> i32 {
        let mut pid = None;
        until("it is ready", || {
            let text = std::fs::read_to_string(self.dir.join("ready")).unwrap_or_default();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole).to_owned();
            pid = whole.lines().nth(n).map(|line| line.parse().unwrap());
            pid.is_some()
        });
        pid.unwrap()
    }

    fn program(&self) -> PathBuf {
        self.dir.join("again")
    }

    /// The release that answers.
    fn answer(&self) -> String {
        let text = self.server.get("/");
        text.split(' ').next().unwrap().to_owned()
    }

    /// Replaces the program, and waits until the arbiter is ready that is the nth.
    fn upgrade(&self, from: i32, number: u8, n: usize) -> i32 {
        release(number, &self.program());
        kill(from, SIGUSR2);
        self.nth_arbiter(n)
    }

    /// Waits until so many answers in a row came from one release.
    fn until_all_are(&self, name: &str) {
        let mut in_a_row = 0;
        until(name, || {
            in_a_row = if self.answer() == name { in_a_row + 1 } else { 0 };
            in_a_row == 50
        });
    }

    /// The first arbiter has ended, and the other is to.
    fn end(self, new: i32) -> String {
        until("the old one has ended", || !lives(self.server.pid()));
        assert!(lives(new));
        kill(new, SIGTERM);
        let ended = self.server.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let _ = std::fs::remove_dir_all(self.dir);
        ended.stderr
    }

    /// It is the first one that is left.
    fn stop(self) -> String {
        let ended = self.server.stop();
        let _ = std::fs::remove_dir_all(self.dir);
        ended.stderr
    }
}

#[test]
fn a_new_release_takes_the_place_of_the_old_one_and_loses_no_request() {
    for model in MODELS {
        let site = Site::start(&model[13..], &[model]);
        let mut new = 0;
        let load = Load::during(site.server.address(), |load| {
            new = site.upgrade(site.server.pid(), 2, 1);
            site.server.signal(SIGWINCH);
            site.until_all_are("release-2");
            site.server.signal(SIGTERM);
            until("the old one has ended", || !lives(site.server.pid()));
            let enough = load.answers() + 100;
            until("some requests", || load.answers() > enough);
        });
        load.assert_no_failure();
        // It is an arbiter as the first one was: also of a third.
        let mut third = 0;
        let load = Load::during(site.server.address(), |_| {
            third = site.upgrade(new, 3, 2);
            kill(new, SIGTERM);
            until("the second has ended", || !lives(new));
            site.until_all_are("release-3");
        });
        load.assert_no_failure();
        let said = site.end(third);
        assert_eq!(said.matches("this one is the arbiter").count(), 2, "{model}: {said}");
        assert_eq!(said.matches("pre_exec 1").count(), 2, "{model}: {said}");
    }
}

#[test]
fn the_old_one_comes_back() {
    for model in MODELS {
        for asked in [true, false] {
            let site = Site::start(&format!("back-{}-{asked}", &model[13..]), &[model]);
            let load = Load::during(site.server.address(), |load| {
                let new = site.upgrade(site.server.pid(), 2, 1);
                site.server.signal(SIGWINCH);
                site.until_all_are("release-2");
                release(1, &site.program());
                if asked {
                    site.server.signal(SIGHUP);
                    load.forget_who_answered();
                    let is_old = |body: &String| body.starts_with("release-1 ");
                    until("its workers are back", || load.answered().keys().any(is_old));
                }
                kill(new, SIGTERM);
                until("the new one has ended", || !lives(new));
                site.until_all_are("release-1");
            });
            load.assert_no_failure();
            let said = site.stop();
            assert!(said.contains("exited with code 0; this one serves on"), "{model}: {said}");
        }
    }
}

/// What counts is the arbiter, and not the process that it was in.
#[test]
fn a_process_may_outlive_its_arbiter() {
    let place = dir("lingers");
    let file = place.join("lingers");
    let lingers = format!("lingers={}", file.display());
    let site = Site::start("outlives", &["worker_model=threads", &lingers]);
    std::fs::write(&file, "").unwrap();
    let load = Load::during(site.server.address(), |_| {
        let new = site.upgrade(site.server.pid(), 2, 1);
        site.server.signal(SIGWINCH);
        site.until_all_are("release-2");
        kill(new, SIGTERM);
        site.until_all_are("release-1");
        assert!(lives(new));
        std::fs::remove_file(&file).unwrap();
        until("it has ended", || !lives(new));
        // And the other way round.
        let new = site.upgrade(site.server.pid(), 2, 2);
        std::fs::write(&file, "").unwrap();
        site.server.signal(SIGTERM);
        site.until_all_are("release-2");
        // It is promoted: it can be upgraded itself.
        let next = site.upgrade(new, 3, 3);
        kill(new, SIGTERM);
        site.until_all_are("release-3");
        assert!(lives(site.server.pid()) && lives(new));
        std::fs::remove_file(&file).unwrap();
        until("they have ended", || !lives(new) && !lives(site.server.pid()));
        kill(next, SIGTERM);
        until("the last one has ended", || !lives(next));
    });
    // The last ones were asked when there was nobody.
    drop(load);
    let ended = site.server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(ended.stderr.matches("this one is the arbiter").count(), 2, "{ended:?}");
    std::fs::remove_dir_all(place).unwrap();
    std::fs::remove_dir_all(site.dir).unwrap();
}

#[test]
fn one_that_does_not_boot_leaves_the_old_one_serving() {
    for model in MODELS {
        let name = format!("fails-{}", &model[13..]);
        let log = std::env::temp_dir().join(format!("upgrade-{name}-{}.log", std::process::id()));
        let site = Site::start(&name, &[model, &format!("errorlog={}", log.display())]);
        let said = || std::fs::read_to_string(&log).unwrap();
        let failed = |times: usize, site: &Site| {
            until("it has been tried", || said().matches(" serves on").count() == times);
            // Not an orphan, nor a zombie.
            let workers = if model.ends_with("threads") { 0 } else { 2 };
            until("it has failed", || processes_of(site.server.pid()).len() == workers);
            assert_eq!(site.answer(), "release-1", "{times}");
        };
        let load = Load::during(site.server.address(), |_| {
            let real = site.dir.join("real");
            std::fs::copy(site.program(), &real).unwrap();
            // What ends at once, what is no program, what is not there.
            put(&site.program(), &std::fs::read("/bin/false").unwrap());
            site.server.signal(SIGUSR2);
            failed(1, &site);
            put(&site.program(), b"no program");
            site.server.signal(SIGUSR2);
            failed(2, &site);
            std::fs::remove_file(site.program()).unwrap();
            site.server.signal(SIGUSR2);
            failed(3, &site);
            // What would leave the old one's sockets to nobody.
            let text = format!("#!/bin/sh\nexec {} \"$@\" worker_model=inline\n", real.display());
            put(&site.program(), text.as_bytes());
            site.server.signal(SIGUSR2);
            failed(4, &site);
            // It does not stand in the way of one that is well.
            let new = site.upgrade(site.server.pid(), 2, 1);
            // One that is killed is no more than one that ends.
            kill(new, SIGKILL);
            until("the new one has ended", || !lives(new));
            site.until_all_are("release-1");
        });
        drop(load);
        let said = site.stop() + &said();
        std::fs::remove_file(log).unwrap();
        assert!(said.contains("exited with code 1; this one serves on"), "{said}");
        assert!(said.contains("was ended by SIGKILL; this one serves on"), "{said}");
        assert!(said.contains("worker_model = inline has no arbiter that could"), "{said}");
        let text = "again: No such file or directory";
        assert!(said.contains(text) && said.contains("; this arbiter serves on"), "{said}");
    }
}

#[test]
fn a_unix_socket_has_its_file_as_long_as_one_of_them_serves() {
    for (commits, model) in [(true, MODELS[0]), (false, MODELS[0]), (true, MODELS[1])] {
        let name = format!("unix-{commits}-{}", &model[13..]);
        let place = dir(&format!("socket-{name}"));
        let path = place.join("s");
        std::fs::write(place.join("binds"), format!("unix:{}\n", path.display())).unwrap();
        let binds = format!("binds={}", place.join("binds").display());
        let site = Site::start(&name, &[model, &binds]);
        let serves = || std::os::unix::net::UnixStream::connect(&path).is_ok();
        assert!(serves());
        let new = site.upgrade(site.server.pid(), 2, 1);
        if commits {
            site.server.signal(SIGTERM);
            until("the old one has ended", || !lives(site.server.pid()));
            assert!(serves());
            site.end(new);
        } else {
            kill(new, SIGTERM);
            until("the new one has ended", || processes_of(site.server.pid()).len() == 2);
            assert!(serves());
            site.stop();
        }
        assert!(!path.exists(), "{name}");
        std::fs::remove_dir_all(place).unwrap();
    }
}

#[test]
fn the_new_one_listens_where_it_wants_to() {
    let place = dir("listens");
    let file = place.join("binds");
    let unix = format!("unix:{}", place.join("s").display());
    std::fs::write(&file, &unix).unwrap();
    let binds = format!("binds={}", file.display());
    let site = Site::start("binds", &["worker_model=exec", &binds]);
    let other = site.server.address().replace(":8000", ":8001");
    assert!(connect(&other).is_err());
    std::fs::write(&file, &other).unwrap();
    let new = site.upgrade(site.server.pid(), 2, 1);
    connect(&other).unwrap();
    let serves = || std::os::unix::net::UnixStream::connect(place.join("s")).is_ok();
    assert!(serves(), "the old one's");
    site.server.signal(SIGTERM);
    until("the old one has ended", || !lives(site.server.pid()));
    until("nobody listens there", || !serves());
    until("what nobody wants has gone", || !place.join("s").exists());
    site.end(new);
    std::fs::remove_dir_all(place).unwrap();
}

#[test]
fn there_is_one_at_a_time() {
    let site = Site::start("once", &["worker_model=exec", "runtime=1", "serve=thread"]);
    let new = site.upgrade(site.server.pid(), 2, 1);
    site.server.signal(SIGUSR2);
    kill(new, SIGUSR2);
    // Both have been heard when what comes after them has its effect.
    site.server.signal(SIGWINCH);
    site.until_all_are("release-2");
    site.server.signal(SIGTERM);
    let said = site.end(new);
    assert!(said.contains("is on its way"), "{said}");
    assert!(said.contains("whose place this one is to take, is there"), "{said}");
    assert_eq!(said.matches("Upgrade: started").count(), 1, "{said}");
}

/// A thread that hears no signals starts a process that does.
#[test]
fn what_one_thread_has_blocked_is_not_blocked_in_the_new_process() {
    for model in &MODELS[1..] {
        let site = Site::start(&format!("deaf-{}", &model[13..]), &[model, "serve=deaf"]);
        let new = site.upgrade(site.server.pid(), 2, 1);
        site.server.signal(SIGTERM);
        site.end(new);
    }
}

/// The addresses are bound, and the pid file is there, of the arbiter that started it.
#[test]
fn a_program_may_check_its_configuration_in_each_of_its_processes() {
    let place = dir("checks");
    let pidfile = format!("pidfile={}", place.join("pid").display());
    for model in &MODELS[..2] {
        let site = Site::start(&format!("checks-{}", &model[13..]), &[model, "check=1", &pidfile]);
        let new = site.upgrade(site.server.pid(), 2, 1);
        site.server.signal(SIGTERM);
        site.end(new);
    }
    std::fs::remove_dir_all(place).unwrap();
}

/// Both are there when the old one looks.
#[test]
fn workers_can_be_told_to_go_in_the_same_breath() {
    let site = Site::start("breath", &["worker_model=fork"]);
    let old = site.server.pid();
    release(2, &site.program());
    for signal in [SIGSTOP, SIGUSR2, SIGWINCH, SIGCONT] {
        kill(old, signal);
    }
    let new = site.nth_arbiter(1);
    until("its workers have gone", || processes_of(old) == [new]);
    // It ends with the upgrade, and not with the next.
    kill(new, SIGKILL);
    until("they are back", || processes_of(old).len() == 2);
    std::fs::remove_file(site.program()).unwrap();
    for signal in [SIGSTOP, SIGUSR2, SIGWINCH, SIGCONT] {
        kill(old, signal);
    }
    // Heard after both.
    kill(old, SIGTTIN);
    until("there is one more", || processes_of(old).len() == 3);
    let new = site.upgrade(old, 2, 2);
    kill(new, SIGTERM);
    until("the new one has ended", || !lives(new));
    let said = site.stop();
    assert_eq!(said.matches("Workers are to go").count(), 1, "{said}");
}

/// With another library in place of the one that the old one has.
#[test]
fn the_library_is_upgraded_with_the_program() {
    let place = dir("upgrade-library");
    let library = place.join(support::SONAME);
    let mut octets = std::fs::read(support::library()).unwrap();
    put(&library, &octets);
    let program = place.join("again");
    release(1, &program);
    let path = format!("LD_LIBRARY_PATH={}", place.display());
    let args = [&*path, program.to_str().unwrap(), "{}", "worker_model=exec", "errorlog=-"];
    let ready = format!("ready={}", place.join("ready").display());
    let args = [&args[..], &["workers=2", &ready]].concat();
    let server = Server::start(Path::new("/usr/bin/env"), &args);
    let site = Site { dir: place, server };
    site.nth_arbiter(0);
    let text = format!("libgateway {}", env!("CARGO_PKG_VERSION")).into_bytes();
    for at in 0..octets.len() - text.len() {
        if octets[at..].starts_with(&text) {
            octets[at + text.len() - 1] ^= 1;
        }
    }
    put(&library, &octets);
    let mut new = 0;
    let load = Load::during(site.server.address(), |_| {
        new = site.upgrade(site.server.pid(), 2, 1);
        site.server.signal(SIGTERM);
        site.until_all_are("release-2");
    });
    load.assert_no_failure();
    let said = site.end(new);
    let other = String::from_utf8({
        let mut text = text;
        *text.last_mut().unwrap() ^= 1;
        text
    });
    assert!(said.contains(&format!("Starting {}", other.unwrap())), "{said}");
}

#[test]
fn it_can_be_asked_for_by_a_function() {
    let place = dir("upgrade-function");
    let file = place.join("now");
    std::fs::write(&file, "").unwrap();
    let upgrade = format!("upgrade={}", file.display());
    let site = Site::start("function", &["worker_model=fork", "signals=0", &upgrade]);
    let new = site.nth_arbiter(1);
    kill(site.server.pid(), SIGTERM);
    until("the old one has ended", || !lives(site.server.pid()));
    site.server.get("/");
    kill(new, SIGTERM);
    let _ = site.server.end();
    std::fs::remove_dir_all(place).unwrap();
}

#[test]
fn the_pid_file_names_the_one_that_counts() {
    for (model, kills) in [(MODELS[0], false), (MODELS[1], true), (MODELS[2], false)] {
        let place = dir(&format!("pid-{}", &model[13..]));
        let (path, second) = (place.join("pid"), place.join("pid.2"));
        let named = |path: &Path| std::fs::read_to_string(path).ok();
        let line = |pid: i32| Some(format!("{pid}\n"));
        let pidfile = format!("pidfile={}", path.display());
        let site = Site::start(&format!("pid-of-{}", &model[13..]), &[model, &pidfile]);
        let old = site.server.pid();
        // One that goes again takes its own.
        let new = site.upgrade(old, 2, 1);
        assert_eq!([named(&path), named(&second)], [line(old), line(new)]);
        kill(new, SIGTERM);
        until("its file has gone", || named(&second).is_none());
        until("it has ended", || !lives(new));
        assert_eq!(named(&path), line(old));
        let new = site.upgrade(old, 2, 2);
        assert_eq!([named(&path), named(&second)], [line(old), line(new)]);
        // One that was killed has no time to remove its own.
        kill(old, if kills { SIGKILL } else { SIGTERM });
        until("it is promoted", || named(&path) == line(new));
        until("there is one file", || named(&second).is_none());
        if kills {
            until("the old one has ended", || !lives(old));
            kill(new, SIGTERM);
            let _ = site.server.end();
        } else {
            site.end(new);
        }
        assert_eq!(named(&path), None);
        std::fs::remove_dir_all(place).unwrap();
    }
}

#[test]
fn a_service_manager_is_told_who_counts_by_the_one_that_does() {
    let place = dir("upgrade-notify");
    let socket = std::env::temp_dir().join(format!("gw-upgrade-{}", std::process::id()));
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut octets = [0; 4096];
        let n = manager.recv(&mut octets).expect("a message");
        String::from_utf8_lossy(&octets[..n]).into_owned()
    };
    let program = place.join("again");
    release(1, &program);
    let ready = format!("ready={}", place.join("ready").display());
    let args = ["{}", "worker_model=exec", "errorlog=-", "workers=1", &ready];
    let environment = [("NOTIFY_SOCKET", socket.to_str().unwrap())];
    let server = Server::launch_with(&program, &args, &environment);
    let site = Site { dir: place, server };
    let old = site.server.pid();
    assert!(hear().starts_with(&format!("READY=1\nMAINPID={old}\n")));
    // Nobody but the old one is the service, until that says so.
    let new = site.upgrade(old, 2, 1);
    site.server.signal(SIGHUP);
    assert!(hear().starts_with("RELOADING=1\n"));
    assert!(hear().starts_with("READY=1\n"));
    site.server.signal(SIGTERM);
    assert_eq!(hear(), format!("MAINPID={new}\nSTATUS=Handed over"));
    assert!(hear().starts_with(&format!("READY=1\nMAINPID={new}\n")));
    site.end(new);
    assert_eq!(hear(), "STOPPING=1\nSTATUS=Stopping");
    std::fs::remove_file(socket).unwrap();
}

#[test]
fn sockets_that_systemd_has_passed_are_passed_on() {
    for model in MODELS {
        let place = dir(&format!("passed-{}", &model[13..]));
        let program = place.join("again");
        release(1, &program);
        let ready = format!("ready={}", place.join("ready").display());
        let path = program.to_str().unwrap();
        let args = ["-l", "{}", path, "systemd:", model, "errorlog=-", "workers=2", &ready];
        let server = Server::launch(Path::new("systemd-socket-activate"), &args).listening();
        let site = Site { dir: place, server };
        site.nth_arbiter(0);
        let mut new = 0;
        let load = Load::during(site.server.address(), |_| {
            new = site.upgrade(site.server.pid(), 2, 1);
            site.server.signal(SIGTERM);
            until("the old one has ended", || !lives(site.server.pid()));
            site.until_all_are("release-2");
        });
        load.assert_no_failure();
        site.end(new);
    }
}
