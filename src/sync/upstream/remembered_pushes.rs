//! The pushes received while a full sync is under way. They are merged into it, since a full sync that was created before a
//! push would undo it.
//!
//! Must decide by stamps only: of an item in the full sync and a pushed one, the newer is used.

use std::collections::HashMap;

use bytes::Bytes;

use crate::model::dataset::{Dataset, EnvironmentDef};
use crate::model::flag::FlagDef;
use crate::model::parse::{Changes, DatasetText};
use crate::model::segment::SegmentDef;
use crate::model::stamp::Stamp;
use crate::protocol::to_relay::ToRelay;
use crate::store::{ItemKind, Removal};

/// Pushed messages, as they were received.
#[derive(Debug)]
pub(super) struct RememberedPushes {
    messages: Vec<Bytes>,
    bytes: u64,
    bytes_max: u64,
}

impl RememberedPushes {
    /// No messages; at most `bytes_max` can be remembered.
    pub fn new(bytes_max: u64) -> Self {
        Self { messages: Vec::new(), bytes: 0, bytes_max }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.messages = Vec::new();
        self.bytes = 0;
    }

    /// Remembers a message. Returns false if it exceeds the limit; then no further one fits until [`Self::clear`].
    pub fn remember(&mut self, message: &[u8]) -> bool {
        self.bytes = self.bytes.saturating_add(message.len() as u64);
        let fits = self.bytes <= self.bytes_max;
        if fits {
            // A copy: a slice would keep the connection's whole buffer in memory.
            self.messages.push(Bytes::copy_from_slice(message));
        }
        fits
    }

    /// The messages, ready to be parsed.
    pub fn texts(&self) -> Vec<DatasetText> {
        self.messages.iter().map(|message| DatasetText::new(message.clone())).collect()
    }
}

/// Merges the items of these messages into a dataset: newer ones replace older ones, and removed ones (`is_removed`) are left
/// out. Returns whether an item belongs to an environment that the dataset lacks.
pub(super) fn merge<'a>(
    messages: &'a mut [DatasetText],
    dataset: &mut Dataset<'a>,
    is_removed: impl Fn(&Removal<'_>) -> bool,
) -> bool {
    let mut unknown_environment = false;
    let mut merging = Merging::default();
    let is_there =
        |kind, env_id, id: &str, updated_at_ms| !is_removed(&Removal { env_id, kind, id, updated_at_ms });
    let flag_is_there =
        |flag: &FlagDef<'_>| is_there(ItemKind::Flag, flag.env_id, flag.id, flag.updated_at_ms);
    let segment_is_there =
        |one: &SegmentDef<'_>| is_there(ItemKind::Segment, one.env_id, one.id, one.updated_at_ms);
    for message in messages {
        // These messages were parsed before, and errors in them were reported then.
        match ToRelay::parse(message) {
            Ok(ToRelay::Patch(patch) | ToRelay::Environment(patch)) => {
                for mut environment in patch.environments {
                    environment.flags.retain(flag_is_there);
                    environment.segments.retain(segment_is_there);
                    unknown_environment |= merging.merge(dataset, environment.flags, environment.segments);
                }
            }
            Ok(ToRelay::Change(Changes { mut flags, mut segments, .. })) => {
                flags.retain(flag_is_there);
                segments.retain(segment_is_there);
                unknown_environment |= merging.merge(dataset, flags, segments);
            }
            _ => {}
        }
    }
    unknown_environment
}

/// The index of each item in a dataset, by the index of its environment and by its id.
#[derive(Default)]
struct Merging<'a> {
    flags: HashMap<usize, HashMap<&'a str, usize>>,
    segments: HashMap<usize, HashMap<&'a str, usize>>,
}

impl<'a> Merging<'a> {
    fn merge(
        &mut self,
        dataset: &mut Dataset<'a>,
        flags: Vec<FlagDef<'a>>,
        segments: Vec<SegmentDef<'a>>,
    ) -> bool {
        let place = |environments: &[EnvironmentDef<'a>], id| {
            environments.iter().position(|environment| environment.id == id)
        };
        let mut unknown_environment = false;
        for flag in flags {
            let Some(at) = place(&dataset.environments, flag.env_id) else {
                unknown_environment = true;
                continue;
            };
            let kept = &mut dataset.environments[at].flags;
            let places = self.flags.entry(at).or_insert_with(|| places(kept, |flag| flag.id));
            newer(kept, places, flag, |flag| (flag.id, flag.stamp()));
        }
        for segment in segments {
            let Some(at) = place(&dataset.environments, segment.env_id) else {
                unknown_environment = true;
                continue;
            };
            let kept = &mut dataset.environments[at].segments;
            let places = self.segments.entry(at).or_insert_with(|| places(kept, |segment| segment.id));
            newer(kept, places, segment, |segment| (segment.id, segment.stamp()));
        }
        unknown_environment
    }
}

fn places<'a, T>(items: &[T], id: impl Fn(&T) -> &'a str) -> HashMap<&'a str, usize> {
    items.iter().enumerate().map(|(place, item)| (id(item), place)).collect()
}

