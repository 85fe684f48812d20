//! Addresses of Redis servers in a connection string or a URL.

use super::Host;
use crate::config::value::{InvalidValue, invalid};

/// An address whose port may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    name: String,
    port: Option<u16>,
}

impl Address {
    /// The address with `default` as its port if it has none.
    pub(super) fn with_default_port(self, default: u16) -> Host {
        Host { name: self.name, port: self.port.unwrap_or(default) }
    }
}

const REMEDY: &str = "Write host:port, such as redis.example:6379 or [2001:db8::1]:6379";

/// Parses the `place`th address, counted from 1. The error does not quote it: it may be a part of a password.
pub(super) fn parse(text: &str, place: usize) -> Result<Address, InvalidValue> {
    let wrong = |what: &str| Err(invalid(format!("has an address, number {place}, {what}"), REMEDY));
    if text.starts_with(['!', '/']) || text.to_ascii_lowercase().starts_with("unix:") {
        return Err(invalid(
            format!("has a Unix socket as its address number {place}, which the agent does not support"),
            "Let Redis listen on a port of 127.0.0.1, and write host:port",
        ));
    }
    let (name, port) = match text.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((name, rest)) if is_ipv6(name) => (name, rest),
            _ => return wrong("with brackets around something that is not an IPv6 address"),
        },
        // Without brackets and with several colons it is an IPv6 address without a port.
        None if is_ipv6(text) => (text, ""),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c) || !c.is_ascii();
    if name.is_empty() {
        return wrong("without a host");
    }
    if name.len() > 253 || !name.chars().all(|c| plain(c) && !c.is_control() && !c.is_whitespace()) {
        return wrong("that is not a host name");
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            match digits.parse() {
                Ok(port) if port > 0 => Some(port),
                _ => return wrong("whose port is not from 1 to 65535"),
            }
        }
        _ => return wrong("whose port is not a number"),
    };
    Ok(Address { name: name.to_owned(), port })
}

/// Whether this is an IPv6 address, perhaps with a zone (`fe80::1%eth0`).
fn is_ipv6(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<std::net::Ipv6Addr>().is_ok()
}
