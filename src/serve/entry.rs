//! What a process does before it has an application to serve: it becomes who it is to be.

use crate::base::error::Result;
use crate::conf::settings::Settings;
use crate::sys::notify;
use crate::sys::user::{self, Identity};

/// What a worker that is a process does first, before there is an application in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The service manager's words are the arbiter's.
    pub(super) forgets: bool,
    identity: Option<Identity>,
    umask: Option<u32>,
}

impl Entry {
    pub(super) fn of(settings: &Settings) -> Result<Entry> {
        Ok(Entry {
            forgets: settings.systemd == Some(true),
            identity: settings.identity()?,
            umask: settings.umask,
        })
    }

    pub(super) fn enter(&self) -> Result<()> {
        if self.forgets {
            notify::forget();
        }
        self.enter_process()
    }

    /// The same in a process that serves and is no worker: what a service manager says is its own.
    pub(super) fn enter_process(&self) -> Result<()> {
        if let Some(umask) = self.umask {
            user::set_umask(umask);
        }
        self.identity.as_ref().map_or(Ok(()), Identity::take_on)
    }

    pub(super) fn changes(&self) -> bool {
        self.identity.is_some() || self.umask.is_some()
    }

    pub(super) fn is_same(&self, other: &Entry) -> bool {
        (&self.identity, self.umask) == (&other.identity, other.umask)
    }
}
