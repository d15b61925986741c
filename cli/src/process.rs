//! A server by its pid file, and what `/proc` knows of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::Failure;
use crate::instance::NOT_RUNNING;

/// Ticks of a second in `/proc/PID/stat`, everywhere (USER_HZ).
const TICKS: f64 = 100.0;

/// Clocks are read one after another: so much earlier may a file seem than the process that wrote it.
const SLACK: f64 = 2.0;

/// How long a signal may take to be heard.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// What names it, for messages.
    name: String,
}

/// A worker, by what the system says.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) state: char,
    /// In octets.
    pub(crate) resident: u64,
}

impl Process {
    /// The one that the file names, if it is the one that wrote it.
    pub(crate) fn of_pidfile(path: &Path) -> Result<Process, Failure> {
        let shown = path.display();
        let gone = |text: String| {
            Failure::new(format_args!("not running: {text}")).with_status(NOT_RUNNING)
        };
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => gone(format!("{shown}: {error}")),
            _ => Failure::new(format_args!("{shown}: {error}")),
        })?;
        let pid = text.trim().parse::<i32>().ok().filter(|pid| *pid > 0).ok_or_else(|| {
            Failure::new(format_args!("{shown}: what is in it is not the id of a process"))
        })?;
        let process = Process { pid, name: format!("pid {pid} ({shown})") };
        if !process.lives() {
            return Err(gone(format!("{shown} is stale: there is no process {pid}")));
        }
        let written = fs::metadata(path).and_then(|is| is.modified()).ok().and_then(since_epoch);
        match (started(pid), written) {
            (Some(started), Some(written)) if started <= written + SLACK => {}
            (Some(_), Some(_)) => {
                return Err(gone(format!(
                    "{shown} is stale: process {pid} is another, which started after it was written"
                )));
            }
            _ => {
                return Err(Failure::new(format_args!(
                    "{shown}: it cannot be told whether process {pid} wrote it, since /proc does not say \
                     when that started"
                )));
            }
        }
        Ok(process)
    }

    /// One that is known otherwise.
    pub(crate) fn known(pid: i32) -> Process {
        Process { pid, name: format!("pid {pid}") }
    }

    /// Whether it has not ended; one that nobody has waited for has.
    pub(crate) fn lives(&self) -> bool {
        let is_there = !matches!(kill(Pid::from_raw(self.pid), None), Err(Errno::ESRCH));
        is_there && state(self.pid) != Some('Z')
    }

    /// Whether it does something of its own at this signal.
    pub(crate) fn catches(&self, signal: Signal) -> bool {
        is_in(self.pid, "SigCgt:", signal)
    }

    /// So often, each time heard.
    pub(crate) fn signal(&self, signal: Signal, times: u32) -> Result<(), Failure> {
        let Process { pid, name } = self;
        if !self.catches(signal) {
            return Err(Failure::new(format_args!(
                "{name} does not catch {signal}: this is no server, or one with signals = 0; nothing was sent"
            )));
        }
        for _ in 0..times {
            kill(Pid::from_raw(*pid), signal).map_err(|error| {
                Failure::new(format_args!("{name}: {signal}: {}", error.desc()))
            })?;
            // Two that wait are one.
            let since = Instant::now();
            let waits = || ["SigPnd:", "ShdPnd:"].iter().any(|line| is_in(*pid, line, signal));
            while waits() {
                if since.elapsed() > PATIENCE {
                    return Err(Failure::new(format_args!("{name} does not hear {signal}")));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// Whether it ends, within `timeout`.
    pub(crate) fn ends(&self, timeout: Duration) -> bool {
        let since = Instant::now();
        while self.lives() {
            if since.elapsed() >= timeout {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// The processes that it has started.
    pub(crate) fn children(&self) -> Vec<Child> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
        let parent = |pid: &i32| stat(*pid).and_then(|it| it.get(1)?.parse::<i32>().ok());
        let mut children: Vec<_> = pids.filter(|pid| parent(pid) == Some(self.pid)).collect();
        children.sort_unstable();
        let child = |pid| Some(Child { pid, state: state(pid)?, resident: resident(pid) });
        children.into_iter().filter_map(child).collect()
    }
}

fn since_epoch(time: SystemTime) -> Option<f64> {
    time.duration_since(UNIX_EPOCH).ok().map(|it| it.as_secs_f64())
}

/// The fields of `/proc/PID/stat` from the third on: the name in front of them may be anything.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn state(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// When it started, in seconds since the epoch.
fn started(pid: i32) -> Option<f64> {
    let ticks: f64 = stat(pid)?.get(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let now = since_epoch(SystemTime::now())?;
    Some(now - uptime + ticks / TICKS)
}

fn resident(pid: i32) -> u64 {
    let kib = line(pid, "VmRSS:");
    kib.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A line of `/proc/PID/status`.
fn line(pid: i32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

/// Whether the set of signals that the line has contains this one.
fn is_in(pid: i32, name: &str, signal: Signal) -> bool {
    let set = line(pid, name).and_then(|set| u64::from_str_radix(&set, 16).ok());
    set.is_some_and(|set| set >> (signal as i32 - 1) & 1 == 1)
}
