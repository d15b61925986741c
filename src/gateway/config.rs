//! What a server is made of: options, applications and what stands around them, hooks, a log.

use std::fmt;
use std::sync::Arc;

use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Callback, Level, Logger, log};
use crate::conf::Quoted;
use crate::conf::listener::Listener;
use crate::conf::pool;
use crate::conf::settings::Settings;

use super::abi::AppFrame;
use super::abi::Environ;
use super::app::{App, Application, Kept};
use super::mounts::{Apps, MountPoint, Named};
use super::service::{Access, ArbiterHooks, Hooks, Worker};

/// Fills the outer application from the inner one; called once for each that it is to be around.
pub type Middleware = Box<dyn Fn(&AppFrame, &mut AppFrame) -> Result<()> + Send + Sync>;

/// Loads a module, in the process that is to run it.
pub type Load = Box<dyn Fn() -> Result<Loaded> + Send + Sync>;

/// What a module has given.
#[derive(Debug)]
pub struct Loaded {
    /// Its application.
    pub app: Application,
    /// Its hooks.
    pub hooks: Hooks,
    /// Its file, its name and its version, for log lines.
    pub label: String,
}

/// Where an application comes from.
enum Source {
    App(Arc<Application>),
    Module(Load),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::App(app) => app.fmt(f),
            Source::Module(_) => f.write_str("(a module)"),
        }
    }
}

/// The first is the outermost.
type Layers = Vec<(Middleware, Option<Kept>)>;

/// An application at its place.
struct Mount {
    point: MountPoint,
    source: Source,
    /// Around this one alone.
    middleware: Layers,
}

impl Mount {
    /// For error messages.
    fn name(&self) -> String {
        match &self.source {
            Source::App(app) => format!("application \"{}\"", app.name()),
            Source::Module(_) => "a module".into(),
        }
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount")
            .field("point", &self.point)
            .field("source", &self.source)
            .field("middleware", &self.middleware.len())
            .finish()
    }
}

/// A configuration, until a server or an arbiter is made of it.
#[derive(Default)]
pub struct Config {
    settings: Settings,
    mounts: Vec<Mount>,
    middleware: Layers,
    hooks: Hooks,
    log: Option<(Level, Arc<Callback>)>,
    pools: Vec<(Arc<str>, Config)>,
}

/// What a configuration comes to.
#[derive(Debug)]
pub struct Parts {
    /// The options.
    pub settings: Settings,
    /// The applications.
    pub app: Unstacked,
    /// The host's log, if it has one.
    pub log: Option<HostLog>,
}

/// Applications, and what stands around them, before they are put together: no module is loaded, and
/// no middleware was called.
#[derive(Default)]
pub struct Unstacked {
    mounts: Vec<Mount>,
    middleware: Layers,
    hooks: Hooks,
}

/// Applications in their middleware.
#[derive(Debug)]
pub struct Stack {
    /// The outermost applications.
    pub apps: Apps,
    /// There was no application: whoever asks takes the requests.
    pub pulled: bool,
    /// The host's hooks, and those of modules.
    pub hooks: Arc<Hooks>,
}

impl Unstacked {
    /// The hooks for the arbiter's process, which only that needs.
    pub fn take_arbiter_hooks(&mut self) -> ArbiterHooks {
        std::mem::take(&mut self.hooks.arbiter)
    }

    /// Whether an application is in a module.
    pub fn has_module(&self) -> bool {
        has_module(&self.mounts)
    }

