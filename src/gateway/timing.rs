//! How long requests take, phase by phase: what is measured of one, and the histograms of a worker, in
//! memory that others read.
//!
//! The buckets are log-linear: nine in each decade, from 1 µs to 100 s, so that a value is known to a
//! ninth of its decade, whatever it is.  They are fixed: what was counted under one configuration, or
//! by a worker that is dead, adds up with the rest.

use crate::base::counter::Counter;
use crate::sys::shm::shared_record;

/// The upper bounds that there are: 1, 2, ... 9 times a power of ten of microseconds, and 100 s.
pub const BOUNDS: usize = 9 * 8 + 1;

/// One for what is longer than all of them.
const BUCKETS: usize = BOUNDS + 1;

/// The upper bound of a bucket, in microseconds: a time that is as long is in it.
pub const fn bound_us(bucket: usize) -> u64 {
    (bucket as u64 % 9 + 1) * 10_u64.pow(bucket as u32 / 9)
}

/// The bucket of a time: the first whose bound is not less.
fn bucket_of(ns: u64) -> usize {
    // Whole microseconds, upwards: bounds are.
    let us = ns.div_ceil(1000).max(1);
    let decade = us.ilog10();
    // Ten times a decade is once the next one.
    let bucket = 9 * decade as usize + us.div_ceil(10_u64.pow(decade)) as usize - 1;
    bucket.min(BUCKETS - 1)
}

/// The parts of a request's time, in nanoseconds; together they are all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// From its complete head until its body was there, or, where it streams, until it was to be read.
    pub read: u64,
    /// From there until a thread had time for it.
    pub queue: u64,
    /// From the call of the application until its answer began.
    pub app: u64,
    /// From there to the end, when all of the answer was handed to the system or to the connection's buffer.
    pub write: u64,
}

/// Moments of a request, in nanoseconds of one clock.  One before `began` has not come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    /// The head was complete.
    pub began: u64,
    /// It was given to a thread.
    pub queued: u64,
    /// The application was called.
    pub called: u64,
    /// The answer began.
    pub answered: u64,
    /// It is over.
    pub ended: u64,
}

impl Moments {
    /// Whether the application was called.
    pub fn reached_app(&self) -> bool {
        self.called >= self.began
    }

    /// What lies between them.
    pub fn phases(&self) -> Phases {
        let Moments { began, queued, called, answered, ended } = *self;
        // Backwards: what has not come is no later than what followed.
        let ended = ended.max(began);
        let answered = if answered >= began { answered.min(ended) } else { ended };
        let called = if called >= began { called.min(answered) } else { answered };
        let queued = if queued >= began { queued.min(called) } else { called };
        Phases {
            read: queued - began,
            queue: called - queued,
            app: answered - called,
            write: ended - answered,
        }
    }
}

impl Phases {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// What they are called, in the order of [`Phases::all`].
    pub const NAMES: [&'static str; Self::COUNT] = ["read", "queue", "app", "write"];

    /// All of them, in the order in which they come.
    pub fn all(&self) -> [u64; Self::COUNT] {
        [self.read, self.queue, self.app, self.write]
    }
}

shared_record! {
    /// The histograms of one worker, and its predecessors in the same place.
    pub struct Timings {
        /// Requests by how long each phase took.
        buckets: [[Counter; BUCKETS]; Phases::COUNT],
        /// Nanoseconds of each phase.
        sums: [Counter; Phases::COUNT],
    }
}

/// A histogram, read at one moment.  Its count is the sum of its buckets, so that the two always
/// agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    /// Nanoseconds.
    pub sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [0; BUCKETS], sum: 0 }
    }
}

impl Timings {
    /// One more request, by any thread of the worker.
    pub fn note(&self, phases: &Phases) {
        for ((ns, buckets), sum) in phases.all().into_iter().zip(&self.buckets).zip(&self.sums) {
            buckets[bucket_of(ns)].up();
            sum.add(ns);
        }
    }

    /// What was noted so far, phase by phase.
    pub fn read(&self) -> [Histogram; Phases::COUNT] {
        std::array::from_fn(|phase| Histogram {
            buckets: std::array::from_fn(|bucket| self.buckets[phase][bucket].get()),
            sum: self.sums[phase].get(),
        })
    }
}

