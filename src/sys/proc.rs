//! Processes: fork, wait for our own children only, and what a process must know about itself.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{check, retry};

/// A process id.
pub type Pid = libc::pid_t;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The process that called; the new one has this id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// Somebody else waited for it (or the host ignores SIGCHLD): it is gone, and nobody knows how.
    Unknown,
}

impl Exit {
    /// What a status of waitpid says of a process that has ended; `None`: it was stopped, or goes on.
    pub fn from_raw(status: i32) -> Option<Exit> {
        if libc::WIFSIGNALED(status) {
            Some(Exit::Signal(libc::WTERMSIG(status)))
        } else if libc::WIFEXITED(status) {
            Some(Exit::Code(libc::WEXITSTATUS(status)))
        } else {
            None
        }
    }

    /// A status as waitpid has them; -1: unknown.
    pub fn raw(self) -> i32 {
        match self {
            Exit::Code(code) => (code & 0xff) << 8,
            Exit::Signal(signal) => signal,
            Exit::Unknown => -1,
        }
    }
}

/// Forks.
///
/// # Safety
/// In the child only the calling thread is left.  A lock that another thread held is held for ever,
/// so either the process has no other thread ([`thread_count`]) or the child uses nothing that one
/// could have locked.  The child has a copy of every descriptor, and of everything that will be
/// flushed or removed at exit; it must end by [`exit_now`].
pub unsafe fn fork() -> io::Result<Fork> {
    // SAFETY: the caller keeps the rules above.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Runs `child` in a new process, which ends with the status that it returns, or
/// [`PANIC_STATUS`]: the child never returns from here.  All signals are blocked in the child when
/// it starts; it unblocks them by setting `mask_before`, which it is given, when it is ready.
///
/// The caller should have counted the process's threads: with more than one, a lock that another
/// holds stays locked in the child, which may then hang.
pub fn fork_with(child: impl FnOnce(&SignalMask) -> i32) -> io::Result<Pid> {
    let mask_before = SignalMask::block_all();
    // SAFETY: the child has a copy of all memory, in which only this thread runs; locks that other
    // threads held are a hang, not a wrong access, and libc makes its allocator usable.  It ends by
    // exit_now below, whatever `child` does.
    let forked = unsafe { fork() };
    if matches!(forked, Ok(Fork::Child)) {
        let status = catch_unwind(AssertUnwindSafe(|| child(&mask_before))).unwrap_or(PANIC_STATUS);
        exit_now(status);
    }
    mask_before.restore();
    match forked? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => exit_now(PANIC_STATUS),
    }
}

/// The exit status of a forked child that panicked: EX_SOFTWARE of sysexits.h.
pub const PANIC_STATUS: i32 = 70;

/// The signals that a thread had blocked.
pub struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// What is blocked for this thread.
    pub fn current() -> Self {
        // SAFETY: as below; without a set nothing is changed.
        unsafe {
            let mut now: libc::sigset_t = std::mem::MaybeUninit::zeroed().assume_init();
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut now);
            SignalMask(now)
        }
    }

    /// Blocks all signals for this thread; what was blocked before is returned.
    pub fn block_all() -> Self {
        // SAFETY: a sigset_t is plain numbers, for which zero is a value; the calls initialise and
        // read the sets that they are given, and cannot fail.
        unsafe {
            let mut all: libc::sigset_t = std::mem::MaybeUninit::zeroed().assume_init();
            libc::sigfillset(&mut all);
            let mut before: libc::sigset_t = std::mem::MaybeUninit::zeroed().assume_init();
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            SignalMask(before)
        }
    }

    /// The same, but for those that an instruction of the thread itself raises: blocked they would
    /// end the process, past the handler of the host (or of its runtime, or of a sanitizer).
    pub fn block_all_but_faults() -> Self {
        const FAULTS: [i32; 6] =
            [libc::SIGILL, libc::SIGTRAP, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
        let before = SignalMask::block_all();
        let all = SignalMask::block_all();
        all.without(&FAULTS).restore();
        before
    }

    /// Blocks these signals again, and no others.
    pub fn restore(&self) {
        // SAFETY: the set was initialised by the kernel.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }

    /// The same set without `signals`: what a process that lives by them must not have blocked.
    pub fn without(mut self, signals: &[i32]) -> Self {
        for signal in signals {
            // SAFETY: the set is initialised; a number that is no signal is refused.
            unsafe { libc::sigdelset(&mut self.0, *signal) };
        }
        self
    }
}

impl Clone for SignalMask {
    fn clone(&self) -> Self {
        SignalMask(self.0)
    }
}

impl std::fmt::Debug for SignalMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: the set is initialised.
        let blocked = |signal: &i32| unsafe { libc::sigismember(&self.0, *signal) == 1 };
        f.debug_set().entries((1..=64).filter(blocked)).finish()
    }
}

