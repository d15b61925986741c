//! Answers that come later, under clients and applications that do anything in any order: requests
//! are answered by several threads, from iterators, in the call, or by whoever takes them; handles
//! go from thread to thread, wait for events, and are given up wherever chance says; clients
//! pipeline, dawdle, half-close and reset; and some servers stop in the midst of it.  Whatever they
//! do, who waits is told, and at the end nothing is left.
//!
//! A seed makes what everybody does; when they do it, the scheduler decides.  `STORM_RUNS` makes
//! more of it.

#[path = "later/chandle.rs"]
mod chandle;
#[path = "conv/harness/mod.rs"]
mod harness;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chandle::{CHandle, What};
use gateway::base::octets::{Chunk, Pair};
use gateway::gateway::abi::{APP_NONBLOCKING, APP_THREADSAFE, Environ, Response as Head};
use gateway::gateway::app::Application;
use gateway::gateway::counters::Counters;
use gateway::gateway::deferred::Shared;
use gateway::run::pull::Taken;
use gateway::server::engine::Stop;
use gateway::{Config, Deferred};
use harness::*;

/// A small generator (xorshift64*), so that a seed is all there is to what is done.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn size(&mut self) -> usize {
        match self.below(6) {
            0 => 0,
            1..4 => self.below(3_000),
            4 => self.below(20_000),
            _ => self.below(150_000),
        }
    }
}

/// What is alive and must end: chunks, events, values that hang on requests, bodies, handles.
#[derive(Clone, Default)]
struct Alive(Arc<[AtomicI64; 5]>);

const CHUNKS: usize = 0;
const EVENTS: usize = 1;
const HUNG: usize = 2;
const BODIES: usize = 3;
const HANDLES: usize = 4;

impl Alive {
    fn one(&self, kind: usize) -> One {
        self.0[kind].fetch_add(1, SeqCst);
        One(self.clone(), kind)
    }

    fn counts(&self) -> [i64; 5] {
        std::array::from_fn(|kind| self.0[kind].load(SeqCst))
    }
}

/// One of them.
struct One(Alive, usize);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0[self.1].fetch_sub(1, SeqCst);
    }
}

/// A request that is answered through its handle.
struct Task {
    handle: CHandle,
    random: Random,
    /// What the path says, while the environ may be asked.
    path: Option<u64>,
    waits: Arc<Mutex<Waits>>,
    steps: usize,
    _one: One,
}

/// Where a task waits for an event, which may come first.
#[derive(Default)]
struct Waits {
    told: Vec<What>,
    task: Option<(What, Task)>,
}

#[derive(Clone)]
struct Office {
    alive: Alive,
    tasks: Arc<Mutex<Sender<Task>>>,
}

impl Office {
    fn put(&self, task: Task) {
        // The office is closed: the task's handle is still to be given up.
        if let Err(task) = self.tasks.lock().unwrap().send(task) {
            assert_eq!(task.0.handle.end(-15), chandle::OK);
        }
    }

    fn task(&self, env: &Environ, random: Random) -> Task {
        let waits = Arc::new(Mutex::new(Waits::default()));
        let (office, mine, events) = (self.clone(), Arc::clone(&waits), self.alive.one(EVENTS));
        let listener = move |what, _| {
            let _ = &events;
            let mut waits = mine.lock().unwrap();
            if let Some((_, task)) = waits.task.take_if(|(wanted, _)| *wanted == what) {
                office.put(task);
            } else {
                waits.told.push(what);
            }
        };
        Task {
            handle: CHandle::told(env, Arc::new(listener)),
            random,
            path: Some(number(env)),
            waits,
            steps: 0,
            _one: self.alive.one(HANDLES),
        }
    }

    fn chunk(&self, random: &mut Random, size: usize) -> Chunk {
        let text = vec![b'a' + random.below(26) as u8; size];
        let one = self.alive.one(CHUNKS);
        chandle::chunk(text, move || drop(one))
    }

