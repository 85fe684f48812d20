//! What client SDKs get, rule by rule.

use serde_json::Value;

use super::support::*;
use crate::store::Writer;

/// Flags a, b, c of versions 10, 20, 30, of which b uses segment s of version 25 with user `u` in it.
fn small() -> World {
    let flags = vec![thing("a", 10, "A"), thing("b", 20, "B").using(&["s"]), thing("c", 30, "C")];
    world(1, flags, vec![thing("s", 25, "u")])
}

fn values(message: &Value) -> String {
    let data = &message["data"];
    let flags = data["featureFlags"].as_array().unwrap().iter();
    let each = flags
        .map(|flag| format!(" {}={}", flag["id"].as_str().unwrap(), flag["variation"].as_str().unwrap()));
    format!("{}{}", data["eventType"].as_str().unwrap(), each.collect::<String>()).replace("key-", "")
}

fn pushed(writer: &mut Writer, before: &[World], after: &[World]) -> Option<String> {
    let from = change(writer, before).snapshot.sequence();
    change(writer, after);
    client_since(writer.current(), 1, "u", from).map(|message| values(&message))
}

#[test]
fn a_sync_holds_the_users_variations_and_names_the_user() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    let message = client_sync(writer.current(), 1, "u", 0);
    assert_eq!(message["messageType"], "data-sync");
    assert_eq!(message["data"]["userKeyId"], "u");
    assert_eq!(values(&message), "full a=A b=in c=C");
    let odd = "quote\" \u{1} 客户";
    let message = client_sync(writer.current(), 1, odd, 0);
    assert_eq!(message["data"]["userKeyId"], odd);
    assert_eq!(values(&message), "full a=A b=B c=C");
}

#[test]
fn a_sync_by_timestamp_counts_the_segments_that_a_flag_uses() {
    let mut writer = writer();
    load(&mut writer, &[small()]);
    let at = |timestamp| values(&client_sync(writer.current(), 1, "u", timestamp));
    assert_eq!(at(-1), "patch a=A b=in c=C");
    assert_eq!(at(10), "patch b=in c=C");
    assert_eq!(at(24), "patch b=in c=C");
    assert_eq!(at(25), "patch c=C");
    assert_eq!(at(30), "patch");
}

#[test]
fn a_changed_flag_is_pushed_alone() {
    let mut after = small();
    after.flags[0] = thing("a", 40, "A2");
    assert_eq!(pushed(&mut writer(), &[small()], &[after]).unwrap(), "patch a=A2");
}

#[test]
fn a_changed_segment_pushes_the_flags_that_use_it() {
    let mut after = small();
    after.segments[0] = thing("s", 50, "other");
    let mut writer = writer();
    assert_eq!(pushed(&mut writer, &[small()], &[after]).unwrap(), "patch b=B");
    // The flag is sent with a newer timestamp, so that an SDK which reconnects gets it, and gets it once.
    let answer = client_sync(writer.current(), 1, "u", 30);
    assert_eq!(values(&answer), "patch b=B");
    assert_eq!(answer["data"]["featureFlags"][0]["timestamp"], 50);
    assert_eq!(values(&client_sync(writer.current(), 1, "u", 50)), "patch");
}

#[test]
fn a_poll_that_is_up_to_date_is_empty_though_a_segment_is_newer_than_its_flags() {
    let mut newer = small();
    newer.segments[0].version_ms = 99;
    let mut writer = writer();
    load(&mut writer, &[newer]);
    let full = client_sync(writer.current(), 1, "u", 0);
    let flags = full["data"]["featureFlags"].as_array().unwrap();
    let cursor = flags.iter().map(|flag| flag["timestamp"].as_i64().unwrap()).max().unwrap();
    assert_eq!(cursor, 99);
    assert_eq!(values(&client_sync(writer.current(), 1, "u", cursor)), "patch");
}

#[test]
fn a_segment_that_no_flag_uses_pushes_nothing_to_clients() {
    let mut after = small();
    after.segments.push(thing("unused", 99, "u"));
    let mut writer = writer();
    let from = change(&mut writer, &[small()]).snapshot.sequence();
    change(&mut writer, &[after]);
    assert_eq!(client_since(writer.current(), 1, "u", from), None);
    let environment = environment(writer.current(), 1);
    assert!(environment.server_changed_since(from) && !environment.client_changed_since(from));
}

