//! How the stand-in misbehaves if a test scripts it. Without a script it behaves like the real server.

use std::collections::VecDeque;
use std::time::Duration;

use super::delayed::Delay;

/// What happens to later calls and connections.
#[derive(Debug, Default)]
pub struct Script {
    /// The next registrations; each is used once.
    pub registers: VecDeque<Register>,
    /// Registrations after those.
    pub register_always: Option<Register>,
    /// The next streaming connections; each is used once.
    pub openings: VecDeque<Opening>,
    /// Streaming connections after those.
    pub opening_always: Option<Opening>,
    /// The next answers to `data-sync`; each is used once.
    pub answers: VecDeque<Answer>,
    /// Whether answers wait until the test lets them go.
    pub delay: Option<Delay>,
    /// Whether changes are kept from everybody.
    pub mute: bool,
    /// How many of the next accepted connections are reset at once.
    pub resets: usize,
    /// The shape of messages on later connections.
    pub shape: Shape,
}

/// An answer to a registration.
#[derive(Clone, Debug)]
pub enum Register {
    /// As the real server.
    Honest,
    /// 200 and this id.
    Id(&'static str),
    /// This status and a problem.
    Status(u16),
    /// This status, content type and body.
    Text(u16, &'static str, &'static str),
    /// These bytes, as from a gateway in front of the server.
    Raw(&'static str),
    /// Somewhere else, with this status.
    Redirect(u16, String),
    /// None, ever.
    Never,
    /// Bytes that are no HTTP.
    Garbage,
    /// The connection is reset.
    Reset,
    /// The connection ends within the answer.
    Half,
}

/// What becomes of a streaming connection.
#[derive(Clone, Debug)]
pub enum Opening {
    /// As at the real server.
    Honest,
    /// It is refused with this status.
    Status(u16),
    /// These bytes for an answer, as from a gateway in front of the server.
    Raw(&'static str),
    /// It is sent elsewhere, with this status.
    Redirect(u16, String),
    /// The request gets no answer.
    NoAnswer,
    /// The request is followed by a reset.
    ResetBeforeUpgrade,
    /// The answer is 101 for another key.
    WrongAccept,
    /// It is upgraded and closed at once with this code.
    Close(u16),
    /// It is upgraded and reset.
    ResetAfterUpgrade,
    /// It is upgraded and never answers, not even pings of the protocol: a half-open connection.
    Silent,
    /// It is reset when it asks for data.
    ResetAtRequest,
    /// It is reset within its first answer, after so many bytes.
    ResetWithin(usize),
    /// It ends, without a close frame, after its first answer.
    EndAfterAnswer,
}

/// An answer to a `data-sync` request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// As the real server.
    Honest,
    /// This text.
    Text(String),
    /// This text, in a binary message.
    Binary(String),
    /// A text message of these bytes.
    Bytes(Vec<u8>),
    /// None.
    None,
}

/// How messages are written to a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// At most so many bytes a frame; 0 is one frame a message.
    pub frame_bytes: usize,
    /// A protocol ping between every two frames.
    pub pings_between: bool,
    /// So many bytes at a time, with such a pause after each.
    pub drip: Option<(usize, Duration)>,
}
