//! The arbiter, seen from outside: programs that run one are started, signalled, killed, and their
//! log and their ends are looked at.

mod process_support;

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gateway::arbiter::{
    Arbiter, Handle, Main, Settings, State, StopMode, Turn, Way, WorkerContext,
};
use gateway::base::error::{Error, Kind};
use gateway::base::log::{Level, Logger, Sink};
use gateway::base::time::LocalTime;
use gateway::sys::listen::{Address, Listening, listen};
use gateway::sys::proc;
use gateway::sys::sock::{accept, wait_readable};
use libc::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM};
use process_support::{
    Args, Program, Workers, alive, blocked, dispositions, eventually, kill, say,
};

fn main() {
    process_support::main(
        &[
            ("a_killed_worker_is_replaced", a_killed_worker_is_replaced),
            ("a_worker_that_leaves_is_replaced", a_worker_that_leaves_is_replaced),
            ("term_lets_workers_finish", term_lets_workers_finish),
            ("int_and_quit_are_quick", int_and_quit_are_quick),
            ("a_worker_that_hangs_is_killed_in_time", a_worker_that_hangs_is_killed_in_time),
            ("a_second_int_is_urgent", a_second_int_is_urgent),
            ("int_after_term_is_urgent", int_after_term_is_urgent),
            ("a_boot_failure_stops_everything", a_boot_failure_stops_everything),
            (
                "a_worker_that_is_killed_at_boot_is_replaced",
                a_worker_that_is_killed_at_boot_is_replaced,
            ),
            (
                "a_boot_failure_after_a_killed_worker_stops_everything",
                a_boot_failure_after_a_killed_worker_stops_everything,
            ),
            ("a_later_boot_failure_disturbs_nobody", a_later_boot_failure_disturbs_nobody),
            ("workers_die_with_the_arbiter", workers_die_with_the_arbiter),
            ("workers_die_with_a_thread_arbiter", workers_die_with_a_thread_arbiter),
            ("foreign_children_keep_their_status", foreign_children_keep_their_status),
            ("an_ignored_sigchld_is_survived", an_ignored_sigchld_is_survived),
            ("signals_are_restored", signals_are_restored),
            ("without_signals_nothing_changes", without_signals_nothing_changes),
            ("threads_forbid_the_first_fork", threads_forbid_the_first_fork),
            ("threads_that_come_later_are_warned_of", threads_that_come_later_are_warned_of),
            ("the_socket_file_is_the_arbiters", the_socket_file_is_the_arbiters),
            ("nobody_connects_to_a_stopping_server", nobody_connects_to_a_stopping_server),
            ("workers_accept_from_one_socket", workers_accept_from_one_socket),
            ("a_worker_has_nothing_of_the_arbiters", a_worker_has_nothing_of_the_arbiters),
            ("stop_and_wait_work_from_another_thread", stop_and_wait_work_from_another_thread),
            ("a_stop_before_the_start_counts", a_stop_before_the_start_counts),
            ("kill_is_at_once", kill_is_at_once),
            ("drop_leaves_nobody", drop_leaves_nobody),
            ("a_copy_in_a_child_kills_nobody", a_copy_in_a_child_kills_nobody),
            ("a_host_can_turn_it", a_host_can_turn_it),
            ("wrong_moments_are_errors", wrong_moments_are_errors),
        ],
        &[
            ("serve", serve),
            ("foreign", foreign),
            ("restored", restored),
            ("unchanged", unchanged),
            ("threads", threads),
            ("later_threads", later_threads),
            ("waiter", waiter),
            ("early", early),
            ("dropped", dropped),
            ("copied", copied),
            ("turned", turned),
            ("wrong", wrong),
        ],
    );
}

// ---- the programs ----

fn log() -> Logger {
    let sink = Sink::Callback(Box::new(|record| {
        assert_eq!(record.target, "arbiter");
        say(&format!("{:?}: {}", record.level, record.message));
    }));
    Logger::new(Level::Debug, || LocalTime::utc(0), sink)
}

fn settings(args: &Args) -> Settings {
    Settings {
        way: Way::Fork,
        workers: args.number("workers", 2) as usize,
        graceful_timeout: Duration::from_millis(args.number("graceful", 60_000)),
        signals: args.number("signals", 1) != 0,
        ..Settings::default()
    }
}

