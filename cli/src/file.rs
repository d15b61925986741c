//! A TOML file as a [`Plan`].  Options stand at its top under their own names; `[[mount]]`, `[[use]]`,
//! `[[listen]]`, `[[pool]]`, `[env]`, `module` with `args`, and `chdir` are the rest.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::library::{self, Opt};
use crate::plan::{App, Listen, Mount, PROTOCOLS, Plan, Pool, Setting, Use};
use crate::problem::{Place, Problem, did_you_mean};

/// Keys of the top that are no options.
const TOP: [&str; 8] = ["args", "chdir", "env", "listen", "module", "mount", "pool", "use"];

/// Of these, those that are the whole program's.
const WHOLE: [&str; 3] = ["chdir", "env", "pool"];

/// Reads a file; with what is wrong, what is right all the same.
pub(crate) fn read(path: &Path) -> (Plan, Vec<Problem>) {
    let text = match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => return broken("it is not UTF-8, which TOML is"),
        Err(error) => return broken(error.to_string()),
    };
    // What is relative is meant from where the file lies, wherever the process goes later.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut reader = Reader {
        text: &text,
        directory: path.parent().unwrap_or(Path::new("/")),
        options: library::options(),
        plan: Plan::default(),
        problems: Vec::new(),
    };
    reader.read();
    (reader.plan, reader.problems)
}

fn broken(text: impl Into<String>) -> (Plan, Vec<Problem>) {
    (Plan::default(), vec![Problem::new(&Place::Unknown, text)])
}

type Value<'i> = Spanned<DeValue<'i>>;

struct Reader<'i> {
    text: &'i str,
    directory: &'i Path,
    options: Vec<Opt>,
    plan: Plan,
    problems: Vec<Problem>,
}

