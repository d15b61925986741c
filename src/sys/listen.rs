//! Listening sockets: bind, the rules of unix socket files, and sockets that were inherited.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::check;
use super::dup::duplicate;
use super::file::can_create_in;
use super::sock::{Peer, local, option, set_flags, set_option};
use super::waker::Waker;
use crate::base::error::{Error, Kind, Result};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An internet address; port 0 lets the system choose.  An IPv6 address takes IPv6 only.
    Tcp(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
    /// A name in the abstract namespace (unix(7)), which has no file.
    Abstract(Vec<u8>),
    /// A stream socket that is already bound.  It is duplicated; the caller keeps its own.
    Fd(RawFd),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
            Address::Fd(fd) => write!(f, "fd:{fd}"),
        }
    }
}

/// What a socket is told before it listens; what is `None` stays as the system has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// TCP_NODELAY of the connections; `None`: on.
    pub nodelay: Option<bool>,
    /// TCP_DEFER_ACCEPT: seconds for which a connection is not shown before it says something.
    pub defer_accept: Option<u32>,
    /// TCP_FASTOPEN: connections that may bring octets with their first packet and wait.
    pub fastopen: Option<u32>,
    /// SO_RCVBUF of the connections, in octets.
    pub rcvbuf: Option<u32>,
    /// SO_SNDBUF of the connections, in octets.
    pub sndbuf: Option<u32>,
}

impl Tuning {
    /// Connections inherit all of it on Linux, which saves a call for each of them.
    fn apply(&self, fd: RawFd) -> Result<(), (&'static str, io::Error)> {
        let nodelay = i32::from(self.nodelay.unwrap_or(true));
        let value = |n: Option<u32>| n.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        for (what, level, name, value) in [
            ("nodelay", libc::IPPROTO_TCP, libc::TCP_NODELAY, Some(nodelay)),
            ("defer_accept", libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, value(self.defer_accept)),
            ("fastopen", libc::IPPROTO_TCP, libc::TCP_FASTOPEN, value(self.fastopen)),
            ("rcvbuf", libc::SOL_SOCKET, libc::SO_RCVBUF, value(self.rcvbuf)),
            ("sndbuf", libc::SOL_SOCKET, libc::SO_SNDBUF, value(self.sndbuf)),
        ] {
            if let Some(value) = value {
                set_option(fd, level, name, value).map_err(|error| (what, error))?;
            }
        }
        Ok(())
    }
}

/// A listening socket as the kernel has it, now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Its port; 0: it is a unix socket.
    pub port: u16,
    /// How many connections may wait for accept; 0: a unix socket, of which the kernel does not tell.
    pub backlog: u32,
    /// How many wait.
    pub waiting: u32,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_DEFER_ACCEPT in seconds: what was asked for, rounded up to a retransmission.
    pub defer_accept: u32,
    /// TCP_FASTOPEN.
    pub fastopen: u32,
    /// SO_RCVBUF: twice what was asked for, as the kernel counts.
    pub rcvbuf: u32,
    /// SO_SNDBUF: the same.
    pub sndbuf: u32,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// Permissions of a unix socket's file.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A socket that listens.  Dropping it closes it, and removes the file of a unix socket if this
/// process made it (a forked child does not) and nobody replaced it since.
#[derive(Debug)]
pub struct Listening {
    /// Before the descriptor, so that it is dropped first: the socket keeps the inode, whose number
    /// could be somebody else's afterwards.
    file: Option<SocketFile>,
    fd: OwnedFd,
    local: String,
    server: Peer,
    /// What [`listen`] was asked for.
    asked: Option<Address>,
    /// Of several sockets at one address, which one.
    seat: Option<u32>,
    /// What is spoken there, as a number of whoever listens.
    spoken: AtomicU32,
    /// Which of the listeners that are configured it is, counted from 1; 0: nobody has said.
    place: AtomicU32,
}

/// The file of a unix socket that we made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    creator: u32,
    removed: AtomicBool,
    /// Somebody else serves there, too.
    kept: AtomicBool,
}

