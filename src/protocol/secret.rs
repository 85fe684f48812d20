//! Environment secrets as SDKs send them.
//!
//! Must not know which secrets exist: only the format is checked here. The `store` knows which are valid.

use std::fmt;

use crate::model::environment_id::EnvironmentId;
use crate::model::secret::{HALF_CHARS, SECRET_CHARS, decode_env_id, encoded_env_id, swap_guid_order};

/// The length of a secret, in bytes.
pub const SECRET_BYTES: usize = SECRET_CHARS;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A well-formed environment secret: 22 characters at random and the environment's id as 22 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// Accepts a text of 44 visible ASCII characters whose last 22 encode a GUID other than zero, which is all that FeatBit
    /// checks. `None` for every other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(*text.as_bytes().as_array()?)
    }

    /// As [`Secret::parse`], from the bytes of the text.
    pub(super) fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Option<Self> {
        encoded_env_id(bytes).map(|_| Self(bytes))
    }

    /// A secret of an environment, with these 16 bytes as its first half.
    pub fn build(first_half: [u8; 16], environment: EnvironmentId) -> Self {
        let mut bytes = [0; SECRET_BYTES];
        let (first, second) = bytes.split_at_mut(HALF_CHARS);
        encode_guid(&first_half, first);
        encode_guid(&swap_guid_order(*environment.as_bytes()), second);
        Self(bytes)
    }

    /// The text. Never to be logged.
    pub fn as_str(&self) -> &str {
        // All constructors accept only ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The environment that the secret names in its second half.
    pub fn environment_id(&self) -> EnvironmentId {
        // All constructors check that the second half can be decoded.
        self.0.last_chunk().and_then(decode_env_id).unwrap_or(EnvironmentId::from_bytes([0; 16]))
    }
}

/// Prints no part of the secret: secrets must not get into logs.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `into` has room for 22 characters.
fn encode_guid(guid: &[u8; 16], into: &mut [u8]) {
    let bits = u128::from_be_bytes(*guid);
    for (index, character) in into.iter_mut().enumerate() {
        // 21 characters of 6 bits, then the last 2 bits followed by zeros.
        let value = if index < 21 { bits >> (122 - 6 * index) } else { bits << 4 };
        *character = ALPHABET[(value & 63) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> EnvironmentId {
        EnvironmentId::parse(text).unwrap()
    }

    #[test]
    fn the_second_half_is_the_environment() {
        let secret = Secret::parse("FF6HjRDP50eAc1OTtJ8G4wWdKZrVAf2U6gAnxl4lSH3w").unwrap();
        assert_eq!(secret.environment_id(), id("ad99d259-1f50-4ed9-a002-7c65e25487df"));
        assert_eq!(secret.as_str(), "FF6HjRDP50eAc1OTtJ8G4wWdKZrVAf2U6gAnxl4lSH3w");
    }

    #[test]
    fn refuses_what_has_another_shape() {
        for text in [
            "",
            "FF6HjRDP50eAc1OTtJ8G4wWdKZrVAf2U6gAnxl4lSH3",
            "FF6HjRDP50eAc1OTtJ8G4wWdKZrVAf2U6gAnxl4lSH3ww",
            "FF6HjRDP50eAc1OTtJ8G4wAAAAAAAAAAAAAAAAAAAAAA",
            "FF6HjRDP50eAc1OTtJ8G4wWdKZrVAf2U6gAnxl4lSH3=",
            "FF6HjRDP50eAc1OTtJ8G4wWdKZrVAf2U6gAnxl4lSH3 ",
            "FF6HjRDP50eAc1OTtJ8G WdKZrVAf2U6gAnxl4lSH3w1",
            "FF6HjRDP50eAc1OTtJ8G\n4WdKZrVAf2U6gAnxl4lSH3w",
            "éé6HjRDP50eAc1OTtJ8GWdKZrVAf2U6gAnxl4lSH3w",
        ] {
            assert_eq!(Secret::parse(text), None, "{text}");
        }
        assert!(Secret::parse("any.thing$goes,here!::WdKZrVAf2U6gAnxl4lSH3w").is_some());
    }

    #[test]
    fn debug_output_tells_nothing() {
        let secret = Secret::build([7; 16], id("ad99d259-1f50-4ed9-a002-7c65e25487df"));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    proptest! {
        #[test]
        fn what_is_built_parses(first: [u8; 16], environment: [u8; 16]) {
            prop_assume!(environment != [0; 16]);
            let environment = EnvironmentId::from_bytes(environment);
            let secret = Secret::build(first, environment);
            prop_assert_eq!(Secret::parse(secret.as_str()), Some(secret));
            prop_assert_eq!(secret.environment_id(), environment);
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = Secret::parse(&text).map(|secret| secret.environment_id());
        }
    }
}
