//! The TOML as it grows: options first, tables behind them, and a comment at the place of each line
//! that does not map.

use std::fmt::{self, Write};

use super::Line;

/// Columns of a comment.
const WIDTH: usize = 99;

/// A value of the TOML.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Toml {
    Int(i64),
    Bool(bool),
    Text(String),
    List(Vec<Toml>),
}

impl Toml {
    pub(super) fn text(text: impl Into<String>) -> Toml {
        Toml::Text(text.into())
    }
}

impl fmt::Display for Toml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Toml::Int(n) => write!(f, "{n}"),
            Toml::Bool(on) => write!(f, "{on}"),
            Toml::Text(text) => quoted(f, text),
            Toml::List(items) => {
                f.write_char('[')?;
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                f.write_char(']')
            }
        }
    }
}

fn quoted(f: &mut impl Write, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c if c.is_control() => write!(f, "\\u{:04X}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// A key as TOML has it: bare where that is allowed.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) {
        return name.to_owned();
    }
    let mut text = String::new();
    let _ = quoted(&mut text, name);
    text
}

/// A table: `[[mount]]` and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    name: String,
    pairs: Vec<(String, Toml)>,
    /// Only a comment: what it would be.
    is_proposal: bool,
}

impl Table {
    pub(super) fn new(name: &str) -> Table {
        Table { name: name.to_owned(), pairs: Vec::new(), is_proposal: false }
    }

    pub(super) fn set(mut self, key: &str, value: Toml) -> Table {
        self.pairs.push((key.to_owned(), value));
        self
    }

    /// Whether a key has a value that is not empty.
    pub(super) fn says(&self, key: &str) -> bool {
        self.pairs.iter().any(|(name, value)| name == key && *value != Toml::text(""))
    }

    /// What somebody has to complete.
    pub(super) fn proposed(mut self) -> Table {
        self.is_proposal = true;
        self
    }
}

#[derive(Debug)]
enum Entry {
    Pair(String, Toml),
    Comment(String),
    Table(Table),
}

/// What has been written so far.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    source: Vec<&'a str>,
    head: Vec<Entry>,
    env: Vec<(String, String)>,
    tail: Vec<Entry>,
    in_tail: bool,
    unmapped: Vec<Line>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        let (head, env, tail, unmapped) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Draft { source: source.lines().collect(), head, env, tail, in_tail: false, unmapped }
    }

    /// From here on comments stand between the tables.
    pub(super) fn begin_tables(&mut self) {
        self.in_tail = true;
    }

    /// From here on they stand between the options again.
    pub(super) fn end_tables(&mut self) {
        self.in_tail = false;
    }

    /// An option; what was said of it before no longer counts.
    pub(super) fn set(&mut self, name: &str, value: Toml) {
        self.head.retain(|entry| !matches!(entry, Entry::Pair(key, _) if key == name));
        self.head.push(Entry::Pair(name.to_owned(), value));
    }

    /// One more entry of an option that is a list.
    pub(super) fn push(&mut self, name: &str, value: Toml) {
        for entry in &mut self.head {
            if let Entry::Pair(key, Toml::List(items)) = entry
                && key == name
            {
                items.push(value);
                return;
            }
        }
        self.set(name, Toml::List(vec![value]));
    }

    /// Whether a line has this in it.
    pub(super) fn says(&self, line: usize, text: &str) -> bool {
        self.source.get(line.wrapping_sub(1)).is_some_and(|source| source.contains(text))
    }

    /// Whether an option was set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.head.iter().any(|entry| matches!(entry, Entry::Pair(key, _) if key == name))
    }

    /// Whether an option was set, and not to nothing.
    pub(super) fn says_of(&self, name: &str) -> bool {
        let is_it = |key: &str, value: &Toml| key == name && *value != Toml::text("");
        self.head.iter().any(|entry| matches!(entry, Entry::Pair(key, value) if is_it(key, value)))
    }

    pub(super) fn env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn table(&mut self, table: Table) {
        self.tail.push(Entry::Table(table));
    }

    /// A comment.
    pub(super) fn say(&mut self, text: &str) {
        let mut comment = String::new();
        wrap(&mut comment, "# ", "# ", text);
        self.comment(comment);
    }

    /// A comment about a line, which maps, or need not.
    pub(super) fn remark(&mut self, line: usize, text: &str) {
        let mut comment = String::new();
        let source = self.source.get(line.wrapping_sub(1)).map_or("", |source| source.trim());
        let mut source: String = source.chars().filter(|c| !c.is_control()).collect();
        if let Some((end, _)) = source.char_indices().nth(WIDTH - 10) {
            source.truncate(end);
            source.push_str(" ...");
        }
        let _ = writeln!(comment, "# {line}: {source}");
        wrap(&mut comment, "#     ", "#     ", text);
        self.comment(comment);
    }

    /// A line that does not map.
    pub(super) fn unmapped(&mut self, line: usize, key: &str, reason: &str) {
        self.remark(line, reason);
        self.unmapped.push(Line { line, key: key.to_owned(), reason: reason.to_owned() });
    }

    fn comment(&mut self, text: String) {
        let list = if self.in_tail { &mut self.tail } else { &mut self.head };
        list.push(Entry::Comment(text));
    }

    /// The whole text, and what did not map, by line.
    pub(super) fn finish(mut self) -> (String, Vec<Line>) {
        let mut text = String::new();
        if !self.env.is_empty() {
            let mut env = Table::new("env");
            for (name, value) in self.env {
                env = env.set(&name, Toml::Text(value));
            }
            self.tail.insert(0, Entry::Table(env));
        }
        let options = self.head.len();
        let mut is_behind_table = false;
        for (n, entry) in self.head.iter().chain(&self.tail).enumerate() {
            if n == options && n > 0 || is_behind_table {
                text.push('\n');
            }
            is_behind_table = matches!(entry, Entry::Table(_));
            let _ = match entry {
                Entry::Pair(name, value) => writeln!(text, "{} = {value}", key(name)),
                Entry::Comment(comment) => write!(text, "{comment}"),
                Entry::Table(table) => write_table(&mut text, table),
            };
        }
        self.unmapped.sort_by_key(|line| line.line);
        (text, self.unmapped)
    }
}

