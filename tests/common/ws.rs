//! A WebSocket client that speaks FeatBit's streaming protocol as an SDK does. tungstenite is used on this side only
//! so far as its strictness helps: a frame it does not accept fails the test.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::agent::Agent;
use super::dataset::Kind;
use super::{SOON, now_ms};

/// One streaming connection.
#[derive(Debug)]
pub struct Stream {
    socket: WebSocket<TcpStream>,
}

/// What came next on a connection.
#[derive(Debug)]
pub enum Next {
    /// A text message, parsed.
    Message(Value),
    /// The peer closed, with this code; `None` without a close frame.
    Closed(Option<u16>),
    /// Nothing came in time.
    Nothing,
}

/// Where an SDK of this kind streams with a secret, with a token of now.
pub fn target(kind: Kind, secret: &str) -> String {
    format!("/streaming?type={}&token={}", kind.as_str(), token(secret, now_ms(), 9))
}

/// The connection token of a secret at a time (Unix milliseconds), with the time inserted after `position` characters.
pub fn token(secret: &str, at_ms: i64, position: usize) -> String {
    let digits = |text: String| -> String {
        text.bytes().map(|digit| b"QBWSPHDXZU"[usize::from(digit - b'0')] as char).collect()
    };
    let secret = secret.trim_end_matches('=');
    let position = position.min(secret.len());
    let at = at_ms.to_string();
    let head = digits(format!("{position:03}{:02}", at.len()));
    format!("{head}{}{}{}", &secret[..position], digits(at), &secret[position..])
}

impl Stream {
    /// Connects with a fresh token.
    pub fn connect(agent: &Agent, kind: Kind, secret: &str) -> Self {
        let position = (usize::try_from(now_ms() % 40).expect("a small number") + 2).min(secret.len());
        Self::open(
            agent,
            &format!("/streaming?type={}&token={}", kind.as_str(), token(secret, now_ms(), position)),
        )
    }

    /// The same, saying who it is by `User-Agent`.
    pub fn connect_as(agent: &Agent, kind: Kind, secret: &str, name: &str) -> Self {
        let token = token(secret, now_ms(), 2);
        Self::open_as(
            agent,
            &format!("/streaming?token={token}&type={}&version=2", kind.as_str()),
            Some(name),
        )
    }

    /// Connects to a path as it is written.
    pub fn open(agent: &Agent, path: &str) -> Self {
        Self::open_as(agent, path, None)
    }

    fn open_as(agent: &Agent, path: &str, name: Option<&str>) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], agent.port()));
        let stream = TcpStream::connect_timeout(&address, SOON).expect("the agent accepts");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(SOON)).expect("a socket option");
        stream.set_write_timeout(Some(SOON)).expect("a socket option");
        let mut request =
            format!("ws://127.0.0.1:{}{path}", agent.port()).into_client_request().expect("a request");
        if let Some(name) = name {
            request.headers_mut().insert("User-Agent", name.parse().expect("a header's value"));
        }
        let (socket, _) = tungstenite::client(request, stream)
            .unwrap_or_else(|error| agent.fail(&format!("the upgrade failed: {error}")));
        Self { socket }
    }

    /// Sends a message.
    pub fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).expect("the connection is open");
    }

    /// The connection itself, for frames of another kind.
    pub fn socket(&mut self) -> &mut WebSocket<TcpStream> {
        &mut self.socket
    }

    /// Asks for data as a server SDK does.
    pub fn request_data(&mut self, timestamp: i64) {
        self.send(&json!({ "messageType": "data-sync", "data": { "timestamp": timestamp } }));
    }

    /// Asks for data as a client SDK does.
    pub fn request_data_for(&mut self, timestamp: i64, user: &Value) {
        self.send(&json!({ "messageType": "data-sync", "data": { "timestamp": timestamp, "user": user } }));
    }

    /// The next message or close. Control frames are answered and skipped.
    pub fn next_within(&mut self, within: Duration) -> Next {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Nothing;
            }
            self.socket.get_ref().set_read_timeout(Some(left)).expect("a socket option");
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return Next::Message(serde_json::from_str(&text).expect("messages are JSON"));
                }
                Ok(Message::Close(frame)) => return Next::Closed(frame.map(|frame| frame.code.into())),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(other) => panic!("an unexpected frame: {other:?}"),
                Err(tungstenite::Error::Io(error)) if would_block(&error) => return Next::Nothing,
                Err(_) => return Next::Closed(None),
            }
        }
    }

    /// The next message.
    pub fn next(&mut self) -> Value {
        match self.next_within(SOON) {
            Next::Message(message) => message,
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// The `data` of the next message, which must be a `data-sync`.
    pub fn next_data(&mut self) -> Value {
        let mut message = self.next();
        assert_eq!(message["messageType"], "data-sync", "{message}");
        message["data"].take()
    }

    /// Waits for the close, and returns its code.
    pub fn expect_close(&mut self, within: Duration) -> Option<u16> {
        match self.next_within(within) {
            Next::Closed(code) => code,
            other => panic!("expected a close, got {other:?}"),
        }
    }

    /// Makes sure that nothing was sent before now: what comes next is the answer to a ping.
    pub fn expect_nothing_new(&mut self) {
        self.send(&json!({ "messageType": "ping", "data": null }));
        let next = self.next();
        assert_eq!(next, json!({ "messageType": "pong", "data": {} }), "something came before the pong");
    }
}

fn would_block(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
