//! Rejects a full sync that would remove all flags and segments, or all secrets: that is most likely a mistake.

use std::collections::HashSet;

use crate::model::dataset::{Dataset, EnvironmentDef};
use crate::store::Snapshot;

/// Whether a full sync has any flag or segment.
pub(super) fn has_items(full: &Dataset<'_>) -> bool {
    full.environments.iter().any(|one| !one.flags.is_empty() || !one.segments.is_empty())
}

/// What is missing in a full sync that is not plausible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lack {
    /// All secrets.
    Secrets,
    /// All flags and segments.
    Items,
}

/// What a full sync lacks by mistake, if anything. A server that has lost its data, or still loads it, sends such a full sync.
/// If it were accepted, every SDK would be refused for good.
pub(super) fn lack_of(in_service: &Snapshot, full: &Dataset<'_>) -> Option<Lack> {
    if would_lock(in_service, full) {
        return Some(Lack::Secrets);
    }
    would_empty(in_service, full).then_some(Lack::Items)
}

/// Whether a full sync has no secret at all (a server refuses agents without any), or removes all secrets of those environments
/// in service that it contains. A change to quite different environments is plausible.
fn would_lock(in_service: &Snapshot, full: &Dataset<'_>) -> bool {
    let open = |one: &&EnvironmentDef<'_>| !one.secrets.is_empty();
    if !full.environments.iter().any(|one| open(&one)) {
        return true;
    }
    let had: HashSet<_> =
        in_service.environments().filter(|one| one.has_secrets()).map(|one| one.id()).collect();
    let mut named = full.environments.iter().filter(|one| had.contains(&one.id)).peekable();
    named.peek().is_some() && !named.any(|one| open(&one))
}

/// Whether a full sync without flags and segments would replace environments that have some. A change to quite different
/// environments, which have none yet, is plausible.
fn would_empty(in_service: &Snapshot, full: &Dataset<'_>) -> bool {
    if has_items(full) {
        return false;
    }
    let mut filled = in_service.environments().filter(|one| one.flag_count() + one.segment_count() > 0);
    filled.any(|environment| {
        full.environments.is_empty() || full.environments.iter().any(|one| one.id == environment.id())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment_id::EnvironmentId;
    use crate::model::parse::DatasetText;
    use crate::store::{Moment, Writer, WriterOptions};

    /// An environment by its number, with a flag or not, and a secret or not.
    type Environment = (u8, bool, bool);

    fn dump(environments: &[Environment]) -> DatasetText {
        let items: Vec<_> = environments
            .iter()
            .map(|(number, has_flag, has_secret)| {
                let id = EnvironmentId::from_bytes([*number; 16]);
                let flag = format!(
                    r#"{{"id":"f","envId":"{id}","key":"k","variations":[],"updatedAt":"2025-01-01T00:00:00Z"}}"#
                );
                let value = crate::protocol::secret::Secret::build([*number; 16], id);
                let secret = format!(r#"{{"type":"server","value":"{}"}}"#, value.as_str());
                let (flag, secret) = (if *has_flag { &*flag } else { "" }, if *has_secret { &*secret } else { "" });
                format!(r#"{{"envId":"{id}","secrets":[{secret}],"featureFlags":[{flag}],"segments":[]}}"#)
            })
            .collect();
        DatasetText::new(format!(r#"{{"eventType":"rp_full","items":[{}]}}"#, items.join(",")).into_bytes())
    }

    fn lack(in_service: Option<&[Environment]>, full: &[Environment]) -> Option<Lack> {
        let mut writer = Writer::new(WriterOptions::default());
        if let Some(in_service) = in_service {
            writer.replace(&dump(in_service).parse().unwrap(), Moment::default());
        }
        lack_of(writer.current(), &dump(full).parse().unwrap())
    }

    #[test]
    fn a_full_sync_without_any_secret_is_rejected_whatever_is_in_service() {
        for in_service in [None, Some(&[][..]), Some(&[(1, true, true)][..]), Some(&[(1, true, false)][..])] {
            assert_eq!(lack(in_service, &[]), Some(Lack::Secrets), "{in_service:?}");
            assert_eq!(
                lack(in_service, &[(1, true, false), (2, false, false)]),
                Some(Lack::Secrets),
                "{in_service:?}"
            );
        }
        assert_eq!(lack(None, &[(1, false, true)]), None);
    }

    #[test]
    fn a_full_sync_that_removes_all_secrets_in_service_is_rejected() {
        let in_service = Some(&[(1, true, true), (2, true, true)][..]);
        assert_eq!(
            lack(in_service, &[(1, true, false), (2, true, false), (3, true, true)]),
            Some(Lack::Secrets)
        );
        assert_eq!(lack(in_service, &[(1, true, false), (3, true, true)]), Some(Lack::Secrets));
        // The last secret of one environment, and another scope.
        assert_eq!(lack(in_service, &[(1, true, false), (2, true, true)]), None);
        assert_eq!(lack(in_service, &[(3, true, true)]), None);
        assert_eq!(lack(Some(&[(1, true, false)]), &[(1, true, false), (3, true, true)]), None);
    }

    #[test]
    fn a_full_sync_that_removes_all_flags_and_segments_is_rejected() {
        let in_service = Some(&[(1, true, true)][..]);
        assert_eq!(lack(in_service, &[(1, false, true)]), Some(Lack::Items));
        assert_eq!(lack(in_service, &[(2, false, true)]), None);
    }
}
