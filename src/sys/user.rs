//! Who a process is: another user and group for good, as a server needs it that has bound its sockets
//! as root.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;

use super::check;
use crate::base::error::{Error, Kind, Result};

/// Means "as before" to the system, and so is nobody's number.
const NONE: u32 = u32::MAX;
/// Groups that a user is in, at most: NGROUPS_MAX.
const GROUPS_MAX: usize = 65_536;

/// A user with a group, and the other groups that the user is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
}

impl Identity {
    /// The user and the group with these names or numbers; empty: no other than now.  A user without a
    /// group has that of its account.  `None`: both are empty.
    ///
    /// # Errors
    /// `Kind::Invalid`: there is no such user or group.  `Kind::Io`: the system cannot look it up.
    pub fn named(user: &str, group: &str) -> Result<Option<Identity>> {
        let gid = match group {
            "" => None,
            name => Some(match number("group", name)? {
                Some(gid) => gid,
                None => group_named(name)?,
            }),
        };
        if user.is_empty() {
            // SAFETY: no memory is involved, and it cannot fail.
            let uid = unsafe { libc::geteuid() };
            return Ok(gid.map(|gid| Identity { uid, gid, groups: vec![gid] }));
        }
        let number = number("user", user)?;
        let account = account(user, number)?;
        let (uid, gid) = match (&account, number, gid) {
            (Some(account), _, gid) => (account.uid, gid.unwrap_or(account.gid)),
            (None, Some(uid), Some(gid)) => (uid, gid),
            (None, Some(uid), None) => {
                let text = format!("user = {uid}: no account has this number: set group, too");
                return Err(Error::new(Kind::Invalid, text));
            }
            (None, None, _) => {
                let text = format!("user = {user}: there is no such user");
                return Err(Error::new(Kind::Invalid, text));
            }
        };
        let groups = match account {
            Some(account) => groups_of(&account.name, gid)
                .map_err(|error| Error::os(format_args!("user = {user}: its groups"), &error))?,
            None => vec![gid],
        };
        Ok(Some(Identity { uid, gid, groups }))
    }

    /// Whether this process could become that.
    ///
    /// # Errors
    /// `Kind::Invalid`: it is not root, and somebody else.
    pub fn check(&self) -> Result<()> {
        let (uid, gid) = effective();
        if uid == 0 || self.is_now()? {
            return Ok(());
        }
        Err(Error::new(
            Kind::Invalid,
            format!(
                "user, group: only root can become user {} and group {}, and this process is user \
                 {uid} and group {gid}",
                self.uid, self.gid
            ),
        ))
    }

    /// Becomes that, for good, in all threads of this process.  What is to happen to it when its parent
    /// dies stays.
    ///
    /// # Errors
    /// As [`Identity::check`]; `Kind::Io`: the system refuses; `Kind::State`: root could be regained, or
    /// the parent has died meanwhile.  The process should end then.
    pub fn take_on(&self) -> Result<()> {
        self.check()?;
        if effective().0 == 0 {
            keeping_the_parent(|| self.change())?;
        }
        Ok(())
    }

    fn change(&self) -> Result<()> {
        let os = |what: &'static str| {
            move |error: io::Error| {
                let text = format!("become user {}, group {}: {what}", self.uid, self.gid);
                Error::os(text, &error)
            }
        };
        // SAFETY: the pointer and the length are those of `groups`.
        check(unsafe { libc::setgroups(self.groups.len(), self.groups.as_ptr()) })
            .map_err(os("setgroups"))?;
        // SAFETY: no memory is involved.
        check(unsafe { libc::setresgid(self.gid, self.gid, self.gid) }).map_err(os("setresgid"))?;
        // SAFETY: as above.
        check(unsafe { libc::setresuid(self.uid, self.uid, self.uid) }).map_err(os("setresuid"))?;
        // SAFETY: as above; it is meant to fail.
        let can_return = self.uid != 0 && unsafe { libc::setuid(0) } == 0;
        if can_return || !self.is_now()? {
            let text = "user: the process can become root again, and must not go on";
            return Err(Error::new(Kind::State, text));
        }
        Ok(())
    }

    fn is_now(&self) -> Result<bool> {
        let (mut uids, mut gids) = ([NONE; 3], [NONE; 3]);
        let [a, b, c] = &mut uids;
        // SAFETY: three numbers that may be written.
        let got = check(unsafe { libc::getresuid(a, b, c) });
        let [a, b, c] = &mut gids;
        // SAFETY: as above.
        let got = got.and_then(|_| check(unsafe { libc::getresgid(a, b, c) }));
        got.map_err(|error| Error::os("ask who this process is", &error))?;
        Ok(uids == [self.uid; 3] && gids == [self.gid; 3])
    }

    /// Gives a file to this user and group, if this process is root.
    pub fn give(&self, file: &File) -> io::Result<()> {
        if effective().0 != 0 {
            return Ok(());
        }
        // SAFETY: no memory is involved; the descriptor is open as long as it is borrowed.
        check(unsafe { libc::fchown(file.as_raw_fd(), self.uid, self.gid) })?;
        Ok(())
    }
}

