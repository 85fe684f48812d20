//! Changes of data that are pushed to connected SDKs, and secrets that are added and removed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{
    Dataset, Environment, Kind, START_MS, boolean_flag, everybody, guid_of, item_version_ms, rule, segment,
    segment_condition, serve, touch, user,
};
use common::ws::Stream;
use common::{SOON, wait_until};
use serde_json::{Value, json};

/// Two flags, one of which uses the segment.
fn environment(number: u8) -> Environment {
    let mut guarded = boolean_flag("guarded");
    let people = guid_of("people");
    guarded["rules"] = json!([rule("people", vec![segment_condition(&[&people], false)], everybody("v1"))]);
    Environment::new(number).flag(boolean_flag("plain")).flag(guarded).segment(segment("people"))
}

fn started(data: &Dataset) -> Agent {
    Builder::offline().api_key().data_file(data).env("DataFilePollMilliseconds", "20").start()
}

/// A server SDK that has everything.
fn server(agent: &Agent, environment: &Environment) -> Stream {
    let mut stream = Stream::connect(agent, Kind::Server, &environment.secret(Kind::Server));
    stream.request_data(0);
    assert_eq!(stream.next_data()["eventType"], "full");
    stream
}

/// A client SDK that has everything.
fn client(agent: &Agent, environment: &Environment, key: &str) -> Stream {
    let mut stream = Stream::connect(agent, Kind::Client, &environment.secret(Kind::Client));
    stream.request_data_for(0, &user(key, &[]));
    assert_eq!(stream.next_data()["eventType"], "full");
    stream
}

/// The next message is a patch with one item: its key or, of a segment, its name.
fn next_item(stream: &mut Stream) -> String {
    let data = stream.next_data();
    assert_eq!(data["eventType"], "patch", "{data}");
    let empty = Vec::new();
    let flags = data["featureFlags"].as_array().unwrap();
    let segments = data["segments"].as_array().unwrap_or(&empty);
    let [item] = [&flags[..], &segments[..]].concat().try_into().expect("one item");
    let name = if flags.is_empty() { &item["name"] } else { &item["key"] };
    name.as_str().or(item["id"].as_str()).unwrap().to_owned()
}

/// What went wrong: the Android SDK ignores an item whose variation is null, and kept the old value of an archived flag.
#[test]
fn the_android_sdk_learns_that_a_flag_was_archived() {
    let mut environment = environment(1);
    let agent = started(&Dataset::of([environment.clone()]));
    let secret = environment.secret(Kind::Client);
    let mut android = Stream::connect_as(&agent, Kind::Client, &secret, "FeatBit-Android-SDK/1.0");
    android.request_data_for(0, &user("ann", &[]));
    assert_eq!(android.next_data()["featureFlags"][0]["id"], "plain");
    let mut browser = client(&agent, &environment, "bob");
    let plain = environment.flag_mut("plain");
    plain["isArchived"] = json!(true);
    touch(plain, 1000);
    agent.write_data(&Dataset::of([environment.clone()]));
    let archived = android.next_data()["featureFlags"][0].take();
    assert_eq!((&archived["id"], &archived["matchReason"]), (&json!("plain"), &json!("flag archived")));
    assert_eq!((&archived["variation"], &archived["variationId"]), (&json!(""), &Value::Null));
    assert_eq!(browser.next_data()["featureFlags"][0]["variation"], Value::Null);
    for (field, variation) in
        [("User-Agent", json!("")), ("X-User-Agent", json!("")), ("X-Other", Value::Null)]
    {
        let headers = [("Authorization", secret.as_str()), (field, "FeatBit-Android-SDK/1.0")];
        let archived = wait_until("a poll has it", SOON, || {
            let poll =
                agent.post("/api/public/sdk/client/latest-all", &headers, &user("ann", &[])).expect(200);
            let flag = poll.json()["data"]["featureFlags"][0].take();
            (flag["matchReason"] == "flag archived").then_some(flag)
        });
        assert_eq!(archived["variation"], variation, "{field}");
    }
}

