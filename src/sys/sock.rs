//! Connected sockets: accept, adopt, read, shut down, and who is at the other end.
//!
//! Everything here takes descriptors of non-blocking sockets and returns `WouldBlock` as it comes;
//! interruption by a signal is never seen.

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::{check, check_size, retry};

/// The longest text of an IPv6 address: `::ffff:` forms of IPv4 included.
const ADDRESS_MAX: usize = 46;

/// An end of a connection, as the text that REMOTE_ADDR and REMOTE_PORT, or SERVER_NAME and
/// SERVER_PORT, want.  Made without allocating.
#[derive(Clone, Copy)]
pub struct Peer {
    address: [u8; ADDRESS_MAX],
    address_len: u8,
    port: [u8; 5],
    port_len: u8,
}

impl Peer {
    /// The end of a unix socket: it has no address and no port.
    pub fn unix() -> Self {
        let mut peer = Peer::empty();
        peer.address[..5].copy_from_slice(b"unix:");
        peer.address_len = 5;
        peer
    }

    /// The end at an IPv4 address.
    pub fn v4(address: Ipv4Addr, port: u16) -> Self {
        let mut peer = Peer::empty();
        let mut at = 0;
        for (i, octet) in address.octets().into_iter().enumerate() {
            if i > 0 {
                peer.address[at] = b'.';
                at += 1;
            }
            at += decimal(&mut peer.address[at..], u16::from(octet));
        }
        peer.address_len = at as u8;
        peer.port_len = decimal(&mut peer.port, port) as u8;
        peer
    }

    /// The end at an IPv6 address, in the canonical form of RFC 5952.
    pub fn v6(address: Ipv6Addr, port: u16) -> Self {
        let mut peer = Peer::empty();
        let mut rest = &mut peer.address[..];
        // It fits: 39 octets, or 22 with an IPv4 tail.
        let _ = write!(rest, "{address}");
        peer.address_len = (ADDRESS_MAX - rest.len()) as u8;
        peer.port_len = decimal(&mut peer.port, port) as u8;
        peer
    }

    /// The address: `192.0.2.1`, `2001:db8::1`, or `unix:`.
    #[inline]
    pub fn address(&self) -> &[u8] {
        &self.address[..usize::from(self.address_len)]
    }

    /// The port in decimal; empty for a unix socket.
    #[inline]
    pub fn port(&self) -> &[u8] {
        &self.port[..usize::from(self.port_len)]
    }

    /// The end at an internet address.
    pub fn internet(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Peer::v4(*v4.ip(), v4.port()),
            SocketAddr::V6(v6) => Peer::v6(*v6.ip(), v6.port()),
        }
    }

    /// An internet address of which nobody knows the port.
    pub fn without_port(ip: IpAddr) -> Self {
        Peer { port_len: 0, ..Peer::internet(SocketAddr::new(ip, 0)) }
    }

    /// The address as a number; `None`: a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address_text().parse().ok()
    }

    /// The address as words, little-endian, with zeros behind it; the first two, and the others.
    #[inline]
    pub fn address_words(&self) -> ([u64; 2], impl Iterator<Item = u64> + '_) {
        let word = |n: usize| match self.address.as_chunks::<8>() {
            (words, _) if n < words.len() => u64::from_le_bytes(words[n]),
            (_, rest) => rest.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet)),
        };
        ([word(0), word(1)], (2..ADDRESS_MAX.div_ceil(8)).map(word))
    }

    /// The port as a word.
    #[inline]
    pub fn port_word(&self) -> u64 {
        let [a, b, c, d, e] = self.port;
        u64::from(u32::from_le_bytes([a, b, c, d])) | u64::from(e) << 32
    }

    pub(super) fn address_text(&self) -> &str {
        std::str::from_utf8(self.address()).unwrap_or("")
    }

    pub(super) fn port_text(&self) -> &str {
        std::str::from_utf8(self.port()).unwrap_or("")
    }

    fn empty() -> Self {
        Peer { address: [0; ADDRESS_MAX], address_len: 0, port: [0; 5], port_len: 0 }
    }

    pub(super) fn from_name(name: &Name) -> Self {
        name.internet().map_or_else(Peer::unix, Peer::internet)
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.address().escape_ascii(), self.port().escape_ascii())
    }
}

/// Writes `value` in decimal, which has at most five digits; says how many.
#[inline]
fn decimal(out: &mut [u8], value: u16) -> usize {
    let mut len = 0;
    for power in [10_000, 1_000, 100, 10] {
        if value >= power {
            out[len] = b'0' + (value / power % 10) as u8;
            len += 1;
        }
    }
    out[len] = b'0' + (value % 10) as u8;
    len + 1
}

