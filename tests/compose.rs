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
