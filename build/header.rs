//! Renders `gateway.h`.
//!
//! cbindgen turns declarations into C.  It cannot do the rest, which is done here on its output: keep
//! the order of the sources (it emits all constants, then all types, then all functions), put short
//! comments to the right of what they explain, align members and values, wrap to 79 columns, and
//! write constants in parentheses and of the right type.

use std::collections::BTreeMap;
use std::path::Path;

use cbindgen::{Config, DocumentationStyle, Language, SortKey, Style};

use super::layout::{SECTIONS, TYPES, sources};

/// Nothing is written past this column.
const WIDTH: usize = 79;
/// Where a comment to the right begins.
const RIGHT: usize = 36;

/// A declaration as its Rust source has it.
struct Item {
    /// In C.
    name: String,
    /// In Rust.
    rust: String,
    /// The Rust type of a constant, else empty.
    constant: String,
    /// Whether a blank line stands before it.
    apart: bool,
}

/// A declaration as cbindgen has it.
struct Decl {
    doc: Vec<String>,
    lines: Vec<String>,
}

/// The whole header.  `version` is text for the top of the first section.
pub(crate) fn render(root: &Path, version: &str) -> Result<String, String> {
    let mut items = BTreeMap::new();
    for source in sources() {
        let path = root.join(source);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{source}: {e}"))?;
        items.insert(source, scan(&text));
    }
    let mut decls = split(&bindings(root, items.values().flatten())?)?;

    let read =
        |name: &str| std::fs::read_to_string(root.join(name)).map_err(|e| format!("{name}: {e}"));
    let mut out = read("src/ffi/prologue.h")?;
    for (index, section) in SECTIONS.iter().enumerate() {
        out += &title(index + 1, section.title);
        let mut below = Below::Title;
        if index == 0 {
            out += version;
            below = Below::Block;
        }
        if !section.intro.is_empty() {
            out += &above(section.intro, "");
            below = Below::Block;
        }
        for name in section.first {
            let decl = decls.remove(*name).ok_or(format!("{name} is declared nowhere"))?;
            if decl.lines[0].starts_with('#') {
                return Err(format!("{name} is a constant: it stands in its own file's section"));
            }
            out += &place(&decl, true, &mut below);
        }
        for source in section.sources {
            let mut run: Vec<(&Item, Decl)> = Vec::new();
            for item in &items[source] {
                // Missing: it stood earlier, or cbindgen was told to leave it out.
                let Some(decl) = decls.remove(&item.name) else { continue };
                if !run.is_empty() && (item.constant.is_empty() || item.apart) {
                    out += &constants(&mut run, &mut below);
                }
                if item.constant.is_empty() {
                    out += &place(&decl, item.apart, &mut below);
                } else {
                    run.push((item, decl));
                }
            }
            if !run.is_empty() {
                out += &constants(&mut run, &mut below);
            }
        }
    }
    if let Some(name) = decls.keys().next() {
        return Err(format!("no section has {name}"));
    }
    out += &title(SECTIONS.len() + 1, "macros");
    Ok(out + &read("src/ffi/epilogue.h")?)
}

/// The public declarations of a source, in order.  Formatted sources have them at the left edge.
fn scan(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut apart = true;
    for line in text.lines() {
        if line.is_empty() {
            apart = true;
        }
        let Some(rest) = line.strip_prefix("pub ") else { continue };
        let rest = rest.strip_prefix("unsafe ").unwrap_or(rest);
        let rest = rest.strip_prefix("extern \"C\" ").unwrap_or(rest);
        let Some((keyword, rest)) = rest.split_once(' ') else { continue };
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (rust, rest) = (&rest[..end], &rest[end..]);
        let name = match keyword {
            "const" if rust.starts_with("GW_") => rust.to_string(),
            "const" => format!("GW_{rust}"),
            "struct" | "type" => match TYPES.iter().find(|(name, _)| *name == rust) {
                Some((_, name)) => (*name).to_string(),
                None if rust.starts_with("gw_") => rust.to_string(),
                None => continue,
            },
            "fn" if rust.starts_with("gw_") => rust.to_string(),
            _ => continue,
        };
        let constant = match (keyword, rest.strip_prefix(": ")) {
            ("const", Some(rest)) => rest.split(" = ").next().unwrap_or_default(),
            _ => "",
        };
        let (rust, constant) = (rust.to_string(), constant.to_string());
        items.push(Item { name, rust, constant, apart });
        apart = false;
    }
    items
}

/// cbindgen's words for all of them: one declaration a line, members on their own.
fn bindings<'a>(root: &Path, items: impl Iterator<Item = &'a Item>) -> Result<String, String> {
    let mut config = Config {
        language: Language::C,
        style: Style::Both,
        sort_by: SortKey::None,
        no_includes: true,
        usize_is_size_t: true,
        line_length: usize::MAX,
        tab_width: 4,
        documentation_style: DocumentationStyle::C99,
        ..Config::default()
    };
    config.function.args = cbindgen::Layout::Horizontal;
    for item in items {
        config.export.include.push(item.name.clone());
        config.export.include.push(item.rust.clone());
        if item.name != item.rust {
            config.export.rename.insert(item.rust.clone(), item.name.clone());
        }
    }
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in sources() {
        builder = builder.with_src(root.join(source));
    }
    let mut text = Vec::new();
    builder.generate().map_err(|e| format!("cbindgen: {e}"))?.write(&mut text);
    String::from_utf8(text).map_err(|e| format!("cbindgen: {e}"))
}

