//! What the agent evaluates for client SDKs is what the real Node server SDK evaluates from the agent's server payload.
//!
//! Several hundred flags and users are generated, the same on every run. Value, reason and `sendToExperiment` are
//! compared, the latter from the usage events that the SDK posts. Where the SDK is known to decide otherwise, either
//! [`EXPLAINED`] says what is expected instead and the test insists on that, or [`NOT_GENERATED`] says what the
//! generator keeps away from; those are covered by the recorded vectors.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use common::SOON;
use common::agent::Builder;
use common::dataset::{
    Dataset, Environment, Kind, condition, everybody, flag, guid_of, rule, segment, segment_condition, touch,
    user,
};
use common::http::Connection;
use common::rng::Rng;
use common::sdk::{Mode, Sdk, installed_spec};
use common::ws::Stream;
use serde_json::{Map, Value, json};

const SEED: u64 = 5_432_101;
const FLAGS: usize = 400;
const SEGMENTS: usize = 40;
const USERS: usize = 90;
const USERS_A_FLUSH: usize = 15;
const _: () = assert!(USERS_A_FLUSH * FLAGS < 10_000, "the SDK's queue holds no more");
const COMPARISONS_MIN: usize = 20_000;

/// Differences that are generated: what the agent must answer while the SDK answers otherwise.
const EXPLAINED: &[(&str, &str)] = &[
    (
        "archived flag",
        "the SDK evaluates it; the server, and the agent, say `flag archived` and give no variation",
    ),
    (
        "no range matches",
        "the SDK calls the flag malformed; the server, and the agent, give an empty variation by the same reason",
    ),
];

/// Differences that are not generated, for one side has no answer or an odd one.
const NOT_GENERATED: &[(&str, &str)] = &[
    (
        "regular expressions",
        "the SDK swaps pattern and text: only words are used of which none contains another",
    ),
    (
        "missing attribute",
        "`undefined` in the SDK, which throws in Contains, NotContain, StartsWith, EndsWith and both regex operators",
    ),
    ("missing attribute compared with an empty text", "`undefined` is not `\"\"`"),
    ("missing dispatch attribute", "the SDK appends `undefined`, the server nothing"),
    ("missing name", "every operator is false on the server, as a missing attribute in the SDK"),
    ("numbers", "parseFloat takes `12px` and stops at the comma of `1,234`: only plain numbers are used"),
    (
        "lists that are no JSON, or null",
        "false for both operators in the SDK, false and true (null) on the server",
    ),
    ("experiments of rules", "the SDK takes `includedInExpt` of the fallthrough: both are generated alike"),
    (
        "missing disabled or target variation",
        "malformed or an exception in the SDK, no variation on the server",
    ),
    ("empty value of a segment condition", "an exception in the SDK"),
];

const WORDS: &[&str] = &["gold", "silver", "bronze", "北京", "Zoë"];
const COUNTRIES: &[&str] = &["AT", "CH", "FR", "JP", "BR"];
const NUMBERS: &[&str] = &["0", "1", "-1", "2.5", "-2.5", "18", "18.0", "1e2", "100", "0.1", "99999999", "3"];
const FLAGS_OF_TEXT: &[&str] = &["true", "TRUE", "True", "false", "FALSE", "no", ""];

/// Operators that both sides answer alike for an attribute that a user lacks.
const SAFE_WITHOUT_ATTRIBUTE: &[&str] = &[
    "Equal",
    "NotEqual",
    "IsOneOf",
    "NotOneOf",
    "LessThan",
    "LessEqualThan",
    "BiggerThan",
    "BiggerEqualThan",
    "IsTrue",
    "IsFalse",
];

const OPERATORS: &[&str] = &[
    "Equal",
    "NotEqual",
    "Contains",
    "NotContain",
    "StartsWith",
    "EndsWith",
    "MatchRegex",
    "NotMatchRegex",
    "IsOneOf",
    "NotOneOf",
    "LessThan",
    "LessEqualThan",
    "BiggerThan",
    "BiggerEqualThan",
    "IsTrue",
    "IsFalse",
    "NoSuchOperator",
];

