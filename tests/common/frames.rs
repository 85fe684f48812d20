//! WebSocket frames byte by byte (RFC 6455 section 5), right and wrong ones, on a socket of their own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::SOON;

/// Opcodes.
pub const CONTINUATION: u8 = 0;
/// See [`CONTINUATION`].
pub const TEXT: u8 = 1;
/// See [`CONTINUATION`].
pub const BINARY: u8 = 2;
/// See [`CONTINUATION`].
pub const CLOSE: u8 = 8;
/// See [`CONTINUATION`].
pub const PING: u8 = 9;
/// See [`CONTINUATION`].
pub const PONG: u8 = 10;

/// A mask like any other.
pub const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A frame that the agent sent: always final and never masked, which reading it checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its opcode.
    pub opcode: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the payload is UTF-8")
    }

    /// Code and reason of a close frame; no code is 1005.
    pub fn close(&self) -> (u16, &str) {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        match self.payload.as_slice() {
            [] => (1005, ""),
            [high, low, reason @ ..] => {
                (u16::from_be_bytes([*high, *low]), std::str::from_utf8(reason).expect("a reason is UTF-8"))
            }
            [_] => panic!("a close code of one byte"),
        }
    }
}

/// A frame as it stands on the wire; `head` is the first byte: FIN, reserved bits and opcode.
pub fn frame(head: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![head];
    match payload.len() {
        len @ 0..126 => bytes.push(masked | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(masked | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(masked | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    match mask {
        Some(mask) => {
            bytes.extend(mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
        None => bytes.extend(payload),
    }
    bytes
}

/// A whole message or control frame of a client.
pub fn whole(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | opcode, Some(MASK), payload)
}

/// A fragment of a message that goes on.
pub fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(opcode, Some(MASK), payload)
}

/// A connection that has been upgraded.
#[derive(Debug)]
pub struct RawSocket {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawSocket {
    /// Connects and upgrades; anything but 101 fails the test.
    pub fn upgrade(port: u16, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = Self::connect(port);
        socket.send(&upgrade_request(target, headers));
        let head = socket.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        socket
    }

    /// Connects and says nothing.
    pub fn connect(port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, SOON).expect("the agent accepts");
        Self::of(stream)
    }

    /// Connects with a receive window so small that the peer soon has to wait for this side to read.
    pub fn connect_with_window(port: u16, window_bytes: usize) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(window_bytes).expect("a socket option");
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("the agent accepts");
        Self::of(socket.into())
    }

    /// On a socket that is connected already.
    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(SOON)).expect("a socket option");
        stream.set_write_timeout(Some(SOON)).expect("a socket option");
        Self { stream, buffer: Vec::new() }
    }

    /// The same connection, for another thread that only sends.
    pub fn clone_for_writing(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("a descriptor is free"), buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection is open");
    }

    /// Sends what the peer may not want any more.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// The head of an answer.
    pub fn read_head(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.buffer.drain(..at + 4).collect();
                return String::from_utf8(head).expect("a head is ASCII");
            }
            assert!(self.fill().expect("an answer comes") > 0, "the connection ended before the answer");
        }
    }

    /// The head of an answer; `None` if the connection ends instead.
    pub fn try_read_head(&mut self) -> Option<String> {
        while !self.buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            if !matches!(self.fill(), Ok(1..)) {
                return None;
            }
        }
        Some(self.read_head())
    }

    /// Whether anything has come, or the end of it. Does not wait.
    pub fn has_input(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return true;
        }
        self.stream.set_nonblocking(true).expect("a socket option");
        let filled = self.fill();
        self.stream.set_nonblocking(false).expect("a socket option");
        !matches!(filled, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The next frame, or `None` where the connection ends in an orderly way.
    pub fn next_or_end(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((frame, length)) = parse(&self.buffer) {
                self.buffer.drain(..length);
                return Ok(Some(frame));
            }
            if self.fill()? == 0 {
                assert!(self.buffer.is_empty(), "the connection ended within a frame");
                return Ok(None);
            }
        }
    }

    /// The next frame.
    pub fn next(&mut self) -> Frame {
        self.next_or_end().expect("a frame comes").expect("the connection is open")
    }

    /// The next frame is this text.
    pub fn expect_text(&mut self, text: &str) {
        let frame = self.next();
        assert_eq!((frame.opcode, frame.text()), (TEXT, text));
    }

    /// A close frame comes next, and after it was answered the end; returns its code and reason.
    pub fn expect_close(&mut self) -> (u16, String) {
        let frame = self.next();
        self.send(&whole(CLOSE, &frame.payload));
        self.end_after(&frame)
    }

    /// The same without answering it: this side has sent its own, or the peer does not wait.
    pub fn expect_close_and_end(&mut self) -> (u16, String) {
        let frame = self.next();
        self.end_after(&frame)
    }

    fn end_after(&mut self, frame: &Frame) -> (u16, String) {
        let (code, reason) = frame.close();
        assert_eq!(self.next_or_end().expect("an orderly end"), None, "nothing follows a close frame");
        (code, reason.to_owned())
    }

    /// Reads up to so many bytes, if some are there, and forgets them. Returns how many.
    pub fn read_some(&mut self, count: usize) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let read = self.stream.read(&mut vec![0; count]);
        self.stream.set_nonblocking(false)?;
        read
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}

/// A handshake with the key of the RFC's example.
pub fn upgrade_request(target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.into_bytes()
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&head, &short) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(head & 0xF0, 0x80, "whole messages without reserved bits");
    assert_eq!(short & 0x80, 0, "a server masks nothing");
    let (start, length) = match short {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    let end = start + usize::try_from(length).expect("a length that fits memory");
    let payload = bytes.get(start..end)?.to_vec();
    Some((Frame { opcode: head & 0x0F, payload }, end))
}
