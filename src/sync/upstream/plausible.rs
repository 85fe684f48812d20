//! Whether a full sync can be believed that leaves nothing, or lets nobody in.

use std::collections::HashSet;

use crate::model::dataset::{Dataset, EnvironmentDef};
use crate::store::Snapshot;

/// Whether there is any flag or segment in it.
pub(super) fn has_items(full: &Dataset<'_>) -> bool {
    full.environments.iter().any(|one| !one.flags.is_empty() || !one.segments.is_empty())
}

/// What a full sync has none of, if that cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lack {
    /// Secrets.
    Secrets,
    /// Flags and segments.
    Items,
}

/// What a full sync lacks by mistake: a server that has lost its data, or is still reading it, sends such a thing. An agent
/// without data would refuse every SDK for good because of it.
pub(super) fn lack_of(held: &Snapshot, full: &Dataset<'_>) -> Option<Lack> {
    if would_lock(held, full) {
        return Some(Lack::Secrets);
    }
    would_empty(held, full).then_some(Lack::Items)
}

/// Whether a full sync has no secret at all (the server accepts no agent without any), or names some of the environments in
/// service and takes all secrets from them. A change to other environments is plausible.
fn would_lock(held: &Snapshot, full: &Dataset<'_>) -> bool {
    let open = |one: &&EnvironmentDef<'_>| !one.secrets.is_empty();
    if !full.environments.iter().any(|one| open(&one)) {
        return true;
    }
    let had: HashSet<_> = held.environments().filter(|one| one.has_secrets()).map(|one| one.id()).collect();
    let mut named = full.environments.iter().filter(|one| had.contains(&one.id)).peekable();
    named.peek().is_some() && !named.any(|one| open(&one))
}

/// Whether a full sync would leave environments that have flags or segments without any. A change to other environments,
/// which have none yet, is plausible.
fn would_empty(held: &Snapshot, full: &Dataset<'_>) -> bool {
    if has_items(full) {
        return false;
    }
    let mut filled = held.environments().filter(|one| one.flag_count() + one.segment_count() > 0);
    filled.any(|held| full.environments.is_empty() || full.environments.iter().any(|one| one.id == held.id()))
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

    fn lack(held: Option<&[Environment]>, full: &[Environment]) -> Option<Lack> {
        let mut writer = Writer::new(WriterOptions::default());
        if let Some(held) = held {
            writer.replace(&dump(held).parse().unwrap(), Moment::default());
        }
        lack_of(writer.current(), &dump(full).parse().unwrap())
    }

    #[test]
    fn a_full_without_any_secret_is_no_data_whatever_is_held() {
        for held in [None, Some(&[][..]), Some(&[(1, true, true)][..]), Some(&[(1, true, false)][..])] {
            assert_eq!(lack(held, &[]), Some(Lack::Secrets), "{held:?}");
            assert_eq!(lack(held, &[(1, true, false), (2, false, false)]), Some(Lack::Secrets), "{held:?}");
        }
        assert_eq!(lack(None, &[(1, false, true)]), None);
    }

    #[test]
    fn a_full_that_takes_the_secrets_of_all_that_is_held_is_not_believed() {
        let held = Some(&[(1, true, true), (2, true, true)][..]);
        assert_eq!(lack(held, &[(1, true, false), (2, true, false), (3, true, true)]), Some(Lack::Secrets));
        assert_eq!(lack(held, &[(1, true, false), (3, true, true)]), Some(Lack::Secrets));
        // The last secret of one environment, and another scope.
        assert_eq!(lack(held, &[(1, true, false), (2, true, true)]), None);
        assert_eq!(lack(held, &[(3, true, true)]), None);
        assert_eq!(lack(Some(&[(1, true, false)]), &[(1, true, false), (3, true, true)]), None);
    }

    #[test]
    fn a_full_that_takes_all_flags_and_segments_is_not_believed() {
        let held = Some(&[(1, true, true)][..]);
        assert_eq!(lack(held, &[(1, false, true)]), Some(Lack::Items));
        assert_eq!(lack(held, &[(2, false, true)]), None);
    }
}
