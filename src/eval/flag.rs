//! A flag, compiled, and its evaluation for one user.
//!
//! Must depend on the flag, the user and the segments only, and must not allocate during evaluation. The order is FeatBit's:
//! archived, disabled, targeted users, rules, fallthrough.

use std::io::Write;
use std::ops::Range;

use super::audience::Audience;
use super::compile::{Compiler, ConditionFindings};
use super::condition::{Attribute, Condition, is_blank};
use super::keys::{KeySet, KeySetBuilder};
use super::rollout::Shares;
use super::segment::Segments;
use super::text::{JsonText, Text, TextBuilder};
use crate::model::dataset::Finding;
use crate::model::flag::{self, FlagDef};
use crate::model::user::User;
use crate::wire::json::push_string;

/// A compiled flag. All its texts are in one allocation.
#[derive(Debug)]
pub struct Flag {
    arena: Box<str>,
    key: Text,
    json: Fragments,
    variations: Box<[Variation]>,
    switch: Switch,
    include_all: bool,
    insights_enabled: bool,
    targets: Targets,
    conditions: Box<[Condition]>,
    rules: Box<[Rule]>,
    fallthrough: Rollout,
    segment_slots: Box<[u32]>,
    updated_at_ms: i64,
}

/// The parts of the client payload that are the same for all users, in order.
#[derive(Debug)]
struct Fragments {
    /// From the opening brace to the value.
    head: Text,
    /// From the value to the variation's id.
    kind: Text,
    /// From the reason to `sendToExperiment`.
    options: Text,
    /// From there to the closing brace, with the flag's own version.
    tail: Text,
}

#[derive(Debug)]
struct Variation {
    id: JsonText,
    value: JsonText,
}

/// The state of a flag that decides without the user.
#[derive(Debug, PartialEq, Eq)]
enum Switch {
    Archived,
    Disabled(Option<u32>),
    On,
}

/// Individually targeted users: one lookup, whatever the number of targets.
#[derive(Debug)]
struct Targets {
    keys: KeySet,
    /// For each target with a user that no earlier target has: the position after its keys, and its variation.
    bounds: Box<[(u32, Option<u32>)]>,
}

#[derive(Debug)]
struct Rule {
    conditions: Range<u32>,
    reason: JsonText,
    rollout: Rollout,
}

#[derive(Debug)]
struct Rollout {
    dispatch: Attribute,
    /// Whether the attribute can make a difference.
    dispatches: bool,
    shares: Shares,
}

/// The result of evaluating a flag for one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Id and value. `None` if the flag is archived or does not have the variation; empty texts if no share of the rollout
    /// contains the user.
    pub variation: Option<(&'a str, &'a str)>,
    /// `flag archived`, `flag disabled`, `targeted`, the rule's name, or `default`.
    pub reason: &'a str,
    /// Whether the evaluation counts in an experiment.
    pub send_to_experiment: bool,
}

/// A decision with indexes instead of texts.
struct Outcome {
    pick: Pick,
    reason: Reason,
    send_to_experiment: bool,
}

enum Pick {
    /// No such variation.
    Missing,
    /// No share contains the user.
    Unshared,
    Variation(u32),
}

impl From<Option<u32>> for Pick {
    fn from(variation: Option<u32>) -> Self {
        variation.map_or(Pick::Missing, Pick::Variation)
    }
}

/// A reason with an index instead of a text.
enum Reason {
    Fixed(Fixed),
    /// The name of this rule.
    Rule(u32),
}

/// Reasons that are the same for all flags.
#[derive(Clone, Copy)]
enum Fixed {
    Archived,
    Disabled,
    Targeted,
    Default,
}

impl Fixed {
    fn plain(self) -> &'static str {
        match self {
            Fixed::Archived => "flag archived",
            Fixed::Disabled => "flag disabled",
            Fixed::Targeted => "targeted",
            Fixed::Default => "default",
        }
    }

    fn json(self) -> &'static str {
        match self {
            Fixed::Archived => r#""flag archived""#,
            Fixed::Disabled => r#""flag disabled""#,
            Fixed::Targeted => r#""targeted""#,
            Fixed::Default => r#""default""#,
        }
    }
}

