//! TLS on a reactor's connections: handshakes within a budget, records sealed while the socket takes them.
//!
//! A payload that is sent stays shared: what is kept for a connection is its place in the plaintext and, while the
//! socket is full, the rest of the one record that was cut.

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
    /// Encrypted output that the socket did not take, and how much of it has gone since.
    pending: Vec<u8>,
    gone: usize,
    /// What is answered, without TLS, to a peer that begins without.
    refusal: &'static [u8],
    failed: Option<Failure>,
    begun: bool,
    /// The peer has said that it sends nothing more.
    ended: bool,
    said_goodbye: bool,
}

/// How handshakes ended, ever increasing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// Well, by [`Established`].
    pub done: [u64; Established::COUNT],
    /// Not, by [`Failure`].
    pub failed: [u64; Failure::COUNT],
    /// What was wrong with the last certificate of a client that was refused for it.
    pub complaint: Option<&'static str>,
    /// Turns of the loop that left some waiting, since their budget was used up.
    pub put_off: u64,
}

impl Handshakes {
    /// A connection is gone: if its handshake was under way, it has failed.
    pub(super) fn count_broken_off(&mut self, secure: &Secure, ended: Ended, end_of_input: bool) {
        if secure.is_shaking_hands() {
            let closed_here = ended == Ended::Closed && !end_of_input;
            let why = if closed_here { Failure::Timeout } else { Failure::Gone };
            self.failed[why as usize] += 1;
        }
    }
}

/// Memory that all connections of a reactor use in turn.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) plain: Vec<u8>,
    out: Outgoing,
    /// A record's plaintext, where it comes in several runs.
    gathered: Vec<u8>,
}

impl Scratch {
    /// Forgets what was left behind: it may be another connection's, whose socket was gone.
    pub(super) fn begin(&mut self) {
        self.plain.clear();
        self.out.clear();
    }
}

impl Secure {
    /// TLS of a connection from which nothing has come yet. A peer that begins without TLS, as HTTP does, is answered
    /// with `refusal` as it is.
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
            said_goodbye: false,
        }))
    }

    pub(super) fn is_shaking_hands(&self) -> bool {
        !self.channel.is_established() && self.failed.is_none()
    }

    /// Whether the peer has said that it sends nothing more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether TLS cannot go on.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn complaint(&self) -> Option<&'static str> {
        self.channel.complaint()
    }

    /// Encrypted bytes that wait for the socket.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.len() - self.gone
    }

    /// Memory that it holds for what is not complete: encrypted output, records that have not come to their end.
    pub(super) fn held_bytes(&self) -> usize {
        self.pending.capacity() + self.channel.kept_bytes()
    }

    fn may_seal(&self) -> bool {
        self.channel.is_established() && self.failed.is_none()
    }

    /// Takes bytes from the network; what has to be sent because of them is left in `scratch`.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<Option<Established>, Failure> {
        scratch.begin();
        let first = !std::mem::replace(&mut self.begun, true);
        let received = if first && is_proxy_protocol(bytes) {
            // Neither the proxy nor the client behind it would understand an answer.
            Err(Failure::ProxyProtocol)
        } else if first && bytes[0].is_ascii_uppercase() {
            // Records of TLS begin with a small number, requests of HTTP with a letter.
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

    /// Writes what is pending. Returns how much the socket took.
    fn flush_pending(&mut self, socket: &mut impl Write) -> io::Result<usize> {
        if self.pending.is_empty() {
            return Ok(0);
        }
        let taken = take(socket, &self.pending[self.gone..])?;
        self.gone += taken;
        if self.gone == self.pending.len() {
            (self.pending, self.gone) = (Vec::new(), 0);
        }
        Ok(taken)
    }

    /// Writes what `scratch` holds, and keeps what the socket does not take. Returns how much it took.
    pub(super) fn write_out(&mut self, socket: &mut impl Write, scratch: &mut Scratch) -> io::Result<usize> {
        let out = scratch.out.as_slice();
        let taken = if self.pending.is_empty() { take(socket, out) } else { Ok(0) };
        if let Ok(taken) = taken {
            self.pending.extend_from_slice(&out[taken..]);
        }
        scratch.out.clear();
        taken
    }

    /// Writes what is pending, then what `outbox` holds. Returns the outcome and the bytes that the socket took.
    /// What cannot be encrypted (yet, or any more) is dropped.
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

    /// Tells the peer that nothing more is sent, unless that has been done or cannot be. Returns how much the socket
    /// took.
    pub(super) fn say_goodbye(
        &mut self,
        socket: &mut impl Write,
        scratch: &mut Scratch,
    ) -> io::Result<usize> {
        if !self.may_seal() || std::mem::replace(&mut self.said_goodbye, true) {
            return Ok(0);
        }
        scratch.begin();
        self.channel.say_goodbye(&mut scratch.out);
        self.write_out(socket, scratch)
    }
}

/// Whether a connection begins with the PROXY protocol of HAProxy, version 1 or 2.
fn is_proxy_protocol(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0")
}

/// Writes once; a full socket takes nothing.
fn take(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
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

/// A socket that takes plaintext: record by record, as long as the one below takes them whole.
struct Sealed<'a, W> {
    secure: &'a mut Secure,
    socket: &'a mut W,
    scratch: &'a mut Scratch,
    /// Encrypted bytes that the socket took.
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
        // Only a socket that was full from the start takes nothing.
        if consumed == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(consumed) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Plaintext that is not sealed yet.
struct Rest<'a, 'b> {
    slices: &'a [IoSlice<'b>],
    /// How much of the first slice is done.
    offset: usize,
}

impl<'a> Rest<'a, '_> {
    /// The next record's plaintext: where it lies, if that is in one run, or else copied together.
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
