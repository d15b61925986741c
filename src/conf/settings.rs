//! The settings of a server: one typed field for each option of the table.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::listener::{Address, Host, Listener};
use super::options::{by_id, by_name, options};
use super::output::Output;
use super::trust::{Networks, ProxyProtocol};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::sys::notify;
use crate::sys::proc::cpus;
use crate::sys::user::Identity;

/// How a worker comes to be.  The C constants `GW_MODEL_*` are these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum WorkerModel {
    /// The calling thread serves; there is no other worker.
    Inline = 0,
    /// Each is a loop in a thread of this process.
    Threads = 1,
    /// Processes are forked.
    Fork = 2,
    /// Processes are this program, started again.
    Exec = 3,
}

/// From which sockets workers accept.  The C constants `GW_ACCEPT_*` are these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AcceptMode {
    /// All from one for each address.
    Shared = 0,
    /// Each from one of its own (SO_REUSEPORT): the system chooses among them.
    Reuseport = 1,
}

/// All that can be set by name.  The fields are the options; the table in [`super::options`] has
/// their meaning and bounds.  A field that was written directly is held against them by
/// [`Settings::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is an option, and the table has its help")]
pub struct Settings {
    pub workers: u32,
    pub worker_model: WorkerModel,
    pub threads: Option<u32>,
    pub graceful_timeout: Duration,
    pub keepalive: Duration,
    pub max_body: u64,
    pub signals: Option<bool>,
    /// The option `bind`, and what is added as a struct.
    pub listeners: Vec<Listener>,
    pub backlog: u32,
    pub worker_connections: u32,
    pub limit_request_line: u64,
    pub limit_request_fields: u32,
    pub limit_request_field_size: u64,
    pub limit_request_head: u64,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub write_timeout: Duration,
    pub request_buffering: bool,
    pub body_buffer: u64,
    pub spool_dir: PathBuf,
    pub accesslog: Output,
    pub errorlog: Option<Output>,
    pub loglevel: Level,
    pub access_log_format: String,
    pub output_buffer: u64,
    pub queue_limit: u32,
    pub queue_timeout: Duration,
    pub preload: bool,
    pub heartbeat_timeout: Duration,
    pub max_requests: u32,
    pub boot_timeout: Duration,
    pub reload_parallel: u32,
    pub max_requests_jitter: u32,
    pub max_recycling: u32,
    pub max_lifetime: Duration,
    pub request_timeout: Duration,
    pub stream_timeout: Duration,
    pub fork_unsafe: bool,
    pub pidfile: PathBuf,
    pub user: String,
    pub group: String,
    pub umask: Option<u32>,
    pub systemd: Option<bool>,
    pub reap_orphans: bool,
    pub memory_soft: u64,
    pub memory_hard: u64,
    pub accept_mode: AcceptMode,
    pub worker_requests: u32,
    pub health_path: String,
    pub lame_duck: Duration,
    pub forwarded_allow_ips: Networks,
    pub proxy_protocol: ProxyProtocol,
    pub proxy_allow_ips: Networks,
    pub forwarded_for: bool,
    pub timings: Option<bool>,
    pub metrics_path: String,
    pub stats_path: String,
    pub stats_only: bool,
    pub slow_request: Duration,
    pub control_socket: PathBuf,
    /// The numbers of the options that were set, in whatever way.
    pub(super) said: BTreeSet<u32>,
}

impl Default for Settings {
    /// The presets of the table.
    fn default() -> Self {
        let mut settings = Settings {
            workers: 0,
            worker_model: WorkerModel::Fork,
            threads: None,
            graceful_timeout: Duration::ZERO,
            keepalive: Duration::ZERO,
            max_body: 0,
            signals: None,
            listeners: Vec::new(),
            backlog: 0,
            worker_connections: 0,
            limit_request_line: 0,
            limit_request_fields: 0,
            limit_request_field_size: 0,
            limit_request_head: 0,
            header_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            request_buffering: false,
            body_buffer: 0,
            spool_dir: PathBuf::new(),
            accesslog: Output::Off,
            errorlog: None,
            loglevel: Level::Info,
            access_log_format: String::new(),
            output_buffer: 0,
            queue_limit: 0,
            queue_timeout: Duration::ZERO,
            preload: false,
            heartbeat_timeout: Duration::ZERO,
            max_requests: 0,
            boot_timeout: Duration::ZERO,
            reload_parallel: 0,
            max_requests_jitter: 0,
            max_recycling: 0,
            max_lifetime: Duration::ZERO,
            request_timeout: Duration::ZERO,
            stream_timeout: Duration::ZERO,
            fork_unsafe: false,
            pidfile: PathBuf::new(),
            user: String::new(),
            group: String::new(),
            umask: None,
            systemd: None,
            reap_orphans: false,
            memory_soft: 0,
            memory_hard: 0,
            accept_mode: AcceptMode::Shared,
            worker_requests: 0,
            health_path: String::new(),
            lame_duck: Duration::ZERO,
            forwarded_allow_ips: Networks::default(),
            proxy_protocol: ProxyProtocol::Off,
            proxy_allow_ips: Networks::default(),
            forwarded_for: false,
            timings: None,
            metrics_path: String::new(),
            stats_path: String::new(),
            stats_only: false,
            slow_request: Duration::ZERO,
            control_socket: PathBuf::new(),
            said: BTreeSet::new(),
        };
        for option in options().iter().filter(|option| !option.is_list()) {
            let done = option.set(&mut settings, option.preset());
            debug_assert!(done.is_ok(), "{done:?}");
        }
        settings
    }
}