struct Generator {
    rng: Rng,
    operators: BTreeSet<String>,
}

impl Generator {
    fn list(&mut self, from: &[&str]) -> String {
        let count = self.rng.below(4);
        let items: Vec<&str> = (0..count).map(|_| *self.rng.pick(from)).collect();
        json!(items).to_string()
    }

    fn user_keys(&mut self) -> Vec<String> {
        let count = self.rng.below(5);
        (0..count).map(|_| format!("user-{}", self.rng.below(USERS))).collect()
    }

    fn condition(&mut self) -> Value {
        let op = *self.rng.pick(OPERATORS);
        self.operators.insert(op.into());
        let words = *self.rng.pick(&["plan", "sometimes"]);
        let (property, value) = match op {
            "LessThan" | "LessEqualThan" | "BiggerThan" | "BiggerEqualThan" => {
                let property = *self.rng.pick(&["age", "score", "sometimes", "plan"]);
                (property, (*self.rng.pick(NUMBERS)).to_owned())
            }
            "IsTrue" | "IsFalse" => (*self.rng.pick(&["beta", "sometimes"]), String::new()),
            "IsOneOf" | "NotOneOf" => match self.rng.below(3) {
                0 => ("country", self.list(COUNTRIES)),
                1 => ("keyId", json!(self.user_keys()).to_string()),
                _ => (words, self.list(WORDS)),
            },
            "Equal" | "NotEqual" => match self.rng.below(3) {
                0 => ("name", format!("Name of user-{}", self.rng.below(USERS))),
                1 => ("country", (*self.rng.pick(COUNTRIES)).to_owned()),
                _ => (words, (*self.rng.pick(WORDS)).to_owned()),
            },
            "MatchRegex" | "NotMatchRegex" => ("plan", (*self.rng.pick(WORDS)).to_owned()),
            _ => match self.rng.below(3) {
                0 => (
                    "email",
                    (*self.rng.pick(&["user-1", "@example.com", "example", ".org", "", "ü"])).to_owned(),
                ),
                1 => ("keyId", (*self.rng.pick(&["user-", "user-1", "7", "", "x"])).to_owned()),
                _ => ("plan", (*self.rng.pick(&["go", "old", "silver", "北", "京", "ë"])).to_owned()),
            },
        };
        assert!(property != "sometimes" || SAFE_WITHOUT_ATTRIBUTE.contains(&op), "{op}");
        condition(property, op, &value)
    }

    fn conditions(&mut self) -> Vec<Value> {
        let count = *self.rng.pick(&[0, 1, 1, 1, 2, 2, 3]);
        (0..count).map(|_| self.condition()).collect()
    }

    fn segment(&mut self, number: usize) -> Value {
        let mut made = segment(&segment_name(number));
        made["included"] = json!(self.user_keys());
        made["excluded"] = json!(self.user_keys());
        made["isArchived"] = json!(self.rng.percent(10));
        let rules: Vec<Value> = (0..self.rng.below(3))
            .map(|index| {
                let name = format!("rule {index} of segment {number}");
                json!({ "id": guid_of(&name), "name": name, "conditions": self.conditions() })
            })
            .collect();
        made["rules"] = json!(rules);
        touch(&mut made, number as i64);
        made
    }

    fn segment_condition(&mut self) -> Value {
        // One more than there are: an unknown segment holds nobody.
        let count = self.rng.below(3);
        let ids: Vec<String> =
            (0..count).map(|_| guid_of(&segment_name(self.rng.below(SEGMENTS + 1)))).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let not = self.rng.percent(50);
        let mut made = segment_condition(&ids, not);
        if self.rng.percent(5) {
            made["value"] = json!("null");
        }
        made
    }