impl<'i> Reader<'i> {
    fn read(&mut self) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let place = self.place(error.span().unwrap_or_default(), "");
            self.problems.push(Problem::new(&place, error.message().replace('\n', ", ")));
        }
        self.service(table.get_ref(), false);
    }

    /// The top, or what a pool has like it.
    fn service(&mut self, table: &DeTable<'i>, is_pool: bool) {
        let mut app = (None, None);
        for (key, value) in table {
            let (name, place) = self.key(key);
            match name {
                _ if is_pool && WHOLE.contains(&name) => {
                    self.wrong(
                        &place,
                        "that is the whole program's: write it above, outside of pools",
                    );
                }
                "name" if is_pool => {}
                "module" => app.0 = self.string(&place, value).map(|path| (place, path)),
                "args" => app.1 = self.args(&place, value).map(|args| (place, args)),
                "chdir" => {
                    let directory = self.string(&place, value);
                    self.plan.directory = directory.map(|it| (place, self.directory.join(it)));
                }
                "env" => self.env(&place, value),
                "mount" => self.each(&place, value, Self::mount),
                "use" => self.each(&place, value, |reader, place, table| {
                    let found = reader.middleware(place, table);
                    reader.plan.uses.extend(found);
                }),
                "listen" => self.each(&place, value, Self::listen),
                "pool" => self.each(&place, value, Self::pool),
                _ => self.option(name, &place, value, is_pool),
            }
        }
        match app {
            (Some((place, path)), args) => {
                let (app, args) = (self.module(&path), args.map_or(String::new(), |it| it.1));
                self.plan.mounts.push(Mount::root(place, app, args));
            }
            (None, Some((place, _))) => self.wrong(&place, "of which module? set module, too"),
            (None, None) => {}
        }
    }

    /// `[[pool]]`
    fn pool(&mut self, place: &Place, table: &DeTable<'i>) {
        let whole = std::mem::take(&mut self.plan);
        self.service(table, true);
        let plan = std::mem::replace(&mut self.plan, whole);
        match table.iter().find(|(key, _)| key.get_ref() == "name") {
            Some((key, value)) => {
                let (_, place) = self.key(key);
                if let Some(name) = self.string(&place, value) {
                    self.plan.pools.push(Pool { place, name, plan });
                }
            }
            None => self.wrong(place, "name is missing: name = \"jobs\", say"),
        }
    }

    /// An option of the table.
    fn option(&mut self, name: &str, place: &Place, value: &Value<'i>, is_pool: bool) {
        let Some(option) = self.options.iter().find(|it| it.name == name).copied() else {
            let options: Vec<_> = self.options.iter().map(|it| it.name).collect();
            let others = TOP.into_iter().filter(|it| !is_pool || !WHOLE.contains(it));
            self.unknown(place, name, options.into_iter().chain(others));
            return;
        };
        let values = match value.get_ref() {
            DeValue::Array(values) if option.kind == "list" => values.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            if let Some(value) = self.value(option.kind, option.name, place, value) {
                let name = option.name.to_owned();
                self.plan.settings.push(Setting { place: place.clone(), name, value });
            }
        }
    }

    /// A value as the library's options take it.
    fn value(
        &mut self,
        kind: &str,
        name: &str,
        place: &Place,
        value: &Value<'i>,
    ) -> Option<String> {
        let is_one_of = |kinds: &[&str]| kinds.contains(&kind) || kind.is_empty();
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            DeValue::Boolean(truth) if is_one_of(&["bool", "enum"]) => {
                Some(u8::from(*truth).to_string())
            }
            // Permissions are octal digits there: 0o022 and 22 are the same.
            DeValue::Integer(n) if ["umask", "mode"].contains(&name) => Some(n.as_str().to_owned()),
            DeValue::Integer(n) if is_one_of(&["int", "ms", "size", "bool", "enum"]) => {
                let found = number(n).map(|n| n.to_string());
                if found.is_none() {
                    self.wrong(place, "the number is too large");
                }
                found
            }
            DeValue::Float(n) if is_one_of(&["ms"]) => Some(n.as_str().to_owned()),
            DeValue::Array(values) if is_one_of(&["text"]) => {
                let values: Option<Vec<_>> =
                    values.iter().map(|it| self.value(kind, name, place, it)).collect();
                values.map(|values| values.join(","))
            }
            other => {
                let wanted = match kind {
                    "int" => "a whole number",
                    "bool" => "true or false",
                    "ms" => "a duration, \"30s\" or seconds",
                    "size" => "a size, \"8k\" or octets",
                    "list" => "a string, or an array of strings",
                    _ => "a string",
                };
                self.wrong(place, format!("expected {wanted}, and this is {}", a(other)));
                None
            }
        }
    }

    /// `[[mount]]`
    fn mount(&mut self, place: &Place, table: &DeTable<'i>) {
        let (mut at, mut app, mut args, mut uses) = (None, Vec::new(), String::new(), Vec::new());
        for (key, value) in table {
            let (name, place) = self.key(key);
            match name {
                "at" => at = self.string(&place, value).map(|at| (place, at)),
                "module" => {
                    let path = self.string(&place, value);
                    app.extend(path.map(|path| (place, self.module(&path))));
                }
                "builtin" => {
                    let name = self.string(&place, value);
                    app.extend(name.map(|name| (place, App::Builtin(name))));
                }
                "args" => args = self.args(&place, value).unwrap_or_default(),
                "use" => self.each(&place, value, |reader, place, table| {
                    uses.extend(reader.middleware(place, table));
                }),
                _ => self.unknown(
                    &place,
                    name,
                    ["at", "module", "builtin", "args", "use"].into_iter(),
                ),
            }
        }
        let Some((place, at)) = at else {
            let has_said = table.keys().any(|key| key.get_ref() == "at");
            if !has_said {
                self.wrong(place, "at is missing: at = \"/prefix\" or \"host/prefix\"");
            }
            return;
        };
        match app.len() {
            1 => {}
            0 if table.keys().any(|it| ["module", "builtin"].contains(&&**it.get_ref())) => return,
            0 => {
                return self.wrong(&place, "no application: set module, or builtin = \"static\"");
            }
            _ => return self.wrong(&app[1].0.clone(), "either module or builtin"),
        }
        let (app_place, app) = app.remove(0);
        self.plan.mounts.push(Mount { place, at, app_place, app, args, uses });
    }

    /// `[[use]]`
    fn middleware(&mut self, place: &Place, table: &DeTable<'i>) -> Option<Use> {
        let (mut found, mut args) = (None, String::new());
        for (key, value) in table {
            let (name, place) = self.key(key);
            match name {
                "builtin" => found = self.string(&place, value).map(|name| (place, name)),
                "args" => args = self.args(&place, value).unwrap_or_default(),
                _ => self.unknown(&place, name, ["builtin", "args"].into_iter()),
            }
        }
        if found.is_none() && !table.keys().any(|key| key.get_ref() == "builtin") {
            self.wrong(place, "which middleware? set builtin = \"access\", say");
        }
        found.map(|(place, name)| Use { place, name, args })
    }

    /// `[[listen]]`
    fn listen(&mut self, place: &Place, table: &DeTable<'i>) {
        let (mut address, mut protocol, mut options) = (None, PROTOCOLS[0].1, Vec::new());
        for (key, value) in table {
            let (name, place) = self.key(key);
            match name {
                "address" => address = self.string(&place, value).map(|it| (place, it)),
                "protocol" => {
                    let Some(name) = self.string(&place, value) else { continue };
                    match PROTOCOLS.iter().find(|it| it.0 == name) {
                        Some((_, number)) => protocol = *number,
                        None => {
                            let names = PROTOCOLS.map(|it| it.0);
                            let near = did_you_mean(&name, names.into_iter());
                            let names = names.join(", ");
                            let text = format!("no protocol {name:?}: there are {names}{near}");
                            self.wrong(&place, text);
                        }
                    }
                }
                // Whatever the library has for a listener, which says what it does not have.
                _ => {
                    let value = self.value("", name, &place, value);
                    let name = name.to_owned();
                    options.extend(value.map(|value| Setting { place, name, value }));
                }
            }
        }
        match address {
            Some((place, address)) => {
                self.plan.listens.push(Listen { place, address, protocol, options });
            }
            None if table.keys().any(|key| key.get_ref() == "address") => {}
            None => self.wrong(place, "address is missing: address = \"127.0.0.1:8000\", say"),
        }
    }

    /// `[env]`
    fn env(&mut self, place: &Place, value: &Value<'i>) {
        let DeValue::Table(table) = value.get_ref() else {
            return self
                .wrong(place, format!("[env] is a table, and this is {}", a(value.get_ref())));
        };
        for (key, value) in table {
            let (name, place) = self.key(key);
            let Some(value) = self.string(&place, value) else { continue };
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                self.wrong(&place, "no variable of an environment is called so");
                continue;
            }
            self.plan.env.push((name.to_owned(), value));
        }
    }

    /// The tables of an array of tables.
    fn each(
        &mut self,
        place: &Place,
        value: &Value<'i>,
        mut take: impl FnMut(&mut Self, &Place, &DeTable<'i>),
    ) {
        let DeValue::Array(values) = value.get_ref() else {
            let Place::Line(_, key) = place else { return };
            let text = format!("write [[{key}]]: there may be several");
            return self.wrong(place, text);
        };
        for value in values.iter() {
            let Place::Line(_, key) = place else { continue };
            let place = self.place(value.span(), key);
            match value.get_ref() {
                DeValue::Table(table) => take(self, &place, table),
                other => {
                    let text = format!("expected a table, and this is {}", a(other));
                    self.wrong(&place, text);
                }
            }
        }
    }

    fn string(&mut self, place: &Place, value: &Value<'i>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => {
                self.wrong(place, format!("expected a string, and this is {}", a(other)));
                None
            }
        }
    }

    /// A string, or an array of words.
    fn args(&mut self, place: &Place, value: &Value<'i>) -> Option<String> {
        match value.get_ref() {
            DeValue::Array(values) => {
                let words: Option<Vec<_>> =
                    values.iter().map(|value| self.string(place, value)).collect();
                words.map(|words| words.join(" "))
            }
            _ => self.string(place, value),
        }
    }

    /// With a slash it is meant from where the file lies.
    fn module(&self, path: &str) -> App {
        if !path.contains('/') {
            return App::Module(path.to_owned());
        }
        let path: PathBuf = self.directory.join(path).components().collect();
        App::Module(path.display().to_string())
    }

    fn key<'k>(&self, key: &'k Spanned<std::borrow::Cow<'i, str>>) -> (&'k str, Place) {
        (key.get_ref(), self.place(key.span(), key.get_ref()))
    }

    fn place(&self, span: Range<usize>, key: &str) -> Place {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|octet| **octet == b'\n').count();
        Place::Line(line, key.to_owned())
    }

    fn wrong(&mut self, place: &Place, text: impl Into<String>) {
        self.problems.push(Problem::new(place, text));
    }

    fn unknown<'a>(&mut self, place: &Place, name: &str, known: impl Iterator<Item = &'a str>) {
        let near = did_you_mean(name, known);
        self.wrong(place, format!("there is no such key{near}"));
    }
}

fn number(n: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(n.as_str(), n.radix()).ok()
}

fn a(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}
