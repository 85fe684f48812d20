//! The token that an SDK sends to open a stream: its secret and the time of its clock.
//!
//! Must not decide whether the timestamp is too old or the secret is valid: it has no clock and no data.
//!
//! Digits are written as letters. The first three give the position of the timestamp within the secret, the next two its
//! length:
//! `position(3) length(2) secret[..position] timestamp secret[position..]`.

use super::secret::{SECRET_BYTES, Secret};

/// Letters for the digits 0 to 9.
const DIGITS: &[u8; 10] = b"QBWSPHDXZU";

/// The value of each letter of [`DIGITS`], `NO_DIGIT` for any other byte.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

const NO_DIGIT: u8 = 0xFF;

/// Position and length, in bytes.
const HEADER_BYTES: usize = 5;

/// The contents of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The secret, which has the right format.
    pub secret: Secret,
    /// The SDK's clock when it made the token, in Unix milliseconds.
    pub issued_at_ms: i64,
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is shorter than its length says.
    Short,
    /// A digit is not one of the ten letters.
    Digit,
    /// The position is beyond 255.
    Position,
    /// The timestamp is beyond 64 bits.
    Timestamp,
    /// The text without the timestamp is not a secret.
    Secret,
}

impl TokenFault {
    /// A name for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            TokenFault::Short => "short",
            TokenFault::Digit => "digit",
            TokenFault::Position => "position",
            TokenFault::Timestamp => "timestamp",
            TokenFault::Secret => "secret",
        }
    }
}

/// Decodes a token as the evaluation server does; a blank group of digits means 0.
///
/// The server pads a secret that is too short with `=`, which never gives a valid one. So a shorter one is rejected here.
pub fn decode(token: &str) -> Result<Token, TokenFault> {
    let (header, payload) = token.as_bytes().split_at_checked(HEADER_BYTES).ok_or(TokenFault::Short)?;
    let (position, length) = header.split_at(3);
    let position = number(position)?;
    if position > 255 {
        return Err(TokenFault::Position);
    }
    // Neither exceeds three digits.
    let (position, length) = (position as usize, number(length)? as usize);
    let (before, rest) = payload.split_at_checked(position).ok_or(TokenFault::Short)?;
    let (timestamp, after) = rest.split_at_checked(length).ok_or(TokenFault::Short)?;
    let issued_at_ms = number(timestamp)?;

    if before.len() + after.len() != SECRET_BYTES {
        return Err(TokenFault::Secret);
    }
    let mut secret = [0; SECRET_BYTES];
    secret[..position].copy_from_slice(before);
    secret[position..].copy_from_slice(after);
    let secret = Secret::from_bytes(secret).ok_or(TokenFault::Secret)?;
    Ok(Token { secret, issued_at_ms })
}

/// The number that a group of letters encodes.
fn number(letters: &[u8]) -> Result<i64, TokenFault> {
    let mut number = 0i64;
    for &letter in letters {
        let digit = VALUES[usize::from(letter)];
        if digit == NO_DIGIT {
            let is_blank = |byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ');
            return if letters.iter().all(is_blank) { Ok(0) } else { Err(TokenFault::Digit) };
        }
        number = number
            .checked_mul(10)
            .and_then(|number| number.checked_add(i64::from(digit)))
            .ok_or(TokenFault::Timestamp)?;
    }
    Ok(number)
}

/// Makes a token as SDKs do, for tests and tools. A position beyond the secret's end means its end; a negative time means
/// 0.
pub fn encode(secret: &Secret, issued_at_ms: i64, position: usize) -> String {
    let secret = secret.as_str().trim_end_matches('=');
    let position = position.min(secret.len());
    let timestamp = issued_at_ms.max(0).to_string();
    let letters = |digits: &str| -> String {
        digits.bytes().map(|digit| char::from(DIGITS[usize::from(digit - b'0')])).collect()
    };
    let (before, after) = secret.split_at(position);
    let header = letters(&format!("{position:03}{:02}", timestamp.len()));
    format!("{header}{before}{}{after}", letters(&timestamp))
}

#[cfg(test)]
mod tests;
