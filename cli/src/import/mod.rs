//! `gateway import`: the configuration of gunicorn, uWSGI or Unit as TOML, and why where there is none.
//!
//! Nothing of what is read is executed, and nothing but the file is looked at: [`import`] is a function
//! of its text.

mod address;
mod draft;
mod gunicorn;
mod python;
mod rules;
#[cfg(test)]
mod tests;
mod unit;
mod uwsgi;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::failure::{Failure, Outcome, print, say};
use draft::{Draft, Toml};

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `gunicorn.conf.py`
    Gunicorn,
    /// `uwsgi.ini`
    Uwsgi,
    /// NGINX Unit's JSON.
    Unit,
}

/// What is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    /// Its absolute path, for those that name files by it.
    pub(crate) path: &'a str,
    /// As many CPUs as there are here.
    pub(crate) cpus: usize,
}

/// A line that does not map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) reason: String,
}

/// What becomes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// With a comment at the place of each line that does not map.
    pub(crate) toml: String,
    /// By line.
    pub(crate) unmapped: Vec<Line>,
}

/// Read `source` as a file of `form`.  An error: it is none, and at which line.
pub(crate) fn import(form: Form, source: &Source<'_>) -> Result<Import, String> {
    match form {
        Form::Gunicorn => Ok(gunicorn::import(source)),
        Form::Uwsgi => Ok(uwsgi::import(source)),
        Form::Unit => unit::import(source),
    }
}

/// The form of a file, by its name, and else by what it begins with.
pub(crate) fn form_of(name: &str, text: &str) -> Option<Form> {
    let ends = |end: &str| name.to_ascii_lowercase().ends_with(end);
    for (end, form) in [(".py", Form::Gunicorn), (".ini", Form::Uwsgi), (".json", Form::Unit)] {
        if ends(end) {
            return Some(form);
        }
    }
    let is_comment = |line: &&str| line.is_empty() || line.starts_with(['#', ';']);
    let first =
        text.trim_start_matches('\u{feff}').lines().map(str::trim).find(|it| !is_comment(it))?;
    if first.starts_with(['{', '/']) {
        return Some(Form::Unit);
    }
    if first.starts_with('[') {
        return Some(Form::Uwsgi);
    }
    let is_python = |line: &str| line.starts_with("import ") || line.starts_with("from ");
    let knows = |line: &str| {
        let key = line.split(['=', ':']).next().unwrap_or_default().trim();
        gunicorn::RULES.iter().any(|rule| rule.key == key)
    };
    let is_gunicorn = text.lines().any(|line| is_python(line) || line.contains('=') && knows(line));
    is_gunicorn.then_some(Form::Gunicorn)
}

/// What the TOML begins with.
fn draft<'a>(source: &Source<'a>) -> Draft<'a> {
    let mut draft = Draft::new(source.text);
    let name = Path::new(source.path).file_name().unwrap_or_default().to_string_lossy();
    draft.say(&format!(
        "What {name} says. Numbers are lines of it; what is a comment here was not taken as it is."
    ));
    draft
}

/// What `heartbeat_timeout` is unless it is set, in seconds.
const HEARTBEAT: i64 = 30;

/// How long a request may take: a worker's thread may be silent longer, so that the 504 comes first.
fn times_of(seconds: i64) -> Vec<(&'static str, Toml)> {
    let mut options = vec![("request_timeout", Toml::Text(format!("{seconds}s")))];
    if seconds >= HEARTBEAT {
        options.push(("heartbeat_timeout", Toml::Text(format!("{}s", seconds + HEARTBEAT))));
    }
    options
}

fn done(draft: Draft<'_>) -> Import {
    let (toml, unmapped) = draft.finish();
    Import { toml, unmapped }
}

/// As many CPUs as this process may use.
fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

pub(crate) fn command() -> Command {
    let file = Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("gunicorn.conf.py, uwsgi.ini, or the JSON of NGINX Unit");
    let from = Arg::new("from")
        .long("from")
        .value_name("FORM")
        .value_parser(["gunicorn", "uwsgi", "unit"])
        .help("Whose file it is, where name and content do not say");
    let strict = Arg::new("strict")
        .long("strict")
        .action(ArgAction::SetTrue)
        .help("Fail (1) if there is anything that does not map");
    Command::new("import")
        .about("Print the TOML that another server's configuration maps to")
        .long_about(
            "Prints the TOML that another server's configuration maps to. Each line that does not map \
             is a comment at its place and a line on standard error, with the reason. Nothing in the \
             file is executed.",
        )
        .args([from, strict, file])
}

pub(crate) fn run(matches: &ArgMatches) -> Outcome {
    let file = matches.get_one::<PathBuf>("file").expect("clap asks for it");
    let shown = file.display();
    let text =
        fs::read_to_string(file).map_err(|error| Failure::new(format!("{shown}: {error}")))?;
    let form = match matches.get_one::<String>("from").map(String::as_str) {
        Some("gunicorn") => Form::Gunicorn,
        Some("uwsgi") => Form::Uwsgi,
        Some(_) => Form::Unit,
        None => form_of(&file.to_string_lossy(), &text).ok_or_else(|| {
            let why = "neither its name nor its content say whose it is";
            Failure::new(format!("{shown}: {why}: use --from gunicorn, uwsgi or unit"))
        })?,
    };
    let path = std::path::absolute(file).unwrap_or_else(|_| file.clone());
    let source = Source { text: &text, path: &path.to_string_lossy(), cpus: cpus() };
    let broken = |why| Failure { lines: vec![format!("{shown}:{why}")], exit_status: 1 };
    let import = import(form, &source).map_err(broken)?;
    print(&import.toml)?;
    let mut lines: Vec<String> = import
        .unmapped
        .iter()
        .map(|Line { line, key, reason }| format!("{shown}:{line}: {key}: {reason}"))
        .collect();
    lines.push(match lines.len() {
        0 => format!("{shown}: everything maps"),
        1 => format!("{shown}: 1 setting does not map as it is"),
        n => format!("{shown}: {n} settings do not map as they are"),
    });
    if matches.get_flag("strict") && lines.len() > 1 {
        return Err(Failure { lines, exit_status: 1 });
    }
    lines.iter().for_each(|line| say(line));
    Ok(())
}
