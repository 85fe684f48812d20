//! Close codes as FeatBit's peers understand them.
//!
//! | code | an SDK | a relay agent |
//! |---|---|---|
//! | 4003 | stops for good: no other code does that to all SDKs | asks again, more rarely |
//! | 1000 | .NET, Java and Go stop for good: never sent to SDKs | connects again |
//! | any other | connects again | connects again |

pub use crate::wire::ws::close::CloseCode;

impl CloseCode {
    /// FeatBit's own: the secret, token or key is refused. Sent only where that is certain, since SDKs never come back.
    pub const REFUSED: Self = Self::new(4003);
}
