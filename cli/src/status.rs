//! `gateway status`: what a running server says of itself; by its pid file alone, what the system does.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::failure::{Outcome, print};
use crate::instance::{self, Instance, Reached};
use crate::link::PATIENCE;
use crate::process::Process;
use crate::top::view;

pub(crate) fn command() -> Command {
    instance::args(Command::new("status"))
        .about("Say how a running server is")
        .long_about(
            "Say how a running server is: by its control socket, or, where there is only a pid file, what \
             the system knows of its processes.\n\n\
             Exit status: 0 it runs; 1 it cannot be told; 2 usage; 3 it does not run.",
        )
        .arg(json_flag())
}

/// `--json`
pub(crate) fn json_flag() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the answer as it came")
}

pub(crate) fn run(matches: &ArgMatches) -> Outcome {
    let is_json = matches.get_flag("json");
    match Instance::of(matches)?.reach()? {
        Reached::Link(mut link) => {
            let answer = link.ask("status", PATIENCE)?;
            if is_json { print(&answer.text) } else { print(&told(&answer.value)) }
        }
        Reached::Process(process) => print(&known(&process, is_json)),
    }
}

/// By its own words.
fn told(status: &Value) -> String {
    let mut lines = view::frame(status, None, view::Size::UNLIMITED);
    // The last line is the end of an empty table.
    while lines.pop_if(|line| line.is_empty()).is_some() {}
    lines.join("\n") + "\n"
}

/// By those of the system.
fn known(process: &Process, is_json: bool) -> String {
    let children = process.children();
    if is_json {
        let workers = children
            .iter()
            .map(|it| json!({ "pid": it.pid, "state": it.state.to_string(), "rss": it.resident }));
        let workers: Vec<_> = workers.collect();
        return format!("{}\n", json!({ "ok": true, "pid": process.pid, "processes": workers }));
    }
    let mut text = format!(
        "pid {} runs, with {} processes of its own; more is known with control_socket\n",
        process.pid,
        children.len()
    );
    for child in children {
        let (state, resident) = (child.state, view::octets(child.resident));
        let _ = writeln!(text, "  pid {} {state} {resident}", child.pid);
    }
    text
}
