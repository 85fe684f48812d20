//! Data that costs much: thousands of rules, patterns made to take memory or time. Memory stays within what the limits
//! say, and everybody is answered.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{
    Dataset, Environment, Kind, boolean_flag, condition, everybody, rule, segment, touch, user,
};
use common::memory::{Growth, MB};
use common::ws::Stream;
use serde_json::{Value, json};

/// What the allocator may keep beside what is in use, and what code and stacks take that are used for the first time.
const SLACK: usize = 24 * MB;

/// A flag with so many rules, whose number `n` has the conditions that `conditions` gives and serves `v1`; `v0` else.
fn flag_with_rules(rules: usize, conditions: impl Fn(usize) -> Vec<Value>) -> Value {
    let mut flag = boolean_flag("ruled");
    let rules: Vec<Value> =
        (0..rules).map(|n| rule(&format!("rule-{n}"), conditions(n), everybody("v1"))).collect();
    flag["rules"] = json!(rules);
    flag
}

fn variation(agent: &Agent, environment: &Environment, attributes: &[(&str, &str)]) -> Value {
    let flags = agent.evaluate(&environment.secret(Kind::Client), &user("anna", attributes));
    flags["ruled"]["variation"].clone()
}

/// Waits until a limit was hit.
fn wait_hit(agent: &Agent, limit: &str) {
    agent.wait_metric_at_least("featbit_agent_limits_hit_total", &format!("\"{limit}\""), 1.0);
}

fn ten_thousand_rules(loads: i64) {
    const RULES: usize = 10_000;
    let mut people = segment("people");
    people["included"] = json!((0..1000).map(|n| format!("user-{n}")).collect::<Vec<_>>());
    let people_id = people["id"].as_str().unwrap().to_owned();
    let conditions = |n: usize| {
        vec![
            condition("country", "IsOneOf", &json!(["de", "fr", format!("c{n}")]).to_string()),
            condition("age", "BiggerThan", "17"),
            common::dataset::segment_condition(&[&people_id], true),
            condition("number", "Equal", &n.to_string()),
        ]
    };
    let environment = Environment::new(1).segment(people.clone()).flag(flag_with_rules(RULES, conditions));
    let mut data = Dataset::of([environment.clone()]);
    let agent = Builder::offline().api_key().start();
    let growth = Growth::of(&agent);
    agent.bootstrap(&data);
    let bytes = data.to_text().len();
    let mut streams = [Kind::Server, Kind::Client].map(|kind| {
        let mut stream = Stream::connect(&agent, kind, &environment.secret(kind));
        match kind {
            Kind::Server => stream.request_data(0),
            Kind::Client => stream.request_data_for(0, &user("anna", &[("number", "7")])),
        }
        assert_eq!(stream.next_data()["eventType"], "full");
        stream
    });
    for load in 1..=loads {
        let flag = data.environments[0].flag_mut("ruled");
        touch(flag, load);
        agent.bootstrap(&data);
        for stream in &mut streams {
            assert_eq!(stream.next_data()["featureFlags"].as_array().unwrap().len(), 1);
        }
        let last = (RULES - 1).to_string();
        for (number, expected) in [(last.as_str(), "false"), ("10000", "true")] {
            let attributes = [("country", "de"), ("age", "18"), ("number", number)];
            assert_eq!(variation(&agent, &environment, &attributes), expected);
        }
    }
    // The old and the new one, each with its text, its compiled and its encoded form, and the parsing of the next.
    growth.expect_within(
        &format!("a flag of {RULES} rules, {bytes} bytes, loaded {loads} times"),
        24 * bytes + SLACK,
    );
}

#[test]
fn a_flag_with_ten_thousand_rules_is_served() {
    ten_thousand_rules(3);
}

#[test]
#[ignore = "soak"]
fn a_flag_with_ten_thousand_rules_is_replaced_again_and_again() {
    ten_thousand_rules(100);
}

/// What went wrong: patterns that left the data stayed in memory.
#[test]
fn patterns_are_bounded_together_and_freed_with_the_data() {
    const LIMIT: usize = 32 * MB;
    let patterns = |salt: &'static str| {
        // Each takes some 0.5 MB: letters of all scripts, again and again.
        move |n: usize| vec![condition("text", "MatchRegex", &format!(r"^{salt}{n}\w{{8}}é?$"))]
    };
    let agent = Builder::offline().api_key().env("Limits__RegexTotalBytes", &LIMIT.to_string()).start();
    let data = |salt| Dataset::of([Environment::new(1).flag(flag_with_rules(300, patterns(salt)))]);
    let growth = Growth::of(&agent);
    for salt in ["a", "b", "c", "d"] {
        let data = data(salt);
        agent.bootstrap(&data);
        let taken = agent.metric("featbit_agent_regex_bytes", "");
        assert!(taken > LIMIT as f64 / 2.0 && taken <= 2.0 * LIMIT as f64, "{taken} bytes");
        // The first ones fit, and are true; what does not fit is never true.
        let text = |n: usize| format!("{salt}{n}abcdefgh");
        let environment = &data.environments[0];
        assert_eq!(variation(&agent, environment, &[("text", &text(0))]), "false");
        assert_eq!(variation(&agent, environment, &[("text", &text(299))]), "true");
    }
    wait_hit(&agent, "regex_total_bytes");
    agent.wait_line("Limits__RegexTotalBytes");
    // Twice, while one is being replaced; half as much again for what the estimate leaves out.
    growth.expect_within("300 large patterns, replaced three times", 3 * LIMIT + SLACK);
    agent.bootstrap(&Dataset::of([Environment::new(1).flag(boolean_flag("ruled"))]));
    agent.wait_metric("featbit_agent_regex_bytes", "", 0.0);
}

#[test]
fn patterns_built_to_be_large_or_to_backtrack_for_ever_harm_nothing() {
    let evil = [
        r"^(?:(?=a)a+)+$",
        r"^(a|aa|a(?=a))+$",
        r"(?<x>a+)+\k<x>b",
        r"^(?:(?:(?:a?){20}){20}){20}(?!b)$",
        r"(?:\w{1000}){1000}",
        &(0..300).map(|n| format!(r"(?=.*\d{{{}}})", 100 + n)).collect::<String>(),
        &format!("{}a{}", "(?:".repeat(5000), ")*".repeat(5000)),
        &"(a".repeat(30).to_owned(),
    ]
    .map(str::to_owned);
    let conditions = |n: usize| vec![condition("text", "MatchRegex", &evil[n])];
    let agent = Builder::offline().api_key().env("Limits__RegexSteps", "20000").start();
    let environment = Environment::new(1).flag(flag_with_rules(evil.len(), conditions));
    let growth = Growth::of(&agent);
    agent.bootstrap(&Dataset::of([environment.clone()]));
    let long = "a".repeat(4000);
    for text in ["", "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", &format!("{long}b"), &long.repeat(2)] {
        for _ in 0..3 {
            let found = variation(&agent, &environment, &[("text", text)]);
            assert!(found == "true" || found == "false", "{found}");
        }
    }
    // Some were refused when they were compiled, some searches given up.
    wait_hit(&agent, "regex_steps");
    wait_hit(&agent, "regex_program_bytes");
    // Those that are compiled take 10 MB each at most; two threads search with them.
    growth.expect_within("patterns made to be large or to go back", 40 * MB + SLACK);
}
