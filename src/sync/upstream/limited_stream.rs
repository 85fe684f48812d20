//! The stream below the WebSocket: counts the received bytes, and enforces a deadline while the connection is opened.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::client::Stream;

/// A stream with a deadline.
#[derive(Debug)]
pub(super) struct LimitedStream {
    stream: Stream,
    /// When a read or write times out; `None` once the stream is non-blocking.
    deadline: Option<Instant>,
    /// If set, each received byte moves the deadline to this time from now.
    patience: Option<Duration>,
    /// How many bytes were read.
    pub read_bytes: u64,
}

impl LimitedStream {
    /// A blocking stream whose reads and writes time out at `deadline`.
    pub fn new(stream: Stream, deadline: Instant) -> Self {
        Self { stream, deadline: Some(deadline), patience: None, read_bytes: 0 }
    }

    /// Lets reads and writes block while bytes come in at least every `patience`.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
        self.deadline = Some(Instant::now() + patience);
    }

    /// Sets when reads and writes time out. If a patience is set, the next bytes replace this deadline.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Makes reads and writes non-blocking from now on.
    pub fn set_nonblocking(&mut self) -> io::Result<()> {
        (self.deadline, self.patience) = (None, None);
        self.stream.set_read_timeout(None)?;
        self.stream.set_write_timeout(None)?;
        self.stream.set_nonblocking(true)
    }

    /// The underlying stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Half-closes the connection.
    pub fn shutdown_write(&mut self) {
        // An error means that the connection has ended already.
        let _ = self.stream.shutdown_write();
    }

    fn limit_time(&self) -> io::Result<()> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.set_write_timeout(Some(left))
    }

    /// A blocking socket reports its time-out as `WouldBlock`.
    fn timed_out(&self, error: io::Error) -> io::Error {
        match (self.deadline, error.kind()) {
            (Some(_), io::ErrorKind::WouldBlock) => io::ErrorKind::TimedOut.into(),
            _ => error,
        }
    }
}

impl Read for LimitedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.limit_time()?;
        let read = self.stream.read(buffer).map_err(|error| self.timed_out(error))?;
        self.read_bytes += read as u64;
        if let Some(patience) = self.patience {
            self.deadline = Some(Instant::now() + patience);
        }
        Ok(read)
    }
}

impl Write for LimitedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limit_time()?;
        self.stream.write(bytes).map_err(|error| self.timed_out(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.limit_time()?;
        self.stream.flush().map_err(|error| self.timed_out(error))
    }
}
