//! Request targets: paths and queries (RFC 9112 section 3.2, RFC 3986).
//!
//! Must not know any route. Escapes are decoded during comparison and lookup; nothing is allocated for texts without
//! escapes.

use std::borrow::Cow;

/// Splits a request target in origin form or absolute form into path and query; `*` only if `asterisk`.
pub(super) fn split(target: &str, asterisk: bool) -> Option<(&str, &str)> {
    if target.contains('#') {
        return None;
    }
    if target == "*" {
        return asterisk.then_some(("*", ""));
    }
    let relative = if target.starts_with('/') { target } else { after_authority(target)? };
    let (path, query) = relative.split_once('?').unwrap_or((relative, ""));
    Some((if path.is_empty() { "/" } else { path }, query))
}

/// What follows `http://host` in a target of absolute form.
fn after_authority(target: &str) -> Option<&str> {
    let (_, authority, relative) = absolute(target)?;
    // User names in a target are deprecated (RFC 9110 section 4.2.4) and only serve to deceive.
    (!authority.is_empty() && !authority.contains('@')).then_some(relative)
}

/// Splits a target in absolute form: the default port of its scheme, its authority, and the rest.
fn absolute(target: &str) -> Option<(&'static str, &str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let port = if scheme.eq_ignore_ascii_case("http") {
        ":80"
    } else if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        return None;
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, relative) = rest.split_at(end);
    Some((port, authority, relative))
}

/// Whether a target of absolute form names another host than `Host` does. The scheme's own port may be left out.
pub(super) fn names_another_host(target: &str, host: &[u8]) -> bool {
    let Some((port, authority, _)) = absolute(target) else { return false };
    let authority = authority.as_bytes();
    let named = authority.strip_suffix(port.as_bytes()).unwrap_or(authority);
    !named.eq_ignore_ascii_case(host.strip_suffix(port.as_bytes()).unwrap_or(host))
}

/// Whether `path` is `route`, ignoring case and a `/` at the end; several `/` count as one, and escapes are decoded. An
/// escaped `/` is not a separator.
pub fn path_is(path: &str, route: &str) -> bool {
    after_prefix(path, route).is_some_and(|rest| rest.bytes().all(|byte| byte == b'/'))
}

/// Whether `path` is `prefix` or lies below it: `/streaming` and `/streaming/x`, but not `/streamingx`.
pub fn path_under(path: &str, prefix: &str) -> bool {
    matches!(after_prefix(path, prefix), Some(rest) if rest.is_empty() || rest.starts_with('/'))
}

/// The part of `path` after `prefix`, compared as routes are.
fn after_prefix<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let mut rest = path.as_bytes();
    for expected in prefix.bytes() {
        let (byte, after) = match *rest {
            [b'%', high, low, ref after @ ..] => match (hex(high), hex(low)) {
                (Some(high), Some(low)) if high << 4 | low != b'/' => (high << 4 | low, after),
                _ => (b'%', &rest[1..]),
            },
            [byte, ref after @ ..] => (byte, after),
            [] => return None,
        };
        if !byte.eq_ignore_ascii_case(&expected) {
            return None;
        }
        rest = after;
        // Clients often join a base path that ends with `/` and a path that begins with `/`.
        while expected == b'/' && rest.first() == Some(&b'/') {
            rest = &rest[1..];
        }
    }
    // Whole characters were consumed, or the prefix would not have matched.
    path.get(path.len() - rest.len()..)
}

/// The decoded value of the parameter `name` of a query: `+` is a space, `%` begins an escape.
///
/// As in ASP.NET, names are compared in either case and the values of a repeated parameter are joined by commas,
/// which makes a parameter that may have only one value malformed. Invalid escapes stay as they are; bytes that are not
/// UTF-8 become U+FFFD.
pub fn query_param<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let mut found: Option<Cow<'q, str>> = None;
    let mut rest = Some(query);
    while let Some(text) = rest {
        let (pair, after) = cut(text, b'&');
        rest = after;
        let (key, value) = cut(pair, b'=');
        if pair.is_empty() || !is_name(key, name) {
            continue;
        }
        let value = decode(value.unwrap_or(""));
        found = Some(match found {
            None => value,
            Some(before) => Cow::Owned(format!("{before},{value}")),
        });
    }
    found
}

/// Whether `key`, which may contain escapes, is `name`, ignoring case.
fn is_name(key: &str, name: &str) -> bool {
    if key.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return decode(key).eq_ignore_ascii_case(name);
    }
    key.eq_ignore_ascii_case(name)
}

