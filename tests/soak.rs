//! A server under all kinds of clients and faults for as long as `SOAK_SECONDS` says (60): nothing
//! may grow, no descriptor may be lost, and no request fails but those of workers that were killed.
//!
//! `make soak`, `make test-soak`; not among those that `cargo test` runs by itself.
//!
//! For each worker model a warm-up, in which everything happens once; then load alone, over which
//! the same workers live; then load and faults, over which the arbiter lives.  Before each look the
//! clients leave, and the descriptors must come back to what they were in the first idle moment.
//! Like is compared with like: a worker with itself, one that was started later with one that was
//! started first and has served the same load.

mod harness;

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use harness::host::{EXEC, FORK, Host, Model, THREADS};
use harness::load::{
    ALL, Failure,
    Habit::{ComesAndGoes, Keeps, Posts},
    Load,
};
use harness::{PATIENCE, SIGCONT, SIGKILL, SIGSTOP, kill, until};

const SIGHUP: i32 = 1;
const SIGUSR1: i32 = 10;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;

const WORKERS: i32 = 2;

/// Of a worker: so many clients of each kind fill both.
const CONNECTIONS: usize = 8;

/// How much a process may use more than before, in KiB.
const GROWTH: i64 = 256;

/// What a killed worker's clients notice later than this is another's fault.
const AFTERMATH: Duration = Duration::from_secs(5);

#[test]
fn soak() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(60.0, |text| text.parse().unwrap());
    let models = [("fork", FORK), ("exec", EXEC), ("threads", THREADS)];
    let each = Duration::from_secs_f64(seconds / models.len() as f64);
    for (name, model) in models {
        println!("{name}: {:.0} s", each.as_secs_f64());
        soak_model(model, each);
    }
}

fn soak_model(model: Model, time: Duration) {
    let connections = format!("worker_connections={CONNECTIONS}");
    // The largest bodies are spooled.  A timer of a connection that has ended is there until its
    // time has come.
    let options = [
        "host=frugal",
        "threads=2",
        &connections,
        "body_buffer=10k",
        "header_timeout=5s",
        "loglevel=error",
    ];
    let mut host = Host::start(model, WORKERS, &options);
    let mut faults = Faults::default();

    // Everything once.
    under_load(&host, |load| {
        pass(time.mul_f32(0.1));
        faults.round(model, &host, load);
    })
    .says("warm-up", &faults);
    let mut warm = settled(model, &mut host, None);
    for round in 0.. {
        let next = settled(model, &mut host, Some(&warm));
        let is_warm = growths(&warm, &next).all(|(_, _, growth)| growth < GROWTH / 4);
        warm = next;
        if is_warm {
            break;
        }
        assert!(round < 10, "it does not stop growing: {warm:?}");
    }

    under_load(&host, |_| pass(time.mul_f32(0.4))).says("load", &Faults::default());
    let after_load = settled(model, &mut host, Some(&warm));
    compare("load", &warm, &after_load);

    faults = Faults::default();
    under_load(&host, |load| {
        let since = Instant::now();
        while since.elapsed() < time.mul_f32(0.5) {
            faults.round(model, &host, load);
        }
    })
    .says("faults", &faults);
    let after_faults = settled(model, &mut host, Some(&warm));
    compare("faults", &warm, &after_faults);

    // Nothing is left of what was asked for.
    host.tell("children");
    assert_eq!((host.number("workers"), host.number("failures")), (WORKERS, 0));
    host.stop();
}

// ---- load and faults ----

struct Loaded(Load);

fn under_load(host: &Host, body: impl FnOnce(&Load)) -> Loaded {
    Loaded(Load::of(host.server.address(), &ALL, body))
}

impl Loaded {
    /// Each failure must be that of a worker that was killed.
    #[track_caller]
    fn says(self, what: &str, faults: &Faults) {
        let failures = self.0.failures();
        println!("  {what}: {} answers, {} failures; {faults}", self.0.answers(), failures.len());
        let strange: Vec<_> = failures.iter().filter(|it| !faults.explain(it)).collect();
        assert!(strange.is_empty(), "{} unexplained: {:?}", strange.len(), strange.first());
        assert!(failures.len() <= faults.killed.len() * ALL.len(), "{failures:?}");
        assert!(self.0.answers() > 0);
    }
}

#[derive(Default)]
struct Faults {
    killed: Vec<(i32, Instant)>,
    stopped: u32,
    reloads: u32,
    scaled: u32,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults { killed, stopped, reloads, scaled } = self;
        let killed = killed.len();
        write!(f, "{killed} killed, {stopped} stopped, {reloads} reloads, {scaled} scaled")
    }
}

