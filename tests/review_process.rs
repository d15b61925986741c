//! What a review of whole programs found: each test is a case that once went wrong.

mod harness;

use std::net::TcpStream;
use std::process::{Command, Stdio};

use harness::client::Client;
use harness::{SIGTERM, kill, program, until};

/// Nobody reads the log any more: `server | head`.
#[test]
fn a_log_whose_reader_has_gone_stops_nobody() {
    for model in ["worker_model=inline", "worker_model=fork"] {
        let address = format!("127.{}.77.1:8000", 1 + std::process::id() % 250);
        let mut child = Command::new(program(&["tests/c/app.c"]))
            .args([&address, model, "workers=1", "accesslog=-", "errorlog="])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        until("it listens", || TcpStream::connect(&address).is_ok());
        drop(child.stdout.take());
        let mut client = Client::connect(&address);
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 200, "{model}");
        }
        let pid = i32::try_from(child.id()).unwrap();
        kill(pid, SIGTERM);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{model}");
    }
}
