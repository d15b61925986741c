//! What bad input gets, and a system that has no more to give: an answer or a wait that ends, a
//! counter, a line in the log, and no harm to anybody else.

mod harness;

use std::fs;

use harness::client::{Client, End, Response};
use harness::{Ended, SIGTERM, Server, Under, program, support, under, until};

fn bad(options: &[&str]) -> Server {
    let options = [&["{}", "workers=1", "loglevel=info"], options].concat();
    Server::start(&program(&["tests/c/bad.c"]), &options)
}

/// What the worker counted, of which it tells at its end.
fn counted(ended: &Ended, name: &str) -> u64 {
    let mut words = ended.stdout.split_whitespace().skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {ended:?}"))
}

/// How many lines the log has with this in it.
fn lines(ended: &Ended, text: &str) -> usize {
    ended.stderr.lines().filter(|line| line.contains(text)).count()
}

fn ask(client: &mut Client, path: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
}

/// The answer to a request that no thread has time for.
fn is_shed(response: &Response) -> bool {
    (response.status, response.header("retry-after")) == (503, Some("1"))
}

#[test]
fn without_descriptors_the_listener_rests_and_those_who_are_there_go_on() {
    if under() == Under::Valgrind {
        eprintln!("NOT UNDER VALGRIND: it has a limit of its own, and closes what goes over it");
        return;
    }
    let server = bad(&["mode=loop", "nofile=50"]);
    let mut first = server.connect();
    assert_eq!(first.get("/").text(), "hello");
    let mut others: Vec<_> = (0..60).map(|_| server.connect()).collect();
    others.iter_mut().for_each(|client| ask(client, "/"));
    // They are accepted in their order: whoever is not answered for so long is not one of them.
    let mut served = 0;
    while !(served >= 10 && (0..5).all(|_| others[served].is_silent())) {
        assert_eq!(others[served].response("GET").text(), "hello");
        served += 1;
    }
    assert!(served < 50, "{served}");
    for _ in 0..100 {
        assert_eq!(first.get("/").text(), "hello");
    }
    // Long enough for several rests.
    assert!(others[served].is_silent() && others[served].is_silent());
    let mut waiting = others.split_off(served);
    drop(others);
    // There is room again, and in the end for all.
    for mut client in waiting.drain(..) {
        assert_eq!(client.response("GET").text(), "hello");
    }
    assert_eq!(first.get("/").text(), "hello");
    let ended = server.stop();
    assert!(counted(&ended, "accept_errors") >= 3, "{ended:?}");
    assert!(lines(&ended, "Too many open files") <= 2, "{ended:?}");
    assert!(ended.stderr.contains("accept: Too many open files (os error 24)"), "{ended:?}");
}

#[test]
fn a_cap_that_is_reached_often_is_told_seldom() {
    let server = bad(&["mode=loop", "worker_connections=1"]);
    let mut last = server.connect();
    assert_eq!(last.get("/").text(), "hello");
    for _ in 0..20 {
        let mut next = server.connect();
        ask(&mut next, "/");
        drop(last);
        assert_eq!(next.response("GET").text(), "hello");
        last = next;
    }
    drop(last);
    let ended = server.stop();
    assert!(counted(&ended, "full") >= 20, "{ended:?}");
    // The first, those of each ten seconds, and the rest at the end.
    assert!((2..=4).contains(&lines(&ended, "worker_connections = 1 reached")), "{ended:?}");
    assert!(ended.stderr.contains(" times)"), "{ended:?}");
}

#[test]
fn a_body_that_cannot_be_stored_is_a_507() {
    // The system's answer is EFBIG here, for want of a full disk: no more is known of either.
    let server = bad(&["mode=loop", "body_buffer=1", "fsize=40000"]);
    let mut other = server.connect();
    // The first fails in the middle, the second at its last octets.
    for length in [200_000, 40_001] {
        let mut client = server.connect();
        let response = client.post("/length", vec![b'x'; length]);
        assert_eq!((response.status, response.header("connection")), (507, Some("close")));
        assert_eq!(client.end(), End::Closed);
        assert_eq!(other.post("/length", vec![b'x'; 39_000]).text(), "39000");
        assert_eq!(other.get("/").text(), "hello");
    }
    let ended = server.stop();
    assert_eq!(counted(&ended, "spool_errors"), 2);
    assert_eq!(counted(&ended, "app_errors"), 0, "the application was not called");
    assert_eq!(lines(&ended, "spool a request body in /"), 2, "{ended:?}");
    assert!(ended.stderr.contains("File too large"), "{ended:?}");
}

