//! Polling SDKs and usage events over HTTP, and their answers while there is no data.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{
    Dataset, Environment, Kind, START_MS, boolean_flag, flag, secret_text, segment, serve, touch, user,
    write_atomically,
};
use common::http::{Connection, Response};
use common::raw::{CLIENT_POLL, SERVER_POLL, TRACK, assert_error, connect, request, send, send_last};
use common::{SOON, wait_until};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Three items, of the versions 0, 1 and 2 milliseconds after the start.
fn environment() -> Environment {
    let mut environment = Environment::new(1)
        .flag(boolean_flag("old"))
        .flag(flag("new", "string", &["a", "b"]))
        .segment(segment("people"));
    touch(environment.flag_mut("new"), 2);
    touch(&mut environment.segments[0], 1);
    environment
}

fn serving(more: impl FnOnce(Builder) -> Builder) -> (Agent, Environment) {
    let environment = environment();
    (more(Builder::offline().data_file(&Dataset::of([environment.clone()]))).start(), environment)
}

fn server_poll(agent: &Agent, secret: &str, query: &str) -> Response {
    agent.get(&format!("{SERVER_POLL}{query}"), &[("Authorization", secret)])
}

fn client_poll(agent: &Agent, secret: &str, query: &str, user: &Value) -> Response {
    agent.post(&format!("{CLIENT_POLL}{query}"), &[("Authorization", secret)], user)
}

/// 200 with nothing at all: what "nothing is new" looks like.
fn assert_nothing_new(answer: &Response) {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, b"");
    assert_eq!(answer.header("content-type"), None);
    assert_eq!(answer.header("content-length"), Some("0"));
}

/// 304 with nothing at all: the same for client SDKs.
fn assert_not_modified(answer: &Response) {
    assert_eq!((answer.status, &answer.body[..]), (304, &b""[..]));
    assert_eq!((answer.header("content-type"), answer.header("content-length")), (None, None));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// Flags and segments of a poll's answer, by key or id.
fn items(answer: &Response) -> (String, Vec<String>, Vec<String>) {
    let json = answer.json();
    assert_eq!(json["messageType"], "data-sync");
    let names = |list: &Value, name: &str| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|item| item[name].as_str().unwrap().to_owned()).collect()
    };
    let data = &json["data"];
    let kind = data["eventType"].as_str().unwrap().to_owned();
    let name = if data["userKeyId"].is_null() { "key" } else { "id" };
    (kind, names(&data["featureFlags"], name), names(&data["segments"], "name"))
}

#[test]
fn a_server_sdk_gets_everything_what_is_newer_or_nothing() {
    let (agent, environment) = serving(|agent| agent);
    let secret = environment.secret(Kind::Server);
    let at = |later_ms: i64| format!("?timestamp={}", START_MS + later_ms);
    let everything = (vec!["old".to_owned(), "new".to_owned()], vec!["people".to_owned()]);
    for query in ["", "?timestamp=0", "?other=1", "?TIMESTAMP=0", "?timestamp=%30"] {
        let answer = server_poll(&agent, &secret, query).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(items(&answer), ("full".into(), everything.0.clone(), everything.1.clone()), "{query}");
    }
    for (query, flags, segments) in [
        ("?timestamp=-1".to_owned(), &["old", "new"][..], &["people"][..]),
        ("?timestamp=1".to_owned(), &["old", "new"], &["people"]),
        (at(-1), &["old", "new"], &["people"]),
        (at(0), &["new"], &["people"]),
        (at(1), &["new"], &[]),
    ] {
        let (kind, have_flags, have_segments) = items(&server_poll(&agent, &secret, &query).expect(200));
        assert_eq!(
            (kind.as_str(), &have_flags[..], &have_segments[..]),
            ("patch", &to_owned(flags)[..], &to_owned(segments)[..]),
            "{query}"
        );
    }
    for query in [at(2), at(3), "?timestamp=9223372036854775807".to_owned()] {
        assert_nothing_new(&server_poll(&agent, &secret, &query));
    }
    for query in [
        "?timestamp=",
        "?timestamp",
        "?timestamp=x",
        "?timestamp=1.5",
        "?timestamp=1e3",
        "?timestamp=null",
        "?timestamp=9223372036854775808",
        "?timestamp=1&timestamp=2",
    ] {
        assert_error(&server_poll(&agent, &secret, query), 400);
    }
}

