//! What safe Rust must not be able to do with a request.

#![allow(clippy::assertions_on_constants)] // That is the point.

use std::marker::PhantomData;

use gateway::Environ;
use gateway::gateway::exchange::Exchange;

/// `Probe::<T>::SYNC` is the inherent constant if there is one, and else the trait's.
struct Probe<T: ?Sized>(PhantomData<T>);

#[allow(dead_code)]
trait Not {
    const SYNC: bool = false;
    const SEND: bool = false;
}
impl<T: ?Sized> Not for T {}

#[allow(dead_code)]
impl<T: ?Sized + Sync> Probe<T> {
    const SYNC: bool = true;
}

#[allow(dead_code)]
impl<T: ?Sized + Send> Probe<T> {
    const SEND: bool = true;
}

/// Reading its body and its variables changes the request, without a lock.
#[test]
fn a_request_is_in_one_thread_at_a_time() {
    const { assert!(Probe::<u8>::SYNC && Probe::<u8>::SEND, "the probe works") };
    const { assert!(!Probe::<std::cell::Cell<u8>>::SYNC, "the probe works") };
    const { assert!(!Probe::<Exchange>::SYNC) };
    const { assert!(!Probe::<Environ>::SYNC) };
    const { assert!(!Probe::<Environ>::SEND) };
}
