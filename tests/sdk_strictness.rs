//! Changes that some SDKs ignore, or accept only in one order: real SDKs, and beside them two that accept as little as
//! those of Java and Go. Each scenario ends with the right data in every SDK, and no message made an SDK reconnect.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{
    Dataset, Environment, boolean_flag, everybody, flag, guid_of, rule, segment, segment_condition, serve,
    touch, user,
};
use common::sdk::{Fleet, Mode, Sdk};
use common::strict::StrictSdk;
use common::{SOON, wait_until};
use serde_json::{Value, json};

fn ann() -> Value {
    user("ann", &[("country", "AT")])
}

/// A text flag, for everybody alike.
fn text_flag(key: &str, value: &str, later_ms: i64) -> Value {
    let mut flag = flag(key, "string", &[value]);
    touch(&mut flag, later_ms);
    flag
}

/// Gives a text flag another value.
fn set(environment: &mut Environment, key: &str, value: &str, later_ms: i64) {
    let flag = environment.flag_mut(key);
    flag["variations"][0]["value"] = json!(value);
    touch(flag, later_ms);
}

/// Flags `f0` to `f5`, all `old`; `guarded` is `true` but for members of the segment `insiders`.
fn environment() -> Environment {
    let mut environment = Environment::new(1).segment(segment("insiders"));
    for number in 0..6 {
        environment.add_flag(text_flag(&format!("f{number}"), "old", number));
    }
    let mut guarded = boolean_flag("guarded");
    let insiders = segment_condition(&[&guid_of("insiders")], false);
    guarded["rules"] = json!([rule("insiders", vec![insiders], everybody("v1"))]);
    touch(&mut guarded, 10);
    environment.add_flag(guarded);
    environment
}

/// Every SDK in every mode that is wanted, ready. What a browser takes is tried on the same SDK in Node, which costs
/// no browser a scenario.
fn started(test: &str, agent: &Agent, environment: &Environment, wanted: impl Fn(Mode) -> bool) -> Fleet {
    let mut fleet = Fleet::launch(test, |spec, mode| spec.name != "browser" && wanted(mode));
    fleet.each("start", |sdk| {
        sdk.start(agent, environment, &ann());
        sdk.wait_ready();
    });
    fleet
}

/// A fleet of real SDKs and the strict ones, in an environment that is changed by bootstrap.
struct AllSdks {
    agent: Agent,
    fleet: Fleet,
    strict: Vec<StrictSdk>,
}

impl AllSdks {
    fn start(test: &str, environment: &Environment) -> Self {
        let agent = Builder::offline().api_key().start();
        agent.bootstrap(&Dataset::of([environment.clone()]));
        let fleet = started(test, &agent, environment, |_| true);
        let strict = StrictSdk::of_each_name(&agent, environment);
        Self { agent, fleet, strict }
    }

    fn load(&self, environment: &Environment) {
        self.agent.bootstrap(&Dataset::of([environment.clone()]));
    }

    /// Waits until every text flag has its value everywhere, and the strict have all there is.
    fn wait_for(&mut self, step: &str, environment: &Environment) {
        values_are_seen(&mut self.fleet, step, environment, |_, _| true);
        self.strict.iter_mut().for_each(|sdk| sdk.wait_for(environment));
    }

    /// No SDK had to reconnect.
    fn nobody_had_to_reconnect(&mut self) {
        nobody_had_to_reconnect(&mut self.fleet, 1);
        self.strict.iter_mut().for_each(StrictSdk::read_all);
    }
}

fn values_are_seen(
    fleet: &mut Fleet,
    step: &str,
    environment: &Environment,
    wanted: impl Fn(&Sdk, &str) -> bool + Sync,
) {
    fleet.each(step, |sdk| {
        for flag in environment.flags.iter().filter(|flag| flag["variationType"] == "string") {
            let key = flag["key"].as_str().unwrap();
            if wanted(sdk, key) {
                sdk.wait_value(key, &ann(), "string", &flag["variations"][0]["value"]);
            }
        }
    });
}

