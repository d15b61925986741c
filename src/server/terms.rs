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