impl Histogram {
    /// And those of another.
    pub fn add(&mut self, other: &Histogram) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, more)| *sum += more);
        self.sum += other.sum;
    }

    /// How many requests there are in it.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many took no longer than this bound, and for each bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut sum = 0;
        self.buckets[..BOUNDS].iter().enumerate().map(move |(bucket, count)| {
            sum += count;
            (bound_us(bucket), sum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_log_linear() {
        let bounds: Vec<_> = (0..BOUNDS).map(bound_us).collect();
        assert_eq!(bounds[..11], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20]);
        assert_eq!(bounds[BOUNDS - 2..], [90_000_000, 100_000_000]);
        assert!(bounds.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_time_as_long_as_a_bound_is_within_it() {
        for (ns, bucket) in [
            (0, 0),
            (1, 0),
            (1000, 0),
            (1001, 1),
            (2000, 1),
            (9000, 8),
            (9001, 9),
            (10_000, 9),
            (10_001, 10),
            (20_000, 10),
            (100_000_000_000, BOUNDS - 1),
            (100_000_000_001, BOUNDS),
            (u64::MAX, BOUNDS),
        ] {
            assert_eq!(bucket_of(ns), bucket, "{ns}");
        }
    }

    #[test]
    fn phases_are_what_lies_between_the_moments() {
        let phases = |began, queued, called, answered, ended| {
            Moments { began, queued, called, answered, ended }.phases().all()
        };
        assert_eq!(phases(100, 110, 130, 160, 200), [10, 20, 30, 40]);
        assert_eq!(phases(100, 0, 130, 160, 200), [30, 0, 30, 40], "no thread");
        assert_eq!(phases(100, 110, 130, 0, 200), [10, 20, 70, 0], "no answer");
        assert_eq!(phases(100, 110, 0, 160, 200), [10, 50, 0, 40], "too busy");
        assert_eq!(phases(100, 0, 0, 160, 200), [60, 0, 0, 40], "a refused body");
        assert_eq!(phases(100, 0, 0, 0, 200), [100, 0, 0, 0], "the client left");
        assert_eq!(phases(100, 90, 95, 99, 200), [100, 0, 0, 0], "those of the request before");
    }

    #[test]
    fn what_is_noted_is_read_and_adds_up() {
        let timings = &crate::sys::shm::Shared::<Timings>::new(1).unwrap()[0];
        timings.note(&Phases { read: 0, queue: 5_000, app: 1_500_000, write: u64::MAX >> 1 });
        timings.note(&Phases { read: 1, queue: 5_001, app: 0, write: 0 });
        let [read, queue, app, write] = timings.read();
        assert_eq!((read.count(), read.sum), (2, 1));
        let at = |histogram: &Histogram, us| {
            histogram.cumulative().find(|(bound, _)| *bound == us).map(|(_, count)| count)
        };
        assert_eq!([4, 5, 6].map(|us| at(&queue, us)), [Some(0), Some(1), Some(2)]);
        assert_eq!([1000, 2000].map(|us| at(&app, us)), [Some(1), Some(2)]);
        assert_eq!((at(&write, 100_000_000), write.count()), (Some(1), 2), "longer than all");
        let mut sum = read;
        sum.add(&queue);
        assert_eq!((sum.count(), sum.sum), (4, 10_002));
    }

    proptest! {
        #[test]
        fn a_bucket_is_the_first_that_is_long_enough(ns: u64) {
            let ns = ns >> (ns % 50);
            let bucket = bucket_of(ns);
            if bucket < BOUNDS {
                prop_assert!(ns <= bound_us(bucket) * 1000);
            }
            if bucket > 0 {
                prop_assert!(ns > bound_us(bucket - 1) * 1000);
            }
        }

        #[test]
        fn phases_are_all_of_the_time(began: u32, rest in proptest::array::uniform4(0_u32..)) {
            let [queued, called, answered, ended] = rest.map(u64::from);
            let moments = Moments { began: began.into(), queued, called, answered, ended };
            let sum: u64 = moments.phases().all().iter().sum();
            prop_assert_eq!(sum, ended.saturating_sub(began.into()));
        }
    }
}
