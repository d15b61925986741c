//! The configuration as a C program meets it.

use std::cell::Cell;
use std::ffi::{CStr, CString};

use super::*;
use crate::base::log::Logger;
use crate::conf::options::{by_name, options};
use crate::ffi::options::{GW_OPT_KEEPALIVE, GW_OPT_WORKER_MODEL, gw_option, gw_option_next};
use crate::ffi::result::{GW_EOF, GW_ERR_ABI, GW_ERR_INVALID, GW_ERR_UNKNOWN, GW_ERR_UNSUPPORTED};

/// A configuration and an error to be filled.
struct Host {
    cfg: *mut gw_config,
    err: gw_error,
}

impl Host {
    fn new() -> Self {
        let cfg = gw_config_new();
        assert!(!cfg.is_null());
        Host { cfg, err: gw_error::EMPTY }
    }

    fn set(&mut self, key: &str, value: &str) -> gw_result {
        let (key, value) = (CString::new(key).unwrap(), CString::new(value).unwrap());
        // SAFETY: a live configuration, strings and error.
        unsafe { gw_config_set(self.cfg, key.as_ptr(), value.as_ptr(), &raw mut self.err) }
    }

    fn get(&self, key: &CStr, cap: usize) -> (gw_result, String, usize) {
        let (mut buf, mut len) = (vec![b'x'; cap + 1], 0);
        // SAFETY: a live configuration and string, room for `cap` and a length.
        let rc = unsafe {
            let buf = buf.as_mut_ptr().cast();
            gw_config_get(self.cfg, key.as_ptr(), buf, cap, &raw mut len)
        };
        assert_eq!(buf[cap], b'x');
        let text = CStr::from_bytes_until_nul(&buf).map_or("", |text| text.to_str().unwrap());
        (rc, text.to_string(), len)
    }

    fn message(&self) -> String {
        self.err.as_error(GW_ERR_INVALID, "").message().to_string()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: live until here.
        unsafe { gw_config_free(self.cfg) };
    }
}

#[test]
fn options_are_set_and_read_back() {
    let mut host = Host::new();
    assert_eq!(host.set("keepalive", "1500ms"), GW_OK);
    assert_eq!(host.get(c"keepalive", 16), (GW_OK, "1500ms".into(), 6));
    // What does not fit is cut, and its length told all the same.
    assert_eq!(host.get(c"keepalive", 4), (GW_OK, "150".into(), 6));
    assert_eq!(host.get(c"keepalive", 1), (GW_OK, String::new(), 6));
    assert_eq!(host.get(c"keepalive", 0), (GW_OK, String::new(), 6));
    assert_eq!(host.get(c"keepalife", 16).0, GW_ERR_UNKNOWN);

    // SAFETY: a live configuration and error.
    let set = |cfg, id, value| unsafe { gw_config_set_int(cfg, id, value, std::ptr::null_mut()) };
    assert_eq!(set(host.cfg, GW_OPT_KEEPALIVE, 2000), GW_OK);
    assert_eq!(host.get(c"keepalive", 16).1, "2s");
    assert_eq!(set(host.cfg, GW_OPT_KEEPALIVE, -1), GW_ERR_INVALID);
    assert_eq!(set(host.cfg, 0, 1), GW_ERR_UNKNOWN);
    assert_eq!(set(host.cfg, GW_OPT_WORKER_MODEL, 3), GW_OK);
    assert_eq!(host.get(c"worker_model", 16).1, "exec");
    assert_eq!(set(host.cfg, GW_OPT_WORKER_MODEL, 4), GW_ERR_INVALID);
}

#[test]
fn a_refusal_says_why() {
    let mut host = Host::new();
    assert_eq!(host.set("workres", "4"), GW_ERR_UNKNOWN);
    assert!(host.message().contains("did you mean 'workers'"), "{}", host.message());
    assert_eq!(host.set("workers", "many"), GW_ERR_INVALID);
    assert!(host.message().contains("workers"), "{}", host.message());
    // SAFETY: NULL where a string should be, and where an error could be.
    unsafe {
        let rc = gw_config_set(host.cfg, std::ptr::null(), c"4".as_ptr(), &raw mut host.err);
        assert_eq!((rc, host.message().as_str()), (GW_ERR_INVALID, "key is NULL"));
        let nobody = std::ptr::null_mut();
        assert_eq!(gw_config_set(nobody, c"a".as_ptr(), c"b".as_ptr(), nobody.cast()), -1);
        gw_config_free(nobody);
    }
}

