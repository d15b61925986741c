//! The library, safe to call.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::ffi;

/// What the library says when it does not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) message: String,
    /// The system's, 0 when it has nothing to do with it.
    pub(crate) os_errno: i32,
    /// What the program is to return: 1, 3, 4.
    pub(crate) exit_status: i32,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn from_c(error: &ffi::gw_error) -> Self {
        // SAFETY: the library ends it with a NUL, and it is zeroed before.
        let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
        Error {
            message: message.to_string_lossy().into_owned(),
            os_errno: error.os_errno,
            exit_status: error.exit_status.max(1),
        }
    }

    fn of_code(code: ffi::gw_result) -> Self {
        // SAFETY: a static text for any number.
        let message = text(unsafe { ffi::gw_result_text(code) });
        Error { message: message.into(), os_errno: 0, exit_status: 1 }
    }

    /// What the system refused.
    pub(crate) fn of_system(action: &str, errno: Errno) -> Self {
        let message = format!("{action}: {}", errno.desc());
        Error { message, os_errno: errno as i32, exit_status: 1 }
    }

    fn nul(text: &str) -> Self {
        let message = format!("{text:?} has a NUL in it");
        Error { message, os_errno: 0, exit_status: 1 }
    }
}

/// An option of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opt {
    pub(crate) name: &'static str,
    /// `int`, `bool`, `ms`, `size`, `enum`, `text`, `path` or `list`.
    pub(crate) kind: &'static str,
    /// As it is given.
    pub(crate) preset: &'static str,
    pub(crate) help: &'static str,
}

/// The table, in the order of the options' numbers.
pub(crate) fn options() -> Vec<Opt> {
    let mut found = Vec::new();
    let mut cursor = 0;
    loop {
        let mut option = ffi::gw_option {
            size: size_of::<ffi::gw_option>() as u32,
            id: 0,
            name: ptr::null(),
            kind: ptr::null(),
            preset: ptr::null(),
            help: ptr::null(),
        };
        // SAFETY: both are ours, and `size` is the struct's.
        if unsafe { ffi::gw_option_next(&mut cursor, &mut option) } != ffi::GW_OK {
            return found;
        }
        let ffi::gw_option { name, kind, preset, help, .. } = option;
        let [name, kind, preset, help] = [name, kind, preset, help].map(text);
        found.push(Opt { name, kind, preset, help });
    }
}

/// "0.1.0", of the library that is loaded.
pub(crate) fn version() -> &'static str {
    // SAFETY: a static text.
    text(unsafe { ffi::gw_version() })
}

/// Whether an arbiter has started this program again to be a worker.
pub(crate) fn is_worker() -> bool {
    // SAFETY: may be called at any time.
    unsafe { ffi::gw_is_worker() != 0 }
}

/// One of the library's static texts.
fn text(text: *const c_char) -> &'static str {
    if text.is_null() {
        return "";
    }
    // SAFETY: the library's texts are static and end with a NUL.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("")
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::nul(text))
}

/// Calls with room for an error; what was returned, if that is none.
fn call(f: impl FnOnce(*mut ffi::gw_error) -> ffi::gw_result) -> Result<ffi::gw_result> {
    let size = size_of::<ffi::gw_error>() as u32;
    let mut error = ffi::gw_error { size, code: 0, os_errno: 0, exit_status: 0, message: [0; 240] };
    match f(&mut error) {
        code if code >= 0 => Ok(code),
        _ => Err(Error::from_c(&error)),
    }
}

/// A configuration.
#[derive(Debug)]
pub(crate) struct Config(NonNull<ffi::gw_config>);

impl Config {
    /// With all presets.
    pub(crate) fn new() -> Self {
        // SAFETY: may be called at any time.
        Config(NonNull::new(unsafe { ffi::gw_config_new() }).expect("memory for a configuration"))
    }

