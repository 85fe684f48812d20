//! The plain twin of [`RustlsChannel`](super::super::unbuffered::RustlsChannel): rustls' buffered interface.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use super::super::{Channel, Established, Failure, Outgoing, Received};

pub struct Buffered {
    connection: ServerConnection,
    established: bool,
}

impl Buffered {
    pub fn new(configuration: Arc<ServerConfig>) -> Self {
        let mut connection = ServerConnection::new(configuration).unwrap();
        connection.set_buffer_limit(None);
        Self { connection, established: false }
    }

    fn flush(&mut self, out: &mut Outgoing) {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).unwrap();
        }
        out.push(&bytes);
    }
}

impl Channel for Buffered {
    fn receive(
        &mut self,
        mut bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Outgoing,
    ) -> Result<Received, Failure> {
        let mut received = Received::default();
        while !bytes.is_empty() {
            let mut reader: &[u8] = bytes;
            let taken = self.connection.read_tls(&mut reader).map_err(|_| Failure::Protocol)?;
            bytes = &mut bytes[taken..];
            let state = match self.connection.process_new_packets() {
                Ok(state) => state,
                Err(_) => {
                    self.flush(out);
                    return Err(Failure::Protocol);
                }
            };
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut plain[start..]).unwrap();
            if state.peer_has_closed() {
                received.ended = true;
                break;
            }
        }
        self.flush(out);
        if !self.established && !self.connection.is_handshaking() {
            self.established = true;
            let resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
            received.established = Some(if resumed { Established::Resumed } else { Established::Anew });
        }
        Ok(received)
    }

    fn seal(&mut self, plain: &[u8], out: &mut Outgoing) -> Result<(), Failure> {
        self.connection.writer().write_all(plain).unwrap();
        self.flush(out);
        Ok(())
    }

    fn close_notify(&mut self, out: &mut Outgoing) {
        self.connection.send_close_notify();
        self.flush(out);
    }

    fn is_established(&self) -> bool {
        self.established
    }
}
