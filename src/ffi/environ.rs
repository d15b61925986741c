//! The environ: variables by name, one by one and all at once, copies that may be changed, values of
//! middleware, memory of the request.

use std::ffi::{c_char, c_int, c_void};

use super::guard::{bytes, guard, out, quietly, reference};
use super::result::{GW_EOF, GW_OK, gw_result};
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{Octets, Pair};
use crate::gateway::abi::Environ;
use crate::gateway::watcher::Misuse;

/// A variable by its CGI or WSGI name: "HTTP_HOST", "REMOTE_ADDR", "wsgi.url_scheme".
/// GW_ERR_NOT_FOUND: the request has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_get(
    env: *const Environ,
    name: *const c_char,
    name_len: usize,
    value: *mut Octets<'static>,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (env, name) = unsafe { name_in(env, name, name_len) }?;
        // SAFETY: the rules page.
        unsafe { found(env.get(name), value) }
    })
}

/// One variable at a time: unique CGI names, HTTP_* with duplicates joined; no wsgi.*.  Start with
/// *cursor = 0; GW_EOF at the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_next(
    env: *const Environ,
    cursor: *mut u64,
    out: *mut Pair<'static>,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (env, at) = unsafe { (reference(env, "env")?, *reference(cursor, "cursor")?) };
        // SAFETY: the rules page.
        let (cursor, out) = unsafe { (self::out(cursor, "cursor")?, self::out(out, "out")?) };
        let mut at = at;
        let Some(pair) = env.next_var(&mut at) else {
            return Ok(GW_EOF);
        };
        cursor.set(at);
        // SAFETY: what an environ gives lives as long as the request, as the header says.
        out.set(unsafe { Pair { name: pair.name.erase(), value: pair.value.erase() } });
        Ok(GW_OK)
    })
}

/// All of them at once: one crossing for a language binding.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_vars(
    env: *const Environ,
    vars: *mut *const Pair<'static>,
    count: *mut usize,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let env = unsafe { reference(env, "env") }?;
        // SAFETY: the rules page.
        let (vars, count) = unsafe { (out(vars, "vars")?, out(count, "count")?) };
        let all = env.all_vars()?;
        vars.set(all.as_ptr());
        count.set(all.len());
        Ok(())
    })
}

/// A copy a middleware may change (WSGI's dict(environ)).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_derive(
    env: *const Environ,
    out: *mut *mut Environ,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (env, out) = unsafe { (reference(env, "env")?, self::out(out, "out")?) };
        out.set(env.derive()?);
        Ok(())
    })
}

/// Replace or add a variable; `value` NULL takes it away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_set(
    derived: *mut Environ,
    name: *const c_char,
    name_len: usize,
    value: *const c_char,
    value_len: usize,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (_, name) = unsafe { name_in(derived, name, name_len) }?;
        // SAFETY: the rules page.
        let text = unsafe { bytes(value.cast(), value_len, "value") }?;
        let text = if value.is_null() { None } else { Some(text) };
        // SAFETY: not NULL (`name_in`).
        let env = unsafe { &*derived };
        if env.is_the_request_s()? {
            env.exchange()?.misused(Misuse::EnvironChanged);
            return Err(Error::new(
                Kind::State,
                "only an environ from gw_environ_derive can be changed",
            ));
        }
        // SAFETY: not NULL, and a derived environ is its middleware's alone.
        unsafe { &mut *derived }.set(name, text)
    })
}

/// Anything else a middleware hangs on a request, keyed by address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_put(
    env: *mut Environ,
    key: *const c_void,
    value: *mut c_void,
    drop: Option<unsafe extern "C" fn(value: *mut c_void)>,
) -> gw_result {
    guard(|| {
        let put = || {
            // SAFETY: the rules page.
            let env = unsafe { reference(env, "env") }?;
            if key.is_null() {
                return Err(Error::new(Kind::Invalid, "key is NULL"));
            }
            env.exchange()?.put(key, value, drop)
        };
        let done = put();
        if let (Err(_), Some(drop)) = (&done, drop) {
            // SAFETY: the value was taken, and nobody else drops it.
            unsafe { drop(value) };
        }
        done
    })
}

/// What was put under `key`, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_at(env: *const Environ, key: *const c_void) -> *mut c_void {
    quietly(std::ptr::null_mut(), || {
        // SAFETY: the rules page.
        let env = unsafe { reference(env, "env") }?;
        Ok(env.exchange()?.at(key))
    })
}

/// Memory that goes away with the request, aligned for anything, not zeroed; NULL when there is
/// none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_alloc(env: *mut Environ, size: usize) -> *mut c_void {
    quietly(std::ptr::null_mut(), || {
        // SAFETY: the rules page.
        let env = unsafe { reference(env, "env") }?;
        let memory = env.exchange()?.arena().alloc(size);
        Ok(memory.map_or(std::ptr::null_mut(), |memory| memory.as_ptr().cast()))
    })
}

/// The same text with a NUL added; NULL when there is no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_cstr(env: *mut Environ, text: Octets<'_>) -> *const c_char {
    quietly(std::ptr::null(), || {
        // SAFETY: the rules page.
        let env = unsafe { reference(env, "env") }?;
        Ok(env.exchange()?.arena().concat(&[text.as_slice(), b"\0"]).as_slice().as_ptr().cast())
    })
}

/// One parameter of the query string, decoded; GW_ERR_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_query(
    env: *mut Environ,
    name: *const c_char,
    name_len: usize,
    value: *mut Octets<'static>,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (env, name) = unsafe { name_in(env, name, name_len) }?;
        // SAFETY: the rules page.
        unsafe { found(env.query(name), value) }
    })
}

/// Whether the client has left, or has said that it will send no more (a client that only closed its
/// half of the connection still gets its answer).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_environ_gone(env: *const Environ) -> c_int {
    quietly(0, || {
        // SAFETY: the rules page.
        let env = unsafe { reference(env, "env") }?;
        Ok(c_int::from(env.exchange()?.is_gone()))
    })
}

/// An environ and a name in it.
///
/// # Safety
/// The header's rules page, for both.
unsafe fn name_in<'a>(
    env: *const Environ,
    name: *const c_char,
    len: usize,
) -> Result<(&'a Environ, &'a [u8])> {
    // SAFETY: the caller's promise.
    unsafe { Ok((reference(env, "env")?, bytes(name.cast(), len, "name")?)) }
}

/// # Safety
/// `out` is NULL or the caller's.
unsafe fn found(value: Octets<'_>, out: *mut Octets<'static>) -> Result<()> {
    // SAFETY: the caller's promise.
    let out = unsafe { self::out(out, "value") }?;
    if value.is_missing() {
        return Err(Kind::NotFound.into());
    }
    // SAFETY: what an environ gives lives as long as the request, as the header says.
    out.set(unsafe { value.erase() });
    Ok(())
}
