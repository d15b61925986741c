//! A client that is as strict as the server should be.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::PATIENCE;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server said that nothing follows.
    Closed,
    /// The connection was reset.
    Reset,
}

pub struct Client {
    stream: TcpStream,
    /// What has come and is not yet looked at.
    ahead: Vec<u8>,
    /// Before it looks whether more has come.
    pause: Duration,
}

/// A response, its body without its framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub reason: String,
    /// In the order in which they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How the end of the body was known.
    pub framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its kind, such a response has no body.
    None,
    Length,
    Chunked,
    /// By the end of the connection.
    Close,
}

impl Response {
    /// The value of a header that must come at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} came twice: {self:?}");
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is text")
    }

    pub fn keeps_alive(&self) -> bool {
        match self.header("connection") {
            Some(value) if self.version == "HTTP/1.0" => value.eq_ignore_ascii_case("keep-alive"),
            Some(value) => !value.eq_ignore_ascii_case("close"),
            None => self.version == "HTTP/1.1",
        }
    }
}

impl Client {
    pub fn connect(address: &str) -> Client {
        Client::try_connect(address).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The same; why not, if nobody listens.
    pub fn try_connect(address: &str) -> Result<Client, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).expect("set an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("set an option");
        stream.set_write_timeout(Some(PATIENCE)).expect("set an option");
        Ok(Client { stream, ahead: Vec::new(), pause: Duration::ZERO })
    }

    /// From now on it takes its time before each look.
    pub fn slow_down(&mut self, pause: Duration) {
        self.pause = pause;
    }

