//! The arbiter of workers that are threads: what it does when they end, fail, panic or hang.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gateway::arbiter::{Arbiter, Main, Settings, State, StopMode, Turn, Way, WorkerContext};
use gateway::base::error::{Error, Kind};
use gateway::base::log::{Level, Logger, Sink};
use gateway::base::time::LocalTime;
use gateway::sys::listen::{Address, Listening, listen};
use gateway::sys::sock::{accept, wait_readable};

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an arbiter said.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn log(&self) -> Logger {
        let said = Arc::clone(&self.0);
        let sink = Sink::Callback(Box::new(move |record| {
            said.lock().unwrap().push(format!("{:?}: {}", record.level, record.message));
        }));
        Logger::new(Level::Debug, || LocalTime::utc(0), sink)
    }

    fn lines(&self, text: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

fn socket() -> Arc<Listening> {
    let address = Address::Tcp("127.0.77.1:0".parse().unwrap());
    Arc::new(listen(&address, 64, false, None).unwrap())
}

fn arbiter(workers: usize, said: &Said, main: Main) -> Arbiter {
    let graceful_timeout = Duration::from_secs(1);
    let settings = Settings { way: Way::Thread, workers, graceful_timeout, ..Settings::default() };
    Arbiter::new(settings, vec![socket()], main, said.log()).unwrap()
}

/// A worker that does nothing until it is told to stop.
fn wait(context: &WorkerContext<'_>) -> i32 {
    context.ready();
    while context.stop_mode().is_none() {
        wait_readable(context.stop_fd(), -1).unwrap();
    }
    0
}

/// Turns as a host does, until something is so.
fn turn_until(arbiter: &mut Arbiter, what: &str, mut is: impl FnMut(&Arbiter) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut wait_ms = 0;
    while !is(arbiter) {
        assert!(Instant::now() < deadline, "never: {what}");
        let wait_at_most = if wait_ms < 0 { 10 } else { wait_ms.min(10) };
        wait_readable(arbiter.fd(), wait_at_most).unwrap();
        match arbiter.turn(0).unwrap() {
            Turn::Wait(next) => wait_ms = next,
            Turn::Stopped => assert!(is(arbiter), "stopped before: {what}"),
        }
    }
}

fn all_ready(arbiter: &Arbiter) -> bool {
    arbiter.board().iter().all(|slot| slot.state() == State::Ready)
}

fn stop(arbiter: &mut Arbiter, how: StopMode) -> Result<(), Error> {
    arbiter.handle().stop(how);
    arbiter.run()
}

/// What applications wait at that do not return.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

#[test]
fn a_worker_that_ends_or_panics_is_replaced() {
    let said = Said::default();
    let ends = Arc::new(AtomicBool::new(false));
    let news = Arc::clone(&ends);
    let main = Box::new(move |context: &WorkerContext<'_>| {
        assert_eq!((context.pid(), context.generation()), (0, 0));
        match context.age() {
            // The first of both places.
            age @ 0..2 => {
                context.ready();
                while !news.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                // Not the hook's output, which is the process's.
                if age == 0 { 7 } else { std::panic::resume_unwind(Box::new("a bug")) }
            }
            _ => wait(context),
        }
    });
    let mut arbiter = arbiter(2, &said, main);
    arbiter.start().unwrap();
    turn_until(&mut arbiter, "the first two are ready", all_ready);
    ends.store(true, Ordering::Release);
    turn_until(&mut arbiter, "both have replacements", |arbiter| {
        said.lines("Booting worker in thread").len() == 4 && all_ready(arbiter)
    });
    let mut codes = said.lines("exited with code");
    codes.sort_unstable();
    let expected = ["(thread:0) exited with code 7", "(thread:1) exited with code 70"];
    assert!(codes.iter().zip(expected).all(|(line, end)| line.ends_with(end)), "{codes:?}");
    assert_eq!(codes.len(), 2);
    stop(&mut arbiter, StopMode::Graceful).unwrap();
    assert!(arbiter.board().iter().all(|slot| slot.state() == State::Empty));
}

