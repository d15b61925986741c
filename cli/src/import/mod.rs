//! `gateway import`: the file of another server as TOML.

use clap::{ArgMatches, Command};

use crate::failure::{Failure, Outcome};

pub(crate) fn command() -> Command {
    Command::new("import").about("Print the TOML that another server's configuration maps to")
}

pub(crate) fn run(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("import: not there yet"))
}
