//! Items and removals that come in any order, any number of times, cut into messages in any way, against a plain twin: a map
//! that keeps the greatest stamp.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::support::*;
use crate::model::parse::DatasetText;
use crate::model::stamp::Stamp;
use crate::protocol::to_relay::ToRelay;
use crate::store::{Change, ItemChange, ItemKind, Removal, Snapshot, StoredItem, Writer};

/// One state of an item, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct News {
    environment: u8,
    kind: ItemKind,
    id: String,
    updated_at_ms: i64,
    /// The item's JSON; `None` if it was removed.
    json: Option<String>,
}

impl News {
    fn stamp(&self) -> Stamp<'_> {
        match &self.json {
            Some(json) => Stamp::of(self.updated_at_ms, json),
            None => Stamp::removal(self.updated_at_ms),
        }
    }

    fn key(&self) -> Key {
        (self.environment, self.kind, self.id.clone())
    }
}

type Key = (u8, ItemKind, String);

/// Few ids, dates and contents, so that they are often the same; some have the same content in another format.
fn news() -> impl Strategy<Value = News> {
    (1..3u8, any::<bool>(), 0..3u8, 1..4i64, prop::option::weighted(0.7, (0..2u8, 0..2usize))).prop_map(
        |(environment, is_flag, id, updated_at_ms, content)| {
            let (kind, name) = if is_flag { (ItemKind::Flag, "f") } else { (ItemKind::Segment, "s") };
            let one = thing(&format!("{name}{id}"), updated_at_ms, "");
            let json = content.map(|(content, blanks)| {
                let one = Thing { content: format!("c{content}"), ..one.clone() };
                let world = world(environment, vec![], vec![]);
                let json = if is_flag { flag_json(world.id(), &one) } else { segment_json(world.id(), &one) };
                json.replacen('{', &format!("{{{}", "\n".repeat(blanks)), 1)
            });
            News { environment, kind, id: one.id, updated_at_ms, json }
        },
    )
}

/// Merges a message.
fn merge(writer: &mut Writer, message: &[News]) -> Option<Arc<Change>> {
    let list = |environment: u8, kind| {
        let items = message.iter().filter(|one| (one.environment, one.kind) == (environment, kind));
        items.filter_map(|one| one.json.as_deref()).collect::<Vec<_>>()
    };
    let removals: Vec<_> = message
        .iter()
        .filter(|one| one.json.is_none())
        .map(|one| Removal {
            env_id: world(one.environment, vec![], vec![]).id(),
            kind: one.kind,
            id: &one.id,
            updated_at_ms: one.updated_at_ms,
        })
        .collect();
    let items: Vec<_> = (1..3u8)
        .map(|number| {
            let (flags, segments) = (list(number, ItemKind::Flag), list(number, ItemKind::Segment));
            format!(
                r#"{{"envId":"{}","secrets":[],"featureFlags":[{}],"segments":[{}]}}"#,
                world(number, vec![], vec![]).id(),
                flags.join(","),
                segments.join(",")
            )
        })
        .collect();
    let data = format!(
        r#"{{"messageType":"data-sync","data":{{"eventType":"rp_patch","items":[{}]}}}}"#,
        items.join(",")
    );
    let mut text = DatasetText::new(data.into_bytes());
    let Ok(ToRelay::Patch(dataset)) = ToRelay::parse(&mut text) else { panic!("not a patch") };
    assert!(dataset.left_out.is_empty());
    let (mut flags, mut segments) = (Vec::new(), Vec::new());
    for environment in dataset.environments {
        flags.extend(environment.flags);
        segments.extend(environment.segments);
    }
    writer.merge(&flags, &segments, &removals, at(0)).change
}

