//! What FeatBit's HTTP endpoints share: content types and the timestamp of a poll.
//!
//! Must not route or answer.

use crate::wire::http1::target::query_param;

/// Whether a `Content-Type` announces JSON in UTF-8: `application/json`, `text/json` or `application/…+json`, with
/// or without parameters. Anything else is answered with 415.
pub fn is_json_content_type(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = matches!(essence.as_str(), "application/json" | "text/json")
        || essence
            .strip_prefix("application/")
            .and_then(|subtype| subtype.strip_suffix("+json"))
            .is_some_and(|name| !name.is_empty() && !name.contains(['/', ' ']));
    is_json && parts.all(|parameter| !is_other_charset(parameter))
}

/// Whether a `Content-Type` is plain text in UTF-8.
pub fn is_text_content_type(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_text = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("text/plain"));
    is_text && parts.all(|parameter| !is_other_charset(parameter))
}

/// A `charset` that is not UTF-8 (nor ASCII, which is part of it).
fn is_other_charset(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let value = value.trim().trim_matches('"');
    name.trim().eq_ignore_ascii_case("charset")
        && !["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
}

/// `timestamp` is there but no integer: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTimestamp;

impl BadTimestamp {
    /// The reason, for the body of the response.
    pub const fn reason(self) -> &'static str {
        "timestamp is not an integer"
    }
}

/// The `timestamp` of a poll, in Unix milliseconds: 0 if absent, may be negative.
pub fn timestamp_ms(query: &str) -> Result<i64, BadTimestamp> {
    match query_param(query, "timestamp") {
        None => Ok(0),
        Some(text) => text.trim().parse().map_err(|_| BadTimestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_type() {
        for content_type in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
            "application/json; x=y",
            "application/json;",
            "application/problem+json",
            "text/json",
        ] {
            assert!(is_json_content_type(content_type), "{content_type}");
        }
        for content_type in [
            "",
            "json",
            "text/plain",
            "application/jsonx",
            "application/+json",
            "application/json, text/plain",
            "application/json; charset=utf-16",
            "application/x-www-form-urlencoded",
            "image/svg+json",
        ] {
            assert!(!is_json_content_type(content_type), "{content_type}");
        }
    }

    #[test]
    fn plain_text_is_accepted_as_browsers_send_it() {
        for (content_type, expected) in [
            ("text/plain;charset=UTF-8", true),
            ("Text/Plain", true),
            ("text/plain; charset=utf-16", false),
            ("text/html", false),
            ("", false),
        ] {
            assert_eq!(is_text_content_type(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn timestamps_are_integers_or_absent() {
        for (query, expected) in [
            ("", Ok(0)),
            ("other=1", Ok(0)),
            ("timestamp=0", Ok(0)),
            ("timestamp=1735689644638", Ok(1_735_689_644_638)),
            ("TimeStamp=-5", Ok(-5)),
            ("timestamp=%2B5", Ok(5)),
            ("timestamp=+5+", Ok(5)),
            ("timestamp=", Err(BadTimestamp)),
            ("timestamp", Err(BadTimestamp)),
            ("timestamp=+", Err(BadTimestamp)),
            ("timestamp=1.0", Err(BadTimestamp)),
            ("timestamp=1e3", Err(BadTimestamp)),
            ("timestamp=null", Err(BadTimestamp)),
            ("timestamp=1&timestamp=1", Err(BadTimestamp)),
            ("timestamp=9223372036854775807", Ok(i64::MAX)),
            ("timestamp=9223372036854775808", Err(BadTimestamp)),
        ] {
            assert_eq!(timestamp_ms(query), expected, "{query}");
        }
    }
}
