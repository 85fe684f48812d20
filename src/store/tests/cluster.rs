//! Data of other agents of the cluster: merged by stamps, with the versions that they have sent it with.

use super::support::*;
use crate::model::dataset::EnvironmentDef;
use crate::model::parse::DatasetText;
use crate::model::secret::SecretKind;
use crate::model::stamp::Edition;
use crate::store::PatchForm::OnePerItem;
use crate::store::{
    ChangedSinceRequest, ClusterData, ClusterList, ItemKind, Moment, Published, Removal, SecretState,
    TombstoneState, Writer, WriterOptions,
};

/// Merges flags of the first environment, sent by another agent with these versions.
fn merge(writer: &mut Writer, flags: &[(Thing, i64)]) -> Published {
    let things: Vec<_> = flags.iter().map(|(flag, _)| flag.clone()).collect();
    let patch = World { secrets: vec![], ..world(1, things, vec![]) };
    let mut text = DatasetText::new(dump_json(&[patch]).into_bytes());
    let mut dataset = text.parse().unwrap();
    let def = &mut dataset.environments[0];
    for (def, (_, sent_ms)) in def.flags.iter_mut().zip(flags) {
        (def.sent_ms, def.client_sent_ms) = (*sent_ms, *sent_ms);
    }
    writer.merge_cluster(&ClusterData { flags: &def.flags, ..ClusterData::default() }, at(0))
}