    /// Takes it apart for a call that takes it.
    fn into_raw(self) -> *mut ffi::gw_config {
        let raw = self.0.as_ptr();
        std::mem::forget(self);
        raw
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (c_string(key)?, c_string(value)?);
        // SAFETY: the configuration is there, the texts live as long as the call.
        call(|e| unsafe { ffi::gw_config_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), e) })
            .map(drop)
    }

    /// The value of an option as [`Config::set`] takes it.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let key = c_string(key).ok()?;
        let mut octets = vec![0u8; 4096];
        let mut len = 0;
        let (buf, cap) = (octets.as_mut_ptr().cast::<c_char>(), octets.len());
        // SAFETY: there are `cap` octets at `buf`.
        let code = unsafe { ffi::gw_config_get(self.0.as_ptr(), key.as_ptr(), buf, cap, &mut len) };
        if code != ffi::GW_OK {
            return None;
        }
        octets.truncate(len.min(cap - 1));
        String::from_utf8(octets).ok()
    }

    /// `protocol`: `GW_PROTO_*`; `options`: "key=value ...".
    pub(crate) fn listen(&mut self, address: &str, protocol: u32, options: &str) -> Result<()> {
        let (address, options) = (c_string(address)?, c_string(options)?);
        let listener = ffi::gw_listener {
            size: size_of::<ffi::gw_listener>() as u32,
            protocol,
            address: address.as_ptr(),
            fd: -1,
            backlog: 0,
            flags: 0,
            mode: 0,
            options: options.as_ptr(),
        };
        // SAFETY: the configuration is there, the texts live as long as the call.
        call(|e| unsafe { ffi::gw_config_listen(self.0.as_ptr(), &listener, e) }).map(drop)
    }

    /// A module for `place` ("": everything else).
    pub(crate) fn module(&mut self, place: &str, path: &str, args: &str) -> Result<()> {
        let (place, path, args) = (c_string(place)?, c_string(path)?, c_string(args)?);
        let (place, path, args) = (place.as_ptr(), path.as_ptr(), args.as_ptr());
        // SAFETY: the configuration is there, the texts live as long as the call.
        call(|e| unsafe { ffi::gw_config_module(self.0.as_ptr(), place, path, args, e) }).map(drop)
    }

    /// A ready-made application for `place`.
    pub(crate) fn builtin(&mut self, place: &str, name: &str, args: &str) -> Result<()> {
        let (place, name, args) = (c_string(place)?, c_string(name)?, c_string(args)?);
        let mut app = ffi::gw_app {
            size: size_of::<ffi::gw_app>() as u32,
            flags: 0,
            call: None,
            ctx: ptr::null_mut(),
            drop: None,
            name: ptr::null(),
        };
        // SAFETY: the texts live as long as the call, and `app` is ours.
        call(|e| unsafe { ffi::gw_app_builtin(name.as_ptr(), args.as_ptr(), &mut app, e) })?;
        // SAFETY: the application was made above, and the configuration takes it in any case.
        call(|e| unsafe { ffi::gw_config_mount(self.0.as_ptr(), place.as_ptr(), &app, e) })
            .map(drop)
    }

    /// Ready-made middleware ("name key=value ...") around what is mounted at `place`; without one
    /// around everything.
    pub(crate) fn wrap(&mut self, place: Option<&str>, what: &str) -> Result<()> {
        unsafe extern "C" fn free(ctx: *mut c_void) {
            // SAFETY: what `into_raw` gave below; the library calls it once.
            drop(unsafe { CString::from_raw(ctx.cast()) });
        }
        let place = place.map(c_string).transpose()?;
        let (cfg, ctx) = (self.0.as_ptr(), c_string(what)?.into_raw().cast::<c_void>());
        let with = ffi::gw_middleware_builtin;
        // SAFETY: `ctx` is a string that lives until `free`, which the library calls in any case.
        call(|e| unsafe {
            match &place {
                Some(place) => ffi::gw_config_use_at(cfg, place.as_ptr(), with, ctx, Some(free), e),
                None => ffi::gw_config_use(cfg, with, ctx, Some(free), e),
            }
        })
        .map(drop)
    }

    /// Workers of their own.
    pub(crate) fn pool(&mut self, name: &str, pool: Config) -> Result<()> {
        let name = c_string(name)?;
        let pool = pool.into_raw();
        // SAFETY: the configuration is there, and takes the other in any case.
        call(|e| unsafe { ffi::gw_config_pool(self.0.as_ptr(), name.as_ptr(), pool, e) }).map(drop)
    }

    /// Every problem that the library finds.
    pub(crate) fn problems(&self) -> Vec<Error> {
        unsafe extern "C" fn report(ctx: *mut c_void, problem: *const ffi::gw_error) {
            // SAFETY: `ctx` is the list below, and the problem lives as long as the call.
            let (found, problem) = unsafe { (&mut *ctx.cast::<Vec<Error>>(), &*problem) };
            found.push(Error::from_c(problem));
        }
        let mut found: Vec<Error> = Vec::new();
        let list = (&raw mut found).cast();
        // SAFETY: the list outlives the call, and nobody else uses it meanwhile.
        let code = unsafe { ffi::gw_config_check(self.0.as_ptr(), Some(report), list) };
        if code < 0 && found.is_empty() {
            found.push(Error::of_code(code));
        }
        found
    }

    /// Serves until told to stop.
    pub(crate) fn serve(self) -> Result<()> {
        let raw = self.into_raw();
        // SAFETY: the library takes the configuration.
        call(|e| unsafe { ffi::gw_serve(raw, e) }).map(drop)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: nothing was made of it.
        unsafe { ffi::gw_config_free(self.0.as_ptr()) };
    }
}

/// Workers, and who watches them.
#[derive(Debug)]
pub(crate) struct Arbiter(NonNull<ffi::gw_arbiter>);

