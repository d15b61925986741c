//! `gateway options`: the table of options, for people, for programs, and as a file to begin with.

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use crate::failure::{Failure, Outcome, print};
use crate::library::{self, Opt};

/// What a file has beside options.
pub(crate) const TABLES: &str = r#"
# An application: "." is where this file lies.
#module = "./libapp.so"
#args = "key=value"

# Where the process goes, from where this file lies, and what its environment has.
#chdir = "/srv/app"

# Further applications: "/prefix", "host/prefix" or "*.host/prefix"; the longest that matches answers.
#[[mount]]
#at = "/shop"
#module = "./libshop.so"
#args = ""

# The library's own: static, cgi, redirect, health.  Middleware around this mount alone.
#[[mount]]
#at = "/files"
#builtin = "static"
#args = "root=/srv/www"
#[[mount.use]]
#builtin = "access"
#args = "allow=10.0.0.0/8"

# Middleware around everything: access, request_id, sendfile.  The first is the outermost.
#[[use]]
#builtin = "request_id"

# A place to listen on, beside bind: http, uwsgi, fastcgi, scgi or auto.
#[[listen]]
#address = "unix:/run/app.sock"
#protocol = "uwsgi"
#mode = 0o660

#[env]
#NAME = "value"
"#;

pub(crate) fn command() -> Command {
    Command::new("options")
        .about("Print the table of options")
        .long_about(
            "Print the table of options: name, kind, preset, and what it is for. With --format toml \
             a file to begin with, in which everything is a comment; with --format json an array of \
             objects.",
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["text", "toml", "json"])
                .default_value("text")
                .help("How"),
        )
        .arg(Arg::new("name").value_name("NAME").num_args(0..).help("Only these"))
}

pub(crate) fn run(matches: &ArgMatches) -> Outcome {
    let names: Vec<String> =
        matches.get_many("name").map_or_else(Vec::new, |names| names.cloned().collect());
    let mut options = library::options();
    for name in &names {
        if !options.iter().any(|it| it.name == name) {
            let near = crate::problem::did_you_mean(name, options.iter().map(|it| it.name));
            return Err(Failure::new(format!("there is no option {name}{near}")));
        }
    }
    options.retain(|it| names.is_empty() || names.iter().any(|name| name == it.name));
    let text = match matches.get_one::<String>("format").expect("it has a default").as_str() {
        "json" => json(&options),
        "toml" => toml(&options) + if names.is_empty() { TABLES } else { "" },
        _ => table(&options),
    };
    print(&text)
}

fn json(options: &[Opt]) -> String {
    let of = |it: &Opt| json!({ "name": it.name, "kind": it.kind, "preset": it.preset, "help": it.help });
    let all: Vec<_> = options.iter().map(of).collect();
    format!("{:#}\n", json!(all))
}

fn toml(options: &[Opt]) -> String {
    let mut text =
        String::from("# For gateway run: see gateway(1).  What is a comment is the preset.\n");
    for it in options {
        text += "\n";
        for line in wrapped(it.help, 96) {
            text += &format!("# {line}\n");
        }
        text += &format!("#{} = {}\n", it.name, value(it));
    }
    text
}

/// The preset, as a file has it.
fn value(option: &Opt) -> String {
    match (option.kind, option.preset) {
        ("bool", "0") => "false".into(),
        ("bool", "1") => "true".into(),
        ("list", "") => "[]".into(),
        (_, preset) if !preset.is_empty() && preset.bytes().all(|it| it.is_ascii_digit()) => {
            preset.into()
        }
        (_, preset) => toml::Value::String(preset.into()).to_string(),
    }
}

fn table(options: &[Opt]) -> String {
    let width = |of: fn(&Opt) -> &str| options.iter().map(|it| of(it).len()).max().unwrap_or(0);
    let (name, kind) = (width(|it| it.name), width(|it| it.kind));
    let mut text = String::new();
    for it in options {
        let preset = if it.preset.is_empty() { "\"\"" } else { it.preset };
        text += &format!("{:name$}  {:kind$}  {preset}\n", it.name, it.kind);
        for line in wrapped(it.help, 90) {
            text += &format!("    {line}\n");
        }
    }
    text
}

/// Lines of at most so many characters, if no word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
