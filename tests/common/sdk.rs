//! Drives real SDKs through the programs in `tests/sdks`, all by the same commands.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::agent::Agent;
use super::dataset::{Environment, Kind};
use super::{SOON, left_out};

/// Set (to anything) by `scripts/test`: an SDK that is not installed fails the tests instead of being left out.
pub const REQUIRED: &str = "FEATBIT_TEST_SDKS_REQUIRED";

/// Added to a wait inside a driver before it counts as hung.
const ANSWER_GRACE: Duration = Duration::from_secs(30);

/// How an SDK gets its data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Over a WebSocket.
    Streaming,
    /// By asking again and again.
    Polling,
}

impl Mode {
    /// The name that drivers know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Streaming => "streaming",
            Mode::Polling => "polling",
        }
    }
}

/// What `driver.json` says of an SDK.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its directory's name.
    pub name: String,
    /// Whether it is for servers or clients.
    pub kind: Kind,
    modes: Vec<Mode>,
    run: Vec<String>,
    env: BTreeMap<String, String>,
    differs: Vec<String>,
    /// How long it may take for what should happen at once.
    patience: Duration,
    installed: bool,
    /// Why it cannot be installed here, if `prepare` found the registry without it.
    unavailable: Option<String>,
}

impl Spec {
    /// With this in the driver's environment.
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The ways in which it gets its data.
    pub fn modes(&self) -> &[Mode] {
        &self.modes
    }
}

/// Every SDK that has a driver, in the order of their names.
pub fn all_specs() -> Vec<Spec> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdks");
    let mut files: Vec<PathBuf> = fs::read_dir(&root)
        .expect("tests/sdks is there")
        .filter_map(|entry| Some(entry.ok()?.path().join("driver.json")))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no driver in {}", root.display());
    files.iter().map(|file| read_spec(&root, file)).collect()
}

fn read_spec(root: &Path, file: &Path) -> Spec {
    let text = fs::read_to_string(file).expect("driver.json can be read");
    let json: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let name = json["name"].as_str().expect("driver.json has a name").to_owned();
    let dir = root.join(&name);
    let cache = root.join(".cache").join(&name);
    let put_in = |text: &Value| -> String {
        let text = text.as_str().expect("driver.json holds text");
        text.replace("{dir}", &dir.to_string_lossy()).replace("{cache}", &cache.to_string_lossy())
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    Spec {
        kind: if json["kind"] == "client" { Kind::Client } else { Kind::Server },
        modes: list(&json["modes"])
            .iter()
            .map(|mode| if mode == "polling" { Mode::Polling } else { Mode::Streaming })
            .collect(),
        run: list(&json["run"]).iter().map(put_in).collect(),
        env: json["env"]
            .as_object()
            .map(|env| env.iter().map(|(name, value)| (name.clone(), put_in(value))).collect())
            .unwrap_or_default(),
        differs: json["differs"]
            .as_object()
            .map(|differs| differs.keys().cloned().collect())
            .unwrap_or_default(),
        patience: SOON
            * json["patience"].as_u64().map_or(1, |times| times.try_into().expect("a small number")),
        installed: cache.join("installed").is_file()
            && list(&json["needs"])
                .iter()
                .all(|program| on_path(program.as_str().expect("a program's name"))),
        unavailable: fs::read_to_string(cache.join("unavailable")).ok(),
        name,
    }
}

/// Whether a program can be run by its name.
fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The SDKs a test can use. Those that are not installed are reported as left out, or fail the test where all are
/// required; those that the registry lacks are named, here and by `scripts/test`.
pub fn installed_specs(test: &str) -> Vec<Spec> {
    only_installed(test, all_specs())
}

/// One SDK by its name, if it is installed; otherwise as [`installed_specs`].
pub fn installed_spec(test: &str, name: &str) -> Option<Spec> {
    let named: Vec<Spec> = all_specs().into_iter().filter(|spec| spec.name == name).collect();
    assert_eq!(named.len(), 1, "no driver of {name}");
    only_installed(test, named).pop()
}

fn only_installed(test: &str, specs: Vec<Spec>) -> Vec<Spec> {
    let (unavailable, specs): (Vec<Spec>, Vec<Spec>) =
        specs.into_iter().partition(|spec| spec.unavailable.is_some());
    for spec in unavailable {
        println!("{test}: without {}: {}", spec.name, spec.unavailable.unwrap_or_default().trim_end());
    }
    let (installed, missing): (Vec<Spec>, Vec<Spec>) = specs.into_iter().partition(|spec| spec.installed);
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|spec| spec.name.as_str()).collect();
        let why = format!("not on {}, which ./scripts/test installs", names.join(", "));
        assert!(std::env::var_os(REQUIRED).is_none(), "{test}: {why}");
        left_out(test, &why);
    }
    installed
}

/// One SDK in its own process. Dropped, it is ended.
#[derive(Debug)]
pub struct Sdk {
    spec: Spec,
    mode: Mode,
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    current_user: Option<Value>,
    commands: u64,
}

