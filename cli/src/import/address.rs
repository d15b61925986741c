//! Addresses as they are written here, if they can be: the library is asked about them only when they
//! are used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of a socket's path.
const PATH_MAX: usize = 107;

/// `host:port`; no host is all of IPv4.
pub(super) fn tcp(host: &str, port: &str) -> Option<String> {
    let is_port = port.bytes().all(|octet| octet.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_host = match host.strip_prefix('[') {
        Some(ip) => ip.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => host.is_empty() || is_name(host),
    };
    (is_port && is_host).then(|| format!("{host}:{port}"))
}

fn is_name(host: &str) -> bool {
    if host.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.') {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let is_label = |label: &str| {
        (1..64).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    host.len() < 254 && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

/// `unix:/path`, of a file or of a name in the abstract namespace.
pub(super) fn unix(path: &str) -> Option<String> {
    let is_plain = !path.contains(['?', ',']) && !path.chars().any(|c| c.is_control() || c == ' ');
    let len = path.strip_prefix('@').unwrap_or(path).len();
    (is_plain && (1..=PATH_MAX).contains(&len)).then(|| match path.starts_with("//") {
        // Two slashes would be those of a URL.
        true => format!("unix:/{}", path.trim_start_matches('/')),
        false => format!("unix:{path}"),
    })
}

/// `fd://3`
pub(super) fn fd(text: &str) -> Option<String> {
    let number = text.strip_prefix("fd://")?;
    let is_number = number.bytes().all(|octet| octet.is_ascii_digit());
    (is_number && number.parse::<i32>().is_ok()).then(|| text.to_owned())
}

/// An address with what is spoken there; HTTP is said by nothing.
pub(super) fn speaking(protocol: &str, address: String) -> String {
    match protocol {
        "http" => address,
        _ if address.starts_with("unix:") => format!("{protocol}+{address}"),
        _ if address.starts_with("fd:") => format!("{protocol}+{address}"),
        _ => format!("{protocol}://{address}"),
    }
}

/// `user`, `user:group` or `:group`
pub(super) fn is_owner(text: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_graphic() && !b"?&,".contains(&octet);
    text.len() > 1 && text.bytes().all(is_plain) && text.matches(':').count() < 2
}

/// Whether only this machine comes to an address of [`tcp`].
pub(super) fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// An IP address, or a network.
pub(super) fn is_network(text: &str) -> bool {
    let (address, bits) = text.split_once('/').unwrap_or((text, "0"));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let is_number = bits.bytes().all(|octet| octet.is_ascii_digit());
    is_number && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}
