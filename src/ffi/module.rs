//! Application modules: shared objects that export one function, which hands out an application.

use std::ffi::{CStr, CString, c_char};
use std::mem::transmute;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::exports::{EXPORTS, Export};
use super::guard::known;
use super::hooks::{gw_hooks, hooks_of};
use super::result::{GW_OK, gw_error, gw_result};
use super::version::ABI;
use crate::base::error::{Error, Kind, Result};
use crate::gateway::abi::AppFrame;
use crate::gateway::app::Application;
use crate::gateway::config::{Config, Load, Loaded};
use crate::gateway::service::Hooks;
use crate::sys::dl::Library;

/// what a module is told
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_module_args {
    pub size: u32,
    /// GW_ABI of the loader
    pub abi: u32,
    /// the file; absolute, if a slash was in it
    pub path: *const c_char,
    /// the text given with the module; not NULL
    pub args: *const c_char,
}

/// what a module says of itself; zeroed, `size` set
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_module {
    pub size: u32,
    /// set to GW_ABI
    pub abi: u32,
    /// for log lines; may be NULL
    pub name: *const c_char,
    /// the same
    pub version: *const c_char,
    pub app: *const AppFrame,
    /// called beside the host's; may be NULL
    pub hooks: *const gw_hooks,
}

/// GW_MODULE_SYMBOL.  Called once for each place that a configuration names the module for, in each
/// process that loads it; `err` is never NULL.  What `out` points to lives as long as the process.
/// GW_ERR_ABI if the module does not go with args->abi.
pub type gw_module_init_fn = Option<
    unsafe extern "C" fn(
        args: *const gw_module_args,
        out: *mut gw_module,
        err: *mut gw_error,
    ) -> gw_result,
>;

impl Config {
    /// The application is that of a module: a shared object that exports `gw_module_init`, see
    /// `gateway.h`.  It is loaded when a server or an arbiter is made of the configuration, by forked
    /// workers after the fork unless the option `preload` is set.
    ///
    /// A path without a slash is looked for as dlopen(3) says; another is meant from the current
    /// directory.
    ///
    /// # Errors
    /// `Kind::Invalid`: the path is empty, or there is a NUL in one of the texts.  `Kind::Io`: the
    /// current directory is gone.
    ///
    /// # Safety
    /// The module's constructors, `gw_module_init` and what that hands out run in this process: they
    /// must keep the rules of `gateway.h`.
    pub unsafe fn module(&mut self, path: impl AsRef<Path>, args: &str) -> Result<&mut Self> {
        // SAFETY: the caller's promise.
        Ok(self.module_from(unsafe { loader(path.as_ref(), args) }?))
    }

    /// The same, mounted at `at`: see [`Config::mount`].  One module may be mounted at several places,
    /// and is asked for an application for each.
    ///
    /// # Errors
    /// As [`Config::module`] and [`Config::mount`].
    ///
    /// # Safety
    /// As [`Config::module`].
    pub unsafe fn mount_module(
        &mut self,
        at: &str,
        path: impl AsRef<Path>,
        args: &str,
    ) -> Result<&mut Self> {
        // SAFETY: the caller's promise.
        self.mount_module_from(at, unsafe { loader(path.as_ref(), args) }?)
    }
}

/// # Safety
/// As [`Config::module`].
unsafe fn loader(path: &Path, args: &str) -> Result<Load> {
    let path = file(path)?;
    let args = CString::new(args).map_err(|_| Error::new(Kind::Invalid, "args: a NUL in it"))?;
    // SAFETY: the caller's promise.
    Ok(Box::new(move || unsafe { load(&path, &args) }))
}

/// The path as the linker is to have it.
fn file(path: &Path) -> Result<CString> {
    let octets = path.as_os_str().as_bytes();
    if octets.is_empty() {
        return Err(Error::new(Kind::Invalid, "path: it is empty"));
    }
    let whole = if octets.contains(&b'/') {
        std::path::absolute(path).map_err(|error| Error::os("find the module", &error))?
    } else {
        path.to_owned()
    };
    CString::new(whole.into_os_string().into_encoded_bytes())
        .map_err(|_| Error::new(Kind::Invalid, "path: a NUL in it"))
}

/// What `main` returns when the application could not be loaded: gunicorn's.
const LOAD_ERROR: i32 = 4;

