//! A connection to a server, encrypted or not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::config::Key;
use crate::tls::explain;

/// A connection to a server. Blocking at first, without time-outs.
///
/// To wait for input with a poller: make it non-blocking, read until `WouldBlock`, and only then wait. Bytes that are
/// decrypted but not read yet wake no poller. A write may leave encrypted bytes behind: `flush` until it returns `Ok`,
/// or wait for writability while [`Stream::wants_write`].
#[derive(Debug)]
pub struct Stream(Inner);

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self(Inner::Plain(socket))
    }

    pub(super) fn tls(connection: ClientConnection, socket: TcpStream) -> Self {
        Self(Inner::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    /// The socket, to set its options. Reading or writing on it directly would break TLS.
    pub fn socket(&self) -> &TcpStream {
        match &self.0 {
            Inner::Plain(socket) => socket,
            Inner::Tls(stream) => &stream.sock,
        }
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.0, Inner::Tls(_))
    }

    /// The address at the other end: the server's, or the proxy's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr()
    }

    /// Lets a read that takes longer fail with `WouldBlock`; `None` waits for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket().set_read_timeout(timeout)
    }

    /// Lets a write that takes longer fail with `WouldBlock`; `None` waits for ever.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket().set_write_timeout(timeout)
    }

    /// Lets reads and writes return `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket().set_nonblocking(nonblocking)
    }

    /// Whether encrypted bytes wait for the socket to take them.
    pub fn wants_write(&self) -> bool {
        match &self.0 {
            Inner::Plain(_) => false,
            Inner::Tls(stream) => stream.conn.wants_write(),
        }
    }

    /// As `read`, but it does not first finish writes that the socket has not taken: what the server said before it stopped
    /// reading can be read although nothing more can be written.
    pub fn read_without_writing(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = match &mut self.0 {
            Inner::Plain(socket) => return socket.read(buffer),
            Inner::Tls(stream) => stream,
        };
        loop {
            match stream.conn.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done.map_err(explained),
            }
            // At the end of the connection the reader has told so.
            stream.conn.read_tls(&mut stream.sock)?;
            let processed = stream.conn.process_new_packets();
            processed.map_err(|error| explained(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        }
    }

    /// Half-closes the connection: the server learns that nothing more is sent, and its own data can still be read.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        if let Inner::Tls(stream) = &mut self.0 {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }
}

impl Read for Stream {
    /// A TLS connection that ends without `close_notify` is an error of kind `UnexpectedEof`: data may be missing.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.read(buffer),
            Inner::Tls(stream) => stream.read(buffer).map_err(explained),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.write(bytes),
            Inner::Tls(stream) => stream.write(bytes).map_err(explained),
        }
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.write_vectored(slices),
            Inner::Tls(stream) => stream.write_vectored(slices).map_err(explained),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.flush(),
            Inner::Tls(stream) => stream.flush().map_err(explained),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

/// Replaces a TLS error by an explanation. With TLS 1.3 a server refuses a client's certificate only after the handshake, so
/// that error appears here too.
fn explained(error: io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls.map(explain::server_refused) {
        Some(explain::Explained { problem, remedy: "" }) => io::Error::new(error.kind(), problem),
        Some(explain::Explained { problem, remedy }) => {
            io::Error::new(error.kind(), format!("{problem}. {remedy}"))
        }
        // The text of rustls refers to its own documentation.
        None if error.kind() == io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), cut_short()),
        None => error,
    }
}

fn cut_short() -> String {
    format!(
        "the server closed the connection without TLS close_notify; if it requires a client certificate, set {}",
        Key::UpstreamClientCertificateFile.definition().name
    )
}

/// Sets the socket's time-outs so that the next read or write does not pass the deadline.
///
/// # Errors
/// `TimedOut` if the deadline has passed.
pub(super) fn limit_time(socket: &TcpStream, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.set_read_timeout(Some(left))?;
    socket.set_write_timeout(Some(left))
}

/// A stream whose reads and writes fail with `TimedOut` when a deadline passes.
#[derive(Debug)]
pub struct BeforeDeadline<'a, S> {
    stream: &'a mut S,
    deadline: Instant,
}

impl<'a, S: AsSocket> BeforeDeadline<'a, S> {
    /// Wraps a blocking stream.
    pub fn new(stream: &'a mut S, deadline: Instant) -> Self {
        Self { stream, deadline }
    }
}

impl<S: Read + AsSocket> Read for BeforeDeadline<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        limit_time(self.stream.as_socket(), self.deadline)?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl<S: Write + AsSocket> Write for BeforeDeadline<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        limit_time(self.stream.as_socket(), self.deadline)?;
        self.stream.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        limit_time(self.stream.as_socket(), self.deadline)?;
        self.stream.flush().map_err(timed_out)
    }
}

/// A stream on a socket whose time-outs can be set.
pub trait AsSocket {
    /// The socket.
    fn as_socket(&self) -> &TcpStream;
}

impl AsSocket for TcpStream {
    fn as_socket(&self) -> &TcpStream {
        self
    }
}

impl AsSocket for Stream {
    fn as_socket(&self) -> &TcpStream {
        self.socket()
    }
}

/// A blocking socket reports its time-out as `WouldBlock`: turns that into `TimedOut`.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some servers that require a client certificate just close the connection without it.
    #[test]
    fn the_error_for_an_end_without_close_notify_names_the_setting_and_no_manual() {
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, "peer closed: https://docs.rs/rustls");
        let error = explained(error);
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("set Upstream__ClientCertificateFile"), "{error}");
        assert!(!error.to_string().contains("docs.rs"), "{error}");
    }
}
