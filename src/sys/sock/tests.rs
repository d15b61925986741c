use super::*;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

fn tcp() -> (OwnedFd, Peer, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (fd, peer, ip) = accept(listener.as_raw_fd()).unwrap();
    assert_eq!((ip, ip), (peer.ip(), "127.0.0.1".parse().ok()));
    (fd, peer, client)
}

#[test]
fn accept_tells_the_peer() {
    let (fd, peer, client) = tcp();
    assert_eq!(peer.address(), b"127.0.0.1");
    assert_eq!(peer.port(), client.local_addr().unwrap().port().to_string().as_bytes());
    let local = local_name(fd.as_raw_fd()).unwrap();
    assert_eq!(local.port(), client.peer_addr().unwrap().port().to_string().as_bytes());
    assert_eq!(peer_name(fd.as_raw_fd()).unwrap().port(), peer.port());
}

#[test]
fn accept_makes_sockets_nonblocking() {
    let (fd, _, _client) = tcp();
    let error = recv(fd.as_raw_fd(), &mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let error = accept(listener.as_raw_fd()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(accept_failure(&error), AcceptFailure::Empty);
}

#[test]
fn failures_to_accept_are_told_apart() {
    let of = |code| accept_failure(&io::Error::from_raw_os_error(code));
    assert_eq!(of(libc::ECONNABORTED), AcceptFailure::Lost);
    assert_eq!(of(libc::EPROTO), AcceptFailure::Lost);
    assert_eq!(of(libc::EMFILE), AcceptFailure::Exhausted);
    let (a, _b) = UnixStream::pair().unwrap();
    let error = accept(a.as_raw_fd()).unwrap_err();
    assert_eq!(accept_failure(&error), AcceptFailure::Broken);
}

#[test]
fn a_unix_peer_has_no_port() {
    let dir = tempdir();
    let path = dir.join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let (fd, peer, ip) = accept(listener.as_raw_fd()).unwrap();
    assert_eq!((peer.address(), peer.port(), ip), (&b"unix:"[..], &b""[..], None));
    assert_eq!(local(fd.as_raw_fd()).unwrap().path(), path.to_str().map(str::as_bytes));
    assert_eq!(peer_name(fd.as_raw_fd()).unwrap().address(), b"unix:");
    std::fs::remove_dir_all(dir).unwrap();
}

fn tempdir() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("gateway-sock-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn addresses_read_as_the_standard_writes_them() {
    for text in ["0.0.0.0", "1.22.133.255", "255.255.255.255", "10.0.100.9"] {
        let peer = Peer::v4(text.parse().unwrap(), 0);
        assert_eq!(peer.address(), text.as_bytes());
        assert_eq!(peer.port(), b"0");
    }
    for text in [
        "::",
        "::1",
        "2001:db8::1",
        "::ffff:255.255.255.255",
        "2001:db8:1111:2222:3333:4444:5555:6666",
    ] {
        assert_eq!(Peer::v6(text.parse().unwrap(), 65535).address(), text.as_bytes());
    }
    for port in [0, 7, 10, 99, 100, 999, 1000, 9999, 10_000, 65_535] {
        let peer = Peer::v4(Ipv4Addr::LOCALHOST, port);
        assert_eq!(peer.port(), port.to_string().as_bytes());
    }
}

#[test]
fn adopt_wants_a_connected_stream() {
    let (a, _b) = UnixStream::pair().unwrap();
    let (a, peer) = adopt(a.into_raw_fd()).unwrap();
    assert_eq!(peer.address(), b"unix:");
    let error = recv(a.as_raw_fd(), &mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    assert!(adopt(datagram.as_raw_fd()).is_err());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(adopt(listener.as_raw_fd()).is_err());
    assert!(adopt(std::fs::File::open("/dev/null").unwrap().as_raw_fd()).is_err());
    assert!(adopt(-1).is_err());
}

#[test]
fn reads_into_spare_room_without_moving() {
    let (a, mut b) = UnixStream::pair().unwrap();
    b.write_all(b"hello world").unwrap();
    let mut buffer = Vec::with_capacity(64);
    buffer.extend_from_slice(b"> ");
    let before = buffer.as_ptr();
    assert_eq!(recv_spare(a.as_raw_fd(), &mut buffer, 5).unwrap(), 5);
    assert_eq!(buffer, b"> hello");
    assert_eq!(recv_spare(a.as_raw_fd(), &mut buffer, 50).unwrap(), 6);
    assert_eq!(buffer, b"> hello world");
    assert_eq!(buffer.as_ptr(), before);
    drop(b);
    assert_eq!(recv_spare(a.as_raw_fd(), &mut buffer, 50).unwrap(), 0);
    assert_eq!(buffer.len(), 13);
}

#[test]
fn a_peer_that_left_is_gone() {
    let (fd, _, mut client) = tcp();
    assert!(!peer_gone(fd.as_raw_fd()));
    client.write_all(b"x").unwrap();
    assert!(wait_readable(fd.as_raw_fd(), -1).unwrap());
    assert!(!peer_gone(fd.as_raw_fd()), "there is still something to read");
    assert_eq!(recv(fd.as_raw_fd(), &mut [0; 9]).unwrap(), 1);
    drop(client);
    assert!(wait_readable(fd.as_raw_fd(), -1).unwrap());
    assert!(peer_gone(fd.as_raw_fd()));
}

#[test]
fn linger_resets() {
    let (fd, _, mut client) = tcp();
    set_linger_reset(fd.as_raw_fd()).unwrap();
    drop(fd);
    let error = client.read(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_shutdown_ends_one_direction() {
    let (fd, _, mut client) = tcp();
    shutdown_write(fd.as_raw_fd()).unwrap();
    assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
    client.write_all(b"still").unwrap();
    assert!(wait_readable(fd.as_raw_fd(), -1).unwrap());
    assert_eq!(recv(fd.as_raw_fd(), &mut [0; 9]).unwrap(), 5);
}

#[test]
fn waiting_ends() {
    let (a, _b) = UnixStream::pair().unwrap();
    assert!(!wait_readable(a.as_raw_fd(), 1).unwrap());
    assert!(wait_writable(a.as_raw_fd(), -1).unwrap());
    assert!(wait_readable(1_000_000, 0).is_err());
}
