//! How an application call is executed when it is not executed where it was decided.

pub mod pool;
