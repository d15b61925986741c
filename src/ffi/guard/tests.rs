//! The border, from the side of a careless C program.

use super::*;
use crate::ffi::result::{GW_EOF, GW_ERR_APP, GW_ERR_PANIC};

fn error() -> gw_error {
    let size = size_of::<gw_error>() as u32;
    gw_error { size, code: 77, os_errno: 77, exit_status: 77, message: [b'x' as c_char; 240] }
}

fn text(error: &gw_error) -> String {
    // SAFETY: octets of a char array.
    let octets = unsafe { &*(&raw const error.message).cast::<[u8; 240]>() };
    CStr::from_bytes_until_nul(octets).unwrap().to_str().unwrap().to_string()
}

fn fail(text: &str) -> Error {
    Error::new(Kind::App, text.to_string()).with_exit_status(3)
}

#[test]
fn outcomes_errors_and_panics_become_codes() {
    assert_eq!(guard(|| Ok(())), GW_OK);
    assert_eq!(guard(|| Ok(GW_EOF)), GW_EOF);
    assert_eq!(guard(|| Err::<(), _>(fail("no"))), GW_ERR_APP);
    let panic = || -> Result<()> { std::panic::resume_unwind(Box::new("index 7")) };
    assert_eq!(guard(panic), GW_ERR_PANIC);
    assert_eq!(quietly(-1, || -> Result<i32> { std::panic::resume_unwind(Box::new(())) }), -1);
    assert_eq!(quietly(-1, || Ok(5)), 5);

    let mut err = error();
    // SAFETY: a whole gw_error.
    assert_eq!(unsafe { guard_with(&raw mut err, panic) }, GW_ERR_PANIC);
    assert_eq!(text(&err), "a bug in libgateway: index 7");
    let panic = || -> Result<()> { std::panic::resume_unwind(Box::new("index 8".to_string())) };
    // SAFETY: a whole gw_error.
    assert_eq!(unsafe { guard_with(&raw mut err, panic) }, GW_ERR_PANIC);
    assert_eq!(text(&err), "a bug in libgateway: index 8");
}

#[test]
fn an_error_is_filled_only_when_there_is_one() {
    let mut err = error();
    // SAFETY: a whole gw_error, then none.
    unsafe {
        assert_eq!(guard_with(&raw mut err, || Ok(())), GW_OK);
        assert_eq!((err.code, err.message[0]), (77, b'x' as c_char));
        assert_eq!(guard_with(&raw mut err, || Err::<(), _>(fail("no"))), GW_ERR_APP);
        assert_eq!((err.code, err.os_errno, err.exit_status), (GW_ERR_APP, 0, 3));
        assert_eq!(text(&err), "no");
        assert_eq!(guard_with(std::ptr::null_mut(), || Err::<(), _>(fail("no"))), GW_ERR_APP);
    }
}

#[test]
fn a_message_is_cut_between_characters_and_ends_with_nul() {
    // 238 octets and a character of two: the second half would be the 240th, where the NUL is.
    let long = format!("{}é and more", "a".repeat(238));
    let mut err = error();
    // SAFETY: a whole gw_error.
    unsafe { report(&raw mut err, &fail(&long)) };
    assert_eq!(text(&err), "a".repeat(238));
    let fits = format!("{}é and more", "a".repeat(237));
    // SAFETY: a whole gw_error.
    unsafe { report(&raw mut err, &fail(&fits)) };
    assert_eq!(text(&err), format!("{}é", "a".repeat(237)));
}

#[test]
fn a_short_error_struct_is_never_overrun() {
    for size in [0, 3, 4, 8, 15, 16, 17, 20, 255, 256] {
        let mut err = error();
        err.size = size;
        // SAFETY: `size` octets of a larger struct.
        unsafe { report(&raw mut err, &fail("what happened")) };
        // SAFETY: octets of a struct without padding.
        let octets = unsafe { &*(&raw const err).cast::<[u8; 256]>() };
        let size = size as usize;
        assert_eq!(err.size as usize, size);
        let untouched = |at: usize| if at < 16 { [77, 0, 0, 0][at % 4] } else { b'x' };
        for (at, octet) in octets.iter().enumerate().skip(size.max(4)) {
            assert_eq!(*octet, untouched(at), "size {size}, octet {at}");
        }
        if size > 16 {
            assert!(octets[16..size].contains(&0), "size {size}");
        }
    }
}