    /// Leave the task to the event.
    fn wait(&self, task: Task, what: What) {
        let waits = Arc::clone(&task.waits);
        let mut waits = waits.lock().unwrap();
        if let Some(at) = waits.told.iter().position(|told| *told == what) {
            waits.told.swap_remove(at);
            drop(waits);
            self.put(task);
        } else {
            waits.task = Some((what, task));
        }
    }

    /// Go on with a task until it waits, goes to another thread, or ends.
    fn work(&self, mut task: Task) {
        let handle = task.handle;
        loop {
            task.steps += 1;
            if task.steps > 60 {
                handle.end(0);
                return;
            }
            match task.random.below(16) {
                0..3 => {
                    let mut buf = [0; 3000];
                    let cap = 1 + task.random.below(buf.len());
                    if handle.read(&mut buf[..cap]).0 == chandle::AGAIN {
                        return self.wait(task, What::Readable);
                    }
                }
                3..5 => {
                    let length = task.random.below(20_000).to_string();
                    let fields = [Pair::new(b"Content-Length", length.as_bytes())];
                    let fields = if task.random.below(5) == 0 { &fields[..] } else { &[] };
                    let status = [200, 200, 200, 404, 204, 304, 103, 100][task.random.below(8)];
                    let mut head = Head::new(status, fields);
                    if task.random.below(3) == 0 {
                        head = head.replacing();
                    }
                    handle.start(&head);
                }
                5..9 => {
                    let size = task.random.size();
                    let owned = task.random.below(3) > 0;
                    let text = vec![b'.'; size];
                    let chunk = match owned {
                        true => self.chunk(&mut task.random, size),
                        false => capp::lent(&text),
                    };
                    if handle.write(&chunk) == chandle::AGAIN {
                        if let (true, Some(release)) = (owned, chunk.release) {
                            // SAFETY: it is ours again.
                            unsafe { release(chunk.arg) };
                        }
                        return self.wait(task, What::Writable);
                    }
                }
                9 => {
                    handle.resume();
                    handle.resume_after(task.random.below(20) as u32);
                }
                10 => {
                    if let (Some(path), Some(env)) = (task.path, handle.environ()) {
                        assert_eq!(number(env), path);
                        assert_eq!(env.get(b"HTTP_HOST").as_slice(), b"x");
                        assert!(!env.get(b"gateway.request_id").is_missing());
                        capp::is_gone(env);
                    }
                }
                11 => return self.put(task),
                12 => std::thread::sleep(Duration::from_micros(task.random.below(300) as u64)),
                13 => {
                    handle.end([0, -15, -11, 7][task.random.below(4)]);
                    return;
                }
                14 => {
                    let count = task.random.below(4);
                    let chunks: Vec<_> = (0..count)
                        .map(|_| {
                            let size = task.random.size();
                            self.chunk(&mut task.random, size)
                        })
                        .collect();
                    handle.reply(&Head::new(200, &TEXT), &chunks);
                    return;
                }
                _ => std::thread::yield_now(),
            }
        }
    }

    /// An application in C that does what the number in the path says.
    fn app(&self) -> Application {
        let office = self.clone();
        capp::with_flags(APP_NONBLOCKING | APP_THREADSAFE, move |env, start, body| {
            let mut random = Random::new(number(env));
            if random.below(3) == 0 {
                capp::attach_value(env, Box::new(office.alive.one(HUNG)));
            }
            match random.below(10) {
                // Answered in the call.
                0 => {
                    let task = office.task(env, random.clone());
                    let chunk = office.chunk(&mut random, 100);
                    task.handle.reply(&Head::new(200, &TEXT), &[chunk]);
                    chandle::DEFERRED
                }
                // An error, while somebody else answers.
                1 => {
                    let mut task = office.task(env, random);
                    task.path = None;
                    office.put(task);
                    -15
                }
                2 => {
                    start.respond(&Head::new(200, &TEXT));
                    body.first = Some(office.chunk(&mut random, 10_000));
                    chandle::OK
                }
                3 | 4 => {
                    start.respond(&Head::new(200, &TEXT));
                    office.iterate(env, random, body);
                    chandle::OK
                }
                5 => {
                    let (_, writer) = start.open(&Head::new(200, &TEXT));
                    let chunk = office.chunk(&mut random, 9_000);
                    if writer.write(&chunk) == chandle::AGAIN {
                        // SAFETY: it is ours again.
                        unsafe { chunk.release.unwrap()(chunk.arg) };
                    }
                    office.put(office.task(env, random));
                    chandle::DEFERRED
                }
                _ => {
                    office.put(office.task(env, random));
                    chandle::DEFERRED
                }
            }
        })
    }

