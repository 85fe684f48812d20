//! The next request for data: for everything newer than the data in service.

use crate::ingest::Ingest;
use crate::protocol::from_relay::{MESSAGE_BYTES_MAX, RelayRequest};
use crate::store::{Scope, Snapshot};
use crate::telemetry::metrics::UpstreamMetrics;

use super::follow::DataInService;

/// A request begins this much before the newest item in service, in milliseconds. A connection may have ended between two
/// changes of the same millisecond, or between changes that the server sent out of order. Receiving an item twice does no
/// harm.
const OVERLAP_MS: i64 = 5_000;

/// A request begins at least this much before the server's last message, in milliseconds: an item with a time in the future
/// must not hide later changes, and the server's clock may differ from this machine's.
const CLOCK_SLACK_MS: i64 = 60_000;

/// The data in service, for the state machine in `follow`.
pub(super) struct ServedData<'a> {
    pub ingest: &'a Ingest,
    pub metrics: &'a UpstreamMetrics,
    /// The name of the process that sent the last full sync, if that is a featbit-agent; otherwise empty.
    pub source: &'a str,
    /// When something was last received on an up-to-date connection, in Unix milliseconds; 0 for never.
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

/// The request for everything that is newer than the data in service and the server's last message. It contains a digest of
/// the environments and secrets for an upstream featbit-agent; a FeatBit server ignores that. `None` if there is no data, or
/// if the request would exceed what a server accepts.
fn since(data: &Snapshot, source: &str, heard_ms: i64) -> Option<RelayRequest> {
    let heard_ms = heard_ms.saturating_sub(CLOCK_SLACK_MS);
    let before = |newest_ms: i64| newest_ms.saturating_sub(OVERLAP_MS).min(heard_ms);
    let mut newest_ms = i64::MIN;
    let mut environments = Vec::new();
    for environment in data.environments() {
        let own_ms = environment.newest_updated_at_ms();
        newest_ms = newest_ms.max(own_ms.unwrap_or(i64::MIN));
        let since_ms = own_ms.map_or(0, |ms| before(ms).max(0));
        environments.push((environment.id(), since_ms));
    }
    // 0 would request everything.
    let timestamp_ms = before(newest_ms);
    if timestamp_ms <= 0 {
        return None;
    }
    let digest = Some(data.relay_digest(&Scope::All, source));
    let request = RelayRequest { timestamp_ms, environments, digest, verify: None };
    (request.write().len() <= MESSAGE_BYTES_MAX).then_some(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse::DatasetText;
    use crate::store::{Moment, Writer, WriterOptions};

    /// Long after all items in service.
    const HEARD_MS: i64 = 1_000_000_000;

    fn writer_with(environments: usize, second: u8) -> Writer {
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

    fn text(data: &Snapshot, source: &str, heard_ms: i64) -> Option<String> {
        since(data, source, heard_ms).map(|request| request.write())
    }

    #[test]
    fn the_request_names_each_environment_and_begins_a_little_before_its_newest_item() {
        let expected = concat!(
            r#"{"messageType":"data-sync","data":{"timestamp":25000,"#,
            r#""secrets":"d41d8cd98f00b204e9800998ecf8427e","envs":["#,
            r#"{"envId":"84e8a446-59bc-49f5-bd3a-000000000000","timestamp":25000},"#,
            r#"{"envId":"84e8a446-59bc-49f5-bd3a-000000000001","timestamp":0}]}}"#
        );
        assert_eq!(text(writer_with(2, 30).current(), "", HEARD_MS).as_deref(), Some(expected));
    }

    #[test]
    fn an_item_from_the_future_does_not_hide_later_changes() {
        let heard_ms = 5_000 + CLOCK_SLACK_MS;
        let request = text(writer_with(2, 30).current(), "", heard_ms).unwrap();
        assert!(request.contains(r#""timestamp":5000,"#), "{request}");
        assert!(request.contains(r#"000000","timestamp":5000}"#), "{request}");
        assert!(!request.contains("25000"), "{request}");
        assert_eq!(text(writer_with(2, 30).current(), "", 0), None, "nothing was received yet: a full sync");
    }

    #[test]
    fn a_request_that_the_server_would_drop_or_take_for_a_full_sync_is_not_made() {
        assert_eq!(text(&Snapshot::empty(), "", HEARD_MS), None);
        assert_eq!(text(writer_with(1, 5).current(), "", HEARD_MS), None);
        let fits = text(writer_with(100, 30).current(), "", HEARD_MS).unwrap();
        assert!(fits.len() < 8_000);
        let longest = (100..200).find_map(|count| {
            let one_more = text(writer_with(count + 1, 30).current(), "", HEARD_MS);
            if one_more.is_none() { text(writer_with(count, 30).current(), "", HEARD_MS) } else { None }
        });
        assert!((7_900..=8_000).contains(&longest.unwrap().len()));
    }
}
