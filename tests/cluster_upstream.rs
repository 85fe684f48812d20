//! Agents that share one Redis, some of which follow a server: whatever one of them gets from it reaches all, once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, secret_text};
use common::following::{change, set, two_flags, with_short_retries};
use common::redis::{self, Redis, installed};
use common::server::Server;
use common::server::delayed::Delay;
use common::sharing::{variation_of, wait_alike};
use common::strict::StrictSdk;
use common::watcher::Watcher;
use common::{SOON, wait_until};
use serde_json::Value;

/// An agent that reaches its server, one that does not, and one without a server.
struct Mixed {
    server: Server,
    /// That of `cut`, which refuses connections until a test lets it listen.
    other: Server,
    live: Agent,
    cut: Agent,
    offline: Agent,
    /// After the agents, so that it ends last.
    redis: Redis,
}

impl Mixed {
    fn start(data: &Dataset) -> Self {
        let redis = redis::Builder::new().start();
        let (server, other) = (Server::start(data), Server::start(data));
        other.stop_listening();
        let shares =
            |builder: Builder| builder.sharing(&redis.url()).env("RevocationGraceSeconds", "1").start();
        let live = shares(with_short_retries(&server));
        live.wait_stable();
        live.wait_redis("connected");
        let cut = shares(with_short_retries(&other));
        let offline = shares(Builder::offline());
        let all = Self { server, other, live, cut, offline, redis };
        wait_alike("the first data", &all.agents(), |data| variation_of(data, "a") == "v0");
        all
    }

    fn agents(&self) -> [&Agent; 3] {
        [&self.live, &self.cut, &self.offline]
    }

    fn sdks(&self, environment: &Environment) -> Vec<Watcher> {
        let secret = environment.secret(Kind::Server);
        self.agents().iter().map(|agent| Watcher::server(agent, &secret)).collect()
    }

    /// A new server SDK with this secret is served by all agents.
    fn accept(&self, secret: &str) -> Vec<Watcher> {
        // None of them refuses a secret for good that another one has.
        let serves = |agent: &&Agent| {
            wait_until("a secret is accepted", SOON, || {
                let mut sdk = Watcher::asking(agent, secret);
                (sdk.try_take()? == "full").then_some(sdk)
            })
        };
        self.agents().iter().map(serves).collect()
    }
}

fn flags_in(data: &Value) -> usize {
    let items = data["items"].as_array().into_iter().flatten();
    items.map(|one| one["featureFlags"].as_array().map_or(0, Vec::len)).sum()
}

#[test]
fn an_agent_without_its_server_starts_with_the_data_of_the_cluster_and_gets_every_change() {
    if !installed("mixed modes in a cluster") {
        return;
    }
    let environment = two_flags(1);
    let all = Mixed::start(&Dataset::of([environment.clone()]));
    let (code, text) = all.cut.readiness();
    assert_eq!(code, 200, "{text}");
    assert_eq!(all.cut.status()["syncState"], "Interrupted");
    let mut strict: Vec<_> =
        all.agents().iter().flat_map(|agent| StrictSdk::of_each_name(agent, &environment)).collect();
    let mut sdks = all.sdks(&environment);
    let mut now = environment.clone();
    let mut model = |server: &Server, strict: &mut Vec<StrictSdk>| {
        now.flags = ["a", "b"].map(|key| server.flag(&environment.id, key)).to_vec();
        strict.iter_mut().for_each(|sdk| sdk.wait_for(&now));
    };
    for later_ms in [1_000, 2_000, 3_000] {
        let mut sdks: Vec<_> = sdks.iter_mut().collect();
        change(&all.server, &environment, "a", later_ms, &mut sdks);
        model(&all.server, &mut strict);
    }
    // The same date and other content: the greater bytes win everywhere, so all have the same.
    all.server.script(|script| script.mute = true);
    set(&all.server, &environment, "b", "v1", 4_000);
    all.server.script(|script| script.mute = false);
    all.live.resync();
    for sdk in &mut sdks {
        sdk.wait_variation("b", "v1");
        sdk.expect_nothing_new();
    }
    model(&all.server, &mut strict);
    // A full sync that lacks a flag.
    all.server.delete_flag(&environment.id, "a");
    all.live.resync();
    for sdk in &mut sdks {
        sdk.wait_gone("a");
        sdk.expect_nothing_new();
    }
    wait_alike("without a", &all.agents(), |data| flags_in(data) == 1);
    // It comes back with a newer date.
    all.server.upsert_flag(&environment.id, {
        let mut flag = boolean_flag("a");
        common::dataset::touch(&mut flag, 10_000);
        flag
    });
    for sdk in &mut sdks {
        sdk.wait_variation("a", "v0");
        sdk.expect_nothing_new();
    }
    assert_eq!(all.redis.cli(&["PING"]), "PONG");
}

