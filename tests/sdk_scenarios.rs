//! Real SDKs against the real agent: what their users see, whatever goes on in between.
//!
//! Each scenario runs on every SDK that has a driver in `tests/sdks`, in every mode it has. Where an SDK is known to
//! behave otherwise, its `driver.json` says so by name, and the scenario expects exactly that.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::agent::{Agent, Builder};
use common::dataset::{
    Dataset, Environment, Kind, boolean_flag, condition, flag, guid_of, rule, secret_text, segment,
    segment_condition, serve, touch, user,
};
use common::rng::Rng;
use common::sdk::{Fleet, Mode, same_value};
use common::ws::Stream;
use common::{SOON, wait_until};
use md5::{Digest, Md5};
use serde_json::{Value, json};

/// What a flag of [`known_flags`] gives a user.
type Oracle = fn(&Value) -> Value;

fn attribute<'a>(user: &'a Value, name: &str) -> &'a str {
    let properties = user["customizedProperties"].as_array().expect("a list of properties");
    let found = properties.iter().find(|property| property["name"] == name);
    found.and_then(|property| property["value"].as_str()).unwrap_or_default()
}

/// Where a dispatch key falls, in [0, 1], as FeatBit computes it.
fn rollout_of(key: &str) -> f64 {
    let digest = Md5::digest(key.as_bytes());
    let number = i32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    (f64::from(number) / f64::from(i32::MIN)).abs()
}

fn key_of(user: &Value) -> &str {
    user["keyId"].as_str().expect("a key")
}

/// A rollout of half of the users each.
fn halves() -> Value {
    json!([
        { "id": "v0", "rollout": [0, 0.5], "exptRollout": 1 },
        { "id": "v1", "rollout": [0.5, 1], "exptRollout": 1 },
    ])
}