fn write_table(text: &mut String, table: &Table) -> fmt::Result {
    let sign = if table.is_proposal { "# " } else { "" };
    match table.name.as_str() {
        "env" => writeln!(text, "{sign}[env]")?,
        name => writeln!(text, "{sign}[[{name}]]")?,
    }
    for (name, value) in &table.pairs {
        writeln!(text, "{sign}{} = {value}", key(name))?;
    }
    Ok(())
}

/// Words in lines.
fn wrap(out: &mut String, first: &str, others: &str, text: &str) {
    let (mut line, mut sign) = (String::new(), first);
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !c.is_control()).collect();
        if !line.is_empty() && sign.len() + line.chars().count() + 1 + word.chars().count() > WIDTH
        {
            let _ = writeln!(out, "{sign}{line}");
            (line, sign) = (String::new(), others);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    let _ = writeln!(out, "{sign}{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_keys_are_written_as_toml_has_them() {
        let list = Toml::List(vec![Toml::Int(-1), Toml::Bool(true), Toml::text("a\"\\\n\u{7}é")]);
        assert_eq!(list.to_string(), r#"[-1, true, "a\"\\\n\u0007é"]"#);
        assert_eq!([key("A_b-1"), key(""), key("a b")], ["A_b-1", "\"\"", "\"a b\""]);
    }

    #[test]
    fn options_stand_before_tables_and_the_last_value_counts() {
        let mut draft = Draft::new("one\n  two\x07 \n");
        draft.table(Table::new("mount").set("at", Toml::text("/")));
        draft.set("workers", Toml::Int(1));
        draft.env("A", "b");
        draft.unmapped(2, "two", "No.");
        draft.set("workers", Toml::Int(2));
        let (text, unmapped) = draft.finish();
        assert_eq!(
            text,
            "# 2: two\n#     No.\nworkers = 2\n\n[env]\nA = \"b\"\n\n[[mount]]\nat = \"/\"\n"
        );
        assert_eq!((unmapped[0].line, unmapped[0].key.as_str()), (2, "two"));
    }
}
