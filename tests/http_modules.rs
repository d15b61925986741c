//! Applications in modules: how one is loaded, what is said of one that cannot be, and how new code
//! gets into a running server.
//!
//! `tests/c/module.c` does what its args say, `tests/c/module_host.c` serves a module.

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::client::{Client, End};
use harness::{Ended, SIGKILL, Server, Under, kill, program, support, under, until};

fn host() -> PathBuf {
    program(&["tests/c/module_host.c"])
}

/// A shared object made of `source`, in a directory of this test.
fn module(test: &str, source: &str, extra: &[&str]) -> PathBuf {
    let out = directory(test).join("app.so");
    let source = support::root().join(source);
    let mut args = vec!["-shared", "-fPIC"];
    args.extend(sanitizers());
    args.extend(extra);
    // Never over a file that a process may have loaded.
    let fresh = out.with_extension("fresh");
    if source.extension().is_some_and(|e| e == "cc") {
        support::compile_cxx(&source, &fresh, &args);
    } else {
        support::compile_c(&source, &fresh, &args);
    }
    fs::rename(&fresh, &out).expect("put the module in place");
    out
}

/// A module has them if its host has.
fn sanitizers() -> &'static [&'static str] {
    if under() == Under::Sanitizers { &["-fsanitize=address,undefined"] } else { &[] }
}

fn directory(test: &str) -> PathBuf {
    let dir = support::scratch_dir().join(format!("module-{test}-{:?}", under()));
    fs::create_dir_all(&dir).expect("create a directory");
    dir
}

fn start(module: &Path, args: &str, options: &[&str]) -> Server {
    Server::start(&host(), &[&["{}", text(module), args], options].concat())
}