impl Settings {
    /// Set an option by name.  A list grows.  What is refused changes nothing: `Kind::Unknown`
    /// (the message names the nearest option), `Kind::Invalid` (it says what is accepted),
    /// `Kind::Unsupported` (known, and not in this version).
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let option = by_name(name)?;
        option.set(self, value)?;
        self.said.insert(option.id());
        Ok(())
    }

    /// Set an option by number: truth as 0 or 1, durations in milliseconds, sizes in octets,
    /// choices by their number.  Errors as `set`.
    pub fn set_id(&mut self, id: u32, value: i64) -> Result<()> {
        by_id(id)?.set_int(self, value)?;
        self.said.insert(id);
        Ok(())
    }

    /// The value of an option, as `set` takes it.  `Kind::Unknown`: no such option.
    pub fn get(&self, name: &str) -> Result<String> {
        Ok(by_name(name)?.get(self))
    }

    /// All options that are no lists, as `name=value`.
    pub fn scalars(&self) -> Vec<String> {
        let scalars = options().iter().filter(|option| !option.is_list());
        scalars.map(|option| format!("{}={}", option.name(), option.get(self))).collect()
    }

    /// What `gw_serve` takes for granted and an embedded library does not: signals are handled,
    /// errors are logged to standard error, systemd is heeded, and something is listened on.
    pub fn serve_presets(&mut self) {
        self.process_presets();
        self.activate();
        if self.listeners.is_empty() {
            let host = Host::V4(Ipv4Addr::LOCALHOST);
            self.listeners.push(Listener::new(Address::Tcp { host, port: 8000 }));
        }
    }

    /// The same, but for where it listens.
    pub fn process_presets(&mut self) {
        self.signals.get_or_insert(true);
        self.errorlog.get_or_insert(Output::Standard);
        self.systemd.get_or_insert(true);
    }

    /// Without an address of its own the server listens on the sockets that systemd has passed to
    /// this process, if it is to heed that.
    pub fn activate(&mut self) {
        if self.listeners.is_empty() && self.systemd == Some(true) && notify::has_passed() {
            self.listeners.push(Listener::new(Address::Passed(String::new())));
        }
    }

    /// The name of an option that is set and means the whole process, if there is one.
    pub fn of_a_process(&self) -> Option<&'static str> {
        let set = [
            ("pidfile", !self.pidfile.as_os_str().is_empty()),
            ("user", !self.user.is_empty()),
            ("group", !self.group.is_empty()),
            ("umask", self.umask.is_some()),
            ("systemd", self.systemd == Some(true)),
            ("reap_orphans", self.reap_orphans),
            ("control_socket", !self.control_socket.as_os_str().is_empty()),
        ];
        set.iter().find(|(_, is_set)| *is_set).map(|(name, _)| *name)
    }

    /// Who is to serve; `None`: whoever does.  Asks the system's database of users.
    pub fn identity(&self) -> Result<Option<Identity>> {
        Identity::named(&self.user, &self.group)
    }

    /// How many workers there are to be.  Asks the system (affinity and control group) when the
    /// option leaves it to that.
    pub fn worker_count(&self) -> u32 {
        match self.workers {
            _ if self.worker_model == WorkerModel::Inline => 1,
            0 => u32::try_from(cpus()).unwrap_or(u32::MAX),
            workers => workers,
        }
    }

    /// How many sockets there are for each internet address; 0: one, which all workers share.
    pub fn seats(&self) -> u32 {
        match (self.accept_mode, self.worker_count()) {
            (AcceptMode::Reuseport, workers @ 2..) => workers,
            _ => 0,
        }
    }

    /// Octets that a request body may have.
    pub fn body_limit(&self) -> u64 {
        if self.max_body == 0 { u64::MAX } else { self.max_body }
    }

    /// Whether there is a limit to the time of a request.
    pub fn limits_requests(&self) -> bool {
        !self.request_timeout.is_zero() || !self.stream_timeout.is_zero()
    }

    /// Whether a page about the server is served somewhere.
    pub fn has_pages(&self) -> bool {
        let is_set = |it: &Settings| {
            !it.metrics_path.is_empty() || !it.stats_path.is_empty() || it.stats_only
        };
        let own = self.listeners.iter().filter(|listener| listener.has_own());
        is_set(self) || own.map(|listener| self.of(listener)).any(|own| is_set(&own))
    }

    /// Whether it is measured how long requests take.
    pub fn measures(&self) -> bool {
        self.timings.unwrap_or_else(|| self.has_pages())
    }

    /// Where bodies are spooled.
    pub fn spool_directory(&self) -> PathBuf {
        if self.spool_dir.as_os_str().is_empty() {
            std::env::temp_dir()
        } else {
            self.spool_dir.clone()
        }
    }

    /// The backlog of one of the listeners.
    pub fn backlog_of(&self, listener: &Listener) -> u32 {
        if listener.backlog == 0 { self.backlog } else { listener.backlog }
    }

    /// As they are for one of the listeners, which may say some of them for itself.
    pub fn of(&self, listener: &Listener) -> Settings {
        let mut settings = self.clone();
        listener.apply(&mut settings);
        settings
    }

    /// Every problem: values out of bounds, and options that contradict each other.
    pub fn check(&self) -> Vec<Error> {
        let mut problems = Vec::new();
        let mut scratch = self.clone();
        for option in options().iter().filter(|option| !option.is_list()) {
            problems.extend(option.set(&mut scratch, &option.get(self)).err());
        }
        let mut report = |text: String| problems.push(Error::new(Kind::Invalid, text));

        if self.worker_model == WorkerModel::Inline && self.workers > 1 {
            report(format!(
                "workers = {}: worker_model = inline has one, the calling thread",
                self.workers
            ));
        }
        self.check_head().into_iter().for_each(&mut report);
        if !self.health_path.is_empty() && !self.health_path.starts_with('/') {
            report(format!("health_path = {}: a path begins with /", self.health_path));
        }
        self.check_pages().into_iter().for_each(&mut report);
        if self.memory_hard > 0 && self.memory_soft >= self.memory_hard {
            report(format!(
                "memory_soft = {}: a worker would be killed first (memory_hard = {})",
                self.memory_soft, self.memory_hard
            ));
        }
        let spools = self.body_limit() > self.body_buffer;
        if spools && !self.spool_dir.as_os_str().is_empty() && !self.spool_dir.is_dir() {
            report(format!("spool_dir = {}: there is no such directory", self.spool_dir.display()));
        }
        for (n, listener) in self.listeners.iter().enumerate() {
            self.check_listener(n, listener, &mut report);
        }
        let control = &self.control_socket;
        let is_there =
            |it: &Listener| matches!(&it.address, Address::Unix(path) if path == control);
        if self.listeners.iter().any(is_there) {
            report(format!("control_socket = {}: a listener is there (bind)", control.display()));
        }
        let identity = self.identity().and_then(|who| who.map_or(Ok(()), |who| who.check()));
        problems.extend(identity.err());
        problems
    }

    /// Paths of pages that none can have.
    fn check_pages(&self) -> Vec<String> {
        let pages = [("metrics_path", &self.metrics_path), ("stats_path", &self.stats_path)];
        let wrong = pages.iter().filter(|(_, path)| !path.is_empty() && !path.starts_with('/'));
        let mut found: Vec<_> =
            wrong.map(|(name, path)| format!("{name} = {path}: a path begins with /")).collect();
        if !self.metrics_path.is_empty() && self.metrics_path == self.stats_path {
            found.push(format!("stats_path = {}: metrics_path is there", self.stats_path));
        }
        found
    }

    /// Parts of a head that may be larger than all of it.
    fn check_head(&self) -> Vec<String> {
        let head = self.limit_request_head;
        [
            ("limit_request_line", self.limit_request_line),
            ("limit_request_field_size", self.limit_request_field_size),
        ]
        .into_iter()
        .filter(|(_, limit)| *limit > head)
        .map(|(name, limit)| {
            let more = "more than the whole head may have";
            format!("{name} = {limit}: {more} (limit_request_head = {head})")
        })
        .collect()
    }

    fn check_listener(&self, n: usize, listener: &Listener, report: &mut impl FnMut(String)) {
        let is_shared = |other: &Listener| {
            other.address == listener.address && !(other.reuse_port && listener.reuse_port)
        };
        let any_port = matches!(listener.address, Address::Tcp { port: 0, .. });
        let at = &listener.address;
        if !any_port && self.listeners[..n].iter().any(is_shared) {
            report(format!("bind: {at} twice"));
        }
        for problem in listener.contradictions() {
            report(format!("bind: {at}: {problem}"));
        }
        if listener.has_own() {
            let all = |it: &Settings| [it.check_head(), it.check_pages()].concat();
            let known = all(self);
            let of_its_own = all(&self.of(listener)).into_iter();
            of_its_own
                .filter(|problem| !known.contains(problem))
                .for_each(|problem| report(format!("bind: {at}: {problem}")));
        }
        if let Address::Fd(fd) = listener.address
            && fd < 0
        {
            report(format!("bind: {at}: a descriptor is not negative"));
        }
    }
}

#[cfg(test)]
mod tests;