fn list(worlds: &[World], use_list: impl FnOnce(ClusterList<'_>)) {
    let mut text = DatasetText::new(dump_json(worlds).into_bytes());
    let dataset = text.parse().unwrap();
    let environments = dataset.environments.iter();
    let environments = environments
        .map(|one| EnvironmentDef {
            id: one.id,
            secrets: one.secrets.clone(),
            flags: Vec::new(),
            segments: Vec::new(),
        })
        .collect();
    use_list(ClusterList {
        environments,
        is_complete: true,
        leaving_secrets: Vec::new(),
        leaving: Vec::new(),
    });
}

/// What went wrong: an SDK that had an item with the version of one agent asked the other one, which had sent it with a lower
/// version, and missed the change between the two.
#[test]
fn an_sdk_that_changes_to_another_agent_misses_no_change_between_their_versions() {
    let mut writer = writer();
    load(&mut writer, &[world(1, vec![thing("a", 10, "A"), thing("b", 20, "B")], vec![])]);
    let sequence = writer.current().sequence();
    // The other agent got `a` late, and had to send it with the version 25.
    let published = merge(&mut writer, &[(thing("a", 10, "A"), 25)]);
    let change = published.change.unwrap();
    assert!(change.environments.is_empty() && !change.secrets_changed, "connected SDKs have its content");
    let home = environment(writer.current(), 1);
    assert_eq!(since(&home, sequence), Vec::<String>::new());
    assert_eq!(sync(&home, 20, OnePerItem), ["patch a/"]);
    assert_eq!(sync(&home, 25, OnePerItem), ["patch /"]);
    // An SDK of the other agent has 25 and must get this one, whose own date is lower.
    upsert_at(&mut writer, 1, &[thing("c", 23, "C")], &[], 30);
    assert_eq!(sync(&environment(writer.current(), 1), 25, OnePerItem), ["patch c/"]);
    // Once more is no change.
    assert!(merge(&mut writer, &[(thing("a", 10, "A"), 25)]).change.is_none());
    assert!(merge(&mut writer, &[(thing("a", 10, "A"), 7)]).change.is_none());
}

#[test]
fn a_new_item_goes_out_with_the_version_that_the_other_agent_has_sent() {
    let mut writer = writer();
    load(&mut writer, &[world(1, vec![thing("a", 10, "A")], vec![])]);
    merge(&mut writer, &[(thing("late", 5, "L"), 40)]).change.unwrap();
    let home = environment(writer.current(), 1);
    assert_eq!(sync(&home, 39, OnePerItem), ["patch late/"]);
    assert_eq!(sync(&home, 40, OnePerItem), ["patch /"]);
}

#[test]
fn a_full_sync_does_not_undo_what_another_agent_changed_since_it_was_asked_for() {
    let mut writer = writer();
    let old = vec![thing("changed", 10, "old"), thing("gone", 10, "G"), thing("stays", 10, "S")];
    load(&mut writer, &[world(1, old.clone(), vec![])]);
    let id = world(1, vec![], vec![]).id();
    merge(&mut writer, &[(thing("changed", 20, "new"), 20), (thing("added", 15, "N"), 15)]);
    let gone = Removal { env_id: id, kind: ItemKind::Flag, id: "gone", updated_at_ms: 10 };
    writer.merge_cluster(&ClusterData { removals: &[gone], ..ClusterData::default() }, at(0));
    let mut meanwhile = ChangedSinceRequest::new();
    for flag in ["changed", "added", "gone"] {
        meanwhile.add(id, ItemKind::Flag, flag);
    }
    let mut text = DatasetText::new(dump_json(&[world(1, old.clone(), vec![])]).into_bytes());
    let published = writer.replace_except(&text.parse().unwrap(), &meanwhile, at(0));
    assert!(!published.report.defies_stamps);
    let held = |writer: &Writer| sync(&environment(writer.current(), 1), 0, OnePerItem);
    assert_eq!(held(&writer), ["full changed stays added/"]);
    // The next one was asked for later, so the server itself went back.
    let mut text = DatasetText::new(dump_json(&[world(1, old, vec![])]).into_bytes());
    let published = writer.replace_except(&text.parse().unwrap(), &ChangedSinceRequest::new(), at(0));
    assert!(published.report.defies_stamps);
    assert_eq!(held(&writer), ["full changed gone stays/"]);
}

#[test]
fn a_list_brings_environments_and_secrets_and_begins_graces() {
    let mut writer = writer();
    let worlds = [world(1, vec![thing("a", 1, "A")], vec![]), world(2, vec![], vec![])];
    list(&worlds, |list| {
        writer.merge_cluster(&ClusterData { list: Some(list), ..ClusterData::default() }, at(0));
    });
    assert!(writer.current().loaded());
    assert_eq!(writer.current().secret_count(), 4);
    assert_eq!(environment(writer.current(), 1).flag_count(), 0, "items come by themselves");
    list(&worlds[..1], |list| {
        writer.merge_cluster(&ClusterData { list: Some(list), ..ClusterData::default() }, at(10));
    });
    assert!(writer.current().secret(&secret(2, 2)).is_some(), "in its grace period");
    assert_eq!(writer.next_expiry_ms(), Some(110));
    writer.expire(at(110)).unwrap();
    assert!(writer.current().secret(&secret(2, 2)).is_none());
}

/// What went wrong: an agent that could not reach its server served a revoked secret for ever, although another agent had seen
/// confirmed that it was removed.
#[test]
fn a_removal_that_another_agent_has_seen_confirmed_needs_no_full_sync() {
    let options = WriterOptions { revocation_grace_ms: 100, follows: true, ..WriterOptions::default() };
    let mut writer = Writer::new(options);
    let worlds = [world(1, vec![], vec![]), world(2, vec![], vec![])];
    let leaving = [(SecretKind::Server, 2), (SecretKind::Client, 102)].map(|(kind, number)| SecretState {
        value: secret(number, 2),
        kind,
        environment: worlds[1].id(),
        grace_ms: Some(50),
        former: None,
    });
    // Whether the second environment and its secrets are served, and when to look again.
    let mut take = |worlds: &[World], leaves: bool, now_ms| {
        list(worlds, |mut list| {
            if leaves {
                list.leaving_secrets = leaving.to_vec();
                list.leaving = vec![(leaving[0].environment, 50)];
            }
            writer.merge_cluster(&ClusterData { list: Some(list), ..ClusterData::default() }, at(now_ms));
        });
        writer.await_full_sync(now_ms, 1);
        writer.expire(at(now_ms));
        let served = leaving.iter().filter(|one| writer.current().secret(&one.value).is_some()).count();
        (served, writer.current().environments.iter().flatten().count(), writer.next_expiry_ms())
    };
    assert_eq!(take(&worlds, false, 0), (2, 2, None));
    assert_eq!(take(&worlds[..1], true, 10), (2, 2, Some(110)));
    assert_eq!(take(&worlds[..1], true, 200), (2, 2, None), "nobody has seen it confirmed");
    assert_eq!(take(&worlds[..1], false, 201), (0, 1, None));
    // Of one that this agent has heard of just now, its own time counts.
    assert_eq!(take(&worlds, false, 300), (2, 2, None));
    assert_eq!(take(&worlds[..1], false, 310), (2, 2, Some(410)));
    assert_eq!(take(&worlds[..1], false, 410), (0, 1, None));
}

#[test]
fn a_higher_edition_replaces_everything_even_newer_items_and_removals() {
    let mut writer = writer();
    load(&mut writer, &[world(1, vec![thing("a", 50, "new"), thing("b", 50, "B")], vec![])]);
    let removed =
        Removal { env_id: world(1, vec![], vec![]).id(), kind: ItemKind::Flag, id: "c", updated_at_ms: 50 };
    writer.merge(&[], &[], &[removed], at(0));
    let worlds = [world(1, vec![thing("a", 10, "old"), thing("c", 10, "C")], vec![])];
    let tombstone =
        TombstoneState { kind: ItemKind::Flag, id: "d".into(), updated_at_ms: 7, removed_at_ms: 3 };
    list(&worlds, |list| {
        let mut text = DatasetText::new(dump_json(&worlds).into_bytes());
        let tombstones = [(removed.env_id, tombstone.clone())];
        writer.history_mut().edition = Edition::after(0, 5, "other");
        writer.adopt(&text.parse().unwrap(), &list, &tombstones, at(0));
    });
    assert_eq!(sync(&environment(writer.current(), 1), 0, OnePerItem), ["full a c/"]);
    let state = writer.state(at(0));
    assert_eq!(state.environments[0].contents.as_ref().unwrap().tombstones, [tombstone]);
    assert_eq!(state.head.edition.instance, "other");
    // `b`, which is in no removal of this edition, may come with an old date.
    merge(&mut writer, &[(thing("b", 1, "B"), 1), (thing("d", 7, "D"), 7)]);
    assert_eq!(sync(&environment(writer.current(), 1), 0, OnePerItem), ["full a c b/"]);
}

/// What went wrong: items of an environment that no list has stayed for ever.
#[test]
fn items_of_an_environment_that_is_never_listed_go_after_the_grace_period() {
    let mut writer = writer();
    load(&mut writer, &[world(2, vec![], vec![])]);
    merge(&mut writer, &[(thing("a", 1, "A"), 1)]);
    let all = |writer: &Writer| writer.current().environments.iter().flatten().count();
    assert_eq!(all(&writer), 2);
    writer.expire(at(100)).unwrap();
    assert_eq!(all(&writer), 1);
    // Listed in time, it stays with what came before its list.
    merge(&mut writer, &[(thing("a", 1, "A"), 1)]);
    list(&[world(2, vec![], vec![]), world(1, vec![], vec![])], |list| {
        writer.merge_cluster(&ClusterData { list: Some(list), ..ClusterData::default() }, at(0));
    });
    assert!(writer.expire(at(1_000)).is_none());
    assert_eq!(environment(writer.current(), 1).flag_count(), 1);
}

/// What went wrong: an SDK had a flag of another agent, which was removed while it was away. It came to an agent that had
/// started since, and was not told.
#[test]
fn a_removal_of_an_item_that_this_agent_never_had_is_told_to_sdks_of_other_agents() {
    let worlds = [world(1, vec![thing("a", 10, "A")], vec![])];
    let told = |writer: &Writer| {
        let home = environment(writer.current(), 1);
        let highest_ms = home.highest_version_ms;
        (sync(&home, 20, OnePerItem), sync(&home, highest_ms, OnePerItem), highest_ms > 20)
    };
    let expected = (vec!["full a/".to_owned()], vec!["patch /".to_owned()], true);
    let now = Moment { steady_ms: 0, wall_ms: 1_000 };
    let mut writer = writer();
    load(&mut writer, &worlds);
    let sequence = writer.current().sequence();
    let gone = Removal { env_id: worlds[0].id(), kind: ItemKind::Flag, id: "gone", updated_at_ms: 20 };
    let data = ClusterData { removals: &[gone], ..ClusterData::default() };
    assert!(writer.merge_cluster(&data, now).change.unwrap().environments.is_empty());
    assert_eq!(since(&environment(writer.current(), 1), sequence), Vec::<String>::new());
    assert_eq!(told(&writer), expected);
    assert!(writer.merge_cluster(&data, now).change.is_none());
    // In a higher edition.
    let state =
        TombstoneState { kind: ItemKind::Flag, id: "gone".into(), updated_at_ms: 20, removed_at_ms: 3 };
    let mut writer = super::support::writer();
    for edition in 1..3 {
        list(&worlds, |list| {
            let mut text = DatasetText::new(dump_json(&worlds).into_bytes());
            writer.history_mut().edition = Edition::after(edition, 5, "other");
            writer.adopt(&text.parse().unwrap(), &list, &[(worlds[0].id(), state.clone())], now);
        });
        assert_eq!(told(&writer), (expected.0.clone(), expected.1.clone(), true));
        assert_eq!(environment(writer.current(), 1).highest_version_ms, 1_000, "raised once");
    }
}

/// What went wrong: a list that another agent had from a full sync which may lack secrets revoked those of an agent that knew
/// better.
#[test]
fn a_list_that_may_lack_something_confirms_no_removal() {
    let options = WriterOptions { revocation_grace_ms: 100, follows: true, ..WriterOptions::default() };
    let mut writer = Writer::new(options);
    let worlds = [world(1, vec![], vec![]), world(2, vec![], vec![])];
    for (now_ms, count, is_complete) in [(0, 2, true), (10, 1, false)] {
        list(&worlds[..count], |list| {
            let list = Some(ClusterList { is_complete, ..list });
            writer.merge_cluster(&ClusterData { list, ..ClusterData::default() }, at(now_ms));
        });
    }
    assert_eq!(writer.await_full_sync(500, 1).all, 3, "two secrets and their environment");
    assert!(writer.expire(at(500)).is_none());
    assert!(writer.current().secret(&secret(2, 2)).is_some());
}
