//! Environment secrets as SDKs present them.
//!
//! Must not know which secrets exist: the shape is checked here, existence where the data is.

use std::fmt;

use crate::model::environment_id::EnvironmentId;

/// The length of a secret, in bytes.
pub const SECRET_BYTES: usize = 44;

/// Characters of one half: a GUID in base64url without padding.
const HALF: usize = 22;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A well-formed environment secret: 22 characters at random and the environment's id as 22 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// Takes any text of 44 visible ASCII characters whose last 22 stand for a GUID that is not zero: FeatBit looks
    /// at nothing else. `None` for every other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(*text.as_bytes().as_array()?)
    }

    /// As [`Secret::parse`], from the bytes of the text.
    pub(super) fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Option<Self> {
        let id = decode_guid(&bytes)?;
        (id != [0; 16] && bytes.iter().all(u8::is_ascii_graphic)).then_some(Self(bytes))
    }

    /// Makes the secret of an environment, whose first half is 16 bytes of anybody's choice.
    pub fn build(first_half: [u8; 16], environment: EnvironmentId) -> Self {
        let mut bytes = [0; SECRET_BYTES];
        let (first, second) = bytes.split_at_mut(HALF);
        encode_guid(&first_half, first);
        encode_guid(&swap_order(*environment.as_bytes()), second);
        Self(bytes)
    }

    /// The text. Never to be logged.
    pub fn as_str(&self) -> &str {
        // Every way to make a secret lets in ASCII only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The environment that the secret says it opens.
    pub fn environment_id(&self) -> EnvironmentId {
        EnvironmentId::from_bytes(swap_order(decode_guid(&self.0).unwrap_or_default()))
    }
}

/// Says nothing: secrets never appear in logs.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// .NET writes the first three groups of a GUID little-endian; the same swap leads there and back.
const fn swap_order(bytes: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// The second half of a secret as bytes, in .NET's order. Bits beyond the 128 are not looked at, as in .NET.
fn decode_guid(secret: &[u8; SECRET_BYTES]) -> Option<[u8; 16]> {
    let mut guid = 0u128;
    let (digits, last) = secret[HALF..].split_at(HALF - 1);
    for &digit in digits {
        guid = guid << 6 | u128::from(base64_value(digit)?);
    }
    let last = base64_value(*last.first()?)?;
    Some((guid << 2 | u128::from(last >> 4)).to_be_bytes())
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

/// Base64 in the URL's alphabet; .NET's own two characters are taken as well.
const fn base64_value(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'-' | b'+' => Some(62),
        b'_' | b'/' => Some(63),
        _ => None,
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
