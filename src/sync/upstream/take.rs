//! What becomes of what the server says.

use std::collections::HashSet;
use std::time::Instant;

use bytes::Bytes;

use crate::ingest::Ingest;
use crate::model::dataset::{Dataset, EnvironmentDef, LeftOut};
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::parse::{Changes, DatasetError, DatasetText};
use crate::model::segment::SegmentDef;
use crate::protocol::to_relay::{MessageError, MessageKind, ToRelay};
use crate::store::Snapshot;
use crate::telemetry::metrics::{LeftOutKind, Unused, UpstreamSync};

use super::Upstream;
use super::follow::{Brought, Coverage, Take, Vouches};
use super::keep::keep;
use super::overlay::merge;

impl Upstream {
    /// A message came in on a stream.
    pub(super) fn take(&mut self, ingest: &mut Ingest, now_ms: u64, line: u64, message: Bytes) {
        self.metrics.messages.add(1);
        let arrived = Instant::now();
        let mut text = DatasetText::new(message.clone());
        match ToRelay::parse(&mut text) {
            Ok(ToRelay::Full { dataset, provisional, out_of_scope }) => {
                // Whoever holds nothing was perhaps never meant to be given nothing.
                let meant = out_of_scope && ingest.snapshot().loaded();
                let terms = Terms { provisional, meant };
                self.take_full(ingest, now_ms, line, dataset, terms, arrived);
            }
            Ok(ToRelay::Patch(Dataset { environments, left_out, .. })) => {
                let ids: Vec<_> = environments.iter().map(|one| one.id).collect();
                let strange = ids.iter().any(|id| !ingest.snapshot().holds(*id));
                let brought = Brought::Patch { environments: &ids, strange };
                let take = self.follow.message(now_ms, line, brought);
                let (mut flags, mut segments) = (Vec::new(), Vec::new());
                for environment in environments {
                    flags.extend(environment.flags);
                    segments.extend(environment.segments);
                }
                let items = Items { flags, segments, arrived };
                self.take_items(ingest, take, UpstreamSync::Patch, items, &message);
                if self.report_left_out(&left_out) {
                    self.follow.lost_some(now_ms);
                }
            }
            Ok(ToRelay::Change(Changes { flags, segments, left_out })) => {
                let ids = flags.iter().map(|flag| flag.env_id).chain(segments.iter().map(|one| one.env_id));
                let environments: Vec<_> = ids.collect();
                let strange = environments.iter().any(|id| !ingest.snapshot().holds(*id));
                let brought = Brought::Change { environments: &environments, strange };
                let take = self.follow.message(now_ms, line, brought);
                let items = Items { flags, segments, arrived };
                self.take_items(ingest, take, UpstreamSync::Change, items, &message);
                if self.report_left_out(&left_out) {
                    self.follow.lost_some(now_ms);
                }
            }
            Ok(ToRelay::Environment(environment)) => {
                self.take_environment(ingest, now_ms, line, environment, arrived, &message);
            }
            Ok(ToRelay::Verified(number)) => {
                match self.follow.message(now_ms, line, Brought::Verified(number)) {
                    Take::Certain { answered } => ingest.confirm(answered),
                    Take::Proved { answered } => ingest.prove(Some(answered)),
                    _ => {}
                }
            }
            Ok(ToRelay::Path(path)) => self.path_changed(ingest, line, path),
            Ok(ToRelay::State(state)) => self.above_stands(ingest, line, state),
            Ok(ToRelay::Pong) => drop(self.follow.message(now_ms, line, Brought::Other)),
            Ok(ToRelay::Unknown(kind)) => self.pass_over(now_ms, line, "messageType", kind),
            Ok(ToRelay::UnknownSync(kind)) => self.pass_over(now_ms, line, "eventType", kind),
            Err(error) => self.refuse(ingest, now_ms, line, error),
        }
    }

    /// A message cannot be used.
    fn refuse(&mut self, ingest: &Ingest, now_ms: u64, line: u64, error: MessageError) {
        self.metrics.unused(Unused::Faulty);
        ingest.rejected();
        self.grumble.faulty(&error.faults.to_string(), (self.wall_ms)());
        self.follow.message(now_ms, line, Brought::Broken(error.kind));
    }

