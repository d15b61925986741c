//! Objects behind opaque pointers.
//!
//! Each begins with a magic number of its type and the process that made it, so that a pointer of
//! another type, a freed one (as long as the memory still shows it) and one that came through a
//! foreign fork are errors, not accidents.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::base::error::{Error, Kind, Result};
use crate::sys::pid::pid;

/// An opaque type of the header, and what is behind it.
pub(super) trait Handle {
    /// The object.
    type Value;
    /// What its objects begin with: four letters.
    const MAGIC: [u8; 4];
    /// What is said of a pointer to something else, to an object that was freed, and to one of
    /// another process.  Static: signal handlers come here, and must not allocate.
    const WRONG: [&'static str; 3];
}

/// `handle!(gw_thing: Thing, b"thng")`: behind a gw_thing is a Thing.
macro_rules! handle {
    ($handle:ident: $value:ty, $magic:literal) => {
        impl $crate::ffi::object::Handle for $handle {
            type Value = $value;
            const MAGIC: [u8; 4] = *$magic;
            const WRONG: [&'static str; 3] = [
                concat!("this is not a ", stringify!($handle)),
                concat!("this ", stringify!($handle), " was freed"),
                concat!("this ", stringify!($handle), " was made before a fork: make one after it"),
            ];
        }
    };
}
pub(super) use handle;

/// What a handle points to.
#[repr(C)]
struct Object<T> {
    magic: AtomicU32,
    pid: u32,
    value: T,
}

/// In place of the magic number of what has been freed.
const FREED: u32 = u32::from_ne_bytes(*b"gone");

/// A new object for C to keep.
pub(super) fn give<H: Handle>(value: H::Value) -> *mut H {
    let magic = AtomicU32::new(u32::from_ne_bytes(H::MAGIC));
    Box::into_raw(Box::new(Object { magic, pid: pid(), value })).cast()
}

/// The object for the length of a call.  Many threads may have it at once: what may be entered by one
/// only is in an [`Exclusive`].
///
/// # Safety
/// Unless NULL, `handle` came from the library and is not freed during the call.
pub(super) unsafe fn borrow<'a, H: Handle>(handle: *const H) -> Result<&'a H::Value> {
    // SAFETY: the caller's promise.
    let object = unsafe { checked(handle) }?;
    if object.pid != pid() {
        return Err(Error::new(Kind::State, H::WRONG[2]));
    }
    Ok(&object.value)
}

/// The same for what survives a fork (`gw_config`).
///
/// # Safety
/// As [`borrow`].
pub(super) unsafe fn borrow_anywhere<'a, H: Handle>(handle: *const H) -> Result<&'a H::Value> {
    // SAFETY: the caller's promise.
    Ok(&unsafe { checked(handle) }?.value)
}

/// Take the object back from C.  The second value says whether it was made by this process.
///
/// # Safety
/// `handle` came from the library, and nobody uses it during the call or after it.
pub(super) unsafe fn take<H: Handle>(handle: *mut H) -> Result<(H::Value, bool)> {
    // SAFETY: the caller's promise.
    let object = unsafe { checked(handle) }?;
    object.magic.store(FREED, Ordering::Relaxed);
    // SAFETY: `give` made the box of this very type (its magic says so), and nobody else has it.
    let object = unsafe { Box::from_raw(handle.cast::<Object<H::Value>>()) };
    Ok((object.value, object.pid == pid()))
}

/// An object that is freed for C, and whose memory is kept for another: see [`revive`] and [`discard`].
///
/// # Safety
/// `handle` came from the library, and C does not use it any more.
pub(super) unsafe fn retire<H: Handle>(handle: *mut H) {
    // SAFETY: the caller's promise.
    if let Ok(object) = unsafe { checked(handle) } {
        object.magic.store(FREED, Ordering::Relaxed);
    }
}

/// Use it for another.
///
/// # Safety
/// `handle` was retired, and neither revived nor discarded since.
pub(super) unsafe fn revive<'a, H: Handle>(handle: *mut H) -> &'a H::Value {
    // SAFETY: the caller's promise: the object is still there.
    let object = unsafe { &*handle.cast::<Object<H::Value>>() };
    object.magic.store(u32::from_ne_bytes(H::MAGIC), Ordering::Relaxed);
    &object.value
}

/// Free it.
///
/// # Safety
/// As [`revive`].
pub(super) unsafe fn discard<H: Handle>(handle: *mut H) {
    // SAFETY: the caller's promise; `give` made the box.
    drop(unsafe { Box::from_raw(handle.cast::<Object<H::Value>>()) });
}

/// # Safety
/// As [`borrow`].
unsafe fn checked<'a, H: Handle>(handle: *const H) -> Result<&'a Object<H::Value>> {
    let object = handle.cast::<Object<H::Value>>();
    let [wrong, freed, _] = H::WRONG;
    if object.is_null() || !object.is_aligned() {
        return Err(Error::new(Kind::Invalid, wrong));
    }
    // SAFETY: every object begins with a magic number; only that is looked at before it is known.
    match unsafe { (*object.cast::<AtomicU32>()).load(Ordering::Relaxed) } {
        // SAFETY: an object of this type that is not freed.
        magic if magic == u32::from_ne_bytes(H::MAGIC) => Ok(unsafe { &*object }),
        FREED => Err(Error::new(Kind::State, freed)),
        _ => Err(Error::new(Kind::Invalid, wrong)),
    }
}

/// What one thread at a time may enter, and nobody any more after a panic in it.
pub(super) struct Exclusive<T> {
    state: AtomicU8,
    value: UnsafeCell<T>,
}

const IDLE: u8 = 0;
const ENTERED: u8 = 1;
const DEAD: u8 = 2;

// SAFETY: the value is reached by `enter` and `salvage` only, by one thread at a time, so that sharing it is
// handing it from thread to thread.
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    pub(super) fn new(value: T) -> Self {
        Exclusive { state: AtomicU8::new(IDLE), value: UnsafeCell::new(value) }
    }

