//! What TLS costs: the agent with and without it in turn, round by round.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

use crate::compare::{Options, free_port, spread, upgrade_request};
use crate::crowd::Crowd;
use crate::data;
use crate::process::{Server, request};

/// What one side took in one round.
#[derive(Clone, Copy)]
struct Figures {
    connect_cpu_us: f64,
    resume_cpu_us: f64,
    pss_bytes: f64,
    broadcast_cpu_ms: f64,
    ping_cpu_us: f64,
}

/// What a row is called, and where its figure is.
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

/// Runs all rounds and prints medians and spreads.
pub fn run(options: &Options) -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("featbit-loadtest-tls-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = rounds(options, &folder);
    fs::remove_dir_all(&folder)?;
    let pairs = result?;
    println!("{} connections, {} rounds: median (min .. max)", options.connections, options.rounds);
    for (name, figure) in ROWS {
        let tls = spread(pairs.iter().map(|(tls, _)| figure(tls)));
        let plain = spread(pairs.iter().map(|(_, plain)| figure(plain)));
        let more = spread(pairs.iter().map(|(tls, plain)| figure(tls) - figure(plain)));
        println!("{name:45} TLS {tls:32} without {plain:30} more {more}");
    }
    Ok(())
}

fn rounds(options: &Options, folder: &Path) -> io::Result<Vec<(Figures, Figures)>> {
    fs::write(folder.join("dump.json"), data::dump(0))?;
    let roots = certificate(folder)?;
    let mut pairs = Vec::new();
    for round in 0..options.rounds {
        // Who goes first changes, so that neither side always finds the machine as the other left it.
        let pair = if round % 2 == 0 {
            let tls = of_agent(options, folder, Some(&roots))?;
            (tls, of_agent(options, folder, None)?)
        } else {
            let plain = of_agent(options, folder, None)?;
            (of_agent(options, folder, Some(&roots))?, plain)
        };
        pairs.push(pair);
    }
    Ok(pairs)
}

/// Makes a certificate on P-256 as `cert.pem` and `key.pem`. Returns whom one has to trust for it.
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

fn of_agent(options: &Options, folder: &Path, roots: Option<&RootCertStore>) -> io::Result<Figures> {
    let (port, admin) = (free_port()?, free_port()?);
    let scheme = if roots.is_some() { "https" } else { "http" };
    let mut command = Command::new(&options.agent);
    command.env_clear().args(["--mode", "offline", "--data-file"]).arg(folder.join("dump.json"));
    let urls = format!("{scheme}://127.0.0.1:{port};http://127.0.0.1:{admin}");
    command.args(["--api-key", "load", "--urls", &urls, "--logging-level", "error"]);
    command.args(["--reactors", &options.reactors.to_string()]);
    if roots.is_some() {
        command.arg("--tls-certificate-file").arg(folder.join("cert.pem"));
        command.arg("--tls-key-file").arg(folder.join("key.pem"));
    }
    let server = Server::start(&mut command, admin)?;
    let anew = roots.map(|roots| client(roots, Resumption::disabled())).transpose()?;
    let by_ticket = roots.map(|roots| client(roots, Resumption::default())).transpose()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let count = options.connections as f64;
    // A small crowd first: what is made once must not count for the first connections, and tickets are wanted later.
    Crowd::with_tls(by_ticket.clone())?.connect(address, 50, upgrade_request)?;
    let mut crowd = Crowd::with_tls(anew)?;
    let (cpu, pss) = (server.cpu_ns()?, server.pss_bytes()?);
    crowd.connect(address, options.connections, upgrade_request)?;
    let connect_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    let pss_bytes = (server.pss_bytes()? as f64 - pss as f64).max(1.0) / count;
    let mut broadcasts = Vec::new();
    for number in 1..=BROADCASTS {
        let cpu = server.cpu_ns()?;
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let changer = scope.spawn(|| change(admin, number));
            crowd.wait_for_one_more(begun)?;
            changer.join().map_err(|_| io::Error::other("the change panicked"))?
        })?;
        broadcasts.push((server.cpu_ns()? - cpu) as f64 / 1e6);
    }
    broadcasts.sort_by(f64::total_cmp);
    let cpu = server.cpu_ns()?;
    crowd.ping()?;
    let ping_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    drop(crowd);
    let mut crowd = Crowd::with_tls(by_ticket)?;
    let cpu = server.cpu_ns()?;
    crowd.connect(address, options.connections, upgrade_request)?;
    let resume_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    let broadcast_cpu_ms = broadcasts[broadcasts.len() / 2];
    Ok(Figures { connect_cpu_us, resume_cpu_us, pss_bytes, broadcast_cpu_ms, ping_cpu_us })
}

fn change(admin: u16, number: u64) -> io::Result<()> {
    let body = data::dump(number);
    let head = format!(
        "POST /api/public/proxy/bootstrap HTTP/1.1\r\nHost: x\r\nAuthorization: load\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    request(admin, &head, &body)
}
