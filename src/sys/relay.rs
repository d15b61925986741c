//! Octets between descriptors that need not be sockets: standard input and output of a CGI program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use nix::unistd::{read, write};
use std::os::fd::AsRawFd;

/// Octets that wait in one direction at most.
const ROOM: usize = 64 * 1024;

/// Sends `head` and up to `len` octets of `input` to `socket`, and all that comes back to `output`,
/// until the socket's other end is closed.  An input that ends early is told there; nobody is waited
/// for on the other side then.
pub fn relay(
    head: Vec<u8>,
    input: BorrowedFd<'_>,
    mut len: u64,
    socket: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
) -> io::Result<()> {
    let (mut there, mut back) = (head, Vec::new());
    let (mut in_open, mut out_open, mut has_ended) = (len > 0, true, false);
    let mut is_short = false;
    let mut buf = vec![0; ROOM];
    loop {
        if has_ended && (back.is_empty() || !out_open) {
            return Ok(());
        }
        if is_short && there.is_empty() {
            is_short = false;
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
        }
        let wants = |condition, flag| if condition { flag } else { PollFlags::empty() };
        let of_socket = wants(!has_ended && back.len() < ROOM, PollFlags::POLLIN)
            | wants(!has_ended && !there.is_empty(), PollFlags::POLLOUT);
        let mut fds = vec![PollFd::new(socket, of_socket)];
        let reads = in_open && there.len() < ROOM;
        let writes = !back.is_empty() && out_open;
        fds.extend(reads.then(|| PollFd::new(input, PollFlags::POLLIN)));
        fds.extend(writes.then(|| PollFd::new(output, PollFlags::POLLOUT)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let at_socket = ready.next().unwrap_or(PollFlags::empty());
        let ended = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        let can_read = reads && !ready.next().unwrap_or(PollFlags::empty()).is_empty();
        let can_write = writes && !ready.next().unwrap_or(PollFlags::empty()).is_empty();
        if at_socket.contains(PollFlags::POLLOUT) {
            match send(socket.as_raw_fd(), &there, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            {
                Ok(n) => drop(there.drain(..n)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // It wants no more; its answer may still be there.
                Err(_) => {
                    there.clear();
                    in_open = false;
                }
            }
        }
        if at_socket.intersects(PollFlags::POLLIN | ended) && !has_ended {
            match recv(socket.as_raw_fd(), &mut buf, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => has_ended = true,
                Ok(n) => back.extend_from_slice(&buf[..n]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => has_ended = true,
            }
        }
        if can_read {
            let most = buf.len().min(usize::try_from(len).unwrap_or(usize::MAX));
            match read(input, &mut buf[..most]) {
                Ok(0) => (in_open, is_short) = (false, true),
                Ok(n) => {
                    there.extend_from_slice(&buf[..n]);
                    len -= n as u64;
                    in_open = len > 0;
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if can_write {
            match write(output, &back) {
                Ok(n) => drop(back.drain(..n)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // The web server has left; the application hears of it.
                Err(_) => {
                    out_open = false;
                    let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
                }
            }
        }
    }
}

/// Whether the descriptor is one.
pub fn is_open(fd: BorrowedFd<'_>) -> bool {
    use nix::fcntl::{FcntlArg, fcntl};
    fcntl(fd, FcntlArg::F_GETFD).is_ok()
}

/// Whether the descriptor is a socket that listens: FastCGI's way to start a program.
pub fn listens(fd: BorrowedFd<'_>) -> bool {
    use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
    getsockopt(&fd.as_fd(), AcceptConn).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_came_before_an_early_end_arrives() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let input = std::fs::File::open("/dev/null").unwrap();
        let output = std::fs::File::options().write(true).open("/dev/null").unwrap();
        // More than fits into the socket at once.
        let head = vec![b'x'; 4 << 20];
        let relays = std::thread::spawn(move || {
            relay(head, input.as_fd(), 5, ours.as_fd(), output.as_fd()).unwrap();
        });
        let mut told = Vec::new();
        theirs.read_to_end(&mut told).unwrap();
        assert_eq!(told.len(), 4 << 20);
        drop(theirs);
        relays.join().unwrap();
    }
}
