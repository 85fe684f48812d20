//! Unknown secrets: secrets that SDKs have sent and the data lacks, and how far the search for each is.
//!
//! Must not grow with the number of invented secrets: the oldest are forgotten, and their search starts again when they are
//! sent again. That costs the SDK a wait, but never causes a wrong refusal.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::net::ticks::Tick;
use crate::protocol::secret::Secret;

/// How many secrets are remembered.
const SECRETS_MAX: usize = 8192;

/// How long a refusal is repeated before the secret is searched for again, since it may have been created meanwhile. This
/// doubles each time, up to [`REFUSAL_MAX`], so that SDKs that keep retrying cost the server little.
const REFUSAL_MIN: Duration = Duration::from_secs(60);
const REFUSAL_MAX: Duration = Duration::from_secs(600);

/// When to request another full sync if the first one has not ended the search: it may have been lost, or answered by an
/// upstream agent whose own data may have been out of date.
const RESYNC_AGAIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Unknown {
    /// How many full syncs had been requested when the search began.
    requested: u64,
    /// When the next full sync may be requested.
    resync: Tick,
    /// Until when the refusal is repeated without a new search.
    refused_until: Tick,
    refused_for: Duration,
}

/// The state of the search for an unknown secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// A full sync requested after the secret first came was answered, and lacks it too: the secret is refused.
    Ended,
    /// No such full sync was answered yet. `resync`: the caller must request one now.
    Waiting { resync: bool },
}

/// The unknown secrets of all reactors, so that an SDK that reconnects gets the same verdict from any of them. The ticks of
/// different reactors may differ by some milliseconds, which does not matter here.
#[derive(Debug, Default)]
pub(crate) struct UnknownSecrets {
    of: HashMap<Secret, Unknown, foldhash::quality::RandomState>,
    /// In the order in which they first came.
    order: VecDeque<Secret>,
}

impl UnknownSecrets {
    /// Starts or continues the search for a secret that an SDK has sent and the data lacks.
    ///
    /// `requested`: how many full syncs have been requested so far. `answered`: the number of the last one that was answered.
    /// `loaded`: whether there is data; if not, the first full sync is under way and no other one is requested.
    pub fn search(
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
    fn only_a_full_sync_requested_later_ends_the_search() {
        let mut secrets = UnknownSecrets::default();
        assert_eq!(secrets.search(&secret(1), 3, 3, true, at(0)), Search::Waiting { resync: true });
        // The full sync that was under way when the secret first came proves nothing.
        assert_eq!(secrets.search(&secret(1), 4, 3, true, at(1)), Search::Waiting { resync: false });
        assert_eq!(secrets.search(&secret(1), 4, 4, true, at(2)), Search::Ended);
        assert_eq!(secrets.search(&secret(2), 4, 4, true, at(2)), Search::Waiting { resync: true });
    }

    #[test]
    fn a_refused_secret_is_searched_for_again_with_growing_pauses() {
        let mut secrets = UnknownSecrets::default();
        let (mut requested, mut fulls) = (1, 0);
        for second in 0..7200 {
            let search = secrets.search(&secret(1), requested, requested, true, at(second));
            if search == (Search::Waiting { resync: true }) {
                fulls += 1;
                requested += 1;
            }
        }
        // After 0, 60, 180, 420, 900 and 1,500 seconds, then every 600.
        assert_eq!(fulls, 15);
    }

    #[test]
    fn a_full_sync_that_does_not_end_the_search_is_requested_again() {
        let mut secrets = UnknownSecrets::default();
        // Before there is data, the first sync is under way.
        assert_eq!(secrets.search(&secret(1), 0, 0, false, at(0)), Search::Waiting { resync: false });
        assert_eq!(secrets.search(&secret(1), 1, 0, true, at(1)), Search::Waiting { resync: true });
        assert_eq!(secrets.search(&secret(1), 2, 0, true, at(2)), Search::Waiting { resync: false });
        assert_eq!(secrets.search(&secret(1), 2, 0, true, at(32)), Search::Waiting { resync: true });
    }

    #[test]
    fn a_flood_of_secrets_makes_the_oldest_wait_again_and_refuses_none() {
        let mut secrets = UnknownSecrets::default();
        secrets.search(&secret(0), 1, 1, true, at(0));
        for number in 1..=SECRETS_MAX as u32 {
            secrets.search(&secret(number), 1, 1, true, at(0));
        }
        assert_eq!(secrets.of.len(), SECRETS_MAX);
        assert_eq!(secrets.search(&secret(0), 2, 2, true, at(1)), Search::Waiting { resync: true });
        assert_eq!(secrets.search(&secret(SECRETS_MAX as u32), 2, 2, true, at(1)), Search::Ended);
    }
}
