//! Octets in, verdict out: every rule of RFC 9110, 9112 and 3986 that an HTTP/1 request can break,
//! and what must be accepted.  Each case runs whole, one octet at a time, cut at random places, cut
//! once at every place, and behind a good request; the outcome must always be the same.

#[rustfmt::skip] // a table reads better with one case a line
mod bodies;
mod contract;
#[rustfmt::skip]
mod heads;
#[rustfmt::skip]
mod limits;
mod table;
#[path = "../wire_support/mod.rs"]
mod wire_support;
