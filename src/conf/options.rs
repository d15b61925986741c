//! Options: how a value of each kind is read, bounded and shown.  `table` has the options
//! themselves: number, name, kind, preset, help, and the field that each sets.
//!
//! The table is the parser, the validator, the documentation (`docs/options.md`) and the flags of a
//! command line.  An option enters when it works.  Numbers are fixed: never renumbered, never
//! given to another option.

mod table;

use std::ffi::CStr;
use std::path::PathBuf;
use std::time::Duration;

use table::OPTIONS;

use super::listener::{self, Listener};
use super::output::Output;
use super::settings::Settings;
use super::trust::Networks;
use super::{Quoted, value};
use crate::base::error::{Error, Kind, Result};

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    id: u32,
    name: &'static CStr,
    preset: &'static CStr,
    help: &'static CStr,
    slot: Slot,
}

/// A field of the settings.
#[derive(Debug)]
struct Field<T: 'static> {
    get: fn(&Settings) -> &T,
    get_mut: fn(&mut Settings) -> &mut T,
}

impl<T> Clone for Field<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Field<T> {}

/// What kind of value an option has, within which bounds, and where it is kept.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Int {
        at: Field<u32>,
        min: u32,
        max: u32,
    },
    Bool(Field<bool>),
    AutoInt {
        at: Field<Option<u32>>,
        max: u32,
    },
    AutoBool(Field<Option<bool>>),
    /// Permissions, in octal.
    AutoMask(Field<Option<u32>>),
    Duration(Field<Duration>),
    Size {
        at: Field<u64>,
        min: u64,
        max: u64,
    },
    Enum {
        choices: Choices,
        get: fn(&Settings) -> i64,
        set: fn(&mut Settings, i64),
    },
    Text(Field<String>),
    Path(Field<PathBuf>),
    Output(Field<Output>),
    AutoOutput(Field<Option<Output>>),
    Listeners(Field<Vec<Listener>>),
    Networks(Field<Networks>),
}

/// One word that an option accepts.
#[derive(Debug)]
struct Choice {
    name: &'static str,
    number: i64,
}

type Choices = &'static [Choice];

const fn here(name: &'static str, number: i64) -> Choice {
    Choice { name, number }
}

/// What stands for "the place where it is used decides".
const AUTO: &str = "auto";

/// The most memory that one limit may grant.
const MEMORY_MAX: u64 = 1 << 30;

/// All options, in the order of their numbers.
pub fn options() -> &'static [Opt] {
    &OPTIONS
}

/// The option with this name.  `Kind::Unknown`: there is none; the message names the nearest.
pub fn by_name(name: &str) -> Result<&'static Opt> {
    OPTIONS.iter().find(|option| option.name() == name).ok_or_else(|| {
        let hint = match nearest(name) {
            Some(known) => format!("; did you mean '{known}'?"),
            None => String::new(),
        };
        Error::new(Kind::Unknown, format!("no option named {}{hint}", Quoted(name)))
    })
}

/// The option with this number, or `Kind::Unknown`.
pub fn by_id(id: u32) -> Result<&'static Opt> {
    OPTIONS
        .iter()
        .find(|option| option.id == id)
        .ok_or_else(|| Error::new(Kind::Unknown, format!("no option has the number {id}")))
}

