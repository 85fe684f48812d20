//! What every key and channel in Redis begins with.

use sha2::{Digest, Sha256};

use crate::config::secret::Secret;
use crate::config::value::{InvalidValue, invalid};

/// What is hashed before the ApiKey, so that the result is of no use elsewhere.
const DOMAIN: &[u8] = b"featbit-agent: keys in Redis\0";

/// Bytes of the hash in a fingerprint.
const FINGERPRINT_BYTES: usize = 8;

/// The longest prefix, in bytes.
const BYTES_MAX: usize = 200;

/// The hash tag of a prefix that has none.
const TAG: &str = "{featbit-agent}:";

/// The prefix for agents with this ApiKey: the key itself cannot be found from it.
pub fn of_api_key(api_key: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update(api_key.expose());
    let hash = hash.finalize();
    let digits: String = hash.iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("featbit-agent:{{{digits}}}:")
}

/// A prefix as it is used: with a hash tag, so that all keys lie in one slot of a cluster.
///
/// # Errors
/// What is wrong with it.
pub fn checked(text: &str) -> Result<String, InvalidValue> {
    if text.len() > BYTES_MAX {
        return Err(invalid("is too long", format!("Write {BYTES_MAX} bytes at most")));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(invalid("contains spaces or control characters", "Write one such as shop:{flags}:"));
    }
    if !text.contains('{') {
        return Ok(format!("{text}{TAG}"));
    }
    if tag(text).is_none() {
        return Err(invalid(
            "contains a `{` that begins no hash tag, so its keys would lie in different slots of a cluster, where they \
             cannot change together",
            "Write one such as shop:{flags}:, with something between the first `{` and the next `}`",
        ));
    }
    Ok(text.to_owned())
}

/// The part of a key that decides on its slot: what is between the first `{` and the next `}`.
pub fn tag(text: &str) -> Option<&str> {
    let (_, after) = text.split_once('{')?;
    let (tag, _) = after.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}
