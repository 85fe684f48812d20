//! The origins of pages from which browsers may call.
//!
//! Must not match patterns: an origin is allowed as a whole, or not.

use super::value::{InvalidValue, invalid};

/// Which origins may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every origin.
    Any,
    /// These, in lower case, such as `https://shop.example`.
    List(Vec<String>),
}

/// Parses `*`, or origins separated by commas.
pub(super) fn parse_origins(text: &str) -> Result<Origins, InvalidValue> {
    let remedy = "Write `*`, or origins such as https://shop.example, separated by commas";
    let mut list = Vec::new();
    for origin in text.split(',').map(str::trim).filter(|origin| !origin.is_empty()) {
        if origin == "*" {
            return Ok(Origins::Any);
        }
        let origin = origin.strip_suffix('/').unwrap_or(origin).to_ascii_lowercase();
        if origin != "null" && !is_origin(&origin) {
            return Err(invalid("contains something that is not an origin", remedy));
        }
        if !list.contains(&origin) {
            list.push(origin);
        }
    }
    if list.is_empty() { Err(invalid("contains no origin", remedy)) } else { Ok(Origins::List(list)) }
}

/// Whether a browser could send this origin: a scheme, a host in ASCII and perhaps a port.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn origins_have_no_path_and_no_pattern() {
        assert_eq!(parse_origins("null").unwrap(), Origins::List(vec!["null".into()]));
        for text in ["", ",", "shop.example", "https://", "https://a/b", "https://*.a", "https://u@a"] {
            assert!(parse_origins(text).is_err(), "{text}");
        }
    }

    /// What went wrong: anything before `://` was accepted as a scheme.
    #[test]
    fn an_origin_has_a_scheme_and_an_ascii_host() {
        for text in ["htu:p@htp://a", "://a", "1a://a", "a b://c", "https://a\tb", "https://münchen.example"]
        {
            assert!(parse_origins(text).is_err(), "{text}");
        }
        for text in ["https://shop.example:8443", "http://[::1]:80", "chrome-extension://abc", "HTTPS://A/"] {
            assert!(parse_origins(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,32}") {
            for text in [text.clone(), format!("ws://{text}"), format!("ws://[{text}")] {
                let _ = parse_origins(&text);
            }
        }
    }
}
