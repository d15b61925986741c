//! A hierarchical timer wheel: head, body, write, keep-alive and application deadlines.
//!
//! Six levels of 64 slots each; a tick of the lowest is 8 ms, and a slot of each further level spans
//! the whole level below.  A timer is put in the lowest level that can tell it from the present and
//! falls to lower ones as its time comes near.  It is a key and nothing else: it cannot be cancelled
//! or moved.  The owner keeps the true deadline in its own record and, when a key comes out too soon
//! for it, inserts it again; so a deadline that moves with every request costs one comparison.
//!
//! Timers are nodes of one pool, so a warm wheel allocates nothing.

/// Milliseconds of a tick, as a shift: coarse enough that timers of a burst share a wake-up, fine
/// beside the shortest timeout that anybody configures.
const TICK_SHIFT: u32 = 3;
/// Slots per level, as a shift: a level's occupied slots are the bits of one word.
const SLOT_SHIFT: u32 = 6;
const SLOTS: usize = 1 << SLOT_SHIFT;
/// Six levels span 2^36 ticks, 17 years from the wheel's first moment.
const LEVELS: usize = 6;
const MAX_TICK: u64 = (1 << (SLOT_SHIFT * LEVELS as u32)) - 1;
/// The end of a list.
const NONE: u32 = u32::MAX;

/// Timers, by key.
#[derive(Debug)]
pub struct Wheel {
    /// The monotonic time of tick 0, in milliseconds.
    origin: u64,
    /// The tick up to which everything has come out.
    elapsed: u64,
    levels: Box<[Level; LEVELS]>,
    nodes: Vec<Node>,
    free: u32,
    /// Those that have come out and were not taken.
    due: u32,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    /// Bit n: slot n holds something.
    occupied: u64,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    head: u32,
    /// The earliest tick in the list, so that a sleeper knows when to wake without walking it.
    earliest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    key: u64,
    tick: u64,
    next: u32,
}

const EMPTY: Slot = Slot { head: NONE, earliest: u64::MAX };

impl Wheel {
    /// An empty wheel whose present is `now_ms` (of a monotonic clock, as all times here).
    pub fn new(now_ms: u64) -> Self {
        let level = Level { occupied: 0, slots: [EMPTY; SLOTS] };
        Wheel {
            origin: now_ms,
            elapsed: 0,
            levels: Box::new([level; LEVELS]),
            nodes: Vec::new(),
            free: NONE,
            due: NONE,
            len: 0,
        }
    }

