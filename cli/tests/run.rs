//! `gateway run`: modules served from the command line and from files, and told what to do by signals.

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod command;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use command::{directory, gateway, module, run, run_in, site};
use harness::again::{lives, processes_of};
use harness::load::Load;
use harness::{SIGTERM, Server, kill, until};

const SIGHUP: i32 = 1;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;

/// A server with `app.toml` of this directory, called there; it has a worker that serves.
fn start(site: &Path, more: &str) -> Server {
    let server = launch(site, more).listening();
    server.get("/");
    server
}

fn launch(site: &Path, more: &str) -> Server {
    let script = format!("cd {} && exec {} {more}", site.display(), gateway().display());
    Server::launch(Path::new("/bin/sh"), &["-c", &script])
}

/// What the module answers, without its process.
fn said(server: &Server) -> String {
    let text = server.get("/?q");
    let words: Vec<_> = text.trim().split(' ').collect();
    [words[0], &words[2..].join(" ")].join(" ")
}

fn write(site: &Path, text: &str) {
    fs::write(site.join("app.toml"), text).unwrap();
}

#[test]
fn a_module_is_served_from_the_command_line() {
    let site = site("line", "");
    for line in [
        "./app.so one two=2 --bind {} --workers 2",
        "run ./app.so one two=2 -b {} -w 2 -k fork -t 20",
        "-b {} -w 2 ./app.so one two=2",
        "run -b {} --workers=2 --max_requests 100 --preload -- ./app.so one two=2",
    ] {
        let server = start(&site, line);
        assert_eq!(said(&server), format!("module (one two=2) {} - q", site.display()), "{line}");
        until("two workers", || server.workers().len() == 2);
        let ended = server.stop();
        assert!(ended.stdout.is_empty(), "{ended:?}");
        assert!(ended.stderr.contains("Booting worker"), "{ended:?}");
    }
    // Nothing was written.
    let mut names: Vec<_> =
        fs::read_dir(&site).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["app.so", "app.toml"]);
}

#[test]
fn every_model_serves_a_file() {
    for model in ["inline", "threads", "fork", "exec"] {
        let text = format!(
            "module = './app.so'\nargs = ['of', 'a', 'file']\nworker_model = '{model}'\nthreads = 1\n"
        );
        let site = site(&format!("model-{model}"), &text);
        let server = start(&site, "app.toml --bind {}");
        let expected = format!("module (of a file) {} - q", site.display());
        assert_eq!(said(&server), expected, "{model}");
        server.stop();
    }
}

