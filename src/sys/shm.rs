//! Memory that a process shares with the children it forks: the scoreboard.
//!
//! What lies there is read and written by several processes at once, some of which may be killed in
//! the middle.  So it consists of atomics only, without pointers and without locks, and every bit
//! pattern, zero first of all, is a value.  `shared_record!`
//! defines such types and checks that they are.

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;

use crate::base::counter::Counter;

/// A type of which several processes may share values.
///
/// # Safety
/// Zeroed memory is a value of it; it is changed through atomics alone; it has no pointer and
/// nothing to drop.
pub unsafe trait Record: Sync + 'static {}

/// An atomic that may stand in a record.
pub trait Atomic: Record + private::Sealed {}

mod private {
    pub trait Sealed {}
}

macro_rules! atomics {
    ($($name:ident),*) => { $(
        // SAFETY: an atomic integer: zero is a value, there is no pointer.
        unsafe impl Record for std::sync::atomic::$name {}
        impl private::Sealed for std::sync::atomic::$name {}
        impl Atomic for std::sync::atomic::$name {}
    )* };
}
atomics!(AtomicU8, AtomicU32, AtomicI32, AtomicU64);

// SAFETY: `repr(transparent)` around an atomic.
unsafe impl Record for Counter {}
impl private::Sealed for Counter {}
impl Atomic for Counter {}

// SAFETY: as its elements.
unsafe impl<T: Atomic, const N: usize> Record for [T; N] {}
impl<T: Atomic, const N: usize> private::Sealed for [T; N] {}
impl<T: Atomic, const N: usize> Atomic for [T; N] {}

/// Defines a struct of atomics that processes can share: `#[repr(C)]`, in cache lines of its own.
macro_rules! shared_record {
    ($(#[$doc:meta])* $vis:vis struct $name:ident {
        $($(#[$field_doc:meta])* $field_vis:vis $field:ident: $type:ty,)*
    }) => {
        $(#[$doc])*
        #[repr(C, align(64))]
        #[derive(Debug)]
        $vis struct $name { $($(#[$field_doc])* $field_vis $field: $type,)* }

        // SAFETY: every field is an atomic or an array of atomics, which the function below makes
        // the compiler check; a struct of them is what they are.
        unsafe impl $crate::sys::shm::Record for $name {}
        const _: () = {
            const fn is_atomic<T: $crate::sys::shm::Atomic>() {}
            $(is_atomic::<$type>();)*
        };
    };
}
pub(crate) use shared_record;

/// An array of records in anonymous shared memory, zeroed at first.  It is inherited by fork and
/// unmapped in each process that drops it.
#[derive(Debug)]
pub struct Shared<T: Record> {
    first: NonNull<T>,
    len: usize,
}

// SAFETY: the memory belongs to no thread, and a Record is Sync.
unsafe impl<T: Record> Send for Shared<T> {}
// SAFETY: as above; only `&T` is handed out.
unsafe impl<T: Record> Sync for Shared<T> {}

impl<T: Record> Shared<T> {
    /// `len` records of zeros; at least one.
    pub fn new(len: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        let len = len.max(1);
        let size = len
            .checked_mul(size_of::<T>())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(at.cast())
            .ok_or_else(|| io::Error::other("mmap returned the null address"))?;
        Ok(Shared { first, len })
    }
}

impl<T: Record> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping has room for `len` records, is aligned to a page, started as zeros,
        // which is a value of T, and lives as long as `self`.  Other processes change it through
        // atomics only.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Record> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, of which no reference is left.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

    shared_record! {
        /// For the test.
        struct Sample {
            pid: AtomicI32,
            stamps: [AtomicU64; 4],
        }
    }

    #[test]
    fn starts_as_zeros_in_lines_of_its_own() {
        let shared = Shared::<Sample>::new(10).unwrap();
        assert_eq!(shared.len(), 10);
        assert_eq!(size_of::<Sample>(), 64);
        for record in shared.iter() {
            assert_eq!(record.pid.load(Relaxed), 0);
            assert!(record.stamps.iter().all(|stamp| stamp.load(Relaxed) == 0));
            assert_eq!(std::ptr::from_ref(record) as usize % 64, 0);
        }
        shared[9].stamps[3].store(7, Relaxed);
        assert_eq!(shared[9].stamps[3].load(Relaxed), 7);
    }

    #[test]
    fn refuses_what_cannot_be_mapped() {
        assert!(Shared::<Sample>::new(usize::MAX).is_err());
        assert!(Shared::<Sample>::new(usize::MAX / 128).is_err());
        assert_eq!(Shared::<Sample>::new(0).unwrap().len(), 1);
    }
}
