//! Where a server listens: the syntax of addresses, and what is known of a listener.
//!
//! ```text
//! 127.0.0.1:8000   [::1]:8000   [fe80::1%eth0]:8000   localhost:8000
//! :8000            all interfaces (IPv4)
//! unix:/run/x.sock a socket in the file system
//! unix:@name       a socket in the abstract namespace: no file, for whoever is on the machine
//! fd://3           a listening socket that was inherited
//! systemd:         the sockets that systemd has passed to this process
//! systemd:web      those of the name "web" (FileDescriptorName=); also written fd://web
//! http://127.0.0.1:8000, http+unix:/run/x.sock        the same with the protocol
//! 127.0.0.1:8000?backlog=64&nodelay=0                 and with options, see `options`
//! ```

mod options;

pub(super) use options::pieces;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Quoted;
use crate::base::error::{Error, Kind, Result};
use crate::sys::listen::Tuning;

/// What is spoken on a listener.  The C constants `GW_PROTO_*` are these numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Protocol {
    /// HTTP/1.0 and 1.1.
    #[default]
    Http = 0,
    /// The uwsgi protocol.
    Uwsgi = 1,
    /// FastCGI, as a responder.
    FastCgi = 2,
    /// SCGI.
    Scgi = 3,
    /// Each connection's, told by its first octets.
    Auto = 4,
}

/// Those that it speaks.
const SPOKEN: [Protocol; 5] =
    [Protocol::Http, Protocol::Uwsgi, Protocol::FastCgi, Protocol::Scgi, Protocol::Auto];

impl Protocol {
    /// The protocol with this name (in any case).  `Kind::Unsupported`: not in this version;
    /// `Kind::Unknown`: no such protocol.
    pub fn from_name(name: &str) -> Result<Protocol> {
        if let Some(spoken) = SPOKEN.iter().find(|it| name.eq_ignore_ascii_case(it.name())) {
            return Ok(*spoken);
        }
        if name.eq_ignore_ascii_case("https") {
            return Err(Error::new(Kind::Unsupported, "https (TLS) is not in this version"));
        }
        Err(Error::new(Kind::Unknown, format!("no protocol named {}", Quoted(name))))
    }

    /// The protocol with this number.  `Kind::Unknown`: there is none.
    pub fn from_code(code: u32) -> Result<Protocol> {
        let found = SPOKEN.iter().find(|it| code == **it as u32).copied();
        found.ok_or_else(|| Error::new(Kind::Unknown, format!("no protocol has the number {code}")))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http => "http",
            Protocol::Uwsgi => "uwsgi",
            Protocol::FastCgi => "fastcgi",
            Protocol::Scgi => "scgi",
            Protocol::Auto => "auto",
        }
    }
}

/// The host of a TCP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, and the zone of a link-local one: the name or number of an interface,
    /// empty when there is none (RFC 4007 section 11).
    V6(Ipv6Addr, String),
    /// A name, in lower case, looked up when the socket is bound.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::V4(ip) => write!(f, "{ip}"),
            Host::V6(ip, zone) if zone.is_empty() => write!(f, "[{ip}]"),
            Host::V6(ip, zone) => write!(f, "[{ip}%{zone}]"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// Where a socket is bound, or that it is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp {
        /// The host.
        host: Host,
        /// The port; 0: any that is free.
        port: u16,
    },
    /// A stream socket in the file system.
    Unix(PathBuf),
    /// A stream socket in the abstract namespace (unix(7)).
    Abstract(String),
    /// An inherited descriptor: a socket that listens already.
    Fd(RawFd),
    /// Sockets that a service manager passes to this process: those of this name; empty: all.
    Passed(String),
}

impl Address {
    /// The socket addresses of a TCP address, in the order of the resolver; empty for the others.
    /// Asks the resolver for a name, and may wait for it.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let Address::Tcp { host, port } = self else { return Ok(Vec::new()) };
        Ok(match host {
            Host::V4(ip) => vec![SocketAddr::from((*ip, *port))],
            Host::V6(ip, zone) => {
                let scope = if zone.is_empty() { 0 } else { interface(zone)? };
                vec![SocketAddrV6::new(*ip, *port, 0, scope).into()]
            }
            Host::Name(name) => {
                let action = || format!("look up {name}");
                let found: Vec<_> = (name.as_str(), *port)
                    .to_socket_addrs()
                    .map_err(|error| Error::os(action(), &error))?
                    .collect();
                if found.is_empty() {
                    return Err(Error::new(Kind::Io, format!("{}: no address", action())));
                }
                found
            }
        })
    }
}

