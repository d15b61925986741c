//! A configuration made ready to serve: checked, its logs opened (a draft), its applications stacked
//! (a setup).  Both survive a fork; each worker makes its own engine from a setup.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::error::{Error, Kind, Result};
use crate::base::log::{LineFile, Logger, Sink, log};
use crate::conf::Quoted;
use crate::conf::listener::{Address, Host, Listener, Protocol};
use crate::conf::settings::{Settings, WorkerModel};
use crate::conf::trust::Networks;
use crate::gateway::abi::{
    APP_NONBLOCKING, APP_SERIAL, APP_THREADSAFE, ENV_MAY_BLOCK, ENV_MAY_DEFER, ENV_MULTIPROCESS,
    ENV_MULTITHREAD, ENV_RUN_ONCE,
};
use crate::gateway::app::Application;
use crate::gateway::config::{Config, HostLog, Stack, Unstacked};
use crate::gateway::counters::Counters;
use crate::gateway::mounts::{MountPoint, Named};
use crate::gateway::service::Service;
use crate::sys::listen::{self, How, Listening, listen_as};
use crate::sys::localtime;
use crate::sys::notify;
use crate::sys::user::{self, Identity};

use super::access::Format;
use super::terms::Terms;

/// The number of standard output, which an access log of "-" goes to.
pub const STDOUT: i32 = 1;
/// The number of standard error, which an error log of "-" goes to.
pub const STDERR: i32 = 2;

/// What every worker is made from.
#[derive(Debug)]
pub struct Setup<S = Stack> {
    /// The options.
    pub settings: Settings,
    /// The applications, and the hooks.
    pub stack: S,
    /// Takes records.
    pub log: Logger,
    /// Takes a line for each request.
    pub access: Option<(Format, LineFile)>,
    /// There is one request, and then no other (wsgi.run_once).
    pub once: bool,
    /// Who may connect on descriptor 0, if that is said.
    pub web_servers: Option<Networks>,
    spool_dir: PathBuf,
    /// Who opens the logs again.
    owner: Option<Identity>,
}

/// A setup whose applications are not there yet.
pub type Draft = Setup<Unstacked>;

impl Draft {
    /// Check everything that can be checked without the application.
    pub fn draft(config: Config) -> Result<Self> {
        if config.has_pools() {
            return Err(Error::new(
                Kind::Unsupported,
                "pools are an arbiter's: use gw_serve with workers, or gw_arbiter_new",
            ));
        }
        let parts = config.into_parts();
        let settings = parts.settings;
        Error::all(settings.check())?;
        let owner = settings.identity()?;
        let log = match (parts.log, &settings.errorlog) {
            (Some(HostLog(level, callback)), _) => {
                Logger::new(level, localtime::now, Sink::Callback(callback))
            }
            (None, Some(output)) => match output.open(STDERR, owner.as_ref())? {
                Some(file) => {
                    Logger::new(settings.loglevel, localtime::now, Sink::File(file.into()))
                }
                None => Logger::off(),
            },
            (None, None) => Logger::off(),
        };
        let access = match settings.accesslog.open(STDOUT, owner.as_ref())? {
            Some(file) => Some((Format::parse(&settings.access_log_format)?, file.into())),
            None => None,
        };
        let web_servers = web_servers(&settings)?;
        Ok(Setup { owner, web_servers, ..Setup::bare(settings, parts.app, log, access) })
    }

    /// For a trial: nothing is checked or opened, and nothing logged.
    pub fn on_trial(config: Config) -> Self {
        let parts = config.into_parts();
        Setup::bare(parts.settings, parts.app, Logger::off(), None)
    }

    fn bare(
        settings: Settings,
        stack: Unstacked,
        log: Logger,
        access: Option<(Format, LineFile)>,
    ) -> Self {
        let spool_dir = settings.spool_directory();
        let (once, web_servers, owner) = (false, None, None);
        Setup { settings, stack, log, access, once, web_servers, spool_dir, owner }
    }

    /// Whether an application is in a module that each worker loads by itself.
    pub fn is_for_workers(&self) -> bool {
        let forks = self.settings.worker_model == WorkerModel::Fork;
        forks && !self.settings.preload && self.stack.has_module()
    }

    /// Get the applications, and check what depends on it.
    pub fn load(mut self) -> Result<Setup> {
        let stack = self.stack.stack(&self.log)?;
        let setup = self.with(stack);
        setup.check()?;
        Ok(setup)
    }

