//! Addresses to listen on, in the form of .NET (`http://*:6100`).
//!
//! Must not open a socket nor resolve a name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::value::{InvalidValue, invalid};

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// On which of the machine's addresses.
    pub address: ListenAddress,
    /// The port; 0 means any free one.
    pub port: u16,
    /// With TLS or without.
    pub scheme: Scheme,
    /// Whether the agent still starts if this address cannot be opened but another one can: true for the loopbacks of
    /// `localhost`, because a machine may have only one of them.
    pub optional: bool,
}

/// On which of the machine's addresses a listener accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// Every address: one socket for IPv6 and IPv4, or IPv4 alone where there is no IPv6.
    Wildcard,
    /// Only this one; `[::]` includes IPv4, as in .NET.
    Ip(IpAddr),
}

/// Whether a listener uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1 without TLS.
    Http,
    /// HTTP/1.1 over TLS.
    Https {
        /// The index of its certificate in [`Tls::certificates`](super::Tls::certificates).
        certificate: usize,
    },
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Http => "http",
            Scheme::Https { .. } => "https",
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, port) = (self.scheme, self.port);
        match self.address {
            ListenAddress::Wildcard => write!(f, "{scheme}://*:{port}"),
            ListenAddress::Ip(IpAddr::V4(ip)) => write!(f, "{scheme}://{ip}:{port}"),
            ListenAddress::Ip(IpAddr::V6(ip)) => write!(f, "{scheme}://[{ip}]:{port}"),
        }
    }
}

const FORM: &str = "Write URLs such as http://*:6100, separated by `;`";

/// A URL that is wrong, and why.
pub type WrongUrl = (String, InvalidValue);

/// Parses URLs separated by `;`. Returns the addresses, and the host names that were taken for "every address".
///
/// # Errors
/// Every URL that is wrong, and why.
pub fn parse(text: &str) -> Result<(Vec<Listen>, Vec<String>), Vec<WrongUrl>> {
    let mut addresses: Vec<Listen> = Vec::new();
    let (mut names, mut wrong) = (Vec::new(), Vec::new());
    for url in text.split(';').map(str::trim).filter(|url| !url.is_empty()) {
        let parsed = parse_one(url, &mut names).unwrap_or_else(|invalid| {
            wrong.push((url.to_string(), invalid));
            Vec::new()
        });
        for listen in parsed {
            let place = |one: &Listen| (one.address, one.port, one.scheme);
            match addresses.iter_mut().find(|one| place(one) == place(&listen)) {
                // Given by itself and as a part of `localhost`: then it is required.
                Some(same) => same.optional &= listen.optional,
                None => addresses.push(listen),
            }
        }
    }
    if addresses.is_empty() && wrong.is_empty() {
        wrong.push((text.to_string(), invalid("contains no URL", FORM)));
    }
    if wrong.is_empty() { Ok((addresses, names)) } else { Err(wrong) }
}

fn parse_one(url: &str, names: &mut Vec<String>) -> Result<Vec<Listen>, InvalidValue> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("is not a URL", FORM))?;
    let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (Scheme::Http, 80),
        // The certificate is assigned together with the other settings.
        "https" => (Scheme::Https { certificate: 0 }, 443),
        _ => return Err(invalid(format!("has the scheme {scheme:?}"), FORM)),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.eq_ignore_ascii_case("unix:") {
        return Err(invalid("is a Unix socket, which is not supported", FORM));
    }
    if !matches!(path, "" | "/") {
        return Err(invalid("has a path, but the agent serves from the root", "Remove the path"));
    }
    let (host, port) = split_port(authority, default_port)?;
    let listen = |address, optional| Listen { address, port, scheme, optional };
    if host.is_empty() {
        return Err(invalid("has no host", FORM));
    }
    if matches!(host, "*" | "+") {
        return Ok(vec![listen(ListenAddress::Wildcard, false)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![
            listen(ListenAddress::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), true),
            listen(ListenAddress::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)), true),
        ]);
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        let address = address.ok_or_else(|| invalid("has a malformed IPv6 address", FORM))?;
        return Ok(vec![listen(ListenAddress::Ip(IpAddr::V6(address)), false)]);
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(vec![listen(ListenAddress::Ip(IpAddr::V4(address)), false)]);
    }
    let like_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if !like_name || host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(invalid("has a host that is neither an address nor a name", FORM));
    }
    names.push(host.to_string());
    Ok(vec![listen(ListenAddress::Wildcard, false)])
}

