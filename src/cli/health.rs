//! `featbit-agent health`: asks a running agent whether it is ready, for containers without curl.
//!
//! Must not ask through a proxy: the agent is on this machine. For that reason its certificate, which is for the name
//! that others know it by, is not checked; nothing secret is sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::exit;
use super::output::{Answer, complain, refuse};
use crate::client::{self, BeforeDeadline, DialError, Step, http};
use crate::config::{self, Inputs, Listen, ListenAddress, Scheme};

/// How long the whole call may take. Container health checks give up soon after.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const NO_URL: &str = "this is not an http:// or https:// URL";

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
    let timeout = TIMEOUT / u32::try_from(urls.len()).unwrap_or(1);
    let mut failures = Vec::new();
    for url in urls {
        match ask(&url, timeout) {
            Ok((status, body)) => {
                let mut answer = Answer::default();
                answer.say(&format!("{url}: {status} {body}"));
                return answer.end(if status == 200 { exit::OK } else { exit::UNHEALTHY });
            }
            Err(error) => failures.push(format!("featbit-agent: {url}: {error}")),
        }
    }
    complain(&failures.join("\n"));
    exit::UNHEALTHY
}

/// The status and the beginning of the body; or why there is no answer, and what to do.
fn ask(url: &str, timeout: Duration) -> Result<(u16, String), String> {
    let deadline = Instant::now() + timeout;
    let asked = Asked::parse(url)?;
    let (host, encrypted) = (asked.host.trim_matches(['[', ']']), asked.encrypted);
    let mut stream = client::connect_unverified(host, asked.port, encrypted, deadline)
        .map_err(|error| not_connected(&error))?;
    let mut stream = BeforeDeadline::new(&mut stream, deadline);
    let request = http::Request {
        method: "GET",
        target: asked.target,
        host: asked.authority,
        fields: &[("Connection", "close")],
        body: b"",
    };
    let mut exchange = || {
        request.send(&mut stream)?;
        let head = http::read_head(&mut stream, ANSWER_BYTES_MAX)?;
        Ok((head.status, head.read_body(&mut stream, ANSWER_BYTES_MAX)?))
    };
    match exchange() {
        Ok((status, body)) => match String::from_utf8(body) {
            Ok(body) => Ok((status, one_line(&body))),
            Err(_) => Err("the answer is not text. Check that the agent is what listens there".into()),
        },
        Err(error) => Err(failed(&error, timeout)),
    }
}

/// A URL, taken apart.
struct Asked<'a> {
    encrypted: bool,
    /// As the `Host` field says it.
    authority: &'a str,
    /// An IPv6 address in brackets.
    host: &'a str,
    port: u16,
    /// Path and query.
    target: &'a str,
}

impl<'a> Asked<'a> {
    fn parse(url: &'a str) -> Result<Self, String> {
        let (encrypted, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(NO_URL.into()),
        };
        // Fragments are for the client alone.
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // The health check needs no user, so a user and password in the URL are not sent.
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let colon = authority.rfind(':').filter(|colon| *colon > authority.rfind(']').unwrap_or(0));
        let (host, port) = match colon {
            Some(colon) => {
                let port = &authority[colon + 1..];
                (
                    &authority[..colon],
                    port.parse().map_err(|_| format!("{port:?} is not a port number (1 to 65535)"))?,
                )
            }
            None => (authority, if encrypted { 443 } else { 80 }),
        };
        let is_sendable = |text: &str| !text.contains(|c: char| c.is_control() || c.is_whitespace());
        if host.is_empty() || !is_sendable(rest) {
            return Err(NO_URL.into());
        }
        let target = if target.is_empty() { PATH } else { target };
        Ok(Self { encrypted, authority, host, port, target })
    }
}

fn not_connected(error: &DialError) -> String {
    match error.step {
        Step::Connect => format!(
            "{}. Check that the agent runs, and that this is one of its Urls; --url names another",
            error.problem
        ),
        Step::Resolve => format!("{}. Check the name of the host in --url", error.problem),
        Step::Tls => format!("{}. Check whether --url should begin with http://", error.problem),
        Step::Proxy => error.problem.to_string(),
    }
}

