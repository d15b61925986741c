//! See `conditional` in bodies.rs.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;
#[path = "../../tests/twin/mod.rs"]
mod twin;
#[path = "../../tests/wire_support/mod.rs"]
mod wire_support;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| bodies::conditional(octets));