#[test]
fn secrets_graces_and_environments_of_a_server_reach_agents_without_it() {
    if !installed("secrets in a cluster") {
        return;
    }
    let (first, second) = (two_flags(1), two_flags(2));
    let all = Mixed::start(&Dataset::of([first.clone()]));
    let mut sdks = all.sdks(&first);
    let secret = all.server.create_secret(&first.id, Kind::Server, 1);
    all.live.resync();
    let mut with_new = all.accept(&secret);
    change(&all.server, &first, "a", 1_000, &mut with_new.iter_mut().chain(&mut sdks).collect::<Vec<_>>());
    // Revoked: its grace period runs, and ends everywhere, although one agent cannot ask its server.
    all.server.revoke_secret(&first.id, &secret);
    all.live.resync();
    for (sdk, agent) in with_new.iter_mut().zip(all.agents()) {
        let code = sdk.expect_close(SOON);
        assert_eq!(code, Some(4003), "{}", agent.log());
    }
    for agent in all.agents() {
        assert!(!agent.canonical().contains(&secret_text(&first.id, Kind::Server, 1)));
    }
    // A new environment, which the server does not push on the connection it has.
    all.server.create_environment(second.clone());
    all.server.add_to_scope(common::agent::API_KEY, &second.id);
    all.live.resync();
    let mut of_second = all.accept(&second.secret(Kind::Server));
    wait_until("a connection that carries the new environment", SOON, || {
        all.server.open_relays().iter().any(|relay| relay.mapped.contains(&second.id)).then_some(())
    });
    all.live.wait_stable();
    change(&all.server, &second, "b", 2_000, &mut of_second.iter_mut().collect::<Vec<_>>());
    // It goes.
    all.server.remove_from_scope(common::agent::API_KEY, &second.id);
    all.live.resync();
    for (sdk, agent) in of_second.iter_mut().zip(all.agents()) {
        assert_eq!(sdk.expect_close(SOON), Some(4003), "{}", agent.log());
    }
    wait_alike("one environment", &all.agents(), |data| {
        data["items"].as_array().is_some_and(|items| items.len() == 1)
    });
    change(&all.server, &first, "b", 3_000, &mut sdks.iter_mut().collect::<Vec<_>>());
    // And is forgotten in Redis.
    let prefix = all.redis.cli(&["KEYS", "*:items"]);
    wait_until("the records of the environment are removed", SOON, || {
        (!all.redis.cli(&["HKEYS", &prefix]).contains(&second.id)).then_some(())
    });
}

#[test]
fn the_only_agent_that_reaches_a_server_keeps_the_others_fresh() {
    if !installed("one upstream for a cluster") {
        return;
    }
    let environment = two_flags(1);
    let all = Mixed::start(&Dataset::of([environment.clone()]));
    let mut sdks = all.sdks(&environment);
    let mut sdks: Vec<_> = sdks.iter_mut().collect();
    change(&all.server, &environment, "a", 1_000, &mut sdks);
    all.server.crash();
    all.live.wait_status("interrupted", |status| status["syncState"] == "Interrupted");
    // The other one comes, with what was changed meanwhile.
    set(&all.other, &environment, "a", "v1", 1_000);
    set(&all.other, &environment, "b", "v1", 2_000);
    all.other.start_listening();
    for sdk in &mut sdks {
        sdk.wait_variation("b", "v1");
        sdk.expect_nothing_new();
    }
    all.cut.wait_stable();
    for later_ms in [3_000, 4_000] {
        change(&all.other, &environment, "a", later_ms, &mut sdks);
    }
    // The first one is behind when it comes back: what it has is older, and nothing goes back for long.
    all.server.change_without_push(|model| {
        let flags = ["a", "b"].map(|key| all.other.flag(&environment.id, key));
        model.environment(&environment.id).flags = flags.to_vec();
    });
    all.server.start_listening();
    all.live.wait_stable();
    sdks.iter_mut().for_each(|sdk| sdk.expect_nothing_new());
    wait_alike("the last data", &all.agents(), |data| variation_of(data, "b") == "v1");
}

