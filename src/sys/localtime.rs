//! The clock on the wall, in the time zone of the process.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::time::LocalTime;

thread_local! {
    /// The last second that was broken down: a busy server logs many lines in one.
    static LAST: Cell<Option<LocalTime>> = const { Cell::new(None) };
}

/// Now, in the time zone that TZ or /etc/localtime gave when the process first asked; UTC when the
/// system cannot tell.
pub fn now() -> LocalTime {
    let unix_ns = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let second = unix_ns / 1_000_000_000;
    if let Some(last) = LAST.with(Cell::get)
        && last.unix_ns / 1_000_000_000 == second
    {
        return LocalTime { unix_ns, ..last };
    }
    let time = break_down(unix_ns).unwrap_or_else(|| LocalTime::utc(unix_ns));
    LAST.with(|last| last.set(Some(time)));
    time
}

/// A moment in the time zone of the process.
fn break_down(unix_ns: u64) -> Option<LocalTime> {
    // A time_t, whose name the crate libc deprecates on musl.
    let seconds = (unix_ns / 1_000_000_000).try_into().ok()?;
    let mut tm = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call; localtime_r keeps neither.
    let filled = unsafe { libc::localtime_r(&seconds, tm.as_mut_ptr()) };
    if filled.is_null() {
        return None;
    }
    // SAFETY: localtime_r returned its second argument: it has filled the struct.
    let tm = unsafe { tm.assume_init() };
    Some(LocalTime {
        unix_ns,
        year: u16::try_from(tm.tm_year + 1900).ok()?,
        month: u8::try_from(tm.tm_mon + 1).ok()?,
        day: u8::try_from(tm.tm_mday).ok()?,
        hour: u8::try_from(tm.tm_hour).ok()?,
        minute: u8::try_from(tm.tm_min).ok()?,
        second: u8::try_from(tm.tm_sec).ok()?,
        offset: i16::try_from(tm.tm_gmtoff / 60).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_utc_shifted_by_its_offset() {
        let time = now();
        let shifted = time.unix_ns as i64 + i64::from(time.offset) * 60_000_000_000;
        let utc = LocalTime::utc(shifted as u64);
        let parts = |t: LocalTime| (t.year, t.month, t.day, t.hour, t.minute, t.second);
        assert_eq!(parts(time), parts(utc));
    }

    #[test]
    fn the_second_time_in_a_second_is_as_good_as_the_first() {
        for _ in 0..100 {
            let time = now();
            assert_eq!(break_down(time.unix_ns), Some(time));
        }
    }
}
