//! Agent mode from the start to the first data: whatever the server and the network do meanwhile, the agent gets its data,
//! and no SDK is refused for good.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, user};
use common::following::{self, AGENT_ID, set, two_flags};
use common::raw::SERVER_POLL;
use common::server::delayed::Delay;
use common::server::script::{Answer, Opening, Register, Shape};
use common::server::{Paths, Server};
use common::watcher::Watcher;
use common::ws::Stream;
use common::{SOON, wait_until};
use serde_json::json;

fn server() -> Server {
    Server::start(&Dataset::of([two_flags(1)]))
}

fn secret() -> String {
    two_flags(1).secret(Kind::Server)
}

/// A new SDK gets the data, and a change after it, once each.
fn serves(agent: &Agent, server: &Server, later_ms: i64) {
    following::serves(agent, server, &two_flags(1), "a", later_ms);
}

#[test]
fn the_agent_registers_asks_for_a_full_sync_and_serves_it() {
    let server = server();
    let agent = Builder::following(&server).start();
    agent.wait_stable();
    let registration = &server.wait_registrations(1)[0];
    let request = &registration.request;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/api/public/agent/register"));
    assert_eq!(request.header("authorization"), Some(API_KEY));
    assert_eq!(request.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(request.body, format!("\"{AGENT_ID}\"").as_bytes());
    let relay = server.wait_request(0);
    assert_eq!(relay.handshake.target, format!("/streaming?type=relay-proxy&token={API_KEY}"));
    assert_eq!(relay.requests()[0], json!({ "messageType": "data-sync", "data": { "timestamp": 0 } }));
    serves(&agent, &server, 1000);
    let mut client = Watcher::client(&agent, &two_flags(1).secret(Kind::Client), &user("ann", &[]));
    // Its reactor may hear of the change a moment later than that of the other.
    client.wait_variation("a", "v1");
    set(&server, &two_flags(1), "b", "v1", 2000);
    client.wait_variation("b", "v1");
    client.expect_nothing_new();
    assert_eq!((server.registrations().len(), server.relays().len()), (1, 1));
    assert!(server.other_requests().is_empty(), "{:?}", server.other_requests());
}

#[test]
fn the_agent_reports_under_the_name_that_the_server_returns() {
    let server = server();
    server.next_registers([Register::Id("the-server's-name")]);
    let agent = Builder::following(&server).start();
    agent.wait_stable();
    let relay = server.wait_relay(0);
    let report = wait_until("a status report", SOON, || {
        relay.statuses().into_iter().find(|report| report["status"]["syncState"] == "Stable")
    });
    assert_eq!(report["agentId"], "the-server's-name");
    assert_eq!(report["status"]["serves"], "project-1:production");
    assert!(
        report["status"]["dataVersion"].is_i64() && report["status"]["reportedAt"].is_string(),
        "{report}"
    );
}

#[test]
fn the_path_of_the_address_is_used_for_both_calls_and_registration_is_retried_without_it() {
    for registers in ["/flags/api/public/agent/register", "/api/public/agent/register"] {
        let server =
            server().paths(Paths { registers: vec![registers.into()], streaming: "/flags/streaming".into() });
        let agent = Builder::following_at(&format!("{}/flags/", server.url())).start();
        agent.wait_stable();
        assert_eq!(server.wait_registrations(1).len(), 1);
        serves(&agent, &server, 1000);
        let tried: &[&str] =
            if registers.starts_with("/flags") { &[] } else { &["/flags/api/public/agent/register"] };
        assert_eq!(server.other_requests(), tried);
    }
}

#[test]
fn an_http_address_works_like_a_ws_address() {
    let server = server();
    let agent = Builder::following_at(&server.http_url()).start();
    agent.wait_stable();
    serves(&agent, &server, 1000);
}

#[test]
fn without_its_server_the_agent_starts_and_refuses_no_sdk_for_good() {
    let server = server();
    server.stop_listening();
    let agent = Builder::following(&server).env("Limits__VerdictWait", "1").start();
    assert_eq!(agent.readiness(), (503, "Unhealthy".into()));
    assert_eq!(agent.get("/health/liveness", &[]).status, 200);
    let mut held = Watcher::asking(&agent, &secret());
    let mut made_up = Watcher::asking(&agent, &two_flags(9).secret(Kind::Server));
    assert_eq!(held.expect_close(SOON), Some(1011));
    assert_eq!(made_up.expect_close(SOON), Some(1011));
    let poll = agent.get(&format!("{SERVER_POLL}?timestamp=0"), &[("Authorization", &secret())]);
    assert_eq!(poll.status, 503);
    assert!(poll.header("retry-after").is_some());
    server.start_listening();
    agent.wait_stable();
    serves(&agent, &server, 1000);
}

#[test]
fn sdks_that_wait_get_the_data_when_it_comes() {
    let server = server();
    server.delay(Delay::AsReleased);
    let agent = Builder::following(&server).env("Limits__VerdictWait", "60").start();
    server.wait_request(0);
    let mut waiting: Vec<Watcher> = (0..5).map(|_| Watcher::asking(&agent, &secret())).collect();
    // What changes before the answer is in it.
    set(&server, &two_flags(1), "a", "v1", 1000);
    server.release();
    for sdk in &mut waiting {
        sdk.expect_full();
        sdk.wait_variation("a", "v1");
        sdk.expect_nothing_new();
    }
}

#[test]
fn a_change_pushed_before_the_first_answer_is_not_lost() {
    let server = server();
    server.delay(Delay::AsRequested);
    let agent = Builder::following(&server).env("Limits__VerdictWait", "60").start();
    server.wait_request(0);
    let mut waiting = Watcher::asking(&agent, &secret());
    set(&server, &two_flags(1), "a", "v1", 1000);
    server.release();
    waiting.wait_variation("a", "v1");
    waiting.expect_nothing_new();
    assert_eq!(waiting.flags.len(), 2);
}

/// Starts an agent whose server does this first, with an SDK that waits for data: in the end that SDK is served.
fn gets_there(what: &str, prepare: impl Fn(&Server)) {
    println!("{what}");
    let server = server();
    prepare(&server);
    let agent = in_a_hurry(Builder::following(&server)).env("Limits__VerdictWait", "60").start();
    let mut early = Watcher::asking(&agent, &secret());
    early.expect_full();
    agent.wait_stable();
    serves(&agent, &server, 1000);
    early.wait_variation("a", "v1");
    early.expect_nothing_new();
    assert_eq!(early.events, ["full", "patch"], "{what}");
}

/// Time-outs and pauses that a test can wait for.
fn in_a_hurry(agent: Builder) -> Builder {
    agent
        .env("Upstream__ConnectSeconds", "1")
        .env("Upstream__SyncSeconds", "2")
        .env("Upstream__PingSeconds", "500ms")
        .env("Upstream__SilenceSeconds", "2")
        .env("Upstream__RetrySeconds", "200ms")
}

#[test]
fn the_agent_retries_after_every_answer_to_a_registration() {
    let answers = [
        Register::Status(400),
        Register::Status(401),
        Register::Status(403),
        Register::Status(404),
        Register::Status(408),
        Register::Status(429),
        Register::Status(500),
        Register::Status(502),
        Register::Status(503),
        Register::Text(200, "text/html", "<html>Sign in to this network</html>"),
        Register::Text(200, "text/plain; charset=utf-8", ""),
        Register::Text(204, "text/plain; charset=utf-8", ""),
        Register::Redirect(302, "http://127.0.0.1:1/elsewhere".into()),
        Register::Never,
        Register::Garbage,
        Register::Reset,
        Register::Half,
    ];
    for answer in answers {
        gets_there(&format!("{answer:?}"), |server| server.next_registers([answer.clone()]));
    }
}

#[test]
fn the_agent_retries_wherever_the_server_dies() {
    gets_there("after accepting", |server| server.script(|script| script.resets = 3));
    let openings = [
        Opening::Status(401),
        Opening::Status(403),
        Opening::Status(404),
        Opening::Status(429),
        Opening::Status(500),
        Opening::Status(502),
        Opening::Status(503),
        Opening::Redirect(302, "ws://127.0.0.1:1/elsewhere".into()),
        Opening::NoAnswer,
        Opening::ResetBeforeUpgrade,
        Opening::WrongAccept,
        Opening::ResetAfterUpgrade,
        Opening::Silent,
        Opening::ResetAtRequest,
        Opening::ResetWithin(1),
        Opening::ResetWithin(500),
        Opening::EndAfterAnswer,
    ];
    for opening in openings {
        gets_there(&format!("{opening:?}"), |server| server.next_openings([opening.clone()]));
    }
}

#[test]
fn the_agent_retries_after_every_close_code() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4000, 4003, 4999] {
        gets_there(&format!("close {code}"), |server| server.next_openings([Opening::Close(code)]));
    }
}