/// Each pool has its workers, and answers at its address; a reload changes one of them.
#[test]
fn a_file_has_pools() {
    let text = |args: &str| {
        format!(
            "module = './app.so'\nargs = 'own'\nworkers = 1\n\
             [[pool]]\nname = 'jobs'\nworkers = 2\n[[pool.listen]]\naddress = 'unix:jobs.sock'\n\
             [[pool.mount]]\nat = '/in'\nmodule = './app.so'\nargs = '{args}'\n"
        )
    };
    let site = site("pools", &text("jobs"));
    let server = start(&site, "app.toml --bind {}");
    let here = site.display().to_string();
    assert_eq!(said(&server), format!("module (own) {here} - q"));
    let of_jobs = |path: &str| {
        let mut stream = UnixStream::connect(site.join("jobs.sock")).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    until("the pool answers", || of_jobs("/in?q").contains(" (jobs) "));
    assert!(of_jobs("/").starts_with("HTTP/1.1 404 "));
    until("three workers", || server.workers().len() == 3);
    write(&site, &text("new"));
    server.signal(SIGHUP);
    until("it is reloaded", || of_jobs("/in?q").contains(" (new) "));
    let ended = server.stop();
    assert!(ended.stderr.contains(", pool jobs)"), "{ended:?}");
}

/// Then nothing listens but what they say, whatever the model.
#[test]
fn a_file_may_have_nothing_but_pools() {
    for model in ["fork", "threads", "exec"] {
        let text = format!(
            "worker_model = '{model}'\n[[pool]]\nname = 'one'\nworkers = 1\nthreads = 1\n\
             module = './app.so'\nargs = 'one'\nbind = 'unix:one.sock'\n"
        );
        let site = site(&format!("only-{model}"), &text);
        let (status, said, _) = run_in(&site, &["check", "app.toml"]);
        assert_eq!((status, &*said), (0, "app.toml: no problem\n"), "{model}");
        let server = launch(&site, "app.toml");
        until("it answers", || {
            let Ok(mut stream) = UnixStream::connect(site.join("one.sock")) else { return false };
            let mut answer = String::new();
            let asked = stream.write_all(b"GET /?q HTTP/1.0\r\n\r\n");
            asked.is_ok()
                && stream.read_to_string(&mut answer).is_ok()
                && answer.contains(" (one) ")
        });
        server.stop();
    }
}

/// Threads read the environment when they like: it stays what it is until an upgrade.
#[test]
fn a_process_with_threads_stays_where_it_is() {
    let text = "module = './app.so'\nworker_model = 'threads'\nworkers = 1\nthreads = 1\n";
    let site = site("threads-env", text);
    let server = start(&site, "run app.toml --bind {} 2>said");
    let log = || fs::read_to_string(site.join("said")).unwrap();
    let here = site.display().to_string();
    for (n, more) in ["chdir = '/'\n", "[env]\nGATEWAY_TEST = 'new'\n"].into_iter().enumerate() {
        write(&site, &format!("{text}{more}"));
        server.signal(SIGHUP);
        until("it is refused", || log().matches("gateway: not reloaded").count() == n + 1);
        assert_eq!(said(&server), format!("module () {here} - q"));
    }
    assert!(log().contains("cannot change by a reload: upgrade (USR2)"), "{}", log());
    write(&site, &format!("{text}args = 'new'\n"));
    server.signal(SIGHUP);
    until("it is reloaded", || said(&server) == format!("module (new) {here} - q"));
    server.stop();
}

#[test]
fn the_command_line_wins_over_the_file() {
    let text = "bind = 'unix:not.sock'\nworkers = 3\nmodule = './none.so'\nargs = 'file'\n\
                [[listen]]\naddress = 'unix:nor.sock'\n";
    let site = site("wins", text);
    let server = start(&site, "run -c app.toml ./app.so line --bind {} -w 1");
    assert_eq!(said(&server), format!("module (line) {} - q", site.display()));
    until("one worker", || server.workers().len() == 1);
    assert!(!site.join("not.sock").exists() && !site.join("nor.sock").exists());
    server.stop();
}

/// Paths of the file are meant from where it lies, and those of the line from where it was called.
#[test]
fn a_file_says_where_to_be_and_in_which_environment() {
    let site = site("there", "module = './app.so'\nchdir = 'sub'\n[env]\nGATEWAY_TEST = 'set'\n");
    let sub = site.join("sub");
    fs::create_dir(&sub).unwrap();
    let server = start(site.parent().unwrap(), &format!("{}/app.toml -b {{}}", name(&site)));
    assert_eq!(said(&server), format!("module () {} set q", sub.display()));
    // Also after a reload, which takes back what is not said any more.
    write(&site, "module = './app.so'\nargs = 'new'\n");
    server.signal(SIGHUP);
    let here = site.parent().unwrap().display().to_string();
    until("it is reloaded", || said(&server) == format!("module (new) {here} - q"));
    server.stop();
}

fn name(site: &Path) -> &str {
    site.file_name().unwrap().to_str().unwrap()
}

#[test]
fn hup_reads_the_file_again_while_requests_go_on() {
    for model in ["fork", "threads"] {
        let text = |n: u32| {
            format!(
                "module = './app.so'\nargs = 'release-{n}'\nworkers = 2\nworker_model = '{model}'\n"
            )
        };
        let site = site(&format!("hup-{model}"), &text(0));
        let server = start(&site, "run app.toml --bind {} --keepalive 30s 2>said");
        let log = || fs::read_to_string(site.join("said")).unwrap();
        let load = Load::during(server.address(), |load| {
            for n in 1..4 {
                write(&site, &text(n));
                let answers = load.answers();
                server.signal(SIGHUP);
                until("it is reloaded", || {
                    (0..20).all(|_| said(&server).contains(&format!("(release-{n})")))
                });
                until("no old worker is left", || {
                    log().matches("Reloaded: all").count() == n as usize
                });
                until("requests go on", || load.answers() > answers + 50);
            }
        });
        load.assert_no_failure();
        server.stop();
    }
}

/// A file may be checked while a server runs with it, and cannot be served twice.
#[test]
fn what_a_server_has_is_no_problem_of_its_file() {
    let site = site("twice", "");
    let unique = site.join("app.sock");
    let text = format!(
        "module = './app.so'\nworkers = 1\npidfile = '{}'\nbind = 'unix:{}'\n",
        site.join("pid").display(),
        unique.display()
    );
    write(&site, &text);
    let server = launch(&site, "app.toml");
    until("it listens", || std::os::unix::net::UnixStream::connect(&unique).is_ok());
    until("it has its file", || site.join("pid").exists());
    let (status, stdout, stderr) = run_in(&site, &["check", "app.toml"]);
    assert_eq!((status, &*stdout, &*stderr), (0, "app.toml: no problem\n", ""));
    let (status, _, stderr) = run_in(&site, &["run", "app.toml"]);
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("app.toml:3: pidfile: already running: pid "), "{stderr}");
    assert!(stderr.contains("app.toml:4: bind: "), "{stderr}");
    server.stop();
}

