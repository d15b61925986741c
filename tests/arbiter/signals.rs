//! The signal table of `docs/operations.md`, row by row: what a cell says in bold is tried.

use std::path::Path;

use super::*;
use crate::harness::client::Client;
use crate::harness::load::Load;
use crate::harness::{SIGKILL, SIGTERM, kill};

/// The signal, and what it does to the arbiter and to a worker.
type Row = (i32, [String; 2]);

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(support::root().join("docs/operations.md")).unwrap();
    let table = text.lines().skip_while(|line| !line.starts_with("| signal |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [signal, arbiter, worker] = cells[..] else { panic!("{row}") };
        (number(signal), [arbiter, worker].map(bold))
    })
    .collect()
}

/// What stands between the first two pairs of asterisks.
fn bold(cell: &str) -> String {
    cell.split("**").nth(1).unwrap_or_else(|| panic!("{cell}")).to_owned()
}

fn number(signal: &str) -> i32 {
    match signal {
        "HUP" => SIGHUP,
        "INT" => 2,
        "QUIT" => 3,
        "ABRT" => 6,
        "KILL" => SIGKILL,
        "USR1" => SIGUSR1,
        "USR2" => 12,
        "PIPE" => 13,
        "TERM" => SIGTERM,
        "CHLD" => 17,
        "TTIN" => SIGTTIN,
        "TTOU" => SIGTTOU,
        "WINCH" => SIGWINCH,
        other => panic!("{other}?"),
    }
}

/// Threads have no table of their own.
pub(crate) fn the_table_of_the_manual_is_true(model: Model) {
    let rows = rows();
    assert_eq!(rows.len(), 13);
    // Each has a host of its own, and most of them wait.
    for some in rows.chunks(4) {
        std::thread::scope(|scope| {
            for (signal, [arbiter, worker]) in some {
                scope.spawn(move || {
                    eprintln!("signal {signal}: {arbiter}; {worker}");
                    to_the_arbiter(model, *signal, arbiter);
                    if model.is_process {
                        to_a_worker(model, *signal, worker);
                    }
                });
            }
        });
    }
}

/// A host with two workers, and a client of whose request a worker has a half.
struct Tried {
    host: Host,
    access: PathBuf,
    client: Client,
    worker: i32,
}

fn tried(model: Model) -> Tried {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let access = support::scratch_dir().join(format!("table-{}-{count}", std::process::id()));
    let host = Host::start(model, 2, &[&format!("accesslog={}", access.display())]);
    let mut client = host.server.connect();
    let text = client.get("/").text();
    let worker = text.split(' ').nth(1).unwrap().parse().unwrap();
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nwor");
    Tried { host, access, client, worker }
}

impl Tried {
    /// The other half of the request is taken, and answered.
    #[track_caller]
    fn finish_request(&mut self) {
        self.client.send("ds");
        let response = self.client.response("POST");
        assert_eq!((response.status, response.text().ends_with("words")), (200, true));
    }

    #[track_caller]
    fn request_is_cut(&mut self) {
        assert!(self.client.try_response("POST").is_err());
    }

    /// Nothing else than what was asked for has happened.
    #[track_caller]
    fn stop(self, numbers: &[(&str, i32)]) {
        for (name, value) in numbers {
            assert_eq!(self.host.number(name), *value, "{name}");
        }
        let _ = fs::remove_file(&self.access);
        self.host.stop();
    }

    /// Logs are opened by somebody: the file that was moved is there again.
    #[track_caller]
    fn is_opened_after(&self, signal: i32, pid: i32) {
        let moved = self.access.with_extension("1");
        fs::rename(&self.access, &moved).unwrap();
        kill(pid, signal);
        until("there is a new one", || self.access.exists());
        fs::remove_file(moved).unwrap();
    }
}