#[test]
fn null_is_fine_for_nothing_and_only_for_nothing() {
    let null = std::ptr::null_mut::<c_void>();
    // SAFETY: NULL, or octets that live as long as the test.
    unsafe {
        assert_eq!(bytes(null, 0, "text").unwrap(), b"");
        assert_eq!(bytes(null, 1, "text").unwrap_err().message(), "text is NULL");
        assert_eq!(bytes(b"abc".as_ptr().cast(), 3, "text").unwrap(), b"abc");
        let huge = bytes(b"abc".as_ptr().cast(), usize::MAX, "text").unwrap_err();
        assert_eq!(huge.kind(), Kind::Invalid);

        assert_eq!(buffer(null, 0, "buf").unwrap().len(), 0);
        assert_eq!(buffer(null, 1, "buf").map(drop).unwrap_err().message(), "buf is NULL");
        let mut room = [0_u8; 4];
        buffer(room.as_mut_ptr().cast(), 4, "buf").unwrap()[1] = 9;
        assert_eq!(room, [0, 9, 0, 0]);

        assert_eq!(cstr(std::ptr::null(), "key").unwrap_err().message(), "key is NULL");
        assert_eq!(cstr(c"workers".as_ptr(), "key").unwrap(), "workers");
        assert_eq!(cstr(c"\xff".as_ptr(), "key").unwrap_err().message(), "key is not UTF-8");

        let mut number = 0_u64;
        out(&raw mut number, "n").unwrap().set(7);
        assert_eq!(number, 7);
        assert!(out(std::ptr::null_mut::<u64>(), "n").is_err());
        assert!(out((&raw mut number).wrapping_byte_add(1), "n").is_err());

        assert_eq!(reference(&raw const number, "n").unwrap(), &7);
        assert!(reference(std::ptr::null::<u64>(), "n").is_err());
        assert!(reference((&raw const number).wrapping_byte_add(1), "n").is_err());
    }
}

/// Version 1 ended after `b`; version 3, of a program that is newer than the library, has `d`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Second {
    size: u32,
    a: u32,
    b: u64,
    c: u64,
}

#[repr(C)]
struct Third {
    second: Second,
    d: u64,
}

// SAFETY: as the trait asks: repr(C), `size` first, integers only.
unsafe impl Growing for Second {
    const FIRST: usize = 16;
}

fn read(third: &Third) -> Result<Second> {
    // SAFETY: at most a Third is promised by any `size` used below.
    unsafe { grown((&raw const *third).cast::<Second>(), "it") }
}

#[test]
fn structs_grow_at_their_end() {
    let mut it = Third { second: Second { size: 16, a: 1, b: 2, c: 3 }, d: 4 };
    assert_eq!(read(&it).unwrap(), Second { size: 24, a: 1, b: 2, c: 0 });
    it.second.size = 24;
    assert_eq!(read(&it).unwrap(), Second { size: 24, a: 1, b: 2, c: 3 });
    it.second.size = 32;
    assert_eq!(read(&it).unwrap_err().kind(), Kind::Abi);
    it.d = 0;
    assert_eq!(read(&it).unwrap(), Second { size: 24, a: 1, b: 2, c: 3 });
    for size in [0, 4, 15, u32::MAX] {
        it.second.size = size;
        assert_eq!(read(&it).unwrap_err().kind(), Kind::Invalid, "size {size}");
    }
}

#[test]
fn a_struct_is_filled_as_far_as_it_goes() {
    let value = Second { size: 24, a: 1, b: 2, c: 3 };
    for (size, c, d) in [(16, 9, 9), (24, 3, 9), (32, 3, 0)] {
        let mut it = Third { second: Second { size, a: 9, b: 9, c: 9 }, d };
        // SAFETY: a Third is at least `size` octets.
        unsafe { fill((&raw mut it).cast::<Second>(), &value, "it") }.unwrap();
        assert_eq!(it.second, Second { size, a: 1, b: 2, c });
        assert_eq!(it.d, d);
    }
}
