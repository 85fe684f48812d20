//! Changes that FeatBit's users make at the server, and the pushes that follow: changed flags and segments, once for each
//! server secret that the environment had when a connection was opened. Nothing else is pushed.

use serde_json::{Value, json};

use super::model::{self, Model};
use super::{Server, State};
use crate::common::dataset::{Environment, Kind, iso};

impl Server {
    /// Changes a flag of an environment, or makes a new one.
    pub fn upsert_flag(&self, environment_id: &str, mut flag: Value) {
        flag["envId"] = json!(environment_id);
        let mut state = self.state();
        Model::upsert(&mut state.model.environment(environment_id).flags, flag.clone());
        push(&state, environment_id, &model::flag_patch(&flag));
    }

    /// Changes a segment, or makes a new one: one of its own in each of these environments, with the same id.
    pub fn upsert_segment(&self, environment_ids: &[&str], segment: &Value) {
        let mut state = self.state();
        for &id in environment_ids {
            let mut segment = segment.clone();
            segment["envId"] = json!(id);
            let environment = state.model.environment(id);
            Model::upsert(&mut environment.segments, segment.clone());
            Model::touch_users_of(environment, &segment);
            push(&state, id, &model::segment_patch(&segment));
        }
    }

    /// Archives a flag at a time (Unix milliseconds).
    pub fn archive_flag(&self, environment_id: &str, key: &str, at_ms: i64) {
        let mut flag = self.flag(environment_id, key);
        flag["isArchived"] = json!(true);
        flag["updatedAt"] = json!(iso(at_ms));
        self.upsert_flag(environment_id, flag);
    }

    /// The flag of that key.
    pub fn flag(&self, environment_id: &str, key: &str) -> Value {
        self.state().model.environment(environment_id).flag_mut(key).clone()
    }

    /// Sends everybody the whole of an environment, as FeatBit 6 does when it has recovered.
    pub fn push_full_state(&self, environment_id: &str) {
        let mut state = self.state();
        let whole = model::environment_full(state.model.environment(environment_id));
        push(&state, environment_id, &whole);
    }

    /// Deletes a flag, without a push.
    pub fn delete_flag(&self, environment_id: &str, key: &str) {
        self.state().model.environment(environment_id).remove_flag(key);
    }

    /// Makes a secret, without a push.
    pub fn create_secret(&self, environment_id: &str, kind: Kind, number: u8) -> String {
        self.state().model.environment(environment_id).add_secret(kind, number)
    }

    /// Removes a secret and returns it, without a push.
    pub fn revoke_secret(&self, environment_id: &str, value: &str) -> Value {
        let mut state = self.state();
        let secrets = &mut state.model.environment(environment_id).secrets;
        let at = secrets.iter().position(|secret| secret["value"] == value);
        secrets.remove(at.unwrap_or_else(|| panic!("no secret {value}")))
    }

    /// Restores a removed secret, without a push.
    pub fn restore_secret(&self, environment_id: &str, secret: Value) {
        self.state().model.environment(environment_id).secrets.push(secret);
    }

    /// Makes an environment that is in no scope yet.
    pub fn create_environment(&self, environment: Environment) {
        self.state().model.environments.push(environment);
    }

    /// Adds an environment to the scope of a key, without a push.
    pub fn add_to_scope(&self, key: &str, environment_id: &str) {
        self.state().model.scope(key).push(environment_id.to_owned());
    }

    /// Removes an environment from the scope of a key, without a push.
    pub fn remove_from_scope(&self, key: &str, environment_id: &str) {
        self.state().model.scope(key).retain(|id| id != environment_id);
    }

    /// Makes a key with this scope, or changes its scope, without a push.
    pub fn set_key(&self, key: &str, environment_ids: &[&str]) {
        let mut state = self.state();
        state.model.scopes.retain(|(have, _)| have != key);
        let ids = environment_ids.iter().map(|&id| id.to_owned()).collect();
        state.model.scopes.push((key.to_owned(), ids));
    }

    /// Removes a key. Connections that it opened stay.
    pub fn remove_key(&self, key: &str) {
        self.state().model.scopes.retain(|(have, _)| have != key);
    }

    /// Changes the data in any other way, without a push.
    pub fn change_without_push(&self, change: impl FnOnce(&mut Model)) {
        change(&mut self.state().model);
    }

    /// The answer that a connection of that key would get to a request with timestamp 0.
    pub fn full(&self, key: &str) -> String {
        self.state().model.answer(key, &[], &json!({ "data": { "timestamp": 0 } }))
    }
}

fn push(state: &State, environment_id: &str, message: &str) {
    if state.script.mute {
        return;
    }
    for relay in &state.relays {
        for _ in relay.mapped.iter().filter(|mapped| *mapped == environment_id) {
            relay.send(message);
        }
    }
}