    /// A body whose iterator waits for tokens that another thread gives it.
    fn iterate(&self, env: &Environ, mut random: Random, body: &mut capp::CBody) {
        let (tokens, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (alive, handle) = (self.alive.one(EVENTS), self.alive.one(HANDLES));
        let told = move |_, _| {
            let _ = &alive;
        };
        let d = CHandle::told(env, Arc::new(told));
        let (given, over, mut giver) = (Arc::clone(&tokens), Arc::clone(&ended), random.clone());
        std::thread::spawn(move || {
            for _ in 0..giver.below(6) {
                given.fetch_add(giver.below(3), SeqCst);
                match giver.below(4) {
                    0 => assert_eq!(d.resume_after(giver.below(4) as u32), chandle::OK),
                    1 => std::thread::sleep(Duration::from_micros(200)),
                    _ => assert_eq!(d.resume(), chandle::OK),
                }
            }
            over.store(1, SeqCst);
            assert_eq!(d.end(0), chandle::OK);
            drop(handle);
        });
        let (office, env, open) = (self.clone(), lasting(env), self.alive.one(BODIES));
        body.next = Some(Box::new(move |out| {
            let _ = &open;
            if random.below(3) == 0 {
                let _ = env.try_read(&mut [0; 700]);
            }
            let is_last = ended.load(SeqCst) > 0;
            if tokens.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                let size = random.size();
                *out = office.chunk(&mut random, size);
                return chandle::OK;
            }
            if is_last { chandle::EOF } else { chandle::AGAIN }
        }));
    }

    /// With threads, which end when there is nothing left to do and it is `closed`.
    fn open(alive: &Alive, closed: &Arc<AtomicBool>) -> (Office, Vec<JoinHandle<()>>) {
        let (sender, receiver) = channel::<Task>();
        let office = Office { alive: alive.clone(), tasks: Arc::new(Mutex::new(sender)) };
        let receiver = Arc::new(Mutex::new(receiver));
        let workers = (0..3)
            .map(|_| {
                let (office, receiver) = (office.clone(), Arc::clone(&receiver));
                let closed = Arc::clone(closed);
                std::thread::spawn(move || {
                    while !closed.load(SeqCst) {
                        let next = receiver.lock().unwrap().recv_timeout(Duration::from_millis(1));
                        if let Ok(task) = next {
                            office.work(task);
                        }
                    }
                })
            })
            .collect();
        (office, workers)
    }
}

fn number(env: &Environ) -> u64 {
    let path = std::str::from_utf8(&env.path_info()[1..]).unwrap();
    path.parse().unwrap_or(0)
}

/// A request, whole or not, of which `random` says everything.
fn request(random: &mut Random) -> Vec<u8> {
    let plan = random.next() >> 8;
    let size = random.size().min(40_000);
    let body = vec![b'b'; size];
    let head = |method: &str, fields: &str| {
        format!("{method} /{plan} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").into_bytes()
    };
    match random.below(10) {
        0..3 => head("GET", ""),
        3 => head("HEAD", ""),
        4 => format!("GET /{plan} HTTP/1.0\r\nHost: x\r\n\r\n").into_bytes(),
        5 => head("POST", &format!("Expect: 100-continue\r\nContent-Length: {size}\r\n")),
        6 => [head("POST", "Transfer-Encoding: chunked\r\n"), chunked(&body, 1500)].concat(),
        7 => [head("POST", "Transfer-Encoding: chunked\r\n"), b"zz\r\n".to_vec()].concat(),
        _ => [head("POST", &format!("Content-Length: {size}\r\n")), body].concat(),
    }
}

