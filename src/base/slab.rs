//! Slots with generations: a dense table whose keys are event tokens.
//!
//! A key names a slot and the generation of its tenant.  Removing the tenant ends the generation, so
//! a key that is kept too long (an event of the same batch, a timer that nobody cancelled) misses
//! instead of finding the next tenant.  Keys use 56 bits; the top byte is the caller's.

/// Bits of the slot's index in a key.
const INDEX_BITS: u32 = 24;
/// The most slots: 16.7 million, far more than a process has descriptors.
const MAX_SLOTS: usize = 1 << INDEX_BITS;
/// The end of the free list.
const NONE: u32 = u32::MAX;

/// A table of `T` with stable keys.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Used(T),
    Free { next: u32 },
}

impl<T> Slab<T> {
    /// The bits that a key may use; the rest is the caller's.
    pub const KEY_MASK: u64 = (1 << 56) - 1;

    /// An empty table, without memory.
    pub const fn new() -> Self {
        Slab { slots: Vec::new(), free: NONE, len: 0 }
    }

    /// An empty table with room for `capacity` entries.
    pub fn with_capacity(capacity: usize) -> Self {
        Slab { slots: Vec::with_capacity(capacity), free: NONE, len: 0 }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many slots exist, used or free: the bound of the indices of [`Slab::key_at`].
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The key that the next [`Slab::insert`] will return.
    pub fn next_key(&self) -> u64 {
        match self.slots.get(self.free as usize) {
            Some(slot) => key(self.free, slot.generation),
            None => key(self.slots.len() as u32, 1),
        }
    }

    /// Adds an entry; its key is never 0 and is not used again.
    ///
    /// # Panics
    /// With 2^24 entries; callers have a limit far below.
    pub fn insert(&mut self, value: T) -> u64 {
        self.len += 1;
        if let Some(slot) = self.slots.get_mut(self.free as usize) {
            let index = self.free;
            if let State::Free { next } = slot.state {
                self.free = next;
            }
            slot.state = State::Used(value);
            return key(index, slot.generation);
        }
        let index = self.slots.len();
        assert!(index < MAX_SLOTS, "a slab holds at most 2^24 entries");
        self.slots.push(Slot { generation: 1, state: State::Used(value) });
        key(index as u32, 1)
    }

    /// The entry of `key`, unless it was removed.
    #[inline]
    pub fn get(&self, key: u64) -> Option<&T> {
        let (index, generation) = parts(key);
        match self.slots.get(index) {
            Some(Slot { generation: g, state: State::Used(value) }) if *g == generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The entry of `key`, to be changed, unless it was removed.
    #[inline]
    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let (index, generation) = parts(key);
        match self.slots.get_mut(index) {
            Some(Slot { generation: g, state: State::Used(value) }) if *g == generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// Whether `key` has an entry.
    pub fn contains(&self, key: u64) -> bool {
        self.get(key).is_some()
    }

    /// Takes the entry of `key` out; the key misses from now on.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let (index, generation) = parts(key);
        let slot = self.slots.get_mut(index)?;
        if slot.generation != generation || matches!(slot.state, State::Free { .. }) {
            return None;
        }
        // A slot whose generations are used up (after 2^32 tenants) is not used again: a stale key
        // always misses.
        let reuse = slot.generation < u32::MAX;
        let next = if reuse { self.free } else { NONE };
        let state = std::mem::replace(&mut slot.state, State::Free { next });
        if reuse {
            slot.generation += 1;
            self.free = index as u32;
        }
        self.len -= 1;
        match state {
            State::Used(value) => Some(value),
            State::Free { .. } => None,
        }
    }

    /// The key of the entry in slot `index`, for walks that insert and remove on their way.
    pub fn key_at(&self, index: usize) -> Option<u64> {
        match self.slots.get(index) {
            Some(Slot { generation, state: State::Used(_) }) => {
                Some(key(index as u32, *generation))
            }
            _ => None,
        }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.slots.len()).filter_map(|index| self.key_at(index))
    }

    /// All entries.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Used(value) => Some(value),
            State::Free { .. } => None,
        })
    }

    /// All entries, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| match &mut slot.state {
            State::Used(value) => Some(value),
            State::Free { .. } => None,
        })
    }

    /// All entries with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match &slot.state {
            State::Used(value) => Some((key(index as u32, slot.generation), value)),
            State::Free { .. } => None,
        })
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab::new()
    }
}

/// The index of the slot that a key is for: see [`Slab::key_at`].
#[inline]
pub const fn index_of(key: u64) -> usize {
    parts(key).0
}

#[inline]
const fn key(index: u32, generation: u32) -> u64 {
    (generation as u64) << INDEX_BITS | index as u64
}

#[inline]
const fn parts(key: u64) -> (usize, u32) {
    // A bit above the 56 makes the generation wrong rather than being ignored.
    let generation = key >> INDEX_BITS;
    let generation = if generation > u32::MAX as u64 { 0 } else { generation as u32 };
    (key as usize & (MAX_SLOTS - 1), generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_misses_the_next_tenant() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_ne!(first, second);
        assert_eq!(slab.slots(), 1, "the slot is used again");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn keys_fit_in_56_bits_and_are_never_zero() {
        let mut slab = Slab::new();
        for round in 0..1000 {
            let key = slab.insert(round);
            assert_ne!(key, 0);
            assert_eq!(key & !Slab::<i32>::KEY_MASK, 0);
            assert!(!slab.contains(key | 1 << 56), "the top byte is not part of a key");
            slab.remove(key);
        }
        assert_eq!(key(MAX_SLOTS as u32 - 1, u32::MAX), Slab::<i32>::KEY_MASK);
        assert_eq!(parts(Slab::<i32>::KEY_MASK), (MAX_SLOTS - 1, u32::MAX));
    }

    #[test]
    fn a_slot_without_generations_left_retires() {
        let mut slab = Slab::new();
        slab.insert(1);
        slab.slots[0].generation = u32::MAX;
        let last = slab.key_at(0).unwrap();
        assert_eq!(slab.remove(last), Some(1));
        assert_eq!(slab.get(last), None);
        let other = slab.insert(2);
        assert_eq!(slab.slots(), 2);
        assert_eq!(slab.get(last), None);
        assert_eq!(slab.get(other), Some(&2));
    }

    #[test]
    fn next_key_foretells_insert() {
        let mut slab = Slab::new();
        let mut keys = Vec::new();
        for i in 0..20 {
            let expected = slab.next_key();
            assert_eq!(slab.insert(i), expected);
            keys.push(expected);
            if i % 3 == 0 {
                slab.remove(keys[i / 2]);
            }
        }
    }

    #[test]
    fn walks_see_exactly_the_entries() {
        let mut slab = Slab::with_capacity(8);
        let keys: Vec<u64> = (0..8).map(|i| slab.insert(i)).collect();
        for key in keys.iter().step_by(2) {
            slab.remove(*key);
        }
        assert_eq!(slab.values().copied().collect::<Vec<_>>(), [1, 3, 5, 7]);
        slab.values_mut().for_each(|value| *value *= 10);
        for (key, value) in slab.iter() {
            assert_eq!(slab.get(key), Some(value));
        }
        assert_eq!(slab.keys().collect::<Vec<_>>(), [keys[1], keys[3], keys[5], keys[7]]);
        assert_eq!(slab.len(), 4);
        // Removing on the way.
        for index in 0..slab.slots() {
            if let Some(key) = slab.key_at(index) {
                slab.remove(key);
            }
        }
        assert!(slab.is_empty());
        assert_eq!(slab.keys().count(), 0);
    }
}
