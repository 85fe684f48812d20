//! What stands between SDKs and the agent: proxies, caches, other protocols; and what is logged about it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::Read;
use std::process::Command;

use common::agent::{API_KEY, Agent, Builder};
use common::browser::{Browser, ann, change_a, environment as page_environment, serving};
use common::dataset::{Dataset, Environment, Kind, START_MS, boolean_flag, secret_text, user};
use common::frames::RawSocket;
use common::frontend::{self, Frontend, installed_of};
use common::http::{Connection, get, post_json};
use common::raw::{CLIENT_POLL, SERVER_POLL, assert_error, connect, request, send};
use common::sdk::Mode;
use common::ws::{Stream, token};
use common::{SOON, left_out, now_ms, wait_until};
use serde_json::json;

const BACKUP: &str = "/api/public/proxy/backup";
const UPGRADE: [(&str, &str); 2] =
    [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")];

fn started() -> (Agent, Environment) {
    let environment = Environment::new(1).flag(boolean_flag("flag"));
    (Builder::offline().api_key().data_file(&Dataset::of([environment.clone()])).start(), environment)
}

/// A proxy in front of the agent, if it is installed.
fn in_front(test: &str, kind: frontend::Kind, agent: &Agent) -> Option<Frontend> {
    installed_of(test, &[kind]).first().map(|kind| Frontend::start(*kind, &[agent.port()]))
}

/// The lines of the log that contain all of these parts.
fn lines(agent: &Agent, parts: &[&str]) -> Vec<String> {
    let log = agent.log();
    log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned).collect()
}

/// Waits for a line with all of these parts, and checks that there is one only.
fn told_once(agent: &Agent, parts: &[&str]) -> String {
    wait_until("the log tells of it", SOON, || (!lines(agent, parts).is_empty()).then_some(()));
    let mut told = lines(agent, parts);
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0)
}