impl Sdk {
    /// Starts the driver program; the SDK itself is started by [`Sdk::start`].
    pub fn launch(spec: &Spec, mode: Mode) -> Self {
        let (program, args) = spec.run.split_first().expect("driver.json says what to run");
        let mut child = Command::new(program)
            .args(args)
            .envs(&spec.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let input = child.stdin.take();
        let output = child.stdout.take().expect("standard output is piped");
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut sdk =
            Self { spec: spec.clone(), mode, child, input, answers, current_user: None, commands: 0 };
        let hello = sdk.read("its start", ANSWER_GRACE + spec.patience);
        assert_eq!(hello["ready"], true, "{}: {hello}", sdk.label());
        sdk
    }

    /// Its name and mode, for messages.
    pub fn label(&self) -> String {
        format!("{} ({})", self.spec.name, self.mode.as_str())
    }

    /// Whether it is for servers or clients.
    pub fn kind(&self) -> Kind {
        self.spec.kind
    }

    /// How it gets its data.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a known difference applies to it; their names are explained in `tests/sdks/README.md`.
    pub fn differs(&self, name: &str) -> bool {
        let polling_only = name.starts_with("polling-");
        self.spec.differs.iter().any(|have| have == name) && (!polling_only || self.mode == Mode::Polling)
    }

    /// How long it may take for what should happen at once.
    pub fn patience(&self) -> Duration {
        self.spec.patience
    }

    /// Sends a command and returns its answer.
    ///
    /// # Panics
    /// When the driver reports an error or does not answer within `within` and some grace.
    pub fn command(&mut self, cmd: &str, mut args: Value, within: Duration) -> Value {
        self.commands += 1;
        args["cmd"] = json!(cmd);
        args["id"] = json!(self.commands);
        let label = self.label();
        let input = self.input.as_mut().expect("the driver's input is open");
        writeln!(input, "{args}").unwrap_or_else(|error| panic!("{label}: its driver is gone: {error}"));
        let answer = self.read(cmd, within + ANSWER_GRACE);
        assert_eq!(answer["id"], self.commands, "{label}: {answer}");
        assert_eq!(answer["ok"], true, "{label}: {cmd} failed: {answer}");
        answer
    }

    fn read(&mut self, cmd: &str, within: Duration) -> Value {
        match self.answers.recv_timeout(within) {
            Ok(line) => serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("{}: no JSON: {line}: {error}", self.label())),
            Err(RecvTimeoutError::Timeout) => {
                panic!("{}: no answer to {cmd} within {within:?}", self.label())
            }
            Err(RecvTimeoutError::Disconnected) => panic!("{}: its driver has ended at {cmd}", self.label()),
        }
    }

    /// Starts the SDK with a secret; `more` may bring further options of the driver's `start`.
    pub fn start_with(&mut self, url: &str, secret: &str, user: &Value, more: Value) {
        let mut args =
            json!({ "mode": self.mode.as_str(), "url": url, "secret": secret, "startWaitMs": 60_000 });
        if self.spec.kind == Kind::Client {
            args["user"] = user.clone();
            self.current_user = Some(user.clone());
        }
        for (name, value) in more.as_object().into_iter().flatten() {
            args[name] = value.clone();
        }
        self.command("start", args, self.patience());
    }

    /// Starts the SDK as one of an environment.
    pub fn start(&mut self, agent: &Agent, environment: &Environment, user: &Value) {
        self.start_with(&agent.url(), &environment.secret(self.spec.kind), user, json!({}));
    }

    /// Waits until it is ready.
    pub fn wait_ready(&mut self) {
        let answer = self.command("wait-ready", json!({ "timeoutMs": ms(self.patience()) }), self.patience());
        assert_eq!(answer["ready"], true, "{} is not ready: {}", self.label(), self.state());
    }

    /// The state of its connection.
    pub fn state(&mut self) -> Value {
        self.command("state", json!({}), self.patience())
    }

    /// Waits for a state, see the driver's `wait-state`.
    pub fn wait_state(&mut self, wanted: Value) -> Value {
        let mut args = wanted.clone();
        args["timeoutMs"] = json!(ms(self.patience()));
        let state = self.command("wait-state", args, self.patience());
        assert_eq!(state["matched"], true, "{}: waited for {wanted} in vain: {state}", self.label());
        state
    }

    /// Waits until a flag has this value for this user, who becomes a client SDK's current one.
    pub fn wait_value(&mut self, key: &str, user: &Value, variation_type: &str, value: &Value) {
        self.wait_value_or(key, user, variation_type, value, &Value::Null);
    }

    /// Waits until the flag is not there for the SDK, which then serves the default it was given.
    pub fn wait_gone(&mut self, key: &str, user: &Value) {
        self.wait_value_or(key, user, "string", &json!("not there"), &json!("not there"));
    }

