//! The calling convention, watched: what an application says and does is compared with what it may,
//! and each breach is told by its name.  The wsgiref.validate of C.
//!
//! Here is what is right; `ffi/lint.rs` stands around the application and tells what it does.

mod rules;

use std::fmt;

use parking_lot::Mutex;

use super::arguments::{Arguments, wrong};
use crate::base::error::{Kind, Result};
use crate::base::log::{Level, Logger};
use crate::base::octets::{CHUNK_FILE, CHUNK_FLUSH, CHUNK_LAST, Chunk};
use crate::gateway::abi::{EOF, Environ, OK, RESPONSE_CLOSE, RESPONSE_REPLACE, Response};
use crate::gateway::head::is_hop_by_hop;
use crate::gateway::watcher::{Misuse, Watcher};
use crate::wire::http1::{decimal, is_token};

pub use rules::Rule;

/// How the convention is watched.
#[derive(Clone, Copy, Debug)]
pub struct Lint {
    /// A breach is an error of the application's: a 500, or a cut.
    is_fatal: bool,
}

impl Lint {
    pub(super) fn new(args: &str) -> Result<Self> {
        let is_fatal = match Arguments::read(args, "fatal=1")?.get("fatal") {
            None | Some("0" | "off") => false,
            Some("1" | "on") => true,
            Some(other) => return Err(wrong("fatal", other, "0 or 1")),
        };
        Ok(Lint { is_fatal })
    }

    /// A request comes.
    pub(crate) fn watch(self, env: &Environ) -> Result<Watch> {
        let x = env.exchange()?;
        Ok(Watch {
            log: x.service().log.clone(),
            id: String::from_utf8_lossy(x.request_id().as_slice()).into_owned(),
            is_head: env.request_method() == b"HEAD",
            is_fatal: self.is_fatal,
            reads_the_request: env.reads_the_request(),
            state: Mutex::default(),
        })
    }
}

/// What the application of one request has done so far.
pub(crate) struct Watch {
    log: Logger,
    id: String,
    is_head: bool,
    is_fatal: bool,
    /// Its reads are told by the request, and not by whoever stands in between.
    reads_the_request: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Breaches that were told: each once.
    told: Vec<Rule>,
    /// start_response was called, whatever came of it.
    tried: bool,
    head: Option<Said>,
    /// Octets of the body are on their way.
    is_committed: bool,
    /// A head that came too late to replace the first: the application is to give up.
    is_refused: bool,
    octets: u64,
    /// Ends of the request's body that were read.
    ends_read: u32,
    has_ended: bool,
}

/// A head.
#[derive(Clone, Copy)]
struct Said {
    status: u16,
    length: Option<u64>,
}

impl Said {
    fn is_bodiless(self) -> bool {
        matches!(self.status, 204 | 304)
    }
}

