//! The border: everything that C hands in is checked here, and nothing but a `gw_result` gets out.
//!
//! An entry point is a closure in [`guard`]; pointers become references through the functions of this
//! file only.  What C promises (the header's rules page) and cannot be checked is what the SAFETY
//! comments name: that a non-NULL pointer points to what its type says, for the length of the call.

use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::mem::{offset_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::result::{GW_OK, gw_error, gw_result};
use crate::base::error::{Error, Kind, Result};

/// What an entry point's closure may return when all is well.
pub(super) trait Outcome {
    fn code(self) -> gw_result;
}

impl Outcome for () {
    fn code(self) -> gw_result {
        GW_OK
    }
}

impl Outcome for gw_result {
    fn code(self) -> gw_result {
        self
    }
}

/// Run the body of an entry point; its error or panic becomes the code.
pub(super) fn guard<T: Outcome>(body: impl FnOnce() -> Result<T>) -> gw_result {
    match caught(body) {
        Ok(code) => code,
        Err(error) => error.kind() as gw_result,
    }
}

/// The same for calls that can say more: the error goes to `err`, which may be NULL.
///
/// # Safety
/// `err` is NULL or points to `err->size` octets.
pub(super) unsafe fn guard_with<T: Outcome>(
    err: *mut gw_error,
    body: impl FnOnce() -> Result<T>,
) -> gw_result {
    match caught(body) {
        Ok(code) => code,
        Err(error) => {
            // SAFETY: the caller's promise.
            unsafe { report(err, &error) };
            error.kind() as gw_result
        }
    }
}

/// The same for calls without a result: what goes wrong has nowhere to go.
pub(super) fn quietly<T>(otherwise: T, body: impl FnOnce() -> Result<T>) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(_)) | Err(_) => otherwise,
    }
}

/// A panic cannot leave a torn object behind that anybody uses: see `Exclusive`.
fn caught<T: Outcome>(body: impl FnOnce() -> Result<T>) -> Result<gw_result> {
    match catch_unwind(AssertUnwindSafe(|| body().map(T::code))) {
        Ok(result) => result,
        Err(payload) => Err(panicked(payload.as_ref())),
    }
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Error::new(Kind::Panic, format!("a bug in libgateway: {}", text.unwrap_or("panic")))
}

/// Tell C what went wrong, in as much of its struct as there is.
///
/// # Safety
/// `err` is NULL or points to `err->size` octets.
pub(super) unsafe fn report(err: *mut gw_error, error: &Error) {
    if err.is_null() || !err.is_aligned() {
        return;
    }
    // SAFETY: `size` is the first member, and whoever passes the struct sets it.
    let room = unsafe { (*err).size } as usize;
    let whole = gw_error {
        size: room as u32,
        code: error.kind() as gw_result,
        os_errno: error.os_errno(),
        exit_status: error.exit_status(),
        message: message(error.message(), room.saturating_sub(offset_of!(gw_error, message))),
    };
    let len = room.min(size_of::<gw_error>());
    // SAFETY: the first `size` octets are the caller's, and a prefix of the whole is written.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const whole).cast::<u8>(), err.cast::<u8>(), len)
    };
}

/// `text` with a NUL in `room` octets, cut between two characters.  An inner NUL ends it, as in C.
fn message(text: &str, room: usize) -> [c_char; 240] {
    let mut out = [0; 240];
    let mut len = text.len().min(room.min(out.len()).saturating_sub(1));
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    for (to, from) in out.iter_mut().zip(&text.as_bytes()[..len]) {
        *to = *from as c_char;
    }
    out
}

fn null(what: &str) -> Error {
    Error::new(Kind::Invalid, format!("{what} is NULL"))
}

/// A pointer that must not be NULL, and points to a whole T.
///
/// # Safety
/// Unless NULL, `p` points to a T that nobody writes during the call.
pub(super) unsafe fn reference<'a, T>(p: *const T, what: &str) -> Result<&'a T> {
    if !p.is_aligned() {
        return Err(Error::new(Kind::Invalid, format!("{what} is not aligned")));
    }
    // SAFETY: checked for NULL by as_ref and for alignment here; the rest is the caller's promise.
    unsafe { p.as_ref() }.ok_or_else(|| null(what))
}

/// Octets; NULL is as good as any pointer when there are none.
///
/// # Safety
/// Unless `len` is 0, `data` is NULL or points to `len` octets that nobody writes during the call.
pub(super) unsafe fn bytes<'a>(data: *const c_void, len: usize, what: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(null(what));
    }
    if len > isize::MAX as usize {
        return Err(Error::new(Kind::Invalid, format!("{what} is {len} octets long")));
    }
    // SAFETY: not NULL, not longer than any object can be; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

