//! The directives of a `uwsgi.ini`, with their placeholders filled in.

use std::collections::HashMap;
use std::path::Path;

use crate::import::Source;

/// `key = value`; a key alone is true.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) line: usize,
    pub(super) key: String,
    /// Or why it is not known.
    pub(super) value: Result<String, String>,
    /// It is not read at all, whatever it is.
    pub(super) is_passed_over: bool,
}

/// Characters of a value with its placeholders filled in.
const VALUE_MAX: usize = 16_000;

/// What the section `[uwsgi]` has; other sections, blocks and what sets placeholders is dealt with.
pub(super) fn read(source: &Source<'_>) -> Vec<Directive> {
    let mut directives = Vec::new();
    let pass_over = |directives: &mut Vec<Directive>, line: usize, key: &str, why: &str| {
        let value = Err(why.to_owned());
        directives.push(Directive { line, key: key.to_owned(), value, is_passed_over: true });
    };
    let mut known = Placeholders { source, values: HashMap::new() };
    let mut section: Option<String> = None;
    // The words that opened the blocks that we are in, and where.
    let mut blocks: Vec<(String, usize)> = Vec::new();
    for (n, text) in source.text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (line, text) = (n + 1, text.trim());
        if text.is_empty() || text.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = text.strip_prefix('[') {
            let name = name.split(']').next().unwrap_or_default();
            if name != "uwsgi" {
                pass_over(
                    &mut directives,
                    line,
                    &format!("[{name}]"),
                    "Only the section [uwsgi] is read.",
                );
            }
            section = Some(name.to_owned());
            continue;
        }
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key.trim(), value.trim()),
            None => (text, "true"),
        };
        match section.as_deref() {
            Some("uwsgi") => {}
            Some(_) => continue,
            None => {
                pass_over(
                    &mut directives,
                    line,
                    key,
                    "It is in no section: uWSGI does not read it either.",
                );
                continue;
            }
        }
        let is_for = key == "for" || key.starts_with("for-");
        if is_for || key.starts_with("if-") || (key.starts_with("if") && key != "if") {
            blocks.push((key.to_owned(), line));
            let why = "Blocks are not executed: write what holds, or a file for each case.";
            pass_over(&mut directives, line, key, why);
            continue;
        }
        if matches!(key, "endif" | "end-if" | "endfor" | "end-for") {
            blocks.pop();
            continue;
        }
        if let Some((block, at)) = blocks.last() {
            pass_over(&mut directives, line, key, &format!("It is under `{block}` of line {at}."));
            let why = format!("line {line} sets {key} only perhaps");
            known.values.insert(key.to_owned(), Err(why));
            continue;
        }
        let filled = known.fill(value);
        if matches!(key, "set" | "set-placeholder" | "set-ph") {
            let pair = filled.as_ref().map(|value| value.split_once('='));
            match pair {
                Ok(Some((name, value))) => {
                    known.values.insert(name.trim().to_owned(), Ok(value.trim().to_owned()));
                }
                Ok(None) => pass_over(&mut directives, line, key, "It is not name=value."),
                Err(why) => pass_over(&mut directives, line, key, why),
            }
            continue;
        }
        known.values.insert(key.to_owned(), filled.clone());
        directives.push(Directive {
            line,
            key: key.to_owned(),
            value: filled,
            is_passed_over: false,
        });
    }
    directives
}

/// Whether a key that is no option is there to be a placeholder.
pub(super) fn is_placeholder(text: &str, key: &str) -> bool {
    text.contains(&format!("%({key})"))
}

struct Placeholders<'a> {
    source: &'a Source<'a>,
    values: HashMap<String, Result<String, String>>,
}

impl Placeholders<'_> {
    /// The value with its placeholders filled in.
    fn fill(&self, value: &str) -> Result<String, String> {
        let mut text = String::new();
        let mut rest = value;
        while let Some(at) = rest.find(['%', '$', '@']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            let name = rest[1..].strip_prefix('(').and_then(|rest| rest.split_once(')'));
            if let Some((name, behind)) = name {
                match rest.as_bytes()[0] {
                    b'%' => match self.values.get(name) {
                        Some(Ok(value)) => text.push_str(value),
                        Some(Err(why)) => return Err(format!("It needs %({name}): {why}")),
                        None => {
                            return Err(format!("It needs %({name}), which no line before sets."));
                        }
                    },
                    b'$' => {
                        return Err(format!(
                            "It needs the variable {name} of the environment: write its value."
                        ));
                    }
                    _ => return Err(format!("It needs the content of {name}: write it.")),
                }
                rest = behind;
            } else if let Some(letter) = rest.strip_prefix('%').and_then(|rest| rest.chars().next())
            {
                match self.magic(letter)? {
                    Some(value) => {
                        text.push_str(&value);
                        rest = &rest[1 + letter.len_utf8()..];
                    }
                    None => {
                        text.push('%');
                        rest = &rest[1..];
                    }
                }
            } else {
                text.push_str(&rest[..1]);
                rest = &rest[1..];
            }
            if text.len() > VALUE_MAX {
                return Err("Its value is too long to be one of an option.".to_owned());
            }
        }
        text.push_str(rest);
        Ok(text)
    }

    /// `%d` and its like; nothing if the letter means nothing.
    fn magic(&self, letter: char) -> Result<Option<String>, String> {
        let path = Path::new(self.source.path);
        let lossy = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let parent = path.parent().unwrap_or(Path::new("/"));
        let found = match letter {
            'p' => self.source.path.to_owned(),
            's' => lossy(path.file_name()),
            'n' => lossy(path.file_stem()),
            'e' => lossy(path.extension()),
            'c' => lossy(parent.file_name()),
            'd' => match parent.to_string_lossy() {
                parent if parent.ends_with('/') => parent.into_owned(),
                parent => format!("{parent}/"),
            },
            'k' => self.source.cpus.to_string(),
            '%' => "%".to_owned(),
            'h' | 'u' | 'U' | 'g' | 'G' | 't' | 'T' | 'v' | 'V' | 'i' | 'j' => {
                return Err(format!(
                    "It needs %{letter}, which is known to uWSGI only: write its value."
                ));
            }
            _ => return Ok(None),
        };
        Ok(Some(found))
    }
}
