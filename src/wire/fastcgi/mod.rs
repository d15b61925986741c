//! FastCGI 1.0 (the specification of 1996): records in both directions, several requests on one
//! connection, told apart by their ids.
//!
//! ```text
//! record  one record's head: version, type, id, lengths
//! decode  records to streams of requests, and what the protocol answers by itself
//! serial  the request that a connection answers itself, and the records of others for whoever does
//! encode  responses to records
//! ```

mod decode;
mod encode;
mod record;
mod serial;

pub use decode::{Decoder, Event, Step, Stream, variables};
pub use encode::{CUT, Encoder, End, end_request, stderr};
pub use record::{HEAD, Head, KEEP_CONN, Kind};
pub use serial::Serial;
