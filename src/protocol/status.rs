//! The agent's status as FeatBit's back end reads it.
//!
//! Must not measure or remember anything: times and versions are arguments.

use crate::model::timestamp::format_iso8601;
use crate::wire::json;

/// The state of the agent's upstream, by FeatBit's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncState {
    /// No upstream: data comes from a file or a bootstrap call.
    #[default]
    None,
    /// No full sync has succeeded yet.
    Starting,
    /// The data is up to date.
    Stable,
    /// The connection is lost, or a message could not be used.
    Interrupted,
    /// Synchronization has ended and is not retried. Only FeatBit's agent reports it; this agent never stops trying.
    Stopped,
}

impl SyncState {
    const ALL: [Self; 5] =
        [SyncState::None, SyncState::Starting, SyncState::Stable, SyncState::Interrupted, SyncState::Stopped];

    /// Parses FeatBit's name of a state.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the data is up to date.
    pub const fn is_current(self) -> bool {
        matches!(self, SyncState::None | SyncState::Stable)
    }

    /// FeatBit's name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            SyncState::None => "None",
            SyncState::Starting => "Starting",
            SyncState::Stable => "Stable",
            SyncState::Interrupted => "Interrupted",
            SyncState::Stopped => "Stopped",
        }
    }
}

/// The agent's status, in FeatBit's format.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// `projectKey:envKey` of each environment served, joined by commas.
    pub serves: &'a str,
    /// The highest version ever seen.
    pub data_version: i64,
    /// The state of the upstream.
    pub sync_state: SyncState,
    /// The last synchronization with the upstream, in Unix milliseconds.
    pub last_synced_at_ms: Option<i64>,
    /// Now, in Unix milliseconds.
    pub reported_at_ms: i64,
}

impl Status<'_> {
    /// The answer to `GET /api/public/proxy/status`.
    pub fn to_json(&self) -> String {
        let last_synced_at = match self.last_synced_at_ms {
            Some(ms) => format!("\"{}\"", iso_8601(ms)),
            None => "null".into(),
        };
        format!(
            "{{\"serves\":{},\"dataVersion\":{},\"syncState\":\"{}\",\"lastSyncedAt\":{last_synced_at},\"reportedAt\":\"{}\"}}",
            json::string(self.serves),
            self.data_version,
            self.sync_state.as_str(),
            iso_8601(self.reported_at_ms),
        )
    }
}

/// The answer to `POST /api/public/proxy/bootstrap`. `warnings`, which FeatBit's agent does not have, are left out if
/// there are none.
pub fn bootstrap_json(serves: &str, data_version: i64, warnings: &[String]) -> String {
    let warnings = match warnings {
        [] => String::new(),
        some => {
            let some: Vec<String> = some.iter().map(|warning| json::string(warning)).collect();
            format!(",\"warnings\":[{}]", some.join(","))
        }
    };
    format!("{{\"serves\":{},\"dataVersion\":{data_version}{warnings}}}", json::string(serves))
}

/// A time in UTC with milliseconds, such as `2025-01-01T00:00:44.638Z`. Times outside the years 1 to
/// 9999 are written as the first or last moment of these years.
pub(super) fn iso_8601(ms: i64) -> String {
    const FIRST_MS: i64 = -62_135_596_800_000; // 0001-01-01T00:00:00.000Z
    const LAST_MS: i64 = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z
    format_iso8601(ms.clamp(FIRST_MS, LAST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_the_form_that_the_back_end_reads() {
        let mut status = Status {
            serves: "webapp:dev,\"odd\\\n:é",
            data_version: 1_735_689_644_638,
            sync_state: SyncState::None,
            last_synced_at_ms: None,
            reported_at_ms: 1_735_689_644_638,
        };
        assert_eq!(
            status.to_json(),
            r#"{"serves":"webapp:dev,\"odd\\\n:é","dataVersion":1735689644638,"syncState":"None","lastSyncedAt":null,"reportedAt":"2025-01-01T00:00:44.638Z"}"#
        );
        status.last_synced_at_ms = Some(-1);
        let json: serde_json::Value = serde_json::from_str(&status.to_json()).unwrap();
        assert_eq!(json["lastSyncedAt"], "1969-12-31T23:59:59.999Z");
        assert_eq!(json["serves"], status.serves);
    }

    #[test]
    fn a_state_is_read_as_it_is_written() {
        for state in SyncState::ALL {
            assert_eq!(SyncState::parse(state.as_str()), Some(state));
        }
        assert_eq!((SyncState::parse("stable"), SyncState::parse("")), (None, None));
    }

    #[test]
    fn bootstrap_answers_what_is_served() {
        assert_eq!(bootstrap_json("a:b,c:d", 7, &[]), r#"{"serves":"a:b,c:d","dataVersion":7}"#);
        assert_eq!(
            bootstrap_json("", 7, &["x: is \"odd\"".into(), "y".into()]),
            r#"{"serves":"","dataVersion":7,"warnings":["x: is \"odd\"","y"]}"#
        );
    }

    #[test]
    fn no_time_is_too_far() {
        assert_eq!(iso_8601(i64::MIN), "0001-01-01T00:00:00.000Z");
        assert_eq!(iso_8601(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(iso_8601(0), "1970-01-01T00:00:00.000Z");
    }
}
