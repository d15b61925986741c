//! Who a process is: another user and group for good, as a server needs it that has bound its sockets
//! as root.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::{prctl, stat};
use nix::unistd::{self, Gid, Group, Uid, User};

use crate::base::error::{Error, Kind, Result};

/// A user with a group, and the other groups that the user is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
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
                Some(gid) => Gid::from_raw(gid),
                None => group_named(name)?,
            }),
        };
        if user.is_empty() {
            let uid = Uid::effective();
            return Ok(gid.map(|gid| Identity { uid, gid, groups: vec![gid] }));
        }
        let action = format!("user = {user}");
        let number = number("user", user)?.map(Uid::from_raw);
        let account = found(match number {
            Some(uid) => User::from_uid(uid),
            None => User::from_name(user),
        });
        let account = account.map_err(|error| os(&action, error))?;
        let wrong = |text: &str| Err(Error::new(Kind::Invalid, format!("{action}: {text}")));
        match (account, number, gid) {
            (Some(account), _, gid) => {
                let gid = gid.unwrap_or(account.gid);
                let name = CString::new(account.name).map_err(|_| Error::from(Kind::Invalid))?;
                let groups = unistd::getgrouplist(&name, gid)
                    .map_err(|error| os(&format!("{action}: its groups"), error))?;
                Ok(Some(Identity { uid: account.uid, gid, groups }))
            }
            (None, Some(uid), Some(gid)) => Ok(Some(Identity { uid, gid, groups: vec![gid] })),
            (None, Some(_), None) => wrong("no account has this number: set group, too"),
            (None, None, _) => wrong("there is no such user"),
        }
    }

    /// Whether this process could become that.
    ///
    /// # Errors
    /// `Kind::Invalid`: it is not root, and somebody else.
    pub fn check(&self) -> Result<()> {
        let (uid, gid) = (Uid::effective(), Gid::effective());
        if uid.is_root() || self.is_now()? {
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
        if Uid::effective().is_root() {
            keeping_the_parent(|| self.change())?;
        }
        Ok(())
    }

    fn change(&self) -> Result<()> {
        let action = |what| format!("become user {}, group {}: {what}", self.uid, self.gid);
        let (uid, gid) = (self.uid, self.gid);
        unistd::setgroups(&self.groups).map_err(|error| os(&action("setgroups"), error))?;
        unistd::setresgid(gid, gid, gid).map_err(|error| os(&action("setresgid"), error))?;
        unistd::setresuid(uid, uid, uid).map_err(|error| os(&action("setresuid"), error))?;
        // It is meant to fail.
        let can_return = !uid.is_root() && unistd::setuid(Uid::from_raw(0)).is_ok();
        if can_return || !self.is_now()? {
            let text = "user: the process can become root again, and must not go on";
            return Err(Error::new(Kind::State, text));
        }
        Ok(())
    }

    fn is_now(&self) -> Result<bool> {
        let ids = unistd::getresuid().and_then(|uids| Ok((uids, unistd::getresgid()?)));
        let (uids, gids) = ids.map_err(|error| os("ask who this process is", error))?;
        Ok([uids.real, uids.effective, uids.saved] == [self.uid; 3]
            && [gids.real, gids.effective, gids.saved] == [self.gid; 3])
    }

    /// Gives a file to this user and group, if this process is root.
    pub fn give(&self, file: &File) -> io::Result<()> {
        if Uid::effective().is_root() {
            unistd::fchown(file.as_fd(), Some(self.uid), Some(self.gid))?;
        }
        Ok(())
    }
}

/// The user that this process is, as files and sockets see it.
pub fn own() -> u32 {
    Uid::effective().as_raw()
}

/// What new files of this process are not to allow, from now on.
pub fn set_umask(mask: u32) {
    stat::umask(stat::Mode::from_bits_truncate(mask));
}

/// A change of user makes the system forget that this process is to die with its parent.
fn keeping_the_parent(change: impl FnOnce() -> Result<()>) -> Result<()> {
    let action = "what happens when the parent dies";
    let parent = unistd::getppid();
    let signal = prctl::get_pdeathsig().map_err(|error| os(action, error))?;
    change()?;
    if signal.is_none() {
        return Ok(());
    }
    prctl::set_pdeathsig(signal).map_err(|error| os(action, error))?;
    if unistd::getppid() != parent {
        return Err(Error::new(Kind::State, "user: the parent process has ended meanwhile"));
    }
    Ok(())
}

fn os(action: &str, error: Errno) -> Error {
    Error::os(action, &error.into())
}

