//! `gateway check`: all that is wrong with a file.

use clap::{ArgMatches, Command};

use crate::failure::{Failure, Outcome};

pub(crate) fn command() -> Command {
    Command::new("check").about("Say all that is wrong with a file")
}

pub(crate) fn run(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("check: not there yet"))
}
