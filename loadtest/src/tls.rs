//! What TLS costs: the agent with and without it in turn, round by round.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup, RootCertStore};

use crate::compare::{broadcast, spread};
use crate::crowd::Crowd;
use crate::data::Sdk;
use crate::sides::{Setup, Side};

/// What one side took in one round.
#[derive(Clone, Copy)]
struct Figures {
    connect_cpu_us: f64,
    resume_cpu_us: f64,
    pss_bytes: f64,
    broadcast_cpu_ms: f64,
    ping_cpu_us: f64,
}

/// The name of a row, and its figure.
type Row = (&'static str, fn(&Figures) -> f64);

const ROWS: [Row; 5] = [
    ("connect + full sync, CPU µs a connection", |f| f.connect_cpu_us),
    ("the same by a ticket of an earlier one", |f| f.resume_cpu_us),
    ("memory a connection, bytes (PSS growth)", |f| f.pss_bytes),
    ("broadcast, CPU ms", |f| f.broadcast_cpu_ms),
    ("ping, CPU µs", |f| f.ping_cpu_us),
];

/// Broadcasts in a round; the median of them counts.
const BROADCASTS: u64 = 5;

/// Connections of the first, small crowd. Each brings two tickets: together more than connections are opened at a time.
const FIRST: usize = 200;

/// The tickets of all connections. rustls' own store keeps only eight.
#[derive(Debug, Default)]
struct Tickets(Mutex<VecDeque<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(ticket);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Runs all rounds and prints medians and spreads.
pub fn run(setup: &Setup, connections: usize, rounds: usize) -> io::Result<()> {
    let roots = certificate(&setup.folder)?;
    let mut pairs = Vec::new();
    for round in 0..rounds {
        let with = || measure(&setup.agent_with_tls()?, connections, Some(&roots));
        let without = || measure(&setup.agent(&[])?, connections, None);
        // The sides take turns in going first, so that neither always runs on a machine that the other has warmed up.
        let pair = if round % 2 == 0 {
            let tls = with()?;
            (tls, without()?)
        } else {
            let plain = without()?;
            (with()?, plain)
        };
        pairs.push(pair);
    }
    println!("{connections} connections, {rounds} rounds: median (min .. max)");
    for (name, figure) in ROWS {
        let tls = spread(pairs.iter().map(|(tls, _)| figure(tls)));
        let plain = spread(pairs.iter().map(|(_, plain)| figure(plain)));
        let more = spread(pairs.iter().map(|(tls, plain)| figure(tls) - figure(plain)));
        println!("{name:45} TLS {tls:32} without {plain:30} more {more}");
    }
    Ok(())
}

/// Writes a P-256 certificate as `cert.pem` and `key.pem`. Returns the roots that a client needs to trust it.
fn certificate(folder: &Path) -> io::Result<RootCertStore> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).map_err(io::Error::other)?;
    fs::write(folder.join("cert.pem"), made.cert.pem())?;
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).map_err(io::Error::other)?;
    Ok(roots)
}

fn client(roots: &RootCertStore, resumption: Resumption) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut configuration = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    configuration.resumption = resumption;
    Ok(Arc::new(configuration))
}

fn measure(side: &Side, connections: usize, roots: Option<&RootCertStore>) -> io::Result<Figures> {
    let Side { server, address, .. } = side;
    let anew = roots.map(|roots| client(roots, Resumption::disabled())).transpose()?;
    let tickets = || Resumption::store(Arc::new(Tickets::default()));
    let by_ticket = roots.map(|roots| client(roots, tickets())).transpose()?;
    let count = connections as f64;
    // A small crowd first, so that one-time costs do not count for the measured connections. It also brings the tickets.
    Crowd::with_tls(by_ticket.clone())?.connect(*address, FIRST, Sdk::Server)?;
    let mut crowd = Crowd::with_tls(anew)?;
    let (cpu, pss) = (server.cpu_ns()?, server.pss_bytes()?);
    crowd.connect(*address, connections, Sdk::Server)?;
    let connect_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    let pss_bytes = (server.pss_bytes()? as f64 - pss as f64).max(1.0) / count;
    let mut broadcasts = Vec::new();
    for number in 1..=BROADCASTS {
        let cpu = server.cpu_ns()?;
        broadcast(side, &mut crowd, number)?;
        broadcasts.push((server.cpu_ns()? - cpu) as f64 / 1e6);
    }
    broadcasts.sort_by(f64::total_cmp);
    let cpu = server.cpu_ns()?;
    crowd.ping()?;
    let ping_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    drop(crowd);
    let mut crowd = Crowd::with_tls(by_ticket)?;
    let before = resumed(side)?;
    let cpu = server.cpu_ns()?;
    crowd.connect(*address, connections, Sdk::Server)?;
    let resume_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    if roots.is_some() && resumed(side)? - before < 0.9 * count {
        return Err(io::Error::other("too few connections were resumed to say what that costs"));
    }
    let broadcast_cpu_ms = broadcasts[broadcasts.len() / 2];
    Ok(Figures { connect_cpu_us, resume_cpu_us, pss_bytes, broadcast_cpu_ms, ping_cpu_us })
}

/// How many handshakes the agent has resumed.
fn resumed(side: &Side) -> io::Result<f64> {
    let page = side.metrics()?;
    let start = "featbit_agent_tls_handshakes_total{kind=\"resumed\"} ";
    let count = page.lines().find_map(|line| line.strip_prefix(start));
    Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0.0))
}
