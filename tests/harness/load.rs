//! Clients that ask on and on, and count every request that is not answered as it should be.
//!
//! Each request has a number, and the first line of its answer is `NAME PID NUMBER`: who answered
//! what.  Everything else is a failure: a connection that is refused or reset, an answer that is
//! cut, another status, another body.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::client::Client;

/// Octets that follow the first line of `/big`.
pub const BIG: usize = 65_536;

/// What a client asks for, again and again.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    pub path: &'static str,
    /// On a connection that it keeps as long as the server does.
    pub keeps: bool,
}

/// Several of each kind.
pub const MIXED: [Habit; 6] = [
    Habit { path: "/", keeps: true },
    Habit { path: "/", keeps: true },
    Habit { path: "/slow", keeps: true },
    Habit { path: "/slow", keeps: true },
    Habit { path: "/", keeps: false },
    Habit { path: "/", keeps: false },
];

/// A request that was not answered as it should be.
#[derive(Clone, Debug)]
pub struct Failure {
    pub text: String,
    /// The process that had answered on this connection before.
    pub of: Option<i32>,
}

#[derive(Default)]
pub struct Load {
    ends: AtomicBool,
    next: AtomicU64,
    answers: AtomicU64,
    failures: Mutex<Vec<Failure>>,
    /// The first words of the answers: a name and a process.
    answered: Mutex<BTreeSet<String>>,
}

impl Load {
    /// While `body` runs.
    pub fn during(address: &str, body: impl FnOnce(&Load)) -> Load {
        Load::of(address, &MIXED, body)
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
                scope.spawn(|| load.ask_on(address, *habit));
            }
            let end = End(&load);
            body(&load);
            drop(end);
        });
        load
    }

    fn ask_on(&self, address: &str, habit: Habit) {
        let mut kept: Option<(Client, i32)> = None;
        while !self.ends.load(Ordering::Relaxed) {
            let (client, of) = match kept.take() {
                Some((client, of)) => (Ok(client), Some(of)),
                None => (Client::try_connect(address), None),
            };
            match client.and_then(|mut client| Ok((self.ask(&mut client, habit)?, client))) {
                Ok(((worker, is_kept), client)) => {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    kept = is_kept.then_some((client, worker));
                }
                Err(text) => self.failures.lock().unwrap().push(Failure { text, of }),
            }
            // A client thinks for a moment, in which its connection is idle.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The process that answered, and whether the connection is kept.
    fn ask(&self, client: &mut Client, habit: Habit) -> Result<(i32, bool), String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let Habit { path, keeps } = habit;
        let close = if keeps { "" } else { "Connection: close\r\n" };
        if !client.try_send(format!("GET {path}?{number} HTTP/1.1\r\nHost: x\r\n{close}\r\n")) {
            return Err("the request was not taken".to_owned());
        }
        let response = client.try_response("GET")?;
        let is_kept = keeps && response.keeps_alive();
        let text = String::from_utf8_lossy(&response.body);
        let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let words: Vec<_> = line.split(' ').collect();
        let more = if path == "/big" { BIG } else { 0 };
        let is_right = rest.len() == more && rest.bytes().all(|octet| octet == b'x');
        match words[..] {
            [name, pid, its] if response.status == 200 && its == number && is_right => {
                let mut answered = self.answered.lock().unwrap();
                if !answered.contains(&format!("{name} {pid}")) {
                    answered.insert(format!("{name} {pid}"));
                }
                Ok((pid.parse().map_err(|_| format!("of whom? {line:?}"))?, is_kept))
            }
            _ => Err(format!("request {number}: another answer: {response:?}")),
        }
    }

    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Who answered, as `NAME PID`.
    pub fn answered(&self) -> BTreeSet<String> {
        self.answered.lock().unwrap().clone()
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