/// The declarations in cbindgen's output, by name.
fn split(text: &str) -> Result<BTreeMap<String, Decl>, String> {
    let mut decls = BTreeMap::new();
    let mut decl = Decl { doc: Vec::new(), lines: Vec::new() };
    let mut depth = 0;
    for line in text.lines() {
        match line.strip_prefix("//") {
            Some(doc) if decl.lines.is_empty() => {
                decl.doc.push(doc.to_string());
                continue;
            }
            _ if line.is_empty() => continue,
            // Every struct has a typedef.
            _ if decl.lines.is_empty() && line.starts_with("typedef struct ") => {
                decl.lines.push(line.to_string());
            }
            _ => decl.lines.push(line.replace("struct ", "")),
        }
        depth += line.matches('{').count();
        depth -= line.matches('}').count();
        if depth == 0 && (line.ends_with(';') || line.starts_with('#')) {
            let name = name(&decl.lines)?;
            let fresh = Decl { doc: Vec::new(), lines: Vec::new() };
            decls.insert(name, std::mem::replace(&mut decl, fresh));
        }
    }
    Ok(decls)
}

/// What a declaration declares.
fn name(lines: &[String]) -> Result<String, String> {
    let first = lines[0].as_str();
    let end = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_string()
    };
    if let Some(rest) = first.strip_prefix("#define ") {
        return Ok(end(rest));
    }
    if let Some(rest) = first.strip_prefix("typedef struct ") {
        return Ok(end(rest));
    }
    if let Some((_, rest)) = first.split_once("(*").filter(|_| first.starts_with("typedef ")) {
        return Ok(end(rest));
    }
    let head = first.trim_end_matches(';').split('(').next().unwrap_or_default();
    let name = head.rsplit([' ', '*']).next().unwrap_or_default();
    if name.is_empty() { Err(format!("nameless: {first}")) } else { Ok(name.to_string()) }
}

/// What stands above a declaration decides whether a blank line comes between.
enum Below {
    Title,
    /// Something with a comment to its right, or none.
    Line,
    /// Something of several lines, or with a comment above.
    Block,
}

/// One declaration that is not a constant.
fn place(decl: &Decl, apart: bool, below: &mut Below) -> String {
    let doc = prose(&decl.doc);
    let lines = if decl.lines.len() > 1 { members(decl, &doc) } else { single(decl, &doc) };
    let tall = lines.lines().count() > 1;
    let gap = match below {
        Below::Title => false,
        Below::Line => tall || (apart && lines.starts_with("typedef")),
        Below::Block => true,
    };
    *below = if tall { Below::Block } else { Below::Line };
    format!("{}{lines}", if gap { "\n" } else { "" })
}

/// A run of constants without a blank line between them, their values aligned.
fn constants(run: &mut Vec<(&Item, Decl)>, below: &mut Below) -> String {
    let width = run.iter().map(|(item, _)| item.name.len()).max().unwrap_or(0);
    let line = |(item, decl): (&Item, Decl)| {
        let prefix = format!("#define {} ", item.name);
        let value = decl.lines[0].strip_prefix(&prefix).unwrap_or_default();
        // (1 << 0) of an unsigned type, and anything with a sign, as C wants them.
        let value = match value {
            _ if value.starts_with('-') => format!("({value})"),
            _ if item.constant.starts_with('u') => value.replacen("(1 <<", "(1u <<", 1),
            _ => value.to_string(),
        };
        (format!("#define {:width$} {value}", item.name), prose(&decl.doc))
    };
    let lines: Vec<_> = run.drain(..).map(line).collect();
    let widest = lines.iter().map(|(line, _)| line.len() + 1).max().unwrap_or(0);
    let column = RIGHT.max(widest.next_multiple_of(4));

    let mut out = if matches!(below, Below::Title) { String::new() } else { "\n".to_string() };
    for (line, doc) in lines {
        match doc.as_str() {
            "" => out += &format!("{line}\n"),
            _ => out += &format!("{line:column$}{}\n", fill(&doc, column)),
        }
    }
    *below = Below::Block;
    out
}

/// A function, a typedef or an opaque type.
fn single(decl: &Decl, doc: &str) -> String {
    let text = wrap_declaration(&decl.lines[0], "");
    if !text.contains('\n') && fits(&text, doc) {
        return comment_right(&text, doc);
    }
    format!("{}{text}\n", above(doc, ""))
}

