//! Agents that share one Redis: what changes at one of them reaches the SDKs of all, once, and all end with the same.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, serve, touch, user};
use common::following::{two_flags, with_short_retries};
use common::redis::{self, Redis, installed};
use common::sdk::Fleet;
use common::server::Server;
use common::sharing::{variation_of, wait_alike};
use common::strict::StrictSdk;
use common::watcher::Watcher;
use common::{SOON, wait_until};
use serde_json::{Value, json};

fn server() -> Redis {
    redis::Builder::new().start()
}

fn offline(redis: &Redis) -> Builder {
    Builder::offline().sharing(&redis.url())
}

/// Offline agents that share a Redis.
fn three(redis: &Redis) -> Vec<Agent> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = (0..3).map(|_| scope.spawn(|| offline(redis).start())).collect();
        starting.into_iter().map(|agent| agent.join().expect("an agent starts")).collect()
    })
}

fn refs(agents: &[Agent]) -> Vec<&Agent> {
    agents.iter().collect()
}

fn give(environment: &mut Environment, key: &str, variation: &str, later_ms: i64) {
    let flag = environment.flag_mut(key);
    serve(flag, variation);
    touch(flag, later_ms);
}

fn one(environment: &Environment) -> Dataset {
    Dataset::of([environment.clone()])
}

#[test]
fn a_bootstrap_of_one_agent_reaches_the_sdks_of_all_once() {
    if !installed("bootstrap of a cluster") {
        return;
    }
    let redis = server();
    let agents = three(&redis);
    let mut environment = two_flags(1);
    let first = environment.clone();
    agents[0].bootstrap(&one(&environment));
    wait_alike("the first data", &refs(&agents), |data| variation_of(data, "b") == "v0");
    let mut sdks: Vec<_> =
        agents.iter().flat_map(|agent| StrictSdk::of_each_name(agent, &environment)).collect();
    let mut reaches_all = |number: usize, environment: &Environment| {
        agents[number].bootstrap(&one(environment));
        sdks.iter_mut().for_each(|sdk| sdk.wait_for(environment));
        // Each comes back to the next agent, with what this one has told it.
        for (at, sdk) in sdks.iter_mut().enumerate() {
            sdk.reconnect(&agents[(at / 2 + number + 1) % 3]);
            sdk.read_all();
            sdk.wait_for(environment);
        }
    };
    give(&mut environment, "a", "v1", 1_000);
    reaches_all(1, &environment);
    // Back to older data.
    reaches_all(2, &first);
    // Without a newer date.
    environment = first.clone();
    serve(environment.flag_mut("b"), "v1");
    reaches_all(0, &environment);
    environment.remove_flag("b");
    environment.add_flag(boolean_flag("c"));
    reaches_all(1, &environment);
    give(&mut environment, "c", "v1", 9_000);
    reaches_all(0, &environment);
    // The removed flag is back, as old as it was.
    environment.add_flag(boolean_flag("b"));
    reaches_all(2, &environment);
    wait_alike("the last data", &refs(&agents), |data| variation_of(data, "c") == "v1");
}