fn to_owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// What went wrong: Android took 200 with an empty body for an error, and the .NET client SDK moved the time that it asks
/// from to its own clock at each 200.
#[test]
fn a_client_poll_with_nothing_new_is_answered_with_304() {
    let (agent, environment) = serving(|agent| agent);
    let secret = environment.secret(Kind::Client);
    let body = user("ann", &[]).to_string();
    let headers = [("Authorization", secret.as_str()), JSON, ("Origin", "https://shop.example")];
    // Many on one connection: each answer ends where it should.
    let mut connection = connect(&agent);
    for round in 0..3 {
        for (query, status) in [
            (format!("?timestamp={}", START_MS + 2), 304),
            ("?timestamp=0".into(), 200),
            (String::new(), 200),
            ("?timestamp=-1".into(), 200),
            ("?timestamp=9223372036854775807".into(), 304),
        ] {
            let target = format!("{CLIENT_POLL}{query}");
            connection.send(&request("POST", &target, &headers, Some(body.as_bytes()))).unwrap();
            let answer = connection.read_response(false).unwrap();
            assert_eq!(answer.status, status, "{round} {query}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            if status == 304 {
                assert_not_modified(&answer);
            }
        }
    }
    agent.wait_metric("featbit_agent_http_responses_total", "route=\"poll_client\",status=\"3xx\"", 6.0);
}

#[test]
fn flags_and_segments_come_byte_by_byte_as_they_were_written() {
    let mut environment = environment();
    environment.flag_mut("old")["mark"] = json!("here");
    environment.segments[0]["mark"] = json!("there");
    // What no JSON library would write again in the same way.
    let odd = "\"odd\" :{ \"number\":1.50e+0, \"text\":\"\\u00fc\\/\\ud83d\\ude00ü\",\n\t\"list\":[ ] }";
    let text = Dataset::of([environment.clone()]).to_text();
    let text = text.replace("\"mark\":\"here\"", odd).replace("\"mark\":\"there\"", odd);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    write_atomically(&path, &text);
    let agent = Builder::offline().env("DataFile", path.to_str().unwrap()).api_key().start();
    let poll = server_poll(&agent, &environment.secret(Kind::Server), "").expect(200);
    let backup = agent.get("/api/public/proxy/backup", &[("Authorization", API_KEY)]).expect(200);
    for body in [poll.text(), backup.text()] {
        assert_eq!(body.matches(odd).count(), 2, "{body}");
    }
    let flags = text.split_once("\"featureFlags\":").unwrap().1.split_once("],\"secrets\"").unwrap().0;
    assert!(poll.text().contains(flags), "{flags} not in {}", poll.text());
}

#[test]
fn a_client_sdk_gets_its_users_flags() {
    let (agent, environment) = serving(|agent| agent);
    let secret = environment.secret(Kind::Client);
    let answer = client_poll(&agent, &secret, "?timestamp=0", &user("ann", &[("plan", "gold")])).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(items(&answer), ("full".into(), to_owned(&["old", "new"]), vec![]));
    let data = answer.json()["data"].take();
    assert_eq!(data["userKeyId"], "ann");
    assert_eq!(data["featureFlags"][1]["variation"], "a");
    let patch =
        client_poll(&agent, &secret, &format!("?timestamp={START_MS}"), &user("bob", &[])).expect(200);
    assert_eq!(items(&patch), ("patch".into(), to_owned(&["new"]), vec![]));
    let since = format!("?timestamp={}", START_MS + 2);
    assert_not_modified(&client_poll(&agent, &secret, &since, &user("bob", &[])));
    // Property names in any case, further ones ignored, no name and no properties: all fine.
    for user in [
        json!({ "KEYID": "x" }),
        json!({ "keyId": "x", "name": null, "customizedProperties": null, "more": {} }),
    ] {
        assert_eq!(client_poll(&agent, &secret, "", &user).expect(200).json()["data"]["userKeyId"], "x");
    }
    for blank in [json!({}), json!({ "keyId": "" }), json!({ "keyId": " \t" }), json!({ "keyId": null })] {
        let answer = client_poll(&agent, &secret, "", &blank).expect(400);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.text(), "invalid end user");
    }
    for malformed in
        [json!([]), json!("x"), json!({ "keyId": 1 }), json!({ "keyId": "x", "customizedProperties": {} })]
    {
        assert_error(&client_poll(&agent, &secret, "", &malformed), 400);
    }
    assert_error(&client_poll(&agent, &secret, "?timestamp=x", &user("u", &[])), 400);
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", ""]
    {
        let headers = [("Authorization", secret.as_str()), ("Content-Type", content_type)];
        let mut connection = connect(&agent);
        connection.send(&request("POST", CLIENT_POLL, &headers, Some(b"{\"keyId\":\"x\"}"))).unwrap();
        assert_error(&connection.read_response(false).unwrap(), 415);
    }
    for content_type in ["application/json", "APPLICATION/JSON;charset=UTF-8", "application/vnd.x+json"] {
        let headers = [("Authorization", secret.as_str()), ("Content-Type", content_type)];
        let mut connection = connect(&agent);
        connection.send(&request("POST", CLIENT_POLL, &headers, Some(b"{\"keyId\":\"x\"}"))).unwrap();
        connection.read_response(false).unwrap().expect(200);
    }
}

