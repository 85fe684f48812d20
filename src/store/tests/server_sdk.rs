//! What server SDKs get, rule by rule.

use serde_json::Value;

use super::support::*;
use crate::payload::Payload;
use crate::store::PatchForm::{Batch, OnePerItem};
use crate::store::{Environment, Poll, Writer};

fn flags(range: std::ops::Range<i64>) -> Vec<Thing> {
    range.map(|at| thing(&format!("f{at}"), at * 10, "x")).collect()
}

/// Flags f1, f2, f3 of versions 10, 20, 30 and segments s1, s2 of 15, 25.
fn small() -> World {
    world(1, flags(1..4), vec![thing("s1", 15, "u"), thing("s2", 25, "u")])
}

#[test]
fn timestamp_zero_gets_a_full_in_store_order() {
    let mut writer = writer();
    let mut reversed = small();
    reversed.flags.reverse();
    let change = change(&mut writer, &[reversed]);
    let environment = environment(&change.snapshot, 1);
    assert_eq!(sync(&environment, 0, Batch), ["full f3 f2 f1/s1 s2"]);
    assert_eq!(sync(&environment, 0, OnePerItem), ["full f3 f2 f1/s1 s2"]);
}

#[test]
fn a_positive_timestamp_gets_what_is_strictly_newer_in_store_order() {
    let mut writer = writer();
    let mut reversed = small();
    reversed.flags.reverse();
    let change = change(&mut writer, &[reversed]);
    let environment = environment(&change.snapshot, 1);
    assert_eq!(sync(&environment, 1, Batch), ["patch f3 f2 f1/s1 s2"]);
    assert_eq!(sync(&environment, 20, Batch), ["patch f3/s2"]);
    assert_eq!(sync(&environment, 29, Batch), ["patch f3/"]);
    assert_eq!(sync(&environment, -7, Batch), ["patch f3 f2 f1/s1 s2"]);
}

#[test]
fn an_empty_patch_is_a_message_on_the_websocket_and_nothing_on_polling() {
    let mut writer = writer();
    let change = change(&mut writer, &[small(), world(2, vec![], vec![])]);
    let environment_1 = environment(&change.snapshot, 1);
    assert_eq!(sync(&environment_1, 30, Batch), ["patch /"]);
    assert_eq!(sync(&environment_1, i64::MAX, OnePerItem), ["patch /"]);
    assert_eq!(poll(&environment_1, 30), None);
    let empty = environment(&change.snapshot, 2);
    assert_eq!(sync(&empty, 0, Batch), ["full /"]);
    assert_eq!(sync(&empty, -1, Batch), ["patch /"]);
    assert_eq!(brief(&poll(&empty, 0).unwrap()), "full /");
    assert_eq!(poll(&empty, -1), None);
}

#[test]
fn polls_get_what_a_sync_gets_without_a_frame() {
    let mut writer = writer();
    let change = change(&mut writer, &[small()]);
    let environment = environment(&change.snapshot, 1);
    for timestamp in [0, -1, 1, 10, 15, 29] {
        let message = poll(&environment, timestamp).unwrap();
        assert_eq!(vec![brief(&message)], sync(&environment, timestamp, Batch), "{timestamp}");
    }
}

#[test]
fn one_item_patches_ascend_over_flags_and_segments() {
    let mut writer = writer();
    let mut reversed = small();
    reversed.flags.reverse();
    let change = change(&mut writer, &[reversed]);
    let environment = environment(&change.snapshot, 1);
    assert_eq!(sync(&environment, 10, OnePerItem), ["patch /s1", "patch f2/", "patch /s2", "patch f3/"]);
}

#[test]
fn one_item_patches_become_a_full_when_items_share_a_millisecond() {
    let mut writer = writer();
    let mut shared = small();
    shared.segments[1].version_ms = 30;
    let change = change(&mut writer, &[shared]);
    let environment = environment(&change.snapshot, 1);
    assert_eq!(sync(&environment, 20, OnePerItem), ["full f1 f2 f3/s1 s2"]);
    assert_eq!(sync(&environment, 20, Batch), ["patch f3/s2"]);
}

