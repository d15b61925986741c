//! Log lines: a record, a level filter, and where lines go.
//!
//! Nothing here is global: a [`Logger`] is a value that is handed to whoever has something to say.
//! One record is one line and one write(2), so that the lines of several processes never mix (in a
//! file opened for appending; in a pipe up to its atomic size, 4096 octets on Linux).

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::time::{Clock, LocalTime};

/// How grave a record is.  The C constants `GW_LOG_*` are these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something failed and somebody must know.
    Error = 1,
    /// Something is wrong, and the work goes on.
    Warn = 2,
    /// What an operator wants to read every day.
    Info = 3,
    /// What explains a problem.
    Debug = 4,
}

impl Level {
    /// All of them, in the order of their numbers.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// The level with this number, if there is one.
    pub fn from_code(code: i32) -> Option<Level> {
        Level::ALL.into_iter().find(|level| *level as i32 == code)
    }

    /// The name in a log line (gunicorn's).
    pub fn text(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => "WARNING",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
        }
    }
}

/// What a callback is told.  Borrowed: valid during the call.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// How grave it is.
    pub level: Level,
    /// When.
    pub time: LocalTime,
    /// The part of the library that speaks: "arbiter", "http", "app".
    pub target: &'a str,
    /// The request that it is about; empty when there is none.
    pub request_id: &'a str,
    /// One line: no newline, no control character (they are written `\n`, `\x1b`).
    pub message: &'a str,
}

/// The host's function for records.  Runs on the thread that logs, with no lock held; it may log.
pub type Callback = Box<dyn Fn(&Record<'_>) + Send + Sync>;

/// Where records go.
pub enum Sink {
    /// Nowhere.
    Nothing,
    /// A descriptor, as lines of text.
    File(LineFile),
    /// A function of the host.
    Callback(Callback),
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sink::Nothing => f.write_str("Nothing"),
            Sink::File(file) => f.debug_tuple("File").field(file).finish(),
            Sink::Callback(_) => f.write_str("Callback(..)"),
        }
    }
}

/// A descriptor that takes whole lines.
#[derive(Debug)]
pub struct LineFile {
    file: File,
    lost: AtomicU64,
}

impl LineFile {
    /// Lines go to `file`, which should be open for appending.
    pub fn new(file: File) -> Self {
        LineFile { file, lost: AtomicU64::new(0) }
    }

