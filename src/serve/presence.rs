//! What a server shows of itself on its host while it runs: a pid file, a control socket (`control`), and
//! words to systemd.
//!
//! It hears what the arbiter tells of, and knows nothing else of it; a server without an arbiter
//! says the same by itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use super::control::Control;
use crate::arbiter::Event;
use crate::base::error::{Error, Result};
use crate::base::log::{Logger, log};
use crate::conf::settings::Settings;
use crate::sys::clock::{monotonic_ms, monotonic_ns};
use crate::sys::notify::Notifier;
use crate::sys::pidfile::PidFile;
use crate::sys::proc;

/// How often the numbers of the status line are renewed.
const STATUS: Duration = Duration::from_secs(10);

/// How the status line begins while the server serves.
const READY: &str = "Ready";

/// What the log calls it.
const TARGET: &str = "presence";

/// A server's pid file, its control socket and its line to the service manager, from when it listens
/// until it has ended.
#[derive(Default)]
pub(crate) struct Presence {
    now: Mutex<Now>,
    control: Control,
}

#[derive(Debug, Default)]
struct Now {
    pidfile: Option<PidFile>,
    /// Its name, while this is not the second.
    path: PathBuf,
    /// What the pid file is to be when the reload that has begun ends well.
    next: Option<PathBuf>,
    /// Another is there whose place this one is to take: until then it is the second, and silent.
    is_second: bool,
    notifier: Option<Notifier>,
    has_begun: bool,
    stops: bool,
    /// Why the last reload failed, if it did.
    failure: Option<String>,
    /// The status line that was sent last, and when.
    status: String,
    status_ms: u64,
    /// One failure is told, and those after it are not.
    has_failed: bool,
}

/// What a status line is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// Those that there are.
    pub(crate) workers: u64,
    /// Reloads that ended well.
    pub(crate) reloads: u64,
    /// Of all workers.
    pub(crate) requests: u64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { workers, reloads, requests } = self;
        write!(f, "{workers} workers, {requests} requests, {reloads} reloads")
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Presence {
    /// Of a server that is to take the place of another, or of one that is not.
    pub(crate) fn new(is_second: bool) -> Self {
        let now = Mutex::new(Now { is_second, ..Now::default() });
        Presence { now, control: Control::new(is_second) }
    }

    /// The control socket, if there is one.
    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    /// Whether there is another whose place it is to take.
    pub(crate) fn is_second(&self) -> bool {
        self.now.lock().is_second
    }

    /// Whether all of that could succeed, under the names that it has at present.
    pub(crate) fn check(&self, settings: &Settings) -> Vec<Error> {
        let now = self.now.lock();
        let is_there =
            |name: &PathBuf| now.pidfile.as_ref().is_some_and(|pidfile| pidfile.is_there(name));
        let name = pidfile_of(settings).map(|path| now.name(path)).filter(|name| !is_there(name));
        let pidfile = name.map(|name| PidFile::check(&name)).transpose();
        let notifier = match settings.systemd {
            Some(true) => Notifier::from_env().map(drop),
            _ => Ok(()),
        };
        let control = self.control.check(settings);
        pidfile.err().into_iter().chain(notifier.err()).chain(control.err()).collect()
    }

    /// Before anything is bound or started.
    pub(crate) fn prepare(&self, settings: &Settings) -> Result<()> {
        let mut now = self.now.lock();
        if settings.systemd == Some(true) && !now.has_begun && now.notifier.is_none() {
            now.notifier = Notifier::from_env()?;
        }
        Ok(())
    }

    /// Whether the first addresses are bound.
    pub(crate) fn has_begun(&self) -> bool {
        self.now.lock().has_begun
    }

    /// The addresses of a configuration are bound: of the first one, or of one that a reload goes to.
    /// An error leaves nothing behind.
    pub(crate) fn bound(&self, settings: &Settings) -> Result<()> {
        self.control.bound(settings)?;
        let mut now = self.now.lock();
        if now.has_begun {
            now.next = Some(settings.pidfile.clone());
            return Ok(());
        }
        let path = pidfile_of(settings).map(|path| now.name(path));
        now.pidfile = path.map(|path| PidFile::create(&path)).transpose()?;
        now.path = settings.pidfile.clone();
        now.has_begun = true;
        Ok(())
    }

    /// How often [`Event::Tick`] is wanted; 0: never.
    pub(crate) fn tick(&self) -> Duration {
        match &self.now.lock().notifier {
            // Twice as often as the manager wants to hear of it.
            Some(notifier) => notifier
                .watchdog()
                .map_or(STATUS, |watchdog| (watchdog / 2).clamp(Duration::from_millis(1), STATUS)),
            None => Duration::ZERO,
        }
    }

    /// Tells the service manager what it has to know of this.
    pub(crate) fn tell(&self, event: Event<'_>, status: impl Fn() -> Status, log: &Logger) {
        self.control.tell(&event, log);
        let mut now = self.now.lock();
        match event {
            Event::Ready => {
                let (pid, text) = (proc::pid(), now.ready(status()));
                now.say(log, &format!("READY=1\nMAINPID={pid}"), text);
            }
            Event::Reloading => {
                // For Type=notify-reload, which compares it with when it sent the signal.
                let usec = monotonic_ns() / 1000;
                now.say(log, &format!("RELOADING=1\nMONOTONIC_USEC={usec}"), "Reloading".into());
            }
            Event::Reloaded(failure) => {
                let next = now.next.take();
                if now.stops {
                    return;
                }
                now.failure = failure.map(ToString::to_string);
                if failure.is_none() {
                    now.settle(next, log);
                }
                let text = now.ready(status());
                now.say(log, "READY=1", text);
            }
            Event::HandsOver(pid) => {
                now.stops = true;
                // From the one whose word counts, before it is gone.
                now.say(log, &format!("MAINPID={pid}"), "Handed over".into());
            }
            Event::Promoted { before } => {
                now.is_second = false;
                let path = now.path.clone();
                if let Some(pidfile) = &mut now.pidfile
                    && let Err(error) = pidfile.succeed(&path, before)
                {
                    log!(log, Error, TARGET, "{error}");
                }
                let (pid, text) = (proc::pid(), now.ready(status()));
                now.say(log, &format!("READY=1\nMAINPID={pid}"), text);
            }
            Event::Stopping if !now.stops => {
                now.stops = true;
                now.say(log, "STOPPING=1", "Stopping".into());
            }
            Event::Tick { is_well } => {
                let is_due = monotonic_ms() >= now.status_ms + STATUS.as_millis() as u64;
                let text = match now.status.starts_with(READY) && is_due {
                    true => now.ready(status()),
                    false => now.status.clone(),
                };
                let watched = now.notifier.as_ref().is_some_and(|it| it.watchdog().is_some());
                now.say(log, if watched && is_well { "WATCHDOG=1" } else { "" }, text);
            }
            Event::Ended => now.remove_pidfile(log),
            _ => {}
        }
    }
}