    /// The same with a default, which an SDK serves for a flag it does not have.
    pub fn wait_value_or(
        &mut self,
        key: &str,
        user: &Value,
        variation_type: &str,
        value: &Value,
        default: &Value,
    ) {
        self.identify(user);
        let args = json!({
            "key": key, "user": user, "type": variation_type, "value": value, "default": default,
            "timeoutMs": ms(self.patience()),
        });
        let answer = self.command("wait-value", args, self.patience());
        let label = self.label();
        assert_eq!(
            answer["matched"], true,
            "{label}: {key} for {}: waited for {value}: {answer}",
            user["keyId"]
        );
    }

    /// All its flags for a user: key → value, typed by `variation_types`.
    pub fn all(
        &mut self,
        user: &Value,
        variation_types: &BTreeMap<String, String>,
    ) -> BTreeMap<String, Value> {
        self.identify(user);
        let keys: Vec<&String> = variation_types.keys().collect();
        let mut answer = self.command("all", json!({ "user": user, "keys": keys }), self.patience());
        let values = answer["values"].as_object_mut().expect("values by key");
        values
            .iter_mut()
            .map(|(key, flag)| (key.clone(), typed(flag["value"].take(), variation_types.get(key))))
            .collect()
    }

    /// Makes a user a client SDK's current one; server SDKs have none.
    pub fn identify(&mut self, user: &Value) {
        if self.spec.kind == Kind::Client && self.current_user.as_ref() != Some(user) {
            self.command("identify", json!({ "user": user }), self.patience());
            self.current_user = Some(user.clone());
        }
    }

    /// Keys of the flags it has reported as changed since its start. Not every SDK reports any.
    pub fn updates(&mut self) -> Vec<String> {
        let answer = self.command("updates", json!({}), self.patience());
        let keys = answer["keys"].as_array().expect("a list of keys");
        keys.iter().filter_map(|key| Some(key.as_str()?.to_owned())).collect()
    }

    /// Ends the driver without warning.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Closes the SDK. It can be started again.
    pub fn stop(&mut self) {
        self.command("stop", json!({}), self.patience());
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        // A driver ends with its input; one that does not is ended.
        drop(self.input.take());
        let ended = super::poll_until(self.patience(), || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            self.kill();
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a duration of this century")
}

/// A value as its type says. Some SDKs give `all` values as text.
fn typed(value: Value, variation_type: Option<&String>) -> Value {
    match (&value, variation_type.map_or("string", String::as_str)) {
        (Value::String(_), "string") | (_, "string") => value,
        (Value::String(text), "boolean") => json!(text.eq_ignore_ascii_case("true")),
        (Value::String(text), _) => serde_json::from_str(text).unwrap_or(value),
        _ => value,
    }
}

/// Whether two values are the same to a user: `1` and `1.0` are.
pub fn same_value(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same_value(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| same_value(left, right)))
        }
        _ => left == right,
    }
}

/// All SDKs in all their modes (or those a test wants), acting together.
#[derive(Debug)]
pub struct Fleet {
    /// Its members.
    pub sdks: Vec<Sdk>,
}

impl Fleet {
    /// Launches every installed SDK in every mode that `wanted` takes.
    pub fn launch(test: &str, wanted: impl Fn(&Spec, Mode) -> bool) -> Self {
        let specs = installed_specs(test);
        let members: Vec<(&Spec, Mode)> = specs
            .iter()
            .flat_map(|spec| spec.modes.iter().map(move |&mode| (spec, mode)))
            .filter(|&(spec, mode)| wanted(spec, mode))
            .collect();
        let sdks = std::thread::scope(|scope| {
            let starting: Vec<_> = members
                .into_iter()
                .map(|(spec, mode)| scope.spawn(move || Sdk::launch(spec, mode)))
                .collect();
            starting.into_iter().map(|thread| thread.join().expect("a driver starts")).collect()
        });
        let fleet = Self { sdks };
        let labels: Vec<String> = fleet.sdks.iter().map(Sdk::label).collect();
        println!("{test}: on {}", labels.join(", "));
        fleet
    }

    /// All SDKs in all modes, started in an environment and ready.
    pub fn ready(test: &str, agent: &Agent, environment: &Environment, user: &Value) -> Self {
        let mut fleet = Self::launch(test, |_, _| true);
        fleet.each("start", |sdk| {
            sdk.start(agent, environment, user);
            sdk.wait_ready();
        });
        fleet
    }

    /// Does one step of a scenario on all members at once. The names of those that failed are reported together.
    pub fn each(&mut self, step: &str, act: impl Fn(&mut Sdk) + Sync) {
        let act = &act;
        let failures: Vec<String> = std::thread::scope(|scope| {
            let running: Vec<_> =
                self.sdks.iter_mut().map(|sdk| (sdk.label(), scope.spawn(move || act(sdk)))).collect();
            running
                .into_iter()
                .filter_map(|(label, thread)| {
                    let panic = thread.join().err()?;
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
                    Some(format!("{label}: {}", text.unwrap_or_default()))
                })
                .collect()
        });
        assert!(failures.is_empty(), "step «{step}» failed on {}:\n{}", failures.len(), failures.join("\n"));
    }

    /// Whether no SDK is installed.
    pub fn is_empty(&self) -> bool {
        self.sdks.is_empty()
    }
}
