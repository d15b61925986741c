//! Lint around applications and middleware that break one sentence each: `tests/c/lint.c`.  It finds
//! that one, by its name, and no other.

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use harness::{PATIENCE, Server, program, support};

fn start(sentence: &str, more: &[&str]) -> Server {
    let mut args = vec![sentence];
    args.extend(more);
    args.extend(["bind={}", "worker_model=inline", "errorlog=-", "loglevel=error"]);
    if sentence == "read-would-block" {
        args.push("request_buffering=off");
    }
    Server::start(&program(&["tests/c/lint.c"]), &args)
}

/// All that is answered, whatever comes of it.
fn ask(server: &Server, sentence: &str) -> String {
    let mut client = TcpStream::connect(server.address()).expect("connect");
    client.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    // One waits for octets that do not come.
    let body = if sentence == "read-would-block" { "" } else { "12345" };
    let head = "POST /some/path?a=b HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5";
    client.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).expect("ask");
    let mut answer = [0; 16 * 1024];
    let first = client.read(&mut answer).unwrap_or(0);
    let _ = client.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    String::from_utf8_lossy(&[&answer[..first], &rest].concat()).into_owned()
}

/// The names that lint has told.
fn told(log: &str) -> BTreeSet<&str> {
    let lines = log.lines().filter_map(|line| line.split_once("lint: "));
    lines.filter_map(|(_, rest)| Some(rest.split_once(": ")?.0)).collect()
}

fn sentences() -> Vec<String> {
    let mut list = Command::new(program(&["tests/c/lint.c"]));
    let list = list.arg("--list").output().expect("run it");
    String::from_utf8(list.stdout).expect("names").lines().map(str::to_owned).collect()
}

/// Each sentence that lint knows is broken by somebody.
#[test]
fn every_sentence_is_broken() {
    let text = fs::read_to_string(support::root().join("docs/lint.md")).expect("docs/lint.md");
    let documented: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(sentences(), documented);
    assert!(documented.len() >= 30, "{}", documented.len());
}

#[test]
fn a_breach_is_told_by_its_name_and_no_other() {
    let mut wrong = Vec::new();
    for sentence in sentences() {
        let server = start(&sentence, &[]);
        let answers = [ask(&server, &sentence), ask(&server, &sentence)];
        let ended = server.stop();
        let told = told(&ended.stderr);
        if told != BTreeSet::from([sentence.as_str()]) {
            wrong.push(format!("{sentence}: {told:?}\n{}\n{answers:.80?}", ended.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_is_right_passes() {
    for more in [&[][..], &["fatal"]] {
        let server = start("good", more);
        for _ in 0..2 {
            let answer = ask(&server, "good");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("written\n") && answer.matches("good\n").count() == 2);
            assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
        }
        let ended = server.stop();
        assert_eq!(ended.stderr, "", "{ended:?}");
    }
}

#[test]
fn what_a_handle_says_is_seen() {
    let server = start("by-handle", &[]);
    ask(&server, "by-handle");
    let ended = server.stop();
    let expected = BTreeSet::from(["header-name-underscore", "content-length-short"]);
    assert_eq!(told(&ended.stderr), expected, "{ended:?}");
}

/// What would have been a 200 is a 500, or is cut when it has begun.
#[test]
fn a_breach_is_fatal() {
    for sentence in [
        "start-null",
        "content-type-unwanted",
        "header-name-underscore",
        "header-status",
        "content-length-unwanted",
        "chunk-flags",
        "body-unwanted",
        "body-reserved",
        "environ-changed",
        "read-arguments",
        "read-after-end",
        "defer-twice",
        "environ-scheme",
        "wrong-thread",
    ] {
        let server = start(sentence, &["fatal"]);
        let answer = ask(&server, sentence);
        assert!(answer.starts_with("HTTP/1.1 500 "), "{sentence}: {answer}");
        let ended = server.stop();
        assert_eq!(told(&ended.stderr), BTreeSet::from([sentence]), "{ended:?}");
    }
    let server = start("write-in-next", &["fatal"]);
    let answer = ask(&server, "write-in-next");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    server.stop();
    let server = start("hint-after-body", &["fatal"]);
    let answer = ask(&server, "hint-after-body");
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    server.stop();
}
