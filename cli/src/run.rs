//! `gateway run`: serve what a file says, or a module, in the foreground, until told to stop.
//!
//! Options of the command line are those of the library's table; they win over the file, which is
//! read again on HUP.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::check::IN_USE;
use crate::failure::{Failure, Outcome, say};
use crate::library::{self, Arbiter, Config, Opt};
use crate::plan::{App, Mount, Plan, Setting};
use crate::problem::{Place, Problem};
use crate::surroundings::Surroundings;
use crate::{file, problem, python};

/// Gunicorn's short flags, of options that mean the same.
const SHORT: [(char, &str); 4] =
    [('b', "bind"), ('w', "workers"), ('k', "worker_model"), ('t', "heartbeat_timeout")];

pub(crate) fn command() -> Command {
    let options = library::options().into_iter().map(flag);
    Command::new("run")
        .override_usage("gateway [run] FILE.toml|MODULE.so|MODULE:APPLICATION [ARGS]... [OPTIONS]")
        .about("Serve a module, or what a file says, in the foreground")
        .long_about(
            "Serve a module, or what a file says, in the foreground. The log goes to standard error, \
             and no file is written that was not asked for.\n\n\
             Signals: TERM stops gracefully; INT and QUIT stop quickly; HUP reads the file again and \
             replaces the workers, without losing a request; TTIN and TTOU are one worker more or \
             less; USR1 opens the logs again; USR2 starts the program again, for an upgrade.\n\n\
             Exit status: 0 told to stop; 1 configuration; 2 usage; 3 a worker did not boot; 4 an \
             application could not be loaded.",
        )
        .arg(
            Arg::new("what")
                .value_name("FILE.toml|MODULE.so")
                .help(
                    "A file, by its ending .toml, or a module with an application; package.module:application \
                     is one of Python, for gateway-python.so",
                ),
        )
        .arg(
            Arg::new("args")
                .value_name("ARGS")
                .num_args(0..)
                .help("What the module is told: words, or key=value"),
        )
        .arg(
            Arg::new("config")
                .short('c')
                .long("config")
                .value_name("FILE.toml")
                .help("A file, beside a module that takes the place of the file's own"),
        )
        .next_help_heading("Options")
        .args(options)
}

/// A flag for an option: `--max-body 1m`.
fn flag(option: Opt) -> Arg {
    let long = option.name.replace('_', "-");
    let short = SHORT.iter().find(|(_, name)| *name == option.name).map(|(short, _)| *short);
    let preset = match option.preset {
        "" => String::new(),
        preset => format!(" [preset: {preset}]"),
    };
    let help = format!("{}{preset}", option.help);
    let mut arg = Arg::new(option.name)
        .long(long)
        .value_name(option.kind.to_uppercase())
        .help(help.clone())
        .long_help(help)
        .value_parser(ValueParser::string())
        .action(ArgAction::Append)
        .hide_short_help(short.is_none() && !["threads", "accesslog"].contains(&option.name));
    if option.name.contains('_') {
        arg = arg.alias(option.name);
    }
    if let Some(short) = short {
        arg = arg.short(short);
    }
    if option.kind == "bool" {
        // `--preload`, `--preload=0`: what follows is not its value.
        arg = arg.num_args(0..=1).require_equals(true).default_missing_value("1");
    }
    arg
}

pub(crate) fn run(matches: &ArgMatches) -> Outcome {
    let mut surroundings = Surroundings::now();
    let source = Source::of(matches)?;
    let plan = source.read(&mut surroundings, false)?;
    let mut problems = Vec::new();
    let config = plan.build(&mut problems);
    if !problems.is_empty() {
        return Err(source.failure(&plan, None));
    }
    if !library::is_worker() && loads_here(&config, &plan) {
        let mut problems = Vec::new();
        if let Some(status) = plan.load_each(&mut problems).exit_status {
            let lines = problem::lines(problems, &source.name());
            return Err(Failure { lines, exit_status: u8::try_from(status).unwrap_or(1) });
        }
    }
    let is_reread = source.file.is_some() && rereads(&config);
    let served = if is_reread && !library::is_worker() {
        supervise(&source, plan.clone(), config, &mut surroundings)
    } else {
        config.serve()
    };
    served.map_err(|error| source.failure(&plan, Some(error)))
}

