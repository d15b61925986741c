//! Shared objects that are loaded while the process runs.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// A shared object in this process.  Its code and data stay when this is dropped, until the process
/// ends: threads, handlers and tables may lead there.
#[derive(Debug)]
pub struct Library(NonNull<c_void>);

impl Library {
    /// Loads the object at `path` and what it needs, and resolves all of its symbols; its own are
    /// offered to nobody.  A path without a slash is looked for as dlopen(3) says.  A file that is
    /// loaded already (the same inode) is not loaded again.  The error is the linker's sentence.
    ///
    /// # Safety
    /// The object's constructors run: they must be fit for this process, in this thread.
    pub unsafe fn open(path: &CStr) -> Result<Self, String> {
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE;
        // SAFETY: a string; the constructors are the caller's promise.
        let handle = unsafe { libc::dlopen(path.as_ptr(), flags) };
        NonNull::new(handle).map(Library).ok_or_else(said)
    }

    /// The address of what it exports under this name, which is not NULL.
    pub fn symbol(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: a handle of dlopen, which `self` has not closed yet, and a string.
        NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) })
    }

    /// Whether this object, if it uses something of this name, uses what is at `address` in the
    /// program itself.  Always, where `address` is not in the program: then see [`Library::shares`].
    pub fn takes(&self, name: &CStr, address: *const c_void) -> bool {
        // SAFETY: an address of the program's, which every process has.
        let program = unsafe { libc::getauxval(libc::AT_PHDR) } as *const c_void;
        if base(address) != base(program) {
            return true;
        }
        // SAFETY: a string.
        let offered = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        match NonNull::new(offered).or_else(|| self.symbol(name)) {
            Some(used) => used.as_ptr().cast_const() == address,
            None => true,
        }
    }

    /// Whether this object, if it uses something of this name, uses that of the object that this
    /// code is in: not that of a second copy, which came as one of its dependencies.
    pub fn shares(&self, name: &CStr) -> bool {
        // What the program and its libraries offer comes before what the object has brought.
        // SAFETY: a string.
        let offered = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        match NonNull::new(offered).or_else(|| self.symbol(name)) {
            Some(used) => base(used.as_ptr()) == base((&raw const HERE).cast()),
            None => true,
        }
    }
}

/// Something of the object that this code is in.
static HERE: u8 = 0;

/// Where the object begins that has this address.
fn base(address: *const c_void) -> Option<usize> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked for, and `info` may be written.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    // SAFETY: a Dl_info is pointers, for which zero is a value.
    (found != 0).then(|| unsafe { info.assume_init() }.dli_fbase as usize)
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: a handle of dlopen, closed once; RTLD_NODELETE lets the object stay.
        unsafe { libc::dlclose(self.0.as_ptr()) };
    }
}

/// What the linker says of the last failure in this thread.
fn said() -> String {
    // SAFETY: NULL, or a string that stays until the next such call of this thread.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the linker does not say why".into();
    }
    // SAFETY: as above; it is copied at once.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

// A static program loads nothing.
#[cfg(all(test, not(target_feature = "crt-static")))]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_has_symbols() {
        // SAFETY: the C library, which is in every process.
        let library = unsafe { Library::open(c"libc.so.6") }.unwrap();
        let found = library.symbol(c"getpid").unwrap();
        assert!(library.symbol(c"gw_no_such_symbol").is_none());
        // Used is that of the C library, which this is not; of what is not there nothing is used.
        assert!(!library.shares(c"getpid"));
        assert!(library.shares(c"gw_no_such_symbol"));
        drop(library);
        // SAFETY: as above.
        let again = unsafe { Library::open(c"libc.so.6") }.unwrap();
        assert_eq!(again.symbol(c"getpid"), Some(found));
    }

    #[test]
    fn what_is_not_there_is_said() {
        // SAFETY: there is nothing to run.
        let error = unsafe { Library::open(c"/nonexistent/gateway.so") }.unwrap_err();
        assert!(error.contains("/nonexistent/gateway.so"), "{error}");
    }
}
