//! Finds `updatedAt` values far in the future, which are probably mistakes.
//!
//! Must not refuse them, because the clock of this machine may be wrong instead. Must not read a clock.

use super::dataset::{Dataset, EnvironmentDef, Finding};
use super::environment_id::EnvironmentId;
use super::flag::FlagDef;
use super::segment::SegmentDef;
use super::timestamp::format_iso8601;

/// Differences of clocks and time zones that are ignored, in milliseconds.
const AHEAD_MAX_MS: i64 = 24 * 60 * 60 * 1000;

/// One finding for all items that are more than a day newer than `now_ms`, in Unix milliseconds. It names the first item and
/// counts the others. `label` returns the name of an environment.
pub fn find_ahead<'d>(
    flags: impl Iterator<Item = &'d FlagDef<'d>>,
    segments: impl Iterator<Item = &'d SegmentDef<'d>>,
    now_ms: i64,
    label: impl Fn(EnvironmentId) -> String,
) -> Option<Finding> {
    let flags = flags.map(|flag| (flag.env_id, flag.key, flag.updated_at_ms));
    let segments = segments.map(|segment| (segment.env_id, segment.id, segment.updated_at_ms));
    let latest_ms = now_ms.saturating_add(AHEAD_MAX_MS);
    let mut ahead = flags.chain(segments).filter(|(_, _, updated_at_ms)| *updated_at_ms > latest_ms);
    let (env_id, name, updated_at_ms) = ahead.next()?;
    let others = match ahead.count() {
        0 => String::new(),
        more => format!(", as are those of {more} other items"),
    };
    let message = format!(
        "is {}, more than a day ahead of this machine's clock{others}: SDKs are sent all later changes with times after \
         that, and a later push of a server with the right time counts as older; correct it, then restart the agent \
         and the SDKs",
        format_iso8601(updated_at_ms)
    );
    Some(Finding { path: format!("{}/{name}.updatedAt", label(env_id)), message })
}

impl Dataset<'_> {
    /// [`find_ahead`] for the items of all environments.
    pub fn find_ahead(&self, now_ms: i64) -> Option<Finding> {
        let flags = self.environments.iter().flat_map(|environment| &environment.flags);
        let segments = self.environments.iter().flat_map(|environment| &environment.segments);
        find_ahead(flags, segments, now_ms, |id| {
            let environment = self.environments.iter().find(|environment| environment.id == id);
            environment.map_or_else(|| id.to_string(), EnvironmentDef::label)
        })
    }
}

impl EnvironmentDef<'_> {
    /// `projectKey:envKey` of its first secret, or its id without one.
    pub fn label(&self) -> String {
        match self.secrets.first() {
            Some(first) => format!("{}:{}", first.project_key, first.env_key),
            None => self.id.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::parse::DatasetText;
    use crate::model::timestamp::parse_iso8601_ms;

    /// The finding at noon on 2 January for a dump of segments with these times.
    fn found(times: &[&str]) -> Option<(String, String)> {
        let id = "ad99d259-1f50-4ed9-a002-7c65e25487df";
        let segments = times.iter().enumerate().map(
            |(index, time)| serde_json::json!({"id": format!("s{index}"), "envId": id, "updatedAt": time}),
        );
        let dump = serde_json::json!({"eventType": "rp_full", "items": [{"envId": id, "secrets": [],
            "featureFlags": [], "segments": segments.collect::<Vec<_>>()}]});
        let mut text = DatasetText::new(dump.to_string().into_bytes());
        let noon_ms = parse_iso8601_ms("2026-01-02T12:00:00Z").unwrap();
        let finding = text.parse().unwrap().find_ahead(noon_ms);
        finding.map(|finding| (finding.path, finding.message))
    }

    #[test]
    fn a_day_ahead_is_not_too_much() {
        assert_eq!(found(&["2026-01-03T12:00:00Z", "2020-01-01T00:00:00Z"]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn an_updated_at_of_the_far_future_is_named_once_and_others_are_counted() {
        let far = "2262-04-10T23:59:59.999Z";
        let (path, message) = found(&["2026-01-01T00:00:00Z", far]).unwrap();
        assert_eq!(path, "ad99d259-1f50-4ed9-a002-7c65e25487df/s1.updatedAt");
        assert!(message.starts_with("is 2262-04-10T23:59:59.999Z, more than a day ahead"), "{message}");
        assert!(!message.contains("other items"), "{message}");
        // What went wrong: it still said that SDKs ignore later changes, which they are sent all the same.
        assert!(message.contains("sent all later changes") && !message.contains("ignore"), "{message}");
        let (path, message) = found(&["2026-01-03T12:00:00.001Z", far, far]).unwrap();
        assert!(path.ends_with("/s0.updatedAt") && message.contains("those of 2 other items"), "{message}");
    }
}
