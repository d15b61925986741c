//! The file that names the process which serves.  It is there whole or not at all, a stale one is
//! replaced, and it is removed by the process that wrote it, if it still says so.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::proc::{self, Pid};
use crate::base::error::{Error, Kind, Result};

/// What anybody may do with it: read.
const MODE: u32 = 0o644;
/// Octets of a file that is taken for a pid file.
const LONGEST: u64 = 64;

/// A pid file of this process.  Dropping it removes it, unless the process is a forked copy.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Whose it is; `None`: it was removed.
    owner: Option<Pid>,
}

impl PidFile {
    /// What stands in the way of [`PidFile::create`]; nothing is written.
    ///
    /// # Errors
    /// `Kind::State`: the file names another process that lives.  `Kind::Invalid`: it is not a pid
    /// file.  `Kind::Io`: it cannot be read, or there is no directory to write it in.
    pub fn check(path: &Path) -> Result<()> {
        PidFile::check_for(path, None)
    }

    /// `before` is nobody any more, although it may be there.
    fn check_for(path: &Path, before: Option<Pid>) -> Result<()> {
        let others = |pid: &Pid| *pid != proc::pid() && Some(*pid) != before;
        match named_by(path)?.filter(others) {
            Some(pid) if is_alive(pid) => Err(Error::new(
                Kind::State,
                format!("pidfile: already running: pid {pid} ({})", path.display()),
            )),
            _ => super::file::can_create_in(directory(path))
                .map_err(|error| Error::os(format_args!("pidfile = {}", path.display()), &error)),
        }
    }

    /// Writes the id of this process into `path`, whose file is stale if there is one.
    ///
    /// # Errors
    /// As [`PidFile::check`]; what was there stays.
    pub fn create(path: &Path) -> Result<PidFile> {
        PidFile::create_for(path, None)
    }

    fn create_for(path: &Path, before: Option<Pid>) -> Result<PidFile> {
        PidFile::check_for(path, before)?;
        let os = |error| Error::os(format_args!("pidfile = {}", path.display()), &error);
        // The process may change its directory before the file is removed.
        let path = std::path::absolute(path).map_err(os)?;
        let owner = proc::pid();
        let temporary = temporary(&path, owner);
        let written = write_new(&temporary, owner).and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(os(error));
        }
        Ok(PidFile { path, owner: Some(owner) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is at `path`, and names this process, so that there is nothing to write.
    pub fn is_there(&self, path: &Path) -> bool {
        self.owner == Some(proc::pid())
            && std::path::absolute(path).is_ok_and(|path| path == self.path)
            && named_by(path).is_ok_and(|named| named == self.owner)
    }

    /// The name of this file while the one who has the name `path` still runs: `path.2`.
    pub fn second(path: &Path) -> PathBuf {
        let mut name = OsString::from(path);
        name.push(".2");
        name.into()
    }

    /// Gives it the name `to`, whose file is stale if there is one: the process that had the name
    /// has ended, and this one takes its place.
    ///
    /// # Errors
    /// As [`PidFile::create`]; then it has the name that it had.
    pub fn rename(&mut self, to: &Path) -> Result<()> {
        if self.is_there(to) {
            return Ok(());
        }
        self.replace(PidFile::create(to)?)
    }

    /// The same, from the process `before`, which is about to end, or does something else by now.
    ///
    /// # Errors
    /// As [`PidFile::rename`].
    pub fn succeed(&mut self, to: &Path, before: Pid) -> Result<()> {
        self.replace(PidFile::create_for(to, Some(before))?)
    }

    fn replace(&mut self, new: PidFile) -> Result<()> {
        if new.path == self.path {
            // One file: the old value must not remove it.
            self.owner = None;
        }
        *self = new;
        Ok(())
    }

    /// Removes the file, if it is this process that it names; once.
    ///
    /// # Errors
    /// `Kind::Io`: the directory does not let it go, since the process has another user by now, say.
    /// `Kind::Invalid`: somebody has written something else into it.
    pub fn remove(&mut self) -> Result<()> {
        let Some(owner) = self.owner else { return Ok(()) };
        if owner != proc::pid() {
            return Ok(());
        }
        self.owner = None;
        if named_by(&self.path)? != Some(owner) {
            return Ok(());
        }
        fs::remove_file(&self.path)
            .map_err(|error| Error::os(format_args!("remove {}", self.path.display()), &error))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// The process that a pid file names; `None`: there is no file, or it is empty.
fn named_by(path: &Path) -> Result<Option<Pid>> {
    let os = |error| Error::os(format_args!("pidfile = {}", path.display()), &error);
    // What is no file must not be waited for.
    let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(os)?,
    };
    let wrong = |what: &str| {
        let text = format!("pidfile = {}: {what}; remove it, or name another", path.display());
        Err(Error::new(Kind::Invalid, text))
    };
    if !file.metadata().map_err(os)?.is_file() {
        return wrong("this is not a regular file");
    }
    let mut octets = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut octets).map_err(os)?;
    let text = octets.trim_ascii();
    if text.is_empty() && octets.len() as u64 <= LONGEST {
        return Ok(None);
    }
    let digits = text.iter().all(u8::is_ascii_digit).then(|| str::from_utf8(text).ok()).flatten();
    match digits.and_then(|digits| digits.parse::<Pid>().ok()) {
        Some(pid) if pid > 0 => Ok(Some(pid)),
        _ => wrong("what is in it is not the id of a process"),
    }
}

/// EPERM: it is somebody else's, and lives.
fn is_alive(pid: Pid) -> bool {
    match proc::kill(pid, 0) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A name in the same directory, so that the file can be renamed.
fn temporary(path: &Path, pid: Pid) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{pid}"));
    path.with_file_name(name)
}

fn write_new(path: &Path, pid: Pid) -> io::Result<()> {
    let mut new = File::options();
    new.write(true).create_new(true).mode(MODE);
    let mut file = match new.open(path) {
        // Left by a process that had this id before.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            new.open(path)?
        }
        file => file?,
    };
    // Whatever the umask.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(format!("{pid}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own for each test, removed at its end.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let name = format!("gateway-pidfile-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir_all(&dir).unwrap();
            Dir(dir)
        }
        fn path(&self) -> PathBuf {
            self.0.join("app.pid")
        }
        /// What is in it.
        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn it_names_the_process_and_goes_with_it() {
        let dir = Dir::new("one");
        let file = PidFile::create(&dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path()).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(dir.names(), ["app.pid"]);
        // Its own is no obstacle.
        drop(PidFile::create(&dir.path()).unwrap());
        assert!(dir.names().is_empty());
        drop(file);
    }

