use std::cell::{Cell, RefCell};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::desk::{CONNECTIONS_MAX, Counted, LINE_MAX, PATIENCE_MS};
use super::*;

/// A server that does nothing, and remembers what it was asked.
#[derive(Default)]
struct Fake {
    asked: RefCell<Vec<String>>,
    /// Workers that its pages show.
    places: Cell<usize>,
}

impl Steered for Fake {
    fn snapshot(&self) -> Snapshot {
        let place = |slot| crate::gateway::metrics::Place { slot, ..Default::default() };
        Snapshot { places: (0..self.places.get()).map(place).collect(), ..Snapshot::default() }
    }
    fn workers(&self) -> u64 {
        2
    }
    fn scaled(&self) -> u64 {
        2
    }
    fn reload(&self) -> Result<()> {
        self.asked.borrow_mut().push("reload".into());
        Ok(())
    }
    fn stop(&self, how: StopMode) {
        self.asked.borrow_mut().push(format!("stop {how:?}"));
    }
    fn scale(&self, workers: i64, is_change: bool) -> Result<u32> {
        self.asked.borrow_mut().push(format!("scale {workers} {is_change}"));
        Ok(7)
    }
    fn reopen(&self) {
        self.asked.borrow_mut().push("reopen".into());
    }
}

struct Room {
    path: PathBuf,
    poll: Poll,
    desk: Desk,
    stage: Stage,
    server: Fake,
    now_ms: u64,
}

