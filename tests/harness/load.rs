//! Clients that ask on and on, while something is done to the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Waits for a condition.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One answer: its body, and whether the connection is kept.
pub fn answer(stream: &mut TcpStream) -> Result<(String, bool), String> {
    let mut octets = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|n| n.parse().ok()).ok_or("no length")?;
            if !head.starts_with("http/1.1 200 ") {
                return Err(text);
            }
            if body.len() >= length {
                return Ok((body.to_owned(), !head.contains("connection: close")));
            }
        }
        match stream.read(&mut piece) {
            Ok(0) => return Err(format!("the end after {text:?}")),
            Ok(n) => octets.extend(&piece[..n]),
            Err(error) => return Err(format!("{error} after {text:?}")),
        }
    }
}

pub fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Clients that ask on and on, on connections that they keep and on short ones, and what failed.
pub struct Load {
    ends: AtomicBool,
    pub answers: AtomicU64,
    failures: Mutex<Vec<String>>,
    pub bodies: Mutex<Vec<String>>,
}

impl Load {
    fn new() -> Load {
        Load {
            ends: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            failures: Mutex::default(),
            bodies: Mutex::default(),
        }
    }

    /// While `body` runs.
    pub fn during(address: &str, body: impl FnOnce(&Load)) -> Load {
        struct End<'a>(&'a Load);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.ends.store(true, Ordering::Relaxed);
            }
        }
        let load = Load::new();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| load.keep(address, "/"));
                scope.spawn(|| load.keep(address, "/slow"));
                scope.spawn(|| load.come_and_go(address));
            }
            let end = End(&load);
            body(&load);
            drop(end);
        });
        load
    }

    fn keep(&self, address: &str, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut kept: Option<TcpStream> = None;
        while !self.ends.load(Ordering::Relaxed) {
            let answered =
                kept.take().map_or_else(|| connect(address), Ok).and_then(|mut stream| {
                    stream
                        .write_all(request.as_bytes())
                        .map_err(|error| format!("send: {error}"))?;
                    answer(&mut stream).map(|(body, is_kept)| (body, is_kept.then_some(stream)))
                });
            kept = self.take(answered);
            // A client thinks for a moment, in which its connection is idle.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn come_and_go(&self, address: &str) {
        let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        while !self.ends.load(Ordering::Relaxed) {
            let answered = connect(address).and_then(|mut stream| {
                stream.write_all(request.as_bytes()).map_err(|error| format!("send: {error}"))?;
                answer(&mut stream).map(|(body, _)| (body, None))
            });
            self.take(answered);
        }
    }

    fn take(&self, answered: Result<(String, Option<TcpStream>), String>) -> Option<TcpStream> {
        match answered {
            Ok((body, kept)) => {
                self.answers.fetch_add(1, Ordering::Relaxed);
                let mut bodies = self.bodies.lock().unwrap();
                if !bodies.contains(&body) {
                    bodies.push(body);
                }
                kept
            }
            Err(failure) => {
                self.failures.lock().unwrap().push(failure);
                None
            }
        }
    }

    pub fn assert_no_failure(&self) {
        let failures = self.failures.lock().unwrap();
        let answers = self.answers.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {answers}: {:?}", failures.len(), failures.first());
        assert!(answers > 0);
    }
}