    /// How many timers wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `key` come out at `deadline_ms`: never before, and at most one tick (8 ms) after it when
    /// the wheel is advanced in time.  A deadline in the past comes out with the next tick; one more
    /// than 17 years away comes out early.  Equal keys are separate timers.
    pub fn insert(&mut self, key: u64, deadline_ms: u64) {
        let after = deadline_ms.saturating_sub(self.origin);
        // Rounded up, so that it is never early; and never in the tick that is over already, which
        // no advance would look at again.
        let tick = after.div_ceil(1 << TICK_SHIFT).clamp(self.elapsed + 1, MAX_TICK);
        let node = Node { key, tick, next: NONE };
        let index = if self.free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            self.nodes[index as usize] = node;
            index
        };
        self.len += 1;
        self.link(index);
    }

    /// Moves the present to `now_ms`; the keys whose time has come are there for [`Wheel::take_due`].
    pub fn advance(&mut self, now_ms: u64) {
        let now = (now_ms.saturating_sub(self.origin) >> TICK_SHIFT).min(MAX_TICK - 1);
        while self.len > 0 {
            let Some((level, slot, start)) = self.first_slot() else { break };
            if start > now {
                break;
            }
            self.elapsed = self.elapsed.max(start);
            self.levels[level].occupied &= !(1 << slot);
            let list = std::mem::replace(&mut self.levels[level].slots[slot], EMPTY);
            let mut index = list.head;
            while index != NONE {
                let node = self.nodes[index as usize];
                if node.tick <= now {
                    self.nodes[index as usize].next = self.due;
                    self.due = index;
                    self.len -= 1;
                } else {
                    self.link(index);
                }
                index = node.next;
            }
        }
        self.elapsed = self.elapsed.max(now);
    }

    /// One of the keys that have come out, in no particular order.  Others may be inserted meanwhile.
    pub fn take_due(&mut self) -> Option<u64> {
        let index = self.due;
        let node = self.nodes.get_mut(index as usize)?;
        self.due = node.next;
        node.next = self.free;
        self.free = index;
        Some(node.key)
    }

    /// When [`Wheel::advance`] will have something to do: exactly the time at which the earliest
    /// timer comes out, but not before `now_ms`.  `None` when no timer waits.
    pub fn next_deadline(&self, now_ms: u64) -> Option<u64> {
        let (level, slot, _) = self.first_slot()?;
        let tick = self.levels[level].slots[slot].earliest;
        Some((self.origin + (tick << TICK_SHIFT)).max(now_ms))
    }

    /// Puts a node in the lowest level whose slots tell its tick from the present.
    fn link(&mut self, index: u32) {
        let tick = self.nodes[index as usize].tick;
        let level = level_of(self.elapsed, tick);
        let slot = (tick >> (level as u32 * SLOT_SHIFT)) as usize & (SLOTS - 1);
        let level = &mut self.levels[level];
        level.occupied |= 1 << slot;
        let slot = &mut level.slots[slot];
        self.nodes[index as usize].next = slot.head;
        slot.head = index;
        slot.earliest = slot.earliest.min(tick);
    }

    /// Level, slot and first tick of the earliest slot that holds something.  All of a level lies
    /// before all of the next, since a tick that shares its block of the next level with the present
    /// is in this level; and within a level slots are in the order of time, for the same reason.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let slot = self.levels[level].occupied.trailing_zeros();
        let shift = level as u32 * SLOT_SHIFT;
        let block = self.elapsed >> (shift + SLOT_SHIFT) << (shift + SLOT_SHIFT);
        Some((level, slot as usize, block | u64::from(slot) << shift))
    }
}

