//! Writes a dump of a dataset, as offline mode and the bootstrap call accept it.
//!
//! Must not be used on the data path: the store writes its own dumps, from parts that it shares with other payloads.

use serde_json::Value;

use crate::model::dataset::{Dataset, EnvironmentDef};
use crate::model::parse::{DatasetError, DatasetText};

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

/// Writes a dump in its canonical form: two agents with equal data have equal bytes, whatever the order of their items, and
/// however their source formats its JSON. Environments, flags and segments are in the order of their ids, secrets in that of
/// their values, and the properties of every object in alphabetical order, without blanks.
///
/// # Errors
/// If `dump` cannot be read.
pub fn canonical(dump: Vec<u8>) -> Result<Vec<u8>, DatasetError> {
    let mut text = DatasetText::new(dump);
    let mut dataset = text.parse()?;
    dataset.environments.sort_by_key(|environment| environment.id);
    for environment in &mut dataset.environments {
        environment.secrets.sort_by_key(|secret| (secret.value, secret.kind));
        environment.flags.sort_by_key(|flag| flag.id);
        environment.segments.sort_by_key(|segment| segment.id);
    }
    let written = write(&dataset);
    // An object of `serde_json` is sorted by its properties.
    let sorted = serde_json::from_slice::<Value>(&written).map(|value| value.to_string().into_bytes());
    Ok(sorted.unwrap_or(written))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVIRONMENT: &str = "7c689106-35df-4d9f-b4d8-cb3d7342e4c3";

    fn flag(id: &str) -> String {
        format!(
            r#"{{"id":"{id}","envId":"{ENVIRONMENT}","key":"k-{id}","variationType":"string","variations":[{{"id":"v",
                "value":"é"}}],"targetUsers":[],"rules":[],"isEnabled":true,"disabledVariationId":"v",
                "fallthrough":{{"variations":[{{"id":"v","rollout":[0,1]}}]}},"updatedAt":"2025-01-01T00:00:00Z"}}"#
        )
    }

    fn dump(flags: &[String]) -> Vec<u8> {
        let secrets =
            ["v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w", "a3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"];
        let secrets = secrets.map(|value| {
            format!(
                r#"{{"type":"server","projectKey":"p","envId":"{ENVIRONMENT}","envKey":"e","value":"{value}"}}"#
            )
        });
        format!(
            r#"{{"eventType":"rp_full","items":[{{"envId":"{ENVIRONMENT}","secrets":[{}],"featureFlags":[{}],"segments":[]}}]}}"#,
            secrets.join(","),
            flags.join(",")
        )
        .into_bytes()
    }

    #[test]
    fn the_canonical_form_depends_on_the_content_alone() {
        let (a, b) = (flag("a"), flag("b"));
        let one = canonical(dump(&[a.clone(), b.clone()])).unwrap();
        let spaced = a.replace(':', " :  ").replace("é", "\\u00e9");
        assert_ne!(spaced, a);
        let escaped = spaced.replace("2025-01-01T00 :  00 :  00Z", "2025-01-01T00:00:00Z");
        assert_eq!(canonical(dump(&[b, escaped])).unwrap(), one);
        assert_ne!(canonical(dump(&[a])).unwrap(), one);
        // It is a dump, and its own canonical form.
        assert_eq!(canonical(one.clone()).unwrap(), one);
        let text = String::from_utf8(one).unwrap();
        assert!(text.find("a3faJ") < text.find("v3faJ"), "{text}");
        assert!(!text.contains(' '), "{text}");
    }
}
