//! When to ask for a full sync: for each reason its own time, so that no reason asks more often than it should.

use crate::client::random::Random;
use crate::client::retry::Throttle;

use super::timing::Timing;

/// The longest pause between two full syncs that are to end a grace, as a multiple of the first.
const GRACE_PAUSES_MAX: u64 = 16;

/// When to ask for a full sync, for which reasons.
#[derive(Debug)]
pub(super) struct FullSyncSchedule {
    /// Between full syncs by time; 0 for none.
    resync_ms: u64,
    unknown_secret_pause_ms: u64,
    /// Something went wrong or somebody asks: from this time on.
    wanted_ms: Option<u64>,
    throttle: Throttle,
    /// The server said something that the agent does not understand: from this time on.
    unknown_message_ms: Option<u64>,
    unknown_message_throttle: Throttle,
    /// SDKs show secrets that are not in the data.
    unknown_secret: bool,
    next_unknown_secret_ms: u64,
    /// A grace is over that only a full sync ends.
    grace_due: bool,
    next_grace_ms: u64,
    grace_pause_ms: u64,
    grace_throttle: Throttle,
    next_by_time_ms: u64,
}

impl FullSyncSchedule {
    /// Nothing is due. The first request of the first session asks for everything by itself.
    pub fn new(timing: &Timing) -> Self {
        Self {
            resync_ms: timing.resync_ms,
            unknown_secret_pause_ms: timing.unknown_secret_ms,
            wanted_ms: None,
            throttle: Throttle::new(timing.retry_ms),
            unknown_message_ms: None,
            unknown_message_throttle: Throttle::new(timing.pause_ms()),
            unknown_secret: false,
            next_unknown_secret_ms: 0,
            grace_due: false,
            next_grace_ms: 0,
            grace_pause_ms: timing.unknown_secret_ms,
            grace_throttle: Throttle::new(timing.retry_ms),
            next_by_time_ms: u64::MAX,
        }
    }

    /// An operator asks for one: now.
    pub fn requested(&mut self) {
        self.wanted_ms = Some(0);
    }

    /// One was asked for, and nobody will answer it any more: now, unless another time is set already.
    pub fn still_wanted(&mut self) {
        self.wanted_ms.get_or_insert(0);
    }

    /// Something could not be taken in, or the data lacks something: at once, unless that was so just before.
    pub fn wanted(&mut self, now_ms: u64, random: &mut Random) {
        if self.wanted_ms.is_none() {
            self.wanted_ms = Some(self.throttle.next_ms(now_ms, random.draw()));
        }
    }

    /// The server says something of which nobody can tell what it changes. One that says so again and again, or with
    /// each full sync, is asked ever more rarely, at last as rarely as by time.
    pub fn unknown_message(&mut self, now_ms: u64, random: &mut Random) {
        if self.unknown_message_ms.is_none() {
            self.unknown_message_ms = Some(self.unknown_message_throttle.next_ms(now_ms, random.draw()));
        }
    }

    /// SDKs show secrets that are not in the data. There may be any number of them, so this is served rarely.
    pub fn unknown_secret(&mut self) {
        self.unknown_secret = true;
    }

    /// Whether a grace is over that only a full sync ends that is asked for from now on.
    pub fn set_grace_due(&mut self, now_ms: u64, grace_due: bool, random: &mut Random) {
        if grace_due && !self.grace_due {
            self.next_grace_ms = self.grace_throttle.next_ms(now_ms, random.draw());
            self.grace_pause_ms = self.unknown_secret_pause_ms;
        }
        self.grace_due = grace_due;
    }

    /// Whether the next one has to show for certain what does not exist.
    pub fn needs_verification(&self) -> bool {
        self.unknown_secret || self.grace_due
    }

    /// When one is to be asked for.
    pub fn due_ms(&self) -> u64 {
        let unknown_secret_ms = if self.unknown_secret { self.next_unknown_secret_ms } else { u64::MAX };
        let grace_ms = if self.grace_due { self.next_grace_ms } else { u64::MAX };
        let wanted_ms = self.wanted_ms.into_iter().chain(self.unknown_message_ms).min().unwrap_or(u64::MAX);
        wanted_ms.min(unknown_secret_ms).min(grace_ms).min(self.next_by_time_ms)
    }

    /// One is asked for, for all reasons at once.
    pub fn asked(&mut self, now_ms: u64) {
        if self.grace_due {
            // Through agents in between the answer takes its time, and whoever asks again meanwhile makes it take longer.
            self.next_grace_ms = now_ms + self.grace_pause_ms;
            let longest_ms = self.unknown_secret_pause_ms.saturating_mul(GRACE_PAUSES_MAX);
            self.grace_pause_ms = self.grace_pause_ms.saturating_mul(2).min(longest_ms);
        }
        if std::mem::take(&mut self.unknown_secret) {
            self.next_unknown_secret_ms = now_ms + self.unknown_secret_pause_ms;
        }
        self.wanted_ms = None;
        self.unknown_message_ms = None;
        self.next_by_time_ms = u64::MAX;
    }

    /// One is in service. The next one by time is drawn anew, so that many agents do not ask together.
    pub fn in_service(&mut self, now_ms: u64, random: &mut Random) {
        self.next_by_time_ms = match self.resync_ms {
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
    fn asking_serves_all_reasons_at_once_and_each_comes_back_in_its_own_time() {
        let (mut schedule, mut random) = (FullSyncSchedule::new(&TIMING), Random::new(7));
        assert_eq!(schedule.due_ms(), u64::MAX);
        schedule.unknown_secret();
        schedule.unknown_message(5, &mut random);
        schedule.wanted(5, &mut random);
        schedule.set_grace_due(5, true, &mut random);
        assert!(schedule.due_ms() <= 5 && schedule.needs_verification());
        schedule.asked(10);
        // The grace alone is still due, and asks again after a pause that doubles.
        assert_eq!(schedule.due_ms(), 10 + TIMING.unknown_secret_ms);
        schedule.asked(100_000);
        assert_eq!(schedule.due_ms(), 100_000 + 2 * TIMING.unknown_secret_ms);
        schedule.set_grace_due(100_000, false, &mut random);
        assert_eq!((schedule.due_ms(), schedule.needs_verification()), (u64::MAX, false));
        schedule.unknown_secret();
        assert_eq!(schedule.due_ms(), 10 + TIMING.unknown_secret_ms);
    }

    #[test]
    fn by_time_it_is_due_a_tenth_sooner_or_later() {
        let (mut schedule, mut random) = (FullSyncSchedule::new(&TIMING), Random::new(7));
        for _ in 0..100 {
            schedule.in_service(1_000, &mut random);
            assert!((541_000..=661_000).contains(&schedule.due_ms()), "{}", schedule.due_ms());
        }
        schedule.requested();
        assert_eq!(schedule.due_ms(), 0);
    }
}
