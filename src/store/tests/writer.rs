//! What the writer makes of new data.

use std::sync::Arc;

use super::support::*;
use crate::model::parse::with_flag;
use crate::model::secret::SecretKind;
use crate::model::timestamp::format_iso8601;
use crate::store::{EndingSecrets, Moment, NotNewer, PatchForm, Snapshot, Writer, WriterOptions};

fn small() -> World {
    world(1, vec![thing("a", 10, "A"), thing("b", 20, "B").using(&["s"])], vec![thing("s", 25, "u")])
}

#[test]
fn nothing_is_known_before_data_is_loaded() {
    let snapshot = Snapshot::empty();
    assert!(!snapshot.loaded());
    assert_eq!((snapshot.sequence(), snapshot.data_version(), snapshot.serves().as_str()), (0, 0, ""));
    assert_eq!(snapshot.secret(&secret(1, 1)), None);
    assert_eq!(snapshot.backup().to_vec(), br#"{"eventType":"rp_full","items":[]}"#);
}

#[test]
fn snapshots_and_changes_are_shared_between_threads_and_the_writer_moves_to_its_own() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<Snapshot>();
    shared::<crate::store::Change>();
    moved::<Writer>();
}

#[test]
fn the_first_dataset_is_a_change_even_if_it_is_empty() {
    let mut writer = writer();
    let first = change(&mut writer, &[]);
    assert!(first.snapshot.loaded() && first.secrets_changed);
    assert!(load(&mut writer, &[]).change.is_none());
}

#[test]
fn a_dataset_is_in_service_with_its_secrets_and_labels() {
    let mut writer = writer();
    let first = change(&mut writer, &[small(), world(2, vec![], vec![])]);
    let snapshot = &first.snapshot;
    let entry = snapshot.secret(&secret(1, 1)).unwrap();
    assert_eq!((entry.kind, entry.slot), (SecretKind::Server, slot(snapshot, 1)));
    assert_eq!(snapshot.secret(&secret(102, 2)).unwrap().kind, SecretKind::Client);
    assert_eq!(snapshot.secret(&secret(9, 1)), None);
    assert_eq!(snapshot.serves(), "project:env-1,project:env-2");
    assert_eq!(snapshot.data_version(), 25);
    assert_eq!(
        snapshot.environments().map(|environment| environment.flag_count()).collect::<Vec<_>>(),
        [2, 0]
    );
    assert_eq!(first.environments.len(), 2);
}

#[test]
fn the_data_version_never_goes_down() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    load(&mut writer, &[world(1, vec![], vec![])]);
    assert_eq!(writer.current().data_version(), 25);
}

#[test]
fn slots_stay_when_environments_are_reordered_removed_and_brought_back() {
    let mut writer = writer();
    let (one, two) = (small(), world(2, vec![thing("c", 5, "C")], vec![]));
    let first = change(&mut writer, &[one.clone(), two.clone()]);
    let slots = |snapshot: &Snapshot| (slot(snapshot, 1), slot(snapshot, 2));
    let before = slots(&first.snapshot);
    let second = change(&mut writer, &[two.clone(), one.clone()]);
    assert!(second.environments.is_empty());
    assert_eq!(slots(&second.snapshot), before);
    assert_eq!(second.snapshot.serves(), "project:env-2,project:env-1");
    load_at(&mut writer, std::slice::from_ref(&one), 0);
    writer.expire(at(100)).unwrap();
    assert!(writer.current().environment(before.1).is_none());
    let last = change(&mut writer, &[one, two]);
    assert_eq!(slots(&last.snapshot), before);
    // An SDK that was connected before may still have removed items.
    assert_eq!(sync(&environment(&last.snapshot, 2), 5, PatchForm::Batch), ["full c/"]);
}

