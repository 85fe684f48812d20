//! How the backup file and Redis are, for the status and the readiness check.
//!
//! Must not wait for either: both tell what their threads last noted.

use std::fmt;
use std::sync::Arc;

use crate::persist::journal::Journal;
use crate::persist::redis::{State, Worker};
use crate::protocol::details::{self, Moment};

/// What keeps the data beyond this process.
#[derive(Default)]
pub struct Persistence {
    /// The backup file.
    pub backup: Option<Arc<Journal>>,
    /// The cluster's Redis.
    pub redis: Option<Arc<Worker>>,
}

impl fmt::Debug for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Persistence(backup {}, redis {})", self.backup.is_some(), self.redis.is_some())
    }
}

impl Persistence {
    /// The backup file for the status.
    pub(crate) fn backup(&self) -> Option<details::Backup> {
        let status = self.backup.as_ref()?.status();
        Some(details::Backup {
            bytes: status.file_bytes,
            is_stale: status.stale_since_ms.is_some(),
            stale_since: status.stale_since_ms.map(Moment),
            error: status.error,
        })
    }

    /// Redis for the status.
    pub(crate) fn redis(&self) -> Option<details::Redis> {
        let status = self.redis.as_ref()?.status();
        Some(details::Redis {
            address: status.address,
            state: state_name(status.state),
            since: Moment(status.since_ms),
            sequence: status.sequence,
            lag: status.lag,
            polling: status.polling,
            last_error: status
                .error
                .map(|(at_ms, message)| details::OwnedError { at: Moment(at_ms), message }),
        })
    }

    /// What the readiness check adds: one line for each that does not work.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if self.backup.as_ref().is_some_and(|backup| backup.status().stale_since_ms.is_some()) {
            troubles.push("backup file: stale".to_owned());
        }
        if let Some(redis) = &self.redis {
            let state = redis.status().state;
            if state != State::Connected {
                troubles.push(format!("Redis: {}", state_name(state)));
            }
        }
        troubles
    }
}

fn state_name(state: State) -> String {
    match state {
        State::Connecting => "connecting".to_owned(),
        State::Connected => "connected".to_owned(),
        State::Away => "away".to_owned(),
        State::Refused(why) => format!("refused ({why})"),
    }
}