/// Flags of every kind, each with what it must give.
fn known_flags() -> Vec<(Value, Oracle)> {
    let mut targeted = boolean_flag("targeted");
    targeted["targetUsers"] = json!([{ "keyIds": ["user-1", "user-7", "user-11"], "variationId": "v1" }]);

    let mut by_country = flag("by-country", "string", &["world", "alps"]);
    let alps = condition("country", "IsOneOf", r#"["AT","CH"]"#);
    by_country["rules"] = json!([rule("alps", vec![alps], common::dataset::everybody("v1"))]);

    let mut by_age = flag("by-age", "number", &["1", "2.5"]);
    let grown = vec![condition("age", "BiggerEqualThan", "18"), condition("country", "NotEqual", "FR")];
    by_age["rules"] = json!([rule("grown up", grown, common::dataset::everybody("v1"))]);

    let mut by_segment =
        flag("by-segment", "json", &[r#"{"theme":"light"}"#, r#"{"theme":"dark","sizes":[1,2]}"#]);
    let beta = segment_condition(&[&guid_of("beta users")], false);
    by_segment["rules"] = json!([rule("beta", vec![beta], common::dataset::everybody("v1"))]);

    let mut half = flag("half", "string", &["left", "right"]);
    half["fallthrough"]["variations"] = halves();

    let mut half_of_countries = flag("half-of-countries", "string", &["left", "right"]);
    half_of_countries["fallthrough"]["variations"] = halves();
    half_of_countries["fallthrough"]["dispatchKey"] = json!("country");

    let mut disabled = boolean_flag("disabled");
    disabled["isEnabled"] = json!(false);
    disabled["disabledVariationId"] = json!("v1");

    vec![
        (targeted, |user| json!(!["user-1", "user-7", "user-11"].contains(&key_of(user)))),
        (by_country, |user| {
            json!(if ["AT", "CH"].contains(&attribute(user, "country")) { "alps" } else { "world" })
        }),
        (by_age, |user| {
            let age: i64 = attribute(user, "age").parse().expect("an age");
            json!(if age >= 18 && attribute(user, "country") != "FR" { 2.5 } else { 1.0 })
        }),
        (by_segment, |user| {
            let excluded = key_of(user) == "user-2";
            let included = ["user-3", "user-2"].contains(&key_of(user));
            let matched = attribute(user, "plan").starts_with("gold");
            if !excluded && (included || matched) {
                json!({ "theme": "dark", "sizes": [1, 2] })
            } else {
                json!({ "theme": "light" })
            }
        }),
        (half, |user| {
            json!(if rollout_of(&format!("half{}", key_of(user))) <= 0.5 { "left" } else { "right" })
        }),
        (half_of_countries, |user| {
            let key = format!("half-of-countries{}", attribute(user, "country"));
            json!(if rollout_of(&key) <= 0.5 { "left" } else { "right" })
        }),
        (disabled, |_| json!(false)),
        (flag("text", "string", &["ünïcode 北京 \"quoted\" \\ \u{1F600}\n"]), |_| {
            json!("ünïcode 北京 \"quoted\" \\ \u{1F600}\n")
        }),
    ]
}

fn known_segment() -> Value {
    let mut beta = segment("beta users");
    beta["included"] = json!(["user-3", "user-2"]);
    beta["excluded"] = json!(["user-2"]);
    beta["rules"] = json!([{ "id": guid_of("gold"), "name": "gold", "conditions": [condition("plan", "StartsWith", "gold")] }]);
    beta
}

/// Users who differ in everything that the known flags look at.
fn users(count: usize) -> Vec<Value> {
    let mut rng = Rng::new(20_240_201);
    (0..count)
        .map(|number| {
            let age = rng.below(60).to_string();
            let country = *rng.pick(&["AT", "CH", "FR", "JP", "北京"]);
            let plan = *rng.pick(&["gold", "golden", "silver"]);
            user(&format!("user-{number}"), &[("age", &age), ("country", country), ("plan", plan)])
        })
        .collect()
}

/// One environment whose flags `a` and `b` are on for everybody.
fn two_flags() -> Environment {
    Environment::new(1).flag(boolean_flag("a")).flag(boolean_flag("b"))
}

fn ann() -> Value {
    user("ann", &[("country", "AT")])
}

#[test]
fn many_users_get_their_initial_values() {
    let flags = known_flags();
    let mut environment = Environment::new(1).segment(known_segment());
    for (flag, _) in &flags {
        environment.add_flag(flag.clone());
    }
    // A second environment with the same keys and other values: nothing of it may leak.
    let mut other = Environment::new(2);
    for (flag, _) in &flags {
        let mut flag = flag.clone();
        flag["rules"] = json!([]);
        flag["isEnabled"] = json!(true);
        other.add_flag(flag);
    }
    let agent = Builder::offline().data_file(&Dataset::of([environment.clone(), other])).start();
    let users = users(100);
    let types: BTreeMap<String, String> = flags
        .iter()
        .map(|(flag, _)| {
            (flag["key"].as_str().unwrap().into(), flag["variationType"].as_str().unwrap().into())
        })
        .collect();
    let mut fleet = Fleet::ready("initial values", &agent, &environment, &users[0]);
    fleet.each("every flag of every user", |sdk| {
        for user in &users {
            let values = sdk.all(user, &types);
            assert_eq!(values.len(), flags.len(), "for {user}: {values:?}");
            for (flag, oracle) in &flags {
                let key = flag["key"].as_str().unwrap();
                let (have, want) = (&values[key], oracle(user));
                assert!(same_value(have, &want), "{key} for {user}: {have} instead of {want}");
            }
        }
    });
}

/// Changes of a flag, of its targeting and of a segment, brought to the agent by `bring`.
fn changes_are_seen(test: &str, agent: &Agent, bring: impl Fn(&Dataset)) {
    let mut by_segment = boolean_flag("by-segment");
    let insiders = segment_condition(&[&guid_of("insiders")], false);
    by_segment["rules"] = json!([rule("insiders", vec![insiders], common::dataset::everybody("v1"))]);
    let mut environment = two_flags().flag(by_segment).segment(segment("insiders"));
    let other = Environment::new(2).flag(boolean_flag("a"));
    bring(&Dataset::of([environment.clone(), other.clone()]));
    let mut fleet = Fleet::ready(test, agent, &environment, &ann());
    let mut elsewhere = Stream::connect(agent, Kind::Server, &other.secret(Kind::Server));
    elsewhere.request_data(0);
    assert_eq!(elsewhere.next_data()["eventType"], "full");
    fleet.each("initial values", |sdk| {
        for key in ["a", "b", "by-segment"] {
            sdk.wait_value(key, &ann(), "boolean", &json!(true));
        }
    });

    let changed = environment.flag_mut("a");
    serve(changed, "v1");
    touch(changed, 1_000);
    bring(&Dataset::of([environment.clone(), other.clone()]));
    fleet.each("another value for everybody", |sdk| sdk.wait_value("a", &ann(), "boolean", &json!(false)));
    fleet.each("the change is reported", |sdk| {
        if sdk.differs("reports-no-changes") {
            return;
        }
        wait_until("it is reported", SOON, || sdk.updates().contains(&"a".to_owned()).then_some(()));
    });

    let changed = environment.flag_mut("b");
    changed["rules"] =
        json!([rule("at home", vec![condition("country", "Equal", "AT")], common::dataset::everybody("v1"))]);
    touch(changed, 2_000);
    bring(&Dataset::of([environment.clone(), other.clone()]));
    fleet.each("a new targeting rule", |sdk| sdk.wait_value("b", &ann(), "boolean", &json!(false)));

    // FeatBit raises `updatedAt` of the segment alone.
    let changed = environment.segment_mut(&guid_of("insiders"));
    changed["included"] = json!(["ann"]);
    touch(changed, 3_000);
    bring(&Dataset::of([environment.clone(), other.clone()]));
    fleet.each("a new member of a segment", |sdk| {
        sdk.wait_value("by-segment", &ann(), "boolean", &json!(false))
    });

    // Two items at once, and a new flag.
    for (key, later) in [("a", 4_000), ("b", 5_000)] {
        let changed = environment.flag_mut(key);
        changed["rules"] = json!([]);
        serve(changed, "v0");
        touch(changed, later);
    }
    let mut new = flag("new", "string", &["hello"]);
    touch(&mut new, 6_000);
    environment.add_flag(new);
    bring(&Dataset::of([environment.clone(), other.clone()]));
    fleet.each("several changes at once", |sdk| {
        sdk.wait_value("a", &ann(), "boolean", &json!(true));
        sdk.wait_value("b", &ann(), "boolean", &json!(true));
        sdk.wait_value("new", &ann(), "string", &json!("hello"));
        sdk.wait_value("by-segment", &ann(), "boolean", &json!(false));
    });
    fleet.each("nobody had to reconnect", |sdk| {
        let state = sdk.state();
        if sdk.mode() == Mode::Streaming {
            assert_eq!(state["connects"], 1, "{state}");
        }
        assert_eq!(state["stopped"], false, "{state}");
    });
    elsewhere.expect_nothing_new();
}

#[test]
fn changes_by_bootstrap_are_seen_by_every_sdk() {
    let agent = Builder::offline().api_key().start();
    changes_are_seen("changes by bootstrap", &agent, |data| {
        let answer = agent.bootstrap(data);
        assert_eq!(answer["serves"], "project-1:production,project-2:production");
    });
}

#[test]
fn changes_of_the_data_file_are_seen_by_every_sdk() {
    let agent = Builder::offline().data_file(&Dataset::of([two_flags()])).start();
    changes_are_seen("changes of the data file", &agent, |data| {
        agent.write_data(data);
        // A fleet that is started before the file has been read again would see the data before.
        let secret = data.environments[0].secret(Kind::Client);
        let keys: Vec<&str> =
            data.environments[0].flags.iter().filter_map(|flag| flag["key"].as_str()).collect();
        wait_until("the data file is in service", SOON, || {
            let flags = agent.evaluate(&secret, &ann());
            keys.iter().all(|&key| flags.contains_key(key)).then_some(())
        });
    });
}

#[test]
fn a_wrong_secret_stops_streaming_sdks_and_never_makes_one_ready() {
    let environment = two_flags();
    let agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let unknown_environment = "11111111-2222-3333-4444-555555555555";
    for (why, secret_for) in [
        (
            "unknown, of a known environment",
            (|e, kind| secret_text(&e, kind, 9)) as fn(String, Kind) -> String,
        ),
        ("of the other type", |e, kind| {
            let other = if kind == Kind::Server { Kind::Client } else { Kind::Server };
            secret_text(&e, other, 0)
        }),
        ("malformed", |_, _| "not-a-secret".into()),
    ] {
        let mut fleet = Fleet::launch(&format!("wrong secret, {why}"), |_, _| true);
        fleet.each(why, |sdk| {
            let kind = sdk.kind();
            let secret = secret_for(environment.id.clone(), kind);
            sdk.start_with(&agent.url(), &secret, &ann(), json!({}));
            if sdk.differs("polling-never-stops") {
                let refused = wait_until("a refused poll", SOON, || {
                    let errors = sdk.state()["errors"].to_string();
                    errors.contains("401").then_some(errors)
                });
                assert!(!refused.contains("404"), "{refused}");
            } else if sdk.differs("ignores-refusals") {
                sdk.wait_state(json!({ "connects": 1 }));
            } else {
                sdk.wait_state(json!({ "stopped": true }));
            }
            let state = sdk.state();
            assert_eq!(state["ready"], sdk.differs("ready-when-refused"), "{state}");
            // Ready or not, it has nothing.
            sdk.wait_gone("a", &ann());
        });
    }
    // The exact close code that the SDKs got.
    for (kind, secret) in [
        (Kind::Server, secret_text(&environment.id, Kind::Server, 9)),
        (Kind::Server, environment.secret(Kind::Client)),
        (Kind::Client, environment.secret(Kind::Server)),
        (Kind::Client, secret_text(unknown_environment, Kind::Client, 0)),
    ] {
        let mut stream = Stream::connect(&agent, kind, &secret);
        assert_eq!(stream.expect_close(SOON), Some(4003));
    }
}

/// SDKs whose agent goes away and comes back with newer data.
fn restart(test: &str, end: impl Fn(&mut Agent)) {
    let mut environment = two_flags();
    let mut agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let mut fleet = Fleet::ready(test, &agent, &environment, &ann());
    end(&mut agent);
    fleet.each("the connection is gone", |sdk| match sdk.mode() {
        Mode::Streaming => {
            sdk.wait_state(json!({ "connected": false }));
        }
        Mode::Polling if sdk.differs("polling-stops-at-first-error") => {
            sdk.wait_state(json!({ "stopped": true }));
        }
        Mode::Polling => {
            wait_until("a failed poll", SOON, || (sdk.state()["errors"] != json!([])).then_some(()));
        }
    });
    fleet.each("flags go on without the agent", |sdk| sdk.wait_value("a", &ann(), "boolean", &json!(true)));
    let changed = environment.flag_mut("a");
    serve(changed, "v1");
    touch(changed, 1_000);
    agent.write_data(&Dataset::of([environment.clone()]));
    agent.start_again();
    fleet.each("it comes back by itself and catches up", |sdk| {
        if sdk.differs("polling-stops-at-first-error") {
            // Until the page is loaded again.
            sdk.stop();
            sdk.start(&agent, &environment, &ann());
        }
        sdk.wait_value("a", &ann(), "boolean", &json!(false));
        sdk.wait_value("b", &ann(), "boolean", &json!(true));
        if sdk.mode() == Mode::Streaming {
            sdk.wait_state(json!({ "connects": 2, "connected": true }));
        }
    });
    let changed = environment.flag_mut("b");
    serve(changed, "v1");
    touch(changed, 2_000);
    agent.write_data(&Dataset::of([environment.clone()]));
    fleet.each("and gets changes as before", |sdk| sdk.wait_value("b", &ann(), "boolean", &json!(false)));
}

#[test]
fn sdks_come_back_after_an_orderly_restart() {
    restart("orderly restart", |agent| {
        let status = agent.stop();
        assert!(status.success(), "the agent ended with {status}");
    });
}

#[test]
fn sdks_come_back_after_a_crash() {
    restart("crash", Agent::kill);
}

#[test]
fn a_client_that_identifies_anew_gets_the_new_users_flags_only() {
    let mut by_country = flag("by-country", "string", &["abroad", "at home"]);
    by_country["rules"] =
        json!([rule("at home", vec![condition("country", "Equal", "AT")], common::dataset::everybody("v1"))]);
    let mut environment = Environment::new(1).flag(by_country);
    let agent = Builder::offline().api_key().start();
    agent.bootstrap(&Dataset::of([environment.clone()]));
    let bob = user("bob", &[("country", "JP")]);
    let mut fleet = Fleet::launch("identify", |spec, _| spec.kind == Kind::Client);
    fleet.each("start", |sdk| {
        sdk.start(&agent, &environment, &ann());
        sdk.wait_ready();
    });
    let mut later = 0;
    for _ in 0..3 {
        for (user, here) in [(&bob, "abroad"), (&ann(), "at home")] {
            fleet.each("identify", |sdk| {
                sdk.identify(user);
                sdk.wait_value("by-country", user, "string", &json!(here));
            });
            // A push that follows is for the user of now.
            later += 1_000;
            let changed = environment.flag_mut("by-country");
            changed["variations"][0]["value"] = json!(format!("abroad {later}"));
            changed["variations"][1]["value"] = json!(format!("at home {later}"));
            touch(changed, later);
            agent.bootstrap(&Dataset::of([environment.clone()]));
            let now = format!("{here} {later}");
            fleet.each("a change after it", |sdk| sdk.wait_value("by-country", user, "string", &json!(now)));
            let changed = environment.flag_mut("by-country");
            changed["variations"][0]["value"] = json!("abroad");
            changed["variations"][1]["value"] = json!("at home");
            later += 1_000;
            touch(changed, later);
            agent.bootstrap(&Dataset::of([environment.clone()]));
            fleet.each("and back", |sdk| sdk.wait_value("by-country", user, "string", &json!(here)));
        }
    }
}

#[test]
fn a_removed_flag_is_gone_for_every_sdk_at_once() {
    let mut environment = two_flags().flag(boolean_flag("c"));
    let agent = Builder::offline().api_key().start();
    agent.bootstrap(&Dataset::of([environment.clone()]));
    let mut fleet = Fleet::ready("removal", &agent, &environment, &ann());
    fleet.each("it is there", |sdk| sdk.wait_value("b", &ann(), "boolean", &json!(true)));

    environment.remove_flag("b");
    agent.bootstrap(&Dataset::of([environment.clone()]));
    fleet.each("nothing but a removal", |sdk| sdk.wait_gone("b", &ann()));
    let changed = environment.flag_mut("a");
    serve(changed, "v1");
    touch(changed, 1_000);
    agent.bootstrap(&Dataset::of([environment.clone()]));
    fleet.each("a change after it", |sdk| {
        sdk.wait_value("a", &ann(), "boolean", &json!(false));
        sdk.wait_gone("b", &ann());
    });

    environment.remove_flag("c");
    let changed = environment.flag_mut("a");
    serve(changed, "v0");
    touch(changed, 2_000);
    agent.bootstrap(&Dataset::of([environment.clone()]));
    fleet.each("a removal together with a change", |sdk| {
        sdk.wait_value("a", &ann(), "boolean", &json!(true));
        sdk.wait_gone("c", &ann());
        sdk.wait_gone("b", &ann());
    });
}

#[test]
fn a_flag_removed_while_an_sdk_was_away_is_gone_when_it_is_back() {
    let mut environment = two_flags();
    let mut agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let mut fleet = Fleet::launch("removal while away", |_, mode| mode == Mode::Streaming);
    fleet.each("start", |sdk| {
        sdk.start(&agent, &environment, &ann());
        sdk.wait_value("b", &ann(), "boolean", &json!(true));
    });
    agent.kill();
    fleet.each("the connection is gone", |sdk| {
        sdk.wait_state(json!({ "connected": false }));
    });
    environment.remove_flag("b");
    let changed = environment.flag_mut("a");
    serve(changed, "v1");
    touch(changed, 1_000);
    agent.write_data(&Dataset::of([environment.clone()]));
    agent.start_again();
    // The agent of now has never heard of the flag, and the SDK asks for what is newer than its own data: it can only
    // learn of the change. That is what any server without a memory of its past can do.
    fleet.each("what changed meanwhile", |sdk| sdk.wait_value("a", &ann(), "boolean", &json!(false)));
    // With the agent in service, a removal is remembered for who is away.
    let changed = environment.flag_mut("a");
    touch(changed, 2_000);
    environment.add_flag(boolean_flag("c"));
    touch(environment.flag_mut("c"), 2_500);
    agent.write_data(&Dataset::of([environment.clone()]));
    fleet.each("a flag comes", |sdk| sdk.wait_value("c", &ann(), "boolean", &json!(true)));
    fleet.each("the SDK goes away", |sdk| sdk.stop());
    environment.remove_flag("c");
    touch(environment.flag_mut("a"), 3_000);
    agent.write_data(&Dataset::of([environment.clone()]));
    let secret = environment.secret(Kind::Client);
    wait_until("the removal is in service", SOON, || {
        (!agent.evaluate(&secret, &ann()).contains_key("c")).then_some(())
    });
    // The client SDK still has its stored flags and asks by their timestamp; the others start empty.
    fleet.each("and comes back", |sdk| {
        sdk.start(&agent, &environment, &ann());
        sdk.wait_ready();
        sdk.wait_gone("c", &ann());
        sdk.wait_value("a", &ann(), "boolean", &json!(false));
    });
}

#[test]
fn sdks_that_start_before_there_is_data_wait_for_it() {
    let environment = two_flags();
    let agent = Builder::offline().api_key().env("Limits__VerdictWait", "60s").start();
    agent.get("/health/readiness", &[]).expect(503);
    let mut fleet = Fleet::launch("start before there is data", |_, _| true);
    fleet.each("start", |sdk| {
        sdk.start(&agent, &environment, &ann());
        if sdk.mode() == Mode::Streaming {
            // Upgraded at once, without any message yet.
            sdk.wait_state(json!({ "connects": 1 }));
        }
    });
    fleet.each("not ready yet", |sdk| assert_eq!(sdk.state()["ready"], false));
    agent.bootstrap(&Dataset::of([environment.clone()]));
    agent.get("/health/readiness", &[]).expect(200);
    fleet.each("ready as soon as there is data", |sdk| {
        sdk.wait_ready();
        sdk.wait_value("a", &ann(), "boolean", &json!(true));
        let state = sdk.state();
        if sdk.mode() == Mode::Streaming {
            assert_eq!(state["connects"], 1, "it had to reconnect: {state}");
        }
        assert_eq!(state["stopped"], false, "{state}");
    });
}

#[test]
fn sdks_that_waited_too_long_for_data_come_back_by_themselves() {
    let environment = two_flags();
    let agent = Builder::offline().api_key().env("Limits__VerdictWait", "1s").start();
    let mut fleet = Fleet::launch("data comes late", |_, mode| mode == Mode::Streaming);
    fleet.each("sent away once, not for ever", |sdk| {
        sdk.start(&agent, &environment, &ann());
        let state = sdk.wait_state(json!({ "connects": 2 }));
        assert_eq!(state["stopped"], false, "{state}");
        assert_eq!(state["ready"], false, "{state}");
    });
    agent.bootstrap(&Dataset::of([environment.clone()]));
    fleet.each("ready", |sdk| sdk.wait_value("a", &ann(), "boolean", &json!(true)));
}

#[test]
fn usage_events_are_accepted() {
    let environment = two_flags();
    let agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let mut fleet = Fleet::launch("events", |_, _| true);
    fleet.each("evaluations and a metric", |sdk| {
        let secret = environment.secret(sdk.kind());
        sdk.start_with(&agent.url(), &secret, &ann(), json!({ "events": true }));
        sdk.wait_ready();
        sdk.wait_value("a", &ann(), "boolean", &json!(true));
        sdk.command("track", json!({ "user": ann(), "event": "bought", "value": 12.5 }), SOON);
        sdk.command("flush", json!({}), SOON);
        let state = sdk.wait_state(json!({ "posts": 1 }));
        let posts = state["posts"].as_array().expect("a list of statuses");
        assert!(posts.iter().all(|status| status == 200), "{state}");
    });
}

#[test]
fn a_revoked_secret_stops_its_sdks_after_the_grace() {
    let environment = two_flags();
    let agent = Builder::offline().api_key().env("RevocationGraceSeconds", "1").start();
    agent.bootstrap(&Dataset::of([environment.clone()]));
    let mut fleet = Fleet::ready("revoked secret", &agent, &environment, &ann());
    let mut without = environment.clone();
    without.secrets.clear();
    without.add_secret(Kind::Server, 7);
    without.add_secret(Kind::Client, 7);
    agent.bootstrap(&Dataset::of([without]));
    fleet.each("stopped", |sdk| {
        if sdk.differs("polling-never-stops") {
            wait_until("a refused poll", SOON, || {
                sdk.state()["errors"].to_string().contains("401").then_some(())
            });
        } else if sdk.differs("ignores-refusals") {
            // It never learns it; the agent serves it no more all the same.
            wait_until("the end of its connection", SOON, || {
                (agent.metric("featbit_agent_connections", "kind=\"server\"") == 0.0).then_some(())
            });
        } else {
            sdk.wait_state(json!({ "stopped": true }));
        }
    });
}

#[test]
fn a_secret_that_was_removed_by_mistake_and_restored_loses_no_sdk() {
    let mut environment = two_flags();
    let agent = Builder::offline().api_key().start();
    agent.bootstrap(&Dataset::of([environment.clone()]));
    let mut fleet = Fleet::launch("secret put back", |_, mode| mode == Mode::Streaming);
    fleet.each("start", |sdk| {
        sdk.start(&agent, &environment, &ann());
        sdk.wait_ready();
    });
    agent.bootstrap(&Dataset::of([Environment::new(2).flag(boolean_flag("a"))]));
    let changed = environment.flag_mut("a");
    serve(changed, "v1");
    touch(changed, 1_000);
    agent.bootstrap(&Dataset::of([environment.clone()]));
    fleet.each("as if nothing had been", |sdk| {
        sdk.wait_value("a", &ann(), "boolean", &json!(false));
        let state = sdk.state();
        assert_eq!((&state["connects"], &state["stopped"]), (&json!(1), &json!(false)), "{state}");
    });
}

#[test]
fn an_agent_without_data_refuses_no_sdk_for_good() {
    // Not an SDK: the codes that the scenarios above rest on.
    let environment = two_flags();
    let agent = Builder::offline().api_key().env("Limits__VerdictWait", "200ms").start();
    for kind in [Kind::Server, Kind::Client] {
        let mut stream = Stream::connect(&agent, kind, &environment.secret(kind));
        assert_eq!(stream.expect_close(Duration::from_secs(10)), Some(1011));
    }
    let poll = agent.get(
        "/api/public/sdk/server/latest-all?timestamp=0",
        &[("Authorization", &environment.secret(Kind::Server))],
    );
    assert_eq!(poll.status, 503);
    assert!(poll.header("retry-after").is_some(), "{poll:?}");
    // A malformed secret is wrong whatever data may come.
    let mut stream = Stream::connect(&agent, Kind::Server, "not-a-secret");
    assert_eq!(stream.expect_close(SOON), Some(4003));
}
