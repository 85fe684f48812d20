//! Many WebSocket clients on one thread. Each upgrades, asks for data, and then only counts its messages.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use featbit_agent::protocol::token;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use crate::connection::Connection;
use crate::data::Sdk;

/// Connections that are being opened at the same time, at most.
const UNDER_WAY_MAX: usize = 128;
/// How long a step may take before it counts as failed.
const STEP_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Upgrading,
    Waiting,
    Synced,
}

struct Client {
    stream: Connection,
    phase: Phase,
    /// Bytes of the current frame that have not arrived yet.
    rest: usize,
    /// The start of a frame header whose end has not arrived yet.
    partial: Vec<u8>,
    messages: u64,
}

/// The clients.
pub struct Crowd {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    tls: Option<Arc<ClientConfig>>,
}

/// A masked text frame with a mask of zero.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()) {
        Ok(short) if short < 126 => frame.push(0x80 | short as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => unreachable!("no SDK asks with 64 KB"),
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn upgrade_request(sdk: Sdk) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let token = token::encode(&sdk.secret(), now as i64, 20);
    format!(
        "GET /streaming?type={}&token={token} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        sdk.kind()
    )
}

impl Crowd {
    /// No clients yet.
    pub fn new() -> io::Result<Self> {
        Self::with_tls(None)
    }

    /// No clients yet. They will use TLS if there is a configuration for it.
    pub fn with_tls(tls: Option<Arc<ClientConfig>>) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::new(),
            buffer: vec![0; 1 << 16],
            tls,
        })
    }

    /// Connects `count` clients and waits until each has its first message.
    pub fn connect(&mut self, address: SocketAddr, count: usize, sdk: Sdk) -> io::Result<Duration> {
        let begun = Instant::now();
        let (mut begun_count, mut synced) = (0, 0);
        let mut ready: Vec<usize> = Vec::new();
        while synced < count {
            while begun_count < count && begun_count - synced < UNDER_WAY_MAX {
                let mut stream = Connection::connect(address, self.tls.as_ref())?;
                self.poll.registry().register(
                    &mut stream,
                    Token(begun_count),
                    Interest::READABLE | Interest::WRITABLE,
                )?;
                self.clients.push(Client {
                    stream,
                    phase: Phase::Upgrading,
                    rest: 0,
                    partial: Vec::new(),
                    messages: 0,
                });
                begun_count += 1;
            }
            self.wait(begun)?;
            ready.clear();
            let mut first_writes = Vec::new();
            for event in &self.events {
                if event.is_writable() {
                    first_writes.push(event.token().0);
                }
                if event.is_readable() {
                    ready.push(event.token().0);
                }
            }
            for index in first_writes {
                let client = &mut self.clients[index];
                if client.phase == Phase::Upgrading && client.rest == 0 {
                    client.rest = 1;
                    let written = client.stream.write(upgrade_request(sdk).as_bytes())?;
                    assert!(written > 0, "an empty socket takes a request");
                }
            }
            for index in &ready {
                let was = self.clients[*index].phase;
                self.read(*index, sdk)?;
                if was != Phase::Synced && self.clients[*index].phase == Phase::Synced {
                    synced += 1;
                }
            }
        }
        Ok(begun.elapsed())
    }

    /// Waits until every client has got one more message. Returns the times at which they did, sorted.
    pub fn wait_for_one_more(&mut self, begun: Instant) -> io::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(self.clients.len());
        let before: Vec<u64> = self.clients.iter().map(|client| client.messages).collect();
        while times.len() < self.clients.len() {
            self.wait(begun)?;
            let ready: Vec<usize> =
                self.events.iter().filter(|event| event.is_readable()).map(|event| event.token().0).collect();
            for index in ready {
                let had = self.clients[index].messages > before[index];
                self.read(index, Sdk::Server)?;
                if !had && self.clients[index].messages > before[index] {
                    times.push(begun.elapsed());
                }
            }
        }
        Ok(times)
    }

    /// Every client pings once; waits for all answers.
    pub fn ping(&mut self) -> io::Result<()> {
        let ping = frame(r#"{"messageType":"ping","data":null}"#);
        let begun = Instant::now();
        let before: Vec<u64> = self.clients.iter().map(|client| client.messages).collect();
        for client in &mut self.clients {
            client.stream.write_all(&ping)?;
        }
        let mut left = self.clients.len();
        while left > 0 {
            self.wait(begun)?;
            let ready: Vec<usize> =
                self.events.iter().filter(|event| event.is_readable()).map(|event| event.token().0).collect();
            for index in ready {
                let had = self.clients[index].messages > before[index];
                self.read(index, Sdk::Server)?;
                if !had && self.clients[index].messages > before[index] {
                    left -= 1;
                }
            }
        }
        Ok(())
    }

    fn wait(&mut self, begun: Instant) -> io::Result<()> {
        if begun.elapsed() > STEP_MAX {
            return Err(io::Error::other("a step took too long"));
        }
        match self.poll.poll(&mut self.events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    /// Reads what has arrived. A client that has just been upgraded asks for its data, as an SDK of this kind.
    fn read(&mut self, index: usize, sdk: Sdk) -> io::Result<()> {
        let Self { clients, buffer, .. } = self;
        let client = &mut clients[index];
        loop {
            let count = match client.stream.read(buffer) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if client.phase == Phase::Upgrading {
                if !buffer[..count].starts_with(b"HTTP/1.1 101") {
                    return Err(io::Error::other("the server refused an upgrade"));
                }
                client.phase = Phase::Waiting;
                client.rest = 0;
                client.stream.write_all(&frame(&sdk.ask(index)))?;
            } else {
                client.take(&buffer[..count]);
            }
            if count < buffer.len() {
                return Ok(());
            }
        }
    }
}

impl Client {
    /// Counts whole frames.
    fn take(&mut self, mut bytes: &[u8]) {
        loop {
            let skip = self.rest.min(bytes.len());
            self.rest -= skip;
            bytes = &bytes[skip..];
            if skip > 0 && self.rest == 0 {
                self.messages += 1;
                self.phase = Phase::Synced;
            }
            if bytes.is_empty() {
                return;
            }
            self.partial.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some(length) = payload_length(&self.partial) {
                self.rest = length;
                self.partial.clear();
            }
        }
    }
}

/// The payload length of a server's frame, once its header is complete.
fn payload_length(header: &[u8]) -> Option<usize> {
    match (header.get(1)? & 0x7f, header.len()) {
        (126, 4) => Some(usize::from(header[2]) << 8 | usize::from(header[3])),
        (126, _) => None,
        (127, 10) => Some(header[2..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte))),
        (127, _) => None,
        (short, _) => Some(usize::from(short)),
    }
}
