//! `gateway run`: serve.

use clap::{ArgMatches, Command};

use crate::failure::{Failure, Outcome};

pub(crate) fn command() -> Command {
    Command::new("run").about("Serve")
}

pub(crate) fn run(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("run: not there yet"))
}
