//! The list of environments, secrets and grace periods as one text. Grace periods have their end by the wall clock in it,
//! since agents share no other clock.
//!
//! Must not fail on a part that it does not know: a newer agent may have written it.

use serde::{Deserialize, Serialize};

use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::model::stamp::ListStamp;
use crate::persist::redis;
use crate::protocol::secret::Secret;
use crate::store::{Delta, SecretState, Snapshot};

/// The text of a register.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Register {
    /// The environments, in order.
    pub(super) environments: Vec<Environment>,
    /// Whether this is certainly all: what is in none of these lists was removed for good.
    pub(super) complete: bool,
    /// Secrets in their grace period.
    pub(super) leaving_secrets: Vec<LeavingSecret>,
    /// Environments in their grace period.
    pub(super) leaving: Vec<Leaving>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Environment {
    pub env_id: String,
    #[serde(default)]
    pub secrets: Vec<ListedSecret>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedSecret {
    pub r#type: String,
    pub project_key: String,
    pub env_key: String,
    pub value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeavingSecret {
    pub value: String,
    pub r#type: String,
    pub env_id: String,
    /// When its grace period ends, in Unix milliseconds.
    pub until: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leaving {
    pub env_id: String,
    /// When its grace period ends, in Unix milliseconds.
    pub until: i64,
}

/// The register of a delta that has a list; `snapshot` is in service since then.
pub(super) fn of_delta(
    delta: &Delta,
    snapshot: &Snapshot,
    complete: bool,
    at_ms: i64,
) -> Option<redis::Register> {
    let access = delta.access.as_ref()?;
    let environments = snapshot.environments().map(|environment| Environment {
        env_id: environment.id().to_string(),
        secrets: environment.listed_secrets().iter().map(listed).collect(),
    });
    let leaving_secrets = access.secrets.iter().filter_map(|secret| {
        Some(LeavingSecret {
            value: secret.value.as_str().to_owned(),
            r#type: secret.kind.as_str().to_owned(),
            env_id: secret.environment.to_string(),
            until: at_ms.saturating_add(secret.grace_ms?),
        })
    });
    let leaving = access
        .leaving
        .iter()
        .map(|(id, left_ms)| Leaving { env_id: id.to_string(), until: at_ms.saturating_add(*left_ms) });
    let register = Register {
        environments: environments.collect(),
        complete,
        leaving_secrets: leaving_secrets.collect(),
        leaving: leaving.collect(),
    };
    let stamp = &delta.head.list;
    let kept = access.order.iter().chain(access.leaving.iter().map(|(id, _)| id));
    Some(redis::Register {
        stamp: (stamp.changed_at_ms, stamp.instance.clone()),
        body: serde_json::to_vec(&register).ok()?,
        environments: kept.map(ToString::to_string).collect(),
    })
}

fn listed(secret: &crate::store::ListedSecret) -> ListedSecret {
    ListedSecret {
        r#type: secret.kind.as_str().to_owned(),
        project_key: secret.project_key.to_string(),
        env_key: secret.env_key.to_string(),
        value: secret.value.as_str().to_owned(),
    }
}

/// The stamp of a register.
pub(super) fn stamp_of(register: &redis::Register) -> ListStamp {
    let (changed_at_ms, instance) = register.stamp.clone();
    ListStamp { changed_at_ms, instance }
}

/// Prints counts only: it holds secrets.
impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Register({} environments)", self.environments.len())
    }
}

impl Register {
    /// Parses the text of a register.
    ///
    /// # Errors
    /// If it is not the JSON of a register. The error does not quote it, since it holds secrets.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body)
            .map_err(|error| format!("line {}, column {}", error.line(), error.column()))
    }

    /// The secrets in their grace period with what is left of it.
    pub fn leaving_secrets(&self, now_ms: i64) -> Vec<SecretState> {
        let leaving = self.leaving_secrets.iter().filter_map(|secret| {
            let kind = match secret.r#type.as_str() {
                "server" => SecretKind::Server,
                "client" => SecretKind::Client,
                _ => return None,
            };
            Some(SecretState {
                value: Secret::parse(&secret.value)?,
                kind,
                environment: EnvironmentId::parse(&secret.env_id)?,
                grace_ms: Some(secret.until.saturating_sub(now_ms).max(0)),
                former: None,
            })
        });
        leaving.collect()
    }

    /// The environments in their grace period with what is left of it in milliseconds.
    pub fn leaving(&self, now_ms: i64) -> Vec<(EnvironmentId, i64)> {
        let leaving = self.leaving.iter().filter_map(|leaving| {
            Some((EnvironmentId::parse(&leaving.env_id)?, leaving.until.saturating_sub(now_ms).max(0)))
        });
        leaving.collect()
    }
}