#[test]
fn byte_identical_items_keep_their_sequence_and_nothing_is_published() {
    let mut writer = writer();
    let first = change(&mut writer, &[small()]);
    assert!(load(&mut writer, &[small()]).change.is_none());
    let mut after = small();
    after.flags[0].version_ms = 90;
    let published = load(&mut writer, &[after]);
    let report = published.report;
    assert_eq!((report.added, report.changed, report.removed), (0, 1, 0));
    let second = published.change.unwrap();
    let (old, new) = (environment(&first.snapshot, 1), environment(&second.snapshot, 1));
    let entries: Vec<_> = old.flags.entries().zip(new.flags.entries()).collect();
    assert!(!Arc::ptr_eq(&entries[0].0.data, &entries[0].1.data));
    assert!(entries[1].0.is(entries[1].1));
    assert_eq!(entries[0].1.sequence, second.snapshot.sequence());
    assert!(!second.secrets_changed);
}

/// The dump with other white space, another order of properties, and other formats of numbers.
fn reformatted(worlds: &[World]) -> String {
    fn turn_round(value: &serde_json::Value) -> String {
        use serde_json::Value;
        match value {
            Value::Object(object) => {
                let fields = object.iter().rev().map(|(name, value)| {
                    format!("{} :\n {}", serde_json::to_string(name).unwrap(), turn_round(value))
                });
                format!("{{ {} }}", fields.collect::<Vec<_>>().join(" , "))
            }
            Value::Array(items) => {
                format!("[ {} ]", items.iter().map(turn_round).collect::<Vec<_>>().join(" , "))
            }
            Value::Number(number) => format!("{number}.0"),
            other => other.to_string(),
        }
    }
    turn_round(&serde_json::from_str(&dump_json(worlds)).unwrap())
}

#[test]
fn the_same_data_in_other_formatting_is_no_change() {
    let mut after = small();
    after.flags[0].content = "stamped".to_owned();
    let mut writer = writer();
    load(&mut writer, &[small()]);
    // What is served differs from the source's JSON: its version was raised.
    load(&mut writer, &[after.clone()]);
    let served = writer.current().backup().to_vec();
    let published = load_text(&mut writer, &reformatted(&[after.clone()]), at(0));
    let report = &published.report;
    assert!(published.change.is_none() && report.not_newer.is_empty(), "{report:?}");
    assert_eq!((report.added, report.changed, report.removed), (0, 0, 0));
    assert_eq!(writer.current().backup().to_vec(), served, "the same bytes as before");
}

#[test]
fn one_item_changed_in_a_reformatted_dump_is_one_change() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    let from = writer.current().sequence();
    let mut after = small();
    after.flags[1] = thing("b", 30, "B").using(&["s"]);
    let published = load_text(&mut writer, &reformatted(&[after.clone()]), at(0));
    assert_eq!(published.report.changed, 1);
    assert_eq!(since(&environment(writer.current(), 1), from), ["patch b/"]);
    after.flags[0].content = "other".to_owned();
    let report = load_text(&mut writer, &reformatted(&[after]), at(0)).report;
    assert_eq!((report.changed, report.not_newer.len()), (1, 1));
}

#[test]
fn an_upsert_in_other_formatting_is_no_change() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    let dump = reformatted(&[small()]);
    let mut text = crate::model::parse::DatasetText::new(dump.into_bytes());
    let dataset = text.parse().unwrap();
    let def = &dataset.environments[0];
    assert!(writer.upsert(&def.flags, &def.segments, at(0)).change.is_none());
}

#[test]
fn a_new_order_is_published_and_pushed_to_nobody() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    let from = writer.current().sequence();
    let mut reordered = small();
    reordered.flags.reverse();
    let second = change(&mut writer, &[reordered]);
    assert!(second.environments.is_empty());
    let environment = environment(&second.snapshot, 1);
    assert!(since(&environment, from).is_empty());
    assert_eq!(sync(&environment, 0, PatchForm::Batch), ["full b a/s"]);
}

