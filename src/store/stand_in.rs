//! Stand-ins until `eval` is there.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::dataset::Finding;
use crate::model::flag::FlagDef;
use crate::model::segment::{Condition, SegmentDef};
use crate::model::user::User;

#[derive(Default)]
pub struct SegmentSlots(HashMap<String, u32>);

impl SegmentSlots {
    pub fn slot(&mut self, id: &str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(id.to_owned()).or_insert(next)
    }
}

#[derive(Default)]
pub struct Compiler {
    pub slots: SegmentSlots,
}

#[derive(Debug)]
pub struct Segment(Vec<String>);

#[derive(Debug)]
pub struct Flag {
    key: String,
    slots: Vec<u32>,
    text: String,
    updated_at_ms: i64,
}

impl Compiler {
    pub fn flag(&mut self, def: &FlagDef<'_>, _: &mut Vec<Finding>) -> Flag {
        let mut slots: Vec<u32> = Vec::new();
        for Condition { property, value, .. } in def.rules.iter().flat_map(|rule| &rule.conditions) {
            if property.ends_with("in segment") {
                let ids: Vec<String> = serde_json::from_str(value.unwrap_or("[]")).unwrap_or_default();
                slots.extend(ids.iter().map(|id| self.slots.slot(id)));
            }
        }
        slots.sort_unstable();
        slots.dedup();
        let text = def.variations.first().map_or("", |variation| variation.value).to_owned();
        Flag { key: def.key.to_owned(), slots, text, updated_at_ms: def.updated_at_ms }
    }

    pub fn segment(&mut self, def: &SegmentDef<'_>, _: &mut Vec<Finding>) -> Segment {
        Segment(def.included.iter().map(|id| (*id).to_owned()).collect())
    }
}

impl Flag {
    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn segment_slots(&self) -> &[u32] {
        &self.slots
    }

    pub fn append_client_json(&self, user: &User, segments: &Segments, out: &mut Vec<u8>) {
        let is_in = |slot: &u32| {
            segments.get(*slot).is_some_and(|segment| segment.0.iter().any(|id| id == user.key_id()))
        };
        let text = if self.slots.iter().any(is_in) { "in" } else { &self.text };
        let value = serde_json::json!({"id": self.key, "variation": text, "timestamp": self.updated_at_ms});
        out.extend_from_slice(value.to_string().as_bytes());
    }
}

#[derive(Clone, Debug, Default)]
pub struct Segments(Arc<Vec<Option<Arc<Segment>>>>);

impl Segments {
    pub fn get(&self, slot: u32) -> Option<&Segment> {
        self.0.get(slot as usize)?.as_deref()
    }

    pub fn with(&self, changes: &[(u32, Option<Arc<Segment>>)]) -> Self {
        let mut all = (*self.0).clone();
        for (slot, segment) in changes {
            if all.len() <= *slot as usize {
                all.resize(*slot as usize + 1, None);
            }
            all[*slot as usize] = segment.clone();
        }
        Self(Arc::new(all))
    }
}
