//! Parses `Redis__ConnectionString`: the form of StackExchange.Redis; a URL is left to `url`.
//!
//! Must not quote any part of the text in an error.

use super::options::{COMMA, ConnectionString, Found, PORT, TLS_PORT};
use super::{Host, url};
use crate::config::value::{InvalidValue, invalid};

/// Parses a connection string of StackExchange.Redis, or a URL.
///
/// # Errors
/// Everything that is wrong with it, without quoting it.
pub fn parse(text: &str) -> Result<ConnectionString, Vec<InvalidValue>> {
    if text.contains("://") && !text.split("://").next().unwrap_or_default().contains(['=', ',']) {
        return url::parse(text);
    }
    let mut found = Found::default();
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            Some((name, value)) => {
                let name = name.trim();
                found.option(name, value.trim());
                found.is_after_password = name.eq_ignore_ascii_case("password");
            }
            None if found.is_after_password => {
                // Taken for an address, it would be in the log.
                found.errors.push(invalid("contains an address or a comma right after the password", COMMA));
                break;
            }
            None if part.is_empty() => {}
            None => found.host(part),
        }
    }
    found.finish(|found| if found.tls == Some(true) { TLS_PORT } else { PORT })
}

/// The text with everything secret left out, for people who check their settings.
pub fn masked(text: &str) -> String {
    let Ok(parsed) = parse(text) else { return "****".into() };
    let mut parts: Vec<String> = parsed.hosts.iter().map(Host::to_string).collect();
    let mut push = |name: &str, value: String| parts.push(format!("{name}={value}"));
    if let Some(user) = &parsed.user {
        push("user", user.clone());
    }
    if parsed.password.is_some() {
        push("password", "****".into());
    }
    if parsed.tls {
        push("ssl", "true".into());
    }
    if let Some(name) = &parsed.tls_name {
        push("sslHost", name.clone());
    }
    if let Some(service) = &parsed.service {
        push("serviceName", service.clone());
    }
    if parsed.database != 0 {
        push("defaultDatabase", parsed.database.to_string());
    }
    parts.join(",")
}