    /// Shares of the variations, in order: usually all of [0, 1], now and then with a gap.
    fn rollout(&mut self, variations: usize) -> Value {
        if self.rng.percent(30) {
            return everybody(&format!("v{}", self.rng.below(variations)));
        }
        let mut cuts: Vec<f64> = (1..variations).map(|_| self.rng.below(1001) as f64 / 1000.0).collect();
        cuts.sort_by(f64::total_cmp);
        let mut from = 0.0;
        let mut shares = Vec::new();
        for index in 0..variations {
            let to = cuts.get(index).copied().unwrap_or(1.0);
            let expt = *self.rng.pick(&[0.0, 0.1, 0.5, 1.0]);
            shares.push(json!({ "id": format!("v{index}"), "rollout": [from, to], "exptRollout": expt }));
            from = to;
        }
        match self.rng.below(20) {
            0 => shares[0]["rollout"] = json!([0, 0.999_995]),
            1 => shares[0]["rollout"] = json!([0, 0]),
            2 => drop(shares.remove(self.rng.below(variations))),
            _ => {}
        }
        json!(shares)
    }

    fn dispatch_key(&mut self) -> Value {
        match self.rng.below(6) {
            0 => json!("country"),
            1 => json!("plan"),
            2 => json!("keyId"),
            3 => json!("name"),
            4 => json!(" "),
            _ => Value::Null,
        }
    }

    fn flag(&mut self, number: usize) -> Value {
        let variation_type = *self.rng.pick(&["boolean", "string", "number", "json"]);
        let values: Vec<String> = match variation_type {
            "boolean" => vec!["true".into(), "false".into()],
            "string" => (0..3).map(|index| format!("text {index} of {number} \"ü\"")).collect(),
            "number" => (0..4).map(|index| format!("{index}.25")).collect(),
            _ => (0..2).map(|index| json!({ "flag": number, "is": [index, null] }).to_string()).collect(),
        };
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let mut made = flag(&format!("flag-{number}"), variation_type, &values);
        made["isEnabled"] = json!(!self.rng.percent(6));
        made["isArchived"] = json!(self.rng.percent(4));
        made["disabledVariationId"] = json!(format!("v{}", self.rng.below(values.len())));
        made["exptIncludeAllTargets"] = json!(self.rng.percent(15));
        let in_experiment = self.rng.percent(50);
        let targets: Vec<Value> = (0..self.rng.below(3))
            .map(|_| {
                let variation = format!("v{}", self.rng.below(values.len()));
                json!({ "keyIds": self.user_keys(), "variationId": variation })
            })
            .collect();
        made["targetUsers"] = json!(targets);
        let rules: Vec<Value> = (0..self.rng.below(5))
            .map(|index| {
                let mut conditions = self.conditions();
                if self.rng.percent(40) {
                    conditions.push(self.segment_condition());
                }
                if conditions.is_empty() && self.rng.percent(70) {
                    // A rule without conditions always matches; too many of them would hide those after it.
                    conditions.push(self.condition());
                }
                let rollout = self.rollout(values.len());
                let mut made = rule(&format!("rule {index} of flag {number}"), conditions, rollout);
                made["dispatchKey"] = self.dispatch_key();
                made["includedInExpt"] = json!(in_experiment);
                made
            })
            .collect();
        made["rules"] = json!(rules);
        made["fallthrough"] = json!({
            "dispatchKey": self.dispatch_key(),
            "includedInExpt": in_experiment,
            "variations": self.rollout(values.len()),
        });
        touch(&mut made, 1_000 + number as i64);
        made
    }

    fn user(&mut self, number: usize) -> Value {
        let key = format!("user-{number}");
        let email = format!("{key}@{}", self.rng.pick(&["example.com", "example.org", "exämple.com"]));
        let mut attributes = vec![
            ("plan", *self.rng.pick(WORDS)),
            ("country", *self.rng.pick(COUNTRIES)),
            ("age", *self.rng.pick(NUMBERS)),
            ("score", *self.rng.pick(NUMBERS)),
            ("beta", *self.rng.pick(FLAGS_OF_TEXT)),
            ("email", email.as_str()),
        ];
        match self.rng.below(4) {
            0 => attributes.push(("sometimes", *self.rng.pick(WORDS))),
            1 => attributes.push(("sometimes", *self.rng.pick(NUMBERS))),
            2 => attributes.push(("sometimes", *self.rng.pick(&FLAGS_OF_TEXT[..6]))),
            _ => {}
        }
        user(&key, &attributes)
    }
}

