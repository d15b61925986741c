//! Which running server is meant: by its control socket, by its pid file, or by the file that it serves,
//! which names both.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use crate::failure::Failure;
use crate::link::Link;
use crate::process::Process;
use crate::{file, problem};

/// What the Linux Standard Base returns for the status of what does not run.
pub(crate) const NOT_RUNNING: u8 = 3;

/// A running server, or none, by what its operator knows.
#[derive(Debug)]
pub(crate) struct Instance {
    control: Option<PathBuf>,
    pidfile: Option<PathBuf>,
}

/// How it is reached.
pub(crate) enum Reached {
    Link(Link),
    /// By its pid file alone.
    Process(Process),
}

/// The ways to name one.
pub(crate) fn args(command: Command) -> Command {
    let path = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("PATH").help(help)
    };
    command
        .arg(
            Arg::new("file").value_name("FILE.toml").help("What it serves; it names the two below"),
        )
        .arg(Arg::new("config").short('c').long("config").value_name("FILE.toml").help("The same"))
        .arg(path("control", "Its control socket (option control_socket)"))
        .arg(path("pidfile", "Its pid file (option pidfile)"))
}

impl Instance {
    pub(crate) fn of(matches: &ArgMatches) -> Result<Self, Failure> {
        let path = |id: &str| matches.get_one::<String>(id).map(PathBuf::from);
        let usage = |text: &str| Failure::new(text).with_status(2);
        let mut found = Instance { control: path("control"), pidfile: path("pidfile") };
        let toml = match (path("file"), path("config")) {
            (Some(_), Some(_)) => {
                return Err(usage("one file is enough: -c FILE.toml, or FILE.toml"));
            }
            (one, other) => one.or(other),
        };
        if let Some(toml) = &toml {
            let (control, pidfile) = said(toml)?;
            found.control = found.control.or(control);
            found.pidfile = found.pidfile.or(pidfile);
        }
        match (&found.control, &found.pidfile, toml) {
            (None, None, Some(toml)) => Err(Failure::new(format_args!(
                "{}: neither control_socket nor pidfile is set, by which its server could be found",
                toml.display()
            ))),
            (None, None, None) => {
                Err(usage("which server? name FILE.toml, --control PATH or --pidfile PATH"))
            }
            _ => Ok(found),
        }
    }

    /// Its socket, or else its pid file.
    pub(crate) fn reach(&self) -> Result<Reached, Failure> {
        let refused = match &self.control {
            Some(path) => match Link::connect(path) {
                Ok(link) => return Ok(Reached::Link(link)),
                Err(failure) => Some(failure),
            },
            None => None,
        };
        match (&self.pidfile, refused) {
            // A server without the socket has the pid file, perhaps; and where neither is, nothing runs.
            (Some(path), refused) => {
                Process::of_pidfile(path).map(Reached::Process).map_err(|it| {
                    let lines = refused.map_or(Vec::new(), |it| it.lines);
                    Failure { lines: [lines, it.lines].concat(), ..it }
                })
            }
            (None, Some(refused)) => Err(refused),
            (None, None) => unreachable!("one of them is set"),
        }
    }

    /// Its socket, for what cannot be done without one.
    pub(crate) fn control(&self, what: &str) -> Result<&Path, Failure> {
        self.control.as_deref().ok_or_else(|| {
            Failure::new(format_args!("{what} needs the control socket: set control_socket, and name it by --control or in FILE.toml"))
        })
    }
}

/// The two paths that a file names, as its server takes them.
fn said(toml: &Path) -> Result<(Option<PathBuf>, Option<PathBuf>), Failure> {
    let (plan, problems) = file::read(toml);
    let path = |name: &str| {
        let last = plan.settings.iter().rev().find(|it| it.name == name)?;
        let path = Some(&last.value).filter(|path| !path.is_empty())?;
        let directory = plan.directory.as_ref().map_or(Path::new(""), |(_, path)| path);
        Some(directory.join(path))
    };
    let found = (path("control_socket"), path("pidfile"));
    if found == (None, None) && !problems.is_empty() {
        let name = toml.display().to_string();
        return Err(Failure { lines: problem::lines(problems, &name), exit_status: 1 });
    }
    Ok(found)
}