/// What went wrong: nginx with `proxy_cache_valid 200 1m` answered a wrong secret with all rules, and a wrong key with all
/// secrets, once a request with a right one had been answered.
#[test]
fn a_cache_in_front_stores_no_answer() {
    let (agent, environment) = started();
    let Some(nginx) = in_front("cache in front", frontend::Kind::NginxCaching, &agent) else { return };
    let secret = environment.secret(Kind::Server);
    for (target, right, wrong) in [
        (SERVER_POLL, secret.as_str(), "wrong"),
        (BACKUP, API_KEY, "wrong"),
        ("/api/public/proxy/status", API_KEY, "wrong"),
    ] {
        for (key, status) in [(wrong, 401), (right, 200), (right, 200), (wrong, 401), ("", 401)] {
            let answer = get(nginx.port(), target, &[("Authorization", key)]).unwrap().expect(status);
            assert_eq!(answer.header("x-cache"), Some("MISS"), "{target}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    for target in ["/streaming?type=server&token=x", "/nowhere", "/health/readiness"] {
        for _ in 0..2 {
            assert_eq!(get(nginx.port(), target, &[]).unwrap().header("x-cache"), Some("MISS"), "{target}");
        }
    }
}

/// What went wrong: such requests got 404 or 400, nothing was logged, and SDKs retried for ever.
#[test]
fn a_proxy_that_drops_the_upgrade_is_logged() {
    let (agent, environment) = started();
    let target =
        format!("/streaming?type=server&token={}", token(&environment.secret(Kind::Server), now_ms(), 5));
    let told_to = |answer: &common::http::Response, what: &str| {
        let reason = assert_error(answer, 426);
        assert!(reason.contains(what) && reason.contains("proxy"), "{reason}");
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        let says: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "connection").collect();
        assert!(says.iter().any(|(_, value)| value == "Upgrade"), "{says:?}");
    };
    told_to(&send(&agent, request("GET", &target, &UPGRADE, None)), "without Upgrade");
    let old =
        String::from_utf8(request("GET", &target, &UPGRADE, None)).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    told_to(&send(&agent, &old), "HTTP/1.0");
    // An ordinary GET is not of this kind.
    assert_error(&send(&agent, request("GET", &target, &[], None)), 404);
    let line = told_once(&agent, &["WARN", "cannot stream"]);
    assert!(line.contains("proxy_http_version 1.1"), "{line}");

    // A real one, as it is without those lines and with them.
    let (agent, environment) = started();
    let Some(bare) = in_front("bare proxy", frontend::Kind::NginxBare, &agent) else { return };
    let upgrade = [&UPGRADE[..], &[("Upgrade", "websocket"), ("Connection", "Upgrade")]].concat();
    let refused = get(bare.port(), &target, &upgrade).unwrap();
    assert_eq!(refused.status, 426);
    told_once(&agent, &["WARN", "cannot stream"]);
    let Some(passing) = in_front("passing proxy", frontend::Kind::NginxHttp, &agent) else { return };
    let target =
        format!("/streaming?type=server&token={}", token(&environment.secret(Kind::Server), now_ms(), 5));
    RawSocket::upgrade(passing.port(), &target, &[]);
}

/// What went wrong: a wrong secret was counted, and operators could not find out whose it was.
#[test]
fn a_refused_secret_is_logged_by_its_environment_and_never_itself() {
    let (agent, environment) = started();
    let unknown = secret_text(&environment.id, Kind::Server, 77);
    let elsewhere = Environment::new(9);
    for _ in 0..3 {
        agent.get(SERVER_POLL, &[("Authorization", &unknown)]).expect(401);
        agent.get(SERVER_POLL, &[("Authorization", &environment.secret(Kind::Client))]).expect(401);
        agent.get(SERVER_POLL, &[("Authorization", &elsewhere.secret(Kind::Server))]).expect(401);
        agent.get(SERVER_POLL, &[("Authorization", "my-precious")]).expect(401);
        agent.get(BACKUP, &[("Authorization", "rp-my-precious")]).expect(401);
    }
    let mut stream = Stream::connect(&agent, Kind::Server, &unknown);
    assert_eq!(stream.expect_close(SOON), Some(4003));
    let id = environment.id.as_str();
    let line = told_once(&agent, &["WARN", "the data does not contain its secret", id]);
    assert!(line.contains("project-1:production") && line.contains("unknown"), "{line}");
    told_once(&agent, &["WARN", "of the other type", id]);
    told_once(&agent, &["WARN", "the data does not contain its secret", &elsewhere.id]);
    told_once(&agent, &["WARN", "no environment secret"]);
    told_once(&agent, &["WARN", "ApiKey"]);
    for secret in [&unknown, &environment.secret(Kind::Client), &elsewhere.secret(Kind::Server)] {
        for half in [&secret[..22], &secret[22..]] {
            assert!(!agent.log().contains(half), "{half} in {}", agent.log());
        }
    }
    assert!(!agent.log().contains("my-precious"));
}

/// Sends bytes that are no HTTP/1, and reads all that comes until the orderly end.
fn exchange_raw(agent: &Agent, bytes: &[u8]) -> Vec<u8> {
    let mut connection = Connection::open(agent.port()).unwrap();
    connection.send(bytes).unwrap();
    let mut answer = Vec::new();
    connection.stream().read_to_end(&mut answer).unwrap();
    answer
}

/// What went wrong: they got an answer in HTTP/1 that they could not read, and nothing was logged.
#[test]
fn other_protocols_get_an_answer_that_they_can_read_and_a_line_in_the_log() {
    let (agent, _) = started();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let http_2 = exchange_raw(&agent, preface);
    // SETTINGS, and GOAWAY with HTTP_1_1_REQUIRED.
    assert_eq!((http_2[3], http_2[12], http_2[25]), (4, 7, 0x0D), "{http_2:?}");
    assert!(told_once(&agent, &["WARN", "HTTP/2"]).contains("HTTP/1.1"));
    for proxy in [
        &b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\x01\x01\x01\x01\x02\x02\x02\x02\0\x50\0\x50GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = String::from_utf8(exchange_raw(&agent, proxy)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("PROXY protocol"), "{answer}");
    }
    told_once(&agent, &["WARN", "PROXY protocol"]);
    // The alert `protocol_version`.
    assert_eq!(exchange_raw(&agent, b"\x16\x03\x01\0\x05\x01\0\0\x01\0"), b"\x15\x03\x01\0\x02\x02\x46");
    told_once(&agent, &["WARN", "TLS"]);
    // A real client of HTTP/2.
    let url = format!("{}/health/liveness", agent.url());
    let curl = Command::new("curl").args(["-sS", "--http2-prior-knowledge", &url]).output();
    match curl {
        Ok(output) if output.status.code() != Some(2) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains("HTTP"), "{said}");
        }
        _ => left_out("HTTP/2 with curl", "there is no curl that speaks it"),
    }
}

