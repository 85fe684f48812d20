//! The variables of FeatBit's own compose file and `docker run` line start this agent as they are.

#![allow(clippy::expect_used, reason = "a test that cannot go on shall fail")]

mod common;

use common::SOON;
use common::agent::{Builder, run_to_end};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, user};
use common::ws::Stream;
use serde_json::json;

/// The variables of the `docker-compose.yml` in the repository of FeatBit's agent, in its order.
const COMPOSE: &[(&str, &str)] = &[
    ("ASPNETCORE_ENVIRONMENT", "Production"),
    ("ASPNETCORE_URLS", "http://+:6100"),
    ("Mode", "auto"),
    ("AgentId", "docker-agent-001"),
    ("StreamingUri", "ws://evaluation-server:5100"),
    ("ApiKey", "your-api-key-here"),
    ("ForwardEvents", "true"),
    ("EventUri", "http://evaluation-server:5100"),
];

/// The compose file's variables in manual mode, and on a free port: two agents may be tested at a time.
fn manual() -> Builder {
    let mut builder = Builder::bare();
    for (name, value) in COMPOSE {
        builder = match *name {
            "Mode" => builder.env(name, "manual"),
            "ASPNETCORE_URLS" => {
                assert_eq!(*value, "http://+:6100");
                builder.env(name, "http://+:0")
            }
            "ApiKey" => builder.api_key(),
            _ => builder.env(name, value),
        };
    }
    builder
}

fn serves(mut agent: common::agent::Agent) {
    agent.get("/health/liveness", &[]).expect(200);
    agent.get("/health/readiness", &[]).expect(503);
    let environment = Environment::new(1).flag(boolean_flag("a"));
    let answer = agent.bootstrap(&Dataset::of([environment.clone()]));
    assert_eq!(answer["serves"], "project-1:production");
    agent.get("/health/readiness", &[]).expect(200);
    let mut stream = Stream::connect(&agent, Kind::Client, &environment.secret(Kind::Client));
    stream.request_data_for(0, &user("ann", &[]));
    let data = stream.next_data();
    assert_eq!((&data["eventType"], &data["featureFlags"][0]["variation"]), (&json!("full"), &json!("true")));
    assert!(agent.stop().success());
}

#[test]
fn the_compose_file_in_manual_mode_starts_this_agent() {
    let agent = manual().start();
    // `+` is every address, IPv6 too.
    let over_ipv6 = std::net::TcpStream::connect(("::1", agent.port()));
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    assert_eq!(over_ipv6.is_ok(), has_ipv6, "{over_ipv6:?}");
    serves(agent);
}

#[test]
fn the_compose_file_in_manual_mode_without_the_server_it_cannot_reach_starts_this_agent() {
    let agent = Builder::bare()
        .env("ASPNETCORE_ENVIRONMENT", "Production")
        .env("ASPNETCORE_URLS", "http://+:0")
        .env("Mode", "manual")
        .api_key()
        .env("ForwardEvents", "false")
        .start();
    serves(agent);
}

#[test]
fn variables_in_upper_case_start_this_agent() {
    let agent = Builder::bare()
        .env("ASPNETCORE_URLS", "http://+:0")
        .env("MODE", "MANUAL")
        .env("APIKEY", common::agent::API_KEY)
        .env("FORWARDEVENTS", "FALSE")
        .start();
    serves(agent);
}

#[test]
fn a_compose_file_that_lacks_what_its_mode_needs_ends_the_start_with_78() {
    let (code, printed) = run_to_end(&[], &[("ASPNETCORE_URLS", "http://+:0"), ("Mode", "manual")], SOON);
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains("ApiKey") && printed.contains("DataFile"), "{printed}");
}

#[test]
fn a_mode_that_does_not_exist_ends_the_start_with_78() {
    let (code, printed) = run_to_end(&[], &[("Mode", "manuel"), ("ApiKey", "rp-secret-of-mine")], SOON);
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains("manuel") && !printed.contains("rp-secret-of-mine"), "{printed}");
}

/// The variables of both agents in the example, with the value that they have without a variable of the shell.
fn example_variables() -> Vec<(String, String)> {
    let text = include_str!("../examples/compose-cluster.yml");
    let (_, block) =
        text.split_once("x-environment: &environment\n").expect("the example has common variables");
    let lines = block.lines().take_while(|line| line.starts_with("  "));
    let pairs = lines.map(|line| line.trim().split_once(": ").expect("a variable and its value"));
    let value = |value: &str| match value.strip_prefix("${").and_then(|value| value.split_once(":-")) {
        Some((_, default)) => default.trim_end_matches('}').to_owned(),
        None => value.trim_matches('"').to_owned(),
    };
    pairs.map(|(name, text)| (name.to_owned(), value(text))).collect()
}

#[test]
fn the_example_with_redis_has_settings_that_the_agent_accepts() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = dir.path().join("api-key");
    std::fs::write(&key, "rp-secret-of-mine\n").expect("the key can be written");
    let own = |name: &str| dir.path().join(name).display().to_string();
    let variables = example_variables();
    assert!(variables.iter().any(|(name, _)| name == "Redis__ConnectionString"), "{variables:?}");
    let variables: Vec<(String, String)> = variables
        .into_iter()
        .map(|(name, value)| match name.as_str() {
            "ApiKey__File" => (name, own("api-key")),
            "BackupFile" => (name, own("backup.fb")),
            _ => (name, value),
        })
        .collect();
    let pairs: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
    let (code, printed) = run_to_end(&["check"], &pairs, SOON);
    assert_eq!(code, Some(0), "{printed}");
    assert!(!printed.contains("Warning"), "{printed}");
    for (name, _) in pairs.iter().filter(|(name, value)| !value.is_empty() && *name != "ASPNETCORE_URLS") {
        assert!(printed.contains(name), "{name} is not among the settings: {printed}");
    }
}