impl Listening {
    /// The socket: non-blocking, close-on-exec.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Where it listens, with the port that the system chose: `127.0.0.1:8000`, `[::1]:8000`,
    /// `unix:/run/app.sock`.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// What SERVER_NAME is when the request does not say: the address; empty for a unix socket.
    pub fn server_name(&self) -> &str {
        if self.is_unix() { "" } else { self.server.address_text() }
    }

    /// SERVER_PORT; empty for a unix socket.
    pub fn server_port(&self) -> &str {
        self.server.port_text()
    }

    /// Both: our end of the connections that are accepted here.
    pub fn server(&self) -> &Peer {
        &self.server
    }

    /// Whether it is a unix socket.
    pub fn is_unix(&self) -> bool {
        self.server.port().is_empty()
    }

    /// What [`listen`] was asked for when it made this.
    pub fn asked(&self) -> Option<&Address> {
        self.asked.as_ref()
    }

    /// Whose it is, of several sockets at one address: the seat's, from 0; `None`: everybody's.
    pub fn seat(&self) -> Option<u32> {
        self.seat
    }

    /// The same, for one seat, made when there was to be a socket at `asked`.
    pub fn in_seat(self, seat: u32, asked: Address) -> Self {
        Listening { seat: Some(seat), asked: Some(asked), ..self }
    }

    /// What is spoken there: a number that means something to whoever listens; 0 at first.
    pub fn spoken(&self) -> u32 {
        self.spoken.load(Ordering::Relaxed)
    }

    /// From now on this is.
    pub fn speak(&self, number: u32) {
        self.spoken.store(number, Ordering::Relaxed);
    }

    /// Which of the listeners that are configured it is, counted from 1; 0 at first.
    pub fn place(&self) -> u32 {
        self.place.load(Ordering::Relaxed)
    }

