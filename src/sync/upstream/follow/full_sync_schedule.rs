//! When to request a full sync. Each reason has its own pause, so that no reason causes too many requests.

use crate::client::random::Random;
use crate::client::retry::Throttle;

use super::timing::Timing;

/// The longest pause between two full syncs for an ended grace period, as a multiple of the first pause.
const GRACE_PAUSES_MAX: u64 = 16;

/// The reasons for a full sync, and when each is due.
#[derive(Debug)]
pub(super) struct FullSyncSchedule {
    /// Between periodic full syncs; 0 for none.
    resync_ms: u64,
    unknown_secret_pause_ms: u64,
    /// When one is due because data was rejected or is missing, or an operator has requested one.
    needed_ms: Option<u64>,
    throttle: Throttle,
    /// When one is due because the server has sent an unknown message.
    unknown_message_ms: Option<u64>,
    unknown_message_throttle: Throttle,
    /// Whether SDKs have sent unknown secrets.
    unknown_secret: bool,
    next_unknown_secret_ms: u64,
    /// Whether a grace period is over, so that a full sync has to prove the removal.
    grace_due: bool,
    next_grace_ms: u64,
    grace_pause_ms: u64,
    grace_throttle: Throttle,
    next_periodic_ms: u64,
}

impl FullSyncSchedule {
    /// Nothing is due: the first session requests a full sync anyway.
    pub fn new(timing: &Timing) -> Self {
        Self {
            resync_ms: timing.resync_ms,
            unknown_secret_pause_ms: timing.unknown_secret_ms,
            needed_ms: None,
            throttle: Throttle::new(timing.retry_ms),
            unknown_message_ms: None,
            unknown_message_throttle: Throttle::new(timing.pause_ms()),
            unknown_secret: false,
            next_unknown_secret_ms: 0,
            grace_due: false,
            next_grace_ms: 0,
            grace_pause_ms: timing.unknown_secret_ms,
            grace_throttle: Throttle::new(timing.retry_ms),
            next_periodic_ms: u64::MAX,
        }
    }

    /// An operator requests a full sync: it is due now.
    pub fn requested(&mut self) {
        self.needed_ms = Some(0);
    }

    /// A requested full sync will not be answered: another one is due now, unless one is scheduled already.
    pub fn still_needed(&mut self) {
        self.needed_ms.get_or_insert(0);
    }

    /// Data was rejected or is missing: a full sync is due at once, or after a delay if that was so shortly before.
    pub fn needed(&mut self, now_ms: u64, random: &mut Random) {
        if self.needed_ms.is_none() {
            self.needed_ms = Some(self.throttle.next_ms(now_ms, random.draw()));
        }
    }

    /// The server has sent an unknown message, which may have changed anything. If it does so repeatedly, or with each full
    /// sync, the delay grows up to that of periodic full syncs.
    pub fn unknown_message(&mut self, now_ms: u64, random: &mut Random) {
        if self.unknown_message_ms.is_none() {
            self.unknown_message_ms = Some(self.unknown_message_throttle.next_ms(now_ms, random.draw()));
        }
    }

    /// SDKs have sent unknown secrets. There may be any number of these, so the pause for this reason is long.
    pub fn unknown_secret(&mut self) {
        self.unknown_secret = true;
    }

    /// Sets whether a grace period is over, so that a full sync requested from now on has to prove the removal.
    pub fn set_grace_due(&mut self, now_ms: u64, grace_due: bool, random: &mut Random) {
        if grace_due && !self.grace_due {
            self.next_grace_ms = self.grace_throttle.next_ms(now_ms, random.draw());
            self.grace_pause_ms = self.unknown_secret_pause_ms;
        }
        self.grace_due = grace_due;
    }

    /// Whether the next full sync has to prove what does not exist, so that the server must confirm that it is complete.
    pub fn needs_verification(&self) -> bool {
        self.unknown_secret || self.grace_due
    }

    /// When the next full sync has to be requested.
    pub fn due_ms(&self) -> u64 {
        let unknown_secret_ms = if self.unknown_secret { self.next_unknown_secret_ms } else { u64::MAX };
        let grace_ms = if self.grace_due { self.next_grace_ms } else { u64::MAX };
        let needed_ms = self.needed_ms.into_iter().chain(self.unknown_message_ms).min().unwrap_or(u64::MAX);
        needed_ms.min(unknown_secret_ms).min(grace_ms).min(self.next_periodic_ms)
    }

    /// A full sync is requested; it serves all reasons at once.
    pub fn sent(&mut self, now_ms: u64) {
        if self.grace_due {
            // Through a chain of agents the answer takes long, and another request meanwhile would delay it further.
            self.next_grace_ms = now_ms + self.grace_pause_ms;
            let longest_ms = self.unknown_secret_pause_ms.saturating_mul(GRACE_PAUSES_MAX);
            self.grace_pause_ms = self.grace_pause_ms.saturating_mul(2).min(longest_ms);
        }
        if std::mem::take(&mut self.unknown_secret) {
            self.next_unknown_secret_ms = now_ms + self.unknown_secret_pause_ms;
        }
        self.needed_ms = None;
        self.unknown_message_ms = None;
        self.next_periodic_ms = u64::MAX;
    }

    /// A full sync is in service. Schedules the next periodic one at a random time near its period, so that many agents do
    /// not request one at the same time.
    pub fn in_service(&mut self, now_ms: u64, random: &mut Random) {
        self.next_periodic_ms = match self.resync_ms {
            0 => u64::MAX,
            resync_ms => {
                let spread_ms = resync_ms / 10;
                now_ms + resync_ms - spread_ms + random.draw() % (2 * spread_ms + 1)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::TIMING;
    use super::*;

    #[test]
    fn a_request_serves_all_reasons_at_once_and_each_has_its_own_pause() {
        let (mut schedule, mut random) = (FullSyncSchedule::new(&TIMING), Random::new(7));
        assert_eq!(schedule.due_ms(), u64::MAX);
        schedule.unknown_secret();
        schedule.unknown_message(5, &mut random);
        schedule.needed(5, &mut random);
        schedule.set_grace_due(5, true, &mut random);
        assert!(schedule.due_ms() <= 5 && schedule.needs_verification());
        schedule.sent(10);
        // Only the grace period is still due, with a pause that doubles.
        assert_eq!(schedule.due_ms(), 10 + TIMING.unknown_secret_ms);
        schedule.sent(100_000);
        assert_eq!(schedule.due_ms(), 100_000 + 2 * TIMING.unknown_secret_ms);
        schedule.set_grace_due(100_000, false, &mut random);
        assert_eq!((schedule.due_ms(), schedule.needs_verification()), (u64::MAX, false));
        schedule.unknown_secret();
        assert_eq!(schedule.due_ms(), 10 + TIMING.unknown_secret_ms);
    }

    #[test]
    fn a_periodic_full_sync_is_due_up_to_a_tenth_sooner_or_later() {
        let (mut schedule, mut random) = (FullSyncSchedule::new(&TIMING), Random::new(7));
        for _ in 0..100 {
            schedule.in_service(1_000, &mut random);
            assert!((541_000..=661_000).contains(&schedule.due_ms()), "{}", schedule.due_ms());
        }
        schedule.requested();
        assert_eq!(schedule.due_ms(), 0);
    }
}
