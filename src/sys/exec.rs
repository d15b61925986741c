//! This program, started again: where it lies, how it was called, and a start that is safe in a
//! process with threads.
//!
//! The new process learns what it is from a variable of its environment that ends with its own
//! process id.  Its children inherit the variable and are somebody else, so to them it says nothing.

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::check;
use super::proc::{self, Pid};

/// How many digits a process id may have.
const DIGITS: usize = 10;

/// The exit status of a new process that could not become the program: the shell's.
const EXEC_ERROR: c_int = 127;

/// The program of this process, as it was called.
#[derive(Clone, Debug)]
pub struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    /// Where it was called.
    dir: Option<CString>,
}

/// The arguments as they were when the library was loaded.  A program may write over them while it
/// reads them (strtok), and then the system has what it has written.
static ARGS: OnceLock<Vec<u8>> = OnceLock::new();

/// The signals that were blocked then: those of the process, and not of whatever thread starts it
/// again, whose mask would be that of all threads of the new one.
static MASK: OnceLock<proc::SignalMask> = OnceLock::new();

/// Before `main`, or in dlopen: reads a file into memory, no more.
extern "C" fn remember_call() {
    if let Ok(line) = std::fs::read("/proc/self/cmdline") {
        let _ = ARGS.set(line);
    }
    let _ = MASK.set(proc::SignalMask::current());
}

// SAFETY: the section is an array of such functions, which the dynamic linker calls once each.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER_CALL: extern "C" fn() = remember_call;

/// What a start adds to the program.
#[derive(Debug)]
pub struct Start<'a> {
    /// The variable that tells the new process what it is.
    pub marker: &'a str,
    /// The descriptor before the process id in it.
    pub word: RawFd,
    /// The descriptors that it is to have, with the same numbers, beside `word`.
    pub fds: &'a [RawFd],
    /// Whether it is killed when the calling thread ends.
    pub bound: bool,
    /// Signals that do what they do by default there, also if they are ignored here.
    pub defaults: &'a [i32],
    /// Signals that do nothing there until it says otherwise.
    pub ignored: &'a [i32],
    /// Variables that it is not to have.
    pub without: &'a [&'a str],
    /// Variables that name this process, and are to name the new one.
    pub passed: &'a [&'a str],
}

