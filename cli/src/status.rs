//! `gateway status`: what a running server says of itself.

use clap::{ArgMatches, Command};

use crate::failure::{Failure, Outcome};

pub(crate) fn command() -> Command {
    Command::new("status").about("Say how a running server is")
}

pub(crate) fn run(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("status: not there yet"))
}