/// Which of both polling endpoints a secret opens.
fn opens(agent: &Agent, secret: &str) -> (u16, u16) {
    let server = server_poll(agent, secret, "");
    let client = client_poll(agent, secret, "", &user("u", &[]));
    for answer in [&server, &client] {
        if answer.status == 401 {
            assert_error(answer, 401);
        }
    }
    (server.status, client.status)
}

#[test]
fn a_secret_opens_its_own_endpoint_and_nothing_else() {
    let (agent, environment) = serving(|agent| agent.api_key());
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    assert_eq!(opens(&agent, &server), (200, 401));
    assert_eq!(opens(&agent, &client), (401, 200));
    // Well formed and of this environment, but not one of its secrets.
    assert_eq!(opens(&agent, &secret_text(&environment.id, Kind::Server, 9)), (401, 401));
    assert_eq!(opens(&agent, &Environment::new(2).secret(Kind::Server)), (401, 401));
    let other_case: String = server
        .chars()
        .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    for malformed in
        ["", "x", API_KEY, &server[..43], &format!("{server}A"), &format!("Bearer {server}"), &other_case]
    {
        assert_eq!(opens(&agent, malformed), (401, 401), "{malformed}");
    }
    assert_error(&agent.get(SERVER_POLL, &[]), 401);
    for (reason, count) in [("\"wrong_type\"", 2.0), ("\"unknown\"", 4.0), ("\"malformed\"", 4.0)] {
        agent.wait_metric_at_least("featbit_agent_refusals_total", reason, count);
    }
}

#[test]
fn featbits_lax_behaviour_can_be_enabled() {
    let (agent, environment) = serving(|agent| agent.env("Polling__AllowClientSecretForServer", "true"));
    assert_eq!(opens(&agent, &environment.secret(Kind::Server)), (200, 200));
    assert_eq!(opens(&agent, &environment.secret(Kind::Client)), (200, 200));
    // That a secret has to exist is not part of it.
    assert_eq!(opens(&agent, &secret_text(&environment.id, Kind::Server, 9)), (401, 401));
}

/// The Node SDK replaces its headers by `if-none-match` alone once it has seen an `ETag`, and so loses its secret.
#[test]
fn no_answer_has_an_etag() {
    let (agent, environment) = serving(|agent| agent);
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    for encoding in ["identity", "gzip"] {
        let headers =
            [("Authorization", server.as_str()), ("Accept-Encoding", encoding), ("If-None-Match", "\"x\"")];
        for answer in [agent.get(SERVER_POLL, &headers), client_poll(&agent, &client, "", &user("u", &[]))] {
            assert_eq!(answer.expect(200).header("etag"), None);
        }
    }
}

