//! What becomes of a setting: an option of ours and how its value is converted, or why not.

use super::draft::{Draft, Toml};

/// A value of somebody else's file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Function,
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// As `str()` has it, of what has only one way to be written.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Value::Text(text) => Some(text.clone()),
            Value::Int(n) => Some(n.to_string()),
            Value::Bool(on) => Some(if *on { "True" } else { "False" }.to_owned()),
            Value::None => Some("None".to_owned()),
            Value::Float(n) if n.is_finite() => Some(format!("{n:?}")),
            _ => None,
        }
    }

    /// A whole number, also in text.
    fn int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            Value::Bool(on) => Some(i64::from(*on)),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Truth, also in text.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Value::Bool(on) => Some(*on),
            Value::Int(n) => Some(*n != 0),
            Value::None => Some(false),
            Value::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" => Some(true),
                "false" | "0" | "off" | "no" | "" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Nothing at all: what is off needs no counterpart.
    fn is_off(&self) -> bool {
        match self {
            Value::None | Value::Bool(false) | Value::Int(0) => true,
            Value::Text(text) => matches!(text.trim(), "" | "0" | "false" | "False" | "off" | "no"),
            Value::List(items) => items.is_empty(),
            Value::Dict(items) => items.is_empty(),
            _ => false,
        }
    }
}

/// How a value is converted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// A whole number within bounds.
    Int(i64, i64),
    Bool,
    /// Whole seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Octets, at least and at most.
    Octets(i64, i64),
    /// Mebioctets.
    Mebi,
    Text,
    /// Text, or a number.
    Name,
    /// Permissions: a number, or octal digits.
    Mode,
}

/// The longest duration of an option, in seconds: 8760 hours.
const SECONDS_MAX: i64 = 8760 * 3600;

impl Unit {
    /// `Ok(None)`: nothing was said.
    pub(super) fn convert(self, value: &Value) -> Result<Option<Toml>, String> {
        if *value == Value::None {
            return Ok(None);
        }
        let int = |min: i64, max: i64| match value.int() {
            Some(n) if (min..=max).contains(&n) => Ok(n),
            Some(n) => Err(format!("{n} is not from {min} to {max}.")),
            None => Err("Its value is not a whole number.".to_owned()),
        };
        Ok(Some(match self {
            Unit::Int(min, max) => Toml::Int(int(min, max)?),
            Unit::Bool => match value.truth() {
                Some(on) => Toml::Bool(on),
                None => return Err("Its value is neither true nor false.".to_owned()),
            },
            Unit::Seconds => Toml::Text(format!("{}s", int(0, SECONDS_MAX)?)),
            Unit::Millis => Toml::Text(format!("{}ms", int(0, SECONDS_MAX * 1000)?)),
            Unit::Octets(min, max) => size(int(min, max)?),
            Unit::Mebi => size(int(0, i64::MAX >> 20)? << 20),
            Unit::Text => match value {
                Value::Text(text) if is_clean(text) => Toml::text(text),
                Value::Text(_) => return Err("Its value has control characters.".to_owned()),
                _ => return Err("Its value is not a text.".to_owned()),
            },
            Unit::Name => match value {
                Value::Text(text) if is_clean(text) => Toml::text(text),
                Value::Int(n) if *n >= 0 => Toml::Text(n.to_string()),
                _ => return Err("Its value is neither a name nor a number.".to_owned()),
            },
            Unit::Mode => Toml::Text(format!("{:03o}", mode(value)?)),
        }))
    }
}

fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Permissions, as a number or in octal digits.
pub(super) fn mode(value: &Value) -> Result<i64, String> {
    let bits = match value {
        Value::Text(text) => {
            let digits = text.trim().trim_start_matches("0o");
            i64::from_str_radix(digits, 8).ok()
        }
        other => other.int(),
    };
    bits.filter(|bits| (0..=0o777).contains(bits))
        .ok_or_else(|| "Its value is not permissions from 0 to 777.".to_owned())
}

