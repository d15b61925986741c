//! What a handle and its exchange say to each other, without a loop: nothing is lost on the way.  No
//! test makes a system call but for threads, so that Miri can run them:
//! `cargo +nightly miri test --lib gateway::deferred`.

use super::*;
use crate::base::octets::{Lent, Loan, lend};
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, Mutex as StdMutex};
use std::thread;

/// Counts what is posted or told, and is waited for without a limit: what is lost hangs.
#[derive(Default)]
struct Bell(StdMutex<usize>, Condvar);

impl Bell {
    fn ring(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }

    fn wait(&self) {
        let rung = self.1.wait_while(self.0.lock().unwrap(), |rung| *rung == 0);
        *rung.unwrap() -= 1;
    }
}

impl Mailbox for Bell {
    fn post(&self, _: u64) {
        self.ring();
    }
}

fn handle(limit: u64, input: RequestBody) -> (Arc<Shared>, Arc<Bell>) {
    let mailbox = Arc::new(Bell::default());
    let begin = Beginning {
        mailbox: Arc::clone(&mailbox) as Arc<_>,
        key: 1,
        env: EnvironPtr::new(std::ptr::null()),
        input,
        limit,
        started: true,
        committed: false,
        watcher: None,
    };
    let shared = Shared::new(begin, None);
    shared.returned(Mode::Later);
    (Arc::new(shared), mailbox)
}

/// As the exchange does, without one: take, "send", tell.
fn send_all(shared: &Shared, mailbox: &Bell, told: &Bell) -> u64 {
    let (mut batch, mut sent) = (Batch::default(), 0);
    loop {
        mailbox.wait();
        shared.noticed();
        while shared.take(&mut batch, 0) {
            sent += batch.octets;
            if batch.is_whole() {
                return sent;
            }
            batch.clear();
            if shared.has_room(0) {
                told.ring();
            }
        }
    }
}

#[test]
fn a_whole_answer_is_not_of_1xx() {
    for status in [100, 101, 103, 199, 200] {
        let (shared, _) = handle(10, RequestBody::default());
        shared.state.lock().started = false;
        let given = shared.reply(&Response::new(status, &[]), Vec::new()).unwrap();
        let refused = given.0.err().map(|error| error.kind());
        assert_eq!(refused, (status < 200).then_some(Kind::Protocol), "{status}");
    }
}

#[test]
fn a_writer_that_was_refused_is_told_of_room() {
    let (shared, mailbox) = handle(10, RequestBody::default());
    let told = Arc::new(Bell::default());
    let writer = {
        let (shared, told) = (Arc::clone(&shared), Arc::clone(&told));
        thread::spawn(move || {
            for _ in 0..30 {
                let chunk = || OwnedChunk::from_vec(vec![b'x'; 4]);
                while let Written::Refused(_) = shared.write(chunk()).unwrap() {
                    told.wait();
                }
            }
            shared.end(0).unwrap().0.unwrap();
        })
    };
    assert_eq!(send_all(&shared, &mailbox, &told), 120);
    writer.join().unwrap();
    assert_eq!(shared.write(OwnedChunk::from_static(b"x")).unwrap_err().kind(), Kind::State);
}

#[test]
fn an_empty_chunk_sends_the_head_once_and_where_it_is_flushed() {
    struct Empty;
    impl Loan for Empty {
        fn lent(&self) -> Lent<'_> {
            Lent::Octets(b"")
        }
        fn back(self: Box<Self>) {}
    }
    let (shared, _mailbox) = handle(8, RequestBody::default());
    let empty = |flags| lend(Box::new(Empty), flags);
    for (flags, ops) in [(0, 0), (CHUNK_FLUSH, 1), (CHUNK_FLUSH, 0)] {
        assert!(matches!(shared.write(empty(flags)).unwrap(), Written::Taken));
        let mut batch = Batch::default();
        shared.take(&mut batch, 0);
        assert_eq!((batch.ops.len(), batch.octets), (ops, 0));
    }
}

#[test]
fn a_reader_that_found_nothing_is_told_of_more_and_of_the_end() {
    for failure in [None, Some(Kind::Timeout)] {
        let mut input = RequestBody::default();
        input.open(true, 0);
        let (shared, mailbox) = handle(10, input);
        let told = Arc::new(Bell::default());
        let reader = {
            let (shared, told) = (Arc::clone(&shared), Arc::clone(&told));
            thread::spawn(move || {
                let (mut buf, mut all) = ([0; 700], 0);
                loop {
                    match shared.read(&mut buf) {
                        Ok(None) => told.wait(),
                        Ok(Some(0)) => return (all, None),
                        Ok(Some(n)) => all += n,
                        Err(error) => return (all, Some(error.kind())),
                    }
                }
            })
        };
        let mut left = 10;
        while left > 0 {
            while shared.wants_input() && left > 0 {
                left -= 1;
                shared.input().push(&[b'y'; 600], Path::new("")).unwrap();
                if left == 0 {
                    match failure {
                        None => shared.input().complete(),
                        Some(why) => shared.input().fail(why),
                    }
                }
                if shared.has_input() {
                    told.ring();
                }
            }
            if left > 0 {
                mailbox.wait();
                shared.noticed();
            }
        }
        assert_eq!(reader.join().unwrap(), (6000, failure));
    }
}

#[test]
fn who_listens_late_hears_what_another_was_told() {
    #[derive(Default)]
    struct Ear(AtomicUsize);
    impl Events for Ear {
        fn readable(&self, _: &Arc<Shared>) {}
        fn writable(&self, _: &Arc<Shared>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn aborted(&self, _: &Arc<Shared>) {}
    }
    let (shared, mailbox) = handle(1, RequestBody::default());
    let refused = |shared: &Shared| {
        matches!(shared.write(OwnedChunk::from_static(b"x")), Ok(Written::Refused(_)))
    };
    assert!(!refused(&shared) && refused(&shared));
    shared.take(&mut Batch::default(), 0);
    let early = Arc::new(Ear::default());
    shared.watch(Arc::clone(&early) as Arc<_>).unwrap();
    let driver = {
        let (shared, mailbox) = (Arc::clone(&shared), Arc::clone(&mailbox));
        thread::spawn(move || {
            while !shared.state.lock().ended {
                shared.noticed();
                if shared.has_room(0)
                    && let Some(events) = shared.events()
                {
                    events.writable(&shared);
                }
                mailbox.wait();
            }
        })
    };
    let late = Arc::new(Ear::default());
    shared.watch(Arc::clone(&late) as Arc<_>).unwrap();
    // What nobody tells it hangs.
    while late.0.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    shared.end(0).unwrap().0.unwrap();
    driver.join().unwrap();
    assert_eq!((Arc::strong_count(&early), Arc::strong_count(&late)), (1, 2));
}