fn launch(module: &Path, args: &str, options: &[&str]) -> Ended {
    Server::launch(&host(), &[&["{}", text(module), args], options].concat()).end()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The ways to serve.
const MODELS: [&[&str]; 4] = [
    &["worker_model=inline"],
    &["worker_model=threads", "workers=2"],
    &["worker_model=fork", "workers=2"],
    &["worker_model=fork", "workers=2", "preload=1"],
];

/// The numbers of `/pid`: of the process, of the one that called gw_module_init, how often, and
/// whether that was a worker.
fn pids(client: &mut Client) -> [i32; 4] {
    let text = client.get("/pid").text();
    let numbers: Vec<i32> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn a_module_serves_in_every_model() {
    let later = module("later", "tests/c/design_later.c", &[]);
    for model in MODELS {
        let server = start(&later, "", model);
        assert_eq!(server.get("/"), "10\n9\n8\n7\n6\n5\n4\n3\n2\n1\n", "{model:?}");
        assert_eq!(server.get("/later"), "at last\n", "{model:?}");
        let ended = server.stop();
        assert_eq!(ended.stdout, "ended\n", "{ended:?}");
    }
}

#[test]
fn a_module_is_told_its_path_and_args() {
    let module = module("told", "tests/c/module.c", &[]);
    for model in MODELS {
        let server = start(&module, "some words=1", &[model, &["errorlog=-"]].concat());
        assert_eq!(server.get("/told"), format!("{} (some words=1)", module.display()));
        let ended = server.stop();
        let line = format!("Loaded module {} (tested 1.2)", module.display());
        assert!(ended.stderr.contains(&line), "{ended:?}");
    }
    // A relative path is meant from where the host was when it configured.
    let dir = std::env::current_dir().expect("a directory");
    let up = "../".repeat(dir.components().count() - 1);
    let relative = format!("{up}{}", text(&module).trim_start_matches('/'));
    let server = start(Path::new(&relative), "", &["away", "workers=1"]);
    assert!(server.get("/told").ends_with("app.so ()"));
    server.stop();
}

#[test]
fn where_it_is_loaded() {
    let module = module("where", "tests/c/module.c", &[]);
    for (model, in_worker) in MODELS.into_iter().zip([false, false, true, false]) {
        let server = start(&module, "", model);
        let [pid, init, count, was_worker] = pids(&mut server.connect());
        let loader = if in_worker { pid } else { server.pid() };
        assert_eq!((init, count, was_worker), (loader, 1, i32::from(in_worker)), "{model:?}");
        let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).expect("maps");
        assert_eq!(maps.contains(text(&module)), !in_worker, "{model:?}");
        server.stop();
    }
}

/// What cannot be loaded is an error before anything is started, in the same words in every model.
#[test]
fn what_cannot_be_loaded_is_said() {
    let good = module("said", "tests/c/module.c", &[]);
    let dir = directory("said");
    let write = |name: &str, text: &str| {
        fs::write(dir.join(name), text).expect("write a file");
        dir.join(name)
    };
    let missing = dir.join("missing.so");
    let words = write(
        "words.so",
        "these are words, and more than sixty-four octets of them, so \
        that it is not too short to look at",
    );
    let empty = write("empty.so", "");
    let source = write("nothing.c", "int nothing = 1;\n");
    let nothing = dir.join("nothing.so");
    support::compile_c(&source, &nothing, &["-shared", "-fPIC"]);
    let source = write("unresolved.c", "int gw_missing(void);\nint (*p)(void) = gw_missing;\n");
    let unresolved = dir.join("unresolved.so");
    support::compile_c(&source, &unresolved, &["-shared", "-fPIC"]);

    let abi = "it was built for ABI 7 of libgateway, and this is ABI 0: build it again with this \
        version's gateway.h";
    let cases: [(&Path, &str, &str, &str); 15] = [
        (&missing, "", "GW_ERR_IO 2", "No such file or directory (os error 2)"),
        (&dir, "", "GW_ERR_IO 0", "cannot read file data: Is a directory"),
        (&words, "", "GW_ERR_IO 0", "invalid ELF header"),
        (&empty, "", "GW_ERR_IO 0", "file too short"),
        (&unresolved, "", "GW_ERR_IO 0", "undefined symbol: gw_missing"),
        (
            &nothing,
            "",
            "GW_ERR_UNKNOWN 0",
            "it exports no gw_module_init: see GW_MODULE_DECLARE in gateway.h",
        ),
        (&good, "newer", "GW_ERR_ABI 0", abi),
        (&good, "older loader", "GW_ERR_ABI 0", "too new for this loader"),
        (&good, "fail", "GW_ERR_IO 0", "no database"),
        (&good, "fail silently", "GW_ERR_APP 0", "gw_module_init failed, and does not say why"),
        (&good, "later", "GW_ERR_APP 0", "gw_module_init failed, and does not say why"),
        (&good, "nothing", "GW_ERR_INVALID 0", "gw_module_init set no application (out->app)"),
        (&good, "no call", "GW_ERR_INVALID 0", "application: call is NULL"),
        (
            Path::new("gw-no-such-module.so"),
            "",
            "GW_ERR_IO 0",
            "cannot open shared object file: \
            No such file or directory",
        ),
        (
            Path::new("./gw-no-such-module.so"),
            "",
            "GW_ERR_IO 2",
            "No such file or directory (os \
            error 2)",
        ),
    ];
    let here = std::env::current_dir().expect("a directory");
    for (path, args, code, said) in cases {
        let whole = if text(path).contains('/') { here.join(path) } else { path.to_owned() };
        // `join` leaves "./" out.
        let whole: PathBuf = whole.components().collect();
        let expected = format!("{code}: load module {}: {said}\n", whole.display());
        // Here, and in a process that is thrown away; the others are like one of these.
        let mut ways = vec![MODELS[2]];
        if under() != Under::Valgrind {
            ways.push(MODELS[0]);
        }
        if args == "fail" {
            ways.extend([MODELS[1], MODELS[3], &["server"], &["arbiter", "workers=2"]]);
        }
        for way in ways {
            let ended = launch(path, args, way);
            assert_eq!((ended.status, &*ended.stdout), (Some(4), &*expected), "{way:?}: {ended:?}");
        }
    }
}

/// Only a process of its own survives that.
#[test]
fn a_module_that_ends_its_process_is_said() {
    let module = module("dies", "tests/c/module.c", &[]);
    for (args, how) in [("die", "was killed by SIGKILL"), ("leave", "exited with status 0")] {
        let ended = launch(&module, args, MODELS[2]);
        let text = "load the application's module: the process that tried it";
        assert_eq!(ended.stdout, format!("GW_ERR_APP 0: {text} {how}\n"), "{ended:?}");
        assert_eq!(ended.status, Some(3), "{ended:?}");
    }
}

/// What is wrong with the configuration is seen when the application is there, and still before the
/// start.
#[test]
fn flags_that_do_not_fit_are_a_wrong_configuration() {
    let module = module("flags", "tests/c/module.c", &[]);
    for model in MODELS {
        let ended = launch(&module, "no flags", &[model, &["threads=2"]].concat());
        let said = "GW_ERR_INVALID 0: threads = 2: application \"tested\" is not GW_APP_THREADSAFE";
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.stdout.starts_with(said), "{ended:?}");
        // Several threads, of several workers, are two problems.
        let several = model.contains(&"worker_model=threads");
        assert_eq!(ended.stdout.contains("; workers = 2: worker_model"), several, "{ended:?}");
    }
}