    /// The connection, for a thread that sends while this one listens.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("share the connection")
    }

    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).expect("send to the server");
    }

    /// Send as much as the server takes; it may have closed the connection meanwhile.
    pub fn try_send(&mut self, octets: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(octets.as_ref()).is_ok()
    }

    /// Nothing more will come from here.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// A GET with the least that HTTP/1.1 wants, and its answer.
    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        self.response("GET")
    }

    pub fn post(&mut self, target: &str, body: impl AsRef<[u8]>) -> Response {
        let body = body.as_ref();
        let length = body.len();
        self.send(format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
        self.send(body);
        self.response("POST")
    }

    /// Wait until so many octets are there.
    pub fn at_least(&mut self, n: usize) -> Result<(), String> {
        while self.ahead.len() < n {
            if !self.more()? {
                return Err(format!("the connection ended after {}", self.shown()));
            }
        }
        Ok(())
    }

    /// The next response, which must be whole and well-formed.
    pub fn response(&mut self, method: &str) -> Response {
        self.try_response(method).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The next response; what is wrong with it, if it is cut or malformed.
    pub fn try_response(&mut self, method: &str) -> Result<Response, String> {
        let head = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).map_err(|e| format!("head: {e}"))?;
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let mut response = status_line(lines.next().unwrap_or_default())?;
        for line in lines {
            let field = line.split_once(": ").ok_or_else(|| format!("header line {line:?}"))?;
            response.headers.push((field.0.to_owned(), field.1.to_owned()));
        }
        let status = response.status;
        let length = response.header("content-length").map(str::to_owned);
        let coding = response.header("transfer-encoding").map(str::to_owned);
        if length.is_some() && coding.is_some() {
            return Err(format!("length and coding: {response:?}"));
        }
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(response);
        }
        if let Some(coding) = coding {
            if coding != "chunked" {
                return Err(format!("coding {coding}"));
            }
            response.framing = Framing::Chunked;
            response.body = self.chunks()?;
        } else if let Some(length) = length {
            let length = length.parse().map_err(|e| format!("length {length:?}: {e}"))?;
            response.framing = Framing::Length;
            response.body = self.exactly(length)?;
        } else {
            response.framing = Framing::Close;
            while self.more()? {}
            response.body = std::mem::take(&mut self.ahead);
        }
        Ok(response)
    }

    /// Send a body while its answer is read: neither side can hold all of it.
    pub fn exchange(&mut self, body: &[u8], method: &str) -> Response {
        let mut sender = self.stream.try_clone().expect("a second handle");
        std::thread::scope(|scope| {
            scope.spawn(move || sender.write_all(body).expect("send to the server"));
            self.response(method)
        })
    }

    /// The next chunk of a chunked body; empty: its end.
    pub fn chunk(&mut self) -> Vec<u8> {
        self.one_chunk().unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The head of the next response alone.
    pub fn head(&mut self) -> Response {
        self.try_response("HEAD").unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// At least one octet and at most `max`.
    pub fn read_some(&mut self, max: usize) -> Vec<u8> {
        if self.ahead.is_empty() {
            let more = self.more().unwrap_or_else(|problem| panic!("{problem}"));
            assert!(more, "the connection ended");
        }
        let n = self.ahead.len().min(max);
        self.ahead.drain(..n).collect()
    }

    /// The connection must end here, without another octet.
    pub fn end(&mut self) -> End {
        assert!(self.ahead.is_empty(), "octets left over: {}", self.shown());
        let mut octets = [0; 512];
        match self.read(&mut octets) {
            Ok(0) => End::Closed,
            Ok(n) => panic!("unexpected: {:?}", String::from_utf8_lossy(&octets[..n])),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("the connection does not end: {error}"),
        }
    }

    /// Read and forget until the connection ends; how many octets that were.
    pub fn drain(&mut self) -> usize {
        let mut n = self.ahead.len();
        self.ahead.clear();
        while let Ok(true) = self.more() {
            n += self.ahead.len();
            self.ahead.clear();
        }
        n
    }

    /// The connection must be open and silent for a moment.
    pub fn is_silent(&mut self) -> bool {
        let moment = std::time::Duration::from_millis(200);
        self.stream.set_read_timeout(Some(moment)).expect("set an option");
        let mut octet = [0];
        let read = self.stream.read(&mut octet);
        self.ahead.extend(&octet[..*read.as_ref().unwrap_or(&0)]);
        self.stream.set_read_timeout(Some(PATIENCE)).expect("set an option");
        self.ahead.is_empty() && matches!(read, Err(e) if e.kind() == ErrorKind::WouldBlock)
    }

    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let chunk = self.one_chunk()?;
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend(chunk);
        }
    }

    fn one_chunk(&mut self) -> Result<Vec<u8>, String> {
        let line = self.until(b"\r\n")?;
        let text = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
        let size = usize::from_str_radix(&text, 16).map_err(|e| format!("{text:?}: {e}"))?;
        let chunk = self.exactly(size)?;
        match self.exactly(2)?.as_slice() {
            b"\r\n" => Ok(chunk),
            other => Err(format!("{other:?} after a chunk")),
        }
    }

    fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, String> {
        let mut from = 0;
        loop {
            let found = self.ahead[from..].windows(mark.len()).position(|w| w == mark);
            if let Some(at) = found {
                return self.exactly(from + at + mark.len());
            }
            from = self.ahead.len().saturating_sub(mark.len() - 1);
            if !self.more()? {
                return Err(format!("the connection ended after {}", self.shown()));
            }
        }
    }

    fn exactly(&mut self, n: usize) -> Result<Vec<u8>, String> {
        while self.ahead.len() < n {
            if !self.more()? {
                return Err(format!("{} octets of {n} came", self.ahead.len()));
            }
        }
        Ok(self.ahead.drain(..n).collect())
    }

    /// Wait for octets; false at the end.
    fn more(&mut self) -> Result<bool, String> {
        let mut octets = [0; 65_536];
        std::thread::sleep(self.pause);
        let n = self.read(&mut octets).map_err(|e| format!("read: {e}"))?;
        self.ahead.extend(&octets[..n]);
        Ok(n > 0)
    }

    /// A socket with a time limit is interrupted by the signals of tracers.
    fn read(&mut self, octets: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.stream.read(octets) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn shown(&self) -> String {
        format!("{:?}", String::from_utf8_lossy(&self.ahead[..self.ahead.len().min(300)]))
    }
}

fn status_line(line: &str) -> Result<Response, String> {
    let mut parts = line.splitn(3, ' ');
    let version = parts.next().unwrap_or_default();
    let status = parts.next().filter(|s| s.len() == 3).and_then(|s| s.parse().ok());
    match (version, status, parts.next()) {
        ("HTTP/1.0" | "HTTP/1.1", Some(status), Some(reason)) => Ok(Response {
            version: version.to_owned(),
            status,
            reason: reason.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::None,
        }),
        _ => Err(format!("status line {line:?}")),
    }
}
