//! Applications of one worker that run on its loop, beside others on its threads.

use std::collections::HashSet;
use std::thread;

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{APP_NONBLOCKING, APP_SERIAL, EOF, OK, Response as Head};
use gateway::gateway::app::Application;

use super::harness::capp::CBody;
use super::harness::*;
use super::tools::*;

const SIZE: usize = 2 << 20;

/// `/small`, `/reference`, `/iterator`, and what was called for them.
fn on_the_loop(seen: &Seen, flags: u32) -> Application {
    let seen = seen.clone();
    capp::with_flags(flags, move |env, start, body: &mut CBody| {
        seen.note("call");
        assert_eq!(env.script_name(), b"/loop");
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        match env.path_info() {
            b"/reference" => body.first = Some(owned(&seen, noise(SIZE))),
            b"/iterator" => {
                let (noted, all) = (seen.clone(), noise(SIZE));
                let mut at = 0;
                body.next = Some(Box::new(move |out: &mut Chunk| {
                    let end = all.len().min(at + 100_000);
                    if at == end {
                        return EOF;
                    }
                    *out = owned(&noted, all[at..end].to_vec());
                    at = end;
                    OK
                }));
            }
            _ => body.first = Some(capp::lent(b"small")),
        }
        let noted = seen.clone();
        body.close = Some(Box::new(move || noted.note("close")));
        OK
    })
}

fn mixed(loops: &Seen, threads: &Seen, gate: &Gate, flags: u32) -> Server {
    Server::made_of(|config| {
        config.mount("/", gated(gate, threads)).unwrap();
        config.mount("/loop", on_the_loop(loops, flags)).unwrap();
    })
}

/// The one thread is taken, and the loop serves on; everything of a request is where its application is.
#[test]
fn who_never_blocks_does_not_wait_for_who_does() {
    for flags in [APP_NONBLOCKING, APP_SERIAL] {
        let (loops, threads, gate) = (Seen::default(), Seen::default(), Gate::default());
        let mut server = mixed(&loops, &threads, &gate, flags);
        let mut waits = server.connect();
        waits.send(get("/gate"));
        server.until("the thread is taken", |_| gate.waiting() == 1);
        for target in ["/loop/small", "/loop/reference", "/loop/iterator"] {
            let mut client = server.connect();
            client.send(get(target));
            let response = server.reply(&mut client);
            let expected = if target == "/loop/small" { b"small".to_vec() } else { noise(SIZE) };
            assert!(response.body == expected, "{target}");
        }
        // One that leaves in the middle is noticed there, too.
        let mut client = server.connect();
        client.send(get("/loop/iterator"));
        server.until("its answer has begun", |_| {
            client.pull_up_to(1);
            client.total > 0
        });
        drop(client);
        server.until("all are over", |_| loops.count("close") == 4);
        assert_eq!(loops.threads(), HashSet::from([thread::current().id()]));
        assert_eq!(gate.waiting(), 1);
        gate.open(1);
        assert_eq!(server.reply(&mut waits).text(), "through");
        assert_eq!(threads.elsewhere(), ["/gate"]);
    }
}

/// Requests of one connection change places, and the answers keep their order.
#[test]
fn one_connection_asks_both() {
    let (loops, threads, gate) = (Seen::default(), Seen::default(), Gate::default());
    gate.open_for_ever();
    let mut server = mixed(&loops, &threads, &gate, APP_NONBLOCKING);
    let mut client = server.connect();
    let all = [("/loop/a", "small"), ("/gate", "through"), ("/x", "at once"), ("/loop", "small")];
    for _ in 0..20 {
        client.send(all.map(|(target, _)| get(target)).concat());
        for (target, expected) in all {
            assert_eq!(server.reply(&mut client).text(), expected, "{target}");
        }
    }
    assert_eq!(loops.threads(), HashSet::from([thread::current().id()]));
    assert_eq!(threads.elsewhere().len(), 40);
    assert_eq!(loops.count("close"), 40);
}