impl Arbiter {
    /// Binds the addresses.
    pub(crate) fn new(config: Config) -> Result<Self> {
        let raw = config.into_raw();
        let mut arbiter = ptr::null_mut();
        // SAFETY: the library takes the configuration, and writes the arbiter.
        call(|e| unsafe { ffi::gw_arbiter_new(raw, &mut arbiter, e) })?;
        Ok(Arbiter(NonNull::new(arbiter).expect("an arbiter")))
    }

    /// Starts the workers.
    pub(crate) fn start(&mut self) -> Result<()> {
        // SAFETY: the arbiter is there.
        call(|e| unsafe { ffi::gw_arbiter_start(self.0.as_ptr(), e) }).map(drop)
    }

    /// Readable when [`Arbiter::turn`] has something to do.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the arbiter is there.
        let fd: RawFd = unsafe { ffi::gw_arbiter_fd(self.0.as_ptr()) };
        // SAFETY: an arbiter's descriptor, which lives as long as it.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// Does what there is to do; how long there will be nothing, in milliseconds (-1: for ever).
    /// `None`: it has stopped.
    pub(crate) fn turn(&mut self) -> Result<Option<i64>> {
        let mut wait = 0;
        // SAFETY: the arbiter is there.
        match unsafe { ffi::gw_arbiter_turn(self.0.as_ptr(), &mut wait) } {
            ffi::GW_EOF => Ok(None),
            code if code >= 0 => Ok(Some(wait)),
            code => Err(Error::of_code(code)),
        }
    }

    /// How it ended, after [`Arbiter::turn`] has said that it did.
    pub(crate) fn outcome(&mut self) -> Result<()> {
        // SAFETY: the arbiter is there.
        call(|e| unsafe { ffi::gw_arbiter_run(self.0.as_ptr(), e) }).map(drop)
    }

    /// Begins a reload to another configuration.
    pub(crate) fn reload(&self, config: Config) -> Result<()> {
        let raw = config.into_raw();
        // SAFETY: the arbiter is there, and takes the configuration.
        match unsafe { ffi::gw_arbiter_reload(self.0.as_ptr(), raw) } {
            code if code >= 0 => Ok(()),
            code => Err(Error::of_code(code)),
        }
    }
}

impl Drop for Arbiter {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more.
        unsafe { ffi::gw_arbiter_free(self.0.as_ptr()) };
    }
}

/// Changes the environment, while the process has one thread.
pub(crate) fn set_env(name: &str, value: Option<&OsStr>) {
    // SAFETY: the command starts no thread, and where the library does nothing is changed any more
    // (`Surroundings::fix`).
    unsafe {
        match value {
            Some(value) => std::env::set_var(name, value),
            None => std::env::remove_var(name),
        }
    }
}

/// What the handler of HUP writes to.
static HUNG_UP: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_hang_up(_: c_int) {
    let before = Errno::last_raw();
    let fd = HUNG_UP.load(Ordering::SeqCst);
    // SAFETY: the descriptor stays open for as long as the process lives.
    let _ = nix::unistd::write(unsafe { BorrowedFd::borrow_raw(fd) }, b"!");
    Errno::set_raw(before);
}

/// First in an arbiter that has just taken all signals, and has no worker yet.
unsafe extern "C" fn take_hang_up(_: *mut c_void, _: *mut ffi::gw_arbiter) {
    let flags = SaFlags::SA_RESTART | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::Handler(on_hang_up), flags, SigSet::empty());
    // SAFETY: the handler is async-signal-safe: an atomic, and write(2) with errno as it was.
    let taken = unsafe { sigaction(Signal::SIGHUP, &action) };
    // What came before is heard now.
    let heard = hang_up().thread_unblock();
    debug_assert!(taken.is_ok() && heard.is_ok());
}

fn hang_up() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGHUP);
    set
}

/// Takes HUP from the arbiter that will be made of `config`: it makes the returned descriptor
/// readable, also if it comes before the arbiter starts.
pub(crate) fn catch_hang_up(config: &mut Config) -> Result<OwnedFd> {
    let failed = |errno| Error::of_system("catch HUP", errno);
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(failed)?;
    HUNG_UP.store(write.into_raw_fd(), Ordering::SeqCst);
    let hooks = ffi::gw_hooks {
        size: size_of::<ffi::gw_hooks>() as u32,
        reserved: 0,
        ctx: ptr::null_mut(),
        drop: None,
        pre_request: None,
        access: None,
        worker_init: None,
        worker_exit: None,
        on_starting: Some(take_hang_up),
    };
    // SAFETY: the configuration is there, and the function is for ever.
    call(|e| unsafe { ffi::gw_config_hooks(config.0.as_ptr(), &hooks, e) })?;
    hang_up().thread_block().map_err(failed)?;
    Ok(read)
}
