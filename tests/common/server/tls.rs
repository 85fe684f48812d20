//! The server's side of TLS, on a connection that one thread reads and another writes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection};

use crate::common::certificates::{Authority, Pair};

/// A server that shows this certificate and, where an authority is given, wants one of it from clients.
pub fn configuration(pair: &Pair, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring speaks all versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider)
                .build()
                .expect("an authority"),
        ),
    };
    Arc::new(builder.with_single_cert(pair.chain(), pair.private_key()).expect("a certificate and its key"))
}

/// The TLS of one connection.
#[derive(Debug)]
pub struct Tls {
    session: Mutex<Session>,
}

#[derive(Debug)]
struct Session {
    connection: ServerConnection,
    plain: Vec<u8>,
}

impl Tls {
    /// Before the handshake, which the first read does.
    pub fn new(configuration: Arc<ServerConfig>) -> Self {
        let mut connection = ServerConnection::new(configuration).expect("a configuration that fits");
        connection.set_buffer_limit(None);
        Self { session: Mutex::new(Session { connection, plain: Vec::new() }) }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().expect("no thread panics with the lock")
    }

    /// Waits for plain bytes; 0 is the end. The lock is not held while it waits.
    pub fn read(&self, mut tcp: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        loop {
            {
                let plain = &mut self.session().plain;
                if !plain.is_empty() {
                    let count = plain.len().min(into.len());
                    into[..count].copy_from_slice(&plain[..count]);
                    plain.drain(..count);
                    return Ok(count);
                }
            }
            let count = tcp.read(&mut chunk)?;
            if count == 0 {
                return Ok(0);
            }
            self.session().take(&chunk[..count], tcp)?;
        }
    }

    /// Writes all of it.
    pub fn write_all(&self, tcp: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        let mut session = self.session();
        session.connection.writer().write_all(bytes)?;
        session.flush(tcp)
    }

    /// Says that nothing more will come.
    pub fn finish(&self, tcp: &TcpStream) -> io::Result<()> {
        let mut session = self.session();
        session.connection.send_close_notify();
        session.flush(tcp)
    }
}

impl Session {
    fn take(&mut self, mut sealed: &[u8], tcp: &TcpStream) -> io::Result<()> {
        while !sealed.is_empty() {
            self.connection.read_tls(&mut sealed)?;
            let state = match self.connection.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert says why.
                    let _ = self.flush(tcp);
                    return Err(io::Error::other(error));
                }
            };
            let start = self.plain.len();
            self.plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut self.plain[start..])?;
        }
        self.flush(tcp)
    }

    fn flush(&mut self, mut tcp: &TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut tcp)?;
        }
        Ok(())
    }
}
