//! What holds on one listener: what is spoken there, whom it believes, what it allows.  Made once,
//! from the options and what the listener says for itself; its connections share it.

use std::time::Duration;

use crate::conf::listener::Protocol;
use crate::conf::settings::Settings;
use crate::conf::trust::{Networks, ProxyProtocol};
use crate::wire::Limits;
use crate::wire::front::Speech;

/// The terms of a listener's connections.
#[derive(Debug)]
pub(super) struct Terms {
    /// What is spoken; `None`: told by the first octets of each connection.
    pub(super) speech: Option<Speech>,
    /// Whether a header of the PROXY protocol comes first.
    pub(super) proxy: ProxyProtocol,
    /// From whom.
    pub(super) proxies: Networks,
    /// Who is believed to speak of others.
    pub(super) trusted: Networks,
    /// Whether those say who the client is.
    pub(super) forwarded_for: bool,
    /// Of a request's parts.
    pub(super) limits: Limits,
    /// They are not those of other listeners.
    pub(super) has_own_limits: bool,
    pub(super) header_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) keepalive: Duration,
    pub(super) pages: Pages,
}

/// Where the pages about the server are; empty: nowhere.
#[derive(Debug)]
pub(super) struct Pages {
    metrics: Box<[u8]>,
    stats: Box<[u8]>,
    /// There is nothing else.
    is_all: bool,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Whatever the application has.
    App,
    /// What was counted, for Prometheus.
    Metrics,
    /// The same as JSON.
    Stats,
    /// Nothing.
    Nowhere,
}

impl Pages {
    /// What is at this path, of which the beginning may lead to the application.
    pub(super) fn at(&self, prefix: &[u8], path: &[u8]) -> At {
        let is = |page: &[u8]| !page.is_empty() && page.strip_prefix(prefix) == Some(path);
        match self.is_all {
            _ if is(&self.metrics) => At::Metrics,
            _ if is(&self.stats) => At::Stats,
            false => At::App,
            true => At::Nowhere,
        }
    }
}

impl Terms {
    /// Where `protocol` is spoken, with these options.
    pub(super) fn new(protocol: Protocol, settings: &Settings) -> Self {
        Terms {
            speech: speech_of(protocol),
            proxy: settings.proxy_protocol,
            proxies: settings.proxy_allow_ips.clone(),
            trusted: settings.forwarded_allow_ips.clone(),
            forwarded_for: settings.forwarded_for,
            limits: limits_of(settings),
            has_own_limits: false,
            header_timeout: settings.header_timeout,
            body_timeout: settings.body_timeout,
            write_timeout: settings.write_timeout,
            keepalive: settings.keepalive,
            pages: Pages {
                metrics: settings.metrics_path.as_bytes().into(),
                stats: settings.stats_path.as_bytes().into(),
                is_all: settings.stats_only,
            },
        }
    }
}

/// What is spoken on a connection of this protocol; `None`: its first octets say.
fn speech_of(protocol: Protocol) -> Option<Speech> {
    match protocol {
        Protocol::Http => Some(Speech::Http),
        Protocol::Uwsgi => Some(Speech::Uwsgi),
        Protocol::FastCgi => Some(Speech::FastCgi(0)),
        Protocol::Scgi => Some(Speech::Scgi),
        Protocol::Auto => None,
    }
}

/// Of a request's parts.
fn limits_of(settings: &Settings) -> Limits {
    Limits {
        line: settings.limit_request_line as usize,
        fields: settings.limit_request_fields as usize,
        field_size: settings.limit_request_field_size as usize,
        head: settings.limit_request_head as usize,
        body: settings.body_limit(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_at_its_path_and_nowhere_else() {
        let pages = |metrics: &str, stats: &str, is_all| Pages {
            metrics: metrics.as_bytes().into(),
            stats: stats.as_bytes().into(),
            is_all,
        };
        let two = pages("/app/m", "/s", false);
        for (prefix, path, at) in [
            ("", "/app/m", At::Metrics),
            ("/app", "/m", At::Metrics),
            ("/ap", "/m", At::App),
            ("/app/m", "", At::Metrics),
            ("", "/s", At::Stats),
            ("", "/s/", At::App),
            ("", "/S", At::App),
            ("", "", At::App),
            ("", "/", At::App),
        ] {
            assert_eq!(two.at(prefix.as_bytes(), path.as_bytes()), at, "{prefix} {path}");
        }
        assert_eq!(pages("", "", false).at(b"", b""), At::App);
        assert_eq!(pages("", "", true).at(b"", b""), At::Nowhere);
        assert_eq!(pages("/m", "", true).at(b"", b"/x"), At::Nowhere);
    }
}
