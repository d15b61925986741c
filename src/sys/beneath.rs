//! Files below a directory, and nothing else: the kernel holds a path to its root (openat2).
//!
//! Where there is no openat2 (Linux before 5.6, some sandboxes) the path is walked piece by piece, and
//! no symbolic link is followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::Mode;

/// How often a path is tried that changes while it is looked at.
const TRIES: u32 = 8;

/// A directory, by its name: another that takes the name over is meant from then on.
#[derive(Debug)]
pub struct Beneath {
    root: PathBuf,
    walks: bool,
}

/// Why something is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is nothing.
    Missing,
    /// The path leads out of the root, or through a link that is not followed.
    Outside,
    /// This process may not.
    Denied,
    /// The system has no descriptors or memory left.
    Exhausted,
    /// Anything else.
    Failed,
}

impl Why {
    /// What the error of [`Beneath::open`] means.
    pub fn of(error: &io::Error) -> Why {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::EINVAL) => {
                Why::Missing
            }
            Some(Errno::EXDEV | Errno::ELOOP) => Why::Outside,
            Some(Errno::EACCES | Errno::EPERM) => Why::Denied,
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => Why::Exhausted,
            // A socket, or a device that is not there.
            Some(Errno::ENXIO | Errno::ENODEV) => Why::Missing,
            _ => Why::Failed,
        }
    }
}

impl Beneath {
    /// # Errors
    /// There is no such directory, or this process may not enter it.
    pub fn new(root: &Path) -> io::Result<Self> {
        let dir = open_root(root)?;
        let walks = match openat2(&dir, ".", how()) {
            Ok(_) => false,
            // A sandbox that does not know it says EPERM.
            Err(Errno::ENOSYS | Errno::EPERM) => true,
            Err(error) => return Err(error.into()),
        };
        Ok(Beneath { root: root.to_owned(), walks })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Open what is at `path` below the root, for reading; slashes in front of it do not matter, and
    /// the empty path is the root.  What is no file or directory opens, too, without waiting for it.
    ///
    /// # Errors
    /// See [`Why`].
    pub fn open(&self, path: &[u8]) -> io::Result<File> {
        if path.contains(&0) {
            return Err(Errno::ENOENT.into());
        }
        let slashes = path.iter().take_while(|octet| **octet == b'/').count();
        let path = match &path[slashes..] {
            b"" => OsStr::new("."),
            path => OsStr::from_bytes(path),
        };
        let dir = open_root(&self.root)?;
        let fd = if self.walks { walk(dir, path) } else { resolve(&dir, path) };
        Ok(File::from(fd?))
    }
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open(root, flags, Mode::empty())?)
}

/// For reading; a FIFO has no writer that would be waited for, and a terminal does not become ours.
fn flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY
}

fn how() -> OpenHow {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    OpenHow::new().flags(flags()).resolve(resolve)
}

fn resolve(dir: impl AsFd, path: &OsStr) -> nix::Result<OwnedFd> {
    for _ in 1..TRIES {
        match openat2(&dir, path, how()) {
            // Something was renamed while a ".." of a link was followed.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            result => return result,
        }
    }
    openat2(&dir, path, how())
}

fn walk(dir: OwnedFd, path: &OsStr) -> nix::Result<OwnedFd> {
    let mut pieces = path.as_bytes().split(|octet| *octet == b'/').filter(|piece| *piece != b"");
    let (mut dir, mut piece) = (dir, pieces.next().unwrap_or(b"."));
    let must_be_directory = path.as_bytes().ends_with(b"/");
    loop {
        if piece == b".." {
            return Err(Errno::EXDEV);
        }
        let next = pieces.next();
        let kind = match next {
            Some(_) => OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            None if must_be_directory => flags() | OFlag::O_DIRECTORY,
            None => flags(),
        };
        let name = OsStr::from_bytes(piece);
        dir = match openat(&dir, name, kind | OFlag::O_NOFOLLOW, Mode::empty()) {
            // A link is no directory; it is told apart for the log.
            Err(Errno::ENOTDIR) if readlinkat(&dir, name).is_ok() => return Err(Errno::ELOOP),
            opened => opened?,
        };
        match next {
            Some(next) => piece = next,
            None => return Ok(dir),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out() {
        let top = std::env::temp_dir().join(format!("gateway-beneath-{}", std::process::id()));
        let root = top.join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(top.join("secret"), "secret").unwrap();
        fs::write(root.join("a"), "a").unwrap();
        fs::write(root.join("sub/b"), "b").unwrap();
        for (to, name) in [
            ("../secret", "up"),
            ("/etc/passwd", "far"),
            ("a", "near"),
            ("../a", "sub/back"),
            ("/proc/self/root", "magic"),
            ("round", "round"),
        ] {
            symlink(to, root.join(name)).unwrap();
        }
        let only_walks = Beneath::new(&root).unwrap().walks;
        if only_walks {
            eprintln!("there is no openat2 here: only the walk is tested");
        }
        // What each way says: openat2, and the walk.
        let (missing, outside) = (Err(Why::Missing), Err(Why::Outside));
        for (path, resolved, walked) in [
            ("a", Ok("a"), Ok("a")),
            ("///sub//b", Ok("b"), Ok("b")),
            ("sub/../a", Ok("a"), outside),
            ("./a", Ok("a"), Ok("a")),
            ("near", Ok("a"), outside),
            ("sub/back", Ok("a"), outside),
            ("", Ok("dir"), Ok("dir")),
            ("/", Ok("dir"), Ok("dir")),
            ("sub/", Ok("dir"), Ok("dir")),
            ("a/", missing, missing),
            ("a/b", missing, missing),
            ("c", missing, missing),
            ("a\0", missing, missing),
            ("..", outside, outside),
            ("../secret", outside, outside),
            ("sub/../../secret", outside, outside),
            ("up", outside, outside),
            ("far", outside, outside),
            ("magic/etc/passwd", outside, outside),
            ("round", outside, outside),
        ] {
            for (walks, expected) in [(false, resolved), (true, walked)] {
                if only_walks && !walks {
                    continue;
                }
                let beneath = Beneath { walks, ..Beneath::new(&root).unwrap() };
                let found = beneath.open(path.as_bytes()).map(|mut file| {
                    let mut text = String::new();
                    match file.metadata().unwrap().is_dir() {
                        true => text.push_str("dir"),
                        false => drop(file.read_to_string(&mut text).unwrap()),
                    }
                    text
                });
                let found = found.map_err(|error| Why::of(&error));
                let expected = expected.map(str::to_owned);
                assert_eq!(found, expected, "{path:?} walks: {walks}");
            }
        }
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_root_is_a_directory() {
        assert!(Beneath::new(Path::new("/nowhere/at/all")).is_err());
        assert!(Beneath::new(Path::new("/etc/passwd")).is_err());
    }
}
