//! C entry points: translation, no logic.

#![allow(non_camel_case_types)]
#![allow(unreachable_pub)]

pub mod result;
pub mod version;
