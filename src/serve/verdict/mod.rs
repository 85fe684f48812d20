//! The verdict on a secret, one for streaming, polling and usage events alike.
//!
//! "Refused" stops an SDK for good (close code 4003, status 401), so it is given only when it is certain.

pub mod pending;
pub mod unknown_secrets;

use crate::ingest::ResyncReason;
use crate::model::secret::SecretKind;
use crate::net::ticks::Tick;
use crate::protocol::secret::Secret;
use crate::protocol::status::SyncState;
use crate::store::{EnvironmentSlot, SecretEntry, Snapshot};
use crate::telemetry::metrics::Refusal;

use super::shared::Shared;
use unknown_secrets::Search;

/// Which secrets open what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those of one kind of SDK.
    Only(SecretKind),
    /// Any of an environment.
    Any,
}

impl Wanted {
    /// What a polling endpoint for SDKs of `kind` accepts.
    pub fn by_poll(kind: SecretKind, lax_polling: bool) -> Self {
        if lax_polling { Wanted::Any } else { Wanted::Only(kind) }
    }

    /// The environment that a known secret opens, and to which kind of SDK.
    fn of(self, entry: &SecretEntry) -> Option<(SecretKind, EnvironmentSlot)> {
        let kind = match self {
            Wanted::Only(only) => only,
            Wanted::Any => entry.kind,
        };
        Some((kind, entry.opens_to(kind)?))
    }
}

/// What a secret opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The data of this environment.
    Accepted { slot: EnvironmentSlot },
    /// Not known yet: no data has been loaded, or the secret may be newer than the data.
    Undecided,
    /// Nothing, now and ever.
    Refused(Refused),
}

/// Why a secret opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is of another kind than asked for.
    WrongType,
    /// No environment has it.
    Unknown,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::WrongType => Refusal::WrongType,
            Refused::Unknown => Refusal::Unknown,
        }
    }
}

/// What an SDK is told that shows a secret or token of a form that is not known here.
pub(crate) const UNKNOWN_FORM: &str = "this agent does not know secrets or tokens of this form; try again";

/// Judges a secret by the data in `view`. If that may not be up to date, a full sync is requested.
pub(crate) fn judge(shared: &Shared, view: &Snapshot, secret: &Secret, wanted: Wanted, now: Tick) -> Verdict {
    match view.secret(secret) {
        Some(entry) => match wanted.of(&entry) {
            Some((_, slot)) => Verdict::Accepted { slot },
            None => Verdict::Refused(Refused::WrongType),
        },
        None if view.answered() == u64::MAX => Verdict::Refused(Refused::Unknown),
        None => judge_unknown(shared, view, secret, now),
    }
}

fn judge_unknown(shared: &Shared, view: &Snapshot, secret: &Secret, now: Tick) -> Verdict {
    let requested = shared.ingest.following().asked();
    let mut unknown = shared.unknown_secrets.lock();
    match unknown.shown(secret, requested, view.answered(), view.loaded(), now) {
        Search::Ended => Verdict::Refused(Refused::Unknown),
        Search::Waiting { resync } => {
            if resync {
                shared.ingest.request_resync(ResyncReason::UnknownSecret);
            }
            Verdict::Undecided
        }
    }
}

/// Why a secret could not be judged in time: the reason as it is counted, and the text for the SDK.
pub(crate) fn undecided(view: &Snapshot) -> (Refusal, &'static str) {
    if view.loaded() {
        (Refusal::Unverified, "the data lacks this secret, which may be newer than the data; try again")
    } else {
        (Refusal::NotLoaded, "there is no data yet to judge the secret by; try again")
    }
}

/// Whether a secret or token of a form that is not known here is certainly none: so it is offline. A server that is
/// followed may be newer than this agent, and know more forms.
pub(crate) fn knows_all_forms(shared: &Shared) -> bool {
    shared.ingest.following().state() == SyncState::None
}

#[cfg(test)]
mod tests;
