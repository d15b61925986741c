//! A moment of the calendar, as log lines print it.
//!
//! Knows no clock and no time zone: who reads the clock (`sys::localtime`) fills a [`LocalTime`].

/// Reads the clock.  A plain function, so that a logger costs nothing to copy and tests can stop
/// the time.
pub type Clock = fn() -> LocalTime;

/// A moment, broken down in some time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Nanoseconds since the epoch, in UTC.
    pub unix_ns: u64,
    /// The year, 1970 and later.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
    /// Minutes east of Greenwich.
    pub offset: i16,
}

const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

impl LocalTime {
    /// The moment in UTC.  Exact for the years up to 9999.
    pub fn utc(unix_ns: u64) -> LocalTime {
        let seconds = unix_ns / 1_000_000_000;
        let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
        let mut year = 1970;
        while days >= year_days(year) {
            days -= year_days(year);
            year += 1;
        }
        let mut month = 1;
        while days >= month_days(year, month) {
            days -= month_days(year, month);
            month += 1;
        }
        LocalTime {
            unix_ns,
            year,
            month,
            day: days as u8 + 1,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            offset: 0,
        }
    }

    /// `2026-11-21 08:34:36 +0000`, the form of the error log.
    pub fn iso(&self) -> [u8; 25] {
        let mut out = *b"0000-00-00 00:00:00 +0000";
        two(&mut out[0..2], self.year / 100);
        two(&mut out[2..4], self.year % 100);
        two(&mut out[5..7], self.month.into());
        two(&mut out[8..10], self.day.into());
        self.time_and_zone(&mut out[11..]);
        out
    }

    /// `21/Nov/2026:08:34:36 +0000`, the form of Apache's common log.
    pub fn clf(&self) -> [u8; 26] {
        let mut out = *b"00/Jan/0000:00:00:00 +0000";
        two(&mut out[0..2], self.day.into());
        let month = usize::from(self.month.clamp(1, 12) - 1) * 3;
        out[3..6].copy_from_slice(&MONTHS[month..month + 3]);
        two(&mut out[7..9], self.year / 100);
        two(&mut out[9..11], self.year % 100);
        self.time_and_zone(&mut out[12..]);
        out
    }

    /// `2026-11-21T08:34:36.123456+00:00`, the form of RFC 3339.
    pub fn rfc3339(&self) -> [u8; 32] {
        let (iso, micros) = (self.iso(), self.unix_ns / 1000 % 1_000_000);
        let mut out = *b"0000-00-00T00:00:00.000000+00:00";
        out[..10].copy_from_slice(&iso[..10]);
        out[11..19].copy_from_slice(&iso[11..19]);
        for (at, place) in [10_000, 100, 1].into_iter().enumerate() {
            two(&mut out[20 + 2 * at..22 + 2 * at], (micros / place % 100) as u16);
        }
        out[26..29].copy_from_slice(&iso[20..23]);
        out[30..32].copy_from_slice(&iso[23..25]);
        out
    }

    /// `08:34:36 +0000` into 14 octets that hold the punctuation already.
    fn time_and_zone(&self, out: &mut [u8]) {
        two(&mut out[0..2], self.hour.into());
        two(&mut out[3..5], self.minute.into());
        two(&mut out[6..8], self.second.into());
        out[9] = if self.offset < 0 { b'-' } else { b'+' };
        let offset = self.offset.unsigned_abs();
        two(&mut out[10..12], offset / 60);
        two(&mut out[12..14], offset % 60);
    }
}

/// The last two decimal digits of `n`.
fn two(out: &mut [u8], n: u16) {
    out[0] = b'0' + (n / 10 % 10) as u8;
    out[1] = b'0' + (n % 10) as u8;
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn year_days(year: u16) -> u64 {
    365 + u64::from(is_leap(year))
}

fn month_days(year: u16, month: u8) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(octets: &[u8]) -> &str {
        std::str::from_utf8(octets).unwrap()
    }

    #[test]
    fn utc_is_the_proleptic_calendar() {
        for (seconds, iso, clf) in [
            (0, "1970-01-01 00:00:00 +0000", "01/Jan/1970:00:00:00 +0000"),
            (951_782_400, "2000-02-29 00:00:00 +0000", "29/Feb/2000:00:00:00 +0000"),
            (1_795_250_076, "2026-11-21 08:34:36 +0000", "21/Nov/2026:08:34:36 +0000"),
            (4_107_542_399, "2100-02-28 23:59:59 +0000", "28/Feb/2100:23:59:59 +0000"),
            (4_107_542_400, "2100-03-01 00:00:00 +0000", "01/Mar/2100:00:00:00 +0000"),
        ] {
            let time = LocalTime::utc(seconds * 1_000_000_000 + 999_999_999);
            assert_eq!(text(&time.iso()), iso);
            assert_eq!(text(&time.clf()), clf);
        }
    }

    #[test]
    fn a_moment_of_rfc_3339_has_its_fraction_and_its_zone() {
        let time = LocalTime::utc(1_795_250_076_012_345_678);
        assert_eq!(text(&time.rfc3339()), "2026-11-21T08:34:36.012345+00:00");
        let time = LocalTime { offset: -150, ..time };
        assert_eq!(text(&time.rfc3339()), "2026-11-21T08:34:36.012345-02:30");
    }

    #[test]
    fn zones_have_a_sign_and_minutes() {
        let mut time = LocalTime::utc(0);
        for (offset, zone) in
            [(0, "+0000"), (60, "+0100"), (345, "+0545"), (-210, "-0330"), (-30, "-0030")]
        {
            time.offset = offset;
            assert_eq!(&text(&time.iso())[20..], zone);
            assert_eq!(&text(&time.clf())[21..], zone);
        }
    }
}