impl Program {
    /// The program as it was called, and its environment and its directory as they are now.
    ///
    /// The path is the one that it was called by, where that still leads to it: a link that is
    /// changed to another release leads there.
    pub fn current() -> io::Result<Program> {
        let text = |octets: Vec<u8>| CString::new(octets).map_err(io::Error::other);
        let args: io::Result<Vec<CString>> = match ARGS.get() {
            Some(line) if !line.is_empty() => {
                let line = line.strip_suffix(b"\0").unwrap_or(line);
                line.split(|octet| *octet == 0).map(|arg| text(arg.to_vec())).collect()
            }
            _ => std::env::args_os().map(|arg| text(arg.into_vec())).collect(),
        };
        let mut args = args?;
        let path = text(path()?.into_os_string().into_vec())?;
        if args.is_empty() {
            args.push(path.clone());
        }
        let variable = |(name, value): (OsString, OsString)| {
            text([name.as_bytes(), b"=", value.as_bytes()].concat())
        };
        let env = std::env::vars_os().map(variable).collect::<io::Result<_>>()?;
        let dir = directory().map(|dir| text(dir.into_os_string().into_vec())).transpose()?;
        Ok(Program { path, args, env, dir })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(self.path.to_bytes()))
    }

    /// Starts it again, in a new process.  Threads of this one are no hindrance: between the two
    /// there are async-signal-safe calls only, and no atfork handler runs.
    ///
    /// All other descriptors that are not close-on-exec are the host's, who may want them there.
    pub fn start(&self, start: &Start<'_>) -> io::Result<Pid> {
        let Start { marker, word, fds, bound, defaults, ignored, without, passed } = *start;
        let value = |name: &str| -> Option<&[u8]> {
            let mut values = self.env.iter().filter_map(|it| value(it.to_bytes(), name));
            values.next()
        };
        let own = proc::pid().to_string();
        let is_own = |name: &&&str| value(name) == Some(own.as_bytes());
        let passed: Vec<&str> = passed.iter().filter(is_own).copied().collect();
        // What ends with the id of the new process: with room for it.
        let mut named: Vec<Vec<u8>> = passed.iter().map(|name| format!("{name}=").into()).collect();
        named.push(format!("{marker}={word}:").into_bytes());
        let digits = |text: &mut Vec<u8>| {
            let at = text.len();
            text.resize(at + DIGITS + 1, 0);
            text[at..].as_mut_ptr()
        };
        let digits: Vec<*mut u8> = named.iter_mut().map(digits).collect();
        let goes = |variable: &&CString| {
            let mut gone = without.iter().chain(&passed).chain([&marker]);
            gone.any(|name| self::value(variable.to_bytes(), name).is_some())
        };
        let pointers = |texts: &mut dyn Iterator<Item = *const c_char>| -> Vec<*const c_char> {
            texts.chain([std::ptr::null()]).collect()
        };
        let env = self.env.iter().filter(|it| !goes(it)).map(|it| it.as_ptr());
        let (args, env) = (
            pointers(&mut self.args.iter().map(|arg| arg.as_ptr())),
            pointers(&mut env.chain(named.iter().map(|it| it.as_ptr().cast()))),
        );
        let mask = proc::SignalMask::block_all();
        let mut image = Image {
            path: self.path.as_ptr(),
            args: args.as_ptr(),
            env: env.as_ptr(),
            dir: self.dir.as_ref().map_or(std::ptr::null(), |dir| dir.as_ptr()),
            digits: &digits,
            fds,
            word,
            defaults,
            ignored,
            parent: proc::pid(),
            bound,
            mask: MASK.get().unwrap_or(&mask),
            failed: 0,
        };
        // Of whole pages, and more than what is called below needs.
        let mut stack = vec![MaybeUninit::<u128>::uninit(); 4096];
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the stack grows down from its end, which is aligned to 16, and is the child's
        // alone.  The child shares this memory, in which its caller waits until it has become
        // another program or ended; it does nothing but what `become_program` promises.  All
        // signals are blocked, so that no handler of this process runs in it.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
            check(libc::clone(become_program, top, flags, (&raw mut image).cast()))
        };
        mask.restore();
        let pid = pid?;
        // SAFETY: the child, which has ended or is another program, may have written it.
        let failed = unsafe { (&raw const image.failed).read_volatile() };
        if failed != 0 {
            proc::wait_for(pid);
            return Err(io::Error::from_raw_os_error(failed));
        }
        Ok(pid)
    }
}

/// What the new process needs, made before it is there.
struct Image<'a> {
    path: *const c_char,
    args: *const *const c_char,
    env: *const *const c_char,
    dir: *const c_char,
    /// Where its id belongs, with a NUL behind it.
    digits: &'a [*mut u8],
    fds: &'a [RawFd],
    word: RawFd,
    defaults: &'a [i32],
    ignored: &'a [i32],
    parent: Pid,
    bound: bool,
    mask: &'a proc::SignalMask,
    /// The error with which it did not become the program.
    failed: c_int,
}

/// In the new process, which has the memory of the old one: async-signal-safe calls only, nothing is
/// allocated, no lock is taken, and nothing can panic.
extern "C" fn become_program(image: *mut c_void) -> c_int {
    // SAFETY: `start` made it, and waits.  Every pointer in it is alive; each of `digits` has
    // room for DIGITS octets, and no id has more; the signal numbers are valid or refused.
    unsafe {
        let image = &mut *image.cast::<Image<'_>>();
        if image.bound && !proc::die_with_parent(image.parent) {
            libc::_exit(0);
        }
        // Not getpid(), which an old libc remembers across this kind of start.
        let pid = libc::syscall(libc::SYS_getpid);
        let mut from = 1;
        while pid / from >= 10 {
            from *= 10;
        }
        for place in image.digits {
            let (mut at, mut from) = (*place, from);
            while from > 0 {
                *at = b'0' + (pid / from % 10) as u8;
                (at, from) = (at.add(1), from / 10);
            }
        }
        for fd in image.fds {
            libc::fcntl(*fd, libc::F_SETFD, 0);
        }
        libc::fcntl(image.word, libc::F_SETFD, 0);
        let mut default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        default.sa_sigaction = libc::SIG_DFL;
        let mut ignored = default;
        ignored.sa_sigaction = libc::SIG_IGN;
        for signal in 1..=64 {
            let mut now: libc::sigaction = MaybeUninit::zeroed().assume_init();
            libc::sigaction(signal, std::ptr::null(), &mut now);
            if image.ignored.contains(&signal) {
                libc::sigaction(signal, &ignored, std::ptr::null_mut());
                continue;
            }
            // A handler of this memory must not run once the signals are let in.
            if now.sa_sigaction != libc::SIG_IGN || image.defaults.contains(&signal) {
                libc::sigaction(signal, &default, std::ptr::null_mut());
            }
        }
        // A directory that is gone must not keep a server from starting.
        if !image.dir.is_null() {
            libc::chdir(image.dir);
        }
        image.mask.restore();
        libc::execve(image.path, image.args, image.env);
        image.failed = *libc::__errno_location();
        libc::_exit(EXEC_ERROR)
    }
}

