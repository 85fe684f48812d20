//! Runs the agent's real binary in a directory of its own, on a free port of the loopback.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::dataset::{Dataset, write_atomically};
use super::{SOON, http, poll_until, reaper, wait_until};

/// The management key of every test that sets one.
pub const API_KEY: &str = "rp-0123456789abcdefghijABCDEFGHIJ0123456789";

/// What the start-up summary says.
const RUNNING: &str = "featbit-agent is running";

/// How an agent is started; the same again after a restart.
#[derive(Debug)]
pub struct Builder {
    args: Vec<String>,
    env: Vec<(String, String)>,
    data: Option<Dataset>,
    folders: Vec<String>,
    descriptors: Option<u32>,
}

/// A running agent. Dropped, it is killed.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    port: u16,
    args: Vec<String>,
    env: Vec<(String, String)>,
    descriptors: Option<u32>,
    dir: TempDir,
    log: Arc<Mutex<String>>,
}

impl Builder {
    /// An agent in offline mode on a free port, that closes its connections quickly when it is stopped.
    pub fn offline() -> Self {
        Self::bare().env("Mode", "offline").env("Shutdown__DrainSeconds", "100ms")
    }

    /// An agent with nothing set but its address.
    pub fn bare() -> Self {
        Self { args: Vec::new(), env: Vec::new(), data: None, folders: Vec::new(), descriptors: None }
            .env("ASPNETCORE_URLS", "http://127.0.0.1:0")
    }

    /// Sets a variable of its environment, which is empty otherwise.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(have, _)| have != name);
        self.env.push((name.into(), value.into()));
        self
    }

    /// Adds a command-line argument.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Opens the management calls by [`API_KEY`].
    pub fn api_key(self) -> Self {
        self.env("ApiKey", API_KEY)
    }

    /// Serves this data from a file.
    pub fn data_file(mut self, data: &Dataset) -> Self {
        self.data = Some(data.clone());
        self
    }

    /// Makes a folder in its directory.
    pub fn folder(mut self, name: &str) -> Self {
        self.folders.push(name.into());
        self
    }

    /// Lets it have so many descriptors at most.
    pub fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Starts the agent and waits until it answers.
    pub fn start(mut self) -> Agent {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for folder in &self.folders {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder in the temporary directory");
        }
        if let Some(data) = self.data.take() {
            let path = dir.path().join("data.json");
            write_atomically(&path, &data.to_text());
            self = self.env("DataFile", path.to_str().expect("the path is UTF-8"));
        }
        let log = Arc::new(Mutex::new(String::new()));
        let child = spawn(&self.args, &self.env, self.descriptors, dir.path(), &log);
        let Self { args, env, descriptors, .. } = self;
        let mut agent = Agent { child, port: 0, args, env, descriptors, dir, log };
        agent.wait_for_start();
        agent
    }
}

/// The agent's binary, with an environment of its own.
pub fn command(args: &[String], env: &[(String, String)], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_featbit-agent"));
    command.args(args).env_clear().envs(env.iter().cloned()).current_dir(dir);
    command
}

fn spawn(
    args: &[String],
    env: &[(String, String)],
    descriptors: Option<u32>,
    dir: &Path,
    log: &Arc<Mutex<String>>,
) -> Child {
    let mut command = command(args, env, dir);
    if let Some(count) = descriptors {
        // The shell sets the limit, and becomes the agent.
        let mut limited = Command::new("/bin/sh");
        limited.arg("-c").arg(format!("ulimit -n {count} && exec \"$0\" \"$@\""));
        limited.arg(command.get_program()).args(command.get_args());
        limited.env_clear().envs(env.iter().cloned()).current_dir(dir);
        command = limited;
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent's binary can be started");
    reaper::watch(&child);
    collect(child.stdout.take().expect("standard output is piped"), log);
    collect(child.stderr.take().expect("standard error is piped"), log);
    child
}

/// Keeps what comes, line by line, until the stream ends.
fn collect(stream: impl Read + Send + 'static, log: &Arc<Mutex<String>>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().expect("no reader of the log panics");
            log.push_str(&line);
            log.push('\n');
        }
    });
}

impl Agent {
    /// The port of its first address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as SDKs are given it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed since its first start.
    pub fn log(&self) -> String {
        self.log.lock().expect("no reader of the log panics").clone()
    }

    /// Its own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The data file of [`Builder::data_file`].
    pub fn data_file(&self) -> PathBuf {
        self.dir.path().join("data.json")
    }

    /// Replaces the data file, as an operator's deployment would: by a rename.
    pub fn write_data(&self, data: &Dataset) {
        write_atomically(&self.data_file(), &data.to_text());
    }