/// Octets, in the largest unit that fits.
pub(super) fn size(octets: i64) -> Toml {
    for (shift, unit) in [(30, "g"), (20, "m"), (10, "k")] {
        if octets != 0 && octets % (1 << shift) == 0 {
            return Toml::Text(format!("{}{unit}", octets >> shift));
        }
    }
    Toml::Int(octets)
}

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum How {
    /// An option.
    To(&'static str, Unit),
    /// An option, and what is different about it.
    But(&'static str, Unit, &'static str),
    /// Something that only its form knows how to do; here in words, in the documentation.
    Own(&'static str),
    /// These values are what is so anyway; of others, the reason holds.
    Same(&'static [&'static str], &'static str),
    /// Nothing is lost without it.
    Needless(&'static str),
    /// There is nothing like it; what is off is not missed.
    No(&'static str),
    /// It is another here, whatever was said: nothing said is not what is so here.
    Other(&'static str),
}

/// A setting of somebody else's, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// With a star at its end: all settings whose names begin so.
    pub(super) key: &'static str,
    pub(super) how: How,
}

pub(super) const fn rule(key: &'static str, how: How) -> Rule {
    Rule { key, how }
}

/// What is true of something that is on.
pub(super) const ON: &[&str] = &["true", "True", "1", "on", "yes"];

/// The rule of this very key.
pub(super) fn exact(rules: &'static [Rule], key: &str) -> Option<&'static Rule> {
    rules.iter().find(|rule| rule.key == key)
}

/// The rule of a setting: its own, or that of the longest beginning.
pub(super) fn find(rules: &'static [Rule], key: &str) -> Option<&'static Rule> {
    exact(rules, key).or_else(|| {
        let begins = |rule: &&Rule| {
            rule.key.strip_suffix('*').is_some_and(|beginning| key.starts_with(beginning))
        };
        rules.iter().filter(begins).max_by_key(|rule| rule.key.len())
    })
}

impl How {
    /// Do it. `Own` is left to the form.
    pub(super) fn apply(&self, draft: &mut Draft<'_>, line: usize, key: &str, value: &Value) {
        match self {
            How::To(option, unit) | How::But(option, unit, _) => match unit.convert(value) {
                Ok(None) => {}
                Ok(Some(toml)) => {
                    if let How::But(_, _, but) = self {
                        draft.remark(line, but);
                    }
                    draft.set(option, toml);
                }
                Err(why) => draft.unmapped(line, key, &format!("{why} Ours is `{option}`.")),
            },
            How::Own(_) => unreachable!("{key} is left to its form"),
            How::Same(same, why) => {
                let shown = value.shown();
                match shown.is_some_and(|shown| same.contains(&shown.trim())) {
                    true => draft.remark(line, &format!("So it is here, always. {why}")),
                    false => draft.unmapped(line, key, why),
                }
            }
            How::Needless(why) => draft.remark(line, why),
            How::No(_) if value.is_off() => draft.remark(line, "Off, as here."),
            How::No(why) | How::Other(why) => draft.unmapped(line, key, why),
        }
    }

    /// What the documentation says of it.
    #[cfg_attr(not(test), expect(dead_code, reason = "docs/migrating.md is written by a test"))]
    pub(super) fn words(&self) -> String {
        match self {
            How::To(option, _) => format!("`{option}`"),
            How::But(option, _, but) => format!("`{option}`. {but}"),
            How::Own(words) => (*words).to_owned(),
            How::Same(same, why) => {
                let same =
                    if *same == ON { "on" } else { same.first().copied().unwrap_or_default() };
                format!("{same}: it is so always. {why}")
            }
            How::Needless(why) => format!("Not needed. {why}"),
            How::No(why) | How::Other(why) => format!("Does not map. {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_converted_by_their_units() {
        for (unit, value, becomes) in [
            (Unit::Int(1, 9), Value::Int(9), Ok("9")),
            (Unit::Int(1, 9), Value::text(" 3 "), Ok("3")),
            (Unit::Int(1, 9), Value::Int(10), Err("10 is not from 1 to 9.")),
            (Unit::Int(1, 9), Value::Float(1.5), Err("not a whole number")),
            (Unit::Bool, Value::text("Yes"), Ok("true")),
            (Unit::Bool, Value::text("maybe"), Err("neither true nor false")),
            (Unit::Seconds, Value::Int(30), Ok("\"30s\"")),
            (Unit::Seconds, Value::Int(-1), Err("-1 is not from 0")),
            (Unit::Millis, Value::text("250"), Ok("\"250ms\"")),
            (Unit::Octets(1, 1 << 30), Value::Int(8190), Ok("8190")),
            (Unit::Octets(1, 1 << 30), Value::Int(65536), Ok("\"64k\"")),
            (Unit::Mebi, Value::Int(1024), Ok("\"1g\"")),
            (Unit::Mebi, Value::Int(0), Ok("0")),
            (Unit::Mebi, Value::Int(i64::MAX), Err("is not from 0")),
            (Unit::Text, Value::text("a\0"), Err("control characters")),
            (Unit::Name, Value::Int(33), Ok("\"33\"")),
            (Unit::Mode, Value::Int(0o22), Ok("\"022\"")),
            (Unit::Mode, Value::text("0o007"), Ok("\"007\"")),
            (Unit::Mode, Value::text("888"), Err("permissions")),
        ] {
            match (unit.convert(&value), becomes) {
                (Ok(Some(toml)), Ok(expected)) => assert_eq!(toml.to_string(), expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (got, _) => panic!("{unit:?} {value:?}: {got:?}"),
            }
        }
        assert_eq!(Unit::Bool.convert(&Value::None), Ok(None));
    }

    #[test]
    fn the_longest_beginning_counts() {
        static RULES: [Rule; 3] = [
            rule("a*", How::No("all.")),
            rule("ab*", How::No("some.")),
            rule("abc", How::No("one.")),
        ];
        let key = |name| find(&RULES, name).map(|rule| rule.key);
        assert_eq!(
            [key("abc"), key("abcd"), key("ax"), key("b")],
            [Some("abc"), Some("ab*"), Some("a*"), None]
        );
    }
}