impl Opt {
    /// Its number: `GW_OPT_<NAME>`.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        text(self.name)
    }

    /// Its preset, as [`Settings::set`] would take it; empty for a list.
    pub fn preset(&self) -> &'static str {
        text(self.preset)
    }

    /// A sentence or two on what it does.
    pub fn help(&self) -> &'static str {
        text(self.help)
    }

    /// Name, kind, preset and help for C.
    pub fn c_strings(&self) -> [&'static CStr; 4] {
        [self.name, self.c_kind(), self.preset, self.help]
    }

    /// What kind of value it takes, in one word: "int", "bool", "ms", "size", "enum", "text",
    /// "path" or "list".
    pub fn kind(&self) -> &'static str {
        text(self.c_kind())
    }

    fn c_kind(&self) -> &'static CStr {
        match self.slot {
            Slot::Int { .. } | Slot::AutoInt { .. } | Slot::AutoMask(_) => c"int",
            Slot::Bool(_) | Slot::AutoBool(_) => c"bool",
            Slot::Duration(_) => c"ms",
            Slot::Size { .. } => c"size",
            Slot::Enum { .. } => c"enum",
            Slot::Text(_) | Slot::Output(_) | Slot::AutoOutput(_) | Slot::Networks(_) => c"text",
            Slot::Path(_) => c"path",
            Slot::Listeners(_) => c"list",
        }
    }

    /// What it accepts, for people: "a whole number from 0 to 1024".
    pub fn accepts(&self) -> String {
        const OUTPUT: &str = "-, fd:N, a path, or nothing";
        match &self.slot {
            Slot::Int { min, max, .. } => format!("a whole number from {min} to {max}"),
            Slot::AutoInt { max, .. } => format!("a whole number from 0 to {max}, or auto"),
            Slot::Bool(_) => "1, true, on, yes, or 0, false, off, no".into(),
            Slot::AutoBool(_) => "1, true, on, yes, or 0, false, off, no, or auto".into(),
            Slot::AutoMask(_) => "permissions in octal from 0 to 777, or auto".into(),
            Slot::Duration(_) => format!(
                "a duration up to {}: 30s, 500ms, 2m, 1h, or seconds",
                value::show_duration(value::DURATION_MAX)
            ),
            Slot::Size { min, max, .. } => {
                let range = match *max {
                    max if max > MEMORY_MAX => format!("from {min}"),
                    max => format!("from {min} to {}", value::show_size(max)),
                };
                format!("a size {range}: octets, or 8k, 1m, 1g")
            }
            Slot::Enum { choices, .. } => {
                let mut names: Vec<_> = choices.iter().map(|choice| choice.name).collect();
                let last = names.pop().unwrap_or_default();
                format!("{} or {last}", names.join(", "))
            }
            Slot::Text(_) => "text without control characters".into(),
            Slot::Path(_) => "a path without control characters, or nothing".into(),
            Slot::Output(_) => OUTPUT.into(),
            Slot::AutoOutput(_) => format!("{OUTPUT}, or auto"),
            Slot::Listeners(_) => {
                "host:port, :port, [address]:port, unix:/path, unix:@name, fd://N or systemd:name, with \
                 http:// or http+ before it and ?key=value&... behind it, separated by commas"
                    .into()
            }
            Slot::Networks(_) => {
                "addresses, networks (10.0.0.0/8) and unix, separated by commas, * for everybody, or \
                 none"
                    .into()
            }
        }
    }

    /// Read `value` into the settings, which stay as they are when it is refused.
    pub(super) fn set(&self, settings: &mut Settings, value: &str) -> Result<()> {
        let refused = || self.refuse(Quoted(value));
        match self.slot {
            Slot::Int { at, min, max } => {
                let n = value::int(value).and_then(|n| u32::try_from(n).ok());
                let n = n.filter(|n| (min..=max).contains(n));
                *at.of(settings) = n.ok_or_else(refused)?;
            }
            Slot::AutoInt { at, .. } if value == AUTO => *at.of(settings) = None,
            Slot::AutoInt { at, max } => {
                let n = value::int(value).and_then(|n| u32::try_from(n).ok());
                *at.of(settings) = Some(n.filter(|n| *n <= max).ok_or_else(refused)?);
            }
            Slot::Bool(at) => *at.of(settings) = value::truth(value).ok_or_else(refused)?,
            Slot::AutoBool(at) if value == AUTO => *at.of(settings) = None,
            Slot::AutoBool(at) => {
                *at.of(settings) = Some(value::truth(value).ok_or_else(refused)?);
            }
            Slot::AutoMask(at) if value == AUTO => *at.of(settings) = None,
            Slot::AutoMask(at) => {
                *at.of(settings) = Some(value::permissions(value).ok_or_else(refused)?);
            }
            Slot::Duration(at) => {
                *at.of(settings) = value::duration(value).ok_or_else(refused)?;
            }
            Slot::Size { at, min, max } => {
                let octets = value::size(value).filter(|n| (min..=max).contains(n));
                *at.of(settings) = octets.ok_or_else(refused)?;
            }
            Slot::Enum { choices, set, .. } => {
                match choices.iter().find(|choice| choice.name.eq_ignore_ascii_case(value)) {
                    Some(choice) => set(settings, choice.number),
                    None => return Err(refused()),
                }
            }
            Slot::Text(at) => *at.of(settings) = plain(value).ok_or_else(refused)?.into(),
            Slot::Path(at) => *at.of(settings) = plain(value).ok_or_else(refused)?.into(),
            Slot::Output(at) => *at.of(settings) = Output::parse(value).ok_or_else(refused)?,
            Slot::AutoOutput(at) if value == AUTO => *at.of(settings) = None,
            Slot::AutoOutput(at) => {
                *at.of(settings) = Some(Output::parse(value).ok_or_else(refused)?);
            }
            Slot::Listeners(at) => {
                // All or nothing.
                let read: Result<Vec<Listener>> =
                    listener::pieces(value).map(|address| address.trim_ascii().parse()).collect();
                at.of(settings).extend(read.map_err(|error| {
                    Error::new(error.kind(), format!("{}: {}", self.name(), error.message()))
                })?);
            }
            Slot::Networks(at) => *at.of(settings) = value.parse().map_err(|_| refused())?,
        }
        Ok(())
    }

    /// As `set`, for the kinds that are numbers: durations in milliseconds, sizes in octets.
    pub(super) fn set_int(&self, settings: &mut Settings, value: i64) -> Result<()> {
        let refused = || self.refuse(value);
        match self.slot {
            Slot::Int { at, min, max } => {
                let n = u32::try_from(value).ok().filter(|n| (min..=max).contains(n));
                *at.of(settings) = n.ok_or_else(refused)?;
            }
            Slot::AutoInt { at, max } => {
                let n = u32::try_from(value).ok().filter(|n| *n <= max);
                *at.of(settings) = Some(n.ok_or_else(refused)?);
            }
            Slot::Bool(at) => *at.of(settings) = bit(value).ok_or_else(refused)?,
            Slot::AutoBool(at) => *at.of(settings) = Some(bit(value).ok_or_else(refused)?),
            Slot::AutoMask(at) => {
                let mask = u32::try_from(value).ok().filter(|mask| *mask <= 0o777);
                *at.of(settings) = Some(mask.ok_or_else(refused)?);
            }
            Slot::Duration(at) => {
                let time = u64::try_from(value).ok().map(Duration::from_millis);
                let time = time.filter(|time| *time <= value::DURATION_MAX);
                *at.of(settings) = time.ok_or_else(refused)?;
            }
            Slot::Size { at, min, max } => {
                let octets = u64::try_from(value).ok().filter(|n| (min..=max).contains(n));
                *at.of(settings) = octets.ok_or_else(refused)?;
            }
            Slot::Enum { choices, set, .. } => {
                match choices.iter().find(|choice| choice.number == value) {
                    Some(choice) => set(settings, choice.number),
                    None => return Err(refused()),
                }
            }
            Slot::Text(_)
            | Slot::Path(_)
            | Slot::Output(_)
            | Slot::AutoOutput(_)
            | Slot::Listeners(_)
            | Slot::Networks(_) => {
                let (name, kind) = (self.name(), self.kind());
                return Err(Error::new(
                    Kind::Invalid,
                    format!("{name} = {value}: its kind is {kind}: set it by name"),
                ));
            }
        }
        Ok(())
    }

    /// The value, as `set` takes it.
    pub(super) fn get(&self, settings: &Settings) -> String {
        match self.slot {
            Slot::Int { at, .. } => (at.get)(settings).to_string(),
            Slot::Bool(at) => u8::from(*(at.get)(settings)).to_string(),
            Slot::AutoInt { at, .. } => match *(at.get)(settings) {
                Some(n) => n.to_string(),
                None => AUTO.into(),
            },
            Slot::AutoBool(at) => match *(at.get)(settings) {
                Some(on) => u8::from(on).to_string(),
                None => AUTO.into(),
            },
            Slot::AutoMask(at) => match *(at.get)(settings) {
                Some(mask) => format!("{mask:03o}"),
                None => AUTO.into(),
            },
            Slot::Duration(at) => value::show_duration(*(at.get)(settings)),
            Slot::Size { at, .. } => value::show_size(*(at.get)(settings)),
            Slot::Enum { choices, get, .. } => {
                let number = get(settings);
                let name = choices.iter().find(|choice| choice.number == number);
                name.map_or("", |choice| choice.name).into()
            }
            Slot::Text(at) => (at.get)(settings).clone(),
            Slot::Path(at) => (at.get)(settings).display().to_string(),
            Slot::Output(at) => (at.get)(settings).to_string(),
            Slot::AutoOutput(at) => match (at.get)(settings) {
                Some(output) => output.to_string(),
                None => AUTO.into(),
            },
            Slot::Listeners(at) => {
                let shown: Vec<_> = (at.get)(settings).iter().map(Listener::to_string).collect();
                shown.join(",")
            }
            Slot::Networks(at) => (at.get)(settings).to_string(),
        }
    }

    /// Whether each use adds to a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.slot, Slot::Listeners(_))
    }

    fn refuse(&self, value: impl std::fmt::Display) -> Error {
        let (name, accepts) = (self.name(), self.accepts());
        Error::new(Kind::Invalid, format!("{name} = {value}: expected {accepts}"))
    }
}

impl<T> Field<T> {
    fn of(self, settings: &mut Settings) -> &mut T {
        (self.get_mut)(settings)
    }
}

/// The table is UTF-8: it is written in a source file.
fn text(c: &'static CStr) -> &'static str {
    c.to_str().unwrap_or_default()
}

fn bit(value: i64) -> Option<bool> {
    match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn plain(value: &str) -> Option<&str> {
    (!value.chars().any(char::is_control)).then_some(value)
}

/// The name that somebody may have meant: as a flag is written (`--max-body`), in the wrong case,
/// or with a few letters wrong.
fn nearest(name: &str) -> Option<&'static str> {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let meant = name.trim_start_matches('-').replace('-', "_").to_ascii_lowercase();
    // A third of the letters may be wrong: what is further away is another word.
    OPTIONS
        .iter()
        .map(|option| (distance(&meant, option.name()), option.name()))
        .min()
        .filter(|(distance, known)| *distance <= known.len().min(meant.len()).div_ceil(3))
        .map(|(_, known)| known)
}

/// How many letters must be added, left out or changed to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