/// Without an address of its own a file is served where systemd listens, and nowhere else.
#[test]
fn sockets_of_systemd_are_served() {
    let site = site("systemd", "module = './app.so'\nworkers = 1\n");
    let script = format!(
        "cd {} && exec systemd-socket-activate -l {{}} {} app.toml 2>said",
        site.display(),
        gateway().display()
    );
    let server = Server::launch(Path::new("/bin/sh"), &["-c", &script]).listening();
    assert_eq!(said(&server), format!("module () {} - q", site.display()));
    server.stop();
    let log = fs::read_to_string(site.join("said")).unwrap();
    assert_eq!(log.matches("Listening at: ").count(), 1, "{log}");
}

/// Workers of exec read it themselves, also where the process has gone elsewhere.
#[test]
fn workers_of_exec_read_the_file_again() {
    let text =
        "module = './app.so'\nargs = 'first'\nworker_model = 'exec'\nworkers = 1\nchdir = 'sub'\n";
    let site = site("exec", text);
    fs::create_dir(site.join("sub")).unwrap();
    let server = start(&site, "app.toml --bind {} 2>said");
    let answers =
        |args: &str| said(&server) == format!("module ({args}) {}/sub - q", site.display());
    until("it serves", || answers("first"));
    write(&site, &text.replace("first", "second"));
    server.signal(SIGHUP);
    until("it is reloaded", || (0..20).all(|_| answers("second")));
    write(&site, "wrkers = 1\n");
    server.signal(SIGHUP);
    let log = || fs::read_to_string(site.join("said")).unwrap();
    until("it is refused", || log().contains("Reload failed: what was there serves on"));
    assert!(answers("second"));
    assert!(log().contains("app.toml:1: wrkers: there is no such key; did you mean workers?"));
    server.stop();
}

