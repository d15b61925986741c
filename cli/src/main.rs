//! The `gateway` command: application modules served from a file or from the command line.
//!
//! One file for each subcommand, with `command()`, what clap knows of it, and `run()`.  All that it
//! does is the library's public C interface: `ffi.rs` declares it, `library.rs` makes it safe.

mod check;
mod completions;
mod control;
mod failure;
mod ffi;
mod file;
mod import;
mod instance;
mod library;
mod link;
mod options;
mod plan;
mod problem;
mod process;
mod python;
mod run;
mod status;
mod surroundings;
mod top;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use failure::Outcome;

/// A subcommand: its name is the command's.
type Sub = (fn() -> Command, fn(&ArgMatches) -> Outcome);

const SUBCOMMANDS: [Sub; 11] = [
    (run::command, run::run),
    (check::command, check::run),
    (options::command, options::run),
    (status::command, status::run),
    (control::reload, control::run_reload),
    (control::stop, control::run_stop),
    (control::scale, control::run_scale),
    (top::command, top::run),
    (import::command, import::run),
    (completions::command, completions::run),
    (completions::man, completions::run_man),
];

fn main() -> ExitCode {
    let matches = command().get_matches_from(with_run(std::env::args_os().collect()));
    let (name, matches) = matches.subcommand().expect("clap asks for one");
    let sub = SUBCOMMANDS.iter().find(|(command, _)| command().get_name() == name);
    let (_, run) = sub.expect("clap knows no other");
    match run(matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The whole command, as clap knows it.
fn command() -> Command {
    let about = "Serves application modules of libgateway: pre-forked workers behind HTTP, uwsgi, \
                 FastCGI and SCGI.";
    Command::new("gateway")
        .about(about)
        .version(library::version())
        .override_usage("gateway MODULE.so [ARGS]... [OPTIONS]\n       gateway MODULE:APPLICATION [OPTIONS]\n       \
                         gateway <COMMAND>")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(SUBCOMMANDS.iter().map(|(command, _)| command()))
}

/// `gateway ./libapp.so` is `gateway run ./libapp.so`: the first word is no subcommand, and looks like
/// a file or an option of `run`.
fn with_run(mut args: Vec<OsString>) -> Vec<OsString> {
    let Some(first) = args.get(1).map(|first| first.to_string_lossy().into_owned()) else {
        return args;
    };
    let is_ours = ["-h", "--help", "-V", "--version", "help"].contains(&first.as_str())
        || SUBCOMMANDS.iter().any(|(command, _)| command().get_name() == first);
    let looks_right = first.starts_with('-') || first.contains(['/', '.', ':']);
    if !is_ours && looks_right {
        args.insert(1, "run".into());
    }
    args
}