impl Room {
    fn new() -> Room {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gw-desk-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listening = Now::default().bind(&path).unwrap();
        let poll = Poll::new().unwrap();
        let desk = Desk::new(listening, &poll.poller).unwrap();
        let stage = Stage { is_ready: true, ..Stage::default() };
        Room { path, poll, desk, stage, server: Fake::default(), now_ms: 1_000_000 }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// A turn; in how many milliseconds the next is due.
    fn turn(&mut self) -> Option<u64> {
        let due = self.desk.turn(&self.poll.poller, self.now_ms, &self.stage, &self.server);
        due.map(|due| due - self.now_ms)
    }

    fn counted(&mut self) -> Counted {
        self.turn();
        self.desk.counted
    }
}

/// What has come.
fn heard(stream: &mut UnixStream) -> String {
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    String::from_utf8(octets).unwrap()
}

/// The connection has ended.
fn is_over(stream: &mut UnixStream) -> bool {
    !matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

const OK: &str = "{\"ok\":true}\n";

#[test]
fn a_line_in_and_a_line_out_one_a_turn() {
    let mut room = Room::new();
    let mut client = room.connect();
    client.write_all(b"stop quick\nscale +3\nreo").unwrap();
    assert_eq!(room.turn(), Some(0), "there is another");
    assert_eq!(heard(&mut client), OK);
    assert_eq!(room.turn(), Some(PATIENCE_MS));
    assert_eq!(heard(&mut client), "{\"ok\":true,\"workers\":7,\"before\":2}\n");
    client.write_all(b"pen\r\n").unwrap();
    room.turn();
    assert_eq!(heard(&mut client), OK);
    // The end ends a line, too.
    client.write_all(b"stop").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(room.turn(), None, "nobody is left");
    assert_eq!(heard(&mut client), OK);
    assert!(is_over(&mut client));
    let asked = ["stop Quick", "scale 3 true", "reopen", "stop Graceful"];
    assert_eq!(*room.server.asked.borrow(), asked);
}

#[test]
fn a_reload_is_answered_at_its_end() {
    let mut room = Room::new();
    let (mut first, mut second) = (room.connect(), room.connect());
    first.write_all(b"reload\nstatus\n").unwrap();
    assert_eq!(room.turn(), Some(PATIENCE_MS), "of the other one");
    // It begins, and another is asked for.
    room.stage.reloads = 1;
    room.stage.reloads_now = true;
    second.write_all(b"reload\n").unwrap();
    assert_eq!(room.turn(), None, "who waits for a reload may wait");
    room.now_ms += 10 * PATIENCE_MS;
    room.turn();
    assert_eq!((heard(&mut first), heard(&mut second)), (String::new(), String::new()));
    let failure = Error::new(Kind::App, "a \"reason\"");
    room.desk.answer_waiting(Some(&failure), 1);
    room.now_ms = monotonic_ms();
    room.turn();
    room.turn();
    let text = heard(&mut first);
    assert!(
        text.starts_with("{\"ok\":false,\"error\":\"a \\\"reason\\\"\"}\n{\"ok\":true,"),
        "{text}"
    );
    assert!(text.contains("\"state\":\"reloading\""), "{text}");
    assert_eq!(heard(&mut second), "");
    room.desk.answer_waiting(None, 2);
    room.turn();
    assert_eq!(heard(&mut second), OK);
    // Who leaves while he waits gives his place back.
    second.write_all(b"reload\n").unwrap();
    room.turn();
    assert_eq!(room.desk.counted.connections, 2);
    drop(second);
    room.turn();
    assert_eq!(room.counted().connections, 1);
    room.stage.stops = true;
    first.write_all(b"reload\n").unwrap();
    room.turn();
    assert_eq!(heard(&mut first), "{\"ok\":false,\"error\":\"the server is stopping\"}\n");
}

#[test]
fn connections_are_few() {
    let mut room = Room::new();
    let mut there: Vec<_> = (0..CONNECTIONS_MAX).map(|_| room.connect()).collect();
    room.turn();
    let mut more = room.connect();
    more.write_all(b"status\n").unwrap();
    room.turn();
    let text = "the control socket has 16 connections, and no more; try again later";
    assert_eq!(heard(&mut more), format!("{{\"ok\":false,\"error\":\"{text}\"}}\n"));
    assert_eq!((room.counted().refused, room.counted().connections), (1, 16));
    // The others have their places, until one goes.
    for client in &mut there {
        client.write_all(b"reopen\n").unwrap();
    }
    room.turn();
    assert!(there.iter_mut().all(|client| heard(client) == OK));
    there.pop();
    room.turn();
    let mut more = room.connect();
    more.write_all(b"reopen\n").unwrap();
    room.turn();
    assert_eq!(heard(&mut more), OK);
}

#[test]
fn a_line_has_an_end() {
    let mut room = Room::new();
    for (len, is_fine) in [(LINE_MAX, true), (LINE_MAX + 1, false), (100_000, false)] {
        let mut client = room.connect();
        let line = [&vec![b' '; len - 6][..], b"reopen\n"].concat();
        let sent = client.write_all(&line);
        room.turn();
        let text = heard(&mut client);
        if is_fine {
            assert_eq!((sent.is_ok(), &*text), (true, OK));
            continue;
        }
        assert_eq!(text, "{\"ok\":false,\"error\":\"a command has at most 4096 octets\"}\n");
        assert!(is_over(&mut client));
    }
    assert_eq!((room.counted().too_long, room.counted().connections), (2, 0));
    assert_eq!(room.server.asked.borrow().len(), 1);
}

#[test]
fn who_is_slow_loses_his_place() {
    let mut room = Room::new();
    let mut client = room.connect();
    assert_eq!(room.turn(), Some(PATIENCE_MS));
    // Octet by octet is no line.
    for _ in 0..3 {
        client.write_all(b"s").unwrap();
        room.now_ms += PATIENCE_MS / 4;
        room.turn();
    }
    assert_eq!(heard(&mut client), "");
    room.now_ms += PATIENCE_MS / 4;
    room.turn();
    assert_eq!(heard(&mut client), "{\"ok\":false,\"error\":\"no command came within 30 s\"}\n");
    assert!(is_over(&mut client));
    assert_eq!((room.counted().timed_out, room.counted().connections), (1, 0));
}

#[test]
fn who_does_not_read_is_asked_no_more() {
    let mut room = Room::new();
    room.server.places.set(1024);
    let mut client = room.connect();
    client.write_all(&b"status\n".repeat(500)).unwrap();
    let mut turns = 0;
    while room.turn() == Some(0) {
        turns += 1;
        assert!(turns < 500, "it is answered for ever");
    }
    let answered = room.counted().commands;
    assert!(answered < 100, "{answered}");
    // Others do not wait for it.
    let mut other = room.connect();
    other.write_all(b"reopen\n").unwrap();
    room.turn();
    assert_eq!(heard(&mut other), OK);
    drop(other);
    // It reads on, and is answered on.
    let mut text = String::new();
    while room.desk.counted.commands < 400 {
        text.push_str(&heard(&mut client));
        room.turn();
    }
    assert!(text.lines().count() > 100 && text.starts_with("{\"ok\":true,\"state\":\"ready\""));
    while room.turn() == Some(0) {}
    room.now_ms += PATIENCE_MS;
    assert_eq!(room.turn(), None);
    assert_eq!((room.counted().timed_out, room.counted().connections), (1, 0));
    heard(&mut client);
    assert!(is_over(&mut client));
}

#[test]
fn strangers_only_read() {
    let server = Fake::default();
    let stage = Stage::default();
    let mut counted = Counted::default();
    for line in ["reload", "stop", "scale 3", "reopen", "stop quick"] {
        let answer = commands::answer(line.as_bytes(), Some(1234), &mut counted, &stage, &server);
        let commands::Answer::Now(octets) = answer else { panic!("{line}") };
        let text = String::from_utf8(octets).unwrap();
        assert!(text.starts_with("{\"ok\":false,\"error\":\"user 1234 may read here"), "{text}");
    }
    assert!(server.asked.borrow().is_empty());
    assert_eq!(counted.forbidden, 5);
    for line in ["status", "requests"] {
        let answer = commands::answer(line.as_bytes(), Some(1234), &mut counted, &stage, &server);
        let commands::Answer::Now(octets) = answer else { panic!("{line}") };
        assert!(octets.starts_with(b"{\"ok\":true,"), "{line}");
    }
}
