use super::*;
use crate::sys::sock::accept;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

/// A directory of its own for each test, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let name = format!("gateway-listen-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    fn address(&self) -> Address {
        Address::Unix(self.path())
    }
    fn path(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tcp(text: &str) -> Address {
    Address::Tcp(text.parse().unwrap())
}

#[test]
fn tcp_listens_and_knows_its_port() {
    let listening = listen(&tcp("127.0.0.1:0"), 16, false, None).unwrap();
    let address: SocketAddr = listening.local().parse().unwrap();
    assert_ne!(address.port(), 0);
    assert_eq!(listening.server_name(), "127.0.0.1");
    assert_eq!(listening.server_port(), address.port().to_string());
    assert!(!listening.is_unix());
    let would_block = accept(listening.fd()).unwrap_err();
    assert_eq!(would_block.kind(), io::ErrorKind::WouldBlock);
    let _client = TcpStream::connect(address).unwrap();
    let (fd, _, _) = accept(listening.fd()).unwrap();
    assert_ne!(option(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY).unwrap(), 0);
}

#[test]
fn closed_it_takes_nobody() {
    let listening = listen(&tcp("127.0.0.1:0"), 16, false, None).unwrap();
    let fd = listening.fd();
    listening.close();
    listening.close();
    // A child that another test starts has a copy until its exec.
    let refused = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        TcpStream::connect(listening.local()).is_err()
    });
    assert!(refused);
    assert!(accept(fd).is_err());
    assert_eq!(listening.fd(), fd);
    let dir = Dir::new("close");
    let listening = listen(&dir.address(), 16, false, None).unwrap();
    listening.close();
    assert!(!dir.path().exists());
    let _other = UnixListener::bind(dir.path()).unwrap();
    drop(listening);
    assert!(dir.path().exists(), "the next one's file");
}