/// The try was well, and the workers are not.
#[test]
fn a_worker_that_cannot_load_it_ends_with_4() {
    let module = module("workers", "tests/c/module.c", &[]);
    for way in [&["workers=2"][..], &["workers=2", "arbiter", "errorlog=-"]] {
        let ended = launch(&module, "fail in a worker", way);
        assert_eq!(ended.stdout, "GW_ERR_APP 0: App failed to load.\n", "{ended:?}");
        assert_eq!(ended.status, Some(4), "{ended:?}");
        assert!(ended.stderr.contains("app.so: no database"), "{ended:?}");
        assert!(ended.stderr.contains("exited with code 4"), "{ended:?}");
    }
}

#[test]
fn hooks_of_both_are_called() {
    let module = module("hooks", "tests/c/module.c", &[]);
    let expected = [
        "host init",
        "module's hooks init",
        "host request",
        "module's hooks request",
        "module's hooks access 200",
        "host access 200",
        "module's hooks exit",
        "host exit",
    ];
    let lines = |ended: &Ended| -> Vec<String> {
        let ours = |line: &&str| line.starts_with("host ") || line.starts_with("module's ");
        ended.stderr.lines().filter(ours).map(str::to_owned).collect()
    };
    for model in [MODELS[0], &["worker_model=threads", "workers=1"], &["workers=1", "preload=1"]] {
        let server = start(&module, "hooks", &[model, &["hooks"]].concat());
        assert_eq!(server.get("/"), "module");
        let ended = server.stop();
        let mut lines = lines(&ended);
        assert_eq!(lines[..8], expected, "{model:?}: {ended:?}");
        lines[8..].sort_unstable();
        let dropped = ["host dropped", "module's app dropped", "module's hooks dropped"];
        assert_eq!(lines[8..], dropped, "{model:?}: {ended:?}");
    }
    // In a worker that loads it by itself, and ends without dropping anything; so does the try.
    let server = start(&module, "hooks", &["workers=1", "hooks"]);
    assert_eq!(server.get("/"), "module");
    let ended = server.stop();
    assert_eq!(lines(&ended)[..8], expected, "{ended:?}");
    assert_eq!(lines(&ended)[8..], ["host dropped"], "{ended:?}");
    // The process that began drops what is the host's, once, also if nothing came of it.
    for args in ["fail", "fail in a worker", "no flags", "refuse"] {
        let ended = launch(&module, args, &["workers=1", "hooks", "wrap", "threads=2"]);
        assert_eq!(ended.stderr.matches("dropped").count(), 2, "{args}: {ended:?}");
        assert_eq!(ended.stderr.matches("host dropped").count(), 1, "{args}: {ended:?}");
        assert_eq!(ended.stderr.matches("wrap dropped").count(), 1, "{args}: {ended:?}");
    }
    // Who is refused does not end as one that began.
    let ended = launch(&module, "refuse", &["workers=1", "hooks"]);
    assert_eq!(ended.status, Some(3), "{ended:?}");
    assert!(!ended.stderr.contains("exit\n"), "{ended:?}");
}

#[test]
fn middleware_is_around_a_module() {
    let module = module("wrapped", "tests/c/module.c", &[]);
    for model in MODELS {
        let server = start(&module, "", &[model, &["wrap"]].concat());
        let response = server.connect().get("/");
        assert_eq!(response.header("x-wrapped"), Some("yes"), "{model:?}");
        assert_eq!(response.text(), "module");
        server.stop();
    }
}

#[test]
fn two_servers_of_one_process_have_it_both() {
    let module = module("twice", "tests/c/module.c", &[]);
    let ended = launch(&module, "hooks", &["twice"]);
    assert_eq!((ended.status, &*ended.stdout), (Some(0), "ended\n"), "{ended:?}");
    assert_eq!(ended.stderr.matches("module's app dropped").count(), 2, "{ended:?}");
    assert_eq!(ended.stderr.matches("module's hooks dropped").count(), 2, "{ended:?}");
}

