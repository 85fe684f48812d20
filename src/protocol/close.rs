//! Close codes, and how FeatBit's peers react to them.
//!
//! Must not decide which code is sent.
//!
//! | code | an SDK | FeatBit's agent | this agent, if its upstream sends it |
//! |---|---|---|---|
//! | 4003 | never reconnects (Java ignores it) | never reconnects | reconnects, less often |
//! | 1000 | .NET, Java and Go never reconnect, so it is never sent to SDKs | never reconnects | reconnects |
//! | any other | reconnects | reconnects | reconnects |

pub use crate::wire::ws::close::CloseCode;

/// The reason that FeatBit's server sends with [`CloseCode::REFUSED`].
pub const REFUSED_REASON: &str = "invalid request, close by server";

impl CloseCode {
    /// FeatBit's own code: the secret, token or key is invalid. Sent only if that is certain, because SDKs never reconnect.
    pub const REFUSED: Self = Self::new(4003);
}
