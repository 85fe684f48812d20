//! What happens to a call: its events are checked, changed if the policy says so, and kept.
//!
//! Must not answer a call before its events are safe: the caller syncs once for several calls, and then replies.

use std::sync::Arc;

use crate::config::EventsMode;
use crate::fanout::mailbox::Reply;
use crate::model::environment_id::EnvironmentId;
use crate::store::{Environment, Snapshot};
use crate::wire::gzip::{self, GzipError};

use super::counts::{Counts, EventResult};
use super::events::{Batch, Events, Form};
use super::handle::Call;
use super::items::{self, Split};
use super::known_flags::{KnownFlags, NoFlags};
use super::policy::Policy;
use super::pseudonym::Pseudonymizer;

/// What is to be done with the events of one call.
#[derive(Debug)]
pub(super) struct Judged {
    /// The environment.
    pub environment: EnvironmentId,
    /// What is counted once the call is answered.
    pub tally: Tally,
    /// Where its events go.
    pub destination: Destination,
}

/// Where the events of a call go.
#[derive(Debug)]
pub(super) enum Destination {
    /// Nowhere: there is nothing, or the mode is drop.
    Nowhere,
    /// To the queue.
    Queue(Batch),
    /// To the local files.
    Local(Batch),
}

/// Numbers of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    accepted: u64,
    invalid: u64,
    dropped: u64,
    kept: u64,
    withheld: u64,
    without_insights: u64,
    evaluations_left_out: u64,
}

impl Tally {
    /// Adds them to the counts of the environment.
    pub fn count(self, counts: &Counts, environment: EnvironmentId) {
        let counts = counts.of(environment);
        counts.add(EventResult::Accepted, self.accepted);
        counts.add(EventResult::Invalid, self.invalid);
        counts.add(EventResult::Dropped, self.dropped);
        counts.add(EventResult::Kept, self.kept);
        counts.add(EventResult::Withheld, self.withheld);
        counts.add(EventResult::WithoutInsights, self.without_insights);
        counts.left_out(self.evaluations_left_out);
    }
}

/// Judges calls.
#[derive(Debug)]
pub(super) struct Intake {
    pub policy: Arc<Policy>,
    /// Always there if a mode is pseudonymize.
    pub pseudonymizer: Option<Arc<Pseudonymizer>>,
}

impl Intake {
    /// What is to be done with a call.
    ///
    /// # Errors
    /// The reply to a call that is not taken.
    pub fn judge(&self, call: Call, snapshot: &Snapshot) -> Result<Judged, Reply> {
        let Call { environment, secret, kind, received_ms, body, gzip, bytes_max, .. } = call;
        let body = if gzip { gzip::decompress(&body, bytes_max).map_err(refused)? } else { body };
        if body.len() as u64 > bytes_max {
            return Err(refused(GzipError::TooLarge));
        }
        let known = snapshot.listed_environment(environment);
        let flags = known.map_or(&NoFlags as &dyn KnownFlags, |one: &Arc<Environment>| &**one);
        let Split { events, counts } = items::split(&body, flags)
            .map_err(|_| Reply::Invalid("the body is not a JSON text of usage events".into()))?;
        let mut tally = Tally {
            accepted: counts.events + counts.invalid + counts.events_disabled,
            invalid: counts.invalid,
            without_insights: counts.events_disabled,
            evaluations_left_out: counts.evaluations_disabled,
            ..Tally::default()
        };
        let Some(mode) = self.policy.mode_in(snapshot, environment) else {
            return Err(Reply::Busy("the names of the environment are not known at present"));
        };
        let batch = |form, events| Batch { environment, secret, kind, form, received_ms, events };
        let destination = match mode {
            _ if events.is_empty() => Destination::Nowhere,
            EventsMode::Drop => {
                tally.dropped = counts.events;
                Destination::Nowhere
            }
            EventsMode::Local => {
                tally.kept = counts.events;
                Destination::Local(batch(Form::Raw, events))
            }
            EventsMode::Forward => Destination::Queue(batch(Form::Raw, events)),
            EventsMode::Pseudonymize => {
                let changed = self.pseudonymized(environment, flags, &events);
                tally.withheld = counts.events - changed.len() as u64;
                match changed.is_empty() {
                    true => Destination::Nowhere,
                    false => Destination::Queue(batch(Form::Pseudonymized, changed)),
                }
            }
        };
        Ok(Judged { environment, tally, destination })
    }

    /// The events without what identifies a user. Those of which nothing may be sent are left out.
    pub fn pseudonymized(
        &self,
        environment: EnvironmentId,
        flags: &dyn KnownFlags,
        events: &Events,
    ) -> Events {
        // Without it nothing may leave the machine.
        let changed = self.pseudonymizer.as_ref().map(|one| one.transform_all(environment, flags, events));
        changed.unwrap_or_default()
    }
}

fn refused(error: GzipError) -> Reply {
    match error {
        GzipError::Broken => Reply::Invalid(error.to_string()),
        GzipError::TooLarge => Reply::TooLarge(error.to_string()),
    }
}