#[test]
fn a_broken_file_leaves_the_old_one_serving() {
    let good = "module = './app.so'\nargs = 'good'\nworkers = 1\n";
    let site = site("broken", good);
    let server = start(&site, "run app.toml --bind {} 2>said");
    let log = || fs::read_to_string(site.join("said")).unwrap();
    until("it has a worker", || log().contains("Booting worker"));
    let worker = server.workers();
    let all = [
        "module = './app.so'\nwrkers = 2\n",
        "module = './app.so'\nworkers = 20000\n",
        "module = './app.so\n",
        "module = './none.so'\n",
        "module = './app.so'\nargs = 'fail'\nchdir = '/'\n[env]\nGATEWAY_TEST = 'left'\n",
        "module = './app.so'\nchdir = 'none'\n",
        // It would be loaded in the process that watches the workers.
        "module = './app.so'\nargs = 'segfault'\npreload = true\n",
    ];
    for (n, broken) in all.iter().enumerate() {
        write(&site, broken);
        server.signal(SIGHUP);
        until("it is refused", || log().matches("gateway: not reloaded").count() == n + 1);
        assert_eq!(said(&server), format!("module (good) {} - q", site.display()));
        assert_eq!(server.workers(), worker);
    }
    write(&site, &good.replace("good", "better"));
    server.signal(SIGHUP);
    let better = format!("module (better) {} - q", site.display());
    until("it is reloaded", || (0..20).all(|_| said(&server) == better));
    server.stop();
    let stderr = log();
    for line in [
        "app.toml:2: wrkers: there is no such key; did you mean workers?",
        "app.toml:2: workers: '20000': expected a whole number from 0 to 1024",
        "app.toml:1: module: load module",
        "app.toml:1: module: load module ",
        "no database",
        "app.toml:2: chdir: No such file or directory",
        "app.toml:1: module: load the application's module: the process that tried it was killed by SIGSEGV",
    ] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
    assert!(!stderr.contains("in use"), "{stderr}");
}

#[test]
fn signals_do_what_they_do_to_a_server_of_the_library() {
    for line in ["app.toml", "./app.so"] {
        let site = site("signals", "module = './app.so'\n");
        let server = start(&site, &format!("{line} -b {{}} -w 1 --accesslog access.log"));
        server.signal(SIGTTIN);
        until("two workers", || server.workers().len() == 2);
        server.signal(SIGTTOU);
        until("one worker", || server.workers().len() == 1);
        said(&server);
        let log = site.join("access.log");
        until("a line", || fs::read_to_string(&log).is_ok_and(|text| text.contains("GET /?q")));
        fs::rename(&log, site.join("old.log")).unwrap();
        server.signal(SIGUSR1);
        until("it is open again", || log.exists());
        server.stop();
        for signal in [harness::SIGINT, harness::SIGQUIT] {
            let server = start(&site, &format!("{line} -b {{}} -w 1"));
            server.signal(signal);
            assert_eq!(server.end().status, Some(0));
        }
    }
}

/// Also where the process has gone elsewhere: names of the line are meant from where it was called.
#[test]
fn usr2_starts_the_same_program_again() {
    let text = "module = './app.so'\nargs = 'first'\nworkers = 1\nchdir = 'sub'\n";
    let site = site("upgrade", text);
    fs::create_dir(site.join("sub")).unwrap();
    let server = start(&site, "app.toml --bind {}");
    write(&site, &text.replace("first", "second"));
    let mut next = 0;
    let load = Load::during(server.address(), |_| {
        server.signal(SIGUSR2);
        until("there is another arbiter", || {
            let children = processes_of(server.pid());
            next = children.into_iter().find(|pid| !processes_of(*pid).is_empty()).unwrap_or(0);
            next != 0
        });
        until("it answers", || said(&server).contains("(second)"));
        server.signal(SIGTERM);
        until("the first has ended", || !lives(server.pid()));
        write(&site, &text.replace("first", "third"));
        kill(next, SIGHUP);
        until("it is reloaded", || (0..20).all(|_| said(&server).contains("(third)")));
    });
    load.assert_no_failure();
    let line = fs::read(format!("/proc/{next}/cmdline")).unwrap();
    let line = String::from_utf8(line).unwrap();
    assert!(line.starts_with(&format!("{}\0app.toml\0--bind", gateway().display())), "{line:?}");
    // The worker of before may take one more.
    let third = format!("(third) {}/sub", site.display());
    until("it answers where the first did", || said(&server).contains(&third));
    kill(next, SIGTERM);
    until("the other has ended", || !lives(next));
    assert_eq!(server.end().status, Some(0));
}

