//! What may be said of one listener beside its address, as text: `backlog=64 owner=www-data:www-data`,
//! or `?backlog=64&owner=www-data` behind the address.

use std::fmt;

use super::Listener;
use crate::base::error::{Error, Kind, Result};
use crate::conf::options::by_name;
use crate::conf::settings::Settings;
use crate::conf::trust::Networks;
use crate::conf::{Quoted, value};

/// What can be said, and how.
const KEYS: [(&str, &str); 9] = [
    ("backlog", "a whole number from 1 to 65535"),
    ("nodelay", "1 or 0"),
    ("defer_accept", "whole seconds, up to 1h"),
    ("fastopen", "a whole number from 0 to 65535"),
    ("rcvbuf", "a size from 1k to 1g"),
    ("sndbuf", "a size from 1k to 1g"),
    ("reuse_port", "1 or 0"),
    ("mode", "octal digits up to 777"),
    ("owner", "user, user:group or :group"),
];

/// Options that one listener may have for itself, under these keys.
const OWN: [(&str, &str); 16] = [
    ("trust", "forwarded_allow_ips"),
    ("forwarded_for", "forwarded_for"),
    ("proxy_protocol", "proxy_protocol"),
    ("proxy_allow_ips", "proxy_allow_ips"),
    ("max_body", "max_body"),
    ("limit_request_line", "limit_request_line"),
    ("limit_request_fields", "limit_request_fields"),
    ("limit_request_field_size", "limit_request_field_size"),
    ("limit_request_head", "limit_request_head"),
    ("header_timeout", "header_timeout"),
    ("body_timeout", "body_timeout"),
    ("write_timeout", "write_timeout"),
    ("keepalive", "keepalive"),
    ("metrics_path", "metrics_path"),
    ("stats_path", "stats_path"),
    ("stats_only", "stats_only"),
];

/// The listeners of a list that commas separate; the entries of a list of networks stay together.
pub(in crate::conf) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let all = rest?;
        let goes_on = |at: usize| {
            let next = all[at + 1..].split([',', '&']).next().unwrap_or_default();
            all[..at].contains('?') && Networks::is_entry(next)
        };
        let end = all.match_indices(',').map(|(at, _)| at).find(|at| !goes_on(*at));
        let piece = &all[..end.unwrap_or(all.len())];
        rest = end.map(|at| &all[at + 1..]);
        Some(piece)
    })
}