#[test]
fn a_removed_secret_is_known_until_its_grace_ends() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    let mut without = small();
    without.secrets.remove(0);
    let published = load_at(&mut writer, &[without.clone()], 1_000);
    // Connections need not be checked before the grace ends.
    assert!(!published.change.unwrap().secrets_changed);
    assert!(writer.current().secret(&secret(1, 1)).is_some());
    assert_eq!(writer.next_expiry_ms(), Some(1_100));
    // A second dataset without it does not prolong the grace.
    assert!(load_at(&mut writer, &[without], 1_050).change.is_none());
    assert!(writer.expire(at(1_099)).is_none());
    let change = writer.expire(at(1_100)).unwrap();
    assert!(change.secrets_changed && change.environments.is_empty());
    assert_eq!(change.snapshot.secret(&secret(1, 1)), None);
    assert!(change.snapshot.secret(&secret(101, 1)).is_some());
    assert_eq!(writer.next_expiry_ms(), None);
}

#[test]
fn a_mistaken_dump_corrected_within_the_grace_affects_no_sdk() {
    let mut writer = writer();
    let other = world(2, vec![thing("c", 5, "C").using(&["s"])], vec![]);
    load(&mut writer, &[small(), other.clone()]);
    let from = writer.current().sequence();
    let mistake = load_at(&mut writer, std::slice::from_ref(&other), 1_000).change.unwrap();
    assert!(mistake.environments.is_empty() && !mistake.secrets_changed);
    assert_eq!(mistake.snapshot.serves(), "project:env-2");
    assert!(!String::from_utf8(mistake.snapshot.backup().to_vec()).unwrap().contains("env-1"));
    assert_eq!(sync(&environment(&mistake.snapshot, 1), 0, PatchForm::Batch), ["full a b/s"]);
    let right = load_at(&mut writer, &[small(), other], 1_099).change.unwrap();
    assert!(right.environments.is_empty() && !right.secrets_changed);
    assert!(since(&environment(&right.snapshot, 1), from).is_empty());
    assert!(writer.expire(at(10_000)).is_none());
}

#[test]
fn an_environment_whose_grace_has_ended_is_removed_with_its_secrets_and_segments() {
    let mut writer = writer();
    let other = world(2, vec![thing("c", 5, "C").using(&["s"])], vec![]);
    load(&mut writer, &[small(), other.clone()]);
    let removed = slot(writer.current(), 1);
    load_at(&mut writer, &[other], 0);
    let change = writer.expire(at(100)).unwrap();
    assert!(change.secrets_changed && change.snapshot.environment(removed).is_none());
    assert_eq!(change.snapshot.secret(&secret(1, 1)), None);
    // Its copy of the segment was in effect in the other environment too.
    assert_eq!(change.environments, [slot(&change.snapshot, 2)]);
}

#[test]
fn without_grace_a_secret_is_removed_at_once() {
    let mut writer = Writer::new(WriterOptions { revocation_grace_ms: 0, ..WriterOptions::default() });
    load(&mut writer, &[small(), world(2, vec![], vec![])]);
    let change = change(&mut writer, &[small()]);
    assert!(change.secrets_changed);
    assert_eq!(change.snapshot.secret(&secret(2, 2)), None);
    assert_eq!(writer.next_expiry_ms(), None);
}

/// The first environment with secret 1 only, of this kind.
fn with_secret_of(kind: SecretKind) -> World {
    World { secrets: vec![(kind, 1)], ..small() }
}

/// For which kinds of SDK secret 1 is valid.
fn opens_to(snapshot: &Snapshot) -> (bool, bool) {
    let opens = |kind| {
        snapshot.secret(&secret(1, 1)).and_then(|entry| entry.opens_to(kind)) == Some(slot(snapshot, 1))
    };
    (opens(SecretKind::Server), opens(SecretKind::Client))
}

