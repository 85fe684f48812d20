//! TLS of one connection: handshakes, and output that is encrypted record by record as the socket accepts it.
//!
//! Payloads stay shared while they are sent: a connection keeps only its offset in the plaintext and, while the socket is
//! full, the rest of one record.

use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use rustls::ServerConfig;

use super::super::channel::unbuffered::RustlsChannel;
use super::super::channel::{Channel, Established, Failure, Outgoing, RECORD_BYTES_MAX};
use super::super::outbox::{Flush, Outbox};
use super::super::service::Ended;

/// TLS of one connection.
#[derive(Debug)]
pub struct Secure {
    channel: RustlsChannel,
    /// Encrypted output that the socket did not accept, and how much of it was sent since.
    pending: Vec<u8>,
    gone: usize,
    /// The plaintext answer to a peer that does not begin with TLS.
    refusal: &'static [u8],
    failed: Option<Failure>,
    begun: bool,
    /// The peer has sent close_notify.
    ended: bool,
    sent_close_notify: bool,
}

/// Counters of handshakes; they only increase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// Successful ones, by [`Established`].
    pub done: [u64; Established::COUNT],
    /// Failed ones, by [`Failure`].
    pub failed: [u64; Failure::COUNT],
    /// What was wrong with the client certificate that was refused last.
    pub certificate_error: Option<&'static str>,
    /// Turns of the loop that left handshakes waiting because the budget was used up.
    pub deferred: u64,
}

impl Handshakes {
    /// Counts a failed handshake if a connection ended during its handshake.
    pub(super) fn count_broken_off(&mut self, secure: &Secure, ended: Ended, end_of_input: bool) {
        if secure.is_handshaking() {
            let closed_here = ended == Ended::Closed && !end_of_input;
            let why = if closed_here { Failure::Timeout } else { Failure::Gone };
            self.failed[why as usize] += 1;
        }
    }
}

/// Buffers that all connections of a reactor share.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) plain: Vec<u8>,
    out: Outgoing,
    /// The plaintext of a record that comes in several runs.
    gathered: Vec<u8>,
}

impl Scratch {
    /// Clears the buffers: they may contain data of another connection whose socket failed.
    pub(super) fn begin(&mut self) {
        self.plain.clear();
        self.out.clear();
    }
}

impl Secure {
    /// TLS of a new connection. A peer that begins with plain HTTP gets `refusal` as answer, unencrypted.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn new(configuration: Arc<ServerConfig>, refusal: &'static [u8]) -> Result<Box<Self>, rustls::Error> {
        Ok(Box::new(Self {
            channel: RustlsChannel::new(configuration)?,
            pending: Vec::new(),
            gone: 0,
            refusal,
            failed: None,
            begun: false,
            ended: false,
            sent_close_notify: false,
        }))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        !self.channel.is_established() && self.failed.is_none()
    }

    /// Whether the peer has sent close_notify.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether TLS has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn certificate_error(&self) -> Option<&'static str> {
        self.channel.certificate_error()
    }

    /// Encrypted bytes that wait for the socket.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.len() - self.gone
    }

    /// Memory of pending encrypted output and of incomplete records, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.pending.capacity() + self.channel.kept_bytes()
    }

    fn may_seal(&self) -> bool {
        self.channel.is_established() && self.failed.is_none()
    }

    /// Processes received bytes. `scratch` gets the decrypted input and the bytes to be sent in return.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<Option<Established>, Failure> {
        scratch.begin();
        let first = !std::mem::replace(&mut self.begun, true);
        let received = if first && is_proxy_protocol(bytes) {
            // Neither the proxy nor its client would understand an answer.
            Err(Failure::ProxyProtocol)
        } else if first && bytes[0].is_ascii_uppercase() {
            // TLS records begin with a small number, HTTP requests with a capital letter.
            scratch.out.push(self.refusal);
            Err(Failure::PlainHttp)
        } else {
            self.channel.receive(bytes, &mut scratch.plain, &mut scratch.out)
        };
        match received {
            Ok(received) => {
                self.ended |= received.ended;
                Ok(received.established)
            }
            Err(failure) => {
                self.failed = Some(failure);
                Err(failure)
            }
        }
    }

    /// Writes pending output. Returns how many bytes the socket accepted.
    fn flush_pending(&mut self, socket: &mut impl Write) -> io::Result<usize> {
        if self.pending.is_empty() {
            return Ok(0);
        }
        let taken = write_once(socket, &self.pending[self.gone..])?;
        self.gone += taken;
        if self.gone == self.pending.len() {
            (self.pending, self.gone) = (Vec::new(), 0);
        }
        Ok(taken)
    }

    /// Writes the output in `scratch` and keeps what the socket does not accept. Returns how many bytes it accepted.
    pub(super) fn write_out(&mut self, socket: &mut impl Write, scratch: &mut Scratch) -> io::Result<usize> {
        let out = scratch.out.as_slice();
        let taken = if self.pending.is_empty() { write_once(socket, out) } else { Ok(0) };
        if let Ok(taken) = taken {
            self.pending.extend_from_slice(&out[taken..]);
        }
        scratch.out.clear();
        taken
    }

    /// Writes pending output, then that of `outbox`. Returns the outcome and how many bytes the socket accepted.
    /// Output is dropped before the handshake is done and after TLS has failed.
    pub(super) fn flush(
        &mut self,
        outbox: &mut Outbox,
        socket: &mut impl Write,
        scratch: &mut Scratch,
    ) -> io::Result<(Flush, usize)> {
        let mut written = self.flush_pending(socket)?;
        if !self.may_seal() {
            *outbox = Outbox::default();
        } else if self.pending.is_empty() && !outbox.is_empty() {
            let mut sealed = Sealed { secure: self, socket, scratch, written: 0 };
            outbox.flush(&mut sealed)?;
            written += sealed.written;
        }
        let outcome = if self.pending.is_empty() && outbox.is_empty() { Flush::Done } else { Flush::Blocked };
        Ok((outcome, written))
    }

    /// Sends close_notify once, if TLS is established. Returns how many bytes the socket accepted.
    pub(super) fn send_close_notify(
        &mut self,
        socket: &mut impl Write,
        scratch: &mut Scratch,
    ) -> io::Result<usize> {
        if !self.may_seal() || std::mem::replace(&mut self.sent_close_notify, true) {
            return Ok(0);
        }
        scratch.begin();
        self.channel.close_notify(&mut scratch.out);
        self.write_out(socket, scratch)
    }
}

