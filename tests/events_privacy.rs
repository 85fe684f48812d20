//! What leaves the machine of usage events: in the mode pseudonymize nothing that identifies a user, in local and drop nothing
//! at all, and all of that also when modes change over a restart or the names of environments are not known.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag};
use common::event_server::{EventServer, Reaction};
use common::following::AGENT_ID;
use common::network::Recorder;
use common::people::{FORMS, IN_FORMS, PROPERTIES, Person, expect_nothing_of, tells_of};
use common::raw::{TRACK, connect, request};
use common::rng::Rng;
use common::{SOON, wait_until};
use serde_json::Value;

const TOTAL: &str = "featbit_agent_usage_events_total";
const KEY: &str = "0123456789abcdefghijklmnopqrstuv";
/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

fn environment(number: u8) -> Environment {
    Environment::new(number).flag(boolean_flag("on"))
}

/// An agent that serves environments 1 and 2 and sends to this address.
fn sending(uri: &str) -> Builder {
    Builder::offline()
        .api_key()
        .data_file(&Dataset::of([environment(1), environment(2)]))
        .env("EventUri", uri)
        .env("Events__FlushSeconds", "0")
        .env("Events__RetrySeconds", "1")
        .env("Events__PseudonymKey", KEY)
        .env("Events__Properties", PROPERTIES)
}

fn people(count: usize) -> Vec<Person> {
    let mut rng = Rng::new(20_261_130);
    (0..count).map(|number| Person::new(&mut rng, number)).collect()
}

/// Posts an event of each form, with everything of the user around it.
fn post(agent: &Agent, environment: &Environment, person: &Person, rng: &mut Rng) {
    let secret = environment.secret(Kind::Server);
    let (around, query) = person.around();
    let mut headers = vec![("Authorization", secret.as_str()), ("Content-Type", "application/json")];
    headers.extend(around.iter().map(|(name, value)| (*name, value.as_str())));
    let body = person.body(rng);
    let mut connection = connect(agent);
    connection.send(&request("POST", &format!("{TRACK}{query}"), &headers, Some(body.as_bytes()))).unwrap();
    connection.read_response(false).unwrap().expect(200);
}

/// Waits until no event waits any more.
fn wait_sent(agent: &Agent) {
    agent.wait_metric("featbit_agent_usage_events_waiting", "", 0.0);
}

/// The contents of all files below a folder, by path.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => {
                let mut content = fs::read(&path).unwrap_or_default();
                // Most of a segment of the spool is space in advance.
                content.retain(|&byte| byte != 0);
                all.insert(path.display().to_string(), content);
            }
        }
    }
    all
}

fn expect_nothing_in_files(agent: &Agent, people: &[Person]) {
    for (path, content) in files(&agent.dir().join("events")) {
        expect_nothing_of(people, &content, &path);
    }
}

fn count(events: &[Value], name: &str) -> usize {
    let lists = events.iter().filter_map(|event| event[name].as_array());
    lists.map(Vec::len).sum()
}

