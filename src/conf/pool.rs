//! What the configuration of a pool may say, and what it has from the instance that it is of.

use std::ffi::CStr;
use std::fmt;

use super::Quoted;
use super::options::options;
use super::settings::Settings;
use crate::base::error::{Error, Kind, Result};

/// What the workers of the instance's own application are called.
pub const MAIN: &str = "main";

/// The most letters in a name.
pub const NAME_MAX: usize = 32;

/// Options of the process that supervises, or of all its workers together.
pub const PROCESS: [&str; 8] = [
    "worker_model",
    "signals",
    "fork_unsafe",
    "pidfile",
    "control_socket",
    "systemd",
    "reap_orphans",
    "lame_duck",
];

/// Whether a pool can be called so: it is a label, a word in log lines and a table in files.
///
/// # Errors
/// `Kind::Invalid`, with what a name is.
pub fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) {
        let text = format!(
            "pool {}: a name has 1 to {NAME_MAX} letters, digits, '_', '-' or '.'",
            Quoted(name)
        );
        return Err(Error::new(Kind::Invalid, text));
    }
    if name == MAIN {
        let text = format!("pool {name}: the instance's own application is called that");
        return Err(Error::new(Kind::Invalid, text));
    }
    Ok(())
}

/// Says whose an error is, unless it is that of the pool which needs no name.
pub fn within(pool: &str, error: Error) -> Error {
    if pool == MAIN { error } else { error.within(format_args!("pool {pool}")) }
}

/// A name with a NUL behind it, which needs no memory of its own.
#[derive(Clone, Copy)]
pub struct Name([u8; NAME_MAX + 1]);

impl Name {
    /// Of what is too long the beginning is kept.
    pub fn of(name: &str) -> Name {
        let mut octets = [0; NAME_MAX + 1];
        octets.iter_mut().zip(name.bytes().take(NAME_MAX)).for_each(|(to, from)| *to = from);
        Name(octets)
    }

    /// For C.
    pub fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

impl Default for Name {
    fn default() -> Self {
        Name::of(MAIN)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_c().fmt(f)
    }
}

impl Settings {
    /// Options that this pool says, and that are not a pool's.
    pub fn not_a_pools(&self) -> impl Iterator<Item = Error> {
        PROCESS.into_iter().filter(|name| self.says(name)).map(|name| {
            let text = format!("{name}: an option of the whole process; set it for the instance");
            Error::new(Kind::Invalid, text)
        })
    }

    /// These, of a pool, with what it does not say itself: that is as `instance` has it.  Where it
    /// listens is its own.
    pub fn within(&self, instance: &Settings) -> Settings {
        let mut all = self.clone();
        for option in options().iter().filter(|it| !it.is_list() && !self.says(it.name())) {
            let done = option.set(&mut all, &option.get(instance));
            debug_assert!(done.is_ok(), "{done:?}");
        }
        all
    }

    /// Whether an option was set, or is not what it is unless set.
    pub fn says(&self, name: &str) -> bool {
        let option = options().iter().find(|option| option.name() == name);
        option.is_some_and(|option| {
            self.said.contains(&option.id()) || option.get(self) != option.get(&Settings::default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn options_of_the_process_are_options() {
        let known: Vec<_> = options().iter().map(|option| option.name()).collect();
        assert!(PROCESS.iter().all(|name| known.contains(name)));
    }

    #[test]
    fn a_name_is_a_string_of_c() {
        assert_eq!(Name::default().as_c(), c"main");
        assert_eq!(Name::of("shop").as_c(), c"shop");
        assert_eq!(Name::of(&"x".repeat(40)).as_c().count_bytes(), NAME_MAX);
    }

    #[test]
    fn names_are_plain() {
        for name in ["a", "shop-2.eu_1", &"x".repeat(32)] {
            check_name(name).unwrap();
        }
        for name in ["", "main", "a b", "a\"b", "\u{e9}", "a/b", &"x".repeat(33)] {
            assert_eq!(check_name(name).unwrap_err().kind(), Kind::Invalid, "{name}");
        }
    }

    #[test]
    fn what_a_pool_does_not_say_is_as_the_instance_has_it() {
        let (mut instance, mut pool) = (Settings::default(), Settings::default());
        for (name, value) in [
            ("bind", ":80"),
            ("workers", "7"),
            ("max_body", "1m"),
            ("user", "root"),
            ("umask", "077"),
        ] {
            instance.set(name, value).unwrap();
        }
        instance.keepalive = Duration::from_secs(77);
        pool.set("bind", ":81").unwrap();
        pool.set("workers", "2").unwrap();
        pool.header_timeout = Duration::from_secs(3);
        let preset = Settings::default().get("max_body").unwrap();
        let all = pool.within(&instance);
        assert_eq!((all.workers, all.keepalive.as_secs()), (2, 77));
        assert_eq!(
            (all.user.as_str(), all.umask, all.header_timeout.as_secs()),
            ("root", Some(0o77), 3)
        );
        assert_eq!(all.listeners, pool.listeners);
        assert_eq!(all.max_body, 1 << 20);
        pool.set("max_body", &preset).unwrap();
        assert_eq!(pool.within(&instance).get("max_body").unwrap(), preset, "it was said");
    }

    #[test]
    fn what_is_not_a_pools_is_named() {
        let mut pool = Settings::default();
        assert_eq!(pool.not_a_pools().count(), 0);
        pool.set("signals", "auto").unwrap();
        pool.pidfile = "/run/x".into();
        let texts: Vec<_> = pool.not_a_pools().map(|it| it.message().to_owned()).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with("signals: an option of the whole process"), "{texts:?}");
        assert!(texts[1].starts_with("pidfile: "), "{texts:?}");
    }
}
