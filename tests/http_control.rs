//! The control socket: what a running server says, and what it does when it is told.

mod harness;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use harness::again::{lives, release};
use harness::life::{self, WAYS, master, refused, start, tell, unique};
use harness::load::Load;
use harness::{PATIENCE, SIGKILL, Server, kill, until};

const SIGHUP: i32 = 1;
const SIGUSR2: i32 = 12;

/// A connection to a control socket.
struct Control(BufReader<UnixStream>);

impl Control {
    fn connect(path: &str) -> Control {
        let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Control(BufReader::new(stream))
    }

    fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).expect("send");
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, line: &str) -> Value {
        self.send(format!("{line}\n").as_bytes());
        self.line()
    }

    /// What was answered with, and must be good.
    fn well(&mut self, line: &str) -> Value {
        let answer = self.ask(line);
        assert_eq!(answer["ok"], true, "{line}: {answer}");
        answer
    }

    /// Why not.
    fn refused(&mut self, line: &str) -> String {
        let answer = self.ask(line);
        assert_eq!(answer["ok"], false, "{line}: {answer}");
        answer["error"].as_str().expect("a reason").to_owned()
    }

    fn ends(mut self) -> bool {
        matches!(self.0.read(&mut [0; 64]), Ok(0) | Err(_))
    }
}

fn ask(path: &str, line: &str) -> Value {
    Control::connect(path).ask(line)
}

/// Whether somebody answers there, who serves.
fn is_ready(path: &str) -> bool {
    UnixStream::connect(path).is_ok() && ask(path, "status")["state"] == "ready"
}

fn arbiter(path: &str, options: &[&str]) -> Server {
    let socket = format!("control_socket={path}");
    let options = [&["{}", "signals=1", "errorlog=-", &socket], options].concat();
    let server = Server::start(&master(), &options);
    until("it is ready", || is_ready(path));
    server
}

/// The workers that there are.
fn pids(status: &Value) -> Vec<i64> {
    let workers = status["workers"].as_array().expect("workers").iter();
    let there = workers.filter(|it| it["status"] != "cheap");
    there.map(|it| it["pid"].as_i64().expect("a number")).collect()
}

#[test]
fn it_says_what_the_server_does_in_every_model() {
    for way in WAYS {
        let path = unique("control");
        let socket = format!("control_socket={path}");
        let server = start(&[&way[..], &[&socket]].concat());
        let mut control = Control::connect(&path);
        // The worker serves before the arbiter has seen that it does.
        until("it is ready", || control.well("status")["state"] == "ready");
        let status = control.well("status");
        assert_eq!(status["pid"], server.pid(), "{way:?}");
        assert_eq!((&status["target"], pids(&status).len()), (&1.into(), 1), "{way:?}: {status}");
        // The one that start() has sent, and another.
        for requests in [1, 2] {
            until("it is counted", || control.well("status")["workers"][0]["requests"] == requests);
            server.get("/");
        }
        assert_eq!(status["sockets"][0]["name"], *server.address(), "{way:?}");
        let unknown = control.refused("hello \"\u{1b}[2J");
        let commands = "status, requests, reload, stop [graceful|quick], scale N|+N|-N, reopen";
        assert!(unknown.ends_with(&format!("there are: {commands}")), "{unknown}");
        control.well("reopen");
        if way[1] == "worker_model=inline" {
            for line in ["reload", "scale 2"] {
                let refused = control.refused(line);
                assert!(refused.contains("worker_model = inline has one worker"), "{refused}");
            }
        }
        control.well("stop");
        let ended = server.end();
        assert_eq!(ended.status, Some(0), "{way:?}: {ended:?}");
        assert!(!Path::new(&path).exists(), "{way:?}");
        assert!(control.ends());
    }
}

