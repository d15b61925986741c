//! `gateway status|reload|stop|scale` against servers that run, by their control sockets, their pid files
//! and the files that name both.

#[path = "../../tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::life::{master, tell, unique};
use harness::{Server, support, until};
use serde_json::Value;

fn gateway() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gateway"))
}

/// What it says and returns.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = gateway().args(args).output().expect("run gateway");
    let text = |octets: Vec<u8>| String::from_utf8(octets).expect("it says text");
    let status = output.status.code().unwrap_or_else(|| panic!("{:?}", output.status));
    (status, text(output.stdout), text(output.stderr))
}

/// A server, with its control socket and its pid file.
fn start(options: &[&str]) -> (Server, String, String) {
    let (control, pidfile) = (unique("control"), unique("pid"));
    let said = [format!("control_socket={control}"), format!("pidfile={pidfile}")];
    let said = said.each_ref().map(String::as_str);
    let options = [&["{}", "signals=1", "errorlog=-"], &said[..], options].concat();
    let server = Server::start(&master(), &options);
    until("it is ready", || run(&["status", "--control", &control]).1.contains(": ready, "));
    (server, control, pidfile)
}

fn json(args: &[&str]) -> Value {
    let (status, out, err) = run(&[args, &["--json"]].concat());
    assert_eq!((status, &*err), (0, ""), "{args:?}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn a_server_is_asked_and_told_by_its_socket() {
    let (mut server, control, _) = start(&["workers=2"]);
    let by = ["--control", &*control];
    let of = |name| [&[name], &by[..]].concat();
    let (status, out, err) = run(&of("status"));
    assert_eq!((status, &*err), (0, ""));
    assert!(out.starts_with("libgateway/"), "{out}");
    assert!(out.contains(&format!(" pid {}: ready, 2 of 2 workers", server.pid())), "{out}");
    for worker in server.workers() {
        assert!(out.contains(&format!(" {worker} ")), "{out}");
    }
    assert_eq!(json(&of("status"))["pid"], server.pid());

    let scaled = run(&[&["scale", "+2"], &by[..]].concat());
    assert_eq!(scaled, (0, "4 workers instead of 2\n".into(), String::new()));
    until("there are four", || server.workers().len() == 4);
    let scaled = json(&[&["scale", "-3"], &by[..]].concat());
    assert_eq!((&scaled["workers"], &scaled["ok"]), (&1.into(), &true.into()));
    let (status, _, err) = run(&[&["scale", "-1"], &by[..]].concat());
    let text = format!("gateway: {control}: an arbiter has from 1 to 1024 workers\n");
    assert_eq!((status, err), (1, text));
    for wrong in ["0", "x", "+", "--1", "1025"] {
        assert_eq!(run(&[&["scale", wrong], &by[..]].concat()).0, 2, "{wrong}");
    }
    until("there is one", || server.workers().len() == 1);

    let worker = server.workers();
    assert_eq!(run(&of("reload")), (0, "reloaded\n".into(), String::new()));
    until("it is replaced", || server.workers().len() == 1);
    assert_ne!(server.workers(), worker, "it has waited for it");
    tell(&mut server, "boot fails");
    let (status, out, err) = run(&of("reload"));
    assert_eq!((status, &*out), (1, ""));
    assert!(err.starts_with("gateway: reload: worker"), "{err}");

    assert_eq!(run(&of("stop")), (0, "stopped\n".into(), String::new()));
    // It has ended: there is nothing to wait for.
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    for name in ["status", "reload", "stop"] {
        let (status, out, err) = run(&of(name));
        assert_eq!((status, &*out), (3, ""), "{name}");
        assert!(err.starts_with(&format!("gateway: not running: {control}: ")), "{err}");
    }
}

#[test]
fn a_server_is_told_by_its_pid_file() {
    let (server, _, pidfile) = start(&["workers=2", "threads=2"]);
    let by = ["--pidfile", &*pidfile];
    let of = |name| [&[name], &by[..]].concat();
    let (status, out, _) = run(&of("status"));
    assert_eq!(status, 0);
    assert!(out.starts_with(&format!("pid {} runs, with 2 processes", server.pid())), "{out}");
    let known = json(&of("status"));
    assert_eq!(known["processes"].as_array().unwrap().len(), 2);
    assert_eq!(run(&[&["scale", "+3"], &by[..]].concat()).0, 0);
    // None of them was lost.
    until("there are five", || server.workers().len() == 5);
    assert_eq!(run(&[&["scale", "-4"], &by[..]].concat()).0, 0);
    until("there is one", || server.workers().len() == 1);
    let (status, _, err) = run(&[&["scale", "2"], &by[..]].concat());
    assert_eq!(status, 1);
    assert!(err.contains("needs the control socket"), "{err}");
    let worker = server.workers();
    assert_eq!(run(&of("reload")).0, 0);
    until("it is replaced", || server.workers().len() == 1 && server.workers() != worker);
    // What is in flight is waited for, and no longer than this is to wait.
    let mut hangs = server.connect();
    hangs.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n");
    until("it hangs", || server.get("/state").contains(" inside 1 "));
    let (status, out, err) = run(&[&["stop", "--timeout", "1"], &by[..]].concat());
    assert_eq!((status, &*out), (1, ""));
    assert!(err.contains("has not ended within 1 s"), "{err}");
    let stopped = run(&[&["stop", "--now"], &by[..]].concat());
    assert_eq!(stopped, (0, "stopped\n".into(), String::new()));
    server.end();
    let (status, _, err) = run(&of("status"));
    assert_eq!(status, 3, "{err}");
}

#[test]
fn a_pid_file_that_is_stale_or_another_s_signals_nobody() {
    let pidfile = unique("pid");
    let all = [&["status"][..], &["reload"], &["stop"], &["stop", "--now"], &["scale", "+1"]];
    let refused = |status: i32, text: &str| {
        for args in all {
            let (is, out, err) = run(&[args, &["--pidfile", &pidfile]].concat());
            assert_eq!((is, &*out), (status, ""), "{args:?}: {err}");
            assert!(err.contains(text), "{args:?}: {err}");
        }
    };
    refused(3, "No such file");
    for text in ["", "hello", "-1", "0", "99999999999"] {
        fs::write(&pidfile, text).unwrap();
        refused(1, "is not the id of a process");
    }
    fs::write(&pidfile, "2147483646\n").unwrap();
    refused(3, "is stale: there is no process 2147483646");
    // A process that is none of ours dies of any of these signals.
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = other.id();
    fs::write(&pidfile, format!("{pid}\n")).unwrap();
    let signals = ["SIGHUP", "SIGTERM", "SIGQUIT", "SIGTTIN"];
    for (args, signal) in all[1..].iter().zip(signals) {
        let (status, _, err) = run(&[args, &["--pidfile", &pidfile][..]].concat());
        assert_eq!(status, 1, "{err}");
        assert!(err.contains(&format!("does not catch {signal}")), "{err}");
    }
    // The number was given again: the file is older than its process.
    support::run(Command::new("touch").args(["-d", "2001-01-01", &pidfile]));
    refused(3, &format!("is stale: process {pid} is another"));
    assert!(other.try_wait().unwrap().is_none(), "nothing was sent");
    other.kill().unwrap();
    // It dies in its own time, and one that nobody has waited for is no process any more.
    let status = ["status", "--pidfile", &*pidfile];
    until("it has ended", || run(&status).2.contains("is stale: there is no process"));
    refused(3, "is stale: there is no process");
    other.wait().unwrap();
    fs::remove_file(&pidfile).unwrap();
}

/// A directory with `app.so`, of an example, and `app.toml`.
fn site(text: &str) -> PathBuf {
    let path = PathBuf::from(unique("site"));
    fs::create_dir(&path).unwrap();
    let source = support::root().join("examples/module.c");
    support::compile_c(&source, &path.join("app.so"), &["-shared", "-fPIC"]);
    fs::write(path.join("app.toml"), text).unwrap();
    path
}

#[test]
fn the_file_that_is_served_names_both() {
    let site = site("");
    let toml = site.join("app.toml");
    let toml = toml.to_str().unwrap();
    let bind = unique("http");
    let text = |more: &str| {
        let here = site.display();
        let text = format!(
            "module = \"./app.so\"\nbind = \"unix:{bind}\"\ncontrol_socket = \"{here}/control\"\n\
             pidfile = \"{here}/pid\"\ngraceful_timeout = \"5s\"\n{more}"
        );
        fs::write(toml, text).unwrap();
    };
    text("workers = 1\n");
    assert_eq!(run(&["status", toml]).0, 3);
    let mut server = gateway().args(["run", toml]).stderr(Stdio::null()).spawn().unwrap();
    until("it is ready", || run(&["status", "-c", toml]).1.contains(": ready, 1 of 1"));
    assert_eq!(json(&["status", toml])["pid"], server.id());
    // It reads the file again, also when it is told by the socket.
    text("workers = 3\n");
    assert_eq!(run(&["reload", toml]), (0, "reloaded\n".into(), String::new()));
    assert_eq!(json(&["status", toml])["target"], 3);
    for wrong in ["workers = [\n", "workers = 10000\n", "wrokers = 1\n", "[[mount]]\nat = \"x\"\n"]
    {
        text(wrong);
        let (status, _, err) = run(&["reload", toml]);
        assert_eq!(status, 1, "{wrong}");
        assert!(err.contains("app.toml:"), "{err}");
        assert!(err.ends_with("gateway: nothing was reloaded\n"), "{err}");
    }
    // What only the server finds.
    text("spool_dir = \"/nonexistent\"\n");
    let (status, _, err) = run(&["reload", toml, "--timeout", "2"]);
    assert_eq!(status, 1);
    assert!(err.contains("no reload has begun: its log says what is wrong"), "{err}");
    text("");
    let scaled = run(&["scale", "2", toml]);
    assert_eq!(scaled, (0, "2 workers instead of 3\n".into(), String::new()));
    // Without its socket there is the pid file.
    fs::remove_file(site.join("control")).unwrap();
    let (status, out, _) = run(&["status", toml]);
    assert_eq!(status, 0);
    assert!(out.starts_with(&format!("pid {} runs", server.id())), "{out}");
    // Somebody has to wait for it, as a shell or a service manager does.
    let waits = std::thread::spawn(move || server.wait().unwrap());
    assert_eq!(run(&["stop", toml]), (0, "stopped\n".into(), String::new()));
    assert_eq!(waits.join().unwrap().code(), Some(0));
    fs::write(toml, "module = \"./app.so\"\n").unwrap();
    let (status, _, err) = run(&["status", toml]);
    assert_eq!(status, 1);
    assert!(err.contains("neither control_socket nor pidfile is set"), "{err}");
    assert_eq!(run(&["status"]).0, 2);
    assert_eq!(run(&["stop", toml, "-c", toml]).0, 2);
    let _ = fs::remove_dir_all(site);
}

#[test]
fn what_is_no_control_socket_is_told() {
    let path = unique("odd");
    let hostile = "{\"ok\":false,\"error\":\"\\u001b[2J\"}\n";
    for answer in ["hello\n", hostile, "[1]\n", "", "{\"ok\":tr"] {
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let answers = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
        });
        let (status, out, err) = run(&["status", "--control", &path]);
        answers.join().unwrap();
        assert_eq!((status, &*out), (1, ""), "{answer:?}");
        assert!(err.starts_with("gateway: ") && !err.contains('\u{1b}'), "{err:?}");
    }
    fs::remove_file(&path).unwrap();
}
