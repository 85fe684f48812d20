//! Connects many streaming SDKs to a featbit-agent and to the *floor*, in turn, and prints the ratios of their costs.
//! The floor is a C program that sends prepared frames and does nothing else: what the kernel alone costs.
//!
//! Compare only ratios of one run: machines differ, and the load itself runs on the measured machine. Connections go
//! to 127.0.0.1 only, and their number and duration are bounded.
//!
//! ```text
//! cargo build --release --workspace
//! target/release/loadtest compare --connections 5000 --rounds 7        CPU, memory, times
//! target/release/loadtest compare --sdk client                         the same with client SDKs
//! target/release/loadtest counts --connections 1000                    system calls and instructions
//! target/release/loadtest tls --connections 5000 --rounds 5            the agent with and without TLS
//! target/release/loadtest follow --connections 1000                    an agent in agent mode, from its server to its SDKs
//! target/release/loadtest restart --flags 10000                        starts with a backup file
//! target/release/loadtest persist --connections 1000                   the same change with and without a backup file and Redis
//! target/release/loadtest cluster --connections 1000                   from a change at one agent to the SDKs of another
//! target/release/loadtest events --rounds 5                            usage events, in each mode
//! ```

mod cluster;
mod compare;
mod connection;
mod counts;
mod crowd;
mod data;
mod events;
mod follow;
mod meter;
mod persist;
mod process;
mod redis;
mod restart;
mod sides;
mod source;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use data::Sdk;
use redis::Redis;
use sides::Setup;

const USAGE: &str = "Measures a featbit-agent beside the floor, a server that only sends (see docs/performance.md).
usage: loadtest compare [--connections N] [--rounds N] [--sdk server|client] [--agent PATH] [--reactors N]
       loadtest tls|follow [--connections N] [--rounds N] [--agent PATH] [--reactors N]
       loadtest counts [--connections N] [--only system-calls|instructions] [--sdk server|client] [--agent PATH]
                       [--reactors N] [--keep FOLDER]
       loadtest restart [--flags N] [--rounds N] [--agent PATH] [--reactors N]
       loadtest persist [--connections N] [--rounds N] [--redis URL] [--agent PATH] [--reactors N]
       loadtest cluster [--connections N] [--changes N] [--agents N] [--redis URL] [--agent PATH] [--reactors N]
       loadtest events [--only throughput|outage|disk|fan-out|idle] [--connections N] [--clients N] [--rate N] [--rounds N]
                       [--spool-bytes N] [--agent PATH] [--reactors N]
persist and cluster start a redis-server of their own if there is no URL.";

/// The command line, after the command.
struct Options {
    connections: usize,
    rounds: usize,
    reactors: usize,
    sdk: Sdk,
    agent: PathBuf,
    only: Option<String>,
    /// The folder that callgrind's profiles are copied to.
    keep: Option<PathBuf>,
    flags: usize,
    /// Changes of a cluster, of each kind.
    changes: usize,
    /// Agents of a cluster.
    agents: usize,
    redis: Option<String>,
    /// Connections that make calls with usage events.
    clients: usize,
    /// Calls with usage events a second.
    rate: usize,
    /// The size of the spool that is filled.
    spool_bytes: usize,
}

impl Options {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<usize>().map_err(|_| format!("{name} needs a number, not `{value}`"));
        match (name, value) {
            ("--connections", _) => self.connections = number()?.clamp(1, 15_000),
            ("--rounds", _) => self.rounds = number()?.clamp(1, 100),
            ("--reactors", _) => self.reactors = number()?.clamp(1, 64),
            ("--sdk", "server") => self.sdk = Sdk::Server,
            ("--sdk", "client") => self.sdk = Sdk::Client,
            ("--sdk", _) => return Err(format!("{name} is server or client, not `{value}`")),
            (
                "--only",
                "system-calls" | "instructions" | "throughput" | "outage" | "disk" | "fan-out" | "idle",
            ) => {
                self.only = Some(value.to_owned());
            }
            ("--only", _) => return Err(format!("{name}: there is no part `{value}`")),
            ("--clients", _) => self.clients = number()?.clamp(1, 1000),
            ("--rate", _) => self.rate = number()?.clamp(1, 1_000_000),
            ("--spool-bytes", _) => self.spool_bytes = number()?.clamp(32 << 20, 8 << 30),
            ("--agent", _) => self.agent = value.into(),
            ("--flags", _) => self.flags = number()?.clamp(1, 100_000),
            ("--changes", _) => self.changes = number()?.clamp(1, 10_000),
            ("--agents", _) => self.agents = number()?.clamp(2, 8),
            ("--redis", _) => self.redis = Some(value.to_owned()),
            ("--keep", _) => self.keep = Some(value.into()),
            _ => return Err(format!("{name} is unknown")),
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let connections = match command.as_str() {
        "compare" | "tls" => 5000,
        "counts" | "follow" | "restart" | "persist" | "cluster" | "events" => 1000,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    let agent = sides::agent_beside();
    let mut options = Options {
        connections,
        rounds: 7,
        reactors: 1,
        sdk: Sdk::Server,
        agent,
        only: None,
        keep: None,
        flags: 10_000,
        changes: 500,
        agents: 3,
        redis: None,
        clients: 32,
        rate: 200,
        spool_bytes: 128 << 20,
    };
    while let Some(name) = arguments.next() {
        let outcome = match arguments.next() {
            Some(value) => options.set(&name, &value),
            None => Err(format!("{name} needs a value")),
        };
        if let Err(error) = outcome {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(64);
        }
    }
    match run(&command, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, options: &Options) -> std::io::Result<()> {
    let setup = Setup::new(options.agent.clone(), options.reactors, options.sdk)?;
    match command {
        "compare" => return compare::run(&setup, options.connections, options.rounds),
        "tls" => return tls::run(&setup, options.connections, options.rounds),
        "follow" => return follow::run(&setup, options.connections, options.rounds),
        "restart" => return restart::run(&setup, options.flags, options.rounds),
        "persist" => {
            let redis = Redis::open(options.redis.as_deref(), &setup.folder)?;
            return persist::run(&setup, redis.as_ref(), options.connections, options.rounds);
        }
        "events" => {
            let plan = events::Plan {
                sdks: options.connections,
                clients: options.clients,
                rounds: options.rounds,
                rate: options.rate as f64,
                spool_bytes: options.spool_bytes as u64,
            };
            return events::run(&setup, &plan, options.only.as_deref());
        }
        "cluster" => {
            let redis = Redis::open(options.redis.as_deref(), &setup.folder)?;
            let redis = redis.ok_or_else(|| std::io::Error::other("redis-server is not installed"))?;
            let changes = options.changes as u64;
            return cluster::run(&setup, &redis, options.connections, changes, options.agents);
        }
        _ => {}
    }
    counts::run(&setup, options.connections, options.only.as_deref())?;
    if let Some(folder) = &options.keep {
        std::fs::create_dir_all(folder)?;
        for file in std::fs::read_dir(&setup.folder)? {
            let file = file?;
            if file.file_name().to_string_lossy().starts_with("callgrind.") {
                std::fs::copy(file.path(), folder.join(file.file_name()))?;
            }
        }
    }
    Ok(())
}