    /// Loads the modules, and puts the middleware around the applications; once.  What is the host's
    /// stays here when that fails.
    pub fn stack(&mut self, log: &Logger) -> Result<Stack> {
        for Mount { point, source, .. } in &mut self.mounts {
            if let Source::Module(load) = source {
                let Loaded { app, hooks, label } = load()?;
                match point.is_root() {
                    true => log!(log, Info, "module", "Loaded {label}"),
                    false => log!(log, Info, "module", "Loaded {label} at {point}"),
                }
                *source = Source::App(Arc::new(app));
                self.hooks = std::mem::take(&mut self.hooks).around(hooks);
            }
        }
        let pulled = self.mounts.is_empty();
        let mut apps = Vec::new();
        if pulled {
            let taken = Arc::new(Application::taken());
            apps.push((MountPoint::ROOT, self.wrapped(&MountPoint::ROOT, taken, &[])?));
        }
        for Mount { point, source, middleware } in &self.mounts {
            if let Source::App(app) = source {
                apps.push((point.clone(), self.wrapped(point, Arc::clone(app), middleware)?));
            }
        }
        let hooks = Arc::new(std::mem::take(&mut self.hooks));
        Ok(Stack { apps: Apps::new(apps), pulled, hooks })
    }

    /// The application in its own middleware, and in that of all.
    fn wrapped(
        &self,
        point: &MountPoint,
        mut app: Arc<Application>,
        own: &[(Middleware, Option<Kept>)],
    ) -> Result<Arc<Application>> {
        for (wrap, kept) in self.middleware.iter().chain(own).rev() {
            let failed = |error: Error| {
                error.within(format_args!("middleware around {}", Named(point, &app)))
            };
            let outer = Application::wrapped(Arc::clone(&app), wrap).map_err(failed)?;
            app = Arc::new(outer.keeping(kept.clone()));
        }
        Ok(app)
    }
}

fn has_module(mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| matches!(mount.source, Source::Module(_)))
}

impl fmt::Debug for Unstacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unstacked")
            .field("mounts", &self.mounts)
            .field("middleware", &self.middleware.len())
            .field("hooks", &self.hooks)
            .finish()
    }
}

/// A level and the function that takes records up to it.
pub struct HostLog(pub Level, pub Callback);

impl fmt::Debug for HostLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostLog").field(&self.0).finish()
    }
}

impl Config {
    /// The presets, and no application.
    pub fn new() -> Self {
        Config::default()
    }

