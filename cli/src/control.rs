//! `gateway reload|stop|scale`: tell a running server what to do.

use clap::{ArgMatches, Command};

use crate::failure::{Failure, Outcome};

pub(crate) fn reload() -> Command {
    Command::new("reload").about("Let a running server replace its workers")
}

pub(crate) fn run_reload(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("reload: not there yet"))
}

pub(crate) fn stop() -> Command {
    Command::new("stop").about("Stop a running server")
}

pub(crate) fn run_stop(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("stop: not there yet"))
}

pub(crate) fn scale() -> Command {
    Command::new("scale").about("Set the number of workers of a running server")
}

pub(crate) fn run_scale(_matches: &ArgMatches) -> Outcome {
    Err(Failure::new("scale: not there yet"))
}
