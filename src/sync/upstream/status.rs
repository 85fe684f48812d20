//! Publishes the upstream status: to the server, downstream agents, operators and metrics.
//!
//! Must not decide what the status is.

use crate::ingest::Ingest;
use crate::protocol::from_relay::StatusReport;
use crate::protocol::status::{Status, SyncState};

use super::driver::{Published, Upstream};

impl Upstream {
    /// The server is an agent, and reports its own status. An unknown status is ignored.
    pub(super) fn upstream_state(&mut self, ingest: &Ingest, number: u64, state: Option<SyncState>) {
        let Some(state) = state else { return };
        self.follow.upstream_is_connected(number, state.is_current());
        if !state.is_current() {
            self.log.upstream_not_connected(ingest, state, (self.wall_ms)());
        }
    }

    /// The status. With data from before a restart, or from other agents, the agent serves as when the server is away.
    fn state(&self, ingest: &Ingest) -> SyncState {
        match self.follow.state() {
            SyncState::Starting if ingest.snapshot().loaded() => SyncState::Interrupted,
            state => state,
        }
    }

    /// The status report for the server; `None` if it would be too long.
    pub(super) fn report(&mut self, ingest: &Ingest) -> Option<String> {
        let snapshot = ingest.snapshot();
        let status = Status {
            serves: &snapshot.serves(),
            data_version: snapshot.data_version(),
            sync_state: self.state(ingest),
            last_synced_at_ms: ingest.following().status().last_synced_ms,
            reported_at_ms: (self.wall_ms)(),
        };
        let report = StatusReport::write(&self.agent_id, &status);
        self.log.reports(report.as_ref().map(|report| report.left_out));
        report.map(|report| report.text)
    }

    /// Publishes the status for operators and health checks, if it has changed.
    pub(super) fn publish_status(&mut self, ingest: &Ingest) {
        let open = self.connections.values().filter(|open| open.closing_ms.is_none());
        let now = Published {
            state: self.state(ingest),
            connected_since_ms: open.map(|open| open.opened_wall_ms).max(),
            failed_attempts: self.follow.failed_attempts(),
            opened: self.metrics.opened.get(),
        };
        let error = self.log.take_error();
        self.metrics.streams.set(self.connections.len() as u64);
        self.metrics.stable.set(u64::from(now.state == SyncState::Stable));
        self.metrics.failed_attempts.set(now.failed_attempts);
        if self.published.as_ref() == Some(&now) && error.is_none() {
            return;
        }
        if self.published.as_ref().is_some_and(|before| before.state != now.state) {
            self.log.state_changed(now.state);
        }
        ingest.update_status(|status| {
            status.state = now.state;
            status.connected_since_ms = now.connected_since_ms;
            status.failed_attempts = now.failed_attempts;
            status.reconnects = now.opened.saturating_sub(1);
            if error.is_some() {
                status.last_error = error;
            }
        });
        self.published = Some(now);
    }
}
