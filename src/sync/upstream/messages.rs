//! Handles the messages of the server: loads, merges or rejects their data.

use std::time::Instant;

use bytes::Bytes;

use crate::ingest::Ingest;
use crate::model::dataset::{Dataset, LeftOut};
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::parse::{Changes, DatasetError, DatasetText};
use crate::model::segment::SegmentDef;
use crate::protocol::to_relay::{MessageError, MessageKind, ToRelay};
use crate::telemetry::metrics::{LeftOutKind, Unused, UpstreamSync};

use super::driver::Upstream;
use super::follow::{Confirms, Coverage, Instruction, NewFull, Received};
use super::plausible::{Lack, has_items, lack_of};
use super::remembered_pushes::merge;
use super::unreadable::keep_unreadable;

impl Upstream {
    /// Handles a message that was received on a connection.
    pub(super) fn receive_message(&mut self, ingest: &mut Ingest, now_ms: u64, number: u64, message: Bytes) {
        self.metrics.messages.add(1);
        let arrived = Instant::now();
        let mut text = DatasetText::new(message.clone());
        match ToRelay::parse(&mut text) {
            Ok(ToRelay::Full { dataset, provisional, out_of_scope }) => {
                // Trusted only if this agent has data: to one without data, an empty answer may be a mistake.
                let may_be_empty = out_of_scope && ingest.snapshot().loaded();
                let terms = Terms { provisional, may_be_empty };
                self.full_sync(ingest, now_ms, number, dataset, terms, arrived);
            }
            Ok(ToRelay::Patch(Dataset { environments, left_out, .. })) => {
                let ids: Vec<_> = environments.iter().map(|one| one.id).collect();
                let unknown_environment = ids.iter().any(|id| !ingest.snapshot().holds(*id));
                let received = Received::Patch { environments: &ids, unknown_environment };
                let instruction = self.follow.message(now_ms, number, received);
                let (mut flags, mut segments) = (Vec::new(), Vec::new());
                for environment in environments {
                    flags.extend(environment.flags);
                    segments.extend(environment.segments);
                }
                let items = Items { flags, segments, arrived };
                self.items_received(ingest, instruction, UpstreamSync::Patch, items, &message);
                if self.report_left_out(&left_out) {
                    self.follow.left_out(now_ms);
                }
            }
            Ok(ToRelay::Change(Changes { flags, segments, left_out })) => {
                let ids = flags.iter().map(|flag| flag.env_id).chain(segments.iter().map(|one| one.env_id));
                let environments: Vec<_> = ids.collect();
                let unknown_environment = environments.iter().any(|id| !ingest.snapshot().holds(*id));
                let received = Received::Change { environments: &environments, unknown_environment };
                let instruction = self.follow.message(now_ms, number, received);
                let items = Items { flags, segments, arrived };
                self.items_received(ingest, instruction, UpstreamSync::Change, items, &message);
                if self.report_left_out(&left_out) {
                    self.follow.left_out(now_ms);
                }
            }
            Ok(ToRelay::Environment(environment)) => {
                self.whole_environment(ingest, now_ms, number, environment, arrived, &message);
            }
            Ok(ToRelay::Verified(full)) => {
                match self.follow.message(now_ms, number, Received::Verified(full)) {
                    Instruction::ConfirmAll { answered } => ingest.confirm(answered),
                    Instruction::ConfirmRemovals { answered } => ingest.confirm_removals(Some(answered)),
                    Instruction::Ignore
                    | Instruction::Refuse
                    | Instruction::ReplaceAll { .. }
                    | Instruction::Merge { .. }
                    | Instruction::Remember => {}
                }
            }
            Ok(ToRelay::Path(path)) => self.path_changed(ingest, number, path),
            Ok(ToRelay::State(state)) => self.upstream_state(ingest, number, state),
            Ok(ToRelay::Pong) => drop(self.follow.message(now_ms, number, Received::Other)),
            Ok(ToRelay::Unknown(kind)) => self.ignore_unknown(now_ms, number, "messageType", kind),
            Ok(ToRelay::UnknownSync(kind)) => self.ignore_unknown(now_ms, number, "eventType", kind),
            Err(error) => self.reject(ingest, now_ms, number, error),
        }
    }

