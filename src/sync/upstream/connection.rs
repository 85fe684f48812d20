//! An open WebSocket to the server: its messages, one after the other, and what is sent on it.
//!
//! Must not know what a message says. Nothing here shows a byte of one.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tungstenite::error::CapacityError;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::protocol::close::CloseCode;
use crate::protocol::relay_path::{PATH_FIELD, parse_path};

use super::endpoint::Endpoint;
use super::limited_stream::LimitedStream;
use super::reply::Reply;

/// What sockets take at once in vain, beyond which the connection is as good as dead. The agent sends pings, status
/// reports and requests only.
const UNSENT_BYTES_MAX: usize = 1 << 20;

/// A connection on which the WebSocket handshake is done.
#[derive(Debug)]
pub(super) struct Connection {
    socket: WebSocket<LimitedStream>,
    /// The agents from the other end up to the FeatBit server, if the other end is an agent and names them.
    pub path: Vec<String>,
    /// What had been read when the last frame that counts was complete.
    complete_bytes: u64,
}

/// What comes next on a connection.
#[derive(Debug)]
pub(super) enum Next {
    /// A message.
    Message(Bytes),
    /// Nothing for now.
    Blocked,
    /// It has ended.
    Ended(ConnectionEnd),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ConnectionEnd {
    /// By a close frame of this code; [`CloseCode::NONE_GIVEN`] if it names none.
    Closed(CloseCode),
    /// A message is longer than allowed: this many bytes.
    TooLarge(usize),
    /// Without a close frame, or by an error; in words.
    Broken(String),
}

/// Why the WebSocket was not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// By an answer of another kind.
    Answered(Box<Reply>),
    /// In words.
    Failed(String),
}

