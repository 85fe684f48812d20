//! What downstream agents get, as from a FeatBit server: full syncs, patches on request, and pushes.
//!
//! Must not know connections. A push has the same bytes as for server SDKs, so both share it. A patch cannot express a
//! removal, or a change of secrets or environments: for these there is a full sync (`rp_full`).

use std::collections::HashMap;
use std::sync::Arc;

use md5::{Digest, Md5};

use super::environment::Environment;
use super::item::Item;
use super::outgoing_item::{TextKind, frames};
use super::ring::Push;
use super::snapshot::Snapshot;
use super::table::Table;
use crate::model::environment_id::EnvironmentId;
use crate::payload::{Parts, Payload};
use crate::protocol::from_relay::RelayRequest;
use crate::protocol::to_relay;
use crate::wire::ws::frame::append_text_header;

/// The environments that a relay agent may get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// Those with one of these names: `projectKey:envKey`, or an id.
    Only(Box<[Box<str>]>),
}

impl Scope {
    fn holds(&self, environment: &Environment) -> bool {
        let Scope::Only(names) = self else { return true };
        let is = |name: &str| {
            *name == **environment.label() || EnvironmentId::parse(name) == Some(environment.id())
        };
        names.iter().any(|name| is(name))
    }
}

/// A patch cannot express what the relay agent lacks: it needs a full sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedsFull;

impl Snapshot {
    /// The environments of a scope that have secrets.
    fn relayed(&self, scope: &Scope) -> impl Iterator<Item = &Arc<Environment>> {
        self.served().filter(|environment| scope.holds(environment))
    }

    /// The publish sequence at which environments or their secrets last changed.
    pub fn membership(&self) -> u64 {
        self.membership
    }

