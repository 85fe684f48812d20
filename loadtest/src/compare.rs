//! The comparison: agent and floor in turn, round by round, and the ratios of each round.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use featbit_agent::protocol::token;

use crate::crowd::Crowd;
use crate::data;
use crate::process::{Server, build_floor, request};

/// What to do.
pub struct Options {
    /// Connections of SDKs.
    pub connections: usize,
    /// How often everything is done.
    pub rounds: usize,
    /// The agent's reactors.
    pub reactors: usize,
    /// The agent's binary.
    pub agent: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("featbit-agent")));
        Self {
            connections: 5000,
            rounds: 7,
            reactors: 1,
            agent: beside.unwrap_or_else(|| "featbit-agent".into()),
        }
    }
}

impl Options {
    /// Sets one option by its name on the command line.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<usize>().map_err(|_| format!("{name} needs a number, not `{value}`"));
        match name {
            "--connections" => self.connections = number()?.clamp(1, 15_000),
            "--rounds" => self.rounds = number()?.clamp(1, 100),
            "--reactors" => self.reactors = number()?.clamp(1, 64),
            "--agent" => self.agent = value.into(),
            _ => return Err(format!("{name} is unknown")),
        }
        Ok(())
    }
}

/// What one side took in one round.
#[derive(Clone, Copy)]
struct Figures {
    connect_cpu_us: f64,
    connect_wall_ms: f64,
    pss_bytes: f64,
    broadcast_cpu_ms: f64,
    broadcast_p50_ms: f64,
    broadcast_p99_ms: f64,
    ping_cpu_us: f64,
}

/// What a row is called, and where its figure is.
type Row = (&'static str, fn(&Figures) -> f64);

const ROWS: [Row; 7] = [
    ("connect + full sync, CPU µs a connection", |f| f.connect_cpu_us),
    ("connect + full sync, wall ms", |f| f.connect_wall_ms),
    ("memory a connection, bytes (PSS growth)", |f| f.pss_bytes),
    ("broadcast, CPU ms", |f| f.broadcast_cpu_ms),
    ("broadcast, ms to half of the connections", |f| f.broadcast_p50_ms),
    ("broadcast, ms to 99 % of the connections", |f| f.broadcast_p99_ms),
    ("ping, CPU µs", |f| f.ping_cpu_us),
];

/// Runs all rounds and prints medians and spreads.
pub fn run(options: &Options) -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("featbit-loadtest-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = rounds(options, &folder);
    fs::remove_dir_all(&folder)?;
    let pairs = result?;
    println!("{} connections, {} rounds: median (min .. max)", options.connections, options.rounds);
    for (name, figure) in ROWS {
        let agent = spread(pairs.iter().map(|(agent, _)| figure(agent)));
        let floor = spread(pairs.iter().map(|(_, floor)| figure(floor)));
        let ratio = spread(pairs.iter().map(|(agent, floor)| figure(agent) / figure(floor)));
        println!("{name:45} agent {agent:30} floor {floor:30} ratio {ratio}");
    }
    Ok(())
}

/// The median of `values`, and the smallest and the largest.
pub fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2} .. {:.2})", values[values.len() / 2], values[0], values[values.len() - 1])
}

fn rounds(options: &Options, folder: &Path) -> io::Result<Vec<(Figures, Figures)>> {
    let floor = build_floor(folder)?;
    let (full, patch) = data::floor_messages();
    fs::write(folder.join("full.json"), full)?;
    fs::write(folder.join("patch.json"), patch)?;
    let mut pairs = Vec::new();
    for round in 0..options.rounds {
        // Who goes first changes, so that neither side always finds the machine as the other left it.
        let pair = if round % 2 == 0 {
            let agent = of_agent(options, folder)?;
            (agent, of_floor(options, folder, &floor)?)
        } else {
            let floor = of_floor(options, folder, &floor)?;
            (of_agent(options, folder)?, floor)
        };
        pairs.push(pair);
    }
    Ok(pairs)
}

/// A port that nobody listens on.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn of_floor(options: &Options, folder: &Path, binary: &Path) -> io::Result<Figures> {
    let (port, admin) = (free_port()?, free_port()?);
    let mut command = Command::new(binary);
    command
        .args([port.to_string(), admin.to_string()])
        .arg(folder.join("full.json"))
        .arg(folder.join("patch.json"));
    let server = Server::start(&mut command, port)?;
    measure(options, &server, port, |_| request(admin, "POST /bump HTTP/1.1\r\nHost: x\r\n\r\n", b""))
}

fn of_agent(options: &Options, folder: &Path) -> io::Result<Figures> {
    let port = free_port()?;
    let dump = folder.join("dump.json");
    fs::write(&dump, data::dump(0))?;
    let mut command = Command::new(&options.agent);
    command.env_clear().arg("--mode").arg("offline").arg("--data-file").arg(&dump);
    command.args(["--api-key", "load", "--urls", &format!("http://127.0.0.1:{port}")]);
    command.args(["--reactors", &options.reactors.to_string(), "--logging-level", "error"]);
    let server = Server::start(&mut command, port)?;
    measure(options, &server, port, |change| {
        let body = data::dump(change);
        let head = format!(
            "POST /api/public/proxy/bootstrap HTTP/1.1\r\nHost: x\r\nAuthorization: load\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        request(port, &head, &body)
    })
}

/// The request of a server SDK.
pub fn upgrade_request() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let token = token::encode(&data::secret(), now as i64, 20);
    format!(
        "GET /streaming?type=server&token={token} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn measure(
    options: &Options,
    server: &Server,
    port: u16,
    change: impl Fn(u64) -> io::Result<()> + Sync,
) -> io::Result<Figures> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let count = options.connections as f64;
    // A small crowd first: what is made once must not count for the first connections.
    Crowd::new()?.connect(address, 50, upgrade_request)?;
    let mut crowd = Crowd::new()?;
    let (cpu, pss) = (server.cpu_ns()?, server.pss_bytes()?);
    let connected = crowd.connect(address, options.connections, upgrade_request)?;
    let connect_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    let pss_bytes = (server.pss_bytes()? as f64 - pss as f64).max(1.0) / count;
    let mut broadcasts = Vec::new();
    for number in 1..=5 {
        let cpu = server.cpu_ns()?;
        let begun = Instant::now();
        let times = std::thread::scope(|scope| {
            let changer = scope.spawn(|| change(number));
            let times = crowd.wait_for_one_more(begun);
            changer.join().map_err(|_| io::Error::other("the change panicked"))??;
            times
        })?;
        broadcasts.push(((server.cpu_ns()? - cpu) as f64 / 1e6, times));
    }
    broadcasts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (broadcast_cpu_ms, times) = &broadcasts[broadcasts.len() / 2];
    let at = |share: f64| ms(times[((times.len() - 1) as f64 * share) as usize]);
    let cpu = server.cpu_ns()?;
    crowd.ping()?;
    let ping_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    Ok(Figures {
        connect_cpu_us,
        connect_wall_ms: ms(connected),
        pss_bytes,
        broadcast_cpu_ms: *broadcast_cpu_ms,
        broadcast_p50_ms: at(0.5),
        broadcast_p99_ms: at(0.99),
        ping_cpu_us,
    })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