/// A struct with members.
fn members(decl: &Decl, doc: &str) -> String {
    let first = &decl.lines[0];
    let mut out = if fits(first, doc) {
        comment_right(first, doc)
    } else {
        format!("{}{first}\n", above(doc, ""))
    };

    // Members as (documentation, type, declarator).
    let mut fields: Vec<(String, &str, &str)> = Vec::new();
    let mut docs = Vec::new();
    for line in &decl.lines[1..decl.lines.len() - 1] {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("//") {
            docs.push(text.to_string());
            continue;
        }
        let at = line.find("(*").or_else(|| {
            let head = &line[..line.find('[').unwrap_or(line.len())];
            let name = head.rfind(' ').map(|at| at + 1)?;
            Some(head.find('*').map_or(name, |star| star.min(name)))
        });
        let (kind, declarator) = line.split_at(at.unwrap_or(0));
        fields.push((prose(&docs), kind.trim_end(), declarator));
        docs.clear();
    }
    // Names line up; a star or a parenthesis stands to the left of them.
    let stars = |d: &str| d.chars().take_while(|c| matches!(c, '*' | '(')).count();
    let name = |(_, kind, d): &(String, &str, &str)| kind.len() + 1 + stars(d);
    let column = fields.iter().map(name).max().unwrap_or(0);

    for (doc, kind, declarator) in &fields {
        let pad = column - stars(declarator);
        let line = wrap_declaration(&format!("    {kind:pad$}{declarator}"), "    ");
        if line.lines().count() == 1 && (fits(&line, doc) || line.len() < RIGHT) {
            out += &comment_right(&line, doc);
        } else {
            out += &format!("{}{line}\n", above(doc, "    "));
        }
    }
    out + &decl.lines[decl.lines.len() - 1] + "\n"
}

/// Wrap at commas, each further line below the first argument.
fn wrap_declaration(text: &str, indent: &str) -> String {
    if text.len() <= WIDTH {
        return text.to_string();
    }
    // The last list of arguments at the outermost level: that of a pointer to a function, too.
    let mut open = 0;
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' if depth == 0 => (open, depth) = (at + 1, 1),
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    let hang = if open < 50 { open } else { indent.len() + 4 };
    let mut out = String::new();
    let mut line = text[..open].to_string();
    for (index, argument) in arguments(&text[open..]).iter().enumerate() {
        if index > 0 && line.len() + argument.len() >= WIDTH {
            out += line.trim_end();
            out += "\n";
            line = format!("{:hang$}{argument} ", "");
        } else {
            line += argument;
            line += " ";
        }
    }
    out + line.trim_end()
}

/// The arguments, each with the comma or whatever ends it.
fn arguments(text: &str) -> Vec<&str> {
    let (mut all, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                all.push(text[start..=at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(text[start..].trim());
    all
}

/// Rust's documentation as the text of a comment: paragraphs, without links.
fn prose(doc: &[String]) -> String {
    let text = doc.iter().map(|line| line.trim()).collect::<Vec<_>>();
    let paragraphs = text.split(|line| line.is_empty());
    let text = paragraphs.map(|lines| lines.join(" ")).collect::<Vec<_>>().join("\n");
    text.replace("[`", "`").replace("`]", "`").replace("*/", "*")
}

/// Whether a comment has room on one line with what it explains.
fn fits(line: &str, doc: &str) -> bool {
    !doc.contains('\n') && (line.len() + 1).max(RIGHT) + doc.len() + 6 <= WIDTH
}

/// A line with its comment to the right, on further lines if need be; above, if that has no room.
pub(crate) fn comment_right(line: &str, doc: &str) -> String {
    if doc.is_empty() {
        return format!("{line}\n");
    }
    let column = (line.len() + 1).max(RIGHT);
    if column > RIGHT && !fits(line, doc) {
        let indent = &line[..line.len() - line.trim_start().len()];
        return format!("{}{line}\n", above(doc, indent));
    }
    format!("{line:column$}{}\n", fill(doc, column))
}

/// A comment on lines of its own.
fn above(doc: &str, indent: &str) -> String {
    if doc.is_empty() {
        return String::new();
    }
    format!("{indent}{}\n", fill(doc, indent.len()))
}

/// `/* doc */` from a column on, wrapped.
fn fill(doc: &str, column: usize) -> String {
    let mut out = String::from("/*");
    let mut used = column + 2;
    for (index, paragraph) in doc.split('\n').enumerate() {
        for (at, word) in paragraph.split_whitespace().enumerate() {
            // The last line must have room for the end of the comment.
            let breaks = index > 0 && at == 0;
            if breaks || used + 1 + word.len() + 3 > WIDTH {
                out += &format!("\n{:width$}", "", width = column + 2);
                used = column + 2;
            }
            // Sentences are two spaces apart.
            let sentence = out.ends_with('.') && word.starts_with(char::is_uppercase);
            out += if sentence { "  " } else { " " };
            out += word;
            used += 1 + usize::from(sentence) + word.len();
        }
    }
    out + " */"
}

/// `/* ---- 1. versions ---- */` over the whole line.
fn title(number: usize, text: &str) -> String {
    let head = format!("/* ---- {number}. {text} ");
    format!("\n{head}{:-<width$} */\n\n", "", width = WIDTH - 4 - head.len())
}