    /// Rejects a message that cannot be parsed.
    fn reject(&mut self, ingest: &Ingest, now_ms: u64, number: u64, error: MessageError) {
        self.metrics.unused(Unused::Faulty);
        ingest.rejected();
        self.log.rejected(&error.faults.to_string(), (self.wall_ms)());
        self.follow.message(now_ms, number, Received::Unreadable(error.kind));
    }

    /// Ignores a message of an unknown kind. It may change data, so a full sync is requested.
    fn ignore_unknown(&mut self, now_ms: u64, number: u64, field: &str, kind: &str) {
        self.metrics.unused(Unused::Unknown);
        self.log.unknown(field, kind);
        self.follow.message(now_ms, number, Received::Unknown);
    }

    /// Counts and logs the parts of a message that cannot be parsed. Returns whether there are any.
    fn report_left_out(&mut self, left_out: &LeftOut<'_>) -> bool {
        if left_out.is_empty() {
            return false;
        }
        self.metrics.left_out(LeftOutKind::Flag, left_out.flags.len());
        self.metrics.left_out(LeftOutKind::Segment, left_out.segments.len());
        self.metrics.left_out(LeftOutKind::Secret, left_out.secrets.len());
        self.log.left_out(left_out, (self.wall_ms)());
        true
    }

    fn full_sync(
        &mut self,
        ingest: &mut Ingest,
        now_ms: u64,
        number: u64,
        full: Dataset<'_>,
        terms: Terms,
        arrived: Instant,
    ) {
        let is_incomplete = self.report_left_out(&full.left_out);
        let left_out = full.left_out.count();
        // A secret that cannot be parsed may be any unknown secret that an SDK sends. If not even its value can be parsed, it
        // may also be one that seems to be removed.
        let all_secrets_readable = full.left_out.secrets.is_empty();
        let has_nameless_secret = full.left_out.secrets.iter().any(|secret| secret.name.is_none());
        let provisional = terms.provisional || has_nameless_secret;
        let mut in_service = match is_incomplete {
            true => {
                let concerned =
                    ingest.snapshot().backup_of(|environment| full.left_out.concerns(environment));
                DatasetText::new(concerned.to_vec())
            }
            false => DatasetText::new(Vec::new()),
        };
        let (mut full, kind) = (full, Some(MessageKind::Full));
        if is_incomplete {
            match in_service.parse() {
                Ok(in_service) => keep_unreadable(in_service, &mut full),
                Err(faults) => return self.reject(ingest, now_ms, number, MessageError { kind, faults }),
            }
            let LeftOut { flags, segments, faults, more, .. } = &full.left_out;
            if !has_items(&full) && flags.len() + segments.len() > 0 {
                // None of its flags and segments can be parsed: this agent does not understand the server's format.
                let faults = DatasetError { faults: faults.clone(), more: *more };
                return self.reject(ingest, now_ms, number, MessageError { kind, faults });
            }
        }
        let coverage = Coverage::of(&full);
        let lack = if terms.may_be_empty { None } else { lack_of(ingest.snapshot(), &full) };
        let received = Received::Full { coverage: &coverage, empty: lack.is_some(), provisional };
        match self.follow.message(now_ms, number, received) {
            Instruction::ReplaceAll { answered } => {
                let mut remembered = self.remembered_pushes.texts();
                let mut dataset = full;
                let unknown_environment =
                    merge(&mut remembered, &mut dataset, |item| ingest.is_removed(item));
                let changed = ingest.load_full(&dataset, answered.filter(|_| all_secrets_readable), arrived);
                ingest.confirm_removals(answered);
                self.synced(UpstreamSync::Full);
                // A full sync that was under way before the operator's request does not count.
                if self
                    .requested_before_resync
                    .take_if(|before| ingest.following().requested_full_syncs() > *before)
                    .is_some()
                {
                    self.log.resynced(changed.len());
                }
                self.metrics.full_left_out(left_out);
                self.source = self.path.first().cloned().unwrap_or_default();
                let confirms = match (all_secrets_readable, has_nameless_secret) {
                    (true, _) => Confirms::Everything,
                    (_, false) => Confirms::Removals,
                    _ => Confirms::Nothing,
                };
                let full = NewFull { number, coverage, changed: &changed, confirms };
                self.follow.full_in_service(now_ms, full, unknown_environment);
                if !self.follow.full_sync_under_way() {
                    self.remembered_pushes.clear();
                }
            }
            Instruction::Refuse => {
                self.metrics.unused(Unused::Empty);
                ingest.rejected();
                self.log.empty(ingest, lack.unwrap_or(Lack::Items), (self.wall_ms)());
            }
            Instruction::Ignore
            | Instruction::ConfirmAll { .. }
            | Instruction::ConfirmRemovals { .. }
            | Instruction::Merge { .. }
            | Instruction::Remember => self.metrics.unused(Unused::Overtaken),
        }
    }

