//! What is in flight, seen from outside, and time limits of a request: who hangs is named, who waits
//! gets its 504, and nobody else hears of it.

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use harness::client::{Client, End};
use harness::{
    Ended, SIGINT, SIGKILL, SIGTERM, Server, Under, kill, program, scaled, under, until,
};

const MODELS: [&str; 2] = ["worker_model=fork", "worker_model=threads"];

fn start(options: &[&str]) -> Server {
    let program = program(&["tests/c/flight.c"]);
    let longer: Vec<_> = options.iter().map(|option| scaled_time(option)).collect();
    let longer: Vec<&str> = longer.iter().map(String::as_str).collect();
    let server =
        Server::start(&program, &[&["{}", "signals=1", "errorlog=-"], &longer[..]].concat());
    // It listens before it catches signals: who answers was started after both.
    if !options.contains(&"app=taken") {
        server.get("/");
    }
    server
}

/// How much longer everything takes.
fn slowness() -> u32 {
    if under() == Under::Valgrind { 10 } else { 1 }
}

/// `name=500ms`, or what is long enough here.
fn scaled_time(option: &str) -> String {
    let time = option.strip_suffix("ms").and_then(|rest| rest.rsplit_once('='));
    match time.and_then(|(name, ms)| Some((name, ms.parse::<u32>().ok()?))) {
        Some((name, ms)) => format!("{name}={}ms", ms * slowness()),
        None => option.to_owned(),
    }
}

fn moment(ms: u64) -> Duration {
    Duration::from_millis(ms) * slowness()
}

/// A request whose answer is not awaited.
fn ask(server: &Server, target: &str) -> Client {
    let mut client = server.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    client
}

/// One of the numbers of `/state`.
fn state(server: &Server, name: &str) -> u64 {
    let text = server.get("/state");
    let mut words = text.split(' ').skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
}

/// A line that `gw_arbiter_requests` has given.
#[derive(Clone, Debug)]
struct Request {
    words: Vec<String>,
}

impl Request {
    fn word(&self, name: &str) -> &str {
        let at = self.words.iter().position(|word| word == name).expect("a name");
        &self.words[at + 1]
    }

    fn number(&self, name: &str) -> u64 {
        self.word(name).parse().expect("a number")
    }

    fn target(&self) -> &str {
        &self.words[17]
    }
}

fn told(server: &mut Server, command: &str) -> (String, Vec<Request>) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("requests-{}-{n}", std::process::id());
    let path: PathBuf = harness::support::scratch_dir().join(name);
    server.stdin(&format!("{command} {}\n", path.display()));
    until("it has told of its requests", || Path::new(&path).exists());
    let text = fs::read_to_string(&path).expect("what it told");
    fs::remove_file(&path).expect("remove the file");
    let mut lines = text.lines();
    let result = lines.next().unwrap_or_default().to_owned();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    (result, lines.map(|line| Request { words: words(line) }).collect())
}

/// What is in flight; with the recorder also what was.
fn requests(server: &mut Server, recorder: u32) -> Vec<Request> {
    let (result, all) = told(server, &format!("requests {recorder}"));
    assert_eq!(result, format!("GW_OK {}", all.len()));
    all
}

/// Requests to `target` that are in flight in this phase.
fn count(server: &mut Server, target: &str, phase: u64) -> usize {
    let all = requests(server, 0);
    all.iter().filter(|it| it.target() == target && it.number("phase") == phase).count()
}

/// The one for `target`, which is in flight; beside it may be one whose connection is not yet told to be gone.
fn inside(server: &mut Server, target: &str) -> Request {
    let all = requests(server, 0);
    all.into_iter().find(|it| it.target() == target).expect("it is in flight")
}

const READ: u64 = 1;
const QUEUE: u64 = 2;
const APP: u64 = 3;
const WRITE: u64 = 4;
const LATER: u64 = 5;
const ENDED: u64 = 6;
const LOST: u64 = 7;

fn stop(mut server: Server) -> Ended {
    assert_eq!(state(&server, "wrong"), 0);
    server.stdin("release\nstats\n");
    server.stop()
}

/// The number behind a word of the line that `stats` has said.
fn stat(ended: &Ended, name: &str) -> u64 {
    let line = ended.stdout.lines().find(|line| line.starts_with("timeouts ")).expect("stats");
    let mut words = line.split(' ').skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok()).expect("a number")
}

