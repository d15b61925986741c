//! Clocks, read through the vDSO: no system call.

use std::time::Duration;

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to be written, and every kernel has these clocks, so that the
    // call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

/// Milliseconds since some moment before this process started; never goes back.
#[inline]
pub fn monotonic_ms() -> u64 {
    let time = read(libc::CLOCK_MONOTONIC);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// The same clock in nanoseconds.
#[inline]
pub fn monotonic_ns() -> u64 {
    let time = read(libc::CLOCK_MONOTONIC);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The time of day, since 1970-01-01T00:00:00Z.
#[inline]
pub fn realtime() -> Duration {
    let time = read(libc::CLOCK_REALTIME);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_monotonic_readings_are_one_clock() {
        let before = monotonic_ms();
        let between = monotonic_ns() / 1_000_000;
        let after = monotonic_ms();
        assert!(before <= between && between <= after);
    }

    #[test]
    fn realtime_is_the_time_of_day() {
        let std = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(realtime().abs_diff(std) < Duration::from_secs(10));
    }
}