/// How octets of the body come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    First,
    Next,
    Write,
    Handle,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Watch {
    /// Something was done that must not be; what exactly is in `detail`.
    pub(crate) fn breach(&self, rule: Rule, detail: &str) {
        let mut state = self.state.lock();
        if state.told.contains(&rule) {
            return;
        }
        state.told.push(rule);
        drop(state);
        // Nothing is locked: the log may be a function of the program's.
        let separator = if detail.is_empty() { "" } else { ": " };
        let text = format!("lint: {}: {}{separator}{detail}", rule.name(), rule.says());
        self.log.write_octets(Level::Error, "app", &self.id, text.as_bytes());
    }

    /// Whether reads are told without anybody in between.
    pub(crate) fn reads_the_request(&self) -> bool {
        self.reads_the_request
    }

    /// Whether the answer is to be an error.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_fatal && !self.state.lock().told.is_empty()
    }

    /// start_response is called.
    pub(crate) fn head(&self, head: &Response<'_>) {
        if head.reserved != 0
            || head.has_more()
            || head.flags & !(RESPONSE_REPLACE | RESPONSE_CLOSE) != 0
        {
            self.breach(Rule::ResponseReserved, "");
        }
        let length = self.fields(head);
        let reason = head.reason.as_slice();
        if head.reason.is_torn() {
            self.breach(Rule::TextNull, "the reason");
        } else if reason.iter().any(u8::is_ascii_control) {
            self.breach(Rule::ReasonControl, &shown(reason));
        }
        let state = self.state.lock();
        let (is_started, is_committed) = (state.head.is_some(), state.is_committed);
        drop(state);
        match head.status {
            101 => return self.breach(Rule::StatusSwitching, ""),
            100..200 if is_committed => return self.breach(Rule::HintAfterBody, ""),
            100..200 => return,
            200..=999 => {}
            other => self.breach(Rule::StatusRange, &other.to_string()),
        }
        if is_started && !head.replaces() {
            return self.breach(Rule::StartTwice, "");
        }
        let mut state = self.state.lock();
        state.tried = true;
        if is_committed {
            state.is_refused = true;
        } else {
            state.head = Some(Said { status: head.status, length });
        }
    }

    /// What came of that.
    pub(crate) fn head_was(&self, code: i32) {
        if code == Kind::Limit as i32 {
            self.breach(Rule::HeadTooLarge, "");
        }
    }

    /// The fields of a head; says the Content-Length.
    fn fields(&self, head: &Response<'_>) -> Option<u64> {
        if head.lacks_headers() {
            self.breach(Rule::HeadersNull, "");
        }
        let is_interim = (100..200).contains(&head.status);
        let mut length = None;
        for field in head.headers() {
            if field.name.is_torn() || field.value.is_torn() {
                self.breach(Rule::TextNull, "a field's name or value");
                continue;
            }
            let (name, value) = (field.name.as_slice(), field.value.as_slice());
            if let Some(rule) = wrong_name(name) {
                self.breach(rule, &shown(name));
            }
            // A value may be a secret.
            if value.iter().any(u8::is_ascii_control) {
                self.breach(Rule::HeaderValueControl, &format!("{}'s", shown(name)));
            }
            let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
            if is(b"content-type") && matches!(head.status, 204 | 304) {
                self.breach(Rule::ContentTypeUnwanted, &head.status.to_string());
            }
            if is(b"content-length") {
                let said = decimal(value.trim_ascii());
                if said.is_none() || length.is_some() && length != said {
                    self.breach(Rule::ContentLengthInvalid, &shown(value));
                } else if head.status == 204 || is_interim {
                    self.breach(Rule::ContentLengthUnwanted, "");
                }
                length = said.or(length);
            }
        }
        length
    }

    /// A chunk comes.  `is_taken` says so when it was not refused; until then nothing is counted.
    pub(crate) fn chunk(&self, chunk: &Chunk, by: By) {
        if chunk.flags & !(CHUNK_FILE | CHUNK_FLUSH | CHUNK_LAST) != 0 {
            self.breach(Rule::ChunkFlags, &format!("{:#x}", chunk.flags));
        }
        if chunk.flags & CHUNK_FILE != 0 {
            let end = u64::try_from(chunk.offset).ok().and_then(|at| at.checked_add(chunk.len));
            if chunk.fd < 0 || end.is_none_or(|end| i64::try_from(end).is_err()) {
                let text = format!("descriptor {}, {} + {}", chunk.fd, chunk.offset, chunk.len);
                self.breach(Rule::ChunkFile, &text);
            }
            if matches!(by, By::Write | By::Handle) && chunk.release.is_none() {
                self.breach(Rule::WriteFile, "");
            }
        } else if chunk.len > 0 && chunk.data.is_null() {
            return self.breach(Rule::ChunkNull, &format!("{} octets", chunk.len));
        } else if isize::try_from(chunk.len).is_err() {
            return self.breach(Rule::ChunkTooLong, &format!("{} octets", chunk.len));
        }
        if chunk.len == 0 {
            return;
        }
        let State { tried, head, is_refused, octets, .. } = *self.state.lock();
        if !tried {
            self.breach(Rule::BodyBeforeStart, "");
            // Told once, by this name.
            self.state.lock().tried = true;
        }
        if is_refused {
            self.breach(Rule::ErrorSwallowed, "it goes on");
        }
        if let Some(head) = head {
            if head.is_bodiless() {
                self.breach(Rule::BodyUnwanted, &head.status.to_string());
            } else if let Some(length) = head.length
                && octets.saturating_add(chunk.len) > length
            {
                let there = octets.saturating_add(chunk.len);
                self.breach(Rule::ContentLengthLong, &format!("{there} of {length}"));
            }
        }
    }

    /// A chunk of so many octets is on its way.
    pub(crate) fn taken(&self, len: u64) {
        let mut state = self.state.lock();
        state.is_committed |= len > 0;
        state.octets = state.octets.saturating_add(len);
    }

    /// The answer is complete, says the application.
    pub(crate) fn ended(&self) {
        let mut state = self.state.lock();
        state.has_ended = true;
        let State { tried, head, is_refused, octets, .. } = *state;
        drop(state);
        if !tried {
            self.breach(Rule::NoStart, "");
        }
        if is_refused {
            self.breach(Rule::ErrorSwallowed, "it ends as if nothing had been");
        }
        if let Some(head) = head
            && let Some(length) = head.length
            && octets < length
            && !self.is_head
            && !head.is_bodiless()
        {
            self.breach(Rule::ContentLengthShort, &format!("{octets} of {length}"));
        }
    }

    /// Nothing more comes of it: next() said so, or that it failed.
    pub(crate) fn failed(&self) {
        self.state.lock().has_ended = true;
    }

    /// Whether it was said that nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().has_ended
    }

    /// The request's body was read, which said this.
    pub(crate) fn was_read(&self, code: i32) {
        if code == Kind::Busy as i32 {
            self.breach(Rule::ReadWouldBlock, "");
        }
        if code == EOF {
            let mut state = self.state.lock();
            state.ends_read += 1;
            // One is another's who reads lines: an end makes the last line one.
            let is_breach = state.ends_read > 2;
            drop(state);
            if is_breach {
                self.breach(Rule::ReadAfterEnd, "again and again");
            }
        }
    }

    /// The environ that a middleware has derived for the application.
    pub(crate) fn derived(&self, env: &Environ) {
        let has = |name: &[u8]| env.vars().iter().any(|var| var.name.as_slice() == name);
        let members =
            [env.request_method(), env.server_name(), env.server_port(), env.server_protocol()];
        for (is_wrong, rule) in [
            (members.iter().any(|it| it.is_empty()), Rule::EnvironMissing),
            (!is_path(env.script_name()) || env.script_name() == b"/", Rule::EnvironScriptName),
            (!is_path(env.path_info()) && env.path_info() != b"*", Rule::EnvironPathInfo),
            (![&b"http"[..], b"https"].contains(&env.url_scheme()), Rule::EnvironScheme),
            (has(b"HTTP_CONTENT_TYPE") || has(b"HTTP_CONTENT_LENGTH"), Rule::EnvironContent),
        ] {
            if is_wrong {
                self.breach(rule, "a middleware has made this environ");
            }
        }
    }
}