/// Lines of the log in which all of these are.
fn lines<'a>(ended: &'a Ended, texts: &[&str]) -> Vec<&'a str> {
    let has_all = |line: &&str| texts.iter().all(|text| line.contains(text));
    ended.stderr.lines().filter(has_all).collect()
}

#[test]
fn what_is_in_flight_is_seen_where_it_is() {
    for model in MODELS {
        let mut server = start(&[model, "workers=1", "threads=2"]);
        let mut hang = ask(&server, "/hang?a=%41");
        let _never = ask(&server, "/never");
        until("both are inside", || {
            count(&mut server, "/hang?a=%41", APP) == 1 && count(&mut server, "/never", APP) == 1
        });
        let mut queued = ask(&server, "/queued");
        until("one waits", || count(&mut server, "/queued", QUEUE) == 1);
        let mut body = server.connect();
        body.send("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
        until("one has no body", || count(&mut server, "/body", READ) == 1);

        let all = requests(&mut server, 0);
        let by = |target: &str| all.iter().find(|it| it.target() == target).expect("it is there");
        let (hangs, posts) = (by("/hang?a=%41"), by("/body"));
        assert_eq!((&*hangs.words[16], &*posts.words[16]), ("GET", "POST"));
        assert!((1..=2).contains(&hangs.number("thread")) && posts.number("thread") == 0);
        let pid = if model == MODELS[0] { server.workers()[0] } else { server.pid() };
        assert_eq!(hangs.number("pid"), pid as u64);
        assert_eq!((hangs.number("worker"), hangs.number("generation")), (0, 0));
        assert_eq!((hangs.number("status"), hangs.number("took")), (0, 0));
        assert!(hangs.word("peer").starts_with("127."), "{hangs:?}");
        assert_eq!(hangs.word("id").len(), 16);
        let mut ids: Vec<_> = all.iter().map(|it| it.word("id")).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4, "{all:?}");
        // For fewer than there are.
        let (result, some) = told(&mut server, "cap 2");
        assert_eq!((&*result, some.len()), ("GW_AGAIN 2", 2));
        assert_eq!(told(&mut server, "cap 0").0, "GW_AGAIN 0");
        assert_eq!(told(&mut server, "requests 2").0, "GW_ERR_INVALID 12345");

        server.stdin("release\n");
        body.send("cde");
        assert_eq!([hang.response("GET").status, queued.response("GET").status], [200; 2]);
        assert_eq!(body.response("POST").status, 200);
        until("nothing is in flight", || requests(&mut server, 0).is_empty());
        let recent = requests(&mut server, 1);
        let ended = recent.iter().find(|it| it.target() == "/hang?a=%41").expect("it is there");
        assert_eq!((ended.number("phase"), ended.number("status")), (ENDED, 200));
        assert!(ended.number("took") == 1 && ended.number("thread") == 0, "{ended:?}");
        stop(server);
    }
}

#[test]
fn the_last_64_are_there_after_a_kill_and_those_in_flight_are_named() {
    let options = ["worker_model=fork", "workers=1", "threads=20", "app=threads", "loglevel=debug"];
    let mut server = start(&options);
    let mut client = server.connect();
    for n in 0..100 {
        assert_eq!(client.get(&format!("/n{n}")).status, 200);
    }
    let _hang: Vec<_> = (0..20).map(|n| ask(&server, &format!("/hang?{n}"))).collect();
    until("they are inside", || {
        requests(&mut server, 0).iter().filter(|it| it.number("phase") == APP).count() == 20
    });
    let victim = server.workers()[0];
    kill(victim, SIGKILL);
    until("it was buried", || requests(&mut server, 0).is_empty());
    let recent = requests(&mut server, 1);
    // All that it had in flight, and what came before.
    assert_eq!(recent.len(), 64);
    assert!(recent.iter().all(|it| it.number("pid") == victim as u64));
    assert_eq!(recent.iter().filter(|it| it.number("phase") == LOST).count(), 20);
    assert!(recent.iter().any(|it| it.target() == "/n99" && it.number("status") == 200));
    assert!(recent.iter().all(|it| it.target() != "/n50"));
    // Its successor adds to that.
    until("there is another", || server.workers().first().is_some_and(|pid| *pid != victim));
    server.get("/again");
    until("it has ended", || requests(&mut server, 0).is_empty());
    let recent = requests(&mut server, 1);
    assert_eq!(recent.len(), 64);
    assert!(recent.iter().any(|it| it.target() == "/again"));
    assert_eq!(recent.iter().filter(|it| it.number("phase") == LOST).count(), 20);

    let ended = stop(server);
    let named = format!("Worker (pid:{victim}) had in flight: ");
    let all = lines(&ended, &[&named]);
    assert_eq!(all.len(), 17, "{ended:?}");
    assert!(all[16].ends_with("and 4 more"), "{all:?}");
    // Which of them are named is the order's in which they came.
    for one in &all[..16] {
        assert!(one.contains(" had in flight: GET /hang?") && one.contains(" (id "), "{one}");
        assert!(one.contains(") from 127.") && one.ends_with(" ms: in the application"), "{one}");
    }
    // What it did before that is for whoever looks closely.
    let served = lines(&ended, &[&format!("Worker (pid:{victim}) had served: GET /n")]);
    assert_eq!(served.len(), 64, "{ended:?}");
    let is_last = |line: &&&str| line.contains("GET /n99 (id ");
    let last = served.iter().find(is_last).expect("the last one");
    assert!(last.ends_with(": it was answered with 200"), "{last}");
}

