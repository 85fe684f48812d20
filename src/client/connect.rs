//! Looks a host name up and opens a TCP connection, within a deadline.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::bounded;

use crate::config::AbsoluteUri;

use super::error::{DialError, Step};

/// How many look-ups may wait for the system's resolver at a time. A look-up cannot be cancelled, only abandoned.
const LOOKUPS_MAX: usize = 4;
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 16;
/// Each address gets at least this time, even if the deadline has passed.
const ATTEMPT_MIN: Duration = Duration::from_millis(10);

/// Looks names up on separate threads, so that a resolver that does not answer blocks nobody beyond the deadline.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver {
    under_way: Arc<AtomicUsize>,
}

impl Resolver {
    pub fn resolve(&self, host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, DialError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let error = |problem: String, remedy: &str| DialError {
            step: Step::Resolve,
            peer: authority(host, port),
            problem,
            remedy: remedy.into(),
        };
        const NAME_SERVER: &str = "Check the name servers of this machine (/etc/resolv.conf)";
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= LOOKUPS_MAX {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            let problem = format!("{LOOKUPS_MAX} look-ups of names are still waiting for an answer");
            return Err(error(problem, NAME_SERVER));
        }
        let (found, receive) = bounded(1);
        let (name, under_way) = (host.to_owned(), self.under_way.clone());
        let started = std::thread::Builder::new().name("resolve".into()).spawn(move || {
            let addresses = (name.as_str(), port).to_socket_addrs();
            under_way.fetch_sub(1, Ordering::Relaxed);
            // Fails if the caller's deadline has passed: then the result is dropped.
            let _ = found.send(addresses.map(|addresses| addresses.take(ADDRESSES_MAX).collect::<Vec<_>>()));
        });
        if let Err(cause) = started {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            return Err(error(format!("no thread could be started to look its name up ({cause})"), ""));
        }
        match receive.recv_deadline(deadline) {
            Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            Ok(Ok(_)) => Err(error("its name has no address".into(), "Check the host name")),
            Ok(Err(cause)) => Err(error(
                format!("its name cannot be looked up ({cause})"),
                "Check the host name, and the name servers of this machine",
            )),
            Err(_) => Err(error("its name was not looked up in time".into(), NAME_SERVER)),
        }
    }
}

/// Whether the scheme means TLS, and the port: the URI's own, or the default of the scheme.
pub(super) fn scheme_and_port(uri: &AbsoluteUri) -> (bool, u16) {
    let encrypted = ["wss", "https"].iter().any(|scheme| scheme.eq_ignore_ascii_case(uri.scheme()));
    (encrypted, uri.port().unwrap_or(if encrypted { 443 } else { 80 }))
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Tries the addresses in turn, and returns the first connection. Each address gets an equal share of the remaining time.
pub(super) fn connect(
    peer: &str,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, DialError> {
    let mut failures: Vec<String> = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        match TcpStream::connect_timeout(address, share.max(ATTEMPT_MIN)) {
            Ok(stream) => match stream.set_nodelay(true) {
                Ok(()) => return Ok(stream),
                Err(error) => failures.push(format!("{address}: {error}")),
            },
            Err(error) => failures.push(format!("{address}: {error}")),
        }
    }
    Err(DialError {
        step: Step::Connect,
        peer: peer.into(),
        problem: format!("cannot be connected to ({})", failures.join("; ")),
        remedy: "Check that it runs, its address and port, and the firewalls in between".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn addresses_need_no_resolver_and_names_are_looked_up() {
        let resolver = Resolver::default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        assert_eq!(resolver.resolve("127.0.0.1", 1, Instant::now()).unwrap(), [address]);
        assert!(
            resolver.resolve("localhost", 1, soon()).unwrap().iter().all(|found| found.ip().is_loopback())
        );
        let error = resolver.resolve("no such name", 1, soon()).unwrap_err();
        assert_eq!(error.step, Step::Resolve);
        assert!(error.to_string().starts_with("no such name:1: its name cannot be looked up"), "{error}");
        assert_eq!(resolver.under_way.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn look_ups_that_hang_are_limited_in_number() {
        let resolver = Resolver::default();
        resolver.under_way.store(LOOKUPS_MAX, Ordering::Relaxed);
        let error = resolver.resolve("localhost", 1, soon()).unwrap_err();
        assert!(error.problem.contains("still waiting"), "{error}");
        assert_eq!(resolver.under_way.load(Ordering::Relaxed), LOOKUPS_MAX);
        // Addresses work all the same.
        assert!(resolver.resolve("::1", 1, soon()).is_ok());
    }

    #[test]
    fn every_address_is_tried_and_the_error_lists_all_failures() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let open = listener.local_addr().unwrap();
        let closed: Vec<SocketAddr> = (0..2)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .map(|listener| listener.local_addr().unwrap())
            .collect();
        let stream = connect("els", &[closed[0], open], soon()).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(stream.nodelay().unwrap());
        let error = connect("els:1", &closed, soon()).unwrap_err();
        assert_eq!(error.step, Step::Connect);
        assert!(closed.iter().all(|address| error.problem.contains(&address.to_string())), "{error}");
    }
}