/// A few clients, each doing what chance says.
fn weather(server: &mut Server, random: &mut Random, clients: &mut Vec<Client>) {
    for _ in 0..80 {
        if clients.len() < 5 && (clients.is_empty() || random.below(3) == 0) {
            let client = if random.below(2) == 0 { server.connect() } else { server.connect_tcp() };
            clients.push(client);
        }
        let who = random.below(clients.len());
        match random.below(14) {
            0..5 => {
                let whole = request(random);
                let cut =
                    if random.below(5) == 0 { random.below(whole.len()) } else { whole.len() };
                clients[who].send_anyway(&whole[..cut]);
            }
            5 => {
                for octet in request(random).chunks(1).take(200) {
                    clients[who].send_anyway(octet);
                    server.turn(0);
                }
            }
            6..9 => clients[who].pull_up_to(200_000),
            9 => clients[who].half_close(),
            10 => clients.swap_remove(who).reset(),
            11 => drop(clients.swap_remove(who)),
            12 => {
                server.turn(1);
            }
            _ => {}
        }
        server.turn(0);
    }
}

fn configure(config: &mut Config, buffering: &str, threads: &str) {
    config.set("request_buffering", buffering).unwrap();
    config.set("threads", threads).unwrap();
    config.set("body_buffer", "1k").unwrap();
    config.set("output_buffer", "32k").unwrap();
    // It looks at the request, as an access log does.
    config.on_access(|access| {
        assert!(access.env.headers().len() < 10 && !access.id.is_missing());
        assert!(access.status < 600 && access.took_ns >= access.app_ns);
    });
}