    /// The setup, unchecked, when `stack` has been made of its own.
    pub fn with(self, stack: Stack) -> Setup {
        let Setup { settings, log, access, once, web_servers, spool_dir, owner, .. } = self;
        Setup { settings, stack, log, access, once, web_servers, spool_dir, owner }
    }
}

impl<S> Setup<S> {
    /// Bind everything that is to be listened on; on failure nothing stays bound.
    pub fn bind(&self) -> Result<Vec<Arc<Listening>>> {
        self.bind_beside(&[])
    }

    /// The same; of those that are `there` already, what is to be listened on is kept.
    pub fn bind_beside(&self, there: &[Arc<Listening>]) -> Result<Vec<Arc<Listening>>> {
        let (mut bound, mut there) = (Vec::new(), there.to_vec());
        for (listener, place) in self.settings.listeners.iter().zip(1..) {
            let these = self.bind_one(listener, &mut there)?;
            for one in &these {
                one.speak(listener.protocol as u32);
                one.put(place);
            }
            bound.extend(these);
        }
        Ok(bound)
    }

    fn bind_one(
        &self,
        listener: &Listener,
        there: &mut Vec<Arc<Listening>>,
    ) -> Result<Vec<Arc<Listening>>> {
        let how = self.how(listener)?;
        let addresses = addresses_of(listener)?;
        let seats = self.settings.seats();
        if seats > 0 && matches!(listener.address, Address::Tcp { .. }) {
            let seated = addresses.iter().map(|at| bind_seats(at, &how, seats, there));
            return seated
                .collect::<Result<Vec<_>>>()
                .map(|all| all.into_iter().flatten().collect());
        }
        let kept_or_bound = |address| {
            if let Some(at) =
                there.iter().position(|it| it.asked() == Some(address) && it.seat().is_none())
            {
                return Ok(there.swap_remove(at));
            }
            listen_as(address, &how).map(Arc::new)
        };
        addresses.iter().map(kept_or_bound).collect()
    }

    fn how(&self, listener: &Listener) -> Result<How> {
        let owner = match &listener.owner {
            Some((user, group)) => user::ids(user, group).map_err(|error| {
                let text = format!("bind {}: {}", listener.address, error.message());
                Error::new(error.kind(), text)
            })?,
            None => (None, None),
        };
        Ok(How {
            masked: false,
            backlog: self.settings.backlog_of(listener) as i32,
            reuse_port: listener.reuse_port,
            unix_mode: (listener.mode != 0).then_some(listener.mode),
            owner,
            socket: listener.socket,
            resize: listener.backlog > 0,
        })
    }

    /// Open the files of the logs again: in each process that writes to them.
    pub fn reopen_logs(&self) {
        let owner = self.owner.as_ref();
        let complain = |error: Error| {
            log!(self.log, Error, "server", "{error}; its lines go where they went");
        };
        if let (Some(output), Some(file)) = (&self.settings.errorlog, self.log.file())
            && let Err(error) = output.reopen(file, owner)
        {
            complain(error);
        }
        if let Some((_, lines)) = &self.access
            && let Err(error) = self.settings.accesslog.reopen(lines.file(), owner)
        {
            complain(error);
        }
    }

    /// What holds on a connection where this is spoken, as far as no listener says otherwise.
    pub(super) fn usual_terms(&self, protocol: Protocol) -> Terms {
        Terms::new(protocol, &self.settings)
    }

    /// What holds on each socket that listens; `None`: the usual, and HTTP.  They are in the order of
    /// the listeners.
    pub(super) fn terms_on(&self, listening: &[Arc<Listening>]) -> Vec<Option<Terms>> {
        let same = |it: &Listening| (it.asked().cloned(), it.seat());
        let of_one = |(n, it): (usize, &Arc<Listening>)| {
            // Several may be asked for in the same words: any port.
            let nth = listening[..n].iter().filter(|other| same(other) == same(it)).count();
            // What was passed to another process, and a name that has another address by now, say
            // nothing here; whoever has bound it knew.
            let put = || self.settings.listeners.get((it.place() as usize).checked_sub(1)?);
            let listener = self.asked_for(it.asked()?).nth(nth).or_else(put)?;
            let terms = Terms::new(listener.protocol, &self.settings.of(listener));
            has_terms(listener).then(|| Terms { has_own_limits: listener.has_own(), ..terms })
        };
        listening.iter().enumerate().map(of_one).collect()
    }

    /// The listeners that come to this address.  Names are not looked up again for what is said
    /// anyway.
    fn asked_for(&self, asked: &listen::Address) -> impl Iterator<Item = &Listener> {
        let is_it = |it: &&Listener| match &it.address {
            Address::Tcp { host: Host::Name(_), port: 1.. } if !has_terms(it) => false,
            _ => addresses_of(it).is_ok_and(|addresses| addresses.contains(asked)),
        };
        self.settings.listeners.iter().filter(is_it)
    }