#[test]
fn a_patch_that_two_agents_get_is_pushed_once_by_each() {
    if !installed("the same patch in a cluster") {
        return;
    }
    let environment = two_flags(1);
    let redis = redis::Builder::new().start();
    let server = Server::start(&Dataset::of([environment.clone()]));
    let agents: Vec<_> = [with_short_retries(&server), with_short_retries(&server), Builder::offline()]
        .into_iter()
        .map(|builder| builder.sharing(&redis.url()).start())
        .collect();
    agents[..2].iter().for_each(Agent::wait_stable);
    wait_alike("the first data", &agents.iter().collect::<Vec<_>>(), |data| flags_in(data) == 2);
    let secret = environment.secret(Kind::Server);
    let mut sdks: Vec<_> = agents.iter().map(|agent| Watcher::server(agent, &secret)).collect();
    let mut strict: Vec<_> =
        agents.iter().flat_map(|agent| StrictSdk::of_each_name(agent, &environment)).collect();
    for number in 1..=30 {
        let key = if number % 3 == 0 { "b" } else { "a" };
        change(&server, &environment, key, number * 1_000, &mut sdks.iter_mut().collect::<Vec<_>>());
        let mut now = environment.clone();
        now.flags = ["a", "b"].map(|key| server.flag(&environment.id, key)).to_vec();
        strict.iter_mut().for_each(|sdk| sdk.wait_for(&now));
    }
    // An SDK that goes from one agent to another misses nothing and gets nothing twice.
    for number in 31..=60_i64 {
        let key = if number % 2 == 0 { "b" } else { "a" };
        change(&server, &environment, key, number * 1_000, &mut sdks.iter_mut().collect::<Vec<_>>());
        let mut now = environment.clone();
        now.flags = ["a", "b"].map(|key| server.flag(&environment.id, key)).to_vec();
        for (at, sdk) in strict.iter_mut().enumerate() {
            let agent = &agents[(at + usize::try_from(number).unwrap()) % 3];
            sdk.reconnect(agent);
            sdk.wait_for(&now);
        }
    }
}

/// What went wrong: the answer to a full sync that was asked for before another agent merged a change took that change back.
#[test]
fn a_slow_full_sync_does_not_take_back_what_another_agent_got_meanwhile() {
    if !installed("a slow full sync in a cluster") {
        return;
    }
    let environment = two_flags(1);
    let redis = redis::Builder::new().start();
    let data = Dataset::of([environment.clone()]);
    let (fast, slow) = (Server::start(&data), Server::start(&data));
    let follow = |server: &Server| with_short_retries(server).sharing(&redis.url()).start();
    let agents = [follow(&fast), follow(&slow)];
    agents.iter().for_each(Agent::wait_stable);
    slow.wait_synced();
    let mut strict: Vec<_> =
        agents.iter().flat_map(|agent| StrictSdk::of_each_name(agent, &environment)).collect();
    slow.delay(Delay::AsRequested);
    agents[1].resync();
    wait_until("the request", SOON, || (slow.delayed() == 1).then_some(()));
    set(&fast, &environment, "a", "v1", 5_000);
    fast.delete_flag(&environment.id, "b");
    agents[0].resync();
    let mut now = environment.clone();
    now.flags = vec![fast.flag(&environment.id, "a")];
    strict.iter_mut().for_each(|sdk| sdk.wait_for(&now));
    let fulls = slow.fulls();
    slow.release();
    // What the slow server has by now.
    slow.change_without_push(|model| model.environment(&environment.id).flags = now.flags.clone());
    agents[1].resync();
    wait_until("another full sync", SOON, || (slow.fulls() > fulls).then_some(()));
    agents.iter().for_each(Agent::wait_stable);
    strict.iter_mut().for_each(StrictSdk::read_all);
    strict.iter_mut().for_each(|sdk| sdk.wait_for(&now));
    wait_alike("the change", &[&agents[0], &agents[1]], |data| flags_in(data) == 1);
}
