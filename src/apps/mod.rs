//! Applications that are ready to be mounted.

pub mod cgi;