    /// From now on it is this one.
    pub fn put(&self, place: u32) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// The internet address where it listens.
    pub fn internet(&self) -> Option<SocketAddr> {
        local(self.fd()).ok()?.internet()
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// It is closed.
    pub fn info(&self) -> io::Result<Info> {
        let fd = self.fd();
        let of = |level, name| option(fd, level, name).map(|value| value.max(0) as u32);
        if of(libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
        }
        let mut info = Info {
            rcvbuf: of(libc::SOL_SOCKET, libc::SO_RCVBUF)?,
            sndbuf: of(libc::SOL_SOCKET, libc::SO_SNDBUF)?,
            ..Info::default()
        };
        let name = local(fd)?;
        if let Some(address) = name.internet() {
            let tcp = tcp_info(fd)?;
            info.port = address.port();
            // Of a listener the kernel keeps its queue in these two.
            (info.waiting, info.backlog) = (tcp.tcpi_unacked, tcp.tcpi_sacked);
            info.nodelay = of(libc::IPPROTO_TCP, libc::TCP_NODELAY)? != 0;
            info.defer_accept = of(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT)?;
            info.fastopen = of(libc::IPPROTO_TCP, libc::TCP_FASTOPEN)?;
            info.reuse_port = of(libc::SOL_SOCKET, libc::SO_REUSEPORT)? != 0;
        } else if let Some(path) = name.path()
            && let Ok(is) = std::fs::symlink_metadata(Path::new(std::ffi::OsStr::from_bytes(path)))
        {
            (info.mode, info.uid, info.gid) = (is.mode() & 0o7777, is.uid(), is.gid());
        }
        Ok(info)
    }

    /// The file of a unix socket that goes when this is dropped.
    pub fn owned_path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// Another descriptor of the same socket, for a worker of its own in this process: the socket is
    /// closed when all of them are.  The file of a unix socket stays this one's.
    pub fn duplicate(&self) -> io::Result<Listening> {
        let copy = Listening::new(duplicate(self.fd())?, None)?;
        copy.speak(self.spoken());
        copy.put(self.place());
        Ok(Listening { seat: self.seat, asked: self.asked.clone(), ..copy })
    }

    /// Closes the socket now, whoever else still knows this object: nobody can connect any more once
    /// all who share the socket (processes, [`Listening::duplicate`]) have closed it.  Removes the file of a unix socket as
    /// dropping does.  The descriptor's number stays taken, by something that is never readable.  To
    /// be called when no poller watches it.
    pub fn close(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
        if let Ok(nothing) = Waker::new() {
            // SAFETY: no memory is involved; both descriptors are ours, and this one stays valid.
            unsafe { libc::dup3(nothing.fd(), self.fd(), libc::O_CLOEXEC) };
        }
    }

    /// A socket that this process was started with, what it was `asked` to be, and the file, device
    /// and inode of a unix socket that goes with it, once it is not kept any more.
    pub fn inherited(
        fd: OwnedFd,
        asked: Option<Address>,
        file: Option<(PathBuf, u64, u64)>,
    ) -> io::Result<Self> {
        set_flags(fd.as_raw_fd())?;
        let file = file.map(|(path, device, inode)| SocketFile {
            path,
            device,
            inode,
            creator: std::process::id(),
            removed: AtomicBool::new(false),
            kept: AtomicBool::new(true),
        });
        Ok(Listening { asked, ..Listening::new(fd, file)? })
    }

    /// The file, device and inode of a unix socket that goes with this.
    pub fn file(&self) -> Option<(&Path, u64, u64)> {
        self.file.as_ref().map(|file| (file.path.as_path(), file.device, file.inode))
    }

    /// Gives the file of a unix socket another name, where the file of a socket on which nobody
    /// listens is replaced.
    ///
    /// # Errors
    /// Somebody listens there, or something else is there; then it has the name that it had.
    pub fn rename(&mut self, to: &Path) -> Result<()> {
        let action = format!("bind unix:{}", to.display());
        let os = |error: io::Error| Error::os(&action, &error);
        let Some(file) = &mut self.file else { return Ok(()) };
        let (name, len) = unix_name(to)
            .map_err(|reason| Error::new(Kind::Invalid, format!("{action}: {reason}")))?;
        let to = std::path::absolute(to).map_err(os)?;
        is_stale(&to, &name, len).and_then(|_| std::fs::rename(&file.path, &to)).map_err(os)?;
        file.path = to;
        Ok(())
    }

    /// Whether the file of a unix socket is to stay when this is closed, since another process
    /// serves there.
    pub fn keep_file(&self, keep: bool) {
        if let Some(file) = &self.file {
            file.kept.store(keep, Ordering::Relaxed);
        }
    }

    fn new(fd: OwnedFd, file: Option<SocketFile>) -> io::Result<Self> {
        let name = local(fd.as_raw_fd())?;
        let local = match name.internet() {
            Some(address) => address.to_string(),
            None => match name.abstract_name() {
                Some(name) => Address::Abstract(name.to_vec()).to_string(),
                None => {
                    let path = name.path().unwrap_or_default();
                    Address::Unix(Path::new(std::ffi::OsStr::from_bytes(path)).into()).to_string()
                }
            },
        };
        Ok(Listening {
            fd,
            local,
            server: Peer::from_name(&name),
            file,
            asked: None,
            seat: None,
            spoken: AtomicU32::new(0),
            place: AtomicU32::new(0),
        })
    }
}

impl SocketFile {
    /// Removes the file, once, if it is still the one that this process made.
    fn remove(&self) {
        let same = std::process::id() == self.creator
            && !self.kept.load(Ordering::Relaxed)
            && !self.removed.swap(true, Ordering::Relaxed)
            && std::fs::symlink_metadata(&self.path)
                .is_ok_and(|is| is.dev() == self.device && is.ino() == self.inode);
        if same {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Listens at `address` with room for `backlog` connections that wait for `accept`.
///
/// `reuse_port` (internet addresses) allows several sockets at one address; `unix_mode` are the
/// permissions of a unix socket's file, where the umask decides without.  The file of a unix socket
/// on which nobody listens any more is replaced.
///
/// # Errors
/// Name the address and the reason; nothing is left behind.
pub fn listen(
    address: &Address,
    backlog: i32,
    reuse_port: bool,
    unix_mode: Option<u32>,
) -> Result<Listening> {
    let how = How { backlog, reuse_port, unix_mode, ..How::default() };
    listen_as(address, &how)
}

/// How to listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// As [`listen`] has them.
    pub backlog: i32,
    /// As [`listen`] has it.
    pub reuse_port: bool,
    /// As [`listen`] has it.
    pub unix_mode: Option<u32>,
    /// The umask takes from that, too.
    pub masked: bool,
    /// User and group of a unix socket's file.
    pub owner: (Option<u32>, Option<u32>),
    /// What an internet socket is told.
    pub socket: Tuning,
    /// The backlog is to be so also for an inherited socket that listens already.
    pub resize: bool,
}

/// As [`listen`], with everything that can be said.
///
/// # Errors
/// As [`listen`].
pub fn listen_as(address: &Address, how: &How) -> Result<Listening> {
    let listening = match address {
        Address::Tcp(to) => listen_tcp(to, how),
        Address::Unix(path) => listen_unix(path, how),
        Address::Abstract(name) => listen_abstract(name, how.backlog),
        Address::Fd(fd) => listen_inherited(*fd, how),
    };
    listening.map(|listening| Listening { asked: Some(address.clone()), ..listening })
}

/// Whether [`listen`] could listen there; nobody can connect meanwhile, nothing is left behind, and
/// nothing is replaced.
///
/// # Errors
/// Those of [`listen`].
pub fn probe(address: &Address, reuse_port: bool) -> Result<()> {
    match address {
        Address::Tcp(to) => bind_tcp(to, reuse_port)
            .map(drop)
            .map_err(|error| Error::os(format_args!("bind {address}"), &error)),
        Address::Unix(path) => probe_unix(path),
        Address::Abstract(name) => bind_abstract(name).map(drop),
        Address::Fd(fd) => inspect(*fd, &format!("listen on inherited descriptor {fd}")).map(drop),
    }
}

fn listen_tcp(address: &SocketAddr, how: &How) -> Result<Listening> {
    let action = format!("bind {address}");
    let fd = bind_tcp(address, how.reuse_port).map_err(|error| Error::os(&action, &error))?;
    let told = how.socket.apply(fd.as_raw_fd());
    told.map_err(|(what, error)| Error::os(format_args!("{action}: {what}"), &error))?;
    let listening =
        start_listening(fd.as_raw_fd(), how.backlog).and_then(|()| Listening::new(fd, None));
    listening.map_err(|error| Error::os(&action, &error))
}

fn bind_tcp(address: &SocketAddr, reuse_port: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = stream_socket(family)?;
    let raw = fd.as_raw_fd();
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    set_option(raw, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if reuse_port {
        set_option(raw, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if address.is_ipv6() {
        // Whatever net.ipv6.bindv6only says, so that the same configuration means the same on every
        // machine: `[::]:80` beside `0.0.0.0:80`.
        set_option(raw, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            bind(raw, &name, size_of_val(&name))?;
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            bind(raw, &name, size_of_val(&name))?;
        }
    }
    Ok(fd)
}

fn listen_unix(path: &Path, how: &How) -> Result<Listening> {
    let action = format!("bind unix:{}", path.display());
    let (name, len) = unix_name(path)
        .map_err(|reason| Error::new(Kind::Invalid, format!("{action}: {reason}")))?;
    let os = |error: &io::Error| Error::os(&action, error);
    let fd = stream_socket(libc::AF_UNIX).map_err(|error| os(&error))?;
    if let Err(error) = bind(fd.as_raw_fd(), &name, len) {
        if error.raw_os_error() != Some(libc::EADDRINUSE) {
            return Err(os(&error));
        }
        remove_stale(path, &name, len).map_err(|error| os(&error))?;
        bind(fd.as_raw_fd(), &name, len).map_err(|error| os(&error))?;
    }
    // From here on the file is ours, and `file` removes it on every way out.
    let is = std::fs::symlink_metadata(path).map_err(|error| os(&error))?;
    let file = SocketFile {
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        device: is.dev(),
        inode: is.ino(),
        creator: std::process::id(),
        removed: AtomicBool::new(false),
        kept: AtomicBool::new(false),
    };
    // Nobody can connect before listen(2), so there is no moment with other permissions.
    if how.owner != (None, None) {
        let (user, group) = how.owner;
        std::os::unix::fs::lchown(path, user, group)
            .map_err(|error| Error::os(format_args!("{action}: owner"), &error))?;
    }
    if let Some(mode) = how.unix_mode {
        // It was made with what the umask leaves.
        let mode = if how.masked { mode & is.mode() } else { mode };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(|error| os(&error))?;
    }
    start_listening(fd.as_raw_fd(), how.backlog).map_err(|error| os(&error))?;
    Listening::new(fd, Some(file)).map_err(|error| os(&error))
}

fn listen_abstract(name: &[u8], backlog: i32) -> Result<Listening> {
    let fd = bind_abstract(name)?;
    let listening =
        start_listening(fd.as_raw_fd(), backlog).and_then(|()| Listening::new(fd, None));
    listening.map_err(|error| {
        Error::os(format_args!("bind {}", Address::Abstract(name.to_vec())), &error)
    })
}

fn bind_abstract(octets: &[u8]) -> Result<OwnedFd> {
    let action = format!("bind {}", Address::Abstract(octets.to_vec()));
    // SAFETY: a sockaddr_un is plain numbers, for which zero is a value.
    let mut name: libc::sockaddr_un = unsafe { MaybeUninit::zeroed().assume_init() };
    name.sun_family = libc::AF_UNIX as libc::sa_family_t;
    if octets.is_empty() || octets.len() >= name.sun_path.len() {
        let most = name.sun_path.len() - 1;
        let text = format!("{action}: the name has {} octets, of 1 to {most}", octets.len());
        return Err(Error::new(Kind::Invalid, text));
    }
    // A NUL, and all octets of the name, of which none ends it.
    for (to, from) in name.sun_path[1..].iter_mut().zip(octets) {
        *to = *from as libc::c_char;
    }
    let len = std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + octets.len();
    let bound =
        stream_socket(libc::AF_UNIX).and_then(|fd| bind(fd.as_raw_fd(), &name, len).map(|()| fd));
    bound.map_err(|error| Error::os(&action, &error))
}

fn probe_unix(path: &Path) -> Result<()> {
    let action = format!("bind unix:{}", path.display());
    let (name, len) = unix_name(path)
        .map_err(|reason| Error::new(Kind::Invalid, format!("{action}: {reason}")))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    is_stale(path, &name, len)
        .and_then(|_| can_create_in(parent.unwrap_or(Path::new("."))))
        .map_err(|error| Error::os(&action, &error))
}

/// The family of an inherited socket, and whether it listens already.
fn inspect(fd: RawFd, action: &str) -> Result<(libc::c_int, bool)> {
    let os = |error: io::Error| Error::os(action, &error);
    let wrong = |reason: &str| Error::new(Kind::Invalid, format!("{action}: {reason}"));
    let kind = match option(fd, libc::SOL_SOCKET, libc::SO_TYPE) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
            return Err(wrong("not a socket"));
        }
        kind => kind.map_err(os)?,
    };
    if kind != libc::SOCK_STREAM {
        return Err(wrong("not a stream socket"));
    }
    let family = local(fd).map_err(os)?.family();
    if ![libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].contains(&family) {
        return Err(wrong("neither an internet nor a unix socket"));
    }
    let listens = option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN).map_err(os)? != 0;
    if !listens && super::sock::peer_name(fd).is_ok() {
        return Err(wrong("a connection, not a listener"));
    }
    let name = local(fd).map_err(os)?;
    let is_bound = name.path().is_some() || name.abstract_name().is_some();
    if !listens && family == libc::AF_UNIX && !is_bound {
        return Err(wrong("not bound to an address"));
    }
    Ok((family, listens))
}

fn listen_inherited(fd: RawFd, how: &How) -> Result<Listening> {
    let action = format!("listen on inherited descriptor {fd}");
    let os = |error: io::Error| Error::os(&action, &error);
    let (family, listens) = inspect(fd, &action)?;
    let copy = duplicate(fd).map_err(os)?;
    let raw = copy.as_raw_fd();
    if !listens || how.resize {
        start_listening(raw, how.backlog).map_err(os)?;
    }
    set_flags(raw).map_err(os)?;
    if family != libc::AF_UNIX {
        let told = how.socket.apply(raw);
        told.map_err(|(what, error)| Error::os(format_args!("{action}: {what}"), &error))?;
    }
    Listening::new(copy, None).map_err(os)
}

fn stream_socket(family: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the descriptor is new, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `name` is a socket address struct, of which `len` octets count.
fn bind<T>(fd: RawFd, name: &T, len: usize) -> io::Result<()> {
    debug_assert!(len <= size_of::<T>());
    // SAFETY: the kernel reads `len` octets of `name`, and it has as many.
    check(unsafe { libc::bind(fd, (&raw const *name).cast(), len as libc::socklen_t) })?;
    Ok(())
}

fn tcp_info(fd: RawFd) -> io::Result<libc::tcp_info> {
    // SAFETY: a tcp_info is plain numbers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let at = (&raw mut info).cast();
    // SAFETY: `info` has the `len` octets that may be written.
    check(unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, at, &mut len) })?;
    Ok(info)
}

fn start_listening(fd: RawFd, backlog: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::listen(fd, backlog) })?;
    Ok(())
}