fn nobody_had_to_reconnect(fleet: &mut Fleet, connects: u64) {
    fleet.each("nobody had to reconnect", |sdk| {
        let state = sdk.state();
        if sdk.mode() == Mode::Streaming {
            assert_eq!(
                (&state["connects"], &state["connected"]),
                (&json!(connects), &json!(true)),
                "{state}"
            );
        }
        assert_eq!(state["stopped"], false, "{state}");
    });
}

#[test]
fn many_items_of_one_dump_arrive_in_an_order_that_every_sdk_accepts() {
    let mut environment = environment();
    let mut all = AllSdks::start("many items at once", &environment);
    // Neither in the order of the dump, nor flags before segments.
    for (key, later_ms) in [("f3", 1_000), ("f0", 1_100), ("f5", 1_300), ("f1", 1_500)] {
        set(&mut environment, key, "new", later_ms);
    }
    let insiders = environment.segment_mut(&guid_of("insiders"));
    insiders["included"] = json!(["ann"]);
    touch(insiders, 1_200);
    touch(environment.flag_mut("guarded"), 1_400);
    environment.add_flag(text_flag("added", "new", 1_250));
    all.load(&environment);
    all.wait_for("all of them", &environment);
    all.fleet.each("the segment too", |sdk| {
        sdk.wait_value("guarded", &ann(), "boolean", &json!(false));
    });
    all.nobody_had_to_reconnect();
}

#[test]
fn items_that_share_a_millisecond_arrive_at_every_sdk() {
    let mut environment = environment();
    let mut all = AllSdks::start("one millisecond", &environment);
    for round in 1..4 {
        let value = format!("round {round}");
        for key in ["f4", "f2", "f0"] {
            set(&mut environment, key, &value, 1_000 * round);
        }
        let insiders = environment.segment_mut(&guid_of("insiders"));
        insiders["included"] = if round % 2 == 1 { json!(["ann"]) } else { json!([]) };
        touch(insiders, 1_000 * round);
        all.load(&environment);
        all.wait_for(&value, &environment);
        all.fleet.each(&value, |sdk| {
            sdk.wait_value("guarded", &ann(), "boolean", &json!(round % 2 == 0));
        });
    }
    all.nobody_had_to_reconnect();
}

#[test]
fn a_segment_and_the_flag_that_uses_it_change_together() {
    let mut environment = environment();
    let mut all = AllSdks::start("segment and flag", &environment);
    // FeatBit raises `updatedAt` of the flags that use a segment: after it, before it, or in the same millisecond.
    for (round, flag_later_ms) in [(1, 1_100), (2, 1_900), (3, 3_000), (4, 4_000)] {
        let member = round % 2 == 1;
        let insiders = environment.segment_mut(&guid_of("insiders"));
        insiders["included"] = if member { json!(["ann"]) } else { json!([]) };
        touch(insiders, 1_000 * round);
        touch(environment.flag_mut("guarded"), flag_later_ms);
        all.load(&environment);
        all.fleet.each("the member gets the other variation", |sdk| {
            sdk.wait_value("guarded", &ann(), "boolean", &json!(!member));
        });
        all.strict.iter_mut().for_each(|sdk| sdk.wait_for(&environment));
    }
    all.nobody_had_to_reconnect();
}

#[test]
fn an_archived_flag_is_gone_and_comes_back() {
    let mut environment = environment();
    let mut gone = boolean_flag("gone");
    serve(&mut gone, "v1");
    environment.add_flag(gone);
    let mut all = AllSdks::start("archived", &environment);
    for later_ms in [1_000, 3_000] {
        all.fleet.each("it is there", |sdk| {
            sdk.wait_value_or("gone", &ann(), "boolean", &json!(false), &json!(true));
        });
        let flag = environment.flag_mut("gone");
        flag["isArchived"] = json!(true);
        touch(flag, later_ms);
        set(&mut environment, "f0", "archived", later_ms + 500);
        all.load(&environment);
        all.wait_for("what changed with it", &environment);
        all.fleet.each("it is archived", |sdk| {
            let value = json!(!sdk.differs("evaluates-archived"));
            sdk.wait_value_or("gone", &ann(), "boolean", &value, &json!(true));
        });
        let flag = environment.flag_mut("gone");
        flag["isArchived"] = json!(false);
        touch(flag, later_ms + 1_000);
        all.load(&environment);
        all.strict.iter_mut().for_each(|sdk| sdk.wait_for(&environment));
    }
    all.fleet.each("it is back", |sdk| {
        sdk.wait_value_or("gone", &ann(), "boolean", &json!(false), &json!(true));
    });
    all.nobody_had_to_reconnect();
}

