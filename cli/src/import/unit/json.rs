//! JSON with the lines of its values, and with comments, which Unit allows.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::import::rules::Value;

/// Values within each other.
const DEPTH_MAX: usize = 64;

/// A value, and the line that it begins on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) json: Json,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// Neither an array nor an object.
    Plain(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// A member of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.members().iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }

    /// The members of an object; of anything else, none.
    pub(super) fn members(&self) -> &[(String, Node)] {
        match &self.json {
            Json::Map(members) => members,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.json {
            Json::Plain(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The texts of an array, or the one that stands alone.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        match &self.json {
            Json::List(items) => items.iter().map(Node::text).collect(),
            _ => Some(vec![self.text()?]),
        }
    }

    /// As other files have it.
    pub(super) fn value(&self) -> Value {
        match &self.json {
            Json::Plain(value) => value.clone(),
            Json::List(items) => Value::List(items.iter().map(Node::value).collect()),
            Json::Map(members) => {
                let pairs = members.iter().map(|(name, node)| (Value::text(name), node.value()));
                Value::Dict(pairs.collect())
            }
        }
    }
}

/// The whole text.  An error begins with its line.
pub(super) fn read(text: &str) -> Result<Node, String> {
    let text = without_comments(text);
    let starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let raw: &RawValue = serde_json::from_str(&text)
        .map_err(|error| format!("{}: {}", error.line(), plain(&error)))?;
    build(&text, &starts, raw, 0)
}

/// What serde_json says, without the place.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn build(text: &str, starts: &[usize], raw: &RawValue, depth: usize) -> Result<Node, String> {
    let inner = raw.get();
    // It is a part of the text.
    let at = (inner.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let line = starts.partition_point(|start| *start <= at);
    let wrong = |error: serde_json::Error| format!("{line}: {}", plain(&error));
    if depth > DEPTH_MAX {
        return Err(format!("{line}: values are within more than {DEPTH_MAX} others"));
    }
    let json = match inner.as_bytes().first() {
        Some(b'{') => {
            let mut reader = serde_json::Deserializer::from_str(inner);
            let members = reader.deserialize_map(Members).map_err(wrong)?;
            let nodes = members
                .into_iter()
                .map(|(name, raw)| Ok((name, build(text, starts, raw, depth + 1)?)));
            Json::Map(nodes.collect::<Result<_, String>>()?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(inner).map_err(wrong)?;
            let nodes = items.into_iter().map(|raw| build(text, starts, raw, depth + 1));
            Json::List(nodes.collect::<Result<_, String>>()?)
        }
        _ => Json::Plain(match serde_json::from_str(inner).map_err(wrong)? {
            serde_json::Value::Bool(on) => Value::Bool(on),
            serde_json::Value::String(text) => Value::Text(text),
            serde_json::Value::Number(n) => match (n.as_i64(), n.as_f64()) {
                (Some(n), _) => Value::Int(n),
                (None, Some(n)) => Value::Float(n),
                (None, None) => Value::None,
            },
            _ => Value::None,
        }),
    };
    Ok(Node { line, json })
}

/// An object, in its order.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

/// The same text with blanks for `// ...` and `/* ... */`; lines stay.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.trim_start_matches('\u{feff}').chars().peekable();
    let mut in_text = false;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(_)) if in_text => {
                out.push(c);
                out.extend(chars.next());
            }
            ('"', _) => {
                in_text = !in_text;
                out.push(c);
            }
            ('/', Some('/')) if !in_text => while chars.next_if(|c| *c != '\n').is_some() {},
            ('/', Some('*')) if !in_text => {
                chars.next();
                let mut last = ' ';
                for c in chars.by_ref() {
                    if c == '\n' {
                        out.push(c);
                    }
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
                out.push(' ');
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_lines_and_comments_are_blanks() {
        let text =
            "/* a\n b */ {\n // c \"\n \"a\": [1, // d\n \"//\\\"\"],\n\"b\": {\"c\": null}}";
        let root = read(text).unwrap();
        assert_eq!(root.line, 2);
        let list = root.get("a").unwrap();
        assert_eq!(list.line, 4);
        let Json::List(items) = &list.json else { panic!("{list:?}") };
        assert_eq!((items[1].line, items[1].text()), (5, Some("//\"")));
        assert_eq!(root.get("b").unwrap().get("c").unwrap().line, 6);
    }

    #[test]
    fn an_error_has_its_line() {
        assert_eq!(read("{\n\"a\": 1,\n}").unwrap_err(), "3: key must be a string");
        assert!(read("").unwrap_err().starts_with("1: EOF"));
        let deep = "[".repeat(70) + &"]".repeat(70);
        assert!(read(&deep).unwrap_err().contains("within more than 64"));
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
