//! What a server is made of: options, an application and what stands around it, hooks, a log.

use std::fmt;
use std::sync::Arc;

use crate::base::error::Result;
use crate::base::log::{Callback, Level};
use crate::conf::listener::Listener;
use crate::conf::settings::Settings;

use super::abi::AppFrame;
use super::abi::Environ;
use super::app::{App, Application, Kept};
use super::service::{Access, Hooks, Worker};

/// Fills the outer application from the inner one.
pub type Middleware = Box<dyn FnOnce(&AppFrame, &mut AppFrame) -> Result<()> + Send + Sync>;

/// A configuration, until a server or an arbiter is made of it.
#[derive(Default)]
pub struct Config {
    settings: Settings,
    app: Option<Application>,
    middleware: Vec<(Middleware, Option<Kept>)>,
    hooks: Hooks,
    log: Option<(Level, Callback)>,
}

/// What a configuration comes to, once its application is stacked.
#[derive(Debug)]
pub struct Parts {
    /// The options.
    pub settings: Settings,
    /// The outermost application.
    pub app: Arc<Application>,
    /// There was no application: whoever asks takes the requests.
    pub pulled: bool,
    /// The hooks.
    pub hooks: Arc<Hooks>,
    /// The host's log, if it has one.
    pub log: Option<HostLog>,
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
        self.app = Some(app);
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

    /// Stack the application.
    pub fn into_parts(self) -> Result<Parts> {
        let pulled = self.app.is_none();
        let mut app = Arc::new(self.app.unwrap_or_else(Application::taken));
        for (wrap, kept) in self.middleware.into_iter().rev() {
            app = Arc::new(Application::wrapped(app, wrap)?.keeping(kept));
        }
        Ok(Parts {
            settings: self.settings,
            app,
            pulled,
            hooks: Arc::new(self.hooks),
            log: self.log.map(|(level, callback)| HostLog(level, callback)),
        })
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
