//! (being written)

pub mod localtime;