/// # Safety
/// The file is a module that keeps the rules.
unsafe fn load(path: &CStr, args: &CStr) -> Result<Loaded> {
    let shown = path.to_string_lossy();
    // SAFETY: the caller's promise.
    unsafe { opened(path).and_then(|library| ask(&library, path, args)) }.map_err(|error| {
        Error::new(error.kind(), format!("load module {shown}: {error}"))
            .with_os_errno(error.os_errno())
            .with_exit_status(LOAD_ERROR)
    })
}

/// # Safety
/// As [`load`].
unsafe fn opened(path: &CStr) -> Result<Library> {
    // SAFETY: the caller's promise.
    unsafe { Library::open(path) }.map_err(|said| {
        let name = path.to_string_lossy();
        // The linker's sentence has no number, and often the path once more.
        if name.contains('/')
            && let Err(error) = std::fs::File::open(&*name)
        {
            return Error::new(Kind::Io, error.to_string())
                .with_os_errno(error.raw_os_error().unwrap_or(0));
        }
        let said = said.strip_prefix(&*name).map_or(&*said, |rest| rest.trim_start_matches(": "));
        Error::new(Kind::Io, said.to_owned())
    })
}

/// Both sides say their ABI, and either may refuse.
///
/// # Safety
/// As [`load`].
unsafe fn ask(library: &Library, path: &CStr, args: &CStr) -> Result<Loaded> {
    // SAFETY: a module's function of that name has this type, and a missing one is None in both.
    let init: gw_module_init_fn = unsafe { transmute(library.symbol(c"gw_module_init")) };
    let init = init.ok_or_else(|| {
        let text = "it exports no gw_module_init: see GW_MODULE_DECLARE in gateway.h";
        Error::new(Kind::Unknown, text)
    })?;
    let takes = |it: &Export| library.takes(it.name, it.address);
    if !library.shares(c"gw_abi") || !EXPORTS.iter().all(takes) {
        let text = "it uses another copy of libgateway than this program, which has a static one: \
                    link the program with -rdynamic, or with -lgateway";
        return Err(Error::new(Kind::Abi, text));
    }
    let told = gw_module_args {
        size: size_of::<gw_module_args>() as u32,
        abi: ABI,
        path: path.as_ptr(),
        args: args.as_ptr(),
    };
    let mut said = gw_module { size: size_of::<gw_module>() as u32, ..NOTHING };
    let mut err = gw_error::EMPTY;
    // SAFETY: the module's own function, and structs that live for the call.
    let code = unsafe { init(&raw const told, &raw mut said, &raw mut err) };
    if code != GW_OK {
        return Err(err.as_error(code, "gw_module_init failed, and does not say why"));
    }
    if said.abi != ABI {
        let text = format!(
            "it was built for ABI {} of libgateway, and this is ABI {ABI}: build it again with this \
             version's gateway.h",
            said.abi
        );
        return Err(Error::new(Kind::Abi, text));
    }
    if said.app.is_null() {
        return Err(Error::new(Kind::Invalid, "gw_module_init set no application (out->app)"));
    }
    // SAFETY: the module's structs and strings, which stay.
    unsafe { loaded(path, &said) }
}

const NOTHING: gw_module = gw_module {
    size: 0,
    abi: 0,
    name: std::ptr::null(),
    version: std::ptr::null(),
    app: std::ptr::null(),
    hooks: std::ptr::null(),
};

/// # Safety
/// What `said` points to is as the header has it.
unsafe fn loaded(path: &CStr, said: &gw_module) -> Result<Loaded> {
    // SAFETY: the caller's promise.
    let (app, newer) = unsafe { known(said.app, "out->app") }?;
    // SAFETY: the caller's promise.
    let mut app = unsafe { Application::from_frame(app) }?;
    newer.map_or(Ok(()), Err)?;
    // SAFETY: the caller's promise.
    let (name, version) = unsafe { (words(said.name), words(said.version)) };
    // SAFETY: the caller's promise.
    if let (true, Some(name)) = (unsafe { (*said.app).name }.is_null(), &name) {
        app = app.named(name.clone());
    }
    let mut label = format!("module {}", path.to_string_lossy());
    let about: Vec<_> = [name, version].into_iter().flatten().collect();
    if !about.is_empty() {
        label += &format!(" ({})", about.join(" "));
    }
    let hooks = if said.hooks.is_null() {
        Hooks::default()
    } else {
        // SAFETY: the caller's promise.
        unsafe { hooks_of(said.hooks) }?
    };
    Ok(Loaded { app, hooks, label })
}

/// # Safety
/// NULL, or a string.
unsafe fn words(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
