//! From the settings and an address to an open connection, encrypted or not, through a proxy or not.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::config::{AbsoluteUri, Dial, SettingError};
use crate::tls::client::without_verification;
use crate::tls::explain;

use super::connect::{self, Resolver, authority, scheme_and_port};
use super::error::{DialError, Step};
use super::proxy::{Proxies, Proxy, ProxyEnvironment};
use super::stream::{Stream, limit_time};
use super::trust::TrustFiles;
use super::tunnel;

/// Opens connections to servers.
#[derive(Clone, Debug)]
pub struct Dialer {
    settings: Arc<Dial>,
    proxies: Arc<Proxies>,
    trust: Arc<TrustFiles>,
    resolver: Resolver,
}

impl Dialer {
    /// A dialer for these settings.
    ///
    /// # Errors
    /// What is wrong with the files that the settings name, and with the proxies.
    pub fn new(settings: Dial, environment: &ProxyEnvironment) -> Result<Self, Vec<SettingError>> {
        let proxies = Proxies::new(&settings.proxy, environment);
        let trust = TrustFiles::new(&settings);
        match (proxies, trust) {
            (Ok(proxies), Ok(trust)) => Ok(Self {
                settings: Arc::new(settings),
                proxies: Arc::new(proxies),
                trust: Arc::new(trust),
                resolver: Resolver::default(),
            }),
            (proxies, trust) => Err([proxies.err(), trust.err()].into_iter().flatten().flatten().collect()),
        }
    }

    /// What is to be known of the client certificate that servers are shown, at this time in Unix seconds: that it has
    /// expired, or is not valid yet.
    pub fn warning(&self, now_s: i64) -> Option<String> {
        self.trust.warning(now_s)
    }

    /// The proxy through which a server is reached, to be named in a log line.
    pub fn proxy_of(&self, uri: &AbsoluteUri) -> Option<&Proxy> {
        let (encrypted, port) = scheme_and_port(uri);
        self.proxies.choose(encrypted, uri.host(), port)
    }

    /// Opens a connection to the host and port of `uri`, encrypted if its scheme is `wss` or `https`. Takes no longer
    /// than `Upstream__ConnectSeconds`.
    ///
    /// # Errors
    /// Which step failed, where, why, and what to do.
    pub fn connect(&self, uri: &AbsoluteUri) -> Result<Stream, DialError> {
        let deadline = Instant::now() + self.settings.connect;
        let (encrypted, port) = scheme_and_port(uri);
        let target = authority(uri.host(), port);
        let handshake =
            match encrypted {
                true => {
                    let configuration = self.trust.configuration().map_err(|(problem, remedy)| {
                        DialError { step: Step::Tls, peer: target.clone(), problem, remedy }
                    })?;
                    Some(begin_tls(uri.host(), &target, configuration)?)
                }
                false => None,
            };
        let mut socket = match self.proxies.choose(encrypted, uri.host(), port) {
            None => {
                let addresses = self.resolver.resolve(uri.host(), port, deadline)?;
                connect::connect(&target, &addresses, deadline)?
            }
            Some(proxy) => {
                let name = format!("the proxy {proxy}");
                let addresses = self
                    .resolver
                    .resolve(&proxy.host, proxy.port, deadline)
                    .map_err(|error| DialError { peer: name.clone(), ..error })?;
                let mut socket = connect::connect(&name, &addresses, deadline)?;
                tunnel::open(&mut socket, proxy, &target, deadline)?;
                socket
            }
        };
        let stream = match handshake {
            None => Stream::plain(socket),
            Some(mut connection) => {
                tls_handshake(&mut connection, &mut socket, deadline)
                    .map_err(|fault| tls_error(&target, fault))?;
                Stream::tls(connection, socket)
            }
        };
        let unlimited = stream.set_read_timeout(None).and_then(|()| stream.set_write_timeout(None));
        unlimited.map_err(|error| DialError {
            step: Step::Connect,
            peer: target,
            problem: format!("its socket cannot be set up ({error})"),
            remedy: String::new(),
        })?;
        Ok(stream)
    }
}

/// Opens a connection without a proxy, and without checking the certificate where there is TLS. For the agent itself, on
/// this machine: nothing secret may be sent on it.
///
/// # Errors
/// Which step failed, where, why, and what to do.
pub fn connect_unverified(
    host: &str,
    port: u16,
    encrypted: bool,
    deadline: Instant,
) -> Result<Stream, DialError> {
    let target = authority(host, port);
    let addresses = Resolver::default().resolve(host, port, deadline)?;
    let mut socket = connect::connect(&target, &addresses, deadline)?;
    if !encrypted {
        return Ok(Stream::plain(socket));
    }
    let configuration = without_verification().map_err(|error| not_begun(&target, &error))?;
    let mut connection = begin_tls(host, &target, Arc::new(configuration))?;
    tls_handshake(&mut connection, &mut socket, deadline).map_err(|fault| tls_error(&target, fault))?;
    Ok(Stream::tls(connection, socket))
}

fn begin_tls(
    host: &str,
    target: &str,
    configuration: Arc<ClientConfig>,
) -> Result<ClientConnection, DialError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError {
        step: Step::Tls,
        peer: target.into(),
        problem: "its host is no name or address that a certificate could be for".into(),
        remedy: "Write the name as DNS knows it; one outside of ASCII in its `xn--` form".into(),
    })?;
    ClientConnection::new(configuration, name).map_err(|error| not_begun(target, &error))
}

fn not_begun(target: &str, error: &rustls::Error) -> DialError {
    DialError {
        step: Step::Tls,
        peer: target.into(),
        problem: format!("TLS cannot be begun ({error})"),
        remedy: String::new(),
    }
}

fn tls_error(target: &str, fault: explain::Explained) -> DialError {
    DialError { step: Step::Tls, peer: target.into(), problem: fault.problem, remedy: fault.remedy.into() }
}

fn tls_handshake(
    connection: &mut ClientConnection,
    socket: &mut TcpStream,
    deadline: Instant,
) -> Result<(), explain::Explained> {
    use std::io::ErrorKind::{Interrupted, TimedOut, UnexpectedEof, WouldBlock};
    while connection.is_handshaking() || connection.wants_write() {
        let moved = limit_time(socket, deadline).and_then(|()| {
            if connection.wants_write() { connection.write_tls(socket) } else { connection.read_tls(socket) }
        });
        let problem = match moved {
            Ok(0) => "it closed the connection in the TLS handshake".into(),
            Ok(_) => {
                if let Err(error) = connection.process_new_packets() {
                    // Says why to the server, if it still listens.
                    let _ = connection.write_tls(socket);
                    return Err(explain::server_refused(&error));
                }
                continue;
            }
            Err(error) => match error.kind() {
                Interrupted => continue,
                WouldBlock | TimedOut => "it did not finish the TLS handshake in time".into(),
                UnexpectedEof => "it closed the connection in the TLS handshake".into(),
                _ => format!("the connection broke off in the TLS handshake ({error})"),
            },
        };
        let remedy = "Check the port, and the server's log";
        return Err(explain::Explained { problem, remedy });
    }
    Ok(())
}
