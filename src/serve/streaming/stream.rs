//! The state of an SDK's WebSocket.

use crate::eval::{Audience, NoVariation};
use crate::fanout::index::IndexPosition;
use crate::fanout::secrets::SecretId;
use crate::model::secret::SecretKind;
use crate::model::user::User;
use crate::protocol::sdk::Sdk;
use crate::protocol::secret::Secret;
use crate::wire::ws::reader::Reader;

/// A streaming connection whose secret was accepted.
#[derive(Debug)]
pub(crate) struct Stream {
    pub reader: Reader,
    pub position: IndexPosition,
    pub secret: SecretId,
    pub sdk: Sdk,
    /// The timestamp of a request that cannot be answered before memory is free or the peer reads.
    pub pending_timestamp_ms: Option<i64>,
    /// Whether it is on the list of those that wait for memory.
    pub waits_for_memory: bool,
    /// The user that a client SDK has sent.
    pub user: Option<User>,
}

/// A streaming connection that is not accepted yet.
#[derive(Debug)]
pub(crate) enum PendingStream {
    /// It waits for data by which its secret can be judged.
    Verdict { secret: Secret, kind: SecretKind, sdk: Sdk },
    /// The time in its token is too far from this machine's clock. It will be closed, but not refused: the SDK's next token
    /// may be right.
    ClockMismatch { sdk: Sdk },
    /// Its token has an unknown format. It will be closed, but not refused: the upstream server or a newer agent may know
    /// the format.
    UnknownForm { sdk: Sdk },
}

impl PendingStream {
    /// The SDK at the other end.
    pub fn sdk(&self) -> Sdk {
        match *self {
            PendingStream::Verdict { sdk, .. }
            | PendingStream::ClockMismatch { sdk }
            | PendingStream::UnknownForm { sdk } => sdk,
        }
    }
}

/// For whom flags are evaluated: the user, and in which form their SDK expects a missing variation.
pub(crate) fn audience(user: &User, sdk: Sdk) -> Audience<'_> {
    let no_variation = match sdk {
        Sdk::Android => NoVariation::EmptyText,
        Sdk::Java | Sdk::Go | Sdk::Python | Sdk::Ruby | Sdk::Other => NoVariation::Null,
    };
    Audience { user, no_variation }
}
