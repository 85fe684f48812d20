//! Coarse time: the clock is read once per turn of the loop, in ticks of 100 ms that fit into 32 bits.

use std::time::{Duration, Instant};

/// Length of a tick in milliseconds.
pub const TICK_MS: u64 = 100;

/// A moment in ticks since the reactor started; 0 means "never". 32 bits are enough for 13 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u32);

impl Tick {
    /// No moment: a deadline that never comes.
    pub const NEVER: Tick = Tick(0);

    /// Whether this is [`Tick::NEVER`].
    pub fn is_never(self) -> bool {
        self.0 == 0
    }

    /// The moment `after` later, rounded up, so that a deadline is early by less than one tick.
    pub fn after(self, after: Duration) -> Tick {
        let ticks = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).div_ceil(TICK_MS);
        Tick(self.0.saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX)).max(1))
    }

    /// Ticks from `earlier` to this moment; 0 if it is not earlier.
    pub fn since(self, earlier: Tick) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether the moment is reached; never for [`Tick::NEVER`].
    pub fn has_come(self, now: Tick) -> bool {
        !self.is_never() && self.0 <= now.0
    }
}

/// The reactor's clock.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    now: Tick,
}

impl Clock {
    /// A clock that starts now, at tick 1.
    pub fn new() -> Self {
        Self { start: Instant::now(), now: Tick(1) }
    }

    /// Reads the system's monotonic clock.
    pub fn update(&mut self) -> Tick {
        let ticks = self.start.elapsed().as_millis() as u64 / TICK_MS + 1;
        self.now = Tick(u32::try_from(ticks).unwrap_or(u32::MAX));
        self.now
    }

    /// The time of the last [`update`](Clock::update).
    pub fn now(&self) -> Tick {
        self.now
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_round_up_and_never_never_comes() {
        let now = Tick(1);
        assert!(!Tick::NEVER.has_come(Tick(u32::MAX)));
        assert!(now.after(Duration::ZERO).has_come(now));
        assert!(!now.after(Duration::from_millis(1)).has_come(now));
        assert!(now.after(Duration::from_millis(1)).has_come(Tick(2)));
        assert!(!now.after(Duration::from_secs(10)).has_come(Tick(100)));
        assert!(now.after(Duration::from_secs(10)).has_come(Tick(101)));
        assert!(!now.after(Duration::MAX).has_come(Tick(u32::MAX - 1)));
    }
}
