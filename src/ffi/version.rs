//! Versions: what was compiled against is in the header, what was loaded is asked here.

use std::ffi::{CStr, c_char};

/// workers are forked
pub const GW_FEATURE_FORK: u32 = 1 << 0;
/// files go out by sendfile
pub const GW_FEATURE_SENDFILE: u32 = 1 << 2;
/// modules can be loaded
pub const GW_FEATURE_MODULES: u32 = 1 << 3;

/// [sig] static: "0.1.0"
#[unsafe(no_mangle)]
pub extern "C" fn gw_version() -> *const c_char {
    VERSION.as_ptr()
}

/// [sig] of the library that is loaded
#[unsafe(no_mangle)]
pub extern "C" fn gw_version_number() -> u32 {
    NUMBER
}

/// [sig] compare with GW_ABI
#[unsafe(no_mangle)]
pub extern "C" fn gw_abi() -> u32 {
    ABI
}

/// [sig] GW_FEATURE_* bits
#[unsafe(no_mangle)]
pub extern "C" fn gw_features() -> u64 {
    u64::from(FEATURES)
}

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a version has no NUL"),
    };

const NUMBER: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
    | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
    | number(env!("CARGO_PKG_VERSION_PATCH"));

pub(super) const ABI: u32 = number(env!("GATEWAY_ABI"));

const FEATURES: u32 = {
    let files = if cfg!(target_os = "linux") { GW_FEATURE_SENDFILE } else { 0 };
    let modules = if cfg!(target_feature = "crt-static") { 0 } else { GW_FEATURE_MODULES };
    GW_FEATURE_FORK | files | modules
};

/// Decimal digits, at compile time.
const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a part of a version is a number"),
    }
}
