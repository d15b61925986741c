//! Who serves: another user than the one who has bound the sockets.

mod harness;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use harness::life::{
    SIGHUP, SIGUSR1, WAYS, ask_unix, launch, life, named_by, own_directory, refused, start, unique,
};
use harness::{SIGKILL, Server, Under, kill, support, under, until};

/// The numbers of `nobody`, who has no rights, and whom every system has.
fn nobody() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = passwd.lines().find(|line| line.starts_with("nobody:")).expect("nobody");
    let mut fields = line.split(':').skip(2).map(|number| number.parse().expect("a number"));
    (fields.next().expect("a user"), fields.next().expect("a group"))
}

/// Only root can become somebody else.
fn is_root(test: &str) -> bool {
    let is_root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
    if !is_root {
        eprintln!("NOT TESTED, SINCE THIS IS NOT ROOT: {test}");
    }
    is_root
}

/// A number of `/who`.
fn who(server: &Server, name: &str) -> u32 {
    let text = server.get("/who");
    let mut words = text.split(' ').skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
}

#[test]
fn workers_become_somebody_else_and_the_arbiter_does_not() {
    if !is_root("workers_become_somebody_else_and_the_arbiter_does_not") {
        return;
    }
    let (uid, gid) = nobody();
    for way in [WAYS[0], WAYS[1], ["as=arbiter", "worker_model=fork"]] {
        // Where nobody could not bind.
        let dir = own_directory();
        let (socket, pidfile) = (format!("{dir}/s"), format!("{dir}/pid"));
        let options = [&format!("bind=unix:{socket}"), &format!("pidfile={pidfile}"), "umask=027"];
        let server = start(&[&way[..], &["user=nobody", "app=loop"], &options[..]].concat());
        for (name, value) in [
            ("uid", uid),
            ("euid", uid),
            ("gid", gid),
            ("egid", gid),
            ("root", 0),
            ("umask", 27),
            ("ppid", server.pid() as u32),
            // KILL, when the arbiter dies; of the thread that is asked, which is the first.
            ("pdeathsig", 9),
            ("groups", gid),
        ] {
            assert_eq!(who(&server, name), value, "{name} {way:?}");
        }
        assert!(ask_unix(&socket).ends_with("hello"));
        assert_eq!(fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid(), 0);
        // Also those that come later.
        let worker = server.workers()[0];
        kill(worker, SIGKILL);
        until("it is replaced", || server.workers().first().is_some_and(|new| *new != worker));
        assert_eq!(who(&server, "uid"), uid);
        server.stop();
        fs::remove_dir(&dir).expect("nothing is left in it");
    }
    // By numbers, and the group alone.
    for (options, is) in [
        (&["user=54321", "group=54322"][..], (54321, 54322)),
        (&["user=nobody", "group=0"], (uid, 0)),
        (&["group=54322"], (0, 54322)),
    ] {
        let server = start(&[&["worker_model=fork"], options].concat());
        assert_eq!((who(&server, "uid"), who(&server, "gid")), is);
        assert_eq!(who(&server, "groups"), is.1);
        server.stop();
    }
}