#[test]
fn a_data_file_that_is_rewritten_renamed_or_swapped_by_a_link_is_pushed() {
    let mut data = Dataset::of([environment(1)]);
    let agent = started(&data);
    let mut server = server(&agent, &data.environments[0]);
    let mut client = client(&agent, &data.environments[0], "anna");
    let mut change = |later_ms: i64| {
        let flag = data.environments[0].flag_mut("plain");
        serve(flag, if later_ms % 2 == 0 { "v0" } else { "v1" });
        touch(flag, later_ms);
        data.clone()
    };
    let mut expect = |value: &str| {
        assert_eq!(next_item(&mut server), "plain");
        let data = client.next_data();
        assert_eq!((&data["eventType"], &data["userKeyId"]), (&json!("patch"), &json!("anna")));
        assert_eq!(data["featureFlags"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&data["featureFlags"][0]["id"], &data["featureFlags"][0]["variation"]),
            (&json!("plain"), &json!(value))
        );
    };
    agent.write_data(&change(1));
    expect("false");
    fs::write(agent.data_file(), change(2).to_text()).unwrap();
    expect("true");
    // As Kubernetes mounts a ConfigMap: a link to a folder is swapped.
    let folder = agent.dir().join("mounted");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("data.json"), change(3).to_text()).unwrap();
    let link = agent.dir().join("link");
    symlink(folder.join("data.json"), &link).unwrap();
    fs::rename(&link, agent.data_file()).unwrap();
    expect("false");
    let folder = agent.dir().join("mounted-again");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("data.json"), change(4).to_text()).unwrap();
    symlink(folder.join("data.json"), &link).unwrap();
    fs::rename(&link, agent.data_file()).unwrap();
    expect("true");
}

#[test]
fn several_changes_at_once_are_pushed_one_item_a_patch_in_ascending_order() {
    let mut data = Dataset::of([environment(1)]);
    let agent = started(&data);
    let mut stream = server(&agent, &data.environments[0]);
    touch(data.environments[0].flag_mut("plain"), 30);
    touch(data.environments[0].flag_mut("guarded"), 10);
    touch(data.environments[0].segment_mut(&guid_of("people")), 20);
    let mut new = boolean_flag("new");
    touch(&mut new, 15);
    data.environments[0].add_flag(new);
    agent.bootstrap(&data);
    for expected in ["guarded", "new", "people", "plain"] {
        assert_eq!(next_item(&mut stream), expected);
    }
    stream.expect_nothing_new();
}

#[test]
fn environments_without_a_change_and_identical_data_are_not_pushed() {
    let mut data = Dataset::of([environment(1), environment(2)]);
    let agent = started(&data);
    let mut changed = [server(&agent, &data.environments[0]), client(&agent, &data.environments[0], "anna")];
    let mut unchanged =
        [server(&agent, &data.environments[1]), client(&agent, &data.environments[1], "anna")];
    let mut silent = Stream::connect(&agent, Kind::Server, &data.environments[0].secret(Kind::Server));
    agent.bootstrap(&data);
    changed.iter_mut().chain(&mut unchanged).for_each(Stream::expect_nothing_new);
    touch(data.environments[0].flag_mut("plain"), 5);
    agent.bootstrap(&data);
    for stream in &mut changed {
        assert_eq!(next_item(stream), "plain");
        stream.expect_nothing_new();
    }
    unchanged.iter_mut().for_each(Stream::expect_nothing_new);
    silent.expect_nothing_new();
}

/// The highest version in a payload.
fn version_of(data: &Value) -> i64 {
    let items = ["featureFlags", "segments"].map(|list| data[list].as_array().cloned().unwrap_or_default());
    items.iter().flatten().map(item_version_ms).max().unwrap_or(0)
}

#[test]
fn a_removal_is_pushed_as_a_full_and_a_rollback_as_a_patch_each_newer_than_all_before() {
    let mut data = Dataset::of([environment(1)]);
    touch(data.environments[0].flag_mut("plain"), 50);
    let agent = started(&data);
    let mut streams = [server(&agent, &data.environments[0]), client(&agent, &data.environments[0], "anna")];
    // Something removed.
    data.environments[0].remove_flag("guarded");
    agent.bootstrap(&data);
    let mut versions = [0, 1].map(|_| START_MS + 50);
    for (stream, version) in streams.iter_mut().zip(&mut versions) {
        let data = stream.next_data();
        assert_eq!((&data["eventType"], data["featureFlags"].as_array().unwrap().len()), (&json!("full"), 1));
        assert!(version_of(&data) > *version, "SDKs that take only what is newer ignore {data}");
        *version = version_of(&data);
        stream.expect_nothing_new();
    }
    // Something older than it was.
    touch(data.environments[0].flag_mut("plain"), 40);
    agent.bootstrap(&data);
    for (stream, version) in streams.iter_mut().zip(&mut versions) {
        let data = stream.next_data();
        assert_eq!(data["eventType"], "patch");
        assert!(version_of(&data) > *version, "SDKs that take only what is newer ignore {data}");
        stream.expect_nothing_new();
    }
    // A segment removed that no flag uses concerns server SDKs only.
    data.environments[0].segments.clear();
    agent.bootstrap(&data);
    let full = streams[0].next_data();
    assert_eq!((&full["eventType"], &full["segments"]), (&json!("full"), &json!([])));
    streams[1].expect_nothing_new();
}