#[test]
fn a_spool_directory_that_is_gone_and_comes_back() {
    let dir = support::scratch_dir().join(format!("spool-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("make a directory");
    let spool_dir = format!("spool_dir={}", dir.display());
    let server = bad(&["mode=threads", "body_buffer=1k", &spool_dir]);
    let body = vec![b'x'; 20_000];
    assert_eq!(server.connect().post("/length", &body).text(), "20000");
    fs::remove_dir(&dir).expect("remove the directory: nothing is left in it");
    assert_eq!(server.connect().post("/length", &body).status, 507);
    assert_eq!(server.get("/"), "hello");
    fs::create_dir(&dir).expect("make it again");
    assert_eq!(server.connect().post("/length", &body).text(), "20000");
    let ended = server.stop();
    assert_eq!(counted(&ended, "spool_errors"), 1);
    fs::remove_dir(&dir).expect("nothing is left in it");
}

#[test]
fn threads_that_never_return_fill_the_queue_and_the_rest_gets_503() {
    let options = ["mode=threads", "threads=2", "queue_limit=2", "graceful_timeout=1s"];
    let server = bad(&[&options[..], &["stats_path=/stats"]].concat());
    let there_are = |n: usize, phase: &str| {
        let phase = format!("\"phase\":\"{phase}\"");
        until("so many are there", || server.get("/stats").matches(&phase).count() == n);
    };
    let mut hung = server.connect();
    ask(&mut hung, "/hang");
    until("it hangs", || server.get("/counts").starts_with("opened 1 "));
    // The other thread serves.
    let mut other = server.connect();
    for _ in 0..50 {
        assert_eq!(other.get("/").text(), "hello");
    }
    let mut second = server.connect();
    ask(&mut second, "/hang");
    there_are(2, "app");
    let mut waiting = [server.connect(), server.connect()];
    waiting.iter_mut().for_each(|client| ask(client, "/"));
    there_are(2, "queue");
    assert!(waiting.iter_mut().all(Client::is_silent));
    for _ in 0..100 {
        assert!(is_shed(&other.get("/")));
    }
    server.signal(SIGTERM);
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(counted(&ended, "shed"), 100);
    assert!((2..=4).contains(&lines(&ended, "answered with 503")), "{ended:?}");
    assert!(ended.stderr.contains("queue_limit = 2"), "{ended:?}");
    // They were cut.
    assert!(hung.try_response("GET").is_err());
    assert!(waiting[0].try_response("GET").is_err());
}

#[test]
fn a_handle_that_nobody_uses_holds_its_client_alone() {
    let server = bad(&["mode=loop", "graceful_timeout=1s"]);
    let (mut leaves, mut stays) = (server.connect(), server.connect());
    ask(&mut leaves, "/hang");
    ask(&mut stays, "/hang");
    until("both hang", || server.get("/counts").starts_with("opened 2 "));
    drop(leaves);
    until("the application is told", || server.get("/counts").ends_with("aborted 1"));
    let mut other = server.connect();
    for _ in 0..50 {
        assert_eq!(other.get("/").text(), "hello");
    }
    assert!(stays.is_silent());
    server.signal(SIGTERM);
    assert_eq!(stays.drain(), 0, "cut, after graceful_timeout");
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[test]
fn requests_that_nobody_takes_are_answered_all_the_same() {
    let mut server = bad(&["mode=take", "queue_limit=2", "queue_timeout=3s"]);
    let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    ask(&mut clients[0], "/");
    ask(&mut clients[1], "/");
    assert!(clients[0].is_silent() && clients[1].is_silent());
    // The queue is full: at once.  The others: in time.
    assert!(is_shed(&clients[2].get("/")));
    assert!(is_shed(&clients[3].get("/")));
    assert!(is_shed(&clients[0].response("GET")));
    assert!(is_shed(&clients[1].response("GET")));
    server.stdin("go\n");
    for client in &mut clients {
        until("it is taken", || {
            let response = client.get("/");
            assert!(is_shed(&response) || response.text() == "taken", "{response:?}");
            response.status == 200
        });
    }
    let ended = server.stop();
    assert!(counted(&ended, "shed") >= 4, "{ended:?}");
    assert!(ended.stderr.contains("queue_limit = 2, queue_timeout = 3000 ms"), "{ended:?}");
}

#[test]
fn a_client_that_reads_an_octet_now_and_then_is_cut() {
    for mode in ["mode=loop", "mode=threads"] {
        let server = bad(&[mode, "write_timeout=500ms"]);
        let mut slow = server.connect();
        ask(&mut slow, "/endless");
        let mut other = server.connect();
        until("it is cut", || {
            assert_eq!(slow.read_some(1).len(), 1);
            other.get("/counts").text() == "opened 0 closed 1 aborted 0"
        });
        let ended = server.stop();
        assert_eq!((counted(&ended, "timeouts"), counted(&ended, "aborted")), (1, 1), "{ended:?}");
        assert_eq!(lines(&ended, "127.0.0.1 took nothing for write_timeout = 500ms"), 1);
    }
}

/// What write() said is ignored by the application, and not by us.
#[test]
fn an_answer_whose_write_failed_never_seems_whole() {
    for mode in ["mode=serial", "mode=threads"] {
        let server = bad(&[mode, "threads=auto", "write_timeout=300ms"]);
        let mut slow = server.connect();
        ask(&mut slow, "/ignore");
        until("it has written", || server.get("/counts").contains("closed 1"));
        let answer = slow.try_response("GET").map(|whole| whole.body.len());
        assert!(answer.is_err(), "a whole answer of {answer:?} octets");
        assert_eq!(server.get("/"), "hello");
        let ended = server.stop();
        assert_eq!((counted(&ended, "timeouts"), counted(&ended, "aborted")), (1, 1), "{ended:?}");
        assert_eq!(counted(&ended, "app_errors"), 0, "{ended:?}");
    }
}