    #[test]
    fn a_living_process_is_an_obstacle() {
        let dir = Dir::new("lives");
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        // Process 1 belongs to somebody else, unless the test is root.
        for pid in [1, child.id()] {
            fs::write(dir.path(), format!("{pid}\n")).unwrap();
            for error in [
                PidFile::check(&dir.path()).unwrap_err(),
                PidFile::create(&dir.path()).map(drop).unwrap_err(),
            ] {
                let path = dir.path();
                let text = format!("pidfile: already running: pid {pid} ({})", path.display());
                assert_eq!((error.kind(), error.message()), (Kind::State, &*text));
            }
            assert_eq!(fs::read_to_string(dir.path()).unwrap(), format!("{pid}\n"));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        drop(PidFile::create(&dir.path()).unwrap());
        assert!(dir.names().is_empty());
    }

    #[test]
    fn what_names_nobody_is_replaced_and_what_is_no_pid_file_is_not() {
        let dir = Dir::new("stale");
        // More than any process has.
        for stale in ["2147483646\n", "", " \n"] {
            fs::write(dir.path(), stale).unwrap();
            assert!(PidFile::check(&dir.path()).is_ok(), "{stale:?}");
            drop(PidFile::create(&dir.path()).unwrap());
        }
        let long = " ".repeat(1000);
        for garbage in ["abc", "0", "-1", "12 13", "12\n13\n", "99999999999", "\u{e9}", &long] {
            fs::write(dir.path(), garbage).unwrap();
            let error = PidFile::create(&dir.path()).map(drop).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{garbage:?}");
            assert!(error.message().contains("is not the id of a process"), "{error}");
            assert_eq!(fs::read_to_string(dir.path()).unwrap(), garbage);
        }
        fs::remove_file(dir.path()).unwrap();
        fs::create_dir(dir.path()).unwrap();
        let error = PidFile::check(&dir.path()).unwrap_err();
        assert!(error.message().contains("not a regular file"), "{error}");
        fs::remove_dir(dir.path()).unwrap();
        let status = std::process::Command::new("mkfifo").arg(dir.path()).status();
        assert!(status.unwrap().success());
        assert_eq!(PidFile::check(&dir.path()).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(dir.names(), ["app.pid"]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_that_names_the_file() {
        let path = Path::new("/nonexistent/app.pid");
        for error in [PidFile::check(path), PidFile::create(path).map(drop)].map(Result::unwrap_err)
        {
            assert_eq!((error.kind(), error.os_errno()), (Kind::Io, libc::ENOENT));
            assert!(error.message().starts_with("pidfile = /nonexistent/app.pid: "), "{error}");
        }
    }

    #[test]
    fn the_file_of_another_process_stays() {
        let dir = Dir::new("other");
        let mut file = PidFile::create(&dir.path()).unwrap();
        fs::write(dir.path(), "1\n").unwrap();
        file.remove().unwrap();
        assert_eq!(fs::read_to_string(dir.path()).unwrap(), "1\n");
        // The copy that a forked child has.
        fs::write(dir.path(), format!("{}\n", std::process::id())).unwrap();
        drop(PidFile { path: dir.path(), owner: Some(1) });
        assert_eq!(dir.names(), ["app.pid"]);
    }

    #[test]
    fn it_takes_the_name_of_one_that_has_ended() {
        let dir = Dir::new("second");
        let second = PidFile::second(&dir.path());
        assert_eq!(second, dir.0.join("app.pid.2"));
        fs::write(dir.path(), "1\n").unwrap();
        let mut file = PidFile::create(&second).unwrap();
        assert_eq!(file.rename(&dir.path()).unwrap_err().kind(), Kind::State);
        assert_eq!((file.path(), dir.names().len()), (&*second, 2));
        // It is known to be on its way.
        file.succeed(&dir.path(), 1).unwrap();
        assert_eq!((file.path(), dir.names()), (&*dir.path(), vec!["app.pid".to_owned()]));
        let mut file = PidFile::create(&second).unwrap();
        fs::write(dir.path(), "2147483646\n").unwrap();
        file.rename(&dir.path()).unwrap();
        assert_eq!((file.path(), dir.names()), (&*dir.path(), vec!["app.pid".to_owned()]));
        // And its own.
        file.rename(&dir.path()).unwrap();
        assert_eq!(dir.names(), ["app.pid"]);
        drop(file);
        assert!(dir.names().is_empty());
    }
}
