//! What an arbiter hands to a process that it starts: names and values in a file in memory, and
//! descriptors whose numbers stand among them.
//!
//! A worker must be of the very same library as its arbiter, since they share memory.  A successor
//! must not: of what it is told it takes what it knows.

use std::fmt::Display;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use crate::base::error::{Error, Kind, Result};
use crate::sys::exec;
use crate::sys::listen::{Address, Listening};

/// Counts changes of what shared records mean, beside their sizes.
const LAYOUT: u32 = 1;

/// For whom it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// A worker.
    Worker,
    /// The arbiter that is to take this one's place.
    Successor,
}

impl For {
    /// The variable that names the file.
    pub(super) fn marker(self) -> &'static str {
        match self {
            For::Worker => "GATEWAY_WORKER",
            For::Successor => "GATEWAY_UPGRADE",
        }
    }

    /// What the file begins with.
    fn magic(self) -> String {
        match self {
            For::Worker => {
                format!("libgateway {} worker {LAYOUT}", env!("CARGO_PKG_VERSION"))
            }
            For::Successor => "libgateway successor 1".into(),
        }
    }
}

/// Names and values; a name may stand several times.
#[derive(Debug, Default)]
pub(super) struct Handover {
    entries: Vec<(String, Vec<u8>)>,
    /// The descriptors that are named, so that they can be left open.
    fds: Vec<RawFd>,
}

impl Handover {
    pub(super) fn put(&mut self, name: &str, value: impl Display) {
        self.put_octets(name, value.to_string().into_bytes());
    }

    fn put_octets(&mut self, name: &str, value: Vec<u8>) {
        self.entries.push((name.to_owned(), value));
    }

    pub(super) fn put_fd(&mut self, name: &str, fd: RawFd) {
        self.fds.push(fd);
        self.put(name, fd);
    }

    /// The descriptors of which it speaks.
    pub(super) fn fds(&self) -> &[RawFd] {
        &self.fds
    }

    /// A descriptor, and words about it.
    pub(super) fn put_fd_with(&mut self, name: &str, fd: RawFd, words: impl Display) {
        self.fds.push(fd);
        self.put(name, format_args!("{fd} {words}"));
    }

    /// A socket, and what it was asked to be.
    pub(super) fn put_listening(&mut self, listening: &Listening) {
        let mut value = format!("{} ", listening.fd()).into_bytes();
        match listening.asked() {
            Some(Address::Tcp(address)) => value.extend(format!("tcp:{address}").bytes()),
            Some(Address::Unix(path)) => {
                value.extend(b"unix:");
                value.extend(path.as_os_str().as_bytes());
            }
            // It has no NUL, which ends a value: it was written as text.
            Some(Address::Abstract(name)) => {
                value.extend(b"abstract:");
                value.extend(name);
            }
            Some(Address::Fd(fd)) => value.extend(format!("fd:{fd}").bytes()),
            None => {}
        }
        self.fds.push(listening.fd());
        self.put_octets("listener", value);
        if let Some(seat) = listening.seat() {
            self.put_octets("seat", format!("{} {seat}", listening.fd()).into_bytes());
        }
        self.put_octets("place", format!("{} {}", listening.fd(), listening.place()).into_bytes());
        if let Some((path, device, inode)) = listening.file() {
            let mut value = format!("{} {device} {inode} ", listening.fd()).into_bytes();
            value.extend(path.as_os_str().as_bytes());
            self.put_octets("socket_file", value);
        }
    }

    /// A file in memory with all of it.
    pub(super) fn write(&self, to: For) -> Result<OwnedFd> {
        let mut octets = to.magic().into_bytes();
        octets.push(0);
        for (name, value) in &self.entries {
            octets.extend(name.bytes().chain([0]).chain(value.iter().copied()).chain([0]));
        }
        exec::memory_file(c"gateway-handover", &octets)
            .map_err(|error| Error::os("hand over to a new process", &error))
    }

