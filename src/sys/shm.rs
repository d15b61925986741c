//! Memory that a process shares with the children it forks, or starts: the scoreboard.
//!
//! What lies there is read and written by several processes at once, some of which may be killed in
//! the middle.  So it consists of atomics only, without pointers and without locks, and every bit
//! pattern, zero first of all, is a value.  `shared_record!`
//! defines such types and checks that they are.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use super::check;
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

/// An array of records in shared memory, zeroed at first.  It is inherited by fork, and by a process
/// that is started with its file; it is unmapped in each process that drops it.
#[derive(Debug)]
pub struct Shared<T: Record> {
    first: NonNull<T>,
    len: usize,
    /// For processes that are started, and what they know it by.
    file: Option<(OwnedFd, &'static CStr)>,
}

/// What a process that is started must know of an array, to map it: its own idea of the records may
/// be another.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// What it is.
    pub name: &'static CStr,
    /// Its file.
    pub fd: RawFd,
    /// The octets of one record.
    pub record: usize,
    /// How many records there are.
    pub count: usize,
}

/// An array of records of any type.
pub trait Mapped: fmt::Debug + Send + Sync {
    /// How to map it; `None`: it has no file.
    fn mapping(&self) -> Option<Mapping>;
}

// SAFETY: the memory belongs to no thread, and a Record is Sync.
unsafe impl<T: Record> Send for Shared<T> {}
// SAFETY: as above; only `&T` is handed out.
unsafe impl<T: Record> Sync for Shared<T> {}

impl<T: Record> Shared<T> {
    /// `len` records of zeros; at least one.
    pub fn new(len: usize) -> io::Result<Self> {
        Shared::map(len.max(1), None)
    }

    /// The same in a file in memory, which a process that is started can be given.
    pub fn with_file(name: &'static CStr, len: usize) -> io::Result<Self> {
        let len = len.max(1);
        let size = i64::try_from(Shared::<T>::size(len)?).map_err(io::Error::other)?;
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name is a C string.
        let fd = check(unsafe { libc::memfd_create(name.as_ptr(), flags) })?;
        // SAFETY: the descriptor is new, and nobody else has it.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: no memory is involved.  Of one size for ever, so that no access is behind its end.
        unsafe {
            check(libc::ftruncate(fd, size))?;
            let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
            check(libc::fcntl(fd, libc::F_ADD_SEALS, seals))?;
        }
        Shared::map(len, Some((file, name)))
    }

    /// The array of another process, of which this one was given the file.
    pub fn of_file(file: OwnedFd, name: &'static CStr, len: usize) -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let seals = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) })?;
        let file = File::from(file);
        let is_whole = file.metadata()?.len() == Shared::<T>::size(len)? as u64;
        if len == 0 || seals & libc::F_SEAL_SHRINK == 0 || !is_whole {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Shared::map(len, Some((file.into(), name)))
    }

    fn size(len: usize) -> io::Result<usize> {
        let size = len.checked_mul(size_of::<T>());
        size.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
    }

    fn map(len: usize, file: Option<(OwnedFd, &'static CStr)>) -> io::Result<Self> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        let size = Shared::<T>::size(len)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let (flags, fd) = match &file {
            Some((file, _)) => (libc::MAP_SHARED, file.as_raw_fd()),
            // Most of it is never touched, and is not to count as if it were.
            None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1),
        };
        // SAFETY: a new mapping, wherever the kernel likes; a file is as large as it says, and sealed.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(at.cast())
            .ok_or_else(|| io::Error::other("mmap returned the null address"))?;
        Ok(Shared { first, len, file })
    }
}

impl<T: Record + fmt::Debug> Mapped for Shared<T> {
    fn mapping(&self) -> Option<Mapping> {
        let (file, name) = self.file.as_ref()?;
        Some(Mapping { name, fd: file.as_raw_fd(), record: size_of::<T>(), count: self.len })
    }
}

impl<T: Record> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping has room for `len` records, is aligned to a page, started as zeros,
        // which is a value of T, as all bits are, and lives as long as `self`.  Other processes change it through
        // atomics only.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Record> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, of which no reference is left.
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
    fn the_same_memory_is_mapped_twice_by_its_file() {
        let one = Shared::<Sample>::with_file(c"sample", 3).unwrap();
        let Mapping { name, fd, record, count } = one.mapping().unwrap();
        assert_eq!((name, record, count), (c"sample", size_of::<Sample>(), 3));
        let file = || super::super::dup::duplicate(fd).unwrap();
        let other = Shared::<Sample>::of_file(file(), c"sample", 3).unwrap();
        one[2].pid.store(7, Relaxed);
        assert_eq!(other[2].pid.load(Relaxed), 7);
        for wrong in [0, 2, 4] {
            assert!(Shared::<Sample>::of_file(file(), c"sample", wrong).is_err());
        }
        // One that could be made smaller while it is in use is not taken.
        let plain = super::super::exec::memory_file(c"plain", &[0; 64]).unwrap();
        assert!(Shared::<Sample>::of_file(plain, c"plain", 1).is_err());
        assert!(Shared::<Sample>::new(1).unwrap().mapping().is_none());
    }

    #[test]
    fn refuses_what_cannot_be_mapped() {
        assert!(Shared::<Sample>::new(usize::MAX).is_err());
        assert!(Shared::<Sample>::new(usize::MAX / 128).is_err());
        assert_eq!(Shared::<Sample>::new(0).unwrap().len(), 1);
    }
}