/// Where this program lies.
fn path() -> io::Result<PathBuf> {
    const KERNEL: &str = "/proc/self/exe";
    // SAFETY: no memory is involved; what it gives is a text of the kernel's that stays, or null.
    let called = unsafe {
        let called = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        (!called.is_null()).then(|| CStr::from_ptr(called))
    };
    let called = called.map(|it| Path::new(std::ffi::OsStr::from_bytes(it.to_bytes())));
    if let (Some(called), Ok(is)) = (called, std::fs::metadata(KERNEL))
        && let Ok(absolute) = std::path::absolute(called)
        && same_file(&absolute, &is)
    {
        return Ok(absolute);
    }
    let path = std::fs::read_link(KERNEL)?;
    // It was replaced since: what has its name now is what is wanted.
    let name = path.as_os_str().as_bytes();
    Ok(match name.strip_suffix(b" (deleted)") {
        Some(name) if !path.exists() => PathBuf::from(std::ffi::OsStr::from_bytes(name)),
        _ => path,
    })
}

/// The working directory: by the name that the shell gave it, if that still leads there.
fn directory() -> Option<PathBuf> {
    let is = std::fs::metadata(".").ok()?;
    let named = std::env::var_os("PWD").map(PathBuf::from);
    let named = named.filter(|dir| dir.is_absolute() && same_file(dir, &is));
    named.or_else(|| std::env::current_dir().ok())
}

fn same_file(path: &Path, is: &std::fs::Metadata) -> bool {
    std::fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (is.dev(), is.ino()))
}

/// The value of a variable, if this is its name.
fn value<'a>(variable: &'a [u8], name: &str) -> Option<&'a [u8]> {
    variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// The descriptor that the variable `marker` names, if it speaks to this process.
pub fn marked(marker: &str) -> Option<RawFd> {
    let value = std::env::var(marker).ok()?;
    let (fd, pid) = value.split_once(':')?;
    (pid.parse() == Ok(proc::pid())).then(|| fd.parse().ok()).flatten()
}

/// Removes the variable: it was heard.
pub fn unmark(marker: &str) {
    // SAFETY: what was in the environment at the start of the process is taken out of it: no memory
    // is freed, and pointers move up within the array, so that a thread that reads it at the same
    // moment sees every variable's text whole.  Threads that write to it take libc's lock, as this
    // does.
    unsafe { std::env::remove_var(marker) };
}

/// A file in memory, close-on-exec, that has these octets.
pub fn memory_file(name: &CStr, octets: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the descriptor is new, and nobody else has it.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(octets)?;
    Ok(file.into())
}

/// All of what such a file has, wherever it was read or written last.
pub fn read_memory_file(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(file.try_clone()?);
    let mut octets = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.read_exact_at(&mut octets, 0)?;
    Ok(octets)
}

