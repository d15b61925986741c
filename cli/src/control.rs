//! `gateway reload|stop|scale`: tell a running server what to do, and say what came of it.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::failure::{Failure, Outcome, print};
use crate::instance::{self, Instance, Reached};
use crate::link::{Answer, Link, PATIENCE};
use crate::process::Process;
use crate::status::json_flag;
use crate::{file, problem};

/// How long a reload may take to begin where the signal was heard.
const BEGIN: Duration = Duration::from_secs(10);

/// How often to look whether something has happened.
const LOOK: Duration = Duration::from_millis(50);

fn timeout(preset: &'static str) -> Arg {
    Arg::new("timeout")
        .long("timeout")
        .value_name("SECONDS")
        .default_value(preset)
        .value_parser(value_parser!(u32))
        .help("How long to wait for it")
}

fn timeout_of(matches: &ArgMatches) -> Duration {
    Duration::from_secs(matches.get_one::<u32>("timeout").copied().unwrap_or_default().into())
}

fn say(matches: &ArgMatches, answer: &str, text: &str) -> Outcome {
    if matches.get_flag("json") { print(answer) } else { print(&format!("{text}\n")) }
}

pub(crate) fn reload() -> Command {
    instance::args(Command::new("reload"))
        .about("Let a running server replace its workers")
        .long_about(
            "Let a running server read its file again and replace its workers, as HUP does, and wait for \
             the outcome. With a pid file alone the signal is sent, and the outcome is in the log.\n\n\
             Exit status: 0 done; 1 not, and the workers serve on as before; 2 usage; 3 it does not run.",
        )
        .args([timeout("120"), json_flag()])
}

pub(crate) fn run_reload(matches: &ArgMatches) -> Outcome {
    let instance = Instance::of(matches)?;
    let toml = ["file", "config"].iter().find_map(|id| matches.get_one::<String>(id));
    if let Some(toml) = toml {
        readable(Path::new(toml))?;
    }
    match instance.reach()? {
        Reached::Process(process) => {
            process.signal(Signal::SIGHUP, 1)?;
            let text = format!("pid {}: HUP was sent; its log has the outcome", process.pid);
            say(matches, "{\"ok\":true}\n", &text)
        }
        Reached::Link(mut link) => {
            let answer = reload_over(&mut link, timeout_of(matches))?;
            say(matches, &answer, "reloaded")
        }
    }
}

/// A file that cannot be read is no news for a server.
fn readable(toml: &Path) -> Outcome {
    let (plan, mut problems) = file::read(toml);
    plan.build(&mut problems);
    if problems.is_empty() {
        return Ok(());
    }
    let lines = problem::lines(problems, &toml.display().to_string());
    let more = "gateway: nothing was reloaded".to_owned();
    Err(Failure { lines: [lines, vec![more]].concat(), exit_status: 1 })
}

/// The signal, where somebody hears it: what reads a file again does so there.  Otherwise the socket's
/// own command.
fn reload_over(link: &mut Link, timeout: Duration) -> Result<String, Failure> {
    let before = link.ask("status", PATIENCE)?.value;
    let pid = link.pid().filter(|pid| before["pid"] == *pid).map(Process::known);
    let Some(process) = pid.filter(|it| it.catches(Signal::SIGHUP)) else {
        return link.ask("reload", timeout).map(|answer| answer.text);
    };
    let ended = |status: &Value| {
        let number = |name: &str| status[name].as_u64().unwrap_or(0);
        (number("reloads"), number("reloads_failed"))
    };
    // One that is on its way is another.
    let mut left = 1 + u64::from(before["state"] == "reloading");
    let (mut done, mut failed) = ended(&before);
    process.signal(Signal::SIGHUP, 1)?;
    let since = Instant::now();
    let mut has_begun = false;
    loop {
        let Answer { text, value } = link.ask("status", PATIENCE)?;
        let (now_done, now_failed) = ended(&value);
        let new = (now_done + now_failed).saturating_sub(done + failed);
        if new >= left {
            return match now_failed > failed {
                true => {
                    let why = value["reload_error"].as_str().unwrap_or("its log says why");
                    Err(Failure::new(crate::link::plain(why)))
                }
                false => Ok(text),
            };
        }
        if new > 0 {
            (left, done, failed) = (left - new, now_done, now_failed);
        }
        if value["state"] == "stopping" {
            return Err(Failure::new("reload: the server is stopping"));
        }
        has_begun |= value["state"] != "ready" || new > 0;
        if !has_begun && since.elapsed() >= timeout.min(BEGIN) {
            return Err(Failure::new(
                "reload: the signal was heard, and no reload has begun: its log says what is wrong",
            ));
        }
        if since.elapsed() >= timeout {
            let s = timeout.as_secs();
            return Err(Failure::new(format_args!(
                "reload: it has begun, and has not ended within {s} s"
            )));
        }
        std::thread::sleep(LOOK);
    }
}