fn pseudonyms(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["user"]["keyId"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_search_finds_what_leaves_in_forward() {
    let server = EventServer::start();
    let (agent, person) = (sending(&server.url()).start(), &people(1)[0]);
    post(&agent, &environment(1), person, &mut Rng::new(1));
    let events = server.wait_events(FORMS.len());
    assert!(tells_of(person, &server.bytes()));
    assert_eq!((count(&events, "variations"), count(&events, "metrics")), (IN_FORMS.0, 1));
}

/// Sends events of people through an agent whose server takes nothing at first and then rejects some of them, and looks
/// for the people everywhere.
fn nothing_identifies_a_user(builder: Builder, server: &EventServer) {
    let has_folder = format!("{builder:?}").contains("Events__Directory");
    let mut agent = builder.env("Events__Mode", "pseudonymize").env("Logging__Level", "trace").start();
    let people = people(8);
    let mut rng = Rng::new(7);
    server.always(Reaction::Answer(503, ""));
    for person in &people {
        post(&agent, &environment(1), person, &mut rng);
    }
    server.wait_requests(1);
    if has_folder {
        assert!(!files(&agent.dir().join("events/spool")).is_empty());
    }
    expect_nothing_in_files(&agent, &people);
    // All with the age of 37 are rejected, and all others taken.
    let is_rejected = |event: &Value| event.to_string().contains("30-39");
    server.react(move |got| match got.events.iter().any(is_rejected) {
        true => Reaction::Answer(400, ""),
        false => Reaction::Answer(200, ""),
    });
    wait_sent(&agent);
    let (all, rejected) = (people.len() * FORMS.len(), people.len());
    agent.wait_metric(TOTAL, "result=\"accepted\"", all as f64);
    agent.wait_metric(TOTAL, "result=\"sent\"", (all - rejected) as f64);
    agent.wait_metric(TOTAL, "result=\"rejected\"", rejected as f64);
    let events = server.events();
    assert_eq!(events.len(), all - rejected);
    // The rejected ones have one evaluation each.
    assert_eq!(count(&events, "variations"), people.len() * (IN_FORMS.0 - 1));
    assert_eq!(count(&events, "metrics"), people.len() * IN_FORMS.1);
    let known = pseudonyms(&events);
    assert_eq!(known.len(), people.len(), "a pseudonym each");
    if has_folder {
        let letters = fs::read_to_string(agent.dir().join("events/dead-letters.ndjson")).unwrap();
        assert_eq!(letters.lines().count(), rejected);
        for allowed in ["gold", "30-39", "mail3.example", "203.0.3.0/24", "\"CH\""] {
            assert!(letters.contains(allowed), "{allowed} in {letters}");
        }
    }
    let metrics = agent.get("/metrics", &[]).expect(200);
    let status = agent.get("/api/public/proxy/status", &[("Authorization", API_KEY)]).expect(200);
    for (place, bytes) in [("the metrics", &metrics.body), ("the status", &status.body)] {
        expect_nothing_of(&people, bytes, place);
    }
    expect_nothing_in_files(&agent, &people);
    expect_nothing_of(&people, agent.log().as_bytes(), "the log");
    // The same user again after a restart, and one of another environment.
    assert!(agent.stop().success());
    agent.start_again();
    server.always(Reaction::Answer(200, ""));
    post(&agent, &environment(1), &people[0], &mut rng);
    post(&agent, &environment(2), &people[0], &mut rng);
    let again = server.wait_events(events.len() + 2 * FORMS.len());
    let new = pseudonyms(&again[events.len()..]);
    assert_eq!((new.len(), new.intersection(&known).count()), (2, 1));
    assert!(agent.stop().success());
    expect_nothing_of(&people, &server.bytes(), "what left");
    expect_nothing_in_files(&agent, &people);
    expect_nothing_of(&people, agent.log().as_bytes(), "the log");
}

#[test]
fn nothing_identifies_a_user_with_a_folder_and_gzip() {
    let server = EventServer::start();
    let builder = sending(&server.url()).env("Events__Directory", "events").env("Events__Gzip", "true");
    // The key is in its file.
    nothing_identifies_a_user(builder.env("Events__PseudonymKey", ""), &server);
}

#[test]
fn nothing_identifies_a_user_with_events_in_memory() {
    let server = EventServer::start();
    nothing_identifies_a_user(sending(&server.url()), &server);
}

#[test]
fn each_environment_has_its_mode() {
    let server = EventServer::start();
    let agent = sending(&server.url())
        .env("Events__Directory", "events")
        .env("Events__Mode", "drop")
        .env("Events__Overrides__0__Environment", "PROJECT-1:Production")
        .env("Events__Overrides__0__Mode", "local")
        .env("Events__Overrides__1__Environment", &environment(2).id)
        .env("Events__Overrides__1__Mode", "pseudonymize")
        .start();
    let (people, mut rng) = (people(2), Rng::new(3));
    post(&agent, &environment(1), &people[0], &mut rng);
    post(&agent, &environment(2), &people[1], &mut rng);
    server.wait_events(FORMS.len());
    agent.wait_metric(TOTAL, "environment=\"project-1:production\",result=\"kept\"", FORMS.len() as f64);
    agent.wait_metric(TOTAL, "environment=\"project-2:production\",result=\"sent\"", FORMS.len() as f64);
    expect_nothing_of(&people, &server.bytes(), "what left");
    let kept = files(&agent.dir().join("events/local"));
    assert!(kept.values().any(|file| tells_of(&people[0], file)));
    assert_eq!(server.events().len(), FORMS.len());
}

/// An agent with a spool of events of environment 1 from this mode, not sent yet, that is not running.
fn with_spool(mode: &str, people: &[Person]) -> Agent {
    let mut agent = sending(NOWHERE).env("Events__Directory", "events").env("Events__Mode", mode).start();
    let mut rng = Rng::new(5);
    for person in people {
        post(&agent, &environment(1), person, &mut rng);
    }
    agent.kill();
    agent
}

#[test]
fn what_waits_leaves_as_the_mode_of_the_next_start_says() {
    let people = people(3);
    let all = people.len() * FORMS.len();
    for (before, after, result) in [
        ("forward", "pseudonymize", "sent"),
        ("forward", "local", "kept"),
        ("forward", "drop", "dropped"),
        ("pseudonymize", "forward", "sent"),
        ("pseudonymize", "local", "kept"),
    ] {
        let what = format!("{before}, then {after}");
        let server = EventServer::start();
        let mut agent = with_spool(before, &people);
        let waits = files(&agent.dir().join("events/spool"));
        let is_raw = waits.values().any(|file| tells_of(&people[0], file));
        assert_eq!(is_raw, before == "forward", "{what}");
        agent.set_env("Events__Mode", after);
        agent.set_env("EventUri", &server.url());
        agent.start_again();
        agent.wait_metric(TOTAL, &format!("result=\"{result}\""), all as f64);
        wait_sent(&agent);
        assert!(agent.stop().success());
        assert_eq!(server.events().len(), if result == "sent" { all } else { 0 }, "{what}");
        expect_nothing_of(&people, &server.bytes(), &what);
        let local = files(&agent.dir().join("events/local"));
        let lines = local.iter().filter(|(path, _)| path.ends_with(".ndjson"));
        let lines: usize = lines.map(|(_, file)| file.iter().filter(|&&byte| byte == b'\n').count()).sum();
        assert_eq!(lines, if result == "kept" { all } else { 0 }, "{what}");
    }
}

#[test]
fn without_data_no_event_leaves_whose_environment_may_be_another_one() {
    let people = people(1);
    for mode in ["offline", "auto"] {
        let server = EventServer::start();
        let mut agent = with_spool("forward", &people);
        agent.start_again();
        post(&agent, &environment(2), &people[0], &mut Rng::new(6));
        agent.kill();
        agent.set_env("EventUri", &server.url());
        agent.set_env("DataFile", "");
        agent.set_env("Mode", mode);
        if mode == "auto" {
            agent.set_env("StreamingUri", "ws://127.0.0.1:1");
            agent.set_env("AgentId", AGENT_ID);
        }
        // The first one is known by its name only, and its events would be sent first.
        let overrides = format!("project-1:production=local;{}=forward", environment(2).id);
        agent.set_env("Events__Overrides", &overrides);
        agent.start_again();
        server.wait_events(FORMS.len());
        agent.wait_metric("featbit_agent_usage_events_waiting", "", FORMS.len() as f64);
        let secrets: BTreeSet<String> =
            server.requests().iter().map(|got| got.fields["authorization"].clone()).collect();
        assert_eq!(secrets, BTreeSet::from([environment(2).secret(Kind::Server)]), "{mode}");
        if mode == "offline" {
            agent.bootstrap(&Dataset::of([environment(1), environment(2)]));
            agent.wait_metric(TOTAL, "result=\"kept\"", FORMS.len() as f64);
        }
        agent.stop();
        assert_eq!(server.events().len(), FORMS.len(), "{mode}");
    }
}

#[test]
fn in_local_and_drop_not_even_a_name_is_looked_up() {
    let recorder = Recorder::new();
    for (mode, result) in [("local", "kept"), ("drop", "dropped"), ("forward", "accepted")] {
        let builder = sending("http://events.invalid:5100")
            .env("Events__Mode", mode)
            .env("Events__Directory", "events")
            .env("Events__Overrides", &format!("project-2:production={mode}"));
        let mut agent = recorder.watch(builder, mode).start();
        for number in [1, 2] {
            post(&agent, &environment(number), &people(1)[0], &mut Rng::new(2));
        }
        agent.wait_metric(TOTAL, &format!("result=\"{result}\""), 2.0 * FORMS.len() as f64);
        if mode == "forward" {
            wait_until("the recorder sees the look-up", SOON, || {
                recorder.lines(mode).iter().any(|line| line == "getaddrinfo events.invalid").then_some(())
            });
        }
        // Whatever it does at its end is seen, too.
        assert!(agent.stop().success());
        assert_eq!(recorder.lines(mode).is_empty(), mode != "forward", "{mode}: {:?}", recorder.lines(mode));
    }
}

#[test]
fn the_recorder_sees_connections() {
    let (recorder, server) = (Recorder::new(), EventServer::start());
    let agent = recorder.watch(sending(&server.url()), "agent").start();
    post(&agent, &environment(1), &people(1)[0], &mut Rng::new(2));
    server.wait_events(FORMS.len());
    let expected = format!("connect 127.0.0.1 {}", server.port());
    assert!(recorder.lines("agent").contains(&expected), "{:?}", recorder.lines("agent"));
}