/// Replacements that fail to boot come ever later, and disturb nobody.
#[test]
fn failures_to_boot_back_off() {
    let said = Said::default();
    let main = Box::new(|context: &WorkerContext<'_>| match (context.slot(), context.age()) {
        (1, 1) => {
            context.ready();
            0
        }
        (1, 2..5) => 3,
        _ => wait(context),
    });
    let mut arbiter = arbiter(2, &said, main);
    arbiter.start().unwrap();
    turn_until(&mut arbiter, "the fifth stays", |arbiter| {
        said.lines("Booting worker in thread: 1").len() == 5 && all_ready(arbiter)
    });
    let delays: Vec<u64> = said
        .lines("Worker failed to boot; the next attempt is in ")
        .iter()
        .map(|line| line.split(' ').rev().nth(1).unwrap().parse().unwrap())
        .collect();
    let [first, second, third] = delays[..] else { panic!("{delays:?}") };
    assert!((100..120).contains(&first) && (200..240).contains(&second), "{delays:?}");
    assert!((400..480).contains(&third), "{delays:?}");
    assert_eq!(said.lines("Booting worker in thread: 0").len(), 1);
    stop(&mut arbiter, StopMode::Quick).unwrap();
}

#[test]
fn a_first_worker_that_does_not_boot_stops_everything() {
    for (code, status, message) in [
        (3, 3, "Worker failed to boot."),
        (4, 4, "App failed to load."),
        (gateway::sys::proc::PANIC_STATUS, 3, "Worker failed to boot."),
    ] {
        let said = Said::default();
        let main = Box::new(move |context: &WorkerContext<'_>| match context.slot() {
            1 => code,
            _ => wait(context),
        });
        let mut arbiter = arbiter(3, &said, main);
        let error = arbiter.run().unwrap_err();
        assert_eq!((error.kind(), error.exit_status()), (Kind::App, status));
        assert_eq!(error.message(), message);
        assert_eq!(said.lines("exited with code").len(), 1, "the others ended well");
    }
}

/// Nobody is refused while one of the workers still accepts, and the socket is closed when the last
/// one and the arbiter have closed it: each has a descriptor of its own.
#[test]
fn a_worker_closes_its_own_sockets() {
    let said = Said::default();
    let (turn, addresses) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (its_turn, known) = (Arc::clone(&turn), Arc::clone(&addresses));
    let main = Box::new(move |context: &WorkerContext<'_>| {
        let listening = &context.listeners()[0];
        known.lock().unwrap().push((listening.fd(), listening.local().to_owned()));
        wait(context);
        // One after the other.
        while its_turn.load(Ordering::Acquire) != context.slot() as u32 + 1 {
            std::thread::yield_now();
        }
        if context.slot() == 1 {
            // The other's are closed.
            wait_readable(listening.fd(), -1).unwrap();
            accept(listening.fd()).unwrap();
        }
        listening.close();
        0
    });
    let mut arbiter = arbiter(2, &said, main);
    arbiter.start().unwrap();
    turn_until(&mut arbiter, "both are ready", all_ready);
    let known = addresses.lock().unwrap().clone();
    assert_ne!(known[0].0, known[1].0);
    let address: SocketAddr = known[0].1.parse().unwrap();
    assert_eq!(known[0].1, known[1].1);

    arbiter.handle().stop(StopMode::Graceful);
    turn.store(1, Ordering::Release);
    turn_until(&mut arbiter, "the first has ended", |arbiter| {
        arbiter.board()[0].state() == State::Empty
    });
    TcpStream::connect(address).expect("the second one listens");
    turn.store(2, Ordering::Release);
    arbiter.run().unwrap();
    TcpStream::connect(address).unwrap_err();
}

