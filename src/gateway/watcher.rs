//! Somebody who watches how an application keeps the convention where no middleware can stand in
//! between: at its handle, and at calls that are refused before they get to a request.

use std::fmt;

use super::abi::Response;
use crate::base::octets::Chunk;

/// Called in any thread, with nothing locked.
pub(crate) trait Watcher: fmt::Debug + Send + Sync {
    /// The handle says a head.
    fn starts(&self, head: &Response<'_>);
    /// It gives a piece of the body, which may be refused.
    fn writes(&self, chunk: &Chunk);
    /// So many octets of that were taken.
    fn wrote(&self, len: u64);
    /// It says that the answer is complete (0), or has failed; what is to be made of that.
    fn ends(&self, outcome: i32) -> i32;
    /// The request's body was read from the request itself, which said this: OK, AGAIN, EOF, an error.
    fn reads(&self, code: i32);
    /// A call was refused.
    fn misuses(&self, misuse: Misuse);
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// A handle only resumes an answer that the application has returned.
    HandleAfterBody,
    /// A handle was given up.
    HandleAfterEnd,
    /// A request has one handle.
    DeferTwice,
    /// A read without room, or with flags that there are not.
    ReadArguments,
    /// An environ that is not a copy is not changed.
    EnvironChanged,
}