    /// One GET.
    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> http::Response {
        http::get(self.port, target, headers)
            .unwrap_or_else(|error| self.fail(&format!("GET {target}: {error}")))
    }

    /// One POST of JSON.
    pub fn post(&self, target: &str, headers: &[(&str, &str)], body: &Value) -> http::Response {
        http::post_json(self.port, target, headers, &body.to_string())
            .unwrap_or_else(|error| self.fail(&format!("POST {target}: {error}")))
    }

    /// Sends a dump as FeatBit's UI does; returns what it serves and its data version.
    pub fn bootstrap(&self, data: &Dataset) -> Value {
        self.post("/api/public/proxy/bootstrap", &[("Authorization", API_KEY)], &data.to_json())
            .expect(200)
            .json()
    }

    /// The evaluated flags of a user, by key, as client SDKs get them.
    pub fn evaluate(&self, secret: &str, user: &Value) -> serde_json::Map<String, Value> {
        let answer =
            self.post("/api/public/sdk/client/latest-all?timestamp=0", &[("Authorization", secret)], user);
        let flags = answer.expect(200).json()["data"]["featureFlags"].take();
        let flags = flags.as_array().expect("a list of flags").clone();
        flags.into_iter().map(|flag| (flag["id"].as_str().expect("a key").to_owned(), flag)).collect()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.wait_for_end()
    }

    /// Sets a variable of its environment from its next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(have, _)| have != name);
        self.env.push((name.into(), value.into()));
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the agent runs");
    }

    /// Sends it a SIGHUP.
    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("the agent runs");
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        reaper::forget(&self.child);
    }

    /// Waits until it has ended by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let ended = poll_until(SOON, || self.child.try_wait().expect("the agent is this process' child"));
        ended.unwrap_or_else(|| self.fail("it does not end"))
    }

    /// Starts it again, on the same port and with the same settings.
    pub fn start_again(&mut self) {
        self.spawn_again();
        self.wait_for_start();
    }

    /// Starts it again, and waits until it has ended by itself.
    pub fn start_in_vain(&mut self) -> ExitStatus {
        self.spawn_again();
        self.wait_for_end()
    }

    /// Starts it again, without waiting until it answers.
    pub fn spawn_again(&mut self) {
        assert!(matches!(self.child.try_wait(), Ok(Some(_))), "it still runs");
        reaper::forget(&self.child);
        for (name, value) in &mut self.env {
            if name == "ASPNETCORE_URLS" {
                *value = format!("http://127.0.0.1:{}", self.port);
            }
        }
        self.log.lock().expect("no reader of the log panics").clear();
        self.child = spawn(&self.args, &self.env, self.descriptors, self.dir.path(), &self.log);
    }

    fn wait_for_start(&mut self) {
        let port = poll_until(SOON, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.fail(&format!("it ended at its start, {status}"));
            }
            bound_port(&self.log())
        });
        self.port = port.unwrap_or_else(|| self.fail("it does not say where it listens"));
        wait_until("the agent answers", SOON, || {
            http::get(self.port, "/health/liveness", &[]).ok().filter(|answer| answer.status == 200)
        });
    }

    /// Fails the test with the agent's log.
    pub fn fail(&self, why: &str) -> ! {
        panic!("{why}\n--- log of the agent ---\n{}", self.log())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the agent on port {} ---\n{}", self.port, self.log());
        }
    }
}

/// The port in the start-up summary.
fn bound_port(log: &str) -> Option<u16> {
    let line = log.lines().find(|line| line.contains(RUNNING))?;
    let (_, after) = line.split_once("http://")?;
    let authority = after.split(['/', ' ', '"', ',']).next()?;
    authority.rsplit(':').next()?.parse().ok()
}

/// Runs the binary to its end and returns its exit code and all it printed.
pub fn run_to_end(args: &[&str], env: &[(&str, &str)], within: Duration) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let args: Vec<String> = args.iter().map(|&arg| arg.into()).collect();
    let env: Vec<(String, String)> = env.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    let log = Arc::new(Mutex::new(String::new()));
    let mut child = spawn(&args, &env, None, dir.path(), &log);
    let status = poll_until(within, || child.try_wait().expect("the agent is this process' child"));
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("the agent does not end; it printed:\n{}", log.lock().expect("no reader of the log panics"));
    };
    // The readers let go of the log when the output has ended.
    let text = wait_until("the end of the output", SOON, || {
        (Arc::strong_count(&log) == 1).then(|| log.lock().expect("no reader of the log panics").clone())
    });
    (status.code(), text)
}
