//! Agents in agent mode: how they are started, what operators see of them, and changes at their server.

use std::time::Duration;

use serde_json::Value;

use super::agent::{API_KEY, Agent, Builder};
use super::dataset::{Environment, Kind, boolean_flag, serve, touch};
use super::server::Server;
use super::watcher::Watcher;
use super::{SOON, wait_until};

/// Under which an agent registers.
pub const AGENT_ID: &str = "agent-1";

/// A grace that is short enough for a test to wait for its end.
pub const GRACE: Duration = Duration::from_secs(1);

impl Builder {
    /// An agent that follows a server, with a short drain.
    pub fn following(server: &Server) -> Self {
        Self::following_at(&server.url())
    }

    /// The same, for a server at any address.
    pub fn following_at(url: &str) -> Self {
        Self::bare()
            .env("Mode", "auto")
            .env("ApiKey", API_KEY)
            .env("AgentId", AGENT_ID)
            .env("StreamingUri", url)
            .env("ForwardEvents", "false")
            .env("Shutdown__DrainSeconds", "100ms")
    }
}

impl Agent {
    /// The answer to a readiness check.
    pub fn readiness(&self) -> (u16, String) {
        let answer = self.get("/health/readiness", &[]);
        (answer.status, answer.text().to_owned())
    }

    /// Waits for that answer.
    pub fn wait_readiness(&self, status: u16, text: &str) {
        wait_until(&format!("readiness {status} {text}"), SOON, || {
            (self.readiness() == (status, text.to_owned())).then_some(())
        });
    }

    /// Waits until it has data and is connected to its server.
    pub fn wait_stable(&self) {
        self.wait_readiness(200, "Healthy");
    }

    /// The status, as the management call has it.
    pub fn status(&self) -> Value {
        self.get("/api/public/proxy/status", &[("Authorization", API_KEY)]).expect(200).json()
    }

    /// Waits until something of the status is so, and returns all of it.
    pub fn wait_status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, SOON, || Some(self.status()).filter(|status| holds(status)))
    }

    /// Asks for a full sync, as an operator does.
    pub fn resync(&self) {
        let answer = self.post("/api/public/proxy/resync", &[("Authorization", API_KEY)], &Value::Null);
        assert!(matches!(answer.status, 200 | 202 | 204), "{answer:?}");
    }
}

/// An agent that follows a server, and retries after 200 ms at most.
pub fn with_short_retries(server: &Server) -> Builder {
    Builder::following(server).env("Upstream__RetrySeconds", "200ms")
}

/// An environment whose boolean flags `a` and `b` give everybody `v0`.
pub fn two_flags(number: u8) -> Environment {
    Environment::new(number).flag(boolean_flag("a")).flag(boolean_flag("b"))
}

/// A new SDK gets what the server has of an environment of [`two_flags`], and a change of `key` after it, once.
pub fn serves(agent: &Agent, server: &Server, environment: &Environment, key: &str, later_ms: i64) {
    let mut sdk = Watcher::server(agent, &environment.secret(Kind::Server));
    let now = server.flag(&environment.id, key);
    let now = now["fallthrough"]["variations"][0]["id"].as_str().expect("a variation");
    sdk.wait_variation(key, now);
    assert_eq!(sdk.flags.len(), 2);
    change(server, environment, key, later_ms, &mut [&mut sdk]);
}

/// Gives a flag of an environment its other variation at the server: each of these SDKs gets that, once.
pub fn change(
    server: &Server,
    environment: &Environment,
    key: &str,
    later_ms: i64,
    sdks: &mut [&mut Watcher],
) {
    let now = server.flag(&environment.id, key);
    let next = if now["fallthrough"]["variations"][0]["id"] == "v0" { "v1" } else { "v0" };
    set(server, environment, key, next, later_ms);
    for sdk in sdks {
        sdk.wait_variation(key, next);
        sdk.expect_nothing_new();
    }
}

/// Gives everybody another variation of a flag at the server, `later_ms` after the start of the dataset.
pub fn set(server: &Server, environment: &Environment, key: &str, variation: &str, later_ms: i64) {
    let mut flag = server.flag(&environment.id, key);
    serve(&mut flag, variation);
    touch(&mut flag, later_ms);
    server.upsert_flag(&environment.id, flag);
}

/// The same, without a push.
pub fn set_without_push(
    server: &Server,
    environment: &Environment,
    key: &str,
    variation: &str,
    later_ms: i64,
) {
    server.script(|script| script.mute = true);
    set(server, environment, key, variation, later_ms);
    server.script(|script| script.mute = false);
}