/// Takes a descriptor that this process was started with, for it: from now on it is close-on-exec.
/// To be called once for each.  `EBADF`: it is not there.
pub fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved; the kernel checks the number.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and whoever started this process says that it is ours to close.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the process that started this one is `pid`, still.
pub fn is_child_of(pid: Pid) -> bool {
    // SAFETY: no memory is involved, and it cannot fail.
    unsafe { libc::getppid() == pid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    use crate::sys::proc::{Exit, wait_for};

    /// A program that is not this one, which would run all tests.
    fn shell(script: &str) -> Program {
        let text = |text: &str| CString::new(text).unwrap();
        Program {
            path: text("/bin/sh"),
            args: vec![text("sh"), text("-c"), text(script)],
            env: vec![
                text("PATH=/usr/bin:/bin"),
                text("MARK=old"),
                text("MARKED=stays"),
                text("GONE=here"),
                text("OTHER=1"),
                CString::new(format!("MINE={}", proc::pid())).unwrap(),
            ],
            dir: Some(text("/")),
        }
    }

    fn start(word: RawFd, fds: &[RawFd]) -> Start<'_> {
        Start {
            marker: "MARK",
            word,
            fds,
            bound: false,
            defaults: &[libc::SIGPIPE],
            ignored: &[libc::SIGUSR1],
            without: &["GONE"],
            passed: &["MINE", "OTHER", "NONE"],
        }
    }

    #[test]
    fn knows_this_program() {
        let program = Program::current().unwrap();
        let is = std::fs::metadata("/proc/self/exe").unwrap();
        assert!(same_file(program.path(), &is) && program.path().is_absolute());
        assert_eq!(program.args.len(), std::env::args_os().count());
        assert!(program.env.iter().any(|it| it.to_bytes().starts_with(b"PATH=")));
    }

    #[test]
    fn the_new_process_has_its_mark_and_what_it_was_given() {
        let (read, write) = proc::pipe().unwrap();
        let word = memory_file(c"word", b"hello").unwrap();
        // Its id, where it belongs; nothing twice; no signal blocked or ignored; at "/".
        let script = format!(
            "[ \"$MARK\" = \"{0}:$$\" ] && [ \"$MINE\" = $$ ] && [ \"$OTHER\" = 1 ] || exit 2
             [ -z \"$GONE\" ] && [ $(env | grep -c ^MARK=) = 1 ] || exit 8
             [ \"$MARKED\" = stays ] || exit 3
             [ \"$(cat /proc/$$/fd/{0})\" = hello ] || exit 4
             [ \"$(pwd)\" = / ] || exit 5
             grep -q '^SigBlk:.*0000000000000000$' /proc/self/status || exit 6
             grep -q '^SigIgn:.*[13579bdf]...$' /proc/self/status && exit 7
             grep -q '^SigIgn:.*[2367abef]..$' /proc/self/status || exit 9
             echo told >/proc/$$/fd/{1}",
            word.as_raw_fd(),
            write.as_raw_fd()
        );
        let pid = shell(&script).start(&start(word.as_raw_fd(), &[write.as_raw_fd()])).unwrap();
        assert_eq!(wait_for(pid), Exit::Code(0));
        drop(write);
        assert_eq!(std::io::read_to_string(File::from(read)).unwrap(), "told\n");
    }

    #[test]
    fn what_was_not_given_is_not_there() {
        let (_read, write) = proc::pipe().unwrap();
        let word = memory_file(c"word", b"").unwrap();
        let script = format!("[ ! -e /proc/$$/fd/{} ]", write.as_raw_fd());
        let pid = shell(&script).start(&start(word.as_raw_fd(), &[])).unwrap();
        assert_eq!(wait_for(pid), Exit::Code(0));
    }

    #[test]
    fn a_program_that_is_gone_is_an_error() {
        let mut program = shell("");
        program.path = CString::new("/nowhere/at/all").unwrap();
        let error = program.start(&start(0, &[])).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        // A directory that is gone is none.
        let mut program = shell("exit 9");
        program.dir = Some(CString::new("/nowhere/at/all").unwrap());
        let pid = program.start(&start(0, &[])).unwrap();
        assert_eq!(wait_for(pid), Exit::Code(9));
    }

    #[test]
    fn a_memory_file_is_read_from_its_beginning() {
        let file = memory_file(c"word", b"all of it").unwrap();
        assert_eq!(read_memory_file(&file).unwrap(), b"all of it");
        assert_eq!(read_memory_file(&file).unwrap(), b"all of it");
        assert_eq!(take_inherited(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn nobody_has_marked_this_process() {
        assert_eq!(marked("GATEWAY_TEST_MARK"), None);
    }
}
