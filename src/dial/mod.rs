//! Connections that the agent opens: to the FeatBit server that it follows, to where usage events go.
//!
//! Must not know what is sent on them, nor wait for anything without a deadline. Nothing here shows a password.
//!
//! A [`Dialer`] is made once from the settings and the environment; both are judged then. It is cheap to clone and can
//! be used from any thread; [`Dialer::connect`] blocks for at most `Upstream__ConnectSeconds`, so a thread that has
//! something else to do lets another one call it:
//!
//! ```no_run
//! # use featbit_agent::config::{AbsoluteUri, Settings};
//! # use featbit_agent::dial::{Dialer, ProxyEnvironment};
//! # fn example(settings: &Settings, uri: &AbsoluteUri) -> Result<(), Box<dyn std::error::Error>> {
//! let environment = ProxyEnvironment::from_variables(std::env::vars_os());
//! let dialer = Dialer::new(settings.dial.clone(), &environment).map_err(|errors| errors[0].to_string())?;
//! let stream = dialer.connect(uri)?;
//! stream.set_nonblocking(true)?;
//! # Ok(())
//! # }
//! ```
//!
//! The [`Stream`] reads and writes like a socket, whatever lies between: hand it to a WebSocket client, or write an HTTP
//! request to it. `ws` and `http` are the same here, as are `wss` and `https`; the path is the caller's business.
//! Certificates, private authorities and keys are read again when their files change.

mod connect;
mod error;
mod proxy;
mod stream;
mod trust;
mod tunnel;

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::config::{AbsoluteUri, Dial, SettingError};
use crate::tls::explain;

use connect::Resolver;
use stream::limit_time;
use trust::TrustFiles;

pub use error::{DialError, Step};
pub use proxy::{Proxies, Proxy, ProxyEnvironment};
pub use stream::Stream;
pub use tunnel::parse_answer;

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
        let (encrypted, port) = way(uri);
        self.proxies.choose(encrypted, uri.host(), port)
    }

    /// Opens a connection to the host and port of `uri`, encrypted if its scheme is `wss` or `https`. Takes no longer
    /// than `Upstream__ConnectSeconds`.
    ///
    /// # Errors
    /// Which step failed, where, why, and what to do.
    pub fn connect(&self, uri: &AbsoluteUri) -> Result<Stream, DialError> {
        let deadline = Instant::now() + self.settings.connect;
        let (encrypted, port) = way(uri);
        let target = authority(uri.host(), port);
        let handshake = if encrypted { Some(self.begin_tls(uri.host(), &target)?) } else { None };
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
                shake_hands(&mut connection, &mut socket, deadline).map_err(|fault| DialError {
                    step: Step::Tls,
                    peer: target.clone(),
                    problem: fault.problem,
                    remedy: fault.remedy.into(),
                })?;
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

    fn begin_tls(&self, host: &str, target: &str) -> Result<ClientConnection, DialError> {
        let error = |problem: String, remedy: String| DialError {
            step: Step::Tls,
            peer: target.into(),
            problem,
            remedy,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            error(
                "its host is no name or address that a certificate could be for".into(),
                "Write the name as DNS knows it; one outside of ASCII in its `xn--` form".into(),
            )
        })?;
        let configuration = self.trust.configuration().map_err(|(problem, remedy)| error(problem, remedy))?;
        ClientConnection::new(configuration, name)
            .map_err(|fault| error(format!("TLS cannot be begun ({fault})"), String::new()))
    }
}

/// Whether the scheme means TLS, and the port.
fn way(uri: &AbsoluteUri) -> (bool, u16) {
    let encrypted = ["wss", "https"].iter().any(|scheme| scheme.eq_ignore_ascii_case(uri.scheme()));
    (encrypted, uri.port().unwrap_or(if encrypted { 443 } else { 80 }))
}

/// `host:port`, with brackets around an IPv6 address.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn shake_hands(
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