/// Writes down what a publish says, as a journal does.
fn write_down(change: &Change, journal: &mut BTreeMap<Key, String>) {
    for item in &change.items {
        let number = change.snapshot.environment(item.slot).unwrap().id().to_string()[..2].parse().unwrap();
        match &item.change {
            ItemChange::Added(now) | ItemChange::Changed(now) | ItemChange::Reformatted(now) => {
                let key = (number, now.kind(), now.id().to_string());
                let before = journal.insert(key, now.json().to_owned());
                assert_eq!(before.is_none(), matches!(item.change, ItemChange::Added(_)));
            }
            ItemChange::Removed(removed) => {
                let before = journal.remove(&(number, removed.kind, removed.id.to_string()));
                assert_eq!(before.as_deref(), removed.item.as_ref().map(StoredItem::json));
            }
        }
    }
}

/// The JSON of every item in service.
fn held(snapshot: &Snapshot) -> BTreeMap<Key, String> {
    let mut held = BTreeMap::new();
    for number in 1..3u8 {
        let environment = environment(snapshot, number);
        let flags = environment.flags.entries().map(|entry| (ItemKind::Flag, entry.source()));
        let segments = environment.segments.entries().map(|entry| (ItemKind::Segment, entry.source()));
        for (kind, own) in flags.chain(segments) {
            held.insert((number, kind, own.id.to_string()), own.raw.to_string());
        }
    }
    held
}

fn new_writer() -> Writer {
    let mut writer = writer();
    load(&mut writer, &[world(1, vec![], vec![]), world(2, vec![], vec![])]);
    writer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_order_any_duplication_and_any_split_give_one_state(
        (all, again) in prop::collection::vec(news(), 1..24).prop_flat_map(|all| {
            let order = prop::collection::vec(0..all.len(), 0..24);
            (Just(all.clone()).prop_shuffle(), order)
        }),
        cuts in prop::collection::vec(1..6usize, 24),
    ) {
        let mut twin: BTreeMap<Key, News> = BTreeMap::new();
        for one in &all {
            let newest = twin.entry(one.key()).or_insert_with(|| one.clone());
            if newest.stamp() < one.stamp() {
                *newest = one.clone();
            }
        }
        let expected: BTreeMap<_, _> =
            twin.into_iter().filter_map(|(key, one)| Some((key, one.json?))).collect();

        let mut stream: Vec<_> = all.clone();
        stream.extend(again.iter().map(|at| all[*at].clone()));
        let mut writer = new_writer();
        let mut journal = BTreeMap::new();
        let mut rest = stream.into_iter().peekable();
        for cut in cuts.iter().cycle() {
            if rest.peek().is_none() {
                break;
            }
            let message: Vec<_> = rest.by_ref().take(*cut).collect();
            if let Some(change) = merge(&mut writer, &message) {
                write_down(&change, &mut journal);
            }
            prop_assert_eq!(&journal, &held(writer.current()));
        }
        prop_assert_eq!(journal, expected);
        // Merging the same data again changes nothing, in any order.
        for message in all.iter().rev() {
            prop_assert!(merge(&mut writer, std::slice::from_ref(message)).is_none());
        }
    }
}

#[test]
fn what_a_full_sync_lacks_does_not_come_back_when_it_arrives_late_but_a_newer_state_does() {
    let mut writer = writer();
    let with = world(1, vec![thing("a", 10, "A"), thing("b", 20, "B")], vec![thing("s", 5, "u")]);
    let without = world(1, vec![thing("b", 20, "B")], vec![]);
    load(&mut writer, std::slice::from_ref(&with));
    let change = change(&mut writer, std::slice::from_ref(&without));
    let removed: Vec<_> = change.items.iter().map(|item| &item.change).collect();
    let [ItemChange::Removed(flag), ItemChange::Removed(segment)] = removed[..] else {
        panic!("{removed:?}")
    };
    assert_eq!((flag.kind, &*flag.id, flag.updated_at_ms), (ItemKind::Flag, "a", 10));
    assert_eq!((segment.kind, &*segment.id, segment.updated_at_ms), (ItemKind::Segment, "s", 5));
    let is_removed = |kind, id, updated_at_ms| {
        let env_id = without.id();
        writer.is_removed(&Removal { env_id, kind, id, updated_at_ms })
    };
    assert!(is_removed(ItemKind::Flag, "a", 10) && is_removed(ItemKind::Segment, "s", 4));
    assert!(!is_removed(ItemKind::Flag, "a", 11) && !is_removed(ItemKind::Flag, "b", 20));
    assert!(upsert(&mut writer, 1, &[thing("a", 10, "A")], &[thing("s", 5, "u")]).change.is_none());
    assert!(upsert(&mut writer, 1, &[thing("a", 10, "Z")], &[]).change.is_none());
    assert!(upsert(&mut writer, 1, &[thing("a", 9, "A")], &[]).change.is_none());
    let published = upsert(&mut writer, 1, &[thing("a", 11, "A")], &[]);
    assert_eq!((published.report.added, environment(writer.current(), 1).flag_count()), (1, 2));
    // A full sync that has it again is believed, whatever its date.
    load(&mut writer, &[without]);
    load(&mut writer, std::slice::from_ref(&with));
    assert_eq!(environment(writer.current(), 1).flag_count(), 2);
    assert!(upsert(&mut writer, 1, &[thing("a", 10, "B")], &[]).change.is_some());
}

