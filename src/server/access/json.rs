//! A line of the access log as a JSON object (RFC 8259).
//!
//! | member | |
//! |---|---|
//! | `time` | the moment of logging, RFC 3339 |
//! | `pid` | the process |
//! | `request_id`, `trace_id`, `parent_id` | what names the request, here and elsewhere (W3C Trace Context); where known |
//! | `remote_addr`, `method`, `target`, `protocol` | of the request, as it came |
//! | `request_line` | what came instead, if it was refused before it was a request |
//! | `status`, `bytes_sent` | of the response; octets of its body |
//! | `duration` | seconds from the complete head to the end |
//! | `read`, `queue`, `app`, `write` | the same, phase by phase; of a request |
//! | `referer`, `user_agent` | where the request has them |

use super::AccessSource;
use crate::base::json::Members;
use crate::gateway::timing::Phases;

/// Members that are there where the environ has the variable.
const VARIABLES: [(&str, &str); 5] = [
    ("request_id", "gateway.request_id"),
    ("trace_id", "gateway.trace_id"),
    ("parent_id", "gateway.parent_id"),
    ("referer", "HTTP_REFERER"),
    ("user_agent", "HTTP_USER_AGENT"),
];

pub(super) fn render(out: &mut Vec<u8>, source: &impl AccessSource) {
    let mut it = Members::object(out);
    it.text("time", &source.time().rfc3339());
    it.number("pid", source.pid().into());
    it.text("remote_addr", source.remote_addr());
    if let Some(line) = source.request_line() {
        it.text("request_line", line);
    }
    for (name, value) in
        [("method", source.method()), ("target", source.target()), ("protocol", source.protocol())]
    {
        if !value.is_empty() {
            it.text(name, value);
        }
    }
    it.number("status", source.status().into());
    it.number("bytes_sent", source.sent());
    it.seconds("duration", source.took_ns());
    if let Some(phases) = source.phases() {
        for (name, ns) in Phases::NAMES.iter().zip(phases.all()) {
            it.seconds(name, ns);
        }
    }
    for (name, variable) in VARIABLES {
        if let Some(value) = source.environ(variable) {
            it.text(name, &value);
        }
    }
}