/// The socket address of a path, and how many octets of it count.
fn unix_name(path: &Path) -> Result<(libc::sockaddr_un, usize), String> {
    let octets = path.as_os_str().as_bytes();
    // SAFETY: a sockaddr_un is plain numbers, for which zero is a value.
    let mut name: libc::sockaddr_un = unsafe { MaybeUninit::zeroed().assume_init() };
    name.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // One less than there is room for: the NUL that others rely on.
    let max = name.sun_path.len() - 1;
    if octets.is_empty() || octets.contains(&0) {
        return Err("not a path".to_owned());
    }
    if octets.len() > max {
        return Err(format!("the path has {} octets, and {max} are possible", octets.len()));
    }
    for (to, from) in name.sun_path.iter_mut().zip(octets) {
        *to = *from as libc::c_char;
    }
    Ok((name, std::mem::offset_of!(libc::sockaddr_un, sun_path) + octets.len() + 1))
}

/// Removes the file of a unix socket on which nobody listens; an error says that it is in use.
fn remove_stale(path: &Path, name: &libc::sockaddr_un, len: usize) -> io::Result<()> {
    if is_stale(path, name, len)? { std::fs::remove_file(path) } else { Ok(()) }
}

/// Whether there is the file of a unix socket on which nobody listens.  An error says that something
/// else is there, or that it is in use.
fn is_stale(path: &Path, name: &libc::sockaddr_un, len: usize) -> io::Result<bool> {
    let other = |text: &str| io::Error::new(io::ErrorKind::AlreadyExists, text.to_owned());
    match std::fs::symlink_metadata(path) {
        Ok(is) if is.file_type().is_socket() => {}
        Ok(_) => return Err(other("exists and is not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let probe = stream_socket(libc::AF_UNIX)?;
    // SAFETY: the kernel reads `len` octets of `name`, and it has as many (`unix_name`).
    let connected = check(unsafe {
        libc::connect(probe.as_raw_fd(), (&raw const *name).cast(), len as libc::socklen_t)
    });
    match connected {
        Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => Ok(true),
        // Accepted, or its backlog is full, or it is a socket of another type: somebody is there.
        _ => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}

#[cfg(test)]
mod tests;
