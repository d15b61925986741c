//! All of FastCGI's Responder role: many requests on a connection, which may need each other, take
//! their time, go wrong, or lose their client.

mod harness;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use harness::fastcgi::{
    ABORT, BEGIN, Fcgi, GET_VALUES, GET_VALUES_RESULT, PARAMS, STDIN, STDOUT, UNKNOWN_TYPE, begin,
    opening, pairs, record, request, vars,
};
use harness::life::unique;
use harness::{SIGTERM, Server, program, scaled, until};

/// The answer is whole.
const WHOLE: Option<(u32, u8)> = Some((0, 0));
/// It is not.
const CUT: Option<(u32, u8)> = Some((1, 0));
/// There are too many requests.
const OVERLOADED: Option<(u32, u8)> = Some((0, 2));

/// A server that speaks FastCGI on a unix socket, and HTTP besides.
struct Front {
    server: Server,
    path: PathBuf,
}

impl Front {
    fn start(source: &str, words: &[&str], options: &[&str]) -> Front {
        let path = PathBuf::from(unique("fcgi"));
        let bind = format!("bind=fastcgi+unix:{}", path.display());
        let own = [&bind, "worker_model=inline", "errorlog=/dev/null"];
        let args = [&["{}"], words, &own, options].concat();
        let server = Server::start(&program(&[source]), &args);
        until("it listens there", || UnixStream::connect(&path).is_ok());
        Front { server, path }
    }

    fn app(options: &[&str]) -> Front {
        Front::start("tests/c/app.c", &[], options)
    }

    /// `way`: later, or threads.
    fn meet(way: &str, options: &[&str]) -> Front {
        let threads: &[&str] = if way == "threads" { &["threads=8"] } else { &[] };
        Front::start("tests/c/meet.c", &[way], &[threads, options].concat())
    }

    fn connect(&self) -> Fcgi {
        Fcgi::connect(&self.path)
    }

    /// Until so many requests are held, and have heard that their clients left.
    fn held_and_left(&self, held: usize, left: usize) {
        let expected = format!("held {held} left {left}");
        until(&expected, || self.server.get("/counts") == expected);
    }

    fn stop(self) {
        self.server.stop();
    }
}

const WAYS: [&str; 2] = ["later", "threads"];

#[test]
fn eight_requests_on_a_connection_are_inside_at_once() {
    for way in WAYS {
        let front = Front::meet(way, &[]);
        let mut client = front.connect();
        for round in 0..scaled(40) {
            // The same ids again and again, in another order.
            let ids: Vec<u16> = (0..8).map(|at| 1 + (at * 3 + round as u16) % 8 * 7).collect();
            let params = vars("/meet?n=8", None);
            client.send(ids.iter().map(|id| begin(*id, true)).collect::<Vec<_>>().concat());
            // Piece by piece, a record of each after the other.
            for piece in params.chunks(23) {
                let records = ids.iter().map(|id| record(PARAMS, *id, piece));
                client.send(records.collect::<Vec<_>>().concat());
            }
            let ends = ids.iter().map(|id| record(PARAMS, *id, b"")).collect::<Vec<_>>().concat();
            client.send(ends);
            client.send(ids.iter().map(|id| record(STDIN, *id, b"")).collect::<Vec<_>>().concat());
            for id in ids {
                let answer = client.answer(id);
                assert_eq!((answer.text().as_str(), answer.end), ("met", WHOLE), "{way} {id}");
            }
        }
        front.stop();
    }
}

#[test]
fn a_connection_that_is_not_kept_ends_with_its_last_request() {
    for (way, keeps) in
        [("later", [false; 8]), ("threads", [true, true, true, false, true, true, true, true])]
    {
        let front = Front::meet(way, &[]);
        let mut client = front.connect();
        for (id, keeps) in (1..).zip(keeps) {
            client.send(request(id, keeps, "/meet?n=8", b""));
        }
        let answers = client.rest();
        assert_eq!(answers.len(), 8);
        assert!(answers.values().all(|it| it.text() == "met" && it.end == WHOLE), "{answers:?}");
        front.stop();
    }
    // Whoever waits in a thread has the connection to itself when it is not kept.
    let front = Front::meet("threads", &[]);
    let mut client = front.connect();
    client.send(request(1, false, "/meet?n=1", b""));
    assert_eq!(client.rest()[&1].text(), "met");
    front.stop();
}

