//! Which application a request is for, where several are mounted: each has a mount point, a host and a
//! prefix of the path, and the longest match wins.
//!
//! A host counts before a path: of all that match, first those of this very host, then those of
//! `*.example.org` (the longest of them first), then those of all hosts; among these the longest prefix.
//! A prefix matches whole segments of the decoded path, octet for octet: `/a` is not for `/ab`, and
//! nothing is done about `..` or `//`.  Nothing is allocated to find out.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use crate::base::error::{Error, Kind, Result};
use crate::conf::Quoted;
use crate::wire::percent;

use super::app::Application;

/// Where an application is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountPoint {
    hosts: Hosts,
    /// Decoded; what becomes of SCRIPT_NAME: empty, or a slash and no slash at the end.
    prefix: Vec<u8>,
}

/// Which hosts; names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Hosts {
    /// This one.
    One(String),
    /// All whose names end so: a dot, and a name.
    Below(String),
    #[default]
    All,
}

impl MountPoint {
    /// Everything.
    pub const ROOT: MountPoint = MountPoint { hosts: Hosts::All, prefix: Vec::new() };

    /// What is written "/prefix", "host/prefix", "*.host/prefix" (the hosts below it); "/" is all of a
    /// host, and a slash at the end means nothing.  Hosts have no port; in the path `%` stands before two
    /// hexadecimal digits, as in a URL.
    ///
    /// # Errors
    /// `Kind::Invalid`: what is wrong with it, and how it is meant.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| {
            Err(Error::new(Kind::Invalid, format!("mount point {}: {why}", Quoted(text))))
        };
        if text.contains("://") {
            return wrong("leave out the scheme: \"host/prefix\"".into());
        }
        let Some(slash) = text.find('/') else {
            return wrong(format!(
                "there is no slash: a path begins with one (\"/{text}\"), and one ends \
                                  a host (\"{text}/\")"
            ));
        };
        let (host, path) = text.split_at(slash);
        match (hosts(host), prefix(path)) {
            (Ok(hosts), Ok(prefix)) => Ok(MountPoint { hosts, prefix }),
            (Err(why), _) | (_, Err(why)) => wrong(why.into()),
        }
    }

    /// Whether it is everything.
    pub fn is_root(&self) -> bool {
        *self == MountPoint::ROOT
    }

    /// Whether it is for requests to `host`, a name without its port, for this path.
    fn takes(&self, host: &[u8], path: &[u8]) -> bool {
        let is_host = match &self.hosts {
            Hosts::All => true,
            Hosts::One(name) => host.eq_ignore_ascii_case(name.as_bytes()),
            // At least one octet of a label stands before the dot.
            Hosts::Below(end) => {
                let at = host.len().checked_sub(end.len()).filter(|at| *at > 0);
                at.is_some_and(|at| host[at..].eq_ignore_ascii_case(end.as_bytes()))
            }
        };
        let is_path = match path.strip_prefix(&*self.prefix) {
            // Also what is no path: OPTIONS asks for "*".
            Some(_) if self.prefix.is_empty() => true,
            Some(rest) => rest.is_empty() || rest[0] == b'/',
            None => false,
        };
        is_host && is_path
    }

    /// What wins comes first.
    fn rank(&self) -> impl Ord + use<> {
        let (class, len) = match &self.hosts {
            Hosts::One(name) => (0, name.len()),
            Hosts::Below(end) => (1, end.len()),
            Hosts::All => (2, 0),
        };
        (class, Reverse(len), Reverse(self.prefix.len()))
    }
}

/// As it is written.
impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = Vec::new();
        percent::encode_path(&self.prefix, &mut path);
        let path = if path.is_empty() { "/".into() } else { String::from_utf8_lossy(&path) };
        match &self.hosts {
            Hosts::One(name) => write!(f, "{name}{path}"),
            Hosts::Below(end) => write!(f, "*{end}{path}"),
            Hosts::All => f.write_str(&path),
        }
    }
}

/// The part before the first slash.
fn hosts(text: &str) -> std::result::Result<Hosts, &'static str> {
    if text.is_empty() {
        return Ok(Hosts::All);
    }
    if let Some(inside) = text.strip_prefix('[') {
        let inside = inside.strip_suffix(']').ok_or("a host has no port")?;
        let is_one = inside.parse::<std::net::Ipv6Addr>().is_ok();
        let one = Hosts::One(text.to_ascii_lowercase());
        return if is_one { Ok(one) } else { Err("this is no IPv6 address") };
    }
    if text.contains(':') {
        return Err("a host has no port");
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let below = name.strip_prefix("*.");
    let labels = below.unwrap_or(name);
    if labels.contains('*') {
        return Err(
            "a \"*\" in a host stands for its first labels: \"*.example.org/\"; all hosts are none",
        );
    }
    let is_label = |label: &str| {
        let is_of_one = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        !label.is_empty() && label.bytes().all(is_of_one)
    };
    if !labels.split('.').all(is_label) {
        return Err("this is no host: letters, digits, \"-\" and \".\"; others as xn--");
    }
    let labels = labels.to_ascii_lowercase();
    Ok(if below.is_some() { Hosts::Below(format!(".{labels}")) } else { Hosts::One(labels) })
}

