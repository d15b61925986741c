//! Which application a request is for, and what its path says.

use std::sync::Arc;

use crate::base::octets::Octets;
use crate::gateway::abi::{APP_NONBLOCKING, APP_SERIAL, ENV_MAY_BLOCK, Environ};
use crate::gateway::app::Application;
use crate::gateway::mounts::{Apps, Found, Mounts};

use super::Exchange;

impl Exchange {
    /// Find the application, and tell it from the path: what is before PATH_INFO is SCRIPT_NAME, also
    /// behind a web server that has a part of the path for itself.
    #[inline(never)]
    pub(super) fn route(&self, env: &mut Environ, mounts: &Mounts<Arc<Application>>) {
        let path = env.path_info.as_slice();
        let found = mounts.find(|| env.get(b"HTTP_HOST").as_slice(), path);
        self.mount.set(found);
        // What none is for is answered on the loop, too.
        let flags = self.app().map_or(APP_NONBLOCKING, Application::flags);
        let is_told = self.service.threads_by_flags;
        self.runs_on_loop.set(is_told && flags & (APP_NONBLOCKING | APP_SERIAL) != 0);
        self.must_not_block.set(is_told && flags & APP_NONBLOCKING != 0);
        if self.must_not_block.get() {
            env.flags &= !ENV_MAY_BLOCK;
        }
        let Some(Found { len: len @ 1.., .. }) = found else { return };
        let (prefix, rest) = path.split_at(len);
        env.path_info = Octets::new(rest);
        env.script_name = match env.script_name.as_slice() {
            b"" => Octets::new(prefix),
            before => self.arena.concat(&[before, prefix]),
        };
    }

    /// The application that this request is for; there may be none.
    #[inline]
    pub(super) fn app(&self) -> Option<&Application> {
        match &self.service.apps {
            Apps::One(app) => Some(app),
            Apps::Mounted(mounts) => mounts.get(self.mount.get()?).map(|app| &**app),
        }
    }

    /// Whether that runs on the loop although others run on threads.
    #[inline]
    pub fn runs_on_loop(&self) -> bool {
        self.runs_on_loop.get()
    }

    /// Whether that must not block although others may.
    pub fn must_not_block(&self) -> bool {
        self.must_not_block.get()
    }

    /// Whether there is one.
    pub fn is_mounted(&self) -> bool {
        self.app().is_some()
    }

    /// Whether it asks for this path, wherever an application is mounted.
    pub fn path_is(&self, path: &[u8]) -> bool {
        let env = self.env.borrow();
        let Some(Found { len, .. }) = self.mount.get() else { return env.path_info() == path };
        let (_, prefix) = env.script_name().split_at(env.script_name().len() - len);
        path.strip_prefix(prefix) == Some(env.path_info())
    }

    /// The path that it asks for: what leads to the application, and the rest.
    pub fn with_path<T>(&self, see: impl FnOnce(&[u8], &[u8]) -> T) -> T {
        let env = self.env.borrow();
        see(env.script_name(), env.path_info())
    }

    /// Whether it only asks to see something.
    pub fn is_read_only(&self) -> bool {
        matches!(self.env.borrow().request_method(), b"GET" | b"HEAD")
    }
}
