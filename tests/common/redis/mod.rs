//! Real Redis servers for tests: single ones, replicas, Sentinels and clusters, each on private ports of the loopback and
//! with a folder of its own. A guard kills its server, and a server also ends with the test program.
//!
//! Must not stand in for Redis: everything here is done by `redis-server`, and asked by `redis-cli`.

pub mod cluster;
pub mod sentinel;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::certificates::{Authority, Pair, Wish};
use super::sdk::REQUIRED;
use super::{SOON, left_out, poll_until, wait_until};

/// How often another port is tried if one was taken.
const PORT_TRIES: usize = 8;

/// Whether Redis is installed. If not, the test is reported as left out, or fails where everything is required.
pub fn installed(test: &str) -> bool {
    let missing: Vec<_> = [SERVER, CLI].into_iter().filter(|name| program(name).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let why = format!("not with {missing:?}, which ./scripts/test installs");
    assert!(std::env::var_os(REQUIRED).is_none(), "{test}: {why}");
    left_out(test, &why);
    false
}

const SERVER: &str = "redis-server";
const CLI: &str = "redis-cli";

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/bin", "/usr/local/bin", "/usr/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A port that nobody uses. Below those that the system gives to outgoing connections, so that none of these takes it
/// before the server does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Test programs that run at the same time begin at different places.
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
        let port = u16::try_from(12_000 + step % 18_000).expect("below 30000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What clients and servers need for TLS, in files.
#[derive(Debug)]
pub struct TlsFiles {
    dir: TempDir,
}

impl TlsFiles {
    /// An authority, a server's certificate for these names, and a client's certificate.
    pub fn new(names: &[&str]) -> Self {
        Self::issued(&Authority::new("authority of Redis"), names)
    }

    /// The same by this authority.
    pub fn issued(authority: &Authority, names: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("ca.pem"), authority.certificate()).expect("a file can be written");
        let write = |pair: Pair, name: &str| pair.write(dir.path(), name);
        write(authority.issue(&Wish::server(names)), "server");
        write(authority.issue(&Wish::client("featbit-agent")), "client");
        Self { dir }
    }

    /// A file: `ca.pem`, `server.pem`, `server.key`, `client.pem` or `client.key`.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("the path is UTF-8").to_owned()
    }
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    lines: Vec<String>,
    cli: Vec<String>,
    password: Option<String>,
    tls: bool,
    cluster: bool,
    sentinel: bool,
}

impl Builder {
    /// A server that keeps nothing on disk: started again, it is empty.
    pub fn new() -> Self {
        Self::default().line("save \"\"").line("appendonly no")
    }

    /// A line of its configuration, such as `maxmemory 1mb`.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Lets it keep all that it has acknowledged: started again after a kill, it has that.
    pub fn durable(self) -> Self {
        self.line("appendonly yes").line("appendfsync always")
    }

    /// The password of the default user.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self.line(&format!("requirepass {password}")).line(&format!("masterauth {password}"))
    }

    /// A user with rules of an ACL, such as `on >password ~* &* +@all`.
    pub fn user(self, name: &str, rules: &str) -> Self {
        self.line(&format!("user {name} {rules}"))
    }

    /// TLS on its only port; clients need a certificate if `clients`.
    pub fn tls(mut self, files: &TlsFiles, clients: bool) -> Self {
        self.tls = true;
        for (option, name) in [("--cacert", "ca.pem"), ("--cert", "client.pem"), ("--key", "client.key")] {
            self.cli.extend([option.into(), files.path(name)]);
        }
        self.cli.push("--tls".into());
        self.line(&format!("tls-cert-file {}", files.path("server.pem")))
            .line(&format!("tls-key-file {}", files.path("server.key")))
            .line(&format!("tls-client-cert-file {}", files.path("client.pem")))
            .line(&format!("tls-client-key-file {}", files.path("client.key")))
            .line(&format!("tls-ca-cert-file {}", files.path("ca.pem")))
            .line(&format!("tls-auth-clients {}", if clients { "yes" } else { "no" }))
            .line("tls-replication yes")
            .line("tls-cluster yes")
    }

    /// A replica of this server.
    pub fn replica_of(self, master: &Redis) -> Self {
        self.line(&format!("replicaof 127.0.0.1 {}", master.port()))
    }

    pub(super) fn cluster(mut self) -> Self {
        self.cluster = true;
        self.line("cluster-enabled yes")
            .line("cluster-node-timeout 1000")
            .line("cluster-config-file nodes.conf")
    }

    /// The password of a Sentinel, and with which it logs in to others.
    pub fn sentinel_password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self.line(&format!("requirepass {password}")).line(&format!("sentinel sentinel-pass {password}"))
    }

    pub(super) fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// Starts it, and waits until it answers PING: with data to load, until it has loaded.
    pub fn start(self) -> Redis {
        let server = self.spawn();
        server.wait_for_answer();
        server
    }

    /// Starts it, and waits only until its port is open.
    pub fn spawn(self) -> Redis {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut server = Redis { builder: self, port: 0, bus_port: 0, process: None, dir };
        for _ in 0..PORT_TRIES {
            (server.port, server.bus_port) = (free_port(), free_port());
            server.builder.write(server.dir.path(), server.port, server.bus_port);
            server.process = Some(Process::start(server.dir.path(), server.builder.sentinel));
            if server.listens() {
                return server;
            }
            let log = server.log();
            assert!(log.contains("bind: Address"), "redis-server ended at its start: {log}");
        }
        panic!("no port is free for {PORT_TRIES} times");
    }

    fn write(&self, dir: &Path, port: u16, bus_port: u16) {
        let mut text = format!("bind 127.0.0.1\ndir {}\ndaemonize no\n", dir.display());
        text += &match self.tls {
            true => format!("port 0\ntls-port {port}\n"),
            false => format!("port {port}\n"),
        };
        if self.cluster {
            text += &format!("cluster-port {bus_port}\n");
        }
        if !self.sentinel {
            // Replicas begin without waiting for more of them.
            text += "repl-diskless-sync-delay 0\n";
        }
        for line in &self.lines {
            text += line;
            text.push('\n');
        }
        fs::write(dir.join("redis.conf"), text).expect("a file can be written");
    }
}