#[test]
fn a_removal_is_applied_once_unless_the_item_is_newer() {
    let mut writer = new_writer();
    let news = |id: &str, updated_at_ms, content: Option<&str>| News {
        environment: 1,
        kind: ItemKind::Flag,
        id: id.to_owned(),
        updated_at_ms,
        json: content
            .map(|content| flag_json(world(1, vec![], vec![]).id(), &thing(id, updated_at_ms, content))),
    };
    merge(&mut writer, &[news("a", 5, Some("A")), news("b", 5, Some("B"))]);
    let from = writer.current().sequence();
    assert!(merge(&mut writer, &[news("a", 4, None)]).is_none());
    assert_eq!(
        merge(&mut writer, &[news("a", 5, None), news("b", 6, Some("C"))]).map(|change| change.items.len()),
        Some(2)
    );
    assert_eq!(since(&environment(writer.current(), 1), from), ["full b/"]);
    assert!(merge(&mut writer, &[news("a", 5, None)]).is_none());
    // One of an item that is not there is remembered, and written down.
    let from = writer.current().sequence();
    assert_eq!(merge(&mut writer, &[news("new", 9, None)]).map(|change| change.items.len()), Some(1));
    assert!(since(&environment(writer.current(), 1), from).is_empty());
    assert!(merge(&mut writer, &[news("new", 9, Some("N"))]).is_none());
}

#[test]
fn the_same_content_in_another_format_is_kept_and_not_sent_to_sdks() {
    let mut writer = new_writer();
    let id = world(1, vec![], vec![]).id();
    let segment = News {
        environment: 1,
        kind: ItemKind::Segment,
        id: "s".to_owned(),
        updated_at_ms: 5,
        json: Some(segment_json(id, &thing("s", 5, "u"))),
    };
    let flag = News {
        kind: ItemKind::Flag,
        id: "f".to_owned(),
        json: Some(flag_json(id, &thing("f", 5, "x").using(&["s"]))),
        ..segment.clone()
    };
    let spaced = |news: &News| News {
        json: news.json.as_ref().map(|json| json.replacen('{', "{\n", 1)),
        ..news.clone()
    };
    merge(&mut writer, &[spaced(&flag), spaced(&segment)]);
    let from = writer.current().sequence();
    let before = [0, 4].map(|ms| client_sync(writer.current(), 1, "u", ms));
    let change = merge(&mut writer, &[flag.clone(), segment.clone()]).unwrap();
    assert!(change.environments.is_empty());
    assert!(change.items.iter().all(|item| matches!(item.change, ItemChange::Reformatted(_))));
    assert_eq!(
        held(writer.current()).into_values().collect::<Vec<_>>(),
        [flag.json.clone().unwrap(), segment.json.clone().unwrap()]
    );
    assert!(since(&environment(writer.current(), 1), from).is_empty());
    assert_eq!(client_since(writer.current(), 1, "u", from), None);
    assert_eq!([0, 4].map(|ms| client_sync(writer.current(), 1, "u", ms)), before);
    assert!(merge(&mut writer, &[spaced(&flag), spaced(&segment)]).is_none());
}
