//! Implements [`Channel`] with rustls' unbuffered interface.
//!
//! Must not expose that interface: a later version of rustls replaces it.

use std::fmt;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CertificateError, Error, HandshakeKind, ServerConfig};

use super::{Channel, Established, Failure, Outgoing, Received};

/// The longest encrypted input that is kept: a handshake message of 64 KB in many small records.
const KEPT_BYTES_MAX: usize = 128 * 1024;
/// An upper estimate of what a record adds to its plaintext: the first guess for the room that is needed.
const RECORD_OVERHEAD: usize = 64;

/// TLS of one accepted connection.
pub struct RustlsChannel {
    connection: UnbufferedServerConnection,
    /// Incomplete encrypted input. Every call to rustls must include it.
    pub(super) kept: Vec<u8>,
    established: bool,
    failed: bool,
    certificate_error: Option<&'static str>,
}

impl fmt::Debug for RustlsChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustlsChannel").field("established", &self.established).finish_non_exhaustive()
    }
}

/// What to do after one state of the connection.
enum Step {
    Again,
    Done,
}

impl RustlsChannel {
    /// A channel for a new connection.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn new(configuration: Arc<ServerConfig>) -> Result<Self, Error> {
        let connection = UnbufferedServerConnection::new(configuration)?;
        Ok(Self { connection, kept: Vec::new(), established: false, failed: false, certificate_error: None })
    }

    /// Memory of input that is kept until the rest of its record arrives, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.kept.capacity()
    }

    /// What was wrong with the client's certificate, if the client was refused for it.
    pub fn certificate_error(&self) -> Option<&'static str> {
        self.certificate_error
    }

    /// Processes `bytes`. Returns how many of them are consumed.
    fn process(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Outgoing,
        received: &mut Received,
    ) -> Result<usize, Failure> {
        let mut done = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(&mut bytes[done..]);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| failure(&error))?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    Step::Again
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(out, |room| data.encode(room))?;
                    Step::Again
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Step::Again
                }
                Ok(ConnectionState::PeerClosed) => {
                    received.ended = true;
                    Step::Again
                }
                Ok(ConnectionState::Closed) => {
                    received.ended = true;
                    Step::Done
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Step::Done,
                // No configuration of this program allows early data.
                Ok(_) => return Err(Failure::Internal),
                Err(error) => {
                    done += discard;
                    self.certificate_error = certificate_problem(&error);
                    self.alert(&mut bytes[done..], out);
                    return Err(failure(&error));
                }
            };
            done += discard;
            if let Step::Done = step {
                return Ok(done);
            }
        }
    }

    /// Appends the alert of a failure, if there is one, and the messages that come before it: in TLS 1.3 the alert about an
    /// unknown protocol follows the server's hello.
    fn alert(&mut self, bytes: &mut [u8], out: &mut Outgoing) {
        // Only as long as rustls has output: otherwise it would process the input again and fail again.
        while self.connection.wants_write() {
            let state = self.connection.process_tls_records(bytes).state;
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            // The connection ends anyway; the alert is optional.
            let _ = encode(out, |room| data.encode(room));
        }
    }
}

impl Channel for RustlsChannel {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Outgoing,
    ) -> Result<Received, Failure> {
        // Set until this call has succeeded: after an error the kept input is gone, and rustls must not be called again.
        if std::mem::replace(&mut self.failed, true) {
            return Err(Failure::Internal);
        }
        let mut received = Received::default();
        if self.kept.is_empty() {
            let done = self.process(bytes, plain, out, &mut received)?;
            if done < bytes.len() && !received.ended {
                self.kept = bytes[done..].to_vec();
            }
        } else {
            let mut kept = std::mem::take(&mut self.kept);
            kept.extend_from_slice(bytes);
            let done = self.process(&mut kept, plain, out, &mut received)?;
            if done < kept.len() && !received.ended {
                kept.drain(..done);
                self.kept = kept;
            }
        }
        if self.kept.len() > KEPT_BYTES_MAX {
            return Err(Failure::Protocol);
        }
        self.failed = false;
        if !self.established && !self.connection.is_handshaking() {
            self.established = true;
            received.established = Some(match self.connection.handshake_kind() {
                Some(HandshakeKind::Resumed) => Established::Resumed,
                _ => Established::Anew,
            });
        }
        Ok(received)
    }

    fn seal(&mut self, plain: &[u8], out: &mut Outgoing) -> Result<(), Failure> {
        if self.failed || !self.established {
            return Err(Failure::Internal);
        }
        loop {
            let status = self.connection.process_tls_records(&mut self.kept);
            let discard = status.discard;
            let step = match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    encode(out, |room| traffic.encrypt(plain, room))?;
                    Step::Done
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(out, |room| data.encode(room))?;
                    Step::Again
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Step::Again
                }
                Ok(ConnectionState::PeerClosed) => Step::Again,
                Ok(_) => return Err(Failure::Internal),
                Err(error) => return Err(failure(&error)),
            };
            self.kept.drain(..discard);
            if let Step::Done = step {
                return Ok(());
            }
        }
    }

    fn close_notify(&mut self, out: &mut Outgoing) {
        if !self.failed
            && let Ok(ConnectionState::WriteTraffic(mut traffic)) =
                self.connection.process_tls_records(&mut self.kept).state
        {
            // If it cannot be sent any more, the connection ends without it.
            let _ = encode(out, |room| traffic.queue_close_notify(room));
        }
    }

    fn is_established(&self) -> bool {
        self.established
    }
}

/// An error of a call that writes into a buffer: it may say how much room is needed.
trait NeedsRoom {
    fn needed(&self) -> Option<usize>;
}

impl NeedsRoom for EncodeError {
    fn needed(&self) -> Option<usize> {
        match self {
            EncodeError::InsufficientSize(size) => Some(size.required_size),
            EncodeError::AlreadyEncoded => None,
        }
    }
}

impl NeedsRoom for EncryptError {
    fn needed(&self) -> Option<usize> {
        match self {
            EncryptError::InsufficientSize(size) => Some(size.required_size),
            EncryptError::EncryptExhausted => None,
        }
    }
}

fn encode<E: NeedsRoom>(
    out: &mut Outgoing,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Failure> {
    let mut room = RECORD_OVERHEAD;
    loop {
        match write(out.room(room)) {
            Ok(written) => {
                out.advance(written);
                return Ok(());
            }
            Err(error) => match error.needed() {
                Some(needed) if needed > room => room = needed,
                _ => return Err(Failure::Internal),
            },
        }
    }
}

/// What is wrong with a client's certificate, without anything from the certificate itself, which comes from the peer.
fn certificate_problem(error: &Error) -> Option<&'static str> {
    match error {
        Error::NoCertificatesPresented => Some("the client sent none"),
        Error::InvalidCertificate(error) => Some(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet; compare the clocks"
            }
            CertificateError::UnknownIssuer => {
                "no authority in Tls__ClientCaFile issued it, or its intermediate certificates are missing"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "it is not meant for clients (extended key usage clientAuth)"
            }
            CertificateError::BadSignature => "its signature is wrong",
            _ => "it is malformed or not supported",
        }),
        _ => None,
    }
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => Failure::Protocol,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Failure::Incompatible,
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => Failure::ClientCertificate,
        Error::AlertReceived(_) => Failure::Alert,
        _ => Failure::Internal,
    }
}