#[test]
fn a_process_that_serves_becomes_somebody_else_itself() {
    if !is_root("a_process_that_serves_becomes_somebody_else_itself") {
        return;
    }
    let (uid, gid) = nobody();
    for model in ["worker_model=inline", "worker_model=threads"] {
        let dir = own_directory();
        let (socket, pidfile) = (format!("{dir}/s"), format!("{dir}/pid"));
        let options = [model, "user=nobody", "umask=077"];
        let paths = [&*format!("bind=unix:{socket}"), &*format!("pidfile={pidfile}")];
        let server = start(&[&options[..], &paths].concat());
        for (name, value) in
            [("uid", uid), ("egid", gid), ("root", 0), ("umask", 77), ("pid", server.pid() as u32)]
        {
            assert_eq!(who(&server, name), value, "{name} {model}");
        }
        assert!(ask_unix(&socket).ends_with("hello"));
        let (threads, pid) = (format!("/proc/{}/task", server.pid()), server.pid());
        for thread in fs::read_dir(threads).unwrap() {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
        }
        let ended = server.stop();
        // Nobody may not remove it; the next one replaces it.
        assert_eq!(named_by(&pidfile), Some(pid));
        assert!(ended.stderr.contains("Permission denied"), "{ended:?}");
        start(&["worker_model=fork", &format!("pidfile={pidfile}")]).stop();
        assert!(!Path::new(&pidfile).exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// Nobody could not write the pid file again, and need not.
#[test]
fn a_reload_as_somebody_else_leaves_the_pid_file_as_it_is() {
    if !is_root("a_reload_as_somebody_else_leaves_the_pid_file_as_it_is") {
        return;
    }
    let dir = own_directory();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let (pidfile, log) = (format!("{dir}/pid"), format!("{dir}/log"));
    let [to_pidfile, to_log] = [format!("pidfile={pidfile}"), format!("errorlog={log}")];
    let options = ["worker_model=threads", "user=nobody", "signals=1"];
    let server = start(&[&options[..], &[&to_pidfile, &to_log]].concat());
    server.signal(SIGHUP);
    let said = || fs::read_to_string(&log).unwrap();
    until("it has reloaded", || said().contains("Reloaded: "));
    // Before the second one, what came of the pid file is in the log.
    let pid = server.pid();
    server.signal(SIGHUP);
    until("it has reloaded", || said().matches("Reloaded: ").count() == 2);
    assert!(!said().contains("Permission denied"), "{}", said());
    assert_eq!(named_by(&pidfile), Some(pid));
    server.stop();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_application_is_loaded_by_the_user() {
    if !is_root("an_application_is_loaded_by_the_user") {
        return;
    }
    let module = PathBuf::from(unique("module")).with_extension("so");
    let source = support::root().join("tests/c/life.c");
    let mut args = vec!["-shared", "-fPIC", "-DMODULE"];
    if under() == Under::Sanitizers {
        args.push("-fsanitize=address,undefined");
    }
    support::compile_c(&source, &module, &args);
    fs::set_permissions(&module, fs::Permissions::from_mode(0o755)).unwrap();
    let option = format!("module={}", module.display());
    for way in WAYS.iter().filter(|way| **way != ["as=arbiter", "worker_model=threads"]) {
        let server = start(&[&way[..], &["user=nobody", &option]].concat());
        assert_eq!(who(&server, "loaded_by"), nobody().0, "{way:?}");
        server.stop();
    }
    // What is shared is loaded before.
    let server = start(&["worker_model=fork", "preload=1", "user=nobody", &option]);
    assert_eq!((who(&server, "loaded_by"), who(&server, "uid")), (0, nobody().0));
    server.stop();
    // Which the user must be able to do, and the trial says it.
    fs::set_permissions(&module, fs::Permissions::from_mode(0o700)).unwrap();
    for way in [WAYS[0], WAYS[1], WAYS[2], WAYS[3]] {
        let options = [&way[..], &["user=nobody", &option]].concat();
        let ended = launch(&options, &[]).end();
        assert!(ended.stderr.contains("Permission denied"), "{way:?} {ended:?}");
        assert_eq!(ended.status, Some(4), "{way:?} {ended:?}");
    }
    fs::remove_file(&module).unwrap();
}

#[test]
fn a_user_who_is_not_there_is_an_error() {
    for way in WAYS {
        for (option, said) in [
            ("user=no-such-user", "user = no-such-user: there is no such user"),
            ("group=no-such-group", "group = no-such-group: there is no such group"),
            ("user=54321", "user = 54321: no account has this number: set group, too"),
            ("user=4294967295", "nobody has this number"),
        ] {
            let ended = refused(&[&way[..], &[option]].concat());
            assert!(ended.stderr.contains(said), "{ended:?}");
        }
    }
}

#[test]
fn a_process_that_is_the_hosts_is_not_changed() {
    for option in ["user=root", "group=0", "umask=022"] {
        let ended = refused(&["as=arbiter", "worker_model=threads", option]);
        assert!(ended.stderr.contains("which only gw_serve may change"), "{ended:?}");
    }
    for option in ["user=root", "group=0", "umask=022", "pidfile=/nonexistent/x", "systemd=1"] {
        let ended = refused(&["as=server", option]);
        let said = format!("{}: a server in a foreign loop", option.split('=').next().unwrap());
        assert!(ended.stderr.contains(&said), "{ended:?}");
    }
}

#[test]
fn who_is_not_root_stays_who_it_is() {
    let program = life().display().to_string();
    let mut setpriv = vec!["--reuid=12345", "--regid=12345", "--clear-groups", "--"];
    let (mut uid, mut runner) = (12345, Path::new("setpriv"));
    if !is_root("who_is_not_root_stays_who_it_is, as somebody else than this user") {
        uid = fs::metadata("/proc/self").unwrap().uid();
        (setpriv, runner) = (Vec::new(), Path::new(&program));
    } else if under() != Under::Nothing {
        eprintln!("NOT UNDER A CHECKER: user 12345 may not write what it finds");
        return;
    } else {
        setpriv.push(&program);
    }
    let common = ["bind={}", "workers=1", "errorlog=-"];
    let ended = Server::launch(runner, &[&setpriv[..], &common, &["user=root"]].concat()).end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let said = format!("only root can become user 0 and group 0, and this process is user {uid}");
    assert!(ended.stderr.contains(&said), "{ended:?}");
    // Itself it is already.
    let (user, group) = (format!("user={uid}"), format!("group={uid}"));
    let gid = fs::metadata("/proc/self").unwrap().gid();
    let group = if setpriv.is_empty() { format!("group={gid}") } else { group };
    let server = Server::launch(runner, &[&setpriv[..], &common, &[&user, &group]].concat());
    let server = server.listening();
    assert_eq!(who(&server, "uid"), uid);
    server.stop();
}

#[test]
fn a_worker_of_somebody_else_dies_with_its_arbiter() {
    if !is_root("a_worker_of_somebody_else_dies_with_its_arbiter") {
        return;
    }
    // It spins, and so does not look at the life-line.
    let server = start(&["worker_model=fork", "app=loop", "user=nobody"]);
    let worker = server.workers()[0];
    let mut hangs = TcpStream::connect(server.address()).unwrap();
    hangs.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    kill(server.pid(), SIGKILL);
    server.end();
    let status = format!("/proc/{worker}/status");
    until("it is dead", || fs::read_to_string(&status).map_or(true, |it| it.contains("(zombie)")));
}

#[test]
fn logs_are_opened_again_by_somebody_else() {
    if !is_root("logs_are_opened_again_by_somebody_else") {
        return;
    }
    let (uid, _) = nobody();
    for model in ["worker_model=fork", "worker_model=threads", "worker_model=inline"] {
        // Only root makes files here, and everybody may use them.
        let dir = own_directory();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let (access, error) = (format!("{dir}/access"), format!("{dir}/error"));
        let [to_access, to_error] = [format!("accesslog={access}"), format!("errorlog={error}")];
        let server = start(&[model, "user=nobody", &to_access, &to_error]);
        assert_eq!(fs::metadata(&access).unwrap().uid(), uid);
        let old = format!("{access}.1");
        fs::rename(&access, &old).unwrap();
        server.signal(SIGUSR1);
        let lines = |path: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.matches("GET /who").count()
        };
        if model == "worker_model=fork" {
            until("lines go to the new file", || {
                server.get("/who");
                lines(&access) > 0
            });
            assert_eq!(fs::metadata(&access).unwrap().uid(), uid);
        } else {
            // The process can make none; it says so, and loses nothing.
            let said = format!("open log {access}: Permission denied (os error 13); its lines go");
            until("it complains", || fs::read_to_string(&error).unwrap().contains(&said));
            server.get("/who");
            until("the line is in the old file", || lines(&old) == 1);
        }
        // One that is root's alone cannot be opened by workers.
        if model == "worker_model=fork" {
            let _ = fs::remove_file(&access);
            fs::write(&access, "").unwrap();
            fs::set_permissions(&access, fs::Permissions::from_mode(0o600)).unwrap();
            server.signal(SIGUSR1);
            let said = format!("open log {access}: Permission denied (os error 13); its lines go");
            until("it complains", || fs::read_to_string(&error).unwrap().contains(&said));
        }
        server.stop();
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_log_that_was_there_is_not_given_away() {
    if !is_root("a_log_that_was_there_is_not_given_away") {
        return;
    }
    let (secret, link) = (unique("secret"), unique("link"));
    fs::write(&secret, "").unwrap();
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let errorlog = format!("errorlog={link}");
    let server = start(&["worker_model=fork", "user=nobody", &errorlog]);
    server.signal(SIGUSR1);
    until("it has tried", || fs::read_to_string(&secret).unwrap().contains("usr1"));
    server.stop();
    assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
    fs::remove_file(&link).unwrap();
    fs::remove_file(&secret).unwrap();
}