#[test]
fn a_secret_whose_type_is_swapped_opens_to_both_until_the_grace_ends() {
    let mut writer = writer();
    load(&mut writer, &[with_secret_of(SecretKind::Server)]);
    let published = load_at(&mut writer, &[with_secret_of(SecretKind::Client)], 0);
    let change = published.change.unwrap();
    assert!(change.secrets_changed);
    assert_eq!(change.snapshot.secret(&secret(1, 1)).unwrap().kind, SecretKind::Client);
    assert_eq!(opens_to(&change.snapshot), (true, true));
    let report = published.report;
    assert_eq!((report.secrets_retyped.secrets, report.grace_ms), (1, 100));
    assert!(report.secrets_retyped.environments.iter().map(|name| &**name).eq(["project:env-1"]));
    assert_eq!(report.secrets_removed, EndingSecrets::default());
    // Reported once; other data prolongs nothing.
    let mut other = with_secret_of(SecretKind::Client);
    other.flags[0].version_ms = 90;
    assert_eq!(load_at(&mut writer, &[other], 50).report.secrets_retyped, EndingSecrets::default());
    assert_eq!(opens_to(writer.current()), (true, true));
    assert!(writer.expire(at(99)).is_none());
    assert!(writer.expire(at(100)).unwrap().secrets_changed);
    assert_eq!(opens_to(writer.current()), (false, true));
    assert_eq!(writer.next_expiry_ms(), None);
}

#[test]
fn a_type_swapped_back_within_the_grace_stops_no_sdk_at_once() {
    let mut writer = writer();
    load(&mut writer, &[with_secret_of(SecretKind::Server)]);
    load_at(&mut writer, &[with_secret_of(SecretKind::Client)], 0);
    load_at(&mut writer, &[with_secret_of(SecretKind::Server)], 60);
    assert!(writer.expire(at(100)).is_none());
    assert_eq!(opens_to(writer.current()), (true, true));
    writer.expire(at(160)).unwrap();
    assert_eq!(opens_to(writer.current()), (true, false));
}

#[test]
fn a_secret_that_comes_back_with_another_type_has_the_rest_of_its_grace() {
    let mut writer = writer();
    load(&mut writer, &[with_secret_of(SecretKind::Server)]);
    load_at(&mut writer, &[World { secrets: vec![], ..small() }], 0);
    load_at(&mut writer, &[with_secret_of(SecretKind::Client)], 60);
    assert_eq!(opens_to(writer.current()), (true, true));
    writer.expire(at(100)).unwrap();
    assert_eq!(opens_to(writer.current()), (false, true));
}

#[test]
fn without_grace_a_swapped_type_is_in_effect_at_once() {
    let mut writer = Writer::new(WriterOptions { revocation_grace_ms: 0, ..WriterOptions::default() });
    load(&mut writer, &[with_secret_of(SecretKind::Server)]);
    load(&mut writer, &[with_secret_of(SecretKind::Client)]);
    assert_eq!(opens_to(writer.current()), (false, true));
}

#[test]
fn a_dump_without_its_environments_is_reported_with_all_that_it_removes() {
    let mut writer = writer();
    let other = world(2, vec![thing("c", 5, "C")], vec![]);
    load(&mut writer, &[small(), other.clone()]);
    let report = load_at(&mut writer, &[], 0).report;
    assert_eq!((report.added, report.changed, report.removed), (0, 0, 4));
    assert_eq!((report.secrets_removed.secrets, report.grace_ms), (4, 100));
    let removed = report.secrets_removed.environments.iter().map(|name| &**name);
    assert!(removed.eq(["project:env-1", "project:env-2"]));
    // The same data again is not reported.
    let report = load_at(&mut writer, &[], 50).report;
    assert_eq!((report.removed, report.secrets_removed), (0, EndingSecrets::default()));
    // Nor is a corrected dump.
    let report = load_at(&mut writer, &[small(), other], 60).report;
    assert_eq!((report.removed, report.secrets_removed), (0, EndingSecrets::default()));
    assert_eq!(writer.next_expiry_ms(), None);
}