/// The numbers of a user and a group, by name or number; of an empty name there is none.
///
/// # Errors
/// As [`Identity::named`].
pub fn ids(user: &str, group: &str) -> Result<(Option<u32>, Option<u32>)> {
    let uid = match (user, number("user", user)?) {
        ("", _) => None,
        (_, Some(uid)) => Some(uid),
        (name, None) => Some(user_named(name)?.uid.as_raw()),
    };
    let gid = match (group, number("group", group)?) {
        ("", _) => None,
        (_, Some(gid)) => Some(gid),
        (name, None) => Some(group_named(name)?.as_raw()),
    };
    Ok((uid, gid))
}

/// A number, if it is one.  All bits set mean "as before" to the system, and so are nobody's.
fn number(option: &str, text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number != u32::MAX => Ok(Some(number)),
        _ => Err(Error::new(Kind::Invalid, format!("{option} = {text}: nobody has this number"))),
    }
}

fn user_named(user: &str) -> Result<User> {
    let action = format!("user = {user}");
    match found(User::from_name(user)) {
        Ok(Some(account)) => Ok(account),
        Ok(None) => Err(Error::new(Kind::Invalid, format!("{action}: there is no such user"))),
        Err(error) => Err(os(&action, error)),
    }
}

fn group_named(group: &str) -> Result<Gid> {
    let action = format!("group = {group}");
    match found(Group::from_name(group)) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(Error::new(Kind::Invalid, format!("{action}: there is no such group"))),
        Err(error) => Err(os(&action, error)),
    }
}

/// Some numbers of errors mean that there is nothing (getpwnam(3)).
fn found<T>(looked_up: nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    match looked_up {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        looked_up => looked_up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(uid: u32, gid: u32) -> Identity {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Identity { uid, gid, groups: vec![gid] }
    }

    fn refused(user: &str, group: &str) -> String {
        let error = Identity::named(user, group).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        error.message().to_owned()
    }

    #[test]
    fn the_numbers_of_names_are_found() {
        assert_eq!(ids("root", "root").unwrap(), (Some(0), Some(0)));
        assert_eq!(ids("", "1234").unwrap(), (None, Some(1234)));
        assert_eq!(ids("4321", "").unwrap(), (Some(4321), None));
        assert_eq!(ids("", "").unwrap(), (None, None));
        for (user, group) in [("no-such-user", ""), ("root", "no-such-group"), ("4294967295", "")] {
            assert_eq!(ids(user, group).unwrap_err().kind(), Kind::Invalid);
        }
    }

    #[test]
    fn names_and_numbers_are_looked_up() {
        assert_eq!(Identity::named("", "").unwrap(), None);
        for user in ["root", "0"] {
            let is = Identity::named(user, "").unwrap().unwrap();
            assert_eq!((is.uid.as_raw(), is.gid.as_raw()), (0, 0));
            assert!(is.groups.contains(&is.gid));
        }
        assert_eq!(Identity::named("nobody", "0").unwrap().unwrap().gid.as_raw(), 0);
        assert_eq!(Identity::named("nobody", "root").unwrap().unwrap().gid.as_raw(), 0);
        // Numbers without an account.
        let is = Identity::named("54321", "54322").unwrap().unwrap();
        assert_eq!(is, identity(54321, 54322));
        let uid = Uid::effective().as_raw();
        let is = Identity::named("", "54322").unwrap().unwrap();
        assert_eq!(is, identity(uid, 54322));
        assert!(!Identity::named("nobody", "").unwrap().unwrap().uid.is_root());
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
        let (uid, gid) = (Uid::effective().as_raw(), Gid::effective().as_raw());
        let now = identity(uid, gid);
        assert!(now.is_now().unwrap());
        now.check().unwrap();
        let other = identity(uid + 1, gid);
        assert!(!other.is_now().unwrap());
        if uid == 0 {
            other.check().unwrap();
        } else {
            assert_eq!(other.check().unwrap_err().kind(), Kind::Invalid);
            assert_eq!(other.take_on().unwrap_err().kind(), Kind::Invalid);
        }
    }

    #[test]
    fn nobody_is_not_an_error_of_the_system() {
        for nobody in [Errno::ENOENT, Errno::ESRCH, Errno::EBADF, Errno::EPERM] {
            assert_eq!(found::<()>(Err(nobody)), Ok(None));
        }
        assert_eq!(found::<()>(Err(Errno::EIO)), Err(Errno::EIO));
        assert_eq!(found(Ok(Some(1))), Ok(Some(1)));
    }
}