impl Now {
    /// What a pid file with this name is called at present.
    fn name(&self, path: &Path) -> PathBuf {
        if self.is_second { PidFile::second(path) } else { path.to_owned() }
    }

    fn ready(&self, status: Status) -> String {
        match &self.failure {
            None => format!("{READY}: {status}"),
            Some(failure) => format!("{READY}: {status}; the last reload failed: {failure}"),
        }
    }

    /// Sends `message`, and the status if it is another than before.
    fn say(&mut self, log: &Logger, message: &str, status: String) {
        let Some(notifier) = self.notifier.as_ref().filter(|_| !self.is_second) else { return };
        let is_new = status != self.status;
        let text = match (message, is_new) {
            ("", false) => return,
            (message, false) => message.to_owned(),
            ("", true) => format!("STATUS={}", one_line(&status)),
            (message, true) => format!("{message}\nSTATUS={}", one_line(&status)),
        };
        if is_new {
            self.status = status;
            self.status_ms = monotonic_ms();
        }
        let failed = notifier.send(&text).err();
        if let Some(error) = &failed
            && !self.has_failed
        {
            log!(log, Warn, TARGET, "systemd is not told of {message}: {error}");
        }
        self.has_failed = failed.is_some();
    }

    /// A reload has ended well: the pid file is what its configuration says, and there.
    fn settle(&mut self, next: Option<PathBuf>, log: &Logger) {
        let path = match (next, &self.pidfile) {
            (Some(next), _) => next,
            (None, Some(_)) => self.path.clone(),
            (None, None) => return,
        };
        self.path = path;
        if self.path.as_os_str().is_empty() {
            self.remove_pidfile(log);
            return;
        }
        let path = self.name(&self.path);
        let written = match &mut self.pidfile {
            Some(pidfile) => pidfile.rename(&path),
            None => PidFile::create(&path).map(|pidfile| self.pidfile = Some(pidfile)),
        };
        if let Err(error) = written {
            log!(log, Error, TARGET, "{error}");
        }
    }

    fn remove_pidfile(&mut self, log: &Logger) {
        if let Some(mut pidfile) = self.pidfile.take()
            && let Err(error) = pidfile.remove()
        {
            log!(log, Warn, TARGET, "{error}");
        }
    }
}

fn pidfile_of(settings: &Settings) -> Option<&Path> {
    (!settings.pidfile.as_os_str().is_empty()).then_some(&*settings.pidfile)
}

/// The message has a variable a line.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}
