//! Random histories of datasets against a plain twin that computes everything from scratch.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;

use super::support::*;
use crate::model::environment_id::EnvironmentId;
use crate::store::PatchForm::{Batch, OnePerItem};
use crate::store::ring::Ring;
use crate::store::{Environment, Published, Snapshot, Writer, WriterOptions};

/// One edit of a dump.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Flag { world: usize, id: u8, version_ms: i64, content: u8, uses: u8 },
    Segment { world: usize, id: u8, version_ms: i64, content: u8 },
    RemoveFlag { world: usize, id: u8 },
    RemoveSegment { world: usize, id: u8 },
    RotateFlags { world: usize },
    Environment { number: u8 },
    ReverseEnvironments,
    Secret { world: usize, number: u8 },
}

pub(super) fn edit() -> impl Strategy<Value = Edit> {
    // Few versions and contents, so that they are often the same, shared or older.
    let (world, version_ms) = (0..3usize, 1..30i64);
    prop_oneof![
        6 => (world.clone(), 0..6u8, version_ms.clone(), 0..3u8, 0..8u8).prop_map(
            |(world, id, version_ms, content, uses)| Edit::Flag { world, id, version_ms, content, uses }
        ),
        4 => (world.clone(), 0..3u8, version_ms, 0..3u8)
            .prop_map(|(world, id, version_ms, content)| Edit::Segment { world, id, version_ms, content }),
        1 => (world.clone(), 0..6u8).prop_map(|(world, id)| Edit::RemoveFlag { world, id }),
        1 => (world.clone(), 0..3u8).prop_map(|(world, id)| Edit::RemoveSegment { world, id }),
        1 => world.clone().prop_map(|world| Edit::RotateFlags { world }),
        1 => (1..4u8).prop_map(|number| Edit::Environment { number }),
        1 => Just(Edit::ReverseEnvironments),
        1 => (world, 0..4u8).prop_map(|(world, number)| Edit::Secret { world, number }),
    ]
}

fn put(things: &mut Vec<Thing>, thing: Thing) {
    match things.iter_mut().find(|old| old.id == thing.id) {
        Some(old) => *old = thing,
        None => things.push(thing),
    }
}

pub(super) fn apply(worlds: &mut Vec<World>, edit: &Edit) {
    if let Edit::Environment { number } = edit {
        match worlds.iter().position(|world| world.number == *number) {
            Some(at) => drop(worlds.remove(at)),
            None => worlds.push(world(*number, vec![], vec![])),
        }
        return;
    }
    if let Edit::ReverseEnvironments = edit {
        return worlds.reverse();
    }
    let (Edit::Flag { world, .. }
    | Edit::Segment { world, .. }
    | Edit::RemoveFlag { world, .. }
    | Edit::RemoveSegment { world, .. }
    | Edit::RotateFlags { world }
    | Edit::Secret { world, .. }) = edit
    else {
        return;
    };
    let Some(world) = worlds.get_mut(*world) else { return };
    match edit {
        Edit::Flag { id, version_ms, content, uses, .. } => {
            let used: Vec<_> =
                (0..3).filter(|bit| uses >> bit & 1 == 1).map(|bit| format!("s{bit}")).collect();
            let used: Vec<_> = used.iter().map(String::as_str).collect();
            let flag = thing(&format!("f{id}"), *version_ms, &format!("c{content}")).using(&used);
            put(&mut world.flags, flag);
        }
        Edit::Segment { id, version_ms, content, .. } => {
            put(&mut world.segments, thing(&format!("s{id}"), *version_ms, &format!("u{content}")));
        }
        Edit::RemoveFlag { id, .. } => world.flags.retain(|flag| flag.id != format!("f{id}")),
        Edit::RemoveSegment { id, .. } => world.segments.retain(|segment| segment.id != format!("s{id}")),
        Edit::RotateFlags { .. } if !world.flags.is_empty() => world.flags.rotate_left(1),
        Edit::Secret { number, .. } => {
            let secret = (crate::model::secret::SecretKind::Server, 200 + number);
            match world.secrets.iter().position(|old| *old == secret) {
                Some(at) => drop(world.secrets.remove(at)),
                None => world.secrets.push(secret),
            }
        }
        _ => {}
    }
}