/// A socket address as the kernel writes it.
pub(super) struct Name {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Name {
    pub(super) fn new() -> Self {
        // SAFETY: a sockaddr_storage is plain numbers, for which zero is a value.
        let storage = unsafe { MaybeUninit::zeroed().assume_init() };
        Name { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// The pointers that accept4, getsockname and their kin want.
    pub(super) fn out(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        ((&raw mut self.storage).cast(), &raw mut self.len)
    }

    pub(super) fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }

    /// The internet address in it, if it is one.
    pub(super) fn internet(&self) -> Option<SocketAddr> {
        match self.family() {
            libc::AF_INET if self.len as usize >= size_of::<libc::sockaddr_in>() => {
                // SAFETY: the family says that the storage, which is large enough and aligned for
                // every address, holds a sockaddr_in.
                let v4 = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 if self.len as usize >= size_of::<libc::sockaddr_in6>() => {
                // SAFETY: as above, for a sockaddr_in6.
                let v6 = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(v6.sin6_port)))
            }
            _ => None,
        }
    }

    /// The path in it, if it is the address of a unix socket that has one.
    pub(super) fn path(&self) -> Option<&[u8]> {
        let path = self.unix()?;
        let end = path.iter().position(|octet| *octet == 0).unwrap_or(path.len());
        (end > 0).then(|| &path[..end])
    }

    /// The name in it, if it is the address of a unix socket in the abstract namespace.
    pub(super) fn abstract_name(&self) -> Option<&[u8]> {
        self.unix()?.strip_prefix(b"\0").filter(|name| !name.is_empty())
    }

    /// The octets of a unix socket's address.
    fn unix(&self) -> Option<&[u8]> {
        let offset = std::mem::offset_of!(libc::sockaddr_un, sun_path);
        let len = (self.len as usize).min(size_of::<libc::sockaddr_un>());
        if self.family() != libc::AF_UNIX || len <= offset {
            return None;
        }
        // SAFETY: the storage is larger than a sockaddr_un and all of it is initialised.
        Some(unsafe {
            let first = (&raw const self.storage).cast::<u8>().add(offset);
            std::slice::from_raw_parts(first, len - offset)
        })
    }
}

/// Takes one connection from a listener; the new socket is non-blocking and close-on-exec.  Says who
/// is at its other end, and with which address, if it has one.
#[inline]
pub fn accept(listener: RawFd) -> io::Result<(OwnedFd, Peer, Option<IpAddr>)> {
    let mut name = Name::new();
    let fd = retry(|| {
        let (address, len) = name.out();
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: `address` points to `len` octets that may be written.
        check(unsafe { libc::accept4(listener, address, len, flags) })
    })?;
    let from = name.internet();
    let peer = from.map_or_else(Peer::unix, Peer::internet);
    // SAFETY: the descriptor is new, and nobody else has it.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, peer, from.map(|it| it.ip())))
}

/// What a failure of [`accept`] means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFailure {
    /// Nobody waits: come back when the listener is readable.
    Empty,
    /// This connection was lost before it was accepted (accept(2) reports its network errors, too):
    /// try the next.
    Lost,
    /// The system has no descriptor or no memory for another: the listener stays readable, so it
    /// should rest for a while.
    Exhausted,
    /// The listener itself is of no use.
    Broken,
}

/// What this error of [`accept`] means.
pub fn accept_failure(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => AcceptFailure::Empty,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            AcceptFailure::Exhausted
        }
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) => {
            AcceptFailure::Broken
        }
        _ => AcceptFailure::Lost,
    }
}

/// Makes a connected stream socket that came from elsewhere fit for the loop: non-blocking and
/// close-on-exec.  Says who is at its other end.  The descriptor changes hands when this succeeds.
pub fn adopt(fd: RawFd) -> io::Result<(OwnedFd, Peer)> {
    if option(fd, libc::SOL_SOCKET, libc::SO_TYPE)? != libc::SOCK_STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
    }
    let peer = peer_name(fd)?;
    set_flags(fd)?;
    if !peer.port().is_empty() {
        // As for our own listeners; who cannot have it does without.
        let _ = set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    }
    // SAFETY: it is an open socket, as the calls above have shown, and the caller gives it away.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, peer))
}

/// Who is at the other end of a connection.
pub fn peer_name(fd: RawFd) -> io::Result<Peer> {
    let mut name = Name::new();
    let (address, len) = name.out();
    // SAFETY: `address` points to `len` octets that may be written.
    check(unsafe { libc::getpeername(fd, address, len) })?;
    Ok(Peer::from_name(&name))
}

/// This end of a connection: for a listener on every address, the one that was called.
pub fn local_name(fd: RawFd) -> io::Result<Peer> {
    Ok(Peer::from_name(&local(fd)?))
}

pub(super) fn local(fd: RawFd) -> io::Result<Name> {
    let mut name = Name::new();
    let (address, len) = name.out();
    // SAFETY: `address` points to `len` octets that may be written.
    check(unsafe { libc::getsockname(fd, address, len) })?;
    Ok(name)
}

/// Non-blocking and close-on-exec.
pub(super) fn set_flags(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        if flags & libc::O_NONBLOCK == 0 {
            check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
        }
        let flags = check(libc::fcntl(fd, libc::F_GETFD))?;
        if flags & libc::FD_CLOEXEC == 0 {
            check(libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC))?;
        }
    }
    Ok(())
}