fn listeners(args: &Args) -> Vec<Arc<Listening>> {
    let address = match args.text("unix") {
        Some(path) => Address::Unix(PathBuf::from(path)),
        None => Address::Tcp("127.0.0.1:0".parse().unwrap()),
    };
    vec![Arc::new(listen(&address, 64, false, None).unwrap())]
}

fn arbiter(args: &Args) -> Arbiter {
    let behaviour = args.text("worker").unwrap_or("wait").to_owned();
    let main: Main = Box::new(move |context| worker(&behaviour, context));
    Arbiter::new(settings(args), listeners(args), main, log()).unwrap()
}

/// What a worker of these tests does.
fn worker(behaviour: &str, context: &WorkerContext<'_>) -> i32 {
    let (slot, age, pid) = (context.slot(), context.age(), context.pid());
    assert_eq!(context.board().state(), State::Booting);
    let second = slot == 1;
    match behaviour {
        "exit3" if second => return 3,
        "exit4" if second => return 4,
        "panic" if second => {
            std::panic::set_hook(Box::new(|_| {}));
            panic!("at boot");
        }
        "abort" | "abort3" if second && age == 1 => std::process::abort(),
        "abort3" if second => return 3,
        "kill" if second && age == 1 => kill(pid, SIGKILL),
        "exit7" if second && age == 1 => return 7,
        // The third and fourth worker are replacements.
        "later" if age == 2 || age == 3 => return 3,
        _ => {}
    }
    context.ready();
    assert_eq!((context.board().state(), context.board().pid()), (State::Ready, pid));
    match behaviour {
        "fds" => say(&format!("fds {}", open_files())),
        "mask" => say(&format!("mask {:?}", blocked())),
        _ => {}
    }
    say(&format!("ready {slot} {pid}"));
    match behaviour {
        "hang" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        "spin" => loop {
            std::hint::spin_loop();
        },
        "leave" if second && age == 1 => return 5,
        "accept" => loop {
            wait_readable(context.listeners()[0].fd(), -1).unwrap();
            if let Ok((_, peer, _)) = accept(context.listeners()[0].fd()) {
                say(&format!("accepted {slot} {}", peer.address().escape_ascii()));
            }
        },
        _ => {}
    }
    loop {
        wait_readable(context.stop_fd(), -1).unwrap();
        match context.stop_mode() {
            None => {}
            Some(StopMode::Graceful) if behaviour == "close" => {
                context.listeners().iter().for_each(|listening| listening.close());
                assert!(!wait_readable(context.stop_fd(), 0).unwrap(), "the news was taken");
                say(&format!("closed {slot}"));
            }
            Some(StopMode::Graceful) => {
                assert_eq!(context.board().state(), State::Stopping);
                std::thread::sleep(Duration::from_millis(100));
                say(&format!("finished {slot}"));
                return 0;
            }
            Some(how) => {
                say(&format!("cut {slot} {how:?}"));
                return 0;
            }
        }
    }
}

/// The kinds of this process's descriptors that are close-on-exec: all of the library's are, and
/// those that the test was started with are not.
fn open_files() -> String {
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        let fd: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.to_str().unwrap();
        // SAFETY: no memory is involved.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags & libc::FD_CLOEXEC != 0 && !target.starts_with("/proc") {
            let kind = target.trim_start_matches("anon_inode:[").trim_end_matches(']');
            kinds.push(kind.split(':').next().unwrap().to_owned());
        }
    }
    kinds.sort();
    kinds.join(" ")
}

fn exit_status(result: Result<(), Error>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("error {:?}: {error}", error.kind()));
            error.exit_status()
        }
    }
}

fn serve(args: &Args) -> i32 {
    if args.text("chld") == Some("ignored") {
        process_support::set_handler(libc::SIGCHLD, libc::SIG_IGN);
    }
    let mut arbiter = arbiter(args);
    if args.text("thread").is_some() {
        // Started by the main thread, run by another.
        arbiter.start().unwrap();
        return std::thread::scope(|scope| {
            let arbiter = SendPtr(&raw mut arbiter);
            scope.spawn(move || arbiter.run()).join().unwrap()
        });
    }
    exit_status(arbiter.run())
}

