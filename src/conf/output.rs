//! Where a log goes: nowhere, a standard stream, a descriptor, a file.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::sys::dup::{duplicate, replace};
use crate::sys::file::{can_create_in, can_write};
use crate::sys::user::Identity;

/// Where a log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Nowhere: an empty text.
    #[default]
    Off,
    /// `-`: standard output for the access log, standard error for the error log.
    Standard,
    /// `fd:N`: a descriptor of the program, which stays the program's.
    Fd(RawFd),
    /// A file, appended to, and created when it is not there.
    File(PathBuf),
}

impl Output {
    /// What an option says; `None` when it is none of these.
    pub(super) fn parse(text: &str) -> Option<Output> {
        match text {
            "" => Some(Output::Off),
            "-" => Some(Output::Standard),
            _ => match text.strip_prefix("fd:") {
                Some(fd) if fd.bytes().all(|b| b.is_ascii_digit()) => {
                    fd.parse().ok().map(Output::Fd)
                }
                Some(_) => None,
                None if text.chars().any(char::is_control) => None,
                None => Some(Output::File(text.into())),
            },
        }
    }

    /// Open it for appending whole lines.  `standard` is the number of the stream that `-` means.
    /// The descriptor is a new one and closed on exec.  A file that was not there is `owner`'s, who
    /// has to open it again.  `None`: off.
    pub fn open(&self, standard: RawFd, owner: Option<&Identity>) -> Result<Option<File>> {
        let duplicated = |fd| {
            duplicate(fd)
                .map(|fd| Some(File::from(fd)))
                .map_err(|error| Error::os(format!("log to descriptor {fd}"), &error))
        };
        match self {
            Output::Off => Ok(None),
            Output::Standard => duplicated(standard),
            Output::Fd(fd) => duplicated(*fd),
            Output::File(path) => append(path, owner)
                .map(Some)
                .map_err(|error| Error::os(format!("open log {}", path.display()), &error)),
        }
    }

    /// Whether [`Output::open`] could open it; nothing is made.
    pub fn check(&self, standard: RawFd) -> io::Result<()> {
        match self {
            Output::Off => Ok(()),
            Output::Standard => duplicate(standard).map(drop),
            Output::Fd(fd) => duplicate(*fd).map(drop),
            Output::File(path) => match path.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                    can_create_in(parent.unwrap_or(Path::new(".")))
                }
                Ok(is) if is.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
                is => is.and_then(|_| can_write(path)),
            },
        }
    }

    /// Open a file again, under its name, in the place of `file`, which was opened before: somebody
    /// may have moved it away.  A stream or descriptor stays as it is.  On failure lines go where they
    /// went.
    pub fn reopen(&self, file: &File, owner: Option<&Identity>) -> Result<()> {
        let Output::File(path) = self else { return Ok(()) };
        let Some(new) = self.open(-1, owner)? else { return Ok(()) };
        replace(file.as_fd(), new.as_fd())
            .map_err(|error| Error::os(format_args!("open log {}", path.display()), &error))
    }
}

/// Only what is new is given away: a link that somebody has put there leads to a file that is not ours
/// to give.
fn append(path: &Path, owner: Option<&Identity>) -> io::Result<File> {
    let mut options = File::options();
    options.append(true);
    if let Some(owner) = owner {
        match options.create_new(true).open(path) {
            Ok(file) => return owner.give(&file).map(|()| file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    options.create_new(false).create(true).open(path)
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Off => Ok(()),
            Output::Standard => f.write_str("-"),
            Output::Fd(fd) => write!(f, "fd:{fd}"),
            Output::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Kind;
    use std::io::{Read, Write, pipe};
    use std::os::fd::AsRawFd;

    #[test]
    fn destinations_are_read_and_written() {
        for (text, output) in [
            ("", Some(Output::Off)),
            ("-", Some(Output::Standard)),
            ("fd:7", Some(Output::Fd(7))),
            ("/var/log/x", Some(Output::File("/var/log/x".into()))),
            ("fd", Some(Output::File("fd".into()))),
            ("./fd:7", Some(Output::File("./fd:7".into()))),
            ("fd:", None),
            ("fd:-1", None),
            ("fd:x", None),
            ("fd:99999999999", None),
            ("a\nb", None),
        ] {
            assert_eq!(Output::parse(text), output, "{text}");
            if let Some(output) = output {
                assert_eq!(output.to_string(), text);
            }
        }
    }

    #[test]
    fn a_descriptor_is_written_to_and_stays_open() {
        let (mut reader, writer) = pipe().unwrap();
        let output = Output::Fd(writer.as_raw_fd());
        output.open(2, None).unwrap().unwrap().write_all(b"one ").unwrap();
        Output::Standard
            .open(writer.as_raw_fd(), None)
            .unwrap()
            .unwrap()
            .write_all(b"two")
            .unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
        assert!(Output::Off.open(2, None).unwrap().is_none());
    }

    #[test]
    fn a_file_is_appended_to() {
        let path = std::env::temp_dir().join(format!("gateway-output-{}", std::process::id()));
        let output = Output::File(path.clone());
        for _ in 0..2 {
            output.open(2, None).unwrap().unwrap().write_all(b"line\n").unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, "line\nline\n");
    }

    #[test]
    fn a_file_that_was_moved_is_opened_again() {
        let path = std::env::temp_dir().join(format!("gateway-reopen-{}", std::process::id()));
        let moved = path.with_extension("1");
        let output = Output::File(path.clone());
        let mut file = output.open(2, None).unwrap().unwrap();
        file.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        file.write_all(b"two\n").unwrap();
        output.reopen(&file, None).unwrap();
        file.write_all(b"three\n").unwrap();
        let texts = [&moved, &path].map(|path| std::fs::read_to_string(path).unwrap());
        [&moved, &path].iter().for_each(|path| std::fs::remove_file(path).unwrap());
        assert_eq!(texts, ["one\ntwo\n", "three\n"]);
        assert!(Output::File("/nonexistent/x".into()).reopen(&file, None).is_err());
        Output::Fd(0).reopen(&file, None).unwrap();
    }

    #[test]
    fn what_cannot_be_opened_says_what_and_why() {
        let error = Output::File("/nonexistent/x".into()).open(2, None).unwrap_err();
        assert_eq!((error.kind(), error.os_errno()), (Kind::Io, libc::ENOENT));
        assert!(error.message().starts_with("open log /nonexistent/x: "), "{error}");
        let error = Output::Fd(i32::MAX).open(2, None).unwrap_err();
        assert!(error.message().starts_with("log to descriptor 2147483647: "), "{error}");
    }
}
