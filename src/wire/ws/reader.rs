//! Reads messages from the bytes of one client (RFC 6455 sections 5 and 7.4).
//!
//! Must not keep bytes that are still in the caller's buffer: an idle reader is one pointer, and a message in one frame is
//! unmasked in place and returned from there. Only fragments of an unfinished message are kept.
//!
//! Everything that the standard lets a server check is checked, the size before the payload has arrived.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::close::CloseCode;
use super::frame::MAX_CONTROL_PAYLOAD_BYTES;
use super::mask::unmask;

/// The state of reading one connection: nothing but the fragments of an unfinished message.
#[derive(Debug, Default)]
pub struct Reader {
    fragments: Option<Box<Fragments>>,
}

/// An unfinished fragmented message.
#[derive(Debug)]
struct Fragments {
    is_text: bool,
    /// The message is complete and was returned; the next step frees it.
    is_finished: bool,
    /// How many of `bytes` are known to be whole characters of UTF-8; only text is checked.
    checked: usize,
    bytes: Vec<u8>,
    skipped: Option<Skipped>,
}

/// The current frame of a message that is skipped.
#[derive(Debug)]
struct Skipped {
    /// Bytes of its payload that are still to come.
    left: u64,
    /// Whether it is the last frame of the message.
    is_last: bool,
}

/// Something a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// A whole text message: valid UTF-8.
    Text(&'b [u8]),
    /// A whole binary message.
    Binary(&'b [u8]),
    /// A ping, to be answered by a pong with the same payload of at most 125 bytes.
    Ping(&'b [u8]),
    /// A pong, solicited or not.
    Pong,
    /// The client closes; nothing after it may be read. The code is one that may be sent back.
    Close {
        /// The client's code, if it gave one.
        code: Option<CloseCode>,
    },
}

/// The result of one step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// The buffer holds no whole frame.
    Incomplete {
        /// How many bytes the buffer must hold in total before another step can succeed: always more than it holds now, and
        /// at most the largest message and its header.
        needed: usize,
    },
    /// A message.
    Event {
        /// The message. Borrows from the buffer or from the reader.
        event: Event<'b>,
        /// How many bytes at the start of the buffer were consumed.
        consumed: usize,
    },
    /// A fragment was kept, or a part of a message skipped. So many bytes at the start of the buffer were consumed.
    Consumed(usize),
}

/// The client violated the protocol: close with this code and reason, and read nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// [`CloseCode::PROTOCOL_ERROR`], [`CloseCode::INVALID_DATA`] or [`CloseCode::TOO_BIG`].
    pub code: CloseCode,
    /// For the close frame and the log. It never quotes the message.
    pub reason: &'static str,
}

const fn protocol_error(reason: &'static str) -> Violation {
    Violation { code: CloseCode::PROTOCOL_ERROR, reason }
}

const NOT_UTF8: Violation = Violation { code: CloseCode::INVALID_DATA, reason: "text is not valid UTF-8" };
const TOO_BIG: Violation = Violation { code: CloseCode::TOO_BIG, reason: "message is too big" };

/// A frame's header, checked as far as possible without the frames before it.
struct Header {
    opcode: OpCode,
    is_final: bool,
    key: [u8; 4],
    /// Bytes of the header itself.
    len: usize,
    payload_len: u64,
}

