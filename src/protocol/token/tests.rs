use super::*;
use crate::model::environment_id::EnvironmentId;
use proptest::prelude::*;

const EXAMPLE: &str = "QBPBHv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w";

/// The plain twin: texts, `parse`, and everything in the order in which FeatBit's server looks at it.
fn decode_plainly(token: &str) -> Option<(String, i64)> {
    let characters: Vec<char> = token.chars().collect();
    let digits = |group: &[char]| -> Option<String> {
        if group.iter().all(|character| character.is_whitespace()) {
            return Some("0".into());
        }
        group.iter().map(|&character| "QBWSPHDXZU".find(character).map(|digit| digit.to_string())).collect()
    };
    let position: u8 = digits(characters.get(..3)?)?.parse().ok()?;
    let length: u8 = digits(characters.get(3..5)?)?.parse().ok()?;
    let (position, length) = (usize::from(position), usize::from(length));
    let payload = &characters[5..];
    let timestamp: i64 = digits(payload.get(position..position + length)?)?.parse().ok()?;
    let mut secret: String = payload[..position].iter().chain(&payload[position + length..]).collect();
    while !secret.len().is_multiple_of(4) {
        secret.push('=');
    }
    Secret::parse(&secret).map(|secret| (secret.as_str().to_owned(), timestamp))
}

fn some_secret() -> impl Strategy<Value = Secret> {
    (any::<[u8; 16]>(), any::<[u8; 16]>())
        .prop_filter("not zero", |(_, id)| *id != [0; 16])
        .prop_map(|(first, id)| Secret::build(first, EnvironmentId::from_bytes(id)))
}

#[test]
fn decodes_the_recorded_token() {
    let token = decode(EXAMPLE).unwrap();
    assert_eq!(token.secret.as_str(), "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w");
    assert_eq!(token.issued_at_ms, 1_666_018_800_754);
}

#[test]
fn refuses_what_is_no_token() {
    for (token, fault) in [
        ("", TokenFault::Short),
        ("QBPB", TokenFault::Short),
        ("QBPBH", TokenFault::Short),
        ("QBPBHv3faJy3RCUO8d-QQBDDDQBZZQ", TokenFault::Short),
        ("QB1BHv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w", TokenFault::Digit),
        ("QB BHv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w", TokenFault::Digit),
        ("WHDBHv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w", TokenFault::Position),
        ("QBPBSv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w", TokenFault::Secret),
        ("QBPBHv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6", TokenFault::Secret),
        ("QBPBHv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6wx", TokenFault::Secret),
    ] {
        assert_eq!(decode(token), Err(fault), "{token}");
        assert_eq!(decode_plainly(token), None, "{token}");
    }
}

#[test]
fn a_timestamp_beyond_64_bits_is_refused_not_wrapped() {
    let secret = decode(EXAMPLE).unwrap().secret;
    let with = |letters: &str| format!("QQQ{}{letters}{}", ["BU", "WQ"][letters.len() - 19], secret.as_str());
    let largest = with("UWWSSXWQSDZHPXXHZQX");
    assert_eq!(decode(&largest).unwrap().issued_at_ms, i64::MAX);
    assert_eq!(decode(&with("UWWSSXWQSDZHPXXHZQZ")), Err(TokenFault::Timestamp));
    assert_eq!(decode(&with("UUUUUUUUUUUUUUUUUUUU")), Err(TokenFault::Timestamp));
}

#[test]
fn blank_groups_of_digits_count_as_zero() {
    let secret = decode(EXAMPLE).unwrap().secret;
    for header in ["     ", "QQQ  ", "   QQ", "\t \tQQ"] {
        let token = decode(&format!("{header}{}", secret.as_str())).unwrap();
        assert_eq!((token.secret, token.issued_at_ms), (secret, 0));
    }
    let token = decode(&format!("QQQQS   {}", secret.as_str())).unwrap();
    assert_eq!(token.issued_at_ms, 0);
}

#[test]
fn debug_output_of_a_token_hides_the_secret() {
    assert!(!format!("{:?}", decode(EXAMPLE)).contains("v3faJy3"));
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(secret in some_secret(), issued_at_ms in 0i64.., position in 0usize..60) {
        let token = encode(&secret, issued_at_ms, position);
        prop_assert_eq!(decode(&token), Ok(Token { secret, issued_at_ms }));
    }

    #[test]
    fn equals_the_plain_twin_on_damaged_tokens(
        secret in some_secret(),
        issued_at_ms in 0i64..,
        position in 0usize..45,
        damages in prop::collection::vec((0usize..70, "[QBWSPHDXZU =A-Za-z]", 0u8..3), 0..3),
    ) {
        let mut token = encode(&secret, issued_at_ms, position);
        for (at, with, how) in damages {
            let at = at.min(token.len() - 1);
            match how {
                0 => token.replace_range(at..at + 1, &with),
                1 => token.insert_str(at, &with),
                _ => token.truncate(at.max(1)),
            }
        }
        let fast = decode(&token).ok().map(|token| (token.secret.as_str().to_owned(), token.issued_at_ms));
        prop_assert_eq!(fast, decode_plainly(&token));
    }

    #[test]
    fn equals_the_plain_twin_on_any_letters(token in "[QBWSPHDXZU \t]{0,20}[QBWSPHDXZUa-z0-9-]{0,60}") {
        let fast = decode(&token).ok().map(|token| (token.secret.as_str().to_owned(), token.issued_at_ms));
        prop_assert_eq!(fast, decode_plainly(&token));
    }

    #[test]
    fn never_panics(token in "\\PC{0,90}") {
        let _ = decode(&token);
    }
}
