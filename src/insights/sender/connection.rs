//! One connection to the server, for one exchange after the other.
//!
//! Must not wait beyond the deadline of an exchange, however slowly the server takes or gives bytes, and must not send
//! anything on a connection that the server has closed, as far as that is visible. Follows no redirect.
//!
//! While a request is written, the answer is looked for: a server may answer before it has taken the body, and then read
//! no further, or close.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::{Stream, http};

use super::outcome::NoAnswer;

/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most that is read of an answer's body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long the rest of a body is waited for, once the head has said everything.
const BODY_WAIT: Duration = Duration::from_secs(2);
/// How long a connection may be unused before it is used again. Servers close idle ones after a time of their own, 5
/// seconds or more; a request that meets the close would have to be sent twice. Tests on a busy machine may pause longer.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 4 });

/// The answer to a request.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// The status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `Date`.
    pub date: Option<String>,
    /// `Location`.
    pub location: Option<String>,
    /// The beginning of the body.
    pub body: Vec<u8>,
    /// Whether another exchange may follow.
    pub can_continue: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// How the connection ended.
    pub how: NoAnswer,
    /// What the system or TLS says.
    pub detail: String,
    /// Whether any byte of an answer has come.
    pub has_begun: bool,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    last_used: Instant,
}

impl Connection {
    /// Of a stream that is just open.
    pub fn new(stream: Stream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, last_used: Instant::now() })
    }

    /// The stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether another exchange may begin: the server has not closed it, or said something unasked.
    pub fn is_fresh(&mut self) -> bool {
        let silent = |stream: &mut Stream| {
            let read = stream.read_without_writing(&mut [0; 1]);
            read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        self.last_used.elapsed() < IDLE_MAX && silent(&mut self.stream)
    }

    /// Sends a request and reads the answer. Afterwards the connection can be used again if the reply says so.
    pub fn exchange(&mut self, request: &[u8], deadline: Instant) -> Result<Reply, Lost> {
        let mut early = Vec::new();
        let sent = self.send(request, deadline, &mut early);
        let mut source = Source { stream: &mut self.stream, deadline, received: early.len() };
        // Even if not everything was sent: the server may have said why.
        let answer = http::read_head(&mut early.chain(&mut source), HEAD_BYTES_MAX);
        let mut reply = match (answer, sent) {
            (Ok(head), sent) => {
                let field = |name| head.field(name).map(str::to_owned);
                let reply = Reply {
                    status: head.status,
                    retry_after: field("retry-after"),
                    date: field("date"),
                    location: field("location"),
                    body: Vec::new(),
                    can_continue: matches!(sent, Ok(true)),
                };
                source.deadline = deadline.min(Instant::now() + BODY_WAIT);
                let skipped = head.skip_body(&mut source, BODY_BYTES_MAX);
                Reply {
                    body: skipped.beginning,
                    can_continue: reply.can_continue && skipped.can_continue,
                    ..reply
                }
            }
            (Err(_), Err(error)) | (Err(error), Ok(_)) => {
                return Err(Lost::by(&error, source.received > 0));
            }
        };
        self.last_used = Instant::now();
        reply.body.shrink_to_fit();
        Ok(reply)
    }

    /// Writes the request, and collects in `early` what comes meanwhile. Returns whether all of it was written, which an
    /// answer makes unnecessary.
    fn send(&mut self, request: &[u8], deadline: Instant, early: &mut Vec<u8>) -> io::Result<bool> {
        let mut rest = request;
        loop {
            let written =
                if rest.is_empty() { self.stream.flush().map(|()| 0) } else { self.stream.write(rest) };
            match written {
                Ok(0) if rest.is_empty() => return Ok(true),
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    within(deadline)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Before the wait: TLS may have taken in the answer already, and then the socket is silent.
                    if self.is_answered(early)? {
                        return Ok(false);
                    }
                    wait(&self.stream, PollFlags::IN | PollFlags::OUT, deadline)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what is there. Returns whether that is the head of an answer, or the end of the connection.
    fn is_answered(&mut self, early: &mut Vec<u8>) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read_without_writing(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => early.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            // What is no answer is reported when it is read again.
            if early.len() > HEAD_BYTES_MAX || !matches!(http::parse_head(early), Ok(None)) {
                return Ok(true);
            }
        }
    }
}

impl Lost {
    fn by(error: &io::Error, has_begun: bool) -> Self {
        let how = match error.kind() {
            ErrorKind::TimedOut => NoAnswer::TimedOut,
            ErrorKind::InvalidData => NoAnswer::NotHttp,
            _ => NoAnswer::Closed,
        };
        let detail = match error.kind() {
            ErrorKind::UnexpectedEof if error.get_ref().is_none() => {
                "the server closed the connection".into()
            }
            _ => error.to_string(),
        };
        Self { how, detail, has_begun }
    }
}

/// Reads from the stream, waiting for bytes until the deadline.
struct Source<'a> {
    stream: &'a mut Stream,
    deadline: Instant,
    received: usize,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            within(self.deadline)?;
            match self.stream.read_without_writing(buffer) {
                Ok(count) => {
                    self.received += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait(self.stream, PollFlags::IN, self.deadline)?;
                }
                // Trouble with TLS is not an answer that is not HTTP.
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return Err(io::Error::new(ErrorKind::ConnectionAborted, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// `TimedOut` if the deadline has passed.
fn within(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Waits until the stream's socket is ready, or has an error.
fn wait(stream: &Stream, ready: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        let left = within(deadline)?;
        let left = Timespec::try_from(left).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        match poll(&mut [PollFd::new(stream, ready)], Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
