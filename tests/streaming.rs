//! Streaming over real sockets: which connections are accepted, and which messages are answered.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{
    Dataset, Environment, Kind, START_MS, boolean_flag, flag, segment, touch, user, write_atomically,
};
use common::frames::{RawSocket, TEXT, whole};
use common::ws::{Stream, token};
use common::{SOON, now_ms, wait_until};
use serde_json::{Value, json};

const REFUSED: (u16, &str) = (4003, "invalid request, close by server");

fn environment() -> Environment {
    let mut second = boolean_flag("second");
    touch(&mut second, 2000);
    let mut people = segment("people");
    touch(&mut people, 1000);
    Environment::new(1).flag(boolean_flag("first")).flag(second).segment(people)
}

fn with_data() -> Agent {
    Builder::offline().data_file(&Dataset::of([environment()])).start()
}

fn target(kind: &str, secret: &str) -> String {
    format!("/streaming?type={kind}&token={}", token(secret, now_ms(), 9))
}

fn closed_with(agent: &Agent, target: &str) -> (u16, String) {
    RawSocket::upgrade(agent.port(), target, &[]).expect_close()
}

fn keys(items: &Value) -> Vec<&str> {
    items.as_array().unwrap().iter().map(|flag| flag["key"].as_str().unwrap()).collect()
}

#[test]
fn requests_that_are_certainly_wrong_are_upgraded_and_closed_with_4003() {
    let agent = with_data();
    let environment = environment();
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    let good = token(&server, now_ms(), 9);
    let unknown = common::dataset::secret_text(&environment.id, Kind::Server, 77);
    let elsewhere = Environment::new(9).secret(Kind::Server);
    let cases = [
        ("no parameters", String::new()),
        ("no token", "?type=server".into()),
        ("an empty token", "?type=server&token=".into()),
        ("a token shorter than its header", "?type=server&token=QQB".into()),
        ("unknown digits", format!("?type=server&token=A{}", &good[1..])),
        ("a position beyond the secret", format!("?type=server&token=HUU{}", &good[3..])),
        ("a time longer than the token", format!("?type=server&token={}UU{}", &good[..3], &good[5..])),
        ("a time that is no number", format!("?type=server&token={}", good.replace('B', "a"))),
        ("a secret cut off", format!("?type=server&token={}", &good[..good.len() - 1])),
        ("a secret that is too long", format!("?type=server&token={good}A")),
        ("a client's secret as a server's", target("server", &client)[10..].into()),
        ("a server's secret as a client's", target("client", &server)[10..].into()),
        ("no type", format!("?token={good}")),
        ("an empty type", format!("?type=&token={good}")),
        ("the type of relays", format!("?type=relay-proxy&token={good}")),
        ("version 3", format!("?type=server&version=3&token={good}")),
        ("a version that is no number", format!("?type=server&version=x&token={good}")),
        ("a secret that its environment does not have", target("server", &unknown)[10..].into()),
        ("a secret of an unknown environment", target("server", &elsewhere)[10..].into()),
    ];
    for (what, query) in cases {
        let (code, reason) = closed_with(&agent, &format!("/streaming{query}"));
        assert_eq!((code, reason.as_str()), REFUSED, "{what}");
    }
}

