//! What is wrong with the pools of a configuration: each says whose it is.

use super::{Scope, of_workers, plain};
use crate::arbiter::WORKERS_MAX;
use crate::base::error::{Error, Kind};
use crate::conf::listener::{Address, Listener};
use crate::conf::pool::MAIN;
use crate::conf::settings::{Settings, WorkerModel};
use crate::gateway::config::Config;

/// Options that are a process's, where workers are threads of one.
const OF_A_PROCESS: [&str; 3] = ["user", "group", "umask"];

/// Of all pools, and of what they are together.
pub(super) fn problems(
    settings: &Settings,
    config: &mut Config,
    scope: Scope,
    binds: bool,
) -> Vec<Error> {
    let mut problems = together(settings, config);
    // What a pool has from the instance is told once.
    let known: Vec<_> = plain(settings, config).iter().map(|it| it.message().to_owned()).collect();
    for (name, pool) in config.pools_mut() {
        let own = pool.settings().within(settings);
        let mut its = not_its_own(settings, pool);
        its.extend(
            plain(&own, pool).into_iter().filter(|it| !known.iter().any(|k| k == it.message())),
        );
        if own.listeners.is_empty() {
            its.push(invalid("there is nothing to listen on: set bind, or add a listener".into()));
        }
        if settings.worker_model != WorkerModel::Inline && !own.listeners.is_empty() {
            its.extend(of_workers(&own, pool, scope, binds));
        }
        problems.extend(its.into_iter().map(|it| it.within(format_args!("pool {name}"))));
    }
    problems
}

fn invalid(text: String) -> Error {
    Error::new(Kind::Invalid, text)
}

/// What is no pool's to say.
fn not_its_own(instance: &Settings, pool: &Config) -> Vec<Error> {
    let mut found: Vec<_> = pool.settings().not_a_pools().collect();
    if instance.worker_model == WorkerModel::Threads {
        let said = OF_A_PROCESS.into_iter().filter(|name| pool.settings().says(name));
        found.extend(said.map(|name| {
            invalid(format!(
                "{name}: workers that are threads are in one process; set it for the instance"
            ))
        }));
    }
    if pool.has_pools() {
        found.push(invalid("it has pools: a pool has none of its own".into()));
    }
    found.extend(
        pool.hooks()
            .arbiter
            .names()
            .into_iter()
            .map(|name| invalid(format!("{name}: a hook of the arbiter; set it for the instance"))),
    );
    found
}

/// What contradicts itself only when all is looked at.
fn together(settings: &Settings, config: &mut Config) -> Vec<Error> {
    let mut found = Vec::new();
    if settings.worker_model == WorkerModel::Inline {
        found.push(invalid("worker_model = inline has no workers, and so no pools".into()));
    }
    let only_pools = config.has_only_pools();
    if only_pools && let Some(listener) = settings.listeners.first() {
        let at = &listener.address;
        found.push(invalid(format!(
            "bind: {at}: there is no application to serve it: pools listen at addresses of their own, \
             and gw_config_app sets the instance's"
        )));
    }
    let mut taken: Vec<(&str, &Listener)> =
        settings.listeners.iter().map(|listener| (MAIN, listener)).collect();
    let mut workers = if only_pools { 0 } else { settings.worker_count() as usize };
    for (name, pool) in config.pools_mut() {
        let own = pool.settings();
        workers += own.within(settings).worker_count() as usize;
        for listener in &own.listeners {
            let is_same = |(_, other): &&(&str, &Listener)| {
                other.address == listener.address && !(other.reuse_port && listener.reuse_port)
            };
            let any_port = matches!(listener.address, Address::Tcp { port: 0, .. });
            let other = taken.iter().find(is_same).filter(|(other, _)| *other != &**name);
            if let Some((other, _)) = other.filter(|_| !any_port) {
                let at = &listener.address;
                found.push(invalid(format!("pool {name}: bind: {at}: pool {other} listens there")));
            }
            taken.push((name, listener));
        }
    }
    if workers > WORKERS_MAX {
        found.push(invalid(format!(
            "workers = {workers} in all pools: an arbiter has at most {WORKERS_MAX}"
        )));
    }
    found
}