impl Faults {
    /// One of each.
    fn round(&mut self, model: Model, host: &Host, load: &Load) {
        let answers = load.answers();
        until("all are at work", || load.answers() > answers + 20);
        if model.is_process {
            let victim = *host.server.workers().first().expect("a worker");
            let readies = host.number("readies");
            self.killed.push((victim, Instant::now()));
            kill(victim, SIGKILL);
            host.until("readies", readies + 1);

            let victim = *host.server.workers().last().expect("a worker");
            kill(victim, SIGSTOP);
            pass(Duration::from_millis(200));
            kill(victim, SIGCONT);
            self.stopped += 1;
        }
        let reloads = host.number("reloads");
        host.server.signal(SIGHUP);
        host.until("reloads", reloads + 1);
        self.reloads += 1;

        host.server.signal(SIGTTIN);
        host.until("target", WORKERS + 1);
        host.until("workers", WORKERS + 1);
        host.server.signal(SIGUSR1);
        host.server.signal(SIGTTOU);
        host.until("workers", WORKERS);
        self.scaled += 1;
    }

    /// Whose request it was is known if it had answered before on that connection.
    fn explain(&self, failure: &Failure) -> bool {
        self.killed.iter().any(|(pid, at)| match failure.of {
            Some(of) => of == *pid,
            None => failure.at >= *at && failure.at < *at + AFTERMATH,
        })
    }
}

fn pass(time: Duration) {
    std::thread::sleep(time);
}

// ---- what a process uses ----

/// A process without clients.
#[derive(Clone, Debug)]
struct Use {
    pid: i32,
    is_worker: bool,
    /// Anonymous memory that is resident: what it has touched.
    anon_kib: i64,
    pss_kib: i64,
    descriptors: usize,
    threads: i64,
}

fn usage(pid: i32, is_worker: bool) -> Use {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let number = |text: &str, name: &str| -> i64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} {text}"))
    };
    let (status, smaps) = (read("status"), read("smaps_rollup"));
    Use {
        pid,
        is_worker,
        anon_kib: number(&status, "RssAnon:"),
        pss_kib: number(&smaps, "Pss:"),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
        threads: number(&status, "Threads:"),
    }
}

/// Whether each worker has answered so often.
fn all_have(host: &Host, load: &Load, times: u64) -> bool {
    let answered = load.answered();
    let is_enough = |pid: &i32| answered.get(&format!("arbiter {pid}")) >= Some(&times);
    load.answers() >= times * WORKERS as u64 && host.server.workers().iter().all(is_enough)
}

/// The arbiter and its workers, after the same load each time, when their clients have left: as
/// many as they take, with bodies that fill all buffers which are kept for the next request.
fn settled(model: Model, host: &mut Host, before: Option<&[Use]>) -> Vec<Use> {
    let address = host.server.address().to_owned();
    let flood = [[Posts; CONNECTIONS], [Keeps("/big"); CONNECTIONS]].concat();
    let load = Load::of(&address, &flood, |load| {
        until("all have served", || all_have(host, load, 1500));
    });
    load.assert_no_failure();
    let workers = if model.is_process { WORKERS as usize } else { 0 };
    until("there are as many as before", || host.server.workers().len() == workers);
    // What malloc keeps for the next burst is not what is used.
    host.tell("trim");
    let load = Load::of(&address, &[ComesAndGoes("/trim"); 6], |load| {
        until("all have given back what they do not use", || all_have(host, load, 1));
    });
    load.assert_no_failure();
    let look = || -> Vec<Use> {
        let mut all = vec![usage(host.server.pid(), false)];
        all.extend(host.server.workers().into_iter().map(|pid| usage(pid, true)));
        all
    };
    let counts =
        |all: &[Use]| all.iter().map(|it| (it.descriptors, it.threads)).collect::<Vec<_>>();
    let (mut last, mut same) = (look(), 0);
    let since = Instant::now();
    // The first time until nothing changes any more, then until it is as it was.
    loop {
        pass(Duration::from_millis(20));
        let now = look();
        same = if counts(&now) == counts(&last) { same + 1 } else { 0 };
        last = now;
        match before {
            None if same > 50 => return last,
            Some(before) if counts(&last) == counts(before) => return last,
            _ => assert!(since.elapsed() < PATIENCE, "not idle: {last:?}, before: {before:?}"),
        }
    }
}

/// By how much each process uses more than one that is like it: than itself, or, if it came later,
/// than the largest of the first.
fn growths<'a>(
    before: &'a [Use],
    after: &'a [Use],
) -> impl Iterator<Item = (&'a Use, &'a Use, i64)> {
    after.iter().map(|now| {
        let its = before.iter().find(|it| it.pid == now.pid).or_else(|| {
            let alike = before.iter().filter(|it| it.is_worker == now.is_worker);
            alike.max_by_key(|it| it.anon_kib)
        });
        let its = its.expect("one like it");
        (its, now, now.anon_kib - its.anon_kib)
    })
}

#[track_caller]
fn compare(what: &str, before: &[Use], after: &[Use]) {
    for (its, now, growth) in growths(before, after) {
        let who = if now.is_worker { "worker" } else { "arbiter" };
        let age = if its.pid == now.pid { "the same" } else { "a later one" };
        println!(
            "  after {what}: {who} {} ({age}): anonymous {} KiB ({growth:+}), PSS {} KiB ({:+}), \
             descriptors {}, threads {}",
            now.pid,
            now.anon_kib,
            now.pss_kib,
            now.pss_kib - its.pss_kib,
            now.descriptors,
            now.threads
        );
        assert!(growth < GROWTH, "{who} {} has grown by {growth} KiB", now.pid);
    }
}