impl Flag {
    /// The key with which SDKs request the flag.
    pub fn key(&self) -> &str {
        self.key.of(&self.arena)
    }

    /// The slots of all segments that the flag's rules refer to: sorted, each once.
    pub fn segment_slots(&self) -> &[u32] {
        &self.segment_slots
    }

    /// Evaluates the flag for `user`.
    pub fn evaluate(&self, user: &User, segments: &Segments) -> Decision<'_> {
        let outcome = self.decide(user, segments);
        let variation = match outcome.pick {
            Pick::Missing => None,
            Pick::Unshared => Some(("", "")),
            Pick::Variation(number) => self
                .variations
                .get(number as usize)
                .map(|variation| (variation.id.plain.of(&self.arena), variation.value.plain.of(&self.arena))),
        };
        let reason = match outcome.reason {
            Reason::Fixed(reason) => reason.plain(),
            Reason::Rule(number) => self.rule_name(number).plain.of(&self.arena),
        };
        Decision { variation, reason, send_to_experiment: outcome.send_to_experiment }
    }

    /// Whether it is archived.
    pub fn is_archived(&self) -> bool {
        self.switch == Switch::Archived
    }

    /// Whether FeatBit wants usage events about it.
    pub fn insights_enabled(&self) -> bool {
        self.insights_enabled
    }

    /// Whether it has a variation with this id and this value.
    pub fn has_variation(&self, id: &str, value: &str) -> bool {
        self.variations
            .iter()
            .any(|one| one.id.plain.of(&self.arena) == id && one.value.plain.of(&self.arena) == value)
    }

    /// Evaluates the flag and appends its object of the client payload, with the flag's own version.
    pub fn append_client_json<'u>(
        &self,
        audience: impl Into<Audience<'u>>,
        segments: &Segments,
        out: &mut Vec<u8>,
    ) {
        self.append_client_json_as(audience.into(), segments, self.updated_at_ms, out);
    }

    /// The same with another version.
    pub fn append_client_json_as(
        &self,
        audience: Audience<'_>,
        segments: &Segments,
        version_ms: i64,
        out: &mut Vec<u8>,
    ) {
        let Audience { user, no_variation } = audience;
        let outcome = self.decide(user, segments);
        let arena = &*self.arena;
        let (id, value): (&[u8], &[u8]) = match outcome.pick {
            Pick::Missing => (b"null", no_variation.json()),
            Pick::Unshared => (br#""""#, br#""""#),
            Pick::Variation(number) => match self.variations.get(number as usize) {
                Some(variation) => (variation.id.json.bytes_of(arena), variation.value.json.bytes_of(arena)),
                None => (b"null", no_variation.json()),
            },
        };
        let reason = match outcome.reason {
            Reason::Fixed(reason) => reason.json().as_bytes(),
            Reason::Rule(number) => self.rule_name(number).json.bytes_of(arena),
        };
        let is_own = version_ms == self.updated_at_ms;
        let parts = [
            self.json.head.bytes_of(arena),
            value,
            self.json.kind.bytes_of(arena),
            id,
            br#","matchReason":"#,
            reason,
            self.json.options.bytes_of(arena),
            if outcome.send_to_experiment { b"true" } else { b"false" },
            if is_own { self.json.tail.bytes_of(arena) } else { b"" },
        ];
        out.reserve(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            out.extend_from_slice(part);
        }
        if !is_own {
            // A vector takes whatever is written to it.
            let _ = write!(out, r#","timestamp":{version_ms}}}"#);
        }
    }

    fn rule_name(&self, number: u32) -> JsonText {
        self.rules.get(number as usize).map_or_else(JsonText::default, |rule| rule.reason)
    }

    fn decide(&self, user: &User, segments: &Segments) -> Outcome {
        let settled = |variation: Option<u32>, reason, send_to_experiment| Outcome {
            pick: variation.into(),
            reason: Reason::Fixed(reason),
            send_to_experiment,
        };
        match self.switch {
            Switch::Archived => return settled(None, Fixed::Archived, false),
            Switch::Disabled(variation) => return settled(variation, Fixed::Disabled, false),
            Switch::On => {}
        }
        if let Some(variation) = self.targets.find(user.key_id()) {
            return settled(variation, Fixed::Targeted, self.include_all);
        }
        let in_segment = |slot| segments.contain(slot, user);
        for (number, rule) in self.rules.iter().enumerate() {
            let conditions =
                self.conditions.get(rule.conditions.start as usize..rule.conditions.end as usize);
            let holds = |condition: &Condition| condition.holds(user, &self.arena, in_segment);
            if conditions.is_some_and(|conditions| conditions.iter().all(holds)) {
                return self.roll_out(&rule.rollout, user, Reason::Rule(number as u32));
            }
        }
        self.roll_out(&self.fallthrough, user, Reason::Fixed(Fixed::Default))
    }

    #[inline]
    fn roll_out(&self, rollout: &Rollout, user: &User, reason: Reason) -> Outcome {
        let chosen = if rollout.dispatches {
            let attribute = rollout.dispatch.of(user, &self.arena).unwrap_or("");
            rollout.shares.choose(self.key.bytes_of(&self.arena), attribute.as_bytes())
        } else {
            rollout.shares.settled()
        };
        match chosen {
            Some(chosen) => Outcome {
                pick: chosen.variation.into(),
                reason,
                send_to_experiment: chosen.send_to_experiment,
            },
            None => Outcome { pick: Pick::Unshared, reason, send_to_experiment: self.include_all },
        }
    }

    /// Memory of the flag in bytes, without the patterns that it shares with others.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.arena.len()
            + size_of_val(&*self.variations)
            + self.targets.keys.memory_bytes()
            + size_of_val(&*self.targets.bounds)
            + size_of_val(&*self.conditions)
            + self.conditions.iter().map(Condition::memory_bytes).sum::<usize>()
            + size_of_val(&*self.rules)
            + self.rules.iter().map(|rule| rule.rollout.shares.memory_bytes()).sum::<usize>()
            + self.fallthrough.shares.memory_bytes()
            + size_of_val(&*self.segment_slots)
    }
}