#[test]
fn an_item_older_than_what_sdks_have_reaches_all_at_once() {
    let mut environment = environment();
    let mut all = AllSdks::start("a late item", &environment);
    set(&mut environment, "f0", "new", 2_000);
    all.load(&environment);
    all.wait_for("a change", &environment);
    // Newer than what there was of it, but not than everything; and one in the millisecond of the newest.
    for (key, later_ms) in [("f1", 1_000), ("f2", 2_000)] {
        set(&mut environment, key, "late", later_ms);
        all.load(&environment);
        all.wait_for("a late item", &environment);
    }
    all.nobody_had_to_reconnect();
}

#[test]
fn an_edit_without_a_date_and_a_removal_reach_all_at_once() {
    let mut environment = environment();
    let mut all = AllSdks::start("undated, removed", &environment);
    for round in 0..3 {
        let value = format!("undated {round}");
        environment.flag_mut("f4")["variations"][0]["value"] = json!(value);
        all.load(&environment);
        all.wait_for(&value, &environment);
        let key = format!("f{round}");
        environment.remove_flag(&key);
        all.load(&environment);
        all.fleet.each("it is gone", |sdk| sdk.wait_gone(&key, &ann()));
        all.strict.iter_mut().for_each(|sdk| sdk.wait_for(&environment));
    }
    all.nobody_had_to_reconnect();
}

#[test]
fn a_late_item_beside_newer_ones_reaches_all_at_once() {
    let mut environment = environment();
    let mut all = AllSdks::start("late and newer", &environment);
    set(&mut environment, "f0", "new", 2_000);
    all.load(&environment);
    all.wait_for("a change", &environment);
    set(&mut environment, "f1", "late", 1_000);
    set(&mut environment, "f2", "late", 2_000);
    set(&mut environment, "f3", "newer", 2_500);
    environment.add_flag(text_flag("added", "late", 1_500));
    all.load(&environment);
    all.wait_for("late and newer", &environment);
    all.nobody_had_to_reconnect();
}

#[test]
fn a_rollback_reaches_all_at_once() {
    let mut environment = environment();
    let mut all = AllSdks::start("data went back", &environment);
    let before = environment.clone();
    set(&mut environment, "f0", "mistake", 2_000);
    environment.add_flag(text_flag("mistake", "mistake", 2_100));
    all.load(&environment);
    all.wait_for("a mistake", &environment);
    let mut environment = before;
    all.load(&environment);
    all.wait_for("what there was before", &environment);
    all.fleet.each("the mistake is gone", |sdk| sdk.wait_gone("mistake", &ann()));
    set(&mut environment, "f1", "newer", 3_000);
    all.load(&environment);
    all.wait_for("the next change", &environment);
    all.nobody_had_to_reconnect();
}

#[test]
fn changes_one_after_the_other_are_reported_once_each() {
    const CHANGES: i64 = 12;
    let mut environment = environment();
    let mut all = AllSdks::start("reported once", &environment);
    let reported = |sdk: &mut Sdk, key: &str| sdk.updates().iter().filter(|have| *have == key).count();
    all.fleet.sdks.retain(|sdk| !sdk.differs("reports-no-changes"));
    let before: Vec<usize> = all.fleet.sdks.iter_mut().map(|sdk| reported(sdk, "f0")).collect();
    for change in 1..=CHANGES {
        set(&mut environment, "f0", &format!("change {change}"), 1_000 * change);
        all.load(&environment);
        // The same again changes nothing.
        all.load(&environment);
        all.wait_for("a change", &environment);
    }
    // What was sent before this has been reported when this is.
    set(&mut environment, "f1", "last", 1_000 * (CHANGES + 1));
    all.load(&environment);
    all.wait_for("the last change", &environment);
    for (sdk, before) in all.fleet.sdks.iter_mut().zip(before) {
        wait_until("the last change is reported", SOON, || {
            sdk.updates().contains(&"f1".to_owned()).then_some(())
        });
        assert_eq!(reported(sdk, "f0") - before, CHANGES as usize, "{}", sdk.label());
    }
    all.nobody_had_to_reconnect();
}

