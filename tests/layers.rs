//! The layers of the library point downwards, and `unsafe` stands only where it may.
//!
//! The sources are read as text: comments and literals are blanked, then every path that begins
//! with `crate::` (or climbs there with `super::`) must lead to the file's own layer or a lower one.

use std::fs;
use std::path::Path;

/// From the lowest to the highest.
const LAYERS: [&str; 13] = [
    "base", "sys", "conf", "wire", "gateway", "run", "apps", "module", "server", "host", "arbiter",
    "serve", "ffi",
];

/// Files beside the layers: `lib.rs` names the modules and the Rust API, and so may use them all.
const TOP: [&str; 1] = ["lib.rs"];

/// Where `unsafe` may stand: whole layers, and single files.
const UNSAFE: [&str; 8] = [
    "sys/",
    "ffi/",
    "base/arena.rs",
    "base/buf.rs",
    "base/octets.rs",
    "base/slab.rs",
    "gateway/abi.rs",
    "gateway/app.rs",
];

/// Crates that have one place, so that what they do can be found there; tests may use them.
const CRATES: [(&str, &str); 3] = [("mio", "sys/"), ("nix", "sys/"), ("libc", "sys/")];

#[test]
fn arrows_point_downwards() {
    let mut wrong = Vec::new();
    for file in sources() {
        wrong.extend(upward(&file.name, &file.code));
    }
    assert!(wrong.is_empty(), "a layer uses one above it:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_has_a_layer() {
    let strays: Vec<_> = sources()
        .into_iter()
        .filter(|file| !TOP.contains(&file.name.as_str()) && layer(&file.name).is_none())
        .map(|file| file.name)
        .collect();
    assert!(strays.is_empty(), "these files belong to no layer: {strays:?}");
}

#[test]
fn unsafe_stands_where_it_may() {
    let mut wrong = Vec::new();
    for file in sources() {
        if !UNSAFE.iter().any(|place| file.name.starts_with(place)) {
            wrong.extend(unsafe_lines(&file.code).iter().map(|n| format!("{}:{n}", file.name)));
        }
    }
    assert!(wrong.is_empty(), "unsafe outside its places:\n{}", wrong.join("\n"));
}

#[test]
fn crates_have_their_place() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (name, place) in CRATES {
            if file.name.starts_with(place) {
                continue;
            }
            let code = file.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
            let uses = words(code)
                .filter(|(at, word)| *word == name && code[at + name.len()..].starts_with("::"))
                .map(|(at, _)| format!("{}:{}: {name}", file.name, line_of(code, at)));
            wrong.extend(uses);
        }
    }
    assert!(wrong.is_empty(), "a crate is used outside its place:\n{}", wrong.join("\n"));
}

/// The checks themselves, on texts with known faults.
#[test]
fn faults_are_found() {
    let found = |name: &str, text: &str| upward(name, &code(text)).len();
    assert_eq!(found("wire/mod.rs", "use crate::base::error::Error;"), 0);
    assert_eq!(found("wire/mod.rs", "use crate::gateway::Exchange;"), 1);
    assert_eq!(found("wire/mod.rs", "let x = crate::ffi::guard();"), 1);
    assert_eq!(found("wire/mod.rs", "use crate::{base::octets, server, arbiter::{A, B}};"), 2);
    assert_eq!(found("wire/mod.rs", "use crate::{\n    conf::{server, Limits},\n    sys,\n};"), 0);
    assert_eq!(found("wire/mod.rs", "// use crate::ffi;\n/* crate::ffi::x */ \"crate::ffi\""), 0);
    assert_eq!(found("wire/http1/head.rs", "use super::super::Event;"), 0);
    assert_eq!(found("wire/http1/head.rs", "use super::super::super::server::Conn;"), 1);
    assert_eq!(found("wire/mod.rs", "mod tests { use super::super::ffi::x; }"), 1);
    assert_eq!(found("base/x.rs", "use crate::Config;"), 1);

    let text = code("let s = r#\"unsafe\"#; let c = '\"'; let l: &'a str; // unsafe\nunsafe { x }");
    assert_eq!(unsafe_lines(&text), [2]);
    assert_eq!(unsafe_lines("#![deny(unsafe_code)]\ntype F = unsafe extern \"C\" fn(u8);"), []);
    assert_eq!(
        unsafe_lines("unsafe extern \"C\" fn f(x: u8) {}\nunsafe impl Send for X {}"),
        [1, 2]
    );
}

struct Source {
    /// Its path below `src/`.
    name: String,
    /// Its text without comments and literals; the lines are where they were.
    code: String,
}

fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = vec![top.clone()];
    let mut sources = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("read a directory of src");
            paths.extend(entries.map(|entry| entry.expect("an entry of src").path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("read a source file");
            sources.push(Source { name: below(&path, &top), code: code(&text) });
        }
    }
    assert!(sources.len() > LAYERS.len(), "src/ was not found");
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

fn below(path: &Path, top: &Path) -> String {
    path.strip_prefix(top).expect("a path below src").to_str().expect("a plain name").to_owned()
}