#[test]
fn after_a_removal_sdks_that_were_away_get_a_full_and_others_nothing() {
    let mut data = Dataset::of([environment(1)]);
    touch(data.environments[0].flag_mut("plain"), 50);
    let agent = started(&data);
    let mut streams = [server(&agent, &data.environments[0]), client(&agent, &data.environments[0], "anna")];
    data.environments[0].remove_flag("guarded");
    agent.bootstrap(&data);
    let versions = streams.each_mut().map(|stream| version_of(&stream.next_data()));
    let mut server = Stream::connect(&agent, Kind::Server, &data.environments[0].secret(Kind::Server));
    let mut client = Stream::connect(&agent, Kind::Client, &data.environments[0].secret(Kind::Client));
    for (server_ms, client_ms, event_type, count) in [
        (1, 1, "full", 1),
        (START_MS + 50, START_MS + 50, "full", 1),
        (versions[0] - 1, versions[1] - 1, "full", 1),
        (versions[0], versions[1], "patch", 0),
    ] {
        server.request_data(server_ms);
        client.request_data_for(client_ms, &user("anna", &[]));
        for stream in [&mut server, &mut client] {
            let data = stream.next_data();
            assert_eq!(data["eventType"], event_type, "{server_ms}");
            assert_eq!(data["featureFlags"].as_array().unwrap().len(), count, "{server_ms}");
        }
    }
    let secret = data.environments[0].secret(Kind::Server);
    let poll = |timestamp_ms: i64| {
        let path = format!("/api/public/sdk/server/latest-all?timestamp={timestamp_ms}");
        agent.get(&path, &[("Authorization", &secret)]).expect(200).body.len()
    };
    assert!(poll(versions[0] - 1) > 0);
    assert_eq!(poll(versions[0]), 0, "a poll of who is up to date");
}

#[test]
fn the_next_change_is_versioned_above_what_an_sdk_had_before_a_restart() {
    let mut data = Dataset::of([environment(1)]);
    let mut agent = Builder::offline().data_file(&data).start();
    let secret = data.environments[0].secret(Kind::Server);
    serve(data.environments[0].flag_mut("plain"), "v1");
    let mut stream = server(&agent, &data.environments[0]);
    agent.write_data(&data);
    let version = version_of(&stream.next_data());
    // After a restart the agent does not know which versions it sent. The SDK does, and asks with its own.
    assert!(agent.stop().success());
    agent.start_again();
    let mut stream = Stream::connect(&agent, Kind::Server, &secret);
    stream.request_data(version);
    let answer = stream.next_data();
    assert_eq!((&answer["eventType"], &answer["featureFlags"]), (&json!("patch"), &json!([])));
    serve(data.environments[0].flag_mut("plain"), "v0");
    touch(data.environments[0].flag_mut("plain"), 70);
    agent.write_data(&data);
    let patch = stream.next_data();
    assert_eq!(patch["featureFlags"][0]["fallthrough"]["variations"][0]["id"], "v0");
    assert!(version_of(&patch) > version, "the SDK would not take {patch}");
}