    /// Loads an unrequested full sync of one environment, which has no secrets.
    fn whole_environment(
        &mut self,
        ingest: &mut Ingest,
        now_ms: u64,
        number: u64,
        all: Dataset<'_>,
        arrived: Instant,
        message: &[u8],
    ) {
        let is_incomplete = self.report_left_out(&all.left_out);
        let environment = match &all.environments[..] {
            [one] => Some(one.id),
            _ => None,
        };
        if environment.is_none() {
            self.metrics.unused(Unused::Empty);
            self.log.environment_unclear(all.environments.len(), (self.wall_ms)());
        }
        let in_service = environment.filter(|id| ingest.snapshot().holds(*id));
        let received = Received::Environment { environment, unknown_environment: in_service.is_none() };
        let remember = match self.follow.message(now_ms, number, received) {
            Instruction::Merge { remember } => {
                if let Some(id) = in_service {
                    if let Err(faults) = load_environment(ingest, id, all, arrived) {
                        let kind = Some(MessageKind::Environment);
                        return self.reject(ingest, now_ms, number, MessageError { kind, faults });
                    }
                    self.synced(UpstreamSync::Environment);
                }
                remember
            }
            Instruction::Remember => true,
            Instruction::Ignore
            | Instruction::Refuse
            | Instruction::ReplaceAll { .. }
            | Instruction::ConfirmAll { .. }
            | Instruction::ConfirmRemovals { .. } => false,
        };
        if remember && !self.remembered_pushes.remember(message) {
            self.follow.pushes_lost();
        }
        if is_incomplete {
            self.follow.left_out(now_ms);
        }
    }

    fn items_received(
        &mut self,
        ingest: &mut Ingest,
        instruction: Instruction,
        kind: UpstreamSync,
        items: Items<'_>,
        message: &[u8],
    ) {
        let remember = match instruction {
            Instruction::Remember => true,
            Instruction::Merge { remember } => {
                let Items { mut flags, mut segments, arrived } = items;
                let snapshot = ingest.snapshot().clone();
                flags.retain(|flag| snapshot.holds(flag.env_id));
                segments.retain(|segment| snapshot.holds(segment.env_id));
                ingest.merge_items(&flags, &segments, arrived);
                self.synced(kind);
                remember
            }
            Instruction::Ignore
            | Instruction::Refuse
            | Instruction::ReplaceAll { .. }
            | Instruction::ConfirmAll { .. }
            | Instruction::ConfirmRemovals { .. } => false,
        };
        if remember && !self.remembered_pushes.remember(message) {
            self.follow.pushes_lost();
        }
    }

    fn synced(&self, kind: UpstreamSync) {
        self.metrics.synced(kind);
        self.metrics.synced_unix_s.set(u64::try_from((self.wall_ms)() / 1000).unwrap_or(0));
    }
}

/// How far a full sync can be trusted.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// Secrets that it lacks may still exist.
    provisional: bool,
    /// It may empty the data in service: that is no mistake.
    may_be_empty: bool,
}

/// The items of a message.
struct Items<'a> {
    flags: Vec<FlagDef<'a>>,
    segments: Vec<SegmentDef<'a>>,
    arrived: Instant,
}

/// Replaces one environment. Items that cannot be parsed stay as they are in service.
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
    let mut in_service = DatasetText::new(ingest.snapshot().backup_of(|one| one == environment).to_vec());
    let mut all = all;
    keep_unreadable(in_service.parse()?, &mut all);
    all.environments.iter().for_each(|one| ingest.load_environment(one, arrived));
    Ok(())
}
