//! Commands and answers on one connection: bytes out, values in.
//!
//! Must not know what a command means.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use redis::{Parser, Value};

use super::error::{ErrorKind, RedisError};
use crate::client::Stream;

/// How long a step may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// Until a moment, over all steps.
    Until(Instant),
    /// As long as the other side is never silent for this time.
    Silence(Duration),
}

impl Limit {
    /// The longest that the next read or write may take.
    fn left(self) -> io::Result<Duration> {
        let left = match self {
            Limit::Until(deadline) => deadline.saturating_duration_since(Instant::now()),
            Limit::Silence(silence) => silence,
        };
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// A stream with the answers that have arrived in part.
pub(super) struct Exchange {
    stream: Stream,
    parser: Parser,
    pub limit: Limit,
    /// The first byte that ever came.
    first: Option<u8>,
    is_open: bool,
}

impl Exchange {
    pub fn new(stream: Stream, limit: Limit) -> Self {
        Self { stream, parser: Parser::new(), limit, first: None, is_open: true }
    }

    /// Whether it can still be used: a failed one would give the answers of earlier commands.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    pub fn send(&mut self, bytes: &[u8]) -> redis::RedisResult<()> {
        if !self.is_open {
            return Err(
                io::Error::new(io::ErrorKind::NotConnected, "the connection has failed before").into()
            );
        }
        let limited = self.limit.left().and_then(|left| self.stream.set_write_timeout(Some(left)));
        let sent = limited.and_then(|()| self.stream.write_all(bytes)).and_then(|()| self.stream.flush());
        sent.map_err(|error| {
            self.is_open = false;
            timed_out(error).into()
        })
    }

    /// The next answer. An error of the server is a value, too.
    pub fn receive(&mut self) -> redis::RedisResult<Value> {
        let value = self.parse();
        self.is_open &= value.is_ok();
        value
    }

    /// The next message, or `None` if none has come within the limit. What came of one is kept for the next call.
    pub fn receive_in_time(&mut self) -> redis::RedisResult<Option<Value>> {
        match self.parse() {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => {
                self.is_open = false;
                Err(error)
            }
        }
    }

    fn parse(&mut self) -> redis::RedisResult<Value> {
        let Self { stream, parser, limit, first, .. } = self;
        parser.parse_value(Input { stream, limit: *limit, first })
    }

    /// What to make of an error of the first answer: plain text on a port with TLS gets an alert of TLS, or just an end.
    pub fn explain(&self, error: RedisError, address: &str) -> RedisError {
        const SWITCH: &str = "Write ssl=true in Redis__ConnectionString, or rediss:// instead of redis://";
        const ALERT: u8 = 21;
        if self.stream.is_encrypted() {
            return error;
        }
        match (self.first, error.kind) {
            (Some(ALERT), _) => {
                RedisError::new(ErrorKind::NeedsTls, address, "it speaks TLS on this port", SWITCH)
            }
            (None, ErrorKind::Closed) => RedisError::new(
                ErrorKind::NeedsTls,
                address,
                "it ended the connection without an answer, as a port with TLS does",
                SWITCH,
            ),
            _ => error,
        }
    }
}

/// The stream as the parser reads it.
struct Input<'a> {
    stream: &'a mut Stream,
    limit: Limit,
    first: &'a mut Option<u8>,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(self.limit.left()?))?;
            match self.stream.read(buffer) {
                Ok(count) => {
                    if count > 0 && self.first.is_none() {
                        *self.first = buffer.first().copied();
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error)),
            }
        }
    }
}

/// A blocking socket reports its time-out as `WouldBlock`: turns that into `TimedOut`.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
