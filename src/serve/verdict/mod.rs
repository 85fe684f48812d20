//! The verdict on a secret, the same for streaming, polling and usage events.
//!
//! A refusal (close code 4003, status 401) stops an SDK for good, so a secret is refused only if the data proves it wrong.

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

/// Which kind of secret a request accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptedKind {
    /// Only secrets for this kind of SDK.
    Only(SecretKind),
    /// Any secret of an environment.
    Any,
}

impl AcceptedKind {
    /// What the polling endpoint for SDKs of `kind` accepts.
    pub fn of_poll(kind: SecretKind, lax_polling: bool) -> Self {
        if lax_polling { AcceptedKind::Any } else { AcceptedKind::Only(kind) }
    }

    /// The environment that a known secret opens; `None` if its kind is not accepted.
    fn environment_of(self, entry: &SecretEntry) -> Option<EnvironmentSlot> {
        match self {
            AcceptedKind::Only(kind) => entry.opens_to(kind),
            AcceptedKind::Any => entry.opens_to(entry.kind),
        }
    }
}

/// The verdict on a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It gives access to this environment.
    Accepted { slot: EnvironmentSlot },
    /// There is no verdict yet: no data is loaded, or the secret may be newer than the data.
    Undecided,
    /// It gives access to nothing.
    Refused(Refused),
}

/// Why a secret is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is of the other kind than the request accepts.
    WrongType,
    /// No environment has it.
    Unknown,
}

/// The secret of a request, after a verdict that was no refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JudgedSecret {
    pub secret: Secret,
    pub accepts: AcceptedKind,
    /// The environment that it opens; `None` if there is no verdict yet.
    pub slot: Option<EnvironmentSlot>,
    /// The publish sequence of the data by which it was judged.
    pub sequence: u64,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::WrongType => Refusal::WrongType,
            Refused::Unknown => Refusal::Unknown,
        }
    }
}

/// The answer to an SDK whose secret or token has a format that this agent does not know.
pub(crate) const UNKNOWN_FORM: &str = "this agent does not know secrets or tokens of this form; try again";

/// Judges a secret by the data in `view`. If that lacks the secret and may be out of date, requests a full sync.
pub(crate) fn judge(
    shared: &Shared,
    view: &Snapshot,
    secret: &Secret,
    accepts: AcceptedKind,
    now: Tick,
) -> Verdict {
    match view.secret(secret) {
        Some(entry) => match accepts.environment_of(&entry) {
            Some(slot) => Verdict::Accepted { slot },
            None => Verdict::Refused(Refused::WrongType),
        },
        None if view.answered() == u64::MAX => Verdict::Refused(Refused::Unknown),
        None => judge_unknown(shared, view, secret, now),
    }
}

fn judge_unknown(shared: &Shared, view: &Snapshot, secret: &Secret, now: Tick) -> Verdict {
    let requested = shared.ingest.following().requested_full_syncs();
    let mut unknown = shared.unknown_secrets.lock();
    match unknown.search(secret, requested, view.answered(), view.loaded(), now) {
        Search::Ended => Verdict::Refused(Refused::Unknown),
        Search::Waiting { resync } => {
            if resync {
                shared.ingest.request_resync(ResyncReason::UnknownSecret);
            }
            Verdict::Undecided
        }
    }
}

/// Why a secret was not judged in time: the reason for metrics and log, and the text for the SDK.
pub(crate) fn undecided(view: &Snapshot) -> (Refusal, &'static str) {
    if view.loaded() {
        (Refusal::Unverified, "the data lacks this secret, which may be newer than the data; try again")
    } else {
        (Refusal::NotLoaded, "no data is loaded yet, so the secret cannot be checked; try again")
    }
}

/// Whether a secret or token with an unknown format is certainly wrong. True when offline; an upstream server may be newer
/// than this agent and know more formats.
pub(crate) fn knows_all_forms(shared: &Shared) -> bool {
    shared.ingest.following().state() == SyncState::None
}

#[cfg(test)]
mod tests;
