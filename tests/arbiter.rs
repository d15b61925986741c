//! What an arbiter promises, kept by workers that are processes and by workers that are threads:
//! each scenario runs once per worker model, against a compiled host (`tests/c/arbiter.c`), under
//! clients that count every request that is not answered as it should be.
//!
//! Where a model cannot what a scenario asks (a thread cannot be killed), the scenario says so, and
//! checks what is documented instead.

mod harness;

#[path = "arbiter/changes.rs"]
mod changes;
#[path = "arbiter/ends.rs"]
mod ends;
#[path = "arbiter/faults.rs"]
mod faults;
#[path = "arbiter/hosts.rs"]
mod hosts;
#[path = "arbiter/signals.rs"]
mod signals;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use harness::{Ended, PATIENCE, Server, program, support};

const SIGHUP: i32 = 1;
const SIGUSR1: i32 = 10;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;
const SIGWINCH: i32 = 28;

/// What a worker is.
#[derive(Clone, Copy, Debug)]
struct Model {
    options: &'static [&'static str],
    /// It can be stopped and killed alone.
    is_process: bool,
}

const FORK: Model = Model { options: &["worker_model=fork"], is_process: true };
const THREADS: Model =
    Model { options: &["worker_model=threads", "host=threads"], is_process: false };

/// Each scenario as a test of each model.
macro_rules! run {
    ($($module:ident: $model:ident)*; $scenarios:tt) => {
        $(run!(@ $module $model $scenarios);)*
    };
    (@ $module:ident $model:ident { $($part:ident: $($scenario:ident)*;)* }) => {
        mod $module {
            $($(#[test] fn $scenario() { crate::$part::$scenario(crate::$model) })*)*
        }
    };
}

run! {
    fork: FORK
    threads: THREADS;
    {
        changes:
            reloads_lose_no_request
            workers_are_added_and_the_oldest_go_first
            a_burst_of_signals_leaves_it_in_order
            what_is_asked_for_by_calls_adds_up
            no_more_than_max_recycling_are_away;
        ends:
            term_answers_what_is_there_and_what_waits
            nothing_is_left_when_the_arbiter_is_killed
            first_workers_that_cannot_boot_end_it;
        faults:
            a_killed_worker_loses_its_own_requests_alone
            workers_that_stop_or_spin_are_replaced
            a_later_failure_to_boot_disturbs_nobody;
        hosts:
            children_of_the_host_keep_their_statuses
            a_host_that_reaps_tells_of_its_children
            without_signals_nothing_of_the_process_changes;
        signals:
            the_table_of_the_manual_is_true;
    }
}

/// The numbers of `tests/c/arbiter.c`.
const NUMBERS: [&str; 18] = [
    "boot", "open", "obeyed", "reloads", "failures", "spawned", "readies", "exits", "workers",
    "most", "serving", "least", "target", "inside", "ints", "reaped", "wrong", "threads",
];

/// A running host.
struct Host {
    server: Server,
    numbers: PathBuf,
    log: PathBuf,
    told: i32,
}

impl Host {
    /// Returns when all of its first workers are ready.
    fn start(model: Model, workers: i32, options: &[&str]) -> Host {
        let workers_are = format!("workers={workers}");
        let host = Host::launch(model, &[&["signals=1", &workers_are], options].concat());
        until("the first workers are ready", || host.number("least") == workers);
        host
    }

    /// The same without waiting, and nothing by itself.
    fn launch(model: Model, options: &[&str]) -> Host {
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

    fn number(&self, name: &str) -> i32 {
        let at = 4 * NUMBERS.iter().position(|it| *it == name).unwrap();
        let octets = fs::read(&self.numbers).unwrap();
        i32::from_ne_bytes(octets[at..at + 4].try_into().unwrap())
    }

    /// Waits until it is so.
    #[track_caller]
    fn until(&self, name: &str, value: i32) {
        until(&format!("{name} {value}"), || self.number(name) == value);
    }

    /// Tells it a line, and waits until it has obeyed.
    #[track_caller]
    fn tell(&mut self, line: &str) {
        self.server.stdin(&format!("{line}\n"));
        self.told += 1;
        self.until("obeyed", self.told);
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it gracefully: it must be well, and leave its process as it was.
    #[track_caller]
    fn stop(self) -> Ended {
        self.server.signal(harness::SIGTERM);
        self.end(0)
    }

    /// Waits for its end.
    #[track_caller]
    fn end(self, status: i32) -> Ended {
        let (wrong, log) = (self.number("wrong"), self.log());
        let Host { server, numbers, log: path, .. } = self;
        let ended = server.end();
        assert_eq!((ended.status, wrong), (Some(status), 0), "{ended:?}\n{log}");
        assert!(!ended.stdout.contains("changed: "), "{ended:?}");
        [numbers, path].iter().for_each(|path| drop(fs::remove_file(path)));
        ended
    }
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The lines of its standard output that begin so, without that.
fn said<'a>(ended: &'a Ended, with: &str) -> Vec<&'a str> {
    ended.stdout.lines().filter_map(|line| line.strip_prefix(with)).collect()
}
