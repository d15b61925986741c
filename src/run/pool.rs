//! Threads that do jobs: a bounded queue in, finished jobs out, one wake-up for as many as are
//! there.  Knows nothing of what a job is.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use parking_lot::{Condvar, Mutex};

use crate::base::error::{Error, Result};
use crate::sys::proc::SignalMask;
use crate::sys::waker::Waker;

/// Does a job; each thread has one of its own.
pub type Work<J> = Box<dyn FnMut(&mut J) + Send>;

/// A fixed number of threads.
pub struct Pool<J: Send + 'static> {
    shared: Arc<Shared<J>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<J> {
    queue: Mutex<Queue<J>>,
    /// There is a job, or the end.
    ready: Condvar,
    done: Mutex<Vec<J>>,
    waker: Waker,
}

struct Queue<J> {
    jobs: VecDeque<J>,
    limit: usize,
    closed: bool,
}

impl<J: Send + 'static> Pool<J> {
    /// `threads` threads, each of which does the work that `make` makes for it by its number, from 0.
    /// They have all signals blocked but faults: those are for the threads of the host.  Must be made
    /// after the last fork.
    pub fn new(threads: usize, limit: usize, make: impl Fn(usize) -> Work<J>) -> Result<Self> {
        let waker = Waker::new().map_err(|source| Error::os("make a thread pool", &source))?;
        let queue = Queue { jobs: VecDeque::new(), limit, closed: false };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            ready: Condvar::new(),
            done: Mutex::new(Vec::new()),
            waker,
        });
        let mut pool = Pool { shared, threads: Vec::with_capacity(threads) };
        let mask = SignalMask::block_all_but_faults();
        let spawned = (0..threads).try_for_each(|index| {
            let shared = Arc::clone(&pool.shared);
            let thread = Builder::new().name(format!("gateway-{index}"));
            let work = make(index);
            pool.threads.push(thread.spawn(move || shared.run(work))?);
            Ok(())
        });
        mask.restore();
        spawned
            .map_err(|source: std::io::Error| Error::os("start an application thread", &source))?;
        Ok(pool)
    }

    /// Readable when [`Pool::take_done`] has something.
    pub fn waker(&self) -> &Waker {
        &self.shared.waker
    }

    /// Queue a job; it comes back when the queue is full, unless it `must` be done.
    pub fn submit(&self, job: J, must: bool) -> std::result::Result<(), J> {
        let mut queue = self.shared.queue.lock();
        if queue.jobs.len() >= queue.limit && !must {
            return Err(job);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.ready.notify_one();
        Ok(())
    }

    /// Whether the caller is one of the threads.
    pub fn is_inside(&self) -> bool {
        let caller = std::thread::current().id();
        self.threads.iter().any(|thread| thread.thread().id() == caller)
    }

    /// Jobs that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().jobs.len()
    }

    /// Take a job back that no thread has begun.
    pub fn withdraw(&self, is_it: impl FnMut(&J) -> bool) -> Option<J> {
        let mut queue = self.shared.queue.lock();
        let index = queue.jobs.iter().position(is_it)?;
        queue.jobs.remove(index)
    }

    /// Move all finished jobs to `into`.
    pub fn take_done(&self, into: &mut Vec<J>) {
        self.shared.waker.clear();
        into.append(&mut self.shared.done.lock());
    }

    /// End the threads when they have done what they do, without waiting for that; what is queued is
    /// dropped, and so is what they have done.
    pub fn leave(mut self) {
        let mut queue = self.shared.queue.lock();
        queue.closed = true;
        let left = std::mem::take(&mut queue.jobs);
        drop(queue);
        self.shared.ready.notify_all();
        self.threads.clear();
        // Foreign code, perhaps.
        drop(left);
    }

    /// Do what is queued, then end the threads; waits for jobs that are being done.
    pub fn close(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.ready.notify_all();
        for thread in self.threads.drain(..) {
            // A job's panic was contained in the loop of `run`.
            let _ = thread.join();
        }
    }
}

impl<J> Shared<J> {
    fn run(&self, mut work: Work<J>) {
        while let Some(mut job) = self.next() {
            // A bug of ours costs the job, not the thread; the job's owner sees how far it came.
            let _ = catch_unwind(AssertUnwindSafe(|| work(&mut job)));
            let mut done = self.done.lock();
            done.push(job);
            let first = done.len() == 1;
            drop(done);
            if first {
                self.waker.wake();
            }
        }
    }

    fn next(&self) -> Option<J> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            self.ready.wait(&mut queue);
        }
    }
}

impl<J: Send + 'static> Drop for Pool<J> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<J: Send + 'static> fmt::Debug for Pool<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sock::wait_readable;

    fn collect(pool: &Pool<u32>, count: usize) -> Vec<u32> {
        let mut done = Vec::new();
        while done.len() < count {
            assert!(wait_readable(pool.waker().fd(), 10_000).unwrap(), "only {}", done.len());
            pool.take_done(&mut done);
        }
        done.sort_unstable();
        done
    }

    #[test]
    fn every_job_is_done_once_and_comes_back() {
        let pool = Pool::new(4, 10_000, |_| Box::new(|job: &mut u32| *job += 1)).unwrap();
        for job in 0..1000 {
            pool.submit(job, false).unwrap();
        }
        assert_eq!(collect(&pool, 1000), (1..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock();
        let work = |_| -> Work<u32> {
            let gate = Arc::clone(&gate);
            Box::new(move |_| drop(gate.lock()))
        };
        let pool = Pool::new(1, 2, work).unwrap();
        pool.submit(0, false).unwrap();
        while pool.waiting() > 0 {
            std::thread::yield_now();
        }
        assert_eq!((pool.submit(1, false), pool.submit(2, false)), (Ok(()), Ok(())));
        assert_eq!(pool.submit(3, false), Err(3));
        assert_eq!(pool.submit(4, true), Ok(()));
        drop(held);
        assert_eq!(collect(&pool, 4), [0, 1, 2, 4]);
    }

    #[test]
    fn what_waits_can_be_withdrawn_and_what_is_done_cannot() {
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock();
        let work = |_| -> Work<u32> {
            let gate = Arc::clone(&gate);
            Box::new(move |_| drop(gate.lock()))
        };
        let pool = Pool::new(1, 9, work).unwrap();
        pool.submit(0, false).unwrap();
        while pool.waiting() > 0 {
            std::thread::yield_now();
        }
        (1..4).for_each(|job| pool.submit(job, false).unwrap());
        assert_eq!(pool.withdraw(|job| *job == 2), Some(2));
        assert_eq!(pool.withdraw(|job| *job == 2), None);
        assert_eq!(pool.withdraw(|job| *job == 0), None);
        drop(held);
        assert_eq!(collect(&pool, 3), [0, 1, 3]);
    }

    #[test]
    fn a_panic_costs_nothing_but_the_job() {
        let work = |_| -> Work<u32> { Box::new(|job| assert_ne!(*job, 7, "on purpose")) };
        let pool = Pool::new(1, 100, work).unwrap();
        for job in 5..10 {
            pool.submit(job, false).unwrap();
        }
        assert_eq!(collect(&pool, 5), [5, 6, 7, 8, 9]);
    }
}
