//! What is to be served, in the words of a file and of the command line, and the configuration that
//! comes of it.

use std::path::PathBuf;

use crate::ffi;
use crate::library::{self, Config};
use crate::problem::{Place, Problem, did_you_mean};

/// Exit statuses of an application that could not be loaded: it ended the process, or there was an error.
const LOAD_ERRORS: [i32; 2] = [3, 4];

/// In the words of a file.
const NO_APPLICATION: &str =
    "there is no application: set module = \"./libapp.so\", say, or have a [[mount]]";

/// The protocols of listeners.
pub(crate) const PROTOCOLS: [(&str, u32); 5] = [
    ("http", ffi::GW_PROTO_HTTP),
    ("uwsgi", ffi::GW_PROTO_UWSGI),
    ("fastcgi", ffi::GW_PROTO_FASTCGI),
    ("scgi", ffi::GW_PROTO_SCGI),
    ("auto", ffi::GW_PROTO_AUTO),
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Options, in the order in which they are set: the last one counts.
    pub(crate) settings: Vec<Setting>,
    pub(crate) listens: Vec<Listen>,
    pub(crate) mounts: Vec<Mount>,
    /// Middleware around everything.
    pub(crate) uses: Vec<Use>,
    /// What the environment is to have.
    pub(crate) env: Vec<(String, String)>,
    /// Where the process is to be.
    pub(crate) directory: Option<(Place, PathBuf)>,
    /// Workers of their own.
    pub(crate) pools: Vec<Pool>,
}

/// What a pool has of its own; in it there are no pools, and nothing of the process's.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) plan: Plan,
}

#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Listen {
    pub(crate) place: Place,
    pub(crate) address: String,
    pub(crate) protocol: u32,
    pub(crate) options: Vec<Setting>,
}

#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) place: Place,
    /// "" is everything that nothing else is mounted for.
    pub(crate) at: String,
    pub(crate) app_place: Place,
    pub(crate) app: App,
    pub(crate) args: String,
    pub(crate) uses: Vec<Use>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum App {
    /// A file.
    Module(String),
    /// One of the library's, by its name.
    Builtin(String),
}

/// Middleware of the library.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) args: String,
}

/// What came of trying modules.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    /// There was one.
    any: bool,
    /// Of the first that failed.
    pub(crate) exit_status: Option<i32>,
}

impl library::Error {
    /// Whether it is about a module, and not about what is said of the server.
    pub(crate) fn is_of_module(&self) -> bool {
        LOAD_ERRORS.contains(&self.exit_status)
    }
}

impl Plan {
    /// What this plan says, and `other` where that says it, too.
    pub(crate) fn with(mut self, other: &Plan) -> Plan {
        let binds = |it: &Setting| it.name == "bind";
        if other.settings.iter().any(binds) {
            self.settings.retain(|it| !binds(it));
            self.listens.clear();
        }
        for mount in &other.mounts {
            self.mounts.retain(|it| root(&it.at) != root(&mount.at));
        }
        let Plan { settings, listens, mounts, uses, env, directory, pools } = other.clone();
        self.settings.extend(settings);
        self.listens.extend(listens);
        self.mounts.extend(mounts);
        self.uses.extend(uses);
        self.env.extend(env);
        self.directory = directory.or(self.directory);
        self.pools.extend(pools);
        self
    }

    /// The configuration, without what is wrong.
    pub(crate) fn build(&self, problems: &mut Vec<Problem>) -> Config {
        let mut config = Config::new();
        self.set(&mut config, &[], problems);
        for listen in &self.listens {
            listen.build(&mut config, problems);
        }
        for (n, mount) in self.mounts.iter().enumerate() {
            let before = self.mounts[..n].iter().find(|it| root(&it.at) == root(&mount.at));
            if let Some(Mount { place: Place::Line(line, _), .. }) = before {
                let at = if mount.at.is_empty() { "/" } else { &mount.at };
                let text = format!("{at} has an application already, on line {line}");
                problems.push(Problem::new(&mount.place, text));
                continue;
            }
            mount.build(&mut config, problems);
        }
        for it in &self.uses {
            it.build(&mut config, None, problems);
        }
        for Pool { place, name, plan } in &self.pools {
            if let Err(error) = config.pool(name, plan.build(problems)) {
                problems.push(Problem::new(place, error.message));
            }
        }
        config
    }

    /// What is served by one group of workers each, with the options that hold there.
    fn parts(&self) -> impl Iterator<Item = Plan> {
        let all = |pool: &Pool| {
            let settings = [&*self.settings, &*pool.plan.settings].concat();
            Plan { settings, ..pool.plan.clone() }
        };
        let own = Plan { pools: Vec::new(), ..self.clone() };
        std::iter::once(own).chain(self.pools.iter().map(all).collect::<Vec<_>>())
    }

    /// Sets the options, but for some.
    fn set(&self, config: &mut Config, but: &[&str], problems: &mut Vec<Problem>) {
        for Setting { place, name, value } in &self.settings {
            if but.contains(&name.as_str()) {
                continue;
            }
            if let Err(error) = config.set(name, value) {
                problems.push(Problem::new(place, without(&error.message, name)));
            }
        }
    }