fn to_the_arbiter(model: Model, signal: i32, what: &str) {
    let mut it = tried(model);
    let (pid, workers) = (it.host.server.pid(), it.host.server.workers());
    match what {
        "reloads" => {
            it.host.server.signal(signal);
            // No more than one more: the others come when the old ones have gone.
            until("one is ready", || it.host.number("readies") >= 3);
            it.finish_request();
            it.host.until("reloads", 1);
            it.stop(&[("spawned", 4), ("exits", 2), ("most", 3)]);
        }
        "stops gracefully" => {
            it.host.server.signal(signal);
            until("it has heard", || it.host.log().contains("Shutting down: Master"));
            it.finish_request();
            it.host.end(0);
        }
        "stops quickly" => {
            it.host.server.signal(signal);
            it.request_is_cut();
            it.host.until("ints", 2);
            it.host.end(0);
        }
        "one worker more" => {
            it.host.server.signal(signal);
            it.host.until("ready", 3);
            it.finish_request();
            it.stop(&[("spawned", 3), ("exits", 0)]);
        }
        "one worker less" => {
            it.host.server.signal(signal);
            it.host.until("target", 1);
            it.finish_request();
            it.host.until("exits", 1);
            it.stop(&[("spawned", 2)]);
        }
        "opens logs again" => {
            fs::remove_file(&it.host.log).unwrap();
            it.is_opened_after(signal, pid);
            until("its own", || it.host.log.exists());
            it.finish_request();
            it.stop(&[("spawned", 2), ("exits", 0)]);
        }
        "ignored" => {
            it.host.server.signal(signal);
            // It has heard that when it has heard the next one.
            it.host.server.signal(SIGTTIN);
            it.host.until("ready", 3);
            it.finish_request();
            it.stop(&[("spawned", 3), ("exits", 0), ("reloads", 0)]);
        }
        "upgrades" => {
            it.host.server.signal(signal);
            it.host.until("readies", 4);
            it.finish_request();
            // tests/upgrade.rs goes on; this one goes back.
            let log = it.host.log();
            let other = log.split("Upgrade: started arbiter (pid:").nth(1).unwrap();
            kill(other.split(')').next().unwrap().parse().unwrap(), SIGTERM);
            until("it has gone", || it.host.log().contains("; this one serves on"));
            it.stop(&[("spawned", 4), ("exits", 2)]);
        }
        "dies" => {
            it.host.server.signal(signal);
            it.request_is_cut();
            let is_there = |pid: &i32| Path::new(&format!("/proc/{pid}")).exists();
            until("nobody is left", || !workers.iter().any(is_there));
            assert_eq!(it.host.server.end().signal, Some(signal));
        }
        other => panic!("{other}: nobody knows how to try that"),
    }
}

fn to_a_worker(model: Model, signal: i32, what: &str) {
    let mut it = tried(model);
    let worker = it.worker;
    match what {
        "ignored" => {
            kill(worker, signal);
            it.finish_request();
            assert!(it.client.get("/").text().starts_with(&format!("arbiter {worker} ")));
            it.stop(&[("spawned", 2), ("exits", 0)]);
        }
        "opens logs again" => {
            it.is_opened_after(signal, worker);
            it.finish_request();
            it.stop(&[("spawned", 2), ("exits", 0)]);
        }
        "leaves gracefully" => {
            kill(worker, signal);
            until("it has heard", || it.host.number("spawned") > 2 || listens_no_more(&it));
            it.finish_request();
            it.host.until("readies", 3);
            it.stop(&[("spawned", 3), ("exits", 1), ("ints", 0)]);
        }
        "leaves quickly" => {
            kill(worker, signal);
            it.request_is_cut();
            it.host.until("readies", 3);
            it.stop(&[("spawned", 3), ("exits", 1), ("ints", 1)]);
        }
        "dies" => {
            kill(worker, signal);
            it.request_is_cut();
            it.host.until("readies", 3);
            it.stop(&[("spawned", 3), ("exits", 1)]);
        }
        other => panic!("{other}: nobody knows how to try that"),
    }
}

/// Whether all short requests are answered by others.
fn listens_no_more(it: &Tried) -> bool {
    let load = Load::during(it.host.server.address(), |load| {
        until("some", || load.answers() > 50);
    });
    load.assert_no_failure();
    !load.answered().contains_key(&format!("arbiter {}", it.worker))
}