/// The main thread waits while another one runs its arbiter.
struct SendPtr(*mut Arbiter);
// SAFETY: only one thread at a time uses it.
unsafe impl Send for SendPtr {}
impl SendPtr {
    fn run(&self) -> i32 {
        // SAFETY: the main thread lends it for as long as this thread lives.
        exit_status(unsafe { &mut *self.0 }.run())
    }
}

fn foreign(args: &Args) -> i32 {
    let mut before = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    let mut arbiter = arbiter(args);
    let status = exit_status(arbiter.run());
    say(&format!("foreign {:?}", before.wait().unwrap().code()));
    status
}

static HOST_TERM: AtomicU32 = AtomicU32::new(0);
static HANDLE: OnceLock<Handle> = OnceLock::new();

/// The host's own handler: counts, and stops the arbiter if there is one.
extern "C" fn host_term(_: libc::c_int) {
    HOST_TERM.fetch_add(1, Ordering::SeqCst);
    if let Some(handle) = HANDLE.get() {
        handle.stop(StopMode::Graceful);
    }
}

fn host_handlers() {
    process_support::set_handler(SIGTERM, host_term as *const () as libc::sighandler_t);
    process_support::set_handler(SIGQUIT, libc::SIG_IGN);
}

fn restored(args: &Args) -> i32 {
    host_handlers();
    let (before, mask) = (dispositions(), blocked());
    let mut arbiter = arbiter(args);
    let status = exit_status(arbiter.run());
    assert_eq!((dispositions(), blocked()), (before, mask));
    assert_eq!(HOST_TERM.load(Ordering::SeqCst), 0, "the arbiter had it");
    // SAFETY: no memory is involved.
    unsafe { libc::raise(SIGTERM) };
    assert_eq!(HOST_TERM.load(Ordering::SeqCst), 1);
    say("restored");
    status
}

fn unchanged(args: &Args) -> i32 {
    host_handlers();
    let (before, mask) = (dispositions(), blocked());
    let mut arbiter = arbiter(args);
    HANDLE.set(arbiter.handle()).unwrap();
    arbiter.start().unwrap();
    assert_eq!((dispositions(), blocked()), (before.clone(), mask.clone()));
    let status = exit_status(arbiter.run());
    assert_eq!((dispositions(), blocked()), (before, mask));
    say(&format!("host {}", HOST_TERM.load(Ordering::SeqCst)));
    status
}

fn threads(args: &Args) -> i32 {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || stopped.recv());
    let mut arbiter = arbiter(args);
    let before = dispositions();
    let error = arbiter.start().unwrap_err();
    say(&format!("refused {:?}: {error}", error.kind()));
    assert_eq!(dispositions(), before);
    drop(stop);
    let _ = thread.join();
    // A thread that was joined is no reason.
    exit_status(arbiter.run())
}

fn later_threads(args: &Args) -> i32 {
    let mut arbiter = arbiter(args);
    arbiter.start().unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || stopped.recv());
    let status = exit_status(arbiter.run());
    drop(stop);
    let _ = thread.join();
    status
}

fn waiter(args: &Args) -> i32 {
    let mut arbiter = arbiter(args);
    let handle = arbiter.handle();
    arbiter.start().unwrap();
    let thread = std::thread::spawn(move || {
        assert!(handle.wait(Some(Duration::from_millis(10))).is_none());
        handle.stop(StopMode::Graceful);
        handle.wait(None)
    });
    let status = exit_status(arbiter.run());
    say(&format!("waited {:?}", thread.join().unwrap().map(|result| result.is_ok())));
    status
}

fn early(args: &Args) -> i32 {
    let mut arbiter = arbiter(args);
    let how = if args.text("how") == Some("kill") { StopMode::Kill } else { StopMode::Quick };
    arbiter.handle().stop(how);
    exit_status(arbiter.run())
}

fn wait_ready(arbiter: &Arbiter) -> Vec<i32> {
    eventually("all are ready", || arbiter.board().iter().all(|slot| slot.state() == State::Ready));
    arbiter.board().iter().map(|slot| slot.pid()).collect()
}

fn dropped(args: &Args) -> i32 {
    let mut arbiter = arbiter(args);
    let handle = arbiter.handle();
    arbiter.start().unwrap();
    let pids = wait_ready(&arbiter);
    drop(arbiter);
    for pid in pids {
        // Not even a zombie.
        assert!(proc::kill(pid, 0).is_err(), "{pid}");
    }
    assert!(handle.wait(Some(Duration::ZERO)).is_some());
    say("nobody left");
    0
}

