//! Files without a name, for bodies that outgrow memory.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{check, check_size, retry};

/// A temporary file that has no name: it goes when its last descriptor is closed, however the
/// process ends.
#[derive(Debug)]
pub struct TempFile {
    file: File,
    /// Where it begins: not at 0 where it is a part of somebody else's.
    start: u64,
    len: u64,
}

impl TempFile {
    /// An empty file in `directory`, readable and writable by this user alone, close-on-exec.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        let fd = match open_unnamed(&path) {
            // Not every file system can; which of the three it says differs.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
                ) =>
            {
                open_unlinked(directory)?
            }
            fd => fd?,
        };
        Ok(TempFile { file: File::from(fd), start: 0, len: 0 })
    }

    /// A part of a file that somebody else has written, to be read.
    pub fn of(file: OwnedFd, start: u64, len: u64) -> Self {
        TempFile { file: File::from(file), start, len }
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// How many octets have been written.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `octets`; after an error the file is as long as before.
    pub fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_all_at(octets, self.start + self.len)?;
        self.len += octets.len() as u64;
        Ok(())
    }

    /// Reads at `offset`: less than the buffer holds only at the end, 0 beyond it.  An error, where the
    /// file is shorter than was said.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let room = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        match pread(self.fd(), &mut buffer[..room], self.start + offset)? {
            0 if room > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }

    /// Empties the file, so that it can serve the next body.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.len = 0;
        Ok(())
    }
}

fn open_unnamed(directory: &CString) -> io::Result<OwnedFd> {
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: `directory` is a NUL-terminated string.
    let fd = retry(|| check(unsafe { libc::open(directory.as_ptr(), flags, 0o600) }))?;
    // SAFETY: the descriptor is new, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn open_unlinked(directory: &Path) -> io::Result<OwnedFd> {
    let template = directory.join(".gateway-XXXXXX");
    let mut path = CString::new(template.as_os_str().as_bytes())?.into_bytes_with_nul();
    // SAFETY: `path` is a NUL-terminated string that may be written, as mkostemp does.
    let fd = retry(|| check(unsafe { libc::mkostemp(path.as_mut_ptr().cast(), libc::O_CLOEXEC) }))?;
    // SAFETY: the descriptor is new, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: as above; mkostemp keeps the NUL.
    check(unsafe { libc::unlink(path.as_ptr().cast()) })?;
    Ok(fd)
}

/// Reads at `offset` until the buffer is full or the file ends; says how much came.
pub fn pread(fd: RawFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        let at = libc::off_t::try_from(offset + done as u64)
            .map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        let n = retry(|| {
            // SAFETY: the pointer and the length are those of `rest`.
            let n = unsafe { libc::pread(fd, rest.as_mut_ptr().cast(), rest.len(), at) };
            check_size(n)
        })?;
        if n == 0 {
            break;
        }
        done += n;
    }
    Ok(done)
}

/// Whether this process can make a file in `directory`; nothing is made.  Its effective user counts.
pub fn can_create_in(directory: &Path) -> io::Result<()> {
    if !directory.metadata()?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
    }
    may(directory, libc::W_OK | libc::X_OK)
}

/// Whether this process can write to the file `path`, which is there.  Its effective user counts.
pub fn can_write(path: &Path) -> io::Result<()> {
    may(path, libc::W_OK)
}

fn may(path: &Path, what: libc::c_int) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` is a NUL-terminated string.
    check(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), what, libc::AT_EACCESS) })?;
    Ok(())
}

/// How long a file is, if it is a regular one.
///
/// # Errors
/// `InvalidInput` for what has no length: a pipe, a socket, a device.
pub fn file_len(fd: RawFd) -> io::Result<u64> {
    // SAFETY: a stat is plain numbers, for which zero is a value.
    let mut stat: libc::stat = unsafe { std::mem::MaybeUninit::zeroed().assume_init() };
    // SAFETY: `stat` may be written.
    check(unsafe { libc::fstat(fd, &mut stat) })?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(stat.st_size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp() -> std::path::PathBuf {
        std::env::temp_dir()
    }

    #[test]
    fn a_temporary_file_reads_as_it_was_written() {
        for by_name in [false, true] {
            let mut file = TempFile::new(&temp()).unwrap();
            if by_name {
                file.file = File::from(open_unlinked(&temp()).unwrap());
            }
            assert!(file.is_empty());
            file.append(b"hello ").unwrap();
            file.append(b"world").unwrap();
            assert_eq!((file.len(), file_len(file.fd()).unwrap()), (11, 11));
            let mut buffer = [0; 64];
            assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 5);
            assert_eq!(&buffer[..5], b"world");
            assert_eq!(file.read_at(&mut buffer[..3], 0).unwrap(), 3);
            assert_eq!(&buffer[..3], b"hel");
            assert_eq!(file.read_at(&mut buffer, 11).unwrap(), 0);
            assert_eq!(file.read_at(&mut buffer, 1000).unwrap(), 0);
            file.clear().unwrap();
            assert_eq!((file.len(), file_len(file.fd()).unwrap()), (0, 0));
        }
    }

    #[test]
    fn a_part_of_another_file_is_read_where_it_is() {
        let mut whole = TempFile::new(&temp()).unwrap();
        whole.append(b"hello world").unwrap();
        let part =
            |start, len| TempFile::of(crate::sys::dup::duplicate(whole.fd()).unwrap(), start, len);
        let mut buffer = [0; 64];
        assert_eq!(part(6, 5).read_at(&mut buffer, 1).unwrap(), 4);
        assert_eq!(&buffer[..4], b"orld");
        assert_eq!(part(0, 5).read_at(&mut buffer, 5).unwrap(), 0);
        // It has become shorter since.
        let cut = part(6, 100);
        assert_eq!(cut.read_at(&mut buffer, 0).unwrap(), 5);
        let error = cut.read_at(&mut buffer, 5).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn it_has_no_name_and_no_other_reader() {
        for fd in
            [open_unnamed(&CString::new("/tmp").unwrap()).unwrap(), open_unlinked(&temp()).unwrap()]
        {
            use std::os::unix::fs::MetadataExt;
            let is = File::from(fd).metadata().unwrap();
            assert_eq!(is.nlink(), 0);
            assert_eq!(is.mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_could_be_made_or_written_is_known_without_doing_it() {
        can_create_in(&temp()).unwrap();
        let errno = |result: io::Result<()>| result.unwrap_err().raw_os_error();
        assert_eq!(errno(can_create_in(Path::new("/nonexistent"))), Some(libc::ENOENT));
        assert_eq!(errno(can_create_in(Path::new("/dev/null"))), Some(libc::ENOTDIR));
        can_write(Path::new("/dev/null")).unwrap();
        assert_eq!(errno(can_write(Path::new("/nonexistent"))), Some(libc::ENOENT));
    }

    #[test]
    fn errors_come_through() {
        assert!(TempFile::new(Path::new("/nonexistent")).is_err());
        assert!(TempFile::new(Path::new("/dev/null")).is_err());
        assert!(TempFile::new(Path::new("a\0b")).is_err());
        assert!(file_len(-1).is_err());
        let null = File::open("/dev/null").unwrap();
        assert_eq!(file_len(null.as_raw_fd()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(pread(-1, &mut [0], 0).is_err());
        assert!(pread(null.as_raw_fd(), &mut [0], u64::MAX).is_err());
    }
}