impl Watcher for Watch {
    fn starts(&self, head: &Response<'_>) {
        self.head(head);
    }

    fn writes(&self, chunk: &Chunk) {
        self.chunk(chunk, By::Handle);
    }

    fn wrote(&self, len: u64) {
        self.taken(len);
    }

    fn ends(&self, outcome: i32) -> i32 {
        match outcome {
            OK => self.ended(),
            code if Kind::from_code(code).is_none() => {
                self.breach(Rule::EndResult, &code.to_string());
            }
            _ => {}
        }
        if outcome == OK && self.is_broken() { Kind::App as i32 } else { outcome }
    }

    fn reads(&self, code: i32) {
        if self.reads_the_request {
            self.was_read(code);
        }
    }

    fn misuses(&self, misuse: Misuse) {
        let rule = match misuse {
            Misuse::HandleAfterBody => Rule::HandleAfterBody,
            Misuse::HandleAfterEnd => Rule::HandleAfterEnd,
            Misuse::DeferTwice => Rule::DeferTwice,
            Misuse::ReadArguments => Rule::ReadArguments,
            Misuse::EnvironChanged => Rule::EnvironChanged,
        };
        self.breach(rule, "");
    }
}

fn is_path(text: &[u8]) -> bool {
    text.is_empty() || text.starts_with(b"/")
}

/// What is wrong with the name of a field: the first that fits.
fn wrong_name(name: &[u8]) -> Option<Rule> {
    let last = *name.last().unwrap_or(&b' ');
    Some(match name {
        b"" => Rule::HeaderNameEmpty,
        _ if name.contains(&b':') => Rule::HeaderNameColon,
        _ if name.iter().any(|it| it.is_ascii_control() || *it == b' ') => Rule::HeaderNameControl,
        _ if !is_token(name) => Rule::HeaderNameToken,
        _ if is_hop_by_hop(name) => Rule::HopByHop,
        _ if name.eq_ignore_ascii_case(b"status") => Rule::HeaderStatus,
        _ if !last.is_ascii_alphanumeric() => Rule::HeaderNamePunctuation,
        _ if name.contains(&b'_') => Rule::HeaderNameUnderscore,
        _ => return None,
    })
}

/// Octets of the application's, for a line of the log.
fn shown(text: &[u8]) -> String {
    format!("\"{}\"", text[..text.len().min(64)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_names_of_their_own_that_are_documented() {
        let text = include_str!("../../docs/lint.md");
        let mut names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        let documented: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(documented, names, "docs/lint.md");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Rule::ALL.len());
    }

    #[test]
    fn names_of_fields() {
        for (name, rule) in [
            ("Content-Type", None),
            ("X-1", None),
            ("", Some(Rule::HeaderNameEmpty)),
            ("X:", Some(Rule::HeaderNameColon)),
            ("X Y", Some(Rule::HeaderNameControl)),
            ("X\r", Some(Rule::HeaderNameControl)),
            ("X(1)", Some(Rule::HeaderNameToken)),
            ("\u{e4}", Some(Rule::HeaderNameToken)),
            ("upgrade", Some(Rule::HopByHop)),
            ("STATUS", Some(Rule::HeaderStatus)),
            ("X-", Some(Rule::HeaderNamePunctuation)),
            ("X_", Some(Rule::HeaderNamePunctuation)),
            ("X_Y", Some(Rule::HeaderNameUnderscore)),
        ] {
            assert_eq!(wrong_name(name.as_bytes()), rule, "{name:?}");
        }
    }
}
