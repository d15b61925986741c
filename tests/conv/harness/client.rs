//! The test's end of a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use super::response::{self, Parse, Response};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Clean,
    /// By a reset.
    Reset,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A client that never blocks.
pub struct Client {
    stream: Stream,
    /// What was received and not taken.
    pub inbox: Vec<u8>,
    /// Octets ever received.
    pub total: u64,
    pub end: Option<End>,
}

impl Client {
    pub fn unix(stream: UnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Client { stream: Stream::Unix(stream), inbox: Vec::new(), total: 0, end: None }
    }

    pub fn tcp(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: Stream::Tcp(stream), inbox: Vec::new(), total: 0, end: None }
    }

    pub fn fd(&self) -> RawFd {
        match &self.stream {
            Stream::Unix(stream) => stream.as_raw_fd(),
            Stream::Tcp(stream) => stream.as_raw_fd(),
        }
    }

    pub fn local_port(&self) -> u16 {
        match &self.stream {
            Stream::Unix(_) => 0,
            Stream::Tcp(stream) => stream.local_addr().unwrap().port(),
        }
    }

    /// Send as much as the socket takes; how much that was.
    pub fn try_send(&mut self, octets: &[u8]) -> usize {
        let sent = match &mut self.stream {
            Stream::Unix(stream) => stream.write(octets),
            Stream::Tcp(stream) => stream.write(octets),
        };
        match sent {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("sending failed: {error}; received {}", self.shown()),
        }
    }

    /// Send; all of it must fit into the socket.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        let octets = octets.as_ref();
        assert_eq!(self.try_send(octets), octets.len(), "it does not fit: Server::feed");
    }

    /// Send to a server that may have closed already.
    pub fn send_anyway(&mut self, octets: &[u8]) {
        let _ = match &mut self.stream {
            Stream::Unix(stream) => stream.write(octets),
            Stream::Tcp(stream) => stream.write(octets),
        };
    }

    /// Receive what is there.
    pub fn pull(&mut self) {
        self.pull_up_to(usize::MAX);
    }

    /// Receive what is there, `most` octets at most.
    pub fn pull_up_to(&mut self, most: usize) {
        let mut left = most;
        let mut buf = vec![0; left.min(64 * 1024)];
        while left > 0 && self.end.is_none() {
            let room = left.min(buf.len());
            let got = match &mut self.stream {
                Stream::Unix(stream) => stream.read(&mut buf[..room]),
                Stream::Tcp(stream) => stream.read(&mut buf[..room]),
            };
            match got {
                Ok(0) => self.end = Some(End::Clean),
                Ok(n) => {
                    self.inbox.extend_from_slice(&buf[..n]);
                    self.total += n as u64;
                    left -= n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.end = Some(End::Reset);
                }
                Err(error) => panic!("receiving failed: {error}"),
            }
        }
    }

    /// Take the first response off what was received, if it is whole.
    pub fn take_response(&mut self, to_head: bool) -> Option<Response> {
        match response::parse(&self.inbox, to_head, self.end) {
            Parse::Whole(response, used) => {
                self.inbox.drain(..used);
                Some(response)
            }
            Parse::Partial(_) => None,
        }
    }

    /// Send no more, and go on receiving.
    pub fn half_close(&mut self) {
        let closed = match &self.stream {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
        };
        if let Err(error) = closed {
            assert_eq!(error.kind(), ErrorKind::NotConnected, "unless the server was faster");
        }
    }

    /// Close so that the server is told by a reset (TCP).
    pub fn reset(self) {
        gateway::sys::sock::set_linger_reset(self.fd()).unwrap();
    }

    /// What was received, for messages.
    pub fn shown(&self) -> String {
        let shown = &self.inbox[..self.inbox.len().min(2000)];
        format!("{} octets: {}", self.inbox.len(), shown.escape_ascii())
    }
}
