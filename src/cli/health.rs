//! `featbit-agent health`: asks a running agent whether it is ready, for containers without curl.
//!
//! Must not ask through a proxy: the agent is on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{complain, exit, refuse, say};
use crate::config::{self, Inputs, Listen, ListenAddress};

/// How long the whole call may take. Container health checks give up soon after.
const TIMEOUT: Duration = Duration::from_secs(3);

const PATH: &str = "/health/readiness";

/// Answers 0 if the agent says that it is ready.
pub(super) fn health(inputs: &Inputs<'_>, url: Option<String>) -> u8 {
    let urls = match url {
        Some(url) => vec![with_path(&url)],
        None => match config::listening(inputs) {
            Ok(listen) => own_urls(&listen),
            Err(rejected) => return refuse(&rejected),
        },
    };
    if urls.is_empty() {
        complain("featbit-agent: Urls has port 0, so the agent's port is not known here. Say it with --url.");
        return exit::SETTINGS;
    }
    let mut failure = String::new();
    for url in urls {
        match ask(&url) {
            Ok((status, body)) => {
                say(&format!("{url}: {status} {body}"));
                return if status == 200 { exit::OK } else { exit::UNHEALTHY };
            }
            Err(error) => failure = format!("featbit-agent: {url}: {error}"),
        }
    }
    complain(&failure);
    exit::UNHEALTHY
}

fn ask(url: &str) -> Result<(u16, String), ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .new_agent();
    let mut response = agent.get(url).call()?;
    let body = response.body_mut().with_config().limit(64 * 1024).lossy_utf8(true).read_to_string()?;
    let line = body.trim().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Ok((response.status().as_u16(), line))
}

/// Where the first of `Urls` is reached from this machine: for `localhost` at either loopback.
fn own_urls(listen: &[Listen]) -> Vec<String> {
    let Some(first) = listen.first() else { return Vec::new() };
    let same =
        |other: &&Listen| *other == first || first.optional && other.optional && other.port == first.port;
    let port_known = |listen: &&Listen| listen.port != 0;
    listen.iter().filter(same).filter(port_known).map(own_url).collect()
}

fn own_url(listen: &Listen) -> String {
    let ip = match listen.address {
        ListenAddress::Wildcard => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ListenAddress::Ip(IpAddr::V4(ip)) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ListenAddress::Ip(IpAddr::V6(ip)) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ListenAddress::Ip(ip) => ip,
    };
    format!("http://{}{PATH}", std::net::SocketAddr::new(ip, listen.port))
}

/// A URL without a path gets the path of the health check.
fn with_path(url: &str) -> String {
    let url = if url.contains("://") { url.to_string() } else { format!("http://{url}") };
    match url.split_once("://") {
        Some((_, rest)) if !rest.trim_end_matches('/').contains('/') => {
            format!("{}{PATH}", url.trim_end_matches('/'))
        }
        _ => url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::listen::parse;

    #[test]
    fn the_agent_is_asked_on_its_first_address() {
        for (urls, expected) in [
            ("http://*:6100", &["http://127.0.0.1:6100/health/readiness"][..]),
            ("http://0.0.0.0:1;http://*:2", &["http://127.0.0.1:1/health/readiness"]),
            ("http://[::]:1", &["http://[::1]:1/health/readiness"]),
            ("http://192.0.2.1:1", &["http://192.0.2.1:1/health/readiness"]),
            (
                "http://localhost:1;http://*:2",
                &["http://127.0.0.1:1/health/readiness", "http://[::1]:1/health/readiness"],
            ),
            ("http://*:0", &[]),
        ] {
            assert_eq!(own_urls(&parse(urls).unwrap().0), expected, "{urls}");
        }
    }

    #[test]
    fn a_url_without_a_path_asks_for_readiness() {
        for (url, expected) in [
            ("http://a:1", "http://a:1/health/readiness"),
            ("http://a:1/", "http://a:1/health/readiness"),
            ("a:1", "http://a:1/health/readiness"),
            ("http://a:1/health/liveness", "http://a:1/health/liveness"),
        ] {
            assert_eq!(with_path(url), expected);
        }
    }
}