/// The level of the highest digit (of 6 bits) in which the two ticks differ.
fn level_of(elapsed: u64, tick: u64) -> usize {
    let different = (elapsed ^ tick) | 1;
    ((different.ilog2() / SLOT_SHIFT) as usize).min(LEVELS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: u64 = 1 << TICK_SHIFT;

    fn advance(wheel: &mut Wheel, now_ms: u64, due: &mut Vec<u64>) {
        wheel.advance(now_ms);
        due.extend(std::iter::from_fn(|| wheel.take_due()));
    }

    /// Sleeps as an idle worker does and tells at which time each key came out.
    fn sleep_through(wheel: &mut Wheel, mut now: u64) -> (Vec<(u64, u64)>, usize) {
        let (mut out, mut due, mut wakes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = wheel.next_deadline(now) {
            assert!(next >= now);
            now = next;
            advance(wheel, now, &mut due);
            out.extend(due.drain(..).map(|key| (key, now)));
            wakes += 1;
        }
        (out, wakes)
    }

    #[test]
    fn an_empty_wheel_never_wakes_anybody() {
        let mut wheel = Wheel::new(5);
        assert_eq!(wheel.next_deadline(5), None);
        let mut due = Vec::new();
        advance(&mut wheel, 1 << 40, &mut due);
        assert!(due.is_empty());
        assert_eq!(wheel.next_deadline(1 << 40), None);
    }

    #[test]
    fn one_timer_costs_one_wake_up_however_far_it_is() {
        for after in [0, 1, 7, 8, 9, 511, 512, 5000, 32_768, 60_000, 3_600_000, 86_400_000] {
            let start = 123_456_789;
            let mut wheel = Wheel::new(start);
            wheel.insert(7, start + after);
            let (out, wakes) = sleep_through(&mut wheel, start);
            assert_eq!(wakes, 1, "{after}");
            assert_eq!(out[0].0, 7);
            assert!(out[0].1 >= start + after, "early: {after} at {}", out[0].1);
            assert!(out[0].1 <= start + after + TICK, "late: {after} at {}", out[0].1);
        }
    }

    #[test]
    fn a_deadline_in_the_past_comes_out_with_the_next_tick() {
        let mut wheel = Wheel::new(1000);
        let mut due = Vec::new();
        advance(&mut wheel, 5000, &mut due);
        wheel.insert(1, 0);
        wheel.insert(2, 4999);
        advance(&mut wheel, 5000 + TICK, &mut due);
        due.sort_unstable();
        assert_eq!(due, [1, 2]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_long_sleep_brings_out_everything_at_once() {
        let mut wheel = Wheel::new(0);
        for key in 0..1000 {
            wheel.insert(key, key * 977);
        }
        let mut due = Vec::new();
        advance(&mut wheel, 500 * 977, &mut due);
        due.sort_unstable();
        assert!(due.len() >= 500 && due.len() <= 501, "{}", due.len());
        assert!(due.iter().copied().eq(0..due.len() as u64));
        advance(&mut wheel, 2_000_000, &mut due);
        assert_eq!(due.len(), 1000);
    }

    #[test]
    fn a_time_that_goes_back_changes_nothing() {
        let mut wheel = Wheel::new(1000);
        let mut due = Vec::new();
        wheel.insert(1, 1100);
        advance(&mut wheel, 1050, &mut due);
        advance(&mut wheel, 900, &mut due);
        assert!(due.is_empty());
        advance(&mut wheel, 1100 + TICK, &mut due);
        assert_eq!(due, [1]);
    }

    #[test]
    fn a_warm_wheel_uses_its_nodes_again() {
        let mut wheel = Wheel::new(0);
        let mut due = Vec::new();
        let mut now = 0;
        for round in 0..10_000 {
            wheel.insert(round, now + 5000);
            now += 50;
            advance(&mut wheel, now, &mut due);
            due.clear();
        }
        assert!(wheel.nodes.len() <= 5000 / 50 + 2, "{}", wheel.nodes.len());
    }

    #[test]
    fn centuries_away_is_not_lost() {
        let mut wheel = Wheel::new(0);
        wheel.insert(1, u64::MAX);
        assert_eq!(wheel.next_deadline(0), Some(MAX_TICK << TICK_SHIFT));
    }

    proptest! {
        /// Against the slow twin: a list of deadlines.
        #[test]
        fn agrees_with_a_list(
            start in 0u64..1 << 40,
            steps in prop::collection::vec((0u64..100_000, prop::collection::vec(0u64..1 << 24, 0..4)), 1..60)
        ) {
            let mut wheel = Wheel::new(start);
            let mut list: Vec<(u64, u64)> = Vec::new();
            let mut due = Vec::new();
            let (mut now, mut key) = (start, 0);
            for (step, inserts) in steps {
                for after in inserts {
                    wheel.insert(key, now + after);
                    list.push((key, now + after));
                    key += 1;
                }
                now += step;
                due.clear();
                advance(&mut wheel, now, &mut due);
                for key in &due {
                    let at = list.iter().position(|(k, _)| k == key).expect("came out once");
                    let (_, deadline) = list.swap_remove(at);
                    prop_assert!(deadline <= now, "early");
                }
                for (_, deadline) in &list {
                    prop_assert!(deadline + TICK > now, "late: {deadline} at {now}");
                }
                prop_assert_eq!(wheel.len(), list.len());
                let next = list.iter().map(|(_, deadline)| *deadline).min();
                match (wheel.next_deadline(now), next) {
                    (None, None) => {}
                    (Some(wake), Some(deadline)) => {
                        prop_assert!(wake >= deadline.max(now));
                        prop_assert!(wake <= (deadline + TICK).max(now + TICK));
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
