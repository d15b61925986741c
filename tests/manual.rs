//! The manual, `docs/man/`: it is well-formed, every public name is on one page, and what the pages
//! repeat of the header is what the header says.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use support::{compile_c, include_dir, output, root, scratch_dir, write_source};

/// Sections in which a name is mentioned, and not explained.
const MENTIONS: [&str; 4] = ["RETURN VALUES", "EXIT STATUS", "EXAMPLES", "ERRORS"];

/// A page: its lines with the section that they are in.
struct Page {
    /// `gw_app.3`.
    name: String,
    lines: Vec<(String, String)>,
}

impl Page {
    fn section(&self, section: &str) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(move |(at, _)| at == section);
        lines.map(|(_, line)| line.as_str())
    }

    /// What NAME says that the page is about.
    fn subjects(&self) -> Vec<&str> {
        let names = self.section("NAME").filter_map(|line| line.strip_prefix(".Nm "));
        names.map(|name| name.trim_end_matches(" ,")).collect()
    }

    /// What its lists explain: constants and macros.
    fn items(&self) -> Vec<&str> {
        let explains = |section: &str| !MENTIONS.contains(&section);
        let lines = self.lines.iter().filter(|(section, _)| explains(section));
        let names = lines.filter_map(|(_, line)| line.strip_prefix(".It Dv "));
        names.filter_map(|rest| rest.split(' ').next()).collect()
    }

    /// What stands between `.Bd -literal` and `.Ed` in a section.
    fn displays(&self, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut inside: Option<String> = None;
        for (section, line) in &self.lines {
            match (&mut inside, line.as_str()) {
                (None, ".Bd -literal") => inside = Some(String::new()),
                (Some(_), ".Ed") => {
                    let text = inside.take().unwrap_or_default();
                    if is_there(section) {
                        found.push(text);
                    }
                }
                (Some(text), line) => *text += &(plain(line) + "\n"),
                (None, _) => {}
            }
        }
        assert!(inside.is_none(), "{}: a display does not end", self.name);
        found
    }
}

fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(root().join("docs/man")).expect("docs/man") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a page is text");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut section = String::new();
        let mut lines = Vec::new();
        for line in text.lines() {
            match line.strip_prefix(".Sh ") {
                Some(title) => section = title.to_owned(),
                None => lines.push((section.clone(), line.to_owned())),
            }
        }
        pages.push(Page { name, lines });
    }
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(pages.len() > 10, "docs/man has {} pages", pages.len());
    pages
}

/// The text that an input line of a literal display stands for.
fn plain(line: &str) -> String {
    let escapes = [
        ("\\-", "-"),
        ("\\(aq", "'"),
        ("\\(dq", "\""),
        ("\\(ha", "^"),
        ("\\(ti", "~"),
        ("\\(ga", "`"),
        ("\\&", ""),
        ("\\e", "\\"),
    ];
    escapes.iter().fold(line.to_owned(), |text, (escape, octet)| text.replace(escape, octet))
}

// ---- what the header says ----

/// The header without comments, and without what is C++ only.
fn header() -> String {
    let text = fs::read_to_string(include_dir().join("gateway.h")).expect("include/gateway.h");
    let text = without_comments(&text);
    let end = text.rfind("#ifdef __cplusplus").expect("the end of extern \"C\"");
    text[..end].to_owned()
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((code, comment)) = rest.split_once("/*") {
        out += code;
        out += " ";
        rest = comment.split_once("*/").expect("comments end").1;
    }
    out + rest
}

/// Words and signs.
fn tokens(code: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut in_word = false;
    for c in code.chars() {
        let is_word = c.is_alphanumeric() || c == '_';
        match out.last_mut() {
            Some(last) if is_word && in_word => last.push(c),
            _ if c.is_whitespace() => {}
            _ => out.push(c.to_string()),
        }
        in_word = is_word;
    }
    out
}