pub(crate) fn stop() -> Command {
    instance::args(Command::new("stop"))
        .about("Stop a running server")
        .long_about(
            "Stop a running server, after what is in flight, and wait for its end.\n\n\
             Exit status: 0 it has stopped; 1 it has not, or may not be told; 2 usage; 3 it did not run.",
        )
        .arg(
            Arg::new("now")
                .long("now")
                .action(ArgAction::SetTrue)
                .help("Cut what is in flight, as INT and QUIT do"),
        )
        .args([timeout("60"), json_flag()])
}

pub(crate) fn run_stop(matches: &ArgMatches) -> Outcome {
    let (is_quick, timeout) = (matches.get_flag("now"), timeout_of(matches));
    let since = Instant::now();
    let (text, process) = match Instance::of(matches)?.reach()? {
        Reached::Process(process) => {
            process.signal(if is_quick { Signal::SIGQUIT } else { Signal::SIGTERM }, 1)?;
            ("{\"ok\":true}\n".to_owned(), Some(process))
        }
        Reached::Link(mut link) => {
            let process = link.pid().map(Process::known);
            let answer = link.ask(if is_quick { "stop quick" } else { "stop" }, PATIENCE)?;
            if !link.ends(timeout) {
                return Err(not_stopped(timeout));
            }
            (answer.text, process)
        }
    };
    // The socket goes a moment before the process.
    if process.is_some_and(|it| !it.ends(timeout.saturating_sub(since.elapsed()))) {
        return Err(not_stopped(timeout));
    }
    say(matches, &text, "stopped")
}

fn not_stopped(timeout: Duration) -> Failure {
    let s = timeout.as_secs();
    Failure::new(format_args!(
        "stop: it was told, and has not ended within {s} s; --now cuts what is in flight"
    ))
}

pub(crate) fn scale() -> Command {
    let number = Arg::new("number")
        .value_name("N|+N|-N")
        .required(true)
        .allow_hyphen_values(true)
        .help("How many workers there are to be, or how many more, or fewer");
    instance::args(Command::new("scale").arg(number))
        .about("Set the number of workers of a running server")
        .long_about(
            "Set the number of workers of a running server. With a pid file alone: how many more or fewer, \
             by TTIN and TTOU.\n\n\
             Exit status: 0 it was told; 1 it was not; 2 usage; 3 it does not run.",
        )
        .arg(json_flag())
}

pub(crate) fn run_scale(matches: &ArgMatches) -> Outcome {
    let number = matches.get_one::<String>("number").map_or("", String::as_str);
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    let n = digits.parse::<u32>().ok().filter(|n| (1..=1024).contains(n));
    let Some(n) = n.filter(|_| digits.bytes().all(|octet| octet.is_ascii_digit())) else {
        let text = format!("scale {number:?}: N, +N or -N, with N from 1 to 1024");
        return Err(Failure::new(text).with_status(2));
    };
    let instance = Instance::of(matches)?;
    match instance.reach()? {
        Reached::Link(mut link) => {
            let answer = link.ask(&format!("scale {number}"), PATIENCE)?;
            let (now, before) = (&answer.value["workers"], &answer.value["before"]);
            say(matches, &answer.text, &format!("{now} workers instead of {before}"))
        }
        Reached::Process(process) => {
            let signal = match number.as_bytes()[0] {
                b'+' => Signal::SIGTTIN,
                b'-' => Signal::SIGTTOU,
                _ => {
                    instance.control("scale N")?;
                    return Err(Failure::new(
                        "scale N: nobody answers at the control socket, and by signals there are only +N and -N",
                    ));
                }
            };
            process.signal(signal, n)?;
            let text = format!("pid {}: {signal} was sent {n} times", process.pid);
            say(matches, "{\"ok\":true}\n", &text)
        }
    }
}
