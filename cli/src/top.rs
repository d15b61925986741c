//! `gateway top`: workers and requests of a running server, redrawn in place.

use clap::{ArgMatches, Command};

use crate::failure::{Failure, Outcome};

pub(crate) fn command() -> Command {
    Command::new("top").about("Watch the workers and requests of a running server")
}

pub(crate) fn run(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("top: not there yet"))
}