/// `updatedAt` of what was removed, by environment, list and id.
pub(super) type Tombstones = BTreeMap<(u8, &'static str, String), i64>;

/// Records the items of `before` that `after` lacks. Of a removed environment nothing is recorded.
pub(super) fn record_removals(before: &[World], after: &[World], tombstones: &mut Tombstones) {
    tombstones.retain(|(number, ..), _| after.iter().any(|world| world.number == *number));
    for now in after {
        let old = before.iter().find(|world| world.number == now.number);
        let lists = [
            ("flags", old.map(|old| &old.flags), &now.flags),
            ("segments", old.map(|old| &old.segments), &now.segments),
        ];
        for (list, old, now_has) in lists {
            for removed in old.into_iter().flatten().filter(|old| now_has.iter().all(|one| one.id != old.id))
            {
                tombstones.insert((now.number, list, removed.id.clone()), removed.version_ms);
            }
            tombstones.retain(|(number, of, id), _| {
                *number != now.number || *of != list || now_has.iter().all(|one| one.id != *id)
            });
        }
    }
}

/// Applies the flags and segments of one environment among `edits` as a patch from upstream has them.
pub(super) fn upsert_one(
    writer: &mut Writer,
    worlds: &mut [World],
    tombstones: &mut Tombstones,
    edits: &[Edit],
    wall_ms: i64,
) -> Option<Published> {
    let world = worlds.first_mut()?;
    let mut patch = World { flags: vec![], segments: vec![], ..world.clone() };
    for edit in edits {
        if matches!(edit, Edit::Flag { .. } | Edit::Segment { .. }) {
            let mut edit = edit.clone();
            let (Edit::Flag { world, .. } | Edit::Segment { world, .. }) = &mut edit else { return None };
            *world = 0;
            let mut one = vec![patch.clone()];
            apply(&mut one, &edit);
            patch = one.remove(0);
        }
    }
    let published = upsert_at(writer, patch.number, &patch.flags, &patch.segments, wall_ms);
    let (number, id) = (world.number, world.id());
    let json: [fn(EnvironmentId, &Thing) -> String; 2] = [flag_json, segment_json];
    let lists = [("flags", &mut world.flags, patch.flags), ("segments", &mut world.segments, patch.segments)];
    for ((list, stored, new), json) in lists.into_iter().zip(json) {
        for thing in new {
            let stamp = |thing: &Thing| (thing.version_ms, json(id, thing));
            let is_older = |old: &Thing| old.id == thing.id && stamp(old) > stamp(&thing);
            let key = (number, list, thing.id.clone());
            let was_removed = tombstones.get(&key).is_some_and(|removed_ms| *removed_ms >= thing.version_ms);
            if !was_removed && !stored.iter().any(is_older) {
                tombstones.remove(&key);
                put(stored, thing);
            }
        }
    }
    Some(published)
}

/// The copy of a segment that is in effect: the newest, of several the first.
fn resolved<'w>(worlds: &'w [World], id: &str) -> Option<(&'w Thing, u8)> {
    let mut in_effect: Option<(&Thing, u8)> = None;
    for world in worlds {
        for copy in world.segments.iter().filter(|segment| segment.id == id) {
            if in_effect.is_none_or(|(in_effect, _)| in_effect.version_ms < copy.version_ms) {
                in_effect = Some((copy, world.number));
            }
        }
    }
    in_effect
}

/// What a server SDK of `world` must hold.
fn server_state(world: &World) -> Sdk {
    let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let flags = world.flags.iter();
    let segments = world.segments.iter();
    Sdk {
        items: flags
            .map(|flag| (("featureFlags", flag.id.clone()), read(flag_json(world.id(), flag))))
            .chain(segments.map(|item| (("segments", item.id.clone()), read(segment_json(world.id(), item)))))
            .collect(),
    }
}

/// What an SDK holds, without the versions that it was sent.
fn said(sdk: &Sdk) -> Sdk {
    let mut said = sdk.clone();
    for item in said.items.values_mut() {
        item.as_object_mut().unwrap().remove("updatedAt");
    }
    said
}

/// What a client SDK of `world` must hold of each flag: the variation.
fn client_state(worlds: &[World], world: &World, user: &str) -> BTreeMap<String, String> {
    let value = |flag: &Thing| {
        let is_in = |id: &String| resolved(worlds, id).is_some_and(|(segment, _)| segment.content == user);
        if flag.uses.iter().any(is_in) { "in".to_owned() } else { flag.content.clone() }
    };
    world.flags.iter().map(|flag| (format!("key-{}", flag.id), value(flag))).collect()
}

