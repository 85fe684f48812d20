//! One verdict on a secret, for streaming, polling and usage events alike.
//!
//! "Refused" stops an SDK for good (close code 4003, status 401), so it is given only when it is certain.

pub mod pending;
pub mod unknown_secrets;

use crate::ingest::ResyncReason;
use crate::model::secret::SecretKind;
use crate::net::ticks::Tick;
use crate::protocol::secret::Secret;
use crate::store::{EnvironmentSlot, SecretEntry};

use crate::serve::metrics::Refusal;
use crate::serve::server::Server;
use crate::serve::verdict::unknown_secrets::Sighted;

/// Which secrets open what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those of one kind of SDK.
    Only(SecretKind),
    /// Any of an environment.
    Any,
}

impl Wanted {
    /// What a known secret opens of it, and to whom.
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
pub enum Verdict {
    /// The data of this environment.
    Accepted { kind: SecretKind, slot: EnvironmentSlot },
    /// It cannot be told yet: no data has been loaded, or the secret may be newer than the data.
    Undecided,
    /// Nothing, now and ever.
    Refused(Refused),
}

/// Why a secret opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is of another kind than asked for.
    WrongType,
    /// No environment has it.
    Unknown,
}

impl Server {
    /// Judges a secret by the data in service. If that may not be up to date, a full sync is asked for.
    pub(crate) fn judge(&mut self, secret: &Secret, wanted: Wanted, now: Tick) -> Verdict {
        match self.view.secret(secret) {
            Some(entry) => match wanted.of(&entry) {
                Some((kind, slot)) => Verdict::Accepted { kind, slot },
                None => Verdict::Refused(Refused::WrongType),
            },
            None if self.view.answered() == u64::MAX => Verdict::Refused(Refused::Unknown),
            None => self.judge_unknown(secret, now),
        }
    }

    /// Why a secret could not be judged in time: as it counts, and as it is told.
    pub(crate) fn undecided(&self) -> (Refusal, &'static str) {
        if self.view.loaded() {
            (Refusal::Unverified, "the data lacks this secret, which may be newer than the data; try again")
        } else {
            (Refusal::NotLoaded, "there is no data yet to judge the secret by; try again")
        }
    }

    fn judge_unknown(&mut self, secret: &Secret, now: Tick) -> Verdict {
        let ingest = &self.shared.ingest;
        let (asked, view) = (ingest.following().asked(), &self.view);
        let sighted = self.shared.sightings.lock().see(secret, asked, view.answered(), view.loaded(), now);
        match sighted {
            Sighted::Unknown => Verdict::Refused(Refused::Unknown),
            Sighted::Waiting { wish } => {
                if wish {
                    ingest.request_resync(ResyncReason::UnknownSecret);
                }
                Verdict::Undecided
            }
        }
    }
}

#[cfg(test)]
mod tests;