fn copied(args: &Args) -> i32 {
    let mut arbiter = Some(arbiter(args));
    arbiter.as_mut().unwrap().start().unwrap();
    let pids = wait_ready(arbiter.as_ref().unwrap());
    // A host that forks by itself, as language runtimes do, and cleans up in the child.
    let copy = &mut arbiter;
    let child = proc::fork_with(|_| {
        drop(copy.take());
        5
    });
    let child = child.unwrap();
    eventually("the child ends", || match proc::wait_pid(child) {
        None => false,
        Some(exit) => exit == proc::Exit::Code(5) || panic!("{exit:?}"),
    });
    let mut arbiter = arbiter.unwrap();
    arbiter.turn(50).unwrap();
    assert_eq!(wait_ready(&arbiter), pids);
    arbiter.handle().stop(StopMode::Quick);
    exit_status(arbiter.run())
}

fn turned(args: &Args) -> i32 {
    let mut arbiter = arbiter(args);
    arbiter.start().unwrap();
    wait_ready(&arbiter);
    let mut turns = 0;
    let mut wait_ms = 0;
    loop {
        // The host's own poll; a turn that waits by itself would hang here.
        wait_readable(arbiter.fd(), wait_ms).unwrap();
        turns += 1;
        match arbiter.turn(0).unwrap() {
            Turn::Stopped => break,
            Turn::Wait(next) => wait_ms = next,
        }
        if turns == 1 {
            assert_eq!(wait_ms, -1, "nothing to do: sleep for ever");
            arbiter.handle().stop(StopMode::Quick);
        }
        assert!(turns < 1000, "it spins");
    }
    say("turned");
    0
}