#[test]
fn a_removed_flag_stays_removed_when_an_agent_that_was_away_comes_back() {
    if !installed("a removed flag in a cluster") {
        return;
    }
    let redis = server();
    let mut agents = three(&redis);
    let mut environment = two_flags(1);
    agents[0].bootstrap(&one(&environment));
    wait_alike("the first data", &refs(&agents), |data| variation_of(data, "b") == "v0");
    agents[2].kill();
    environment.remove_flag("b");
    agents[0].bootstrap(&one(&environment));
    agents[1].kill();
    agents[0].kill();
    for agent in &mut agents {
        agent.start_again();
    }
    let all = wait_alike("after a restart of all", &refs(&agents), |data| variation_of(data, "a") == "v0");
    assert!(!all.contains(r#""key":"b""#), "{all}");
}

#[test]
fn of_bootstraps_at_the_same_time_all_agents_keep_the_same_one() {
    if !installed("concurrent bootstraps of a cluster") {
        return;
    }
    let redis = server();
    let agents = three(&redis);
    let environment = two_flags(1);
    agents[0].bootstrap(&one(&environment));
    wait_alike("the first data", &refs(&agents), |data| variation_of(data, "b") == "v0");
    let mut sdks: Vec<_> =
        agents.iter().map(|agent| Watcher::server(agent, &environment.secret(Kind::Server))).collect();
    for round in 0..8 {
        let variants: Vec<_> = (0..3)
            .map(|number| {
                let mut environment = environment.clone();
                environment.flag_mut("a")["name"] = json!(format!("{round} by {number}"));
                one(&environment)
            })
            .collect();
        std::thread::scope(|scope| {
            for (agent, variant) in agents.iter().zip(&variants) {
                scope.spawn(move || agent.bootstrap(variant));
            }
        });
        let prefix = format!("{round} by ");
        let name = |data: &Value| common::sharing::flag_of(data, "a")["name"].clone();
        let all = wait_alike("the winner", &refs(&agents), |data| {
            name(data).as_str().is_some_and(|name| name.starts_with(&prefix))
        });
        let winner = name(&serde_json::from_str(&all).unwrap());
        for sdk in &mut sdks {
            sdk.take_until("the winner", |sdk| sdk.flags["a"]["name"] == winner);
        }
    }
}

#[test]
fn real_sdks_of_every_agent_get_the_changes_of_one() {
    const NAME: &str = "real SDKs of a cluster";
    if !installed(NAME) {
        return;
    }
    let redis = server();
    let agents = three(&redis);
    let mut environment = two_flags(1);
    let first = environment.clone();
    agents[0].bootstrap(&one(&environment));
    wait_alike("the first data", &refs(&agents), |data| variation_of(data, "b") == "v0");
    let ann = user("ann", &[]);
    let mut fleets: Vec<_> = (0..3)
        .map(|at| {
            // Every kind at some agent, and those of Node and Python at each.
            Fleet::launch(NAME, |spec, _| {
                ["node-server", "python-server"].contains(&&*spec.name) || spec.name.len() % 3 == at
            })
        })
        .collect();
    if fleets.iter().all(Fleet::is_empty) {
        return;
    }
    let all_see = |fleets: &mut Vec<Fleet>, step: &str, a: bool, b: bool| {
        for fleet in fleets {
            fleet.each(step, |sdk| {
                sdk.wait_value("a", &ann, "boolean", &json!(a));
                sdk.wait_value("b", &ann, "boolean", &json!(b));
            });
        }
    };
    for (agent, fleet) in agents.iter().zip(&mut fleets) {
        fleet.each("start", |sdk| {
            sdk.start(agent, &environment, &ann);
            sdk.wait_ready();
        });
    }
    give(&mut environment, "a", "v1", 1_000);
    agents[1].bootstrap(&one(&environment));
    all_see(&mut fleets, "a change", false, true);
    agents[2].bootstrap(&one(&first));
    all_see(&mut fleets, "a rollback", true, true);
    environment.remove_flag("b");
    agents[0].bootstrap(&one(&environment));
    for fleet in &mut fleets {
        fleet.each("a removal", |sdk| {
            sdk.wait_value("a", &ann, "boolean", &json!(false));
            sdk.wait_gone("b", &ann);
        });
    }
}

#[test]
fn many_flags_reach_an_agent_that_starts_later() {
    if !installed("many flags in a cluster") {
        return;
    }
    let redis = server();
    let environment = |flags: usize| {
        (0..flags).fold(Environment::new(1), |one, number| one.flag(boolean_flag(&format!("flag-{number}"))))
    };
    let upstream = Server::start(&one(&environment(1_500)));
    // Its data belongs to no edition: nobody has loaded a dataset.
    let following = with_short_retries(&upstream).sharing(&redis.url()).start();
    following.wait_stable();
    following.wait_redis("connected");
    let later = offline(&redis).start();
    let all = wait_alike("1500 flags", &[&following, &later], |data| {
        data["items"][0]["featureFlags"].as_array().is_some_and(|flags| flags.len() == 1_500)
    });
    let mut sdk = Watcher::server(&later, &environment(0).secret(Kind::Server));
    assert_eq!(sdk.flags.len(), 1_500);
    // The order of a dump is kept.
    let order = |agent: &Agent| {
        let backup = agent.get("/api/public/proxy/backup", &[("Authorization", common::agent::API_KEY)]);
        let flags = backup.expect(200).json()["items"][0]["featureFlags"].take();
        flags.as_array().unwrap().iter().map(|flag| flag["key"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(order(&following), order(&later));
    // A higher edition of several chunks replaces it.
    later.bootstrap(&one(&environment(700)));
    let fewer = wait_until("700 flags", SOON, || {
        Some(following.canonical()).filter(|now| now.matches(r#""key":"flag-"#).count() == 700)
    });
    assert_ne!(fewer, all);
    sdk.take_until("700 flags", |sdk| sdk.flags.len() == 700);
}

/// What went wrong: an agent without a server took its own data for complete, so an SDK whose secret had just come to another
/// agent of the cluster was refused, and never came back.
#[test]
fn a_secret_that_has_just_come_to_another_agent_is_not_refused() {
    if !installed("a new secret of a cluster") {
        return;
    }
    let redis = server();
    let agents = three(&redis);
    let mut environment = two_flags(1);
    agents[0].bootstrap(&one(&environment));
    wait_alike("the first data", &refs(&agents), |data| variation_of(data, "b") == "v0");
    for number in 1..20 {
        let secret = environment.add_secret(Kind::Server, number);
        let at = usize::from(number);
        agents[at % 3].bootstrap(&one(&environment));
        Watcher::asking(&agents[(at + 1) % 3], &secret).expect_full();
    }
    // One that no agent has is refused.
    let mut unknown = Watcher::asking(&agents[1], &environment.clone().add_secret(Kind::Server, 99));
    assert_eq!(unknown.expect_close(SOON), Some(4003));
}

/// What went wrong: the cluster had no data yet, and an agent without a server took that for an answer. So SDKs that started
/// before the first bootstrap call were refused for good.
#[test]
fn secrets_were_refused_for_good_before_the_cluster_had_data() {
    if !installed("a cluster without data") {
        return;
    }
    let redis = server();
    let agent = offline(&redis).env("Limits__VerdictWait", "4").start();
    let environment = two_flags(1);
    let secret = environment.secret(Kind::Server);
    assert_eq!(Watcher::asking(&agent, &secret).expect_close(SOON), Some(1011));
    agent.bootstrap(&one(&environment));
    Watcher::asking(&agent, &secret).expect_full();
}

#[test]
fn while_redis_is_away_no_secret_is_refused_for_good() {
    if !installed("unknown secrets while Redis is away") {
        return;
    }
    let redis = server();
    let agent = offline(&redis).env("Limits__VerdictWait", "1").start();
    let mut environment = two_flags(1);
    agent.bootstrap(&one(&environment));
    redis.pause();
    let secret = environment.add_secret(Kind::Server, 1);
    assert_eq!(Watcher::asking(&agent, &secret).expect_close(SOON), Some(1011));
    redis.resume();
    wait_until("it is refused", SOON, || {
        (Watcher::asking(&agent, &secret).expect_close(SOON) == Some(4003)).then_some(())
    });
}
