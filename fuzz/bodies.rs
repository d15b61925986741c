//! What the fuzz targets do with their octets: plain functions, which `tests/wire_fuzz.rs` runs
//! over the corpus and a bounded number of mutations with a stable compiler.

#![allow(dead_code, reason = "each target is one of these")]

use gateway::wire::{Limit, Limits};

use crate::twin::{self, Verdict, chunked};
use crate::wire_support::{Ending, Outcome, Random, drive};

const UNLIMITED: Limits = Limits { line: 0, fields: 0, field_size: 0, head: 0, body: 0 };

/// Octets of connections: nothing panics, no cut changes anything, and the twin agrees about the
/// first head.
pub(crate) fn http1_head(octets: &[u8]) {
    let outcome = same_however_cut(UNLIMITED, octets);
    let verdict = match (outcome.requests.into_iter().next(), outcome.ending) {
        (Some(mut request), _) => {
            request.body.clear();
            request.complete = false;
            Verdict::Head(Box::new(request))
        }
        (None, Ending::Refused(reject)) => Verdict::Refused(reject.status),
        (None, _) => Verdict::Incomplete,
    };
    assert_eq!(verdict, twin::head(octets), "{}", octets.escape_ascii());

    // Limits that the octets choose.
    if let [line, fields, field_size, head, body, rest @ ..] = octets {
        let limits = Limits {
            line: usize::from(*line),
            fields: usize::from(*fields & 7),
            field_size: usize::from(*field_size),
            head: usize::from(*head) * 2,
            body: u64::from(*body & 15),
        };
        same_however_cut(limits, rest);
    }
}

/// Octets of a chunked body: the same, with the twin of bodies.
pub(crate) fn http1_body(octets: &[u8]) {
    let head = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let outcome = same_however_cut(UNLIMITED, &[head, octets].concat());
    let request = &outcome.requests[0];
    let (data, end) = chunked::body(octets);
    let agrees = match (end, outcome.ending) {
        // The twin knows no limits.
        (_, Ending::Refused(reject)) if reject.limit == Some(Limit::ChunkOverhead) => return,
        (chunked::End::Complete(_), _) => request.complete,
        (chunked::End::Incomplete, ending) => !request.complete && ending == Ending::Waiting,
        (chunked::End::Refused(status), Ending::Refused(reject)) => {
            !request.complete && reject.status == status
        }
        (chunked::End::Refused(_), _) => false,
    };
    assert!(agrees, "{end:?}, but {outcome:?}: {}", octets.escape_ascii());
    assert_eq!(request.body, data, "{}", octets.escape_ascii());
    if let chunked::End::Complete(len) = end {
        let alone = drive(UNLIMITED, &[head, &octets[..len]].concat(), &mut || usize::MAX);
        assert_eq!((alone.requests.len(), alone.ending), (1, Ending::Idle), "it ends there");
    }
}

fn same_however_cut(limits: Limits, octets: &[u8]) -> Outcome {
    let whole = drive(limits, octets, &mut || usize::MAX);
    assert_eq!(drive(limits, octets, &mut || 1), whole, "{}", octets.escape_ascii());
    let seed = octets.iter().fold(1, |seed: u64, c| seed.wrapping_mul(31) + u64::from(*c));
    let mut random = Random(seed | 1);
    let cut = drive(limits, octets, &mut || 1 + random.below(16));
    assert_eq!(cut, whole, "{}", octets.escape_ascii());
    whole
}