/// Whether a connection begins with the PROXY protocol of HAProxy, version 1 or 2.
fn is_proxy_protocol(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0")
}

/// Writes once. Returns 0 if the socket is full.
fn write_once(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        match socket.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Encrypts what is written and passes it to the socket, record by record, as long as the socket accepts whole records.
struct Sealed<'a, W> {
    secure: &'a mut Secure,
    socket: &'a mut W,
    scratch: &'a mut Scratch,
    /// Encrypted bytes that the socket accepted.
    written: usize,
}

impl<W: Write> Write for Sealed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut consumed = 0;
        let mut rest = Rest { slices, offset: 0 };
        while self.secure.pending.is_empty() {
            let mut gathered = std::mem::take(&mut self.scratch.gathered);
            self.scratch.begin();
            let record = rest.next_record(&mut gathered);
            let length = record.len();
            let sealed =
                if length > 0 { self.secure.channel.seal(record, &mut self.scratch.out) } else { Ok(()) };
            self.scratch.gathered = gathered;
            sealed.map_err(|failure| io::Error::other(failure.as_str()))?;
            if length == 0 {
                break;
            }
            self.written += self.secure.write_out(self.socket, self.scratch)?;
            consumed += length;
        }
        // Nothing is consumed only if the socket was full from the start.
        if consumed == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(consumed) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Plaintext that is not encrypted yet.
struct Rest<'a, 'b> {
    slices: &'a [IoSlice<'b>],
    /// How much of the first slice is encrypted.
    offset: usize,
}

impl<'a> Rest<'a, '_> {
    /// The plaintext of the next record: in place if it is one run, else copied into `gathered`.
    fn next_record<'c>(&mut self, gathered: &'c mut Vec<u8>) -> &'c [u8]
    where
        'a: 'c,
    {
        gathered.clear();
        while let Some((first, others)) = self.slices.split_first() {
            let run = &first[self.offset..];
            let count = run.len().min(RECORD_BYTES_MAX - gathered.len());
            let whole = count == run.len();
            let alone = gathered.is_empty() && (count == RECORD_BYTES_MAX || others.is_empty());
            if !alone {
                gathered.extend_from_slice(&run[..count]);
            }
            if whole {
                (self.slices, self.offset) = (others, 0);
            } else {
                self.offset += count;
            }
            if alone {
                return &run[..count];
            }
            if gathered.len() == RECORD_BYTES_MAX {
                break;
            }
        }
        gathered
    }
}