impl Connection {
    /// Does the WebSocket handshake on a connection to the server.
    pub fn open(wire: LimitedStream, endpoint: &Endpoint, message_bytes_max: u64) -> Result<Self, OpenError> {
        let bytes_max = usize::try_from(message_bytes_max).unwrap_or(usize::MAX);
        let config = WebSocketConfig::default()
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max))
            .write_buffer_size(0)
            .max_write_buffer_size(UNSENT_BYTES_MAX);
        let handshake = tungstenite::client::client_with_config(endpoint.stream_url(), wire, Some(config));
        match handshake {
            Ok((socket, answer)) => {
                let field = answer.headers().get(PATH_FIELD).and_then(|value| value.to_str().ok());
                let path = field.map(parse_path).unwrap_or_default();
                let complete_bytes = socket.get_ref().read_bytes;
                Ok(Self { socket, path, complete_bytes })
            }
            Err(tungstenite::HandshakeError::Interrupted(_)) => {
                Err(OpenError::Failed("it did not answer the WebSocket handshake in time".into()))
            }
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                Err(OpenError::Answered(Box::new(reply_of(&response))))
            }
            Err(tungstenite::HandshakeError::Failure(error)) => {
                Err(OpenError::Failed(handshake_fault(&error)))
            }
        }
    }

    /// Reads and writes block as long as something comes in at least every `patience`.
    pub fn set_patience(&mut self, patience: Duration) {
        self.socket.get_mut().set_patience(patience);
    }

    /// Reads and writes block until `deadline`, or as long as something comes in from now on.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.socket.get_mut().set_deadline(deadline);
    }

    /// Reads and writes do not wait from now on.
    pub fn set_nonblocking(&mut self) -> io::Result<()> {
        self.socket.get_mut().set_nonblocking()
    }

    /// The descriptor to wait for.
    pub fn descriptor(&self) -> RawFd {
        self.socket.get_ref().stream().as_raw_fd()
    }

    /// Bytes that came in so far.
    pub fn read_bytes(&self) -> u64 {
        self.socket.get_ref().read_bytes
    }

    /// Whether the last bytes that came in are of a message that is not complete.
    pub fn is_unfinished(&self) -> bool {
        self.read_bytes() > self.complete_bytes
    }

    /// What comes next.
    pub fn next(&mut self) -> Next {
        loop {
            let read = self.socket.read();
            self.complete_bytes = match &read {
                // One may stand between the frames of a message: its own two bytes and payload are complete, no more.
                Ok(Message::Ping(payload) | Message::Pong(payload)) => {
                    (self.complete_bytes + 2 + payload.len() as u64).min(self.read_bytes())
                }
                Ok(_) => self.read_bytes(),
                Err(_) => self.complete_bytes,
            };
            match read {
                Ok(Message::Text(text)) => return Next::Message(text.into()),
                Ok(Message::Binary(bytes)) => return Next::Message(bytes),
                Ok(Message::Close(frame)) => {
                    // The answer is queued; whether it arrives makes no difference any more.
                    let _ = self.socket.flush();
                    self.socket.get_mut().shutdown_write();
                    let code = frame.map_or(CloseCode::NONE_GIVEN, |frame| CloseCode::new(frame.code.into()));
                    return Next::Ended(ConnectionEnd::Closed(code));
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Next::Blocked,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Next::Ended(ended(&error)),
            }
        }
    }

    /// Sends a message, as far as the socket takes it; the rest goes with the next one, or by [`Self::flush`].
    pub fn send(&mut self, text: String) -> Result<(), ConnectionEnd> {
        Self::sent(self.socket.send(Message::text(text)))
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> Result<(), ConnectionEnd> {
        Self::sent(self.socket.flush())
    }

    /// Sends a close frame. What the server still sends can be read, until its own close frame.
    pub fn close(&mut self) {
        let frame = CloseFrame { code: CloseCode::NORMAL.get().into(), reason: "".into() };
        // If it cannot be sent any more, reading shows that the connection has ended.
        let _ = self.socket.close(Some(frame));
    }

    fn sent(sent: Result<(), Error>) -> Result<(), ConnectionEnd> {
        match sent {
            Ok(()) => Ok(()),
            Err(Error::Io(error))
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
            {
                Ok(())
            }
            // How it ended is found when reading.
            Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => Ok(()),
            Err(error) => Err(ended(&error)),
        }
    }
}

fn ended(error: &Error) -> ConnectionEnd {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, .. }) => ConnectionEnd::TooLarge(*size),
        Error::ConnectionClosed | Error::AlreadyClosed => ConnectionEnd::Closed(CloseCode::ABNORMAL),
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            ConnectionEnd::Broken("nothing came in time".into())
        }
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ConnectionEnd::Broken("the server ended it without a close frame".into())
        }
        Error::Io(error) => ConnectionEnd::Broken(format!("it broke off ({error})")),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            ConnectionEnd::Broken("the server ended it without a close frame".into())
        }
        Error::Protocol(error) => {
            ConnectionEnd::Broken(format!("the server broke the WebSocket protocol ({error})"))
        }
        // What cannot be read is not repeated.
        Error::Utf8(_) => ConnectionEnd::Broken("the server sent a text that is not UTF-8".into()),
        Error::WriteBufferFull(_) => ConnectionEnd::Broken("the server takes nothing any more".into()),
        _ => ConnectionEnd::Broken("the WebSocket failed".into()),
    }
}

/// An answer that is no upgrade, with what shows who gave it.
fn reply_of(response: &tungstenite::http::Response<Option<Vec<u8>>>) -> Reply {
    let said = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    Reply {
        status: response.status().as_u16(),
        kind: said("content-type"),
        location: said("location"),
        server: said("server"),
        authenticate: said("www-authenticate"),
        // As far as it came with the head.
        body: response.body().clone().unwrap_or_default(),
    }
}

fn handshake_fault(error: &Error) -> String {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            "it did not answer the WebSocket handshake in time".into()
        }
        Error::Io(error) => format!("the connection broke off in the WebSocket handshake ({error})"),
        Error::Protocol(error) => format!("its answer to the WebSocket handshake is wrong ({error})"),
        Error::HttpFormat(_) | Error::Url(_) => "its address cannot be asked for a WebSocket".into(),
        _ => "its answer to the WebSocket handshake cannot be understood".into(),
    }
}

#[cfg(test)]
mod tests;