    /// Whether all that is served is in pools: what is not listens nowhere.
    pub(crate) fn has_only_pools(&self) -> bool {
        !self.pools.is_empty() && self.mounts.is_empty()
    }

    /// Whether one module is all that is loaded.
    pub(crate) fn has_one_module(&self) -> bool {
        let is_module = |mount: &Mount| matches!(mount.app, App::Module(_));
        self.pools.is_empty() && self.mounts.len() == 1 && self.mounts.iter().all(is_module)
    }

    /// Whether an application is loaded before workers are forked.
    pub(crate) fn preloads(&self) -> bool {
        let mut settings = self.parts().flat_map(|part| part.settings).collect::<Vec<_>>();
        settings.retain(|it| it.name == "preload");
        settings.iter().any(|it| !["0", "false", "off", "no"].contains(&&*it.value))
    }

    /// Everything that is wrong: what the library finds, too, each with the place that it is about.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.problems_but(|_| false)
    }

    /// The same without some of those that the library finds.
    pub(crate) fn problems_but(&self, is_fine: impl Fn(&library::Error) -> bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        let config = self.build(&mut problems);
        let mounted_all = problems.is_empty();
        let tried = self.load_each(&mut problems);
        self.parts().for_each(|part| part.wrap_each(&mut problems));
        let is_known = |problem: &library::Error| tried.any && problem.is_of_module();
        let is_echo = |problem: &library::Error| {
            !mounted_all && problem.message.starts_with("there is no application")
        };
        for found in config.problems() {
            let located = self.locate(&found);
            let is_said = problems.iter().any(|it| {
                let is_there = it.place == located.place || located.place == Place::Unknown;
                is_there && it.text.ends_with(&located.text)
            });
            if !(is_known(&found) || is_echo(&found) || is_fine(&found) || is_said) {
                problems.push(located);
            }
        }
        problems
    }

    /// Tries the modules one by one, each in a process of its own.
    pub(crate) fn load_each(&self, problems: &mut Vec<Problem>) -> Tried {
        let mut tried = Tried::default();
        self.parts().for_each(|part| part.load_own(problems, &mut tried));
        tried
    }

    fn load_own(&self, problems: &mut Vec<Problem>, tried: &mut Tried) {
        let modules = self.mounts.iter().filter_map(|mount| match &mount.app {
            App::Module(path) => Some((mount, path)),
            App::Builtin(_) => None,
        });
        for (mount, path) in modules {
            tried.any = true;
            // Where nobody can become that user, it is tried all the same.
            let as_said = self.load(path, &mount.args, &["bind"]);
            let found = match as_said.iter().any(library::Error::is_of_module) {
                false if !as_said.is_empty() => {
                    self.load(path, &mount.args, &["bind", "pidfile", "user", "group"])
                }
                _ => as_said,
            };
            for problem in found.into_iter().filter(library::Error::is_of_module) {
                tried.exit_status = tried.exit_status.or(Some(problem.exit_status));
                problems.push(Problem::new(&mount.app_place, mount.advise(problem.message)));
            }
        }
    }

    /// What is wrong with a server of this module alone, with options but for some.
    fn load(&self, path: &str, args: &str, but: &[&str]) -> Vec<library::Error> {
        let mut alone = Config::new();
        self.set(&mut alone, but, &mut Vec::new());
        let ready = alone.set("bind", "127.0.0.1:0").and_then(|()| alone.module("", path, args));
        ready.map_or_else(|error| vec![error], |()| alone.problems())
    }

    /// Tries the middleware piece by piece: the library calls it only when it serves.
    fn wrap_each(&self, problems: &mut Vec<Problem>) {
        for it in self.uses.iter().chain(self.mounts.iter().flat_map(|mount| &mount.uses)) {
            let mut alone = Config::new();
            let ready = alone
                .set("bind", "127.0.0.1:0")
                .and_then(|()| alone.builtin("", "health", ""))
                .and_then(|()| alone.wrap(None, &it.what()));
            let found = ready.map_or_else(|error| vec![error], |()| alone.problems());
            // What it is tried around does not matter.
            let around = "middleware around application \"health\": ";
            problems.extend(found.into_iter().map(|problem| {
                let message = &problem.message;
                Problem::new(&it.place, message.strip_prefix(around).unwrap_or(message))
            }));
        }
    }

    /// A problem with the option of this name, if it was said.
    fn said_of(&self, name: &str, message: &str) -> Option<Problem> {
        let mut said = self.settings.iter().rev().filter(|it| it.name == name);
        let last = said.clone().next();
        let setting = said.find(|it| message.contains(&it.value)).or(last)?;
        // Several addresses, and this one is a listener's.
        let is_other =
            name == "bind" && !message.contains(&setting.value) && !self.listens.is_empty();
        (!is_other).then(|| Problem::new(&setting.place, without(message, name)))
    }

    /// What the library says, with the place that it is about.
    pub(crate) fn locate(&self, problem: &library::Error) -> Problem {
        let message = &problem.message;
        let of_pool = |pool: &Pool| {
            let rest = message.strip_prefix(&format!("pool {}: ", pool.name))?;
            Some(library::Error { message: rest.to_owned(), ..problem.clone() })
        };
        if let Some((pool, problem)) =
            self.pools.iter().find_map(|pool| of_pool(pool).map(|problem| (pool, problem)))
        {
            let found = pool.plan.locate(&problem);
            let is_placed = found.place != Place::Unknown;
            return if is_placed { found } else { Problem::new(&pool.place, found.text) };
        }
        if message.starts_with("there is no application") {
            return Problem::new(&Place::Unknown, NO_APPLICATION);
        }
        let words = || message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        // "threads = 2: ...", "bind 127.0.0.1:80: ..."
        if let Some(said) = words().next().and_then(|word| self.said_of(word, message)) {
            return said;
        }
        let listens = self.listens.iter().filter(|it| message.contains(&it.address));
        if let Some(listen) = listens.max_by_key(|it| it.address.len())
            && message.starts_with("bind")
        {
            return Problem::new(&listen.place, without(message, "bind"));
        }
        let modules = self.mounts.iter().find(|mount| match &mount.app {
            App::Module(path) => message.contains(path.as_str()),
            App::Builtin(_) => false,
        });
        if let Some(mount) = modules {
            return Problem::new(&mount.app_place, mount.advise(message.clone()));
        }
        if let Some(said) = words().find_map(|word| self.said_of(word, message)) {
            return said;
        }
        match &*self.mounts {
            [mount] if problem.is_of_module() => Problem::new(&mount.app_place, message.clone()),
            _ => Problem::new(&Place::Unknown, message.clone()),
        }
    }
}