/// A thread may be about to let go of what it gave up.
fn nothing_left(seed: u64, alive: &Alive, counters: &Counters) {
    let since = Instant::now();
    while alive.counts() != [0; 5] || counters.in_flight.get() > 0 {
        let left = (alive.counts(), counters.in_flight.get());
        assert!(since.elapsed() < PATIENCE, "seed {seed}: left {left:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// One run.
fn storm(seed: u64, buffering: &str, threads: &str) {
    let mut random = Random::new(seed);
    let (alive, closed) = (Alive::default(), Arc::new(AtomicBool::new(false)));
    let (office, workers) = Office::open(&alive, &closed);
    let mut server = Server::with(|config| configure(config, buffering, threads), office.app());
    let mut clients = Vec::new();
    weather(&mut server, &mut random, &mut clients);
    let counters = server.counters.clone();
    match random.below(4) {
        0 => {}
        1 => {
            server.stop(Stop::Quick);
            server.finish();
        }
        _ => {
            clients.clear();
            server.until("everybody is gone", |server| server.counters.connections.get() == 0);
            server.until("every request is over", |server| server.counters.in_flight.get() == 0);
        }
    }
    // What it leaves behind is the handles' business.
    drop(server);
    nothing_left(seed, &alive, &counters);
    closed.store(true, SeqCst);
    for worker in workers {
        worker.join().unwrap_or_else(|_| panic!("seed {seed}"));
    }
}

/// Is told of a request that was taken.
struct Ear(#[allow(dead_code, reason = "it counts")] One, Sender<What>);

impl gateway::Events for Ear {
    fn readable(&self, _: &Arc<Shared>) {
        let _ = self.1.send(What::Readable);
    }

    fn writable(&self, _: &Arc<Shared>) {
        let _ = self.1.send(What::Writable);
    }

    fn aborted(&self, _: &Arc<Shared>) {
        let _ = self.1.send(What::Aborted);
    }
}

fn wait_for(events: &Receiver<What>, what: What) {
    while events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what:?} never came")) != what {}
}

/// Answer a request that was taken, in this thread.
fn answer(handle: Deferred, random: &mut Random, alive: &Alive) {
    let (sender, events) = channel();
    // Perhaps late, and perhaps not at all.
    let watched = random.below(3);
    let watch = |handle: &Deferred| {
        let ear = Ear(alive.one(EVENTS), sender.clone());
        handle.watch(Arc::new(ear)).unwrap();
    };
    if watched == 0 {
        watch(&handle);
    }
    for _ in 0..40 {
        match random.below(9) {
            0 | 1 => {
                let mut buf = [0; 2000];
                if let Ok(None) = handle.read(&mut buf) {
                    match watched {
                        0 => wait_for(&events, What::Readable),
                        1 => {
                            watch(&handle);
                            wait_for(&events, What::Readable);
                        }
                        _ => std::thread::yield_now(),
                    }
                }
            }
            2 => drop(handle.start(&Head::new(200, &TEXT))),
            3..6 => {
                let size = random.size();
                if let Ok(false) = handle.write(&vec![b'.'; size]) {
                    match watched {
                        0 => wait_for(&events, What::Writable),
                        1 => {
                            watch(&handle);
                            wait_for(&events, What::Writable);
                        }
                        _ => std::thread::yield_now(),
                    }
                }
            }
            6 => {
                let env = handle.environ().unwrap();
                assert_eq!(env.get(b"HTTP_HOST").as_slice(), b"x");
            }
            7 if random.below(3) == 0 => {
                let _ = handle.reply(&Head::new(200, &TEXT), vec![b'r'; random.size()]);
                return;
            }
            _ => std::thread::yield_now(),
        }
    }
    match random.below(2) {
        0 => drop(handle),
        _ => drop(handle.end(Ok(()))),
    }
}

fn taken(seed: u64, buffering: &str) {
    let mut random = Random::new(seed);
    let alive = Alive::default();
    let mut server = Server::made_of(|config| {
        configure(config, buffering, "0");
        config.set("queue_limit", "4").unwrap();
        config.set("queue_timeout", "20ms").unwrap();
    });
    let takers: Vec<_> = (0..2)
        .map(|number| {
            let pulled = server.engine.pulled().unwrap().clone();
            let (alive, mut random) = (alive.clone(), Random::new(seed + 1000 * number + 7));
            std::thread::spawn(move || {
                let mut batch = Vec::new();
                while pulled.take(&mut batch, 1 + random.below(3), None) == Taken::Some {
                    for handle in batch.drain(..) {
                        answer(handle, &mut random, &alive);
                    }
                }
            })
        })
        .collect();
    let hearing = {
        let pulled = server.engine.pulled().unwrap().clone();
        let reads = random.below(2) == 0;
        std::thread::spawn(move || {
            let mut events = Vec::new();
            while reads && pulled.events(&mut events, 8, None) == Taken::Some {
                events.clear();
            }
        })
    };
    let mut clients = Vec::new();
    weather(&mut server, &mut random, &mut clients);
    let counters = server.counters.clone();
    drop(clients);
    if random.below(3) > 0 {
        server.until("everybody is gone", |server| server.counters.connections.get() == 0);
        server.until("every request is over", |server| server.counters.in_flight.get() == 0);
        nothing_left(seed, &alive, &counters);
    }
    drop(server);
    for thread in takers.into_iter().chain([hearing]) {
        thread.join().unwrap_or_else(|_| panic!("seed {seed}"));
    }
    nothing_left(seed, &alive, &counters);
}

fn runs() -> impl Iterator<Item = u64> {
    let number = |name, otherwise| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let first = number("STORM_SEED", 1);
    first..first + number("STORM_RUNS", 40)
}

#[test]
fn buffered_requests_on_the_loop() {
    runs().for_each(|seed| storm(seed, "1", "0"));
}

#[test]
fn streamed_requests_on_the_loop() {
    runs().for_each(|seed| storm(seed, "0", "0"));
}

#[test]
fn buffered_requests_on_threads() {
    runs().for_each(|seed| storm(seed, "1", "2"));
}

#[test]
fn streamed_requests_on_threads() {
    runs().for_each(|seed| storm(seed, "0", "2"));
}

#[test]
fn requests_that_are_taken() {
    for buffering in ["0", "1"] {
        runs().for_each(|seed| taken(seed, buffering));
    }
}