    /// Whether this peer may connect to a socket that listens.
    pub fn permits(&self, peer: Option<IpAddr>, listening: &Listening) -> bool {
        let Some(permitted) = &self.web_servers else { return true };
        // One of a unix socket has no address, and the permissions of a file instead.
        let is_there = listening.asked() == Some(&listen::Address::Fd(0));
        !is_there || peer.is_none() || permitted.contain(peer)
    }
}

/// Whether not all on a listener is as usual.
fn has_terms(listener: &Listener) -> bool {
    listener.protocol != Protocol::Http || listener.has_own()
}

impl Setup {
    /// Check everything that can be checked before something is started.
    pub fn new(config: Config) -> Result<Self> {
        Draft::draft(config)?.load()
    }

    /// What depends on the applications.
    pub fn check(&self) -> Result<()> {
        Error::all(check_apps(&self.settings, &self.stack.apps.all(), self.stack.pulled))
    }

    /// What the requests of one worker share.
    pub fn service(&self, counters: Arc<dyn AsRef<Counters> + Send + Sync>) -> Service {
        let mut env_flags = ENV_MAY_DEFER;
        if self.once {
            env_flags |= ENV_RUN_ONCE;
        }
        let several = self.settings.worker_count() > 1;
        let model = self.settings.worker_model;
        if several && matches!(model, WorkerModel::Fork | WorkerModel::Exec) {
            env_flags |= ENV_MULTIPROCESS;
        }
        let shared = several && model == WorkerModel::Threads;
        if shared || self.stack.pulled || self.threads().unwrap_or(0) > 1 {
            env_flags |= ENV_MULTITHREAD;
        }
        if self.may_block() {
            env_flags |= ENV_MAY_BLOCK;
        }
        Service {
            apps: self.stack.apps.clone(),
            env_flags,
            threads_by_flags: self.settings.threads.unwrap_or(0) == 0,
            streaming: !self.settings.request_buffering,
            limited: self.settings.limits_requests(),
            asks: self.settings.limits_requests() || self.has_phases(),
            body_buffer: self.settings.body_buffer as usize,
            spool_dir: self.spool_dir.clone(),
            output_buffer: self.settings.output_buffer,
            log: self.log.clone(),
            counters,
            hooks: Arc::clone(&self.stack.hooks),
        }
    }

    /// Whether somebody wants to know in which phases requests take how long.
    pub fn has_phases(&self) -> bool {
        let logs_all = self.access.as_ref().is_some_and(|(format, _)| format.has_phases());
        self.settings.measures() || !self.settings.slow_request.is_zero() || logs_all
    }

    /// How many threads of a worker run applications; 0: its loop does.  Unless that is an option, those
    /// that never block, or are serial, run on the loop all the same.
    pub fn threads(&self) -> Result<usize> {
        let needed = |(point, app)| threads(&self.settings, (point, app), self.stack.pulled);
        self.stack.apps.all().into_iter().map(needed).try_fold(0, |most, n| Ok(most.max(n?)))
    }

    /// Whether an application is allowed to block where it runs.
    pub fn may_block(&self) -> bool {
        let mut all = self.stack.apps.all().into_iter();
        all.any(|(_, app)| app.flags() & APP_NONBLOCKING == 0)
            || self.settings.threads.unwrap_or(0) > 0
    }
}

/// A socket for each seat at one address; those that are there stay, also more than there are to be:
/// somebody may wait in their queues.
fn bind_seats(
    address: &listen::Address,
    how: &How,
    seats: u32,
    there: &mut Vec<Arc<Listening>>,
) -> Result<Vec<Arc<Listening>>> {
    let is_one = |it: &mut Arc<Listening>| it.asked() == Some(address) && it.seat().is_some();
    let mut bound: Vec<_> = there.extract_if(.., is_one).collect();
    for seat in bound.len() as u32..seats {
        // Where the first one is, if the system chose the port.
        let at = bound.first().and_then(|it| it.internet()).map(listen::Address::Tcp);
        let one = listen_as(at.as_ref().unwrap_or(address), &How { reuse_port: true, ..*how })?;
        bound.push(Arc::new(one.in_seat(seat, address.clone())));
    }
    Ok(bound)
}

/// An application and its place.
type Mounted<'a> = (&'a MountPoint, &'a Application);

