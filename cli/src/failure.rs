//! How a subcommand fails: what it says, and what the program returns.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::library;

/// What a subcommand comes to.
pub(crate) type Outcome = Result<(), Failure>;

/// Lines for standard error, as they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) lines: Vec<String>,
    /// 1 configuration, 2 usage, 3 a worker did not boot, 4 the application could not be loaded.
    pub(crate) exit_status: u8,
}

impl Failure {
    /// Of the command, with exit status 1.
    pub(crate) fn new(line: impl Display) -> Self {
        Failure { lines: vec![format!("gateway: {line}")], exit_status: 1 }
    }

    /// The same with an exit status.
    pub(crate) fn with_status(self, exit_status: u8) -> Self {
        Failure { exit_status, ..self }
    }

    /// Says it, and returns the exit status.
    pub(crate) fn report(self) -> ExitCode {
        for line in &self.lines {
            say(line);
        }
        ExitCode::from(self.exit_status)
    }
}

/// A line on standard error, which may be closed.  What others wrote is quoted in it, and no control
/// character of theirs reaches a terminal.
pub(crate) fn say(line: &str) {
    let plain = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    let _ = writeln!(std::io::stderr(), "{}", line.chars().map(plain).collect::<String>());
}

/// Text on standard output.  Nobody reads it to its end: that is fine.
pub(crate) fn print(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format_args!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

impl From<library::Error> for Failure {
    fn from(error: library::Error) -> Self {
        let exit_status = u8::try_from(error.exit_status).unwrap_or(1);
        Failure::new(error.message).with_status(exit_status)
    }
}