/// A running process of Redis, and a second one that kills it when the test program ends, whatever ended that.
#[derive(Debug)]
struct Process {
    server: Child,
    watcher: Child,
}

impl Process {
    fn start(dir: &Path, sentinel: bool) -> Self {
        let log = fs::File::options().create(true).append(true).open(dir.join("output"));
        let log = log.expect("a file can be written");
        let errors = log.try_clone().expect("a descriptor is free");
        let mut command = Command::new(program(SERVER).expect("redis-server is installed"));
        command.arg(dir.join("redis.conf"));
        if sentinel {
            command.arg("--sentinel");
        }
        let server = command.current_dir(dir).stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let server = server.expect("redis-server can be started");
        // It reads until the end of its input, which is there when nobody holds the other side.
        let watcher = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("read _; kill -9 {}", server.id()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        Self { server, watcher }
    }

    fn is_running(&mut self) -> bool {
        self.server.try_wait().expect("the server is this process' child").is_none()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(pid, signal).expect("the server runs");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watcher first: the server's number may belong to another process after that.
        for child in [&mut self.watcher, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Redis {
    builder: Builder,
    port: u16,
    bus_port: u16,
    process: Option<Process>,
    dir: TempDir,
}

impl Redis {
    /// Its port on 127.0.0.1, which it keeps over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the cluster's bus.
    pub fn bus_port(&self) -> u16 {
        self.bus_port
    }

    /// Its address, `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its URL, with the password of the default user.
    pub fn url(&self) -> String {
        let scheme = if self.builder.tls { "rediss" } else { "redis" };
        match &self.builder.password {
            Some(password) => format!("{scheme}://:{password}@{}", self.address()),
            None => format!("{scheme}://{}", self.address()),
        }
    }

    /// Its own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has printed since its first start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }

    /// Sends a command by redis-cli as the default user, and returns the answer as text. An error answer begins with its
    /// code, such as `NOPERM`.
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).unwrap_or_else(|error| panic!("{command:?}: {error}\n{}", self.log()))
    }

    /// The same; an error if there is no answer.
    pub fn try_cli(&self, command: &[&str]) -> Result<String, String> {
        let mut cli = Command::new(program(CLI).expect("redis-cli is installed"));
        cli.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(&self.builder.cli);
        if let Some(password) = &self.builder.password {
            cli.args(["--no-auth-warning", "-a", password]);
        }
        let output = cli.args(command).stdin(Stdio::null()).output().expect("redis-cli can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match output.status.success() && output.stderr.is_empty() {
            true => Ok(text(&output.stdout)),
            false => Err(format!("{}{}", text(&output.stdout), text(&output.stderr))),
        }
    }

    /// The value of a field of INFO, such as `role` of the section `replication`.
    pub fn info(&self, section: &str, field: &str) -> String {
        let info = self.cli(&["INFO", section]);
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    }

    /// Waits until a field of INFO has this value.
    pub fn wait_info(&self, section: &str, field: &str, value: &str) {
        wait_until(&format!("{field} is {value}"), SOON, || {
            let info = self.try_cli(&["INFO", section]).ok()?;
            info.lines().any(|line| line.trim() == format!("{field}:{value}")).then_some(())
        });
    }

    /// Kills it without warning. What it acknowledged is lost unless it is [durable](Builder::durable).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again after a kill: on the same port, with what it has on disk.
    pub fn start_again(&mut self) {
        self.spawn_again();
        self.wait_for_answer();
    }

    /// The same, without what it had on disk.
    pub fn start_again_empty(&mut self) {
        for name in ["dump.rdb", "appendonlydir"] {
            let path = self.dir.path().join(name);
            let _ = fs::remove_dir_all(&path);
            let _ = fs::remove_file(&path);
        }
        self.start_again();
    }

    /// The same as [`Redis::start_again`], but waits only until its port is open.
    pub fn spawn_again(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        // What runs on its port now, if anything, ends by itself.
        wait_until("the server listens on its old port", SOON, || {
            self.process = Some(Process::start(self.dir.path(), self.builder.sentinel));
            self.listens().then_some(())
        });
    }

    /// Stops it: connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.process.as_ref().expect("it runs").signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on after [`Redis::pause`].
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal(rustix::process::Signal::CONT);
    }

    /// Waits until it accepts connections. False if it has ended.
    fn listens(&mut self) -> bool {
        let (port, process) = (self.port, &mut self.process);
        let process = process.as_mut().expect("it was started");
        wait_until("redis-server listens", SOON, || match process.is_running() {
            true => std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(|_| true),
            false => Some(false),
        })
    }

    fn wait_for_answer(&self) {
        let pong = poll_until(SOON, || (self.try_cli(&["PING"]).ok()? == "PONG").then_some(()));
        assert!(pong.is_some(), "{:?}\n{}", self.try_cli(&["PING"]), self.log());
    }
}