fn failed(error: &io::Error, timeout: Duration) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => format!("no answer within {} s", timeout.as_secs_f32()),
        io::ErrorKind::UnexpectedEof => "it closed the connection before it had answered".into(),
        io::ErrorKind::InvalidData => format!("the answer cannot be read ({error})"),
        _ => error.to_string(),
    }
}

fn one_line(body: &str) -> String {
    body.trim().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Where the first of `Urls` is reached from this machine (the first without TLS, if there is one): for `localhost` at
/// either loopback.
fn own_urls(listen: &[Listen]) -> Vec<String> {
    let plain = listen.iter().find(|listen| listen.scheme == Scheme::Http);
    let Some(first) = plain.or(listen.first()) else { return Vec::new() };
    let same = |other: &&Listen| {
        *other == first
            || first.optional && other.optional && other.port == first.port && other.scheme == first.scheme
    };
    let port_known = |listen: &&Listen| listen.port != 0;
    listen.iter().filter(same).filter(port_known).flat_map(own_urls_of).collect()
}

/// Where one of `Urls` is reached. All addresses of IPv6 are those of IPv4 too, and a machine may lack either.
fn own_urls_of(listen: &Listen) -> impl Iterator<Item = String> {
    let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let ips = match listen.address {
        ListenAddress::Wildcard => loopbacks.to_vec(),
        ListenAddress::Ip(IpAddr::V6(ip)) if ip.is_unspecified() => loopbacks.to_vec(),
        ListenAddress::Ip(IpAddr::V4(ip)) if ip.is_unspecified() => loopbacks[..1].to_vec(),
        ListenAddress::Ip(ip) => vec![ip],
    };
    let (scheme, port) = (listen.scheme, listen.port);
    ips.into_iter().map(move |ip| format!("{scheme}://{}{PATH}", std::net::SocketAddr::new(ip, port)))
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
    fn an_agent_that_is_not_there_is_told_with_what_to_do() {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        for scheme in ["http", "https"] {
            let told = ask(&format!("{scheme}://127.0.0.1:{port}/x"), TIMEOUT).unwrap_err();
            assert!(
                told.starts_with("cannot be connected to (") && told.contains("one of its Urls"),
                "{told}"
            );
        }
    }

    #[test]
    fn the_agent_is_asked_on_its_first_address() {
        for (urls, expected) in [
            (
                "http://*:6100",
                &["http://127.0.0.1:6100/health/readiness", "http://[::1]:6100/health/readiness"][..],
            ),
            ("http://0.0.0.0:1;http://*:2", &["http://127.0.0.1:1/health/readiness"]),
            ("http://[::]:1", &["http://127.0.0.1:1/health/readiness", "http://[::1]:1/health/readiness"]),
            ("http://192.0.2.1:1", &["http://192.0.2.1:1/health/readiness"]),
            (
                "http://localhost:1;http://*:2",
                &["http://127.0.0.1:1/health/readiness", "http://[::1]:1/health/readiness"],
            ),
            ("http://*:0", &[]),
            ("https://*:1", &["https://127.0.0.1:1/health/readiness", "https://[::1]:1/health/readiness"]),
            (
                "https://*:1;http://*:2",
                &["http://127.0.0.1:2/health/readiness", "http://[::1]:2/health/readiness"],
            ),
        ] {
            assert_eq!(own_urls(&parse(urls).unwrap().0), expected, "{urls}");
        }
    }

    /// What went wrong: a user in the URL was taken for the host, a fragment was sent, and `HTTP://` was refused.
    #[test]
    fn a_url_is_read_as_other_programs_read_it() {
        for (url, encrypted, authority, host, port, target) in [
            ("http://a:1/b?c", false, "a:1", "a", 1, "/b?c"),
            ("HTTPS://a/b", true, "a", "a", 443, "/b"),
            ("http://user:p@ss@[::1]:2/b#c", false, "[::1]:2", "[::1]", 2, "/b"),
            ("http://a/b@c", false, "a", "a", 80, "/b@c"),
        ] {
            let asked = Asked::parse(url).unwrap();
            assert_eq!((asked.encrypted, asked.authority, asked.host), (encrypted, authority, host), "{url}");
            assert_eq!((asked.port, asked.target), (port, target), "{url}");
        }
        for url in ["ftp://a", "a", "http://", "http://u@", "http://a b/", "http://a:x", "http://a:65536"] {
            assert!(Asked::parse(url).is_err(), "{url}");
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