fn effective() -> (libc::uid_t, libc::gid_t) {
    // SAFETY: no memory is involved, and they cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// What new files of this process are not to allow, from now on.
pub fn set_umask(mask: u32) {
    // SAFETY: no memory is involved, and it cannot fail.
    unsafe { libc::umask(mask as libc::mode_t) };
}

/// A change of user makes the system forget that this process is to die with its parent.
fn keeping_the_parent(change: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut signal: libc::c_int = 0;
    // SAFETY: no memory is involved, and it cannot fail.
    let parent = unsafe { libc::getppid() };
    // SAFETY: `signal` may be written.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
    change()?;
    if signal == 0 {
        return Ok(());
    }
    // SAFETY: no memory is involved; the signal is a valid one.
    let now = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0, 0, 0);
        libc::getppid()
    };
    if now != parent {
        return Err(Error::new(Kind::State, "user: the parent process has ended meanwhile"));
    }
    Ok(())
}

/// A number, if it is one.
fn number(option: &str, text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number != NONE => Ok(Some(number)),
        _ => Err(Error::new(Kind::Invalid, format!("{option} = {text}: nobody has this number"))),
    }
}

/// A line of the user database.
struct Account {
    name: CString,
    uid: libc::uid_t,
    gid: libc::gid_t,
}

fn account(user: &str, number: Option<u32>) -> Result<Option<Account>> {
    let name = CString::new(user).map_err(|_| Error::from(Kind::Invalid))?;
    let found = with_room(|room| {
        let mut line = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        let (at, len) = (room.as_mut_ptr().cast(), room.len());
        // SAFETY: the line, the room (with its length) and `found` may be written.
        let code = unsafe {
            match number {
                Some(uid) => libc::getpwuid_r(uid, line.as_mut_ptr(), at, len, &mut found),
                None => libc::getpwnam_r(name.as_ptr(), line.as_mut_ptr(), at, len, &mut found),
            }
        };
        // SAFETY: not NULL: it is the line, written, and its texts end within the room.
        let account = unsafe { found.as_ref() }.map(|line| Account {
            // SAFETY: as above.
            name: unsafe { CStr::from_ptr(line.pw_name) }.to_owned(),
            uid: line.pw_uid,
            gid: line.pw_gid,
        });
        (code, account)
    });
    found.map_err(|error| Error::os(format_args!("user = {user}"), &error))
}

fn group_named(group: &str) -> Result<libc::gid_t> {
    let name = CString::new(group).map_err(|_| Error::from(Kind::Invalid))?;
    let found = with_room(|room| {
        let mut line = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        let (at, len) = (room.as_mut_ptr().cast(), room.len());
        // SAFETY: the line, the room (with its length) and `found` may be written.
        let code =
            unsafe { libc::getgrnam_r(name.as_ptr(), line.as_mut_ptr(), at, len, &mut found) };
        // SAFETY: not NULL: it is the line, written.
        (code, unsafe { found.as_ref() }.map(|line| line.gr_gid))
    });
    found.map_err(|error| Error::os(format_args!("group = {group}"), &error))?.ok_or_else(|| {
        Error::new(Kind::Invalid, format!("group = {group}: there is no such group"))
    })
}

