//! `gateway options`: the table of options.

use clap::{ArgMatches, Command};

use crate::failure::{Failure, Outcome};

pub(crate) fn command() -> Command {
    Command::new("options").about("Print the table of options")
}

pub(crate) fn run(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("options: not there yet"))
}
