//! The secret with which user keys become pseudonyms.
//!
//! Must not show the secret, nor a part or a plain hash of it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::pseudonym_key::{self, KEY_CHARS_MIN, WeakKey};
use crate::model::environment_id::EnvironmentId;

/// A secret of at least [`KEY_CHARS_MIN`] characters.
#[derive(Clone)]
pub struct PseudonymKey {
    mac: Hmac<Sha256>,
}

/// Why a text cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weak(pub WeakKey);

impl fmt::Display for Weak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.0 {
            WeakKey::Short => format!("the pseudonym key has fewer than {KEY_CHARS_MIN} characters"),
            WeakKey::Uniform => "the pseudonym key repeats a few characters".to_owned(),
        };
        write!(
            f,
            "{problem}; whoever guesses it can find out which user a pseudonym stands for. Make one with `openssl rand \
             -base64 32`"
        )
    }
}

impl std::error::Error for Weak {}

impl PseudonymKey {
    /// The key with these characters. White space around it does not count.
    ///
    /// # Errors
    /// It is too easy to guess.
    pub fn from_text(text: &str) -> Result<Self, Weak> {
        let text = pseudonym_key::strong(text).map_err(Weak)?;
        // A key of any length is accepted.
        Hmac::new_from_slice(text.as_bytes()).map(|mac| Self { mac }).map_err(|_| Weak(WeakKey::Short))
    }

    /// Eight characters by which two keys can be told apart, in logs and the status. They do not help to guess the key.
    pub fn id(&self) -> String {
        let digest = self.digest(&["featbit-agent pseudonym key id v1"]);
        digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The pseudonym of a user of an environment: 22 characters.
    pub fn user(&self, environment: EnvironmentId, key: &str) -> String {
        self.short(&["featbit-agent user v1", &environment.to_string(), key])
    }

    /// The hash of a property of a user: 22 characters. Equal values of different properties have different hashes.
    pub fn property(&self, environment: EnvironmentId, name: &str, value: &str) -> String {
        self.short(&["featbit-agent property v1", &environment.to_string(), &name.to_lowercase(), value])
    }

    /// The first 128 bits as base64url without padding.
    fn short(&self, lines: &[&str]) -> String {
        let digest = self.digest(lines);
        URL_SAFE_NO_PAD.encode(&digest[..16])
    }

    /// HMAC-SHA-256 over the lines, joined by line breaks. Only the last line may contain one.
    fn digest(&self, lines: &[&str]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                mac.update(b"\n");
            }
            mac.update(line.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdefghijklmnopqrstuv";

    fn environment() -> EnvironmentId {
        EnvironmentId::parse("ad99d259-1f50-4ed9-a002-7c65e25487df").unwrap()
    }

    /// As openssl computes them:
    /// `printf 'featbit-agent user v1\nad99d259-1f50-4ed9-a002-7c65e25487df\nann@example.com' |
    /// openssl dgst -sha256 -hmac 0123456789abcdefghijklmnopqrstuv -binary | head -c 16 | basenc --base64url`
    #[test]
    fn pseudonyms_are_as_openssl_computes_them() {
        let key = PseudonymKey::from_text(KEY).unwrap();
        assert_eq!(key.user(environment(), "ann@example.com"), "72ZMEyfwPSxeaycGtSBx4w");
        assert_eq!(key.property(environment(), "Plan", "gold\n1"), "VGMVskxPU4Yc23fMLUQ-yQ");
        assert_eq!(key.id(), "9635bb2b");
    }

    #[test]
    fn keys_that_can_be_guessed_are_refused() {
        let refused = |text: &str| PseudonymKey::from_text(text).unwrap_err().0;
        assert_eq!(refused(&KEY[..31]), WeakKey::Short);
        assert_eq!(refused(&format!("  {}\n", &KEY[..31])), WeakKey::Short);
        assert_eq!(refused(""), WeakKey::Short);
        assert_eq!(refused(&"ab".repeat(40)), WeakKey::Uniform);
        let error = PseudonymKey::from_text("x").unwrap_err();
        assert!(error.to_string().contains("openssl rand -base64 32"));
        let key = PseudonymKey::from_text(&format!(" {KEY}\n")).unwrap();
        assert_eq!(key.id(), PseudonymKey::from_text(KEY).unwrap().id());
        assert_eq!(format!("{key:?}"), "****");
    }
}
