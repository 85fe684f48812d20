//! An open WebSocket connection to the server: receives and sends whole messages.
//!
//! Must not interpret a message, and must not log any of its bytes.

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

/// The most unsent bytes. The agent sends only pings, status reports and requests, so with more than that unsent the server
/// has stopped reading.
const UNSENT_BYTES_MAX: usize = 1 << 20;

/// A connection after the WebSocket handshake.
#[derive(Debug)]
pub(super) struct Connection {
    socket: WebSocket<LimitedStream>,
    /// If the server is an agent: that agent and those upstream of it, as it names them in the handshake.
    pub path: Vec<String>,
    /// How many of the bytes read belong to complete messages.
    complete_bytes: u64,
}

/// The result of reading from a connection.
#[derive(Debug)]
pub(super) enum Next {
    /// A message.
    Message(Bytes),
    /// There is no complete message yet.
    Blocked,
    /// The connection has ended.
    Ended(ConnectionEnd),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ConnectionEnd {
    /// By a close frame with this code; [`CloseCode::NONE_GIVEN`] if it has none.
    Closed(CloseCode),
    /// By a message that is longer than allowed; the number of its bytes.
    TooLarge(usize),
    /// Without a close frame, or by an error; the description.
    Broken(String),
}

/// Why the WebSocket was not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The server, or something in front of it, sent another answer.
    Answered(Box<Reply>),
    /// The handshake failed; the description.
    Failed(String),
}

impl Connection {
    /// Performs the WebSocket handshake on a connection to the server.
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
                Err(OpenError::Failed(describe_handshake_error(&error)))
            }
        }
    }

    /// Lets reads and writes block while bytes come in at least every `patience`.
    pub fn set_patience(&mut self, patience: Duration) {
        self.socket.get_mut().set_patience(patience);
    }

    /// Sets when reads and writes time out. If [`Self::set_patience`] was called, the next bytes replace this deadline.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.socket.get_mut().set_deadline(deadline);
    }

    /// Makes reads and writes non-blocking from now on.
    pub fn set_nonblocking(&mut self) -> io::Result<()> {
        self.socket.get_mut().set_nonblocking()
    }

    /// The descriptor, to register with a poller.
    pub fn descriptor(&self) -> RawFd {
        self.socket.get_ref().stream().as_raw_fd()
    }

    /// How many bytes were received so far.
    pub fn read_bytes(&self) -> u64 {
        self.socket.get_ref().read_bytes
    }

    /// Whether the last bytes received belong to an incomplete message.
    pub fn has_incomplete_message(&self) -> bool {
        self.read_bytes() > self.complete_bytes
    }

    /// Reads the next message.
    pub fn next(&mut self) -> Next {
        loop {
            let read = self.socket.read();
            self.complete_bytes = match &read {
                // A control frame may come between the frames of a message: only its own header (2 bytes) and payload are
                // complete.
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
                    // Tungstenite has queued the answer. Whether it still arrives does not matter.
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

    /// Sends as much of a message as the socket takes. The rest is sent with the next message, or by [`Self::flush`].
    pub fn send(&mut self, text: String) -> Result<(), ConnectionEnd> {
        Self::sent(self.socket.send(Message::text(text)))
    }

    /// Sends unsent bytes, as far as the socket takes them.
    pub fn flush(&mut self) -> Result<(), ConnectionEnd> {
        Self::sent(self.socket.flush())
    }

    /// Sends a close frame. Messages can be read until the server's own close frame.
    pub fn close(&mut self) {
        let frame = CloseFrame { code: CloseCode::NORMAL.get().into(), reason: "".into() };
        // If sending fails, the next read reports how the connection has ended.
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
            // The next read reports how the connection has ended.
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
        // The text itself is not logged.
        Error::Utf8(_) => ConnectionEnd::Broken("the server sent a text that is not UTF-8".into()),
        Error::WriteBufferFull(_) => ConnectionEnd::Broken("the server has stopped reading".into()),
        _ => ConnectionEnd::Broken("the WebSocket failed".into()),
    }
}

/// An answer other than the upgrade, with the fields that show who sent it.
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
        // The part that was received together with the head.
        body: response.body().clone().unwrap_or_default(),
    }
}

fn describe_handshake_error(error: &Error) -> String {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            "it did not answer the WebSocket handshake in time".into()
        }
        Error::Io(error) => format!("the connection broke off in the WebSocket handshake ({error})"),
        Error::Protocol(error) => format!("its answer to the WebSocket handshake is wrong ({error})"),
        Error::HttpFormat(_) | Error::Url(_) => "its address cannot be asked for a WebSocket".into(),
        _ => "its answer to the WebSocket handshake cannot be parsed".into(),
    }
}

#[cfg(test)]
mod tests;
