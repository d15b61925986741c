//! All orders in which a few threads can meet in the queue that requests are taken from.
//!
//! loom runs each test again and again, each time with another interleaving of what the threads do
//! to locks and conditions, and reports one in which somebody waits for ever.

// The queue itself, with loom's primitives in place of the library's.
#[path = "../src/run/pull.rs"]
mod pull;

/// What the queue waits with.
mod sync {
    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
}

use loom::sync::Arc;
use loom::thread;

use pull::{Pull, Taken};

/// With three threads there are too many orders: those in which a thread is interrupted up to twice.
fn bounded(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(test);
}

/// Take until the end; how many there were.
fn take_all(queue: &Pull<u32>, batch: usize) -> Vec<u32> {
    let mut all = Vec::new();
    while queue.take(&mut all, batch, None) == Taken::Some {}
    all
}

#[test]
fn everything_is_taken_once_and_nobody_waits_after_the_end() {
    for batch in [1, 2] {
        bounded(move || {
            let queue = Arc::new(Pull::new(9));
            let takers: Vec<_> = (0..2)
                .map(|_| {
                    let queue = Arc::clone(&queue);
                    thread::spawn(move || take_all(&queue, batch))
                })
                .collect();
            queue.push(1).unwrap();
            queue.push(2).unwrap();
            queue.close();
            let mut all: Vec<_> =
                takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
            all.sort_unstable();
            assert_eq!(all, [1, 2]);
        });
    }
}

#[test]
fn two_givers_wake_two_takers() {
    bounded(|| {
        let queue = Arc::new(Pull::new(9));
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let mut one = Vec::new();
                assert_eq!(queue.take(&mut one, 1, None), Taken::Some);
                one[0]
            })
        };
        let giver = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push(1).unwrap())
        };
        queue.push(2).unwrap();
        let mut mine = Vec::new();
        assert_eq!(queue.take(&mut mine, 1, None), Taken::Some);
        assert_eq!(mine[0] + taker.join().unwrap(), 3);
        giver.join().unwrap();
    });
}

#[test]
fn what_is_withdrawn_is_not_taken() {
    loom::model(|| {
        let queue = Arc::new(Pull::new(9));
        queue.push(7).unwrap();
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || take_all(&queue, 9).len())
        };
        let withdrawn = queue.withdraw(|item| *item == 7).is_some();
        queue.close();
        assert_eq!(queue.push(8), Err(8));
        assert_eq!(usize::from(withdrawn) + taker.join().unwrap(), 1);
    });
}

#[test]
fn a_full_queue_gives_the_item_back() {
    loom::model(|| {
        let queue = Arc::new(Pull::new(1));
        let giver = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push(1).is_ok())
        };
        let mine = queue.push(2).is_ok();
        assert!(mine != giver.join().unwrap(), "one fits");
    });
}
