//! The two sides: a featbit-agent and the floor, started for the same load.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::data::{self, Sdk};
use crate::process::{Server, build_floor, free_port, request};

/// How long an agent may take until it is ready.
const READY: Duration = Duration::from_secs(60);

/// The ApiKey of all agents.
const KEY: &str = "rp-load";

/// How both sides are started.
pub struct Setup {
    /// The folder for the files of both sides.
    pub folder: PathBuf,
    /// The agent's binary.
    pub agent: PathBuf,
    /// The agent's reactors; the floor has one thread.
    pub reactors: usize,
    /// The kind of SDK that connects.
    pub sdk: Sdk,
    floor: PathBuf,
}

/// What an agent keeps its data in, besides its memory.
#[derive(Clone, Default)]
pub struct Keeping {
    /// A backup file.
    pub backup: Option<PathBuf>,
    /// A Redis: its URL, and the prefix of its keys.
    pub redis: Option<(String, String)>,
}

/// A server that is running.
pub struct Side {
    /// Its process.
    pub server: Server,
    /// Where SDKs connect.
    pub address: SocketAddr,
    /// The port on which changes are requested.
    admin: u16,
    is_agent: bool,
}

/// The agent beside this program.
pub fn agent_beside() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("featbit-agent")));
    beside.unwrap_or_else(|| "featbit-agent".into())
}

impl Setup {
    /// Makes a folder and compiles the floor into it.
    pub fn new(agent: PathBuf, reactors: usize, sdk: Sdk) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("featbit-loadtest-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (full, patch) = data::floor_messages();
        fs::write(folder.join("full.json"), full)?;
        fs::write(folder.join("patch.json"), patch)?;
        let floor = build_floor(&folder)?;
        let setup = Self { folder, agent, reactors, sdk, floor };
        if sdk == Sdk::Client {
            // The floor has to send what the agent evaluates for a user.
            let full = setup.agent(&[])?.full_of_a_client()?;
            fs::write(setup.folder.join("full.json"), full)?;
        }
        Ok(setup)
    }

    /// Starts the floor, under `wrapper` if that is not empty.
    pub fn floor(&self, wrapper: &[&str]) -> io::Result<Side> {
        let (port, admin) = (free_port()?, free_port()?);
        let mut command = wrapped(wrapper, &self.floor);
        command.args([port.to_string(), admin.to_string()]);
        command.args([self.folder.join("full.json"), self.folder.join("patch.json")]);
        Side::start(&mut command, port, admin, false)
    }

    /// Starts the agent, under `wrapper` if that is not empty.
    pub fn agent(&self, wrapper: &[&str]) -> io::Result<Side> {
        self.agent_with(wrapper, &[])
    }

    /// The same with more options.
    pub fn agent_with(&self, wrapper: &[&str], more: &[String]) -> io::Result<Side> {
        let port = free_port()?;
        let dump = self.folder.join("dump.json");
        fs::write(&dump, data::dump(0))?;
        let mut command = wrapped(wrapper, &self.agent);
        command.env_clear().arg("--mode").arg("offline").arg("--data-file").arg(&dump);
        command.args(["--api-key", KEY, "--urls", &format!("http://127.0.0.1:{port}")]);
        command.args(["--reactors", &self.reactors.to_string(), "--logging-level", "error"]).args(more);
        Side::start(&mut command, port, port, true)
    }

    /// Starts the agent with TLS for SDKs, by `cert.pem` and `key.pem` in the folder.
    pub fn agent_with_tls(&self) -> io::Result<Side> {
        let (port, admin) = (free_port()?, free_port()?);
        let dump = self.folder.join("dump.json");
        fs::write(&dump, data::dump(0))?;
        let mut command = Command::new(&self.agent);
        command.env_clear().arg("--mode").arg("offline").arg("--data-file").arg(&dump);
        let urls = format!("https://127.0.0.1:{port};http://127.0.0.1:{admin}");
        command.args(["--api-key", KEY, "--urls", &urls, "--logging-level", "error"]);
        command.args(["--reactors", &self.reactors.to_string()]);
        command.arg("--tls-certificate-file").arg(self.folder.join("cert.pem"));
        command.arg("--tls-key-file").arg(self.folder.join("key.pem"));
        Side::start(&mut command, port, admin, true)
    }

