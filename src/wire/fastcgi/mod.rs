//! FastCGI 1.0 (the specification of 1996): records in both directions, several requests on one
//! connection, told apart by their ids.
//!
//! ```text
//! record  one record's head: version, type, id, lengths
//! decode  records to streams of requests, and what the protocol answers by itself
//! serial  one request after another, on connections that have no more at once
//! encode  responses to records
//! ```

mod decode;
mod encode;
mod record;
mod serial;

pub use decode::{Decoder, Event, Step, Stream, variables};
pub use encode::{Encoder, End, end_request, stderr};
pub use record::{Head, Kind};
pub use serial::Serial;
