//! Which process this is, without asking the system each time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The calling process.  A load from memory: the number is kept in a page that the kernel empties in
/// the child of a fork, which so asks anew.  Async-signal-safe after the first call.
#[inline]
pub fn pid() -> u32 {
    static KEPT: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();
    let Some(kept) = *KEPT.get_or_init(forgotten_in_children) else {
        return std::process::id();
    };
    match kept.load(Ordering::Relaxed) {
        0 => {
            let pid = std::process::id();
            kept.store(pid, Ordering::Relaxed);
            pid
        }
        pid => pid,
    }
}

/// A number that is 0 again in a child, for as long as the process lives.  None before Linux 4.14.
fn forgotten_in_children() -> Option<&'static AtomicU32> {
    const PAGE: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, wherever the kernel likes, of memory that nobody knows yet.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0);
        if at == libc::MAP_FAILED {
            return None;
        }
        if libc::madvise(at, PAGE, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(at, PAGE);
            return None;
        }
        // Zeros are an atomic, and the mapping stays.
        at.cast::<AtomicU32>().as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_process() {
        assert_eq!(pid(), std::process::id());
        assert_eq!(pid(), std::process::id());
        assert!(forgotten_in_children().is_some(), "this kernel cannot forget");
    }
}