    /// Starts the agent with nothing but this file, if any, and what it has kept.
    pub fn offline(&self, data_file: Option<&Path>, keeping: &Keeping) -> io::Result<Side> {
        let port = free_port()?;
        let mut command = Command::new(&self.agent);
        command.env_clear().args(["--mode", "offline", "--api-key", KEY]);
        if let Some(file) = data_file {
            command.arg("--data-file").arg(file);
        }
        command.args(["--urls", &format!("http://127.0.0.1:{port}"), "--logging-level", "error"]);
        command.args(["--reactors", &self.reactors.to_string()]);
        keeping.add_to(&mut command);
        Side::start(&mut command, port, port, true)
    }

    /// Starts the agent, following a server.
    pub fn following(&self, url: &str, keeping: &Keeping) -> io::Result<Side> {
        let port = free_port()?;
        let mut command = Command::new(&self.agent);
        command.env_clear().args(["--mode", "agent", "--agent-id", "load", "--streaming-uri", url]);
        command.args(["--api-key", KEY, "--forward-events", "false"]);
        command.args(["--urls", &format!("http://127.0.0.1:{port}"), "--logging-level", "error"]);
        command.args(["--reactors", &self.reactors.to_string()]);
        keeping.add_to(&mut command);
        Side::start(&mut command, port, port, true)
    }
}

impl Keeping {
    fn add_to(&self, command: &mut Command) {
        if let Some(file) = &self.backup {
            command.arg("--backup-file").arg(file);
        }
        if let Some((url, prefix)) = &self.redis {
            command.args(["--redis-connection-string", url, "--redis-key-prefix", prefix]);
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Side {
    fn start(command: &mut Command, port: u16, admin: u16, is_agent: bool) -> io::Result<Self> {
        let server = Server::start(command, port)?;
        Ok(Self { server, address: SocketAddr::from(([127, 0, 0, 1], port)), admin, is_agent })
    }

    /// Changes one flag for the `number`th time, and has every SDK get that.
    pub fn change(&self, number: u64) -> io::Result<()> {
        if !self.is_agent {
            return request(self.admin, "POST /bump HTTP/1.1\r\nHost: x\r\n\r\n", b"").map(drop);
        }
        self.bootstrap(&data::dump(number))
    }

    /// Gives the agent this dump.
    pub fn bootstrap(&self, dump: &[u8]) -> io::Result<()> {
        let head = format!(
            "POST /api/public/proxy/bootstrap HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            KEY,
            dump.len()
        );
        request(self.admin, &head, dump).map(drop)
    }

    /// Waits until the agent has data and says so.
    pub fn wait_until_ready(&self) -> io::Result<()> {
        let begun = Instant::now();
        let head = "GET /health/readiness HTTP/1.1\r\nHost: x\r\n\r\n";
        while request(self.admin, head, b"").is_err() {
            if begun.elapsed() > READY {
                return Err(io::Error::other("the agent did not become ready"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The agent's metrics.
    pub fn metrics(&self) -> io::Result<String> {
        let page = request(self.admin, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"")?;
        String::from_utf8(page).map_err(io::Error::other)
    }

    /// One of its metrics; 0 if there is none of that name.
    pub fn metric(&self, name: &str) -> io::Result<f64> {
        let page = self.metrics()?;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Ok(value.unwrap_or(0.0))
    }

    fn full_of_a_client(&self) -> io::Result<Vec<u8>> {
        let body = data::user(0).to_string();
        let head = format!(
            "POST /api/public/sdk/client/latest-all HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\
             Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            Sdk::Client.secret().as_str(),
            body.len()
        );
        request(self.admin, &head, body.as_bytes())
    }
}

fn wrapped(wrapper: &[&str], program: &PathBuf) -> Command {
    match wrapper.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}
