//! What a service manager is told, and what it has told this process: sd_notify(3) and sd_listen_fds(3)
//! without libsystemd.
//!
//! Both stand in the environment, which is only read here; [`forget`] is for processes of our own.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::check;
use super::proc::{self, Pid};
use crate::base::error::{Error, Kind, Result};

/// All that a service manager says by the environment.
pub const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// Those that name the process for which others are meant.
pub const MEANT_FOR_ONE: &[&str] = &["LISTEN_PID", "WATCHDOG_PID"];

/// The first descriptor that is passed: SD_LISTEN_FDS_START.
const FIRST: RawFd = 3;
/// No process has more.
const MOST: RawFd = 1 << 20;

/// How long a message may wait for a service manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a service manager listens.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// That of this process; `None`: nobody wants to know.
    ///
    /// # Errors
    /// `Kind::Invalid`: NOTIFY_SOCKET is no address of a unix socket.  `Kind::Io`: there is no
    /// descriptor.
    pub fn from_env() -> Result<Option<Notifier>> {
        let var = |name: &str| std::env::var_os(name);
        let watchdog = [var("WATCHDOG_USEC"), var("WATCHDOG_PID")];
        match var("NOTIFY_SOCKET") {
            Some(to) if !to.is_empty() => Notifier::new(&to, watchdog, proc::pid()).map(Some),
            _ => Ok(None),
        }
    }

    fn new(to: &OsStr, [usec, of]: [Option<OsString>; 2], pid: Pid) -> Result<Notifier> {
        let wrong = || {
            let text = format!(
                "NOTIFY_SOCKET = {}: neither a path nor an abstract unix socket",
                to.display()
            );
            Error::new(Kind::Invalid, text)
        };
        let address = match to.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(to),
            _ => return Err(wrong()),
        };
        let address = address.map_err(|_| wrong())?;
        let os = |error| Error::os("make a socket for sd_notify", &error);
        let socket = UnixDatagram::unbound().map_err(os)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(os)?;
        let number = |text: OsString| text.to_str().and_then(|text| text.parse::<u64>().ok());
        let is_ours = of.is_none_or(|of| number(of) == u64::try_from(pid).ok());
        let usec = usec.and_then(number).filter(|usec| *usec > 0 && is_ours);
        Ok(Notifier { socket, to: address, watchdog: usec.map(Duration::from_micros) })
    }

    /// Sends variables, one a line: `READY=1`.  What the manager does not take within a second is an
    /// error.
    pub fn send(&self, message: &str) -> io::Result<()> {
        self.socket.send_to_addr(message.as_bytes(), &self.to).map(drop)
    }

    /// How long this process may be silent until the manager takes it for dead.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }
}

/// A socket that was passed to this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its descriptor, which stays open for as long as the process lives.
    pub fd: RawFd,
    /// What the manager calls it; "unknown" where it says nothing.
    pub name: String,
}

/// The sockets that were passed to this process, closed on exec from now on.
///
/// # Errors
/// `Kind::Invalid`: the environment contradicts itself.
pub fn passed() -> Result<Vec<Passed>> {
    let var = |name: &str| std::env::var(name).ok();
    let said = [var("LISTEN_PID"), var("LISTEN_FDS"), var("LISTEN_FDNAMES")];
    let passed = read(said, proc::pid())?;
    for one in &passed {
        close_on_exec(one.fd).map_err(|error| {
            Error::os(format_args!("LISTEN_FDS: descriptor {} was not passed", one.fd), &error)
        })?;
    }
    Ok(passed)
}

/// Their descriptors, if they were passed to this process and the environment still says so: for
/// another that is to have them.
pub fn fds_passed() -> Vec<RawFd> {
    let var = |name: &str| std::env::var(name).ok();
    let passed = read([var("LISTEN_PID"), var("LISTEN_FDS"), None], proc::pid());
    passed.unwrap_or_default().iter().map(|one| one.fd).collect()
}

/// Whether sockets were passed to this process, or [`passed`] says what is wrong with them.
pub fn has_passed() -> bool {
    passed().map_or(true, |passed| !passed.is_empty())
}

fn read([pid, fds, names]: [Option<String>; 3], own: Pid) -> Result<Vec<Passed>> {
    let (Some(pid), Some(fds)) = (pid, fds) else { return Ok(Vec::new()) };
    let wrong = |text: String| Error::new(Kind::Invalid, text);
    let of = pid.parse::<Pid>().ok().filter(|pid| *pid > 0);
    if of.ok_or_else(|| wrong(format!("LISTEN_PID = {pid}: not the id of a process")))? != own {
        // Meant for a process from which this one has the environment.
        return Ok(Vec::new());
    }
    let count = fds.parse::<RawFd>().ok().filter(|count| (0..=MOST).contains(count));
    let count = count.ok_or_else(|| wrong(format!("LISTEN_FDS = {fds}: not a number")))?;
    let names = names.as_deref().filter(|_| count > 0);
    let names: Vec<&str> = names.map(|names| names.split(':').collect()).unwrap_or_default();
    if !names.is_empty() && names.len() != count as usize {
        let text = format!("LISTEN_FDNAMES has {} names for {count} sockets", names.len());
        return Err(wrong(text));
    }
    let name = |at: usize| match names.get(at).copied() {
        None | Some("") => "unknown".to_owned(),
        Some(name) => name.to_owned(),
    };
    Ok((0..count).map(|at| Passed { fd: FIRST + at, name: name(at as usize) }).collect())
}

fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved; the kernel checks `fd`.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(())
}

/// Removes what was meant for the parent from the environment: first in a process that was forked for
/// work of ours, so that nothing which it starts speaks for the parent.  Where there are other threads,
/// which may be reading it, it stays.
pub fn forget() {
    if proc::thread_count(Duration::ZERO) != Some(1) {
        return;
    }
    for name in VARIABLES {
        // SAFETY: this is the only thread, so nobody else reads or writes the environment.
        unsafe { std::env::remove_var(name) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut octets = [0; 4096];
        let n = socket.recv(&mut octets).unwrap();
        String::from_utf8(octets[..n].to_vec()).unwrap()
    }

    fn watchdog(usec: &str, of: Option<&str>) -> Option<Duration> {
        let said = [Some(usec.into()), of.map(OsString::from)];
        Notifier::new(OsStr::new("@x"), said, 42).unwrap().watchdog()
    }

    #[test]
    fn a_message_arrives_at_a_path_and_at_an_abstract_name() {
        let path = std::env::temp_dir().join(format!("gateway-notify-{}", std::process::id()));
        let there = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str(), [None, None], 1).unwrap();
        notifier.send("READY=1\nSTATUS=é").unwrap();
        assert_eq!(received(&there), "READY=1\nSTATUS=é");
        std::fs::remove_file(&path).unwrap();
        assert!(notifier.send("READY=1").is_err());

        let name = format!("gateway-notify-{}", std::process::id());
        let there =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let to = OsString::from(format!("@{name}"));
        Notifier::new(&to, [None, None], 1).unwrap().send("STOPPING=1").unwrap();
        assert_eq!(received(&there), "STOPPING=1");
    }

    #[test]
    fn a_manager_that_does_not_read_stops_nobody() {
        let name = format!("gateway-notify-full-{}", std::process::id());
        let _there =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notifier = Notifier::new(OsStr::new(&format!("@{name}")), [None, None], 1).unwrap();
        let failed = (0..10_000).find_map(|_| notifier.send("WATCHDOG=1").err());
        assert_eq!(failed.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for to in ["relative", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
            let error = Notifier::new(OsStr::new(to), [None, None], 1).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.message().starts_with("NOTIFY_SOCKET = "), "{error}");
        }
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let half = Some(Duration::from_millis(500));
        assert_eq!(watchdog("500000", None), half);
        assert_eq!(watchdog("500000", Some("42")), half);
        for (usec, of) in
            [("500000", Some("43")), ("500000", Some("x")), ("0", None), ("", None), ("x", None)]
        {
            assert_eq!(watchdog(usec, of), None, "{usec} {of:?}");
        }
    }

    #[test]
    fn sockets_are_for_the_process_that_is_named() {
        let read = |pid: &str, fds: &str, names: Option<&str>| {
            let said = [Some(pid.to_owned()), Some(fds.to_owned()), names.map(str::to_owned)];
            read(said, 42).map(|all| {
                all.into_iter().map(|one| format!("{} {}", one.fd, one.name)).collect::<Vec<_>>()
            })
        };
        assert_eq!(read("42", "2", None).unwrap(), ["3 unknown", "4 unknown"]);
        assert_eq!(read("42", "2", Some("web:web")).unwrap(), ["3 web", "4 web"]);
        assert_eq!(read("42", "3", Some("a::c")).unwrap(), ["3 a", "4 unknown", "5 c"]);
        assert!(read("43", "2", Some("a:b")).unwrap().is_empty());
        assert!(read("42", "0", None).unwrap().is_empty());
        assert!(read("42", "0", Some("")).unwrap().is_empty());
        for (pid, fds, names) in [
            ("x", "1", None),
            ("0", "1", None),
            ("42", "-1", None),
            ("42", "x", None),
            ("42", "99999999999", None),
            ("42", "1048577", None),
            ("42", "2", Some("a")),
        ] {
            let error = read(pid, fds, names).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{pid} {fds} {names:?}");
            assert!(error.message().starts_with("LISTEN_"), "{error}");
        }
        assert!(super::read([None, Some("1".into()), None], 42).unwrap().is_empty());
    }
}
