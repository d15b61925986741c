//! The one error type: what went wrong, in which action, and what the caller can do.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// The result of everything in the library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The classes of errors.  The C constants `GW_ERR_*` are these, in this order, from -1 downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Kind {
    /// NULL, out of range, wrong size.
    Invalid = -1,
    /// The right call at the wrong moment.
    State = -2,
    /// No memory.
    Memory = -3,
    /// The operating system refused; see `os_errno`.
    Io = -4,
    /// A bug of the library; the object is dead.
    Panic = -5,
    /// Not on this platform, or not in this mode.
    Unsupported = -6,
    /// No such option, symbol, protocol.
    Unknown = -7,
    /// No such variable.
    NotFound = -8,
    /// A configured limit was reached.
    Limit = -9,
    /// A malformed request or response head.
    Protocol = -10,
    /// The peer is gone.
    Closed = -11,
    /// It took too long.
    Timeout = -12,
    /// It would block a thread that must not block.
    Busy = -13,
    /// A module or a caller is too new.
    Abi = -14,
    /// The application's own failure: a 500.
    App = -15,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Kind; 15] = [
        Kind::Invalid,
        Kind::State,
        Kind::Memory,
        Kind::Io,
        Kind::Panic,
        Kind::Unsupported,
        Kind::Unknown,
        Kind::NotFound,
        Kind::Limit,
        Kind::Protocol,
        Kind::Closed,
        Kind::Timeout,
        Kind::Busy,
        Kind::Abi,
        Kind::App,
    ];

    /// The class with this number, if there is one.
    pub fn from_code(code: i32) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as i32 == code)
    }

    /// A few words for people.
    pub fn text(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid argument",
            Kind::State => "not possible at this moment",
            Kind::Memory => "out of memory",
            Kind::Io => "input/output error",
            Kind::Panic => "internal error of the library",
            Kind::Unsupported => "not supported here",
            Kind::Unknown => "unknown name",
            Kind::NotFound => "not found",
            Kind::Limit => "limit reached",
            Kind::Protocol => "protocol violation",
            Kind::Closed => "the peer is gone",
            Kind::Timeout => "timed out",
            Kind::Busy => "would block a thread that must not",
            Kind::Abi => "incompatible version",
            Kind::App => "application failed",
        }
    }
}

/// An error: its class, a sentence that names the action that failed, and the system's number.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    os_errno: i32,
    exit_status: i32,
    message: Cow<'static, str>,
}

impl Error {
    /// An error with its sentence ("bind 127.0.0.1:80: permission denied").
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Error { kind, os_errno: 0, exit_status: 1, message: message.into() }
    }

    /// An operating system error in `action`: "`action`: `what the system says`".
    pub fn os(action: impl fmt::Display, source: &io::Error) -> Self {
        let mut error = Error::new(Kind::Io, format!("{action}: {source}"));
        error.os_errno = source.raw_os_error().unwrap_or(0);
        error
    }

    /// The same error, in what was to be done: "`action`: ...".
    pub fn within(mut self, action: impl fmt::Display) -> Self {
        self.message = format!("{action}: {}", self.message).into();
        self
    }

    /// Nothing, or all problems as one error.
    pub fn all(problems: Vec<Error>) -> Result<()> {
        match problems.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            several => {
                let texts: Vec<_> = several.iter().map(Error::message).collect();
                Err(Error::new(Kind::Invalid, texts.join("; ")))
            }
        }
    }

    /// The same error with what `main` should return for it (1 unless said otherwise).
    pub fn with_exit_status(mut self, status: i32) -> Self {
        self.exit_status = status;
        self
    }

    /// The same error with the number that the system gave.
    pub fn with_os_errno(mut self, errno: i32) -> Self {
        self.os_errno = errno;
        self
    }

    /// Its class.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The system's error number; 0 when none was involved.
    pub fn os_errno(&self) -> i32 {
        self.os_errno
    }

    /// What `main` should return: 1 configuration, 3 a worker did not boot, 4 the application could
    /// not be loaded.
    pub fn exit_status(&self) -> i32 {
        self.exit_status
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Error::new(kind, kind.text())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
