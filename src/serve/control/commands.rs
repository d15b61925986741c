//! What a line to the control socket means, and its answer: an object in JSON, with `ok` in it, and `error`
//! where that is false.

use super::desk::{CONNECTIONS_MAX, Counted, LINE_MAX};
use super::{Stage, Steered};
use crate::arbiter::StopMode;
use crate::base::error::Result;
use crate::base::json::Members;

/// Requests that an answer describes at most: those that are the oldest.
pub(super) const REQUESTS_MAX: usize = 256;

/// All that can be said.
const COMMANDS: &str = "status, requests, reload, stop [graceful|quick], scale N|+N|-N, reopen";

/// Of these, for those who only read.
const READING: &str = "status, requests";

/// What to answer, and when.
pub(super) enum Answer {
    Now(Vec<u8>),
    /// When the reload with this number has ended.
    AfterReload(u64),
}

/// A command, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Status,
    Requests,
    Reload,
    Stop(StopMode),
    Scale { workers: i64, is_change: bool },
    Reopen,
}

impl Command {
    /// Of a line, with its end or without.  An error says what there is.
    fn parse(line: &[u8]) -> Result<Command, String> {
        let words: Vec<&[u8]> =
            line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        Ok(match words[..] {
            [b"status"] => Command::Status,
            [b"requests"] => Command::Requests,
            [b"reload"] => Command::Reload,
            [b"stop"] | [b"stop", b"graceful"] => Command::Stop(StopMode::Graceful),
            [b"stop", b"quick"] => Command::Stop(StopMode::Quick),
            [b"reopen"] => Command::Reopen,
            [b"scale", number] => scale(number).ok_or_else(|| {
                let number = number.escape_ascii();
                format!("scale {number}: how many workers: N, +N or -N, with N from 1 to 1024")
            })?,
            _ => {
                // Enough to know it by.
                let shown = line.trim_ascii();
                let (shown, more) =
                    if shown.len() > 60 { (&shown[..60], "...") } else { (shown, "") };
                let shown = shown.escape_ascii();
                return Err(format!("unknown command '{shown}{more}'; there are: {COMMANDS}"));
            }
        })
    }

    fn reads(self) -> bool {
        matches!(self, Command::Status | Command::Requests)
    }
}

fn scale(number: &[u8]) -> Option<Command> {
    let number = str::from_utf8(number).ok()?;
    let digits = number.trim_start_matches(['+', '-']);
    let is_change = digits.len() != number.len();
    if number.len() - digits.len() > 1 || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let n: i64 = digits.parse().ok().filter(|n| (1..=1024).contains(n))?;
    let workers = if number.starts_with('-') { -n } else { n };
    Some(Command::Scale { workers, is_change })
}

/// Does what the line says.  `stranger`: the user who may only read.
pub(super) fn answer(
    line: &[u8],
    stranger: Option<u32>,
    counted: &mut Counted,
    stage: &Stage,
    server: &dyn Steered,
) -> Answer {
    let command = match Command::parse(line) {
        Ok(command) => command,
        Err(text) => return Answer::Now(failure(&text)),
    };
    if let Some(user) = stranger.filter(|_| !command.reads()) {
        counted.forbidden += 1;
        let text = format!(
            "user {user} may read here ({READING}), and not steer: that is for root and the server's user"
        );
        return Answer::Now(failure(&text));
    }
    let result = match command {
        Command::Status => return Answer::Now(status(*counted, stage, server)),
        Command::Requests => return Answer::Now(requests(server)),
        _ if stage.stops && !matches!(command, Command::Stop(_) | Command::Reopen) => {
            return Answer::Now(failure("the server is stopping"));
        }
        Command::Reload => match server.reload() {
            // One that has begun is another.
            Ok(()) => return Answer::AfterReload(stage.reloads + 1),
            Err(error) => Err(error),
        },
        Command::Stop(how) => {
            server.stop(how);
            Ok(success(|_| {}))
        }
        Command::Scale { workers, is_change } => {
            let before = server.scaled();
            server.scale(workers, is_change).map(|now| {
                success(|all| {
                    all.number("workers", now.into());
                    all.number("before", before);
                })
            })
        }
        Command::Reopen => {
            server.reopen();
            Ok(success(|_| {}))
        }
    };
    Answer::Now(result.unwrap_or_else(|error| failure(error.message())))
}