#[test]
fn doubled_slashes_count_as_one() {
    let (agent, environment) = started();
    let secret = environment.secret(Kind::Server);
    let target = format!("//streaming?type=server&token={}", token(&secret, now_ms(), 5));
    RawSocket::upgrade(agent.port(), &target, &[]);
    agent.get("//api//public/sdk/server//latest-all", &[("Authorization", &secret)]).expect(200);
    agent.get("//api/public/proxy//backup", &[("Authorization", &secret)]).expect(401);
}

/// 304 reaches who polls, directly and through a proxy, on connections that stay.
#[test]
fn polls_with_nothing_new_pass_a_proxy() {
    let (agent, environment) = started();
    let Some(nginx) = in_front("304", frontend::Kind::NginxHttp, &agent) else { return };
    let secret = environment.secret(Kind::Client);
    let poll = |port: u16, timestamp: i64| {
        let target = format!("{CLIENT_POLL}?timestamp={timestamp}");
        let headers = [("Authorization", secret.as_str()), ("Origin", "https://shop.example")];
        post_json(port, &target, &headers, &user("ann", &[]).to_string()).unwrap()
    };
    for port in [agent.port(), nginx.port()] {
        for _ in 0..3 {
            let answer = poll(port, START_MS).expect(304);
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            poll(port, 0).expect(200);
        }
    }
    let mut connection = connect(&agent);
    let body = user("ann", &[]).to_string();
    let headers = [("Authorization", secret.as_str()), ("Content-Type", "application/json")];
    for _ in 0..3 {
        let target = format!("{CLIENT_POLL}?timestamp={START_MS}");
        connection.send(&request("POST", &target, &headers, Some(body.as_bytes()))).unwrap();
        connection.read_response(false).unwrap().expect(304);
    }
}

/// The browser SDK polls on after 304, in a page of another origin, directly and through a proxy.
#[test]
fn the_browser_sdk_polls_on_after_304() {
    let Some(mut browser) = Browser::launch("polls on after 304") else { return };
    let mut environment = page_environment();
    let agent = serving(&environment);
    let Some(nginx) = in_front("browser", frontend::Kind::NginxHttp, &agent) else { return };
    let secret = environment.secret(Kind::Client);
    for (round, url) in [(1, agent.url()), (2, nginx.url())] {
        let mut tab = browser.tab(&format!("round {round}"));
        tab.start_with(Mode::Polling, &agent, &secret, &ann(Mode::Polling), json!({ "url": url }));
        tab.wait_ready();
        let not_modified = |tab: &mut common::browser::Tab<'_>, count: usize| {
            tab.wait_traffic("polls with nothing new", |seen| {
                let answered = seen.polls().into_iter().filter(|poll| poll["status"] == 304);
                (answered.count() >= count).then_some(())
            });
        };
        not_modified(&mut tab, 2);
        let value = round == 1;
        change_a(&agent, &mut environment, round * 1_000, value);
        tab.wait_value("a", "boolean", &json!(value));
        not_modified(&mut tab, 3);
        tab.assert_console(&[]);
        tab.go("stop");
    }
}