#[test]
fn a_removed_flag_is_pushed_as_a_full_and_reconnects_from_before_get_one() {
    let mut after = small();
    after.flags.remove(0);
    let mut writer = writer();
    assert_eq!(pushed(&mut writer, &[small()], &[after]).unwrap(), "full b=in c=C");
    assert_eq!(values(&client_sync(writer.current(), 1, "u", 30)), "full b=in c=C");
    assert_eq!(values(&client_sync(writer.current(), 1, "u", 31)), "patch");
}

#[test]
fn a_flag_replaced_by_an_older_state_is_sent_as_newer() {
    for version_ms in [19, 20] {
        let mut after = small();
        after.flags[1] = thing("b", version_ms, "B2");
        let mut writer = writer();
        assert_eq!(pushed(&mut writer, &[small()], &[after]).unwrap(), "patch b=B2");
        assert_eq!(values(&client_sync(writer.current(), 1, "u", 30)), "patch b=B2");
        assert_eq!(values(&client_sync(writer.current(), 1, "u", 31)), "patch");
    }
}

#[test]
fn an_older_or_removed_segment_changes_the_flags_that_use_it() {
    let mut older = small();
    older.segments[0] = thing("s", 24, "other");
    let mut removed = small();
    removed.segments.clear();
    for after in [older, removed] {
        let mut writer = writer();
        assert_eq!(pushed(&mut writer, &[small()], &[after]).unwrap(), "patch b=B");
        let answer = client_sync(writer.current(), 1, "u", 30);
        assert_eq!(values(&answer), "patch b=B");
        let timestamp = answer["data"]["featureFlags"][0]["timestamp"].as_i64().unwrap();
        assert_eq!(values(&client_sync(writer.current(), 1, "u", timestamp)), "patch");
    }
}

#[test]
fn a_segment_that_appears_pushes_its_flags_and_reaches_reconnects_even_if_it_is_old() {
    let mut before = small();
    before.segments.clear();
    let mut writer = writer();
    assert_eq!(pushed(&mut writer, &[before], &[small()]).unwrap(), "patch b=in");
    assert_eq!(values(&client_sync(writer.current(), 1, "u", 30)), "patch b=in");
}

#[test]
fn a_removed_segment_that_no_flag_uses_is_a_full_for_servers_alone() {
    let mut before = small();
    before.segments.push(thing("unused", 99, "u"));
    let mut writer = writer();
    let from = change(&mut writer, &[before]).snapshot.sequence();
    change(&mut writer, &[small()]);
    assert_eq!(client_since(writer.current(), 1, "u", from), None);
    assert_eq!(values(&client_sync(writer.current(), 1, "u", 30)), "patch");
    assert_eq!(since(&environment(writer.current(), 1), from), ["full a b c/s"]);
}

#[test]
fn the_newest_copy_of_a_shared_segment_is_in_effect_everywhere() {
    let newer = || world(2, vec![], vec![thing("s", 70, "other")]);
    let mut writer = writer();
    let from = change(&mut writer, &[small()]).snapshot.sequence();
    assert_eq!(values(&client_sync(writer.current(), 1, "u", 0)), "full a=A b=in c=C");
    let second = change(&mut writer, &[small(), newer()]);
    assert_eq!(second.environments, [slot(&second.snapshot, 1), slot(&second.snapshot, 2)]);
    assert_eq!(
        client_since(&second.snapshot, 1, "u", from).map(|message| values(&message)).unwrap(),
        "patch b=B"
    );
    // Its own items did not change, so that its server SDKs get nothing.
    assert!(since(&environment(&second.snapshot, 1), from).is_empty());
    // A copy that is older than the one in effect changes nothing for clients.
    let mut older = small();
    older.segments[0] = thing("s", 60, "u");
    let from = second.snapshot.sequence();
    let third = change(&mut writer, &[older, newer()]);
    assert_eq!(client_since(&third.snapshot, 1, "u", from), None);
}

#[test]
fn of_equally_new_copies_the_first_environments_is_in_effect() {
    let mut writer = writer();
    let second = world(2, vec![thing("d", 5, "D").using(&["s"])], vec![thing("s", 25, "other")]);
    load(&mut writer, &[small(), second.clone()]);
    assert_eq!(values(&client_sync(writer.current(), 2, "u", 0)), "full d=in");
    load(&mut writer, &[second, small()]);
    assert_eq!(values(&client_sync(writer.current(), 2, "u", 0)), "full d=D");
}
