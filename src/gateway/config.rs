//! What a server is made of: options, an application and what stands around it, hooks, a log.

use std::fmt;
use std::sync::Arc;

use crate::base::error::Result;
use crate::base::log::{Callback, Level, Logger, log};
use crate::conf::listener::Listener;
use crate::conf::settings::Settings;

use super::abi::AppFrame;
use super::abi::Environ;
use super::app::{App, Application, Kept};
use super::service::{Access, ArbiterHooks, Hooks, Worker};

/// Fills the outer application from the inner one.
pub type Middleware = Box<dyn FnOnce(&AppFrame, &mut AppFrame) -> Result<()> + Send + Sync>;

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

/// Where the application comes from.
enum Source {
    App(Application),
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

/// A configuration, until a server or an arbiter is made of it.
#[derive(Default)]
pub struct Config {
    settings: Settings,
    app: Option<Source>,
    middleware: Vec<(Middleware, Option<Kept>)>,
    hooks: Hooks,
    log: Option<(Level, Callback)>,
}

/// What a configuration comes to.
#[derive(Debug)]
pub struct Parts {
    /// The options.
    pub settings: Settings,
    /// The application.
    pub app: Unstacked,
    /// The host's log, if it has one.
    pub log: Option<HostLog>,
}

/// An application, and what stands around it, before they are put together: a module is not loaded,
/// and no middleware was called.
pub struct Unstacked {
    app: Option<Source>,
    middleware: Vec<(Middleware, Option<Kept>)>,
    kept: Vec<Kept>,
    hooks: Hooks,
}

/// An application in its middleware.
#[derive(Debug)]
pub struct Stack {
    /// The outermost application.
    pub app: Arc<Application>,
    /// There was no application: whoever asks takes the requests.
    pub pulled: bool,
    /// The host's hooks, and those of a module.
    pub hooks: Arc<Hooks>,
}

impl Unstacked {
    /// The hooks for the arbiter's process, which only that needs.
    pub fn take_arbiter_hooks(&mut self) -> ArbiterHooks {
        std::mem::take(&mut self.hooks.arbiter)
    }

    /// Whether the application is in a module.
    pub fn is_module(&self) -> bool {
        matches!(self.app, Some(Source::Module(_)))
    }

    /// Loads the module, if it is one, and puts the middleware around the application; once.  What
    /// is the host's stays here when that fails.
    pub fn stack(&mut self, log: &Logger) -> Result<Stack> {
        let pulled = self.app.is_none();
        if let Some(Source::Module(load)) = &self.app {
            let Loaded { app, hooks, label } = load()?;
            log!(log, Info, "module", "Loaded {label}");
            self.app = Some(Source::App(app));
            self.hooks = std::mem::take(&mut self.hooks).around(hooks);
        }
        let mut app = Arc::new(match self.app.take() {
            Some(Source::App(app)) => app,
            _ => Application::taken(),
        });
        while let Some((wrap, kept)) = self.middleware.pop() {
            self.kept.extend(kept.clone());
            app = Arc::new(Application::wrapped(app, wrap)?.keeping(kept));
        }
        Ok(Stack { app, pulled, hooks: Arc::new(std::mem::take(&mut self.hooks)) })
    }
}

impl fmt::Debug for Unstacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unstacked")
            .field("app", &self.app)
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

    /// The application, with what it may be asked to do.
    pub fn application(&mut self, app: Application) -> &mut Self {
        self.app = Some(Source::App(app));
        self
    }

    /// The application is what `load` gets out of a module.
    pub fn module_from(&mut self, load: Load) -> &mut Self {
        self.app = Some(Source::Module(load));
        self
    }

    /// An application around the application; the first one used is the outermost.
    pub fn wrap(&mut self, middleware: Middleware) -> &mut Self {
        self.middleware.push((middleware, None));
        self
    }

    /// The same; `kept` goes when the application that the middleware makes has gone.
    pub fn wrap_keeping(&mut self, middleware: Middleware, kept: Kept) -> &mut Self {
        self.middleware.push((middleware, Some(kept)));
        self
    }

    /// One more socket to listen on.
    pub fn listen(&mut self, listener: Listener) -> &mut Self {
        self.settings.listeners.push(listener);
        self
    }

    /// Log records up to `level` go to `callback`, on any thread.
    pub fn log(&mut self, level: Level, callback: Callback) -> &mut Self {
        self.log = Some((level, callback));
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
        self.app.is_some()
    }

    /// Whether the application is in a module.
    pub fn is_module(&self) -> bool {
        matches!(self.app, Some(Source::Module(_)))
    }

    /// The application that serves, where that is known without calling anybody: neither a module nor
    /// middleware stands before it.
    pub fn known_app(&self) -> Option<&Application> {
        match &self.app {
            Some(Source::App(app)) if self.middleware.is_empty() => Some(app),
            _ => None,
        }
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
            app: Unstacked {
                app: self.app,
                middleware: self.middleware,
                kept: Vec::new(),
                hooks: self.hooks,
            },
            log: self.log.map(|(level, callback)| HostLog(level, callback)),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("settings", &self.settings)
            .field("app", &self.app)
            .field("middleware", &self.middleware.len())
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}
