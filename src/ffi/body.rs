//! Response bodies that are one piece: memory, a copy, a file.

use std::ffi::c_void;
use std::os::fd::RawFd;

use super::guard::{bytes, guard, reference};
use super::result::gw_result;
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{CHUNK_FILE, Chunk, OwnedChunk};
use crate::gateway::abi::{BodyFrame, Environ};
use crate::sys::file;

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
            let file = Box::new(TakenFile { fd, release, arg });
            chunk.release = Some(close_file);
            chunk.arg = Box::into_raw(file).cast();
        }
        // SAFETY: ours from here on, whatever happens; open until released, says the caller.
        let owned = unsafe { OwnedChunk::new(chunk) };
        if flags & !GW_FILE_CLOSE != 0 {
            return Err(Error::new(Kind::Invalid, format!("unknown flags {flags:#x}")));
        }
        let mut chunk = owned.into_raw();
        let clamped = u64::try_from(offset)
            .map_err(|_| Error::new(Kind::Invalid, format!("offset is {offset}")))
            .and_then(|offset| file::clamp_range(fd, offset, len));
        if let Ok(len) = clamped {
            chunk.len = len;
        }
        // SAFETY: the same chunk, with its length; it is released when the rest fails.
        let owned = unsafe { OwnedChunk::new(chunk) };
        clamped?;
        // SAFETY: the rules page.
        unsafe { put_first(body, owned) }
    })
}

/// fd is taken, and closed in any case
pub const GW_FILE_CLOSE: u32 = 1 << 0;

/// A descriptor that is closed with its chunk, before the caller hears of it.
struct TakenFile {
    fd: RawFd,
    release: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    arg: *mut c_void,
}

unsafe extern "C" fn close_file(arg: *mut c_void) {
    // SAFETY: the box made in gw_body_file; a chunk is released once.
    let file = unsafe { Box::from_raw(arg.cast::<TakenFile>()) };
    file::close(file.fd);
    if let Some(release) = file.release {
        // SAFETY: the caller's function and argument, once.
        unsafe { release(file.arg) };
    }
}

/// Let `chunk` be the first of a body; one that was there is released.
///
/// # Safety
/// `body` is NULL, or the body of a running call.
pub(super) unsafe fn put_first(body: *mut BodyFrame, chunk: OwnedChunk) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { reference(body, "body") }?;
    // SAFETY: not NULL, aligned, and nobody else looks at it while the application runs.
    let body = unsafe { &mut *body };
    drop(body.take_first());
    body.first = chunk.into_raw();
    Ok(())
}
