//! Whether a request's conditions hold for what it asks for (RFC 9110 section 13).

use std::time::{Duration, SystemTime};

/// What a representation is told by.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// A strong one, in its quotes.
    pub etag: &'a [u8],
    /// Whole seconds.
    pub modified: Option<SystemTime>,
}

/// The fields of a request; `None` where it does not have one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    pub if_match: Option<&'a [u8]>,
    pub if_unmodified_since: Option<&'a [u8]>,
    pub if_none_match: Option<&'a [u8]>,
    pub if_modified_since: Option<&'a [u8]>,
    pub if_range: Option<&'a [u8]>,
}

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What it asks for.
    Go,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// In the order of section 13.2.2.  `reads`: the method is GET or HEAD.
pub fn verdict(asked: &Conditions<'_>, is: &Validators<'_>, reads: bool) -> Verdict {
    if let Some(list) = asked.if_match {
        if !lists(list, is.etag, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if let (Some(since), Some(modified)) =
        (asked.if_unmodified_since.and_then(date), is.modified)
        && modified > since
    {
        return Verdict::Failed;
    }
    if let Some(list) = asked.if_none_match {
        if lists(list, is.etag, Comparison::Weak) {
            return if reads { Verdict::NotModified } else { Verdict::Failed };
        }
    } else if let (Some(since), Some(modified)) =
        (asked.if_modified_since.and_then(date), is.modified)
        && reads
        && modified <= since
    {
        return Verdict::NotModified;
    }
    Verdict::Go
}

/// Whether a Range field counts, at this time: there is no If-Range, or it holds (section 13.1.5).
pub fn ranges_count(asked: &Conditions<'_>, is: &Validators<'_>, now: SystemTime) -> bool {
    let Some(validator) = asked.if_range else {
        return true;
    };
    if validator.first() == Some(&b'"') || validator.starts_with(b"W/") {
        return validator == is.etag;
    }
    // A date is a strong validator only when nothing can have changed within its second.
    let Some(modified) = is.modified else { return false };
    date(validator) == Some(modified)
        && now.duration_since(modified).is_ok_and(|age| age >= Duration::from_secs(1))
}

fn date(text: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag is like nothing.
    Strong,
    Weak,
}

/// Whether a list of entity tags has this one, or is "*".  What follows the first that is malformed
/// does not count.
fn lists(list: &[u8], etag: &[u8], comparison: Comparison) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        let at = rest.iter().position(|octet| !b", \t".contains(octet)).unwrap_or(rest.len());
        rest = &rest[at..];
        let (is_weak, tag) = match rest.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, rest),
        };
        if tag.first() != Some(&b'"') {
            return false;
        }
        let Some(end) = memchr::memchr(b'"', &tag[1..]) else { return false };
        let (tag, after) = tag.split_at(end + 2);
        if tag == etag && (!is_weak || comparison == Comparison::Weak) {
            return true;
        }
        if !matches!(after.trim_ascii_start().first(), None | Some(b',')) {
            return false;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn is() -> Validators<'static> {
        Validators { etag: b"\"a\"", modified: date(MODIFIED.as_bytes()) }
    }

    /// "Field: value" lines.
    fn asked(fields: &'static [(&'static str, &'static str)]) -> Conditions<'static> {
        let of = |name| fields.iter().find(|field| field.0 == name).map(|field| field.1.as_bytes());
        Conditions {
            if_match: of("IM"),
            if_unmodified_since: of("IUS"),
            if_none_match: of("INM"),
            if_modified_since: of("IMS"),
            if_range: of("IR"),
        }
    }

    #[test]
    fn conditions_in_their_order() {
        use Verdict::{Failed, Go, NotModified};
        // What a GET gets, and what a method gets that changes something.
        for (fields, reads, writes) in [
            (&[][..], Go, Go),
            (&[("IM", "\"a\"")], Go, Go),
            (&[("IM", "\"b\"")], Failed, Failed),
            (&[("IM", "*")], Go, Go),
            (&[("IM", "\"b\", \"a\"")], Go, Go),
            (&[("IM", "W/\"a\"")], Failed, Failed),
            (&[("IM", "")], Failed, Failed),
            (&[("IM", "a")], Failed, Failed),
            (&[("IUS", MODIFIED)], Go, Go),
            (&[("IUS", AFTER)], Go, Go),
            (&[("IUS", BEFORE)], Failed, Failed),
            (&[("IUS", "yesterday")], Go, Go),
            // If-Match is better than If-Unmodified-Since.
            (&[("IM", "\"a\""), ("IUS", BEFORE)], Go, Go),
            (&[("IM", "\"b\""), ("IUS", AFTER)], Failed, Failed),
            (&[("INM", "\"a\"")], NotModified, Failed),
            (&[("INM", "W/\"a\"")], NotModified, Failed),
            (&[("INM", "*")], NotModified, Failed),
            (&[("INM", "\"b\"")], Go, Go),
            (&[("INM", "\"b\",W/\"c\" , ,\"a\"")], NotModified, Failed),
            (&[("INM", "\"a")], Go, Go),
            (&[("INM", "\"b\" \"a\"")], Go, Go),
            (&[("INM", "\"b,\"a\"")], Go, Go),
            (&[("IMS", MODIFIED)], NotModified, Go),
            (&[("IMS", AFTER)], NotModified, Go),
            (&[("IMS", BEFORE)], Go, Go),
            (&[("IMS", "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified, Go),
            (&[("IMS", "Sun Nov  6 08:49:37 1994")], NotModified, Go),
            (&[("IMS", "0")], Go, Go),
            (&[("IMS", "Sun, 06 Nov 1994 08:49:37 GMT,Sun, 06 Nov 1994 08:49:37 GMT")], Go, Go),
            // If-None-Match is better than If-Modified-Since.
            (&[("INM", "\"b\""), ("IMS", AFTER)], Go, Go),
            (&[("INM", "\"a\""), ("IMS", BEFORE)], NotModified, Failed),
            // Those that fail come first.
            (&[("IM", "\"b\""), ("INM", "\"a\"")], Failed, Failed),
            (&[("IM", "\"a\""), ("INM", "\"a\"")], NotModified, Failed),
            (&[("IUS", BEFORE), ("IMS", AFTER)], Failed, Failed),
            (&[("IUS", AFTER), ("IMS", AFTER)], NotModified, Go),
        ] {
            let got = [true, false].map(|is_read| verdict(&asked(fields), &is(), is_read));
            assert_eq!(got, [reads, writes], "{fields:?}");
        }
        let undated = Validators { modified: None, ..is() };
        for fields in [&[("IUS", BEFORE)][..], &[("IMS", AFTER)]] {
            assert_eq!(verdict(&asked(fields), &undated, true), Go, "{fields:?}");
        }
    }

    #[test]
    fn ranges_are_of_what_the_client_has() {
        let modified = is().modified.unwrap();
        let later = modified + Duration::from_secs(1);
        for (fields, now, count) in [
            (&[][..], modified, true),
            (&[("IR", "\"a\"")], modified, true),
            (&[("IR", "\"b\"")], later, false),
            (&[("IR", "W/\"a\"")], later, false),
            (&[("IR", MODIFIED)], later, true),
            (&[("IR", MODIFIED)], modified, false),
            (&[("IR", BEFORE)], later, false),
            (&[("IR", AFTER)], later, false),
            (&[("IR", "*")], later, false),
            (&[("IR", "")], later, false),
        ] {
            assert_eq!(ranges_count(&asked(fields), &is(), now), count, "{fields:?}");
        }
        let undated = Validators { modified: None, ..is() };
        assert!(!ranges_count(&asked(&[("IR", MODIFIED)]), &undated, later));
    }
}
