//! Checks the format and the time of the token in `/streaming?token=…`. The secret inside is judged by
//! [`verdict`](crate::serve::verdict).

use std::time::Duration;

use crate::protocol::secret::Secret;
use crate::protocol::token;

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// This agent does not know its format.
    UnknownForm,
    /// Its time differs from this machine's clock by more than allowed. Positive if the SDK's clock is ahead.
    ClockMismatch { ahead_ms: i64 },
}

/// Returns the secret in a token that is well formed and whose time is at most `expiry` from `now_ms`, in Unix milliseconds.
pub(crate) fn check(text: &str, now_ms: i64, expiry: Duration) -> Result<Secret, TokenError> {
    let token = token::decode(text).map_err(|_| TokenError::UnknownForm)?;
    let ahead_ms = token.issued_at_ms.saturating_sub(now_ms);
    if u128::from(ahead_ms.unsigned_abs()) > expiry.as_millis() {
        return Err(TokenError::ClockMismatch { ahead_ms });
    }
    Ok(token.secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment_id::EnvironmentId;

    #[test]
    fn a_token_may_differ_by_its_expiry_either_way() {
        let secret = Secret::build([1; 16], EnvironmentId::from_bytes([7; 16]));
        let expiry = Duration::from_secs(30);
        let checked = |at_ms| check(&token::encode(&secret, at_ms, 5), 1_706_745_600_000, expiry);
        assert_eq!(checked(1_706_745_630_000), Ok(secret));
        assert_eq!(checked(1_706_745_570_000), Ok(secret));
        assert_eq!(checked(1_706_745_630_001), Err(TokenError::ClockMismatch { ahead_ms: 30_001 }));
        assert_eq!(checked(1_706_745_569_999), Err(TokenError::ClockMismatch { ahead_ms: -30_001 }));
        assert_eq!(check("", 0, expiry), Err(TokenError::UnknownForm));
    }
}
