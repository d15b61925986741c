//! Clients that ask on and on, and count every request that is not answered as it should be.
//!
//! Each request has a number, and the first line of its answer is `NAME PID ... NUMBER`: who answered
//! what.  Everything else is a failure: a connection that is refused or reset, an answer that is
//! cut, another status, another body.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::client::{Client, Response};

/// Octets that follow the first line of `/big`.
pub const BIG: usize = 16_384;

/// What a client does again and again.
#[derive(Clone, Copy, Debug)]
pub enum Habit {
    /// Asks for this, on a connection that it keeps as long as the server does.
    Keeps(&'static str),
    /// The same, on a connection for each request.
    ComesAndGoes(&'static str),
    /// Sends several requests at once, on a connection that it keeps.
    Pipelines,
    /// Sends bodies to `/echo`, of 10 to 20,000 octets.
    Posts,
    /// Sends its request in pieces, and takes its time with the answer.
    Dawdles,
    /// Leaves in the middle of its request, or before its answer.
    Leaves,
    /// Sends what is no request, and expects to hear so.
    Misbehaves,
}

use Habit::{ComesAndGoes, Dawdles, Keeps, Leaves, Misbehaves, Pipelines, Posts};

/// Several clients that keep connections, and several that do not.
pub const STEADY: [Habit; 6] =
    [Keeps("/"), Keeps("/"), Keeps("/slow"), Keeps("/slow"), ComesAndGoes("/"), ComesAndGoes("/")];

/// Some of all kinds; for a server with `/echo` and `/big`.
pub const ALL: [Habit; 10] = [
    Keeps("/"),
    Keeps("/slow"),
    Keeps("/big"),
    ComesAndGoes("/"),
    ComesAndGoes("/big"),
    Pipelines,
    Posts,
    Dawdles,
    Leaves,
    Misbehaves,
];

/// A request that was not answered as it should be.
#[derive(Clone, Debug)]
pub struct Failure {
    pub text: String,
    /// The process that had answered on this connection before.
    pub of: Option<i32>,
    pub at: Instant,
}

#[derive(Default)]
pub struct Load {
    ends: AtomicBool,
    next: AtomicU64,
    answers: AtomicU64,
    failures: Mutex<Vec<Failure>>,
    /// The first words of the answers, a name and a process, and how often.
    answered: Mutex<BTreeMap<String, u64>>,
}

/// A connection, and who has answered on it.
struct Kept {
    client: Client,
    of: Option<i32>,
}

impl Load {
    /// While `body` runs.
    pub fn during(address: &str, body: impl FnOnce(&Load)) -> Load {
        Load::of(address, &STEADY, body)
    }

    /// The same, of clients with these habits.
    pub fn of(address: &str, habits: &[Habit], body: impl FnOnce(&Load)) -> Load {
        struct End<'a>(&'a Load);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.ends.store(true, Ordering::Relaxed);
            }
        }
        let load = Load::default();
        std::thread::scope(|scope| {
            for habit in habits {
                scope.spawn(|| load.go_on(address, *habit));
            }
            let end = End(&load);
            body(&load);
            drop(end);
        });
        load
    }

    fn go_on(&self, address: &str, habit: Habit) {
        let mut kept: Option<Kept> = None;
        while !self.ends.load(Ordering::Relaxed) {
            let of = kept.as_ref().and_then(|kept| kept.of);
            let there = kept.take().map_or_else(
                || Client::try_connect(address).map(|client| Kept { client, of: None }),
                Ok,
            );
            match there.and_then(|mut there| Ok((self.act(habit, &mut there)?, there))) {
                Ok((is_kept, there)) => kept = is_kept.then_some(there),
                Err(text) => {
                    let failure = Failure { text, of, at: Instant::now() };
                    self.failures.lock().unwrap().push(failure);
                }
            }
            // A client thinks for a moment, in which its connection is idle.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One request, or several; whether the connection is kept.
    fn act(&self, habit: Habit, kept: &mut Kept) -> Result<bool, String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match habit {
            Keeps(path) => {
                send(kept, request(path, number, ""))?;
                self.hear(kept, number, &rest_of(path))
            }
            ComesAndGoes(path) => {
                send(kept, request(path, number, "Connection: close\r\n"))?;
                self.hear(kept, number, &rest_of(path)).map(|_| false)
            }
            Pipelines => {
                let numbers = number..number + 8;
                self.next.fetch_add(7, Ordering::Relaxed);
                let all = numbers.clone().map(|number| request("/", number, ""));
                send(kept, all.collect::<String>())?;
                for number in numbers {
                    // Those behind an answer with `Connection: close` are not answered.
                    if !self.hear(kept, number, "")? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Posts => {
                let length = [10, 5_000, 20_000][number as usize % 3];
                let body = "words and ".repeat(length / 10);
                let head = format!("POST /echo?{number} HTTP/1.1\r\nHost: x\r\n");
                send(kept, format!("{head}Content-Length: {length}\r\n\r\n{body}"))?;
                self.hear(kept, number, &body)
            }
            Dawdles => {
                let request = request("/big", number, "");
                for piece in request.as_bytes().chunks(20) {
                    send(kept, piece)?;
                    std::thread::sleep(Duration::from_millis(5));
                }
                std::thread::sleep(Duration::from_millis(50));
                self.hear(kept, number, &rest_of("/big"))
            }
            Leaves => {
                let request = request("/big", number, "");
                let length = [7, 30, request.len()][number as usize % 3];
                kept.client.try_send(&request[..length]);
                Ok(false)
            }
            Misbehaves => {
                let (text, status) = match number % 2 {
                    0 => ("GET / HTTP/1.1\r\nHost x\r\n\r\n".to_owned(), 400),
                    _ => (format!("GET /{} HTTP/1.1\r\n", "x".repeat(5000)), 414),
                };
                send(kept, text)?;
                let response = kept.client.try_response("GET")?;
                self.answers.fetch_add(1, Ordering::Relaxed);
                match response.status {
                    it if it == status => Ok(false),
                    _ => Err(format!("not {status}: {response:?}")),
                }
            }
        }
    }

    /// The answer to a request; whether the connection is kept.
    fn hear(&self, kept: &mut Kept, number: u64, rest: &str) -> Result<bool, String> {
        let response = kept.client.try_response("GET")?;
        let worker = self.check(&response, number, rest);
        kept.of = Some(worker.ok_or_else(|| format!("request {number}: {response:?}"))?);
        self.answers.fetch_add(1, Ordering::Relaxed);
        Ok(response.keeps_alive())
    }

    /// Who gave this answer, if it is the right one.
    fn check(&self, response: &Response, number: u64, rest: &str) -> Option<i32> {
        let text = str::from_utf8(&response.body).ok()?;
        let (line, its_rest) = text.split_once('\n')?;
        let (who, its_number) = line.rsplit_once(' ')?;
        if response.status != 200 || its_number != number.to_string() || its_rest != rest {
            return None;
        }
        let mut answered = self.answered.lock().unwrap();
        match answered.get_mut(who) {
            Some(times) => *times += 1,
            None => drop(answered.insert(who.to_owned(), 1)),
        }
        who.split(' ').nth(1)?.parse().ok()
    }

    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Who answered, as `NAME PID`, and how often.
    pub fn answered(&self) -> BTreeMap<String, u64> {
        self.answered.lock().unwrap().clone()
    }

    /// From now on.
    pub fn forget_who_answered(&self) {
        self.answered.lock().unwrap().clear();
    }

    pub fn failures(&self) -> Vec<Failure> {
        self.failures.lock().unwrap().clone()
    }

    #[track_caller]
    pub fn assert_no_failure(&self) {
        let (failures, answers) = (self.failures(), self.answers());
        assert!(failures.is_empty(), "{} of {answers}: {:?}", failures.len(), failures.first());
        assert!(answers > 0);
    }
}

fn request(path: &str, number: u64, header: &str) -> String {
    format!("GET {path}?{number} HTTP/1.1\r\nHost: x\r\n{header}\r\n")
}

fn rest_of(path: &str) -> String {
    "x".repeat(if path == "/big" { BIG } else { 0 })
}

fn send(kept: &mut Kept, octets: impl AsRef<[u8]>) -> Result<(), String> {
    let is_taken = kept.client.try_send(octets);
    is_taken.then_some(()).ok_or_else(|| "the request was not taken".to_owned())
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