#[test]
fn versions_spellings_and_orders_that_sdks_use_are_accepted() {
    let agent = with_data();
    let secret = environment().secret(Kind::Server);
    let fresh = || token(&secret, now_ms(), 2);
    for target in [
        target("server", &secret),
        format!("/streaming?token={}&type=server", fresh()),
        format!("/streaming?type=server&version=&token={}", fresh()),
        format!("/streaming?type=server&version=1&token={}", fresh()),
        format!("/streaming?token={}&type=server&version=2", fresh()),
        format!("/streaming?type=server&token={}&unknown=x", fresh()),
        format!("/Streaming/?type=server&token={}", fresh()),
        format!("/streaming/x?type=server&token={}", fresh()),
        format!("/streaming?type=server&token={}", token(&secret, now_ms(), 43)),
    ] {
        let mut socket = RawSocket::upgrade(agent.port(), &target, &[("Origin", "https://shop.example")]);
        socket.send(&whole(TEXT, br#"{"messageType":"ping","data":null}"#));
        socket.expect_text(r#"{"messageType":"pong","data":{}}"#);
    }
}

#[test]
fn a_token_out_of_time_gets_no_data_and_is_closed_with_1008_and_logged_once() {
    let agent = Builder::offline()
        .data_file(&Dataset::of([environment()]))
        .env("Streaming__TokenHoldSeconds", "1")
        .start();
    let secret = environment().secret(Kind::Server);
    let mut sockets = Vec::new();
    for (kind, differs_ms) in [("server", 3_600_000), ("server", -3_600_000), ("client", -31_000)] {
        let token = token(&secret, now_ms() + differs_ms, 9);
        let target = format!("/streaming?type={kind}&token={token}");
        let mut socket = RawSocket::upgrade(agent.port(), &target, &[]);
        socket.send(&whole(TEXT, br#"{"messageType":"data-sync","data":{"timestamp":0}}"#));
        socket.send(&whole(TEXT, br#"{"messageType":"ping","data":null}"#));
        sockets.push(socket);
    }
    for mut socket in sockets {
        let (code, _) = socket.expect_close();
        assert_eq!(code, 1008);
    }
    let line = agent.wait_line("token is out of time");
    let log = agent.log();
    assert_eq!(agent.lines("token is out of time").len(), 1, "{log}");
    let (_, after) = line.split_once("difference_seconds=").unwrap();
    let difference: f64 = after.split_whitespace().next().unwrap().parse().unwrap();
    assert!((difference - 3600.0).abs() < SOON.as_secs_f64(), "{line}");
    assert!(!log.contains(&secret[..22]) && !log.contains(&secret[22..]), "no secret in the log");
}

#[test]
fn tokens_within_the_expiry_are_accepted_on_both_sides_of_the_clock() {
    let agent = Builder::offline()
        .data_file(&Dataset::of([environment()]))
        .env("Streaming__TokenExpirySeconds", "7200")
        .start();
    for differs_ms in [-3_600_000, 3_600_000] {
        let token = token(&environment().secret(Kind::Server), now_ms() + differs_ms, 9);
        Stream::open(&agent, &format!("/streaming?type=server&token={token}")).expect_nothing_new();
    }
}

#[test]
fn without_data_a_connection_waits_and_is_then_asked_to_come_back() {
    let agent = Builder::offline().api_key().env("Limits__VerdictWait", "1").start();
    let secret = environment().secret(Kind::Server);
    let mut held = RawSocket::upgrade(agent.port(), &target("server", &secret), &[]);
    held.send(&whole(TEXT, br#"{"messageType":"data-sync","data":{"timestamp":0}}"#));
    // What is wrong whatever the data will be is refused at once.
    let (code, reason) = closed_with(&agent, "/streaming?type=server&token=nonsense");
    assert_eq!((code, reason.as_str()), REFUSED);
    assert_eq!(held.expect_close().0, 1011);
}

#[test]
fn waiting_connections_are_answered_when_data_arrives() {
    let agent = Builder::offline().api_key().env("Limits__VerdictWait", "60").start();
    let environment = environment();
    let mut server = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    server.request_data(0);
    let mut client = Stream::connect(&agent, Kind::Client, &environment.secret(Kind::Client));
    client.request_data_for(0, &user("anna", &[]));
    let mut quiet = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    let mut wrong = Stream::connect(&agent, Kind::Client, &environment.secret(Kind::Server));
    let mut unknown = Stream::connect(&agent, Kind::Server, &Environment::new(2).secret(Kind::Server));
    agent.bootstrap(&Dataset::of([environment]));
    let data = server.next_data();
    assert_eq!((&data["eventType"], keys(&data["featureFlags"])), (&json!("full"), vec!["first", "second"]));
    let data = client.next_data();
    assert_eq!((&data["eventType"], &data["userKeyId"]), (&json!("full"), &json!("anna")));
    quiet.expect_nothing_new();
    assert_eq!(wrong.expect_close(SOON), Some(4003));
    assert_eq!(unknown.expect_close(SOON), Some(4003));
}

#[test]
fn data_is_answered_by_timestamp() {
    let agent = with_data();
    let environment = environment();
    let mut stream = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    let all = json!({
        "featureFlags": environment.flags, "segments": environment.segments,
    });
    let newer = json!({ "featureFlags": [environment.flags[1]], "segments": [] });
    let none = json!({ "featureFlags": [], "segments": [] });
    for (timestamp, event_type, expected) in [
        ("0".to_owned(), "full", &all),
        ("1e3".into(), "full", &all),
        ("-1".into(), "patch", &all),
        ("1".into(), "patch", &all),
        (format!("{}", START_MS - 1), "patch", &all),
        (format!("{}", START_MS + 1000), "patch", &newer),
        (format!("{}", START_MS + 1999), "patch", &newer),
        (format!("{}", START_MS + 2000), "patch", &none),
        ("4000000000000".into(), "patch", &none),
    ] {
        let request = format!(r#"{{"messageType":"Data-Sync","data":{{"timestamp":{timestamp}}}}}"#);
        stream.send(&serde_json::from_str(&request).unwrap());
        let mut data = stream.next_data();
        assert_eq!(data["eventType"].take(), event_type, "{timestamp}");
        assert_eq!(data["featureFlags"], expected["featureFlags"], "{timestamp}");
        assert_eq!(data["segments"], expected["segments"], "{timestamp}");
    }
    stream.send(&json!({ "messageType": "data-sync", "data": {} }));
    assert_eq!(stream.next_data()["eventType"], "full", "no timestamp counts as 0");
}

#[test]
fn messages_without_an_answer_are_ignored_and_the_connection_stays() {
    let agent = with_data();
    let mut stream = Stream::connect(&agent, Kind::Server, &environment().secret(Kind::Server));
    for message in [
        r#"{"messageType":"data-sync","data":{"timestamp":null}}"#,
        r#"{"messageType":"data-sync","data":{"timestamp":"0"}}"#,
        r#"{"messageType":"data-sync","data":null}"#,
        r#"{"messageType":"data-sync"}"#,
        r#"{"messageType":"rp-agent-status","data":{}}"#,
        r#"{"messageType":"unheard-of","data":{}}"#,
        r#"{"messageType":7,"data":{}}"#,
        r#"{"MessageType":"ping","data":{}}"#,
        r#"{"data":{}}"#,
        r#"{"messageType":"ping"}"#,
        r#"["ping"]"#,
        "ping",
        "{",
        "",
    ] {
        stream.socket().send(tungstenite::Message::text(message)).unwrap();
        stream.expect_nothing_new();
    }
    for message in [r#"{"messageType":"PING","data":0}"#, r#"{ "data" : [1] , "messageType" : "ping" }"#] {
        stream.socket().send(tungstenite::Message::binary(message.as_bytes())).unwrap();
        assert_eq!(stream.next(), json!({ "messageType": "pong", "data": {} }));
    }
}

#[test]
fn a_client_needs_a_user_and_gets_answers_for_its_latest() {
    let agent = Builder::offline().api_key().data_file(&Dataset::of([environment()])).start();
    let mut stream = Stream::connect(&agent, Kind::Client, &environment().secret(Kind::Client));
    for user in [Value::Null, json!({}), json!({ "keyId": "" }), json!({ "keyId": " \t" }), json!("anna")] {
        stream.request_data_for(0, &user);
        stream.expect_nothing_new();
    }
    stream.request_data(0);
    stream.expect_nothing_new();
    // There is no user yet, so nothing is pushed either.
    let mut changed = environment();
    touch(changed.flag_mut("first"), 5000);
    agent.bootstrap(&Dataset::of([changed.clone()]));
    stream.expect_nothing_new();

    for key in ["anna", "bert"] {
        stream.request_data_for(0, &user(key, &[]));
        let data = stream.next_data();
        assert_eq!((&data["eventType"], &data["userKeyId"]), (&json!("full"), &json!(key)));
        let ids: Vec<_> =
            data["featureFlags"].as_array().unwrap().iter().map(|flag| flag["id"].clone()).collect();
        assert_eq!(ids, ["first", "second"]);
    }
    stream.request_data_for(START_MS + 2000, &user("bert", &[]));
    let data = stream.next_data();
    assert_eq!((&data["eventType"], data["featureFlags"].as_array().unwrap().len()), (&json!("patch"), 1));
    stream.request_data_for(START_MS + 5000, &user("bert", &[]));
    let data = stream.next_data();
    assert_eq!(data, json!({ "eventType": "patch", "userKeyId": "bert", "featureFlags": [] }));
    // A request without a user changes nothing.
    stream.request_data_for(0, &Value::Null);
    stream.expect_nothing_new();
    touch(changed.flag_mut("second"), 6000);
    agent.bootstrap(&Dataset::of([changed]));
    let data = stream.next_data();
    assert_eq!((&data["eventType"], &data["userKeyId"]), (&json!("patch"), &json!("bert")));
    assert_eq!(data["featureFlags"][0]["id"], "second");
}

#[test]
fn flags_and_segments_are_sent_unchanged() {
    let id = environment().id;
    let raw_flag = format!(
        r#"{{ "key":"odd" ,"id" : "f1","envId":"{id}", "unknown": {{"b":[1.50, 1e2, -0.0], "a":null}},
           "name":"\u5BA2 é \/ 😀","updatedAt":"2024-02-01T00:00:00.1234567+01:00", "tags":[ ],"isArchived":false,
           "variationType":"string","variations":[{{"id":"v","value":"x\u0000y"}}],"targetUsers":[],"rules":[],
           "isEnabled":true,"disabledVariationId":"v","exptIncludeAllTargets":true,
           "fallthrough":{{"dispatchKey":null,"includedInExpt":false,"variations":[{{"id":"v","rollout":[0,1.0],"exptRollout":1}}]}} }}"#
    );
    let raw_segment = format!(
        r#"{{"id":"s1", "envId":"{id}","name":"s","included":[ "a"],"excluded":[],"rules":[],"updatedAt":"2024-01-31T00:00:00Z","isArchived":false,"x":0.10}}"#
    );
    let secrets = serde_json::to_string(&environment().secrets).unwrap();
    let dump = |flag: &str| {
        format!(
            r#"{{"eventType":"rp_full","items":[{{"envId":"{id}","secrets":{secrets},"featureFlags":[{flag}],"segments":[{raw_segment}]}}]}}"#
        )
    };
    // One reactor: what it answers, it answers to the next connection too.
    let builder = Builder::offline().data_file(&Dataset::default()).env("Reactors", "1");
    let agent = builder.env("DataFilePollMilliseconds", "20").start();
    write_atomically(&agent.data_file(), &dump(&raw_flag));
    let secret = environment().secret(Kind::Server);
    wait_until("the dump is in service", SOON, || {
        let answer = agent.get("/api/public/sdk/server/latest-all", &[("Authorization", &secret)]);
        (answer.status == 200).then_some(())
    });
    let mut socket = RawSocket::upgrade(agent.port(), &target("server", &secret), &[]);
    socket.send(&whole(TEXT, br#"{"messageType":"data-sync","data":{"timestamp":0}}"#));
    socket.expect_text(&format!(
        r#"{{"messageType":"data-sync","data":{{"eventType":"full","featureFlags":[{raw_flag}],"segments":[{raw_segment}]}}}}"#
    ));
    let changed = raw_flag.replace("00:00:00.1234567", "00:00:01.7654321");
    write_atomically(&agent.data_file(), &dump(&changed));
    socket.expect_text(&format!(
        r#"{{"messageType":"data-sync","data":{{"eventType":"patch","featureFlags":[{changed}],"segments":[]}}}}"#
    ));
}

#[test]
fn sdks_that_lose_items_of_a_batch_get_them_one_by_one_in_ascending_order() {
    let mut environment = environment();
    for (key, later_ms) in [("a", 5000), ("b", 3000), ("c", 4000)] {
        let mut flag = boolean_flag(key);
        touch(&mut flag, later_ms);
        environment.add_flag(flag);
    }
    let mut late = segment("late");
    touch(&mut late, 4500);
    environment.add_segment(late);
    let agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let secret = environment.secret(Kind::Server);
    let request = format!(r#"{{"messageType":"data-sync","data":{{"timestamp":{}}}}}"#, START_MS + 2000);
    let ask = |agent_name: &str| -> Vec<(String, Vec<String>)> {
        let mut socket =
            RawSocket::upgrade(agent.port(), &target("server", &secret), &[("User-Agent", agent_name)]);
        socket.send(&whole(TEXT, request.as_bytes()));
        socket.send(&whole(TEXT, br#"{"messageType":"ping","data":null}"#));
        let mut patches = Vec::new();
        loop {
            let message: Value = serde_json::from_str(socket.next().text()).unwrap();
            if message["messageType"] == "pong" {
                return patches;
            }
            let data = &message["data"];
            let items =
                data["featureFlags"].as_array().unwrap().iter().chain(data["segments"].as_array().unwrap());
            let names = items.map(|item| item["name"].as_str().unwrap().to_owned()).collect();
            patches.push((data["eventType"].as_str().unwrap().to_owned(), names));
        }
    };
    for agent_name in ["fb-python-server-sdk", "fb-java-server-sdk/1.4.0", "FB-go-server-sdk"] {
        let one_by_one: Vec<_> = ["Flag b", "Flag c", "late", "Flag a"]
            .map(|name| ("patch".to_owned(), vec![name.to_owned()]))
            .into();
        assert_eq!(ask(agent_name), one_by_one, "{agent_name}");
    }
    for agent_name in ["featbit-dotnet-server-sdk", "", "f"] {
        let batch =
            vec![("patch".to_owned(), ["Flag a", "Flag b", "Flag c", "late"].map(str::to_owned).into())];
        assert_eq!(ask(agent_name), batch, "{agent_name}");
    }
}

/// The original's answers, recorded. Its JSON is escaped otherwise, so that values are compared.
#[test]
fn the_recorded_conversation_is_answered_as_the_original_answers_it() {
    let recorded: Value = serde_json::from_str(include_str!("vectors/conversation.json")).unwrap();
    let secret = |kind: Kind| {
        let secrets = recorded["dump"]["items"][0]["secrets"].as_array().unwrap();
        let secret = secrets.iter().find(|secret| secret["type"] == kind.as_str()).unwrap();
        secret["value"].as_str().unwrap().to_owned()
    };
    let agent = Builder::offline().api_key().start();
    agent
        .post("/api/public/proxy/bootstrap", &[("Authorization", common::agent::API_KEY)], &recorded["dump"])
        .expect(200);
    for kind in [Kind::Server, Kind::Client] {
        let mut stream = Stream::connect(&agent, kind, &secret(kind));
        let exchanges = recorded["streaming"][kind.as_str()].as_array().unwrap();
        assert!(exchanges.len() >= 3, "the vectors hold {exchanges:?}");
        for exchange in exchanges {
            let request: Value = serde_json::from_str(exchange["in"].as_str().unwrap()).unwrap();
            let expected: Value = serde_json::from_str(exchange["out"].as_str().unwrap()).unwrap();
            stream.send(&request);
            assert_eq!(stream.next(), expected, "{request}");
        }
        stream.expect_nothing_new();
    }
}

#[test]
fn large_numbers_of_flags_arrive_whole() {
    let mut environment = Environment::new(1);
    let long = "x".repeat(2000);
    for number in 0..2000 {
        environment.add_flag(flag(&format!("flag-{number}"), "string", &["a", &long]));
    }
    let agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let mut server = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    server.request_data(0);
    let mut client = Stream::connect(&agent, Kind::Client, &environment.secret(Kind::Client));
    client.request_data_for(0, &user("anna", &[]));
    assert_eq!(server.next_data()["featureFlags"], json!(environment.flags));
    let data = client.next_data();
    assert_eq!(data["featureFlags"].as_array().unwrap().len(), 2000);
    assert_eq!(data["featureFlags"][1999]["variation"], "a");
    server.expect_nothing_new();
    client.expect_nothing_new();
}
