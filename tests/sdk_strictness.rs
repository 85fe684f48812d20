//! Changes that some SDKs do not take, or only in one order: real SDKs, and beside them two that take as little as those
//! of Java and Go. Each scenario ends with everybody right, and nobody made to come back by what it was sent.

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
struct Company {
    agent: Agent,
    fleet: Fleet,
    strict: Vec<StrictSdk>,
}

impl Company {
    fn gather(test: &str, environment: &Environment) -> Self {
        let agent = Builder::offline().api_key().start();
        agent.bootstrap(&Dataset::of([environment.clone()]));
        let fleet = started(test, &agent, environment, |_| true);
        let strict = StrictSdk::of_each_name(&agent, environment);
        Self { agent, fleet, strict }
    }

    fn bring(&self, environment: &Environment) {
        self.agent.bootstrap(&Dataset::of([environment.clone()]));
    }

    /// Waits until every text flag has its value everywhere, and the strict have all there is.
    fn wait_for(&mut self, step: &str, environment: &Environment) {
        values_are_seen(&mut self.fleet, step, environment, |_, _| true);
        self.strict.iter_mut().for_each(|sdk| sdk.wait_for(environment));
    }

    /// Nobody was made to come back.
    fn nobody_was_shaken(&mut self) {
        nobody_was_shaken(&mut self.fleet, 1);
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

fn nobody_was_shaken(fleet: &mut Fleet, connects: u64) {
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
fn many_items_of_one_dump_arrive_in_an_order_that_every_sdk_takes() {
    let mut environment = environment();
    let mut company = Company::gather("many items at once", &environment);
    // Neither in the order of the dump, nor flags before segments.
    for (key, later_ms) in [("f3", 1_000), ("f0", 1_100), ("f5", 1_300), ("f1", 1_500)] {
        set(&mut environment, key, "new", later_ms);
    }
    let insiders = environment.segment_mut(&guid_of("insiders"));
    insiders["included"] = json!(["ann"]);
    touch(insiders, 1_200);
    touch(environment.flag_mut("guarded"), 1_400);
    environment.add_flag(text_flag("added", "new", 1_250));
    company.bring(&environment);
    company.wait_for("all of them", &environment);
    company.fleet.each("the segment too", |sdk| {
        sdk.wait_value("guarded", &ann(), "boolean", &json!(false));
    });
    company.nobody_was_shaken();
}

#[test]
fn items_that_share_a_millisecond_arrive_at_every_sdk() {
    let mut environment = environment();
    let mut company = Company::gather("one millisecond", &environment);
    for round in 1..4 {
        let value = format!("round {round}");
        for key in ["f4", "f2", "f0"] {
            set(&mut environment, key, &value, 1_000 * round);
        }
        let insiders = environment.segment_mut(&guid_of("insiders"));
        insiders["included"] = if round % 2 == 1 { json!(["ann"]) } else { json!([]) };
        touch(insiders, 1_000 * round);
        company.bring(&environment);
        company.wait_for(&value, &environment);
        company.fleet.each(&value, |sdk| {
            sdk.wait_value("guarded", &ann(), "boolean", &json!(round % 2 == 0));
        });
    }
    company.nobody_was_shaken();
}

#[test]
fn a_segment_and_the_flag_that_uses_it_change_together() {
    let mut environment = environment();
    let mut company = Company::gather("segment and flag", &environment);
    // FeatBit raises `updatedAt` of the flags that use a segment: after it, before it, or in the same millisecond.
    for (round, flag_later_ms) in [(1, 1_100), (2, 1_900), (3, 3_000), (4, 4_000)] {
        let member = round % 2 == 1;
        let insiders = environment.segment_mut(&guid_of("insiders"));
        insiders["included"] = if member { json!(["ann"]) } else { json!([]) };
        touch(insiders, 1_000 * round);
        touch(environment.flag_mut("guarded"), flag_later_ms);
        company.bring(&environment);
        company.fleet.each("the member gets the other variation", |sdk| {
            sdk.wait_value("guarded", &ann(), "boolean", &json!(!member));
        });
        company.strict.iter_mut().for_each(|sdk| sdk.wait_for(&environment));
    }
    company.nobody_was_shaken();
}

#[test]
fn an_archived_flag_is_gone_and_comes_back() {
    let mut environment = environment();
    let mut gone = boolean_flag("gone");
    serve(&mut gone, "v1");
    environment.add_flag(gone);
    let mut company = Company::gather("archived", &environment);
    for later_ms in [1_000, 3_000] {
        company.fleet.each("it is there", |sdk| {
            sdk.wait_value_or("gone", &ann(), "boolean", &json!(false), &json!(true));
        });
        let flag = environment.flag_mut("gone");
        flag["isArchived"] = json!(true);
        touch(flag, later_ms);
        set(&mut environment, "f0", "archived", later_ms + 500);
        company.bring(&environment);
        company.wait_for("what changed with it", &environment);
        company.fleet.each("it is archived", |sdk| {
            let value = json!(!sdk.differs("evaluates-archived"));
            sdk.wait_value_or("gone", &ann(), "boolean", &value, &json!(true));
        });
        let flag = environment.flag_mut("gone");
        flag["isArchived"] = json!(false);
        touch(flag, later_ms + 1_000);
        company.bring(&environment);
        company.strict.iter_mut().for_each(|sdk| sdk.wait_for(&environment));
    }
    company.fleet.each("it is back", |sdk| {
        sdk.wait_value_or("gone", &ann(), "boolean", &json!(false), &json!(true));
    });
    company.nobody_was_shaken();
}

#[test]
fn an_item_older_than_what_sdks_have_reaches_all_at_once() {
    let mut environment = environment();
    let mut company = Company::gather("a late item", &environment);
    set(&mut environment, "f0", "new", 2_000);
    company.bring(&environment);
    company.wait_for("a change", &environment);
    // Newer than what there was of it, but not than everything; and one in the millisecond of the newest.
    for (key, later_ms) in [("f1", 1_000), ("f2", 2_000)] {
        set(&mut environment, key, "late", later_ms);
        company.bring(&environment);
        company.wait_for("a late item", &environment);
    }
    company.nobody_was_shaken();
}

#[test]
fn an_edit_without_a_date_and_a_removal_reach_all_at_once() {
    let mut environment = environment();
    let mut company = Company::gather("undated, removed", &environment);
    for round in 0..3 {
        let value = format!("undated {round}");
        environment.flag_mut("f4")["variations"][0]["value"] = json!(value);
        company.bring(&environment);
        company.wait_for(&value, &environment);
        let key = format!("f{round}");
        environment.remove_flag(&key);
        company.bring(&environment);
        company.fleet.each("it is gone", |sdk| sdk.wait_gone(&key, &ann()));
        company.strict.iter_mut().for_each(|sdk| sdk.wait_for(&environment));
    }
    company.nobody_was_shaken();
}

#[test]
fn a_late_item_beside_newer_ones_reaches_all_at_once() {
    let mut environment = environment();
    let mut company = Company::gather("late and newer", &environment);
    set(&mut environment, "f0", "new", 2_000);
    company.bring(&environment);
    company.wait_for("a change", &environment);
    set(&mut environment, "f1", "late", 1_000);
    set(&mut environment, "f2", "late", 2_000);
    set(&mut environment, "f3", "newer", 2_500);
    environment.add_flag(text_flag("added", "late", 1_500));
    company.bring(&environment);
    company.wait_for("late and newer", &environment);
    company.nobody_was_shaken();
}

#[test]
fn data_that_went_back_reaches_all_at_once() {
    let mut environment = environment();
    let mut company = Company::gather("data went back", &environment);
    let before = environment.clone();
    set(&mut environment, "f0", "mistake", 2_000);
    environment.add_flag(text_flag("mistake", "mistake", 2_100));
    company.bring(&environment);
    company.wait_for("a mistake", &environment);
    let mut environment = before;
    company.bring(&environment);
    company.wait_for("what there was before", &environment);
    company.fleet.each("the mistake is gone", |sdk| sdk.wait_gone("mistake", &ann()));
    set(&mut environment, "f1", "newer", 3_000);
    company.bring(&environment);
    company.wait_for("the next change", &environment);
    company.nobody_was_shaken();
}

#[test]
fn changes_one_after_the_other_are_reported_once_each() {
    const CHANGES: i64 = 12;
    let mut environment = environment();
    let mut company = Company::gather("reported once", &environment);
    let reported = |sdk: &mut Sdk, key: &str| sdk.updates().iter().filter(|have| *have == key).count();
    company.fleet.sdks.retain(|sdk| !sdk.differs("reports-no-changes"));
    let before: Vec<usize> = company.fleet.sdks.iter_mut().map(|sdk| reported(sdk, "f0")).collect();
    for change in 1..=CHANGES {
        set(&mut environment, "f0", &format!("change {change}"), 1_000 * change);
        company.bring(&environment);
        // The same again changes nothing.
        company.bring(&environment);
        company.wait_for("a change", &environment);
    }
    // What was sent before this has been reported when this is.
    set(&mut environment, "f1", "last", 1_000 * (CHANGES + 1));
    company.bring(&environment);
    company.wait_for("the last change", &environment);
    for (sdk, before) in company.fleet.sdks.iter_mut().zip(before) {
        wait_until("the last change is reported", SOON, || {
            sdk.updates().contains(&"f1".to_owned()).then_some(())
        });
        assert_eq!(reported(sdk, "f0") - before, CHANGES as usize, "{}", sdk.label());
    }
    company.nobody_was_shaken();
}

#[test]
fn a_secret_put_back_within_the_grace_brings_what_changed_meanwhile() {
    let mut environment = environment();
    let mut company = Company::gather("secret put back", &environment);
    for round in 1..3 {
        company.agent.bootstrap(&Dataset::of([Environment::new(2).flag(boolean_flag("a"))]));
        for (key, later_ms) in [("f5", 100), ("f1", 200), ("f3", 200)] {
            set(&mut environment, key, &format!("round {round}"), 1_000 * round + later_ms);
        }
        company.bring(&environment);
        company.wait_for("as if nothing had been", &environment);
    }
    company.nobody_was_shaken();
}

/// Streaming SDKs and strict ones whose agent reads a data file.
fn followers(test: &str, environment: &Environment) -> Company {
    let agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let fleet = started(test, &agent, environment, |mode| mode == Mode::Streaming);
    let strict = StrictSdk::of_each_name(&agent, environment);
    Company { agent, fleet, strict }
}

impl Company {
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
fn what_changed_while_the_agent_was_away_is_asked_for_by_timestamp_and_taken_at_once() {
    for share in [false, true] {
        let mut environment = environment();
        let mut company = followers("changed while away", &environment);
        for (key, later_ms) in [("f2", 1_300), ("f0", 1_200), ("f4", 1_100)] {
            set(&mut environment, key, "new", if share { 1_300 } else { later_ms });
        }
        let insiders = environment.segment_mut(&guid_of("insiders"));
        insiders["included"] = json!(["ann"]);
        touch(insiders, if share { 1_300 } else { 1_150 });
        environment.add_flag(text_flag("added", "new", 1_250));
        company.restart(&environment);
        company.wait_for("what changed", &environment);
        company.fleet.each("the segment too", |sdk| {
            sdk.wait_value("guarded", &ann(), "boolean", &json!(false));
        });
        set(&mut environment, "f1", "new", 2_000);
        company.agent.write_data(&Dataset::of([environment.clone()]));
        company.wait_for("a change after it", &environment);
        nobody_was_shaken(&mut company.fleet, 2);
    }
}

#[test]
fn an_agent_that_comes_back_with_older_data_shakes_nobody_and_brings_what_is_newer() {
    let older = environment();
    let mut environment = older.clone();
    let mut company = followers("older data", &environment);
    set(&mut environment, "f0", "new", 2_000);
    company.agent.write_data(&Dataset::of([environment.clone()]));
    company.wait_for("a change", &environment);
    company.restart(&older);
    // As every server would: what an SDK has and the agent has not stays as it is, since nothing tells them apart.
    values_are_seen(&mut company.fleet, "what they have", &environment, |_, _| true);
    company.strict.iter_mut().for_each(StrictSdk::read_all);
    let mut environment = older;
    set(&mut environment, "f0", "newer", 3_000);
    company.agent.write_data(&Dataset::of([environment.clone()]));
    company.wait_for("a change after it", &environment);
    nobody_was_shaken(&mut company.fleet, 2);
}
