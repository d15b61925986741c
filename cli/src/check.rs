//! `gateway check`: all that is wrong with a file.

use std::path::Path;

use clap::{Arg, ArgMatches, Command};

use crate::failure::{Failure, Outcome, print};
use crate::surroundings::Surroundings;
use crate::{file, problem};

pub(crate) fn command() -> Command {
    Command::new("check")
        .about("Say all that is wrong with a file, and serve nothing")
        .long_about(
            "Say all that is wrong with a file, and serve nothing. Each problem is a line on standard \
             error: file, line, key, and what to do. Modules are tried in processes of their own, \
             addresses are bound and closed again. The exit status is 1 if there is a problem.",
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
    let mut found = plan.problems();
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