/// Adds the item, or replaces the one with its id if that is older.
fn newer<'a, T>(
    kept: &mut Vec<T>,
    places: &mut HashMap<&'a str, usize>,
    item: T,
    key: impl Fn(&T) -> (&'a str, Stamp<'a>),
) {
    let (id, stamp) = key(&item);
    match places.get(id) {
        Some(place) if key(&kept[*place]).1 >= stamp => {}
        Some(place) => kept[*place] = item,
        None => {
            places.insert(id, kept.len());
            kept.push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const HOME: &str = "ad99d259-1f50-4ed9-a002-7c65e25487df";
    const OTHER: &str = "84e8a446-59bc-49f5-bd3a-12313237697e";

    fn flag(environment: &str, id: &str, second: u8, name: &str) -> Value {
        json!({
            "id": id, "envId": environment, "key": id, "name": name, "variations": [],
            "updatedAt": format!("2025-01-01T00:00:{second:02}Z"),
        })
    }

    fn message(data: Value) -> Vec<u8> {
        json!({"messageType": "data-sync", "data": data}).to_string().into_bytes()
    }

    #[test]
    fn of_a_full_sync_and_a_push_the_newer_item_is_used() {
        let full = json!({"eventType": "rp_full", "items": [{
            "envId": HOME,
            "secrets": [],
            "featureFlags": [flag(HOME, "a", 5, "full"), flag(HOME, "b", 5, "full"), flag(HOME, "c", 5, "full"), flag(HOME, "d", 5, "full")],
            "segments": [flag(HOME, "s", 5, "full")],
        }]});
        let mut remembered = RememberedPushes::new(10_000);
        let change = |flags: Vec<Value>, segments: Vec<Value>| {
            message(json!({"eventType": "patch", "featureFlags": flags, "segments": segments}))
        };
        assert!(remembered.remember(&change(vec![flag(HOME, "a", 6, "push")], vec![])));
        assert!(
            remembered.remember(&change(vec![flag(HOME, "b", 4, "push")], vec![flag(HOME, "s", 7, "push")]))
        );
        assert!(remembered.remember(&change(vec![flag(HOME, "new", 1, "push")], vec![])));
        let patch = json!({"eventType": "rp_patch", "items": [{
            "envId": HOME, "secrets": [], "segments": [],
            "featureFlags": [flag(HOME, "c", 5, "same date, greater bytes"), flag(HOME, "d", 5, "a lesser one"), flag(HOME, "a", 7, "patch")],
        }]});
        assert!(remembered.remember(&message(patch)));
        let mut text = DatasetText::new(message(full));
        let mut texts = remembered.texts();
        let ToRelay::Full { mut dataset, .. } = ToRelay::parse(&mut text).unwrap() else { panic!("no full") };
        assert!(!merge(&mut texts, &mut dataset, |_| false));
        let [home] = &dataset.environments[..] else { panic!("one environment") };
        let name =
            |raw: &str| serde_json::from_str::<Value>(raw).unwrap()["name"].as_str().unwrap().to_owned();
        let flags: Vec<_> = home.flags.iter().map(|flag| (flag.id, name(flag.raw))).collect();
        let expected = [
            ("a", "patch"),
            ("b", "full"),
            ("c", "same date, greater bytes"),
            ("d", "full"),
            ("new", "push"),
        ];
        assert_eq!(flags, expected.map(|(id, name)| (id, name.to_owned())));
        assert_eq!(name(home.segments[0].raw), "push");
    }

    #[test]
    fn an_old_push_does_not_restore_a_removed_item() {
        let lists = |flags: Vec<Value>| json!([{"envId": HOME, "secrets": [], "featureFlags": flags, "segments": []}]);
        let mut text = DatasetText::new(message(
            json!({"eventType": "rp_full", "items": lists(vec![flag(HOME, "a", 5, "full")])}),
        ));
        let flags = vec![flag(HOME, "gone", 5, "old"), flag(HOME, "back", 7, "newer")];
        let change = json!({"eventType": "patch", "featureFlags": flags, "segments": []});
        let patch = json!({"eventType": "rp_patch", "items": lists(vec![flag(HOME, "gone", 4, "older")])});
        let mut texts = [change, patch].map(|data| DatasetText::new(message(data)));
        let ToRelay::Full { mut dataset, .. } = ToRelay::parse(&mut text).unwrap() else { panic!("no full") };
        let removed_ms = crate::model::timestamp::parse_iso8601_ms("2025-01-01T00:00:05Z").unwrap();
        let is_removed = |item: &Removal<'_>| item.kind == ItemKind::Flag && item.updated_at_ms <= removed_ms;
        assert!(!merge(&mut texts, &mut dataset, is_removed));
        let ids: Vec<_> = dataset.environments[0].flags.iter().map(|flag| flag.id).collect();
        assert_eq!(ids, ["a", "back"]);
    }

    #[test]
    fn an_environment_that_the_full_sync_lacks_is_reported() {
        let full = json!({"eventType": "rp_full", "items": []});
        let push = json!({"eventType": "patch", "featureFlags": [], "segments": [flag(OTHER, "s", 1, "x")]});
        let mut text = DatasetText::new(message(full));
        let mut texts = [DatasetText::new(message(push))];
        let ToRelay::Full { mut dataset, .. } = ToRelay::parse(&mut text).unwrap() else { panic!("no full") };
        assert!(merge(&mut texts, &mut dataset, |_| false));
        assert!(dataset.environments.is_empty());
    }

    #[test]
    fn after_a_message_that_does_not_fit_none_fits_until_a_clear() {
        let mut remembered = RememberedPushes::new(10);
        assert!(remembered.remember(b"12345"));
        assert!(remembered.remember(b"67890"));
        assert!(!remembered.remember(b"1"));
        assert!(!remembered.remember(b""));
        assert_eq!(remembered.texts().len(), 2);
        remembered.clear();
        assert!(remembered.remember(b"1"));
        assert_eq!(remembered.texts().len(), 1);
    }
}