/// The text before the first `at`, an ASCII character, and the text after it.
fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    match memchr::memchr(at, text.as_bytes()) {
        Some(end) => (&text[..end], Some(&text[end + 1..])),
        None => (text, None),
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, ref after @ ..] = *rest {
        rest = after;
        let byte = match (byte, after) {
            (b'+', _) => b' ',
            (b'%', &[high, low, ref after @ ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => byte,
        };
        decoded.push(byte);
    }
    Cow::Owned(match String::from_utf8(decoded) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_split_into_path_and_query() {
        for (target, expected) in [
            ("/", Some(("/", ""))),
            ("/a/b?c=d?e", Some(("/a/b", "c=d?e"))),
            ("/a?", Some(("/a", ""))),
            ("//a", Some(("//a", ""))),
            ("http://host", Some(("/", ""))),
            ("http://host?x=1", Some(("/", "x=1"))),
            ("HTTPS://host:80/p?q", Some(("/p", "q"))),
            ("/p?u=http://x/", Some(("/p", "u=http://x/"))),
            ("http:///p", None),
            ("http://user@host/p", None),
            ("ftp://host/p", None),
            ("host:80", None),
            ("path", None),
            ("?x", None),
            ("/a#b", None),
            ("*", None),
        ] {
            assert_eq!(split(target, false), expected, "{target}");
        }
        assert_eq!(split("*", true), Some(("*", "")));
        assert_eq!(split("*x", true), None);
    }

    #[test]
    fn an_absolute_target_has_the_host_of_the_field() {
        for (target, host, other) in [
            ("http://a/x", "a", false),
            ("http://A:80", "a", false),
            ("http://a", "A:80", false),
            ("HTTPS://a:443?x", "a", false),
            ("https://a:80/", "a", true),
            ("http://a:8080/", "a:8080", false),
            ("http://a:8080/", "a", true),
            ("http://a/", "b", true),
            ("http://a/", "", true),
            ("http://a.b/", "a", true),
            ("/http://a/", "b", false),
            ("/x?u=http://a/", "b", false),
            ("*", "b", false),
        ] {
            assert_eq!(names_another_host(target, host.as_bytes()), other, "{target} {host}");
        }
    }

    #[test]
    fn paths_compare_in_either_case_with_a_trailing_slash() {
        for path in ["/api/Public", "/API/public/", "/%61pi/pub%6Cic", "/api/public/"] {
            assert!(path_is(path, "/api/public"), "{path}");
        }
        for path in ["/api/publicx", "/api", "/api%2Fpublic", "/api%2fpublic", "", "/api/publi%", "*"] {
            assert!(!path_is(path, "/api/public"), "{path}");
        }
        assert!(path_is("/", "/"));
        assert!(
            path_is("/%25", "/%25") || path_is("/%25", "/%"),
            "an escaped percent sign is a percent sign"
        );
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for path in ["/streaming", "/Streaming/", "/streaming/x", "/str%65aming/é"] {
            assert!(path_under(path, "/streaming"), "{path}");
        }
        for path in ["/streamingx", "/stream", "/x/streaming", "/streaming%2Fx", "/streamingé"] {
            assert!(!path_under(path, "/streaming"), "{path}");
        }
    }

    #[test]
    fn parameters_are_found_in_any_order_and_case() {
        let query = "type=server&TOKEN=a%2Bb+c&empty=&bare&%74wo=1&two=2&bad=%zz%4&&=x";
        let get = |name| query_param(query, name).map(Cow::into_owned);
        assert_eq!(get("type").as_deref(), Some("server"));
        assert_eq!(get("token").as_deref(), Some("a+b c"));
        assert_eq!(get("empty").as_deref(), Some(""));
        assert_eq!(get("bare").as_deref(), Some(""));
        assert_eq!(get("two").as_deref(), Some("1,2"));
        assert_eq!(get("bad").as_deref(), Some("%zz%4"));
        assert_eq!(get("absent"), None);
        assert_eq!(query_param("", "x"), None);
        assert_eq!(query_param("x=%FF", "x").as_deref(), Some("\u{FFFD}"));
    }

    #[test]
    fn a_plain_value_is_borrowed() {
        assert!(matches!(query_param("a=1&token=QBPBH-_", "token"), Some(Cow::Borrowed("QBPBH-_"))));
    }

    /// What went wrong: SDKs whose address ends with `/` ask for `//streaming`, which was nothing.
    #[test]
    fn several_slashes_are_taken_as_one() {
        for path in ["//streaming", "/streaming//", "///streaming///"] {
            assert!(path_is(path, "/streaming") && path_under(path, "/streaming"), "{path}");
        }
        assert!(path_is("//api///proxy//status", "/api/proxy/status"));
        assert!(path_under("//streaming//x", "/streaming"));
        assert!(!path_is("/%2Fstreaming", "/streaming"), "an escaped one is none");
        assert!(!path_is("/str//eaming", "/streaming") && !path_under("//", "/streaming"));
        assert_eq!(split("//streaming?a=1", false), Some(("//streaming", "a=1")));
    }

    proptest! {
        #[test]
        fn whatever_is_escaped_comes_back(value: String, name in "[a-z]{1,8}") {
            let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let query = format!("x0=1&{name}={escaped}&y0=2");
            let found = query_param(&query, &name);
            prop_assert_eq!(found.as_deref(), Some(value.as_str()));
        }

        #[test]
        fn parameters_are_those_between_ampersands(query in "[aAb=&%+6é1]{0,24}", name in "[ab]{1,2}") {
            let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            let of_name = pairs.filter(|(key, _)| decode(key).eq_ignore_ascii_case(&name));
            let values: Vec<_> = of_name.map(|(_, value)| decode(value)).collect();
            let twin = (!values.is_empty()).then(|| values.join(","));
            prop_assert_eq!(query_param(&query, &name).map(Cow::into_owned), twin);
        }

        #[test]
        fn never_panics(text in "[%+/&=a-fA-F0-9é?#*:]{0,40}", other in "[%/a-f2é]{0,10}") {
            let _ = split(&text, true);
            let _ = query_param(&text, &other);
            let _ = path_is(&text, &other);
            let _ = path_under(&text, &other);
        }
    }
}