impl Compiler {
    /// Compiles a flag; segments that it refers to get slots.
    pub fn flag(&mut self, def: &FlagDef<'_>, findings: &mut Vec<Finding>) -> Flag {
        let mut texts = TextBuilder::default();
        // Where several variations share an id, the first one is meant.
        let variation = |id: &str| def.variations.iter().position(|one| one.id == id).map(|at| at as u32);
        let (key, json, variations) = client_json(def, &mut texts);
        let mut conditions = Vec::new();
        let mut rules = Vec::with_capacity(def.rules.len());
        let mut segment_slots = Vec::new();
        for (number, rule) in def.rules.iter().enumerate() {
            let mut found = ConditionFindings { rule: number, condition: 0, findings };
            rules.push(Rule {
                conditions: self.conditions(
                    &rule.conditions,
                    &mut texts,
                    &mut conditions,
                    Some(&mut segment_slots),
                    &mut found,
                ),
                reason: texts.push_both(rule.name),
                rollout: Rollout::new(&rule.rollout, def, variation, &mut texts),
            });
        }
        segment_slots.sort_unstable();
        segment_slots.dedup();
        let switch = match (def.is_archived, def.is_enabled) {
            (true, _) => Switch::Archived,
            (false, false) => Switch::Disabled(variation(def.disabled_variation_id)),
            (false, true) => Switch::On,
        };
        Flag {
            key,
            json,
            variations,
            switch,
            include_all: def.expt_include_all_targets,
            insights_enabled: def.insights_enabled,
            targets: Targets::new(&def.targets, variation),
            conditions: conditions.into_boxed_slice(),
            rules: rules.into_boxed_slice(),
            fallthrough: Rollout::new(&def.fallthrough, def, variation, &mut texts),
            segment_slots: segment_slots.into_boxed_slice(),
            updated_at_ms: def.updated_at_ms,
            arena: texts.finish(),
        }
    }
}