/// The rest.
fn prefix(text: &str) -> std::result::Result<Vec<u8>, &'static str> {
    if text.contains(['?', '#']) {
        return Err("a path, without a query");
    }
    let is_coded = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_coded) {
        return Err("two hexadecimal digits come after \"%\" (\"%25\" is a \"%\")");
    }
    let mut path = Vec::new();
    percent::decode_into(text.as_bytes(), &mut path);
    if path.ends_with(b"/") {
        path.pop();
    }
    if path.iter().any(u8::is_ascii_control) {
        return Err("a control character is in it");
    }
    match path.split(|octet| *octet == b'/').skip(1).find(|it| matches!(*it, b"" | b"." | b"..")) {
        Some(b"") => Err("an empty segment, between two slashes"),
        Some(_) => Err("clients take \".\" and \"..\" out of a path"),
        None => Ok(path),
    }
}

/// The name in a Host header (RFC 9110 section 7.2), without a port and without the dot of the root.
fn name_of(host: &[u8]) -> &[u8] {
    let end = match host.first() {
        Some(b'[') => memchr::memchr(b']', host).map_or(host.len(), |at| at + 1),
        _ => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    let name = &host[..end];
    name.strip_suffix(b".").unwrap_or(name)
}

/// What is mounted where.
#[derive(Debug)]
pub struct Mounts<T> {
    /// What wins comes first.
    all: Vec<(MountPoint, T)>,
    /// When each of them was named.
    named: Vec<usize>,
    /// Whether a host matters.
    by_host: bool,
}

/// One of them, that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    index: usize,
    /// How many octets of the path are its prefix.
    pub len: usize,
}

impl<T> Mounts<T> {
    /// These; no two are at one place.
    pub fn new(all: Vec<(MountPoint, T)>) -> Self {
        let mut all: Vec<_> = all.into_iter().enumerate().collect();
        all.sort_by_key(|(_, (point, _))| point.rank());
        let (named, all): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let by_host = all.iter().any(|(point, _)| point.hosts != Hosts::All);
        Mounts { all, named, by_host }
    }

    /// What a request for this decoded path is for.  `host` is asked for where it matters: what a Host
    /// header says, empty where there is none.
    pub fn find<'a>(&self, host: impl FnOnce() -> &'a [u8], path: &[u8]) -> Option<Found> {
        let host = if self.by_host { name_of(host()) } else { b"" };
        let index = self.all.iter().position(|(point, _)| point.takes(host, path))?;
        Some(Found { index, len: self.all[index].0.prefix.len() })
    }

    /// That one.
    pub fn get(&self, found: Found) -> Option<&T> {
        self.all.get(found.index).map(|(_, it)| it)
    }

    /// All, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &(MountPoint, T)> {
        self.all.iter()
    }
}

/// They go as what was begun ends: the last one that was named goes first.
impl<T> Drop for Mounts<T> {
    fn drop(&mut self) {
        let mut all: Vec<_> = self.named.drain(..).zip(self.all.drain(..)).collect();
        all.sort_by_key(|(named, _)| Reverse(*named));
        all.into_iter().for_each(drop);
    }
}

/// The applications of an instance.
#[derive(Clone, Debug)]
pub enum Apps {
    /// One, for everything.
    One(Arc<Application>),
    /// Each has its place, and there may be none for a request.
    Mounted(Arc<Mounts<Arc<Application>>>),
}

impl Apps {
    /// Those that are mounted so.
    pub fn new(mut all: Vec<(MountPoint, Arc<Application>)>) -> Self {
        match all.as_slice() {
            [(point, _)] if point.is_root() => Apps::One(all.remove(0).1),
            _ => Apps::Mounted(Arc::new(Mounts::new(all))),
        }
    }

    /// Whether there is one for every request.
    pub fn has_root(&self) -> bool {
        self.all().iter().any(|(point, _)| point.is_root())
    }

    /// All, with their places.
    pub fn all(&self) -> Vec<(&MountPoint, &Application)> {
        static ROOT: MountPoint = MountPoint::ROOT;
        match self {
            Apps::One(app) => vec![(&ROOT, app)],
            Apps::Mounted(mounts) => mounts.iter().map(|(point, app)| (point, &**app)).collect(),
        }
    }
}

/// An application and its place, in a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a>(pub &'a MountPoint, pub &'a Application);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Named(point, app) = self;
        write!(f, "application \"{}\"", app.name())?;
        if point.is_root() { Ok(()) } else { write!(f, " at {point}") }
    }
}

#[cfg(test)]
mod tests;