/// The number of a network interface.
fn interface(zone: &str) -> Result<u32> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    // `host` has made sure that the zone cannot leave the directory.
    std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex"))
        .map_err(|error| Error::os(format!("look up the network interface {zone}"), &error))?
        .trim()
        .parse()
        .map_err(|_| Error::new(Kind::Io, format!("the network interface {zone} has no number")))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{name}"),
            Address::Fd(fd) => write!(f, "fd://{fd}"),
            Address::Passed(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// One socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where it is.
    pub address: Address,
    /// Connections that wait to be accepted; 0: the option `backlog`.
    pub backlog: u32,
    /// Permissions of a unix socket (0o660, say); 0: the umask decides.
    pub mode: u32,
    /// Other programs may listen on the same address (SO_REUSEPORT), and the system chooses
    /// between them; the workers of this one share a socket.
    pub reuse_port: bool,
    /// User and group that a unix socket is given, by name or number; empty: as it is made.
    pub owner: Option<(String, String)>,
    /// What an internet socket is told.
    pub socket: Tuning,
    /// Options that have another value here: names and values.
    own: Vec<(&'static str, String)>,
}

impl Listener {
    /// HTTP at `address`, everything else as preset.
    pub fn new(address: Address) -> Self {
        Listener {
            protocol: Protocol::Http,
            address,
            backlog: 0,
            mode: 0,
            reuse_port: false,
            owner: None,
            socket: Tuning::default(),
            own: Vec::new(),
        }
    }

    fn is_unix(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    fn is_abstract(&self) -> bool {
        matches!(self.address, Address::Abstract(_))
    }

    fn is_tcp(&self) -> bool {
        matches!(self.address, Address::Tcp { .. })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Http => {}
            other if self.is_tcp() => write!(f, "{}://", other.name())?,
            other => write!(f, "{}+", other.name())?,
        }
        self.address.fmt(f)?;
        self.show_options(f)
    }
}

impl FromStr for Listener {
    type Err = Error;

    /// Read an address, with or without its protocol and options.  No name is looked up.
    fn from_str(whole: &str) -> Result<Listener> {
        Listener::read(whole, Protocol::Http)
    }
}

impl Listener {
    /// As [`FromStr`]; `protocol` is spoken where the text names none.
    pub fn read(whole: &str, protocol: Protocol) -> Result<Listener> {
        let (text, options) = whole.split_once('?').unwrap_or((whole, ""));
        let (named, address) = split_protocol(text)?;
        let protocol = named.unwrap_or(protocol);
        let address = parse_address(address).map_err(|(kind, problem)| {
            Error::new(kind, format!("address {}: {problem}", Quoted(text)))
        })?;
        let mut listener = Listener { protocol, ..Listener::new(address) };
        listener.set_options(options, |c| c == '&').map_err(|error| {
            Error::new(error.kind(), format!("address {}: {}", Quoted(whole), error.message()))
        })?;
        Ok(listener)
    }
}

/// `http://rest`, `http+unix:rest`: the protocol, if one is named, and the rest.
fn split_protocol(text: &str) -> Result<(Option<Protocol>, &str)> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let named = text.split_once("://").filter(|(name, _)| {
        is_name(name) && !["unix", "fd", "tcp"].iter().any(|own| name.eq_ignore_ascii_case(own))
    });
    let combined = text.split_once('+').filter(|(name, rest)| {
        is_name(name) && ["unix:", "fd:", "systemd:"].iter().any(|own| scheme(rest, own).is_some())
    });
    match combined.or(named) {
        Some((name, rest)) => {
            let protocol = Protocol::from_name(name).map_err(|error| {
                Error::new(error.kind(), format!("address {}: {}", Quoted(text), error.message()))
            })?;
            Ok((Some(protocol), rest))
        }
        None => Ok((None, text)),
    }
}

/// What follows `prefix`, in any case.
fn scheme<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Why an address is refused.
type Problem = (Kind, String);

fn problem<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err((Kind::Invalid, text.into()))
}

fn parse_address(text: &str) -> Result<Address, Problem> {
    if scheme(text, "unix:").is_some_and(|path| path.starts_with('\0')) {
        return problem("a socket in the abstract namespace is written unix:@name");
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return problem(format!("it contains the control character {:?}", c));
    }
    if let Some(path) = scheme(text, "unix:") {
        return unix(path.strip_prefix("//").unwrap_or(path));
    }
    if let Some(fd) = scheme(text, "fd://") {
        return match number(fd).and_then(|n| RawFd::try_from(n).ok()) {
            Some(fd) => Ok(Address::Fd(fd)),
            None if fd.starts_with(|c: char| c.is_ascii_alphabetic()) => passed(fd),
            None => problem("a descriptor is a number: fd://3"),
        };
    }
    if let Some(name) = scheme(text, "systemd:") {
        return passed(name);
    }
    tcp(scheme(text, "tcp://").unwrap_or(text))
}