/// Writes the fragments of the client payload. Id and value of each variation are written once, in the options that every
/// user gets, and copied from there for the user's own variation.
fn client_json(def: &FlagDef<'_>, texts: &mut TextBuilder) -> (Text, Fragments, Box<[Variation]>) {
    let start = texts.mark();
    texts.push(r#"{"id":"#);
    let key = texts.push_json(def.key);
    texts.push(r#","variation":"#);
    let head = texts.since(start);
    let kind = texts.run(|arena| {
        arena.push_str(r#","variationType":"#);
        push_string(def.variation_type, arena);
        arena.push_str(r#","variationId":"#);
    });
    let start = texts.mark();
    texts.push(r#","variationOptions":["#);
    let mut written = Vec::with_capacity(def.variations.len());
    for (number, variation) in def.variations.iter().enumerate() {
        texts.push(if number == 0 { r#"{"id":"# } else { r#",{"id":"# });
        let id = texts.push_json(variation.id);
        texts.push(r#","value":"#);
        let value = texts.push_json(variation.value);
        texts.push("}");
        written.push((id, value));
    }
    texts.push(r#"],"sendToExperiment":"#);
    let options = texts.since(start);
    let tail = texts.run(|arena| {
        arena.push_str(r#","timestamp":"#);
        arena.push_str(&def.updated_at_ms.to_string());
        arena.push('}');
    });
    // Only now, because a text with escapes is added a second time, outside of the fragments.
    let key = texts.plain_of(key, def.key).plain;
    let variations = def.variations.iter().zip(written).map(|(variation, (id, value))| Variation {
        id: texts.plain_of(id, variation.id),
        value: texts.plain_of(value, variation.value),
    });
    let variations = variations.collect();
    (key, Fragments { head, kind, options, tail }, variations)
}

impl Targets {
    fn new(defs: &[flag::Target<'_>], variation: impl Fn(&str) -> Option<u32>) -> Self {
        let mut keys = KeySetBuilder::with_capacity(defs.iter().map(|target| target.key_ids.len()).sum());
        let mut bounds = Vec::with_capacity(defs.len());
        for target in defs {
            let before = keys.position();
            for key in &target.key_ids {
                keys.insert(key);
            }
            if keys.position() > before {
                bounds.push((keys.position(), variation(target.variation_id)));
            }
        }
        Self { keys: keys.finish(), bounds: bounds.into_boxed_slice() }
    }

    /// The variation of the first target that names the user, if one does.
    #[inline]
    fn find(&self, key: &str) -> Option<Option<u32>> {
        if self.bounds.is_empty() {
            return None;
        }
        let position = self.keys.find(key)?;
        let at = self.bounds.partition_point(|(end, _)| *end <= position);
        self.bounds.get(at).map(|(_, variation)| *variation)
    }
}

impl Rollout {
    fn new(
        def: &flag::Rollout<'_>,
        flag: &FlagDef<'_>,
        variation: impl Fn(&str) -> Option<u32>,
        texts: &mut TextBuilder,
    ) -> Self {
        let shares = Shares::new(def, flag.expt_include_all_targets, variation);
        let dispatches = shares.needs_key();
        let dispatch = match def.dispatch_key {
            Some(name) if !is_blank(name) && dispatches => Attribute::new(name, texts),
            _ => Attribute::KeyId,
        };
        Self { dispatch, dispatches, shares }
    }
}

#[cfg(test)]
mod tests;