/// Of workers that are the program started again, too.
#[test]
fn workers_that_are_started_are_seen() {
    let options =
        ["worker_model=exec", "workers=2", "threads=2", "request_timeout=2000ms", "app=threads"];
    let mut server = start(&options);
    let mut hang = ask(&server, "/hang");
    until("it is inside", || count(&mut server, "/hang", APP) == 1);
    let victim = inside(&mut server, "/hang").number("pid");
    assert!(server.workers().contains(&(victim as i32)));
    assert_eq!(hang.response("GET").status, 504);
    kill(victim as i32, SIGKILL);
    until("it was buried", || requests(&mut server, 0).is_empty());
    let recent = requests(&mut server, 1);
    let it = recent.iter().find(|it| it.target() == "/hang").expect("it was there");
    assert_eq!((it.number("phase"), it.number("status")), (LOST, 504));
    assert!(recent.iter().any(|it| it.target() == "/" && it.number("phase") == ENDED));
    server.signal(SIGTERM);
    let ended = server.end();
    let named = format!("Worker (pid:{victim}) had in flight: GET /hang (id ");
    assert_eq!(lines(&ended, &[&named]).len(), 1, "{ended:?}");
}

#[test]
fn a_thread_that_hangs_is_noticed_while_the_loop_turns() {
    let mut server =
        start(&["worker_model=fork", "workers=1", "threads=1", "heartbeat_timeout=2000ms"]);
    let mut hang = ask(&server, "/hang");
    until("it is inside", || count(&mut server, "/hang", APP) == 1);
    let id = inside(&mut server, "/hang").word("id").to_owned();
    hang.try_response("GET").expect_err("it was killed");
    let text = server.get("/state");
    assert!(text.contains(" aborts 1 exits 1 "), "{text}");
    assert!(text.ends_with(&format!("culprit /hang id {id}")), "{text}");
    // One that is done in time, again and again, is well.
    let mut client = server.connect();
    let since = Instant::now();
    while since.elapsed() < moment(4000) {
        assert_eq!(client.get("/slow").status, 200);
    }
    // So is a body that goes on, of an application that never waits for long.
    let mut drip = ask(&server, "/drip");
    drip.head();
    let since = Instant::now();
    while since.elapsed() < moment(4000) {
        assert!(!drip.chunk().is_empty());
    }
    drop(drip);
    let ended = stop(server);
    let culprit = lines(&ended, &["Worker (pid:", ") is in: GET /hang (id ", &id]);
    assert_eq!(culprit.len(), 1, "{ended:?}");
    let at = |text: &str| ended.stderr.find(text).unwrap_or_else(|| panic!("{text}: {ended:?}"));
    assert!(at("one has been in the application for") < at(culprit[0]));
    assert!(at(culprit[0]) < at("was sent SIGABRT! By the arbiter: a thread was stuck"));
    assert_eq!(stat(&ended, "killed"), 1);
}