/// What systemd.socket(5) allows in FileDescriptorName=.
fn passed(name: &str) -> Result<Address, Problem> {
    let is_name = name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if !is_name || name.contains([',', '/']) {
        return problem(format!("{} is not the name of a socket", Quoted(name)));
    }
    Ok(Address::Passed(name.to_owned()))
}

/// Octets that fit into `sun_path` with the NUL that ends them.
const UNIX_PATH_MAX: usize = 107;

fn unix(path: &str) -> Result<Address, Problem> {
    if path.is_empty() {
        return problem("no path: write unix:/run/app.sock");
    }
    if let Some(name) = path.strip_prefix('@') {
        return match name.len() {
            0 => problem("no name: write unix:@name"),
            1..=UNIX_PATH_MAX => Ok(Address::Abstract(name.to_owned())),
            len => problem(format!(
                "the name of a socket has {UNIX_PATH_MAX} octets at most, this one has {len}"
            )),
        };
    }
    let path = PathBuf::from(path);
    let len = path.as_os_str().as_bytes().len();
    if len > UNIX_PATH_MAX {
        return problem(format!(
            "the path of a socket has {UNIX_PATH_MAX} octets at most, this one has {len}"
        ));
    }
    Ok(Address::Unix(path))
}

fn tcp(text: &str) -> Result<Address, Problem> {
    if text.is_empty() {
        return problem("it is empty: write 127.0.0.1:8000");
    }
    if let Some((start, _)) = text.split_once('/') {
        return problem(match start {
            "" => format!("a socket in the file system is written unix:{text}"),
            _ => format!("an address has no path: write {start}"),
        });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else {
            return problem("no ']' after the IPv6 address");
        };
        return match port.strip_prefix(':') {
            Some(port) => Ok(Address::Tcp { host: v6(host)?, port: parse_port(port)? }),
            None if port.is_empty() => problem(format!("no port: write {text}:8000")),
            None => problem("after ']' comes ':' and the port"),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        if number(text).is_some() {
            return problem(format!(
                "a port alone: write 127.0.0.1:{text} for this machine only, \
                 :{text} for all interfaces"
            ));
        }
        return problem(format!("no port: write {text}:8000"));
    };
    if host.contains(':') {
        return problem("an IPv6 address stands in brackets: [::1]:8000");
    }
    let host = match host {
        // As gunicorn has it: all of IPv4.
        "" => Host::V4(Ipv4Addr::UNSPECIFIED),
        "*" => return problem(format!("all interfaces are written :{port}")),
        host => parse_host(host)?,
    };
    Ok(Address::Tcp { host, port: parse_port(port)? })
}

fn v6(text: &str) -> Result<Host, Problem> {
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    let Ok(ip) = ip.parse() else {
        return problem(format!("{} is not an IPv6 address", Quoted(ip)));
    };
    // What the system allows in the name of an interface, and 15 octets of it.
    let is_zone = |zone: &str| {
        (1..16).contains(&zone.len())
            && ![".", ".."].contains(&zone)
            && zone.bytes().all(|b| b.is_ascii_graphic() && !b"/:%[],".contains(&b))
    };
    match zone {
        None => Ok(Host::V6(ip, String::new())),
        Some(zone) if is_zone(zone) => Ok(Host::V6(ip, zone.to_owned())),
        Some(zone) => problem(format!("{} is not the name of an interface", Quoted(zone))),
    }
}

/// An IPv4 address or a name (RFC 1123 section 2.1, and `_`, which people use).
fn parse_host(text: &str) -> Result<Host, Problem> {
    if let Ok(ip) = text.parse() {
        return Ok(Host::V4(ip));
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return problem(format!("{} is not an IPv4 address", Quoted(text)));
    }
    let is_label = |label: &str| {
        (1..64).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if text.len() > 253 || !text.strip_suffix('.').unwrap_or(text).split('.').all(is_label) {
        return problem(format!("{} is not the name of a host", Quoted(text)));
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

fn parse_port(text: &str) -> Result<u16, Problem> {
    match number(text).and_then(|port| u16::try_from(port).ok()) {
        Some(port) => Ok(port),
        None if text.is_empty() => problem("the port is missing after ':'"),
        None => problem(format!("{} is not a port (0 to 65535)", Quoted(text))),
    }
}

/// Digits and nothing else: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Too many digits are still a number, and out of everybody's range.
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