impl Listen {
    fn build(&self, config: &mut Config, problems: &mut Vec<Problem>) {
        let before = problems.len();
        for Setting { place, name, value } in &self.options {
            // Each by itself, so that all that is wrong is said.
            let option = format!("{name}={value}");
            let tried = if option.contains(char::is_whitespace) {
                problems.push(Problem::new(place, format!("{value:?}: no white space here")));
                continue;
            } else {
                Config::new().listen(&self.address, self.protocol, &option)
            };
            if let Err(error) = tried
                && Config::new().listen(&self.address, self.protocol, "").is_ok()
            {
                problems.push(Problem::new(place, of_listener(name, &error.message)));
            }
        }
        let options: Vec<_> =
            self.options.iter().map(|it| format!("{}={}", it.name, it.value)).collect();
        let options = if problems.len() == before { options.join(" ") } else { String::new() };
        if let Err(error) = config.listen(&self.address, self.protocol, &options) {
            problems.push(Problem::new(&self.place, error.message));
        }
    }
}

impl Mount {
    /// Of everything.
    pub(crate) fn root(place: Place, app: App, args: String) -> Self {
        Mount { app_place: place.clone(), place, at: String::new(), app, args, uses: Vec::new() }
    }

    fn build(&self, config: &mut Config, problems: &mut Vec<Problem>) {
        let Mount { place, at, app_place, app, args, uses } = self;
        let mounted = match app {
            App::Module(path) => config.module(at, path, args),
            App::Builtin(name) => config.builtin(at, name, args),
        };
        match mounted {
            Ok(()) => uses.iter().for_each(|it| it.build(config, Some(at), problems)),
            Err(error) => {
                let is_place = Config::new().module(at, "./x.so", "").is_err();
                let place = if is_place { place } else { app_place };
                problems.push(Problem::new(place, error.message));
            }
        }
    }

    /// A name without a slash is looked for where the system has its libraries.
    fn advise(&self, message: String) -> String {
        match &self.app {
            App::Module(path) if !path.contains('/') => {
                format!("{message}; write ./{path} for a file that is here")
            }
            _ => message,
        }
    }
}

impl Use {
    /// "name key=value ..."
    fn what(&self) -> String {
        format!("{} {}", self.name, self.args).trim_end().to_owned()
    }

    fn build(&self, config: &mut Config, at: Option<&str>, problems: &mut Vec<Problem>) {
        if let Err(error) = config.wrap(at, &self.what()) {
            problems.push(Problem::new(&self.place, error.message));
        }
    }
}

/// A place without a slash at its end: "/" is "", and "/shop/" is "/shop".
fn root(at: &str) -> &str {
    at.trim_end_matches('/')
}

/// What is wrong with an option of a listener: the list of all of them is the library's, and may be cut.
fn of_listener(name: &str, message: &str) -> String {
    let message = message.strip_prefix("listener->options: ").unwrap_or(message);
    match message.split_once("known are ") {
        Some((_, known)) => {
            let near = did_you_mean(name, known.split(", "));
            format!("there is no such key{near}")
        }
        None => without(message, name),
    }
}

/// The message without the name of its option, which the place says.
fn without(message: &str, name: &str) -> String {
    let rest = message.strip_prefix(name).unwrap_or(message);
    let rest = rest.strip_prefix(" = ").or_else(|| rest.strip_prefix(": ")).unwrap_or(rest);
    rest.trim_start().to_owned()
}