    /// A digest of the environments of a scope, their secrets, and `source`, the process that sends them. If an agent's digest
    /// is the same, it has these environments and secrets, and got them from this process, which knows what was removed
    /// since.
    pub fn relay_digest(&self, scope: &Scope, source: &str) -> String {
        let mut lines: Vec<String> = self
            .relayed(scope)
            .flat_map(|environment| {
                let id = environment.id();
                let secrets = environment.secrets.iter();
                secrets
                    .map(move |secret| format!("{id} {} {}\n", secret.kind.as_str(), secret.value.as_str()))
            })
            .collect();
        lines.sort_unstable();
        lines.push(source.to_owned());
        let digest = Md5::digest(lines.concat());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A full sync of a scope: an `rp_full` as a whole WebSocket frame. It is marked as provisional unless `certain`, and as
    /// out of scope if it is empty although other environments are served. Shares its bytes with other full payloads. Slow
    /// for large data.
    pub fn relay_full(&self, scope: &Scope, certain: bool) -> Payload {
        let mut runs = vec![Arc::from(&b""[..])];
        let mut text = to_relay::FULL_START.as_bytes().to_vec();
        for (index, environment) in self.relayed(scope).enumerate() {
            if index > 0 {
                text.push(b',');
            }
            environment.append_backup(&mut text, &mut runs);
        }
        let out_of_scope = self.relayed(scope).next().is_none() && self.served().next().is_some();
        to_relay::append_full_end(!certain, out_of_scope, &mut text);
        runs.push(Arc::from(text));
        let mut header = Vec::new();
        append_text_header(runs.iter().map(|run| run.len()).sum(), &mut header);
        runs[0] = Arc::from(header);
        Payload::Parts(Arc::new(Parts::new(runs)))
    }

    /// What a reconnecting agent lacks: an `rp_patch` as one WebSocket frame. `request` says what it has, `own` names this
    /// process.
    ///
    /// # Errors
    /// If only a full sync can bring it up to date.
    pub fn relay_patch(
        &self,
        scope: &Scope,
        request: &RelayRequest,
        own: &str,
    ) -> Result<Payload, NeedsFull> {
        if request.digest.as_ref().is_some_and(|digest| *digest != self.relay_digest(scope, own)) {
            return Err(NeedsFull);
        }
        let mut text = to_relay::PATCH_START.as_bytes().to_vec();
        let known: HashMap<_, _> = request.environments.iter().copied().collect();
        let mut count = 0;
        for environment in self.relayed(scope) {
            let after_ms = *known.get(&environment.id()).ok_or(NeedsFull)?;
            if environment.for_relays.watermark_ms != i64::MIN
                && after_ms <= environment.for_relays.watermark_ms
            {
                return Err(NeedsFull);
            }
            if count > 0 {
                text.push(b',');
            }
            count += 1;
            environment.append_newer(after_ms, &mut text);
        }
        // The agent has environments that do not exist here any more.
        if request.environments.len() != count {
            return Err(NeedsFull);
        }
        text.extend_from_slice(to_relay::END.as_bytes());
        let mut frame = Vec::with_capacity(text.len() + 10);
        append_text_header(text.len(), &mut frame);
        frame.extend_from_slice(&text);
        Ok(Payload::private(frame))
    }

    /// Brings a relay agent up to date from the publish `from_sequence`: appends whole WebSocket frames, none if nothing
    /// changed for it.
    ///
    /// # Errors
    /// If only a full sync can do that; nothing is appended then.
    pub fn relay_since(
        &self,
        scope: &Scope,
        from_sequence: u64,
        out: &mut Vec<Payload>,
    ) -> Result<(), NeedsFull> {
        if self.membership > from_sequence {
            return Err(NeedsFull);
        }
        let changed =
            || self.relayed(scope).filter(|environment| environment.for_relays.changed > from_sequence);
        if changed().any(|environment| environment.for_relays.removed > from_sequence) {
            return Err(NeedsFull);
        }
        for environment in changed() {
            environment.relay_since(from_sequence, out);
        }
        Ok(())
    }
}

impl Environment {
    /// Appends its changes since `from_sequence`: patches with one item each, as the source's JSON.
    fn relay_since(&self, from_sequence: u64, out: &mut Vec<Payload>) {
        let steps = self.ring.since(from_sequence).unwrap_or_default();
        let shared: Option<Vec<_>> = steps
            .iter()
            .map(|(_, push)| match push {
                Push::Patches { frames, suits_relays: true, .. } => Some(Payload::Shared(Arc::clone(frames))),
                Push::Patches { suits_relays: false, .. } | Push::Full => None,
            })
            .collect();
        if let Some(shared) = shared.filter(|shared| !shared.is_empty()) {
            return out.extend(shared);
        }
        let mut changed = self.changed_since(from_sequence, |_| true);
        if !changed.is_empty() {
            changed.sort_by_key(|item| item.updated_at_ms());
            out.push(Payload::private(frames(&changed, TextKind::Source)));
        }
    }

    /// Appends its part of an `rp_patch`: items newer than `after_ms`, as the source's JSON.
    fn append_newer(&self, after_ms: i64, text: &mut Vec<u8>) {
        fn list<T: Item>(table: &Table<T>, after_ms: i64, text: &mut Vec<u8>) {
            let chunks = table.chunks().iter().filter(|chunk| chunk.newest.updated_at_ms > after_ms);
            let entries = chunks.flat_map(|chunk| chunk.entries());
            for (index, entry) in entries.filter(|entry| entry.source().updated_at_ms > after_ms).enumerate()
            {
                if index > 0 {
                    text.push(b',');
                }
                text.extend_from_slice(entry.source().raw.as_bytes());
            }
        }
        to_relay::append_environment_start(self.id(), [], text);
        list(&self.flags, after_ms, text);
        text.extend_from_slice(to_relay::SEGMENTS.as_bytes());
        list(&self.segments, after_ms, text);
        text.extend_from_slice(to_relay::ENVIRONMENT_END.as_bytes());
    }
}