    /// Write `line`, which ends in its newline, with one write(2) unless the system takes less.
    /// A log must not stop a server: what cannot be written (disk full, nobody reads the pipe) is
    /// counted and dropped.
    pub fn write_line(&self, line: &[u8]) {
        // `write_all` writes the rest after a short write, and again after a signal.
        if (&self.file).write_all(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines could not be written, or not whole.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The descriptor.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl From<File> for LineFile {
    fn from(file: File) -> Self {
        LineFile::new(file)
    }
}

/// Takes records.  Cheap to clone; clones write to the same place.
#[derive(Clone, Debug, Default)]
pub struct Logger {
    /// `None`: off.
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    level: Level,
    clock: Clock,
    sink: Sink,
}

impl Logger {
    /// A logger for records up to `level`.
    pub fn new(level: Level, clock: Clock, sink: Sink) -> Self {
        match sink {
            Sink::Nothing => Logger::off(),
            sink => Logger { inner: Some(Arc::new(Inner { level, clock, sink })) },
        }
    }

    /// A logger that drops everything.
    pub const fn off() -> Self {
        Logger { inner: None }
    }

    /// Whether a record of this level goes anywhere.
    #[inline]
    pub fn enabled(&self, level: Level) -> bool {
        self.inner.as_ref().is_some_and(|inner| level <= inner.level)
    }

    /// The file that lines go to, if it is one.
    pub fn file(&self) -> Option<&File> {
        match self.inner.as_deref() {
            Some(Inner { sink: Sink::File(file), .. }) => Some(file.file()),
            _ => None,
        }
    }

    /// How many lines could not be written.
    pub fn lost(&self) -> u64 {
        match self.inner.as_deref() {
            Some(Inner { sink: Sink::File(file), .. }) => file.lost(),
            _ => 0,
        }
    }

    /// Log what `message` formats to.  `request_id` may be empty.  The macro `log!` does
    /// not even evaluate what a filtered record would say.
    pub fn write(&self, level: Level, target: &str, request_id: &str, message: fmt::Arguments<'_>) {
        self.record(level, target, request_id, |line| {
            // Nothing of ours fails to format; an argument's own failure leaves its text short.
            let _ = line.write_fmt(message);
        });
    }

    /// Log octets that may not be UTF-8, as an application hands them in.  A newline at their end
    /// is not part of the message.
    pub fn write_octets(&self, level: Level, target: &str, request_id: &str, message: &[u8]) {
        self.record(level, target, request_id, |line| {
            let mut message = message;
            while let [rest @ .., b'\n' | b'\r'] = message {
                message = rest;
            }
            line.push_octets(message);
        });
    }

    fn record(
        &self,
        level: Level,
        target: &str,
        request_id: &str,
        message: impl FnOnce(&mut OneLine<'_>),
    ) {
        let Some(inner) = self.inner.as_deref() else { return };
        if level > inner.level {
            return;
        }
        let time = (inner.clock)();
        // Taken, not borrowed: a callback, or a value's own formatting, may log as well.
        let mut text = LINE.try_with(Cell::take).unwrap_or_default();
        text.clear();
        if let Sink::File(_) = inner.sink {
            text.push('[');
            text.extend(time.iso().map(char::from));
            // Asked for each line: after a fork it is another one.
            let _ = write!(text, "] [{}] [{}] ", std::process::id(), level.text());
        }
        if !request_id.is_empty() {
            text.push('[');
            OneLine::new(&mut text, ID_MAX).push_octets(request_id.as_bytes());
            text.push_str("] ");
        }
        let start = text.len();
        message(&mut OneLine::new(&mut text, MESSAGE_MAX));
        match &inner.sink {
            Sink::Nothing => {}
            Sink::File(file) => {
                text.push('\n');
                file.write_line(text.as_bytes());
            }
            Sink::Callback(callback) => callback(&Record {
                level,
                time,
                target,
                // "[id] message", or the message alone.
                request_id: text.get(1..start.saturating_sub(2)).unwrap_or(""),
                message: &text[start..],
            }),
        }
        text.shrink_to(KEEP);
        let _ = LINE.try_with(|line| line.set(text));
    }
}

/// Octets of a message that are written; a longer one is cut and says so.
const MESSAGE_MAX: usize = 64 * 1024;
/// Octets of a request id that are written.
const ID_MAX: usize = 128;
/// Octets of line buffer that a thread keeps: enough for nearly all lines.
const KEEP: usize = 4096;
/// What stands at the end of what was cut.
const CUT: &str = " [cut]";

thread_local! {
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

/// Appends text to a line so that it stays one line: control characters are escaped, as are octets
/// that are not UTF-8.
struct OneLine<'a> {
    text: &'a mut String,
    room: usize,
    is_cut: bool,
}

impl<'a> OneLine<'a> {
    fn new(text: &'a mut String, room: usize) -> Self {
        OneLine { text, room, is_cut: false }
    }

    fn push_octets(&mut self, octets: &[u8]) {
        for chunk in octets.utf8_chunks() {
            // An error is the end of the room: nothing more to do.
            if self.write_str(chunk.valid()).is_err() {
                return;
            }
            for octet in chunk.invalid() {
                if self.push(format_args!("\\x{octet:02x}"), 4).is_err() {
                    return;
                }
            }
        }
    }

    fn push(&mut self, piece: fmt::Arguments<'_>, len: usize) -> fmt::Result {
        if len > self.room {
            return self.cut();
        }
        self.room -= len;
        self.text.write_fmt(piece)
    }

    fn cut(&mut self) -> fmt::Result {
        if !self.is_cut {
            (self.is_cut, self.room) = (true, 0);
            self.text.push_str(CUT);
        }
        Err(fmt::Error)
    }
}

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let mut rest = piece;
        while !rest.is_empty() {
            let plain = rest.find(char::is_control).unwrap_or(rest.len());
            if plain > self.room {
                let fits = (0..=self.room).rev().find(|&n| rest.is_char_boundary(n)).unwrap_or(0);
                self.text.push_str(&rest[..fits]);
                return self.cut();
            }
            self.text.push_str(&rest[..plain]);
            self.room -= plain;
            let mut chars = rest[plain..].chars();
            match chars.next() {
                None => {}
                Some('\n') => self.push(format_args!("\\n"), 2)?,
                Some('\r') => self.push(format_args!("\\r"), 2)?,
                Some('\t') => self.push(format_args!("\\t"), 2)?,
                // C0, DEL and C1: char::is_control knows no others.
                Some(control) => self.push(format_args!("\\x{:02x}", u32::from(control)), 4)?,
            }
            rest = chars.as_str();
        }
        Ok(())
    }
}

/// `log!(logger, Info, "http", "text {}", x)`, or with a request's id
/// `log!(logger, Info, "http", [id], "text {}", x)`.  Arguments are evaluated only when the level
/// is enabled.
#[allow(unused_macros, reason = "the layers above use it")]
macro_rules! log {
    ($logger:expr, $level:ident, $target:expr, [$id:expr], $($message:tt)+) => {
        match &$logger {
            logger => {
                let level = $crate::base::log::Level::$level;
                if logger.enabled(level) {
                    logger.write(level, $target, $id, format_args!($($message)+));
                }
            }
        }
    };
    ($logger:expr, $level:ident, $target:expr, $($message:tt)+) => {
        $crate::base::log::log!($logger, $level, $target, [""], $($message)+)
    };
}
#[allow(unused_imports, reason = "the layers above use it")]
pub(crate) use log;

#[cfg(test)]
mod tests;