#[test]
fn requests_in_flight_are_shown_whatever_is_in_them() {
    for model in ["worker_model=fork", "worker_model=exec", "worker_model=threads"] {
        let path = unique("control");
        let binds = ["bind={}", "bind=scgi://{ip}:8003"];
        let options = [&binds[..], &[model, "workers=2", "threads=2"]].concat();
        let mut server = arbiter(&path, &options);
        // HTTP has no such targets; what a web server passes on may be almost anything.
        let address = server.address().replace(":8000", ":8003");
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let variables = b"CONTENT_LENGTH\x000\0SCGI\x001\0REQUEST_METHOD\0GET\0SCRIPT_NAME\0\0PATH_INFO\0/hang\0\
                          QUERY_STRING\0\0REQUEST_URI\0/hang?\"\\<\xc2\x9b2J>\xff\xc3\xa9'\0";
        client.write_all(format!("{}:", variables.len()).as_bytes()).unwrap();
        client.write_all(&[&variables[..], b","].concat()).unwrap();
        let mut control = Control::connect(&path);
        let mut found = Value::Null;
        until("it is in the application", || {
            found = control.well("requests")["requests"][0].clone();
            found["phase"] == "app"
        });
        assert_eq!(found["method"], "GET");
        assert_eq!(found["target"], "/hang?\"\\<\u{9b}2J>\\xffé'", "{model}");
        let status = control.well("status");
        let workers = status["workers"].as_array().unwrap();
        let busy = workers.iter().find(|it| it["status"] == "busy").expect("one is");
        assert_eq!((&busy["id"], &busy["pid"]), (&found["worker"], &found["pid"]), "{model}");
        let core = &busy["cores"][0];
        assert_eq!((&core["method"], &core["target"]), (&found["method"], &found["target"]));
        assert!(core["age"].as_u64() >= found["age"].as_u64(), "{model}");
        // It is not held up by that.
        assert_eq!(control.well("scale 3")["workers"], 3);
        until("there are three", || pids(&control.well("status")).len() == 3);
        server.stdin("release\n");
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("Status: 200"), "{answer}");
        until("it is over", || control.well("requests")["requests"] == Value::Array(Vec::new()));
        drop(client);
        server.stop();
    }
}

#[test]
fn workers_are_more_and_fewer_and_replaced() {
    let path = unique("control");
    let mut server = arbiter(&path, &["workers=2"]);
    let mut control = Control::connect(&path);
    for (line, workers, before) in
        [("scale +2", 4, 2), ("scale -3", 1, 4), ("scale 3", 3, 1), ("scale +1", 4, 3)]
    {
        let answer = control.well(line);
        assert_eq!((&answer["workers"], &answer["before"]), (&workers.into(), &before.into()));
        until(line, || pids(&control.well("status")).len() == workers);
        assert_eq!(control.well("status")["target"], workers);
    }
    // Several in one go add up, although the arbiter hears them together.
    control.send(b"scale -1\nscale -1\n");
    assert_eq!(
        (control.line()["workers"].clone(), control.line()["workers"].clone()),
        (3.into(), 2.into())
    );
    until("there are two", || pids(&control.well("status")).len() == 2);
    for line in ["scale -2", "scale +1023"] {
        assert_eq!(control.refused(line), "an arbiter has from 1 to 1024 workers");
    }
    assert!(control.refused("scale 0").contains("N from 1 to 1024"));

    let before = pids(&control.well("status"));
    // The answer comes when all of them have been replaced.
    control.well("reload");
    let status = control.well("status");
    assert_eq!((&status["state"], &status["reloads"]), (&"ready".into(), &1.into()));
    let after: Vec<_> = status["workers"].as_array().unwrap().iter().collect();
    let new = after.iter().filter(|it| it["generation"] == 1 && it["status"] != "cheap");
    assert_eq!(new.count(), 2, "{status}");
    assert!(pids(&status).iter().filter(|pid| before.contains(pid)).count() == 0, "{status}");
    // And why it has failed, if it has.
    tell(&mut server, "boot fails");
    let why = control.refused("reload");
    assert!(why.contains("reload: worker"), "{why}");
    let status = control.well("status");
    assert_eq!((&status["reload_error"], &status["reloads_failed"]), (&why.into(), &1.into()));
    tell(&mut server, "boot well");
    control.well("reload");
    assert_eq!(control.well("status")["reload_error"], Value::Null);
    server.stop();
}

