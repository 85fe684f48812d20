//! [`Channel`] by rustls' unbuffered interface.
//!
//! Must not let anybody else see that interface: a later version of rustls has another one.

use std::fmt;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CertificateError, Error, HandshakeKind, ServerConfig};

use super::{Channel, Established, Failure, Outgoing, Received};

/// Encrypted input that is kept at most: a handshake message of 64 KB in records of its own.
const KEPT_BYTES_MAX: usize = 128 * 1024;
/// What a record adds to its plaintext, and more: a first guess of the room that is needed.
const RECORD_OVERHEAD: usize = 64;

/// TLS of one accepted connection.
pub struct RustlsChannel {
    connection: UnbufferedServerConnection,
    /// Encrypted input that is not complete yet. As long as there is some, rustls has to be shown it each time.
    pub(super) kept: Vec<u8>,
    established: bool,
    failed: bool,
    complaint: Option<&'static str>,
}

impl fmt::Debug for RustlsChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustlsChannel").field("established", &self.established).finish_non_exhaustive()
    }
}

/// What a look at the connection's state comes to.
enum Step {
    Again,
    Done,
}

impl RustlsChannel {
    /// A channel that has seen nothing yet.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn new(configuration: Arc<ServerConfig>) -> Result<Self, Error> {
        let connection = UnbufferedServerConnection::new(configuration)?;
        Ok(Self { connection, kept: Vec::new(), established: false, failed: false, complaint: None })
    }

    /// Bytes that are kept until the rest of their record has come.
    pub fn kept_bytes(&self) -> usize {
        self.kept.capacity()
    }

    /// What was wrong with the certificate of a client that was refused for it.
    pub fn complaint(&self) -> Option<&'static str> {
        self.complaint
    }

    /// Works through `bytes`. Returns how many of them are done with.
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
                // Early data is not allowed by any configuration of this program.
                Ok(_) => return Err(Failure::Internal),
                Err(error) => {
                    done += discard;
                    self.complaint = complaint(&error);
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

    /// Appends the alert that a failure has left behind, if any, and what had to be sent before it: in TLS 1.3 the alert on
    /// a protocol that is not spoken comes behind the server's hello.
    fn alert(&mut self, bytes: &mut [u8], out: &mut Outgoing) {
        // No further: asked once more, rustls would look at the input again, and fail again.
        while self.connection.wants_write() {
            let state = self.connection.process_tls_records(bytes).state;
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            // Whether the peer hears why is of no consequence.
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
        // Until it is known that all is well: what is kept is gone then, and rustls must not be asked again.
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

    fn say_goodbye(&mut self, out: &mut Outgoing) {
        if !self.failed
            && let Ok(ConnectionState::WriteTraffic(mut traffic)) =
                self.connection.process_tls_records(&mut self.kept).state
        {
            // A connection that cannot say it any more ends without it.
            let _ = encode(out, |room| traffic.queue_close_notify(room));
        }
    }

    fn is_established(&self) -> bool {
        self.established
    }
}

/// A call that writes into the room that it is given, or says how much it needs.
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

/// What is wrong with a client's certificate; nothing of what it says itself, which is the peer's.
fn complaint(error: &Error) -> Option<&'static str> {
    match error {
        Error::NoCertificatesPresented => Some("it showed none"),
        Error::InvalidCertificate(error) => Some(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet; compare the clocks"
            }
            CertificateError::UnknownIssuer => {
                "nobody in Tls__ClientCaFile has issued it, or it came without its intermediate certificates"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "it is not meant for clients (extended key usage clientAuth)"
            }
            CertificateError::BadSignature => "its signature is wrong",
            _ => "it is malformed, or of a kind that is not taken",
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
