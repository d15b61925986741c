//! What a ready-made application or middleware is told: "key=value ...".

use std::time::Duration;

use crate::base::error::{Error, Kind, Result};
use crate::conf::{Quoted, value};

/// The pairs, in order.
#[derive(Debug)]
pub(super) struct Arguments<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Arguments<'a> {
    /// `usage` has an example of every key that there is: "root=/directory timeout=30s".
    ///
    /// # Errors
    /// `Kind::Invalid`: an unknown key, or one without a value.
    pub(super) fn read(args: &'a str, usage: &str) -> Result<Self> {
        let is_known = |key| usage.split(' ').any(|pair| pair.split_once('=').unwrap().0 == key);
        let pairs = args.split_whitespace().map(|pair| match pair.split_once('=') {
            Some((key, value)) if !value.is_empty() && is_known(key) => Ok((key, value)),
            _ => {
                let text = format!("{}: write {usage}", Quoted(pair));
                Err(Error::new(Kind::Invalid, text))
            }
        });
        Ok(Arguments(pairs.collect::<Result<_>>()?))
    }

    /// All of them.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }

    /// The last with this key.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|pair| pair.0 == key).map(|pair| pair.1)
    }

    /// The same; `otherwise` is an error that says what is missing.
    pub(super) fn need(&self, key: &str, otherwise: &'static str) -> Result<&'a str> {
        self.get(key)
            .ok_or_else(|| Error::new(Kind::Invalid, format!("{key} is missing: {otherwise}")))
    }

    /// A duration.
    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>> {
        let read = |text| value::duration(text).ok_or_else(|| wrong(key, text, "a duration (30s)"));
        self.get(key).map(read).transpose()
    }

    /// `on` or `off`; without it, `off`.
    pub(super) fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None | Some("off") => Ok(false),
            Some("on") => Ok(true),
            Some(text) => Err(wrong(key, text, "on or off")),
        }
    }
}

/// The error for a value.
pub(super) fn wrong(key: &str, value: &str, expected: &str) -> Error {
    Error::new(Kind::Invalid, format!("{key} = {}: expected {expected}", Quoted(value)))
}