impl Header {
    /// Parses the header at the start of `buf`; `Err(Ok(needed))` if it is incomplete.
    fn parse(buf: &[u8]) -> Result<Header, Result<usize, Violation>> {
        let &[first, second, ref rest @ ..] = buf else { return Err(Ok(2)) };
        let violation = |reason| Err(Err(protocol_error(reason)));
        if first & 0x70 != 0 {
            return violation("reserved bits are set");
        }
        let is_final = first & 0x80 != 0;
        let opcode = OpCode::from(first & 0x0F);
        let short_len = second & 0x7F;
        match opcode {
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
                return violation("unknown opcode");
            }
            OpCode::Control(_) if !is_final => return violation("fragmented control frame"),
            OpCode::Control(_) if usize::from(short_len) > MAX_CONTROL_PAYLOAD_BYTES => {
                return violation("control frame is too long");
            }
            _ => {}
        }
        if second & 0x80 == 0 {
            return violation("frame is not masked");
        }
        let (payload_len, key, len) = match (short_len, rest) {
            (126, &[a, b, k0, k1, k2, k3, ..]) => {
                (u64::from(u16::from_be_bytes([a, b])), [k0, k1, k2, k3], 8)
            }
            (126, _) => return Err(Ok(8)),
            (127, &[a, b, c, d, e, f, g, h, k0, k1, k2, k3, ..]) => {
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]), [k0, k1, k2, k3], 14)
            }
            (127, _) => return Err(Ok(14)),
            (_, &[k0, k1, k2, k3, ..]) => (u64::from(short_len), [k0, k1, k2, k3], 6),
            _ => return Err(Ok(6)),
        };
        let least = match short_len {
            126 => 126,
            127 => 0x1_0000,
            _ => 0,
        };
        if payload_len < least {
            return violation("length is not in its shortest form");
        }
        if payload_len >> 63 != 0 {
            return violation("top bit of the length is set");
        }
        Ok(Header { opcode, is_final, key, len, payload_len })
    }
}

impl Reader {
    /// A reader for a new connection.
    pub const fn new() -> Self {
        Self { fragments: None }
    }

    /// Reads the next frame from `buf`, the received bytes that are not consumed yet.
    ///
    /// Call it again with the rest until it returns [`Step::Incomplete`]. Frames are unmasked in place, so consumed bytes must
    /// not be passed again. A message of more than `max_message_bytes` is a violation as soon as a header shows it.
    pub fn step<'b>(
        &'b mut self,
        buf: &'b mut [u8],
        max_message_bytes: usize,
    ) -> Result<Step<'b>, Violation> {
        self.settle();
        if let Some(step) = self.skip(buf.len()) {
            return Ok(step);
        }
        let header = match Header::parse(buf) {
            Ok(header) => header,
            Err(Ok(needed)) => return Ok(Step::Incomplete { needed }),
            Err(Err(violation)) => return Err(violation),
        };
        if header.opcode == OpCode::Data(Data::Continue) && self.is_skipping() {
            return Ok(Step::Consumed(self.drop_frame(&header)));
        }
        let frame_len = self.admit(&header, max_message_bytes)?;
        let Some(payload) = buf.get_mut(header.len..frame_len) else {
            return Ok(Step::Incomplete { needed: frame_len });
        };
        unmask(payload, header.key);
        let payload = &*payload;
        let event = match header.opcode {
            OpCode::Control(Control::Ping) => Event::Ping(payload),
            OpCode::Control(Control::Pong) => Event::Pong,
            OpCode::Control(_) => Event::Close { code: close_code(payload)? },
            OpCode::Data(kind) if header.is_final && kind != Data::Continue => {
                whole_message(kind == Data::Text, payload)?
            }
            OpCode::Data(kind) => {
                let fragments = self.fragments.get_or_insert_with(|| {
                    Box::new(Fragments {
                        is_text: kind == Data::Text,
                        is_finished: false,
                        checked: 0,
                        bytes: Vec::new(),
                        skipped: None,
                    })
                });
                fragments.append(payload, header.is_final)?;
                if !header.is_final {
                    return Ok(Step::Consumed(frame_len));
                }
                if fragments.is_text {
                    Event::Text(&fragments.bytes)
                } else {
                    Event::Binary(&fragments.bytes)
                }
            }
        };
        Ok(Step::Event { event, consumed: frame_len })
    }

    /// Checks a header against the frames before it, and returns the length of the whole frame.
    fn admit(&self, header: &Header, max_message_bytes: usize) -> Result<usize, Violation> {
        let before = self.fragments.as_ref().map(|fragments| fragments.bytes.len());
        let before = match (header.opcode, before) {
            (OpCode::Control(_), _) => return Ok(header.len + header.payload_len as usize),
            (OpCode::Data(Data::Continue), Some(before)) => before,
            (OpCode::Data(Data::Continue), None) => {
                return Err(protocol_error("continuation of nothing"));
            }
            (OpCode::Data(_), None) => 0,
            (OpCode::Data(_), Some(_)) => {
                return Err(protocol_error("new message within a fragmented one"));
            }
        };
        let room = max_message_bytes.saturating_sub(before);
        match usize::try_from(header.payload_len) {
            Ok(payload_len) if payload_len <= room => payload_len.checked_add(header.len).ok_or(TOO_BIG),
            _ => Err(TOO_BIG),
        }
    }

    /// Skips the message at the start of `buf`, which [`Self::step`] refused as too big: further steps drop its bytes as they
    /// arrive. Frames between its fragments and after it are read as usual. Returns how many bytes were consumed.
    pub fn pass_over(&mut self, buf: &[u8]) -> usize {
        match Header::parse(buf) {
            Ok(header) => self.drop_frame(&header),
            Err(_) => 0,
        }
    }

    fn is_skipping(&self) -> bool {
        self.fragments.as_ref().is_some_and(|fragments| fragments.skipped.is_some())
    }

    /// Marks a frame's payload as skipped. Returns the length of its header.
    fn drop_frame(&mut self, header: &Header) -> usize {
        self.fragments = Some(Box::new(Fragments {
            is_text: false,
            is_finished: header.is_final && header.payload_len == 0,
            checked: 0,
            bytes: Vec::new(),
            skipped: Some(Skipped { left: header.payload_len, is_last: header.is_final }),
        }));
        header.len
    }

    /// Skips the available bytes of a frame that is skipped, if there is one.
    fn skip(&mut self, held: usize) -> Option<Step<'static>> {
        let fragments = self.fragments.as_mut()?;
        let frame = fragments.skipped.as_mut().filter(|frame| frame.left > 0)?;
        let passed = usize::try_from(frame.left).map_or(held, |left| left.min(held));
        if passed == 0 {
            return Some(Step::Incomplete { needed: 1 });
        }
        frame.left -= passed as u64;
        fragments.is_finished = frame.left == 0 && frame.is_last;
        Some(Step::Consumed(passed))
    }

    /// Bytes of a skipped frame that are still to come.
    pub fn left_to_pass(&self) -> u64 {
        let fragments = self.fragments.as_ref();
        fragments.and_then(|fragments| fragments.skipped.as_ref()).map_or(0, |frame| frame.left)
    }

    /// Frees a complete fragmented message after it was processed. Returns [`Reader::memory_bytes`].
    pub fn settle(&mut self) -> usize {
        if self.fragments.as_ref().is_some_and(|fragments| fragments.is_finished) {
            self.fragments = None;
        }
        self.memory_bytes()
    }

    /// Memory in addition to the reader itself, in bytes: 0 without an unfinished fragmented message.
    pub fn memory_bytes(&self) -> usize {
        self.fragments.as_ref().map_or(0, |fragments| size_of::<Fragments>() + fragments.bytes.capacity())
    }
}

