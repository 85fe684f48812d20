//! When to dial and when to register: one attempt at a time, with a growing delay after each failure.
//!
//! Each dial also registers, until that has succeeded. If the connection opens but the registration fails, it is tried
//! again alone while the session is open.

use crate::client::random::Random;
use crate::client::retry::Retry;

use super::action::{Action, FailureKind};
use super::coverage::Coverage;
use super::timing::Timing;

/// A dial without a result is given up this long after its own deadline, in milliseconds.
const DIAL_SLACK_MS: u64 = 5_000;

/// A dial under way.
#[derive(Debug)]
pub(super) struct Dial {
    pub number: u64,
    give_up_ms: u64,
    /// The coverage of the data when it began; `None` if there was no data of this server.
    pub known: Option<Coverage>,
}

/// Decides when to dial and when to register.
#[derive(Debug)]
pub(super) struct Dialling {
    dial: Option<Dial>,
    last_number: u64,
    next_ms: u64,
    retry: Retry,
    failed_attempts: u64,
    registration: Registration,
}

impl Dialling {
    /// The first dial is due at once. No delay is longer than `retry_ms`.
    pub fn new(retry_ms: u64) -> Self {
        Self {
            dial: None,
            last_number: 0,
            next_ms: 0,
            retry: Retry::new(retry_ms),
            failed_attempts: 0,
            registration: Registration::new(retry_ms),
        }
    }

    /// Whether a dial has begun and has no result yet.
    pub fn is_under_way(&self) -> bool {
        self.dial.is_some()
    }

    /// The number of the last dial that began; 0 before the first.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// How many attempts have failed since the last success.
    pub fn failed_attempts(&self) -> u64 {
        self.failed_attempts
    }

    /// Begins a dial, if one is due and none is under way. `known`: the coverage of the data.
    pub fn begin(&mut self, now_ms: u64, timing: &Timing, known: Option<Coverage>) -> Option<Action> {
        if self.dial.is_some() || now_ms < self.next_ms {
            return None;
        }
        self.last_number += 1;
        let number = self.last_number;
        let give_up_ms = now_ms + timing.dial_ms + DIAL_SLACK_MS;
        self.dial = Some(Dial { number, give_up_ms, known });
        Some(Action::Dial { number, register: self.registration.begin_if_needed() })
    }

    /// Ends the dial with this number; `None` if it was given up before.
    pub fn finish(&mut self, number: u64) -> Option<Dial> {
        self.dial.take_if(|dial| dial.number == number)
    }

    /// Gives up a dial that has no result long after its deadline.
    pub fn time_out(&mut self, now_ms: u64, random: &mut Random) {
        if self.dial.take_if(|dial| now_ms >= dial.give_up_ms).is_some() {
            self.failed(now_ms, FailureKind::Failed, random);
        }
    }

    /// A dial has failed: delays the next one.
    pub fn failed(&mut self, now_ms: u64, kind: FailureKind, random: &mut Random) {
        self.failed_attempts += 1;
        self.delay(now_ms, kind, random);
    }

    /// A session has ended before its first answer. This is how a server refuses a key, so it counts as a failed attempt.
    pub fn ended_unsynced(&mut self) {
        self.failed_attempts += 1;
    }

    /// A session has received its first answer.
    pub fn synced(&mut self) {
        self.failed_attempts = 0;
    }

    /// A session has proved stable: earlier failures are forgotten.
    pub fn session_is_stable(&mut self) {
        self.retry.reset();
    }

    /// Delays the next dial.
    pub fn delay(&mut self, now_ms: u64, kind: FailureKind, random: &mut Random) {
        let random = random.draw();
        let delay_ms = match kind {
            FailureKind::Refused => {
                self.registration.forget();
                self.retry.refused(random)
            }
            FailureKind::Failed => self.retry.failed(random),
        };
        self.next_ms = now_ms + delay_ms;
    }

    /// The key was replaced: forgets earlier failures and the registration, and makes a dial due now.
    pub fn start_over(&mut self, now_ms: u64) {
        self.registration.forget();
        self.retry.reset();
        self.next_ms = now_ms;
    }