fn wrong(args: &Args) -> i32 {
    let none = Settings { workers: 0, ..settings(args) };
    let error = Arbiter::new(none, Vec::new(), Box::new(|_| 0), Logger::off()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    let mut first = arbiter(args);
    assert_eq!(first.turn(0).unwrap_err().kind(), Kind::State);
    first.start().unwrap();
    assert_eq!(first.start().unwrap_err().kind(), Kind::State);
    // Two arbiters cannot both have the signals; the second can do without.
    let mut second = arbiter(args);
    assert_eq!(second.start().unwrap_err().kind(), Kind::State);
    drop(second);
    let mut third = arbiter(&Args::of(&["signals=0", "workers=1"]));
    third.start().unwrap();
    wait_ready(&first);
    wait_ready(&third);
    drop(third);
    assert!(wait_ready(&first).into_iter().all(|pid| alive(pid.into())));
    first.handle().stop(StopMode::Kill);
    first.run().unwrap();
    assert_eq!(first.turn(0).unwrap(), Turn::Stopped);
    assert_eq!(first.start().unwrap_err().kind(), Kind::State);
    first.run().unwrap();
    say("done");
    0
}

// ---- the tests ----

/// A program whose workers are ready, and their pids by slot.
fn started(role: &str, args: &[&str]) -> (Program, Vec<i64>) {
    let mut program = Program::start(role, args);
    let workers = Args::of(args).number("workers", 2) as usize;
    let mut pids = vec![0; workers];
    for _ in 0..workers {
        let numbers = program.expect_numbers("ready ");
        pids[numbers[0] as usize] = numbers[1];
    }
    (program, pids)
}

/// The program ends with `status`, its workers are gone; its remaining lines.
fn ends(program: Program, pids: &[i64], status: i32) -> Vec<String> {
    let (lines, end) = program.finish();
    assert_eq!(end.code(), Some(status), "{end} after:\n{}", lines.join("\n"));
    for pid in pids {
        assert!(!alive(*pid), "worker {pid} is left after:\n{}", lines.join("\n"));
    }
    lines
}

#[track_caller]
fn has(lines: &[String], text: &str) {
    assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in:\n{}", lines.join("\n"));
}

#[track_caller]
fn has_not(lines: &[String], text: &str) {
    assert!(!lines.iter().any(|line| line.contains(text)), "{text:?} in:\n{}", lines.join("\n"));
}

fn a_killed_worker_is_replaced() {
    let (mut program, mut pids) = started("serve", &["workers=3"]);
    for _ in 0..3 {
        kill(pids[1] as i32, SIGKILL);
        program.expect(&format!("Error: Worker (pid:{}) was sent SIGKILL!", pids[1]));
        let numbers = program.expect_numbers("ready ");
        assert_eq!(numbers[0], 1, "the same place");
        assert_ne!(numbers[1], pids[1]);
        pids[1] = numbers[1];
    }
    assert!(pids.iter().all(|pid| alive(*pid)));
    program.signal(SIGTERM);
    let lines = ends(program, &pids, 0);
    has(&lines, &format!("Info: Booting worker with pid: {}", pids[1]));
}

fn a_worker_that_leaves_is_replaced() {
    let (mut program, pids) = started("serve", &["worker=leave"]);
    program.expect(&format!("Error: Worker (pid:{}) exited with code 5", pids[1]));
    let next = program.expect_numbers("ready ");
    assert_eq!(next[0], 1);
    // A worker that somebody stops is replaced, too, and nobody calls it an error.
    kill(pids[0] as i32, SIGTERM);
    let other = program.expect_numbers("ready ");
    assert_eq!(other[0], 0);
    // HUP does nothing to a worker.
    kill(other[1] as i32, SIGHUP);
    program.signal(SIGTERM);
    let lines = ends(program, &[next[1], other[1]], 0);
    assert_eq!(lines.iter().filter(|line| line.starts_with("Error")).count(), 1);
    assert_eq!(lines.iter().filter(|line| line.starts_with("finished")).count(), 3);
}

fn term_lets_workers_finish() {
    let (program, pids) = started("serve", &[]);
    let pid = program.pid();
    program.signal(SIGTERM);
    let lines = ends(program, &pids, 0);
    for text in [
        "Info: Starting libgateway ",
        "Info: Listening at: 127.0.0.1:",
        "Info: Handling signal: term",
        "Info: Shutting down: Master",
        "finished 0",
        "finished 1",
    ] {
        has(&lines, text);
    }
    has(&lines, &format!("({pid})"));
    for pid in pids {
        has(&lines, &format!("Info: Worker exiting (pid: {pid})"));
    }
    has_not(&lines, "Error");
    has_not(&lines, "Warn");
}

fn int_and_quit_are_quick() {
    for (signal, name) in [(SIGINT, "int"), (SIGQUIT, "quit")] {
        let (program, pids) = started("serve", &[]);
        program.signal(signal);
        let lines = ends(program, &pids, 0);
        has(&lines, &format!("Info: Handling signal: {name}"));
        has(&lines, "cut 0 Quick");
        has(&lines, "cut 1 Quick");
        has_not(&lines, "Error");
    }
}

fn a_worker_that_hangs_is_killed_in_time() {
    let (program, pids) = started("serve", &["worker=hang", "graceful=50"]);
    program.signal(SIGTERM);
    let lines = ends(program, &pids, 0);
    for pid in pids {
        has(&lines, &format!("Worker (pid:{pid}) was sent SIGKILL! It did not stop in time."));
    }
}

fn a_second_int_is_urgent() {
    // The graceful timeout is longer than the watchdog of the program.
    let (mut program, pids) = started("serve", &["worker=hang", "graceful=6000000"]);
    program.signal(SIGINT);
    program.expect("Handling signal: int");
    program.signal(SIGINT);
    let lines = ends(program, &pids, 0);
    has(&lines, "was sent SIGKILL! It did not stop in time.");
}

fn int_after_term_is_urgent() {
    let (mut program, pids) = started("serve", &["worker=hang", "graceful=6000000"]);
    program.signal(SIGTERM);
    program.expect("Handling signal: term");
    program.signal(SIGINT);
    let lines = ends(program, &pids, 0);
    assert_eq!(lines.iter().filter(|line| line.contains("Shutting down")).count(), 1);
}

fn a_boot_failure_stops_everything() {
    for (worker, status, reason, end) in [
        ("exit3", 3, "Worker failed to boot.", "exited with code 3"),
        ("exit4", 4, "App failed to load.", "exited with code 4"),
        ("panic", 3, "Worker failed to boot.", "exited with code 70"),
    ] {
        let program = Program::start("serve", &[&format!("worker={worker}"), "workers=3"]);
        let lines = ends(program, &[], status);
        has(&lines, end);
        has(&lines, "Info: Shutting down: Master");
        has(&lines, &format!("Info: Reason: {reason}"));
        has(&lines, &format!("error App: {reason}"));
    }
}

/// It said nothing of whether another can boot.
fn a_worker_that_is_killed_at_boot_is_replaced() {
    for (worker, end) in [
        ("abort", "was sent SIGABRT!"),
        ("kill", "was sent SIGKILL!"),
        ("exit7", "exited with code 7"),
    ] {
        let mut program = Program::start("serve", &[&format!("worker={worker}"), "workers=2"]);
        let mut pids = vec![program.expect_numbers("ready ")[1]];
        program.expect_numbers("Worker failed to boot; the next attempt is in");
        let second = program.expect_numbers("ready ");
        assert_eq!(second[0], 1);
        pids.push(second[1]);
        program.signal(SIGTERM);
        let lines = ends(program, &pids, 0);
        has(&lines, end);
        has_not(&lines, "Info: Reason:");
    }
}

/// Nobody has served there yet.
fn a_boot_failure_after_a_killed_worker_stops_everything() {
    let program = Program::start("serve", &["worker=abort3", "workers=2"]);
    let lines = ends(program, &[], 3);
    has(&lines, "was sent SIGABRT!");
    has(&lines, "Info: Reason: Worker failed to boot.");
}

fn a_later_boot_failure_disturbs_nobody() {
    let (mut program, pids) = started("serve", &["worker=later"]);
    kill(pids[0] as i32, SIGKILL);
    program.expect("exited with code 3");
    let first = program.expect_numbers("Worker failed to boot; the next attempt is in");
    program.expect("exited with code 3");
    let second = program.expect_numbers("Worker failed to boot; the next attempt is in");
    assert!(second[0] > first[0], "{second:?} after {first:?}");
    let next = program.expect_numbers("ready ");
    assert_eq!(next[0], 0);
    assert!(alive(pids[1]));
    program.signal(SIGTERM);
    ends(program, &[next[1], pids[1]], 0);
}

fn workers_die_with_the_arbiter() {
    for worker in ["wait", "spin", "hang"] {
        let (program, pids) = started("serve", &[&format!("worker={worker}"), "workers=3"]);
        let _workers = Workers(&pids);
        kill(pids[2] as i32, SIGSTOP);
        program.signal(SIGKILL);
        eventually("all workers are dead", || !pids.iter().any(|pid| alive(*pid)));
        let (lines, status) = program.finish();
        assert_eq!(status.code(), None);
        has_not(&lines, "Shutting down");
    }
}

fn workers_die_with_a_thread_arbiter() {
    let (mut program, mut pids) = started("serve", &["thread=1"]);
    kill(pids[0] as i32, SIGKILL);
    pids[0] = program.expect_numbers("ready ")[1];
    let _workers = Workers(&pids);
    program.signal(SIGKILL);
    eventually("all workers are dead", || !pids.iter().any(|pid| alive(*pid)));
}

fn foreign_children_keep_their_status() {
    let (mut program, mut pids) = started("foreign", &[]);
    kill(pids[0] as i32, SIGKILL);
    pids[0] = program.expect_numbers("ready ")[1];
    program.signal(SIGTERM);
    let lines = ends(program, &pids, 0);
    has(&lines, "foreign Some(7)");
}

fn an_ignored_sigchld_is_survived() {
    let (mut program, mut pids) = started("serve", &["chld=ignored"]);
    kill(pids[0] as i32, SIGKILL);
    program.expect(&format!("Warn: Worker (pid:{}) has ended; somebody else", pids[0]));
    pids[0] = program.expect_numbers("ready ")[1];
    program.signal(SIGTERM);
    ends(program, &pids, 0);
}

fn signals_are_restored() {
    let (program, pids) = started("restored", &[]);
    program.signal(SIGTERM);
    let lines = ends(program, &pids, 0);
    has(&lines, "Handling signal: term");
    has(&lines, "restored");
}

fn without_signals_nothing_changes() {
    let (program, pids) = started("unchanged", &["signals=0"]);
    program.signal(SIGTERM);
    let lines = ends(program, &pids, 0);
    has(&lines, "host 1");
    has(&lines, "finished 0");
    has_not(&lines, "Handling signal");
}

fn threads_forbid_the_first_fork() {
    let (program, pids) = started("threads", &[]);
    program.signal(SIGTERM);
    let lines = ends(program, &pids, 0);
    has(
        &lines,
        "refused State: fork workers: this process has 2 threads (process_arbiter), and a lock",
    );
}

fn threads_that_come_later_are_warned_of() {
    let (mut program, mut pids) = started("later_threads", &[]);
    for slot in [0, 1] {
        kill(pids[slot] as i32, SIGKILL);
        pids[slot] = program.expect_numbers("ready ")[1];
    }
    program.signal(SIGTERM);
    let lines = ends(program, &pids, 0);
    let warnings = lines.iter().filter(|line| line.contains("Warn: Forking although")).count();
    assert_eq!(warnings, 1, "{lines:?}");
}

fn the_socket_file_is_the_arbiters() {
    let path = std::env::temp_dir().join(format!("gateway-arbiter-{}", proc::pid()));
    let unix = format!("unix={}", path.display());
    let (mut program, mut pids) = started("serve", &[&unix]);
    kill(pids[0] as i32, SIGTERM);
    pids[0] = program.expect_numbers("ready ")[1];
    assert!(path.exists(), "a worker that ends leaves it");
    program.signal(SIGTERM);
    ends(program, &pids, 0);
    assert!(!path.exists());
}

fn nobody_connects_to_a_stopping_server() {
    let mut program = Program::start("serve", &["worker=close", "workers=1"]);
    let line = program.expect("Listening at: ");
    let address = line.split(' ').find(|word| word.contains("127.0.0.1:")).unwrap().to_owned();
    program.expect("ready ");
    TcpStream::connect(&address).unwrap();
    program.signal(SIGTERM);
    program.expect("closed 0");
    eventually("clients are refused", || TcpStream::connect(&address).is_err());
    // The worker is still there: it was told to take its time, and is told now to hurry.
    program.signal(SIGINT);
    let lines = ends(program, &[], 0);
    has(&lines, "cut 0 Quick");
}

fn workers_accept_from_one_socket() {
    let path = std::env::temp_dir().join(format!("gateway-accept-{}", proc::pid()));
    let unix = format!("unix={}", path.display());
    let (mut program, pids) = started("serve", &[&unix, "worker=accept", "graceful=0"]);
    for _ in 0..5 {
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        program.expect("accepted ");
    }
    program.signal(SIGTERM);
    ends(program, &pids, 0);
}

fn a_worker_has_nothing_of_the_arbiters() {
    // The last worker, so that there are siblings to know of.
    let mut program = Program::start("serve", &["worker=fds", "workers=3"]);
    for _ in 0..3 {
        // Its listener, the life-line, its epoll, its signals, the detached waker, and the one by
        // which the arbiter hears that it is ready.
        let line = program.expect("fds ");
        assert_eq!(line, "fds eventfd eventfd eventfd eventpoll pipe socket");
    }
    program.signal(SIGTERM);
    ends(program, &[], 0);
    let mut program = Program::start("serve", &["worker=mask"]);
    program.expect("mask []");
    program.expect("mask []");
    program.signal(SIGTERM);
    ends(program, &[], 0);
}

fn stop_and_wait_work_from_another_thread() {
    let lines = ends(Program::start("waiter", &[]), &[], 0);
    has(&lines, "waited Some(true)");
}

fn a_stop_before_the_start_counts() {
    let lines = ends(Program::start("early", &[]), &[], 0);
    has(&lines, "Shutting down: Master");
}

fn kill_is_at_once() {
    let lines = ends(Program::start("early", &["how=kill", "worker=hang"]), &[], 0);
    has(&lines, "was sent SIGKILL!");
}

fn drop_leaves_nobody() {
    for worker in ["wait", "hang"] {
        let program = Program::start("dropped", &[&format!("worker={worker}")]);
        has(&ends(program, &[], 0), "nobody left");
    }
}

fn a_copy_in_a_child_kills_nobody() {
    let lines = ends(Program::start("copied", &[]), &[], 0);
    has_not(&lines, "SIGKILL");
    has(&lines, "cut 0 Quick");
}

fn a_host_can_turn_it() {
    has(&ends(Program::start("turned", &[]), &[], 0), "turned");
}

fn wrong_moments_are_errors() {
    has(&ends(Program::start("wrong", &[]), &[], 0), "done");
}
