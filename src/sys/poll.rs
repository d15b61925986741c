//! Readiness: a thin layer over mio's epoll, plus what mio does not offer, exclusive listeners.
//!
//! Connections are edge-triggered and registered for reading once in their lives; interest in
//! writing comes and goes.  Listeners are level-triggered with EPOLLEXCLUSIVE: every worker polls
//! the same listener, and a connection wakes one of them, not all.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

pub use super::waker::Waker;

use super::check;

/// How many events one wait brings at most: a turn's work, and 3 KB of memory.
pub const EVENTS: usize = 256;

/// An epoll instance with the events of its last wait.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
}

/// What one descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The token that was given with the descriptor.
    pub token: u64,
    /// Something to read: octets, an end, a connection to accept.
    pub readable: bool,
    /// Room to write.
    pub writable: bool,
    /// The peer will send no more.
    pub read_closed: bool,
    /// The peer will take no more.
    pub write_closed: bool,
    /// An error waits in the socket.
    pub error: bool,
}

impl Poller {
    /// A new epoll instance, close-on-exec.
    pub fn new() -> io::Result<Self> {
        Ok(Poller { poll: Poll::new()?, events: Events::with_capacity(EVENTS) })
    }

    /// The epoll descriptor: readable when there are events, so that a foreign loop can watch it.
    pub fn fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Watches a listener, level-triggered; of several pollers that watch it one is woken (at
    /// least).  It cannot be modified, only removed.
    pub fn add_listener(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event =
            libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32, u64: token };
        // SAFETY: `event` is a valid epoll_event that is only read.  mio hands out the data word of
        // events as the token, whoever registered them.
        check(unsafe { libc::epoll_ctl(self.fd(), libc::EPOLL_CTL_ADD, fd, &mut event) })?;
        Ok(())
    }

    /// Watches a descriptor for reading, edge-triggered: one event for each time that something
    /// arrives, so read until it would block.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(token as usize), Interest::READABLE)
    }

    /// Begins or ends to watch for room to write, too.  An event comes at once if there is room.
    pub fn want_write(&self, fd: RawFd, token: u64, on: bool) -> io::Result<()> {
        let interest =
            if on { Interest::READABLE.add(Interest::WRITABLE) } else { Interest::READABLE };
        self.poll.registry().reregister(&mut SourceFd(&fd), Token(token as usize), interest)
    }

    /// Watches no more.  Closing the last copy of a descriptor does the same.
    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&fd))
    }

    /// Waits for events, `timeout_ms` at most: 0 does not wait, -1 waits for ever.  A signal that
    /// interrupts it is no error: then there are no events.
    pub fn wait(&mut self, timeout_ms: i64) -> io::Result<()> {
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// The events of the last wait.
    pub fn events(&self) -> impl Iterator<Item = Ready> + '_ {
        self.events.iter().map(|event| Ready {
            token: event.token().0 as u64,
            readable: event.is_readable(),
            writable: event.is_writable(),
            read_closed: event.is_read_closed(),
            write_closed: event.is_write_closed(),
            error: event.is_error(),
        })
    }
}

// A token is a u64 and mio's is a usize.
const _: () = assert!(size_of::<usize>() == 8, "libgateway needs a 64-bit system");

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        (a, b)
    }

    #[test]
    fn reading_is_edge_triggered() {
        let mut poller = Poller::new().unwrap();
        let (a, mut b) = pair();
        poller.add(a.as_raw_fd(), 0xab00_0000_0000_0001).unwrap();
        b.write_all(b"x").unwrap();
        poller.wait(-1).unwrap();
        let ready: Vec<Ready> = poller.events().collect();
        assert_eq!(ready.len(), 1);
        assert_eq!(ready[0].token, 0xab00_0000_0000_0001);
        assert!(ready[0].readable && !ready[0].writable && !ready[0].read_closed);
        poller.wait(0).unwrap();
        assert_eq!(poller.events().count(), 0, "not told again about the same octet");
        b.write_all(b"y").unwrap();
        poller.wait(-1).unwrap();
        assert_eq!(poller.events().count(), 1);
        drop(b);
        poller.wait(-1).unwrap();
        assert!(poller.events().all(|ready| ready.readable && ready.read_closed));
        poller.remove(a.as_raw_fd()).unwrap();
        poller.wait(0).unwrap();
        assert_eq!(poller.events().count(), 0);
    }

    #[test]
    fn interest_in_writing_comes_and_goes() {
        let mut poller = Poller::new().unwrap();
        let (mut a, mut b) = pair();
        poller.add(a.as_raw_fd(), 1).unwrap();
        poller.wait(0).unwrap();
        assert_eq!(poller.events().count(), 0);
        poller.want_write(a.as_raw_fd(), 1, true).unwrap();
        poller.wait(-1).unwrap();
        assert!(poller.events().all(|ready| ready.writable && !ready.readable));
        while a.write(&[0; 65536]).is_ok() {}
        poller.wait(0).unwrap();
        assert_eq!(poller.events().count(), 0);
        let mut buffer = vec![0; 1 << 20];
        assert!(b.read(&mut buffer).unwrap() > 0);
        poller.want_write(a.as_raw_fd(), 1, false).unwrap();
        poller.wait(0).unwrap();
        assert_eq!(poller.events().count(), 0, "room to write, which nobody wants");
        poller.want_write(a.as_raw_fd(), 1, true).unwrap();
        poller.wait(-1).unwrap();
        assert_eq!(poller.events().filter(|ready| ready.writable).count(), 1);
    }

    #[test]
    fn a_listener_is_level_triggered_and_shared() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut pollers = [Poller::new().unwrap(), Poller::new().unwrap()];
        for poller in &pollers {
            poller.add_listener(listener.as_raw_fd(), 9).unwrap();
        }
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut told = 0;
        for poller in &mut pollers {
            // Twice: a level does not go away by being looked at.
            poller.wait(0).unwrap();
            poller.wait(0).unwrap();
            told += poller.events().filter(|ready| ready.token == 9 && ready.readable).count();
        }
        assert!(told >= 1);
        pollers[0].remove(listener.as_raw_fd()).unwrap();
        pollers[0].wait(0).unwrap();
        assert_eq!(pollers[0].events().count(), 0);
    }

    #[test]
    fn a_timeout_ends_a_wait() {
        let mut poller = Poller::new().unwrap();
        poller.wait(1).unwrap();
        assert_eq!(poller.events().count(), 0);
    }
}