/// It ends, and says why, instead of trying again and again.
#[test]
fn a_module_that_crashes_ends_the_program() {
    let site = site("crash", "module = './app.so'\n");
    let before = "load the application's module: the process that tried it";
    let models =
        ["fork", "fork --preload", "threads", "inline", "exec"].map(|it| format!("-k {it}"));
    let line = |it: &String| format!("app.toml {it}");
    let mut cases = Vec::new();
    for (args, says) in [
        ("segfault", format!("{before} was killed by SIGSEGV")),
        ("abort", format!("{before} was killed by SIGABRT")),
        ("exit", format!("{before} exited with status 7")),
        ("fail", "no database".into()),
    ] {
        cases.extend(models.iter().map(|model| (args, line(model), says.clone())));
        cases.push((args, format!("./app.so {args}"), says));
    }
    // The try was well.
    cases.push(("worker fail", line(&models[0]), "App failed to load.".into()));
    for (args, line, says) in cases {
        write(&site, &format!("module = './app.so'\nargs = '{args}'\n"));
        let ended = launch(&site, &format!("{line} -b {{}}")).end();
        // Who ends the process does not boot; who says why could not be loaded.
        let status = if ["segfault", "abort", "exit"].contains(&args) { 3 } else { 4 };
        assert_eq!(ended.status, Some(status), "{line} {args}: {ended:?}");
        assert!(ended.stderr.contains(&says), "{line}: {ended:?}");
        if !args.starts_with("worker") {
            assert!(!ended.stderr.contains("Booting worker"), "{line}: {ended:?}");
            let (status, _, said) = run_in(&site, &["check", "app.toml"]);
            assert!(status == 1 && said.contains(&says), "{said}");
            assert!(said.starts_with("app.toml:1: module: "), "{said}");
        }
    }
}

/// Of a hook of a module, in each worker: gunicorn's status.
#[test]
fn a_worker_that_is_refused_ends_the_program() {
    let site = directory("refuse");
    module("tests/c/module.c", &site.join("app.so"));
    write(&site, "module = './app.so'\nargs = 'refuse'\nworkers = 1\n");
    for line in ["app.toml", "./app.so refuse -w 1"] {
        let ended = launch(&site, &format!("{line} -b {{}}")).end();
        assert_eq!(ended.status, Some(3), "{line}: {ended:?}");
        assert!(ended.stderr.ends_with("Worker failed to boot.\n"), "{line}: {ended:?}");
        assert_eq!(ended.stderr.matches("Booting worker").count(), 1, "{line}: {ended:?}");
    }
}

#[test]
fn wrong_use_is_said() {
    let site = directory("use");
    fs::write(site.join("app.toml"), "").unwrap();
    for (args, status, says) in [
        (&["chek", "x"][..], 2, "a similar subcommand exists: 'check'"),
        (&["app.toml", "--worker", "3"], 2, "a similar argument exists: '--workers'"),
        (&["app.toml", "-c", "app.toml"], 2, "gateway: one file is enough"),
        (&["app.toml", "word"], 2, "gateway: words after FILE.toml are for no module"),
        (&["run"], 2, "gateway: what is to be served?"),
        (&["none.toml"], 1, "none.toml: No such file or directory"),
        (&["./none.so"], 4, "none.so: load module "),
        (&["./none.so", "-w", "many"], 1, "--workers: 'many': expected a whole number"),
        (&["app.toml"], 1, "app.toml: there is no application"),
    ] {
        let (ended, stdout, stderr) = run_in(&site, args);
        assert_eq!((ended, &*stdout), (status, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }
    let (status, stdout, _) = run(&["--version"]);
    assert_eq!((status, &*stdout), (0, "gateway 0.1.0\n"));
}

#[test]
fn a_name_without_a_slash_is_the_system_s() {
    let site = site("bare", "module = 'app.so'\n");
    let (status, _, said) = run_in(&site, &["check", "app.toml"]);
    assert_eq!(status, 1);
    assert!(said.contains("app.toml:1: module: ") && said.contains("write ./app.so"), "{said}");
    module("cli/tests/c/module.c", &site.join("libtested.so"));
    let path = format!("LD_LIBRARY_PATH={}:$LD_LIBRARY_PATH", site.display());
    let script = format!("{path} exec {} libtested.so -b {{}} -w 1", gateway().display());
    let server = Server::launch(Path::new("/bin/sh"), &["-c", &script]).listening();
    assert!(said_of(&server).starts_with("module "));
    server.stop();
}

fn said_of(server: &Server) -> String {
    server.get("/")
}
