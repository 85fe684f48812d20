//! Secrets that were shown and that the data does not have: since when each has been waiting for its verdict.
//!
//! Must not grow with the number of made-up secrets: the oldest are forgotten, and begin anew when they are shown again.
//! That costs a wait, never a wrong refusal.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::net::ticks::Tick;
use crate::protocol::secret::Secret;

/// Secrets remembered.
const SECRETS_MAX: usize = 8192;

/// How long a refusal is repeated before the secret is searched for again: it may have been created meanwhile. Doubles
/// with each time, up to [`REFUSAL_MAX`], so that SDKs that never give up cost the server little.
const REFUSAL_MIN: Duration = Duration::from_secs(60);
const REFUSAL_MAX: Duration = Duration::from_secs(600);

/// How long a full sync is waited for before another one is requested: the first may have been lost, or answered by an
/// agent that could not be certain.
const RESYNC_AGAIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Unknown {
    /// Full syncs that had been requested when the search began.
    requested: u64,
    /// When a full sync may be requested (again).
    resync: Tick,
    /// Until when a refusal holds.
    refused_until: Tick,
    refused_for: Duration,
}

/// How far the search for an unknown secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// A full sync that was requested after the secret was first shown lacks it.
    Ended,
    /// No such full sync has been answered. `resync`: one is to be requested now.
    Waiting { resync: bool },
}

/// The unknown secrets of all reactors: an SDK that comes back gets the same verdict from any of them. The reactors'
/// ticks began together, but for some milliseconds.
#[derive(Debug, Default)]
pub(crate) struct UnknownSecrets {
    of: HashMap<Secret, Unknown, foldhash::quality::RandomState>,
    /// In the order in which they were first shown.
    order: VecDeque<Secret>,
}

impl UnknownSecrets {
    /// A secret is shown that the data lacks. The data is as the full sync number `answered` says; `requested` have been
    /// requested. While there is no data (`loaded`), the first full sync is under way and no other one is requested.
    pub fn shown(
        &mut self,
        secret: &Secret,
        requested: u64,
        answered: u64,
        loaded: bool,
        now: Tick,
    ) -> Search {
        let resync = if loaded { now.after(RESYNC_AGAIN) } else { now };
        let Some(unknown) = self.of.get_mut(secret) else {
            let refused_until = now.after(REFUSAL_MIN);
            self.remember(*secret, Unknown { requested, resync, refused_until, refused_for: REFUSAL_MIN });
            return Search::Waiting { resync: loaded };
        };
        if answered <= unknown.requested {
            let due = loaded && unknown.resync.has_come(now);
            if due {
                unknown.resync = resync;
            }
            return Search::Waiting { resync: due };
        }
        if !unknown.refused_until.has_come(now) {
            return Search::Ended;
        }
        unknown.requested = requested;
        unknown.resync = resync;
        unknown.refused_for = (unknown.refused_for * 2).min(REFUSAL_MAX);
        unknown.refused_until = now.after(unknown.refused_for);
        Search::Waiting { resync: loaded }
    }

    fn remember(&mut self, secret: Secret, unknown: Unknown) {
        if self.order.len() >= SECRETS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
        self.order.push_back(secret);
        self.of.insert(secret, unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment_id::EnvironmentId;

    fn secret(number: u32) -> Secret {
        let mut half = [0; 16];
        half[..4].copy_from_slice(&number.to_be_bytes());
        Secret::build(half, EnvironmentId::from_bytes([7; 16]))
    }

    fn at(seconds: u64) -> Tick {
        Tick::NEVER.after(Duration::from_secs(1 + seconds))
    }

    #[test]
    fn unknown_only_by_a_full_sync_that_was_requested_later() {
        let mut secrets = UnknownSecrets::default();
        assert_eq!(secrets.shown(&secret(1), 3, 3, true, at(0)), Search::Waiting { resync: true });
        // The one under way when it was first shown says nothing.
        assert_eq!(secrets.shown(&secret(1), 4, 3, true, at(1)), Search::Waiting { resync: false });
        assert_eq!(secrets.shown(&secret(1), 4, 4, true, at(2)), Search::Ended);
        assert_eq!(secrets.shown(&secret(2), 4, 4, true, at(2)), Search::Waiting { resync: true });
    }

    #[test]
    fn a_refusal_is_looked_into_again_ever_more_rarely() {
        let mut secrets = UnknownSecrets::default();
        let (mut requested, mut fulls) = (1, 0);
        for second in 0..7200 {
            let search = secrets.shown(&secret(1), requested, requested, true, at(second));
            if search == (Search::Waiting { resync: true }) {
                fulls += 1;
                requested += 1;
            }
        }
        // After 0, 60, 180, 420, 900 and 1,500 seconds, then every 600.
        assert_eq!(fulls, 15);
    }

    #[test]
    fn a_full_sync_that_made_nothing_certain_is_requested_again() {
        let mut secrets = UnknownSecrets::default();
        // Before there is data, the first sync is under way.
        assert_eq!(secrets.shown(&secret(1), 0, 0, false, at(0)), Search::Waiting { resync: false });
        assert_eq!(secrets.shown(&secret(1), 1, 0, true, at(1)), Search::Waiting { resync: true });
        assert_eq!(secrets.shown(&secret(1), 2, 0, true, at(2)), Search::Waiting { resync: false });
        assert_eq!(secrets.shown(&secret(1), 2, 0, true, at(32)), Search::Waiting { resync: true });
    }

    #[test]
    fn a_flood_makes_the_oldest_wait_again_and_refuses_nobody() {
        let mut secrets = UnknownSecrets::default();
        secrets.shown(&secret(0), 1, 1, true, at(0));
        for number in 1..=SECRETS_MAX as u32 {
            secrets.shown(&secret(number), 1, 1, true, at(0));
        }
        assert_eq!(secrets.of.len(), SECRETS_MAX);
        assert_eq!(secrets.shown(&secret(0), 2, 2, true, at(1)), Search::Waiting { resync: true });
        assert_eq!(secrets.shown(&secret(SECRETS_MAX as u32), 2, 2, true, at(1)), Search::Ended);
    }
}