/// Whether a module that crashes when it is loaded would take the program with it: where workers are
/// forked first, the library tries it by itself.
fn loads_here(config: &Config, plan: &Plan) -> bool {
    config.get("worker_model").as_deref() != Some("fork") || plan.preloads()
}

/// Whether the program watches the workers itself, so that it can read its file again.  `inline` has
/// none, those of `exec` read it themselves, and only the library's own call changes the user of a
/// process with threads.
fn rereads(config: &Config) -> bool {
    let is = |name: &str, value: &str| config.get(name).as_deref() == Some(value);
    let keeps_user = is("user", "") && is("group", "") && is("umask", "auto");
    is("worker_model", "fork") || (is("worker_model", "threads") && keeps_user)
}

/// Where the plan comes from.
struct Source {
    file: Option<PathBuf>,
    /// What the command line says.
    over: Plan,
}

impl Source {
    fn of(matches: &ArgMatches) -> Result<Self, Failure> {
        let one = |id: &str| matches.get_one::<String>(id).cloned();
        let (what, config) = (one("what"), one("config"));
        let args: Vec<String> =
            matches.get_many("args").map_or_else(Vec::new, |args| args.cloned().collect());
        let is_file = what.as_ref().is_some_and(|what| what.ends_with(".toml"));
        let (file, module) = if is_file { (what, None) } else { (config.clone(), what) };
        let (module, args) = match module {
            Some(word) if python::is_application(&word) => {
                let (module, args) = python::module(&word, &args)?;
                (Some(module), args)
            }
            module => (module, args),
        };
        let usage = |text: &str| Failure::new(text).with_status(2);
        if is_file && config.is_some() {
            return Err(usage("one file is enough: -c FILE.toml, or FILE.toml"));
        }
        if is_file && !args.is_empty() {
            return Err(usage("words after FILE.toml are for no module; see gateway run --help"));
        }
        if file.is_none() && module.is_none() {
            return Err(usage("what is to be served? name FILE.toml or MODULE.so"));
        }
        let mut over = Plan::default();
        for Opt { name, .. } in library::options() {
            for value in matches.get_many::<String>(name).into_iter().flatten() {
                let place = Place::Flag(format!("--{}", name.replace('_', "-")));
                let (name, value) = (name.to_owned(), value.clone());
                over.settings.push(Setting { place, name, value });
            }
        }
        if let Some(path) = module {
            let place = Place::Flag(path.clone());
            over.mounts.push(Mount::root(place, App::Module(absolute(path)), args.join(" ")));
        }
        // Wherever the process goes later.
        let file = file.map(|file| std::path::absolute(&file).unwrap_or_else(|_| file.into()));
        Ok(Source { file, over })
    }

    /// What files are called in messages.
    fn name(&self) -> String {
        let file = self.file.as_deref().unwrap_or(Path::new(""));
        let here = std::env::current_dir().ok();
        let short = here.and_then(|here| file.strip_prefix(here).ok());
        short.unwrap_or(file).display().to_string()
    }

    /// The plan, in whose surroundings the process is then.
    ///
    /// `is_bound`: this process listens where it did, and there is nothing to say of that.
    fn read(&self, surroundings: &mut Surroundings, is_bound: bool) -> Result<Plan, Failure> {
        let (plan, mut problems) = match &self.file {
            Some(file) => file::read(file),
            None => Default::default(),
        };
        let (name, plan) = (self.name(), plan.with(&self.over));
        if problems.is_empty() {
            surroundings
                .enter(&plan)
                .map_err(|it| Failure { lines: vec![it.line(&name)], exit_status: 1 })?;
            return Ok(plan);
        }
        // All the rest that is wrong, too.
        problems.extend(surroundings.enter(&plan).err());
        let is_echo = |it: &Problem| it.text.starts_with("there is no application");
        let found = plan.problems_but(|it| is_bound && it.os_errno == IN_USE);
        problems.extend(found.into_iter().filter(|it| !is_echo(it)));
        Err(Failure { lines: problem::lines(problems, &name), exit_status: 1 })
    }