/// The same of what it does hold.
fn client_view(sdk: &Sdk) -> BTreeMap<String, String> {
    let view = |(key, flag): (&(&str, String), &Value)| {
        (key.1.clone(), flag["variation"].as_str().unwrap().to_owned())
    };
    sdk.items.iter().map(view).collect()
}

/// What a flag's evaluation depends on.
type Cause<'w> = (&'w Thing, Vec<Option<(&'w Thing, u8)>>);

fn causes<'w>(worlds: &'w [World], world: &'w World) -> BTreeMap<&'w str, Cause<'w>> {
    let cause = |flag: &'w Thing| (flag, flag.uses.iter().map(|id| resolved(worlds, id)).collect());
    world.flags.iter().map(|flag| (flag.id.as_str(), cause(flag))).collect()
}

/// One moment of the history, with what SDKs held then.
struct Moment {
    worlds: Vec<World>,
    sequence: u64,
    server: BTreeMap<u8, Sdk>,
    client: BTreeMap<u8, Sdk>,
}

const USER: &str = "u1";
const SERVER_TAKES: fn(i64, i64) -> bool = |old, new| new > old;
const CLIENT_TAKES: fn(i64, i64) -> bool = |old, new| new >= old;

/// Returns whether anything was pushed.
fn check_server(environment: &Environment, before: &Sdk, from: u64, now: &Sdk, at_once: bool) -> bool {
    let mut out = Vec::new();
    let kind = environment.server_since(from, Batch, &mut out);
    let messages = messages(&out);
    let mut sdk = before.clone();
    let mut last_ms = before.version_ms();
    for message in &messages {
        let data = &message["data"];
        if at_once && data["eventType"] == "patch" {
            let list = ["featureFlags", "segments"].map(|name| data[name].as_array().unwrap());
            assert_eq!(list[0].len() + list[1].len(), 1);
            let name = if list[0].is_empty() { "segments" } else { "featureFlags" };
            let item = &data[name][0];
            let key = (name, item["id"].as_str().unwrap().to_owned());
            assert_ne!(before.items.get(&key), Some(item), "pushed though it had it");
            let alone = Sdk { items: [(key, item.clone())].into() };
            assert!(alone.version_ms() > last_ms);
            last_ms = alone.version_ms();
        }
        sdk.apply(message, SERVER_TAKES);
    }
    assert_eq!(said(&sdk), said(now));
    kind.is_some()
}

fn check_reconnect(environment: &Environment, before: &Sdk, now: &Sdk) {
    let timestamp = before.version_ms();
    for form in [Batch, OnePerItem] {
        let mut out = Vec::new();
        environment.server_sync(timestamp, form, &mut out);
        let messages = messages(&out);
        let mut sdk = before.clone();
        messages.iter().for_each(|message| sdk.apply(message, SERVER_TAKES));
        assert_eq!(said(&sdk), said(now), "{form:?}");
        if form == OnePerItem && messages.len() > 1 {
            let versions: Vec<_> = messages
                .iter()
                .map(|message| {
                    let mut one = Sdk::default();
                    one.apply(message, SERVER_TAKES);
                    one.version_ms()
                })
                .collect();
            assert!(versions[0] > timestamp && versions.is_sorted_by(|one, next| one < next));
        }
    }
    let mut sdk = before.clone();
    if let Some(message) = poll(environment, timestamp) {
        sdk.apply(&message, SERVER_TAKES);
    }
    assert_eq!(said(&sdk), said(now));
}