/// How many threads this process has; `None` when the system does not tell (no /proc).
///
/// A thread that was joined lingers for a moment, so a count above one is asked again for up to
/// `patience`.
pub fn thread_count(patience: Duration) -> Option<usize> {
    let deadline = Instant::now() + patience;
    loop {
        let count = std::fs::read_dir("/proc/self/task").ok()?.count();
        if count <= 1 || Instant::now() >= deadline {
            return Some(count);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The names of its threads, but for the one that it began with; those that cannot be read are left
/// out.
pub fn thread_names() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let others = tasks.flatten().filter(|task| task.file_name() != *pid().to_string());
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    others.filter_map(name).map(|name| name.trim_end().to_owned()).collect()
}

/// Asks the kernel to kill this process when the thread that forked it ends, and makes sure that
/// its parent still is `parent`.  `false`: the parent is gone already.  It is forgotten by execve of
/// a set-user-id program and by a change of user, after which it is to be called again.
pub fn die_with_parent(parent: Pid) -> bool {
    // SAFETY: no memory is involved; the signal is a valid one.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0);
        libc::getppid() == parent
    }
}

/// Whether the calling thread is the one that the process began with, and so ends with it (as far as
/// [`die_with_parent`] is concerned).
pub fn is_main_thread() -> bool {
    // SAFETY: no memory is involved, and it cannot fail.
    unsafe { libc::gettid() == libc::getpid() }
}

/// A pipe, close-on-exec: the end to read from and the end to write to.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = io::pipe()?;
    Ok((read.into(), write.into()))
}

/// The read end of a pipe, opened once more: who has it shares nothing with those that have the other, and neither
/// does the kernel, which counts for each opening how many epolls wait for it.
pub fn opened_again(read: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    // Not to wait for a writer: there may be none any more.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    Ok(file.into())
}

/// The id of this process.
pub fn pid() -> Pid {
    super::pid::pid() as Pid
}

/// Whether child `pid` has ended, and how; `None` while it runs.  Waits for no other process, so
/// that the host's children remain the host's.
pub fn wait_pid(pid: Pid) -> Option<Exit> {
    reap(pid, libc::WNOHANG)
}

/// Waits until child `pid` has ended.
pub fn wait_for(pid: Pid) -> Exit {
    reap(pid, 0).unwrap_or(Exit::Unknown)
}

fn reap(pid: Pid, flags: libc::c_int) -> Option<Exit> {
    // 0 and negative numbers would wait for others.
    if pid <= 0 {
        return Some(Exit::Unknown);
    }
    let mut status = 0;
    // SAFETY: `status` may be written.
    match retry(|| check(unsafe { libc::waitpid(pid, &mut status, flags) })) {
        Ok(0) => None,
        Ok(_) => Exit::from_raw(status),
        Err(_) => Some(Exit::Unknown),
    }
}

/// Waits for children that have ended and that nobody will wait for: all for which `is_known` is false.
/// How many there were; and whether that was all, but for those that are known.
///
/// The one place where a child is waited for that this library has not started: for a process that has
/// said that it has no others, since it is process 1, or takes in what its descendants leave.
pub fn reap_orphans(is_known: impl Fn(Pid) -> bool) -> (usize, bool) {
    const AT_ONCE: usize = 1024;
    for reaped in 0..AT_ONCE {
        // It is looked at first, and waited for when it is known whose it is.
        match ended_child() {
            None => return (reaped, true),
            // Others may be behind it.
            Some(pid) if is_known(pid) => return (reaped, false),
            Some(pid) => drop(wait_pid(pid)),
        }
    }
    (AT_ONCE, false)
}

/// A child that has ended and was not waited for: it is not here, either.
fn ended_child() -> Option<Pid> {
    // SAFETY: a siginfo_t is plain numbers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` may be written.
    let found = retry(|| check(unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) }));
    // SAFETY: what waitid has written is that of a child; the number is 0 when there was none.
    found.ok().map(|_| unsafe { info.si_pid() }).filter(|pid| *pid > 0)
}

/// Sends `signal` to one process.
pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // 0 and negative numbers are groups of processes.
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// A descriptor that becomes readable when the process ends (Linux 5.3); close-on-exec.
pub fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: the descriptor is new, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends the process at once: nothing is flushed, no destructor and no atexit function runs.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(status) }
}

/// The CPUs that this process may use, at least 1: its affinity, and the quota of its cgroup
/// (version 1 or 2) rounded down.
pub fn cpus() -> usize {
    // std reads sched_getaffinity, and cpu.max or cpu.cfs_quota_us of the cgroup and its parents.
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_threads() {
        // The test harness has at least this one and its own.
        assert!(thread_count(Duration::ZERO).unwrap() >= 2);
        let named = std::thread::Builder::new().name("by its name".into());
        let waits = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            named.spawn_scoped(scope, || waits.wait()).unwrap();
            let known = || thread_names().iter().any(|name| name == "by its name");
            while !known() {
                std::thread::yield_now();
            }
            waits.wait();
        });
    }

    #[test]
    fn there_is_a_cpu() {
        assert!(cpus() >= 1);
    }

    #[test]
    fn only_single_processes_are_signalled_and_waited_for() {
        for pid in [0, -1, -5] {
            assert_eq!(kill(pid, 0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
            assert_eq!(wait_pid(pid), Some(Exit::Unknown));
        }
        // Not a child of ours.
        assert_eq!(wait_pid(1), Some(Exit::Unknown));
        assert!(kill(pid(), 0).is_ok());
    }

    #[test]
    fn a_child_is_waited_for_once() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as Pid;
        let watch = pidfd(pid).unwrap();
        use std::os::fd::AsRawFd;
        assert!(crate::sys::sock::wait_readable(watch.as_raw_fd(), -1).unwrap());
        assert_eq!(wait_pid(pid), Some(Exit::Code(0)));
        assert_eq!(wait_pid(pid), Some(Exit::Unknown));
        let _ = child.wait();
    }

    #[test]
    fn a_mask_comes_back() {
        let before = SignalMask::block_all();
        let all = SignalMask::block_all();
        let text = format!("{:?}", all.clone().without(&[libc::SIGTERM]));
        assert!(format!("{all:?}").contains("15") && !text.contains("15"), "{text}");
        before.restore();
        let after = SignalMask::block_all();
        after.restore();
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
    }
}
