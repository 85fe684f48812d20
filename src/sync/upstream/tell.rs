//! What others are told of where the agent stands: the server, the agents that follow this one, operators, metrics.
//!
//! Must not decide where that is.

use crate::ingest::Ingest;
use crate::protocol::from_relay::StatusReport;
use crate::protocol::status::{Status, SyncState};

use super::Upstream;

/// What was last told of where the agent stands.
#[derive(PartialEq, Eq)]
pub(super) struct Told {
    state: SyncState,
    connected_since_ms: Option<i64>,
    failed_attempts: u64,
    opened: u64,
}

impl Upstream {
    /// The agent that is followed says the state of its own upstream; a state that this agent does not know changes nothing.
    pub(super) fn above_stands(&mut self, ingest: &Ingest, number: u64, state: Option<SyncState>) {
        let Some(state) = state else { return };
        self.follow.above(number, state.is_current());
        if !state.is_current() {
            self.grumble.above(ingest, state, (self.wall_ms)());
        }
    }

    /// The report of the status, if there is room for one in a message.
    pub(super) fn report(&mut self, ingest: &Ingest) -> Option<String> {
        let snapshot = ingest.snapshot();
        let status = Status {
            serves: &snapshot.serves(),
            data_version: snapshot.data_version(),
            sync_state: self.follow.state(),
            last_synced_at_ms: ingest.following().status().last_synced_ms,
            reported_at_ms: (self.wall_ms)(),
        };
        let report = StatusReport::write(&self.agent_id, &status);
        self.grumble.reports(report.as_ref().map(|report| report.left_out));
        report.map(|report| report.text)
    }

    /// Tells operators and health checks where the agent stands, if that has changed.
    pub(super) fn tell(&mut self, ingest: &Ingest) {
        let open = self.lines.values().filter(|line| line.closing_ms.is_none());
        let told = Told {
            state: self.follow.state(),
            connected_since_ms: open.map(|line| line.opened_wall_ms).max(),
            failed_attempts: self.follow.failed_attempts(),
            opened: self.metrics.opened.get(),
        };
        let error = self.grumble.take_error();
        self.metrics.streams.set(self.lines.len() as u64);
        self.metrics.stable.set(u64::from(told.state == SyncState::Stable));
        self.metrics.failed_attempts.set(told.failed_attempts);
        if self.told.as_ref() == Some(&told) && error.is_none() {
            return;
        }
        if self.told.as_ref().is_some_and(|before| before.state != told.state) {
            self.grumble.stands(told.state);
        }
        ingest.update_status(|status| {
            status.state = told.state;
            status.connected_since_ms = told.connected_since_ms;
            status.failed_attempts = told.failed_attempts;
            status.reconnects = told.opened.saturating_sub(1);
            if error.is_some() {
                status.last_error = error;
            }
        });
        self.told = Some(told);
    }
}