#[test]
fn a_change_is_what_the_next_poll_brings() {
    let (agent, mut environment) = serving(|agent| agent.env("DataFilePollMilliseconds", "20"));
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    let since = format!("?timestamp={}", START_MS + 2);
    serve(environment.flag_mut("old"), "v1");
    touch(environment.flag_mut("old"), 3);
    agent.write_data(&Dataset::of([environment.clone()]));
    let patch = wait_until("the change is polled", SOON, || {
        let answer = server_poll(&agent, &server, &since).expect(200);
        (!answer.body.is_empty()).then_some(answer)
    });
    assert_eq!(items(&patch), ("patch".into(), to_owned(&["old"]), vec![]));
    let patch = wait_until("the change is polled", SOON, || {
        let answer = client_poll(&agent, &client, &since, &user("u", &[]));
        (answer.status != 304).then(|| answer.expect(200))
    });
    assert_eq!(items(&patch), ("patch".into(), to_owned(&["old"]), vec![]));
    // A patch cannot express a removal: an SDK that asks from before it gets a full.
    environment.remove_flag("old");
    agent.write_data(&Dataset::of([environment]));
    let full = wait_until("the removal is polled", SOON, || {
        let answer = server_poll(&agent, &server, &since).expect(200);
        (!answer.body.is_empty() && items(&answer).0 == "full").then_some(answer)
    });
    assert_eq!(items(&full), ("full".into(), to_owned(&["new"]), to_owned(&["people"])));
}

/// Between the versions of the recorded dump's items; the recorded patches were asked for with it.
const PATCH_MS: i64 = 1_735_689_644_638;
/// Newer than everything in the recorded dump.
const NEVER_MS: i64 = 4_000_000_000_000;

/// The exact answers of FeatBit's own agent; see `tests/vectors/README.md`.
fn recorded() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/conversation.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn assert_recorded(answer: &Response, expected: &Value) {
    assert_eq!(u64::from(answer.status), expected["status"].as_u64().unwrap());
    assert_eq!(answer.header("content-type"), expected["contentType"].as_str());
    let body = expected["body"].as_str().unwrap();
    if body.is_empty() {
        assert_eq!(answer.text(), "");
    } else {
        // Only escapes within strings are written otherwise, and mean the same.
        let mut expected: Value = serde_json::from_str(body).unwrap();
        assert_eq!(with_order(&mut answer.json()), with_order(&mut expected));
    }
}

#[test]
fn server_polls_are_answered_as_by_featbits_agent() {
    let recorded = recorded();
    let agent = Builder::offline().api_key().start();
    agent.post("/api/public/proxy/bootstrap", &[("Authorization", API_KEY)], &recorded["dump"]).expect(200);
    let secret = recorded["dump"]["items"][0]["secrets"][0]["value"].as_str().unwrap();
    for (name, timestamp) in [("serverFull", 0), ("serverPatch", PATCH_MS), ("serverEmpty", NEVER_MS)] {
        let answer = server_poll(&agent, secret, &format!("?timestamp={timestamp}"));
        assert_recorded(&answer, &recorded["http"][name]);
    }
}

#[test]
fn client_polls_are_answered_as_by_featbits_agent() {
    let recorded = recorded();
    let agent = Builder::offline().api_key().start();
    agent.post("/api/public/proxy/bootstrap", &[("Authorization", API_KEY)], &recorded["dump"]).expect(200);
    let secret = recorded["dump"]["items"][0]["secrets"][1]["value"].as_str().unwrap();
    let users = recorded["users"].as_array().unwrap();
    for (user, expected) in users.iter().zip(recorded["http"]["clientFull"].as_array().unwrap()) {
        assert_recorded(&client_poll(&agent, secret, "?timestamp=0", user), expected);
    }
    let since = |timestamp: i64| client_poll(&agent, secret, &format!("?timestamp={timestamp}"), &users[0]);
    assert_recorded(&since(PATCH_MS), &recorded["http"]["clientPatch"]);
    // Here, as FeatBit's specification of SDKs has it and not as its agent does.
    assert_eq!(recorded["http"]["clientEmpty"]["status"], 200);
    assert_not_modified(&since(NEVER_MS));
}

/// The ids of an answer's items in their order, which is part of it, and the answer.
fn with_order(answer: &mut Value) -> (Vec<String>, Value) {
    let ids = ["featureFlags", "segments"].iter().flat_map(|list| {
        let items = answer["data"][*list].as_array().into_iter().flatten();
        items.map(|item| item["id"].to_string()).collect::<Vec<_>>()
    });
    (ids.collect(), answer.take())
}