#[test]
fn a_segment_s_change_reaches_the_clients_whose_flags_use_it() {
    let mut data = Dataset::of([
        environment(1),
        Environment::new(2).flag(boolean_flag("plain")).segment(segment("people")),
    ]);
    let agent = started(&data);
    let mut using = client(&agent, &data.environments[0], "anna");
    let mut not_using = client(&agent, &data.environments[1], "anna");
    let mut server = server(&agent, &data.environments[1]);
    // A shared segment changes in every environment that has it.
    for environment in &mut data.environments {
        let segment = environment.segment_mut(&guid_of("people"));
        segment["included"] = json!(["anna"]);
        touch(segment, 5);
    }
    agent.bootstrap(&data);
    let patch = using.next_data();
    assert_eq!(patch["eventType"], "patch");
    assert_eq!(patch["featureFlags"].as_array().unwrap().len(), 1);
    assert_eq!(patch["featureFlags"][0]["id"], "guarded");
    assert_eq!(patch["featureFlags"][0]["variation"], "false", "anna is in the segment now");
    assert_eq!(
        patch["featureFlags"][0]["timestamp"],
        START_MS + 5,
        "with the version of the segment's change"
    );
    using.expect_nothing_new();
    not_using.expect_nothing_new();
    assert_eq!(next_item(&mut server), "people");
    // The same for who was away.
    let mut back = Stream::connect(&agent, Kind::Client, &data.environments[0].secret(Kind::Client));
    back.request_data_for(START_MS, &user("anna", &[]));
    let patch = back.next_data();
    assert_eq!((&patch["eventType"], &patch["featureFlags"][0]["id"]), (&json!("patch"), &json!("guarded")));
    // And nothing for who has it.
    back.request_data_for(START_MS + 5, &user("anna", &[]));
    assert_eq!(back.next_data()["featureFlags"], json!([]));
}

#[test]
fn a_bad_dump_is_rejected_with_a_path_and_the_data_in_service_stays() {
    let data = Dataset::of([environment(1)]);
    let agent = started(&data);
    let mut stream = server(&agent, &data.environments[0]);
    let mut bad = data.clone();
    touch(bad.environments[0].flag_mut("plain"), 5);
    bad.environments[0].flag_mut("guarded")["rules"][0]["conditions"][0]["op"] = json!(7);
    let answer =
        agent.post("/api/public/proxy/bootstrap", &[("Authorization", API_KEY)], &bad.to_json()).expect(400);
    let path = "items[0].featureFlags[1].rules[0].conditions[0].op";
    assert!(answer.text().contains(path), "{}", answer.text());
    // The same in the file: the fault is in the log, and the file is taken when it is right.
    agent.write_data(&bad);
    wait_until("the file is refused", SOON, || {
        agent.lines(path).iter().any(|line| line.contains("\"file\"")).then_some(())
    });
    fs::write(agent.data_file(), "{\"eventType\":\"rp_full\",").unwrap();
    stream.expect_nothing_new();
    stream.request_data(0);
    assert_eq!(stream.next_data()["featureFlags"], json!(data.environments[0].flags));
    let mut good = data;
    touch(good.environments[0].flag_mut("plain"), 6);
    agent.write_data(&good);
    assert_eq!(next_item(&mut stream), "plain");
}

#[test]
fn a_forgotten_updated_at_is_named_and_raised() {
    for stamp in ["false", "true", ""] {
        let mut data = Dataset::of([environment(1)]);
        let agent = Builder::offline()
            .data_file(&data)
            .env("DataFilePollMilliseconds", "20")
            .env("DataFileStamp", stamp)
            .start();
        let mut stream = server(&agent, &data.environments[0]);
        serve(data.environments[0].flag_mut("plain"), "v1");
        agent.write_data(&data);
        let pushed = stream.next_data();
        assert_eq!(
            (&pushed["eventType"], pushed["featureFlags"].as_array().unwrap().len()),
            (&json!("patch"), 1)
        );
        let flag = &pushed["featureFlags"][0];
        assert_eq!(flag["fallthrough"]["variations"][0]["id"], "v1");
        assert!(item_version_ms(flag) > START_MS, "{flag}");
        // The setting that once asked for it says that it is always so.
        wait_until("it is logged", SOON, || {
            agent.lines("key=\"plain\"").iter().any(|line| line.contains("WARN")).then_some(())
        });
        // That line came after those of the start.
        assert_eq!(agent.log().contains("DataFileStamp"), !stamp.is_empty());
    }
}

/// Without the secrets of the environments in `without`.
fn without_secrets(data: &Dataset, kind: Kind) -> Dataset {
    let mut data = data.clone();
    for environment in &mut data.environments {
        environment.secrets.retain(|secret: &Value| secret["type"] != kind.as_str());
    }
    data
}

