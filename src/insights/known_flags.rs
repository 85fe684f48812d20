//! What usage events have to know of the flags of their environment.
//!
//! Must not evaluate a flag.

use crate::store::Environment;

/// The flags of an environment, by key.
pub trait KnownFlags {
    /// Whether FeatBit wants evaluations of the flag; true if it is unknown.
    fn insights_enabled(&self, flag_key: &str) -> bool;

    /// Whether the environment has the flag. May say false of a flag that it has.
    fn has_flag(&self, flag_key: &str) -> bool;

    /// Whether the environment has the flag, and the flag a variation with this id and this value.
    fn has_variation(&self, flag_key: &str, id: &str, value: &str) -> bool;
}

impl KnownFlags for Environment {
    fn insights_enabled(&self, flag_key: &str) -> bool {
        self.all_insights_enabled() || self.flag(flag_key).is_none_or(|flag| flag.insights_enabled())
    }

    fn has_flag(&self, flag_key: &str) -> bool {
        self.flag(flag_key).is_some()
    }

    fn has_variation(&self, flag_key: &str, id: &str, value: &str) -> bool {
        self.flag(flag_key).is_some_and(|flag| flag.has_variation(id, value))
    }
}

/// No flag is known: nothing is disabled.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFlags;

impl KnownFlags for NoFlags {
    fn insights_enabled(&self, _: &str) -> bool {
        true
    }

    fn has_flag(&self, _: &str) -> bool {
        false
    }

    fn has_variation(&self, _: &str, _: &str, _: &str) -> bool {
        false
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::parse::DatasetText;
    use crate::store::{Moment, Snapshot, Writer, WriterOptions};

    pub(in crate::insights) fn flag(id: &str, key: &str, second: u8, more: &str) -> String {
        format!(
            r#"{{"id":"{id}","envId":"00000000-0000-0000-0000-000000000001","key":"{key}","variationType":"string",
            "variations":[{{"id":"v1","value":"{id}"}},{{"id":"v2","value":"two"}}],"isEnabled":true,
            "disabledVariationId":"v1","fallthrough":{{"variations":[{{"id":"v1","rollout":[0,1],"exptRollout":1}}]}},
            "updatedAt":"2024-01-01T00:00:{second:02}Z"{more}}}"#
        )
    }

    /// The environment `p:e`, whose id ends with 1, with these flags.
    pub(in crate::insights) fn snapshot(flags: &[String]) -> Arc<Snapshot> {
        let secret = crate::protocol::secret::Secret::build(
            [1; 16],
            crate::model::environment_id::EnvironmentId::parse("00000000-0000-0000-0000-000000000001")
                .unwrap(),
        );
        let dump = format!(
            r#"{{"eventType":"rp_full","items":[{{"envId":"00000000-0000-0000-0000-000000000001","secrets":[{{"type":"server",
            "projectKey":"p","envId":"00000000-0000-0000-0000-000000000001","envKey":"e","value":"{}"}}],
            "featureFlags":[{}],"segments":[]}}]}}"#,
            secret.as_str(),
            flags.join(",")
        );
        let mut text = DatasetText::new(dump.into_bytes());
        let mut writer = Writer::new(WriterOptions::default());
        let _ = writer.replace(&text.parse().unwrap(), Moment { steady_ms: 0, wall_ms: 0 });
        Arc::clone(writer.current())
    }

    #[test]
    fn flags_are_found_by_their_key() {
        let mut flags: Vec<_> =
            (0..300).map(|at| flag(&format!("i{at}"), &format!("k{at}"), 0, "")).collect();
        flags.push(flag("old", "twice", 1, r#","insightsEnabled":false"#));
        flags.push(flag("new", "twice", 2, ""));
        let all_enabled = snapshot(&flags[..300]);
        let environment = all_enabled.environments().next().unwrap();
        assert!(environment.all_insights_enabled());
        assert!(environment.flag("twice").is_none());
        flags.push(flag("off", "off", 0, r#","insightsEnabled":false"#));
        flags.push(flag("odd", "odd", 0, r#","insightsEnabled":"false""#));
        let some_disabled = snapshot(&flags);
        let environment = some_disabled.environments().next().unwrap();
        for at in 0..300 {
            assert!(environment.has_variation(&format!("k{at}"), "v1", &format!("i{at}")), "{at}");
        }
        assert!(environment.has_variation("k1", "v2", "two"));
        assert!(!environment.has_variation("k1", "v2", "i1"));
        assert!(!environment.has_variation("k1", "v3", "two"));
        assert!(!environment.has_variation("i1", "v2", "two"));
        // The newest flag of a key is the one that SDKs get.
        assert!(environment.has_variation("twice", "v1", "new"));
        assert!(!environment.has_variation("twice", "v1", "old"));
        assert!(environment.insights_enabled("twice"));
        assert!(!environment.insights_enabled("off"));
        assert!(environment.insights_enabled("odd") && environment.insights_enabled("unknown"));
        assert!(environment.has_flag("off") && !environment.has_flag("unknown"));
    }
}
