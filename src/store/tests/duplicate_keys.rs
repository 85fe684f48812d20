//! Several flags of one key in an environment, and other items that SDKs do not accept unmodified.

use serde_json::Value;

use super::support::*;
use crate::model::parse::DatasetText;
use crate::store::PatchForm::{Batch, OnePerItem};
use crate::store::{Published, Writer, WriterOptions};

/// A dump of environment 1 with these flags: id, key, version, whether it is archived.
fn dump(flags: &[(&str, &str, i64, bool)]) -> String {
    let things: Vec<_> = flags.iter().map(|(id, _, version_ms, _)| thing(id, *version_ms, id)).collect();
    let mut dump: Value = serde_json::from_str(&dump_json(&[world(1, things, vec![])])).unwrap();
    for (flag, (_, key, _, is_archived)) in
        dump["items"][0]["featureFlags"].as_array_mut().unwrap().iter_mut().zip(flags)
    {
        flag["key"] = (*key).into();
        flag["isArchived"] = (*is_archived).into();
    }
    dump.to_string()
}

fn upsert_text(writer: &mut Writer, dump: &str) -> Published {
    let mut text = DatasetText::new(dump.as_bytes().to_vec());
    let dataset = text.parse().unwrap();
    writer.upsert(&dataset.environments[0].flags, &[], at(0))
}

fn briefs(writer: &Writer) -> [String; 3] {
    let environment = environment(writer.current(), 1);
    [
        sync(&environment, 0, Batch).join(", "),
        brief(&poll(&environment, 0).unwrap()),
        brief(&client_sync(writer.current(), 1, "u", 0)),
    ]
}

#[test]
fn two_flags_of_one_key_make_one_entry_in_every_payload() {
    let mut writer = writer();
    let dump = dump(&[("old", "k", 10, true), ("other", "o", 15, false), ("new", "k", 20, false)]);
    let published = load_text(&mut writer, &dump, at(0));
    assert_eq!(briefs(&writer), ["full other new/", "full other new/", "full o k"]);
    let finding = &published.report.findings[0];
    assert_eq!((published.report.findings.len(), &*finding.path), (1, "project:env-1/k"));
    assert!(finding.message.contains("the id old"), "{}", finding.message);
    let environment = environment(writer.current(), 1);
    assert_eq!(sync(&environment, 5, OnePerItem), ["patch other/", "patch new/"]);
    assert_eq!(sync(&environment, 20, Batch), ["patch /"]);
    // The source's data is kept completely.
    assert_eq!(
        String::from_utf8(writer.current().backup().to_vec()).unwrap().matches("\"key\":\"k\"").count(),
        2
    );
    assert!(load_text(&mut writer, &dump, at(0)).report.findings.is_empty(), "it is named once");
}

#[test]
fn a_flag_created_again_replaces_the_deleted_one() {
    let mut writer = writer();
    load_text(&mut writer, &dump(&[("old", "k", 10, false), ("other", "o", 15, false)]), at(0));
    let from = writer.current().sequence();
    // It is older than what was sent before, and arrives together with the deleted one.
    assert_eq!(upsert_text(&mut writer, &dump(&[("new", "k", 12, false)])).report.findings.len(), 1);
    let environment_1 = environment(writer.current(), 1);
    assert_eq!(since(&environment_1, from), ["patch new/"]);
    assert_eq!(briefs(&writer)[0], "full other new/");
    let sent_ms = version(&poll(&environment_1, 0).unwrap()["data"]["featureFlags"][1]);
    assert_eq!(sent_ms, 16);

    // The next full sync lacks the deleted one: no SDK had it, so no SDK is sent anything.
    let from = writer.current().sequence();
    load_text(&mut writer, &dump(&[("other", "o", 15, false), ("new", "k", 12, false)]), at(0));
    let environment_1 = environment(writer.current(), 1);
    assert!(since(&environment_1, from).is_empty());
    assert_eq!(sync(&environment_1, sent_ms, Batch), ["patch /"]);
}

#[test]
fn another_flag_of_the_key_may_be_served_and_is_then_sent_as_newer() {
    let mut writer = writer();
    load_text(&mut writer, &dump(&[("one", "k", 10, false), ("two", "k", 20, false)]), at(0));
    let from = writer.current().sequence();
    upsert_text(&mut writer, &dump(&[("two", "k", 30, true)]));
    let environment_1 = environment(writer.current(), 1);
    assert_eq!(since(&environment_1, from), ["patch one/"]);
    assert_eq!(briefs(&writer)[0], "full one/");
    let sent_ms = version(&poll(&environment_1, 0).unwrap()["data"]["featureFlags"][0]);
    assert!(sent_ms > 20 && sync(&environment_1, 20, OnePerItem) == ["patch one/"]);

    let from = writer.current().sequence();
    load_text(&mut writer, &dump(&[("two", "k", 30, true)]), at(0));
    let environment_1 = environment(writer.current(), 1);
    assert_eq!(since(&environment_1, from), ["full two/"]);
    assert_eq!(sync(&environment_1, sent_ms, OnePerItem), ["full two/"]);
}

