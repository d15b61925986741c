//! Results: the codes, their names and texts, and the struct that carries a message.

use std::ffi::{CStr, c_char};

use crate::base::error::{Error, Kind};

/// 0 done, > 0 a normal outcome, < 0 an error
pub type gw_result = i32;

/// done
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

impl gw_error {
    /// For a callback to fill.
    pub(super) const EMPTY: gw_error = gw_error {
        size: size_of::<gw_error>() as u32,
        code: GW_OK,
        os_errno: 0,
        exit_status: 0,
        message: [0; 240],
    };

    /// What a callback that returned `code` says; `otherwise` when it says nothing.
    pub(super) fn as_error(&self, code: gw_result, otherwise: &'static str) -> Error {
        let kind = Kind::from_code(code).unwrap_or(Kind::App);
        // A c_char has a sign on x86-64, and none on aarch64.
        let octets = self.message.iter().flat_map(|octet| octet.to_ne_bytes());
        let text: Vec<u8> = octets.take_while(|octet| *octet != 0).collect();
        let error = match text.as_slice() {
            [] => Error::new(kind, otherwise),
            text => Error::new(kind, String::from_utf8_lossy(text).into_owned()),
        };
        if self.exit_status == 0 { error } else { error.with_exit_status(self.exit_status) }
    }
}

/// [sig] "GW_ERR_IO"; a number that is none of ours has a name, too.
#[unsafe(no_mangle)]
pub extern "C" fn gw_result_name(rc: gw_result) -> *const c_char {
    words(rc).0.as_ptr()
}

/// [sig] "input/output error"
#[unsafe(no_mangle)]
pub extern "C" fn gw_result_text(rc: gw_result) -> *const c_char {
    words(rc).1.as_ptr()
}

/// Name and text of a code; static, since they are read in signal handlers.
fn words(rc: gw_result) -> (&'static CStr, &'static CStr) {
    match rc {
        GW_OK => (c"GW_OK", c"done"),
        GW_AGAIN => (c"GW_AGAIN", c"not now"),
        GW_EOF => (c"GW_EOF", c"there is no more"),
        GW_DEFERRED => (c"GW_DEFERRED", c"answered later"),
        GW_ERR_INVALID => (c"GW_ERR_INVALID", c"invalid argument"),
        GW_ERR_STATE => (c"GW_ERR_STATE", c"not possible at this moment"),
        GW_ERR_MEMORY => (c"GW_ERR_MEMORY", c"out of memory"),
        GW_ERR_IO => (c"GW_ERR_IO", c"input/output error"),
        GW_ERR_PANIC => (c"GW_ERR_PANIC", c"internal error of the library"),
        GW_ERR_UNSUPPORTED => (c"GW_ERR_UNSUPPORTED", c"not supported here"),
        GW_ERR_UNKNOWN => (c"GW_ERR_UNKNOWN", c"unknown name"),
        GW_ERR_NOT_FOUND => (c"GW_ERR_NOT_FOUND", c"not found"),
        GW_ERR_LIMIT => (c"GW_ERR_LIMIT", c"limit reached"),
        GW_ERR_PROTOCOL => (c"GW_ERR_PROTOCOL", c"protocol violation"),
        GW_ERR_CLOSED => (c"GW_ERR_CLOSED", c"the peer is gone"),
        GW_ERR_TIMEOUT => (c"GW_ERR_TIMEOUT", c"timed out"),
        GW_ERR_BUSY => (c"GW_ERR_BUSY", c"would block a thread that must not"),
        GW_ERR_ABI => (c"GW_ERR_ABI", c"incompatible version"),
        GW_ERR_APP => (c"GW_ERR_APP", c"application failed"),
        4.. => (c"GW_?", c"unknown result"),
        _ => (c"GW_ERR_?", c"unknown error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code_name_and_text() {
        for kind in Kind::ALL {
            let (name, text) = words(kind as gw_result);
            let shout: String = format!("{kind:?}")
                .char_indices()
                .flat_map(|(at, c)| {
                    let gap = (at > 0 && c.is_uppercase()).then_some('_');
                    gap.into_iter().chain(c.to_uppercase())
                })
                .collect();
            assert_eq!(name.to_str().unwrap(), format!("GW_ERR_{shout}"));
            assert_eq!(text.to_str().unwrap(), kind.text());
        }
        assert_eq!(Kind::ALL.last().map(|kind| *kind as i32), Some(GW_ERR_APP));
    }

    #[test]
    fn numbers_of_nobody_have_words_too() {
        assert_eq!(words(4).0, c"GW_?");
        for rc in [-16, i32::MIN] {
            assert_eq!(words(rc).0, c"GW_ERR_?");
        }
    }
}