/// The number of the layer that a file, or the first word of a path, belongs to.
fn layer(name: &str) -> Option<usize> {
    let first = name.split('/').next().unwrap_or(name);
    let first = first.strip_suffix(".rs").unwrap_or(first);
    LAYERS.iter().position(|layer| *layer == first)
}

/// The uses of a higher layer, or of the crate's top, in one file: "file:line: layer".
fn upward(name: &str, code: &str) -> Vec<String> {
    let Some(own) = layer(name) else { return Vec::new() };
    let mut wrong = Vec::new();
    for (at, target) in targets(name, code) {
        if layer(&target).is_none_or(|layer| layer > own) {
            wrong.push(format!("{name}:{}: {target}", line_of(code, at)));
        }
    }
    wrong
}

/// The first words of all paths that begin at the crate's top, with where they stand.
fn targets(name: &str, code: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (at, word) in words(code) {
        let mut rest = &code[at + word.len()..];
        if word == "super" && !code[..at].ends_with("::") {
            let mut climbed = 1;
            while let Some(further) = rest.strip_prefix("::super") {
                rest = further;
                climbed += 1;
            }
            if climbed < depth(name) + inline_modules(&code[..at]) {
                continue;
            }
        } else if word != "crate" {
            continue;
        }
        targets.extend(heads(rest).into_iter().map(|head| (at, head)));
    }
    targets
}

/// How many modules a file's code is in: 1 for `wire/mod.rs`, 3 for `wire/http1/head.rs` and for
/// `ffi/guard_tests.rs`, which is the module `tests` of `ffi/guard.rs`.
fn depth(name: &str) -> usize {
    let parts = name.split('/').filter(|part| *part != "mod.rs").count();
    parts + usize::from(name.ends_with("_tests.rs"))
}

/// How many `mod name {` are open at the end of this text.
fn inline_modules(code: &str) -> usize {
    let mut open = Vec::new();
    for (at, brace) in code.char_indices().filter(|(_, c)| "{}".contains(*c)) {
        if brace == '}' {
            open.pop();
        } else {
            let mut before = code[..at].split_whitespace().rev();
            open.push(before.nth(1) == Some("mod"));
        }
    }
    open.into_iter().filter(|is_module| *is_module).count()
}

/// The first words after `crate`: one of `::name...`, several of `::{name, name::...}`.
fn heads(rest: &str) -> Vec<String> {
    let Some(path) = rest.strip_prefix("::") else { return Vec::new() };
    let word = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect();
    let Some(list) = path.strip_prefix('{') else { return vec![word(path)] };
    let mut heads = Vec::new();
    let (mut level, mut start) = (0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level > 0 => level -= 1,
            ',' | '}' if level == 0 => {
                heads.push(word(&list[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads.retain(|head: &String| !head.is_empty());
    heads
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every word of a text, with where it begins.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split(|c| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// The lines on which `unsafe` opens a block, a function or an implementation; a pointer to such a
/// function may be named anywhere.
fn unsafe_lines(code: &str) -> Vec<usize> {
    let pointer = |at: usize| {
        let mut next = code[at..].split_whitespace().skip(1);
        next.find(|word| !["extern", "\"C\""].contains(word)).is_some_and(|w| w.starts_with("fn("))
    };
    let uses = words(code).filter(|(at, word)| *word == "unsafe" && !pointer(*at));
    uses.map(|(at, _)| line_of(code, at)).collect()
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// The text with comments and literals blanked; newlines stay.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word_before = code.chars().next_back().is_some_and(is_word);
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => literal(rest, '"'),
            'b' | 'c' | 'r' if !word_before => prefixed_literal(rest),
            '\'' => character(rest),
            _ => 0,
        };
        let taken = if skipped == 0 { c.len_utf8() } else { skipped };
        if skipped == 0 {
            code.push(c);
        } else {
            code.push(' ');
            code.extend(rest[..taken].chars().filter(|c| *c == '\n'));
        }
        rest = &rest[taken..];
    }
    code
}

/// The length of a comment in `/* */`, which may hold others.
fn block_comment(text: &str) -> usize {
    let (mut level, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            level += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            level -= 1;
            at += 2;
            if level == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a literal with its two quotes, the first of which `text` begins with.
fn literal(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// The length of `b"..."`, `r#"..."#` and their like; 0 if this is none of them.
fn prefixed_literal(text: &str) -> usize {
    let prefix = text.len() - text.trim_start_matches(['b', 'c', 'r']).len();
    let hashes = text[prefix..].len() - text[prefix..].trim_start_matches('#').len();
    let quoted = &text[prefix + hashes..];
    let raw = text[..prefix].ends_with('r');
    let is_quote = quoted.starts_with('"') || quoted.starts_with('\'') && hashes == 0;
    if prefix > 2 || !is_quote {
        0
    } else if raw && quoted.starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let inner = &quoted[1..];
        prefix + hashes + 1 + inner.find(&end).map_or(inner.len(), |at| at + end.len())
    } else if hashes > 0 || raw {
        0
    } else {
        prefix + literal(quoted, quoted.chars().next().unwrap_or('"'))
    }
}

/// The length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => literal(text, '\''),
        (Some(_), Some('\'')) => literal(text, '\''),
        _ => 0,
    }
}