#[test]
fn a_module_in_cxx_serves() {
    let dir = directory("cxx");
    let source = dir.join("module.cc");
    fs::copy(support::root().join("tests/c/module.c"), &source).expect("copy the source");
    let module = module("cxx", text(&source), &[]);
    for model in MODELS {
        let server = start(&module, "", model);
        assert_eq!(server.get("/"), "module");
        server.stop();
    }
}

/// A path without a slash is looked for as the linker does.
#[test]
fn a_bare_name_is_looked_for() {
    let module = module("bare", "tests/c/module.c", &[]);
    let dir = module.parent().expect("a directory");
    let mut host = Command::new(host());
    host.args(["-", "app.so", "", "server"]).env("LD_LIBRARY_PATH", dir).current_dir("/");
    let ended = support::output(&mut host);
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "ended\n", "{ended:?}");
}

/// There is one library in a process: a module, which needs the shared one and so brings it, uses what a
/// program with the static one offers; of a program that offers nothing, or not everything, it is refused.
#[test]
fn a_host_with_the_static_library() {
    let module = module("static", "tests/c/module.c", &[]);
    let later = self::module("static-later", "tests/c/design_later.c", &[]);
    let needed = support::run(Command::new("readelf").arg("-d").arg(&module));
    assert!(needed.contains("[libgateway.so.0]"), "{needed}");
    let source = support::root().join("tests/c/module_host.c");
    let archive = support::library().with_extension("a");
    let refused = format!(
        "GW_ERR_ABI 0: load module {}: it uses another copy of libgateway than this program, \
         which has a static one: link the program with -rdynamic, or with -lgateway\n",
        module.display()
    );
    for (name, flags) in [
        ("closed", &[][..]),
        ("half", &["-Wl,--export-dynamic-symbol=gw_abi,--export-dynamic-symbol=gw_environ_*"]),
        ("open", &["-rdynamic"]),
    ] {
        let program = directory("static").join(name);
        support::run(
            Command::new("cc")
                .args(["-std=c11", "-I"])
                .arg(support::include_dir())
                .args([&source, Path::new("-o"), &program])
                .args(flags)
                .arg(&archive)
                .args(["-pthread", "-lm", "-ldl", "-lgcc_s"])
                .args(sanitizers()),
        );
        let needed = support::run(Command::new("readelf").arg("-d").arg(&program));
        assert!(!needed.contains("libgateway"), "{needed}");
        if name != "open" {
            for way in ["server", "workers=1"] {
                let ended = Server::launch(&program, &["{}", text(&module), "", way]).end();
                assert_eq!(ended.stdout, refused, "{name} {way}: {ended:?}");
            }
            continue;
        }
        for model in MODELS {
            let args = [&["{}", text(&module), "hooks"], model].concat();
            let server = Server::start(&program, &args);
            assert_eq!(server.get("/"), "module", "{model:?}");
            // It knows of the worker that it is in.
            let [_, _, _, in_worker] = pids(&mut server.connect());
            assert_eq!(in_worker == 1, model == MODELS[2], "{model:?}");
            let ended = server.stop();
            assert_eq!(ended.stdout, "ended\n");
            assert!(ended.stderr.contains("module's hooks request"), "{ended:?}");
            // Answers from other threads, and iterators.
            let server = Server::start(&program, &[&["{}", text(&later), ""], model].concat());
            assert_eq!(server.get("/"), "10\n9\n8\n7\n6\n5\n4\n3\n2\n1\n", "{model:?}");
            assert_eq!(server.get("/later"), "at last\n", "{model:?}");
            server.stop();
        }
    }
}

/// A file that is renamed into place is new code for new workers; those that are there, and their
/// clients, notice nothing.
#[test]
fn new_workers_run_new_code() {
    let old = module("deploy", "tests/c/module.c", &["-DANSWER=\"old\""]);
    // A connection to each of the workers.
    let server = start(&old, "", &["workers=2", "worker_connections=1", "keepalive=1h"]);
    let mut clients: Vec<(i32, Client)> = Vec::new();
    until("both workers have a client", || {
        let mut client = server.connect();
        let [pid, ..] = pids(&mut client);
        if clients.iter().all(|(known, _)| *known != pid) {
            clients.push((pid, client));
        }
        clients.len() == 2
    });
    module("deploy", "tests/c/module.c", &["-DANSWER=\"new\""]);
    for (_, client) in &mut clients {
        assert_eq!(client.get("/").text(), "old");
    }
    let (mut kept, (killed, mut cut)) = (clients.remove(0), clients.remove(0));
    kill(killed, SIGKILL);
    assert!(matches!(cut.end(), End::Closed | End::Reset));
    until("a new worker answers", || {
        assert_eq!(kept.1.get("/").text(), "old");
        server.connect().get("/").text() == "new"
    });
    kill(kept.0, SIGKILL);
    until("all answers are new", || {
        server.workers().len() == 2 && !server.workers().contains(&kept.0)
    });
    for _ in 0..20 {
        assert_eq!(server.get("/"), "new");
    }
    server.stop();
}