#[test]
fn a_change_without_a_newer_updated_at_is_reported_by_label_and_key() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    let mut after = small();
    after.flags[0].content = "other".to_owned();
    after.flags[1] = thing("b", 21, "other");
    after.segments[0] = thing("s", 24, "other");
    let report = load(&mut writer, &[after]).report;
    let of =
        |key: &str, is_older| NotNewer { environment: "project:env-1".into(), key: key.into(), is_older };
    assert_eq!(report.not_newer, [of("s", true), of("key-a", false)]);
}

#[test]
fn a_change_that_is_not_newer_gets_a_higher_version_once_and_only_for_sdks() {
    let mut writer = writer();
    let load = |writer: &mut Writer, world: &World, wall_ms| {
        load_text(writer, &dump_json(std::slice::from_ref(world)), Moment { steady_ms: 0, wall_ms })
    };
    load(&mut writer, &small(), 0);
    let from = writer.current().sequence();
    let mut after = small();
    after.flags[0].content = "other".to_owned();
    after.flags[1].content = "other too".to_owned();
    after.flags.push(thing("new", 30, "N"));
    let published = load(&mut writer, &after, 1_000);
    assert_eq!(published.report.not_newer.len(), 2);
    let environment_1 = environment(writer.current(), 1);
    assert_eq!(since(&environment_1, from), ["patch new/", "patch a/", "patch b/"]);
    let full = poll(&environment_1, 0).unwrap();
    let flag = &full["data"]["featureFlags"][0];
    assert_eq!(flag["updatedAt"], format_iso8601(999));
    assert_eq!(flag["variations"][0]["value"], "other");
    assert_eq!(
        full["data"]["featureFlags"][2]["updatedAt"],
        format_iso8601(30),
        "newer than all that was sent"
    );
    let client = client_sync(writer.current(), 1, "x", 0);
    assert_eq!(client["data"]["featureFlags"][0]["timestamp"], 999);

    // The source's JSON is kept, so that the same file is no change, and no backup has a generated version.
    assert!(load(&mut writer, &after, 2_000).change.is_none());
    let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
    assert_eq!(read(&writer.current().backup().to_vec()), read(dump_json(&[after.clone()]).as_bytes()));
    assert_eq!(writer.current().data_version(), 30);
    after.flags[0].content = "third".to_owned();
    load(&mut writer, &after, 2_000);
    let full = poll(&environment(writer.current(), 1), 0).unwrap();
    assert_eq!(full["data"]["featureFlags"][0]["updatedAt"], format_iso8601(2_000));
    // A newer date is kept, if it is newer than all that was sent.
    after.flags[0] = thing("a", 50, "fourth");
    assert!(load(&mut writer, &after, 2_000).report.not_newer.is_empty());
    let full = poll(&environment(writer.current(), 1), 0).unwrap();
    assert_eq!(full["data"]["featureFlags"][0]["updatedAt"], format_iso8601(2_001));
    after.flags[0] = thing("a", 5_000, "fifth");
    load(&mut writer, &after, 2_000);
    let full = poll(&environment(writer.current(), 1), 0).unwrap();
    assert_eq!(full["data"]["featureFlags"][0]["updatedAt"], format_iso8601(5_000));
}

#[test]
fn an_upsert_is_applied_unless_it_is_older_or_the_same() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    let from = writer.current().sequence();
    assert!(upsert(&mut writer, 1, &[thing("a", 10, "A")], &[thing("s", 25, "u")]).change.is_none());
    assert!(upsert(&mut writer, 1, &[thing("a", 9, "older")], &[]).change.is_none());
    let published = upsert(&mut writer, 1, &[thing("a", 40, "new"), thing("n", 50, "N")], &[]);
    assert_eq!((published.report.added, published.report.changed), (1, 1));
    let environment_1 = environment(writer.current(), 1);
    assert_eq!(since(&environment_1, from), ["patch a/", "patch n/"]);
    assert_eq!(sync(&environment_1, 0, PatchForm::Batch), ["full a b n/s"]);
    // The new flag is found again, and one of the same version with other content is applied.
    let from = writer.current().sequence();
    upsert(&mut writer, 1, &[thing("n", 50, "other")], &[]);
    assert_eq!(since(&environment(writer.current(), 1), from), ["patch n/"]);
}