fn check_client(snapshot: &Snapshot, moment: &Moment, worlds: &[World], world: &World, at_once: bool) {
    let number = world.number;
    let expected = client_state(worlds, world, USER);
    let before = &moment.client[&number];
    let mut sdk = before.clone();
    let pushed = client_since(snapshot, number, USER, moment.sequence);
    if let Some(message) = &pushed {
        sdk.apply(message, CLIENT_TAKES);
    }
    assert_eq!(client_view(&sdk), expected);

    let mut sdk = before.clone();
    sdk.apply(&client_sync(snapshot, number, USER, before.version_ms()), CLIENT_TAKES);
    assert_eq!(client_view(&sdk), expected);

    if !at_once {
        return;
    }
    let old_world = moment.worlds.iter().find(|old| old.number == number).unwrap();
    let (old, new) = (causes(&moment.worlds, old_world), causes(worlds, world));
    let affected: BTreeSet<_> = new
        .iter()
        .filter(|(id, cause)| old.get(*id) != Some(cause))
        .map(|(id, _)| format!("key-{id}"))
        .collect();
    match pushed {
        None => assert!(affected.is_empty() && old.len() == new.len()),
        Some(message) if message["data"]["eventType"] == "patch" => {
            let flags = message["data"]["featureFlags"].as_array().unwrap();
            let ids: BTreeSet<_> = flags.iter().map(|flag| flag["id"].as_str().unwrap().to_owned()).collect();
            assert_eq!(ids, affected);
        }
        Some(_) => assert!(old != new),
    }
}

fn check(writer: &Writer, worlds: &[World], history: &[Moment]) {
    let snapshot = writer.current();
    for world in worlds {
        let environment = environment(snapshot, world.number);
        let now = server_state(world);
        // The same without what the ring remembers: computed diffs.
        let mut forgetful = (*environment).clone();
        forgetful.ring = Ring::starting_at(environment.server.changed);
        let mut stayed = true;
        for (age, moment) in history.iter().rev().enumerate() {
            let Some(before) = moment.server.get(&world.number) else {
                stayed = false;
                continue;
            };
            check_reconnect(&environment, before, &now);
            // Connections end when their environment goes.
            if stayed {
                let pushed = check_server(&environment, before, moment.sequence, &now, age == 0);
                let old = moment.worlds.iter().find(|old| old.number == world.number);
                assert!(!(pushed && age == 0 && old.is_some_and(|old| server_state(old) == now)));
                check_server(&forgetful, before, moment.sequence, &now, false);
                check_client(snapshot, moment, worlds, world, age == 0);
            }
        }
        let mut fresh = Sdk::default();
        fresh.apply(&poll(&environment, 0).unwrap(), SERVER_TAKES);
        assert_eq!(said(&fresh), said(&now));
    }
}

fn moment(snapshot: &Snapshot, worlds: &[World]) -> Moment {
    let server = |world: &World| {
        let mut sdk = Sdk::default();
        sdk.apply(&poll(&environment(snapshot, world.number), 0).unwrap(), SERVER_TAKES);
        (world.number, sdk)
    };
    let client = |world: &World| {
        let mut sdk = Sdk::default();
        sdk.apply(&client_sync(snapshot, world.number, USER, 0), CLIENT_TAKES);
        (world.number, sdk)
    };
    Moment {
        worlds: worlds.to_vec(),
        sequence: snapshot.sequence(),
        server: worlds.iter().map(server).collect(),
        client: worlds.iter().map(client).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_sdk_ends_in_the_state_of_now_from_any_moment_before(
        steps in prop::collection::vec((any::<bool>(), prop::collection::vec(edit(), 1..5)), 1..12)
    ) {
        let mut writer = Writer::new(WriterOptions { revocation_grace_ms: 0, ..WriterOptions::default() });
        let mut worlds = vec![world(1, vec![], vec![]), world(2, vec![], vec![])];
        let mut history: Vec<Moment> = Vec::new();
        let mut tombstones = Tombstones::new();
        for (whole, edits) in &steps {
            let before = worlds.clone();
            let sequence = writer.current().sequence();
            if *whole || history.is_empty() {
                edits.iter().for_each(|edit| apply(&mut worlds, edit));
                record_removals(&before, &worlds, &mut tombstones);
                load(&mut writer, &worlds);
            } else {
                upsert_one(&mut writer, &mut worlds, &mut tombstones, edits, 0);
            }
            let published = writer.current().sequence() > sequence;
            prop_assert_eq!(published, before != worlds || history.is_empty());
            check(&writer, &worlds, &history);
            let mut again = Writer::new(WriterOptions::default());
            let backup = String::from_utf8(writer.current().backup().to_vec()).unwrap();
            load_text(&mut again, &backup, at(0));
            prop_assert_eq!(&String::from_utf8(again.current().backup().to_vec()).unwrap(), &backup);
            history.push(moment(writer.current(), &worlds));
        }
    }
}