#[test]
fn one_item_patches_become_a_full_beyond_sixty_four() {
    let mut writer = writer();
    let change = change(&mut writer, &[world(1, flags(1..100), vec![])]);
    let environment = environment(&change.snapshot, 1);
    assert_eq!(sync(&environment, (99 - 64) * 10, OnePerItem).len(), 64);
    let full = sync(&environment, (99 - 65) * 10, OnePerItem);
    assert_eq!((full.len(), full[0].starts_with("full f1 ")), (1, true));
}

/// Loads `before`, then `after`, and returns what the second pushes.
fn push(writer: &mut Writer, before: &[World], after: &[World]) -> Vec<String> {
    let from = change(writer, before).snapshot.sequence();
    let to = change(writer, after);
    since(&environment(&to.snapshot, before[0].number), from)
}

#[test]
fn a_change_is_pushed_item_by_item_ascending_by_version() {
    let mut after = small();
    after.flags[0].version_ms = 60;
    after.flags.push(thing("f9", 50, "new"));
    after.segments[0].version_ms = 55;
    assert_eq!(push(&mut writer(), &[small()], &[after]), ["patch f9/", "patch /s1", "patch f1/"]);
}

/// The version that an item is sent with.
fn sent_version(environment: &Environment, id: &str) -> i64 {
    let full = poll(environment, 0).unwrap();
    let items = ["featureFlags", "segments"].map(|list| full["data"][list].as_array().unwrap().clone());
    version(items.iter().flatten().find(|item| item["id"] == id).unwrap())
}

#[test]
fn a_late_item_is_sent_with_a_version_higher_than_any_sent_before() {
    let mut after = small();
    after.flags.push(thing("late", 5, "x"));
    let mut writer = writer();
    assert_eq!(push(&mut writer, &[small()], &[after]), ["patch late/"]);
    let environment = environment(writer.current(), 1);
    assert_eq!(sent_version(&environment, "late"), 31);
    for form in [Batch, OnePerItem] {
        assert_eq!(sync(&environment, 30, form), ["patch late/"]);
        assert_eq!(sync(&environment, 31, form), ["patch /"]);
    }
}

#[test]
fn after_a_removal_an_sdk_that_is_up_to_date_gets_nothing_and_any_other_a_full() {
    let mut after = small();
    after.flags.remove(1);
    let mut writer = writer();
    assert_eq!(push(&mut writer, &[small()], &[after]), ["full f1 f3/s1 s2"]);
    let environment = environment(writer.current(), 1);
    // The newest remaining item got a higher version, so that every SDK accepts the full.
    assert_eq!(sent_version(&environment, "f3"), 31);
    for form in [Batch, OnePerItem] {
        assert_eq!(sync(&environment, 30, form), ["full f1 f3/s1 s2"]);
        assert_eq!(sync(&environment, 31, form), ["patch /"]);
    }
    assert_eq!(brief(&poll(&environment, 30).unwrap()), "full f1 f3/s1 s2");
    assert_eq!(poll(&environment, 31), None);
}

#[test]
fn a_removal_together_with_a_newer_change_raises_no_version() {
    let mut after = small();
    after.segments.remove(0);
    after.flags[0].version_ms = 90;
    let mut writer = writer();
    assert_eq!(push(&mut writer, &[small()], &[after]), ["full f1 f2 f3/s2"]);
    let environment = environment(writer.current(), 1);
    assert_eq!((sent_version(&environment, "f1"), sent_version(&environment, "f3")), (90, 30));
    assert_eq!(sync(&environment, 89, Batch), ["full f1 f2 f3/s2"]);
    assert_eq!(sync(&environment, 90, Batch), ["patch /"]);
    assert_eq!(sync(&environment, -1, Batch), ["patch f1 f2 f3/s2"]);
}

#[test]
fn the_removal_of_the_last_item_sends_an_empty_full() {
    let mut writer = writer();
    let before = world(1, flags(1..2), vec![]);
    assert_eq!(push(&mut writer, &[before], &[world(1, vec![], vec![])]), ["full /"]);
    let environment_1 = environment(writer.current(), 1);
    assert_eq!(sync(&environment_1, 10, Batch), ["full /"]);
    // The next item is newer than what any SDK had.
    change(&mut writer, &[world(1, vec![thing("old", 3, "x")], vec![])]);
    assert!(sent_version(&environment(writer.current(), 1), "old") > 10);
}

