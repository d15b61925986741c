//! A connection to a control socket: a line there, a line of JSON back.

use std::fmt::Display;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use serde_json::Value;

use crate::failure::Failure;
use crate::instance::NOT_RUNNING;

/// Octets of an answer that are believed.
const ANSWER_MAX: u64 = 64 << 20;

/// How long a server may take for what it does at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Link {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// What was answered: as it came, and what it says.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) value: Value,
}

impl Link {
    pub(crate) fn connect(path: &Path) -> Result<Link, Failure> {
        let stream = UnixStream::connect(path).map_err(|error| {
            let text = format!("{}: {error}", path.display());
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    Failure::new(format_args!("not running: {text}")).with_status(NOT_RUNNING)
                }
                _ => Failure::new(text),
            }
        })?;
        Ok(Link { stream: BufReader::new(stream), path: path.to_owned() })
    }

    fn failure(&self, what: impl Display) -> Failure {
        Failure::new(format_args!("{}: {what}", self.path.display()))
    }

    /// The process that listens there, as this one sees it.
    pub(crate) fn pid(&self) -> Option<i32> {
        let who = getsockopt(self.stream.get_ref(), sockopt::PeerCredentials).ok()?;
        (who.pid() > 0).then(|| who.pid())
    }

    /// An answer that is well; within `timeout`.
    pub(crate) fn ask(&mut self, command: &str, timeout: Duration) -> Result<Answer, Failure> {
        let exchanged = self.exchange(command, timeout);
        let text = exchanged.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let s = timeout.as_secs_f32();
                self.failure(format_args!("{command}: no answer within {s} s"))
            }
            _ => self.failure(format_args!("{command}: {error}")),
        })?;
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            self.failure(format_args!("{command}: this is not its protocol: {error}"))
        })?;
        if value["ok"] != true {
            let why = value["error"].as_str().unwrap_or("it was refused, without a reason");
            return Err(self.failure(plain(why)));
        }
        Ok(Answer { text, value })
    }

    fn exchange(&mut self, command: &str, timeout: Duration) -> io::Result<String> {
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        // One that is refused is told why, whether it has heard this or not.
        let sent = stream.write_all(format!("{command}\n").as_bytes());
        let mut octets = Vec::new();
        self.stream.by_ref().take(ANSWER_MAX).read_until(b'\n', &mut octets)?;
        if octets.is_empty() {
            sent?;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection has ended"));
        }
        String::from_utf8(octets).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Whether it has ended, which is waited for.
    pub(crate) fn ends(&mut self, timeout: Duration) -> bool {
        let stream = self.stream.get_mut();
        let _ = stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1))));
        loop {
            match self.stream.read(&mut [0; 256]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return !matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    );
                }
            }
        }
    }
}

/// Text from elsewhere, for a terminal: of printable ASCII, so that it is as wide as it is long.
pub(crate) fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        ' '..='~' => String::from(c),
        c => c.escape_default().to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_text_reaches_the_terminal() {
        assert_eq!(plain("/a b\\\"~"), "/a b\\\"~");
        assert_eq!(
            plain("\u{1b}[2J\n\u{9b}\u{202e}é\0"),
            "\\u{1b}[2J\\n\\u{9b}\\u{202e}\\u{e9}\\u{0}"
        );
    }
}
