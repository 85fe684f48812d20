//! A connection that the stand-in accepted: bytes, HTTP requests and WebSocket messages of the peer.
//!
//! Two threads share a [`Socket`]: one reads, one writes. It is closed when both have let go of it, so that a reset can be
//! brought about; whoever else wants to end it keeps a weak reference.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::tls::Tls;
use crate::common::SOON;
use crate::common::frames::{CLOSE, CONTINUATION};

/// An accepted connection.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    tls: Option<Tls>,
}

impl Socket {
    /// Takes an accepted connection over.
    pub fn accepted(tcp: TcpStream, tls: Option<Tls>) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_write_timeout(Some(SOON))?;
        Ok(Self { tcp, tls })
    }

    /// Waits for bytes; 0 is the end.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match &self.tls {
            None => (&self.tcp).read(into),
            Some(tls) => tls.read(&self.tcp, into),
        }
    }

    /// Writes all of it.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.tls {
            None => (&self.tcp).write_all(bytes),
            Some(tls) => tls.write_all(&self.tcp, bytes),
        }
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        if let Some(tls) = &self.tls {
            let _ = tls.finish(&self.tcp);
        }
        let _ = self.tcp.shutdown(Shutdown::Write);
    }

    /// Ends both directions, and with them the threads that wait for it.
    pub fn end(&self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    /// Makes the close a reset, and ends the thread that reads.
    pub fn reset(&self) {
        let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
        let _ = self.tcp.shutdown(Shutdown::Read);
    }
}

/// A request: the head, and where it has one, the body.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its target, as it was sent.
    pub target: String,
    /// Names (lower case) and values, in order.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The path of the target.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A parameter of the query, as it was sent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(have, _)| *have == name)
            .map(|(_, v)| v)
    }

    /// Whether it asks for a WebSocket.
    pub fn is_upgrade(&self) -> bool {
        self.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    }
}

/// A message of the peer.
#[derive(Debug)]
pub struct Incoming {
    /// The opcode of its first frame.
    pub opcode: u8,
    /// The payload, without masks.
    pub payload: Vec<u8>,
    /// How many frames it came in.
    pub frames: usize,
}

/// The reading side of a connection.
#[derive(Debug)]
pub struct Reader {
    socket: Arc<Socket>,
    buffer: Vec<u8>,
    message: Option<Incoming>,
}

impl Reader {
    /// Reads from the start of a connection.
    pub fn new(socket: Arc<Socket>) -> Self {
        Self { socket, buffer: Vec::new(), message: None }
    }

    /// The next request; `None` where the connection ends instead.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        let (mut request, length) = loop {
            if let Some(parsed) = parse_head(&self.buffer)? {
                break parsed;
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        };
        self.buffer.drain(..length);
        if request.header("transfer-encoding").is_some() {
            request.body = self.chunks()?;
        } else if let Some(length) = request.header("content-length") {
            let length = length.parse().map_err(invalid)?;
            request.body = self.take(length)?;
        }
        Ok(Some(request))
    }

    /// The next message or control frame; `None` where the connection ends instead. What a client must not send is an
    /// error.
    pub fn message(&mut self) -> io::Result<Option<Incoming>> {
        loop {
            let Some((head, payload)) = self.frame()? else { return Ok(None) };
            let (last, opcode) = (head & 0x80 != 0, head & 0x0F);
            if opcode >= CLOSE {
                return Ok(Some(Incoming { opcode, payload, frames: 1 }));
            }
            let message = match (&mut self.message, opcode) {
                (None, CONTINUATION) => return Err(invalid("a continuation of nothing")),
                (None, opcode) => self.message.insert(Incoming { opcode, payload, frames: 1 }),
                (Some(message), CONTINUATION) => {
                    message.payload.extend(payload);
                    message.frames += 1;
                    message
                }
                (Some(_), _) => return Err(invalid("a message within a message")),
            };
            let _ = message;
            if last {
                return Ok(self.message.take());
            }
        }
    }

    fn frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        while self.buffer.len() < 2 {
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
        let head = self.take(2)?;
        if head[0] & 0x70 != 0 {
            return Err(invalid("reserved bits are set"));
        }
        if head[1] & 0x80 == 0 {
            return Err(invalid("a client's frame without a mask"));
        }
        let mut length = u64::from(head[1] & 0x7F);
        if length >= 126 {
            let more = self.take(if length == 126 { 2 } else { 8 })?;
            length = more.iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte));
        }
        let mask = self.take(4)?;
        let mut payload = self.take(usize::try_from(length).map_err(invalid)?)?;
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        Ok(Some((head[0], payload)))
    }

    /// What has been read beyond the last request or message.
    pub fn into_rest(self) -> Vec<u8> {
        self.buffer
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(self.line()?.trim(), 16).map_err(invalid)?;
            body.extend(self.take(size)?);
            if !self.line()?.is_empty() {
                return Err(invalid("a chunk is longer than it says"));
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(at)?;
                self.take(2)?;
                return String::from_utf8(line).map_err(invalid);
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let count = self.socket.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(invalid)? else { return Ok(None) };
    let headers = head
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let method = head.method.unwrap_or_default().to_owned();
    let target = head.path.unwrap_or_default().to_owned();
    Ok(Some((Request { method, target, headers, body: Vec::new() }, length)))
}

/// Something the peer must not send.
pub fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
