//! (being written)

pub mod access;