    /// The server says something that this agent does not know: it may change data, so that everything is asked for.
    fn pass_over(&mut self, now_ms: u64, line: u64, field: &str, kind: &str) {
        self.metrics.unused(Unused::Unknown);
        self.grumble.unknown(field, kind);
        self.follow.message(now_ms, line, Brought::Unknown);
    }

    /// Reports what of a message could not be read; true if there is any.
    fn report_left_out(&mut self, left_out: &LeftOut<'_>) -> bool {
        if left_out.is_empty() {
            return false;
        }
        self.metrics.left_out(LeftOutKind::Flag, left_out.flags.len());
        self.metrics.left_out(LeftOutKind::Segment, left_out.segments.len());
        self.metrics.left_out(LeftOutKind::Secret, left_out.secrets.len());
        self.grumble.left_out(left_out, (self.wall_ms)());
        true
    }

    fn take_full(
        &mut self,
        ingest: &mut Ingest,
        now_ms: u64,
        line: u64,
        full: Dataset<'_>,
        terms: Terms,
        arrived: Instant,
    ) {
        let lost = self.report_left_out(&full.left_out);
        let left_out = full.left_out.count();
        // A secret that cannot be read may be any that an SDK shows, or one that is gone unless its text can be told.
        let certain = full.left_out.secrets.is_empty();
        let nameless = full.left_out.secrets.iter().any(|secret| secret.name.is_none());
        let provisional = terms.provisional || nameless;
        let mut held = match lost {
            true => {
                let concerned =
                    ingest.snapshot().backup_of(|environment| full.left_out.concerns(environment));
                DatasetText::new(concerned.to_vec())
            }
            false => DatasetText::new(Vec::new()),
        };
        let (mut full, kind) = (full, Some(MessageKind::Full));
        if lost {
            match held.parse() {
                Ok(held) => keep(held, &mut full),
                Err(faults) => return self.refuse(ingest, now_ms, line, MessageError { kind, faults }),
            }
            let LeftOut { flags, segments, faults, more, .. } = &full.left_out;
            if !has_items(&full) && flags.len() + segments.len() > 0 {
                // Whatever it says, this agent does not understand it.
                let faults = DatasetError { faults: faults.clone(), more: *more };
                return self.refuse(ingest, now_ms, line, MessageError { kind, faults });
            }
        }
        let coverage = Coverage::of(&full);
        let lack = if terms.meant { None } else { lack_of(ingest.snapshot(), &full) };
        let brought = Brought::Full { coverage: &coverage, empty: lack.is_some(), provisional };
        match self.follow.message(now_ms, line, brought) {
            Take::Everything { answered } => {
                let mut remembered = self.overlay.texts();
                let mut dataset = full;
                let strange = merge(&mut remembered, &mut dataset, |item| ingest.is_removed(item));
                let changed = ingest.load_full(&dataset, answered.filter(|_| certain), arrived);
                ingest.prove(answered);
                self.synced(UpstreamSync::Full);
                // Another one may have been under way.
                if self.resync.take_if(|asked| ingest.following().asked() > *asked).is_some() {
                    self.grumble.resynced(changed.len());
                }
                self.metrics.full_left_out(left_out);
                self.source = self.path.first().cloned().unwrap_or_default();
                let vouches = match (certain, nameless) {
                    (true, _) => Vouches::All,
                    (_, false) => Vouches::Gone,
                    _ => Vouches::Nothing,
                };
                self.follow.in_service(now_ms, line, coverage, &changed, strange, vouches);
                if !self.follow.full_under_way() {
                    self.overlay.clear();
                }
            }
            Take::Refuse => {
                self.metrics.unused(Unused::Empty);
                ingest.rejected();
                self.grumble.empty(ingest, lack.unwrap_or(Lack::Items), (self.wall_ms)());
            }
            _ => self.metrics.unused(Unused::Overtaken),
        }
    }

