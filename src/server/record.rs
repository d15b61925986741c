//! What is told of a finished request: counters, a line in the access log, the host's hook.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::Duration;

use memchr::memchr;

use crate::base::log::{Level, LineFile, log};
use crate::base::octets::Pair;
use crate::base::time::LocalTime;
use crate::conf::{show_duration, show_size};
use crate::gateway::abi::Environ;
use crate::gateway::counters::Counters;
use crate::gateway::exchange::Exchange;
use crate::gateway::head::Head;
use crate::gateway::service::Access;
use crate::gateway::timing::{Moments, Phases};
use crate::sys::sock::Peer;
use crate::sys::{clock, localtime};
use crate::wire::front::AnyHead;
use crate::wire::{self, Limit, Reject, Version};

use super::access::{AccessSource, Format};
use super::link::{Context, Wire};
use super::slot::Slot;
use super::terms::Terms;

thread_local! {
    /// The line that is being written; kept for the next one.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What `peer` sent was refused, and is no request.
pub(super) fn refused(context: &Context, terms: &Terms, peer: &[u8], reject: &Reject) {
    count(context.service.counters(), reject);
    let log = &context.service.log;
    if log.enabled(level(reject)) {
        let text = describe(terms, peer, reject);
        log.write(level(reject), "http", "", format_args!("{text}"));
    }
}

/// The status in the logs of a request that got none: nginx's "client closed request".
pub(super) const CLIENT_LEFT: u16 = 499;

/// Octets of a request line that the access log has when it is none.
const LINE_MAX: usize = 1024;

/// A line in the access log about what was refused before it was a request, or whose client left in
/// the middle of its head: what is known of it, and "-" for the rest.
///
/// There is no time in it: the time of a request begins with its complete head.
pub(super) fn no_request(context: &Context, slot: &Slot, peer: &Peer, status: u16, sent: u64) {
    let Some((format, file)) = &context.setup.access else {
        return;
    };
    let buf = slot.buf.borrow();
    let decoder = slot.decoder.borrow();
    // Before a verdict the decoder still has the head of the request before.
    let unknown = wire::Head::default();
    let (octets, head) = match decoder.head() {
        AnyHead::Http(_) if decoder.is_in_head() => (buf.unread(), &unknown),
        AnyHead::Http(head) => (buf.unread(), head),
        // It is no line.
        AnyHead::Params(_) | AnyHead::Elsewhere(..) => (&[][..], &unknown),
    };
    let source = NoRequest { octets, head, peer, status, sent };
    write_line(format, file, &source);
}

fn write_line(format: &Format, file: &LineFile, source: &impl AccessSource) {
    LINE.with_borrow_mut(|line| {
        line.clear();
        format.render(line, source);
        line.push(b'\n');
        file.write_line(line);
    });
}

/// The body of a request was refused.
pub(super) fn body_refused(context: &Context, terms: &Terms, x: &Exchange, reject: &Reject) {
    count(context.service.counters(), reject);
    if context.service.log.enabled(level(reject)) {
        let peer = x.environ().borrow().remote_addr;
        x.log(level(reject), describe(terms, peer.as_slice(), reject).as_bytes());
    }
}

/// The client at `peer` did `what` for as long as an option, by its name and value, allows.
pub(super) fn too_slow(
    context: &Context,
    peer: &[u8],
    what: &str,
    (option, value): (&str, Duration),
) {
    let value = show_duration(value);
    let peer = peer.escape_ascii();
    log!(context.service.log, Info, "http", "{peer} {what} for {option} = {value}");
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
fn describe(terms: &Terms, peer: &[u8], reject: &Reject) -> String {
    let Reject { status, reason, limit } = reject;
    let text = format!("{status} from {}: {reason}", peer.escape_ascii());
    let limits = &terms.limits;
    let (option, value) = match limit {
        Some(Limit::Line) => ("limit_request_line", show_size(limits.line as u64)),
        Some(Limit::Fields) => ("limit_request_fields", limits.fields.to_string()),
        Some(Limit::FieldSize) => ("limit_request_field_size", show_size(limits.field_size as u64)),
        Some(Limit::Head) => ("limit_request_head", show_size(limits.head as u64)),
        Some(Limit::Body) => ("max_body", show_size(limits.body)),
        // A limit of its own, which no option sets.
        Some(Limit::ChunkOverhead) | None => return text,
    };
    format!("{text} ({option} = {value})")
}

/// A request is over.
// Its registers are not to be taken from requests of which nobody is told.
#[inline(never)]
pub(super) fn finished(wire: &Wire<'_>, x: &Exchange) {
    let now = clock::monotonic_ns();
    let began = wire.slot.began.get();
    let took_ns = now.saturating_sub(began);
    let env = x.environ().borrow();
    let head = x.head();
    let status = x.status().unwrap_or(CLIENT_LEFT);
    let phases = wire.context.phased.then(|| measured(wire, x, status, now));
    if let Some((format, file)) = &wire.context.setup.access {
        let source =
            Source { env: &env, head: &head, status, sent: x.body_sent(), took_ns, phases };
        write_line(format, file, &source);
    }
    if let Some(hook) = &x.service().hooks.access {
        let headers: Vec<_> = head.fields().map(|(name, value)| Pair::new(name, value)).collect();
        let called = wire.slot.called.get().max(began);
        // Not inside the call, whose length it would be locked for.
        let received = x.input().received();
        hook(&Access {
            status,
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

/// The phases of a request that is over: in the histograms if they are kept, and in the error log if
/// it was slow.
fn measured(wire: &Wire<'_>, x: &Exchange, status: u16, now: u64) -> Phases {
    let Wire { slot, context, .. } = *wire;
    let moments = Moments {
        began: slot.began.get(),
        queued: slot.queued.get(),
        called: slot.called.get(),
        answered: slot.answered.get(),
        ended: now,
    };
    let (phases, settings) = (moments.phases(), &context.setup.settings);
    if moments.reached_app() && context.measures {
        context.seat.timings().note(&phases);
    }
    let took = Duration::from_nanos(phases.all().iter().sum());
    if !settings.slow_request.is_zero() && took >= settings.slow_request {
        let env = x.environ().borrow();
        let [method, target, peer] = [env.request_method, env.request_uri, env.remote_addr];
        let ms = |ns: u64| ns / 1_000_000;
        let text = format!(
            "slow request: {} {} from {} took {} ms (read {}, queue {}, app {}, write {}), status \
             {status} (slow_request = {})",
            method.as_slice().escape_ascii(),
            target.as_slice().escape_ascii(),
            peer.as_slice().escape_ascii(),
            took.as_millis(),
            ms(phases.read),
            ms(phases.queue),
            ms(phases.app),
            ms(phases.write),
            show_duration(settings.slow_request),
        );
        x.log(Level::Warn, text.as_bytes());
    }
    phases
}

struct Source<'a> {
    env: &'a Environ,
    head: &'a Head,
    status: u16,
    sent: u64,
    took_ns: u64,
    phases: Option<Phases>,
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

    fn phases(&self) -> Option<Phases> {
        self.phases
    }

    fn status(&self) -> u16 {
        self.status
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

/// What was refused.
struct NoRequest<'a> {
    /// What came, from the head's first octet on.
    octets: &'a [u8],
    head: &'a wire::Head,
    peer: &'a Peer,
    status: u16,
    sent: u64,
}

impl AccessSource for NoRequest<'_> {
    fn time(&self) -> LocalTime {
        localtime::now()
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn took_ns(&self) -> u64 {
        0
    }

    fn status(&self) -> u16 {
        self.status
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn remote_addr(&self) -> &[u8] {
        self.peer.address()
    }

    fn request_line(&self) -> Option<&[u8]> {
        let octets = self.octets.trim_ascii_start();
        if octets.is_empty() {
            return None;
        }
        let end = memchr(b'\n', octets).unwrap_or(octets.len());
        let line = octets[..end].trim_ascii_end();
        Some(&line[..line.len().min(LINE_MAX)])
    }

    fn method(&self) -> &[u8] {
        self.head.method.of(self.octets)
    }

    fn target(&self) -> &[u8] {
        self.head.target.of(self.octets)
    }

    fn protocol(&self) -> &[u8] {
        match (self.method(), self.head.version) {
            ([], _) => b"",
            (_, Version::Http10) => b"HTTP/1.0",
            (_, Version::Http11) => b"HTTP/1.1",
        }
    }

    fn path(&self) -> &[u8] {
        self.head.path.of(self.octets)
    }

    fn query(&self) -> &[u8] {
        self.head.query.of(self.octets)
    }

    fn environ(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn request_header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn response_header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

fn is(name: &[u8], lower: &str) -> bool {
    name.eq_ignore_ascii_case(lower.as_bytes())
}
