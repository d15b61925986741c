//! A host with an arbiter: `tests/c/arbiter.c`, whose numbers are in a file.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Ended, SIGTERM, Server, program, support, until};

/// What a worker is.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub options: &'static [&'static str],
    /// It can be stopped and killed alone.
    pub is_process: bool,
}

pub const FORK: Model = Model { options: &["worker_model=fork"], is_process: true };
pub const EXEC: Model = Model { options: &["worker_model=exec", "host=threads"], is_process: true };
pub const THREADS: Model =
    Model { options: &["worker_model=threads", "host=threads"], is_process: false };

/// The numbers of `tests/c/arbiter.c`.
const NUMBERS: [&str; 20] = [
    "boot", "open", "obeyed", "reloads", "failures", "spawned", "readies", "exits", "workers",
    "most", "ready", "serving", "least", "target", "inside", "ints", "reaped", "wrong", "threads",
    "turns",
];

/// A running host.
pub struct Host {
    pub server: Server,
    numbers: PathBuf,
    pub log: PathBuf,
    told: i32,
}

impl Host {
    /// Returns when all of its first workers are ready.
    pub fn start(model: Model, workers: i32, options: &[&str]) -> Host {
        let workers_are = format!("workers={workers}");
        let host = Host::launch(model, &[&["signals=1", &workers_are], options].concat());
        until("the first workers are ready", || host.number("least") == workers);
        host
    }

    /// The same without waiting, and nothing by itself.
    pub fn launch(model: Model, options: &[&str]) -> Host {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = support::scratch_dir().join(format!("arbiter-{}-{count}", std::process::id()));
        let [numbers, log] = ["numbers", "log"].map(|end| path.with_extension(end));
        fs::write(&numbers, [0; 4 * NUMBERS.len()]).unwrap();
        let first = [numbers.to_str().unwrap(), "bind={}", &format!("errorlog={}", log.display())];
        let args = [&first, model.options, options].concat();
        let server = Server::launch(&program(&["tests/c/arbiter.c"]), &args);
        Host { server, numbers, log, told: 0 }
    }

    pub fn number(&self, name: &str) -> i32 {
        let at = 4 * NUMBERS.iter().position(|it| *it == name).unwrap();
        let octets = fs::read(&self.numbers).unwrap();
        i32::from_ne_bytes(octets[at..at + 4].try_into().unwrap())
    }

    /// Waits until it is so.
    #[track_caller]
    pub fn until(&self, name: &str, value: i32) {
        until(&format!("{name} {value}"), || self.number(name) == value);
    }

    /// Tells it a line, and waits until it has obeyed.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        self.server.stdin(&format!("{line}\n"));
        self.told += 1;
        self.until("obeyed", self.told);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it gracefully: it must be well, and leave its process as it was.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.server.signal(SIGTERM);
        self.end(0)
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(self, status: i32) -> Ended {
        let (wrong, log) = (self.number("wrong"), self.log());
        let Host { server, numbers, log: path, .. } = self;
        let ended = server.end();
        assert_eq!((ended.status, wrong), (Some(status), 0), "{ended:?}\n{log}");
        assert!(!ended.stdout.contains("changed: "), "{ended:?}");
        [numbers, path].iter().for_each(|path| drop(fs::remove_file(path)));
        ended
    }
}

/// The lines of its standard output that begin so, without that.
pub fn said<'a>(ended: &'a Ended, with: &str) -> Vec<&'a str> {
    ended.stdout.lines().filter_map(|line| line.strip_prefix(with)).collect()
}
