//! The body of a request.

use std::ffi::c_void;

use super::guard::{buffer, guard, out, reference};
use super::result::{GW_AGAIN, GW_EOF, GW_OK, gw_result};
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::Octets;
use crate::gateway::abi::{Environ, NOWAIT};
use crate::gateway::watcher::Misuse;

/// [req] GW_OK with 1..cap octets, GW_EOF (*n = 0), GW_AGAIN (GW_NOWAIT only), or an error, which
/// stays: a body cut short is GW_ERR_CLOSED, never GW_EOF.  Without GW_NOWAIT on a thread that must
/// not block: GW_ERR_BUSY.  Goes through env->input, so that a middleware can replace it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_read(
    env: *mut Environ,
    buf: *mut c_void,
    cap: usize,
    flags: u32,
    n: *mut usize,
) -> gw_result {
    // SAFETY: the rules page.
    guard(|| unsafe {
        read_with(env, buf, cap, flags, n, |env, buf| match flags {
            0 => env.read(buf).map(Some),
            _ => env.try_read(buf),
        })
    })
}

/// [req] With its newline; a line longer than cap comes in pieces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_read_line(
    env: *mut Environ,
    buf: *mut c_void,
    cap: usize,
    flags: u32,
    n: *mut usize,
) -> gw_result {
    // SAFETY: the rules page.
    guard(|| unsafe {
        read_with(env, buf, cap, flags, n, |env, buf| env.read_line_with(buf, flags))
    })
}

/// [req] The rest of the body, in the request's memory; SIZE_MAX: max_body alone limits it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_read_all(
    env: *mut Environ,
    limit: usize,
    out: *mut Octets<'static>,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (env, out) = unsafe { (reference(env, "env")?, self::out(out, "out")?) };
        let all = env.read_all(limit)?;
        // SAFETY: it is in the memory of the request, as the header says.
        out.set(unsafe { all.erase() });
        Ok(())
    })
}

/// # Safety
/// The header's rules page, for all of them.
unsafe fn read_with(
    env: *mut Environ,
    buf: *mut c_void,
    cap: usize,
    flags: u32,
    n: *mut usize,
    read: impl FnOnce(&Environ, &mut [u8]) -> Result<Option<usize>>,
) -> Result<gw_result> {
    // SAFETY: the caller's promise.
    let env = unsafe { reference(env, "env") }?;
    let arguments = || {
        // SAFETY: the caller's promise.
        let (buf, n) = unsafe { (buffer(buf, cap, "buf")?, out(n, "n")?) };
        if buf.is_empty() {
            return Err(Error::new(Kind::Invalid, "cap is 0"));
        }
        if flags & !NOWAIT != 0 {
            return Err(Error::new(Kind::Invalid, "only GW_NOWAIT is known"));
        }
        Ok((buf, n))
    };
    let (buf, n) = arguments().inspect_err(|_| {
        if let Ok(x) = env.exchange() {
            x.misused(Misuse::ReadArguments);
        }
    })?;
    let got = read(env, buf)?;
    Ok(match got {
        None => GW_AGAIN,
        Some(0) => {
            n.set(0);
            GW_EOF
        }
        Some(got) => {
            n.set(got);
            GW_OK
        }
    })
}