fn segment_name(number: usize) -> String {
    format!("segment {number}")
}

/// Takes usage events and remembers `sendToExperiment` by user and flag.
struct EventSink {
    address: SocketAddr,
    sent: Arc<Mutex<BTreeMap<(String, String), bool>>>,
}

impl EventSink {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent: Arc<Mutex<BTreeMap<_, _>>> = Arc::default();
        let into = Arc::clone(&sent);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let into = Arc::clone(&into);
                std::thread::spawn(move || serve_events(stream, &into));
            }
        });
        Self { address, sent }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve_events(stream: TcpStream, into: &Mutex<BTreeMap<(String, String), bool>>) -> io::Result<()> {
    let mut connection = Connection::accepted(stream)?;
    while let Some(request) = connection.read_request()? {
        let events: Value = serde_json::from_slice(&request.body)?;
        let mut sent = into.lock().unwrap();
        for event in events.as_array().into_iter().flatten() {
            let key = event["user"]["keyId"].as_str().unwrap_or_default();
            for variation in event["variations"].as_array().into_iter().flatten() {
                let flag = variation["featureFlagKey"].as_str().unwrap_or_default();
                let to_experiment = variation["sendToExperiment"] == true;
                sent.insert((key.to_owned(), flag.to_owned()), to_experiment);
            }
        }
        drop(sent);
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}

/// What was seen of how flags were decided.
#[derive(Debug, Default)]
struct Tally {
    compared: usize,
    to_experiment: usize,
    kinds: BTreeMap<String, usize>,
    explained: BTreeMap<&'static str, usize>,
    differences: Vec<String>,
}

impl Tally {
    /// Compares one flag of one user.
    fn compare(&mut self, flag: &Value, who: &str, agent: &Value, sdk: &Value, sdk_sent: Option<&bool>) {
        let key = flag["key"].as_str().unwrap();
        if flag["isArchived"] == true {
            *self.explained.entry(EXPLAINED[0].0).or_default() += 1;
            self.check(agent["variation"].is_null(), key, who, "archived, yet with a variation", agent, sdk);
            self.check(agent["matchReason"] == "flag archived", key, who, "reason", agent, sdk);
            self.check(agent["sendToExperiment"] == false, key, who, "experiment", agent, sdk);
            return;
        }
        let reason = agent["matchReason"].as_str().unwrap_or_default();
        if sdk["kind"] == "Error" {
            *self.explained.entry(EXPLAINED[1].0).or_default() += 1;
            self.check(
                agent["variation"] == "" && agent["variationId"] == "",
                key,
                who,
                "no range",
                agent,
                sdk,
            );
            let known = reason == "default" || reason.starts_with("rule ");
            self.check(known, key, who, "reason without a range", agent, sdk);
            return;
        }
        self.compared += 1;
        let kind = sdk["kind"].as_str().unwrap_or_default().to_owned();
        let expected = match kind.as_str() {
            "Off" => "flag disabled",
            "TargetMatch" => "targeted",
            "FallThrough" => "default",
            _ => sdk["reason"].as_str().unwrap_or_default().trim_start_matches("match rule "),
        };
        *self.kinds.entry(kind.clone()).or_default() += 1;
        self.check(agent["variation"] == sdk["value"], key, who, "value", agent, sdk);
        self.check(reason == expected, key, who, "reason", agent, sdk);
        self.check(agent["variationType"] == flag["variationType"], key, who, "type", agent, sdk);
        match sdk_sent {
            Some(&sent) => {
                self.to_experiment += usize::from(sent);
                self.check(
                    agent["sendToExperiment"] == sent,
                    key,
                    who,
                    &format!("experiment, {sent}"),
                    agent,
                    sdk,
                );
            }
            None => self.differences.push(format!("{key} for {who}: the SDK sent no event")),
        }
    }

    fn check(&mut self, met: bool, key: &str, who: &str, what: &str, agent: &Value, sdk: &Value) {
        if !met {
            self.differences.push(format!("{key} for {who}: {what}: agent {agent}, SDK {sdk}"));
        }
    }
}

fn by_key(flags: &Value) -> Map<String, Value> {
    let flags = flags.as_array().expect("a list of flags");
    flags.iter().map(|flag| (flag["id"].as_str().unwrap().to_owned(), flag.clone())).collect()
}

#[test]
fn the_agent_evaluates_as_the_node_server_sdk_does() {
    let Some(spec) = installed_spec("differential", "node-server") else { return };
    let mut generator = Generator { rng: Rng::new(SEED), operators: BTreeSet::new() };
    let mut environment = Environment::new(1);
    for number in 0..SEGMENTS {
        environment.add_segment(generator.segment(number));
    }
    for number in 0..FLAGS {
        environment.add_flag(generator.flag(number));
    }
    let users: Vec<Value> = (0..USERS).map(|number| generator.user(number)).collect();
    assert_eq!(generator.operators.len(), OPERATORS.len(), "{:?}", generator.operators);

    let agent = Builder::offline().data_file(&Dataset::of([environment.clone()])).start();
    let events = EventSink::open();
    let mut sdk = Sdk::launch(&spec, Mode::Streaming);
    let options = json!({ "events": true, "eventsUrl": events.url() });
    sdk.start_with(&agent.url(), &environment.secret(Kind::Server), &users[0], options);
    sdk.wait_ready();
    let client_secret = environment.secret(Kind::Client);
    let mut stream = Stream::connect(&agent, Kind::Client, &client_secret);

    let mut decided = Vec::new();
    for (number, user) in users.iter().enumerate() {
        let who = user["keyId"].as_str().unwrap();
        let answer = sdk.command("all", json!({ "user": user, "record": true }), SOON);
        // The SDK's queue holds 10,000 events, and it takes a second for each flush.
        if number % USERS_A_FLUSH == USERS_A_FLUSH - 1 || number == users.len() - 1 {
            assert_eq!(sdk.command("flush", json!({}), SOON)["flushed"], true);
        }
        let polled = agent.evaluate(&client_secret, user);
        stream.request_data_for(0, user);
        assert_eq!(
            by_key(&stream.next_data()["featureFlags"]),
            polled,
            "streaming and polling differ for {who}"
        );
        assert_eq!(polled.len(), FLAGS);
        decided.push((who, polled, answer));
    }
    let mut tally = Tally::default();
    let sent = events.sent.lock().unwrap();
    for (who, polled, answer) in &decided {
        for flag in &environment.flags {
            let key = flag["key"].as_str().unwrap();
            let sdk_sent = sent.get(&((*who).to_owned(), key.to_owned()));
            tally.compare(flag, who, &polled[key], &answer["values"][key], sdk_sent);
        }
    }
    println!(
        "{} comparisons, {} in experiments, by kind {:?}, explained {:?}, not generated: {}",
        tally.compared,
        tally.to_experiment,
        tally.kinds,
        tally.explained,
        NOT_GENERATED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("; "),
    );
    let shown: Vec<&String> = tally.differences.iter().take(20).collect();
    assert!(shown.is_empty(), "{} differences, such as {shown:#?}", tally.differences.len());
    assert!(tally.compared >= COMPARISONS_MIN, "only {} comparisons", tally.compared);
    for kind in ["Off", "TargetMatch", "RuleMatch", "FallThrough"] {
        let count = tally.kinds.get(kind).copied().unwrap_or_default();
        assert!(count >= 500, "only {count} decided as {kind}");
    }
    assert!((1_000..tally.compared - 1_000).contains(&tally.to_experiment), "{}", tally.to_experiment);
    for (name, _) in EXPLAINED {
        assert!(tally.explained.contains_key(name), "the known difference «{name}» does not occur any more");
    }
}
