//! What the agent says to the server: requests for what is newer than what is held, pings, its status.

use std::fmt::Write;

use crate::ingest::Ingest;
use crate::protocol::status::Status;
use crate::store::{Scope, Snapshot};
use crate::telemetry::metrics::UpstreamMetrics;

use super::follow::Data;

/// A sign of life that the server answers.
pub(super) const PING: &str = r#"{"messageType":"ping","data":{}}"#;

/// The longest message that the server takes; it drops longer ones without a word. With some room to spare.
const REQUEST_BYTES_MAX: usize = 8_000;

/// How much older than the newest item that is held may be what is asked for again, in milliseconds. Changes that share
/// a millisecond, or are told in another order than they were made, may be cut apart by the end of a connection; what
/// comes twice changes nothing.
const OVERLAP_MS: i64 = 5_000;

/// How much older than the last word of the server what is asked for again is at least, in milliseconds. An item whose
/// time is in the future must not hide what has changed since, and the server's clock may be another.
const CLOCK_SLACK_MS: i64 = 60_000;

/// The data in service, as the state machine asks of it.
pub(super) struct Held<'a> {
    pub ingest: &'a Ingest,
    pub metrics: &'a UpstreamMetrics,
    /// The process that the last full came from, if it is an agent of our make.
    pub source: &'a str,
    /// When the server was last heard on a stream that had brought all there was, in Unix milliseconds; 0 for never.
    pub heard_ms: i64,
}

impl Data for Held<'_> {
    fn since(&self) -> Option<String> {
        since(self.ingest.snapshot(), self.source, self.heard_ms)
    }

    fn begin_full(&mut self) -> u64 {
        self.metrics.full_requests.add(1);
        self.ingest.following().begin_full()
    }
}

