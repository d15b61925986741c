//! Response bodies that are one piece: memory, a copy, a file.

use std::ffi::c_void;
use std::os::fd::{FromRawFd, OwnedFd};

use super::guard::{bytes, guard, reference};
use super::result::gw_result;
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{CHUNK_FILE, Chunk, OwnedChunk};
use crate::gateway::abi::{BodyFrame, Environ};
use crate::gateway::body::to_the_end;

/// [req] Borrowed until released; release may be NULL for static data.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_body_bytes(
    body: *mut BodyFrame,
    data: *const c_void,
    len: usize,
    release: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    arg: *mut c_void,
) -> gw_result {
    guard(|| {
        let chunk = Chunk { data, len: len as u64, release, arg, ..Chunk::EMPTY };
        // SAFETY: ours from here on, whatever happens; valid until released, says the caller.
        let chunk = unsafe { OwnedChunk::new(chunk) };
        // SAFETY: the rules page.
        unsafe {
            bytes(data, len, "data")?;
            put_first(body, chunk)
        }
    })
}

/// [req] The octets are copied into the request's memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_body_copy(
    env: *mut Environ,
    body: *mut BodyFrame,
    data: *const c_void,
    len: usize,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (env, data) = unsafe { (reference(env, "env")?, bytes(data, len, "data")?) };
        let copy = env.exchange()?.arena().copy(data);
        let copy = copy.as_slice();
        let chunk = Chunk { data: copy.as_ptr().cast(), len: len as u64, ..Chunk::EMPTY };
        // SAFETY: the arena lives as long as the request, and the body does not live longer.
        unsafe { put_first(body, OwnedChunk::new(chunk)) }
    })
}

/// [req] wsgi.file_wrapper: sendfile where it can, read/write where not.  UINT64_MAX: to the end of
/// the file.  A file that shrinks is a shortfall.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_body_file(
    body: *mut BodyFrame,
    fd: i32,
    offset: i64,
    len: u64,
    flags: u32,
    release: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    arg: *mut c_void,
) -> gw_result {
    guard(|| {
        let mut chunk = Chunk { offset, fd, flags: CHUNK_FILE, release, arg, ..Chunk::EMPTY };
        if flags & GW_FILE_CLOSE != 0 && fd >= 0 {
            // SAFETY: the descriptor is given to us, says the flag.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            chunk.release = Some(close_file);
            chunk.arg = Box::into_raw(Box::new(TakenFile { fd, release, arg })).cast();
        }
        let range = range(fd, offset, len, flags);
        chunk.len = *range.as_ref().unwrap_or(&0);
        // SAFETY: ours from here on, whatever happens; open until released, says the caller.
        let chunk = unsafe { OwnedChunk::new(chunk) };
        range?;
        // SAFETY: the rules page.
        unsafe { put_first(body, chunk) }
    })
}

/// fd is taken, and closed in any case
pub const GW_FILE_CLOSE: u32 = 1 << 0;

/// Octets from `offset` on, if all of it makes sense.
fn range(fd: i32, offset: i64, len: u64, flags: u32) -> Result<u64> {
    let invalid = |text: String| Err(Error::new(Kind::Invalid, text));
    if fd < 0 {
        return invalid(format!("fd is {fd}"));
    }
    if flags & !GW_FILE_CLOSE != 0 {
        return invalid(format!("flags are {flags:#x}: only GW_FILE_CLOSE is known"));
    }
    match u64::try_from(offset) {
        Ok(offset) => to_the_end(fd, offset, len),
        Err(_) => invalid(format!("offset is {offset}")),
    }
}

/// A descriptor that is closed with its chunk.
struct TakenFile {
    fd: OwnedFd,
    release: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    arg: *mut c_void,
}

unsafe extern "C" fn close_file(arg: *mut c_void) {
    // SAFETY: the box made in gw_body_file; a chunk is released once.
    let TakenFile { fd, release, arg } = *unsafe { Box::from_raw(arg.cast::<TakenFile>()) };
    drop(fd);
    if let Some(release) = release {
        // SAFETY: the caller's function and argument, once.
        unsafe { release(arg) };
    }
}

/// Let `chunk` be the first of a body; one that was there is released.
///
/// # Safety
/// `body` is NULL, or the body of a running call.
#[inline(always)]
pub(super) unsafe fn put_first(body: *mut BodyFrame, chunk: OwnedChunk) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { reference(body, "body") }?;
    // SAFETY: not NULL, aligned, and nobody else looks at it while the application runs.
    let body = unsafe { &mut *body };
    let old = std::mem::replace(&mut body.first, chunk.into_raw());
    // SAFETY: as the new one was.
    drop(unsafe { OwnedChunk::new(old) });
    Ok(())
}