    /// Set an option by name ("workers", "4"); see the table of options.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Self> {
        self.settings.set(name, value)?;
        Ok(self)
    }

    /// The options.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The options, to change them.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// The application: an [`App`] or a closure.  It may block; see [`Application::nonblocking`]
    /// and [`Config::application`].
    pub fn app(&mut self, app: impl App + 'static) -> &mut Self {
        self.application(Application::new(app))
    }

    /// The application for all that no other is mounted for, with what it may be asked to do.  One
    /// that was there before goes.
    pub fn application(&mut self, app: Application) -> &mut Self {
        self.at_root(Source::App(Arc::new(app)))
    }

    /// The same; the application is what `load` gets out of a module.
    pub fn module_from(&mut self, load: Load) -> &mut Self {
        self.at_root(Source::Module(load))
    }

    fn at_root(&mut self, source: Source) -> &mut Self {
        let root = self.mounts.iter_mut().find(|mount| mount.point.is_root());
        match root {
            Some(mount) => mount.source = source,
            None => self.mounts.push(Mount { point: MountPoint::ROOT, source, middleware: vec![] }),
        }
        self
    }

    /// Mount an application: it has the requests whose host and path match `at`, "/prefix",
    /// "host/prefix" or "*.host/prefix", unless there is a longer match.  The prefix becomes the end of
    /// SCRIPT_NAME, and PATH_INFO is the rest (PEP 3333, "URL Reconstruction").
    ///
    /// A host counts before a path; a prefix matches whole segments of the decoded path.  What matches
    /// nothing is answered with 404.
    ///
    /// # Errors
    /// `Kind::Invalid`: `at` is malformed, or another is mounted there.
    pub fn mount(&mut self, at: &str, app: Application) -> Result<&mut Self> {
        self.mount_source(at, Source::App(Arc::new(app)))
    }

    /// The same; the application is what `load` gets out of a module.
    pub fn mount_module_from(&mut self, at: &str, load: Load) -> Result<&mut Self> {
        self.mount_source(at, Source::Module(load))
    }

    fn mount_source(&mut self, at: &str, source: Source) -> Result<&mut Self> {
        let mount = Mount { point: MountPoint::parse(at)?, source, middleware: Vec::new() };
        if let Some(other) = self.mounts.iter().find(|it| it.point == mount.point) {
            let (new, old) = (mount.name(), other.name());
            let text = format!("mount point {}: {new} cannot be where {old} is", Quoted(at));
            return Err(Error::new(Kind::Invalid, text));
        }
        self.mounts.push(mount);
        Ok(self)
    }

    /// An application around each application; the first one used is the outermost.  `middleware` is
    /// called once for each, and sees requests as they come to their applications, with SCRIPT_NAME.
    pub fn wrap(&mut self, middleware: Middleware) -> &mut Self {
        self.middleware.push((middleware, None));
        self
    }

    /// The same; `kept` goes when the applications that the middleware makes have gone.
    pub fn wrap_keeping(&mut self, middleware: Middleware, kept: Kept) -> &mut Self {
        self.middleware.push((middleware, Some(kept)));
        self
    }

    /// An application around the one that is mounted at `at` already, within those of
    /// [`Config::wrap`]; the first one used is the outermost.
    ///
    /// # Errors
    /// `Kind::Invalid`: `at` is malformed.  `Kind::NotFound`: nothing is mounted there.
    pub fn wrap_at(&mut self, at: &str, middleware: Middleware) -> Result<&mut Self> {
        self.wrap_layer_at(at, (middleware, None))
    }

    /// The same; `kept` goes when the application that the middleware makes has gone.
    pub fn wrap_at_keeping(
        &mut self,
        at: &str,
        middleware: Middleware,
        kept: Kept,
    ) -> Result<&mut Self> {
        self.wrap_layer_at(at, (middleware, Some(kept)))
    }

    fn wrap_layer_at(&mut self, at: &str, layer: (Middleware, Option<Kept>)) -> Result<&mut Self> {
        let point = MountPoint::parse(at)?;
        let Some(mount) = self.mounts.iter_mut().find(|it| it.point == point) else {
            let there: Vec<_> = self.mounts.iter().map(|it| it.point.to_string()).collect();
            let there = if there.is_empty() { "nothing".into() } else { there.join(", ") };
            let text = format!(
                "mount point {}: nothing is mounted there yet; there is {there}",
                Quoted(at)
            );
            return Err(Error::new(Kind::NotFound, text));
        };
        mount.middleware.push(layer);
        Ok(self)
    }

    /// One more socket to listen on.
    pub fn listen(&mut self, listener: Listener) -> &mut Self {
        self.settings.listeners.push(listener);
        self
    }

    /// Log records up to `level` go to `callback`, on any thread.
    pub fn log(&mut self, level: Level, callback: Callback) -> &mut Self {
        self.log = Some((level, Arc::new(callback)));
        self
    }

    /// Called when a worker begins, in its process or thread; an error refuses the worker.
    pub fn on_worker_init(
        &mut self,
        hook: impl Fn(&Worker) -> Result<()> + Send + Sync + 'static,
    ) -> &mut Self {
        self.hooks.worker_init = Some(Box::new(hook));
        self
    }

    /// Called when a worker ends that `on_worker_init` did not refuse.
    pub fn on_worker_exit(&mut self, hook: impl Fn(&Worker) + Send + Sync + 'static) -> &mut Self {
        self.hooks.worker_exit = Some(Box::new(hook));
        self
    }

    /// The hooks, to set those that have no function of their own here.
    pub fn hooks_mut(&mut self) -> &mut Hooks {
        &mut self.hooks
    }

    /// Called with each environ before the application.
    pub fn on_request(&mut self, hook: impl Fn(&Environ) + Send + Sync + 'static) -> &mut Self {
        self.hooks.pre_request = Some(Box::new(hook));
        self
    }

    /// Called after each request.
    pub fn on_access(&mut self, hook: impl Fn(&Access<'_>) + Send + Sync + 'static) -> &mut Self {
        self.hooks.access = Some(Box::new(hook));
        self
    }

    /// Whether there is an application, or a module that has one.
    pub fn has_app(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// Whether an application is in a module.
    pub fn has_module(&self) -> bool {
        has_module(&self.mounts)
    }

    /// The applications that serve, where that is known without calling anybody: neither a module nor
    /// middleware stands before one.
    pub fn known_apps(&self) -> Option<Vec<(&MountPoint, &Application)>> {
        let known = |mount: &'_ Mount| match &mount.source {
            Source::App(_) => mount.middleware.is_empty(),
            Source::Module(_) => false,
        };
        if self.mounts.is_empty() || !self.middleware.is_empty() || !self.mounts.iter().all(known) {
            return None;
        }
        let apps = self.mounts.iter().filter_map(|mount| match &mount.source {
            Source::App(app) => Some((&mount.point, &**app)),
            Source::Module(_) => None,
        });
        Some(apps.collect())
    }

    /// The hooks.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// Whether log records go to the host.
    pub fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// Its hooks alone.
    pub fn into_hooks(self) -> Hooks {
        self.hooks
    }

    /// What it comes to.
    pub fn into_parts(self) -> Parts {
        Parts {
            settings: self.settings,
            app: Unstacked { mounts: self.mounts, middleware: self.middleware, hooks: self.hooks },
            log: self
                .log
                .map(|(level, callback)| HostLog(level, Box::new(move |record| callback(record)))),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("settings", &self.settings)
            .field("mounts", &self.mounts)
            .field("middleware", &self.middleware.len())
            .field("hooks", &self.hooks)
            .field("pools", &self.pools)
            .finish_non_exhaustive()
    }
}

/// Pools: more workers than those of this application, each group with a configuration of its own.
impl Config {
    /// Workers of their own for `pool`: its applications, middleware, listeners, hooks and options.  What
    /// it does not say of the options is as it is here when a server is made; its log, too.
    ///
    /// # Errors
    /// `Kind::Invalid`: the name is malformed, or another pool has it.
    pub fn pool(&mut self, name: &str, pool: Config) -> Result<&mut Self> {
        pool::check_name(name)?;
        if self.pools.iter().any(|(other, _)| **other == *name) {
            return Err(Error::new(Kind::Invalid, format!("pool {name}: there is one already")));
        }
        self.pools.push((name.into(), pool));
        Ok(self)
    }

    /// Whether there are pools.
    pub fn has_pools(&self) -> bool {
        !self.pools.is_empty()
    }

    /// Whether there is nothing to serve but what pools have.
    pub fn has_only_pools(&self) -> bool {
        self.has_pools() && !self.has_app() && !self.hooks.may_take()
    }

    /// The pools.
    pub fn pools_mut(&mut self) -> &mut [(Arc<str>, Config)] {
        &mut self.pools
    }

    /// What [`Settings::serve_presets`] does, where there is something to serve.
    pub fn serve_presets(&mut self) {
        match self.has_only_pools() {
            true => self.settings.process_presets(),
            false => self.settings.serve_presets(),
        }
    }

    /// What [`Settings::activate`] does, as above.
    pub fn activate(&mut self) {
        if !self.has_only_pools() {
            self.settings.activate();
        }
    }

    /// Takes the pools out, each with all its options: what it does not say is as it is here.
    pub fn take_pools(&mut self) -> Vec<(Arc<str>, Config)> {
        let mut pools = std::mem::take(&mut self.pools);
        for (_, pool) in &mut pools {
            pool.settings = pool.settings.within(&self.settings);
            if pool.log.is_none() {
                pool.log.clone_from(&self.log);
            }
        }
        // A page shows all workers, whoever has it.
        if pools.iter().any(|(_, pool)| pool.settings.has_pages() || self.settings.has_pages()) {
            for (_, pool) in &mut pools {
                pool.settings.timings.get_or_insert(true);
            }
            self.settings.timings.get_or_insert(true);
        }
        pools
    }
}
