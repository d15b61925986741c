//! `gateway top`: workers and requests of a running server, redrawn in place.

mod screen;
pub(crate) mod view;

use std::io::{IsTerminal as _, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

use crate::failure::{Failure, Outcome, print};
use crate::instance::{self, Instance};
use crate::link::Link;
use screen::{Screen, Wish};
use view::Size;

/// How long a server may take for an answer, while keys wait.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn command() -> Command {
    instance::args(Command::new("top"))
        .about("Watch the workers and requests of a running server")
        .long_about(
            "Watch the workers and the requests in flight of a running server, by its control socket. q ends \
             it, space asks at once. A server that goes away is waited for.\n\n\
             Where standard output is no terminal one frame is printed, as with --once.",
        )
        .arg(
            Arg::new("interval")
                .long("interval")
                .value_name("SECONDS")
                .default_value("1")
                .value_parser(interval)
                .help("How often to ask, from 0.1 to 3600"),
        )
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Print one frame as plain text"),
        )
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|s| (0.1..=3600.0).contains(s));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "seconds, from 0.1 to 3600".into())
}

pub(crate) fn run(matches: &ArgMatches) -> Outcome {
    let instance = Instance::of(matches)?;
    let path = instance.control("top")?;
    if matches.get_flag("once") || !stdout().is_terminal() {
        let answer = Link::connect(path)?.ask("status", crate::link::PATIENCE)?;
        return print(&(view::frame(&answer.value, None, Size::UNLIMITED).join("\n") + "\n"));
    }
    let interval = matches.get_one("interval").copied().unwrap_or(PATIENCE);
    let screen =
        Screen::enter().map_err(|error| Failure::new(format_args!("terminal: {error}")))?;
    let watched = watch(path, interval, &screen);
    drop(screen);
    watched.map_err(|error| Failure::new(format_args!("terminal: {error}")))
}

/// Until somebody wants no more.
fn watch(path: &Path, interval: Duration, screen: &Screen) -> std::io::Result<()> {
    let mut watched = Watched { path: path.to_owned(), ..Watched::default() };
    let mut due = Instant::now();
    loop {
        if Instant::now() >= due {
            watched.ask();
            due = Instant::now() + interval;
        }
        screen.draw(&watched.frame(screen.size()))?;
        match screen.wait(due)? {
            Wish::End => return Ok(()),
            Wish::Ask => due = Instant::now(),
            Wish::Draw => {}
        }
    }
}

/// A server, as far as it is known.
#[derive(Default)]
struct Watched {
    path: PathBuf,
    link: Option<Link>,
    now: Option<(Value, Instant)>,
    before: Option<(Value, Instant)>,
    /// Why it does not answer.
    lost: Option<String>,
}

impl Watched {
    fn ask(&mut self) {
        match self.try_ask() {
            Ok(value) => {
                // Rates are those of one server.
                let same = self.now.take().filter(|(before, _)| before["pid"] == value["pid"]);
                (self.before, self.now, self.lost) = (same, Some((value, Instant::now())), None);
            }
            Err(failure) => {
                (self.link, self.before, self.now) = (None, None, None);
                let line = failure.lines.first().map_or("", String::as_str);
                self.lost = Some(line.trim_start_matches("gateway: ").to_owned());
            }
        }
    }

    fn try_ask(&mut self) -> Result<Value, Failure> {
        // One that was silent for long has lost its connection, and the server nothing.
        if let Some(link) = &mut self.link
            && let Ok(answer) = link.ask("status", PATIENCE)
        {
            return Ok(answer.value);
        }
        self.link = None;
        let link = self.link.insert(Link::connect(&self.path)?);
        link.ask("status", PATIENCE).map(|answer| answer.value)
    }

    fn frame(&self, size: Size) -> Vec<String> {
        if let Some((now, at)) = &self.now {
            let before = self.before.as_ref();
            let before = before.map(|(before, then)| (before, at.duration_since(*then)));
            return view::frame(now, before, size);
        }
        let why = crate::link::plain(self.lost.as_deref().unwrap_or(""));
        let mut lines = vec![why, "waiting for it; q ends".to_owned()];
        lines.iter_mut().for_each(|line| line.truncate(size.width));
        lines.truncate(size.height);
        lines
    }
}