#[test]
fn an_older_state_or_a_change_at_the_same_version_is_sent_as_newer() {
    for version_ms in [19, 20] {
        let mut after = small();
        after.flags[1] = thing("f2", version_ms, "other");
        let mut writer = writer();
        assert_eq!(push(&mut writer, &[small()], &[after]), ["patch f2/"]);
        let environment = environment(writer.current(), 1);
        assert_eq!(sent_version(&environment, "f2"), 31);
        assert_eq!(sync(&environment, 30, Batch), ["patch f2/"]);
    }
}

#[test]
fn each_of_several_items_of_one_millisecond_gets_a_version_of_its_own() {
    let mut newer = small();
    newer.flags[0].version_ms = 40;
    newer.segments[0].version_ms = 40;
    let mut writer = writer();
    assert_eq!(push(&mut writer, &[small()], &[newer]), ["patch f1/", "patch /s1"]);
    let environment = environment(writer.current(), 1);
    assert_eq!((sent_version(&environment, "f1"), sent_version(&environment, "s1")), (40, 41));
    assert_eq!(sync(&environment, 40, OnePerItem), ["patch /s1"]);
}

#[test]
fn the_next_change_is_higher_than_what_an_sdk_had_from_another_agent() {
    let mut writer = writer();
    let first = change(&mut writer, &[small()]);
    let before = environment(&first.snapshot, 1);
    before.record_requested_version(500, || 1_000);
    // A version in the future is ignored.
    before.record_requested_version(2_000, || 1_000);
    assert_eq!(sync(&before, 500, Batch), ["patch /"]);
    let mut after = small();
    after.flags[0].version_ms = 400;
    change(&mut writer, &[after]);
    let after = environment(writer.current(), 1);
    assert_eq!(sent_version(&after, "f1"), 501);
    assert_eq!(sync(&after, 500, OnePerItem), ["patch f1/"]);
}

#[test]
fn an_environment_that_comes_back_is_sent_with_higher_versions() {
    let mut writer = writer();
    load_at(&mut writer, &[small(), world(2, vec![], vec![])], 0);
    load_at(&mut writer, &[world(2, vec![], vec![])], 0);
    writer.expire(at(1_000)).unwrap();
    let mut older = small();
    older.flags.pop();
    load_at(&mut writer, &[older, world(2, vec![], vec![])], 1_000);
    let environment = environment(writer.current(), 1);
    assert_eq!(sync(&environment, 30, OnePerItem), ["full f1 f2/s1 s2"]);
    assert_eq!(sent_version(&environment, "f2"), 31);
    assert_eq!(sync(&environment, 31, OnePerItem), ["patch /"]);
}

#[test]
fn no_sdk_is_sent_more_than_sixty_four_messages_in_a_row() {
    let mut writer = writer();
    let mut now = world(1, flags(1..401), vec![]);
    let from = change(&mut writer, &[now.clone()]).snapshot.sequence();
    // Beyond a hundred, the Go SDK's queue overflows, and it loses flags permanently.
    for (round, many) in [40, 24, 1].into_iter().enumerate() {
        now.flags[..many].iter_mut().for_each(|flag| flag.version_ms += 10_000);
        change(&mut writer, &[now.clone()]);
        let environment = environment(writer.current(), 1);
        let behind = since_as(&environment, from, OnePerItem);
        assert_eq!(behind.len(), [40, 64, 1][round]);
        assert_eq!(since_as(&environment, from, Batch).len(), [40, 64, 65][round]);
    }
    let from = writer.current().sequence();
    now.flags[..65].iter_mut().for_each(|flag| flag.version_ms += 50_000);
    change(&mut writer, &[now]);
    let environment = environment(writer.current(), 1);
    assert_eq!(since_as(&environment, from, OnePerItem).len(), 1);
    assert_eq!(since_as(&environment, from, Batch).len(), 65);
}

