//! What is told of a finished request: counters, a line in the access log, the host's hook.

use std::borrow::Cow;
use std::cell::RefCell;

use crate::base::log::Level;
use crate::base::octets::Pair;
use crate::base::time::LocalTime;
use crate::gateway::abi::Environ;
use crate::gateway::counters::Counters;
use crate::gateway::exchange::Exchange;
use crate::gateway::head::Head;
use crate::gateway::service::Access;
use crate::sys::{clock, localtime};
use crate::wire::{Limit, Reject};

use super::access::AccessSource;
use super::slot::{Context, Wire};

thread_local! {
    /// The line that is being written; kept for the next one.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What `peer` sent was refused, and is no request.
pub(super) fn refused(context: &Context, peer: &[u8], reject: &Reject) {
    count(context.service.counters(), reject);
    let log = &context.service.log;
    if log.enabled(level(reject)) {
        let text = describe(context, peer, reject);
        log.write(level(reject), "http", "", format_args!("{text}"));
    }
}

/// The body of a request was refused.
pub(super) fn body_refused(context: &Context, x: &Exchange, reject: &Reject) {
    count(context.service.counters(), reject);
    if context.service.log.enabled(level(reject)) {
        let peer = x.environ().borrow().remote_addr;
        x.log(level(reject), describe(context, peer.as_slice(), reject).as_bytes());
    }
}

fn count(counters: &Counters, reject: &Reject) {
    counters.rejected.up();
    if let Some(limit) = reject.limit {
        counters.limit(limit).up();
    }
}

fn level(reject: &Reject) -> Level {
    if reject.limit.is_some() { Level::Warn } else { Level::Info }
}

/// A limit that was breached is named, with its value.
fn describe(context: &Context, peer: &[u8], reject: &Reject) -> String {
    let Reject { status, reason, limit } = reject;
    let mut text = format!("{status} from {}: {reason}", peer.escape_ascii());
    let option = match limit {
        Some(Limit::Line) => "limit_request_line",
        Some(Limit::Fields) => "limit_request_fields",
        Some(Limit::FieldSize) => "limit_request_field_size",
        Some(Limit::Head) => "limit_request_head",
        Some(Limit::Body) => "max_body",
        // A limit of its own, which no option sets.
        Some(Limit::ChunkOverhead) | None => return text,
    };
    if let Ok(value) = context.setup.settings.get(option) {
        text.push_str(&format!(" ({option} = {value})"));
    }
    text
}

/// A request is over at `now`, nanoseconds of the monotonic clock.
pub(super) fn finished(wire: &Wire<'_>, x: &Exchange, now: u64) {
    let began = wire.slot.began.get();
    let took_ns = now.saturating_sub(began);
    let env = x.environ().borrow();
    let head = x.head();
    if let Some((format, file)) = &wire.context.setup.access {
        let source = Source { env: &env, head: &head, sent: x.body_sent(), took_ns };
        LINE.with_borrow_mut(|line| {
            line.clear();
            format.render(line, &source);
            line.push(b'\n');
            file.write_line(line);
        });
    }
    if let Some(hook) = &x.service().hooks.access {
        let headers: Vec<_> = head.fields().map(|(name, value)| Pair::new(name, value)).collect();
        let called = wire.slot.called.get().max(began);
        // Not inside the call, whose length it would be locked for.
        let received = x.input().received();
        hook(&Access {
            status: head.status(),
            sent: x.body_sent(),
            received,
            start_ns: (clock::realtime().as_nanos() as u64).saturating_sub(took_ns),
            took_ns,
            read_ns: called - began,
            app_ns: now.saturating_sub(called),
            id: x.request_id(),
            env: &env,
            headers: &headers,
        });
    }
}

struct Source<'a> {
    env: &'a Environ,
    head: &'a Head,
    sent: u64,
    took_ns: u64,
}

impl AccessSource for Source<'_> {
    fn time(&self) -> LocalTime {
        localtime::now()
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn took_ns(&self) -> u64 {
        self.took_ns
    }

    fn status(&self) -> u16 {
        self.head.status()
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn remote_addr(&self) -> &[u8] {
        self.env.remote_addr.as_slice()
    }

    fn method(&self) -> &[u8] {
        self.env.request_method.as_slice()
    }

    fn target(&self) -> &[u8] {
        self.env.request_uri.as_slice()
    }

    fn protocol(&self) -> &[u8] {
        self.env.server_protocol.as_slice()
    }

    fn path(&self) -> &[u8] {
        self.env.path_info.as_slice()
    }

    fn query(&self) -> &[u8] {
        self.env.query_string.as_slice()
    }

    fn environ(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let value = self.env.get(name.as_bytes());
        (!value.is_missing()).then(|| value.as_slice().into())
    }

    fn request_header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut fields = self.env.headers().iter().rev();
        let found = fields.find(|field| is(field.name.as_slice(), name))?;
        Some(found.value.as_slice().into())
    }

    fn response_header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if name == "content-length" {
            let length = self.head.content_length()?;
            return Some(length.to_string().into_bytes().into());
        }
        let found = self.head.fields().filter(|(other, _)| is(other, name)).last()?;
        Some(found.1.into())
    }
}

fn is(name: &[u8], lower: &str) -> bool {
    name.eq_ignore_ascii_case(lower.as_bytes())
}