/// HUP replaces all workers by those of the file that is there now, and no request is lost by it.
#[test]
fn a_reload_deploys_new_code() {
    const SIGHUP: i32 = 1;
    let old = module("reload", "tests/c/module.c", &["-DANSWER=\"old\""]);
    let server = start(&old, "", &["workers=2"]);
    until("two workers", || server.workers().len() == 2);
    let before = server.workers();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            // Each fails the test that is not answered.
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let answer = server.get("/");
                    assert!(answer == "old" || answer == "new", "{answer}");
                }
            });
        }
        assert_eq!(server.get("/"), "old");
        module("reload", "tests/c/module.c", &["-DANSWER=\"new\""]);
        server.signal(SIGHUP);
        until("two new workers", || {
            let now = server.workers();
            now.len() == 2 && now.iter().all(|worker| !before.contains(worker))
        });
        is_done.store(true, Ordering::Relaxed);
    });
    for _ in 0..20 {
        assert_eq!(server.get("/"), "new");
    }
    server.stop();
}

/// A broken file costs the workers that would load it, not those that are there; a mended one is
/// taken up.
#[test]
fn a_broken_module_disturbs_nobody_who_runs() {
    let path = module("broken", "tests/c/module.c", &["-DANSWER=\"old\""]);
    let log = directory("broken").join("log");
    let _ = fs::remove_file(&log);
    let to_log = format!("errorlog={}", text(&log));
    let server = start(&path, "", &["workers=2", &to_log, "keepalive=1h"]);
    let mut known = BTreeSet::new();
    until("two workers answer", || {
        known.insert(pids(&mut server.connect())[0]);
        known.len() == 2
    });
    let mut client = server.connect();
    let [pid, ..] = pids(&mut client);
    let broken = path.with_extension("broken");
    fs::write(&broken, "no module").expect("write a file");
    fs::rename(&broken, &path).expect("put the broken file in place");
    let other = *server.workers().iter().find(|worker| **worker != pid).expect("another worker");
    kill(other, SIGKILL);
    let said = |what: &str| fs::read_to_string(&log).expect("the log").contains(what);
    until("the broken one is refused", || {
        assert_eq!(client.get("/").text(), "old");
        said("app.so: file too short") && said("exited with code 4")
    });
    module("broken", "tests/c/module.c", &["-DANSWER=\"mended\""]);
    until("a worker of the mended module answers", || {
        assert_eq!(client.get("/").text(), "old");
        server.connect().get("/").text() == "mended"
    });
    server.stop();
}

/// Two files, one of them at two places.
fn three(test: &str) -> [String; 3] {
    let a = module(&format!("{test}-a"), "tests/c/hooked.c", &["-DNAME=\"a\""]);
    let b = module(&format!("{test}-b"), "tests/c/hooked.c", &["-DNAME=\"b\""]);
    [
        format!("mount=/ {} one", a.display()),
        format!("mount=/b {} two", b.display()),
        format!("mount=/c {} three", a.display()),
    ]
}

/// What the modules have said in this process, in order.
fn of(ended: &Ended, pid: i32) -> Vec<&str> {
    let pid = format!("{pid} ");
    ended.stderr.lines().filter_map(|line| line.strip_prefix(&*pid)).collect()
}

/// The processes that have said something.
fn told_by(ended: &Ended) -> BTreeSet<i32> {
    let pid = |line: &str| {
        let (pid, rest) = line.split_once(' ')?;
        rest.starts_with(['a', 'b']).then(|| pid.parse().ok())?
    };
    ended.stderr.lines().filter_map(pid).collect()
}

const INIT: [&str; 3] = ["a one init", "b two init", "a three init"];
const EXIT: [&str; 3] = ["a three exit", "b two exit", "a one exit"];

