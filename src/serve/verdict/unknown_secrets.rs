//! Secrets that were shown and that the data does not have: since when each has been waiting for its verdict.
//!
//! Must not grow with the number of made-up secrets: the oldest sightings are forgotten, and who was forgotten is
//! sighted anew. That costs a wait, never a wrong refusal.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::net::ticks::Tick;
use crate::protocol::secret::Secret;

/// Secrets remembered.
const SIGHTINGS_MAX: usize = 8192;

/// How long a refusal is repeated before the secret is asked for again: it may have been made meanwhile. Doubles with
/// each time, up to [`PATIENCE_MAX`], so that SDKs that never give up cost the server little.
const PATIENCE_MIN: Duration = Duration::from_secs(60);
const PATIENCE_MAX: Duration = Duration::from_secs(600);

/// How long a full sync is waited for before another one is asked for: the first may have been lost, or answered by an
/// agent that could not be certain.
const WISH_AGAIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Sighting {
    /// Full syncs that had been asked for.
    asked: u64,
    /// When a full sync may be asked for (again).
    wish: Tick,
    /// Until when a refusal holds.
    until: Tick,
    patience: Duration,
}

/// What is known of an unknown secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighted {
    /// A full sync that was asked for after it was first seen lacks it.
    Unknown,
    /// No such full sync has been answered. `wish`: one is to be asked for.
    Waiting { wish: bool },
}

/// The sightings of all reactors: whichever an SDK comes back to gives the same verdict. Their ticks began together, but
/// for some milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    of: HashMap<Secret, Sighting, foldhash::quality::RandomState>,
    /// In the order in which they were first seen.
    order: VecDeque<Secret>,
}

impl Sightings {
    /// A secret is shown that the data lacks, which is as the full sync number `answered` says; `asked` have been asked
    /// for. While there is no data (`loaded`) the first one is under way, and no other is wished for.
    pub fn see(&mut self, secret: &Secret, asked: u64, answered: u64, loaded: bool, now: Tick) -> Sighted {
        let wish = if loaded { now.after(WISH_AGAIN) } else { now };
        let Some(sighting) = self.of.get_mut(secret) else {
            let until = now.after(PATIENCE_MIN);
            self.remember(*secret, Sighting { asked, wish, until, patience: PATIENCE_MIN });
            return Sighted::Waiting { wish: loaded };
        };
        if answered <= sighting.asked {
            let due = loaded && sighting.wish.has_come(now);
            if due {
                sighting.wish = wish;
            }
            return Sighted::Waiting { wish: due };
        }
        if !sighting.until.has_come(now) {
            return Sighted::Unknown;
        }
        sighting.asked = asked;
        sighting.wish = wish;
        sighting.patience = (sighting.patience * 2).min(PATIENCE_MAX);
        sighting.until = now.after(sighting.patience);
        Sighted::Waiting { wish: loaded }
    }

    fn remember(&mut self, secret: Secret, sighting: Sighting) {
        if self.order.len() >= SIGHTINGS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
        self.order.push_back(secret);
        self.of.insert(secret, sighting);
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
    fn unknown_only_by_a_full_sync_that_was_asked_for_later() {
        let mut sightings = Sightings::default();
        assert_eq!(sightings.see(&secret(1), 3, 3, true, at(0)), Sighted::Waiting { wish: true });
        // The one under way when it was sighted says nothing.
        assert_eq!(sightings.see(&secret(1), 4, 3, true, at(1)), Sighted::Waiting { wish: false });
        assert_eq!(sightings.see(&secret(1), 4, 4, true, at(2)), Sighted::Unknown);
        assert_eq!(sightings.see(&secret(2), 4, 4, true, at(2)), Sighted::Waiting { wish: true });
    }

    #[test]
    fn a_refusal_is_looked_into_again_ever_more_rarely() {
        let mut sightings = Sightings::default();
        let (mut asked, mut fulls) = (1, 0);
        for second in 0..7200 {
            let sighted = sightings.see(&secret(1), asked, asked, true, at(second));
            if sighted == (Sighted::Waiting { wish: true }) {
                fulls += 1;
                asked += 1;
            }
        }
        // After 0, 60, 180, 420, 900 and 1,500 seconds, then every 600.
        assert_eq!(fulls, 15);
    }

    #[test]
    fn a_full_sync_that_made_nothing_certain_is_wished_for_again() {
        let mut sightings = Sightings::default();
        // Before there is data, the first sync is under way.
        assert_eq!(sightings.see(&secret(1), 0, 0, false, at(0)), Sighted::Waiting { wish: false });
        assert_eq!(sightings.see(&secret(1), 1, 0, true, at(1)), Sighted::Waiting { wish: true });
        assert_eq!(sightings.see(&secret(1), 2, 0, true, at(2)), Sighted::Waiting { wish: false });
        assert_eq!(sightings.see(&secret(1), 2, 0, true, at(32)), Sighted::Waiting { wish: true });
    }

    #[test]
    fn a_flood_makes_the_oldest_wait_again_and_refuses_nobody() {
        let mut sightings = Sightings::default();
        sightings.see(&secret(0), 1, 1, true, at(0));
        for number in 1..=SIGHTINGS_MAX as u32 {
            sightings.see(&secret(number), 1, 1, true, at(0));
        }
        assert_eq!(sightings.of.len(), SIGHTINGS_MAX);
        assert_eq!(sightings.see(&secret(0), 2, 2, true, at(1)), Sighted::Waiting { wish: true });
        assert_eq!(sightings.see(&secret(SIGHTINGS_MAX as u32), 2, 2, true, at(1)), Sighted::Unknown);
    }
}