/// It was done, and this is what came of it.
pub(super) fn success(show: impl FnOnce(&mut Members<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut all = Members::object(&mut out);
    all.member("ok").extend_from_slice(b"true");
    show(&mut all);
    drop(all);
    out.push(b'\n');
    out
}

/// It was not.
pub(super) fn failure(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut all = Members::object(&mut out);
    all.member("ok").extend_from_slice(b"false");
    all.text("error", text.as_bytes());
    drop(all);
    out.push(b'\n');
    out
}

fn status(counted: Counted, stage: &Stage, server: &dyn Steered) -> Vec<u8> {
    let mut snapshot = server.snapshot();
    let left_off = snapshot.keep_oldest(REQUESTS_MAX);
    success(|all| {
        all.text("state", stage.name().as_bytes());
        all.number("target", server.workers());
        if let Some(failure) = &stage.failure {
            all.text("reload_error", failure.as_bytes());
        }
        all.number("requests_left_off", left_off as u64);
        let mut control = Members::object(all.member("control"));
        control.number("connections", counted.connections);
        control.number("max_connections", CONNECTIONS_MAX as u64);
        control.number("max_line", LINE_MAX as u64);
        control.number("commands", counted.commands);
        control.number("refused", counted.refused);
        control.number("too_long", counted.too_long);
        control.number("timed_out", counted.timed_out);
        control.number("forbidden", counted.forbidden);
        drop(control);
        snapshot.show(all);
    })
}

fn requests(server: &dyn Steered) -> Vec<u8> {
    let mut snapshot = server.snapshot();
    let left_off = snapshot.keep_oldest(REQUESTS_MAX);
    success(|all| {
        all.number("requests_left_off", left_off as u64);
        snapshot.show_requests(&mut Members::array(all.member("requests")));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Command, String> {
        Command::parse(line.as_bytes())
    }

    #[test]
    fn lines_are_commands() {
        let scale = |workers, is_change| Ok(Command::Scale { workers, is_change });
        for (line, command) in [
            ("status\n", Ok(Command::Status)),
            ("status\r\n", Ok(Command::Status)),
            ("  requests ", Ok(Command::Requests)),
            ("reload", Ok(Command::Reload)),
            ("stop", Ok(Command::Stop(StopMode::Graceful))),
            ("stop graceful", Ok(Command::Stop(StopMode::Graceful))),
            ("stop\tquick", Ok(Command::Stop(StopMode::Quick))),
            ("reopen", Ok(Command::Reopen)),
            ("scale 1", scale(1, false)),
            ("scale 1024", scale(1024, false)),
            ("scale +2", scale(2, true)),
            ("scale -1024", scale(-1024, true)),
        ] {
            assert_eq!(said(line), command, "{line:?}");
        }
        for line in ["", "\n", "Status", "status x", "stop kill", "scale", "reload now", "\0"] {
            let text = said(line).unwrap_err();
            assert!(text.ends_with(&format!("there are: {COMMANDS}")), "{text}");
        }
        for number in ["0", "+0", "-0", "1025", "++1", "+-1", "-", "+", "1x", "\u{661}", "1e1"] {
            let text = said(&format!("scale {number}")).unwrap_err();
            assert!(text.contains("N from 1 to 1024"), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told_and_is_json() {
        let long = [b'"'; 4000];
        let text = Command::parse(&long).unwrap_err();
        assert!(text.len() < 400 && text.contains("...'; there are"), "{text}");
        let octets = failure(&Command::parse(b"\xff\x1b[2J\"").unwrap_err());
        let text = String::from_utf8(octets).unwrap();
        assert!(!text.trim_end().chars().any(char::is_control), "{text}");
        assert!(
            text.starts_with(r#"{"ok":false,"error":"unknown command '\\xff\\x1b[2J\\\""#),
            "{text}"
        );
    }
}