#[test]
fn numbers_are_those_of_the_table() {
    let source = include_str!("../options.rs");
    let mut constants = Vec::new();
    for line in source.lines() {
        let Some(rest) = line.strip_prefix("pub const GW_OPT_") else { continue };
        let (name, rest) = rest.split_once(": u32 = ").unwrap();
        constants.push((rest.trim_end_matches(';').parse().unwrap(), name.to_lowercase()));
    }
    let table: Vec<(u32, String)> =
        options().iter().map(|option| (option.id(), option.name().to_string())).collect();
    assert_eq!(constants, table);
}

#[test]
fn options_are_listed_to_the_end() {
    let (mut cursor, mut names) = (0, Vec::new());
    let size = size_of::<gw_option>() as u32;
    let null = std::ptr::null();
    loop {
        let mut row = gw_option { size, id: 0, name: null, kind: null, preset: null, help: null };
        // SAFETY: a cursor and a whole struct.
        match unsafe { gw_option_next(&raw mut cursor, &raw mut row) } {
            GW_OK => {
                assert_eq!(row.size, size);
                // SAFETY: static strings.
                names.push(unsafe { CStr::from_ptr(row.name) }.to_str().unwrap());
                assert_eq!(by_name(names[names.len() - 1]).unwrap().id(), row.id);
            }
            rc => break assert_eq!(rc, GW_EOF),
        }
    }
    assert_eq!(names.len(), options().len());
    // SAFETY: NULL is refused.
    unsafe {
        assert_eq!(gw_option_next(&raw mut cursor, std::ptr::null_mut()), GW_EOF);
        cursor = 0;
        assert_eq!(gw_option_next(&raw mut cursor, std::ptr::null_mut()), GW_ERR_INVALID);
        assert_eq!(gw_option_next(std::ptr::null_mut(), std::ptr::null_mut()), GW_ERR_INVALID);
    }
    assert_eq!(cursor, 0);
}

unsafe extern "C" fn count(ctx: *mut c_void) {
    // SAFETY: the counter that the tests below pass.
    let count = unsafe { &*ctx.cast::<Cell<u32>>() };
    count.set(count.get() + 1);
}

unsafe extern "C" fn nothing(
    _: *mut c_void,
    _: *mut crate::gateway::abi::Environ,
    _: crate::gateway::abi::StartResponseFn,
    _: *mut c_void,
    _: *mut crate::gateway::abi::BodyFrame,
) -> i32 {
    GW_OK
}

#[test]
fn an_application_is_dropped_once_whatever_happens() {
    let dropped = Cell::new(0);
    let good = AppFrame {
        call: Some(nothing),
        ctx: (&raw const dropped).cast_mut().cast(),
        drop: Some(count),
        ..AppFrame::EMPTY
    };
    let mut host = Host::new();
    let mut put = |app: &AppFrame| {
        // SAFETY: a live configuration and a whole struct.
        unsafe { gw_config_app(host.cfg, &raw const *app, &raw mut host.err) }
    };
    assert_eq!(put(&good), GW_OK);
    assert_eq!(dropped.get(), 0);
    assert_eq!(put(&good), GW_OK);
    assert_eq!(dropped.get(), 1, "the second takes the place of the first");
    assert_eq!(put(&AppFrame { call: None, ..good }), GW_ERR_INVALID);
    assert_eq!(dropped.get(), 2, "refused, and dropped all the same");
    assert_eq!(put(&AppFrame { flags: 1 << 31, ..good }), GW_ERR_INVALID);
    assert_eq!(dropped.get(), 3);
    // A struct that cannot be understood is not taken.
    assert_eq!(put(&AppFrame { size: 0, ..good }), GW_ERR_INVALID);
    assert_eq!(dropped.get(), 3);
    drop(host);
    assert_eq!(dropped.get(), 4);
    // From a newer header, with something that this library does not know.
    #[repr(C)]
    struct Newer(AppFrame, u64);
    let newer = Newer(AppFrame { size: size_of::<Newer>() as u32, ..good }, 7);
    let mut host = Host::new();
    // SAFETY: a live configuration, and as many octets as `size` says.
    let rc = unsafe { gw_config_app(host.cfg, (&raw const newer).cast(), &raw mut host.err) };
    assert_eq!(rc, Kind::Abi as i32);
    assert_eq!(dropped.get(), 5, "refused, and dropped all the same");
}

unsafe extern "C" fn refuse(
    ctx: *mut c_void,
    inner: *const AppFrame,
    outer: *mut AppFrame,
    err: *mut gw_error,
) -> gw_result {
    // SAFETY: the frames and the error that gw_config_use promises.
    unsafe {
        assert!(!ctx.is_null() && (*inner).call.is_some() && (*outer).call.is_none());
        assert_eq!((*err).size as usize, size_of::<gw_error>());
        (&raw mut (*err).message).cast::<[u8; 4]>().write(*b"why\0");
    }
    GW_ERR_ABI
}