#[test]
fn one_request_of_many_is_taken_back() {
    for way in WAYS {
        let front = Front::meet(way, &[]);
        let mut client = front.connect();
        let ids = [4, 1, 9, 300];
        ids.iter().for_each(|id| client.send(request(*id, true, "/hold", b"")));
        front.held_and_left(4, 0);
        // Each of them once, also the one that the connection answers itself; twice is once.
        for (left, id) in [9, 4, 300, 1].into_iter().enumerate() {
            client.send([record(ABORT, id, b""), record(ABORT, id, b"")].concat());
            let answer = client.answer(id);
            assert_eq!((answer.text().as_str(), answer.end), ("left", WHOLE), "{way} {id}");
            front.held_and_left(4, left + 1);
        }
        assert_eq!(client.ask(4, "/meet", b"").text(), "met");
        front.stop();
    }
}

#[test]
fn a_request_is_taken_back_before_it_is_one() {
    for options in [&[][..], &["threads=2"]] {
        let front = Front::app(options);
        let mut client = front.connect();
        for others in [false, true] {
            if others {
                client.send(opening(50, true, "/echo", Some(4)));
            }
            client.send([begin(7, true), record(ABORT, 7, b"")].concat());
            assert_eq!(client.answer(7).end, CUT);
            let half = [opening(7, true, "/echo", Some(9)), record(STDIN, 7, b"half")].concat();
            client.send([half, record(ABORT, 7, b""), record(STDIN, 7, b" more")].concat());
            let answer = client.answer(7);
            assert_eq!((answer.stdout, answer.end), (vec![], CUT));
            assert_eq!(client.ask(7, "/", b"").text(), "hello, world\n");
            if others {
                client.send([record(STDIN, 50, b"four"), record(STDIN, 50, b"")].concat());
                assert_eq!(client.answer(50).text(), "four");
            }
        }
        front.stop();
    }
}

#[test]
fn all_requests_hear_that_their_client_leaves() {
    for way in WAYS {
        let front = Front::meet(way, &[]);
        let mut client = front.connect();
        (1..5).for_each(|id| client.send(request(id, true, "/hold", b"")));
        front.held_and_left(4, 0);
        drop(client);
        front.held_and_left(4, 4);
        // Who only says no more still listens.
        let mut client = front.connect();
        (1..5).for_each(|id| client.send(request(id, true, "/hold", b"")));
        front.held_and_left(8, 4);
        client.finish();
        let answers = client.rest();
        assert_eq!(answers.len(), 4);
        assert!(answers.values().all(|it| it.text() == "left" && it.end == WHOLE), "{answers:?}");
        front.held_and_left(8, 8);
        front.stop();
    }
}