/// The request for what is newer than `held`, and than what was told when the server was last heard, with a digest of its environments and secrets for an agent of our make (a
/// server passes over it); `None` if nothing is, or if it would be too long for the server.
fn since(held: &Snapshot, source: &str, heard_ms: i64) -> Option<String> {
    let heard_ms = heard_ms.saturating_sub(CLOCK_SLACK_MS);
    let before = |newest_ms: i64| newest_ms.saturating_sub(OVERLAP_MS).min(heard_ms);
    let mut newest_ms = i64::MIN;
    let mut text = String::new();
    for environment in held.environments() {
        let own_ms = environment.newest_updated_at_ms();
        newest_ms = newest_ms.max(own_ms.unwrap_or(i64::MIN));
        let since_ms = own_ms.map_or(0, |ms| before(ms).max(0));
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(text, r#"{comma}{{"envId":"{}","timestamp":{since_ms}}}"#, environment.id());
        if text.len() > REQUEST_BYTES_MAX {
            return None;
        }
    }
    // 0 would ask for everything.
    let since_ms = before(newest_ms);
    if since_ms <= 0 {
        return None;
    }
    let digest = held.relay_digest(&Scope::All, source);
    let text = format!(
        r#"{{"messageType":"data-sync","data":{{"timestamp":{since_ms},"secrets":"{digest}","envs":[{text}]}}}}"#
    );
    (text.len() <= REQUEST_BYTES_MAX).then_some(text)
}

/// A report of the agent's status.
pub(super) struct Report {
    pub text: String,
    /// Names of environments that had no room in it.
    pub left_out: usize,
}

/// The report of a status, no longer than the server takes: of the names of what is served, those that have no room
/// are left out and counted. `None` if the agent's own name alone has none.
pub(super) fn report(agent_id: &str, status: &Status<'_>) -> Option<Report> {
    let fits = |text: &String| text.len() <= REQUEST_BYTES_MAX;
    let whole = report_of(agent_id, status);
    if fits(&whole) {
        return Some(Report { text: whole, left_out: 0 });
    }
    let names: Vec<&str> = status.serves.split(',').collect();
    let cut = |kept: usize| {
        let serves = format!("{},… ({} more)", names[..kept].join(","), names.len() - kept);
        report_of(agent_id, &Status { serves: serves.trim_start_matches(','), ..*status })
    };
    // Kept are as many as fit: a little less than this many have room.
    let (mut fit, mut too_many) = (0, names.len().min(REQUEST_BYTES_MAX));
    while fit + 1 < too_many {
        let middle = fit.midpoint(too_many);
        if fits(&cut(middle)) { fit = middle } else { too_many = middle }
    }
    Some(Report { text: cut(fit), left_out: names.len() - fit }).filter(|report| fits(&report.text))
}

/// The message; the status in it is JSON in a text.
fn report_of(agent_id: &str, status: &Status<'_>) -> String {
    // Texts, escaped: this cannot fail.
    let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
    format!(
        r#"{{"messageType":"rp-agent-status","data":{{"agentId":{},"status":{}}}}}"#,
        text(agent_id),
        text(&status.to_json())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse::DatasetText;
    use crate::model::timestamp::parse_iso8601_ms;
    use crate::protocol::status::SyncState;
    use crate::store::{Moment, Writer, WriterOptions};

    /// Long after all that is held.
    const HEARD_MS: i64 = 1_000_000_000;

    fn held(environments: usize, second: u8) -> Writer {
        let items: Vec<String> = (0..environments)
            .map(|number| {
                let id = format!("84e8a446-59bc-49f5-bd3a-{number:012}");
                let flag = format!(
                    r#"{{"id":"f","envId":"{id}","key":"k","variations":[],"updatedAt":"1970-01-01T00:00:{second:02}Z"}}"#
                );
                let flags = if number == 1 { "" } else { &flag };
                format!(r#"{{"envId":"{id}","secrets":[],"featureFlags":[{flags}],"segments":[]}}"#)
            })
            .collect();
        let dump = format!(r#"{{"eventType":"rp_full","items":[{}]}}"#, items.join(","));
        let mut text = DatasetText::new(dump.into_bytes());
        let mut writer = Writer::new(WriterOptions::default());
        writer.replace(&text.parse().unwrap(), Moment::default());
        writer
    }

    #[test]
    fn the_request_names_each_environment_and_asks_for_a_little_more_than_is_new() {
        let expected = concat!(
            r#"{"messageType":"data-sync","data":{"timestamp":25000,"#,
            r#""secrets":"d41d8cd98f00b204e9800998ecf8427e","envs":["#,
            r#"{"envId":"84e8a446-59bc-49f5-bd3a-000000000000","timestamp":25000},"#,
            r#"{"envId":"84e8a446-59bc-49f5-bd3a-000000000001","timestamp":0}]}}"#
        );
        assert_eq!(since(held(2, 30).current(), "", HEARD_MS).as_deref(), Some(expected));
    }

    #[test]
    fn an_item_from_the_future_does_not_hide_what_changed_since_the_server_was_heard() {
        let heard_ms = 5_000 + CLOCK_SLACK_MS;
        let request = since(held(2, 30).current(), "", heard_ms).unwrap();
        assert!(request.contains(r#""timestamp":5000,"#), "{request}");
        assert!(request.contains(r#"000000","timestamp":5000}"#), "{request}");
        assert!(!request.contains("25000"), "{request}");
        assert_eq!(since(held(2, 30).current(), "", 0), None, "never heard: everything");
    }

    #[test]
    fn what_the_server_would_drop_or_take_for_a_full_is_not_asked() {
        assert_eq!(since(&Snapshot::empty(), "", HEARD_MS), None);
        assert_eq!(since(held(1, 5).current(), "", HEARD_MS), None);
        let fits = since(held(100, 30).current(), "", HEARD_MS).unwrap();
        assert!(fits.len() < 8_000);
        let longest = (100..200).find_map(|count| {
            let text = since(held(count + 1, 30).current(), "", HEARD_MS);
            if text.is_none() { since(held(count, 30).current(), "", HEARD_MS) } else { None }
        });
        assert!((7_900..=8_000).contains(&longest.unwrap().len()));
    }

    #[test]
    fn the_status_is_reported_as_the_server_reads_it() {
        let recorded: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/relay.json")).unwrap();
        let said =
            recorded["streaming"].as_array().unwrap().iter().find(|part| part["what"] == "status report");
        let said = said.unwrap()["send"].as_str().unwrap();
        let parsed: serde_json::Value = serde_json::from_str(said).unwrap();
        let status: serde_json::Value =
            serde_json::from_str(parsed["data"]["status"].as_str().unwrap()).unwrap();
        let at = |field: &str| status[field].as_str().and_then(parse_iso8601_ms);
        let status = Status {
            serves: status["serves"].as_str().unwrap(),
            data_version: status["dataVersion"].as_i64().unwrap(),
            sync_state: SyncState::Stable,
            last_synced_at_ms: at("lastSyncedAt"),
            reported_at_ms: at("reportedAt").unwrap(),
        };
        let report = report("agent-1", &status).unwrap();
        // This one says milliseconds.
        assert_eq!((report.text, report.left_out), (said.replace(":00Z", ":00.000Z"), 0));
    }

    #[test]
    fn a_report_of_many_environments_is_no_longer_than_the_server_takes() {
        let status = |serves: &str, agent_id: &str| {
            let status = Status {
                serves,
                data_version: i64::MAX,
                sync_state: SyncState::Interrupted,
                last_synced_at_ms: None,
                reported_at_ms: 0,
            };
            report(agent_id, &status).map(|report| {
                let text: serde_json::Value = serde_json::from_str(&report.text).unwrap();
                let status: serde_json::Value =
                    serde_json::from_str(text["data"]["status"].as_str().unwrap()).unwrap();
                (report.text.len(), report.left_out, status["serves"].as_str().unwrap().to_owned())
            })
        };
        let names: Vec<String> = (0..1400).map(|number| format!("webshop-{number}:\"prod\"-é")).collect();
        let (bytes, left_out, serves) = status(&names.join(","), "agent-1").unwrap();
        assert!((7_900..=8_000).contains(&bytes), "{bytes}");
        let kept = names.len() - left_out;
        assert_eq!(serves, format!("{},… ({left_out} more)", names[..kept].join(",")));
        // One that fits is whole, at every length around the limit.
        for length in 7_700..8_000 {
            let (bytes, left_out, serves) = status(&format!("a:b,{}", "x".repeat(length)), "a").unwrap();
            assert!(bytes <= 8_000);
            assert_eq!(left_out == 0, serves.len() == length + 4);
            assert!(left_out <= 1);
        }
        let one = "x".repeat(9_000);
        assert_eq!(
            status(&one, "a").map(|(_, left_out, serves)| (left_out, serves)),
            Some((1, "… (1 more)".into()))
        );
        assert_eq!(status("a:b", &one), None);
    }
}