/// Sends a request and leaves it unanswered.
fn begin(agent: &Agent, bytes: &[u8]) -> Connection {
    let mut connection = connect(agent);
    connection.send(bytes).unwrap();
    connection
}

#[test]
fn requests_wait_until_there_is_data() {
    let environment = environment();
    let agent = Builder::offline().api_key().env("Limits__VerdictWait", "60").start();
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    let stranger = Environment::new(2).secret(Kind::Server);
    agent.get("/health/readiness", &[]).expect(503);
    let body = user("u", &[]).to_string();
    let client_headers = [("Authorization", client.as_str()), JSON];
    let health = request("GET", "/health/liveness", &[], None);
    let poll = request("GET", SERVER_POLL, &[("Authorization", &server)], None);
    // A second request behind the first waits its turn.
    let mut held_server = begin(&agent, &[poll.clone(), health.clone()].concat());
    let mut held_client =
        begin(&agent, &request("POST", CLIENT_POLL, &client_headers, Some(body.as_bytes())));
    let mut held_events = begin(&agent, &request("POST", TRACK, &client_headers, Some(b"[{}]")));
    let mut held_stranger =
        begin(&agent, &request("GET", SERVER_POLL, &[("Authorization", &stranger)], None));
    let mut half_closed = begin(&agent, &poll);
    half_closed.finish().unwrap();
    let gone = begin(&agent, &poll);
    drop(gone);
    // What is certain is said at once.
    assert_error(&agent.get(SERVER_POLL, &[("Authorization", "nonsense")]), 401);
    assert_error(&server_poll(&agent, &server, "?timestamp=x"), 400);
    agent.wait_metric_at_least("featbit_agent_connections", "\"http\"", 5.0);
    for connection in
        [&mut held_server, &mut held_client, &mut held_events, &mut held_stranger, &mut half_closed]
    {
        connection.stream().set_nonblocking(true).unwrap();
        assert!(connection.read_response(false).is_err(), "an answer came before there was data");
        connection.stream().set_nonblocking(false).unwrap();
    }
    agent.bootstrap(&Dataset::of([environment]));
    assert_eq!(items(&held_server.read_response(false).unwrap().expect(200)).0, "full");
    assert_eq!(held_server.read_response(false).unwrap().expect(200).text(), "Healthy");
    assert_eq!(items(&held_client.read_response(false).unwrap().expect(200)).0, "full");
    held_events.read_response(false).unwrap().expect(200);
    assert_error(&held_stranger.read_response(false).unwrap(), 401);
    assert_eq!(items(&half_closed.read_response(false).unwrap().expect(200)).0, "full");
    agent.get("/health/readiness", &[]).expect(200);
}

