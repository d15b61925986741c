//! Users and groups, by name or number.

use nix::unistd::{Group, User};

use crate::base::error::{Error, Kind, Result};

/// The numbers of a user and a group; of an empty name there is none.  Asks the system, and may wait
/// for it.
///
/// # Errors
/// `Kind::Invalid`: there is no such user, or group.  `Kind::Io`: nobody can tell.
pub fn ids(user: &str, group: &str) -> Result<(Option<u32>, Option<u32>)> {
    let user = id("user", user, || Ok(User::from_name(user)?.map(|user| user.uid.as_raw())))?;
    let group =
        id("group", group, || Ok(Group::from_name(group)?.map(|group| group.gid.as_raw())))?;
    Ok((user, group))
}

fn id(
    what: &str,
    name: &str,
    find: impl FnOnce() -> nix::Result<Option<u32>>,
) -> Result<Option<u32>> {
    if name.is_empty() {
        return Ok(None);
    }
    // All bits set means "leave it" to the system.
    if let Some(id) = name.parse().ok().filter(|id| *id != u32::MAX) {
        return Ok(Some(id));
    }
    match find() {
        Ok(Some(id)) => Ok(Some(id)),
        Ok(None) => Err(Error::new(Kind::Invalid, format!("there is no {what} {name}"))),
        Err(error) => Err(Error::os(format_args!("look up the {what} {name}"), &error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(ids("root", "root").unwrap(), (Some(0), Some(0)));
        assert_eq!(ids("", "1234").unwrap(), (None, Some(1234)));
        assert_eq!(ids("", "").unwrap(), (None, None));
        for (user, group, text) in [
            ("no-such-user", "", "there is no user no-such-user"),
            ("root", "no-such-group", "there is no group no-such-group"),
            ("4294967295", "", "there is no user 4294967295"),
        ] {
            let error = ids(user, group).unwrap_err();
            assert_eq!((error.kind(), error.message()), (Kind::Invalid, text));
        }
    }
}
