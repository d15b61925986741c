//! All that is wrong with a configuration, before anything is started: one list, for those who ask
//! and for those who serve.

mod pools;

use super::entry::Entry;
use super::presence::Presence;
use super::{LEFT, Process};
use crate::arbiter;
use crate::base::error::{Error, Kind, Result};
use crate::conf::listener::Listener;
use crate::conf::settings::{Settings, WorkerModel};
use crate::gateway::config::Config;
use crate::module;
use crate::server::access::Format;
use crate::server::setup::{Draft, STDERR, STDOUT, addresses_of, check_apps};
use crate::sys::file::can_create_in;
use crate::sys::listen::probe;
use crate::sys::user;

/// What is to be done with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Nothing: what is wrong is asked.
    Whole,
    /// To start with it, in a process that is there for this.
    Start {
        /// What that is there for.
        process: Process,
        /// It takes the place of another, which has bound the addresses.
        is_second: bool,
    },
    /// To change to it: some of its addresses are bound already.
    Reload,
}

/// Every problem, also of pools.  `settings` are those of `config`, with what is taken for granted;
/// `presence` is what the server shows of itself, or is to show.
pub(super) fn problems(
    settings: &Settings,
    config: &mut Config,
    scope: Scope,
    presence: &Presence,
) -> Vec<Error> {
    let mut problems = plain(settings, config);
    // Both are its arbiter's, whose addresses are bound.
    let is_worker = scope == Scope::Whole && arbiter::is_started();
    if !is_worker {
        problems.extend(presence.check(settings));
    }
    let is_second = scope == Scope::Whole && presence.is_second();
    let bound = matches!(scope, Scope::Reload | Scope::Start { is_second: true, .. });
    let binds = !(bound || is_worker || is_second);
    if !config.has_only_pools() {
        problems.extend(of_workers(settings, config, scope, binds));
    }
    if config.has_pools() {
        problems.extend(pools::problems(settings, config, scope, binds));
    }
    problems
}

/// What is wrong with options, and with what they name.
fn plain(settings: &Settings, config: &Config) -> Vec<Error> {
    let mut problems = settings.check();
    problems.extend(places(settings, config.has_log()));
    problems
}

/// What keeps workers from serving.
fn of_workers(settings: &Settings, config: &mut Config, scope: Scope, binds: bool) -> Vec<Error> {
    let mut problems = Vec::new();
    if binds {
        problems.extend(settings.listeners.iter().filter_map(|one| bindable(settings, one).err()));
    }
    problems.extend(fits(settings, scope).err());
    problems.extend(application(settings, config, scope));
    problems
}

/// Files and directories that are named.  `has_log`: the host takes what would go to the error log.
fn places(settings: &Settings, has_log: bool) -> Vec<Error> {
    let mut problems = Vec::new();
    // One that is not there is told already.
    if settings.spool_dir.is_dir() {
        problems.extend(can_create_in(&settings.spool_dir).err().map(|error| {
            Error::os(format_args!("spool_dir = {}", settings.spool_dir.display()), &error)
        }));
    }
    let access = ("accesslog", &settings.accesslog, STDOUT);
    let error =
        settings.errorlog.as_ref().filter(|_| !has_log).map(|output| ("errorlog", output, STDERR));
    for (name, output, standard) in std::iter::once(access).chain(error) {
        let checked = output.check(standard);
        problems.extend(
            checked.err().map(|error| Error::os(format_args!("{name} = {output}"), &error)),
        );
    }
    if settings.accesslog != Default::default() {
        problems.extend(Format::parse(&settings.access_log_format).err());
    }
    problems
}

/// Whether it could be listened on.
fn bindable(settings: &Settings, listener: &Listener) -> Result<()> {
    let named = |error: Error| {
        // What the system calls "bind", the option is called, too.
        match error.message().starts_with("bind") {
            true => error,
            false => error.within(format_args!("bind {}", listener.address)),
        }
    };
    let addresses = addresses_of(listener).map_err(named)?;
    if let Some((user, group)) = &listener.owner {
        user::ids(user, group).map_err(named)?;
    }
    let reuse_port = listener.reuse_port || settings.seats() > 0;
    addresses.iter().try_for_each(|it| probe(it, reuse_port)).map_err(named)
}

/// What contradicts the call that the configuration is given to.
fn fits(settings: &Settings, scope: Scope) -> Result<()> {
    let is_inline = settings.worker_model == WorkerModel::Inline;
    let of = |its| matches!(scope, Scope::Start { process, .. } if process == its);
    if scope == Scope::Whole || (of(Process::Server) && is_inline) {
        return Ok(());
    }
    if settings.listeners.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            "there is nothing to listen on: set bind, or add a listener",
        ));
    }
    if is_inline {
        return Err(Error::new(
            Kind::Invalid,
            "worker_model = inline has no arbiter: use a server, or gw_serve",
        ));
    }
    let is_changed = !settings.user.is_empty() || !settings.group.is_empty();
    if of(Process::Host)
        && settings.worker_model == WorkerModel::Threads
        && (is_changed || settings.umask.is_some())
    {
        return Err(Error::new(
            Kind::Unsupported,
            "user, group, umask: workers that are threads are in the host's process, which only \
             gw_serve may change",
        ));
    }
    Ok(())
}

/// What is wrong with the applications, as far as that can be known: a module is tried in a process of
/// its own, and so is middleware for those who only ask.
fn application(settings: &Settings, config: &mut Config, scope: Scope) -> Vec<Error> {
    if settings.worker_model == WorkerModel::Exec && scope != Scope::Whole {
        // Workers have it, each from the program that is started again; it need not be here.
        return Vec::new();
    }
    if !config.has_app() && !config.hooks().may_take() {
        return vec![no_application()];
    }
    if let Some(apps) = config.known_apps() {
        return check_apps(settings, &apps, false);
    }
    let forks = settings.worker_model == WorkerModel::Fork;
    let is_for_workers = forks && !settings.preload && config.has_module();
    if !is_for_workers && scope != Scope::Whole {
        // It is loaded at once, here, and says itself what is wrong.
        return Vec::new();
    }
    let tried = Entry::of(settings).and_then(|entry| {
        module::try_in_child(|| {
            if !forks || is_for_workers {
                entry.enter()?;
            }
            let mut config = std::mem::take(config);
            *config.settings_mut() = settings.clone();
            // What is the host's is dropped by nobody but the process that started all.
            let mut draft = Draft::on_trial(config);
            let log = draft.log.clone();
            match draft.stack.stack(&log) {
                Ok(stack) => {
                    let setup = draft.with(stack);
                    let checked = setup.check();
                    LEFT.lock().push(Box::new(setup));
                    checked
                }
                Err(error) => {
                    LEFT.lock().push(Box::new(draft));
                    Err(error)
                }
            }
        })
    });
    tried.err().into_iter().collect()
}

/// There is nobody to answer a request.
pub(super) fn no_application() -> Error {
    Error::new(
        Kind::Invalid,
        "there is no application: gw_config_app comes first, or a hook that sees to the requests \
         being taken: worker_init, which may start threads, or worker_run",
    )
}
