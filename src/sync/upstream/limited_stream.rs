//! The stream under the WebSocket: counts the bytes that come in, and until the connection is open no read or write goes
//! on after the deadline.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::client::Stream;

/// A stream with a deadline.
#[derive(Debug)]
pub(super) struct LimitedStream {
    stream: Stream,
    /// `None` once it does not block.
    deadline: Option<Instant>,
    /// How long whatever comes next may take: the deadline moves on with each byte.
    patience: Option<Duration>,
    /// Bytes read.
    pub read_bytes: u64,
}

impl LimitedStream {
    /// Blocking, until `deadline`.
    pub fn new(stream: Stream, deadline: Instant) -> Self {
        Self { stream, deadline: Some(deadline), patience: None, read_bytes: 0 }
    }

    /// Reads and writes block as long as something comes in at least every `patience`.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
        self.deadline = Some(Instant::now() + patience);
    }

    /// Reads and writes block until `deadline`, or as long as something comes in from now on.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Reads and writes do not wait from now on.
    pub fn set_nonblocking(&mut self) -> io::Result<()> {
        (self.deadline, self.patience) = (None, None);
        self.stream.set_read_timeout(None)?;
        self.stream.set_write_timeout(None)?;
        self.stream.set_nonblocking(true)
    }

    /// The stream inside.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Says that nothing more is sent.
    pub fn shutdown_write(&mut self) {
        // It makes no difference to a server that is gone already.
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