fn split_port(authority: &str, default_port: u16) -> Result<(&str, u16), InvalidValue> {
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = authority[after_address..].find(':') else {
        return Ok((authority, default_port));
    };
    let (host, port) = authority.split_at(after_address + colon);
    let digits = &port[1..];
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(port) if valid => Ok((host, port)),
        _ => Err(invalid("has a port that is not from 0 to 65535", FORM)),
    }
}

/// The URLs that a list of ports means, as in `ASPNETCORE_HTTP_PORTS=8080;8081`.
pub(super) fn urls_of_ports(ports: &str, scheme: &str) -> String {
    let ports = ports.split([';', ',']).map(str::trim).filter(|port| !port.is_empty());
    ports.map(|port| format!("{scheme}://*:{port}")).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<String> {
        parse(text).unwrap().0.iter().map(Listen::to_string).collect()
    }

    #[test]
    fn an_address_given_twice_once_by_localhost_is_listened_on_once() {
        for text in ["http://[::1]:7;http://localhost:7", "http://localhost:7;http://[::1]:7"] {
            let (addresses, _) = parse(text).unwrap();
            assert_eq!(addresses.len(), 2, "{text}");
            let optional =
                |shown: &str| addresses.iter().find(|one| one.to_string() == shown).unwrap().optional;
            assert!(!optional("http://[::1]:7") && optional("http://127.0.0.1:7"), "{text}");
        }
    }

    #[test]
    fn takes_every_form_of_dotnet() {
        for (text, expected) in [
            ("http://*:6100", &["http://*:6100"][..]),
            ("http://+:6100", &["http://*:6100"]),
            ("HTTP://+:6100/", &["http://*:6100"]),
            ("http://0.0.0.0:6100", &["http://0.0.0.0:6100"]),
            ("http://[::]:6100", &["http://[::]:6100"]),
            ("http://[::1]:0", &["http://[::1]:0"]),
            ("http://localhost:6100", &["http://127.0.0.1:6100", "http://[::1]:6100"]),
            ("http://*", &["http://*:80"]),
            ("https://*;HTTPS://[::1]:1", &["https://*:443", "https://[::1]:1"]),
            (
                "http://localhost:1;https://localhost:2",
                &["http://127.0.0.1:1", "http://[::1]:1", "https://127.0.0.1:2", "https://[::1]:2"],
            ),
            ("http://*:1; http://*:2 ;", &["http://*:1", "http://*:2"]),
            ("http://*:1;http://+:1", &["http://*:1"]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert_eq!(shown(&urls_of_ports("8080;8081", "http")), ["http://*:8080", "http://*:8081"]);
    }

    #[test]
    fn only_the_loopbacks_of_localhost_are_optional() {
        assert!(parse("http://localhost:1").unwrap().0.iter().all(|listen| listen.optional));
        assert!(parse("http://127.0.0.1:1;http://*:2").unwrap().0.iter().all(|listen| !listen.optional));
    }

    #[test]
    fn another_host_name_means_every_address_and_is_reported() {
        let (listen, names) = parse("http://featbit-agent:6100").unwrap();
        assert_eq!(listen[0].address, ListenAddress::Wildcard);
        assert_eq!(names, ["featbit-agent"]);
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused_with_the_reason() {
        for (text, part) in [
            ("", "contains no URL"),
            (";", "contains no URL"),
            ("6100", "is not a URL"),
            ("*:6100", "is not a URL"),
            ("ftp://*:21", "scheme"),
            ("http://:6100", "no host"),
            ("http://*:65536", "port"),
            ("http://*:", "port"),
            ("http://*:+1", "port"),
            ("http://*:6100/base", "path"),
            ("http://unix:/tmp/agent.sock", "Unix socket"),
            ("http://[::g]:1", "IPv6"),
            ("http://::1:6100", "port"),
            ("http://300.1.1.1:1", "neither"),
            ("http://a b:1", "neither"),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong[0].1.problem.contains(part), "{text}: {wrong:?}");
        }
    }

    /// What went wrong: of several wrong URLs only the first was reported.
    #[test]
    fn every_wrong_url_is_reported() {
        let wrong = parse("ftp://x; http://*:1 ;http://:x").unwrap_err();
        let urls: Vec<_> = wrong.iter().map(|(url, _)| url.as_str()).collect();
        assert_eq!(urls, ["ftp://x", "http://:x"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,32}") {
            let _ = parse(&text);
            let _ = parse(&format!("http://{text}"));
        }
    }
}
