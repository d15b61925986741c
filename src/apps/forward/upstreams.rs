//! Whom requests are forwarded to: one after another, and who has failed rests for a while.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ureq::http::Uri;

use crate::apps::arguments::wrong;
use crate::base::error::Result;

/// A server.
#[derive(Debug)]
pub(super) struct Upstream {
    /// "http://host:port/base", without a slash at its end.
    pub(super) url: String,
    /// When it may be asked again, in milliseconds of the monotonic clock.
    rests_until: AtomicU64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Upstreams {
    all: Vec<Upstream>,
    /// The next one.
    turn: AtomicUsize,
    rest: Duration,
}

impl Upstreams {
    /// `list`: URLs with commas between them.
    pub(super) fn new(list: &str, rest: Duration) -> Result<Self> {
        let upstream = |url: &str| {
            let is_sound = url.parse::<Uri>().is_ok_and(|uri| {
                uri.scheme_str() == Some("http")
                    && uri.host().is_some_and(|host| !host.is_empty())
                    && uri.authority().is_some_and(|it| !it.as_str().contains('@'))
                    && uri.query().is_none()
            });
            if !is_sound || url.contains('#') {
                let text = "http://host:port, or http://host:port/base, with commas between them";
                return Err(wrong("to", url, text));
            }
            let url = url.trim_end_matches('/').to_owned();
            Ok(Upstream { url, rests_until: AtomicU64::new(0) })
        };
        let all = list.split(',').map(upstream).collect::<Result<_>>()?;
        Ok(Upstreams { all, turn: AtomicUsize::new(0), rest })
    }

    /// Those to ask, one after another: whose turn it is first, and those that rest last, since
    /// nobody else may be there.
    pub(super) fn turns(&self, now: u64) -> Vec<&Upstream> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len();
        let (before, from) = self.all.split_at(turn);
        let mut turns: Vec<_> = from.iter().chain(before).collect();
        turns.sort_by_key(|it| it.rests_until.load(Ordering::Relaxed) > now);
        turns
    }

    /// It has failed.
    pub(super) fn failed(&self, upstream: &Upstream, now: u64) {
        let rest = u64::try_from(self.rest.as_millis()).unwrap_or(u64::MAX);
        upstream.rests_until.store(now.saturating_add(rest), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_another() {
        let list = "http://a:1,http://b:2/base/,http://c";
        let all = Upstreams::new(list, Duration::from_secs(1)).unwrap();
        let turns = |now| {
            let urls: Vec<_> = all.turns(now).iter().map(|it| it.url.clone()).collect();
            urls.join(" ").replace("http://", "")
        };
        assert_eq!(turns(0), "a:1 b:2/base c");
        assert_eq!(turns(0), "b:2/base c a:1");
        assert_eq!(turns(0), "c a:1 b:2/base");
        // Who rests comes last.
        all.failed(all.turns(0)[0], 5000);
        assert_eq!(turns(5500), "b:2/base c a:1");
        assert_eq!(turns(5999), "c b:2/base a:1");
        assert_eq!(turns(6000), "a:1 b:2/base c");
        for url in
            ["", "x", "https://a", "http://", "http://a?x", "http://u@a", "http://a,,http://b"]
        {
            assert!(Upstreams::new(url, Duration::ZERO).is_err(), "{url}");
        }
    }
}