#[test]
fn requests_are_answered_with_503_if_no_data_comes() {
    let environment = environment();
    let agent = Builder::offline().api_key().env("Limits__VerdictWait", "200ms").start();
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    let mut connection = connect(&agent);
    let poll =
        request("GET", SERVER_POLL, &[("Authorization", &server), ("Origin", "https://a.example")], None);
    // Twice on one connection: it is not closed for this.
    for _ in 0..2 {
        connection.send(&poll).unwrap();
        let answer = connection.read_response(false).unwrap();
        assert_error(&answer, 503);
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    for answer in [
        client_poll(&agent, &client, "", &user("u", &[])),
        agent.post(TRACK, &[("Authorization", &client)], &json!([])),
    ] {
        assert_error(&answer, 503);
        assert!(answer.header("retry-after").is_some());
    }
    agent.wait_metric("featbit_agent_limits_hit_total", "\"verdict_wait\"", 4.0);
    agent.wait_metric("featbit_agent_refusals_total", "\"not_loaded\"", 4.0);
    agent.bootstrap(&Dataset::of([environment]));
    connection.send(&poll).unwrap();
    connection.read_response(false).unwrap().expect(200);
}

#[test]
fn a_broken_first_file_refuses_no_secret() {
    let environment = environment();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    write_atomically(&path, "{\"eventType\":\"rp_full\"");
    let agent = Builder::offline()
        .env("DataFile", path.to_str().unwrap())
        .env("DataFilePollMilliseconds", "20")
        .env("Limits__VerdictWait", "60")
        .start();
    let secret = environment.secret(Kind::Server);
    let mut held = begin(&agent, &request("GET", SERVER_POLL, &[("Authorization", &secret)], None));
    write_atomically(&path, &Dataset::of([environment]).to_text());
    held.read_response(false).unwrap().expect(200);
}

#[test]
fn usage_events_are_checked_and_counted() {
    let (agent, environment) = serving(|agent| agent);
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    let variation = json!({ "featureFlagKey": "old", "sendToExperiment": true, "timestamp": 1_706_745_600_000i64,
        "variation": { "id": "v0", "value": "true" } });
    let metric = json!({ "route": "index/metric", "type": "CustomEvent", "eventName": "buy", "numericValue": 1.5,
        "appType": "Node", "timestamp": 1_706_745_600_000i64 });
    let events = json!([
        { "user": user("a", &[]), "variations": [variation, variation] },
        { "user": user("b", &[]), "metrics": [metric] },
        { "user": user("c", &[]) },
    ]);
    for secret in [&server, &client] {
        assert_nothing_new(&agent.post(TRACK, &[("Authorization", secret)], &events));
    }
    for odd in [json!([]), json!({}), json!("x"), json!([1])] {
        agent.post(TRACK, &[("Authorization", &server)], &odd).expect(200);
    }
    agent.wait_metric("featbit_agent_usage_events_total", "result=\"accepted\"", 6.0);
    agent.wait_metric("featbit_agent_usage_events_total", "result=\"dropped\"", 6.0);
    let post = |authorization: &str, content_type: &str, body: &[u8]| {
        let headers = [("Authorization", authorization), ("Content-Type", content_type)];
        let mut connection = connect(&agent);
        connection.send(&request("POST", TRACK, &headers, Some(body))).unwrap();
        connection.read_response(false).unwrap()
    };
    for broken in [&b""[..], b"[", b"[{]", b"nul", b"[] []", b"\"\xff\""] {
        assert_error(&post(&server, "application/json", broken), 400);
    }
    assert_error(&post("nonsense", "application/json", b"[]"), 401);
    assert_error(&post(&secret_text(&environment.id, Kind::Client, 9), "application/json", b"[]"), 401);
    assert_error(&post(&server, "text/html", b"[]"), 415);
    // As `navigator.sendBeacon` sends them.
    post(&server, "text/plain;charset=UTF-8", b"[]").expect(200);
    agent.wait_metric("featbit_agent_usage_events_total", "result=\"accepted\"", 6.0);
}

/// What went wrong: one user with millions of properties took a reactor for seconds, and hundreds of megabytes.
#[test]
fn users_are_bounded_in_bytes_and_in_properties() {
    let (agent, environment) = serving(|agent| agent.env("Limits__UserBytes", "4000"));
    let secret = environment.secret(Kind::Client);
    let wait_hits = |properties: f64, bytes: f64| {
        agent.wait_metric("featbit_agent_limits_hit_total", "\"user_properties\"", properties);
        agent.wait_metric("featbit_agent_limits_hit_total", "\"user_bytes\"", bytes);
    };
    let with = |count: usize| {
        let list = vec!["{}"; count].join(",");
        format!(r#"{{"keyId":"anna","customizedProperties":[{list}]}}"#)
    };
    let fields = [("Authorization", secret.as_str()), JSON];
    let post =
        |fields: &[(&str, &str)], body: &[u8]| send(&agent, request("POST", CLIENT_POLL, fields, Some(body)));
    post(&fields, with(1000).as_bytes()).expect(200);
    let refused = post(&fields, with(1001).as_bytes());
    assert_error(&refused, 400);
    assert!(refused.text().contains("too many custom properties"), "{}", refused.text());
    wait_hits(1.0, 0.0);
    let large = request("POST", CLIENT_POLL, &fields, Some(with(2000).as_bytes()));
    assert_error(&send_last(&agent, large), 413);
    let packed = common::raw::gzip(with(2000).as_bytes());
    let folded = [fields[0], JSON, ("Content-Encoding", "gzip")];
    assert_error(&post(&folded, &packed), 413);
    wait_hits(1.0, 2.0);
    // Events may still be as large as ever.
    let events = format!("[{}]", vec![r#"{"variations":[]}"#; 1000].join(","));
    send(&agent, request("POST", TRACK, &fields, Some(events.as_bytes()))).expect(200);
}