/// The declarations of the header: by name, as tokens up to the semicolon.
fn declarations() -> BTreeMap<String, Vec<String>> {
    let code: String = header()
        .replace("\\\n", " ")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |mut code, line| {
            code += line;
            code.push('\n');
            code
        });
    let code = code.replace("extern \"C\" {", "");
    let mut found = BTreeMap::new();
    let (mut statement, mut depth) = (Vec::new(), 0);
    for token in tokens(&code) {
        depth += i32::from(token == "{") - i32::from(token == "}");
        if token != ";" || depth != 0 {
            statement.push(token);
            continue;
        }
        let statement = std::mem::take(&mut statement);
        let name = name_of(&statement);
        // `typedef struct x { ... } x;` beside a `typedef struct x x;` would be one too many.
        assert!(found.insert(name.clone(), statement).is_none(), "{name} is declared twice");
    }
    found
}

fn name_of(statement: &[String]) -> String {
    let is_typedef = statement[0] == "typedef";
    let at = match statement.iter().position(|token| token == "(") {
        // A function, or `typedef x (*name)(...)`.
        Some(at) if !statement[..at].contains(&"{".to_owned()) => {
            if is_typedef {
                at + 2
            } else {
                at - 1
            }
        }
        _ => statement.len() - 1,
    };
    statement[at].clone()
}

fn macros() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in header().lines() {
        if let Some(rest) = line.trim_start_matches(['#', ' ']).strip_prefix("define ") {
            let name = rest.split([' ', '(']).next().expect("a macro has a name");
            found.insert(name.to_owned());
        }
    }
    found.remove("GATEWAY_H");
    found
}

// ---- the tests ----

#[test]
fn pages_are_well_formed() {
    for page in pages() {
        let path = root().join("docs/man").join(&page.name);
        let mut mandoc = Command::new("mandoc");
        let said = output(mandoc.args(["-T", "lint", "-W", "warning"]).arg(&path));
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success(), "{}:\n{text}", page.name);

        let (name, section) = page.name.split_once('.').expect("name.section");
        // That of the command is generated: cli/tests/check.rs.
        let title = match section {
            "1" => format!(".TH {name} 1"),
            _ => format!(".Dt {} {section}", name.to_uppercase()),
        };
        let has_title = page.lines.iter().any(|(_, line)| line.starts_with(&title));
        assert!(has_title, "{}: no {title}", page.name);
    }
}

#[test]
fn every_public_name_is_on_one_page() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for page in pages() {
        for name in page.subjects().iter().chain(&page.items()) {
            places.entry((*name).to_owned()).or_default().push(page.name.clone());
        }
    }
    let public: BTreeSet<String> = declarations().into_keys().chain(macros()).collect();
    assert!(public.len() > 150, "the header has {} names", public.len());
    for name in &public {
        let pages = places.get(name).map_or(&[][..], Vec::as_slice);
        assert!(
            pages.len() == 1,
            "{name} is on the pages {pages:?}: a function or type belongs into NAME of one page of \
             docs/man, a constant or macro is `.It Dv` in one list"
        );
    }
    for (name, pages) in &places {
        let known = public.contains(name) || name == "gateway";
        assert!(known, "{name} is on {pages:?} and not in the header");
    }
}

/// Also the other way round: every function that a page is about is in its SYNOPSIS.
#[test]
fn synopses_are_the_header_s() {
    let declared = declarations();
    for page in pages() {
        let mut seen = BTreeSet::new();
        for prototype in prototypes(&page) {
            let name = name_of(&prototype);
            assert_eq!(Some(&prototype), declared.get(&name), "{}: {name}", page.name);
            seen.insert(name);
        }
        let is_function = |name: &&str| {
            declared.get(*name).is_some_and(|tokens| {
                tokens[0] != "typedef" && tokens.last().is_some_and(|token| token == ")")
            })
        };
        let named: BTreeSet<String> =
            page.subjects().into_iter().filter(is_function).map(str::to_owned).collect();
        assert_eq!(seen, named, "{}: SYNOPSIS and NAME", page.name);
    }
}

/// The prototypes of SYNOPSIS, as tokens.
fn prototypes(page: &Page) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let (mut result, mut call, mut arguments) = (String::new(), String::new(), Vec::new());
    for line in page.section("SYNOPSIS") {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let text = rest.trim_matches('"');
        match word {
            ".Ft" => result = text.to_owned(),
            ".Fo" => (call, arguments) = (text.to_owned(), Vec::new()),
            ".Fa" => arguments.push(text.to_owned()),
            ".Fc" => found.push(tokens(&format!("{result} {call}({})", arguments.join(", ")))),
            ".Fn" => {
                let (name, argument) = text.split_once(' ').expect(".Fn name void");
                found.push(tokens(&format!("{result} {name}({argument})")));
            }
            _ => {}
        }
    }
    found
}