/// The value of a socket option that is an int.
pub(super) fn option(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` has the `len` octets that may be written.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut len) })?;
    Ok(value)
}

/// Sets a socket option that is an int.
pub(super) fn set_option(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` has the `len` octets that are read.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) })?;
    Ok(())
}

/// Reads what has arrived: 0 is the end of what the peer sends.
#[inline]
pub fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: the pointer and the length are those of `buffer`.
        check_size(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
    })
}

/// Reads up to `max` octets to the end of `buffer`, which grows only if it lacks room for them.
#[inline]
pub fn recv_spare(fd: RawFd, buffer: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    buffer.reserve(max);
    let spare = &mut buffer.spare_capacity_mut()[..max];
    let n = retry(|| {
        // SAFETY: the pointer and the length are those of `spare`, which the kernel only writes.
        check_size(unsafe { libc::recv(fd, spare.as_mut_ptr().cast(), spare.len(), 0) })
    })?;
    // SAFETY: `n` octets after the old length have been written, and there was room for them.
    unsafe { buffer.set_len(buffer.len() + n) };
    Ok(n)
}

/// Whether the peer has left: it closed or reset, and there is nothing from it to read.
pub fn peer_gone(fd: RawFd) -> bool {
    let mut octet = 0u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: one octet may be written to `octet`.
    match retry(|| check_size(unsafe { libc::recv(fd, (&raw mut octet).cast(), 1, flags) })) {
        Ok(n) => n == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Whether the connection has ended in both directions, whatever there is to read.
pub fn is_cut(fd: RawFd) -> bool {
    let mut polled = libc::pollfd { fd, events: 0, revents: 0 };
    // SAFETY: one structure, for the length of the call, which does not wait.
    let found = retry(|| check(unsafe { libc::poll(&raw mut polled, 1, 0) }));
    found.is_ok() && polled.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// Whether the peer, a socket of this process, has not read all that was sent to it.
pub fn has_unread(fd: RawFd) -> bool {
    let mut octets: libc::c_int = 0;
    // SAFETY: one integer is written to `octets`.
    let found = check(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut octets) });
    found.is_ok() && octets > 0
}

/// Two connected sockets (unix, stream), which do not block.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?)
}

/// The user at the other end of a unix socket, when it connected (`SO_PEERCRED`, unix(7)).
pub fn peer_user(fd: RawFd) -> io::Result<u32> {
    let mut who = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let at = (&raw mut who).cast();
    // SAFETY: `who` has the `len` octets that may be written.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, at, &mut len) })?;
    Ok(who.uid)
}

/// Tells the peer that nothing more will come; what it sends can still be read.
pub fn shutdown_write(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) })?;
    Ok(())
}

/// Ends the connection in both directions; the descriptor stays.
pub fn shutdown(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::shutdown(fd, libc::SHUT_RDWR) })?;
    Ok(())
}

/// Resets the connection (RST on TCP, an end on others) while the descriptor stays, for whoever else
/// uses it.  Not every system can.
pub fn cut(fd: RawFd) -> io::Result<()> {
    // SAFETY: a sockaddr is valid when zero.
    let mut name: libc::sockaddr = unsafe { std::mem::zeroed() };
    name.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    let len = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: `name` has the `len` octets that are read.
    match check(unsafe { libc::connect(fd, &raw const name, len) }) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => shutdown(fd),
        cut => cut.map(drop),
    }
}

/// Lets the next close reset the connection (RST on TCP) instead of ending it: a peer that has not
/// got all of an answer can tell.
pub fn set_linger_reset(fd: RawFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: `linger` has the `len` octets that are read.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const linger).cast(), len) })?;
    Ok(())
}

/// Blocks until there is something to read (an end or an error counts), `timeout_ms` at most; -1
/// for ever.  `false`: time is up.
pub fn wait_readable(fd: RawFd, timeout_ms: i64) -> io::Result<bool> {
    wait(fd, libc::POLLIN, timeout_ms)
}

/// Blocks until there is room to write (an error counts), `timeout_ms` at most; -1 for ever.
/// `false`: time is up.
pub fn wait_writable(fd: RawFd, timeout_ms: i64) -> io::Result<bool> {
    wait(fd, libc::POLLOUT, timeout_ms)
}

fn wait(fd: RawFd, events: libc::c_short, timeout_ms: i64) -> io::Result<bool> {
    let deadline = u64::try_from(timeout_ms)
        .ok()
        .and_then(|after| Instant::now().checked_add(Duration::from_millis(after)));
    retry(|| {
        let timeout = match deadline {
            None => -1,
            // Rounded up, so that the last millisecond is slept and not spun through.
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as libc::c_int
            }
        };
        let mut poll = libc::pollfd { fd, events, revents: 0 };
        // SAFETY: one pollfd, to be read and written.
        let n = check(unsafe { libc::poll(&mut poll, 1, timeout) })?;
        if poll.revents & libc::POLLNVAL != 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(n > 0)
    })
}

#[cfg(test)]
mod tests;