    /// All of one environment came, unasked and without its secrets.
    fn take_environment(
        &mut self,
        ingest: &mut Ingest,
        now_ms: u64,
        line: u64,
        all: Dataset<'_>,
        arrived: Instant,
        message: &[u8],
    ) {
        let lost = self.report_left_out(&all.left_out);
        let environment = match &all.environments[..] {
            [one] => Some(one.id),
            _ => None,
        };
        if environment.is_none() {
            self.metrics.unused(Unused::Empty);
            self.grumble.vague(all.environments.len(), (self.wall_ms)());
        }
        let held = environment.filter(|id| ingest.snapshot().holds(*id));
        let brought = Brought::Environment { environment, strange: held.is_none() };
        let remember = match self.follow.message(now_ms, line, brought) {
            Take::Items { remember } => {
                if let Some(held) = held {
                    if let Err(faults) = load_environment(ingest, held, all, arrived) {
                        let kind = Some(MessageKind::Environment);
                        return self.refuse(ingest, now_ms, line, MessageError { kind, faults });
                    }
                    self.synced(UpstreamSync::Environment);
                }
                remember
            }
            Take::Remember => true,
            _ => false,
        };
        if remember && !self.overlay.remember(message) {
            self.follow.overflowed();
        }
        if lost {
            self.follow.lost_some(now_ms);
        }
    }

    fn take_items(
        &mut self,
        ingest: &mut Ingest,
        take: Take,
        kind: UpstreamSync,
        items: Items<'_>,
        message: &[u8],
    ) {
        let remember = match take {
            Take::Remember => true,
            Take::Items { remember } => {
                let Items { mut flags, mut segments, arrived } = items;
                let snapshot = ingest.snapshot().clone();
                flags.retain(|flag| snapshot.holds(flag.env_id));
                segments.retain(|segment| snapshot.holds(segment.env_id));
                ingest.merge_items(&flags, &segments, arrived);
                self.synced(kind);
                remember
            }
            _ => false,
        };
        if remember && !self.overlay.remember(message) {
            self.follow.overflowed();
        }
    }

    fn synced(&self, kind: UpstreamSync) {
        self.metrics.synced(kind);
        self.metrics.synced_unix_s.set(u64::try_from((self.wall_ms)() / 1000).unwrap_or(0));
    }
}

/// What the sender says of a full.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// It does not vouch that what it leaves out does not exist.
    provisional: bool,
    /// If it empties what is in service, that is meant.
    meant: bool,
}

/// Items of a message.
struct Items<'a> {
    flags: Vec<FlagDef<'a>>,
    segments: Vec<SegmentDef<'a>>,
    arrived: Instant,
}

/// Puts all of one environment in service, and what is held of it that could not be read.
fn load_environment(
    ingest: &mut Ingest,
    environment: EnvironmentId,
    all: Dataset<'_>,
    arrived: Instant,
) -> Result<(), DatasetError> {
    if all.left_out.is_empty() {
        all.environments.iter().for_each(|one| ingest.load_environment(one, arrived));
        return Ok(());
    }
    let mut held = DatasetText::new(ingest.snapshot().backup_of(|one| one == environment).to_vec());
    let mut all = all;
    keep(held.parse()?, &mut all);
    all.environments.iter().for_each(|one| ingest.load_environment(one, arrived));
    Ok(())
}

/// Whether there is any flag or segment in it.
fn has_items(full: &Dataset<'_>) -> bool {
    full.environments.iter().any(|one| !one.flags.is_empty() || !one.segments.is_empty())
}

/// What a full has none of, if that is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lack {
    /// Secrets.
    Secrets,
    /// Flags and segments.
    Items,
}

/// What a full lacks that nobody means it to lack: a server that has lost its data, or is still reading it, says that.
/// Without data, its word would stop every SDK that knocks.
fn lack_of(held: &Snapshot, full: &Dataset<'_>) -> Option<Lack> {
    if would_lock(held, full) {
        return Some(Lack::Secrets);
    }
    would_empty(held, full).then_some(Lack::Items)
}

/// Whether a full has no secret at all (the server lets nobody follow who has none), or takes all of theirs from the
/// environments that are held and names some of them all the same. Going over to other environments is no such thing.
fn would_lock(held: &Snapshot, full: &Dataset<'_>) -> bool {
    let open = |one: &&EnvironmentDef<'_>| !one.secrets.is_empty();
    if !full.environments.iter().any(|one| open(&one)) {
        return true;
    }
    let had: HashSet<_> = held.environments().filter(|one| one.has_secrets()).map(|one| one.id()).collect();
    let mut named = full.environments.iter().filter(|one| had.contains(&one.id)).peekable();
    named.peek().is_some() && !named.any(|one| open(&one))
}

/// Whether a full would leave environments that have flags or segments without any. Going over to other environments,
/// which have none yet, is no such thing.
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
