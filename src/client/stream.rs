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

    /// The socket, for its options. Who reads or writes on it breaks the encryption.
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

    /// Ends reads that take longer, with `WouldBlock`; `None` waits for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket().set_read_timeout(timeout)
    }

    /// Ends writes that take longer, with `WouldBlock`; `None` waits for ever.
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

    /// Tells the server that nothing more will be sent; what it still sends can be read.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        if let Inner::Tls(stream) = &mut self.0 {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }
}

impl Read for Stream {
    /// An end without TLS's own `close_notify` is an error of kind `UnexpectedEof`: what came may have been cut short.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.read(buffer),
            Inner::Tls(stream) => stream.read(buffer).map_err(in_words),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.write(bytes),
            Inner::Tls(stream) => stream.write(bytes).map_err(in_words),
        }
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.write_vectored(slices),
            Inner::Tls(stream) => stream.write_vectored(slices).map_err(in_words),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.flush(),
            Inner::Tls(stream) => stream.flush().map_err(in_words),
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

/// An error of TLS in words. With TLS 1.3 a server refuses a client's certificate after the handshake, so that it comes
/// out here.
fn in_words(error: io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls.map(explain::server_refused) {
        Some(explain::Explained { problem, remedy: "" }) => io::Error::new(error.kind(), problem),
        Some(explain::Explained { problem, remedy }) => {
            io::Error::new(error.kind(), format!("{problem}. {remedy}"))
        }
        // rustls tells that with a page of its manual.
        None if error.kind() == io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), cut_short()),
        None => error,
    }
}

fn cut_short() -> String {
    format!(
        "the server ended it without a word of TLS; if it asks for a client certificate, set {}",
        Key::UpstreamClientCertificateFile.definition().name
    )
}

/// Lets no single read or write go past the deadline.
///
/// # Errors
/// `TimedOut` if it has come.
pub(super) fn limit_time(socket: &TcpStream, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.set_read_timeout(Some(left))?;
    socket.set_write_timeout(Some(left))
}

/// A stream whose reads and writes do not go on after a deadline: they fail with `TimedOut`.
#[derive(Debug)]
pub struct BeforeDeadline<'a, S> {
    stream: &'a mut S,
    deadline: Instant,
}

impl<'a, S: AsSocket> BeforeDeadline<'a, S> {
    /// Borrows a stream that blocks.
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

/// What reads and writes on a socket, and can be given time-outs by it.
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

/// A blocking socket says of its time-out that it would block.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some servers that want a client certificate just hang up.
    #[test]
    fn a_server_that_hangs_up_is_told_with_the_setting_and_without_a_page_of_a_manual() {
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, "peer closed: https://docs.rs/rustls");
        let told = in_words(error);
        assert_eq!(told.kind(), io::ErrorKind::UnexpectedEof);
        assert!(told.to_string().contains("set Upstream__ClientCertificateFile"), "{told}");
        assert!(!told.to_string().contains("docs.rs"), "{told}");
    }
}
