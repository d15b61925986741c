//! How it ends: with all that is there answered, and with nobody left.

use std::net::{TcpListener, TcpStream};
use std::path::Path;

use super::*;
use crate::harness::client::{Client, End};
use crate::harness::{SIGKILL, SIGSTOP, SIGTERM, kill};

/// Requests in flight, and connections that the system has queued for the listener: the loops are
/// all busy, so that nobody has accepted these.
pub(crate) fn term_answers_what_is_there_and_what_waits(model: Model) {
    term_answers(model, 2, &["app=loop"]);
}

/// The same, where the workers have as many connections as they take.
pub(crate) fn term_answers_those_for_whom_there_is_no_room(model: Model) {
    term_answers(model, 4, &["threads=2", "worker_connections=2"]);
}

/// `busy` clients are being served.
fn term_answers(model: Model, busy: i32, options: &[&str]) {
    let mut host = Host::start(model, 2, options);
    let ask = |path: &str| {
        let mut client = host.server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        client
    };
    let mut clients: Vec<Client> = (0..busy).map(|_| ask("/hang")).collect();
    host.until("inside", busy);
    clients.extend((0..20).map(|_| ask("/")));
    host.server.signal(SIGTERM);
    until("it has heard", || host.log().contains("Shutting down: Master"));
    host.tell("open");
    for (n, client) in clients.iter_mut().enumerate() {
        let response = client.try_response("GET");
        let response = response.unwrap_or_else(|problem| panic!("client {n}: {problem}"));
        assert_eq!(response.status, 200, "client {n}");
        assert_eq!(client.end(), End::Closed, "client {n}");
    }
    let address = host.server.address().to_owned();
    let ended = host.end(0);
    assert_eq!(said(&ended, "exited ").len(), 2);
    TcpStream::connect(address).unwrap_err();
}

/// Processes die with it, also one that was stopped and one that spins; threads are its own.
pub(crate) fn nothing_is_left_when_the_arbiter_is_killed(model: Model) {
    let host = Host::start(model, 3, &["app=loop", "heartbeat_timeout=0"]);
    let mut spins = host.server.connect();
    spins.send("GET /spin HTTP/1.1\r\nHost: x\r\n\r\n");
    host.until("inside", 1);
    let workers = host.server.workers();
    assert_eq!(workers.len(), if model.is_process { 3 } else { 0 });
    if let Some(first) = workers.first() {
        kill(*first, SIGSTOP);
    }
    let address = host.server.address().to_owned();
    host.server.signal(SIGKILL);
    until("all workers are gone", || {
        !workers.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists())
    });
    // Its descriptors went with it.
    until("the address is free", || {
        TcpStream::connect(&address).is_err() && TcpListener::bind(&address).is_ok()
    });
    let ended = host.server.end();
    assert_eq!(ended.signal, Some(SIGKILL), "{ended:?}");
}

/// With gunicorn's statuses, by which a supervisor knows that it need not try again.
pub(crate) fn first_workers_that_cannot_boot_end_it(model: Model) {
    let refused = Host::launch(model, &["workers=3", "signals=1", "boot=fails"]);
    let ended = refused.end(3);
    assert!(ended.stdout.contains("GW_ERR_APP: Worker failed to boot."), "{ended:?}");

    let source = support::root().join("tests/c/module.c");
    let module = support::scratch_dir().join(format!("refuses-{}.so", model.options[0]));
    support::compile_c(&source, &module, &["-shared", "-fPIC"]);
    let fails = if model.is_process { "fail in a worker" } else { "fail" };
    let module = format!("module={}:{fails}", module.display());
    let ended = Host::launch(model, &["workers=3", "signals=1", &module]).end(4);
    let text = if model.is_process { "App failed to load." } else { "no database" };
    assert!(ended.stdout.contains(text), "{ended:?}");
}
