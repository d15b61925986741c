//! How a subcommand fails: what it says, and what the program returns.

use std::process::ExitCode;

use crate::library;

/// What a subcommand comes to.
pub(crate) type Outcome = Result<(), Failure>;

/// Lines for standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) lines: Vec<String>,
    /// 1 configuration, 2 usage, 3 a worker did not boot, 4 the application could not be loaded.
    pub(crate) exit_status: u8,
}

impl Failure {
    /// With exit status 1.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Failure { lines: vec![line.into()], exit_status: 1 }
    }

    /// Says it, and returns the exit status.
    pub(crate) fn report(self) -> ExitCode {
        for line in &self.lines {
            eprintln!("gateway: {line}");
        }
        ExitCode::from(self.exit_status)
    }
}

impl From<library::Error> for Failure {
    fn from(error: library::Error) -> Self {
        let exit_status = u8::try_from(error.exit_status).unwrap_or(1);
        Failure { lines: vec![error.message], exit_status }
    }
}