    /// All that is wrong with a plan that could not be served, for the reason that the library gave.
    fn failure(&self, plan: &Plan, error: Option<library::Error>) -> Failure {
        // A module that is all there is to try has said what is wrong, and may have said much.
        let is_all = plan.has_one_module() && error.as_ref().is_some_and(|it| it.is_of_module());
        let mut problems = if is_all { Vec::new() } else { plan.problems() };
        let exit_status = error.as_ref().map_or(1, |error| error.exit_status);
        if let Some(error) = error
            && (problems.is_empty() || exit_status == 3)
        {
            problems = vec![plan.locate(&error)];
        }
        let exit_status = u8::try_from(exit_status).unwrap_or(1);
        Failure { lines: problem::lines(problems, &self.name()), exit_status }
    }
}

/// A path with a slash, from where the process is now.
fn absolute(path: String) -> String {
    match path.contains('/') {
        true => std::path::absolute(&path).map_or(path, |path| path.display().to_string()),
        false => path,
    }
}

/// Serves as `gw_serve` does, and reads the file again on HUP.
fn supervise(
    source: &Source,
    mut plan: Plan,
    config: Config,
    surroundings: &mut Surroundings,
) -> library::Result<()> {
    let mut config = as_server(config, &plan)?;
    let catches = config.get("signals").as_deref() == Some("1");
    let hung_up = match catches {
        true => Some(library::catch_hang_up(&mut config)?),
        false => None,
    };
    let has_threads = config.get("worker_model").as_deref() == Some("threads");
    let mut arbiter = Arbiter::new(config)?;
    if has_threads {
        surroundings.fix();
    }
    arbiter.start()?;
    while let Some(wait_ms) = arbiter.turn()? {
        let mut fds = vec![PollFd::new(arbiter.fd(), PollFlags::POLLIN)];
        if let Some(fd) = &hung_up {
            fds.push(PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        }
        let wait = i32::try_from(wait_ms.max(-1)).unwrap_or(i32::MAX);
        match poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(library::Error::of_system("poll", error)),
        }
        let is_hung_up = hung_up.as_ref().is_some_and(|fd| {
            let mut octets = [0; 64];
            nix::unistd::read(fd, &mut octets).is_ok_and(|n| n > 0)
        });
        if is_hung_up {
            reload(source, &mut plan, &arbiter, surroundings);
        }
    }
    arbiter.outcome()
}

/// What is taken for granted in a process that is there to serve.
fn as_server(mut config: Config, plan: &Plan) -> library::Result<Config> {
    for (name, value) in [("signals", "1"), ("systemd", "1"), ("errorlog", "-")] {
        if config.get(name).as_deref() == Some("auto") {
            config.set(name, value)?;
        }
    }
    // What systemd has passed to this process (sd_listen_fds(3)).
    let own = std::process::id().to_string();
    let is_passed = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == own)
        && config.get("systemd").as_deref() == Some("1");
    let listens = config.get("bind").is_some_and(|bind| !bind.is_empty());
    if !listens && !is_passed && !plan.has_only_pools() {
        config.set("bind", "127.0.0.1:8000")?;
    }
    Ok(config)
}

/// Reads the file again.  If there is something wrong with it the old workers serve on.
fn reload(source: &Source, plan: &mut Plan, arbiter: &Arbiter, surroundings: &mut Surroundings) {
    let failure = match source.read(surroundings, true) {
        Ok(new) => match change(&new, arbiter) {
            Ok(()) => {
                *plan = new;
                return;
            }
            Err(problems) => {
                Failure { lines: problem::lines(problems, &source.name()), exit_status: 1 }
            }
        },
        Err(failure) => failure,
    };
    for line in &failure.lines {
        say(line);
    }
    say("gateway: not reloaded: the workers serve on as before");
    let _ = surroundings.enter(plan);
}

fn change(new: &Plan, arbiter: &Arbiter) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    let config = new.build(&mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let locate = |error: library::Error| vec![new.locate(&error)];
    let config = as_server(config, new).map_err(locate)?;
    if loads_here(&config, new) {
        let mut problems = Vec::new();
        new.load_each(&mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
    }
    let Err(error) = arbiter.reload(config) else { return Ok(()) };
    let mut problems = new.problems_but(|it| it.os_errno == IN_USE);
    if problems.is_empty() {
        problems = locate(error);
    }
    Err(problems)
}
