//! `gateway check`: all that is wrong with a file.

use std::path::Path;

use clap::{Arg, ArgMatches, Command};

use crate::failure::{Failure, Outcome, print};
use crate::surroundings::Surroundings;
use crate::{file, library, problem};

/// Of an address.
pub(crate) const IN_USE: i32 = nix::errno::Errno::EADDRINUSE as i32;

pub(crate) fn command() -> Command {
    Command::new("check")
        .about("Say all that is wrong with a file, and serve nothing")
        .long_about(
            "Say all that is wrong with a file, and serve nothing. Each problem is a line on standard \
             error: file, line, key, and what to do. Modules are tried in processes of their own, \
             addresses are bound and closed again; that a server is there that has an address or the \
             pid file is no problem, since it may be the one that is to be reloaded. The exit status \
             is 1 if there is a problem.",
        )
        .arg(Arg::new("file").value_name("FILE.toml").required(true).help("What is to be served"))
}

pub(crate) fn run(matches: &ArgMatches) -> Outcome {
    let name: &String = matches.get_one("file").expect("clap asks for it");
    let (plan, mut problems) = file::read(Path::new(name));
    let is_read = problems.is_empty();
    if let Err(problem) = Surroundings::now().enter(&plan) {
        problems.push(problem);
    }
    let mut found = plan.problems_but(is_held);
    if !is_read {
        // What could not be read cannot be missed.
        found.retain(|it| !it.text.starts_with("there is no application"));
    }
    problems.extend(found);
    if problems.is_empty() {
        return print(&format!("{name}: no problem\n"));
    }
    Err(Failure { lines: problem::lines(problems, name), exit_status: 1 })
}

/// What a server has that runs: perhaps with this very file.
fn is_held(problem: &library::Error) -> bool {
    problem.os_errno == IN_USE || problem.message.contains("already running: pid ")
}