#[test]
fn a_loop_that_hangs_is_named_or_none() {
    let server = start(&["worker_model=fork", "workers=1", "app=loop", "heartbeat_timeout=1500ms"]);
    ask(&server, "/hang").try_response("GET").expect_err("it was killed");
    assert!(server.get("/state").contains("culprit /hang id "), "{}", server.get("/state"));
    // One that is in no request is not blamed on one.
    let victim = server.workers()[0];
    kill(victim, 6);
    until("it is replaced", || {
        let workers = server.workers();
        workers.len() == 1 && workers[0] != victim
    });
    until("it was told", || server.get("/state").contains("culprit none"));
    let ended = stop(server);
    assert_eq!(lines(&ended, &[") is in: GET /hang (id "]).len(), 1, "{ended:?}");
}

#[test]
fn a_thread_that_hangs_in_a_thread_is_left_and_replaced() {
    let mut server = start(&[
        "worker_model=threads",
        "workers=1",
        "threads=2",
        "heartbeat_timeout=1500ms",
        "graceful_timeout=300ms",
    ]);
    let _hang = ask(&server, "/hang");
    until("it was replaced", || lines_so_far(&mut server, "/hang"));
    assert_eq!(server.get("/").len(), server.pid().to_string().len());
    let ended = stop(server);
    assert_eq!(lines(&ended, &["lacks a thread that does not come back"]).len(), 1, "{ended:?}");
    assert!(!lines(&ended, &["Worker (thread:0) is in: GET /hang (id "]).is_empty());
    assert!(stat(&ended, "spawned") >= 2);
}

/// Another worker than the first serves.
fn lines_so_far(server: &mut Server, hanging: &str) -> bool {
    server.get("/");
    let recent = requests(server, 1);
    recent.iter().any(|it| it.number("worker") > 0 && it.target() != hanging)
}

#[test]
fn of_eight_threads_one_hangs_and_that_one_alone_gets_504() {
    for model in MODELS {
        let mut server = start(&[
            model,
            "workers=1",
            "threads=8",
            "request_timeout=2000ms",
            "graceful_timeout=1s",
        ]);
        let mut hang = ask(&server, "/hang");
        until("it is inside", || count(&mut server, "/hang", APP) == 1);
        let address = server.address().to_owned();
        let (late, others) = std::thread::scope(|scope| {
            let others: Vec<_> = (0..7)
                .map(|_| {
                    scope.spawn(|| {
                        let since = Instant::now();
                        let (mut answers, mut client) = (0, Client::connect(&address));
                        while since.elapsed() < moment(4000) {
                            let response = client.get("/slow");
                            assert_eq!(response.status, 200, "{model}");
                            answers += 1;
                            if !response.keeps_alive() {
                                client = Client::connect(&address);
                            }
                        }
                        answers
                    })
                })
                .collect();
            let late = hang.response("GET");
            assert_eq!(hang.end(), End::Closed, "{model}");
            (late, others.into_iter().map(|it| it.join().expect("no failure")).sum::<u32>())
        });
        assert_eq!((late.status, late.keeps_alive()), (504, false));
        assert_eq!(late.text(), "504 Gateway Timeout: request_timeout\n");
        assert!(others as usize > scaled(50), "{others}");
        until("another worker serves", || lines_so_far(&mut server, "/hang"));
        if model == MODELS[0] {
            until("the old one has ended", || server.workers().len() == 1);
            until("it was lost with it", || requests(&mut server, 0).is_empty());
        } else {
            // It is still there, and seen to be.
            let all = requests(&mut server, 0);
            let it = all.iter().find(|it| it.target() == "/hang").expect("it hangs");
            assert_eq!((it.number("phase"), it.number("status")), (APP, 504));
        }
        let ended = stop(server);
        let culprit = ["A thread is lost until the application returns: GET /hang (id "];
        assert_eq!(lines(&ended, &culprit).len(), 1, "{ended:?}");
        assert!(!lines(&ended, &[") is in: GET /hang (id "]).is_empty(), "{ended:?}");
        assert_eq!((stat(&ended, "timeouts"), stat(&ended, "killed")), (1, 0), "{ended:?}");
        assert_eq!(stat(&ended, "5xx"), 1, "also of a request that never ends: {ended:?}");
    }
}

