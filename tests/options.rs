//! `docs/options.md` is the option table, written out.  `UPDATE_DOCS=1 cargo test --test options`
//! writes it again.

use std::fmt::Write;
use std::path::Path;

use gateway::conf::options::{Opt, options};

fn page() -> String {
    let mut page = String::from(
        "# Options\n\n\
         Written from the table in `src/conf/options/table.rs`; a test keeps the two equal.\n\n\
         Every option is set by its name, and those that are numbers also by number (durations in\n\
         milliseconds, sizes in octets). Durations are `30s`, `500ms`, `2m`, `1h`, `1.5`; a bare\n\
         number is seconds. Sizes are `8k`, `1m`, `1g`; a bare number is octets. Numbers of options\n\
         never change.\n\n\
         | option | number | kind | preset |\n| --- | --- | --- | --- |\n",
    );
    for option in options() {
        let (name, id, kind) = (option.name(), option.id(), option.kind());
        writeln!(page, "| [{name}](#{name}) | {id} | {kind} | {} |", preset(option)).unwrap();
    }
    for option in options() {
        let (name, help, accepts) = (option.name(), option.help(), option.accepts());
        write!(page, "\n## {name}\n\n{}\n\nAccepts {}.\n", plain(help), plain(&accepts)).unwrap();
    }
    page
}

fn preset(option: &Opt) -> String {
    match option.preset() {
        "" => String::new(),
        preset => format!("`{preset}`"),
    }
}

/// What Markdown would read as a list or emphasis.
fn plain(text: &str) -> String {
    text.replace('_', "\\_").replace('[', "\\[").replace(']', "\\]")
}

#[test]
fn the_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == page(),
        "docs/options.md is not the table: run UPDATE_DOCS=1 cargo test --test options"
    );
}
