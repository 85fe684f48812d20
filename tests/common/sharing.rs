//! Agents that share one Redis: how they are started, and whether they have the same.

use serde_json::Value;

use super::agent::{Agent, Builder};
use super::{SOON, poll_until, wait_until};

impl Builder {
    /// Shares its data by this Redis. Changes come by announcements: no agent polls within a test.
    pub fn sharing(self, connection: &str) -> Self {
        self.api_key()
            .env("Redis__ConnectionString", connection)
            .env("Redis__PollSeconds", "3600")
            .env("Redis__TimeoutSeconds", "2")
    }

    /// The same, but polls at short intervals.
    pub fn sharing_and_polling(self, connection: &str) -> Self {
        self.sharing(connection).env("Redis__PollSeconds", "200ms")
    }
}

impl Agent {
    /// Redis in the status.
    pub fn redis_status(&self) -> Value {
        self.status()["agent"]["redis"].take()
    }

    /// Waits until Redis is in this state, such as `connected`.
    pub fn wait_redis(&self, state: &str) -> Value {
        let mut last = Value::Null;
        let seen = poll_until(SOON, || {
            last = self.redis_status();
            (last["state"] == state).then_some(())
        });
        if seen.is_none() {
            self.fail(&format!("Redis is never {state}: {last}"));
        }
        last
    }

    /// Waits until its readiness text contains this.
    pub fn wait_readiness_says(&self, part: &str) {
        wait_until(&format!("readiness says {part}"), SOON, || {
            self.readiness().1.contains(part).then_some(())
        });
    }
}

/// Waits until all agents have the same data, and `holds` of it. Returns it in the canonical form.
pub fn wait_alike(what: &str, agents: &[&Agent], holds: impl Fn(&Value) -> bool) -> String {
    let mut last = Vec::new();
    let alike = poll_until(SOON, || {
        last = agents.iter().map(|agent| agent.canonical()).collect();
        let first = last.first()?;
        let data: Value = serde_json::from_str(first).ok()?;
        (last.iter().all(|one| one == first) && holds(&data)).then(|| first.clone())
    });
    alike.unwrap_or_else(|| panic!("{what}: the agents do not agree:\n{}", last.join("\n")))
}

/// The flag of that key in canonical data, or null.
pub fn flag_of(data: &Value, key: &str) -> Value {
    let environments = data["items"].as_array().into_iter().flatten();
    let mut flags = environments.flat_map(|one| one["featureFlags"].as_array().into_iter().flatten());
    flags.find(|flag| flag["key"] == key).cloned().unwrap_or_default()
}

/// The variation that a flag in canonical data gives to everybody; empty if there is no such flag.
pub fn variation_of(data: &Value, key: &str) -> String {
    let flag = flag_of(data, key);
    flag["fallthrough"]["variations"][0]["id"].as_str().unwrap_or_default().to_owned()
}
