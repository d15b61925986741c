//! Which octets of a file are asked for (RFC 9110 section 14).
//!
//! As nginx has it: several ranges are answered, in the order in which they were asked for; if they
//! add up to more than the file, or it is empty, the whole file is the answer.  So it is for a field
//! that makes no sense, which RFC 9110 leaves open.

/// More than these in one request are not meant well.
const MAX: usize = 64;

/// What is asked for of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Ranges {
    /// All of it.
    Whole,
    /// Pieces: where each begins, and how long it is, which is never 0.
    Parts(Vec<(u64, u64)>),
    /// Only what it does not have.
    Unsatisfiable,
}

/// The value of a Range field, for a file of `len` octets.
pub fn ranges(value: &[u8], len: u64) -> Ranges {
    let Some((unit, list)) = value.split_at_checked(b"bytes=".len()) else {
        return Ranges::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes=") || len == 0 {
        return Ranges::Whole;
    }
    let (mut parts, mut total, mut count) = (Vec::new(), 0_u64, 0);
    for spec in list.split(|octet| *octet == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            continue;
        }
        count += 1;
        let Some((first, last)) = bounds(spec, len) else {
            return Ranges::Whole;
        };
        if first < len && first <= last {
            let part = last.min(len - 1) - first + 1;
            total = total.saturating_add(part);
            parts.push((first, part));
        }
        if count > MAX || total > len {
            return Ranges::Whole;
        }
    }
    match parts.as_slice() {
        [] if count == 0 => Ranges::Whole,
        [] => Ranges::Unsatisfiable,
        _ => Ranges::Parts(parts),
    }
}

/// "first-last", "first-" or "-length", as the first and the last octet; `None`: it is none of them.
fn bounds(spec: &[u8], len: u64) -> Option<(u64, u64)> {
    let dash = memchr::memchr(b'-', spec)?;
    match (number(&spec[..dash]), number(&spec[dash + 1..])) {
        (Some(Some(first)), Some(Some(last))) => (first <= last).then_some((first, last)),
        (Some(Some(first)), Some(None)) => Some((first, u64::MAX)),
        // The last 0 octets are beyond the end.
        (Some(None), Some(Some(0))) => Some((len, len)),
        (Some(None), Some(Some(count))) => Some((len.saturating_sub(count), u64::MAX)),
        _ => None,
    }
}

/// Digits, of which there may be none; beyond what fits, the largest number.
fn number(digits: &[u8]) -> Option<Option<u64>> {
    let mut value = (!digits.is_empty()).then_some(0_u64);
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value = value.map(|value| value.saturating_mul(10).saturating_add(digit));
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_octets() {
        let parts = |parts: &[(u64, u64)]| Ranges::Parts(parts.to_vec());
        let many = |n: usize| format!("bytes={}", vec!["1-1"; n].join(","));
        for (value, expected) in [
            ("bytes=0-4", parts(&[(0, 5)])),
            ("bytes=0-0", parts(&[(0, 1)])),
            ("bytes=5-", parts(&[(5, 5)])),
            ("bytes=9-", parts(&[(9, 1)])),
            ("bytes=0-", parts(&[(0, 10)])),
            ("bytes=-3", parts(&[(7, 3)])),
            ("bytes=-10", parts(&[(0, 10)])),
            ("bytes=-11", parts(&[(0, 10)])),
            ("bytes=5-99", parts(&[(5, 5)])),
            ("bytes=5-99999999999999999999999", parts(&[(5, 5)])),
            ("BYTES=1-2", parts(&[(1, 2)])),
            ("bytes=0-1,4-5", parts(&[(0, 2), (4, 2)])),
            ("bytes=8-9, -1 ,,0-0", parts(&[(8, 2), (9, 1), (0, 1)])),
            ("bytes=1-2,20-30", parts(&[(1, 2)])),
            // Nothing of it is there.
            ("bytes=10-", Ranges::Unsatisfiable),
            ("bytes=10-20", Ranges::Unsatisfiable),
            ("bytes=99999999999999999999999-", Ranges::Unsatisfiable),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=10-11,20-", Ranges::Unsatisfiable),
            // More than there is.
            ("bytes=0-9,0-0", Ranges::Whole),
            ("bytes=0-,0-,0-", Ranges::Whole),
            // Not ranges.
            ("bytes=", Ranges::Whole),
            ("bytes=,,", Ranges::Whole),
            ("bytes=5-4", Ranges::Whole),
            ("bytes=-", Ranges::Whole),
            ("bytes=a-b", Ranges::Whole),
            ("bytes=1", Ranges::Whole),
            ("bytes=1-2-3", Ranges::Whole),
            ("bytes=+1-2", Ranges::Whole),
            ("bytes=1 - 2", Ranges::Whole),
            ("bytes=--1", Ranges::Whole),
            ("bytes=0-1,x", Ranges::Whole),
            ("bytes =0-1", Ranges::Whole),
            ("lines=0-1", Ranges::Whole),
            ("bytes", Ranges::Whole),
            ("", Ranges::Whole),
        ] {
            assert_eq!(ranges(value.as_bytes(), 10), expected, "{value}");
        }
        assert_eq!(ranges(many(MAX).as_bytes(), 1000), Ranges::Parts(vec![(1, 1); MAX]));
        assert_eq!(ranges(many(MAX + 1).as_bytes(), 1000), Ranges::Whole);
    }

    proptest::proptest! {
        #[test]
        fn no_range_is_beyond_the_file(text in "(bytes=)?([0-9]{0,20}-?[0-9]{0,20}[, ]{0,2}){0,5}", len: u64) {
            if let Ranges::Parts(parts) = ranges(text.as_bytes(), len) {
                let mut total = 0_u64;
                for (first, part) in parts {
                    assert!(part > 0 && first < len && part <= len - first, "{text} {len}");
                    total = total.checked_add(part).unwrap();
                }
                assert!(total <= len, "{text} {len}");
            }
        }
    }

    #[test]
    fn an_empty_file_is_whole() {
        for value in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(ranges(value.as_bytes(), 0), Ranges::Whole, "{value}");
        }
    }
}