#[test]
fn most_of_a_large_environment_is_pushed_as_a_full_that_is_newer() {
    let before = world(1, flags(1..101), vec![]);
    let mut after = before.clone();
    after.flags[..64].iter_mut().for_each(|flag| flag.version_ms += 2_000);
    let mut writer = writer();
    assert_eq!(push(&mut writer, std::slice::from_ref(&before), std::slice::from_ref(&after)).len(), 64);
    after.flags[..65].iter_mut().for_each(|flag| flag.version_ms += 5_000);
    let from = writer.current().sequence();
    let to = change(&mut writer, &[after]);
    assert_eq!(since(&environment(&to.snapshot, 1), from).len(), 1);
}

#[test]
fn nothing_is_pushed_to_sdks_that_are_up_to_date_or_in_unchanged_environments() {
    let mut writer = writer();
    let other = world(2, flags(1..3), vec![]);
    let first = change(&mut writer, &[small(), other.clone()]);
    let mut after = small();
    after.flags[0].version_ms = 60;
    let second = change(&mut writer, &[after.clone(), other.clone()]);
    assert_eq!(second.environments, [slot(&second.snapshot, 1)]);
    let from = first.snapshot.sequence();
    assert!(since(&environment(&second.snapshot, 2), from).is_empty());
    assert!(since(&environment(&second.snapshot, 1), second.snapshot.sequence()).is_empty());
    assert!(load(&mut writer, &[after, other]).change.is_none());
}

#[test]
fn several_changes_are_pushed_one_after_the_other() {
    let mut writer = writer();
    let mut now = small();
    let from = change(&mut writer, &[now.clone()]).snapshot.sequence();
    for version_ms in [100, 110, 120] {
        now.flags[0].version_ms = version_ms;
        change(&mut writer, &[now.clone()]);
    }
    let environment = environment(writer.current(), 1);
    let mut out = Vec::new();
    environment.server_since(from, Batch, &mut out);
    assert_eq!(out.len(), 3);
    assert!(out.iter().all(|payload| matches!(payload, Payload::Shared(_))));
    assert_eq!(since(&environment, from), ["patch f1/"; 3]);
    assert_eq!(since(&environment, from + 1), ["patch f1/"; 2]);
}

/// Seventy changes to f1, so that the ring has dropped the first of them.
fn many_changes(writer: &mut Writer, mut now: World) -> std::sync::Arc<Environment> {
    for version_ms in 1_001..1_071 {
        now.flags[0].version_ms = version_ms;
        change(writer, &[now.clone()]);
    }
    environment(writer.current(), now.number)
}

#[test]
fn an_sdk_behind_the_ring_gets_a_computed_diff() {
    let mut writer = writer();
    let from = change(&mut writer, &[small()]).snapshot.sequence();
    let mut second = small();
    second.flags[1].version_ms = 900;
    change(&mut writer, &[second.clone()]);
    let environment = many_changes(&mut writer, second);
    assert_eq!(since(&environment, from), ["patch f2/", "patch f1/"]);
    assert_eq!(since(&environment, from + 1), ["patch f1/"]);
}

#[test]
fn an_sdk_behind_the_ring_gets_a_full_if_most_changed_or_something_was_removed() {
    let mut writer = writer();
    let mut now = small();
    let from = change(&mut writer, &[now.clone()]).snapshot.sequence();
    for (at, flag) in now.flags.iter_mut().enumerate() {
        flag.version_ms = 900 + at as i64;
    }
    change(&mut writer, &[now.clone()]);
    let environment_1 = many_changes(&mut writer, now.clone());
    assert_eq!(since(&environment_1, from), ["full f1 f2 f3/s1 s2"]);

    now.segments.remove(1);
    let from = writer.current().sequence();
    now.flags[0].version_ms = 1_070;
    change(&mut writer, &[now.clone()]);
    for version_ms in 2_001..2_071 {
        now.flags[0].version_ms = version_ms;
        change(&mut writer, &[now.clone()]);
    }
    assert_eq!(since(&environment(writer.current(), 1), from), ["full f1 f2 f3/s1"]);
}