#[test]
fn middleware_fails_with_its_own_words_and_is_dropped_once() {
    let dropped = Cell::new(0);
    let ctx = (&raw const dropped).cast_mut().cast();
    let mut host = Host::new();
    let app = AppFrame { call: Some(nothing), ..AppFrame::EMPTY };
    // SAFETY: a live configuration, a whole struct, a context that outlives them.
    unsafe {
        assert_eq!(gw_config_app(host.cfg, &raw const app, &raw mut host.err), GW_OK);
        assert_eq!(gw_config_use(host.cfg, None, ctx, Some(count), &raw mut host.err), -1);
        assert_eq!(dropped.get(), 1);
        let rc = gw_config_use(host.cfg, Some(refuse), ctx, Some(count), &raw mut host.err);
        assert_eq!((rc, dropped.get()), (GW_OK, 1));
        let (config, _) = take(host.cfg).unwrap();
        host.cfg = std::ptr::null_mut();
        let error = config.into_inner().into_parts().app.stack(&Logger::off()).unwrap_err();
        let text = "middleware around application \"app\": why";
        assert_eq!((error.kind(), error.message()), (Kind::Abi, text));
    }
    assert_eq!(dropped.get(), 2);
}

#[test]
fn listeners_come_as_text_and_as_descriptors() {
    let mut host = Host::new();
    let size = size_of::<gw_listener>() as u32;
    let plain = gw_listener {
        size,
        protocol: GW_PROTO_HTTP,
        address: c"127.0.0.1:8000".as_ptr(),
        fd: 0,
        backlog: 7,
        flags: 0,
        mode: 0,
        options: std::ptr::null(),
    };
    let null = std::ptr::null();
    let unix = c"unix:/tmp/a".as_ptr();
    for (listener, rc) in [
        (plain, GW_OK),
        (gw_listener { address: unix, flags: 0, mode: 0o660, ..plain }, GW_OK),
        (gw_listener { address: null, fd: 5, flags: 0, ..plain }, GW_OK),
        (gw_listener { address: null, fd: -1, ..plain }, GW_ERR_INVALID),
        (gw_listener { address: c"nowhere:".as_ptr(), ..plain }, GW_ERR_INVALID),
        (gw_listener { protocol: 4, address: c"unix:@b".as_ptr(), ..plain }, GW_OK),
        (gw_listener { protocol: 1, address: c"scgi+unix:@c".as_ptr(), ..plain }, GW_OK),
        (gw_listener { address: c"https://:1".as_ptr(), ..plain }, GW_ERR_UNSUPPORTED),
        (gw_listener { options: c"max_body=x".as_ptr(), ..plain }, GW_ERR_INVALID),
        (gw_listener { options: c"trust=::1/129".as_ptr(), ..plain }, GW_ERR_INVALID),
        (gw_listener { options: c"trust=unix max_body=1k".as_ptr(), ..plain }, GW_OK),
        (gw_listener { protocol: 99, ..plain }, GW_ERR_UNKNOWN),
        (gw_listener { flags: 8, ..plain }, GW_ERR_INVALID),
        (gw_listener { backlog: -1, ..plain }, GW_ERR_INVALID),
        (gw_listener { size: 31, ..plain }, GW_ERR_INVALID),
        // One of before there were options.
        (gw_listener { size: 32, options: c"backlok=1".as_ptr(), ..plain }, GW_OK),
        (gw_listener { options: c"backlok=1".as_ptr(), ..plain }, GW_ERR_UNKNOWN),
        (gw_listener { options: c"nodelay=x".as_ptr(), ..plain }, GW_ERR_INVALID),
        (gw_listener { options: c"backlog=9 nodelay=0".as_ptr(), ..plain }, GW_OK),
        (gw_listener { backlog: 0, options: c"backlog=9".as_ptr(), ..plain }, GW_OK),
    ] {
        // SAFETY: a live configuration and a whole struct.
        let got = unsafe { gw_config_listen(host.cfg, &raw const listener, &raw mut host.err) };
        assert_eq!(got, rc, "{listener:?}: {}", host.message());
    }
    assert_eq!(
        host.get(c"bind", 500).1,
        "127.0.0.1:8000?backlog=7,unix:/tmp/a?backlog=7&mode=660,fd://5?backlog=7,\
         auto+unix:@b?backlog=7,scgi+unix:@c?backlog=7,\
         127.0.0.1:8000?backlog=7&trust=unix&max_body=1k,\
         127.0.0.1:8000?backlog=7,127.0.0.1:8000?backlog=7&nodelay=0,127.0.0.1:8000?backlog=9"
    );
}
