//! URIs of servers.
//!
//! Must not resolve a name, and must not show a user, a password or a query.

use std::fmt;

use super::value::{InvalidValue, invalid};

/// An absolute URI of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct AbsoluteUri {
    text: String,
    scheme_len: usize,
    host: String,
    port: Option<u16>,
}

impl AbsoluteUri {
    /// Parses an absolute URI with one of `schemes`.
    ///
    /// # Errors
    /// What is wrong with the text, which is not in the error.
    pub fn parse(text: &str, schemes: &[&str]) -> Result<Self, InvalidValue> {
        parse_uri(text, schemes)
    }

    /// The URI as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its scheme as it was given.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme_len]
    }

    /// Its host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The user information before the `@`: a user and perhaps a password, percent-encoded. A secret.
    pub fn user_info(&self) -> Option<&str> {
        let rest = &self.text[self.scheme_len + 3..];
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        authority.rsplit_once('@').map(|(user, _)| user)
    }

    /// Its path without a slash at the end; empty if it has none.
    pub fn path(&self) -> &str {
        let rest = &self.text[self.scheme_len + 3..];
        let start = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let path = &rest[start..];
        path[..path.find(['?', '#']).unwrap_or(path.len())].trim_end_matches('/')
    }

    /// Its port, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl fmt::Display for AbsoluteUri {
    /// The URI with a user and password in it masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked_uri(&self.text))
    }
}

impl fmt::Debug for AbsoluteUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `uri` with everything masked that may be secret: user, password, query and fragment.
pub(super) fn masked_uri(uri: &str) -> String {
    let (uri, query) = match uri.find(['?', '#']) {
        Some(end) => (&uri[..end], &uri[end..=end]),
        None => (uri, ""),
    };
    let mask = if query.is_empty() { "" } else { "****" };
    let authority = uri.find("://").map_or(0, |at| at + 3);
    let end = uri[authority..].find('/').map_or(uri.len(), |at| authority + at);
    match uri[authority..end].rfind('@') {
        Some(at) => format!("{}****{}{query}{mask}", &uri[..authority], &uri[authority + at..]),
        None => format!("{uri}{query}{mask}"),
    }
}

/// As [`masked_uri`], also for a malformed URI: a password may contain a `/`.
pub(super) fn masked_to_the_last_at(uri: &str) -> String {
    let start = uri.find("://").map_or(0, |at| at + 3);
    match uri[start..].rfind('@') {
        Some(at) => masked_uri(&format!("{}****{}", &uri[..start], &uri[start + at..])),
        None => masked_uri(uri),
    }
}

/// Parses an absolute URI with one of `schemes`.
pub(super) fn parse_uri(text: &str, schemes: &[&str]) -> Result<AbsoluteUri, InvalidValue> {
    let remedy = || {
        let scheme = schemes.first().unwrap_or(&"http");
        format!("Write one such as {scheme}://evaluation-server:5100 (schemes: {})", schemes.join(", "))
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(invalid("is not an absolute URI", remedy()));
    };
    if !schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return Err(invalid(format!("has the scheme {scheme:?}"), remedy()));
    }
    if text.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) {
        return Err(invalid("contains spaces or control characters", remedy()));
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host_port)| host_port);
    let (host, port) = match host_port.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, port)) => (host, port),
        None => host_port.split_at(host_port.find(':').unwrap_or(host_port.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(invalid("has a port that is not from 1 to 65535", remedy())),
        },
        None if port.is_empty() => None,
        _ => return Err(invalid("has a malformed host or port", remedy())),
    };
    if host.is_empty() || host.contains(['[', ']', '\\']) {
        return Err(invalid("has no host", remedy()));
    }
    Ok(AbsoluteUri { text: text.to_string(), scheme_len: scheme.len(), host: host.to_string(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_uri_is_taken_apart() {
        for (text, scheme, host, port) in [
            ("ws://els:5100", "ws", "els", Some(5100)),
            ("WSS://els/path?q#f", "WSS", "els", None),
            ("ws://u:p@[::1]:1/", "ws", "::1", Some(1)),
            ("ws://[::1]", "ws", "::1", None),
        ] {
            let uri = parse_uri(text, &["ws", "wss"]).unwrap();
            assert_eq!(uri.path(), if text.contains("path") { "/path" } else { "" });
            assert_eq!((uri.as_str(), uri.scheme(), uri.host(), uri.port()), (text, scheme, host, port));
        }
    }

    #[test]
    fn what_is_no_uri_of_a_server_is_refused() {
        for (text, part) in [
            ("els:5100", "absolute"),
            ("ftp://els", "scheme"),
            ("ws://", "host"),
            ("ws://:1", "host"),
            ("ws://u@/x", "host"),
            ("ws://els:x", "malformed"),
            ("ws://els:", "port"),
            ("ws://els:0", "port"),
            ("ws://[::1]x", "malformed"),
            ("ws://[::1", "malformed"),
            ("ws://e ls", "spaces"),
        ] {
            let error = parse_uri(text, &["ws"]).unwrap_err();
            assert!(error.problem.contains(part), "{text}: {error:?}");
        }
    }

    #[test]
    fn passwords_and_queries_in_uris_are_masked() {
        for (uri, expected) in [
            ("ws://host:5100", "ws://host:5100"),
            ("ws://me:pw@host/x@y", "ws://****@host/x@y"),
            ("http://a@b@host", "http://****@host"),
            ("http://host/?key=1", "http://host/?****"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(masked_uri(uri), expected);
        }
        for (uri, expected) in [
            ("http://me:p/w@proxy:1", "http://****@proxy:1"),
            ("me:p?w@proxy", "****@proxy"),
            ("http://proxy:1/?x", "http://proxy:1/?****"),
        ] {
            assert_eq!(masked_to_the_last_at(uri), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,32}") {
            for text in [text.clone(), format!("ws://{text}"), format!("ws://[{text}")] {
                let _ = parse_uri(&text, &["ws"]);
                let _ = masked_uri(&text);
            }
        }

        #[test]
        fn what_stands_before_the_at_is_never_shown(user in "[a-z@:]{1,8}", host in "[A-Z]{1,8}") {
            let shown = parse_uri(&format!("ws://{user}@{host}/x"), &["ws"]).unwrap().to_string();
            prop_assert_eq!(shown, format!("ws://****@{host}/x"));
        }
    }
}
