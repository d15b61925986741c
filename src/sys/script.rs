//! Another program as a child with pipes and nothing else of ours: started in a process group of its
//! own, and stopped with it.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::check;
use super::proc::{self, Exit};

/// What a program may take to end that was told to, before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// The last signal.
const SIGNALS: i32 = 64;

/// A program that runs.  Dropped before its end it is stopped, with all that it has started and that
/// has not left its process group, and waited for.  It is told to end also when the thread that
/// started it does, whatever that thread's process died of.
#[derive(Debug)]
pub struct Script {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    ended: Option<Exit>,
}

/// Which ends of a script's pipes can be used now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// It takes more input, or has closed it.
    pub stdin: bool,
    /// It has said something, or closed its output.
    pub stdout: bool,
    /// It has complained, or closed that.
    pub stderr: bool,
}

impl Script {
    /// Start `program` in its own directory, with this environment and nothing else.
    pub fn start(
        program: &Path,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> io::Result<Self> {
        let directory = program.parent().unwrap_or(Path::new("/"));
        let parent = proc::pid();
        let mut command = Command::new(program);
        command
            .current_dir(directory)
            .env_clear()
            .envs(environment)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: what it calls is async-signal-safe, and it allocates nothing.
        unsafe { command.pre_exec(move || leave(parent)) };
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take();
        let script = Script { child, stdin, stdout, stderr, ended: None };
        let fds = [
            script.stdin.as_ref().map(AsFd::as_fd),
            script.stdout.as_ref().map(AsFd::as_fd),
            script.stderr.as_ref().map(AsFd::as_fd),
        ];
        for fd in fds.into_iter().flatten() {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(script)
    }

    /// Wait until something can be done, `timeout_ms` at most; `takes_input`: also for room in its
    /// input.  Nothing is ready when time is up.
    pub fn wait(&self, takes_input: bool, timeout_ms: u32) -> io::Result<Ready> {
        let stdin = self.stdin.as_ref().filter(|_| takes_input).map(AsFd::as_fd);
        let (stdout, stderr) =
            (self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd));
        let wanted =
            [(stdin, PollFlags::POLLOUT), (stdout, PollFlags::POLLIN), (stderr, PollFlags::POLLIN)];
        let mut fds: Vec<_> =
            wanted.iter().filter_map(|(fd, flags)| Some(PollFd::new((*fd)?, *flags))).collect();
        let timeout = PollTimeout::try_from(timeout_ms).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut answers = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let mut of = |fd: Option<BorrowedFd<'_>>| fd.is_some() && answers.next().unwrap_or(false);
        Ok(Ready { stdin: of(stdin), stdout: of(stdout), stderr: of(stderr) })
    }

    /// Give it input; how much of that it takes.  It may have closed it: then it takes all.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let Some(stdin) = &mut self.stdin else { return Ok(octets.len()) };
        match stdin.write(octets) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.stdin = None;
                Ok(octets.len())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// There is no more input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Whether it can still be given input.
    pub fn takes_input(&self) -> bool {
        self.stdin.is_some()
    }

    /// What it says; `None`: nothing now; 0: it has closed its output.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        read(&mut self.stdout, buf)
    }

    /// The same of its complaints.
    pub fn read_stderr(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        read(&mut self.stderr, buf)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Exit> {
        if self.ended.is_none() {
            self.ended = match self.child.try_wait() {
                Ok(Some(status)) => {
                    Some(Exit::from_raw(status.into_raw()).unwrap_or(Exit::Unknown))
                }
                Ok(None) => None,
                // Somebody waits for all children of this process, or ignores SIGCHLD.
                Err(_) => Some(Exit::Unknown),
            };
        }
        self.ended
    }

    /// Stop it, and what it has started: they are told to end, and killed when it has ended, or has
    /// not after a second.  One that [`ended`](Script::ended) has said to have is left alone, with
    /// what it has left behind.
    pub fn stop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        // Its group has its number, which is its own until it was waited for.
        let group = Pid::from_raw(self.child.id() as i32);
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        if waitid(Id::Pid(group), look) == Err(nix::errno::Errno::ECHILD) {
            // Somebody has.
            self.ended = Some(Exit::Unknown);
            return;
        }
        let _ = killpg(group, Signal::SIGTERM);
        // What it still says is heard by nobody, and must not hold it up.
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
        self.wait_for_end(GRACE);
        let _ = killpg(group, Signal::SIGKILL);
        let status = self.child.wait();
        let exit = status.ok().and_then(|status| Exit::from_raw(status.into_raw()));
        self.ended = Some(exit.unwrap_or(Exit::Unknown));
    }

    /// Until it has ended, without taking note of that; `most` at most.
    fn wait_for_end(&self, most: Duration) {
        let until = Instant::now() + most;
        let Ok(fd) = proc::pidfd(self.child.id() as i32) else { return };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(nix::errno::Errno::EINTR) => {}
                _ => return,
            }
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether [`Script::start`] has failed because the file is none that the system can run.
pub fn is_no_program(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOEXEC)
}