#[test]
fn records_may_be_cut_anywhere() {
    for options in [&[][..], &["threads=2"]] {
        let front = Front::app(options);
        let long = format!("/query?{}", "x".repeat(300));
        let octets = [
            begin(1, true),
            begin(2, true),
            record(PARAMS, 2, &vars("/echo", Some(10))),
            record(PARAMS, 1, &vars(&long, None)),
            record(PARAMS, 2, b""),
            record(GET_VALUES, 0, &pairs(&[("FCGI_MPXS_CONNS", "")], true)),
            record(STDIN, 2, b"ten "),
            record(PARAMS, 1, b""),
            record(STDIN, 2, b"octets"),
            record(STDIN, 1, b""),
            record(STDIN, 2, b""),
        ]
        .concat();
        let mut client = front.connect();
        octets.iter().for_each(|octet| client.send([*octet]));
        assert_eq!(client.answer(1).text(), "x".repeat(300));
        assert_eq!(client.answer(2).text(), "ten octets");
        let values = pairs(&[("FCGI_MPXS_CONNS", "1")], false);
        assert_eq!(client.reply(), (GET_VALUES_RESULT, values));
        for cut in 1..octets.len() {
            client.send(&octets[..cut]);
            // It is asked for something when it has read that, where that can be asked.
            client.send(&octets[cut..]);
            assert_eq!(client.answer(1).text(), "x".repeat(300), "cut at {cut}");
            assert_eq!(client.answer(2).text(), "ten octets", "cut at {cut}");
        }
        // A pair of four-octet lengths, in as many records as it has octets.
        let params = pairs(&[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/")], true);
        client.send(begin(3, true));
        params.iter().for_each(|octet| client.send(record(PARAMS, 3, &[*octet])));
        client.send([record(PARAMS, 3, b""), record(STDIN, 3, b"")].concat());
        assert_eq!(client.answer(3).text(), "hello, world\n");
        front.stop();
    }
}

#[test]
fn the_server_says_what_it_can() {
    let front = Front::app(&["worker_connections=77"]);
    let mut client = front.connect();
    let names = [("FCGI_MAX_CONNS", ""), ("FCGI_MAX_REQS", ""), ("FCGI_MPXS_CONNS", ""), ("X", "")];
    client.send(record(GET_VALUES, 0, &pairs(&names, false)));
    let values = [("FCGI_MAX_CONNS", "77"), ("FCGI_MAX_REQS", "77"), ("FCGI_MPXS_CONNS", "1")];
    assert_eq!(client.reply(), (GET_VALUES_RESULT, pairs(&values, false)));
    client.send(record(99, 0, b"what?"));
    assert_eq!(client.reply(), (UNKNOWN_TYPE, vec![99, 0, 0, 0, 0, 0, 0, 0]));
    // In the middle of a body, too.
    client.send([opening(1, true, "/echo", Some(4)), record(GET_VALUES, 0, b"")].concat());
    assert_eq!(client.reply(), (GET_VALUES_RESULT, vec![]));
    client.send([record(STDIN, 1, b"four"), record(STDIN, 1, b"")].concat());
    assert_eq!(client.answer(1).text(), "four");
    client.send(record(BEGIN, 2, &[0, 3, 1, 0, 0, 0, 0, 0]));
    assert_eq!(client.answer(2).end, Some((0, 3)));
    front.stop();
}

#[test]
fn there_are_only_so_many_requests() {
    for way in WAYS {
        let front = Front::meet(way, &["worker_connections=4"]);
        let mut client = front.connect();
        // One is answered by the connection itself, unless a thread waits for it.
        let most = if way == "later" { 5 } else { 4 };
        (1..=most).for_each(|id| client.send(request(id, true, "/hold", b"")));
        front.held_and_left(usize::from(most), 0);
        client.send(request(100, true, "/hold", b""));
        let refused = client.answer(100);
        assert_eq!((refused.stdout, refused.end), (vec![], OVERLOADED));
        client.send(record(ABORT, 2, b""));
        assert_eq!(client.answer(2).text(), "left");
        until("there is room again", || client.ask(100, "/meet", b"").end == WHOLE);
        drop(client);
        front.held_and_left(usize::from(most), usize::from(most));
        front.stop();
    }
    // On one connection there are never more than these.
    let front = Front::app(&["worker_connections=1000"]);
    let mut client = front.connect();
    (1..=129).for_each(|id| client.send(begin(id, true)));
    assert_eq!(client.answer(129).end, OVERLOADED);
    (1..=128).for_each(|id| client.send(&request(id, true, "/", b"")[16..]));
    (1..=128).for_each(|id| assert_eq!(client.answer(id).text(), "hello, world\n"));
    assert_eq!(client.ask(129, "/", b"").end, WHOLE);
    front.stop();
}

#[test]
fn an_application_that_has_enough_says_so_twice() {
    let front = Front::meet("later", &["worker_requests=2"]);
    let mut client = front.connect();
    (1..3).for_each(|id| client.send(request(id, true, "/hold", b"")));
    let mut refused = client.ask(3, "/hold", b"");
    while refused.end == WHOLE {
        refused = client.ask(3, "/hold", b"");
    }
    assert_eq!((refused.status(), refused.end), (503, OVERLOADED));
    assert_eq!(refused.told(), "too busy");
    (1..3).for_each(|id| client.send(record(ABORT, id, b"")));
    (1..3).for_each(|id| assert_eq!(client.answer(id).text(), "left"));
    front.stop();
}

#[test]
fn what_is_not_whole_says_so_and_costs_nobody_else() {
    for options in [&[][..], &["threads=2"]] {
        let front = Front::app(options);
        let mut client = front.connect();
        client.send(opening(9, true, "/echo", Some(4)));
        for (target, told) in [
            ("/failing?n=3&size=20", "application: "),
            ("/claim?claim=100&size=60&n=1", "Content-Length is 100"),
            ("/failing?n=3&size=200000", "application: "),
        ] {
            let answer = client.ask(1, target, b"");
            assert_eq!((answer.status(), answer.end), (200, CUT), "{target}");
            assert!(answer.told().contains(told), "{target}: {:?}", answer.told());
            assert!(answer.body().len() >= 60, "{target}: what there was of it");
        }
        let answer = client.ask(1, "/fail", b"");
        assert_eq!((answer.status(), answer.end), (500, WHOLE));
        assert!(answer.told().contains("application: "), "{:?}", answer.told());
        assert_eq!(client.ask(1, "/", b"").text(), "hello, world\n");
        client.send([record(STDIN, 9, b"four"), record(STDIN, 9, b"")].concat());
        assert_eq!(client.answer(9).text(), "four");
        front.stop();
    }
}

#[test]
fn the_pieces_of_a_chunk_stay_as_long_as_they_are_needed() {
    for way in WAYS {
        let front = Front::meet(way, &["output_buffer=1m"]);
        let mut client = front.connect();
        // Less than a record, one and a bit that is small enough to be copied, and several.
        for len in [0, 5_000, 65_528, 65_529, 65_600, 70_000, 400_000] {
            let answer = client.ask(1, &format!("/chunk?n={len}"), b"");
            assert_eq!((answer.body().len(), answer.end), (len, WHOLE));
            let is_right = |(at, octet): (usize, &u8)| *octet == b'a' + (at % 26) as u8;
            assert!(answer.body().iter().enumerate().all(is_right), "{way} {len}");
        }
        front.stop();
    }
}

/// A file of so many octets, each what its place says.
fn file(len: usize) -> (PathBuf, Vec<u8>) {
    let octets: Vec<u8> = (0..len).map(|at| (at * 7 / 5 % 251) as u8).collect();
    let path = PathBuf::from(unique("file"));
    fs::write(&path, &octets).unwrap();
    (path, octets)
}

#[test]
fn a_file_that_shrinks_is_not_whole() {
    let (path, octets) = file(20 << 20);
    let option = format!("file={}", path.display());
    for options in [&[&*option][..], &[&option, "threads=2"]] {
        fs::write(&path, &octets).unwrap();
        let front = Front::app(options);
        let mut client = front.connect();
        client.send(request(1, true, "/file", b""));
        while client.so_far(1).stdout.is_empty() {
            assert!(client.read());
        }
        // Far behind what can have been sent.
        File::options().write(true).open(&path).unwrap().set_len(12_000_000).unwrap();
        let answer = client.answer(1);
        assert_eq!(answer.end, CUT);
        assert!(answer.told().contains("a file is shorter"), "{:?}", answer.told());
        assert_eq!(answer.body().len(), 12_000_000);
        assert!(answer.body() == &octets[..12_000_000]);
        // A web server that waits for the rest sees the end.
        assert_eq!(client.rest().len(), 0);
        front.stop();
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn large_bodies_go_both_ways_at_once() {
    let (path, octets) = file(6_000_001);
    let option = format!("file={}", path.display());
    for options in
        [&[&*option][..], &[&option, "threads=4"], &[&option, "threads=4", "request_buffering=0"]]
    {
        let front = Front::app(options);
        let mut client = front.connect();
        let count = 12_000_000;
        let upload = vec![3; count];
        let mut sender = client.sender();
        thread::scope(|scope| {
            let (upload, octets) = (&upload, &octets);
            scope.spawn(move || {
                let both =
                    [opening(2, true, "/sum", Some(count)), opening(3, true, "/sum", Some(count))];
                sender
                    .write_all(
                        &[request(1, true, "/chunks?n=200&size=50000", b""), both.concat()]
                            .concat(),
                    )
                    .unwrap();
                sender.write_all(&request(4, true, "/file", b"")).unwrap();
                for piece in upload.chunks(50_000) {
                    sender.write_all(&record(STDIN, 2, piece)).unwrap();
                    sender.write_all(&record(STDIN, 3, piece)).unwrap();
                }
                sender.write_all(&[record(STDIN, 2, b""), record(STDIN, 3, b"")].concat()).unwrap();
            });
            assert!(client.answer(4).body() == octets, "a file beside others");
            let chunks = client.answer(1);
            let is_right = |(at, octet): (usize, &u8)| *octet == b'a' + (at / 50_000 % 26) as u8;
            assert_eq!(chunks.body().len(), 10_000_000);
            assert!(chunks.body().iter().enumerate().all(is_right), "chunks beside others");
            let expected = format!("{count} octets, sum {}, then 2\n", 3 * count);
            assert_eq!(client.answer(2).text(), expected);
            assert_eq!(client.answer(3).text(), expected);
        });
        front.stop();
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn a_file_without_end_keeps_nobody_waiting() {
    let path = PathBuf::from(unique("sparse"));
    File::create(&path).unwrap().set_len(4 << 30).unwrap();
    let option = format!("file={}", path.display());
    for options in [&[&*option][..], &[&option, "threads=4"]] {
        let front = Front::app(options);
        let mut client = front.connect();
        client.send(request(1, true, "/file", b""));
        while client.so_far(1).stdout.is_empty() {
            assert!(client.read());
        }
        assert_eq!(client.ask(2, "/", b"").text(), "hello, world\n");
        assert!(client.so_far(1).stdout.len() < 64 << 20, "the other answer was not behind it");
        drop(client);
        assert_eq!(front.server.get("/"), "hello, world\n");
        front.stop();
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn what_is_refused_is_answered_and_the_connection_goes_on() {
    let front = Front::app(&["max_body=100", "limit_request_field_size=400"]);
    let mut client = front.connect();
    let long = "x".repeat(500);
    let method = |value| pairs(&[("REQUEST_METHOD", value), ("PATH_INFO", "/")], false);
    let params = [
        (method("G ET"), 400, ""),
        ([vars("/", None), pairs(&[("HTTP_X", &long)], false)].concat(), 431, ""),
        (vars("/echo", Some(101)), 413, "too large"),
        (b"\x05\x09short".to_vec(), 400, "lengths do not fit"),
        (vec![], 400, ""),
    ];
    for (params, status, told) in params {
        let octets = [begin(5, true), record(PARAMS, 5, &params), record(PARAMS, 5, b"")].concat();
        client.send([octets, record(STDIN, 5, b"")].concat());
        let answer = client.answer(5);
        assert_eq!((answer.status(), answer.end), (status, WHOLE), "{}", answer.told());
        assert!(answer.told().contains(told) && !answer.told().is_empty(), "{answer:?}");
    }
    // A body that is larger than it says, or than it may be; one that is shorter.
    client.send([opening(6, true, "/echo", Some(4)), record(STDIN, 6, b"four and more")].concat());
    client.send(record(STDIN, 6, b""));
    assert_eq!(client.answer(6).text(), "four");
    client.send([opening(6, true, "/echo", None), record(STDIN, 6, &[b'x'; 101])].concat());
    client.send(record(STDIN, 6, &[b'x'; 5000]));
    assert_eq!(client.answer(6).status(), 413);
    client.send([opening(6, true, "/echo", Some(9)), record(STDIN, 6, b"five")].concat());
    client.send(record(STDIN, 6, b""));
    let short = client.answer(6);
    assert_eq!((short.status(), short.end), (400, WHOLE));
    assert!(short.told().contains("shorter than CONTENT_LENGTH"), "{short:?}");
    assert_eq!(client.ask(6, "/", b"").text(), "hello, world\n");
    front.stop();
}

/// What is sent, the answers that it gets, and what the log has of it.
type Case<'a> = (&'a str, Vec<u8>, &'a [(u16, &'a str)], &'a str);

#[test]
fn nonsense_ends_a_connection_and_nothing_else() {
    let front = Front::app(&["errorlog=-", "loglevel=info"]);
    let whole = request(1, true, "/", b"");
    let hello = "hello, world\n";
    let table: [Case; 9] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), &[], "HTTP was spoken"),
        ("version 2", vec![2, 1, 0, 1, 0, 8, 0, 0], &[], "of another version"),
        ("a BEGIN without content", record(BEGIN, 1, b"short"), &[], "that is none"),
        ("id 0", begin(0, true), &[], "an id that is in use"),
        ("values without end", record(GET_VALUES, 0, &[0; 5000]), &[], "too long"),
        ("after a request", [&whole[..], b"nonsense"].concat(), &[(1, hello)], "another version"),
        (
            "the same id twice",
            [&begin(1, true)[..], &begin(1, true)].concat(),
            &[(1, "400")],
            "an id that is in use",
        ),
        (
            "in the middle of a body",
            [opening(1, true, "/echo", Some(9)), b"nonsense".to_vec()].concat(),
            &[(1, "400")],
            "another version",
        ),
        (
            "beside another request",
            [opening(1, true, "/echo", Some(4)), request(2, true, "/", b""), vec![9; 8]].concat(),
            &[(1, "400"), (2, hello)],
            "another version",
        ),
    ];
    for (what, octets, expected, _) in &table {
        let mut client = front.connect();
        client.send(octets);
        let answers = client.rest();
        assert_eq!(answers.len(), expected.len(), "{what}: {answers:?}");
        for (id, text) in *expected {
            let answer = &answers[id];
            assert!(answer.text().contains(text), "{what}: {answer:?}");
        }
    }
    // Nobody waits for these, and they are no requests.
    let mut client = front.connect();
    for ignored in [
        record(STDIN, 7, b"body of nobody"),
        record(PARAMS, 7, b""),
        record(ABORT, 7, b""),
        record(STDOUT, 7, b"from the wrong side"),
    ] {
        client.send(ignored);
    }
    assert_eq!(client.ask(7, "/", b"").text(), hello);
    // What is cut short is an end like any other, and no request is made of it.
    for cut in [3, 8, 12, 30, whole.len() - 8] {
        let mut client = front.connect();
        client.send(&whole[..cut]);
        client.finish();
        assert_eq!(client.rest().len(), 0, "cut at {cut}");
    }
    let ended = front.server.stop();
    for (what, _, _, line) in &table {
        assert!(ended.stderr.contains(line), "{what}: {}", ended.stderr);
    }
}

#[test]
fn whoever_asks_and_does_not_listen_is_left() {
    let front = Front::app(&["write_timeout=1"]);
    let mut client = front.connect();
    // Values in the middle of a body, and of others; nothing of what they say is read.
    client.send([opening(1, true, "/echo", Some(4)), opening(2, true, "/echo", Some(4))].concat());
    let names = [("FCGI_MAX_CONNS", ""), ("FCGI_MAX_REQS", ""), ("FCGI_MPXS_CONNS", "")];
    let flood = record(GET_VALUES, 0, &pairs(&names, false)).repeat(1000);
    let mut sender = client.sender();
    sender.set_write_timeout(None).unwrap();
    while sender.write_all(&flood).is_ok() {}
    assert_eq!(front.connect().ask(1, "/", b"").text(), "hello, world\n");
    front.stop();
}

#[test]
fn a_graceful_stop_waits_for_all_of_them() {
    for way in WAYS {
        let front = Front::meet(way, &["graceful_timeout=100"]);
        let mut client = front.connect();
        (1..4).for_each(|id| client.send(request(id, true, "/hold", b"")));
        front.held_and_left(3, 0);
        let mut other = front.connect();
        front.server.signal(SIGTERM);
        until("it listens no more", || UnixStream::connect(&front.path).is_err());
        client.send(request(9, true, "/meet", b""));
        assert_eq!(client.answer(9).end, OVERLOADED);
        (1..4).for_each(|id| client.send(record(ABORT, id, b"")));
        (1..4).for_each(|id| assert_eq!(client.answer(id).text(), "left", "{way}"));
        assert!(client.rest().is_empty());
        // Who was there, and asked for nothing, may still do so.
        other.send(request(1, true, "/meet", b""));
        assert_eq!(other.answer(1).text(), "met");
        assert!(other.rest().is_empty());
        assert_eq!(front.server.end().status, Some(0));
    }
}

#[test]
fn a_quick_stop_waits_for_nobody() {
    let front = Front::meet("later", &[]);
    let mut client = front.connect();
    (1..9).for_each(|id| client.send(request(id, true, "/hold", b"")));
    front.held_and_left(8, 0);
    front.server.signal(harness::SIGQUIT);
    assert!(client.rest().is_empty());
    front.server.end();
}

#[test]
fn a_connection_that_may_not_be_kept_ends_however_it_is_answered() {
    for options in [&["keepalive=0"][..], &["keepalive=0", "header_timeout=0", "threads=2"]] {
        let front = Front::app(options);
        let mut client = front.connect();
        client.send(request(1, true, "/", b""));
        let answers = client.rest();
        assert_eq!((answers[&1].text().as_str(), answers[&1].end), ("hello, world\n", WHOLE));
        front.stop();
    }
}

/// CONTENT_LENGTH says when a body is all there: the record that ends it may still be on its way, and
/// must not meet a socket that is closed.
#[test]
fn the_end_of_a_body_may_come_behind_the_answer() {
    let front = Front::app(&["threads=2", "request_buffering=0"]);
    for _ in 0..scaled(20) {
        let mut client = front.connect();
        client.send(opening(1, false, "/sum", Some(2)));
        client.send(record(STDIN, 1, b"ab"));
        let answer = client.answer(1);
        assert_eq!((&*answer.text(), answer.end), ("2 octets, sum 195, then 2\n", WHOLE));
        client.send(record(STDIN, 1, b""));
        client.finish();
        assert!(client.rest().is_empty());
    }
    front.stop();
}

#[test]
fn a_body_that_nobody_takes_does_not_hide_that_the_client_is_gone() {
    let front = Front::meet("later", &["request_buffering=0"]);
    // What is too much is the connection's own, or another's.
    for (round, large) in [1, 2].into_iter().enumerate() {
        let mut client = front.connect();
        for id in 1..4 {
            client.send(opening(id, true, "/hold", Some(50_000_000)));
        }
        front.held_and_left(3 * round + 3, 3 * round);
        let mut sender = client.sender();
        sender.set_nonblocking(true).unwrap();
        let octets = record(STDIN, large, &[b'x'; 60_000]).repeat(800);
        let (mut sent, mut refused) = (0, 0);
        // It takes nothing more, and has had time to.
        while refused < 20 {
            match sender.write(&octets[sent..]) {
                Ok(n) => (sent, refused) = (sent + n, 0),
                Err(_) => refused += 1,
            }
            front.server.get("/counts");
        }
        drop((client, sender));
        front.held_and_left(3 * round + 3, 3 * round + 3);
    }
    front.stop();
}

#[test]
fn a_request_that_takes_nothing_is_taken_back() {
    for way in WAYS {
        let front = Front::meet(way, &["request_buffering=0"]);
        let mut client = front.connect();
        client.send(request(1, true, "/hold", b""));
        client.send(opening(2, true, "/hold", Some(50_000_000)));
        // More than it is given before it asks, and less than the connection holds for all.
        client.send(record(STDIN, 2, &[b'x'; 60_000]).repeat(5));
        front.held_and_left(2, 0);
        client.send(record(ABORT, 2, b""));
        assert_eq!(client.answer(2).end.map(|it| it.1), Some(0));
        front.held_and_left(2, 1);
        client.send(record(ABORT, 1, b""));
        assert_eq!(client.answer(1).text(), "left");
        front.stop();
    }
}

#[test]
fn an_answer_that_takes_too_long_costs_nobody_else() {
    let path = PathBuf::from(unique("sparse"));
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let option = format!("file={}", path.display());
    let front = Front::app(&[&option, "stream_timeout=300ms"]);
    for slow in [1, 2] {
        let mut client = front.connect();
        // The first is answered by the connection itself.
        let other = 3 - slow;
        for id in [1, 2] {
            let target = if id == slow { "/file" } else { "/echo" };
            client.send(opening(id, true, target, (id == other).then_some(4)));
        }
        client.send(record(STDIN, slow, b""));
        let answer = client.answer(slow);
        assert_eq!((answer.status(), answer.end), (200, CUT));
        client.send([record(STDIN, other, b"four"), record(STDIN, other, b"")].concat());
        assert_eq!(client.answer(other).text(), "four");
        assert_eq!(client.ask(slow, "/", b"").text(), "hello, world\n");
    }
    front.stop();
    fs::remove_file(path).unwrap();
}
