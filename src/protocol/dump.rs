//! Writes a dump of a dataset, as offline mode and the bootstrap call accept it.
//!
//! Must not be used on the data path: the store writes its own dumps, from parts that it shares with other payloads.

use crate::model::dataset::{Dataset, EnvironmentDef};

/// Writes the environments that have secrets, with the source's JSON of flags and segments. Nothing is compiled.
pub fn write(dataset: &Dataset<'_>) -> Vec<u8> {
    let served = dataset.environments.iter().filter(|environment| !environment.secrets.is_empty());
    let items: Vec<String> = served.map(write_environment).collect();
    format!(r#"{{"eventType":"rp_full","items":[{}]}}"#, items.join(",")).into_bytes()
}

fn write_environment(environment: &EnvironmentDef<'_>) -> String {
    // Writing strings as JSON cannot fail.
    let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let id = environment.id;
    let secrets = environment.secrets.iter().map(|secret| {
        format!(
            r#"{{"type":"{}","projectKey":{},"envId":"{id}","envKey":{},"value":{}}}"#,
            secret.kind.as_str(),
            text(secret.project_key),
            text(secret.env_key),
            text(secret.value),
        )
    });
    let secrets: Vec<String> = secrets.collect();
    let flags: Vec<&str> = environment.flags.iter().map(|flag| flag.raw).collect();
    let segments: Vec<&str> = environment.segments.iter().map(|segment| segment.raw).collect();
    format!(
        r#"{{"envId":"{id}","secrets":[{}],"featureFlags":[{}],"segments":[{}]}}"#,
        secrets.join(","),
        flags.join(","),
        segments.join(",")
    )
}