#[test]
fn a_stop_ends_whoever_waits_for_a_reload() {
    let path = unique("control");
    let mut server = arbiter(&path, &["workers=1", "graceful_timeout=1"]);
    tell(&mut server, "boot hangs");
    let mut waits = Control::connect(&path);
    waits.send(b"reload\n");
    let mut control = Control::connect(&path);
    until("it begins", || control.well("status")["state"] == "reloading");
    let mut second = Control::connect(&path);
    second.send(b"reload\n");
    until("it is heard", || control.well("status")["control"]["commands"].as_u64() > Some(4));
    control.well("stop quick");
    for waits in [&mut waits, &mut second] {
        let answer = waits.line();
        assert_eq!(
            (&answer["ok"], &answer["error"]),
            (&false.into(), &"reload: the server was told to stop".into())
        );
    }
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[test]
fn who_comes_to_annoy_holds_nobody_up() {
    let path = unique("control");
    let server = arbiter(&path, &["workers=2"]);
    // One says half of a line, one more than a line, one never reads.
    let mut half = Control::connect(&path);
    half.send(b"sta");
    let mut long = Control::connect(&path);
    long.send(&[b'x'; 5000]);
    assert_eq!(long.line()["error"], "a command has at most 4096 octets");
    assert!(long.ends());
    let mut deaf = Control::connect(&path);
    deaf.send(&b"status\n".repeat(2000));
    let mut binary = Control::connect(&path);
    binary.send(b"\0\xff\x1b\n");
    assert!(binary.line()["error"].as_str().unwrap().starts_with("unknown command"));
    let mut control = Control::connect(&path);
    // Without the one that said too much, and those who have asked whether it is ready.
    until("there are four", || control.well("status")["control"]["connections"] == 4);
    let mut crowd: Vec<_> = (4..16).map(|_| Control::connect(&path)).collect();
    until("all are there", || control.well("status")["control"]["connections"] == 16);
    let mut more = Control::connect(&path);
    let text = "the control socket has 16 connections, and no more; try again later";
    assert_eq!(more.line()["error"], text);
    assert!(more.ends());
    let counted = control.well("status")["control"].clone();
    assert_eq!((&counted["refused"], &counted["too_long"]), (&1.into(), &1.into()), "{counted}");
    // Meanwhile the arbiter does its work.
    let worker = server.workers()[0];
    kill(worker, SIGKILL);
    until("it is replaced", || {
        let workers = server.workers();
        workers.len() == 2 && !workers.contains(&worker)
    });
    server.get("/");
    half.send(b"tus\n");
    assert_eq!(half.line()["ok"], true);
    crowd.clear();
    // It reads at last, and has everything that it asked for.
    for _ in 0..2000 {
        assert_eq!(deaf.line()["ok"], true);
    }
    server.stop();
}

#[test]
fn workers_have_nothing_of_it() {
    for model in ["worker_model=fork", "worker_model=exec"] {
        let path = unique("control");
        let server = arbiter(&path, &[model, "workers=1"]);
        let mut control = Control::connect(&path);
        // One that starts while somebody is connected.
        let first = server.workers()[0];
        kill(first, SIGKILL);
        until("it is replaced", || {
            let new = pids(&control.well("status"));
            new.len() == 1 && new[0] != i64::from(first)
        });
        server.get("/");
        // Those at the path: the socket that listens, and the connections that were accepted there.
        let at_path = || {
            let sockets = fs::read_to_string("/proc/net/unix").unwrap();
            let at_path = sockets.lines().filter(|line| line.ends_with(&path));
            let inode = |line: &str| line.split_whitespace().nth(6).unwrap().to_owned();
            at_path.map(|line| format!("socket:[{}]", inode(line))).collect::<Vec<_>>()
        };
        let held = |pid: i32, sockets: &[String]| {
            let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
            let links = links.filter_map(|it| fs::read_link(it.path()).ok());
            links.filter(|it| sockets.iter().any(|one| Path::new(one) == it)).count()
        };
        // Whoever has only asked whether it is ready may be about to go.
        until("they are the arbiter's", || {
            let sockets = at_path();
            sockets.len() >= 2 && held(server.pid(), &sockets) == sockets.len()
        });
        assert_eq!(held(server.workers()[0], &at_path()), 0, "{model}");
        server.stop();
    }
}

#[test]
fn an_arbiter_that_is_left_alone_sleeps() {
    let path = unique("control");
    let server = arbiter(&path, &["workers=1", "heartbeat_timeout=0"]);
    let mut control = Control::connect(&path);
    control.well("status");
    // How often it slept, and was put aside; and the ticks of the clock that it was seen at work.
    let turns = || {
        let of = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", server.pid())).unwrap();
        let status = of("status");
        let switches = status.lines().filter(|line| line.contains("voluntary_ctxt"));
        let switches = switches.map(|line| line.rsplit_once('\t').unwrap().1);
        let stat = of("stat");
        let ticks = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
        switches.chain(ticks).map(|n| n.parse::<u64>().unwrap()).sum::<u64>()
    };
    // With an open connection and nothing to do there is, once it has started, a half second without.
    until("it sleeps", || {
        let before = turns();
        std::thread::sleep(std::time::Duration::from_millis(500));
        turns() - before < 20
    });
    server.stop();
}

#[test]
fn its_file_is_there_as_long_as_the_server_and_only_for_its_user() {
    let path = unique("control");
    let socket = format!("control_socket={path}");
    for (way, umask, mode) in
        [(WAYS[0], None, 0o600), (WAYS[3], None, 0o600), (WAYS[0], Some("0277"), 0o400)]
    {
        // What a dead server has left.
        drop(UnixListener::bind(&path).unwrap());
        let program = life::life();
        let server = match umask {
            None => start(&[&way[..], &[&socket]].concat()),
            Some(umask) => {
                let args = [
                    "-c",
                    &format!("umask {umask}; exec \"$0\" \"$@\""),
                    program.to_str().unwrap(),
                ];
                let bind = format!("bind=unix:{path}.http");
                let all = [&args[..], &way, &[&socket, "workers=1", "errorlog=-", &bind]].concat();
                let server = Server::launch(Path::new("/bin/sh"), &all);
                // What the dead one has left refuses.
                until("it listens", || UnixStream::connect(&path).is_ok());
                server
            }
        };
        let is = fs::symlink_metadata(&path).unwrap();
        assert!(is.file_type().is_socket());
        assert_eq!(is.permissions().mode() & 0o777, mode, "{way:?} {umask:?}");
        assert_eq!(is.uid(), fs::metadata("/proc/self").unwrap().uid());
        // A second server is told, and harms nobody.
        let ended = refused(&[&way[..], &[&socket]].concat());
        let text = format!("control_socket = {path}: a server that lives answers there");
        assert!(ended.stderr.contains(&text), "{}", ended.stderr);
        assert_eq!(ask(&path, "status")["pid"], server.pid());
        server.stop();
        assert!(!Path::new(&path).exists());
    }
    // What is no socket stays.
    fs::write(&path, "precious").unwrap();
    let ended = refused(&[&socket]);
    assert!(
        ended.stderr.contains(&format!("control_socket = {path}: exists and is not a socket")),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    let long = format!("control_socket=/tmp/{}", "x".repeat(120));
    assert!(refused(&[&long]).stderr.contains("octets, and 107 are possible"));
    let same = format!("bind=unix:{path}");
    let ended = refused(&[&socket, &same]);
    assert!(ended.stderr.contains("a listener is there (bind)"), "{}", ended.stderr);
    // Nobody is asked unless somebody asked for it.
    let server = start(&WAYS[0]);
    let held = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().flatten();
    let links = held.filter_map(|it| fs::read_link(it.path()).ok());
    assert_eq!(links.filter(|it| it.to_string_lossy().contains("eventpoll")).count(), 1);
    server.stop();
}

#[test]
fn it_outlives_reloads_and_goes_where_they_say() {
    let (path, other) = (unique("control"), unique("other"));
    let mut server = arbiter(&path, &["workers=1"]);
    let mut control = Control::connect(&path);
    let inode = || fs::metadata(&path).unwrap().ino();
    let before = inode();
    server.signal(SIGHUP);
    until("it has reloaded", || control.well("status")["reloads"] == 1);
    assert_eq!(inode(), before);
    // To another path, with a new configuration.
    server.stdin(&format!("reload control_socket={other}\n"));
    until("it is elsewhere", || Path::new(&other).exists() && !Path::new(&path).exists());
    until("it has reloaded", || ask(&other, "status")["reloads"] == 2);
    assert!(control.ends(), "that was another socket's");
    // A reload that fails changes nothing.
    server.stdin("boot fails\n");
    server.stdin(&format!("reload control_socket={path}\n"));
    until("it has failed", || ask(&other, "status")["reloads_failed"] == 1);
    until("nothing is left of it", || !Path::new(&path).exists());
    server.stdin("boot well\n");
    // To none.
    server.stdin("reload control_socket=\n");
    until("it is gone", || !Path::new(&other).exists());
    server.get("/");
    // And back.
    server.stdin(&format!("reload control_socket={path}\n"));
    until("it is back", || is_ready(&path));
    server.stop();
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_successor_takes_it_over() {
    for model in ["worker_model=fork", "worker_model=threads"] {
        let dir = harness::again::dir(&format!("control-{}", &model[13..]));
        let program = dir.join("again");
        release(1, &program);
        let path = unique("control");
        let second = format!("{path}.2");
        let socket = format!("control_socket={path}");
        let server = Server::start(&program, &["{}", "errorlog=-", "workers=1", model, &socket]);
        until("it is ready", || is_ready(&path));
        let old = server.pid();
        let mut new = 0;
        let load = Load::during(server.address(), |_| {
            server.signal(SIGUSR2);
            until("the other one is ready", || is_ready(&second));
            new = ask(&second, "status")["pid"].as_i64().unwrap() as i32;
            assert_ne!(new, old);
            assert_eq!(ask(&path, "status")["pid"], old);
            Control::connect(&path).well("stop");
            until("the old one has ended", || !lives(old));
            until("it has its name", || !Path::new(&second).exists() && Path::new(&path).exists());
        });
        load.assert_no_failure();
        let mut control = Control::connect(&path);
        assert_eq!(control.well("status")["pid"], new, "{model}");
        control.well("reload");
        control.well("stop");
        let ended = server.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        until("it has ended", || !lives(new));
        assert!(!Path::new(&path).exists());
        let _ = fs::remove_dir_all(dir);
    }
}

#[test]
fn a_stranger_whom_the_mode_lets_in_only_reads() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!(
            "NOT TESTED, SINCE THIS IS NOT ROOT: a_stranger_whom_the_mode_lets_in_only_reads"
        );
        return;
    }
    let path = unique("control");
    let server = arbiter(&path, &["workers=1"]);
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                  f=s.makefile('rw')\nfor l in sys.argv[2:]:\n f.write(l+'\\n');f.flush();print(f.readline().strip())";
    let as_stranger = || {
        let mut python = Command::new("python3");
        python.args([
            "-c", script, &path, "status", "requests", "stop", "reload", "scale 3", "reopen",
        ]);
        python.uid(54_321).gid(54_321);
        let output = python.output().expect("python3");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(as_stranger(), "", "nobody else can connect");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let said = as_stranger();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let well: Vec<_> = lines.iter().map(|line| line["ok"] == true).collect();
    assert_eq!(well, [true, true, false, false, false, false], "{said}");
    let why = "user 54321 may read here (status, requests), and not steer: that is for root and the server's user";
    assert!(lines[2..].iter().all(|line| line["error"] == why), "{said}");
    let status = ask(&path, "status");
    assert_eq!((&status["control"]["forbidden"], &status["target"]), (&4.into(), &1.into()));
    server.stop();
}
