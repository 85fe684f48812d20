//! Environment secrets as the dataset lists them.

use super::environment_id::EnvironmentId;

/// What kind of SDK a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretKind {
    /// Server SDKs: they receive flags with all targeting rules.
    Server,
    /// Client SDKs: they receive the variations of one user.
    Client,
}

impl SecretKind {
    /// FeatBit's name for it, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            SecretKind::Server => "server",
            SecretKind::Client => "client",
        }
    }
}

/// A secret of an environment, borrowed from the text of its dataset.
#[derive(Clone, Debug)]
pub struct SecretDef<'a> {
    /// Which SDKs it serves.
    pub kind: SecretKind,
    /// The project's key, as shown in the agent's status.
    pub project_key: &'a str,
    /// The environment it opens.
    pub env_id: EnvironmentId,
    /// The environment's key, as shown in the agent's status.
    pub env_key: &'a str,
    /// The secret itself: 44 characters. Never to be logged.
    pub value: &'a str,
}
