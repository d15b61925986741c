//! What of an application runs where.

use std::os::fd::AsRawFd;

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{EOF, OK, Response as Head};
use gateway::gateway::app::Application;

use super::harness::*;
use super::tools::*;

/// An application that notes everything that is called: `call`, `read`, `next`, `release`, `close`.
fn noting(seen: &Seen, size: usize, chunks: usize) -> Application {
    let seen = seen.clone();
    blocking(move |env, start, body| {
        seen.note("call");
        let dropped = seen.clone();
        capp::attach(env, &Journal::default(), "value");
        let _ = read_to_end(env, 100);
        seen.note("read");
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.first = Some(owned(&seen, noise(size)));
        let (noted, mut left) = (seen.clone(), chunks);
        body.next = Some(Box::new(move |out: &mut Chunk| {
            noted.note("next");
            if left == 0 {
                return EOF;
            }
            left -= 1;
            *out = owned(&noted, noise(size));
            OK
        }));
        body.close = Some(Box::new(move || dropped.note("close")));
        OK
    })
}

#[test]
fn everything_of_the_application_runs_on_its_threads() {
    for size in [10, 30_000, 4_000_000] {
        let seen = Seen::default();
        let mut server = Server::with(options("threads=2"), noting(&seen, size, 2));
        let response = server.ask(post(b"a body"));
        assert_eq!(response.body.len(), 3 * size);
        server.until("the end", |_| seen.count("close") > 0);
        let what = seen.elsewhere();
        assert_eq!(seen.count("release"), 3, "{what:?}");
        assert_eq!((seen.count("next"), seen.count("close")), (3, 1), "{what:?}");
        assert_eq!(what.last().unwrap(), "close", "released before: {what:?}");
    }
}

#[test]
fn releases_run_on_a_thread_also_when_the_loop_has_sent_the_rest() {
    let dir = Dir::new();
    let on_disk = std::fs::File::open(dir.file("big", &noise(8 << 20))).unwrap();
    for by_file in [false, true] {
        let seen = Seen::default();
        let (noted, fd) = (seen.clone(), on_disk.as_raw_fd());
        // No next and no close: nothing else needs a thread at the end.
        let app = blocking(move |_, start, body| {
            body.first = Some(match by_file {
                true => file(&noted, fd, 8 << 20),
                false => owned(&noted, noise(8 << 20)),
            });
            start.respond(&Head::new(200, &TEXT))
        });
        let mut server = Server::with(options("threads=1"), app);
        let mut client = server.connect();
        client.send(GET);
        server.until("the first octets", |_| {
            client.pull_up_to(1000);
            client.total > 0
        });
        assert_eq!(seen.count("release"), 0, "the client has not read");
        assert!(server.reply(&mut client).body == noise(8 << 20));
        server.until("the release", |_| seen.count("release") > 0);
        assert_eq!(seen.elsewhere(), ["release"]);
    }
}

#[test]
fn what_hangs_on_a_request_is_dropped_on_a_thread() {
    struct Drops(Seen);
    impl Drop for Drops {
        fn drop(&mut self) {
            self.0.note("drop");
        }
    }
    unsafe extern "C" {
        fn gw_environ_put(
            env: *mut gateway::gateway::abi::Environ,
            key: *const std::ffi::c_void,
            value: *mut std::ffi::c_void,
            drop: Option<unsafe extern "C" fn(value: *mut std::ffi::c_void)>,
        ) -> i32;
    }
    unsafe extern "C" fn drop_it(value: *mut std::ffi::c_void) {
        // SAFETY: the box made below.
        drop(unsafe { Box::from_raw(value.cast::<Drops>()) });
    }
    static BIG: [u8; 8 << 20] = [b'x'; 8 << 20];
    let seen = Seen::default();
    let noted = seen.clone();
    let app = blocking(move |env, start, body| {
        let value = Box::into_raw(Box::new(Drops(noted.clone()))).cast();
        let env = std::ptr::from_ref(env).cast_mut();
        // SAFETY: an environ of a running request; the function fits the value.
        assert_eq!(unsafe { gw_environ_put(env, value, value, Some(drop_it)) }, 0);
        // Lent, and sent by the loop: only the value needs a thread at the end.
        body.first = Some(capp::lent(&BIG));
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(options("threads=1"), app);
    assert_eq!(server.ask(GET).body.len(), BIG.len());
    server.until("the drop", |_| seen.count("drop") > 0);
    assert_eq!(seen.elsewhere(), ["drop"]);
}

/// ILL, TRAP, BUS, FPE, SEGV, SYS: what an instruction of the thread itself raises.
const FAULTS: [u32; 6] = [4, 5, 7, 8, 11, 31];

#[test]
fn threads_have_all_signals_blocked_but_faults() {
    let app = blocking(|_, start, body| {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
        let text = Box::leak(blocked.to_owned().into_boxed_str());
        body.first = Some(capp::lent(text.as_bytes()));
        start.respond(&Head::new(200, &TEXT))
    });
    let status = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let mine = |status: &str| status.lines().find(|l| l.starts_with("SigBlk")).unwrap().to_owned();
    let before = mine(&status());
    let mut server = Server::with(options("threads=1"), app);
    assert_eq!(mine(&status()), before, "the host's thread is as it was");
    let blocked = u64::from_str_radix(server.ask(GET).text(), 16).unwrap();
    // KILL and STOP cannot be, 32 and 33 are the C library's.
    for signal in (1..=64).filter(|signal| ![9, 19, 32, 33].contains(signal)) {
        let is_blocked = blocked & 1 << (signal - 1) != 0;
        assert_eq!(is_blocked, !FAULTS.contains(&signal), "signal {signal}");
    }
}

#[test]
fn threads_have_names() {
    let app = blocking(|_, start, body| {
        let name = std::thread::current().name().unwrap_or("").to_owned();
        body.first = Some(capp::lent(Box::leak(name.into_boxed_str()).as_bytes()));
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(options("threads=1"), app);
    assert_eq!(server.ask(GET).text(), "gateway-0");
}
