//! Close codes (RFC 6455 section 7.4), for both directions.
//!
//! Must not decide which code is sent. A code of the application (4000 to 4999) gets its name where its meaning is
//! known: FeatBit's in `protocol::close`.

use std::fmt;

/// The code of a close frame: any number that a peer sends, or one of those with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The connection has done what it was opened for.
    pub const NORMAL: Self = Self(1000);
    /// The sender is shutting down, or the peer was silent for too long.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the WebSocket protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The close frame names no code. Never sent.
    pub const NONE_GIVEN: Self = Self(1005);
    /// The connection ended without a close frame. Never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// A text is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// The peer broke a rule for which there is no other code.
    pub const POLICY: Self = Self(1008);
    /// A message is larger than allowed.
    pub const TOO_BIG: Self = Self(1009);
    /// The sender cannot do what is asked for now.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The sender has too much to do now (registered at IANA).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The code of this number.
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether an endpoint may send it in a close frame. Others mean an end without one, are reserved, or unassigned.
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