#[test]
fn an_answer_that_comes_too_late_goes_nowhere() {
    for target in ["/write", "/hint"] {
        let mut server = start(&[
            "worker_model=threads",
            "workers=1",
            "threads=2",
            "request_timeout=1000ms",
            "accesslog=-",
            "access_log_format=%(r)s=%(s)s",
        ]);
        let mut late = ask(&server, target);
        if target == "/hint" {
            assert_eq!(late.response("GET").status, 103);
        }
        assert_eq!(late.response("GET").status, 504);
        server.stdin("release\n");
        assert_eq!(late.end(), End::Closed, "{target}");
        if target == "/write" {
            until("it has heard", || state(&server, "ended") == 1);
            assert_eq!(state(&server, "refused"), 1);
        }
        let ended = stop(server);
        let line = format!("GET {target} HTTP/1.1=504");
        assert_eq!(ended.stdout.lines().filter(|it| **it == line).count(), 1, "{ended:?}");
        assert_eq!((stat(&ended, "timeouts"), stat(&ended, "errors")), (1, 0), "{ended:?}");
        assert_eq!(stat(&ended, "5xx"), 1, "{ended:?}");
    }
}

#[test]
fn what_has_begun_to_answer_has_its_time() {
    let mut server =
        start(&["worker_model=fork", "workers=1", "threads=2", "request_timeout=1000ms"]);
    let mut early = ask(&server, "/early");
    early.head();
    assert_eq!(early.chunk(), b"early");
    until("it is inside", || count(&mut server, "/early", WRITE) == 1);
    assert!(early.is_silent(), "and is not cut");
    std::thread::sleep(moment(1300));
    assert_eq!(count(&mut server, "/early", WRITE), 1);
    server.stdin("release\n");
    assert!(early.chunk().is_empty());
    let ended = stop(server);
    assert_eq!(stat(&ended, "timeouts"), 0, "{ended:?}");
}

/// It waits for its body in a thread: no thread is lost.
#[test]
fn a_thread_that_waits_for_a_client_comes_back() {
    let mut server = start(&[
        "worker_model=fork",
        "workers=1",
        "threads=1",
        "request_timeout=1000ms",
        "request_buffering=0",
    ]);
    let mut client = server.connect();
    client.send("POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.response("POST").status, 504);
    server.stdin("release\n");
    until("it has heard", || state(&server, "refused") == 1);
    // Nor a worker: it is not waited for so long that it would be.
    std::thread::sleep(moment(3000));
    let ended = stop(server);
    assert_eq!((stat(&ended, "timeouts"), stat(&ended, "spawned")), (1, 1), "{ended:?}");
}

#[test]
fn a_deferred_request_gets_504_and_its_handle_hears_it() {
    for model in MODELS {
        for app in ["app=threads", "app=loop"] {
            let mut server = start(&[model, app, "workers=1", "request_timeout=2000ms"]);
            let worker = server.get("/");
            let mut later = ask(&server, "/later");
            until("it is seen", || count(&mut server, "/later", LATER) == 1);
            assert_eq!(later.response("GET").status, 504);
            assert_eq!(later.end(), End::Closed);
            until("its handle was told", || state(&server, "aborted") == 1);
            until("nothing is in flight", || requests(&mut server, 0).is_empty());
            // The same worker serves on.
            assert_eq!(server.get("/"), worker);
            let ended = stop(server);
            for name in ["timeouts", "5xx", "spawned"] {
                assert_eq!(stat(&ended, name), 1, "{name}: {ended:?}");
            }
        }
    }
}

/// It is deferred when it has its 504 already.
#[test]
fn a_handle_that_comes_too_late_hears_it() {
    let mut server = start(&["worker_model=threads", "workers=1", "request_timeout=1000ms"]);
    assert_eq!(ask(&server, "/late").response("GET").status, 504);
    server.stdin("release\n");
    until("its handle was told", || state(&server, "aborted") == 1);
    until("nothing is in flight", || requests(&mut server, 0).is_empty());
    let recent = requests(&mut server, 1);
    let it = recent.iter().find(|it| it.target() == "/late").expect("it was there");
    assert_eq!((it.number("phase"), it.number("status")), (ENDED, 504));
    stop(server);
}

/// Behind an answer that comes in time.
#[test]
fn what_was_asked_before_it_is_answered() {
    for app in ["app=threads", "app=loop"] {
        let server = start(&["worker_model=fork", app, "workers=1", "request_timeout=1000ms"]);
        let mut client = server.connect();
        client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\nHEAD /later HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.response("GET").status, 200);
        assert_eq!(client.response("HEAD").status, 504);
        assert_eq!(client.end(), End::Closed);
        stop(server);
    }
}

