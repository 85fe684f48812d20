//! Secret texts, and the files of private keys.

use std::fmt;
use std::path::PathBuf;

use subtle::ConstantTimeEq;

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairFiles {
    /// The certificate and its intermediate certificates.
    pub certificate: PathBuf,
    /// The private key, not encrypted.
    pub key: PathBuf,
}

/// A secret text, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether `given` is this secret. The time depends on the lengths only, not on where the two differ.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// The secret itself, to be sent to its server only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown_and_matches_itself_only() {
        let secret = Secret::new("rp-0123".into());
        assert_eq!(format!("{secret:?}"), "****");
        assert!(secret.matches(b"rp-0123"));
        for other in [&b"rp-0124"[..], b"rp-012", b"rp-01234", b""] {
            assert!(!secret.matches(other));
        }
    }
}
