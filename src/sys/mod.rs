//! (being written)

pub mod dup;
pub mod localtime;
