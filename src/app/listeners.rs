//! Opens the agent's ports: for every address one socket per reactor, all on the same port.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::config::{Listen, ListenAddress, Scheme, Settings};
use crate::net::listener::{ListenerOptions, listen};
use crate::serve::ListenerRole;

use super::error::StartError;

/// The sockets of all reactors.
#[derive(Debug)]
pub struct Listening {
    ports: Vec<(SocketAddr, ListenerUse)>,
    /// The sockets of each reactor. [`Listening::take`] moves them out, so that no copy stays open when a reactor closes
    /// its sockets.
    sockets: Vec<Vec<(TcpListener, ListenerUse)>>,
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug)]
pub struct ListenerUse {
    /// Data or metrics.
    pub role: ListenerRole,
    /// The index of its certificate in the settings; `None` means without TLS.
    pub certificate: Option<usize>,
}

impl Listening {
    /// Opens every address that the settings name. Port 0 takes any free port, the same for all reactors.
    pub fn open(settings: &Settings, reactors: usize) -> Result<Self, StartError> {
        let options = ListenerOptions {
            backlog: i32::try_from(settings.backlog).unwrap_or(i32::MAX),
            send_buffer_bytes: settings.limits.send_buffer_bytes,
        };
        let data = settings.listen.iter().map(|listen| (listen, ListenerRole::Data, reactors));
        // Metrics are requested rarely: one reactor is enough.
        let metrics = settings.metrics.iter().flatten().map(|listen| (listen, ListenerRole::Metrics, 1));
        let mut all = Self { ports: Vec::new(), sockets: (0..reactors).map(|_| Vec::new()).collect() };
        let mut skipped = None;
        for (wanted, role, reactors) in data.chain(metrics) {
            match open_one(wanted, reactors, options) {
                Ok((address, sockets)) => {
                    let place = ListenerUse { role, certificate: certificate_of(wanted) };
                    all.ports.push((address, place));
                    for (own, socket) in all.sockets.iter_mut().zip(sockets) {
                        own.push((socket, place));
                    }
                }
                Err(error) if wanted.optional && is_absent(&error) => skipped = Some((wanted, error)),
                Err(error) => return Err(failed(wanted, error)),
            }
        }
        match skipped {
            Some((wanted, error)) if !all.ports.iter().any(|(_, place)| place.role == ListenerRole::Data) => {
                Err(failed(wanted, error))
            }
            _ => Ok(all),
        }
    }

    /// The sockets of one reactor, and what each is for.
    pub fn take(&mut self, reactor: usize) -> (Vec<TcpListener>, Vec<ListenerUse>) {
        self.sockets.get_mut(reactor).map(std::mem::take).unwrap_or_default().into_iter().unzip()
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (address, place)) in self.ports.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let only = if place.role == ListenerRole::Metrics { " (metrics)" } else { "" };
            let scheme = if place.certificate.is_some() { "https" } else { "http" };
            write!(f, "{comma}{scheme}://{address}{only}")?;
        }
        Ok(())
    }
}

fn certificate_of(wanted: &Listen) -> Option<usize> {
    match wanted.scheme {
        Scheme::Http => None,
        Scheme::Https { certificate } => Some(certificate),
    }
}

/// Whether an address cannot be listened on because this machine does not have it.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

fn failed(wanted: &Listen, error: io::Error) -> StartError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (another program uses the port; stop it, or choose another port in Urls)"
        }
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need the capability CAP_NET_BIND_SERVICE; or choose another port in Urls)"
        }
        _ => "",
    };
    StartError::new(format!("{wanted} cannot be listened on{hint}"), error)
}

fn open_one(
    wanted: &Listen,
    reactors: usize,
    options: ListenerOptions,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    match wanted.address {
        // On a machine without IPv6 both mean all IPv4 addresses.
        ListenAddress::Wildcard | ListenAddress::Ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => {
            match open_all(Ipv6Addr::UNSPECIFIED.into(), wanted.port, reactors, options) {
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                    open_all(Ipv4Addr::UNSPECIFIED.into(), wanted.port, reactors, options)
                }
                other => other,
            }
        }
        ListenAddress::Ip(ip) => open_all(ip, wanted.port, reactors, options),
    }
}

fn open_all(
    ip: IpAddr,
    port: u16,
    reactors: usize,
    options: ListenerOptions,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    refuse_shared_port(ip, port)?;
    let first = listen(SocketAddr::new(ip, port), options)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..reactors {
        sockets.push(listen(address, options)?);
    }
    Ok((address, sockets))
}

/// With `SO_REUSEPORT` a second agent could start on the same port, and each would get half of the connections. So the
/// port is first bound without it.
fn refuse_shared_port(ip: IpAddr, port: u16) -> io::Result<()> {
    if port != 0 {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(SocketAddr::new(ip, port)),
            socket2::Type::STREAM,
            None,
        )?;
        if ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(ip, port).into())?;
    }
    Ok(())
}