#[test]
fn large_environments_share_their_chunks_between_generations() {
    let before = world(1, flags(1..1_000), vec![thing("s", 5, "u")]);
    let mut writer = writer();
    let first = change(&mut writer, std::slice::from_ref(&before));
    let mut out = Vec::new();
    environment(&first.snapshot, 1).server_sync(0, Batch, &mut out);
    let mut after = before.clone();
    after.flags[500].version_ms = 100_000;
    let second = change(&mut writer, &[after.clone()]);
    let same = environment(&first.snapshot, 1)
        .flags
        .chunks()
        .iter()
        .zip(environment(&second.snapshot, 1).flags.chunks())
        .filter(|(old, new)| std::sync::Arc::ptr_eq(old, new))
        .count();
    assert_eq!(same, 7);
    environment(&second.snapshot, 1).server_sync(0, Batch, &mut out);
    assert!(out.iter().all(|payload| matches!(payload, Payload::Parts(_))));
    for (payload, world) in out.iter().zip([before, after]) {
        let message = &messages(std::slice::from_ref(payload))[0];
        let versions: Vec<_> = message["data"]["featureFlags"].as_array().unwrap().to_vec();
        let expected: Vec<Value> = world
            .flags
            .iter()
            .map(|flag| serde_json::from_str(&flag_json(world.id(), flag)).unwrap())
            .collect();
        assert_eq!(versions, expected);
    }
}

#[test]
fn a_compressed_full_is_made_on_demand_and_reads_as_the_plain_one() {
    let mut writer = writer();
    let change = change(&mut writer, &[small()]);
    let environment = environment(&change.snapshot, 1);
    assert!(environment.poll_full_gzip().is_none());
    environment.build_gzip();
    let compressed = environment.poll_full_gzip().unwrap().to_vec();
    let mut plain = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&compressed[..]), &mut plain).unwrap();
    let Poll::Body(body) = environment.server_poll(0) else { panic!("a full is always sent") };
    assert_eq!(plain.as_bytes(), body.to_vec());
}

#[test]
fn an_sdk_from_before_the_environment_existed_gets_a_full() {
    let mut writer = writer();
    let from = change(&mut writer, &[small()]).snapshot.sequence();
    let to = change(&mut writer, &[small(), world(2, vec![], vec![])]);
    assert_eq!(since(&environment(&to.snapshot, 2), from), ["full /"]);
}

/// What went wrong: SDKs that accept a full only if it is newer than all they have ignored the empty one, were then sent
/// patches, and evaluated removed flags for ever.
#[test]
fn an_environment_that_was_emptied_is_filled_again_by_a_full() {
    let mut writer = writer();
    change(&mut writer, &[small()]);
    let from = change(&mut writer, &[world(1, vec![], vec![])]).snapshot.sequence();
    let sent_ms = environment(writer.current(), 1).highest_version_ms;
    let to = change(&mut writer, &[world(1, vec![thing("new", sent_ms + 10, "x")], vec![])]);
    let environment_1 = environment(&to.snapshot, 1);
    assert_eq!(since(&environment_1, from), ["full new/"]);
    assert_eq!(sync(&environment_1, 30, OnePerItem), ["full new/"], "who has what was there before");
    assert_eq!(sync(&environment_1, sent_ms + 10, OnePerItem), ["patch /"]);
    let from = to.snapshot.sequence();
    let more = vec![thing("new", sent_ms + 20, "y")];
    let to = change(&mut writer, &[world(1, more, vec![])]);
    assert_eq!(since(&environment(&to.snapshot, 1), from), ["patch new/"]);
}

/// What went wrong: the patch with the flag's new key left the old one in every SDK for ever.
#[test]
fn a_flag_whose_key_changes_is_sent_in_a_full() {
    let mut writer = writer();
    let world = world(1, flags(1..4), vec![]);
    let before = dump_json(std::slice::from_ref(&world));
    let from = load_text(&mut writer, &before, at(0)).change.unwrap().snapshot.sequence();
    let after = before.replace("key-f2", "renamed");
    let to = load_text(&mut writer, &after, at(0)).change.unwrap();
    let environment = environment(&to.snapshot, 1);
    assert_eq!(since(&environment, from), ["full f1 f2 f3/"]);
    assert_eq!(sync(&environment, 30, OnePerItem), ["full f1 f2 f3/"]);
    let client = client_since(&to.snapshot, 1, "u", from).unwrap();
    assert_eq!(client["data"]["eventType"], "full");
    assert_eq!(sync(&environment, environment.highest_version_ms, OnePerItem), ["patch /"]);
}