/// A buffer to be filled; `None` when it has no room (then it may be NULL).
///
/// # Safety
/// Unless `cap` is 0, `buf` is NULL or points to `cap` octets that are the call's alone.
pub(super) unsafe fn buffer<'a>(buf: *mut c_void, cap: usize, what: &str) -> Result<&'a mut [u8]> {
    if cap == 0 {
        return Ok(&mut []);
    }
    if buf.is_null() {
        return Err(null(what));
    }
    let cap = cap.min(isize::MAX as usize);
    // SAFETY: not NULL, not longer than any object can be.  C may not have written it yet: it is only
    // ever written here, too.
    Ok(unsafe { std::slice::from_raw_parts_mut(buf.cast(), cap) })
}

/// A NUL-terminated string that must be text.
///
/// # Safety
/// Unless NULL, `text` ends with a NUL and nobody writes it during the call.
pub(super) unsafe fn cstr<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(null(what));
    }
    // SAFETY: not NULL; that it ends is the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Error::new(Kind::Invalid, format!("{what} is not UTF-8")))
}

/// Where a result goes: not NULL, aligned, and not read before it is written.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    pub(super) fn set(self, value: T) {
        // SAFETY: `out` saw that it is neither NULL nor misaligned, and was promised the rest.
        unsafe { self.0.write(value) };
    }
}

/// A pointer for a result.
///
/// # Safety
/// Unless NULL, `p` points to memory for a T that is the call's alone.
pub(super) unsafe fn out<T>(p: *mut T, what: &str) -> Result<Out<T>> {
    if p.is_null() {
        return Err(null(what));
    }
    if !p.is_aligned() {
        return Err(Error::new(Kind::Invalid, format!("{what} is not aligned")));
    }
    Ok(Out(p))
}

/// A struct that begins with its size and may grow at its end.
///
/// # Safety
/// `#[repr(C)]`, a `u32` named `size` first, valid when all of it is zero, no references.
pub(super) unsafe trait Growing: Copy {
    /// How large it was when it first appeared: nobody has a smaller one.
    const FIRST: usize;
}

/// Larger than any struct will ever be: a `size` beyond it was never set.
const ABSURD: usize = 1 << 16;

/// The struct as this version of the library knows it: a shorter one ends in zeros, a longer one
/// must do so.
///
/// # Safety
/// Unless NULL, `p` points to `p->size` octets that nobody writes during the call.
pub(super) unsafe fn grown<T: Growing>(p: *const T, what: &str) -> Result<T> {
    // SAFETY: the caller's promise.
    let (known, newer) = unsafe { known(p, what) }?;
    newer.map_or(Ok(known), Err)
}

/// What this version knows of the struct, and the error if there is more to it: for those that have
/// a `drop` to call in any case.
///
/// # Safety
/// As [`grown`].
pub(super) unsafe fn known<T: Growing>(p: *const T, what: &str) -> Result<(T, Option<Error>)> {
    if p.is_null() {
        return Err(null(what));
    }
    // SAFETY: `size` is the first member, and whoever passes the struct sets it.
    let size = unsafe { p.cast::<u32>().read_unaligned() } as usize;
    if !(T::FIRST..ABSURD).contains(&size) {
        let hint = "set it with GW_INIT";
        return Err(Error::new(Kind::Invalid, format!("{what}->size is {size}: {hint}")));
    }
    // SAFETY: a Growing type is valid when zero.
    let mut whole: T = unsafe { std::mem::zeroed() };
    let known = size.min(size_of::<T>());
    // SAFETY: the first `size` octets are the caller's, and no more than a T is written.
    unsafe { std::ptr::copy_nonoverlapping(p.cast::<u8>(), (&raw mut whole).cast(), known) };
    // SAFETY: the rest of the caller's octets.
    let tail = unsafe { std::slice::from_raw_parts(p.cast::<u8>().add(known), size - known) };
    let newer = tail.iter().any(|octet| *octet != 0).then(|| {
        let text = format!("{what} uses members that this version of the library does not have");
        Error::new(Kind::Abi, text)
    });
    // SAFETY: `size` is the first member.
    unsafe { (&raw mut whole).cast::<u32>().write(size_of::<T>() as u32) };
    Ok((whole, newer))
}

/// Fill a caller's struct with as much of `value` as it has room for; its size stays.
///
/// # Safety
/// Unless NULL, `p` points to `p->size` octets that are the call's alone.
pub(super) unsafe fn fill<T: Growing>(p: *mut T, value: &T, what: &str) -> Result<()> {
    // SAFETY: what was promised of `p` is what `grown` asks for.
    unsafe { grown(p, what) }?;
    // SAFETY: not NULL, and `size` is the first member.
    let size = unsafe { p.cast::<u32>().read_unaligned() } as usize;
    let skip = size_of::<u32>();
    let len = size.min(size_of::<T>()) - skip;
    let from = (&raw const *value).cast::<u8>();
    // SAFETY: inside both structs, behind `size`.
    unsafe { std::ptr::copy_nonoverlapping(from.add(skip), p.cast::<u8>().add(skip), len) };
    Ok(())
}

#[cfg(test)]
mod tests;