    /// The registration has succeeded.
    pub fn registered(&mut self) {
        self.registration.succeeded();
    }

    /// The registration has failed.
    pub fn not_registered(&mut self, now_ms: u64, kind: FailureKind, random: &mut Random) {
        self.registration.failed(now_ms, kind, random);
    }

    /// A session was refused: the registration may have become invalid.
    pub fn forget_registration(&mut self) {
        self.registration.forget();
    }

    /// Registers without a dial, if that is due and a session is open. Otherwise the next dial registers.
    pub fn register_alone(&mut self, now_ms: u64, has_session: bool) -> Option<Action> {
        if now_ms < self.register_alone_ms(has_session) {
            return None;
        }
        self.registration.begin_if_needed().then_some(Action::Register)
    }

    fn register_alone_ms(&self, has_session: bool) -> u64 {
        if has_session && self.dial.is_none() { self.registration.due_ms() } else { u64::MAX }
    }

    /// When something is due here. `needs_session`: whether another session is needed.
    pub fn deadline_ms(&self, needs_session: bool, has_session: bool) -> u64 {
        let dial_ms = match &self.dial {
            Some(dial) => dial.give_up_ms,
            None if needs_session => self.next_ms,
            None => u64::MAX,
        };
        dial_ms.min(self.register_alone_ms(has_session))
    }
}

/// Whether the agent is registered, and when to try the registration again.
#[derive(Debug)]
struct Registration {
    done: bool,
    under_way: bool,
    next_ms: u64,
    retry: Retry,
}

impl Registration {
    fn new(retry_ms: u64) -> Self {
        Self { done: false, under_way: false, next_ms: 0, retry: Retry::new(retry_ms) }
    }

    fn is_needed(&self) -> bool {
        !self.done && !self.under_way
    }

    fn begin_if_needed(&mut self) -> bool {
        let needed = self.is_needed();
        self.under_way |= needed;
        needed
    }

    fn due_ms(&self) -> u64 {
        if self.is_needed() { self.next_ms } else { u64::MAX }
    }

    fn succeeded(&mut self) {
        (self.done, self.under_way) = (true, false);
        self.retry.reset();
    }

    fn failed(&mut self, now_ms: u64, kind: FailureKind, random: &mut Random) {
        (self.done, self.under_way) = (false, false);
        let delay_ms = match kind {
            FailureKind::Refused => self.retry.refused(random.draw()),
            FailureKind::Failed => self.retry.failed(random.draw()),
        };
        self.next_ms = now_ms + delay_ms;
    }

    fn forget(&mut self) {
        self.done = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::TIMING;
    use super::*;

    #[test]
    fn one_dial_at_a_time_and_a_result_after_it_was_given_up_is_too_late() {
        let (mut dialling, mut random) = (Dialling::new(60_000), Random::new(7));
        assert_eq!(dialling.begin(0, &TIMING, None), Some(Action::Dial { number: 1, register: true }));
        assert_eq!(dialling.begin(0, &TIMING, None), None);
        let deadline_ms = dialling.deadline_ms(true, false);
        assert_eq!(deadline_ms, TIMING.dial_ms + DIAL_SLACK_MS);
        dialling.time_out(deadline_ms - 1, &mut random);
        assert!(dialling.is_under_way());
        dialling.time_out(deadline_ms, &mut random);
        assert!(!dialling.is_under_way() && dialling.finish(1).is_none());
        assert_eq!(dialling.failed_attempts(), 1);
    }

    #[test]
    fn a_registration_is_repeated_alone_only_while_a_session_is_open() {
        let (mut dialling, mut random) = (Dialling::new(60_000), Random::new(7));
        dialling.begin(0, &TIMING, None);
        dialling.finish(1);
        dialling.not_registered(0, FailureKind::Failed, &mut random);
        assert_eq!(dialling.register_alone(100_000, false), None);
        assert_eq!(dialling.register_alone(100_000, true), Some(Action::Register));
        assert_eq!(dialling.register_alone(100_000, true), None, "it is under way");
        dialling.registered();
        assert_eq!(dialling.deadline_ms(false, true), u64::MAX);
    }
}
