//! What the data in service says about the next request: since when everything newer is to be asked for.

use crate::ingest::Ingest;
use crate::protocol::from_relay::{MESSAGE_BYTES_MAX, RelayRequest};
use crate::store::{Scope, Snapshot};
use crate::telemetry::metrics::UpstreamMetrics;

use super::follow::DataInService;

/// How much older than the newest item in service is asked for again, in milliseconds. Changes of one millisecond, or
/// changes that the server sends in another order than they were made, may be separated by the end of a connection. An
/// item that comes twice changes nothing.
const OVERLAP_MS: i64 = 5_000;

/// How much older than the last message of the server is asked for again at least, in milliseconds. An item whose time
/// is in the future must not hide what has changed since, and the server's clock may differ.
const CLOCK_SLACK_MS: i64 = 60_000;

/// The data in service, as the state machine asks of it.
pub(super) struct ServedData<'a> {
    pub ingest: &'a Ingest,
    pub metrics: &'a UpstreamMetrics,
    /// The process that the last full sync came from, if it is an agent of this make.
    pub source: &'a str,
    /// When something last came in on a connection that had brought all there was, in Unix milliseconds; 0 for never.
    pub heard_ms: i64,
}

impl DataInService for ServedData<'_> {
    fn since(&self) -> Option<RelayRequest> {
        since(self.ingest.snapshot(), self.source, self.heard_ms)
    }

    fn begin_full(&mut self) -> u64 {
        self.metrics.full_requests.add(1);
        self.ingest.following().begin_full()
    }
}

/// The request for what is newer than what is in service, and than the last message of the server. An agent of this make
/// also gets a digest of the environments and secrets, which a FeatBit server ignores. `None` if nothing is in service, or if
/// the request would be longer than the server takes.
fn since(held: &Snapshot, source: &str, heard_ms: i64) -> Option<RelayRequest> {
    let heard_ms = heard_ms.saturating_sub(CLOCK_SLACK_MS);
    let before = |newest_ms: i64| newest_ms.saturating_sub(OVERLAP_MS).min(heard_ms);
    let mut newest_ms = i64::MIN;
    let mut environments = Vec::new();
    for environment in held.environments() {
        let own_ms = environment.newest_updated_at_ms();
        newest_ms = newest_ms.max(own_ms.unwrap_or(i64::MIN));
        let since_ms = own_ms.map_or(0, |ms| before(ms).max(0));
        environments.push((environment.id(), since_ms));
    }
    // 0 would ask for everything.
    let timestamp_ms = before(newest_ms);
    if timestamp_ms <= 0 {
        return None;
    }
    let digest = Some(held.relay_digest(&Scope::All, source));
    let request = RelayRequest { timestamp_ms, environments, digest, verify: None };
    (request.write().len() <= MESSAGE_BYTES_MAX).then_some(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse::DatasetText;
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

    fn text(held: &Snapshot, source: &str, heard_ms: i64) -> Option<String> {
        since(held, source, heard_ms).map(|request| request.write())
    }

    #[test]
    fn the_request_names_each_environment_and_asks_for_a_little_more_than_is_new() {
        let expected = concat!(
            r#"{"messageType":"data-sync","data":{"timestamp":25000,"#,
            r#""secrets":"d41d8cd98f00b204e9800998ecf8427e","envs":["#,
            r#"{"envId":"84e8a446-59bc-49f5-bd3a-000000000000","timestamp":25000},"#,
            r#"{"envId":"84e8a446-59bc-49f5-bd3a-000000000001","timestamp":0}]}}"#
        );
        assert_eq!(text(held(2, 30).current(), "", HEARD_MS).as_deref(), Some(expected));
    }

    #[test]
    fn an_item_from_the_future_does_not_hide_what_changed_since_the_server_was_heard() {
        let heard_ms = 5_000 + CLOCK_SLACK_MS;
        let request = text(held(2, 30).current(), "", heard_ms).unwrap();
        assert!(request.contains(r#""timestamp":5000,"#), "{request}");
        assert!(request.contains(r#"000000","timestamp":5000}"#), "{request}");
        assert!(!request.contains("25000"), "{request}");
        assert_eq!(text(held(2, 30).current(), "", 0), None, "never heard: everything");
    }

    #[test]
    fn what_the_server_would_drop_or_take_for_a_full_is_not_asked() {
        assert_eq!(text(&Snapshot::empty(), "", HEARD_MS), None);
        assert_eq!(text(held(1, 5).current(), "", HEARD_MS), None);
        let fits = text(held(100, 30).current(), "", HEARD_MS).unwrap();
        assert!(fits.len() < 8_000);
        let longest = (100..200).find_map(|count| {
            let one_more = text(held(count + 1, 30).current(), "", HEARD_MS);
            if one_more.is_none() { text(held(count, 30).current(), "", HEARD_MS) } else { None }
        });
        assert!((7_900..=8_000).contains(&longest.unwrap().len()));
    }
}
