//! What is kept for the WebSocket of an SDK.

use crate::eval::{Audience, NoVariation};
use crate::fanout::index::Place;
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
    pub place: Place,
    pub secret: SecretId,
    pub sdk: Sdk,
    /// The timestamp of a request that waits until the peer reads, or until memory is free.
    pub asked: Option<i64>,
    /// On the list of those that wait for memory.
    pub waits_for_memory: bool,
    /// The user of a client connection, once it has sent it.
    pub user: Option<User>,
}

/// A streaming connection that waits for its verdict, or for its end.
#[derive(Debug)]
pub(crate) enum PendingStream {
    /// For data by which its secret can be judged.
    Verdict { secret: Secret, kind: SecretKind, sdk: Sdk },
    /// For its end: the token is too old or too young, and the next one of this SDK may be neither.
    OutOfTime { sdk: Sdk },
    /// For its end: the server that is followed may know a token of this form, and so may a newer agent.
    UnknownForm { sdk: Sdk },
}

impl PendingStream {
    /// The SDK at the other end.
    pub fn sdk(&self) -> Sdk {
        match *self {
            PendingStream::Verdict { sdk, .. }
            | PendingStream::OutOfTime { sdk }
            | PendingStream::UnknownForm { sdk } => sdk,
        }
    }
}

/// A user, and what their SDK needs.
pub(crate) fn audience(user: &User, sdk: Sdk) -> Audience<'_> {
    let no_variation = match sdk {
        Sdk::Android => NoVariation::EmptyText,
        Sdk::Java | Sdk::Go | Sdk::Python | Sdk::Ruby | Sdk::Other => NoVariation::Null,
    };
    Audience { user, no_variation }
}
