//! Whom a server believes: lists of networks, and the PROXY protocol of a listener.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Peers that are believed: `127.0.0.1,10.0.0.0/8,::1,unix`; `*` is everybody, nothing or `none` is
/// nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    everybody: bool,
    /// Who comes in on a unix socket.
    unix: bool,
    networks: Vec<IpNet>,
    /// The same, from the first to the last address.
    ranges: Vec<(u128, u128)>,
}

/// IPv4 as it is written in IPv6, where a socket is for both.
#[inline]
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => 0xffff << 32 | u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl Networks {
    /// Whoever comes in on a unix socket.
    pub const UNIX: Networks =
        Networks { everybody: false, unix: true, networks: Vec::new(), ranges: Vec::new() };

    /// Whether a peer with this address is among them; `None`: one on a unix socket.
    #[inline]
    pub fn contain(&self, ip: Option<IpAddr>) -> bool {
        let Some(ip) = ip.map(number) else {
            return self.unix || self.everybody;
        };
        self.ranges.iter().any(|(first, last)| (first..=last).contains(&&ip)) || self.everybody
    }

    /// Whether this text is one entry of a list, and cannot be an address to listen on.
    pub(super) fn is_entry(text: &str) -> bool {
        Networks::default().add(text.trim_ascii()).is_some()
    }

    fn add(&mut self, entry: &str) -> Option<()> {
        match entry {
            "*" => self.everybody = true,
            "unix" => self.unix = true,
            "none" => {}
            _ => {
                let network = match entry.parse::<IpAddr>() {
                    Ok(ip) => IpNet::from(ip.to_canonical()),
                    Err(_) => entry.parse().ok()?,
                };
                self.extend([network]);
            }
        }
        Some(())
    }
}

impl Extend<IpNet> for Networks {
    fn extend<T: IntoIterator<Item = IpNet>>(&mut self, all: T) {
        for network in all {
            self.ranges.push((number(network.network()), number(network.broadcast())));
            self.networks.push(network);
        }
    }
}

impl FromIterator<IpAddr> for Networks {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(all: T) -> Self {
        let mut networks = Networks::default();
        networks.extend(all.into_iter().map(|ip| IpNet::from(ip.to_canonical())));
        networks
    }
}

/// A list is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl FromStr for Networks {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Networks, Malformed> {
        let mut networks = Networks::default();
        for entry in text.split(',').map(str::trim_ascii) {
            // gunicorn's empty list.
            if !(entry.is_empty() && text.trim_ascii().is_empty()) {
                networks.add(entry).ok_or(Malformed)?;
            }
        }
        Ok(networks)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = |network: &IpNet| network.prefix_len() == network.max_prefix_len();
        let mut entries: Vec<String> = Vec::new();
        entries.extend(self.everybody.then(|| "*".to_owned()));
        entries.extend(self.networks.iter().map(|network| match single(network) {
            true => network.addr().to_string(),
            false => network.to_string(),
        }));
        entries.extend(self.unix.then(|| "unix".to_owned()));
        if entries.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&entries.join(","))
    }
}

/// Whether connections begin with a header of the PROXY protocol.  The C constants `GW_PROXY_*` are
/// these numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum ProxyProtocol {
    /// They do not.
    #[default]
    Off = 0,
    /// With one of either version.
    Auto = 1,
    /// Of version 1, a line.
    V1 = 2,
    /// Of version 2, which is binary.
    V2 = 3,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, shown) in [
            ("127.0.0.1,::1,unix", "127.0.0.1,::1,unix"),
            ("unix , 10.0.0.0/8", "10.0.0.0/8,unix"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("*", "*"),
            ("", "none"),
            (" ", "none"),
            ("none", "none"),
        ] {
            let networks: Networks = text.parse().unwrap();
            assert_eq!(networks.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(networks));
        }
        for text in
            ["10.0.0.0/33", "10.0.0", "example.org", ",", "::1,", "[::1]", "**", "10.0.0.1:80"]
        {
            assert_eq!(text.parse::<Networks>(), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn who_is_among_them() {
        let ip = |text: &str| (text != "unix").then(|| text.parse().unwrap());
        for (list, peer, is_there) in [
            ("127.0.0.1,::1", "127.0.0.1", true),
            ("127.0.0.1,::1", "127.0.0.2", false),
            ("127.0.0.1,::1", "::1", true),
            ("127.0.0.1,::1", "::ffff:127.0.0.1", true),
            ("127.0.0.1,::1", "unix", false),
            ("unix", "unix", true),
            ("unix", "127.0.0.1", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("2001:db8::/33", "2001:db8:8000::", false),
            ("*", "unix", true),
            ("*", "192.0.2.1", true),
            ("none", "127.0.0.1", false),
        ] {
            let networks: Networks = list.parse().unwrap();
            assert_eq!(networks.contain(ip(peer)), is_there, "{list} {peer}");
        }
    }
}
