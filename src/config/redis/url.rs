//! Parses `redis://` and `rediss://` URLs, with several hosts if wanted.
//!
//! Must not quote any part of the text in an error.

use percent_encoding::percent_decode_str;

use super::options::{ConnectionString, Found, PORT};
use crate::config::value::{InvalidValue, invalid};

const FORM: &str = "Write redis://user:password@host:port,host:port/database, with rediss:// for TLS";

/// Characters that a password in a URL must not contain as they are, and how they are written.
const ENCODED: [(char, &str); 4] = [('@', "%40"), ('/', "%2F"), ('?', "%3F"), ('#', "%23")];

/// Parses a URL.
pub(super) fn parse(text: &str) -> Result<ConnectionString, Vec<InvalidValue>> {
    let mut found = Found::default();
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => found.tls = Some(false),
        "rediss" | "valkeys" => found.tls = Some(true),
        "unix" | "redis+unix" | "redis+socket" | "valkey+unix" => {
            return Err(vec![invalid(
                "is the URL of a Unix socket, which the agent does not support",
                "Let Redis listen on a port of 127.0.0.1, and write redis://127.0.0.1:6379",
            )]);
        }
        _ => return Err(vec![invalid("has a scheme other than redis and rediss", FORM)]),
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(vec![invalid("contains spaces or control characters", FORM)]);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    if let Some(error) = not_encoded(authority, after) {
        return Err(vec![error]);
    }
    let hosts = match authority.rsplit_once('@') {
        Some((login, hosts)) => {
            self::login(&mut found, login);
            hosts
        }
        None => authority,
    };
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        found.host(host);
    }
    rest_of_path(&mut found, after);
    found.finish(|_| PORT)
}

/// Why the password is taken to be not percent-encoded: there is an `@` where none can be.
fn not_encoded(authority: &str, after: &str) -> Option<InvalidValue> {
    let place = match (authority.matches('@').count() > 1, after.contains('@')) {
        (true, _) => '@',
        (false, true) => after.chars().next()?,
        (false, false) => return None,
    };
    let (_, written) = ENCODED.into_iter().find(|(character, _)| *character == place)?;
    Some(invalid(
        format!("contains a user or password that is not percent-encoded: there is a `{place}` in it"),
        format!("Write {written} instead of `{place}`, or give the password as it is by Redis__Password"),
    ))
}

fn login(found: &mut Found, login: &str) {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    found.user = decoded(found, user, "user").filter(|user| !user.is_empty());
    found.password = password
        .and_then(|password| decoded(found, password, "password"))
        .filter(|password| !password.is_empty());
}

/// The path, a number of a database, and the query, options.
fn rest_of_path(found: &mut Found, text: &str) {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    if !fragment.is_empty() {
        found.errors.push(invalid(
            "contains a `#`, which begins no part of a URL of Redis",
            "Write %23 instead of `#` in a user or password, or give the password by Redis__Password",
        ));
    }
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let path = path.trim_matches('/');
    if !path.is_empty() {
        found.database = found.database(path);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(value) = decoded(found, value, "option") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "db" => found.option("defaultDatabase", &value),
            "ssl" => found.errors.push(invalid("contains the option ssl", "Write rediss:// for TLS")),
            _ => found.option(name, &value),
        }
    }
}

/// The text without percent-encoding.
fn decoded(found: &mut Found, text: &str, what: &str) -> Option<String> {
    let encoding_is_right = text.split('%').skip(1).all(|after| {
        let mut digits = after.chars();
        [digits.next(), digits.next()].into_iter().all(|c| c.is_some_and(|c| c.is_ascii_hexdigit()))
    });
    let decoded = percent_decode_str(text).decode_utf8().ok().filter(|_| encoding_is_right);
    if decoded.is_none() {
        found.errors.push(invalid(
            format!("contains a {what} with a `%` that begins no percent-encoded character"),
            "Write %25 instead of `%`, or give the password as it is by Redis__Password",
        ));
    }
    decoded.map(Into::into)
}