impl Listener {
    /// Take `key=value` after `key=value`, with what `is_separator` between them.  What is refused leaves the
    /// listener half changed.  `Kind::Unknown`: no such key; `Kind::Invalid`: not a value of it.
    pub fn set_options(&mut self, text: &str, is_separator: fn(char) -> bool) -> Result<()> {
        for pair in text.split(is_separator).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                let text = format!("{}: write key=value", Quoted(pair));
                Error::new(Kind::Invalid, text)
            })?;
            if let Some((_, option)) = OWN.iter().find(|(known, _)| *known == key) {
                self.set_own(key, option, value)?;
                continue;
            }
            let Some((_, expected)) = KEYS.iter().find(|(known, _)| *known == key) else {
                let known: Vec<_> = KEYS.iter().chain(&OWN).map(|(key, _)| *key).collect();
                let text =
                    format!("no listener option {}: known are {}", Quoted(key), known.join(", "));
                return Err(Error::new(Kind::Unknown, text));
            };
            self.set_option(key, value).ok_or_else(|| {
                let text = format!("{key} = {}: expected {expected}", Quoted(value));
                Error::new(Kind::Invalid, text)
            })?;
        }
        Ok(())
    }

    fn set_own(&mut self, key: &str, option: &'static str, value: &str) -> Result<()> {
        let (option, mut scratch) = (by_name(option)?, Settings::default());
        option.set(&mut scratch, value).map_err(|error| {
            let text = format!("{key} = {}: expected {}", Quoted(value), option.accepts());
            Error::new(error.kind(), text)
        })?;
        self.own.retain(|(name, _)| *name != option.name());
        self.own.push((option.name(), option.get(&scratch)));
        Ok(())
    }

    /// Whether some options have another value here.
    pub fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Give these options their values.
    pub(in crate::conf) fn apply(&self, settings: &mut Settings) {
        for (option, value) in &self.own {
            let done = settings.set(option, value);
            debug_assert!(done.is_ok(), "{done:?}");
        }
    }

    fn set_option(&mut self, key: &str, value: &str) -> Option<()> {
        let number = |most: u32| {
            let n = value::int(value).and_then(|n| u32::try_from(n).ok());
            n.filter(|n| *n <= most)
        };
        let octets = || {
            let n = value::size(value).and_then(|n| u32::try_from(n).ok());
            n.filter(|n| (1 << 10..=1 << 30).contains(n))
        };
        let socket = &mut self.socket;
        match key {
            "backlog" => self.backlog = number(65_535).filter(|n| *n > 0)?,
            "nodelay" => socket.nodelay = Some(value::truth(value)?),
            "defer_accept" => {
                let time = value::duration(value).filter(|time| time.subsec_nanos() == 0)?;
                let seconds = u32::try_from(time.as_secs()).ok();
                socket.defer_accept = Some(seconds.filter(|n| *n <= 3600)?);
            }
            "fastopen" => socket.fastopen = Some(number(65_535)?),
            "rcvbuf" => socket.rcvbuf = Some(octets()?),
            "sndbuf" => socket.sndbuf = Some(octets()?),
            "reuse_port" => self.reuse_port = value::truth(value)?,
            "mode" => {
                let is_octal = (1..=4).contains(&value.len())
                    && value.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
                let mode = u32::from_str_radix(value, 8).ok().filter(|_| is_octal)?;
                self.mode = Some(mode).filter(|mode| (1..=0o777).contains(mode))?;
            }
            _ => {
                let (user, group) = value.split_once(':').unwrap_or((value, ""));
                let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
                if !is_name(user) || !is_name(group) || user.len() + group.len() == 0 {
                    return None;
                }
                self.owner = Some((user.to_owned(), group.to_owned()));
            }
        }
        Some(())
    }

    /// What is not as preset, as [`Listener::set_options`] takes it after `?`.
    pub(super) fn show_options(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '?';
        let mut show = |key: &str, value: &dyn fmt::Display| {
            write!(f, "{}{key}={value}", std::mem::replace(&mut separator, '&'))
        };
        let socket = &self.socket;
        if self.backlog > 0 {
            show("backlog", &self.backlog)?;
        }
        if let Some(on) = socket.nodelay {
            show("nodelay", &u8::from(on))?;
        }
        for (key, value) in [
            ("defer_accept", socket.defer_accept),
            ("fastopen", socket.fastopen),
            ("rcvbuf", socket.rcvbuf),
            ("sndbuf", socket.sndbuf),
            ("reuse_port", self.reuse_port.then_some(1)),
        ] {
            if let Some(value) = value {
                show(key, &value)?;
            }
        }
        if self.mode > 0 {
            show("mode", &format_args!("{:o}", self.mode))?;
        }
        if let Some((user, group)) = &self.owner {
            let colon = if group.is_empty() { "" } else { ":" };
            show("owner", &format_args!("{user}{colon}{group}"))?;
        }
        for (option, value) in &self.own {
            let key = OWN.iter().find(|(_, of)| of == option).map_or(*option, |(key, _)| *key);
            show(key, value)?;
        }
        Ok(())
    }

    /// What contradicts the kind of its socket, in a sentence each.
    pub(in crate::conf) fn contradictions(&self) -> Vec<String> {
        let (is_unix, is_tcp) = (self.is_unix(), self.is_tcp());
        let is_local = is_unix || self.is_abstract();
        let mut found = Vec::new();
        if self.mode != 0 && !is_unix {
            found.push("only a unix socket in the file system has a mode".to_owned());
        }
        if self.mode > 0o777 {
            found.push(format!("mode {:o} is more than 777", self.mode));
        }
        if self.owner.is_some() && !is_unix {
            found.push("only a unix socket in the file system has an owner".to_owned());
        }
        if self.reuse_port && !is_tcp {
            found.push("only a TCP address can be bound more than once".to_owned());
        }
        if self.backlog > 65_535 {
            found.push(format!("backlog {} is more than 65535", self.backlog));
        }
        let socket = &self.socket;
        for (key, is_set) in [
            ("nodelay", socket.nodelay.is_some()),
            ("defer_accept", socket.defer_accept.is_some()),
            ("fastopen", socket.fastopen.is_some()),
            ("rcvbuf", socket.rcvbuf.is_some()),
            ("sndbuf", socket.sndbuf.is_some()),
        ] {
            if is_set && is_local {
                found.push(format!("{key} has no meaning for a unix socket"));
            }
        }
        found
    }
}