/// What a page shows of the header, outside of its examples; every struct is shown.
#[test]
fn declarations_are_the_header_s() {
    let declared = declarations();
    let mut shown = BTreeSet::new();
    for page in pages() {
        for text in page.displays(|section| section != "EXAMPLES") {
            let mut statement = tokens(&without_comments(&text));
            assert_eq!(statement.pop().as_deref(), Some(";"), "{}:\n{text}", page.name);
            let name = name_of(&statement);
            assert_eq!(Some(&statement), declared.get(&name), "{}: {name}", page.name);
            assert!(page.subjects().contains(&name.as_str()), "{name}: shown by {}", page.name);
            shown.insert(name);
        }
    }
    let is_shape =
        |tokens: &[String]| tokens[0] == "typedef" && tokens.iter().any(|t| t == "{" || t == "(");
    for (name, statement) in declared {
        assert!(!is_shape(&statement) || shown.contains(&name), "{name} is shown by no page");
    }
}

#[test]
fn examples_compile() {
    let mut count = 0;
    for page in pages() {
        for (number, text) in page.displays(|section| section == "EXAMPLES").iter().enumerate() {
            let source = write_source(&format!("{}-{number}.c", page.name), text);
            let out = scratch_dir().join(format!("{}-{number}", page.name));
            compile_c(&source, &out, if text.contains("\nmain(") { &[] } else { &["-c"] });
            count += 1;
        }
    }
    assert!(count > 10, "{count} examples");
}

#[test]
fn references_lead_somewhere() {
    let pages = pages();
    let known: BTreeSet<String> = pages
        .iter()
        .flat_map(|page| {
            let (_, section) = page.name.split_once('.').expect("name.section");
            page.subjects().into_iter().map(move |name| format!("{name} {section}"))
        })
        .collect();
    for page in &pages {
        for (_, line) in &page.lines {
            for reference in line.split("Xr ").skip(1) {
                let words: Vec<&str> = reference.split(' ').take(2).collect();
                let words = words.join(" ");
                let ours = words.starts_with("gw_") || words.starts_with("gateway");
                assert!(!ours || known.contains(&words), "{}: .Xr {words}", page.name);
            }
        }
    }
}

/// The list in gw_config(3) says of each option what docs/options.md does, which is written from the
/// table that the library reads.
#[test]
fn options_are_the_table_s() {
    let table = fs::read_to_string(root().join("docs/options.md")).expect("docs/options.md");
    let pages = pages();
    let page = pages.iter().find(|page| page.name == "gw_config.3").expect("gw_config.3");
    let text: String = page.lines.iter().fold(String::new(), |text, (_, line)| text + line + "\n");
    let mut count = 0;
    for row in table.lines().filter_map(|line| line.strip_prefix("| [")) {
        let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_matches(['`', ' '])).collect();
        let name = cells[0].split(']').next().expect("a name");
        let preset = cells[3].trim_end_matches([' ', '|', '`']);
        let help = table.split(&format!("\n## {name}\n\n")).nth(1).expect("its section");
        let help = help.lines().next().expect("its help").replace("\\_", "_");

        let item = format!("\n.It Dv GW_OPT_{}\n", name.to_uppercase());
        let item = text.split(&item).nth(1).unwrap_or_else(|| panic!("{name} is not in the list"));
        let item = item.split("\n.It ").next().unwrap_or(item);
        let item = item.split("\n.El").next().unwrap_or(item);
        let said: Vec<&str> = item.split_whitespace().collect();
        let said = plain(&said.join(" "));
        let kind = format!(".Ql {name} , {}", cells[2]);
        let preset = match preset {
            "" => ":".to_owned(),
            preset if preset.contains(' ') => format!(", preset .Dl {preset}"),
            preset => format!(", preset .Ql {preset} :"),
        };
        assert_eq!(said, format!("{kind}{preset} {help}"), "gw_config.3 says of {name}");
        count += 1;
    }
    assert!(count > 20, "{count} options");
}