#[test]
fn downstream_agents_get_flags_that_sdks_do_not() {
    let mut writer = writer();
    load_text(&mut writer, &dump(&[("one", "k", 10, false)]), at(0));
    let from = writer.current().sequence();
    upsert_text(&mut writer, &dump(&[("two", "k", 5, false)]));
    assert!(since(&environment(writer.current(), 1), from).is_empty());
    let mut out = Vec::new();
    writer.current().relay_since(&crate::store::Scope::All, from, &mut out).unwrap();
    let ids: Vec<_> = messages(&out).iter().map(brief).collect();
    assert_eq!(ids, ["patch two/"]);
}

#[test]
fn a_pending_change_reaches_relay_agents_but_no_sdk() {
    let mut dump: Value = serde_json::from_str(&dump(&[("a", "a", 10, false)])).unwrap();
    let flag = &mut dump["items"][0]["featureFlags"][0];
    flag["pending"] = serde_json::json!({"version": 99, "value": {"key": "a", "isEnabled": false}});
    flag["committedVersion"] = 3.into();
    flag["insightsEnabled"] = true.into();
    let mut writer = writer();
    let published = load_text(&mut writer, &dump.to_string(), at(0));
    assert!(published.report.findings.is_empty());
    let full = poll(&environment(writer.current(), 1), 0).unwrap();
    let served = &full["data"]["featureFlags"][0];
    assert_eq!((served.get("pending"), &served["committedVersion"]), (None, &Value::from(3)));
    assert_eq!(version(served), 10);
    assert!(String::from_utf8(writer.current().backup().to_vec()).unwrap().contains("pending"));
}

#[test]
fn dates_that_stop_some_sdks_are_served_in_a_format_that_all_accept() {
    for (date, served) in [
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T03:04", "2026-01-02T03:04:00.000Z"),
        ("2026-01-02", "2026-01-02T00:00:00.000Z"),
        ("2026-01-02T03:04:05+02", "2026-01-02T01:04:05.000Z"),
        // Those that all accept stay unmodified.
        ("2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05.123456Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T03:04:05+02:00"),
    ] {
        let mut dump: Value = serde_json::from_str(&dump(&[("a", "a", 10, false)])).unwrap();
        dump["items"][0]["featureFlags"][0]["updatedAt"] = date.into();
        let mut writer = writer();
        load_text(&mut writer, &dump.to_string(), at(0));
        let full = poll(&environment(writer.current(), 1), 0).unwrap();
        assert_eq!(full["data"]["featureFlags"][0]["updatedAt"], served, "{date}");
        assert!(
            String::from_utf8(writer.current().backup().to_vec()).unwrap().contains(&format!("\"{date}\""))
        );
    }
}

/// What went wrong: of two equally new ones the last in the order was served, and a downstream agent has them in another
/// order.
#[test]
fn which_of_equally_new_flags_is_served_does_not_depend_on_their_order() {
    for order in [["one", "two"], ["two", "one"]] {
        let mut writer = writer();
        load_text(&mut writer, &dump(&order.map(|id| (id, "k", 10, false))), at(0));
        assert_eq!(briefs(&writer)[0], "full two/");
    }
}

#[test]
fn which_of_two_flags_is_served_survives_a_restart() {
    let mut writer = writer();
    load_text(&mut writer, &dump(&[("old", "k", 10, false), ("new", "k", 20, false)]), at(0));
    let options = WriterOptions { revocation_grace_ms: 100, ..WriterOptions::default() };
    let mut restored = Writer::restore(options, writer.state(at(0)), at(0)).unwrap();
    assert_eq!(briefs(&restored), ["full new/", "full new/", "full k"]);
    for writer in [&mut writer, &mut restored] {
        let from = writer.current().sequence();
        load_text(writer, &dump(&[("old", "k", 10, false), ("new", "other", 20, false)]), at(0));
        assert_eq!(since(&environment(writer.current(), 1), from), ["full old new/"]);
    }
    assert_eq!(restored.state(at(0)), writer.state(at(0)));
}