#[test]
fn an_address_in_use_is_named() {
    let first = listen(&tcp("127.0.0.1:0"), 16, false, None).unwrap();
    let error = listen(&tcp(first.local()), 16, false, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert_eq!(error.os_errno(), libc::EADDRINUSE);
    let expected = format!("bind {}: ", first.local());
    assert!(error.message().starts_with(&expected), "{error}");
}

#[test]
fn a_probe_says_what_listening_would_and_leaves_nothing() {
    let dir = Dir::new("probe");
    let both = |address: &Address, reuse_port| {
        let probed = probe(address, reuse_port).map_err(|e| e.to_string());
        let listened = listen(address, 16, reuse_port, None).map_err(|e| e.to_string());
        assert_eq!(probed.clone().err(), listened.err(), "{address}");
        probed.is_ok()
    };
    assert!(both(&tcp("127.0.0.1:0"), false));
    let alone = listen(&tcp("127.0.0.1:0"), 16, false, None).unwrap();
    assert!(!both(&tcp(alone.local()), true));
    let shared = listen(&tcp("127.0.0.1:0"), 16, true, None).unwrap();
    assert!(!both(&tcp(shared.local()), false));
    assert!(both(&tcp(shared.local()), true));
    assert!(both(&Address::Fd(shared.fd()), false));
    assert!(!both(&Address::Fd(-1), false));
    assert!(!both(&tcp("192.0.2.1:80"), false));

    probe(&dir.address(), false).unwrap();
    assert!(!dir.path().exists());
    let live = listen(&dir.address(), 16, false, None).unwrap();
    assert!(!both(&dir.address(), false));
    drop(live);
    // A stale one is not touched.
    drop(UnixListener::bind(dir.path()).unwrap());
    probe(&dir.address(), false).unwrap();
    assert!(dir.path().exists());
    assert!(both(&dir.address(), false));
    std::fs::write(dir.path(), "text").unwrap();
    assert!(!both(&dir.address(), false));
    assert!(!both(&Address::Unix("/nonexistent/s".into()), false));
    assert!(!both(&Address::Unix("/".repeat(200).into()), false));
}

#[test]
fn a_socket_is_told_what_was_said_and_tells_it() {
    let socket = Tuning {
        nodelay: Some(false),
        defer_accept: Some(3),
        fastopen: Some(17),
        rcvbuf: Some(20_000),
        sndbuf: Some(30_000),
    };
    let how = How { backlog: 33, reuse_port: true, socket, ..How::default() };
    let listening = listen_as(&tcp("127.0.0.1:0"), &how).unwrap();
    let info = listening.info().unwrap();
    assert_eq!(format!("127.0.0.1:{}", info.port), listening.local());
    assert_eq!((info.backlog, info.waiting), (33, 0));
    assert_eq!((info.nodelay, info.fastopen, info.reuse_port), (false, 17, true));
    // Rounded up to a retransmission, and doubled.
    assert!((3..=7).contains(&info.defer_accept), "{info:?}");
    assert_eq!((info.rcvbuf, info.sndbuf), (40_000, 60_000));

    let plain = listen(&tcp("127.0.0.1:0"), 9, false, None).unwrap();
    let _waits = TcpStream::connect(plain.local()).unwrap();
    let info = plain.info().unwrap();
    assert_eq!((info.backlog, info.waiting, info.nodelay), (9, 1, true));
    // An inherited one is told, too.
    let how = How { backlog: 5, resize: true, socket, ..How::default() };
    let info = listen_as(&Address::Fd(plain.fd()), &how).unwrap().info().unwrap();
    assert_eq!((info.backlog, info.fastopen, info.sndbuf), (5, 17, 60_000));
    plain.close();
    assert!(plain.info().is_err());
}

#[test]
fn the_file_of_a_socket_is_given_away() {
    let dir = Dir::new("owner");
    let is = std::fs::metadata(&dir.0).unwrap();
    let how = How {
        backlog: 4,
        unix_mode: Some(0o640),
        owner: (Some(is.uid()), Some(is.gid())),
        ..How::default()
    };
    let info = listen_as(&dir.address(), &how).unwrap().info().unwrap();
    assert_eq!((info.mode, info.uid, info.gid), (0o640, is.uid(), is.gid()));
    // To somebody else only root may give it; and then it is removed again.
    let how = How { owner: (Some(54_321), None), ..how };
    match listen_as(&dir.address(), &how) {
        Ok(listening) => assert_eq!(listening.info().unwrap().uid, 54_321),
        Err(error) => {
            assert!(error.message().contains(": owner"), "{error}");
            assert!(!dir.path().exists());
        }
    }
}

#[test]
fn reuse_port_lets_two_listen() {
    let first = listen(&tcp("127.0.0.1:0"), 16, true, None).unwrap();
    listen(&tcp(first.local()), 16, true, None).unwrap();
}

#[test]
fn ipv6_is_ipv6_only() {
    let Ok(listening) = listen(&tcp("[::1]:0"), 16, false, None) else {
        return; // a machine without IPv6
    };
    assert_eq!(listening.server_name(), "::1");
    let only = option(listening.fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).unwrap();
    assert_eq!(only, 1);
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_its_owner() {
    let dir = Dir::new("mode");
    let listening = listen(&dir.address(), 16, false, Some(0o660)).unwrap();
    let is = std::fs::symlink_metadata(dir.path()).unwrap();
    assert_eq!(is.mode() & 0o777, 0o660);
    assert_eq!(listening.local(), format!("unix:{}", dir.path().display()));
    assert!(listening.is_unix());
    assert_eq!(listening.owned_path(), Some(&*dir.path()));
    let _client = UnixStream::connect(dir.path()).unwrap();
    accept(listening.fd()).unwrap();
    drop(listening);
    assert!(!dir.path().exists());
}

#[test]
fn a_socket_that_is_handed_over_keeps_its_file_until_it_is_owned() {
    let dir = Dir::new("handed");
    let first = listen(&dir.address(), 16, false, None).unwrap();
    let file = first.file().map(|(path, device, inode)| (path.to_owned(), device, inode));
    let fd = duplicate(first.fd()).unwrap();
    let second = Listening::inherited(fd, Some(dir.address()), file).unwrap();
    first.keep_file(true);
    first.close();
    drop(first);
    UnixStream::connect(dir.path()).unwrap();
    second.close();
    assert!(dir.path().exists(), "the other one's");
    second.keep_file(false);
    drop(second);
    assert!(!dir.path().exists());
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let dir = Dir::new("stale");
    drop(UnixListener::bind(dir.path()).unwrap());
    let live = listen(&dir.address(), 16, false, None).unwrap();
    let error = listen(&dir.address(), 16, false, None).unwrap_err();
    assert_eq!(error.os_errno(), libc::EADDRINUSE);
    assert!(dir.path().exists());
    drop(live);
    let datagram = UnixDatagram::bind(dir.path()).unwrap();
    let error = listen(&dir.address(), 16, false, None).unwrap_err();
    assert_eq!(error.os_errno(), libc::EADDRINUSE);
    drop(datagram);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = Dir::new("file");
    std::fs::write(dir.path(), "precious").unwrap();
    let error = listen(&dir.address(), 16, false, None).unwrap_err();
    assert!(error.message().ends_with("exists and is not a socket"), "{error}");
    assert_eq!(std::fs::read(dir.path()).unwrap(), b"precious");
}

#[test]
fn a_socket_file_that_was_replaced_is_left_alone() {
    let dir = Dir::new("replaced");
    let listening = listen(&dir.address(), 16, false, None).unwrap();
    // Keep the inode alive, or its number may be used again.
    std::fs::rename(dir.path(), dir.0.join("old")).unwrap();
    let _other = UnixListener::bind(dir.path()).unwrap();
    drop(listening);
    assert!(dir.path().exists());
}

#[test]
fn an_abstract_socket_has_a_name_and_no_file() {
    let name = format!("gateway-listen-{}", std::process::id()).into_bytes();
    let address = Address::Abstract(name.clone());
    assert!(probe(&address, false).is_ok());
    let listening = listen(&address, 16, false, None).unwrap();
    let shown = format!("unix:@{}", String::from_utf8_lossy(&name));
    assert_eq!((listening.local(), listening.asked()), (&*shown, Some(&address)));
    assert!(listening.is_unix() && listening.owned_path().is_none());
    assert_eq!(listening.info().unwrap().mode, 0);
    for error in
        [listen(&address, 16, false, None).unwrap_err(), probe(&address, false).unwrap_err()]
    {
        assert!(error.message().starts_with(&format!("bind {shown}: ")), "{error}");
    }
    let inherited = listen(&Address::Fd(listening.fd()), 16, false, None).unwrap();
    assert_eq!(inherited.local(), shown);
    use std::os::linux::net::SocketAddrExt;
    let at = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _client = UnixStream::connect_addr(&at).unwrap();
    assert_eq!(accept(listening.fd()).unwrap().2, None);
    for len in [0, 108] {
        let error = listen(&Address::Abstract(vec![b'x'; len]), 16, false, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }
    listen(&Address::Abstract(vec![b'x'; 107]), 16, false, None).unwrap();
}

#[test]
fn impossible_paths_are_refused() {
    let dir = Dir::new("path");
    let long = dir.0.join("x".repeat(200));
    let error = listen(&Address::Unix(long), 16, false, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.message().ends_with("and 107 are possible"), "{error}");
    let missing = dir.0.join("missing/s");
    let error = listen(&Address::Unix(missing), 16, false, None).unwrap_err();
    assert_eq!(error.os_errno(), libc::ENOENT);
    assert!(listen(&Address::Unix(PathBuf::new()), 16, false, None).is_err());
}

#[test]
fn an_inherited_listener_is_duplicated() {
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = listen(&Address::Fd(theirs.as_raw_fd()), 16, false, None).unwrap();
    assert_ne!(ours.fd(), theirs.as_raw_fd());
    assert_eq!(ours.local(), theirs.local_addr().unwrap().to_string());
    drop(ours);
    TcpStream::connect(theirs.local_addr().unwrap()).unwrap();
}

#[test]
fn what_cannot_listen_is_refused() {
    let (connected, _other) = UnixStream::pair().unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for (fd, reason) in [
        (connected.as_raw_fd(), "a connection, not a listener"),
        (datagram.as_raw_fd(), "not a stream socket"),
        (file.as_raw_fd(), "not a socket"),
    ] {
        let error = listen(&Address::Fd(fd), 16, false, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.message().ends_with(reason), "{error}");
    }
    let error = listen(&Address::Fd(1_000_000), 16, false, None).unwrap_err();
    assert_eq!(error.os_errno(), libc::EBADF);
}