    /// What this process was handed, if it was; once.
    pub(super) fn take(who: For) -> Result<Option<Handover>> {
        let Some(fd) = exec::marked(who.marker()) else { return Ok(None) };
        exec::unmark(who.marker());
        let os = |error| {
            let text = "take what this process was started with (does it close descriptors that \
                        are not its own?)";
            Error::os(text, &error).with_exit_status(3)
        };
        let file = exec::take_inherited(fd).map_err(os)?;
        let octets = exec::read_memory_file(&file).map_err(os)?;
        Handover::read(&octets, who).map(Some)
    }

    fn read(octets: &[u8], who: For) -> Result<Handover> {
        let mut parts = octets.strip_suffix(b"\0").unwrap_or_default().split(|octet| *octet == 0);
        let magic = parts.next().unwrap_or_default();
        if magic != who.magic().as_bytes() {
            return Err(replaced(&format!(
                "the arbiter is of \"{}\", this process of \"{}\"",
                String::from_utf8_lossy(magic),
                who.magic()
            )));
        }
        let mut read = Handover::default();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            read.put_octets(&String::from_utf8_lossy(name), value.to_vec());
        }
        Ok(read)
    }

    /// All values with this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(move |entry| entry.0 == name).map(|entry| &*entry.1)
    }

    /// Those that are text.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.all(name).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The one value with this name.
    pub(super) fn get<T: FromStr>(&self, name: &str) -> Result<T> {
        let value = self.texts(name).next().and_then(|text| text.parse().ok());
        value.ok_or_else(|| Error::new(Kind::State, format!("what was handed over has no {name}")))
    }

    /// The descriptor with this name; once.
    pub(super) fn fd(&self, name: &str) -> Result<OwnedFd> {
        inherited(self.get(name)?, name)
    }

    /// The sockets; once.  Their files are for a successor.
    pub(super) fn listeners(&self, who: For) -> Result<Vec<Listening>> {
        let files: Vec<_> = self.all("socket_file").filter_map(socket_file).collect();
        let seats: Vec<_> = self.all("seat").filter_map(seat).collect();
        let places: Vec<_> = self.all("place").filter_map(seat).collect();
        let adopt = |value: &[u8]| {
            let mut words = value.splitn(2, |octet| *octet == b' ');
            let number: RawFd = words.next().and_then(parsed).unwrap_or(-1);
            let asked = words.next().and_then(address);
            let fd = inherited(number, "listener")?;
            let file = files.iter().find(|it| it.0 == number && who == For::Successor);
            let listening = Listening::inherited(fd, asked.clone(), file.map(|it| it.1.clone()))
                .map_err(|error| Error::os("take a listener over", &error))?;
            let place = places.iter().find(|it| it.0 == number);
            listening.put(place.map_or(0, |it| it.1));
            let seat = seats.iter().find(|it| it.0 == number).map(|it| it.1);
            Ok(match (seat, asked) {
                (Some(seat), Some(asked)) => listening.in_seat(seat, asked),
                _ => listening,
            })
        };
        self.all("listener").map(adopt).collect()
    }
}

/// A descriptor that this process was started with.
pub(super) fn inherited(fd: RawFd, name: &str) -> Result<OwnedFd> {
    exec::take_inherited(fd).map_err(|error| {
        let text =
            format!("take over descriptor {fd} ({name}), with which this process was started");
        Error::os(text, &error).with_exit_status(3)
    })
}

/// Arbiter and worker are of two libraries.
pub(super) fn replaced(how: &str) -> Error {
    let text = format!("the library was replaced: upgrade with USR2 ({how})");
    Error::new(Kind::Abi, text).with_exit_status(3)
}

fn parsed<T: FromStr>(octets: &[u8]) -> Option<T> {
    std::str::from_utf8(octets).ok()?.parse().ok()
}

/// Of which descriptor, and whose.
fn seat(octets: &[u8]) -> Option<(RawFd, u32)> {
    let mut words = octets.splitn(2, |octet| *octet == b' ');
    Some((parsed(words.next()?)?, parsed(words.next()?)?))
}

/// Of which descriptor, where, device and inode.
fn socket_file(octets: &[u8]) -> Option<(RawFd, (PathBuf, u64, u64))> {
    let mut words = octets.splitn(4, |octet| *octet == b' ');
    let (fd, device, inode) =
        (parsed(words.next()?)?, parsed(words.next()?)?, parsed(words.next()?)?);
    let path = std::ffi::OsString::from_vec(words.next()?.to_vec());
    Some((fd, (path.into(), device, inode)))
}