#[test]
fn a_request_that_nobody_takes_gets_504() {
    let mut server =
        start(&["worker_model=fork", "workers=1", "app=taken", "request_timeout=300ms"]);
    assert_eq!(ask(&server, "/").response("GET").status, 504);
    until("it has ended", || requests(&mut server, 0).is_empty());
    let recent = requests(&mut server, 1);
    assert_eq!((recent.len(), recent[0].number("status")), (1, 504));
    server.signal(SIGTERM);
    assert_eq!(server.end().status, Some(0));
}

#[test]
fn a_request_that_finds_no_thread_in_time_is_withdrawn() {
    let mut server =
        start(&["worker_model=threads", "workers=1", "threads=1", "request_timeout=3000ms"]);
    let mut early = ask(&server, "/early");
    early.head();
    let mut queued = ask(&server, "/write");
    assert_eq!(queued.response("GET").status, 504);
    // Its connection can be used again.
    queued.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    until("it waits", || count(&mut server, "/", QUEUE) == 1);
    server.stdin("release\n");
    assert_eq!(queued.response("GET").status, 200);
    assert_eq!((state(&server, "inside"), state(&server, "ended")), (1, 0));
    let ended = stop(server);
    assert_eq!((stat(&ended, "timeouts"), stat(&ended, "5xx")), (1, 1), "{ended:?}");
}

#[test]
fn a_loop_in_a_request_is_killed_after_its_time() {
    for app in ["app=loop", "app=serial"] {
        let server = start(&[
            "worker_model=fork",
            "workers=2",
            app,
            "request_timeout=1000ms",
            "heartbeat_timeout=0",
        ]);
        let mut hang = ask(&server, "/hang");
        hang.try_response("GET").expect_err("it was killed");
        until("it is told", || server.get("/state").contains("aborts 1 exits 1 "));
        assert!(server.get("/state").contains("culprit /hang id "));
        let ended = stop(server);
        let named = lines(&ended, &[") is in: GET /hang (id ", "in the application"]);
        assert_eq!(named.len(), 1, "{ended:?}");
        assert!(ended.stderr.contains("its loop was in a request for request_timeout"));
    }
}

/// The time for which it may wait for a thread is shorter, and over when it hangs.
#[test]
fn a_thread_that_hangs_for_longer_than_others_may_wait_gets_504() {
    let mut server = start(&[
        "worker_model=threads",
        "workers=1",
        "threads=1",
        "queue_timeout=1000ms",
        "request_timeout=2000ms",
    ]);
    assert_eq!(ask(&server, "/hang").response("GET").status, 504);
    server.stdin("release\n");
    assert_eq!(stat(&stop(server), "timeouts"), 1);
}

/// One after the other, each in its time; all together take longer.
#[test]
fn a_loop_with_many_requests_is_not_in_one_of_them() {
    let server = start(&["worker_model=fork", "workers=1", "app=serial", "request_timeout=1000ms"]);
    let mut client = server.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50));
    for _ in 0..50 {
        assert_eq!(client.response("GET").status, 200);
    }
    let ended = stop(server);
    assert_eq!((stat(&ended, "timeouts"), stat(&ended, "killed")), (0, 0), "{ended:?}");
}

#[test]
fn a_loop_that_has_begun_to_answer_has_its_time() {
    let server = start(&["worker_model=fork", "workers=1", "app=serial", "request_timeout=1000ms"]);
    let mut trickle = ask(&server, "/trickle");
    trickle.head();
    for _ in 0..40 {
        assert_eq!(trickle.chunk(), b"drip\n");
    }
    drop(trickle);
    let ended = stop(server);
    assert_eq!((stat(&ended, "timeouts"), stat(&ended, "killed")), (0, 0), "{ended:?}");
}

/// It is still there, and seen to have its answer.
#[test]
fn a_handle_that_is_not_given_up_is_seen() {
    for app in ["app=threads", "app=loop"] {
        let mut server = start(&[
            "worker_model=fork",
            app,
            "workers=1",
            "request_timeout=1000ms",
            "graceful_timeout=300ms",
        ]);
        assert_eq!(ask(&server, "/held").response("GET").status, 504);
        let all = requests(&mut server, 0);
        let it = all.iter().find(|it| it.target() == "/held").expect("it is held");
        assert_eq!((it.number("phase"), it.number("status")), (LATER, 504), "{app}");
        stop(server);
    }
}

