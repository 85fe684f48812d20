//! Reads one secret of an environment.
//!
//! Must not quote a secret, nor what it encodes, in a message.

use crate::model::environment_id::EnvironmentId;
use crate::model::secret::{self, SecretDef, SecretKind};

use super::findings::{Findings, Path};
use super::tape::{Value, pick};

/// Reads the secret at `path`, which belongs to the environment `enclosing` unless it names one itself;
/// `None`, with an error, if it is not an object.
pub(super) fn read<'a>(
    findings: &mut Findings,
    element: Value<'_, 'a>,
    path: &Path<'_>,
    enclosing: EnvironmentId,
) -> Option<SecretDef<'a>> {
    pick!(findings.required_object(element, path)? =>
        kind: "type",
        project_key: "projectKey",
        env_id: "envId",
        env_key: "envKey",
        value: "value",
    );
    let faults = findings.faults();
    let kind = match findings.required_text(kind, path, "type") {
        "server" => SecretKind::Server,
        "client" => SecretKind::Client,
        _ => {
            if findings.faults() == faults {
                findings.fault(&path.key("type"), "must be \"server\" or \"client\"");
            }
            SecretKind::Server
        }
    };
    let env_id = match env_id.filter(|value| !value.is_null()) {
        Some(_) => findings.environment(env_id, path, "envId"),
        None => enclosing,
    };
    if env_id != enclosing {
        findings.warn(
            &path.key("envId"),
            "is another environment than that of the item that holds the secret: the agent goes by the secret's own",
        );
    }
    let faults = findings.faults();
    let value = findings.required_text(value, path, "value");
    match secret::encoded_env_id(value) {
        None if findings.faults() == faults => findings.fault(
            &path.key("value"),
            "must be 44 characters, the last 22 of which encode the environment's id; copy the secret from FeatBit",
        ),
        Some(encoded) if encoded != env_id => findings.warn(
            &path.key("value"),
            "encodes another environment in its second half: the agent goes by envId, FeatBit's own agent serves \
             polling SDKs by the secret; copy the secret from FeatBit again",
        ),
        _ => {}
    }
    let project_key = findings.text(project_key, path, "projectKey").unwrap_or("");
    let env_key = findings.text(env_key, path, "envKey").unwrap_or("");
    Some(SecretDef { kind, project_key, env_id, env_key, value })
}