#[test]
fn the_agent_asks_again_after_every_bad_first_answer() {
    let answers = [
        Answer::None,
        Answer::Text("no JSON".into()),
        Answer::Text("[]".into()),
        Answer::Text(r#"{"messageType":"data-sync"}"#.into()),
        Answer::Text(r#"{"messageType":"data-sync","data":{"eventType":"rp_full"}}"#.into()),
        Answer::Text(
            r#"{"messageType":"data-sync","data":{"eventType":"rp_full","items":[{"envId":7}]}}"#.into(),
        ),
        Answer::Text(r#"{"messageType":"data-sync","data":{"eventType":"rp_nonsense","items":[]}}"#.into()),
        Answer::Bytes(b"{\"messageType\":\"data-sync\",\"data\":\"\xFF\"}".to_vec()),
    ];
    for answer in answers {
        gets_there(&format!("{answer:?}"), |server| server.next_answers([answer.clone()]));
    }
}

#[test]
fn a_binary_answer_works_like_a_text_answer() {
    let server = server();
    server.next_answers([Answer::Binary(server.full(API_KEY))]);
    let agent = Builder::following(&server).start();
    agent.wait_stable();
    assert_eq!(server.fulls(), 1);
    serves(&agent, &server, 1000);
}

#[test]
fn a_refused_key_is_logged_as_an_error_and_retried_until_it_is_accepted() {
    for status in [401, 403] {
        let server = server();
        server.script(|script| script.register_always = Some(Register::Status(status)));
        let agent = in_a_hurry(Builder::following(&server)).start();
        server.wait_registrations(4);
        // The reason, as an error, and without the key.
        agent.wait_line(&status.to_string());
        agent.wait_line("ERROR");
        assert!(!agent.log().contains(API_KEY), "{}", agent.log());
        assert_eq!(agent.readiness(), (503, "Unhealthy".into()));
        server.script(|script| script.register_always = None);
        agent.wait_stable();
        serves(&agent, &server, 1000);
    }
}

/// nginx that asks for a login.
const LOGIN: &str = "HTTP/1.1 401 Unauthorized\r\nServer: nginx/1.22.1\r\nContent-Type: text/html\r\n\
    Content-Length: 24\r\nWWW-Authenticate: Basic realm=\"internal\"\r\n\r\n<html>401 Required</html>";
/// A firewall's page.
const FIREWALL: &str = "HTTP/1.1 403 Forbidden\r\nServer: cloudflare\r\nContent-Type: text/html; charset=UTF-8\r\n\
    Content-Length: 20\r\n\r\n<html>Blocked</html>";

/// What went wrong: a gateway's answers were logged as a wrong ApiKey, or as a licence that is used up.
#[test]
fn an_answer_of_a_gateway_in_front_of_the_server_is_logged_as_such() {
    for (answer, part, server_name) in
        [(LOGIN, "asks for a login", "nginx/1.22.1"), (FIREWALL, "gateway or firewall", "cloudflare")]
    {
        let server = server();
        server.script(|script| {
            script.register_always = Some(Register::Raw(answer));
            script.opening_always = Some(Opening::Raw(answer));
        });
        let agent = in_a_hurry(Builder::following(&server)).start();
        let log = wait_until("both are told", SOON, || {
            let log = agent.log();
            (log.contains("could not be registered") && log.contains("not let through")).then_some(log)
        });
        assert!(log.contains("ERROR") && log.contains(part) && log.contains(server_name), "{log}");
        for wrong in ["does not know the ApiKey", "quota", "all the same"] {
            assert!(!log.contains(wrong), "{wrong}: {log}");
        }
        agent.wait_metric_at_least("featbit_agent_upstream_dial_failures_total", r#"reason="gateway""#, 2.0);
        // The gateway blocks only the registration: the agent follows the server anyway, and logs it.
        server.script(|script| script.opening_always = None);
        agent.wait_stable();
        serves(&agent, &server, 1000);
        agent.wait_line("follows the server all the same");
    }
}

/// The query of the target contains what the agent asked for, and so its key.
#[test]
fn the_target_of_a_redirect_is_logged_without_the_key() {
    let server = server();
    let to = format!("https://login.example/streaming?type=relay-proxy&token={API_KEY}");
    server.next_openings([Opening::Redirect(302, to.clone())]);
    server.next_registers([Register::Redirect(302, to)]);
    let agent = in_a_hurry(Builder::following(&server)).start();
    agent.wait_stable();
    agent.wait_line("https://login.example/streaming");
    assert!(!agent.log().contains(API_KEY), "{}", agent.log());
}

/// What went wrong: it was logged as a failed registration, "which follows the server all the same", and the line that the
/// server cannot be reached was suppressed as one like it.
#[test]
fn a_server_that_is_down_at_the_start_is_logged_as_unreachable() {
    let server = server();
    server.stop_listening();
    let agent = in_a_hurry(Builder::following(&server)).start();
    agent.wait_line("the server cannot be reached");
    assert!(!agent.log().contains("registered"), "{}", agent.log());
    server.start_listening();
    agent.wait_stable();
    assert!(!agent.log().contains("registered"), "{}", agent.log());
}

#[test]
fn the_agent_ends_at_once_in_every_step_of_connecting() {
    let registering = |server: &Server| {
        server.script(|script| script.register_always = Some(Register::Never));
    };
    let opening = |server: &Server| server.next_openings([Opening::NoAnswer]);
    let asking = |server: &Server| server.delay(Delay::AsReleased);
    let away = |server: &Server| server.stop_listening();
    let pausing = |server: &Server| {
        server.script(|script| script.register_always = Some(Register::Status(500)));
    };
    type State<'a> = (&'a str, &'a dyn Fn(&Server));
    let states: [State<'_>; 5] = [
        ("registering", &registering),
        ("opening", &opening),
        ("asking", &asking),
        ("away", &away),
        ("pausing", &pausing),
    ];
    for (what, prepare) in states {
        let server = server();
        prepare(&server);
        // The time-outs of these steps are not what ends it.
        let mut agent = Builder::following(&server)
            .env("Upstream__ConnectSeconds", "300")
            .env("Upstream__SyncSeconds", "300")
            .start();
        let there = wait_until(what, SOON, || match what {
            "registering" | "pausing" => (!server.registrations().is_empty()).then_some(true),
            "opening" => (!server.handshakes().is_empty()).then_some(true),
            "asking" => (server.delayed() == 1).then_some(true),
            _ => Some(true),
        });
        assert!(there);
        assert!(agent.stop().success(), "{what}");
    }
}

#[test]
fn three_thousand_flags_arrive_in_many_frames_with_pings_between() {
    let mut environment = Environment::new(1);
    for number in 0..3000 {
        environment.add_flag(boolean_flag(&format!("flag-{number:04}")));
    }
    let server = Server::start(&Dataset::of([environment.clone()]));
    server.script(|script| {
        script.shape =
            Shape { frame_bytes: 8192, pings_between: true, drip: Some((65_536, Duration::from_millis(1))) };
    });
    let agent = Builder::following(&server).env("Limits__VerdictWait", "60").start();
    // The agent answers while the data arrives and is loaded.
    let mut early = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    early.request_data(0);
    wait_until("the data", SOON * 3, || {
        assert_eq!(agent.get("/health/liveness", &[]).status, 200);
        (agent.readiness().0 == 200).then_some(())
    });
    let full = early.next_data();
    assert_eq!(full["featureFlags"].as_array().unwrap().len(), 3000);
    let mut sdk = Watcher::server(&agent, &environment.secret(Kind::Server));
    set(&server, &environment, "flag-2999", "v1", 1000);
    sdk.wait_variation("flag-2999", "v1");
    sdk.expect_nothing_new();
    let relay = server.wait_relay(0);
    wait_until("pings between frames are answered", SOON, || (relay.protocol_pongs() > 0).then_some(()));
}

/// What went wrong: the stream waited for it as long as a connection may take, at the start and at every reconnect.
#[test]
fn a_registration_that_hangs_keeps_no_sdk_waiting() {
    let server = server();
    server.script(|script| script.register_always = Some(Register::Never));
    let agent = Builder::following(&server)
        .env("Upstream__RetrySeconds", "200ms")
        .env("Upstream__ConnectSeconds", "30")
        .start();
    let registration = server.wait_registrations(1)[0].clone();
    agent.wait_stable();
    serves(&agent, &server, 1000);
    server.wait_open().close(1001);
    server.wait_request(1);
    agent.wait_stable();
    serves(&agent, &server, 2000);
    let registrations = server.registrations();
    assert_eq!((registrations.len(), registrations[0].at), (1, registration.at), "once at a time");
}
