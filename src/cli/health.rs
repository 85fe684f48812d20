//! `featbit-agent health`: asks a running agent whether it is ready, for containers without curl.
//!
//! Must not ask through a proxy: the agent is on this machine. For that reason its certificate, which is for the name
//! that others know it by, is not checked; nothing secret is sent.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::exit;
use super::output::{Answer, complain, refuse};
use crate::config::{self, Inputs, Listen, ListenAddress, Scheme};
use crate::tls::client;

/// How long the whole call may take. Container health checks give up soon after.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

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

fn ask(url: &str, timeout: Duration) -> Result<(u16, String), String> {
    match url.strip_prefix("https://") {
        Some(rest) => ask_by_tls(rest, timeout),
        None => ask_plainly(url, timeout).map_err(|error| match error {
            ureq::Error::Io(error) => failed(&error, timeout),
            ureq::Error::Timeout(_) => failed(&io::ErrorKind::TimedOut.into(), timeout),
            other => other.to_string(),
        }),
    }
}

/// Why there is no answer, and what to do.
fn failed(error: &io::Error, timeout: Duration) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "cannot be connected to ({error}). Check that the agent runs, and that this is one of its Urls; --url \
             names another"
        ),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer within {} s", timeout.as_secs_f32())
        }
        _ => error.to_string(),
    }
}

fn ask_by_tls(rest: &str, timeout: Duration) -> Result<(u16, String), String> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let has_port = authority.rfind(':').is_some_and(|colon| colon > authority.rfind(']').unwrap_or(0));
    let address = if has_port { authority.to_string() } else { format!("{authority}:443") };
    let host = address.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']).to_string();
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let exchange = || -> io::Result<Vec<u8>> {
        let configuration = client::without_verification().map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(configuration), name).map_err(io::Error::other)?;
        let socket = connect(&address, timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        let mut stream = StreamOwned::new(connection, socket);
        let head = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| failed(&error, timeout))?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(&answer) {
        Ok(httparse::Status::Complete(length)) => {
            Ok((head.code.unwrap_or(0), one_line(&String::from_utf8_lossy(&answer[length..]))))
        }
        _ => Err("the answer is not HTTP".into()),
    }
}

/// Connects to the first address of a name, `localhost` say, at which somebody answers.
fn connect(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::ErrorKind::NotFound.into();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn ask_plainly(url: &str, timeout: Duration) -> Result<(u16, String), ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .new_agent();
    let mut response = agent.get(url).call()?;
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true).read_to_string()?;
    Ok((response.status().as_u16(), one_line(&body)))
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