/// Whether it has failed because no processes, memory or descriptors are left: that may pass.
pub fn may_pass(error: &io::Error) -> bool {
    let wants = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE];
    error.raw_os_error().is_some_and(|code| wants.contains(&code))
}

/// In the child, before it becomes the program: it keeps none of our descriptors, whoever made them,
/// hears signals as a program that was just started does, and does not outlive us.
fn leave(parent: proc::Pid) -> io::Result<()> {
    for signal in 1..=SIGNALS {
        // SAFETY: no memory is involved; of some signals it cannot be said.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is made before it is looked at.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
    // SAFETY: no memory is involved.  Those of `Command` are closed by exec already.
    let closed = check(unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) as i32
    });
    if closed.is_err() {
        // Before Linux 5.11.
        // SAFETY: no memory is involved.
        let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) }.clamp(256, 65_536) as i32;
        for fd in 3..most {
            // SAFETY: no memory is involved, and most of them are not there.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })?;
    // SAFETY: no memory is involved.
    if unsafe { libc::getppid() } != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

fn read<T: Read>(pipe: &mut Option<T>, buf: &mut [u8]) -> io::Result<Option<usize>> {
    let Some(open) = pipe else { return Ok(Some(0)) };
    match open.read(buf) {
        Ok(0) => {
            *pipe = None;
            Ok(Some(0))
        }
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc;
    use crate::sys::signal::{SIGKILL, SIGTERM};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    struct File(std::path::PathBuf);

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn script(name: &str, text: &str) -> (Script, File) {
        let path = std::env::temp_dir().join(format!("gateway-{name}-{}", proc::pid()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let started = loop {
            match Script::start(&path, [("A".into(), "b".into())]) {
                // Another test's fork has it open for writing.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                started => break started.unwrap(),
            }
        };
        (started, File(path))
    }

    fn output(script: &mut Script) -> String {
        let (mut all, mut buf) = (Vec::new(), [0; 4096]);
        loop {
            assert_ne!(script.wait(false, 10_000).unwrap(), Ready::default(), "time is up");
            match script.read(&mut buf).unwrap() {
                Some(0) => return String::from_utf8(all).unwrap(),
                Some(n) => all.extend_from_slice(&buf[..n]),
                None => {}
            }
        }
    }

    #[test]
    fn it_has_our_input_and_environment_and_we_its_output() {
        let (mut cat, _file) = script("cat", "#!/bin/sh\necho \"$A\" ${HOME-none}\ncat\nexit 7\n");
        assert_eq!(cat.write(b"hello").unwrap(), 5);
        cat.close_input();
        assert_eq!(output(&mut cat), "b none\nhello");
        while cat.ended().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(cat.ended(), Some(Exit::Code(7)));
    }

    #[test]
    fn it_is_stopped_with_what_it_has_started() {
        let (mut sleeps, _file) = script("sleep", "#!/bin/sh\nsleep 1000 &\necho $!\nwait\n");
        let mut buf = [0; 64];
        while !sleeps.wait(false, 10_000).unwrap().stdout {}
        let n = sleeps.read(&mut buf).unwrap().unwrap();
        let pid: i32 = std::str::from_utf8(&buf[..n]).unwrap().trim().parse().unwrap();
        assert!(proc::kill(pid, 0).is_ok());
        sleeps.stop();
        assert_eq!(sleeps.ended(), Some(Exit::Signal(SIGTERM)));
        // Whoever inherits it waits for it; until then it is a name without a process.
        let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_that_does_not_listen_is_killed() {
        let (mut deaf, _file) = script("deaf", "#!/bin/sh\ntrap '' TERM\necho\nsleep 1000\n");
        while !deaf.wait(false, 10_000).unwrap().stdout {}
        deaf.stop();
        assert_eq!(deaf.ended(), Some(Exit::Signal(SIGKILL)));
    }

    #[test]
    fn it_has_no_descriptor_and_no_signals_of_ours() {
        // Not even one that is not close-on-exec.
        let ours = nix::unistd::dup(std::io::stderr()).unwrap();
        // A shell blocks signals while it starts others: so the last of them takes its place.
        let (mut lists, _file) = script(
            "lists",
            "#!/bin/sh\nls /proc/$$/fd\nexec grep -E 'Sig(Blk|Ign)' /proc/$$/status\n",
        );
        let told = output(&mut lists);
        let mut fds: Vec<_> = told.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
        // The shell reads the script from one of its own.
        fds.retain(|fd| !["10", "255"].contains(fd));
        assert_eq!(fds, ["0", "1", "2"], "{told}");
        let masks = told.lines().filter_map(|line| line.split_once(":\t"));
        // 32 and 33 are the C library's own, who hides them.
        let masks: Vec<_> =
            masks.map(|(_, it)| u64::from_str_radix(it, 16).unwrap() & !(3 << 31)).collect();
        assert_eq!(masks, [0, 0], "{told}");
        drop(ours);
    }

    #[test]
    fn input_that_nobody_wants_is_no_error() {
        let (mut closes, _file) = script("close", "#!/bin/sh\nexec <&-\necho closed\n");
        assert_eq!(output(&mut closes), "closed\n");
        while closes.takes_input() {
            assert!(closes.write(b"x").is_ok());
        }
    }
}