/// Each has the hooks of all of them, in the order in which they were named, and backwards at an end.
#[test]
fn hooks_of_several_modules_are_called_in_each_worker() {
    const SIGHUP: i32 = 1;
    let [one, two, three] = three("several");
    for model in [MODELS[2], MODELS[3]] {
        let args = [&["bind={}", &one, &two, &three][..], model].concat();
        let server = Server::start(&program(&["tests/c/hooked_host.c"]), &args);
        // `args` of each.
        let words = |target: &str| server.get(target).rsplit_once(' ').expect("words").0.to_owned();
        let both_have_begun = || {
            let mut known = BTreeSet::new();
            until("both have begun", || {
                known.insert(server.get("/").rsplit_once(' ').expect("words").1.to_owned());
                known.len() == 2
            });
        };
        both_have_begun();
        assert_eq!([words("/"), words("/b/x"), words("/c")], ["a one", "b two", "a three"]);
        let old: BTreeSet<_> = server.workers().into_iter().collect();
        server.signal(SIGHUP);
        until("all are new", || {
            let now = server.workers();
            now.len() == 2 && now.iter().all(|pid| !old.contains(pid))
        });
        both_have_begun();
        let ended = server.stop();
        let workers: BTreeSet<_> = told_by(&ended);
        let main = workers.iter().filter(|pid| of(&ended, **pid).contains(&INIT[0])).count();
        assert_eq!(main, 4, "{model:?}: {ended:?}");
        for pid in workers {
            let said = of(&ended, pid);
            if !said.contains(&INIT[0]) {
                // The arbiter, of which all came: it has loaded them, and drops them.
                assert!(said.iter().all(|line| line.ends_with("dropped")), "{said:?}");
                continue;
            }
            let posts = ["a one post_fork", "b two post_fork", "a three post_fork"];
            assert_eq!(said[..3], posts, "{model:?}: {said:?}");
            assert_eq!(said[3..6], INIT, "{model:?}: {said:?}");
            assert_eq!(said[said.len() - 3..], EXIT, "{model:?}: {said:?}");
            let between = &said[6..said.len() - 3];
            for (which, six) in between.chunks(6).enumerate() {
                let expected = [
                    "a one request",
                    "b two request",
                    "a three request",
                    "a three access",
                    "b two access",
                    "a one access",
                ];
                assert_eq!(six, expected, "{model:?}: {pid} {which}");
            }
        }
    }
}

/// A reload to other modules lets go of those before, when their workers have ended.
#[test]
fn modules_are_dropped_at_a_reload() {
    let [one, two, three] = three("dropped");
    let three = three.replace("/c ", "/ ");
    let model = ["worker_model=threads", "workers=1", "threads=1"];
    let args =
        [&["bind={}", &one, &two][..], &model, &["next", "bind={}", &three], &model].concat();
    let told = support::scratch_dir().join(format!("reloaded-{}", std::process::id()));
    let environment = [("RELOADED", told.to_str().unwrap())];
    let server = Server::launch_with(&program(&["tests/c/hooked_host.c"]), &args, &environment);
    let server = server.listening();
    until("the new one answers", || server.get("/").starts_with("a three "));
    until("the reload is over", || told.exists());
    std::fs::remove_file(told).unwrap();
    let pid = server.pid();
    let ended = server.stop();
    let said = of(&ended, pid);
    let said: Vec<_> =
        said.into_iter().filter(|l| !l.ends_with("request") && !l.ends_with("access")).collect();
    let at = |line: &str| {
        let at = said.iter().position(|it| *it == line);
        at.unwrap_or_else(|| panic!("{line}: {said:?}"))
    };
    assert!(ended.stderr.contains("host reloaded well"), "{ended:?}");
    assert_eq!(said[..2], INIT[..2], "{said:?}");
    assert!(at("a three init") < at("b two exit"), "{said:?}");
    assert_eq!(at("b two exit") + 1, at("a one exit"), "{said:?}");
    for gone in
        ["a one app dropped", "b two app dropped", "a one hooks dropped", "b two hooks dropped"]
    {
        assert_eq!(said.iter().filter(|it| **it == gone).count(), 1, "{said:?}");
        assert!(at("a one exit") < at(gone) && at(gone) < at("a three exit"), "{gone}: {said:?}");
    }
    assert!(at("b two app dropped") < at("a one app dropped"), "{said:?}");
    assert!(at("b two hooks dropped") < at("a one hooks dropped"), "{said:?}");
    assert!(at("a three exit") < at("a three app dropped"), "{said:?}");
    assert!(at("a three app dropped") != at("a three hooks dropped"), "{said:?}");
}
