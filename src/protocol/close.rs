//! Close codes as FeatBit's peers understand them.
//!
//! Must not decide which one is sent.
//!
//! | code | an SDK | FeatBit's agent | this agent, of its upstream |
//! |---|---|---|---|
//! | 4003 | stops for good (Java does not notice) | stops for good | connects again, more rarely |
//! | 1000 | .NET, Java and Go stop for good: never sent to SDKs | stops for good | connects again |
//! | any other | connects again | connects again | connects again |

pub use crate::wire::ws::close::CloseCode;

/// What FeatBit's server gives as the reason of [`CloseCode::REFUSED`].
pub const REFUSED_REASON: &str = "invalid request, close by server";

impl CloseCode {
    /// FeatBit's own: the secret, token or key is refused. Sent only where that is certain, since SDKs never come back.
    pub const REFUSED: Self = Self::new(4003);
}