impl Fragments {
    /// Adds a fragment. Text is refused as soon as no continuation can make it valid.
    fn append(&mut self, payload: &[u8], is_final: bool) -> Result<(), Violation> {
        self.bytes.extend_from_slice(payload);
        self.is_finished = is_final;
        if !self.is_text {
            return Ok(());
        }
        match simdutf8::compat::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            // The last character may continue in the next fragment, if there is one.
            Err(error) if error.error_len().is_none() && !is_final => self.checked += error.valid_up_to(),
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }
}

fn whole_message(is_text: bool, payload: &[u8]) -> Result<Event<'_>, Violation> {
    if !is_text {
        return Ok(Event::Binary(payload));
    }
    match simdutf8::basic::from_utf8(payload) {
        Ok(_) => Ok(Event::Text(payload)),
        Err(_) => Err(NOT_UTF8),
    }
}

/// The code of a close frame's payload, if an endpoint may send it.
fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let (code, reason) = match *payload {
        [] => return Ok(None),
        [_] => return Err(protocol_error("close code of one byte")),
        [high, low, ref reason @ ..] => (CloseCode::new(u16::from_be_bytes([high, low])), reason),
    };
    if !code.may_be_sent() {
        return Err(protocol_error("invalid close code"));
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(NOT_UTF8);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests;
