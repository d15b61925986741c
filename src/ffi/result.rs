//! Results: the codes, their names and texts, and the struct that carries a message.

use std::ffi::{CStr, c_char};

use crate::base::error::Kind;

/// 0 done, > 0 a normal outcome, < 0 an error
pub type gw_result = i32;

/// Done
pub const GW_OK: i32 = 0;
/// not now; you will be told when
pub const GW_AGAIN: i32 = 1;
/// there is no more
pub const GW_EOF: i32 = 2;
/// an application will answer later
pub const GW_DEFERRED: i32 = 3;

/// NULL, out of range, wrong size
pub const GW_ERR_INVALID: i32 = -1;
/// right call, wrong moment
pub const GW_ERR_STATE: i32 = -2;
/// there is none
pub const GW_ERR_MEMORY: i32 = -3;
/// see gw_error.os_errno
pub const GW_ERR_IO: i32 = -4;
/// a bug of ours; the object is dead
pub const GW_ERR_PANIC: i32 = -5;
/// not on this platform, or mode
pub const GW_ERR_UNSUPPORTED: i32 = -6;
/// no such option, symbol, protocol
pub const GW_ERR_UNKNOWN: i32 = -7;
/// no such variable
pub const GW_ERR_NOT_FOUND: i32 = -8;
/// a configured limit was reached
pub const GW_ERR_LIMIT: i32 = -9;
/// malformed request, or response head
pub const GW_ERR_PROTOCOL: i32 = -10;
/// the peer is gone
pub const GW_ERR_CLOSED: i32 = -11;
/// it took too long
pub const GW_ERR_TIMEOUT: i32 = -12;
/// would block a thread that must not
pub const GW_ERR_BUSY: i32 = -13;
/// module or caller is too new
pub const GW_ERR_ABI: i32 = -14;
/// for applications to return: a 500
pub const GW_ERR_APP: i32 = -15;

/// filled by the slow-path calls
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_error {
    /// of the caller's struct
    pub size: u32,
    /// what the call returned
    pub code: gw_result,
    /// 0 when none was involved
    pub os_errno: i32,
    /// what main should return: 1, 3, 4 ...
    pub exit_status: i32,
    /// NUL-terminated, truncated if need be
    pub message: [c_char; 240],
}

/// [sig] "GW_ERR_IO"; "GW_ERR_?" for a number that is none of ours
#[unsafe(no_mangle)]
pub extern "C" fn gw_result_name(rc: gw_result) -> *const c_char {
    name(rc).as_ptr()
}

/// [sig] "input/output error"
#[unsafe(no_mangle)]
pub extern "C" fn gw_result_text(rc: gw_result) -> *const c_char {
    text(rc).as_ptr()
}

fn name(rc: gw_result) -> &'static CStr { let _ = Kind::App; let _ = rc; c"x" }
fn text(rc: gw_result) -> &'static CStr { let _ = rc; c"x" }