/// Looks something up with as much room as it needs.  The number that `look` returns is 0, or an errno
/// of which some mean that there is nothing (getpwnam(3)).
fn with_room<T>(
    mut look: impl FnMut(&mut [u8]) -> (libc::c_int, Option<T>),
) -> io::Result<Option<T>> {
    let mut room = vec![0; 1024];
    loop {
        match look(&mut room) {
            (libc::ERANGE, _) if room.len() < 1 << 20 => room.resize(room.len() * 4, 0),
            (libc::EINTR, _) => {}
            (0, found) => return Ok(found),
            (libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM, _) => return Ok(None),
            (errno, _) => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// All groups that a user is in, and `gid`.
fn groups_of(user: &CStr, gid: libc::gid_t) -> io::Result<Vec<libc::gid_t>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut count = groups.len() as libc::c_int;
        // SAFETY: `groups` has room for `count` numbers, and `count` may be written.
        let got = unsafe {
            libc::getgrouplist(user.as_ptr(), gid as _, groups.as_mut_ptr().cast(), &mut count)
        };
        if got >= 0 {
            groups.truncate(usize::try_from(count).unwrap_or(0));
            return Ok(groups);
        }
        if groups.len() >= GROUPS_MAX {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        groups.resize(groups.len() * 2, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(user: &str, group: &str) -> String {
        let error = Identity::named(user, group).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        error.message().to_owned()
    }

    #[test]
    fn names_and_numbers_are_looked_up() {
        assert_eq!(Identity::named("", "").unwrap(), None);
        let root = Identity { uid: 0, gid: 0, groups: vec![0] };
        for user in ["root", "0"] {
            let is = Identity::named(user, "").unwrap().unwrap();
            assert_eq!((is.uid, is.gid), (0, 0));
            assert!(is.groups.contains(&0));
        }
        assert_eq!(Identity::named("nobody", "0").unwrap().unwrap().gid, 0);
        assert_eq!(Identity::named("nobody", "root").unwrap().unwrap().gid, 0);
        // Numbers without an account.
        let is = Identity::named("54321", "54322").unwrap().unwrap();
        assert_eq!(is, Identity { uid: 54321, gid: 54322, groups: vec![54322] });
        let (uid, _) = effective();
        let is = Identity::named("", "54322").unwrap().unwrap();
        assert_eq!(is, Identity { uid, gid: 54322, groups: vec![54322] });
        assert_ne!(Identity::named("nobody", "").unwrap().unwrap(), root);
    }

    #[test]
    fn who_is_not_there_is_an_error_that_names_the_option() {
        let text = "there is no such";
        assert_eq!(refused("no-such-user", ""), format!("user = no-such-user: {text} user"));
        assert_eq!(refused("", "no-such-group"), format!("group = no-such-group: {text} group"));
        assert!(refused("54321", "").contains("set group, too"));
        for number in ["4294967295", "4294967296", "99999999999999999999"] {
            assert_eq!(refused(number, "0"), format!("user = {number}: nobody has this number"));
            assert_eq!(refused("0", number), format!("group = {number}: nobody has this number"));
        }
        assert!(refused("+0", "0").contains("there is no such user"));
    }

    #[test]
    fn whoever_it_is_already_can_be_taken_on() {
        let (uid, gid) = effective();
        let now = Identity { uid, gid, groups: vec![gid] };
        assert!(now.is_now().unwrap());
        now.check().unwrap();
        let other = Identity { uid: uid + 1, gid, groups: vec![] };
        assert!(!other.is_now().unwrap());
        if uid == 0 {
            other.check().unwrap();
        } else {
            assert_eq!(other.check().unwrap_err().kind(), Kind::Invalid);
            assert_eq!(other.take_on().unwrap_err().kind(), Kind::Invalid);
        }
    }

    #[test]
    fn what_needs_more_room_gets_it() {
        let mut rooms = Vec::new();
        let found = with_room(|room| {
            rooms.push(room.len());
            if room.len() < 10_000 { (libc::ERANGE, None) } else { (0, Some(())) }
        });
        assert_eq!((found.unwrap(), rooms), (Some(()), vec![1024, 4096, 16_384]));
        assert_eq!(with_room(|_| (libc::ENOENT, None::<()>)).unwrap(), None);
        let error = with_room(|_| (libc::EIO, None::<()>)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        assert!(with_room(|_| (libc::ERANGE, None::<()>)).is_err());
    }
}
