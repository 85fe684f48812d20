//! The id of an environment.

use std::fmt;

/// The id of an environment: a GUID, kept in the order of its text (RFC 9562, not .NET's byte order).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentId([u8; 16]);

impl EnvironmentId {
    /// From the bytes in the order of the text.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes in the order of the text.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses the hyphenated form of 36 characters in either case, the only one that FeatBit takes in JSON.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0u8; 16];
        let mut at = 0;
        for (index, byte) in bytes.iter_mut().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                if text[at] != b'-' {
                    return None;
                }
                at += 1;
            }
            *byte = hex(text[at])? << 4 | hex(text[at + 1])?;
            at += 2;
        }
        Some(Self(bytes))
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::EnvironmentId;

    #[test]
    fn parses_what_it_displays_in_either_case() {
        let text = "ad99d259-1f50-4ed9-a002-7c65e25487df";
        let id = EnvironmentId::parse(text).unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(EnvironmentId::parse(&text.to_uppercase()), Some(id));
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "ad99d2591f504ed9a0027c65e25487df",
            "{ad99d259-1f50-4ed9-a002-7c65e25487df}",
            "ad99d259-1f50-4ed9-a002-7c65e25487dg",
            "ad99d259+1f50-4ed9-a002-7c65e25487df",
            "ad99d259-1f50-4ed9-a002-7c65e25487d",
            "ad99d2591-f50-4ed9-a002-7c65e25487df",
        ] {
            assert_eq!(EnvironmentId::parse(text), None, "{text}");
        }
    }
}
