//! `gateway completions`, `gateway man`: what belongs to the command, generated.

use clap::{ArgMatches, Command};

use crate::failure::{Failure, Outcome};

pub(crate) fn command() -> Command {
    Command::new("completions").about("Print completions for a shell")
}

pub(crate) fn run(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("completions: not there yet"))
}

pub(crate) fn man() -> Command {
    Command::new("man").about("Print the manual page")
}

pub(crate) fn run_man(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("man: not there yet"))
}