/// What contradicts an application; `pulled`: there is none, and requests are taken.
pub fn check_apps(settings: &Settings, apps: &[Mounted<'_>], pulled: bool) -> Vec<Error> {
    let of_one =
        |app: &Mounted<'_>| [threads(settings, *app, pulled).err(), sharing(settings, *app).err()];
    apps.iter().flat_map(of_one).flatten().collect()
}

fn threads(settings: &Settings, mounted: Mounted<'_>, pulled: bool) -> Result<usize> {
    let (app, flags) = (Named(mounted.0, mounted.1), mounted.1.flags());
    let wrong = |text: String| Err(Error::new(Kind::Invalid, text));
    match settings.threads {
        None if flags & (APP_NONBLOCKING | APP_SERIAL) != 0 => Ok(0),
        None => Ok(1),
        Some(threads) if pulled && threads > 0 => wrong(format!(
            "threads = {threads}: there is no application to run; its requests are taken"
        )),
        Some(0) if flags & (APP_NONBLOCKING | APP_SERIAL) == 0 => wrong(format!(
            "threads = 0: {app} may block, and would stop the loop: give it threads, or say that it \
             is GW_APP_NONBLOCKING or GW_APP_SERIAL"
        )),
        Some(threads) if threads > 0 && flags & APP_SERIAL != 0 => {
            wrong(format!("threads = {threads}: {app} is GW_APP_SERIAL, which runs on the loop"))
        }
        Some(threads) if threads > 1 && flags & APP_THREADSAFE == 0 => {
            wrong(format!("threads = {threads}: {app} is not GW_APP_THREADSAFE"))
        }
        Some(threads) => Ok(threads as usize),
    }
}

/// Several loops in one process enter the application at once, also one that is serial: that is one
/// request at a time for each worker.
fn sharing(settings: &Settings, mounted: Mounted<'_>) -> Result<()> {
    let workers = settings.workers;
    if settings.worker_model != WorkerModel::Threads
        || workers == 1
        || mounted.1.flags() & APP_THREADSAFE != 0
    {
        return Ok(());
    }
    let preset = if workers == 0 { " (one for each CPU)" } else { "" };
    let app = Named(mounted.0, mounted.1);
    Err(Error::new(
        Kind::Invalid,
        format!(
            "workers = {workers}{preset}: worker_model = threads would enter {app} from several \
             threads, and it is not GW_APP_THREADSAFE: say so, or set workers = 1"
        ),
    ))
}

/// The web servers that may connect (FastCGI 1.0 section 3.2), where FastCGI is spoken on descriptor 0.
fn web_servers(settings: &Settings) -> Result<Option<Networks>> {
    const NAME: &str = "FCGI_WEB_SERVER_ADDRS";
    let is_0 = |it: &Listener| it.protocol == Protocol::FastCgi && it.address == Address::Fd(0);
    let text = std::env::var_os(NAME).unwrap_or_default();
    if text.is_empty() || !settings.listeners.iter().any(is_0) {
        return Ok(None);
    }
    let text = text.to_string_lossy();
    let address = |one: &str| {
        one.trim().parse::<IpAddr>().map_err(|_| {
            let text = format!("{NAME} = {text}: {} is not an IP address", Quoted(one));
            Error::new(Kind::Invalid, text)
        })
    };
    text.split(',').map(address).collect::<Result<_>>().map(Some)
}

/// What a listener comes to.  Asks the resolver for a name, and may wait for it.
pub fn addresses_of(listener: &Listener) -> Result<Vec<listen::Address>> {
    Ok(match &listener.address {
        Address::Tcp { .. } => {
            listener.address.resolve()?.into_iter().map(listen::Address::Tcp).collect()
        }
        Address::Unix(path) => vec![listen::Address::Unix(path.clone())],
        Address::Abstract(name) => vec![listen::Address::Abstract(name.clone().into_bytes())],
        Address::Fd(fd) => vec![listen::Address::Fd(*fd)],
        Address::Passed(name) => passed(name)?,
    })
}

/// The sockets that a service manager has passed under this name; empty: all of them.
fn passed(name: &str) -> Result<Vec<listen::Address>> {
    let all = notify::passed()?;
    let named = |one: &&notify::Passed| name.is_empty() || one.name == name;
    let found: Vec<_> = all.iter().filter(named).map(|one| listen::Address::Fd(one.fd)).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
    let there = match names.as_slice() {
        [] => "none was passed to this process (LISTEN_PID, LISTEN_FDS)".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    Err(Error::new(Kind::Invalid, format!("bind systemd:{name}: no such socket: {there}")))
}
