//! The two sides: a featbit-agent and the floor, started for the same load.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::data::{self, Sdk};
use crate::process::{Server, build_floor, request};

/// How long an agent may take until it is ready.
const READY: Duration = Duration::from_secs(60);

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
        let port = free_port()?;
        let dump = self.folder.join("dump.json");
        fs::write(&dump, data::dump(0))?;
        let mut command = wrapped(wrapper, &self.agent);
        command.env_clear().arg("--mode").arg("offline").arg("--data-file").arg(&dump);
        command.args(["--api-key", "load", "--urls", &format!("http://127.0.0.1:{port}")]);
        command.args(["--reactors", &self.reactors.to_string(), "--logging-level", "error"]);
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
        command.args(["--api-key", "load", "--urls", &urls, "--logging-level", "error"]);
        command.args(["--reactors", &self.reactors.to_string()]);
        command.arg("--tls-certificate-file").arg(self.folder.join("cert.pem"));
        command.arg("--tls-key-file").arg(self.folder.join("key.pem"));
        Side::start(&mut command, port, admin, true)
    }

    /// Starts the agent, following a server.
    pub fn following(&self, url: &str) -> io::Result<Side> {
        let port = free_port()?;
        let mut command = Command::new(&self.agent);
        command.env_clear().args(["--mode", "agent", "--agent-id", "load", "--streaming-uri", url]);
        command.args(["--api-key", "rp-load", "--forward-events", "false"]);
        command.args(["--urls", &format!("http://127.0.0.1:{port}"), "--logging-level", "error"]);
        command.args(["--reactors", &self.reactors.to_string()]);
        Side::start(&mut command, port, port, true)
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
        let body = data::dump(number);
        let head = format!(
            "POST /api/public/proxy/bootstrap HTTP/1.1\r\nHost: x\r\nAuthorization: load\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        request(self.admin, &head, &body).map(drop)
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

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
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