/// The order that it hears never becomes less urgent.
#[test]
fn a_worker_hears_what_is_more_urgent() {
    let said = Said::default();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let main = Box::new(move |context: &WorkerContext<'_>| {
        context.ready();
        loop {
            wait_readable(context.stop_fd(), -1).unwrap();
            let how = context.stop_mode();
            hears.lock().unwrap().extend(how);
            if how == Some(StopMode::Quick) {
                assert_eq!(context.board().state(), State::Stopping);
                return 0;
            }
        }
    });
    let mut arbiter = arbiter(1, &said, main);
    arbiter.start().unwrap();
    turn_until(&mut arbiter, "it is ready", all_ready);
    // After graceful_timeout it is told to stop at once: a thread cannot be killed.
    stop(&mut arbiter, StopMode::Graceful).unwrap();
    assert_eq!(*heard.lock().unwrap(), [StopMode::Graceful, StopMode::Quick]);
    assert_eq!(said.lines("threads are not killed").len(), 1);
}

#[test]
fn threads_that_hang_are_counted_and_left_behind() {
    let said = Said::default();
    let gate = Arc::new(Gate::default());
    let ended = Arc::new(AtomicU32::new(0));
    let (its_gate, its_end) = (Arc::clone(&gate), Arc::clone(&ended));
    let main = Box::new(move |context: &WorkerContext<'_>| {
        context.ready();
        if context.slot() == 1 {
            context.board().set_held_up(4);
        }
        if context.slot() < 2 {
            its_gate.pass();
            // The board is still there.
            context.board().beat();
        }
        its_end.fetch_add(1, Ordering::AcqRel);
        0
    });
    let mut arbiter = arbiter(2, &said, main);
    arbiter.start().unwrap();
    turn_until(&mut arbiter, "all are ready", all_ready);
    let error = stop(&mut arbiter, StopMode::Kill).unwrap_err();
    assert_eq!((error.kind(), error.exit_status()), (Kind::Timeout, 1));
    assert!(error.message().contains(": 5 threads did not end in time"), "{error}");
    assert_eq!(said.lines("does not end").len(), 2);
    // They are not its any more.
    drop(arbiter);
    assert_eq!(said.lines("does not end").len(), 2);
    gate.open();
    let deadline = Instant::now() + PATIENCE;
    while ended.load(Ordering::Acquire) < 2 {
        assert!(Instant::now() < deadline, "they do not end");
        std::thread::yield_now();
    }
}

/// Dropped as it runs: told, waited for, and what hangs is left behind.
#[test]
fn drop_joins_those_that_end() {
    let said = Said::default();
    let gate = Arc::new(Gate::default());
    let (its_gate, joined) = (Arc::clone(&gate), Arc::new(AtomicBool::new(false)));
    let its_end = Arc::clone(&joined);
    let main = Box::new(move |context: &WorkerContext<'_>| {
        let status = wait(context);
        if context.slot() == 0 {
            std::thread::sleep(Duration::from_millis(100));
            its_end.store(true, Ordering::Release);
        } else {
            its_gate.pass();
        }
        status
    });
    let mut arbiter = arbiter(2, &said, main);
    let handle = arbiter.handle();
    arbiter.start().unwrap();
    drop(arbiter);
    assert!(joined.load(Ordering::Acquire));
    assert_eq!(said.lines("1 thread did not end in time").len(), 1);
    assert!(handle.wait(Some(Duration::ZERO)).is_some());
    gate.open();
}

/// They share nothing: one ends while the other serves.
#[test]
fn two_arbiters_in_a_process() {
    let said = Said::default();
    let (mut one, mut other) =
        (arbiter(2, &said, Box::new(wait)), arbiter(3, &said, Box::new(wait)));
    one.start().unwrap();
    other.start().unwrap();
    turn_until(&mut other, "all are ready", all_ready);
    stop(&mut other, StopMode::Graceful).unwrap();
    turn_until(&mut one, "all are ready", all_ready);
    assert_eq!(one.turn(0).unwrap(), Turn::Wait(-1), "nothing to do: sleep for ever");
    stop(&mut one, StopMode::Quick).unwrap();
    assert_eq!(one.turn(0).unwrap(), Turn::Stopped);
    assert_eq!(one.start().unwrap_err().kind(), Kind::State);
}