fn address(octets: &[u8]) -> Option<Address> {
    if let Some(path) = octets.strip_prefix(b"unix:") {
        let path = std::ffi::OsString::from_vec(path.to_vec());
        return Some(Address::Unix(PathBuf::from(path)));
    }
    if let Some(name) = octets.strip_prefix(b"abstract:") {
        return Some(Address::Abstract(name.to_vec()));
    }
    let text = std::str::from_utf8(octets).ok()?;
    if let Some(fd) = text.strip_prefix("fd:") {
        return Some(Address::Fd(fd.parse().ok()?));
    }
    Some(Address::Tcp(text.strip_prefix("tcp:")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::listen::listen;

    fn through(handover: &Handover, to: For) -> Handover {
        let file = handover.write(to).unwrap();
        Handover::read(&exec::read_memory_file(&file).unwrap(), to).unwrap()
    }

    #[test]
    fn what_is_put_in_comes_out() {
        let mut handover = Handover::default();
        handover.put("slot", 7);
        handover.put("option", "errorlog=");
        handover.put("option", "bind=a, b");
        handover.put("empty", "");
        handover.put_fd("news", 12);
        let read = through(&handover, For::Worker);
        assert_eq!(read.get::<usize>("slot").unwrap(), 7);
        assert_eq!(read.texts("option").collect::<Vec<_>>(), ["errorlog=", "bind=a, b"]);
        assert_eq!(read.get::<String>("empty").unwrap(), "");
        assert_eq!((read.get::<i32>("news").unwrap(), handover.fds()), (12, &[12][..]));
        assert!(read.get::<u32>("age").is_err() && read.get::<u32>("option").is_err());
        assert_eq!(through(&Handover::default(), For::Successor).entries.len(), 0);
    }

    #[test]
    fn a_worker_of_another_library_is_told_so() {
        let file = Handover::default().write(For::Successor).unwrap();
        let octets = exec::read_memory_file(&file).unwrap();
        for octets in [&octets[..], b"", b"\0", b"libgateway 9.9 worker 1\0"] {
            let error = Handover::read(octets, For::Worker).unwrap_err();
            assert_eq!((error.kind(), error.exit_status()), (Kind::Abi, 3));
            let text = "the library was replaced: upgrade with USR2";
            assert!(error.message().starts_with(text), "{error}");
        }
    }

    #[test]
    fn addresses_come_through() {
        for text in ["tcp:127.0.0.1:80", "tcp:[::1]:8000", "tcp:[fe80::1%2]:80", "fd:3"] {
            let read = address(text.as_bytes()).unwrap();
            let kind = text.split(':').next().unwrap();
            let shown = read.to_string();
            let shown = if kind == "tcp" { format!("tcp:{shown}") } else { shown };
            assert_eq!(shown, text);
        }
        let odd = b"unix:/run/\xff x\n";
        let Some(Address::Unix(path)) = address(odd) else { panic!("a path") };
        assert_eq!(path.as_os_str().as_bytes(), b"/run/\xff x\n");
        assert_eq!(address(b"abstract:x y"), Some(Address::Abstract(b"x y".to_vec())));
        let read = socket_file(b"7 2049 33 /run/a b\xff").unwrap();
        assert_eq!((read.0, read.1.1, read.1.2), (7, 2049, 33));
        assert_eq!(read.1.0.as_os_str().as_bytes(), b"/run/a b\xff");
        assert_eq!(address(b""), None);
        let any = listen(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 1, false, None).unwrap();
        let mut handover = Handover::default();
        handover.put_listening(&any);
        let shown = format!("{} tcp:127.0.0.1:0", any.fd());
        assert_eq!(handover.texts("listener").collect::<Vec<_>>(), [shown]);
        assert_eq!(handover.texts("seat").count(), 0);
        let asked = any.asked().unwrap().clone();
        let any = any.in_seat(3, asked);
        handover.put_listening(&any);
        let shown = format!("{} 3", any.fd());
        assert_eq!(handover.texts("seat").next(), Some(shown.as_str()));
        assert_eq!(seat(shown.as_bytes()), Some((any.fd(), 3)));
    }
}
