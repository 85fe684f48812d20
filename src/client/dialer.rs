//! Opens a connection by the settings: with or without TLS, directly or through a proxy.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::config::{AbsoluteUri, Dial, KeyPairFiles, ProxyChoice, SettingError};
use crate::tls::client::without_verification;
use crate::tls::explain;

use super::connect::{self, Resolver, authority, scheme_and_port};
use super::error::{DialError, Step};
use super::proxy::{Proxies, Proxy, ProxyEnvironment};
use super::stream::{Stream, limit_time};
use super::trust::{REDIS, TrustFiles, UPSTREAM};
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
    /// A dialer for these settings and the proxy variables of the environment.
    ///
    /// # Errors
    /// All errors in the proxies and in the files that the settings name.
    pub fn new(settings: Dial, environment: &ProxyEnvironment) -> Result<Self, Vec<SettingError>> {
        let proxies = Proxies::new(&settings.proxy, environment);
        let trust = TrustFiles::new(&settings, UPSTREAM);
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

    /// A warning if the client certificate has expired or is not valid yet, at this time in Unix seconds.
    pub fn warning(&self, now_s: i64) -> Option<String> {
        self.trust.warning(now_s)
    }

    /// The proxy through which a server is reached, for log lines.
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
        self.connect_until(uri, Instant::now() + self.settings.connect)
    }

    /// As [`Dialer::connect`], but ends at `deadline` if that is earlier.
    ///
    /// # Errors
    /// As [`Dialer::connect`].
    pub fn connect_before(&self, uri: &AbsoluteUri, deadline: Instant) -> Result<Stream, DialError> {
        self.connect_until(uri, deadline.min(Instant::now() + self.settings.connect))
    }

    fn connect_until(&self, uri: &AbsoluteUri, deadline: Instant) -> Result<Stream, DialError> {
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
                    .map_err(|error| tls_error(&target, error))?;
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

/// Opens connections to Redis: by the same means, without a proxy.
#[derive(Clone, Debug)]
pub struct RedisDialer {
    trust: Arc<TrustFiles>,
    resolver: Resolver,
}

impl RedisDialer {
    /// A dialer with these certificates.
    ///
    /// # Errors
    /// All errors in the files.
    pub fn new(
        ca_file: Option<PathBuf>,
        client_certificate: Option<KeyPairFiles>,
    ) -> Result<Self, Vec<SettingError>> {
        let settings =
            Dial { ca_file, client_certificate, proxy: ProxyChoice::Never, connect: Duration::ZERO };
        Ok(Self { trust: Arc::new(TrustFiles::new(&settings, REDIS)?), resolver: Resolver::default() })
    }

    /// Opens a connection before the deadline. With `tls_name` it is encrypted, and the server's certificate must be for
    /// that name.
    ///
    /// # Errors
    /// Which step failed, where, why, and what to do.
    pub fn connect(
        &self,
        host: &str,
        port: u16,
        tls_name: Option<&str>,
        deadline: Instant,
    ) -> Result<Stream, DialError> {
        let target = authority(host, port);
        let handshake =
            match tls_name {
                Some(name) => {
                    let configuration = self.trust.configuration().map_err(|(problem, remedy)| {
                        DialError { step: Step::Tls, peer: target.clone(), problem, remedy }
                    })?;
                    Some(begin_tls(name, &target, configuration)?)
                }
                None => None,
            };
        let addresses = self.resolver.resolve(host, port, deadline)?;
        let mut socket = connect::connect(&target, &addresses, deadline)?;
        let Some(mut connection) = handshake else { return Ok(Stream::plain(socket)) };
        tls_handshake(&mut connection, &mut socket, deadline).map_err(|error| DialError {
            remedy: error.remedy.replace(explain::SECTION, REDIS.section),
            ..tls_error(&target, error)
        })?;
        Ok(Stream::tls(connection, socket))
    }
}

/// Opens a connection without a proxy, and without verifying the certificate if there is TLS. Only for the agent's health
/// check of itself on this machine: nothing secret may be sent on it.
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
    let configuration = without_verification().map_err(|error| tls_not_started(&target, &error))?;
    let mut connection = begin_tls(host, &target, Arc::new(configuration))?;
    tls_handshake(&mut connection, &mut socket, deadline).map_err(|error| tls_error(&target, error))?;
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
        problem: "its host is not a name or address that a certificate can be for".into(),
        remedy: "Write the name as in DNS; a name that is not ASCII in its `xn--` form".into(),
    })?;
    ClientConnection::new(configuration, name).map_err(|error| tls_not_started(target, &error))
}

fn tls_not_started(target: &str, error: &rustls::Error) -> DialError {
    DialError {
        step: Step::Tls,
        peer: target.into(),
        problem: format!("TLS cannot be started ({error})"),
        remedy: String::new(),
    }
}

fn tls_error(target: &str, error: explain::Explained) -> DialError {
    DialError { step: Step::Tls, peer: target.into(), problem: error.problem, remedy: error.remedy.into() }
}

fn tls_handshake(
    connection: &mut ClientConnection,
    socket: &mut TcpStream,
    deadline: Instant,
) -> Result<(), explain::Explained> {
    use std::io::ErrorKind::{Interrupted, TimedOut, UnexpectedEof, WouldBlock};
    while connection.is_handshaking() || connection.wants_write() {
        let transferred = limit_time(socket, deadline).and_then(|()| {
            if connection.wants_write() { connection.write_tls(socket) } else { connection.read_tls(socket) }
        });
        let problem = match transferred {
            Ok(0) => "it closed the connection in the TLS handshake".into(),
            Ok(_) => {
                if let Err(error) = connection.process_new_packets() {
                    // Sends the TLS alert, if the server still reads.
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
