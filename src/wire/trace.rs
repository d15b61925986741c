//! W3C Trace Context, as a request brings it: `traceparent` and `tracestate`
//! (<https://www.w3.org/TR/trace-context/>, sections 3.2 and 3.3).
//!
//! It is read strictly: a field that is wrong anywhere is as good as none.

use super::Span;

/// What `traceparent` says: pieces of it, all of them hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// trace-id: 32 digits, not all of them 0.
    pub trace_id: Span,
    /// parent-id: the caller's span; 16 digits, not all of them 0.
    pub parent_id: Span,
    /// trace-flags: 2 digits.
    pub flags: Span,
    /// The lowest flag: the caller may have recorded it.
    pub sampled: bool,
}

/// Octets of `traceparent` in version 00; of others this is the beginning.
const LEN: usize = 55;

/// Members of a `tracestate` (section 3.3.1.1).
const MEMBERS_MAX: usize = 32;

/// The value of `traceparent`; `None`: it is to be ignored, and `tracestate` with it.  Of a version to
/// come that is known which 00 has, too (section 3.2.4).
pub fn parent(value: &[u8]) -> Option<TraceParent> {
    let (known, more) = value.split_at_checked(LEN)?;
    let is_hex = |octets: &[u8]| octets.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let has_one = |octets: &[u8]| octets.iter().any(|b| *b != b'0');
    let (version, trace_id) = (&known[..2], &known[3..35]);
    let (parent_id, flags) = (&known[36..52], &known[53..]);
    let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    let ends = match version {
        b"00" => more.is_empty(),
        b"ff" => false,
        _ => more.is_empty() || more[0] == b'-',
    };
    let is_whole = dashes && ends && [version, trace_id, parent_id, flags].map(is_hex) == [true; 4];
    if !is_whole || !has_one(trace_id) || !has_one(parent_id) {
        return None;
    }
    let digit = flags[1];
    Some(TraceParent {
        trace_id: Span { start: 3, len: 32 },
        parent_id: Span { start: 36, len: 16 },
        flags: Span { start: 53, len: 2 },
        // Odd digits have odd codes, and so have b, d and f even ones.
        sampled: if digit.is_ascii_digit() { digit & 1 == 1 } else { digit & 1 == 0 },
    })
}

/// Whether this is a `tracestate`: of several fields the values joined by commas, in their order.
pub fn is_state(value: &[u8]) -> bool {
    let mut keys: Vec<&[u8]> = Vec::new();
    for member in value.split(|octet| *octet == b',') {
        // Empty members are allowed, and so is white space around each.
        let member = trim(member);
        if member.is_empty() {
            continue;
        }
        let Some(equals) = member.iter().position(|octet| *octet == b'=') else { return false };
        let (key, value) = (&member[..equals], &member[equals + 1..]);
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MEMBERS_MAX {
            return false;
        }
        keys.push(key);
    }
    !keys.is_empty()
}

/// OWS of HTTP: spaces and tabs.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// `simple-key`, or `tenant-id@system-id` (section 3.3.1.3.1).
fn is_key(key: &[u8]) -> bool {
    let is_rest = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let is_name = |name: &[u8], most: usize, may_begin: fn(u8) -> bool| {
        (1..=most).contains(&name.len()) && may_begin(name[0]) && name.iter().all(is_rest)
    };
    let letter = |b: u8| b.is_ascii_lowercase();
    match key.iter().position(|b| *b == b'@') {
        None => is_name(key, 256, letter),
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            is_name(tenant, 241, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && is_name(system, 14, letter)
        }
    }
}

/// Printable ASCII but for `,` and `=`, which does not end with a space (section 3.3.1.3.2).
fn is_value(value: &[u8]) -> bool {
    let is_one = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b',' | b'=');
    (1..=256).contains(&value.len()) && value.iter().all(is_one) && value.last() != Some(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_parent_is_read_strictly() {
        let all = GOOD.as_bytes();
        let found = parent(all).unwrap();
        assert_eq!(found.trace_id.of(all), b"0af7651916cd43dd8448eb211c80319c");
        assert_eq!(found.parent_id.of(all), b"b7ad6b7169203331");
        assert_eq!((found.flags.of(all), found.sampled), (&b"01"[..], true));
        for (flags, sampled) in
            [("00", false), ("01", true), ("02", false), ("03", true), ("0a", false), ("ff", true)]
        {
            let text = format!("{}{flags}", &GOOD[..53]);
            assert_eq!(parent(text.as_bytes()).unwrap().sampled, sampled, "{flags}");
        }
        // A version to come may have more behind a dash; this one may not.
        for good in ["cc", "cc-what the future will be like", "01-"] {
            let text = format!("{}{}{}", &good[..2], &GOOD[2..], &good[2..]);
            assert!(parent(text.as_bytes()).is_some(), "{text}");
        }
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}-extra"),
            &format!("{GOOD} "),
            &format!(" {GOOD}"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0x", 1),
            &GOOD.replacen("00", "cC", 1),
            &GOOD.replacen("00", "01", 1).replace("-01", "-01.more"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("0af7", "0aG7"),
            &GOOD.replace("-01", "-0x"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            &format!("{GOOD},{GOOD}"),
        ] {
            assert_eq!(parent(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_state_is_a_list_of_members_with_unique_keys() {
        let many = |n: usize| (0..n).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let (long, longer) = ("a".repeat(256), "a".repeat(257));
        for good in [
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            "a=1",
            " a=1 \t,\tb=2 ,, ,c=3",
            "a_-*/9=!~",
            "0tenant@system=x y",
            "a= leading",
            &many(32),
            &format!("{long}={long}"),
            &format!("{}@{}=1", &long[..241], &long[..14]),
        ] {
            assert!(is_state(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            " , ",
            "a",
            "=1",
            "a=",
            "a =1",
            "A=1",
            "1=1",
            "a=1=2",
            "a=\u{e9}",
            "a=\x01",
            "a=1,a=2",
            "a@=1",
            "@a=1",
            "a@1=1",
            "a@b@c=1",
            "a.b=1",
            &many(33),
            &format!("{longer}=1"),
            &format!("a={longer}"),
            &format!("{}@a=1", &long[..242]),
            &format!("a@{}=1", &long[..15]),
        ] {
            assert!(!is_state(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_are_too_much(value: Vec<u8>) {
            let _ = (parent(&value), is_state(&value));
        }

        #[test]
        fn one_wrong_octet_is_one_too_many(at in 0_usize..LEN, octet: u8) {
            let mut value = GOOD.as_bytes().to_vec();
            value[at] = octet;
            let is_dash = [2, 35, 52].contains(&at);
            let fits = match octet {
                b'-' => is_dash,
                b'0'..=b'9' | b'a'..=b'f' => !is_dash,
                _ => false,
            };
            // "ff" would take two; and what is not 00 may be longer, but is not.
            prop_assert_eq!(parent(&value).is_some(), fits);
        }
    }
}
