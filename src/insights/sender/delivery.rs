//! The sending of one stream: when the next request may begin, how much it carries, and what its outcome means for its
//! events.
//!
//! Must not read a clock, draw random numbers, or touch an event: it only counts. Times are in milliseconds of a clock
//! that only rises.

use std::fmt;

use crate::insights::queue::PeekLimits;

use super::breaker::{Breaker, BreakerState, Failure};
use super::outcome::{Fault, Outcome};
use super::portions::{Fate, Portions};

/// What happens to the events of a request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The first events of the stream, so many, are sent: confirm them.
    Confirm {
        /// How many.
        events: usize,
    },
    /// The server will never take the first events of the stream: write them to the dead letters, then confirm them.
    DeadLetter {
        /// How many.
        events: usize,
        /// The status of the answer.
        status: u16,
    },
    /// They stay in the queue and are sent again.
    Keep,
}

/// Why a stream waits, for status and metrics. Holds no address and no user data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The state of a stream's sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryState {
    /// Whether something may be sent.
    pub breaker: BreakerState,
    /// Why not; `None` while the breaker is closed.
    pub reason: Option<Reason>,
    /// Requests in a row that brought no event to the server.
    pub failures: u32,
    /// Whether whole portions go to the dead letters, because the server has rejected many single events in a row.
    pub gives_up_portions: bool,
}

/// The sending of one stream.
#[derive(Clone, Debug)]
pub struct Delivery {
    breaker: Breaker,
    portions: Portions,
    under_way: bool,
    reason: Option<Reason>,
    failures: u32,
}

impl Delivery {
    /// Nothing was sent yet. A request carries at most `max`, and no delay is longer than `retry_cap_ms`, unless the
    /// server asks for it.
    pub fn new(max: PeekLimits, retry_cap_ms: u64) -> Self {
        Self {
            breaker: Breaker::new(retry_cap_ms),
            portions: Portions::new(max),
            under_way: false,
            reason: None,
            failures: 0,
        }
    }

    /// Whether a request may begin. One at a time.
    pub fn may_send(&self, now_ms: u64) -> bool {
        !self.under_way && self.breaker.may_send(now_ms)
    }

    /// When a request may begin; `None` while one is under way.
    pub fn next_at_ms(&self) -> Option<u64> {
        if self.under_way { None } else { self.breaker.next_at_ms() }
    }

    /// How much the next request carries at most.
    pub fn limits(&self) -> PeekLimits {
        self.portions.limits()
    }

    /// A request begins.
    pub fn begun(&mut self) {
        self.under_way = true;
        self.breaker.begun();
    }

    /// The request has ended. It carried the first `events` of the stream, `bytes` of text by the queue's count.
    pub fn ended(
        &mut self,
        outcome: &Outcome,
        events: usize,
        bytes: usize,
        now_ms: u64,
        random: u64,
    ) -> Verdict {
        self.under_way = false;
        self.failures = if *outcome == Outcome::Taken { 0 } else { self.failures.saturating_add(1) };
        match outcome {
            Outcome::Taken => {
                self.portions.taken(events);
                self.works();
                Verdict::Confirm { events }
            }
            Outcome::Again(Fault::NoConnection(_) | Fault::Abandoned) => {
                self.breaker.undecided(now_ms);
                Verdict::Keep
            }
            Outcome::Again(Fault::Status { retry_after_ms: Some(wait_ms), .. }) => {
                self.waits(outcome, Failure::AskedToWait(*wait_ms), now_ms, random)
            }
            Outcome::Again(_) => self.waits(outcome, Failure::Failed, now_ms, random),
            Outcome::Refused(_) => self.waits(outcome, Failure::Refused, now_ms, random),
            Outcome::TooLarge => {
                self.works();
                verdict(self.portions.too_large(events, bytes), events, 413)
            }
            Outcome::Rejected { status } => {
                let fate = self.portions.rejected(events);
                match self.portions.is_giving_up() {
                    // Perhaps it is not the events: time for somebody to see it.
                    true => _ = self.waits(outcome, Failure::Failed, now_ms, random),
                    false => self.works(),
                }
                verdict(fate, events, *status)
            }
        }
    }

    /// The state, for status and metrics.
    pub fn state(&self) -> DeliveryState {
        DeliveryState {
            breaker: self.breaker.state(),
            reason: self.reason.clone(),
            failures: self.failures,
            gives_up_portions: self.portions.is_giving_up(),
        }
    }

    fn works(&mut self) {
        self.breaker.succeeded();
        self.reason = None;
    }

    fn waits(&mut self, outcome: &Outcome, failure: Failure, now_ms: u64, random: u64) -> Verdict {
        self.breaker.failed(failure, now_ms, random);
        self.reason = Some(Reason(outcome.to_string()));
        Verdict::Keep
    }
}

fn verdict(fate: Fate, events: usize, status: u16) -> Verdict {
    match fate {
        Fate::Stay => Verdict::Keep,
        Fate::GivenUp => Verdict::DeadLetter { events, status },
    }
}

#[cfg(test)]
mod tests;