    /// The value, until the guard is dropped.  An error says who has it.
    pub(super) fn enter(&self) -> Result<Entered<'_, T>> {
        match self.state.compare_exchange(IDLE, ENTERED, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Entered(self)),
            Err(DEAD) => Err(Error::new(Kind::Panic, "a bug of the library broke this object")),
            Err(_) => {
                let text = "another call on this object has not returned yet";
                Err(Error::new(Kind::State, text))
            }
        }
    }

    /// After a panic: give the value, in whatever state it is, to `salvage`, which does what is right
    /// in any.  Nobody else may enter meanwhile, or afterwards.  Without a panic nothing happens.
    ///
    /// Not dropped: what a torn value would still do for its owner (call the application back, wait
    /// for threads, free what they use) is not to be trusted any more, so its memory is left alone.
    pub(super) fn salvage(&self, salvage: impl FnOnce(&mut T)) {
        let (from, to) = (DEAD, ENTERED);
        if self.state.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        // Dropped last, and also after another panic: dead it stays.
        struct Dead<'a>(&'a AtomicU8);
        impl Drop for Dead<'_> {
            fn drop(&mut self) {
                self.0.store(DEAD, Ordering::Release);
            }
        }
        let _dead = Dead(&self.state);
        // SAFETY: only one call comes from DEAD to ENTERED, and the guard that died is gone.
        salvage(unsafe { &mut *self.value.get() });
    }

    pub(super) fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

/// See [`Exclusive::enter`].
pub(super) struct Entered<'a, T>(&'a Exclusive<T>);

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `enter` made this the only guard.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Entered<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: `enter` made this the only guard.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Entered<'_, T> {
    fn drop(&mut self) {
        let state = if std::thread::panicking() { DEAD } else { IDLE };
        self.0.state.store(state, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Cat {
        _private: [u8; 0],
    }

    #[derive(Debug)]
    struct Dog {
        _private: [u8; 0],
    }

    handle!(Cat: Exclusive<String>, b"cat ");
    handle!(Dog: u64, b"dog ");

    fn cat() -> *mut Cat {
        give(Exclusive::new("tom".to_string()))
    }

    #[test]
    fn comes_back_as_it_was_given() {
        let cat = cat();
        // SAFETY: made above, not freed before.
        unsafe {
            borrow(cat).unwrap().enter().unwrap().push_str("my");
            assert_eq!(*borrow_anywhere(cat).unwrap().enter().unwrap(), "tommy");
            let (value, ours) = take(cat).unwrap();
            assert_eq!((value.into_inner().as_str(), ours), ("tommy", true));
        }
    }

    #[test]
    fn null_misaligned_and_foreign_pointers_are_invalid() {
        let dog = give::<Dog>(7);
        // SAFETY: NULL, or made above; the odd pointer is never read.
        unsafe {
            let odd = dog.cast::<u8>().wrapping_add(1).cast::<Cat>();
            for (kind, text) in [
                borrow(std::ptr::null::<Cat>()).map(drop).unwrap_err(),
                borrow(dog.cast::<Cat>()).map(drop).unwrap_err(),
                take(dog.cast::<Cat>()).map(drop).unwrap_err(),
                borrow(odd).map(drop).unwrap_err(),
            ]
            .map(|error| (error.kind(), error.message().to_string()))
            {
                assert_eq!(kind, Kind::Invalid);
                assert_eq!(text, "this is not a Cat");
            }
            assert_eq!(take(dog).unwrap(), (7, true));
        }
    }

    #[test]
    fn what_was_freed_or_made_before_a_fork_is_a_wrong_moment() {
        // An object as freeing and forking leave it, in memory that is still there.
        let mut object = Object { magic: AtomicU32::new(FREED), pid: pid(), value: 1_u64 };
        // SAFETY: the object above outlives the calls.
        let error = unsafe { borrow((&raw const object).cast::<Dog>()) }.unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::State, "this Dog was freed"));

        object.magic = AtomicU32::new(u32::from_ne_bytes(Dog::MAGIC));
        object.pid = 1;
        let handle = (&raw const object).cast::<Dog>();
        // SAFETY: as above.
        unsafe {
            assert_eq!(borrow(handle).unwrap_err().kind(), Kind::State);
            assert_eq!(borrow_anywhere(handle).unwrap(), &1);
        }
    }

    #[test]
    fn one_call_at_a_time_and_none_after_a_panic() {
        let value = Exclusive::new(1);
        {
            let _inside = value.enter().unwrap();
            assert_eq!(value.enter().map(drop).unwrap_err().kind(), Kind::State);
        }
        assert_eq!(*value.enter().unwrap(), 1);

        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _inside = value.enter().unwrap();
            std::panic::resume_unwind(Box::new("a bug"));
        }));
        assert!(panicked.is_err());
        assert_eq!(value.enter().map(drop).unwrap_err().kind(), Kind::Panic);

        let mut salvaged = 0;
        for _ in 0..2 {
            value.salvage(|value| salvaged += *value);
        }
        assert_eq!(salvaged, 2);
        assert_eq!(value.enter().map(drop).unwrap_err().kind(), Kind::Panic);
        Exclusive::new(1).salvage(|_| panic!("it is alive"));
    }
}
