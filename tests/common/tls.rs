//! A client that speaks TLS, and over it HTTP or FeatBit's streaming.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::certificates::{Authority, Pair};
use super::dataset::Kind;
use super::ws::token;
use super::{SOON, now_ms};

/// A connection over TLS.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Both versions that the agent speaks.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// The cryptography of the tests.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A client that trusts these authorities, and shows a certificate if it has one.
pub fn client(
    roots: RootCertStore,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&Pair>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("ring speaks all versions")
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_auth_cert(pair.chain(), pair.private_key()).expect("a good pair"),
    }
}

/// A client that trusts this authority.
pub fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    Arc::new(client(authority.roots(), &VERSIONS, None))
}

/// A socket to the agent, with a time-out on everything.
pub fn socket(port: u16) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, SOON).expect("the agent accepts");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_read_timeout(Some(SOON)).expect("a socket option");
    stream.set_write_timeout(Some(SOON)).expect("a socket option");
    stream
}

/// Connects and shakes hands; with TLS 1.3 a refusal of the client's certificate comes with the first read.
pub fn connect(port: u16, name: &str, configuration: &Arc<ClientConfig>) -> io::Result<Secure> {
    let name = name.to_owned().try_into().expect("a name");
    let connection = ClientConnection::new(configuration.clone(), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket(port));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// How the handshake went, once something has been read.
pub fn was_resumed(stream: &Secure) -> bool {
    stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// The certificate that the agent showed.
pub fn shown(stream: &Secure) -> CertificateDer<'static> {
    stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

/// One request, after which the agent closes; returns the status and the body.
pub fn get(stream: &mut (impl Read + Write), target: &str, headers: &str) -> io::Result<(u16, Vec<u8>)> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(&answer).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => {
            Ok((response.code.unwrap_or_default(), answer[length..].to_vec()))
        }
        httparse::Status::Partial => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A streaming connection over TLS.
#[derive(Debug)]
pub struct Streaming {
    socket: WebSocket<Secure>,
}

impl Streaming {
    /// Connects as an SDK does.
    pub fn open(port: u16, name: &str, configuration: &Arc<ClientConfig>, kind: Kind, secret: &str) -> Self {
        let stream = connect(port, name, configuration).expect("TLS is agreed on");
        let token = token(secret, now_ms(), 5);
        let url = format!("wss://{name}:{port}/streaming?type={}&token={token}", kind.as_str());
        let request = url.into_client_request().expect("a request");
        let (socket, _) = tungstenite::client(request, stream).expect("the agent upgrades");
        Self { socket }
    }

    /// Sends a message.
    pub fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).expect("it is open");
    }

    /// Asks for everything as a server SDK does.
    pub fn request_data(&mut self, timestamp: i64) {
        self.send(&json!({ "messageType": "data-sync", "data": { "timestamp": timestamp } }));
    }

    /// The next message.
    pub fn next(&mut self) -> Value {
        loop {
            match self.socket.read().expect("it is open") {
                Message::Text(text) => return serde_json::from_str(&text).expect("messages are JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("an unexpected frame: {other:?}"),
            }
        }
    }

    /// The `data` of the next message, which must be a `data-sync`.
    pub fn next_data(&mut self) -> Value {
        let mut message = self.next();
        assert_eq!(message["messageType"], "data-sync", "{message}");
        message["data"].take()
    }

    /// Whether it is open and nothing was sent before now.
    pub fn expect_pong(&mut self) {
        self.send(&json!({ "messageType": "ping", "data": null }));
        assert_eq!(self.next(), json!({ "messageType": "pong", "data": {} }));
    }

    /// Waits for the close; returns its code, and whether TLS ended in order.
    pub fn expect_close(&mut self) -> (Option<u16>, bool) {
        let code = loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => break frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        // Answers the close, as an SDK does.
        while self.socket.flush().is_ok() && self.socket.read().is_ok() {}
        let mut rest = Vec::new();
        (code, self.socket.get_mut().read_to_end(&mut rest).is_ok())
    }
}