#[test]
fn an_answer_that_does_not_end_is_cut() {
    for model in MODELS {
        for app in ["app=threads", "app=serial"] {
            let mut server = start(&[model, app, "workers=1", "stream_timeout=500ms"]);
            let mut drip = ask(&server, "/drip");
            drip.head();
            // No last chunk.
            let cut =
                std::panic::catch_unwind(AssertUnwindSafe(|| while !drip.chunk().is_empty() {}));
            assert!(cut.is_err(), "{model} {app}: it seems to be whole");
            until("its body was closed", || state(&server, "closed") == 1);
            until("nothing is in flight", || requests(&mut server, 0).is_empty());
            let recent = requests(&mut server, 1);
            let it = recent.iter().find(|it| it.target() == "/drip").expect("it was there");
            assert_eq!((it.number("phase"), it.number("status")), (ENDED, 200), "{it:?}");
            let ended = stop(server);
            assert_eq!(stat(&ended, "timeouts"), 1, "{ended:?}");
            assert_eq!(lines(&ended, &["was cut: stream_timeout"]).len(), 1, "{ended:?}");
        }
    }
}

/// Also when its thread does not come back.
#[test]
fn an_answer_is_cut_while_its_thread_hangs() {
    let mut server =
        start(&["worker_model=fork", "workers=1", "threads=2", "stream_timeout=1000ms"]);
    let mut early = ask(&server, "/early");
    early.head();
    assert_eq!(early.chunk(), b"early");
    assert_eq!(early.end(), End::Reset);
    assert_eq!(count(&mut server, "/early", WRITE), 1, "it hangs");
    let ended = stop(server);
    assert_eq!(stat(&ended, "timeouts"), 1, "{ended:?}");
}

/// Those that wait for it are bounded, and nothing else is: the rest goes unrecorded.
#[test]
fn a_crowd_is_recorded_as_far_as_there_is_room() {
    let mut server =
        start(&["worker_model=fork", "workers=1", "app=loop", "worker_connections=4000"]);
    let crowd: Vec<_> = (0..1100).map(|_| ask(&server, "/later")).collect();
    until("all are there", || state(&server, "inside") == 1100);
    let all = requests(&mut server, 0);
    assert!((1000..1100).contains(&all.len()), "{}", all.len());
    drop(crowd);
    until("nothing is in flight", || requests(&mut server, 0).is_empty());
    until("all have heard, also who was not recorded", || state(&server, "aborted") == 1100);
    let ended = stop(server);
    assert!(stat(&ended, "unrecorded") >= 12, "{ended:?}");
}

#[test]
fn threads_that_do_not_end_are_named_at_the_stop() {
    let mut server = start(&[
        "worker_model=threads",
        "workers=1",
        "threads=2",
        "request_timeout=1000ms",
        "graceful_timeout=200ms",
    ]);
    let mut hang = ask(&server, "/hang");
    assert_eq!(hang.response("GET").status, 504);
    until("another one serves", || lines_so_far(&mut server, "/hang"));
    server.signal(SIGINT);
    server.signal(SIGINT);
    let ended = server.end();
    assert!(ended.stdout.contains("GW_ERR_TIMEOUT: "), "{ended:?}");
    assert!(ended.stderr.contains("(thread:0) is in: GET /hang (id "), "{ended:?}");
}

/// Behind a proxy it is the proxy's client.
#[test]
fn the_peer_of_a_request_is_the_client() {
    let name = format!("gateway-flight-{}", std::process::id());
    let bind = format!("bind=unix:@{name}?proxy_protocol=1&forwarded_for=1&trust=unix,192.0.2.1");
    let mut server = start(&[&bind, "workers=1"]);
    for (target, header, client) in [
        ("/one", "", "192.0.2.1"),
        ("/two", "X-Forwarded-For: 192.0.2.2, 192.0.2.1\r\n", "192.0.2.2"),
    ] {
        let at = SocketAddr::from_abstract_name(&name).unwrap();
        let mut stream = UnixStream::connect_addr(&at).unwrap();
        let proxy = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443";
        let head = "HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
        write!(stream, "{proxy}\r\nGET {target} {head}{header}\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let all = requests(&mut server, 1);
        let one = all.iter().find(|it| it.target() == target).expect("it was recorded");
        assert_eq!(one.word("peer").split(':').next(), Some(client), "{one:?}");
    }
    server.stop();
}
