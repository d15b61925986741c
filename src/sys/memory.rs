//! How much memory a process has.

use std::fs;

use super::proc::Pid;

/// Octets that the process has resident (RSS), pages that it shares with others included; `None`
/// without /proc, and for a process that is gone.
pub fn resident(pid: Pid) -> Option<u64> {
    // SAFETY: asks for a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let pages = second(&fs::read_to_string(format!("/proc/{pid}/statm")).ok()?)?;
    pages.checked_mul(page)
}

/// proc_pid_statm(5): size, resident, ...
fn second(statm: &str) -> Option<u64> {
    statm.split(' ').nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc::pid;

    #[test]
    fn memory_that_is_touched_is_resident() {
        let before = resident(pid()).unwrap();
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        let now = resident(pid()).unwrap();
        assert!(now > before + (32 << 20), "{before} {now} {}", memory.len());
        assert_eq!(resident(Pid::MAX), None);
        assert_eq!(second("12 34 5 0\n"), Some(34));
    }
}