#[test]
fn a_secret_put_back_within_the_grace_brings_what_changed_meanwhile() {
    let mut environment = environment();
    let mut all = AllSdks::start("secret put back", &environment);
    for round in 1..3 {
        all.agent.bootstrap(&Dataset::of([Environment::new(2).flag(boolean_flag("a"))]));
        for (key, later_ms) in [("f5", 100), ("f1", 200), ("f3", 200)] {
            set(&mut environment, key, &format!("round {round}"), 1_000 * round + later_ms);
        }
        all.load(&environment);
        all.wait_for("as if nothing had been", &environment);
    }
    all.nobody_had_to_reconnect();
}

/// Streaming SDKs and strict ones whose agent reads a data file.
fn followers(test: &str, environment: &Environment) -> AllSdks {
    let agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let fleet = started(test, &agent, environment, |mode| mode == Mode::Streaming);
    let strict = StrictSdk::of_each_name(&agent, environment);
    AllSdks { agent, fleet, strict }
}

impl AllSdks {
    /// Restarts the agent with this data; everybody comes back once.
    fn restart(&mut self, environment: &Environment) {
        let status = self.agent.stop();
        assert!(status.success(), "the agent ended with {status}");
        self.fleet.each("the connection is gone", |sdk| {
            sdk.wait_state(json!({ "connected": false }));
        });
        for sdk in &mut self.strict {
            // The Java SDK does not notice a close frame, so it is sent none.
            assert_eq!(sdk.wait_closed(), if sdk.is_java() { None } else { Some(1001) });
        }
        self.agent.write_data(&Dataset::of([environment.clone()]));
        self.agent.start_again();
        self.fleet.each("it is back", |sdk| {
            sdk.wait_state(json!({ "connects": 2, "connected": true }));
        });
        for sdk in &mut self.strict {
            sdk.reconnect(&self.agent);
        }
    }
}

#[test]
fn changes_while_the_agent_was_away_are_asked_for_by_timestamp_and_accepted_at_once() {
    for share in [false, true] {
        let mut environment = environment();
        let mut all = followers("changed while away", &environment);
        for (key, later_ms) in [("f2", 1_300), ("f0", 1_200), ("f4", 1_100)] {
            set(&mut environment, key, "new", if share { 1_300 } else { later_ms });
        }
        let insiders = environment.segment_mut(&guid_of("insiders"));
        insiders["included"] = json!(["ann"]);
        touch(insiders, if share { 1_300 } else { 1_150 });
        environment.add_flag(text_flag("added", "new", 1_250));
        all.restart(&environment);
        all.wait_for("what changed", &environment);
        all.fleet.each("the segment too", |sdk| {
            sdk.wait_value("guarded", &ann(), "boolean", &json!(false));
        });
        set(&mut environment, "f1", "new", 2_000);
        all.agent.write_data(&Dataset::of([environment.clone()]));
        all.wait_for("a change after it", &environment);
        nobody_had_to_reconnect(&mut all.fleet, 2);
    }
}

#[test]
fn an_agent_that_comes_back_with_older_data_disconnects_no_sdk_and_sends_what_is_newer() {
    let older = environment();
    let mut environment = older.clone();
    let mut all = followers("older data", &environment);
    set(&mut environment, "f0", "new", 2_000);
    all.agent.write_data(&Dataset::of([environment.clone()]));
    all.wait_for("a change", &environment);
    all.restart(&older);
    // As with every server: data that the SDK has and the agent lacks stays, since neither can know about it.
    values_are_seen(&mut all.fleet, "what they have", &environment, |_, _| true);
    all.strict.iter_mut().for_each(StrictSdk::read_all);
    let mut environment = older;
    set(&mut environment, "f0", "newer", 3_000);
    all.agent.write_data(&Dataset::of([environment.clone()]));
    all.wait_for("a change after it", &environment);
    nobody_had_to_reconnect(&mut all.fleet, 2);
}