#[test]
fn connections_whose_secret_is_gone_are_closed_with_4003_after_the_grace() {
    let data = Dataset::of([environment(1), environment(2)]);
    let agent = Builder::offline().api_key().data_file(&data).env("RevocationGraceSeconds", "1").start();
    let mut gone = server(&agent, &data.environments[0]);
    let mut never_asked = Stream::connect(&agent, Kind::Server, &data.environments[0].secret(Kind::Server));
    let mut with_environment = client(&agent, &data.environments[1], "anna");
    let mut stays = client(&agent, &data.environments[0], "anna");
    let mut left = without_secrets(&data, Kind::Server);
    left.environments.pop();
    agent.bootstrap(&left);
    for stream in [&mut gone, &mut never_asked, &mut with_environment] {
        assert_eq!(stream.expect_close(SOON), Some(4003));
    }
    stays.expect_nothing_new();
    let mut late = Stream::connect(&agent, Kind::Server, &data.environments[0].secret(Kind::Server));
    assert_eq!(late.expect_close(SOON), Some(4003));
}

#[test]
fn during_the_grace_connections_stay_and_new_ones_are_accepted() {
    let data = Dataset::of([environment(1), environment(2)]);
    let agent = Builder::offline().api_key().data_file(&data).env("RevocationGraceSeconds", "600").start();
    let mut streams =
        vec![server(&agent, &data.environments[0]), client(&agent, &data.environments[1], "anna")];
    let mut left = without_secrets(&data, Kind::Server);
    left.environments.pop();
    agent.bootstrap(&left);
    streams.iter_mut().for_each(Stream::expect_nothing_new);
    streams.push(server(&agent, &data.environments[0]));
    streams.push(client(&agent, &data.environments[1], "bert"));
    streams.iter_mut().for_each(Stream::expect_nothing_new);
    agent.bootstrap(&data);
    streams.iter_mut().for_each(Stream::expect_nothing_new);
    let mut changed = data;
    touch(changed.environments[0].flag_mut("plain"), 5);
    touch(changed.environments[1].flag_mut("plain"), 5);
    agent.bootstrap(&changed);
    for stream in &mut streams {
        assert_eq!(next_item(stream), "plain", "pushes go on as ever");
    }
}

#[test]
fn a_secret_that_comes_back_within_the_grace_keeps_working() {
    let mut data = Dataset::of([environment(1)]);
    let second = data.environments[0].add_secret(Kind::Server, 1);
    let agent = Builder::offline().api_key().data_file(&data).env("RevocationGraceSeconds", "5").start();
    let mut back = server(&agent, &data.environments[0]);
    let mut gone = Stream::connect(&agent, Kind::Server, &second);
    agent.bootstrap(&without_secrets(&data, Kind::Server));
    let mut mended = data.clone();
    mended.environments[0].secrets.retain(|secret| secret["value"] != *second);
    agent.bootstrap(&mended);
    // The close of the secret that did not come back shows that the grace of both is over.
    assert_eq!(gone.expect_close(SOON), Some(4003));
    back.expect_nothing_new();
    server(&agent, &data.environments[0]).expect_nothing_new();
}

/// What went wrong: SDKs whose secret was moved to another environment were stopped for good, although the secret
/// would have let them in again.
#[test]
fn sdks_of_a_secret_moved_to_another_environment_are_closed_but_not_for_good() {
    let data = Dataset::of([environment(1), environment(2)]);
    let agent = Builder::offline().api_key().data_file(&data).start();
    let mut streams = [server(&agent, &data.environments[0]), server(&agent, &data.environments[1])];
    let mut swapped = data.clone();
    let value_of = |environment: usize| {
        let secrets = &data.environments[environment].secrets;
        let index = secrets.iter().position(|secret| secret["type"] == "server").expect("a server secret");
        (index, secrets[index]["value"].clone())
    };
    let ((first, first_value), (second, second_value)) = (value_of(0), value_of(1));
    swapped.environments[0].secrets[first]["value"] = second_value;
    swapped.environments[1].secrets[second]["value"] = first_value;
    agent.bootstrap(&swapped);
    for stream in &mut streams {
        assert_eq!(stream.expect_close(SOON), Some(1001));
    }
    server(&agent, &data.environments[0]).expect_nothing_new();
}
