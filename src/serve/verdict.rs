//! One verdict on a secret, for streaming, polling and usage events alike.
//!
//! "Refused" stops an SDK for good (close code 4003, status 401), so it is given only when it is certain.

use crate::model::secret::SecretKind;
use crate::protocol::secret::Secret;
use crate::store::{EnvironmentSlot, Snapshot};

/// Which secrets open what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Those of one kind of SDK.
    Only(SecretKind),
    /// Any of an environment.
    Any,
}

impl Wanted {
    fn takes(self, kind: SecretKind) -> bool {
        match self {
            Wanted::Only(only) => only == kind,
            Wanted::Any => true,
        }
    }
}

/// What a secret opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The data of this environment.
    Accepted { kind: SecretKind, slot: EnvironmentSlot },
    /// It cannot be told yet: no data has been loaded.
    Undecided,
    /// Nothing, now and ever.
    Refused(Refused),
}

/// Why a secret opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is of another kind than asked for.
    WrongType,
    /// No environment has it.
    Unknown,
}

/// Judges a secret by the data in service.
pub(super) fn judge(view: &Snapshot, secret: &Secret, wanted: Wanted) -> Verdict {
    match view.secret(secret) {
        Some(entry) if wanted.takes(entry.kind) => Verdict::Accepted { kind: entry.kind, slot: entry.slot },
        Some(_) => Verdict::Refused(Refused::WrongType),
        None if view.loaded() => Verdict::Refused(Refused::Unknown),
        None => Verdict::Undecided,
    }
}