#[test]
fn of_several_upserts_of_one_flag_the_newest_is_applied() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    let from = writer.current().sequence();
    let raw = |version_ms| flag_json(small().id(), &thing("a", version_ms, "A"));
    let change = with_flag(&raw(50), |newest| {
        with_flag(&raw(40), |older| writer.upsert(&[newest, older.clone(), older], &[], at(0)).change)
    });
    assert_eq!(change.unwrap().unwrap().unwrap().snapshot.data_version(), 50);
    assert_eq!(since(&environment(writer.current(), 1), from), ["patch a/"]);
}

#[test]
fn an_upserted_segment_reaches_the_flags_of_every_environment() {
    let mut writer = writer();
    let other = world(2, vec![thing("c", 5, "C").using(&["s"])], vec![]);
    load(&mut writer, &[small(), other]);
    let from = writer.current().sequence();
    let published = upsert(&mut writer, 1, &[], &[thing("s", 80, "other")]).change.unwrap();
    assert_eq!(published.environments, [slot(&published.snapshot, 1), slot(&published.snapshot, 2)]);
    for number in [1, 2] {
        assert_eq!(
            brief(&client_since(&published.snapshot, number, "u", from).unwrap()),
            format!("patch key-{}", ["b", "c"][number as usize - 1])
        );
    }
    assert_eq!(since(&environment(&published.snapshot, 1), from), ["patch /s"]);
    assert!(since(&environment(&published.snapshot, 2), from).is_empty());
}

#[test]
fn an_upsert_of_an_unknown_environment_is_kept_without_serving_it() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    upsert(&mut writer, 7, &[thing("z", 3, "Z")], &[]);
    assert_eq!(writer.current().serves(), "project:env-1");
    assert_eq!(environment(writer.current(), 7).flag_count(), 1);
}

#[test]
fn a_backup_is_a_dump_that_makes_the_same_snapshot() {
    let mut writer_1 = writer();
    let many: Vec<_> = (0..300).map(|at| thing(&format!("f{at}"), at, "x").using(&["s"])).collect();
    let mut secretless = world(3, vec![thing("z", 1, "Z")], vec![]);
    secretless.secrets.clear();
    load(&mut writer_1, &[world(2, many, vec![thing("s", 4, "u")]), small(), secretless]);
    let backup = String::from_utf8(writer_1.current().backup().to_vec()).unwrap();
    let mut writer_2 = writer();
    load_text(&mut writer_2, &backup, at(0));
    assert_eq!(String::from_utf8(writer_2.current().backup().to_vec()).unwrap(), backup);
    assert_eq!(writer_2.current().serves(), writer_1.current().serves());
    for number in [1, 2] {
        let (one, two) = (environment(writer_1.current(), number), environment(writer_2.current(), number));
        assert_eq!(poll(&one, 0), poll(&two, 0));
        assert_eq!(
            client_sync(writer_1.current(), number, "u", 0),
            client_sync(writer_2.current(), number, "u", 0)
        );
    }
    assert!(load_text(&mut writer_2, &backup, at(0)).change.is_none());
}

#[test]
fn old_snapshots_are_freed_by_the_writer_once_nobody_reads_them() {
    let mut writer = writer();
    let held = Arc::clone(&change(&mut writer, &[small()]).snapshot);
    let mut after = small();
    for version_ms in 100..110 {
        after.flags[0].version_ms = version_ms;
        drop(change(&mut writer, &[after.clone()]));
    }
    assert_eq!(writer.sweep(), 1);
    drop(held);
    assert_eq!(writer.sweep(), 0);
}
