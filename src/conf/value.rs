//! Values as text: whole numbers, truth, durations, sizes; and the way back.

use std::time::Duration;

/// The longest duration: a year.  What is longer is a mistake.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The units of durations, in milliseconds, the longest first.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The units of sizes, in octets, the largest first.
const SIZES: [(&str, u64); 3] = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];

/// Digits and nothing else.
pub(super) fn int(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Octal digits, up to 777.
pub(super) fn permissions(text: &str) -> Option<u32> {
    let is_octal = int(text).is_some() && text.len() <= 4;
    let mode = u32::from_str_radix(text, 8).ok()?;
    (is_octal && mode <= 0o777).then_some(mode)
}

/// `1`, `true`, `on`, `yes` and their opposites, in any case.
pub(super) fn truth(text: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text {
        _ if is(["1", "true", "on", "yes"]) => Some(true),
        _ if is(["0", "false", "off", "no"]) => Some(false),
        _ => None,
    }
}

/// `30s`, `500ms`, `2m`, `1h`, `1.5`: a bare number is seconds.  Exact: a part of a millisecond is
/// refused, and so is more than a year.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" => 1000,
        _ => TIMES.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name))?.1,
    };
    let (whole, fraction) = match number.split_once('.') {
        None => (int(number)?, 0),
        Some((whole, fraction)) => (int(whole)?, parts(fraction, unit)?),
    };
    let ms = whole.checked_mul(unit)?.checked_add(fraction)?;
    let duration = Duration::from_millis(ms);
    (duration <= DURATION_MAX).then_some(duration)
}

/// The decimal fraction `0.digits` of `unit`, when it is a whole number.
fn parts(digits: &str, unit: u64) -> Option<u64> {
    let digits_value = int(digits)?;
    let scale = 10_u64.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let product = digits_value.checked_mul(unit)?;
    product.is_multiple_of(scale).then(|| product / scale)
}

/// `8k`, `1m`, `1g` (powers of 1024), or octets.
pub(super) fn size(text: &str) -> Option<u64> {
    for (unit, octets) in SIZES {
        let at = text.len().checked_sub(1)?;
        if let Some((number, suffix)) = text.split_at_checked(at)
            && suffix.eq_ignore_ascii_case(unit)
        {
            return int(number)?.checked_mul(octets);
        }
    }
    int(text)
}

/// The shortest text that [`duration`] reads as the same.
pub(crate) fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &TIMES)
}

/// The shortest text that [`size`] reads as the same.
pub(crate) fn show_size(octets: u64) -> String {
    show(octets, &SIZES)
}

fn show(n: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, unit)| n != 0 && n.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", n / unit),
        None => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits() {
        assert_eq!(int("0"), Some(0));
        assert_eq!(int("007"), Some(7));
        assert_eq!(int("18446744073709551615"), Some(u64::MAX));
        for text in ["", " 1", "1 ", "+1", "-1", "1.0", "1_000", "0x1", "18446744073709551616"] {
            assert_eq!(int(text), None, "{text}");
        }
    }

    #[test]
    fn permissions_are_octal() {
        for (text, mode) in [("022", 0o22), ("22", 0o22), ("0", 0), ("0777", 0o777)] {
            assert_eq!(permissions(text), Some(mode), "{text}");
        }
        for text in ["", "8", "1000", "01000", "00022", "+22", "0o22", "0x2", "rwx"] {
            assert_eq!(permissions(text), None, "{text}");
        }
    }

    #[test]
    fn truth_has_four_words_each() {
        for text in ["1", "true", "on", "yes", "TRUE", "Yes"] {
            assert_eq!(truth(text), Some(true), "{text}");
        }
        for text in ["0", "false", "off", "no", "Off"] {
            assert_eq!(truth(text), Some(false), "{text}");
        }
        for text in ["", "2", "y", "t", "auto", "on "] {
            assert_eq!(truth(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_exact() {
        for (text, ms, shown) in [
            ("0", 0, "0"),
            ("0ms", 0, "0"),
            ("30", 30_000, "30s"),
            ("30s", 30_000, "30s"),
            ("500ms", 500, "500ms"),
            ("2m", 120_000, "2m"),
            ("90s", 90_000, "90s"),
            ("1h", 3_600_000, "1h"),
            ("60m", 3_600_000, "1h"),
            ("1.5", 1500, "1500ms"),
            ("0.25s", 250, "250ms"),
            ("0.001", 1, "1ms"),
            ("1.50h", 5_400_000, "90m"),
            ("1H", 3_600_000, "1h"),
            ("8760h", 31_536_000_000, "8760h"),
        ] {
            let value = duration(text);
            assert_eq!(value, Some(Duration::from_millis(ms)), "{text}");
            assert_eq!(show_duration(value.unwrap()), shown);
            assert_eq!(duration(shown), value);
        }
        for text in [
            "",
            "s",
            ".5",
            "5.",
            "1.2.3",
            "1 s",
            "-1",
            "1d",
            "1sec",
            "0.0001",
            "0.5ms",
            "1e3",
            "8761h",
            "99999999999999999999",
            "1.00000000000000000000001",
            "é",
            "1é",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, octets, shown) in [
            ("0", 0, "0"),
            ("4094", 4094, "4094"),
            ("8k", 8192, "8k"),
            ("8192", 8192, "8k"),
            ("1M", 1 << 20, "1m"),
            ("1024k", 1 << 20, "1m"),
            ("3g", 3 << 30, "3g"),
            ("17179869183g", 17_179_869_183 << 30, "17179869183g"),
        ] {
            assert_eq!(size(text), Some(octets), "{text}");
            assert_eq!(show_size(octets), shown);
            assert_eq!(size(shown), Some(octets));
        }
        for text in ["", "k", "1.5m", "8kb", "8 k", "-1", "1t", "17179869184g", "é", "1é"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
