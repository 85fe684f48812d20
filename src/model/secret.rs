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
    /// The environment that it gives access to.
    pub env_id: EnvironmentId,
    /// The environment's key, as shown in the agent's status.
    pub env_key: &'a str,
    /// The secret itself: 44 characters. It must never be logged.
    pub value: &'a str,
}

/// The number of characters of a secret: two halves of 22.
pub const SECRET_CHARS: usize = 2 * HALF_CHARS;

/// Characters of one half: a GUID in base64url without padding.
pub const HALF_CHARS: usize = 22;

/// The environment that a secret's second half encodes.
///
/// `None` if `value` is not 44 visible ASCII characters, if its second half is not base64 of 16 bytes, or if it encodes the
/// zero GUID. As in FeatBit (`Secret.TryParse`) the first half is ignored.
pub fn encoded_env_id(value: impl AsRef<[u8]>) -> Option<EnvironmentId> {
    let value: &[u8; SECRET_CHARS] = value.as_ref().as_array()?;
    let id = decode_env_id(value.last_chunk()?)?;
    (id != EnvironmentId::from_bytes([0; 16]) && value.iter().all(u8::is_ascii_graphic)).then_some(id)
}

/// The environment that the second half of a secret encodes: a GUID in base64url.
///
/// `None` if it is not base64. As in .NET `+` and `/` are accepted for `-` and `_`, and the four bits that 22 characters have
/// beyond 16 bytes may have any value.
pub fn decode_env_id(half: &[u8; HALF_CHARS]) -> Option<EnvironmentId> {
    // Two runs of ten digits fit 60 bits each: shifting 128 bits for each digit costs more.
    let (mut high, mut low, mut seen) = (0u64, 0u64, 0);
    for at in 0..10 {
        let (first, second) = (SEXTETS[half[at] as usize], SEXTETS[half[at + 10] as usize]);
        high = high << 6 | u64::from(first);
        low = low << 6 | u64::from(second);
        seen |= first | second;
    }
    let (digit, last) = (SEXTETS[half[20] as usize], SEXTETS[half[21] as usize]);
    if (seen | digit | last) & NO_DIGIT != 0 {
        return None;
    }
    // The last character carries two bits of the GUID.
    let bits = u128::from(high) << 68 | u128::from(low) << 8 | u128::from(digit << 2 | last >> 4);
    Some(EnvironmentId::from_bytes(swap_guid_order(bits.to_be_bytes())))
}

/// .NET writes the first three groups of a GUID little endian; the same swap leads there and back.
pub const fn swap_guid_order(bytes: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// In [`SEXTETS`], the mark of a byte that is no digit of base64.
const NO_DIGIT: u8 = 0x80;

/// The values of the digits of base64, by their byte.
const SEXTETS: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut value = 0;
    while value < digits.len() {
        values[digits[value] as usize] = value as u8;
        value += 1;
    }
    values[b'+' as usize] = 62;
    values[b'/' as usize] = 63;
    values
};

#[cfg(test)]
mod tests {
    use super::{EnvironmentId, encoded_env_id};

    #[test]
    fn decodes_the_second_half_in_dotnets_byte_order() {
        let id = EnvironmentId::parse("ad99d259-1f50-4ed9-a002-7c65e25487df");
        assert_eq!(encoded_env_id("v3faJy3RCUO8d-EJiVdN6wWdKZrVAf2U6gAnxl4lSH3w"), id);
        assert_eq!(encoded_env_id("!!!!!!!!!!!!!!!!!!!!!!WdKZrVAf2U6gAnxl4lSH3x"), id);
        let id = EnvironmentId::parse("84e8a446-59bc-49f5-bd3a-12313237697e");
        assert_eq!(encoded_env_id("XarRURcPx0mp8-8VwuqjzQRqTohLxZ9Um9OhIxMjdpfg"), id);
        let all = EnvironmentId::from_bytes([0xff; 16]);
        assert_eq!(encoded_env_id(format!("{:22}{}w", "", "_".repeat(21)).replace(' ', "A")), Some(all));
        assert_eq!(encoded_env_id(format!("{:22}{}w", "", "/".repeat(21)).replace(' ', "A")), Some(all));
    }

    #[test]
    fn refuses_what_featbit_cannot_parse() {
        for value in [
            "",
            "v3faJy3RCUO8d-EJiVdN6wWdKZrVAf2U6gAnxl4lSH3",
            "v3faJy3RCUO8d-EJiVdN6wWdKZrVAf2U6gAnxl4lSH3w=",
            "v3faJy3RCUO8d-EJiVdN6wWdKZrVAf2U6gAnxl4lSH3=",
            "v3faJy3RCUO8d-EJiVdN6wWdKZrVAf2U6gAnxl4l H3w",
            "v3faJy3RCUO8d-EJiVdN6wAAAAAAAAAAAAAAAAAAAAAA",
            "v3faJy3RCUO8d EJiVdN6wWdKZrVAf2U6gAnxl4lSH3w",
            "é3faJy3RCUO8d-EJiVdN6WdKZrVAf2U6gAnxl4lSH3w",
        ] {
            assert_eq!(encoded_env_id(value), None, "{value}");
        }
    }
}
